"""The trail: search, one event with its recomputed hash and its proof, export of what was found."""

import json
import uuid
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET, require_POST

from audit import clock, cursor, proven, trail, watch, words
from audit.access import Person, person_of, requires
from audit.forms import OlderCheckpoint, PersonLookUp, TrailQuery
from audit.models import Event
from audit.sheets import csv_lines
from audit.tables import Action, Cell, Column, Pages, Row, Table

SIZES = (20, 50, 100)
CSV_HEADS = ("时间", "操作人", "动作", "对象", "结果", "区域", "机构", "算法", "叶哈希", "事件编号")
OUTCOMES = {"ok": ("成功", "ok"), "refused": ("被拒绝", "warn"), "failed": ("失败", "bad")}
NOT_BOUND = "此记录早于参保人哈希写入正文，该字段未绑定，不能核对"
#: Where a subject is shown, and who may look: by the word before its colon.
PLACES = {
    "claim": ("claim", "claims.view"),
    "batch": ("batch", "batches.view"),
    "release": ("release", "releases.view"),
    "institution": ("institution", "institutions.view"),
}


@requires("trail.view")
@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """Events inside the reader's scope, newest first, one line each, by cursor."""
    user = person_of(request)
    form = TrailQuery(request.GET, auto_id="trail_%s")
    rows = Event.objects.visible_to(user).defer("body")
    rows = form.narrow(rows) if form.is_valid() else rows.none()
    asked = request.GET.get("size", "")
    size = int(asked) if asked in map(str, SIZES) else SIZES[0]
    found = cursor.page(rows, cursor=request.GET.get("cursor", ""), size=size)
    if form.is_valid() and form.person_hash():
        _asked_for_person(user, form)
    query = request.GET.copy()
    query.pop("cursor", None)
    table = Table(
        id="events",
        caption="操作记录",
        columns=[
            Column(label="时间"),
            Column(label="操作人"),
            Column(label="动作"),
            Column(label="对象", wide=True),
            Column(label="结果"),
            Column(label="区域 / 机构"),
            Column(label="叶哈希"),
        ],
        rows=_rows(found.rows),
        pages=Pages(size=size, previous=found.previous, next=found.next, sizes=SIZES),
        toolbar=[
            Action(
                label=label,
                icon="arrow-down-tray",
                url=f"{reverse('trail-export', args=[kind])}?{query.urlencode()}",
            )
            for kind, label in (("csv", "CSV"), ("jsonl", "JSON Lines"))
        ],
        empty_title="没有符合条件的记录" if form.is_valid() else "查询条件有误",
        empty_text="请放宽查询条件后再试；只显示您数据范围内的操作。",
    )
    return render(
        request,
        "audit/trail.html",
        {
            "form": form,
            "table": table,
            "person_form": PersonLookUp(auto_id="person_%s"),
            "older_form": OlderCheckpoint(auto_id="bundle_%s"),
            "of_person": form.is_valid() and form.cleaned_data["person"],
            "asked": _given(form),
            "alarm": watch.alarm(at=clock.machine()),
            "altered": watch.altered(),
            "breadcrumbs": [{"label": "监督", "url": ""}, {"label": "全程留痕", "url": ""}],
        },
    )


def _given(form: TrailQuery) -> list[tuple[str, str]]:
    """The query as fields of another form."""
    return sorted(form.told().items()) if form.is_valid() else []


def _asked_for_person(user: Person, form: TrailQuery) -> None:
    """A look at what was done with one person's data is an event about that person."""
    trail.record(
        by=user.username, at=clock.now(), action="trail.person", subject="trail",
        region_code=user.region_id or "", institution_code=user.institution_id or "",
        person_hash=form.person_hash(),
        detail={"query": {k: v for k, v in form.told().items() if k != "person"}},
    )  # fmt: skip


@requires("trail.view")
@require_POST
def find_person(request: HttpRequest) -> HttpResponse:
    """The number comes in the body; only its keyed hash goes on, in the address of the list."""
    form = PersonLookUp(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["credential"][0]))
        return redirect("trail")
    return redirect(f"{reverse('trail')}?person={form.cleaned_data['credential']}")


