"""The digest of a chunk computed anew from the ledger: whoever rewrites a settled amount is found and named."""

import datetime as dt
import json
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import proven, sealer, trail
from audit.models import Event
from institutions.access import scoped
from institutions.models import Region
from pricing.releases import catalogue_at
from settlement.batch import recheck
from settlement.batch.chunk import settle_chunk
from settlement.bench import data
from settlement.models import Batch, Chunk, Claim, Settlement
from supervision import follow
from tests import factories
from tests.audit.sealing import AT, recorded_archive, superuser
from tests.settlement.hospital import Hospital

NUMBER = 1  #: of the chunk that is changed


@pytest.fixture
def batch(committed_db: str, broker: str, settings, tmp_path) -> Iterator[Batch]:
    """A closed batch of three chunks, its events sealed."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    catalogue_at.cache_clear()  # clones have one name
    factories.policies("wenzhou")
    data.region()
    made = data.loaded_batch(1_200, seed=1, tag="R")
    for key in Chunk.objects.using("settler").filter(batch=made).values_list("pk", flat=True):
        settle_chunk(key, by="clerk", at=timezone.now())
    sealer.seal(at=AT, machine=AT)
    yield made
    catalogue_at.cache_clear()


def changed(batch: Batch, statement: str) -> None:
    """A superuser with triggers off rewrites a row of the last claim of the chunk."""
    chunk = Chunk.objects.using("settler").get(batch=batch, number=NUMBER)
    with superuser() as cursor:
        cursor.execute(statement, {"claim": chunk.last_claim, "chunk": chunk.pk, "person": 1})
        assert cursor.rowcount > 0


def test_untouched_chunks_agree(batch: Batch, capsys) -> None:
    call_command("check_ledger", batch=[batch.pk])
    assert "一致：3 片，单笔 0 笔" in capsys.readouterr().out
    call_command("check_ledger", f"--month={batch.period:%Y-%m}")
    assert "一致：3 片，单笔 0 笔" in capsys.readouterr().out
    call_command("check_ledger", "--month=2019-01")
    assert "一致：0 片，单笔 0 笔" in capsys.readouterr().out


FUND = """UPDATE settlement_settlement SET fund = fund - 100, account = account + 100
    WHERE claim_id = %(claim)s AND version = 1"""


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (FUND, "由入库账目重算的摘要 .* 与封存的 .* 不符（统筹基金合计 .* 元，封存时 .* 元；个人账户合计"),
        ("UPDATE settlement_lineresult SET fund = fund - 1 WHERE claim_id = %(claim)s", "重算的摘要"),
        ("UPDATE settlement_leg SET amount = -amount WHERE claim_id = %(claim)s", "重算的摘要"),
        ("DELETE FROM settlement_settlement WHERE claim_id = %(claim)s", "重算的摘要"),
        ("UPDATE settlement_chunk SET digest = sha256('') WHERE id = %(chunk)s", "分片所记的摘要与封存的不符"),
        ("UPDATE settlement_lineresult SET parameters_id = parameters_id + 1 WHERE claim_id = %(claim)s",
         "不在封存之列"),
        ("UPDATE settlement_settlement SET state = 'paid' WHERE claim_id = %(claim)s", "重算的摘要"),
        ("UPDATE settlement_chunk SET claims = claims + 1 WHERE id = %(chunk)s", "分片所记的笔数与封存的不符"),
    ],
)  # fmt: skip
def test_a_rewritten_row_is_found_and_its_chunk_named(
    batch: Batch, statement: str, why: str
) -> None:
    changed(batch, statement)
    with pytest.raises(CommandError, match=f"不符 1 处，第一处：batch:{batch.pk}/{NUMBER} .*{why}"):
        call_command("check_ledger", f"--month={batch.period:%Y-%m}")


BATCH = "DELETE FROM settlement_chunk WHERE batch_id = (SELECT batch_id FROM settlement_chunk WHERE id = %(chunk)s)"
COPY_CLAIM = """WITH made AS (INSERT INTO settlement_claim SELECT (jsonb_populate_record(claim,
        jsonb_build_object('id', (SELECT max(id) + 1000 FROM settlement_claim), 'person_id', %(person)s))).*
    FROM settlement_claim claim WHERE id = %(claim)s RETURNING id)
