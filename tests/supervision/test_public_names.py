"""No name of a person and no identity number goes public with a case."""

import pytest
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from supervision import disclosures
from supervision.models import Disclosure, SupervisionCase
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def closed(office: Office, **given: object) -> SupervisionCase:
    case = office.inquired(**given)
    person = case.subject_kind == "person"
    office.propose(case, *(["suspend_person"] if person else ["interview"]),
                   **({"article": "41", "months": 3} if person else {}))  # fmt: skip
    office.decided(case, "penalty" if person else "agreement")
    office.execute(case)
    office.take(case, "close", office.chief, note="结案")
    case.refresh_from_db()
    return case


def of_person(office: Office, **given: object) -> SupervisionCase:
    person = office.house.patient
    return closed(office, subject_kind="person", subject_code=f"person:{person.pk}",
                  institution_code="", person=person, **given)  # fmt: skip


def refused(case: SupervisionCase, text: str) -> None:
    with pytest.raises(Refusal, match="NAME_IN_TEXT"):
        disclosures.propose(case=case, text=text, by="x", at=AT)


def test_an_insured_persons_real_name_stays_out(office: Office) -> None:
    """The patient of the factories is called 测试."""
    case = of_person(office, title="测试出借医保凭证")
    for text in ("测试出借凭证", "测 试出借凭证", "身份证11010119900307293X的持有人"):
        refused(case, text)
    made = disclosures.propose(case=case, text="出借凭证，暂停联网结算", by="x", at=AT)
    assert (made.title, made.subject) == ("测*出借医保凭证", "参保人员测某")


def test_no_doctor_and_no_patient_is_named_in_an_institutions_case(office: Office) -> None:
    other = factories.physician(office.place)
    other.name = "王小明"
    other.save()
    case = closed(office, title=f"{office.place.name}王小明重复收费")
    refused(case, "医师王小明重复收费")
    refused(case, "患者测试被重复收费")
    made = disclosures.propose(
        case=case, text=f"{office.place.name}重复收费，已整改", by="x", at=AT
    )
    # the institution's name holds the patient's: 测试医院
    assert made.title == f"{office.place.name}王**重复收费"
    disclosures.approve(disclosure=made, who=office.chief, at=AT)
    for name in ("public-cases", "public-cases-csv", "public-cases-json"):
        shown = Client().get(reverse(name)).content.decode()
        assert "王小明" not in shown
        assert "王**重复收费" in shown
        set_scope(EVERYTHING)


def test_whoever_approves_publishes_no_name_either(office: Office) -> None:
    case = closed(office)
    made = disclosures.propose(case=case, text="李大夫重复收费", by="x", at=AT)
    office.house.doctor.name = "李大夫"
    office.house.doctor.save()
    with pytest.raises(Refusal, match="NAME_IN_TEXT"):
        disclosures.approve(disclosure=made, who=office.chief, at=AT)
    assert not Disclosure.objects.exclude(approved_by="").exists()
