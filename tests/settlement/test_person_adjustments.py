"""Special adjustments of persons' money: manual claims, payment by a list, collection by two persons."""

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit import clock
from audit.models import Task
from institutions.refusals import Refusal
from settlement import adjustments, ledger, payments, refunds, sealed
from settlement.adjustments import Wanted
from settlement.models import Adjustment, Claim, Leg, PaymentOrder, Voucher
from settlement.payment_sources import owed
from tests import factories
from tests.settlement.agency import AT, CARD, TODAY, Agency, calendar
from tests.settlement.test_payments import legs_of, take

Account = Leg.Account
PAPER = ("依据.pdf", b"%PDF-1.4 basis")


@pytest.fixture
def agency(db, settings, tmp_path) -> Agency:
    settings.MEDIA_ROOT = tmp_path
    factories.policies("nantong")
    calendar(2021)
    return Agency()


def wanted(agency: Agency, **more: object) -> Wanted:
    given: dict = {
        "reason_class": "ruling", "reason": "裁决执行", "subject": "person", "amount": 700,
        "scheme": "resident", "person": agency.person,
        "account": sealed.Account("测试", "示例银行南通分行", CARD),
    }  # fmt: skip
    return Wanted(**(given | more))


def proposed(agency: Agency, **more: object) -> Adjustment:
    return adjustments.propose(
        region=agency.region, wanted=wanted(agency, **more), file=PAPER, by=agency.clerk.username,
        at=AT,
    )  # fmt: skip


def posted(agency: Agency, **more: object) -> Adjustment:
    return adjustments.approve(adjustment=proposed(agency, **more), who=agency.finance, at=AT)


def of_claim(agency: Agency, **more: object) -> dict:
    """What names the claim that the agency entered for a request."""
    claim = Claim.objects.get(pk=agency.approved().claim_id)
    return {"subject": "claim", "institution_code": claim.institution_code, "person": None,
            "claim_no": claim.claim_no} | more  # fmt: skip


def refusal_of(call, **more: object) -> Refusal:
    with pytest.raises(Refusal) as refusal, transaction.atomic():
        call(**more)
    return refusal.value


def open_task(made: Adjustment) -> tuple[str, str]:
    row = Task.objects.get(subject=made.bound_to, state="open")
    return row.permission, row.title


def owing(agency: Agency) -> int:
    """What the ledger owes persons now, claims and vouchers."""
    return -ledger.balance().accounts[Account.PERSON_PAYABLE]


# --- Whose money it is ---


@pytest.mark.parametrize("amount", [400, -400])
def test_a_claim_of_a_request_is_adjusted_for_the_person(agency: Agency, amount: int) -> None:
    office = factories.user("hospital", agency.hospital)
    made = posted(agency, **of_claim(agency, amount=amount))
    assert (made.institution_code, made.person_id) == ("", agency.person.pk)
    assert legs_of(made.voucher) == {Account.ADJUSTMENT: amount, Account.PERSON_PAYABLE: -amount}
    assert made.voucher.institution_code == ""
    assert Account.INSTITUTION_PAYABLE not in ledger.balance().accounts
    assert not Adjustment.objects.visible_to(office).exists()


def test_the_scheme_is_the_claims(agency: Agency) -> None:
    refusal = refusal_of(proposed, agency=agency, **of_claim(agency, scheme="employee"))
    assert (refusal.code, refusal.detail[0]) == (
        "SCHEME_DIFFERS", "险种与单据不符，该单据为居民医保",
    )  # fmt: skip


# --- What is paid ---


def test_a_person_is_paid_by_a_list_of_two_persons(agency: Agency) -> None:
    made = posted(agency)
    number = made.number
    assert open_task(made) == (
        "payments.prepare", f"列入拨付清单：特殊调整 {number}，补付参保人 7.00 元",
    )  # fmt: skip
    found = owed(region_code="320600", on=TODAY)
    assert [(item.subject, item.amount, item.bank, item.hold) for item in found] == [
        (f"adjustment:{number}", 700, "示例银行南通分行 **** 3334", ""),
    ]  # fmt: skip
    assert CARD not in repr(Adjustment.objects.filter(pk=made.pk).values().get())
    sent = agency.sent(made.bound_to)
    order = sent.orders.get()
    assert (order.payee_person_id, order.amount, order.purpose) == (
        agency.person.pk, 700, f"特殊调整 {number}",
    )  # fmt: skip
    assert sealed.opened(order, bound_to=order.bound_to).number == CARD
    assert not Task.objects.filter(subject=made.bound_to, state="open").exists()
    take(agency, sent)
    voucher = Voucher.objects.get(effect=f"order:{order.pk}/payment")
    assert legs_of(voucher) == {Account.PERSON_PAYABLE: 700, Account.BANK: -700}
    assert (owing(agency), owed(region_code="320600", on=TODAY)) == (0, [])
    assert payments.place_of(made.bound_to) == reverse("adjustment", args=[made.pk])
    assert ledger.balance().sound


