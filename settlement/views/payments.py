"""拨付: what is owed, lists made by two persons, the bank's file and answer, refunds."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import User
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import bank_files, payments
from settlement.capitals import capitals
from settlement.detail import in_order, moment
from settlement.models import PaymentList, PaymentOrder, Way
from settlement.payment_forms import (
    ListFilter,
    NoteForm,
    ReasonForm,
    ResultFileForm,
)
from settlement.payment_sources import Owed, owed

CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "拨付", "url": "/payments/"}]
SIZES = (20, 50, 100)
LARGEST = 8 * 1024 * 1024
State, Result = PaymentList.State, PaymentOrder.State
TONES = {
    "prepared": "warn", "approved": "info", "exported": "wait", "done": "ok", "refused": "bad",
    "listed": "info", "sent": "wait", "paid": "ok", "returned": "bad", "rejected": "bad",
    "dropped": "mute", "recorded": "warn", "posted": "ok", "reversing": "warn", "reversed": "mute",
}  # fmt: skip


def tabs(current: str) -> list[dict[str, Any]]:
    """The pages of payments, beside each other."""
    names = (("payments", "拨付清单"), ("payments-due", "应付款项"), ("refunds", "退款"),
             ("regional", "异地清算"), ("vouchers", "记账凭证"))  # fmt: skip
    return [
        {"label": label, "url": reverse(name), "current": name == current} for name, label in names
    ]


# --- Lists ---


@requires("payments.view")
@require_GET
def listed(request: PortalRequest) -> HttpResponse:
    """Lists of the agency's area, newest first."""
    rows = PaymentList.objects.visible_to(request.user)
    found = ListFilter(request.GET, queryset=rows, request=request)
    page = Paginator(found.qs, SIZES[0]).get_page(request.GET.get("page"))
    toolbar = [Action(label="制作清单", url=reverse("payments-due"), icon="plus", tone="primary")]
    return render(request, "settlement/payments.html", named({
        "breadcrumbs": [CRUMBS[0], {"label": "拨付", "url": ""}], "tabs": tabs("payments"),
        "title": "拨付清单", "form": found.form, "target": "payment-lists",
        "table": Table(
            id="payment-lists", caption="拨付清单",
            columns=[Column(label="清单号"), Column(label="笔数", numeric=True),
                     Column(label="金额（元）", numeric=True), Column(label="用途", wide=True),
                     Column(label="制单"), Column(label="复核"), Column(label="状态")],
            rows=[_list_row(row) for row in page],
            pages=Pages(total=page.paginator.count, size=SIZES[0], page=page.number, sizes=SIZES[:1]),
            toolbar=toolbar if request.user.may(payments.PREPARE) else [],
            empty_title="没有拨付清单", empty_text="从应付款项中选择后制作清单，由另一人复核。",
        ),
    }))  # fmt: skip


def _list_row(row: PaymentList) -> Row:
    address = payments.place(row)
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True), Cell(text=str(row.count)),
            Cell(text=yuan(row.total)), Cell(text=row.note or "—"),
            Cell(text=Login(row.prepared_by), sub=moment(row.prepared_at)[:16]),
            Cell(text=Login(row.approved_by) or "—",
                 sub=moment(row.approved_at)[:16] if row.approved_at else ""),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


# --- What is owed ---


@requires("payments.view")
@require_http_methods(["GET", "POST"])
def due(request: PortalRequest) -> HttpResponse:
    """Everything that could be paid today, and what keeps the rest back; clerks make a list of it."""
    if request.user.region is None:
        raise PermissionDenied("payments.view")
    prepares = request.user.may(payments.PREPARE)
    if request.method == "POST":
        if not prepares:
            raise PermissionDenied(payments.PREPARE)
        return _prepare(request)
    found = owed(region_code=request.user.region.pk, on=clock.today())
    ready = [item for item in found if not item.hold]
    return render(request, "settlement/payments_due.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "应付款项", "url": ""}], "tabs": tabs("payments-due"),
        "form": NoteForm() if prepares and ready else None,
        "stats": [
            {"label": "可列入清单", "value": yuan(sum(item.amount for item in ready)),
             "note": f"{len(ready)} 笔"},
            {"label": "暂不能拨付", "value": yuan(sum(item.amount for item in found if item.hold)),
             "note": f"{len(found) - len(ready)} 笔"},
        ],
        "items": [_owed(item) for item in found], "prepares": prepares,
    }))  # fmt: skip


