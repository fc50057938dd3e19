"""Until when: the law, the parameter or the batch that a state's clock is measured by.

A table's `within` names a key of the policy's `procedures`; its `clocks` say of a key whose length no
document prints where it comes from instead. What nobody fixed is no deadline and holds nothing up.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.urls import reverse

from agreements import deadlines
from agreements.facts import CaseError
from agreements.models import Application, WavePlace
from audit import tasks
from audit.models import Task
from audit.procedure import PROCEDURES, Due, Pauses, State, at_level
from institutions.calendar import Calendar, MissingYear
from institutions.holidays import load_calendar
from institutions.models import Region
from pricing.document import Parameter, Policy
from pricing.releases import current

IMPORT = "calendar.import"
UNITS = frozenset(deadlines.UNITS)
#: how a parameter's key ends → the unit that its number counts
SUFFIXES = {"_working_days": "working_days", "_months": "months"}


def policy_of(region: Region, day: dt.date) -> Policy | None:
    """The published policy of a region that is in force on a day."""
    found = current().policy(region.policy_region, day)
    return found.policy if found is not None and found.covers(day) else None


def law_of(region: Region, day: dt.date) -> Mapping[str, Any]:
    """The policy in force as data; empty without one."""
    policy = policy_of(region, day)
    return policy.data if policy is not None else {}


def procedures_of(region: Region, day: dt.date) -> Mapping[str, Any]:
    """The policy's `procedures`: every number with its clause; empty without them."""
    return law_of(region, day).get("procedures") or {}


def parameter(region: Region, key: str, day: dt.date) -> int | None:
    """A whole number that the region has fixed for a day; None without one."""
    row = parameter_row(region, key, day)
    value = row.value if row is not None else None
    return value if isinstance(value, int) and value > 0 else None


def parameter_row(region: Region, key: str, day: dt.date) -> Parameter | None:
    """The row of a parameter on a day, which says whether it is an example (示例)."""
    rows = current().rows(region.policy_region, day, examples=settings.EXAMPLE_PARAMETERS)
    return rows.get(key)


def due(case: Application, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day of a state's clock, by the law of the day on which the state was entered."""
    key = state.within or state.stops
    rule = PROCEDURES[case.procedure].data.get("clocks", {}).get(key, {})
    return SOURCES[rule.get("source", "policy")](case, key, rule, start, pauses)


def _by_policy(
    case: Application, key: str, rule: Mapping[str, Any], start: dt.date, pauses: Pauses
) -> Due:
    procedures = procedures_of(case.institution.region, case.entered_on)
    return _counted(case, key, procedures, start, pauses)


def _by_parameter(
    case: Application, key: str, rule: Mapping[str, Any], start: dt.date, pauses: Pauses
) -> Due:
    name = rule["parameter"]
    value = parameter(case.institution.region, name, case.entered_on)
    if value is None:
        return Due(None, clause=rule["clause"])
    unit = next(unit for suffix, unit in SUFFIXES.items() if name.endswith(suffix))
    return _counted(case, key, {key: {unit: value, "clause": rule["clause"]}}, start, pauses)


def _by_wave(
    case: Application, key: str, rule: Mapping[str, Any], start: dt.date, pauses: Pauses
) -> Due:
    """The batch's own last day, inclusive, without roll-over (宁医保发〔2021〕152号 附件1, I-NX-2)."""
    place = WavePlace.objects.filter(institution=case.institution_id).first()
    deadline = place.deadline if place else None
    return Due(deadline, nominal=deadline, clause=rule["clause"])


SOURCES: Mapping[
    str, Callable[[Application, str, Mapping[str, Any], dt.date, Pauses], Due]
] = {"policy": _by_policy, "parameter": _by_parameter, "wave": _by_wave}  # fmt: skip


#: calendars by area while many clocks are computed at once
_KNOWN: ContextVar[dict[str, Calendar] | None] = ContextVar("calendars", default=None)


@contextmanager
def one_calendar_each() -> Iterator[None]:
    """Within it the calendar of an area is read once, however many clocks are computed by it."""
    before = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(before)


def _calendar_of(area: str) -> Calendar:
    known = _KNOWN.get()
    if known is None:
        return load_calendar(area)
    if area not in known:
        known[area] = load_calendar(area)
    return known[area]


def _counted(
    case: Application, key: str, procedures: Mapping[str, Any], start: dt.date, pauses: Pauses
) -> Due:
    """By `deadlines.clock`; a missing calendar year is named, a number that is not printed is no deadline."""
    rule = procedures.get(key) or {}
    clause = rule.get("clause", "")
    if not UNITS & rule.keys():
        return Due(None, clause=clause)
    try:
        clock = deadlines.clock(
            step=key, start=start, pauses=pauses, procedures=procedures,
            calendar=_calendar_of(case.region_code),
        )  # fmt: skip
    except MissingYear as missing:
        return Due(None, clause=clause, unknown=missing.year)
    return Due(clock.day, nominal=clock.nominal if clock.day else None, clause=clock.clause)


def reopening(
    institution_region: Region, *, failures: int, delivered: dt.date | None, day: dt.date
) -> deadlines.Reopening | None:
    """When a new application is possible after so many failures; None where the law sets no wait."""
    try:
        return deadlines.reopening(
            failures=failures, delivered=delivered,
            procedures=procedures_of(institution_region, day),
        )  # fmt: skip
    except CaseError:
        return None


def bans_from(region: Region, day: dt.date) -> int | None:
    """From which failure on an institution is banned; None where the law bans nobody."""
    value = procedures_of(region, day).get("ban", {}).get("from_failure")
    return value if isinstance(value, int) else None


# --- A year that is not imported yet ---


def ask_for_year(case: Application, *, at: dt.datetime) -> None:
    """A task for the bureau to import the year that a case's clock waits for."""
    year = case.due_unknown
    if year is None:
        return
    area = at_level(case.region_code, "prefecture")
    tasks.open_task(
        subject=f"calendar:{area}:{year}", permission=IMPORT, at=at, region_code=area,
        title=f"导入{year}年工作日历：有办理期限因缺少该年日历而不能计算",
        procedure="calendar", status="缺少日历", due_unknown=year, clause="民法典203",
        url=f"{reverse('registry-calendars')}?year={year}",
    )  # fmt: skip


def close_year(year: int, *, by: str, at: dt.datetime) -> int:
    """The year is there: every task that asked for it is done; how many."""
    waiting = Task.objects.filter(
        permission=IMPORT, state=Task.State.OPEN, procedure="calendar", due_unknown=year
    ).values_list("subject", flat=True)
    return sum(tasks.close(subject=subject, by=by, at=at, permission=IMPORT) for subject in waiting)


def touched_by(year: int) -> list[Application]:
    """Running applications whose clock waits for a calendar year or ends in it, locked.

    A year that is imported again (the State Council changed its holidays) moves what was computed.
    """
    rows = Application.objects.running().filter(
        Q(due_unknown=year) | Q(due__year=year) | Q(due_nominal__year=year)
    )
    return list(
        rows.select_for_update(of=("self",)).select_related("institution__region").order_by("pk")
    )
