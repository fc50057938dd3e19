"""Scores of an institution's year computed from its claims, findings, deadlines and complaints.

Every indicator is a share: what was as it should be, of all there was. Its score is that share of the
full score, rounded half up; what nothing is known of has no score and is left to a person. The result is
a proposal: a person records it through agreements' own command. (温医保办〔2021〕6号 二十一)
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.utils.module_loading import import_string

from agreements.assessment import Scheme, record_assessment
from agreements.models import Assessment
from audit import trail
from audit.models import Task
from institutions.models import Institution
from institutions.refusals import refused
from pricing.rules import REASON_NO
from settlement.models import EvidenceGap, Settlement
from supervision.models import Complaint, Finding, FindingClaim

REMARK = 400
FOLLOW_UP = ("FIRST_VISIT", "REVISIT_WINDOW", "REVISIT_DISEASE_MISMATCH", "DISEASE_NOT_LISTED")
PRICE = ("OVERCHARGE", "DUPLICATE_CHARGE", "DOCTOR_RANK_MISMATCH", "ITEM_NOT_APPROVED")


@dataclass(frozen=True)
class Share:
    """What an indicator counts: `good` of `total`; nothing counted gives no score."""

    good: int
    total: int
    basis: str

    def score(self, full: int) -> int | None:
        if not self.total:
            return None
        return (2 * self.good * full + self.total) // (2 * self.total)


@dataclass(frozen=True)
class Proposed:
    """One indicator of the scheme with what was counted for it."""

    key: str
    name: str
    weight: int
    share: Share | None
    score: int | None


#: Lines of a year's standing settlements, and those that carry one of some reasons.
LINES = """SELECT count(*), count(*) FILTER (WHERE r.reason = ANY (%(reasons)s))
FROM settlement_settlement s
JOIN settlement_lineresult r ON r.claim_id = s.claim_id AND r.version = s.version
WHERE s.institution_code = %(code)s AND s.year = %(year)s AND s.version %% 2 = 1
    AND NOT EXISTS (SELECT FROM settlement_settlement later
        WHERE later.claim_id = s.claim_id AND later.version > s.version)"""


def _lines(place: Institution, year: int, reasons: tuple[str, ...], basis: str) -> Share:
    with connection.cursor() as cursor:
        cursor.execute(LINES, {
            "code": place.pk, "year": year, "reasons": [REASON_NO[code] for code in reasons],
        })  # fmt: skip
        total, bad = cursor.fetchone()
    return Share(total - bad, total, basis)


def _follow_up(place: Institution, year: int, today: dt.date) -> Share:
    return _lines(place, year, FOLLOW_UP, "结算明细中没有首诊、超复诊时限、病种不符的")


def _price(place: Institution, year: int, today: dt.date) -> Share:
    return _lines(place, year, PRICE, "结算明细中没有超标准、重复、职称不符、未批准收费的")


def _claims(place: Institution, year: int) -> int:
    return (
        Settlement.objects.filter(institution_code=place.pk, year=year)
        .values("claim_id").distinct().count()
    )  # fmt: skip


def _records(place: Institution, year: int, today: dt.date) -> Share:
    total = _claims(place, year)
    bad = (
        EvidenceGap.objects.filter(institution_code=place.pk, due_at__year=year)
        .values("claim_id").distinct().count()
    )  # fmt: skip
    return Share(max(total - bad, 0), total, "单据的病历、处方、购药、实名材料没有缺失或迟交的")


def _findings(place: Institution, year: int, today: dt.date) -> Share:
    total = _claims(place, year)
    bad = (
        FindingClaim.objects.filter(
            institution_code=place.pk, finding__state=Finding.State.CONFIRMED,
            finding__last_day__year=year,
        ).values("claim_id").distinct().count()
    )  # fmt: skip
    return Share(max(total - bad, 0), total, "单据没有被查实疑点涉及的")


def _deadlines(place: Institution, year: int, today: dt.date) -> Share:
    """Tasks of the institution's own people whose last day lies in the year and is over."""
    table = import_string(settings.ROLE_TABLE)
    own = {p for role in table.values() if role.scope == "institution" for p in role.permissions}
    others = {p for role in table.values() if role.scope != "institution" for p in role.permissions}
    tasks = Task.objects.filter(
        institution_code=place.pk, permission__in=own - others, due__year=year, due__lt=today
    ).exclude(state=Task.State.VOID)
    late = tasks.filter(Q(closed_at__isnull=True) | Q(closed_at__date__gt=F("due"))).count()
    total = tasks.count()
    return Share(total - late, total, "到期待办按期办结的")


def _satisfaction(place: Institution, year: int, today: dt.date) -> Share:
    total = _claims(place, year)
    proven = Complaint.objects.filter(
        institution_code=place.pk, received_at__year=year, state=Complaint.State.PROVEN
    ).count()
    return Share(max(total - proven, 0), total, "就诊没有查实举报投诉的")


MEASURES: dict[str, Callable[[Institution, int, dt.date], Share]] = {
    "follow_up": _follow_up, "records": _records, "price": _price, "deadlines": _deadlines,
    "findings": _findings, "satisfaction": _satisfaction,
}  # fmt: skip


def propose(
    institution: Institution, scheme: Scheme, *, year: int, today: dt.date
) -> list[Proposed]:
    """The scheme's indicators in its order; one that the portal cannot count has no score."""
    found = []
    for one in scheme.indicators:
        measure = MEASURES.get(one.key)
        share = measure(institution, year, today) if measure else None
        score = share.score(scheme.full) if share else None
        found.append(Proposed(one.key, one.name, one.weight, share, score))
    return found


def record(
    *, institution: Institution, scheme: Scheme, year: int, given: dict[str, int], remark: str,
    seen: int, by: str, at: dt.datetime, today: dt.date,
) -> Assessment:  # fmt: skip
    """Record the computed scores through agreements' command; a person fills in what has no score.

    The event keeps what was counted, so that the score can be followed to its claims.
    """
    proposed = propose(institution, scheme, year=year, today=today)
    scores = {}
    for one in proposed:
        score = one.score if one.score is not None else given.get(one.key)
        if score is None:
            raise refused(one.key, "SCORE_MISSING", f"“{one.name}”没有数据，请填写得分", "no data")
        scores[one.key] = score
    told = remark.strip() or "按结算、疑点和期限数据测算"
    made = record_assessment(
        institution=institution, year=year, scores=scores, remark=told[:REMARK], seen=seen, by=by,
        at=at,
    )  # fmt: skip
    trail.record(
        by=by, at=at, action="assessment.compute", subject=f"assessment:{made.pk}",
        region_code=institution.region_id, institution_code=institution.pk,
        detail={"year": year, "counted": {
            one.key: [one.share.good, one.share.total] for one in proposed if one.share
        }},
    )  # fmt: skip
    return made
