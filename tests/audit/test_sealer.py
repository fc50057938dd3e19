"""The sealer: every committed event gets its place, whatever commits late, dies between or runs twice."""

import datetime as dt
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, connections, transaction

from audit import clock, merkle, notes, proofs, rounds, sealer, trail
from audit.models import Checkpoint, Event, Leaf, Node, SealState
from config.embedded import _postgres_bin
from tests.audit.sealing import AT, act, seal, session, superuser, superuser_url

pytestmark = pytest.mark.usefixtures("own_key")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_key(settings, tmp_path):
    settings.SEAL_KEY_FILE = str(tmp_path / "keys" / "seal.pem")


def places() -> dict[str, int]:
    """Subject of every sealed event and its place."""
    seqs = dict(Leaf.objects.values_list("event", "seq"))
    return {e.subject: seqs[e.pk] for e in Event.objects.all() if e.pk in seqs}


def whole() -> bool:
    """Whether leaves, nodes and the newest checkpoint are what the events give."""
    leaves = list(Leaf.objects.order_by("seq"))
    hashes = {e.pk: bytes(e.leaf) for e in Event.objects.all()}
    edge, nodes = merkle.Frontier(), {}
    for leaf in leaves:
        nodes.update(edge.append(hashes[leaf.event]))
    kept = {merkle.Place(n.level, n.idx): bytes(n.hash) for n in Node.objects.all()}
    newest = trail.checkpoint()
    return (
        [leaf.seq for leaf in leaves] == list(range(len(hashes)))
        and kept == nodes
        and (newest.size, bytes(newest.root)) == (edge.size, edge.root())
    )


# --- the log ---


def test_events_get_places_nodes_and_a_signed_checkpoint(db):
    for number in range(5):
        act(number)
    run = seal(1)
    note = notes.parse(run.checkpoint.text)
    assert (run.sealed, run.size, run.faulty) == (5, 5, ())
    assert places() == {f"claim:{k}": k for k in range(5)}
    assert (note.size, note.root, note.alg, note.origin) == (
        5, bytes(run.checkpoint.root), "sm3", "medical-insurance-portal/trail")  # fmt: skip
    assert notes.verify(note, run.checkpoint.key.pem)
    assert whole()


def test_nothing_new_makes_no_checkpoint_and_later_events_follow(db):
    act(1)
    seal(1)
    again = seal(2)
    act(2)
    third = seal(3)
    assert (again.sealed, again.checkpoint, third.sealed, third.size) == (0, None, 1, 2)
    assert list(Checkpoint.objects.values_list("size", flat=True)) == [1, 2]
    assert whole()


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_rounds_of_any_size_seal_the_same(db, limit: int):
    for number in range(7):
        act(number)
    assert (seal(limit=limit).size, Checkpoint.objects.count(), whole()) == (7, 1, True)


def test_no_node_is_kept_that_is_not_complete(db):
    for number in range(13):
        act(number)
    seal()
    assert Node.objects.count() == 13 - (13).bit_count()
    assert all((n.idx + 1) << n.level <= 13 for n in Node.objects.all())


def test_an_empty_log_has_no_checkpoint(db):
    assert (seal().checkpoint, trail.checkpoint()) == (None, None)


def test_an_event_whose_body_was_changed_before_is_told_and_sealed_as_recorded(db, caplog):
    event = trail.event_row(by="clerk", at=AT, action="claim.receive", subject="claim:1")
    event.leaf = hashlib.new("sm3", b"other").digest()
    event.save(force_insert=True)
    run = seal()
    assert run.faulty == (str(event.pk),)
    assert bytes(Leaf.objects.get().hash) == event.leaf
    assert str(event.pk) in caplog.text
    told = Event.objects.get(action="trail.altered")
    assert (told.outcome, trail.said_of(told)["detail"]) == (
        "failed", {"count": 1, "events": [str(event.pk)]},
    )  # fmt: skip
    assert seal().faulty == ()  # the alarm itself is sealed in its turn


