"""What happens to a chunk that keeps failing: it is split until what fails stands alone.

First by person, so that the claims of a person stay together; a single person's claims then by
their order, in which they are settled, so that the outcome is that of the whole chunk. A single
claim that keeps failing is quarantined for a person's decision.
"""

import datetime as dt
import logging

from django.db import connections, transaction
from django.db.models import Max, QuerySet

from audit.doorbell import ring
from audit.trail import event_row
from settlement.batch import frozen
from settlement.batch.frozen import ANYBODY, Span, manifest_of
from settlement.failpoints import failpoint
from settlement.models import Batch, Chunk

log = logging.getLogger(__name__)
SETTLER = "settler"
HEAVY = ("file", "annotated", "result", "errors")
CHUNK_TASK = "settlement.settle_chunk"
MAX_ATTEMPTS = 5
#: Attempts that a part starts with: several claims are tried once, a single one three times.
SEVERAL, ALONE = MAX_ATTEMPTS - 1, MAX_ATTEMPTS - 3
HALVES = """WITH ranked AS (
    SELECT id, period, person_id, fee, dense_rank() OVER (ORDER BY person_id) AS person,
        row_number() OVER (ORDER BY id) AS place
    FROM settlement_claim
    WHERE period = %(period)s AND id BETWEEN %(first)s AND %(last)s AND batch_id = %(batch)s
        AND person_id BETWEEN %(first_person)s AND %(last_person)s
), size AS (SELECT max(person) AS persons, max(place) AS claims FROM ranked)
SELECT min(id), max(id), min(person_id), max(person_id), count(*), sum(fee)::bigint,
    sum((SELECT count(*) FROM settlement_claimline l
        WHERE l.period = ranked.period AND l.claim_id = ranked.id))::bigint
FROM ranked, size
GROUP BY CASE WHEN persons > 1 THEN person > persons / 2 ELSE place > claims / 2 END
ORDER BY min(person_id), min(id)"""
#: Names the session of a transaction, and lets the server end it when it stands still so long.
WATCHED = """SELECT set_config('application_name', %s, true),
    set_config('idle_in_transaction_session_timeout', %s, true)"""


def watch(what: str, *, seconds: int, using: str = SETTLER) -> None:
    """A host that stops in this transaction loses its session: its locks must not outlive it.

    Between two statements the server ends it by itself; inside a COPY the sweep does (commands.STOPPED).
    """
    with connections[using].cursor() as cursor:
        cursor.execute(WATCHED, [f"batch {what}", f"{seconds}s"])


def waits_its_turn(chunk: Chunk) -> bool:
    """Whether earlier claims of the same person, split off, are still to be settled."""
    return _siblings(chunk).filter(last_claim__lt=chunk.first_claim).exists()


def ring_later(chunk: Chunk) -> None:
    """After the commit, ring for the later claims of a person that waited for this part."""
    later = _siblings(chunk).filter(first_claim__gt=chunk.last_claim).order_by("first_claim")
    ids = list(later.values_list("pk", flat=True)[:1])
    if ids:
        transaction.on_commit(lambda: ring(CHUNK_TASK, ids), using=SETTLER)


def _siblings(chunk: Chunk) -> QuerySet[Chunk]:
    """Waiting parts with claims of the same, single person."""
    rows = Chunk.objects.using(SETTLER)
    if chunk.first_person is None or chunk.first_person != chunk.last_person:
        return rows.none()
    return rows.filter(
        batch_id=chunk.batch_id, first_person=chunk.first_person, last_person=chunk.last_person,
        state=Chunk.State.WAITING,
    )  # fmt: skip


