"""One chunk of a batch: lease, read columns, settle, write results, close. Two transactions.

The lease counts the attempt and raises the fencing epoch; it is committed first, so that a chunk
which kills its worker is counted. The second holds everything the chunk does, or nothing. A session
that stands still in it (a stopped host) is ended by the server, so that another worker may go on.
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import connections, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Func, QuerySet, Sum, Value

from audit.trail import event_row
from institutions.models import Region
from pricing.releases import current
from settlement import regional
from settlement.batch import frozen
from settlement.batch.accumulators import PersonYears
from settlement.batch.frozen import InconsistentError, Span, manifest_of
from settlement.batch.layout import LAYOUT, SCHEMA_VERSION
from settlement.batch.load import manifest_of_chunks
from settlement.batch.lookup import Law, prior_charges
from settlement.batch.parts import (
    HEAVY,
    MAX_ATTEMPTS,
    SETTLER,
    give_up,
    ring_later,
    waits_its_turn,
    watch,
)
from settlement.batch.results import (
    LEG,
    LINE,
    SETTLEMENT,
    canonical,
    leg_rows,
    line_rows,
    settlement_rows,
)
from settlement.columns import FACTS, Columns
from settlement.copy import (
    ALL_CORES,
    Column,
    columns,
    copy_bytes,
    copy_raw,
    decode,
    encode,
)
from settlement.failpoints import failpoint
from settlement.kernel import settle
from settlement.models import Batch, Chunk
from settlement.periods import open_months, posting_month
from settlement.posting import Posted, post

log = logging.getLogger(__name__)
WHEN = DateTimeField()
#: How long the transaction took, by the database's clock: progress is told from it.
SPENT = Func(function="clock_timestamp", output_field=WHEN) - TransactionNow()

LINES = columns(
    claim_id="int8", line_no="int2", service="int2", fee="int8", quantity="int8", item="int8",
    service_type="int8",
)  # fmt: skip
READ_LINES = """SELECT claim_id, line_no, service, fee, quantity, hashtextextended(item_code, 0),
    hashtextextended(service_type, 0) FROM settlement_claimline
    WHERE period = %s AND claim_id BETWEEN %s AND %s ORDER BY claim_id, line_no"""
MONEY = (
    "fee", "in_scope", "over_cap", "out_of_scope", "held", "fund", "account", "cash", "hospital",
    "deductible", "first_self_pay", "major", "assistance",
)  # fmt: skip


COPYING = partial(failpoint, "chunk.copying")


@dataclass(frozen=True)
class Lease:
    """The right to settle a chunk, good while its epoch is the row's."""

    chunk: Chunk
    batch: Batch


def settle_chunk(chunk_id: int, *, by: str, at: dt.datetime) -> bool:
    """Settle a chunk in one transaction; False when there is nothing to do (done, taken, paused).

    Called any number of times for the same chunk it has one effect.
    """
    lease = take_lease(chunk_id, at=at)
    if lease is None:
        return False
    failpoint("lease.taken")
    try:
        open_months(at, using=SETTLER)  # not in the transaction, which takes seconds
        with transaction.atomic(using=SETTLER):
            settled = _settle(lease, by=by, at=at)
    except Exception as error:
        Chunk.objects.using(SETTLER).filter(pk=chunk_id, state=Chunk.State.WAITING).update(
            error=f"{type(error).__name__}: {error}"[:2000]
        )
        if lease.chunk.attempts >= MAX_ATTEMPTS:
            give_up(chunk_id, by=by, at=at)
        raise
    failpoint("chunk.committed")
    return settled


