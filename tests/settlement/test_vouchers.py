"""Vouchers: balanced, once for ever, append-only, never into a closed month."""

import datetime as dt

import pytest
from django.db import DatabaseError, connection, transaction

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import ledger
from settlement.models import Leg, Period, Voucher
from settlement.periods import posting_month
from settlement.vouchers import post_voucher, reverse_voucher
from tests import factories

AT = dt.datetime(2021, 12, 20, 2, tzinfo=dt.UTC)
Account = Leg.Account


@pytest.fixture
def region(db):
    set_scope(EVERYTHING)
    return factories.region()


def deposit(region, effect: str = "statement:1/deposit", amount: int = 500) -> Voucher:
    return post_voucher(
        kind=Voucher.Kind.DEPOSIT, effect=effect, subject="statement:1", region_code=region.pk,
        institution_code="H32060200001", scheme="resident", by="clerk", at=AT,
        legs={Account.INSTITUTION_PAYABLE: amount, Account.DEPOSIT: -amount},
    )  # fmt: skip


def closed(region, month: dt.date, state: str = "closed") -> None:
    Period.objects.create(pool=region.policy_region, month=month, state=state)


def test_a_voucher_is_balanced_numbered_and_recorded(region) -> None:
    first, second = deposit(region), deposit(region, "statement:2/deposit", 700)
    assert [first.number[-5:], second.number[-5:]] == ["00001", "00002"]
    assert (first.period, first.amount) == (dt.date(2021, 12, 1), 500)
    legs = Leg.objects.filter(claim_id=first.pk).order_by("account")
    assert list(legs.values_list("account", "amount")) == [
        (Account.INSTITUTION_PAYABLE, 500), (Account.DEPOSIT, -500),
    ]  # fmt: skip
    assert Event.objects.filter(subject=f"voucher:{first.pk}", actor="clerk").count() == 1
    assert ledger.balance().sound


def test_an_effect_is_posted_once(region) -> None:
    deposit(region)
    with pytest.raises(Refusal) as refusal:
        deposit(region)
    assert (refusal.value.status, refusal.value.code) == (409, "ALREADY_POSTED")
    assert Voucher.objects.count() == 1


def test_legs_that_do_not_balance_are_a_fault_of_the_program(region) -> None:
    with pytest.raises(ValueError, match="do not balance"):
        post_voucher(
            kind=Voucher.Kind.DEPOSIT, effect="x", subject="x", region_code=region.pk, by="clerk",
            at=AT, legs={Account.DEPOSIT: -1},
        )  # fmt: skip


def test_a_voucher_is_reversed_once_and_its_reversal_never(region) -> None:
    voucher = deposit(region)
    back = reverse_voucher(voucher=voucher, reason="记错机构", by="clerk", at=AT)
    assert back.reverses == voucher
    assert sum(Leg.objects.filter(account=Account.DEPOSIT).values_list("amount", flat=True)) == 0
    for again in (voucher, back):
        with pytest.raises(Refusal):
            reverse_voucher(voucher=again, reason="再次", by="clerk", at=AT)


def test_a_closed_month_passes_the_posting_to_the_next(region) -> None:
    closed(region, dt.date(2021, 12, 1))
    closed(region, dt.date(2022, 1, 1), "closing")
    assert posting_month(region.pk, AT) == dt.date(2022, 2, 1)
    assert deposit(region).period == dt.date(2022, 2, 1)


def test_the_database_refuses_a_row_in_a_closed_month(region) -> None:
    voucher = deposit(region)
    closed(region, voucher.period)
    voucher.pk, voucher.number, voucher.effect = voucher.pk + 100, "x-1", "other"
    with pytest.raises(DatabaseError, match="is closed"), transaction.atomic():
        voucher.save(force_insert=True)
    with (
        pytest.raises(DatabaseError, match="is closed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            """INSERT INTO settlement_leg (claim_id, version, account, amount, period, region_code,
                institution_code) VALUES (%s, 1, 1, 5, %s, %s, 'x'), (%s, 1, 6, -5, %s, %s, 'x')""",
            [voucher.pk, dt.date(2021, 12, 1), region.pk] * 2,
        )


@pytest.mark.parametrize("statement", ["UPDATE settlement_voucher SET amount = 1",
                                       "DELETE FROM settlement_voucher",
                                       "TRUNCATE settlement_voucher CASCADE"])  # fmt: skip
def test_vouchers_are_append_only(region, statement: str) -> None:
    deposit(region)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_one_person_does_not_approve_the_own_voucher(region) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        post_voucher(
            kind=Voucher.Kind.ADJUSTMENT, effect="x", subject="x", region_code=region.pk,
            legs={Account.ADJUSTMENT: 1, Account.INSTITUTION_PAYABLE: -1}, by="clerk",
            approved_by="clerk", at=AT,
        )  # fmt: skip
