"""Complaints: reported and followed without log-in, handled inside."""

from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock
from audit.access import public, requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions import receipts
from institutions.access import EVERYTHING, PortalRequest, scoped
from institutions.models import Institution, Region, Scope, User
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from supervision import case_forms, complaints, inspection_forms
from supervision.models import Complaint
from supervision.views import parts
from supervision.views.cases import CRUMBS, SIZE, person_of

TONES = {"received": "wait", "accepted": "info", "proven": "ok", "unproven": "mute",
         "declined": "mute"}  # fmt: skip
TOO_MANY = 429
OFFERED = 500  #: institutions in the list of a field
State = Complaint.State


# --- Without log-in ---


@public
@never_cache
@require_http_methods(["GET", "POST"])
def report(request: HttpRequest) -> HttpResponse:
    """Report misuse: anonymous or named, at most so many an hour from one address."""
    regions = [(row.code, row.name) for row in receipts.areas()]
    form = inspection_forms.PublicReport(request.POST or None, regions=regions)
    status, made = 200, None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            if not receipts.room():
                form.add_error(None, "提交过于频繁，请一小时后再试，或拨打当地医保部门电话。")
                status = TOO_MANY
            else:
                status, made = _received(form)
    return render(request, "public/report.html", {
        "form": form, "made": made, "follow": reverse("public-report-progress"),
        "places": _offered(*(Region.objects.filter(pk__in=dict(regions)))),
    }, status=status)  # fmt: skip


def _offered(*regions: Region) -> list[Institution]:
    """The institutions of some areas that a field offers; a longer list is typed in."""
    day = clock.today()
    found: list[Institution] = []
    for region in regions:
        found += complaints.places(region, day).select_related("region").order_by("pk")[:OFFERED]
    return found[:OFFERED]


def _received(
    form: inspection_forms.PublicReport, by: str = complaints.REPORTER
) -> tuple[int, dict[str, str] | None]:
    given = dict(form.cleaned_data)
    region = Region.objects.get(pk=given.pop("region"))
    report = complaints.Report(institution_code=given.pop("institution").strip(), **given)
    try:
        with scoped(Scope(regions=(region.prefix,))):
            row, code = complaints.receive(region=region, report=report, by=by, at=clock.now())
    except Refusal as error:
        return refuse(form, error), None
    return 200, {"number": row.number, "code": code, "due": _until(row) if row.clause else ""}


@public
@never_cache
@require_http_methods(["GET", "POST"])
def progress(request: HttpRequest) -> HttpResponse:
    """How a report goes on, for whoever has its number and query code."""
    form = inspection_forms.ProgressForm(request.POST or None)
    found, status = None, 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            if not receipts.room():
                form.add_error(None, "查询过于频繁，请一小时后再试。")
                status = TOO_MANY
            else:
                with scoped(EVERYTHING):
                    found = _told(complaints.progress(**form.cleaned_data))
                status = 200 if found else 404
                if not found:
                    form.add_error(None, "编号或查询码不正确。")
    return render(request, "public/report_progress.html", {"form": form, "found": found},
                  status=status)  # fmt: skip


def _until(row: Complaint) -> str:
    """Until when it is answered; a deadline that no calendar reaches says which year it waits for."""
    waits = f"待{row.due_unknown}年工作日历公布后推定" if row.due_unknown else "—"
    return str(row.due or waits)


def _told(row: Complaint | None) -> list[dict[str, str]]:
    if row is None:
        return []
    paid = "已批准" if row.reward_approved_by else "待审批"
    paid = f"{row.reward_paid_on}已发放" if row.reward_paid_on else paid
    return [
        {"label": "举报编号", "value": row.number},
        {"label": "办理状态", "value": row.get_state_display()},
        {"label": "答复期限", "value": _until(row)},
        {"label": "答复", "value": row.answer or "（尚在办理）", "wide": "1"},
        {"label": "奖励", "value": f"{yuan(row.reward)} 元（{paid}）" if row.reward else "—"},
    ]  # fmt: skip


# --- Inside ---


