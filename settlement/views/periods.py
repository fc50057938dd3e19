"""结算期: the months of a pooling region, what hinders the close, and what can be done with one."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Sum
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock, trail
from audit.access import requires
from audit.models import Event
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Institution, Region
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import closing, statement_steps, statements
from settlement.detail import in_order, moment
from settlement.models import Claim, Leg, Period, Reopening, Scheme, Statement
from settlement.periods import held_claims, month_of, subject_of
from settlement.statement_forms import DecisionForm, ReasonForm

CRUMBS = [{"label": "工作台", "url": "/"}]
SHOWN = 12  #: months of a region
#: and never more than these, however long nothing was closed
MOST_SHOWN = 60
HELD_SHOWN = 50
TONES = {Period.State.OPEN: "info", Period.State.CLOSING: "warn", Period.State.CLOSED: "ok"}
CLOSE, REOPEN, PREPARE = "periods.close", "periods.reopen", "statements.prepare"


@requires("statements.view")
@require_GET
def periods(request: PortalRequest) -> HttpResponse:
    """The months of the pooling regions in the user's scope."""
    pools = _pools(request)
    sums = {
        (row["pool"], row["period"]): row
        for row in statements.seen_by(request.user)
        .filter(pool__in=pools)
        .values("pool", "period")
        .annotate(count=Count("pk"), declared=Sum("declared"), payable=Sum("payable"))
    }
    return render(request, "settlement/periods.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "结算期", "url": ""}],
        "tables": [_months(pool, name, sums) for pool, name in pools.items()],
    }))  # fmt: skip


def _months(pool: str, name: str, sums: dict[tuple[str, dt.date], dict[str, Any]]) -> Table:
    known = {row.month: row for row in Period.objects.filter(pool=pool)}
    month, rows = month_of(clock.now()), list[Row]()
    oldest = closing.earliest_open(pool, before=month) or month  # it has to be closed first
    while len(rows) < SHOWN or (oldest <= month and len(rows) < MOST_SHOWN):
        found = known.get(month) or Period(pool=pool, month=month)
        total = sums.get((pool, month), {})
        address = reverse("period", args=[pool, f"{month:%Y-%m}"])
        rows.append(Row(
            key=f"{month:%Y-%m}", label=str(found), actions=[Action(label="查看", url=address)],
            cells=[
                Cell(text=f"{month:%Y-%m}", url=address),
                Cell(text=found.get_state_display(), tone=TONES[Period.State(found.state)]),
                Cell(text=str(total.get("count", "—"))),
                Cell(text=yuan(total["declared"]) if total else "—"),
                Cell(text=yuan(total["payable"]) if total else "—"),
                Cell(text=moment(found.closed_at)[:16] if found.closed_at else "—",
                     sub=Login(found.closed_by)),
            ],
        ))  # fmt: skip
        month = (month - dt.timedelta(days=1)).replace(day=1)
    return Table(
        id=f"periods-{pool}", caption=f"{name}结算期", rows=rows,
        columns=[Column(label="月份"), Column(label="状态"), Column(label="结算单", numeric=True),
                 Column(label="申报（元）", numeric=True), Column(label="应付（元）", numeric=True),
                 Column(label="关账")],
    )  # fmt: skip


@requires("statements.view")
@require_GET
def period(request: PortalRequest, pool: str, month: str) -> HttpResponse:
    """One month: its state, what hinders its close, its totals, the claims that stay held."""
    return _page(request, _found(request, pool, month), {})


@requires("statements.view")
@require_POST
def move(request: PortalRequest, pool: str, month: str, key: str) -> HttpResponse:
    """Begin closing, send the statements, close, ask for or decide on a reopening."""
    row = _found(request, pool, month)
    if key not in MOVES:
        raise Http404
    permission, make, run, done = MOVES[key]
    if not request.user.may(permission):
        raise PermissionDenied(permission)
    form = make(request.POST)
    if not form.is_valid():
        return _page(request, row, {key: form}, 422)
    try:
        run(request, row, form.cleaned_data | {"agree": request.POST.get("decision_is") == "agree"})
    except (Refusal, Refused) as error:
        trail.record(
            by=request.user.username, at=clock.now(), action=f"period.{key}", outcome="refused",
            subject=subject_of(row), region_code=request.user.region_id or "", detail={"code": error.code},
        )  # fmt: skip
        form.add_error(None, f"{words_of(error)}。")
        return _page(request, row, {key: form}, error.status)
    messages.success(request, done)
    return redirect("period", pool=pool, month=month)


def _begin(request: PortalRequest, row: Period, given: dict[str, Any]) -> None:
    closing.begin_closing(pool=row.pool, month=row.month, by=request.user.username, at=clock.now())


def _send(request: PortalRequest, row: Period, given: dict[str, Any]) -> None:
    statement_steps.send_all(period=row, who=request.user, by=request.user.username, at=clock.now())


