"""The parts of a supervision case's page: phases, facts, clock, people, evidence, measures, papers, moves."""

from typing import Any

from django.urls import reverse

from audit import clock, words
from audit.models import Move
from audit.tables import Cell, Column, Row, Table
from audit.text import yuan
from institutions.naming import Login, Told
from supervision import law, recoveries, sanctions
from supervision.case_clocks import hearing_until, time_is_example
from supervision.models import (
    ArchiveLoan,
    CaseEvidence,
    CaseInspector,
    CasePaper,
    Disclosure,
    Sanction,
    SupervisionCase,
)
from supervision.writs import ground, institution_of, table_of

PHASES = ("立案", "调查", "告知", "决定", "执行", "结案", "归档")
TONES = {"proposed": "wait", "ordered": "warn", "done": "ok", "dropped": "mute",
         "ended": "mute"}  # fmt: skip
BAD = ("declined", "dismissed")
INSIDE = ("来源", "线索摘要", "提请人")  #: facts for the office only
#: steps whose words stand in a paper to the party, or are the party's own: it reads no other note
SAID = ("answer", "record", "ask_hearing", "record_hearing", "refuse_hearing",
        "refuse_hearing_spoken", "consider", "decide_agreement", "decide_penalty", "dismiss",
        "dismiss_agreement")  # fmt: skip


def phases(found: SupervisionCase) -> list[dict[str, str]]:
    """The way of a case, from its opening to the archive."""
    now = PHASES.index(table_of(found).states[found.state].phase)
    over, failed = found.state == "archived", found.state in BAD
    return [
        {"label": phase, "state": "done" if number < now or over
         else ("failed" if failed else "now") if number == now else "next"}
        for number, phase in enumerate(PHASES)
    ]  # fmt: skip


def facts(found: SupervisionCase, *, own: bool) -> list[dict[str, Any]]:
    """What the case is; the party is not told how the office came to know (a report may name itself)."""
    place = institution_of(found.institution_code)
    facts: list[dict[str, Any]] = [
        {"label": "案号", "value": found.number},
        {"label": "对象", "value": found.subject_name, "sub": found.get_subject_kind_display()},
        {"label": "发生机构", "value": place.name if place else "—",
         "url": reverse("institution", args=[place.pk]) if place else ""},
        {"label": "行为期间", "value": span(found)},
        {"label": "来源", "value": found.get_origin_display(), "sub": found.origin_ref},
        {"label": "提请人", "value": Login(found.opened_by),
         "sub": f"{clock.local(found.opened_at):%Y-%m-%d %H:%M}"},
        {"label": "承办人", "value": Login(found.handled_by) or "—"},
        {"label": "决定人", "value": Login(found.decided_by) or "—",
         "sub": str(found.decided_on or "")},
        {"label": "档号", "value": found.archive_no or "—"},
        {"label": "线索摘要", "value": found.summary, "wide": True},
    ]  # fmt: skip
    return [fact for fact in facts if not own or fact["label"] not in INSIDE]


def span(found: SupervisionCase) -> str:
    """The days of the acts in question."""
    first, last = found.acted_from, found.acted_until
    return f"{first}" if first == last else f"{first} 至 {last}"


def inquiry(found: SupervisionCase) -> list[dict[str, Any]]:
    """The route, its article and the loss told."""
    if not found.facts:
        return []
    article = law.decree().articles.get(found.article)
    return [
        {"label": "拟办途径", "value": found.get_route_display(),
         "sub": law.routes()[found.route].summary},
        {"label": "适用条款", "value": law.decree().cite(found.article) if found.article else "—",
         "sub": article.summary if article else ""},
        {"label": "造成基金损失", "value": f"{yuan(found.loss)} 元" if found.loss else "无"},
        *([{"label": "申请听证期限", "value": str(hearing_until(found).day or "没有期限"),
            "sub": f"告知日 {found.told_on}" if found.told_on else ""}]
          if "hearing" in table_of(found).states else []),
        {"label": "查明的事实", "value": found.facts, "wide": True},
        {"label": "陈述申辩", "value": found.statement or "（未提出）", "wide": True},
    ]  # fmt: skip


def due(found: SupervisionCase) -> dict[str, Any] | None:
    """The clock that runs, None without one."""
    if found.closed_at is not None or not (found.due or found.due_unknown):
        return None
    return {"due": found.due, "unknown": found.due_unknown, "word": table_of(found).states[found.state].todo,
            "clause": found.due_clause,
            "example": time_is_example(found)}  # fmt: skip


def inspectors(found: SupervisionCase) -> Table:
    """Who inspects, with what was said of their recusal."""
    return Table(
        id="inspectors", caption="检查人员", show_caption=False, actions=False,
        columns=[Column(label="检查人员"), Column(label="分工"), Column(label="执法证号"),
                 Column(label="回避", wide=True)],
        rows=[Row(key=str(row.pk), label=row.username, cells=[
            Cell(text=Login(row.username), sub=f"{clock.local(row.named_at):%Y-%m-%d}"),
            Cell(text=row.get_role_display()), Cell(text=row.certificate or "—", code=bool(row.certificate)),
            _recusal(row),
        ]) for row in found.inspectors.all()],
        empty_title="还没有检查人员",
        empty_text=f"调查须有{law.inspectors_needed()}名以上检查人员"
                   f"（{law.decree().cite(ground(found, '29'))}）。",
    )  # fmt: skip


