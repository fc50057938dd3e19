"""Inspections: the plans, a plan with its draw and its tasks."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.models import Institution, Region, User
from institutions.naming import Login, listed, named
from institutions.refusals import Refusal, refused
from supervision import inspection_forms, inspection_papers, inspections
from supervision.models import InspectionPlan, InspectionTask
from supervision.views import parts
from supervision.views.cases import CRUMBS, SIZE

TONES = {"draft": "wait", "approved": "info", "drawn": "warn", "closed": "ok", "refused": "mute"}
RESULTS = {"clean": "ok", "advice": "warn", "case": "bad", "": "wait"}
Plan = InspectionPlan.State


@requires("inspections.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Plans inside the reader's scope; an institution sees the inspections that were made of it."""
    if request.user.institution_id:
        return _own(request)
    form = inspection_forms.PlanQuery(request.GET)
    rows = InspectionPlan.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = InspectionPlan.objects.visible_to(request.user)
        rows = rows.filter(**{key: given[key] for key in ("side", "state") if given[key]})
        if text := given["q"].strip():
            rows = rows.filter(Q(number__icontains=text) | Q(title__icontains=text))
    rows = rows.annotate(made=Count("tasks"), over=Count("tasks", filter=Q(tasks__state="done")))
    rows = rows.order_by("-pk")
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    may = request.user.may(inspections.PLAN)
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "稽核检查", "url": ""}], "form": form,
        "title": "稽核检查", "target": "plans",
        "subtitle": "经办稽核巡查与行政执法检查分开；机构和检查人员都按公开的种子随机抽取，任何人可以复算。",
        "table": Table(
            id="plans", caption="检查计划",
            columns=[Column(label="计划", wide=True), Column(label="类别"), Column(label="检查期间"),
                     Column(label="进度"), Column(label="状态")],
            rows=[_row(row) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            toolbar=[Action(label="制定计划", url=reverse("inspection-new"), icon="plus",
                            tone="primary")] if may else (),
            empty_title="没有检查计划", empty_text="稽核、巡查和执法检查的计划在此制定、审批和抽取。",
        ),
    })  # fmt: skip


def _row(row: Any) -> Row:
    address = inspection_papers.place(row)
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.title, url=address, sub=row.number),
            Cell(text=row.get_side_display()), Cell(text=f"{row.first_day} 至 {row.last_day}"),
            Cell(text=f"{row.over}/{row.made}" if row.made else "—", sub=f"抽取 {row.wanted} 家"),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _own(request: PortalRequest) -> HttpResponse:
    rows = InspectionTask.objects.visible_to(request.user).order_by("-pk")
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "稽核检查", "url": ""}], "form": None,
        "title": "稽核检查", "subtitle": "已通知本机构的检查、检查通知书和检查结果。",
        "table": Table(
            id="tasks", caption="检查与结果",
            columns=[Column(label="检查号"), Column(label="通知"), Column(label="检查日"),
                     Column(label="结果"), Column(label="检查报告", wide=True)],
            rows=[Row(key=str(row.pk), label=row.number, cells=[
                Cell(text=row.number, url=inspection_papers.task_place(row)),
                Cell(text=str(row.told_on or "—")), Cell(text=str(row.visited_on or "—")),
                Cell(text=row.get_result_display() or "待检查", tone=RESULTS[row.result]),
                Cell(text=row.report[:80] or "—"),
            ]) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有检查记录", empty_text="检查通知书送达后，检查及其结果在此列出。",
        ),
    })  # fmt: skip


# --- A plan ---


@requires("inspections.plan")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Draw up a plan."""
    form = inspection_forms.PlanForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    made = _planned(request, form)
            except Refusal as error:
                status = refuse(form, error)
            else:
                messages.success(request, f"已制定计划 {made.number}，待另一人审批。")
                return redirect("inspection-plan", pk=made.pk)
    return render(request, "supervision/form.html", {
        "breadcrumbs": [*CRUMBS, {"label": "稽核检查", "url": reverse("inspections")},
                        {"label": "制定计划", "url": ""}],
        "title": f"制定{_side_of(request.user)}计划", "form": form, "back": reverse("inspections"),
        "button": "提交审批", "subtitle": "计划经另一人批准后抽取机构和检查人员；每家不少于两人。",
    }, status=status)  # fmt: skip


def _side_of(user: User) -> str:
    """What the reader's own inspections are called."""
    return dict(InspectionPlan.Side.choices).get(inspections.side_of(user), "检查")


def _planned(request: PortalRequest, form: inspection_forms.PlanForm) -> InspectionPlan:
    given = dict(form.cleaned_data) | {"checklist": form.lines()}
    region = request.user.region
    if region is None:
        raise refused("title", "NO_REGION", "账号没有所属辖区", "the account has no area")
    side = inspections.side_of(request.user)
    return inspections.plan(
        region=Region.objects.get(pk=region.pk), wanted=inspections.Wanted(side=side, **given),
        who=request.user, at=clock.now(),
    )  # fmt: skip


