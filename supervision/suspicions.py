"""Suspicions become findings: named, cited, with figures and evidence, each stored once.

`key` is the SM3 of rule, subject and mark: the same suspicion is the same finding, whether it was seen
when the claim came in, in last night's audit or in one of the whole year.
"""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import connections

from pricing.document import Policy
from pricing.watching import SECTION, Switch, law_of
from settlement.columns import day_of
from supervision.evidence import Pair, notes
from supervision.rules import RULES, Found, Rule, Visits

EVIDENCE_MOST = 500  #: claims kept as evidence of one finding; its figures count all
PIECE = 2_000  #: findings stored by one statement


@dataclass(frozen=True)
class Place:
    """An institution behind its number."""

    code: str
    region: str


#: How many claims of a finding are of one institution, what they cost, what the funds paid for them.
Share = tuple[int, int, int]


@dataclass(frozen=True)
class Names:
    """What the numbers of columns stand for."""

    places: Mapping[int, Place]
    physicians: Mapping[int, str]

    def place(self, number: int) -> Place:
        return self.places.get(number, Place("", ""))

    def physician(self, number: int) -> str:
        return self.physicians.get(number, f"#{number & 0xFFFFFFFF:08x}" if number else "")


@dataclass(frozen=True)
class Cited:
    """The document by which a rule speaks."""

    policy: Policy

    @property
    def document(self) -> str:
        return self.policy.document

    def clause(self, switch: Switch, day: dt.date) -> str:
        """Document and clause, then the statute's article where it was in force that day."""
        parts = (f"{self.document} {switch.clause}", self.statute(switch, day))
        return "；".join(part for part in parts if part)[:160]

    def statute(self, switch: Switch, day: dt.date) -> str:
        """The statute's article; empty before it was in force: what was done before is not judged by it."""
        law = law_of(self.policy.section(SECTION, {}), day)
        return f"{law.document} {switch.article}" if law and switch.article else ""


@dataclass(frozen=True)
class Suspicion:
    """A finding before it is stored."""

    switch: Switch
    rule: Rule
    place: Place
    subject_code: str
    physician: str
    person: int | None
    first: dt.date
    last: dt.date
    claims: int
    fee: int
    fund: int
    mark: int
    figures: dict[str, Any] = field(default_factory=dict)
    evidence: tuple[tuple[int, int], ...] = ()
    #: where several institutions take part: claim of the evidence → its place, place → its own share
    where: Mapping[int, Place] = field(default_factory=dict)
    shares: Mapping[str, Share] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        text = f"{self.switch.rule}|{self.rule.subject}|{self.subject_code}|{self.mark}"
        return hashlib.new("sm3", text.encode()).digest()


def look(
    visits: Visits, switches: Iterable[Switch], moment: str
) -> Iterator[tuple[Switch, Rule, Found]]:
    """What each rule that speaks at a moment finds about the judged visits."""
    for switch in switches:
        if switch.speaks(moment):
            rule = RULES[switch.rule]
            yield switch, rule, rule.find(visits, switch.numbers).touching(visits.focus)


def suspicions(
    visits: Visits, switch: Switch, rule: Rule, found: Found, names: Names
) -> Iterator[Suspicion]:
    """The suspicions of a rule, named and added up."""
    fee, fund = found.totals(visits, "fee"), found.totals(visits, "fund")
    days, ids = visits["day"], visits["id"]
    for k, (start, end) in enumerate(zip(found.starts, found.ends(), strict=True)):
        rows = found.rows[start:end]
        whole = np.unique(rows)
        last = int(rows[-1])
        person = int(visits["person"][last])
        pairs = zip(ids[rows].tolist(), found.line_no[start:end].tolist(), strict=True)
        evidence = tuple(dict.fromkeys(pairs))[:EVIDENCE_MOST]
        where, shares = _apart(visits, whole, names)
        figures: dict[str, Any] = {name: int(value[k]) for name, value in found.figures.items()}
        if found.pictures:
            figures["picture"] = found.pictures[k]
        yield Suspicion(
            switch=switch, rule=rule, place=names.place(int(visits["institution"][last])),
            subject_code=_subject(rule, int(found.subject[k]), names),
            physician=names.physician(int(visits["physician"][last])),
            person=person if rule.subject in ("claim", "person") else None,
            first=day_of(int(days[rows].min())), last=day_of(int(days[rows].max())),
            claims=len(whole), fee=int(fee[k]), fund=int(fund[k]), mark=int(found.mark[k]),
            figures=figures, evidence=evidence, where=where, shares=shares,
        )  # fmt: skip


def _apart(
    visits: Visits, rows: np.ndarray, names: Names
) -> tuple[dict[int, Place], dict[str, Share]]:
    """Of claims of several institutions: where each was, and the share of each institution."""
    numbers = visits["institution"][rows]
    if (numbers == numbers[0]).all():
        return {}, {}
    where = {
        int(claim): names.place(int(number))
        for claim, number in zip(visits["id"][rows], numbers, strict=True)
    }
    shares = {
        names.place(int(number)).code: (
            len(own := rows[numbers == number]), int(visits["fee"][own].sum()),
            int(visits["fund"][own].sum()),
        )
        for number in np.unique(numbers)
    }  # fmt: skip
    return where, shares


