"""Payments: lists by two persons, the bank's file and answer, once for ever; returns, repeats, refunds."""

import datetime as dt
import hashlib
import threading

import pytest
from django.db import DatabaseError, connections, transaction

from audit.models import Event, Move, Task
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.commands import freeze
from institutions.refusals import Refusal
from settlement import bank_files, ledger, payments, refunds, reimbursements, sealed
from settlement.models import (
    Leg,
    PaymentList,
    PaymentOrder,
    PersonalAccount,
    Reimbursement,
    Voucher,
)
from settlement.payment_sources import owed, owed_for_claim, refunded_of
from tests import factories
from tests.settlement.agency import AT, CARD, TODAY, Agency, calendar

Account = Leg.Account


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


def refusal_of(call, **more: object) -> Refusal:
    with pytest.raises(Refusal) as refusal, transaction.atomic():
        call(**more)
    return refusal.value


def answers(made: PaymentList, state: str = "paid", **more: object) -> list[bank_files.Answer]:
    """The same answer of the bank for every order."""
    reason = "" if state == "paid" else "账号有误"
    return [
        bank_files.Answer(number=order.number, state=state, amount=order.amount, on=TODAY,
                          **({"serial": f"S{order.pk}", "reason": reason} | more))
        for order in made.orders.all()
    ]  # fmt: skip


def take(agency: Agency, made: PaymentList, state: str = "paid", **more: object) -> tuple[int, int]:
    return payments.take_results(
        made=made, answers=answers(made, state, **more), by=agency.finance.username, at=AT
    )


def legs_of(voucher: Voucher) -> dict[int, int]:
    return dict(Leg.objects.filter(claim_id=voucher.pk).values_list("account", "amount"))


def exported(agency: Agency, made: PaymentList, form: str = "csv") -> bank_files.BankFile:
    return payments.export(made=made, form=form, by=agency.clerk.username, at=AT)


# --- What is owed, and the list ---


def test_final_statements_and_approved_requests_are_owed(agency: Agency) -> None:
    statement, case = agency.statement(), agency.approved()
    agency.statement(0, period=dt.date(2021, 10, 1))
    agency.statement(700, scheme="employee", state="open", finalised_at=None)
    found = owed(region_code="320600", on=TODAY)
    assert [(item.subject, item.amount, item.hold) for item in found] == [
        (statement.subject, 500_000, ""), (case.subject, 600, ""),
    ]  # fmt: skip


def test_a_freeze_keeps_a_statement_off_with_its_reason(agency: Agency) -> None:
    statement = agency.statement()
    freeze(institution=agency.hospital, on=TODAY, reason="账户核查", by="clerk", at=AT)
    (item,) = owed(region_code="320600", on=TODAY)
    assert item.hold == "暂停拨付：账户核查（自2021-12-20起）"
    with pytest.raises(Refusal, match="NOT_PAYABLE"), transaction.atomic():
        agency.listed(statement.subject)
    assert not PaymentList.objects.exists()


def test_a_list_is_made_by_one_and_approved_by_another(agency: Agency) -> None:
    statement, case = agency.statement(), agency.approved()
    made = agency.listed(statement.subject, case.subject)
    assert (made.count, made.total, made.state) == (2, 500_600, "prepared")
    case.refresh_from_db()
    assert case.state == "paying"
    told = {"made": made, "by": agency.clerk.username, "at": AT}
    assert refusal_of(payments.approve, **told).code == "SAME_PERSON"
    with pytest.raises(DatabaseError), transaction.atomic():
        PaymentList.objects.filter(pk=made.pk).update(
            state="approved", approved_by=agency.clerk.username, approved_at=AT
        )
    done = payments.approve(made=made, by=agency.finance.username, at=AT)
    assert (done.state, done.approved_by) == ("approved", agency.finance.username)
    assert refusal_of(payments.approve, **(told | {"by": "other"})).code == "LIST_MOVED"
    assert not Voucher.objects.exists()  # nothing is paid before the bank says so


def test_a_source_stands_on_one_live_list(agency: Agency) -> None:
    statement = agency.statement()
    made = agency.listed(statement.subject)
    with pytest.raises(Refusal, match="NOT_PAYABLE"), transaction.atomic():
        agency.listed(statement.subject)
    order = made.orders.get()
    order.pk, order.number, order.attempt = None, "other", 2
    order._state.adding = True
    with pytest.raises(DatabaseError), transaction.atomic():
        order.save()


