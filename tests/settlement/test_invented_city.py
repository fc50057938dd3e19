"""A new city is a YAML file: tests/policies/invented-city.yaml settles without a line of Python.

Every number of the file is changed in turn; at least one settlement or deadline must then differ.
"""

import copy
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from agreements import deadlines
from agreements.facts import ask
from institutions.calendar import Calendar, days_of_year
from pricing.commands import draft, publish
from pricing.document import Policy, parse
from pricing.releases import Catalogue, Published, current
from pricing.validation import problems
from settlement import trial

FILE = Path(__file__).parents[1] / "policies" / "invented-city.yaml"
TEXT = FILE.read_text(encoding="utf-8")
AT = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)

#: Numbers that decide nothing, each with its reason.
IDLE = {("format",): "the version of the file format"}

VISIT = {
    "region": "invented", "service_date": "2022-06-10", "ownership": "public", "price_class": 3,
    "item_code": "990100", "scheme": "employee", "insured_area": "invented", "visit_type": "revisit",
    "last_offline_visit": "2022-05-20", "doctor_title": "attending", "doctor_independent_months": 60,
    "fee": "99.00",
}  # fmt: skip
EXPERT = VISIT | {"item_code": "990200", "doctor_title": "chief", "doctor_independent_months": 120}
DRUG = {key: value for key, value in VISIT.items() if key not in ("item_code", "doctor_title")} | {
    "service": "drug", "fee": "9000.00",
}  # fmt: skip
TRIALS = [
    *(visit | {"price_class": n} for visit in (VISIT, EXPERT, DRUG) for n in (1, 2, 3)),
    *(VISIT | {"scheme": "lixiu", "price_class": n} for n in (1, 3)),
    EXPERT | {"scheme": "lixiu", "price_class": 2},
    *({"lines": [DRUG | {"scheme": scheme, "price_class": n} for _ in range(3)]}
      for scheme in ("employee", "resident") for n in (1, 2, 3)),
    *({"lines": [DRUG | {"scheme": scheme, "fee": fee} for fee in ("250.00", "777.77")]}
      for scheme in ("employee", "resident") for n in (1, 2, 3)),
    DRUG | {"scheme": "resident", "fee": "1200.00"},
    DRUG | {"scheme": "resident", "fee": "3600.00"},
    *(VISIT | {"last_offline_visit": day} for day in ("2022-04-10", "2022-04-09", "2022-05-10")),
    *(VISIT | {"doctor_independent_months": n} for n in (12, 23, 24)),
    *(EXPERT | {"doctor_independent_months": n} for n in (48, 95, 96)),
    VISIT | {"service_type": "线上心理测评"},
    VISIT | {"service_date": "2022-02-28"},
    VISIT | {"service_date": "2025-01-01"},
]  # fmt: skip
DAY = "2022-04-11"
DEADLINES = [
    ("deadline", {"step": "material_review", "received": DAY}),
    ("deadline", {"step": "rebuild", "review_passed": DAY}),
    ("deadline", {"step": "acceptance_test", "received": DAY}),
    ("deadline", {"step": "sign", "acceptance_passed": DAY}),
    *(
        ("reapplication", {"fail_no": n, "kind": "materials", "result_delivered": DAY})
        for n in (1, 2, 3)
    ),
]


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    days = [day for year in range(2022, 2026) for day in days_of_year(year)]
    return Calendar.build([(day, day.weekday() < 5) for day in days])


def catalogue(data: dict) -> Catalogue:
    policy = Policy(data)
    return Catalogue([Published(1, "-", policy, *policy.effective)])


def answers(data: dict, calendar: Calendar) -> list:
    law = catalogue(data)
    settled = [trial.run(facts, law) for facts in TRIALS]
    dated = [
        ask(deadlines.SUBJECTS, subject, facts, law=data["procedures"], calendar=calendar)
        for subject, facts in DEADLINES
    ]
    return [settled, dated]


