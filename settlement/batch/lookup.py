"""What a chunk looks up: releases and drug lists of its days, the numbers of its codes, earlier charges.

Texts are compared by PostgreSQL's own 64-bit hash, so that columns read back are of fixed size. A
release knows a few dozen codes; the chance that an unknown text meets one of them is below 1e-17.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from pricing.formulary import Formulary
from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import SERVICES
from settlement.batch.accumulators import PersonYears, array_text
from settlement.columns import FACTS, day_of, filed, pool_number, spread
from settlement.copy import columns, copy_out
from settlement.facts import examples_allowed
from settlement.models import Chunk
from settlement.trial import excluded_names

CONSULT, DRUG = SERVICES.index("consult"), SERVICES.index("drug")
CHARGES = columns(encounter="int8", person="int8", item="int8")
#: Consultation fees paid or held in other, earlier settled claims of the same encounters. A chunk's
#: own claims are passed over: the kernel compares them among themselves. Each step starts from the
#: rows of the step before (MATERIALIZED, OFFSET 0): the cost is the chunk's, not the ledger's.
PRIOR = """WITH earlier AS MATERIALIZED (
        SELECT id, period, encounter_key, person_id FROM settlement_claim
        WHERE encounter_key = ANY (%s::bigint[])
            AND (batch_id = %s AND id BETWEEN %s AND %s) IS NOT TRUE)
    SELECT c.encounter_key, c.person_id, hashtextextended(l.item_code, 0)
    FROM earlier c CROSS JOIN LATERAL (
        SELECT line_no, item_code FROM settlement_claimline
        WHERE claim_id = c.id AND period = c.period AND service = %s OFFSET 0) l
    WHERE EXISTS (SELECT FROM settlement_lineresult r
            WHERE r.claim_id = c.id AND r.line_no = l.line_no AND r.decision IN (0, 2)
                AND r.version = (SELECT max(version) FROM settlement_settlement
                    WHERE claim_id = c.id HAVING max(version) %% 2 = 1) OFFSET 0)"""


Kind = TypeVar("Kind")


class NoPolicyError(LookupError):
    """No document of a region is published."""


@dataclass(frozen=True)
class Law:
    """The releases that settle a chunk; `which` is each claim's.

    Behind the region's own releases in `rules` stand those whose benefits persons insured elsewhere
    have: `home` is each claim's place among `rules` from 1, -1 where none is loaded, 0 for everybody
    else. `listed` is each claim's drug list, -1 where none is in force.
    """

    rules: list[Rules]
    which: np.ndarray
    release_ids: np.ndarray
    parameters_ids: np.ndarray
    codes: tuple["Numbered", ...]
    excluded: tuple["Numbered", ...]
    home: np.ndarray
    lists: list[Formulary]
    listed: np.ndarray

    @classmethod
    def of(cls, cursor: Any, catalogue: Catalogue, region: str, claims: np.ndarray) -> "Law":
        """The law of a region for claims. Raises NoPolicyError."""
        different, of_claim = np.unique(claims["service_date"], return_inverse=True)
        days = [day_of(day) for day in different]
        found = [catalogue.rules(region, day, examples=examples_allowed()) for day in days]
        if None in found:
            raise NoPolicyError(region)
        rules, number_of = numbered(found)
        lists, list_of = numbered([catalogue.formulary(region, day) for day in days])
        facts = np.ascontiguousarray(claims["facts"]).view(FACTS)
        return cls.around(
            cursor, catalogue, rules, number_of[of_claim], facts, claims["service_date"], lists,
            list_of[of_claim],
        )  # fmt: skip

    @classmethod
    def around(
        cls, cursor: Any, catalogue: Catalogue, rules: list[Rules], which: np.ndarray,
        facts: np.ndarray, days: np.ndarray, lists: list[Formulary], listed: np.ndarray,
    ) -> "Law":  # fmt: skip
        """The law of claims whose releases and drug lists are chosen."""
        own = len(rules)
        home = _homes(catalogue, rules, which, facts, days)
        return cls(
            rules,
            which,
            np.array([r.release_id for r in rules]),
            np.array([r.parameters_id for r in rules]),
            tuple(Numbered.of(cursor, r.codes) for r in rules[:own]),
            tuple(Numbered.of(cursor, tuple(excluded_names(r))) for r in rules[:own]),
            home,
            lists,
            listed,
        )

    def line_columns(
        self, claims: np.ndarray, lines: np.ndarray, at_claim: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What the drug lists say of drugs, and whose benefits a line has, as kernel columns."""
        found: dict[str, np.ndarray] = {}
        if self.home.any():
            found["home"] = self.home[at_claim]
        drugs = np.flatnonzero(lines["service"] == DRUG) if self.lists else np.zeros(0, np.int64)
        for number, formulary in enumerate(self.lists):
            mine = drugs[self.listed[at_claim[drugs]] == number]
            facts = np.ascontiguousarray(claims["facts"]).view(FACTS)
            places = formulary.find(lines["item"][mine])
            said = formulary.judge(places, lines["quantity"][mine], filed(facts)[at_claim[mine]])
            spread(said, mine, found, len(lines))
        return found

    def pools(self, offsite: np.ndarray) -> Any:
        """Per claim the region that pays for a person insured elsewhere, for COPY."""
        if not offsite.any():
            return b""
        names = np.array(["", *(rules.policy.region for rules in self.rules)]).astype("S30")
        return names[np.where(offsite & (self.home > 0), self.home, 0)]

    def numbers(self, lines: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Per line the number of its item and of its excluded service name; 0 is neither."""
        item, named = np.zeros(len(lines), np.int64), np.zeros(len(lines), np.int64)
        for number in range(len(self.codes)):
            mine = slice(None) if len(self.codes) == 1 else np.flatnonzero(which == number)
            item[mine] = self.codes[number].find(lines["item"][mine])
            named[mine] = self.excluded[number].find(lines["service_type"][mine])
        return item, named

    def named(self) -> str:
        """The hashes of the texts that were applied."""
        texts = [f"{r.release_sm3}/{r.parameters_id}" for r in self.rules]
        return " ".join([*texts, *(formulary.sm3 for formulary in self.lists)])


def numbered(found: Sequence[Kind | None]) -> tuple[list[Kind], np.ndarray]:
    """The different objects among `found`, and the place of each; -1 for none."""
    kinds: list[Kind] = []
    places = np.full(len(found), -1, np.int64)
    for k, one in enumerate(found):
        if one is None:
            continue
        if not any(one is known for known in kinds):
            kinds.append(one)
        places[k] = next(n for n, known in enumerate(kinds) if known is one)
    return kinds, places


def _homes(
    catalogue: Catalogue, rules: list[Rules], which: np.ndarray, facts: np.ndarray,
    days: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """`Law.home`; the releases of persons insured elsewhere are appended to `rules`."""
    home = np.zeros(len(facts), np.int64)
    settles = np.array([r.offsite for r in rules], bool)
    if not settles.any():
        return home
    away = settles[which] & (facts["insured_local"] == 0) & (facts["insured_pool"] != 0)
    regions = {pool_number(name): name for name in catalogue.regions()}
    own = len(rules)
    pairs = np.stack([facts["insured_pool"][away], days[away]], axis=1)
    different, of_claim = np.unique(pairs.astype(np.int64), axis=0, return_inverse=True)
    found = [
        catalogue.rules(regions[pool], day_of(day), examples=examples_allowed())
        if pool in regions else None
        for pool, day in different.tolist()
    ]  # fmt: skip
    homes, places = numbered(found)
    rules += homes
    home[away] = np.where(places < 0, -1, places + own + 1)[of_claim.reshape(-1)]
    return home


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
    chunk: Chunk,
) -> tuple[np.ndarray, np.ndarray]:
    """Per line: was the same consultation, or another level of it, charged in an earlier claim?

    The persons are locked, so nobody else settles them meanwhile. Who is new to the ledger has no earlier
    charge and is not looked for; one whose year or scheme is new may have it in another.
    """
    none = np.zeros(len(lines), np.int64)
    keys = np.unique(claims["encounter_key"][~years.unknown & (claims["encounter_key"] != 0)])
    if not keys.size:
        return none, none
    charges = copy_out(
        cursor, PRIOR, CHARGES,
        [array_text(keys), chunk.batch_id, chunk.first_claim, chunk.last_claim, CONSULT],
    )  # fmt: skip
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
