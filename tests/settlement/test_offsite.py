"""Persons insured elsewhere: this region's catalogue, their own region's benefits, cleared between."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from pricing.commands import draft, publish
from settlement import ledger, statements
from settlement.models import Leg, LineResult, Period, Settlement, Voucher
from settlement.periods import differences, month_of
from settlement.vouchers import post_voucher
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


def owed(claim_no: str) -> list[tuple[str, dict[int, int]]]:
    """The vouchers of a claim in the insured region: version and legs, oldest first."""
    set_scope(EVERYTHING)
    rows = Voucher.objects.filter(kind=Voucher.Kind.REGIONAL, detail__claim_no=claim_no)
    return [
        (row.effect.split("/")[1],
         dict(Leg.objects.filter(claim_id=row.pk).values_list("account", "amount")))
        for row in rows.order_by("pk")
    ]  # fmt: skip


def claims_of(patient: object, hospital: Hospital) -> list[dict]:
    return [
        factories.body(patient, hospital.doctor, drug(fee), day=DAY, pay_from_account=True)
        for fee in ("6000.00", "100.00")
    ]


def wrong(pool: str) -> list[str]:
    """What the proof of the present month says of a region, its statements made."""
    set_scope(EVERYTHING)
    period, _ = Period.objects.get_or_create(pool=pool, month=month_of(timezone.now()))
    statements.make(period=period, by="clerk", at=timezone.now())
    return differences(period)


def test_the_insured_region_owes_by_voucher_what_the_treating_region_holds(
    hospital: Hospital,
) -> None:
    one, other = guests(hospital, "wenzhou", account_balance=1_000)
    made: list[list[dict]] = []

    def make(patient: object) -> list[dict]:
        made.append(claims_of(patient, hospital))
        return made[-1]

    answers = both(hospital, one, other, make)  # posted one by one, and as a file
    first = {1: 324_675, 2: 1_000, 15: -325_675}
    for claims in made:
        assert owed(claims[0]["claim_no"]) == [("1", first)]
        assert owed(claims[1]["claim_no"]) == [("1", {1: 6_500, 15: -6_500})]
    vouchers = list(Voucher.objects.order_by("number"))
    assert [row.number[-7:] for row in vouchers] == [f"YD0000{n}" for n in (1, 2, 3, 4)]
    assert {row.region_code for row in vouchers} == {"330300"}
    assert Event.objects.filter(action="voucher.regional", region_code="330300").count() == 3
    assert ledger.balance().accounts[Leg.Account.REGIONAL_CLEARING] == 0
    assert (wrong("invented"), wrong("wenzhou")) == ([], [])

    assert hospital.reverse(answers[0]).status_code == 201
    red = {account: -amount for account, amount in first.items()}
    assert owed(made[0][0]["claim_no"]) == [("1", first), ("2", red)]
    (back,) = Voucher.objects.exclude(reverses=None)
    assert back.reverses.effect == f"regional:{answers[0]['id']}/1"
    assert ledger.balance().sound
    assert (wrong("invented"), wrong("wenzhou")) == ([], [])


def test_a_claim_settled_anew_is_owed_anew(hospital: Hospital) -> None:
    """Reversed and posted again, as a re-settlement does: each version has its own voucher."""
    (claim, _) = claims_of(guests(hospital, "wenzhou")[0], hospital)
    key = hospital.post(claim).json()["id"]
    set_scope(EVERYTHING)
    row = Settlement.objects.get(claim_id=key)
    lines = list(LineResult.objects.filter(claim_id=key).order_by("line_no"))
    legs_before = list(Leg.objects.filter(claim_id=key).order_by("account"))
    given = {"reason": "重新结算", "by": "system:worker", "at": timezone.now()}
    with transaction.atomic():
        set_scope(EVERYTHING)
        ledger.lock_persons([row.person_id])
        ledger.reverse([(key, 1, row.period)], **given)
        ledger.settle_again(given | {
            "claims": [key], "versions": [1], "periods": [row.period], "state": [row.state],
            "example": [row.example], **{name: [getattr(row, name)] for name in ledger.TOTALS},
            "line_claim": [key for _ in lines], "line_no": [found.line_no for found in lines],
            "release": [found.release_id for found in lines],
            "parameters": [found.parameters_id for found in lines],
            **{f"result_{name}": [getattr(found, name) for found in lines]
               for name in ledger.RESULT},
            "leg_claim": [key for _ in legs_before],
            "leg_account": [leg.account for leg in legs_before],
            "leg_amount": [leg.amount for leg in legs_before],
        })  # fmt: skip
    first = {1: 324_675, 15: -324_675}
    red = {account: -amount for account, amount in first.items()}
    assert owed(claim["claim_no"]) == [("1", first), ("2", red), ("3", first)]
    assert ledger.balance().sound
    assert (wrong("invented"), wrong("wenzhou")) == ([], [])


def test_each_region_posts_into_its_own_open_month(hospital: Hospital) -> None:
    month = month_of(timezone.now())
    later = (month + dt.timedelta(days=31)).replace(day=1)
    (claim, _) = claims_of(guests(hospital, "wenzhou")[0], hospital)
    set_scope(EVERYTHING)
    Period.objects.create(pool="wenzhou", month=month, state="closed")
    answer = hospital.post(claim).json()
    set_scope(EVERYTHING)
    assert Settlement.objects.get(claim_id=answer["id"]).period == month
    assert Voucher.objects.get().period == later
    assert ledger.balance().sound


def test_the_proof_finds_what_is_not_posted_on_either_side(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim, second) = claims_of(guests(hospital, "wenzhou")[0], hospital)
    answer = hospital.post(claim).json()
    monkeypatch.setattr(ledger.regional, "post", lambda versions, *, by, at: 0)
    hospital.post(second)
    assert wrong("invented") == ["1笔异地结算在参保地没有相同金额的清算凭证"]
    assert not ledger.balance().sound
    post_voucher(
        kind=Voucher.Kind.REGIONAL, effect="stray", subject=f"claim:{answer['id']}",
        region_code="330300", scheme="employee", by="clerk", at=timezone.now(),
        legs={Leg.Account.POOLED_FUND: 5, Leg.Account.REGIONAL_CLEARING: -5},
    )  # fmt: skip
    assert wrong("wenzhou") == ["1张异地清算凭证与就医地的结算不符"]


@pytest.mark.parametrize("odd", [{"institution_code": "H1"}, {"scheme": ""}, {"subject": "x:1"}])
def test_a_voucher_between_regions_names_its_claim(db: None, odd: dict) -> None:
    set_scope(EVERYTHING)
    given = {"institution_code": "", "scheme": "employee", "subject": "claim:1"} | odd
    with pytest.raises(IntegrityError, match="voucher_regional_of_a_claim"), transaction.atomic():
        post_voucher(
            kind=Voucher.Kind.REGIONAL, effect="x", region_code=factories.region("wenzhou").pk,
            by="clerk", at=timezone.now(),
            legs={Leg.Account.POOLED_FUND: 5, Leg.Account.REGIONAL_CLEARING: -5}, **given,
        )  # fmt: skip


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
