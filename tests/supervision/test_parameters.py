"""Parameters of watching have a shape: a slip of the pen is refused before it is published."""

import pytest

from pricing.lint import SHAPES

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
