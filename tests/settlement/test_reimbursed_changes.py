"""手工报销 pays what the ledger owes: held lines decided, claims settled anew, reversals refused."""

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from audit.models import Move, Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.models import Notification
from institutions.refusals import Refusal
from settlement import (
    ledger,
    payments,
    refunds,
    reimbursement_papers,
    reimbursements,
    resettlement,
    resettlement_lists,
    reviewed,
)
from settlement.models import (
    Claim,
    Leg,
    PaymentOrder,
    Reimbursement,
    ResettlementItem,
    Settlement,
)
from settlement.payment_sources import kept_of, owed, owed_for_claim
from settlement.reviewed import Verdict
from tests import factories
from tests.factories import line
from tests.settlement.agency import AT, TODAY, Agency, calendar
from tests.settlement.hospital import Hospital
from tests.settlement.test_payments import take
from tests.settlement.test_resettlement import FIRST, LAST, draw, publish

RISES = ("key: employee_fund_ratio, value: 6500", "key: employee_fund_ratio, value: 7000")
FALLS = ("key: employee_fund_ratio, value: 6500", "key: employee_fund_ratio, value: 6000")


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


@pytest.fixture
def patient(agency: Agency) -> Hospital:
    """A hospital where the agency's person has had 24.00 of the year: above the deductible of 20.00."""
    hospital = Hospital(online_settlement=False)
    hospital.patient = agency.person = factories.person("nantong", "employee")
    for _ in range(2):
        hospital.settled(line(fee="12.00"), pay_from_account=False)
    set_scope(EVERYTHING)
    return hospital


def refusal_of(call, *args: object, **more: object) -> Refusal | Refused:
    with pytest.raises((Refusal, Refused)) as refusal, transaction.atomic():
        call(*args, **more)
    return refusal.value


def review(case: Reimbursement, verdict: Verdict, version: int = 1) -> None:
    reviewed.post(claim_id=case.claim_id, version=version, verdicts={1: verdict}, reason="人工审核",
                  by="reviewer", at=AT)  # fmt: skip
    case.refresh_from_db()


def resettle(hospital: Hospital, law: tuple[str, str], **more: str) -> None:
    publish(*law, **more)
    made = resettlement_lists.propose(region=hospital.row.region, first_day=FIRST, last_day=LAST,
                                      reason="比例调整追溯", by="clerk", at=AT)  # fmt: skip
    draw(made)
    resettlement.approve(resettlement=made, by="finance", at=AT)
    assert resettlement.post_all(resettlement_id=made.pk, by="system:worker", at=AT)
    set_scope(EVERYTHING)


def stands(case: Reimbursement) -> tuple[str, int | None]:
    case.refresh_from_db()
    return case.state, case.payable


def dues() -> list[tuple[int, str]]:
    return [(item.amount, item.hold) for item in owed(region_code="320600", on=TODAY)]


def asked(case: Reimbursement) -> str:
    """The title of the open task for whoever prepares payments; empty without one."""
    row = Task.objects.filter(subject=f"{case.subject}/difference", state="open").first()
    return row.title if row else ""


def paid(agency: Agency, case: Reimbursement) -> None:
    take(agency, agency.sent(case.subject))
    case.refresh_from_db()


# --- Lines that were held ---


def test_a_held_line_that_is_passed_is_paid_with_what_it_comes_to(agency: Agency) -> None:
    case = agency.calculated(agency.submitted(amount=1500), line(fee="15.00"))
    assert (case.state, case.payable) == ("calculated", 0)
    assert refusal_of(agency.step, case, "approve", agency.finance).code == "LINES_HELD"
    seen = case.version
    review(case, Verdict("passed", 300))
    assert stands(case) == ("calculated", 600)
    move = Move.objects.get(subject=case.subject, step="revise")
    assert move.note == "结算已变动，应付个人由 0.00 元变为 6.00 元"
    stale = refusal_of(agency.step, case, "approve", agency.finance, version=seen)
    assert stale.code == "CASE_MOVED"
    agency.step(case, "approve", agency.finance)
    assert dues() == [(600, "")]
    paid(agency, case)
    assert (case.state, payments.paid_of(case.subject)) == ("paid", 600)
    legs = Leg.objects.filter(account=Leg.Account.PERSON_PAYABLE).values_list("amount", flat=True)
    assert sum(legs) == 0
    assert ledger.balance().sound


