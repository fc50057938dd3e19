"""Batches: upload and check, confirm, progress, pause and resume, downloads."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock
from audit.access import requires
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import Login, named
from institutions.refusals import Refusal
from institutions.views.file import frozen_words
from settlement import words
from settlement.batch import checking, commands, downloads, undo
from settlement.batch_forms import XLSX, DecisionForm, UploadForm, template
from settlement.commands import refused
from settlement.detail import in_order, moment
from settlement.facts import Claimant
from settlement.models import Batch, Chunk

CRUMBS = [{"label": "工作台", "url": "/"}]
HEAVY = ("file", "annotated", "result")
PAGE = 20
ERRORS_PAGE = 50
CHUNKS_SHOWN = 200
MOVES: dict[str, tuple[Callable[..., Batch], str]] = {
    "confirm": (commands.confirm, "已提交，开始装载。"),
    "pause": (commands.pause, "已暂停：不再开始新的分片，进行中的分片会做完。"),
    "resume": (commands.resume, "已继续。"),
    "release": (commands.release, "隔离的分片已放行，将再次尝试。"),
}
State = Batch.State
#: Decisions with a reason: command, what was done, label, what it means.
DECISIONS: dict[str, tuple[Callable[..., Batch], str, str, str]] = {
    "set-aside": (
        commands.set_aside, "已剔除隔离的申请单。", "剔除隔离的申请单并完成批次",
        "隔离的申请单不结算，其余照常完成；剔除的申请单连同原因列入结果，可改正后以新单号重新申报。",
    ),
    "cancel": (
        commands.cancel, "已取消：不再开始新的分片，已结算的保留。", "取消批次",
        "未结算的分片不再结算；已结算的分片保持完整，取消后可整批冲正。取消后不能恢复。",
    ),
    "undo": (
        undo.undo, "已开始冲正本批次已结算的申请单。", "冲正本批次已结算的申请单",
        "逐张产生金额相反的分录并恢复累计额（含重新结算的）；已冲正的不重复，手工报销的保留。冲正不能撤销。",
    ),
}  # fmt: skip
BAR = {
    State.CHECKING: "waiting", State.LOADING: "waiting", State.RUNNING: "running",
    State.PAUSED: "paused", State.CLOSED: "done", State.FAILED: "failed", State.CHECKED: "waiting",
    State.CANCELLED: "paused", State.REVERSING: "waiting", State.REVERSED: "paused",
}  # fmt: skip
STEPS = ("校验文件", "装载并冻结清单", "分片结算", "核对总额、关闭")
REACHED = {
    State.CHECKING: 0, State.CHECKED: 0, State.LOADING: 1, State.RUNNING: 2,
    State.PAUSED: 2, State.CLOSED: 4,
    State.CANCELLED: 2, State.REVERSING: 2, State.REVERSED: 2,
}  # fmt: skip
STOPPED = (State.CANCELLED, State.REVERSING, State.REVERSED)
CHUNK_TONES = {
    "waiting": "wait", "done": "ok", "quarantined": "bad", "split": "mute", "set_aside": "warn",
    "cancelled": "mute",
}  # fmt: skip


@requires("batches.view")
@require_http_methods(["GET", "POST"])
def batches(request: PortalRequest) -> HttpResponse:
    """The list of batches; those who may run them upload here. A POST is a file to be checked."""
    may_run = request.user.may("batches.run")
    form = (
        UploadForm(request.POST or None, request.FILES or None, user=request.user)
        if may_run
        else None
    )
    if request.method == "POST" and form and form.is_valid():
        found = _taken(request, form)
        if found:
            return redirect("batch", batch_id=found.pk)
    rows = Batch.objects.visible_to(request.user).defer(*HEAVY, "errors").order_by("-pk")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    faulty = set(
        rows.exclude(errors=[]).filter(pk__in=[row.pk for row in page]).values_list("pk", flat=True)
    )
    return render(request, "settlement/batches.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "批量结算", "url": ""}],
        "form": form, "frozen": _frozen(request.user.institution),
        "table": _table(list(page), faulty, total=page.paginator.count, number=page.number),
    }))  # fmt: skip


@requires("batches.view")
@require_GET
def batch(request: PortalRequest, batch_id: int) -> HttpResponse:
    """One batch; its live part is asked for again every two seconds while it works."""
    found = _visible(request, batch_id)
    commands.wake(found, at=clock.now())
    return _page(request, found)


def _page(
    request: PortalRequest, found: Batch, given: dict[str, DecisionForm] | None = None
) -> HttpResponse:
    progress = commands.progress(found, at=clock.now())
    chunks = list(Chunk.objects.filter(batch=found).order_by("number")[:CHUNKS_SHOWN])
    events = Event.objects.visible_to(request.user).filter(subject=f"batch:{found.pk}")
    institution = Institution.objects.filter(pk=found.institution_code).first()
    return render(request, "settlement/batch.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "批量结算", "url": reverse("batches")},
                        {"label": f"第 {found.pk} 批", "url": ""}],
        "frozen": _frozen(institution),
        "batch": found, "state": _state(found, faulty=bool(found.errors)),
        "working": found.state in commands.WORKED_ON, "acts": _acts(request, found, progress, given or {}),
        "steps": _steps(found), "progress": _progress(found, progress),
        "moves": _moves(request, found, progress), "info": _info(found, institution),
        "totals": _totals(found), "chunks": _chunks(chunks) if chunks else None,
        "errors": _errors(found, request.GET.get("page")) if found.errors else None,
        "timeline": [
            {"at": moment(event.at), "by": event.actor,
             "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in in_order(events.order_by("at", "id")[:CHUNKS_SHOWN])
        ],
    }))  # fmt: skip


def _frozen(institution: Institution | None) -> str:
    """Why nothing is paid to an institution today; settling goes on. Empty: it is paid."""
    words = frozen_words(institution, on=clock.today()) if institution else ""
    return f"{words}。费用照常申报和结算，暂停期间不拨付。" if words else ""


@requires("batches.run")
@require_POST
def move(request: PortalRequest, batch_id: int, action: str) -> HttpResponse:
    """Confirm, pause, resume, release; with a reason: set aside, cancel, undo.

    A refusal becomes a message and an event.
    """
    found = _visible(request, batch_id)
    by, at = request.user.username, clock.now()
    reasoned: dict[str, str] = {}
    if action in DECISIONS:
        form = DecisionForm(request.POST)
        if not form.is_valid():
            return _page(request, found, {action: form})
        command, done = DECISIONS[action][:2]
        reasoned = {"reason": form.cleaned_data["reason"]}
    elif action in MOVES:
        command, done = MOVES[action]
    else:
        raise Http404
    try:
        command(batch_id=found.pk, by=by, at=at, **reasoned)
    except Refusal as refusal:
        row = Institution.objects.select_related("region").get(pk=found.institution_code)
        refused(
            institution=Claimant.of(row), action=f"batch.{action}", subject=f"batch:{found.pk}",
            code=refusal.code, by=by, at=at,
        )  # fmt: skip
        messages.error(request, f"{refusal.detail[0]}。")
    else:
        messages.success(request, done)
    return redirect("batch", batch_id=found.pk)


@requires("batches.view")
@require_GET
def result(request: PortalRequest, batch_id: int) -> StreamingHttpResponse:
    """The result file of a closed batch; taking it is an event."""
    found = _visible(request, batch_id)
    if found.state != State.CLOSED:
        raise Http404
    downloads.taken(found, form="csv", by=request.user.username, at=clock.now())
    response = StreamingHttpResponse(
        downloads.result_csv(found), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="result-{found.pk}.csv"'
    return response


@requires("batches.view")
@require_GET
def annotated(request: PortalRequest, batch_id: int) -> HttpResponse:
    """The uploaded file with everything wrong in each row; taking it is an event."""
    found = get_object_or_404(Batch.objects.visible_to(request.user), pk=_known(batch_id))
    content = downloads.annotated(found, by=request.user.username, at=clock.now())
    if content is None:
        raise Http404
    return _download(content, XLSX, f"annotated-{found.pk}.xlsx")


@requires("batches.view")
@require_GET
def blank(request: PortalRequest, ending: str) -> HttpResponse:
    """A template to fill in."""
    if ending not in ("xlsx", "csv", "jsonl"):
        raise Http404
    content, kind = template(ending)
    return _download(content, kind, f"claims-template.{ending}")


def _download(content: bytes, kind: str, name: str) -> HttpResponse:
    return HttpResponse(
        content,
        content_type=kind,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _known(batch_id: int) -> int:
    if batch_id >= 2**63:
        raise Http404
    return batch_id


def _visible(request: PortalRequest, batch_id: int) -> Batch:
    """A batch inside the user's scope; any other does not exist."""
    rows = Batch.objects.visible_to(request.user).defer(*HEAVY)
    return get_object_or_404(rows, pk=_known(batch_id))


