"""What settlement knows of a practitioner: post of the day, title of the day, as known at a moment."""

import datetime as dt

import pytest

from institutions import commands
from pricing import releases
from settlement import facts, records
from settlement.facts import Claimant
from tests import factories

Day = dt.date
DAY = factories.DAY


def moment(month: int) -> dt.datetime:
    return dt.datetime(2021, month, 20, 9, tzinfo=factories.ZONE)


@pytest.fixture
def hospital(db):
    factories.policies("nantong")
    return factories.institution("nantong")


def read(hospital, doctor, *, at: dt.datetime, day: dt.date = DAY) -> records.Known:
    claim = factories.body(factories.person("nantong"), doctor, day=day)
    rules = releases.current().rules("nantong", day)
    return facts.read(Claimant.of(hospital), claim, rules, at=at)


def test_a_title_counts_as_it_was_known(hospital):
    doctor = factories.physician(hospital)
    commands.record_title(
        physician=doctor, title="chief", valid_from=Day(2021, 6, 1), by="hospital", at=moment(6)
    )
    assert read(hospital, doctor, at=moment(7)).title == "attending"
    (proposal,) = doctor.titles.proposed()
    commands.check_practitioner(
        physician=doctor, titles=[proposal.pk], agreed=True, by="reviewer", at=moment(8)
    )
    known = [read(hospital, doctor, at=moment(month)).title for month in (7, 8)]
    assert known == ["attending", "chief"]
    assert read(hospital, doctor, at=moment(8), day=Day(2021, 5, 31)).title == "attending"


def test_a_practitioner_whom_only_the_hospital_registered_is_unknown(hospital):
    doctor = commands.register_practitioner(
        institution=hospital, code="D320600000001", name="赵医师", licence_no="1", title="chief",
        independent_since=Day(2010, 1, 1), by="hospital", at=moment(5),
    )  # fmt: skip
    known = read(hospital, doctor, at=moment(6))
    assert (known.is_clinician, known.independent_since, known.title) == (None, None, None)
    commands.check_practitioner(
        physician=doctor, titles=[doctor.titles.get().pk], agreed=True, by="reviewer", at=moment(7)
    )
    known = read(hospital, doctor, at=moment(7))
    assert (known.is_clinician, known.independent_since, known.title) == (
        True, Day(2010, 1, 1), "chief")  # fmt: skip


def test_a_move_keeps_the_post_of_the_service_day(hospital):
    away = factories.institution("wenzhou")
    doctor = factories.physician(away)
    commands.leave(physician=doctor, on=Day(2021, 6, 14), by="hospital", at=moment(6))
    assert read(hospital, doctor, at=moment(6)).is_clinician is None
    commands.register_practitioner(
        institution=hospital, code=doctor.code, name=doctor.name, licence_no="1", checked=True,
        independent_since=doctor.independent_since, joined_on=DAY, by="reviewer", at=moment(7),
    )  # fmt: skip
    doctor.refresh_from_db()
    here, there = Claimant.of(hospital), Claimant.of(away)
    rules = releases.current().rules("nantong", DAY)
    for claimant, day, present in ((here, DAY, True), (here, Day(2021, 6, 14), False),
                                   (there, Day(2021, 6, 14), True), (there, DAY, False)):  # fmt: skip
        claim = factories.body(factories.person("nantong"), doctor, day=day)
        known = facts.read(claimant, claim, rules, at=moment(7))
        assert (known.title == "attending") is present, (claimant.code, day)
