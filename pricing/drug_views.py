"""Pages of the drug catalogue: versions, upload, one version with its drugs, difference, publishing."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.sheets import XLSX
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions.access import PortalRequest
from institutions.refusals import Refusal
from institutions.views.exchange import attachment
from pricing import drug_lists, releases
from pricing.catalogue import region_name
from pricing.drug_forms import DrugFilter, SheetForm, VersionForm
from pricing.models import Drug, DrugList

CRUMBS = [{"label": "政策与机构", "url": ""}]
PAGE, SHOWN = 50, 200
SIZES = (20, 50, 100)
State = DrugList.State
TONES = {"A": "ok", "B": "info", "C": "warn"}
TABS = (("drugs", "药品"), ("changes", "与上一版本的差异"), ("errors", "错误"))


@requires("prices.view")
@require_http_methods(["GET", "POST"])
def versions(request: PortalRequest) -> HttpResponse:
    """The versions of every region; who may draft uploads a new one here (a dry run)."""
    regions = _own_regions(request) if request.user.may("drugs.draft") else []
    form = (
        VersionForm(request.POST or None, request.FILES or None, regions=regions)
        if regions
        else None
    )
    if request.method == "POST" and form and form.is_valid():
        made = _draft(request, form)
        if made:
            return redirect("drug-list", pk=made.pk)
    rows = DrugList.objects.defer("file", "errors").order_by("region", "-valid_from", "-pk")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    names = _names()
    return render(request, "pricing/drugs.html", {
        "breadcrumbs": [*CRUMBS, {"label": "药品目录", "url": ""}],
        "form": form, "open": bool(form and form.is_bound),
        "table": _versions(list(page), names, page.paginator.count, page.number),
    }, status=422 if form and form.errors else 200)  # fmt: skip


def _names() -> dict[str, str]:
    catalogue = releases.current()
    return {release.policy.region: region_name(release.policy) for release in catalogue.policies}


def _own_regions(request: PortalRequest) -> list[tuple[str, str]]:
    """The policy regions that this person drafts for: the own one, or all without a region."""
    place = request.user.region
    return [
        (region, name)
        for region, name in sorted(_names().items())
        if place is None or place.policy_region == region
    ]


def _draft(request: PortalRequest, form: VersionForm) -> DrugList | None:
    given = dict(form.cleaned_data)
    file = given.pop("file")
    try:
        return drug_lists.draft(
            **given, file_name=file.name, content=file.read(), by=request.user.username,
            at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        _told(form, refusal)
        return None


def _told(form: SheetForm, refusal: Refusal) -> None:
    """A refusal at the field that it names."""
    field = refusal.faults[0].pointer.strip("/") if refusal.faults else ""
    form.add_error(field if field in form.fields else None, f"{refusal.detail[0]}。")


def _versions(rows: list[DrugList], names: dict[str, str], total: int, number: int) -> Table:
    return Table(
        id="drug-lists", caption="药品目录版本",
        columns=[
            Column(label="名称", wide=True), Column(label="统筹区"), Column(label="有效期"),
            Column(label="药品", numeric=True), Column(label="来源"), Column(label="状态"),
            Column(label="起草"), Column(label="发布"),
        ],
        rows=[_version(row, names) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有药品目录", empty_text="上传表格并由第二人发布后，药品费按目录判断。",
    )  # fmt: skip


def _version(row: DrugList, names: dict[str, str]) -> Row:
    url, state = reverse("drug-list", args=[row.pk]), _state(row)
    example = row.source_kind == DrugList.Source.EXAMPLE
    return Row(
        key=str(row.pk), label=row.title,
        cells=[
            Cell(text=row.title, sub=f"版本 {row.version}", url=url),
            Cell(text=names.get(row.region, row.region)),
            Cell(text=_span(row)), Cell(text=f"{row.drugs_count:,}"),
            Cell(text=row.get_source_kind_display(), tone="warn" if example else ""),
            Cell(text=state["text"], tone=state["tone"]),
            Cell(text=row.drafted_by, sub=_moment(row.drafted_at)),
            Cell(text=row.published_by, sub=_moment(row.published_at)),
        ],
        actions=[Action(label="查看", url=url)],
    )  # fmt: skip


def _state(row: DrugList) -> dict[str, str]:
    """The state as word and colour."""
    if row.state == State.DRAFT:
        faulty = not row.drugs_count
        return {"text": "草案，有错误" if faulty else "草案", "tone": "bad" if faulty else "wait"}
    today = clock.today()
    if row.valid_from > today:
        return {"text": "已发布，未生效", "tone": "info"}
    ended = row.valid_until is not None and row.valid_until < today
    return {"text": "已失效", "tone": "mute"} if ended else {"text": "生效", "tone": "ok"}


def _span(row: DrugList) -> str:
    return f"{row.valid_from} 至 {row.valid_until or '另行规定'}"


def _moment(at: dt.datetime | None) -> str:
    return f"{clock.local(at):%Y-%m-%d %H:%M}" if at else ""


@requires("prices.view")
@require_GET
def version(request: PortalRequest, pk: int) -> HttpResponse:
    """One version: what it is, its drugs by query, what it changes, what is wrong in its sheet."""
    found = _found(pk)
    old = drug_lists.before(found)
    change = drug_lists.compared(old, found) if found.drugs_count else None
    tabs = {"drugs": found.drugs_count, "changes": len(change) if change else 0,
            "errors": len(found.errors)}  # fmt: skip
    tab = request.GET.get("tab", "")
    tab = tab if tabs.get(tab) is not None else "errors" if found.errors else "drugs"
    chosen = DrugFilter(request.GET, queryset=found.drugs.all())
    may = _acts(request, found)
    return render(request, "pricing/drug_list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "药品目录", "url": reverse("drug-lists")},
                        {"label": f"{found.title} {found.version}", "url": ""}],
        "list": found, "state": _state(found), "facts": _facts(found, old),
        "example": found.source_kind == DrugList.Source.EXAMPLE, "may": may,
        "sheet": SheetForm() if may["edit"] else None,
        "tabs": _tabs(found, tab, tabs), "tab": tab, "filter": chosen.form,
        "stats": _stats(found, change),
        "table": {"drugs": lambda: _drugs(request, found, chosen),
                  "changes": lambda: _changes(change),
                  "errors": lambda: _errors(request, found)}[tab](),
    })  # fmt: skip


def _found(pk: int) -> DrugList:
    if pk >= 2**63:
        raise Http404
    return get_object_or_404(DrugList.objects.defer("file"), pk=pk)


def _acts(request: PortalRequest, found: DrugList) -> dict[str, bool]:
    """What this person can do with a version: edit or discard a draft, publish another's."""
    place = request.user.region
    ours = place is None or place.policy_region == found.region
    draft = ours and found.state == State.DRAFT
    return {
        "edit": draft and request.user.may("drugs.draft"),
        "publish": draft and request.user.may("drugs.publish") and bool(found.drugs_count)
        and found.drafted_by != request.user.username,
        "wait": draft and bool(found.drugs_count) and found.drafted_by == request.user.username,
    }  # fmt: skip


