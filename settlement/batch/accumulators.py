"""The persons of a chunk and their years: locked in sorted order, handed to the kernel, stored back.

The person's account is the lock of the person (settlement.ledger.LOCK): accounts that exist are
locked in the order of persons, then the years are read. A missing account or year starts from the
balance last reported, or from zero, and is inserted with its final values: when somebody else inserts
it first the unique key refuses, the chunk's transaction is undone and runs again from what is stored.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pricing.rules import CODES
from settlement.batch.results import SCHEME_TEXT, years
from settlement.columns import FACTS
from settlement.copy import columns, copy_in, copy_out
from settlement.kernel import State
from settlement.ledger import COUNTED

USED = dict.fromkeys(COUNTED, "int8")  #: in the order of the kernel's state
STORED = columns(id="int8", person_id="int8", year="int2", scheme="int4", **USED)
NEW = columns(person_id="int8", year="int2", scheme="text", **USED, region_code="text")
ACCOUNT = columns(person_id="int8", account_left="int8")
NEW_ACCOUNT = columns(person_id="int8", account_left="int8", region_code="text")
LOCK = """SELECT person_id, account_left FROM settlement_personalaccount
    WHERE person_id = ANY (%s::bigint[]) ORDER BY person_id FOR UPDATE"""
READ = """SELECT a.id, a.person_id, a.year, array_position(%s::varchar[], a.scheme) - 1, COUNTED
    FROM settlement_accumulator a
    WHERE a.person_id = ANY (%s::bigint[]) AND a.year BETWEEN %s AND %s
    ORDER BY a.id FOR NO KEY UPDATE""".replace(
    "COUNTED", ", ".join(f"a.{name}" for name in COUNTED)
)
BALANCES = """SELECT id, account_balance FROM settlement_insuredperson
    WHERE id = ANY (%s::bigint[]) ORDER BY id"""
STORE = """UPDATE settlement_accumulator a SET SUMS FROM unnest(ARRAYS) AS v (id, NAMES)
    WHERE a.id = v.id"""
for _mark, _names in {
    "SUMS": [f"{name} = v.{name}" for name in COUNTED],
    "ARRAYS": ["%s::bigint[]"] * (1 + len(COUNTED)),
    "NAMES": COUNTED,
}.items():
    STORE = STORE.replace(_mark, ", ".join(_names))
DRAW = """UPDATE settlement_personalaccount p SET account_left = v.account_left
    FROM unnest(%s::bigint[], %s::bigint[]) AS v (person_id, account_left)
    WHERE p.person_id = v.person_id"""


@dataclass
class Accounts:
    """What is left on the personal accounts of a chunk's persons; locked where they exist."""

    of_claim: np.ndarray
    person: np.ndarray
    left: np.ndarray
    before: np.ndarray  #: as stored, -1 for an account that is new

    @classmethod
    def locked(cls, cursor: Any, persons: np.ndarray) -> "Accounts":
        """Lock the persons of claims; every one of them must be registered."""
        person, of_claim = np.unique(persons, return_inverse=True)
        stored = copy_out(cursor, LOCK, ACCOUNT, [array_text(person)])
        before = np.full(len(person), -1, np.int64)
        before[np.searchsorted(person, stored["person_id"])] = stored["account_left"]
        left = before.copy()
        new = np.flatnonzero(before < 0)
        if new.size:
            shape = columns(id="int8", balance="int8")
            found = copy_out(cursor, BALANCES, shape, [array_text(person[new])])
            if len(found) != new.size:
                raise LookupError("a claim names a person who is not registered")
            left[new] = found["balance"]
        return cls(of_claim, person, left, before)

    def store(self, cursor: Any, region_code: str) -> None:
        new = np.flatnonzero(self.before < 0)
        if new.size:
            rows = {
                "person_id": self.person[new],
                "account_left": self.left[new],
                "region_code": region_code.encode(),
            }
            copy_in(cursor, "settlement_personalaccount", NEW_ACCOUNT, rows, new.size)
        drawn = np.flatnonzero((self.before >= 0) & (self.left != self.before))
        if drawn.size:
            cursor.execute(DRAW, [array_text(self.person[drawn]), array_text(self.left[drawn])])


