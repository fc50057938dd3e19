"""Parameters of watching have a shape: a slip of the pen is refused before it is published."""

import datetime as dt

import pytest
import yaml

from institutions.models import Region
from pricing.lint import SHAPES
from supervision import conduct, credit, subjects
from tests import factories

#: What the pages of watching need of a region.
WATCHING = {
    "practitioner_points", "credit_score", "conduct_limits", "disclosure_months",
    "complaint_working_days", "complaint_reward", "case_statement_working_days",
    "case_hearing_working_days",
    "case_execution_working_days", "review_working_days", "review_supplement_working_days",
    "review_objection_working_days", "review_second_amount", "review_wordings",
}  # fmt: skip
CODES = {"nantong": "320600", "wenzhou": "330300", "jilin": "220000", "ningxia": "640000"}

POINTS = {"suspend": {"from": 9, "months": 3}, "terminate": {"from": 12}, "repair": {"most": 3}}
CREDIT = {
    "start": 100,
    "worth": {"case": -10, "finding": -1, "point": -2, "restriction": -10, "clean": 2},
    "levels": [{"from": 90, "name": "优秀"}, {"from": 0, "name": "较差"}],
}
SOUND = {
    "practitioner_points": POINTS,
    "complaint_reward": {"share": 200, "least": 1, "most": 2},
    "conduct_limits": {"reveals": 20, "first_hour": 7, "last_hour": 20},
    "credit_score": CREDIT,
    "disclosure_months": 12,
}
WRONG = (
    ("practitioner_points", 9),
    ("practitioner_points", POINTS | {"terminate": {"from": 9}}),
    ("practitioner_points", POINTS | {"suspend": {"from": 9}}),
    ("complaint_reward", {"share": 10_001, "least": 1, "most": 2}),
    ("complaint_reward", {"share": 1, "least": 3, "most": 2}),
    ("conduct_limits", {"reveals": 0, "first_hour": 7, "last_hour": 20}),
    ("conduct_limits", {"reveals": 1, "first_hour": 7, "last_hour": 25}),
    ("credit_score", CREDIT | {"worth": {"case": 1}}),
    ("credit_score", CREDIT | {"levels": [{"from": 10, "name": "x"}]}),
    ("credit_score", CREDIT | {"levels": [{"from": 5, "name": "x"}, {"from": 90, "name": "y"},
                                          {"from": 0, "name": "z"}]}),
    ("disclosure_months", 0),
)  # fmt: skip


@pytest.mark.parametrize("key", SOUND)
def test_a_sound_parameter_has_no_fault(key: str) -> None:
    assert list(SHAPES[key](SOUND[key], ())) == []


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_shape_is_named(key: str, value: object) -> None:
    assert list(SHAPES[key](value, ()))


@pytest.mark.parametrize("name", CODES)
def test_every_region_has_example_numbers_of_watching(name: str) -> None:
    text = (factories.SHIPPED / f"parameters-{name}.yaml").read_text(encoding="utf-8")
    rows = {row["key"]: row for row in yaml.safe_load(text)["rows"]}
    assert rows.keys() >= WATCHING
    for key in WATCHING:
        assert rows[key]["source_kind"] == "example"
        assert rows[key]["label"].startswith("示例：")


@pytest.mark.parametrize("name", CODES)
def test_points_credit_and_conduct_work_in_every_region(db, name: str) -> None:
    factories.policies(name)
    code = CODES[name]
    region, _ = Region.objects.get_or_create(
        code=code, defaults={"name": name, "level": "province", "policy_region": name}
    )
    day = dt.date(2021, 12, 20)
    tariff = subjects.Tariff.of(code, day)
    assert (tariff.outcome(8), tariff.outcome(9), tariff.outcome(12)) == (
        "", "practitioner", "terminated",
    )  # fmt: skip
    assert tariff.example
    scheme, limits = credit.Scheme.of(region, day), conduct.Limits.of(region, day)
    assert scheme is not None
    assert limits is not None
    assert (scheme.start, limits.reveals) == (100, 20)
