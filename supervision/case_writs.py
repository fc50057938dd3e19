"""What the steps of a case write: each paper's content is fixed here, people by name and certificate."""

import datetime as dt
from typing import Any

from agreements.models import Agreement
from audit.models import Move
from audit.procedure import Turn
from institutions.models import Office, Region
from supervision import case_clocks, law, sanctions
from supervision.hands import active, office_name, person, signed
from supervision.models import CasePaper, SupervisionCase
from supervision.writs import Service, addressee_of, make_paper, receipt_of, table_of

Kind = CasePaper.Kind
NOT_SHOWN = "内部材料，不向当事人公开"


def filing_paper(turn: Turn) -> None:
    """立案审批表."""
    case: SupervisionCase = turn.case
    _made(turn, Kind.FILING, {
        "case": case.number, "title": case.title, "subject": case.subject_name,
        "origin": case.get_origin_display(), "reference": case.origin_ref,
        "summary": case.summary, "opened_by": person(case.opened_by),
        "approved_by": person(turn.by), "note": turn.note,
    })  # fmt: skip


def notice_papers(turn: Turn) -> None:
    """告知书 and 证据清单 with their receipt: what is found, what is proposed, until when to speak."""
    case: SupervisionCase = turn.case
    listed = [
        {"no": row.no, "kind": row.get_kind_display(),
         "reference": "" if row.internal else row.reference,
         "title": NOT_SHOWN if row.internal else row.title, "loss": row.loss, "sm3": row.digest}
        for row in case.evidence.all()
    ]  # fmt: skip
    notice = _made(turn, Kind.NOTICE, {
        "case": case.number, "title": case.title, "found": case.facts, "loss": case.loss,
        "days": [str(case.acted_from), str(case.acted_until)],
        "route": law.routes()[case.route].label,
        "article": basis_of(case),
        "measures": [sanctions.told(row) for row in case.sanctions.filter(state="proposed")],
        "inspectors": [signed(case, row.username) for row in active(case)],
        "times": {key: case_clocks.on_paper(case, key, served=turn.on)
                  for key in ("statement", "hearing") if key in table_of(case).data["clocks"]},
    })  # fmt: skip
    _made(turn, Kind.EVIDENCE, {"case": case.number, "notice": notice.number, "items": listed})
    _served(turn, notice)


def basis_of(case: SupervisionCase) -> str:
    """The article that a case applies; by the agreement the 13th, with the agreement that was in force."""
    if case.article or case.route != SupervisionCase.Route.AGREEMENT:
        return law.decree().cite(case.article) if case.article else ""
    rows = Agreement.objects.filter(institution=case.institution_code).in_force(on=case.acted_until)
    held = "、".join(f"{row.get_kind_display()}（{row.number}）" for row in rows.order_by("pk"))
    return law.decree().cite("13") + (f"和{held}" if held else "")


def request_paper(turn: Turn) -> None:
    """当事人申请登记表 of a hearing: who asks, when, why."""
    case: SupervisionCase = turn.case
    asks = turn.who.institution_id if turn.who else None
    applicant = str(turn.facts.get("applicant") or "").strip()[:80]
    _made(turn, Kind.REQUEST, {
        "case": case.number, "title": case.title, "what": "申请听证",
        "applicant": applicant or addressee_of(case), "asked_on": str(turn.on), "reasons": turn.note,
        "recorded_by": "" if asks else signed(case, turn.by),
    })  # fmt: skip


def hearing_paper(turn: Turn) -> None:
    """听证通知书 with its receipt: when, where, before whom; a later one replaces it."""
    case: SupervisionCase = turn.case
    asked = _request(case)
    notice = _made(turn, Kind.HEARING, {
        "case": case.number, "asked_on": asked.get("asked_on", ""),
        "reasons": asked.get("reasons", ""), "held_on": str(turn.facts["held_on"]),
        "place": str(turn.facts["place"])[:120], "presider": person(str(turn.facts["presider"])),
        "decided_by": person(turn.by),
    })  # fmt: skip
    _served(turn, notice)


def no_hearing_paper(turn: Turn) -> None:
    """不予听证通知书 with its receipt and the reason."""
    case: SupervisionCase = turn.case
    notice = _made(turn, Kind.NO_HEARING, {
        "case": case.number, "asked_on": _request(case).get("asked_on", ""), "reasons": turn.note,
        "spoken": bool(case.statement), "decided_by": person(turn.by),
    })  # fmt: skip
    _served(turn, notice)


def _request(case: SupervisionCase) -> dict[str, Any]:
    rows = case.papers.filter(kind=Kind.REQUEST, content__what="申请听证")
    found = rows.order_by("-pk").first()
    return found.content if found else {}


def decision_paper(turn: Turn) -> None:
    """处理决定书."""
    _decision(turn, Kind.DECISION, "")