@dataclass
class PersonYears:
    """State per (person, year, scheme) in use; `of_claim` is each claim's position in it.

    Behind them stand the same years over all schemes; `whole_of_claim` is each claim's position there.
    """

    of_claim: np.ndarray
    whole_of_claim: np.ndarray
    state: State
    accounts: Accounts
    ids: np.ndarray  #: accumulator ids, 0 for one that is new
    person: np.ndarray
    year: np.ndarray
    scheme: np.ndarray
    region_code: str

    @classmethod
    def locked(cls, cursor: Any, claims: np.ndarray, region_code: str) -> "PersonYears":
        """Lock what the claims need and read it."""
        accounts = Accounts.locked(cursor, claims["person_id"])
        scheme = np.ascontiguousarray(claims["facts"]).view(FACTS)["scheme"].astype(np.int64)
        key = _key(claims["person_id"], years(claims["service_date"]), scheme)
        wanted, of_claim = np.unique(key, return_inverse=True)
        whole_years, whole = np.unique(wanted >> 4, return_inverse=True)
        person, year, kind = wanted >> 16, (wanted >> 4) & 0xFFF, wanted & 0xF
        words = list(CODES["scheme"])
        between = (int(year.min()), int(year.max())) if len(year) else (0, 0)
        given = [words, array_text(accounts.person), *between]
        stored = copy_out(cursor, READ, STORED, given)
        known = _key(stored["person_id"], stored["year"].astype(np.int64), stored["scheme"])
        n = len(wanted)
        state, ids = State.blank(n + len(whole_years)), np.zeros(n, np.int64)
        at, ours = _found(wanted, known)
        at_whole, years_ours = _found(whole_years, known >> 4)
        ids[at] = stored["id"][ours]
        for name, column in zip(COUNTED, state.columns(), strict=True):
            column[at] = stored[name][ours]
            np.add.at(column, n + at_whole, stored[name][years_ours])
        return cls(
            of_claim, n + whole[of_claim], state, accounts, ids, person, year, kind, region_code
        )

    @property
    def unknown(self) -> np.ndarray:
        """Per claim: nothing of this person was ever settled before this chunk, in no year and scheme."""
        return (self.accounts.before < 0)[self.accounts.of_claim]

    def store(self, cursor: Any) -> None:
        """Write the state back: new rows by COPY, known ones by one UPDATE.

        The account before the year, as in settlement.ledger.LOCK: a single claim of a person whom both are
        the first to settle waits for this chunk, or this chunk for it, and never each for the other.
        """
        self.accounts.store(cursor, self.region_code)
        used = dict(zip(COUNTED, self.state.columns(), strict=True))
        old, new = np.flatnonzero(self.ids), np.flatnonzero(self.ids == 0)
        if new.size:
            rows = {name: column[new] for name, column in used.items()} | {
                "person_id": self.person[new],
                "year": self.year[new],
                "scheme": SCHEME_TEXT[self.scheme[new]],
                "region_code": self.region_code.encode(),
            }
            copy_in(cursor, "settlement_accumulator", NEW, rows, new.size)
        if old.size:
            values = (self.ids, *used.values())
            cursor.execute(STORE, [array_text(value[old]) for value in values])


def _found(wanted: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of `known` in the sorted `wanted`, and which of `known` are there."""
    at = np.searchsorted(wanted, known)
    ours = (at < len(wanted)) & (wanted[np.minimum(at, len(wanted) - 1)] == known)
    return at[ours], ours


def _key(person: np.ndarray, year: np.ndarray, scheme: np.ndarray) -> np.ndarray:
    """Person, year (12 bits) and scheme (4 bits) in one sortable number."""
    return (person << 16) | (year.astype(np.int64) << 4) | scheme.astype(np.int64)


def array_text(values: np.ndarray) -> str:
    """A PostgreSQL array literal of whole numbers."""
    return "{" + ",".join(map(str, values.tolist())) + "}"