def test_a_list_given_back_opens_its_sources(agency: Agency) -> None:
    statement, case = agency.statement(), agency.approved()
    made = agency.listed(statement.subject, case.subject)
    told = {"made": made, "by": agency.finance.username, "at": AT}
    assert refusal_of(payments.refuse, reason=" ", **told).code == "REASON_MISSING"
    payments.refuse(reason="金额待核", **told)
    case.refresh_from_db()
    assert case.state == "approved"
    again = agency.listed(statement.subject, case.subject)
    assert [order.attempt for order in again.orders.all()] == [2, 2]


def test_one_order_is_taken_off_before_approval(agency: Agency) -> None:
    statement, case = agency.statement(), agency.approved()
    made = agency.listed(statement.subject, case.subject)
    first, last = made.orders.all()
    payments.drop(order=first, reason="账户核对中", by=agency.clerk.username, at=AT)
    made.refresh_from_db()
    assert (made.count, made.total) == (1, 600)
    told = {"order": last, "reason": "x", "by": agency.clerk.username, "at": AT}
    assert refusal_of(payments.drop, **told).code == "NOT_LISTED"


def test_a_freeze_after_approval_stops_the_export(agency: Agency) -> None:
    statement = agency.statement()
    made = payments.approve(
        made=agency.listed(statement.subject), by=agency.finance.username, at=AT
    )
    freeze(institution=agency.hospital, on=TODAY, reason="账户核查", by="clerk", at=AT)
    told = {"made": made, "form": "csv", "by": agency.clerk.username, "at": AT}
    assert refusal_of(payments.export, **told).code == "FROZEN"


