"""Prescriptions that circulate: released to designated pharmacies, dispensed, claimed, recalled, expired."""

import datetime as dt

import pytest

from agreements.models import AgreementState
from institutions import commands
from settlement import medicines
from settlement.models import (
    Prescription,
    PrescriptionRelease,
)
from tests import factories
from tests.settlement.drugs import (
    API,
    OTHER,
    START,
    Pharmacy,
    charged,
    code,
    dispensing,
    issuer,
    moment,
    pharmacist,
    post,
    prescription,
    released,
    reviewed,
    sent,
)
from tests.settlement.hospital import Hospital


@pytest.fixture
def hospital(db, time_machine) -> Hospital:
    return issuer(time_machine)


def test_a_released_prescription_is_claimed_by_the_pharmacy(hospital: Hospital) -> None:
    pharmacy, other = Pharmacy(), Pharmacy()
    made = released(hospital, pharmacy)
    seen = pharmacy.get(f"{API}/prescriptions").json()["results"]
    assert [row["id"] for row in seen] == [made["id"]]
    assert other.get(f"{API}/prescriptions").json()["results"] == []
    assert other.get(made["links"]["self"]).status_code == 404
    assert code(other.post(dispensing(), url=made["links"]["dispensings"]))[0] == 404
    assert code(other.post(charged(hospital), url=made["links"]["claims"]))[0] == 404
    own = hospital.post(dispensing(), url=made["links"]["dispensings"])
    assert code(own) == (409, "PRESCRIPTION_ELSEWHERE")

    early = post(pharmacy, charged(hospital), made["links"]["claims"], 201)["lines"][0]
    assert (early["decision"], early["reason"]) == ("reject", "NOT_DISPENSED")
    assert early["clauses"][-1]["clause"] == "十五"
    given = post(pharmacy, dispensing(), made["links"]["dispensings"], 201)
    assert given["institution"] == pharmacy.row.code
    claim = post(pharmacy, charged(hospital, number="YD2"), made["links"]["claims"], 201)
    assert (claim["state"], claim["totals"]["fund"]) == ("payable", "9.75")  # (20 − 5) × 65 %
    assert pharmacy.get(claim["links"]["self"]).json() == claim
    assert hospital.get(claim["links"]["self"]).status_code == 404
    again = post(pharmacy, charged(hospital, number="YD3"), made["links"]["claims"], 201)
    assert again["lines"][0]["reason"] == "NOT_DISPENSED"
    line = sent(hospital, prescription(hospital))
    assert line["reason"] == "PRESCRIPTION_ELSEWHERE"
    assert hospital.get(made["links"]["self"]).json()["dispensings"][0]["id"] == given["id"]


def test_what_a_suspended_department_prescribed_is_not_paid_to_the_pharmacy(
    hospital: Hospital,
) -> None:
    day, given = START.date(), {"clause": "示例", "by": "chief", "at": factories.RECORDED}
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    post(pharmacy, dispensing(), made["links"]["dispensings"], 201)
    commands.suspend_department(
        institution=hospital.row, department="A03", since=day, until=day, source="x", **given
    )
    claim = post(pharmacy, charged(hospital), made["links"]["claims"], 201)
    assert claim["lines"][0]["reason"] == "DEPARTMENT_SUSPENDED"


def test_what_a_suspended_pharmacist_dispensed_is_not_paid(hospital: Hospital) -> None:
    pharmacy = Pharmacy()
    stopped, other = pharmacist(pharmacy.row), pharmacist(pharmacy.row)
    commands.suspend_practitioner(
        physician=stopped, since=START.date(), until=START.date(), source="x", clause="示例",
        by="chief", at=factories.RECORDED,
    )  # fmt: skip
    for pieces, (who, reason) in enumerate(
        ((stopped.code, "PHARMACIST_SUSPENDED"), (other.code, None)), 1
    ):
        made = released(hospital, pharmacy, number=f"CF{pieces}")
        given = dispensing(f"FY{pieces}", pharmacist=who)
        post(pharmacy, given, made["links"]["dispensings"], 201)
        claim = post(
            pharmacy, charged(hospital, number=f"YD{pieces}"), made["links"]["claims"], 201
        )
        assert claim["lines"][0]["reason"] == reason