def take_lease(chunk_id: int, *, at: dt.datetime) -> Lease | None:
    """Count the attempt and raise the epoch, unless the chunk is done, at work or resting."""
    with transaction.atomic(using=SETTLER):
        watch(f"lease {chunk_id}", seconds=settings.SETTLER_IDLE_SECONDS)
        chunk = (
            Chunk.objects.using(SETTLER)
            .select_for_update(skip_locked=True)
            .filter(pk=chunk_id, state=Chunk.State.WAITING)
            .first()
        )
        if chunk is None or waits_its_turn(chunk):
            return None
        if chunk.layout != LAYOUT:  # the bell rings until a worker of the right code hears it
            log.warning("chunk %s has layout %s, not %s", chunk.pk, chunk.layout, LAYOUT)
            return None
        with connections[SETTLER].cursor() as cursor:  # a pause waits for this, then nothing starts
            cursor.execute(
                "SELECT state FROM settlement_batch WHERE id = %s FOR SHARE", [chunk.batch_id]
            )
            if cursor.fetchone()[0] != Batch.State.RUNNING:
                return None
        chunk.epoch += 1
        chunk.attempts += 1
        chunk.leased_at = at
        chunk.save(using=SETTLER, update_fields=["epoch", "attempts", "leased_at"])
        failpoint("lease.counted")
        return Lease(chunk, Batch.objects.using(SETTLER).defer(*HEAVY).get(pk=chunk.batch_id))


def _settle(lease: Lease, *, by: str, at: dt.datetime) -> bool:
    chunk, batch = lease.chunk, lease.batch
    mine = Chunk.objects.using(SETTLER).filter(
        pk=chunk.pk, epoch=chunk.epoch, state=Chunk.State.WAITING
    )
    free = mine.select_for_update(skip_locked=True, of=("self",))
    if free.filter(batch__state__in=GOING_ON).first() is None:
        return False
    with connections[SETTLER].cursor() as cursor, ThreadPoolExecutor(1) as aside:
        watch(f"chunk {chunk.pk}", seconds=settings.SETTLER_IDLE_SECONDS)
        failpoint("chunk.begun")
        digest, totals, law = _effects(cursor, aside, lease, by=by, at=at)
    event_row(
        by=by, at=at, action="batch.chunk", subject=f"batch:{batch.pk}/{chunk.number}",
        region_code=batch.region_code, institution_code=batch.institution_code,
        detail={"digest": digest, "epoch": chunk.epoch, "totals": totals,
                "law": law, "schema": SCHEMA_VERSION},
    ).save(using=SETTLER, force_insert=True)  # fmt: skip
    failpoint("chunk.event")
    ended = ExpressionWrapper(Value(at, WHEN) + SPENT, output_field=WHEN)
    done = mine.update(
        state=Chunk.State.DONE, digest=digest, totals=totals, done_at=ended, error=""
    )
    if done != 1:
        raise InconsistentError(f"chunk {chunk.pk} was taken over by a later worker")
    failpoint("chunk.done")
    close_if_done(batch.pk, by=by, at=at)
    ring_later(chunk)
    return True


