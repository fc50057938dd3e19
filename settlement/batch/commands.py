"""What people and the clock do to a batch: check, confirm, load, pause, resume, release, sweep."""

import datetime as dt
import hashlib
import logging
import re
from collections.abc import Callable
from functools import partial

from django.db import connections, transaction
from django.db.models import Max

from audit.doorbell import ring
from audit.trail import event_row
from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution
from institutions.refusals import Refusal
from pricing.releases import current
from settlement import sheets
from settlement.batch.chunk import HEAVY, MAX_ATTEMPTS, SETTLER, close_if_done
from settlement.batch.intake import (
    Laws,
    dry_run,
    load_entries,
    normalise,
    read_all,
    record_errors,
)
from settlement.facts import Claimant
from settlement.models import Batch, Chunk

log = logging.getLogger(__name__)
STALE = dt.timedelta(seconds=20)  #: without any sign of work after this the bell is rung again
ERRORS_KEPT = 5_000
CHUNK_TASK, LOAD_TASK = "settlement.settle_chunk", "settlement.load_batch"
State = Batch.State
FILE_CHANGED = sheets.RowError(1, "", "FILE_CHANGED", "存下的文件与校验时的文件不同")


def check(
    *, institution: Institution, file_name: str, content: bytes, by: str, at: dt.datetime
) -> Batch:
    """Dry run of a file: every row error at once. Nothing is stored but the batch's own row."""
    try:
        parsed = sheets.read(file_name, content)
    except sheets.SheetError as error:
        raise Refusal(400, "FILE_INVALID", (str(error), "the file cannot be read")) from error
    errors = sorted(dry_run(parsed, institution, at=at), key=lambda e: (e.row, e.column))
    batch = Batch(
        institution_code=institution.code, region_code=institution.region_id,
        file_name=safe_name(file_name), file_sm3=hashlib.new("sm3", content).hexdigest(),
        file=content, errors=[error.as_dict() for error in errors[:ERRORS_KEPT]],
        annotated=sheets.annotated(file_name, content, errors) if errors else None,
        state=State.CHECKED, claims=len(parsed.entries),
        lines=sum(len(entry.rows) for entry in parsed.entries), created_at=at, created_by=by,
    )  # fmt: skip
    with _transaction():
        batch.save(using=SETTLER)
        _record(batch, "checked", by=by, at=at, errors=len(errors))
    return batch


def safe_name(name: str) -> str:
    """The last part of a file name without control characters; it is shown, never opened."""
    last = re.split(r"[\\/]", name)[-1]
    stem, dot, ending = "".join(c for c in last if c.isprintable()).rpartition(".")
    return f"{stem[:180]}{dot}{ending[:10]}" or "file"


def confirm(*, batch_id: int, by: str, at: dt.datetime) -> Batch:
    """Start a checked batch without errors: it is loaded, frozen and settled by workers."""
    with _transaction():
        batch = _locked(batch_id, State.CHECKED)
        if batch.errors:
            raise Refusal(
                409, "BATCH_HAS_ERRORS",
                (f"校验有 {len(batch.errors)} 处错误，请改正后重新上传", "the file has row errors"),
            )  # fmt: skip
        batch.state, batch.started_at = State.LOADING, at
        batch.save(using=SETTLER, update_fields=["state", "started_at"])
        _record(batch, "confirmed", by=by, at=at)
        transaction.on_commit(lambda: ring(LOAD_TASK, [batch.pk]), using=SETTLER)
    return batch


def load(*, batch_id: int, by: str, at: dt.datetime) -> bool:
    """Load and freeze a confirmed batch; False when another worker does or did. One transaction."""
    with _transaction():
        batch = (
            Batch.objects.using(SETTLER)
            .select_for_update(skip_locked=True)
            .filter(pk=batch_id, state=State.LOADING)
            .first()
        )
        if batch is None:
            return False
        institution = Institution.objects.using(SETTLER).get(pk=batch.institution_code)
        _one_load_at_a_time(institution.code)
        entries = _checked_entries(batch)
        laws = Laws(Claimant.of(institution), current())
        known = list(read_all(laws, entries, at=at))
        errors = list(record_errors(entries, known, laws)) if entries else [FILE_CHANGED]
        if errors:  # the records changed since the dry run
            batch.errors, batch.state = [e.as_dict() for e in errors[:ERRORS_KEPT]], State.FAILED
            batch.save(using=SETTLER, update_fields=["errors", "state"])
            _record(batch, "failed", by=by, at=at, outcome="failed", errors=len(errors))
            return False
        with connections[SETTLER].cursor() as cursor:
            load_entries(cursor, batch, entries, known, laws, by=by, at=at)
        _run(batch, by=by, at=at)
    return True


