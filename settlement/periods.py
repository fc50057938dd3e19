"""Settlement periods: which month a posting falls into, the lock that it shares, and the closing.

A posting at a moment goes to that moment's month in Asia/Shanghai, or to the first open month after
it when that one is closing or closed. The month stays share-locked until the transaction ends, so a
close waits for the postings under way and no posting slips in behind it.

`settlement.closing` moves a month: open → closing (statements are made and confirmed) → closed.
"""

import datetime as dt
import json
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Exists, OuterRef, QuerySet, Sum

from audit import trail
from institutions.access import EVERYTHING, scoped
from institutions.models import Region
from institutions.refusals import Refusal
from settlement.contract import LOCAL
from settlement.models import Period, Settlement, Statement


def month_of(at: dt.datetime) -> dt.date:
    """The calendar month of a moment in Asia/Shanghai: its first day."""
    return at.astimezone(LOCAL).date().replace(day=1)


def posting_month(region_code: str, at: dt.datetime, *, cursor: Any = None) -> dt.date:
    """The open month that a row of the region made at `at` is posted to; share-locked, partitioned.

    To be the first statement of a transaction: whoever opens the month holds up other postings to it
    (nobody else) until the end, and must not wait for one of them.
    """
    if cursor is None:
        with connection.cursor() as own:
            return posting_month(region_code, at, cursor=own)
    cursor.execute("SELECT settlement_posting_month(%s, %s)", [region_code, month_of(at)])
    return cursor.fetchone()[0]


#: A month that stands is only looked at. Months are of the whole country: a new region needs none of its own.
OPEN = """SELECT settlement_open_period(month) FROM unnest(%s::date[]) month
    WHERE to_regclass('settlement_leg_' || to_char(month, 'YYYY_MM')) IS NULL"""


