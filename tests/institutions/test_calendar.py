"""Calendar arithmetic against a naive day-by-day oracle, and the stop for a missing year."""

import calendar as stdlib_calendar
import datetime as dt

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from institutions.calendar import (
    Calendar,
    IncompleteYear,
    MissingYear,
    add_months,
    add_years,
    days,
    days_of_year,
    in_window,
    last_day_of_window,
    month_end,
)

YEARS = (2020, 2021, 2022, 2023)
ONE = dt.timedelta(days=1)
ROWS = [(day, chinese_calendar.is_workday(day)) for year in YEARS for day in days_of_year(year)]
NATIONAL = Calendar.build(ROWS)
ANY_DAY = st.dates(dt.date(2020, 1, 1), dt.date(2023, 6, 30))
OVERRIDES = st.dictionaries(ANY_DAY, st.booleans(), max_size=30)


def oracle_nth(worked, day, n):
    """Walk one day at a time, ticking off worked days."""
    ticked = 0
    while ticked < n:
        day = day + ONE
        if worked[day]:
            ticked = ticked + 1
    return day


def oracle_month_later(day):
    """The same day number in the following month, or that month's last day."""
    first_of_next = day.replace(day=1)
    month = first_of_next.month
    while first_of_next.month == month:
        first_of_next += ONE
    found, candidate = first_of_next, first_of_next
    while candidate.month == first_of_next.month and candidate.day <= day.day:
        found, candidate = candidate, candidate + ONE
    return found


@given(ANY_DAY, st.integers(0, 60), OVERRIDES)
def test_nth_working_day(day, n, overrides):
    local = Calendar.build(ROWS, overrides=overrides.items())
    worked = dict(ROWS) | overrides
    assert local.add_working_days(day, n) == oracle_nth(worked, day, n)


@given(ANY_DAY, st.integers(0, 60), OVERRIDES)
def test_nth_working_day_before(day, n, overrides):
    local = Calendar.build(ROWS, overrides=overrides.items())
    day = max(day, dt.date(2020, 6, 1))
    before = local.subtract_working_days(day, n)
    assert local.working_days_between(before - ONE, day - ONE) == n
    assert before == day or local.is_working_day(before)


@given(ANY_DAY, st.integers(0, 60))
def test_counting_back_undoes_counting_forward(day, n):
    day = NATIONAL.next_working_day(day)
    assert NATIONAL.subtract_working_days(NATIONAL.add_working_days(day, n), n) == day


@given(ANY_DAY, OVERRIDES)
def test_roll_over_stops_at_the_first_working_day(day, overrides):
    local = Calendar.build(ROWS, overrides=overrides.items())
    rolled = local.next_working_day(day)
    assert local.is_working_day(rolled)
    assert not any(local.is_working_day(between) for between in days(day, rolled - ONE))


@given(ANY_DAY, st.integers(1, 60))
def test_counting_forward_and_counting_between_agree(day, n):
    due = NATIONAL.add_working_days(day, n)
    assert NATIONAL.is_working_day(due)
    assert NATIONAL.working_days_between(day, due) == n
    assert NATIONAL.working_days_between(day, due - ONE) == n - 1


@given(st.dates(dt.date(1990, 1, 1), dt.date(2060, 12, 31)))
def test_one_month_later(day):
    assert add_months(day, 1) == oracle_month_later(day)


@given(st.dates(dt.date(1990, 1, 1), dt.date(2060, 12, 31)), st.integers(-240, 240))
def test_months_keep_the_day_number_or_the_month_end(day, n):
    later = add_months(day, n)
    last = stdlib_calendar.monthrange(later.year, later.month)[1]
    assert (later.year - day.year) * 12 + later.month - day.month == n
    assert later.day == min(day.day, last)


@given(ANY_DAY, st.integers(0, 5), OVERRIDES)
def test_a_duty_rolls_over_a_waiting_period_does_not(day, n, overrides):
    local = Calendar.build(ROWS, overrides=overrides.items())
    last = add_months(day, n)
    assert local.due_after_months(day, n, roll_over=False) == last
    assert local.due_after_months(day, n, roll_over=True) == local.next_working_day(last)


@given(ANY_DAY, st.integers(0, 24), st.integers(-800, 800))
def test_window_includes_both_ends(start, months, offset):
    day = start + dt.timedelta(days=offset)
    inside = day in set(days(start, last_day_of_window(start, months)))
    assert in_window(day, start=start, months=months) is inside


