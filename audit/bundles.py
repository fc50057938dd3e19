"""Bundles: parts of the trail that verify elsewhere (`audit/verify.py`), as lines of JSON.

The first line is the head; then checkpoints, proofs that the log grew from older sizes, and entries. A
stretch [first, last) is replayed from the right edge at `first` to the signed root at `last`; a selection
carries one inclusion proof per entry instead. A body stands last on its line as the bytes that were
stored, never written anew: whoever verifies hashes what he reads, without parsing it.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import connection

from audit import merkle, proofs, proven
from audit.models import Checkpoint, Event, Leaf, SealKey
from audit.verify import FORMAT

CHUNK = 5_000  #: entries read at once
STRETCH = """
SELECT leaf.seq, leaf.hash, coalesce(event.alg, 'sm3'), coalesce(event.body, ''), event.leaf
FROM audit_leaf leaf LEFT JOIN audit_event event ON event.id = leaf.event
WHERE leaf.seq >= %s AND leaf.seq < %s ORDER BY leaf.seq"""


def stretch(
    *, first: int, top: Checkpoint, by: str, at: dt.datetime, older: Sequence[int] = ()
) -> Iterator[str]:
    """Every entry from `first` to the end of a checkpoint, with the checkpoints on the way."""
    size = max(top.size - first, 0)
    edge = proofs.frontier(first, alg=top.alg).hashes if first else []
    yield _line(_head(top, first=first, edge=edge, entries=size, by=by, at=at))
    between = Checkpoint.objects.filter(size__gt=first, size__lt=top.size)
    for text in between.values_list("text", flat=True).iterator():
        yield _line({"checkpoint": text})
    yield from _tops(top, older)
    for begin in range(first, top.size, CHUNK):
        with connection.cursor() as cursor:
            cursor.execute(STRETCH, [begin, min(begin + CHUNK, top.size)])
            rows = cursor.fetchall()
        for seq, leaf, alg, body, own in rows:
            yield _entry(seq, bytes(leaf), alg, bytes(body), own)


def selection(
    *, seqs: Sequence[int], top: Checkpoint, by: str, at: dt.datetime, older: Sequence[int] = (),
    bodies: bool = True,
) -> Iterator[str]:  # fmt: skip
    """Chosen entries in their order, each with the proof that the log of the checkpoint has it.

    Without `bodies` the entries are hashes only: the head says that no body may be expected.
    """
    wanted = set(seqs)
    if (
        bodies and min(wanted, default=top.size) < _archived()
    ):  # what excuses entries without a body
        wanted.update(seqs_of(Event.objects.filter(action=proven.ARCHIVED)))
    chosen = sorted(seq for seq in wanted if seq < top.size)
    head = _head(top, first=0, edge=[], entries=len(chosen), by=by, at=at)
    yield _line(head if bodies else head | {"archived": top.size})
    yield from _tops(top, older)
    for begin in range(0, len(chosen), CHUNK):
        part = chosen[begin : begin + CHUNK]
        leaves = {leaf.seq: leaf for leaf in Leaf.objects.filter(seq__in=part)}
        events = Event.objects.in_bulk([leaf.event for leaf in leaves.values()])
        ways = proofs.inclusions(part, top.size, alg=top.alg)
        for seq, way in zip(part, ways, strict=True):
            leaf = leaves[seq]
            event = events.get(leaf.event)
            alg, body, own = (
                (event.alg, bytes(event.body) if bodies else b"", event.leaf)
                if event
                else (top.alg, b"", None)
            )
            yield _entry(seq, bytes(leaf.hash), alg, body, own, proof=[part.hex() for part in way])


def _head(
    top: Checkpoint, *, first: int, edge: Sequence[bytes], entries: int, by: str, at: dt.datetime
) -> dict[str, Any]:
    return {
        "bundle": FORMAT, "origin": top.origin, "alg": top.alg, "first": first, "last": top.size,
        "entries": entries, "archived": _archived(), "frontier": [part.hex() for part in edge],
        "keys": dict(SealKey.objects.order_by("at").values_list("pk", "pem")),
        "by": by, "at": at.isoformat(timespec="seconds"),
    }  # fmt: skip


def _archived() -> int:
    """Below this place bodies may be in an archive, as sealed events say; other entries have their own."""
    return max((archive.last for archive in proven.archives()), default=0)


def _tops(top: Checkpoint, older: Sequence[int]) -> Iterator[str]:
    """The last checkpoint, and proofs that it continues each of the older sizes."""
    yield _line({"checkpoint": top.text})
    for size in sorted({size for size in older if 0 < size < top.size}):
        way = proofs.consistency(size, top.size, alg=top.alg)
        yield _line({"grown": size, "proof": [part.hex() for part in way]})


def _entry(seq: int, leaf: bytes, alg: str, body: bytes, own: Any, **more: Any) -> str:
    """An entry; without a body it is archived, or was taken away. Of two leaves the wrong one is shown.

    Bytes that the portal never writes (two lines, no UTF-8) are shown as escaped text, which no leaf fits.
    """
    if own is not None and bytes(own) != leaf == merkle.leaf_hash(body, alg):
        leaf = bytes(own)
    text = body.decode(errors="backslashreplace")
    shown = text if "\n" not in text and text.encode() == body else json.dumps(text)
    front = _line({"seq": seq, "alg": alg, "leaf": leaf.hex(), **more})
    return f'{front[:-2]},"body":{shown or "null"}}}\n'


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n"


def seqs_of(events: Any) -> list[int]:
    """The places of events (a query) in the log; what is not sealed yet has none."""
    keys = list(events.values_list("pk", flat=True))
    return list(Leaf.objects.filter(event__in=keys).values_list("seq", flat=True))
