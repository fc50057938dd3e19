"""Refunds: money of a payment that its payee gives back, the way it went, confirmed by a second person.

退回的基金退回原账户 (医疗保障基金使用监督管理条例 第四十五条): a refund names the payment that it undoes and
comes back into the account that paid it.
"""

import datetime as dt

from django.db import transaction
from django.db.models import Sum
from django.urls import reverse

from audit import clock, tasks, trail
from institutions.refusals import Refusal, refused
from settlement import adjustments, advances, reimbursements
from settlement.models import Adjustment, Leg, PaymentOrder, Refund, Voucher, Way
from settlement.payments import APPROVE, debited
from settlement.periods import posting_month
from settlement.personal_accounts import credit_account
from settlement.vouchers import post_voucher

State = Refund.State
CLAUSE = "医疗保障基金使用监督管理条例 第四十五条"


@transaction.atomic
def record(
    *, order: PaymentOrder, amount: int, received_on: dt.date, reason: str, by: str, at: dt.datetime,
    bank_serial: str = "",
) -> Refund:  # fmt: skip
    """Record what came back of a paid order, never more than it paid; a second person posts it."""
    paid = PaymentOrder.objects.select_for_update().get(pk=order.pk)
    _sound(paid, amount, received_on, reason, bank_serial.strip(), clock.local(at).date())
    series = f"TK{paid.region_code}-{clock.local(at):%Y%m}"
    made = Refund.objects.create(
        number=f"{series}-{tasks.next_number(series):04d}", region_code=paid.region_code, order=paid,
        amount=amount, way=paid.way, bank_serial=bank_serial.strip(), received_on=received_on,
        reason=reason.strip(), clause=CLAUSE, recorded_at=at, recorded_by=by,
    )  # fmt: skip
    _not_set_off(made)
    _record(made, "record", by, at)
    tasks.open_task(
        subject=f"refund:{made.pk}", permission=APPROVE, at=at, region_code=made.region_code,
        title=f"复核退款 {made.number}", status=made.get_state_display(), clause=CLAUSE,
        url=reverse("refunds"),
    )  # fmt: skip
    return made


def _sound(
    order: PaymentOrder, amount: int, received_on: dt.date, reason: str, serial: str, today: dt.date
) -> None:
    _still_paid(order)
    if received_on > today or (order.result_on is not None and received_on < order.result_on):
        raise refused("received_on", "DAY", "到账日应在支付日之后且不晚于今天", "the day is wrong")
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写退款事由", "a reason is needed")
    if (order.way == Way.BANK) != bool(serial):
        words = (
            "原路退回银行须填写银行流水号"
            if order.way == Way.BANK
            else "原路退回个人账户没有银行流水号"
        )
        raise refused("bank_serial", "WAY", words, "it goes back the way it came", clause=CLAUSE)
    same = Refund.objects.filter(region_code=order.region_code, bank_serial=serial)
    others = Adjustment.objects.filter(region_code=order.region_code, collected_serial=serial)
    if serial and (same.exclude(state=State.REFUSED).exists() or others.exists()):
        raise refused("bank_serial", "SERIAL_USED", "该银行流水号已登记过退款", "the serial was used",
                      status=409)  # fmt: skip
    rows = order.refunds.exclude(state=State.REFUSED).aggregate(fen=Sum("amount"))
    if amount <= 0 or amount + (rows["fen"] or 0) > order.amount:
        raise refused(
            "amount", "TOO_MUCH", "退款合计不得超过该指令支付的金额", "more than was paid"
        )


def _still_paid(order: PaymentOrder) -> None:
    if order.state != PaymentOrder.State.PAID:
        raise refused(
            "order", "NOT_PAID", "只有已支付的指令可以退款", "it was not paid", status=409
        )


def _not_set_off(row: Refund) -> None:
    """Of an advance comes back what no statement sets off and no other refund takes."""
    institution = row.order.payee_institution
    if institution is None or debited(row.order)[1] != Leg.Account.ADVANCE:
        return
    left = advances.free([institution.pk]).get((institution.pk, row.order.scheme), 0)
    if left < 0:  # this refund is counted in it
        most = max(left + row.amount, 0)
        raise refused("amount", "SET_OFF",
                      f"预付款已冲抵、已列入送达的结算单或另有退款待复核，至多可退{most / 100:.2f}元",
                      "statements and refunds take the rest", status=409)  # fmt: skip


@transaction.atomic
def decide(*, refund: Refund, accept: bool, by: str, at: dt.datetime) -> Refund:
    """A second person posts a refund (debit bank or account, credit what it paid) or gives it back."""
    posting_month(refund.region_code, at)
    rows = Refund.objects.select_for_update(of=("self",))
    row = rows.select_related("order__payee_institution").get(pk=refund.pk)
    if row.state != State.RECORDED:
        raise Refusal(409, "REFUND_DECIDED", ("该退款已复核", "it was decided before"))
    if by == row.recorded_by:
        raise Refusal(403, "SAME_PERSON", ("登记人不能复核自己的退款", "a second person decides"))
    if accept:
        _still_paid(row.order)
        _not_set_off(row)
    row.state = State.POSTED if accept else State.REFUSED
    row.decided_at, row.decided_by = at, by
    row.save()
    if accept:
        _post(row, by, at)
        reimbursements.refunded(subject=row.order.subject, by=by, at=at)
        adjustments.refunded(subject=row.order.subject, at=at)
    _record(row, "post" if accept else "refuse", by, at)
    tasks.close(subject=f"refund:{row.pk}", by=by, at=at)
    return row


def _post(row: Refund, by: str, at: dt.datetime) -> None:
    order, institution = row.order, row.order.payee_institution
    bank = row.way == Way.BANK
    if not bank:
        credit_account(person_id=order.payee_person_id or 0, amount=-row.amount, at=at)
    into = Leg.Account.BANK if bank else Leg.Account.PERSONAL_ACCOUNT
    post_voucher(
        kind=Voucher.Kind.REFUND, effect=f"refund:{row.pk}", subject=order.subject,
        legs={into: row.amount, debited(order)[1]: -row.amount},
        region_code=institution.region_id if institution else row.region_code,
        institution_code=institution.pk if institution else "", scheme=order.scheme,
        reason=row.reason, clause=row.clause, by=row.recorded_by, approved_by=by, at=at,
        detail={"refund": row.number, "order": order.number, "serial": row.bank_serial,
                "account": order.account_masked, "way": row.way},
    )  # fmt: skip


def _record(row: Refund, action: str, by: str, at: dt.datetime) -> None:
    trail.record(
        by=by, at=at, action=f"refund.{action}", subject=f"refund:{row.pk}",
        region_code=row.region_code,
        detail={"number": row.number, "order": row.order.number, "amount": row.amount,
                "way": row.way, "reason": row.reason},
    )  # fmt: skip
