"""What is overdue is put before whoever oversees the office: once per task, until it is done."""

import datetime as dt
from collections import defaultdict

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from audit import tasks, trail
from audit.models import Task
from institutions import inbox, news
from institutions.models import User

AT_ONCE = 500


def watch(*, on: dt.date, by: str, at: dt.datetime) -> int:
    """Report tasks that became overdue, take back reports whose reason is gone; how many are new.

    Harmless to run twice: `escalated_at` says what was reported.
    """
    new = 0
    while True:
        with transaction.atomic():
            found = _escalate(on=on, by=by, at=at)
        new += found
        if found < AT_ONCE:
            break
    with transaction.atomic():
        _take_back(on=on, by=by, at=at)
    return new


def _escalate(*, on: dt.date, by: str, at: dt.datetime) -> int:
    rows = (
        Task.objects.select_for_update(skip_locked=True)
        .filter(state=Task.State.OPEN, due__lt=on, stopped=False, escalated_at=None)
        .exclude(permission=inbox.OVERSEE)
        .order_by("due", "pk")
    )
    late = list(rows[:AT_ONCE])
    Task.objects.filter(pk__in=[task.pk for task in late]).update(escalated_at=at)
    for task in late:
        tasks.open_task(
            subject=task.subject, permission=inbox.OVERSEE, at=at, title=f"逾期督办：{task.title}"[:200],
            region_code=task.region_code, institution_code=task.institution_code,
            procedure=task.procedure, status=tasks.OVERDUE, url=inbox.address(task), due=task.due,
            clause=task.clause,
        )  # fmt: skip
        trail.record(
            by=by, at=at, action="task.escalate", subject=task.subject,
            region_code=task.region_code, institution_code=task.institution_code,
            detail={"task": task.pk, "title": task.title, "due": task.due, "clause": task.clause,
                    "assignee": task.assignee},
        )  # fmt: skip
    _tell(late, at)
    return len(late)


def _tell(late: list[Task], at: dt.datetime) -> None:
    """The overseers of each place hear of its tasks at once, and each person of the own ones."""
    places: dict[str, list[Task]] = defaultdict(list)
    people: dict[str, list[Task]] = defaultdict(list)
    for task in late:
        places[task.region_code].append(task)
        if task.assignee:
            people[task.assignee].append(task)
    for region_code, rows in places.items():
        news.tell(
            permission=inbox.OVERSEE, region_code=region_code, institution_code="",
            text=_sentence(rows), url=_url(rows), subject=_subject(rows), at=at,
        )  # fmt: skip
    for person in User.objects.filter(username__in=people, is_active=True):
        rows = people[person.username]
        news.tell_people(
            people=[person], text=_sentence(rows), url=_url(rows), subject=_subject(rows), at=at
        )


def _sentence(rows: list[Task]) -> str:
    first = f"“{rows[0].title}”已超过期限{rows[0].due}"
    return first if len(rows) == 1 else f"{first}，另有{len(rows) - 1}项同时逾期"


def _url(rows: list[Task]) -> str:
    return inbox.address(rows[0]) if len(rows) == 1 else inbox.late_address()


def _subject(rows: list[Task]) -> str:
    return rows[0].subject if len(rows) == 1 else ""


def _take_back(*, on: dt.date, by: str, at: dt.datetime) -> None:
    """The reason is gone: the original is done, its clock stopped, or its day moved."""
    opened = Task.objects.filter(state=Task.State.OPEN)
    moved = Q(due__gte=on) | Q(due=None) | Q(stopped=True)
    opened.filter(moved, escalated_at__isnull=False).update(escalated_at=None)
    originals = opened.filter(
        subject=OuterRef("subject"), escalated_at__isnull=False
    ).exclude(permission=inbox.OVERSEE)  # fmt: skip
    reports = opened.filter(permission=inbox.OVERSEE, status=tasks.OVERDUE)
    reports.exclude(Exists(originals)).update(state=Task.State.DONE, closed_at=at, closed_by=by)
