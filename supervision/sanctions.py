"""What a case can order, within which limits, and how it is carried out through the commands that own it.

Recovery goes through the ledger (deductions of claims, adjustments by two persons), agreements through
agreements' decisions, practitioners and persons through restrictions. A fine is recorded with its
receipt: it is no money of the fund. (国务院令第735号 第38至41、45条；温医保办〔2021〕6号 二十二、二十八)
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction

from agreements import lifecycle
from agreements.models import Agreement
from audit import clock, trail
from audit.text import yuan
from institutions.departments import department
from institutions.models import Institution, Physician, Region, User
from institutions.refusals import Refusal, refused
from settlement.models import Adjustment
from settlement.terms import cite
from supervision import law, recoveries, subjects
from supervision.hands import handle_of, hands_of, refuse_recused
from supervision.models import Sanction, SupervisionCase

State = Sanction.State
HANDLE, CARRY = "cases.handle", "inspections.carry"
#: who carries out a measure; HANDLE stands for the handler of the case, of the bureau or the agency
EXECUTES: Mapping[str, tuple[str, ...]] = {
    "suspend_agreement": ("agreements.decide",),
    "terminate_agreement": ("agreements.decide",),
    "recovery": (HANDLE, "statements.deduct"),
    "interview": (HANDLE, CARRY),
}
MONEY = ("fine", "recovery")
ALIVE = (State.PROPOSED, State.ORDERED, State.DONE)  #: what a case proposes, ordered or carried out
#: kind of the article's range by which months are checked
MONTHS = {"suspend_department": "department_months", "suspend_person": "online_months"}
DEPARTMENT = "suspend_department"
NEEDS_MONTHS = (*MONTHS, "suspend_practitioner")
NEEDS_TARGET = ("suspend_practitioner", "points", "suspend_department")
NEEDS_ARTICLE = ("fine", "suspend_department", "suspend_person")


# --- Proposing ---


@transaction.atomic
def propose(
    *, case: SupervisionCase, kind: str, by: str, at: dt.datetime, article: str = "",
    target: str = "", amount: int | None = None, months: int | None = None,
    points: int | None = None, scheme: str = "", condition: str = "", note: str = "",
) -> Sanction:  # fmt: skip
    """Propose a measure while the case is inquired into; its limits are checked against the article."""
    found = SupervisionCase.objects.select_for_update().get(pk=case.pk)
    refuse_recused(found, by)
    if found.state != "investigating":
        raise refused("kind", "NOT_INVESTIGATING", "案件不在调查阶段", "the inquiry is over",
                      status=409)  # fmt: skip
    if kind not in law.measures():
        raise refused("kind", "MEASURE_UNKNOWN", "没有这一措施", "no such measure")
    row = Sanction(
        case=found, kind=kind, article=article.strip(), target=target.strip(), amount=amount,
        months=months, points=points, scheme=scheme, condition=condition, note=note.strip()[:400],
        proposed_at=at, proposed_by=by,
    )  # fmt: skip
    row.clause = clause_of(row)
    _complete(row)
    loss = sum(found.evidence.values_list("loss", flat=True))
    _within(row, loss)
    row.save()
    _event(row, "propose", by, at)
    return row


@transaction.atomic
def drop(*, sanction: Sanction, by: str, at: dt.datetime) -> None:
    """Take a proposal back while the case is inquired into."""
    row = Sanction.objects.select_for_update().get(pk=sanction.pk)
    refuse_recused(row.case, by)
    if row.state != State.PROPOSED or row.case.state != "investigating":
        raise refused("state", "NOT_PROPOSED", "该措施已不能撤回", "it is too late", status=409)
    row.state = State.DROPPED
    row.save(update_fields=["state"])
    _event(row, "drop", by, at)


def clause_of(row: Sanction) -> str:
    """What a measure rests on: the article, or the region's document, or the agreement itself."""
    if row.article:
        return law.decree().cite(row.article)
    pool = Region.objects.get(pk=row.case.region_code).policy_region
    named = law.measures()[row.kind].clauses.get(pool)
    if named is None:
        named = next((route.clauses.get(pool) for route in law.routes().values()
                      if row.kind in route.measures), None)  # fmt: skip
    found = cite(pool, row.case.acted_until, named) if named else None
    return f"{found['document']} {found['clause']}" if found else "医保服务协议约定"


