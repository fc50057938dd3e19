"""Celery tasks of the inbox and of what leaves the portal: doorbells, the database says what to do."""

from celery import shared_task
from django.utils import timezone

from audit import clock
from institutions import outbox, overdue

BEAT = "system:beat"


@shared_task(name="institutions.watch_overdue", expires=1800, soft_time_limit=280, time_limit=300)
def watch_overdue() -> int:
    """Soon after midnight, and every hour in case that was missed: report what is overdue."""
    return overdue.watch(on=clock.today(), by=BEAT, at=clock.now())


@shared_task(name=outbox.TASK, expires=60, soft_time_limit=280, time_limit=300)
def deliver() -> int:
    """When something is queued, and every half minute: send what waits.

    By the true time, in a demonstration too: receivers compare it with theirs.
    """
    return outbox.deliver(at=timezone.now())
