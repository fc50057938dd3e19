"""机构月结算单: made for all institutions by one statement of SQL, checked against the ledger, made final.

Order of the chain and its rounding (docs/decisions/statements.md): deposit and assessment are shares of
what the fund pays after deductions, half up; the set-off takes up to its share of what then remains;
the rest is payable, so the parts always add up. (温医保办〔2021〕6号 十八、二十一、二十四)
"""

import calendar
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from agreements.models import Assessment
from audit import clock, trail
from institutions.models import Institution
from settlement import advances, regional_deductions
from settlement.models import Leg, Period, Statement, Voucher
from settlement.terms import CONFIRMATION, DEPOSIT, SET_OFF, WHOLE, Terms, cite, ratio, terms_of
from settlement.vouchers import post_voucher

Kind, Account = Voucher.Kind, Leg.Account
#: The steps that post: column, voucher, the account beside 应付医疗机构.
POSTED = (
    ("deducted", Kind.DEDUCTION, Account.DEDUCTION),
    ("deposit", Kind.DEPOSIT, Account.DEPOSIT),
    ("set_off", Kind.SET_OFF, Account.ADVANCE),
    ("assessment", Kind.ASSESSMENT, Account.ASSESSMENT),
)
#: Vouchers that are steps of a statement or its payment; every other one on 应付医疗机构 is 特殊调整.
OWN = (*(kind for _, kind, _ in POSTED), Kind.PAYMENT, Kind.BANK_RETURN)
FIGURES = (
    "claims", "reversals", "held_claims", "fee", "held", "fund", "account", "declared", "deducted",
    "deposit", "set_off", "assessment", "adjustments", "carried", "payable", "deposit_ratio",
    "set_off_ratio", "coefficient",
)  # fmt: skip

#: Whoever has claims, adjustments, a deduction that waits, or a debt from the month before. A claim that
#: the agency entered for a person's request costs the institution nothing; what it was cut is given back.
KEYS = """WITH area AS (SELECT code FROM institutions_region WHERE policy_region = %(pool)s)
SELECT institution_code, scheme, max(region_code) FROM (
    SELECT institution_code, scheme, region_code FROM settlement_settlement
    WHERE period = %(month)s AND region_code IN (SELECT code FROM area)
        AND claim_id NOT IN (SELECT claim_id FROM settlement_enteredclaim)
    UNION ALL
    SELECT v.institution_code, v.scheme, v.region_code FROM settlement_voucher v
    JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 6
    WHERE v.period = %(month)s AND v.region_code IN (SELECT code FROM area)
        AND v.kind <> ALL(%(own)s) AND v.institution_code <> '' AND v.scheme <> ''
    UNION ALL
    SELECT d.institution_code, d.scheme, d.region_code FROM settlement_deduction d
    WHERE d.statement_id IS NULL AND d.state <> 'withdrawn'
        AND d.region_code IN (SELECT code FROM area)
        AND EXISTS (SELECT FROM settlement_settlement s
            WHERE s.claim_id = d.claim_id AND s.period <= %(month)s)
        AND (d.amount < 0 OR d.claim_id NOT IN (SELECT claim_id FROM settlement_enteredclaim))
    UNION ALL
    SELECT institution_code, scheme, region_code FROM (
        SELECT DISTINCT ON (institution_code, scheme) institution_code, scheme, region_code, payable
        FROM settlement_statement WHERE pool = %(pool)s AND period < %(month)s
        ORDER BY institution_code, scheme, period DESC) last
    WHERE payable < 0
) k GROUP BY 1, 2 ORDER BY 1, 2"""

#: A claim reversed (or settled anew for less) after it was cut: what was cut too much of a payer's part is
#: given back.
GIVE_BACK = """INSERT INTO settlement_deduction (region_code, institution_code, scheme, claim_id,
    amount, major, assistance, account, reason, note, clause, state, made_at, made_by, dispute, answer,
    answered_by)
SELECT d.region_code, d.institution_code, d.scheme, d.claim_id,
    back.fund + back.major + back.assistance + back.account, back.major, back.assistance, back.account,
    'returned', '单据已冲正或重新结算，原扣款多扣部分退回', d.clause, 'made', %(at)s, %(by)s, '', '', ''
FROM (SELECT claim_id, scheme, max(region_code) AS region_code, max(clause) AS clause,
        max(institution_code) AS institution_code,
        sum(amount - major - assistance - account) AS fund, sum(major) AS major,
        sum(assistance) AS assistance, sum(account) AS account
    FROM settlement_deduction WHERE state <> 'withdrawn'
        AND (amount < 0 OR statement_id IS NOT NULL
            OR claim_id NOT IN (SELECT claim_id FROM settlement_enteredclaim))
    GROUP BY claim_id, scheme) d
JOIN institutions_region r ON r.code = d.region_code AND r.policy_region = %(pool)s
CROSS JOIN LATERAL (SELECT least(sum(s.fund) - d.fund, 0) AS fund, least(sum(s.major) - d.major, 0) AS major,
        least(sum(s.assistance) - d.assistance, 0) AS assistance,
        least(sum(s.account) - d.account, 0) AS account FROM settlement_settlement s
    WHERE s.claim_id = d.claim_id AND s.period <= %(month)s) back
WHERE back.fund + back.major + back.assistance + back.account < 0"""

