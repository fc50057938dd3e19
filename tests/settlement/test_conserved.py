"""The nightly sum of the ledger: a drifted person-year is an alarm, and the alarm ends."""

import datetime as dt
from collections.abc import Iterator

import pytest

from audit.models import Event, Task
from institutions.access import EVERYTHING, scoped, set_scope
from pricing.releases import catalogue_at
from settlement import conserved, tasks
from settlement.models import Accumulator
from tests import factories
from tests.audit.sealing import superuser
from tests.settlement.hospital import Hospital

AT = dt.datetime(2021, 6, 30, 2, tzinfo=dt.UTC)


@pytest.fixture
def hospital(committed_db: str) -> Iterator[Hospital]:
    catalogue_at.cache_clear()
    factories.policies("nantong")
    found = Hospital()
    found.settled()
    yield found
    catalogue_at.cache_clear()


def alarms() -> list[str]:
    rows = Task.objects.filter(subject=conserved.SUBJECT, state=Task.State.OPEN)
    return list(rows.values_list("title", flat=True))


CHANGES = {
    "UPDATE settlement_accumulator SET in_scope_used = in_scope_used - 1": "1个人员年度累计与结算不符",
    "DELETE FROM settlement_accumulator": "1个人员年度累计与结算不符",
    "UPDATE settlement_leg SET amount = amount + 1 WHERE account = 1":
        "借贷相差1分；1笔入账借贷不平；1笔结算的基金支付与分录不符",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_an_alarm_until_it_agrees(hospital: Hospital, change: str) -> None:
    assert tasks.watch_balance() == ""
    with scoped(EVERYTHING):
        assert alarms() == []
    with superuser() as cursor:
        cursor.execute("CREATE TABLE kept_years AS TABLE settlement_accumulator")
        cursor.execute(change)
    for _ in range(2):
        assert tasks.watch_balance() == f"账目自查不符：{CHANGES[change]}"
    with scoped(EVERYTHING):
        assert alarms() == [f"账目自查不符：{CHANGES[change]}"]
    with superuser() as cursor:
        cursor.execute("UPDATE settlement_leg SET amount = amount - 1 WHERE account = 1"
                       if "leg" in change else
                       "TRUNCATE settlement_accumulator;"
                       "INSERT INTO settlement_accumulator SELECT * FROM kept_years")  # fmt: skip
    assert tasks.watch_balance() == ""
    set_scope(EVERYTHING)
    assert alarms() == []
    told = Event.objects.filter(subject=conserved.SUBJECT).order_by("at")
    assert list(told.values_list("action", "outcome")) == [
        ("ledger.differs", "failed"), ("ledger.agrees", "ok"),
    ]  # fmt: skip
    assert Accumulator.objects.count() == 1
