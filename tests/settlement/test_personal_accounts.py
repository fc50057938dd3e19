"""个人账户: its reported balance; money is put on one only where the person can draw it, until it is paid."""

import json
from collections.abc import Callable

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event
from audit.procedure import Refused
from institutions.refusals import Refusal
from settlement import adjustments, payments, reimbursements, sealed
from settlement.models import InsuredPerson, PersonalAccount, Reimbursement, Voucher
from settlement.payment_sources import owed
from settlement.personal_accounts import credit_account, left_of, ways
from settlement.register import commands
from settlement.register.store import Change, write
from settlement.register.timeline import Span
from tests import factories
from tests.settlement.agency import AT, CARD, TODAY, Agency, calendar
from tests.settlement.test_payments import legs_of, take
from tests.settlement.test_person_adjustments import proposed

CLAUSE = "通医保发〔2020〕25号 三（三）第1款"
NONE = "居民医保没有个人账户，不能收入个人账户，请改用银行账户"
ELSEWHERE = "参保人不在本统筹区参保，不能收入个人账户，请改用银行账户"
CARD_OF = sealed.Account("测试", "示例银行南通分行", CARD)


@pytest.fixture
def agency(db, settings, tmp_path) -> Agency:
    settings.MEDIA_ROOT = tmp_path
    factories.policies("nantong")
    calendar(2021)
    return Agency()


def refusal_of(call: Callable[..., object], *args: object, **more: object) -> Refusal | Refused:
    with pytest.raises((Refusal, Refused)) as refusal, transaction.atomic():
        call(*args, **more)
    return refusal.value


def moved(person: InsuredPerson, region: str = "320600", scheme: str = "resident") -> None:
    """From today on somebody is insured in another scheme or region."""
    spans = [Span(TODAY, None, scheme, "active", region)]
    write([Change(person, spans, "person.convert")], by="clerk", at=AT)


def change_account(agency: Agency, case: Reimbursement) -> None:
    reimbursements.correct_account(
        case=case, account=CARD_OF, who=agency.clerk, by=agency.clerk.username, at=AT
    )


# --- A request ---


def test_a_resident_has_no_account_to_be_paid_to(agency: Agency) -> None:
    refusal = refusal_of(agency.submitted, way="account", account=None)
    assert isinstance(refusal, Refusal)
    (fault,) = refusal.faults
    assert (fault.pointer, fault.detail[0], fault.clause) == ("/way", NONE, CLAUSE)
    assert not Reimbursement.objects.exists()


def test_the_account_of_another_region_is_not_paid_to(agency: Agency) -> None:
    """That region pays its part already: put on the account as well, it would be paid twice."""
    guest = factories.person("wenzhou", "employee")
    asked = {"credential": guest.credential, "way": "account", "account": None}
    assert refusal_of(agency.submitted, **asked).detail[0] == ELSEWHERE
    assert not Reimbursement.objects.exists()


@pytest.mark.parametrize(("place", "words"), [("nantong", NONE), ("wenzhou", ELSEWHERE)])
def test_who_moved_before_the_approval_needs_another_account(agency, place, words) -> None:
    case = agency.calculated(agency.submitted(**agency.to_account()))
    moved(agency.employee, factories.region(place).pk)
    refusal = refusal_of(agency.step, case, "approve", agency.finance)
    assert (refusal.code, refusal.field, refusal.detail) == ("NO_PERSONAL_ACCOUNT", "way", words)
    change_account(agency, case)
    case.refresh_from_db()
    assert (case.state, case.way, case.account_masked) == ("calculated", "bank", "**** 3334")
    assert sealed.opened(case, bound_to=case.bound_to).number == CARD
    agency.clerk.role = "finance_officer"
    Reimbursement.objects.filter(pk=case.pk).update(calculated_by="another")
    assert refusal_of(agency.step, case, "approve", agency.clerk).code == "SAME_PERSON"
    agency.step(case, "approve", agency.finance)
    case.refresh_from_db()
    assert (case.state, case.pending_by) == ("approved", "")
    assert [item.hold for item in owed(region_code="320600", on=TODAY)] == [""]


def test_who_moved_after_the_approval_stands_on_no_list(agency: Agency) -> None:
    case = agency.approved(**agency.to_account())
    moved(agency.employee)
    assert [item.hold for item in owed(region_code="320600", on=TODAY)] == [NONE]
    assert refusal_of(agency.listed, case.subject).code == "NOT_PAYABLE"
    change_account(agency, case)
    agency.step(case, "confirm", agency.finance)
    (order,) = agency.sent(case.subject).orders.all()
    assert (order.way, sealed.opened(order, bound_to=order.bound_to).number) == ("bank", CARD)


