"""Outages (断网补传): what institutions report, what the agency confirms, the claims uploaded late."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import outages as commands
from settlement import words
from settlement.correction_forms import DecisionForm, OutageForm
from settlement.detail import moment
from settlement.models import Outage
from settlement.search import beside
from settlement.terms import cite

CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "断网补传", "url": "/outages/"}]
PAGE = 20
TONES = {"reported": "warn", "accepted": "ok", "refused": "bad"}


@requires("reconciliations.view")
@require_http_methods(["GET", "POST"])
def outages(request: PortalRequest) -> HttpResponse:
    """Outages of the reader's scope; an institution reports here."""
    own, form = request.user.institution, None
    if own is not None and request.user.may(commands.REPORT):
        form = OutageForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form is not None and own is not None and form.is_valid():
        try:
            made = commands.report(
                institution=own, began=form.cleaned_data["began"], ended=form.cleaned_data["ended"],
                reason=form.cleaned_data["reason"], file=form.file(), by=request.user.username,
                at=clock.now(),
            )  # fmt: skip
        except Refusal as refusal:
            refuse(form, refusal)
        else:
            messages.success(request, "已报告，经办机构确认后按期限补传。")
            return redirect("outage", pk=made.pk)
    page = Paginator(Outage.objects.visible_to(request.user), PAGE).get_page(
        request.GET.get("page")
    )
    return render(request, "settlement/outages.html", named({
        "breadcrumbs": CRUMBS, "form": form, "table": _table(page),
    }))  # fmt: skip


def _table(page: Any) -> Table:
    names = Institution.objects.in_bulk({row.institution_code for row in page})
    return Table(
        id="outages", caption="断网报告",
        columns=[
            Column(label="医疗机构", wide=True), Column(label="中断开始"), Column(label="恢复"),
            Column(label="补传截止"), Column(label="状态"),
        ],
        rows=[_row(row, str(names.get(row.institution_code, row.institution_code))) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        empty_title="没有断网报告",
        empty_text="线路中断期间的服务，报告并经确认后可在期限内补传。",
    )  # fmt: skip


def _row(row: Outage, name: str) -> Row:
    url = reverse("outage", args=[row.pk])
    return Row(
        key=str(row.pk), label=name, actions=[Action(label="查看", url=url)],
        cells=[
            Cell(text=name, url=url, sub=row.reason), Cell(text=moment(row.began)[:16]),
            Cell(text=moment(row.ended)[:16]),
            Cell(text=moment(row.upload_due)[:16] if row.upload_due else "—",
                 sub="示例参数" if row.example else ""),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
    )  # fmt: skip


@requires("reconciliations.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """One outage and the claims of services in it."""
    return _page(request, _visible(request, pk), DecisionForm(), status=200)


@requires(commands.ACCEPT)
@require_POST
def decide(request: PortalRequest, pk: int, action: str) -> HttpResponse:
    """The agency confirms it or not."""
    found = _visible(request, pk)
    if action not in ("accept", "refuse"):
        raise Http404
    form = DecisionForm(request.POST)
    form.is_valid()
    try:
        getattr(commands, action)(
            outage=found, note=form.cleaned_data.get("note", ""), by=request.user.username,
            at=clock.now(),
        )  # fmt: skip
    except Refusal as refusal:
        return _page(request, found, form, status=refuse(form, refusal))
    messages.success(request, "已确认，机构可在期限内补传。" if action == "accept" else "已退回。")
    return redirect("outage", pk=found.pk)


def _page(
    request: PortalRequest, found: Outage, form: DecisionForm, *, status: int
) -> HttpResponse:
    place = Institution.objects.select_related("region").get(pk=found.institution_code)
    page = Paginator(commands.claims_of(found).order_by("pk"), PAGE).get_page(
        request.GET.get("page")
    )
    day = clock.local(found.ended).date()
    cited = cite(place.region.policy_region, day, found.clause) if found.clause else None
    return render(request, "settlement/outage.html", named({
        "breadcrumbs": [*CRUMBS, {"label": place.name, "url": ""}],
        "found": found, "place": place, "tone": TONES[found.state], "form": form,
        "may_decide": found.state == "reported" and request.user.may(commands.ACCEPT)
        and found.reported_by != request.user.username,
        "info": [
            {"label": "中断开始", "value": moment(found.began)},
            {"label": "恢复时间", "value": moment(found.ended)},
            {"label": "补传截止", "value": moment(found.upload_due) if found.upload_due else "",
             "sub": "示例参数" if found.example else "", "clause": cited},
            {"label": "证明材料", "value": found.document.name if found.document else "",
             "url": reverse("document", args=[found.document_id]) if found.document else ""},
            {"label": "报告", "value": Login(found.reported_by), "sub": moment(found.reported_at)},
            {"label": "处理", "value": Login(found.decided_by), "sub": found.note},
            {"label": "原因", "value": found.reason, "wide": True},
        ],
        "table": _claims(found, page),
    }), status=status)  # fmt: skip


def _claims(found: Outage, page: Any) -> Table:
    late = found.upload_due
    rows = []
    for shown in beside(list(page)):
        claim, url = shown.claim, reverse("claim", args=[shown.claim.pk])
        in_time = late is not None and claim.received_at <= late
        rows.append(Row(
            key=str(claim.pk), label=claim.claim_no, actions=[Action(label="单据", url=url)],
            cells=[
                Cell(text=claim.claim_no, url=url, code=True),
                Cell(text=claim.service_date.isoformat()), Cell(text=moment(claim.received_at)[:16]),
                Cell(text="补传及时" if in_time else "逾期或未确认", tone="ok" if in_time else "warn"),
                Cell(text=yuan(claim.fee)),
                Cell(text=shown.state_text, tone=words.STATE_TONES.get(shown.state, "info")),
            ],
        ))  # fmt: skip
    return Table(
        id="claims", caption="断网期间的单据",
        columns=[
            Column(label="单据号"), Column(label="服务日期"), Column(label="上传时间"),
            Column(label="补传"), Column(label="费用（元）", numeric=True), Column(label="结算状态"),
        ],
        rows=rows,
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        empty_title="还没有补传的单据",
    )  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Outage:
    if pk >= 2**63:
        raise Http404
    rows = Outage.objects.visible_to(request.user).select_related("document")
    return get_object_or_404(rows, pk=pk)
