"""The sealer: gives committed events their places in the log, keeps its hashes, signs checkpoints.

Order of sealing is not order of ids or clocks. `audit_event.tx` is the transaction that wrote an event.
Each run remembers its snapshot as (upper, open): every transaction below `upper` had ended, but for the
`open` ones. The next run asks for events of transactions from `upper` on and of the open ones, so that a
slow transaction's event is found whenever it commits, and nothing that was seen is read again. A database
on another cluster (restored) numbers its transactions anew: then everything without a leaf is asked for.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.urls import reverse

from audit import merkle, notes, proofs, tasks, trail
from audit.models import Checkpoint, SealKey, SealState

log = logging.getLogger(__name__)

ALG = "sm3"  #: of the log's nodes; the leaf of an event names its own
ROUND = 50_000  #: events of one transaction
BY = "system"
#: Of alarms about the log: what they stand under, who acts on them.
ALTERED, PERMISSION = "trail:altered", "trail.view"
CLAUSE = "GB/T 22239—2019 安全审计 c"  # 应对审计记录进行保护，避免受到未预期的删除、修改或覆盖
NAMED = 100  #: altered events that the event of the alarm names
LOCK = 0x5EA1_106D  #: advisory key: one sealer at a time

SNAPSHOT = """
SELECT pg_snapshot_xmax(snapshot)::text::bigint,
    ARRAY(SELECT xid::text::bigint FROM pg_snapshot_xip(snapshot) xid),
    pg_current_xact_id_if_assigned()::text::bigint,
    (SELECT system_identifier::text FROM pg_control_system())
