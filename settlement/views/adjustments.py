"""Special adjustments: the report by class, a proposal with its file, one with its decision."""

import hashlib
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock, pdf, sheets
from audit.access import requires
from audit.charts import ranking
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.models import Institution, Region
from institutions.money import yuan as plain_yuan
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import adjustments as commands
from settlement import export
from settlement.correction_forms import (
    AdjustmentForm,
    AdjustmentsQuery,
    CollectionForm,
    DecisionForm,
    ReasonForm,
)
from settlement.detail import moment
from settlement.looks import exported, looked
from settlement.models import Adjustment, InsuredPerson
from settlement.payment_sources import paid_of, refunded_of
from settlement.terms import cite

CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "特殊调整", "url": "/adjustments/"}]
PAGE = 20
PDF_ROWS = 2_000
PROPOSE, APPROVE = commands.PROPOSE, commands.APPROVE
FORMS = {"ask-reversal": ReasonForm, "collect": CollectionForm}
READ = "adjustment.read"
TONES = {
    "proposed": "warn",
    "posted": "ok",
    "refused": "bad",
    "withdrawn": "mute",
    "reversed": "mute",
}
HEADS = (
    "调整单号", "事由类别", "说明", "对象", "机构编码", "险种", "金额（元）", "状态", "经办", "经办时间",
    "复核", "凭证号", "示例参数",
)  # fmt: skip


@requires("adjustments.view")
@require_GET
def adjustments(request: PortalRequest) -> HttpResponse:
    """The report: sums by class over the query, and every adjustment."""
    query = _query(request)
    rows = _found(query)
    page = Paginator(rows.select_related("voucher"), PAGE).get_page(request.GET.get("page"))
    sums = commands.sums_by_class(rows)
    names = class_names(request)
    return render(request, "settlement/adjustments.html", named({
        "breadcrumbs": CRUMBS, "query": query.form, "sums": _sums(sums, names),
        "chart": ranking(
            title="已入账净额（按事由类别）", money=True,
            rows=[
                {"label": names.get(row["reason_class"], row["reason_class"]),
                 "value": abs(row["net"]), "note": "净补付" if row["net"] >= 0 else "净收回"}
                for row in sums
            ],
        ) if sums else None,
        "may_propose": request.user.may(PROPOSE), "table": _table(request, page, names),
    }))  # fmt: skip


def class_names(request: PortalRequest) -> dict[str, str]:
    """Names of the reason classes of the regions that the reader sees."""
    pools = {found.policy_region for found in _regions(request)}
    day = clock.today()
    names: dict[str, str] = {}
    for pool in sorted(pools):
        names |= {code: row.name for code, row in commands.classes_of(pool, day).items()}
    return names


def _regions(request: PortalRequest) -> list[Region]:
    own = request.user.region
    return [own] if own is not None else []


def _query(request: PortalRequest) -> AdjustmentsQuery:
    rows = Adjustment.objects.visible_to(request.user)
    return AdjustmentsQuery(
        request.GET, queryset=rows, request=request, names=class_names(request)
    )  # fmt: skip


def _found(query: AdjustmentsQuery) -> QuerySet[Adjustment]:
    return query.qs if query.form.is_valid() else Adjustment.objects.none()


def _sums(sums: list[dict[str, Any]], names: dict[str, str]) -> Table:
    return Table(
        id="sums", caption="已入账合计", actions=False,
        columns=[
            Column(label="事由类别"), Column(label="笔数", numeric=True),
            Column(label="补付（元）", numeric=True), Column(label="收回（元）", numeric=True),
            Column(label="净额（元）", numeric=True),
        ],
        rows=[
            Row(key=row["reason_class"], label=row["reason_class"], cells=[
                Cell(text=names.get(row["reason_class"], row["reason_class"])),
                Cell(text=str(row["count"])), Cell(text=yuan(row["paid"])),
                Cell(text=yuan(row["taken"])), Cell(text=yuan(row["net"], sign=True))])
            for row in sums
        ],
        empty_title="没有已入账的调整", empty_text="查询范围内没有已入账的特殊调整。",
    )  # fmt: skip