def _complete(row: Sanction) -> None:
    """Every measure says how much, how long, against whom."""
    wanted = (
        (row.kind in MONEY, "amount", row.amount, "金额"),
        (row.kind in NEEDS_MONTHS, "months", row.months, "期限（月）"),
        (row.kind == "points", "points", row.points, "分值"),
        (row.kind in NEEDS_TARGET, "target", row.target, "对象"),
        (row.kind in NEEDS_ARTICLE, "article", row.article, "适用条款"),
        (row.kind == "recovery", "scheme", row.scheme, "险种"),
        (bool(row.condition), "note", row.note, "说明：责令改正的情况和所选情形的事实"),
    )
    for needed, field, value, word in wanted:
        if needed and not value:
            raise refused(field, "REQUIRED", f"请填写{word}", f"{field} is needed")
    if row.kind in ("suspend_practitioner", "points") and _practitioner(row) is None:
        raise refused("target", "PRACTITIONER_UNKNOWN", "本案机构没有此医师、药师或护士",
                      "no such practitioner there")  # fmt: skip
    if row.kind == DEPARTMENT and row.target not in departments_of(row.case):
        raise refused("target", "DEPARTMENT_UNKNOWN", "本案机构没有登记这一诊疗科目",
                      "the institution has no such department")  # fmt: skip
    person = row.case.subject_kind == SupervisionCase.Subject.PERSON
    if (row.kind == "suspend_person") != (person and row.kind not in (*MONEY, "interview")):
        raise refused("kind", "MEASURE_NOT_FOR_SUBJECT", "该措施不适用于本案对象",
                      "not for this subject")  # fmt: skip


def _practitioner(row: Sanction) -> Physician | None:
    return Physician.objects.filter(pk=row.target, institution=row.case.institution_code).first()


def departments_of(case: SupervisionCase) -> list[str]:
    """Codes of the departments of the institution of a case."""
    place = Institution.objects.filter(pk=case.institution_code).first()
    return place.departments() if place else []


def _within(row: Sanction, loss: int) -> None:
    """Amount and months lie in the article's range; nothing is recovered that was not lost."""
    case = row.case
    given: dict[str, Any] = {"number": row.article, "acted_on": case.acted_from,
                             "subject": case.subject_kind, "condition": row.condition}  # fmt: skip
    others = _sharing(row)
    besides = sum(other.amount or 0 for other in others)
    total = (row.amount or 0) + besides
    try:
        if row.kind == "fine":
            grounds = {other.article: other.condition for other in others}
            for number, condition in (grounds | {row.article: row.condition}).items():
                said = given | {"number": number, "condition": condition}
                law.check_fine(loss=loss, amount=total, **said)
        elif row.kind in MONTHS:
            law.check_months(kind=MONTHS[row.kind], months=row.months or 0, **given)
    except law.OutOfRange as error:
        field = "amount" if row.kind == "fine" else "months"
        also = f"，本案另有罚款{yuan(besides)}元一并计算" if besides and field == "amount" else ""
        raise refused(field, "OUT_OF_RANGE", error.text + also, "outside the article's range",
                      clause=row.clause) from error  # fmt: skip
    if row.kind == "recovery" and total > loss:
        also = f"，本案另有追回{yuan(besides)}元一并计算" if besides else ""
        raise refused("amount", "MORE_THAN_LOST", f"追回金额合计不能超过认定的损失{yuan(loss)}元{also}",
                      "more than was lost", clause=row.clause)  # fmt: skip


def _sharing(row: Sanction) -> list[Sanction]:
    """Other measures that take from the same limit: all recoveries; the fines of one article, and all
    fines by a multiple, which are of the one loss whatever their article."""
    if row.kind not in MONEY:
        return []
    rows = row.case.sanctions.filter(kind=row.kind, state__in=ALIVE).exclude(pk=row.pk)
    if row.kind == "recovery":
        return list(rows)
    multiples = [number for number, found in law.decree().articles.items() if found.times]
    return list(rows.filter(article__in=multiples if row.article in multiples else [row.article]))


def sound(row: Sanction, *, route: str, loss: int) -> None:
    """Whether a proposal may stand on a route with a loss; Refusal says why not."""
    found = law.routes().get(route)
    if found is None or row.kind not in found.measures:
        word = law.measures()[row.kind].label
        raise refused("route", "MEASURE_NOT_OF_ROUTE",
                      f"“{word}”不属于{found.label if found else '所选途径'}的措施",
                      "the route has no such measure", clause=row.clause)  # fmt: skip
    _within(row, loss)