def numbers(node: object, path: tuple = ()) -> Iterator[tuple]:
    """The key path of every integer of the document."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers(value, (*path, key))
    elif type(node) is int:
        yield path


def changed(data: dict, path: tuple) -> dict:
    """The document with one number halved (0 and 1 are raised)."""
    data = copy.deepcopy(data)
    node = data
    for key in path[:-1]:
        node = node[key]
    value = node[path[-1]]
    node[path[-1]] = value // 2 if value > 1 else value + 1 if value else 5_000
    return data


NUMBERS = list(numbers(parse(TEXT).data))


@pytest.mark.parametrize(
    "path", [p for p in NUMBERS if p not in IDLE], ids=lambda p: "/".join(map(str, p))
)
def test_changing_any_number_changes_an_answer(path, calendar, baseline):
    assert answers(changed(parse(TEXT).data, path), calendar) != baseline


@pytest.fixture(scope="module")
def baseline(calendar) -> list:
    return answers(parse(TEXT).data, calendar)


def test_idle_numbers_are_few_and_exist():
    assert set(IDLE) <= set(NUMBERS)


def test_the_text_is_without_faults():
    assert problems(TEXT, name=FILE.name) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # 99.00 is above the cap 24.00 and the price 30.00; all 24.00 fall under the deductible 200.00
        (VISIT, ("payable", "24.00", "75.00", "0.00", "69.00")),
        # class 2 has no price for 990100: a gap of its own
        (VISIT | {"price_class": 2}, ("reject", None, None, "0.00", None)),
        # (1000.00 − 200.00) × 60 % = 480.00
        (DRUG | {"fee": "1000.00"}, ("payable", "1000.00", "0.00", "480.00", "0.00")),
        # class 1 pays 80 %: (1000.00 − 200.00) × 80 % = 640.00
        (
            DRUG | {"fee": "1000.00", "price_class": 1},
            ("payable", "1000.00", "0.00", "640.00", "0.00"),
        ),
        # employee, cap 5000.00: (5000 − 200) × 60 % = 2880.00, below the limit 3500.00
        (DRUG, ("payable", "5000.00", "4000.00", "2880.00", "0.00")),
        # class 1: (3000 − 200) × 80 % = 2240.00
        (DRUG | {"price_class": 1}, ("payable", "3000.00", "6000.00", "2240.00", "0.00")),
        # resident: 3600 − 300 = 3300: 1000 × 40 % + 2000 × 55 % + 300 × 25 % = 400 + 1100 + 75
        (
            DRUG | {"scheme": "resident", "fee": "3600.00"},
            ("payable", "3600.00", "0.00", "1575.00", "0.00"),
        ),
        # lixiu: fixed 11.00 a visit
        (VISIT | {"scheme": "lixiu"}, ("payable", "24.00", "75.00", "11.00", "69.00")),
    ],
)
def test_hand_computed_settlements(facts, expected):
    answer = trial.run(facts, catalogue(parse(TEXT).data))
    keys = ("decision", "in_scope_amount", "over_cap_self_pay", "fund_pay", "overcharge")
    assert tuple(answer[key] for key in keys) == expected


def test_the_annual_limit_ends_the_payments_of_a_year():
    lines = [DRUG | {"price_class": 3} for _ in range(3)]
    answer = trial.run({"lines": lines}, catalogue(parse(TEXT).data))
    # 2880.00, then 5000 × 60 % = 3000.00 but only 620.00 of 3500.00 are left, then nothing
    assert [line["fund_pay"] for line in answer["lines"]] == ["2880.00", "620.00", "0.00"]
    assert answer["fund_pay_total"] == "3500.00"


@pytest.mark.django_db
def test_a_published_release_of_the_city_settles_at_once():
    release = draft(text=TEXT, by="起草人", at=AT)
    evidence = {"sm3": release.sm3, "cases": {"passed": 8, "failed": 0}}
    publish(release=release, evidence=evidence, by="发布人", at=AT)
    answer = trial.run(DRUG, current())
    assert (answer["fund_pay"], answer["release"]["sm3"]) == ("2880.00", release.sm3)
