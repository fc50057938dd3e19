"""Payments: lists made by two persons, the bank's file, what the bank answers, money that comes back.

Every amount that moves is a voucher with an effect of its own (`order:<id>/payment`), so that no file
that comes twice pays or posts twice. Who is paid nothing today (暂停拨付) stands on no list.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Sum
from django.urls import reverse

from audit import clock, tasks, trail
from audit.text import yuan
from institutions.models import Region
from institutions.refusals import Fault, Refusal, refused
from settlement import adjustments, bank_files, reimbursements, sealed
from settlement.models import (
    Adjustment,
    Leg,
    PaymentList,
    PaymentOrder,
    Refund,
    Voucher,
    Way,
)
from settlement.payment_sources import (
    Owed,
    owed_for,
    owing,
    paid_of,
    paid_of_many,
    refunded_of,
)
from settlement.periods import posting_month
from settlement.personal_accounts import credit_account, no_account
from settlement.vouchers import post_voucher

__all__ = ("paid_of", "paid_of_many", "prepare", "refunded_of")
State, Result = PaymentList.State, PaymentOrder.State
Account = Leg.Account
PREPARE, APPROVE = "payments.prepare", "payments.approve"
#: what a bank can still say of an order
FOLLOWS = {
    Result.SENT: (Result.PAID, Result.RETURNED, Result.REJECTED),
    Result.PAID: (Result.RETURNED,),
}


def place(made: PaymentList) -> str:
    """The address of a list."""
    return reverse("payment", args=[made.pk])


def place_of(subject: str) -> str:
    """The address of a source of money (`statement:<id>`, `adjustment:<number>` …); empty for others."""
    kind, _, key = subject.partition(":")
    if kind == "advance":
        return reverse("advances")
    if kind == "adjustment":
        found = Adjustment.objects.filter(number=key).values_list("pk", flat=True).first()
        return reverse(kind, args=[found]) if found else ""
    known = kind in ("statement", "reimbursement") and key.isascii() and key.isdigit()
    return reverse(kind, args=[key]) if known else ""


# --- Preparing ---


@transaction.atomic
def prepare(
    *, subjects: Sequence[str], region: Region, note: str = "", by: str, at: dt.datetime
) -> PaymentList:
    """Put what is owed for these sources on a new list; Refusal with every source that cannot be paid."""
    today = clock.local(at).date()
    chosen = list(dict.fromkeys(subjects))
    if not chosen:
        raise refused(
            "selected", "NOTHING_CHOSEN", "请至少选择一笔应付款", "choose something to pay"
        )
    owed = owed_for(chosen, region_code=region.pk, on=today, lock=True)
    faults = [
        Fault(f"/{item.subject}", "NOT_PAYABLE", (f"{item.label}：{item.hold}", "not payable now"))
        for item in owed if item.hold
    ]  # fmt: skip
    if len(owed) < len(chosen):
        missing = "有款项已不在应付之列，请刷新后重试"
        faults.append(Fault("/selected", "SOURCE_UNKNOWN", (missing, "no such source")))
    if faults:
        words = "；".join(fault.detail[0] for fault in faults)
        raise Refusal(409, "NOT_PAYABLE", (words, "some sources cannot be paid"), tuple(faults))
    made = _list(region, owed, note, by, at)
    for serial, item in enumerate(owed, 1):
        _order(made, serial, item, today)
    for item in owed:
        _move(item.subject, "list", by, at)
        _close_failures(item.subject, by, at)
    _record(made, "prepare", by, at, subjects=chosen)
    tasks.open_task(
        subject=made.subject, permission=APPROVE, at=at, region_code=made.region_code,
        title=f"复核拨付清单 {made.number}（{made.count} 笔，{made.total / 100:.2f} 元）",
        status=made.get_state_display(), url=place(made),
    )  # fmt: skip
    return made


def _list(region: Region, owed: Sequence[Owed], note: str, by: str, at: dt.datetime) -> PaymentList:
    series = f"ZF{region.pk}-{clock.local(at):%Y%m}"
    return PaymentList.objects.create(
        number=f"{series}-{tasks.next_number(series):04d}", region_code=region.pk,
        count=len(owed), total=sum(item.amount for item in owed), note=note.strip(),
        prepared_at=at, prepared_by=by,
    )  # fmt: skip


def _order(made: PaymentList, serial: int, item: Owed, on: dt.date) -> PaymentOrder:
    before = PaymentOrder.objects.filter(subject=item.subject).count()
    order = PaymentOrder(
        list=made, number=f"{made.number}-{serial:04d}", region_code=made.region_code,
        subject=item.subject, attempt=before + 1, payee=item.payee, scheme=item.scheme,
        payee_institution=item.institution, payee_person_id=item.person_id, way=item.way,
        purpose=item.purpose, amount=item.amount,
    )  # fmt: skip
    if item.way == Way.BANK:
        account = item.account(on)
        if account is None:
            raise refused(
                "selected", "ACCOUNT_MISSING", f"{item.label}：没有收款账户", "no account"
            )
        masked = item.payee == "person"
        for name, value in sealed.seal(account, bound_to=order.bound_to, masked=masked).items():
            setattr(order, name, value)
    order.warning = _likely_repeat(order)
    order.save()
    return order


def _likely_repeat(order: PaymentOrder) -> str:
    """The sentence of another payment of the same amount to the same payee; empty without one."""
    same = PaymentOrder.objects.filter(
        amount=order.amount, payee=order.payee, payee_institution=order.payee_institution,
        payee_person=order.payee_person_id, state__in=(*PaymentOrder.LIVE, Result.PAID),
    ).exclude(subject=order.subject)  # fmt: skip
    found = same.select_related("list").order_by("-pk").first()
    return f"与 {found.number} 收款方、金额相同，请核对是否重复" if found else ""


def _bounce(order: PaymentOrder, by: str, at: dt.datetime) -> None:
    """A request whose money came back needs another account; one that is decided on or paid anew
    meanwhile waits with a task, as a payment of an institution does."""
    waiting = PaymentOrder.objects.filter(subject=order.subject, state__in=PaymentOrder.LIVE)
    case = reimbursements.of_subject(order.subject)
    if case is None or case.state in ("calculated", "approved") or waiting.exists():
        _tell_failure(order, at)
    else:
        _move(order.subject, "bounce", by, at, note=order.reason)


def _move(subject: str, step: str, by: str, at: dt.datetime, note: str = "") -> None:
    """Take a request along its table with its payment; an adjustment's task follows; statements and advances
    are not told, they ask."""
    if subject.startswith("adjustment:"):
        adjustments.payment_moved(subject=subject, step=step, by=by, at=at)
    case = reimbursements.of_subject(subject)
    if case is not None:
        reimbursements.take_step(case=case, step=step, who=None, by=by, at=at, note=note)


def _record(made: PaymentList, action: str, by: str, at: dt.datetime, **detail: Any) -> None:
    trail.record(
        by=by, at=at, action=f"payment.{action}", subject=made.subject,
        region_code=made.region_code,
        detail={"number": made.number, "count": made.count, "total": made.total, **detail},
    )  # fmt: skip


# --- The second person ---


@transaction.atomic
def approve(*, made: PaymentList, by: str, at: dt.datetime) -> PaymentList:
    """A second person approves a list as it stands; a freeze that began meanwhile keeps it back."""
    row = _locked(made, State.PREPARED)
    if by == row.prepared_by:
        raise Refusal(403, "SAME_PERSON", ("制单人不能复核自己的清单", "a second person approves"))
    _still_owed(row, clock.local(at).date())
    row.state, row.approved_by, row.approved_at = State.APPROVED, by, at
    row.save()
    _record(row, "approve", by, at)
    tasks.close(subject=row.subject, by=by, at=at, permission=APPROVE)
    tasks.open_task(
        subject=row.subject, permission=PREPARE, at=at, region_code=row.region_code,
        title=f"导出银行文件 {row.number}", status=row.get_state_display(), url=place(row),
    )  # fmt: skip
    return row


@transaction.atomic
def refuse(*, made: PaymentList, reason: str, by: str, at: dt.datetime) -> PaymentList:
    """A second person gives a list back before it goes to the bank: all its sources are open again."""
    row = _locked(made, State.PREPARED, State.APPROVED)
    if by == row.prepared_by:
        raise Refusal(403, "SAME_PERSON", ("制单人不能复核自己的清单", "a second person decides"))
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写退回理由", "a reason is needed")
    for order in row.orders.filter(state=Result.LISTED):
        _dropped(order, by, at)
    if row.state == State.PREPARED:
        row.approved_by, row.approved_at = by, at
    row.state = State.REFUSED
    row.refusal, row.closed_at = reason.strip(), at
    row.save()
    _record(row, "refuse", by, at, reason=row.refusal)
    tasks.close(subject=row.subject, by=by, at=at)
    return row


@transaction.atomic
def drop(*, order: PaymentOrder, reason: str, by: str, at: dt.datetime) -> PaymentOrder:
    """Take one order off a list that waits for approval; the last one is not taken off."""
    row = _locked(order.list, State.PREPARED)
    found = PaymentOrder.objects.get(pk=order.pk)
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写撤下的原因", "a reason is needed")
    if found.state != Result.LISTED or row.count == 1:
        raise Refusal(409, "NOT_LISTED", ("该笔已撤下，或是清单的最后一笔（请退回整张清单）",
                                          "it is not on the list or the last of it"))  # fmt: skip
    row.count, row.total = row.count - 1, row.total - found.amount
    row.save(update_fields=["count", "total"])
    _dropped(found, by, at)
    _record(row, "drop", by, at, order=found.number, reason=reason.strip())
    return found


def _dropped(order: PaymentOrder, by: str, at: dt.datetime) -> None:
    PaymentOrder.objects.filter(pk=order.pk).update(state=Result.DROPPED)
    _move(order.subject, "unlist", by, at)


def _locked(made: PaymentList, *states: str) -> PaymentList:
    """The list as it is now, nobody else changes it; Refusal when it is in none of the states."""
    row = PaymentList.objects.select_for_update().get(pk=made.pk)
    if row.state not in states:
        words = f"清单当前为“{row.get_state_display()}”，不能办理；请刷新后查看"
        raise Refusal(409, "LIST_MOVED", (words, "the list is in another state"))
    return row


def _still_owed(made: PaymentList, on: dt.date) -> None:
    """Nothing leaves that is frozen, or that is no longer what is owed."""
    for order in made.orders.filter(state=Result.LISTED, payee="person"):
        due = owing(order.subject)
        if due != order.amount:
            words = (f"{order.purpose}结算已变动，现应付 {yuan(due)} 元，与清单金额 {yuan(order.amount)} 元"
                     "不符，请撤下该笔或退回清单")  # fmt: skip
            raise Refusal(409, "AMOUNT_CHANGED", (words, "another amount is owed now"))
    for order in made.orders.filter(state=Result.LISTED, payee="institution"):
        institution = order.payee_institution
        freeze = institution.freezes.in_force(on=on).first() if institution else None
        if freeze is not None:
            words = f"{institution}自{freeze.valid_from}起暂停拨付（{freeze.reason}），请先撤下该笔"
            raise Refusal(409, "FROZEN", (words, "payments to it are frozen"))


# --- The bank ---


@transaction.atomic
def export(*, made: PaymentList, form: str, by: str, at: dt.datetime) -> bank_files.BankFile:
    """The bank's file of an approved list: the same bytes every time; a repeated export says so."""
    row = _locked(made, State.APPROVED, State.EXPORTED, State.DONE)
    if row.state == State.APPROVED:
        _still_owed(row, clock.local(at).date())
    file = bank_files.write(row, form, repeated=row.exports > 0)
    known = row.file_sm3.get(form)
    if known not in (None, file.sm3):
        raise Refusal(500, "FILE_CHANGED", ("银行文件与首次导出的摘要不符", "the file was changed"))
    if row.state != State.DONE:
        first = row.state == State.APPROVED
        row.state, row.exports = State.EXPORTED, row.exports + 1
        row.file_sm3 = row.file_sm3 | {form: file.sm3}
        if first:
            row.exported_at, row.exported_by = at, by
            row.orders.filter(state=Result.LISTED).update(state=Result.SENT)
            tasks.close(subject=row.subject, by=by, at=at)
            tasks.open_task(
                subject=row.subject, permission=APPROVE, at=at, region_code=row.region_code,
                title=f"登记银行处理结果 {row.number}", status=row.get_state_display(), url=place(row),
            )  # fmt: skip
        row.save()
    _record(row, "export", by, at, form=form, sm3=file.sm3, repeated=file.repeated)
    return file