def told(row: Sanction) -> dict[str, Any]:
    """A measure as papers and pages tell it."""
    sizes = [
        f"{yuan(row.amount)}元" if row.amount else "", f"{row.months}个月" if row.months else "",
        f"{row.points}分" if row.points else "", row.get_condition_display() if row.condition else "",
    ]  # fmt: skip
    return {
        "kind": row.kind, "label": law.measures()[row.kind].label, "target": target_of(row),
        "size": "、".join(filter(None, sizes)), "clause": row.clause, "note": row.note,
        "amount": row.amount, "months": row.months, "points": row.points,
    }  # fmt: skip


def target_of(row: Sanction) -> str:
    """Against whom: a practitioner by name, a department in words, else the subject of the case."""
    if row.kind == DEPARTMENT:
        return department(row.target)
    found = _practitioner(row) if row.kind in ("suspend_practitioner", "points") else None
    return f"{found.name}（{found.code}）" if found else row.target or row.case.subject_name


# --- Carrying out ---


@transaction.atomic
def execute(
    *, sanction: Sanction, on: dt.date, record: str, who: User, at: dt.datetime
) -> Sanction:
    """Carry out an ordered measure, once, by the command that owns it, with its record."""
    row = Sanction.objects.select_for_update(of=("self",)).select_related("case").get(
        pk=sanction.pk
    )  # fmt: skip
    refuse_recused(row.case, who.username)
    if row.state != State.ORDERED or row.case.state != "executing":
        raise refused("state", "NOT_ORDERED", "该措施不在待执行状态", "not to be executed now",
                      status=409)  # fmt: skip
    if not may_execute(row, who):
        raise Refusal(403, "NOT_YOURS", ("您的角色不能执行该措施", "your role may not do this"))
    if not record.strip():
        raise refused("record", "REQUIRED", "请填写执行记录", "a record is needed")
    if not (row.case.decided_on or on) <= on <= clock.local(at).date():
        raise refused("on", "DAY_OUTSIDE", "执行日应在决定日与今天之间", "the day is outside")
    if row.kind == "recovery":  # whatever was decided before: the loss is the limit of all of them
        _within(row, row.case.loss)
    act = ACTS.get(row.kind)
    row.effects = act(row, on, who, at) if act else []
    row.state, row.done_on, row.done_at, row.done_by = State.DONE, on, at, who.username
    row.record = record.strip()[:400]
    row.save()
    _event(row, "execute", who.username, at, on=on, effects=row.effects)
    return row


def may_execute(row: Sanction, who: User) -> bool:
    """Whether somebody carries out such a measure: the handler of the case, or who owns the command."""
    handle = handle_of(row.case)
    names = EXECUTES.get(row.kind, (HANDLE,))
    return any(who.may(handle if name == HANDLE else name) for name in names)


@transaction.atomic
def end(*, sanction: Sanction, reason: str, who: User, at: dt.datetime) -> Sanction:
    """终结执行: what was ordered and cannot be carried out ends, by a decider who did not handle the case."""
    row = Sanction.objects.select_for_update(of=("self",)).select_related("case").get(
        pk=sanction.pk
    )  # fmt: skip
    case = row.case
    refuse_recused(case, who.username)
    if not who.may(law.routes()[case.route].permission):
        raise Refusal(403, "NOT_YOURS", ("终结执行由作出决定的一方办理", "the decider ends it"))
    if who.username in hands_of(case):
        raise refused("by", "SAME_PERSON", "承办人和检查人员不能终结执行", "another person ends it",
                      status=403)  # fmt: skip
    if not may_end(row):
        raise refused("state", "NOT_TO_BE_ENDED", "只能终结待执行的措施，或未获批准入账的追回",
                      "it is not to be carried out", status=409)  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写终结执行的理由", "a reason is needed")
    row.record = "；".join(filter(None, (row.record, reason.strip())))[:400]
    row.state, row.done_on = State.ENDED, clock.local(at).date()
    row.done_at, row.done_by = at, who.username
    row.save()
    _event(row, "end", who.username, at, reason=reason.strip(), effects=row.effects)
    return row


def may_end(row: Sanction) -> bool:
    """Whether a measure waits to be carried out, or its money was refused in the ledger."""
    if row.case.state != "executing":
        return False
    return row.state == State.ORDERED or (row.state == State.DONE and recoveries.denied(row))


def outcome(row: Sanction) -> str:
    """The record of a measure: how it was carried out, what could not be, or why it was ended."""
    said = f"终结执行：{row.record}" if row.state == State.ENDED else row.record
    beyond = [recoveries.told(made) for made in row.effects if "unrecovered" in made]
    return "；".join((said, *beyond))


