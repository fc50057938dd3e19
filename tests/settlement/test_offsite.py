"""Persons insured elsewhere: this region's catalogue, their own region's benefits, cleared between."""

from collections.abc import Iterator

import pytest

from institutions.access import EVERYTHING, set_scope
from pricing.commands import draft, publish
from settlement import ledger
from settlement.models import Settlement
from tests import factories
from tests.factories import line
from tests.settlement.benefits import both, legs
from tests.settlement.hospital import Hospital, forget_databases
from tests.settlement.test_invented_claims import AT, DAY, FILE

OPEN_TO_ALL = "over_cap: {category: 自费, clause: 第7条}\n"


@pytest.fixture
def hospital(committed_db: str, monkeypatch) -> Iterator[Hospital]:
    """The invented city, which settles persons of other regions; Wenzhou and its parameters."""
    forget_databases()
    factories.policies("wenzhou")
    text = FILE.read_text(encoding="utf-8")
    assert OPEN_TO_ALL in text
    switch = "offsite: {settled: true, clause: 第1条}\n"
    release = draft(text=text.replace(OPEN_TO_ALL, OPEN_TO_ALL + switch), by="起草人", at=AT)
    evidence = {"sm3": release.sm3, "cases": {"passed": 8, "failed": 0}}
    publish(release=release, evidence=evidence, by="发布人", at=AT)
    monkeypatch.setitem(factories.REGIONS, "invented", ("990100", "虚构市"))
    yield Hospital("invented", "employee")
    forget_databases()


def guests(hospital: Hospital, region: str, scheme: str = "employee", **more: object) -> list:
    found = [factories.person(region, scheme, **more) for _ in range(2)]
    for person in found:
        factories.offline_visit(person, hospital.row, DAY.replace(day=1))
    return found


def drug(fee: str) -> dict:
    return line(kind="drug", item="YP001", fee=fee)


def test_a_guest_has_this_citys_cap_and_the_own_regions_benefits(hospital: Hospital) -> None:
    one, other = guests(hospital, "wenzhou", account_balance=1_000)
    claims = both(
        hospital, one, other,
        lambda p: [factories.body(p, hospital.doctor, drug(fee), day=DAY, pay_from_account=True)
                   for fee in ("6000.00", "100.00")],
    )  # fmt: skip
    totals = claims[0]["totals"]
    # the city's cap 5000.00; Wenzhou's deductible 5.00 and 65 %: 3246.75; its account rules
    assert (totals["over_cap"], totals["deductible"], totals["fund"], totals["account"]) == (
        "1000.00", "5.00", "3246.75", "10.00",
    )  # fmt: skip
    assert claims[1]["totals"]["fund"] == "65.00"
    assert legs(claims[0]) == {
        3: 174_325, 4: 100_000, 6: -325_675, 7: -274_325, 15: 325_675,
    }  # fmt: skip
    assert "65%" in next(
        step["note"] for step in claims[0]["lines"][0]["explanation"] if step["key"] == "fund"
    )
    set_scope(EVERYTHING)
    assert set(Settlement.objects.values_list("insured_pool", flat=True)) == {"wenzhou"}
    assert ledger.balance().sound
    assert hospital.reverse(claims[0]).status_code == 201
    set_scope(EVERYTHING)
    assert ledger.balance().sound


def test_a_guest_of_a_region_that_is_not_loaded_has_no_rule(hospital: Hospital) -> None:
    one, other = guests(hospital, "jilin")
    (claim,) = both(
        hospital, one, other,
        lambda p: [factories.body(p, hospital.doctor, drug("100.00"), day=DAY)],
    )  # fmt: skip
    assert (claim["state"], claim["lines"][0]["reason"]) == ("no_rule", "NO_TARIFF")
    assert legs(claim) == {}


def test_the_citys_own_people_are_settled_as_ever_beside_guests(hospital: Hospital) -> None:
    one, other = guests(hospital, "invented")
    (claim,) = both(
        hospital, one, other,
        lambda p: [factories.body(p, hospital.doctor, drug("1200.00"), day=DAY)],
    )  # fmt: skip
    assert (claim["totals"]["deductible"], claim["totals"]["fund"]) == ("200.00", "600.00")
    assert legs(claim)[1] == 60_000


def test_wenzhou_refuses_a_guest(committed_db: str) -> None:
    forget_databases()
    factories.policies("wenzhou", "nantong")
    made = Hospital("wenzhou")
    made.patient = factories.person("nantong")
    claim = made.settled(line(item="110200001", fee="10.00"))
    forget_databases()
    assert claim["lines"][0]["reason"] == "NOT_LOCAL_INSURED"
