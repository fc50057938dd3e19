"""Maintenance contracts: their register, what of them is billed; registered, ended, put away."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from institutions import documents
from institutions.access import PortalRequest
from institutions.refusals import Refusal
from pricing.releases import current
from settlement import consultation_forms as shapes
from settlement import lines, maintenance
from settlement.correction_forms import ReasonForm
from settlement.models import FeeItem, MaintenanceContract
from settlement.views.lines import CRUMB, PAGE, form_page, inside, tabs

CONTRACTS = {"label": "维保合同", "url": "/lines/contracts/"}


@requires("lines.view")
@require_GET
def line_contracts(request: PortalRequest) -> HttpResponse:
    """The maintenance contracts of the user's hospital or area."""
    rows = MaintenanceContract.objects.visible_to(request.user).select_related("institution")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/line_contracts.html", {
        "breadcrumbs": [CRUMB, {**CONTRACTS, "url": ""}],
        "tabs": tabs(request, "contracts"), "may_maintain": request.user.may(lines.MAINTAIN),
        "table": Table(
            id="contracts", caption="维保合同",
            columns=[Column(label="合同编号"), Column(label="医疗机构", wide=True),
                     Column(label="协议金额（元）", numeric=True), Column(label="费率", numeric=True),
                     Column(label="年费（元）", numeric=True), Column(label="维保起始日"),
                     Column(label="验收合格日"), Column(label="合同扫描件"), Column(label="状态")],
            rows=[_row(request, row) for row in page],
            pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
            empty_title="没有维保合同", empty_text="质保期满后按协议缴纳维保费，登记合同后计入年度账单。",
        ),
    })  # fmt: skip


def _row(request: PortalRequest, row: MaintenanceContract) -> Row:
    url = reverse("line-contract", args=[row.pk])
    (text, tone), (paper, scan) = _standing(row, clock.today()), _paper(request, row)
    return Row(key=str(row.pk), label=row.number, actions=[Action(label="查看", url=url)], cells=[
        Cell(text=row.number, url=url, code=True), Cell(text=row.institution.name),
        Cell(text=yuan(row.base)), Cell(text=rate(row.rate)),
        Cell(text="—" if row.voided_at else yuan(lines.yearly_fee(row))),
        Cell(text=str(row.starts_on), sub=f"至 {row.ends_on}" if row.ends_on else ""),
        Cell(text=str(row.accepted_on or "未填")), Cell(text=paper, url=scan),
        Cell(text=text, tone=tone, sub=row.void_reason),
    ])  # fmt: skip


def _standing(row: MaintenanceContract, on: dt.date) -> tuple[str, str]:
    if row.voided_at:
        return "已作废", "bad"
    if row.ends_on and row.ends_on < on:
        return "已终止", "mute"
    return ("有效", "ok") if row.starts_on <= on else ("未开始", "info")


def _paper(request: PortalRequest, row: MaintenanceContract) -> tuple[str, str]:
    """The scanned contract as text, and its address for whoever may open documents."""
    if row.document_id is None:
        return "未附", ""
    url = reverse("document", args=[row.document_id]) if request.user.may("documents.view") else ""
    return "查看" if url else "已附", url


# --- One contract ---


@requires("lines.view")
@require_GET
def line_contract(request: PortalRequest, pk: int) -> HttpResponse:
    """A contract, its years that stand on bills, and what can be done with it."""
    row = _visible(request, pk)
    text, tone = _standing(row, clock.today())
    return render(request, "settlement/line_contract.html", {
        "contract": row, "state": {"text": text, "tone": tone}, "facts": _facts(request, row),
        "years": _years(request, row),
        "may_maintain": request.user.may(lines.MAINTAIN) and not row.voided_at,
        "breadcrumbs": [CRUMB, CONTRACTS, {"label": row.number, "url": ""}],
    })  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> MaintenanceContract:
    rows = MaintenanceContract.objects.visible_to(request.user).select_related("institution")
    return get_object_or_404(rows, pk=pk)


def _facts(request: PortalRequest, row: MaintenanceContract) -> list[dict[str, Any]]:
    paper, scan = _paper(request, row)
    return [
        {"label": "医疗机构", "value": row.institution.name, "sub": row.institution_id},
        {"label": "协议金额", "value": f"{yuan(row.base)} 元"},
        {"label": "维保费率", "value": rate(row.rate)},
        {"label": "年费", "value": f"{yuan(lines.yearly_fee(row))} 元", "sub": "协议金额 × 费率"},
        {"label": "验收合格日", "value": str(row.accepted_on or "未填")},
        {"label": "维保起始日", "value": str(row.starts_on)},
        {"label": "终止日", "value": str(row.ends_on or "未约定")},
        {"label": "合同扫描件", "value": paper, "url": scan},
    ]  # fmt: skip


