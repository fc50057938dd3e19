"""Lines and maintenance: registers, yearly bills, decisions, payments, what is overdue, who sees what."""

import threading
from datetime import date

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from audit.models import Task
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import ledger, line_payments, lines, maintenance
from settlement.models import FeeBill, FeeItem, Leg, MaintenanceContract, NetworkLine, Voucher
from settlement.tasks import watch_fee_bills
from tests import factories
from tests.settlement.jilin import at, hospital, person

DAY = date(2021, 12, 20)
Account = Leg.Account
SIGNED = {"by": "centre", "at": at(DAY)}


@pytest.fixture
def law(db):
    factories.policies("jilin")


def opened(
    place: Institution, day: date = date(2018, 6, 1), tier: str = "county", **more: object
) -> NetworkLine:
    number = f"X{NetworkLine.objects.count() + 1:04d}"
    given = {"service": "single", "bandwidth_mb": 20, "count": 1, "number": number} | more
    return lines.open_line(institution=place, tier=tier, opened_on=day, **given, **SIGNED)


def bill_of(place: Institution, year: int = 2021) -> FeeBill:
    lines.make_bills(year=year, prefix="22", **SIGNED)
    return FeeBill.objects.get(institution=place, year=year)


def balances() -> dict[int, int]:
    found: dict[int, int] = {}
    for account, amount in Leg.objects.values_list("account", "amount"):
        found[account] = found.get(account, 0) + amount
    return {account: amount for account, amount in found.items() if amount}


def code_of(stopped: pytest.ExceptionInfo) -> str:
    return stopped.value.code


def test_a_bill_from_the_draft_to_the_payment(law):
    """二第2、3款、三第1款: whole service years, due at year end, paid at once; the commission's part too."""
    town = hospital("示例卫生院", "township", "220200")
    opened(town, date(2021, 3, 15), "township", bandwidth_mb=4)
    opened(town, date(2020, 3, 15), "township", bandwidth_mb=10, count=5)
    contract = maintenance.record_contract(
        institution=town,
        number="W1",
        base=8_000_000,
        rate=1000,
        accepted_on=date(2018, 5, 1),
        **SIGNED,
    )
    assert contract.starts_on == date(2021, 9, 1)
    bill = bill_of(town)
    assert (bill.amount, bill.commission, bill.open_items) == (1_550_000, 150_000, 0)
    assert (bill.by_month, bill.due_on, bill.state) == (
        625_000 + 266_667,
        date(2021, 12, 31),
        "draft",
    )
    assert balances() == {}
    lines.confirm_bill(bill=bill, **SIGNED)
    assert balances() == {
        Account.LINE_FEE_DUE: 1_550_000, Account.COMMISSION: 150_000, Account.LINE_FEE_PAYEE: -1_700_000,
    }  # fmt: skip
    task = Task.objects.get(subject=f"feebill:{bill.pk}", state="open", permission="lines.pay")
    assert (task.permission, task.institution_code, task.due) == ("lines.pay", town.pk, bill.due_on)
    line_payments.pay_bill(bill=bill, amount=1_550_000, paid_on=DAY, payment_no="J1", **SIGNED)
    line_payments.pay_commission(bill=bill, paid_on=DAY, payment_no="J2", **SIGNED)
    bill.refresh_from_db()
    assert (bill.state, bill.paid_on, balances()) == ("paid", DAY, {})
    assert ledger.balance().sound
    assert not Task.objects.filter(state="open").exists()


def test_bills_of_a_year_are_drawn_once(law):
    place = hospital("示例县医院", "county")
    opened(place)
    assert [lines.make_bills(year=2021, prefix="22", **SIGNED) for _ in range(2)] == [1, 0]
    assert lines.make_bills(year=2020, prefix="22", **SIGNED) == 1
    assert lines.make_bills(year=2018, prefix="22", **SIGNED) == 0
    with pytest.raises(Refusal):
        lines.make_bills(year=2022, prefix="22", **SIGNED)


