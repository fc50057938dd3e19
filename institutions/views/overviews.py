"""What ends soon, and the tree of regions with their authorities and calendars."""

from collections import defaultdict

from django.conf import settings
from django.db.models import Count
from django.db.models.functions import ExtractYear
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.expiries import Expiry, ending
from institutions.models import CalendarDay, Institution, Office, Region, area_prefix
from institutions.registry_forms import ExpiryQuery
from institutions.views.cases import SIZE, page_of, registry_tabs
from institutions.views.offices import keeps_offices
from institutions.views.tabs import ends


@requires("registry.view")
@require_GET
def expiries(request: PortalRequest) -> HttpResponse:
    """What ends within some days or has ended, soonest first, inside the reader's scope."""
    on = clock.today()
    form = ExpiryQuery(request.GET, auto_id="expiry_%s")
    form.is_valid()
    given = form.cleaned_data.get("days")
    days = settings.REGISTRY_WARN_DAYS if given is None else given
    visible = Institution.objects.visible_to(request.user)
    if words := form.cleaned_data.get("q", "").strip():
        visible = visible.search(words)
    found = ending(on=on, days=days, institutions=visible)
    pages = page_of(request, len(found))
    start = pages.first_row - 1
    table = Table(
        id="expiries", caption=f"{days} 日内到期、已到期或不符合要求",
        columns=[Column(label="事项", wide=True), Column(label="类别"),
                 Column(label="医疗机构", wide=True), Column(label="期限")],
        rows=[_expiry(entry, on) for entry in found[start : start + SIZE]],
        pages=pages, empty_title="没有将到期的事项",
        empty_text="资质、等级保护材料、执业证书、医师协议和对码到期前在此提醒，级别不足的也在此列出。",
    )  # fmt: skip
    return render(request, "institutions/registry.html", {
        "title": "到期提醒", "tabs": registry_tabs("registry-expiries"), "form": form, "table": table,
        "breadcrumbs": [{"label": "机构登记", "url": ""}, {"label": "到期提醒", "url": ""}],
    })  # fmt: skip


def _expiry(entry: Expiry, on) -> Row:
    return Row(
        key=entry.subject, label=entry.label,
        actions=[Action(label="去办理", url=entry.url())],
        cells=[Cell(text=entry.label, sub=entry.clause), Cell(text=entry.kind),
               Cell(text=entry.institution.name, sub=entry.institution.code),
               Cell(text=entry.fault, tone="bad") if entry.until is None
               else ends(entry.until, on, warn=settings.REGISTRY_WARN_DAYS)],
    )  # fmt: skip


@requires("registry.view")
@require_GET
def regions(request: PortalRequest) -> HttpResponse:
    """The regions of the reader's scope with what lies above them: authorities, calendar, parties."""
    rows = _regions(request)
    offices = defaultdict(list)
    for office in Office.objects.filter(region__in=[row.code for row in rows]).order_by("kind"):
        offices[office.region_id].append(office.name)
    counts = dict(
        Institution.objects.values_list("region_id")
        .annotate(n=Count("pk"))
        .values_list("region_id", "n")
    )
    years = defaultdict(set)
    found = CalendarDay.objects.annotate(year=ExtractYear("day")).values_list("region_code", "year")
    for code, year in found.distinct():
        years[code].add(year)
    policies: dict[str, str] = {}
    for row in Region.objects.exclude(policy_region="").order_by("code"):
        policies.setdefault(row.policy_region, row.name)  # the area that the policy is made for
    table = Table(
        id="regions", caption="行政区划", show_caption=False,
        columns=[Column(label="区域"), Column(label="代码"), Column(label="层级"),
                 Column(label="统筹区政策"), Column(label="主管与经办机构", wide=True),
                 Column(label="登记机构", numeric=True), Column(label="工作日历")],
        rows=[_region(row, offices[row.code], counts.get(row.code, 0), years,
                      policy=policies.get(row.policy_region, ""),
                      edits=keeps_offices(request.user, row)) for row in rows],
        empty_title="没有区域", empty_text="行政区划随系统初始化（manage.py prepare）载入。",
    )  # fmt: skip
    return render(request, "institutions/registry.html", {
        "title": "区域与机构", "tabs": registry_tabs("registry-regions"), "table": table,
        "breadcrumbs": [{"label": "机构登记", "url": ""}, {"label": "区域与机构", "url": ""}],
    })  # fmt: skip


def _regions(request: PortalRequest) -> list[Region]:
    scope = request.user.scope_codes()
    everything = list(Region.objects.order_by("code"))
    codes = set(
        Institution.objects.filter(pk__in=scope.institutions).values_list("region_id", flat=True)
    )
    inside = {row.code for row in everything
              if row.code in codes or any(row.code.startswith(p) for p in scope.regions)}  # fmt: skip
    return [
        row
        for row in everything
        if row.code in inside or any(code.startswith(area_prefix(row.code)) for code in inside)
    ]


def _region(
    row: Region,
    offices: list[str],
    count: int,
    years: dict[str, set[int]],
    *,
    policy: str,
    edits: bool,
) -> Row:
    own, national = sorted(years.get(row.code, ())), sorted(years.get("", ()))
    words = f"{national[0]}–{national[-1]}" if national else "未导入"
    url = reverse("registry-offices", args=[row.code])
    return Row(
        key=row.code, label=row.name, actions=[Action(label="机构维护", url=url)] if edits else [],
        cells=[
            Cell(text=row.name), Cell(text=row.code, code=True), Cell(text=row.get_level_display()),
            Cell(text=policy or "—"), Cell(text="、".join(offices)),
            Cell(text=str(count)),
            Cell(text=f"全国 {words}", sub=f"本地调整 {'、'.join(map(str, own))}" if own else ""),
        ],
    )  # fmt: skip
