"""费用审核: the queue with its filters and counts, what comes into it, what is taken back."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet, Sum
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from audit import clock
from audit.access import requires
from audit.models import Task
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.inbox import assignees
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement.models import Claim
from supervision import review_sources, reviews
from supervision.models import Finding, Review, ReviewLine
from supervision.review_forms import (
    OpenForm,
    ReviewFilter,
)
from supervision.views.review_parts import (
    BIGGEST_ID,
    CRUMBS,
    HERE,
    PAGE,
    SEVERITY_TONES,
    STATES,
    due_text,
    left_of,
    places_of,
    recovery,
)

TABS: tuple[tuple[str, dict[str, str]], ...] = (
    ("待办", {}), ("已逾期", {"late": "1"}), ("由我经办", {"mine": "1"}), ("待复核", {"state": "second"}),
    ("机构申诉", {"state": "objected"}), ("已办结", {"state": "done"}),
)  # fmt: skip


@requires("reviews.view")
@require_GET
def queue(request: PortalRequest) -> HttpResponse:
    """Everything that waits, the most urgent first, with counts."""
    found, rows = _chosen(request)
    if request.user.institution_id:
        for name in ("institution", "severity", "source"):
            found.form.fields.pop(name)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    sums = rows.aggregate(
        count=Count("pk"), stake=Sum("stake", default=0), cut=Sum("cut", default=0),
        late=Count("pk", filter=Q(due__lt=clock.today(), closed_at=None)),
    )  # fmt: skip
    return render(request, "supervision/reviews.html", {
        "breadcrumbs": [*CRUMBS, {"label": "费用审核", "url": ""}], "form": found.form,
        "tabs": _tabs(request),
        "stats": [
            {"label": "单据", "value": f"{sums['count']:,}", "unit": "张"},
            {"label": "涉审金额", "value": yuan(sums["stake"]), "unit": "元"},
            {"label": "核减", "value": yuan(sums["cut"]), "unit": "元"},
            {"label": "已逾期", "value": f"{sums['late']:,}", "unit": "张"},
        ],
        "table": _table(request, list(page), total=page.paginator.count, number=page.number),
        "open_form": OpenForm() if request.user.may("reviews.decide") else None,
        "may_plan": request.user.may("reviews.plan"),
        "may_collect": request.user.may("reviews.decide"),
        "own": bool(request.user.institution_id),
    })  # fmt: skip


def _chosen(request: PortalRequest) -> tuple[ReviewFilter, QuerySet[Review]]:
    """The filter of the address and the reviews it finds, most urgent first."""
    found = ReviewFilter(request.GET, queryset=reviews.seen_by(request.user), request=request)
    rows = found.found()
    if request.GET.get("late"):
        rows = rows.filter(due__lt=clock.today(), closed_at=None)
    if request.GET.get("mine"):
        mine = Task.objects.filter(
            assignee=request.user.username, state="open", subject__startswith="review:"
        )
        keys = [int(text.partition(":")[2]) for text in mine.values_list("subject", flat=True)]
        rows = rows.filter(pk__in=keys)
    return found, rows.order_by(*reviews.URGENT)


def _tabs(request: PortalRequest) -> list[dict[str, Any]]:
    here = {key: request.GET.get(key, "") for key in ("late", "mine", "state")}
    own = request.user.institution_id
    chosen = [tab for tab in TABS if not (own and tab[0] in ("由我经办", "待复核"))]
    return [
        {"label": label, "url": f"{reverse('reviews')}?{urlencode(given)}",
         "current": here == dict.fromkeys(here, "") | given}
        for label, given in chosen
    ]  # fmt: skip


def _table(request: PortalRequest, rows: list[Review], *, total: int, number: int) -> Table:
    names = places_of(rows)
    taken = assignees([row.subject for row in rows])
    own = bool(request.user.institution_id)
    columns = [
        Column(label="单据号"), *([] if own else [Column(label="医疗机构", wide=True)]),
        Column(label="来源与事由", wide=True), Column(label="服务日"),
        Column(label="涉审（元）", numeric=True), Column(label="期限"), Column(label="状态"),
    ]  # fmt: skip
    return Table(
        id="reviews", caption="费用审核", columns=columns,
        rows=[_row(request, row, names, taken) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="没有符合条件的审核", empty_text="结算时待审的费用、疑点、抽样和人工发起的单据在此审核。",
    )  # fmt: skip


def _row(request: PortalRequest, row: Review, names: dict, taken: dict[str, str]) -> Row:
    own = bool(request.user.institution_id)
    address = reverse("review", args=[row.pk])
    left = left_of([row])[row.pk]
    place = [] if own else [Cell(text=names.get(row.institution_code, row.institution_code),
                                 sub=row.institution_code)]  # fmt: skip
    why = _cell_why(row, own)
    state = STATES[row.state]
    return Row(
        key=str(row.pk), label=row.number,
        tone="bad" if left is not None and left < 0 else "",
        cells=[
            Cell(text=row.claim_no, url=address, code=True, sub=row.number), *place, why,
            Cell(text=row.service_date.isoformat()),
            Cell(text=yuan(row.stake), sub=f"核减 {yuan(row.cut)}" if row.cut else ""),
            Cell(text=due_text(row, left)),
            Cell(text=state.label, tone=state.tone, sub=taken.get(row.subject, "")),
        ],
        actions=[Action(label="审核" if row.closed_at is None else "查看", url=address)],
    )  # fmt: skip


def _cell_why(row: Review, own: bool) -> Cell:
    """Where a review comes from; an institution does not read who suspected what."""
    if own:
        return Cell(text="费用审核")
    return Cell(text=row.get_source_display(), sub=row.reason,
                tone=SEVERITY_TONES[row.severity])  # fmt: skip


@requires("reviews.decide")
@require_POST
def open_one(request: PortalRequest) -> HttpResponse:
    """A review by hand."""
    form = OpenForm(request.POST)
    if not form.is_valid():
        messages.error(request, "请填写医疗机构、单据号和事由。")
        return redirect("reviews")
    data, by, at = form.cleaned_data, request.user.username, clock.now()
    places = Institution.objects.visible_to(request.user)
    codes = places.filter(Q(code=data["institution"].upper()) | Q(name=data["institution"]))
    claim = Claim.objects.visible_to(request.user).filter(
        institution_code__in=list(codes.values_list("code", flat=True)), claim_no=data["claim_no"]
    ).first()  # fmt: skip
    if claim is None:
        messages.error(request, "该机构没有此单据。")
        return redirect("reviews")
    try:
        made = review_sources.open_by_hand(
            claim=claim, reason=data["reason"], severity=data["severity"], by=by, at=at
        )
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
        return redirect("reviews")
    return redirect("review", pk=made.pk)


@requires("reviews.decide")
@require_POST
def open_finding(request: PortalRequest, pk: int) -> HttpResponse:
    """The claims of a finding come before reviewers."""
    if pk > BIGGEST_ID:
        raise Http404
    finding = get_object_or_404(Finding.objects.visible_to(request.user), pk=pk)
    try:
        made = review_sources.open_from_finding(
            finding=finding, by=request.user.username, at=clock.now()
        )
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
        return redirect("reviews")
    messages.success(request, f"已发起 {len(made)} 张单据的审核。")
    return redirect("review", pk=made[0].pk)


@requires("reviews.decide")
@require_POST
def collect(request: PortalRequest) -> HttpResponse:
    """Held claims of the own area come before reviewers now, instead of at the next round."""
    today = clock.today()
    count = review_sources.collect(
        since=today.replace(year=today.year - 1, day=1), by=request.user.username, at=clock.now(),
        area=reviews_area(request),
    )  # fmt: skip
    messages.success(request, f"新增 {count} 张待审单据。" if count else "没有新的待审单据。")
    return redirect("reviews")


def reviews_area(request: PortalRequest) -> str:
    """What the codes of the reader's area begin with."""
    regions = request.user.scope_codes().regions
    return regions[0] if regions else "none"