# --- late commits, other sealers, sudden ends ---


def test_a_slow_transaction_is_sealed_when_it_commits(committed_db):
    """Its event has an earlier id, time and transaction than what was sealed before it committed."""
    slow = connections["settler"]
    with transaction.atomic(using="settler"):
        trail.event_row(by="slow", at=AT, action="claim.receive", subject="claim:slow").save(
            using="settler", force_insert=True
        )
        for number in range(3):
            act(number)
            seal(number)
        before = places()
        state = SealState.objects.get()
        assert state.open  # of this cluster: other databases may add theirs
    slow.close()
    seal(9)
    assert before == {"claim:0": 0, "claim:1": 1, "claim:2": 2}
    assert places() == before | {"claim:slow": 3}
    assert whole()


def test_an_aborted_transaction_leaves_no_gap(committed_db):
    with transaction.atomic():
        act(1)
        transaction.set_rollback(True)
    act(2)
    seal()
    assert (places(), whole()) == ({"claim:2": 0}, True)


def test_sealers_at_once_give_every_event_one_place(committed_db):
    faults: list[BaseException] = []

    def run(work, times: int) -> None:
        try:
            for number in range(times):
                work(number)
        except DatabaseError as fault:
            faults.append(fault)
        finally:
            connections.close_all()

    def write(number: int) -> None:
        act(number, subject=f"claim:{threading.get_ident()}-{number}")

    def keep_sealing(_: int) -> None:
        seal(limit=17)

    threads = [threading.Thread(target=run, args=(write, 40)) for _ in range(4)]
    threads += [threading.Thread(target=run, args=(keep_sealing, 12)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seal()
    assert faults == []
    assert (len(places()), sealer.unsealed(), whole()) == (160, 0, True)


def test_a_second_sealer_may_leave_it_to_the_first(committed_db):
    act(1)
    with session() as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [sealer.LOCK])
        assert seal(wait=False).sealed == 0
        other.rollback()
    assert seal(wait=False).sealed == 1


KILLED = """
import os, signal, sys
import django
django.setup()
from audit import sealer
name = sys.argv[1]
before = getattr(sealer, name)
def dying(*args, **kwargs):
    found = before(*args, **kwargs) if sys.argv[2] == "after" else None
    os.kill(os.getpid(), signal.SIGKILL)
setattr(sealer, name, dying)
import datetime as dt
at = dt.datetime(2021, 12, 1, 10, tzinfo=dt.UTC)
sealer.seal(at=at, machine=at)
"""


@pytest.mark.parametrize(
    ("name", "when", "left"),
    [("_append", "after", 4), ("_copy", "after", 4), ("_sign", "before", 0), ("_sign", "after", 0)],
)
def test_a_sealer_killed_anywhere_is_followed_by_the_next(committed_db, settings, name, when, left):
    for number in range(4):
        act(number)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, name, when],
        env={**os.environ, "SEAL_KEY_FILE": settings.SEAL_KEY_FILE},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (sealer.unsealed(), sealer.waiting(), Checkpoint.objects.count()) == (left, True, 0)
    seal()
    assert (sealer.unsealed(), sealer.waiting(), whole()) == (0, False, True)


def test_an_event_hidden_from_the_cursor_is_found_by_asking_for_everything(committed_db):
    """The cursor is only a cursor: nothing depends on it but speed."""
    act(1)
    seal()
    act(2)
    SealState.objects.update(upper=2**40)
    assert (seal().sealed, sealer.unsealed(), seal(everything=True).sealed) == (0, 1, 1)
    act(3)
    assert (seal().sealed, whole()) == (1, True)


def test_on_another_cluster_everything_is_asked_for_once(committed_db):
    """Transactions of a restored database are numbered anew, far below the cursor."""
    act(1)
    seal()
    act(2)
    SealState.objects.update(upper=2**40, open=[2**39], cluster="another")
    assert sealer.waiting()
    assert (seal().sealed, SealState.objects.get().upper < 2**40, whole()) == (1, True, True)
    assert not sealer.waiting()


