"""Restrictions of practitioners, departments and persons."""

from django import forms
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.departments import codes_named
from institutions.models import Institution, Physician, User
from institutions.naming import Login, named
from settlement.looks import looked
from settlement.models import InsuredPerson
from supervision import case_forms, inspection_forms, lifting, subjects, writs
from supervision.models import Restriction
from supervision.views import parts, points
from supervision.views.cases import CRUMBS, SIZE


@requires("cases.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Restrictions of a day inside the reader's scope."""
    form = inspection_forms.RestrictionQuery(request.GET)
    rows = Restriction.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = Restriction.objects.visible_to(request.user)
        if given["kind"]:
            rows = rows.filter(kind=given["kind"])
        if given["on"]:
            rows = rows.in_force(on=given["on"])
        if text := given["q"].strip():
            rows = rows.filter(
                Q(subject_code__icontains=text) | Q(subject_code__in=codes_named(text))
            )
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "记分与暂停", "url": ""}], "form": form,
        "title": "记分与暂停", "target": "restrictions", "tabs": points.tabs("restrictions"),
        "subtitle": "被暂停、终止的医师、药师、护士、科室和参保人员，含已届满和提前解除的。",
        "table": _restrictions(list(page), Pages(total=page.paginator.count, page=page.number,
                                                 size=SIZE, sizes=(SIZE,))),
    })  # fmt: skip


def _restrictions(rows: list[Restriction], pages: Pages) -> Table:
    today = clock.today()
    doctors = dict(Physician.objects.filter(pk__in=[row.subject_code for row in rows])
                   .values_list("pk", "name"))  # fmt: skip
    persons = InsuredPerson.objects.in_bulk([row.person_id for row in rows if row.person_id])
    places = dict(Institution.objects.filter(pk__in=[row.institution_code for row in rows])
                  .values_list("pk", "name"))  # fmt: skip
    shown = []
    for row in rows:
        runs = row.valid_from <= today and (row.valid_until is None or today <= row.valid_until)
        person = persons.get(row.person_id) if row.person_id else None
        name = str(person) if person else doctors.get(row.subject_code, subjects.called(row))
        address = reverse("restriction", args=[row.pk])
        shown.append(Row(key=str(row.pk), label=name, cells=[
            Cell(text=name, url=address, sub=_below(row, places.get(row.institution_code, ""))),
            Cell(text=row.get_kind_display()),
            Cell(text=f"{row.valid_from} 至 {row.valid_until or '长期'}"),
            Cell(text=row.clause), Cell(text="生效中" if runs else "已届满",
                                        tone="bad" if runs else "mute"),
        ], actions=[Action(label="查看", url=address)]))  # fmt: skip
    return Table(
        id="restrictions", caption="暂停与终止",
        columns=[Column(label="对象"), Column(label="类别"), Column(label="期间"),
                 Column(label="依据", wide=True), Column(label="状态")],
        rows=shown, pages=pages, empty_title="没有暂停或终止",
        empty_text="处理决定执行后，或年度记分达到标准时，在此列出。",
    )  # fmt: skip


def _below(row: Restriction, place: str) -> str:
    """What tells a subject apart: the institution of a department, the code of a practitioner."""
    if row.person_id:
        return ""
    return place if row.kind == Restriction.Kind.DEPARTMENT else row.subject_code


#: What a restriction does to claims of its days, where settlement knows of it.
EFFECTS = {
    Restriction.Kind.ONLINE: "期间内就诊的费用不能联网结算，手工报销不受影响",
    Restriction.Kind.PRACTITIONER: "期间内接诊的费用，审核、调配处方的药品费，不予支付",
    Restriction.Kind.TERMINATED: "起日以后接诊的费用，审核、调配处方的药品费，不予支付",
    Restriction.Kind.DEPARTMENT: "期间内该科室及其下二级科目就诊的费用不予支付，其他科室不受影响",
}


def _effect(row: Restriction) -> str:
    """What settlement makes of it; what it does not know of stays a task of people."""
    if not subjects.known_to_settlement(row):
        return "没有对应到已登记的科室或人员，不影响结算"
    return EFFECTS[Restriction.Kind(row.kind)]


