"""How a batch ends when something is wrong: claims that are not the frozen ones, claims left out, undoing."""

import datetime as dt
import json
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, connections, transaction
from django.db.models import Sum
from django.test import Client
from django.utils import timezone

from audit import trail
from audit.models import Event
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.refusals import Refusal
from pricing.releases import catalogue_at
from settlement import failpoints, invoices, ledger, reviewed, sheets
from settlement.batch import chunk as chunks
from settlement.batch import commands, downloads, intake, parts, undo
from settlement.batch.chunk import settle_chunk
from settlement.bench import data
from settlement.models import Accumulator, Batch, Chunk, Claim, EInvoice, LineResult, Settlement
from settlement.reviewed import Verdict
from tests import factories
from tests.audit.sealing import superuser
from tests.settlement.test_batch import Hospital
from tests.settlement.test_batch_decisions import CLAIMS, fresh, settle_all, settled, waiting
from tests.settlement.test_batch_prescriptions import AT, Sender, reasons, sender

__all__ = ["sender"]
BY = "clerk"
CHANGES = (
    "UPDATE settlement_claim SET facts = set_byte(facts, 0, get_byte(facts, 0) # 1) WHERE id = %s",
    "UPDATE settlement_claim SET person_id = (SELECT max(person_id) FROM settlement_claim) WHERE id = %s",
    (
        "UPDATE settlement_claim SET fee = fee + 100 WHERE id = %s;"
        "UPDATE settlement_claimline SET fee = fee + 100 WHERE claim_id = %s AND line_no = 1"
    ),
)


CANCELLED = "UPDATE settlement_batch SET state = 'cancelled', reason = '文件传错' WHERE id = %s"


@pytest.fixture
def place(committed_db: str, broker: str) -> str:
    catalogue_at.cache_clear()
    factories.policies("wenzhou")
    data.region()
    return broker


def aside(pool: ThreadPoolExecutor, act: Callable[[], object]) -> Future:
    """Do it in a thread, which leaves no connection behind."""

    def alone() -> object:
        try:
            return act()
        finally:
            connections.close_all()

    return pool.submit(alone)


# --- Claims are those that were frozen ---


