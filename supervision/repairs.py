"""信用修复: points go down after a course; proposed with its paper, decided by a second person.

(温医保办〔2021〕6号 二十八)
"""

import datetime as dt

from django.db import IntegrityError, transaction
from django.urls import reverse

from audit import clock, tasks, trail
from institutions import documents
from institutions.models import Physician, User
from institutions.refusals import refused
from supervision import subjects
from supervision.models import PointRepair

HANDLE, DECIDE = "cases.handle", "cases.decide"
State = PointRepair.State


@transaction.atomic
def propose(
    *, practitioner: Physician, points: int, course: str, file: tuple[str, bytes], by: str,
    at: dt.datetime,
) -> PointRepair:  # fmt: skip
    """Propose a repair in the year of today; one waits at a time."""
    place, on = practitioner.institution, clock.local(at).date()
    subjects.refuse_repair_beyond(practitioner, points, on)
    if not course.strip():
        raise refused("course", "REQUIRED", "请填写修复事由", "say what repairs")
    paper = documents.store(
        content=file[1], name=file[0], kind="repair", by=by, at=at, institution=place,
        subject=f"physician:{practitioner.pk}",
    )  # fmt: skip
    try:
        with transaction.atomic():
            row = PointRepair.objects.create(
                region_code=place.region_id, institution_code=place.pk,
                practitioner_code=practitioner.pk, year=on.year, points=points,
                course=course.strip()[:80], document=paper, proposed_at=at, proposed_by=by,
            )  # fmt: skip
    except IntegrityError as error:
        raise refused("course", "REPAIR_OPEN", "已有一项信用修复待审批",
                      "a repair waits already", status=409) from error  # fmt: skip
    tasks.open_task(
        subject=f"pointrepair:{row.pk}", permission=DECIDE, at=at, procedure="points",
        title=f"审批信用修复：{practitioner.name}，修复{points}分", region_code=row.region_code,
        status=row.get_state_display(), clause=subjects.Tariff.of(row.region_code, on).clause,
        url=reverse("practitioner-points", args=[practitioner.pk]),
    )  # fmt: skip
    _event(row, "propose", by, at, course=row.course, document=paper.digest)
    return row


@transaction.atomic
def decide(
    *, repair: PointRepair, approve: bool, note: str, who: User, at: dt.datetime
) -> PointRepair:
    """Approve (the points go down at once) or refuse with a reason; never the proposer."""
    row = PointRepair.objects.select_for_update().get(pk=repair.pk)
    if row.state != State.PROPOSED:
        raise refused("state", "DECIDED_BEFORE", "已审批", "decided before", status=409)
    if row.proposed_by == who.username:
        raise refused("by", "SAME_PERSON", "提出人不能审批自己提出的信用修复", "another person",
                      status=403)  # fmt: skip
    if not approve and not note.strip():
        raise refused("note", "REQUIRED", "不予修复须写明理由", "a reason is needed")
    if approve:
        row.entry = _entered(row, who, at)
    row.state = State.APPROVED if approve else State.REFUSED
    row.note, row.decided_at, row.decided_by = note.strip()[:200], at, who.username
    row.save()
    tasks.close(subject=f"pointrepair:{row.pk}", by=who.username, at=at)
    _event(row, "approve" if approve else "refuse", who.username, at, note=row.note)
    return row


def _entered(row: PointRepair, who: User, at: dt.datetime):
    on = clock.local(at).date()
    if on.year != row.year:
        raise refused("year", "YEAR_OVER", f"{row.year}年度已结束，记分已重新计算，不能再修复",
                      "the year is over", status=409)  # fmt: skip
    return subjects.repair(
        practitioner=Physician.objects.get(pk=row.practitioner_code), points=row.points,
        course=row.course, source=f"repair:{row.pk}", on=on, proposed_by=row.proposed_by,
        by=who.username, at=at,
    )  # fmt: skip


def _event(row: PointRepair, what: str, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=f"repair.{what}", subject=f"pointrepair:{row.pk}",
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"practitioner": row.practitioner_code, "points": row.points, **detail},
    )  # fmt: skip
