"""Monthly supervision reports: a month with who reported and who is late, one report with its steps."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from audit.models import Move
from audit.procedure import PROCEDURES
from audit.tables import Action, Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.calendar import add_months
from institutions.models import Region, User
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from supervision import monthly
from supervision.models import MonthlyReport, MonthlyVersion
from supervision.monthly_forms import MONTHS, MakeForm, MonthQuery, NoteForm, PlainForm
from supervision.reports import monthly as paper
from supervision.reports.book import Book
from supervision.views import parts
from supervision.views.cases import CRUMBS

NUMERIC = ("money",)
OWN = 12  #: own reports shown below the month


@requires("monthly.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """A month: the own report, those of the regions below, what they add up to, who is late."""
    form = MonthQuery(request.GET or None)
    today = clock.today()
    month = form.chosen(today)
    entries = _entries(request.user, month, today)
    late = [entry for entry in entries if entry["late"]]
    shown = late if request.GET.get("late") else entries
    own = MonthlyReport.objects.filter(region_code=request.user.region_id or "")
    return render(request, "supervision/monthly_list.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "监管月报", "url": ""}],
        "form": MonthQuery({"month": f"{month:%Y-%m}", "late": request.GET.get("late", "")}),
        "title": f"{month.year}年{month.month}月监管月报",
        "stats": _stats(request.user, entries),
        "table": _month_table(request, shown, month), "sums": _sums(request.user, month),
        "own": _own_table(own.order_by("-month")[:OWN], today),
    }))  # fmt: skip


def _entries(user: User, month: dt.date, today: dt.date) -> list[dict[str, Any]]:
    """Every region that reports inside the reader's place, its report of the month, until when."""
    region = user.region
    if region is None:
        return []
    areas = {row.pk: row for row in (region, *monthly.reporting(monthly.below(region)))}
    rows = MonthlyReport.objects.filter(month=month).visible_to(user)
    made = {row.region_code: row for row in rows if row.to_region == region.pk}
    made |= {row.region_code: row for row in rows if row.region_code == region.pk}
    areas |= {row.pk: row for row in Region.objects.filter(pk__in=made)}
    return [_entry(areas[code], made.get(code), month, today) for code in sorted(areas)]


def _entry(
    area: Region, row: MonthlyReport | None, month: dt.date, today: dt.date
) -> dict[str, Any]:
    due = row.due if row else monthly.due_of(area, month).day
    open_ = row is None or row.closed_at is None
    return {"area": area, "row": row, "due": due,
            "late": bool(open_ and due and due < today and area.parent_id)}  # fmt: skip


def _stats(user: User, entries: list[dict[str, Any]]) -> list[dict[str, str]]:
    """How far the regions below are with the month; nothing where there are none."""
    entries = [entry for entry in entries if entry["area"].pk != user.region_id]
    if not entries:
        return []
    late = [entry for entry in entries if entry["late"]]
    rows = [entry["row"] for entry in entries if entry["row"]]
    received = sum(row.state == "received" for row in rows)
    waiting = sum(row.state == "submitted" for row in rows)
    return [
        {"label": "应报的下级", "value": str(len(entries)), "unit": "个", "note": ""},
        {"label": "已接收", "value": str(received), "unit": "份", "note": ""},
        {"label": "待接收", "value": str(waiting), "unit": "份", "note": ""},
        {"label": "逾期", "value": str(len(late)), "unit": "个",
         "note": "、".join(entry["area"].name for entry in late[:3])},
    ]  # fmt: skip


