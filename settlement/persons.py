"""参保人综合查询: what is known of one insured person, read for those who may see it.

Entitlement on a day as known now or then, recognised diseases, what is used of deductible and limit
with every movement behind it, claims with the sentence why, reimbursements. (FIELD.md screen 4)
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from institutions.models import Region, User
from pricing.benefits import Benefit
from pricing.document import UNLIMITED
from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import SERVICES
from settlement import answer, explain, words
from settlement.facts import examples_allowed
from settlement.models import (
    Accumulator,
    Claim,
    Entitlement,
    InsuredPerson,
    OfflineVisit,
    OnlineSuspension,
    Scheme,
)
from settlement.why import RECEIVED, Line, Told, sentence

#: Every movement of a person-year is a version of a settlement; the running sums are the accumulator.
#: From the person's claims (an index) to their versions (the key): never over the whole ledger.
MOVES = """WITH moves AS (
    SELECT s.claim_id, s.version, c.claim_no, s.institution_code, s.service_date, s.settled_at,
        s.state, s.year, s.scheme, s.deductible, s.in_scope - s.first_self_pay AS in_scope, s.fund,
        sum(s.deductible) OVER w AS deductible_sum,
        sum(s.in_scope - s.first_self_pay) OVER w AS in_scope_sum, sum(s.fund) OVER w AS fund_sum
    FROM settlement_claim c JOIN settlement_settlement s ON s.claim_id = c.id
    WHERE c.person_id = %(person)s
    WINDOW w AS (PARTITION BY s.year, s.scheme ORDER BY s.settled_at, s.claim_id, s.version
        ROWS UNBOUNDED PRECEDING))
"""
PAGE_OF_MOVES = (
    MOVES
    + """SELECT claim_id, version, claim_no, institution_code, service_date, settled_at, state,
    deductible, in_scope, fund, deductible_sum::bigint, in_scope_sum::bigint, fund_sum::bigint,
    count(*) OVER ()
FROM moves WHERE year = %(year)s AND scheme = %(scheme)s
    AND (deductible <> 0 OR in_scope <> 0 OR fund <> 0)
ORDER BY settled_at DESC, claim_id DESC, version DESC LIMIT %(size)s OFFSET %(start)s"""
)
SUMS = (
    MOVES
    + """SELECT year, scheme, sum(deductible)::bigint, sum(in_scope)::bigint,
    sum(fund)::bigint
FROM moves GROUP BY 1, 2"""
)
BEFORE = (
    MOVES
    + """SELECT DISTINCT ON (claim_id) claim_id, (deductible_sum - deductible)::bigint,
    (fund_sum - fund)::bigint
FROM moves WHERE claim_id = ANY (%(claims)s::bigint[]) AND version %% 2 = 1
ORDER BY claim_id, version DESC"""
)


#: what a line's decision gives to the sentence, in fen
AMOUNTS = ("in_scope", "over_cap", "first_self_pay", "deductible", "fund", "major", "assistance")


@dataclass(frozen=True)
class Move:
    """One version of a settlement as a movement of its person-year, with the sums up to it (fen)."""

    claim_id: int
    version: int
    claim_no: str
    institution_code: str
    service_date: dt.date
    settled_at: dt.datetime
    state: str
    deductible: int
    in_scope: int
    fund: int
    deductible_sum: int
    in_scope_sum: int
    fund_sum: int


@dataclass(frozen=True)
class Year:
    """A person-year: what is used (the accumulator), what of it this reader's scope explains."""

    year: int
    scheme: str
    deductible_used: int
    in_scope_used: int
    fund_used: int
    major_used: int
    assistance_used: int
    goes_over: tuple[str, ...]  #: funds that count a year over all schemes
    deductible: tuple[int, ...]  #: the year's deductible, by price class where they differ
    limit: tuple[int, ...]  #: empty: there is none
    elsewhere: tuple[int, int, int]  #: used outside the reader's scope: deductible, in scope, fund


@dataclass(frozen=True)
class Explained:
    """A claim of the person with its amounts and the sentence why."""

    stored: answer.Stored
    told: Told
    why: str

    @property
    def money(self) -> dict[str, int] | None:
        """Amounts that count now, nothing of a reversed claim; None while it waits."""
        settled = self.stored.settled
        if settled is None:
            return None
        return {name: 0 if self.stored.reversal else settled[name]
                for name in ("fund", "account", "cash")}  # fmt: skip


def entitled(
    person: InsuredPerson, on: dt.date, known_at: dt.datetime | None
) -> Entitlement | None:
    """What the person was entitled to on a day, as known at a moment (None: now)."""
    rows = Entitlement.objects.filter(person=person)
    return rows.facts_on(on, known_at)


def suspensions(person: InsuredPerson, known_at: dt.datetime | None) -> list[OnlineSuspension]:
    """Days without online settlement, as known at a moment (None: now), newest first."""
    rows = OnlineSuspension.objects.filter(person=person)
    return list(rows.known() if known_at is None else rows.known_at(known_at))


def history(person: InsuredPerson) -> list[Entitlement]:
    """Everything that was ever recorded, newest days first; what was replaced stays in it."""
    return list(
        Entitlement.objects.filter(person=person).order_by("-valid_from", "-recorded_at", "-pk")
    )


