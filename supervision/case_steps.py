"""What the table of 监管案件 names: guards, checks, effects, the clocks, words."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse

from agreements import deadlines
from agreements.clocks import parameter_row
from audit import clock, tasks
from audit.models import Move
from audit.moves import advance, refresh
from audit.procedure import PROCEDURES, Due, Handbook, Pauses, Refused, State, Step, Turn
from institutions import news
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Institution, Region, User
from institutions.money import fen
from institutions.refusals import Refusal
from supervision import findings, law, sanctions
from supervision.models import CaseEvidence, CaseInspector, CasePaper, Sanction, SupervisionCase

TABLE = "case"
HANDLE, ANSWER, DECIDE = "cases.handle", "cases.answer", "cases.decide"
Kind = CasePaper.Kind


def document(article: str = "31") -> str:
    """An article of the decree, as tasks cite it."""
    return f"{PROCEDURES[TABLE].document} 第{article}条"


def take_step(
    *, case: SupervisionCase, step: str, who: User | None, by: str, at: dt.datetime,
    on: dt.date | None = None, note: str = "", facts: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> Move:  # fmt: skip
    """Move a case; Refused when it may not, cannot, or lacks something."""
    return advance(
        case=case, procedure=PROCEDURES[TABLE], handbook=HANDBOOK, step=step, who=who,
        level=who.level if who else "", by=by, at=at, on=on, note=note, facts=facts,
        version=version,
    )  # fmt: skip


# --- Numbers and papers ---


def number_of(what: str, region: Region, day: dt.date) -> str:
    """The next number of a kind of paper of an office in a year: no gaps, no doubles."""
    pattern: str = PROCEDURES[TABLE].data["numbers"][what]
    serial = tasks.next_number(f"case:{what}:{region.code}:{day.year}")
    area = region.name.removesuffix("市").removesuffix("省")
    return pattern.format(area=region.code if what == "archive" else area, year=day.year,
                          number=serial)  # fmt: skip


def canonical(content: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8; days and times as text."""
    return json.dumps(
        content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
    ).encode()


def make_paper(
    case: SupervisionCase, kind: str, content: dict[str, Any], *, on: dt.date, by: str,
    at: dt.datetime, addressee: str = "", serves: CasePaper | None = None,
) -> CasePaper:  # fmt: skip
    """A paper of a case with its own number; what it says is fixed from then on."""
    plain = canonical(content)
    return CasePaper.objects.create(
        case=case, kind=kind, number=number_of(kind, Region.objects.get(pk=case.region_code), on),
        addressee=addressee or addressee_of(case), content=json.loads(plain),
        digest=hashlib.new("sm3", plain).hexdigest(), made_on=on, made_at=at, made_by=by,
        serves=serves,
    )  # fmt: skip


def addressee_of(case: SupervisionCase) -> str:
    """To whom its papers go: the subject; a practitioner with the institution."""
    place = institution_of(case.institution_code)
    if place is not None and case.subject_kind not in ("institution", "person"):
        return f"{case.subject_name}（{place.name}）"[:120]
    return case.subject_name


def institution_of(code: str) -> Institution | None:
    """The institution of a case."""
    return Institution.objects.filter(pk=code).first() if code else None


def active(case: SupervisionCase) -> QuerySet[CaseInspector]:
    """Who inquires now: not recused."""
    return case.inspectors.filter(Q(recused=None) | Q(recused=False))


# --- Guards ---


def route_is(route: str) -> Any:
    """Whether the inquiry proposes a route."""
    return lambda case: case.route == route


# --- Checks ---


def another_than_opener(turn: Turn) -> None:
    """Who opened a case does not approve it."""
    if turn.by == turn.case.opened_by:
        raise _refused(turn, 403, "SAME_PERSON", "提请立案的人不能审批立案")


def not_handler(turn: Turn) -> None:
    """Who inquires, opened, or proposed a measure does not decide."""
    case: SupervisionCase = turn.case
    hands = {case.handled_by, *case.inspectors.values_list("username", flat=True)}
    hands |= set(case.sanctions.values_list("proposed_by", flat=True))
    if turn.by in hands:
        raise _refused(turn, 403, "SAME_PERSON", "承办人和检查人员不能对本案作出决定")


def barred(case: SupervisionCase, step: Step, *, by: str, at: dt.datetime) -> str:
    """Why this step is another person's, in Chinese; empty when it may be this one's."""
    turn = Turn(case=case, procedure=PROCEDURES[TABLE], step=step, by=by, at=at,
                on=clock.local(at).date())  # fmt: skip
    for check in (another_than_opener, not_handler):
        if check.__name__ in step.checks:
            try:
                check(turn)
            except Refused as refused:
                return refused.detail
    return ""


