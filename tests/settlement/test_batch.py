"""Batches: checked wholly, settled exactly once under faults, equal to the single path."""

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone

from audit.models import Event
from config.celery import app
from institutions.refusals import Refusal
from pricing.releases import catalogue_at
from pricing.rules import REASON_NO
from settlement import ledger
from settlement.batch import checking, commands, downloads
from settlement.batch.chunk import settle_chunk
from settlement.bench import data
from settlement.models import (
    Accumulator,
    Batch,
    Chunk,
    Claim,
    InsuredPerson,
    Leg,
    LineResult,
    Settlement,
)
from tests import factories

ROOT = Path(__file__).resolve().parents[2]
BY = "clerk"
CLAIMS = 6_000
Q = Settlement.objects.using
SECONDS = 60


@contextlib.contextmanager
def worker(broker: str, log: Path) -> Iterator[subprocess.Popen]:
    """A real Celery worker process of its own session."""
    command = [sys.executable, "-m", "celery", "-b", broker, "-A", "config.celery", "worker",
               "--concurrency", "1", "--loglevel", "INFO", "--without-gossip",
               "--without-mingle"]  # fmt: skip
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env=os.environ.copy(),
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def until(what, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def done(batch: Batch) -> int:
    return Chunk.objects.using("settler").filter(batch=batch, state="done").count()


def fresh(batch: Batch) -> Batch:
    return Batch.objects.using("settler").get(pk=batch.pk)


def settle_all(batch: Batch) -> Batch:
    for key in Chunk.objects.using("settler").filter(batch=batch).values_list("pk", flat=True):
        settle_chunk(key, by=BY, at=timezone.now())
    return fresh(batch)


@pytest.fixture
def invented(committed_db: str, broker: str) -> str:
    catalogue_at.cache_clear()  # clones have one name
    factories.policies("wenzhou")
    data.region()
    return broker


def assert_adds_up(batch: Batch) -> None:
    """Totals of the batch = sums of its lines = sums of its legs = the accumulators' growth."""
    with connections["settler"].cursor() as cursor:
        cursor.execute(
            """SELECT sum(l.fee), sum(l.fund) FILTER (WHERE l.decision = 0), count(*)
            FROM settlement_lineresult l JOIN settlement_claim c ON c.id = l.claim_id
            WHERE c.batch_id = %s AND l.version = 1""",
            [batch.pk],
        )
        fee, fund, lines = cursor.fetchone()
        cursor.execute(
            """SELECT sum(g.amount) FILTER (WHERE g.account = 1), sum(g.amount)
            FROM settlement_leg g
            JOIN settlement_claim c ON c.id = g.claim_id WHERE c.batch_id = %s""",
            [batch.pk],
        )
        posted, balance = cursor.fetchone()
        cursor.execute(
            """SELECT sum(fund_used) FROM settlement_accumulator WHERE person_id IN
            (SELECT person_id FROM settlement_claim WHERE batch_id = %s)""",
            [batch.pk],
        )
        used = cursor.fetchone()[0]
    totals = batch.totals
    assert batch.state == Batch.State.CLOSED
    assert (fee, fund, lines) == (totals["fee"], totals["fund"], totals["lines"])
    assert (posted, balance, used) == (totals["fund"], 0, totals["fund"])
    assert (totals["claims"], totals["fee"]) == (batch.claims, batch.fee_total)
    assert totals["fee"] == sum(
        totals[name]
        for name in ("fund", "major", "assistance", "account", "cash", "hospital", "held")
    )


def test_a_killed_worker_and_a_flushed_broker_change_nothing(invented: str, tmp_path: Path) -> None:
    calm = settle_all(data.loaded_batch(CLAIMS, seed=1, tag="A"))
    assert_adds_up(calm)
    batch = data.loaded_batch(CLAIMS, seed=1, tag="B")
    count = Chunk.objects.using("settler").filter(batch=batch).count()
    assert count >= 10
    commands.sweep(by=BY, at=timezone.now())
    with worker(invented, tmp_path / "first.log") as process:
        until(lambda: done(batch) >= 2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
    assert done(batch) < count, "the worker was too fast to be killed at work"
    number = app.conf.broker_url.rpartition("virtual_host=")[2]
    redis.Redis.from_url(settings.REDIS_URL, db=int(number)).flushdb()
    with worker(invented, tmp_path / "second.log"):
        commands.sweep(by=BY, at=timezone.now() + commands.STALE * 2)
        until(lambda: fresh(batch).state == Batch.State.CLOSED)
    batch = fresh(batch)
    assert_adds_up(batch)
    assert batch.result_sm3 == calm.result_sm3
    assert batch.totals == calm.totals


def test_pause_duplicates_a_dead_broker_and_quarantine(invented: str) -> None:
    app.conf.broker_write_url = "redis://127.0.0.1:1/0"
    batch = data.loaded_batch(2_000, seed=2, tag="A")
    keys = list(Chunk.objects.using("settler").filter(batch=batch).values_list("pk", flat=True))
    commands.sweep(by=BY, at=timezone.now())
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(_deliver, [keys[0]] * 8))
    assert sorted(results) == [False] * 7 + [True]
    commands.pause(batch_id=batch.pk, by=BY, at=timezone.now())
    assert [settle_chunk(key, by=BY, at=timezone.now()) for key in keys] == [False] * len(keys)
    assert commands.progress(fresh(batch), at=timezone.now())["chunks_done"] == 1
    with pytest.raises(Refusal):
        commands.pause(batch_id=batch.pk, by=BY, at=timezone.now())
    commands.resume(batch_id=batch.pk, by=BY, at=timezone.now())
    poison = Chunk.objects.using("settler").get(pk=keys[1])
    Chunk.objects.using("settler").filter(pk=keys[1]).update(claims=poison.claims + 1)
    for _ in range(5):
        with pytest.raises(Exception, match=r"claims, .* lines read"):
            settle_chunk(keys[1], by=BY, at=timezone.now())
    commands.sweep(by=BY, at=timezone.now())
    settle_all(batch)
    assert fresh(batch).state == Batch.State.RUNNING
    assert commands.progress(fresh(batch), at=timezone.now())["quarantined"] == 1
    Chunk.objects.using("settler").filter(pk=keys[1]).update(claims=poison.claims)
    commands.release(batch_id=batch.pk, by=BY, at=timezone.now())
    batch = settle_all(batch)
    assert_adds_up(batch)
    assert settle_chunk(2**40, by=BY, at=timezone.now()) is False
    calm = settle_all(data.loaded_batch(2_000, seed=2, tag="B"))
    assert batch.result_sm3 == calm.result_sm3


def _deliver(key: int) -> bool:
    try:
        return settle_chunk(key, by=BY, at=timezone.now())
    finally:
        connections.close_all()


class Hospital:
    """A hospital with patients, and the files and calls it sends."""

    def __init__(self, patients: int):
        catalogue_at.cache_clear()  # clones have one name
        factories.policies("nantong")
        self.row = factories.institution("nantong")
        self.doctor = factories.physician(self.row)
        self.patients = [
            factories.person("nantong", "employee", account_balance=900) for _ in range(patients)
        ]
        self.token = factories.token(self.row)
        self.client = Client()

    def call(self, method: str, path: str, **given):
        headers = {"Authorization": f"Bearer {self.token}"} | given.pop("headers", {})
        return getattr(self.client, method)(path, headers=headers, **given)

    def sent(self, claim: dict) -> dict:
        """The answer to a single claim that is taken."""
        answer = self.call(
            "post", "/api/v1/claims", data=json.dumps(claim), content_type="application/json",
            headers={"Idempotency-Key": f"k-{claim['claim_no']}"},
        )  # fmt: skip
        assert answer.status_code == 201, answer.content.decode()
        return answer.json()

    def upload(self, claims: list[dict], *, start: str = "false", **headers: str):
        content = "\n".join(json.dumps(claim, ensure_ascii=False) for claim in claims).encode()
        file = SimpleUploadedFile("../../x.jsonl", content)
        return self.call(
            "post", "/api/v1/batches", data={"file": file, "start": start}, headers=headers
        )


def claims_of(hospital: Hospital, patients: list) -> list[dict]:
    """Several claims for each patient: payable, over the cap, refused, twice in one encounter."""
    made = []
    for patient in patients:
        first = factories.body(patient, hospital.doctor, pay_from_account=True)
        again = factories.body(patient, hospital.doctor)
        again["encounter"]["id"] = first["encounter"]["id"]
        fresh_visit = factories.body(patient, hospital.doctor)
        fresh_visit["encounter"]["visit_type"] = "first"
        two = factories.body(
            patient, hospital.doctor, factories.line(1, fee="10.00"),
            factories.line(2, item="999", fee="3.33"),
        )  # fmt: skip
        made += [first, again, fresh_visit, two, factories.body(patient, hospital.doctor)]
    for claim in made:  # a prescription belongs to one person
        claim["prescriptions"][0]["no"] = claim["claim_no"]
    return made


def outcome(numbers: list[str]) -> list[tuple]:
    """Everything a claim became, without ids and moments."""
    found = []
    for number in numbers:
        claim = Claim.objects.using("settler").get(claim_no=number)
        settled = Q("settler").filter(claim_id=claim.pk).values_list(
            "version", "state", "fee", "in_scope", "over_cap", "out_of_scope", "held", "fund",
            "account", "cash", "hospital", "deductible", "example", "scheme", "year",
        )  # fmt: skip
        lines = LineResult.objects.using("settler").filter(claim_id=claim.pk).order_by("line_no")
        legs = Leg.objects.using("settler").filter(claim_id=claim.pk).order_by("account")
        found.append((
            bytes(claim.facts), claim.fee, claim.service_date,
            claim.document["encounter"]["session"], list(settled),
            list(lines.values_list("line_no", "decision", "reason", "check_no", "flags",
                                   "release_id",
                                   "parameters_id", "fee", "in_scope", "over_cap", "overcharge",
                                   "deductible", "fund")),
            list(legs.values_list("account", "amount")),
        ))  # fmt: skip
    return found


def used(patients: list) -> list[tuple]:
    rows = (
        Accumulator.objects.using("settler")
        .filter(person__in=patients)
        .order_by("person_id", "year")
    )
    names = (*ledger.COUNTED, "person__personal_account__account_left")
    return list(rows.values_list(*names))


def test_a_file_settles_like_single_claims(committed_db: str, broker: str) -> None:
    hospital = Hospital(6)
    single, filed = hospital.patients[:3], hospital.patients[3:]
    sent = claims_of(hospital, single)
    for claim in sent:
        hospital.sent(claim)
    claims = claims_of(hospital, filed)
    key = {"Idempotency-Key": "batch-1"}
    answer = hospital.upload(claims, start="true", **key)
    assert answer.status_code == 201, answer.content.decode()
    again = hospital.upload(claims, start="true", **key)
    assert (again.status_code, again.content) == (201, answer.content)
    assert again["Idempotency-Replayed"] == "true"
    assert hospital.upload(claims[:1], start="true", **key).status_code == 422
    assert Batch.objects.using("settler").count() == 1
    shown = answer.json()
    assert hospital.call("get", f"{shown['links']['self']}/result.csv").status_code == 409
    assert shown["state"] == "loading"
    assert shown["file_name"] == "x.jsonl"
    assert not Claim.objects.using("settler").filter(batch_id=shown["id"]).exists()
    assert commands.load(batch_id=shown["id"], by=BY, at=timezone.now())
    assert not commands.load(batch_id=shown["id"], by=BY, at=timezone.now())
    batch = settle_all(Batch.objects.using("settler").get(pk=shown["id"]))
    assert batch.state == Batch.State.CLOSED
    assert outcome([c["claim_no"] for c in claims]) == outcome([c["claim_no"] for c in sent])
    assert used(filed) == used(single)
    assert len({row[4][0][1] for row in outcome([c["claim_no"] for c in claims])}) >= 2
    lines = b"".join(downloads.result_csv(batch)).decode("utf-8-sig").splitlines()
    assert len(lines) == len(claims) + 1
    links = hospital.call("get", shown["links"]["self"]).json()["links"]
    assert hospital.call("get", links["result_xlsx"]).content.startswith(b"PK")
    actions = Event.objects.using("settler").filter(subject__startswith=f"batch:{batch.pk}")
    assert set(actions.values_list("action", flat=True)) == {
        "batch.checked", "batch.confirmed", "batch.frozen", "batch.chunk", "batch.closed",
        "batch.result",
    }  # fmt: skip
    again = hospital.upload(claims)
    assert {error["code"] for error in again.json()["errors"]} == {"CLAIM_NUMBER_USED"}
    claim_id = Claim.objects.using("settler").get(claim_no=claims[0]["claim_no"]).pk
    reversal = hospital.call(
        "post", f"/api/v1/claims/{claim_id}/reversal", data='{"reason": "退号"}',
        content_type="application/json",
    )  # fmt: skip
    assert reversal.status_code == 201, reversal.content.decode()
    assert (
        sum(Leg.objects.using("settler").filter(claim_id=claim_id).values_list("amount", flat=True))
        == 0
    )


@pytest.mark.parametrize("change", ["scheme", "year"])
def test_a_visit_charged_in_another_scheme_or_year_is_found(committed_db: str, change: str) -> None:
    """That a person-year is new does not make its person new: a file refuses what a single claim refuses."""
    hospital = Hospital(2)
    later = []
    for patient in hospital.patients:
        first, again = (
            factories.body(patient, hospital.doctor, day=day)
            for day in (factories.DAY, dt.date(2022, 1, 4) if change == "year" else factories.DAY)
        )
        again["encounter"]["id"] = first["encounter"]["id"]
        for claim in (first, again):
            claim["prescriptions"][0]["no"] = claim["claim_no"]
        assert hospital.sent(first)["state"] == "payable"
        if change == "scheme":
            other = {"employee": "resident", "resident": "employee"}[patient.scheme]
            InsuredPerson.objects.filter(pk=patient.pk).update(scheme=other)
        later.append(again)
    alone, filed = later
    hospital.sent(alone)
    key = hospital.upload([filed], start="true").json()["id"]
    assert commands.load(batch_id=key, by=BY, at=timezone.now())
    settle_all(Batch.objects.using("settler").get(pk=key))
    result = outcome([filed["claim_no"]])
    assert result == outcome([alone["claim_no"]])
    assert {line[2] for _, *_, lines, _ in result for line in lines} == {
        REASON_NO["DUPLICATE_CHARGE"]
    }


def test_every_row_error_at_once_and_nothing_stored(committed_db: str) -> None:
    hospital = Hospital(2)
    good = factories.body(hospital.patients[0], hospital.doctor)
    digit = factories.body(hospital.patients[0], hospital.doctor)
    digit["person"]["credential"] = digit["person"]["credential"][:17] + "Z"
    stranger = factories.body(hospital.patients[0], hospital.doctor)
    stranger["person"]["credential"] = factories.id_number(998)
    shape = factories.body(hospital.patients[1], hospital.doctor, factories.line(1, fee="1e3"))
    shape["encounter"]["business_type"] = "x"
    sums = factories.body(hospital.patients[1], hospital.doctor, factories.line(1, quantity="2"))
    answer = hospital.upload([good, digit, stranger, shape, sums, good], start="true")
    assert answer.status_code == 200
    shown = answer.json()
    assert [(e["row"], e["column"], e["code"]) for e in shown["errors"]] == [
        (1, "申请单号", "REPEATED"),
        (2, "凭证号码", "CREDENTIAL_INVALID"),
        (3, "凭证号码", "PERSON_UNKNOWN"),
        (4, "业务类型", "ENUM"),
        (4, "单价", "FORMAT"),
        (4, "金额", "FORMAT"),
        (5, "金额", "FEE_MISMATCH"),
        (6, "申请单号", "REPEATED"),
    ]
    assert shown["state"] == "checked"
    assert not Claim.objects.using("settler").exists()
    annotated = hospital.call("get", shown["links"]["annotated"])
    assert annotated.content.startswith(b"PK")
    taken = Event.objects.get(action="batch.annotated")
    assert taken.subject == f"batch:{shown['id']}"
    assert taken.actor.startswith("client:")
    started = hospital.call("post", f"/api/v1/batches/{shown['id']}/start")
    assert (started.status_code, started.json()["code"]) == (409, "BATCH_HAS_ERRORS")
    other = Hospital.__new__(Hospital)
    other.client, other.token = Client(), factories.token(factories.institution("nantong"))
    assert other.call("get", shown["links"]["self"]).status_code == 404
    assert hospital.call("post", "/api/v1/batches", data={}).status_code == 400
    assert hospital.call("get", "/api/v1/batches/template.xlsx").content.startswith(b"PK")


def test_a_file_name_is_kept_as_a_name_only() -> None:
    assert checking.safe_name("../../x\r\nSet-Cookie:.csv") == "xSet-Cookie:.csv"
    assert checking.safe_name("C:\\a\\b.xlsx") == "b.xlsx"
    assert len(checking.safe_name("长" * 300 + ".csv")) <= 200
