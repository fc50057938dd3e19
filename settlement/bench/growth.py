"""Cost per claim of a large batch beside small ones, in turns: a slow minute of the machine slows both.

Each batch has a database of its own in the same cluster, so that the small ones stand in small tables; a
process of its own settles its chunks when it is told to.
"""

import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone
from psycopg2 import sql

from settlement.batch.chunk import settle_chunk
from settlement.bench import portal
from settlement.bench.batches import open_period_now, seconds
from settlement.bench.data import BY, loaded_batch
from settlement.models import Chunk

SMALL, MOST_SMALL = 5, 100_000  #: small batches beside a large one, and claims in each
LONGEST = 3_600  #: seconds to wait for a batch to be loaded or a chunk to be settled


@dataclass
class Side:
    """A batch in its database, and the seconds that its chunks took."""

    link: Connection
    claims: int = 0
    chunks: int = 0
    times: list[float] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether its last chunk, which closes it, is settled."""
        return len(self.times) == self.chunks

    @property
    def cost(self) -> float:
        """Seconds per claim."""
        return sum(self.times) / self.claims

    def settle(self) -> None:
        """Let the next chunk be settled."""
        self.link.send("")
        self.times.append(self.hear())

    def hear(self) -> Any:
        """What the process says next."""
        if not self.link.poll(LONGEST):
            raise TimeoutError("a side of the measurement stands still")
        return self.link.recv()


def measure(n: int) -> tuple[float, float]:
    """(seconds per claim of a batch of n, the middle of those of small ones)."""
    sizes = [n] + [min(max(n // 2, 500), MOST_SMALL)] * SMALL
    with sides(sizes) as (large, *small):
        in_turns(large, small)
    return large.cost, statistics.median(side.cost for side in small)


def in_turns(large: Side, small: Sequence[Side]) -> None:
    """Spread the chunks of the small ones, one batch after the other, evenly among those of the large."""
    waiting = [side for side in small for _ in range(side.chunks)]
    for turn in range(large.chunks):
        large.settle()
        due = len(waiting) * (turn + 1) // large.chunks - sum(len(side.times) for side in small)
        for _ in range(due):
            next(side for side in small if not side.over).settle()


@contextmanager
def sides(sizes: Sequence[int]) -> Iterator[list[Side]]:
    """A process for each batch, loaded in a copy of the database at hand."""
    names = [f"growth_{place}" for place in range(len(sizes))]
    made, processes = [], []
    template = connections["default"].settings_dict["NAME"]
    connections.close_all()
    for name, size in zip(names, sizes, strict=True):
        _owner("CREATE DATABASE {} TEMPLATE {}", name, template)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=_side, args=(theirs, name, size), daemon=True
        )
        process.start()
        theirs.close()
        processes.append(process)
        side = Side(ours)
        side.claims, side.chunks = side.hear()
        made.append(side)
    try:
        yield made
    finally:
        for process in processes:
            process.join() if all(side.over for side in made) else process.kill()
        for name in names:
            _owner("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _side(link: Connection, name: str, size: int) -> None:
    """The process of a side: load its batch, then a chunk for every message."""
    urls = (settings.DATABASE_URL, settings.DATABASE_SETTLER_URL)
    portal.point(*(portal.renamed(url, name) for url in urls))
    batch = loaded_batch(size, seed=size, tag="G")
    rows = Chunk.objects.using("settler").filter(batch=batch).order_by("number")
    keys = list(rows.values_list("pk", flat=True))
    open_period_now()
    link.send((size, len(keys)))
    for key in keys:
        link.recv()
        link.send(seconds(partial(settle_chunk, key, by=BY, at=timezone.now())))


def _owner(statement: str, *names: str) -> None:
    """The owner does what no database may be open for."""
    with portal.opened(portal.renamed(settings.DATABASE_OWNER_URL, "postgres")) as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
