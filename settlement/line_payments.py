"""Payments of yearly bills of lines and maintenance: registered, undone by a second person, overdue.

(吉卫便函〔2021〕3号 三第1款)
"""

import datetime as dt
from collections.abc import Iterable

from django.db import transaction
from django.urls import reverse

from audit import clock, tasks
from institutions.models import Institution
from institutions.money import yuan
from institutions.refusals import refused
from settlement.lines import (
    COLLECT,
    MAINTAIN,
    PAY,
    State,
    alone,
    ask_for_payment,
    conflict,
    effect_of,
    law_of,
    noted,
)
from settlement.models import FeeBill, Leg, Voucher
from settlement.vouchers import post_voucher, reverse_voucher


@transaction.atomic
def pay_bill(
    *, bill: FeeBill, amount: int, paid_on: dt.date, payment_no: str, by: str, at: dt.datetime
) -> Voucher:
    """Paid once and in full at year end (年底一次性缴齐): no part, no more, no second time."""
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if row.state != State.CONFIRMED:
        text = "该账单已缴清" if row.state == State.PAID else "该账单没有待缴金额"
        raise conflict("ALREADY_PAID", text, "nothing is owed on it")
    if amount != row.amount:
        raise refused("amount", "AMOUNT_DIFFERS", f"应一次性缴齐 {yuan(row.amount)} 元",
                      "pay all of it at once, not more", clause="三第1款")  # fmt: skip
    _payable(row, paid_on, payment_no, at=at)
    account = Leg.Account
    voucher = post_voucher(
        kind=Voucher.Kind.LINE_PAYMENT, effect=effect_of(row, "paid"), subject=f"feebill:{row.pk}",
        legs={account.LINE_FEE_PAYEE: amount, account.LINE_FEE_DUE: -amount},
        region_code=row.region_code, institution_code=row.institution_code, by=by, at=at,
        detail={"payment_no": payment_no, "paid_on": paid_on.isoformat()},
    )  # fmt: skip
    row.state, row.paid_on, row.paid_by, row.payment_no = State.PAID, paid_on, by, payment_no
    row.save(update_fields=["state", "paid_on", "paid_by", "payment_no"])
    _done(row, PAY, by=by, at=at)
    noted(row, "feebill.pay", by=by, at=at, amount=amount, paid_on=paid_on,
           on_time=paid_on <= row.due_on)  # fmt: skip
    return voucher


@transaction.atomic
def pay_commission(
    *, bill: FeeBill, paid_on: dt.date, payment_no: str, by: str, at: dt.datetime
) -> Voucher:
    """The commission's part of a bill (开通日期开始一年内的费用由省卫健委承担), paid once."""
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if row.state == State.DRAFT or not row.commission:
        raise conflict("NOTHING_OWED", "该账单没有省卫健委承担的金额", "nothing is owed")
    if row.commission_paid_on:
        raise conflict("ALREADY_PAID", "省卫健委承担部分已支付", "it is paid already")
    _payable(row, paid_on, payment_no, at=at)
    account = Leg.Account
    voucher = post_voucher(
        kind=Voucher.Kind.LINE_PAYMENT, effect=effect_of(row, "commission"),
        subject=f"feebill:{row.pk}", region_code=row.region_code,
        legs={account.LINE_FEE_PAYEE: row.commission, account.COMMISSION: -row.commission},
        institution_code=row.institution_code, by=by, at=at, detail={"payment_no": payment_no},
    )  # fmt: skip
    row.commission_paid_on, row.commission_payment_no = paid_on, payment_no
    row.save(update_fields=["commission_paid_on", "commission_payment_no"])
    _done(row, MAINTAIN, by=by, at=at)
    noted(row, "feebill.commission", by=by, at=at, amount=row.commission, paid_on=paid_on)
    return voucher


def _done(row: FeeBill, permission: str, *, by: str, at: dt.datetime) -> None:
    """Nobody waits for this part any more, nor for the whole bill once nothing is owed."""
    tasks.close(
        subject=f"feebill:{row.pk}", by=by, at=at, permission=permission if row.owed else ""
    )


def _payable(row: FeeBill, paid_on: dt.date, payment_no: str, *, at: dt.datetime) -> None:
    if row.confirmed_at is None or paid_on > clock.local(at).date():
        raise refused("paid_on", "DAY_NOT_POSSIBLE", "缴费日不能晚于今天", "not in the future")
    if paid_on < clock.local(row.confirmed_at).date():
        raise refused("paid_on", "DAY_NOT_POSSIBLE", "缴费日不能早于账单确认日",
                      "not before the confirmation")  # fmt: skip
    if FeeBill.objects.filter(payment_no=payment_no).exists():
        raise refused("payment_no", "PAYMENT_TAKEN", "该缴费凭据已用于另一账单",
                      "used for another bill", status=409)  # fmt: skip


# --- Undone ---


