"""Deadlines of the agreement procedure: given cases, our own, and what must never be answered."""

import copy
import datetime as dt
import json
from functools import cache
from pathlib import Path

import chinese_calendar
import pytest
import yaml

from agreements.deadlines import SUBJECTS, CaseError, Unanswerable, answer, reopening, state_on
from institutions.calendar import Calendar, MissingYear, days_of_year

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests/policies/agreements-subset.json").read_text(encoding="utf-8"))
WENZHOU = yaml.safe_load(
    (ROOT / "pricing/policies/wenzhou-2021-6.yaml").read_text(encoding="utf-8")
)["procedures"]
DAY = dt.date(2021, 3, 15)


@cache
def national() -> Calendar:
    return Calendar.build(
        (day, chinese_calendar.is_workday(day))
        for year in range(2020, 2025)
        for day in days_of_year(year)
    )


def ask(subject, facts, procedures=WENZHOU):
    return answer(subject, facts, procedures=procedures, calendar=national())


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["id"])
def test_case(case):
    got = ask(case["subject"], case["input"])
    asserted = {key: value for key, value in case["expected"].items() if value is not None}
    assert {key: got.get(key, "absent") for key in asserted} == asserted
    assert all(got.get(key, "absent") is None for key in case["expected"].keys() - asserted.keys())


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["id"])
@pytest.mark.parametrize("procedures", [None, {}, {"material_review": None}], ids=str)
def test_without_policy_data_every_case_fails(case, procedures):
    with pytest.raises(CaseError):
        ask(case["subject"], case["input"], procedures)


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_every_subject_has_cases(subject):
    assert any(case["subject"] == subject for case in CASES["cases"])


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
    got = answer("reapplication", facts, procedures=WENZHOU, calendar=empty)
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
