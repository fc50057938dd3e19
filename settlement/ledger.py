"""Writing settled claims: results and balanced legs in one statement; does it all balance?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection

from pricing.rules import CODES
from settlement.kernel import PAYABLE, Results, State
from settlement.posting import STATES, Posted

TOTALS = (
    "fee", "in_scope", "over_cap", "out_of_scope", "held", "fund", "account", "cash", "hospital",
    "deductible",
)  # fmt: skip
RESULT = (
    "decision", "reason", "check_no", "flags", "fee", "in_scope", "over_cap", "overcharge",
    "deductible", "fund",
)  # fmt: skip

#: Claim, lines, settlement, line results, legs, accumulator and the stored answer: all or nothing.
STORE = """WITH number AS (
    INSERT INTO settlement_claimkey (institution_code, claim_no, claim_id)
    VALUES (%(institution)s, %(claim_no)s, %(id)s)
), claim AS (
    INSERT INTO settlement_claim (id, period, region_code, institution_code, claim_no, person_id,
        service_date, fee, facts, encounter_id, encounter_key, shard, received_at, received_by,
        document)
    VALUES (%(id)s, %(period)s, %(region)s, %(institution)s, %(claim_no)s, %(person)s,
        %(day)s, %(fee)s, %(facts)s,
        %(encounter_id)s, %(encounter_key)s, %(shard)s, %(at)s, %(by)s, %(document)s::jsonb)
), lines AS (
    INSERT INTO settlement_claimline (claim_id, period, region_code, institution_code, line_no,
        service, item_code, service_type, quantity, unit_price, fee, prescription_no, trace_codes)
    SELECT %(id)s, %(period)s, %(region)s, %(institution)s, l.line_no, l.service,
        l.item_code, l.service_type, l.quantity,
        l.unit_price, l.fee, l.prescription_no, string_to_array(l.trace_codes, ',')
    FROM unnest(%(line_no)s::smallint[], %(service)s::smallint[], %(item_code)s::text[],
        %(service_type)s::text[], %(quantity)s::bigint[], %(unit_price)s::bigint[],
        %(line_fee)s::bigint[], %(prescription_no)s::text[], %(trace_codes)s::text[])
        AS l (line_no, service, item_code, service_type, quantity, unit_price, fee, prescription_no,
              trace_codes)
), answer AS (
    UPDATE settlement_idempotencykey SET status = %(status)s, answer = %(answer)s
    WHERE institution_code = %(institution)s AND key = %(key)s
), """

#: The money of one version of a claim.
POST = """settled AS (
    INSERT INTO settlement_settlement (claim_id, version, state, period, region_code,
        institution_code, person_id, scheme, year, service_date, TOTAL_NAMES, example,
        settled_at, settled_by,
        reason)
    VALUES (%(id)s, %(version)s, %(state)s, %(period)s, %(region)s, %(institution)s,
        %(person)s, %(scheme)s, %(year)s, %(day)s,
        TOTAL_VALUES, %(example)s, %(at)s, %(by)s, %(reason)s)
), results AS (
    INSERT INTO settlement_lineresult (claim_id, version, period, region_code, institution_code,
        release_id, parameters_id, line_no, RESULT_NAMES)
    SELECT %(id)s, %(version)s, %(period)s, %(region)s, %(institution)s, %(release)s,
        %(parameters)s, r.*
    FROM unnest(%(result_line)s::smallint[],
        RESULT_VALUES) r
), legs AS (
    INSERT INTO settlement_leg (claim_id, version, period, region_code, institution_code, account,
        amount)
    SELECT %(id)s, %(version)s, %(period)s, %(region)s, %(institution)s, l.*
    FROM unnest(%(leg_account)s::smallint[], %(leg_amount)s::bigint[]) l
)
UPDATE settlement_accumulator SET
    deductible_used = deductible_used + %(deductible)s,
    in_scope_used = in_scope_used + %(in_scope)s,
    fund_used = fund_used + %(fund)s,
    account_left = account_left - %(account)s
WHERE id = %(accumulator)s"""
for _mark, _names in {
    "TOTAL_NAMES": TOTALS,
    "TOTAL_VALUES": [f"%({name})s" for name in TOTALS],
    "RESULT_NAMES": RESULT,
    "RESULT_VALUES": [f"%(result_{name})s::bigint[]" for name in RESULT],
}.items():
    POST = POST.replace(_mark, ", ".join(_names))


#: Inserted when absent, locked, then read, by statements of their own: the last sees what was
#: committed while this one waited for the lock.
LOCK = """INSERT INTO settlement_accumulator (person_id, year, scheme, deductible_used,
        in_scope_used, fund_used, account_left, region_code)
    VALUES (%(person)s, %(year)s, %(scheme)s, 0, 0, 0, %(balance)s, %(region)s)
    ON CONFLICT (person_id, year, scheme) DO NOTHING;
SELECT 1 FROM settlement_accumulator
    WHERE person_id = %(person)s AND year = %(year)s AND scheme = %(scheme)s FOR UPDATE;
SELECT a.id, a.deductible_used, a.in_scope_used, a.fund_used, a.account_left,
    EXISTS (SELECT FROM settlement_claim
        WHERE encounter_key = %(encounter_key)s AND person_id = %(person)s)
FROM settlement_accumulator a
WHERE a.person_id = %(person)s AND a.year = %(year)s AND a.scheme = %(scheme)s"""

#: Asked only where the encounter has earlier claims: planning it touches every partition.
PRIOR_ITEMS = """WITH earlier AS MATERIALIZED (
    SELECT id, period FROM settlement_claim
    WHERE encounter_key = %(encounter_key)s AND person_id = %(person)s)
