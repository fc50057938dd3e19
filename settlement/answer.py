"""What a claim answers: built from the rows of a settlement, the same at POST and every GET."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from django.db import connection

from institutions.money import yuan
from pricing.policy import Parameter, Rules, compile_rules
from pricing.releases import Catalogue
from pricing.rules import SERVICES
from settlement import explain
from settlement.columns import pool_number, records
from settlement.contract import LOCAL
from settlement.facts import examples_allowed, item_number
from settlement.kernel import Results
from settlement.models import Leg
from settlement.posting import RESULT, TOTALS

API = "/api/v1"
#: Our totals under the names of the national interface. 符合政策范围 is what is left of the amount
#: within price and payment limits after the first self-pay: the four parts add up to the fee.
NATIONAL = {
    "medfee_sumamt": ("fee",),
    "fulamt_ownpay_amt": ("out_of_scope",),
    "overlmt_selfpay": ("over_cap",),
    "preselfpay_amt": ("first_self_pay",),
    "inscp_scp_amt": ("in_scope", "-first_self_pay"),
    "act_pay_dedc": ("deductible",),
    "fund_pay_sumamt": ("fund", "major", "assistance"),
    "hifp_pay": ("fund",),
    "hifmi_pay": ("major",),
    "maf_pay": ("assistance",),
    "acct_pay": ("account",),
    "psn_cash_pay": ("cash",),
    "psn_part_amt": ("account", "cash"),
    "hosp_part_amt": ("hospital",),
}
RELEASED = ("release_id", "parameters_id")


@dataclass(frozen=True)
class Stored:
    """The rows of one claim: what was received, its lines, and its settlements, version by version.

    Odd versions settle, even ones reverse the one before; lines and legs are those of the highest odd.
    """

    id: int
    claim_no: str
    encounter_id: str
    region_code: str
    institution_code: str
    person_id: int
    service_date: dt.date
    received_at: dt.datetime
    fee: int
    facts: bytes
    lines: list[dict]
    legs: list[list[int]]
    versions: list[dict]

    @property
    def settled(self) -> dict | None:
        """The settlement that counts, or counted last: the highest odd version."""
        return next((row for row in reversed(self.versions) if row["version"] % 2), None)

    @property
    def reversal(self) -> dict | None:
        """The reversal of the settlement that counted last, when nothing counts since."""
        last = self.versions[-1] if self.versions else None
        return last if last is not None and last["version"] % 2 == 0 else None

    @cached_property
    def record(self) -> np.void:
        return records(self.facts)[0]

    @property
    def state(self) -> str:
        if self.settled is None:
            return "received"
        return "reversed" if self.reversal else self.settled["state"]


READ = """SELECT c.id, c.claim_no, c.encounter_id, c.region_code, c.institution_code, c.person_id,
    c.service_date, c.received_at, c.fee, c.facts,
    (SELECT json_agg(json_build_object('line_no', l.line_no, 'service', l.service,
            'item_code', l.item_code, 'line_fee', l.fee, 'release_id', r.release_id,
            'parameters_id', r.parameters_id,
            RESULTS) ORDER BY l.line_no)
        FROM settlement_claimline l
        LEFT JOIN settlement_lineresult r
            ON r.claim_id = l.claim_id AND r.line_no = l.line_no AND r.version = v.settled
        WHERE l.claim_id = c.id AND l.period = c.period),
    (SELECT coalesce(json_agg(json_build_array(g.account, g.amount) ORDER BY g.account), '[]'::json)
        FROM settlement_leg g WHERE g.claim_id = c.id AND g.version = v.settled),
    v.versions
FROM settlement_claim c
LEFT JOIN LATERAL (
    SELECT max(s.version) FILTER (WHERE s.version %% 2 = 1) AS settled,
        coalesce(json_agg(s ORDER BY s.version), '[]'::json) AS versions
    FROM settlement_settlement s WHERE s.claim_id = c.id) v ON true
