"""The public drug catalogue (药品目录公示): search, fixed addresses by region and day, CSV, JSON.

Nobody logs in and nothing is kept about the reader. Shown is the version that a second person published
and that holds on the day; where a region has none, the documents alone decide.
"""

import datetime as dt
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from audit import clock
from audit.access import public
from audit.openly import NotDisclosedError, csv_file, disclosed, json_file, past_day
from audit.tables import Pages
from pricing import drug_lists, releases
from pricing.catalogue import region_name
from pricing.drug_forms import PublicDrugQuery
from pricing.models import Drug, DrugList

SIZES = (50, 100, 200)
TONES = {"A": "ok", "B": "info", "C": "warn"}
HEADS = [column.label for column in drug_lists.COLUMNS]


def _lists(day: dt.date) -> dict[str, DrugList]:
    """The version in force on a day, by region."""
    rows = DrugList.objects.filter(
        Q(valid_until=None) | Q(valid_until__gte=day), valid_from__lte=day,
        state=DrugList.State.PUBLISHED,
    )  # fmt: skip
    return {row.region: row for row in rows.defer("file", "errors").order_by("region")}


def _names() -> dict[str, str]:
    return {one.policy.region: region_name(one.policy) for one in releases.current().policies}


@public
@disclosed
def search(request: HttpRequest) -> HttpResponse:
    """Drugs of a region by words, category, disease; the regions with their fixed addresses."""
    query = request.GET.copy()
    query["on"] = query.get("on") or clock.today().isoformat()
    names = _names()
    published = DrugList.objects.filter(state=DrugList.State.PUBLISHED)
    regions = sorted(set(published.order_by().values_list("region", flat=True)))
    form = PublicDrugQuery(query, regions=[(key, names.get(key, key)) for key in regions])
    if not form.is_valid():
        return render(request, "public/drugs.html", {"form": form, "wrong": True}, status=400)
    asked = form.cleaned_data
    lists = _lists(asked["on"])
    found = _asked(Drug.objects.filter(catalogue__in=_wanted(lists, asked["region"])), asked)
    page, pages = _page(request, found.select_related("catalogue").defer("catalogue__file"))
    return render(request, "public/drugs.html", {
        "form": form, "asked": asked, "future": asked["on"] > clock.today(), "pages": pages,
        "drugs": [_shown(drug, names) for drug in page], "total": pages.total,
        "several": not asked["region"] and len(lists) > 1, "day": asked["on"],
        "places": [_place(lists[key], names, asked["on"]) for key in sorted(lists)],
    })  # fmt: skip


def _wanted(lists: dict[str, DrugList], region: str) -> list[int]:
    return [row.pk for key, row in lists.items() if region in ("", key)]


def _asked(rows: QuerySet[Drug], asked: dict[str, Any]) -> QuerySet[Drug]:
    if asked["q"]:
        rows = rows.filter(Q(name__icontains=asked["q"]) | Q(code__istartswith=asked["q"]))
    if asked["category"]:
        rows = rows.filter(category=asked["category"])
    if asked["chronic"]:
        rows = rows.exclude(diseases=[])
    return rows.order_by("catalogue__region", "code")


def _page(request: HttpRequest, rows: QuerySet[Drug]) -> tuple[list[Drug], Pages]:
    asked = request.GET.get("size")
    size = int(asked) if asked in {str(one) for one in SIZES} else SIZES[0]
    page = Paginator(rows, size).get_page(request.GET.get("page"))
    return list(page), Pages(total=page.paginator.count, size=size, page=page.number, sizes=SIZES)


def _shown(drug: Drug, names: dict[str, str]) -> dict[str, Any]:
    """A drug as the tables show it."""
    return {
        "drug": drug, "tone": TONES[drug.category],
        "place": names.get(drug.catalogue.region, drug.catalogue.region),
        "share": drug_lists.share_text(drug.first_self_pay),
        "ceiling": drug_lists.ceiling_text(drug.ceiling), "diseases": "、".join(drug.diseases),
    }  # fmt: skip


def _place(row: DrugList, names: dict[str, str], day: dt.date) -> dict[str, Any]:
    query = urlencode({"region": row.region, "on": day.isoformat()})
    return {
        "list": row, "place": names.get(row.region, row.region),
        "search_url": f"{reverse('public-drugs')}?{query}",
        "url": _address(row, day) if day <= clock.today() else "",
        "example": row.source_kind == DrugList.Source.EXAMPLE,
    }  # fmt: skip


def _address(row: DrugList, day: dt.date) -> str:
    return reverse("public-drugs-region", args=[row.region, day.isoformat()])


@public
@disclosed
def index_json(request: HttpRequest) -> JsonResponse:
    """The regions with a catalogue in force today, for machines."""
    today, names = clock.today(), _names()
    body = [
        {"region": row.region, "place": names.get(row.region, row.region), "title": row.title,
         "version": row.version, "drugs": row.drugs_count, "source": row.source_kind,
         "content_sm3": row.sm3, "url": request.build_absolute_uri(_address(row, today))}
        for row in _lists(today).values()
    ]  # fmt: skip
    return json_file({"on": today.isoformat(), "regions": body})


@public
@disclosed
def region_today(request: HttpRequest, region: str) -> HttpResponse:
    """Leads to the fixed address of today."""
    return redirect("public-drugs-region", region, clock.today().isoformat())


@public
@disclosed
def region_list(request: HttpRequest, region: str, on: str, form: str = "") -> HttpResponse:
    """The whole catalogue of a region on a day, as page to print, CSV or JSON."""
    day = past_day(on)
    found = _lists(day).get(region)
    if found is None:
        raise NotDisclosedError(f"{day} 没有“{_names().get(region, region)}”已发布的药品目录。")
    drugs = found.drugs.order_by("code")
    if form == "csv":
        return csv_file(f"drugs-{region}-{day}", HEADS, map(drug_lists.texts, drugs.iterator()))
    url = _address(found, day)
    if form == "json":
        return json_file(_facts(found) | {
            "url": request.build_absolute_uri(url),
            "drugs": [_plain(drug) for drug in drugs.iterator()],
        })  # fmt: skip
    names = _names()
    rows = drugs.select_related("catalogue").defer("catalogue__file")
    return render(request, "public/drugs_list.html", {
        "list": found, "place": names.get(region, region), "day": day, "url": url,
        "example": found.source_kind == DrugList.Source.EXAMPLE,
        "csv_url": f"{url}drugs.csv", "json_url": f"{url}drugs.json",
        "search_url": f"{reverse('public-drugs')}?{urlencode({'region': region, 'on': on})}",
        "drugs": [_shown(drug, names) for drug in rows],
    })  # fmt: skip


def _facts(found: DrugList) -> dict[str, Any]:
    return {
        "region": found.region, "title": found.title, "version": found.version,
        "source": found.source_kind, "source_ref": found.source_ref, "clause": found.clause,
        "in_force": {"from": found.valid_from.isoformat(),
                     "until": found.valid_until.isoformat() if found.valid_until else None},
        "content_sm3": found.sm3,
    }  # fmt: skip


def _plain(drug: Drug) -> dict[str, Any]:
    """A drug for machines: the share in per cent, the ceiling in yuan."""
    return drug_lists.content(drug) | {
        "first_self_pay": drug_lists.share_text(drug.first_self_pay),
        "ceiling": drug_lists.ceiling_text(drug.ceiling) or None,
    }
