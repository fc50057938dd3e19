"""Assessment of the online service: weighted indicators per year, feeding renewal and payment.

The indicators are data of the region (parameter `assessment_scheme`): the measures ask for items of
their own and print none. All arithmetic is in whole numbers. (温医保办〔2021〕6号 二十一)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from agreements.clocks import parameter_row
from agreements.models import Agreement, Assessment
from audit import clock, trail
from institutions.models import Institution
from institutions.refusals import refused

KEY = "assessment_scheme"
CLAUSE = "二十一"
WHOLE = 10_000  #: weights, totals and coefficients are per ten thousand


@dataclass(frozen=True)
class Indicator:
    """One thing that is scored from 0 to the scheme's full score."""

    key: str
    name: str
    weight: int


@dataclass(frozen=True)
class Grade:
    """What a total from `start` on means: coefficient of payment and advice for renewal."""

    start: int
    name: str
    coefficient: int
    renewal: str


@dataclass(frozen=True)
class Scheme:
    """The indicators and grades of a region on a day; `example` when nobody official fixed them."""

    version: str
    full: int
    indicators: tuple[Indicator, ...]
    grades: tuple[Grade, ...]
    example: bool
    label: str

    def total(self, scores: Mapping[str, int]) -> int:
        """The weighted total per ten thousand, rounded half up once at the end."""
        points = sum(scores[one.key] * one.weight for one in self.indicators)
        return (2 * points + self.full) // (2 * self.full)

    def part(self, indicator: Indicator, score: int) -> int:
        """What one score adds to the total, rounded half up; for display only."""
        return (2 * score * indicator.weight + self.full) // (2 * self.full)

    def grade(self, total: int) -> Grade:
        """The highest grade that a total reaches."""
        return next(grade for grade in self.grades if total >= grade.start)


def scheme_of(institution: Institution, *, year: int) -> Scheme | None:
    """The scheme in force on the last day of a year in the institution's region.

    Refusal 409 when what was published is no scheme.
    """
    day = dt.date(year, 12, 31)
    found = parameter_row(institution.region, KEY, day)
    if found is None:
        return None
    value: Any = found.value
    try:
        return read_scheme(value, example=found.example, label=found.label)
    except (ValueError, TypeError, KeyError) as fault:
        raise refused(
            "state",
            "SCHEME_INVALID",
            f"{year}年的考核指标有误，请医保局更正：{fault}",
            "the published scheme is not valid",
            status=409,
            clause=CLAUSE,
        ) from fault


def read_scheme(data: Mapping[str, Any], *, example: bool, label: str = "") -> Scheme:
    """A scheme from its parameter; ValueError when weights do not add up or no grade takes 0."""
    indicators = tuple(Indicator(**row) for row in data["indicators"])
    grades = tuple(
        Grade(row["from"], row["name"], row["coefficient"], row["renewal"])
        for row in sorted(data["grades"], key=lambda row: -row["from"])
    )
    if sum(one.weight for one in indicators) != WHOLE:
        raise ValueError("考核指标的权重之和应为10000")
    if not grades or grades[-1].start != 0:
        raise ValueError("考核等次应覆盖到0分")
    if data["full"] <= 0 or len({one.key for one in indicators}) != len(indicators):
        raise ValueError("考核指标的满分应大于0，指标不得重复")
    return Scheme(data["version"], data["full"], indicators, grades, example, label)


