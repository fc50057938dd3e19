"""Celery tasks: doorbells. A message carries an id; the database says what is to be done."""

from celery import shared_task
from celery.utils.log import get_task_logger

from audit import clock
from institutions.access import EVERYTHING, scoped
from pricing.releases import current
from settlement import (
    budgets,
    clearing,
    conserved,
    evidence,
    filings,
    line_payments,
    medicines,
    periods,
    resettlement,
    resettlement_lists,
)
from settlement.batch import checking, commands, undo
from settlement.batch.chunk import settle_chunk as settle
from settlement.register import intake, store

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


@shared_task(name=commands.CHECK_TASK, soft_time_limit=600, time_limit=900)
def check_batch(batch_id: int) -> None:
    """Check an uploaded file; one that is checked or unknown is passed over."""
    checking.go_on(batch_id=batch_id, by=WORKER, at=clock.now())


@shared_task(name=commands.LOAD_TASK, soft_time_limit=600, time_limit=900)
def load_batch(batch_id: int) -> None:
    """Load a confirmed batch and ring for its chunks; one that is loaded or unknown is passed over."""
    commands.load(batch_id=batch_id, by=WORKER, at=clock.now())


@shared_task(name=commands.UNDO_TASK, soft_time_limit=600, time_limit=900)
def undo_batch(batch_id: int) -> None:
    """Give back what a cancelled batch had settled, chunk by chunk."""
    undo.go_on(batch_id=batch_id, by=WORKER, at=clock.now())


@shared_task(name=resettlement_lists.DRAW_TASK, soft_time_limit=1_500, time_limit=1_800)
def draw_resettlement(resettlement_id: int) -> None:
    """Draw a list of claims to settle anew; what is recomputed is passed over."""
    resettlement_lists.draw_all(resettlement_id=resettlement_id, by=WORKER, at=clock.now())


@shared_task(name=resettlement.POST_TASK, soft_time_limit=1_500, time_limit=1_800)
def post_resettlement(resettlement_id: int) -> None:
    """Post an approved list of claims settled anew; what is posted is passed over."""
    resettlement.post_all(resettlement_id=resettlement_id, by=WORKER, at=clock.now())


@shared_task(name="settlement.sweep_resettlements", expires=60)
def sweep_resettlements() -> int:
    """Ring again for lists that wait to be drawn or posted: a lost message loses nothing."""
    return resettlement.sweep()


@shared_task(name="settlement.watch_medicines", soft_time_limit=600, time_limit=900)
def watch_medicines() -> int:
    """Every hour: close prescriptions whose time has passed, note evidence that is missing or late."""
    at, catalogue, done = clock.now(), current(), 0
    with scoped(EVERYTHING):
        done += medicines.expire(on=clock.today(), by=BEAT, at=at)
    for region in catalogue.regions():
        with scoped(EVERYTHING):
            done += evidence.watch(catalogue=catalogue, region=region, by=BEAT, at=at)
    return done


@shared_task(name="settlement.sweep", expires=60)
def sweep() -> int:
    """Every BATCH_STALE_SECONDS: ring again for what stands still."""
    return commands.sweep(by=BEAT, at=clock.now())


@shared_task(name="settlement.open_months", expires=3600)
def open_months() -> None:
    """Every hour, and when a worker starts: nobody who posts is the first of a month, to open it."""
    periods.open_months(clock.now())


@shared_task(name=intake.TASK, soft_time_limit=600, time_limit=900)
def run_register(sheet_id: int) -> bool:
    """Write a confirmed register extract; one that is written, unknown or in other hands is passed over."""
    with scoped(EVERYTHING):
        return intake.run(sheet_id=sheet_id, at=clock.now())


@shared_task(name="settlement.sweep_register", expires=60)
def sweep_register() -> int:
    """Every minute: ring again for confirmed extracts that nobody has written."""
    with scoped(EVERYTHING):
        found = intake.waiting()
    intake.ring(intake.TASK, found)
    return len(found)


@shared_task(name="settlement.watch_register", soft_time_limit=600, time_limit=900)
def watch_register() -> dict[str, int]:
    """Every morning: schemes of today follow the entitlements, filings expire or ask to be renewed."""
    on, at = clock.today(), clock.now()
    with scoped(EVERYTHING):
        moved = store.follow(on=on)
        return filings.watch(on=on, by=BEAT, at=at) | {"moved": moved}


@shared_task(name="settlement.watch_fee_bills", expires=3600)
def watch_fee_bills() -> int:
    """Every hour: put yearly bills that became overdue before the telemedicine centre (吉林 三第1款)."""
    with scoped(EVERYTHING):
        return line_payments.watch(on=clock.today(), by=BEAT, at=clock.now())


@shared_task(name="settlement.watch_balance", soft_time_limit=3_000, time_limit=3_600)
def watch_balance() -> str:
    """Every night: is money conserved, do person-years follow from the ledger?"""
    with scoped(EVERYTHING):
        return conserved.watch(by=BEAT, at=clock.now())


@shared_task(name="settlement.watch_budgets", soft_time_limit=600, time_limit=900)
def watch_budgets() -> int:
    """Every morning: a task for each budget whose use has reached a warning line, and for each yearly
    clearing whose figures have changed since (温州 十八)."""
    at = clock.now()
    with scoped(EVERYTHING):
        return budgets.watch_all(year=clock.today().year, by=BEAT, at=at) + clearing.watch(
            by=BEAT, at=at
        )
