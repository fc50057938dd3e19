"""Celery tasks of the registry: rung once a day, and when a sheet is confirmed."""

from celery import shared_task
from django.conf import settings

from audit import clock
from institutions.access import EVERYTHING, scoped
from institutions.commands import adopt_names
from institutions.exchange import intake
from institutions.expiries import watch

BEAT = "system:beat"


@shared_task(name="institutions.watch_registry", soft_time_limit=600, time_limit=900)
def watch_registry() -> dict[str, int]:
    """Every morning: warn of what ends soon, let mappings expire, use names recorded ahead."""
    on, at = clock.today(), clock.now()
    with scoped(EVERYTHING):
        renamed = adopt_names(on=on, by=BEAT, at=at)
        return watch(on=on, days=settings.REGISTRY_WARN_DAYS, by=BEAT, at=at) | {"renamed": renamed}


@shared_task(name=intake.TASK, soft_time_limit=600, time_limit=900)
def run_import(import_id: int) -> bool:
    """Write a confirmed sheet; one that is written, unknown or in other hands is passed over."""
    with scoped(EVERYTHING):
        return intake.run(import_id=import_id, at=clock.now())


@shared_task(name="institutions.sweep_imports", expires=60)
def sweep_imports() -> int:
    """Every minute: ring again for confirmed sheets that nobody has written."""
    found = intake.waiting()
    intake.ring(intake.TASK, found)
    return len(found)
