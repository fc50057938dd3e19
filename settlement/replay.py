"""Person-years replayed: claims settled anew in order of arrival, by the kernel that settled them.

A replay starts at the first claim that other law now decides. What came before stands and is where the
person-year begins; what came after is recomputed too, because deductible, tiers and limits follow
the order of arrival. The facts are those that were stored at receipt.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pricing.formulary import Formulary
from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import CODES, REASON_NO, WATCHED
from settlement.answer import pinned
from settlement.batch.accumulators import array_text
from settlement.batch.lookup import CONSULT, Law, numbered
from settlement.columns import FACTS, REVIEWS, Columns, day_number, day_of
from settlement.copy import columns, copy_out
from settlement.facts import examples_allowed, whole_facts
from settlement.kernel import PAYABLE, Results, State, settle
from settlement.ledger import COUNTED
from settlement.posting import RESULT, STATES, TOTALS, Posted, post

PersonYear = tuple[int, int]  #: person, year: over all schemes, as a fund may count it so

CLAIMS = columns(
    id="int8", version="int2", person="int8", year="int2", scheme="int4", day="date",
    encounter="int8", pool="int4", state="int4", release="int4", parameters="int4",
    drug_list="int4",
    **dict.fromkeys(TOTALS, "int8"), facts=f"bytea:{FACTS.itemsize}",
)  # fmt: skip
LINES = columns(
    claim="int8", line_no="int2", service="int2", item="int8", service_type="int8", charged="int8",
    quantity="int8",
    **dict.fromkeys(RESULT, "int8"),
)  # fmt: skip
#: The settlements that count now, of the person-years asked for, in order of arrival.
READ_CLAIMS = """SELECT s.claim_id, s.version, s.person_id, s.year,
        array_position(%s::varchar[], s.scheme) - 1, s.service_date, c.encounter_key,
        array_position(%s::varchar[], r.policy_region::varchar) - 1,
        array_position(%s::varchar[], s.state) - 1, l.release_id, l.parameters_id, l.drug_list,
        TOTALS, FACTS
    FROM settlement_claim c
    JOIN LATERAL (SELECT * FROM settlement_settlement
        WHERE claim_id = c.id ORDER BY version DESC LIMIT 1) s ON s.version %% 2 = 1
    JOIN unnest(%s::bigint[], %s::smallint[]) y (person, year)
        ON y.person = s.person_id AND y.year = s.year
    JOIN institutions_region r ON r.code = c.region_code
    JOIN LATERAL (SELECT max(release_id) AS release_id, max(parameters_id) AS parameters_id,
            max(drug_list) AS drug_list FROM settlement_lineresult
        WHERE claim_id = c.id AND version = s.version) l ON l.release_id IS NOT NULL
    WHERE c.person_id = ANY (%s::bigint[]) ORDER BY c.id""".replace(
    "TOTALS", ", ".join(f"s.{name}" for name in TOTALS)
).replace("FACTS", whole_facts("c.facts"))
READ_LINES = """SELECT l.claim_id, l.line_no, l.service, hashtextextended(l.item_code, 0),
        hashtextextended(l.service_type, 0), l.fee, l.quantity, RESULTS
    FROM unnest(%s::bigint[], %s::smallint[]) w (claim, version)
    JOIN settlement_claimline l ON l.claim_id = w.claim
    JOIN settlement_lineresult r
        ON r.claim_id = w.claim AND r.version = w.version AND r.line_no = l.line_no
    ORDER BY l.claim_id, l.line_no""".replace(
    "RESULTS", ", ".join(f"r.{name}::bigint" for name in RESULT)
)
#: Consultations charged in claims of the same encounters that are not replayed themselves.
PRIOR = columns(encounter="int8", person="int8", claim="int8", item="int8")
READ_PRIOR = """SELECT c.encounter_key, c.person_id, c.id, hashtextextended(l.item_code, 0)
    FROM settlement_claim c
    JOIN settlement_claimline l ON l.claim_id = c.id AND l.service = %s
    JOIN settlement_lineresult r ON r.claim_id = c.id AND r.line_no = l.line_no
        AND r.decision IN (0, 2)
        AND r.version = (SELECT max(version) FROM settlement_settlement
            WHERE claim_id = c.id HAVING max(version) %% 2 = 1)
    WHERE c.encounter_key = ANY (%s::bigint[]) AND c.id <> ALL (%s::bigint[])"""
READ_ACCOUNTS = """SELECT person_id, account_left FROM settlement_personalaccount
    WHERE person_id = ANY (%s::bigint[]) ORDER BY person_id"""
SCHEMES = list(CODES["scheme"])
#: Reason of a reviewed line → the reviewer's decision (position in REVIEWS).
REVIEW_OF = {
    "REVIEW_PASSED": REVIEWS.index("passed"), "REVIEW_CUT": REVIEWS.index("passed"),
    "REVIEW_REFUSED": REVIEWS.index("refused"), "REVIEW_SELF_PAID": REVIEWS.index("self_paid"),
}  # fmt: skip


@dataclass(frozen=True)
class Replayed:
    """Claims in order of arrival, what stands of them, and what the replay makes of them.

    `claims` and `lines` are structured arrays of CLAIMS and LINES; `direct` says which claims other
    law decides, `changed` which come out differently. `rules[which[line]]` decided each line.
    """

    claims: np.ndarray
    lines: np.ndarray
    direct: np.ndarray
    changed: np.ndarray
    posted: Posted
    results: Results
    rules: list[Rules]
    which: np.ndarray

    def before(self, i: int) -> dict[str, int]:
        """The totals that stand of claim `i`, in fen."""
        return {name: int(self.claims[name][i]) for name in TOTALS}

    def after(self, i: int) -> dict[str, int]:
        """The totals of claim `i` as the replay has them, in fen."""
        return {name: int(getattr(self.posted, name)[i]) for name in TOTALS}

    def scheme(self, i: int) -> str:
        """The scheme of claim `i`."""
        return SCHEMES[int(self.claims["scheme"][i])]

    def states(self, i: int) -> tuple[str, str]:
        """The state that stands of claim `i`, and the replay's."""
        return STATES[int(self.claims["state"][i])], STATES[int(self.posted.state[i])]


