"""Months are closed in their order: a debt or a waiting deduction stands on one statement, and is carried once."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import closing
from settlement.models import Deduction, Period, Statement
from settlement.periods import differences
from settlement.statement_steps import answer_deduction, deduct, send_all, take
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at

SEPTEMBER, OCTOBER, DECEMBER = (dt.date(2021, month, 1) for month in (9, 10, 12))


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    return money.Place("wenzhou")


def begin(place: money.Place, month: dt.date, day: dt.datetime) -> Period:
    return closing.begin_closing(pool=place.pool, month=month, by="finance", at=day)


def waiting(place: money.Place, day: dt.datetime, amount: int = 9000) -> Deduction:
    """A deduction of a September claim whose statement is closed already."""
    claim = place.claim(fund=9000, month=SEPTEMBER, number="S-1")
    place.closed(SEPTEMBER, (10, 2))
    return deduct(
        claim_id=claim, amount=amount, reason="duplicate", note="重复", by="reviewer", at=day
    )


def figures() -> list[tuple[int, int, int, int]]:
    return [
        (row.period.month, row.deducted, row.carried, row.payable)
        for row in Statement.objects.order_by("period")
    ]


def test_a_month_waits_for_the_debt_of_the_one_before_until_that_is_final(place) -> None:
    """October lives from a deduction alone; the hospital objects and the deduction falls away."""
    cut = waiting(place, at(10, 5))
    october = begin(place, OCTOBER, at(11, 2))
    send_all(period=october, who=place.user("settlement_clerk"), by="clerk", at=at(11, 3))
    place.claim(fund=20_000)
    assert closing.earliest_open(place.pool, before=NOVEMBER) == OCTOBER
    with pytest.raises(Refusal, match="EARLIER_PERIOD_OPEN"):
        begin(place, NOVEMBER, at(12, 1))
    row, finance = Statement.objects.get(period=OCTOBER), place.user("finance_officer")
    assert row.payable == -9000
    take(statement=row, step="object", who=place.user("hospital"), by="hospital", at=at(12, 1),
         facts={"reason": "未重复", "claims": "S-1", "signed_name": "王院长"})  # fmt: skip
    cut.refresh_from_db()
    answer_deduction(deduction=cut, keep=False, answer="属实", by="chief", at=at(12, 1))
    take(statement=row, step="answer", who=finance, by="finance", at=at(12, 1),
         facts={"answer": "撤销扣款"})  # fmt: skip
    place.confirm_all(october, (12, 2))
    closing.close(pool=place.pool, month=OCTOBER, by="finance", at=at(12, 2))
    place.closed(NOVEMBER, (12, 3))
    assert figures() == [(9, 0, 0, 8550), (10, 0, 0, 0), (11, 0, 0, 19_000)]
    assert place.owed() == 8550 + 19_000


def test_a_month_opened_again_is_closed_before_the_next(place) -> None:
    waiting(place, at(10, 5))
    place.closed(OCTOBER, (11, 2))
    asked = closing.propose_reopening(
        pool=place.pool, month=OCTOBER, reason="复核扣款", by="finance", at=at(11, 3)
    )
    closing.decide_reopening(reopening=asked, agree=True, decision="", by="chief", at=at(11, 3))
    with pytest.raises(Refusal, match="EARLIER_PERIOD_OPEN"):
        begin(place, NOVEMBER, at(12, 1))
    place.closed(OCTOBER, (12, 1))
    place.closed(NOVEMBER, (12, 2))
    assert figures()[1:] == [(10, 9000, 0, -9000), (11, 0, -9000, -9000)]


def test_a_month_passed_over_takes_nothing_from_those_after_it(place, settings) -> None:
    """October was empty and November is closed: what waits stands on December's statement."""
    settings.DEMO_TODAY = dt.date(2021, 12, 20)
    place.claim(fund=1000)
    waiting(place, at(12, 3))
    finance = factories.log_in(Client(), place.user("finance_officer"))
    page = reverse("period", args=[place.pool, "2021-10"])
    button = reverse("period-move", args=[place.pool, "2021-10", "begin"])
    assert button in finance.get(page).content.decode()
    november = begin(place, NOVEMBER, at(12, 4))
    told = finance.get(page).content.decode()
    assert button not in told
    assert "2021年11月已关账或正在关账，本月不再单独关账" in told
    answer = finance.post(button)
    assert (answer.status_code, "LATER_PERIOD_CLOSED" in answer.content.decode()) == (409, False)
    with pytest.raises(Refusal, match="LATER_PERIOD_CLOSED"):
        begin(place, OCTOBER, at(12, 4))
    place.confirm_all(november, (12, 4))
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 4))
    with pytest.raises(Refusal, match="LATER_PERIOD_CLOSED"):
        begin(place, OCTOBER, at(12, 5))
    place.claim(fund=20_000, when=at(12, 15))
    place.closed(DECEMBER, (1, 3, 2022))
    assert figures() == [(9, 0, 0, 8550), (11, 9000, 0, -8000), (12, 0, -8000, 11_000)]
    assert place.owed() == 8550 + 11_000


def test_a_debt_that_is_not_carried_as_it_is_keeps_a_month_from_its_end(place) -> None:
    waiting(place, at(10, 5))
    place.closed(OCTOBER, (11, 2))
    told = ["1家机构的上期结转与其上一张结算单的应付不符"]
    assert differences(Period(pool=place.pool, month=NOVEMBER)) == told  # no statement carries it
    place.claim(fund=20_000)
    november = begin(place, NOVEMBER, at(12, 1))
    assert differences(november) == []
    for carried in (-8000, 0):
        Statement.objects.filter(period=NOVEMBER).update(carried=carried, payable=19_000 + carried)
        assert differences(november) == told
