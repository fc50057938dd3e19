"""The account between regions (异地清算往来): its balance by pair and month, and the money that clears it.

A book has two sides: the treating region holds a claim on the insured region, which owes it the same.
Who owes registers what it paid; a person of the region that is paid confirms it, and a voucher is posted
in both books at once. What was wrongly posted is reversed whole: a person of either region asks for it,
one of the other does it. (docs/decisions/offsite.md)
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.urls import reverse

from audit import clock, tasks, trail
from institutions.access import EVERYTHING, scoped
from institutions.models import Region, User
from institutions.refusals import Refusal, refused
from settlement.models import Leg, RegionalTransfer, Voucher
from settlement.periods import posting_month, region_code_of
from settlement.vouchers import post_voucher, reverse_voucher

State, Account = RegionalTransfer.State, Leg.Account
HELD, OWED = "held", "owed"  #: sides of a book: of the treating, of the insured region
SIDES = {HELD: "应收", OWED: "应付"}


@dataclass(frozen=True)
class Line:
    """A month of one pair in one region's book (fen): what arose, what was cleared, what is left."""

    own: str
    other: str
    side: str
    month: dt.date
    arisen: int
    cleared: int
    balance: int


#: The treating region's own versions, the insured region's vouchers of them, what was deducted or adjusted of
#: them, and what cleared either.
BOOK = """SELECT own, other, side, month, sum(arisen)::bigint, sum(cleared)::bigint FROM (
    SELECT r.policy_region AS own, s.insured_pool AS other, 'held' AS side, s.period AS month,
        s.fund + s.account + s.major + s.assistance AS arisen, 0 AS cleared
    FROM settlement_settlement s JOIN institutions_region r ON r.code = s.region_code
    WHERE s.insured_pool <> '' AND s.region_code = ANY(%(codes)s)
    UNION ALL
    SELECT r.policy_region,
        CASE v.kind WHEN 'regional' THEN d.detail ->> 'treating' ELSE d.detail ->> 'other' END,
        CASE v.kind WHEN 'regional' THEN 'owed' ELSE d.detail ->> 'side' END, v.period,
        CASE WHEN v.kind = 'regional_paid' THEN 0 WHEN d.detail ->> 'side' = 'held' THEN l.amount
            ELSE -l.amount END,
        CASE WHEN v.kind <> 'regional_paid' THEN 0 WHEN d.detail ->> 'side' = 'owed' THEN l.amount
            ELSE -l.amount END
    FROM settlement_voucher v JOIN institutions_region r ON r.code = v.region_code
    JOIN settlement_voucher d ON d.id = coalesce(v.reverses_id, v.id)
    JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 15
    WHERE v.kind IN ('regional', 'regional_paid', 'deduction', 'adjustment')
        AND v.region_code = ANY(%(codes)s)
) b GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""


def book(codes: Iterable[str]) -> list[Line]:
    """The books of these areas: every pair and side, month by month with its balance at the end."""
    with connection.cursor() as cursor:
        cursor.execute(BOOK, {"codes": list(codes)})
        rows = cursor.fetchall()
    found: list[Line] = []
    left: dict[tuple[str, str, str], int] = {}
    for own, other, side, month, arisen, cleared in rows:
        key = (own, other, side)
        left[key] = left.get(key, 0) + arisen - cleared
        found.append(Line(own, other, side, month, arisen, cleared, left[key]))
    return found


def balances(lines: Iterable[Line]) -> dict[tuple[str, str, str], int]:
    """(Own region, other region, side) → what is left at the end of the last month (fen)."""
    return {(line.own, line.other, line.side): line.balance for line in lines}


def pool_of(user: User) -> str:
    """The pooling region that a person acts for; empty at an institution or above pools."""
    return user.region.policy_region if user.region is not None else ""


@transaction.atomic
def record(
    *, payer: str, receiver: str, amount: int, paid_on: dt.date, bank_serial: str, by: str,
    at: dt.datetime,
) -> RegionalTransfer:  # fmt: skip
    """Register what the insured region (`payer`) paid the treating one; a person there confirms it.

    Refused (422): more than is owed and not yet registered, a day to come, no bank serial.
    """
    serial = bank_serial.strip()
    if not serial or paid_on > clock.local(at).date():
        raise refused("bank_serial", "TRANSFER_INCOMPLETE", "请填写银行流水号，付款日不晚于今天",
                      "a serial and a day not to come are needed")  # fmt: skip
    with scoped(EVERYTHING):
        _lock(payer, receiver)
        waiting = RegionalTransfer.objects.filter(
            payer=payer, receiver=receiver, state=State.RECORDED
        )
        left = _owed(payer, receiver) - sum(waiting.values_list("amount", flat=True))
        if not 0 < amount <= left:
            raise refused("amount", "MORE_THAN_OWED", f"金额应大于0且不超过尚未清算的{left / 100:.2f}元",
                          "more than is owed")  # fmt: skip
        if (
            RegionalTransfer.objects.filter(payer=payer, bank_serial=serial)
            .exclude(state__in=(State.REFUSED, State.REVERSED))
            .exists()
        ):
            raise refused("bank_serial", "SERIAL_USED", "该银行流水号已登记", "the serial was used",
                          status=409)  # fmt: skip
        row = RegionalTransfer.objects.create(
            region_code=region_code_of(payer), receiver_code=region_code_of(receiver), payer=payer,
            receiver=receiver, amount=amount, paid_on=paid_on, bank_serial=serial[:60],
            recorded_at=at, recorded_by=by,
        )  # fmt: skip
        tasks.open_task(
            subject=row.subject, permission="payments.approve", at=at,
            title=f"核对异地清算到账 {amount / 100:.2f} 元", region_code=row.receiver_code,
            url=reverse("regional"), status=row.get_state_display(),
        )  # fmt: skip
        _record(row, "record", by, at)
    return row


@transaction.atomic
def decide(
    *, transfer: RegionalTransfer, accept: bool, reason: str, who: User, at: dt.datetime
) -> RegionalTransfer:
    """A person of the region that was paid confirms it, and both books are posted; or gives it back.

    Refused: 403 another region's person or the one who registered it, 409 decided before.
    """
    with scoped(EVERYTHING):
        pair = sorted([transfer.payer, transfer.receiver])
        for pool in pair if accept else ():
            posting_month(region_code_of(pool), at)
        row = RegionalTransfer.objects.select_for_update().get(pk=transfer.pk)
        if pool_of(who) != row.receiver or who.username == row.recorded_by:
            raise Refusal(
                403, "RECEIVER_CONFIRMS", ("由收款统筹区的人员核对到账", "the receiver confirms")
            )
        if row.state != State.RECORDED:
            raise Refusal(409, "ALREADY_DECIDED", ("该笔已办结", "it was decided before"))
        if not accept and not reason.strip():
            raise refused("reason", "REASON_MISSING", "请填写退回理由", "a reason is needed")
        row.state = State.POSTED if accept else State.REFUSED
        row.decided_at, row.decided_by, row.reason = at, who.username, reason.strip()[:200]
        row.save()
        if accept:
            _post(row, who.username, at)
        tasks.close(subject=row.subject, by=who.username, at=at)
        _record(row, "post" if accept else "refuse", who.username, at)
    return row


@transaction.atomic
def ask_reversal(
    *, transfer: RegionalTransfer, reason: str, who: User, at: dt.datetime
) -> RegionalTransfer:
    """A person of either region asks that a posted transfer be reversed; the other region decides.

    Refused: 403 a third region's person, 409 not posted or asked for before.
    """
    with scoped(EVERYTHING):
        row = RegionalTransfer.objects.select_for_update().get(pk=transfer.pk)
        pool = pool_of(who)
        if pool not in (row.payer, row.receiver):
            raise Refusal(403, "PARTY_ASKS", ("由付款或收款统筹区的人员申请", "a party asks"))
        if row.state != State.POSTED:
            raise Refusal(409, "NOT_POSTED", ("该笔未入账，或已申请冲销", "it does not stand"))
        if not reason.strip():
            raise refused("reason", "REASON_MISSING", "请填写冲销理由", "a reason is needed")
        row.state, row.undo_pool, row.undo_reason = State.REVERSING, pool, reason.strip()[:200]
        row.undo_asked_at, row.undo_asked_by = at, who.username
        row.save()
        other = row.receiver_code if pool == row.payer else row.region_code
        tasks.open_task(
            subject=row.subject, permission="payments.approve", at=at, region_code=other,
            title=f"复核冲销异地清算划款 {row.amount / 100:.2f} 元", url=reverse("regional"),
            status=row.get_state_display(),
        )  # fmt: skip
        _record(row, "ask_reversal", who.username, at)
    return row


@transaction.atomic
def decide_reversal(
    *, transfer: RegionalTransfer, accept: bool, who: User, at: dt.datetime
) -> RegionalTransfer:
    """A person of the region that did not ask reverses both vouchers, or lets the transfer stand.

    Refused: 403 another region's person or the one who asked, 409 nothing is asked for.
    """
    with scoped(EVERYTHING):
        pair = sorted([transfer.payer, transfer.receiver])
        for pool in pair if accept else ():
            posting_month(region_code_of(pool), at)
        row = RegionalTransfer.objects.select_for_update().get(pk=transfer.pk)
        if row.state != State.REVERSING:
            raise Refusal(409, "REVERSAL_NOT_ASKED", ("没有待复核的冲销", "nothing is asked for"))
        other = {row.payer, row.receiver} - {row.undo_pool}
        if pool_of(who) not in other or who.username == row.undo_asked_by:
            raise Refusal(
                403, "OTHER_SIDE_DECIDES", ("由对方统筹区的人员复核冲销", "the other side decides")
            )
        if accept:
            for voucher in Voucher.objects.filter(subject=row.subject).order_by("pk"):
                reverse_voucher(
                    voucher=voucher, reason=row.undo_reason, by=row.undo_asked_by,
                    approved_by=who.username, at=at,
                )  # fmt: skip
            row.state, row.undone_at, row.undone_by = State.REVERSED, at, who.username
        _record(row, "reverse" if accept else "keep", who.username, at)
        if not accept:
            row.state, row.undo_pool, row.undo_reason = State.POSTED, "", ""
            row.undo_asked_at, row.undo_asked_by = None, ""
        row.save()
        tasks.close(subject=row.subject, by=who.username, at=at)
    return row


def post_pair(
    *, region_code: str, institution_code: str, other: str, payee: Leg.Account, source: Leg.Account,
    amount: int, effect: str, detail: Mapping[str, Any], at: dt.datetime, **given: Any,
) -> Voucher:  # fmt: skip
    """Take fen from a payee here for the region that paid (below zero: give them), in both books.

    The voucher of this region; that over there debits the account between them against `source` and names no
    institution: the treating hospital does not see it. `given` is what both vouchers say.
    """
    own = Region.objects.get(pk=region_code).policy_region
    with scoped(EVERYTHING):
        there = region_code_of(other)
        for _, code in sorted(((own, region_code), (other, there))):
            posting_month(code, at)
        here, _ = (
            post_voucher(
                effect=f"{effect}/{other}/{side}", region_code=place[0], institution_code=place[1],
                legs=legs, detail={**detail, "side": side, "other": opposite}, at=at, **given,
            )
            for side, opposite, place, legs in (
                (HELD, other, (region_code, institution_code),
                 {payee: amount, Account.REGIONAL_CLEARING: -amount}),
                (OWED, own, (there, ""), {Account.REGIONAL_CLEARING: amount, source: -amount}),
            )
        )  # fmt: skip
    return here


def _post(row: RegionalTransfer, by: str, at: dt.datetime) -> None:
    """The payer's debt is less by what left its bank, the receiver's claim by what came in."""
    for side, code, other, sign in (
        (OWED, row.region_code, row.receiver, 1), (HELD, row.receiver_code, row.payer, -1),
    ):  # fmt: skip
        post_voucher(
            kind=Voucher.Kind.REGIONAL_PAID, effect=f"{row.subject}/{side}", subject=row.subject,
            legs={Account.REGIONAL_CLEARING: sign * row.amount, Account.BANK: -sign * row.amount},
            region_code=code, reason=f"异地清算{'付' if side == OWED else '收'}款", at=at,
            by=row.recorded_by, approved_by=by,
            detail={"side": side, "other": other, "serial": row.bank_serial},
        )  # fmt: skip


def _owed(payer: str, receiver: str) -> int:
    codes = Region.objects.filter(policy_region=payer).values_list("code", flat=True)
    return balances(book(codes)).get((payer, receiver, OWED), 0)


def _lock(payer: str, receiver: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('regional transfer'), hashtext(%s))",
            [f"{payer} {receiver}"],
        )


def _record(row: RegionalTransfer, action: str, by: str, at: dt.datetime) -> None:
    trail.record(
        by=by, at=at, action=f"regionaltransfer.{action}", subject=row.subject,
        region_code=row.region_code,
        detail={"payer": row.payer, "receiver": row.receiver, "amount": row.amount,
                "serial": row.bank_serial, "reason": row.undo_reason or row.reason},
    )  # fmt: skip