INSERT INTO settlement_settlement SELECT (jsonb_populate_record(paid,
    jsonb_build_object('claim_id', made.id, 'person_id', %(person)s))).*
FROM settlement_settlement paid, made WHERE claim_id = %(claim)s"""


@pytest.mark.parametrize(
    ("statement", "first", "told"),
    [
        ("DELETE FROM settlement_chunk WHERE id = %(chunk)s", "batch:{0}/1 留痕记有其摘要，但分片已不是“完成”",
         ["batch:{0} 400 笔单据不在其任何分片内，第一笔 claim:", "batch:{0} 400 笔结算不在其任何已完成的分片内"]),
        (BATCH, "batch:{0}/0 留痕记有其摘要", ["batch:{0}/2 留痕记有", "1200 笔单据不在", "1200 笔结算不在"]),
        (COPY_CLAIM, "batch:{0} 1 笔单据不在其任何分片内", ["batch:{0} 1 笔结算不在其任何已完成的分片内，第一笔 claim:"]),
    ],
)  # fmt: skip
def test_what_was_deleted_or_slipped_in_is_told(
    batch: Batch, capsys, statement: str, first: str, told: list[str]
) -> None:
    """The sealed events are walked, too: rows that are not there any more cannot hide that they were."""
    changed(batch, statement)
    for more in ({}, {"batch": [batch.pk]}, {"month": f"{batch.period:%Y-%m}"}):
        given = [f"--{key}={value}" for key, value in more.items() if key == "month"]
        with pytest.raises(CommandError, match=f"第一处：{first.format(batch.pk)}"):
            call_command("check_ledger", *given, batch=more.get("batch", []))
        said = capsys.readouterr().out
        for sentence in told:
            assert sentence.format(batch.pk) in said


def test_a_forged_second_event_is_not_believed(batch: Batch, capsys) -> None:
    """Ledger and chunk are rewritten and a new digest is sealed: the digest sealed first counts."""
    changed(batch, FUND)
    chunk = Chunk.objects.using("settler").get(batch=batch, number=NUMBER)
    subject = recheck.subject_of(chunk)
    event = Event.objects.get(action=recheck.ACTION, subject=subject)
    said = json.loads(bytes(event.body))["detail"]
    with connections["settler"].cursor() as cursor:
        computed = recheck.recheck(cursor, chunk, event).computed
    with superuser() as cursor:
        cursor.execute("UPDATE settlement_chunk SET digest = %s WHERE id = %s",
                       [bytes.fromhex(computed), chunk.pk])  # fmt: skip
    for days in (0, -400):  # its own time says nothing
        forged = trail.event_row(
            by="clerk", at=AT + dt.timedelta(days=days), action=recheck.ACTION, subject=subject,
            region_code=event.region_code, institution_code=event.institution_code,
            detail=said | {"digest": computed},
        )  # fmt: skip
        forged.save(force_insert=True)
        sealer.seal(at=AT, machine=AT)
    assert proven.proof_of(forged).holds
    for given in ([], [batch.pk]):
        with pytest.raises(
            CommandError, match=f"不符 1 处，第一处：{subject} 留痕中另有 2 条同类记录"
        ):
            call_command("check_ledger", batch=given)
        assert (
            f"由入库账目重算的摘要 {computed} 与封存的 {said['digest']} 不符"
            in capsys.readouterr().out
        )
    auditor = factories.user("auditor", Region.objects.get(pk=data.REGION))
    with scoped(auditor.scope_codes()):
        claim = Claim.objects.get(pk=chunk.last_claim)
        station = follow.Chain.of(claim, user=auditor).stations()[-1]
    assert (station["word"], "另有 2 条" in station["rows"][0]["note"]) == ("不符", True)


def test_an_event_that_was_rewritten_with_the_ledger_is_found(batch: Batch) -> None:
    """The digest is changed in the event, too: the signed log does not have that event."""
    changed(batch, FUND)
    chunk = Chunk.objects.using("settler").get(batch=batch, number=NUMBER)
    event = Event.objects.get(action=recheck.ACTION, subject=recheck.subject_of(chunk))
    with connections["settler"].cursor() as cursor:
        computed = recheck.recheck(cursor, chunk, event).computed
    said = json.loads(bytes(event.body))
    said["detail"]["digest"] = computed
    body = trail.canonical(said)
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_event SET body = %s, leaf = %s WHERE id = %s",
            [body, trail.leaf_hash(body), str(event.pk)],
        )
    event.refresh_from_db()
    assert proven.proof_of(event).faults == ("叶哈希与日志所封存的不符",)
    with pytest.raises(
        CommandError, match=f"第一处：batch:{batch.pk}/{NUMBER} 封存其内容的事件不成立"
    ):
        call_command("check_ledger", batch=[batch.pk])


def test_a_digest_of_an_older_release_is_told_as_not_comparable(batch: Batch, capsys) -> None:
    """Its event does not name the texts that were applied: nothing is claimed of it."""
    chunk = Chunk.objects.using("settler").get(batch=batch, number=NUMBER)
    event = trail.event_row(by="clerk", at=AT, action=recheck.ACTION,
                            subject=recheck.subject_of(chunk), detail={"digest": "00"})  # fmt: skip
    with connections["settler"].cursor() as cursor:
        found = recheck.recheck(cursor, chunk, event)
    assert (found.agrees, found.comparable, found.sealed) == (False, False, "00")
    assert "不能重算" in found.fault


def test_the_way_of_a_claim_shows_the_digest_of_its_chunk(batch: Batch) -> None:
    """What the auditor sees of a claim of a batch: the chunk's event, and its digest computed anew."""
    auditor = factories.user("auditor", Region.objects.get(pk=data.REGION))
    subject = f"batch:{batch.pk}/{NUMBER}"

    def station() -> dict:
        with scoped(auditor.scope_codes()):
            chunk = Chunk.objects.get(batch=batch, number=NUMBER)
            claim = Claim.objects.get(pk=chunk.last_claim)
            return follow.Chain.of(claim, user=auditor).stations()[-1]

    event = Event.objects.get(action=recheck.ACTION, subject=subject)
    found = station()
    sealed = json.loads(bytes(event.body))["detail"]["digest"]
    assert found["rows"][0]["note"] == f"由入库账目重算，与封存的一致：{sealed}"
    assert reverse("trail-event", args=[event.pk]) in [row.get("url") for row in found["rows"]]
    assert found["word"] == "相符"
    changed(batch, FUND)
    found = station()
    assert found["word"] == "不符"
    assert "统筹基金合计" in found["rows"][0]["note"]
    changed(batch, "DELETE FROM settlement_chunk WHERE id = %(chunk)s")
    with scoped(auditor.scope_codes()):
        claim = Claim.objects.filter(batch_id=batch.pk).exclude(chunk__in=[0, 2]).latest("pk")
        found = follow.Chain.of(claim, user=auditor).stations()[-1]
    assert (found["word"], found["rows"][0]["note"]) == ("不符", "此单据不在批次的任何分片内")


