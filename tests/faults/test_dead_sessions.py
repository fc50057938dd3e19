"""The server ends a worker's session before any of its statements: the next task works, without a restart."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import psycopg2
import pytest
from celery.signals import task_prerun
from django.conf import settings
from django.db import connections, transaction
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone

from pricing.releases import catalogue_at
from settlement import failpoints, tasks
from settlement.batch import commands
from settlement.batch.chunk import settle_chunk
from settlement.faults import material
from settlement.models import Batch, Chunk, Voucher
from tests import factories

BY = "worker"
ALIASES = ("default", "settler")
DEAD = (OperationalError, InterfaceError, psycopg2.Error)
BATCHES, CHUNKS = Batch.objects.using("settler"), Chunk.objects.using("settler")


class Ending:
    """Ends the session that is about to run the nth statement of a task."""

    def __init__(self, nth: int) -> None:
        self.left, self.struck = nth, False

    def __call__(self, execute, sql, params, many, context):
        self.left -= 1
        if not self.left:
            self.struck = True
            end_session(context["connection"].connection.info.backend_pid)
        return execute(sql, params, many, context)


def end_session(pid: int) -> None:
    """As the server does when it goes down; back when the session is gone."""
    with closing(psycopg2.connect(settings.DATABASE_SETTLER_URL)) as link, link.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@contextmanager
def ended(nth: int) -> Iterator[Ending]:
    ending = Ending(nth)
    with ExitStack() as stack:
        for alias in ALIASES:
            stack.enter_context(connections[alias].execute_wrapper(ending))
        yield ending


def task(work: Callable[[], object]) -> None:
    """A task as a worker begins it."""
    task_prerun.send(sender=tasks.sweep)
    work()


def sweep() -> None:
    commands.sweep(by=BY, at=timezone.now())


def struck_everywhere(work: Callable[[], object]) -> int:
    """Do it again and again, one statement later each time, until it ends undisturbed; how often."""
    nth, struck = 0, True
    while struck:
        nth += 1
        with ended(nth) as ending, suppress(*DEAD):
            task(work)
        struck = ending.struck
        task(sweep)  # raises when a connection stays dead or a transaction open
        assert not any(connections[alias].in_atomic_block for alias in ALIASES)
    return nth - 1


@pytest.fixture
def batch(committed_db: str, broker: str) -> Iterator[int]:
    """A confirmed batch of a few claims."""
    catalogue_at.cache_clear()
    factories.policies("wenzhou", "nantong")
    yield material.prepared(patients=2, posts=0).batch
    catalogue_at.cache_clear()


def test_a_session_that_ends_at_any_statement_leaves_a_worker_that_works(batch: int) -> None:
    def load() -> None:
        BATCHES.filter(pk=batch).update(attempts=0)
        commands.load(batch_id=batch, by=BY, at=timezone.now())

    def settle() -> None:
        CHUNKS.update(attempts=0)
        settle_chunk(CHUNKS.get().pk, by=BY, at=timezone.now())

    assert struck_everywhere(sweep) >= 3
    assert struck_everywhere(load) >= 15
    assert struck_everywhere(settle) >= 15
    assert BATCHES.get().state == Batch.State.CLOSED
    assert Voucher.objects.using("settler").filter(kind="regional").exists()


def test_a_transaction_that_was_left_open_does_not_outlive_its_task(batch: int) -> None:
    """A time limit may strike while a transaction begins: then nobody ends it."""
    transaction.atomic(using="settler").__enter__()
    end_session(connections["settler"].connection.info.backend_pid)
    task(sweep)
    assert not connections["settler"].in_atomic_block


def test_a_host_that_stops_in_the_middle_of_a_copy_is_ended_by_the_sweep(
    batch: int, settings
) -> None:
    """The server would wait for the rest of the rows for ever, and the chunk with it."""
    settings.SETTLER_IDLE_SECONDS = 1
    commands.load(batch_id=batch, by=BY, at=timezone.now())
    chunk = CHUNKS.get().pk

    def stand_still() -> bool:
        try:
            return settle_chunk(chunk, by="stopped", at=timezone.now())
        finally:
            connections.close_all()

    def another() -> bool:
        time.sleep(0.25)
        task(sweep)
        return settle_chunk(chunk, by="other", at=timezone.now())

    with failpoints.planned("chunk.copying:1:sleep") as plan, ThreadPoolExecutor(1) as pool:
        plan.seconds = 5
        host = pool.submit(stand_still)
        while not plan.passed["chunk.copying"]:
            time.sleep(0.05)
        took_over = [another() for _ in range(12)]
        assert took_over.count(True) == 1
        assert not host.done()
        with pytest.raises(DEAD):
            host.result()
    assert BATCHES.get().state == Batch.State.CLOSED


def test_the_shipped_times_keep_the_promise() -> None:
    """A host that stands still loses its session, the next sweep rings: within a minute."""
    assert settings.SETTLER_IDLE_SECONDS + settings.BATCH_STALE_SECONDS <= 60
