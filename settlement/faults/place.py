"""Where faults happen: databases cloned from a template, a broker, and real worker processes."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg2
from django.conf import settings
from psycopg2 import sql

from settlement import dump
from settlement.bench.portal import opened, renamed
from settlement.faults.host import Forked, Host

STALE, IDLE = 1, 3  #: seconds of a sweep and of a stopped session here; 20 and 30 as shipped
URLS = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SETTLER_URL")


@dataclass
class Place:
    """The addresses of one cluster and broker; `folder` takes logs and marks.

    Several lanes of a cluster are places of their own, each with its queue. Processes are forked from
    one host while the place is entered; the first lane makes the template of a loaded batch.
    """

    urls: Mapping[str, str]
    broker: str
    folder: Path
    waiting: str  #: the database whose batch waits to be loaded
    batch: int
    lane: int = 0
    made: int = 0
    host: Host = field(init=False, repr=False)

    def __enter__(self) -> "Place":
        self.host = Host(self.environment(), self.folder / "host.log")
        try:
            if self.lane == 0:
                self._load()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.host.end()
        if self.lane == 0:
            self._drop(self.loaded)

    @property
    def label(self) -> str:
        """Of the run at hand: no other has it."""
        return f"{self.lane}_{self.made}"

    @property
    def loaded(self) -> str:
        """The database whose batch is loaded and frozen; its chunks wait."""
        return f"{self.waiting}_loaded"

    def _load(self) -> None:
        self._copy(self.waiting, self.loaded)
        self.act("load", {key: renamed(self.urls[key], self.loaded) for key in URLS})

    def act(self, name: str, urls: Mapping[str, str]) -> None:
        """Do one of material.ACTS with the batch of a database."""
        log = self.folder / f"{name}-{self.lane}.log"
        if self.host.start("act", [name, str(self.batch), self.broker], urls, log).wait():
            raise RuntimeError(log.read_text()[-2000:])

    def _copy(self, template: str, name: str) -> None:
        with self.maintenance() as cursor:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )

    def _drop(self, name: str) -> None:
        with self.maintenance() as cursor:
            cursor.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def environment(self) -> dict[str, str]:
        """Of every process of the place."""
        own = {
            "DJANGO_ENV": "test", "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "INFO",
            "BATCH_STALE_SECONDS": str(STALE), "SETTLER_IDLE_SECONDS": str(IDLE),
            "REDIS_URL": settings.REDIS_URL, "VAR_DIR": str(self.folder / "var"),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", ""),
        }  # fmt: skip
        return {**os.environ, **self.urls, **own}

    @contextlib.contextmanager
    def clone(self, template: str) -> Iterator["Clone"]:
        """A copy of a database for one run."""
        self.made += 1
        name = f"fault_{os.getpid()}_{self.label}"
        self._copy(template, name)
        clone = Clone(self, name, {key: renamed(self.urls[key], name) for key in URLS})
        try:
            yield clone
        finally:
            clone.forget()
            self._drop(name)

    def maintenance(self) -> contextlib.AbstractContextManager[Any]:
        """The owner's cursor outside the databases that are copied."""
        return opened(renamed(self.urls["DATABASE_OWNER_URL"], "postgres"))


@dataclass
class Clone:
    """One run's database and what is asked of it."""

    place: Place
    name: str
    urls: dict[str, str]
    _link: Any = field(default=None, repr=False)

    def ask(self, query: str) -> Any:
        """The first value of a query; None while the server is away. Its session is kept."""
        try:
            if self._link is None:
                self._link = psycopg2.connect(self.urls["DATABASE_SETTLER_URL"])
                self._link.autocommit = True
            with self._link.cursor() as cursor:
                cursor.execute(query)
                row = cursor.fetchone()
                return row and row[0]
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self.forget()
            return None

    def forget(self) -> None:
        """End the session that asks."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def signs(self) -> list[str] | None:
        """State of the batch, chunks that are done and in all: while they change, something moves."""
        return self.ask(
            """SELECT ARRAY[b.state::text, count(c.id) FILTER (WHERE c.state = 'done')::text,
                count(c.id)::text]
            FROM settlement_batch b LEFT JOIN settlement_chunk c ON c.batch_id = b.id
            GROUP BY b.id ORDER BY b.id DESC LIMIT 1"""
        )

    def end_sessions(self) -> None:
        """Of everybody who is connected, as a restart of the server does."""
        with self.place.maintenance() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                " AND usename IS NOT NULL",  # vacuum belongs to nobody and may not be ended
                [self.name],
            )

    def sm3(self) -> str:
        """Of the canonical dump."""
        with opened(self.urls["DATABASE_SETTLER_URL"]) as cursor:
            return dump.write(len, cursor)

    def keep(self, name: str) -> Path:
        """The canonical dump as a file of the place."""
        path = self.place.folder / f"{name}.dump"
        with opened(self.urls["DATABASE_SETTLER_URL"]) as cursor, path.open("wb") as file:
            dump.write(file.write, cursor)
        return path


def first_difference(one: Path, other: Path) -> str:
    """The first lines in which two dumps differ."""
    with one.open() as left, other.open() as right:
        for pair in zip_longest(left, right, fillvalue="(nothing)"):
            if pair[0] != pair[1]:
                return f"{pair[0].strip()[:200]} ≠ {pair[1].strip()[:200]}"
    return ""


@dataclass
class Worker:
    """A Celery worker with its beat, in a process group of its own, as `make run` starts them."""

    clone: Clone
    name: str
    processes: int = 1
    failpoint: str = ""
    spent: Path | None = None
    seconds: float = 5.0
    starts: int = 0
    began: float = 0.0
    process: Forked | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.clone.place.folder / f"{self.name}.log"

    def start(self) -> "Worker":
        """Start it, or start it again as a supervisor does."""
        armed = {"FAILPOINT": self.failpoint} if self.failpoint else {}
        if self.spent is not None:
            armed |= {"FAILPOINT_SPENT": str(self.spent), "FAILPOINT_SECONDS": str(self.seconds)}
        place = self.clone.place
        schedule = place.folder / f"beat-{self.name}-{self.starts}"
        arguments = [
            "-b", place.broker, "-A", "config.celery", "worker", "--beat", "--schedule",
            str(schedule), "--concurrency", str(self.processes), "--loglevel", "INFO",
            "--without-gossip", "--without-mingle", "--hostname", self.name,
        ]  # fmt: skip
        self.process = place.host.start("celery", arguments, self.clone.urls | armed, self.log)
        self.starts += 1
        self.began = time.time()
        return self

    def watch(self) -> None:
        """Start it again when it ended."""
        if self.process is not None and self.process.poll() is not None:
            self.signal(signal.SIGKILL)  # its children must not outlive it
            self.start()

    def signal(self, how: signal.Signals) -> None:
        """To the whole group, if anything of it is left."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@contextlib.contextmanager
def working(worker: Worker) -> Iterator[Worker]:
    """A worker that is ended whatever happens."""
    try:
        yield worker.start()
    finally:
        worker.end()
