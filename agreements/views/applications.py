"""Applications of both sides: the list, and a new one."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from agreements import commands, lifecycle
from agreements.forms import ApplicationQuery, NewApplication
from agreements.handbook import procedure_of
from agreements.models import Application, ApplicationQuerySet
from agreements.views.dossier import APPLY, tone_of
from agreements.views.institutions import pages_of
from agreements.views.refusing import refuse, words_of
from agreements.views.remaining import Clocks, soon
from audit import clock
from audit.access import requires
from audit.procedure import PROCEDURES, Procedure, Refused
from audit.tables import Action, Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.inbox import assignees, role_label
from institutions.models import Institution, Region, User

CRUMBS = [{"label": "协议与接入", "url": ""}]
ORDERS = {
    "number": "number", "-number": "-number", "due": "due", "-due": "-due",
    "entered": "entered_on", "-entered": "-entered_on", "name": "institution__name",
    "-name": "-institution__name",
}  # fmt: skip


# --- The list ---


@requires("applications.view")
@require_GET
def applications(request: PortalRequest) -> HttpResponse:
    """Applications inside the reader's scope: state, days left, who holds them."""
    visible = Application.objects.visible_to(request.user)
    regions = _regions(request)
    tables = _tables({region.policy_region for region in regions})
    form = ApplicationQuery(request.GET, regions=regions, procedures=tables,
                            auto_id="application_%s")  # fmt: skip
    rows = _narrow(request, visible, form) if form.is_valid() else visible.none()
    sort = request.GET.get("sort", "")
    rows = rows.order_by(ORDERS.get(sort, "-pk"), "-pk").select_related("institution__region")
    pages = pages_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + pages.size])
    own = request.user.institution is not None
    clocks = Clocks(shown, today=clock.today())
    assigned = assignees([row.subject for row in shown])
    hidden = {"医疗机构"} if own else set()
    hidden |= {"办理事项"} if len(tables) == 1 else set()
    return render(request, "agreements/applications.html", {
        "breadcrumbs": [*CRUMBS, {"label": "申请办理", "url": ""}],
        "form": _without(form, ["region", "procedure"] if own else []),
        "opening": _opening(request) if own and request.user.may(APPLY) else None,
        "table": Table(
            id="applications", caption="申请", sort=sort, pages=pages,
            columns=[column for column in COLUMNS if column.label not in hidden],
            rows=[_row(row, request.user, clocks, assigned, hidden) for row in shown],
            empty_title="没有符合条件的申请",
            empty_text="您还没有提出申请。" if own and not request.GET
            else "请放宽查询条件后再试；只显示您数据范围内的申请。",
        ),
    })  # fmt: skip


COLUMNS = (
    Column(label="受理编号", sort="number"), Column(label="医疗机构", sort="name", wide=True),
    Column(label="办理事项", wide=True), Column(label="状态"), Column(label="期限", sort="due"),
    Column(label="由谁办理"), Column(label="进入本状态", sort="entered"),
)  # fmt: skip


def _regions(request: PortalRequest) -> list[Region]:
    """The areas inside the reader's scope (of a hospital: its own)."""
    user = request.user
    if user.institution:
        return [user.institution.region]
    inside = Q()
    for prefix in user.scope_codes().regions:
        inside |= Q(code__within=prefix)
    return list(Region.objects.filter(inside).order_by("code")) if inside else []


def _tables(regions: set[str]) -> list[Procedure]:
    """The application procedures of some regions; all of them when the scope has no policy."""
    every = [table for table in PROCEDURES.values() if table.subject == "application"]
    return [table for table in every if table.region in regions] or every


def _narrow(
    request: PortalRequest, rows: ApplicationQuerySet, form: ApplicationQuery
) -> ApplicationQuerySet:
    given = form.cleaned_data
    if words := given["q"].strip():
        hospitals = Institution.objects.search(words)
        rows = rows.filter(Q(number__icontains=words) | Q(institution__in=hospitals))
    if given["region"]:
        rows = rows.filter(institution__region_id=given["region"])
    if given["procedure"]:
        rows = rows.filter(procedure=given["procedure"])
    if given["state"]:
        procedure, _, state = given["state"].partition(".")
        rows = rows.filter(procedure=procedure, state=state)
    if given["phase"]:
        rows = rows.filter(_states(lambda state: state.phase == given["phase"]))
    rows = _held(request, rows, given["holding"])
    return _due(rows, given["due"], request.user)


def _states(wanted: Callable[[Any], bool]) -> Q:
    """Cases in those states of any procedure that fulfil a condition."""
    found = Q(pk__in=[])
    for table in PROCEDURES.values():
        keys = [state.key for state in table.states.values() if wanted(state)]
        found |= Q(procedure=table.slug, state__in=keys)
    return found


def _held(request: PortalRequest, rows: ApplicationQuerySet, holding: str) -> ApplicationQuerySet:
    if holding == "done":
        return rows.filter(closed_at__isnull=False)
    if holding:
        mine = _states(lambda state: bool(state.holder) and request.user.may(state.holder))
        rows = rows.running()
        return rows.filter(mine) if holding == "mine" else rows.exclude(mine)
    return rows