# --- what is refused ---


def test_a_log_that_lost_its_end_is_not_built_upon(committed_db):
    for number in range(3):
        act(number)
    seal()
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_leaf WHERE seq = 2")
    with pytest.raises(sealer.BrokenLogError, match="2 entries, 3 were signed"):
        seal()


def test_a_rewritten_edge_is_not_built_upon(committed_db):
    for number in range(3):
        act(number)
    seal()
    with superuser() as cursor:
        cursor.execute("UPDATE audit_leaf SET hash = sha256(hash) WHERE seq = 2")
    act(4)
    with pytest.raises(sealer.BrokenLogError, match="not the one that was signed"):
        seal()


@pytest.mark.parametrize(
    "table", ["leaf", "node", "checkpoint", "sealkey", "archive", "report", "reportbody"]
)
@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "TRUNCATE"])
def test_the_log_is_append_only(db, table: str, operation: str):
    name = f"audit_{table}"
    with connection.cursor() as cursor:
        column = {"leaf": "event", "reportbody": "file", "node": "hash"}.get(table, "id")
        words = {"UPDATE": f"UPDATE {name} SET {column} = {column}", "DELETE": f"DELETE FROM {name}",
                 "TRUNCATE": f"TRUNCATE {name} CASCADE"}  # fmt: skip
        with pytest.raises(DatabaseError), transaction.atomic():
            cursor.execute(words[operation])
        cursor.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'append_only'"
            " AND tgrelid = %s::regclass AND tgenabled = 'O'", [name],
        )  # fmt: skip
        (definition,) = cursor.fetchone()
    assert operation in definition


@pytest.mark.parametrize("table", ["leaf", "node", "event"])
def test_the_owner_is_refused_too(committed_db, settings, table: str):
    """Not privileges alone: the trigger holds whoever owns the table."""
    act(1)
    seal()
    with (
        session(settings.DATABASE_OWNER_URL) as owner,
        owner.cursor() as cursor,
        pytest.raises(Exception, match="append-only"),
    ):
        cursor.execute(f"DELETE FROM audit_{table}")