def _close(request: PortalRequest, row: Period, given: dict[str, Any]) -> None:
    closing.close(pool=row.pool, month=row.month, by=request.user.username, at=clock.now())


def _reopen(request: PortalRequest, row: Period, given: dict[str, Any]) -> None:
    closing.propose_reopening(
        pool=row.pool,
        month=row.month,
        reason=given["reason"],
        by=request.user.username,
        at=clock.now(),
    )


def _decide(request: PortalRequest, row: Period, given: dict[str, Any]) -> None:
    asked = _asked(row)
    if asked is None:
        raise Refusal(409, "NOTHING_ASKED", ("没有待复核的反关账申请", "nothing is asked for"))
    closing.decide_reopening(
        reopening=asked, agree=given["agree"], decision=given["decision"],
        by=request.user.username, at=clock.now(),
    )  # fmt: skip


Run = Callable[[PortalRequest, Period, dict[str, Any]], None]
MOVES: dict[str, tuple[str, type[forms.Form], Run, str]] = {
    "begin": (CLOSE, forms.Form, _begin, "已开始关账，结算单已生成。"),
    "send": (PREPARE, forms.Form, _send, "结算单已送机构确认。"),
    "close": (CLOSE, forms.Form, _close, "已关账，总额与总账相符。"),
    "reopen": (REOPEN, ReasonForm, _reopen, "已提交反关账申请，待另一人复核。"),
    "decide": (REOPEN, DecisionForm, _decide, "反关账申请已办结。"),
}
WORDS = {
    "begin": ("开始关账", "等待正在入账的业务结束后锁定本月；之后的业务记入下一个开放月份。"),
    "send": ("全部送机构确认", "把待送出的结算单一次送达各机构。"),
    "close": ("完成关账", "所有结算单已确认或裁定、总额与总账相符时才能完成。"),
    "reopen": ("申请反关账", "须另一人复核；已拨付的月份不能反关账，错账在以后月份红冲。"),
    "decide": ("复核反关账", "同意后结算单退回编制，已入账的凭证全部红冲。"),
}  # fmt: skip


def _page(
    request: PortalRequest, row: Period, bound: dict[str, forms.Form], status: int = 200
) -> HttpResponse:
    mine = statements.seen_by(request.user).filter(pool=row.pool, period=row.month)
    states = mine.values_list("state").annotate(count=Count("pk")).order_by("state")
    agency = not request.user.institution_id
    asked = _asked(row)
    events = Event.objects.visible_to(request.user).filter(subject=subject_of(row))
    before = closing.earliest_open(row.pool, before=row.month) if agency else None
    after = closing.later_closed(row.pool, after=row.month) if agency else None
    held = list(held_claims(row).order_by("claim_id")[: HELD_SHOWN + 1]) if agency else []
    return render(request, "settlement/period.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "结算期", "url": reverse("periods")},
            {"label": str(row), "url": ""}],
        "period": row, "state": {"text": row.get_state_display(), "tone": TONES[Period.State(row.state)]},
        "region": Region.objects.filter(policy_region=row.pool).order_by("code").first(),
        "acts": _acts(request, row, asked, bound, before, after), "asked": asked,
        "before": {"label": f"{before:%Y年%m月}",
                   "url": reverse("period", args=[row.pool, f"{before:%Y-%m}"])}
        if before and row.state == Period.State.OPEN else None,
        "after": after if row.state == Period.State.OPEN else None,
        "asked_by": Login(asked.proposed_by) if asked else "",
        "asked_at": moment(asked.proposed_at)[:16] if asked else "",
        "hindrances": [text for _, text in closing.hindrances(row)]
        if agency and row.state == Period.State.CLOSING else [],
        "counts": [{"label": statement_steps.PROCEDURE.states[state].label, "value": count,
                    "url": f"{reverse('statements')}?period={row.month:%Y-%m}&state={state}"}
                   for state, count in states],
        "totals": _totals(row), "schemes": _schemes(row) if agency else None,
        "held": _held(held, row) if held else None,
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in in_order(events.order_by("at", "id"))
        ],
    }), status=status)  # fmt: skip


def _acts(
    request: PortalRequest,
    row: Period,
    asked: Reopening | None,
    bound: dict[str, forms.Form],
    before: dt.date | None,
    after: Period | None,
) -> list[dict[str, Any]]:
    drafts = Statement.objects.filter(pool=row.pool, period=row.month, state="draft")
    closing_now = row.state == Period.State.CLOSING
    over = row.month < month_of(clock.now())
    can = {
        "begin": row.state == Period.State.OPEN and over and not before and not after,
        "send": closing_now and drafts.exists(), "close": closing_now,
        "decide": asked is not None, "reopen": row.state != Period.State.OPEN and asked is None,
    }  # fmt: skip
    answers = [{"value": "agree", "label": "同意反关账", "tone": "danger"},
               {"value": "refuse", "label": "不同意", "tone": ""}]  # fmt: skip
    return [
        {"key": key, "title": WORDS[key][0], "hint": WORDS[key][1], "danger": key in ("reopen", "decide"),
         "url": reverse("period-move", args=[row.pool, f"{row.month:%Y-%m}", key]),
         "form": bound.get(key) or MOVES[key][1](), "open": key in bound, "version": None,
         "buttons": answers if key == "decide" else []}
        for key, here in can.items() if here and request.user.may(MOVES[key][0])
    ]  # fmt: skip


