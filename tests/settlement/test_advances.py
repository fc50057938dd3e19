"""Advances: decided by two, paid by a list when the bank says so, set off once paid, back when returned."""

import datetime as dt

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions import documents
from institutions.access import EVERYTHING, set_scope
from institutions.commands import set_account
from institutions.models import PaymentFreeze, Region
from institutions.refusals import Refusal
from settlement import advances, bank_files, closing, ledger, payments, refunds
from settlement.models import Advance, Leg, PaymentList, PaymentOrder, Statement, Voucher
from settlement.payment_sources import owed
from settlement.statement_steps import send_all
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at

PAPER = b"%PDF-1.4 advance"
DECEMBER = dt.date(2021, 12, 1)


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    made = money.Place("wenzhou")
    set_account(
        institution=made.hospital, holder=made.hospital.name, bank="示例银行",
        number="3303001234567890", valid_from=factories.LONG_AGO, by="clerk", at=at(1, 5),
    )  # fmt: skip
    return made


def propose(place: money.Place, amount: int = 5000) -> Advance:
    return advances.propose(
        institution=place.hospital, scheme="resident", amount=amount, reason="周转",
        file=("预付协议.pdf", PAPER), by="clerk", at=at(11, 1),
    )  # fmt: skip


def approved(place: money.Place, amount: int = 5000) -> Advance:
    return advances.decide(
        advance=propose(place, amount), agree=True, decision="", by="finance", at=at(11, 2)
    )


def listed(place: money.Place, row: Advance) -> PaymentList:
    return payments.prepare(
        subjects=[row.subject], region=Region.objects.get(pk=place.region), by="clerk", at=at(11, 2)
    )


def sent(place: money.Place, row: Advance) -> PaymentList:
    made = payments.approve(made=listed(place, row), by="finance", at=at(11, 2))
    payments.export(made=made, form="csv", by="clerk", at=at(11, 2))
    return made


def answered(made: PaymentList, state: str, day: tuple[int, ...] = (11, 3)) -> PaymentOrder:
    (order,) = made.orders.all()
    moment = at(*day)
    answer = bank_files.Answer(
        number=order.number, state=state, amount=order.amount, on=moment.date(),
        serial=f"S{order.pk}", reason="" if state == "paid" else "账号有误",
    )  # fmt: skip
    payments.take_results(made=made, answers=[answer], by="finance", at=moment)
    order.refresh_from_db()
    return order


def legs_of(row: Advance) -> list[tuple[str, dict[int, int]]]:
    return [
        (voucher.kind, dict(Leg.objects.filter(claim_id=voucher.pk).values_list("account", "amount")))
        for voucher in Voucher.objects.filter(subject=row.subject).order_by("pk")
    ]  # fmt: skip


def waits(place: money.Place) -> list[tuple[str, int, str]]:
    return [(item.subject, item.amount, item.hold)
            for item in owed(region_code=place.region, on=at(11, 2).date())]  # fmt: skip


def test_an_advance_is_decided_by_two_and_paid_when_the_bank_says_so(place) -> None:
    row = propose(place)
    assert row.file is not None
    assert documents.content_of(row.file) == PAPER
    assert waits(place) == []
    with pytest.raises(Refusal, match="SAME_PERSON"):
        advances.decide(advance=row, agree=True, decision="", by="clerk", at=at(11, 2))
    assert Task.objects.filter(subject=row.subject, state="open").count() == 1
    row = advances.decide(advance=row, agree=True, decision="", by="finance", at=at(11, 2))
    with pytest.raises(Refusal, match="ALREADY_DECIDED"):
        advances.decide(advance=row, agree=True, decision="", by="finance", at=at(11, 2))
    assert waits(place) == [(row.subject, 5000, "")]
    made = sent(place, row)
    assert (legs_of(row), advances.balances([place.code])) == ([], {})
    assert waits(place) == [(row.subject, 5000, f"已在清单 {made.number}")]
    order = answered(made, "paid")
    assert (order.number_tail, order.purpose) == ("7890", "居民医保预付款 周转")
    assert legs_of(row) == [("advance", {9: 5000, 10: -5000})]
    voucher = Voucher.objects.get(effect=f"order:{order.pk}/payment")
    assert (voucher.posted_by, voucher.approved_by, voucher.detail["serial"]) == (
        "finance", "clerk", f"S{order.pk}",
    )  # fmt: skip
    assert advances.balances([place.code]) == {(place.code, "resident"): 5000}
    assert waits(place) == []
    assert ledger.balance().sound


