"""Signed agreements: the list, and one agreement with its states, papers and what can be decided."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from agreements import lifecycle
from agreements.agreement_forms import NO_STATE, AgreementsQuery
from agreements.assessment import WHOLE, known_results
from agreements.models import Agreement, AgreementState, Application, Assessment
from agreements.views.dossier import Dossier, document_of
from agreements.views.institutions import TONES, pages_of
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from institutions.access import PortalRequest
from institutions.forms import OnDayAsKnown
from institutions.models import Institution, Region
from institutions.naming import named
from institutions.views import day_of, span
from institutions.views.tabs import ends

CRUMBS = [{"label": "协议与接入", "url": ""}]
BIGGEST_ID = 2**63 - 1
END_OF_DAY = dt.time(23, 59, 59, 999_999)
ORDERS = {
    "number": "number", "-number": "-number", "name": "institution__name",
    "-name": "-institution__name", "until": "valid_until", "-until": "-valid_until",
    "signed": "signed_on", "-signed": "-signed_on",
}  # fmt: skip


# --- The list ---


@requires("agreements.view")
@require_GET
def agreements(request: PortalRequest) -> HttpResponse:
    """Agreements inside the reader's scope with their state on a day."""
    inside = Institution.objects.visible_to(request.user)
    regions = Region.objects.filter(institution__in=inside).distinct().order_by("code")
    data = request.GET.copy()
    data.setdefault("on", clock.today().isoformat())
    form = AgreementsQuery(data, regions=regions, auto_id="agreements_%s")
    on, own = day_of(request), request.user.institution is not None
    if own:
        del form.fields["region"]
    rows = _with_state(Agreement.objects.filter(institution__in=inside), on)
    rows = _narrow(rows, form, on) if form.is_valid() else rows.none()
    sort = request.GET.get("sort", "")
    rows = rows.order_by(ORDERS.get(sort, "-valid_from"), "-pk")
    pages = pages_of(request, rows.count())
    shown = rows.select_related("institution__region")
    return render(request, "agreements/agreements.html", {
        "breadcrumbs": [*CRUMBS, {"label": "协议", "url": ""}], "form": form, "on": on,
        "table": _list(
            list(shown[pages.first_row - 1 : pages.first_row - 1 + pages.size]), pages, sort, on
        ),
    })  # fmt: skip


def _with_state(rows: QuerySet[Agreement], on: dt.date) -> QuerySet[Any]:
    states = AgreementState.objects.known().in_force(on=on).filter(agreement=OuterRef("pk"))
    return rows.annotate(state_on=Subquery(states.values("state")[:1]))


def _narrow(rows: QuerySet[Any], form: forms.Form, on: dt.date) -> QuerySet[Any]:
    given = form.cleaned_data
    if words := given["q"].strip():
        rows = rows.filter(
            Q(number__icontains=words) | Q(institution__name__icontains=words)
            | Q(institution__internet_hospital_name__icontains=words)
            | Q(institution__code__startswith=words.upper())
        )  # fmt: skip
    if given["kind"]:
        rows = rows.filter(kind=given["kind"])
    if given.get("region"):
        rows = rows.filter(institution__region_id=given["region"])
    if given["state"] == NO_STATE:
        rows = rows.filter(state_on__isnull=True)
    elif given["state"]:
        rows = rows.filter(state_on=given["state"])
    if given["ends"] == "over":
        rows = rows.filter(valid_until__lt=on)
    elif given["ends"]:
        last = on + dt.timedelta(days=int(given["ends"]))
        rows = rows.filter(valid_until__range=(on, last))
    return rows


def _list(shown: Sequence[Any], pages: Pages, sort: str, on: dt.date) -> Table:
    return Table(
        id="agreements", caption="协议", sort=sort, pages=pages,
        columns=[
            Column(label="协议编号", sort="number", wide=True),
            Column(label="医疗机构", sort="name", wide=True), Column(label="类型"),
            Column(label="状态"), Column(label="到期", sort="until"),
            Column(label="签订日", sort="signed"),
        ],
        rows=[_row(row, on) for row in shown],
        empty_title="没有符合条件的协议",
        empty_text="请放宽查询条件后再试；只显示您数据范围内的协议。",
    )  # fmt: skip


