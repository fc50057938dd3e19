"""监督报告: what can be made, what was made; one report with progress, files and its check."""

import datetime as dt
import hashlib
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, reports, sheets, trail
from audit.access import requires
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.words import act
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.naming import Login, named, place_names
from institutions.refusals import Refusal
from settlement.detail import in_order, moment
from supervision.models import ReportOrder
from supervision.report_forms import OrderFilter, WishForm
from supervision.reports import orders, press
from supervision.reports.book import span_name
from supervision.reports.kinds import KINDS, Kind, offered

CRUMBS = [{"label": "工作台", "url": "/"}]
PAGE = 20
BIGGEST_ID = 2**63 - 1
State = ReportOrder.State
TONES = {
    State.WAITING: "wait", State.PRINTING: "info", State.DONE: "ok", State.FAILED: "bad",
    State.CANCELLED: "mute",
}  # fmt: skip
BAR = {
    State.WAITING: "waiting", State.PRINTING: "running", State.DONE: "done", State.FAILED: "failed",
    State.CANCELLED: "paused",
}  # fmt: skip
ENDINGS = {"csv": "application/zip", "xlsx": sheets.XLSX, "json": "application/json"}


@requires("reports.view")
@require_GET
def listed(request: PortalRequest) -> HttpResponse:
    """The kinds that may be made, and the reports of the own scope."""
    rows = _seen(request)
    found = OrderFilter(request.GET, queryset=rows, request=request)
    page = Paginator(found.found(), PAGE).get_page(request.GET.get("page"))
    return render(request, "supervision/reports.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "监督报告", "url": ""}], "form": found.form,
        "kinds": [
            {"label": kind.title, "about": kind.about, "url": reverse("report-new", args=[kind.key])}
            for kind in offered(request.user)
        ],
        "table": _table(list(page), total=page.paginator.count, number=page.number),
    }))  # fmt: skip


def _table(rows: list[ReportOrder], *, total: int, number: int) -> Table:
    return Table(
        id="reports", caption="已编制的报告",
        columns=[Column(label="文号"), Column(label="报告", wide=True), Column(label="期间"),
                 Column(label="页数", numeric=True), Column(label="编制"), Column(label="状态")],
        rows=[
            Row(
                key=str(row.pk), label=row.number, cells=[
                    Cell(text=row.number, url=reverse("report", args=[row.pk])),
                    Cell(text=row.title, sub=KINDS[row.kind].title),
                    Cell(text=span_name(row.parameters["since"], row.parameters["until"])),
                    Cell(text=str(row.pages or "—")),
                    Cell(text=Login(row.asked_by), sub=moment(row.asked_at)[:16]),
                    Cell(text=row.get_state_display(), tone=TONES[State(row.state)]),
                ],
                actions=_actions(row),
            )
            for row in rows
        ],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有编制过报告", empty_text="请在上方选择一种报告。",
    )  # fmt: skip


def _actions(row: ReportOrder) -> list[Action]:
    if row.state == State.DONE:
        return [Action(label="PDF", url=reverse("report-file", args=[row.pk]))]
    return [Action(label="查看", url=reverse("report", args=[row.pk]))]


@requires("reports.make")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest, kind: str) -> HttpResponse:
    """Ask for a report."""
    chosen = KINDS.get(kind)
    if chosen is None:
        raise Http404
    if not request.user.may(chosen.permission):
        raise PermissionDenied(chosen.permission)
    today = clock.today()
    begin = today.replace(month=1, day=1)
    first = {"since": begin, "until": today, "day": today.replace(month=7, day=1)}
    form = WishForm(request.POST or None, kind=chosen, user=request.user, initial=first)
    if request.method == "POST" and form.is_valid():
        row = _ordered(request, chosen, form)
        if row is not None:
            messages.success(request, "已开始编制，完成后可在本页下载。")
            return redirect("report", pk=row.pk)
    return render(request, "institutions/act.html", {
        "breadcrumbs": [*CRUMBS, {"label": "监督报告", "url": reverse("reports")},
                        {"label": chosen.title, "url": ""}],
        "title": chosen.title, "form": form, "button": "编制报告", "back": reverse("reports"),
        "hint": f"{chosen.about}。编制时的数据一次取定，连同检查点写入报告，之后不再变动。",
    }, status=422 if form.is_bound else 200)  # fmt: skip