def test_money_that_moved_is_not_undone_and_what_came_back_is(agency: Agency) -> None:
    made = posted(agency)
    told = {"adjustment": made, "reason": "账号有误", "by": agency.clerk.username, "at": AT}
    sent = agency.sent(made.bound_to)
    assert refusal_of(adjustments.ask_reversal, **told).code == "MONEY_MOVED"
    take(agency, sent)
    assert refusal_of(adjustments.ask_reversal, **told).code == "MONEY_MOVED"
    take(agency, sent, "returned")
    order = PaymentOrder.objects.get()
    task = Task.objects.get(subject=f"order:{order.pk}", state="open")
    assert task.title == f"特殊调整 {made.number}拨付失败：账号有误，核对账户后重新列入清单"
    adjustments.ask_reversal(**told)
    assert [item.hold for item in owed(region_code="320600", on=TODAY)] == ["已申请冲销"]
    adjustments.reverse(adjustment=made, who=agency.finance, at=AT)
    assert (owing(agency), owed(region_code="320600", on=TODAY)) == (0, [])


def test_what_the_person_gave_back_is_undone_and_not_paid_again(agency: Agency) -> None:
    made = posted(agency)
    told = {"adjustment": made, "reason": "付错对象", "by": agency.clerk.username, "at": AT}
    sent = agency.sent(made.bound_to)
    take(agency, sent)
    for serial, amount, held in (("T1", 300, 300), ("T2", 400, 700)):
        assert refusal_of(adjustments.ask_reversal, **told).code == "MONEY_MOVED"
        back = refunds.record(
            order=sent.orders.get(), amount=amount, received_on=TODAY, reason="付错对象",
            bank_serial=serial, by=agency.clerk.username, at=AT,
        )  # fmt: skip
        refunds.decide(refund=back, accept=True, by=agency.finance.username, at=AT)
        (due,) = owed(region_code="320600", on=TODAY)
        assert (due.amount, due.hold) == (held, "款项已退回，须全部退回后冲销")
    assert open_task(made) == (
        "adjustments.propose", f"特殊调整 {made.number}的款项已全部退回，须冲销后重新提出",
    )  # fmt: skip
    with pytest.raises(Refusal, match="NOT_PAYABLE"), transaction.atomic():
        agency.listed(made.bound_to)
    shown = factories.log_in(Client(), agency.clerk).get(reverse("adjustment", args=[made.pk]))
    assert "已付 7.00 元，已退回 7.00 元" in shown.content.decode()
    adjustments.ask_reversal(**told)
    adjustments.reverse(adjustment=made, who=agency.finance, at=AT)
    assert (owing(agency), owed(region_code="320600", on=TODAY)) == (0, [])
    assert list(adjustments.sums_by_class(Adjustment.objects.all())) == []
    assert not Task.objects.filter(subject=made.bound_to, state="open").exists()
    assert ledger.balance().sound


def test_an_adjustment_of_a_refused_list_waits_for_another(agency: Agency) -> None:
    made = posted(agency)
    listed = agency.listed(made.bound_to)
    payments.refuse(made=listed, reason="x", by=agency.finance.username, at=AT)
    assert open_task(made)[0] == "payments.prepare"
    assert payments.owing(made.bound_to) == 700


def test_an_account_that_was_never_given_holds_the_payment(agency: Agency) -> None:
    made = posted(agency)
    Adjustment.objects.filter(pk=made.pk).update(bank="", number_tail="")
    assert [item.hold for item in owed(region_code="320600", on=TODAY)] == [
        "没有收款账户，请冲销后重新提出"
    ]


def test_a_personal_account_needs_no_bank(agency: Agency) -> None:
    made = posted(agency, person=agency.employee, scheme="employee", way="account", account=None)
    take(agency, agency.sent(made.bound_to))
    voucher = Voucher.objects.get(kind=Voucher.Kind.REIMBURSEMENT)
    assert legs_of(voucher) == {Account.PERSON_PAYABLE: 700, Account.PERSONAL_ACCOUNT: -700}


# --- What is collected ---


