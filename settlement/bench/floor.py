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
from django.utils import timezone
from psycopg2 import sql

from settlement.batch.chunk import READ_CLAIMS, READ_LINES, settle_chunk
from settlement.batch.results import LEG, LINE, SETTLEMENT
from settlement.bench.data import BY
from settlement.copy import copy_bytes
from settlement.models import Batch, Chunk

TARGETS = (
    ("settlement_settlement", SETTLEMENT),
    ("settlement_lineresult", LINE),
    ("settlement_leg", LEG),
)


@dataclass(frozen=True)
class Share:
    """A chunk's rows as the database itself encodes them, and where its inputs stand."""

    read_claims: str
    read_lines: str
    streams: tuple[bytes, ...]
    claims: int


def tables(month: str) -> None:
    """Empty unpartitioned copies of the result tables with all their keys, indexes and checks."""
    with (
        closing(psycopg2.connect(settings.DATABASE_OWNER_URL)) as link,
        link,
        link.cursor() as cursor,
    ):
        for name, _ in TARGETS:
            source = name if name == "settlement_settlement" else f"{name}_{month}"
            cursor.execute(f"DROP TABLE IF EXISTS floor_{name}")
            cursor.execute(f"CREATE TABLE floor_{name} (LIKE {source} INCLUDING ALL)")
            cursor.execute(f"GRANT SELECT, INSERT ON floor_{name} TO mip_settler")


def shares(batch: Batch) -> list[Share]:
    """The rows that a settled batch wrote, chunk by chunk."""
    made = []
    with closing(psycopg2.connect(settings.DATABASE_SETTLER_URL)) as link, link.cursor() as cursor:
        for chunk in Chunk.objects.using("settler").filter(batch=batch).order_by("number"):
            span = (chunk.first_claim, chunk.last_claim)
            streams = []
            for name, shape in TARGETS:
                names = ", ".join(column.name for column in shape)
                sink = io.BytesIO()
                rows = sql.SQL(
                    "COPY (SELECT {} FROM {} WHERE claim_id BETWEEN {} AND {} ORDER BY claim_id)"
                    " TO STDOUT (FORMAT binary)"
                ).format(
                    sql.SQL(names), sql.Identifier(name), sql.Literal(span[0]), sql.Literal(span[1])
                )
                cursor.copy_expert(rows, sink)
                streams.append(sink.getvalue())
            claims = cursor.mogrify(READ_CLAIMS, (batch.period, *span, batch.pk)).decode()
            lines = cursor.mogrify(READ_LINES, (batch.period, *span)).decode()
            made.append(Share(claims, lines, tuple(streams), chunk.claims))
    return made


def move(link: Any, share: Share) -> None:
    """Move a chunk's rows out of and into the tables, in one transaction."""
    with link.cursor() as cursor:
        for query in (share.read_claims, share.read_lines):
            cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", io.BytesIO(), 1 << 20)
        for (name, shape), stream in zip(TARGETS, share.streams, strict=True):
            copy_bytes(cursor, f"floor_{name}", shape, stream)
    link.commit()


def alternating(batch: Batch, work: Sequence[Share]) -> tuple[float, float]:
    """(claims/s settled, claims/s moved) by one stream: a chunk settled, a chunk moved, in turns.

    Whatever else the machine does meanwhile slows both alike.
    """
    chunks = Chunk.objects.using("settler").filter(batch=batch).order_by("number")
    settled = moved = 0.0
    with closing(psycopg2.connect(settings.DATABASE_SETTLER_URL)) as link:
        keys = list(chunks.values_list("pk", flat=True))
        for key, share in zip(keys, work, strict=True):
            began = time.perf_counter()
            settle_chunk(key, by=BY, at=timezone.now())
            between = time.perf_counter()
            move(link, share)
            settled += between - began
            moved += time.perf_counter() - between
    return batch.claims / settled, sum(share.claims for share in work) / moved


def _stream(work: Sequence[Share], ready: Any, go: Any) -> None:
    with closing(psycopg2.connect(settings.DATABASE_SETTLER_URL)) as link:
        ready.release()
        go.wait()
        for share in work:
            move(link, share)


def rate(work: Sequence[Share], streams: int) -> float:
    """Claims per second of `streams` processes that move the rows, one transaction per chunk."""
    context = multiprocessing.get_context("fork")
    ready, go = context.Semaphore(0), context.Event()
    processes = [
        context.Process(target=_stream, args=(work[k::streams], ready, go)) for k in range(streams)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a stream of the floor failed")
    return sum(share.claims for share in work) / (time.perf_counter() - began)
