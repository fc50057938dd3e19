"""Yearly bills of lines and maintenance: drawn, decided, confirmed, paid; the overdue list; papers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse, words_of
from audit import clock, pdf, sheets, trail
from audit.access import requires
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.models import area_prefix
from institutions.money import yuan as plain
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from settlement import consultation_forms as shapes
from settlement import line_payments as payments
from settlement import lines as commands
from settlement.lines import MAINTAIN
from settlement.models import FeeBill, FeeItem, Voucher
from settlement.views.lines import CRUMB, PAGE, REASONS, tabs

BILLS = {"label": "年度账单", "url": "/lines/bills/"}
State = FeeBill.State
TONES = {State.DRAFT: "wait", State.CONFIRMED: "warn", State.PAID: "ok", State.NOTHING: "mute"}
HEADS = ("账单号", "医疗机构", "机构编码", "年度", "状态", "机构承担", "省卫健委承担", "按月折算",
         "缴费期限", "缴费日", "缴费凭据", "逾期处理")  # fmt: skip


class BillFilter(django_filters.FilterSet):
    """The query bar of bills."""

    q = django_filters.CharFilter(
        label="账单", method="by_words", max_length=60,
        widget=forms.TextInput({"placeholder": "机构名称或账单号"}),
    )  # fmt: skip
    year = django_filters.NumberFilter(label="年度", field_name="year")
    state = django_filters.ChoiceFilter(label="状态", empty_label="全部", choices=State)
    late = django_filters.BooleanFilter(
        label="期限", method="by_late",
        widget=forms.Select(choices=[("", "全部"), ("true", "逾期未缴")]),
    )  # fmt: skip

    class Meta:
        model = FeeBill
        fields = ()

    def by_words(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(number__icontains=value) | rows.filter(
            institution__name__icontains=value
        )

    def by_late(self, rows: Any, name: str, value: bool) -> QuerySet:
        return rows.overdue(on=clock.today()) if value else rows


def _found(request: PortalRequest) -> tuple[BillFilter, QuerySet]:
    seen = FeeBill.objects.visible_to(request.user)
    found = BillFilter(request.GET, queryset=seen, request=request)
    rows = found.qs if found.form.is_valid() else seen.none()
    return found, rows.select_related("institution")


@requires("lines.view")
@require_GET
def fee_bills(request: PortalRequest) -> HttpResponse:
    """The bills of the user's hospital or area; whoever maintains lines draws those of a year here."""
    found, rows = _found(request)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    may = request.user.may
    drafts = FeeBill.objects.visible_to(request.user).filter(state=State.DRAFT).count()
    return render(request, "settlement/fee_bills.html", named({
        "breadcrumbs": [CRUMB, {**BILLS, "url": ""}],
        "tabs": tabs(request, "late" if request.GET.get("late") == "true" else "bills"),
        "form": found.form, "drafts": drafts if may(commands.COLLECT) else 0,
        "year_form": shapes.YearForm(initial={"year": clock.today().year}, auto_id="bill_%s")
        if may(MAINTAIN) else None,
        "table": _table(request, list(page), total=page.paginator.count, number=page.number),
    }))  # fmt: skip


@requires("lines.view")
@require_GET
def fee_bills_csv(request: PortalRequest) -> HttpResponse:
    """The bills of the query as CSV."""
    rows = [
        [row.number, row.institution.name, row.institution_id, str(row.year), row.get_state_display(),
         plain(row.amount), plain(row.commission), plain(row.by_month), str(row.due_on),
         str(row.paid_on or ""), row.payment_no, row.handled_note]
        for row in _found(request)[1]
    ]  # fmt: skip
    trail.record(
        by=request.user.username, at=clock.now(), action="feebill.export", subject="feebills:csv",
        region_code=request.user.region_id or "",
        institution_code=request.user.institution_id or "", detail={"rows": len(rows)},
    )  # fmt: skip
    return HttpResponse(
        "".join(sheets.csv_lines(HEADS, rows)), content_type=sheets.CSV,
        headers={"Content-Disposition": 'attachment; filename="fee-bills.csv"'},
    )  # fmt: skip


