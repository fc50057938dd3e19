"""Dispensed drugs come back (退药): how many, which packages, the parcel, the money, the page."""

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event
from settlement import reviewed as reviewed_claims
from settlement.models import (
    DispensingReturn,
    DispensingReturnLine,
    Leg,
    Prescription,
    PrescriptionLine,
    Settlement,
    TraceReturn,
)
from tests import factories
from tests.settlement.drugs import (
    DRUG,
    OTHER,
    START,
    Pharmacy,
    as_carried,
    carrier,
    charged,
    code,
    dispensing,
    drug_line,
    issuer,
    moment,
    post,
    prescription,
    released,
    reviewed,
)
from tests.settlement.hospital import Hospital
from tests.settlement.test_medicine_pages import words

CODES = ("81FY10001", "81FY10002")


@pytest.fixture
def hospital(db, time_machine) -> Hospital:
    return issuer(time_machine)


def two_boxes() -> dict:
    lines = [{"drug_code": DRUG, "quantity": "2", "trace_codes": list(CODES)}]
    return dispensing(lines=lines)


def back(
    number: str = "TY1", quantity: str = "1", codes: tuple = CODES[:1], **more: object
) -> dict:
    lines = [{"drug_code": DRUG, "quantity": quantity, "trace_codes": list(codes)}]
    return {"no": number, "returned_at": moment(90), "reason": "quality", "lines": lines} | more


def handed_out(hospital: Hospital, place: Hospital | None = None) -> tuple[dict, dict]:
    """A prescription and a dispensing of two boxes by the hospital or a pharmacy."""
    made = released(hospital, place) if place else reviewed(hospital)
    return made, post(place or hospital, two_boxes(), made["links"]["dispensings"], 201)


def balance(*claims: int) -> dict[int, int]:
    """Account → fen that stands on it because of the claims; what went back is gone."""
    found: dict[int, int] = {}
    for leg in Leg.objects.filter(claim_id__in=claims):
        found[leg.account] = found.get(leg.account, 0) + leg.amount
    return {account: amount for account, amount in found.items() if amount}


def test_a_part_comes_back_with_its_package(hospital: Hospital) -> None:
    made, given = handed_out(hospital)
    url = given["links"]["returns"]
    body = back(pharmacist=hospital.pharmacist.code, note="外包装破损")
    told = post(hospital, body, url, 201)
    assert told == {
        "id": told["id"], "no": "TY1", "returned_at": moment(90), "reason": "quality",
        "reason_label": "药品质量问题", "note": "外包装破损",
        "pharmacist": hospital.pharmacist.code, "reversed_claims": [],
        "lines": [{"drug_code": DRUG, "quantity": "1", "trace_codes": [CODES[0]]}],
    }  # fmt: skip
    assert post(hospital, body, url) == told
    seen = hospital.get(made["links"]["self"]).json()
    assert seen["state"] == "partly"
    assert [(line["dispensed"], line["returned"]) for line in seen["lines"]] == [
        ("0", "0"), ("2", "1"),
    ]  # fmt: skip
    assert seen["dispensings"][0]["returns"] == [told]
    event = Event.objects.get(action="dispensing.return")
    assert event.subject == f"prescription:{made['id']}"


def test_what_came_back_may_be_handed_out_again_but_no_package_twice(hospital: Hospital) -> None:
    made, given = handed_out(hospital)
    post(hospital, back(quantity="2", codes=CODES), given["links"]["returns"], 201)
    assert hospital.get(made["links"]["self"]).json()["state"] == "reviewed"
    url = made["links"]["dispensings"]
    again = two_boxes() | {"no": "FY2"}
    assert code(hospital.post(again, url=url)) == (409, "TRACE_CODE_USED")
    again["lines"][0]["trace_codes"] = ["NEW1", "NEW2"]
    post(hospital, again, url, 201)
    line = PrescriptionLine.objects.get(drug_code=DRUG)
    assert (line.quantity, line.dispensed, line.returned) == (20_000, 40_000, 20_000)
    third = dispensing("FY3", quantity="1")
    assert code(hospital.post(third, url=url)) == (409, "DISPENSED_TWICE")


