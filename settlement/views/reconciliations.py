"""Reconciliation with hospitals: ledgers, one ledger with its differences, working them off."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse, words_of
from audit import clock, sheets
from audit.access import requires
from audit.charts import ranking
from audit.models import Event, Task
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from settlement import hospital_ledgers
from settlement import reconciliation as commands
from settlement.correction_forms import DifferencesQuery, LedgerForm, ResolveForm
from settlement.detail import moment
from settlement.models import Discrepancy, HospitalLedger

CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "机构对账", "url": "/reconciliations/"}]
PAGE, DIFFERENCES_PAGE, ERRORS_PAGE = 20, 50, 50
MOST_AT_ONCE = 100_000
TONES = {"checked": "info", "different": "warn", "balanced": "ok", "superseded": "mute"}
KIND_TONES = {"only_ours": "bad", "only_theirs": "bad", "number": "warn", "identity": "bad", "amount": "warn",
              "state": "warn", "duplicate": "info"}  # fmt: skip
STATES = {"settled": "已结算", "reversed": "已冲正", "": "—"}


@requires("reconciliations.view")
@require_http_methods(["GET", "POST"])
def reconciliations(request: PortalRequest) -> HttpResponse:
    """Ledgers of the reader's scope; an institution uploads here: a POST is the dry run."""
    own, form = request.user.institution, None
    if own is not None and request.user.may(commands.UPLOAD):
        form = LedgerForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form is not None and own is not None and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            made = commands.check(
                institution=own, period=form.cleaned_data["period"], file_name=file.name,
                content=file.read(), by=request.user.username, at=clock.now(),
            )  # fmt: skip
        except Refusal as refusal:
            form.add_error("file", words_of(refusal))
        else:
            return redirect("reconciliation", pk=made.pk)
    rows = HospitalLedger.objects.visible_to(request.user).defer("errors")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/reconciliations.html", named({
        "breadcrumbs": CRUMBS, "form": form, "table": _table(page),
    }))  # fmt: skip


