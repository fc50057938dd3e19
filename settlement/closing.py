"""A month's closing, in two steps, and its reopening by two people.

begin_closing takes exclusively the lock that postings share: it waits for those under way, and every
later one goes to the next open month. Then the statements are made. close needs all of them final
and the books equal. Nothing is undone by hand: a reopening reverses the statements' vouchers.
"""

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.urls import reverse
from django.utils.module_loading import import_string

from audit import tasks
from institutions.access import EVERYTHING, scoped
from institutions.refusals import Refusal, refused
from settlement import clearing, statement_steps, statements, terms
from settlement.models import Batch, Chunk, Period, Reopening, Statement
from settlement.payment_sources import live
from settlement.periods import (
    canonical,
    differences,
    locked,
    month_of,
    record,
    region_code_of,
    region_codes,
    subject_of,
    totals_of,
)

Hindrance = tuple[str, str]  #: code and sentence: why a month cannot be closed yet
State = Period.State


@transaction.atomic
def begin_closing(*, pool: str, month: dt.date, by: str, at: dt.datetime) -> Period:
    """open → closing, and the statements of the month are made.

    Refused: 422 PERIOD_NOT_OVER before the month has ended; 409 PERIOD_NOT_OPEN the second time,
    LATER_PERIOD_CLOSED once a later month has begun to close, EARLIER_PERIOD_OPEN while an earlier one
    that makes statements is not closed, YEAR_CLEARED while a clearing of its year stands.
    """
    period = locked(pool, month)
    if month >= month_of(at):
        raise refused("month", "PERIOD_NOT_OVER", f"{period}尚未结束，不能关账",
                      "the month has not ended")  # fmt: skip
    _in_state(period, State.OPEN, "PERIOD_NOT_OPEN")
    _last_in_order(period, "本月不再单独关账，等待的扣款和结转计入以后月份")
    _earlier_closed(period)
    clearing.refuse_cleared(period)
    period.state, period.closing_at, period.closing_by = State.CLOSING, at, by
    period.save()
    record(period, "period.closing", by=by, at=at, detail={})
    made = statements.make(period=period, by=by, at=at)
    clause = terms.cite(pool, month, "二十四")
    tasks.open_task(
        subject=subject_of(period), permission="statements.prepare", at=at,
        title=f"{period}结算单{made}张待核对、送机构确认", region_code=region_code_of(pool),
        url=reverse("period", args=[pool, f"{month:%Y-%m}"]), status=State.CLOSING.label,
        clause=f"{clause['document']} {clause['clause']}" if clause else "",
    )  # fmt: skip
    return period


@transaction.atomic
def close(*, pool: str, month: dt.date, by: str, at: dt.datetime) -> Period:
    """closing → closed once nothing hinders it and the books agree (409 names what does not).

    The canonical totals and their SM3 stand in the period and in the trail.
    """
    period = locked(pool, month)
    _in_state(period, State.CLOSING, "PERIOD_NOT_CLOSING")
    found = hindrances(period)
    if found:
        raise Refusal(
            409, found[0][0],
            ("；".join(text for _, text in found), "; ".join(code for code, _ in found)),
        )  # fmt: skip
    totals = totals_of(period)
    period.state, period.closed_at, period.closed_by = State.CLOSED, at, by
    period.totals, period.totals_sm3 = totals, hashlib.new("sm3", canonical(totals)).hexdigest()
    period.save()
    tasks.close(subject=subject_of(period), by=by, at=at)
    record(period, "period.close", by=by, at=at,
           detail={"sm3": period.totals_sm3, "totals": totals})  # fmt: skip
    return period


def hindrances(period: Period) -> list[Hindrance]:
    """Everything that stands between a closing month and its end; empty: it can be closed.

    `settings.PERIOD_CLOSE_CHECKS` names callables (period → hindrances) of rooms above this one.
    """
    found: list[Hindrance] = []
    waiting = Statement.objects.filter(pool=period.pool, period=period.month)
    if count := waiting.exclude(state__in=Statement.FINAL).count():
        found.append(("STATEMENTS_OPEN", f"还有{count}张结算单未经机构确认或裁定"))
    chunks = Chunk.objects.filter(
        state=Chunk.State.WAITING, batch__period=period.month,
        batch__state__in=(Batch.State.RUNNING, Batch.State.PAUSED),
        batch__region_code__in=region_codes(period.pool),
    ).count()  # fmt: skip
    if chunks:
        found.append(("BATCH_UNFINISHED", f"本月还有{chunks}个批量结算分片未完成"))
    found += [("TOTALS_DIFFER", text) for text in differences(period)]
    for name in settings.PERIOD_CLOSE_CHECKS:
        check: Callable[[Period], list[Hindrance]] = import_string(name)
        found += check(period)
    return found


# --- Reopening ---


@transaction.atomic
def propose_reopening(
    *, pool: str, month: dt.date, reason: str, by: str, at: dt.datetime
) -> Reopening:
    """Ask for a closing or closed month to be opened again. Refused once money of it is on a list or paid,
    and while a clearing of its year stands."""
    period = locked(pool, month)
    _can_reopen(period)
    if Reopening.objects.filter(pool=pool, month=month, state="proposed").exists():
        raise refused("state", "REOPENING_PROPOSED", f"{period}的反关账申请正在复核",
                      "it is asked for already", status=409)  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写反关账理由", "a reason is needed")
    row = Reopening.objects.create(
        pool=pool, month=month, reason=reason.strip(), proposed_at=at, proposed_by=by
    )
    tasks.open_task(
        subject=f"reopening:{row.pk}", permission="periods.reopen", at=at,
        title=f"{period}反关账申请待另一人复核", region_code=region_code_of(pool),
        url=reverse("period", args=[pool, f"{month:%Y-%m}"]), status=row.get_state_display(),
    )  # fmt: skip
    record(period, "period.reopening", by=by, at=at, detail={"reason": row.reason})
    return row


