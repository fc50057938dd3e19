"""What people decide about a batch, and what a batch does with claims that cannot be settled."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import psycopg2
import pytest
from django.db import IntegrityError, connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import doorbell
from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from institutions.refusals import Refusal
from pricing.releases import catalogue_at
from settlement import failpoints, ledger
from settlement.batch import chunk as chunks
from settlement.batch import commands, downloads, parts, undo
from settlement.batch.chunk import settle_chunk
from settlement.batch.load import write
from settlement.bench import data
from settlement.models import Accumulator, Batch, Chunk, Settlement
from tests import factories

BY = "clerk"
CLAIMS = 1_000  # two chunks of a hundred persons


@pytest.fixture
def place(committed_db: str, broker: str) -> str:
    catalogue_at.cache_clear()
    factories.policies("wenzhou")
    data.region()
    return broker


def fresh(batch: Batch) -> Batch:
    return Batch.objects.using("settler").get(pk=batch.pk)


def waiting(batch: Batch) -> list[int]:
    rows = Chunk.objects.using("settler").filter(batch=batch, state=Chunk.State.WAITING)
    return list(rows.order_by("number").values_list("pk", flat=True))


def settle_all(batch: Batch) -> Batch:
    """As workers do, sweeps in between, until nothing is left to do; failures stay in the rows."""
    for _ in range(60):
        todo = waiting(batch)
        for key in todo:
            try:
                settle_chunk(key, by=BY, at=timezone.now())
            except Exception:
                continue
        commands.sweep(by=BY, at=timezone.now())
        if not waiting(batch):
            break
    return fresh(batch)


def poisoned(places: list[int], *, tag: str = "P") -> Batch:
    """A batch in which the claims at some places do not add up: their lines say one fen more."""
    with transaction.atomic(using="settler"):
        set_scope(EVERYTHING, using="settler")
        with connections["settler"].cursor() as cursor:
            people = data.persons(cursor, CLAIMS // data.CLAIMS_PER_PERSON)
            invented = data.invent(CLAIMS, people, seed=5, tag=tag)
            at_line = np.isin(invented.lines["claim"], places) & (invented.lines["line_no"] == 3)
            invented.lines["fee"] = invented.lines["fee"] + at_line
            batch = Batch(
                institution_code=data.INSTITUTION, region_code=data.REGION, file_name="x",
                state=Batch.State.RUNNING, created_at=data.AT, created_by=BY, started_at=data.AT,
            )  # fmt: skip
            batch.save(using="settler")
            write(cursor, batch, invented.claims, invented.lines, by=BY, at=data.AT)
            batch.save(using="settler")
    return batch


def settled(batch: Batch) -> int:
    return Settlement.objects.using("settler").filter(batch_id=batch.pk).count()


def test_a_poison_claim_stands_alone_and_the_rest_is_settled(place: str) -> None:
    """Two poison claims, one person has both: everything else is settled; a person decides."""
    people = CLAIMS // data.CLAIMS_PER_PERSON
    batch = settle_all(poisoned([7, 7 + 2 * people]))
    assert batch.state == Batch.State.RUNNING
    assert settled(batch) == CLAIMS - 2
    rows = Chunk.objects.using("settler").filter(batch=batch)
    alone = rows.filter(state=Chunk.State.QUARANTINED)
    assert [row.claims for row in alone] == [1, 1]
    assert all("add up to its fee" in row.error for row in alone)
    assert {row.person_id for row in claims_of(alone)} == {claims_of(alone)[0].person_id}
    assert commands.progress(batch, at=timezone.now())["quarantined"] == 2
    with pytest.raises(Refusal, match="REASON"):
        commands.set_aside(batch_id=batch.pk, reason=" ", by=BY, at=timezone.now())
    left = sum(row.fee for row in alone)
    batch = commands.set_aside(
        batch_id=batch.pk, reason="明细与总额不符，退回医院", by="head", at=timezone.now()
    )
    assert batch.state == Batch.State.CLOSED
    assert (batch.set_aside_claims, batch.set_aside_fee) == (2, left)
    assert batch.totals["claims"] == CLAIMS - 2
    assert batch.totals["fee"] + left == batch.fee_total
    rows = list(downloads.result_rows(batch))
    assert len({row[0] for row in rows}) == len(rows) == CLAIMS
    assert [row[-1] for row in rows[-2:]] == ["已剔除：明细与总额不符，退回医院"] * 2
    told = Event.objects.using("settler").filter(subject=f"batch:{batch.pk}")
    assert {"batch.split", "batch.quarantined", "batch.set_aside", "batch.closed"} <= set(
        told.values_list("action", flat=True)
    )
    with pytest.raises(Refusal):
        commands.set_aside(batch_id=batch.pk, reason="x", by=BY, at=timezone.now())


def claims_of(rows) -> list:
    from settlement.models import Claim

    ids = [row.first_claim for row in rows]
    return list(Claim.objects.using("settler").filter(pk__in=ids))


def test_parts_settle_to_what_the_whole_would_have(place: str) -> None:
    """A chunk that is split without need: the same money for every person, in order of arrival."""
    whole = settle_all(data.loaded_batch(40, seed=3, tag="A"))
    batch = data.loaded_batch(40, seed=3, tag="B")
    for _ in range(4):
        rows = Chunk.objects.using("settler").filter(batch=batch, state="waiting", claims__gt=1)
        rows.update(attempts=parts.MAX_ATTEMPTS)
        for key in waiting(batch):
            parts.give_up(key, by=BY, at=timezone.now())
        done = settle_chunk(waiting(batch)[-1], by=BY, at=timezone.now())  # the last has to wait
        assert done in (True, False)
    batch = settle_all(batch)
    assert batch.state == Batch.State.CLOSED
    assert batch.totals == whole.totals
    sums = ("person__id_hash", *ledger.COUNTED, "person__personal_account__account_left")
    used = [
        sorted(
            row[1:] for row in Accumulator.objects.using("settler")
            .filter(person_id__in=persons_of(each)).values_list(*sums)
        )
        for each in (whole, batch)
    ]  # fmt: skip
    assert used[0] == used[1]


def persons_of(batch: Batch) -> list[int]:
    rows = Settlement.objects.using("settler").filter(batch_id=batch.pk)
    return list(rows.values_list("person_id", flat=True).distinct())


def test_claims_of_one_person_wait_for_each_other(place: str) -> None:
    batch = data.loaded_batch(5, seed=3, tag="A")
    first = waiting(batch)[0]
    Chunk.objects.using("settler").filter(pk=first).update(attempts=parts.MAX_ATTEMPTS)
    assert parts.give_up(first, by=BY, at=timezone.now())
    assert not parts.give_up(first, by=BY, at=timezone.now())
    early, late = waiting(batch)
    assert settle_chunk(late, by=BY, at=timezone.now()) is False
    assert settle_chunk(early, by=BY, at=timezone.now()) is True
    assert settle_chunk(late, by=BY, at=timezone.now()) is True
    assert fresh(batch).state == Batch.State.CLOSED


def test_cancel_keeps_what_is_settled_and_offers_to_give_it_back(place: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    first, second = waiting(batch)
    settle_chunk(first, by=BY, at=timezone.now())
    with pytest.raises(Refusal, match="REASON"):
        commands.cancel(batch_id=batch.pk, reason="", by=BY, at=timezone.now())
    commands.cancel(batch_id=batch.pk, reason="文件传错", by=BY, at=timezone.now())
    assert settle_chunk(second, by=BY, at=timezone.now()) is False
    assert fresh(batch).state == Batch.State.CANCELLED
    done = Chunk.objects.using("settler").get(pk=first)
    assert settled(batch) == done.claims
    for act in (commands.pause, commands.resume, commands.confirm, commands.release):
        with pytest.raises(Refusal):
            act(batch_id=batch.pk, by=BY, at=timezone.now())
    with pytest.raises(Refusal):
        commands.cancel(batch_id=batch.pk, reason="再来", by=BY, at=timezone.now())
    undo.undo(batch_id=batch.pk, reason="文件传错", by="head", at=timezone.now())
    with failpoints.planned("undo.begun:1:raise"), pytest.raises(failpoints.FailPointError):
        undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now())
    given_back = undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now())
    assert 0 < given_back <= done.claims
    assert undo.go_on(batch_id=batch.pk, by=BY, at=timezone.now()) == 0
    assert fresh(batch).state == Batch.State.REVERSED
    years = Accumulator.objects.using("settler").filter(person_id__in=persons_of(batch))
    assert set(years.values_list("fund_used", "in_scope_used")) == {(0, 0)}
    assert ledger.balance().sound


def test_a_batch_under_way_is_cancelled_between_chunks(place: str) -> None:
    """The cancel waits for the chunk at work; whatever the order, nothing is half settled."""
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")

    def work(key: int) -> bool:
        try:
            return settle_chunk(key, by=BY, at=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(work, key) for key in waiting(batch)]
        with suppress(Refusal):  # both workers may have been quicker
            commands.cancel(batch_id=batch.pk, reason="文件传错", by=BY, at=timezone.now())
        done = [result.result() for result in results]
    assert fresh(batch).state in (Batch.State.CANCELLED, Batch.State.CLOSED)
    rows = Chunk.objects.using("settler").filter(batch=batch)
    assert rows.filter(state="done").count() == sum(done)
    assert settled(batch) == sum(row.claims for row in rows.filter(state="done"))
    assert ledger.balance().sound


@pytest.mark.parametrize(
    ("source", "target"),
    [("checked", "checking"), ("running", "checked"), ("paused", "checked"), ("running", "loading"), ("closed", "running"),
     ("cancelled", "running"), ("failed", "running"), ("reversed", "reversing")],
)  # fmt: skip
def test_a_batch_does_not_go_back(db: None, source: str, target: str) -> None:
    batch = Batch.objects.create(
        institution_code="x", region_code="x", state=source, created_at=data.AT, created_by=BY,
        reason="x",
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="does not go from"), transaction.atomic():
        Batch.objects.filter(pk=batch.pk).update(state=target)


def test_the_database_knows_what_a_chunk_may_be(db: None) -> None:
    batch = Batch.objects.create(
        institution_code="x", region_code="x", state="running", created_at=data.AT, created_by=BY
    )
    fields = {"batch": batch, "claims": 1, "lines": 1, "first_claim": 5, "last_claim": 5,
              "layout": "x"}  # fmt: skip
    for wrong in (
        {"state": "done"}, {"digest": b"x"}, {"claims": 0}, {"last_claim": 4},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            Chunk.objects.create(number=1, **(fields | wrong))
    made = Chunk.objects.create(
        number=1, **fields, state="done", digest=b"x", done_at=timezone.now()
    )
    with pytest.raises(IntegrityError, match="does not become"), transaction.atomic():
        Chunk.objects.filter(pk=made.pk).update(state="waiting", digest=None)
    with pytest.raises(IntegrityError, match="cancelled_with_reason"), transaction.atomic():
        Batch.objects.filter(pk=batch.pk).update(state="cancelled")


def test_a_worker_of_other_code_leaves_the_chunk_to_others(place: str, monkeypatch) -> None:
    batch = data.loaded_batch(100, seed=2, tag="A")
    with monkeypatch.context() as patched:
        patched.setattr(chunks, "LAYOUT", "12345678")
        assert settle_chunk(waiting(batch)[0], by="old", at=timezone.now()) is False
    left = Chunk.objects.using("settler").get(batch=batch)
    assert (left.state, left.attempts) == (Chunk.State.WAITING, 0)
    rung: list = []
    monkeypatch.setattr(parts, "ring", lambda task, ids: rung.append((task, ids)))
    commands.sweep(by=BY, at=timezone.now())
    assert rung == [("settlement.settle_chunk", [left.pk])]
    assert settle_all(batch).state == Batch.State.CLOSED


def test_a_batch_without_claims_closes(place: str) -> None:
    with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
        set_scope(EVERYTHING, using="settler")
        batch = Batch(
            institution_code=data.INSTITUTION, region_code=data.REGION, file_name="x",
            state=Batch.State.LOADING, created_at=data.AT, created_by=BY, started_at=data.AT,
        )  # fmt: skip
        batch.save(using="settler")
        invented = data.invent(1, np.array([1]), seed=1, tag="Z")
        claims, lines = (
            {k: v[:0] if isinstance(v, np.ndarray) else v for k, v in columns.items()}
            for columns in (invented.claims, invented.lines)
        )
        write(cursor, batch, claims, lines, by=BY, at=data.AT)
        commands.run(batch, by=BY, at=timezone.now())
    assert (fresh(batch).state, fresh(batch).totals["claims"]) == (Batch.State.CLOSED, 0)


def test_a_file_that_ends_its_workers_is_given_up(place: str) -> None:
    batch = Batch.objects.using("settler").create(
        institution_code=data.INSTITUTION, region_code=data.REGION, file_name="x.jsonl",
        file=b"x", file_sm3="y", state=Batch.State.LOADING, created_at=data.AT, created_by=BY,
    )  # fmt: skip
    for _ in range(parts.MAX_ATTEMPTS):
        with failpoints.planned("load.begun:1:raise"), pytest.raises(failpoints.FailPointError):
            commands.load(batch_id=batch.pk, by=BY, at=timezone.now())
    assert commands.load(batch_id=batch.pk, by=BY, at=timezone.now()) is False
    assert (fresh(batch).state, fresh(batch).errors[0]["code"]) == ("failed", "LOAD_FAILED")


def test_a_full_or_dead_broker_loses_nothing(place: str, monkeypatch) -> None:
    """Whatever the broker answers, the batch is confirmed; the sweep rings later."""
    from redis.exceptions import OutOfMemoryError

    def full(*args: object, **kwargs: object) -> None:
        raise OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(doorbell.current_app, "send_task", full)
    batch = Batch.objects.using("settler").create(
        institution_code=data.INSTITUTION, region_code=data.REGION, file_name="x.jsonl",
        state=Batch.State.CHECKED, created_at=data.AT, created_by=BY,
    )  # fmt: skip
    commands.confirm(batch_id=batch.pk, by=BY, at=timezone.now())
    assert fresh(batch).state == Batch.State.LOADING
    assert commands.sweep(by=BY, at=timezone.now() + dt.timedelta(minutes=1)) == 1


def test_two_sweeps_at_once_have_one_effect(place: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    Chunk.objects.using("settler").filter(batch=batch).update(attempts=parts.MAX_ATTEMPTS)

    def sweep(_: int) -> int:
        try:
            return commands.sweep(by=BY, at=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sweep, range(4)))
    rows = Chunk.objects.using("settler").filter(batch=batch)
    assert rows.filter(state="split").count() == 2
    assert sum(row.claims for row in rows.filter(state="waiting")) == CLAIMS
    assert settle_all(batch).state == Batch.State.CLOSED


def test_a_session_that_stands_still_is_ended_and_another_worker_goes_on(
    place: str, settings
) -> None:
    settings.SETTLER_IDLE_SECONDS = 1
    batch = data.loaded_batch(100, seed=2, tag="A")
    key = waiting(batch)[0]
    with failpoints.planned("chunk.locked:1:sleep") as plan:
        plan.seconds = 2.5
        with pytest.raises(psycopg2.OperationalError):
            settle_chunk(key, by="stopped", at=timezone.now())
    connections["settler"].close()
    assert settle_chunk(key, by="other", at=timezone.now()) is True
    assert fresh(batch).state == Batch.State.CLOSED


def test_decisions_on_the_page_need_a_reason(place: str) -> None:
    batch = data.loaded_batch(CLAIMS, seed=2, tag="A")
    settle_chunk(waiting(batch)[0], by=BY, at=timezone.now())
    client = factories.log_in(
        Client(), factories.user("settlement_clerk", Region.objects.get(pk=data.REGION))
    )
    address = reverse("batch", args=[batch.pk])
    shown = client.get(address).content.decode()
    assert "取消批次" in shown
    assert "剔除隔离的申请单" not in shown
    cancel = reverse("batch-move", args=[batch.pk, "cancel"])
    refused = client.post(cancel, {"reason": ""})
    assert (refused.status_code, "请填写理由" in refused.content.decode()) == (200, True)
    assert fresh(batch).state == Batch.State.RUNNING
    client.post(cancel, {"reason": "文件传错"})
    shown = client.get(address).content.decode()
    assert "已取消" in shown
    assert "文件传错" in shown
    client.post(reverse("batch-move", args=[batch.pk, "undo"]), {"reason": "文件传错"})
    assert fresh(batch).state == Batch.State.REVERSING
    again = client.post(cancel, {"reason": "再来一次"}, follow=True)
    assert "不能这样操作" in again.content.decode()
