"""The early end of a restriction: by another person; before the law's shortest time by a review on paper.

Articles 38, 40 and 41 fix how long a suspension lasts at least. It ends before that only when the
decision behind it is reviewed: one person asks, another decides, 复查决定书 with its 送达回证.
(国务院令第735号 第38、40、41条)
"""

import datetime as dt

from django.db import transaction

from audit import clock, tasks, trail
from institutions import commands as registry
from institutions.models import User
from institutions.refusals import Refusal, refused
from supervision import case_steps
from supervision.case_writs import receipt
from supervision.hands import hands_of, person
from supervision.models import CasePaper, Restriction, SupervisionCase
from supervision.subjects import DAY, READ, called
from supervision.writs import Service, make_paper, whole

Kind = Restriction.Kind


@transaction.atomic
def lift(*, restriction: Restriction, on: dt.date, reason: str, who: User, at: dt.datetime) -> None:
    """End a restriction before its day, by another person than who made it; `on` is its last day."""
    row = _sound(restriction, on, reason, at)
    if row.made_by == who.username:
        raise refused("by", "SAME_PERSON", "作出暂停的人不能提前解除", "another person", status=403)
    if row.least_until and on < row.least_until:
        raise refused("on", "BEFORE_LEAST",
                      f"法定最短暂停期限至{row.least_until}届满，提前解除须先提出复查，由他人作出复查决定",
                      "the law fixes a shortest time", clause=row.clause)  # fmt: skip
    _end(row, on, reason, who, at)


@transaction.atomic
def ask_review(
    *, restriction: Restriction, on: dt.date, reason: str, who: User, at: dt.datetime
) -> Restriction:
    """Ask for a review of the decision, so that it ends before the law's shortest time."""
    row = _sound(restriction, on, reason, at)
    if row.least_until is None or on >= row.least_until:
        raise refused("on", "NO_REVIEW_NEEDED", "该日已满法定最短期限，无须复查，可以提前解除",
                      "it may simply be lifted", status=409)  # fmt: skip
    if row.review_by:
        raise refused(
            "restriction", "REVIEW_ASKED", "已提出复查，待决定", "asked before", status=409
        )
    row.review_on, row.review_reason = on, reason.strip()[:400]
    row.review_by, row.review_at = who.username, at
    row.save()
    tasks.open_task(
        subject=_task(row), permission=case_steps.DECIDE, at=at, region_code=row.region_code,
        title=f"复查处理决定：{row.get_kind_display()} {called(row)}", procedure="restriction",
        status="待复查", clause=row.clause,
    )  # fmt: skip
    _event(row, "ask_review", who, at, on=on, reason=row.review_reason)
    return row


@transaction.atomic
def review(
    *, restriction: Restriction, grant: bool, reason: str, service: Service, who: User,
    at: dt.datetime,
) -> CasePaper:  # fmt: skip
    """Decide a review: neither who asked, nor who carried out, nor whoever inquired; paper and receipt."""
    row = Restriction.objects.select_for_update().get(pk=restriction.pk)
    if not row.review_by or row.review_on is None:
        raise refused(
            "restriction", "NOTHING_ASKED", "没有待决定的复查", "nothing to decide", status=409
        )
    case = _case_of(row)
    if not who.may(case_steps.DECIDE):
        raise Refusal(403, "NOT_YOURS", ("您的角色不能作出复查决定", "your role may not do this"))
    if who.username in hands_of(case) | {row.review_by, row.made_by}:
        raise refused("by", "SAME_PERSON", "提出复查、执行和承办的人不能作出复查决定", "another person",
                      status=403)  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请写明复查理由", "a reason is needed")
    today = clock.local(at).date()
    whole(service, since=today if row.review_at is None else clock.local(row.review_at).date(),
          today=today)  # fmt: skip
    last = max(row.review_on, today)
    paper = _paper(case, row, grant, last, reason.strip()[:400], service.on, who, at)
    receipt(paper, service, by=who.username, at=at)
    tasks.close(subject=_task(row), by=who.username, at=at)
    _event(row, "review", who, at, granted=grant, reason=reason.strip(), number=paper.number)
    if grant:
        row.lift_paper = paper.number
        _end(row, last, reason, who, at)
    else:
        row.review_on, row.review_reason, row.review_by, row.review_at = None, "", "", None
        row.save()
    return paper


def _sound(restriction: Restriction, on: dt.date, reason: str, at: dt.datetime) -> Restriction:
    """The row, locked, when it can end on that day for a reason."""
    row = Restriction.objects.select_for_update().get(pk=restriction.pk)
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请写明理由", "a reason is needed")
    last = row.valid_until
    if row.lifted_at or on < row.valid_from or (last and on >= last) or on < clock.local(at).date():
        raise refused("on", "DAY_OUTSIDE", "解除日应在今天与原止日之间", "the day is outside")
    return row


def _end(row: Restriction, on: dt.date, reason: str, who: User, at: dt.datetime) -> None:
    row.valid_until, row.lifted_at, row.lifted_by = on, at, who.username
    row.lift_reason = reason.strip()[:400]
    row.save()
    registry.end_early(READ[Kind(row.kind)], source=f"restriction:{row.pk}", last=on,
                       by=who.username, at=at)  # fmt: skip
    others = Restriction.objects.in_force(on=on + DAY).filter(subject_code=row.subject_code)
    if not others.exists():
        registry.end_comparison(row.subject_code, by=who.username, at=at)
    tasks.close(subject=f"restriction:{row.pk}", by=who.username, at=at)
    _event(row, "lift", who, at, on=on, reason=row.lift_reason, number=row.lift_paper)


def _case_of(row: Restriction) -> SupervisionCase:
    key = row.source.partition(":")[2]
    found = SupervisionCase.objects.filter(pk=int(key)).first() if key.isdigit() else None
    if found is None or found.subject != row.source:
        raise refused("restriction", "NO_CASE", "没有作出该暂停的案件", "no case", status=409)
    return found


def _paper(
    case: SupervisionCase, row: Restriction, grant: bool, last: dt.date, reason: str, on: dt.date,
    who: User, at: dt.datetime,
) -> CasePaper:  # fmt: skip
    decision = case.papers.filter(kind=CasePaper.Kind.DECISION).latest("pk")
    return make_paper(
        case, CasePaper.Kind.REVIEW,
        {"case": case.number, "title": case.title, "decision": decision.number,
         "measure": row.get_kind_display(), "target": case.subject_name if row.person_id else called(row),
         "clause": row.clause, "days": [str(row.valid_from), str(row.valid_until)],
         "least": str(row.least_until), "asked_by": person(row.review_by),
         "reasons": row.review_reason, "granted": grant, "last": str(last) if grant else "",
         "opinion": reason, "decided_by": person(who.username)},
        on=on, by=who.username, at=at,
    )  # fmt: skip


def _task(row: Restriction) -> str:
    return f"restrictionreview:{row.pk}"


def _event(row: Restriction, what: str, who: User, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=who.username, at=at, action=f"restriction.{what}", subject=f"restriction:{row.pk}",
        region_code=row.region_code, institution_code=row.institution_code, detail=detail,
    )  # fmt: skip
