"""Legal clocks in words: the working days left of a case, by the calendar of its area."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from agreements.forms import SOON
from audit.models import Case
from audit.procedure import PROCEDURES
from institutions.calendar import MissingYear
from institutions.holidays import load_calendars
from institutions.inbox import days_left


@dataclass(frozen=True)
class Left:
    """What is left of a clock: `days` None when it stands still or is unknown."""

    words: str
    tone: str
    days: int | None = None


class Clocks:
    """The clocks of some cases on a day; their calendars are read at once."""

    def __init__(self, cases: Iterable[Case], *, today: dt.date) -> None:
        self.today = today
        areas = {case.region_code for case in cases if case.due}
        self.calendars = load_calendars(areas) if areas else {}

    def left(self, case: Case) -> Left | None:
        """Working days until the due day of a case (negative: overdue); None without a clock."""
        if case.due_unknown:
            return Left(f"期限未知（缺{case.due_unknown}年日历）", "mute")
        if case.stopped:
            return Left("计时停止", "mute")
        if case.due is None:
            return None
        if waiting(case):
            over = case.due < self.today
            return Left("公示期已满" if over else f"公示至 {case.due}", "ok" if over else "info")
        days = days_left(self.calendars.get(case.region_code), self.today, case.due)
        if days is None:
            return Left("已逾期", "bad") if case.due < self.today else Left("未到期", "info")
        if days < 0:
            return Left(f"逾期 {-days} 个工作日", "bad", days)
        words = f"剩余 {days} 个工作日" if days else "今日到期"
        return Left(words, "warn" if days <= SOON else "ok", days)


def waiting(case: Case, state: str = "") -> bool:
    """Whether the clock of a state is a time that must pass, not one to act in (公示期)."""
    return PROCEDURES[case.procedure].states[state or case.state].waits


def soon(area: str, today: dt.date) -> dt.date:
    """The last day that is still near, by the calendar of an area; plain days without one."""
    calendar = load_calendars({area})[area]
    try:
        if calendar is not None:
            return calendar.add_working_days(today, SOON)
    except MissingYear:
        return today + dt.timedelta(days=SOON)
    return today + dt.timedelta(days=SOON)
