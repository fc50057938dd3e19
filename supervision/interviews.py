"""约谈: a numbered notice that is served, minutes that one inspector records and another confirms.

The measure is carried out by confirmed minutes alone; until then a later notice replaces the one before.
(国务院令第735号 第29、38、39条；医保服务协议)
"""

import datetime as dt
from dataclasses import dataclass, fields

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from audit import clock, tasks, trail
from institutions import news
from institutions.models import User
from institutions.refusals import Refusal, refused
from supervision import case_steps, case_writs, law, sanctions, writs
from supervision.hands import active, handle_of, refuse_recused, signed
from supervision.models import CasePaper, Interview, Sanction
from supervision.writs import Service

KIND = "interview"
Kind = CasePaper.Kind


@dataclass(frozen=True)
class Appointment:
    """What a notice asks: on which day, where, who comes, about what."""

    held_on: dt.date
    place: str
    persons: str
    subject: str


@dataclass(frozen=True)
class Minutes:
    """What one inspector records: on which day, who was there, what was said and promised."""

    held_on: dt.date
    present: str
    statements: str
    commitments: str


WORDS = {"place": "约谈时间与地点", "persons": "被约谈人员", "subject": "约谈事由", "present": "到场人员",
         "statements": "陈述", "commitments": "承诺"}  # fmt: skip


@transaction.atomic
def notify(
    *, sanction: Sanction, wanted: Appointment, service: Service, who: User, at: dt.datetime
) -> CasePaper:
    """约谈通知书 with its 送达回证; a later one replaces it while nothing is recorded."""
    row = _open(sanction, who)
    if not who.may(handle_of(row.case)):
        raise Refusal(403, "NOT_YOURS", ("您的角色不能送达约谈通知书", "your role may not do this"))
    _whole(wanted)
    if _counting(row).exists():
        raise refused("sanction", "MINUTES_RECORDED", "已登记约谈笔录，不能再行通知",
                      "minutes are recorded", status=409)  # fmt: skip
    case, before = row.case, notice_of(row)
    since = max(filter(None, (case.decided_on, before.made_on if before else None)))
    writs.whole(service, since=since, today=clock.local(at).date())
    if wanted.held_on < service.on:
        raise refused("held_on", "DAY_OUTSIDE", "约谈日不能早于送达日", "before it is served")
    decided = case.papers.filter(kind__in=(Kind.DECISION, Kind.TRANSFER)).latest("pk")
    notice = writs.make_paper(case, Kind.TALK, {
        "case": case.number, "title": case.title, "decision": decided.number,
        "sanction": row.pk, "clause": row.clause, "held_on": str(wanted.held_on),
        "place": wanted.place.strip()[:120], "persons": wanted.persons.strip()[:200],
        "subject": wanted.subject.strip()[:1000], "replaces": before.number if before else "",
        "interviewers": [signed(case, one.username) for one in active(case)],
    }, on=service.on, by=who.username, at=at)  # fmt: skip
    case_writs.receipt(notice, service, by=who.username, at=at)
    _event(row, "notify", who, at, notice=notice.number, held_on=wanted.held_on)
    if case.party:
        news.tell(
            permission=case_steps.ANSWER, region_code=case.region_code,
            institution_code=case.party, url=case_steps.place(case), at=at,
            text=f"约谈通知 {notice.number}：{wanted.held_on}", subject=case.subject,
        )  # fmt: skip
    return notice


@transaction.atomic
def record(*, sanction: Sanction, minutes: Minutes, who: User, at: dt.datetime) -> Interview:
    """What was said, by an inspector of the case, on the day of the newest notice."""
    row, notice = _open(sanction, who), notice_of(sanction)
    _inspector(row, who)
    _whole(minutes)
    if notice is None:
        raise refused("sanction", "NOT_NOTIFIED", "尚未送达约谈通知书，不能登记笔录", "no notice",
                      status=409, clause=row.clause)  # fmt: skip
    if str(minutes.held_on) != notice.content["held_on"]:
        raise refused("held_on", "NOT_AS_NOTIFIED",
                      f"约谈日与通知书所列的{notice.content['held_on']}不一致，改期须重新通知",
                      "another day than notified", clause=row.clause)  # fmt: skip
    if minutes.held_on > clock.local(at).date():
        raise refused("held_on", "FUTURE", "约谈日尚未到", "the day has not come")
    try:
        with transaction.atomic():
            made = Interview.objects.create(
                sanction=row, notice=notice, held_on=minutes.held_on, recorded_at=at,
                recorded_by=who.username, place=notice.content["place"],
                present=minutes.present.strip()[:400], statements=minutes.statements.strip()[:4000],
                commitments=minutes.commitments.strip()[:4000],
            )  # fmt: skip
    except IntegrityError as error:
        raise refused("sanction", "MINUTES_RECORDED", "已登记约谈笔录", "recorded before",
                      status=409) from error  # fmt: skip
    case = row.case
    tasks.open_task(
        subject=_subject(made), permission=sanctions.CARRY, at=at, procedure=writs.TABLE,
        title=f"{case.number}：确认约谈笔录", status="待确认", clause=row.clause,
        region_code=case.region_code, institution_code=case.institution_code,
        url=case_steps.place(case),
    )  # fmt: skip
    _event(row, "record", who, at, notice=notice.number, held_on=minutes.held_on)
    return made


