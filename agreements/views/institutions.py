"""Institutions by the state of their agreements."""

import datetime as dt

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from agreements.forms import NOT_SIGNED, AgreementQuery
from agreements.models import Agreement, AgreementState
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.exchange.export import ENDINGS
from institutions.models import Institution, InstitutionQuerySet, Region
from institutions.views import day_of, price_class
from institutions.views.exchange import exported

SIZES = (20, 50, 100)
TONES = {
    "active": "ok",
    "signed": "ok",
    "online_signed_paper_pending": "info",
    "suspended": "warn",
    "terminated": "bad",
    "expired": "mute",
}
ORDERS = {
    "code": "code",
    "-code": "-code",
    "name": "name",
    "-name": "-name",
    "region": "region_id",
    "-region": "-region_id",
}


@requires("institutions.view")
@require_GET
def institution_list(request: PortalRequest) -> HttpResponse:
    """Institutions inside the reader's scope with their facts and agreement on a day."""
    rows, form, on = _asked(request)
    sort = request.GET.get("sort", "code")
    rows = rows.order_by(ORDERS.get(sort, "code"), "code").select_related("region")
    pages = pages_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + pages.size])
    states = AgreementState.objects.of(shown, kind=Agreement.Kind.SUPPLEMENTARY, on=on)
    table = Table(
        id="institutions",
        caption="医疗机构",
        sort=sort,
        pages=pages,
        toolbar=_toolbar(request),
        columns=[
            Column(label="名称", sort="name", wide=True),
            Column(label="编码", sort="code"),
            Column(label="区域", sort="region"),
            Column(label="价格类别"),
            Column(label="等级"),
            Column(label="所有制"),
            Column(label="补充协议"),
        ],
        rows=[_row(found, states.get(found.code), request.GET.get("on", "")) for found in shown],
        empty_title="没有符合条件的医疗机构",
        empty_text="请放宽查询条件后再试；只显示您数据范围内的机构。",
    )
    return render(
        request,
        "agreements/institutions.html",
        {
            "form": form,
            "table": table,
            "on": on,
            "breadcrumbs": [{"label": "政策与机构", "url": ""}, {"label": "医疗机构", "url": ""}],
        },
    )


@requires("registry.view")
@require_GET
def institutions_export(request: PortalRequest, key: str, ending: str) -> HttpResponse:
    """A sheet of the registry for the institutions of the current query."""
    rows, _, on = _asked(request)
    found = Institution.objects.filter(pk__in=rows.order_by().values("pk"))
    return exported(request, key=key, ending=ending, institutions=found, on=on)


def _asked(request: PortalRequest) -> tuple[InstitutionQuerySet, AgreementQuery, dt.date]:
    """The institutions of a query inside the reader's scope, its form and its day."""
    visible = Institution.objects.visible_to(request.user)
    regions = Region.objects.filter(institution__in=visible).distinct().order_by("code")
    data = request.GET.copy()
    data.setdefault("on", clock.today().isoformat())
    form = AgreementQuery(data, regions=regions, auto_id="institution_%s")
    on = day_of(request)
    return _narrow(visible, form, on) if form.is_valid() else visible.none(), form, on


def _toolbar(request: PortalRequest) -> list[Action]:
    """What is done with the whole list: exports of the current query, the way to imports."""
    if not request.user.may("registry.view"):
        return []
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    exports = [
        Action(
            label=f"导出 {ending.upper()}",
            url=reverse("institutions-export", args=["institutions", ending]) + query,
            icon="arrow-down-tray",
        )
        for ending in ENDINGS
    ]
    more = Action(label="导入与更多导出", url=reverse("registry-imports"), icon="arrow-up-tray")
    new = Action(label="登记机构", url=reverse("registry-register"), icon="plus")
    return [*([new] if request.user.may("registry.maintain") else []), *exports, more]


def _narrow(rows: InstitutionQuerySet, form: AgreementQuery, on: dt.date) -> InstitutionQuerySet:
    given = form.cleaned_data
    if given["q"]:
        rows = rows.search(given["q"].strip())
    if given["region"]:
        rows = rows.filter(region_id=given["region"])
    rows = rows.with_facts(on=on, **form.facts)
    if given["agreement"]:
        states = AgreementState.objects.supplementary(on=on)
        if given["agreement"] == NOT_SIGNED:
            return rows.exclude(code__in=states.values("agreement__institution_id"))
        states = states.filter(state=given["agreement"])
        return rows.filter(code__in=states.values("agreement__institution_id"))
    return rows


def pages_of(request: HttpRequest, total: int) -> Pages:
    """The numbered page that a request asks for."""
    size = _whole(request.GET.get("size", ""))
    pages = Pages(total=total, size=size if size in SIZES else SIZES[0], sizes=SIZES)
    page = min(max(_whole(request.GET.get("page", "")), 1), pages.last)
    return Pages(total=total, size=pages.size, page=page, sizes=SIZES)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _row(found: Institution, state: AgreementState | None, on: str) -> Row:
    facts = found.facts_on[0] if found.facts_on else None
    url = reverse("institution", args=[found.code]) + (f"?on={on}" if on else "")
    return Row(
        key=found.code,
        label=found.name,
        cells=[
            Cell(
                text=found.name,
                sub=(facts.internet_hospital_name if facts else "") or "、".join(found.aliases),
                url=url,
            ),
            Cell(text=found.code, code=True),
            Cell(text=found.region.name),
            Cell(text=price_class(facts) if facts else ""),
            Cell(text=facts.hospital_grade if facts else ""),
            Cell(
                text=facts.get_ownership_display() if facts else "",
                sub="" if facts is None else "非营利性" if facts.nonprofit else "营利性",
            ),
            _state_cell(state),
        ],
    )


def _state_cell(state: AgreementState | None) -> Cell:
    if state is None:
        return Cell(text="未签订", tone="mute")
    return Cell(text=state.get_state_display(), tone=TONES[state.state])
