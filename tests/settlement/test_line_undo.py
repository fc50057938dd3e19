"""What was wrongly confirmed or registered on a bill is undone by a second person, with a reason."""

from datetime import date

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from audit.models import Event, Task
from institutions.models import Institution, User
from institutions.refusals import Refusal
from settlement import ledger, line_payments, lines, maintenance
from settlement.models import FeeBill, FeeItem, Leg, MaintenanceContract, NetworkLine, Voucher
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


def test_a_line_closed_in_the_past_owes_no_year_that_begins_later(town) -> None:
    bill, line = bill_of(town), NetworkLine.objects.get(bandwidth_mb=10)
    assert bill.items.get(line=line).first == date(2021, 3, 15)
    lines.confirm_bill(bill=bill, **SIGNED)
    past = {"line": line, "closed_on": date(2021, 3, 14), **SIGNED}
    with pytest.raises(Refusal) as stopped:
        lines.close_line(**past)
    assert code_of(stopped) == "LINE_BILLED"
    line_payments.undo_confirmation(bill=bill, **WHY, **OTHER)
    lines.close_line(**past)
    bill.refresh_from_db()
    assert not bill.items.filter(line=line).exists()
    assert bill.amount == 0


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


# --- A contract registered by mistake, a contract that ends ---


def contracted(place: Institution, number: str = "W1", **more: object) -> MaintenanceContract:
    """Maintenance from 2021-09-01 on: 8000 yuan a year."""
    given = {"base": 8_000_000, "rate": 1000, "accepted_on": date(2018, 5, 1)} | more
    return maintenance.record_contract(institution=place, number=number, **given, **SIGNED)


def void_contract(contract: MaintenanceContract, **more: object) -> None:
    given = {"contract": contract, "at": at(DAY, 16), "by": "second", "reason": "金额登记有误"}
    maintenance.void_contract(**(given | more))


def end(contract: MaintenanceContract, day: date, on: date = DAY) -> None:
    maintenance.end_contract(contract=contract, ends_on=day, by="centre", at=at(on, 16))


def test_a_wrong_contract_is_voided_by_another_and_registered_anew(town) -> None:
    wrong = contracted(town, base=80_000_000)
    bill = bill_of(town)
    assert (bill.amount, bill.items.count()) == (750_000 + 8_000_000, 3)
    for given, code in (({"by": "centre"}, "SAME_PERSON"), ({"reason": " "}, "REASON_MISSING")):
        with pytest.raises(Refusal) as stopped:
            void_contract(wrong, **given)
        assert code_of(stopped) == code
    void_contract(wrong)
    bill.refresh_from_db()
    wrong.refresh_from_db()
    assert (bill.amount, bill.items.count()) == (750_000, 2)
    assert (wrong.voided_by, wrong.void_reason) == ("second", "金额登记有误")
    assert Event.objects.get(action="maintenancecontract.void").actor == "second"
    right = contracted(town)
    assert right.number == wrong.number
    with pytest.raises(Refusal) as stopped:
        contracted(town)
    assert code_of(stopped) == "CONTRACT_KNOWN"
    lines.redraw(bill=bill, **SIGNED)
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    assert list(FeeItem.objects.filter(line=None).values_list("contract", "amount")) == [
        (right.pk, 800_000)
    ]
    for again in (void_contract, lambda row: end(row, DAY)):
        with pytest.raises(Refusal) as stopped:
            again(wrong)
        assert code_of(stopped) == "CONTRACT_VOIDED"


def test_a_contract_on_a_confirmed_bill_is_not_voided(town) -> None:
    contract = contracted(town)
    bill = lines.confirm_bill(bill=bill_of(town), **SIGNED)
    with pytest.raises(Refusal) as stopped:
        void_contract(contract)
    assert code_of(stopped) == "CONTRACT_BILLED"
    assert f"该合同已计入账单 {bill.number}（待缴）" in str(stopped.value.detail)
    with pytest.raises(DatabaseError, match="billed or voided"), transaction.atomic():
        MaintenanceContract.objects.filter(pk=contract.pk).update(
            voided_at=at(DAY, 16), voided_by="second", void_reason="误登记"
        )
    line_payments.undo_confirmation(bill=bill, **WHY, **OTHER)
    void_contract(contract)
    bill.refresh_from_db()
    assert (bill.state, bill.items.filter(line=None).count()) == ("draft", 0)
    with pytest.raises(DatabaseError, match="billed or voided"), transaction.atomic():
        MaintenanceContract.objects.filter(pk=contract.pk).update(base=1)


