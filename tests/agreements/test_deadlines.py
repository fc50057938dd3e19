"""Deadlines of the agreement procedure: given cases, our own, and what must never be answered."""

import copy
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agreements.deadlines import SUBJECTS, clock, reopening, state_on, step_due
from agreements.facts import CaseError, Unanswerable
from agreements.facts import ask as ask_law
from institutions.calendar import Calendar, MissingYear, add_months, days
from tests.agreements.law import cases_of, check, document, national

CASES = cases_of(SUBJECTS)
WENZHOU = document("wenzhou")["procedures"]
DAY = dt.date(2021, 3, 15)
ONE = dt.timedelta(days=1)


def ask(subject, facts, procedures=WENZHOU):
    return ask_law(SUBJECTS, subject, facts, law=procedures, calendar=national())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    check(case, SUBJECTS, WENZHOU)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("procedures", [None, {}, {"material_review": None}], ids=str)
def test_without_policy_data_every_case_fails(case, procedures):
    with pytest.raises(CaseError):
        ask(case["subject"], case["input"], procedures)


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_every_subject_has_cases(subject):
    assert any(case["subject"] == subject for case in CASES)


def test_the_policy_decides_the_number():
    changed = copy.deepcopy(WENZHOU)
    changed["material_review"]["working_days"] = 7
    facts = {"step": "material_review", "received": "2021-03-08"}
    assert ask("deadline", facts, changed)["due"] == "2021-03-17"
    with pytest.raises(CaseError, match="7"):
        ask("deadline", {**facts, "working_days": 5}, changed)


@pytest.mark.parametrize(
    "facts",
    [
        {"step": "material_review", "received": "2021-03-08", "working_days": 6},
        {"step": "material_review", "received": "2021-03-08", "months": 3},
        {"step": "rebuild", "review_passed": "2021-03-15", "months": 4},
        {"step": "rebuild", "review_passed": "2021-03-15", "working_days": 60},
    ],
    ids=str,
)
def test_another_number_is_an_error(facts):
    with pytest.raises(CaseError, match="政策文件为"):
        ask("deadline", facts)


@pytest.mark.parametrize(
    ("subject", "facts"),
    [
        ("deadline", {"step": "coffee", "received": "2021-03-08"}),
        ("deadline", {"received": "2021-03-08"}),
        ("deadline", {"step": "sign", "received": "2021-03-08"}),
        ("deadline", {"step": "sign", "received": "2021-03-08", "acceptance_passed": "2021-03-08"}),
        ("deadline", {"step": "notice", "result_made": "2021-03-08"}),
        ("deadline", {"step": "material_review", "received": "20210308"}),
        ("deadline", {"step": "material_review", "received": "2021-02-30"}),
        ("deadline", {"step": "material_review", "received": None}),
        ("deadline", {"step": "material_review", "received": "2021-03-08", "completed": "x"}),
        ("flow", {}),
        ("flow", {"main_agreement": {"start": "2022-01-01", "end": "2021-01-01"}}),
        ("flow", {"main_agreement": "2021-12-31"}),
        ("lapse", {"step": "sign", "review_passed": "2021-03-15", "today": "2021-06-15"}),
        ("lapse", {"step": "rebuild", "review_passed": "2021-03-15", "today": "2021-03-14"}),
        ("lapse", {"step": "rebuild", "review_passed": "2021-03-15"}),
        ("reapplication", {"fail_no": 0, "result_delivered": "2021-03-15"}),
        ("reapplication", {"fail_no": True, "result_delivered": "2021-03-15"}),
        ("reapplication", {"fail_no": 1}),
        ("reapplication", {"fail_no": 1, "kind": "lapse", "result_delivered": "2021-03-15"}),
        ("reapplication", {"fail_no": 1, "kind": "mood", "result_delivered": "2021-03-15"}),
        (
            "reapplication",
            {"fail_no": 1, "result_made": "2021-03-16", "result_delivered": "2021-03-15"},
        ),
        ("reapplication", {"history": []}),
        ("reapplication", {"history": [1]}),
        ("reapplication", {"fail_no": 1, "history": [{"kind": "materials"}]}),
        (
            "reapplication",
            {
                "history": [
                    {"kind": "materials", "result_delivered": "2021-09-10"},
                    {"kind": "materials", "result_delivered": "2021-03-15"},
                ]
            },
        ),
        (
            "reapplication",
            {
                "history": [
                    {"kind": "materials", "result_delivered": None},
                    {"kind": "materials", "result_delivered": "2021-03-15"},
                ]
            },
        ),
    ],
    ids=str,
)
def test_a_contradiction_is_an_error(subject, facts):
    with pytest.raises((CaseError, Unanswerable)):
        ask(subject, facts)