def test_what_a_person_owes_is_asked_for_until_two_persons_posted_it(agency: Agency) -> None:
    made = posted(agency, amount=-700, account=None)
    number = made.number
    assert open_task(made) == (
        "adjustments.propose", f"向参保人追回 7.00 元（特殊调整 {number}），到账后登记",
    )  # fmt: skip
    assert owed(region_code="320600", on=TODAY) == []
    told = {"adjustment": made, "received_on": TODAY, "bank_serial": "T1",
            "by": agency.clerk.username, "at": AT}  # fmt: skip
    early = refusal_of(
        adjustments.record_collection, **(told | {"received_on": TODAY - dt.timedelta(days=1)})
    )
    assert early.code == "DAY"
    adjustments.record_collection(**told)
    assert refusal_of(adjustments.record_collection, **told).code == "COLLECTION_RECORDED"
    same = refusal_of(
        adjustments.confirm_collection, adjustment=made, accept=True, who=agency.clerk, at=AT
    )
    assert same.code == "SECOND_PERSON"
    adjustments.confirm_collection(adjustment=made, accept=False, who=agency.finance, at=AT)
    assert open_task(made)[0] == "adjustments.propose"
    adjustments.record_collection(**told)
    adjustments.confirm_collection(adjustment=made, accept=True, who=agency.finance, at=AT)
    voucher = Voucher.objects.get(kind=Voucher.Kind.REFUND)
    assert legs_of(voucher) == {Account.BANK: 700, Account.PERSON_PAYABLE: -700}
    assert (voucher.posted_by, voucher.approved_by) == (
        agency.clerk.username, agency.finance.username,
    )  # fmt: skip
    assert owing(agency) == 0
    other = posted(agency, amount=-700, account=None)
    again = refusal_of(adjustments.record_collection, **(told | {"adjustment": other}))
    assert again.code == "SERIAL_USED"
    with pytest.raises(IntegrityError, match="collected_once"), transaction.atomic():
        Adjustment.objects.filter(pk=other.pk).update(
            collected_on=TODAY, collected_serial="T1", collected_by="x"
        )
    assert not Task.objects.filter(subject=made.bound_to, state="open").exists()
    undo = {"adjustment": made, "reason": "x", "by": agency.clerk.username, "at": AT}
    assert refusal_of(adjustments.ask_reversal, **undo).code == "MONEY_MOVED"
    with pytest.raises(IntegrityError, match="collected_from_a_person"), transaction.atomic():
        Adjustment.objects.filter(pk=made.pk).update(collected_by="")


def test_a_serial_is_no_refund_after_it_was_a_collection(agency: Agency) -> None:
    paid, owes = posted(agency), posted(agency, amount=-700, account=None)
    sent = agency.sent(paid.bound_to)
    take(agency, sent)
    told = {"received_on": TODAY, "bank_serial": "T1", "by": agency.clerk.username, "at": AT}
    adjustments.record_collection(adjustment=owes, **told)
    refusal = refusal_of(
        refunds.record, order=sent.orders.get(), amount=700, reason="重复支付", **told
    )
    assert refusal.code == "SERIAL_USED"


def test_nothing_is_collected_for_what_is_paid_or_an_institutions(agency: Agency) -> None:
    told = {"received_on": TODAY, "bank_serial": "T1", "by": agency.clerk.username, "at": AT}
    rows = (posted(agency), posted(agency, subject="institution", person=None, amount=-700,
                                   institution_code=agency.hospital.pk))  # fmt: skip
    for made in rows:
        refusal = refusal_of(adjustments.record_collection, adjustment=made, **told)
        assert refusal.code == "NOTHING_TO_COLLECT"


def test_the_pages_of_a_collection(agency: Agency) -> None:
    made = posted(agency, amount=-700, account=None)
    clerk, boss = (factories.log_in(Client(), who) for who in (agency.clerk, agency.finance))
    page = reverse("adjustment", args=[made.pk])
    shown = clerk.get(page).content.decode()
    assert "待追回" in shown
    assert "登记到账" in shown
    act = reverse("adjustment-move", args=[made.pk, "collect"])
    assert clerk.post(act, {"received_on": "", "bank_serial": "T1"}).status_code == 422
    day = clock.today()
    assert clerk.post(act, {"received_on": str(day), "bank_serial": "T1"}).status_code == 302
    confirm = reverse("adjustment-move", args=[made.pk, "confirm-collection"])
    assert "确认到账并入账" in boss.get(page).content.decode()
    assert boss.post(confirm).status_code == 302
    assert "已追回" in boss.get(page).content.decode()


def test_the_form_takes_the_account_of_a_person(agency: Agency) -> None:
    clerk = factories.log_in(Client(), agency.clerk)
    given = {"reason_class": "ruling", "subject": "person", "scheme": "resident", "direction": "pay",
             "credential": agency.person.credential, "amount": "7.00", "reason": "裁决执行"}  # fmt: skip
    without = clerk.post(
        reverse("adjustment-new"), given | {"document": SimpleUploadedFile(*PAPER)}
    )
    assert "补付给参保人须填写收款账户" in without.content.decode()
    account = {"way": "bank", "holder": "测试", "bank": "示例银行", "number": CARD}
    sent = clerk.post(
        reverse("adjustment-new"), given | account | {"document": SimpleUploadedFile(*PAPER)}
    )
    assert sent.status_code == 302
    shown = clerk.get(sent["Location"]).content.decode()
    assert "示例银行 **** 3334" in shown
    assert CARD not in shown
