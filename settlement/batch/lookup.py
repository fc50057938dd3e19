"""What a chunk looks up: the releases of its days, the numbers of its codes, earlier charges.

Texts are compared by PostgreSQL's own 64-bit hash, so that columns read back are of fixed size. A
release knows a few dozen codes; the chance that an unknown text meets one of them is below 1e-17.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import SERVICES
from settlement.batch.accumulators import PersonYears, array_text
from settlement.columns import day_of
from settlement.copy import columns, copy_out
from settlement.facts import examples_allowed
from settlement.trial import excluded_names

CONSULT = SERVICES.index("consult")
CHARGES = columns(encounter="int8", person="int8", item="int8")
#: Consultation fees paid or held in other, earlier settled claims of the same encounters. A batch's
#: own claims are passed over: all of a person are in one chunk. Each step starts from the rows of
#: the step before (MATERIALIZED, OFFSET 0), so that the cost is the chunk's, not the ledger's.
PRIOR = """WITH earlier AS MATERIALIZED (
        SELECT id, period, encounter_key, person_id FROM settlement_claim
        WHERE encounter_key = ANY (%s::bigint[]) AND batch_id IS DISTINCT FROM %s)
    SELECT c.encounter_key, c.person_id, hashtextextended(l.item_code, 0)
    FROM earlier c CROSS JOIN LATERAL (
        SELECT line_no, item_code FROM settlement_claimline
        WHERE claim_id = c.id AND period = c.period AND service = %s OFFSET 0) l
    WHERE EXISTS (SELECT FROM settlement_lineresult
            WHERE claim_id = c.id AND version = 1 AND line_no = l.line_no AND decision IN (0, 2)
            OFFSET 0)
        AND NOT EXISTS (SELECT FROM settlement_settlement
            WHERE claim_id = c.id AND version = 2 OFFSET 0)"""


class NoPolicyError(LookupError):
    """No document of a region is published."""


@dataclass(frozen=True)
class Law:
    """The releases that settle a chunk; `which` is each claim's."""

    rules: list[Rules]
    which: np.ndarray
    release_ids: np.ndarray
    parameters_ids: np.ndarray
    codes: tuple["Numbered", ...]
    excluded: tuple["Numbered", ...]

    @classmethod
    def of(cls, cursor: Any, catalogue: Catalogue, region: str, days: np.ndarray) -> "Law":
        """The law of a region on days since 1970. Raises NoPolicyError."""
        different, of_claim = np.unique(days, return_inverse=True)
        examples = examples_allowed()
        rules: list[Rules] = []
        number_of = np.zeros(len(different), np.int64)
        for k, day in enumerate(different):
            found = catalogue.rules(region, day_of(day), examples=examples)
            if found is None:
                raise NoPolicyError(region)
            if not any(found is known for known in rules):
                rules.append(found)
            number_of[k] = next(n for n, known in enumerate(rules) if known is found)
        return cls(
            rules,
            number_of[of_claim],
            np.array([r.release_id for r in rules]),
            np.array([r.parameters_id for r in rules]),
            tuple(Numbered.of(cursor, r.codes) for r in rules),
            tuple(Numbered.of(cursor, tuple(excluded_names(r))) for r in rules),
        )

    def numbers(self, lines: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Per line the number of its item and of its excluded service name; 0 is neither."""
        item, named = np.zeros(len(lines), np.int64), np.zeros(len(lines), np.int64)
        for number in range(len(self.rules)):
            mine = slice(None) if len(self.rules) == 1 else np.flatnonzero(which == number)
            item[mine] = self.codes[number].find(lines["item"][mine])
            named[mine] = self.excluded[number].find(lines["service_type"][mine])
        return item, named

    def named(self) -> str:
        """The hashes of the texts that were applied."""
        return " ".join(f"{r.release_sm3}/{r.parameters_id}" for r in self.rules)


@dataclass(frozen=True)
class Numbered:
    """Texts by hash: `numbers[k]` is the number (from 1) of the text with the k-th hash."""

    hashes: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, cursor: Any, texts: tuple[str, ...]) -> "Numbered":
        hashes = np.array(_hashes(cursor, texts), np.int64)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], order + 1)

    def find(self, wanted: np.ndarray) -> np.ndarray:
        if not self.hashes.size:
            return np.zeros(len(wanted), np.int64)
        at = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[at] == wanted, self.numbers[at], 0)


_HASHES: dict[
    tuple[str, ...], tuple[int, ...]
] = {}  #: of the texts of releases, which never change


def _hashes(cursor: Any, texts: tuple[str, ...]) -> tuple[int, ...]:
    """PostgreSQL's hashes of texts."""
    if texts not in _HASHES:
        cursor.execute(
            """SELECT hashtextextended(t, 0)
            FROM unnest(%s::varchar[]) WITH ORDINALITY u (t, n) ORDER BY n""",
            [list(texts)],
        )
        _HASHES[texts] = tuple(row[0] for row in cursor.fetchall())
    return _HASHES[texts]


def prior_charges(
    cursor: Any,
    claims: np.ndarray,
    lines: np.ndarray,
    at_claim: np.ndarray,
    years: PersonYears,
    law: Law,
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Per line: was the same consultation, or another level of it, charged in an earlier claim?

    The person-years are locked, so nobody else settles these persons meanwhile. A person-year in
    which nothing was settled has no earlier charge and is not looked for.
    """
    none = np.zeros(len(lines), np.int64)
    keys = np.unique(claims["encounter_key"][~years.fresh & (claims["encounter_key"] != 0)])
    if not keys.size:
        return none, none
    charges = copy_out(cursor, PRIOR, CHARGES, [array_text(keys), batch, CONSULT])
    if not len(charges):
        return none, none
    encounter, person = claims["encounter_key"][at_claim], claims["person_id"][at_claim]
    same, other = none.copy(), none.copy()
    for number in np.unique(law.which):
        codes, rows = law.codes[number], law.rules[number].row_of_code
        charged = rows[codes.find(charges["item"])]
        for line in np.flatnonzero(
            (law.which[at_claim] == number) & np.isin(encounter, charges["encounter"])
        ):
            row = rows[codes.find(lines["item"][line : line + 1])][0]
            before = charged[
                (charges["encounter"] == encounter[line]) & (charges["person"] == person[line])
            ]
            same[line], other[line] = int((before == row).any()), int((before != row).any())
    return same, other