def _subject(rule: Rule, number: int, names: Names) -> str:
    if rule.subject == "institution":
        return names.place(number).code
    if rule.subject in ("physician", "network"):
        return names.physician(number)
    return str(number)


STORE = """WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(findings)s::jsonb) AS g (
        key text, region_code text, institution_code text, rule text, behaviour text,
        severity smallint, clause text, message text, subject_kind text, subject_code text,
        physician_code text, person_id bigint, first_day date, last_day date, claims integer,
        fee bigint, fund bigint, figures jsonb, parameters jsonb, evidence jsonb)
), made AS (
    INSERT INTO supervision_finding (key, region_code, institution_code, rule, behaviour, severity,
        clause, message, moment, subject_kind, subject_code, physician_code, person_id, first_day,
        last_day, claims, fee, fund, figures, parameters, run_id, found_at, state, assignee,
        decided_by, reason)
    SELECT decode(key, 'hex'), region_code, institution_code, rule, behaviour, severity, clause,
        message, %(moment)s, subject_kind, subject_code, physician_code, person_id, first_day,
        last_day, claims, fee, fund, figures, parameters, %(run)s, %(at)s, 'open', '', '', ''
    FROM given
    ON CONFLICT (key) DO NOTHING RETURNING id, key, rule
), evidence AS (
    INSERT INTO supervision_findingclaim (finding_id, claim_id, line_no, region_code,
        institution_code, note)
    SELECT made.id, (e ->> 0)::bigint, (e ->> 1)::smallint, e ->> 3, e ->> 4, e ->> 2
    FROM given JOIN made ON made.key = decode(given.key, 'hex'),
        jsonb_array_elements(given.evidence) e
)
SELECT id, rule, encode(key, 'hex') FROM made"""


def store(
    found: Sequence[Suspicion], cited: Cited, *, moment: str, at: dt.datetime, run: int | None,
    using: str = "default",
) -> list[tuple[int, str, str]]:  # fmt: skip
    """Store what is not known yet, with the records it rests on: (id, rule, key) of the new findings."""
    made: list[tuple[int, str, str]] = []
    found = _new(found, using)
    said = _said(found, using)
    with connections[using].cursor() as cursor:
        for start in range(0, len(found), PIECE):
            rows = {
                one.key: _row(one, cited, said[one.rule.code])
                for one in found[start : start + PIECE]
            }
            cursor.execute(STORE, {
                "findings": json.dumps(list(rows.values()), ensure_ascii=False),
                "moment": moment, "run": run, "at": at,
            })  # fmt: skip
            made += cursor.fetchall()
    return made


KNOWN = "SELECT encode(key, 'hex') FROM supervision_finding WHERE key = ANY (%s)"


def _new(found: Sequence[Suspicion], using: str) -> list[Suspicion]:
    """Those that are no findings yet."""
    with connections[using].cursor() as cursor:
        cursor.execute(KNOWN, [[one.key for one in found]])
        known = {key for (key,) in cursor.fetchall()}
    return [one for one in found if one.key.hex() not in known]


def _said(found: Sequence[Suspicion], using: str) -> dict[str, dict[Pair, str]]:
    """Rule → what the records of its claims say: one read for each rule."""
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for one in found:
        pairs[one.rule.code] += one.evidence
    return {rule: notes(rule, rows, using=using) for rule, rows in pairs.items()}


def _row(one: Suspicion, cited: Cited, said: Mapping[Pair, str]) -> dict[str, Any]:
    switch = one.switch
    return {
        "key": one.key.hex(), "region_code": one.place.region,
        "institution_code": one.place.code, "rule": switch.rule, "behaviour": switch.behaviour,
        "severity": switch.severity, "clause": cited.clause(switch, one.last), "message": one.rule.message,
        "subject_kind": one.rule.subject, "subject_code": one.subject_code,
        "physician_code": one.physician[:20], "person_id": one.person,
        "first_day": one.first.isoformat(), "last_day": one.last.isoformat(),
        "claims": one.claims, "fee": one.fee, "fund": one.fund, "figures": one.figures,
        "parameters": {"numbers": dict(switch.numbers), "example": switch.example,
                       "document": cited.document, "clause": switch.clause,
                       "article": switch.article,
                       **({"shares": one.shares} if one.shares else {})},
        "evidence": [_carrier(one, pair, said) for pair in one.evidence],
    }  # fmt: skip


def _carrier(one: Suspicion, pair: Pair, said: Mapping[Pair, str]) -> tuple:
    """A record of a finding: claim, line, note and the institution whose claim it is."""
    place = one.where.get(pair[0], one.place)
    return *pair, said.get(pair, ""), place.region, place.code