@pytest.mark.parametrize("change", CHANGES)
def test_a_claim_that_was_changed_after_freezing_is_not_settled(place: str, change: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    first = Chunk.objects.using("settler").filter(batch=batch).order_by("number")[0]
    with superuser() as cursor:
        cursor.execute(change, [first.first_claim] * change.count("%s"))
    batch = settle_all(batch)
    first.refresh_from_db(using="settler")
    assert first.state == Chunk.State.QUARANTINED  # not split: a part would prove nothing
    assert "not those that were frozen" in first.error
    assert settled(batch) == CLAIMS - first.claims
    assert batch.state == Batch.State.RUNNING


def test_a_part_of_a_chunk_proves_its_claims_too(place: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    Chunk.objects.using("settler").filter(batch=batch).update(attempts=parts.MAX_ATTEMPTS)
    for key in waiting(batch):
        assert parts.give_up(key, by=BY, at=timezone.now())
    rows = Chunk.objects.using("settler").filter(batch=batch, part_of__isnull=False)
    assert all(row.manifest_sm3 for row in rows)
    assert len({row.manifest_sm3 for row in rows}) == len(rows) == 4
    with superuser() as cursor:
        cursor.execute(CHANGES[0], [rows[0].first_claim])
    with pytest.raises(Exception, match="not those that were frozen"):
        settle_chunk(rows[0].pk, by=BY, at=timezone.now())
    with superuser() as cursor:
        cursor.execute(CHANGES[0], [rows[0].first_claim])  # the bit is as it was
    commands.release(batch_id=batch.pk, by=BY, at=timezone.now())
    assert settle_all(batch).state == Batch.State.CLOSED


@pytest.mark.parametrize("change", [
    "UPDATE settlement_batch SET fee_total = fee_total + 1 WHERE id = %s",
    "UPDATE settlement_batch SET manifest_sm3 = repeat('0', 64) WHERE id = %s",
    ("UPDATE settlement_settlement SET fund = fund - 1, cash = cash + 1 WHERE batch_id = %s AND claim_id ="
    " (SELECT min(claim_id) FROM settlement_settlement WHERE fund > 0)"),
])  # fmt: skip
def test_a_batch_that_is_not_its_manifest_fails_loudly(place: str, change: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    first, second = waiting(batch)
    settle_chunk(first, by=BY, at=timezone.now())
    with superuser() as cursor:
        cursor.execute(change, [batch.pk])
    settle_chunk(second, by=BY, at=timezone.now())
    assert fresh(batch).state == Batch.State.FAILED
    told = Event.objects.using("settler").get(subject=f"batch:{batch.pk}", action="batch.failed")
    assert told.outcome == "failed"


def test_a_file_is_in_memory_a_piece_at_a_time(sender: Sender, monkeypatch) -> None:
    alive: list[int] = []
    living = weakref.WeakSet[sheets.Entry]()
    real = sheets.stream

    def counted(*given) -> Iterator[sheets.Entry]:
        for entry in real(*given):
            living.add(entry)
            alive.append(len(living))
            yield entry

    monkeypatch.setattr(sheets, "stream", counted)
    monkeypatch.setattr(sheets.Entry, "__hash__", object.__hash__)
    monkeypatch.setattr(intake, "PIECE", 5)
    claims = [sender.claim(f"CF{k}", patient=sender.person()) for k in range(23)]
    claims[22] = sender.claim("CF0")  # the first patient's, of an earlier piece
    assert sender.settled(*claims).state == Batch.State.CLOSED
    assert len(alive) == 2 * len(claims)
    assert max(alive) <= 2 * 5 + 1
    assert reasons(*claims[:22]) == [""] * 22
    assert reasons(claims[22])[0].startswith("reject")


# --- Claims that are left out hold nothing ---


def uploaded(sender: Sender, *claims: dict) -> int:
    content = "\n".join(json.dumps(claim) for claim in claims).encode()
    answer = Client().post(
        "/api/v1/batches", {"file": SimpleUploadedFile("x.jsonl", content)}, headers=sender.headers
    )
    key = answer.json()["id"]
    commands.confirm(batch_id=key, by=BY, at=AT)
    commands.load(batch_id=key, by=BY, at=AT)
    return key


def test_a_prescription_of_a_cancelled_claim_is_charged_by_the_next(sender: Sender) -> None:
    wrong, other, right, early = (sender.claim(number) for number in ("CF1", "CF2", "CF1", "CF2"))
    right["encounter"], early["encounter"] = wrong["encounter"], other["encounter"]
    key = uploaded(sender, wrong, other)
    sender.settled(early)
    assert reasons(early)[0].startswith("review")  # what waits may still be settled
    commands.cancel(batch_id=key, reason="文件传错", by=BY, at=AT)
    cancelled = Batch.objects.using("settler").get(pk=key)
    assert [(row[0], row[1], row[-1]) for row in downloads.result_rows(cancelled)] == [
        (one["claim_no"], "未结算", "已取消：文件传错") for one in (wrong, other)
    ]
    sender.settled(right)
    assert reasons(right) == [""]


def test_an_invoice_of_a_claim_left_out_may_be_used_again(committed_db: str) -> None:
    hospital = Hospital(2)
    bodies = [
        factories.body(patient, hospital.doctor, channel="manual", e_invoice_no=f"3206-{number}")
        for number, patient in enumerate(hospital.patients)
    ]
    key = hospital.upload(bodies).json()["id"]
    commands.confirm(batch_id=key, by=BY, at=AT)
    commands.load(batch_id=key, by=BY, at=AT)
    set_scope(EVERYTHING)
    held = EInvoice.objects.filter(released_at__isnull=True)
    assert held.count() == 2
    with pytest.raises(IntegrityError, match="a claim keeps its invoice"), transaction.atomic():
        held.update(released_at=AT)
    commands.cancel(batch_id=key, reason="文件传错", by=BY, at=AT)
    assert not held.exists()
    set_scope(EVERYTHING)
    invoices.use(number="3206-0", holder="reimbursement:9", region_code="320600", at=AT)


def test_a_settled_claim_keeps_its_invoice_when_the_rest_is_cancelled(committed_db: str) -> None:
    hospital = Hospital(1)
    body = factories.body(
        hospital.patients[0], hospital.doctor, channel="manual", e_invoice_no="3206-1"
    )
    key = hospital.upload([body]).json()["id"]
    commands.confirm(batch_id=key, by=BY, at=AT)
    commands.load(batch_id=key, by=BY, at=AT)
    batch = settle_all(Batch.objects.using("settler").get(pk=key))
    assert batch.state == Batch.State.CLOSED
    with pytest.raises(Refusal, match="BATCH_STATE"):
        commands.cancel(batch_id=key, reason="文件传错", by=BY, at=AT)
    set_scope(EVERYTHING)
    with pytest.raises(IntegrityError, match="a claim keeps its invoice"), transaction.atomic():
        EInvoice.objects.update(released_at=AT)


def test_what_still_waits_in_a_cancelled_batch_is_left_out_by_the_sweep(committed_db: str) -> None:
    """However it came to that: the claim holds its invoice no longer, and the result file has it."""
    hospital = Hospital(1)
    body = factories.body(
        hospital.patients[0], hospital.doctor, channel="manual", e_invoice_no="3206-1"
    )
    key = hospital.upload([body]).json()["id"]
    commands.confirm(batch_id=key, by=BY, at=AT)
    commands.load(batch_id=key, by=BY, at=AT)
    with superuser() as cursor:
        cursor.execute(CANCELLED, [key])
    chunk = Chunk.objects.using("settler").get(batch=key)
    with transaction.atomic(using="settler"):
        Chunk.objects.using("settler").select_for_update().get(pk=chunk.pk)
        with ThreadPoolExecutor(1) as pool:  # somebody has it: the next sweep does it
            aside(pool, lambda: commands.sweep(by=BY, at=AT)).result()
    chunk.refresh_from_db(using="settler")
    assert chunk.state == Chunk.State.WAITING
    commands.sweep(by=BY, at=AT)
    chunk.refresh_from_db(using="settler")
    assert chunk.state == Chunk.State.CANCELLED
    set_scope(EVERYTHING)
    assert not EInvoice.objects.filter(released_at__isnull=True).exists()
    rows = downloads.result_rows(Batch.objects.using("settler").get(pk=key))
    assert [row[-1] for row in rows] == ["已取消：文件传错"]


# --- Cancelling while workers are at it ---

WAITS = """SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database()"""


def until(reached: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def somebody_waits() -> bool:
    with superuser() as cursor:
        cursor.execute(WAITS)
        return cursor.fetchone()[0] > 0


def test_a_cancel_waits_for_a_part_that_came_up_meanwhile(place: str) -> None:
    """It waits for one chunk while another is split and a worker takes the part: nothing is left behind."""
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    first, second = waiting(batch)
    rows = Chunk.objects.using("settler").filter(batch=batch)
    rows.filter(pk=second).update(attempts=parts.MAX_ATTEMPTS)
    with (
        failpoints.planned("chunk.read:1:sleep") as slow,
        ThreadPoolExecutor(2) as pool,
        transaction.atomic(using="settler"),
    ):
        slow.seconds = 1.5
        rows.select_for_update().get(pk=first)  # as the worker does that settles it
        cancel = aside(
            pool,
            lambda: commands.cancel(batch_id=batch.pk, reason="文件传错", by=BY, at=timezone.now()),
        )
        until(somebody_waits)
        part = aside(pool, lambda: split_and_settle(second))
        until(lambda: slow.passed["chunk.read"])
        assert not cancel.done()
    assert part.result() is True
    cancel.result()
    assert not rows.filter(state__in=chunks.UNENDED).exists()
    undo.undo(batch_id=batch.pk, reason="文件传错", by="head", at=timezone.now())
    given_back = undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now())
    assert fresh(batch).state == Batch.State.REVERSED
    assert given_back == sum(row.claims for row in rows.filter(state="done")) > 0
    assert ledger.balance().sound


def split_and_settle(chunk: int) -> bool:
    assert parts.give_up(chunk, by=BY, at=timezone.now())
    whole = Chunk.objects.using("settler").get(pk=chunk)
    part = Chunk.objects.using("settler").filter(batch=whole.batch_id, part_of=whole.number)[0]
    return settle_chunk(part.pk, by=BY, at=timezone.now())


def test_a_lease_is_worth_nothing_in_a_cancelled_batch(place: str) -> None:
    batch = data.loaded_batch(100, seed=2, tag="A")
    key = waiting(batch)[0]
    with failpoints.planned("lease.taken:1:sleep") as plan, ThreadPoolExecutor(1) as pool:
        plan.seconds = 1
        work = aside(pool, lambda: settle_chunk(key, by="worker", at=timezone.now()))
        until(lambda: plan.passed["lease.taken"])
        with superuser() as cursor:
            cursor.execute(CANCELLED, [batch.pk])
        assert work.result() is False
    assert settled(batch) == 0


def test_nothing_is_given_back_while_a_chunk_waits(place: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    settle_chunk(waiting(batch)[0], by=BY, at=timezone.now())
    with superuser() as cursor:
        cursor.execute(CANCELLED, [batch.pk])
    undo.undo(batch_id=batch.pk, reason="文件传错", by="head", at=timezone.now())
    assert undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now()) == 0
    assert fresh(batch).state == Batch.State.REVERSING
    commands.sweep(by=BY, at=timezone.now())
    assert undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now()) == settled(batch) > 0
    assert fresh(batch).state == Batch.State.REVERSED


# --- Giving back, looking, deciding ---


def test_what_was_given_back_is_told_whole_however_many_runs_it_took(place: str) -> None:
    batch = settle_all(data.loaded_batch(CLAIMS, seed=2, tag="A"))
    with superuser() as cursor:
        cursor.execute("UPDATE settlement_batch SET state = 'failed' WHERE id = %s", [batch.pk])
    undo.undo(batch_id=batch.pk, reason="文件传错", by="head", at=timezone.now())
    with failpoints.planned("undo.reversed:1:raise"), pytest.raises(failpoints.FailPointError):
        undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now())
    first = Settlement.objects.using("settler").filter(version=2).count()
    given_back = undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now())
    every = Settlement.objects.using("settler").filter(version=2).count()
    assert 0 < first < every == given_back
    told = Event.objects.using("settler").get(action="batch.reversed")
    assert (trail.said_of(told) or {})["detail"]["claims"] == every