WHERE c.id = %(id)s AND (%(own)s::text[] IS NULL OR c.institution_code = ANY (%(own)s) AND (
    %(entered)s OR NOT EXISTS (SELECT FROM settlement_enteredclaim WHERE claim_id = c.id)))"""
READ = READ.replace("RESULTS", ", ".join(f"'{name}', r.{name}" for name in RESULT))


def read(
    claim_id: int, *, institutions: list[str] | None = None, entered: bool = False
) -> Stored | None:
    """A claim of one of the institutions (None: of any in scope), in one statement.

    Institutions have no claim that the agency `entered` for a person's request (手工报销).
    """
    if not 0 < claim_id < 2**63:
        return None
    with connection.cursor() as cursor:
        cursor.execute(READ, {"id": claim_id, "own": institutions, "entered": entered})
        row = cursor.fetchone()
    if row is None:
        return None
    stored = Stored(*row)
    return replace(stored, facts=bytes(stored.facts), lines=stored.lines or [])


def person_hash(person_id: int) -> bytes | None:
    """The keyed hash under which the trail knows a person."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id_hash FROM settlement_insuredperson WHERE id = %s", [person_id])
        row = cursor.fetchone()
    return bytes(row[0]) if row else None


MANY = READ.replace("c.id = %(id)s", "c.id = ANY (%(ids)s::bigint[])")