def _ordered(request: PortalRequest, kind: Kind, form: WishForm) -> ReportOrder | None:
    try:
        return orders.order(
            kind=kind.key, wish=form.wish(clock.today()), user=request.user,
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        for fault in refusal.faults:
            name = fault.pointer.lstrip("/")
            wanted = [name, *kind.asks] if name == "subject" else [name]
            target = next((one for one in wanted if one in form.fields), None)
            form.add_error(target, f"{fault.detail[0]}。")
    return None


@requires("reports.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """One report; while it is made the page asks for itself again every two seconds."""
    row = _visible(request, pk)
    events = Event.objects.visible_to(request.user).filter(subject__in=_subjects(row))
    return render(request, "supervision/report.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "监督报告", "url": reverse("reports")},
                        {"label": row.number, "url": ""}],
        "order": row, "kind": KINDS[row.kind], "working": row.is_open,
        "state": {"text": row.get_state_display(), "tone": TONES[State(row.state)]},
        "progress": {"done": row.parts_done, "total": row.parts_total, "state": BAR[State(row.state)]},
        "may_cancel": row.is_open and request.user.may("reports.make"),
        "info": _info(row), "proof": _proof(row), "files": _files(row),
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in reversed(in_order(events))
        ],
    }))  # fmt: skip


def _subjects(row: ReportOrder) -> list[str]:
    return [row.subject, *([f"report:{row.report_id}"] if row.report_id else [])]


def _info(row: ReportOrder) -> list[dict[str, Any]]:
    given = row.parameters
    places = place_names({given["region"], given["institution"]})
    return [
        {"label": "文号", "value": row.number},
        {"label": "期间", "value": span_name(given["since"], given["until"])},
        {"label": "区域", "value": places.get(given["region"], given["region"])},
        {"label": "医疗机构", "value": places.get(given["institution"], given["institution"]) or "全部"},
        {"label": "编制人", "value": Login(row.asked_by)},
        {"label": "编制时间", "value": moment(row.asked_at)},
        {"label": "页数", "value": f"{row.pages:,}" if row.pages else "—"},
        {"label": "明细行数", "value": f"{row.rows:,}" if row.rows else "—"},
    ]  # fmt: skip


def _proof(row: ReportOrder) -> list[dict[str, Any]]:
    """What proves the file: its SM3, that of its data, the checkpoint printed on it."""
    made = row.report
    if made is None:
        return []
    sealed = made.checkpoint
    return [
        {"label": "文件 SM3", "value": made.sm3, "code": True, "wide": True},
        {"label": "数据 SM3", "value": made.content_sm3, "code": True, "wide": True},
        {"label": "留痕检查点", "value": f"{sealed.size:,} 条" if sealed else "编制时尚无检查点",
         "sub": f"{sealed.origin}　{moment(sealed.at)}" if sealed else ""},
        {"label": "文件大小", "value": f"{made.size / 1024:,.0f} KB"},
        {"label": "排版程序", "value": made.renderer},
    ]  # fmt: skip


def _files(row: ReportOrder) -> list[dict[str, str]]:
    if row.state != State.DONE:
        return []
    words = {"xlsx": "Excel", "csv": "CSV 压缩包", "json": "JSON 数据"}
    return [
        {"label": label, "url": reverse("report-data", args=[row.pk, ending])}
        for ending, label in words.items()
    ]


@requires("reports.make")
@require_POST
def cancel(request: PortalRequest, pk: int) -> HttpResponse:
    """Stop a report that is being made."""
    row = _visible(request, pk)
    try:
        orders.cancel(order_id=row.pk, by=request.user.username, at=clock.now())
    except Refusal as refusal:
        messages.error(request, f"{words_of(refusal)}。")
    else:
        messages.success(request, "已取消编制。")
    return redirect("report", pk=pk)


@requires("reports.view")
@require_GET
def file(request: PortalRequest, pk: int) -> HttpResponse:
    """The PDF as kept, proven by its SM3; taking it away is an event."""
    row = _finished(request, pk)
    try:
        content = orders.file_of(row)
    except Refusal as refusal:
        return _changed(request, row, refusal)
    orders.opened(row, by=request.user.username, at=clock.now())
    return _as_file(HttpResponse(content, content_type="application/pdf"), f"{row.number}.pdf")


@requires("reports.view")
@require_GET
def data(request: PortalRequest, pk: int, ending: str) -> HttpResponse:
    """All tables of the same report as sheets of a workbook or as CSV files in an archive, or its JSON."""
    row = _finished(request, pk)
    if ending not in ENDINGS:
        raise Http404
    try:
        document = orders.content_of(row)
    except Refusal as refusal:
        return _changed(request, row, refusal)
    orders.opened(row, by=request.user.username, at=clock.now())
    if ending == "json":
        answer = HttpResponse(press.canonical(document), content_type=ENDINGS[ending])
    else:
        answer = _tables(ending, press.sheets_of(document), row.report.at)
    return _as_file(answer, f"{row.number}.{'csv.zip' if ending == 'csv' else ending}")


def _tables(ending: str, tables: list[press.Sheet], at: dt.datetime) -> HttpResponse:
    if ending == "csv":
        files = {table.title: sheets.csv_lines(table.head, table.rows) for table in tables}
        content = sheets.archive(files, made_at=clock.local(at))
    else:
        content = sheets.workbook_of(
            [
                (table.title, table.head, ([sheets.counted(text) for text in cells] for cells in table.rows))
                for table in tables
            ],
            made_at=at,
        )  # fmt: skip
    return HttpResponse(content, content_type=ENDINGS[ending])


@requires("reports.view")
@require_POST
def check(request: PortalRequest, pk: int) -> HttpResponse:
    """Print the stored report once more and compare it with the kept file, byte by byte."""
    row = _finished(request, pk)
    try:
        again = press.print_whole(orders.content_of(row)).content
    except Refusal as refusal:
        return _changed(request, row, refusal)
    same = hashlib.new("sm3", again).hexdigest() == row.report.sm3
    if same and not reports.intact(row.report):
        return _changed(request, row, orders.changed("文件"))
    redrawn = not same and row.report.renderer != press.renderer()
    sound = same or (redrawn and reports.intact(row.report))
    trail.record(
        by=request.user.username, at=clock.now(), action="report.check",
        subject=f"report:{row.report_id}", outcome="ok" if sound else "refused",
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"same": same, "sm3": row.report.sm3,
                "renderer": row.report.renderer if redrawn else press.renderer()},
    )  # fmt: skip
    if same:
        messages.success(
            request, "按所存数据、编制人、时间和检查点重新生成，与所存文件逐字节一致。"
        )
    elif redrawn:
        told = messages.warning if sound else messages.error
        told(
            request, f"版式已更新，不能逐字节重现；文件 SM3 与登记{'一致' if sound else '不一致'}。"
        )
    else:
        messages.error(
            request, "重新生成的文件与所存文件不一致：请核对所存文件的 SM3，并报告系统管理员。"
        )
    return redirect("report", pk=pk)


def _changed(request: PortalRequest, row: ReportOrder, refusal: Refusal) -> HttpResponse:
    """What is kept is not what was recorded: told, and recorded."""
    orders.found_changed(row, refusal, by=request.user.username, at=clock.now())
    messages.error(request, f"{words_of(refusal)}。")
    return redirect("report", pk=row.pk)


def _seen(request: PortalRequest) -> Any:
    """Orders inside the reader's scope whose kind the reader's role may read."""
    rows = ReportOrder.objects.visible_to(request.user).defer("document")
    kinds = [kind.key for kind in KINDS.values() if request.user.may(kind.permission)]
    return rows.filter(kind__in=kinds).select_related("report__checkpoint")


def _visible(request: PortalRequest, pk: int) -> ReportOrder:
    if pk > BIGGEST_ID:
        raise Http404
    return get_object_or_404(_seen(request), pk=pk)


def _finished(request: PortalRequest, pk: int) -> Any:
    row = _visible(request, pk)
    if row.report is None:
        raise Http404
    return row


def _as_file(answer: Any, name: str) -> Any:
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    return answer