def _decide(row: InspectionPlan, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return inspections.decide(plan=row, approve=given["approve"] == "yes", note=given["note"],
                              who=who, at=clock.now())  # fmt: skip


def _draw(row: InspectionPlan, form: forms.Form, who: User) -> object:
    return inspections.draw(plan=row, seed=form.cleaned_data["seed"], who=who, at=clock.now())


def _close(row: InspectionPlan, form: forms.Form, who: User) -> object:
    return inspections.close(plan=row, result=form.cleaned_data["text"], who=who, at=clock.now())


def mine(row: InspectionPlan, user: User) -> bool:
    """Whether a plan is of the reader's side: the agency's patrols, the bureau's enforcement."""
    return inspections.side_of(user) == row.side


PLAN_ACTS = {
    act.key: act
    for act in (
        parts.Act("decide", "审批计划", "inspections.view",
                  lambda row, user: row.state == Plan.DRAFT and row.made_by != user.username
                  and inspections.approves(row, user),
                  inspection_forms.DecisionForm, _decide),
        parts.Act("draw", "随机抽取", inspections.PLAN,
                  lambda row, user: row.state == Plan.APPROVED and mine(row, user),
                  inspection_forms.SeedForm, _draw),
        parts.Act("close", "总结并完成", inspections.PLAN,
                  lambda row, user: row.state == Plan.DRAWN and mine(row, user)
                  and not row.tasks.filter(state="open").exists(),
                  inspection_forms.TextForm, _close, lambda row, user: {"label": "总结"}),
    )
}  # fmt: skip


def _plan_of(request: PortalRequest, pk: int) -> InspectionPlan:
    rows = InspectionPlan.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("inspections.view")
@require_GET
def plan(request: PortalRequest, pk: int) -> HttpResponse:
    """A plan: its matter, checklist, draw with seed and lists, its tasks."""
    return _plan_page(request, _plan_of(request, pk))


def _plan_page(
    request: PortalRequest, row: InspectionPlan, *, typed: forms.Form | None = None, key: str = "",
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    return render(request, "supervision/inspection.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "稽核检查", "url": reverse("inspections")},
                        {"label": row.number, "url": ""}],
        "title": row.title, "number": row.number, "kind": row.get_side_display(),
        "badge": {"word": row.get_state_display(), "tone": TONES[row.state]},
        "facts": _plan_facts(row), "draw": _draw_facts(row), "checklist": row.checklist,
        "acts": parts.entries(PLAN_ACTS, row, request.user, typed, key),
        "act_name": "inspection-plan-act", "pk": row.pk, "back": reverse("inspections"),
        "tasks": _tasks(row) if row.seed else None,
    }), status=status)  # fmt: skip


def _plan_facts(row: InspectionPlan) -> list[dict[str, Any]]:
    return [
        {"label": "检查期间", "value": f"{row.first_day} 至 {row.last_day}"},
        {"label": "核查服务日", "value": f"{row.service_from} 至 {row.service_until}"},
        {"label": "抽取", "value": f"{row.wanted} 家，每家 {row.per_task} 人"},
        {"label": "制定", "value": Login(row.made_by), "sub": f"{clock.local(row.made_at):%Y-%m-%d %H:%M}"},
        {"label": "审批", "value": Login(row.approved_by) or "—", "sub": row.note},
        {"label": "检查事项", "value": row.reason, "wide": True},
        {"label": "总结", "value": row.result or "—", "wide": True},
    ]  # fmt: skip


def _draw_facts(row: InspectionPlan) -> list[dict[str, Any]]:
    if not row.seed:
        return []
    codes = row.pool["institutions"]
    names = dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))
    return [
        {"label": "随机种子", "value": row.seed, "code": True},
        {"label": "算法", "value": "SM3（种子与名称）由小到大"},
        {"label": "抽取", "value": Login(row.drawn_by),
         "sub": f"{clock.local(row.drawn_at):%Y-%m-%d %H:%M}" if row.drawn_at else ""},
        {"label": f"机构名单（{len(row.pool['institutions'])}）",
         "value": "、".join(f"{names.get(code, '')} {code}".strip() for code in codes), "wide": True},
        {"label": f"检查人员名单（{len(row.pool['inspectors'])}）",
         "value": listed(row.pool["inspectors"]), "wide": True},
    ]  # fmt: skip


def _tasks(row: InspectionPlan) -> Table:
    tasks = list(row.tasks.prefetch_related("inspectors"))
    names = dict(Institution.objects.filter(pk__in=[t.institution_code for t in tasks])
                 .values_list("pk", "name"))  # fmt: skip
    return Table(
        id="tasks", caption="抽取的机构", show_caption=False,
        columns=[Column(label="次序"), Column(label="医疗机构", wide=True),
                 Column(label="检查人员", wide=True), Column(label="检查日"), Column(label="结果")],
        rows=[Row(key=str(task.pk), label=task.number, cells=[
            Cell(text=str(task.draw_no)),
            Cell(text=names.get(task.institution_code, task.institution_code), sub=task.number,
                 url=inspection_papers.task_place(task)),
            Cell(text=listed(who.username for who in task.inspectors.all()
                             if who.recused_at is None)),
            Cell(text=str(task.visited_on or "—")),
            Cell(text=task.get_result_display() or "待检查", tone=RESULTS[task.result]),
        ], actions=[Action(label="查看", url=inspection_papers.task_place(task))]) for task in tasks],
    )  # fmt: skip


@requires("inspections.view")
@require_POST
def plan_act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Approve, draw, sum up."""
    row = _plan_of(request, pk)
    return parts.done(request, PLAN_ACTS, key, row, "inspection-plan", _plan_page)
