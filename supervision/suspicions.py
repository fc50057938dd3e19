"""Suspicions become findings: named, cited, with figures and evidence, each stored once, grown while open.

`key` is the SM3 of rule, subject and mark: the same suspicion is the same finding, whether it was seen
when the claim came in, in last night's audit or in one of the whole year.
"""

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from django.db import connections

from audit import trail
from audit.models import Event
from pricing.document import Policy
from pricing.watching import SECTION, Switch, law_of
from settlement.columns import day_of
from supervision.evidence import Pair, notes
from supervision.models import Finding
from supervision.rules import RULES, Found, Rule, Visits

NOTED = 500  #: records of one finding whose notes are kept with it
PIECE, RECORDS = 2_000, 50_000  #: findings and records of findings stored by one statement


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
class Counted:
    """What a claim brings into a suspicion: when and where it was, what it cost, what the funds paid."""

    day: int
    fee: int
    fund: int
    place: Place


@dataclass(frozen=True)
class Suspicion:
    """A finding before it is stored: claims and lines that carry it, and what each claim counts."""

    switch: Switch
    rule: Rule
    place: Place
    subject_code: str
    physician: str
    person: int | None
    mark: int
    figures: Mapping[str, Any]
    evidence: tuple[Pair, ...]
    counted: Mapping[int, Counted]

    @property
    def key(self) -> bytes:
        text = f"{self.switch.rule}|{self.rule.subject}|{self.subject_code}|{self.mark}"
        return hashlib.new("sm3", text.encode()).digest()

    @property
    def first(self) -> dt.date:
        return day_of(min(one.day for one in self.counted.values()))

    @property
    def last(self) -> dt.date:
        return day_of(max(one.day for one in self.counted.values()))

    @property
    def sums(self) -> Share:
        return _sums(self.counted.values())

    @property
    def shares(self) -> dict[str, Share]:
        """Where several institutions take part: what each has in it."""
        apart: dict[str, list[Counted]] = defaultdict(list)
        for one in self.counted.values():
            apart[one.place.code].append(one)
        return {code: _sums(ones) for code, ones in apart.items()} if len(apart) > 1 else {}

    def only(self, pairs: Iterable[Pair]) -> "Suspicion":
        """As far as these records carry it."""
        pairs = tuple(pairs)
        counted = {claim: self.counted[claim] for claim, _ in pairs}
        return replace(self, evidence=pairs, counted=counted)

    def joined(self, other: "Suspicion") -> "Suspicion":
        """With the records of another one of the same key, whose figures are the newer."""
        evidence = tuple(dict.fromkeys((*self.evidence, *other.evidence)))
        return replace(other, evidence=evidence, counted={**self.counted, **other.counted})


def _sums(ones: Collection[Counted]) -> Share:
    return len(ones), sum(one.fee for one in ones), sum(one.fund for one in ones)


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
    """The suspicions of a rule, named, with what each of their claims counts."""
    ids = visits["id"]
    for k, (start, end) in enumerate(zip(found.starts, found.ends(), strict=True)):
        rows = found.rows[start:end]
        last = int(rows[-1])
        person = int(visits["person"][last])
        pairs = zip(ids[rows].tolist(), found.line_no[start:end].tolist(), strict=True)
        figures: dict[str, Any] = {name: int(value[k]) for name, value in found.figures.items()}
        if found.pictures:
            figures["picture"] = found.pictures[k]
        yield Suspicion(
            switch=switch, rule=rule, place=names.place(int(visits["institution"][last])),
            subject_code=_subject(rule, int(found.subject[k]), names),
            physician=names.physician(int(visits["physician"][last])),
            person=person if rule.subject in ("claim", "person") else None,
            mark=int(found.mark[k]), figures=figures, evidence=tuple(dict.fromkeys(pairs)),
            counted=_counted(visits, np.unique(rows), names),
        )  # fmt: skip


def _counted(visits: Visits, rows: np.ndarray, names: Names) -> dict[int, Counted]:
    """Claim → what it counts."""
    columns = (visits[name][rows].tolist() for name in ("id", "day", "fee", "fund", "institution"))
    return {
        claim: Counted(day, fee, fund, names.place(number))
        for claim, day, fee, fund, number in zip(*columns, strict=True)
    }


def _subject(rule: Rule, number: int, names: Names) -> str:
    if rule.subject == "institution":
        return names.place(number).code
    if rule.subject in ("physician", "network"):
        return names.physician(number)
    return str(number)


KNOWN = """SELECT f.key, f.id, f.sequence, f.state = 'open' AND NOT f.fixed, f.parameters ? 'shares',
    coalesce(array_agg(e.claim_id) FILTER (WHERE e.id IS NOT NULL), '{}'),
    coalesce(array_agg(e.line_no) FILTER (WHERE e.id IS NOT NULL), '{}')
FROM supervision_finding f LEFT JOIN supervision_findingclaim e ON e.finding_id = f.id
WHERE f.key = ANY (%s) GROUP BY f.id ORDER BY f.sequence"""
MAKE = """INSERT INTO supervision_finding (key, sequence, region_code, institution_code, rule, behaviour,
    severity, clause, message, moment, subject_kind, subject_code, physician_code, person_id, first_day,
    last_day, claims, fee, fund, figures, parameters, run_id, found_at, state, assignee, decided_by,
    reason, fixed, records)
SELECT decode(key, 'hex'), sequence, region_code, institution_code, rule, behaviour, severity, clause,
    message, %(moment)s, subject_kind, subject_code, physician_code, person_id, first_day, last_day,
    claims, fee, fund, figures, parameters, %(run)s, %(at)s, 'open', '', '', '', false, records
FROM jsonb_to_recordset(%(findings)s::jsonb) AS given (
    key text, sequence smallint, region_code text, institution_code text, rule text, behaviour text,
    severity smallint, clause text, message text, subject_kind text, subject_code text,
    physician_code text, person_id bigint, first_day date, last_day date, claims integer, fee bigint,
    fund bigint, records integer, figures jsonb, parameters jsonb)
ON CONFLICT (key, sequence) DO NOTHING RETURNING id, rule, encode(key, 'hex')"""
LOCK = """SELECT id FROM supervision_finding WHERE id = ANY (%s) AND state = 'open' AND NOT fixed
ORDER BY id FOR UPDATE"""
CARRY = """INSERT INTO supervision_findingclaim (finding_id, claim_id, line_no, region_code,
    institution_code, note, fee, fund)
SELECT finding, claim, line, (%(regions)s::text[])[place], (%(codes)s::text[])[place], note, fee, fund
FROM unnest(%(finding)s::bigint[], %(claim)s::bigint[], %(line)s::smallint[], %(place)s::int[],
    %(note)s::text[], %(fee)s::bigint[], %(fund)s::bigint[])
    AS given (finding, claim, line, place, note, fee, fund)
ON CONFLICT DO NOTHING"""
GIVEN = ("finding", "claim", "line", "place", "note", "fee", "fund")
#: What the records of a finding count, each claim once; and what of it each institution has.
GROW = """UPDATE supervision_finding f SET severity = look.severity, clause = look.clause,
    figures = look.figures, first_day = least(f.first_day, look.first_day),
    last_day = greatest(f.last_day, look.last_day), claims = greatest(f.claims, now.claims),
    records = now.records, fee = greatest(f.fee, now.fee), fund = greatest(f.fund, now.fund),
    parameters = look.parameters || CASE WHEN now.places > 1
        THEN jsonb_build_object('shares', now.shares) ELSE '{}' END
FROM jsonb_to_recordset(%(looks)s::jsonb) AS look (id bigint, severity smallint, clause text,
    figures jsonb, parameters jsonb, first_day date, last_day date)
JOIN (SELECT finding_id, count(*) AS places, sum(claims) AS claims, sum(records) AS records,
        sum(fee) AS fee, sum(fund) AS fund,
        jsonb_object_agg(institution_code, jsonb_build_array(claims, fee, fund)) AS shares
    FROM (SELECT finding_id, institution_code, count(*) AS claims, sum(records) AS records,
            sum(fee) AS fee, sum(fund) AS fund
        FROM (SELECT finding_id, institution_code, count(*) AS records, coalesce(max(fee), 0) AS fee,
                coalesce(max(fund), 0) AS fund
            FROM supervision_findingclaim WHERE finding_id = ANY (%(ids)s)
            GROUP BY finding_id, institution_code, claim_id) claim
        GROUP BY finding_id, institution_code) place
    GROUP BY finding_id) now ON now.finding_id = look.id
WHERE f.id = look.id
RETURNING f.id, f.rule, f.region_code, f.institution_code, f.claims, f.fund"""


@dataclass(frozen=True)
class Looked:
    """By what and when suspicions were found, and by whom."""

    cited: Cited
    moment: str
    by: str
    at: dt.datetime
    run: int | None = None
    using: str = "default"


@dataclass
class _Known:
    """The findings of one key: the records that they rest on, and the one that can still grow."""

    pairs: set[Pair] = field(default_factory=set)
    sequence: int = 0
    grows: int | None = None
    shared: bool = False


def store(found: Iterable[Suspicion], look: Looked) -> list[tuple[int, str, str]]:
    """Store what is not known yet, with the records it rests on: (id, rule, key) of the new findings.

    Records that no finding of the same key has go into the one that is open; where it was decided or is
    evidence of a case, they make a new finding, of themselves alone.
    """
    ones: dict[bytes, Suspicion] = {}
    for one in found:
        ones[one.key] = ones[one.key].joined(one) if one.key in ones else one
    new: dict[tuple[str, int], Suspicion] = {}
    more: dict[int, Suspicion] = {}
    known = _known(ones, look.using)
    for key, one in ones.items():
        before = known.get(key, _Known())
        fresh = [pair for pair in one.evidence if pair not in before.pairs]
        if not fresh or (before.shared and look.moment == Finding.Moment.WATCH):
            continue  # of a finding of several institutions, one that submits sees its own share only
        if before.grows is not None:
            more[before.grows] = one.only(fresh)
        else:
            new[key.hex(), before.sequence + 1] = one.only(fresh)
    _grow(more, look)
    return _make(new, look)


def _known(keys: Iterable[bytes], using: str) -> dict[bytes, _Known]:
    found: dict[bytes, _Known] = defaultdict(_Known)
    with connections[using].cursor() as cursor:
        cursor.execute(KNOWN, [list(keys)])
        for key, number, sequence, grows, shared, claims, lines in cursor.fetchall():
            one = found[bytes(key)]
            one.pairs.update(zip(claims, lines, strict=True))
            one.sequence, one.grows, one.shared = sequence, number if grows else None, shared
    return found


def _make(new: Mapping[tuple[str, int], Suspicion], look: Looked) -> list[tuple[int, str, str]]:
    made: list[tuple[int, str, str]] = []
    rows = [_row(one, look.cited) | {"key": key, "sequence": sequence}
            for (key, sequence), one in new.items()]  # fmt: skip
    with connections[look.using].cursor() as cursor:
        for start in range(0, len(rows), PIECE):
            cursor.execute(MAKE, {
                "findings": json.dumps(rows[start : start + PIECE], ensure_ascii=False),
                "moment": look.moment, "run": look.run, "at": look.at,
            })  # fmt: skip
            made += cursor.fetchall()
    by_key = {key: one for (key, _), one in new.items()}
    _carry({number: by_key[key] for number, _, key in made}, look.using)
    return made


def _grow(more: Mapping[int, Suspicion], look: Looked) -> None:
    """What later looks found goes into open findings, each with its event."""
    if not more:
        return
    with connections[look.using].cursor() as cursor:
        cursor.execute(LOCK, [list(more)])
        ids = [number for (number,) in cursor.fetchall()]
        _carry({number: more[number] for number in ids}, look.using)
        looks = [_row(more[number], look.cited) | {"id": number} for number in ids]
        cursor.execute(GROW, {"looks": json.dumps(looks, ensure_ascii=False), "ids": ids})
        grown = cursor.fetchall()
    Event.objects.using(look.using).bulk_create(
        trail.event_row(
            by=look.by, at=look.at, action="finding.grow", subject=f"finding:{number}",
            region_code=region, institution_code=place,
            detail={"rule": rule, "claims": claims, "fund": fund,
                    "more": len(more[number].counted)},
        ) for number, rule, region, place, claims, fund in grown
    )  # fmt: skip


def _carry(ones: Mapping[int, Suspicion], using: str) -> None:
    """Store the records of findings; the notes of the first of each, a page reads those of the others."""
    said = _said(ones.values(), using)
    places: dict[Place, int] = {}
    rows = [
        (number, *pair, places.setdefault(counted.place, len(places) + 1),
         said[one.rule.code].get(pair, ""), counted.fee, counted.fund)
        for number, one in ones.items() for pair in one.evidence
        for counted in (one.counted[pair[0]],)
    ]  # fmt: skip
    where = {"regions": [one.region for one in places], "codes": [one.code for one in places]}
    with connections[using].cursor() as cursor:
        for start in range(0, len(rows), RECORDS):
            given = zip(*rows[start : start + RECORDS], strict=True)
            cursor.execute(CARRY, where | dict(zip(GIVEN, map(list, given), strict=True)))


def _said(found: Iterable[Suspicion], using: str) -> dict[str, dict[Pair, str]]:
    """Rule → what the records of its claims say: one read for each rule."""
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for one in found:
        pairs[one.rule.code] += sorted(one.evidence)[:NOTED]
    return {rule: notes(rule, rows, using=using) for rule, rows in pairs.items()}


def _row(one: Suspicion, cited: Cited) -> dict[str, Any]:
    switch, (claims, fee, fund) = one.switch, one.sums
    return {
        "region_code": one.place.region, "institution_code": one.place.code, "rule": switch.rule,
        "behaviour": switch.behaviour, "severity": switch.severity,
        "clause": cited.clause(switch, one.last), "message": one.rule.message,
        "subject_kind": one.rule.subject, "subject_code": one.subject_code,
        "physician_code": one.physician[:20], "person_id": one.person,
        "first_day": one.first.isoformat(), "last_day": one.last.isoformat(),
        "claims": claims, "fee": fee, "fund": fund, "records": len(one.evidence), "figures": one.figures,
        "parameters": {"numbers": dict(switch.numbers), "example": switch.example,
                       "document": cited.document, "clause": switch.clause,
                       "article": switch.article,
                       **({"shares": one.shares} if one.shares else {})},
    }  # fmt: skip
