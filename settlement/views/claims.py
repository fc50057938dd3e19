"""Claims: query, list, export, one claim with its waterfall, reversal."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions import crypto
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import named
from institutions.refusals import Refusal
from pricing.releases import current
from settlement import commands, export, payers, search, words
from settlement.batch_forms import XLSX
from settlement.claim_forms import PersonForm, ReversalForm
from settlement.detail import Detail, moment
from settlement.facts import Claimant
from settlement.models import Claim, EnteredClaim, InsuredPerson, Settlement
from settlement.statement_steps import paid_to_person

CRUMBS = [{"label": "工作台", "url": "/"}]
BIGGEST_ID = 2**63 - 1
COLUMNS = (
    Column(label="单据号"), Column(label="医疗机构", wide=True), Column(label="参保人"),
    Column(label="服务日期"), Column(label="费用（元）", numeric=True),
    Column(label="统筹基金（元）", numeric=True, hint="扣除冲正后的净额"),
    Column(label="个人负担（元）", numeric=True, hint="个人账户与现金，扣除冲正后的净额"),
    Column(label="状态"),
)  # fmt: skip


@requires("claims.view")
@require_GET
def claims(request: PortalRequest) -> HttpResponse:
    """The query bar and a page of claims, newest first."""
    found = _filter(request)
    size = _size(request.GET.get("size"))
    try:
        page = search.page(found.found(), cursor=request.GET.get("cursor", ""), size=size)
        slow = False
    except search.TooSlow:
        page, slow = search.Page([]), True
    if request.user.institution_id:
        found.form.fields.pop("institution")
        found.form.fields.pop("channel")
    return render(request, "settlement/claims.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "申报与结算", "url": ""}],
        "form": found.form,
        "person_form": PersonForm(),
        "person": _person(request.GET.get("person", "")),
        "without_person": _query(request, person=None),
        "query": _query(request),
        "table": _table(request, page, size),
        "slow": slow,
    }))  # fmt: skip


@requires("claims.view")
@require_POST
def find_person(request: PortalRequest) -> HttpResponse:
    """The credential comes in the body; only its keyed hash goes on, in the address."""
    form = PersonForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["credential"][0]))
        return redirect(f"{reverse('claims')}?{_query(request)}")
    digest = crypto.person_hash(form.cleaned_data["credential"])
    _read(request, "claim.find", "claim:", digest=digest)
    return redirect(f"{reverse('claims')}?{_query(request, person=digest.hex())}")


def _read(
    request: PortalRequest, action: str, subject: str, *, of: Claim | None = None,
    digest: bytes | None = None, **detail: str,
) -> None:  # fmt: skip
    """A look at what a person's claims say is an event about that person."""
    user = request.user
    trail.record(
        by=user.username, at=clock.now(), action=action, subject=subject, person_hash=digest,
        region_code=of.region_code if of else user.region_id or "",
        institution_code=of.institution_code if of else user.institution_id or "", detail=detail,
    )  # fmt: skip


@requires("claims.view")
@require_GET
def export_csv(request: PortalRequest) -> StreamingHttpResponse:
    """The current query as CSV, streamed; an event before the first row leaves."""
    _exporting(request)
    lines = export.csv_lines(_exported(request), scope=request.user.scope_codes())
    return _attachment(lines, "text/csv; charset=utf-8", "csv")


@requires("claims.view")
@require_GET
def export_xlsx(request: PortalRequest) -> StreamingHttpResponse:
    """The current query as a workbook, streamed; an event before the first row leaves."""
    _exporting(request)
    pieces = export.xlsx_pieces(_exported(request), scope=request.user.scope_codes())
    return _attachment(pieces, XLSX, "xlsx")


def _exporting(request: PortalRequest) -> None:
    """The event of an export; of one person's claims it is about that person."""
    digest = search.hash_bytes(request.GET.get("person", "")) or None
    _read(request, "claim.export", "claim:", digest=digest, query=_query(request))