def test_a_pharmacy_is_designated_on_the_day_of_dispensing(hospital: Hospital) -> None:
    pharmacy, plain = Pharmacy(), Pharmacy(designated=False)
    made = released(hospital, pharmacy)
    for wrong in (plain.row.code, hospital.row.code, "NOBODY000000"):
        answer = hospital.post({"pharmacy": wrong}, url=made["links"]["releases"])
        assert code(answer) == (422, "PHARMACY_NOT_DESIGNATED")
    post(pharmacy, dispensing(), made["links"]["dispensings"], 201)
    AgreementState.objects.filter(agreement__institution=pharmacy.row).update(state="suspended")
    claim = post(pharmacy, charged(hospital), made["links"]["claims"], 201)["lines"][0]
    assert (claim["decision"], claim["reason"]) == ("reject", "PHARMACY_NOT_DESIGNATED")
    rest = dispensing("FY2", lines=[{"drug_code": OTHER, "quantity": "1"}])
    answer = pharmacy.post(rest, url=made["links"]["dispensings"])
    assert code(answer) == (422, "PHARMACY_NOT_DESIGNATED")


def test_a_release_is_recalled_before_anything_is_handed_out(hospital: Hospital) -> None:
    first, second = Pharmacy(), Pharmacy()
    made = released(hospital, first, second)
    assert [row["pharmacy"] for row in made["releases"]] == [first.row.code, second.row.code]
    recall = f"{made['links']['self']}/recall"
    post(hospital, {"pharmacy": second.row.code}, recall)
    assert second.get(made["links"]["self"]).status_code == 404
    assert code(hospital.post({"pharmacy": second.row.code}, url=recall)) == (409, "NOT_RELEASED")
    post(first, dispensing(), made["links"]["dispensings"], 201)
    answer = hospital.post({"pharmacy": first.row.code}, url=recall)
    assert code(answer) == (409, "PRESCRIPTION_DISPENSED")
    assert PrescriptionRelease.objects.filter(recalled_at__isnull=True).count() == 1


def test_regions_without_such_a_clause_do_not_circulate(hospital: Hospital) -> None:
    factories.policies("nantong")
    made = reviewed(hospital)
    abroad = Pharmacy("nantong")
    answer = hospital.post({"pharmacy": abroad.row.code}, url=made["links"]["releases"])
    assert code(answer) == (422, "NO_CIRCULATION")


def test_hospitals_do_not_see_each_other(hospital: Hospital) -> None:
    made = reviewed(hospital)
    stranger = Hospital("wenzhou", "employee")
    links = made["links"]
    assert stranger.get(links["self"]).status_code == 404
    for name, body in (
        ("review", {"reviewed_by": "YS", "reviewed_at": moment(10), "passed": True}),
        ("withdrawal", {"reason": "x"}), ("releases", {"pharmacy": "P"}),
        ("dispensings", dispensing()), ("claims", charged(hospital)),
    ):  # fmt: skip
        assert stranger.post(body, url=links[name]).status_code == 404, name
    assert stranger.get(f"{API}/prescriptions").json()["results"] == []


def test_prescriptions_expire(hospital: Hospital, time_machine) -> None:
    made = released(hospital, Pharmacy())
    claimed = prescription(hospital, "CF2")
    sent(hospital, claimed)
    day = dt.date(2021, 6, 18)
    assert medicines.expire(on=day, by="test", at=START) == 0
    assert medicines.expire(on=day + dt.timedelta(days=1), by="test", at=START) == 1
    states = dict(Prescription.objects.values_list("number", "state"))
    assert states == {"CF1": "expired", "CF2": "reviewed"}
    answer = hospital.post(dispensing(), url=made["links"]["dispensings"])
    assert code(answer) == (409, "PRESCRIPTION_EXPIRED")
    time_machine.move_to(START + dt.timedelta(days=4), tick=False)
    hospital.token = factories.token(hospital.row)
    late = reviewed(hospital, number="CF3")
    answer = hospital.post(
        dispensing(dispensed_at=moment(60 * 24 * 4 - 10)), url=late["links"]["dispensings"]
    )
    assert code(answer) == (409, "PRESCRIPTION_EXPIRED")
