"""Register extracts: upload and dry run, confirmation, comparison, its differences worked off."""

from typing import Any
from urllib.parse import quote

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.sheets import CSV, XLSX, Guide, csv_lines, workbook
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from settlement.models import Entitlement, RegisterDifference, RegisterSheet, Scheme
from settlement.person_forms import CompareForm, DecideForm, DifferenceQuery, SheetForm
from settlement.register import compare, intake
from settlement.register.sheet import COLUMNS, TITLE, VERDICTS

PAGE, ERRORS_PAGE, DIFFERENCES_PAGE = 20, 50, 50
HEAVY = ("file_cipher",)
Purpose, State, Kind = RegisterSheet.Purpose, RegisterSheet.State, RegisterDifference.Kind
TONES = {State.CHECKED: "wait", State.WAITING: "info", State.DONE: "ok", State.FAILED: "bad"}
KIND_TONES = {Kind.ONLY_HERE: "warn", Kind.ONLY_THERE: "warn", Kind.SCHEME: "bad",
              Kind.STANDING: "bad", Kind.DATES: "info"}  # fmt: skip
DECISION_TONES = {"open": "wait", "adopted": "ok", "kept": "mute"}
STEPS = ("校验全部行", "核对并确认", "写入参保登记")
CRUMBS = [{"label": "参保人查询", "url": "/persons/"}]


@requires("persons.maintain")
@require_http_methods(["GET", "POST"])
def sheets(request: PortalRequest) -> HttpResponse:
    """Extracts that were taken; a POST is a dry run, or a comparison when it names a day."""
    comparing = "on" in request.POST
    sent = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    unsent = (None, None)
    data, files = unsent if comparing else sent
    imported = SheetForm(data, files, auto_id="import_%s")
    data, files = sent if comparing else unsent
    compared = CompareForm(data, files, auto_id="compare_%s", initial={"on": clock.today()})
    form: SheetForm = compared if comparing else imported
    if request.method == "POST" and form.is_valid():
        made = _taken(request, form)
        if made is not None:
            return redirect("register-sheet", pk=made.pk)
    rows = RegisterSheet.objects.visible_to(request.user).defer(*HEAVY, "errors")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/register.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "导入与核对", "url": ""}],
        "import_form": imported, "compare_form": compared,
        "templates": [(ending.upper(), reverse("register-template", args=[ending]))
                      for ending in ("xlsx", "csv")],
        "table": _table(list(page), page.paginator.count, page.number),
    }), status=422 if form.errors else 200)  # fmt: skip


def _taken(request: PortalRequest, form: forms.Form) -> RegisterSheet | None:
    """The sheet of an upload; None when it was refused, which the form then says."""
    file = form.cleaned_data["file"]
    given = {
        "file_name": file.name, "content": file.read(), "who": request.user,
        "by": request.user.username, "at": clock.now(),
    }  # fmt: skip
    try:
        if "on" in form.cleaned_data:
            return compare.compare(**given, on=form.cleaned_data["on"])
        return intake.check(**given)
    except Refusal as refusal:
        form.add_error("file", f"{refusal.detail[0]}。")
        return None


@requires("persons.maintain")
@require_GET
def blank(request: PortalRequest, ending: str) -> HttpResponse:
    """A template to fill in."""
    head = [f"{column.label}{'*' if column.required else ''}" for column in COLUMNS]
    row = [column.example for column in COLUMNS]
    if ending == "csv":
        return attachment("".join(csv_lines(head, [row])).encode(), CSV, f"{TITLE}-模板.csv")
    if ending != "xlsx":
        raise Http404(ending)
    guide = Guide(
        choices={at: tuple(column.choices) for at, column in enumerate(COLUMNS) if column.choices},
        title="填写说明",
        rows=[("列", "必填", "说明"), *((c.label, "是" if c.required else "", c.help) for c in COLUMNS)],
    )  # fmt: skip
    return attachment(workbook(TITLE, head, [row], guide), XLSX, f"{TITLE}-模板.xlsx")


def attachment(content: bytes, media: str, name: str) -> HttpResponse:
    """A file to keep."""
    return HttpResponse(
        content, content_type=media,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
                 "Cache-Control": "no-store"},
    )  # fmt: skip


# --- One sheet ---


def _visible(request: PortalRequest, pk: int) -> RegisterSheet:
    rows = RegisterSheet.objects.visible_to(request.user).defer(*HEAVY)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("persons.maintain")
@require_GET
def sheet(request: PortalRequest, pk: int) -> HttpResponse:
    """What would become of an import, or what a comparison found."""
    found = _visible(request, pk)
    context = {
        "breadcrumbs": [*CRUMBS, {"label": "导入与核对", "url": reverse("register")},
                        {"label": found.file_name, "url": ""}],
        "sheet": found, "state": _state(found), "info": _info(found),
        "errors": _errors(found, request.GET.get("page")) if found.errors else None,
    }  # fmt: skip
    if found.purpose == Purpose.COMPARE:
        return render(
            request, "settlement/register_compare.html", named(context | _compared(request, found))
        )
    return render(request, "settlement/register_import.html", named(context | {
        "steps": _steps(found), "working": found.state == State.WAITING,
        "changes": intake.changes_of(found),
        "may_confirm": found.state == State.CHECKED and not found.errors
        and intake.changes_of(found) > 0,
        "nothing": found.state == State.CHECKED and not found.errors
        and not intake.changes_of(found),
    }))  # fmt: skip


