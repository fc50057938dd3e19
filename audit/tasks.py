"""The inbox: one table of tasks for every procedure. Opened, replaced, assigned and closed here only."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from audit.models import Counter, Task

OVERDUE = "逾期督办"  #: status of the task that puts an overdue one before whoever oversees it


def replace(*, subject: str, by: str, at: dt.datetime, permission: str, **fields: Any) -> Task:
    """One open task for a subject: others of it are closed, the same holder's is brought up to date."""
    open_ones = Task.objects.filter(subject=subject, state=Task.State.OPEN)
    same = open_ones.filter(permission=permission).first()
    open_ones.exclude(permission=permission).update(
        state=Task.State.DONE, closed_at=at, closed_by=by
    )
    if same is not None and same.status == fields.get("status", ""):
        Task.objects.filter(pk=same.pk).update(escalated_at=None, **fields)
        return same
    if same is not None:
        Task.objects.filter(pk=same.pk).update(state=Task.State.DONE, closed_at=at, closed_by=by)
    return Task.objects.create(subject=subject, permission=permission, created_at=at, **fields)


def open_task(*, subject: str, permission: str, at: dt.datetime, **fields: Any) -> Task:
    """Open a task unless the same is open already (then that one, brought up to date)."""
    task, made = Task.objects.get_or_create(
        subject=subject, permission=permission, state=Task.State.OPEN,
        defaults={"created_at": at, **fields},
    )  # fmt: skip
    if not made:
        Task.objects.filter(pk=task.pk).update(**fields)
    return task


def is_open(*, subject: str, permission: str) -> bool:
    """Whether such a task waits."""
    return bool(open_of([subject], permission=permission))


def open_of(subjects: Iterable[str], *, permission: str) -> set[str]:
    """Of some subjects those for which such a task waits."""
    rows = Task.objects.filter(
        subject__in=list(subjects), permission=permission, state=Task.State.OPEN
    )
    return set(rows.values_list("subject", flat=True))


def close(*, subject: str, by: str, at: dt.datetime, permission: str = "") -> int:
    """Close the open tasks of a subject (only those of `permission`, if given); how many."""
    done = {"state": Task.State.DONE, "closed_at": at, "closed_by": by}
    rows = Task.objects.filter(subject=subject, state=Task.State.OPEN)
    if not permission:
        return rows.update(**done)
    closed = rows.filter(permission=permission).update(**done)
    if not rows.exclude(status=OVERDUE).exists():
        rows.update(**done)  # nothing is left to oversee
    return closed


def next_number(series: str) -> int:
    """The next number of a series, without gaps: the row stays locked until the commit."""
    Counter.objects.bulk_create([Counter(series=series)], ignore_conflicts=True)
    counter = Counter.objects.select_for_update().get(pk=series)
    counter.last += 1
    counter.save(update_fields=["last"])
    return counter.last
