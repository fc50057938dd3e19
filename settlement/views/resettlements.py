"""Re-settlement: lists, one list with its differences and picture, what an institution takes note of."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock, sheets
from audit.access import requires
from audit.charts import bars
from audit.models import Event, Task
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.money import yuan as plain_yuan
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import resettlement, resettlement_lists, words
from settlement.correction_forms import DecisionForm, ItemsQuery, ResettlementForm
from settlement.detail import moment
from settlement.looks import exported
from settlement.models import Resettlement, ResettlementItem, Settlement

CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "重新结算", "url": "/resettlements/"}]
PAGE, ITEMS_PAGE = 20, 20
STATES = dict(Settlement.State.choices)
TONES = {
    "drawing": "info", "drawn": "warn", "nothing": "mute", "approved": "info", "posted": "ok",
    "refused": "bad", "withdrawn": "mute",
}  # fmt: skip
ITEM_TONES = {"waiting": "wait", "posted": "ok", "left_out": "warn"}
PROPOSE, APPROVE = "corrections.propose", "corrections.approve"
HEADS = (
    "单据号", "机构编码", "服务日期", "类别", "原状态", "新状态", "统筹基金差额", "个人账户差额",
    "个人现金差额", "处理", "原因",
)  # fmt: skip


@requires("adjustments.view")
@require_http_methods(["GET", "POST"])
def resettlements(request: PortalRequest) -> HttpResponse:
    """The lists; those who may propose draw a new one here."""
    form = None
    if request.user.may(PROPOSE):
        form = ResettlementForm(request.POST or None, user=request.user, today=clock.today())
    if request.method == "POST" and form is not None and form.is_valid():
        try:
            made = resettlement_lists.propose(
                **form.given(), by=request.user.username, at=clock.now()
            )
        except Refusal as refusal:
            refuse(form, refusal)
        else:
            messages.success(request, "已受理，正在后台重算并列单；列完后由第二人核准。")
            return redirect("resettlement", pk=made.pk)
    rows = Resettlement.objects.visible_to(request.user)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/resettlements.html", named({
        "breadcrumbs": CRUMBS, "form": form, "table": _lists(page),
    }))  # fmt: skip


def _lists(page: Any) -> Table:
    return Table(
        id="resettlements", caption="重新结算清单",
        columns=[
            Column(label="清单", wide=True), Column(label="服务日"), Column(label="单据", numeric=True),
            Column(label="统筹基金差额（元）", numeric=True), Column(label="列单"), Column(label="状态"),
        ],
        rows=[_list_row(row) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        empty_title="还没有重新结算清单",
        empty_text="发布了追溯以往服务日的政策或参数后，可在此列出受影响的单据。",
    )  # fmt: skip


def _list_row(row: Resettlement) -> Row:
    url = reverse("resettlement", args=[row.pk])
    return Row(
        key=str(row.pk), label=str(row), actions=[Action(label="查看", url=url)],
        cells=[
            Cell(text=f"第 {row.pk} 单", url=url, sub=row.reason),
            Cell(text=f"{row.first_day}", sub=f"至 {row.last_day}"), Cell(text=f"{row.claims:,}"),
            Cell(text=yuan(row.totals["fund"], sign=True) if row.digest else "—"),
            Cell(text=moment(row.drawn_at)[:16], sub=Login(row.drawn_by)),
            Cell(text=row.get_state_display(), tone=TONES[row.state]),
        ],
    )  # fmt: skip


@requires("adjustments.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """One list: sums, picture, every claim with its difference, and who decided.

    While workers draw or post it the progress asks again; the page is loaded anew at the end.
    """
    found = _visible(request, pk)
    if request.htmx.target == "list-progress" and not _working(found):
        return HttpResponse(headers={"HX-Refresh": "true"})
    return _page(request, found, DecisionForm(), status=200)


def _working(found: Resettlement) -> bool:
    return found.state in (Resettlement.State.DRAWING, Resettlement.State.APPROVED)


def _progress(found: Resettlement) -> dict[str, Any] | None:
    """How far workers are with a list, counted from its rows alone."""
    if found.state == Resettlement.State.DRAWING:
        return {"done": found.recomputed, "total": found.person_years, "label": "重算并列单",
                "unit": "人次年度", "note": f"已重算 {found.examined:,} 张单据，"
                f"其中 {found.claims:,} 张结果不同；可以离开本页，列完后由第二人核准。"}  # fmt: skip
    if found.state == Resettlement.State.APPROVED:
        waiting = found.items.filter(state=ResettlementItem.State.WAITING).count()
        return {"done": found.claims - waiting, "total": found.claims, "label": "逐人入账",
                "unit": "张", "note": "中断后自动接续，不会重复入账；可以离开本页。"}  # fmt: skip
    return None


@requires("adjustments.view")
@require_POST
def decide(request: PortalRequest, pk: int, action: str) -> HttpResponse:
    """Approve, refuse or withdraw; the command says who may."""
    found = _visible(request, pk)
    needed = {"approve": APPROVE, "refuse": APPROVE, "withdraw": PROPOSE}.get(action)
    if needed is None or not request.user.may(needed):
        raise Http404
    form = DecisionForm(request.POST)
    form.is_valid()
    given: dict[str, Any] = {"resettlement": found, "by": request.user.username, "at": clock.now()}
    if action != "withdraw":
        given["note"] = form.cleaned_data.get("note", "")
    try:
        getattr(resettlement, action)(**given)
    except Refusal as refusal:
        return _page(request, found, form, status=refuse(form, refusal))
    messages.success(request, {
        "approve": "已核准，正在逐人入账。", "refuse": "已退回，没有入账。", "withdraw": "清单已撤回。",
    }[action])  # fmt: skip
    return redirect("resettlement", pk=found.pk)


def _page(
    request: PortalRequest, found: Resettlement, form: DecisionForm, *, status: int
) -> HttpResponse:
    rows = ResettlementItem.objects.filter(resettlement=found)
    query = ItemsQuery(request.GET, queryset=rows, request=request)
    own = found.drawn_by == request.user.username
    drawn = found.state == Resettlement.State.DRAWN
    taken_back = drawn or found.state == Resettlement.State.DRAWING
    events = Event.objects.visible_to(request.user).filter(subject=f"resettlement:{found.pk}")
    return render(request, "settlement/resettlement.html", named({
        "breadcrumbs": [*CRUMBS, {"label": f"第 {found.pk} 单", "url": ""}],
        "found": found, "tone": TONES[found.state], "form": form, "query": query.form,
        "may_approve": drawn and not own and request.user.may(APPROVE),
        "may_withdraw": taken_back and own, "own": drawn and own and request.user.may(APPROVE),
        "stats": _stats(found), "chart": _chart(found), "info": _info(found),
        "institutions": _institutions(found),
        "table": _items(request, query.qs if query.form.is_valid() else rows.none(), found),
        "progress": _progress(found), "listed": bool(found.digest),
        "nothing": found.state == Resettlement.State.NOTHING,
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action), "tone": "ok"}
            for event in events.order_by("at", "id")[:50]
        ],
    }), status=status)  # fmt: skip


def _stats(found: Resettlement) -> list[dict[str, str]]:
    sums = found.totals
    return [
        {"label": "应重新结算", "value": f"{found.claims:,}", "unit": "张",
         "note": f"重算 {found.examined:,} 张，其中连带 {sums.get('consequent', 0):,} 张"},
        {"label": "统筹基金", "value": yuan(sums.get("fund", 0), sign=True), "unit": "元",
         "note": f"涉及机构 {sums.get('institutions', 0)} 家"},
        {"label": "应退患者", "value": yuan(sums.get("refund", 0)), "unit": "元",
         "note": f"涉及参保人 {sums.get('persons', 0)} 人"},
        {"label": "应向患者补收", "value": yuan(sums.get("charge", 0)), "unit": "元",
         "note": "个人账户与现金以外不补收"},
    ]  # fmt: skip


def _chart(found: Resettlement) -> dict[str, Any]:
    labels = {"fund": "统筹基金", "account": "个人账户", "cash": "个人现金"}
    before, after = found.totals.get("before", {}), found.totals.get("after", {})
    return bars(
        title="重新结算前后", labels=list(labels.values()), money=True,
        series=[
            {"label": "原结算", "values": [before.get(name, 0) for name in labels]},
            {"label": "重新结算", "values": [after.get(name, 0) for name in labels]},
        ],
        description="受影响单据的三类金额之和，单位元",
    )  # fmt: skip


def _info(found: Resettlement) -> list[dict[str, Any]]:
    return [
        {"label": "统筹区", "value": words.REGIONS.get(found.pool, found.pool)},
        {"label": "服务日", "value": f"{found.first_day} 至 {found.last_day}"},
        {"label": "机构", "value": found.institution_code or "全部"},
        {"label": "列单", "value": moment(found.drawn_at), "sub": Login(found.drawn_by)},
        {"label": "核准", "value": moment(found.decided_at) if found.decided_at else "",
         "sub": Login(found.decided_by)},
        {"label": "入账", "value": moment(found.posted_at) if found.posted_at else ""},
        {"label": "审批意见", "value": found.note},
        {"label": "清单摘要（SM3）", "value": found.digest, "code": True, "wide": True},
    ]  # fmt: skip


def _institutions(found: Resettlement) -> Table:
    sums = resettlement.sums_by_institution(found)
    names = Institution.objects.in_bulk([row["institution_code"] for row in sums])
    return Table(
        id="institutions", caption="按机构", actions=False,
        columns=[
            Column(label="医疗机构", wide=True), Column(label="单据", numeric=True),
            *(Column(label=f"{label}差额（元）", numeric=True)
              for label in ("统筹基金", "个人账户", "个人现金")),
        ],
        rows=[
            Row(key=row["institution_code"], label=row["institution_code"], cells=[
                Cell(text=str(names.get(row["institution_code"], row["institution_code"])),
                     sub=row["institution_code"]),
                Cell(text=f"{row['claims']:,}"),
                *(Cell(text=yuan(row[name], sign=True)) for name in resettlement_lists.DIFFERING)])
            for row in sums
        ],
    )  # fmt: skip


def _items(request: PortalRequest, rows: QuerySet[ResettlementItem], found: Resettlement) -> Table:
    page = Paginator(rows.order_by("claim_id"), ITEMS_PAGE).get_page(request.GET.get("page"))
    return Table(
        id="items", caption="单据差异",
        columns=[
            Column(label="单据号"), Column(label="服务日期"), Column(label="类别"),
            Column(label="结算状态"), Column(label="统筹基金（元）", numeric=True),
            Column(label="个人账户（元）", numeric=True), Column(label="个人现金（元）", numeric=True),
            Column(label="处理"),
        ],
        rows=[_item(item) for item in page],
        pages=Pages(total=page.paginator.count, size=ITEMS_PAGE, page=page.number,
                    sizes=(ITEMS_PAGE,)),
        toolbar=[Action(label="导出 CSV", url=reverse("resettlement-csv", args=[found.pk]),
                        icon="arrow-down-tray")],
        empty_title="没有符合条件的单据",
    )  # fmt: skip


def _item(item: ResettlementItem) -> Row:
    url = reverse("claim", args=[item.claim_id])
    return Row(
        key=str(item.pk), label=item.claim_no, actions=[Action(label="单据", url=url)],
        cells=[
            Cell(text=item.claim_no, url=url, code=True, sub=item.institution_code),
            Cell(text=item.service_date.isoformat()), Cell(text=item.get_kind_display()),
            Cell(text=STATES[item.state_after], tone=words.STATE_TONES[item.state_after],
                 sub="" if item.state_before == item.state_after
                 else f"原 {STATES[item.state_before]}"),
            *(Cell(text=yuan(getattr(item, name), sign=True),
                   sub=f"{yuan(item.before[name])} → {yuan(item.after[name])}")
              for name in resettlement_lists.DIFFERING),
            Cell(text=item.get_state_display(), tone=ITEM_TONES[item.state], sub=item.reason),
        ],
    )  # fmt: skip


@requires("adjustments.view")
@require_GET
def export(request: PortalRequest, pk: int) -> StreamingHttpResponse:
    """Every claim of a list with its differences as CSV."""
    found = _visible(request, pk)
    items = ResettlementItem.objects.filter(resettlement=found).order_by("claim_id")
    exported(user=request.user, at=clock.now(), action="resettlement.export",
             subject=resettlement_lists.subject_of(found))  # fmt: skip
    rows = [
        [
            item.claim_no, item.institution_code, item.service_date.isoformat(),
            item.get_kind_display(), STATES[item.state_before], STATES[item.state_after],
            *(plain_yuan(getattr(item, name)) for name in resettlement_lists.DIFFERING),
            item.get_state_display(), item.reason,
        ]
        for item in items
    ]  # fmt: skip
    return StreamingHttpResponse(
        sheets.csv_lines(HEADS, rows), content_type=sheets.CSV,
        headers={"Content-Disposition": f'attachment; filename="resettlement-{found.pk}.csv"'},
    )  # fmt: skip


@requires("claims.view")
@require_http_methods(["GET", "POST"])
def claims(request: PortalRequest, pk: int) -> HttpResponse:
    """The posted claims of a list inside the reader's scope; an institution takes note of them here."""
    rows = ResettlementItem.objects.visible_to(request.user).filter(
        resettlement_id=pk, state=ResettlementItem.State.POSTED
    )
    if not rows.exists():
        raise Http404
    own = request.user.institution_id
    subject = f"resettlement:{pk}/{own}"
    waits = bool(own) and Task.objects.filter(subject=subject, state=Task.State.OPEN).exists()
    if request.method == "POST":
        if own and waits:
            resettlement.take_note(
                resettlement_id=pk, institution_code=own, by=request.user.username,
                at=clock.now(),
            )  # fmt: skip
            messages.success(request, "已登记阅知。")
        return redirect("resettlement-claims", pk=pk)
    page = Paginator(rows.order_by("claim_id"), ITEMS_PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/resettlement_claims.html", named({
        "breadcrumbs": [CRUMBS[0], {"label": f"重新结算第 {pk} 单", "url": ""}],
        "number": pk, "waits": waits,
        "table": Table(
            id="items", caption="已重新结算的单据",
            columns=[
                Column(label="单据号"), Column(label="服务日期"), Column(label="类别"),
                Column(label="结算状态"), Column(label="统筹基金（元）", numeric=True),
                Column(label="个人账户（元）", numeric=True),
                Column(label="个人现金（元）", numeric=True, hint="负数应退还患者"), Column(label="处理"),
            ],
            rows=[_item(item) for item in page],
            pages=Pages(total=page.paginator.count, size=ITEMS_PAGE, page=page.number,
                        sizes=(ITEMS_PAGE,)),
        ),
    }))  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Resettlement:
    """A list inside the reader's scope; any other does not exist."""
    if pk >= 2**63:
        raise Http404
    return get_object_or_404(Resettlement.objects.visible_to(request.user), pk=pk)
