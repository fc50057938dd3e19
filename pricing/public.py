"""Price disclosure to the public: search, fixed addresses, files, the sheet for the notice board.

Nobody logs in and nothing of it is kept about the reader: no cookie, no event. Jilin demands the
disclosure (吉卫便函〔2021〕3号 三第2款), Nantong's prices hang on the class (通医保发〔2020〕25号 附件).
"""

import datetime as dt
import io
from threading import Semaphore

import segno
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from audit import clock, pdf
from audit.access import public
from audit.openly import BUSY, NotDisclosedError, csv_file, disclosed, json_file, past_day
from institutions.models import Institution
from pricing import releases
from pricing.catalogue import region_name
from pricing.forms import PublicPriceQuery
from pricing.models import DocumentFile
from pricing.releases import Catalogue, Published
from pricing.sheets import HEADS, Holder, Sheet, sheet

MOST_FOUND = 20
PAPER_SECONDS = 24 * 60 * 60  #: how long a made paper is kept; its key is the hash of the content
PAPER_WAIT_SECONDS = 5
QUIET_ZONE = 4  #: light modules around a QR code (ISO/IEC 18004)
#: A paper costs a second of a processor and anybody may ask: one at a time in each process.
PRESS = Semaphore(1)


# --- search ---


@public
@disclosed
def search(request: HttpRequest) -> HttpResponse:
    """Prices by region, institution, class, day and words; without a question the list of regions."""
    catalogue = releases.current()
    newest = {r.policy.region: r.policy for r in catalogue.policies}
    places = {key: region_name(policy) for key, policy in sorted(newest.items())}
    classes = {
        row["class"]: row["name"]
        for policy in newest.values()
        for row in policy.section("price_classes", ())
    }
    query = request.GET.copy()
    query["on"] = query.get("on") or clock.today().isoformat()
    form = PublicPriceQuery(query, regions=places, classes=classes)
    context = {"form": form, "regions": _index(catalogue)}
    if not form.is_valid():
        return render(request, "public/prices.html", context | {"wrong": True}, status=400)
    asked = form.cleaned_data
    if asked["institution"]:
        context |= _by_institution(catalogue, asked)
    elif asked["region"] or asked["q"] or asked["price_class"]:
        context |= _by_region(catalogue, asked, list(places))
    context |= {"asked": asked, "future": asked["on"] > clock.today()}
    return render(request, "public/prices.html", context)


def _by_region(catalogue: Catalogue, asked: dict, regions: list[str]) -> dict:
    files = _files(catalogue)
    found = [
        sheet(catalogue, region, asked["on"], price_class=asked["price_class"],
              words=asked["q"], files=files)
        for region in ([asked["region"]] if asked["region"] else regions)
    ]  # fmt: skip
    in_force = [one for one in found if one]
    return {
        "searched": True,
        "in_force": bool(in_force),
        "sheets": [_shown(one) for one in in_force if one.disclosure.entries or asked["region"]],
    }


def _by_institution(catalogue: Catalogue, asked: dict) -> dict:
    held = {"price_class__gt": ""}
    if asked["price_class"]:
        held = {"price_class": asked["price_class"]}
    rows = (
        Institution.objects.search(asked["institution"])
        .with_facts(on=asked["on"], **held)
        .select_related("region")
    )
    if asked["region"]:
        rows = rows.filter(region__policy_region=asked["region"])
    rows = list(rows[: MOST_FOUND + 1])
    holders = [holder for row in rows[:MOST_FOUND] if (holder := Holder.of(row))]
    context: dict = {"searched": True, "holders": None, "more": len(rows) > MOST_FOUND}
    if len(holders) != 1:
        links = [(holder, _search_address(asked, holder)) for holder in holders]
        return context | {"holders": links, "most": MOST_FOUND}
    (holder,) = holders
    found = sheet(catalogue, holder.policy_region, asked["on"], words=asked["q"],
                  holder=holder, files=_files(catalogue))  # fmt: skip
    return context | {"in_force": bool(found), "sheets": [_shown(found)] if found else []}


def _search_address(asked: dict, holder: Holder) -> str:
    kept = {"institution": holder.code, "on": asked["on"].isoformat(), "q": asked["q"]}
    return f"{reverse('public-prices')}?{urlencode({k: v for k, v in kept.items() if v})}"


def _files(catalogue: Catalogue) -> dict[str, str]:
    """The addresses of the official files, by the slug of their document; the newest of each."""
    slugs = {release.policy.slug for release in catalogue.policies}
    rows = DocumentFile.objects.filter(slug__in=slugs).order_by("id").values_list("slug", "pk")
    return {slug: reverse("document-file", args=[pk]) for slug, pk in rows}