def _effects(
    cursor: Any, aside: ThreadPoolExecutor, lease: Lease, *, by: str, at: dt.datetime
) -> tuple[bytes, dict, str]:
    """Everything a chunk writes: (digest, sums, texts applied), by which it can be computed once more.

    Encoding and hashing run aside while the database works.
    """
    chunk, batch = lease.chunk, lease.batch
    period = posting_month(batch.region_code, at, cursor=cursor)
    span = Span.of(chunk)
    claims = frozen.read(cursor, batch, span)
    raw = copy_raw(cursor, READ_LINES, (batch.period, span.first, span.last))
    decoding, frozen_then = aside.submit(decode, LINES, raw), aside.submit(manifest_of, claims)
    failpoint("chunk.read")
    law = Law.of(cursor, current(), _policy_region(batch), claims)
    years = PersonYears.locked(cursor, claims, batch.region_code)
    failpoint("chunk.locked")
    lines = _own(decoding.result(), claims, chunk)
    facts, which = _facts(cursor, claims, lines, law, years, chunk)
    at_claim = facts.claim_of_line
    results = settle(
        facts, law.rules, which=which, keys=years.of_claim[at_claim],
        wholes=years.whole_of_claim[at_claim], state=years.state,
    )  # fmt: skip
    held = years.accounts
    posted = post(facts, results, law.rules, which, len(claims), held.of_claim, held.left)
    totals = _totals(posted, results.fee, claims, len(lines))
    if chunk.manifest_sm3 and frozen_then.result() != chunk.manifest_sm3:
        raise InconsistentError(f"chunk {chunk.pk}: its claims are not those that were frozen")
    failpoint("chunk.settled")
    every = {
        "region_code": batch.region_code.encode(),
        "institution_code": batch.institution_code.encode(),
        "period": (period - dt.date(1970, 1, 1)).days,
        "version": 1,
    }
    own = {"batch_id": batch.pk, "settled_at": _microseconds(at), "settled_by": by.encode()}
    legs = leg_rows(claims, posted) | every
    written = (
        ("settlement", SETTLEMENT, len(claims),
         partial(settlement_rows, claims, posted, law.pools(posted.offsite), every | own)),
        ("lineresult", LINE, len(lines), lambda: line_rows(lines, results, law, which) | every),
        ("leg", LEG, len(posted.leg_claim), lambda: legs),
    )  # fmt: skip
    tables = {"leg": f"leg_{period:%Y_%m}"}  # straight into the month: see its migration
    streams = [aside.submit(_stream, shape, make, n) for _, shape, n, make in written]
    digest = aside.submit(_digest, claims, lines, results, posted, law)
    years.store(cursor)  # first: the rows are encoded meanwhile, and who lost a race knows it soon
    failpoint("chunk.years")
    for (name, shape, _, _), stream in zip(written, streams, strict=True):
        table = f"settlement_{tables.get(name, name)}"
        copy_bytes(cursor, table, shape, stream.result(), between=COPYING)
        failpoint(f"chunk.copied.{name}")
    if posted.offsite.any():
        elsewhere = claims["id"][posted.offsite].tolist()
        regional.post([(claim, 1) for claim in elsewhere], by=by, at=at, using=SETTLER)
    return digest.result(), totals, law.named()


def _own(lines: np.ndarray, claims: np.ndarray, chunk: Chunk) -> np.ndarray:
    """The lines of these claims; as many of both as were frozen, or InconsistentError."""
    if len(lines) != chunk.lines:  # other claims lie between
        lines = lines[np.isin(lines["claim_id"], claims["id"])]
    if len(claims) != chunk.claims or len(lines) != chunk.lines:
        raise InconsistentError(f"chunk {chunk.pk}: {len(claims)} claims, {len(lines)} lines read")
    return lines


def _stream(shape: Sequence[Column], make: Callable[[], dict[str, Any]], n: int) -> list[bytes]:
    return list(encode(shape, make(), n))


def _facts(
    cursor: Any, claims: np.ndarray, lines: np.ndarray, law: Law, years: PersonYears, chunk: Chunk
) -> tuple[Columns, np.ndarray]:
    """The kernel's columns of a chunk's lines, and which release settles each line."""
    at_claim = np.searchsorted(claims["id"], lines["claim_id"])
    which = law.which[at_claim]
    item, service_type = law.numbers(lines, which)
    same, other = prior_charges(cursor, claims, lines, at_claim, years, law, chunk)
    facts = Columns(
        np.ascontiguousarray(claims["facts"]).view(FACTS),
        at_claim,
        service=lines["service"].astype(np.int64),
        item=item,
        service_type=service_type,
        fee=lines["fee"],
        encounter=claims["encounter_key"][at_claim],
        prior_same=same,
        prior_other=other,
        **law.line_columns(claims, lines, at_claim),
    )
    return facts, which


def _totals(posted: Posted, fees: np.ndarray, claims: np.ndarray, n_lines: int) -> dict[str, int]:
    """Sums of a chunk in fen, after the proof that every claim and the whole add up."""
    sums = {name: int(getattr(posted, name).sum()) for name in MONEY}
    if (posted.fee != claims["fee"]).any() or int(fees.sum()) != sums["fee"]:
        raise InconsistentError("the lines of a claim do not add up to its fee")
    if int(posted.leg_amount.sum()) != 0:
        raise InconsistentError("the legs do not balance")
    return sums | {"claims": len(claims), "lines": n_lines, "legs": len(posted.leg_claim)}


def _digest(claims: Any, lines: Any, results: Any, posted: Posted, law: Law) -> bytes:
    """SM3 over the canonical results in the order of claims; free of ids, names and moments."""
    digest = hashlib.new("sm3", f"chunk {SCHEMA_VERSION}\n{law.named()}\n".encode())
    for part in canonical(claims, lines, results, posted):
        digest.update(part.tobytes())
    return digest.digest()


