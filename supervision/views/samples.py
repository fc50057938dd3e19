"""抽样审核: plans with their seed and strata, a new draw, and the proof that it can be drawn again."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Institution, Region
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement.detail import moment
from supervision import sampling
from supervision.models import Review, SamplingPlan
from supervision.review_forms import PlanForm, month_before
from supervision.review_steps import PROCEDURE
from supervision.rules import RULES
from supervision.views.review_parts import BIGGEST_ID, CRUMBS, HERE, PAGE

PLANS = {"label": "抽样方案", "url": "/reviews/plans/"}
STATES = PROCEDURE.states


@requires("reviews.plan")
@require_http_methods(["GET", "POST"])
def plans(request: PortalRequest) -> HttpResponse:
    """The plans of the area, and the form of a new one."""
    first, last = month_before(clock.today())
    start = {"first_day": first, "last_day": last, "base": 2,
             "seed": f"{clock.today()}-{request.user.region_id or ''}"}  # fmt: skip
    form = PlanForm(request.POST or None, initial=start)
    if request.method == "POST" and form.is_valid():
        made = _make(request, form)
        if made is not None:
            messages.success(
                request, f"方案 {made.number} 抽中 {made.drawn} 张单据，已转费用审核。"
            )
            return redirect("sampling-plan", pk=made.pk)
    rows = (
        SamplingPlan.objects.visible_to(request.user)
        .annotate(open=Count("reviews", filter=Q(reviews__closed_at=None)))
        .order_by("-pk")
    )
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    table = Table(
        id="plans", caption="抽样方案",
        columns=[Column(label="方案号"), Column(label="名称", wide=True), Column(label="服务日期"),
                 Column(label="总体（张）", numeric=True), Column(label="抽中（张）", numeric=True),
                 Column(label="未办结（张）", numeric=True), Column(label="抽样人")],
        rows=[_row(row) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        empty_title="还没有抽样方案", empty_text="填写区间、比例和随机种子，抽中的单据转费用审核。",
    )  # fmt: skip
    return render(request, "supervision/sampling_plans.html", named({
        "breadcrumbs": [*CRUMBS, HERE, {"label": "抽样方案", "url": ""}],
        "table": table, "form": form, "failed": bool(form.errors),
    }), status=422 if form.errors else 200)  # fmt: skip


def _row(row: Any) -> Row:
    address = reverse("sampling-plan", args=[row.pk])
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True), Cell(text=row.name, sub=f"种子 {row.seed}"),
            Cell(text=f"{row.first_day} 至 {row.last_day}"), Cell(text=f"{row.population:,}"),
            Cell(text=f"{row.drawn:,}"), Cell(text=f"{row.open:,}"),
            Cell(text=Login(row.drawn_by), sub=moment(row.drawn_at)[:16]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _make(request: PortalRequest, form: PlanForm) -> SamplingPlan | None:
    """One call; what is refused stands with the form."""
    data = form.cleaned_data
    codes = {name: _code(request, data[name]) for name in ("institution", "heavy_institution")}
    for name, code in codes.items():
        if data[name] and not code:
            form.add_error(name, "没有此医疗机构，请填写编码或全称。")
    if form.errors:
        return None
    region = Region.objects.get(pk=request.user.region_id)
    try:
        return sampling.make_plan(
            region=region, name=data["name"], first_day=data["first_day"],
            last_day=data["last_day"], seed=data["seed"], institution_code=codes["institution"],
            shares=form.shares(codes["heavy_institution"]), by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as error:
        form.add_error(None, f"{words_of(error)}。")
        return None


def _code(request: PortalRequest, text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    rows = Institution.objects.visible_to(request.user).filter(Q(code=text.upper()) | Q(name=text))
    return rows.values_list("code", flat=True).first() or ""


@requires("reviews.plan")
@require_GET
def plan(request: PortalRequest, pk: int) -> HttpResponse:
    """One plan: its record, strata and drawn claims."""
    row = _visible(request, pk)
    names = dict(
        Institution.objects.filter(pk__in={one["institution"] for one in row.strata})
        .values_list("pk", "name")
    )  # fmt: skip
    bands = sampling.Shares.of(row.shares).amounts
    page = Paginator(row.reviews.order_by("claim_no"), PAGE).get_page(request.GET.get("page"))
    return render(request, "supervision/sampling_plan.html", named({
        "breadcrumbs": [*CRUMBS, HERE, PLANS, {"label": row.number, "url": ""}], "plan": row,
        "facts": [
            {"label": "随机种子", "value": row.seed, "code": True},
            {"label": "服务日期", "value": f"{row.first_day} 至 {row.last_day}"},
            {"label": "抽样时间", "value": moment(row.drawn_at), "sub": Login(row.drawn_by)},
            {"label": "总体", "value": f"{row.population:,} 张", "sub": f"SM3 {row.population_sm3[:16]}…"},
            {"label": "抽中", "value": f"{row.drawn:,} 张", "sub": f"SM3 {row.drawn_sm3[:16]}…"},
            {"label": "基本比例", "value": rate(row.shares["base"])},
        ],
        "strata": [
            one | {"name": names.get(one["institution"], one["institution"]),
                   "amount": _band(one["band"], bands), "percent": rate(one["share"]),
                   "rule": RULES[one["rule"]].message if one["rule"] in RULES else one["rule"]}
            for one in row.strata
        ],
        "table": Table(
            id="drawn", caption="抽中的单据",
            columns=[Column(label="单据号"), Column(label="服务日"),
                     Column(label="涉审（元）", numeric=True), Column(label="核减（元）", numeric=True),
                     Column(label="状态")],
            rows=[_drawn(case) for case in page],
            pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
            empty_title="抽中的单据都已在其他审核中",
        ),
    }))  # fmt: skip


def _band(band: int, amounts: tuple[tuple[int, int], ...]) -> str:
    if not amounts:
        return "不分档"
    return f"高于 {yuan(amounts[band - 1][0])} 元" if band else f"不高于 {yuan(amounts[0][0])} 元"


def _drawn(case: Review) -> Row:
    state = STATES[case.state]
    address = reverse("review", args=[case.pk])
    return Row(
        key=str(case.pk), label=case.number,
        cells=[Cell(text=case.claim_no, url=address, code=True), Cell(text=str(case.service_date)),
               Cell(text=yuan(case.stake)), Cell(text=yuan(case.cut) if case.cut else "—"),
               Cell(text=state.label, tone=state.tone)],
        actions=[Action(label="审核", url=address)],
    )  # fmt: skip


@requires("reviews.plan")
@require_POST
def verify(request: PortalRequest, pk: int) -> HttpResponse:
    """Draw again from what counted then; the answer is recorded."""
    row = _visible(request, pk)
    same = sampling.redrawn(row)
    trail.record(
        by=request.user.username, at=clock.now(), action="samplingplan.verify",
        subject=f"samplingplan:{row.number}", outcome="ok" if same else "refused",
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"same": same, "population_sm3": row.population_sm3, "drawn_sm3": row.drawn_sm3},
    )  # fmt: skip
    if same:
        messages.success(request, "重新抽取的总体和样本与记录一致。")
    else:
        messages.error(request, "重新抽取的结果与记录不一致，请核查结算数据。")
    return redirect("sampling-plan", pk=pk)


def _visible(request: PortalRequest, pk: int) -> SamplingPlan:
    if pk > BIGGEST_ID:
        raise Http404
    return get_object_or_404(SamplingPlan.objects.visible_to(request.user), pk=pk)