@transaction.atomic
def take_results(
    *, made: PaymentList, answers: Sequence[bank_files.Answer], by: str, at: dt.datetime
) -> tuple[int, int]:
    """Take what the bank answered, all rows or none; (newly recorded, known before)."""
    posting_month(made.region_code, at)
    row = _locked(made, State.EXPORTED, State.DONE)
    orders = {order.number: order for order in row.orders.select_related("payee_institution")}
    used: dict[str, int] = {}
    faults = [fault for answer in answers if (fault := _fault(answer, orders, used, at))]
    if faults:
        words = "；".join(fault.detail[0] for fault in faults[:20])
        raise Refusal(422, "RESULTS_INVALID", (words, "rows of the file are wrong"), tuple(faults))
    fresh = [answer for answer in answers if orders[answer.number].state != answer.state]
    try:
        with transaction.atomic():
            for answer in fresh:
                _apply(orders[answer.number], answer, by, at)
    except IntegrityError as error:
        if "payment_bank_serial_once" not in str(error):
            raise
        words = "银行流水号刚被另一清单的支付登记，请核对后重新登记"
        raise Refusal(422, "RESULTS_INVALID", (words, "somebody was faster")) from error
    _close(row, by, at)
    if fresh:
        _record(row, "results", by, at, new=len(fresh), known=len(answers) - len(fresh))
    return len(fresh), len(answers) - len(fresh)