def read_many(claim_ids: Sequence[int]) -> dict[int, Stored]:
    """Claims in scope by id, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(MANY, {"ids": list(claim_ids), "own": None, "entered": True})
        found = [Stored(*row) for row in cursor.fetchall()]
    return {row.id: replace(row, facts=bytes(row.facts), lines=row.lines or []) for row in found}


def results_of(stored: Stored, rules: Rules) -> Results:
    """The stored decisions as kernel results; `row` follows from item and service."""
    columns: dict[str, Any] = {
        name: np.array([line[name] for line in stored.lines], np.int64) for name in RESULT
    }
    rows = [_row(rules, line["service"], line["item_code"]) for line in stored.lines]
    return Results(row=np.array(rows, np.int64), **columns)


def _row(rules: Rules, service: int, item_code: str) -> int:
    return int(rules.row_of_service[service] or rules.row_of_code[item_number(rules, item_code)])


def rules_of(stored: Stored, catalogue: Catalogue) -> Rules:
    """The rules that settled a claim: exactly the releases that its lines name."""
    release, parameters = (stored.lines[0][name] for name in RELEASED)
    region = catalogue.release(release).policy.region
    found = catalogue.rules(region, stored.service_date, examples=examples_allowed())
    if found and (found.release_id, found.parameters_id) == (release, parameters):
        return found
    return pinned(catalogue, release, parameters, stored.service_date, examples_allowed())


@lru_cache(maxsize=256)
def pinned(
    catalogue: Catalogue, release_id: int, parameters_id: int, day: dt.date, examples: bool
) -> Rules:
    """Compile a named release with exactly the parameter sets that a number names, as of a day."""
    release = catalogue.release(release_id)
    rows: dict[str, Parameter] = {}
    for parameters in catalogue.sets_of(parameters_id):
        rows |= parameters.policy.parameters(day, examples=examples)
    return compile_rules(
        release.policy,
        rows,
        release_id=release.id,
        release_sm3=release.sm3,
        parameters_id=parameters_id,
    )


def home_of(stored: Stored, rules: Rules, catalogue: Catalogue) -> Rules | None:
    """The rules of the person's own region, where another region's settled the claim (异地)."""
    pool = int(stored.record["insured_pool"])
    if not rules.offsite or pool in (0, pool_number(rules.policy.region)):
        return None
    region = next((name for name in catalogue.regions() if pool_number(name) == pool), None)
    if region is None:
        return None
    return catalogue.rules(region, stored.service_date, examples=examples_allowed())


def represent(stored: Stored, rules: Rules | None, home: Rules | None = None) -> dict:
    """The answer of the contract; `rules` are None for a claim that waits for its settlement.

    `home` are the rules of the benefits of a person insured elsewhere (`home_of`).
    """
    lines = []
    if stored.settled and rules is not None:
        results = results_of(stored, rules)
        lines = [_line(stored, results, i, rules, home) for i in range(len(stored.lines))]
    return {
        **summary(stored.id, stored.claim_no, stored.encounter_id, stored.service_date,
                  stored.received_at, stored.state, stored.settled, stored.fee),
        "settled_at": moment_of(stored.settled["settled_at"]) if stored.settled else None,
        "flags": sorted({flag for line in lines for flag in line["flags"]}),
        "release": lines[0]["release"] | {"parameters_id": stored.lines[0]["parameters_id"]}
        if lines else None,
        "lines": lines,
        "reversal": _reversal(stored.reversal, stored.legs),
        "versions": [version(row) for row in stored.versions],
    }  # fmt: skip


def version(row: dict) -> dict:
    """One version of a claim in its history: what it is, why, in which month it was posted."""
    return {
        "version": row["version"],
        "kind": "settlement" if row["version"] % 2 else "reversal",
        "state": row["state"],
        "at": moment_of(row["settled_at"]),
        "reason": row["reason"] or None,
        "posted": str(row["period"])[:7],
        "year": row["year"],
        "totals": {name: yuan(row[name]) for name in TOTALS},
    }


def summary(
    claim_id: int, claim_no: str, encounter_id: str, service_date: dt.date,
    received_at: dt.datetime, state: str, totals: dict | None, fee: int,
) -> dict:  # fmt: skip
    """What lists show of a claim. Amounts in yuan; a claim that waits has its fee alone."""
    totals = totals or {"fee": fee}
    return {
        "id": claim_id,
        "claim_no": claim_no,
        "encounter_id": encounter_id,
        "state": state,
        "service_date": service_date.isoformat(),
        "received_at": moment_of(received_at),
        "totals": {name: yuan(totals[name]) for name in TOTALS if name in totals},
        "national": national(totals) if "fund" in totals else None,
        "links": {
            "self": f"{API}/claims/{claim_id}",
            "reversal": f"{API}/claims/{claim_id}/reversal",
            "evidence": f"{API}/encounters/{encounter_id}/evidence",
        },
    }


def national(totals: dict) -> dict[str, str]:
    """Totals under the national field names, in yuan."""
    return {
        name: yuan(sum(_part(totals, part) for part in parts)) for name, parts in NATIONAL.items()
    }


def _part(totals: dict, part: str) -> int:
    return -totals[part[1:]] if part.startswith("-") else totals[part]


def _line(stored: Stored, results: Results, i: int, rules: Rules, home: Rules | None) -> dict:
    row = stored.lines[i]
    service = SERVICES[row["service"]]
    line = explain.line_of(results, i, rules, stored.record, service, home)
    found = explain.answer(line) | {"assumed": []}
    found |= explain.channel_of(line, int(stored.record["online_settlement"]))
    return {
        "line_no": row["line_no"],
        "service": service,
        "item_code": row["item_code"],
        "fee": yuan(row["line_fee"]),
        **found,
    }


#: Whom money goes back to: by the account that paid it (条例 第四十五条, refunds to the original fund).
REFUNDS = {
    Leg.Account.POOLED_FUND: "pooled_fund", Leg.Account.PERSONAL_ACCOUNT: "personal_account",
    Leg.Account.MAJOR_ILLNESS: "major_illness", Leg.Account.ASSISTANCE: "assistance",
    Leg.Account.PATIENT_CASH: "cash", Leg.Account.OVER_CAP: "cash",
    Leg.Account.OUT_OF_SCOPE: "cash", Leg.Account.REGIONAL_CLEARING: "regional_clearing",
}  # fmt: skip


def refunds(legs: Iterable[Sequence[int]]) -> dict[str, int]:
    """Where the money of a settlement goes back to, in fen: each part to what it was paid from."""
    found: dict[str, int] = {}
    for account, amount in legs:
        if to := REFUNDS.get(Leg.Account(account)):
            found[to] = found.get(to, 0) + amount
    return found


def _reversal(reversal: dict | None, legs: list[list[int]]) -> dict | None:
    if reversal is None:
        return None
    return {
        "at": moment_of(reversal["settled_at"]),
        "reason": reversal["reason"],
        "totals": {name: yuan(reversal[name]) for name in TOTALS},
        "national": national(reversal),
        "refunds": {name: yuan(amount) for name, amount in refunds(legs).items()},
    }


def moment_of(value: dt.datetime | str) -> str:
    """A moment as ISO 8601 text in Asia/Shanghai."""
    moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(LOCAL).isoformat()