def test_nothing_of_a_batch_that_was_given_back_still_counts(place: str) -> None:
    batch = settle_all(data.loaded_batch(CLAIMS, seed=2, tag="A"))
    set_scope(EVERYTHING)
    paid = Settlement.objects.filter(fund__gt=500).first()
    line_no = LineResult.objects.filter(claim_id=paid.claim_id, decision=0).first().line_no
    with scoped(EVERYTHING):
        reviewed.post(claim_id=paid.claim_id, version=1, verdicts={line_no: Verdict("passed", 1)},
                      reason="核减", by="reviewer", at=timezone.now())  # fmt: skip
    held = Settlement.objects.filter(state__in=("review", "no_rule", "reject"), fund=0)
    assert held.exists()
    with superuser() as cursor:
        cursor.execute("UPDATE settlement_batch SET state = 'failed' WHERE id = %s", [batch.pk])
    undo.undo(batch_id=batch.pk, reason="文件传错", by="head", at=timezone.now())
    assert undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now()) == CLAIMS
    set_scope(EVERYTHING)
    last = dict(Settlement.objects.order_by("version").values_list("claim_id", "version"))
    assert (len(last), set(last.values()), last[paid.claim_id]) == (CLAIMS, {2, 4}, 4)
    used = Accumulator.objects.aggregate(fund=Sum("fund_used"), own=Sum("own_used"))
    assert (used, ledger.balance().sound) == ({"fund": 0, "own": 0}, True)