@transaction.atomic
def undo_confirmation(*, bill: FeeBill, reason: str, by: str, at: dt.datetime) -> None:
    """A wrongly confirmed bill is a draft again, its posting reversed; what was paid is undone before."""
    alone(bill.year)
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if row.state not in (State.CONFIRMED, State.NOTHING) or row.commission_paid_on:
        raise conflict(
            "NOT_UNDONE", "账单未确认，或已登记缴费（先冲销缴费）", "not confirmed, or paid"
        )
    if FeeBill.objects.filter(
        institution=row.institution_id, year=row.year, state=State.DRAFT
    ).exists():
        raise conflict("DRAFT_WAITS", "该年度另有待确认的账单，请先确认", "another draft waits")
    _another(row.confirmed_by, by, reason)
    _reverse(row, "due", reason=reason, by=by, at=at)
    row.state, row.confirmed_at, row.confirmed_by = State.DRAFT, None, ""
    row.handled_on, row.handled_note, row.handled_by = None, "", ""
    row.save(update_fields=["state", "confirmed_at", "confirmed_by", "handled_on", "handled_note",
                            "handled_by"])  # fmt: skip
    tasks.close(subject=f"feebill:{row.pk}", by=by, at=at)
    noted(row, "feebill.unconfirm", by=by, at=at, amount=row.amount, reason=reason)


@transaction.atomic
def undo_payment(*, bill: FeeBill, reason: str, by: str, at: dt.datetime) -> None:
    """A wrongly registered payment is reversed; the bill is owed again."""
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if row.state != State.PAID:
        raise conflict("NOT_PAID", "该账单没有已登记的缴费", "no payment is registered")
    _another(row.paid_by, by, reason)
    _reverse(row, "paid", reason=reason, by=by, at=at)
    noted(row, "feebill.unpay", by=by, at=at, amount=row.amount, payment_no=row.payment_no,
          reason=reason)  # fmt: skip
    row.state, row.paid_on, row.paid_by, row.payment_no = State.CONFIRMED, None, "", ""
    row.save(update_fields=["state", "paid_on", "paid_by", "payment_no"])
    _ask_again(row, at=at)


@transaction.atomic
def undo_commission(*, bill: FeeBill, reason: str, by: str, at: dt.datetime) -> None:
    """A wrongly registered payment of the commission is reversed; its part is owed again."""
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if row.commission_paid_on is None:
        raise conflict("NOT_PAID", "没有已登记的省卫健委支付", "no payment is registered")
    _another(_posted(row, "commission").posted_by, by, reason)
    _reverse(row, "commission", reason=reason, by=by, at=at)
    noted(row, "feebill.uncommission", by=by, at=at, amount=row.commission,
          payment_no=row.commission_payment_no, reason=reason)  # fmt: skip
    row.commission_paid_on, row.commission_payment_no = None, ""
    row.save(update_fields=["commission_paid_on", "commission_payment_no"])
    _ask_again(row, at=at)


def _ask_again(row: FeeBill, *, at: dt.datetime) -> None:
    place = Institution.objects.select_related("region").get(pk=row.institution_id)
    release = law_of(place.region.policy_region, clock.local(at).date())
    ask_for_payment(row, release=release, at=at)


def _another(first: str, by: str, reason: str) -> None:
    if first == by:
        raise refused("", "SAME_PERSON", "冲销须由原经办人以外的人办理", "another person undoes it",
                      status=403)  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写冲销理由", "a reason is needed")


def _posted(row: FeeBill, what: str) -> Voucher:
    """The posting of a bill that stands."""
    return Voucher.objects.get(
        subject=f"feebill:{row.pk}", effect__startswith=f"feebill:{row.pk}/{what}",
        reversed_by__isnull=True,
    )  # fmt: skip


def _reverse(row: FeeBill, what: str, *, reason: str, by: str, at: dt.datetime) -> None:
    if what != "due" or row.amount + row.commission:  # a bill of nothing posted nothing
        reverse_voucher(voucher=_posted(row, what), reason=reason[:200], by=by, at=at)


# --- Overdue ---


@transaction.atomic
def handle_overdue(*, bill: FeeBill, note: str, by: str, at: dt.datetime) -> None:
    """What the telemedicine centre did about an overdue bill; how is not printed. The bill stays owed."""
    today = clock.local(at).date()
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if not row.owed or row.due_on >= today:
        raise conflict("NOT_OVERDUE", "该账单没有逾期", "it is not overdue", clause="三第1款")
    if not note:
        raise refused("note", "NOTE_MISSING", "请写明处理情况", "say what was done")
    row.handled_on, row.handled_note, row.handled_by = today, note, by
    row.save(update_fields=["handled_on", "handled_note", "handled_by"])
    tasks.close(subject=f"feebill:{row.pk}", by=by, at=at, permission=COLLECT)
    noted(row, "feebill.handle", by=by, at=at, note=note)


def watch(*, on: dt.date, by: str, at: dt.datetime) -> int:
    """Put bills that became overdue before the telemedicine centre; how many."""
    late: Iterable[FeeBill] = FeeBill.objects.overdue(on=on).filter(handled_on=None)
    number = 0
    for bill in late:
        tasks.open_task(
            subject=f"feebill:{bill.pk}", permission=COLLECT, at=at, status="逾期",
            title=f"{bill.institution.name}：{bill.year}年度专线与维保费{_late(bill)}，视情况处理",
            region_code=bill.region_code, institution_code=bill.institution_code, due=bill.due_on,
            url=reverse("fee-bill", args=[bill.pk]),
        )  # fmt: skip
        number += 1
    return number


def _late(bill: FeeBill) -> str:
    """Who is late with a bill."""
    return "逾期未缴" if bill.state == State.CONFIRMED else "省卫健委承担部分逾期未付"
