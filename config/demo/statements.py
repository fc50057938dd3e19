"""Months of money: Wenzhou's closed one by one, one that waits for its hospitals, budgets, an advance.

Real commands on the demonstration's own claims; ratios and lines are example parameters (示例).
"""

import datetime as dt

from django.db.models import Min

from config.demo import TODAY, moment
from config.demo.accounts import client_id
from config.demo.hospitals import HOSPITALS
from config.demo.sending import sender
from institutions.calendar import add_months
from institutions.models import Institution, User
from institutions.tokens import Client
from settlement import advances, bank_files, budgets, closing, payments
from settlement.models import ClaimKey, Leg, Settlement, Statement
from settlement.statement_api import StatementsView
from settlement.statement_steps import deduct, send_all, take
from settlement.systems import System

Day = dt.date
POOL, AREA = "wenzhou", "3303"
CLERK, FINANCE, REVIEWER = "clerk.wenzhou", "finance.wenzhou", "reviewer.wenzhou"
POLICY, SECOND = "policy.wenzhou", "policy2.wenzhou"
ADVANCED, ADVANCED_TO = 200_000, "wz1"  #: fen
CUTS = 5  #: deductions in the month that is not confirmed yet
UNIT = 100_000  #: fen: indicators are whole thousands of yuan
DOCUMENT = "示例：2021年度总额预算通知"
SIGNER = "示例确认人"
PAPER = b"%PDF-1.4\n% \xe7\xa4\xba\xe4\xbe\x8b\n"


def make_statements() -> str:
    """Close the months until the one before last; of the last one the hospitals confirm a part."""
    months = _months()
    if not months:
        return "没有可关账的月份"
    places = {HOSPITALS[key].code: key for key in HOSPITALS if HOSPITALS[key].region == POOL}
    _advance(months[0])
    for month in months[:-1]:
        following = add_months(month, 1)
        _sent(month, following.replace(day=4))
        for row in Statement.objects.filter(pool=POOL, period=month, state="sent"):
            _confirm(row, places, following.replace(day=8))
        closing.close(pool=POOL, month=month, by=FINANCE, at=moment(following.replace(day=9)))
    return _last(months[-1], places) + f"，另已关账{len(months) - 1}个月，总额预算{_budgets()}项"


def _months() -> list[Day]:
    """The months with postings, the running one left out."""
    rows = Settlement.objects.filter(region_code__within=AREA)
    month, months = rows.aggregate(first=Min("period"))["first"], []
    while month is not None and month < TODAY.replace(day=1):
        months.append(month)
        month = add_months(month, 1)
    return months


def _sent(month: Day, day: Day) -> None:
    period = closing.begin_closing(pool=POOL, month=month, by=FINANCE, at=moment(day))
    clerk = User.objects.get(username=CLERK)
    send_all(period=period, who=clerk, by=CLERK, at=moment(day, 10))


def _signer(row: Statement, places: dict[str, str]) -> tuple[str, User | System]:
    """The hospital's log-in, or its system over the interface."""
    key = places[row.institution_code]
    name = sender(key)
    person = User.objects.filter(username=name).first()
    system = Client(client_id(key), frozenset(), row.institution_code, row.region_code, POOL, None)
    return name, person or System(system, StatementsView.may)


def _confirm(row: Statement, places: dict[str, str], day: Day) -> None:
    name, who = _signer(row, places)
    take(statement=row, step="confirm", who=who, by=name, at=moment(day, 15),
         facts={"signed_name": SIGNER})  # fmt: skip