def test_a_batch_is_given_back_by_one_worker_at_a_time(place: str) -> None:
    batch = settle_all(data.loaded_batch(CLAIMS, seed=2, tag="A"))
    with superuser() as cursor:
        cursor.execute("UPDATE settlement_batch SET state = 'failed' WHERE id = %s", [batch.pk])
    undo.undo(batch_id=batch.pk, reason="文件传错", by="head", at=timezone.now())

    def go_on(_: int) -> int:
        try:
            return undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(go_on, range(4)))
    go_on(0)  # as the sweep does, should everybody have stepped back for another
    assert fresh(batch).state == Batch.State.REVERSED
    told = Event.objects.using("settler").filter(action="batch.reversed")
    assert told.count() == 1


def test_a_split_that_was_interrupted_is_made_again(place: str) -> None:
    batch = data.loaded_batch(100, seed=2, tag="A")
    key = waiting(batch)[0]
    Chunk.objects.using("settler").filter(pk=key).update(attempts=parts.MAX_ATTEMPTS)
    with failpoints.planned("split.made:1:raise"), pytest.raises(failpoints.FailPointError):
        commands.sweep(by=BY, at=timezone.now())
    assert waiting(batch) == [key]
    commands.sweep(by=BY, at=timezone.now())
    assert Chunk.objects.using("settler").filter(batch=batch).count() == 3
    assert settle_all(batch).state == Batch.State.CLOSED