SELECT coalesce(array_agg(l.item_code), '{}')
FROM earlier c CROSS JOIN LATERAL (
    SELECT line_no, item_code FROM settlement_claimline
    WHERE claim_id = c.id AND period = c.period AND service = %(consult)s OFFSET 0) l
WHERE EXISTS (SELECT FROM settlement_lineresult
        WHERE claim_id = c.id AND version = 1 AND line_no = l.line_no AND decision IN (0, 2)
        OFFSET 0)
    AND NOT EXISTS (SELECT FROM settlement_settlement
        WHERE claim_id = c.id AND version = 2 OFFSET 0)"""


@dataclass
class Locked:
    """A locked person-year (fen) and the consultation items charged before in the encounter."""

    id: int
    deductible_used: int
    in_scope_used: int
    fund_used: int
    account_left: int
    prior_items: list[str]

    def state(self) -> State:
        """The person-year as the kernel folds it."""
        used = (self.deductible_used, self.in_scope_used, self.fund_used)
        return State(*(np.array([amount], np.int64) for amount in used))


def lock_year(**given: Any) -> Locked:
    """Lock a person-year until the transaction ends; a new one starts with the person's balance."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK, given)
        key, deductible, in_scope, fund, account, earlier = cursor.fetchone()
        prior: list[str] = []
        if earlier:
            cursor.execute(PRIOR_ITEMS, given)
            prior = cursor.fetchone()[0]
        return Locked(key, deductible, in_scope, fund, account, prior)


def totals_of(posted: Posted, i: int = 0) -> dict[str, int]:
    """The totals of one claim, in fen."""
    return {name: int(getattr(posted, name)[i]) for name in TOTALS}


def money(posted: Posted, results: Results, line_numbers: Sequence[int], scheme: int) -> dict:
    """What POST needs of the first version of one claim."""
    return {
        "version": 1,
        "state": STATES[posted.state[0]],
        "scheme": CODES["scheme"][scheme],
        "example": bool(posted.example[0]),
        "reason": "",
        "result_line": list(line_numbers),
        "leg_account": posted.leg_account.tolist(),
        "leg_amount": posted.leg_amount.tolist(),
        **totals_of(posted),
        **{f"result_{name}": getattr(results, name).tolist() for name in RESULT},
    }


def store(values: Mapping[str, Any]) -> None:
    """Insert a received claim with its first settlement; `values` fill STORE and POST."""
    with connection.cursor() as cursor:
        cursor.execute(STORE + POST, {**values, "document": json.dumps(values["document"])})


def reverse(values: Mapping[str, Any]) -> None:
    """Insert the negative second version of a claim and restore its person-year."""
    with connection.cursor() as cursor:
        cursor.execute("WITH " + POST, dict(values))


def negated(settled: Mapping[str, Any], results: Results, line_numbers: Sequence[int],
            legs: Sequence[tuple[int, int]]) -> dict:  # fmt: skip
    """What POST needs of the reversal: all amounts with the other sign, payable lines only."""
    paid = np.flatnonzero(results.decision == PAYABLE)
    amounts = ("fee", "in_scope", "over_cap", "overcharge", "deductible", "fund")
    return {
        "version": 2,
        "state": STATES[-1],
        **{name: -settled[name] for name in TOTALS},
        "result_line": [line_numbers[int(i)] for i in paid],
        "leg_account": [account for account, _ in legs],
        "leg_amount": [-amount for _, amount in legs],
        **{
            f"result_{name}": [
                int(value) * (-1 if name in amounts else 1)
                for value in getattr(results, name)[paid]
            ]
            for name in RESULT
        },
    }


@dataclass(frozen=True)
class Balance:
    """Sums of legs by account (fen) and what disagrees: all must be empty or zero."""

    accounts: dict[int, int]
    unbalanced: int
    wrong_fund: int
    wrong_years: int

    @property
    def sound(self) -> bool:
        return not (
            sum(self.accounts.values()) or self.unbalanced or self.wrong_fund or self.wrong_years
        )


BALANCE = """WITH legs AS (
    SELECT claim_id, version, sum(amount) AS rest,
        sum(amount) FILTER (WHERE account = 1) AS fund FROM settlement_leg GROUP BY 1, 2
), years AS (
    SELECT person_id, year, scheme, sum(fund) AS fund, sum(in_scope) AS in_scope,
        sum(deductible) AS deductible FROM settlement_settlement GROUP BY 1, 2, 3
)
SELECT (SELECT count(*) FROM legs WHERE rest <> 0),
    (SELECT count(*) FROM settlement_settlement s LEFT JOIN legs USING (claim_id, version)
        WHERE s.fund <> coalesce(legs.fund, 0)),
    (SELECT count(*) FROM years FULL JOIN settlement_accumulator a USING (person_id, year, scheme)
        WHERE coalesce(a.fund_used, 0) <> coalesce(years.fund, 0)
            OR coalesce(a.in_scope_used, 0) <> coalesce(years.in_scope, 0)
            OR coalesce(a.deductible_used, 0) <> coalesce(years.deductible, 0))"""


def balance() -> Balance:
    """Is money conserved? The ledger is the truth; accumulators and totals are compared with it.

    Run where every row is visible (scope `*`): a person-year spans institutions.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT account, sum(amount)::bigint FROM settlement_leg GROUP BY 1 ORDER BY 1"
        )
        accounts = dict(cursor.fetchall())
        cursor.execute(BALANCE)
        return Balance(accounts, *cursor.fetchone())