def test_a_paid_advance_is_set_off_month_by_month(place) -> None:
    answered(sent(place, approved(place)), "paid")
    key = (place.code, "resident")
    for month, day, left in ((NOVEMBER, (12, 2), 1200), (DECEMBER, (1, 5, 2022), 0)):
        place.claim(fund=8000, month=month)  # 95 % of it is payable, half of that is set off
        place.closed(month, day)
        assert advances.balances([place.code]).get(key, 0) == left
    first, second = Statement.objects.order_by("period").values_list("set_off", "payable")
    assert (first, second) == ((3800, 3800), (1200, 6400))
    assert ledger.balance().sound


@pytest.mark.parametrize(("answer", "posted"), [
    (None, []),
    ("rejected", []),
    ("returned", [("advance", {9: 5000, 10: -5000}), ("bank_return", {9: -5000, 10: 5000})]),
])  # fmt: skip
def test_what_the_bank_did_not_pay_is_not_set_off(place, answer, posted) -> None:
    row = approved(place)
    made = sent(place, row)
    if answer:
        answered(made, answer)
        assert waits(place) == [(row.subject, 5000, "")]
        assert Task.objects.filter(subject=f"order:{made.orders.get().pk}", state="open").exists()
    assert legs_of(row) == posted
    place.claim(fund=8000)
    place.closed(NOVEMBER, (12, 2))
    assert list(Statement.objects.values_list("set_off", "payable")) == [(0, 7600)]


def test_money_that_comes_back_after_a_set_off_is_owed_and_paid_again(place) -> None:
    row = approved(place)
    made = sent(place, row)
    answered(made, "paid")
    place.claim(fund=8000)
    place.closed(NOVEMBER, (12, 2))
    key = (place.code, "resident")
    assert advances.balances([place.code])[key] == 5000 - 3800
    answered(made, "returned", (12, 3))
    assert advances.balances([place.code])[key] == -3800
    assert waits(place) == [(Statement.objects.get().subject, 3800, ""), (row.subject, 5000, "")]
    answered(sent(place, row), "paid", (12, 5))
    assert advances.balances([place.code])[key] == 1200
    assert ledger.balance().sound


def test_a_refund_of_an_advance_lowers_its_balance(place) -> None:
    row = approved(place)
    order = answered(sent(place, row), "paid")
    back = refunds.record(order=order, amount=2000, received_on=at(11, 10).date(), reason="多付",
                          by="clerk", at=at(11, 10), bank_serial="T1")  # fmt: skip
    refunds.decide(refund=back, accept=True, by="finance", at=at(11, 11))
    assert legs_of(row)[-1] == ("refund", {9: -2000, 10: 2000})
    assert advances.balances([place.code]) == {(place.code, "resident"): 3000}


def test_what_was_set_off_does_not_come_back_as_a_refund(place) -> None:
    order = answered(sent(place, approved(place)), "paid")
    place.claim(fund=8000)
    place.closed(NOVEMBER, (12, 2))  # 38.00 are set off
    given = {"order": order, "received_on": at(12, 5).date(), "reason": "多付", "by": "clerk",
             "at": at(12, 5)}  # fmt: skip
    with pytest.raises(Refusal, match="SET_OFF"):
        refunds.record(amount=1201, bank_serial="T1", **given)
    assert refunds.record(amount=1200, bank_serial="T1", **given).amount == 1200


