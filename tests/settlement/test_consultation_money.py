"""The money of a consultation: invoice, split, receipts, reversal, refund, and what cannot be undone."""

import threading
from datetime import date

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Move, Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import Refusal
from pricing import commands as releases
from pricing.models import Release
from settlement import consultations, ledger
from settlement.models import Leg, Receipt
from tests import factories
from tests.settlement.jilin import Story, agreed, at, balances, code_of, hospital, person

DAY = date(2021, 4, 12)
Account = Leg.Account
REFUSALS = (Refusal, Refused)


@pytest.fixture
def law(db):
    factories.policies("jilin")


@pytest.fixture
def here(law) -> Institution:
    return hospital("示例市医院", "municipal", "220200")


@pytest.fixture
def province(law) -> Institution:
    return hospital("示例省级医院", area="220100")


def test_an_invoice_is_used_once(here, province):
    story, again = (Story.begin(here, province).to("entered") for _ in range(2))
    story.step("collect", DAY, 13, **story.collected())
    with pytest.raises(Refused) as stopped:
        again.step("collect", DAY, 13, **story.collected())
    assert code_of(stopped) == "INVOICE_TAKEN"


@pytest.fixture
def unpriced(settings) -> None:
    """Where real money is paid example prices do not count, and no other is published."""
    settings.EXAMPLE_PARAMETERS = False


def publish_price(yuan: int) -> None:
    """An official price of a consultation, published later, for days that are past."""
    shipped = Release.objects.get(slug="parameters-jilin")
    text = shipped.text.replace("effective: {from: 2021-03-25", "effective: {from: 2021-03-26")
    row = next(line for line in text.splitlines() if "key: mdt_price" in line)
    new = row.replace("40000", str(yuan * 100)).replace(
        "source_kind: example", "source_kind: official"
    )
    made = releases.draft(text=text.replace(row, new), by="drafter", at=at(DAY, 15))
    evidence = {"sm3": made.sm3, "cases": {"passed": 1, "failed": 0}}
    releases.publish(release=made, evidence=evidence, by="publisher", at=at(DAY, 16))


def test_a_price_published_after_the_session_is_charged(unpriced, here, province):
    """一第1、3款: the price of the day of the session, whenever it came to be known."""
    city = hospital("示例市二院", "municipal")
    agreed(here, province)
    story = Story.begin(here, province, city).to("entered")
    assert (story.case.charge_count, story.case.amount) == (1, None)
    with pytest.raises(Refused) as stopped:
        story.step("collect", DAY, 13, invoice_no="PJ1", amount="450.00")
    assert code_of(stopped) == "PRICE_UNKNOWN"
    publish_price(450)
    with pytest.raises(Refused) as stopped:
        story.step("collect", DAY, 17, invoice_no="PJ1", amount="400.00")
    assert stopped.value.detail == "应全额收取 450.00 元（1 次 × 450.00 元）"
    story.step("collect", DAY, 17, invoice_no="PJ1", amount="450.00")
    assert (story.case.unit_price, story.case.amount, story.case.example) == (45000, 45000, False)
    fees = dict(story.case.participants.values_list("hospital_id", "fee"))
    assert fees == {province.pk: 45000, city.pk: None}
    story.step("distribute", DAY, 18)
    assert story.participant(province).share == 31500


def test_the_page_tells_the_price_that_came_later(unpriced, here, province, settings):
    settings.DEMO_TODAY = DAY
    story = Story.begin(here, province).to("entered")
    client = factories.log_in(Client(), story.who)
    address = reverse("consultation", args=[story.case.pk])
    paper = reverse("consultation-list", args=[story.case.pk, "json"])
    assert "录入多学科会诊价格后才能收费" in client.get(address).content.decode()
    assert client.get(paper).json()["amount"] is None
    publish_price(450)
    page = client.get(address).content.decode()
    assert "录入多学科会诊价格后才能收费" not in page
    assert "应全额收取 450.00 元（1 次 × 450.00 元）" in page
    listed = client.get(paper).json()
    assert (listed["amount"], listed["hospitals"][0]["fee"]) == ("450.00", "450.00")