@requires("reviews.view")
@require_GET
def recoveries(request: PortalRequest) -> HttpResponse:
    """追回: what reviews take back of paid lines, and where each stands."""
    rows = ReviewLine.objects.visible_to(request.user).filter(deduction_id__isnull=False)
    page = Paginator(rows.select_related("review").order_by("-pk"), PAGE).get_page(
        request.GET.get("page")
    )
    found = reviews.recovered(page.object_list)
    names = places_of([row.review for row in page.object_list])
    table = Table(
        id="recoveries", caption="违规资金追回",
        columns=[Column(label="单据号"), Column(label="医疗机构", wide=True),
                 Column(label="认定", wide=True), Column(label="追回（元）", numeric=True),
                 Column(label="去向")],
        rows=[_recovery_row(row, names, recovery(found[row.deduction_id])) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        empty_title="没有追回的款项", empty_text="对已支付明细的核减，终局后从机构下一张结算单扣回。",
    )  # fmt: skip
    return render(request, "supervision/recoveries.html", {
        "breadcrumbs": [*CRUMBS, HERE, {"label": "追回", "url": ""}], "table": table,
    })  # fmt: skip


def _recovery_row(row: ReviewLine, names: dict[str, str], found: dict[str, str] | None) -> Row:
    case = row.review
    found = found or {"text": "", "tone": "mute", "number": "", "url": ""}
    return Row(
        key=str(row.pk), label=case.number,
        cells=[
            Cell(text=case.claim_no, url=reverse("review", args=[case.pk]), code=True,
                 sub=f"第 {row.line_no} 项"),
            Cell(text=names.get(case.institution_code, ""), sub=case.institution_code),
            Cell(text=row.note, sub=row.clause), Cell(text=yuan(row.amount)),
            Cell(text=found["text"], tone=found["tone"], sub=found["number"], url=found["url"]),
        ],
        actions=[],
    )  # fmt: skip