def test_what_a_sent_statement_sets_off_does_not_come_back_as_a_refund(place) -> None:
    order = answered(sent(place, approved(place)), "paid")
    place.claim(fund=8000)
    period = closing.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    given = {"order": order, "received_on": at(12, 1).date(), "reason": "多付", "by": "clerk",
             "at": at(12, 1)}  # fmt: skip
    with pytest.raises(Refusal, match="SET_OFF") as refusal:
        refunds.record(amount=1201, bank_serial="T1", **given)
    assert "至多可退12.00元" in refusal.value.detail[0]
    back = refunds.record(amount=1200, bank_serial="T1", **given)
    with pytest.raises(Refusal, match="SET_OFF") as refusal:
        refunds.record(amount=1, bank_serial="T2", **given)
    assert "至多可退0.00元" in refusal.value.detail[0]
    refunds.decide(refund=back, accept=True, by="finance", at=at(12, 1))
    place.confirm_all(period, (12, 2))
    assert Statement.objects.get().set_off == 3800
    assert advances.balances([place.code]) == {}
    assert ledger.balance().sound


def test_a_refund_that_waits_is_not_set_off(place) -> None:
    order = answered(sent(place, approved(place)), "paid")
    place.claim(fund=8000)
    given = {"order": order, "received_on": at(12, 1).date(), "reason": "多付", "by": "clerk",
             "at": at(12, 1)}  # fmt: skip
    back = refunds.record(amount=4000, bank_serial="T1", **given)
    place.closed(NOVEMBER, (12, 2))
    assert Statement.objects.get().set_off == 1000
    refunds.decide(refund=back, accept=False, by="finance", at=at(12, 3))
    assert advances.balances([place.code]) == {(place.code, "resident"): 4000}


def test_a_refund_is_not_posted_after_the_bank_returned_the_payment(place) -> None:
    made = sent(place, approved(place))
    order = answered(made, "paid")
    back = refunds.record(order=order, amount=4000, received_on=at(11, 4).date(), reason="多付",
                          by="clerk", at=at(11, 4), bank_serial="T1")  # fmt: skip
    answered(made, "returned", (11, 5))
    with pytest.raises(Refusal, match="NOT_PAID"):
        refunds.decide(refund=back, accept=True, by="finance", at=at(11, 5))
    refunds.decide(refund=back, accept=False, by="finance", at=at(11, 5))


def test_an_advance_stands_on_no_list_while_payments_are_frozen(place) -> None:
    row = approved(place)
    PaymentFreeze.objects.create(institution=place.hospital, valid_from=dt.date(2021, 11, 1),
                                 reason="变更账户", recorded_at=at(11, 1), recorded_by="x")  # fmt: skip
    ((_, _, hold),) = waits(place)
    assert hold == "暂停拨付：变更账户（自2021-11-01起）"
    with pytest.raises(Refusal, match="NOT_PAYABLE"):
        listed(place, row)


