"""预付款: the list with what the bank has paid, a proposal, the decision of a second person."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.naming import Login, Told, named
from settlement import advances
from settlement.detail import moment
from settlement.models import Advance, Scheme
from settlement.payment_sources import paid_of_many
from settlement.statement_forms import AdvanceForm, DecisionForm, ReasonForm
from settlement.views.budgets import AGREE, BIGGEST_ID, CRUMBS, PAGE, names_of, tried

TONES = {"proposed": "wait", "approved": "ok", "refused": "mute", "withdrawing": "warn",
         "withdrawn": "mute"}  # fmt: skip
WITHDRAW = [{"value": "agree", "label": "同意撤回", "tone": "danger"},
            {"value": "refuse", "label": "不同意", "tone": ""}]  # fmt: skip


@requires("statements.view")
@require_http_methods(["GET", "POST"])
def listed(request: PortalRequest) -> HttpResponse:
    """Advances with their balance; those who prepare statements propose one here."""
    may = request.user.may("statements.prepare")
    form = (
        AdvanceForm(request.POST or None, request.FILES or None, user=request.user) if may else None
    )
    if request.method == "POST":
        if form is None:
            raise PermissionDenied("statements.prepare")
        if form.is_valid() and tried(
            request, form, lambda: advances.propose(
                by=request.user.username, at=clock.now(), **form.cleaned_data)
        ):  # fmt: skip
            messages.success(request, "已提出预付款，待财务复核。")
            return redirect("advances")
    rows = Advance.objects.visible_to(request.user).select_related("file")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/advances.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "预付款", "url": ""}], "form": form,
        "waiting": [*_waiting(request, rows), *_withdrawals(request, rows)],
        "balances": _balances(rows),
        "table": _advances(list(page), total=page.paginator.count, number=page.number, may=may),
    }), status=422 if request.method == "POST" else 200)  # fmt: skip


@requires("payments.approve")
@require_POST
def decide(request: PortalRequest, pk: int) -> HttpResponse:
    """Approve or refuse an advance."""
    row = get_object_or_404(Advance.objects.visible_to(request.user), pk=min(pk, BIGGEST_ID))
    agree = request.POST.get("decision_is") == "agree"
    form = DecisionForm(request.POST)
    if form.is_valid() and tried(
        request, None, lambda: advances.decide(
            advance=row, agree=agree, decision=form.cleaned_data["decision"],
            by=request.user.username, at=clock.now())
    ):  # fmt: skip
        messages.success(request, "已同意，列入应付款项，由拨付清单支付。" if agree else "已退回。")
    return redirect("advances")


@requires("statements.prepare")
@require_POST
def ask_withdrawal(request: PortalRequest, pk: int) -> HttpResponse:
    """Ask that an approved advance be withdrawn."""
    row = get_object_or_404(Advance.objects.visible_to(request.user), pk=min(pk, BIGGEST_ID))
    if tried(request, None, lambda: advances.ask_withdrawal(
        advance=row, reason=request.POST.get("reason", ""), by=request.user.username,
        at=clock.now())):  # fmt: skip
        messages.success(request, "已申请撤回，待财务复核；复核前不列入应付款项。")
    return redirect("advances")


@requires("payments.approve")
@require_POST
def decide_withdrawal(request: PortalRequest, pk: int) -> HttpResponse:
    """Withdraw an advance, or let it be owed again."""
    row = get_object_or_404(Advance.objects.visible_to(request.user), pk=min(pk, BIGGEST_ID))
    agree = request.POST.get("decision_is") == "agree"
    if tried(request, None, lambda: advances.decide_withdrawal(
        advance=row, agree=agree, by=request.user.username, at=clock.now())):  # fmt: skip
        messages.success(request, "已撤回。" if agree else "未撤回，重新列入应付款项。")
    return redirect("advances")


def _withdrawals(request: PortalRequest, rows: Any) -> list[dict[str, Any]]:
    """The withdrawal that the reader chose to ask for, and those that wait for a second person."""
    chosen = request.GET.get("undo", "")
    found: list[tuple[Advance, dict[str, Any]]] = []
    if request.user.may("statements.prepare") and chosen.isascii() and chosen.isdigit():
        own = rows.filter(pk=min(int(chosen), BIGGEST_ID), state=Advance.State.APPROVED)
        found += [(row, {"title": "申请撤回预付款", "buttons": [], "open": True, "form": ReasonForm(),
                         "url": reverse("advance-withdrawal", args=[row.pk]),
                         "hint": "尚未列入拨付清单的可以撤回，由另一人复核。"}) for row in own]  # fmt: skip
    if request.user.may("payments.approve"):
        asked = rows.filter(state=Advance.State.WITHDRAWING)[:PAGE]
        found += [(row, {"title": "复核撤回预付款", "buttons": WITHDRAW, "open": False, "form": Form(),
                         "url": reverse("advance-withdrawal-decide", args=[row.pk]),
                         "hint": Told(f"{row.undo_reason}；申请人 ", Login(row.undo_asked_by))})
                  for row in asked]  # fmt: skip
    names = names_of([row.institution_code for row, _ in found])
    return [
        entry | {"key": f"undo-{row.pk}", "version": None, "danger": True,
                 "title": f"{entry['title']}：{names.get(row.institution_code, row.institution_code)} "
                          f"{row.get_scheme_display()} {yuan(row.amount)} 元"}
        for row, entry in found
    ]  # fmt: skip


def _waiting(request: PortalRequest, rows: Any) -> list[dict[str, Any]]:
    if not request.user.may("payments.approve"):
        return []
    open_ones = list(rows.filter(state=Advance.State.PROPOSED)[:PAGE])
    names = names_of([row.institution_code for row in open_ones])
    return [
        {"key": f"advance-{row.pk}", "version": None, "danger": False, "buttons": AGREE,
         "title": f"{names.get(row.institution_code, row.institution_code)} "
                  f"{row.get_scheme_display()} {yuan(row.amount)} 元",
         "hint": Told("；".join(filter(None, (row.reason, row.document, "提出人 "))), Login(row.proposed_by)),
         "url": reverse("advance-decide", args=[row.pk]), "form": DecisionForm(auto_id=f"id_{row.pk}_%s"),
         "open": False}
        for row in open_ones
    ]  # fmt: skip


def _balances(rows: Any) -> list[dict[str, Any]]:
    codes = list(rows.values_list("institution_code", flat=True).distinct())
    names = names_of(codes)
    return [
        {"label": f"{names.get(code, code)} {Scheme(scheme).label}", "value": amount}
        for (code, scheme), amount in sorted(advances.balances(codes).items())
    ]


def _advances(rows: list[Advance], *, total: int, number: int, may: bool) -> Table:
    def undo(row: Advance) -> list[Action]:
        url = f"{reverse('advances')}?undo={row.pk}#act-undo-{row.pk}"
        unpaid = row.state == Advance.State.APPROVED and not paid.get(row.subject)
        return [Action(label="申请撤回", url=url)] if may and unpaid else []

    names = names_of([row.institution_code for row in rows])
    paid = paid_of_many([row.subject for row in rows])
    return Table(
        id="advances", caption="预付款",
        columns=[Column(label="医疗机构", wide=True), Column(label="险种"),
                 Column(label="金额（元）", numeric=True), Column(label="事由和附件", wide=True),
                 Column(label="提出"), Column(label="复核"), Column(label="状态")],
        rows=[
            Row(key=str(row.pk), label=str(row.pk), actions=undo(row), cells=[
                Cell(text=names.get(row.institution_code, row.institution_code), sub=row.institution_code),
                Cell(text=row.get_scheme_display()),
                Cell(text=yuan(row.amount), sub=f"银行已付 {yuan(paid.get(row.subject, 0))}"),
                Cell(text=row.reason, sub=row.document,
                     url=reverse("document", args=[row.file_id]) if row.file_id else "",
                     title=row.file.name if row.file else ""),
                Cell(text=moment(row.proposed_at)[:16], sub=Login(row.proposed_by)),
                Cell(text=moment(row.decided_at)[:16] if row.decided_at else "—", sub=Login(row.decided_by)),
                Cell(text=row.get_state_display(), tone=TONES[row.state],
                     sub=row.undo_reason or row.decision)])
            for row in rows
        ],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="没有预付款",
        empty_text="经办提出、财务复核后列入拨付清单，银行付款后按月在结算单中冲抵。",
    )  # fmt: skip
