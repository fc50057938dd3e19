"""The decree as data: numbers within their ranges, the day it took effect, and files that contradict themselves."""

import datetime as dt

import pytest

from config.roles import ROLES
from supervision import law
from supervision.models import InspectionPlan

AFTER, BEFORE = dt.date(2021, 6, 1), dt.date(2021, 4, 30)


@pytest.mark.parametrize(
    ("number", "loss", "amount", "allowed"),
    [
        ("38", 10_000, 10_000, True),
        ("38", 10_000, 20_000, True),
        ("38", 10_000, 9_999, False),
        ("38", 10_000, 20_001, False),
        ("39", 0, 1_000_000, True),
        ("39", 0, 5_000_000, True),
        ("39", 0, 5_000_001, False),
        ("40", 10_000, 20_000, True),
        ("40", 10_000, 50_000, True),
        ("40", 10_000, 50_001, False),
    ],
)
def test_a_fine_lies_within_its_article(number: str, loss: int, amount: int, allowed: bool) -> None:
    given = {"number": number, "loss": loss, "amount": amount, "acted_on": AFTER}
    if allowed:
        assert law.check_fine(**given, subject="institution").number == number
    else:
        with pytest.raises(law.OutOfRange, match="罚款幅度"):
            law.check_fine(**given, subject="institution")


def test_an_act_before_the_decree_is_not_fined_by_it() -> None:
    with pytest.raises(law.OutOfRange, match="自2021-05-01起施行"):
        law.check_fine(number="38", loss=100, amount=100, acted_on=BEFORE, subject="institution")
    law.check_fine(
        number="38", loss=100, amount=100, acted_on=dt.date(2021, 5, 1), subject="institution"
    )


def test_what_could_not_be_established_is_refused_not_guessed() -> None:
    with pytest.raises(law.OutOfRange, match="对个人罚款的幅度未收录"):
        law.check_fine(number="41", loss=100, amount=200, acted_on=AFTER, subject="person")
    with pytest.raises(law.OutOfRange, match="没有收录第99条"):
        law.decree().article("99", day=AFTER)
    with pytest.raises(law.OutOfRange, match="须先认定损失"):
        law.check_fine(number="40", loss=0, amount=1, acted_on=AFTER, subject="institution")
    with pytest.raises(law.OutOfRange, match="不适用于这类对象"):
        law.check_fine(number="38", loss=1, amount=1, acted_on=AFTER, subject="person")


@pytest.mark.parametrize(("months", "allowed"), [(2, False), (3, True), (12, True), (13, False)])
def test_online_settlement_is_suspended_for_3_to_12_months(months: int, allowed: bool) -> None:
    given = {"number": "41", "kind": "online_months", "months": months, "acted_on": AFTER}
    if allowed:
        law.check_months(**given, subject="person")
    else:
        with pytest.raises(law.OutOfRange, match="3个月至12个月"):
            law.check_months(**given, subject="person")


def test_the_decree_carries_what_is_known_of_it() -> None:
    articles = law.decree().articles
    assert set(articles) == {"13", "15", "29", "31", "34", "38", "39", "40", "41", "45"}
    assert law.inspectors_needed() == 2
    assert articles["40"].termination
    assert {key for key, row in articles.items() if row.gap} == {
        "15", "31", "34", "38", "39", "40", "41"
    } - {"40"}  # fmt: skip
    assert all(route.measures for route in law.routes().values())


WRONG = (
    "slug: other\neffective: {from: 2021-05-01, until: null}\narticles: {}",
    "slug: x\neffective: {from: 2021-05-01, until: 2020-01-01}\narticles: {}",
    "slug: x\neffective: {from: 2021-05-01, until: null}\narticles: {'1': {summary: a, odd: 1}}",
    (
        "slug: x\neffective: {from: 2021-05-01, until: null}\n"
        "articles: {'1': {summary: a, fine: {times: {least: 2, most: 1}}}}"
    ),
    (
        "slug: x\neffective: {from: 2021-05-01, until: null}\n"
        "articles: {'1': {summary: a, subjects: [dog]}}"
    ),
    (
        "slug: x\neffective: {from: 2021-05-01, until: null}\n"
        "articles: {'1': {summary: a, fine: {amount: {least: 1, most: 2}, times: {least: 1, most: 2}}}}"
    ),
)


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_contradicts_itself_is_refused(text: str) -> None:
    with pytest.raises(law.LawError):
        law.parse(text, stem="x")


def test_each_side_of_inspections_has_its_own_people_approver_and_series() -> None:
    """温医保办〔2021〕6号 四: the agency's patrols are not the bureau's enforcement."""
    sides = law.sides()
    assert sides.keys() == set(InspectionPlan.Side.values)
    for side in sides.values():
        assert {"inspections.plan", "inspections.carry"} <= ROLES[side.role].permissions
        approvers = [role for role in ROLES.values() if side.approves in role.permissions]
        assert approvers
        assert all({ROLES[side.role].side} == {role.side} for role in approvers)
        assert all("inspections.view" in role.permissions for role in approvers)
    assert len({side.series for side in sides.values()}) == len(sides)
