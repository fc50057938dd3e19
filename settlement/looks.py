"""A look at a person's data is an event about that person, so that a search by person finds it."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from audit import trail
from audit.models import Event
from institutions.models import User
from settlement.models import InsuredPerson


def looked(
    *, persons: Iterable[int | None], by: str, at: dt.datetime, action: str, subject: str,
    region_code: str, institution_code: str = "", detail: Mapping[str, Any] | None = None,
) -> int:  # fmt: skip
    """One event for each of these persons (ids); how many."""
    wanted = {person for person in persons if person}
    hashes = InsuredPerson.objects.filter(pk__in=wanted).values_list("id_hash", flat=True)
    made = Event.objects.bulk_create(
        trail.event_row(
            by=by, at=at, action=action, subject=subject, region_code=region_code,
            institution_code=institution_code, person_hash=bytes(digest), detail=dict(detail or {}),
        )
        for digest in hashes
    )  # fmt: skip
    return len(made)


def exported(*, user: User, at: dt.datetime, action: str, subject: str, **detail: Any) -> None:
    """Whoever takes a list away leaves an event with what chose it."""
    trail.record(
        by=user.username, at=at, action=action, subject=subject, region_code=user.region_id or "",
        institution_code=user.institution_id or "", detail=detail,
    )  # fmt: skip


def taken(
    *, persons: Iterable[int | None], by: str, at: dt.datetime, action: str, subject: str,
    **more: Any,
) -> None:  # fmt: skip
    """Whoever takes a file away leaves an event for each person in it; one event where there is nobody."""
    given = {"by": by, "at": at, "action": action, "subject": subject, **more}
    if not looked(persons=persons, **given):
        trail.record(**given)