def test_what_is_registered_after_the_confirmation_is_billed_too(law):
    """A line opened after its year's bill was confirmed, and one registered late, are owed for it."""
    place = hospital("示例县医院", "county")
    opened(place)
    first = lines.confirm_bill(bill=bill_of(place), by="centre", at=at(date(2021, 6, 1)))
    opened(place, date(2021, 10, 8), service="multi", bandwidth_mb=40)
    opened(place, date(2020, 3, 15))
    later = {"by": "centre", "at": at(date(2021, 12, 1))}
    assert [lines.make_bills(year=2021, prefix="22", **later) for _ in range(2)] == [1, 0]
    more = FeeBill.objects.get(institution=place, year=2021, part=2)
    assert (more.number, more.amount) == (f"网费2021-{place.pk}-追1", 2_500_000)
    assert (more.by_month, more.due_on) == (375_000 + 1_000_000, date(2021, 12, 31))
    lines.confirm_bill(bill=more, **SIGNED)
    for bill, number in ((first, "J1"), (more, "J2")):
        line_payments.pay_bill(
            bill=bill, amount=bill.amount, paid_on=DAY, payment_no=number, **SIGNED
        )
    assert balances() == {}
    assert (FeeItem.objects.count(), ledger.balance().sound) == (3, True)


def test_a_supplementary_bill_of_a_past_year_falls_due_at_the_next_year_end(law):
    place, after = hospital("示例县医院", "county"), {"by": "centre", "at": at(date(2022, 2, 1))}
    opened(place)
    lines.confirm_bill(bill=bill_of(place), **SIGNED)
    opened(place, date(2021, 10, 8))
    assert lines.make_bills(year=2021, prefix="22", **after) == 1
    dues = FeeBill.objects.values_list("part", "amount", "due_on")
    assert sorted(dues) == [
        (1, 1_000_000, date(2021, 12, 31)), (2, 1_000_000, date(2022, 12, 31)),
    ]  # fmt: skip


def test_what_is_registered_while_a_draft_waits_joins_it(law):
    """The decisions of persons on it stay; a bill drawn anew takes nothing that another one holds."""
    place = hospital("示例县医院", "county")
    opened(place, bandwidth_mb=30)
    bill = bill_of(place)
    lines.decide_item(item=bill.items.get(), amount=900_000, commission=0, note="协议", **SIGNED)
    opened(place)
    assert [lines.make_bills(year=2021, prefix="22", **SIGNED) for _ in range(2)] == [1, 0]
    bill.refresh_from_db()
    assert (bill.amount, bill.by_month, bill.open_items) == (1_900_000, 1_000_000, 0)
    lines.confirm_bill(bill=bill, **SIGNED)
    opened(place, date(2021, 10, 8))
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    more = FeeBill.objects.get(part=2)
    lines.redraw(bill=more, **SIGNED)
    more.refresh_from_db()
    assert (more.amount, more.by_month, more.items.count()) == (1_000_000, 250_000, 1)


def test_both_readings_over_the_years_agree_with_the_notice(law):
    """I-JL-4, JL-N12: three service years begun, 27 calendar months; earlier years fall due in 2021."""
    place = hospital("示例县医院", "county")
    opened(place)
    bills = [bill_of(place, year) for year in (2019, 2020, 2021)]
    assert sum(bill.amount for bill in bills) == 3_000_000
    assert sum(bill.by_month for bill in bills) == 2_250_000
    assert {bill.due_on for bill in bills} == {date(2021, 12, 31)}


def test_nothing_is_collected_before_the_notice(law):
    place = hospital("示例县医院", "county")
    opened(place)
    bill = bill_of(place, 2020)
    with pytest.raises(Refusal) as stopped:
        lines.confirm_bill(bill=bill, by="centre", at=at(date(2021, 3, 24)))
    assert code_of(stopped) == "NOT_COLLECTABLE"
    lines.confirm_bill(bill=bill, by="centre", at=at(date(2021, 3, 25)))


def test_a_year_that_the_commission_bears_asks_nothing_of_the_institution(law):
    town = hospital("示例卫生院", "township")
    opened(town, date(2021, 3, 15), "township", bandwidth_mb=4)
    bill = lines.confirm_bill(bill=bill_of(town), **SIGNED)
    assert (bill.state, bill.amount, bill.commission) == ("nothing", 0, 150_000)
    task = Task.objects.get(state="open")
    assert (task.permission, task.title, task.due) == (
        "lines.maintain", "示例卫生院：2021年度专线与维保费省卫健委承担 1500.00 元待支付",
        date(2021, 12, 31),
    )  # fmt: skip
    line_payments.pay_commission(bill=bill, paid_on=DAY, payment_no="J1", **SIGNED)
    assert not Task.objects.filter(state="open").exists()