def test_a_held_line_that_is_refused_leaves_nothing_to_pay(agency: Agency) -> None:
    case = agency.calculated(agency.submitted(amount=1500), line(fee="15.00"))
    review(case, Verdict("refused"))
    assert stands(case) == ("calculated", 0)
    assert refusal_of(agency.step, case, "approve", agency.finance).code == "NOTHING_PAYABLE"


def test_an_amount_that_the_ledger_does_not_owe_is_not_approved(agency: Agency) -> None:
    case = agency.calculated()
    Reimbursement.objects.filter(pk=case.pk).update(payable=900)
    refusal = refusal_of(agency.step, case, "approve", agency.finance)
    assert (refusal.code, refusal.detail) == (
        "CLAIM_CHANGED", "结算已变动，账上应付个人 6.00 元，请刷新后重新复核",
    )  # fmt: skip


# --- Claims that are settled anew ---


@pytest.mark.parametrize(("law", "due"), [(RISES, 840), (FALLS, 720)])
def test_an_approved_request_is_approved_anew_for_the_new_amount(
    agency: Agency, patient: Hospital, law: tuple[str, str], due: int
) -> None:
    case = agency.approved()
    assert stands(case) == ("approved", 780)
    resettle(patient, law)
    assert stands(case) == ("calculated", due)
    assert dues() == []
    assert "payment" not in dict(reimbursement_papers.possible(case))
    assert refusal_of(agency.listed, case.subject).code == "NOT_PAYABLE"
    agency.step(case, "approve", agency.finance)
    assert dues() == [(due, "")]
    paid(agency, case)
    assert (stands(case), payments.paid_of(case.subject)) == (("paid", due), due)
    assert ledger.balance().sound


def test_a_list_of_the_old_amount_is_not_approved(agency: Agency, patient: Hospital) -> None:
    case, statement = agency.approved(), agency.statement()
    made = agency.listed(case.subject, statement.subject)
    resettle(patient, FALLS)
    assert asked(case).endswith(
        f"现应付 7.20 元，清单 {made.number}-0001 为 7.80 元，未送银行的请撤下后重新复核"
    )
    refusal = refusal_of(payments.approve, made=made, by=agency.finance.username, at=AT)
    assert (refusal.code, refusal.detail[0]) == (
        "AMOUNT_CHANGED",
        f"手工报销 {case.number}结算已变动，现应付 7.20 元，与清单金额 7.80 元不符，请撤下该笔或退回清单",
    )
    order = PaymentOrder.objects.get(subject=case.subject)
    payments.drop(order=order, reason="结算变动", by=agency.clerk.username, at=AT)
    assert (stands(case), asked(case)) == (("calculated", 720), "")
    payments.approve(made=made, by=agency.finance.username, at=AT)


def test_an_approved_list_that_has_not_left_is_given_back(
    agency: Agency, patient: Hospital
) -> None:
    case = agency.approved()
    made = payments.approve(made=agency.listed(case.subject), by=agency.finance.username, at=AT)
    resettle(patient, FALLS)
    told = {"made": made, "by": agency.finance.username, "at": AT}
    assert refusal_of(payments.export, form="csv", **told).code == "AMOUNT_CHANGED"
    boss = factories.log_in(Client(), agency.finance)
    shown = boss.get(reverse("payment", args=[made.pk])).content.decode()
    assert ("退回清单" in shown, "复核通过" in shown) == (True, False)
    payments.refuse(reason="结算变动", **told)
    made.refresh_from_db()
    assert (made.state, made.approved_by) == ("refused", agency.finance.username)
    assert stands(case) == ("calculated", 720)


def test_a_paid_request_is_paid_the_difference(agency: Agency, patient: Hospital) -> None:
    case = agency.approved()
    paid(agency, case)
    resettle(patient, RISES)
    assert stands(case) == ("calculated", 840)
    for step in ("recalculate", "deny"):
        facts = {"basis": "三（三）第2款"}
        refusal = refusal_of(agency.step, case, step, agency.finance, note="x", facts=facts)
        assert (refusal.code, "已支付 7.80 元" in refusal.detail) == ("ALREADY_PAID", True)
    agency.step(case, "approve", agency.finance)
    assert dues() == [(60, "")]
    paid(agency, case)
    assert (stands(case), payments.paid_of(case.subject)) == (("paid", 840), 840)
    amounts = PaymentOrder.objects.filter(subject=case.subject).order_by("pk")
    assert list(amounts.values_list("amount", flat=True)) == [780, 60]
    assert ledger.balance().sound


