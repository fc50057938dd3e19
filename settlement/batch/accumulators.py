"""The person-years of a chunk: locked in sorted order, handed to the kernel, stored back.

Rows that exist are locked by SELECT … ORDER BY id FOR UPDATE. A missing person-year starts from
zero and is inserted with its final values: when somebody else inserts it first the unique key
refuses, the chunk's transaction is undone and runs again from the values then stored.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pricing.rules import CODES
from settlement.batch.results import SCHEME_TEXT, years
from settlement.columns import FACTS
from settlement.copy import columns, copy_in, copy_out
from settlement.kernel import State

STORED = columns(
    id="int8", person_id="int8", year="int2", scheme="int4", deductible_used="int8",
    in_scope_used="int8", fund_used="int8", account_left="int8",
)  # fmt: skip
NEW = columns(
    person_id="int8", year="int2", scheme="text", deductible_used="int8", in_scope_used="int8",
    fund_used="int8", account_left="int8", region_code="text",
)  # fmt: skip
LOCK = """SELECT a.id, a.person_id, a.year,
        array_position(%s::varchar[], a.scheme) - 1, a.deductible_used, a.in_scope_used,
        a.fund_used, a.account_left
    FROM settlement_accumulator a
    WHERE a.person_id = ANY (%s::bigint[]) AND a.year BETWEEN %s AND %s
    ORDER BY a.id FOR UPDATE"""
BALANCES = """SELECT id, account_balance FROM settlement_insuredperson
    WHERE id = ANY (%s::bigint[]) ORDER BY id"""
STORE = """UPDATE settlement_accumulator a SET deductible_used = v.deductible,
        in_scope_used = v.scope, fund_used = v.fund, account_left = v.account
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS v (id, deductible, scope, fund, account)
    WHERE a.id = v.id"""


@dataclass
class PersonYears:
    """State per (person, year, scheme) in use; `of_claim` is each claim's position in it."""

    of_claim: np.ndarray
    state: State
    account_left: np.ndarray
    ids: np.ndarray  #: accumulator ids, 0 for one that is new
    person: np.ndarray
    year: np.ndarray
    scheme: np.ndarray
    region_code: str

    @classmethod
    def locked(cls, cursor: Any, claims: np.ndarray, region_code: str) -> "PersonYears":
        """Lock what the claims need and read it."""
        scheme = np.ascontiguousarray(claims["facts"]).view(FACTS)["scheme"].astype(np.int64)
        key = _key(claims["person_id"], years(claims["service_date"]), scheme)
        wanted, of_claim = np.unique(key, return_inverse=True)
        person, year, kind = wanted >> 16, (wanted >> 4) & 0xFFF, wanted & 0xF
        persons = np.unique(person)
        words = list(CODES["scheme"])
        between = (int(year.min()), int(year.max())) if len(year) else (0, 0)
        stored = copy_out(cursor, LOCK, STORED, [words, array_text(persons), *between])
        known = _key(stored["person_id"], stored["year"].astype(np.int64), stored["scheme"])
        at = np.searchsorted(wanted, known)
        ours = (at < len(wanted)) & (wanted[np.minimum(at, len(wanted) - 1)] == known)
        at, stored = at[ours], stored[ours]
        n = len(wanted)
        whole = cls(
            of_claim, State.blank(n), np.zeros(n, np.int64), np.zeros(n, np.int64), person, year,
            kind, region_code,
        )  # fmt: skip
        whole.ids[at] = stored["id"]
        whole.state.deductible[at] = stored["deductible_used"]
        whole.state.in_scope[at] = stored["in_scope_used"]
        whole.state.fund[at] = stored["fund_used"]
        whole.account_left[at] = stored["account_left"]
        whole._open_accounts(cursor)
        return whole

    def _open_accounts(self, cursor: Any) -> None:
        """A new person-year begins with the balance last reported for the person."""
        new = np.flatnonzero(self.ids == 0)
        if not new.size:
            return
        shape = columns(id="int8", balance="int8")
        persons = np.unique(self.person[new])
        found = copy_out(cursor, BALANCES, shape, [array_text(persons)])
        if len(found) != len(persons):
            raise LookupError("a claim names a person who is not registered")
        self.account_left[new] = found["balance"][np.searchsorted(found["id"], self.person[new])]

    @property
    def fresh(self) -> np.ndarray:
        """Per claim: nothing of this person-year was ever settled before this chunk."""
        return (self.ids == 0)[self.of_claim]

    def store(self, cursor: Any) -> None:
        """Write the state back: new rows by COPY, known ones by one UPDATE."""
        state = self.state
        old, new = np.flatnonzero(self.ids), np.flatnonzero(self.ids == 0)
        if new.size:
            rows = {
                "person_id": self.person[new],
                "year": self.year[new],
                "scheme": SCHEME_TEXT[self.scheme[new]],
                "deductible_used": state.deductible[new],
                "in_scope_used": state.in_scope[new],
                "fund_used": state.fund[new],
                "account_left": self.account_left[new],
                "region_code": self.region_code.encode(),
            }
            copy_in(cursor, "settlement_accumulator", NEW, rows, new.size)
        if old.size:
            values = (self.ids, state.deductible, state.in_scope, state.fund, self.account_left)
            cursor.execute(STORE, [array_text(value[old]) for value in values])


def _key(person: np.ndarray, year: np.ndarray, scheme: np.ndarray) -> np.ndarray:
    """Person, year (12 bits) and scheme (4 bits) in one sortable number."""
    return (person << 16) | (year.astype(np.int64) << 4) | scheme.astype(np.int64)


def array_text(values: np.ndarray) -> str:
    """A PostgreSQL array literal of whole numbers."""
    return "{" + ",".join(map(str, values.tolist())) + "}"