def test_a_refused_advance_is_owed_to_nobody(place) -> None:
    row = advances.decide(
        advance=propose(place), agree=False, decision="无此必要", by="finance", at=at(11, 2)
    )
    assert row.state == "refused"
    assert waits(place) == []
    with pytest.raises(Refusal, match="NOT_PAYABLE"):
        listed(place, row)
    for change in ("amount = 1", "file_id = NULL", "state = 'approved'"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE settlement_advance SET {change}")


def test_an_advance_needs_its_file(place) -> None:
    with pytest.raises(Refusal, match="FILE_TYPE"):
        advances.propose(institution=place.hospital, scheme="resident", amount=5000, reason="周转",
                         file=("a.txt", b"text"), by="clerk", at=at(11, 1))  # fmt: skip


# --- Withdrawal ---


def ask(row: Advance, by: str = "clerk", reason: str = "无须预付") -> Advance:
    return advances.ask_withdrawal(advance=row, reason=reason, by=by, at=at(11, 3))


def withdraw(row: Advance, by: str = "finance", *, agree: bool = True) -> Advance:
    return advances.decide_withdrawal(advance=row, agree=agree, by=by, at=at(11, 4))


def test_an_advance_on_no_list_is_withdrawn_by_two(place) -> None:
    row = approved(place)
    with pytest.raises(Refusal, match="REASON_MISSING"):
        ask(row, reason=" ")
    assert ask(row).state == "withdrawing"
    assert waits(place) == []  # owed to nobody while it is decided
    with pytest.raises(Refusal, match="NOT_PAYABLE"):
        listed(place, row)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        withdraw(row, "clerk")
    kept = withdraw(row, agree=False)
    assert (kept.state, kept.undo_asked_by, waits(place)) == (
        "approved", "", [(row.subject, 5000, "")],
    )  # fmt: skip
    ask(row)
    done = withdraw(row)
    assert (done.state, done.undo_asked_by, done.undone_by) == ("withdrawn", "clerk", "finance")
    assert waits(place) == []
    assert not Task.objects.filter(subject=row.subject, state="open").exists()
    actions = Event.objects.filter(subject=row.subject).values_list("action", flat=True)
    assert sorted(actions)[1:] == [
        "advance.ask_withdrawal", "advance.ask_withdrawal", "advance.keep", "advance.propose",
        "advance.withdraw",
    ]  # fmt: skip
    assert legs_of(row) == []


def test_what_stands_on_a_list_or_was_paid_is_not_withdrawn(place) -> None:
    row = approved(place)
    made = sent(place, row)
    with pytest.raises(Refusal, match="ON_A_LIST") as error:
        ask(row)
    assert made.number in str(error.value.detail)
    answered(made, "rejected")
    ask(row)  # the bank paid nothing: it is on no list any more
    withdraw(row, agree=False)
    answered(sent(place, row), "paid", (11, 5))
    with pytest.raises(Refusal, match=r"ON_A_LIST|ADVANCE_PAID"):
        ask(row)


#: state → acts that it allows; every other act is refused and changes nothing
ALLOWED = {
    "proposed": {"approve", "refuse"}, "approved": {"ask"}, "refused": set(),
    "withdrawing": {"withdraw", "keep"}, "withdrawn": set(),
}  # fmt: skip
ACTS = {
    "approve": lambda row: advances.decide(
        advance=row, agree=True, decision="", by="finance", at=at(11, 4)),
    "refuse": lambda row: advances.decide(
        advance=row, agree=False, decision="不同意", by="finance", at=at(11, 4)),
    "ask": ask, "withdraw": withdraw, "keep": lambda row: withdraw(row, agree=False),
}  # fmt: skip
WAYS = {
    "proposed": (), "approved": ("approve",), "refused": ("refuse",),
    "withdrawing": ("approve", "ask"), "withdrawn": ("approve", "ask", "withdraw"),
}  # fmt: skip


@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize("act", ACTS)
def test_every_state_allows_its_acts_and_no_other(place, state: str, act: str) -> None:
    assert set(ALLOWED) == set(Advance.State.values)
    row = propose(place)
    for step in WAYS[state]:
        ACTS[step](row)
    if act in ALLOWED[state]:
        ACTS[act](row)
        return
    with pytest.raises(Refusal):
        ACTS[act](row)
    row.refresh_from_db()
    assert row.state == state


def test_the_database_keeps_a_withdrawal(place) -> None:
    row = approved(place)
    for change in (
        "state = 'withdrawn'", "state = 'withdrawing'", "undo_asked_by = 'x'", "decided_by = 'x'",
        "state = 'withdrawing', undo_asked_by = 'x', undone_by = 'x'",
    ):  # fmt: skip
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE settlement_advance SET {change}")
    ask(row)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE settlement_advance SET state = 'withdrawn', undone_by = 'clerk'")


def test_the_page_takes_a_withdrawal(place) -> None:
    row, region = approved(place), Region.objects.get(pk=place.region)
    clerk, officer = Client(), Client()
    clerk.force_login(factories.user("settlement_clerk", region))
    officer.force_login(factories.user("finance_officer", region))
    address, decide_at = (
        reverse(f"advance-withdrawal{name}", args=[row.pk]) for name in ("", "-decide")
    )
    assert f"?undo={row.pk}" in clerk.get(reverse("advances")).content.decode()
    assert address in clerk.get(reverse("advances"), {"undo": row.pk}).content.decode()
    assert officer.post(address, {"reason": "无须预付"}).status_code == 403
    clerk.post(address, {"reason": "无须预付"})
    assert clerk.post(decide_at, {"decision_is": "agree"}).status_code == 403
    assert "复核撤回预付款" in officer.get(reverse("advances")).content.decode()
    officer.post(decide_at, {"decision_is": "agree"})
    row.refresh_from_db()
    assert row.state == "withdrawn"
    assert "已撤回" in clerk.get(reverse("advances")).content.decode()
