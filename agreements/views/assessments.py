"""The yearly assessment of the online service: results of a year, and one with its scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from agreements.agreement_forms import NO_STATE, AssessmentsQuery, ScoreForm
from agreements.assessment import (
    CLAUSE,
    WHOLE,
    Scheme,
    bound_in,
    record_assessment,
    scheme_of,
)
from agreements.models import Assessment
from agreements.views.agreements import CRUMBS
from agreements.views.institutions import pages_of
from agreements.views.refusing import Refusals, refuse, words_of
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from institutions.access import PortalRequest
from institutions.models import Institution, InstitutionQuerySet, Region
from institutions.naming import named

SCORE = "assessments.score"
YEARS_SHOWN = 5
FIRST_YEAR, LAST_YEAR = 2000, 9998  #: years that are days of a calendar


# --- The results of a year ---


@requires("assessments.view")
@require_GET
def assessments(request: PortalRequest) -> HttpResponse:
    """Institutions with an agreement in a year, and their results."""
    visible = Institution.objects.visible_to(request.user)
    this = clock.today().year
    data = request.GET.copy()
    data.setdefault("year", str(this))
    form = AssessmentsQuery(
        data, years=range(this, this - YEARS_SHOWN, -1), auto_id="assessments_%s",
        regions=Region.objects.filter(institution__in=visible).distinct().order_by("code"),
    )  # fmt: skip
    year, rows = this, visible.none()
    if form.is_valid():
        year = form.cleaned_data["year"]
        rows = _narrow(visible, form.cleaned_data)
    rows = rows.order_by("region_id", "code").select_related("region")
    pages = pages_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + pages.size])
    found = Assessment.objects.filter(institution__in=shown, year=year, superseded_at__isnull=True)
    results = {row.institution_id: row for row in found}
    if request.user.institution is not None:
        for name in ("region", "q", "result"):
            del form.fields[name]
    return render(request, "agreements/assessments.html", {
        "breadcrumbs": [*CRUMBS, {"label": "年度考核", "url": ""}], "form": form, "year": year,
        "table": _list(shown, results, pages, year, may=request.user.may(SCORE)),
    })  # fmt: skip


def _narrow(visible: InstitutionQuerySet, given: dict[str, Any]) -> InstitutionQuerySet:
    bound = bound_in(given["year"])
    rows = visible.filter(code__in=bound.values("institution_id"))
    if given["q"].strip():
        rows = rows.search(given["q"].strip())
    if given["region"]:
        rows = rows.filter(region_id=given["region"])
    known = Assessment.objects.filter(year=given["year"], superseded_at__isnull=True)
    if given["result"] == NO_STATE:
        return rows.exclude(code__in=known.values("institution_id"))
    return rows.filter(code__in=known.values("institution_id")) if given["result"] else rows


def _list(
    shown: Sequence[Institution], results: dict[str, Assessment], pages: Pages, year: int, *,
    may: bool,
) -> Table:  # fmt: skip
    return Table(
        id="assessments", caption=f"{year}年度考核", pages=pages,
        columns=[
            Column(label="医疗机构", wide=True), Column(label="所在区域"),
            Column(label="总分", numeric=True), Column(label="支付系数", numeric=True),
            Column(label="续签建议"), Column(label="登记"),
        ],
        rows=[_row(row, results.get(row.pk), year, may=may) for row in shown],
        empty_title="没有符合条件的机构",
        empty_text="当年签有补充协议的机构在此考核；请放宽查询条件后再试。",
    )  # fmt: skip


def _row(found: Institution, result: Assessment | None, year: int, *, may: bool) -> Row:
    url = reverse("assessment", args=[found.code, year])
    cells = [Cell(text="未考核", tone="mute"), Cell(text=""), Cell(text=""), Cell(text="")]
    if result is not None:
        cells = [
            Cell(text=yuan(result.total), sub="示例参数" if result.example else ""),
            Cell(text=rate(result.coefficient)),
            Cell(text=result.renewal, tone=tone_of(result)),
            Cell(text=f"{clock.local(result.recorded_at):%Y-%m-%d}", sub=result.recorded_by),
        ]
    act = "评分" if may and result is None else "更正" if may else "详情"
    return Row(
        key=found.code, label=found.name, actions=[Action(label=act, url=url)],
        cells=[Cell(text=found.name, url=url), Cell(text=found.region.name), *cells],
    )  # fmt: skip


def tone_of(result: Assessment) -> str:
    """Green for the full coefficient, amber for less."""
    return "ok" if result.coefficient >= WHOLE else "warn"


# --- One result ---


@requires("assessments.view")
@require_GET
def assessment(request: PortalRequest, code: str, year: int) -> HttpResponse:
    """The scores of a year with total, coefficient and advice, and what was corrected."""
    return _page(request, _visible(request, code, year), year)


@requires(SCORE)
@require_POST
def score(request: PortalRequest, code: str, year: int) -> HttpResponse:
    """Record or correct the scores of a year."""
    found = _visible(request, code, year)
    try:
        scheme = scheme_of(found, year=year)
    except Refusals as refused:
        return _page(request, found, year, why=words_of(refused), status=refused.status)
    if scheme is None:
        return _page(request, found, year, status=409)
    form = ScoreForm(request.POST, scheme=scheme, before=_rows(found, year, known=True).first())
    status = 422
    if form.is_valid():
        try:
            made = record_assessment(
                institution=found, year=year, scores=form.scores(), by=request.user.username,
                remark=form.cleaned_data["remark"], seen=form.cleaned_data["seen"], at=clock.now(),
            )  # fmt: skip
        except Refusals as refused:
            status = refuse(form, refused)
        else:
            messages.success(
                request, f"{year}年度考核已登记：总分 {yuan(made.total)}，{made.renewal}。"
            )
            return redirect("assessment", code=code, year=year)
    return _page(request, found, year, form=form, status=status)


def _visible(request: PortalRequest, code: str, year: int) -> Institution:
    rows = Institution.objects.visible_to(request.user).select_related("region")
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Http404
    return get_object_or_404(rows, code=code)


def _rows(found: Institution, year: int, *, known: bool) -> QuerySet[Assessment]:
    rows = Assessment.objects.filter(institution=found, year=year)
    return rows.filter(superseded_at__isnull=True) if known else rows.order_by("-pk")


def _page(
    request: PortalRequest, found: Institution, year: int, *, form: forms.Form | None = None,
    why: str = "", status: int = 200,
) -> HttpResponse:  # fmt: skip
    history = list(_rows(found, year, known=False))
    result = next((row for row in history if row.superseded_at is None), None)
    scheme = None
    try:
        scheme = scheme_of(found, year=year)
    except Refusals as refused:
        why = words_of(refused)
    bound = bound_in(year).filter(institution=found).exists()
    may = request.user.may(SCORE) and scheme is not None and bound and year <= clock.today().year
    if may and scheme is not None and form is None:
        form = ScoreForm(scheme=scheme, before=result)
    return render(request, "agreements/assessment.html", {
        "breadcrumbs": [*CRUMBS, {"label": "年度考核", "url": f"{reverse('assessments')}?year={year}"},
                        {"label": found.name, "url": ""}],
        "institution": found, "year": year, "scheme": scheme, "why": why, "bound": bound,
        "result": result, "stats": _stats(result, scheme) if result else [],
        "scores": _scores(result, scheme) if result else None,
        "grades": _grades(scheme) if scheme else [], "form": form if may else None,
        "history": named([_event(row, scheme) for row in history]), "clause": CLAUSE,
        "years": _years(found, year),
    }, status=status)  # fmt: skip


def _years(found: Institution, year: int) -> list[dict[str, Any]]:
    """The years that have a result, this one among them."""
    known = Assessment.objects.filter(institution=found, superseded_at__isnull=True)
    years = {*known.values_list("year", flat=True), year}
    return [
        {"label": f"{one} 年", "current": one == year,
         "url": reverse("assessment", args=[found.code, one])}
        for one in sorted(years, reverse=True)
    ]  # fmt: skip


def _stats(result: Assessment, scheme: Scheme | None) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = [
        {"label": "总分", "value": yuan(result.total), "sub": "满分 100.00"},
        {"label": "支付系数", "value": rate(result.coefficient)},
        {"label": "续签建议", "value": result.renewal, "tone": tone_of(result)},
        {"label": "指标版本", "value": result.scheme,
         "sub": "示例参数" if result.example else ""},
        {"label": "登记", "value": f"{clock.local(result.recorded_at):%Y-%m-%d %H:%M}",
         "sub": result.recorded_by},
    ]  # fmt: skip
    if scheme is not None and scheme.version == result.scheme:
        facts.insert(1, {"label": "等次", "value": scheme.grade(result.total).name})
    if result.remark:
        facts.append({"label": "说明", "value": result.remark, "wide": True})
    return facts


def _scores(result: Assessment, scheme: Scheme | None) -> Table:
    """The scores as recorded; weights while the scheme is the one they were given by."""
    same = scheme is not None and scheme.version == result.scheme
    known = {one.key: one for one in scheme.indicators} if scheme and same else {}
    rows = []
    for key, value in sorted(result.scores.items(), key=lambda pair: _place(known, pair[0])):
        one = known.get(key)
        part = yuan(scheme.part(one, value)) if scheme and one else ""
        cells = [Cell(text=one.name if one else key), Cell(text=rate(one.weight) if one else ""),
                 Cell(text=str(value)), Cell(text=part)]  # fmt: skip
        rows.append(Row(key=key, label=key, cells=cells))
    return Table(
        id="scores", caption="各项得分", rows=rows,
        columns=[Column(label="指标", wide=True), Column(label="权重", numeric=True),
                 Column(label="得分", numeric=True), Column(label="加权分", numeric=True)],
    )  # fmt: skip


def _place(known: Mapping[str, Any], key: str) -> int:
    """Where an indicator stands in the scheme; what it does not know comes last."""
    return list(known).index(key) if key in known else len(known)


def _grades(scheme: Scheme) -> list[dict[str, str]]:
    return [
        {"name": grade.name, "start": yuan(grade.start), "coefficient": rate(grade.coefficient),
         "renewal": grade.renewal}
        for grade in scheme.grades
    ]  # fmt: skip


def _event(row: Assessment, scheme: Scheme | None) -> dict[str, Any]:
    names = {one.key: one.name for one in scheme.indicators} if scheme else {}
    ordered = sorted(row.scores.items(), key=lambda pair: _place(names, pair[0]))
    scores = "、".join(f"{names.get(key, key)} {value}" for key, value in ordered)
    over = row.superseded_at
    until = f"，{clock.local(over):%Y-%m-%d %H:%M} 被更正" if over else ""
    return {
        "at": f"{clock.local(row.recorded_at):%Y-%m-%d %H:%M} 登记{until}", "by": row.recorded_by,
        "title": f"总分 {yuan(row.total)} · 支付系数 {rate(row.coefficient)} · {row.renewal}",
        "text": "；".join(filter(None, [scores, row.remark])),
        "tone": "mute" if over else tone_of(row),
    }  # fmt: skip