@requires("persons.maintain")
@require_POST
def confirm(request: PortalRequest, pk: int) -> HttpResponse:
    """Write exactly the file that was judged."""
    found = _visible(request, pk)
    try:
        intake.confirm(sheet=found, by=request.user.username, at=clock.now())
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
    else:
        messages.success(request, "已确认写入。")
    return redirect("register-sheet", pk=found.pk)


@requires("persons.maintain")
@require_GET
def annotated(request: PortalRequest, pk: int) -> HttpResponse:
    """The uploaded rows with what becomes of each; it holds ID numbers, so taking it is an event."""
    found = get_object_or_404(RegisterSheet.objects.visible_to(request.user), pk=min(pk, 2**63 - 1))
    content = intake.annotated(found, by=request.user.username, at=clock.now())
    return attachment(content, XLSX, f"结果-{found.file_name.rpartition('.')[0]}.xlsx")


# --- Differences ---


def _filtered(request: PortalRequest, found: RegisterSheet) -> tuple[QuerySet, DifferenceQuery]:
    form = DifferenceQuery(request.GET or None, auto_id="difference_%s")
    rows = found.differences.select_related("person")
    if form.is_bound and form.is_valid():
        wanted = {key: value for key, value in form.cleaned_data.items() if value}
        rows = rows.filter(**wanted)
    return rows, form


def _compared(request: PortalRequest, found: RegisterSheet) -> dict[str, Any]:
    rows, form = _filtered(request, found)
    page = Paginator(rows, DIFFERENCES_PAGE).get_page(request.GET.get("page"))
    left = found.differences.filter(state="open").count()
    return {
        "form": form, "left": left,
        "counts": [
            {"label": Kind(kind).label, "value": f"{found.counts.get(kind, 0):,} 人"}
            for kind in Kind.values
        ] + [{"label": "一致", "value": f"{found.counts.get('same', 0):,} 人"}],
        "table": _differences(
            list(page), page.paginator.count, page.number,
            f"{reverse('register-decide', args=[found.pk])}?{request.GET.urlencode()}" if left else "",
        ),
        "decide_form": DecideForm(None, known=()) if left else None,
    }  # fmt: skip


@requires("persons.maintain")
@require_POST
def decide(request: PortalRequest, pk: int) -> HttpResponse:
    """Decide the chosen differences, or all that match the query, with one reason."""
    found = _visible(request, pk)
    rows, _ = _filtered(request, found)
    back = f"{reverse('register-sheet', args=[found.pk])}?{request.GET.urlencode()}"
    form = DecideForm(request.POST, known=rows.values_list("pk", flat=True))
    if not form.is_valid():
        messages.error(request, "请选择差异并填写处理理由。")
        return redirect(back)
    given = form.cleaned_data
    chosen = rows if given["all_matching"] else rows.filter(pk__in=given["selected"])
    try:
        with transaction.atomic():
            count = compare.decide(
                sheet=found, chosen=chosen, adopt=given["action"] == "adopt",
                reason=given["reason"], by=request.user.username, at=clock.now(),
            )  # fmt: skip
    except Refusal as refusal:
        messages.error(request, f"{words_of(refusal)}。")
    else:
        messages.success(request, f"已处理 {count} 处差异。")
    return redirect(back)


def _differences(rows: list[RegisterDifference], total: int, number: int, decide_url: str) -> Table:
    bulk = [Action(label="按核对表更正", value="adopt", tone="primary"),
            Action(label="保留本门户登记", value="keep")]  # fmt: skip
    return Table(
        id="differences", caption="差异", bulk=bulk if decide_url else (), bulk_url=decide_url,
        columns=[
            Column(label="参保人"), Column(label="差异"), Column(label="本门户登记", wide=True),
            Column(label="核对表", wide=True), Column(label="处理", wide=True),
        ],
        rows=[_difference(row) for row in rows],
        pages=Pages(total=total, size=DIFFERENCES_PAGE, page=number, sizes=(DIFFERENCES_PAGE,)),
        empty_title="没有差异", empty_text="双方在核对时点的登记一致，或没有符合条件的差异。",
    )  # fmt: skip


def _difference(row: RegisterDifference) -> Row:
    who = Cell(text=row.name_masked, sub=row.id_masked,
               url=reverse("person", args=[row.person_id]) if row.person_id else "")  # fmt: skip
    decided = (
        Told(Login(row.decided_by), f" · {clock.local(row.decided_at):%m-%d %H:%M}")
        if row.decided_at
        else ""
    )
    return Row(
        key=str(row.pk), label=row.id_masked,
        cells=[
            who, Cell(text=row.get_kind_display(), tone=KIND_TONES[Kind(row.kind)],
                      sub=f"第 {row.row} 行" if row.row else ""),
            Cell(text=told(row.ours)), Cell(text=told(row.theirs)),
            Cell(text=row.get_state_display(), tone=DECISION_TONES[row.state],
                 sub=" · ".join(filter(None, [row.reason, decided]))),
        ],
    )  # fmt: skip


