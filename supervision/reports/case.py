"""监管案件卷宗: one case from its clue to its archive: inquiry, evidence, papers, decision, execution.

(医疗保障基金使用监督管理条例 第二十九、三十一条；温医保办〔2021〕6号 二十七、二十八)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from audit import clock
from audit.models import Move
from audit.procedure import PROCEDURES
from audit.text import mask_id, mask_name, yuan
from institutions.models import User
from institutions.naming import shown_names
from institutions.refusals import refused
from settlement.capitals import capitals
from settlement.models import Claim, InsuredPerson
from settlement.register.commands import opened
from supervision import law
from supervision.hands import person
from supervision.models import SupervisionCase
from supervision.reports.book import Book, day_name
from supervision.reports.wish import Wish, named

MASKED = "*"
IDENTITY = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")


def find(wish: Wish, user: User) -> SupervisionCase:
    """The case of a number, inside the reader's scope."""
    found = (
        wish.within(SupervisionCase.objects.visible_to(user)).filter(number=wish.subject).first()
    )
    if found is None:
        raise refused("subject", "SUBJECT", "没有此案件", "no such case")
    return found


def about(wish: Wish, user: User) -> Wish:
    """From the first day of the behaviour to the last step; the institution where it happened."""
    row = find(wish, user)
    return replace(
        wish, since=row.acted_from, until=max(row.acted_until, row.entered_on),
        institution=row.institution_code, scheme="",
    )  # fmt: skip


def persons(wish: Wish) -> list[int | None]:
    """The insured person whom a case is about."""
    return list(
        SupervisionCase.objects.filter(number=wish.subject).values_list("person_id", flat=True)
    )


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """The case, its people, evidence, papers, measures and steps, as they stand; persons masked."""
    row = find(wish, user)
    table = PROCEDURES[row.procedure]
    place = named({row.institution_code}).get(row.institution_code, row.institution_code)
    moves = list(Move.objects.visible_to(user).filter(subject=row.subject))
    people = _people(row, moves)
    hide = hiding(row)
    return {
        "example": False, "number": row.number, "title": hide(row.title), "origin": row.get_origin_display(),
        "state": table.states[row.state].label, "place": place, "behaviour": row.behaviour,
        "subject_kind": row.get_subject_kind_display(), "subject": _subject(row),
        "acted": [f"{row.acted_from}", f"{row.acted_until}"], "summary": hide(row.summary),
        "facts": hide(row.facts), "loss": row.loss, "route": row.get_route_display(), "article": row.article,
        "statement": hide(row.statement), "told_on": f"{row.told_on or ''}",
        "decided": [people.get(row.decided_by, ""), f"{row.decided_on or ''}"],
        "final_on": f"{row.final_on or ''}", "archive_no": row.archive_no,
        "inspectors": [
            {"name": people[one.username], "role": one.get_role_display(), "certificate": one.certificate,
             "recusal": one.get_recusal_display(), "recused": one.recused,
             "reason": hide(one.recusal_reason)} for one in row.inspectors.all()
        ],
        "evidence": [
            {"no": one.no, "kind": one.get_kind_display(), "reference": one.reference,
             "title": hide(one.title), "loss": one.loss, "digest": one.digest, "by": people[one.taken_by],
             "at": f"{clock.local(one.taken_at):%Y-%m-%d %H:%M}"} for one in row.evidence.all()
        ],
        "papers": [
            {"kind": one.get_kind_display(), "number": one.number, "to": _told(one.addressee, row),
             "on": f"{one.made_on}", "digest": one.digest} for one in row.papers.all()
        ],
        "sanctions": [
            {"kind": law.measures()[one.kind].label, "clause": one.clause, "amount": one.amount,
             "months": one.months, "points": one.points, "state": one.get_state_display(),
             "record": hide(one.record), "done_on": f"{one.done_on or ''}", "note": hide(one.note)}
            for one in row.sanctions.all()
        ],
        "moves": [
            {"on": f"{one.on}", "label": one.label, "by": people[one.by], "clause": one.clause,
             "due": f"{one.due or ''}", "on_time": one.on_time}
            for one in moves
        ],
    }  # fmt: skip


def hiding(row: SupervisionCase) -> Callable[[str], str]:
    """Masks in a free text what is known in the clear of the persons of a case and of its evidence, and
    every other identity number."""
    claims = row.evidence.exclude(claim_id=None).values_list("claim_id", flat=True)
    persons = {
        row.person_id or 0,
        *Claim.objects.filter(pk__in=claims).values_list("person_id", flat=True),
    }
    known: dict[str, str] = {}
    for one in InsuredPerson.objects.filter(pk__in=persons):
        name = opened(one, "name", one.name_cipher)
        known |= {name: mask_name(name)}
        for field, cipher in (("id", one.id_cipher), ("phone", one.phone_cipher)):
            clear = opened(one, field, cipher) if cipher else ""
            known |= {clear: mask_id(clear)}
    if row.subject_kind == SupervisionCase.Subject.PERSON and MASKED not in row.subject_name:
        known |= {row.subject_name: mask_name(row.subject_name)}
    longest = sorted((clear for clear in known if clear), key=len, reverse=True)

    def hide(text: str) -> str:
        for clear in longest:
            text = text.replace(clear, known[clear])
        return IDENTITY.sub(lambda found: mask_id(found[0]), text)

    return hide