def _table(request: PortalRequest, page: Any, names: dict[str, str]) -> Table:
    filters = request.GET.urlencode()
    codes = {row.institution_code for row in page}
    places = dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))
    return Table(
        id="adjustments", caption="特殊调整",
        columns=[
            Column(label="调整单"), Column(label="事由", wide=True), Column(label="对象"),
            Column(label="金额（元）", numeric=True, hint="正数补付，负数收回"), Column(label="经办"),
            Column(label="状态"),
        ],
        rows=[_row(row, names, places) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
        toolbar=[
            Action(label="导出 CSV", url=f"{reverse('adjustments-csv')}?{filters}",
                   icon="arrow-down-tray"),
            Action(label="打印报表（PDF）", url=f"{reverse('adjustments-pdf')}?{filters}",
                   icon="printer"),
        ],
        empty_title="没有符合条件的调整",
    )  # fmt: skip


def _row(row: Adjustment, names: dict[str, str], places: dict[str, str]) -> Row:
    url = reverse("adjustment", args=[row.pk])
    return Row(
        key=str(row.pk), label=row.number, actions=[Action(label="查看", url=url)],
        cells=[
            Cell(text=row.number, url=url, code=True, sub=row.get_scheme_display()),
            Cell(text=names.get(row.reason_class, row.reason_class), sub=row.reason),
            Cell(text=row.get_subject_display(), sub=places.get(row.institution_code, "")),
            Cell(text=yuan(row.amount, sign=True), sub="示例参数" if row.example else ""),
            Cell(text=moment(row.proposed_at)[:16], sub=Login(row.proposed_by)),
            Cell(text=row.get_state_display(), tone=TONES[row.state],
                 sub="已申请冲销" if row.reversal_asked_by and row.state == "posted" else ""),
        ],
    )  # fmt: skip


@requires("adjustments.view")
@require_GET
def export_csv(request: PortalRequest) -> StreamingHttpResponse:
    """The report as CSV; its rows are read here, while the scope of the request holds."""
    rows = list(_lines(_found(_query(request))[: export.ROWS_MOST + 1], class_names(request)))
    lines = sheets.csv_lines(HEADS, export.bounded(rows))
    exported(user=request.user, at=clock.now(), action="adjustment.export", subject="adjustment:",
             query=request.GET.urlencode(), rows=min(len(rows), export.ROWS_MOST), format="csv")  # fmt: skip
    return StreamingHttpResponse(
        lines, content_type=sheets.CSV,
        headers={"Content-Disposition": 'attachment; filename="adjustments.csv"'},
    )  # fmt: skip


def _lines(rows: QuerySet[Adjustment], names: dict[str, str]) -> Iterator[list[str]]:
    for row in rows.select_related("voucher"):
        yield [
            row.number, names.get(row.reason_class, row.reason_class), row.reason,
            row.get_subject_display(), row.institution_code, row.get_scheme_display(),
            plain_yuan(row.amount), row.get_state_display(), row.proposed_by,
            moment(row.proposed_at), row.decided_by, row.voucher.number if row.voucher else "",
            "示例参数" if row.example else "",
        ]  # fmt: skip


@requires("adjustments.view")
@require_GET
def export_pdf(request: PortalRequest) -> HttpResponse:
    """The report as a paper: sums by class, and the adjustments."""
    rows = _found(_query(request))
    names, at = class_names(request), clock.now()
    place = str(request.user.region or "")
    content = pdf.render(
        "reports/adjustments.html",
        {
            "place": place, "lines": list(_lines(rows[:PDF_ROWS], names)), "heads": HEADS[:9],
            "sums": [
                {"name": names.get(row["reason_class"], row["reason_class"]), "count": row["count"],
                 "paid": yuan(row["paid"]), "taken": yuan(row["taken"]), "net": yuan(row["net"])}
                for row in commands.sums_by_class(rows)
            ],
            "filters": query_words(request), "by": request.user.username,
            "more": max(rows.count() - PDF_ROWS, 0),
        },
        identifier=pdf.identifier_of("adjustments", place, at.isoformat()), at=at,
        watermark=f"{request.user.username} {at:%Y-%m-%d %H:%M}",
    )  # fmt: skip
    exported(
        user=request.user, at=at, action="adjustment.export", subject="adjustment:", format="pdf",
        query=request.GET.urlencode(), sm3=hashlib.new("sm3", content).hexdigest(),
    )  # fmt: skip
    return HttpResponse(
        content, content_type="application/pdf",
        headers={"Content-Disposition": 'attachment; filename="adjustments.pdf"'},
    )  # fmt: skip


def query_words(request: PortalRequest) -> str:
    """What the report was asked for."""
    given = {name: value for name, value in request.GET.items() if value and name != "page"}
    return "；".join(f"{name}={value}" for name, value in sorted(given.items())) or "全部"


@requires(PROPOSE)
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Propose an adjustment with its file."""
    region = request.user.region
    if region is None:
        raise Http404
    today = clock.today()
    known = commands.classes_of(region.policy_region, today)
    form = AdjustmentForm(
        request.POST or None, request.FILES or None, user=request.user, region=region, today=today,
        classes=known,
    )  # fmt: skip
    if request.method == "POST" and form.is_valid():
        try:
            made = commands.propose(
                region=region, wanted=form.wanted(), file=form.file(),
                by=request.user.username, at=clock.now(),
            )  # fmt: skip
        except Refusal as refusal:
            refuse(form, refusal)
        else:
            messages.success(request, f"调整 {made.number} 已提交，等待复核。")
            return redirect("adjustment", pk=made.pk)
    return render(request, "settlement/adjustment_new.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "新建", "url": ""}], "form": form,
        "missing": not known,
    }))  # fmt: skip


@requires("adjustments.view")
@require_GET
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """One adjustment, and what may be done with it now."""
    return _page(request, _visible(request, pk), DecisionForm(), status=200)


MOVES = {
    "approve": (APPROVE, "已批准并入账。"), "refuse": (APPROVE, "已退回，没有入账。"),
    "withdraw": (PROPOSE, "调整已撤回。"), "ask-reversal": (PROPOSE, "已申请冲销，等待复核。"),
    "reverse": (APPROVE, "已冲销，红字凭证入账。"),
    "collect": (PROPOSE, "已登记追回到账，等待复核。"),
    "confirm-collection": (APPROVE, "追回款已入账。"),
    "decline-collection": (APPROVE, "已退回，请重新登记追回到账。"),
}  # fmt: skip


@requires("adjustments.view")
@require_POST
def move(request: PortalRequest, pk: int, action: str) -> HttpResponse:
    """Decide, withdraw, reverse, or collect what a person owes; the command says who may."""
    found = _visible(request, pk)
    if action not in MOVES or not request.user.may(MOVES[action][0]):
        raise Http404
    form = FORMS.get(action, DecisionForm)(request.POST)
    valid = form.is_valid()
    try:
        if valid:
            _act(request, found, action, form.cleaned_data)
    except Refusal as refusal:
        return _page(request, found, form, status=refuse(form, refusal))
    if not valid:
        return _page(request, found, form, status=422)
    messages.success(request, MOVES[action][1])
    return redirect("adjustment", pk=found.pk)


def _act(request: PortalRequest, found: Adjustment, action: str, given: dict[str, Any]) -> None:
    who, at = request.user, clock.now()
    if action == "approve":
        commands.approve(adjustment=found, who=who, note=given["note"], at=at)
    elif action == "refuse":
        commands.refuse(adjustment=found, who=who, note=given["note"], at=at)
    elif action == "withdraw":
        commands.withdraw(adjustment=found, who=who, at=at)
    elif action == "reverse":
        commands.reverse(adjustment=found, who=who, at=at)
    elif action == "collect":
        commands.record_collection(adjustment=found, by=who.username, at=at, **given)
    elif action in ("confirm-collection", "decline-collection"):
        accept = action.startswith("confirm")
        commands.confirm_collection(adjustment=found, accept=accept, who=who, at=at)
    else:
        commands.ask_reversal(adjustment=found, reason=given["reason"], by=who.username, at=at)


def _page(request: PortalRequest, found: Adjustment, form: Any, *, status: int) -> HttpResponse:
    user = request.user
    own = found.proposed_by == user.username
    proposed, posted = found.state == "proposed", found.state == "posted"
    asked = bool(found.reversal_asked_by)
    level = commands.may_decide(found, user)
    asks = form if isinstance(form, ReasonForm) else ReasonForm()
    decides = form if isinstance(form, DecisionForm) else DecisionForm()
    collects = form if isinstance(form, CollectionForm) else CollectionForm()
    owes = posted and found.of_person and found.amount < 0 and not asked
    waits = owes and bool(found.collected_by) and not commands.collected(found)
    subject = f"adjustment:{found.number}"
    events = Event.objects.visible_to(user).filter(subject=subject).exclude(action=READ)
    looked(
        persons=[found.person_id], by=user.username, at=clock.now(), action=READ, subject=subject,
        region_code=found.region_code, institution_code=found.institution_code,
    )  # fmt: skip
    return render(request, "settlement/adjustment.html", named({
        "breadcrumbs": [*CRUMBS, {"label": found.number, "url": ""}],
        "found": found, "tone": TONES[found.state], "form": decides, "reason_form": asks,
        "info": _info(request, found),
        "may_decide": proposed and not own and level and user.may(APPROVE),
        "too_low": proposed and user.may(APPROVE) and not level,
        "level": commands.LEVEL_WORDS[found.level],
        "may_withdraw": proposed and own,
        "may_ask": posted and not asked and not found.collected_by and user.may(PROPOSE),
        "collect_form": collects if owes and not found.collected_by and user.may(PROPOSE) else None,
        "may_confirm": waits and user.may(APPROVE) and found.collected_by != user.username,
        "may_reverse": posted and asked and user.may(APPROVE) and level
        and found.reversal_asked_by != user.username,
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action), "tone": "ok"}
            for event in events.order_by("at", "id")
        ],
    }), status=status)  # fmt: skip


def _info(request: PortalRequest, found: Adjustment) -> list[dict[str, Any]]:
    place = Institution.objects.filter(pk=found.institution_code).select_related("region").first()
    person = InsuredPerson.objects.filter(pk=found.person_id).first() if found.person_id else None
    region = place.region if place else Region.objects.get(pk=found.region_code)
    day = clock.local(found.proposed_at).date()
    names = {code: row.name for code, row in commands.classes_of(region.policy_region, day).items()}
    cited = cite(region.policy_region, day, found.clause)
    limit = "不限" if found.limit is None else f"{yuan(found.limit)} 元"
    items: list[dict[str, Any]] = [
        {"label": "事由类别", "value": names.get(found.reason_class, found.reason_class)},
        {"label": "对象", "value": found.get_subject_display(), "sub": str(place or person or "")},
        {"label": "险种", "value": found.get_scheme_display()},
        {"label": "金额", "value": f"{yuan(found.amount, sign=True)} 元",
         "sub": "补付" if found.amount > 0 else "收回"},
        {"label": "审批层级", "value": commands.LEVEL_WORDS[found.level], "sub": f"限额 {limit}",
         "clause": cited},
        {"label": "附件", "value": found.document.name,
         "url": reverse("document", args=[found.document_id])},
        {"label": "经办", "value": Login(found.proposed_by), "sub": moment(found.proposed_at)},
        {"label": "复核", "value": Login(found.decided_by),
         "sub": moment(found.decided_at) if found.decided_at else ""},
        {"label": "凭证号", "value": found.voucher.number if found.voucher else "", "code": True},
        {"label": "说明", "value": found.reason, "wide": True},
    ]  # fmt: skip
    if found.claim_id:
        items.insert(2, {"label": "单据", "value": str(found.claim_id),
                         "url": reverse("claim", args=[found.claim_id])})  # fmt: skip
    if found.of_person:
        items.insert(4, _person_money(found))
    for label, value in (("意见", found.note), ("冲销原因", found.reversal_reason)):
        if value:
            items.append({"label": label, "value": value, "wide": True})
    return items


def _person_money(found: Adjustment) -> dict[str, Any]:
    """How a person's money moves: the account it is paid to, or where its collection stands."""
    if found.amount > 0:
        paid, back = paid_of(found.bound_to), refunded_of(found.bound_to)
        moved = f"已付 {yuan(paid)} 元" if paid else "未付"
        moved += f"，已退回 {yuan(back)} 元" if back else ""
        account = f"{found.holder_masked} {found.bank} {found.account_masked}".strip()
        return {"label": "收款方式", "value": found.get_way_display(), "tone": "ok" if paid > back else "",
                "sub": f"{account} {moved}".strip()}  # fmt: skip
    if not found.collected_by:
        return {
            "label": "追回",
            "value": "待追回" if found.state == "posted" else "",
            "tone": "warn",
        }
    posted = commands.collected(found)
    return {"label": "追回", "value": "已追回" if posted else "已登记到账，待复核",
            "tone": "ok" if posted else "warn",
            "sub": f"{found.collected_on} 流水号 {found.collected_serial}"}  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Adjustment:
    if pk >= 2**63:
        raise Http404
    rows = Adjustment.objects.visible_to(request.user).select_related("voucher", "document")
    return get_object_or_404(rows, pk=pk)