def _called(events: Iterable[Event]) -> tuple[dict[str, str], dict[str, str]]:
    """What the people and the places of events are called."""
    rows = list(events)
    places = {code for row in rows for code in (row.region_code, row.institution_code) if code}
    return import_string(settings.TRAIL_NAMES)({row.actor for row in rows}, places)


def _named(known: dict[str, str], code: str) -> Cell:
    """A name with its code below it; a code without a name stands alone."""
    name = known.get(code, code)
    return Cell(text=name, sub=code if name != code else "")


def _rows(events: list[Event]) -> list[Row]:
    people, places = _called(events)
    return [_row(event, people, places) for event in events]


def _row(event: Event, people: dict[str, str], places: dict[str, str]) -> Row:
    place = event.institution_code or event.region_code
    return Row(
        key=str(event.pk),
        label=f"{words.act(event.action)} {words.subject(event.subject)}",
        tone="" if event.outcome == "ok" else "warn",
        cells=[
            Cell(
                text=f"{clock.local(event.at):%Y-%m-%d %H:%M:%S}",
                url=reverse("trail-event", args=[event.pk]),
            ),
            _named(people, event.actor),
            Cell(text=words.act(event.action), sub=event.action),
            Cell(text=words.subject(event.subject), sub=event.subject),
            _outcome(event.outcome),
            _named(places, place),
            Cell(text=bytes(event.leaf).hex()[:12] + "…", code=True, title=bytes(event.leaf).hex()),
        ],
    )


def _outcome(outcome: str) -> Cell:
    word, tone = OUTCOMES.get(outcome, (outcome, "warn"))
    return Cell(text=word, tone=tone)


