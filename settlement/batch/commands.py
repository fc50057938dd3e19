"""What people and the clock do to a batch: confirm, load, pause, resume, release, set aside, cancel,
sweep. How its file is checked: settlement.batch.checking; giving back: settlement.batch.undo.
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from django.conf import settings
from django.db import Error, connections, transaction
from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from audit.doorbell import ring
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import Refusal
from pricing.releases import current
from settlement import sheets
from settlement.batch.chunk import UNENDED, close_if_done
from settlement.batch.intake import Laws, UnsoundError, load_file
from settlement.batch.parts import (
    CHUNK_TASK,
    HEAVY,
    MAX_ATTEMPTS,
    SETTLER,
    give_up,
    last_sign,
    record,
    ring_waiting,
    watch,
)
from settlement.facts import Claimant
from settlement.failpoints import failpoint
from settlement.models import Batch, Chunk
from settlement.periods import open_months

log = logging.getLogger(__name__)
#: Without any sign of work after this the bell is rung again.
STALE = dt.timedelta(seconds=settings.BATCH_STALE_SECONDS)
ERRORS_KEPT = 5_000
LOAD_SECONDS = 900  #: a large file is read that long between two statements (tasks.load_batch)
CHECK_TASK, LOAD_TASK = "settlement.check_batch", "settlement.load_batch"
UNDO_TASK = "settlement.undo_batch"
State = Batch.State
#: What freezing writes onto a batch (batch.load).
FROZEN = ("period", "claims", "lines", "fee_total", "first_claim", "last_claim", "manifest_sm3")
FILE_CHANGED = sheets.RowError(1, "", "FILE_CHANGED", "存下的文件与校验时的文件不同")
LOAD_FAILED = sheets.RowError(1, "", "LOAD_FAILED", "多次装载未成功，已停止；请联系经办机构")
__all__ = ["CHUNK_TASK", "SETTLER", "ring_waiting"]


def confirm(*, batch_id: int, by: str, at: dt.datetime) -> Batch:
    """Start a checked batch without errors: it is loaded, frozen and settled by workers."""
    with settling():
        batch = locked(batch_id, State.CHECKED)
        if batch.errors:
            raise Refusal(
                409, "BATCH_HAS_ERRORS",
                (f"校验有 {len(batch.errors)} 处错误，请改正后重新上传", "the file has row errors"),
            )  # fmt: skip
        begin_loading(batch, by=by, at=at)
    return batch


def begin_loading(batch: Batch, *, by: str, at: dt.datetime) -> None:
    """A sound batch goes to the workers; in the transaction that has its row."""
    batch.state, batch.started_at = State.LOADING, at
    batch.save(using=SETTLER, update_fields=["state", "started_at"])
    record(batch, "confirmed", by=by, at=at)
    transaction.on_commit(lambda: ring(LOAD_TASK, [batch.pk]), using=SETTLER)


def load(*, batch_id: int, by: str, at: dt.datetime) -> bool:
    """Load and freeze a confirmed batch; False when another worker does or did. One transaction."""
    open_months(at, using=SETTLER)
    with attempt(batch_id, State.LOADING, LOAD_FAILED, by=by, at=at) as batch:
        if batch is None:
            return False
        watch(f"load {batch.pk}", seconds=LOAD_SECONDS)
        failpoint("load.begun")
        institution = Institution.objects.using(SETTLER).get(pk=batch.institution_code)
        _one_load_at_a_time(institution.code)
        laws = Laws(Claimant.of(institution), current())
        try:
            with transaction.atomic(using=SETTLER), connections[SETTLER].cursor() as cursor:
                load_file(cursor, batch, _checked_entries(batch), laws, by=by, at=at)
        except UnsoundError as unsound:  # the records changed since the dry run, or the file
            errors = unsound.errors or [FILE_CHANGED]
            batch.errors, batch.state = [e.as_dict() for e in errors[:ERRORS_KEPT]], State.FAILED
            batch.save(using=SETTLER, update_fields=["errors", "state"])
            record(batch, "failed", by=by, at=at, outcome="failed", errors=len(errors))
            return False
        run(batch, by=by, at=at)
        failpoint("load.stored")
    return True


def unlocked(batch_id: int, state: str) -> Batch | None:
    """The locked row of a batch in a state that nobody else works on."""
    rows = Batch.objects.using(SETTLER).select_for_update(skip_locked=True).defer(*HEAVY)
    return rows.filter(pk=batch_id, state=state).first()


@contextmanager
def attempt(
    batch_id: int, state: str, told: sheets.RowError, *, by: str, at: dt.datetime
) -> Iterator[Batch | None]:
    """The transaction that checks or loads a batch, with its locked row; None when nobody is to do it.

    The attempt is counted before, in a transaction of its own: a file that ends its workers is not
    tried for ever. One session is at a batch at a time: of ten bells one counts.
    """
    with _alone(batch_id) as mine:
        if not mine or not _counted(batch_id, state, told, by=by, at=at):
            yield None
            return
        with settling():
            yield unlocked(batch_id, state)


@contextmanager
def _alone(batch_id: int) -> Iterator[bool]:
    """Whether no other session is at the batch; it keeps the others out until it ends."""
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_lock(hashtext('batch attempt'), %s::int)", [batch_id]
        )
        mine = bool(cursor.fetchone()[0])
    try:
        yield mine
    finally:
        if mine:
            with suppress(Error), connections[SETTLER].cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_unlock(hashtext('batch attempt'), %s::int)", [batch_id]
                )


def _counted(batch_id: int, state: str, told: sheets.RowError, *, by: str, at: dt.datetime) -> bool:
    """Count an attempt; the sixth is not made, and the batch has failed: `told` why."""
    with settling():
        batch = unlocked(batch_id, state)
        if batch is None:
            return False
        batch.attempts = F("attempts") + 1
        batch.save(using=SETTLER, update_fields=["attempts"])
        batch.refresh_from_db(using=SETTLER, fields=["attempts"])
        if batch.attempts <= MAX_ATTEMPTS:
            return True
        batch.errors, batch.state = [told.as_dict()], State.FAILED
        batch.save(using=SETTLER, update_fields=["errors", "state"])
        record(batch, "failed", by=by, at=at, outcome="failed", attempts=batch.attempts - 1)
        log.error("batch %s is given up in %s after %s attempts", batch_id, state, MAX_ATTEMPTS)
    return False


def stored_file(batch: Batch) -> bytes:
    """The file as it was uploaded."""
    stored = Batch.objects.using(SETTLER).values_list("file", flat=True).get(pk=batch.pk)
    return bytes(stored or b"")


def _checked_entries(batch: Batch) -> Iterable[sheets.Entry]:
    """The claims of the very file that the dry run found sound, only read; none of another file."""
    content = stored_file(batch)
    if hashlib.new("sm3", content).hexdigest() != batch.file_sm3:
        return ()
    return sheets.stream(batch.file_name, content, [])


def run(batch: Batch, *, by: str, at: dt.datetime) -> None:
    """A loaded batch begins to be settled; in the transaction that loaded it."""
    batch.state = State.RUNNING
    batch.save(using=SETTLER, update_fields=["state", *FROZEN])
    record(
        batch, "frozen", by=by, at=at, manifest_sm3=batch.manifest_sm3, claims=batch.claims,
        lines=batch.lines, fee_total=batch.fee_total,
    )  # fmt: skip
    if not ring_waiting(batch.pk):
        close_if_done(batch.pk, by=by, at=at)  # a batch without claims has nothing to wait for


def pause(*, batch_id: int, by: str, at: dt.datetime) -> Batch:
    """No chunk starts after this; what is at work ends."""
    return _move(batch_id, State.RUNNING, State.PAUSED, "paused", by=by, at=at)


def resume(*, batch_id: int, by: str, at: dt.datetime) -> Batch:
    """Go on with a paused batch."""
    return _move(
        batch_id, State.PAUSED, State.RUNNING, "resumed", by=by, at=at,
        then=partial(_go_on, batch_id, by=by, at=at),
    )  # fmt: skip


def _go_on(batch_id: int, *, by: str, at: dt.datetime) -> None:
    ring_waiting(batch_id)
    close_if_done(batch_id, by=by, at=at)


def release(*, batch_id: int, by: str, at: dt.datetime) -> Batch:
    """A person lets the quarantined chunks of a batch be tried again."""
    with settling():
        _locked_chunks(batch_id, Chunk.State.QUARANTINED)
        batch = locked(batch_id, State.RUNNING, State.PAUSED)
        freed = Chunk.objects.using(SETTLER).filter(
            batch_id=batch_id, state=Chunk.State.QUARANTINED
        ).update(state=Chunk.State.WAITING, attempts=0)  # fmt: skip
        record(batch, "released", by=by, at=at, chunks=freed)
        ring_waiting(batch_id)
    return batch


def set_aside(*, batch_id: int, reason: str, by: str, at: dt.datetime) -> Batch:
    """A person leaves the quarantined claims out, for a reason; the batch closes without them.

    They stay as received and unsettled, under their numbers; what they held is free for a claim that comes
    in their place. The manifest is met by what was settled and what was left out.
    """
    with settling():
        aside = _locked_chunks(batch_id, Chunk.State.QUARANTINED)
        batch = locked(batch_id, State.RUNNING, State.PAUSED)
        need_reason(reason)
        if not aside:
            raise Refusal(
                409, "NOTHING_QUARANTINED", ("没有隔离的申请单", "no claim is quarantined")
            )
        rows = Chunk.objects.using(SETTLER).filter(pk__in=[chunk.pk for chunk in aside])
        rows.update(state=Chunk.State.SET_ASIDE)
        _free_invoices(aside, at=at)
        batch.set_aside_claims += sum(chunk.claims for chunk in aside)
        batch.set_aside_fee += sum(chunk.fee for chunk in aside)
        batch.reason = reason
        fields = ["set_aside_claims", "set_aside_fee", "reason"]
        batch.save(using=SETTLER, update_fields=fields)
        record(
            batch, "set_aside", by=by, at=at, reason=reason,
            claims=[[chunk.first_claim, chunk.last_claim] for chunk in aside],
            errors=[chunk.error[:200] for chunk in aside],
        )  # fmt: skip
        close_if_done(batch_id, by=by, at=at)
    return Batch.objects.using(SETTLER).defer(*HEAVY).get(pk=batch_id)


def cancel(*, batch_id: int, reason: str, by: str, at: dt.datetime) -> Batch:
    """Stop a batch for good. Chunks at work end first; what is settled stays and may be given back."""
    with settling():
        batch, waiting = _stopped(batch_id)
        need_reason(reason)
        _leave_out(waiting, at=at)
        settled = (
            Chunk.objects.using(SETTLER)
            .filter(batch_id=batch_id, state=Chunk.State.DONE)
            .aggregate(claims=Sum("claims", default=0), fee=Sum("fee", default=0))
        )
        batch.state, batch.reason, batch.closed_at = State.CANCELLED, reason, at
        batch.save(using=SETTLER, update_fields=["state", "reason", "closed_at"])
        record(batch, "cancelled", by=by, at=at, reason=reason, settled=settled)
    return batch


def _stopped(batch_id: int) -> tuple[Batch, list[Chunk]]:
    """A batch that may be cancelled and every chunk of it that has not ended, all locked.

    Chunks are locked before the batch, as workers do. Those that came up meanwhile, by a load or a split,
    may be in a worker's hands, who wants the batch next: it is let go while they are waited for.
    """
    while True:
        chunks = _locked_chunks(batch_id, *UNENDED)
        before = transaction.savepoint(using=SETTLER)
        batch = locked(
            batch_id, State.CHECKING, State.CHECKED, State.LOADING, State.RUNNING, State.PAUSED
        )
        unended = Chunk.objects.using(SETTLER).filter(batch_id=batch_id, state__in=UNENDED)
        if unended.count() == len(chunks):
            return batch, chunks
        transaction.savepoint_rollback(before, using=SETTLER)


def _locked_chunks(batch_id: int, *states: str) -> list[Chunk]:
    rows = Chunk.objects.using(SETTLER).select_for_update()
    return list(rows.filter(batch_id=batch_id, state__in=states).order_by("pk"))


def _leave_out(left_out: list[Chunk], *, at: dt.datetime) -> None:
    """Cancel locked chunks: their claims will never be settled and hold nothing."""
    rows = Chunk.objects.using(SETTLER).filter(pk__in=[chunk.pk for chunk in left_out])
    rows.update(state=Chunk.State.CANCELLED)
    _free_invoices(left_out, at=at)


#: Prescriptions need nothing: settlement_prescription_used passes over claims that were left out.
FREE_INVOICES = """UPDATE settlement_einvoice e SET released_at = %(at)s
    FROM settlement_chunk k JOIN settlement_batch b ON b.id = k.batch_id
    JOIN settlement_claim c ON c.period = b.period AND c.batch_id = b.id
        AND c.id BETWEEN k.first_claim AND k.last_claim
        AND (k.first_person IS NULL OR c.person_id BETWEEN k.first_person AND k.last_person)
    WHERE k.id = ANY (%(chunks)s) AND c.document ->> 'channel' = 'manual' AND e.released_at IS NULL
        AND e.holder = 'claim:' || c.institution_code || '/' || c.claim_no"""


def _free_invoices(left_out: list[Chunk], *, at: dt.datetime) -> None:
    """The invoices of claims that will never be settled may be used again."""
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(FREE_INVOICES, {"chunks": [chunk.pk for chunk in left_out], "at": at})


def need_reason(reason: str) -> None:
    if not reason.strip():
        raise Refusal(422, "REASON_MISSING", ("请填写理由", "a reason is needed"))


def _move(
    batch_id: int, source: str, target: str, word: str, *, by: str, at: dt.datetime,
    then: Callable[[], object] = lambda: None,
) -> Batch:  # fmt: skip
    with settling():
        batch = locked(batch_id, source)
        batch.state = target
        batch.save(using=SETTLER, update_fields=["state"])
        record(batch, word, by=by, at=at)
        then()
    return batch


def sweep(*, by: str, at: dt.datetime) -> int:
    """Ring again for batches in which nothing moves; set aside chunks that failed too often.

    Heals lost messages, a flushed broker and dead workers. Harmless to run twice: the row decides.
    """
    failpoint("sweep.begun")
    end_stopped()
    leave_out_forgotten(at=at)
    tired = Chunk.objects.using(SETTLER).filter(
        state=Chunk.State.WAITING, attempts__gte=MAX_ATTEMPTS, batch__state=State.RUNNING
    )
    for chunk_id in list(tired.values_list("pk", flat=True)):
        give_up(chunk_id, by=by, at=at)
    rung = 0
    with settling():
        for batch in (
            Batch.objects.using(SETTLER)
            .defer(*HEAVY)
            .annotate(since=Coalesce("started_at", "created_at"))
            .filter(state__in=WORKED_ON, since__lt=at - STALE)
        ):
            rung += ring_if_still(batch, at=at)
    failpoint("sweep.rung")
    return rung


def leave_out_forgotten(*, at: dt.datetime) -> None:
    """Cancel what still waits in a cancelled batch: nobody settles it, and it would hold its invoices."""
    with settling():
        forgotten = list(
            Chunk.objects.using(SETTLER)
            .select_for_update(skip_locked=True, of=("self",))
            .filter(
                state__in=UNENDED,
                batch__state__in=(State.CANCELLED, State.REVERSING, State.REVERSED),
            )
            .order_by("pk")
        )  # fmt: skip
        if forgotten:
            _leave_out(forgotten, at=at)
            log.warning("%s chunks still waited in cancelled batches", len(forgotten))


#: Sessions of loads and chunks that wait inside a statement for their client: for the rest of a COPY, or
#: for room. No COPY of theirs takes a fraction of that time.
STOPPED = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
        AND application_name LIKE 'batch %%' AND state = 'active' AND wait_event_type = 'Client'
        AND query_start < clock_timestamp() - make_interval(secs => %s)"""


