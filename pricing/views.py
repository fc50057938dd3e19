"""The price catalogue (public) and the releases behind it."""

import csv
import datetime as dt
import io
from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import messages
from django.db.models import Q
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock
from audit.access import public, requires
from audit.tables import Cell, Column, Row, Table
from institutions.access import PortalRequest
from pricing import documents, releases
from pricing.catalogue import disclose, parameter_rows, region_name
from pricing.disclosure import Disclosure
from pricing.forms import FileForm, PriceQuery, ReleaseQuery
from pricing.models import DocumentFile, Release
from pricing.sheets import TITLES, item_data

CSV_HEADS = (
    "统筹区",
    "文件",
    "条款",
    "项目编码",
    "曾用编码",
    "项目名称",
    "项目内涵",
    "计价单位",
    "机构类别",
    "价格（元）",
    "支付标准与基金支付",
    "说明",
    "示例参数",
)


@dataclass(frozen=True)
class Shown:
    """The release of a region on a day, disclosed for one price class or all."""

    release: releases.Published
    day: dt.date
    disclosure: Disclosure
    files: list[DocumentFile]

    @property
    def place(self) -> str:
        """The region's name."""
        return region_name(self.release.policy)

    @property
    def covered(self) -> bool:
        """Whether the document is in force on the chosen day."""
        return self.release.covers(self.day)


def _home_region(request: HttpRequest, regions: list[tuple[str, str]]) -> str:
    """The policy region of the person who looks, else the first that has a document."""
    area = None
    if request.user.is_authenticated:
        user = request.user
        area = user.institution.region if user.institution else user.region
    keys = [key for key, _ in regions]
    if area is not None and area.policy_region in keys:
        return area.policy_region
    return keys[0] if keys else ""


class Chosen:
    """What a query names: a region's release on a day (default: the own region, today)."""

    def __init__(self, request: HttpRequest):
        catalogue = releases.current()
        newest = {r.policy.region: r.policy for r in catalogue.policies}
        regions = sorted(((key, region_name(p)) for key, p in newest.items()), key=lambda r: r[0])
        self.form = PriceQuery(
            {
                "region": request.GET.get("region") or _home_region(request, regions),
                "on": request.GET.get("on") or clock.today().isoformat(),
                "price_class": request.GET.get("price_class", ""),
            },
            regions=regions,
        )
        self.published = bool(regions)
        self.shown = self._find(catalogue) if self.form.is_valid() else None

    def _find(self, catalogue: releases.Catalogue) -> Shown | None:
        region, day = self.form.cleaned_data["region"], self.form.cleaned_data["on"]
        release, rules = catalogue.policy(region, day), catalogue.rules(region, day)
        if release is None or rules is None:
            return None
        of_document = DocumentFile.objects.filter(slug=release.policy.slug)
        files = list(of_document.defer("content").order_by("id"))
        sets = [
            r.policy for r in catalogue.parameters if r.policy.region == region and r.covers(day)
        ]
        disclosure = disclose(
            rules,
            rows=parameter_rows(sets, day),
            titles=TITLES,
            price_class=self.form.cleaned_data["price_class"],
            file_url=reverse("document-file", args=[files[-1].pk]) if files else "",
        )
        return Shown(release, day, disclosure, files)


@public
@require_GET
def prices(request: HttpRequest) -> HttpResponse:
    """What services cost and who pays, by region, class and day; for everybody."""
    chosen = Chosen(request)
    inside = request.user.is_authenticated
    context = {
        "base": "base.html" if inside else "base_public.html",
        "breadcrumbs": [{"label": "政策与机构", "url": ""}, {"label": "价格目录", "url": ""}],
        "form": chosen.form,
        "published": chosen.published,
        "disclosure": chosen.shown and chosen.shown.disclosure,
    }
    if chosen.shown:
        context |= _prices(request, chosen.shown)
    return render(request, "pricing/prices.html", context)


def _prices(request: HttpRequest, shown: Shown) -> dict:
    policy, release = shown.disclosure.policy, shown.release
    may_attach = request.user.is_authenticated and request.user.may("releases.draft")
    return {
        "query": request.GET.urlencode(),
        "place": shown.place,
        "covered": shown.covered,
        "day": shown.day,
        "document": _document(shown),
        "may_attach": may_attach,
        "file_form": FileForm() if may_attach else None,
        "files": [_file(file) for file in shown.files],
        "no_prices": policy.section("payment_rules", {}),
        "slug": policy.slug,
        "may_see_releases": request.user.is_authenticated and request.user.may("releases.view"),
        "not_in_force": f"文件有效期为 {_span(release.first, release.last)}；以下内容只供查阅，"
        f"{shown.day} 的服务不按它支付。",
    }