def _owed(item: Owed) -> dict[str, Any]:
    return {
        "subject": item.subject, "label": item.label, "purpose": item.purpose, "bank": item.bank,
        "amount": yuan(item.amount), "hold": item.hold, "url": payments.place_of(item.subject),
    }  # fmt: skip


def _prepare(request: PortalRequest) -> HttpResponse:
    form = NoteForm(request.POST)
    note = form.cleaned_data["note"] if form.is_valid() else ""
    try:
        with transaction.atomic():
            made = payments.prepare(
                subjects=request.POST.getlist("selected"), region=_region(request.user), note=note,
                by=request.user.username, at=clock.now(),
            )  # fmt: skip
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
        return redirect("payments-due")
    messages.success(request, f"已制作清单 {made.number}，请另一人复核。")
    return redirect("payment", pk=made.pk)


def _region(user: User) -> Any:
    if user.region is None:
        raise PermissionDenied(payments.PREPARE)
    return user.region


# --- One list ---


@requires("payments.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """A list: its sum in figures and in capitals, its orders, and what can be done with it now."""
    made = _visible(request, pk)
    orders = list(made.orders.select_related("payee_institution", "payee_person"))
    events = Event.objects.visible_to(request.user).filter(subject=made.subject)
    return render(request, "settlement/payment.html", named({
        "breadcrumbs": [*CRUMBS, {"label": made.number, "url": ""}],
        "made": made, "tone": TONES[made.state], "steps": _steps(made), "info": _info(made),
        "capitals": capitals(made.total),
        "warnings": [row for row in orders if row.warning and row.state != Result.DROPPED],
        "can": _can(request.user, made), "reason_form": ReasonForm(),
        "result_form": ResultFileForm(), "table": _orders(made, orders, request.user),
        "stats": _stats(made),
        "timeline": [{"at": moment(event.at), "by": event.actor, "title": act(event.action),
                      "tone": "ok" if event.outcome == "ok" else "bad"}
                     for event in in_order(events.order_by("at", "id"))],
    }))  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> PaymentList:
    """A list inside the user's scope; any other does not exist."""
    return get_object_or_404(
        PaymentList.objects.visible_to(request.user), pk=pk if pk < 2**63 else 0
    )


def _can(user: User, made: PaymentList) -> dict[str, bool]:
    """What this person can do with a list now."""
    second = user.may(payments.APPROVE) and user.username != made.prepared_by
    either = user.may(payments.PREPARE) or user.may(payments.APPROVE)
    return {
        "approve": made.state == State.PREPARED and second,
        "refuse": made.state in (State.PREPARED, State.APPROVED) and second,
        "export": made.state in (State.APPROVED, State.EXPORTED, State.DONE) and either,
        "results": made.state in (State.EXPORTED, State.DONE) and either,
    }


def _steps(made: PaymentList) -> list[dict[str, Any]]:
    """The way of a list."""
    reached = {"prepared": 1, "approved": 2, "exported": 3, "done": 4, "refused": 1}[made.state]
    times = (made.prepared_at, made.approved_at, made.exported_at, made.closed_at)
    names = (Login(made.prepared_by), Login(made.approved_by), Login(made.exported_by), "")
    shown = []
    for number, label in enumerate(("制单", "复核", "送银行", "银行处理完毕")):
        at = times[number]
        state = "done" if number < reached else "now" if number == reached else "next"
        if made.state == State.REFUSED and number == reached:
            state = "failed"
        shown.append({"label": label, "state": state, "note": names[number],
                      "at": moment(at)[:16] if at and state in ("done", "failed") else ""})  # fmt: skip
    return shown


def _info(made: PaymentList) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"label": "清单号", "value": made.number, "code": True},
        {"label": "用途", "value": made.note}, {"label": "笔数", "value": f"{made.count} 笔"},
        {"label": "金额", "value": f"{yuan(made.total)} 元", "sub": capitals(made.total)},
        {"label": "导出次数", "value": str(made.exports)},
    ]  # fmt: skip
    found += [
        {"label": f"银行文件 SM3（{form.upper()}）", "value": sm3, "code": True, "wide": True}
        for form, sm3 in made.file_sm3.items()
    ]
    if made.refusal:
        found.append({"label": "退回理由", "value": made.refusal, "tone": "bad"})
    return found


def _stats(made: PaymentList) -> list[dict[str, str]]:
    return [
        {"label": Result(state).label, "value": yuan(fen), "note": f"{number} 笔"}
        for state, (number, fen) in payments.figures(made).items()
    ]


