"""Celery tasks of auditing: doorbells; the run's row says what is to be done."""

import datetime as dt

from celery import shared_task

from audit import clock
from institutions.access import EVERYTHING, scoped
from institutions.models import Region
from supervision import audits, conduct, credit, monthly

WORKER = "system:worker"
BEAT = "system:beat"
NIGHTS = 7  #: days of acts that are looked at each night


@shared_task(name=audits.TASK, soft_time_limit=1_500, time_limit=1_800)
def audit(run_id: int) -> None:
    """Do an audit that waits; one that is done, in other hands or unknown is passed over."""
    audits.execute(run_id=run_id, by=WORKER, at=clock.now())


@shared_task(name="supervision.nightly", soft_time_limit=600, time_limit=900)
def nightly() -> int:
    """Every night: audit this month and the last, and months of claims that came late (温州 第二十四条)."""
    return len(audits.nightly(by=BEAT, at=clock.now()))


@shared_task(name="supervision.watch_conduct", soft_time_limit=600, time_limit=900)
def watch_conduct() -> int:
    """Every night: acts of our own people that need an explanation (温州 第二十九条).

    Of a whole week: nights in which nothing ran are made up for, a second look raises nothing.
    """
    today, at = clock.today(), clock.now()
    with scoped(EVERYTHING):
        days = (today - dt.timedelta(days=back) for back in range(NIGHTS, 0, -1))
        return sum(conduct.watch(on=day, by=BEAT, at=at) for day in days)


@shared_task(name="supervision.score_credit", soft_time_limit=1_500, time_limit=1_800)
def score_credit() -> int:
    """Every night: credit scores of this year, where a region has a scheme (温州 第二十七条)."""
    at, year = clock.now(), clock.today().year
    with scoped(EVERYTHING):
        return sum(credit.score_all(region=row, year=year, by=BEAT, at=at) for row in _tops())


def _tops() -> list[Region]:
    """The regions that lie in no other: each holds every subject of its area once."""
    found: list[Region] = []
    for row in Region.objects.order_by("code"):
        if not any(row.code.startswith(top.prefix) for top in found):
            found.append(row)
    return found


@shared_task(name="supervision.remind_monthly", soft_time_limit=300, time_limit=600)
def remind_monthly() -> int:
    """Every night: regions that report upward are asked for the report of the month that is over."""
    with scoped(EVERYTHING):
        return monthly.remind(on=clock.today(), by=BEAT, at=clock.now())


@shared_task(name="supervision.sweep_audits", expires=60)
def sweep_audits() -> int:
    """Every minute: ring again for audits that wait or lost their worker."""
    return audits.sweep(at=clock.now())