def open_months(at: dt.datetime, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Open the month of a moment and the next before anything is posted to them, in a short transaction."""
    this = month_of(at)
    following = (this + dt.timedelta(days=31)).replace(day=1)
    with connections[using].cursor() as cursor:
        cursor.execute(OPEN, [[this, following]])


# --- Proof ---

#: What the funds owe the institutions, the accounts, what the funds owe persons (手工报销), the cash.
SETTLED = """SELECT s.institution_code, s.scheme,
    coalesce(sum(s.fund + s.major + s.assistance) FILTER (WHERE p.claim_id IS NULL), 0)::bigint,
    sum(s.account)::bigint,
    coalesce(sum(s.fund + s.major + s.assistance) FILTER (WHERE p.claim_id IS NOT NULL), 0)::bigint,
    sum(s.cash)::bigint
FROM settlement_settlement s JOIN institutions_region r ON r.code = s.region_code
LEFT JOIN settlement_leg p ON p.claim_id = s.claim_id AND p.version = s.version
    AND p.period = s.period AND p.account = 16
WHERE r.policy_region = %(pool)s AND s.period = %(month)s GROUP BY 1, 2"""
#: Legs of claims only: the vouchers of a month are counted by their own proof.
CLAIM_LEGS = """SELECT l.account, sum(l.amount)::bigint FROM settlement_leg l
JOIN institutions_region r ON r.code = l.region_code
WHERE r.policy_region = %(pool)s AND l.period = %(month)s AND NOT EXISTS (
    SELECT FROM settlement_voucher v WHERE v.id = l.claim_id)
GROUP BY 1 ORDER BY 1"""
#: Legs of claims and vouchers by scheme and account; a voucher that is of no scheme has ''.
SCHEME_LEGS = """SELECT coalesce(s.scheme, v.scheme, ''), l.account, sum(l.amount)::bigint
FROM settlement_leg l JOIN institutions_region r ON r.code = l.region_code
LEFT JOIN settlement_settlement s ON s.claim_id = l.claim_id AND s.version = l.version
LEFT JOIN settlement_voucher v ON v.id = l.claim_id
WHERE r.policy_region = %(pool)s AND l.period = %(month)s GROUP BY 1, 2 ORDER BY 1, 2"""
#: What the statements' vouchers posted on the institutions' account, against their columns.
VOUCHERS = """SELECT count(*) FROM settlement_statement t LEFT JOIN LATERAL (
    SELECT coalesce(sum(l.amount), 0) AS posted FROM settlement_voucher v
    JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 6
    WHERE v.subject = 'statement:' || t.id
        AND v.kind IN ('deduction', 'deposit', 'set_off', 'assessment')) v ON true
WHERE t.pool = %(pool)s AND t.period = %(month)s AND t.finalised_at IS NOT NULL
    AND v.posted <> t.deducted + t.deposit + t.set_off + t.assessment"""
#: Debts of the statement before that the month's statements do not carry as they are.
CARRIED = """SELECT count(*) FROM (
    SELECT institution_code, scheme, carried FROM settlement_statement
    WHERE pool = %(pool)s AND period = %(month)s) t
FULL JOIN (
    SELECT DISTINCT ON (institution_code, scheme) institution_code, scheme, least(0, payable) AS debt
    FROM settlement_statement WHERE pool = %(pool)s AND period < %(month)s
    ORDER BY institution_code, scheme, period DESC) last USING (institution_code, scheme)
WHERE coalesce(t.carried, 0) <> coalesce(last.debt, 0)"""
LOOSE = """SELECT count(*) FROM settlement_voucher v
JOIN institutions_region r ON r.code = v.region_code
JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 6
WHERE r.policy_region = %(pool)s AND v.period = %(month)s
    AND (v.scheme = '' OR v.institution_code = '')"""

#: Versions settled in a month of the treating region whose insured region does not owe the same.
UNOWED = """SELECT count(*) FROM settlement_settlement s
JOIN institutions_region r ON r.code = s.region_code
LEFT JOIN settlement_voucher v ON v.effect = 'regional:' || s.claim_id || '/' || s.version
LEFT JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 15
WHERE r.policy_region = %(pool)s AND s.period = %(month)s AND s.insured_pool <> ''
    AND coalesce(l.amount, 0) <> -(s.fund + s.account + s.major + s.assistance)"""
#: Vouchers of a month of the insured region that are not what a claim's version says, fund by fund.
UNFOUNDED = """SELECT count(*) FROM settlement_voucher v
JOIN institutions_region r ON r.code = v.region_code
LEFT JOIN settlement_settlement s ON s.claim_id = (v.detail ->> 'claim')::bigint
    AND s.version = (v.detail ->> 'version')::smallint AND s.insured_pool = r.policy_region
LEFT JOIN LATERAL (SELECT
        sum(l.amount) FILTER (WHERE l.account = 1) AS fund,
        sum(l.amount) FILTER (WHERE l.account = 2) AS account,
        sum(l.amount) FILTER (WHERE l.account = 13) AS major,
        sum(l.amount) FILTER (WHERE l.account = 14) AS assistance
    FROM settlement_leg l WHERE l.claim_id = v.id AND l.period = v.period) l ON true
WHERE v.kind = 'regional' AND r.policy_region = %(pool)s AND v.period = %(month)s
    AND (s.fund, s.account, s.major, s.assistance) IS DISTINCT FROM (coalesce(l.fund, 0),
        coalesce(l.account, 0), coalesce(l.major, 0), coalesce(l.assistance, 0))"""

#: Regions whose part of the deductions of a final statement does not stand in both books.
UNRETURNED = """SELECT count(*) FROM (
    SELECT t.id, s.insured_pool AS other, sum(d.amount) AS amount FROM settlement_statement t
    JOIN settlement_deduction d ON d.statement_id = t.id AND d.state <> 'withdrawn'
    JOIN settlement_settlement s ON s.claim_id = d.claim_id AND s.version = 1
    WHERE t.pool = %(pool)s AND t.period = %(month)s AND t.finalised_at IS NOT NULL
        AND s.insured_pool <> '' GROUP BY 1, 2) due
LEFT JOIN LATERAL (SELECT
        coalesce(-sum(l.amount) FILTER (WHERE r.policy_region = %(pool)s
            AND v.detail ->> 'other' = other), 0) AS here,
        coalesce(sum(l.amount) FILTER (WHERE r.policy_region = other), 0) AS there
    FROM settlement_voucher v JOIN institutions_region r ON r.code = v.region_code
    JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 15
    WHERE v.kind = 'deduction' AND v.subject = 'statement:' || due.id) posted ON true
WHERE (here, there) IS DISTINCT FROM (amount, amount)"""

#: Adjustments of claims that another region paid, of which the other book has nothing or another amount.
UNPAIRED = """SELECT count(*) FROM settlement_voucher v
JOIN institutions_region r ON r.code = v.region_code
JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 15
WHERE v.kind = 'adjustment' AND r.policy_region = %(pool)s AND v.period = %(month)s AND NOT EXISTS (
    SELECT FROM settlement_voucher o JOIN institutions_region q ON q.code = o.region_code
    JOIN settlement_leg m ON m.claim_id = o.id AND m.period = o.period AND m.account = 15
    WHERE o.kind = 'adjustment' AND o.subject = v.subject AND m.amount = -l.amount
        AND q.policy_region = v.detail ->> 'other')"""


#: The accounts that pay claims: 统筹、个人账户、大病、救助、异地清算.
PAYERS = (1, 2, 13, 14, 15)


def differences(period: Period) -> list[str]:
    """Where settlements, ledger and statements of a month do not agree; must be empty.

    Σ settlements = Σ legs by account = Σ statements, institution by institution and scheme by scheme;
    what a statement carries is what the one before owed.
    """
    given: dict[str, Any] = {"pool": period.pool, "month": period.month}
    found = []
    with connection.cursor() as cursor:
        cursor.execute(SETTLED, given)
        settled = {row[:2]: row[2:] for row in cursor.fetchall()}
        cursor.execute(CLAIM_LEGS, given)
        legs = dict(cursor.fetchall())
        cursor.execute(VOUCHERS, given)
        wrong = cursor.fetchone()[0]
        cursor.execute(CARRIED, given)
        uncarried = cursor.fetchone()[0]
        cursor.execute(LOOSE, given)
        loose = cursor.fetchone()[0]
    statements = {
        (row.institution_code, row.scheme): (row.fund, row.account)
        for row in Statement.objects.filter(pool=period.pool, period=period.month)
    }
    for key in sorted(settled.keys() | statements.keys()):
        due, have = settled.get(key, (0, 0))[:2], statements.get(key, (0, 0))
        if due != have:
            found.append(f"机构{key[0]}（{key[1]}）结算明细与结算单不符：{due}，{have}")
    sums = [sum(column) for column in zip(*settled.values(), strict=True)] or [0] * 4
    owed, account, persons, cash = sums
    payers = sum(legs.get(number, 0) for number in PAYERS)
    book = (payers, -legs.get(6, 0), -legs.get(16, 0), -legs.get(7, 0))
    want = (owed + account + persons, owed + account, persons, cash)
    if book != want:
        found.append(f"结算明细与总账不符：{want}，{book}")
    if wrong:
        found.append(f"{wrong}张结算单的凭证与其金额不符")
    if uncarried:
        found.append(f"{uncarried}家机构的上期结转与其上一张结算单的应付不符")
    if loose:
        found.append(f"{loose}张凭证记入应付医疗机构，却没有机构或险种")
    return [*found, *_between_regions(given)]


def _between_regions(given: dict[str, Any]) -> list[str]:
    """What does not stand in both books alike; another region's rows are counted."""
    found = []
    with scoped(EVERYTHING), connection.cursor() as cursor:
        for statement, words in (
            (UNOWED, "笔异地结算在参保地没有相同金额的清算凭证"),
            (UNFOUNDED, "张异地清算凭证与就医地的结算不符"),
            (UNRETURNED, "笔异地单据的审核扣款没有在两地记相同金额的凭证"),
            (UNPAIRED, "张异地单据的特殊调整凭证没有在两地记相同金额"),
        ):
            cursor.execute(statement, given)
            if count := cursor.fetchone()[0]:
                found.append(f"{count}{words}")
    return found


def totals_of(period: Period) -> dict[str, Any]:
    """The canonical totals of a month (fen): claims by account, claims and vouchers by scheme and account,
    statements by step, what stays held."""
    rows = Statement.objects.filter(pool=period.pool, period=period.month)
    names = ("claims", "reversals", "held_claims", "fee", "held", "fund", "account", "declared",
             "deducted", "deposit", "set_off", "assessment", "adjustments", "carried", "payable")  # fmt: skip
    sums = rows.aggregate(**{name: Sum(name) for name in names})
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_LEGS, {"pool": period.pool, "month": period.month})
        legs = {str(account): amount for account, amount in cursor.fetchall()}
        cursor.execute(SCHEME_LEGS, {"pool": period.pool, "month": period.month})
        schemes: dict[str, dict[str, int]] = {}
        for scheme, account, amount in cursor.fetchall():
            schemes.setdefault(scheme, {})[str(account)] = amount
    return {
        "pool": period.pool, "month": f"{period.month:%Y-%m}", "statements": rows.count(),
        "legs": legs, "schemes": schemes, **{name: int(sums[name] or 0) for name in names},
    }  # fmt: skip


