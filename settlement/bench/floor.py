"""What the database alone can do: the same rows, encoded before, out of and into equal tables."""

import io
import multiprocessing
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone
from psycopg2 import sql

from settlement.batch.accumulators import NEW, NEW_ACCOUNT
from settlement.batch.chunk import READ_LINES, settle_chunk
from settlement.batch.frozen import READ_CLAIMS
from settlement.batch.results import LEG, LINE, SETTLEMENT
from settlement.bench.data import BY, REGION
from settlement.copy import MOST, copy_bytes, copy_raw
from settlement.models import Batch, Chunk
from settlement.periods import posting_month

LONGEST = 600  #: seconds to wait for the others: one that failed ends the measurement
OF_CLAIMS = "claim_id BETWEEN %(first)s AND %(last)s ORDER BY claim_id"
#: All persons of the batch are new to the ledger, and a chunk has all claims of its persons.
OF_PERSONS = """person_id IN (SELECT person_id FROM settlement_claim
    WHERE period = %(period)s AND id BETWEEN %(first)s AND %(last)s) ORDER BY person_id"""
#: Every row that a chunk writes, and which rows are one chunk's.
TARGETS = (
    ("settlement_accumulator", NEW, OF_PERSONS),
    ("settlement_personalaccount", NEW_ACCOUNT, OF_PERSONS),
    ("settlement_settlement", SETTLEMENT, OF_CLAIMS),
    ("settlement_lineresult", LINE, OF_CLAIMS),
    ("settlement_leg", LEG, OF_CLAIMS),
)
PARTITIONED = ("settlement_lineresult", "settlement_leg")


@dataclass(frozen=True)
class Share:
    """A chunk's rows as the database itself encodes them, and where its inputs stand."""

    read_claims: str
    read_lines: str
    streams: tuple[list[bytes], ...]
    claims: int


def tables(month: str, run: str) -> None:
    """Empty unpartitioned copies of the result tables with all their keys, indexes and checks.

    Those of an earlier run stay: dropping them would give the floor free buffers that nobody else has.
    """
    with (
        closing(psycopg2.connect(settings.DATABASE_OWNER_URL)) as link,
        link,
        link.cursor() as cursor,
    ):
        for name, _, _ in TARGETS:
            source = f"{name}_{month}" if name in PARTITIONED else name
            cursor.execute(f"CREATE TABLE {run}_{name} (LIKE {source} INCLUDING ALL)")
            cursor.execute(f"GRANT SELECT, INSERT ON {run}_{name} TO mip_settler")


def shares(batch: Batch) -> list[Share]:
    """The rows that a settled batch wrote, chunk by chunk."""
    made = []
    with closing(psycopg2.connect(settings.DATABASE_SETTLER_URL)) as link, link.cursor() as cursor:
        for chunk in Chunk.objects.using("settler").filter(batch=batch).order_by("number"):
            span = (chunk.first_claim, chunk.last_claim)
            streams = []
            given = {"period": batch.period, "first": span[0], "last": span[1]}
            for name, shape, which in TARGETS:
                names = ", ".join(column.name for column in shape)
                rows = (
                    sql.SQL("SELECT {} FROM {} WHERE ")
                    .format(sql.SQL(names), sql.Identifier(name))
                    .as_string(cursor.connection)
                    + which
                )
                whole = copy_raw(cursor, rows, given)
                streams.append([bytes(whole[k : k + MOST]) for k in range(0, len(whole), MOST)])
            claims = cursor.mogrify(READ_CLAIMS, (batch.period, *span, batch.pk)).decode()
            lines = cursor.mogrify(READ_LINES, (batch.period, *span)).decode()
            made.append(Share(claims, lines, tuple(streams), chunk.claims))
    return made


def move(link: Any, share: Share, run: str) -> None:
    """Move a chunk's rows out of and into the tables of a run, in one transaction."""
    with link.cursor() as cursor:
        for query in (share.read_claims, share.read_lines):
            cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", io.BytesIO(), 1 << 20)
        for (name, shape, _), stream in zip(TARGETS, share.streams, strict=True):
            copy_bytes(cursor, f"{run}_{name}", shape, stream)
    link.commit()


def alternating(batch: Batch, work: Sequence[Share], workers: int) -> tuple[float, float]:
    """(claims/s settled, claims/s moved) by `workers` processes: all settle a chunk, all move one.

    In turns, a barrier between them: whatever else the machine does meanwhile slows both alike.
    """
    run = f"floor{workers}"
    tables(f"{timezone.localdate():%Y_%m}", run)
    chunks = Chunk.objects.using("settler").filter(batch=batch).order_by("number")
    keys = list(chunks.values_list("pk", flat=True))
    connections.close_all()
    context = multiprocessing.get_context("fork")
    meet, times = context.Barrier(workers), context.Queue()
    rounds = list(zip(keys, work, strict=True))
    turns = -(-len(rounds) // workers)
    processes = [
        context.Process(
            target=_turns, args=(rounds[k::workers], turns, run, meet, times), daemon=True
        )
        for k in range(workers)
    ]
    for process in processes:
        process.start()
    passed = [times.get(timeout=LONGEST) for _ in processes]
    for process in processes:
        process.join()
    settled, moved = (max(each[kind] for each in passed) for kind in (0, 1))
    return batch.claims / settled, sum(share.claims for share in work) / moved


def _turns(
    rounds: Sequence[tuple[int, Share]], turns: int, run: str, meet: Any, times: Any
) -> None:
    """One process: its chunks settled and moved in turns; the seconds of both, waiting included."""
    settled = moved = 0.0
    with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
        posting_month(REGION, timezone.now(), cursor=cursor)  # connected before the first turn
    with closing(psycopg2.connect(settings.DATABASE_SETTLER_URL)) as link:
        for turn in range(turns):
            mine = rounds[turn] if turn < len(rounds) else None
            meet.wait(LONGEST)
            began = time.perf_counter()
            if mine:
                settle_chunk(mine[0], by=BY, at=timezone.now())
            meet.wait(LONGEST)
            between = time.perf_counter()
            if mine:
                move(link, mine[1], run)
            meet.wait(LONGEST)
            settled += between - began
            moved += time.perf_counter() - between
    times.put((settled, moved))