def _fault(
    answer: bank_files.Answer, orders: Mapping[str, PaymentOrder], used: dict[str, int],
    at: dt.datetime,
) -> Fault | None:  # fmt: skip
    """What is wrong with one row; None: it is new, or says what is known.

    `used`: serial → row of this file that gives it to an order; the row's own is added.
    """
    order = orders.get(answer.number)
    words = "不是本清单的指令"
    if order is not None:
        words = _wrong(order, answer, clock.local(at).date()) or _serial_used(order, answer, used)
    if not words:
        return None
    place = f"第 {answer.row} 行 {answer.number}：" if answer.row else ""
    return Fault(f"/rows/{answer.row}", "RESULT_INVALID", (f"{place}{words}", "wrong result"))


def _wrong(order: PaymentOrder, answer: bank_files.Answer, today: dt.date) -> str:
    """The sentence of what contradicts the order, or empty."""
    if order.amount != answer.amount:
        return (
            f"金额 {bank_files.yuan(answer.amount)} 元与指令 {bank_files.yuan(order.amount)} 元不符"
        )
    if answer.on > today:
        return "处理日期晚于今天"
    if order.state == answer.state:
        other = answer.state == Result.PAID and answer.serial != order.bank_serial
        return f"已按流水号 {order.bank_serial} 支付，疑为重复支付" if other else ""
    if answer.state not in FOLLOWS.get(Result(order.state), ()):
        label = Result(answer.state).label
        return f"指令当前为“{order.get_state_display()}”，不能登记“{label}”"
    if answer.state == Result.PAID:
        return _unpayable(order, answer, today)
    if not answer.reason.strip():
        return "退票或拒付须写明原因"
    if answer.state == Result.RETURNED and order.refunds.filter(state=Refund.State.POSTED).exists():
        return "收款人已退款并入账，登记退票会重复收回；请先与银行核对"
    return ""