@requires("trail.view")
@require_GET
def event(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One event: its canonical body, and whether body, columns and leaf hash still agree."""
    user = person_of(request)
    found = get_object_or_404(Event.objects.visible_to(user), pk=pk)
    body = bytes(found.body)
    place = proven.proof_of(found)
    archive = place.archive
    same = place.recomputed == bytes(found.leaf) or archive is not None
    people, places = _called([found])
    facts = [
        {"label": "时间", "value": f"{clock.local(found.at):%Y-%m-%d %H:%M:%S.%f}"},
        _fact("操作人", people, found.actor),
        {"label": "动作", "value": words.act(found.action), "sub": found.action},
        {
            "label": "对象",
            "value": words.subject(found.subject),
            "sub": found.subject,
            "url": _place(found.subject, user),
        },
        {
            "label": "结果",
            "value": _outcome(found.outcome).text,
            "tone": _outcome(found.outcome).tone,
        },
        _fact("区域", places, found.region_code),
        _fact("机构", places, found.institution_code),
        {"label": "事件编号", "value": str(found.pk), "code": True},
    ]
    proof = [
        {"label": f"记录的叶哈希（{found.alg.upper()}）", "value": bytes(found.leaf).hex(), "code": True},
        {"label": "由正文重算的叶哈希", "code": True,
         "value": place.recomputed.hex() if archive is None else f"正文已移入归档 {archive.name}"},
        {"label": "哈希核对", "value": "一致" if same else "不一致", "tone": "ok" if same else "bad"},
        {"label": "字段与正文核对", "tone": "bad" if place.differing else "ok",
         "value": f"不一致：{'、'.join(place.differing)}" if place.differing else "一致",
         "sub": "" if place.bound or archive else NOT_BOUND},
    ]  # fmt: skip
    checked = "check" in request.GET
    signed = proven.signed(place.checkpoint) if checked and place.checkpoint else False
    return render(
        request,
        "audit/event.html",
        {
            "event": found,
            "title": words.act(found.action),
            "about": words.subject(found.subject),
            "facts": facts,
            "proof": proof,
            "whole": place.holds,
            "faults": "；".join(place.faults),
            "archive": archive,
            "archived_text": f"正文在此归档文件中，SM3 {archive.sm3}" if archive else "",
            "place": _place_facts(place, proven.SIGNATURE[signed] if checked else None),
            "way": [part.hex() for part in place.way],
            "checked": checked,
            "signed": signed,
            "unchecked": proven.UNCHECKED if signed is None else "",
            "sealed": place.sealed,
            "lines": [trail.one_line(line, 2000) for line in _pretty(body).split("\n")]
            if body
            else [],
            "canonical": trail.one_line(body.decode(errors="backslashreplace"), 100_000),
            "size": len(body),
            "breadcrumbs": [
                {"label": "监督", "url": ""},
                {"label": "全程留痕", "url": reverse("trail")},
                {"label": "操作记录", "url": ""},
            ],
        },
    )


def _fact(label: str, known: dict[str, str], code: str) -> dict[str, str]:
    name = _named(known, code)
    return {"label": label, "value": name.text, "sub": name.sub}


def _place_facts(place: proven.Proof, signed: tuple[str, str] | None) -> list[dict]:
    """Where the event stands in the sealed log; `signed`: what checking the signature came to."""
    top = place.checkpoint
    if top is None:
        return []
    word, tone = signed or ("点“校验”验证", "")
    holds = not place.broken
    return [
        {"label": "序号", "value": f"{place.seq:,}"},
        {"label": "检查点", "value": f"{top.size:,} 条", "url": reverse("checkpoint", args=[top.size]),
         "sub": f"{clock.local(top.at):%Y-%m-%d %H:%M:%S}"},
        {"label": "包含证明", "value": "成立" if holds else "不成立", "tone": "ok" if holds else "bad",
         "sub": f"{len(place.way)} 个哈希"},
        {"label": "检查点签名", "value": word, "tone": tone},
        {"label": "树根", "value": bytes(top.root).hex(), "code": True, "wide": True},
    ]  # fmt: skip


def _place(subject: str, user: Person) -> str:
    """The page of a subject, for those who may open it."""
    kind, _, key = subject.partition(":")
    name, permission = PLACES.get(kind, ("", ""))
    if not name or not user.may(permission):
        return ""
    try:
        return reverse(name, args=[key])
    except NoReverseMatch:
        return ""


def _pretty(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2, sort_keys=True)
    except ValueError:
        return body.decode(errors="backslashreplace")


@requires("trail.view")
@require_GET
def export(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """Everything that the query finds, as CSV with a byte order mark or JSON Lines of the bodies.

    Exporting is an act: it is recorded before the first row leaves.
    """
    form = TrailQuery(request.GET)
    if kind not in WRITERS or not form.is_valid():
        raise Http404(kind)
    user = person_of(request)
    rows = form.narrow(Event.objects.visible_to(user)).order_by("-at", "-pk")
    scope = user.scope_codes()
    trail.record(
        by=user.username,
        at=clock.now(),
        action="trail.export",
        subject="trail",
        region_code=user.region_id or "",
        institution_code=user.institution_id or "",
        person_hash=form.person_hash(),
        detail={"format": kind, "query": form.told(), "scope": scope.setting()},
    )
    writer, content_type = WRITERS[kind]
    response = StreamingHttpResponse(
        writer(rows.iterator(chunk_size=2000)), content_type=content_type
    )
    name = f"trail-{clock.today():%Y%m%d}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _csv(rows: Iterable[Event]) -> Iterator[str]:
    return csv_lines(CSV_HEADS, map(_cells, rows))


def _cells(row: Event) -> list[str]:
    return [
        clock.local(row.at).isoformat(), row.actor, row.action, row.subject, row.outcome,
        row.region_code, row.institution_code, row.alg, bytes(row.leaf).hex(), str(row.pk),
    ]  # fmt: skip


def _json_lines(rows: Iterable[Event]) -> Iterator[str]:
    for row in rows:
        body = bytes(row.body).decode(errors="backslashreplace")
        yield (
            json.dumps(
                {"alg": row.alg, "leaf": bytes(row.leaf).hex(), "body": body}, ensure_ascii=True
            )
            + "\n"
        )


WRITERS = {
    "csv": (_csv, "text/csv; charset=utf-8"),
    "jsonl": (_json_lines, "application/x-ndjson"),
}
