"""Everything that was paid through the statement may be deducted, each payer has its own part back."""

import datetime as dt

import pytest
from django.db import IntegrityError, transaction

from audit.text import apportion
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import closing, ledger, payers, statement_page
from settlement.models import Deduction, Settlement, Statement
from settlement.statement_steps import deduct
from tests import factories
from tests.factories import line
from tests.settlement import money
from tests.settlement.hospital import Hospital
from tests.settlement.money import NOVEMBER, at
from tests.settlement.test_statements import closing_month


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    return money.Place("wenzhou")


@pytest.mark.parametrize(("total", "weights", "parts"), [
    (100, [1000, 400, 0, 100], [67, 27, 0, 6]), (1, [1, 1], [1, 0]), (5, [0, 0], [0, 0]),
    (3, [1, 1, 1], [1, 1, 1]), (0, [7], [0]), (2, [1, 1, 1], [1, 1, 0]),
])  # fmt: skip
def test_whole_parts_add_up(total: int, weights: list[int], parts: list[int]) -> None:
    assert apportion(total, weights) == parts


def parts(row: Deduction) -> tuple[int, ...]:
    return row.amount, row.major, row.assistance, row.account


def test_a_deduction_reaches_everything_that_was_paid_payer_by_payer(place) -> None:
    claim = place.claim(fund=1000, major=400, assistance=0, account=100)
    given = {"claim_id": claim, "reason": "fictitious", "note": "虚构", "by": "r", "at": at(11, 30)}
    with pytest.raises(Refusal, match="DEDUCTION_TOO_LARGE"):
        deduct(amount=1501, **given)
    # 100 × 1000 / 1500 = 66.67, × 400 / 1500 = 26.67, × 100 / 1500 = 6.67: two fen by remainder
    assert parts(deduct(amount=100, **given)) == (100, 27, 0, 6)
    assert parts(deduct(amount=1400, **given)) == (1400, 373, 0, 94)
    period = closing_month(place)
    row = Statement.objects.get()
    assert (row.declared, row.deducted, row.deposit, row.payable) == (1500, 1500, 0, 0)
    place.confirmed(period)
    assert place.owed() == 0
    assert ledger.balance().sound
    assert closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    place.reverse(claim, at(12, 10))
    december = dt.date(2021, 12, 1)
    closing.begin_closing(pool=place.pool, month=december, by="finance", at=at(1, 2, 2022))
    assert parts(Deduction.objects.get(amount__lt=0)) == (-1500, -400, 0, -100)


def test_the_accounts_part_of_a_deduction_does_not_lessen_the_deposit(place) -> None:
    claim = place.claim(fund=10_000, account=10_000)
    deduct(claim_id=claim, amount=2000, reason="other", note="x", by="r", at=at(11, 30))
    closing_month(place)
    row = Statement.objects.get()
    assert (row.deducted, row.deposit) == (2000, 450)  # 5 % of 100.00 − 10.00
    chain = {step.key: step for step in statement_page.steps_of(row, 0)}
    assert "90.00" in chain["deposit"].note


@pytest.mark.parametrize("wrong", [
    {"amount": 10, "account": 11}, {"amount": 10, "major": -1}, {"amount": 110},
    {"amount": 101, "account": 101}, {"amount": -5, "account": 1, "reason": "returned"},
])  # fmt: skip
def test_the_database_keeps_each_payers_part(place, wrong: dict) -> None:
    claim = place.claim(fund=100, account=100)
    given = {
        "reason": "other",
        "note": "x",
        "clause": "二十四",
        "made_at": at(11, 30),
        "made_by": "r",
    }
    with pytest.raises(IntegrityError), transaction.atomic():
        Deduction.objects.create(
            region_code=place.region, institution_code=place.code, scheme="resident",
            claim_id=claim, **(given | wrong),
        )  # fmt: skip


def test_a_line_is_cut_by_what_it_was_paid_by_fund_and_account(db) -> None:
    factories.policies("nantong")
    hospital = Hospital(scheme="employee")
    hospital.patient = factories.person("nantong", "employee", account_balance=100_000)
    for _ in range(3):  # above the deductible
        hospital.settled(line(fee="12.00"), pay_from_account=True)
    claim = hospital.settled(line(fee="12.00"), pay_from_account=True)
    set_scope(EVERYTHING)
    settled = Settlement.objects.get(claim_id=claim["id"])
    assert settled.account > 0
    assert payers.paid_by_line(settled) == {1: payers.paid(settled)}
    paid = sum(payers.paid(settled).values())
    given = {"claim_id": settled.claim_id, "line_no": 1, "reason": "other", "note": "x", "clause": "x",
             "by": "r", "at": settled.settled_at}  # fmt: skip
    with pytest.raises(Refusal, match="DEDUCTION_TOO_LARGE"):
        deduct(amount=paid + 1, **given)
    made = deduct(amount=paid, **given)
    assert parts(made) == (paid, 0, 0, settled.account)
    assert set(payers.left(settled).values()) == {0}