def _people(row: SupervisionCase, moves: list[Move]) -> dict[str, str]:
    """Everybody of a case by log-in: inspectors by name, others with their office."""
    names = {row.decided_by, *(one.by for one in moves),
             *row.evidence.values_list("taken_by", flat=True)}  # fmt: skip
    inspectors = row.inspectors.values_list("username", flat=True)
    called = shown_names(inspectors)
    return {name: person(name) for name in names - {""}} | called


def _subject(row: SupervisionCase) -> str:
    """Whom a case is about; an insured person only masked."""
    if row.subject_kind != SupervisionCase.Subject.PERSON or MASKED in row.subject_name:
        return row.subject_name
    return mask_name(row.subject_name)


def _told(addressee: str, row: SupervisionCase) -> str:
    return _subject(row) if addressee == row.subject_name else addressee


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """Seven chapters in the order of a file (卷内目录)."""
    _filed(figures, book)
    _inquired(figures, book)
    _evidence(figures["evidence"], book)
    _heard(figures, book)
    _decided(figures, book)
    _papers(figures["papers"], book)
    _steps(figures["moves"], book)


def _filed(figures: Mapping[str, Any], book: Book) -> None:
    book.heading("案件基本情况")
    acted = "至".join(day_name(day) for day in figures["acted"])
    book.facts([
        ("案　　号", figures["number"]), ("案　　由", figures["title"]), ("来　　源", figures["origin"]),
        ("当 事 人", f"{figures['subject']}（{figures['subject_kind']}）"), ("发生机构", figures["place"]),
        ("行为期间", acted), ("当前状态", figures["state"]), ("档　　号", figures["archive_no"]),
    ])  # fmt: skip
    book.text(f"线索摘要：{figures['summary']}")


def _inquired(figures: Mapping[str, Any], book: Book) -> None:
    book.heading("调查")
    book.grid(
        "检查人员", ["姓名", "分工", "执法证号", "回避"],
        [[row["name"], row["role"], row["certificate"], _recusal(row)] for row in figures["inspectors"]],
        align="lcxl", empty="尚未指定检查人员。",
    )  # fmt: skip
    book.text(f"查明的事实：{figures['facts'] or '尚在调查。'}")
    if figures["loss"]:
        book.text(f"造成医疗保障基金损失{yuan(figures['loss'])}元（{capitals(figures['loss'])}）。")


def _recusal(row: Mapping[str, Any]) -> str:
    if not row["recusal"]:
        return "无"
    word = {True: "已回避", False: "不予回避", None: "待决定"}[row["recused"]]
    return f"{row['recusal']}，{word}：{row['reason']}"


def _evidence(rows: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("证据清单")
    book.grid(
        "证据清单", ["序号", "类别", "编号", "名称与证明内容", "涉及基金", "提取", "摘要（SM3）"],
        [[str(row["no"]), row["kind"], row["reference"], row["title"], yuan(row["loss"]),
          f"{row['by']} {row['at']}", f"{row['digest'][:8]}…{row['digest'][-8:]}"] for row in rows],
        align="ccxlrll", unit="金额单位：元", empty="尚无证据。",
        foot=["", "", "", "合计", yuan(sum(row["loss"] for row in rows)), "", ""] if rows else (),
    )  # fmt: skip
    book.note("摘要全文见本文件内嵌的 report.json。")


def _heard(figures: Mapping[str, Any], book: Book) -> None:
    book.heading("告知与陈述申辩")
    told = figures["told_on"]
    book.text(f"{day_name(told)}告知当事人。" if told else "尚未告知当事人。")
    book.text(f"陈述申辩：{figures['statement'] or '未提出陈述申辩。'}")


def _decided(figures: Mapping[str, Any], book: Book) -> None:
    who, day = figures["decided"]
    book.heading("处理决定与执行")
    decided = f"{day_name(day)}由{who}作出决定" if day else "尚未作出决定"
    article = f"，适用条款：第{figures['article']}条" if figures["article"] else ""
    book.text(f"拟办途径：{figures['route'] or '未定'}{article}；{decided}。")
    book.grid(
        "处理措施", ["措施", "依据", "幅度", "状态", "执行日", "执行记录"],
        [["：".join(filter(None, (row["kind"], row["note"]))), row["clause"], _size(row),
          row["state"], row["done_on"] or "—", row["record"]] for row in figures["sanctions"]],
        align="llrccl", empty="尚无处理措施。",
    )  # fmt: skip


def _size(row: Mapping[str, Any]) -> str:
    if row["amount"]:
        return f"{yuan(row['amount'])}元"
    if row["months"]:
        return f"{row['months']}个月"
    return f"{row['points']}分" if row["points"] else "—"


def _papers(rows: list[Mapping[str, Any]], book: Book) -> None:
    book.heading("文书与送达")
    book.grid(
        "卷内文书", ["文书", "文号", "受文者", "制作日"],
        [[row["kind"], row["number"], row["to"], row["on"]] for row in rows],
        align="lxlc", empty="尚无文书。",
    )  # fmt: skip


def _steps(rows: list[Mapping[str, Any]], book: Book) -> None:
    words = {True: "按时", False: "逾期", None: "—"}
    book.heading("办理过程")
    book.grid(
        "办理环节", ["日期", "环节", "经办", "期限", "是否按时", "依据"],
        [[row["on"], row["label"], row["by"], row["due"] or "—", words[row["on_time"]], row["clause"]]
         for row in rows],
        align="cllccl",
    )  # fmt: skip
