"""Writing settled claims: results and balanced legs in one statement; does it all balance?"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from django.db import connection

from audit import prepared, trail
from pricing.rules import CODES
from settlement import regional
from settlement.kernel import Results, State
from settlement.models import Leg
from settlement.posting import RESULT, STATES, TOTALS, Posted

#: Line results that are no amounts: a reversal keeps their sign.
CODED = ("decision", "reason", "check_no", "flags", "drug_list")
#: What a person-year counts: its column, and the totals of a claim: the first, less the others.
COUNTED = {
    "deductible_used": ("deductible",), "in_scope_used": ("in_scope", "first_self_pay"),
    "fund_used": ("fund",), "own_used": ("in_scope", "fund"), "major_used": ("major",),
    "assistance_used": ("assistance",),
}  # fmt: skip

#: Claim, lines, settlement, line results, legs, accumulator, stored answer and event: all or nothing.
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
), event AS (
    EVENT
), """.replace("EVENT", trail.INSERT)

#: The money of one version of a claim.
POST = """settled AS (
    INSERT INTO settlement_settlement (claim_id, version, state, period, region_code,
        institution_code, person_id, scheme, year, service_date, TOTAL_NAMES, example,
        settled_at, settled_by, reason, insured_pool)
    VALUES (%(id)s, %(version)s, %(state)s, %(period)s, %(region)s, %(institution)s,
        %(person)s, %(scheme)s, %(year)s, %(day)s,
        TOTAL_VALUES, %(example)s, %(at)s, %(by)s, %(reason)s, %(insured_pool)s)
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
), drawn AS (
    UPDATE settlement_personalaccount SET account_left = account_left - %(account)s
    WHERE person_id = %(person)s AND %(account)s <> 0
)
UPDATE settlement_accumulator SET YEAR_SUMS
WHERE id = %(accumulator)s"""
for _mark, _names in {
    "TOTAL_NAMES": TOTALS,
    "TOTAL_VALUES": [f"%({name})s" for name in TOTALS],
    "RESULT_NAMES": RESULT,
    "RESULT_VALUES": [f"%(result_{name})s::bigint[]" for name in RESULT],
    "YEAR_SUMS": [
        f"{to} = {to} + " + " - ".join(f"%({name})s" for name in parts)
        for to, parts in COUNTED.items()
    ],
}.items():
    POST = POST.replace(_mark, ", ".join(_names))

#: The next, even version of claims: every amount with the other sign, payable lines only; what the
#: person-years of the claims (their own year and scheme, not today's) had used is given back.
REVERSE = """WITH before AS (
    SELECT s.*, g.posted FROM settlement_settlement s
    JOIN unnest(%(claims)s::bigint[], %(versions)s::smallint[], %(periods)s::date[])
        AS g (claim_id, version, posted) ON s.claim_id = g.claim_id AND s.version = g.version
), reversed AS (
    INSERT INTO settlement_settlement (claim_id, version, state, period, region_code,
        institution_code, person_id, scheme, year, service_date, TOTAL_NAMES, example,
        settled_at, settled_by, reason, insured_pool)
    SELECT claim_id, version + 1, 'reversed', posted, region_code, institution_code, person_id,
        scheme, year, service_date, MINUS_TOTALS, example, %(at)s, %(by)s, %(reason)s, insured_pool
    FROM before
), results AS (
    INSERT INTO settlement_lineresult (claim_id, version, period, region_code, institution_code,
        release_id, parameters_id, line_no, RESULT_NAMES)
    SELECT r.claim_id, r.version + 1, b.posted, r.region_code, r.institution_code, r.release_id,
        r.parameters_id, r.line_no, MINUS_RESULTS
    FROM before b JOIN settlement_lineresult r
        ON r.claim_id = b.claim_id AND r.version = b.version AND r.period = b.period
    WHERE r.decision = 0
), legs AS (
    INSERT INTO settlement_leg (claim_id, version, period, region_code, institution_code, account,
        amount)
    SELECT g.claim_id, g.version + 1, b.posted, g.region_code, g.institution_code, g.account,
        -g.amount
    FROM before b JOIN settlement_leg g
        ON g.claim_id = b.claim_id AND g.version = b.version AND g.period = b.period
), years AS (
    SELECT person_id, year, scheme, YEAR_TOTALS FROM before GROUP BY 1, 2, 3
), drawn AS (
    SELECT person_id, sum(account)::bigint AS back FROM before GROUP BY 1 HAVING sum(account) <> 0
), refilled AS (
    UPDATE settlement_personalaccount p SET account_left = p.account_left + d.back
    FROM drawn d WHERE p.person_id = d.person_id
), years_back AS (
    UPDATE settlement_accumulator a SET YEAR_BACK
    FROM years y WHERE a.person_id = y.person_id AND a.year = y.year AND a.scheme = y.scheme
)
SELECT claim_id, version + 1 FROM before WHERE insured_pool <> ''"""
for _mark, _names in {
    "TOTAL_NAMES": TOTALS,
    "MINUS_TOTALS": [f"-{name}" for name in TOTALS],
    "RESULT_NAMES": RESULT,
    "MINUS_RESULTS": [f"r.{name}" if name in CODED else f"-r.{name}" for name in RESULT],
    "YEAR_TOTALS": [f"sum({' - '.join(parts)})::bigint AS {to}" for to, parts in COUNTED.items()],
    "YEAR_BACK": [f"{to} = a.{to} - y.{to}" for to in COUNTED],
}.items():
    REVERSE = REVERSE.replace(_mark, ", ".join(_names))

