"""Prescriptions and goods: the list, one joined flow of information, money and goods, the gaps."""

import datetime as dt
from typing import Any

import django_filters
from django import forms
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock, trail
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import named
from pricing.releases import current
from settlement import evidence, words
from settlement.detail import moment
from settlement.drug_returns import left_of
from settlement.flow import Flow
from settlement.goods_desk import Desk
from settlement.models import Claim, Evidence, EvidenceGap, Prescription, PrescriptionCharge
from settlement.search import CURSOR
from settlement.views.drug_returns import RETURN

CRUMBS = [{"label": "结算", "url": ""}]
BIGGEST_ID = 2**63 - 1
PAGE, SIZES = 20, (20, 50, 100)
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")


def _named(request: PortalRequest, value: str) -> list[str]:
    """Codes of the institutions that a word names, inside the reader's scope."""
    places = Institution.objects.filter(
        Q(code=value.upper()) | Q(name__icontains=value) | Q(aliases__icontains=value)
    )
    return list(places.values_list("code", flat=True)[:200])


class PlaceFilter(django_filters.FilterSet):
    """What both query bars ask for: the institution, by name or code."""

    institution = django_filters.CharFilter(
        label="机构", method="by_institution", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip

    def by_institution(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(institution_code__in=_named(self.request, value))

    def found(self) -> QuerySet:
        """The rows of a valid query; a query with an error finds nothing."""
        return self.qs if self.form.is_valid() else self.queryset.none()


class PrescriptionFilter(PlaceFilter):
    """The query bar of prescriptions."""

    number = django_filters.CharFilter(label="处方号", field_name="number", max_length=40)
    state = django_filters.ChoiceFilter(
        label="处方状态", choices=Prescription.State.choices, empty_label="全部"
    )
    since = django_filters.DateFilter(
        label="开具日起", field_name="issued_on", lookup_expr="gte", widget=DAY
    )
    until = django_filters.DateFilter(
        label="开具日止", field_name="issued_on", lookup_expr="lte", widget=DAY
    )
    pharmacy = django_filters.CharFilter(
        label="流转药店", method="by_pharmacy", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip
    source = django_filters.ChoiceFilter(
        label="来源", choices=Prescription.Source.choices, empty_label="全部"
    )

    class Meta:
        model = Prescription
        fields = ()

    def by_pharmacy(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        released = {"releases__institution_code__in": _named(self.request, value)}
        return rows.filter(releases__recalled_at__isnull=True, **released).distinct()


class GapFilter(PlaceFilter):
    """The query bar of missing and late evidence."""

    state = django_filters.ChoiceFilter(
        label="状态", choices=EvidenceGap.State.choices, empty_label="全部"
    )
    kind = django_filters.ChoiceFilter(
        label="材料", choices=Evidence.Kind.choices, empty_label="全部"
    )
    encounter = django_filters.CharFilter(
        label="就诊编号", field_name="encounter_id", max_length=60
    )

    class Meta:
        model = EvidenceGap
        fields = ()


def _tabs(request: PortalRequest, now: str) -> list[dict]:
    missing = EvidenceGap.objects.visible_to(request.user).filter(state="missing").count()
    return [
        {"label": "处方", "url": reverse("prescriptions"), "current": now == "prescriptions"},
        {"label": "缺少或迟交材料", "url": reverse("evidence-gaps"), "current": now == "gaps",
         "count": f"{missing:,}"},
    ]  # fmt: skip


def _own(request: PortalRequest, chosen: PlaceFilter) -> bool:
    """Whether the reader is of one institution: the query bar then asks for no other."""
    if request.user.institution_id:
        chosen.form.fields.pop("institution")
    return bool(request.user.institution_id)


@requires("medicines.view")
@require_GET
def prescriptions(request: PortalRequest) -> HttpResponse:
    """The query bar and a page of prescriptions, newest first."""
    seen = Prescription.objects.visible_to(request.user).select_related("person")
    chosen = PrescriptionFilter(request.GET, queryset=seen, request=request)
    rows, pages = _page(request, chosen.found())
    place = request.user.institution
    issuer = place is None or place.kind != Institution.Kind.MEDICAL
    if not issuer:
        _own(request, chosen)
    return render(request, "settlement/prescriptions.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "处方与药品", "url": ""}],
        "tabs": _tabs(request, "prescriptions"), "form": chosen.form,
        "table": _table(rows, pages, issuer=issuer, waiting=_waiting(request, rows)),
    }))  # fmt: skip


def _page(request: PortalRequest, rows: QuerySet) -> tuple[list[Prescription], Pages]:
    """A keyset page by id; an odd cursor is the first page."""
    asked = request.GET.get("size")
    size = int(asked) if asked in {str(one) for one in SIZES} else PAGE
    match = CURSOR.match(request.GET.get("cursor", ""))
    newer = False
    if match:
        newer, bound = match[1] == ">", int(match[2])
        rows = rows.filter(pk__gt=bound) if newer else rows.filter(pk__lt=bound)
    found = list(rows.order_by("pk" if newer else "-pk")[: size + 1])
    more, found = len(found) > size, found[:size]
    if newer:
        found.reverse()
    if not found:
        return [], Pages(size=size, sizes=SIZES)
    back, on = (more, True) if newer else (bool(match), more)
    return found, Pages(
        size=size, sizes=SIZES, previous=f">{found[0].pk}" if back else None,
        next=f"<{found[-1].pk}" if on else None,
    )  # fmt: skip


def _waiting(request: PortalRequest, rows: list[Prescription]) -> set[int]:
    """Which of the rows wait to be dispensed by the reader's institution."""
    if not (request.user.institution_id and request.user.may(RETURN)):
        return set()
    mine = Prescription.objects.filter(pk__in=[row.pk for row in rows])
    ready = mine.to_dispense(request.user.institution_id, on=clock.today())
    return set(ready.values_list("pk", flat=True))


def _table(rows: list[Prescription], pages: Pages, *, issuer: bool, waiting: set[int]) -> Table:
    """`issuer`: whether the institution that issued them is told; a hospital sees its own only."""
    names = Institution.objects.in_bulk({row.institution_code for row in rows})
    columns = [
        Column(label="处方号"), Column(label="开具机构", wide=True), Column(label="参保人"),
        Column(label="诊断", wide=True), Column(label="开具日"), Column(label="有效期至"),
        Column(label="状态"),
    ]  # fmt: skip
    places = [str(names.get(row.institution_code, row.institution_code)) for row in rows]
    return Table(
        id="prescriptions", caption="处方",
        columns=[column for column in columns if issuer or column.label != "开具机构"],
        rows=[_row(row, place if issuer else "", waits=row.pk in waiting)
              for row, place in zip(rows, places, strict=True)],
        pages=pages, empty_title="没有符合条件的处方",
        empty_text="处方由医院的系统上传；流转到本店的处方也列在这里。",
    )  # fmt: skip


def _row(row: Prescription, place: str, *, waits: bool) -> Row:
    url = reverse("prescription", args=[row.pk])
    main = next((d["name"] for d in row.visit["diagnoses"] if d.get("main")), "")
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=url, code=True, sub=row.get_source_display()),
            *([Cell(text=place, sub=row.institution_code)] if place else ()),
            Cell(text=row.person.name_masked, sub=row.person.id_masked),
            Cell(text=main), Cell(text=row.issued_on.isoformat()),
            Cell(text=row.expires_on.isoformat() if row.expires_on else "不限"),
            Cell(text=row.get_state_display(), tone=words.PRESCRIPTION_TONES[row.state]),
        ],
        actions=[*([Action(label="调配", url=f"{url}#acts-title")] if waits else ()),
                 Action(label="三流", url=url)],
    )  # fmt: skip


