"""What was wrongly confirmed or registered on a bill is undone by a second person, with a reason."""

from datetime import date

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.models import Institution, User
from institutions.refusals import Refusal
from settlement import ledger, line_payments, lines
from settlement.models import FeeBill, FeeItem, Leg, NetworkLine, Voucher
from tests import factories
from tests.settlement.jilin import at, hospital, person
from tests.settlement.test_line_bills import DAY, SIGNED, balances, bill_of, code_of, opened

OTHER = {"by": "second", "at": at(DAY, 15)}
WHY = {"reason": "误登记"}
Account = Leg.Account


@pytest.fixture
def town(db, settings) -> Institution:
    settings.DEMO_TODAY = DAY
    factories.policies("jilin")
    place = hospital("示例卫生院", "township", "220200")
    opened(place, date(2021, 3, 15), "township", bandwidth_mb=4)
    opened(place, date(2020, 3, 15), "township", bandwidth_mb=10, count=5)
    return place


@pytest.fixture
def owed(town) -> FeeBill:
    """7500 yuan of the institution, 1500 of the commission."""
    return lines.confirm_bill(bill=bill_of(town), **SIGNED)


def paid(bill: FeeBill, number: str = "J1") -> None:
    line_payments.pay_bill(
        bill=bill, amount=750_000, paid_on=DAY, payment_no=number, by="centre", at=at(DAY, 10)
    )


def tasks_of(bill: FeeBill) -> list[str]:
    rows = Task.objects.filter(subject=f"feebill:{bill.pk}", state="open", permission="lines.pay")
    return list(rows.values_list("title", flat=True))


@pytest.mark.parametrize(
    ("who", "reason", "code"),
    [("centre", "误登记", "SAME_PERSON"), ("second", " ", "REASON_MISSING")],
)
def test_whoever_did_it_does_not_undo_it_and_a_reason_is_needed(owed, who, reason, code):
    undo = {"bill": owed, "reason": reason, "by": who, "at": at(DAY, 15)}
    line_payments.pay_commission(bill=owed, paid_on=DAY, payment_no="J0", **SIGNED)
    paid(owed)
    for command in (line_payments.undo_payment, line_payments.undo_commission):
        with pytest.raises(Refusal) as stopped:
            command(**undo)
        assert code_of(stopped) == code
    other = lines.confirm_bill(bill=bill_of(owed.institution, 2020), **SIGNED)
    with pytest.raises(Refusal) as stopped:
        line_payments.undo_confirmation(**undo | {"bill": other})
    assert code_of(stopped) == code


def test_a_payment_is_undone_and_the_bill_is_owed_again(owed):
    before = balances()
    paid(owed)
    line_payments.undo_payment(bill=owed, **WHY, **OTHER)
    owed.refresh_from_db()
    assert (owed.state, owed.paid_on, owed.payment_no) == ("confirmed", None, "")
    assert balances() == before == {
        Account.LINE_FEE_DUE: 750_000, Account.COMMISSION: 150_000,
        Account.LINE_FEE_PAYEE: -900_000,
    }  # fmt: skip
    assert tasks_of(owed) == ["示例卫生院：2021年度专线与维保费 7500.00 元待缴"]
    undone = Voucher.objects.get(kind="line_payment", reverses__isnull=False)
    assert (undone.amount, undone.reason, undone.posted_by) == (750_000, "误登记", "second")
    assert Event.objects.get(action="feebill.unpay").actor == "second"
    with pytest.raises(Refusal) as stopped:
        line_payments.undo_payment(bill=owed, **WHY, **OTHER)
    assert code_of(stopped) == "NOT_PAID"
    paid(owed)
    owed.refresh_from_db()
    assert (owed.state, ledger.balance().sound) == ("paid", True)


def test_the_commissions_payment_is_undone_and_made_again(owed):
    for number in ("J1", "J2"):
        line_payments.pay_commission(bill=owed, paid_on=DAY, payment_no=number, **SIGNED)
        assert balances() == {Account.LINE_FEE_DUE: 750_000, Account.LINE_FEE_PAYEE: -750_000}
        line_payments.undo_commission(bill=owed, **WHY, **OTHER)
        assert balances()[Account.COMMISSION] == 150_000
    owed.refresh_from_db()
    assert (owed.commission_paid_on, owed.commission_payment_no) == (None, "")
    task = Task.objects.get(state="open", permission="lines.maintain")
    assert task.title == "示例卫生院：2021年度专线与维保费省卫健委承担 1500.00 元待支付"


def test_a_confirmation_is_undone_the_bill_drawn_anew_and_confirmed_again(town, owed):
    """What was paid is undone before; the second confirmation posts what the bill says then."""
    paid(owed)
    with pytest.raises(Refusal) as stopped:
        line_payments.undo_confirmation(bill=owed, **WHY, **OTHER)
    assert code_of(stopped) == "NOT_UNDONE"
    line_payments.undo_payment(bill=owed, **WHY, **OTHER)
    line_payments.undo_confirmation(bill=owed, **WHY, **OTHER)
    owed.refresh_from_db()
    assert (owed.state, owed.confirmed_at, balances(), tasks_of(owed)) == ("draft", None, {}, [])
    opened(town, date(2019, 5, 1), "township", bandwidth_mb=4)
    lines.redraw(bill=owed, **SIGNED)
    lines.confirm_bill(bill=owed, **SIGNED)
    assert balances()[Account.LINE_FEE_DUE] == 900_000
    assert ledger.balance().sound


