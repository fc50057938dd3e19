"""The list of remote consultations: filters, figures above it, CSV; the pages beside it."""

from typing import Any

import django_filters
from django import forms
from django.core.paginator import Paginator
from django.db.models import QuerySet, Sum
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock, sheets
from audit.access import requires
from audit.procedure import PROCEDURES
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import named
from settlement import consultation_steps as steps
from settlement import consultations as commands
from settlement.looks import exported
from settlement.models import Consultation

CRUMB = {"label": "远程会诊", "url": "/consultations/"}
PAGE = 20
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
TO_SETTLE, UNSETTLED = "unsettled", ("charged", "distributed")
HEADS = ("会诊编号", "邀请方", "受邀方", "会诊日期", "次数", "费用", "状态", "结算期限", "逾期原因")


class ConsultationFilter(django_filters.FilterSet):
    """The query bar of consultations."""

    q = django_filters.CharFilter(
        label="会诊", method="by_words", max_length=60,
        widget=forms.TextInput({"placeholder": "会诊编号或医院名称"}),
    )  # fmt: skip
    state = django_filters.ChoiceFilter(
        label="状态", method="by_state", empty_label="全部", choices=lambda: [
            *((key, state.label) for key, state in PROCEDURES[commands.SLUG].states.items()),
            (TO_SETTLE, "待分配结清（待分配、待付款和冲减）"),
        ],
    )  # fmt: skip
    late = django_filters.BooleanFilter(
        label="期限", method="by_late",
        widget=forms.Select(choices=[("", "全部"), ("true", "已逾期")]),
    )  # fmt: skip
    since = django_filters.DateFilter(
        label="会诊日期起", field_name="session_on", lookup_expr="gte", widget=DAY
    )
    until = django_filters.DateFilter(
        label="会诊日期止", field_name="session_on", lookup_expr="lte", widget=DAY
    )

    class Meta:
        model = Consultation
        fields = ()

    def by_words(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        named = Institution.objects.filter(name__icontains=value).values_list("code", flat=True)
        return rows.filter(number__icontains=value) | rows.filter(
            parties__overlap=list(named[:200])
        )

    def by_state(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(state__in=UNSETTLED if value == TO_SETTLE else (value,))

    def by_late(self, rows: QuerySet, name: str, value: bool) -> QuerySet:
        return rows.filter(due__lt=clock.today()) if value else rows


def tabs(current: str) -> list[dict[str, Any]]:
    """The pages about consultations."""
    pages = (("consultations", "会诊"), ("split-agreements", "分配协议"),
             ("consultation-statements", "双方结算单"))  # fmt: skip
    return [{"label": label, "url": reverse(name), "current": name == current}
            for name, label in pages]  # fmt: skip


@requires("consultations.view")
@require_GET
def consultations(request: PortalRequest) -> HttpResponse:
    """The consultations that the user's hospital or area takes part in, newest first."""
    found = _filter(request)
    rows = found.qs if found.form.is_valid() else Consultation.objects.none()
    page = Paginator(_listed(rows), PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/consultations.html", named({
        "breadcrumbs": [{**CRUMB, "url": ""}], "tabs": tabs("consultations"), "form": found.form,
        "stats": _stats(request), "may_record": request.user.may(steps.RECORD),
        "table": _table(request, list(page), total=page.paginator.count, number=page.number),
    }))  # fmt: skip


@requires("consultations.view")
@require_GET
def consultations_csv(request: PortalRequest) -> HttpResponse:
    """The consultations of the query as CSV."""
    found = _filter(request)
    rows = list(_listed(found.qs if found.form.is_valid() else Consultation.objects.none()))
    lines = [_line(row) for row in rows]
    exported(user=request.user, at=clock.now(), action="consultation.export", subject="consultation:",
             query=request.GET.urlencode(), rows=len(rows))  # fmt: skip
    return HttpResponse(
        "".join(sheets.csv_lines(HEADS, lines)), content_type=sheets.CSV,
        headers={"Content-Disposition": 'attachment; filename="consultations.csv"'},
    )  # fmt: skip


def _line(row: Consultation) -> list[str]:
    """A consultation as a line of CSV."""
    number, inviting, invited, day, fee, state, due = (cell.text for cell in _cells(row))
    count = "" if row.charge_count is None else str(row.charge_count)
    return [number, inviting, invited, day, count, fee, state, due, row.late_reason]


def _filter(request: PortalRequest) -> ConsultationFilter:
    seen = Consultation.objects.visible_to(request.user)
    return ConsultationFilter(request.GET, queryset=seen, request=request)


def _listed(rows: QuerySet) -> QuerySet:
    return (
        rows.select_related("inviting").prefetch_related("participants__hospital").order_by("-pk")
    )


def _stats(request: PortalRequest) -> list[dict[str, Any]]:
    today = clock.today()
    rows = Consultation.objects.visible_to(request.user)
    month = rows.filter(session_on__gte=today.replace(day=1), session_on__lte=today)
    fee = month.aggregate(fee=Sum("amount"))["fee"] or 0
    waiting = rows.filter(state__in=UNSETTLED)
    home = reverse("consultations")
    return [
        {"label": "本月会诊", "value": f"{month.count():,}", "unit": "次", "icon": "video-camera",
         "url": f"{home}?since={today.replace(day=1)}"},
        {"label": "本月会诊费", "value": yuan(fee), "unit": "元", "icon": "banknotes"},
        {"label": "待分配结清", "value": f"{waiting.count():,}", "unit": "次", "icon": "scale",
         "url": f"{home}?state={TO_SETTLE}"},
        {"label": "超过结算期限", "value": f"{rows.filter(due__lt=today).count():,}", "unit": "次",
         "icon": "clock", "url": f"{home}?late=true"},
    ]  # fmt: skip


def _table(request: PortalRequest, rows: list[Consultation], *, total: int, number: int) -> Table:
    query = request.GET.urlencode()
    return Table(
        id="consultations", caption="远程会诊",
        columns=[
            Column(label="会诊编号"), Column(label="邀请方", wide=True),
            Column(label="受邀方", wide=True), Column(label="会诊日期"),
            Column(label="费用（元）", numeric=True),
            Column(label="状态"), Column(label="结算期限"),
        ],
        rows=[Row(key=str(row.pk), label=row.number, cells=_cells(row),
                  actions=[Action(label="查看", url=steps.place(row))]) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        toolbar=[Action(label="导出 CSV", url=f"{reverse('consultations-csv')}?{query}",
                        icon="arrow-down-tray")],
        empty_title="没有会诊", empty_text="邀请方申请会诊后在此查看进度、费用和分配。",
    )  # fmt: skip


def _cells(row: Consultation) -> list[Cell]:
    state = PROCEDURES[row.procedure].states[row.state]
    invited = [each.hospital.name for each in row.participants.all()]
    late = bool(row.due and row.due < clock.today())
    return [
        Cell(text=row.number, url=steps.place(row), code=True),
        Cell(text=row.inviting.name), Cell(text="、".join(invited)),
        Cell(text=str(row.session_on or "未会诊"), sub="" if row.session_on else f"拟 {row.wanted_on}"),
        Cell(text="—" if row.amount is None else yuan(row.amount), sub=_counted(row)),
        Cell(text=state.label, tone=state.tone),
        Cell(text=str(row.due or "—"), sub="已逾期" if late else "", tone="bad" if late else ""),
    ]  # fmt: skip


def _counted(row: Consultation) -> str:
    """How often it is charged, and whether by an example price."""
    if not row.charge_count:
        return ""
    return f"{row.charge_count} 次{'，示例参数' if row.example else ''}"