def test_what_cannot_be_compared_is_not_shown_as_wrong(batch: Batch) -> None:
    """The body of the chunk's event went into an archive: the digest is told as not compared."""
    event = Event.objects.get(action=recheck.ACTION, subject=f"batch:{batch.pk}/{NUMBER}")
    recorded_archive(AT)
    with superuser() as cursor:
        cursor.execute("UPDATE audit_event SET body = '' WHERE id = %s", [str(event.pk)])
    call_command("check_ledger", batch=[batch.pk])
    auditor = factories.user("auditor", Region.objects.get(pk=data.REGION))
    with scoped(auditor.scope_codes()):
        claim = Claim.objects.filter(batch_id=batch.pk, chunk=NUMBER).latest("pk")
        row = follow.Chain.of(claim, user=auditor).stations()[-1]["rows"][0]
    assert (row["tone"], row["note"]) == ("", recheck.ARCHIVED)
    assert "的摘要（SM3）" in row["text"]


def test_the_trail_finds_a_claim_by_its_number_and_under_its_chunk(
    batch: Batch, django_assert_max_num_queries
) -> None:
    client = factories.log_in(
        Client(), factories.user("auditor", Region.objects.get(pk=data.REGION))
    )
    claim = Claim.objects.using("settler").filter(batch_id=batch.pk, chunk=NUMBER).latest("pk")
    for asked in (f"claim:{claim.pk}", claim.claim_no):
        with django_assert_max_num_queries(26):  # an alarm of altered events with them
            table = client.get(reverse("trail"), {"subject": asked}).context["table"]
        assert [row.cells[3].sub for row in table.rows] == [f"batch:{batch.pk}/{NUMBER}"]
    elsewhere = factories.user("auditor", factories.region("nantong"))
    table = factories.log_in(Client(), elsewhere).get(
        reverse("trail"), {"subject": claim.claim_no}
    ).context["table"]  # fmt: skip
    assert table.rows == []


