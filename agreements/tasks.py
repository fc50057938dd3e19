"""Celery tasks of agreements: clocks that ran out, terms that end, every day."""

from celery import shared_task
from django.conf import settings

from agreements import commands, terms
from audit import clock

BEAT = "system:beat"


@shared_task(name="agreements.watch_clocks", expires=3600)
def watch_clocks() -> int:
    """Every day: what lapsed by itself is moved; how many applications."""
    return commands.lapse_overdue(by=BEAT, at=clock.now())


@shared_task(name="agreements.watch_terms", expires=3600)
def watch_terms() -> dict[str, int]:
    """Every day: agreements that are over expire, those that end soon ask to be renewed."""
    within = settings.AGREEMENT_WARN_DAYS
    return terms.watch(on=clock.today(), within=within, by=BEAT, at=clock.now())