FROM pg_current_snapshot() snapshot"""
UNSEALED = "NOT EXISTS (SELECT FROM audit_leaf leaf WHERE leaf.event = event.id)"
SINCE = "(event.tx >= %(upper)s::text::xid8 OR event.tx = ANY(%(open)s::text[]::xid8[]))"
NEW = """
SELECT event.tx::text::bigint, event.id::text, event.leaf, event.alg, event.body
FROM audit_event event WHERE {which} ORDER BY event.tx, event.at, event.id LIMIT %(limit)s"""

COUNT = "SELECT count(*) FROM (SELECT FROM audit_event event WHERE {which} LIMIT %s) found"
ANY = "SELECT EXISTS (SELECT FROM audit_event event WHERE {which})"
PASSED = """
SELECT event.id FROM audit_event event
WHERE event.id = ANY(%(events)s::uuid[]) AND NOT {since} AND {unsealed}"""


class BrokenLogError(Exception):
    """What is stored does not agree with what was signed: sealing stops, the alarm stays."""


class Entry(NamedTuple):
    """An event to be sealed."""

    tx: int
    event: str
    leaf: bytes
    alg: str
    body: bytes


@dataclass(frozen=True)
class Run:
    """What one call did: events sealed, the size of the log, the checkpoint if one was signed."""

    sealed: int
    size: int
    checkpoint: Checkpoint | None
    faulty: tuple[str, ...] = ()  #: events whose body no longer gives their leaf


def seal(
    *, at: dt.datetime | Callable[[], dt.datetime], machine: dt.datetime, limit: int = ROUND,
    wait: bool = True, everything: bool = False,
) -> Run:  # fmt: skip
    """Seal every event that has committed; the checkpoint is dated `at`, the run `machine`.

    A clock given as `at` is read when it is signed, after every wait: a checkpoint stands soon after
    the moment that it names, which papers rely on (`audit.pdf.SETTLED`).
    `machine` is the machine's own clock, by which the watch tells whether the sealer stands still.
    Another sealer under way is waited for, or (`wait` False) left to do it. `everything` asks for all
    events without a leaf instead of those behind the cursor.
    """
    sealed, whole = 0, False
    faulty: list[str] = []
    while not whole:
        with transaction.atomic():
            if not _alone(wait=wait):
                return Run(sealed, proofs.size(), None, tuple(faulty))
            entries, whole = _next(limit, everything=everything)
            _, wrong = _append(entries)
            if wrong:
                _tell(wrong, at=at() if callable(at) else at)
            sealed, faulty = sealed + len(entries), [*faulty, *wrong]
    with transaction.atomic():  # of its own: what is sealed stays sealed when it cannot be signed
        _alone(wait=True)
        size = proofs.size()
        checkpoint = _sign(size, at=at() if callable(at) else at)
        SealState.objects.filter(pk=1).update(ran_at=machine)
    return Run(sealed, size, checkpoint, tuple(faulty))


def _alone(*, wait: bool) -> bool:
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            return True
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return cursor.fetchone()[0]


def _next(limit: int, *, everything: bool) -> tuple[list[Entry], bool]:
    """The next events and whether these are all; moves the cursor past them.

    The snapshot is taken before the events are read. What commits in between is read as well, and the
    next run finds it sealed.
    """
    state = SealState.objects.get(pk=1)
    upper, still_open, cluster = _snapshot()
    anew = everything or cluster != state.cluster
    with connection.cursor() as cursor:
        cursor.execute(
            NEW.format(which=UNSEALED if anew else f"{SINCE} AND {UNSEALED}"),
            {**_behind(state), "limit": limit},
        )
        entries = [Entry(tx, event, bytes(leaf), alg, bytes(body))
                   for tx, event, leaf, alg, body in cursor.fetchall()]  # fmt: skip
    whole = len(entries) < limit
    if not whole:  # of the last transaction more may follow, and of those that were open before
        upper = max(state.upper, min(upper, entries[-1].tx))
        still_open = [*state.open, *still_open]
    if whole or not anew:
        SealState.objects.filter(pk=1).update(
            upper=upper, open=sorted({x for x in still_open if x < upper}), cluster=cluster
        )
    return entries, whole


def _snapshot() -> tuple[int, list[int], str]:
    """(upper, open, cluster) of this moment; our own transaction counts as open."""
    with connection.cursor() as cursor:
        cursor.execute(SNAPSHOT)
        upper, still_open, own, cluster = cursor.fetchone()
    return upper, [*still_open, *([own] if own is not None else [])], cluster


def _behind(state: SealState) -> dict[str, Any]:
    """The values of SINCE."""
    return {"upper": str(state.upper), "open": [str(x) for x in state.open]}


def _append(entries: Sequence[Entry]) -> tuple[int, list[str]]:
    """Give the events their places; the new size, and the events whose body was changed before."""
    size = proofs.size()
    edge = proofs.frontier(size, alg=ALG)
    _refuse_broken(edge)
    leaves, nodes = StringIO(), StringIO()
    faulty: list[str] = []
    for entry in entries:
        if merkle.leaf_hash(entry.body, entry.alg) != entry.leaf:
            faulty.append(entry.event)
        leaves.write(f"{edge.size}\t{entry.event}\t\\\\x{entry.leaf.hex()}\n")
        for place, made in edge.append(entry.leaf):
            nodes.write(f"{place.level}\t{place.idx}\t\\\\x{made.hex()}\n")
    with connection.cursor() as cursor:
        _copy(cursor, "audit_leaf (seq, event, hash)", leaves)
        _copy(cursor, "audit_node (level, idx, hash)", nodes)
    return edge.size, faulty


def _tell(wrong: Sequence[str], *, at: dt.datetime) -> None:
    """An event that was altered before it was sealed is an event and an alarm, with its sealing."""
    log.critical("events whose body does not give their leaf: %s", ", ".join(wrong))
    trail.record(
        by=BY, at=at, action="trail.altered", subject=ALTERED, outcome="failed",
        detail={"count": len(wrong), "events": list(wrong[:NAMED])},
    )  # fmt: skip
    tasks.open_task(
        subject=ALTERED, permission=PERMISSION, at=at, url=reverse("checkpoints"), clause=CLAUSE,
        status="记录被改动",
        title=f"封存时发现 {len(wrong)} 条操作记录的正文被改动，第一条 {wrong[0]}；请保存现场并核查",
    )  # fmt: skip


def _copy(cursor: Any, table: str, rows: StringIO) -> None:
    if rows.tell():
        rows.seek(0)
        cursor.copy_expert(f"COPY {table} FROM STDIN", rows)


def _refuse_broken(edge: merkle.Frontier) -> None:
    """A log that lost its end, or whose right edge was rewritten, is not built upon."""
    newest = trail.checkpoint()
    if newest is None:
        return
    if edge.size < newest.size:
        raise BrokenLogError(f"the log has {edge.size} entries, {newest.size} were signed")
    if proofs.root(newest.size, alg=newest.alg) != bytes(newest.root):
        raise BrokenLogError(f"the root of {newest.size} entries is not the one that was signed")


def _sign(size: int, *, at: dt.datetime) -> Checkpoint | None:
    """The signed checkpoint of this size, unless there is one or nothing to sign."""
    newest = trail.checkpoint()
    pem = notes.public_key()
    key = notes.key_id(settings.SEAL_ORIGIN, pem)
    if not size or (newest and (newest.size, newest.key_id) == (size, key)):
        return None
    root = proofs.root(size, alg=ALG)
    text = notes.text_of(origin=settings.SEAL_ORIGIN, size=size, root=root, alg=ALG, at=at)
    SealKey.objects.bulk_create(
        [SealKey(id=key, name=settings.SEAL_ORIGIN, alg=notes.SIGNATURE_ALG, pem=pem, at=at)],
        ignore_conflicts=True,
    )
    return Checkpoint.objects.create(
        size=size, root=root, alg=ALG, origin=settings.SEAL_ORIGIN, key_id=key, at=at,
        text=notes.sign(text, name=settings.SEAL_ORIGIN),
    )  # fmt: skip


def unsealed(*, at_most: int = 1_000_000) -> int:
    """How many events have no place yet, asked without any cursor: nothing can hide from it."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT.format(which=UNSEALED), [at_most])
        return cursor.fetchone()[0]


def passed_over(events: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Of events without a place those that an earlier run must have seen: their leaf was taken away."""
    state = SealState.objects.get(pk=1) if events else None
    if state is None or _snapshot()[2] != state.cluster:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            PASSED.format(since=SINCE, unsealed=UNSEALED),
            {**_behind(state), "events": [str(key) for key in events]},
        )
        return {key for (key,) in cursor.fetchall()}


def waiting() -> bool:
    """Whether an event waits for the sealer, or a sealed one for its checkpoint, by the cursor:
    an index, whatever the size of the log.
    """
    state = SealState.objects.get(pk=1)
    which = f"{SINCE} AND {UNSEALED}" if _snapshot()[2] == state.cluster else UNSEALED
    with connection.cursor() as cursor:
        cursor.execute(ANY.format(which=which), _behind(state))
        found = cursor.fetchone()[0]
    newest = trail.checkpoint()
    return found or proofs.size() > (newest.size if newest else 0)