def test_what_was_approved_is_never_changed(agency: Agency) -> None:
    made = agency.sent(agency.statement().subject)
    orders = PaymentOrder.objects.filter(list=made)
    for change in ({"amount": 1}, {"subject": "statement:9"}, {"number_cipher": b"x"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            orders.update(**change)
    for change in ({"total": 1}, {"approved_by": "x"}, {"prepared_by": "y"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            PaymentList.objects.filter(pk=made.pk).update(**change)
    for rows in (orders, PaymentList.objects.filter(pk=made.pk)):
        with pytest.raises(DatabaseError), transaction.atomic():
            rows._raw_delete(rows.db)


# --- The bank's file ---


def test_the_file_holds_text_accounts_and_a_control_sum(agency: Agency) -> None:
    statement, case = agency.statement(), agency.approved()
    made = agency.sent(statement.subject, case.subject)
    for form in ("csv", "xlsx"):
        file = exported(agency, made, form)
        rows = [cells for _, cells in bank_files.sheets.rows_of(file.name, file.content)]
        assert tuple(rows[0]) == bank_files.HEAD
        assert [row[4] for row in rows[1:3]] == ["3206001234567890", CARD]
        assert (rows[3][1], rows[3][6]) == ("2 笔", "5006.00")
        made.refresh_from_db()
        assert made.file_sm3[form] == hashlib.new("sm3", file.content).hexdigest()


def test_a_second_export_is_the_same_bytes_and_says_so(agency: Agency) -> None:
    made = payments.approve(
        made=agency.listed(agency.statement().subject), by=agency.finance.username, at=AT
    )
    later = AT + dt.timedelta(days=3)
    first = exported(agency, made)
    again = payments.export(made=made, form="csv", by=agency.finance.username, at=later)
    books = [
        payments.export(made=made, form="xlsx", by="x", at=AT + dt.timedelta(days=n)).content
        for n in range(2)
    ]
    assert (first.repeated, again.repeated) == (False, True)
    assert (first.content, books[0]) == (again.content, books[1])
    event = Event.objects.filter(action="payment.export").order_by("at").last()
    assert CARD.encode() not in bytes(event.body)


def test_the_file_of_a_list_that_waits_is_refused(agency: Agency) -> None:
    made = agency.listed(agency.statement().subject)
    told = {"made": made, "form": "csv", "by": "x", "at": AT}
    assert refusal_of(payments.export, **told).code == "LIST_MOVED"


def test_accounts_are_encrypted_at_rest(agency: Agency) -> None:
    made = agency.listed(agency.approved().subject)
    row = PaymentOrder.objects.filter(list=made).values().get()
    assert CARD not in repr(row)
    order = made.orders.get()
    assert sealed.opened(order, bound_to=order.bound_to).number == CARD


# --- What the bank answers ---


def test_paid_posts_the_payment_and_closes_the_list(agency: Agency) -> None:
    statement, case = agency.statement(), agency.approved()
    made = agency.sent(statement.subject, case.subject)
    assert take(agency, made) == (2, 0)
    first, second = Voucher.objects.order_by("pk")
    assert legs_of(first) == {Account.INSTITUTION_PAYABLE: 500_000, Account.BANK: -500_000}
    assert legs_of(second) == {Account.PERSON_PAYABLE: 600, Account.BANK: -600}
    assert (first.kind, second.kind) == (Voucher.Kind.PAYMENT, Voucher.Kind.REIMBURSEMENT)
    assert (first.posted_by, first.approved_by) == (agency.finance.username, agency.clerk.username)
    assert first.institution_code == agency.hospital.pk
    made.refresh_from_db()
    case.refresh_from_db()
    assert (made.state, case.state) == ("done", "paid")
    assert payments.paid_of(statement.subject) == 500_000
    assert owed_for_claim(case.claim_id) == 600  # the claim's own debt; the voucher pays it
    assert owed(region_code="320600", on=TODAY) == []
    assert ledger.balance().sound
    assert not Task.objects.filter(subject=made.subject, state="open").exists()


def test_the_same_results_twice_pay_and_post_once(agency: Agency) -> None:
    made = agency.sent(agency.statement().subject)
    assert take(agency, made) == (1, 0)
    assert take(agency, made) == (0, 1)
    assert Voucher.objects.count() == 1


def test_returned_reopens_the_payable_and_is_paid_anew(agency: Agency) -> None:
    statement = agency.statement()
    made = agency.sent(statement.subject)
    take(agency, made)
    assert take(agency, made, "returned") == (1, 0)
    assert payments.paid_of(statement.subject) == 0
    back = Voucher.objects.get(kind=Voucher.Kind.BANK_RETURN)
    assert legs_of(back) == {Account.INSTITUTION_PAYABLE: -500_000, Account.BANK: 500_000}
    assert back.reason == "账号有误"
    assert (
        Task.objects.get(subject__startswith="order:", state="open").permission
        == "payments.prepare"
    )
    again = agency.sent(statement.subject)
    assert again.orders.get().attempt == 2
    take(agency, again)
    assert payments.paid_of(statement.subject) == 500_000
    assert not Task.objects.filter(subject__startswith="order:", state="open").exists()
    assert ledger.balance().sound


def test_returned_at_once_posts_both_lines_of_the_bank(agency: Agency) -> None:
    statement = agency.statement()
    take(agency, agency.sent(statement.subject), "returned")
    kinds = list(Voucher.objects.order_by("pk").values_list("kind", flat=True))
    assert kinds == [Voucher.Kind.PAYMENT, Voucher.Kind.BANK_RETURN]
    assert payments.paid_of(statement.subject) == 0


def test_rejected_posts_nothing_and_opens_the_source(agency: Agency) -> None:
    statement = agency.statement()
    take(agency, agency.sent(statement.subject), "rejected")
    assert not Voucher.objects.exists()
    assert [item.subject for item in owed(region_code="320600", on=TODAY)] == [statement.subject]


def test_a_returned_person_is_paid_to_an_account_that_two_persons_corrected(agency: Agency) -> None:
    case = agency.approved()
    take(agency, agency.sent(case.subject), "returned")
    case.refresh_from_db()
    assert case.state == "returned"
    other = sealed.Account("测试", "另一银行", "6222029999888877776")
    reimbursements.correct_account(
        case=case, account=other, who=agency.clerk, by=agency.clerk.username, at=AT
    )
    assert "6222029999888877776" not in repr(
        Reimbursement.objects.filter(pk=case.pk).values().get()
    )
    assert not [
        move for move in Move.objects.filter(subject=case.subject) if "account" in move.facts
    ]
    agency.step(case, "confirm", agency.finance)
    made = agency.sent(case.subject)
    assert "6222029999888877776" in exported(agency, made).content.decode()
    take(agency, made)
    case.refresh_from_db()
    assert (case.state, payments.paid_of(case.subject)) == ("paid", 600)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": 1}, "不符"),
        ({"on": TODAY + dt.timedelta(days=1)}, "晚于今天"),
        ({"serial": ""}, "流水号"),
        ({"number": "ZF-9"}, "不是本清单"),
        ({"state": "returned", "reason": " "}, "原因"),
    ],
)
def test_wrong_answers_change_nothing(agency: Agency, change: dict, words: str) -> None:
    made = agency.sent(agency.statement().subject, agency.approved().subject)
    good, other = answers(made)
    wrong = bank_files.Answer(**(vars(other) | change))
    told = {"made": made, "answers": [good, wrong], "by": agency.finance.username, "at": AT}
    refusal = refusal_of(payments.take_results, **told)
    assert words in refusal.detail[0]
    assert not Voucher.objects.exists()


def test_repeated_payments_are_refused_and_flagged(agency: Agency) -> None:
    statement = agency.statement()
    made = agency.sent(statement.subject)
    take(agency, made)
    told = {"by": agency.finance.username, "at": AT}
    other_serial = [bank_files.Answer(**(vars(row) | {"serial": "X9"})) for row in answers(made)]
    refusal = refusal_of(payments.take_results, made=made, answers=other_serial, **told)
    assert "疑为重复支付" in refusal.detail[0]
    twin = agency.statement(period=dt.date(2021, 10, 1))
    second = agency.sent(twin.subject)
    order = second.orders.get()
    assert made.orders.get().number in order.warning
    used = [bank_files.Answer(**(vars(row) | {"serial": f"S{made.orders.get().pk}"}))
            for row in answers(second)]  # fmt: skip
    refusal = refusal_of(payments.take_results, made=second, answers=used, **told)
    assert "已用于另一笔支付" in refusal.detail[0]
    with pytest.raises(DatabaseError), transaction.atomic():
        PaymentOrder.objects.filter(pk=order.pk).update(bank_serial=f"S{made.orders.get().pk}")


def test_a_result_file_is_read_with_every_fault_at_once(agency: Agency) -> None:
    made = agency.sent(agency.statement().subject, agency.approved().subject)
    one, two = made.orders.all()
    head = "指令号,金额（元）,处理结果,银行流水号,处理日期,原因\n"
    good = (
        f"{one.number},5000.00,成功,N1,2021-12-20,\n{two.number},6.00,退票,N2,2021-12-20,账号有误\n"
    )
    found = bank_files.read("r.csv", (head + good).encode("gbk"))
    assert [(row.state, row.amount) for row in found] == [("paid", 500_000), ("returned", 600)]
    bad = f"{one.number},5000,好了,,20日,\n{two.number},六元,成功,,2021-12-20,\n"
    refusal = refusal_of(bank_files.read, name="r.csv", content=(head + bad).encode())
    assert len(refusal.faults) == 4
    for name, content in (("r.csv", b"a,b\n1,2\n"), ("r.pdf", b"x"), ("r.csv", head.encode())):
        assert refusal_of(bank_files.read, name=name, content=content).status == 422
    twice = head + good + good
    assert "重复" in refusal_of(bank_files.read, name="r.csv", content=twice.encode()).detail[0]
    for row, words in (
        (",5.00,成功,N3,2021-12-20,\n", "第 4 行：没有指令号"),
        (f"X1,5.00,成功,{'9' * 61},2021-12-20,\n", "第 4 行：银行流水号至多 60 字"),
    ):
        refusal = refusal_of(bank_files.read, name="r.csv", content=(head + good + row).encode())
        assert refusal.detail[0] == words
    assert len(bank_files.read("r.csv", (head + good + ",5006.00,,,,\n,,,,,\n").encode())) == 2


def test_a_result_file_of_too_many_rows_is_refused_whole() -> None:
    """A row that nobody reads would be a payment that nobody records."""

    def file(rows: int) -> bytes:
        head = "指令号,金额（元）,处理结果,银行流水号,处理日期,原因\n"
        body = "".join(f"N{n},1.00,成功,S{n},2021-12-01,\n" for n in range(rows))
        return f"{head}{body},{rows}.00,,,,\n".encode()

    assert len(bank_files.read("r.csv", file(20_000))) == 20_000
    with pytest.raises(Refusal, match="TOO_MANY_ROWS") as refused:
        bank_files.read("r.csv", file(20_001))
    (fault,) = refused.value.faults
    assert (refused.value.status, fault.pointer) == (422, "/file")
    assert fault.detail[0].startswith("文件有 20,001 行处理结果，一次至多 20,000 行")


def test_a_reimbursement_can_go_to_the_personal_account(agency: Agency) -> None:
    case = agency.approved(**agency.to_account())
    made = agency.sent(case.subject)
    assert exported(agency, made).content.decode().count("\n") == 2  # head and control sum
    take(agency, made, serial="")
    assert PersonalAccount.objects.get(person=agency.employee).account_left == 1_130
    voucher = Voucher.objects.get()
    assert legs_of(voucher) == {Account.PERSON_PAYABLE: 130, Account.PERSONAL_ACCOUNT: -130}


# --- Refunds ---


def paid_order(agency: Agency) -> PaymentOrder:
    made = agency.sent(agency.statement().subject)
    take(agency, made)
    return made.orders.get()


def refund(agency: Agency, order: PaymentOrder, **more: object):
    given = {"amount": 2_000, "received_on": TODAY, "reason": "多付退回", "bank_serial": "T1"}
    return refunds.record(order=order, by=agency.clerk.username, at=AT, **(given | more))


def test_a_refund_goes_back_the_way_it_came_by_two_persons(agency: Agency) -> None:
    order = paid_order(agency)
    row = refund(agency, order)
    assert row.way == order.way
    told = {"refund": row, "accept": True, "at": AT}
    assert refusal_of(refunds.decide, by=agency.clerk.username, **told).code == "SAME_PERSON"
    refunds.decide(by=agency.finance.username, **told)
    voucher = Voucher.objects.get(kind=Voucher.Kind.REFUND)
    assert legs_of(voucher) == {Account.BANK: 2_000, Account.INSTITUTION_PAYABLE: -2_000}
    assert voucher.clause.endswith("第四十五条")
    assert refunded_of(order.subject) == 2_000
    assert payments.paid_of(order.subject) == 500_000
    assert refusal_of(refunds.decide, by="third", **told).code == "REFUND_DECIDED"
    assert ledger.balance().sound


def test_what_the_payee_gave_back_does_not_come_back_from_the_bank_too(agency: Agency) -> None:
    made = agency.sent(agency.statement().subject)
    take(agency, made)
    row = refund(agency, made.orders.get())
    refunds.decide(refund=row, accept=True, by=agency.finance.username, at=AT)
    told = refusal_of(take, agency=agency, made=made, state="returned")
    assert (told.code, "重复收回" in told.detail[0]) == ("RESULTS_INVALID", True)
    assert payments.paid_of(made.orders.get().subject) == 500_000


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"amount": 500_001}, "TOO_MUCH"),
        ({"amount": 0}, "TOO_MUCH"),
        ({"bank_serial": ""}, "WAY"),
        ({"received_on": TODAY + dt.timedelta(days=1)}, "DAY"),
        ({"reason": " "}, "REASON_MISSING"),
    ],
)
def test_what_a_refund_must_hold(agency: Agency, more: dict, code: str) -> None:
    order = paid_order(agency)
    assert refusal_of(refund, agency=agency, order=order, **more).code == code