def visits(person: InsuredPerson, who: User, most: int = 10) -> list[OfflineVisit]:
    """The last offline visits; a hospital sees its own."""
    rows = person.offline_visits.order_by("-day", "-pk")
    if who.institution_id:
        rows = rows.filter(institution_code=who.institution_id)
    return list(rows[:most])


# --- Person-years ---


def years(person: InsuredPerson, catalogue: Catalogue) -> list[Year]:
    """All person-years, newest first, with the year's limits and what other regions' claims used."""
    with connection.cursor() as cursor:
        cursor.execute(SUMS, {"person": person.pk})
        seen = {(year, scheme): sums for year, scheme, *sums in cursor.fetchall()}
    region = Region.objects.filter(pk=person.region_code).first()
    rows = Accumulator.objects.filter(person=person).order_by("-year", "scheme")
    return [_year(row, seen.get((row.year, row.scheme), [0, 0, 0]), region, catalogue)
            for row in rows]  # fmt: skip


def _year(
    row: Accumulator, seen: Sequence[int], region: Region | None, catalogue: Catalogue
) -> Year:
    last = dt.date(row.year, 12, 31)
    rules = region and catalogue.rules(region.policy_region, last, examples=examples_allowed())
    used = (row.deductible_used, row.in_scope_used, row.fund_used)
    mine = [b for (scheme, _), b in (rules.benefits if rules else {}).items()
            if scheme == row.scheme]  # fmt: skip
    return Year(
        row.year, row.scheme, *used, row.major_used, row.assistance_used,
        goes_over=rules.one_stop.goes_over if rules else (),
        deductible=tuple(sorted({b.deductible for b in mine if b.deductible})),
        limit=tuple(sorted({b.limit for b in mine if b.limit < UNLIMITED})),
        elsewhere=(used[0] - seen[0], used[1] - seen[1], used[2] - seen[2]),
    )  # fmt: skip


def moves(
    person: InsuredPerson, *, year: int, scheme: str, page: int, size: int
) -> tuple[list[Move], int]:
    """A page of the movements of a person-year, newest first, and how many there are."""
    given: dict[str, Any] = {"person": person.pk, "year": year, "scheme": scheme, "size": size,
             "start": (page - 1) * size}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(PAGE_OF_MOVES, given)
        rows = cursor.fetchall()
    return [Move(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


# --- Claims and why ---


def explained(
    person: InsuredPerson, claims: Sequence[Claim], catalogue: Catalogue
) -> list[Explained]:
    """Claims of a person with the sentence why, in the order given: two statements for all of them."""
    keys = [claim.pk for claim in claims]
    if not keys:
        return []
    stored = answer.read_many(keys)
    with connection.cursor() as cursor:
        cursor.execute(BEFORE, {"person": person.pk, "claims": keys})
        before = {key: (deductible, fund) for key, deductible, fund in cursor.fetchall()}
    found = []
    for key in keys:
        told = told_of(stored[key], catalogue, before.get(key, (0, 0)))
        found.append(Explained(stored[key], told, sentence(told)))
    return found


def told_of(stored: answer.Stored, catalogue: Catalogue, before: tuple[int, int]) -> Told:
    """A claim as the sentence needs it; `before`: deductible and fund used of the year until then."""
    if stored.settled is None:
        return Told(state=RECEIVED, fee=stored.fee)
    rules = answer.rules_of(stored, catalogue)
    lines = answer.represent(stored, rules, answer.home_of(stored, rules, catalogue))["lines"]
    paid = next((line for line in lines if line["decision"] == "payable"), None)
    benefit = _benefit(stored, rules)
    return Told(
        state=stored.state, fee=stored.fee, fund=stored.settled["fund"],
        account=stored.settled["account"],
        lines=tuple(_line(row, line) for row, line in zip(stored.lines, lines, strict=True)),
        how=_step(paid, "fund", "note"), over_clause=_cited(lines),
        deductible=benefit.deductible, deductible_before=before[0],
        limit=benefit.limit if benefit.limit < UNLIMITED else None, fund_before=before[1],
        reversed_because=(stored.reversal or {}).get("reason") or "",
    )  # fmt: skip


def _line(row: dict[str, Any], line: dict[str, Any]) -> Line:
    deciding = line["clauses"][0] if line["reason"] and line["clauses"] else None
    return Line(
        what=words.VALUES["service"].get(SERVICES[row["service"]], "费用"),
        decision=line["decision"], reason=line["reason"] or "", message=line["reason_text"] or "",
        clause=f"{deciding['document']} {deciding['clause']}" if deciding else "",
        fee=row["line_fee"], charge=line["patient_may_be_charged"],
        **{name: row[name] for name in AMOUNTS},
    )  # fmt: skip


def _benefit(stored: answer.Stored, rules: Rules) -> Benefit:
    """How the scheme of the claim pays, from its first line."""
    results = answer.results_of(stored, rules)
    service = SERVICES[stored.lines[0]["service"]]
    return explain.line_of(results, 0, rules, stored.record, service).benefit


def _step(line: dict[str, Any] | None, key: str, what: str) -> str:
    steps = line["explanation"] if line else ()
    return next((step[what] for step in steps if step["key"] == key), "")


def _cited(lines: Sequence[dict[str, Any]]) -> str:
    """Document and clause of what lies above the cap."""
    for line in lines:
        if clause := _step(line, "over_cap", "clause"):
            return f"{line['release']['document']} {clause}"
    return ""


def scheme_word(scheme: str) -> str:
    return Scheme(scheme).label if scheme in Scheme.values else scheme