def an_inspector(turn: Turn) -> None:
    """What the inquiry says is said by one of its inspectors."""
    if not active(turn.case).filter(username=turn.by).exists():
        raise _refused(turn, 403, "NOT_AN_INSPECTOR", "须由本案检查人员办理")


def enough_inspectors(turn: Turn) -> None:
    """At least as many inspectors as the decree demands, one of them the lead."""
    least, rows = law.inspectors_needed(), active(turn.case)
    if rows.count() < least or not rows.filter(role=CaseInspector.Role.LEAD).exists():
        raise Refused(422, "TOO_FEW_INSPECTORS", f"须有{least}名以上检查人员，其中1名主办",
                      clause=law.decree().cite("29"))  # fmt: skip


def no_recusal_open(turn: Turn) -> None:
    """A recusal that was asked for is decided first."""
    if turn.case.inspectors.filter(recusal=CaseInspector.Recusal.ASKED, recused=None).exists():
        raise _refused(turn, 409, "RECUSAL_OPEN", "有回避申请尚未决定")


def evidence_listed(turn: Turn) -> None:
    """Nobody is accused without evidence, and the loss is what the list adds up to."""
    rows = list(turn.case.evidence.all())
    if not rows:
        raise _refused(turn, 409, "NO_EVIDENCE", "证据清单为空，不能告知")
    listed = sum(row.loss for row in rows)
    if _fen(turn) > listed > 0:
        raise _refused(turn, 422, "LOSS_NOT_PROVEN", "损失超过证据清单所列金额合计", "loss")


def measures_fit(turn: Turn) -> None:
    """Every proposed measure belongs to the route and lies within the article's range."""
    case: SupervisionCase = turn.case
    route = turn.facts.get("route") or case.route
    loss = _fen(turn) if "loss" in turn.facts else case.loss
    try:
        for row in case.sanctions.filter(state=Sanction.State.PROPOSED):
            sanctions.sound(row, route=str(route), loss=loss)
    except Refusal as error:
        clause = error.faults[0].clause if error.faults else turn.step.clause
        raise Refused(422, error.code, error.detail[0], clause=clause) from error


def party_itself(turn: Turn) -> None:
    """Only the institution concerned speaks for itself here."""
    own = turn.who.institution_id if turn.who else None
    if not own or own != turn.case.institution_code:
        raise _refused(turn, 403, "NOT_THE_PARTY", "只有当事机构可以办理")


def time_over(turn: Turn) -> None:
    """The time to speak has passed; without a fixed time the party says so itself."""
    if turn.case.due is None or turn.on <= turn.case.due:
        raise _refused(turn, 409, "TIME_NOT_OVER", "陈述申辩期限未满，或没有期限")


def presider_apart(turn: Turn) -> None:
    """Who inquires does not preside."""
    if turn.case.inspectors.filter(username=str(turn.facts.get("presider"))).exists():
        raise _refused(turn, 422, "PRESIDER_INSPECTS", "本案检查人员不能主持听证", "presider")


def all_done(turn: Turn) -> None:
    """A case is closed when every measure was carried out."""
    if left := sanctions.unfinished(turn.case):
        raise _refused(turn, 409, "MEASURES_OPEN", f"还有{left}项处理措施没有执行或入账")


def _refused(turn: Turn, status: int, code: str, words: str, field: str = "") -> Refused:
    return Refused(status, code, words, clause=turn.step.clause, field=field)


def _fen(turn: Turn) -> int:
    try:
        return fen(str(turn.facts.get("loss", "0")))
    except ValueError:
        raise Refused(422, "AMOUNT_WRONG", "金额应为元，至多两位小数", field="loss") from None


# --- Effects ---


def filing_paper(turn: Turn) -> None:
    """立案审批表."""
    case: SupervisionCase = turn.case
    make_paper(
        case, Kind.FILING,
        {"case": case.number, "title": case.title, "subject": case.subject_name,
         "origin": case.get_origin_display(), "reference": case.origin_ref,
         "summary": case.summary, "opened_by": case.opened_by, "approved_by": turn.by,
         "note": turn.note},
        on=turn.on, by=turn.by, at=turn.at,
    )  # fmt: skip


def keep_inquiry(turn: Turn) -> None:
    """What the inquiry found; the party knows from now on."""
    case: SupervisionCase = turn.case
    case.route, case.article = str(turn.facts["route"]), str(turn.facts.get("article") or "")[:8]
    case.facts, case.loss = str(turn.facts["found"])[:4000], _fen(turn)
    case.told_on = turn.on
    held = case.evidence.filter(kind=CaseEvidence.Kind.FINDING)
    findings.tell_with(held.values_list("reference", flat=True), by=turn.by, at=turn.at)
    case.statement, case.statement_at, case.statement_by = "", None, ""
    if case.article:
        try:
            law.decree().article(case.article, day=case.acted_from)
        except law.OutOfRange as error:
            raise _refused(turn, 422, "ARTICLE_UNKNOWN", error.text, "article") from error