def _document(shown: Shown) -> list[dict]:
    policy, release = shown.disclosure.policy, shown.release
    effective = policy.data["effective"]
    return [
        {"label": "文号", "value": policy.document, "sub": policy.title, "wide": True},
        {"label": "印发单位", "value": policy.data.get("issuer", "")},
        {
            "label": "有效期",
            "value": _span(release.first, release.last),
            "sub": effective.get("gap", ""),
        },
        {"label": "发布文本摘要（SM3）", "value": release.sm3[:16], "code": True},
    ]


def _span(first: dt.date, last: dt.date | None) -> str:
    return f"{first} 至 {last}" if last else f"{first} 起"


def _file(file: DocumentFile) -> dict:
    return {
        "name": file.name,
        "url": reverse("document-file", args=[file.pk]),
        "sm3": file.sm3,
        "at": file.attached_at,
        "by": file.attached_by,
    }


@public
@require_GET
def prices_csv(request: HttpRequest) -> HttpResponse:
    """The disclosure as CSV with a byte order mark, one row per item and class (吉林 三第2款)."""
    shown = _exported(request)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_HEADS)
    writer.writerows(_csv_rows(shown))
    response = HttpResponse(
        out.getvalue().encode("utf-8-sig"), content_type="text/csv; charset=utf-8"
    )
    name = f"prices-{shown.disclosure.policy.region}-{shown.day}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _exported(request: HttpRequest) -> Shown:
    shown = Chosen(request).shown
    if shown is None:
        raise Http404("no such disclosure")
    return shown


def _csv_rows(shown: Shown) -> Iterator[list[str]]:
    policy = shown.disclosure.policy
    for entry in shown.disclosure.entries:
        for row, values in entry.table:
            yield [
                shown.place,
                policy.document,
                entry.clause.clause,
                entry.code,
                "、".join(entry.aliases),
                entry.name,
                entry.content,
                entry.unit,
                row.label,
                row.price.text if row.price.amount is not None else row.price.gap or row.price.text,
                "；".join(f"{head.label} {_words(value)}" for head, value in values[1:]),
                "；".join(filter(None, [entry.alias_note, entry.note, entry.gap])),
                "示例" if any(value.example for value in row.values) else "",
            ]


def _words(value) -> str:
    return f"{value.text}（{value.note}）" if value.note else value.text


@public
@require_GET
def prices_json(request: HttpRequest) -> JsonResponse:
    """The disclosure as JSON; amounts are decimal strings in yuan, null where none is printed."""
    shown = _exported(request)
    found, policy = shown.disclosure, shown.disclosure.policy
    body = {
        "region": policy.region,
        "place": shown.place,
        "on": shown.day,
        "in_force": shown.covered,
        "document": policy.document,
        "title": policy.title,
        "release_sm3": shown.release.sm3,
        "items": [item_data(entry) for entry in found.entries],
        "requirements": [_json_condition(c) for c in found.requirements],
        "exclusions": [_json_condition(c) for c in found.exclusions],
        "gaps": [
            {"text": g.text, "clause": g.clause.clause if g.clause else ""} for g in found.gaps
        ],
        "parameters": [
            {
                "key": p.key,
                "label": p.label,
                "value": p.value,
                "example": p.example,
                "source": p.reference,
                "clause": p.clause.clause,
            }
            for p in found.parameters
        ],
    }
    return JsonResponse(body, json_dumps_params={"ensure_ascii": False, "indent": 1})


def _json_condition(condition) -> dict:
    return {
        "message": condition.message,
        "decision": condition.decision,
        "clause": condition.clause.clause,
        "numbers": condition.details,
        "names": condition.names,
        "note": condition.note,
    }


@public
@require_GET
def document_file(request: HttpRequest, pk: int) -> FileResponse:
    """Download an official file; never shown inside our own pages."""
    file = get_object_or_404(DocumentFile, pk=pk)
    return FileResponse(
        io.BytesIO(bytes(file.content)),
        as_attachment=True,
        filename=file.name,
        content_type=file.content_type,
    )


