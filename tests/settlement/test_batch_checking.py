"""A large file is checked by a worker: nothing is lost on the way, and it is found what would be at once."""

import datetime as dt
import io
import json
import os
import signal
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from python_calamine import CalamineWorkbook

from audit.models import Event
from config.celery import app
from institutions.access import EVERYTHING, set_scope
from settlement import failpoints, sheets
from settlement.batch import checking, commands
from settlement.batch.parts import MAX_ATTEMPTS
from settlement.models import Batch, Claim
from tests import factories
from tests.settlement.test_batch import BY, Hospital, claims_of, fresh, until, worker

State = Batch.State
LATER = commands.STALE * 2


@pytest.fixture
def hospital(committed_db: str, monkeypatch) -> Hospital:
    """Whatever it uploads is too large to be checked at once; nobody hears the bells."""
    monkeypatch.setattr(checking, "AT_ONCE", 100)
    monkeypatch.setattr(app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    return Hospital(3)


def only() -> Batch:
    return Batch.objects.using("settler").get()


def go_on(batch: Batch) -> bool:
    return checking.go_on(batch_id=batch.pk, by=BY, at=timezone.now())


def sent(hospital: Hospital, content: bytes, name: str = "a.jsonl"):
    return hospital.call(
        "post", "/api/v1/batches", data={"file": SimpleUploadedFile(name, content)}
    )


def test_a_worker_killed_while_it_checks_loses_nothing(
    committed_db: str, broker: str, tmp_path: Path, monkeypatch
) -> None:
    hospital = Hospital(80)
    claims = claims_of(hospital, hospital.patients)
    answer = hospital.upload(claims, start="true", **{"Idempotency-Key": "large"})
    assert (answer.status_code, answer.json()["state"]) == (202, "checking")
    assert hospital.upload(claims, start="true", **{"Idempotency-Key": "large"}).status_code == 202
    batch = only()
    monkeypatch.setenv("FAILPOINT", "check.stored:1:crash")
    with worker(broker, tmp_path / "first.log") as process:
        until(lambda: process.poll() is not None)
    assert -process.returncode == signal.SIGKILL
    assert (fresh(batch).state, fresh(batch).attempts, fresh(batch).claims) == ("checking", 1, 0)
    monkeypatch.delenv("FAILPOINT")
    with worker(broker, tmp_path / "second.log"):
        commands.sweep(by=BY, at=timezone.now() + LATER)
        until(lambda: fresh(batch).state == State.CLOSED)
    assert (fresh(batch).claims, fresh(batch).totals["claims"]) == (len(claims), len(claims))
    told = Event.objects.using("settler").filter(subject=f"batch:{batch.pk}")
    assert [told.filter(action=f"batch.{act}").count() for act in ("uploaded", "checked")] == [1, 1]
    confirmed = told.get(action="batch.confirmed")
    assert confirmed.actor == batch.created_by != "system:worker"


def test_a_worker_finds_what_would_be_found_at_once(hospital: Hospital, monkeypatch) -> None:
    claims = claims_of(hospital, hospital.patients)
    claims[3]["person"]["credential"] = factories.id_number(998)
    claims[4]["encounter"]["business_type"] = "x"
    answer = hospital.upload(claims, start="true")
    shown = answer.json()
    assert (answer.status_code, shown["errors"], shown["links"]["annotated"]) == (202, [], None)
    assert go_on(only())
    assert not go_on(only())
    late = hospital.call("get", shown["links"]["self"]).json()
    monkeypatch.setattr(checking, "AT_ONCE", 2**20)
    early = hospital.upload(claims, start="true")
    assert early.status_code == 200
    assert len(late["errors"]) == 2
    for name in ("state", "errors", "claims", "lines"):
        assert late[name] == early.json()[name], name
    books = [hospital.call("get", found["links"]["annotated"]).content
             for found in (late, early.json())]  # fmt: skip
    assert len({str(CalamineWorkbook.from_filelike(io.BytesIO(book)).get_sheet_by_index(0).to_python())
                for book in books}) == 1  # fmt: skip
    assert not Claim.objects.using("settler").exists()


def test_of_many_bells_for_a_file_one_counts(hospital: Hospital) -> None:
    hospital.upload(claims_of(hospital, hospital.patients))
    batch = only()
    with (
        closing(psycopg2.connect(os.environ["DATABASE_SETTLER_URL"])) as other,
        other.cursor() as cursor,
    ):
        at_it = "SELECT pg_advisory_lock(hashtext('batch attempt'), %s)"
        cursor.execute(at_it, [batch.pk])
        assert [go_on(batch) for _ in range(9)] == [False] * 9
    assert (fresh(batch).state, fresh(batch).attempts) == (State.CHECKING, 0)
    until(lambda: go_on(batch))
    assert fresh(batch).state == State.CHECKED


def test_a_file_that_cannot_be_read_says_so(hospital: Hospital, monkeypatch) -> None:
    for name, content in (("a.pdf", b"x" * 200), ("a.csv", b"x" * (sheets.MAX_BYTES + 1))):
        assert sent(hospital, content, name).status_code in (400, 413)
    assert not Batch.objects.using("settler").exists()
    answer = sent(hospital, "申请单号,颜色\n".encode() * 50, "a.csv")
    assert answer.status_code == 202
    assert go_on(only())
    shown = hospital.call("get", answer.json()["links"]["self"]).json()
    assert (shown["state"], [e["code"] for e in shown["errors"]]) == ("checked", ["FILE_INVALID"])
    assert "颜色" in shown["errors"][0]["reason"]
    assert hospital.call("get", shown["links"]["annotated"]).content.startswith(b"PK")
    assert hospital.call("post", f"/api/v1/batches/{shown['id']}/start").status_code == 409


def test_a_file_that_ends_its_workers_is_given_up(hospital: Hospital) -> None:
    hospital.upload(claims_of(hospital, hospital.patients))
    for _ in range(MAX_ATTEMPTS):
        with failpoints.planned("check.begun:1:raise"), pytest.raises(failpoints.FailPointError):
            go_on(only())
    assert commands.sweep(by=BY, at=timezone.now() + LATER) == 1
    assert not go_on(only())
    assert (only().state, only().errors[0]["code"]) == ("failed", "CHECK_FAILED")
    assert commands.sweep(by=BY, at=timezone.now() + LATER) == 0


def test_a_file_is_judged_as_of_the_moment_it_came(hospital: Hospital) -> None:
    claims = claims_of(hospital, hospital.patients[:1])
    tomorrow = timezone.now() + dt.timedelta(days=1)
    claims[0]["encounter"] |= {"started_at": tomorrow.isoformat(), "ended_at": tomorrow.isoformat()}
    hospital.upload(claims)
    checking.go_on(batch_id=only().pk, by=BY, at=timezone.now() + dt.timedelta(days=2))
    assert only().errors


def test_the_page_shows_the_check_and_then_its_result(hospital: Hospital) -> None:
    with transaction.atomic():
        set_scope(EVERYTHING)
        client = factories.log_in(Client(), factories.user("hospital", hospital.row))
    content = "\n".join(json.dumps(c) for c in claims_of(hospital, hospital.patients))
    answer = client.post(
        reverse("batches"), {"file": SimpleUploadedFile("a.jsonl", content.encode())}
    )
    address = reverse("batch", args=[only().pk])
    assert answer["Location"] == address
    shown = client.get(address).content.decode()
    for word in ("检查中", "也可以离开", 'hx-trigger="every 2s"', "上传文件", "取消批次"):
        assert word in shown, word
    assert "确认并开始结算" not in shown
    assert go_on(only())
    shown = client.get(address).content.decode()
    for word in ("校验通过", "15 张", "校验文件"):
        assert word in shown, word
    assert "hx-trigger" not in shown


def test_a_file_may_be_taken_back_before_it_is_checked(hospital: Hospital) -> None:
    hospital.upload(claims_of(hospital, hospital.patients), start="true")
    commands.cancel(batch_id=only().pk, reason="文件传错", by=BY, at=timezone.now())
    assert not go_on(only())
    assert only().state == State.CANCELLED
