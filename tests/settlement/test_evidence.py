"""Evidence of visits: files with their digest; what is missing or late, by fixed clocks (二十六)."""

import datetime as dt
import hashlib

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction

from audit.models import Event, Task
from institutions.models import Document
from pricing.releases import current
from settlement import evidence
from settlement.models import Evidence, EvidenceFile, EvidenceGap, Settlement
from tests import factories
from tests.factories import line
from tests.settlement.drugs import (
    API,
    START,
    carrier,
    dispensing,
    drug_line,
    issuer,
    moment,
    post,
    prescription,
    reviewed,
    sent,
)
from tests.settlement.hospital import Hospital

HOUR = dt.timedelta(hours=1)
SCAN = b"%PDF-1.4 record"
ENDED = START + dt.timedelta(minutes=10)


@pytest.fixture
def hospital(db, time_machine) -> Hospital:
    return issuer(time_machine)


def upload(hospital: Hospital, encounter: str, kind: str = "record", content: bytes = SCAN,
           name: str = "病历.pdf", **fields: str):  # fmt: skip
    data = {"kind": kind, "at": moment(9), "file": SimpleUploadedFile(name, content)} | fields
    return hospital.client.post(
        f"{API}/encounters/{encounter}/evidence/files", data,
        headers={"Authorization": f"Bearer {hospital.token}"},
    )  # fmt: skip


def watch(at: dt.datetime) -> int:
    return evidence.watch(catalogue=current(), region="wenzhou", by="test", at=at)


def gaps() -> dict[str, str]:
    return dict(EvidenceGap.objects.values_list("kind", "state"))


# --- Files ---


def test_a_file_is_stored_with_its_digest(hospital: Hospital) -> None:
    digest = hashlib.new("sm3", SCAN).hexdigest()
    answer = upload(hospital, "E1", content_hash=digest)
    assert answer.status_code == 201, answer.content.decode()
    told = answer.json()
    assert (told["kind"], told["content_hash"]) == ("record", digest)
    assert (told["document"]["sm3"], told["document"]["size"]) == (digest, len(SCAN))
    again = upload(hospital, "E1")
    assert (again.status_code, again.json()["document"]["id"]) == (200, told["document"]["id"])
    assert Document.objects.filter(kind="evidence").count() == 1
    row = Evidence.objects.get()
    assert row.reference == f"document:{told['document']['id']}"
    assert EvidenceFile.objects.get().evidence == row


def test_a_file_joins_the_hash_that_was_sent_before(hospital: Hospital) -> None:
    digest = hashlib.new("sm3", SCAN).hexdigest()
    body = {"kind": "record", "content_hash": digest, "at": moment(9), "reference": "EMR/1"}
    first = post(hospital, body, f"{API}/encounters/E1/evidence", 201)
    answer = upload(hospital, "E1")
    assert (answer.status_code, answer.json()["id"]) == (201, first["id"])
    assert Evidence.objects.get().reference == "EMR/1"


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"content_hash": "0" * 64}, 422, "HASH_MISMATCH"),
        ({"content": b"MZ program"}, 422, "FILE_TYPE"),
        ({"content": b""}, 422, "FILE_EMPTY"),
        ({"content": b"%PDF-" + b"x" * 9 * 1024 * 1024}, 413, "FILE_TOO_LARGE"),
        ({"kind": "selfie"}, 400, "BODY_INVALID"),
        ({"at": "yesterday"}, 400, "BODY_INVALID"),
    ],
)
def test_files_that_are_refused(hospital: Hospital, change: dict, status: int, reason: str) -> None:
    answer = upload(hospital, "E1", **change)
    assert (answer.status_code, answer.json()["code"]) == (status, reason)
    assert not Evidence.objects.exists()
    assert not EvidenceFile.objects.exists()
    refused = Event.objects.filter(action="evidence.take", outcome="refused")
    assert refused.count() == 1


# --- Delays ---


def test_what_is_missing_becomes_a_gap_and_a_task(hospital: Hospital) -> None:
    """Each kind has its own delay: after 2 hours the short ones, after a day the record too."""
    sent(hospital, prescription(hospital))
    assert watch(ENDED + HOUR) == 0
    assert watch(ENDED + HOUR + dt.timedelta(seconds=1)) == 2
    assert gaps() == {"realname": "missing", "prescription": "late"}
    watch(ENDED + 25 * HOUR)
    assert gaps() == {"realname": "missing", "prescription": "late", "record": "missing"}
    watch(ENDED + 73 * HOUR)
    assert gaps()["purchase"] == "missing"
    task = Task.objects.get(subject=f"evidence:{hospital.row.code}")
    assert (task.title, task.institution_code) == ("补交就诊材料 3 件", hospital.row.code)
    assert task.clause == "温医保办〔2021〕6号 二十六"
    assert Settlement.objects.filter(version=1, state="payable").count() == 1


