"""The computed assessment of an institution's year: what was counted, and its recording."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from agreements.assessment import Scheme, bound_in, known_result, scheme_of
from agreements.views.refusing import Refusals, refuse, words_of
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from institutions.access import PortalRequest
from institutions.models import Institution
from supervision import assessing
from supervision.views.findings import SIZE, tabs

SCORE = "assessments.score"
CRUMBS = [
    {"label": "工作台", "url": "/"},
    {"label": "考核测算", "url": "/supervision/assessments/"},
]
FIRST_YEAR, LAST_YEAR = 2000, 9998


class ProposalForm(forms.Form):
    """Scores that nothing was counted for, and a remark."""

    seen = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    remark = forms.CharField(
        label="说明", required=False, max_length=400, widget=forms.Textarea({"rows": 2}),
        help_text="更正已登记的结果时必填。",
    )  # fmt: skip

    def __init__(self, *args: Any, missing: list[assessing.Proposed], full: int, **options: Any):
        super().__init__(*args, **options)
        self.keys = [one.key for one in missing]
        for one in missing:
            self.fields[one.key] = forms.IntegerField(
                label=f"{one.name}（没有数据，请评分）", min_value=0, max_value=full
            )
        self.order_fields([*self.keys, "remark", "seen"])

    def given(self) -> dict[str, int]:
        return {key: self.cleaned_data[key] for key in self.keys}


@requires(SCORE)
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Institutions with an agreement in this year: compute and record their scores."""
    year = clock.today().year
    rows = (
        Institution.objects.visible_to(request.user)
        .filter(code__in=bound_in(year).values("institution_id")).order_by("region_id", "code")
    )  # fmt: skip
    try:
        number = max(int(request.GET.get("page", "1")), 1)
    except ValueError:
        number = 1
    total = rows.count()
    shown = list(rows[(number - 1) * SIZE : number * SIZE])
    return render(request, "supervision/list.html", {
        "breadcrumbs": CRUMBS, "title": "考核测算",
        "subtitle": f"{year}年度线上服务考核：由结算、疑点、期限和举报数据测算得分，人工确认后登记。",
        "tabs": tabs(request, "assess-list"), "table": Table(
            id="assess", caption=f"{year}年度",
            columns=[Column(label="医疗机构", wide=True), Column(label="已登记总分", numeric=True)],
            rows=[_row(row, year) for row in shown],
            pages=Pages(total=total, size=SIZE, page=number, sizes=(SIZE,)),
            empty_title="没有签有补充协议的机构",
        ),
    })  # fmt: skip


def _row(place: Institution, year: int) -> Row:
    url = reverse("assess", args=[place.pk, year])
    known = known_result(place, year=year)
    return Row(key=place.pk, label=place.name, actions=[Action(label="测算", url=url)], cells=[
        Cell(text=place.name, url=url, sub=place.pk),
        Cell(text=yuan(known.total) if known else "未登记", tone="" if known else "mute"),
    ])  # fmt: skip


@requires(SCORE)
@require_http_methods(["GET", "POST"])
def one(request: PortalRequest, code: str, year: int) -> HttpResponse:
    """The computation of a year with every count; record it."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Http404
    place = get_object_or_404(
        Institution.objects.visible_to(request.user).select_related("region"), code=code
    )
    scheme, why = None, ""
    try:
        scheme = scheme_of(place, year=year)
    except Refusals as error:
        why = words_of(error)
    if scheme is None:
        return _page(request, place, year, None, [], None, why or f"{year}年没有考核指标。", 409)
    return _scored(request, place, year, scheme)


def _scored(request: PortalRequest, place: Institution, year: int, scheme: Scheme) -> HttpResponse:
    today = clock.today()
    proposed = assessing.propose(place, scheme, year=year, today=today)
    missing = [each for each in proposed if each.score is None]
    known = known_result(place, year=year)
    form = ProposalForm(
        request.POST or None, missing=missing, full=scheme.full,
        initial={"seen": known.pk if known else 0},
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                made = assessing.record(
                    institution=place, scheme=scheme, year=year, given=form.given(),
                    remark=form.cleaned_data["remark"], seen=form.cleaned_data["seen"],
                    by=request.user.username, at=clock.now(), today=today,
                )  # fmt: skip
            except Refusals as error:
                status = refuse(form, error)
            else:
                messages.success(request, f"已按测算登记：总分 {yuan(made.total)}。")
                return redirect("assessment", code=place.pk, year=year)
    return _page(request, place, year, scheme, proposed, form, "", status)


def _page(
    request: PortalRequest, place: Institution, year: int, scheme: Scheme | None,
    proposed: list[assessing.Proposed], form: forms.Form | None, why: str, status: int,
) -> HttpResponse:  # fmt: skip
    total = None
    if scheme and proposed and all(each.score is not None for each in proposed):
        total = scheme.total({each.key: each.score or 0 for each in proposed})
    return render(request, "supervision/assess.html", {
        "breadcrumbs": [*CRUMBS, {"label": place.name, "url": ""}], "place": place, "year": year,
        "why": why, "form": form, "table": _table(scheme, proposed) if scheme else None,
        "example": bool(scheme and scheme.example),
        "total": yuan(total) if total is not None else "",
        "grade": scheme.grade(total) if scheme and total is not None else None,
        "recorded": reverse("assessment", args=[place.pk, year]),
    }, status=status)  # fmt: skip


def _table(scheme: Scheme, proposed: list[assessing.Proposed]) -> Table:
    return Table(
        id="proposed", caption="测算过程", actions=False,
        columns=[Column(label="指标", wide=True), Column(label="依据", wide=True),
                 Column(label="合格数", numeric=True), Column(label="总数", numeric=True),
                 Column(label=f"得分（满分 {scheme.full}）", numeric=True),
                 Column(label="权重", numeric=True)],
        rows=[Row(key=each.key, label=each.name, cells=[
            Cell(text=each.name), Cell(text=each.share.basis if each.share else "由人工评分"),
            Cell(text=f"{each.share.good:,}" if each.share else "—"),
            Cell(text=f"{each.share.total:,}" if each.share else "—"),
            Cell(text="没有数据" if each.score is None else str(each.score),
                 tone="mute" if each.score is None else ""),
            Cell(text=rate(each.weight)),
        ]) for each in proposed],
    )  # fmt: skip
