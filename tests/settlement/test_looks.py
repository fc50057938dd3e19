"""Who looked at a person's data is in the trail under the person's hash, by whatever door; the search finds it."""

import datetime as dt
import json

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions import crypto
from settlement import adjustments, filings, sealed
from settlement.models import ChronicDisease, DiseaseFiling
from tests import factories
from tests.settlement.hospital import URL, Hospital


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital()


def looks(action: str) -> list[tuple[str, str, bytes]]:
    """(subject, actor, the person's hash) of the events of an action."""
    rows = Event.objects.filter(action=action).values_list("subject", "actor", "person_hash")
    return [(subject, actor, bytes(digest or b"")) for subject, actor, digest in rows]


def found_by_person(region: str, number: str) -> list[str]:
    """The actions that the trail's search by ID number shows to the region's auditor."""
    auditor = factories.log_in(Client(), factories.user("auditor", factories.region(region)))
    answer = auditor.post(reverse("trail-person"), {"credential": number})
    rows = auditor.get(answer["Location"]).context["table"].rows
    return [row.cells[2].sub for row in rows]


def test_a_hospital_s_system_that_reads_a_claim_leaves_an_event(hospital: Hospital) -> None:
    claim = hospital.settled(factories.line(fee="12.00"))
    own = bytes(hospital.patient.id_hash)
    assert hospital.get(claim["links"]["self"]).status_code == 200
    ((subject, actor, digest),) = looks("claim.read")
    assert (subject, digest) == (f"claim:{claim['id']}", own)
    assert actor == Event.objects.get(action="claim.receive").actor
    assert hospital.get(f"{URL}/99999999").status_code == 404
    assert len(looks("claim.read")) == 1
    assert "claim.read" in found_by_person("nantong", hospital.patient.credential)


def test_a_hospital_s_system_that_looks_for_a_person_leaves_an_event(hospital: Hospital) -> None:
    hospital.settled(factories.line(fee="12.00"))
    number = hospital.patient.credential
    assert hospital.get(URL).status_code == 200
    assert looks("claim.find") == []
    answer = hospital.get(URL, **{"Person-Credential": number})
    assert len(answer.json()["results"]) == 1
    ((subject, actor, digest),) = looks("claim.find")
    assert (subject, digest) == ("claim:", crypto.person_hash(number))
    assert actor
    assert number not in bytes(Event.objects.get(action="claim.find").body).decode()
    assert "claim.find" in found_by_person("nantong", number)


def test_looks_on_the_pages_are_found_by_the_person(hospital: Hospital) -> None:
    """Looked for, opened and taken away as a table: three events about one person."""
    claim = hospital.settled(factories.line(fee="12.00"))
    clerk = factories.user("settlement_clerk", factories.region("nantong"))
    client = factories.log_in(Client(), clerk)
    number = hospital.patient.credential
    answer = client.post(reverse("claims-person"), {"credential": number})
    client.get(reverse("claim", args=[claim["id"]]))
    query = {"person": crypto.person_hash(number).hex()}
    assert "person=" in answer["Location"]
    for name in ("claims-csv", "claims-xlsx"):
        b"".join(client.get(reverse(name), query).streaming_content)
    b"".join(client.get(reverse("claims-csv")).streaming_content)
    digest = crypto.person_hash(number)
    assert looks("claim.find") == [("claim:", clerk.username, digest)]
    assert looks("claim.read") == [(f"claim:{claim['id']}", clerk.username, digest)]
    exported = [row for row in looks("claim.export") if row[2]]
    assert exported == [("claim:", clerk.username, digest)] * 2
    assert len(looks("claim.export")) == 3
    actions = found_by_person("nantong", number)
    assert {"claim.find", "claim.read", "claim.export"} <= set(actions)
    body = json.loads(bytes(Event.objects.filter(action="claim.read").get().body))
    assert body["person"] == digest.hex()


def test_an_opened_adjustment_of_a_person_leaves_an_event(hospital: Hospital) -> None:
    given = adjustments.Wanted(
        reason_class="appeal", subject="person", person=hospital.patient, amount=700,
        reason="申诉成立", scheme="resident", account=sealed.Account("测试", "示例银行", "6222021111"),
    )  # fmt: skip
    region = factories.region("nantong")
    made = adjustments.propose(
        region=region, wanted=given, file=("依据.pdf", b"%PDF-1.4"), by="clerk",
        at=dt.datetime(2021, 6, 10, 9, tzinfo=factories.ZONE),
    )  # fmt: skip
    officer = factories.user("finance_officer", region)
    client = factories.log_in(Client(), officer)
    page = client.get(reverse("adjustment", args=[made.pk]))
    assert page.status_code == 200
    own = bytes(hospital.patient.id_hash)
    assert looks("adjustment.read") == [(f"adjustment:{made.number}", officer.username, own)]
    assert "查看个人特殊调整" not in page.content.decode()
    assert "adjustment.read" in found_by_person("nantong", hospital.patient.credential)


def test_an_opened_filing_of_a_disease_leaves_an_event(db) -> None:
    factories.policies("wenzhou")
    person = factories.person("wenzhou")
    clerk = factories.user("settlement_clerk", factories.region("wenzhou"))
    at = dt.datetime(2021, 6, 10, 9, tzinfo=factories.ZONE)
    code = next(iter(filings.Law.of(person.region_code, at.date()).diseases))
    filing = DiseaseFiling.objects.create(
        number="MB3303-2021-00001", person=person, code=code, name="糖尿病", procedure=filings.TABLE,
        state="submitted", entered_on=at.date(), region_code=person.region_code, opened_at=at,
        opened_by=clerk.username,
    )  # fmt: skip
    client = factories.log_in(Client(), clerk)
    assert client.get(reverse("disease-filing", args=[filing.pk])).status_code == 200
    seen = (filing.subject, clerk.username, bytes(person.id_hash))
    assert looks("diseasefiling.read") == [seen]
    row = ChronicDisease.objects.filter(person=person).first()
    assert row is not None
    client.get(reverse("disease-filing-new"), {"renews": row.pk})
    assert looks("diseasefiling.read")[1:] == [(person.subject, clerk.username, seen[2])]
    assert found_by_person("wenzhou", person.credential).count("diseasefiling.read") == 2