ASSIGN = """UPDATE settlement_deduction d SET statement_id = t.id FROM settlement_statement t
WHERE d.statement_id IS NULL AND d.state <> 'withdrawn' AND t.id = ANY(%(ids)s)
    AND t.institution_code = d.institution_code AND t.scheme = d.scheme
    AND EXISTS (SELECT FROM settlement_settlement s
        WHERE s.claim_id = d.claim_id AND s.period <= t.period)
    AND (d.amount < 0 OR d.claim_id NOT IN (SELECT claim_id FROM settlement_enteredclaim))"""

#: Every sum is made before it is joined: one row per statement on each side of every join.
COMPUTE = """WITH mine AS (
    SELECT id, institution_code, scheme FROM settlement_statement WHERE id = ANY(%(ids)s)
), claims AS (
    SELECT s.institution_code, s.scheme,
        count(*) FILTER (WHERE s.version %% 2 = 1) AS claims,
        count(*) FILTER (WHERE s.version %% 2 = 0) AS reversals,
        count(*) FILTER (WHERE s.held > 0) - count(*) FILTER (WHERE s.held < 0) AS held_claims,
        sum(s.fee)::bigint AS fee, sum(s.held)::bigint AS held,
        (coalesce(-sum(o.amount), 0) - sum(s.account))::bigint AS fund,
        sum(s.account)::bigint AS account, bool_or(s.example) AS example
    FROM settlement_settlement s
    LEFT JOIN settlement_leg o ON o.claim_id = s.claim_id AND o.version = s.version
        AND o.period = s.period AND o.account = 6  -- owed to the person instead: 手工报销
    WHERE s.period = %(month)s AND (s.institution_code, s.scheme) IN (
        SELECT institution_code, scheme FROM mine)
        AND s.claim_id NOT IN (SELECT claim_id FROM settlement_enteredclaim)
    GROUP BY 1, 2
), taken AS (
    SELECT statement_id, sum(amount)::bigint AS amount, sum(account)::bigint AS account
    FROM settlement_deduction
    WHERE statement_id = ANY(%(ids)s) AND state <> 'withdrawn' GROUP BY 1
), adjusted AS (
    SELECT v.institution_code, v.scheme, -sum(l.amount)::bigint AS amount
    FROM settlement_voucher v JOIN settlement_leg l
        ON l.claim_id = v.id AND l.period = v.period AND l.account = 6
    WHERE v.period = %(month)s AND v.kind <> ALL(%(own)s) GROUP BY 1, 2
), last AS (
    SELECT DISTINCT ON (t.institution_code, t.scheme) t.institution_code, t.scheme,
        least(0, t.payable) AS amount
    FROM settlement_statement t JOIN mine USING (institution_code, scheme)
    WHERE t.period < %(month)s ORDER BY 1, 2, t.period DESC
), advanced AS (
    SELECT * FROM unnest(%(advanced)s::text[], %(schemes)s::text[], %(advances)s::bigint[])
        AS a (institution_code, scheme, amount)
), assessed AS (
    SELECT * FROM unnest(%(assessed)s::text[], %(coefficients)s::int[])
        AS a (institution_code, coefficient)
), sums AS (
    SELECT m.id, coalesce(c.claims, 0) AS claims, coalesce(c.reversals, 0) AS reversals,
        coalesce(c.held_claims, 0) AS held_claims, coalesce(c.fee, 0) AS fee,
        coalesce(c.held, 0) AS held, coalesce(c.fund, 0) AS fund,
        coalesce(c.account, 0) AS account, coalesce(c.example, false) AS example,
        coalesce(t.amount, 0) AS deducted, coalesce(j.amount, 0) AS adjustments,
        coalesce(l.amount, 0) AS carried, greatest(coalesce(v.amount, 0), 0) AS advance,
        coalesce(a.coefficient, %(whole)s) AS coefficient,
        greatest(coalesce(c.fund, 0) - coalesce(t.amount - t.account, 0), 0) AS base
    FROM mine m
    LEFT JOIN claims c USING (institution_code, scheme)
    LEFT JOIN taken t ON t.statement_id = m.id
    LEFT JOIN adjusted j USING (institution_code, scheme)
    LEFT JOIN last l USING (institution_code, scheme)
    LEFT JOIN advanced v USING (institution_code, scheme)
    LEFT JOIN assessed a USING (institution_code)
), shares AS (
    SELECT *, (2 * base * %(deposit)s + %(whole)s) / (2 * %(whole)s) AS deposit,
        (2 * base * (%(whole)s - coefficient) + %(whole)s) / (2 * %(whole)s) AS cut
    FROM sums
), rests AS (
    SELECT *, least(cut, base - deposit) AS assessment,
        fund + account - deducted - deposit - least(cut, base - deposit) + adjustments + carried
            AS rest
    FROM shares
), done AS (
    SELECT *, least(advance, (2 * greatest(rest, 0) * %(set_off)s + %(whole)s) / (2 * %(whole)s))
        AS set_off
    FROM rests
)
UPDATE settlement_statement t SET claims = d.claims, reversals = d.reversals,
    held_claims = d.held_claims, fee = d.fee, held = d.held, fund = d.fund, account = d.account,
    declared = d.fund + d.account, deducted = d.deducted, deposit = d.deposit,
    set_off = d.set_off, assessment = d.assessment, adjustments = d.adjustments,
    carried = d.carried, payable = d.rest - d.set_off, coefficient = d.coefficient,
    deposit_ratio = %(deposit)s, set_off_ratio = %(set_off)s,
    example = d.example OR %(example)s OR t.institution_code = ANY(%(examples)s)
FROM done d WHERE t.id = d.id"""