def replay(
    cursor: Any, catalogue: Catalogue, asked: Mapping[PersonYear, Sequence[int]]
) -> Replayed | None:
    """Settle the asked claims by the law of today and what follows them by its own; None without any.

    The caller sees every region (a person-year spans institutions) and, to post, holds the locks.
    """
    wanted = list(asked)
    if not wanted:
        return None
    claims, pools = _read(cursor, wanted)
    years = {key: number for number, key in enumerate(wanted)}
    of_claim = np.array([years[_key(row)] for row in claims], np.int64)
    first = np.array([min(asked[key]) for key in wanted], np.int64)
    mine = claims["id"] >= first[of_claim] if len(claims) else np.zeros(0, bool)
    if not mine.any():
        return None
    keys, wholes = of_claim * len(SCHEMES) + claims["scheme"], of_claim + len(wanted) * len(SCHEMES)
    state = State.blank(len(wanted) * (len(SCHEMES) + 1))
    for places in (keys, wholes):
        _use(state, places[~mine], claims[~mine])
    claims, keys, wholes = claims[mine], keys[mine], wholes[mine]
    of_person, left = _accounts(cursor, claims)
    lines = copy_out(
        cursor, READ_LINES, LINES, [array_text(claims["id"]), array_text(claims["version"])]
    )
    direct = np.isin(claims["id"], [claim for found in asked.values() for claim in found])
    law = _law(cursor, catalogue, claims, pools, direct)
    facts, which = _facts(cursor, law, claims, lines, _reviews(lines))
    at_claim = facts.claim_of_line
    results = settle(
        facts, law.rules, which=which, keys=keys[at_claim], wholes=wholes[at_claim], state=state
    )
    posted = post(facts, results, law.rules, which, len(claims), of_person, left)
    changed = _changed(claims, lines, at_claim, posted, results)
    return Replayed(claims, lines, direct, changed, posted, results, law.rules, which)


def review(
    cursor: Any, catalogue: Catalogue, key: PersonYear, claim: int,
    verdicts: Mapping[int, tuple[int, int]],
) -> Replayed | None:  # fmt: skip
    """One claim by its own law with a reviewer's verdicts, where its person-year stands now.

    `verdicts`: line → (position in REVIEWS, fen cut of its fee). Lines without one, and every other
    claim, keep what they have. None when the claim does not count. To post, hold the locks.
    """
    claims, pools = _read(cursor, [key])
    mine = claims["id"] == claim
    if not mine.any():
        return None
    scheme, whole, kept = range(3)  # the last takes lines that keep what they have
    state = State.blank(3)
    _use(state, scheme, claims[claims["scheme"] == claims["scheme"][mine]])
    _use(state, whole, claims)
    claims = claims[mine]
    lines = copy_out(
        cursor, READ_LINES, LINES, [array_text(claims["id"]), array_text(claims["version"])]
    )
    decided = np.isin(lines["line_no"], list(verdicts))
    for place in (scheme, whole):
        _use(state, place, lines[decided & (lines["decision"] == PAYABLE)], -1)
    direct = np.zeros(1, bool)
    law = _law(cursor, catalogue, claims, pools, direct)
    facts, which = _facts(cursor, law, claims, lines, _verdicts(lines, verdicts))
    keys, wholes = np.where(decided, scheme, kept), np.where(decided, whole, kept)
    results = settle(facts, law.rules, which=which, keys=keys, wholes=wholes, state=state)
    for name in RESULT:
        stands = getattr(results, name)
        stands[~decided] = lines[name][~decided]
    of_person, left = _accounts(cursor, claims)
    posted = post(facts, results, law.rules, which, 1, of_person, left)
    changed = _changed(claims, lines, facts.claim_of_line, posted, results)
    return Replayed(claims, lines, direct, changed, posted, results, law.rules, which)


