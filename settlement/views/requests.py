"""参保人申请 at the agency: the list, one request with its materials, what a clerk does with it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from agreements.views.refusing import refuse
from audit import clock, trail
from audit.access import requires
from audit.procedure import Refused
from audit.tables import Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import PERSONAL
from institutions.naming import named
from institutions.refusals import Refusal
from settlement import filings, person_requests
from settlement.models import PersonRequest
from settlement.request_forms import AskForm, DeclineForm, RequestQuery, WhyForm
from settlement.views.filings import shown_file

SIZE = 20
CRUMBS = [{"label": "结算", "url": ""}]
Kind, State = PersonRequest.Kind, PersonRequest.State
TONES = {"received": "wait", "asked": "warn", "taken": "ok", "declined": "bad", "withdrawn": "mute"}
#: What a clerk does with words of their own: command, form, title, what was done.
ACTS: dict[str, tuple[Callable[..., Any], type[forms.Form], str, str]] = {
    "ask": (
        person_requests.ask,
        AskForm,
        "告知补充材料",
        "已告知，参保人凭申请号和查询码补充材料。",
    ),
    "decline": (person_requests.decline, DeclineForm, "不予受理", "已记录不予受理。"),
}


@requires("requests.handle")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """What persons of the area handed in, what waits first."""
    form = RequestQuery(request.GET)
    rows = PersonRequest.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = PersonRequest.objects.visible_to(request.user).select_related("slot__office")
        rows = rows.filter(**{key: given[key] for key in ("kind", "state") if given[key]})
        if text := given["q"].strip():
            rows = rows.filter(number__icontains=text)
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return render(request, "settlement/requests.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "参保人申请", "url": ""}], "form": form,
        "table": Table(
            id="requests", caption="参保人申请",
            columns=[Column(label="申请号"), Column(label="申请人（自报）"), Column(label="事项", wide=True),
                     Column(label="收到"), Column(label="状态")],
            rows=[_row(row) for row in page],
            pages=Pages(total=page.paginator.count, size=SIZE, page=page.number, sizes=(SIZE,)),
            empty_title="没有参保人申请", empty_text="参保人在公开页面提交的认定申请和报销预约，在此核对。",
        ),
    }))  # fmt: skip


def _row(row: PersonRequest) -> Row:
    address = reverse("person-request", args=[row.pk])
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True),
            Cell(text=row.name_masked, sub=row.id_masked),
            Cell(text=row.get_kind_display(), sub=_what(row)),
            Cell(text=f"{clock.local(row.received_at):%Y-%m-%d %H:%M}"),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
    )  # fmt: skip


def _what(row: PersonRequest) -> str:
    return f"{row.slot.office.name} {row.slot}" if row.slot else row.name


def _visible(request: PortalRequest, pk: int) -> PersonRequest:
    rows = PersonRequest.objects.visible_to(request.user)
    rows = rows.select_related("slot__office", "filing", "reimbursement")
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("requests.handle")
@never_cache
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """A request with its materials; reading it is an event about the person."""
    found = _visible(request, pk)
    trail.record(
        by=request.user.username, at=clock.now(), action="personrequest.read", subject=found.subject,
        region_code=found.region_code, person_hash=bytes(found.id_hash),
    )  # fmt: skip
    return _page(request, found)


def _page(
    request: PortalRequest, found: PersonRequest, *, typed: dict[str, forms.Form] | None = None,
    seen: person_requests.Somebody | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    typed = typed or {}
    law = filings.Law.of(found.region_code, clock.local(found.received_at).date())
    acts = []
    if found.state in PersonRequest.OPEN:
        acts = [
            {"title": title, "form": typed.get(key) or form(auto_id=f"{key}-%s"), "open": key in typed,
             "url": reverse("person-request-act", args=[found.pk, key]),
             "tone": "danger" if key == "decline" else ""}
            for key, (_, form, title, _) in ACTS.items()
            if key == "decline" or (found.kind == Kind.DISEASE and found.state == State.RECEIVED)
        ]  # fmt: skip
    start = {"slot": found.slot_id} if found.slot_id else {}
    return render(request, "settlement/request.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "参保人申请", "url": reverse("person-requests")},
                        {"label": found.number, "url": ""}],
        "request_row": found, "tone": TONES[found.state], "facts": _facts(found, seen),
        "files": [{"name": row.name, "at": clock.local(row.uploaded_at), "sm3": row.digest,
                   "url": reverse("person-request-file", args=[found.pk, row.pk]),
                   "material": law.materials.get(row.kind.removeprefix(PERSONAL), row.name)}
                  for row in person_requests.materials(found)],
        "takes_files": found.kind == Kind.DISEASE,
        "can_take": found.kind == Kind.DISEASE and found.state in PersonRequest.OPEN,
        "register": f"{reverse('reimbursement-new')}?{urlencode(start)}"
        if found.kind == Kind.BOOKING and found.state == State.RECEIVED else "",
        "acts": acts, "why": typed.get("reveal") or WhyForm(auto_id="reveal-%s"),
    }), status=status)  # fmt: skip


def _facts(found: PersonRequest, seen: person_requests.Somebody | None) -> list[dict[str, Any]]:
    filing, paid = found.filing, found.reimbursement
    facts: list[dict[str, Any]] = [
        {"label": "申请号", "value": found.number, "code": True},
        {"label": "事项", "value": found.get_kind_display(), "sub": _what(found)},
        {"label": "申请人（自报，未核实）", "value": seen.name if seen else found.name_masked},
        {"label": "证件号码", "value": seen.id_number if seen else found.id_masked, "code": True},
        {"label": "联系电话", "value": seen.phone if seen else f"***{found.phone_tail}"},
        {"label": "就诊医疗机构", "value": found.hospital},
        {"label": "收到", "value": f"{clock.local(found.received_at):%Y-%m-%d %H:%M}"},
        {"label": "认定申请", "value": filing.number if filing else "",
         "url": filings.place(filing) if filing else ""},
        {"label": "手工报销", "value": paid.number if paid else "",
         "url": reverse("reimbursement", args=[paid.pk]) if paid else ""},
        {"label": "申请说明", "value": found.reason, "wide": True},
        {"label": "告知内容", "value": found.answer, "wide": True},
    ]  # fmt: skip
    return [fact for fact in facts if fact["value"]]


@requires("requests.handle")
@require_POST
def take(request: PortalRequest, pk: int) -> HttpResponse:
    """Compare with the register; where both agree the application goes to review."""
    found = _visible(request, pk)
    try:
        with transaction.atomic():
            made = person_requests.take(
                request=found, by=request.user.username, at=clock.now()
            )  # fmt: skip
    except (Refusal, Refused) as error:
        messages.error(request, f"{words_of(error)}。")
    else:
        messages.success(request, f"身份相符，已转入认定 {made.number}，等待审核。")
    return redirect("person-request", pk=pk)


@requires("requests.handle")
@never_cache
@require_POST
def reveal(request: PortalRequest, pk: int) -> HttpResponse:
    """Who handed it in, in plain, for a reason."""
    found = _visible(request, pk)
    form = WhyForm(request.POST, auto_id="reveal-%s")
    if not form.is_valid():
        return _page(request, found, typed={"reveal": form}, status=422)
    who = person_requests.reveal(
        request=found, reason=form.cleaned_data["answer"], by=request.user.username, at=clock.now()
    )
    return _page(request, found, seen=who)


@requires("requests.handle")
@never_cache
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Ask for materials, or decline."""
    found = _visible(request, pk)
    by, at = request.user.username, clock.now()
    if key not in ACTS:
        raise Http404(key)
    command, shape, _, done = ACTS[key]
    form = shape(request.POST, auto_id=f"{key}-%s")
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                command(request=found, answer=form.cleaned_data["answer"], by=by, at=at)
        except Refusal as error:
            status = refuse(form, error)
        else:
            messages.success(request, done)
            return redirect("person-request", pk=pk)
    return _page(request, _visible(request, pk), typed={key: form}, status=status)


@requires("requests.handle")
@require_GET
def file(request: PortalRequest, pk: int, document: int) -> HttpResponse:
    """A paper about somebody's health: every look is an event."""
    found = _visible(request, pk)
    row = get_object_or_404(person_requests.materials(found), pk=min(document, 2**63 - 1))
    return shown_file(request, row, found.subject, found.region_code, "", bytes(found.id_hash))