def notice_papers(turn: Turn) -> None:
    """告知书 and 证据清单 with their receipt: what is found, what is proposed, how to speak."""
    case: SupervisionCase = turn.case
    route = law.routes()[case.route]
    listed = [
        {"no": row.no, "kind": row.get_kind_display(), "reference": row.reference,
         "title": row.title, "loss": row.loss, "sm3": row.digest}
        for row in case.evidence.all()
    ]  # fmt: skip
    notice = make_paper(
        case, Kind.NOTICE,
        {"case": case.number, "title": case.title, "found": case.facts, "loss": case.loss,
         "days": [str(case.acted_from), str(case.acted_until)], "route": route.label,
         "article": law.decree().cite(case.article) if case.article else "",
         "measures": [sanctions.told(row) for row in case.sanctions.filter(state="proposed")],
         "inspectors": [[row.username, row.certificate] for row in active(case)]},
        on=turn.on, by=turn.by, at=turn.at,
    )  # fmt: skip
    make_paper(case, Kind.EVIDENCE, {"case": case.number, "notice": notice.number, "items": listed},
               on=turn.on, by=turn.by, at=turn.at)  # fmt: skip
    _receipt(turn, notice)


def _receipt(turn: Turn, paper: CasePaper) -> None:
    """送达回证: who received it, when, how."""
    asked = {ask.key: dict(ask.choices) for ask in turn.step.asks}.get("method") or {}
    method = asked.get(str(turn.facts.get("method")), "直接送达")
    make_paper(
        turn.case, Kind.RECEIPT,
        {"case": turn.case.number, "paper": paper.get_kind_display(), "number": paper.number,
         "method": method, "receiver": str(turn.facts.get("receiver", ""))[:80],
         "served_on": str(turn.on), "served_by": turn.by},
        on=turn.on, by=turn.by, at=turn.at, serves=paper,
    )  # fmt: skip


def keep_statement(turn: Turn) -> None:
    """What the party says, as it says it."""
    case: SupervisionCase = turn.case
    case.statement = str(turn.facts["text"]).strip()[:4000]
    case.statement_at, case.statement_by = turn.at, turn.by


def hearing_paper(turn: Turn) -> None:
    """听证通知书."""
    make_paper(
        turn.case, Kind.HEARING,
        {"case": turn.case.number, "asked_on": str(turn.on), "reasons": turn.note},
        on=turn.on, by=turn.by, at=turn.at,
    )  # fmt: skip


def order(turn: Turn) -> None:
    """What was proposed is ordered."""
    case: SupervisionCase = turn.case
    case.decided_by, case.decided_on = turn.by, turn.on
    case.sanctions.filter(state=Sanction.State.PROPOSED).update(state=Sanction.State.ORDERED)


def decision_paper(turn: Turn) -> None:
    """处理决定书."""
    _decision(turn, Kind.DECISION, "")


def transfer_paper(turn: Turn) -> None:
    """案件移送书."""
    _decision(turn, Kind.TRANSFER, str(turn.facts["organ"])[:120])


def _decision(turn: Turn, kind: str, addressee: str) -> None:
    case: SupervisionCase = turn.case
    make_paper(
        case, kind,
        {"case": case.number, "title": case.title, "subject": case.subject_name,
         "found": case.facts, "loss": case.loss, "days": [str(case.acted_from), str(case.acted_until)],
         "statement": case.statement, "considered": _note_of(case, "consider"),
         "route": law.routes()[case.route].label, "opinion": turn.note, "decided_by": turn.by,
         "article": law.decree().cite(case.article) if case.article else "",
         "measures": [sanctions.told(row) for row in case.sanctions.filter(state="ordered")],
         "evidence": case.evidence.count()},
        on=turn.on, by=turn.by, at=turn.at, addressee=addressee,
    )  # fmt: skip


def _note_of(case: SupervisionCase, step: str) -> str:
    move = Move.objects.filter(subject=case.subject, step=step).order_by("-pk").first()
    return move.note if move else ""


def decision_receipt(turn: Turn) -> None:
    """The decision's receipt."""
    _receipt(turn, turn.case.papers.filter(kind=Kind.DECISION).latest("pk"))


def transfer_receipt(turn: Turn) -> None:
    """The receipt of whom the case was transferred to."""
    _receipt(turn, turn.case.papers.filter(kind=Kind.TRANSFER).latest("pk"))