def _policy_region(batch: Batch) -> str:
    return Region.objects.using(SETTLER).get(pk=batch.region_code).policy_region


def _microseconds(at: dt.datetime) -> int:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (at - epoch) // dt.timedelta(microseconds=1)


UNENDED = (Chunk.State.WAITING, Chunk.State.QUARANTINED)
GOING_ON = (Batch.State.RUNNING, Batch.State.PAUSED)  #: what is at work in a paused batch ends


def close_if_done(batch_id: int, *, by: str, at: dt.datetime) -> None:
    """Close the batch when no chunk is left; loudly failed when its results are not its manifest.

    The batch's row is locked first: of two chunks that end at once the second sees the first.
    """
    batch = Batch.objects.using(SETTLER).select_for_update().defer(*HEAVY).get(pk=batch_id)
    if batch.state not in GOING_ON:
        return
    chunks = Chunk.objects.using(SETTLER).filter(batch_id=batch_id).order_by("number")
    if chunks.filter(state__in=UNENDED).exists():
        return
    digest, totals = hashlib.new("sm3"), dict.fromkeys((*MONEY, "claims", "lines", "legs"), 0)
    for part, sums in chunks.filter(state=Chunk.State.DONE).values_list("digest", "totals"):
        digest.update(bytes(part or b""))
        for name in totals:
            totals[name] += sums[name]
    aside = chunks.filter(state=Chunk.State.SET_ASIDE).aggregate(
        claims=Sum("claims", default=0), lines=Sum("lines", default=0), fee=Sum("fee", default=0)
    )
    failpoint("close.summed")
    manifest = {"claims": batch.claims, "lines": batch.lines, "fee": batch.fee_total}
    adds_up = manifest == {name: totals[name] + aside[name] for name in manifest}
    sound = adds_up and frozen_so(batch, chunks) and stored_sums(batch, totals)
    batch.state = Batch.State.CLOSED if sound else Batch.State.FAILED
    batch.result_sm3, batch.totals, batch.closed_at = digest.hexdigest(), totals, at
    batch.save(using=SETTLER, update_fields=["state", "result_sm3", "totals", "closed_at"])
    failpoint("close.saved")
    if batch.state == Batch.State.FAILED:
        log.critical("batch %s: results do not add up to the manifest", batch_id)
    event_row(
        by=by, at=at, action=f"batch.{batch.state}", subject=f"batch:{batch_id}",
        outcome="ok" if batch.state == Batch.State.CLOSED else "failed",
        region_code=batch.region_code, institution_code=batch.institution_code,
        detail={"result_sm3": batch.result_sm3, "manifest_sm3": batch.manifest_sm3,
                "totals": totals, "set_aside": aside},
    ).save(using=SETTLER, force_insert=True)  # fmt: skip


def frozen_so(batch: Batch, chunks: QuerySet[Chunk]) -> bool:
    """Whether the chunks, each of which proved its claims, are those of the batch's manifest."""
    whole = list(chunks.filter(part_of__isnull=True))
    return not all(chunk.manifest_sm3 for chunk in whole) or (
        manifest_of_chunks(batch, whole) == batch.manifest_sm3
    )


def stored_sums(batch: Batch, totals: dict[str, int]) -> bool:
    """Whether the rows in the database sum to the totals: read back, not remembered."""
    with connections[SETTLER].cursor() as cursor:
        cursor.execute(ALL_CORES)  # the last chunk of a batch works alone
        cursor.execute(
            """SELECT count(*), sum(fee), sum(fund), sum(major + assistance), sum(account), sum(cash)
            FROM settlement_settlement
            WHERE claim_id BETWEEN %s AND %s AND version = 1 AND batch_id = %s""",
            [batch.first_claim, batch.last_claim, batch.pk],
        )
        found = [int(value or 0) for value in cursor.fetchone()]
    others = totals["major"] + totals["assistance"]
    own = [totals[name] for name in ("account", "cash")]
    return found == [totals["claims"], totals["fee"], totals["fund"], others, *own]
