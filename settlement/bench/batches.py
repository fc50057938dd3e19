"""Figures of the batch: its workers, memory, updates, the kernel's share, and the naive path."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from django.db import connections, transaction
from django.utils import timezone

from audit.trail import event_row
from pricing.releases import current
from pricing.rules import CODES
from settlement.batch import chunk
from settlement.batch.chunk import settle_chunk
from settlement.bench.data import BY, REGION
from settlement.columns import Columns, records
from settlement.kernel import State, settle
from settlement.ledger import COUNTED
from settlement.models import (
    Accumulator,
    Batch,
    Chunk,
    Claim,
    ClaimLine,
    InsuredPerson,
    Leg,
    LineResult,
    PersonalAccount,
    Settlement,
)
from settlement.periods import month_of, posting_month
from settlement.posting import RESULT, STATES, TOTALS, post

KIB = 1024


def _work(chunks: list[int], ready, go, memory) -> None:
    open_period_now()
    ready.release()
    go.wait()
    for key in chunks:
        settle_chunk(key, by=BY, at=timezone.now())
    memory.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB)


def open_period_now() -> None:
    """Connect, make the month and compile, so that the measured time has none of it."""
    with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
        posting_month(REGION, timezone.now(), cursor=cursor)


def warm(batch: Batch) -> None:
    """Settle a batch in this process, so that the workers forked from it have compiled code."""
    for key in Chunk.objects.using("settler").filter(batch=batch).values_list("pk", flat=True):
        settle_chunk(key, by=BY, at=timezone.now())


def rate(batch: Batch, workers: int) -> tuple[float, float]:
    """(claims per second, peak resident MB of a worker); everything durable, closed at the end."""
    chunks = list(
        Chunk.objects.using("settler")
        .filter(batch=batch)
        .order_by("number")
        .values_list("pk", flat=True)
    )
    connections.close_all()
    context = multiprocessing.get_context("fork")
    ready, go, memory = context.Semaphore(0), context.Event(), context.Queue()
    processes = [
        context.Process(target=_work, args=(chunks[k::workers], ready, go, memory), daemon=True)
        for k in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    peaks = [memory.get() for _ in processes]
    passed = time.perf_counter() - began
    for process in processes:
        process.join()
    state = Batch.objects.using("settler").values_list("state", flat=True).get(pk=batch.pk)
    if state != Batch.State.CLOSED:
        raise RuntimeError(f"the measured batch ended as {state}")
    return batch.claims / passed, max(peaks)


def updates() -> int:
    """Updated or deleted rows of claims, lines and results, as PostgreSQL counts them."""
    with connections["settler"].cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            """SELECT coalesce(sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables
            WHERE relname ~ '^settlement_(claim|claimline|settlement|lineresult|leg)(_[0-9_]+)?$'"""
        )
        return int(cursor.fetchone()[0])


@dataclass(frozen=True)
class InTurns:
    """A batch settled chunk by chunk, beside each chunk some claims of the naive path."""

    per_second: float  #: claims of the batch, its closing included
    naive: float  #: claims a second of the naive path
    kernel: float  #: share of the kernel in the time of a chunk; the middle one of all chunks


def in_turns(batch: Batch, other: Batch) -> InTurns:
    """Settle a batch with the compiled path and another with model objects, in turns, in this process."""
    chunks = Chunk.objects.using("settler").filter(batch=batch).order_by("number")
    claims = Claim.objects.using("settler").filter(batch_id=other.pk).order_by("pk")
    keys, left = (
        list(chunks.values_list("pk", flat=True)),
        list(claims.values_list("pk", flat=True)),
    )
    each = -(-len(left) // len(keys))
    settled, slow, shares = 0.0, 0.0, []
    for turn, key in enumerate(keys):
        with kernel_timed() as kernel:
            passed = seconds(partial(settle_chunk, key, by=BY, at=timezone.now()))
        settled += passed
        shares.append(sum(kernel) / passed)
        slow += seconds(partial(naive, left[turn * each : (turn + 1) * each]))
    return InTurns(batch.claims / settled, len(left) / slow, statistics.median(shares))


@contextmanager
def kernel_timed() -> Iterator[list[float]]:
    """The seconds of each call of the kernel that chunks make meanwhile."""
    real, took = chunk.settle, list[float]()

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return real(*args, **kwargs)
        finally:
            took.append(time.perf_counter() - began)

    vars(chunk)["settle"] = timed
    try:
        yield took
    finally:
        vars(chunk)["settle"] = real


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def naive(keys: Sequence[int]) -> None:
    """The idiomatic ORM: objects one by one, a transaction per claim."""
    for key in keys:
        with transaction.atomic(using="settler"):
            naive_claim(key, at=timezone.now())


def naive_claim(key: int, *, at) -> None:
    """Settle one claim with model objects, same kernel, same rows: the naive path."""
    claim = Claim.objects.using("settler").get(pk=key)
    lines = list(ClaimLine.objects.using("settler").filter(claim_id=key).order_by("line_no"))
    person = InsuredPerson.objects.using("settler").get(pk=claim.person_id)
    facts = records(bytes(claim.facts))
    scheme = CODES["scheme"][facts["scheme"][0]]
    rules = current().rules("wenzhou", claim.service_date)
    if rules is None:
        raise LookupError("no policy is published")
    account, _ = PersonalAccount.objects.using("settler").select_for_update().get_or_create(
        person=person,
        defaults={"account_left": person.account_balance, "region_code": claim.region_code},
    )  # fmt: skip
    used, _ = Accumulator.objects.using("settler").select_for_update().get_or_create(
        person=person, year=claim.service_date.year, scheme=scheme,
        defaults={"region_code": claim.region_code},
    )  # fmt: skip
    columns = Columns(
        facts,
        np.zeros(len(lines), np.int64),
        service=np.array([line.service for line in lines]),
        item=np.array(
            [rules.codes.index(x.item_code) + 1 if x.item_code in rules.codes else 0 for x in lines]
        ),
        fee=np.array([line.fee for line in lines], np.int64),
        encounter=np.full(len(lines), claim.encounter_key),
    )
    state = State(*(np.array([getattr(used, name)]) for name in COUNTED))
    which = np.zeros(len(lines), np.int64)
    results = settle(columns, rules, keys=which, state=state)
    left = np.array([account.account_left])
    posted = post(columns, results, [rules], which, 1, np.zeros(1, np.int64), left)
    _naive_rows(claim, scheme, lines, rules, results, posted, at)
    for name, column in zip(COUNTED, state.columns(), strict=True):
        setattr(used, name, int(column[0]))
    used.save(using="settler")
    account.account_left = int(left[0])
    account.save(using="settler")
    event_row(by=BY, at=at, action="claim.settled", subject=f"claim:{key}").save(using="settler")


def _naive_rows(claim, scheme, lines, rules, results, posted, at) -> None:
    own = {
        "claim_id": claim.pk, "version": 1, "period": month_of(at),
        "region_code": claim.region_code, "institution_code": claim.institution_code,
    }  # fmt: skip
    Settlement.objects.using("settler").create(
        **own, state=STATES[posted.state[0]], person_id=claim.person_id, scheme=scheme,
        year=claim.service_date.year, service_date=claim.service_date,
        **{name: int(getattr(posted, name)[0]) for name in TOTALS}, example=bool(posted.example[0]),
        settled_at=at, settled_by=BY, reason="",
    )  # fmt: skip
    for k, line in enumerate(lines):
        LineResult.objects.using("settler").create(
            **own, line_no=line.line_no, release_id=rules.release_id,
            parameters_id=rules.parameters_id, **{n: int(getattr(results, n)[k]) for n in RESULT},
        )  # fmt: skip
    Leg.objects.using("settler").bulk_create(  # one statement: a leg alone does not balance
        Leg(**own, account=int(account), amount=int(amount))
        for account, amount in zip(posted.leg_account, posted.leg_amount, strict=True)
    )