def _attachment(content: Iterator, kind: str, ending: str) -> StreamingHttpResponse:
    name = quote(export.file_name(clock.today(), ending))
    return StreamingHttpResponse(
        content, content_type=kind,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )  # fmt: skip


@requires("claims.view")
@require_GET
def claim(request: PortalRequest, claim_id: int) -> HttpResponse:
    """One claim: waterfall, lines, facts, ledger, timeline. Reading it is an event (全程留痕)."""
    detail = Detail.of(_visible(request, claim_id), user=request.user, catalogue=current())
    lines = detail.shown_lines() if detail.results else []
    own = detail.last is not None and not detail.reversed and detail.request is None
    digest = bytes(detail.person.id_hash) if detail.person else None
    _read(request, "claim.read", f"claim:{claim_id}", of=detail.claim, digest=digest)
    return render(request, "settlement/claim.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "申报与结算", "url": reverse("claims")},
                        {"label": detail.claim.claim_no, "url": ""}],
        "claim": detail.claim, "badges": detail.badges(), "chart": detail.chart(),
        "sections": detail.sections(), "prescriptions": detail.prescriptions(),
        "lines": lines, "verdicts": detail.verdicts(lines), "facts": detail.facts(),
        "ledger": detail.ledger(), "releases": detail.releases(), "timeline": detail.timeline(),
        "may_flow": request.user.may("medicines.view"),
        "reversed": detail.reversed, "may_reverse": own and request.user.may("claims.reverse"),
        "may_deduct": own and bool(detail.last and sum(payers.paid(detail.last).values()) > 0)
        and request.user.may("statements.deduct") and not paid_to_person(claim_id),
        "regional": detail.regional() if request.user.may("payments.view") else [],
        "institution": detail.institution,
        "reversal": detail.last if detail.reversed else None,
        "history": detail.history() if len(detail.versions) > 1 else [],
        "refunds": detail.refunds() if detail.reversed else [],
    }))  # fmt: skip


@requires("claims.reverse")
@require_http_methods(["GET", "POST"])
def reverse_claim(request: PortalRequest, claim_id: int) -> HttpResponse:
    """Asks for the reason, then reverses once; the negative entry restores the accumulators."""
    found = _visible(request, claim_id)
    if EnteredClaim.objects.filter(claim_id=found.pk).exists():
        messages.warning(request, "该单据由手工报销申请录入，请在申请中退回重算。")
        return redirect("claim", claim_id=found.pk)
    versions = list(Settlement.objects.filter(claim_id=found.pk).order_by("version"))
    if not versions or versions[-1].version % 2 == 0:
        messages.warning(request, "该单据没有可冲正的结算，或已经冲正。")
        return redirect("claim", claim_id=found.pk)
    form = ReversalForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _reverse(request, found, form.cleaned_data["reason"])
        return redirect("claim", claim_id=found.pk)
    last = versions[-1]
    return render(request, "settlement/reverse.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "申报与结算", "url": reverse("claims")},
                        {"label": found.claim_no, "url": reverse("claim", args=[found.pk])},
                        {"label": "冲正", "url": ""}],
        "claim": found, "form": form,
        "effects": [
            {"label": "冲回统筹基金", "value": f"{yuan(-last.fund)} 元"},
            {"label": "冲回个人账户", "value": f"{yuan(-last.account)} 元"},
            {"label": "冲回个人现金", "value": f"{yuan(-last.cash)} 元"},
            {"label": "恢复起付线累计", "value": f"{yuan(last.deductible)} 元"},
        ],
    }))  # fmt: skip


def _reverse(request: PortalRequest, found: Claim, reason: str) -> None:
    """One call; a refusal becomes a message and an event."""
    row = Institution.objects.select_related("region").get(pk=found.institution_code)
    institution, by, at = Claimant.of(row), request.user.username, clock.now()
    try:
        with transaction.atomic():
            commands.reverse(
                institution=institution, claim_id=found.pk, reason=reason, by=by, at=at
            )
    except Refusal as refusal:
        commands.refused(
            institution=institution, action="claim.reverse", subject=f"claim:{found.pk}",
            code=refusal.code, by=by, at=at,
        )  # fmt: skip
        messages.error(request, f"{refusal.detail[0]}。")
    else:
        messages.success(request, f"单据 {found.claim_no} 已冲正，累计额已恢复。")