def _due(rows: ApplicationQuerySet, due: str, user: User) -> ApplicationQuerySet:
    today = clock.today()
    if not due:
        return rows
    rows = rows.running()
    if due == "stopped":
        return rows.filter(stopped=True)
    if due == "unknown":
        return rows.filter(due_unknown__isnull=False)
    if due == "late":
        return rows.filter(due__lt=today, stopped=False)
    area = user.institution.region_id if user.institution else user.region_id
    return rows.filter(due__range=(today, soon(area or "", today)), stopped=False)


def _row(
    row: Application, user: User, clocks: Clocks, assigned: dict[str, str], hidden: set[str]
) -> Row:
    table = PROCEDURES[row.procedure]
    state = table.states[row.state]
    left = clocks.left(row)
    address = reverse("application", args=[row.pk])
    due = Cell(text="—")
    if left:
        due = Cell(
            text=left.words,
            tone=left.tone,
            sub=row.due.isoformat() if row.due and left.days is not None else "",
        )
    who = assigned.get(row.subject) or (role_label(state.holder) if state.holder else "")
    cells = (
        Cell(text=row.number, url=address, code=True),
        Cell(text=row.institution.name, sub=row.institution.region.name),
        Cell(text=table.title, sub=table.document),
        Cell(text=state.label, tone=tone_of(state), sub=state.phase), due,
        Cell(text=who or "已办结", sub=state.todo), Cell(text=row.entered_on.isoformat()),
    )  # fmt: skip
    return Row(
        key=str(row.pk), label=row.number,
        tone=left.tone if left and left.tone in ("warn", "bad") else "",
        cells=[cell for column, cell in zip(COLUMNS, cells, strict=True)
               if column.label not in hidden],
        actions=[Action(label="办理" if state.holder and user.may(state.holder) else "查看", url=address)],
    )  # fmt: skip


def _without(form: ApplicationQuery, names: list[str]) -> ApplicationQuery:
    for name in names:
        form.fields.pop(name)
    return form


# --- A new application ---


def _opening(request: PortalRequest) -> dict[str, Any]:
    """Whether the reader's hospital can apply now, and if not, why."""
    hospital = request.user.institution
    if hospital is None:
        raise Http404
    try:
        commands.may_apply(institution=hospital, who=request.user, at=clock.now())
    except Refused as refused:
        if refused.field not in NewApplication.base_fields:  # what the form asks is no obstacle
            return {"why": words_of(refused), "url": ""}
    return {"why": "", "url": reverse("application-new")}


@requires(APPLY)
@require_http_methods(["GET", "POST"])
def application_new(request: PortalRequest) -> HttpResponse:
    """Begin an application of the reader's own hospital; statements of the one before come along."""
    hospital = request.user.institution
    if hospital is None:
        raise Http404
    procedure, previous = procedure_of(hospital), _previous(request)
    together = lifecycle.main_of(hospital, on=clock.today()) is None
    form = NewApplication(
        request.POST or None, together=together, waves="wave" in procedure.data.get("clocks", {}),
        initial={"includes_main": together, "intention": previous.intention if previous else ""},
    )  # fmt: skip
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            made = _apply(request, hospital, procedure, previous, form.cleaned_data)
        except Refused as refused:
            status = refuse(form, refused)
        else:
            messages.success(request, f"申请 {made.number} 已建立，请逐项填写条件与材料后提交。")
            return redirect("application", pk=made.pk)
    return render(request, "agreements/application_new.html", {
        "breadcrumbs": [*CRUMBS, {"label": "申请办理", "url": reverse("applications")},
                        {"label": "新建申请", "url": ""}],
        "form": form, "opening": _opening(request), "procedure": procedure, "previous": previous,
        "institution": hospital,
    }, status=status)  # fmt: skip


def _previous(request: PortalRequest) -> Application | None:
    """The application that a new one answers, of the same hospital."""
    asked = request.POST.get("previous") or request.GET.get("previous") or ""
    if not (asked.isascii() and asked.isdigit() and len(asked) < 18):
        return None
    rows = Application.objects.visible_to(request.user).exclude(closed_at=None)
    return rows.filter(pk=int(asked)).first()


@transaction.atomic
def _apply(
    request: PortalRequest, hospital: Institution, procedure: Procedure,
    previous: Application | None, given: dict[str, Any],
) -> Application:  # fmt: skip
    """The new application, with what the one before stated to the same conditions."""
    who, by, at = request.user, request.user.username, clock.now()
    made = commands.apply(
        institution=hospital, procedure=procedure.slug, previous=previous, who=who, by=by, at=at,
        **given,
    )  # fmt: skip
    before = {
        (row.part, row.text): row
        for row in (previous.requirements.prefetch_related("documents") if previous else ())
    }
    for row in made.requirements.filter(statement=""):
        earlier = before.get((row.part, row.text))
        if earlier and earlier.statement:
            commands.state_requirement(
                application=made, part=row.part, no=row.no, statement=earlier.statement,
                documents=list(earlier.documents.all()), who=who, by=by, at=at,
            )  # fmt: skip
    return made