def test_whoever_looks_at_a_batch_that_stands_still_rings(
    place: str, monkeypatch, settings
) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    rung: list = []
    monkeypatch.setattr(parts, "ring", lambda task, ids: rung.append((task, ids)))
    began = batch.started_at
    commands.wake(batch, at=began + commands.STALE / 2)
    assert rung == []
    commands.wake(batch, at=began + commands.STALE * 2)
    assert rung == [("settlement.settle_chunk", waiting(batch))]
    settle_chunk(waiting(batch)[0], by=BY, at=began + commands.STALE * 3)
    rung.clear()
    commands.wake(batch, at=began + commands.STALE * 3 + dt.timedelta(seconds=1))
    assert rung == []  # something moves


@pytest.mark.parametrize(("state", "task"), commands.TASKS.items())
def test_whoever_looks_at_a_batch_that_waits_for_a_worker_rings(
    place: str, monkeypatch, state: str, task: str
) -> None:
    """It is checked, loaded or given back: as after a lost message, with or without beat."""
    rung: list = []
    monkeypatch.setattr(commands, "ring", lambda *bell: rung.append(bell))
    batch = Batch.objects.using("settler").create(
        institution_code=data.INSTITUTION, region_code=data.REGION, file_name="x.jsonl",
        state=state, reason="x", created_at=data.AT, created_by=BY,
    )  # fmt: skip
    commands.wake(batch, at=data.AT + commands.STALE / 2)
    assert rung == []
    commands.wake(batch, at=data.AT + commands.STALE * 2)
    assert rung == [(task, [batch.pk])]


def test_a_lease_names_its_session_and_does_not_outlive_a_stopped_host(
    place: str, settings
) -> None:
    settings.SETTLER_IDLE_SECONDS = 1
    batch = data.loaded_batch(100, seed=2, tag="A")
    key = waiting(batch)[0]
    with failpoints.planned("lease.counted:1:sleep") as plan:
        plan.seconds = 2.5
        with pytest.raises(Exception, match=r"idle-in-transaction|closed|terminat"):
            settle_chunk(key, by="stopped", at=timezone.now())
    connections["settler"].close()
    assert Claim.objects.using("settler").filter(batch_id=batch.pk).count() == 100
    assert settle_all(batch).state == Batch.State.CLOSED
