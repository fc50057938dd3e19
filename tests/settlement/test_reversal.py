"""Reversal: once, in the other sign, giving back exactly what was used."""

import json

import pytest
from django.db import transaction

from audit import clock
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import ledger, reviewed
from settlement.models import Accumulator, Leg, LineResult, PersonalAccount, Settlement
from settlement.reviewed import Verdict
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    made.patient = factories.person("nantong", "employee", account_balance=700)
    return made


def year() -> tuple[int, int, int, int]:
    set_scope(EVERYTHING)
    row = Accumulator.objects.get()
    left = PersonalAccount.objects.get().account_left
    return row.deductible_used, row.in_scope_used, row.fund_used, left


def test_a_reversal_is_the_settlement_with_the_other_sign(hospital: Hospital) -> None:
    hospital.settled(line(fee="12.00"))
    before = year()
    expert = factories.physician(hospital.row, "chief")
    lines = (line(item="111102003", fee="35.00"), line(2, item="999", fee="5.00"))
    claim = hospital.settled(*lines, physician={"code": expert.code}, pay_from_account=True)
    assert year() != before
    answer = hospital.reverse(claim)
    reversed_claim = answer.json()
    assert answer.status_code == 201
    assert (reversed_claim["state"], reversed_claim["reversal"]["reason"]) == (
        "reversed",
        "录入错误",
    )
    assert reversed_claim["lines"] == claim["lines"]
    assert reversed_claim["totals"] == claim["totals"]
    for name, amount in reversed_claim["reversal"]["totals"].items():
        assert amount.removeprefix("-") == claim["totals"][name]
    assert hospital.get(claim["links"]["self"]).json() == reversed_claim
    assert year() == before
    first, second = (
        dict(Leg.objects.filter(claim_id=claim["id"], version=v).values_list("account", "amount"))
        for v in (1, 2)
    )
    assert second == {account: -amount for account, amount in first.items()}
    assert ledger.balance().sound
    lines_back = LineResult.objects.filter(claim_id=claim["id"], version=2)
    assert [(row.line_no, row.fee) for row in lines_back] == [(1, -3500)]


def test_a_reversal_with_a_key_is_replayed_byte_for_byte(hospital: Hospital) -> None:
    first, second = hospital.settled(), hospital.settled()
    before = year()

    def send(claim: dict, reason: str = "退号"):
        return hospital.post({"reason": reason}, key="r1", url=claim["links"]["reversal"])

    done, again = send(first), send(first)
    assert (done.status_code, again.status_code, again.content) == (201, 201, done.content)
    assert year() != before
    for other in (send(second), send(first, "另一原因")):
        assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_BODY_DIFFERS")
    assert hospital.post({"reason": "x"}, url=first["links"]["reversal"]).status_code == 409


def test_what_cannot_be_reversed(hospital: Hospital) -> None:
    twice = hospital.settled()
    assert hospital.reverse(twice).status_code == 201
    before = year()
    other = Hospital()
    found = {
        "again": hospital.reverse(twice),
        "of another hospital": other.reverse(twice),
        "unknown": hospital.post({"reason": "x"}, url="/api/v1/claims/99999999/reversal"),
        "without reason": hospital.reverse(twice, ""),
    }
    assert {name: (a.status_code, a.json()["code"]) for name, a in found.items()} == {
        "again": (409, "ALREADY_REVERSED"),
        "of another hospital": (404, "NOT_FOUND"),
        "unknown": (404, "NOT_FOUND"),
        "without reason": (400, "BODY_INVALID"),
    }
    assert year() == before
    assert Settlement.objects.filter(version=2).count() == 1


@pytest.mark.parametrize("given", [{"fee": "12.01"}, {"item": "999"}])
def test_a_held_or_refused_claim_is_reversed_and_never_passed_again(hospital, given) -> None:
    claim = hospital.settled(line(**given))
    before = year()
    assert hospital.reverse(claim).json()["state"] == "reversed"
    assert (year(), ledger.balance().sound) == (before, True)
    assert sum(Leg.objects.values_list("amount", flat=True)) == 0
    last = Settlement.objects.get(claim_id=claim["id"], version=2)
    assert (last.fee, last.fund, last.cash) == (-1201 if "fee" in given else -1200, 0, last.cash)
    with pytest.raises(Refusal) as refusal, transaction.atomic():
        reviewed.post(claim_id=claim["id"], version=1, verdicts={1: Verdict("passed")},
                      reason="人工审核", by="reviewer", at=clock.now())  # fmt: skip
    assert refusal.value.code == "CLAIM_CHANGED"


def test_a_later_release_does_not_change_what_was_settled(hospital: Hospital) -> None:
    """The claim keeps its release: it reads and reverses as it was settled."""
    from pricing.models import Release

    claim = hospital.settled()
    set_scope(EVERYTHING)
    old = Release.objects.get(kind="parameters")
    text = old.text.replace("value: 6500", "value: 100").replace(
        "parameters-nantong", "parameters-nt2"
    )
    Release.objects.create(
        slug="parameters-nt2", kind="parameters", region="nantong", document="x", title="x",
        text=text,
        sm3="0" * 64, valid_from=old.valid_from, state="published",
        drafted_by="a", published_by="b",
        drafted_at=factories.RECORDED, published_at=factories.RECORDED,
    )  # fmt: skip
    assert hospital.get(claim["links"]["self"]).json() == claim
    later = hospital.settled()
    assert later["release"]["parameters_id"] != claim["release"]["parameters_id"]
    assert hospital.reverse(claim).status_code == 201
    assert json.loads(hospital.get(claim["links"]["self"]).content)["lines"] == claim["lines"]
