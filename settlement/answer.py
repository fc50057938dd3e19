"""What a claim answers: built from the rows of a settlement, the same at POST and every GET."""

import datetime as dt
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from django.db import connection

from institutions.money import yuan
from pricing.policy import Rules, compile_rules
from pricing.releases import Catalogue
from pricing.rules import SERVICES
from settlement import explain
from settlement.columns import FACTS
from settlement.contract import LOCAL
from settlement.facts import examples_allowed, item_number
from settlement.kernel import PAYABLE, Results
from settlement.ledger import RESULT, TOTALS

API = "/api/v1"
#: Our totals under the names of the national interface; 先行自付 does not occur in these documents.
NATIONAL = {
    "medfee_sumamt": ("fee",),
    "fulamt_ownpay_amt": ("out_of_scope",),
    "overlmt_selfpay": ("over_cap",),
    "preselfpay_amt": (),
    "inscp_scp_amt": ("in_scope",),
    "act_pay_dedc": ("deductible",),
    "fund_pay_sumamt": ("fund",),
    "hifp_pay": ("fund",),
    "acct_pay": ("account",),
    "psn_cash_pay": ("cash",),
    "psn_part_amt": ("account", "cash"),
    "hosp_part_amt": ("hospital",),
}
RELEASED = ("release_id", "parameters_id")


@dataclass(frozen=True)
class Stored:
    """The rows of one claim: what was received, its lines, and the settlement (None: waits)."""

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
    settled: dict | None
    reversal: dict | None
    legs: list[list[int]]

    @property
    def record(self) -> np.void:
        return np.frombuffer(self.facts, FACTS)[0]

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
            ON r.claim_id = l.claim_id AND r.line_no = l.line_no AND r.version = 1
        WHERE l.claim_id = c.id AND l.period = c.period),
    (SELECT to_json(s) FROM settlement_settlement s WHERE s.claim_id = c.id AND s.version = 1),
    (SELECT to_json(s) FROM settlement_settlement s WHERE s.claim_id = c.id AND s.version = 2),
    (SELECT coalesce(json_agg(json_build_array(g.account, g.amount) ORDER BY g.account), '[]'::json)
        FROM settlement_leg g WHERE g.claim_id = c.id AND g.version = 1)
FROM settlement_claim c
WHERE c.id = %(id)s AND (%(own)s::text[] IS NULL OR c.institution_code = ANY (%(own)s))"""
READ = READ.replace("RESULTS", ", ".join(f"'{name}', r.{name}" for name in RESULT))


def read(claim_id: int, *, institutions: list[str] | None = None) -> Stored | None:
    """A claim of one of the institutions (None: of any in scope), in one statement."""
    if not 0 < claim_id < 2**63:
        return None
    with connection.cursor() as cursor:
        cursor.execute(READ, {"id": claim_id, "own": institutions})
        row = cursor.fetchone()
    if row is None:
        return None
    stored = Stored(*row)
    return replace(stored, facts=bytes(stored.facts), lines=stored.lines or [])


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
    """Compile a named release with a named parameter set (0 = none) as of a day."""
    release = catalogue.release(release_id)
    rows = {}
    if parameters_id:
        rows = catalogue.release(parameters_id).policy.parameters(day, examples=examples)
    return compile_rules(
        release.policy,
        rows,
        release_id=release.id,
        release_sm3=release.sm3,
        parameters_id=parameters_id,
    )


def represent(stored: Stored, rules: Rules | None) -> dict:
    """The answer of the contract; `rules` are None for a claim that waits for its settlement."""
    lines = []
    if stored.settled and rules is not None:
        results = results_of(stored, rules)
        lines = [_line(stored, results, i, rules) for i in range(len(stored.lines))]
    return {
        **summary(stored.id, stored.claim_no, stored.encounter_id, stored.service_date,
                  stored.received_at, stored.state, stored.settled, stored.fee),
        "settled_at": moment_of(stored.settled["settled_at"]) if stored.settled else None,
        "flags": sorted({flag for line in lines for flag in line["flags"]}),
        "release": lines[0]["release"] | {"parameters_id": stored.lines[0]["parameters_id"]}
        if lines else None,
        "lines": lines,
        "reversal": _reversal(stored.reversal),
    }  # fmt: skip


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
    return {name: yuan(sum(totals[ours] for ours in parts)) for name, parts in NATIONAL.items()}


def _line(stored: Stored, results: Results, i: int, rules: Rules) -> dict:
    row = stored.lines[i]
    service = SERVICES[row["service"]]
    line = explain.line_of(results, i, rules, stored.record, service)
    found = explain.answer(line) | {"assumed": []}
    if line.decision == PAYABLE:
        found |= explain.channel(rules, int(stored.record["online_settlement"]))
    return {
        "line_no": row["line_no"],
        "service": service,
        "item_code": row["item_code"],
        "fee": yuan(row["line_fee"]),
        **found,
    }


def _reversal(reversal: dict | None) -> dict | None:
    if reversal is None:
        return None
    return {
        "at": moment_of(reversal["settled_at"]),
        "reason": reversal["reason"],
        "totals": {name: yuan(reversal[name]) for name in TOTALS},
        "national": national(reversal),
    }


def moment_of(value: dt.datetime | str) -> str:
    """A moment as ISO 8601 text in Asia/Shanghai."""
    moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(LOCAL).isoformat()