def _row(row: Any, on: dt.date) -> Row:
    url = reverse("agreement", args=[row.pk])
    end = Cell(text="未约定终止日")
    if row.valid_until:
        end = ends(row.valid_until, on, warn=settings.AGREEMENT_WARN_DAYS,
                   words=span(row.valid_from, row.valid_until))  # fmt: skip
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=url, code=True),
            Cell(text=row.institution.name, sub=row.institution.region.name),
            Cell(text=row.get_kind_display()), state_cell(row.state_on), end,
            Cell(text=str(row.signed_on or "")),
        ],
        actions=[Action(label="详情", url=url)],
    )  # fmt: skip


def state_cell(state: str | None) -> Cell:
    """A state as a badge; none on a day outside the term."""
    if state is None:
        return Cell(text="当日未生效", tone="mute")
    return Cell(text=AgreementState.State(state).label, tone=TONES[state])


# --- One agreement ---


@dataclass
class Typed:
    """What was sent and not carried out: forms by act, the preview of a decision, the status."""

    kept: dict[str, forms.Form] = field(default_factory=dict)
    preview: dict[str, Any] | None = None
    status: int = 200


def visible(request: PortalRequest, pk: int) -> Agreement:
    """An agreement inside the reader's scope; any other does not exist."""
    inside = Institution.objects.visible_to(request.user)
    rows = Agreement.objects.filter(institution__in=inside)
    rows = rows.select_related("institution__region", "institution__parent", "previous", "paper")
    return get_object_or_404(rows, pk=min(pk, BIGGEST_ID))


def shown(request: PortalRequest, found: Agreement) -> dict[str, Any]:
    """What the page shows to everybody who may open it."""
    form = OnDayAsKnown(request.GET if request.method == "GET" else None, auto_id="day_%s")
    given = form.cleaned_data if form.is_valid() else {}
    on, known_on = given.get("on") or clock.today(), given.get("known")
    states = list(found.states.order_by("-valid_from", "-recorded_at", "-pk"))
    now = _of_day(states, on, known_on)
    return named({
        "breadcrumbs": [*CRUMBS, {"label": "协议", "url": reverse("agreements")},
                        {"label": found.number, "url": ""}],
        "agreement": found, "institution": found.institution, "on": on, "known_on": known_on,
        "day_form": OnDayAsKnown(
            {"on": on.isoformat(), "known": known_on and known_on.isoformat()}, auto_id="day_%s"
        ),
        "badge": {"text": now.get_state_display() if now else "当日未生效",
                  "tone": TONES[now.state] if now else "mute"},
        "why": now, "facts": _facts(found), "related": _related(found, on),
        "states": _states(states, now), "papers": _papers(request, found),
        "paper": document_of(found.paper)
        if found.paper and request.user.may("documents.view") else None,
        "results": _results(request, found),
    })  # fmt: skip


def _of_day(
    states: Sequence[AgreementState], on: dt.date, known_on: dt.date | None
) -> AgreementState | None:
    """The state of a day, as known at the end of another day (None: as known now)."""
    moment = known_on and dt.datetime.combine(known_on, END_OF_DAY, clock.ZONE)
    for row in states:
        if row.valid_from > on or (row.valid_until is not None and row.valid_until < on):
            continue
        if moment is None:
            if row.superseded_at is None:
                return row
        elif row.recorded_at <= moment and (
            row.superseded_at is None or row.superseded_at > moment
        ):
            return row
    return None