#: The version after a reversal: same claim, person-year and day; state, totals, lines, legs are new.
AGAIN = """WITH given AS (
    SELECT * FROM unnest(%(claims)s::bigint[], %(versions)s::smallint[], %(periods)s::date[],
        %(state)s::text[], %(example)s::boolean[], TOTAL_ARRAYS)
        AS g (claim_id, version, posted, new_state, new_example, NEW_TOTALS)
), settled AS (
    INSERT INTO settlement_settlement (claim_id, version, state, period, region_code,
        institution_code, person_id, scheme, year, service_date, TOTAL_NAMES, example,
        settled_at, settled_by, reason, insured_pool)
    SELECT claim_id, s.version + 2, new_state, posted, region_code, institution_code, person_id,
        scheme, year, service_date, NEW_TOTALS, new_example, %(at)s, %(by)s, %(reason)s,
        insured_pool
    FROM given JOIN settlement_settlement s USING (claim_id, version)
    RETURNING claim_id, version, period, region_code, institution_code, person_id, year, scheme,
        insured_pool, account, COUNTED_TOTALS
), results AS (
    INSERT INTO settlement_lineresult (claim_id, version, period, region_code, institution_code,
        line_no, release_id, parameters_id, RESULT_NAMES)
    SELECT s.claim_id, s.version, s.period, s.region_code, s.institution_code, r.line_no,
        r.release_id, r.parameters_id, GIVEN_RESULTS
    FROM unnest(%(line_claim)s::bigint[], %(line_no)s::smallint[], %(release)s::integer[],
        %(parameters)s::integer[], RESULT_ARRAYS)
        AS r (claim_id, line_no, release_id, parameters_id, RESULT_NAMES)
    JOIN settled s ON s.claim_id = r.claim_id
), legs AS (
    INSERT INTO settlement_leg (claim_id, version, period, region_code, institution_code, account,
        amount)
    SELECT s.claim_id, s.version, s.period, s.region_code, s.institution_code, l.account, l.amount
    FROM unnest(%(leg_claim)s::bigint[], %(leg_account)s::smallint[], %(leg_amount)s::bigint[])
        AS l (claim_id, account, amount) JOIN settled s ON s.claim_id = l.claim_id
), years AS (
    SELECT person_id, year, scheme, YEAR_TOTALS FROM settled GROUP BY 1, 2, 3
), drawn AS (
    SELECT person_id, sum(account)::bigint AS taken FROM settled
    GROUP BY 1 HAVING sum(account) <> 0
), taken AS (
    UPDATE settlement_personalaccount p SET account_left = p.account_left - d.taken
    FROM drawn d WHERE p.person_id = d.person_id
), years_used AS (
    UPDATE settlement_accumulator a SET YEAR_USED
    FROM years y WHERE a.person_id = y.person_id AND a.year = y.year AND a.scheme = y.scheme
)
SELECT claim_id, version FROM settled WHERE insured_pool <> ''"""
for _mark, _names in {
    "TOTAL_ARRAYS": [f"%({name})s::bigint[]" for name in TOTALS],
    "NEW_TOTALS": [f"new_{name}" for name in TOTALS],
    "COUNTED_TOTALS": list(dict.fromkeys(name for parts in COUNTED.values() for name in parts)),
    "TOTAL_NAMES": TOTALS,
    "RESULT_ARRAYS": [f"%(result_{name})s::bigint[]" for name in RESULT],
    "GIVEN_RESULTS": [f"r.{name}" for name in RESULT],
    "RESULT_NAMES": RESULT,
    "YEAR_TOTALS": [f"sum({' - '.join(parts)})::bigint AS {to}" for to, parts in COUNTED.items()],
    "YEAR_USED": [f"{to} = a.{to} + y.{to}" for to in COUNTED],
}.items():
    AGAIN = AGAIN.replace(_mark, ", ".join(_names))