def test_what_the_commission_owes_is_overdue_by_itself(law):
    """Neither the institution's payment nor a bill of the commission alone hides its debt."""
    town, whole = (hospital(name, "township") for name in ("示例卫生院", "示例二院"))
    for place in (town, whole):
        opened(place, date(2021, 3, 15), "township", bandwidth_mb=4)
    opened(town, date(2020, 3, 15), "township", bandwidth_mb=4)
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    lines.confirm_all(bills=FeeBill.objects.all(), **SIGNED)
    bill = FeeBill.objects.get(institution=town)
    line_payments.pay_bill(bill=bill, amount=150_000, paid_on=DAY, payment_no="J1", **SIGNED)
    after = date(2022, 1, 1)
    late = FeeBill.objects.overdue(on=after).order_by("pk")
    assert [(row.institution, row.state, row.commission) for row in late] == [
        (town, "paid", 150_000), (whole, "nothing", 150_000),
    ]  # fmt: skip
    assert line_payments.watch(on=after, by="system", at=at(after)) == 2
    task = Task.objects.get(subject=f"feebill:{bill.pk}", permission="lines.collect")
    assert task.title == "示例卫生院：2021年度专线与维保费省卫健委承担部分逾期未付，视情况处理"
    line_payments.handle_overdue(bill=bill, note="已函告", by="centre", at=at(after))
    for row, number in zip(late, ("J2", "J3"), strict=True):
        line_payments.pay_commission(
            bill=row, paid_on=after, payment_no=number, by="centre", at=at(after)
        )
    assert (list(FeeBill.objects.overdue(on=after)), balances()) == ([], {})
    assert not Task.objects.filter(state="open").exists()


@pytest.mark.parametrize(
    ("tier", "day", "wide", "reason"),
    [
        ("county", date(2018, 6, 1), 30, "NO_TARIFF"),
        ("township", date(2020, 3, 15), 20, "TARIFF_AMBIGUOUS"),
        ("community", date(2020, 3, 15), 4, "TARIFF_AMBIGUOUS"),
    ],
)
def test_what_the_tariff_leaves_open_is_decided_by_a_person(law, tier, day, wide, reason):
    """I-JL-5: no guess; the bill waits, the ground of the decision is kept."""
    place = hospital("示例医院", tier)
    opened(place, day, tier, bandwidth_mb=wide)
    bill = bill_of(place)
    item = bill.items.get()
    assert (item.decision, item.reason, item.amount, bill.open_items) == ("review", reason, None, 1)
    with pytest.raises(Refusal) as stopped:
        lines.confirm_bill(bill=bill, **SIGNED)
    assert code_of(stopped) == "ITEM_OPEN"
    done, waiting = lines.confirm_all(bills=FeeBill.objects.all(), **SIGNED)
    assert (done, waiting) == (0, [bill])
    with pytest.raises(Refusal):
        lines.decide_item(item=item, amount=1, commission=0, note="", **SIGNED)
    lines.decide_item(item=item, amount=500_000, commission=0, note="按当地协议", **SIGNED)
    bill.refresh_from_db()
    assert (bill.amount, bill.open_items) == (500_000, 0)
    assert lines.confirm_all(bills=FeeBill.objects.all(), **SIGNED) == (1, [])
    with pytest.raises(Refusal) as stopped:
        lines.decide_item(item=item, amount=0, commission=0, note="x", **SIGNED)
    assert code_of(stopped) == "BILL_CONFIRMED"


def test_a_clear_item_is_not_decided_by_hand_and_a_draft_can_be_drawn_anew(law):
    place = hospital("示例县医院", "county")
    line = opened(place)
    bill = bill_of(place)
    with pytest.raises(Refusal) as stopped:
        lines.decide_item(item=bill.items.get(), amount=0, commission=0, note="x", **SIGNED)
    assert code_of(stopped) == "ITEM_CLEAR"
    opened(place, service="multi", bandwidth_mb=40)
    lines.close_line(line=line, closed_on=date(2021, 9, 30), **SIGNED)
    lines.redraw(bill=bill, **SIGNED)
    bill.refresh_from_db()
    assert (bill.amount, bill.items.count()) == (1_500_000, 1)
    with pytest.raises(Refusal):
        lines.close_line(line=line, closed_on=DAY, **SIGNED)


@pytest.mark.parametrize("amount", [999_999, 1_000_001, 0])
def test_a_payment_is_whole(law, amount):
    place = hospital("示例县医院", "county")
    opened(place)
    bill = lines.confirm_bill(bill=bill_of(place), **SIGNED)
    with pytest.raises(Refusal) as stopped:
        line_payments.pay_bill(bill=bill, amount=amount, paid_on=DAY, payment_no="J1", **SIGNED)
    assert code_of(stopped) == "AMOUNT_DIFFERS"


