"""The public roll of agreement institutions: search, fixed addresses by area and day, CSV, JSON;
public notices before signing.

Nobody logs in and nothing is kept about the reader. Wenzhou's agencies publish it at once
(温医保办〔2021〕6号 十九); the roll is made from the agreements, so no step publishes it.
"""

import datetime as dt

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from agreements.forms import PublicRollQuery
from agreements.publicity import Announcement, announcements
from agreements.roll import HEADS, Corrections, Entry, Roll, areas, corrections, roll
from audit import clock
from audit.access import public
from audit.openly import NotDisclosedError, csv_file, disclosed, json_file, past_day
from audit.tables import Pages
from institutions.models import Institution, Region
from pricing import releases

SIZES = (50, 100, 200)
TONES = {"active": "ok", "signed": "ok"}
SHORT = "定点机构名单"


@public
@disclosed
def search(request: HttpRequest) -> HttpResponse:
    """Parties on the roll of a day by area, kind and words; the areas with their fixed addresses."""
    today = clock.today()
    regions = list(Region.objects.all())
    query = request.GET.copy()
    query["on"] = query.get("on") or today.isoformat()
    form = PublicRollQuery(query, regions=[(one.code, one.name) for one in _used(regions)])
    if not form.is_valid():
        return render(
            request, "public/institutions.html", {"form": form, "wrong": True}, status=400
        )
    asked = form.cleaned_data
    whole = roll(releases.current(), None, asked["on"])
    prefix = next((one.prefix for one in regions if one.code == asked["region"]), "")
    found = [
        entry
        for entry in whole.entries
        if entry.area.startswith(prefix)
        and asked["kind"] in ("", entry.kind)
        and entry.matches(asked["q"])
    ]
    pages = _pages(request, len(found))
    shown = found[pages.first_row - 1 : pages.last_row]
    return render(request, "public/institutions.html", {
        "form": form, "asked": asked, "entries": [_row(one, asked["on"], today) for one in shown],
        "pages": pages, "total": len(found), "future": asked["on"] > today,
        "areas": _areas(whole, regions, min(asked["on"], today)), "day": asked["on"],
        "suspended": bool(asked["q"]) and not found,
    })  # fmt: skip


def _used(regions: list[Region]) -> list[Region]:
    """The areas in which parties are registered, and those around them."""
    codes = set(Institution.objects.order_by().values_list("region_id", flat=True).distinct())
    return [
        one for one in sorted(regions, key=lambda one: one.code)
        if any(code.startswith(one.prefix) for code in codes)
    ]  # fmt: skip


def _pages(request: HttpRequest, total: int) -> Pages:
    size = _whole(request.GET.get("size", ""))
    pages = Pages(total=total, size=size if size in SIZES else SIZES[0], sizes=SIZES)
    page = min(max(_whole(request.GET.get("page", "")), 1), pages.last)
    return Pages(total=total, size=pages.size, page=page, sizes=SIZES)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _row(entry: Entry, day: dt.date, today: dt.date) -> dict:
    """An entry with the address of its prices on that day, where it has any."""
    return {
        "entry": entry,
        "tone": TONES.get(entry.state, "info"),
        "prices_url": reverse("public-prices-institution", args=[entry.code, day.isoformat()])
        if entry.priced and day <= today else "",
    }  # fmt: skip


def _areas(whole: Roll, regions: list[Region], day: dt.date) -> list[dict]:
    return [
        {
            "area": region,
            "number": number,
            "url": reverse("public-institutions-area", args=[region.code, day.isoformat()]),
            "search_url": _search_url(region.code, whole.day),
        }
        for region, number in areas(whole.entries, regions)
    ]


def _search_url(area: str, day: dt.date) -> str:
    query = urlencode({"region": area, "on": day.isoformat()})
    return f"{reverse('public-institutions')}?{query}"


@public
@disclosed
def index_json(request: HttpRequest) -> JsonResponse:
    """The areas with parties on today's roll, for machines: how many, and the address of each."""
    today = clock.today()
    whole = roll(releases.current(), None, today)
    body = [
        {"area": one["area"].code, "place": one["area"].name, "institutions": one["number"],
         "url": request.build_absolute_uri(f"{one['url']}institutions.json")}
        for one in _areas(whole, list(Region.objects.all()), today)
    ]  # fmt: skip
    return json_file({"on": today.isoformat(), "areas": body})


@public
@disclosed
def notices(request: HttpRequest, form: str = "") -> HttpResponse:
    """The public notices before signing that stand today, as page or JSON."""
    today = clock.today()
    found = announcements(today)
    if form == "json":
        return json_file({"on": today.isoformat(), "notices": [one.data for one in found]})
    return render(request, "public/notices.html", {
        "day": today, "total": len(found),
        "notices": [{"notice": one, "facts": _notice_facts(one)} for one in found],
    })  # fmt: skip


def _notice_facts(one: Announcement) -> list[dict[str, str]]:
    until = str(one.until or "")
    if one.missing_year:
        until = f"待{one.missing_year}年工作日历公布后确定"
    return [
        {"label": "公示事项", "value": one.subject, "sub": f"{one.document} {one.clause}"},
        {"label": "所在区域", "value": one.place, "sub": one.area},
        {"label": "公示起", "value": one.since.isoformat()},
        {"label": "公示止", "value": until or "未定", "sub": "期限为示例参数" if one.example else ""},
        {"label": "受理异议的机构", "value": one.office},
        {"label": "电话", "value": one.phone or "未登记"},
        {"label": "地址", "value": one.address or "未登记"},
    ]  # fmt: skip


@public
@disclosed
def area_today(request: HttpRequest, area: str) -> HttpResponse:
    """Leads to the fixed address of today."""
    return redirect("public-institutions-area", area, clock.today().isoformat())


@public
@disclosed
def area_roll(request: HttpRequest, area: str, on: str, form: str = "") -> HttpResponse:
    """The roll of an area on a day, as page, CSV or JSON."""
    day, today = past_day(on), clock.today()
    place = Region.objects.filter(code=area).first()
    if place is None:
        raise NotDisclosedError(f"没有代码为“{area}”的区域。")
    catalogue = releases.current()
    found = roll(catalogue, place, day)
    if form == "csv":
        return csv_file(f"institutions-{area}-{day}", HEADS, found.rows())
    end_of_day = dt.datetime.combine(day + dt.timedelta(days=1), dt.time.min, clock.ZONE)
    changed = Corrections((), ())
    if day < today:
        changed = corrections(catalogue, place, found, until=end_of_day)
    url = reverse("public-institutions-area", args=[area, day.isoformat()])
    if form == "json":
        return json_file({
            "content": found.content, "content_sm3": found.digest,
            "url": request.build_absolute_uri(url),
            "corrected_after_that_day": {
                "added": [entry.code for entry in changed.added],
                "removed": [entry.code for entry in changed.removed],
            },
        })  # fmt: skip
    return render(request, "public/institutions_roll.html", {
        "roll": found, "title": f"{place.name}{SHORT}", "url": url, "changed": changed,
        "groups": [
            (name, [_row(entry, day, today) for entry in entries]) for name, entries in found.groups
        ],
        "csv_url": f"{url}institutions.csv", "json_url": f"{url}institutions.json",
        "search_url": _search_url(area, day),
    })  # fmt: skip