def _totals(row: Period) -> list[dict[str, str]]:
    names = {
        "statements": "结算单（张）", "claims": "结算（笔）", "reversals": "冲正（笔）",
        "held_claims": "待审（笔）",
        "declared": "申报", "deducted": "审核扣款", "deposit": "保证金", "set_off": "预付冲抵",
        "assessment": "考核扣减", "adjustments": "特殊调整", "carried": "上期结转", "payable": "应付",
    }  # fmt: skip
    counts = ("statements", "claims", "reversals", "held_claims")
    return [
        {"label": label,
         "value": f"{row.totals[name]:,}" if name in counts else yuan(row.totals[name])}
        for name, label in names.items() if name in row.totals
    ]  # fmt: skip


def _schemes(row: Period) -> Table | None:
    """What each scheme's accounts moved in a closed month, and in its year's closed months until then."""
    if "schemes" not in row.totals:
        return None
    year: dict[tuple[str, str], int] = {}
    months = Period.objects.filter(
        pool=row.pool,
        state=Period.State.CLOSED,
        month__range=(row.month.replace(month=1), row.month),
    )
    for totals in months.values_list("totals", flat=True):
        for scheme, legs in totals.get("schemes", {}).items():
            for account, fen in legs.items():
                year[scheme, account] = year.get((scheme, account), 0) + fen
    labels = {"": "不分险种", **dict(Scheme.choices)}
    return Table(
        id="schemes", caption="各险种科目发生额（借方为正，贷方为负）",
        columns=[Column(label="险种"), Column(label="科目", wide=True),
                 Column(label="本月（元）", numeric=True),
                 Column(label="本年已关账月份累计（元）", numeric=True)],
        rows=[
            Row(key=f"{scheme}-{account}", label=labels[scheme], cells=[
                Cell(text=labels[scheme]), Cell(text=Leg.Account(int(account)).label),
                Cell(text=yuan(row.totals["schemes"].get(scheme, {}).get(account, 0))),
                Cell(text=yuan(fen))])
            for (scheme, account), fen in sorted(year.items(), key=lambda one: (one[0][0], int(one[0][1])))
        ],
    )  # fmt: skip


def _held(rows: list[Any], period: Period) -> Table:
    shown = rows[:HELD_SHOWN]
    numbers = dict(
        Claim.objects.filter(pk__in=[one.claim_id for one in shown]).values_list("pk", "claim_no")
    )
    names = Institution.objects.in_bulk({one.institution_code for one in shown})
    when = "目前待审" if period.state == Period.State.OPEN else "关账时仍待审"
    return Table(
        id="held", caption=f"{when}的单据{f'（前 {HELD_SHOWN} 笔）' if len(rows) > HELD_SHOWN else ''}",
        columns=[Column(label="单据号"), Column(label="医疗机构"), Column(label="服务日期"),
                 Column(label="待审金额（元）", numeric=True)],
        rows=[
            Row(key=str(one.claim_id), label=str(one.claim_id), cells=[
                Cell(text=numbers.get(one.claim_id, str(one.claim_id)), code=True,
                     url=reverse("claim", args=[one.claim_id])),
                Cell(text=str(names.get(one.institution_code, "")), sub=one.institution_code),
                Cell(text=one.service_date.isoformat()), Cell(text=yuan(one.held))])
            for one in shown
        ],
    )  # fmt: skip


def _pools(request: PortalRequest) -> dict[str, str]:
    """Policy region → name of its highest area, as far as the user's scope goes."""
    user = request.user
    if user.institution is not None:
        return {user.institution.region.policy_region: user.institution.region.name}
    rows = Region.objects.exclude(policy_region="").order_by("code")
    codes = user.scope_codes()
    found: dict[str, str] = {}
    for row in rows:
        if codes.everything or any(row.code.startswith(prefix) for prefix in codes.regions):
            found.setdefault(row.policy_region, row.name)
    return found


def _found(request: PortalRequest, pool: str, month: str) -> Period:
    if pool not in _pools(request):
        raise Http404
    try:
        first = dt.date.fromisoformat(f"{month}-01")
    except ValueError:
        raise Http404 from None
    row = Period.objects.filter(pool=pool, month=first).first()
    return row or Period(pool=pool, month=first)


def _asked(row: Period) -> Reopening | None:
    return Reopening.objects.filter(
        pool=row.pool, month=row.month, state=Reopening.State.PROPOSED
    ).first()
