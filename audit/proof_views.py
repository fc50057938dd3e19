"""The sealed log: checkpoints, proofs, bundles; for everybody the newest checkpoint and the keys."""

import tempfile
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from audit import bundles, clock, cursor, merkle, proofs, proven, trail, watch
from audit.access import person_of, public, requires
from audit.forms import OlderCheckpoint, TrailQuery
from audit.models import Archive, Checkpoint, Event, Leaf, SealKey
from audit.openly import NotDisclosedError, disclosed
from audit.tables import Cell, Column, Pages, Row, Table

LINES = "application/x-ndjson"
PLAIN = "text/plain; charset=utf-8"
SIZES = (20, 50, 100)
MOST = 20_000  #: entries of a selection that a page exports; more: manage.py bundle
TRAIL = {"label": "全程留痕", "url": ""}


class TwoSizes(forms.Form):
    """Two sizes of the log that a consistency proof connects."""

    old = forms.IntegerField(label="较早检查点的条数", min_value=1)
    new = forms.IntegerField(label="较晚检查点的条数", min_value=1)

    def clean_old(self) -> int:
        """A size that was signed."""
        return self._signed("old")

    def clean_new(self) -> int:
        """A size that was signed."""
        return self._signed("new")

    def _signed(self, name: str) -> int:
        size = self.cleaned_data[name]
        if not Checkpoint.objects.filter(size=size).exists():
            raise forms.ValidationError(f"没有条数为 {size} 的检查点")
        return size

    def clean(self) -> dict[str, Any]:
        """The older one is not larger."""
        found = super().clean() or self.cleaned_data
        if "old" in found and "new" in found and found["new"] < found["old"]:
            self.add_error("new", "不得小于较早检查点的条数")
        return found


class Explained(forms.Form):
    """What was found out about events that were altered before they were sealed."""

    note = forms.CharField(label="核查结果", max_length=400)


@requires("trail.view")
@require_GET
def checkpoints(request: HttpRequest) -> HttpResponse:
    """Signed checkpoints, newest first; whether the sealer works; two of them compared on demand."""
    asked = request.GET.get("old") or request.GET.get("new")
    form = TwoSizes(request.GET if asked else None, auto_id="sizes_%s")
    compared = _compared(form) if asked and form.is_valid() else None
    rows = Checkpoint.objects.select_related("key")
    wanted = request.GET.get("size", "")
    size = int(wanted) if wanted in map(str, SIZES) else SIZES[0]
    found = cursor.page(rows, cursor=request.GET.get("cursor", ""), size=size)
    health = watch.health(at=clock.machine())
    newest = trail.checkpoint()
    sealed, shown = proofs.size(), proven.archives()
    return render(request, "audit/checkpoints.html", {
        "form": form, "compared": compared, "altered": watch.altered(),
        "explain": Explained(auto_id="altered_%s"), "table": _table(found, size), "health": health,
        "keys": [{"key": row, "at": clock.local(row.at)} for row in SealKey.objects.order_by("-at")],
        "sealed": sealed, "newest": newest,
        "facts": _facts(newest, health, sealed),
        "archives": [_archived(row, shown=row in shown) for row in Archive.objects.all()],
        "breadcrumbs": [{"label": "监督", "url": ""}, TRAIL | {"url": reverse("trail")},
                        {"label": "检查点与公钥", "url": ""}],
    })  # fmt: skip


def _facts(newest: Checkpoint | None, health: watch.Health, sealed: int) -> list[dict[str, Any]]:
    ran = f"{clock.local(health.ran_at):%Y-%m-%d %H:%M:%S}" if health.ran_at else ""
    state = (
        ("停止", "bad")
        if health.still
        else ("待封存", "wait")
        if health.waiting
        else ("正常", "ok")
    )
    return [
        {"label": "封存状态", "value": state[0], "tone": state[1]},
        {"label": "已封存条数", "value": f"{sealed:,}"},
        {"label": "最近一次封存（机器时间）", "value": ran},
        {"label": "日志名称", "value": newest.origin if newest else "", "code": True},
        {"label": "摘要与签名算法", "value": "SM3（RFC 9162） · SM2"},
        {"label": "签名公钥", "value": newest.key_id if newest else "", "code": True},
    ]


def _archived(row: Archive, *, shown: bool) -> dict[str, Any]:
    """A row of the register of archives; `shown` by a sealed event that says the same."""
    doubt = "" if shown else "没有与之相符的已封存归档记录"
    return {"doubt": doubt, "span": f"第 {row.first} 至 {row.last - 1} 条", "name": row.name, "sm3": row.sm3,
            "before": row.before, "by": row.by, "at": clock.local(row.at)}  # fmt: skip