def give_up(chunk_id: int, *, by: str, at: dt.datetime) -> bool:
    """Split a chunk that failed too often, or quarantine it when it is one claim. One transaction."""
    with transaction.atomic(using=SETTLER):
        chunk = (
            Chunk.objects.using(SETTLER)
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("batch")
            .defer(*(f"batch__{name}" for name in HEAVY))
            .filter(
                pk=chunk_id, state=Chunk.State.WAITING, attempts__gte=MAX_ATTEMPTS,
                batch__state=Batch.State.RUNNING,
            )
            .first()
        )  # fmt: skip
        if chunk is None:
            return False
        if chunk.claims > 1:
            _split(chunk, by=by, at=at)
        else:
            _quarantine(chunk, by=by, at=at)
        return True


def _split(chunk: Chunk, *, by: str, at: dt.datetime) -> None:
    span = Span.of(chunk)
    persons = span.persons or ANYBODY
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(HALVES, {
            "period": chunk.batch.period, "first": span.first, "last": span.last,
            "batch": chunk.batch_id, "first_person": persons[0], "last_person": persons[1],
        })  # fmt: skip
        halves = cursor.fetchall()
        found = frozen.read(cursor, chunk.batch, span)
    changed = chunk.manifest_sm3 and manifest_of(found) != chunk.manifest_sm3
    if changed or sum(half[4] for half in halves) != chunk.claims or len(halves) != 2:
        _quarantine(chunk, by=by, at=at)  # its claims are not those that were frozen
        return
    # Numbers are given under the batch's lock: chunk first, batch second, as everywhere.
    Batch.objects.using(SETTLER).select_for_update().only("pk").get(pk=chunk.batch_id)
    rows = Chunk.objects.using(SETTLER)
    last = rows.filter(batch_id=chunk.batch_id).aggregate(last=Max("number"))["last"]
    made = rows.bulk_create(
        Chunk(
            batch_id=chunk.batch_id, number=number, claims=claims, lines=lines, fee=fee,
            first_claim=first, last_claim=final, first_person=low, last_person=high,
            part_of=chunk.number, layout=chunk.layout, attempts=SEVERAL if claims > 1 else ALONE,
            manifest_sm3=manifest_of(frozen.inside(found, Span(first, final, (low, high)))),
        )
        for number, (first, final, low, high, claims, fee, lines) in enumerate(halves, last + 1)
    )  # fmt: skip
    chunk.state = Chunk.State.SPLIT
    chunk.save(using=SETTLER, update_fields=["state"])
    failpoint("split.made")
    log.warning("chunk %s is split after %s attempts", chunk.pk, chunk.attempts)
    record(chunk.batch, "split", by=by, at=at, chunk=chunk.number, error=chunk.error[:500])
    ids = [part.pk for part in made]
    transaction.on_commit(lambda: ring(CHUNK_TASK, ids), using=SETTLER)


def _quarantine(chunk: Chunk, *, by: str, at: dt.datetime) -> None:
    chunk.state = Chunk.State.QUARANTINED
    chunk.save(using=SETTLER, update_fields=["state"])
    log.error("chunk %s is quarantined after %s attempts", chunk.pk, chunk.attempts)
    record(
        chunk.batch, "quarantined", by=by, at=at, outcome="failed", chunk=chunk.number,
        claims=[chunk.first_claim, chunk.last_claim], error=chunk.error[:500],
    )  # fmt: skip
    ring_later(chunk)


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


def last_sign(batch_id: int) -> dt.datetime | None:
    """When something last moved in a batch: a lease taken or a chunk done."""
    seen = Chunk.objects.using(SETTLER).filter(batch_id=batch_id).aggregate(
        leased=Max("leased_at"), done=Max("done_at")
    )  # fmt: skip
    return max((moment for moment in seen.values() if moment), default=None)


def record(
    batch: Batch, word: str, *, by: str, at: dt.datetime, outcome: str = "ok", **detail: object
) -> None:
    """An event of a batch, in the settler's transaction."""
    event_row(
        by=by, at=at, action=f"batch.{word}", subject=f"batch:{batch.pk}", outcome=outcome,
        region_code=batch.region_code, institution_code=batch.institution_code,
        detail={"file_sm3": batch.file_sm3} | detail,
    ).save(using=SETTLER, force_insert=True)  # fmt: skip
