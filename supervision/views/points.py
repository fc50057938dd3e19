"""Queues of practitioners by points and of persons whose online settlement is suspended."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.paginator import Page, Paginator
from django.db.models import (
    Case,
    CharField,
    DateField,
    Exists,
    F,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.models import Institution, Physician, User
from institutions.naming import Login, named
from settlement.models import InsuredPerson
from supervision import point_forms, repairs, subjects
from supervision.models import PointEntry, PointRepair, Restriction, Sanction, SupervisionCase
from supervision.subjects import Tariff
from supervision.views import parts
from supervision.views.cases import CRUMBS, SIZE

BARRED = (Restriction.Kind.PRACTITIONER, Restriction.Kind.TERMINATED)
#: of several restrictions the one that stays: a termination before suspensions, then the last to end
LAST = ("-kind", F("valid_until").desc(nulls_first=True))


def tabs(current: str) -> list[dict[str, Any]]:
    """The three queues of one subject."""
    pages = (
        ("points", "年度记分"), ("restricted-persons", "参保人员"), ("restrictions", "暂停与终止"),
    )  # fmt: skip
    return [{"label": label, "url": reverse(name), "current": name == current}
            for name, label in pages]  # fmt: skip


# --- Practitioners ---


def counted(user: User, year: int, today: dt.date) -> QuerySet[Any]:
    """Practitioners with points in a year, under a restriction, or with a repair that waits."""
    entries = (
        PointEntry.objects.visible_to(user)
        .filter(year=year, practitioner_code=OuterRef("pk"))
        .order_by()
        .values("practitioner_code")
    )
    barred = (
        Restriction.objects.visible_to(user)
        .in_force(on=today)
        .filter(subject_code=OuterRef("pk"), kind__in=BARRED)
    )
    waiting = PointRepair.objects.filter(practitioner_code=OuterRef("pk"), state="proposed")
    rows = Physician.objects.filter(institution__in=Institution.objects.visible_to(user)).annotate(
        sum=Subquery(entries.annotate(sum=Sum("points")).values("sum")),
        most=Subquery(entries.annotate(most=Max("points")).values("most")),
        ended=Exists(barred.filter(kind=Restriction.Kind.TERMINATED)),
        stopped=Exists(barred), waiting=Exists(waiting),
    )  # fmt: skip
    rows = rows.filter(Q(sum__isnull=False) | Q(stopped=True) | Q(waiting=True))
    return rows.annotate(total=Coalesce("sum", 0)).select_related("institution")


def near(rows: QuerySet[Any], today: dt.date) -> Q:
    """One more entry as high as their highest leads to a measure that does not hold yet."""
    found = Q(pk__in=[])
    for code in rows.values_list("institution__region", flat=True).distinct().order_by():
        tariff = Tariff.of(code, today)
        for least, held in ((tariff.suspend_from, "stopped"), (tariff.terminate_from, "ended")):
            if least is not None:
                reach = Q(reach__gte=least, total__lt=least, **{held: False})
                found |= Q(institution__region=code) & reach
    return found


def standing(rows: QuerySet[Any], key: str, today: dt.date) -> QuerySet[Any]:
    """The practitioners who stand so."""
    wanted = {
        "repair": Q(waiting=True), "suspended": Q(stopped=True, ended=False),
        "terminated": Q(ended=True), "counted": Q(total__gt=0),
    }  # fmt: skip
    if key == "near":
        reaching = rows.annotate(reach=F("total") + Coalesce("most", 0))
        return reaching.filter(near(reaching, today))
    return rows.filter(wanted[key]) if key else rows


@requires("cases.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """The practitioners of the area with the year's points: where each stands, what comes next."""
    form, today = point_forms.PointsQuery(request.GET), clock.today()
    rows: QuerySet[Any] = Physician.objects.none()
    if form.is_valid():
        given = form.cleaned_data
        rows = counted(request.user, today.year, today)
        if given["kind"]:
            rows = rows.filter(kind=given["kind"])
        if text := given["q"].strip():
            rows = rows.filter(Q(code__icontains=text) | Q(name__icontains=text))
        rows = standing(rows, given["standing"], today)
        rows = rows.order_by("-waiting", "-total", "pk")
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "记分与暂停", "url": ""}], "form": form,
        "title": "记分与暂停", "target": "points", "tabs": tabs("points"),
        "subtitle": f"医师、药师、护士{today.year}年度记分；每年1月1日重新计算。",
        "table": Table(
            id="points", caption=f"{today.year}年度记分",
            columns=[Column(label="医师、药师、护士"), Column(label="医疗机构", wide=True),
                     Column(label="累计分值", numeric=True), Column(label="状态"),
                     Column(label="下一步"), Column(label="日期")],
            rows=_rows(page, today),
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有符合条件的人员",
            empty_text="处理决定登记记分后，或医保服务资格被暂停、终止期间，在此列出。",
        ),
    })  # fmt: skip


