"""Money that two acts want at once, with real threads and commits: the second waits and sees the first."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from institutions.access import EVERYTHING, scoped
from institutions.commands import set_account
from institutions.models import Region
from institutions.refusals import Refusal
from settlement import advances, closing, payments, refunds
from settlement.models import PaymentOrder, Refund, Statement
from settlement.periods import posting_month
from settlement.statement_steps import send_all
from tests import factories
from tests.settlement import money, test_advances
from tests.settlement.hospital import forget_databases
from tests.settlement.money import NOVEMBER, at
from tests.settlement.test_period_races import apart


@pytest.fixture
def place(committed_db: str):
    forget_databases()
    with scoped(EVERYTHING):
        made = money.Place("wenzhou")
        set_account(
            institution=made.hospital, holder=made.hospital.name, bank="示例银行",
            number="3303001234567890", valid_from=factories.LONG_AGO, by="clerk", at=at(1, 5),
        )  # fmt: skip
    for month in (11, 12):
        with transaction.atomic():
            posting_month(made.region, at(month, 5))
    yield made
    forget_databases()


def at_once(first: Callable[[], object], second: Callable[[], object]) -> str:
    """What becomes of the second act, begun when the first is done but not committed."""
    acted, begun = threading.Event(), threading.Event()

    def hold() -> None:
        first()
        acted.set()
        begun.wait()
        threading.Event().wait(0.5)

    def follow() -> str:
        acted.wait()
        begun.set()
        try:
            second()
        except Refusal as refusal:
            return refusal.code
        return "done"

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(apart(hold)), pool.submit(apart(follow))
        one.result()
        return str(two.result())


def test_a_list_that_is_just_made_keeps_its_month_closed(place) -> None:
    with scoped(EVERYTHING):
        place.claim(fund=10_000)
        place.closed(NOVEMBER, (12, 2))
        asked = closing.propose_reopening(
            pool=place.pool, month=NOVEMBER, reason="漏收一批", by="finance", at=at(12, 4)
        )
        subject, region = Statement.objects.get().subject, Region.objects.get(pk=place.region)
    found = at_once(
        lambda: payments.prepare(subjects=[subject], region=region, by="clerk", at=at(12, 4)),
        lambda: closing.decide_reopening(
            reopening=asked, agree=True, decision="", by="chief", at=at(12, 4)
        ),
    )
    assert found == "PERIOD_PAYING"
    with scoped(EVERYTHING):
        assert (Statement.objects.get().is_final, PaymentOrder.objects.count()) == (True, 1)


def test_a_refund_that_is_just_recorded_is_not_set_off(place) -> None:
    with scoped(EVERYTHING):
        made = test_advances.sent(place, test_advances.approved(place))
        order = test_advances.answered(made, "paid")
        place.claim(fund=8000)
        period = closing.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
        who = place.user("settlement_clerk")
    found = at_once(
        lambda: refunds.record(order=order, amount=4000, received_on=at(12, 1).date(),
                               reason="多付", bank_serial="T1", by="clerk", at=at(12, 1)),
        lambda: send_all(period=period, who=who, by="clerk", at=at(12, 1)),
    )  # fmt: skip
    assert found == "done"
    with scoped(EVERYTHING):
        assert Statement.objects.get().set_off == 1000
        refunds.decide(refund=Refund.objects.get(), accept=True, by="finance", at=at(12, 1))
        place.confirm_all(period, (12, 2))
        assert advances.balances([place.code]) == {}
