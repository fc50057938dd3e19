"""One payment: what the bank answered, by hand too, its vouchers, refunds the way it went."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.tables import Pages
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.naming import Login, named
from institutions.refusals import Refusal
from institutions.views.acts import show
from settlement import bank_files, payments, refunds
from settlement.capitals import capitals
from settlement.detail import moment
from settlement.models import PaymentList, PaymentOrder, Refund, Voucher
from settlement.payment_forms import ReasonForm, RefundForm, ResultForm
from settlement.views.payments import CRUMBS, SIZES, TONES, done, either, payee_of, tabs

State, Result = PaymentList.State, PaymentOrder.State


def _order(request: PortalRequest, pk: int) -> PaymentOrder:
    rows = PaymentOrder.objects.visible_to(request.user)
    rows = rows.select_related("list", "payee_institution", "payee_person")
    return get_object_or_404(rows, pk=pk if pk < 2**63 else 0)


@requires("payments.view")
@require_http_methods(["GET", "POST"])
def order(request: PortalRequest, pk: int) -> HttpResponse:
    """One payment: its payee, what the bank answered, its vouchers, its refunds; results by hand."""
    found = _order(request, pk)
    states = payments.FOLLOWS.get(Result(found.state), ())
    may = request.user.may(payments.PREPARE) or request.user.may(payments.APPROVE)
    form = ResultForm(request.POST or None, states=states) if states and may else None
    status = 200
    if request.method == "POST":
        either(request.user)
        status = _by_hand(request, found, form) if form else 409
        if status == 200:
            return redirect("payment-order", pk=found.pk)
    return render(request, "settlement/payment_order.html", named({
        "breadcrumbs": [*CRUMBS, {"label": found.list.number, "url": payments.place(found.list)},
                        {"label": found.number, "url": ""}],
        "order": found, "tone": TONES[found.state], "form": form, "facts": _order_facts(found),
        "capitals": capitals(found.amount), "vouchers": _vouchers(found),
        "refunds": [_refund(row, request) for row in found.refunds.all()],
        "may_refund": found.state == Result.PAID and request.user.may(payments.PREPARE),
        "drop_form": ReasonForm() if found.list.state == State.PREPARED
        and found.state == Result.LISTED and request.user.may(payments.PREPARE) else None,
    }), status=status)  # fmt: skip


def _by_hand(request: PortalRequest, found: PaymentOrder, form: ResultForm) -> int:
    if not form.is_valid():
        return 422
    given = form.cleaned_data
    answer = bank_files.Answer(
        number=found.number, amount=found.amount, state=given["state"], on=given["on"],
        serial=given["serial"].strip(), reason=given["reason"].strip(),
    )  # fmt: skip
    try:
        with transaction.atomic():
            payments.take_results(
                made=found.list, answers=[answer], by=request.user.username, at=clock.now()
            )
    except Refusal as error:
        show(form, error)
        return error.status
    messages.success(request, "已登记银行处理结果。")
    return 200


def _order_facts(found: PaymentOrder) -> list[dict[str, Any]]:
    return [
        {"label": "收款方", "value": payee_of(found), "sub": found.get_payee_display()},
        {"label": "收款方式", "value": found.get_way_display(),
         "sub": f"{found.holder_masked} {found.bank} {found.account_masked}".strip()},
        {"label": "金额", "value": f"{yuan(found.amount)} 元", "sub": capitals(found.amount)},
        {"label": "用途", "value": found.purpose, "url": payments.place_of(found.subject)},
        {"label": "次数", "value": f"第 {found.attempt} 次支付"},
        {"label": "银行流水号", "value": found.bank_serial, "code": True},
        {"label": "银行处理日", "value": str(found.result_on or "")},
        {"label": "结果登记", "value": Login(found.result_by),
         "sub": moment(found.result_at) if found.result_at else ""},
        {"label": "退票或拒付原因", "value": found.reason, "tone": "bad" if found.reason else ""},
    ]  # fmt: skip


def _vouchers(found: PaymentOrder) -> list[dict[str, Any]]:
    effects = [f"order:{found.pk}/payment", f"order:{found.pk}/return"]
    effects += [f"refund:{row.pk}" for row in found.refunds.all()]
    rows = Voucher.objects.filter(effect__in=effects)
    return [
        {"label": row.get_kind_display(), "value": row.number, "code": True,
         "sub": f"{yuan(row.amount)} 元", "url": reverse("voucher", args=[row.pk])}
        for row in rows
    ]  # fmt: skip


# --- Refunds ---


@requires("payments.view")
@require_GET
def refund_list(request: PortalRequest) -> HttpResponse:
    """Refunds of the agency's area; those that wait for a second person first."""
    rows = Refund.objects.visible_to(request.user).select_related(
        "order__payee_institution", "order__payee_person"
    )
    page = Paginator(rows.order_by("decided_at", "-pk"), SIZES[0]).get_page(request.GET.get("page"))
    return render(request, "settlement/refunds.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "退款", "url": ""}], "tabs": tabs("refunds"),
        "rows": [_refund(row, request) for row in page], "clause": {"document": refunds.CLAUSE, "clause": ""},
        "pages": Pages(total=page.paginator.count, size=SIZES[0], page=page.number, sizes=SIZES[:1]),
    }))  # fmt: skip


