"""The account between regions: its books by pair and month, and the money that clears it."""

import datetime as dt

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Region, Scope, User
from institutions.refusals import Refusal
from settlement import ledger, regional_transfers
from settlement.models import Leg, RegionalTransfer, Voucher
from settlement.regional_transfers import HELD, OWED, Line
from settlement.vouchers import post_voucher
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at

DECEMBER = dt.date(2021, 12, 1)
Account = Leg.Account


class Pair:
    """Wenzhou treats persons of Nantong: 60.00 in November, of which 10.00 are reversed, 25.00 later."""

    def __init__(self, *, policies: bool = False) -> None:
        self.place = money.Place("wenzhou", policies=policies)
        self.debtor = factories.region("nantong")
        self.first = self.treated(5000, at(11, 15))
        self.wrong = self.treated(1000, at(11, 16))
        self.back(self.wrong, 1000, at(11, 20))
        self.treated(2500, at(12, 3))

    def treated(self, fund: int, when: dt.datetime) -> int:
        claim = self.place.claim(fund=fund, when=when, insured_pool="nantong")
        self.owe(claim, 1, fund, when)
        return claim

    def back(self, claim: int, fund: int, when: dt.datetime) -> None:
        self.place.reverse(claim, when)
        self.owe(claim, 2, -fund, when)

    def owe(self, claim: int, version: int, fund: int, when: dt.datetime) -> None:
        post_voucher(
            kind=Voucher.Kind.REGIONAL, effect=f"regional:{claim}/{version}", scheme="resident",
            subject=f"claim:{claim}", region_code=self.debtor.pk, by="hospital", at=when,
            legs={Account.POOLED_FUND: fund, Account.REGIONAL_CLEARING: -fund},
            detail={"claim": claim, "version": version, "treating": "wenzhou"},
        )  # fmt: skip

    def person(self, role: str, pool: str) -> User:
        where = self.debtor if pool == "nantong" else Region.objects.get(pk=self.place.region)
        return factories.user(role, where)


@pytest.fixture
def pair(db) -> Pair:
    set_scope(EVERYTHING)
    return Pair()


def record(amount: int, serial: str = "QS1", **more: object) -> RegionalTransfer:
    given: dict = {"payer": "nantong", "receiver": "wenzhou", "paid_on": at(12, 8).date(),
                   "by": "clerk", "at": at(12, 10)}  # fmt: skip
    return regional_transfers.record(amount=amount, bank_serial=serial, **(given | more))


def decide(row: RegionalTransfer, who: User, *, accept: bool = True, reason: str = ""):
    return regional_transfers.decide(
        transfer=row, accept=accept, reason=reason, who=who, at=at(12, 12)
    )


def book(pool: str) -> list[Line]:
    codes = Region.objects.filter(policy_region=pool).values_list("code", flat=True)
    return regional_transfers.book(codes)


def test_each_region_has_its_own_book_by_month(pair: Pair) -> None:
    assert book("wenzhou") == [
        Line("wenzhou", "nantong", HELD, NOVEMBER, 5000, 0, 5000),
        Line("wenzhou", "nantong", HELD, DECEMBER, 2500, 0, 7500),
    ]
    assert book("nantong") == [
        Line("nantong", "wenzhou", OWED, NOVEMBER, 5000, 0, 5000),
        Line("nantong", "wenzhou", OWED, DECEMBER, 2500, 0, 7500),
    ]


def test_who_owes_registers_and_who_is_paid_confirms(pair: Pair) -> None:
    row = record(6000)
    assert (row.region_code, row.receiver_code) == ("320600", "330300")
    assert Task.objects.get(subject=row.subject).region_code == "330300"
    assert book("nantong")[-1].balance == 7500
    for person in (pair.person("finance_officer", "nantong"), pair.person("auditor", "nantong")):
        with pytest.raises(Refusal, match="RECEIVER_CONFIRMS"):
            decide(row, person)
    officer = pair.person("finance_officer", "wenzhou")
    assert decide(row, officer).state == "posted"
    assert book("nantong")[-1] == Line("nantong", "wenzhou", OWED, DECEMBER, 2500, 6000, 1500)
    assert book("wenzhou")[-1] == Line("wenzhou", "nantong", HELD, DECEMBER, 2500, 6000, 1500)
    vouchers = Voucher.objects.filter(subject=row.subject).order_by("region_code")
    assert [
        (voucher.kind, voucher.region_code, voucher.posted_by, voucher.approved_by,
         dict(Leg.objects.filter(claim_id=voucher.pk).values_list("account", "amount")))
        for voucher in vouchers
    ] == [
        ("regional_paid", "320600", "clerk", officer.username, {15: 6000, 10: -6000}),
        ("regional_paid", "330300", "clerk", officer.username, {10: 6000, 15: -6000}),
    ]  # fmt: skip
    assert ledger.balance().accounts[Account.REGIONAL_CLEARING] == 0
    with pytest.raises(Refusal, match="ALREADY_DECIDED"):
        decide(row, officer)
    assert Event.objects.filter(subject=row.subject).count() == 2


