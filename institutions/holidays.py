"""Calendar rows: from the package chinesecalendar into the database, and back as a Calendar."""

import datetime as dt
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import chinese_calendar
import yaml
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from audit import trail
from institutions.calendar import Calendar, IncompleteYear, MissingYear, days_of_year
from institutions.models import CalendarDay

NATIONAL = ""
NOTICES = Path(__file__).with_name("holidays.yaml")
SATURDAY = 5
LABELS = {
    "New Year's Day": "元旦",
    "Spring Festival": "春节",
    "Tomb-sweeping Day": "清明节",
    "Labour Day": "劳动节",
    "Dragon Boat Festival": "端午节",
    "National Day": "国庆节",
    "Mid-autumn Festival": "中秋节",
    "Anti-Fascist 70th Day": "抗战胜利纪念日",
}


class DayRow(NamedTuple):
    """One calendar day as it is stored: worked or not, its label, the notice it rests on."""

    day: dt.date
    working: bool
    label: str
    notice: str


@cache
def _notices() -> dict:
    return yaml.safe_load(NOTICES.read_text(encoding="utf-8"))


def notice_known(year: int) -> bool:
    """Whether the State Council notice of the year is registered in holidays.yaml."""
    return year in _notices()["years"]


def notice_of(year: int) -> str:
    """Numbers of the year's notices, or the sentence that they are not registered."""
    known = _notices()["years"].get(year)
    return "、".join(row["number"] for row in known) if known else _notices()["unknown"]


def notice_addresses(year: int) -> list[str]:
    """Addresses of the year's notices at gov.cn; empty when they are not registered."""
    return [row["address"] for row in _notices()["years"].get(year, [])]


@cache
def national_year(year: int) -> tuple[DayRow, ...]:
    """All days of a year from chinesecalendar; MissingYear when the package does not cover it.

    It knows every year in which it has a holiday; for others the State Council's notice is not out.
    """
    if year not in {day.year for day in chinese_calendar.holidays}:
        raise MissingYear(year)
    notice = notice_of(year)
    rows = []
    for day in days_of_year(year):
        working = chinese_calendar.is_workday(day)
        _, holiday = chinese_calendar.get_holiday_detail(day)
        rows.append(DayRow(day, working, _label(day, working=working, holiday=holiday), notice))
    return tuple(rows)


def _label(day: dt.date, *, working: bool, holiday: str | None) -> str:
    weekend = day.weekday() >= SATURDAY
    if working:
        return "调休上班" if weekend else ""
    if holiday:
        return LABELS.get(holiday, holiday)
    return "周末" if weekend else "休息日"


@transaction.atomic
def import_year(*, year: int, region: str, rows: Iterable[DayRow], by: str, at: dt.datetime) -> int:
    """Replace the rows of one year (region '' = national, complete; else local overrides).

    Returns the number of rows stored; the act is recorded in the trail. Whoever waits for the
    calendar (`CALENDAR_LISTENERS`) is told in the same transaction.
    """
    rows = list(rows)
    outside = [row.day for row in rows if row.day.year != year]
    if outside:
        raise ValueError(f"日历行{outside[0].isoformat()}不属于{year}年")
    if region == NATIONAL:
        Calendar.build([(row.day, row.working) for row in rows])
        if not rows:
            raise MissingYear(year)
    CalendarDay.objects.filter(region_code=region, day__year=year).delete()
    CalendarDay.objects.bulk_create(
        CalendarDay(region_code=region, **row._asdict()) for row in rows
    )
    trail.record(
        by=by,
        at=at,
        action="calendar.import",
        subject=f"calendar:{region or 'national'}:{year}",
        region_code=region,
        detail={
            "rows": len(rows),
            "working_days": sum(row.working for row in rows),
            "notices": sorted({row.notice for row in rows}),
        },
    )
    for listener in settings.CALENDAR_LISTENERS:
        import_string(listener)(year=year, by=by, at=at)
    return len(rows)


def load_calendar(area_code: str = NATIONAL, years: Iterable[int] | None = None) -> Calendar:
    """The calendar of an area: national rows, overridden by its province, prefecture and county.

    `years` that are not stored raise MissingYear at once; None loads every stored year and leaves
    the stop to the first day that is asked for.
    """
    areas = areas_above(area_code)
    query = CalendarDay.objects.filter(region_code__in=[NATIONAL, *areas])
    if years is not None:
        years = sorted(set(years))
        query = query.filter(day__year__in=years)
    stored: dict[str, list[tuple[dt.date, bool]]] = {}
    for region, day, working in query.values_list("region_code", "day", "working"):
        stored.setdefault(region, []).append((day, working))
    overrides = [row for area in areas for row in stored.get(area, [])]
    calendar = Calendar.build(stored.get(NATIONAL, []), overrides=overrides, region=area_code)
    for year in years or ():
        if year not in calendar.years:
            raise MissingYear(year, area_code)
    return calendar


def load_calendars(area_codes: Collection[str]) -> dict[str, Calendar | None]:
    """The calendars of several areas in one query; None for all while a national year has holes."""
    areas = {area: areas_above(area) for area in area_codes}
    query = CalendarDay.objects.filter(region_code__in={NATIONAL, *chain(*areas.values())})
    stored: dict[str, list[tuple[dt.date, bool]]] = {}
    for region, day, working in query.values_list("region_code", "day", "working"):
        stored.setdefault(region, []).append((day, working))
    national: Calendar | None = None
    with suppress(IncompleteYear):
        national = Calendar.build(stored.get(NATIONAL, []))
    found: dict[str, Calendar | None] = {}
    for area, above in areas.items():
        overrides = [row for code in above for row in stored.get(code, [])]
        found[area] = national
        if national is not None and overrides:
            found[area] = Calendar.build(stored[NATIONAL], overrides=overrides, region=area)
    return found


def areas_above(area_code: str) -> list[str]:
    """`330302` → [`330000`, `330300`, `330302`]: widest first, so that the nearest wins."""
    if not area_code:
        return []
    return list(dict.fromkeys((area_code[:2] + "0000", area_code[:4] + "00", area_code)))
