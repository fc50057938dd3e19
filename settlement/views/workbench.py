"""The workbench: what waits for me, the figures of the month, two charts, the next action."""

import datetime as dt
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from audit import charts, clock
from audit.access import requires
from audit.text import share, yuan
from institutions.access import PortalRequest
from institutions.inbox import Inbox, address, working_days_left
from institutions.models import User
from settlement import figures
from settlement.models import Settlement

TASKS_SHOWN = 20
MANY_TIMES = 10  #: from here on a multiple is easier to read than per cent
NEXT: tuple[tuple[str, str, str, str], ...] = (
    ("claims.view", "claims", "查询费用", "document-magnifying-glass"),
    ("batches.run", "batches", "上传批量文件", "arrow-up-tray"),
    ("trials.run", "trial", "政策试算", "calculator"),
    ("prices.view", "prices", "查看价格目录", "book-open"),
)
DONUT_TONES = {
    "payable": "a",
    "partial": "c",
    "reject": "d",
    "review": "b",
    "no_rule": "e",
    "reversed": "f",
}


@requires("workbench.view")
@require_GET
def workbench(request: PortalRequest) -> HttpResponse:
    """Figures only for those who may see claims; tasks by permission and scope."""
    today = clock.today()
    context: dict[str, Any] = {"tasks": tasks(request.user, today), "today": today,
                               "next": _next(request.user)}  # fmt: skip
    if request.user.may("claims.view"):
        months = figures.months(request.user, today=today)
        reasons = figures.top_reasons(request.user, month=months[-1].first)
        context |= {
            "month": months[-1].label,
            "stats": _stats(months),
            "by_month": _by_month(months),
            "by_state": _by_state(months[-1]),
            "by_reason": _by_reason(reasons, months[-1].first),
        }
    return render(request, "settlement/workbench.html", context)


def tasks(user: User, today: dt.date) -> dict[str, Any]:
    """My open tasks, the most urgent first, with the working days that are left."""
    rows = Inbox(user, today=today).page(size=TASKS_SHOWN + 1).rows
    shown = rows[:TASKS_SHOWN]
    area = user.institution.region_id if user.institution else user.region_id
    left = working_days_left(shown, today=today, area=area or "")
    return {
        "rows": [
            {"title": row.title, "subject": row.subject, "url": address(row), "due": row.due,
             "clause": row.clause, "left": left.get(row.pk), "stopped": row.stopped,
             "unknown": row.due_unknown}
            for row in shown
        ],
        "more": len(rows) > TASKS_SHOWN,
    }  # fmt: skip


def _next(user: Any) -> list[dict[str, str]]:
    found = []
    for permission, name, label, icon in NEXT:
        if user.may(permission):
            try:
                found.append({"label": label, "url": reverse(name), "icon": icon})
            except NoReverseMatch:
                continue
    return found


def _stats(months: list[figures.Month]) -> list[dict[str, Any]]:
    address = reverse("claims")
    return [
        _stat(months, "结算笔数", "claims", "笔", "document-check", url=address),
        _stat(months, "发生费用", "fee", "元", "document-currency-yen", money=True),
        _stat(months, "统筹基金支付", "fund", "元", "banknotes", money=True),
        _stat(months, "政策范围内", "in_scope", "元", "scale", money=True),
        _stat(
            months,
            "不予支付",
            "rejected",
            "笔",
            "no-symbol",
            url=_of_state(Settlement.State.REJECTED),
        ),
        _stat(
            months, "待审或待规则", "held", "笔", "clock", url=_of_state(Settlement.State.REVIEW)
        ),
    ]


def _of_state(state: str) -> str:
    return f"{reverse('claims')}?{urlencode({'state': state})}"


def _stat(
    months: list[figures.Month], label: str, name: str, unit: str, icon: str, *,
    money: bool = False, url: str = "",
) -> dict[str, Any]:  # fmt: skip
    values = [getattr(month, name) for month in months]
    now, before = values[-1], values[-2]
    return {
        "label": label, "value": yuan(now) if money else f"{now:,}", "unit": unit, "icon": icon,
        "delta": _delta(now, before), "url": url,
        "direction": _direction(now, before),
        "note": "较上月" if before > 0 else "上月为零" if now else "",
        "spark": charts.spark(values, label=f"近十二个月{label}"),
    }  # fmt: skip


def _delta(now: int, before: int) -> str:
    """The change to the month before in per cent of it, or how many times as much; else empty."""
    if before <= 0:
        return ""
    if now >= MANY_TIMES * before:
        return f"{now // before:,} 倍"
    return share(abs(now - before), before) if now != before else "持平"


def _direction(now: int, before: int) -> str:
    if before <= 0 or now == before:
        return ""
    return "up" if now > before else "down"


def _by_month(months: list[figures.Month]) -> dict[str, Any]:
    return charts.bars(
        title="统筹基金支付（按结算月，元）", labels=[month.label[2:] for month in months], money=True,
        series=[{"label": "统筹基金", "values": [max(m.fund, 0) for m in months], "tone": "fund"}],
    )  # fmt: skip


def _by_state(month: figures.Month) -> dict[str, Any]:
    parts = [
        {
            "label": label,
            "value": month.states[state],
            "tone": DONUT_TONES[state],
            "url": _of_state(state),
        }
        for state, label in Settlement.State.choices
        if month.states.get(state) and state != Settlement.State.REVERSED
    ]
    return charts.donut(title=f"{month.label} 结算结果", parts=parts, centre="笔")


def _by_reason(rows: list[dict[str, Any]], month: dt.date) -> dict[str, Any]:
    return charts.ranking(title="不予支付与待审的主要原因（明细项数）", rows=[
        {"label": row["message"], "value": row["lines"],
         "url": f"{reverse('claims')}?{urlencode({'reason': row['code'], 'since': month.isoformat()})}"}
        for row in rows
    ])  # fmt: skip