def test_a_paid_request_that_was_paid_too_much_is_recovered(
    agency: Agency, patient: Hospital
) -> None:
    case = agency.approved()
    paid(agency, case)
    resettle(patient, FALLS)
    assert stands(case) == ("paid", 780)
    assert asked(case).endswith("多付 0.60 元，请向参保人追回并登记退款")
    order = PaymentOrder.objects.get(subject=case.subject)
    for number, part in enumerate((20, 40)):
        made = refunds.record(
            order=order, amount=part, received_on=TODAY, reason="重新结算", bank_serial=f"T{number}",
            by=agency.clerk.username, at=AT,
        )  # fmt: skip
        refunds.decide(refund=made, accept=True, by=agency.finance.username, at=AT)
        assert bool(asked(case)) == (number == 0)
    assert (kept_of(case.subject), owed_for_claim(case.claim_id), dues()) == (720, 720, [])
    assert ledger.balance().sound


def test_more_and_then_less_than_was_paid_asks_for_no_second_payment(
    agency: Agency, patient: Hospital
) -> None:
    case = agency.approved()
    paid(agency, case)
    resettle(patient, RISES)
    assert stands(case) == ("calculated", 840)
    resettle(patient, FALLS, since="2021-06-01")
    assert stands(case) == ("paid", 780)
    assert asked(case).endswith("多付 0.60 元，请向参保人追回并登记退款")


def test_money_that_comes_back_while_the_difference_waits_is_paid_with_it(
    agency: Agency, patient: Hospital
) -> None:
    case = agency.approved()
    made = agency.sent(case.subject)
    take(agency, made)
    resettle(patient, RISES)
    take(agency, made, "returned")
    assert stands(case) == ("calculated", 840)
    order = PaymentOrder.objects.get(subject=case.subject)
    task = Task.objects.get(subject=f"order:{order.pk}", state="open")
    assert task.title == f"手工报销 {case.number}拨付失败：账号有误，核对账户后重新列入清单"
    agency.step(case, "approve", agency.finance)
    assert dues() == [(840, "")]


def test_the_hospital_hears_nothing_of_a_request_that_is_settled_anew(
    agency: Agency, patient: Hospital
) -> None:
    office, other = (factories.user("hospital", row) for row in (agency.hospital, patient.row))
    agency.approved()
    resettle(patient, RISES)
    assert not ResettlementItem.objects.visible_to(office).exists()
    assert not Notification.objects.filter(user=office).exists()
    assert not Task.objects.filter(institution_code=agency.hospital.pk).exists()
    text = Notification.objects.get(user=other).text
    assert text.endswith("1 张单据，统筹基金增加 0.20 元")


# --- Claims that the institution uploaded ---


def taken_over(agency: Agency) -> tuple[Hospital, dict, Reimbursement]:
    """A manual claim of a hospital, and the request that is paid by it."""
    hospital = Hospital(online_settlement=False)
    claim = hospital.settled(channel="manual", e_invoice_no="3206-8")
    set_scope(EVERYTHING)
    agency.person = hospital.patient
    case = agency.submitted(provider=hospital.row, e_invoice_no="3206-8")
    agency.step(case, "accept")
    reimbursements.calculate(
        case=case, claim=None, who=agency.clerk, by=agency.clerk.username, at=AT
    )
    return hospital, claim, case


def ask_reversal(hospital: Hospital, claim: dict) -> tuple[int, str]:
    answer = hospital.reverse(claim)
    set_scope(EVERYTHING)
    return answer.status_code, answer.json().get("code", "")


def test_a_claim_that_a_request_lives_by_is_not_reversed(agency: Agency) -> None:
    hospital, claim, case = taken_over(agency)
    for step in ("", "approve"):
        if step:
            agency.step(case, step, agency.finance)
        assert ask_reversal(hospital, claim) == (409, "CLAIM_REIMBURSED")
    assert Settlement.objects.get(claim_id=claim["id"]).version == 1
    paid(agency, case)
    assert (case.state, payments.paid_of(case.subject)) == ("paid", 600)
    assert ask_reversal(hospital, claim) == (409, "CLAIM_REIMBURSED")


def test_a_claim_of_a_denied_request_is_the_institutions_again(agency: Agency) -> None:
    hospital, claim, case = taken_over(agency)
    agency.step(case, "deny", agency.finance, note="x", facts={"basis": "三（三）第2款"})
    assert ask_reversal(hospital, claim)[0] in (200, 201)
    assert Settlement.objects.filter(claim_id=claim["id"]).count() == 2
    assert Claim.objects.filter(pk=claim["id"]).exists()