@requires("medicines.view")
@require_GET
def prescription(request: PortalRequest, pk: int) -> HttpResponse:
    """One prescription with the flows of information, money and goods; looking is an event."""
    if request.user.may(RETURN) and request.user.institution_id:
        desk = desk_of(request, pk)
        return shown(request, desk.found, desk.flow, desk)
    found = _one(request, pk)
    return shown(request, found, _flow(request, found, clock.now()))


def _one(request: PortalRequest, pk: int) -> Prescription:
    rows = Prescription.objects.visible_to(request.user).select_related("person")
    return get_object_or_404(rows.prefetch_related("lines", "releases"), pk=known(pk))


def _flow(request: PortalRequest, found: Prescription, at: dt.datetime) -> Flow:
    return Flow.of_prescription(found, user=request.user, catalogue=current(), at=at)


def desk_of(request: PortalRequest, pk: int) -> Desk:
    """A prescription that the reader's institution issued or may dispense; else 404."""
    place = request.user.institution
    if place is None:
        raise Http404
    found, at = _one(request, pk), clock.now()
    return Desk(place, found, _flow(request, found, at), at)


def shown(
    request: PortalRequest, found: Prescription, flow: Flow, desk: Desk | None = None, *,
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    """The page of a prescription, with what the reader's institution may do; looking is an event."""
    trail.record(
        by=request.user.username, at=flow.at, action="prescription.read",
        subject=f"prescription:{found.pk}", region_code=found.region_code,
        institution_code=found.institution_code, person_hash=bytes(found.person.id_hash),
        detail={"number": found.number},
    )  # fmt: skip
    state = {"text": found.get_state_display(), "tone": words.PRESCRIPTION_TONES[found.state]}
    place = flow.institutions.get(found.institution_code, found.institution_code)
    return _shown(request, flow, title=found.number, state=state, desk=desk, status=status, facts=[
        {"label": "开具机构", "value": place, "sub": found.institution_code},
        {"label": "参保人", "value": found.person.name_masked, "sub": found.person.id_masked},
        {"label": "诊断", "value": "、".join(
            f"{d['name']}（{d['code']}）" for d in found.visit["diagnoses"])},
        {"label": "就诊编号", "value": found.encounter_id, "code": True},
        {"label": "开具日", "value": found.issued_on.isoformat(),
         "sub": f"有效期至 {found.expires_on}" if found.expires_on else ""},
        {"label": "内容摘要（SM3）", "value": found.content_sm3, "code": True, "wide": True},
    ])  # fmt: skip


@requires("medicines.view")
@require_GET
def claim_flow(request: PortalRequest, claim_id: int) -> HttpResponse:
    """The flow of a claim: that of its prescription, or its own when it has none."""
    found = get_object_or_404(Claim.objects.visible_to(request.user), pk=known(claim_id))
    charge = PrescriptionCharge.objects.filter(claim_id=found.pk).order_by("pk").first()
    if charge is not None:
        return redirect("prescription", pk=charge.prescription_id)
    flow = Flow.of_claim(found, user=request.user, catalogue=current(), at=clock.now())
    place = flow.institutions.get(found.institution_code, found.institution_code)
    return _shown(request, flow, title=found.claim_no, state=None, facts=[
        {"label": "医疗机构", "value": place, "sub": found.institution_code},
        {"label": "服务日期", "value": found.service_date.isoformat()},
        {"label": "就诊编号", "value": found.encounter_id, "code": True},
    ])  # fmt: skip


def _shown(
    request: PortalRequest, flow: Flow, *, title: str, state: dict | None, facts: list[dict],
    desk: Desk | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    flows = [
        {"key": "information", "title": "信息流", "icon": "document-text",
         "about": "就诊、实名、病历、处方", "steps": flow.information()},
        {"key": "money", "title": "资金流", "icon": "banknotes",
         "about": "申报、结算、入账、结算单", "steps": flow.money()},
        {"key": "goods", "title": "物流", "icon": "truck",
         "about": "调配、追溯码、配送、签收", "steps": flow.goods()},
    ]  # fmt: skip
    drugs = flow.drugs()
    return render(request, "settlement/flow.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "处方与药品", "url": reverse("prescriptions")},
                        {"label": title, "url": ""}],
        "title": title, "state": state, "facts": facts, "flows": flows, "drugs": drugs,
        "dispensings": _returnable(request, flow), "missing": flow.missing,
        "law": evidence.clause(current(), flow.region, clock.today()),
        "acts": desk.acts() if desk else [],
    }), status=status)  # fmt: skip