def test_no_ratio_no_distribution(here, province):
    """Only a confirmed agreement in force on the day of the consultation counts."""
    story = Story.begin(here, province).to("charged")
    agreement = agreed(here, province, since=date(2021, 4, 1), confirmed=False)
    with pytest.raises(Refused) as stopped:
        story.step("distribute", DAY, 13)
    assert code_of(stopped) == "AGREEMENT_MISSING"
    assert province.name in stopped.value.detail
    who = person(province)
    consultations.confirm_agreement(agreement=agreement, who=who, by=who.username, at=at(DAY, 13))
    story.step("distribute", DAY, 14)
    assert story.participant(province).agreement == agreement


def test_an_agreement_is_confirmed_by_the_other_side_and_does_not_overlap(here, province):
    row = agreed(here, province, confirmed=False)
    with pytest.raises(Refused):
        consultations.confirm_agreement(agreement=row, who=person(here), by="x", at=at(DAY))
    with pytest.raises(Refusal) as stopped:
        agreed(here, province, 5000, since=date(2021, 1, 1))
    assert code_of(stopped) == "AGREEMENT_OVERLAPS"
    who = person(here)
    consultations.end_agreement(
        agreement=row, last=date(2020, 12, 31), who=who, by=who.username, at=at(DAY)
    )
    agreed(here, province, 5000, since=date(2021, 1, 1))


@pytest.mark.parametrize("ratio", [-1, 10_001])
def test_a_ratio_is_a_part_of_hundred(here, province, ratio):
    with pytest.raises(Refusal) as stopped:
        agreed(here, province, ratio)
    assert code_of(stopped) == "RATIO_NOT_100"


def test_a_share_of_nothing_is_settled_at_once(here, province):
    agreed(here, province, 0)
    story = Story.begin(here, province).to("distributed")
    assert story.case.state == "settled"