def held_claims(period: Period) -> QuerySet[Settlement]:
    """The claims of the month that still wait for a person: they stay held and are listed.

    Whichever version holds them, it is the claim's last: what was settled anew or reversed since is not.
    """
    later = Settlement.objects.filter(
        claim_id=OuterRef("claim_id"), version__gt=OuterRef("version")
    )
    return Settlement.objects.filter(
        ~Exists(later), region_code__in=region_codes(period.pool), period=period.month, held__gt=0
    )


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


# --- Names ---


def subject_of(period: Period) -> str:
    """What the trail calls a month."""
    return f"period:{period.pool}:{period.month:%Y-%m}"


def region_codes(pool: str) -> list[str]:
    """The area codes of a pooling region."""
    return list(Region.objects.filter(policy_region=pool).values_list("code", flat=True))


def region_code_of(pool: str) -> str:
    """The code under which acts on the whole pool are recorded: its highest area."""
    return min(region_codes(pool), default="")


#: The months of a pool move one at a time: each looks at those before and after it.
ORDER = "SELECT pg_advisory_xact_lock(hashtext('periods ' || %s), 0)"
LOCK = "SELECT pg_advisory_xact_lock(hashtext('period ' || %s), %s - date '2000-01-01')"


def in_turn(pool: str) -> None:
    """No month of the pool begins, ends or is opened again until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(ORDER, [pool])


def locked(pool: str, month: dt.date) -> Period:
    """The month's row, made if absent, locked with the key that postings share. Lock before row."""
    if not Region.objects.filter(policy_region=pool).exists():
        raise Refusal(404, "NOT_FOUND", ("没有此统筹区", "no such pooling region"))
    in_turn(pool)
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [pool, month])
    Period.objects.bulk_create([Period(pool=pool, month=month)], ignore_conflicts=True)
    return Period.objects.select_for_update().get(pool=pool, month=month)


def record(period: Period, action: str, *, by: str, at: dt.datetime, detail: dict) -> None:
    """The event of an act on a month."""
    trail.record(by=by, at=at, action=action, subject=subject_of(period),
                 region_code=region_code_of(period.pool), detail=detail)  # fmt: skip
