"""协议管理与办理时限: agreements by state, applications under way, steps in time and late ones.

(温医保办〔2021〕6号 七、二十二；通医保发〔2020〕25号 三（一）)
"""

from collections.abc import Mapping
from typing import Any

from agreements.models import Agreement, AgreementState, Application
from audit.models import Move
from audit.procedure import PROCEDURES
from institutions.models import User
from supervision.reports.book import Book, Column
from supervision.reports.money import part
from supervision.reports.wish import Wish, named, spans

KINDS = dict(Agreement.Kind.choices)
STATES = dict(AgreementState.State.choices)


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """Agreements and their states on the last day, applications, moves with their legal deadlines."""
    places = wish.institutions(user)
    names = named(set(places.values_list("pk", flat=True)))
    agreements = _agreements(wish, names)
    return {
        "institutions": len(names), "agreements": agreements, "example": False,
        "ending": [
            row for row in agreements
            if row["until"] and row["until"][:4] == f"{wish.until:%Y}" and row["state"] == "active"
        ],
        "applications": _applications(wish, user, names), "moves": _moves(wish, user, names),
    }  # fmt: skip


def _agreements(wish: Wish, names: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = (
        AgreementState.objects.known().in_force(on=wish.until)
        .filter(agreement__institution__in=names).select_related("agreement")
        .order_by("agreement__institution_id", "agreement__kind", "agreement__valid_from")
    )  # fmt: skip
    return [
        {"institution": names[row.agreement.institution_id], "kind": row.agreement.kind,
         "number": row.agreement.number, "state": row.state, "since": f"{row.valid_from}",
         "from": f"{row.agreement.valid_from}", "until": f"{row.agreement.valid_until or ''}",
         "reason": row.reason, "clause": row.clause}
        for row in rows
    ]  # fmt: skip


def _applications(wish: Wish, user: User, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Applications that were open on some day of the span, as they stood on its last day."""
    rows = wish.within(Application.objects.visible_to(user)).order_by("pk")
    taken: dict[str, list[Move]] = {}
    for move in wish.within(Move.objects.visible_to(user)).filter(
        subject__startswith="application:"
    ).order_by("pk"):  # fmt: skip
        taken.setdefault(move.subject, []).append(move)
    found = []
    for row in rows:
        table, moves = PROCEDURES[row.procedure], taken.get(row.subject, [])
        before = [move for move in moves if move.on <= wish.until]
        if not before:
            continue
        last = before[-1]
        state = table.states[last.target]
        if state.final and last.on < wish.since:
            continue
        now = len(before) == len(moves)  # nothing was done since: its clock is the present one
        due = row.due if now else moves[len(before)].due
        found.append({
            "number": row.number, "institution": names.get(row.institution_code, row.institution_code),
            "procedure": table.title, "state": state.label, "opened": f"{before[0].on}",
            "closed": f"{last.on}" if state.final else "", "due": f"{due or ''}",
            "late": bool(due and not state.final and not state.stops and due < wish.until),
        })  # fmt: skip
    return found


def _moves(wish: Wish, user: User, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Steps of applications taken in the span; `on_time` is None where no limit is printed."""
    rows = (
        wish.within(Move.objects.visible_to(user))
        .filter(spans("on", wish), subject__startswith="application:").order_by("on", "pk")
    )  # fmt: skip
    numbers = dict(Application.objects.visible_to(user).values_list("pk", "number"))
    return [
        {"on": f"{row.on}", "number": numbers.get(int(row.subject.partition(":")[2]), row.subject),
         "institution": names.get(row.institution_code, row.institution_code),
         "procedure": PROCEDURES[row.procedure].title, "label": row.label, "clause": row.clause,
         "due": f"{row.due or ''}", "on_time": row.on_time, "by": row.by}
        for row in rows
    ]  # fmt: skip


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """Agreements, applications, deadlines; every step in the register."""
    _overall(figures, book)
    _states(figures, book)
    _open(figures["applications"], book)
    _clocks(figures["moves"], book)
    book.list_rows(
        "办理环节与时限明细",
        [Column("办理日", 20, "c"), Column("受理编号", 34, "x"), Column("医疗机构", 62),
         Column("事项", 44), Column("环节", 34), Column("期限", 20, "c"), Column("是否按时", 16, "c"),
         Column("依据", 40)],
        [[row["on"], row["number"], row["institution"], row["procedure"], row["label"], row["due"],
          _word(row["on_time"]), row["clause"]] for row in figures["moves"]],
    )  # fmt: skip


def _word(on_time: bool | None) -> str:
    return {True: "按时", False: "逾期", None: "—"}[on_time]


def _overall(figures: Mapping[str, Any], book: Book) -> None:
    timed = [row for row in figures["moves"] if row["on_time"] is not None]
    kept = sum(1 for row in timed if row["on_time"])
    running = [row for row in figures["applications"] if not row["closed"]]
    book.heading("总体情况")
    book.text(
        f"报告所及医疗机构{figures['institutions']:,}家，报告期末存续协议"
        f"{len(figures['agreements']):,}份。报告期内在办申请{len(figures['applications']):,}件，"
        f"期末仍在办{len(running):,}件；共办理环节{len(figures['moves']):,}次，"
        f"其中有法定或约定期限的{len(timed):,}次，按时{kept:,}次，按时率{part(kept, len(timed))}，"
        f"逾期{len(timed) - kept:,}次。"
    )


def _states(figures: Mapping[str, Any], book: Book) -> None:
    book.heading("协议状态")
    rows = figures["agreements"]
    present = [key for key in STATES if any(row["state"] == key for row in rows)]
    counted = [
        [KINDS[kind], *(str(sum(1 for row in rows if (row["kind"], row["state"]) == (kind, state)))
                        for state in present)]
        for kind in KINDS if any(row["kind"] == kind for row in rows)
    ]  # fmt: skip
    book.grid("报告期末协议状态", ["协议", *(STATES[key] for key in present)], counted,
              align="l" + "r" * len(present), unit="单位：份")  # fmt: skip
    stopped = [row for row in rows if row["state"] in ("suspended", "terminated")]
    book.grid(
        "中止、解除的协议", ["医疗机构", "协议编号", "状态", "起始日", "理由", "依据"],
        [[row["institution"], row["number"], STATES[row["state"]], row["since"], row["reason"],
          row["clause"]] for row in stopped],
        align="lxccll",
    )  # fmt: skip
    book.grid(
        "本年内到期的协议", ["医疗机构", "协议", "协议编号", "到期日"],
        [[row["institution"], KINDS[row["kind"]], row["number"], row["until"]]
         for row in figures["ending"]],
        align="llxc",
    )  # fmt: skip


def _open(rows: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("在办申请")
    book.grid(
        "报告期末仍在办的申请", ["受理编号", "医疗机构", "事项", "状态", "期限", "逾期"],
        [[row["number"], row["institution"], row["procedure"], row["state"], row["due"] or "—",
          "是" if row["late"] else ""] for row in rows if not row["closed"]],
        align="xlllcc",
    )  # fmt: skip


def _clocks(moves: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("办理时限")
    steps: dict[tuple[str, str, str], list[bool]] = {}
    for row in moves:
        if row["on_time"] is not None:
            key = (row["procedure"], row["label"], row["clause"])
            steps.setdefault(key, []).append(row["on_time"])
    book.grid(
        "各环节按时情况", ["事项", "环节", "依据", "次数", "按时", "逾期", "按时率"],
        [[*key, str(len(kept)), str(sum(kept)), str(len(kept) - sum(kept)), part(sum(kept), len(kept))]
         for key, kept in sorted(steps.items())],
        align="lllrrrr",
    )  # fmt: skip
    book.grid(
        "逾期环节", ["办理日", "受理编号", "医疗机构", "环节", "期限"],
        [[row["on"], row["number"], row["institution"], row["label"], row["due"]]
         for row in moves if row["on_time"] is False],
        align="cxllc", empty="报告期内没有逾期环节。",
    )  # fmt: skip
    book.note(
        "期限按工作日历计算；办理日为法律上的日期（收到、送达、签署），中止计时的期间已扣除。"
    )