def _table(request: PortalRequest, rows: list[FeeBill], *, total: int, number: int) -> Table:
    return Table(
        id="bills", caption="年度账单",
        columns=[Column(label="账单号"), Column(label="医疗机构", wide=True), Column(label="年度"),
                 Column(label="机构承担（元）", numeric=True, hint="按服务年度整年计"),
                 Column(label="按月折算（元）", numeric=True, hint="对照数，不作为收缴依据"),
                 Column(label="省卫健委（元）", numeric=True), Column(label="缴费期限"),
                 Column(label="状态")],
        rows=[_row(row) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        toolbar=[Action(label="导出 CSV", icon="arrow-down-tray",
                        url=f"{reverse('fee-bills-csv')}?{request.GET.urlencode()}")],
        empty_title="没有账单", empty_text="生成年度账单并确认后，机构在年底前一次性缴齐。",
    )  # fmt: skip


def _row(row: FeeBill) -> Row:
    url = reverse("fee-bill", args=[row.pk])
    text, tone = _standing(row)
    text, _, owed = text.partition("，")
    return Row(key=str(row.pk), label=row.number, actions=[Action(label="查看", url=url)], cells=[
        Cell(text=row.number, url=url, code=True), Cell(text=row.institution.name),
        Cell(text=str(row.year)), Cell(text=yuan(row.amount)), Cell(text=yuan(row.by_month)),
        Cell(text=yuan(row.commission)),
        Cell(text=str(row.due_on), sub=f"缴费 {row.paid_on}" if row.paid_on else ""),
        Cell(text=text, tone=tone, sub="已处理" if row.handled_on and tone == "bad" else owed),
    ])  # fmt: skip


def _standing(row: FeeBill) -> tuple[str, str]:
    if row.state == State.CONFIRMED and row.due_on < clock.today():
        return "逾期未缴", "bad"
    if row.commission_owed and row.due_on < clock.today():
        return "省卫健委逾期未付", "bad"
    if row.open_items:
        return f"{row.open_items} 项待认定", "warn"
    if row.state == State.PAID and row.paid_on and row.paid_on > row.due_on:
        return "已缴清（逾期）", "ok"
    if row.commission_owed and row.state != State.CONFIRMED:
        return f"{row.get_state_display()}，省卫健委待付", "warn"
    return row.get_state_display(), TONES[State(row.state)]


@requires(MAINTAIN)
@require_POST
def fee_bills_make(request: PortalRequest) -> HttpResponse:
    """Draw the bills of a year for the own area; a second time adds only what is missing."""
    form = shapes.YearForm(request.POST)
    if not form.is_valid() or not request.user.region_id:
        messages.error(request, "请填写年度。")
        return redirect("fee-bills")
    year = form.cleaned_data["year"]
    try:
        with transaction.atomic():
            made = commands.make_bills(
                year=year, prefix=area_prefix(request.user.region_id), by=request.user.username,
                at=clock.now(),
            )  # fmt: skip
    except (Refusal, Refused) as error:
        messages.error(request, words_of(error))
    else:
        messages.success(request, f"已生成或补充 {year} 年度账单 {made} 份。" if made
                         else f"{year} 年度账单已齐，没有新增。")  # fmt: skip
    return redirect(f"{reverse('fee-bills')}?year={year}")


@requires(commands.COLLECT)
@require_POST
def fee_bills_confirm(request: PortalRequest) -> HttpResponse:
    """Confirm every draft without open items."""
    rows = FeeBill.objects.visible_to(request.user)
    try:
        with transaction.atomic():
            done, waiting = commands.confirm_all(
                bills=rows, by=request.user.username, at=clock.now()
            )
    except (Refusal, Refused) as error:
        messages.error(request, words_of(error))
    else:
        left = f"，{len(waiting)} 份有待认定项" if waiting else ""
        messages.success(request, f"已确认 {done} 份账单{left}。")
    return redirect("fee-bills")


# --- One bill ---


@dataclass(frozen=True)
class Doing:
    """What can be done with a bill: who may, when, with which form."""

    label: str
    permission: str
    form: type[forms.Form]
    when: Callable[[FeeBill], bool]
    do: Callable[..., object]
    tone: str = "primary"
    hint: str = ""


UNDONE = "入账凭证红字冲销，须由原经办人以外的人办理。"
ACTS: dict[str, Doing] = {
    "confirm": Doing(
        "确认账单", commands.COLLECT, forms.Form,
        lambda bill: bill.state == State.DRAFT and not bill.open_items, commands.confirm_bill,
        hint="确认后入账，机构应在期限前一次性缴齐。",
    ),
    "redraw": Doing(
        "重新生成", MAINTAIN, forms.Form, lambda bill: bill.state == State.DRAFT, commands.redraw,
        tone="plain", hint="按现在登记的专线和合同重算；人工认定须重做。",
    ),
    "pay": Doing(
        "登记缴费", commands.COLLECT, shapes.BillPaymentForm,
        lambda bill: bill.state == State.CONFIRMED, payments.pay_bill,
    ),
    "commission": Doing(
        "登记省卫健委支付", commands.COLLECT, shapes.CommissionForm,
        lambda bill: bill.state != State.DRAFT and bool(bill.commission)
        and bill.commission_paid_on is None, payments.pay_commission,
    ),
    "unpay": Doing(
        "冲销缴费", commands.COLLECT, shapes.UndoForm, lambda bill: bill.state == State.PAID,
        payments.undo_payment, tone="danger", hint=UNDONE,
    ),
    "uncommission": Doing(
        "冲销省卫健委支付", commands.COLLECT, shapes.UndoForm,
        lambda bill: bill.commission_paid_on is not None, payments.undo_commission, tone="danger",
        hint=UNDONE,
    ),
    "unconfirm": Doing(
        "撤销确认", commands.COLLECT, shapes.UndoForm,
        lambda bill: bill.state in (State.CONFIRMED, State.NOTHING)
        and bill.commission_paid_on is None, payments.undo_confirmation, tone="danger",
        hint=f"账单退回待确认。{UNDONE}",
    ),
    "handle": Doing(
        "登记逾期处理", commands.COLLECT, shapes.HandleForm,
        lambda bill: bill.owed and bill.due_on < clock.today(),
        payments.handle_overdue, hint="文件只规定由省远程医疗服务中心视情况处理，方式未印。",
    ),
}  # fmt: skip


@requires("lines.view")
@require_http_methods(["GET", "POST"])
def fee_bill(request: PortalRequest, pk: int) -> HttpResponse:
    """A bill with its items, both readings, what can be done; a POST does one of those things."""
    bill, typed, status = _visible(request, pk), None, 200
    if request.method == "POST":
        status, typed = _do(request, bill)
        if status == 200:
            return redirect("fee-bill", pk=pk)
        bill = _visible(request, pk)
    text, tone = _standing(bill)
    return render(request, "settlement/fee_bill.html", named({
        "bill": bill, "state": {"text": text, "tone": tone}, "facts": _facts(bill),
        "stats": _stats(bill), "items": _items(bill), "acts": _acts(request, bill, typed),
        "decisions": _decisions(request, bill, typed), "vouchers": _vouchers(request, bill),
        "breadcrumbs": [CRUMB, BILLS, {"label": bill.number, "url": ""}],
    }), status=status)  # fmt: skip


def _do(request: PortalRequest, bill: FeeBill) -> tuple[int, forms.Form | None]:
    """Do what was sent; (status, the form that was refused)."""
    key = request.POST.get("act", "")
    item = bill.items.filter(pk=key[6:]).first() if key[6:].isdigit() else None
    doing = ACTS.get(key)
    if item is not None:
        doing = Doing("认定", MAINTAIN, shapes.DecideForm, _undecided, commands.decide_item)
    if doing is None:
        raise Http404
    if not request.user.may(doing.permission):
        messages.error(request, "您的角色不能办理此事。")
        return 403, None
    form = doing.form(request.POST, prefix=key)
    if not form.is_valid():
        return 422, form
    about: dict[str, Any] = {"item": item} if item is not None else {"bill": bill}
    try:
        with transaction.atomic():
            doing.do(**about, **form.cleaned_data, by=request.user.username, at=clock.now())
    except (Refusal, Refused) as error:
        if not form.fields:
            messages.error(request, words_of(error))
        return refuse(form, error), form
    messages.success(request, f"已办理：{doing.label}")
    return 200, None


def _undecided(bill: FeeBill) -> bool:
    return bill.state == State.DRAFT


def _acts(request: PortalRequest, bill: FeeBill, typed: Any) -> list[dict[str, Any]]:
    found = []
    for key, doing in ACTS.items():
        if request.user.may(doing.permission) and doing.when(bill):
            form = typed if getattr(typed, "prefix", "") == key else doing.form(prefix=key)
            found.append({"key": key, "label": doing.label, "tone": doing.tone, "hint": doing.hint,
                          "form": form})  # fmt: skip
    return found


def _decisions(request: PortalRequest, bill: FeeBill, typed: Any) -> list[dict[str, Any]]:
    """A form for every item that the tariff leaves open."""
    if not (request.user.may(MAINTAIN) and bill.state == State.DRAFT):
        return []
    found = []
    for item in bill.items.filter(amount=None).select_related("line"):
        key = f"decide{item.pk}"
        form = typed if getattr(typed, "prefix", "") == key else shapes.DecideForm(prefix=key)
        found.append({"key": key, "form": form, "label": f"认定 {_name(item)} 第 {item.number} 年",
                      "why": REASONS.get(item.reason, item.reason)})  # fmt: skip
    return found


def _name(item: FeeItem) -> str:
    return str(item.line or item.contract)


def _facts(bill: FeeBill) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = [
        {"label": "医疗机构", "value": bill.institution.name, "sub": bill.institution_id},
        {"label": "年度", "value": f"{bill.year} 年",
         "sub": "追加账单：账单确认后登记的专线和合同" if bill.part > 1 else ""},
        {"label": "缴费期限", "value": str(bill.due_on), "sub": "年底一次性缴齐，不顺延"},
        {"label": "确认", "value": f"{clock.local(bill.confirmed_at):%Y-%m-%d}"
         if bill.confirmed_at else "未确认", "sub": Login(bill.confirmed_by)},
        {"label": "缴费", "value": str(bill.paid_on or "—"), "sub": bill.payment_no},
        {"label": "省卫健委支付", "value": str(bill.commission_paid_on or "—"),
         "sub": bill.commission_payment_no},
    ]  # fmt: skip
    if bill.handled_on:
        facts.append({"label": "逾期处理", "value": bill.handled_note, "wide": True,
                      "sub": Told(f"{bill.handled_on} ", Login(bill.handled_by))})  # fmt: skip
    return facts


def _stats(bill: FeeBill) -> list[dict[str, str]]:
    return [
        {"label": "机构应缴", "value": yuan(bill.amount), "unit": "元", "note": "按服务年度整年计（默认）"},
        {"label": "按月折算", "value": yuan(bill.by_month), "unit": "元", "note": "对照数，不作为收缴依据"},
        {"label": "省卫健委承担", "value": yuan(bill.commission), "unit": "元",
         "note": "晚开通乡镇首年"},
    ]  # fmt: skip


def _items(bill: FeeBill) -> Table:
    rows = bill.items.select_related("line", "contract")
    return Table(
        id="items", caption="费用明细", actions=False,
        columns=[Column(label="项目"), Column(label="说明", wide=True), Column(label="年度"),
                 Column(label="起止"), Column(label="机构（元）", numeric=True),
                 Column(label="省卫健委（元）", numeric=True), Column(label="依据")],
        rows=[Row(key=str(row.pk), label=_name(row), tone="warn" if row.amount is None else "", cells=[
            Cell(text=_name(row), code=True), Cell(text=_about(row), sub=row.decided_note),
            Cell(text=f"第 {row.number} 年"), Cell(text=f"{row.first} 至 {row.last}"),
            Cell(text="待认定" if row.amount is None else yuan(row.amount),
                 tone="warn" if row.amount is None else ""),
            Cell(text="—" if row.commission is None else yuan(row.commission)),
            Cell(text=row.clause, sub=REASONS.get(row.reason, "")),
        ]) for row in rows],
    )  # fmt: skip


def _about(item: FeeItem) -> str:
    if item.line is not None:
        line = item.line
        return (f"{line.get_tier_display()}{line.get_service_display()} "
                f"{line.bandwidth_mb} 兆 × {line.count} 条")  # fmt: skip
    return "系统维保费"


def _vouchers(request: PortalRequest, bill: FeeBill) -> list[dict[str, Any]]:
    rows = Voucher.objects.visible_to(request.user).filter(subject=f"feebill:{bill.pk}")
    return [
        {"label": row.get_kind_display(), "value": f"{yuan(row.amount)} 元",
         "sub": Told(f"{row.number} · {clock.local(row.posted_at):%Y-%m-%d} ", Login(row.posted_by))}
        for row in rows
    ]  # fmt: skip


@requires("lines.view")
@require_GET
def fee_bill_pdf(request: PortalRequest, pk: int) -> HttpResponse:
    """The bill as a paper."""
    bill = _visible(request, pk)
    release = commands.law_of(bill.institution.region.policy_region, clock.today())
    rules = release.policy.data["tariffs"]
    commands.noted(
        bill, "feebill.paper", by=request.user.username, at=clock.now(), state=bill.state
    )
    rows = [
        {"name": _name(row), "about": _about(row), "span": f"{row.first} 至 {row.last}",
         "amount": row.amount, "commission": row.commission, "clause": row.clause}
        for row in bill.items.select_related("line", "contract")
    ]  # fmt: skip
    content = pdf.render(
        "reports/fee_bill.html",
        {"bill": bill, "rows": rows, "document": release.policy.document, "rules": rules,
         "state": _standing(bill)[0], "demo": bill.institution.is_demo},
        identifier=pdf.identifier_of("fee bill", bill.number, bill.state), at=clock.now(),
        attachments=[pdf.json_attachment("bill.json", rows, f"{bill.number} 的数据")],
    )  # fmt: skip
    return HttpResponse(
        content, content_type="application/pdf",
        headers={"Content-Disposition": f'attachment; filename="fee-bill-{bill.year}-{bill.pk}.pdf"'},
    )  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> FeeBill:
    rows = FeeBill.objects.visible_to(request.user).select_related("institution__region")
    return get_object_or_404(rows, pk=pk)
