"""Registry sheets: templates, upload with its dry run, confirmation, the annotated file, exports."""

import datetime as dt
from urllib.parse import quote

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.sheets import XLSX
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.exchange import export, intake
from institutions.exchange.intake import KINDS
from institutions.exchange.kinds import CHANGE, CREATE, SAME, VERDICTS
from institutions.exchange_forms import SheetForm
from institutions.models import Import, InstitutionQuerySet
from institutions.refusals import Refusal

PAGE, ERRORS_PAGE = 20, 50
HEAVY = ("file",)
State = Import.State
TONES = {State.CHECKED: "wait", State.WAITING: "info", State.DONE: "ok", State.FAILED: "bad"}
STEPS = ("校验全部行", "核对并确认", "写入登记簿")
CRUMBS = [{"label": "政策与机构", "url": ""}]


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def imports(request: PortalRequest) -> HttpResponse:
    """The list of imports; those who may import upload here. A POST is the dry run of a file."""
    may = any(kind.open_to(request.user) for kind in KINDS.values())
    form = (
        SheetForm(request.POST or None, request.FILES or None, user=request.user) if may else None
    )
    if request.method == "POST" and form and form.is_valid():
        made = _check(request, form)
        if made:
            return redirect("registry-import", pk=made.pk)
    rows = _visible(request).defer("errors").order_by("-pk")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "institutions/exchange.html", {
        "breadcrumbs": [*CRUMBS, {"label": "登记导入导出", "url": ""}],
        "form": form,
        "kinds": [_kind(key, request) for key in KINDS],
        "table": _table(list(page), page.paginator.count, page.number),
    }, status=422 if form and form.errors else 200)  # fmt: skip


def _kind(key: str, request: PortalRequest) -> dict:
    kind = KINDS[key]
    return {
        "title": kind.title, "hint": kind.hint,
        "templates": [(ending.upper(), reverse("registry-template", args=[key, ending]))
                      for ending in ("xlsx", "csv")] if kind.open_to(request.user) else [],
        "exports": [(ending.upper(), reverse("institutions-export", args=[key, ending]))
                    for ending in export.ENDINGS],
    }  # fmt: skip


