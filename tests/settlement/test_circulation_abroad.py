"""A prescription circulates to a designated pharmacy of another pooling region by agreement (第十五条 探索)."""

import datetime as dt
from pathlib import Path

import pytest

from agreements.models import AgreementState
from institutions.models import Institution, Region
from pricing import releases
from pricing.commands import draft, publish
from settlement.models import Leg
from tests import factories
from tests.settlement.drugs import (
    DRUG,
    Pharmacy,
    charged,
    code,
    dispensing,
    issuer,
    post,
    released,
    reviewed,
)
from tests.settlement.hospital import Hospital

SHIPPED = Path(releases.__file__).parent / "policies"
TEXT = (SHIPPED / "wenzhou-2021-6.yaml").read_text("utf-8")
PARAMETERS = (SHIPPED / "parameters-wenzhou.yaml").read_text("utf-8")
CIRCULATION = "to: [designated_retail_pharmacy, other_pooling_region]"
GUESTS = "offsite: {settled: true, clause: 十五}\n"
AT = dt.datetime(2021, 3, 8, 9, tzinfo=factories.ZONE)


@pytest.fixture
def hospital(db, time_machine) -> Hospital:
    return issuer(time_machine)


def neighbour(*, recognises: bool = True, pays_guests: bool = True) -> None:
    """The document of an invented region: recognises prescriptions from elsewhere, settles for guests."""
    text = TEXT.replace("slug: wenzhou-2021-6", "slug: neighbour-2021-1")
    text = text.replace("document: 温医保办〔2021〕6号", "document: 虚构医保发〔2021〕1号")
    text = text.replace("region: wenzhou", "region: neighbour").replace(
        'area_code: "330300"', 'area_code: "990300"'
    )
    if not recognises:
        text = text.replace(CIRCULATION, "to: [designated_retail_pharmacy]")
    if pays_guests:
        text = text.replace("prescription_flow:", f"{GUESTS}prescription_flow:")
    made = draft(text=text, by="drafter", at=AT)
    lists = PARAMETERS.replace("slug: parameters-wenzhou", "slug: parameters-neighbour")
    lists = lists.replace("region: wenzhou", "region: neighbour").replace(
        'area_code: "330300"', 'area_code: "990300"'
    )
    for row in (made, draft(text=lists, by="drafter", at=AT)):
        evidence = {"sm3": row.sm3, "cases": {"passed": 1, "failed": 0}}
        publish(release=row, evidence=evidence, by="publisher", at=AT)


def pharmacy_there(*, designated: bool = True) -> Pharmacy:
    """A pharmacy whose agreement is with the agency of the other region."""
    place, _ = Region.objects.get_or_create(
        code="990300",
        defaults={"name": "虚构邻市", "level": "prefecture", "policy_region": "neighbour"},
    )
    found = Pharmacy("wenzhou", designated=designated)
    row = Institution.objects.get(pk=found.row.pk)
    row.region = place
    row.save(update_fields=["region"])
    found.row.region = place
    found.token = factories.token(row)
    return found


def test_both_documents_recognise_it_and_the_pharmacy_there_is_paid(hospital: Hospital) -> None:
    neighbour()
    there = pharmacy_there()
    made = released(hospital, there)
    assert made["state"] == "released"
    post(there, dispensing(), made["links"]["dispensings"], 201)
    claim = post(there, charged(hospital), made["links"]["claims"], 201)
    assert (claim["state"], claim["totals"]["fund"]) == ("payable", "9.75"), claim["lines"][0][
        "reason"
    ]
    legs = dict(Leg.objects.filter(claim_id=claim["id"]).values_list("account", "amount"))
    account = Leg.Account
    assert (legs[account.REGIONAL_CLEARING], legs[account.INSTITUTION_PAYABLE]) == (975, -975)
    assert sum(legs.values()) == 0
    assert hospital.get(claim["links"]["self"]).status_code == 404


def test_a_region_that_pays_no_guests_hands_out_and_pays_nothing(hospital: Hospital) -> None:
    neighbour(pays_guests=False)
    there = pharmacy_there()
    made = released(hospital, there)
    post(there, dispensing(), made["links"]["dispensings"], 201)
    claim = post(there, charged(hospital), made["links"]["claims"], 201)
    assert claim["lines"][0]["reason"] == "NOT_LOCAL_INSURED"


def test_one_document_alone_is_not_enough(hospital: Hospital) -> None:
    neighbour(recognises=False)
    made, there = reviewed(hospital), pharmacy_there()
    answer = hospital.post({"pharmacy": there.row.code}, url=made["links"]["releases"])
    assert code(answer) == (422, "NO_CIRCULATION")
    assert there.get(made["links"]["self"]).status_code == 404


def test_without_its_own_agreement_no_pharmacy_there_is_let_in(hospital: Hospital) -> None:
    neighbour()
    made, plain, there = reviewed(hospital), pharmacy_there(designated=False), pharmacy_there()
    answer = hospital.post({"pharmacy": plain.row.code}, url=made["links"]["releases"])
    assert code(answer) == (422, "PHARMACY_NOT_DESIGNATED")
    post(hospital, {"pharmacy": there.row.code}, made["links"]["releases"])
    AgreementState.objects.filter(agreement__institution=there.row).update(state="terminated")
    answer = there.post(dispensing(), url=made["links"]["dispensings"])
    assert code(answer) == (422, "PHARMACY_NOT_DESIGNATED")
    lines = [{"drug_code": DRUG, "quantity": "1"}]
    assert code(there.post(dispensing("FY9", lines=lines), url=made["links"]["dispensings"])) == (
        422, "PHARMACY_NOT_DESIGNATED",
    )  # fmt: skip