def _table(found: cursor.CursorPage, size: int) -> Table:
    return Table(
        id="checkpoints", caption="检查点",
        columns=[Column(label="条数", numeric=True), Column(label="签发时间"), Column(label="树根"),
                 Column(label="算法"), Column(label="公钥")],
        rows=[
            Row(key=str(c.pk), label=f"{c.size} 条的检查点", cells=[
                Cell(text=f"{c.size:,}", url=reverse("checkpoint", args=[c.size])),
                Cell(text=f"{clock.local(c.at):%Y-%m-%d %H:%M:%S}"),
                Cell(text=bytes(c.root).hex()[:16] + "…", code=True, title=bytes(c.root).hex()),
                Cell(text=f"{c.alg.upper()} / {c.key.alg.upper()}"), Cell(text=c.key_id, code=True),
            ]) for c in found.rows
        ],
        pages=Pages(size=size, previous=found.previous, next=found.next, sizes=SIZES),
        empty_title="还没有检查点", empty_text="后台任务每 20 秒封存一次操作记录并签发检查点。",
    )  # fmt: skip


def _compared(form: TwoSizes) -> dict[str, Any]:
    """Whether the log of the newer checkpoint begins with the log of the older one; with the proof."""
    old, new = (
        Checkpoint.objects.filter(size=form.cleaned_data[name]).latest("pk")
        for name in ("old", "new")
    )
    try:
        proof = proofs.consistency(old.size, new.size, alg=new.alg)
    except proofs.MissingNodeError:
        return {
            "ok": False,
            "old": old,
            "new": new,
            "text": "日志缺少计算证明所需的节点，请报告审计管理员。",
        }
    grown = merkle.consistent(old.size, new.size, bytes(old.root), bytes(new.root), proof, new.alg)
    valid = [proven.signed(one) for one in (old, new)]
    text = "两个检查点不属于同一份只增不改的日志，或签名无效，请报告审计管理员。"
    if grown and all(valid):
        text = f"较晚的日志以较早的 {old.size:,} 条为开头，其后只有增加，没有改动。"
    elif grown and False not in valid:
        text = f"{proven.UNCHECKED}。"
    return {"ok": grown and all(valid), "old": old, "new": new, "text": text,
            "proof": [part.hex() for part in proof]}  # fmt: skip


@requires("trail.view")
@require_POST
def explain(request: HttpRequest) -> HttpResponseRedirect:
    """What was found out about altered events: it ends their alarm and is an event."""
    form = Explained(request.POST)
    if not form.is_valid():
        messages.error(request, "请写明核查结果。")
    elif watch.looked_into(
        note=form.cleaned_data["note"], by=person_of(request).username, at=clock.now()
    ):
        messages.success(request, "核查结果已写入留痕。")
    return redirect("checkpoints")


@requires("trail.view")
@require_GET
def checkpoint(request: HttpRequest, size: int) -> HttpResponse:
    """The signed text of one checkpoint, to be kept outside."""
    row = Checkpoint.objects.filter(size=size).order_by("-pk").first()
    if row is None:
        raise Http404(size)
    return HttpResponse(row.text, content_type=PLAIN)


@requires("trail.view")
@require_POST
def bundle(request: HttpRequest) -> FileResponse | HttpResponseRedirect:
    """What the trail's query finds, as a bundle that verifies elsewhere. Exporting is an event."""
    user = person_of(request)
    form, kept = TrailQuery(request.POST), OlderCheckpoint(request.POST)
    top = trail.checkpoint()
    if top is None or not form.is_valid():
        raise Http404
    back = f"{reverse('trail')}?{urlencode(form.told())}"
    if not kept.is_valid():
        messages.error(request, f"较早检查点：{kept.errors['older'][0]}")
        return redirect(back)
    rows = form.narrow(Event.objects.visible_to(user))
    if rows[: MOST + 1].count() > MOST:  # those that wait for the sealer, too: nothing is left out
        raise PermissionDenied(f"more than {MOST} entries; use manage.py bundle")
    seqs, at = bundles.seqs_of(rows), clock.now()
    lines = bundles.selection(seqs=seqs, top=top, by=user.username, at=at, older=kept.sizes())
    try:
        written = _written(lines)
    except proofs.MissingNodeError:
        messages.error(request, "留痕日志缺少计算证明所需的哈希，请报告审计管理员。")
        return redirect(back)
    trail.record(
        by=user.username, at=at, action="trail.bundle", subject="trail",
        region_code=user.region_id or "", institution_code=user.institution_id or "",
        person_hash=form.person_hash(),
        detail={"query": form.told(), "entries": len(seqs), "checkpoint": top.size,
                **({"older": kept.sizes()} if kept.sizes() else {})},
    )  # fmt: skip
    return FileResponse(
        written, as_attachment=True, content_type=LINES,
        filename=f"trail-{clock.today():%Y%m%d}-{top.size}.jsonl",
    )  # fmt: skip