def test_no_more_is_cleared_than_is_owed_and_a_refusal_frees_it(pair: Pair) -> None:
    row = record(6000)
    with pytest.raises(Refusal, match="MORE_THAN_OWED"):
        record(1501, "QS2")
    with pytest.raises(Refusal, match="SERIAL_USED"):
        record(1500)
    for wrong in ({"serial": " "}, {"serial": "QS3", "paid_on": at(12, 11).date()}):
        with pytest.raises(Refusal, match="TRANSFER_INCOMPLETE"):
            record(1500, **wrong)
    officer = pair.person("finance_officer", "wenzhou")
    with pytest.raises(Refusal, match="REASON_MISSING"):
        decide(row, officer, accept=False)
    assert decide(row, officer, accept=False, reason="未到账").state == "refused"
    assert not Voucher.objects.filter(kind="regional_paid").exists()
    assert decide(record(7500), officer).amount == 7500
    assert book("wenzhou")[-1].balance == 0
    for change in ("amount = 1", "state = 'recorded'"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE settlement_regionaltransfer SET {change}")


def test_both_regions_see_a_transfer_and_no_other(pair: Pair) -> None:
    record(6000)
    for prefix, count in (("3206", 1), ("3303", 1), ("3501", 0)):
        with scoped(Scope(regions=(prefix,))):
            assert RegionalTransfer.objects.count() == count


def test_the_page_shows_the_book_and_takes_the_transfer(pair: Pair) -> None:
    def client(role: str, pool: str) -> Client:
        found = Client()
        found.force_login(pair.person(role, pool))
        return found

    address = reverse("regional")
    clerk, officer = client("settlement_clerk", "nantong"), client("finance_officer", "wenzhou")
    page = clerk.get(address).content.decode()
    assert "应付 75.00 元" in page
    given = {
        "receiver": "wenzhou",
        "amount": "60.00",
        "paid_on": "2021-12-08",
        "bank_serial": "QS1",
    }
    assert clerk.post(address, given | {"amount": "75.01"}).status_code == 422
    assert officer.post(address, given).status_code == 403
    assert clerk.post(address, given).status_code == 302
    row = RegionalTransfer.objects.get()
    decide_at = reverse("regional-decide", args=[row.pk])
    assert clerk.post(decide_at, {"decision_is": "post"}).status_code == 403
    stranger = client("finance_officer", "nantong")
    stranger.post(decide_at, {"decision_is": "post"})
    assert RegionalTransfer.objects.get().state == "recorded"
    assert "已到账，入账" in officer.get(address).content.decode()
    assert officer.post(decide_at, {"decision_is": "post"}).status_code == 302
    assert RegionalTransfer.objects.get().state == "posted"
    lines = b"".join(officer.get(reverse("regional-csv")).streaming_content).decode("utf-8-sig")
    rows = [line.split(",")[2:] for line in lines.splitlines()[1:]]
    assert rows[0] == ["应收", "2021-11", "50.00", "0.00", "50.00"]
    assert rows[1] == ["应收", "2021-12", "25.00", "0.00", "75.00"]
    assert rows[2][2:] == ["0.00", "60.00", "15.00"]


# --- Reversal ---


def posted(pair: Pair, amount: int = 6000) -> RegionalTransfer:
    return decide(record(amount), pair.person("finance_officer", "wenzhou"))


def ask(row: RegionalTransfer, who: User, reason: str = "金额有误") -> RegionalTransfer:
    return regional_transfers.ask_reversal(
        transfer=row, reason=reason, who=who, at=at(12, 20)
    )  # fmt: skip


def undo(row: RegionalTransfer, who: User, *, accept: bool = True) -> RegionalTransfer:
    return regional_transfers.decide_reversal(
        transfer=row, accept=accept, who=who, at=at(12, 21)
    )  # fmt: skip


@pytest.mark.parametrize("asking", ["nantong", "wenzhou"])
def test_a_posted_transfer_is_reversed_by_both_regions_once(pair: Pair, asking: str) -> None:
    deciding = {"nantong": "wenzhou", "wenzhou": "nantong"}[asking]
    row, before = posted(pair), (book("nantong"), book("wenzhou"))
    clerk, officer = (
        pair.person("settlement_clerk", asking),
        pair.person("finance_officer", deciding),
    )
    assert ask(row, clerk).state == "reversing"
    assert (book("nantong"), book("wenzhou")) == before
    areas = {"nantong": "320600", "wenzhou": "330300"}
    assert Task.objects.get(subject=row.subject, state="open").region_code == areas[deciding]
    for wrong in (clerk, pair.person("finance_officer", asking)):
        with pytest.raises(Refusal, match="OTHER_SIDE_DECIDES"):
            undo(row, wrong)
    assert undo(row, officer).state == "reversed"
    assert book("nantong")[-1] == Line("nantong", "wenzhou", OWED, DECEMBER, 2500, 0, 7500)
    assert book("wenzhou")[-1] == Line("wenzhou", "nantong", HELD, DECEMBER, 2500, 0, 7500)
    red = Voucher.objects.filter(subject=row.subject, reverses__isnull=False)
    assert {(v.region_code, v.amount, v.reason, v.posted_by, v.approved_by) for v in red} == {
        (area, 6000, "金额有误", clerk.username, officer.username) for area in areas.values()
    }  # fmt: skip
    assert ledger.balance().accounts[Account.REGIONAL_CLEARING] == 0
    for again in (lambda: ask(row, clerk), lambda: undo(row, officer)):
        with pytest.raises(Refusal, match=r"NOT_POSTED|REVERSAL_NOT_ASKED"):
            again()
    assert posted(pair, 7500).bank_serial == "QS1"  # registered rightly, under the same serial
    assert book("wenzhou")[-1].balance == 0


def test_who_may_ask_and_what_is_kept(pair: Pair) -> None:
    waiting = record(1000)
    clerk = pair.person("settlement_clerk", "nantong")
    with pytest.raises(Refusal, match="NOT_POSTED"):
        ask(waiting, clerk)
    row = posted_row = decide(waiting, pair.person("finance_officer", "wenzhou"))
    stranger = factories.user("settlement_clerk", factories.region("jilin"))
    with pytest.raises(Refusal, match="PARTY_ASKS"):
        ask(row, stranger)
    with pytest.raises(Refusal, match="REASON_MISSING"):
        ask(row, clerk, " ")
    kept = undo(ask(row, clerk), pair.person("finance_officer", "wenzhou"), accept=False)
    assert (kept.state, kept.undo_asked_by, kept.undo_reason) == ("posted", "", "")
    assert Event.objects.filter(subject=row.subject, action="regionaltransfer.keep").exists()
    assert book("nantong")[-1].cleared == posted_row.amount
    for change in ("state = 'reversed'", "state = 'reversing'", "decided_by = 'x'"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE settlement_regionaltransfer SET {change}")


def test_the_page_takes_a_reversal(pair: Pair) -> None:
    row = posted(pair)
    clerk, officer = Client(), Client()
    clerk.force_login(pair.person("settlement_clerk", "wenzhou"))
    officer.force_login(pair.person("finance_officer", "nantong"))
    assert f"?undo={row.pk}" in clerk.get(reverse("regional")).content.decode()
    page = clerk.get(reverse("regional"), {"undo": row.pk}).content.decode()
    ask_at = reverse("regional-reversal", args=[row.pk])
    decide_at = reverse("regional-reversal-decide", args=[row.pk])
    assert ask_at in page
    assert officer.post(ask_at, {"reason": "重复登记"}).status_code == 403
    assert clerk.post(ask_at, {"reason": "重复登记"}).status_code == 302
    assert clerk.post(decide_at, {"decision_is": "agree"}).status_code == 403
    assert "复核冲销异地清算划款" in officer.get(reverse("regional")).content.decode()
    assert officer.post(decide_at, {"decision_is": "agree"}).status_code == 302
    row.refresh_from_db()
    assert (row.state, row.undo_reason) == ("reversed", "重复登记")
    assert "已冲销" in officer.get(reverse("regional")).content.decode()