def test_what_a_return_must_fulfil(hospital: Hospital) -> None:
    _, given = handed_out(hospital)
    url = given["links"]["returns"]
    for body, status, wanted in (
        (back(quantity="2.0001", codes=CODES), 409, "RETURNED_TOO_MUCH"),
        (back(codes=()), 422, "TRACE_CODES_MISSING"),
        (back(codes=("81FY2",)), 422, "TRACE_CODE_FOREIGN"),
        (back(lines=[{"drug_code": OTHER, "quantity": "1"}]), 422, "DRUG_NOT_DISPENSED"),
        (back(returned_at=moment(29)), 422, "ORDER"),
        (back(returned_at=moment(60 * 24)), 422, "FUTURE"),
        (back(pharmacist="NOBODY"), 422, "PRACTITIONER_UNKNOWN"),
        (back(reason="whim"), 400, "BODY_INVALID"),
        (back(quantity="0"), 400, "BODY_INVALID"),
        (back(codes=(CODES[0], CODES[0])), 400, "BODY_INVALID"),
    ):
        assert code(hospital.post(body, url=url)) == (status, wanted)
    post(hospital, back(), url, 201)
    assert code(hospital.post(back(reason="wrong"), url=url)) == (409, "RETURN_NUMBER_USED")
    assert code(hospital.post(back("TY2"), url=url)) == (409, "TRACE_CODE_RETURNED")
    more = back("TY3", quantity="1.5", codes=CODES[1:])
    assert code(hospital.post(more, url=url)) == (409, "RETURNED_TOO_MUCH")
    assert DispensingReturn.objects.count() == 1
    stranger = Hospital("wenzhou", "employee")
    assert code(stranger.post(back("TY4"), url=url)) == (404, "NOT_FOUND")


def test_a_parcel_under_way_comes_back_with_everything(hospital: Hospital) -> None:
    made, given = handed_out(hospital)
    sent = post(
        hospital, {"logistics": carrier().code, "waybill": "SF1"}, given["links"]["deliveries"], 201
    )
    steps = sent["links"]["steps"]
    post(hospital, {"kind": "picked_up", "at": moment(40)}, steps, 201)
    url = given["links"]["returns"]
    assert code(hospital.post(back(), url=url)) == (409, "DELIVERY_OPEN")
    early = back(quantity="2", codes=CODES, returned_at=moment(35))
    assert code(hospital.post(early, url=url)) == (422, "ORDER")
    post(hospital, back(quantity="2", codes=CODES, reason="undelivered"), url, 201)
    parcel = hospital.get(made["links"]["self"]).json()["dispensings"][0]["deliveries"][0]
    assert [step["kind"] for step in parcel["steps"]] == ["picked_up", "returned"]
    late = {"kind": "signed", "at": moment(100), "relation": "self"}
    assert code(hospital.post(late, url=steps)) == (422, "ORDER")
    again = {"logistics": carrier().code, "waybill": "SF2"}
    answer = hospital.post(again, url=given["links"]["deliveries"])
    assert code(answer) == (409, "DISPENSING_RETURNED")
    assert Event.objects.filter(action="delivery.returned").count() == 1


def test_a_part_comes_back_after_its_parcel_was_signed_for(hospital: Hospital) -> None:
    _, given = handed_out(hospital)
    sent = post(
        hospital, {"logistics": carrier().code, "waybill": "SF1"}, given["links"]["deliveries"], 201
    )
    for kind, at, more in (("picked_up", 40, {}), ("signed", 61, {"relation": "family"})):
        post(hospital, {"kind": kind, "at": moment(at), **more}, sent["links"]["steps"], 201)
    post(hospital, back(), given["links"]["returns"], 201)