def _verdicts(lines: np.ndarray, verdicts: Mapping[int, tuple[int, int]]) -> dict[str, np.ndarray]:
    """The review columns of a claim's lines: what stands, then the verdicts."""
    zeros = np.zeros(len(lines), np.int64)
    columns = {"review": zeros, "review_cut": zeros.copy()} | _reviews(lines)
    for line_no, (verdict, cut) in verdicts.items():
        columns["review"][lines["line_no"] == line_no] = verdict
        columns["review_cut"][lines["line_no"] == line_no] = cut
    return columns


def _use(state: State, places: np.ndarray | int, rows: np.ndarray, sign: int = 1) -> None:
    """Count what claims or lines had used of their person-years at `places`, or take it back (-1)."""
    for column, (counted, *less) in zip(state.columns(), COUNTED.values(), strict=True):
        used = rows[counted] - sum(rows[name] for name in less)
        np.add.at(column, np.broadcast_to(places, len(rows)), sign * used)


def _key(row: np.void) -> PersonYear:
    return int(row["person"]), int(row["year"])


def _read(cursor: Any, wanted: Sequence[PersonYear]) -> tuple[np.ndarray, list[str]]:
    """The current settlements of the person-years, and the pooling regions their `pool` counts."""
    cursor.execute("SELECT DISTINCT policy_region FROM institutions_region ORDER BY 1")
    pools = [row[0] for row in cursor.fetchall()]
    persons, years = (list(column) for column in zip(*wanted, strict=True))
    given = [SCHEMES, pools, list(STATES), persons, years, sorted(set(persons))]
    return copy_out(cursor, READ_CLAIMS, CLAIMS, given), pools