def _rows(page: Page, today: dt.date) -> list[Row]:
    codes = [row.pk for row in page]
    barred: dict[str, Restriction] = {}
    found = Restriction.objects.in_force(on=today).filter(subject_code__in=codes, kind__in=BARRED)
    for one in found.order_by(*LAST):
        barred.setdefault(one.subject_code, one)
    tariffs: dict[str, Tariff] = {}
    shown = []
    for row in page:
        area = row.institution.region_id
        tariff = tariffs.get(area) or tariffs.setdefault(area, Tariff.of(area, today))
        address = reverse("practitioner-points", args=[row.pk])
        word, tone, then, day = next_of(row.total, tariff, barred.get(row.pk), row.waiting, today)
        shown.append(Row(key=row.pk, label=row.name, cells=[
            Cell(text=row.name, url=address, sub=f"{row.get_kind_display()} {row.pk}"),
            Cell(text=row.institution.name), Cell(text=str(row.total)), Cell(text=word, tone=tone),
            Cell(text=then, sub=tariff.label if tariff.example else ""), Cell(text=day),
        ], actions=[Action(label="查看", url=address)]))  # fmt: skip
    return shown


def next_of(
    total: int, tariff: Tariff, barred: Restriction | None, waiting: bool, today: dt.date
) -> tuple[str, str, str, str]:
    """Where a practitioner stands (word, tone), what comes next, and on which day."""
    anew = str(dt.date(today.year + 1, 1, 1))
    if waiting:
        return "修复待审批", "warn", "由提出人以外的人审批信用修复", str(today)
    if barred is not None and barred.kind == Restriction.Kind.TERMINATED:
        return "已终止", "bad", "不再恢复", "长期"
    held = barred is not None
    steps = ((tariff.terminate_from, "终止"),) if held else (
        (tariff.suspend_from, "暂停"), (tariff.terminate_from, "终止"),
    )  # fmt: skip
    more = next(
        (f"再记{n - total}分{word}" for n, word in steps if n is not None and total < n), ""
    )
    if barred is None:
        return "已记分", "info", "；".join(filter(None, (more, "期满重新计算"))), anew
    end = barred.valid_until
    then = "；".join(filter(None, ("期满恢复", more)))
    return "暂停中", "bad", then, str(end + subjects.DAY) if end else "长期"


# --- One practitioner ---


def _open(row: Physician) -> PointRepair | None:
    return PointRepair.objects.filter(practitioner_code=row.pk, state="proposed").first()


def _decidable(row: Physician, user: User) -> bool:
    repair = _open(row)
    return repair is not None and repair.proposed_by != user.username


def _decide(row: Physician, form: forms.Form, who: User, *, approve: bool) -> object:
    repair = get_object_or_404(PointRepair, practitioner_code=row.pk, state="proposed")
    return repairs.decide(
        repair=repair, approve=approve, note=form.cleaned_data["note"], who=who, at=clock.now()
    )