def _years(request: PortalRequest, row: MaintenanceContract) -> Table:
    items = FeeItem.objects.visible_to(request.user).filter(contract=row).select_related("bill")
    return Table(
        id="years", caption="已计入账单的维保年度", actions=False,
        columns=[Column(label="年度"), Column(label="起止", wide=True),
                 Column(label="金额（元）", numeric=True), Column(label="账单"), Column(label="状态")],
        rows=[Row(key=str(item.pk), label=f"第 {item.number} 年", cells=[
            Cell(text=f"第 {item.number} 年"), Cell(text=f"{item.first} 至 {item.last}"),
            Cell(text=yuan(item.amount or 0)),
            Cell(text=item.bill.number, url=reverse("fee-bill", args=[item.bill_id]), code=True),
            Cell(text=item.bill.get_state_display()),
        ]) for item in items.order_by("-number")],
        empty_title="尚未计入账单", empty_text="生成年度账单时计入该年度开始的维保年度。",
    )  # fmt: skip


@requires(lines.MAINTAIN)
@require_http_methods(["GET", "POST"])
def line_contract_end(request: PortalRequest, pk: int) -> HttpResponse:
    """The last day of a contract."""
    return _done(
        request, pk, shapes.ContractEndForm(request.POST or None), maintenance.end_contract, "终止"
    )


@requires(lines.MAINTAIN)
@require_http_methods(["GET", "POST"])
def line_contract_void(request: PortalRequest, pk: int) -> HttpResponse:
    """Put away a contract that was registered by mistake."""
    return _done(
        request, pk, ReasonForm(request.POST or None), maintenance.void_contract, "作废",
        hint="登记有误的合同由登记人以外的人作废；已计入已确认账单的不能作废，合同编号可以重新登记。",
    )  # fmt: skip


def _done(
    request: PortalRequest, pk: int, form: forms.Form, command: Callable[..., None], label: str, *,
    hint: str = "",
) -> HttpResponse:  # fmt: skip
    """The form of an act on a contract; a POST does it."""
    row = _visible(request, pk)
    address = reverse("line-contract", args=[pk])
    if request.method == "POST" and form.is_valid():
        try:
            command(contract=row, **form.cleaned_data, by=request.user.username, at=clock.now())
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"合同 {row.number} 已{label}，待确认账单已重新生成。")
            return redirect(address)
    return form_page(request, form, f"{label}合同 {row.number}", label, address, hint=hint)


@requires(lines.MAINTAIN)
@require_http_methods(["GET", "POST"])
def line_contract_new(request: PortalRequest) -> HttpResponse:
    """Register a maintenance contract: base and rate are the parties' agreement."""
    form = shapes.ContractForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and inside(request, form):
        given = dict(form.cleaned_data)
        paper = given.pop("paper")
        sign: dict[str, Any] = {"by": request.user.username, "at": clock.now()}
        try:
            with transaction.atomic():
                document = documents.store(
                    content=paper.read(), name=paper.name, kind="maintenance_contract",
                    institution=given["institution"], **sign,
                ) if paper else None  # fmt: skip
                row = maintenance.record_contract(**given, document=document, **sign)
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"已登记合同 {row.number}，维保自 {row.starts_on} 起。")
            return redirect("line-contract", pk=row.pk)
    hint = _maintenance_hint(request)
    return form_page(request, form, "登记维保合同", "登记", reverse("line-contracts"), hint=hint)


def _maintenance_hint(request: PortalRequest) -> str:
    """What the notice says about maintenance, in numbers of the release."""
    if request.user.region is None:
        return ""
    law = current().policy(request.user.region.policy_region, clock.today())
    rules = law.policy.section("maintenance", None) if law else None
    if not rules:
        return ""
    bounds, years = rules["rate"], rules["warranty"]["years"]
    return (
        f"维保费率 {rate(bounds['min'])} 至 {rate(bounds['max'])}；起始日取 {rules['fixed_start']} "
        f"与质保期满（验收合格起 {years} 年）中较晚的一日。"
    )