def end_stopped() -> int:
    """End the sessions of hosts that stand still in the middle of a COPY; how many.

    The server ends by itself one that stands still between two statements (parts.watch).
    """
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(STOPPED, [settings.SETTLER_IDLE_SECONDS])
        ended = cursor.fetchone()[0]
    if ended:
        log.warning("%s sessions of stopped workers were ended", ended)
    return ended


#: Besides running, whose chunks are rung for.
TASKS = {State.CHECKING: CHECK_TASK, State.LOADING: LOAD_TASK, State.REVERSING: UNDO_TASK}
WORKED_ON = (*TASKS, State.RUNNING)


def wake(batch: Batch, *, at: dt.datetime) -> None:
    """Ring, as the sweep does, for a batch that somebody looks at and in which nothing moves."""
    if batch.state in WORKED_ON and (batch.started_at or batch.created_at) < at - STALE:
        with settling():
            ring_if_still(batch, at=at)


def ring_if_still(batch: Batch, *, at: dt.datetime) -> int:
    """Ring for a batch in which nothing moves; how often."""
    if batch.state != State.RUNNING:
        task = TASKS[State(batch.state)]
        transaction.on_commit(lambda: ring(task, [batch.pk]), using=SETTLER)
        return 1
    moved = last_sign(batch.pk)
    if moved and moved > at - STALE:
        return 0
    return ring_waiting(batch.pk)