def _check(request: PortalRequest, form: SheetForm) -> Import | None:
    file = form.cleaned_data["file"]
    try:
        return intake.check(
            kind=form.wanted, file_name=file.name, content=file.read(), user=request.user,
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        form.add_error("file", f"{refusal.detail[0]}。")
        return None


@requires("registry.view")
@require_GET
def one_import(request: PortalRequest, pk: int) -> HttpResponse:
    """What would become of a file, or became of it: counts, every error, what to do next."""
    found = get_object_or_404(_visible(request), pk=_known(pk))
    return render(request, "institutions/exchange_import.html", {
        "breadcrumbs": [*CRUMBS, {"label": "登记导入导出", "url": reverse("registry-imports")},
                        {"label": found.file_name, "url": ""}],
        "sheet": found, "kind": KINDS[found.kind], "state": _state(found),
        "working": found.state == State.WAITING, "steps": _steps(found), "info": _info(found),
        "may_confirm": _may_confirm(request, found),
        "nothing": not found.errors and not _changes(found) and found.state == State.CHECKED,
        "changes": _changes(found),
        "errors": _errors(found, request.GET.get("page")) if found.errors else None,
    })  # fmt: skip


def _changes(found: Import) -> int:
    return found.counts[CREATE] + found.counts[CHANGE]


def _may_confirm(request: PortalRequest, found: Import) -> bool:
    return (
        found.state == State.CHECKED
        and not found.errors
        and _changes(found) > 0
        and KINDS[found.kind].open_to(request.user)
    )


@requires("registry.view")
@require_POST
def confirm(request: PortalRequest, pk: int) -> HttpResponse:
    """Write exactly the file that was judged."""
    found = get_object_or_404(_visible(request), pk=_known(pk))
    try:
        intake.confirm(sheet=found, user=request.user, by=request.user.username, at=clock.now())
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
    else:
        messages.success(request, "已确认写入。")
    return redirect("registry-import", pk=found.pk)


@requires("registry.view")
@require_GET
def annotated(request: PortalRequest, pk: int) -> HttpResponse:
    """The uploaded rows with what becomes of each, and wrong cells in red; taking them is an event."""
    found = get_object_or_404(Import.objects.visible_to(request.user), pk=_known(pk))
    content = intake.annotated(found, request.user, by=request.user.username, at=clock.now())
    return attachment(content, XLSX, f"结果-{found.file_name.rpartition('.')[0]}.xlsx")


@requires("registry.view")
@require_GET
def blank(request: PortalRequest, key: str, ending: str) -> HttpResponse:
    """A template to fill in."""
    if key not in KINDS or ending not in ("xlsx", "csv"):
        raise Http404
    content, media = export.template(KINDS[key], ending)
    return attachment(content, media, f"{KINDS[key].title}-模板.{ending}")


def exported(
    request: PortalRequest, *, key: str, ending: str, institutions: InstitutionQuerySet, on: dt.date
) -> HttpResponse:
    """The download of what is registered of some institutions; too much is told on their page."""
    if key not in KINDS or ending not in export.ENDINGS:
        raise Http404
    try:
        content, media = export.export(
            kind=KINDS[key], institutions=institutions, on=on, ending=ending,
            wanted=request.GET.dict(), user=request.user, by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
        return redirect(f"{reverse('institutions')}?{request.GET.urlencode()}")
    return attachment(content, media, f"{KINDS[key].title}-{on:%Y%m%d}.{ending}")


def attachment(content: bytes, media: str, name: str) -> HttpResponse:
    """A file to keep, whatever the browser could do with it."""
    return HttpResponse(
        content, content_type=media,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
                 "Cache-Control": "no-store"},
    )  # fmt: skip


def _visible(request: PortalRequest) -> QuerySet[Import]:
    """Imports inside the reader's scope, without the heavy column."""
    return Import.objects.visible_to(request.user).defer(*HEAVY)


def _known(pk: int) -> int:
    if pk >= 2**63:
        raise Http404
    return pk


def _table(rows: list[Import], total: int, number: int) -> Table:
    return Table(
        id="imports", caption="导入记录",
        columns=[
            Column(label="文件", wide=True), Column(label="内容"), Column(label="行", numeric=True),
            Column(label="新增", numeric=True), Column(label="修改", numeric=True),
            Column(label="错误", numeric=True), Column(label="上传"), Column(label="状态"),
        ],
        rows=[_row(row) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有导入记录", empty_text="上传文件并校验后，这里显示结果与经办人。",
    )  # fmt: skip


def _row(row: Import) -> Row:
    address, state = reverse("registry-import", args=[row.pk]), _state(row)
    counts = row.counts
    return Row(
        key=str(row.pk), label=row.file_name,
        cells=[
            Cell(text=row.file_name, url=address), Cell(text=KINDS[row.kind].title),
            Cell(text=f"{row.rows:,}"), Cell(text=f"{counts[CREATE]:,}"),
            Cell(text=f"{counts[CHANGE]:,}"), Cell(text=f"{counts['errors']:,}"),
            Cell(text=f"{clock.local(row.created_at):%Y-%m-%d %H:%M}", sub=row.created_by),
            Cell(text=state["text"], tone=state["tone"]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _state(found: Import) -> dict[str, str]:
    """The state as word and colour; a file with errors in its rows never passed the check."""
    if found.counts["errors"] and found.state == State.CHECKED:
        return {"text": "校验未通过", "tone": "bad"}
    return {"text": found.get_state_display(), "tone": TONES[State(found.state)]}


def _steps(found: Import) -> list[dict[str, str]]:
    reached = {State.CHECKED: 1, State.WAITING: 2, State.DONE: 3, State.FAILED: 2}
    at = reached[State(found.state)]
    if found.counts["errors"] and found.state == State.CHECKED:
        at = 0
    states = ["done" if n < at else "now" if n == at else "next" for n in range(len(STEPS))]
    if found.counts["errors"] and at < len(STEPS):
        states[at] = "failed"
    times = (found.created_at, found.confirmed_at, found.finished_at)
    return [
        {"label": label, "state": state,
         "at": f"{clock.local(time):%Y-%m-%d %H:%M}" if time else ""}
        for label, state, time in zip(STEPS, states, times, strict=True)
    ]  # fmt: skip


def _info(found: Import) -> list[dict]:
    counts = found.counts
    told = [
        {"label": VERDICTS[key], "value": f"{counts[key]:,} 行"} for key in (CREATE, CHANGE, SAME)
    ]
    return [
        {"label": "内容", "value": KINDS[found.kind].title},
        {"label": "数据行", "value": f"{found.rows:,} 行"},
        *told,
        {"label": "有错误", "value": f"{counts['wrong_rows']:,} 行",
         "tone": "bad" if counts["wrong_rows"] else ""},
        {"label": "上传", "value": found.created_by},
        {"label": "确认", "value": found.confirmed_by},
        {"label": "文件 SM3", "value": found.file_sm3, "code": True, "wide": True},
    ]  # fmt: skip


def _errors(found: Import, number: str | None) -> Table:
    page = Paginator(found.errors, ERRORS_PAGE).get_page(number)
    return Table(
        id="errors", caption="错误",
        columns=[Column(label="位置"), Column(label="列"), Column(label="填写内容", wide=True),
                 Column(label="原因", wide=True)],
        rows=[
            Row(key=str(n), label=f"第 {error['row']} 行", tone="bad", cells=[
                Cell(text=f"第 {error['row']} 行"), Cell(text=error["column"] or "整行"),
                Cell(text=error["value"]), Cell(text=error["reason"], sub=error["clause"])])
            for n, error in enumerate(page)
        ],
        pages=Pages(total=page.paginator.count, size=ERRORS_PAGE, page=page.number,
                    sizes=(ERRORS_PAGE,)),
        toolbar=[Action(label="下载标注文件", url=reverse("registry-annotated", args=[found.pk]),
                        icon="arrow-down-tray")],
    )  # fmt: skip