def _propose(row: Physician, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return repairs.propose(
        practitioner=row, points=given["points"], course=given["course"],
        file=(given["file"].name, given["file"].read()), by=who.username, at=clock.now(),
    )  # fmt: skip


ACTS: Mapping[str, parts.Act] = {
    "approve": parts.Act(
        "approve", "批准信用修复", repairs.DECIDE, _decidable, point_forms.RepairNote,
        lambda row, form, who: _decide(row, form, who, approve=True),
    ),
    "refuse": parts.Act(
        "refuse", "不予信用修复", repairs.DECIDE, _decidable, point_forms.RepairRefusal,
        lambda row, form, who: _decide(row, form, who, approve=False), danger=True,
    ),
    "propose": parts.Act(
        "propose", "提出信用修复", repairs.HANDLE,
        lambda row, user: _open(row) is None and subjects.repairable(row, clock.today()) > 0,
        point_forms.RepairForm, _propose,
    ),
}  # fmt: skip


def _visible(user: User, pk: str) -> Physician:
    places = Institution.objects.visible_to(user)
    rows = Physician.objects.filter(institution__in=places).select_related("institution")
    return get_object_or_404(rows, pk=pk)


@requires("cases.view")
@require_GET
def practitioner(request: PortalRequest, pk: str) -> HttpResponse:
    """A practitioner's points: the year's sum, what it leads to, every entry, every repair."""
    return _page(request, _visible(request.user, pk))


@requires("cases.view")
@require_POST
def act(request: PortalRequest, pk: str, key: str) -> HttpResponse:
    """Propose a repair, approve or refuse one."""
    return parts.done(
        request, ACTS, key, _visible(request.user, pk), "practitioner-points", _page
    )  # fmt: skip


def _page(
    request: PortalRequest, row: Physician, *, typed: forms.Form | None = None, key: str = "",
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    today = clock.today()
    tariff, total = (
        Tariff.of(row.institution.region_id, today),
        subjects.total_of(row.pk, today.year),
    )
    barred = Restriction.objects.in_force(on=today).filter(subject_code=row.pk, kind__in=BARRED)
    word, tone, then, day = next_of(
        total, tariff, barred.order_by(*LAST).first(), _open(row) is not None, today
    )
    facts = [
        {"label": "人员", "value": row.name, "sub": f"{row.get_kind_display()} {row.pk}"},
        {"label": "医疗机构", "value": row.institution.name},
        {"label": f"{today.year}年度累计", "value": f"{total}分"},
        {"label": "还可修复", "value": f"{subjects.repairable(row, today)}分",
         "sub": f"每年至多{tariff.repair_most}分" if tariff.repair_most else "统筹区没有规定修复"},
        {"label": "下一步", "value": then, "sub": day},
        {"label": "依据", "value": tariff.clause or "—",
         "sub": tariff.label if tariff.example else ""},
    ]  # fmt: skip
    return render(request, "supervision/inspection.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "记分与暂停", "url": reverse("points")},
                        {"label": row.name, "url": ""}],
        "facts_title": "记分情况", "title": row.name, "number": row.pk, "kind": "年度记分",
        "back": reverse("points"), "facts": facts, "badge": {"word": word, "tone": tone},
        "acts": parts.entries(ACTS, row, request.user, typed, key),
        "act_name": "practitioner-act", "pk": row.pk,
        "tasks_title": "历次记分", "tasks": _entries(request.user, row),
        "events_title": "信用修复", "events": _repairs(request.user, row),
    }), status=status)  # fmt: skip


def _entries(user: User, row: Physician) -> Table:
    found = PointEntry.objects.visible_to(user).filter(practitioner_code=row.pk)
    return Table(
        id="entries", caption="历次记分", show_caption=False, actions=False,
        columns=[Column(label="年度"), Column(label="类别"), Column(label="分值", numeric=True),
                 Column(label="行为或事由", wide=True), Column(label="依据"),
                 Column(label="提出、登记")],
        rows=[Row(key=str(one.pk), label=one.behaviour, cells=[
            Cell(text=str(one.year)), Cell(text=one.get_kind_display()),
            Cell(text=f"{one.points:+d}"), Cell(text=one.behaviour), Cell(text=one.clause),
            Cell(text=Login(one.proposed_by), sub=Login(one.entered_by)),
        ]) for one in found],
        empty_title="没有记分", empty_text="记分由处理决定登记。",
    )  # fmt: skip


TONES = {"proposed": "warn", "approved": "ok", "refused": "bad"}


def _repairs(user: User, row: Physician) -> Table:
    found = PointRepair.objects.visible_to(user).filter(practitioner_code=row.pk)
    return Table(
        id="repairs", caption="信用修复", show_caption=False, actions=False,
        columns=[Column(label="提出"), Column(label="修复分值", numeric=True),
                 Column(label="事由与材料", wide=True), Column(label="状态"),
                 Column(label="审批", wide=True)],
        rows=[Row(key=str(one.pk), label=one.course, cells=[
            Cell(text=Login(one.proposed_by), sub=f"{clock.local(one.proposed_at):%Y-%m-%d %H:%M}"),
            Cell(text=str(one.points)),
            Cell(text=one.course, sub=one.document.name,
                 url=reverse("document", args=[one.document_id])),
            Cell(text=one.get_state_display(), tone=TONES[one.state]),
            Cell(text=Login(one.decided_by) or "—", sub=one.note),
        ]) for one in found.select_related("document")],
        empty_title="没有信用修复", empty_text="参加培训并考核合格等情形，可在统筹区规定的限度内修复记分。",
    )  # fmt: skip