def _refund(row: Refund, request: PortalRequest) -> dict[str, Any]:
    return {
        "pk": row.pk, "number": row.number, "payee": payee_of(row.order), "order": row.order.number,
        "url": reverse("payment-order", args=[row.order_id]), "amount": yuan(row.amount),
        "way": f"{row.get_way_display()} {row.order.account_masked}".strip(),
        "serial": row.bank_serial, "on": str(row.received_on), "reason": row.reason,
        "recorded_by": Login(row.recorded_by), "decided_by": Login(row.decided_by),
        "state": row.get_state_display(), "tone": TONES[row.state],
        "decides": row.state == "recorded" and row.recorded_by != request.user.username
        and request.user.may(payments.APPROVE),
    }  # fmt: skip


@requires("payments.prepare")
@require_http_methods(["GET", "POST"])
def refund_new(request: PortalRequest, pk: int) -> HttpResponse:
    """Record what came back of a payment, the way it went."""
    found = _order(request, pk)
    form = RefundForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    refunds.record(
                        order=found, **form.cleaned_data, by=request.user.username, at=clock.now()
                    )
            except Refusal as error:
                show(form, error)
                status = error.status
            else:
                messages.success(request, "已登记退款，请另一人复核入账。")
                return redirect("refunds")
    way = found.get_way_display()
    return render(request, "institutions/act.html", named({
        "title": "登记退款", "form": form, "button": "提交复核",
        "hint": f"退款须原路退回：该笔以“{way}”支付 {yuan(found.amount)} 元（{refunds.CLAUSE}）。",
        "back": reverse("payment-order", args=[found.pk]),
        "breadcrumbs": [*CRUMBS, {"label": found.number, "url": reverse("payment-order", args=[pk])},
                        {"label": "登记退款", "url": ""}],
    }), status=status)  # fmt: skip


@requires("payments.approve")
@require_POST
def refund_decide(request: PortalRequest, pk: int) -> HttpResponse:
    """A second person posts a refund or gives it back."""
    row = get_object_or_404(Refund.objects.visible_to(request.user), pk=pk)
    accept = request.POST.get("decision") == "post"
    try:
        with transaction.atomic():
            refunds.decide(refund=row, accept=accept, by=request.user.username, at=clock.now())
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    else:
        messages.success(request, "退款已入账。" if accept else "退款已退回登记人。")
    return redirect("refunds")


@requires("payments.prepare")
@require_POST
def drop(request: PortalRequest, pk: int) -> HttpResponse:
    """Take one order off a list that waits for approval."""
    order = _order(request, pk)
    reason = request.POST.get("reason", "")[:200]
    return done(request, order.list, "已撤下该笔。", lambda: payments.drop(
        order=order, reason=reason, by=request.user.username, at=clock.now()))  # fmt: skip