@requires("releases.draft")
@require_POST
def attach_file(request: PortalRequest, slug: str) -> HttpResponse:
    """Attach the official file of a document."""
    release = Release.objects.filter(slug=slug).order_by("-valid_from").first()
    if release is None:
        raise Http404(slug)
    form = FileForm(request.POST, request.FILES)
    if form.is_valid():
        upload = form.cleaned_data["file"]
        try:
            documents.attach(
                slug=slug,
                name=upload.name,
                content=upload.read(),
                by=request.user.username,
                at=clock.now(),
            )
            messages.success(request, f"已附正式文件：{upload.name}")
        except documents.DocumentError as error:
            messages.error(request, str(error))
    else:
        messages.error(request, "请选择要附的文件。")
    return redirect(f"{reverse('prices')}?region={release.region}")


@requires("releases.view")
@require_GET
def release_list(request: HttpRequest) -> HttpResponse:
    """Every release: document, validity, hash, who drafted and who published."""
    form = ReleaseQuery(request.GET, auto_id="release_%s")
    rows = Release.objects.defer("text", "evidence")
    if form.is_valid():
        rows = rows.filter(
            **{k: form.cleaned_data[k] for k in ("kind", "state") if form.cleaned_data[k]}
        )
        if word := form.cleaned_data["q"]:
            rows = rows.filter(
                Q(document__icontains=word) | Q(title__icontains=word) | Q(region__icontains=word)
            )
    table = Table(
        id="releases",
        caption="政策文本",
        columns=[
            Column(label="文件", wide=True),
            Column(label="统筹区"),
            Column(label="类型"),
            Column(label="有效期"),
            Column(label="状态"),
            Column(label="SM3"),
            Column(label="起草"),
            Column(label="发布"),
        ],
        rows=[_release_row(release) for release in rows],
        empty_title="没有符合条件的文本",
    )
    return render(
        request,
        "pricing/releases.html",
        {"form": form, "table": table, "breadcrumbs": _crumbs("政策文本")},
    )


def _release_row(release: Release) -> Row:
    url = reverse("release", args=[release.pk])
    published = release.state == Release.State.PUBLISHED
    return Row(
        key=str(release.pk),
        label=release.title,
        cells=[
            Cell(text=release.title, sub=release.document, url=url),
            Cell(text=release.region, code=True),
            Cell(text=release.get_kind_display()),
            Cell(text=_span(release.valid_from, release.valid_until)),
            Cell(text=release.get_state_display(), tone="ok" if published else "wait"),
            Cell(text=f"{release.sm3[:12]}…", code=True, title=release.sm3),
            Cell(text=release.drafted_by, sub=_moment(release.drafted_at)),
            Cell(text=release.published_by, sub=_moment(release.published_at)),
        ],
    )


def _moment(at: dt.datetime | None) -> str:
    return f"{clock.local(at):%Y-%m-%d %H:%M}" if at else ""


@requires("releases.view")
@require_GET
def release_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One release: identity, who, and its text with line numbers, read-only."""
    release = get_object_or_404(Release, pk=pk)
    published = release.state == Release.State.PUBLISHED
    facts = [
        {"label": "文号", "value": release.document},
        {"label": "类型", "value": release.get_kind_display()},
        {
            "label": "状态",
            "value": release.get_state_display(),
            "tone": "ok" if published else "wait",
        },
        {"label": "统筹区", "value": release.region, "code": True},
        {"label": "有效期", "value": _span(release.valid_from, release.valid_until)},
        {"label": "编号", "value": release.slug, "code": True},
        {"label": "起草", "value": release.drafted_by, "sub": _moment(release.drafted_at)},
        {"label": "发布", "value": release.published_by, "sub": _moment(release.published_at)},
        {"label": "摘要（SM3）", "value": release.sm3, "code": True, "wide": True},
    ]
    return render(
        request,
        "pricing/release.html",
        {
            "release": release,
            "facts": facts,
            "lines": release.text.splitlines(),
            "breadcrumbs": [
                *_crumbs("政策文本", reverse("releases")),
                {"label": release.document, "url": ""},
            ],
        },
    )


def _crumbs(label: str, url: str = "") -> list[dict]:
    return [
        {"label": "政策与机构", "url": ""},
        {"label": "价格目录", "url": reverse("prices")},
        {"label": label, "url": url},
    ]
