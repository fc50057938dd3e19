"""The computed assessment: what findings, late tasks and complaints take from an institution's year."""

import datetime as dt

import pytest
from django.utils import timezone

from agreements.assessment import scheme_of
from audit.models import Task
from institutions.access import EVERYTHING, set_scope
from supervision import assessing
from supervision.models import Complaint, Finding, FindingClaim
from tests import factories
from tests.settlement.hospital import Hospital

pytestmark = pytest.mark.django_db
DAY, TODAY = factories.DAY, dt.date(factories.DAY.year, 12, 31)
AT = dt.datetime(factories.DAY.year, 12, 1, 2, tzinfo=dt.UTC)


@pytest.fixture
def hospital() -> Hospital:
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    factories.offline_visit(made.patient, made.row)
    for _ in range(4):
        made.settled()
    set_scope(EVERYTHING)
    return made


def shares(hospital: Hospital) -> dict[str, tuple[int, int, int | None]]:
    """Indicator → what was good, of how many, and its score."""
    scheme = scheme_of(hospital.row, year=DAY.year)
    assert scheme is not None
    found = assessing.propose(hospital.row, scheme, year=DAY.year, today=TODAY)
    return {one.key: (one.share.good, one.share.total, one.score) for one in found if one.share}


def finding(hospital: Hospital, number: int, state: str) -> None:
    place = {"region_code": hospital.row.region_id, "institution_code": hospital.row.pk}
    decided = {} if state == "open" else {
        "decided_at": AT, "decided_by": "x", "reason": "核实"}  # fmt: skip
    made = Finding.objects.create(
        rule="no_consent", severity=2, clause="示例", message="示例", moment="audit",
        subject_kind="claim", subject_code=str(number), first_day=DAY, last_day=DAY, claims=1,
        fee=1, fund=1, key=bytes([number]), found_at=AT, state=state, **decided, **place,
    )  # fmt: skip
    FindingClaim.objects.create(finding=made, claim_id=number, **place)


def task(hospital: Hospital, number: int, *, due: dt.date, closed: dt.date | None) -> None:
    Task.objects.create(
        subject=f"x:{number}", permission="reviews.object", title="示例", due=due,
        state="done" if closed else "open", created_at=AT,
        region_code=hospital.row.region_id, institution_code=hospital.row.pk,
        closed_at=dt.datetime.combine(closed, dt.time(12), factories.ZONE) if closed else None,
    )  # fmt: skip


def test_a_year_without_reproach_has_the_full_score_where_anything_is_counted(
    hospital: Hospital,
) -> None:
    found = shares(hospital)
    scheme = scheme_of(hospital.row, year=DAY.year)
    assert scheme is not None
    assert found["findings"] == (4, 4, scheme.full)
    assert found["deadlines"] == (0, 0, None)  # no task was due: left to a person


def test_confirmed_findings_late_tasks_and_proven_complaints_take_their_share(
    hospital: Hospital,
) -> None:
    for number, state in enumerate(("confirmed", "refuted", "open"), 1):
        finding(hospital, number, state)
    task(hospital, 1, due=DAY, closed=DAY)
    task(hospital, 2, due=DAY, closed=DAY + dt.timedelta(days=1))
    task(hospital, 3, due=DAY, closed=None)
    task(hospital, 4, due=DAY, closed=DAY - dt.timedelta(days=1))
    task(hospital, 5, due=TODAY + dt.timedelta(days=1), closed=None)  # another year's
    Complaint.objects.create(
        number="J1", query_hash=bytes(32), region_code=hospital.row.region_id,
        institution_code=hospital.row.pk, about="x", text="x", received_at=AT, state="proven",
        answer="查实", answered_at=timezone.now(), handled_by="x",
    )  # fmt: skip
    found = shares(hospital)
    scheme = scheme_of(hospital.row, year=DAY.year)
    assert scheme is not None
    assert found["findings"] == (3, 4, scheme.full * 3 // 4)
    assert found["deadlines"] == (2, 4, scheme.full // 2)
    assert found["satisfaction"] == (3, 4, scheme.full * 3 // 4)