def progress(batch: Batch, *, at: dt.datetime) -> dict:
    """Claims done and in all, claims per second, and seconds left, from the chunk rows alone."""
    chunks = list(
        Chunk.objects.using(SETTLER).filter(batch=batch)
        .values_list("state", "claims", "leased_at", "done_at")
    )  # fmt: skip
    finished = [(claims, leased, ended) for _, claims, leased, ended in chunks if leased and ended]
    done = sum(claims for claims, _, _ in finished)
    rate = 0.0
    if finished:
        began = min(leased for _, leased, _ in finished)
        ended = (
            batch.closed_at or at if batch.state == State.RUNNING else max(d for *_, d in finished)
        )
        rate = done / max((ended - began).total_seconds(), 0.001)
    left = (batch.claims - done) / rate if rate and batch.state == State.RUNNING else None
    return {
        "state": batch.state, "claims": batch.claims, "done": done, "chunks": len(chunks),
        "chunks_done": len(finished), "claims_per_second": round(rate, 1),
        "seconds_left": None if left is None else round(left, 1),
        "quarantined": sum(state == Chunk.State.QUARANTINED for state, *_ in chunks),
    }  # fmt: skip


def settling():
    """The settler's transaction: every region's batches are its business; edges check scope."""
    return scoped(EVERYTHING, using=SETTLER)


def locked(batch_id: int, *states: str) -> Batch:
    rows = Batch.objects.using(SETTLER).select_for_update().defer("file", "annotated", "result")
    batch = rows.get(pk=batch_id)
    if batch.state not in states:
        raise Refusal(
            409, "BATCH_STATE",
            (f"批次处于“{batch.get_state_display()}”，不能这样操作", f"the batch is {batch.state}"),
        )  # fmt: skip
    return batch


def _one_load_at_a_time(institution_code: str) -> None:
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('batch load'), hashtext(%s))", [institution_code]
        )