# --- the list of regions ---


def _index(catalogue: Catalogue) -> list[dict]:
    """Every region with its published documents, newest first; each with a fixed address."""
    regions: dict[str, list[Published]] = {}
    for release in sorted(catalogue.policies, key=lambda r: r.first, reverse=True):
        regions.setdefault(release.policy.region, []).append(release)
    return [
        {
            "region": region,
            "place": region_name(found[0].policy),
            "url": f"{reverse('public-prices')}?{urlencode({'region': region})}",
            "documents": [_document(release) for release in found],
        }
        for region, found in sorted(regions.items())
    ]


def _document(release: Published) -> dict:
    policy = release.policy
    services = policy.section("services", {}).values()
    return {
        "document": policy.document,
        "title": policy.title,
        "span": _span(release),
        "sm3": release.sm3,
        "items": sum(item.get("billable", True) for item in policy.section("items", ()))
        + sum(service["priced_by"] != "items" for service in services),
        "started": release.first <= clock.today(),
        "url": reverse("public-prices-region", args=[policy.region, release.first.isoformat()]),
    }


def _span(release: Published) -> str:
    return f"{release.first} 至 {release.last}" if release.last else f"{release.first} 起"


@public
@disclosed
def index_json(request: HttpRequest) -> JsonResponse:
    """The list of regions for machines: documents, hashes, addresses."""
    body = [
        {
            "region": region["region"],
            "place": region["place"],
            "documents": [
                {"document": found["document"], "title": found["title"], "in_force": found["span"],
                 "sm3": found["sm3"], "items": found["items"],
                 "url": request.build_absolute_uri(found["url"])}
                for found in region["documents"]
            ],
        }
        for region in _index(releases.current())
    ]  # fmt: skip
    return json_file({"regions": body})


# --- fixed addresses: one region or institution on one day ---


@public
@disclosed
def region_today(request: HttpRequest, region: str) -> HttpResponse:
    """Leads to the fixed address of today."""
    return redirect("public-prices-region", region, clock.today().isoformat())


@public
@disclosed
def region_sheet(request: HttpRequest, region: str, on: str, form: str = "") -> HttpResponse:
    """What a region disclosed for a day, as page, PDF, CSV or JSON."""
    return _answer(request, _sheet_of_region(region, past_day(on)), form)


@public
@disclosed
def institution_today(request: HttpRequest, code: str) -> HttpResponse:
    """Leads to the fixed address of today: what the QR code on the notice board names."""
    return redirect("public-prices-institution", code, clock.today().isoformat())


@public
@disclosed
def institution_sheet(request: HttpRequest, code: str, on: str, form: str = "") -> HttpResponse:
    """What an institution disclosed for a day by its price class then, as page, PDF, CSV or JSON."""
    return _answer(request, _sheet_of_institution(code, past_day(on)), form)


@public
@disclosed
def institution_board(request: HttpRequest, code: str, on: str) -> HttpResponse:
    """The sheet for the notice board: one A4 page wide, with the QR code of the current prices."""
    found = _sheet_of_institution(code, past_day(on))
    return render(request, "public/prices_board.html", _board(request, found))


@public
@disclosed
def institution_qr(request: HttpRequest, code: str) -> HttpResponse:
    """The QR code that leads to the current prices of an institution, as SVG."""
    if not Institution.objects.filter(code=code).exists():
        raise NotDisclosedError(f"没有编码为 {code} 的医疗机构。")
    out = io.BytesIO()
    code_of_address = segno.make_qr(_current_address(request, code), error="q")
    code_of_address.save(out, kind="svg", border=QUIET_ZONE, light="white", scale=4, xmldecl=False)
    return HttpResponse(out.getvalue(), content_type="image/svg+xml")


def _sheet_of_region(region: str, day: dt.date) -> Sheet:
    catalogue = releases.current()
    if region not in catalogue.regions():
        raise NotDisclosedError(f"没有名为“{region}”的统筹区，或该统筹区还没有公示价格文件。")
    found = sheet(catalogue, region, day, files=_files(catalogue))
    if found is None:
        raise NotDisclosedError(f"{day} 没有生效的价格文件。")
    return found


def _sheet_of_institution(code: str, day: dt.date) -> Sheet:
    rows = Institution.objects.filter(code=code).with_facts(on=day).select_related("region")
    institution = rows.first()
    if institution is None:
        raise NotDisclosedError(f"没有编码为 {code} 的医疗机构。")
    holder = Holder.of(institution)
    if holder is None:
        raise NotDisclosedError(f"{institution.name}在 {day} 没有登记价格类别。")
    catalogue = releases.current()
    found = sheet(catalogue, holder.policy_region, day, holder=holder, files=_files(catalogue))
    if found is None:
        raise NotDisclosedError(f"{holder.region}在 {day} 没有生效的价格文件。")
    return found


