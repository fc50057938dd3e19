"""A bank's serial names one payment: of two orders in one file, of another list, of lists at once."""

import datetime as dt

import pytest

from institutions.access import EVERYTHING, scoped
from settlement import bank_files, payments
from settlement.models import Voucher
from settlement.periods import posting_month
from tests import factories
from tests.settlement.agency import AT, Agency, calendar
from tests.settlement.test_payments import answers, in_threads, refusal_of, take


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


@pytest.mark.parametrize("second", ["paid", "returned"])
def test_a_serial_of_two_orders_in_one_file_is_named_with_its_row(
    agency: Agency, second: str
) -> None:
    made = agency.sent(agency.statement().subject, agency.approved().subject)
    one, two = answers(made, serial="N1")
    rows = [
        bank_files.Answer(**(vars(one) | {"row": 2})),
        bank_files.Answer(**(vars(two) | {"row": 3, "state": second, "reason": "账号有误"})),
    ]
    told = {"made": made, "answers": rows, "by": agency.finance.username, "at": AT}
    refusal = refusal_of(payments.take_results, **told)
    assert [fault.pointer for fault in refusal.faults] == ["/rows/3"]
    assert f"第 3 行 {two.number}：银行流水号 N1 与第 2 行重复" in refusal.detail[0]
    assert not Voucher.objects.exists()
    assert set(made.orders.values_list("state", flat=True)) == {"sent"}


def test_a_returned_order_does_not_take_the_serial_of_another(agency: Agency) -> None:
    take(agency, agency.sent(agency.statement().subject), serial="N1")
    other = agency.sent(agency.approved().subject)
    told = {"made": other, "by": agency.finance.username, "at": AT}
    refusal = refusal_of(
        payments.take_results, answers=answers(other, "returned", serial="N1"), **told
    )
    assert "银行流水号 N1 已用于另一笔支付" in refusal.detail[0]


def test_races_one_serial_pays_one_order(committed_db: str) -> None:
    factories.policies("nantong")
    calendar(2021)
    agency = Agency()
    months = [dt.date(2021, number, 1) for number in (9, 10, 11)]
    lists = [agency.sent(agency.statement(period=month).subject) for month in months]
    files = [answers(made, serial="N1") for made in lists]
    with scoped(EVERYTHING):
        posting_month(agency.region.pk, AT)  # its partition stands: nobody waits for it
    results = in_threads([
        lambda made=made, file=file: payments.take_results(
            made=made, answers=file, by="officer", at=AT)
        for made, file in zip(lists, files, strict=True)
    ])  # fmt: skip
    assert results == ["(1, 0)", "RESULTS_INVALID", "RESULTS_INVALID"]
    assert Voucher.objects.count() == 1