def _visible(request: PortalRequest, claim_id: int) -> Claim:
    """A claim inside the user's scope; any other does not exist."""
    if claim_id > BIGGEST_ID:
        raise Http404
    return get_object_or_404(Claim.objects.visible_to(request.user), pk=claim_id)


def _filter(request: PortalRequest) -> search.ClaimFilter:
    seen = Claim.objects.visible_to(request.user)
    return search.ClaimFilter(request.GET, queryset=seen, request=request)


def _exported(request: PortalRequest) -> QuerySet:
    return _filter(request).found()


def _size(text: str | None) -> int:
    return int(text) if text in {str(size) for size in search.SIZES} else search.SIZES[0]


def _query(request: PortalRequest, **changes: str | None) -> str:
    """The filters of the address without cursor and size; a change to None removes one."""
    known = {*search.ClaimFilter.base_filters}
    kept = {k: str(v) for k, v in request.GET.items() if k in known and v} | changes
    return urlencode({k: v for k, v in kept.items() if v is not None})


def _person(text: str) -> str:
    """Who is looked for, masked; a sentence when nobody has this hash."""
    if not text:
        return ""
    person = InsuredPerson.objects.filter(id_hash=search.hash_bytes(text)).first()
    return str(person) if person else "没有登记此证件号码的参保人"


def _table(request: PortalRequest, page: search.Page, size: int) -> Table:
    query = _query(request)
    own = bool(request.user.institution_id)
    columns = [c for c in COLUMNS if not (own and c.label == "医疗机构")]
    return Table(
        id="claims", caption="费用申报与结算", columns=columns,
        rows=[_row(found, own=own) for found in page.rows],
        pages=Pages(size=size, previous=page.previous, next=page.next, sizes=search.SIZES),
        toolbar=[
            *([Action(label="单笔申报", url=reverse("claim-new"), icon="plus", tone="primary")]
              if request.user.may("claims.enter") else ()),
            Action(label="导出 CSV", url=f"{reverse('claims-csv')}?{query}", icon="arrow-down-tray"),
            Action(label="导出 Excel", url=f"{reverse('claims-xlsx')}?{query}", icon="table-cells"),
        ],
        empty_title="没有符合条件的单据",
    )  # fmt: skip


def _row(found: search.Found, *, own: bool) -> Row:
    item, person = found.claim, found.person
    address = reverse("claim", args=[item.pk])
    who = Cell(text=person.name_masked, sub=person.id_masked) if person else Cell(text="未登记")
    state = Cell(
        text=found.state_text, tone=words.STATE_TONES.get(found.state, "info"),
        sub=" · ".join(label for label, said in (("手工报销", found.entered),
                                               ("示例参数", found.example)) if said),
    )  # fmt: skip
    place = [] if own else [Cell(text=found.institution, sub=item.institution_code)]
    return Row(
        key=str(item.pk), label=item.claim_no,
        cells=[
            Cell(text=item.claim_no, url=address, code=True, sub=moment(item.received_at)[:16]),
            *place, who, Cell(text=item.service_date.isoformat()), Cell(text=yuan(item.fee)),
            Cell(text=_paid(found, "fund")), Cell(text=_paid(found, "account", "cash")), state,
        ],
        actions=_actions(found, address),
    )  # fmt: skip


def _paid(found: search.Found, *names: str) -> str:
    """The sum of amounts; a dash while nothing is settled."""
    if found.state == search.RECEIVED:
        return "—"
    return yuan(sum(found.amounts[name] for name in names))


def _actions(found: search.Found, address: str) -> list[Any]:
    return [Action(label="详情", url=address)]
