"""The board of batches, its files and its paper; one hospital's plan and progress."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements import board as reading
from agreements import plans
from agreements.board import Batch, Board, Entry, narrow
from agreements.gantt import gantt
from agreements.views.refusing import Refusals, words_of
from agreements.wave_forms import BoardQuery, DrawForm, PlanForm
from audit import clock, pdf, sheets, trail
from audit.access import requires
from institutions.access import PortalRequest
from institutions.models import Region, area_prefix
from institutions.refusals import Refusal

CRUMBS = [{"label": "协议与接入", "url": ""}]
TITLE = "“互联网+”医保支付分批推进看板"
TONES = {"done": "ok", "late": "bad", "running": "info", "waiting": "mute", "none": "mute"}
FORMATS = ("xlsx", "csv", "json", "pdf")


# --- The board ---


@requires("waves.view")
@require_GET
def waves(request: PortalRequest) -> HttpResponse:
    """Batches × hospitals × steps inside the reader's area."""
    board = Board(request.user, today=clock.today())
    form, shown = _asked(request, board)
    batches = board.batches(shown)
    query = request.GET.urlencode()
    may_make = board.whole and request.user.may(plans.PLAN) and board.waves is not None
    return render(request, "agreements/waves.html", {
        "breadcrumbs": [*CRUMBS, {"label": "批次看板", "url": ""}], "title": TITLE, "form": form,
        "law": board.law, "none": board.waves is None, "stats": _stats(board),
        "missing": board.missing() if board.entries else [],
        "empty": board.waves is not None and not board.entries, "may_make": may_make,
        "gantt": gantt(title="计划与进度", today=board.today,
                       lines=reading.lines_of(batches, board.today, _address)),
        "steps": board.flow.steps if board.waves else (),
        "batches": [_batch(batch, whole=board.whole) for batch in batches],
        "example": any(entry.place.plan_example for entry in shown),
        "exports": [
            {"label": kind.upper(), "url": f"{reverse('waves-export', args=[kind])}?{query}"}
            for kind in FORMATS
        ],
    })  # fmt: skip


def _asked(request: PortalRequest, board: Board) -> tuple[BoardQuery, list[Entry]]:
    """The query and the entries that fit it; an invalid query finds nothing."""
    regions = {row.place.institution.region_id: row.place.institution.region
               for row in board.entries}  # fmt: skip
    form = BoardQuery(request.GET, batches=board.batches(), regions=_areas(list(regions.values())))
    if not form.is_valid():
        return form, []
    given = form.cleaned_data
    return form, narrow(
        board.entries, batch=given["batch"], state=given["state"], lateness=given["late"],
        region=area_prefix(given["region"]) if given["region"] else "", words=given["q"],
    )  # fmt: skip


def _areas(regions: Sequence[Region]) -> list[Region]:
    """The areas of the shown hospitals and the prefectures above them."""
    codes = {f"{row.code[:4]}00" for row in regions} | {row.code for row in regions}
    return list(Region.objects.filter(code__in=codes).order_by("code"))


def _stats(board: Board) -> list[dict[str, Any]]:
    """Each batch: how many are live, of how many, and how the deadline stands."""
    return [
        {
            "label": batch.name, "value": str(batch.done),
            "unit": f"/ {batch.listed if board.whole else len(batch.entries)} 家已上线",
            "note": f"时限 {batch.deadline}，{_left(batch.deadline, board.today)}",
            "delta": _late_words(batch), "url": f"?batch={batch.wave.number}",
        }
        for batch in board.batches()
        if batch.wave and batch.deadline
    ]  # fmt: skip


def _left(deadline: dt.date, today: dt.date) -> str:
    days = (deadline - today).days
    return f"还有 {days} 天" if days >= 0 else f"已过 {-days} 天"


def _late_words(batch: Batch) -> str:
    over = sum(entry.lateness == "deadline" for entry in batch.entries)
    behind = sum(entry.lateness == "plan" for entry in batch.entries)
    words = [f"{over} 家超时限"] if over else []
    return "，".join([*words, f"{behind} 家落后计划"] if behind else words)


def _batch(batch: Batch, *, whole: bool) -> dict[str, Any]:
    """A batch of the table with its totals and rows."""
    of = f"名单共 {batch.listed} 家" if batch.wave and not whole else ""
    return {
        "name": batch.name, "deadline": batch.deadline, "done": batch.done,
        "total": len(batch.entries), "listed": of,
        "rows": [_line(entry) for entry in batch.entries],
    }  # fmt: skip


def _line(entry: Entry) -> dict[str, Any]:
    place = entry.place
    tone = "ok" if entry.live_on else "bad" if entry.days_late else "warn" if entry.behind else ""
    return {
        "name": place.institution.name, "region": place.institution.region.name,
        "promoter": entry.promoter, "url": _address(entry), "said": reading.said(entry),
        "tone": tone or "mute", "reason": place.override_reason, "lacking": entry.lacking,
        "marks": [_mark(mark) for mark in entry.marks],
    }  # fmt: skip