@transaction.atomic
def make(*, period: Period, by: str, at: dt.datetime) -> int:
    """Make or bring up to date the drafts of a month that is closing; how many statements it has."""
    given: dict[str, Any] = {
        "pool": period.pool, "month": period.month, "own": [kind.value for kind in OWN]
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(GIVE_BACK, given | {"at": at, "by": by})
        cursor.execute(KEYS, given)
        keys = cursor.fetchall()
    Statement.objects.bulk_create(
        (
            Statement(
                institution_code=institution, scheme=scheme, region_code=region, pool=period.pool,
                period=period.month, procedure="statement", state="draft", opened_at=at,
                opened_by=by, entered_on=clock.local(at).date(),
            )
            for institution, scheme, region in keys
        ),
        ignore_conflicts=True,
    )  # fmt: skip
    rows = Statement.objects.filter(pool=period.pool, period=period.month)
    compute(rows.filter(state="draft"))
    count = rows.count()
    trail.record(
        by=by, at=at, action="statements.make", subject=f"period:{period.pool}:{period.month:%Y-%m}",
        region_code=min((region for _, _, region in keys), default=""),
        detail={"statements": count},
    )  # fmt: skip
    return count


def compute(rows: Iterable[Statement], *, take: bool = True) -> None:
    """The figures of statements of one month, from the ledger and the region's terms.

    `take`: deductions that stand on no statement yet are taken into these.
    """
    wanted = list(rows)
    if not wanted:
        return
    first, ids = wanted[0], [row.pk for row in wanted]
    codes = {row.institution_code for row in wanted}
    terms = terms_of(first.pool, last_day(first.period))
    assessed = coefficients(codes, first.period.year - 1)
    advanced = advances.free(codes, besides=ids)
    used = [terms[key] for key in (DEPOSIT, SET_OFF) if key in terms]
    given: dict[str, Any] = {
        "ids": ids, "month": first.period, "whole": WHOLE,
        "own": [kind.value for kind in OWN], "deposit": ratio(terms, DEPOSIT),
        "set_off": ratio(terms, SET_OFF), "example": any(term.example for term in used),
        "assessed": list(assessed), "coefficients": [one.coefficient for one in assessed.values()],
        "examples": [code for code, one in assessed.items() if one.example],
        "advanced": [code for code, _ in advanced], "schemes": [scheme for _, scheme in advanced],
        "advances": list(advanced.values()),
    }  # fmt: skip
    with connection.cursor() as cursor:
        if take:
            cursor.execute(ASSIGN, given)
        cursor.execute(COMPUTE, given)
    basis = basis_of(first.pool, first.period, terms)
    Statement.objects.filter(pk__in=ids).update(basis=basis)


def coefficients(codes: set[str], year: int) -> dict[str, Assessment]:
    """Institution → the known result of a year that sets its coefficient; an internet hospital
    without one has its parent's. Example results count only where examples are allowed.
    """
    parents = dict(
        Institution.objects.filter(pk__in=codes, parent__isnull=False).values_list(
            "pk", "parent_id"
        )
    )
    known = Assessment.objects.filter(
        year=year, superseded_at__isnull=True, institution__in=codes | set(parents.values())
    )
    found = {
        row.institution_id: row for row in known if settings.EXAMPLE_PARAMETERS or not row.example
    }
    results = {code: found.get(code) or found.get(parents.get(code, "")) for code in codes}
    return {code: row for code, row in results.items() if row is not None}


def basis_of(pool: str, month: dt.date, terms: Terms) -> dict[str, Any]:
    """What stands behind each step: label, clause, example; kept with the statement."""
    day = last_day(month)
    clauses = {"declared": "二十四", "deducted": "二十四", "assessment": "二十一"}
    basis: dict[str, Any] = {
        step: {"clause": found}
        for step, name in clauses.items()
        if (found := cite(pool, day, name))
    }
    for step, key in (("deposit", DEPOSIT), ("set_off", SET_OFF), ("confirmation", CONFIRMATION)):
        if term := terms.get(key):
            basis[step] = {"clause": term.reference, "label": term.label, "example": term.example}
    return basis


def last_day(month: dt.date) -> dt.date:
    """The last day of a month."""
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


# --- Money ---


def finalise(statement: Statement, *, by: str, approved_by: str, at: dt.datetime) -> None:
    """Post the steps of a statement, each once in this edition; 应付 is what the ledger then owes.

    A step below zero (deductions given back) is posted the other way round. What is deducted of claims
    that another region paid goes back there.
    """
    elsewhere = regional_deductions.shares(statement)
    for column, kind, account in POSTED:
        basis = statement.basis.get(column, {})
        clause = basis.get("clause", {})
        given: dict[str, Any] = {
            "kind": kind, "effect": f"statement:{statement.pk}/{kind.value}/{statement.edition}",
            "subject": statement.subject, "scheme": statement.scheme,
            "reason": f"{statement.number} {statement.period:%Y年%m月}{kind.label}",
            "clause": f"{clause['document']} {clause['clause']}" if clause else "",
            "detail": {"period": f"{statement.period:%Y-%m}", "step": column,
                       "example": bool(basis.get("example"))},
            "by": by, "approved_by": "" if approved_by == by else approved_by, "at": at,
        }  # fmt: skip
        amount = getattr(statement, column)
        if kind == Kind.DEDUCTION:
            amount -= sum(elsewhere.values())
            regional_deductions.post(statement, elsewhere, **given)
        if amount:
            post_voucher(
                legs={Account.INSTITUTION_PAYABLE: amount, account: -amount},
                region_code=statement.region_code, institution_code=statement.institution_code,
                **given,
            )  # fmt: skip


def posted_for(statement: Statement) -> Sequence[Voucher]:
    """The vouchers of a statement's steps that are in force: not reversed, no reversals."""
    return list(
        Voucher.objects.filter(
            subject=statement.subject, reverses__isnull=True, reversed_by__isnull=True,
            kind__in=[kind for _, kind, _ in POSTED],
        ).order_by("pk")
    )  # fmt: skip


PAID = """SELECT v.subject, sum(l.amount)::bigint FROM settlement_voucher v
JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 6
WHERE v.subject = ANY(%s) AND v.kind IN ('payment', 'bank_return') GROUP BY 1"""


def paid_of(statements: Iterable[Statement]) -> Mapping[int, int]:
    """Statement → 实付 (fen): payments less what the bank returned, from the ledger."""
    subjects = {row.subject: row.pk for row in statements}
    with connection.cursor() as cursor:
        cursor.execute(PAID, [list(subjects)])
        return {subjects[subject]: amount for subject, amount in cursor.fetchall()}


def paid_in(period: Period) -> int:
    """What was paid for the statements of a month (fen)."""
    rows = Statement.objects.filter(pool=period.pool, period=period.month)
    return sum(paid_of(rows).values())


def seen_by(user: Any) -> Any:
    """Statements in a user's scope; an institution sees them once they are sent to it."""
    rows = Statement.objects.visible_to(user)
    return rows.exclude(Q(state="draft")) if user.institution_id else rows