@requires("complaints.handle")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Complaints of the area, those that wait first."""
    form = inspection_forms.ComplaintQuery(request.GET)
    rows = Complaint.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = Complaint.objects.visible_to(request.user)
        if given["state"]:
            rows = rows.filter(state=given["state"])
        if text := given["q"].strip():
            rows = rows.filter(Q(number__icontains=text) | Q(about__icontains=text))
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "举报投诉", "url": ""}], "form": form,
        "title": "举报投诉", "target": "complaints",
        "subtitle": "来自公开的举报页面、电话、来信和来访；举报人信息加密保存，查看须写明理由并留痕。",
        "table": Table(
            id="complaints", caption="举报投诉",
            columns=[Column(label="编号"), Column(label="被举报对象", wide=True),
                     Column(label="举报人"), Column(label="收到"), Column(label="状态")],
            rows=[_row(row) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            toolbar=[Action(label="登记举报", url=reverse("complaint-new"), icon="plus",
                            tone="primary")],
            empty_title="没有举报", empty_text="公众提交的举报，以及登记的电话、来信、来访举报，在此办理。",
        ),
    })  # fmt: skip


def _row(row: Complaint) -> Row:
    address = reverse("complaint", args=[row.pk])
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address), Cell(text=row.about, sub=row.text[:60]),
            Cell(text=row.name_masked or "匿名"),
            Cell(text=f"{clock.local(row.received_at):%Y-%m-%d} {row.get_channel_display()}",
                 sub=f"期限 {_until(row)}" if row.clause else ""),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


@requires("complaints.handle")
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Enter a report that came by telephone, by letter or in person; its code is shown once."""
    regions = _own_areas(request.user)
    form = inspection_forms.StaffReport(request.POST or None, regions=regions)
    status, made = 200, None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            status, made = _received(form, by=request.user.username)
    return render(request, "supervision/complaint_new.html", {
        "breadcrumbs": [*CRUMBS, {"label": "举报投诉", "url": reverse("complaints")},
                        {"label": "登记举报", "url": ""}],
        "form": form, "made": made,
        "places": _offered(*Region.objects.filter(pk__in=dict(regions))),
    }, status=status)  # fmt: skip


def _own_areas(user: User) -> list[tuple[str, str]]:
    """The areas of reports that lie in a user's scope."""
    scope = user.scope_codes()
    return [(code, name) for code, name in [(row.code, row.name) for row in receipts.areas()]
            if scope.everything or code.startswith(scope.regions)]  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Complaint:
    rows = Complaint.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


def _answer(row: Complaint, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return complaints.answer(
        complaint=row, state=given["state"], text=given["text"],
        recovered=given["recovered"] or 0, by=who.username, at=clock.now(),
    )  # fmt: skip


def _place(row: Complaint, form: forms.Form, who: User) -> object:
    region = Region.objects.get(pk=row.region_code)
    place = complaints.place_named(form.cleaned_data["institution"], region, clock.today())
    return complaints.attribute(
        complaint=row, institution=place, by=who.username, at=clock.now()
    )  # fmt: skip


def _case(row: Complaint, form: forms.Form, who: User) -> object:
    given = dict(form.cleaned_data)
    number = given.pop("person_number")
    return complaints.open_case(
        complaint=row, person=person_of(who, number) if number else None, by=who.username,
        at=clock.now(), **given,
    )  # fmt: skip


def _attributable(row: Complaint) -> bool:
    return row.case_id is None and row.state in (State.RECEIVED, State.ACCEPTED, State.PROVEN)


ACTS = {
    act.key: act
    for act in (
        parts.Act("accept", "受理", complaints.HANDLE,
                  lambda row, user: row.state == State.RECEIVED, case_forms.Nothing,
                  lambda row, form, who: complaints.accept(
                      complaint=row, by=who.username, at=clock.now())),
        parts.Act("place", "指明机构", complaints.HANDLE,
                  lambda row, user: _attributable(row), inspection_forms.PlaceForm, _place),
        parts.Act("answer", "答复", complaints.HANDLE,
                  lambda row, user: row.state in (State.RECEIVED, State.ACCEPTED),
                  inspection_forms.AnswerForm, _answer),
        parts.Act("case", "提请立案", "cases.handle",
                  lambda row, user: row.state == State.ACCEPTED and row.case_id is None,
                  inspection_forms.CaseOfComplaint, _case),
        parts.Act("reward", "提出奖励", complaints.HANDLE,
                  lambda row, user: row.state == State.PROVEN and row.named and not row.reward,
                  case_forms.Nothing,
                  lambda row, form, who: complaints.propose_reward(
                      complaint=row, by=who.username, at=clock.now())),
        parts.Act("approve", "审批奖励", "cases.decide",
                  lambda row, user: bool(row.reward) and not row.reward_approved_by
                  and row.reward_proposed_by != user.username,
                  case_forms.Nothing,
                  lambda row, form, who: complaints.approve_reward(
                      complaint=row, who=who, at=clock.now())),
        parts.Act("pay", "登记发放", complaints.HANDLE,
                  lambda row, user: bool(row.reward_approved_by) and row.reward_paid_on is None
                  and row.reward_approved_by != user.username,
                  inspection_forms.PayoutForm,
                  lambda row, form, who: complaints.pay_reward(
                      complaint=row, who=who, at=clock.now(), **form.cleaned_data),
                  given=lambda row, user: {"today": clock.today()}),
    )
}  # fmt: skip


@requires("complaints.handle")
@require_GET
def complaint(request: PortalRequest, pk: int) -> HttpResponse:
    """One complaint and what can be done with it."""
    return _page(request, _visible(request, pk))


def _page(
    request: PortalRequest, row: Complaint, *, typed: forms.Form | None = None, key: str = "",
    status: int = 200, opened: tuple[str, str, str] | None = None,
) -> HttpResponse:  # fmt: skip
    reveal = inspection_forms.TextForm(label="查看理由", auto_id="reveal_%s")
    return render(request, "supervision/complaint.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "举报投诉", "url": reverse("complaints")},
                        {"label": row.number, "url": ""}],
        "row": row, "badge": {"word": row.get_state_display(), "tone": TONES[row.state]},
        "facts": _facts(row), "acts": parts.entries(ACTS, row, request.user, typed, key),
        "reveal": reveal if row.named and opened is None else None, "opened": opened,
        "case": row.case,
        "places": _offered(*Region.objects.filter(pk=row.region_code))
        if _attributable(row) else (),
    }), status=status)  # fmt: skip


