"""Whoever reads a person's data in supervision is found by the search by person, page or file, portal or REST."""

import hashlib
import json

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from settlement.models import InsuredPerson
from supervision import credit, subjects
from supervision.credit import Who
from supervision.models import FindingClaim, SupervisionCase
from tests import factories
from tests.settlement.test_looks import found_by_person, looks
from tests.settlement.test_pages import AT
from tests.supervision.casework import TODAY, Office
from tests.supervision.test_finding_pages import found
from tests.supervision.test_told_api import hospital_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(settings) -> Office:
    settings.DEMO_TODAY = TODAY
    return Office()


def person_of(office: Office) -> InsuredPerson:
    return office.house.patient


def seen(office: Office, subject: str) -> list[tuple[str, str, bytes]]:
    """What one look of the handler at a person leaves."""
    return [(subject, office.handler.username, bytes(person_of(office).id_hash))]


def case_of(office: Office) -> SupervisionCase:
    """An inquired case of the person, about what happened at the hospital."""
    person = person_of(office)
    return office.inquired(subject_kind="person", subject_code=person.subject, person=person)


def test_a_finding_names_its_person_and_those_of_its_evidence(office: Office) -> None:
    claim, _ = office.claim()
    row = found(office.place, subject_kind="physician", subject_code=office.house.doctor.pk,
                physician_code=office.house.doctor.pk)  # fmt: skip
    FindingClaim.objects.create(
        finding=row, claim_id=claim.pk, region_code=row.region_code,
        institution_code=row.institution_code,
    )  # fmt: skip
    client = factories.log_in(Client(), office.handler)
    page = client.get(reverse("finding", args=[row.pk]))
    wanted = seen(office, f"finding:{row.pk}")
    assert looks("finding.read") == wanted
    assert "查看疑点" not in client.get(reverse("finding", args=[row.pk])).content.decode()
    assert str(person_of(office)) in page.content.decode()
    paper = client.get(reverse("finding-paper", args=[row.pk]))
    assert looks("finding.print") == wanted
    said = json.loads(bytes(Event.objects.get(action="finding.print").body))["detail"]
    assert said["sm3"] == hashlib.new("sm3", paper.content).hexdigest()
    actions = found_by_person("nantong", person_of(office).credential)
    assert {"finding.read", "finding.print"} <= set(actions)


def test_a_finding_about_nobody_is_printed_with_one_event(office: Office) -> None:
    row = found(office.place)
    client = factories.log_in(Client(), office.handler)
    client.get(reverse("finding", args=[row.pk]))
    client.get(reverse("finding-paper", args=[row.pk]))
    assert looks("finding.read") == []
    assert looks("finding.print") == [(f"finding:{row.pk}", office.handler.username, b"")]


def test_a_person_s_credit_and_restriction_are_looked_at_with_an_event(office: Office) -> None:
    person = person_of(office)
    score = credit.score(
        who=Who("person", person.subject, "320600", person_id=person.pk), year=2021, by="x", at=AT
    )
    row = subjects.restrict(
        kind="online", region_code="320600", institution_code="", subject_code=person.subject,
        person_id=person.pk, since=TODAY, months=3, clause="示例", source="case:1",
        by=office.chief.username, at=AT,
    )  # fmt: skip
    client = factories.log_in(Client(), office.handler)
    assert score is not None
    for name, one in (("credit-score", score), ("restriction", row)):
        assert client.get(reverse(name, args=[one.pk])).status_code == 200
    assert looks("credit.read") == seen(office, f"credit:{score.pk}")
    assert looks("restriction.read") == seen(office, f"restriction:{row.pk}")
    actions = found_by_person("nantong", person.credential)
    assert {"credit.read", "restriction.read"} <= set(actions)


def test_papers_and_files_of_a_person_s_case_name_the_person(office: Office) -> None:
    case = case_of(office)
    paper, item = case.papers.first(), case.evidence.get()
    client = factories.log_in(Client(), office.handler)
    assert client.get(reverse("case-paper", args=[case.pk, paper.pk])).status_code == 200
    assert client.get(reverse("case-evidence", args=[case.pk, item.pk])).status_code == 200
    assert looks("supervisioncase.print") == seen(office, case.subject)
    assert looks("document.read") == seen(office, f"document:{item.document_id}")
    actions = found_by_person("nantong", person_of(office).credential)
    assert {"supervisioncase.print", "document.read"} <= set(actions)


def test_a_hospital_s_system_reads_no_case_of_a_person(office: Office) -> None:
    """The person is the party, also where it happened at the hospital."""
    case = case_of(office)
    office.notify(case, "penalty", "41")
    reader, paper = hospital_of(office), case.papers.get(kind="notice")
    assert reader.get(f"supervision-cases/{case.pk}").status_code == 404
    assert reader.get(f"supervision-cases/{case.pk}/papers/{paper.pk}").status_code == 404
    set_scope(EVERYTHING)
    assert not looks("supervisioncase.read")
    assert not looks("supervisioncase.print")