def _answer(request: HttpRequest, found: Sheet, form: str) -> HttpResponse:
    if form == "csv":
        return _csv(found)
    if form == "pdf":
        return _paper(request, found)
    if form == "json":
        url = request.build_absolute_uri(_address(found))
        return json_file({
            "content": found.content, "content_sm3": found.digest, "url": url,
            "in_force": {"from": found.release.first, "until": found.release.last},
        })  # fmt: skip
    return render(request, "public/prices_sheet.html", {"shown": _shown(found)})


def _shown(found: Sheet) -> dict:
    """What templates need of a sheet besides itself; without fixed addresses for a future day."""
    holder, url = found.holder, _address(found)
    fixed = found.day <= clock.today()
    policy = found.release.policy
    catalogue_query = {"region": found.region, "on": found.day.isoformat()}
    return {
        "sheet": found,
        "title": f"{holder.name if holder else found.place}医疗服务价格公示",
        "url": url if fixed else "",
        "csv_url": f"{url}prices.csv" if fixed else "",
        "json_url": f"{url}prices.json" if fixed else "",
        "pdf_url": f"{url}prices.pdf" if fixed else "",
        "board_url": f"{url}board/" if fixed and holder else "",
        "qr_url": reverse("public-prices-qr", args=[holder.code]) if holder else "",
        "catalogue_url": f"{reverse('prices')}?{urlencode(catalogue_query)}",
        "span": _span(found.release),
        "span_gap": policy.data["effective"].get("gap", ""),
        "no_prices": policy.section("payment_rules", {}).get("gap", ""),
    }


def _address(found: Sheet) -> str:
    day = found.day.isoformat()
    if found.holder:
        return reverse("public-prices-institution", args=[found.holder.code, day])
    return reverse("public-prices-region", args=[found.region, day])


def _current_address(request: HttpRequest, code: str) -> str:
    return request.build_absolute_uri(reverse("public-prices-institution-today", args=[code]))


def _board(request: HttpRequest, found: Sheet) -> dict:
    """The board shows prices and caps only; what the fund pays stands under the fixed address."""
    shown = _shown(found)
    rows = [row for entry in found.disclosure.entries for row in entry.rows]
    return shown | {
        "example": any(value.example for row in rows for value in (row.price, *row.caps)),
        "current": _current_address(request, found.holder.code if found.holder else ""),
        "fixed": request.build_absolute_uri(shown["url"]),
    }


def _paper(request: HttpRequest, found: Sheet) -> HttpResponse:
    """The sheet as PDF, made once for a content and an address, with its data attached."""
    url = request.build_absolute_uri(_address(found))
    identifier = pdf.identifier_of("prices", url, found.digest)
    key = f"prices-paper-{identifier.hex()}"
    paper = cache.get(key)
    if paper is None:
        if not PRESS.acquire(timeout=PAPER_WAIT_SECONDS):
            raise NotDisclosedError(
                "正在生成其他公示文件，请稍后再试，或直接打印网页。",
                status=BUSY,
                retry_after=PAPER_WAIT_SECONDS,
            )
        try:
            paper = _printed(found, url, identifier)
        finally:
            PRESS.release()
        cache.set(key, paper, PAPER_SECONDS)
    response = HttpResponse(paper, content_type="application/pdf")
    response["Content-Disposition"] = f'inline; filename="{_file_name(found)}.pdf"'
    return response


def _printed(found: Sheet, url: str, identifier: bytes) -> bytes:
    context = {
        "found": _shown(found), "sheet": found, "disclosure": found.disclosure,
        "holder": found.holder, "demo": bool(settings.DEMO_TODAY),
        "verify": {"url": url, "qr": pdf.qr(url), "text": "扫描二维码或访问下列固定网址核对公示内容"},
    }  # fmt: skip
    return pdf.render(
        "public/prices_paper.html",
        context,
        identifier=identifier,
        at=dt.datetime.combine(found.day, dt.time.min, clock.ZONE),
        attachments=[pdf.json_attachment("prices.json", found.content, "公示内容")],
        styles=(*pdf.STYLES, "css/price_paper.css"),
    )


def _file_name(found: Sheet) -> str:
    return f"prices-{found.holder.code if found.holder else found.region}-{found.day}"


def _csv(found: Sheet) -> HttpResponse:
    return csv_file(_file_name(found), HEADS, found.rows())