def test_nobody_writes_the_transaction_of_an_event_himself(db):
    """With it an event could hide from the sealer's cursor."""
    with (
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO audit_event (id, tx, at, actor, action, subject, outcome, region_code,"
            " institution_code, alg, body, leaf) VALUES (gen_random_uuid(), '3', now(), 'a', 'b',"
            " 'c', 'ok', '', '', 'sm3', '', '')"
        )


# --- keys ---


def test_the_key_is_made_once_and_nobody_else_may_read_it(db, settings):
    act(1)
    first = seal().checkpoint.key_id
    act(2)
    assert seal().checkpoint.key_id == first
    assert stat.S_IMODE(os.stat(settings.SEAL_KEY_FILE).st_mode) == 0o600


def test_a_new_key_signs_the_same_log_again_and_both_stay_known(db, settings, tmp_path):
    act(1)
    first = seal().checkpoint
    settings.SEAL_KEY_FILE = str(tmp_path / "another.pem")
    second = seal(1).checkpoint
    assert (second.size, second.key_id == first.key_id) == (first.size, False)
    assert all(notes.verify(notes.parse(c.text), c.key.pem) for c in Checkpoint.objects.all())
    assert not notes.verify(notes.parse(first.text), second.key.pem)


def test_without_openssl_events_are_sealed_and_the_signature_waits(db, monkeypatch):
    act(1)
    with monkeypatch.context() as without:
        without.setenv("PATH", "/nonexistent")
        with pytest.raises(notes.SigningError, match="openssl"):
            seal()
    assert (proofs.size(), trail.checkpoint(), sealer.waiting()) == (1, None, True)
    assert seal().checkpoint.size == 1


@pytest.mark.parametrize(
    "text", ["", "a\nb", "o\n1\nAAAA\nalg sm3\nat x\n\n\u2014 n %%%\n", "o\n01\nAAAA\nalg sm3\nat x\n\n\u2014 n AAAA\n",
             "o\n0\nAAAA\nalg sm3\nat x\n\n\u2014 n AAAA\n", "o\n1\nAAAA\nsm3\nat x\n\n\u2014 n AAAA\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str):
    with pytest.raises(ValueError, match="not a checkpoint"):
        notes.parse(text)


def test_the_index_is_used_whatever_the_size(committed_db, settings):
    """A run over a sealed log reads the new events only."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_event (id, at, actor, action, subject, outcome, region_code,"
            " institution_code, alg, body, leaf) SELECT gen_random_uuid(), now(), 'a', 'b', 'c', 'ok',"
            " '', '', 'sm3', '\\x00', sm3.leaf FROM generate_series(1, 20000),"
            " (SELECT %s::bytea AS leaf) sm3", [merkle.leaf_hash(b"\x00")],
        )  # fmt: skip
    assert seal(limit=7000).sealed == 20000
    for number in range(3):
        act(number)
    state = SealState.objects.get()
    with session(settings.DATABASE_OWNER_URL) as other, other.cursor() as cursor:
        cursor.execute("ANALYZE audit_event")
        cursor.execute("ANALYZE audit_leaf")
        which = f"{sealer.SINCE} AND {sealer.UNSEALED}"
        cursor.execute(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) "
            + sealer.NEW.format(which=which),
            {"upper": str(state.upper), "open": [str(x) for x in state.open], "limit": 50_000},
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "event_tx" in plan
    assert "Seq Scan" not in plan, plan


def test_a_run_is_dated_by_both_clocks(db):
    act(1)
    machine = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    run = sealer.seal(at=AT, machine=machine)
    assert (run.checkpoint.at, SealState.objects.get().ran_at) == (AT, machine)


def test_a_checkpoint_is_dated_when_it_is_signed_not_before_the_wait(db, monkeypatch):
    """Another sealer is waited for: what is signed after it stands soon after its date."""
    now = [AT]
    alone = sealer._alone

    def waited(*, wait: bool) -> bool:
        now[0] += dt.timedelta(minutes=2)
        return alone(wait=wait)

    act(1)
    monkeypatch.setattr(sealer, "_alone", waited)
    monkeypatch.setattr(clock, "now", lambda: now[0])
    rounds.seal_everything()
    assert trail.checkpoint().at == now[0]
    assert f"at {now[0].isoformat()}" in trail.checkpoint().text


# --- a database restored elsewhere ---


def test_a_restored_database_has_the_same_root_and_goes_on(committed_db, tmp_path):
    """pg_dump into an empty database: counts, root and checkpoint equal, sealing continues."""
    for number in range(9):
        act(number)
    before = seal().checkpoint
    copy, dump, programs = f"{committed_db}_r", tmp_path / "dump.sql", _postgres_bin()
    maintenance = ["--maintenance-db", superuser_url("postgres")]

    def run(*words: object) -> None:
        subprocess.run(list(map(str, words)), check=True, capture_output=True)

    run(programs / "pg_dump", "-f", dump, superuser_url(committed_db))
    run(programs / "createdb", *maintenance, copy)
    try:
        run(programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, superuser_url(copy))
        connections.close_all()
        for alias in connections:
            connections[alias].settings_dict["NAME"] = copy
        assert (Event.objects.count(), Leaf.objects.count(), Checkpoint.objects.count()) == (
            9,
            9,
            1,
        )
        assert bytes(trail.checkpoint().root) == bytes(before.root)
        act(10)
        assert (seal(1).size, whole()) == (10, True)
    finally:
        connections.close_all()
        for alias in connections:
            connections[alias].settings_dict["NAME"] = committed_db
        run(programs / "dropdb", "--force", *maintenance, copy)