def test_a_payment_is_made_once_and_its_voucher_number_is_used_once(law):
    place, other = hospital("示例县医院", "county"), hospital("示例县二院", "county")
    for row in (place, other):
        opened(row)
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    lines.confirm_all(bills=FeeBill.objects.all(), **SIGNED)
    first, second = FeeBill.objects.order_by("pk")
    pay = {"amount": 1_000_000, "paid_on": DAY, **SIGNED}
    line_payments.pay_bill(bill=first, payment_no="J1", **pay)
    for bill, number, code in ((first, "J2", "ALREADY_PAID"), (second, "J1", "PAYMENT_TAKEN")):
        with pytest.raises(Refusal) as stopped:
            line_payments.pay_bill(bill=bill, payment_no=number, **pay)
        assert code_of(stopped) == code
    with pytest.raises(Refusal):
        line_payments.pay_commission(bill=second, paid_on=DAY, payment_no="J3", **SIGNED)
    for day in (date(2021, 12, 21), date(2021, 12, 19)):
        with pytest.raises(Refusal):
            line_payments.pay_bill(bill=second, payment_no="J4", **(pay | {"paid_on": day}))


def test_overdue_after_the_last_day_of_the_year(law, settings):
    """I-JL-6: 12-31 without roll-over; the centre handles it, the bill stays owed."""
    place = hospital("示例县医院", "county")
    opened(place)
    bill = lines.confirm_bill(bill=bill_of(place), **SIGNED)
    assert not FeeBill.objects.overdue(on=date(2021, 12, 31)).exists()
    after = date(2022, 1, 1)
    assert list(FeeBill.objects.overdue(on=after)) == [bill]
    with pytest.raises(Refusal) as stopped:
        line_payments.handle_overdue(bill=bill, note="催缴", **SIGNED)
    assert code_of(stopped) == "NOT_OVERDUE"
    settings.DEMO_TODAY = after
    assert [watch_fee_bills() for _ in range(2)] == [1, 1]
    task = Task.objects.get(subject=f"feebill:{bill.pk}", permission="lines.collect")
    assert task.state == "open"
    line_payments.handle_overdue(bill=bill, note="已函告并暂停新开业务", by="centre", at=at(after))
    task.refresh_from_db()
    assert task.state == "done"
    assert line_payments.watch(on=after, by="system", at=at(after)) == 0
    bill.refresh_from_db()
    assert (bill.state, bill.handled_note) == ("confirmed", "已函告并暂停新开业务")
    line_payments.pay_bill(
        bill=bill, amount=1_000_000, paid_on=after, payment_no="J1", by="centre", at=at(after)
    )
    assert not FeeBill.objects.overdue(on=date(2022, 2, 1)).exists()


@pytest.mark.parametrize(
    ("rate", "fits"), [(999, False), (1000, True), (2000, True), (2001, False)]
)
def test_the_rate_of_maintenance_lies_within_the_notice(law, rate, fits):
    """二第2款: both ends are allowed."""
    place = hospital("示例县医院", "county")
    given = {"institution": place, "number": "W1", "base": 100, "rate": rate, **SIGNED}
    if fits:
        assert maintenance.record_contract(**given).rate == rate
        return
    with pytest.raises(Refusal) as stopped:
        maintenance.record_contract(**given)
    assert code_of(stopped) == "RATE_OUT_OF_RANGE"


def test_registers_refuse_what_cannot_be(law):
    place = hospital("示例县医院", "county")
    line = opened(place)
    with pytest.raises(Refusal):
        opened(place, date(2021, 12, 21))
    with pytest.raises(Refusal):
        lines.open_line(
            institution=place, number=line.number, service="single", bandwidth_mb=20, count=1,
            tier="county", opened_on=DAY, **SIGNED,
        )  # fmt: skip
    for day in (date(2018, 5, 31), date(2021, 12, 21)):
        with pytest.raises(Refusal):
            lines.close_line(line=line, closed_on=day, **SIGNED)
    with pytest.raises(Refusal) as stopped:
        maintenance.record_contract(
            institution=place, number="W1", base=100, rate=1000, ends_on=date(2021, 8, 31), **SIGNED
        )
    assert code_of(stopped) == "UNDER_WARRANTY"
    with pytest.raises(Refusal) as stopped:
        opened(factories.institution("nantong", agreements=False))
    assert code_of(stopped) == "RULE_NOT_IN_FORCE"


