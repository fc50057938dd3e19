"""A finding keeps its content, is found once, and is decided with a name and a reason."""

import datetime as dt
from typing import Any

import pytest
from django.db import Error, IntegrityError, connection, transaction

from supervision.models import Finding, FindingClaim
from tests.settlement.test_pages import AT

DAY = dt.date(2021, 12, 1)


def finding(**given: Any) -> Finding:
    values: dict[str, Any] = {
        "region_code": "320600", "institution_code": "H32060000001", "rule": "duplicate_charge",
        "behaviour": "duplicate_charge", "severity": 2, "clause": "通医保发〔2020〕25号 二（一）",
        "message": "同日重复收取诊察费", "moment": "audit", "subject_kind": "claim",
        "subject_code": "1", "first_day": DAY, "last_day": DAY, "claims": 2, "fee": 2400,
        "fund": 1200, "key": b"1" * 32, "found_at": AT,
    }  # fmt: skip
    return Finding.objects.create(**values | given)


WRONG: list[dict[str, Any]] = [
    {"last_day": DAY - dt.timedelta(days=1)},
    {"state": "confirmed", "reason": "查实"},
    {"state": "refuted", "decided_at": AT, "decided_by": "reviewer"},
    {"state": "merged", "decided_at": AT, "decided_by": "reviewer"},
]


@pytest.mark.django_db
@pytest.mark.parametrize("given", WRONG)
def test_the_database_refuses_half_a_decision(given: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        finding(**given)


@pytest.mark.django_db
def test_the_same_suspicion_is_found_once() -> None:
    finding()
    with pytest.raises(IntegrityError), transaction.atomic():
        finding()


@pytest.mark.django_db
def test_content_stays_the_decision_moves_and_evidence_only_grows() -> None:
    row = finding()
    FindingClaim.objects.create(
        finding=row, claim_id=7, region_code=row.region_code, institution_code=row.institution_code
    )
    with pytest.raises(Error, match="keeps its content"), transaction.atomic():
        Finding.objects.filter(pk=row.pk).update(fee=1)
    Finding.objects.filter(pk=row.pk).update(
        state="confirmed", decided_at=AT, decided_by="reviewer", reason="病历与收费不符"
    )
    with pytest.raises(Error), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM supervision_findingclaim")