@pytest.mark.parametrize(
    ("subject", "facts", "key"),
    [
        ("horoscope", {}, "horoscope"),
        ("deadline", {"step": "rebuild", "review_passed": "2021-03-15", "moon": 1}, "moon"),
        ("flow", {"approved": "2021-03-15"}, "approved"),
        ("flow", {"main_agreement": {"term": 1}}, "main_agreement.term"),
        ("lapse", {"step": "rebuild", "moon": 1}, "moon"),
        ("reapplication", {"history": [{"kind": "materials", "moon": 1}]}, "history.moon"),
    ],
    ids=str,
)
def test_an_unknown_key_is_named(subject, facts, key):
    with pytest.raises(Unanswerable) as refused:
        ask(subject, facts)
    assert refused.value.key == key


def test_a_missing_year_stops_with_its_number():
    with pytest.raises(MissingYear, match="2025") as missing:
        ask("deadline", {"step": "sign", "acceptance_passed": "2024-12-30"})
    assert missing.value.year == 2025


def test_periods_that_do_not_roll_over_need_no_calendar():
    empty = Calendar.build([])
    facts = {"fail_no": 2, "kind": "acceptance", "result_delivered": "2031-07-05"}
    got = ask_law(SUBJECTS, "reapplication", facts, law=WENZHOU, calendar=empty)
    assert got["earliest"] == "2032-07-06"


def test_region_may_stand_in_the_input():
    facts = {"region": "wenzhou", "step": "sign", "acceptance_passed": "2021-05-07"}
    assert ask("deadline", facts)["due"] == "2021-05-13"


def test_commands_read_days_not_text():
    state = state_on(
        step="rebuild",
        start=DAY,
        completed=None,
        today=dt.date(2021, 6, 16),
        procedures=WENZHOU,
        calendar=national(),
    )
    assert state == "lapsed"
    first = reopening(failures=1, delivered=DAY, procedures=WENZHOU)
    assert (first.earliest, first.clause) == (dt.date(2021, 6, 16), "七")
    assert not reopening(failures=1, delivered=None, procedures=WENZHOU).accepts(DAY)


# --- stopped clocks (I-WZ-13) ---

REVIEW = {"step": "material_review", "procedures": WENZHOU}
REBUILD = {"step": "rebuild", "procedures": WENZHOU}
BAN = {"step": "still", "procedures": {"still": {"months": 3, "roll_over": False, "clause": "七"}}}


def timed(rule, start, *pauses):
    """A clock from ISO days; a pause is "from..until" or "from.." while it lasts."""
    spans = [tuple(map(as_day, pause.split(".."))) for pause in pauses]
    return clock(**rule, start=as_day(start), pauses=spans, calendar=national())


def as_day(text):
    return dt.date.fromisoformat(text) if text else None


