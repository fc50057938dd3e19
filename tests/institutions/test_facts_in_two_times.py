"""Facts of an institution dated twice: valid from, and known since."""

import datetime as dt

import pytest
from django.db import transaction

from institutions import commands
from institutions.models import (
    Institution,
)
from tests import factories
from tests.institutions.registry import FIRST, LAST, LATER, MID_MAY, Day, refusal


@pytest.fixture
def hospital(db) -> Institution:
    return factories.institution("nantong", agreements=False)


def classes(hospital: Institution, *days: str, known: str = "") -> list[str]:
    moment = known and dt.datetime.fromisoformat(f"{known}T12:00:00+08:00")
    found = [
        hospital.facts.facts_on(Day.fromisoformat(day), known_at=moment or None) for day in days
    ]
    return [row.price_class if row else "-" for row in found]


def test_a_change_in_the_middle_of_a_month_splits_the_span(hospital: Institution):
    made = commands.record_facts(
        institution=hospital,
        valid_from=MID_MAY,
        changes={"price_class": "2"},
        source="通卫〔2021〕1号",
        **FIRST,
    )
    assert (made.valid_from, made.valid_until, made.source) == (MID_MAY, None, "通卫〔2021〕1号")
    assert classes(hospital, "2018-12-31", "2021-05-16", "2021-05-17", "2030-01-01") == [
        "-", "3", "2", "2"]  # fmt: skip
    assert hospital.facts.count() == 3  # the first row stays, replaced by two
    assert hospital.facts.filter(superseded_at=FIRST["at"]).get().valid_until is None


def test_what_was_known_on_a_day_can_always_be_asked(hospital: Institution):
    commands.record_facts(
        institution=hospital,
        valid_from=MID_MAY,
        changes={"price_class": "2"},
        source="误报",
        **FIRST,
    )
    commands.correct_facts(
        institution=hospital, valid_from=MID_MAY, valid_until=Day(2021, 6, 30),
        changes={"price_class": "3"}, source="核对原件", **LATER,
    )  # fmt: skip
    days = ("2021-05-16", "2021-05-17", "2021-06-30", "2021-07-01")
    assert classes(hospital, *days) == ["3", "3", "3", "2"]
    assert classes(hospital, *days, known="2021-06-01") == ["3", "2", "2", "2"]
    assert classes(hospital, *days, known="2021-05-01") == ["3", "3", "3", "3"]
    assert classes(hospital, *days, known="2018-01-01") == ["-"] * 4


def test_a_later_span_keeps_what_it_changed_itself(hospital: Institution):
    commands.record_facts(
        institution=hospital,
        valid_from=Day(2021, 7, 1),
        changes={"price_class": "2"},
        source="升级",
        **FIRST,
    )
    commands.record_facts(
        institution=hospital, valid_from=MID_MAY,
        changes={"price_class": "1", "representative": "王院长"}, source="补记", **LATER,
    )  # fmt: skip
    found = [hospital.facts.facts_on(day) for day in (Day(2021, 5, 16), MID_MAY, Day(2021, 7, 1))]
    assert [(row.price_class, row.representative) for row in found] == [
        ("3", ""), ("1", "王院长"), ("2", "王院长")]  # fmt: skip


def test_facts_before_the_first_span_must_be_complete(hospital: Institution):
    early = {"institution": hospital, "valid_from": Day(2018, 1, 1), "source": "补记"}
    with refusal("FACTS_INCOMPLETE", "ownership"):
        commands.record_facts(**early, changes={"price_class": "2"}, **FIRST)
    full = {"price_class": "2", "ownership": "public", "nonprofit": True}
    commands.record_facts(**early, changes=full, **FIRST)
    row = hospital.facts.facts_on(Day(2018, 6, 1))
    assert (row.price_class, row.valid_until) == ("2", Day(2018, 12, 31))
    assert classes(hospital, "2019-01-01") == ["3"]


def test_the_same_again_changes_nothing(hospital: Institution):
    same = commands.record_facts(
        institution=hospital, valid_from=MID_MAY, changes={"price_class": "3"}, source="", **FIRST
    )
    assert (hospital.facts.count(), same.valid_from) == (1, factories.LONG_AGO)


def test_departments_have_a_history(hospital: Institution):
    commands.record_facts(
        institution=hospital, valid_from=MID_MAY, source="执业登记",
        changes={"internet_departments": ["A03", "A50", "A03 "]}, **FIRST,
    )  # fmt: skip
    days = (Day(2021, 5, 16), MID_MAY)
    assert [hospital.facts.facts_on(day).internet_departments for day in days] == [
        ["A03"], ["A03", "A50"]]  # fmt: skip


def test_a_name_is_dated_and_the_old_one_is_an_alias(hospital: Institution):
    old = hospital.name
    commands.record_facts(
        institution=hospital,
        valid_from=Day(2021, 9, 1),
        changes={"name": "新医院"},
        source="更名",
        **LATER,
    )
    hospital.refresh_from_db()
    assert hospital.name == old  # not yet: it is August
    assert commands.adopt_names(on=Day(2021, 8, 31), **LAST) == 0
    assert commands.adopt_names(on=Day(2021, 9, 1), **LAST) == 1
    hospital.refresh_from_db()
    assert (hospital.name, hospital.aliases) == ("新医院", [old])
    names = [hospital.facts.facts_on(day).name for day in (Day(2021, 8, 31), Day(2021, 9, 1))]
    assert names == [old, "新医院"]


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"source": " "}, "SOURCE_MISSING", "source"),
        ({"valid_until": Day(2021, 1, 1)}, "DATES_REVERSED", "valid_until"),
        ({"valid_from": Day(2018, 1, 1), "valid_until": Day(2018, 2, 1)}, "NO_FACTS", "valid_from"),
        ({"changes": {}}, "NOTHING_CHANGED", "changes"),
        ({"changes": {"price_class": ""}}, "PRICE_CLASS_MISSING", "price_class"),
        ({"changes": {"hospital_grade": "三" * 11}}, "TOO_LONG", "hospital_grade"),
        ({"at": dt.datetime(2018, 1, 1, tzinfo=factories.ZONE)}, "RECORDED_LATER", "at"),
    ],
)
def test_corrections_that_are_refused(hospital: Institution, more: dict, code: str, field: str):
    given = {"institution": hospital, "valid_from": MID_MAY, "source": "核对原件",
             "changes": {"price_class": "2"}, **FIRST}  # fmt: skip
    with refusal(code, field), transaction.atomic():
        commands.correct_facts(**(given | more))
    assert hospital.facts.count() == 1


def test_a_claim_of_a_past_day_sees_what_was_known_when_it_was_settled(hospital: Institution):
    """The settlement's own statement reads the same two times."""
    commands.correct_facts(
        institution=hospital,
        valid_from=MID_MAY,
        changes={"price_class": "2"},
        source="核对",
        **LATER,
    )
    assert classes(hospital, "2021-06-01", known="2021-08-01") == ["3"]
    assert classes(hospital, "2021-06-01", known="2021-08-03") == ["2"]
