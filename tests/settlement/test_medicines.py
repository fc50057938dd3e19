"""Prescriptions over REST: issued, reviewed, released, dispensed, delivered, claimed; who sees what."""

import datetime as dt
import json

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from audit.models import Event
from settlement import medicines
from settlement.models import (
    Delivery,
    Dispensing,
    Prescription,
    PrescriptionCharge,
    PrescriptionLine,
    TraceCode,
)
from tests import factories
from tests.factories import line
from tests.settlement.drugs import (
    API,
    DRUG,
    OTHER,
    START,
    as_carried,
    carrier,
    code,
    dispensing,
    drug_line,
    issued,
    issuer,
    moment,
    post,
    prescription,
    reviewed,
    sent,
)
from tests.settlement.hospital import Hospital


@pytest.fixture
def hospital(db, time_machine) -> Hospital:
    return issuer(time_machine)


# --- The record ---


def test_a_prescription_is_signed_reviewed_and_read(hospital: Hospital) -> None:
    made = issued(hospital)
    assert (made["state"], made["expires_on"], made["signature"]) == (
        "signed", "2021-06-18", "ab" * 32,
    )  # fmt: skip
    again = post(
        hospital, prescription(hospital, encounter=_encounter(made)), f"{API}/prescriptions"
    )
    assert again["id"] == made["id"]
    passed = post(
        hospital,
        {"reviewed_by": hospital.pharmacist.code, "reviewed_at": moment(10), "passed": True},
        made["links"]["review"],
    )
    assert (passed["state"], passed["review"]) == ("reviewed", "passed")
    assert hospital.get(made["links"]["self"]).json() == passed
    listed = hospital.get(f"{API}/prescriptions?state=reviewed&no=CF1&since=2021-06-01").json()
    assert [row["id"] for row in listed["results"]] == [made["id"]]
    assert listed["next"] is None
    acts = Event.objects.filter(subject=f"prescription:{made['id']}").values_list(
        "action", flat=True
    )
    assert sorted(acts) == ["prescription.issue", "prescription.review"]
    assert hospital.patient.credential not in json.dumps(passed)


def _encounter(made: dict) -> dict:
    return Prescription.objects.get(pk=made["id"]).visit


def test_what_a_prescription_must_fulfil(hospital: Hospital) -> None:
    url, stranger = f"{API}/prescriptions", factories.physician(factories.institution("wenzhou"))
    nobody = {"credential_type": "id_card", "credential": factories.id_number()}
    assert code(hospital.post(prescription(hospital, signed_by=stranger.code), url=url)) == (
        422, "PRACTITIONER_UNKNOWN",
    )  # fmt: skip
    assert code(hospital.post(prescription(hospital, person=nobody), url=url)) == (
        422, "PERSON_UNKNOWN",
    )  # fmt: skip
    issued(hospital)
    other = prescription(hospital)
    other["lines"][0]["quantity"] = "3"
    assert code(hospital.post(other, url=url)) == (409, "PRESCRIPTION_NUMBER_USED")
    broken = prescription(hospital, "CF2", signed_at=moment(-5))
    broken["lines"] = [broken["lines"][0] | {"quantity": "0"}] * 2
    broken["person"] = {"credential_type": "id_card", "credential": "110"}
    answer = hospital.post(broken, url=url).json()
    assert {fault["pointer"]: fault["code"] for fault in answer["errors"]} == {
        "/signed_at": "ORDER", "/lines/0/quantity": "RANGE", "/lines/1/quantity": "RANGE",
        "/lines/0/drug_code": "REPEATED", "/lines/1/drug_code": "REPEATED",
    }  # fmt: skip
    broken = prescription(hospital, "CF2", person=broken["person"])
    assert code(hospital.post(broken, url=url)) == (400, "BODY_INVALID")