def _runs(row: Restriction) -> bool:
    return row.valid_until is None or row.valid_until > clock.today()


def _review(row: Restriction, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return lifting.review(
        restriction=row, grant=given["grant"] == "yes", reason=given["reason"], who=who,
        service=writs.Service(given["method"], given["receiver"], given["on"]), at=clock.now(),
    )  # fmt: skip


ACTS = {
    "lift": parts.Act(
        "lift", "提前解除", "cases.decide",
        lambda row, user: row.lifted_at is None and row.made_by != user.username
        and _runs(row),
        inspection_forms.LiftForm,
        lambda row, form, who: lifting.lift(
            restriction=row, who=who, at=clock.now(), **form.cleaned_data),
        danger=True,
    ),
    "ask-review": parts.Act(
        "ask-review", "提出复查", "cases.handle",
        lambda row, user: row.least_until is not None and row.least_until > clock.today()
        and not row.review_by and row.lifted_at is None and _runs(row),
        inspection_forms.LiftForm,
        lambda row, form, who: lifting.ask_review(
            restriction=row, who=who, at=clock.now(), **form.cleaned_data),
    ),
    "review": parts.Act(
        "review", "作出复查决定", "cases.decide",
        lambda row, user: bool(row.review_by) and row.lifted_at is None
        and user.username not in (row.review_by, row.made_by),
        case_forms.ReviewDecision, _review,
        lambda row, user: {"methods": writs.methods(), "today": clock.today()},
        danger=True,
    ),
}  # fmt: skip


def _visible(user: User, pk: int) -> Restriction:
    rows = Restriction.objects.visible_to(user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("cases.view")
@require_GET
def restriction(request: PortalRequest, pk: int) -> HttpResponse:
    """One restriction: whose, how long, by what."""
    return _page(request, _visible(request.user, pk))


def _page(
    request: PortalRequest, row: Restriction, *, typed=None, key: str = "", status: int = 200
) -> HttpResponse:
    person = InsuredPerson.objects.filter(pk=row.person_id).first() if row.person_id else None
    looked(
        persons=[row.person_id], by=request.user.username, at=clock.now(), action="restriction.read",
        subject=f"restriction:{row.pk}", region_code=row.region_code,
        institution_code=row.institution_code,
    )  # fmt: skip
    doctor = Physician.objects.filter(pk=row.subject_code).first()
    place = Institution.objects.filter(pk=row.institution_code).first()
    facts = [
        {"label": "对象", "value": str(person) if person else doctor.name if doctor
         else subjects.called(row), "sub": _below(row, place.name if place else "")},
        {"label": "类别", "value": row.get_kind_display()},
        {"label": "期间", "value": f"{row.valid_from} 至 {row.valid_until or '长期'}"},
        {"label": "依据", "value": row.clause},
        {"label": "对结算的作用", "value": _effect(row)},
        {"label": "来源", "value": row.source, "code": True},
        {"label": "登记", "value": Login(row.made_by), "sub": f"{clock.local(row.made_at):%Y-%m-%d %H:%M}"},
        {"label": "法定最短期限", "value": f"至 {row.least_until}" if row.least_until else "—",
         "sub": f"已提出复查：{row.review_reason}" if row.review_by and not row.lifted_at else ""},
        {"label": "提前解除", "value": Login(row.lifted_by) or "—",
         "sub": "；".join(filter(None, (row.lift_paper, row.lift_reason)))},
    ]  # fmt: skip
    return render(request, "supervision/inspection.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "记分与暂停", "url": reverse("restrictions")},
                        {"label": row.get_kind_display(), "url": ""}],
        "facts_title": "登记", "title": row.get_kind_display(), "number": str(row.pk), "kind": "暂停与终止",
        "back": reverse("restrictions"), "facts": facts,
        "badge": {"word": "已解除" if row.lifted_at else "已登记",
                  "tone": "mute" if row.lifted_at else "warn"},
        "acts": parts.entries(ACTS, row, request.user, typed, key),
        "act_name": "restriction-act", "pk": row.pk,
    }), status=status)  # fmt: skip


@requires("cases.view")
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """End a restriction early."""
    row = _visible(request.user, pk)
    return parts.done(request, ACTS, key, row, "restriction", _page)