def _facts(found: DrugList, old: DrugList | None) -> list[dict]:
    return [
        {"label": "统筹区", "value": _names().get(found.region, found.region)},
        {"label": "版本", "value": found.version, "code": True},
        {"label": "有效期", "value": _span(found)},
        {"label": "来源", "value": found.get_source_kind_display(), "sub": found.source_ref},
        {"label": "条款", "value": found.clause},
        {"label": "上一版本", "value": old.version if old else "",
         "url": reverse("drug-list", args=[old.pk]) if old else ""},
        {"label": "起草", "value": found.drafted_by, "sub": _moment(found.drafted_at)},
        {"label": "发布", "value": found.published_by, "sub": _moment(found.published_at)},
        {"label": "表格", "value": found.file_name, "sub": f"{found.rows:,} 行"},
        {"label": "内容摘要（SM3）", "value": found.sm3, "code": bool(found.sm3), "wide": True},
    ]  # fmt: skip


def _stats(found: DrugList, change: drug_lists.Difference | None) -> list[dict]:
    if change is None:
        return []
    chronic = found.drugs.exclude(diseases=[]).count()
    told = (
        f"新增 {len(change.added):,} · 调出 {len(change.removed):,} · 变更 {len(change.changed):,}"
    )
    return [
        {"label": "药品", "value": f"{found.drugs_count:,}", "note": "种"},
        {"label": "慢性病用药", "value": f"{chronic:,}", "note": "限定病种的药品"},
        {"label": "与上一版本的差异", "value": f"{len(change):,}", "note": told},
    ]