def test_a_pharmacist_returns_with_a_reason(hospital: Hospital) -> None:
    made = issued(hospital)
    url, by = made["links"]["review"], hospital.pharmacist.code
    returned = {"reviewed_by": by, "reviewed_at": moment(10), "passed": False}
    doctor = returned | {"reviewed_by": hospital.doctor.code, "passed": True}
    early = returned | {"reviewed_at": moment(1), "passed": True}
    assert code(hospital.post(returned, url=url)) == (422, "REQUIRED")
    assert code(hospital.post(doctor, url=url)) == (422, "PRACTITIONER_UNKNOWN")
    assert code(hospital.post(early, url=url)) == (422, "ORDER")
    back = post(hospital, returned | {"reason": "超说明书用量"}, url)
    assert (back["state"], back["review_reason"]) == ("returned", "超说明书用量")
    assert code(hospital.post(returned | {"passed": True}, url=url)) == (
        409, "PRESCRIPTION_RETURNED",
    )  # fmt: skip
    answer = hospital.post(dispensing(), url=made["links"]["dispensings"])
    assert code(answer) == (409, "PRESCRIPTION_RETURNED")


def test_the_database_keeps_a_prescription_as_it_was(hospital: Hospital) -> None:
    made = reviewed(hospital)
    row = Prescription.objects.get(pk=made["id"])
    drugs = PrescriptionLine.objects.filter(prescription=row, drug_code=DRUG)
    forbidden = (
        lambda: Prescription.objects.filter(pk=row.pk).update(number="CF9"),
        lambda: Prescription.objects.filter(pk=row.pk).update(review="", reviewed_by="",
                                                              reviewed_at=None),
        lambda: Prescription.objects.filter(pk=row.pk).delete(),
        lambda: drugs.update(quantity=30_000),
        lambda: drugs.update(dispensed=20_001),
        lambda: drugs.update(dispensed=-1),
    )  # fmt: skip
    for change in forbidden:
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    copy = {"pk": None, "number": "CF8", "state": "reviewed", "review": "passed"}
    for wrong in (
        {"number": "CF1"}, {"signed_by": "", "signed_at": None}, {"review": ""},
        {"reviewed_by": row.signed_by}, {"signed_at": None},
        {"state": "returned", "review": "returned"}, {"expires_on": dt.date(2021, 6, 1)},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            _copied(row, copy | wrong)


def _copied(row: Prescription, changes: dict) -> None:
    values = {field.attname: getattr(row, field.attname) for field in Prescription._meta.fields}
    Prescription.objects.create(**(values | {"id": None} | changes))


# --- With a claim ---


def test_a_claim_enters_its_prescription(hospital: Hospital) -> None:
    given = prescription(hospital)
    paid = sent(hospital, given)
    assert paid["decision"] == "payable"
    row = Prescription.objects.get()
    assert (row.number, row.source, row.state) == ("CF1", "claim", "reviewed")
    assert "device" not in json.dumps(row.visit)
    assert {one.drug_code: one.quantity for one in row.lines.all()} == {DRUG: 20_000, OTHER: 15_000}
    charge = PrescriptionCharge.objects.get()
    assert (charge.prescription, charge.drug_code, charge.quantity) == (row, DRUG, 20_000)
    assert row.first_claim == charge.claim_id  # nothing else of it is asked


def test_a_claim_that_brings_a_prescription_charges_no_more_than_it(hospital: Hospital) -> None:
    given = prescription(hospital)
    line = sent(hospital, given, drug_line(quantity="2.5", fee="25.00"))
    assert (line["decision"], line["reason"]) == ("reject", "PRESCRIPTION_ELSEWHERE")
    assert Prescription.objects.get().first_claim is not None


def test_the_record_wins_over_the_claim(hospital: Hospital) -> None:
    """Who it is for, signed, reviewed, withdrawn, expired: as recorded, whatever the claim says."""
    unreviewed = issued(hospital, number="CF1")
    withdrawn = reviewed(hospital, number="CF2")
    post(hospital, {"reason": "患者要求"}, withdrawn["links"]["withdrawal"])
    expired = reviewed(hospital, number="CF3")
    medicines.expire(on=dt.date(2021, 7, 1), by="test", at=START)
    found = {
        made["no"]: sent(hospital, prescription(hospital, made["no"]))["reason"]
        for made in (unreviewed, withdrawn)
    }
    assert found == {"CF1": "PHARMACIST_REVIEW_MISSING", "CF2": "PRESCRIPTION_WITHDRAWN"}
    line = sent(hospital, prescription(hospital, expired["no"]))
    assert line["reason"] == "PRESCRIPTION_EXPIRED"
    assert line["clauses"][-1]["clause"] == "二十三（一）"
    reviewed(hospital, number="CF4")
    hospital.patient = factories.person("wenzhou", "employee")
    factories.offline_visit(hospital.patient, hospital.row)
    assert sent(hospital, prescription(hospital, "CF4"))["reason"] == "PRESCRIPTION_PERSON"


def test_a_prescription_that_is_charged_is_not_withdrawn(hospital: Hospital) -> None:
    given = prescription(hospital)
    carried = as_carried(hospital, given)
    paid, held = (hospital.settled(drug_line(), prescriptions=[carried]) for _ in range(2))
    made = Prescription.objects.get()
    url = f"/api/v1/prescriptions/{made.pk}/withdrawal"
    for claim in (paid, held):
        assert code(hospital.post({"reason": "误开"}, url=url)) == (409, "PRESCRIPTION_CHARGED")
        with pytest.raises(IntegrityError, match="is charged by a claim"), transaction.atomic():
            Prescription.objects.filter(pk=made.pk).update(state="withdrawn", state_reason="误开")
        assert hospital.reverse(claim).status_code == 201
    assert post(hospital, {"reason": "误开"}, url)["state"] == "withdrawn"


def test_a_prescription_is_charged_once(hospital: Hospital) -> None:
    given = prescription(hospital)
    first = hospital.settled(drug_line(), prescriptions=[as_carried(hospital, given)])
    again = sent(hospital, given)
    assert (again["decision"], again["reason"]) == ("review", "PRESCRIPTION_CLAIMED")
    assert hospital.reverse(first).status_code == 201
    assert sent(hospital, given)["decision"] == "review"  # the held claim still counts
    other = drug_line(item=OTHER, quantity="1.5", fee="15.00")
    assert sent(hospital, given, other)["decision"] == "payable"


def test_the_delivery_fee_of_a_prescription_is_never_paid(hospital: Hospital) -> None:
    made = reviewed(hospital)
    fee = line(3, kind="delivery", item="PS", fee="8.00", prescription_no="CF1")
    claim = hospital.settled(
        drug_line(), fee, prescriptions=[as_carried(hospital, prescription(hospital, made["no"]))]
    )
    delivered = claim["lines"][-1]
    assert (delivered["decision"], delivered["reason"]) == ("reject", "DELIVERY_FEE")
    assert delivered["clauses"][-1]["clause"] == "十四"
    assert claim["totals"]["out_of_scope"] == "8.00"


# --- Goods ---


def test_drugs_are_dispensed_and_delivered(hospital: Hospital) -> None:
    made = reviewed(hospital)
    url = made["links"]["dispensings"]
    first = post(hospital, dispensing(pharmacist=hospital.pharmacist.code), url, 201)
    assert first["lines"] == [{"drug_code": DRUG, "quantity": "2", "trace_codes": ["81FY10001"]}]
    assert post(hospital, dispensing(pharmacist=hospital.pharmacist.code), url)["id"] == first["id"]
    assert hospital.get(made["links"]["self"]).json()["state"] == "partly"
    rest = dispensing("FY2")
    rest["lines"][0] |= {"drug_code": OTHER, "quantity": "1.5"}
    post(hospital, rest, url, 201)
    assert hospital.get(made["links"]["self"]).json()["state"] == "dispensed"
    sent_out = post(
        hospital, {"logistics": carrier().code, "waybill": "SF1"}, first["links"]["deliveries"], 201
    )
    steps = sent_out["links"]["steps"]
    assert code(hospital.post({"kind": "delivered", "at": moment(60)}, url=steps)) == (422, "ORDER")
    for kind, minutes, more in (
        ("picked_up", 40, {}), ("delivered", 60, {}), ("signed", 61, {"relation": "family"}),
    ):  # fmt: skip
        post(hospital, {"kind": kind, "at": moment(minutes), **more}, steps, 201)
    post(hospital, {"kind": "signed", "at": moment(61), "relation": "family"}, steps)
    told = hospital.get(made["links"]["self"]).json()["dispensings"][0]["deliveries"][0]
    assert [(step["kind"], step["relation"]) for step in told["steps"]] == [
        ("picked_up", ""), ("delivered", ""), ("signed", "family"),
    ]  # fmt: skip
    acts = Event.objects.filter(subject=f"prescription:{made['id']}", action__startswith="d")
    assert sorted(acts.values_list("action", flat=True)) == [
        "delivery.delivered", "delivery.picked_up", "delivery.send", "delivery.signed",
        "dispensing.record", "dispensing.record",
    ]  # fmt: skip


def test_what_a_dispensing_must_fulfil(hospital: Hospital) -> None:
    made, unreviewed = reviewed(hospital), issued(hospital, number="CF2")
    url = made["links"]["dispensings"]
    too_much = dispensing(quantity="2.0001")
    unknown = dispensing()
    unknown["lines"][0]["drug_code"] = "X"
    assert code(hospital.post(too_much, url=url)) == (409, "DISPENSED_TWICE")
    assert code(hospital.post(unknown, url=url)) == (422, "DRUG_NOT_PRESCRIBED")
    assert code(hospital.post(dispensing(dispensed_at=moment(8)), url=url)) == (422, "ORDER")
    late = dispensing(dispensed_at=moment(60 * 24 * 4))
    assert code(hospital.post(late, url=url)) == (422, "FUTURE")
    assert code(hospital.post(dispensing(), url=unreviewed["links"]["dispensings"])) == (
        409, "PHARMACIST_REVIEW_MISSING",
    )  # fmt: skip
    post(hospital, dispensing(quantity="1"), url, 201)
    assert code(hospital.post(dispensing(), url=url)) == (409, "DISPENSING_NUMBER_USED")
    same_box = dispensing("FY2", quantity="1")
    same_box["lines"][0]["trace_codes"] = ["81FY10001"]
    assert code(hospital.post(same_box, url=url)) == (409, "TRACE_CODE_USED")
    twice = dispensing("FY3", quantity="1")
    twice["lines"][0]["trace_codes"] = ["A1", "A1"]
    assert code(hospital.post(twice, url=url)) == (400, "BODY_INVALID")
    assert Dispensing.objects.count() == 1
    withdrawal = hospital.post({"reason": "误开"}, url=made["links"]["withdrawal"])
    assert code(withdrawal) == (409, "PRESCRIPTION_STATE")


def test_only_a_licensed_carrier_delivers(hospital: Hospital) -> None:
    made = reviewed(hospital)
    given = post(hospital, dispensing(), made["links"]["dispensings"], 201)
    url = given["links"]["deliveries"]
    lapsed = carrier(valid_until=dt.date(2021, 6, 1))
    for other in (lapsed.code, hospital.row.code, "NOBODY000000"):
        answer = hospital.post({"logistics": other, "waybill": "SF1"}, url=url)
        assert code(answer) == (422, "LOGISTICS_UNQUALIFIED")
    good = carrier().code
    post(hospital, {"logistics": good, "waybill": "SF1"}, url, 201)
    post(hospital, {"logistics": good, "waybill": "SF1"}, url)
    other = post(hospital, dispensing("FY2", quantity="1.5", lines=[
        {"drug_code": OTHER, "quantity": "1.5"}]), made["links"]["dispensings"], 201)  # fmt: skip
    again = hospital.post({"logistics": good, "waybill": "SF1"}, url=other["links"]["deliveries"])
    assert code(again) == (409, "WAYBILL_USED")


def test_goods_are_append_only(hospital: Hospital) -> None:
    made = reviewed(hospital)
    post(hospital, dispensing(), made["links"]["dispensings"], 201)
    for rows in (Dispensing, TraceCode, Delivery, PrescriptionCharge):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"DELETE FROM {rows._meta.db_table}")