def _mark(mark: reading.Mark) -> dict[str, Any]:
    day = mark.done or mark.end
    words = {"done": "完成", "late": f"逾期 {mark.days_late} 天", "running": "办理中",
             "waiting": "计划", "none": "未申请"}[mark.state]  # fmt: skip
    late = f"晚 {mark.days_late} 天" if mark.done and mark.days_late else ""
    return {
        "step": f"{mark.step.number} {mark.step.name}", "state": mark.state, "words": words,
        "tone": "warn" if late else TONES[mark.state], "late": late,
        "day": f"{day:%y-%m-%d}" if day and mark.applies else "",
        "plan": f"计划 {mark.end:%y-%m-%d}" if mark.done and mark.end else "",
    }  # fmt: skip


def _address(entry: Entry) -> str:
    return reverse("wave", args=[entry.place.pk])


# --- Files and paper ---


@requires("waves.view")
@require_GET
def waves_export(request: PortalRequest, kind: str) -> HttpResponse:
    """What the board shows, as XLSX, CSV, JSON or PDF."""
    board = Board(request.user, today=clock.today())
    if board.waves is None or kind not in FORMATS:
        raise Http404
    _, shown = _asked(request, board)
    batches = board.batches(shown)
    answer = WRITERS[kind](request, board, batches)
    name = f"批次看板-{board.today}.{kind}"
    answer["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    answer["Cache-Control"] = "private, no-store"
    trail.record(
        by=request.user.username, at=clock.now(), action="waves.export",
        subject=f"waves:{board.law['region']}", region_code=request.user.region_id or "",
        detail={"format": kind, "hospitals": len(shown)},
    )  # fmt: skip
    return answer


def _xlsx(request: PortalRequest, board: Board, batches: list[Batch]) -> HttpResponse:
    content = sheets.workbook("批次看板", reading.head_of(board.flow), reading.rows_of(batches))
    return HttpResponse(content, content_type=sheets.XLSX)


def _csv(request: PortalRequest, board: Board, batches: list[Batch]) -> HttpResponse:
    lines = sheets.csv_lines(reading.head_of(board.flow), reading.rows_of(batches))
    return HttpResponse("".join(lines), content_type=sheets.CSV)


def _json(request: PortalRequest, board: Board, batches: list[Batch]) -> HttpResponse:
    data = {"document": board.law["document"], "on": board.today.isoformat(),
            "batches": reading.data_of(batches)}  # fmt: skip
    return JsonResponse(data, json_dumps_params={"ensure_ascii": False, "indent": 1})


def _pdf(request: PortalRequest, board: Board, batches: list[Batch]) -> HttpResponse:
    at, who = clock.now(), request.user
    context = {
        "title": TITLE, "law": board.law, "today": board.today, "area": str(who.region or ""),
        "steps": board.flow.steps,
        "batches": [_batch(batch, whole=board.whole) for batch in batches],
        "gantt": gantt(title="计划与进度", today=board.today,
                       lines=reading.lines_of(batches, board.today, lambda entry: "")),
        "example": any(row.place.plan_example for batch in batches for row in batch.entries),
        "missing": board.missing(),
    }  # fmt: skip
    data = reading.data_of(batches)
    content = pdf.render(
        "reports/waves.html", context, at=at,
        identifier=pdf.identifier_of("waves", who.region_id or "", request.GET.urlencode(),
                                     at.isoformat()),
        attachments=[pdf.json_attachment("waves.json", data, "看板数据")],
        watermark=f"{who.username} {at:%Y-%m-%d %H:%M}",
        styles=(*pdf.STYLES, "css/waves_paper.css"),
    )  # fmt: skip
    return HttpResponse(content, content_type="application/pdf")


WRITERS: dict[str, Callable[[PortalRequest, Board, list[Batch]], HttpResponse]] = {
    "xlsx": _xlsx, "csv": _csv, "json": _json, "pdf": _pdf,
}  # fmt: skip


# --- Acts ---


@requires(plans.PLAN)
@require_POST
def waves_make(request: PortalRequest) -> HttpResponse:
    """Make the places of the list from the notice in force."""
    try:
        made = plans.make_places(
            who=request.user, on=clock.today(), by=request.user.username, at=clock.now()
        )
    except Refusals as refused:
        messages.error(request, f"{words_of(refused)}。")
    else:
        missing = f"；{len(made.missing)} 家未登记" if made.missing else ""
        messages.success(
            request, f"名单已更新：新建 {made.made} 家，变更 {made.changed} 家{missing}。"
        )
    return redirect("waves")


@requires("waves.view")
@require_GET
def wave(request: PortalRequest, pk: int) -> HttpResponse:
    """One hospital: steps with plan and actual days, platforms, who brings it forward."""
    board, entry = _entry(request, pk)
    return _page(request, board, entry, None, 200)


@requires(plans.PLAN)
@require_http_methods(["POST"])
def wave_plan(request: PortalRequest, pk: int) -> HttpResponse:
    """Change the plan by hand."""
    board, entry = _entry(request, pk)
    form = _plan_form(board, entry, request.POST)
    status = 422
    if form.is_valid():
        try:
            plans.change_plan(
                place=entry.place, spans=form.spans(), reason=form.cleaned_data["reason"],
                who=request.user, on=board.today, version=form.cleaned_data["version"],
                by=request.user.username, at=clock.now(),
            )  # fmt: skip
        except Refusal as refusal:
            status = form.take(refusal)
        else:
            messages.success(request, "工作计划已保存。")
            return redirect("wave", pk=pk)
    return _page(request, board, entry, form, status)


@requires(plans.PLAN)
@require_POST
def wave_draw(request: PortalRequest, pk: int) -> HttpResponse:
    """Count the plan back from the deadline anew."""
    board, entry = _entry(request, pk)
    form = DrawForm(request.POST)
    if not form.is_valid():
        raise Http404
    try:
        plans.draw_plan(
            place=entry.place, major=form.cleaned_data["major"], who=request.user, on=board.today,
            version=form.cleaned_data["version"], by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        messages.error(request, f"{words_of(refusal)}。")
        return _page(request, board, entry, None, refusal.status)
    messages.success(request, "已按批次时限重新倒排工期。")
    return redirect("wave", pk=pk)


def _entry(request: PortalRequest, pk: int) -> tuple[Board, Entry]:
    board = Board(request.user, today=clock.today())
    entry = board.entry(pk)
    if entry is None:
        raise Http404
    return board, entry


def _plan_form(board: Board, entry: Entry, data: Any = None) -> PlanForm:
    place = entry.place
    return PlanForm(data, steps=board.flow.steps, plan=place.plan, version=place.plan_version,
                    reason=place.plan_reason)  # fmt: skip


def _page(
    request: PortalRequest, board: Board, entry: Entry, form: PlanForm | None, status: int
) -> HttpResponse:
    place, application = entry.place, entry.progress.application
    may = board.waves is not None and plans.may_plan(
        place, request.user, board.law, board.waves
    )  # fmt: skip
    major = any(step.when and step.key in place.plan for step in board.flow.steps)
    drawing = DrawForm(initial={"version": place.plan_version, "major": major}, auto_id="draw_%s")
    return render(request, "agreements/wave.html", {
        "breadcrumbs": [*CRUMBS, {"label": "批次看板", "url": reverse("waves")},
                        {"label": place.institution.name, "url": ""}],
        "entry": entry, "place": place, "line": _line(entry), "law": board.law,
        "facts": _facts(entry, board), "platforms": board.platforms(entry),
        "application": application if request.user.may("applications.view") else None,
        "marks": [_step(mark) for mark in entry.marks],
        "gantt": gantt(title="各步骤的计划与进度", today=board.today,
                       lines=reading.step_lines(entry, board.today)),
        "form": (form or _plan_form(board, entry)) if may else None, "drawing": drawing,
        "opened": form is not None,
    }, status=status)  # fmt: skip


def _facts(entry: Entry, board: Board) -> list[dict[str, Any]]:
    place, document = entry.place, board.law.get("document", "")
    planned = clock.local(place.planned_at) if place.planned_at else None
    items: list[dict[str, Any]] = [
        {"label": "批次", "value": entry.wave.name if entry.wave else "名单外",
         "clause": {"document": document, "clause": entry.wave.clause if entry.wave else "四第2款"}},
        {"label": "完成时限", "value": str(place.deadline or "未定"),
         "sub": "当日仍算按期，节假日不顺延" if place.deadline else ""},
        {"label": "推进单位", "value": entry.promoter,
         "clause": {"document": document, "clause": entry.promoter_clause}},
        {"label": "所在地", "value": place.institution.region.name},
        {"label": "进度", "value": reading.said(entry)},
        {"label": "计划编制", "value": place.planned_by or "尚未编制",
         "sub": f"{planned:%Y-%m-%d %H:%M}" if planned else ""},
    ]  # fmt: skip
    if entry.lacking:
        items.append({"label": "列入名单的条件", "value": "；".join(entry.lacking), "wide": True,
                      "sub": "请在机构档案登记，并由经办机构核验"})  # fmt: skip
    if place.listed_name != place.institution.name:
        items.append({"label": "名单名称", "value": place.listed_name})
    if place.plan_reason:
        items.append({"label": "超出时限的理由", "value": place.plan_reason, "wide": True})
    if place.override_reason:
        items.append({"label": "先于名单内医院的理由", "value": place.override_reason,
                      "wide": True})  # fmt: skip
    return items


def _step(mark: reading.Mark) -> dict[str, Any]:
    """A row of a hospital's table of steps."""
    return {
        "number": mark.step.number, "name": mark.step.name, "clause": mark.step.clause,
        "start": mark.start, "end": mark.end, "done": mark.done, "late": mark.days_late,
        "words": reading.words_of(mark), "optional": bool(mark.step.when),
        "tone": "warn" if mark.done and mark.days_late else TONES[mark.state],
    }  # fmt: skip