def _tabs(found: DrugList, tab: str, counts: dict[str, int]) -> list[dict]:
    own = reverse("drug-list", args=[found.pk])
    return [
        {"label": label, "url": f"{own}?tab={key}", "current": key == tab,
         "count": f"{counts[key]:,}"}
        for key, label in TABS if key != "errors" or counts[key]
    ]  # fmt: skip


def _drugs(request: PortalRequest, found: DrugList, chosen: DrugFilter) -> Table:
    asked = request.GET.get("size")
    size = int(asked) if asked in {str(one) for one in SIZES} else PAGE
    page = Paginator(chosen.found().order_by("code"), size).get_page(request.GET.get("page"))
    query = request.GET.urlencode()
    return Table(
        id="drugs", caption="药品", show_caption=False,
        columns=[
            Column(label="药品名称", wide=True), Column(label="药品编码"), Column(label="类别"),
            Column(label="先行自付", numeric=True), Column(label="支付限价（元）", numeric=True),
            Column(label="限定病种", wide=True),
        ],
        rows=[_drug(drug) for drug in page],
        pages=Pages(total=page.paginator.count, size=size, page=page.number, sizes=SIZES),
        toolbar=[
            Action(label=f"导出 {ending.upper()}", icon="arrow-down-tray",
                   url=f"{reverse('drug-list-export', args=[found.pk, ending])}?{query}")
            for ending in drug_lists.ENDINGS
        ],
        empty_title="没有符合条件的药品",
    )  # fmt: skip


def _drug(drug: Drug) -> Row:
    return Row(
        key=str(drug.pk), label=drug.name,
        cells=[
            Cell(text=drug.name, sub=" · ".join(filter(None, (drug.specification, drug.unit)))),
            Cell(text=drug.code, code=True),
            Cell(text=drug.get_category_display(), tone=TONES[drug.category]),
            Cell(text=drug_lists.share_text(drug.first_self_pay)),
            Cell(text=drug_lists.ceiling_text(drug.ceiling) or "不限"),
            Cell(text="、".join(drug.diseases) or "不限"),
        ],
    )  # fmt: skip


def _changes(change: drug_lists.Difference | None) -> Table:
    """Everything that a version changes, most telling first; more than SHOWN only in the export."""
    if change is None:
        change = drug_lists.Difference([], [], [])
    lines: list[tuple[Drug, str, str, str]] = [
        (drug, "变更", "info", "；".join(f"{label}：{old or '空'} → {new or '空'}"
                                         for label, old, new in parts))
        for drug, parts in change.changed
    ]  # fmt: skip
    lines += [(drug, "调出", "bad", "") for drug in change.removed]
    lines += [(drug, "新增", "ok", "、".join(drug_lists.texts(drug)[4:])) for drug in change.added]
    caption = f"共 {len(lines):,} 项" + (f"，显示前 {SHOWN} 项" if len(lines) > SHOWN else "")
    return Table(
        id="changes", caption=caption,
        columns=[Column(label="药品", wide=True), Column(label="药品编码"), Column(label="变化"),
                 Column(label="内容", wide=True)],
        rows=[
            Row(key=drug.code, label=drug.name, cells=[
                Cell(text=drug.name, sub=drug.specification), Cell(text=drug.code, code=True),
                Cell(text=word, tone=tone), Cell(text=told)])
            for drug, word, tone, told in lines[:SHOWN]
        ],
        empty_title="与上一版本相同", empty_text="没有新增、调出或变更的药品。",
    )  # fmt: skip