def _taken(request: PortalRequest, form: UploadForm) -> Batch | None:
    file = form.cleaned_data["file"]
    try:
        return checking.take(
            institution=form.claimant(), file_name=file.name, content=file.read(),
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        form.add_error("file", f"{refusal.detail[0]}。")
        return None


def _table(rows: list[Batch], faulty: set[int], *, total: int, number: int) -> Table:
    names = Institution.objects.in_bulk({row.institution_code for row in rows})
    return Table(
        id="batches", caption="批次",
        columns=[
            Column(label="批次"), Column(label="文件", wide=True), Column(label="申请单", numeric=True),
            Column(label="费用（元）", numeric=True), Column(label="创建"), Column(label="状态"),
        ],
        rows=[
            _row(row, str(names.get(row.institution_code, row.institution_code)),
                 faulty=row.pk in faulty)
            for row in rows
        ],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有批次", empty_text="上传申报文件并校验后，可在此查看进度与结果。",
    )  # fmt: skip


def _row(row: Batch, name: str, *, faulty: bool) -> Row:
    state = _state(row, faulty=faulty)
    address = reverse("batch", args=[row.pk])
    return Row(
        key=str(row.pk), label=f"第 {row.pk} 批",
        cells=[
            Cell(text=f"第 {row.pk} 批", url=address, sub=name),
            Cell(text=row.file_name),
            Cell(text=f"{row.claims:,}", sub=f"{row.lines:,} 项") if row.claims else Cell(text="—"),
            Cell(text=yuan(row.fee_total) if row.fee_total else "—"),
            Cell(text=moment(row.created_at)[:16], sub=Login(row.created_by)),
            Cell(text=state["text"], tone=state["tone"]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _state(found: Batch, *, faulty: bool) -> dict[str, str]:
    """The state as word and colour; a file with errors in its rows never passed the check."""
    if faulty and found.state == State.CHECKED:
        return {"text": "校验未通过", "tone": "bad"}
    return {"text": found.get_state_display(), "tone": words.BATCH_TONES[found.state]}


def _steps(found: Batch) -> list[dict[str, str]]:
    """The way of a batch; a batch with row errors stops at the first step."""
    at = REACHED.get(State(found.state), 1)
    states = ["done" if n < at else "now" if n == at else "next" for n in range(len(STEPS))]
    if found.state == State.PAUSED:
        states[at] = "paused"
    if found.errors or found.state == State.FAILED or found.state in STOPPED:
        states[at] = "failed"
    elif found.state == State.CHECKED:
        states[0] = "done"
    times = {0: found.created_at, 1: found.started_at, 3: found.closed_at}
    return [
        {"label": label, "state": states[n], "at": moment(times[n])[:16] if times.get(n) else ""}
        for n, label in enumerate(STEPS)
    ]


def _progress(found: Batch, progress: dict[str, Any]) -> dict[str, Any] | None:
    if not progress["chunks"] and found.state != State.LOADING:
        return None
    left = progress["seconds_left"]
    return {
        "done": progress["done"], "total": progress["claims"] if progress["chunks"] else 0,
        "rate": round(progress["claims_per_second"]) if progress["done"] else None,
        "left": None if left is None else round(left), "state": BAR[State(found.state)],
        "chunks": f"{progress['chunks_done']} / {progress['chunks']}",
        "quarantined": progress["quarantined"],
    }  # fmt: skip


def _moves(request: PortalRequest, found: Batch, progress: dict[str, Any]) -> list[dict[str, str]]:
    """What can be done now by this person: address, word, icon."""
    if not request.user.may("batches.run"):
        return []
    can = {
        "confirm": found.state == State.CHECKED and not found.errors,
        "pause": found.state == State.RUNNING,
        "resume": found.state == State.PAUSED,
        "release": progress["quarantined"] > 0 and found.state in (State.RUNNING, State.PAUSED),
    }
    shown = {
        "confirm": ("确认并开始结算", "play", "primary"), "pause": ("暂停", "pause", ""),
        "resume": ("继续结算", "play", "primary"), "release": ("放行隔离分片", "arrow-path", ""),
    }  # fmt: skip
    return [
        {
            "url": reverse("batch-move", args=[found.pk, name]),
            "label": label,
            "icon": icon,
            "tone": tone,
        }
        for name, (label, icon, tone) in shown.items()
        if can[name]
    ]


def _acts(
    request: PortalRequest, found: Batch, progress: dict[str, Any], given: dict[str, DecisionForm]
) -> list[dict[str, Any]]:
    """The decisions that this person can take now, each with its form."""
    if not request.user.may("batches.run"):
        return []
    under_way = found.state in (State.RUNNING, State.PAUSED)
    can = {
        "set-aside": progress["quarantined"] > 0 and under_way,
        "cancel": under_way or found.state in (State.CHECKING, State.CHECKED, State.LOADING),
        "undo": found.state in (State.CANCELLED, State.FAILED) and progress["done"] > 0,
    }
    return [
        {
            "key": name, "title": title, "hint": hint, "danger": name != "set-aside",
            "url": reverse("batch-move", args=[found.pk, name]), "version": None,
            "form": given.get(name) or DecisionForm(auto_id=f"{name}-%s"), "open": name in given,
        }
        for name, (_, _, title, hint) in DECISIONS.items()
        if can[name]
    ]  # fmt: skip


def _info(found: Batch, institution: Institution | None) -> list[dict[str, Any]]:
    return [
        {"label": "申报机构", "value": str(institution or found.institution_code),
         "sub": found.institution_code},
        {"label": "申请单", "value": f"{found.claims:,} 张" if found.claims else "",
         "sub": f"{found.lines:,} 项明细" if found.claims else ""},
        {"label": "费用合计", "value": f"{yuan(found.fee_total)} 元" if found.fee_total else ""},
        {"label": "创建", "value": moment(found.created_at), "sub": Login(found.created_by)},
        {"label": "剔除", "value": f"{found.set_aside_claims:,} 张" if found.set_aside_claims else "",
         "sub": f"{yuan(found.set_aside_fee)} 元" if found.set_aside_claims else ""},
        {"label": "决定理由", "value": found.reason},
        {"label": "文件 SM3", "value": found.file_sm3, "code": True, "wide": True},
        {"label": "清单 SM3（冻结）", "value": found.manifest_sm3, "code": bool(found.manifest_sm3),
         "wide": True},
        {"label": "结果 SM3", "value": found.result_sm3, "code": bool(found.result_sm3), "wide": True},
    ]  # fmt: skip


def _totals(found: Batch) -> list[dict[str, str]]:
    return [
        {"label": label, "value": yuan(int(found.totals[name]))}
        for name, label in words.TOTALS.items()
        if name in found.totals
    ]


def _chunks(chunks: list[Chunk]) -> Table:
    return Table(
        id="chunks", caption="分片", narrow="scroll",
        columns=[
            Column(label="分片"), Column(label="申请单", numeric=True),
            Column(label="明细", numeric=True), Column(label="完成时间"),
            Column(label="尝试", numeric=True), Column(label="结果摘要（SM3）"), Column(label="状态"),
        ],
        rows=[_chunk(chunk) for chunk in chunks],
    )  # fmt: skip


def _chunk(chunk: Chunk) -> Row:
    digest = bytes(chunk.digest).hex() if chunk.digest else ""
    return Row(
        key=str(chunk.pk), label=f"分片 {chunk.number}",
        tone="bad" if chunk.state == Chunk.State.QUARANTINED else "",
        cells=[
            Cell(text=str(chunk.number)), Cell(text=f"{chunk.claims:,}"),
            Cell(text=f"{chunk.lines:,}"), Cell(text=moment(chunk.done_at)[11:] if chunk.done_at else ""),
            Cell(text=str(chunk.attempts)),
            Cell(text=f"{digest[:16]}…" if digest else "", code=bool(digest), title=digest),
            Cell(text=chunk.get_state_display(), tone=CHUNK_TONES[chunk.state],
                 sub=chunk.error[:120]),
        ],
    )  # fmt: skip


def _errors(found: Batch, number: str | None) -> Table:
    page = Paginator(found.errors, ERRORS_PAGE).get_page(number)
    return Table(
        id="errors", caption="校验发现的错误",
        columns=[Column(label="位置"), Column(label="列"), Column(label="说明", wide=True)],
        rows=[
            Row(key=str(n), label=f"第 {error['row']} 行", tone="bad", cells=[
                Cell(text=f"第 {error['row']} 行"), Cell(text=error["column"] or "整行"),
                Cell(text=error["reason"], sub=" · ".join(
                    part for part in (error["code"], error["clause"]) if part))])
            for n, error in enumerate(page)
        ],
        pages=Pages(total=page.paginator.count, size=ERRORS_PAGE, page=page.number,
                    sizes=(ERRORS_PAGE,)),
        toolbar=[] if found.state == State.FAILED else [
            Action(label="下载标注文件", url=reverse("batch-annotated", args=[found.pk]),
                   icon="arrow-down-tray")
        ],
    )  # fmt: skip
