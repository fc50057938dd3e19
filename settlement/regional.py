"""Persons insured elsewhere: what their own region owes for a settled claim (省级意见 二（五）异地结算).

The claim's legs in the treating region hold `REGIONAL_CLEARING` as a claim on the insured region. In the
same transaction a voucher of kind `regional` is posted there, in that region's own open month: debit its
funds and the personal account, credit `REGIONAL_CLEARING`. Every version of a claim has its own voucher,
a reversal's is the red one of the version before, so the account is zero over both regions at any time.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db import connections

from audit.trail import event_row
from institutions.access import EVERYTHING, scoped
from settlement import bookings
from settlement.periods import posting_month

PAID = "s.fund + s.account + s.major + s.assistance"
#: The versions of claims that another region pays for, and how many there are of each region.
DUE = """SELECT s.insured_pool, count(*),
    (SELECT min(code) FROM institutions_region WHERE policy_region = s.insured_pool)
FROM settlement_settlement s
JOIN unnest(%(claims)s::bigint[], %(versions)s::smallint[]) g (claim_id, version)
    ON s.claim_id = g.claim_id AND s.version = g.version
WHERE s.insured_pool <> '' AND PAID <> 0 GROUP BY 1 ORDER BY 1""".replace("PAID", PAID)
#: A series of its own: its row is locked last in a posting, after the persons.
COUNT = """INSERT INTO audit_counter (series, last) VALUES (%(series)s, %(count)s)
ON CONFLICT (series) DO UPDATE SET last = audit_counter.last + %(count)s RETURNING last"""
#: One voucher per version, with the claim's shares as debits and their sum owed to the other region.
POST = """WITH due AS (
    SELECT s.*, PAID AS total, c.claim_no, i.name AS institution, r.policy_region AS treating,
        nextval('settlement_claim_id_seq') AS voucher,
        %(last)s - count(*) OVER () + row_number() OVER (ORDER BY s.claim_id, s.version) AS serial,
        'regional:' || s.claim_id || '/' AS effect
    FROM settlement_settlement s
    JOIN unnest(%(claims)s::bigint[], %(versions)s::smallint[]) g (claim_id, version)
        ON s.claim_id = g.claim_id AND s.version = g.version
    JOIN settlement_claim c ON c.id = s.claim_id
    JOIN institutions_institution i ON i.code = s.institution_code
    JOIN institutions_region r ON r.code = s.region_code
    WHERE s.insured_pool = %(pool)s AND PAID <> 0
), voucher AS (
    INSERT INTO settlement_voucher (id, number, kind, effect, subject, period, region_code,
        institution_code, scheme, amount, reason, clause, detail, reverses_id, posted_at, posted_by,
        approved_by)
    SELECT voucher, %(series_no)s || lpad(serial::text, greatest(5, length(serial::text)), '0'),
        'regional', effect || version, 'claim:' || claim_id, %(period)s, %(region)s, '', scheme,
        abs(total), left(CASE WHEN version %% 2 = 1 THEN '异地就医结算：' ELSE '异地就医冲正：' END
            || institution || '，单据 ' || claim_no, 200), '',
        jsonb_build_object('claim', claim_id, 'version', version, 'claim_no', claim_no,
            'institution', institution_code, 'treating', treating),
        (SELECT v.id FROM settlement_voucher v
            WHERE due.version %% 2 = 0 AND v.effect = due.effect || due.version - 1),
        %(at)s, %(by)s, ''
    FROM due
), legs AS (
    INSERT INTO settlement_leg (claim_id, version, account, amount, period, region_code,
        institution_code)
    SELECT voucher, 1, l.account, l.amount, %(period)s, %(region)s, ''
    FROM due CROSS JOIN LATERAL (VALUES (1, fund), (2, due.account), (13, major), (14, assistance),
        (15, -total)) l (account, amount)
    WHERE l.amount <> 0
)
SELECT voucher, claim_id, version, total FROM due ORDER BY serial""".replace("PAID", PAID)


def post(
    versions: Iterable[tuple[int, int]], *, by: str, at: dt.datetime, using: str = "default"
) -> int:
    """Post what other regions owe for settled (claim, version)s; how many vouchers.

    Part of the transaction that stored the versions: both regions' books move together or not at all.
    Pools are taken in their order; the month of each is shared like the treating region's.
    """
    claims, numbers = (list(column) for column in zip(*versions, strict=True))
    given: dict[str, Any] = {"claims": claims, "versions": numbers, "by": by, "at": at}
    posted = 0
    with scoped(EVERYTHING, using=using), connections[using].cursor() as cursor:
        cursor.execute(DUE, given)
        for pool, count, region in cursor.fetchall():
            period = posting_month(region, at, cursor=cursor)
            cursor.execute(COUNT, {"series": f"regional {pool} {period:%Y%m}", "count": count})
            cursor.execute(POST, given | {
                "pool": pool, "region": region, "period": period, "last": cursor.fetchone()[0],
                "series_no": f"{pool}-{period:%Y%m}-YD",
            })  # fmt: skip
            rows = cursor.fetchall()
            event_row(
                by=by, at=at, action="voucher.regional", subject=f"voucher:{rows[0][0]}",
                region_code=region,
                detail={"pool": pool, "month": period, "owed": sum(int(row[3]) for row in rows),
                        "vouchers": [list(row[:3]) for row in rows],
                        **bookings.written([(row[0], 1) for row in rows], using=using)},
            ).save(using=using, force_insert=True)  # fmt: skip
            posted += len(rows)
    return posted