#: The person's account is the lock of the person: opened when absent, locked in any case (an ON
#: CONFLICT whose WHERE is false locks and writes nothing). Then the year is opened, then all is read,
#: by a statement of its own: it sees what was committed while the first waited.
LOCK = """INSERT INTO settlement_personalaccount (person_id, account_left, region_code)
    VALUES (%(person)s, %(balance)s, %(area)s)
    ON CONFLICT (person_id) DO UPDATE SET account_left = 0 WHERE false;
INSERT INTO settlement_accumulator (person_id, year, scheme, USED, region_code)
    VALUES (%(person)s, %(year)s, %(scheme)s, ZEROS, %(area)s)
    ON CONFLICT (person_id, year, scheme) DO NOTHING;
SELECT a.scheme <> %(scheme)s AS other, a.id, a.USED, p.account_left,
    EXISTS (SELECT FROM settlement_claim
        WHERE encounter_key = %(encounter_key)s AND person_id = %(person)s), BESIDE
FROM settlement_accumulator a JOIN settlement_personalaccount p USING (person_id)
WHERE a.person_id = %(person)s AND a.year = %(year)s ORDER BY other
FOR NO KEY UPDATE OF a"""
for _mark, _text in {
    "a.USED": ", ".join(f"a.{name}" for name in COUNTED),
    "USED": ", ".join(COUNTED),
    "ZEROS": ", ".join("0" for _ in COUNTED),
}.items():
    LOCK = LOCK.replace(_mark, _text)

#: The lock of persons whose settled claims change: the same lock, in the order of batches.
LOCK_PERSONS = """SELECT person_id FROM settlement_personalaccount
    WHERE person_id = ANY (%s::bigint[]) ORDER BY person_id FOR UPDATE"""


def lock_persons(persons: Sequence[int]) -> None:
    """Lock persons until the transaction ends, before anything of their years is read or locked."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK_PERSONS, [list(persons)])


#: Asked only where the encounter has earlier claims: planning it touches every partition.
PRIOR_ITEMS = """WITH earlier AS MATERIALIZED (
    SELECT id, period FROM settlement_claim
    WHERE encounter_key = %(encounter_key)s AND person_id = %(person)s)
SELECT coalesce(array_agg(l.item_code), '{}')
FROM earlier c CROSS JOIN LATERAL (
    SELECT line_no, item_code FROM settlement_claimline
    WHERE claim_id = c.id AND period = c.period AND service = %(consult)s OFFSET 0) l
