"""Loading: the claims of a checked file into the tables by COPY, then manifest and chunks.

All claims of a person are in one chunk, in the order of the file; ids rise with (chunk, place),
so that a chunk is read by the primary keys. One transaction: a batch is loaded wholly or not.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from settlement.batch.frozen import BOUND, manifest_of
from settlement.batch.layout import LAYOUT
from settlement.columns import FACTS
from settlement.copy import Column, columns, copy_in, copy_out
from settlement.failpoints import failpoint
from settlement.models import Batch, Chunk
from settlement.periods import posting_month

CLAIM = columns(
    id="int8", period="date", region_code="text", institution_code="text", claim_no="text",
    person_id="int8", service_date="date", fee="int8", facts="bytea", encounter_id="text",
    encounter_key="int8", shard="int2", batch_id="int8", chunk="int4", received_at="timestamptz",
    received_by="text", document="jsonb",
)  # fmt: skip
LINE = columns(
    claim_id="int8", line_no="int2", period="date", region_code="text", institution_code="text",
    service="int2", item_code="text", service_type="text", quantity="int8", unit_price="int8",
    fee="int8", prescription_no="text", trace_codes="array",
)  # fmt: skip
KEY = columns(institution_code="text", claim_no="text", claim_id="int8")
PIECE = 10_000  #: rows encoded at once
SHARDS = 64
MOST_CLAIMS, LEAST_CLAIMS, USUAL_CHUNKS = 50_000, 500, 20
EMPTY_ARRAY = b"\0\0\0\0\0\0\0\0\0\0\x04\x13"  #: varchar[] without elements, binary
POINTS = {"settlement_claim": "load.claims", "settlement_claimline": "load.lines"}
Arrays = Mapping[str, Any]


def chunk_numbers(persons: np.ndarray) -> np.ndarray:
    """Per claim its chunk: whole persons, some MOST_CLAIMS claims, enough to see progress."""
    n = len(persons)
    size = min(MOST_CLAIMS, max(LEAST_CLAIMS, -(-n // USUAL_CHUNKS)))
    chunks = max(-(-n // size), 1)
    _, of_claim, counts = np.unique(persons, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    return (before * chunks // max(n, 1)).astype(np.int64)[of_claim]


def write(
    cursor: Any, batch: Batch, claims: Arrays, lines: Arrays, *, by: str, at: dt.datetime
) -> None:
    """Store claims and lines (columns in file order; `lines["claim"]` is a claim's place); freeze.

    `cursor` is the settler's, inside the load's transaction. Sets the manifest on `batch`, unsaved.
    """
    period = posting_month(batch.region_code, at, cursor=cursor)
    numbers = chunk_numbers(claims["person_id"])
    order = np.argsort(numbers, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    line_order = np.argsort(place[lines["claim"]], kind="stable")
    ids = reserve(cursor, len(order))
    every = {
        "period": (period - dt.date(1970, 1, 1)).days,
        "region_code": batch.region_code.encode(),
        "institution_code": batch.institution_code.encode(),
    }
    stored = (
        every
        | {name: _at(value, order) for name, value in claims.items()}
        | {
            "id": ids,
            "shard": claims["person_id"][order] % SHARDS,
            "batch_id": batch.pk,
            "chunk": numbers[order],
            "received_at": (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
            // dt.timedelta(microseconds=1),
            "received_by": by.encode(),
        }
    )
    at_claim = place[lines["claim"]][line_order]
    line_rows = every | {name: _at(value, line_order) for name, value in lines.items()}
    line_rows["claim_id"] = ids[at_claim]
    keys = {
        "institution_code": every["institution_code"],
        "claim_no": stored["claim_no"],
        "claim_id": ids,
    }
    for table, shape, rows, n in (
        ("settlement_claimkey", KEY, keys, len(ids)),
        ("settlement_claim", CLAIM, stored, len(ids)),
        ("settlement_claimline", LINE, line_rows, len(line_order)),
    ):
        _in_pieces(cursor, table, shape, rows, n)
        if table in POINTS:
            failpoint(POINTS[table])
    freeze(batch, period, stored, at_claim)
    failpoint("load.frozen")


def freeze(batch: Batch, period: dt.date, claims: Arrays, at_claim: np.ndarray) -> None:
    """Write the manifest onto the batch and make its chunks, each with its own."""
    ids, numbers = claims["id"], claims["chunk"]
    batch.period, batch.claims, batch.lines = period, len(ids), len(at_claim)
    batch.fee_total = int(claims["fee"].sum())
    batch.first_claim, batch.last_claim = (int(ids[0]), int(ids[-1])) if len(ids) else (None, None)
    lines_of = np.bincount(numbers[at_claim], minlength=int(numbers.max(initial=0)) + 1)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    ends = np.append(starts[1:], len(ids))[: len(starts)]
    chunks = [
        Chunk(
            batch=batch, number=k, claims=int(end - start), lines=int(lines_of[numbers[start]]),
            fee=int(claims["fee"][start:end].sum()), first_claim=int(ids[start]),
            last_claim=int(ids[end - 1]), layout=LAYOUT,
            manifest_sm3=manifest_of({name: claims[name][start:end] for name in BOUND}),
        )
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]  # fmt: skip
    batch.manifest_sm3 = manifest_of_chunks(batch, chunks)
    Chunk.objects.using("settler").bulk_create(chunks)


def manifest_of_chunks(batch: Batch, chunks: Sequence[Chunk]) -> str:
    """SM3 of a batch's claims: their count, and the SM3 of each chunk as it was frozen, in order."""
    head = f"manifest {batch.pk} {batch.claims} {batch.lines}"
    text = "\n".join([head, *(chunk.manifest_sm3 for chunk in chunks)])
    return hashlib.new("sm3", text.encode()).hexdigest()


def reserve(cursor: Any, n: int) -> np.ndarray:
    """`n` rising claim ids in one statement; claims received meanwhile may lie between them."""
    query = "SELECT nextval('settlement_claim_id_seq') FROM generate_series(1, %s)"
    return copy_out(cursor, query, columns(id="int8"), [n])["id"]


def facts_bytes(facts: np.ndarray) -> np.ndarray:
    """Packed records as raw bytes for the column `facts`."""
    return np.ascontiguousarray(facts).view(f"V{FACTS.itemsize}")


def text_array(texts: list[str]) -> bytes:
    """A varchar[] in PostgreSQL's binary form."""
    if not texts:
        return EMPTY_ARRAY
    head = b"\0\0\0\x01\0\0\0\0\0\0\x04\x13" + len(texts).to_bytes(4, "big") + b"\0\0\0\x01"
    encoded = [text.encode() for text in texts]
    return head + b"".join(len(text).to_bytes(4, "big") + text for text in encoded)


def _at(value: Any, order: np.ndarray | slice) -> Any:
    return value[order] if isinstance(value, np.ndarray) and value.ndim else value


def _plain(value: Any) -> Any:
    """Documents of any length are objects until their piece is encoded."""
    objects = isinstance(value, np.ndarray) and value.dtype == object
    return np.array(value.tolist()) if objects else value


def _in_pieces(cursor: Any, table: str, shape: tuple[Column, ...], rows: Arrays, n: int) -> None:
    for start in range(0, n, PIECE):
        part = {
            name: _plain(_at(value, slice(start, start + PIECE))) for name, value in rows.items()
        }
        copy_in(cursor, table, shape, part, min(PIECE, n - start))