def _last(month: Day, places: dict[str, str]) -> str:
    """The month that is being closed: deductions, some confirmed, one objected to, the rest wait."""
    following = add_months(month, 1)
    paid = Settlement.objects.filter(
        region_code__within=AREA, period=month, version=1, fund__gt=200
    )
    again = Settlement.objects.filter(period__gte=month, version=2).values("claim_id")
    reasons = ("duplicate", "records", "not_follow_up", "inflated", "split")
    persons = Leg.objects.filter(account=Leg.Account.PERSON_PAYABLE).values("claim_id")
    theirs = paid.exclude(claim_id__in=again).exclude(claim_id__in=persons)
    cut = list(theirs.order_by("claim_id")[:CUTS])
    for paid_claim, reason in zip(cut, reasons, strict=False):
        deduct(
            claim_id=paid_claim.claim_id, amount=paid_claim.fund // 2, reason=reason,
            note="示例：人工重点审核查实", by=REVIEWER, at=moment(following.replace(day=2)),
        )  # fmt: skip
    _sent(month, following.replace(day=13))
    rows = list(Statement.objects.filter(pool=POOL, period=month, state="sent").order_by("pk"))
    disputed = cut[0].claim_id if cut else 0
    for number, row in enumerate(rows):
        mine = row.deductions.filter(claim_id=disputed).exists()
        if mine:
            _object(row, places, disputed, following.replace(day=15))
        elif number % 2:
            _confirm(row, places, following.replace(day=15))
    return f"{month:%Y年%m月}结算单{len(rows)}张正在确认，扣款{len(cut)}笔"


def _object(row: Statement, places: dict[str, str], claim: int, day: Day) -> None:
    name, who = _signer(row, places)
    number = ClaimKey.objects.get(claim_id=claim).claim_no
    take(statement=row, step="object", who=who, by=name, at=moment(day, 16),
         facts={"reason": "示例：两次诊疗科室不同，不属于重复收费，申请复核", "claims": number,
                "signed_name": SIGNER})  # fmt: skip


def _advance(month: Day) -> None:
    institution = Institution.objects.select_related("region").get(pk=HOSPITALS[ADVANCED_TO].code)
    row = advances.propose(
        institution=institution, scheme="employee", amount=ADVANCED, reason="示例：开通初期周转",
        document="示例：预付协议", file=("预付协议（示例）.pdf", PAPER), by=CLERK,
        at=moment(month.replace(day=20)),
    )  # fmt: skip
    day = month.replace(day=22)
    advances.decide(advance=row, agree=True, decision="同意", by=FINANCE, at=moment(day))
    made = payments.prepare(subjects=[row.subject], region=institution.region, note="预付款（示例）",
                            by=CLERK, at=moment(day, 10))  # fmt: skip
    payments.approve(made=made, by=FINANCE, at=moment(day, 11))
    payments.export(made=made, form="csv", by=CLERK, at=moment(day, 14))
    paid = [
        bank_files.Answer(number=order.number, amount=order.amount, on=day, state="paid", reason="",
                          serial=f"YF{order.pk:010d}")
        for order in made.orders.all()
    ]  # fmt: skip
    payments.take_results(made=made, answers=paid, by=FINANCE, at=moment(day, 16))


def _budgets() -> int:
    """Indicators that one year's use comes near to; one is over its first warning line."""
    places = list(Institution.objects.filter(region__policy_region=POOL, parent__isnull=True))
    count = 0
    for number, found in enumerate(budgets.budgets(TODAY.year, places)):
        if found.used <= 0:
            continue
        amount = -(-found.used * (12 + number % 4) // 10 // UNIT) * UNIT
        entry = budgets.propose(
            institution=next(row for row in places if row.pk == found.institution),
            scheme=found.scheme, year=TODAY.year, amount=amount, reason="示例：年初下达",
            document=DOCUMENT, by=POLICY, at=moment(Day(TODAY.year, 3, 20)),
        )  # fmt: skip
        budgets.decide(entry=entry, agree=True, decision="同意", by=SECOND,
                       at=moment(Day(TODAY.year, 3, 22)))  # fmt: skip
        count += 1
    budgets.watch(pool=POOL, year=TODAY.year, by="system:beat", at=moment(TODAY, 6))
    return count