def test_a_rewritten_claim_that_came_alone_is_found_and_named(
    committed_db: str, settings, tmp_path, capsys
) -> None:
    """Its totals are sealed in the event of its receipt, lines and legs by their digest."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    catalogue_at.cache_clear()
    factories.policies("nantong")
    claim = Hospital().settled(factories.line(fee="12.00"))["id"]
    sealer.seal(at=AT, machine=AT)
    call_command("check_ledger")
    for statement in (
        "UPDATE settlement_lineresult SET reason = reason + %s WHERE claim_id = %s",
        "UPDATE settlement_leg SET account = account + %s WHERE claim_id = %s AND account = 1",
    ):
        with superuser() as cursor:
            cursor.execute(statement, [1, claim])
            with pytest.raises(
                CommandError, match=f"不符 1 处，第一处：claim:{claim} 由入库账目重算"
            ):
                call_command("check_ledger")
            cursor.execute(statement.replace("account = 1", "account = 2"), [-1, claim])
    with superuser() as cursor:
        cursor.execute(
            "UPDATE settlement_settlement SET fund = fund + 100, cash = cash - 100"
            " WHERE claim_id = %s", [claim],
        )  # fmt: skip
    with pytest.raises(CommandError, match=(
        f"不符 1 处，第一处：claim:{claim} 入库金额与受理时封存的不符"
        "（统筹基金 7.00 元，封存时 6.00 元；个人现金 5.00 元，封存时 6.00 元）"
    )):  # fmt: skip
        call_command(
            "check_ledger", f"--month={Settlement.objects.get(claim_id=claim).period:%Y-%m}"
        )
    month = f"--month={Event.objects.get(action=recheck.RECEIVED).at:%Y-%m}"
    with superuser() as cursor:
        cursor.execute("DELETE FROM settlement_settlement WHERE claim_id = %s", [claim])
    for given in ([], [month]):
        with pytest.raises(CommandError, match=f"不符 2 处，第一处：claim:{claim} {recheck.LOST}"):
            call_command("check_ledger", *given)
        assert f"claim:{claim}/1 分录或明细没有所属的结算或凭证" in capsys.readouterr().out
    call_command("check_ledger", "--month=2019-01")
    catalogue_at.cache_clear()