@transaction.atomic
def confirm(
    *, interview: Interview, agree: bool, reason: str, who: User, at: dt.datetime
) -> Interview:
    """Another inspector's word: the minutes become a paper that carries out the measure, or go back."""
    found = Interview.objects.select_for_update().get(pk=interview.pk)
    row = _open(found.sanction, who)
    _inspector(row, who)
    if found.agreed is not None:
        raise refused("interview", "DECIDED", "该笔录已经确认或退回", "decided", status=409)
    if found.recorded_by == who.username:
        raise refused("by", "SAME_PERSON", "记录人不能确认自己登记的笔录", "another person confirms",
                      status=403)  # fmt: skip
    if not agree and not reason.strip():
        raise refused("reason", "REQUIRED", "请填写退回理由", "a reason is needed")
    found.agreed, found.reason = agree, "" if agree else reason.strip()[:400]
    found.confirmed_at, found.confirmed_by = at, who.username
    if agree:
        found.minutes = _paper(found, row, who, at)
    found.save()
    tasks.close(subject=_subject(found), by=who.username, at=at)
    _event(row, "confirm" if agree else "return", who, at, reason=found.reason,
           minutes=found.minutes.number if found.minutes else "")  # fmt: skip
    if found.minutes is not None:
        sanctions.execute(sanction=row, on=found.held_on, who=who, at=at,
                          record=f"约谈笔录 {found.minutes.number}")  # fmt: skip
    return found


def _paper(found: Interview, row: Sanction, who: User, at: dt.datetime) -> CasePaper:
    """约谈笔录."""
    case = row.case
    return writs.make_paper(case, Kind.MINUTES, {
        "case": case.number, "title": case.title, "notice": found.notice.number,
        "clause": row.clause, "held_on": str(found.held_on), "place": found.place,
        "subject": found.notice.content["subject"], "present": found.present,
        "statements": found.statements, "commitments": found.commitments,
        "recorded_by": signed(case, found.recorded_by), "confirmed_by": signed(case, who.username),
    }, on=clock.local(at).date(), by=who.username, at=at)  # fmt: skip


def ordered(rows: QuerySet[Sanction]) -> list[Sanction]:
    """Interviews that wait to be held, without minutes that wait or stand."""
    found = rows.filter(kind=KIND, state=Sanction.State.ORDERED)
    return [row for row in found if not _counting(row).exists()]


def notice_of(row: Sanction) -> CasePaper | None:
    """The newest notice of an interview."""
    rows = CasePaper.objects.filter(case=row.case_id, kind=Kind.TALK, content__sanction=row.pk)
    return rows.order_by("-pk").first()


def waiting(rows: QuerySet[Sanction], who: User) -> list[Interview]:
    """Minutes that this person may confirm."""
    found = Interview.objects.filter(sanction__in=rows, agreed=None).select_related(
        "sanction__case"
    )
    return [
        one for one in found.exclude(recorded_by=who.username)
        if active(one.sanction.case).filter(username=who.username).exists()
    ]  # fmt: skip


def _counting(row: Sanction) -> QuerySet[Interview]:
    """Minutes that wait for their second person or were confirmed."""
    return row.interviews.exclude(agreed=False)


def _open(sanction: Sanction, who: User) -> Sanction:
    """An ordered interview of a case that is carried out, locked."""
    row = Sanction.objects.select_for_update(of=("self",)).select_related("case").get(
        pk=sanction.pk
    )  # fmt: skip
    refuse_recused(row.case, who.username)
    if row.kind != KIND or row.state != Sanction.State.ORDERED or row.case.state != "executing":
        raise refused("sanction", "NOT_ORDERED", "该措施不是待执行的约谈", "no interview to be held",
                      status=409)  # fmt: skip
    return row


def _inspector(row: Sanction, who: User) -> None:
    if not active(row.case).filter(username=who.username).exists():
        raise refused("by", "NOT_AN_INSPECTOR", "约谈笔录由本案两名检查人员记录和确认",
                      "an inspector of the case", status=403,
                      clause=law.decree().cite("29"))  # fmt: skip


def _whole(given: Appointment | Minutes) -> None:
    for one in fields(given):
        value = getattr(given, one.name)
        if isinstance(value, str) and not value.strip():
            raise refused(one.name, "REQUIRED", f"请填写{WORDS[one.name]}", f"{one.name} is needed")


def _subject(found: Interview) -> str:
    return f"interview:{found.pk}"


def _event(row: Sanction, what: str, who: User, at: dt.datetime, **detail: object) -> None:
    case = row.case
    trail.record(
        by=who.username, at=at, action=f"interview.{what}", subject=case.subject,
        region_code=case.region_code, institution_code=case.institution_code, detail=detail,
    )  # fmt: skip