# --- Persons ---

WORDS = {
    "proposed": ("拟暂停", "warn", "由案件审批作出决定"), "ordered": ("待执行", "warn", "执行处理决定"),
    "running": ("暂停中", "bad", "期满恢复联网结算"), "over": ("已届满", "mute", "已恢复联网结算"),
}  # fmt: skip
FIELDS = ("what", "person", "since", "until", "link", "length")


def persons_of(user: User, state: str, today: dt.date) -> QuerySet[Any, Any]:
    """Measures that wait and restrictions of persons, what waits first: rows of FIELDS."""
    none = Value(None, output_field=DateField())
    cases = SupervisionCase.objects.visible_to(user).filter(person_id__isnull=False)
    measures = Sanction.objects.filter(
        case__in=cases, kind="suspend_person", state__in=("proposed", "ordered")
    )
    over = When(valid_until__lt=today, then=Value("over"))
    waiting = measures.order_by().annotate(
        what=F("state"), person=F("case__person_id"), since=none, until=none, link=F("case_id"),
        length=F("months"),
    )  # fmt: skip
    rows = Restriction.objects.visible_to(user).filter(kind=Restriction.Kind.ONLINE).order_by()
    held = rows.annotate(
        what=Case(over, default=Value("running"), output_field=CharField(max_length=8)),
        person=F("person_id"), since=F("valid_from"), until=F("valid_until"), link=F("id"),
        length=Value(None, output_field=IntegerField()),
    )  # fmt: skip
    if state:
        waiting, held = waiting.filter(what=state), held.filter(what=state)
    else:
        held = held.exclude(what="over")
    return waiting.values_list(*FIELDS).union(held.values_list(*FIELDS), all=True)


@requires("cases.view")
@require_GET
def persons(request: PortalRequest) -> HttpResponse:
    """Insured persons whose online settlement is or is to be suspended (国务院令第735号 第41条)."""
    form, today = point_forms.PersonsQuery(request.GET), clock.today()
    found: Any = []
    if form.is_valid():
        rows = persons_of(request.user, form.cleaned_data["state"], today)
        found = rows.order_by(F("until").asc(nulls_first=True), "what", "link")
    page = Paginator(found, SIZE).get_page(request.GET.get("page"))
    names = InsuredPerson.objects.in_bulk([row[1] for row in page])
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "记分与暂停", "url": ""}], "form": form,
        "title": "记分与暂停", "target": "restricted-persons", "tabs": tabs("restricted-persons"),
        "subtitle": "被暂停或拟暂停医疗费用联网结算的参保人员；手工报销不受影响。",
        "table": Table(
            id="persons", caption="参保人员",
            columns=[Column(label="参保人员", wide=True), Column(label="状态"),
                     Column(label="期间"), Column(label="下一步"), Column(label="日期")],
            rows=[_person(row, names) for row in page],
            pages=Pages(total=page.paginator.count, page=page.number, size=SIZE, sizes=(SIZE,)),
            empty_title="没有被暂停联网结算的参保人员",
            empty_text="案件拟定或决定暂停参保人员联网结算后，在此列出。",
        ),
    })  # fmt: skip


def _person(row: tuple, names: Mapping[int, InsuredPerson]) -> Row:
    what, person, since, until, link, months = row
    word, tone, then = WORDS[what]
    name = str(names.get(person, "—"))
    address = reverse("restriction" if since else "case", args=[link])
    span = f"{since} 至 {until or '长期'}" if since else f"{months}个月"
    day = str(until + subjects.DAY) if until else "—"
    return Row(key=f"{what}-{link}", label=name, cells=[
        Cell(text=name, url=address), Cell(text=word, tone=tone), Cell(text=span), Cell(text=then),
        Cell(text=day),
    ], actions=[Action(label="查看", url=address)])  # fmt: skip