WHERE EXISTS (SELECT FROM settlement_lineresult r
        WHERE r.claim_id = c.id AND r.line_no = l.line_no AND r.decision IN (0, 2)
            AND r.version = (SELECT max(version) FROM settlement_settlement
                WHERE claim_id = c.id HAVING max(version) %% 2 = 1) OFFSET 0)"""


@dataclass
class Locked:
    """A locked person-year (fen) and the consultation items charged before in the encounter."""

    id: int
    used: tuple[int, ...]  #: in the order of COUNTED, which is that of the kernel's state
    whole: tuple[int, ...]  #: the same in every scheme of the year
    account_left: int
    prior_items: list[str]
    beside: Any = None  #: what was asked beside it (Entering)

    def state(self) -> State:
        """The person-year as the kernel folds it: of the scheme, then as a whole."""
        return State(
            *(np.array(pair, np.int64) for pair in zip(self.used, self.whole, strict=True))
        )


@dataclass(frozen=True)
class Entering:
    """What is written before the person is locked, and asked as one JSON value beside the year."""

    written: tuple[str, ...]
    asked: str
    given: Mapping[str, Any]


def lock_year(entering: Entering | None = None, **given: Any) -> Locked:
    """Lock a person and the person-year; a new account starts with the balance last reported.

    One round trip, with what the claim is `entering`.
    """
    written, beside = (entering.written, entering.asked) if entering else ((), "NULL")
    with connection.cursor() as cursor:
        values = {**entering.given, **given} if entering else given
        prepared.execute(cursor, (*written, *lock_statements(beside)), values)
        rows = cursor.fetchall()
        _, key, *used, account, earlier, found = rows[0]
        prior: list[str] = []
        if earlier:
            cursor.execute(PRIOR_ITEMS, given)
            prior = cursor.fetchone()[0]
        whole = tuple(map(sum, zip(*(row[2:-3] for row in rows), strict=True)))
        return Locked(key, tuple(used), whole, account, prior, found)


@lru_cache(maxsize=4)
def lock_statements(beside: str = "NULL") -> list[str]:
    """The statements of LOCK; the last also asks for a value of its own."""
    return LOCK.replace("BESIDE", f"({beside})").split(";\n")


def totals_of(posted: Posted, i: int = 0) -> dict[str, int]:
    """The totals of one claim, in fen."""
    return {name: int(getattr(posted, name)[i]) for name in TOTALS}


def money(
    posted: Posted, results: Results, line_numbers: Sequence[int], scheme: int, pool: str = ""
) -> dict:
    """What POST needs of the first version of one claim; `pool` pays for a person insured elsewhere."""
    return {
        "insured_pool": pool if posted.offsite[0] else "",
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
        prepared.execute(
            cursor, STORE + POST, {**values, "document": json.dumps(values["document"])}
        )
    if values["insured_pool"]:
        version = (values["id"], values["version"])
        regional.post([version], by=values["by"], at=values["at"])


def reverse(
    claims: Sequence[tuple[int, int, dt.date]], *, reason: str, by: str, at: dt.datetime
) -> None:
    """Reverse settled versions: (claim, version, month posted to); their person-years are locked."""
    numbers, versions, periods = (list(column) for column in zip(*claims, strict=True))
    given: dict[str, Any] = {"claims": numbers, "versions": versions, "periods": periods, "reason": reason,
             "by": by, "at": at}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(REVERSE, given)
        elsewhere = cursor.fetchall()
    if elsewhere:
        regional.post(elsewhere, by=by, at=at)


def settle_again(values: Mapping[str, Any]) -> None:
    """Post the versions after reversals; `values` fill AGAIN, the person-years are locked."""
    with connection.cursor() as cursor:
        cursor.execute(AGAIN, dict(values))
        elsewhere = cursor.fetchall()
    if elsewhere:
        regional.post(elsewhere, by=values["by"], at=values["at"])


@dataclass(frozen=True)
class Balance:
    """Sums of legs by account (fen) and what disagrees: all must be empty or zero."""

    accounts: dict[int, int]
    unbalanced: int
    wrong_fund: int
    wrong_years: int
    wrong_accounts: int

    @property
    def counts(self) -> dict[str, int]:
        """Everything that must be zero."""
        return {
            "sum": sum(self.accounts.values()),
            "between_regions": self.accounts.get(Leg.Account.REGIONAL_CLEARING, 0),
            "unbalanced": self.unbalanced,
            "wrong_fund": self.wrong_fund,
            "wrong_years": self.wrong_years,
            "wrong_accounts": self.wrong_accounts,
        }

    @property
    def sound(self) -> bool:
        return not any(self.counts.values())

    @property
    def of_itself(self) -> str:
        """What does not agree in the ledger itself, in Chinese; empty when everything does."""
        counts = self.counts
        return _told(
            (counts["sum"], f"借贷相差{counts['sum']}分"),
            (counts["between_regions"], f"地区间清算账户相差{counts['between_regions']}分"),
            (self.unbalanced, f"{self.unbalanced}笔入账借贷不平"),
            (self.wrong_fund, f"{self.wrong_fund}笔结算的基金支付与分录不符"),
        )

    @property
    def sentence(self) -> str:
        """What does not agree, caches included, in Chinese; empty when everything does."""
        told = _told(
            (1, self.of_itself),
            (self.wrong_years, f"{self.wrong_years}个人员年度累计与结算不符"),
            (self.wrong_accounts, f"{self.wrong_accounts}个个人账户余额与账目不符"),
        )
        return told and f"账目自查不符：{told}"


def _told(*parts: tuple[int, str]) -> str:
    return "；".join(text for number, text in parts if number and text)


#: What the ledger makes of person-years and accounts, and those that were remembered otherwise. An account
#: holds what was last reported less what was drawn since: by settlements and back, and by the vouchers of
#: payments to it, their returns and refunds (a payment to the account credits it: less was drawn).
PROVEN = """years AS (
    SELECT person_id, year, scheme, min(region_code) AS region_code, sum(account) AS account, SUMS
    FROM settlement_settlement GROUP BY 1, 2, 3
), drawn AS (
    SELECT person_id, sum(amount) AS amount FROM (
        SELECT person_id, account FROM years
        UNION ALL SELECT person_id, amount FROM settlement_account_postings()) every (person_id, amount)
    GROUP BY 1
), wrong_years AS (
    SELECT person_id, year, scheme, coalesce(a.region_code, years.region_code) AS region_code,
        REMEMBERED, MADE
    FROM years FULL JOIN settlement_accumulator a USING (person_id, year, scheme) WHERE DIFFERENT
), wrong_accounts AS (
    SELECT person_id, p.region_code, a.account_left AS was_account_left,
        p.account_balance + coalesce(a.drawn_before, 0) - coalesce(drawn.amount, 0) AS account_left
    FROM drawn FULL JOIN settlement_personalaccount a USING (person_id)
    LEFT JOIN settlement_insuredperson p ON p.id = person_id
    WHERE CASE WHEN a.person_id IS NULL THEN drawn.amount <> 0 ELSE a.account_left IS DISTINCT FROM
        p.account_balance + a.drawn_before - coalesce(drawn.amount, 0) END
)"""
for _mark, _names in {
    "SUMS": [f"sum({' - '.join(parts)}) AS {to}" for to, parts in COUNTED.items()],
    "REMEMBERED": [f"coalesce(a.{name}, 0) AS was_{name}" for name in COUNTED],
    "MADE": [f"coalesce(years.{name}, 0) AS {name}" for name in COUNTED],
}.items():
    PROVEN = PROVEN.replace(_mark, ", ".join(_names))
PROVEN = PROVEN.replace(
    "DIFFERENT",
    " OR ".join(f"coalesce(a.{name}, 0) <> coalesce(years.{name}, 0)" for name in COUNTED),
)
BALANCE = """WITH legs AS (
    SELECT claim_id, version, sum(amount) AS rest, sum(amount) FILTER (WHERE account = 1) AS fund,
        sum(amount) FILTER (WHERE account = 15) AS regional FROM settlement_leg GROUP BY 1, 2
), PROVEN
SELECT (SELECT count(*) FROM legs WHERE rest <> 0),
    (SELECT count(*) FROM settlement_settlement s LEFT JOIN legs USING (claim_id, version)
        WHERE CASE WHEN s.insured_pool = '' THEN s.fund <> coalesce(legs.fund, 0)
            ELSE s.fund + s.major + s.assistance + s.account <> coalesce(legs.regional, 0) END),
    (SELECT count(*) FROM wrong_years), (SELECT count(*) FROM wrong_accounts)""".replace(
    "PROVEN", PROVEN
)


def balance() -> Balance:
    """Is money conserved? The ledger is the truth; accumulators, accounts and totals are compared with it.

    Run where every row is visible (scope `*`): a person-year spans institutions.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT account, sum(amount)::bigint FROM settlement_leg GROUP BY 1 ORDER BY 1"
        )
        accounts = dict(cursor.fetchall())
        cursor.execute(BALANCE)
        return Balance(accounts, *cursor.fetchone())