def test_a_refund_is_recorded_once(agency: Agency) -> None:
    order = paid_order(agency)
    row = refund(agency, order)
    assert refusal_of(refund, agency=agency, order=order).code == "SERIAL_USED"
    with pytest.raises(DatabaseError), transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(state="posted", decided_by=row.recorded_by)


def test_nothing_comes_back_of_what_was_not_paid(agency: Agency) -> None:
    made = agency.sent(agency.statement().subject)
    assert refusal_of(refund, agency=agency, order=made.orders.get()).code == "NOT_PAID"


# --- Races, isolation ---


def in_threads(calls: list) -> list[str]:
    """What became of calls that were made at once."""
    outcomes: list[str] = []
    gate = threading.Barrier(len(calls))

    def run(call) -> None:
        gate.wait()
        try:
            with scoped(EVERYTHING):
                outcomes.append(str(call()))
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def test_races_approve_once_pay_once_list_once(committed_db: str) -> None:
    factories.policies("nantong")
    calendar(2021)
    agency = Agency()
    statement = agency.statement()
    lists = in_threads([lambda: bool(agency.listed(statement.subject))] * 6)
    assert lists == ["NOT_PAYABLE"] * 5 + ["True"]
    made = PaymentList.objects.get()
    approvals = in_threads(
        [lambda n=n: bool(payments.approve(made=made, by=f"officer{n}", at=AT)) for n in range(6)]
    )
    assert approvals == ["LIST_MOVED"] * 5 + ["True"]
    exported(agency, made)
    file = answers(made)
    results = in_threads(
        [lambda: payments.take_results(made=made, answers=file, by="officer", at=AT)] * 6
    )
    assert results == ["(0, 1)"] * 5 + ["(1, 0)"]
    assert Voucher.objects.count() == 1
    assert payments.paid_of(statement.subject) == 500_000


def test_institutions_and_other_agencies_see_no_list(agency: Agency) -> None:
    made = agency.sent(agency.statement().subject)
    take(agency, made)
    hospital = factories.user("hospital", agency.hospital)
    other = factories.user("finance_officer", factories.region("wenzhou"))
    for user in (hospital, other):
        set_scope(user.scope_codes())
        assert not PaymentList.objects.exists()
        assert not PaymentOrder.objects.exists()
        set_scope(EVERYTHING)
        assert not PaymentList.objects.visible_to(user).exists()
    set_scope(hospital.scope_codes())
    assert Voucher.objects.visible_to(hospital).get().amount == 500_000  # its own money it sees
    set_scope(EVERYTHING)
