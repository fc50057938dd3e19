"""Giving back what a cancelled or failed batch had settled: a reversal of every claim (红冲).

Chunk by chunk, one transaction each: persons locked in their order, the reversals
and one event. Nothing is remembered but the ledger itself: what is not reversed yet is still to do.
"""

import datetime as dt

from django.db import connections, transaction

from audit import trail
from audit.doorbell import ring
from audit.models import Event
from institutions.access import EVERYTHING, scoped
from institutions.refusals import Refusal
from settlement import bookings, ledger
from settlement.batch.chunk import UNENDED
from settlement.batch.commands import LOAD_SECONDS, UNDO_TASK, locked, need_reason
from settlement.batch.parts import HEAVY, SETTLER, record, watch
from settlement.failpoints import failpoint
from settlement.models import Batch, Chunk
from settlement.periods import open_months, posting_month

State = Batch.State
CHUNK_REVERSED = "batch.chunk_reversed"
#: The version that counts of the claims a chunk settled (one that was reviewed or settled anew has a later
#: one), of held and rejected ones too; those that a person's request has taken over (手工报销) stay.
TO_REVERSE = """SELECT s.claim_id, max(v.version) FROM settlement_settlement s
    JOIN settlement_settlement v ON v.claim_id = s.claim_id
    WHERE s.claim_id BETWEEN %s AND %s AND s.batch_id = %s AND s.version = 1
        AND NOT EXISTS (SELECT FROM settlement_reimbursement q
            WHERE q.claim_id = s.claim_id AND q.state NOT IN ('refused', 'withdrawn'))
    GROUP BY 1 HAVING max(v.version) %% 2 = 1 ORDER BY 1"""
KEPT = """SELECT count(*) FROM settlement_reimbursement q
    JOIN settlement_settlement s ON s.claim_id = q.claim_id AND s.version = 1
    WHERE s.batch_id = %s AND q.state NOT IN ('refused', 'withdrawn')"""
#: The lock of a person is the account (settlement.ledger.LOCK): taken in the order of batches.
LOCK_PERSONS = """SELECT person_id FROM settlement_personalaccount
    WHERE person_id IN (SELECT person_id FROM settlement_settlement
        WHERE claim_id BETWEEN %s AND %s AND batch_id = %s AND version = 1)
    ORDER BY person_id FOR UPDATE"""


def undo(*, batch_id: int, reason: str, by: str, at: dt.datetime) -> Batch:
    """Begin to give back what a cancelled or failed batch had settled. Raises Refusal."""
    with transaction.atomic(using=SETTLER):
        batch = locked(batch_id, State.CANCELLED, State.FAILED)
        need_reason(reason)
        chunks = Chunk.objects.using(SETTLER).filter(batch_id=batch_id, state=Chunk.State.DONE)
        if not chunks.exists():
            detail = ("此批次没有已结算的申请单", "nothing of the batch was settled")
            raise Refusal(409, "NOTHING_SETTLED", detail)
        batch.state, batch.reason = State.REVERSING, reason
        batch.save(using=SETTLER, update_fields=["state", "reason"])
        record(batch, "reversing", by=by, at=at, reason=reason)
        transaction.on_commit(lambda: ring(UNDO_TASK, [batch_id]), using=SETTLER)
    return batch


def go_on(*, batch_id: int, by: str, at: dt.datetime) -> int:
    """Reverse what is left, chunk by chunk. The batch ends reversed: how many claims in all; else 0.

    While a chunk still waits nothing is begun: it might be settled after its turn. The sweep cancels it.
    """
    batch = Batch.objects.using(SETTLER).defer(*HEAVY).filter(pk=batch_id).first()
    if batch is None or batch.state != State.REVERSING:
        return 0
    chunks = Chunk.objects.using(SETTLER).filter(batch_id=batch_id)
    if chunks.filter(state__in=UNENDED).exists():
        return 0
    open_months(at)
    for chunk in chunks.filter(state=Chunk.State.DONE).order_by("number"):
        with scoped(EVERYTHING):
            if not _mine(batch_id):
                return 0
            _reverse(batch, chunk, by=by, at=at)
        failpoint("undo.reversed")
    with transaction.atomic(using=SETTLER):
        left = Batch.objects.using(SETTLER).select_for_update().defer(*HEAVY)
        ended = left.filter(pk=batch_id, state=State.REVERSING).first()
        if ended is None:
            return 0
        ended.state = State.REVERSED
        ended.save(using=SETTLER, update_fields=["state"])
        count = _given_back(batch_id)
        record(ended, "reversed", by=by, at=at, claims=count, kept=_kept(batch_id))
    return count


def _mine(batch_id: int) -> bool:
    """Whether nobody else gives this batch back now; so it stays until the transaction ends."""
    watch(f"undo {batch_id}", seconds=LOAD_SECONDS, using="default")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('undo'), %s::int)", [batch_id])
        return bool(cursor.fetchone()[0])


def _given_back(batch_id: int) -> int:
    """How many claims were given back, whatever run of however many workers did it."""
    told = Event.objects.using(SETTLER).filter(
        action=CHUNK_REVERSED, subject__startswith=f"batch:{batch_id}/"
    )
    return sum(len((trail.said_of(event) or {})["detail"]["claims"]) for event in told)


def _kept(batch_id: int) -> int:
    """How many claims of a batch stay because a person's request lives by them."""
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(KEPT, [batch_id])
        return cursor.fetchone()[0]


def _reverse(batch: Batch, chunk: Chunk, *, by: str, at: dt.datetime) -> None:
    """Reverse the claims of a chunk that are still settled; called twice it does nothing more."""
    failpoint("undo.begun")
    span = [chunk.first_claim, chunk.last_claim, batch.pk]
    month = posting_month(batch.region_code, at)
    with connections["default"].cursor() as cursor:
        cursor.execute(LOCK_PERSONS, span)
        cursor.execute(TO_REVERSE, span)
        claims = [(claim, version, month) for claim, version in cursor.fetchall()]
    if claims:
        ledger.reverse(claims, reason=batch.reason, by=by, at=at)
        trail.record(
            by=by, at=at, action=CHUNK_REVERSED, subject=f"batch:{batch.pk}/{chunk.number}",
            region_code=batch.region_code, institution_code=batch.institution_code,
            detail={"reason": batch.reason, "claims": [claim for claim, _, _ in claims],
                    **bookings.written([(claim, version + 1) for claim, version, _ in claims])},
        )  # fmt: skip