def _checked_entries(batch: Batch) -> list[sheets.Entry]:
    """The claims of the very file that the dry run found sound, only read; none of another file."""
    content = bytes(batch.file or b"")
    if hashlib.new("sm3", content).hexdigest() != batch.file_sm3:
        return []
    entries = sheets.read(batch.file_name, content).entries
    normalise(entries)
    return entries


def _run(batch: Batch, *, by: str, at: dt.datetime) -> None:
    batch.state = State.RUNNING
    batch.save(using=SETTLER)
    _record(
        batch, "frozen", by=by, at=at, manifest_sm3=batch.manifest_sm3, claims=batch.claims,
        lines=batch.lines, fee_total=batch.fee_total,
    )  # fmt: skip
    ring_waiting(batch.pk)


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
    with _transaction():
        batch = _locked(batch_id, State.RUNNING, State.PAUSED)
        freed = Chunk.objects.using(SETTLER).filter(
            batch_id=batch_id, state=Chunk.State.QUARANTINED
        ).update(state=Chunk.State.WAITING, attempts=0)  # fmt: skip
        _record(batch, "released", by=by, at=at, chunks=freed)
        ring_waiting(batch_id)
    return batch


def _move(
    batch_id: int, source: str, target: str, word: str, *, by: str, at: dt.datetime,
    then: Callable[[], object] = lambda: None,
) -> Batch:  # fmt: skip
    with _transaction():
        batch = _locked(batch_id, source)
        batch.state = target
        batch.save(using=SETTLER, update_fields=["state"])
        _record(batch, word, by=by, at=at)
        then()
    return batch


def sweep(*, by: str, at: dt.datetime) -> int:
    """Ring again for batches in which nothing moves; set aside chunks that failed too often.

    Heals lost messages, a flushed broker and dead workers. Harmless to run twice: the row decides.
    """
    rung = 0
    with _transaction():
        chunks = Chunk.objects.using(SETTLER)
        stuck = chunks.select_for_update(skip_locked=True).filter(
            state=Chunk.State.WAITING, attempts__gte=MAX_ATTEMPTS, batch__state=State.RUNNING
        )
        for chunk in stuck.select_related("batch").defer(*(f"batch__{name}" for name in HEAVY)):
            chunk.state = Chunk.State.QUARANTINED
            chunk.save(using=SETTLER, update_fields=["state"])
            log.error("chunk %s is quarantined after %s attempts", chunk.pk, chunk.attempts)
            _record(
                chunk.batch, "quarantined", by=by, at=at, outcome="failed", chunk=chunk.number,
                error=chunk.error,
            )  # fmt: skip
        for batch in (
            Batch.objects.using(SETTLER)
            .defer(*HEAVY)
            .filter(state__in=(State.LOADING, State.RUNNING), started_at__lt=at - STALE)
        ):
            rung += _ring_if_still(batch, at)
    return rung


def _ring_if_still(batch: Batch, at: dt.datetime) -> int:
    if batch.state == State.LOADING:
        transaction.on_commit(lambda: ring(LOAD_TASK, [batch.pk]), using=SETTLER)
        return 1
    seen = Chunk.objects.using(SETTLER).filter(batch=batch).aggregate(
        leased=Max("leased_at"), done=Max("done_at")
    )  # fmt: skip
    if any(moment and moment > at - STALE for moment in seen.values()):
        return 0
    return ring_waiting(batch.pk)


def ring_waiting(batch_id: int) -> int:
    """After the commit, ring for every chunk of a batch that nobody works on; how many."""
    waiting = list(
        Chunk.objects.using(SETTLER)
        .select_for_update(skip_locked=True)
        .filter(batch_id=batch_id, state=Chunk.State.WAITING)
        .order_by("number")
        .values_list("pk", flat=True)
    )
    transaction.on_commit(lambda: ring(CHUNK_TASK, waiting), using=SETTLER)
    return len(waiting)


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


def _transaction():
    """The settler's transaction: every region's batches are its business; edges check scope."""
    return _Scoped(using=SETTLER, savepoint=True, durable=False)


class _Scoped(transaction.Atomic):
    def __enter__(self):
        super().__enter__()
        set_scope(EVERYTHING, using=SETTLER)


def _locked(batch_id: int, *states: str) -> Batch:
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


def _record(
    batch: Batch, word: str, *, by: str, at: dt.datetime, outcome: str = "ok", **detail: object
) -> None:
    event_row(
        by=by, at=at, action=f"batch.{word}", subject=f"batch:{batch.pk}", outcome=outcome,
        region_code=batch.region_code, institution_code=batch.institution_code,
        detail={"file_sm3": batch.file_sm3} | detail,
    ).save(using=SETTLER, force_insert=True)  # fmt: skip
