"""Lines: their register, what each costs by both readings, who bears it."""

from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from agreements.views.refusing import refuse
from audit import charts, clock
from audit.access import requires
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import consultation_forms as shapes
from settlement import line_fees
from settlement import lines as commands
from settlement.correction_forms import ReasonForm
from settlement.models import FeeBill, NetworkLine

CRUMB = {"label": "专线与维保", "url": "/lines/"}
PAGE = 20
YEARS_SHOWN = 5
PAYERS = {line_fees.INSTITUTION: "机构", line_fees.COMMISSION: "省卫生健康委"}
REASONS = {
    "NO_TARIFF": "收费标准未列此带宽，待认定", "TARIFF_AMBIGUOUS": "层级与带宽不相符，待认定",
}  # fmt: skip


class LineFilter(django_filters.FilterSet):
    """The query bar of lines."""

    q = django_filters.CharFilter(
        label="专线", method="by_words", max_length=60,
        widget=forms.TextInput({"placeholder": "线路编号或机构名称"}),
    )  # fmt: skip
    tier = django_filters.ChoiceFilter(label="层级", empty_label="全部", choices=NetworkLine.Tier)
    service = django_filters.ChoiceFilter(
        label="业务", empty_label="全部", choices=NetworkLine.Service
    )

    class Meta:
        model = NetworkLine
        fields = ()

    def by_words(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(number__icontains=value) | rows.filter(
            institution__name__icontains=value
        )


def tabs(request: PortalRequest, current: str) -> list[dict[str, Any]]:
    """The pages about lines; how many bills are overdue stands beside theirs."""
    late = FeeBill.objects.visible_to(request.user).overdue(on=clock.today()).count()
    pages = (
        ("lines", "专线", reverse("lines"), None),
        ("contracts", "维保合同", reverse("line-contracts"), None),
        ("bills", "年度账单", reverse("fee-bills"), None),
        ("late", "逾期未缴", f"{reverse('fee-bills')}?late=true", late),
    )
    return [{"label": label, "url": url, "current": key == current, "count": count}
            for key, label, url, count in pages]  # fmt: skip


@requires("lines.view")
@require_GET
def lines(request: PortalRequest) -> HttpResponse:
    """The lines of the user's hospital or area, with figures and a picture."""
    seen = NetworkLine.objects.visible_to(request.user)
    found = LineFilter(request.GET, queryset=seen, request=request)
    rows = found.qs if found.form.is_valid() else seen.none()
    page = Paginator(rows.select_related("institution__region"), PAGE).get_page(
        request.GET.get("page")
    )
    return render(request, "settlement/lines.html", {
        "breadcrumbs": [{**CRUMB, "url": ""}], "tabs": tabs(request, "lines"), "form": found.form,
        "may_maintain": request.user.may(commands.MAINTAIN), "stats": _stats(request), **_charts(request),
        "table": _table(list(page), total=page.paginator.count, number=page.number),
    })  # fmt: skip


def _stats(request: PortalRequest) -> list[dict[str, Any]]:
    rows = NetworkLine.objects.visible_to(request.user).standing().filter(closed_on=None)
    bills = FeeBill.objects.visible_to(request.user)
    total = bills.exclude(state=FeeBill.State.DRAFT).aggregate(
        owed=Sum("amount"), commission=Sum("commission")
    )
    paid = bills.filter(state=FeeBill.State.PAID).aggregate(paid=Sum("amount"))["paid"] or 0
    owed = total["owed"] or 0
    return [
        {"label": "在用专线", "value": f"{rows.aggregate(n=Sum('count'))['n'] or 0:,}", "unit": "条",
         "icon": "signal"},
        {"label": "机构应缴", "value": yuan(owed), "unit": "元", "icon": "document-currency-yen",
         "note": "已确认账单"},
        {"label": "已缴", "value": yuan(paid), "unit": "元", "icon": "check-circle"},
        {"label": "省卫健委承担", "value": yuan(total["commission"] or 0), "unit": "元",
         "icon": "building-library"},
    ]  # fmt: skip


def _charts(request: PortalRequest) -> dict[str, Any]:
    bills = FeeBill.objects.visible_to(request.user).exclude(state=FeeBill.State.DRAFT)
    today = clock.today()
    by_year: dict[int, list[int]] = {}
    for bill in bills:
        sums = by_year.setdefault(bill.year, [0, 0, 0, 0])
        if bill.state == FeeBill.State.PAID:
            sums[0] += bill.amount
        elif bill.due_on < today:
            sums[2] += bill.amount
        else:
            sums[1] += bill.amount
        sums[3] += bill.commission
    years = sorted(by_year)[-YEARS_SHOWN:]
    words = (("已缴", "a"), ("待缴", "b"), ("逾期", "d"), ("省卫健委承担", "c"))
    counted = NetworkLine.objects.visible_to(request.user).standing().filter(closed_on=None)
    tiers = dict(counted.order_by().values_list("tier").annotate(n=Sum("count")))
    return {
        "by_year": charts.bars(
            title="年度账单", labels=[f"{year}年" for year in years], money=True, stacked=True,
            series=[{"label": word, "tone": tone, "values": [by_year[y][k] for y in years]}
                    for k, (word, tone) in enumerate(words)],
        ),
        "by_tier": charts.donut(
            title="在用专线的层级", centre="条",
            parts=[{"label": label, "value": tiers[key]}
                   for key, label in NetworkLine.Tier.choices if tiers.get(key)],
        ),
    }  # fmt: skip


def _table(rows: list[NetworkLine], *, total: int, number: int) -> Table:
    return Table(
        id="lines", caption="专线",
        columns=[Column(label="线路编号"), Column(label="医疗机构", wide=True), Column(label="层级"),
                 Column(label="业务"), Column(label="带宽", numeric=True),
                 Column(label="条数", numeric=True), Column(label="开通日"),
                 Column(label="年费（元）", numeric=True), Column(label="今日由谁承担")],
        rows=[_row(row) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="没有专线", empty_text="卫生健康委或省远程医疗服务中心登记专线后在此查看。",
    )  # fmt: skip


def _row(row: NetworkLine) -> Row:
    law = commands.law_of(row.institution.region.policy_region, clock.today()).policy.data
    line, url = commands.fact_of(row), reverse("line", args=[row.pk])
    tariff, payer = line_fees.tariff_of(line, law), line_fees.payer_on(line, clock.today(), law)
    fee = (Cell(text="待认定", tone="warn", sub=REASONS.get(tariff.reason or "", ""))
           if tariff.fee is None else Cell(text=yuan(tariff.fee * row.count)))  # fmt: skip
    return Row(key=str(row.pk), label=row.number, actions=[Action(label="查看", url=url)], cells=[
        Cell(text=row.number, url=url, code=True), Cell(text=row.institution.name),
        Cell(text=row.get_tier_display()), Cell(text=row.get_service_display()),
        Cell(text=f"{row.bandwidth_mb} 兆"), Cell(text=str(row.count)),
        Cell(text=str(row.opened_on), sub=f"停用 {row.closed_on}" if row.closed_on else ""),
        *([Cell(text="—"), Cell(text="已作废", tone="bad", sub=row.void_reason)] if row.voided_at
          else [fee, Cell(text=PAYERS.get(payer or "", "—"))]),
    ])  # fmt: skip


@requires("lines.view")
@require_GET
def line(request: PortalRequest, pk: int) -> HttpResponse:
    """One line: its service years, who bears them, and both readings of what has accrued."""
    row = _visible(request, pk)
    release = commands.law_of(row.institution.region.policy_region, clock.today())
    law, fact = release.policy.data, commands.fact_of(row)
    tariff = line_fees.tariff_of(fact, law)
    return render(request, "settlement/line.html", {
        "line": row, "facts": _facts(row, tariff),
        "years": None if row.voided_at else _years(fact, law),
        "stats": [] if row.voided_at else _readings(fact, law),
        "may_maintain": request.user.may(commands.MAINTAIN) and not row.voided_at,
        "review": "" if row.voided_at else REASONS.get(tariff.reason or "", ""),
        "clause": {"document": release.policy.document, "clause": tariff.clause,
                   "text": release.policy.clause_text(tariff.clause)},
        "breadcrumbs": [CRUMB, {"label": row.number, "url": ""}],
    })  # fmt: skip


def _facts(row: NetworkLine, tariff: line_fees.Tariff) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = [
        {"label": "医疗机构", "value": row.institution.name, "sub": row.institution_id},
        {"label": "层级", "value": row.get_tier_display()},
        {"label": "业务与带宽", "value": f"{row.get_service_display()} {row.bandwidth_mb} 兆",
         "sub": f"{row.count} 条"},
        {"label": "开通日", "value": str(row.opened_on)},
        {"label": "停用日", "value": str(row.closed_on or "在用")},
        {"label": "收费标准", "value": f"{yuan(tariff.fee)} 元/年/条" if tariff.fee else "待认定"},
    ]  # fmt: skip
    if row.construction_note or row.construction_fee is not None:
        cost = "" if row.construction_fee is None else f"{yuan(row.construction_fee)} 元"
        facts.append({"label": "开通工程", "value": row.construction_note or cost, "wide": True,
                      "sub": "，".join(filter(None, (cost, row.construction_payer)))})  # fmt: skip
    return facts


def _readings(fact: line_fees.Line, law: Any) -> list[dict[str, str]]:
    today = clock.today()
    whole = line_fees.by_service_year(fact, fact.opened, today, law)
    months = line_fees.by_calendar_month(fact, fact.opened, today, law)
    if whole is None or months is None:
        return []
    return [
        {"label": "截至今日应由机构承担", "value": yuan(whole.institution), "unit": "元",
         "note": "按服务年度整年计（默认）"},
        {"label": "按月折算", "value": yuan(months.institution), "unit": "元",
         "note": "对照数，不作为收缴依据"},
        {"label": "省卫健委承担", "value": yuan(whole.commission), "unit": "元", "note": "按服务年度"},
    ]  # fmt: skip


def _years(fact: line_fees.Line, law: Any) -> Table:
    rows = []
    for number in range(line_fees.years_begun(fact, clock.today(), law), 0, -1):
        first, last = line_fees.service_year(fact, number, law)
        due = line_fees.fee_of_year(fact, number, law)
        free = number <= line_fees.free_years(fact, law)
        rows.append(Row(key=str(number), label=f"第 {number} 年", cells=[
            Cell(text=f"第 {number} 年"), Cell(text=f"{first} 至 {last}"),
            Cell(text="待认定" if due is None else PAYERS["commission" if free else "institution"]),
            Cell(text="—" if due is None else yuan(due.institution)),
            Cell(text="—" if due is None else yuan(due.commission)),
        ]))  # fmt: skip
    return Table(
        id="years", caption="服务年度", actions=False,
        columns=[Column(label="年度"), Column(label="起止", wide=True), Column(label="承担方"),
                 Column(label="机构（元）", numeric=True), Column(label="省卫健委（元）", numeric=True)],
        rows=rows, empty_title="承担期尚未开始",
    )  # fmt: skip


@requires(commands.MAINTAIN)
@require_http_methods(["GET", "POST"])
def line_new(request: PortalRequest) -> HttpResponse:
    """Register lines of an institution of the own area."""
    form = shapes.LineForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and inside(request, form):
        try:
            with transaction.atomic():
                row = commands.open_line(
                    **form.cleaned_data, by=request.user.username, at=clock.now()
                )
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"已登记专线 {row.number}。")
            return redirect("line", pk=row.pk)
    return form_page(request, form, "登记专线", "登记", reverse("lines"))


@requires(commands.MAINTAIN)
@require_http_methods(["GET", "POST"])
def line_close(request: PortalRequest, pk: int) -> HttpResponse:
    """The last day of a line."""
    row = _visible(request, pk)
    form = shapes.CloseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                commands.close_line(
                    line=row, closed_on=form.cleaned_data["closed_on"], by=request.user.username,
                    at=clock.now(),
                )  # fmt: skip
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"专线 {row.number} 已停用。")
            return redirect("line", pk=row.pk)
    return form_page(request, form, f"停用专线 {row.number}", "停用", reverse("line", args=[pk]))