def test_evidence_in_time_leaves_no_gap(hospital: Hospital, time_machine) -> None:
    made = reviewed(hospital)
    encounter = made["encounter_id"]
    time_machine.move_to(ENDED + HOUR / 2, tick=False)
    for kind in ("record", "realname"):
        assert upload(hospital, encounter, kind).status_code == 201
    time_machine.move_to(ENDED + 2 * HOUR, tick=False)
    given = prescription(hospital)
    body = _of(hospital, encounter)
    assert sent(hospital, given, encounter=body)["decision"] == "payable"
    assert watch(ENDED + 2 * HOUR) == 1
    assert gaps() == {"prescription": "late"}  # uploaded 110 minutes after the visit, tolerated 60
    post(hospital, dispensing(), made["links"]["dispensings"], 201)
    assert watch(ENDED + 100 * HOUR) == 0


def _of(hospital: Hospital, encounter: str) -> dict:
    return hospital.body()["encounter"] | {"id": encounter}


def test_late_evidence_closes_the_gap_and_the_task(hospital: Hospital, time_machine) -> None:
    claim = hospital.settled(drug_line(), prescriptions=[_carried_of(hospital)])
    watch(ENDED + 80 * HOUR)
    assert set(gaps()) == {"record", "realname", "prescription", "purchase"}
    time_machine.move_to(ENDED + 90 * HOUR, tick=False)
    hospital.token = factories.token(hospital.row)
    encounter = claim["encounter_id"]
    for kind in ("record", "realname", "purchase"):
        assert upload(hospital, encounter, kind).status_code == 201
    assert set(gaps().values()) == {"late"}
    assert EvidenceGap.objects.get(kind="record").received_at == ENDED + 90 * HOUR
    watch(ENDED + 91 * HOUR)
    assert Task.objects.get(subject=f"evidence:{hospital.row.code}").state == "done"


def _carried_of(hospital: Hospital) -> dict:
    return {
        "no": "CF1", "signed_by": hospital.doctor.code, "signed_at": moment(5),
        "reviewed_by": hospital.pharmacist.code, "reviewed_at": moment(10),
        "lines": prescription(hospital)["lines"],
    }  # fmt: skip


def test_a_parcel_is_followed_to_the_patient(hospital: Hospital, time_machine) -> None:
    sent(hospital, prescription(hospital))
    made = hospital.get(f"{API}/prescriptions?no=CF1").json()["results"][0]
    given = post(hospital, dispensing(), made["links"]["dispensings"], 201)
    parcel = post(
        hospital, {"logistics": carrier().code, "waybill": "SF1"}, given["links"]["deliveries"], 201
    )
    watch(ENDED + 169 * HOUR)
    assert gaps()["delivery"] == "missing"
    time_machine.move_to(ENDED + 170 * HOUR, tick=False)
    hospital.token = factories.token(hospital.row)
    for kind, at, more in (
        ("picked_up", 40, {}), ("delivered", 60, {}), ("signed", 61, {"relation": "self"}),
    ):  # fmt: skip
        post(hospital, {"kind": kind, "at": moment(at), **more}, parcel["links"]["steps"], 201)
    watch(ENDED + 171 * HOUR)
    assert gaps()["delivery"] == "late"


def test_regions_that_ask_for_nothing_have_no_gaps(db, time_machine) -> None:
    time_machine.move_to(START + dt.timedelta(hours=2), tick=False)
    factories.policies("nantong")
    Hospital().settled(line())
    found = evidence.watch(catalogue=current(), region="nantong", by="test", at=START + 90 * HOUR)
    assert (found, EvidenceGap.objects.count()) == (0, 0)


def test_the_database_knows_when_a_gap_was_closed(db) -> None:
    base = {
        "region_code": "330300", "institution_code": "H33030000001", "encounter_id": "E1",
        "encounter_key": 1, "claim_id": 1, "kind": "record", "due_at": START, "noted_at": START,
    }  # fmt: skip
    for wrong in (
        {"state": "missing", "received_at": START + HOUR}, {"state": "late"},
        {"state": "late", "received_at": START - HOUR},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            EvidenceGap.objects.create(**base, **wrong)
    EvidenceGap.objects.create(**base, state="missing")
    with pytest.raises(IntegrityError), transaction.atomic():
        EvidenceGap.objects.create(**base, state="missing")