def _accounts(cursor: Any, claims: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each claim's place among the accounts; what they hold now, and what the claims had drawn."""
    persons, of_claim = np.unique(claims["person"], return_inverse=True)
    cursor.execute(READ_ACCOUNTS, [persons.tolist()])
    held = dict(cursor.fetchall())
    left = np.array([held[person] for person in persons.tolist()], np.int64)
    np.add.at(left, of_claim, claims["account"])
    return of_claim, left


@lru_cache(maxsize=32)
def _numbered(catalogue: Catalogue) -> dict:
    """Compiled rules of a catalogue by what names them; a catalogue never changes."""
    return {}


def rules_for(
    catalogue: Catalogue, pool: str, day: dt.date, release: int = 0, parameters: int = 0
) -> Rules | None:
    """The rules of a named release and parameter set on a day; without a release, those in force."""
    found = catalogue.rules(pool, day, examples=examples_allowed())
    if not release or (found and (found.release_id, found.parameters_id) == (release, parameters)):
        return found
    sets = catalogue.sets_of(parameters)
    known = _numbered(catalogue)
    key = (release, parameters, Catalogue._span(sets, day))
    if key not in known:
        known[key] = pinned(catalogue, release, parameters, day, examples_allowed())
    return known[key]


def _law(
    cursor: Any, catalogue: Catalogue, claims: np.ndarray, pools: list[str], direct: np.ndarray
) -> Law:
    """What decides each claim: the law of today for `direct` ones, else what settled it."""
    rules: list[Rules] = []
    which = np.zeros(len(claims), np.int64)
    number_of: dict[tuple, int] = {}
    for i, row in enumerate(claims):
        stands = (0, 0) if direct[i] else (int(row["release"]), int(row["parameters"]))
        key = (int(row["pool"]), int(row["day"]), *stands)
        if key not in number_of:
            chosen = rules_for(catalogue, pools[key[0]], day_of(key[1]), *stands)
            if chosen is None:
                raise LookupError(f"no law decides claim {row['id']}")
            if not any(chosen is one for one in rules):
                rules.append(chosen)
            number_of[key] = next(k for k, one in enumerate(rules) if one is chosen)
        which[i] = number_of[key]
    lists, listed = _lists(catalogue, claims, pools, direct)
    facts = np.ascontiguousarray(claims["facts"]).view(FACTS)
    return Law.around(cursor, catalogue, rules, which, facts, claims["day"], lists, listed)


def _lists(
    catalogue: Catalogue, claims: np.ndarray, pools: list[str], direct: np.ndarray
) -> tuple[list[Formulary], np.ndarray]:
    """The drug list of each claim: today's of its day for `direct` ones, else the one that judged it."""
    keys = [
        (pools[int(row["pool"])], int(row["day"]), 0 if direct[i] else int(row["drug_list"]))
        for i, row in enumerate(claims)
    ]
    different = {
        key: catalogue.formulary_of(key[2]) if key[2] else
        catalogue.formulary(key[0], day_of(key[1])) if direct[i] else None
        for i, key in enumerate(keys)
    }  # fmt: skip
    return numbered([different[key] for key in keys])


def _reviews(lines: np.ndarray) -> dict[str, np.ndarray]:
    """What reviewers decided on lines before, as the standing results say; it holds in a replay."""
    review, cut = np.zeros(len(lines), np.int64), np.zeros(len(lines), np.int64)
    for name, verdict in REVIEW_OF.items():
        review[lines["reason"] == REASON_NO[name]] = verdict
    paid_less = lines["reason"] == REASON_NO["REVIEW_CUT"]
    cut[paid_less] = (lines["charged"] - lines["fee"])[paid_less]
    return {"review": review, "review_cut": cut} if review.any() else {}


def _watched(lines: np.ndarray) -> dict[str, np.ndarray]:
    """What supervision held or refused when the claims came in; only a reviewer ends it."""
    held = np.isin(lines["reason"], [REASON_NO[rule.code] for rule in WATCHED.values()])
    return {"watched": np.where(held, lines["check_no"], 0)} if held.any() else {}


def _facts(
    cursor: Any, law: Law, claims: np.ndarray, lines: np.ndarray, reviews: dict[str, np.ndarray]
) -> tuple[Columns, np.ndarray]:
    """The kernel's columns of the replayed lines, and which rules settle each."""
    at_claim = np.searchsorted(claims["id"], lines["claim"])
    which = law.which[at_claim]
    item, service_type = law.numbers(lines, which)
    same, other = _prior(cursor, law, claims, lines, at_claim)
    facts = Columns(
        np.ascontiguousarray(claims["facts"]).view(FACTS), at_claim,
        service=lines["service"].astype(np.int64), item=item, service_type=service_type,
        fee=lines["charged"].astype(np.int64), encounter=claims["encounter"][at_claim],
        prior_same=same, prior_other=other, **law.line_columns(claims, lines, at_claim), **reviews,
        **_watched(lines),
    )  # fmt: skip
    return facts, which


def _prior(
    cursor: Any, law: Law, claims: np.ndarray, lines: np.ndarray, at_claim: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per line: was the same consultation, or another level, charged in an earlier claim outside?"""
    same, other = np.zeros(len(lines), np.int64), np.zeros(len(lines), np.int64)
    keys = np.unique(claims["encounter"][claims["encounter"] != 0])
    charges = copy_out(
        cursor, READ_PRIOR, PRIOR, [CONSULT, array_text(keys), array_text(claims["id"])]
    )
    if not len(charges):
        return same, other
    met = np.isin(claims["encounter"][at_claim], charges["encounter"])
    for line in np.flatnonzero(met & (lines["service"] == CONSULT)):
        claim = claims[at_claim[line]]
        number = law.which[at_claim[line]]
        row_of, codes = law.rules[number].row_of_code, law.codes[number]
        earlier = charges[
            (charges["encounter"] == claim["encounter"]) & (charges["person"] == claim["person"])
            & (charges["claim"] < claim["id"])
        ]  # fmt: skip
        rows = row_of[codes.find(earlier["item"])]
        own = row_of[codes.find(lines["item"][line : line + 1])][0]
        same[line], other[line] = int((rows == own).any()), int((rows != own).any())
    return same, other


def _changed(
    claims: np.ndarray, lines: np.ndarray, at_claim: np.ndarray, posted: Posted, results: Results
) -> np.ndarray:
    """Claims whose state, a total, or the decision or an amount of a line comes out differently."""
    different = claims["state"] != posted.state
    for name in TOTALS:
        different |= claims[name] != getattr(posted, name)
    line = np.zeros(len(lines), bool)
    for name in RESULT:
        if name not in ("check_no", "flags", "drug_list"):
            line |= lines[name] != getattr(results, name)
    return different | (np.bincount(at_claim[line], minlength=len(claims)) > 0)


def law_of_days(catalogue: Catalogue, pool: str, first: dt.date, last: dt.date) -> list[tuple]:
    """(day, release, parameter set) that decide each day of a span now; days without law are absent."""
    found = []
    for number in range(day_number(first), day_number(last) + 1):
        rules = rules_for(catalogue, pool, day_of(number))
        if rules is not None:
            found.append((day_of(number), rules.release_id, rules.parameters_id))
    return found