def _returnable(request: PortalRequest, flow: Flow) -> list[dict[str, str]]:
    """Own dispensings of which something is still out: it may come back."""
    if not request.user.may(RETURN):
        return []
    return [
        {"number": one.number, "url": reverse("drug-return", args=[one.pk])}
        for one in flow.dispensings
        if one.institution_code == request.user.institution_id
        and any(left_of(line) for line in one.lines.all())
    ]


@requires("medicines.view")
@require_GET
def gaps(request: PortalRequest) -> HttpResponse:
    """What is missing after its tolerated delay, or came later."""
    seen = EvidenceGap.objects.visible_to(request.user)
    chosen = GapFilter(request.GET, queryset=seen, request=request)
    asked = request.GET.get("size")
    size = int(asked) if asked in {str(one) for one in SIZES} else PAGE
    page = Paginator(chosen.found(), size).get_page(request.GET.get("page"))
    own = _own(request, chosen)
    return render(request, "settlement/evidence_gaps.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "处方与药品", "url": reverse("prescriptions")},
                        {"label": "缺少或迟交材料", "url": ""}],
        "tabs": _tabs(request, "gaps"), "form": chosen.form,
        "table": _gaps(list(page), page.paginator.count, page.number, size, own=own),
    }))  # fmt: skip


def _gaps(rows: list[EvidenceGap], total: int, number: int, size: int, *, own: bool) -> Table:
    names = Institution.objects.in_bulk({row.institution_code for row in rows})
    columns = [Column(label="就诊编号"), Column(label="机构", wide=True), Column(label="材料"),
               Column(label="最迟上传"), Column(label="收到"), Column(label="状态")]  # fmt: skip
    kept = [column for column in columns if not (own and column.label == "机构")]
    return Table(
        id="gaps", caption="缺少或迟交材料", columns=kept,
        rows=[_gap(row, None if own else names.get(row.institution_code)) for row in rows],
        pages=Pages(total=total, size=size, page=number, sizes=SIZES),
        empty_title="没有缺少或迟交的材料", empty_text="超过容许延迟的就诊材料会列在这里。",
    )  # fmt: skip


def _gap(row: EvidenceGap, place: Institution | None) -> Row:
    url = reverse("claim-flow", args=[row.claim_id])
    late = row.state == EvidenceGap.State.LATE
    cells: list[Any] = [Cell(text=row.encounter_id, url=url, code=True)]
    if place is not None:
        cells.append(Cell(text=place.name, sub=place.code))
    cells += [
        Cell(text=row.get_kind_display()), Cell(text=moment(row.due_at)[:16]),
        Cell(text=moment(row.received_at)[:16] if row.received_at else "—"),
        Cell(text=row.get_state_display(), tone="warn" if late else "bad"),
    ]  # fmt: skip
    return Row(
        key=str(row.pk), label=row.encounter_id, cells=cells,
        actions=[Action(label="三流", url=url)],
    )  # fmt: skip


def known(pk: int) -> int:
    """An id that a row can have; else 404."""
    if pk > BIGGEST_ID:
        raise Http404
    return pk