def drop_measures(turn: Turn) -> None:
    """Nothing is ordered."""
    turn.case.sanctions.filter(state=Sanction.State.PROPOSED).update(state=Sanction.State.DROPPED)


def finalise(turn: Turn) -> None:
    """结案报告: the decision is final and carried out; it may be made public from now on."""
    case: SupervisionCase = turn.case
    case.final_on = turn.on
    make_paper(
        case, Kind.CLOSING,
        {"case": case.number, "title": case.title, "subject": case.subject_name,
         "opinion": turn.note, "closed_by": turn.by,
         "measures": [sanctions.told(row) | {"record": row.record, "done_on": str(row.done_on)}
                      for row in case.sanctions.filter(state="done")]},
        on=turn.on, by=turn.by, at=turn.at,
    )  # fmt: skip


def keep_archive_no(turn: Turn) -> None:
    """The archive number of the file."""
    case: SupervisionCase = turn.case
    region = Region.objects.get(pk=case.region_code)
    case.archive_no = number_of("archive", region, turn.on)


# --- Clock and words ---


def due(case: SupervisionCase, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day by the region's parameter; without one there is no deadline."""
    key = state.within or state.stops
    rule = PROCEDURES[TABLE].data["clocks"][key]
    row = parameter_row(Region.objects.get(pk=case.region_code), rule["parameter"], case.entered_on)
    if row is None or not isinstance(row.value, int):
        return Due(None, clause=rule["clause"])
    length = {key: {"working_days": row.value, "clause": rule["clause"]}}
    try:
        found = deadlines.clock(step=key, start=start, pauses=pauses, procedures=length,
                                calendar=load_calendar(case.region_code))  # fmt: skip
    except MissingYear as gap:
        return Due(None, clause=rule["clause"], unknown=gap.year)
    return Due(found.day, nominal=found.nominal if found.day else None, clause=found.clause)


def time_is_example(case: SupervisionCase) -> bool:
    """Whether the clock of the present state runs by an example parameter (示例)."""
    rule = PROCEDURES[TABLE].data["clocks"].get(PROCEDURES[TABLE].states[case.state].within)
    region = Region.objects.get(pk=case.region_code)
    row = parameter_row(region, rule["parameter"], case.entered_on) if rule else None
    return row is not None and row.example


def describe(case: SupervisionCase) -> str:
    """What its tasks are called."""
    return f"监管案件 {case.number}"


def place(case: SupervisionCase) -> str:
    """The address of a case."""
    return reverse("case", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """Whoever goes on hears of it; the agency decides where the agreement is the way."""
    case: SupervisionCase = turn.case
    holder = state.holder
    if state.key == "deciding" and case.route == SupervisionCase.Route.AGREEMENT:
        holder = law.routes()[case.route].permission
    elif holder == ANSWER and not case.institution_code:
        holder = HANDLE
    if holder and holder != state.holder:
        tasks.replace(
            subject=case.subject, by=turn.by, at=turn.at, permission=holder,
            title=f"{describe(case)}：{state.todo}", region_code=case.region_code,
            institution_code=case.institution_code, procedure=TABLE, status=state.label,
            url=place(case), due=case.due, due_unknown=case.due_unknown, clause=document(),
        )  # fmt: skip
    if holder:
        news.tell(
            permission=holder, region_code=case.region_code,
            institution_code=case.institution_code if case.told_on else "",
            text=f"{describe(case)}：{turn.step.label}", url=place(case), subject=case.subject,
            at=turn.at,
        )  # fmt: skip


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """Clocks that waited for a calendar year are computed anew; how many moved."""
    rows = SupervisionCase.objects.filter(due_unknown=year)
    return sum(
        refresh(case=row, procedure=PROCEDURES[TABLE], handbook=HANDBOOK, at=at) for row in rows
    )


HANDBOOK = Handbook(
    guards={f"route_{key}": route_is(key) for key in SupervisionCase.Route.values},
    checks={
        "another_than_opener": another_than_opener, "not_handler": not_handler,
        "an_inspector": an_inspector, "enough_inspectors": enough_inspectors,
        "no_recusal_open": no_recusal_open, "evidence_listed": evidence_listed,
        "measures_fit": measures_fit, "party_itself": party_itself, "time_over": time_over,
        "presider_apart": presider_apart, "all_done": all_done,
    },
    effects={
        "filing_paper": filing_paper, "keep_inquiry": keep_inquiry, "notice_papers": notice_papers,
        "keep_statement": keep_statement, "hearing_paper": hearing_paper, "order": order,
        "decision_paper": decision_paper, "transfer_paper": transfer_paper,
        "decision_receipt": decision_receipt, "transfer_receipt": transfer_receipt,
        "drop_measures": drop_measures, "finalise": finalise, "keep_archive_no": keep_archive_no,
    },
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip
