"""The law in force: published releases compiled once per process, chosen by region and service day."""

import datetime as dt
from bisect import bisect_right
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from django.db import connection

from pricing.document import EPOCH, NONE, Parameter, Policy, parse
from pricing.formulary import Formulary, disease_number
from pricing.models import Combination, Drug, DrugList, Release
from pricing.policy import Rules, compile_rules


@dataclass(frozen=True)
class Published:
    """A parsed release with its identity."""

    id: int
    sm3: str
    policy: Policy
    first: dt.date
    last: dt.date | None

    def covers(self, day: dt.date) -> bool:
        return self.first <= day and (self.last is None or day <= self.last)


@dataclass(frozen=True)
class Span:
    """Days that one compiled text decides, both included."""

    first: dt.date
    last: dt.date
    rules: Rules


class Catalogue:
    """All published releases at one moment; compiled rules are cached per span of days."""

    def __init__(
        self, releases: list[Published], lists: Sequence[DrugList] = (),
        combinations: Mapping[tuple[int, ...], int] | None = None,
    ):  # fmt: skip
        self._number_of = dict(combinations or {})
        self._sets_of = {number: sets for sets, number in self._number_of.items()}
        self._lists = {row.pk: row for row in lists}
        self._formularies: dict[int, Formulary] = {}
        self.policies = [r for r in releases if r.policy.kind == "policy"]
        self.parameters = [r for r in releases if r.policy.kind == "parameters"]
        self._by_id = {release.id: release for release in releases}
        self._compiled: dict[tuple, Rules] = {}
        self._rows: dict[tuple, dict[str, Parameter]] = {}
        self._rows_of_day: dict[tuple[str, dt.date, bool], dict[str, Parameter]] = {}
        self._of_day: dict[tuple[str, dt.date, bool], Rules | None] = {}

    def regions(self) -> list[str]:
        return sorted({release.policy.region for release in self.policies})

    def policy(self, region: str, day: dt.date) -> Published | None:
        """The release whose dates cover the day; else the nearest, so that it can say why not."""
        ours = sorted(
            (r for r in self.policies if r.policy.region == region), key=lambda r: r.first
        )
        if not ours:
            return None
        for release in reversed(ours):
            if release.covers(day):
                return release
        at = bisect_right([release.first for release in ours], day)
        return ours[max(at - 1, 0)]

    def same_item(self, code: str) -> list[str]:
        """A code with every other code under which a published document knows the same item."""
        found = {code}
        for release in self.policies:
            for item in release.policy.section("items", []):
                codes = {item["code"], *item.get("aliases", ())}
                found |= codes if code in codes else set()
        return sorted(found)

    def release(self, release_id: int) -> Published:
        return self._by_id[release_id]

    def rules(self, region: str, day: dt.date, *, examples: bool = True) -> Rules | None:
        """The compiled rules of a region on a day; None when no document of it is published."""
        asked = (region, day, examples)
        if asked not in self._of_day:
            self._of_day[asked] = self._rules(*asked)
        return self._of_day[asked]

    def spans(
        self, region: str, first: dt.date, last: dt.date, *, examples: bool = True
    ) -> list[Span]:
        """A period cut where another text, or another row of a parameter set, begins to decide.

        Days on which no document of the region is in force are in no span.
        """
        ours = [r for r in (*self.policies, *self.parameters) if r.policy.region == region]
        edges = {first}
        for release in ours:
            ended = () if release.last is None else (release.last + dt.timedelta(days=1),)
            edges |= {release.first, *ended, *release.policy.change_days()}
        starts = sorted(day for day in edges if first <= day <= last)
        found: list[Span] = []
        for start, after in zip(starts, [*starts[1:], last + dt.timedelta(days=1)], strict=True):
            rules = self.rules(region, start, examples=examples)
            end = after - dt.timedelta(days=1)
            if rules is None or not rules.first_day <= (start - EPOCH).days <= rules.last_day:
                continue
            if (
                found
                and found[-1].rules is rules
                and found[-1].last == start - dt.timedelta(days=1)
            ):
                start = found.pop().first
            found.append(Span(start, end, rules))
        return found

    def _rules(self, region: str, day: dt.date, examples: bool) -> Rules | None:
        chosen = self.policy(region, day)
        if chosen is None:
            return None
        sets = self._sets(region, day)
        key = (chosen.id, *self._key(sets, day, examples))
        if key not in self._compiled:
            self._compiled[key] = compile_rules(
                chosen.policy,
                self.rows(region, day, examples=examples),
                release_id=chosen.id,
                release_sm3=chosen.sm3,
                parameters_id=self._named(sets),
                until=chosen.last,
            )
        return self._compiled[key]

    def rows(self, region: str, day: dt.date, *, examples: bool) -> dict[str, Parameter]:
        """What the parameter sets of a region say on a day: of rows of one key the later set's holds."""
        asked = (region, day, examples)
        if asked not in self._rows_of_day:
            sets = self._sets(region, day)
            key = self._key(sets, day, examples)
            if key not in self._rows:
                said = (one.policy.parameters(day, examples=examples) for one in sets)
                self._rows[key] = dict(ChainMap(*reversed([*said])))
            self._rows_of_day[asked] = self._rows[key]
        return self._rows_of_day[asked]

    def _sets(self, region: str, day: dt.date) -> list[Published]:
        return [r for r in self.parameters if r.policy.region == region and r.covers(day)]

    def _key(self, sets: list[Published], day: dt.date, examples: bool) -> tuple:
        return (*(release.id for release in sets), self._span(sets, day), examples)

    def _named(self, sets: list[Published]) -> int:
        """The one number of parameter sets: 0 for none, a release, a combination of several.

        Sets that no publication combined (drafts in a trial) have the number of the last.
        """
        known = self._number_of.get(tuple(release.id for release in sets))
        return known or (sets[-1].id if sets else 0)

    def sets_of(self, parameters_id: int) -> list[Published]:
        """The parameter sets that a number names, in the order in which later rows prevail."""
        if not parameters_id:
            return []
        return [self._by_id[key] for key in self._sets_of.get(parameters_id, (parameters_id,))]

    def formulary(self, region: str, day: dt.date) -> Formulary | None:
        """The drug list in force in a region on a day; read once per process, it never changes."""
        for row in self._lists.values():
            last = row.valid_until
            if row.region == region and row.valid_from <= day and (last is None or day <= last):
                return self.formulary_of(row.pk)
        return None

    def formulary_of(self, list_id: int) -> Formulary:
        """A published drug list by its id."""
        if list_id not in self._formularies:
            self._formularies[list_id] = _formulary(self._lists[list_id])
        return self._formularies[list_id]

    def with_parameters(self, region: str, day: dt.date, given: dict[str, object]) -> Rules | None:
        """Rules in which stated parameters replace every parameter set (trials only)."""
        chosen = self.policy(region, day)
        if chosen is None:
            return None
        rows = {key: Parameter(value) for key, value in given.items()}
        return compile_rules(
            chosen.policy, rows, release_id=chosen.id, release_sm3=chosen.sm3, until=chosen.last
        )

    @staticmethod
    def _span(sets: list[Published], day: dt.date) -> int:
        """Which span between parameter changes the day lies in."""
        days = sorted(set().union(*(release.policy.change_days() for release in sets), set()))
        return bisect_right(days, day)


#: Changes whenever a release or a drug list is published or ended: an array, also within statements.
VERSION = """ARRAY(SELECT unnest(ARRAY[count(*), max(id), count(valid_until)])
        FROM pricing_release WHERE state = 'published')
    || ARRAY(SELECT unnest(ARRAY[count(*), coalesce(max(id), 0), count(valid_until)])
        FROM pricing_druglist WHERE state = 'published')"""


def version() -> tuple:
    """The version of what is published now; one small query."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {VERSION}")
        return stamp(cursor.fetchone()[0])


def stamp(found: list[int]) -> tuple:
    """The key of a catalogue: the database and the VERSION read from it."""
    return (connection.settings_dict["NAME"], *found)


@lru_cache(maxsize=4)
def catalogue_at(at_version: tuple) -> Catalogue:
    """The catalogue of a version (see `version`)."""
    rows = Release.objects.published().order_by("region", "valid_from", "id")
    return Catalogue(
        [Published(r.pk, r.sm3, parse(r.text), r.valid_from, r.valid_until) for r in rows],
        list(DrugList.objects.filter(state=DrugList.State.PUBLISHED)),
        {tuple(sets): number for sets, number in
         Combination.objects.values_list("releases", "id")},
    )  # fmt: skip


#: PostgreSQL's own hash of a code, by which a batch compares texts; the drugs come in its order.
DRUGS = """SELECT code, hashtextextended(code, 0), category, first_self_pay, coalesce(ceiling, %s),
        diseases
    FROM pricing_drug WHERE catalogue_id = %s ORDER BY 2"""
_CATEGORY = {name: number for number, name in enumerate(Drug.Category.values, 1)}


def _formulary(row: DrugList) -> Formulary:
    with connection.cursor() as cursor:
        cursor.execute(DRUGS, [NONE, row.pk])
        drugs = cursor.fetchall()
    codes, hashes, categories, shares, ceilings, diseases = (
        list(column) for column in (zip(*drugs, strict=True) if drugs else [()] * 6)
    )
    named = np.zeros((len(drugs), max(map(len, diseases), default=0)), np.uint32)
    for place, wanted in enumerate(diseases):
        named[place, : len(wanted)] = [disease_number(code) for code in wanted]
    return Formulary(
        id=row.pk, sm3=row.sm3, version=row.version, title=row.title, clause=row.clause,
        first=row.valid_from, last=row.valid_until,
        example=row.source_kind == DrugList.Source.EXAMPLE,
        codes={code: place for place, code in enumerate(codes)},
        hashes=np.array(hashes, np.int64),
        category=np.array([_CATEGORY[name] for name in categories], np.int64),
        share=np.array(shares, np.int64), ceiling=np.array(ceilings, np.int64), diseases=named,
    )  # fmt: skip


def current() -> Catalogue:
    """The releases published now."""
    return catalogue_at(version())
