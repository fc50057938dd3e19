"""The decree as data: numbers within their ranges, the day it took effect, and files that contradict themselves."""

import datetime as dt

import pytest

from config.roles import ROLES
from supervision import law
from supervision.models import InspectionPlan, Sanction

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
    given = {"number": number, "loss": loss, "amount": amount, "acted_on": AFTER,
             "condition": "defiance" if number == "39" else ""}  # fmt: skip
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


@pytest.mark.parametrize(
    ("number", "subject", "amount", "ground", "words"),
    [
        ("39", "institution", 1_000_000, "defiance", "“拒不改正”为条件"),
        ("41", "person", 20_000, "fraud", "以骗取医疗保障基金为目的"),
    ],
)
def test_a_fine_stands_on_the_ground_its_article_names(
    number: str, subject: str, amount: int, ground: str, words: str
) -> None:
    """第39条: 拒不改正的，处1万元以上5万元以下的罚款；第41条第二款: 骗取的，处骗取金额2倍以上5倍以下的罚款."""
    given = {
        "number": number,
        "loss": 10_000,
        "amount": amount,
        "acted_on": AFTER,
        "subject": subject,
    }
    for condition in ("", "grave"):
        with pytest.raises(law.OutOfRange, match=words):
            law.check_fine(**given, condition=condition)
    assert law.check_fine(**given, condition=ground).number == number
    if number == "41":
        with pytest.raises(law.OutOfRange, match=r"200\.00元至500\.00元"):
            law.check_fine(**given | {"amount": 50_001}, condition=ground)
    with pytest.raises(law.OutOfRange, match="不以所选情形为条件"):
        law.check_fine(number="38", loss=100, amount=100, acted_on=AFTER, subject="institution",
                       condition=ground)  # fmt: skip


def test_a_department_is_suspended_after_defiance_or_grave_consequences() -> None:
    given = {"kind": "department_months", "months": 6, "acted_on": AFTER, "subject": "institution"}
    with pytest.raises(law.OutOfRange, match="“拒不改正”或者“造成严重后果”"):
        law.check_months(number="38", **given)
    for condition in ("defiance", "grave"):
        law.check_months(number="38", **given, condition=condition)
    law.check_months(number="40", **given)


def test_other_laws_give_remedies_while_they_are_in_force() -> None:
    hearing = law.remedy("hearing", dt.date(2021, 7, 15))
    assert hearing is not None
    assert (hearing.working_days, hearing.cited) == (
        5, "《中华人民共和国行政处罚法》（2021年修订）第63、64条",
    )  # fmt: skip
    assert law.remedy("hearing", dt.date(2021, 7, 14)) is None
    old, new = (law.remedy("review", dt.date(year, 1, 1)) for year in (2023, 2024))
    assert old is not None
    assert new is not None
    assert (old.days, old.organs, old.articles) == (60, ("government", "above"), "第9、12条")
    assert (new.days, new.organs, new.articles) == (60, ("government",), "第20、24条")
    suit = law.remedy("suit", AFTER)
    assert suit is not None
    assert suit.months == 6


def test_what_an_article_does_not_know_is_refused() -> None:
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
    assert set(articles) == {
        "13", "15", "22", "29", "31", "34", "38", "39", "40", "41", "45",
    }  # fmt: skip
    assert "罚款、没收的违法所得依法上缴国库" in articles["45"].summary
    assert law.inspectors_needed() == 2
    assert articles["40"].termination
    assert {key for key, row in articles.items() if row.gap} == {"31", "34"}
    assert law.decree().conditions.keys() == set(Sanction.Condition.values)
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
        "articles: {'1': {summary: a, conditions: {fine: [moon]}}}"
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