@transaction.atomic
def record_assessment(
    *, institution: Institution, year: int, scores: Mapping[str, int], remark: str, by: str,
    at: dt.datetime, seen: int | None = None,
) -> Assessment:  # fmt: skip
    """Store the scores of a year; an earlier result of that year is superseded, never changed.

    `seen` is the result that the person saw (0: none). Refusal 409 without a scheme or an agreement in
    that year, or when somebody was faster; 422 for a missing, unknown or impossible score.
    """
    scheme = _scheme(institution, year, at)
    _complete(scheme, scores)
    Institution.objects.select_for_update(no_key=True).get(pk=institution.pk)
    before = known_result(institution, year=year)
    _correction(before, remark, seen)
    if before is not None:
        Assessment.objects.filter(pk=before.pk).update(superseded_at=at)
    total = scheme.total(scores)
    grade = scheme.grade(total)
    made = Assessment.objects.create(
        institution=institution, year=year, scheme=scheme.version, scores=dict(scores), total=total,
        coefficient=grade.coefficient, renewal=grade.renewal, example=scheme.example,
        remark=remark.strip(), recorded_at=at, recorded_by=by,
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="assessment.record", subject=f"assessment:{made.pk}",
        region_code=institution.region_id, institution_code=institution.pk,
        detail={"year": year, "scores": dict(scores), "total": total, "remark": made.remark,
                "coefficient": grade.coefficient, "scheme": scheme.version,
                "replaces": before.pk if before else None},
    )  # fmt: skip
    return made


def _scheme(institution: Institution, year: int, at: dt.datetime) -> Scheme:
    """The scheme by which an institution is assessed for a year."""
    if year > clock.local(at).year:
        raise refused("year", "YEAR_NOT_BEGUN", f"{year}年尚未开始，不能考核", "not begun yet")
    scheme = scheme_of(institution, year=year)
    if scheme is None:
        raise refused(
            "state",
            "SCHEME_MISSING",
            f"{year}年没有考核指标，请医保局先录入",
            "no assessment scheme for the year",
            status=409,
            clause=CLAUSE,
        )
    if not bound_in(year).filter(institution=institution).exists():
        raise refused(
            "state",
            "NO_AGREEMENT",
            f"该机构{year}年没有补充协议，不作线上服务考核",
            "no supplementary agreement in that year",
            status=409,
            clause=CLAUSE,
        )
    return scheme


def _correction(before: Assessment | None, remark: str, seen: int | None) -> None:
    if seen is not None and seen != (before.pk if before else 0):
        raise refused(
            "state",
            "CHANGED_MEANWHILE",
            "考核结果刚刚被他人登记，请核对后再办理",
            "the result was changed meanwhile",
            status=409,
        )
    limit = Assessment._meta.get_field("remark").max_length or 0
    if len(remark.strip()) > limit:
        raise refused("remark", "TOO_LONG", f"说明不超过{limit}字", "the remark is too long")
    if before is not None and not remark.strip():
        raise refused(
            "remark", "REASON_MISSING", "更正考核结果须写明理由", "a correction needs a reason"
        )


def bound_in(year: int) -> QuerySet[Agreement]:
    """The supplementary agreements that ran on any day of a year."""
    return Agreement.objects.filter(
        Q(valid_until__isnull=True) | Q(valid_until__gte=dt.date(year, 1, 1)),
        kind=Agreement.Kind.SUPPLEMENTARY, valid_from__lte=dt.date(year, 12, 31),
    )  # fmt: skip


def _complete(scheme: Scheme, scores: Mapping[str, int]) -> None:
    known = {one.key: one for one in scheme.indicators}
    for key in scores.keys() - known.keys():
        raise refused(key, "SCORE_UNKNOWN", f"没有“{key}”这一考核指标", "unknown indicator")
    for key, one in known.items():
        value = scores.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= scheme.full:
            raise refused(
                key,
                "SCORE_RANGE",
                f"“{one.name}”应为0至{scheme.full}的整数",
                f"a whole number up to {scheme.full}",
            )


def known_result(institution: Institution, *, year: int) -> Assessment | None:
    """The result of a year that no correction has replaced."""
    return known_results(institution).filter(year=year).first()


def known_results(
    institution: Institution, *, known_at: dt.datetime | None = None
) -> QuerySet[Assessment]:
    """The results of an institution as known now or at a moment, the latest year first."""
    known = Q(superseded_at__isnull=True)
    if known_at is not None:
        known = (known | Q(superseded_at__gt=known_at)) & Q(recorded_at__lte=known_at)
    return Assessment.objects.filter(known, institution=institution).order_by("-year")


def coefficient_of(institution: Institution, *, year: int) -> int | None:
    """The payment coefficient (per ten thousand) of a year; None while it is not assessed."""
    row = known_result(institution, year=year)
    return row.coefficient if row else None