@pytest.mark.parametrize(
    ("rule", "start", "pauses", "nominal", "last"),
    [
        # Mon 03-08 received; 9 1, 10 2 returned that day; back Tue 16 (not counted); 17 3, 18 4, 19 5
        (REVIEW, "2021-03-08", ["2021-03-10..2021-03-16"], "2021-03-19", "2021-03-19"),
        # returned and back the same day: nothing stopped
        (REVIEW, "2021-03-08", ["2021-03-10..2021-03-10"], "2021-03-15", "2021-03-15"),
        # returned on the day of receipt: 5 days are left after Wed 10: 11 12 15 16 17
        (REVIEW, "2021-03-08", ["2021-03-08..2021-03-10"], "2021-03-17", "2021-03-17"),
        # two stops: 9 1 | back 11; 12 2 | back 16; 17 3, 18 4, 19 5
        (REVIEW, "2021-03-08", ["2021-03-09..2021-03-11", "2021-03-12..2021-03-16"],
         "2021-03-19", "2021-03-19"),
        # returned on the last day (Mon 15), back Wed 17: that day is the last one
        (REVIEW, "2021-03-08", ["2021-03-15..2021-03-17"], "2021-03-17", "2021-03-17"),
        # the same, back on Sat 20: the next working day
        (REVIEW, "2021-03-08", ["2021-03-15..2021-03-20"], "2021-03-22", "2021-03-22"),
        # returned when already overdue: stays overdue
        (REVIEW, "2021-03-08", ["2021-03-16..2021-03-20"], "2021-03-15", "2021-03-15"),
        # over the make-up Sunday 04-25: 23 1 | back Sat 24 (off); 25 Sun worked 2, 26 3, 27 4, 28 5
        (REVIEW, "2021-04-22", ["2021-04-23..2021-04-24"], "2021-04-28", "2021-04-28"),
        # over the year's end: 30 1 | back Fri 31 (worked, not counted); 01-04 2, 5 3, 6 4, 7 5
        (REVIEW, "2021-12-29", ["2021-12-30..2021-12-31"], "2022-01-07", "2022-01-07"),
        # year's end before: received Wed 2020-12-30; 31 1 | back 01-04; 5 2, 6 3, 7 4, 8 5
        (REVIEW, "2020-12-30", ["2020-12-31..2021-01-04"], "2021-01-08", "2021-01-08"),
        # months: 06-15 + 10 calendar days = Fri 06-25
        (REBUILD, "2021-03-15", ["2021-04-01..2021-04-11"], "2021-06-25", "2021-06-25"),
        # 06-15 + 11 = Sat 06-26, rolls to Mon 28
        (REBUILD, "2021-03-15", ["2021-04-01..2021-04-12"], "2021-06-26", "2021-06-28"),
        # stopped in the roll-over (nominal Fri 10-01, last Fri 10-08), back Mon 10-11
        (REBUILD, "2021-07-01", ["2021-10-05..2021-10-11"], "2021-10-11", "2021-10-11"),
        # a period that does not roll over still grows: 06-12 + 5 = 06-17
        (BAN, "2021-03-12", ["2021-04-01..2021-04-06"], "2021-06-17", "2021-06-17"),
        (BAN, "2021-03-12", [], "2021-06-12", "2021-06-12"),
    ],
)  # fmt: skip
def test_a_stopped_clock_by_hand(rule, start, pauses, nominal, last):
    got = timed(rule, start, *pauses)
    assert (got.nominal, got.last, got.day) == (as_day(nominal), as_day(last), as_day(last))
    assert (got.running, got.clause) == (True, "七")


def test_a_clock_that_stands_still():
    got = timed(REVIEW, "2021-03-08", "2021-03-10..")
    assert (got.running, got.day, got.last) == (False, None, as_day("2021-03-15"))
    left = {day: got.remaining(as_day(day)) for day in ("2021-03-08", "2021-03-09", "2021-03-10")}
    assert left == {"2021-03-08": 5, "2021-03-09": 4, "2021-03-10": 3}
    assert {got.remaining(DAY + ONE * n) for n in range(60)} == {3}
    assert got.remaining(as_day("2031-01-01")) == 3  # no calendar is needed while it stands


def test_what_is_overdue_stays_overdue_while_materials_are_out():
    got = timed(REVIEW, "2021-03-08", "2021-03-17..")
    assert (got.running, got.day) == (False, as_day("2021-03-15"))
    assert [got.remaining(as_day(f"2021-03-{n}")) for n in (15, 16, 17, 18, 30)] == [
        0,
        -1,
        -2,
        -2,
        -2,
    ]


def test_remaining_counts_down_through_a_stop():
    got = timed(REVIEW, "2021-03-08", "2021-03-10..2021-03-16")
    left = [got.remaining(as_day(f"2021-03-{n:02}")) for n in (8, 10, 12, 16, 17, 19, 20, 22)]
    assert left == [5, 3, 3, 3, 2, 0, 0, -1]


@pytest.mark.parametrize(
    "pauses",
    [
        ["2021-03-05..2021-03-10"],
        ["2021-03-12..2021-03-10"],
        ["2021-03-09..2021-03-12", "2021-03-11..2021-03-13"],
        ["2021-03-12..2021-03-13", "2021-03-09..2021-03-10"],
        ["2021-03-09..", "2021-03-11..2021-03-13"],
    ],
    ids=str,
)
def test_stops_that_contradict_each_other(pauses):
    with pytest.raises(CaseError, match="停表"):
        timed(REVIEW, "2021-03-08", *pauses)


