"""Celery tasks: doorbells. A message carries an id; the database says what is to be done."""

from celery import shared_task
from celery.utils.log import get_task_logger

from audit import clock
from settlement.batch import commands
from settlement.batch.chunk import settle_chunk as settle

log = get_task_logger(__name__)
WORKER = "system:worker"
BEAT = "system:beat"


@shared_task(name=commands.CHUNK_TASK)
def settle_chunk(chunk_id: int) -> None:
    """Settle one chunk; a chunk that is done, taken, paused or unknown is passed over."""
    if not isinstance(chunk_id, int) or isinstance(chunk_id, bool):
        log.error("a message without a chunk id was thrown away")
        return
    settle(chunk_id, by=WORKER, at=clock.now())


@shared_task(name=commands.LOAD_TASK, soft_time_limit=600, time_limit=900)
def load_batch(batch_id: int) -> None:
    """Load a confirmed batch and ring for its chunks."""
    commands.load(batch_id=batch_id, by=WORKER, at=clock.now())


@shared_task(name="settlement.sweep", expires=60)
def sweep() -> int:
    """Every 20 seconds: ring again for what stands still."""
    return commands.sweep(by=BEAT, at=clock.now())
