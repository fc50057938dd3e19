"""The shipped documents, the case files and the national calendar, as the pure modules take them."""

import json
from functools import cache
from pathlib import Path

import chinese_calendar
import yaml

from agreements.facts import ask
from institutions.calendar import Calendar, days_of_year

ROOT = Path(__file__).parents[2]
FILES = ("agreements.json", "agreements-branches.json")
DOCUMENTS = {
    "nantong": "nantong-2020-25.yaml",
    "wenzhou": "wenzhou-2021-6.yaml",
    "ningxia": "ningxia-2021-152.yaml",
}


@cache
def document(region: str) -> dict:
    """A shipped policy document as data."""
    path = ROOT / "pricing/policies" / DOCUMENTS[region]
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def national() -> Calendar:
    """The national working days of 2020 to 2024."""
    return Calendar.build(
        (day, chinese_calendar.is_workday(day))
        for year in range(2020, 2025)
        for day in days_of_year(year)
    )


def cases_of(subjects) -> list[dict]:
    """The given cases and our own of some subjects."""
    folder = ROOT / "tests/policies"
    found = [
        case
        for name in FILES
        for case in json.loads((folder / name).read_text(encoding="utf-8"))["cases"]
    ]
    return [case for case in found if case["subject"] in subjects]


def check(case: dict, subjects, law) -> None:
    """The answer to a case is what it expects; an expected null is really null."""
    got = ask(subjects, case["subject"], case["input"], law=law, calendar=national())
    assert {key: got.get(key, "absent") for key in case["expected"]} == case["expected"]
