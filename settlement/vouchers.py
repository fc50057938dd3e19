"""Vouchers: every posting of money that is not a claim's settlement, balanced, once for ever."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction

from audit import trail
from audit.tasks import next_number
from institutions.models import Region
from institutions.refusals import Refusal
from settlement import bookings
from settlement.models import Leg, Voucher
from settlement.periods import posting_month

POST = """WITH voucher AS (
    INSERT INTO settlement_voucher (id, number, kind, effect, subject, period, region_code,
        institution_code, scheme, amount, reason, clause, detail, reverses_id, posted_at, posted_by,
        approved_by)
    VALUES (nextval('settlement_claim_id_seq'), %(number)s, %(kind)s, %(effect)s, %(subject)s,
        %(period)s, %(region)s, %(institution)s, %(scheme)s, %(amount)s, %(reason)s, %(clause)s,
        %(detail)s::jsonb, %(reverses)s, %(at)s, %(by)s, %(approved_by)s)
    RETURNING id
), legs AS (
    INSERT INTO settlement_leg (claim_id, version, account, amount, period, region_code,
        institution_code)
    SELECT voucher.id, 1, l.account, l.amount, %(period)s, %(region)s, %(institution)s
    FROM voucher, unnest(%(accounts)s::smallint[], %(amounts)s::bigint[]) l (account, amount)
)
SELECT id FROM voucher"""


def post_voucher(
    *,
    kind: Voucher.Kind,
    effect: str,
    subject: str,
    legs: Mapping[Leg.Account, int],
    region_code: str,
    institution_code: str = "",
    scheme: str = "",
    reason: str = "",
    clause: str = "",
    detail: dict | None = None,
    reverses: Voucher | None = None,
    by: str,
    approved_by: str = "",
    at: dt.datetime,
) -> Voucher:
    """Post `legs` (account → fen, debit > 0 > credit; they sum to 0) under a new voucher number.

    `effect` names what is brought about ("statement:12/payment"); a second posting of the same effect
    is Refused (409 ALREADY_POSTED) and changes nothing. The voucher falls into the open month of `at`.
    """
    sides = {int(account): amount for account, amount in legs.items() if amount}
    if sum(sides.values()) or not sides:
        raise ValueError(f"the legs of {effect} do not balance: {sides}")
    with transaction.atomic():
        period = posting_month(region_code, at)
        if Voucher.objects.filter(effect=effect).exists():
            raise already_posted(effect)
        voucher_id = _insert(
            number=_number(region_code, period), kind=kind.value, effect=effect, subject=subject,
            period=period, region=region_code, institution=institution_code, scheme=scheme,
            amount=sum(amount for amount in sides.values() if amount > 0), reason=reason,
            clause=clause, detail=json.dumps(detail or {}, ensure_ascii=False),
            reverses=reverses.pk if reverses else None, at=at, by=by, approved_by=approved_by,
            accounts=list(sides), amounts=list(sides.values()),
        )  # fmt: skip
        voucher = Voucher.objects.get(pk=voucher_id)
        trail.record(
            by=by, at=at, action=f"voucher.{kind.value}", subject=f"voucher:{voucher_id}",
            region_code=region_code, institution_code=institution_code,
            detail={"number": voucher.number, "effect": effect, "of": subject,
                    "legs": {str(account): amount for account, amount in sides.items()},
                    "reason": reason, "approved_by": approved_by,
                    **bookings.written([(voucher_id, 1)])},
        )  # fmt: skip
        return voucher


def reverse_voucher(
    *, voucher: Voucher, reason: str, by: str, approved_by: str = "", at: dt.datetime
) -> Voucher:
    """Undo a voucher once, by its legs with the other sign in the open month (红字凭证)."""
    if voucher.reverses_id is not None:
        raise Refusal(
            409, "REVERSAL_OF_REVERSAL", ("红字凭证不能再冲销", "a reversal is not reversed")
        )
    legs = {
        Leg.Account(account): -amount
        for account, amount in Leg.objects.filter(
            claim_id=voucher.pk, period=voucher.period
        ).values_list("account", "amount")
    }
    return post_voucher(
        kind=Voucher.Kind(voucher.kind), effect=f"reverse:{voucher.pk}", subject=voucher.subject,
        legs=legs, region_code=voucher.region_code, institution_code=voucher.institution_code,
        scheme=voucher.scheme, reason=reason, clause=voucher.clause, detail=voucher.detail,
        reverses=voucher, by=by, approved_by=approved_by, at=at,
    )  # fmt: skip


def already_posted(effect: str) -> Refusal:
    """The refusal of a posting whose effect is in the ledger."""
    return Refusal(
        409, "ALREADY_POSTED", (f"该笔款项已入账（{effect}）", f"{effect} was posted before")
    )


def _insert(**values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(POST, values)
        return cursor.fetchone()[0]


def _number(region_code: str, period: dt.date) -> str:
    """凭证号: pooling region, month, serial number without gaps (the counter's row is locked)."""
    pool = Region.objects.get(pk=region_code).policy_region
    area = Region.objects.filter(policy_region=pool).order_by("code").first()
    series = f"voucher {pool} {period:%Y%m}"
    return f"PZ{area.pk if area else pool}-{period:%Y%m}-{next_number(series):05d}"
