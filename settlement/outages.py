"""Outages of an institution's line (断网): services in them are uploaded afterwards, within a clock.

The institution reports an outage, the agency confirms it; from then on its services may be uploaded
until the last working day of the region's clock, counted from the day the line was restored. A
claim that comes later is received all the same and held for a person: it is never lost. In which
month it is posted does not matter to the person: the service day's year counts (December's services
uploaded in January belong to December's year).
"""

import datetime as dt

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse as address

from audit import clock, tasks, trail
from institutions import documents, news
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Institution
from institutions.refusals import Refusal, refused
from settlement.contract import LOCAL
from settlement.models import Claim, Outage
from settlement.terms import OUTAGE_CLOCK, terms_of

State = Outage.State
REPORT, ACCEPT = "outages.report", "outages.accept"
END_OF_DAY = dt.time(23, 59, 59, 999_999)


def report(
    *, institution: Institution, began: dt.datetime, ended: dt.datetime, reason: str,
    file: tuple[str, bytes] | None = None, by: str, at: dt.datetime,
) -> Outage:  # fmt: skip
    """Report an outage that is over. Raises Refusal: 422 for odd times, 409 when it is reported."""
    if ended <= began:
        raise refused("ended", "ORDER", "恢复时间应晚于中断开始", "the end is not after the start")
    if ended > at:
        raise refused("ended", "FUTURE", "恢复后再报告", "the outage is not over")
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写原因", "a reason is required")
    with transaction.atomic():
        made = Outage(
            region_code=institution.region_id, institution_code=institution.code, began=began,
            ended=ended, reason=reason.strip(), reported_at=at, reported_by=by,
        )  # fmt: skip
        if file is not None:
            made.document = documents.store(
                content=file[1], name=file[0], kind="outage", institution=institution,
                subject=f"outage:{institution.code}", by=by, at=at,
            )  # fmt: skip
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError as error:
            if "outage_once" not in str(error):
                raise
            detail = ("该时间的断网已报告", "an outage of that time is reported")
            raise Refusal(409, "OUTAGE_REPORTED", detail) from None
        _record("outage.report", made, by=by, at=at)
        tasks.open_task(
            subject=_subject(made), permission=ACCEPT, at=at, region_code=made.region_code,
            title=f"确认断网补传：{institution.name}"[:200], institution_code=made.institution_code,
            url=address("outage", args=[made.pk]),
        )  # fmt: skip
    return made


def accept(*, outage: Outage, note: str = "", by: str, at: dt.datetime) -> Outage:
    """The agency confirms it; the clock for uploading runs from the day the line was restored.

    Raises Refusal (409) without a clock in the region, or while a calendar year is missing.
    """
    with transaction.atomic():
        found = _locked(outage, by)
        place = Institution.objects.select_related("region").get(pk=found.institution_code)
        day = clock.local(found.ended).date()
        term = terms_of(place.region.policy_region, day).get(OUTAGE_CLOCK)
        if term is None:
            detail = ("本统筹区没有断网补传期限", "no clock for late uploads is fixed")
            raise Refusal(409, "NO_CLOCK", detail)
        try:
            last = load_calendar(found.region_code).add_working_days(day, int(term.value))
        except MissingYear as missing:
            raise Refusal(409, "CALENDAR_MISSING", (str(missing), "a year is missing")) from None
        found.upload_due = dt.datetime.combine(last, END_OF_DAY, LOCAL)
        found.clause, found.example = term.clause, term.example
        return _decided(found, State.ACCEPTED, note, by=by, at=at)


def refuse(*, outage: Outage, note: str, by: str, at: dt.datetime) -> Outage:
    """The agency does not confirm it: claims of that time are ordinary ones."""
    if not note.strip():
        raise refused("note", "REQUIRED", "请填写不予确认的理由", "a reason is required")
    with transaction.atomic():
        return _decided(_locked(outage, by), State.REFUSED, note, by=by, at=at)


def _locked(outage: Outage, by: str) -> Outage:
    found = Outage.objects.select_for_update().get(pk=outage.pk)
    if found.state != State.REPORTED:
        detail = (f"该报告{found.get_state_display()}，不能再处理", f"it is {found.state}")
        raise Refusal(409, "OUTAGE_STATE", detail)
    if found.reported_by == by:
        raise Refusal(403, "SECOND_PERSON", ("须由报告人以外的人确认", "a second person decides"))
    return found


def _decided(found: Outage, state: State, note: str, *, by: str, at: dt.datetime) -> Outage:
    found.state, found.note, found.decided_by, found.decided_at = state, note.strip(), by, at
    found.save()
    tasks.close(subject=_subject(found), by=by, at=at)
    _record(f"outage.{state}", found, by=by, at=at, due=found.upload_due, note=note)
    until = f"，请在 {clock.local(found.upload_due):%Y-%m-%d} 前补传" if found.upload_due else ""
    news.tell(
        permission=REPORT, region_code=found.region_code, at=at, subject=_subject(found),
        institution_code=found.institution_code, url=address("outage", args=[found.pk]),
        text=f"{clock.local(found.began):%m-%d %H:%M} 起的断网报告{found.get_state_display()}{until}",
    )  # fmt: skip
    return found


def claims_of(outage: Outage) -> QuerySet[Claim]:
    """Claims of services that began in the outage, by the institution's own times."""
    first, last = (clock.local(moment).date() for moment in (outage.began, outage.ended))
    return Claim.objects.filter(
        institution_code=outage.institution_code, service_date__range=(first, last),
        period__gte=first.replace(day=1),
    ).extra(
        where=["(document -> 'encounter' ->> 'started_at')::timestamptz BETWEEN %s AND %s"],
        params=[outage.began, outage.ended],
    )  # fmt: skip


def _subject(found: Outage) -> str:
    return f"outage:{found.pk}"


def _record(action: str, found: Outage, *, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=action, subject=_subject(found), region_code=found.region_code,
        institution_code=found.institution_code,
        detail={"began": found.began, "ended": found.ended, "reason": found.reason, **detail},
    )  # fmt: skip
