"""A fact means the same before, at and after a claim; what goes on is found anew, sums count, not lines."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from django.db import connection

from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution
from pricing.releases import current
from pricing.rules import SERVICES
from settlement.columns import day_number
from supervision.load import load
from supervision.models import Finding
from supervision.rules import RULES, Visits
from supervision.rules.data import in_month
from tests import factories
from tests.settlement.hospital import Hospital
from tests.supervision.test_prechecks import URL, codes, visit
from tests.supervision.test_watch import WATCH, claim

DRUG = SERVICES.index("drug")
JUNE, JULY = day_number(dt.date(2021, 6, 15)), day_number(dt.date(2021, 7, 2))


@pytest.fixture
def hospitals(db, settings) -> tuple[Hospital, Hospital]:
    """Two hospitals of a region with the physician of the first, each with a patient of its own."""
    settings.SETTLEMENT_WATCH = WATCH
    factories.policies("wenzhou")
    one, other = Hospital("wenzhou"), Hospital("wenzhou")
    for place in (one, other):
        factories.offline_visit(place.patient, place.row)
    other.doctor = one.doctor
    return one, other


def registered(number: int) -> int:
    """What an audit reads of a claim."""
    days = dt.date(2021, 6, 1), dt.date(2021, 6, 30)
    spans = current().spans("wenzhou", *days)
    set_scope(EVERYTHING)
    with connection.cursor() as cursor:
        visits = load(cursor, "wenzhou", *days, back=0, spans=spans).visits
    return int(visits["registered"][visits["id"] == number][0])


@pytest.mark.parametrize(
    ("case", "outside"),
    [("own", False), ("elsewhere", True), ("parent", False), ("licence over", True),
     ("not checked", True), ("left", True)],
)  # fmt: skip
def test_a_registration_means_the_same_before_and_after(
    hospitals, case: str, outside: bool
) -> None:
    one, other = hospitals
    asks = other if case in ("elsewhere", "parent") else one
    given: dict[str, dict[str, Any]] = {
        "licence over": {"licence_until": dt.date(2021, 6, 1)}, "not checked": {"checked_at": None},
        "left": {"left_on": dt.date(2021, 6, 14)},
    }  # fmt: skip
    for name, value in given.get(case, {}).items():
        setattr(one.doctor, name, value)
    one.doctor.save()
    if case == "parent":
        Institution.objects.filter(pk=other.row.pk).update(parent=one.row)
    hints = codes(asks.post(visit(asks), url=URL))
    assert ("outside_licence" in hints) == outside
    answer = asks.post(claim(asks, "one", 30)).json()
    assert Finding.objects.filter(rule="outside_licence").exists() == outside
    assert registered(answer["id"]) == (not outside)


def test_a_pharmacys_claim_is_no_meeting(hospitals) -> None:
    one, _ = hospitals
    one.post(claim(one, "one", 30))
    two = Hospital("wenzhou")
    factories.offline_visit(two.patient, two.row)
    two.doctor = one.doctor
    assert "overlapping_sessions" in codes(two.post(visit(two), url=URL))
    Institution.objects.filter(pk=one.row.pk).update(kind="pharmacy")
    assert "overlapping_sessions" not in codes(two.post(visit(two), url=URL))


def test_a_finding_at_submit_keeps_the_own_institutions_share_alone(hospitals) -> None:
    one, other = hospitals
    one.post(claim(one, "one", 10))
    answer = other.post(claim(other, "two", 5)).json()  # begins earlier, is submitted later
    row = Finding.objects.get(rule="overlapping_sessions")
    assert (row.institution_code, row.claims, row.fee, row.person_id) == (
        other.row.pk, 1, 1_000, other.patient.pk,
    )  # fmt: skip
    assert [one.claim_id for one in row.evidence.all()] == [answer["id"]]
    assert "shares" not in row.parameters


def drugs(*lines: tuple[int, int], ordered: int, rejected: tuple[int, ...] = ()) -> list[int]:
    """Which lines (item, quantity) of one claim are not as prescribed."""
    n = len(lines)
    visits = Visits(
        {"id": np.array([1]), "institution": np.array([1]), "day": np.array([JUNE])},
        {"claim": np.zeros(n, np.int64), "line_no": np.arange(1, n + 1),
         "service": np.full(n, DRUG), "item": np.array([item for item, _ in lines]),
         "quantity": np.array([amount for _, amount in lines]), "ordered": np.full(n, ordered),
         "rejected": np.isin(np.arange(1, n + 1), rejected).astype(np.int64)},
    )  # fmt: skip
    return RULES["drug_not_prescribed"].find(visits, {}).line_no.tolist()


def test_the_lines_of_a_drug_are_compared_with_what_is_prescribed_in_all() -> None:
    assert drugs((7, 20_000), (7, 20_000), ordered=30_000) == [2]
    assert drugs((7, 20_000), (8, 20_000), ordered=30_000) == []
    assert drugs((7, 20_000), (7, 20_000), ordered=30_000, rejected=(1,)) == []
    assert drugs((7, 40_000), (7, 10_000), ordered=30_000) == [1, 2]
    assert drugs((7, 10_000), (7, 20_000), ordered=30_000) == []


def shared(*days: int) -> tuple[int, int]:
    """Subject and mark of a device that three persons use on each of some days."""
    n = 3 * len(days)
    visits = Visits(
        {"id": np.arange(n), "institution": np.ones(n, np.int64), "day": np.repeat(days, 3),
         "device": np.full(n, 5 << 40), "person": np.tile([1, 2, 3], len(days))},
        {"claim": np.zeros(0, np.int64)},
    )  # fmt: skip
    found = RULES["shared_device"].find(visits, {"persons": 3})
    return int(found.subject[0]), int(found.mark[0])


def test_what_goes_on_in_another_month_is_another_suspicion() -> None:
    assert shared(JUNE) == shared(JUNE - 3, JUNE) == shared(JUNE - 40, JUNE)
    assert shared(JUNE) != shared(JUNE, JULY) == shared(JULY)


def test_marks_differ_by_what_they_mark_and_by_month() -> None:
    marks = in_month(np.array([7, 7, -8]), np.array([JUNE, JUNE, JULY, JUNE]), np.array([1, 2, 1]))
    assert marks.tolist() == [(7 << 16) + 617, (7 << 16) + 618, (-8 << 16) + 617]