@transaction.atomic
def decide_reopening(
    *, reopening: Reopening, agree: bool, decision: str, by: str, at: dt.datetime
) -> Period:
    """Another person opens the month again: vouchers are reversed, statements are drafts once more."""
    period = locked(reopening.pool, reopening.month)
    row = Reopening.objects.select_for_update().get(pk=reopening.pk)
    if row.state != Reopening.State.PROPOSED:
        raise refused("state", "ALREADY_DECIDED", "该申请已办结", "decided before", status=409)
    if row.proposed_by == by:
        raise refused("by", "SAME_PERSON", "申请人不能复核自己的反关账申请",
                      "another person decides", status=403)  # fmt: skip
    row.state = Reopening.State.DONE if agree else Reopening.State.REFUSED
    row.decided_at, row.decided_by, row.decision = at, by, decision.strip()
    row.save()
    tasks.close(subject=f"reopening:{row.pk}", by=by, at=at)
    if agree:
        _can_reopen(period)
        period.state = State.OPEN
        period.closing_at = period.closed_at = None
        period.closing_by = period.closed_by = ""
        period.totals, period.totals_sm3 = {}, ""
        period.save()
        tasks.close(subject=subject_of(period), by=by, at=at)
        statement_steps.withdraw(
            period=period, reason=row.reason, by=by, approved_by=row.proposed_by, at=at
        )
    record(period, "period.reopen" if agree else "period.stay_closed", by=by, at=at,
           detail={"reason": row.reason, "proposed_by": row.proposed_by,
                   "decision": row.decision})  # fmt: skip
    return period


def _can_reopen(period: Period) -> None:
    if period.state == State.OPEN:
        raise refused("state", "PERIOD_OPEN", f"{period}尚未关账", "the month is open", status=409)
    _last_in_order(period, f"{period}不能反关账；错账请在以后月份红冲")
    clearing.refuse_cleared(period)
    rows = Statement.objects.filter(pool=period.pool, period=period.month)
    subjects = [row.subject for row in rows.select_for_update().order_by("pk")]
    with scoped(EVERYTHING):  # the list may be of an agency above
        listed = live(subjects)
    if listed:  # asked first: what the bank pays meanwhile is paid below
        numbers = "、".join(sorted(set(listed.values())))
        raise refused("state", "PERIOD_PAYING",
                      f"{period}的结算款在拨付清单{numbers}中，不能反关账；请先撤下或退回，已送银行的等处理结果",
                      "money of the month is on a payment list", status=409)  # fmt: skip
    if statements.paid_in(period):
        raise refused("state", "PERIOD_PAID", f"{period}的结算款已经拨付，不能反关账；错账请在以后月份红冲",
                      "money of the month was paid", status=409)  # fmt: skip


def _in_state(period: Period, state: State, code: str) -> None:
    if period.state != state:
        raise refused("state", code, f"{period}{period.get_state_display()}，不能办理此操作",
                      f"the month is {period.state}", status=409)  # fmt: skip


#: What statements are made from by month: settlements, and vouchers on 应付医疗机构 (a deduction waits for
#: any later month of its claim, a debt is carried to it); and the months whose statements are not final.
EARLIER = """SELECT least(
    (SELECT min(s.period) FROM settlement_settlement s
    JOIN institutions_region r ON r.code = s.region_code
    WHERE r.policy_region = %(pool)s AND s.period < %(month)s AND NOT EXISTS (
        SELECT FROM settlement_period p
        WHERE p.pool = %(pool)s AND p.month = s.period AND p.state = 'closed')),
    (SELECT min(v.period) FROM settlement_voucher v
    JOIN institutions_region r ON r.code = v.region_code
    JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 6
    WHERE r.policy_region = %(pool)s AND v.period < %(month)s AND v.kind <> ALL(%(own)s)
        AND v.institution_code <> '' AND v.scheme <> '' AND NOT EXISTS (SELECT FROM settlement_period p
            WHERE p.pool = %(pool)s AND p.month = v.period AND p.state = 'closed')),
    (SELECT min(p.month) FROM settlement_period p
    WHERE p.pool = %(pool)s AND p.month < %(month)s AND (p.state = 'closing' OR p.state = 'open'
        AND EXISTS (SELECT FROM settlement_statement t WHERE t.pool = p.pool AND t.period = p.month))))"""


def earliest_open(pool: str, *, before: dt.date) -> dt.date | None:
    """The first month before `before` that makes or has statements and is not closed; None: all are."""
    given: dict[str, Any] = {
        "pool": pool, "month": before, "own": [kind.value for kind in statements.OWN]
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(EARLIER, given)
        return cursor.fetchone()[0]


def later_closed(pool: str, *, after: dt.date) -> Period | None:
    """The first month after `after` that is closing or closed."""
    later = Period.objects.filter(pool=pool, month__gt=after).exclude(state=State.OPEN)
    return later.order_by("month").first()


def _earlier_closed(period: Period) -> None:
    """Months are closed in their order: what is carried over comes from the one before."""
    first = earliest_open(period.pool, before=period.month)
    if first is not None:
        raise refused("month", "EARLIER_PERIOD_OPEN", f"{first:%Y年%m月}尚未关账，请先办理",
                      "an earlier month is not closed", status=409)  # fmt: skip


def _last_in_order(period: Period, otherwise: str) -> None:
    """What a later month took over is not made anew under it."""
    if found := later_closed(period.pool, after=period.month):
        raise refused("month", "LATER_PERIOD_CLOSED", f"{found}已关账或正在关账，{otherwise}",
                      "a later month is closed", status=409)  # fmt: skip
