"""The archive of cases: its files with their term and whereabouts, and the register of borrowing."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.models import Region
from institutions.naming import Login, named
from supervision import archive, case_steps
from supervision.case_forms import ANY
from supervision.models import ArchiveLoan, SupervisionCase
from supervision.views.cases import CRUMBS, SIZE


class FileQuery(forms.Form):
    """Which files."""

    q = forms.CharField(
        label="案卷", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "档号、案号、案由或对象"}),
    )  # fmt: skip
    where = forms.ChoiceField(
        label="去向", required=False,
        choices=[ANY, ("in", "在库"), ("out", "借出中"), ("late", "逾期未还")],
    )  # fmt: skip


class LoanQuery(forms.Form):
    """Which loans."""

    state = forms.ChoiceField(
        label="状态", required=False, choices=[ANY, ("out", "借出中"), ("late", "逾期未还")]
    )


@requires("archive.borrow")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Archived files of the own scope."""
    form = FileQuery(request.GET)
    today = clock.today()
    rows = _found(request, form, today)
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    shown = list(page)
    lent = {row.case_id: row for row in archive.loans(request.user).filter(
        case__in=shown, returned_at__isnull=True)}  # fmt: skip
    regions = Region.objects.in_bulk({row.region_code for row in shown})
    return render(request, "supervision/list.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "案卷档案", "url": ""}], "form": form,
        "title": "案卷档案", "target": "files", "tabs": _tabs("archive"),
        "subtitle": "已归档的监管案卷：档号、保管期限和去向；借阅须说明事由并由另一人批准，每次查看都留痕。",
        "table": Table(
            id="files", caption="案卷",
            columns=[Column(label="档号"), Column(label="案卷", wide=True), Column(label="归档日"),
                     Column(label="保管至"), Column(label="去向")],
            rows=[_file(row, regions, lent.get(row.pk), today) for row in shown],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有案卷", empty_text="案件结案并归档后在此列出。",
        ),
    }))  # fmt: skip


def _found(request: PortalRequest, form: FileQuery, today: dt.date) -> Any:
    if not form.is_valid():
        return SupervisionCase.objects.none()
    rows = archive.files(request.user)
    if text := form.cleaned_data["q"].strip():
        rows = archive.search(rows, text)
    loans = archive.loans(request.user)
    where = form.cleaned_data["where"]
    if where == "late":
        rows = rows.filter(pk__in=archive.overdue(loans, today).values("case"))
    elif where == "out":
        rows = rows.filter(pk__in=archive.out(loans).values("case"))
    elif where == "in":
        rows = rows.exclude(pk__in=archive.out(loans).values("case"))
    return rows


def _file(
    row: SupervisionCase, regions: Mapping[str, Region], loan: ArchiveLoan | None, today: dt.date
) -> Row:
    kept, address = archive.kept(row, regions[row.region_code]), case_steps.place(row)
    word, tone = archive.standing(loan, today) if loan else ("在库", "ok")
    return Row(
        key=str(row.pk), label=row.archive_no,
        cells=[
            Cell(text=row.archive_no, url=address), Cell(text=row.title, sub=row.number),
            Cell(text=str(row.entered_on)),
            Cell(text=str(kept.until or "长期"),
                 sub=f"{kept.years}年{'，示例参数' if kept.example else ''}" if kept.until else ""),
            Cell(text=word, tone=tone, sub=f"应还 {loan.until}" if loan else ""),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


@requires("archive.borrow")
@require_GET
def loans(request: PortalRequest) -> HttpResponse:
    """Who asked for which file, why, who approved, when it came back."""
    form = LoanQuery(request.GET)
    today = clock.today()
    rows = archive.loans(request.user)
    if form.is_valid() and (state := form.cleaned_data["state"]):
        rows = archive.overdue(rows, today) if state == "late" else archive.out(rows)
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/list.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "案卷档案", "url": reverse("archive")},
                        {"label": "借阅登记", "url": ""}],
        "form": form, "title": "借阅登记", "target": "loans", "tabs": _tabs("archive-loans"),
        "subtitle": "谁因何借阅哪一案卷、由谁批准、何时应还和归还。",
        "table": Table(
            id="loans", caption="借阅登记", actions=False,
            columns=[Column(label="案卷"), Column(label="事由", wide=True), Column(label="借阅"),
                     Column(label="批准"), Column(label="应还"), Column(label="归还")],
            rows=[_loan(row, today) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有借阅记录", empty_text="在案卷页面申请借阅。",
        ),
    }))  # fmt: skip


def _loan(row: ArchiveLoan, today: dt.date) -> Row:
    word, tone = archive.standing(row, today)
    return Row(key=str(row.pk), label=row.case.archive_no, cells=[
        Cell(text=row.case.archive_no, url=case_steps.place(row.case), sub=row.case.number),
        Cell(text=row.purpose),
        Cell(text=Login(row.asked_by), sub=_moment(row.asked_at)),
        Cell(text=Login(row.approved_by) if row.approved_by else "—", sub=_moment(row.approved_at)),
        Cell(text=str(row.until)),
        Cell(text=word, tone=tone, sub=_moment(row.returned_at)),
    ])  # fmt: skip


def _moment(at: dt.datetime | None) -> str:
    return f"{clock.local(at):%Y-%m-%d %H:%M}" if at else ""


def _tabs(now: str) -> list[dict[str, Any]]:
    return [
        {"label": label, "url": reverse(name), "current": name == now}
        for label, name in (("案卷", "archive"), ("借阅登记", "archive-loans"))
    ]