def test_a_confirmation_stands_while_a_supplementary_draft_waits(town, owed):
    opened(town, date(2019, 5, 1), "township", bandwidth_mb=4)
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    with pytest.raises(Refusal) as stopped:
        line_payments.undo_confirmation(bill=owed, **WHY, **OTHER)
    assert code_of(stopped) == "DRAFT_WAITS"


def test_a_bill_of_nothing_is_a_draft_again(db):
    factories.policies("jilin")
    place = hospital("示例县医院", "county")
    opened(place, bandwidth_mb=30)
    bill = bill_of(place)
    lines.decide_item(item=bill.items.get(), amount=0, commission=0, note="不收", **SIGNED)
    assert lines.confirm_bill(bill=bill, **SIGNED).state == "nothing"
    line_payments.undo_confirmation(bill=bill, **WHY, **OTHER)
    bill.refresh_from_db()
    assert (bill.state, Voucher.objects.count()) == ("draft", 0)


def test_undoing_is_offered_on_the_page_of_the_bill(owed):
    paid(owed)
    first = person(factories.region("jilin"), "telemedicine_centre")
    address = reverse("fee-bill", args=[owed.pk])
    FeeBill.objects.filter(pk=owed.pk).update(paid_by=first.username)
    own = factories.log_in(Client(), first)
    answer = own.post(address, {"act": "unpay", "unpay-reason": "误登记"})
    assert "冲销须由原经办人以外的人办理" in answer.content.decode()
    second = User.objects.create(
        username="centre.two", role="telemedicine_centre", password="!", region=first.region
    )
    other = factories.log_in(Client(), second)
    assert "冲销缴费" in other.get(address).content.decode()
    assert other.post(address, {"act": "unpay", "unpay-reason": "误登记"}).status_code == 302
    assert (
        other.post(address, {"act": "unconfirm", "unconfirm-reason": "误确认"}).status_code == 302
    )
    owed.refresh_from_db()
    assert (owed.state, balances()) == ("draft", {})


# --- A line registered by mistake ---


def void(line: NetworkLine, **more: object) -> None:
    lines.void_line(
        **({"line": line, "at": at(DAY, 16), "by": "second", "reason": "误登记"} | more)
    )


def test_a_wrong_line_is_voided_by_another_and_its_draft_drawn_anew(town) -> None:
    bill = bill_of(town)
    wrong = NetworkLine.objects.get(bandwidth_mb=10)
    assert (bill.amount, bill.items.count()) == (750_000, 2)
    for given, code in (
        ({"by": wrong.recorded_by}, "SAME_PERSON"),
        ({"reason": " "}, "REASON_MISSING"),
    ):
        with pytest.raises(Refusal) as stopped:
            void(wrong, **given)
        assert code_of(stopped) == code
    void(wrong)
    bill.refresh_from_db()
    assert (bill.amount, bill.items.count()) == (
        0,
        1,
    )  # the first year of the other is the commission's
    wrong.refresh_from_db()
    assert (wrong.voided_by, wrong.void_reason) == ("second", "误登记")
    assert Event.objects.get(action="networkline.void").actor == "second"
    for year in (2020, 2021):
        lines.make_bills(year=year, prefix="22", **SIGNED)
    assert not FeeItem.objects.filter(line=wrong).exists()
    with pytest.raises(Refusal) as stopped:
        void(wrong)
    assert code_of(stopped) == "LINE_VOIDED"
    with pytest.raises(Refusal) as stopped:
        lines.close_line(line=wrong, closed_on=DAY, **SIGNED)
    assert code_of(stopped) == "LINE_VOIDED"
    again = opened(town, date(2020, 3, 15), "township", bandwidth_mb=4, number=wrong.number)
    assert again.number == wrong.number


def test_a_line_on_a_confirmed_bill_is_not_voided(town, owed) -> None:
    line = NetworkLine.objects.get(bandwidth_mb=10)
    with pytest.raises(Refusal) as stopped:
        void(line)
    assert code_of(stopped) == "LINE_BILLED"
    assert owed.number in str(stopped.value.detail)
    with pytest.raises(DatabaseError), transaction.atomic():
        NetworkLine.objects.filter(pk=line.pk).update(
            voided_at=at(DAY, 16), voided_by="second", void_reason="误登记"
        )
    line_payments.undo_confirmation(bill=owed, **WHY, **OTHER)
    void(line)
    owed.refresh_from_db()
    assert (owed.state, owed.items.count()) == ("draft", 1)


def test_the_page_voids_a_line(town) -> None:
    bill_of(town)
    line = NetworkLine.objects.get(bandwidth_mb=10)
    client = Client()
    client.force_login(person(town.region, "health_commission"))
    address = reverse("line-void", args=[line.pk])
    assert address in client.get(reverse("line", args=[line.pk])).content.decode()
    assert client.post(address, {"reason": ""}).status_code == 422
    assert client.post(address, {"reason": "误登记"}).status_code == 302
    for page in (reverse("line", args=[line.pk]), reverse("lines")):
        assert "已作废" in client.get(page).content.decode()
    assert address not in client.get(reverse("line", args=[line.pk])).content.decode()
    token = factories.token(town, "lines:read")
    listed = Client().get("/api/v1/lines", headers={"Authorization": f"Bearer {token}"}).json()
    assert [row["bandwidth_mb"] for row in listed["results"]] == [4]