def _errors(request: PortalRequest, found: DrugList) -> Table:
    page = Paginator(found.errors, PAGE).get_page(request.GET.get("page"))
    return Table(
        id="errors", caption="错误", show_caption=False,
        columns=[Column(label="位置"), Column(label="列"), Column(label="填写内容", wide=True),
                 Column(label="原因", wide=True)],
        rows=[
            Row(key=str(n), label=f"第 {error['row']} 行", tone="bad", cells=[
                Cell(text=f"第 {error['row']} 行"), Cell(text=error["column"] or "整行"),
                Cell(text=error["value"]), Cell(text=error["reason"])])
            for n, error in enumerate(page)
        ],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        toolbar=[Action(label="下载标注文件", url=reverse("drug-list-annotated", args=[found.pk]),
                        icon="arrow-down-tray")],
        empty_title="没有错误",
    )  # fmt: skip


@requires("drugs.draft")
@require_POST
def replace(request: PortalRequest, pk: int) -> HttpResponse:
    """Another sheet for a draft."""
    found, form = _found(pk), SheetForm(request.POST, request.FILES)
    if not _acts(request, found)["edit"]:
        raise Http404
    if not form.is_valid():
        messages.error(request, str(form.errors["file"][0]))
        return redirect("drug-list", pk=found.pk)
    file = form.cleaned_data["file"]
    return _done(
        request, "表格已替换，请核对差异。", reverse("drug-list", args=[found.pk]),
        drug_lists.replace_sheet, drugs=found, file_name=file.name, content=file.read(),
    )  # fmt: skip


@requires("drugs.publish")
@require_POST
def publish(request: PortalRequest, pk: int) -> HttpResponse:
    """Put a draft in force, by a second person."""
    found = _found(pk)
    place = request.user.region
    if place is not None and place.policy_region != found.region:
        raise Http404
    own = reverse("drug-list", args=[found.pk])
    return _done(
        request, "已发布，自生效日起按此版本判断药品费。", own, drug_lists.publish, drugs=found
    )


@requires("drugs.draft")
@require_POST
def discard(request: PortalRequest, pk: int) -> HttpResponse:
    """Throw a draft away."""
    found = _found(pk)
    if not _acts(request, found)["edit"]:
        raise Http404
    return _done(request, "草案已作废。", reverse("drug-lists"), drug_lists.discard, drugs=found)


def _done(
    request: PortalRequest, told: str, where: str, command: Callable[..., Any], **given: Any
) -> HttpResponse:
    try:
        command(**given, by=request.user.username, at=clock.now())
    except Refusal as refusal:
        messages.error(request, f"{refusal.detail[0]}。")
        return redirect("drug-list", pk=given["drugs"].pk)
    messages.success(request, told)
    return redirect(where)


@requires("prices.view")
@require_GET
def export(request: PortalRequest, pk: int, ending: str) -> HttpResponse:
    """The drugs of the present query as XLSX, CSV or JSON."""
    found = _found(pk)
    if ending not in drug_lists.ENDINGS:
        raise Http404
    chosen = DrugFilter(request.GET, queryset=found.drugs.all())
    content, media = drug_lists.export(found, chosen.found().order_by("code"), ending)
    _taken(request, found, ending, query=request.GET.urlencode())
    return attachment(content, media, f"药品目录-{found.region}-{found.version}.{ending}")


def _taken(request: PortalRequest, found: DrugList, form: str, **more: str) -> None:
    """Whoever takes a catalogue away leaves an event."""
    trail.record(
        by=request.user.username, at=clock.now(), action="druglist.export",
        subject=f"druglist:{found.pk}", region_code=request.user.region_id or "",
        institution_code=request.user.institution_id or "", detail={"format": form, **more},
    )  # fmt: skip


@requires("drugs.draft")
@require_GET
def annotated(request: PortalRequest, pk: int) -> HttpResponse:
    """The uploaded sheet with everything wrong in each row."""
    found = get_object_or_404(DrugList, pk=_found(pk).pk)
    if not found.errors:
        raise Http404
    name = found.file_name.rpartition(".")[0]
    _taken(request, found, "annotated")
    return attachment(drug_lists.annotated(found), XLSX, f"结果-{name}.xlsx")


@requires("drugs.draft")
@require_GET
def blank(request: PortalRequest, ending: str) -> HttpResponse:
    """A template to fill in."""
    if ending not in ("xlsx", "csv"):
        raise Http404
    content, media = drug_lists.template(ending)
    return attachment(content, media, f"药品目录-模板.{ending}")
