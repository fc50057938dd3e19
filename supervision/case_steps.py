"""What the table of 监管案件 names: guards, checks, effects, the clocks, words."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.urls import reverse

from audit import clock, tasks
from audit.models import Move
from audit.moves import advance, refresh
from audit.procedure import Handbook, Refused, State, Step, Turn
from audit.text import yuan
from institutions import news
from institutions.models import Region, User
from institutions.money import fen
from institutions.refusals import Refusal
from supervision import case_writs, findings, law, sanctions
from supervision.case_clocks import due, hearing_until
from supervision.hands import active, handle_of, hands_of, staff_of
from supervision.models import CaseEvidence, CaseInspector, CasePaper, Sanction, SupervisionCase
from supervision.writs import ground, number_of, table_of

HANDLE, ANSWER, DECIDE = "cases.handle", "cases.answer", "cases.decide"


def document(article: str = "31") -> str:
    """An article of the decree, as tasks cite it."""
    return f"{law.decree().document} 第{article}条"


def take_step(
    *, case: SupervisionCase, step: str, who: User | None, by: str, at: dt.datetime,
    on: dt.date | None = None, note: str = "", facts: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> Move:  # fmt: skip
    """Move a case; Refused when it may not, cannot, or lacks something; not by who stood back."""
    if case.stood_back(by):
        raise Refused(403, "RECUSED", "您在本案中已回避或已提出回避，不能再办理本案",
                      clause=law.decree().cite(ground(case, "29")))  # fmt: skip
    return advance(
        case=case, procedure=table_of(case), handbook=HANDBOOK, step=step, who=who,
        level=who.level if who else "", by=by, at=at, on=on, note=note, facts=facts,
        version=version,
    )  # fmt: skip


# --- Guards ---


def route_is(route: str) -> Any:
    """Whether the inquiry proposes a route."""
    return lambda case: case.route == route


def spoken(case: SupervisionCase) -> bool:
    """Whether the party has made a statement since the notice."""
    return bool(case.statement)


# --- Checks ---


def another_than_opener(turn: Turn) -> None:
    """Who opened a case does not approve it."""
    if turn.by == turn.case.opened_by:
        raise _refused(turn, 403, "SAME_PERSON", "提请立案的人不能审批立案")


def not_handler(turn: Turn) -> None:
    """Who inquires or proposed a measure does not decide."""
    if turn.by in hands_of(turn.case):
        raise _refused(turn, 403, "SAME_PERSON", "承办人和检查人员不能对本案作出决定")


def barred(case: SupervisionCase, step: Step, *, by: str, at: dt.datetime) -> str:
    """Why this step is another person's, in Chinese; empty when it may be this one's."""
    turn = Turn(case=case, procedure=table_of(case), step=step, by=by, at=at,
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
                      clause=law.decree().cite(ground(turn.case, "29")))  # fmt: skip


def no_recusal_open(turn: Turn) -> None:
    """A recusal that was asked for or declared is decided first."""
    if turn.case.inspectors.exclude(recusal="").filter(recused=None).exists():
        raise _refused(turn, 409, "RECUSAL_OPEN", "有回避申请尚未决定")


def evidence_listed(turn: Turn) -> None:
    """Nobody is accused without evidence, and no loss is told beyond what the list adds up to."""
    if not turn.case.evidence.exists():
        raise _refused(turn, 409, "NO_EVIDENCE", "证据清单为空，不能告知")
    listed = sum(turn.case.evidence.values_list("loss", flat=True))
    if _fen(turn) > listed:
        words = f"损失超过证据清单所列金额合计{yuan(listed)}元，其余损失须先将测算书等列入证据清单并写明金额"
        raise _refused(turn, 422, "LOSS_NOT_PROVEN", words, "loss")


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
    """Only the institution that is party speaks here; what a person says is recorded by the clerk."""
    own = turn.who.institution_id if turn.who else None
    if not own or own != turn.case.party:
        raise _refused(turn, 403, "NOT_THE_PARTY", "只有当事机构可以办理")


def time_over(turn: Turn) -> None:
    """The time to speak and to ask for a hearing has passed; without one the party says so itself."""
    last = turn.case.due
    if last is None or turn.on <= max(last, hearing_until(turn.case).day or last):
        what = "陈述申辩、申请听证" if "hearing" in turn.procedure.states else "陈述申辩"
        raise _refused(turn, 409, "TIME_NOT_OVER", f"{what}的期限未满，或没有期限")


def hearing_in_time(turn: Turn) -> None:
    """A hearing is asked for within its time, counted from the notice, and once."""
    case: SupervisionCase = turn.case
    last = hearing_until(case)
    if last.day is not None and turn.on > last.day:
        raise Refused(409, "HEARING_TOO_LATE", f"申请听证的期限已于{last.day}届满",
                      clause=document(), field="on")  # fmt: skip
    if _hearing_decided(case):
        raise _refused(turn, 409, "HEARING_DECIDED", "本次告知后已就听证作出决定，不能再次申请")


def _hearing_decided(case: SupervisionCase) -> bool:
    answered = (CasePaper.Kind.HEARING, CasePaper.Kind.NO_HEARING)
    return case.papers.filter(kind__in=answered, pk__gt=_notice(case).pk).exists()


def _notice(case: SupervisionCase) -> CasePaper:
    return case.papers.filter(kind=CasePaper.Kind.NOTICE).latest("pk")


def hearing_settled(turn: Turn) -> None:
    """Nothing is decided while a hearing can be asked for: its time is over, it was decided or waived."""
    case: SupervisionCase = turn.case
    last = hearing_until(case)
    promised = last.unknown is not None or (last.day is not None and turn.on <= last.day)
    if not promised or _hearing_decided(case):
        return
    said = Move.objects.filter(subject=case.subject, at__gte=_notice(case).made_at)
    if not said.filter(step__in=("answer", "record"), facts__waived=True).exists():
        until = f"{last.day}" if last.day else f"{last.unknown}年工作日历公布后确定的最后一日"
        raise _refused(
            turn, 409, "HEARING_POSSIBLE", f"当事人可以申请听证至{until}，其后再提请决定"
        )


def hearing_ahead(turn: Turn) -> None:
    """A hearing is not held before it is granted."""
    if str(turn.facts.get("held_on")) < str(turn.on):
        raise _refused(turn, 422, "DAY_OUTSIDE", "听证日不能早于决定之日", "held_on")


def presider_apart(turn: Turn) -> None:
    """Staff of the area preside: nobody of the party, nobody who inquires, opened or proposed."""
    case, presider = turn.case, str(turn.facts.get("presider"))
    if not staff_of(presider, case.region_code):
        raise _refused(
            turn, 422, "PRESIDER_UNKNOWN", "没有此账号，或不是本辖区医保部门的人员", "presider"
        )
    if presider in hands_of(case) | {case.opened_by}:
        raise _refused(turn, 422, "PRESIDER_INSPECTS",
                       "本案检查人员、提请立案人和拟定措施的人不能主持听证", "presider")  # fmt: skip


def as_noticed(turn: Turn) -> None:
    """A hearing is held on the day of its newest notice, before whom it names."""
    case: SupervisionCase = turn.case
    notice = case.papers.filter(kind=CasePaper.Kind.HEARING).latest("pk")
    fixed = Move.objects.filter(subject=case.subject, target="hearing").latest("pk")
    if fixed.facts.get("presider") in hands_of(case):
        raise _refused(turn, 409, "PRESIDER_INSPECTS", "主持人已成为本案检查人员，须变更主持人")
    if notice.content.get("held_on") != str(turn.on):
        raise _refused(turn, 422, "NOT_AS_NOTICED",
                       f"听证日应为{notice.number}听证通知书所定之日，变更须另行通知", "on")  # fmt: skip


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


def keep_inquiry(turn: Turn) -> None:
    """What the inquiry found; the party knows from now on."""
    case: SupervisionCase = turn.case
    case.route, case.article = (
        str(turn.facts.get("route") or case.route),
        str(turn.facts.get("article") or "")[:8],
    )
    case.facts, case.loss = str(turn.facts["found"])[:4000], _fen(turn)
    case.told_on = turn.on
    if case.party:
        held = case.evidence.filter(kind=CaseEvidence.Kind.FINDING)
        findings.tell_with(held.values_list("reference", flat=True), place=case.party, by=turn.by,
                           at=turn.at)  # fmt: skip
    case.statement, case.statement_at, case.statement_by = "", None, ""
    if case.article:
        try:
            law.decree().article(case.article, day=case.acted_from)
        except law.OutOfRange as error:
            raise _refused(turn, 422, "ARTICLE_UNKNOWN", error.text, "article") from error


def keep_statement(turn: Turn) -> None:
    """What the party says, as it says it; what it says at the hearing follows what it wrote."""
    case: SupervisionCase = turn.case
    said = (case.statement, str(turn.facts["text"]).strip())
    case.statement = "\n".join(filter(None, said))[:4000]
    case.statement_at, case.statement_by = turn.at, turn.by


def order(turn: Turn) -> None:
    """What was proposed is ordered."""
    case: SupervisionCase = turn.case
    case.decided_by, case.decided_on = turn.by, turn.on
    case.sanctions.filter(state=Sanction.State.PROPOSED).update(state=Sanction.State.ORDERED)


def drop_measures(turn: Turn) -> None:
    """Nothing is ordered."""
    turn.case.sanctions.filter(state=Sanction.State.PROPOSED).update(state=Sanction.State.DROPPED)


def finalise(turn: Turn) -> None:
    """The decision is final and carried out; it may be made public from now on."""
    case: SupervisionCase = turn.case
    case.final_on = turn.on
    case_writs.closing_paper(turn)


def keep_archive_no(turn: Turn) -> None:
    """The archive number of the file."""
    case: SupervisionCase = turn.case
    region = Region.objects.get(pk=case.region_code)
    case.archive_no = number_of("archive", region, turn.on, case.procedure)


# --- Words ---


def describe(case: SupervisionCase) -> str:
    """What its tasks are called."""
    return f"监管案件 {case.number}"


def place(case: SupervisionCase) -> str:
    """The address of a case."""
    return reverse("case", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """Whoever goes on hears of it; the agency decides where the agreement is the way."""
    case: SupervisionCase = turn.case
    holder, handle = state.holder, handle_of(case)
    if state.key == "deciding" and case.route == SupervisionCase.Route.AGREEMENT:
        holder = law.routes()[case.route].permission
    elif holder == ANSWER and not case.party:
        holder = handle
    if holder and holder != state.holder:
        tasks.replace(
            subject=case.subject, by=turn.by, at=turn.at, permission=holder,
            title=f"{describe(case)}：{state.todo}", region_code=case.region_code,
            institution_code=case.institution_code, procedure=case.procedure,
            status=state.label, url=place(case), due=case.due, due_unknown=case.due_unknown,
            clause=document(ground(case, "31")),
        )  # fmt: skip
    heard = [holder] if holder else []
    if state.key == "dismissed":
        heard = [handle, ANSWER] if case.party else [handle]
    for permission in heard:
        news.tell(
            permission=permission, region_code=case.region_code,
            institution_code=case.party if case.told_on else "",
            text=f"{describe(case)}：{turn.step.label}", url=place(case), subject=case.subject,
            at=turn.at,
        )  # fmt: skip


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """Clocks that waited for a calendar year are computed anew; how many moved."""
    rows = SupervisionCase.objects.filter(due_unknown=year)
    return sum(refresh(case=row, procedure=table_of(row), handbook=HANDBOOK, at=at) for row in rows)


HANDBOOK = Handbook(
    guards={f"route_{key}": route_is(key) for key in SupervisionCase.Route.values}
    | {"spoken": spoken, "unspoken": lambda case: not spoken(case)},
    checks={
        "another_than_opener": another_than_opener, "not_handler": not_handler,
        "an_inspector": an_inspector, "enough_inspectors": enough_inspectors,
        "no_recusal_open": no_recusal_open, "evidence_listed": evidence_listed,
        "measures_fit": measures_fit, "party_itself": party_itself, "time_over": time_over,
        "presider_apart": presider_apart, "all_done": all_done,
        "hearing_in_time": hearing_in_time, "hearing_ahead": hearing_ahead,
        "hearing_settled": hearing_settled, "as_noticed": as_noticed,
    },
    effects={
        "filing_paper": case_writs.filing_paper, "notice_papers": case_writs.notice_papers,
        "request_paper": case_writs.request_paper, "hearing_paper": case_writs.hearing_paper,
        "no_hearing_paper": case_writs.no_hearing_paper,
        "decision_paper": case_writs.decision_paper,
        "dismissal_paper": case_writs.dismissal_paper, "transfer_paper": case_writs.transfer_paper,
        "decision_receipt": case_writs.decision_receipt,
        "transfer_receipt": case_writs.transfer_receipt, "keep_inquiry": keep_inquiry,
        "keep_statement": keep_statement, "order": order, "drop_measures": drop_measures,
        "finalise": finalise, "keep_archive_no": keep_archive_no,
    },
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip
