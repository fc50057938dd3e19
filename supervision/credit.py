"""Credit scores: start, less what was decided of a subject, plus what was done well.

What counts how much is the region's parameter `credit_score`; without one nobody is scored. Every part
is counted from rows that anybody concerned can see. (温医保办〔2021〕6号 二十七)
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q, Sum

from agreements.clocks import parameter_row
from audit import clock, trail
from institutions.models import Institution, Physician, Region
from pricing.watching import BEHAVIOURS
from supervision.models import (
    CreditScore,
    Finding,
    InspectionTask,
    PointEntry,
    Restriction,
    SupervisionCase,
)

KEY = "credit_score"
Subject = CreditScore.Subject


@dataclass(frozen=True)
class Scheme:
    """The region's scheme: start, what each part is worth, the levels from the highest down."""

    start: int
    worth: Mapping[str, int]
    levels: tuple[tuple[int, str], ...]
    clause: str
    example: bool

    @classmethod
    def of(cls, region: Region, day: dt.date) -> "Scheme | None":
        """The scheme of a region on a day."""
        row = parameter_row(region, KEY, day)
        if row is None or not isinstance(row.value, Mapping):
            return None
        value: Mapping[str, Any] = row.value
        levels = tuple((level["from"], level["name"]) for level in value["levels"])
        return cls(value["start"], value["worth"], levels, row.clause, row.example)

    def level(self, score: int) -> str:
        """The level of a score."""
        return next((name for least, name in self.levels if score >= least), self.levels[-1][1])


@dataclass(frozen=True)
class Who:
    """A subject: kind, code, its place, and the id of a person."""

    kind: str
    code: str
    region_code: str
    institution_code: str = ""
    person_id: int | None = None


# --- What is counted ---


def _cases(who: Who, year: int) -> int:
    rows = SupervisionCase.objects.filter(final_on__year=year)
    if who.kind == Subject.INSTITUTION:
        return rows.filter(subject_kind="institution", subject_code=who.code).count()
    if who.person_id:
        return rows.filter(person_id=who.person_id).count()
    return rows.filter(
        subject_kind__in=("physician", "pharmacist", "nurse"), subject_code=who.code
    ).count()


#: what only an institution can do to a person (国务院令第735号 第38条): never the person's own fault
DONE_TO_PERSONS = set(BEHAVIOURS) - {"other"}


def _findings(who: Who, year: int) -> int:
    """Confirmed findings about the subject itself; what is about a claim is its institution's."""
    rows = Finding.objects.filter(state=Finding.State.CONFIRMED, decided_at__year=year)
    kind = Finding.Subject
    if who.kind == Subject.INSTITUTION:
        own = Q(subject_kind__in=(kind.CLAIM, kind.INSTITUTION, kind.NETWORK))
        own |= Q(subject_kind=kind.PERSON, behaviour__in=DONE_TO_PERSONS)
        return rows.filter(own, institution_code=who.code).count()
    if who.person_id:
        rows = rows.exclude(behaviour__in=DONE_TO_PERSONS)
        return rows.filter(subject_kind=kind.PERSON, person_id=who.person_id).count()
    return rows.filter(subject_kind=kind.PHYSICIAN, subject_code=who.code).count()


def _points(who: Who, year: int) -> int:
    rows = PointEntry.objects.filter(practitioner_code=who.code, year=year)
    return rows.aggregate(sum=Sum("points", default=0))["sum"]


def _restrictions(who: Who, year: int) -> int:
    rows = Restriction.objects.filter(valid_from__year=year)
    if who.person_id:
        return rows.filter(person_id=who.person_id).count()
    if who.kind == Subject.INSTITUTION:
        return rows.filter(kind="department", institution_code=who.code).count()
    return rows.filter(kind__in=("practitioner", "terminated"), subject_code=who.code).count()


def _clean(who: Who, year: int) -> int:
    rows = InspectionTask.objects.filter(visited_on__year=year, result="clean")
    return rows.filter(institution_code=who.code).count()


#: part → (its name, how it is counted, of whom)
ALL = frozenset(Subject.values)
PARTS: Mapping[str, tuple[str, Callable[[Who, int], int], frozenset[str]]] = {
    "case": ("生效的处理决定", _cases, ALL),
    "finding": ("查实的疑点", _findings, ALL),
    "point": ("年度记分", _points, frozenset({Subject.PRACTITIONER.value})),
    "restriction": ("暂停与终止", _restrictions, ALL),
    "clean": ("检查未发现问题", _clean, frozenset({Subject.INSTITUTION.value})),
}


def explained(who: Who, scheme: Scheme, year: int) -> tuple[list[dict[str, Any]], int]:
    """The parts that count something, and the score: never below zero, never above the start."""
    parts: list[dict[str, Any]] = []
    for key, (label, count, kinds) in PARTS.items():
        found = count(who, year) if who.kind in kinds else 0
        if found:
            each = scheme.worth[key]
            parts.append({"key": key, "label": label, "count": found, "each": each,
                          "points": found * each})  # fmt: skip
    total = scheme.start + sum(part["points"] for part in parts)
    return parts, min(max(total, 0), scheme.start)


# --- Scoring ---


@transaction.atomic
def score(*, who: Who, year: int, by: str, at: dt.datetime) -> CreditScore | None:
    """The score of a subject now: a new version when it differs from the last; None without a scheme."""
    region = Region.objects.get(pk=who.region_code)
    scheme = Scheme.of(region, clock.local(at).date())
    if scheme is None:
        return None
    parts, total = explained(who, scheme, year)
    rows = CreditScore.objects.filter(subject_kind=who.kind, subject_code=who.code, year=year)
    last = rows.order_by("-version").first()
    if last is not None and (last.parts, last.start, last.score) == (parts, scheme.start, total):
        return last
    made = CreditScore.objects.create(
        region_code=who.region_code, institution_code=who.institution_code, subject_kind=who.kind,
        subject_code=who.code, year=year, version=last.version + 1 if last else 1,
        start=scheme.start, parts=parts, score=total, level=scheme.level(total),
        clause=scheme.clause, example=scheme.example, made_at=at, made_by=by,
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="credit.score", subject=f"credit:{made.pk}",
        region_code=who.region_code, institution_code=who.institution_code,
        detail={"of": who.code, "year": year, "version": made.version, "score": total,
                "before": last.score if last else None},
    )  # fmt: skip
    return made


def score_all(*, region: Region, year: int, by: str, at: dt.datetime) -> int:
    """Every institution of an area, and every practitioner and person of whom something was decided."""
    return sum(score(who=who, year=year, by=by, at=at) is not None for who in subjects_of(region))


def subjects_of(region: Region) -> Iterable[Who]:
    """Who is scored in an area."""
    inside = {"region_code__within": region.prefix}
    places = Institution.objects.filter(region__code__within=region.prefix)
    for code, area in places.values_list("pk", "region_id"):
        yield Who(Subject.INSTITUTION, code, area, code)
    cases = SupervisionCase.objects.filter(**inside)
    codes = set(PointEntry.objects.filter(**inside).values_list("practitioner_code", flat=True))
    codes |= set(cases.filter(subject_kind__in=("physician", "pharmacist", "nurse"))
                 .values_list("subject_code", flat=True))  # fmt: skip
    for row in Physician.objects.filter(pk__in=codes).select_related("institution"):
        yield Who(Subject.PRACTITIONER, row.pk, row.institution.region_id, row.institution_id)
    people = cases.filter(person_id__isnull=False).values_list("person_id", "region_code")
    for person, area in dict(people).items():
        yield Who(Subject.PERSON, f"person:{person}", area, "", person)