def _unpayable(order: PaymentOrder, answer: bank_files.Answer, today: dt.date) -> str:
    """The sentence of a payment without serial, or to somebody without an account here any more; or empty."""
    if order.way == Way.BANK:
        return "" if answer.serial else "银行支付须登记流水号"
    person = order.payee_person
    refusal = person and no_account(person=person, region_code=order.region_code, on=today)
    return f"{refusal.detail[0]}：请登记“拒付”后更正收款账户" if refusal else ""


def _serial_used(order: PaymentOrder, answer: bank_files.Answer, used: dict[str, int]) -> str:
    """The sentence of a serial that another order has, in the books or in this file; or empty."""
    serial = _serial(order, answer)
    if not serial or serial == order.bank_serial:
        return ""
    if serial in used:
        return f"银行流水号 {serial} 与第 {used[serial]} 行重复"
    used[serial] = answer.row
    same = PaymentOrder.objects.filter(region_code=order.region_code, bank_serial=serial)
    return f"银行流水号 {serial} 已用于另一笔支付，疑为重复" if same.exists() else ""


def _serial(order: PaymentOrder, answer: bank_files.Answer) -> str:
    """The serial of an order's payment after an answer: the first that moved money."""
    moved = answer.state != Result.REJECTED
    return order.bank_serial or (answer.serial if moved else "")