def _table(page: Any) -> Table:
    names = Institution.objects.in_bulk({row.institution_code for row in page})
    return Table(
        id="ledgers", caption="机构对账",
        columns=[
            Column(label="医疗机构", wide=True), Column(label="结算期"), Column(label="行数", numeric=True),
            Column(label="差异", numeric=True), Column(label="机构账（元）", numeric=True),
            Column(label="中心账（元）", numeric=True), Column(label="上传"), Column(label="状态"),
        ],
        rows=[_row(row, str(names.get(row.institution_code, row.institution_code))) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        empty_title="还没有对账", empty_text="医疗机构上传一个结算期的明细后，逐行与中心账核对。",
    )  # fmt: skip


def _row(row: HospitalLedger, name: str) -> Row:
    url, sums = reverse("reconciliation", args=[row.pk]), row.totals
    matched = row.matched_at is not None
    return Row(
        key=str(row.pk), label=name, actions=[Action(label="查看", url=url)],
        cells=[
            Cell(text=name, url=url, sub=row.file_name), Cell(text=f"{row.period:%Y-%m}"),
            Cell(text=f"{row.rows:,}"), Cell(text=f"{sums['different']:,}" if matched else "—"),
            Cell(text=yuan(sums["fund_theirs"]) if matched else "—", sub="统筹基金"),
            Cell(text=yuan(sums["fund_ours"]) if matched else "—", sub="统筹基金"),
            Cell(text=moment(row.uploaded_at)[:16], sub=Login(row.uploaded_by)),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
    )  # fmt: skip


@requires("reconciliations.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """One ledger: sums of both sides, differences by class, row errors of a file that was refused."""
    return _page(request, _visible(request, pk), ResolveForm(), status=200)


@requires(commands.UPLOAD)
@require_POST
def match(request: PortalRequest, pk: int) -> HttpResponse:
    """Compare a checked ledger."""
    found = _visible(request, pk)
    try:
        done = commands.match(ledger=found, by=request.user.username, at=clock.now())
    except Refusal as refusal:
        messages.error(request, f"{words_of(refusal)}。")
    else:
        different = done.totals["different"]
        messages.success(
            request, f"对账完成：{different} 项差异。" if different else "对账完成：已对平。"
        )
    return redirect("reconciliation", pk=found.pk)


@requires(commands.UPLOAD)
@require_POST
def resent(request: PortalRequest, pk: int) -> HttpResponse:
    """The institution has sent again what it was asked for."""
    found = _visible(request, pk)
    commands.resent(ledger=found, by=request.user.username, at=clock.now())
    messages.success(request, "已登记重新上传，请上传新的对账明细复核。")
    return redirect("reconciliation", pk=found.pk)


@requires(commands.HANDLE)
@require_POST
def resolve(request: PortalRequest, pk: int) -> HttpResponse:
    """Decide chosen differences, or all of the query, with a reason."""
    found = _visible(request, pk)
    form = ResolveForm(request.POST)
    rows = Discrepancy.objects.filter(ledger=found)
    query = DifferencesQuery(request.GET, queryset=rows, request=request)
    every = "all_matching" in request.POST
    chosen = (
        list(query.qs.filter(resolution="").values_list("pk", flat=True)[:MOST_AT_ONCE])
        if every and query.form.is_valid()
        else [int(key) for key in request.POST.getlist("selected") if key.isdigit()]
    )
    if form.is_valid() and not chosen:
        form.add_error(None, "请先选择差异。")
    if not form.is_valid():
        return _page(request, found, form, status=422)
    try:
        count = commands.resolve(
            ledger=found, differences=chosen, resolution=request.POST.get("action", ""),
            reason=form.cleaned_data["reason"], by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        return _page(request, found, form, status=refuse(form, refusal))
    messages.success(request, f"已处理 {count} 项差异。")
    return redirect(f"{reverse('reconciliation', args=[found.pk])}?{request.GET.urlencode()}")


@requires("reconciliations.view")
@require_GET
def template(request: PortalRequest) -> HttpResponse:
    """A workbook to fill in."""
    return HttpResponse(
        hospital_ledgers.template(), content_type=sheets.XLSX,
        headers={"Content-Disposition": 'attachment; filename="hospital-ledger.xlsx"'},
    )  # fmt: skip


def _page(
    request: PortalRequest, found: HospitalLedger, form: ResolveForm, *, status: int
) -> HttpResponse:
    place = Institution.objects.filter(pk=found.institution_code).first()
    may_handle = request.user.may(commands.HANDLE) and found.state == "different"
    may_upload = request.user.may(commands.UPLOAD)
    query = DifferencesQuery(
        request.GET, queryset=Discrepancy.objects.filter(ledger=found), request=request
    )
    rows = query.qs if query.form.is_valid() else Discrepancy.objects.none()
    page = Paginator(rows, DIFFERENCES_PAGE).get_page(request.GET.get("page"))
    sums = commands.sums_by_kind(found)
    resend = f"ledger:{found.pk}/resend"
    events = Event.objects.visible_to(request.user).filter(subject=f"ledger:{found.pk}")
    return render(request, "settlement/reconciliation.html", named({
        "breadcrumbs": [*CRUMBS, {"label": f"{found.period:%Y年%m月}", "url": ""}],
        "found": found, "place": place or found.institution_code, "tone": TONES[found.state],
        "errors": _errors(found, request) if found.errors else None,
        "may_match": may_upload and found.state == "checked" and not found.errors,
        "may_handle": may_handle, "form": form, "query": query.form,
        "waits": may_upload and Task.objects.filter(
            subject=resend, state=Task.State.OPEN
        ).exists(),
        "stats": _stats(found),
        "chart": ranking(
            title="差异类别", rows=[
                {"label": Discrepancy.Kind(row["kind"]).label, "value": row["n"],
                 "note": f"待处理 {row['waiting']}"} for row in sums],
        ) if sums else None,
        "table": _differences(found, page, request.GET.urlencode(), bulk=may_handle)
        if found.matched_at else None,
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action), "tone": "ok"}
            for event in events.order_by("at", "id")[:50]
        ],
    }), status=status)  # fmt: skip


def _stats(found: HospitalLedger) -> list[dict[str, str]]:
    if found.matched_at is None:
        return []
    sums = found.totals
    return [
        {"label": "机构账", "value": yuan(sums["fee_theirs"]), "unit": "元",
         "note": f"{found.rows:,} 行 · 统筹基金 {yuan(sums['fund_theirs'])}"},
        {"label": "中心账", "value": yuan(sums["fee_ours"]), "unit": "元",
         "note": f"{sums['rows_ours']:,} 行 · 统筹基金 {yuan(sums['fund_ours'])}"},
        {"label": "基金之差", "unit": "元", "note": "机构账减中心账，冲正的不计",
         "value": yuan(sums["fund_theirs"] - sums["fund_ours"], sign=True)},
        {"label": "差异", "value": f"{sums['different']:,}", "unit": "项",
         "note": found.get_state_display()},
    ]  # fmt: skip


def _differences(found: HospitalLedger, page: Any, filters: str, *, bulk: bool) -> Table:
    acts = [
        Action(label=choice.label, value=choice.value,
               tone="danger" if choice in commands.REVERSING else "")
        for choice in Discrepancy.Resolution
    ]  # fmt: skip
    return Table(
        id="differences", caption="差异", bulk=acts if bulk else (),
        bulk_url=f"{reverse('reconciliation-resolve', args=[found.pk])}?{filters}",
        columns=[
            Column(label="类别"), Column(label="单据号"), Column(label="服务日期"),
            Column(label="机构账（元）", numeric=True), Column(label="中心账（元）", numeric=True),
            Column(label="状态（机构／中心）"), Column(label="处理", wide=True),
        ],
        rows=[_difference(row) for row in page],
        pages=Pages(total=page.paginator.count, size=DIFFERENCES_PAGE, page=page.number,
                    sizes=(DIFFERENCES_PAGE,)),
        empty_title="没有差异", empty_text="机构账与中心账逐行相符。",
    )  # fmt: skip


def _difference(row: Discrepancy) -> Row:
    url = reverse("claim", args=[row.claim_id]) if row.claim_id else ""
    resolved = row.get_resolution_display() if row.resolution else ""
    return Row(
        key=str(row.pk), label=f"{row.claim_no} 第 {row.line_no} 行",
        actions=[Action(label="单据", url=url)] if url else [],
        cells=[
            Cell(text=row.get_kind_display(), tone=KIND_TONES[row.kind]),
            Cell(text=row.claim_no, url=url, code=True, sub=f"第 {row.line_no} 行"
                 + (f"，机构账为 {row.claim_no_theirs}" if row.claim_no_theirs else "")),
            Cell(text=row.service_date.isoformat(), sub=f"机构账第 {row.row} 行" if row.row else ""),
            Cell(text=_money(row.fee_theirs), sub=_fund(row.fund_theirs)),
            Cell(text=_money(row.fee_ours), sub=_fund(row.fund_ours)),
            Cell(text=f"{STATES[row.state_theirs]}／{STATES[row.state_ours]}"),
            Cell(text=resolved or "待处理", tone="ok" if resolved else "warn",
                 sub=Told(f"{row.reason} · ", Login(row.resolved_by)) if resolved else ""),
        ],
    )  # fmt: skip


def _money(amount: int | None) -> str:
    return "—" if amount is None else yuan(amount)


def _fund(amount: int | None) -> str:
    return "" if amount is None else f"统筹 {yuan(amount)}"


def _errors(found: HospitalLedger, request: PortalRequest) -> Table:
    page = Paginator(found.errors, ERRORS_PAGE).get_page(request.GET.get("page"))
    return Table(
        id="errors", caption="校验发现的错误",
        columns=[Column(label="位置"), Column(label="列"), Column(label="说明", wide=True)],
        rows=[
            Row(key=str(n), label=f"第 {error['row']} 行", tone="bad", cells=[
                Cell(text=f"第 {error['row']} 行"), Cell(text=error["column"]),
                Cell(text=error["reason"], sub=error["code"])])
            for n, error in enumerate(page)
        ],
        pages=Pages(total=page.paginator.count, size=ERRORS_PAGE, page=page.number,
                    sizes=(ERRORS_PAGE,)),
    )  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> HospitalLedger:
    if pk >= 2**63:
        raise Http404
    return get_object_or_404(HospitalLedger.objects.visible_to(request.user), pk=pk)