def test_payments_are_whole_and_once(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    for amount in (27999, 28001, 0):
        with pytest.raises(Refusal) as stopped:
            story.pay(province, DAY, amount)
        assert code_of(stopped) == "AMOUNT_DIFFERS"
    story.pay(province, DAY)
    with pytest.raises(Refusal) as stopped:
        story.pay(province, DAY)
    assert code_of(stopped) == "ALREADY_PAID"


def test_the_receipt_is_the_ground_of_the_reversal(here, province):
    """一第2款: no receipt, another amount, before the payment, used twice: no reversal."""
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    with pytest.raises(Refusal) as stopped:
        story.receipt(province, DAY)
    assert code_of(stopped) == "NOT_PAID"
    story.pay(province, DAY)
    with pytest.raises(Refusal) as stopped:
        story.reduce(province, DAY)
    assert code_of(stopped) == "RECEIPT_MISSING"
    with pytest.raises(Refusal) as stopped:
        story.receipt(province, DAY, 28001)
    assert code_of(stopped) == "RECEIPT_AMOUNT_MISMATCH"
    part = story.receipt(province, DAY, 20000, "SJ1")
    with pytest.raises(Refusal) as stopped:
        story.reduce(province, DAY)
    assert code_of(stopped) == "RECEIPT_AMOUNT_MISMATCH"
    with pytest.raises(Refusal) as stopped:
        story.receipt(province, DAY, 8000, "SJ1")
    assert code_of(stopped) == "RECEIPT_TAKEN"
    story.receipt(province, DAY, 8000, "SJ2")
    who = person(province)
    consultations.void_receipt(
        receipt=part, reason="金额有误", who=who, by=who.username, at=at(DAY, 15)
    )
    with pytest.raises(Refusal):
        story.reduce(province, DAY)
    story.receipt(province, DAY, 20000, "SJ3")
    story.reduce(province, DAY)
    assert story.case.state == "settled"
    with pytest.raises(Refusal):
        story.reduce(province, DAY)


def test_late_is_possible_with_a_reason(here, province):
    """I-JL-3: three months from the consultation, flagged, never a block."""
    agreed(here, province)
    story = Story.begin(here, province).to("charged")
    assert (story.case.due, story.case.due_clause) == (date(2021, 7, 12), "一第2款")
    late = date(2021, 7, 13)
    with pytest.raises(Refused) as stopped:
        story.step("distribute", late)
    assert code_of(stopped) == "LATE_REASON_MISSING"
    story.step("distribute", late, late_reason="患者出院手续延误")
    assert Move.objects.get(subject=story.case.subject, step="distribute").on_time is False
    story.pay(province, late)
    story.receipt(province, late)
    story.reduce(province, late)
    assert (story.case.state, story.case.late_reason) == ("settled", "患者出院手续延误")


def test_late_at_the_last_step_asks_too(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    late = date(2021, 7, 13)
    with pytest.raises(Refused, match="逾期原因"):
        story.reduce(province, late)
    story.reduce(province, late, "受邀方票据寄送延误")
    assert Move.objects.get(subject=story.case.subject, step="settle").on_time is False


def test_a_refund_before_the_distribution_undoes_the_collection(here, province):
    story = Story.begin(here, province).to("charged")
    story.step("refund", DAY, 13, note="重复收费", refund_no="TF1")
    assert (story.case.state, balances(story)) == ("refunded", {})


def test_a_refund_after_the_split_waits_for_the_money_paid(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    story.reduce(province, DAY)
    with pytest.raises(Refused) as stopped:
        story.step("refund", DAY, 16, note="重复收费", refund_no="TF1")
    assert code_of(stopped) == "NOT_RETURNED"
    story.step("refund", DAY, 16, note="重复收费", refund_no="TF1", returned=True)
    assert (story.case.state, balances(story)) == ("refunded", {})
    assert story.participant(province).returned_at
    assert Receipt.objects.filter(void_at=None).count() == 0
    assert ledger.balance().sound


def test_a_refund_before_the_payment_leaves_no_task_behind(here, province):
    """Every owed hospital is asked for a receipt at the split; a refund takes the question back."""
    other = hospital("示例省级二院")
    for row in (province, other):
        agreed(here, row)
    story = Story.begin(here, province, other).to("distributed")
    assert Task.objects.filter(state="open", status="待开票").count() == 2
    story.step("refund", DAY, 16, note="重复收费", refund_no="TF1")
    assert (story.case.state, balances(story)) == ("refunded", {})
    assert not Task.objects.filter(state="open").exists()


CHANGES = (
    "UPDATE settlement_consultation SET amount = 80000, charge_count = 2",
    "UPDATE settlement_consultation SET invoice_no = 'x'",
    "UPDATE settlement_participant SET share = 1",
    "UPDATE settlement_receipt SET amount = 1",
    "UPDATE settlement_splitagreement SET ratio_invited = 1",
    "DELETE FROM settlement_receipt",
    "DELETE FROM settlement_consultation",
)


def test_money_that_moved_is_not_changed(here, province):
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    for statement in CHANGES:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_revenue_is_reduced_once_by_many_at_once(committed_db):
    factories.policies("jilin")
    here, province = hospital("示例市医院", "municipal"), hospital("示例省级医院")
    agreed(here, province)
    story = Story.begin(here, province).to("distributed")
    story.pay(province, DAY)
    story.receipt(province, DAY)
    who, row = story.who, story.participant(province)
    done: list[str] = []

    def reduce() -> None:
        try:
            with scoped(EVERYTHING):
                consultations.reduce_revenue(
                    participant=row, who=who, by=who.username, at=at(DAY, 15)
                )
            done.append("ok")
        except REFUSALS as refusal:
            done.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=reduce) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count("ok") == 1
    with scoped(EVERYTHING):
        assert balances(story)[Account.CONSULTATION_REVENUE] == -12000
