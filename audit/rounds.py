"""What beat calls for the trail: sealing every 20 seconds, a look whether that works, all of it at night."""

from celery import shared_task
from django.db import transaction

from audit import clock, sealer, watch

BY = "system"


@shared_task(name="audit.seal")
def seal() -> None:
    """Seal what has committed since; one at a time, a second call leaves it to the first."""
    sealer.seal(at=clock.now, machine=clock.machine(), wait=False)


@shared_task(name="audit.seal_everything")
def seal_everything() -> None:
    """Seal every event without a place, whatever the cursor says."""
    sealer.seal(at=clock.now, machine=clock.machine(), everything=True)


@shared_task(name="audit.watch_seal")
def watch_seal() -> None:
    """Raise the alarm when the sealer stands still, end it when it runs."""
    with transaction.atomic():
        watch.watch(by=BY, at=clock.now(), machine=clock.machine())
