"""Credit scores: an explained sum, a new version when it changes, seen by those it concerns."""

import pytest
from django.db import Error, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from supervision import credit, subjects
from supervision.credit import Scheme, Who
from supervision.models import CreditScore, PointEntry, Restriction
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def decided(office: Office) -> None:
    """A closed case about the hospital with points for its doctor."""
    case = office.inquired()
    office.propose(case, "points", points=3, target=office.house.doctor.pk)
    office.decided(case, "agreement")
    office.execute(case)
    office.take(case, "close", office.chief, note="结案")


def who(office: Office) -> Who:
    return Who("institution", office.place.pk, office.place.region_id, office.place.pk)


def test_the_sum_is_explained_and_versions_are_added_only_by_a_change(office: Office) -> None:
    first = credit.score(who=who(office), year=2021, by="x", at=AT)
    again = credit.score(who=who(office), year=2021, by="x", at=AT)
    assert first == again
    decided(office)
    second = credit.score(who=who(office), year=2021, by="x", at=AT)
    assert first is not None
    assert second is not None
    assert (first.score, first.level, first.parts) == (100, "优秀", [])
    assert (second.version, second.score, second.level) == (2, 90, "优秀")
    assert second.parts == [
        {"key": "case", "label": "生效的处理决定", "count": 1, "each": -10, "points": -10}
    ]
    with pytest.raises(Error, match=r"append-only|permission denied"), transaction.atomic():
        CreditScore.objects.filter(pk=second.pk).update(score=100)


def test_practitioners_are_scored_by_points_and_suspensions(office: Office) -> None:
    doctor = office.house.doctor
    subjects.add_points(
        practitioner=doctor, points=9, behaviour="x", clause="示例", source="x", on=TODAY,
        proposed_by=office.handler.username, by=office.chief.username, at=AT,
    )  # fmt: skip
    assert Restriction.objects.count() == PointEntry.objects.count() == 1
    row = credit.score(
        who=Who("practitioner", doctor.pk, office.place.region_id, office.place.pk), year=2021,
        by="x", at=AT,
    )  # fmt: skip
    assert row is not None
    assert (row.score, row.level) == (100 - 18 - 10, "一般")


def test_persons_are_scored_by_their_cases_and_suspensions(office: Office) -> None:
    person = office.house.patient
    case = office.inquired(
        subject_kind="person", subject_code=f"person:{person.pk}", institution_code="",
        person=person, title="出借医保凭证",
    )  # fmt: skip
    office.propose(case, "suspend_person", article="41", months=3)
    office.decided(case, "penalty")
    office.execute(case)
    office.take(case, "close", office.chief, note="结案")
    credit.score_all(region=office.region, year=2021, by="x", at=AT)
    row = CreditScore.objects.get(subject_kind="person")
    assert [(part["key"], part["count"]) for part in row.parts] == [("case", 1), ("restriction", 1)]
    assert (row.subject_code, row.score, row.institution_code) == (f"person:{person.pk}", 80, "")
    client = factories.log_in(Client(), office.handler)
    page = client.get(reverse("credit-score", args=[row.pk])).content.decode()
    assert "100 − 10 − 10 → 80" in page
    assert person.name_masked in page
    assert person.credential not in page
    set_scope(EVERYTHING)


def test_a_region_without_a_scheme_scores_nobody(office: Office) -> None:
    place = factories.region("jilin")
    assert Scheme.of(place, TODAY) is None
    assert credit.score(who=Who("institution", "X", place.code), year=2021, by="x", at=AT) is None


def test_everybody_of_whom_something_was_decided_is_scored(office: Office) -> None:
    decided(office)
    assert credit.score_all(region=office.region, year=2021, by="x", at=AT) == 2
    kinds = CreditScore.objects.values_list("subject_kind", flat=True)
    assert sorted(kinds) == ["institution", "practitioner"]


def test_pages_show_the_sum_to_whom_it_concerns(office: Office) -> None:
    decided(office)
    credit.score_all(region=office.region, year=2021, by="x", at=AT)
    other = factories.user("hospital", factories.institution("nantong"))
    row = CreditScore.objects.get(subject_kind="institution")
    mine, others = (factories.log_in(Client(), user) for user in (office.hospital, other))
    assert office.place.name in mine.get(reverse("credit")).content.decode()
    page = mine.get(reverse("credit-score", args=[row.pk])).content.decode()
    assert "100 − 10 → 90" in page
    assert others.get(reverse("credit-score", args=[row.pk])).status_code == 404
    set_scope(EVERYTHING)