def _agreement(decision: str) -> Callable[..., list[dict[str, Any]]]:
    def carry_out(row: Sanction, on: dt.date, who: User, at: dt.datetime) -> list[dict[str, Any]]:
        rows = Agreement.objects.filter(
            institution=row.case.institution_code, kind=Agreement.Kind.SUPPLEMENTARY
        ).in_force(on=on)
        agreement = rows.order_by("-valid_from").first()
        if agreement is None:
            raise refused("kind", "NO_AGREEMENT", "该机构当日没有补充协议", "no agreement that day",
                          status=409)  # fmt: skip
        lifecycle.decide(
            agreement=agreement, decision=decision, on=on, by=who.username, at=at,
            reason=f"{row.case.number} {row.note}".strip()[:200], clause=row.clause[:120],
        )  # fmt: skip
        return [{"agreement": agreement.number, "decision": decision, "on": str(on)}]

    return carry_out


def _restrict(kind: str) -> Callable[..., list[dict[str, Any]]]:
    def carry_out(row: Sanction, on: dt.date, who: User, at: dt.datetime) -> list[dict[str, Any]]:
        case, article = row.case, law.decree().articles.get(row.article)
        least = (
            article.months_range(MONTHS[row.kind]).least if article and row.kind in MONTHS else None
        )
        made = subjects.restrict(
            kind=kind, region_code=case.region_code,
            institution_code="" if case.person_id else case.institution_code,
            subject_code=row.target or case.subject_code, person_id=case.person_id, since=on,
            months=row.months, least=least, clause=row.clause, source=case.subject,
            by=who.username, at=at,
        )  # fmt: skip
        return [
            {"restriction": made.pk, "from": str(made.valid_from), "until": str(made.valid_until)}
        ]

    return carry_out


def _points(row: Sanction, on: dt.date, who: User, at: dt.datetime) -> list[dict[str, Any]]:
    practitioner = _practitioner(row)
    if practitioner is None:
        raise refused("target", "PRACTITIONER_UNKNOWN", "没有此医师、药师或护士", "nobody")
    # the act is the executor's; the other name is the decider's, or the proposer's where the decider executes
    decided = row.case.decided_by
    second = row.proposed_by if who.username == decided else decided
    entry = subjects.add_points(
        practitioner=practitioner, points=row.points or 0, behaviour=row.case.title,
        clause=row.clause, source=row.case.subject, on=on, proposed_by=second,
        by=who.username, at=at,
    )  # fmt: skip
    return [{"points": entry.pk}]


def _interviewed(row: Sanction, on: dt.date, who: User, at: dt.datetime) -> list[dict[str, Any]]:
    """An interview is carried out by its confirmed minutes (supervision.interviews), not by a note."""
    held = row.interviews.filter(agreed=True).select_related("minutes").first()
    if held is None or held.minutes is None:
        raise refused(
            "sanction", "INTERVIEW_NOT_HELD",
            "约谈须先送达约谈通知书，并登记经另一名检查人员确认的约谈笔录", "no confirmed minutes",
            status=409, clause=row.clause,
        )  # fmt: skip
    return [{"interview": held.pk, "minutes": held.minutes.number}]


ACTS: Mapping[str, Callable[[Sanction, dt.date, User, dt.datetime], list[dict[str, Any]]]] = {
    "recovery": recoveries.recover,
    "suspend_agreement": _agreement("suspended"),
    "terminate_agreement": _agreement("terminated"),
    "suspend_practitioner": _restrict("practitioner"),
    "suspend_department": _restrict("department"),
    "suspend_person": _restrict("online"),
    "points": _points,
    "interview": _interviewed,
}


def unfinished(case: SupervisionCase) -> int:
    """How many measures are not carried out, or wait in the ledger for their second person."""
    waiting = 0
    for row in case.sanctions.exclude(state__in=(State.DROPPED, State.ENDED)):
        numbers = recoveries.adjustments_of(row)
        posted = Adjustment.objects.filter(number__in=numbers, state=Adjustment.State.POSTED)
        waiting += row.state != State.DONE or posted.count() < len(numbers)
    return waiting


def _event(row: Sanction, what: str, by: str, at: dt.datetime, **detail: object) -> None:
    case = row.case
    trail.record(
        by=by, at=at, action=f"sanction.{what}", subject=case.subject, region_code=case.region_code,
        institution_code=case.institution_code,
        detail={"kind": row.kind, "amount": row.amount, "months": row.months,
                "points": row.points, "target": row.target, "clause": row.clause, **detail},
    )  # fmt: skip