def dismissal_paper(turn: Turn) -> None:
    """不予处理决定书 with its receipt: what was told is not punished, and why."""
    case: SupervisionCase = turn.case
    made = _made(turn, Kind.DISMISSAL, {
        "case": case.number, "title": case.title, "subject": case.subject_name,
        "notice": case.papers.filter(kind=Kind.NOTICE).latest("pk").number,
        "days": [str(case.acted_from), str(case.acted_until)], "statement": case.statement,
        "considered": _note_of(case, "consider"), "reasons": turn.note,
        "decided_by": person(turn.by),
    })  # fmt: skip
    _served(turn, made)


def transfer_paper(turn: Turn) -> None:
    """案件移送书."""
    _decision(turn, Kind.TRANSFER, str(turn.facts["organ"])[:120])


def _decision(turn: Turn, kind: str, addressee: str) -> None:
    case: SupervisionCase = turn.case
    content = {
        "case": case.number, "title": case.title, "subject": case.subject_name,
        "found": case.facts, "loss": case.loss, "days": [str(case.acted_from), str(case.acted_until)],
        "statement": case.statement, "considered": _note_of(case, "consider"),
        "route": law.routes()[case.route].label, "opinion": turn.note,
        "decided_by": person(turn.by),
        "article": basis_of(case),
        "measures": [sanctions.told(row) for row in case.sanctions.filter(state="ordered")],
        "evidence": case.evidence.count(), "appeal": _appeal(case, turn.on),
    }  # fmt: skip
    make_paper(case, kind, content, on=turn.on, by=turn.by, at=turn.at, addressee=addressee)


def _decree(number: str) -> str:
    return f"{law.decree().document} 第{number}条"


def _appeal(case: SupervisionCase, on: dt.date) -> list[str]:
    """Where the money goes, and how a party may appeal: organ, time, article (第31、45条)."""
    money = f"退回的基金退回原医疗保障基金财政专户；罚款依法上缴国库（{_decree('45')}）。"
    review, suit = law.remedy("review", on), law.remedy("suit", on)
    if case.route == case.Route.TRANSFER or review is None or suit is None:
        return [money]
    area = Region.objects.get(pk=case.region_code).name
    organs = {"government": f"{area}人民政府", "above": "上一级医疗保障行政部门"}
    ways = (
        f"自收到本决定书之日起{review.days}日内向{'或者'.join(organs[key] for key in review.organs)}"
        f"申请行政复议（{review.cited}），或者在{suit.months}个月内向作出决定的机关所在地人民法院"
        f"提起行政诉讼（{suit.cited}）。复议、诉讼期间不停止执行，法律另有规定的除外。"
    )
    if case.route == case.Route.AGREEMENT:
        bureau = office_name(case.region_code, Office.Kind.BUREAU)
        ways = f"要求纠正或者提请{bureau}协调处理（{_decree('13')}），也可以{ways}"
    return [money, f"如不服本决定，可以{ways}"]


def _note_of(case: SupervisionCase, step: str) -> str:
    move = Move.objects.filter(subject=case.subject, step=step).order_by("-pk").first()
    return move.note if move else ""


def decision_receipt(turn: Turn) -> None:
    """The decision's receipt."""
    _served(turn, turn.case.papers.filter(kind=Kind.DECISION).latest("pk"))


def transfer_receipt(turn: Turn) -> None:
    """The receipt of whom the case was transferred to."""
    _served(turn, turn.case.papers.filter(kind=Kind.TRANSFER).latest("pk"))


def closing_paper(turn: Turn) -> None:
    """结案报告."""
    case: SupervisionCase = turn.case
    _made(turn, Kind.CLOSING, {
        "case": case.number, "title": case.title, "subject": case.subject_name,
        "opinion": turn.note, "closed_by": person(turn.by),
        "measures": [sanctions.told(row) | {"record": sanctions.outcome(row), "done_on": str(row.done_on)}
                     for row in case.sanctions.filter(state__in=("done", "ended"))],
    })  # fmt: skip


def _made(turn: Turn, kind: str, content: dict[str, Any]) -> CasePaper:
    return make_paper(turn.case, kind, content, on=turn.on, by=turn.by, at=turn.at)


def _served(turn: Turn, paper: CasePaper) -> None:
    # whoever confirms a transfer says by whom it was received only: it is handed over
    facts = turn.facts
    service = Service(str(facts.get("method") or "direct"), str(facts.get("receiver", "")), turn.on)
    receipt(paper, service, by=turn.by, at=turn.at)


def receipt(paper: CasePaper, service: Service, *, by: str, at: dt.datetime) -> CasePaper:
    """送达回证: who received a paper of a case, when, how."""
    case = paper.case
    content = receipt_of(paper.number, paper.get_kind_display(), service, signed(case, by))
    return make_paper(case, Kind.RECEIPT, {"case": case.number} | content, on=service.on, by=by,
                      at=at, addressee=paper.addressee, serves=paper)  # fmt: skip
