"""Suspensions as settlement reads them: a decision begins one, and may end it before its day.

Who decides, why and by which two persons is the business of supervision; `source` names its decision.
Nothing is overwritten: what was known on a settlement day can always be asked.
"""

import datetime as dt
from typing import Any

from django.db import transaction

from institutions.departments import code_of
from institutions.models import (
    DepartmentSuspension,
    Institution,
    Physician,
    ServiceSuspension,
    Suspension,
)
from institutions.refusals import refused


@transaction.atomic
def suspend_practitioner(
    *, physician: Physician, since: dt.date, until: dt.date | None, clause: str, source: str,
    by: str, at: dt.datetime,
) -> ServiceSuspension:  # fmt: skip
    """A practitioner's services of these days are not paid for; without an end: for good."""
    return begin(
        ServiceSuspension(physician=physician), since=since, until=until, clause=clause,
        source=source, by=by, at=at,
    )  # fmt: skip


@transaction.atomic
def suspend_department(
    *, institution: Institution, department: str, since: dt.date, until: dt.date | None,
    clause: str, source: str, by: str, at: dt.datetime,
) -> DepartmentSuspension:  # fmt: skip
    """Visits in a department of an institution, and in those below it, are not paid for on these days."""
    if not department or code_of(department, institution.departments()) != department:
        raise refused("department", "DEPARTMENT_UNKNOWN", "没有这一诊疗科目", "no such department")
    return begin(
        DepartmentSuspension(institution=institution, department=department), since=since,
        until=until, clause=clause, source=source, by=by, at=at,
    )  # fmt: skip


def begin(
    row: Any, *, since: dt.date, until: dt.date | None, clause: str, source: str, by: str,
    at: dt.datetime,
) -> Any:  # fmt: skip
    """Store a suspension, given with its subject, as known from now on."""
    if until is not None and until < since:
        raise refused("until", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start")
    row.valid_from, row.valid_until, row.clause, row.source = since, until, clause, source
    row.recorded_at, row.recorded_by = at, by
    row.save(force_insert=True)
    return row


@transaction.atomic
def end_early(
    kind: type[Suspension], *, source: str, last: dt.date, by: str, at: dt.datetime
) -> None:
    """A decision's suspension ends on an earlier day: a later row says so, the first stays readable."""
    known = kind.objects.known().filter(source=source)
    for row in known.select_for_update():
        kind.objects.filter(pk=row.pk).update(superseded_at=at)
        row.pk, row.valid_until, row.recorded_at, row.recorded_by = None, last, at, by
        row.save(force_insert=True)
