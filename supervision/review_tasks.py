"""Celery tasks of fee reviews: held claims come before people, clocks run out."""

from celery import shared_task

from audit import clock
from institutions.access import EVERYTHING, scoped
from institutions.calendar import add_months
from supervision import review_sources, review_steps

BEAT = "system:beat"
MONTHS_BACK = 1  #: held claims of this and the month before; older ones were collected then


@shared_task(name="supervision.collect_reviews", soft_time_limit=600, time_limit=900)
def collect_reviews() -> int:
    """Every quarter of an hour: held claims that nobody reviews come before a person."""
    since = add_months(clock.today().replace(day=1), -MONTHS_BACK)
    with scoped(EVERYTHING):
        return review_sources.collect(since=since, by=BEAT, at=clock.now())


@shared_task(name="supervision.watch_reviews", soft_time_limit=600, time_limit=900)
def watch_reviews() -> int:
    """Every hour: what has changed ends, what the institution let pass goes on."""
    with scoped(EVERYTHING):
        return review_steps.sweep(on=clock.today(), at=clock.now())