def _recusal(row: CaseInspector) -> Cell:
    if not row.recusal:
        return Cell(text="—")
    words = {True: "已回避", False: "不予回避", None: "待决定"}
    tones = {True: "mute", False: "ok", None: "warn"}
    why = f"（决定理由：{row.decision_reason}）" if row.decision_reason else ""
    more = ("；由", Login(row.replaced_by), "接替") if row.replaced_by else ()
    return Cell(text=words[row.recused], tone=tones[row.recused],
                sub=Told(f"{row.get_recusal_display()}：{row.recusal_reason}{why}", *more))  # fmt: skip


def evidence(found: SupervisionCase, *, own: bool) -> Table:
    """The list of evidence, each piece with its digest; the party reads no internal piece."""
    rows = list(found.evidence.shown_to(own=own).select_related("document"))
    return Table(
        id="evidence", caption="已收集的证据", show_caption=False,
        columns=[Column(label="序号"), Column(label="名称与证明内容", wide=True), Column(label="类别"),
                 Column(label="涉及基金（元）", numeric=True), Column(label="摘要（SM3）")],
        rows=[Row(key=str(row.pk), label=row.title, cells=[
            Cell(text=str(row.no)),
            Cell(text=row.title, sub=_beside(row, own=own), url=_source(found, row)),
            Cell(text=row.get_kind_display(), sub="内部材料" if row.internal else ""),
            Cell(text=yuan(row.loss) if row.loss else "—"),
            Cell(text=f"{row.digest[:16]}…", code=True, title=row.digest,
                 sub=Told(f"{clock.local(row.taken_at):%Y-%m-%d} ", Login(row.taken_by))),
        ]) for row in rows],
        empty_title="还没有证据", empty_text="没有证据不能告知当事人。",
    )  # fmt: skip


def _beside(row: CaseEvidence, *, own: bool) -> str:
    """What a piece refers to; the office also reads which other case carries its loss, and why it is here."""
    said = row.content
    other = (
        f"另案{said['other']}；并列理由：{said['because']}" if "other" in said and not own else ""
    )
    return "；".join(filter(None, (words.subject(row.reference), other)))


def _source(found: SupervisionCase, row: CaseEvidence) -> str:
    if row.document_id:
        return reverse("case-evidence", args=[found.pk, row.pk])
    kind, _, key = row.reference.partition(":")
    if kind == "finding" and key.isdigit():
        return reverse("finding", args=[key])
    return reverse("claim", args=[row.claim_id]) if row.claim_id else ""


def measures(found: SupervisionCase) -> Table:
    """What is proposed or ordered, and whether it was done."""
    rows = []
    for row in found.sanctions.all():
        told = sanctions.told(row)
        rows.append(Row(key=str(row.pk), label=told["label"], cells=[
            Cell(text=told["label"], sub=told["note"]), Cell(text=told["target"]),
            Cell(text=told["size"] or "—"), Cell(text=told["clause"]), _done(row),
        ]))  # fmt: skip
    return Table(
        id="measures", caption="处理措施", show_caption=False, actions=False,
        columns=[Column(label="措施", wide=True), Column(label="对象", wide=True), Column(label="内容"),
                 Column(label="依据", wide=True), Column(label="状态", wide=True)],
        rows=rows, empty_title="还没有处理措施",
        empty_text="调查中拟定的措施在此列明，告知当事人后由他人决定。",
    )  # fmt: skip


def _done(row: Sanction) -> Cell:
    made = [recoveries.told(each) for each in row.effects]
    text = "；".join(filter(None, (str(row.done_on or ""), row.record, *made)))
    return Cell(text=row.get_state_display(), tone=TONES[row.state], sub=text)


def after(found: SupervisionCase, *, own: bool) -> list[dict[str, Any]]:
    """Whether it is public, and who has the file; the party reads only what everybody does."""
    rows = []
    shown = Disclosure.objects.filter(case=found).first()
    public = shown is not None and bool(shown.approved_by) and shown.withdrawn_at is None
    if shown is not None and (public or not own):
        state = "已撤下" if shown.withdrawn_at else "已公布" if shown.approved_by else "待审批"
        rows.append({"label": "公开", "value": f"{state}（{shown.first_day} 至 {shown.last_day or '长期'}）",
                     "sub": shown.withdrawn_for or ("示例参数" if shown.example else ""),
                     "url": reverse("public-cases") if state == "已公布" else ""})  # fmt: skip
    for loan in () if own else ArchiveLoan.objects.filter(case=found):
        state = "已归还" if loan.returned_at else "借出中" if loan.approved_by else "待批准"
        rows.append({"label": "借阅", "value": Told(Login(loan.asked_by), f"：{state}"),
                     "sub": f"{loan.purpose}；应还 {loan.until}"})  # fmt: skip
    return rows


def paper(row: CasePaper) -> dict[str, Any]:
    """A paper of the case, as its list shows it."""
    return {
        "title": row.get_kind_display(), "number": row.number, "on": row.made_on,
        "addressee": row.addressee, "url": reverse("case-paper", args=[row.case_id, row.pk]),
        "served": row.content.get("served_on", ""),
    }  # fmt: skip


def move(found: SupervisionCase, row: Move, *, own: bool) -> dict[str, Any]:
    """A step that was taken; the party is not told what the office said inside."""
    labels = {ask.key: dict(ask.choices) for step in table_of(found).steps for ask in step.asks}
    said = [labels.get(key, {}).get(str(value), "") for key, value in row.facts.items()]
    note = row.note if not own or row.step in SAID else ""
    return {
        "at": f"{row.on} · 登记 {clock.local(row.at):%Y-%m-%d %H:%M}", "by": row.by,
        "title": row.label, "text": "；".join(filter(None, [note, *said])),
        "tone": "bad" if row.target in BAD else "ok",
        "clause": {"document": row.clause, "clause": ""} if row.clause else None,
    }  # fmt: skip