def test_a_contract_that_ends_begins_no_further_year(town) -> None:
    """The year that has begun stays owed whole; a draft of a later one is drawn anew."""
    contract = contracted(town)
    first = lines.confirm_bill(bill=bill_of(town), **SIGNED)
    later = {"by": "centre", "at": at(date(2022, 10, 8))}
    lines.make_bills(year=2022, prefix="22", **later)
    draft = FeeBill.objects.get(year=2022)
    assert draft.items.filter(contract=contract).count() == 1
    with pytest.raises(Refusal) as stopped:
        end(contract, date(2021, 8, 31), date(2022, 10, 8))
    assert code_of(stopped) == "DAY_NOT_POSSIBLE"
    end(contract, date(2022, 8, 31), date(2022, 10, 8))
    contract.refresh_from_db()
    assert contract.ends_on == date(2022, 8, 31)
    assert not draft.items.filter(contract=contract).exists()
    assert first.items.filter(contract=contract).count() == 1
    assert Event.objects.get(action="maintenancecontract.end").actor == "centre"
    with pytest.raises(Refusal) as stopped:
        end(contract, date(2022, 9, 30), date(2022, 10, 8))
    assert code_of(stopped) == "CONTRACT_ENDED"
    end(contract, date(2022, 6, 30), date(2022, 10, 8))
    for year in (2022, 2023):
        lines.make_bills(year=year, prefix="22", by="centre", at=at(date(2023, 10, 8)))
    assert FeeItem.objects.filter(contract=contract).count() == 1


def test_a_contract_does_not_end_before_a_year_that_was_confirmed(town) -> None:
    contract = contracted(town, ends_on=date(2024, 8, 31))
    later = {"by": "centre", "at": at(date(2022, 10, 8))}
    lines.make_bills(year=2022, prefix="22", **later)
    bill = lines.confirm_bill(bill=FeeBill.objects.get(year=2022), **later)
    with pytest.raises(Refusal) as stopped:
        end(contract, date(2022, 8, 31), date(2022, 10, 8))
    assert code_of(stopped) == "CONTRACT_BILLED"
    assert f"该合同 2022-08-31 以后的维保年度已计入账单 {bill.number}" in str(stopped.value.detail)
    end(contract, date(2022, 9, 1), date(2022, 10, 8))
    assert MaintenanceContract.objects.get().ends_on == date(2022, 9, 1)


def test_the_pages_end_and_void_a_contract(town) -> None:
    contract = contracted(town)
    bill = bill_of(town)
    own, client = Client(), Client()
    own.force_login(person(town))
    client.force_login(person(town.region, "health_commission"))
    page, ending, voiding = (
        reverse(name, args=[contract.pk])
        for name in ("line-contract", "line-contract-end", "line-contract-void")
    )
    seen = client.get(page).content.decode()
    assert page in client.get(reverse("line-contracts")).content.decode()
    assert all(
        address in seen for address in (ending, voiding, reverse("fee-bill", args=[bill.pk]))
    )
    assert ending not in own.get(page).content.decode()
    assert own.post(voiding, {"reason": "误登记"}).status_code == 403
    refused = client.post(ending, {"ends_on": "2021-08-31"})
    assert (refused.status_code, "不能早于维保起始日" in refused.content.decode()) == (422, True)
    assert client.post(ending, {"ends_on": "2021-12-31"}).status_code == 302
    assert "2021-12-31" in client.get(page).content.decode()
    assert client.post(voiding, {"reason": ""}).status_code == 422
    assert client.post(voiding, {"reason": "误登记"}).status_code == 302
    for address in (page, reverse("line-contracts")):
        assert "已作废" in client.get(address).content.decode()
    assert voiding not in client.get(page).content.decode()
