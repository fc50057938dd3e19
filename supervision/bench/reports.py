"""Pages per second and memory of a worker that lays out a long register part by part.

A worker is a process of its own; it is measured at the end of its parts, so that what a part leaves
behind counts. Figures: report.pages_per_second, report.rss_mb (goal: 300).
"""

import datetime as dt
import functools
import itertools
import json
import multiprocessing
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import numpy as np
from celery import current_app
from django.conf import settings

from audit import merkle, notes
from audit.clock import ZONE
from audit.models import Checkpoint
from supervision.reports import orders, press
from supervision.reports.money import ZERO

PAGES = 200
RSS_GOAL = 300.0
SEED = 5
SEALED = 1_000_000  #: entries of the log
SCHEMES = ("employee", "resident")
AT = dt.datetime(2021, 12, 20, 10, tzinfo=ZONE)


@dataclass(frozen=True)
class Measured:
    """Of one run: pages laid out, by how many workers, in how many seconds, the largest worker (MB)."""

    pages: int
    workers: int
    seconds: float
    rss_mb: float

    @property
    def pages_per_second(self) -> float:
        return self.pages / self.seconds


def measure(*, pages: int = PAGES, workers: int = 2) -> Measured:
    """Lay out a register of so many pages in new processes and join it."""
    document = invented(pages * press.ROWS_A_PAGE)
    context = multiprocessing.get_context("spawn")
    book = press.book_of(document)
    plan = press.parts_of(book, first_page=2)
    total = press.pages_of(1, plan)
    slices = [press.canonical(press.slice_of(document, book, part)) for part in plan]
    began = time.perf_counter()
    with context.Pool(workers, initializer=django.setup) as pool:
        cover = pool.apply_async(_front, (press.canonical(document),))
        given = zip(slices, plan, itertools.repeat(total))
        done = pool.starmap(_part, given, chunksize=1)
        front, front_pages, most = cover.get()
    whole = press.join(front, front_pages, (content for content, _ in done), plan)
    seconds = time.perf_counter() - began
    return Measured(whole.pages, workers, seconds, max(most, *(rss for _, rss in done)))


@functools.cache
def _begin() -> None:
    """What a worker of the queue `reports` (`celery --skip-checks`) has loaded before its first task."""
    os.environ["CELERY_SKIP_CHECKS"] = "true"
    current_app.loader.import_default_modules()


def _part(piece: bytes, part: press.Part, total: int) -> tuple[bytes, float]:
    """Lay out one part; its bytes and what this process has needed at most (MB)."""
    _begin()
    return press.print_part(json.loads(piece), part, total), _peak()


def _front(text: bytes) -> tuple[bytes, int, float]:
    """Lay out the front; its bytes, its pages and what this process has needed at most (MB)."""
    _begin()
    return *press.print_front(json.loads(text)), _peak()


def _peak() -> float:
    """What this process has needed at most (MB); `ru_maxrss` would be that of its parent, if greater."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) / 1024


def signed() -> Checkpoint:
    """A checkpoint as the sealer signs it, of an invented log: what the cover and every foot print."""
    root = merkle.leaf_hash(b"bench", "sm3")
    text = notes.text_of(origin=settings.SEAL_ORIGIN, size=SEALED, root=root, alg="sm3", at=AT)
    return Checkpoint(
        pk=1, origin=settings.SEAL_ORIGIN, size=SEALED, root=root, alg="sm3", at=AT,
        text=notes.sign(text, name=settings.SEAL_ORIGIN),
    )  # fmt: skip


def invented(rows: int) -> dict[str, Any]:
    """A document of the register of claims with invented rows."""
    chance = np.random.default_rng(SEED)
    fees = chance.integers(0, 100_000, (rows, 4)).tolist()
    places = chance.integers(1, 31, rows).tolist()
    lines = [
        [number, f"示例市第{places[number - 1]}人民医院（示例）互联网医院", f"S2021{number:09d}", "张*",
         "320***********12", SCHEMES[number % 2], "2021-11-05",
         *fees[number - 1], "payable"]
        for number in range(1, rows + 1)
    ]  # fmt: skip
    key = uuid.UUID(int=0)
    return {
        "format": 1, "report": str(key), "kind": "claims",
        "title": "示例市费用结算明细表", "number": "示例医保报〔2021〕1号", "organ": "示例市医疗保障局",
        "scope": "示例市", "parameters": {}, "span": "2021年11月", "by": "bench", "by_name": "示例",
        "at": AT.isoformat(), "clause": "", "examples": ["示例"], "demo": True,
        "seal": orders.seal_of(key, signed()),
        "figures": {"totals": ZERO | {"persons": 0}, "months": [], "states": [], "institutions": [],
                    "rows": lines, "example": True},
    }  # fmt: skip