def _facts(found: Agreement) -> list[dict[str, Any]]:
    row = found.institution
    left = Cell(text="")
    if found.valid_until:
        left = ends(found.valid_until, clock.today(), warn=settings.AGREEMENT_WARN_DAYS)
    facts: list[dict[str, Any]] = [
        {"label": "协议编号", "value": found.number, "code": True},
        {"label": "类型", "value": found.get_kind_display()},
        {"label": "医疗机构", "value": row.name, "sub": row.code,
         "url": reverse("institution", args=[row.code])},
        {"label": "所在区域", "value": row.region.name},
        {"label": "协议期", "value": span(found.valid_from, found.valid_until),
         "sub": left.text if left.tone in ("warn", "bad") else ""},
        {"label": "签订日", "value": str(found.signed_on or "")},
        {"label": "依据", "value": found.clause},
    ]  # fmt: skip
    if found.previous:
        facts.append({"label": "前一协议", "value": found.previous.number,
                      "url": reverse("agreement", args=[found.previous_id])})  # fmt: skip
    facts += [
        {"label": "续签协议", "value": later.number, "url": reverse("agreement", args=[later.pk])}
        for later in found.next.order_by("valid_from")
    ]
    return facts


def _related(found: Agreement, on: dt.date) -> list[dict[str, Any]]:
    """The agreements that hang together with it, with their state on the day."""
    rows = lifecycle.others(found, found.valid_from)
    known = AgreementState.objects.known().in_force(on=on).filter(agreement__in=rows)
    states = {state.agreement_id: state.state for state in known}
    return [
        {"number": row.number, "kind": row.get_kind_display(), "institution": row.institution.name,
         "span": span(row.valid_from, row.valid_until), "cell": state_cell(states.get(row.pk)),
         "url": reverse("agreement", args=[row.pk])}
        for row in reversed(rows)
    ]  # fmt: skip


def _states(states: Sequence[AgreementState], now: AgreementState | None) -> Table:
    """Every state that was ever recorded: when it holds, since when it is known."""
    return Table(
        id="states", caption="状态沿革", narrow="cards",
        columns=[Column(label="有效期"), Column(label="状态"), Column(label="理由与依据", wide=True),
                 Column(label="登记"), Column(label="记录")],
        rows=[
            Row(key=str(row.pk), label=row.get_state_display(), tone="ok" if row is now else "",
                cells=[
                    Cell(text=f"{row.valid_from} 起",
                         sub=f"至 {row.valid_until}" if row.valid_until else ""),
                    Cell(text=row.get_state_display(), tone=TONES[row.state]),
                    Cell(text=row.reason or "—", sub=row.clause),
                    Cell(text=f"{clock.local(row.recorded_at):%Y-%m-%d}", sub=row.recorded_by,
                         title=f"{clock.local(row.recorded_at):%Y-%m-%d %H:%M:%S}"),
                    _knowledge(row, current=row is now),
                ])
            for row in states
        ],
        empty_title="没有登记状态",
    )  # fmt: skip


def _knowledge(row: AgreementState, *, current: bool) -> Cell:
    if row.superseded_at is not None:
        over = f"{clock.local(row.superseded_at):%Y-%m-%d} 被取代"
        return Cell(text="所选时点" if current else "已被取代", sub=over, tone="mute")
    return Cell(text="所选时点" if current else "现行", tone="ok" if current else "info")


def _papers(request: PortalRequest, found: Agreement) -> list[dict[str, Any]]:
    """The signed files, by the application they come from."""
    if not (request.user.may("applications.view") and request.user.may("documents.view")):
        return []
    sources = Application.objects.filter(contracts__agreement=found).distinct()
    return [
        {"application": source, "contracts": [
            entry for entry in Dossier(source, user=request.user, today=clock.today()).contracts()
            if entry["row"].agreement_id == found.pk
        ]}
        for source in sources.select_related("institution__region").order_by("pk")
    ]  # fmt: skip


def _results(request: PortalRequest, found: Agreement) -> list[dict[str, Any]]:
    """The yearly results that a renewal looks at."""
    if not request.user.may("assessments.view"):
        return []
    return [result_of(row) for row in known_results(found.institution)[:3]]


def result_of(row: Assessment) -> dict[str, Any]:
    """A yearly result as pages name it."""
    return {
        "year": row.year, "total": yuan(row.total), "coefficient": rate(row.coefficient),
        "renewal": row.renewal, "example": row.example,
        "tone": "ok" if row.coefficient >= WHOLE else "warn",
        "url": reverse("assessment", args=[row.institution_id, row.year]),
    }  # fmt: skip
