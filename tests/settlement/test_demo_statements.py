"""The demonstration's months of money are made by the portal's own commands."""

import datetime as dt

from config.demo.hospitals import HOSPITALS
from config.demo.statements import make_statements
from institutions.access import EVERYTHING, set_scope
from institutions.commands import set_account
from institutions.models import Institution, User
from settlement import ledger
from settlement.models import BudgetEntry, Deduction, Period, Statement, Voucher
from tests.factories import LONG_AGO
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at


def test_months_are_closed_and_the_last_one_waits(db) -> None:
    set_scope(EVERYTHING)
    places = []
    for key in ("wz1", "wz2"):
        made = money.Place("wenzhou", "employee")
        made.hospital = Institution.objects.create(
            code=HOSPITALS[key].code, name=HOSPITALS[key].name, region=made.hospital.region
        )
        made.code = made.hospital.pk
        set_account(institution=made.hospital, holder=made.hospital.name, bank="示例银行",
                    number=f"620000000000{made.hospital.pk[-4:]}", valid_from=LONG_AGO, by="clerk",
                    at=at(1, 1))  # fmt: skip
        places.append(made)
    for name, role in (("clerk", "settlement_clerk"), ("finance", "finance_officer")):
        User.objects.create(username=f"{name}.wenzhou", role=role, region_id=places[0].region)
    for place in places:
        for month in (dt.date(2021, 9, 1), dt.date(2021, 10, 1), NOVEMBER):
            place.claim(fund=50_000, month=month)
            place.claim(fund=7000, account=100, month=month)
        place.claim(fund=900, when=at(12, 3))
    assert make_statements().startswith("2021年11月结算单2张正在确认，扣款4笔，另已关账2个月")
    states = Period.objects.order_by("month").values_list("state", flat=True)
    assert list(states) == ["closed", "closed", "closing"]
    assert Statement.objects.filter(state="confirmed").count() == 5
    assert Statement.objects.get(state="objected").deductions.filter(state="disputed").count() == 1
    assert Deduction.objects.count() == 4
    assert BudgetEntry.objects.filter(state="approved").count() == 2
    advanced = Voucher.objects.get(kind="advance")
    assert (advanced.amount, advanced.detail["serial"][:2]) == (200_000, "YF")
    assert ledger.balance().sound