@requires(commands.MAINTAIN)
@require_http_methods(["GET", "POST"])
def line_void(request: PortalRequest, pk: int) -> HttpResponse:
    """Put away a line that was registered by mistake."""
    row = _visible(request, pk)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            commands.void_line(
                line=row, reason=form.cleaned_data["reason"], by=request.user.username,
                at=clock.now(),
            )  # fmt: skip
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"专线 {row.number} 已作废，待确认账单已重新生成。")
            return redirect("line", pk=row.pk)
    return form_page(
        request, form, f"作废专线 {row.number}", "作废", reverse("line", args=[pk]),
        hint="登记有误的线路由登记人以外的人作废；已计入已确认账单的不能作废，线路编号可以重新登记。",
    )  # fmt: skip


# --- Also for contracts ---


def inside(request: PortalRequest, form: Any) -> bool:
    """Whether the institution of a form lies in the user's area; an error in the form if not."""
    place = form.cleaned_data["institution"]
    if Institution.objects.visible_to(request.user).filter(pk=place.pk).exists():
        return True
    form.add_error("institution", "请选择辖区内的机构。")
    return False


def form_page(
    request: PortalRequest, form: Any, title: str, button: str, back: str, *, hint: str = ""
) -> HttpResponse:
    """The page of a form about lines or contracts."""
    names = Institution.objects.visible_to(request.user).order_by("name")
    return render(request, "settlement/jilin_form.html", {
        "title": title, "form": form, "button": button, "back": back, "hint": hint,
        "names": list(names.values_list("name", flat=True)) if "institution" in form.fields else [],
        "breadcrumbs": [CRUMB, {"label": title, "url": ""}],
    }, status=422 if form.errors else 200)  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> NetworkLine:
    rows = NetworkLine.objects.visible_to(request.user).select_related("institution__region")
    return get_object_or_404(rows, pk=pk)