@pytest.mark.parametrize(
    ("rule", "start", "pause"),
    [
        (REVIEW, "2024-12-20", "2024-12-23..2024-12-30"),
        (REBUILD, "2024-09-15", "2024-12-01..2025-01-15"),
    ],
)
def test_a_stop_into_a_missing_year_says_so(rule, start, pause):
    with pytest.raises(MissingYear, match="2025"):
        timed(rule, start, pause)
    assert timed(rule, start, pause.partition("..")[0] + "..").day is None


def test_the_last_year_of_the_shipped_calendar():
    shipped = Calendar.build(
        (day, day.weekday() < 5) for day in days(dt.date(2026, 1, 1), dt.date(2026, 12, 31))
    )
    with pytest.raises(MissingYear, match="2027") as missing:
        clock(**REVIEW, start=dt.date(2026, 12, 21), calendar=shipped,
              pauses=[(dt.date(2026, 12, 23), dt.date(2026, 12, 30))])  # fmt: skip
    assert missing.value.year == 2027


START = st.dates(dt.date(2020, 11, 20), dt.date(2022, 12, 31))
RULES = st.sampled_from([REVIEW, REBUILD, BAN, {"step": "acceptance_test", "procedures": WENZHOU}])
GAPS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4)


def spans(start, gaps):
    """Closed stops in order: (days running before it, days it lasts)."""
    found, day = [], start
    for running, lasting in gaps:
        since = day + ONE * running
        day = since + ONE * lasting
        found.append((since, day))
    return found


@given(RULES, START)
def test_without_a_stop_it_is_the_step_itself(rule, start):
    got = clock(**rule, start=start, pauses=[], calendar=national())
    due = step_due(**rule, start=start, calendar=national())
    assert (got.nominal, got.last, got.day, got.running) == (due.nominal, due.day, due.day, True)


@given(RULES, START, GAPS, st.integers(0, 3), st.integers(1, 60))
def test_a_longer_stop_never_ends_earlier(rule, start, gaps, which, more):
    shorter = clock(**rule, start=start, pauses=spans(start, gaps), calendar=national())
    longer = [
        (running, lasting + more * (number == which))
        for number, (running, lasting) in enumerate(gaps)
    ]
    other = clock(**rule, start=start, pauses=spans(start, longer), calendar=national())
    assert other.last >= shorter.last >= step_due(**rule, start=start, calendar=national()).day


@given(START, GAPS)
def test_working_days_against_ticking_them_off(start, gaps):
    pauses = spans(start, gaps)
    left, day = WENZHOU["material_review"]["working_days"], start
    while left:
        day += ONE
        stopped = any(since < day <= until for since, until in pauses)
        left -= national().is_working_day(day) and not stopped
    returned = [until for since, until in pauses if since <= day <= until]
    got = clock(**REVIEW, start=start, pauses=pauses, calendar=national())
    if returned:  # sent out on the last day: it ends on the day of receipt
        assert got.last >= national().next_working_day(returned[0])
    else:
        assert got.last == day


@given(START, GAPS, st.integers(0, 200))
def test_remaining_never_rises_and_is_zero_on_the_last_day(start, gaps, offset):
    got = clock(**REVIEW, start=start, pauses=spans(start, gaps), calendar=national())
    today = start + ONE * offset
    assert got.remaining(got.last) == 0
    # one more when it was sent out on its last day and came back on a rest day
    assert got.remaining(start) - WENZHOU["material_review"]["working_days"] in (0, 1)
    assert got.remaining(today) - 1 <= got.remaining(today + ONE) <= got.remaining(today)


@given(START, st.integers(0, 80), st.integers(0, 40))
def test_months_grow_by_the_calendar_days_stopped(start, running, lasting):
    since = start + ONE * running
    got = clock(
        **REBUILD, start=start, pauses=[(since, since + ONE * lasting)], calendar=national()
    )
    assert got.nominal == add_months(start, WENZHOU["rebuild"]["months"]) + ONE * lasting
    assert got.last == national().next_working_day(got.nominal)