def _month_table(request: PortalRequest, entries: list[dict[str, Any]], month: dt.date) -> Table:
    user = request.user
    mine = MonthlyReport.objects.filter(region_code=user.region_id or "", month=month).exists()
    may = user.may(monthly.MAKE) and user.region is not None and user.region.parent_id and not mine
    return Table(
        id="monthly", caption="报送情况",
        columns=[Column(label="地区"), Column(label="月报", wide=True), Column(label="状态"),
                 Column(label="报送"), Column(label="期限")],
        rows=[_month_row(entry) for entry in entries],
        toolbar=[Action(label="编制月报", url=f"{reverse('monthly-new')}?month={month:%Y-%m}",
                        icon="plus", tone="primary")] if may else (),
        empty_title="没有逾期的月报" if request.GET.get("late") else "没有应报的地区",
        empty_text="期限由统筹区参数确定；没有参数即没有期限。",
    )  # fmt: skip


def _month_row(entry: Mapping[str, Any]) -> Row:
    area, row = entry["area"], entry["row"]
    due = _due(entry["due"], late=entry["late"])
    if row is None:
        return Row(key=area.pk, label=area.name, cells=[
            Cell(text=area.name, sub=area.pk), Cell(text="—"), Cell(text="未编制", tone="mute"),
            Cell(text="—"), due,
        ])  # fmt: skip
    address = monthly.place(row)
    return Row(
        key=area.pk, label=area.name,
        cells=[
            Cell(text=area.name, sub=area.pk),
            Cell(text=row.number, url=address, sub=f"第{row.latest}版"), _state(row),
            Cell(text=Login(row.submitted_by) if row.submitted_by else "—",
                 sub=f"{clock.local(row.submitted_at):%Y-%m-%d %H:%M}" if row.submitted_at else ""),
            due,
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _due(day: dt.date | None, *, late: bool) -> Cell:
    if late:
        return Cell(text=f"{day} 逾期", tone="bad")
    return Cell(text=str(day or "—"))


def _state(row: MonthlyReport) -> Cell:
    state = PROCEDURES[monthly.TABLE].states[row.state]
    return Cell(text=state.label, tone=state.tone)


def _sums(user: User, month: dt.date) -> Table | None:
    """What the received reports of the regions below add up to: each region once."""
    rows = MonthlyReport.objects.filter(to_region=user.region_id or "", month=month)
    received = list(rows.filter(state="received").order_by("region_code"))
    if not received:
        return None
    found = MonthlyVersion.objects.filter(report__in=received).select_related("report")
    latest = [row for row in found if row.version == row.report.latest]
    lines = [(row.figures["name"], paper.key_figures(row.figures["whole"])) for row in
             sorted(latest, key=lambda row: row.region_code)]  # fmt: skip
    total = [sum(column) for column in zip(*(numbers for _, numbers in lines), strict=True)]
    return _areas_table([*lines, ("合计", total)], "已接收的下级月报汇总")


def _areas_table(lines: Iterable[tuple[str, list[int]]], caption: str) -> Table:
    return Table(
        id="sums", caption=caption, actions=False, narrow="scroll",
        columns=[Column(label="地区"), *(Column(label=word, numeric=True)
                                      for _, _, word, _ in paper.BY_AREA)],
        rows=[Row(key=name, label=name,
                  cells=[Cell(text=name), *(Cell(text=text) for text in paper.figure_texts(numbers))])
              for name, numbers in lines],
    )  # fmt: skip


def _own_table(rows: Iterable[MonthlyReport], today: dt.date) -> Table:
    return Table(
        id="own", caption="本级历次月报", actions=False,
        columns=[Column(label="月份"), Column(label="月报", wide=True), Column(label="状态"),
                 Column(label="期限")],
        rows=[Row(key=str(row.pk), label=row.number, cells=[
            Cell(text=f"{row.month:%Y-%m}"),
            Cell(text=row.number, url=monthly.place(row), sub=f"第{row.latest}版"), _state(row),
            _due(row.due, late=bool(row.due and row.due < today)),
        ]) for row in rows],
        empty_title="本级还没有编制过月报", empty_text="次月初会在待办中提醒。",
    )  # fmt: skip


# --- Making ---


@requires("monthly.make")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Make the own region's report of a month that is over."""
    region = request.user.region
    if region is None or region.parent_id is None:
        raise PermissionDenied(monthly.MAKE)
    form = MakeForm(request.POST or None, months=_open_months(region),
                    initial={"month": request.GET.get("month", "")})  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    made = monthly.make(region=region, month=form.day(), who=request.user,
                                        by=request.user.username, at=clock.now())  # fmt: skip
            except Refusal as error:
                status = refuse(form, error)
            else:
                messages.success(request, f"已编制 {made.number}，待另一人复核报送。")
                return redirect("monthly-report", pk=made.pk)
    return render(request, "supervision/form.html", {
        "breadcrumbs": [*CRUMBS, {"label": "监管月报", "url": reverse("monthly")},
                        {"label": "编制", "url": ""}],
        "title": f"编制{region.name}监管月报", "form": form, "back": reverse("monthly"),
        "button": "编制月报",
        "subtitle": "数据一次取定为第1版：下级已接收的月报取其数，其余由本级统计，每一笔只计一次。",
    }, status=status)  # fmt: skip


def _open_months(region: Region) -> list[tuple[str, str]]:
    """The months that are over and were not reported."""
    first = clock.today().replace(day=1)
    made = set(MonthlyReport.objects.filter(region_code=region.pk).values_list("month", flat=True))
    months = [add_months(first, -back) for back in range(1, MONTHS + 1)]
    return [(f"{day:%Y-%m}", f"{day.year}年{day.month}月") for day in months if day not in made]


# --- One report ---


def _run(step: str) -> Any:
    def run(row: MonthlyReport, form: forms.Form, who: User) -> object:
        given = form.cleaned_data
        return monthly.take(report=row, step=step, who=who, by=who.username, at=clock.now(),
                            note=given.get("note", ""), version=given["version"])  # fmt: skip

    return run


def _act(step: str) -> parts.Act:
    found = monthly.steps()[step]
    asked = next(iter(found.asks), None)

    def given(row: MonthlyReport, user: User) -> dict[str, Any]:
        version = {"version": row.version}
        return version | ({"label": asked.label, "needed": asked.required} if asked else {})

    return parts.Act(
        step, found.label, found.permission, lambda row, user: step in monthly.offered(row, user),
        NoteForm if asked else PlainForm, _run(step), given, danger=found.tone == "danger",
    )  # fmt: skip


def acts() -> dict[str, parts.Act]:
    """The steps of the table as acts of the page."""
    return {key: _act(key) for key in monthly.steps()}


def _visible(request: PortalRequest, pk: int) -> MonthlyReport:
    rows = MonthlyReport.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("monthly.view")
@require_GET
def report(request: PortalRequest, pk: int) -> HttpResponse:
    """A report with its figures, versions and steps; `version` shows an earlier one."""
    return _page(request, _visible(request, pk))


@requires("monthly.view")
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Take a step."""
    return parts.done(request, acts(), key, _visible(request, pk), "monthly-report", _page)


def _page(
    request: PortalRequest, row: MonthlyReport, *, typed: forms.Form | None = None, key: str = "",
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    version = _version(row, request.GET.get("version", ""))
    order = monthly.printed(version)
    name = monthly.describe(row)
    return render(request, "supervision/monthly.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "监管月报", "url": reverse("monthly")},
                        {"label": row.number, "url": ""}],
        "title": name, "number": row.number, "back": f"{reverse('monthly')}?month={row.month:%Y-%m}",
        "badge": {"word": _state(row).text, "tone": _state(row).tone},
        "paper": reverse("report", args=[order.pk]) if order else "",
        "acts": parts.entries(acts(), row, request.user, typed, key), "act_name": "monthly-act",
        "pk": row.pk, "facts": _facts(row, version), "chapters": chapters(version),
        "old": version.version != row.latest, "versions": _versions(row, version),
        "timeline": [
            {"at": f"{clock.local(move.at):%Y-%m-%d %H:%M}", "by": move.by, "title": move.label,
             "text": _said(move), "tone": "bad" if move.on_time is False else "ok"}
            for move in Move.objects.filter(subject=row.subject).order_by("pk")
        ],
    }), status=status)  # fmt: skip


def _said(move: Move) -> str:
    """The words to a step, and who signed what a system brought."""
    signer = move.facts.get("signed_by")
    if not signer:
        return move.note
    return Told(f"{move.note} " if move.note else "", "签发：", Login(signer))


def _version(row: MonthlyReport, asked: str) -> MonthlyVersion:
    if asked.isdigit() and len(asked) < 5:
        return get_object_or_404(row.versions, version=int(asked))
    return monthly.current(row)


def _facts(row: MonthlyReport, version: MonthlyVersion) -> list[dict[str, Any]]:
    above = Region.objects.filter(pk=row.to_region).first()
    example = "示例参数" if row.due and monthly.is_example(row) else ""
    return [
        {"label": "月份", "value": f"{row.month.year}年{row.month.month}月"},
        {"label": "报送上级", "value": above.name if above else row.to_region},
        {"label": "版本", "value": f"第{version.version}版",
         "sub": f"{clock.local(version.made_at):%Y-%m-%d %H:%M}"},
        {"label": "编制", "value": Login(version.made_by)},
        {"label": "报送", "value": Login(row.submitted_by) if row.submitted_by else "—",
         "sub": f"{clock.local(row.submitted_at):%Y-%m-%d %H:%M}" if row.submitted_at else ""},
        {"label": "接收", "value": Login(row.received_by) if row.received_by else "—",
         "sub": f"{clock.local(row.received_at):%Y-%m-%d %H:%M}" if row.received_at else ""},
        {"label": "期限", "value": str(row.due or "—"), "sub": example},
        {"label": "数据 SM3", "value": version.digest, "code": True, "wide": True},
        *([{"label": "退回理由" if row.state == "returned" else "上次退回理由",
            "value": row.returned_for, "wide": True}] if row.returned_for else []),
    ]  # fmt: skip


def chapters(version: MonthlyVersion) -> list[dict[str, Any]]:
    """The printed report's chapters as a page shows them: the same words and tables."""
    book = Book()
    paper.lay(paper.figures_of(version), book)
    found: list[dict[str, Any]] = []
    for number, block in enumerate(book.blocks):
        if block["type"] == "heading":
            found.append({"title": block["text"], "anchor": block["anchor"], "blocks": []})
            continue
        shown: dict[str, Any] = {"type": block["type"], "text": block.get("text", "")}
        if block["type"] == "grid":
            shown["table"] = _grid(block, number)
        elif block["type"] == "facts":
            shown["facts"] = block["rows"]
        found[-1]["blocks"].append(shown)
    return found


def _grid(block: Mapping[str, Any], number: int) -> Table:
    lines = [*block["rows"], *([block["foot"]] if block["foot"] else [])]
    return Table(
        id=f"grid-{number}", actions=False, narrow="scroll",
        caption=f"{block['no']}　{block['caption']}{'（' + block['unit'] + '）' if block['unit'] else ''}",
        columns=[Column(label=head["label"], numeric=head["kind"] in NUMERIC)
                 for head in block["heads"]],
        rows=[Row(key=str(place), label=line[0]["text"],
                  cells=[Cell(text=cell["text"]) for cell in line])
              for place, line in enumerate(lines)],
    )  # fmt: skip


def _versions(row: MonthlyReport, shown: MonthlyVersion) -> list[dict[str, Any]]:
    """Links to every version, when there are several."""
    rows = list(row.versions.all())
    if len(rows) < 2:
        return []
    return [
        {"label": f"第{one.version}版", "current": one.pk == shown.pk,
         "url": f"{monthly.place(row)}?version={one.version}"} for one in rows
    ]  # fmt: skip