def test_official_2021_arrangement():
    off = {
        day
        for first, last in (
            ((1, 1), (1, 3)),
            ((2, 11), (2, 17)),
            ((4, 3), (4, 5)),
            ((5, 1), (5, 5)),
            ((6, 12), (6, 14)),
            ((9, 19), (9, 21)),
            ((10, 1), (10, 7)),
        )
        for day in days(dt.date(2021, *first), dt.date(2021, *last))
    }
    makeup = {
        dt.date(2021, *pair)
        for pair in ((2, 7), (2, 20), (4, 25), (5, 8), (9, 18), (9, 26), (10, 9))
    }
    expected = {
        day: day in makeup or (day.weekday() < 5 and day not in off) for day in days_of_year(2021)
    }
    assert {day: NATIONAL.is_working_day(day) for day in days_of_year(2021)} == expected


@pytest.mark.parametrize(
    ("day", "n", "expected"),
    [
        ("2021-11-30", 3, "2022-02-28"),
        ("2023-11-30", 3, "2024-02-29"),
        ("2021-01-31", 1, "2021-02-28"),
        ("2021-03-15", 3, "2021-06-15"),
        ("2021-03-31", -1, "2021-02-28"),
        ("2021-01-15", -1, "2020-12-15"),
    ],
)
def test_corresponding_day_or_month_end(day, n, expected):
    assert add_months(dt.date.fromisoformat(day), n) == dt.date.fromisoformat(expected)


def test_years_and_month_ends():
    assert add_years(dt.date(2024, 2, 29), 1) == dt.date(2025, 2, 28)
    assert month_end(2021, 12) == dt.date(2021, 12, 31)
    assert month_end(2024, 2) == dt.date(2024, 2, 29)
    assert list(days(dt.date(2021, 1, 2), dt.date(2021, 1, 1))) == []


@pytest.mark.parametrize(
    "question",
    [
        lambda: NATIONAL.is_working_day(dt.date(2024, 1, 2)),
        lambda: NATIONAL.next_working_day(dt.date(2023, 12, 31)),
        lambda: NATIONAL.add_working_days(dt.date(2023, 12, 29), 1),
        lambda: NATIONAL.working_days_between(dt.date(2023, 12, 20), dt.date(2024, 1, 5)),
    ],
)
def test_a_missing_year_is_named_with_its_task(question):
    with pytest.raises(MissingYear, match=r"2024年.*导入") as missing:
        question()
    assert missing.value.year == 2024


def test_the_region_is_named_when_its_year_is_missing():
    local = Calendar.build(ROWS, region="640000")
    with pytest.raises(MissingYear, match="640000"):
        local.is_working_day(dt.date(2027, 1, 1))


def test_a_year_with_a_hole_is_refused():
    with pytest.raises(IncompleteYear, match="2021-05-08"):
        Calendar.build(row for row in ROWS if row[0] != dt.date(2021, 5, 8))


def test_an_override_does_not_make_a_year():
    local = Calendar.build(ROWS, overrides=[(dt.date(2024, 1, 2), True)])
    with pytest.raises(MissingYear):
        local.is_working_day(dt.date(2024, 1, 2))


def test_working_days_run_one_way():
    with pytest.raises(ValueError, match="forward"):
        NATIONAL.add_working_days(dt.date(2021, 1, 4), -1)
    with pytest.raises(ValueError, match="backward"):
        NATIONAL.subtract_working_days(dt.date(2021, 1, 4), -1)


@pytest.mark.parametrize(
    ("day", "n", "expected"),
    [
        ("2021-10-09", 1, "2021-10-08"),  # Sat make-up, Fri
        ("2021-10-08", 1, "2021-09-30"),  # over National Day
        ("2021-10-08", 3, "2021-09-28"),
        ("2021-09-27", 1, "2021-09-26"),  # Sun make-up
        ("2022-01-04", 2, "2021-12-30"),  # over the year's end
        ("2021-10-03", 1, "2021-09-30"),  # from a rest day
        ("2021-10-03", 0, "2021-10-03"),
    ],
)
def test_working_days_before_by_hand(day, n, expected):
    got = NATIONAL.subtract_working_days(dt.date.fromisoformat(day), n)
    assert got == dt.date.fromisoformat(expected)


def test_the_last_working_day_up_to_a_day():
    assert NATIONAL.previous_working_day(dt.date(2022, 12, 31)) == dt.date(2022, 12, 30)
    assert NATIONAL.previous_working_day(dt.date(2021, 10, 9)) == dt.date(2021, 10, 9)
    with pytest.raises(MissingYear, match="2019"):
        NATIONAL.previous_working_day(dt.date(2020, 1, 1))
    with pytest.raises(MissingYear, match="2019"):
        NATIONAL.subtract_working_days(dt.date(2020, 1, 2), 1)
