"""Internal control of our own people's acts: the queue, one flag with its events, its acknowledgement."""

from django import forms
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock, words
from audit.access import requires
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.naming import Login, named
from supervision import conduct, inspection_forms
from supervision.models import ConductFlag
from supervision.views import parts
from supervision.views.cases import CRUMBS, SIZE

TONES = {"open": "warn", "explained": "ok", "referred": "bad"}


@requires("conduct.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Flags of the area, those that wait first."""
    form = inspection_forms.ConductQuery(request.GET)
    rows = ConductFlag.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = ConductFlag.objects.visible_to(request.user)
        rows = rows.filter(**{key: given[key] for key in ("kind", "state") if given[key]})
        if text := given["q"].strip():
            rows = rows.filter(actor__icontains=text)
    page = Paginator(rows.order_by("decided_at", "-pk"), SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/list.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "内控监察", "url": ""}], "form": form,
        "title": "内控监察", "target": "conduct",
        "subtitle": "从全程留痕中找出本部门人员需要说明的行为；由当事人以外的人核查。",
        "table": Table(
            id="conduct", caption="内控监察",
            columns=[Column(label="类别"), Column(label="人员"), Column(label="日期"),
                     Column(label="情况", wide=True), Column(label="状态")],
            rows=[_row(row) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有需要核查的行为",
            empty_text="每日检查一人两岗、大量查看个人信息和非工作时间办理重要事项。",
        ),
    }))  # fmt: skip


def _row(row: ConductFlag) -> Row:
    address = reverse("conduct-flag", args=[row.pk])
    return Row(
        key=str(row.pk), label=f"{row.get_kind_display()} {row.actor}",
        cells=[
            Cell(text=row.get_kind_display(), url=address),
            Cell(text=Login(row.actor), sub=Login(row.other)), Cell(text=str(row.day)),
            Cell(text=row.message, sub="示例参数" if row.example else ""),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


ACTS = {
    "acknowledge": parts.Act(
        "acknowledge", "登记核查意见", conduct.VIEW,
        lambda row, user: row.state == "open" and user.username not in (row.actor, row.other),
        inspection_forms.ConductForm,
        lambda row, form, who: conduct.acknowledge(
            flag=row, state=form.cleaned_data["state"], note=form.cleaned_data["note"], who=who,
            at=clock.now()),
    ),
}  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> ConductFlag:
    rows = ConductFlag.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("conduct.view")
@require_GET
def flag(request: PortalRequest, pk: int) -> HttpResponse:
    """One flag with the events that it rests on."""
    return _page(request, _visible(request, pk))


def _page(
    request: PortalRequest, row: ConductFlag, *, typed: forms.Form | None = None, key: str = "",
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    facts = [
        {"label": "人员", "value": Login(row.actor), "sub": Login(row.other)},
        {"label": "日期", "value": str(row.day)},
        {"label": "次数", "value": str(row.count)},
        {"label": "情况", "value": row.message, "wide": True},
        {"label": "依据", "value": f"第{conduct.CLAUSE}条",
         "sub": "示例参数" if row.example else ""},
        {"label": "核查", "value": Login(row.decided_by) or "—", "sub": row.note},
    ]  # fmt: skip
    return render(request, "supervision/inspection.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "内控监察", "url": reverse("conduct")},
                        {"label": row.get_kind_display(), "url": ""}],
        "facts_title": "情况", "title": row.get_kind_display(), "number": str(row.pk), "kind": "内控监察",
        "back": reverse("conduct"), "facts": facts,
        "badge": {"word": row.get_state_display(), "tone": TONES[row.state]},
        "acts": parts.entries(ACTS, row, request.user, typed, key),
        "act_name": "conduct-act", "pk": row.pk, "events": _events(request, row),
    }), status=status)  # fmt: skip


def _events(request: PortalRequest, row: ConductFlag) -> Table:
    found = Event.objects.visible_to(request.user).filter(pk__in=row.evidence).order_by("at")
    linked = request.user.may("trail.view")
    return Table(
        id="events", caption="涉及的留痕", show_caption=False, actions=False,
        columns=[Column(label="时间"), Column(label="人员"), Column(label="行为"),
                 Column(label="对象", wide=True), Column(label="网络地址")],
        rows=[Row(key=str(event.pk), label=event.action, cells=[
            Cell(text=f"{clock.local(event.at):%Y-%m-%d %H:%M:%S}",
                 url=reverse("trail-event", args=[event.pk]) if linked else ""),
            Cell(text=Login(event.actor)), Cell(text=words.act(event.action)),
            Cell(text=words.subject(event.subject)),
            Cell(text=conduct.origin_of(event) or "—", code=True),
        ]) for event in found],
    )  # fmt: skip


@requires("conduct.view")
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Say what it was."""
    return parts.done(request, ACTS, key, _visible(request, pk), "conduct-flag", _page)