def test_the_money_of_a_pharmacy_goes_back_and_the_rest_is_claimed_anew(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    made, given = handed_out(hospital, pharmacy)
    claim = post(pharmacy, charged(hospital), made["links"]["claims"], 201)
    assert claim["totals"]["fund"] == "9.75"
    told = post(pharmacy, back(), given["links"]["returns"], 201)
    assert told["reversed_claims"] == [claim["id"]]
    versions = Settlement.objects.filter(claim_id=claim["id"]).order_by("version")
    assert [(row.version, row.fund, row.reason) for row in versions] == [
        (1, 975, ""), (2, -975, "退药 TY1"),
    ]  # fmt: skip
    assert balance(claim["id"]) == {}
    too_much = post(pharmacy, charged(hospital, number="YD2"), made["links"]["claims"], 201)
    assert too_much["lines"][0]["reason"] == "NOT_DISPENSED"
    kept = charged(hospital, number="YD3", quantity=1)
    anew = post(pharmacy, kept, made["links"]["claims"], 201)
    assert (anew["state"], anew["totals"]["fund"]) == ("payable", "3.25")  # (10 − 5) × 65 %
    assert post(pharmacy, back("TY2", codes=CODES[1:]), given["links"]["returns"], 201)[
        "reversed_claims"
    ] == [too_much["id"], anew["id"]]
    assert balance(claim["id"], anew["id"]) == {}
    assert Prescription.objects.get(pk=made["id"]).state == "released"


def test_only_the_claims_that_are_too_much_are_reversed(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    made, given = handed_out(hospital, pharmacy)
    first, second = (
        post(pharmacy, charged(hospital, number=number, quantity=1), made["links"]["claims"], 201)
        for number in ("YD1", "YD2")
    )
    told = post(pharmacy, back(), given["links"]["returns"], 201)
    assert told["reversed_claims"] == [second["id"]]
    assert balance(second["id"]) == {}
    assert balance(first["id"]) != {}


def test_a_hospital_claim_goes_back_whole(hospital: Hospital) -> None:
    carried = as_carried(hospital, prescription(hospital))
    claim = hospital.settled(drug_line(), prescriptions=[carried])
    made = Prescription.objects.get()
    url = f"/api/v1/prescriptions/{made.pk}/dispensings"
    quantity = made.lines.get(drug_code=DRUG).quantity // 10_000
    assert quantity == 2
    given = post(hospital, two_boxes(), url, 201)
    told = post(hospital, back(quantity="2", codes=CODES), given["links"]["returns"], 201)
    assert told["reversed_claims"] == [claim["id"]]
    assert balance(claim["id"]) == {}


def test_what_was_held_for_returned_drugs_cannot_be_paid_later(hospital: Hospital) -> None:
    carried = as_carried(hospital, prescription(hospital))
    paid, held = (hospital.settled(drug_line(), prescriptions=[carried]) for _ in range(2))
    assert (paid["lines"][0]["decision"], held["state"]) == ("payable", "review")
    url = f"/api/v1/prescriptions/{Prescription.objects.get().pk}/dispensings"
    given = post(hospital, two_boxes(), url, 201)
    told = post(hospital, back(quantity="2", codes=CODES), given["links"]["returns"], 201)
    assert told["reversed_claims"] == [held["id"], paid["id"]]
    assert reviewed_claims.standing(held["id"]) is None
    assert balance(paid["id"], held["id"]) == {}


def test_a_refused_claim_goes_back_before_one_that_was_paid(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    refused = post(pharmacy, charged(hospital), made["links"]["claims"], 201)
    given = post(pharmacy, two_boxes(), made["links"]["dispensings"], 201)
    paid = post(pharmacy, charged(hospital, number="YD2", quantity=1), made["links"]["claims"], 201)
    assert (refused["state"], paid["state"]) == ("reject", "payable")
    told = post(pharmacy, back(), given["links"]["returns"], 201)
    assert told["reversed_claims"] == [refused["id"]]
    assert reviewed_claims.standing(paid["id"]) is not None


def test_the_page_shows_goods_and_money_coming_back(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    made, given = handed_out(hospital, pharmacy)
    post(pharmacy, charged(hospital), made["links"]["claims"], 201)
    post(pharmacy, back(note="铝箔破损"), given["links"]["returns"], 201)
    reviewer = factories.log_in(Client(), factories.user("reviewer", hospital.row.region))
    found = words(reviewer.get(reverse("prescription", args=[made["id"]])))
    for part in ("退药 TY1", "铝箔破损", "冲正申请 1 笔", CODES[0], "冲正：", "已退"):
        assert part in found, part
    assert "退药未冲正" not in found


def test_the_database_refuses_returns_that_do_not_fit(hospital: Hospital) -> None:
    made, given = handed_out(hospital)
    told = post(hospital, back(), given["links"]["returns"], 201)
    other = post(
        hospital,
        dispensing("FY2", lines=[{"drug_code": OTHER, "quantity": "1", "trace_codes": ["T9"]}]),
        made["links"]["dispensings"], 201,
    )  # fmt: skip
    row = DispensingReturn.objects.get(pk=told["id"])
    line = row.lines.get().line
    foreign = {"taken_back": row, "quantity": 1}
    second = DispensingReturn.objects.get(pk=row.pk)
    second.pk, second.number = None, "TY2"
    second.save()
    for wrong in (
        lambda: DispensingReturnLine.objects.create(taken_back=second, line=line, quantity=10_001),
        lambda: DispensingReturnLine.objects.create(taken_back=second, line=line, quantity=0),
        lambda: DispensingReturnLine.objects.create(taken_back=row, line=line, quantity=1),
        lambda: DispensingReturnLine.objects.create(
            **foreign, line=line.__class__.objects.get(dispensing=other["id"])
        ),
        lambda: TraceReturn.objects.create(trace_id=CODES[0], taken_back=second),
        lambda: TraceReturn.objects.create(trace_id="T9", taken_back=row),
        lambda: _copied(row, number="TY1"),
        lambda: _copied(row, number="TY5", returned_at=START),
        lambda: PrescriptionLine.objects.filter(drug_code=DRUG).update(returned=20_001),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            wrong()
    with pytest.raises(DatabaseError, match="never change"), transaction.atomic():
        PrescriptionLine.objects.filter(drug_code=DRUG).update(returned=0)
    for table in ("dispensingreturn", "dispensingreturnline", "tracereturn"):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"DELETE FROM settlement_{table}")


def _copied(row: DispensingReturn, **changes: object) -> None:
    copy = DispensingReturn.objects.get(pk=row.pk)
    copy.pk = None
    for name, value in changes.items():
        setattr(copy, name, value)
    copy.save()