def told(side: dict[str, Any]) -> str:
    """One side of a difference in words."""
    if not side:
        return "未列"
    span = f"{side['from']} 至 {side['until']}" if side["until"] else f"{side['from']} 起"
    words = (Scheme(side["scheme"]).label, Entitlement.Standing(side["standing"]).label, span)
    return " · ".join(words)


# --- Tables ---


def _table(rows: list[RegisterSheet], total: int, number: int) -> Table:
    return Table(
        id="sheets", caption="导入与核对记录",
        columns=[
            Column(label="文件", wide=True), Column(label="事项"), Column(label="行", numeric=True),
            Column(label="结果", wide=True), Column(label="上传"), Column(label="状态"),
        ],
        rows=[_row(row) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有记录", empty_text="上传参保名册并校验后，这里显示结果与经办人。",
    )  # fmt: skip


def _row(row: RegisterSheet) -> Row:
    address, state = reverse("register-sheet", args=[row.pk]), _state(row)
    return Row(
        key=str(row.pk), label=row.file_name,
        cells=[
            Cell(text=row.file_name, url=address),
            Cell(text=row.get_purpose_display(), sub=f"时点 {row.on}" if row.on else ""),
            Cell(text=f"{row.rows:,}"), Cell(text=_outcome(row)),
            Cell(text=f"{clock.local(row.created_at):%Y-%m-%d %H:%M}", sub=Login(row.created_by)),
            Cell(text=state["text"], tone=state["tone"]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _outcome(row: RegisterSheet) -> str:
    counts = row.counts
    if counts["errors"]:
        return f"{counts['errors']:,} 处错误"
    if row.purpose == Purpose.COMPARE:
        return f"{sum(counts.get(kind, 0) for kind in Kind.values):,} 处差异"
    return "，".join(f"{label} {counts[key]:,}" for key, label in VERDICTS.items())


def _state(found: RegisterSheet) -> dict[str, str]:
    """The state as word and colour; a file with errors in its rows never passed the check."""
    if found.counts["errors"] and (
        found.state == State.CHECKED or found.purpose == Purpose.COMPARE
    ):
        return {"text": "校验未通过", "tone": "bad"}
    return {"text": found.get_state_display(), "tone": TONES[State(found.state)]}


def _steps(found: RegisterSheet) -> list[dict[str, str]]:
    at = {State.CHECKED: 1, State.WAITING: 2, State.DONE: 3, State.FAILED: 2}[State(found.state)]
    wrong = bool(found.counts["errors"])
    at = 0 if wrong and found.state == State.CHECKED else at
    states = ["done" if n < at else "now" if n == at else "next" for n in range(len(STEPS))]
    if wrong and at < len(STEPS):
        states[at] = "failed"
    times = (found.created_at, found.confirmed_at, found.finished_at)
    return [
        {"label": label, "state": state,
         "at": f"{clock.local(time):%Y-%m-%d %H:%M}" if time else ""}
        for label, state, time in zip(STEPS, states, times, strict=True)
    ]  # fmt: skip


def _info(found: RegisterSheet) -> list[dict[str, Any]]:
    counts = found.counts
    told = [{"label": label, "value": f"{counts[key]:,} 行"} for key, label in VERDICTS.items()
            if key in counts and found.purpose == Purpose.IMPORT]  # fmt: skip
    return [
        {"label": "事项", "value": found.get_purpose_display(),
         "sub": f"时点 {found.on}" if found.on else ""},
        {"label": "数据行", "value": f"{found.rows:,} 行"}, *told,
        {"label": "有错误", "value": f"{counts['wrong_rows']:,} 行",
         "tone": "bad" if counts["wrong_rows"] else ""},
        {"label": "上传", "value": Login(found.created_by),
         "sub": f"{clock.local(found.created_at):%Y-%m-%d %H:%M}"},
        {"label": "确认", "value": Login(found.confirmed_by)},
        {"label": "文件 SM3", "value": found.file_sm3, "code": True, "wide": True},
    ]  # fmt: skip


def _errors(found: RegisterSheet, number: str | None) -> Table:
    page = Paginator(found.errors, ERRORS_PAGE).get_page(number)
    return Table(
        id="errors", caption="错误",
        columns=[Column(label="位置"), Column(label="列"), Column(label="填写内容"),
                 Column(label="原因", wide=True)],
        rows=[
            Row(key=str(n), label=f"第 {error['row']} 行", tone="bad", cells=[
                Cell(text=f"第 {error['row']} 行"), Cell(text=error["column"] or "整行"),
                Cell(text=error["value"]), Cell(text=error["reason"], sub=error["clause"])])
            for n, error in enumerate(page)
        ],
        pages=Pages(total=page.paginator.count, size=ERRORS_PAGE, page=page.number,
                    sizes=(ERRORS_PAGE,)),
    )  # fmt: skip
