"""A case of an insured person: who speaks, what is lost and given back, who may not see it."""

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from audit.models import Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from settlement.models import Adjustment, Deduction
from supervision import cases, complaints, findings, recusals
from supervision.complaints import Report
from supervision.models import CasePaper, SupervisionCase
from tests import factories
from tests.settlement.test_pages import AT
from tests.supervision.casework import ACTED, TODAY, Office
from tests.supervision.test_fair_findings import on_claims

pytestmark = pytest.mark.django_db


@pytest.fixture
def office() -> Office:
    return Office()


def lent(office: Office, **given: str) -> SupervisionCase:
    """A person is said to have lent the card, at the hospital unless told otherwise."""
    person = office.house.patient
    wanted = {"institution_code": office.place.code, "title": "出借医保凭证"} | given
    return office.inquired(
        subject_kind="person", subject_code=person.subject, person=person, **wanted
    )


def test_a_hospital_is_no_party_of_an_insured_persons_case(office: Office) -> None:
    case = lent(office)
    claim, fund = office.claim()
    finding = on_claims(office, (claim.pk, fund), person_id=office.house.patient.pk)
    findings.confirm(finding=finding, reason="属实", by=office.second.username, at=AT)
    cases.add_finding(case=case, finding=finding, by=office.handler.username, at=AT)
    office.notify(case, "penalty", "41")
    task = Task.objects.get(subject=case.subject, state="open")
    assert task.permission == "cases.handle"
    for step, facts in (("answer", {"text": "无异议", "waived": True}), ("waive", {}),
                        ("ask_hearing", {})):  # fmt: skip
        with pytest.raises(Refused, match="只有当事机构"):
            office.take(case, step, office.hospital, facts=facts, note="x")
    with pytest.raises(Refusal, match="NOT_THE_PARTY"):
        recusals.ask(inspector=case.inspectors.first(), reason="x", who=office.hospital, at=AT)
    finding.refresh_from_db()
    assert finding.told_at is None
    assert not Notification.objects.filter(user=office.hospital, subject=case.subject).exists()
    hospital = factories.log_in(Client(), office.hospital)
    assert hospital.get(reverse("case", args=[case.pk])).status_code == 404
    set_scope(EVERYTHING)
    connection.cursor().execute("SET ROLE mip_app")
    with scoped(office.hospital.scope_codes()):
        assert not SupervisionCase.objects.exists()
        assert not CasePaper.objects.exists()
    set_scope(EVERYTHING)
    connection.cursor().execute("RESET ROLE")


@pytest.mark.parametrize("at_hospital", [True, False])
def test_what_a_person_cost_the_fund_is_listed_and_given_back(
    office: Office, at_hospital: bool
) -> None:
    case = lent(office, institution_code=office.place.code if at_hospital else "")
    claim, fund = office.claim()
    add = {"case": case, "by": office.handler.username, "at": AT}
    person, office.house.patient = office.house.patient, factories.person("nantong")
    other, _ = office.claim()
    office.house.patient = person
    with pytest.raises(Refusal, match="CLAIM_UNKNOWN"):
        cases.add_claim(claim_no=other.claim_no, loss=1, note="冒名就医", **add)
    with pytest.raises(Refusal, match="FINDING_OF_ANOTHER"):
        cases.add_finding(finding=on_claims(office, (other.pk, 1)), **add)
    cases.add_claim(claim_no=claim.claim_no, loss=fund, note="冒名就医", **add)
    office.propose(case, "recovery", article="41", amount=fund, scheme="resident")
    office.decided(case, "penalty", "41", loss=f"{fund / 100:.2f}")
    (done,) = office.execute(case)
    made = Adjustment.objects.get()
    assert done.effects == [{"adjustment": made.number, "amount": fund}]
    assert (made.amount, made.person_id, made.institution_code) == (
        -fund, office.house.patient.pk, "",
    )  # fmt: skip
    assert not Deduction.objects.exists()


def test_a_finding_about_a_person_opens_that_persons_case_in_the_browser(office: Office) -> None:
    claim, fund = office.claim()
    row = on_claims(office, (claim.pk, fund), subject_kind="person", behaviour="other",
                    person_id=office.house.patient.pk)  # fmt: skip
    client = factories.log_in(Client(), office.handler)
    address = f"{reverse('case-new')}?finding={row.pk}"
    form = client.get(address).context["form"]
    given = {key: form.initial.get(key, "") for key in form.fields}
    assert (given["subject_kind"], given["institution"]) == ("person", "")
    assert client.post(address, given).status_code == 302
    set_scope(EVERYTHING)
    case = SupervisionCase.objects.get()
    assert (case.person_id, case.institution_code, cases.loss_of(case)) == (
        office.house.patient.pk, "", fund,
    )  # fmt: skip


def test_a_report_about_a_person_becomes_a_case(office: Office) -> None:
    row, _ = complaints.receive(
        region=office.region, report=Report(about="某参保人", text="把卡借给邻居"), at=AT
    )
    complaints.accept(complaint=row, by=office.reviewer.username, at=AT)
    given = {"complaint": row, "title": "出借医保凭证", "acted_from": ACTED, "acted_until": TODAY,
             "by": office.handler.username, "at": AT}  # fmt: skip
    with pytest.raises(Refusal, match="SUBJECT_UNKNOWN"):
        complaints.open_case(**given)
    person = office.house.patient
    case = complaints.open_case(person=person, **given)
    assert (case.person_id, case.subject_kind, case.subject_code, case.institution_code) == (
        person.pk, "person", person.subject, "",
    )  # fmt: skip