def _orders(made: PaymentList, orders: Sequence[PaymentOrder], user: User) -> Table:
    return Table(
        id="orders", caption="支付指令",
        columns=[Column(label="指令号"), Column(label="收款方", wide=True), Column(label="收款账户"),
                 Column(label="金额（元）", numeric=True), Column(label="用途", wide=True),
                 Column(label="银行流水号"), Column(label="状态")],
        rows=[_order_row(order) for order in orders],
    )  # fmt: skip


def _order_row(order: PaymentOrder) -> Row:
    address = reverse("payment-order", args=[order.pk])
    account = f"{order.bank} {order.account_masked}" if order.way == Way.BANK else Way.ACCOUNT.label
    return Row(
        key=str(order.pk), label=order.number, tone="warn" if order.warning else "",
        cells=[
            Cell(text=order.number.rpartition("-")[2], url=address, code=True, title=order.number,
                 sub=f"第 {order.attempt} 次" if order.attempt > 1 else ""),
            Cell(text=payee_of(order), sub=order.warning),
            Cell(text=account, sub=order.holder_masked), Cell(text=yuan(order.amount)),
            Cell(text=order.purpose), Cell(text=order.bank_serial or "—", code=bool(order.bank_serial)),
            Cell(text=order.get_state_display(), tone=TONES[order.state], sub=order.reason),
        ],
        actions=[Action(label="办理", url=address)],
    )  # fmt: skip


def payee_of(order: PaymentOrder) -> str:
    """Who is paid: an institution's name, or a person's masked one."""
    if order.payee_institution is not None:
        return order.payee_institution.name
    return order.payee_person.name_masked if order.payee_person is not None else ""


# --- Acts on a list ---


@requires("payments.approve")
@require_POST
def approve(request: PortalRequest, pk: int) -> HttpResponse:
    """The second person says yes."""
    made = _visible(request, pk)
    return done(request, made, "已复核，可导出银行文件。", lambda: payments.approve(
        made=made, by=request.user.username, at=clock.now()))  # fmt: skip


@requires("payments.approve")
@require_POST
def refuse(request: PortalRequest, pk: int) -> HttpResponse:
    """The second person gives the list back."""
    made = _visible(request, pk)
    reason = request.POST.get("reason", "")[:200]
    return done(request, made, "已退回，款项重新列为应付。", lambda: payments.refuse(
        made=made, reason=reason, by=request.user.username, at=clock.now()))  # fmt: skip


def done(request: PortalRequest, made: PaymentList, words: str, call: Any) -> HttpResponse:
    """Make the call; a refusal becomes a message."""
    try:
        with transaction.atomic():
            call()
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    else:
        messages.success(request, words)
    return redirect("payment", pk=made.pk)


@requires("payments.view")
@require_POST
def export(request: PortalRequest, pk: int, form: str) -> HttpResponse:
    """The bank's file; who exports it again is told so on the list's page."""
    either(request.user)
    made = _visible(request, pk)
    try:
        with transaction.atomic():
            file = payments.export(made=made, form=form, by=request.user.username, at=clock.now())
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
        return redirect("payment", pk=made.pk)
    if file.repeated:
        messages.warning(request, f"重复导出：{file.name} 与首次导出逐字节相同，请勿再次提交银行。")
    return HttpResponse(
        file.content, content_type=file.kind,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name)}",
                 "Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff",
                 "X-Repeated": "1" if file.repeated else "0"},
    )  # fmt: skip


def either(user: User) -> None:
    if not (user.may(payments.PREPARE) or user.may(payments.APPROVE)):
        raise PermissionDenied(payments.PREPARE)


@requires("payments.view")
@require_POST
def results(request: PortalRequest, pk: int) -> HttpResponse:
    """What the bank sent back: every row is taken, or none and everything wrong is named."""
    either(request.user)
    made = _visible(request, pk)
    form = ResultFileForm(request.POST, request.FILES)
    if not form.is_valid() or form.cleaned_data["file"].size > LARGEST:
        messages.error(request, "请选择银行结果文件（不超过 8 MB）。")
        return redirect("payment", pk=made.pk)
    upload = form.cleaned_data["file"]
    try:
        answers = bank_files.read(upload.name, upload.read())
        with transaction.atomic():
            fresh, known = payments.take_results(
                made=made, answers=answers, by=request.user.username, at=clock.now()
            )
    except Refusal as error:
        messages.error(request, f"未登记任何结果：{words_of(error)}。")
    else:
        words = f"已登记 {fresh} 笔" + (f"，{known} 笔此前已登记，未重复入账" if known else "")
        messages.success(request, f"{words}。")
    return redirect("payment", pk=made.pk)
