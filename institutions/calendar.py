"""PURE. Working days, months and roll-over on calendar rows; a missing year stops with its name.

Counting rules (民法典 201–203): the day a period starts is not counted; a period in months ends on
the corresponding day, or on the last day of a month without one; a period to act that ends on a
rest day runs to the next working day. Waiting periods, bans and windows do not roll over.
"""

import datetime as dt
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MONTHS_PER_YEAR = 12


class MissingYear(LookupError):
    """The calendar of a year is not loaded: says which year and whose task it is."""

    def __init__(self, year: int, region: str = ""):
        self.year = year
        self.region = region
        where = f"{region}的" if region else "全国"
        super().__init__(
            f"缺少{where}{year}年工作日历，期限暂时无法计算："
            f"请医保局日历管理员在国务院办公厅公布{year}年节假日安排后导入该年日历"
        )


class IncompleteYear(ValueError):
    """A stated year has days without a row: a calendar with holes is never used."""

    def __init__(self, year: int, first_missing: dt.date):
        self.year = year
        self.first_missing = first_missing
        super().__init__(f"{year}年工作日历不完整：缺少{first_missing.isoformat()}，请重新导入该年")


@dataclass(frozen=True)
class Calendar:
    """Working days of whole years: `working` maps each day of `years` to a bool."""

    working: Mapping[dt.date, bool]
    years: frozenset[int]
    region: str = ""

    @classmethod
    def build(
        cls,
        rows: Iterable[tuple[dt.date, bool]],
        *,
        overrides: Iterable[tuple[dt.date, bool]] = (),
        region: str = "",
    ) -> "Calendar":
        """National rows (day, working), each year complete, with regional overrides on top.

        Overrides of years without national rows are ignored: that year stays missing.
        """
        working = dict(rows)
        years = frozenset(day.year for day in working)
        for year in sorted(years):
            for day in days_of_year(year):
                if day not in working:
                    raise IncompleteYear(year, day)
        working.update((day, value) for day, value in overrides if day.year in years)
        return cls(working=working, years=years, region=region)

    def is_working_day(self, day: dt.date) -> bool:
        """Whether the day is worked (make-up weekends are); MissingYear without its year."""
        try:
            return self.working[day]
        except KeyError:
            raise MissingYear(day.year, self.region) from None

    def next_working_day(self, day: dt.date) -> dt.date:
        """The day itself when it is worked, else the first working day after it (203)."""
        while not self.is_working_day(day):
            day += dt.timedelta(days=1)
        return day

    def previous_working_day(self, day: dt.date) -> dt.date:
        """The day itself when it is worked, else the last working day before it (plans only)."""
        while not self.is_working_day(day):
            day -= dt.timedelta(days=1)
        return day

    def add_working_days(self, day: dt.date, n: int) -> dt.date:
        """The n-th working day after `day`, itself not counted (201); n = 0 gives `day`."""
        if n < 0:
            raise ValueError("working days are counted forward only")
        while n:
            day += dt.timedelta(days=1)
            n -= self.is_working_day(day)
        return day

    def subtract_working_days(self, day: dt.date, n: int) -> dt.date:
        """The n-th working day before `day`, itself not counted; n = 0 gives `day` (back-planning)."""
        if n < 0:
            raise ValueError("working days are counted backward only")
        while n:
            day -= dt.timedelta(days=1)
            n -= self.is_working_day(day)
        return day

    def working_days_between(self, start: dt.date, end: dt.date) -> int:
        """Working days d with start < d <= end: the first day is not counted, the last one is."""
        return sum(self.is_working_day(day) for day in days(start + dt.timedelta(days=1), end))

    def due_after_months(self, start: dt.date, n: int, *, roll_over: bool) -> dt.date:
        """Last day of a period of n months from `start`; a duty rolls to a working day."""
        last = add_months(start, n)
        return self.next_working_day(last) if roll_over else last


def days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Every day from first to last, both included; nothing when last is earlier."""
    for offset in range((last - first).days + 1):
        yield first + dt.timedelta(days=offset)


def days_of_year(year: int) -> Iterator[dt.date]:
    """Every day of a calendar year, in order."""
    return days(dt.date(year, 1, 1), dt.date(year, MONTHS_PER_YEAR, 31))


def add_months(day: dt.date, n: int) -> dt.date:
    """The corresponding day n months later (earlier when negative), else that month's end (202)."""
    year, month0 = divmod(day.year * MONTHS_PER_YEAR + day.month - 1 + n, MONTHS_PER_YEAR)
    month = month0 + 1
    return dt.date(year, month, min(day.day, monthrange(year, month)[1]))


def add_years(day: dt.date, n: int) -> dt.date:
    """The corresponding day n years later; 29 February falls on 28 February of a common year."""
    return add_months(day, n * MONTHS_PER_YEAR)


def whole_months(start: dt.date, day: dt.date) -> int:
    """How many corresponding days (202) have been reached from `start` to `day`; negative before it."""
    n = (day.year - start.year) * MONTHS_PER_YEAR + day.month - start.month
    return n if add_months(start, n) <= day else n - 1


def month_end(year: int, month: int) -> dt.date:
    """Last calendar day of a month: what “X月底前” still includes; no roll-over."""
    return dt.date(year, month, monthrange(year, month)[1])


def last_day_of_window(start: dt.date, months: int) -> dt.date:
    """Last day inside a window of calendar months from `start`; windows never roll over."""
    return add_months(start, months)


def in_window(day: dt.date, *, start: dt.date, months: int) -> bool:
    """Whether `day` lies in the window; the first and the last day are inside."""
    return start <= day <= last_day_of_window(start, months)