def test_who_moved_after_the_list_is_not_credited(agency: Agency) -> None:
    case = agency.approved(**agency.to_account())
    made = agency.sent(case.subject)
    moved(agency.employee)
    refusal = refusal_of(take, agency, made, serial="")
    assert f"{NONE}：请登记“拒付”后更正收款账户" in refusal.detail[0]
    assert not Voucher.objects.exists()
    take(agency, made, "rejected", serial="")
    case.refresh_from_db()
    assert case.state == "returned"
    assert not PersonalAccount.objects.filter(person=agency.employee, account_left__gt=1_000)


def test_the_pages_change_the_account_before_the_approval(agency: Agency) -> None:
    case = agency.calculated(agency.submitted(**agency.to_account()))
    clerk = factories.log_in(Client(), agency.clerk)
    address = reverse("reimbursement-account", args=[case.pk])
    assert address in clerk.get(reverse("reimbursement", args=[case.pk])).content.decode()
    given = {"holder": "测试", "bank": "示例银行", "number": CARD}
    assert clerk.post(address, given).status_code == 302
    case.refresh_from_db()
    assert (case.state, case.way, case.bank) == ("calculated", "bank", "示例银行")


# --- A special adjustment ---


def test_an_adjustment_goes_to_no_account_that_is_not_there(agency: Agency) -> None:
    to_account = {"way": "account", "account": None}
    assert refusal_of(proposed, agency, **to_account).detail[0] == NONE
    own = {"person": agency.employee, "scheme": "employee", **to_account}
    made = proposed(agency, **own)
    moved(agency.employee)
    decided = {"adjustment": made, "who": agency.finance, "at": AT}
    assert refusal_of(adjustments.approve, **decided).detail[0] == NONE
    assert not Voucher.objects.exists()


def test_an_approved_adjustment_is_held_from_who_moved(agency: Agency) -> None:
    made = proposed(agency, person=agency.employee, scheme="employee", way="account", account=None)
    adjustments.approve(adjustment=made, who=agency.finance, at=AT)
    moved(agency.employee)
    assert [item.hold for item in owed(region_code="320600", on=TODAY)] == [NONE]


def test_an_employee_of_the_region_is_paid_to_the_account(agency: Agency) -> None:
    made = proposed(agency, person=agency.employee, scheme="employee", way="account", account=None)
    adjustments.approve(adjustment=made, who=agency.finance, at=AT)
    take(agency, agency.sent(made.bound_to), serial="")
    voucher = Voucher.objects.get(kind=Voucher.Kind.REIMBURSEMENT)
    assert legs_of(voucher) == {16: 700, 2: -700}
    assert PersonalAccount.objects.get(person=agency.employee).account_left == 1_700
    assert payments.paid_of(made.bound_to) == 700


# --- What forms offer ---


def test_a_form_offers_the_account_where_the_region_has_one(agency: Agency) -> None:
    factories.policies("jilin")
    assert [way for way, _ in ways("nantong", TODAY)] == ["bank", "account"]
    assert [way for way, _ in ways("jilin", TODAY)] == ["bank"]
    offered = 'value="account"'
    for name in ("reimbursement-new", "adjustment-new"):
        for region, shown in ((agency.region, True), (factories.region("jilin"), False)):
            clerk = factories.log_in(Client(), factories.user("settlement_clerk", region))
            assert (offered in clerk.get(reverse(name)).content.decode()) == shown


# --- Its balance ---


def reported(agency: Agency, balance: int, reason: str = "账户系统对账单") -> None:
    commands.report_balance(
        person=agency.employee, balance=balance, reason=reason, by=agency.clerk.username, at=AT
    )


def held(agency: Agency) -> tuple[int, int]:
    """(Balance last reported, what is left), as the person's page shows them."""
    row = InsuredPerson.objects.get(pk=agency.employee.pk)
    return row.account_balance, left_of(row)


def test_a_reported_balance_is_what_is_left_even_the_same_one_again(agency: Agency) -> None:
    credit_account(person_id=agency.employee.pk, amount=-400, at=AT)
    assert held(agency) == (1_000, 600)
    reported(agency, 1_000)
    assert held(agency) == (1_000, 1_000)
    reported(agency, 0)
    assert held(agency) == (0, 0)
    events = [
        json.loads(bytes(row.body))["detail"]
        for row in Event.objects.filter(action="person.balance")
    ]
    assert sorted(events, key=lambda detail: detail["balance"]["left"]) == [
        {"spans": [], "balance": {"left": 600, "now": 1_000}, "reason": "账户系统对账单"},
        {"spans": [], "balance": {"left": 1_000, "now": 0}, "reason": "账户系统对账单"},
    ]


@pytest.mark.parametrize(
    ("given", "code"),
    [((-1,), "AMOUNT"), ((5, " "), "REASON_MISSING"), ((1_000,), "NOTHING_CHANGES")],
)
def test_what_is_no_report(agency: Agency, given: tuple, code: str) -> None:
    assert refusal_of(reported, agency, *given).code == code
    assert held(agency) == (1_000, 1_000)