def _written(lines: Iterable[str]) -> BinaryIO:
    """The whole bundle in a file without a name: what cannot be proven is known before the answer begins."""
    with ExitStack() as stack:
        sink = stack.enter_context(tempfile.TemporaryFile())
        sink.writelines(line.encode() for line in lines)
        sink.seek(0)
        stack.pop_all()  # whoever sends it closes it
    return sink


# --- For everybody: whoever keeps a checkpoint can tell later whether history was rewritten ---


@public
@disclosed
def newest(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint as text. It says how many acts there were, and nothing about them."""
    row = trail.checkpoint()
    if row is None:
        raise NotDisclosedError("还没有签发检查点。")
    return HttpResponse(row.text, content_type=PLAIN)


@public
@disclosed
def key(request: HttpRequest) -> HttpResponse:
    """The public keys that checkpoints were signed with, newest first (PEM)."""
    rows = SealKey.objects.order_by("-at")
    if not rows:
        raise NotDisclosedError("还没有签名公钥。")
    return HttpResponse(
        "".join(f"# {row} {row.alg}\n{row.pem}" for row in rows), content_type=PLAIN
    )


@public
@disclosed
def verifier(request: HttpRequest) -> HttpResponse:
    """The program that verifies a bundle anywhere."""
    text = Path(bundles.__file__).with_name("verify.py").read_text(encoding="utf-8")
    response = HttpResponse(text, content_type=PLAIN)
    response["Content-Disposition"] = 'attachment; filename="verify.py"'
    return response


# --- For auditors' programs ---


def _json(body: dict[str, Any], status: int = 200) -> JsonResponse:
    response = JsonResponse(body, status=status, json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = "no-store"
    return response


def _told(row: Checkpoint) -> dict[str, Any]:
    return {"size": row.size, "root": bytes(row.root).hex(), "alg": row.alg, "origin": row.origin,
            "key": row.key_id, "at": row.at.isoformat(), "note": row.text}  # fmt: skip


def _size(request: HttpRequest, name: str, otherwise: int | None = None) -> int:
    text = request.GET.get(name, "")
    if not text and otherwise is not None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404(name)
    return int(text)


@requires("trail.view")
@require_GET
def api_checkpoint(request: HttpRequest) -> JsonResponse:
    """GET /api/v1/trail/checkpoint: the newest."""
    row = trail.checkpoint()
    return _json(_told(row)) if row else _json({"code": "NOT_SEALED"}, 404)


@requires("trail.view")
@require_GET
def api_checkpoints(request: HttpRequest) -> JsonResponse:
    """GET /api/v1/trail/checkpoints?after=size: the next hundred, from the oldest on."""
    rows = list(Checkpoint.objects.filter(size__gt=_size(request, "after", 0))[:100])
    following = rows[-1].size if len(rows) == 100 else None
    return _json({"checkpoints": [_told(row) for row in rows], "next": following})


@requires("trail.view")
@require_GET
def api_inclusion(request: HttpRequest) -> JsonResponse:
    """GET /api/v1/trail/proofs/inclusion?event=uuid[&size=n]: the way from a leaf to a signed root."""
    try:
        wanted = uuid.UUID(request.GET.get("event", ""))
    except ValueError:
        raise Http404("event") from None
    event = get_object_or_404(Event.objects.visible_to(person_of(request)), pk=wanted)
    leaf = Leaf.objects.filter(event=event.pk).first()
    row = _signed(request, "size")
    if leaf is None or row is None or leaf.seq >= row.size:
        return _json({"code": "NOT_SEALED"}, 404)
    try:
        way = proofs.inclusion(leaf.seq, row.size, alg=row.alg)
    except proofs.MissingNodeError:
        return _json({"code": "LOG_BROKEN"}, 409)
    return _json({
        "event": str(event.pk), "index": leaf.seq, "alg": event.alg, "leaf": bytes(leaf.hash).hex(),
        "body": trail.said_of(event),
        "proof": [part.hex() for part in way], "checkpoint": _told(row),
    })  # fmt: skip


@requires("trail.view")
@require_GET
def api_consistency(request: HttpRequest) -> JsonResponse:
    """GET /api/v1/trail/proofs/consistency?old=n[&new=m]: that the older log begins the newer one."""
    old, new = _signed(request, "old"), _signed(request, "new")
    if old is None or new is None or old.size > new.size or "old" not in request.GET:
        return _json({"code": "NO_SUCH_CHECKPOINT"}, 404)
    try:
        way = proofs.consistency(old.size, new.size, alg=new.alg)
    except proofs.MissingNodeError:
        return _json({"code": "LOG_BROKEN"}, 409)
    return _json({"old": _told(old), "new": _told(new), "proof": [part.hex() for part in way]})


def _signed(request: HttpRequest, name: str) -> Checkpoint | None:
    """The checkpoint of the size asked for, without one the newest."""
    size = _size(request, name, 0)
    return (
        Checkpoint.objects.filter(size=size).order_by("-pk").first() if size else trail.checkpoint()
    )