def _apply(order: PaymentOrder, answer: bank_files.Answer, by: str, at: dt.datetime) -> None:
    """Record one answer and post what it moved."""
    before = order.state
    order.state, order.result_on, order.reason = answer.state, answer.on, answer.reason
    order.result_at, order.result_by = at, by
    order.bank_serial = _serial(order, answer)
    order.save()
    if answer.state == Result.REJECTED:
        _bounce(order, by, at)
        return
    if before == Result.SENT:
        post_order(order, "payment", by, at)
    if answer.state == Result.PAID:
        _move(order.subject, "pay", by, at)
        return
    post_order(order, "return", by, at)
    _bounce(order, by, at)


def debited(order: PaymentOrder) -> tuple[Voucher.Kind, Account]:
    """The kind of voucher that an order posts when it is paid, and the account that it debits."""
    if order.payee == "person":
        return Voucher.Kind.REIMBURSEMENT, Account.PERSON_PAYABLE
    if order.subject.startswith("advance:"):
        return Voucher.Kind.ADVANCE, Account.ADVANCE
    return Voucher.Kind.PAYMENT, Account.INSTITUTION_PAYABLE


def post_order(order: PaymentOrder, what: str, by: str, at: dt.datetime) -> Voucher:
    """The voucher of a payment, or of its return; debit what it pays, credit the bank, or back."""
    kind, account = debited(order)
    source = Account.BANK if order.way == Way.BANK else Account.PERSONAL_ACCOUNT
    sign = 1 if what == "payment" else -1
    if order.way == Way.ACCOUNT:
        credit_account(person_id=order.payee_person_id or 0, amount=sign * order.amount, at=at)
    two = (order.list.approved_by, order.list.prepared_by)
    institution = order.payee_institution
    return post_voucher(
        kind=kind if what == "payment" else Voucher.Kind.BANK_RETURN,
        effect=f"order:{order.pk}/{what}", subject=order.subject,
        legs={account: sign * order.amount, source: -sign * order.amount},
        region_code=institution.region_id if institution else order.region_code,
        institution_code=institution.pk if institution else "", scheme=order.scheme,
        reason=(order.reason if what == "return" else order.purpose)[:200], by=by, at=at,
        approved_by=next((name for name in two if name != by), ""),
        detail={"order": order.number, "list": order.list.number, "serial": order.bank_serial,
                "account": order.account_masked, "bank": order.bank},
    )  # fmt: skip


def _tell_failure(order: PaymentOrder, at: dt.datetime) -> None:
    """A payment that failed and has no procedure of its own waits for whoever prepares payments."""
    title = f"{order.payee_institution or order.purpose}拨付失败：{order.reason}，核对账户后重新列入清单"
    tasks.open_task(
        subject=f"order:{order.pk}", permission=PREPARE, at=at, region_code=order.region_code,
        title=title[:200], status=order.get_state_display(), url=place(order.list),
    )  # fmt: skip


def _close_failures(subject: str, by: str, at: dt.datetime) -> None:
    """A source that stands on a list anew: what failed before waits for nobody."""
    for key in PaymentOrder.objects.filter(subject=subject).values_list("pk", flat=True):
        tasks.close(subject=f"order:{key}", by=by, at=at)


def _close(row: PaymentList, by: str, at: dt.datetime) -> None:
    """A list is done when the bank answered for every order."""
    if row.state == State.EXPORTED and not row.orders.filter(state__in=PaymentOrder.LIVE).exists():
        row.state, row.closed_at = State.DONE, at
        row.save()
        tasks.close(subject=row.subject, by=by, at=at)


def figures(made: PaymentList) -> dict[str, tuple[int, int]]:
    """State of the orders → (how many, fen)."""
    rows = made.orders.values("state").annotate(number=Count("pk"), fen=Sum("amount"))
    return {row["state"]: (row["number"], row["fen"]) for row in rows.order_by("state")}