def _facts(row: Complaint) -> list[dict[str, Any]]:
    place = Institution.objects.filter(pk=row.institution_code).first()
    behaviours = dict(inspection_forms.BEHAVIOURS)
    approved = ("；", Login(row.reward_approved_by), "批准") if row.reward_approved_by else ()
    return [
        {"label": "编号", "value": row.number, "code": True},
        {"label": "被举报对象", "value": row.about},
        {"label": "定点机构", "value": place.name if place else "尚未指明",
         "sub": place.pk if place else "指明后方可提请立案，并计入该机构的年度考核"},
        {"label": "涉嫌的行为", "value": behaviours.get(row.behaviour, row.behaviour)},
        {"label": "举报人", "value": row.name_masked or "匿名", "sub": row.phone_masked},
        {"label": "收到", "value": f"{clock.local(row.received_at):%Y-%m-%d %H:%M}",
         "sub": row.get_channel_display()},
        {"label": "答复期限", "value": _until(row), "sub": row.clause},
        {"label": "承办人", "value": Login(row.handled_by) or "—"},
        {"label": "查实金额", "value": f"{yuan(row.recovered)} 元" if row.recovered else "—"},
        {"label": "奖励", "value": f"{yuan(row.reward)} 元" if row.reward else "—",
         "sub": Told("；".join(filter(None, (
             row.reward_basis, "示例参数" if row.reward_example else ""))), *approved)},
        {"label": "奖励发放", "value": f"{row.reward_paid_on}，{row.reward_receiver_masked}领取"
         if row.reward_paid_on else "—",
         "sub": Told(f"凭证 {row.reward_receipt}；", Login(row.reward_paid_by), "登记")
         if row.reward_paid_on else ""},
        {"label": "举报内容", "value": row.text, "wide": True},
        {"label": "答复", "value": row.answer or "—", "wide": True},
    ]  # fmt: skip


@requires("complaints.handle")
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Take up, answer, open a case, reward."""
    return parts.done(request, ACTS, key, _visible(request, pk), "complaint", _page)


@requires("complaints.handle")
@never_cache
@require_POST
def reveal(request: PortalRequest, pk: int) -> HttpResponse:
    """Who reported, once, for a reason; nothing of it is kept in the page's address."""
    row = _visible(request, pk)
    form = inspection_forms.TextForm(request.POST, label="查看理由")
    if not form.is_valid():
        return _page(request, row, status=422)
    try:
        opened = complaints.reveal(
            complaint=row, reason=form.cleaned_data["text"], by=request.user.username,
            at=clock.now(),
        )  # fmt: skip
    except Refusal as error:
        return _page(request, row, status=error.status)
    return _page(request, row, opened=opened)