def test_a_hospital_sees_its_own_lines_only(law):
    place, other = hospital("示例县医院", "county"), hospital("示例县二院", "county")
    for row in (place, other):
        opened(row)
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    for model in (NetworkLine, FeeBill, FeeItem):
        assert model.objects.visible_to(person(place)).count() == 1
        with scoped(person(place).scope_codes()):
            assert model.objects.count() == 1
        assert (
            model.objects.visible_to(person(factories.region("jilin"), "health_commission")).count()
            == 2
        )


TWICE = """INSERT INTO settlement_maintenancecontract (institution_id, number, base, rate, starts_on,
    region_code, institution_code, recorded_at, recorded_by, voided_by, void_reason)
SELECT institution_id, number, base, rate, starts_on, region_code, institution_code, recorded_at,
    recorded_by, '', '' FROM settlement_maintenancecontract"""
NONSENSE = (
    ("UPDATE settlement_networkline SET bandwidth_mb = 0", "line_has_width"),
    ("UPDATE settlement_networkline SET closed_on = '2000-01-01'", "line_closed_after_opening"),
    ("UPDATE settlement_networkline SET construction_fee = -1", "line_construction_fee"),
    ("UPDATE settlement_maintenancecontract SET rate = 0", "maintenance_rate"),
    ("UPDATE settlement_maintenancecontract SET ends_on = '2000-01-01'", "maintenance_span"),
    ("UPDATE settlement_maintenancecontract SET voided_at = now(), void_reason = 'x'",
     "contract_voided_by_another"),
    (TWICE, "contract_number_once"),
    ("UPDATE settlement_feebill SET amount = -1", "fee_bill_amounts"),
    ("UPDATE settlement_feebill SET state = 'confirmed'", "fee_bill_confirmed"),
    ("UPDATE settlement_feebill SET paid_on = '2021-01-01'", "fee_bill_paid"),
    ("UPDATE settlement_feebill SET state = 'confirmed', confirmed_at = now(), amount = 0",
     "fee_bill_owed"),
    ("UPDATE settlement_feebill SET part = 0", "fee_bill_part"),
    ("UPDATE settlement_feeitem SET contract_id = NULL, line_id = NULL", "fee_item_of_line_or_contract"),
    ("UPDATE settlement_feeitem SET last = '2000-01-01'", "fee_item_span"),
    ("UPDATE settlement_feeitem SET amount = -1", "fee_item_amounts"),
)  # fmt: skip


def test_the_database_refuses_nonsense(law):
    place = hospital("示例县医院", "county")
    opened(place)
    maintenance.record_contract(institution=place, number="W1", base=100, rate=1000, **SIGNED)
    bill = bill_of(place)
    for statement, name in NONSENSE:
        with (
            pytest.raises(IntegrityError, match=name), transaction.atomic(),
            connection.cursor() as cursor,
        ):  # fmt: skip
            cursor.execute(statement)
    lines.confirm_bill(bill=bill, **SIGNED)
    for statement in (
        "UPDATE settlement_feebill SET amount = 1", "DELETE FROM settlement_feebill",
        "DELETE FROM settlement_networkline",
    ):  # fmt: skip
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_a_run_of_bills_at_the_same_moment_makes_each_once(committed_db):
    factories.policies("jilin")
    for number in range(20):
        opened(hospital(f"示例县医院{number}", "county"))
    made: list[int] = []

    def run() -> None:
        with scoped(EVERYTHING):
            made.append(lines.make_bills(year=2021, prefix="22", **SIGNED))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [0, 0, 0, 20]
    with scoped(EVERYTHING):
        assert (FeeBill.objects.count(), FeeItem.objects.count()) == (20, 20)


def test_a_bill_is_paid_once_by_many_at_once(committed_db):
    factories.policies("jilin")
    place = hospital("示例县医院", "county")
    opened(place)
    bill = lines.confirm_bill(bill=bill_of(place), **SIGNED)
    outcomes: list[str] = []

    def pay(number: int) -> None:
        try:
            with scoped(EVERYTHING):
                line_payments.pay_bill(
                    bill=bill, amount=1_000_000, paid_on=DAY, payment_no=f"J{number}", **SIGNED
                )
            outcomes.append("ok")
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=pay, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ALREADY_PAID"] * 5 + ["ok"]
    with scoped(EVERYTHING):
        assert Voucher.objects.filter(kind="line_payment").count() == 1
        assert MaintenanceContract.objects.count() == 0
