"""Reversals, reviews, re-settlements and vouchers against the digests in their events: every change is told."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from audit import sealer, trail
from audit.models import Event
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Region
from pricing.releases import catalogue_at
from settlement import bookings, dump
from settlement.batch import later
from settlement.models import Claim, Leg, Settlement, Voucher
from settlement.reviewed import Verdict
from settlement.vouchers import post_voucher
from supervision import follow
from tests import factories
from tests.audit.sealing import AT, recorded_archive, superuser
from tests.factories import line
from tests.settlement.hospital import Hospital
from tests.settlement.test_resettlement import RATIO, publish
from tests.settlement.test_reviewed import NOW, over, post, post_list, propose


@dataclass
class Ledger:
    """What was posted, by its claim or voucher."""

    reversed: int
    reviewed: int
    resettled: int
    voucher: int
    stranger: int

    @property
    def names(self) -> dict[str, int]:
        return vars(self)


def deposit(subject: str) -> Voucher:
    """A voucher of an odd sum, posted now."""
    return post_voucher(
        kind=Voucher.Kind.DEPOSIT, effect=f"{subject}/deposit", subject=subject, region_code="320600",
        scheme="employee", by="clerk", at=NOW,
        legs={Leg.Account.INSTITUTION_PAYABLE: 501, Leg.Account.DEPOSIT: -501},
    )  # fmt: skip


@pytest.fixture
def ledger(committed_db: str, settings, tmp_path) -> Iterator[Ledger]:
    """A reversal, a review, a re-settlement and a voucher, their events sealed."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    catalogue_at.cache_clear()
    factories.policies("nantong")
    hospital = Hospital(scheme="employee")
    hospital.settled(line(fee="12.00"))  # below the deductible of the year
    resettled = hospital.settled(line(fee="12.00"))
    other = Hospital(scheme="employee")  # its part of the list is another event
    other.settled(line(fee="12.00"))
    stranger = other.settled(line(fee="12.00"))
    publish(*RATIO)
    with scoped(EVERYTHING):
        post_list(propose(hospital))
        for claim in (resettled, stranger):
            assert Settlement.objects.filter(claim_id=claim["id"]).count() == 3
    gone, held = hospital.settled(line(fee="12.00")), hospital.settled(over())
    assert hospital.reverse(gone).status_code == 201
    with scoped(EVERYTHING):
        post(held, {1: Verdict("passed", 300)})
        voucher = deposit("statement:1")
    sealer.seal(at=AT, machine=AT)
    yield Ledger(gone["id"], held["id"], resettled["id"], voucher.pk, stranger["id"])
    catalogue_at.cache_clear()


def checked() -> str:
    """What `check_ledger` says of the first thing that differs; empty when all agrees."""
    try:
        call_command("check_ledger")
    except CommandError as error:
        return str(error)
    return ""


def test_untouched_postings_agree(ledger: Ledger, capsys) -> None:
    assert checked() == ""
    assert "一致：0 片，单笔 6 笔，其后入账 5 次" in capsys.readouterr().out
    month = Voucher.objects.get(pk=ledger.voucher).period
    call_command("check_ledger", f"--month={month:%Y-%m}")
    call_command("check_ledger", "--month=2019-01")
    assert "其后入账 0 次" in capsys.readouterr().out


SETTLED = """UPDATE settlement_settlement SET fund = fund + 100, cash = cash - 100
    WHERE claim_id = {0} AND version = {1}"""
PERSON = "UPDATE settlement_settlement SET person_id = 0 WHERE claim_id = {0} AND version = {1}"
REMOVED = "DELETE FROM settlement_settlement WHERE claim_id = {0} AND version = {1}"
COPIED = """INSERT INTO settlement_{table} SELECT (jsonb_populate_record(row,
    jsonb_build_object('version', {{1}}))).* FROM settlement_{table} row
    WHERE claim_id = {{0}} AND version = {{1}} - 2"""
LINE = "UPDATE settlement_lineresult SET fund = fund - 1 WHERE claim_id = {0} AND version = {1}"
TEXT = "UPDATE settlement_lineresult SET release_id = 1 - release_id WHERE claim_id = {0} AND version = {1}"
NO_LINE = "DELETE FROM settlement_lineresult WHERE claim_id = {0} AND version = {1}"
LEG = "UPDATE settlement_leg SET amount = 2 * amount WHERE claim_id = {0} AND version = {1}"
MONTH = "SELECT settlement_open_period('2021-06-01');"
ELSEWHEN = (
    MONTH
    + """INSERT INTO settlement_leg SELECT (jsonb_populate_record(row,
    '{{"period": "2021-06-01"}}'::jsonb)).* FROM settlement_leg row WHERE claim_id = {0} AND version = {1}"""
)
MOVED = (
    MONTH + "UPDATE settlement_leg SET period = '2021-06-01' WHERE claim_id = {0} AND version = {1}"
)
ELSEWHERE = (
    "UPDATE settlement_leg SET region_code = '330300' WHERE claim_id = {0} AND version = {1}"
)
PAYEE = "UPDATE settlement_voucher SET institution_code = 'H32060200009' WHERE id = {0}"
NO_VOUCHER = "DELETE FROM settlement_voucher WHERE id = {0}"
FORGED = """INSERT INTO settlement_voucher SELECT (jsonb_populate_record(row,
    jsonb_build_object('id', -5, 'number', 'x', 'effect', 'y'))).* FROM settlement_voucher row WHERE id = {0}"""
DIGEST, STRAY = "由入库账目重算的摘要", "入库账目在留痕中没有入账的事件"
GONE, LOOSE = "留痕记有其入账，但账目已不存在（共 1 笔）", "分录或明细没有所属的结算或凭证"


@pytest.mark.parametrize(
    ("which", "version", "statement", "told"),
    [
        ("reversed", 2, SETTLED, DIGEST),
        ("reversed", 2, REMOVED, f"claim:{{0}}/2 {GONE}"),
        ("reversed", 4, COPIED.format(table="settlement"), f"claim:{{0}}/4 {STRAY}"),
        ("reviewed", 2, PERSON, DIGEST),
        ("reviewed", 3, SETTLED, DIGEST),
        ("reviewed", 3, LEG, DIGEST),
        ("reviewed", 5, COPIED.format(table="leg"), f"claim:{{0}}/5 {LOOSE}"),
        ("resettled", 3, SETTLED, DIGEST),
        ("resettled", 2, LINE, DIGEST),
        ("resettled", 3, TEXT, DIGEST),
        ("resettled", 3, NO_LINE, DIGEST),
        ("reversed", 2, ELSEWHEN, f"claim:{{0}}/2 {LOOSE}"),
        ("reversed", 2, MOVED, DIGEST),
        ("reversed", 2, ELSEWHERE, DIGEST),
        ("voucher", 1, LEG, DIGEST),
        ("voucher", 1, PAYEE, DIGEST),
        ("voucher", 1, NO_VOUCHER, f"voucher:{{0}} {GONE}"),
        ("voucher", 1, FORGED, f"voucher:-5 {STRAY}"),
    ],
)
def test_a_superuser_who_changes_a_posting_is_told(
    ledger: Ledger, which: str, version: int, statement: str, told: str
) -> None:
    key = ledger.names[which]
    with superuser() as cursor:
        cursor.execute(statement.format(key, version))
        assert cursor.rowcount > 0
    assert told.format(key, version) in checked()
    if which == "voucher":
        return
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    with scoped(auditor.scope_codes()):
        station = follow.Chain.of(Claim.objects.get(pk=key), user=auditor).stations()[-1]
    if LOOSE not in told:
        assert station["word"] == "不符"


def test_a_forged_second_event_of_a_posting_is_not_believed(ledger: Ledger) -> None:
    """The version is rewritten and an event with a fitting digest is sealed: the first one counts."""
    with superuser() as cursor:
        cursor.execute(SETTLED.format(ledger.resettled, 3))
    event = next(
        row for row in Event.objects.filter(action="resettlement.claims")
        if ledger.resettled in json.loads(bytes(row.body))["detail"]["claims"]
    )  # fmt: skip
    said = json.loads(bytes(event.body))["detail"]
    keys = [(number, version) for number, version in said["booked"]["keys"]]
    set_scope(EVERYTHING)
    forged = trail.event_row(
        by="clerk", at=AT - dt.timedelta(days=400), action=event.action, subject=event.subject,
        region_code=event.region_code, institution_code=event.institution_code,
        detail=said | bookings.written(keys),
    )  # fmt: skip
    forged.save(force_insert=True)
    sealer.seal(at=AT, machine=AT)
    told = checked()
    assert "不符 2 处" in told
    assert DIGEST in told


def test_the_way_of_a_claim_shows_its_later_postings(ledger: Ledger) -> None:
    auditor = factories.user("auditor", Region.objects.get(pk="320600"))
    for name in ("reversed", "reviewed", "resettled"):
        with scoped(auditor.scope_codes()):
            claim = Claim.objects.get(pk=ledger.names[name])
            station = follow.Chain.of(claim, user=auditor).stations()[-1]
        shown = [row for row in station["rows"] if "摘要" in row["text"]]
        assert [row["text"].split(" ")[-1][:4] for row in shown] == ["首次结算", "其后入账"]
        assert all(row["note"].startswith("由入库账目重算，与封存的一致") for row in shown)
        assert station["word"] == "相符"
    with superuser() as cursor:  # what happens to a claim of the same list says nothing of this one
        cursor.execute(SETTLED.format(ledger.stranger, 3))
    for name, word in (("resettled", "相符"), ("stranger", "不符")):
        with scoped(auditor.scope_codes()):
            claim = Claim.objects.get(pk=ledger.names[name])
            assert follow.Chain.of(claim, user=auditor).stations()[-1]["word"] == word


def test_an_event_of_other_columns_is_told_as_not_comparable(
    ledger: Ledger, monkeypatch, capsys
) -> None:
    """What an earlier release digested otherwise is not claimed of, and its entries are no strays."""
    monkeypatch.setattr(bookings, "FORM", "00000000")
    assert checked() == ""
    assert "单笔 0 笔，其后入账 0 次；11 处事件没有写明可重算的内容" in capsys.readouterr().out


def test_what_was_archived_is_not_red(ledger: Ledger, capsys) -> None:
    """The bodies of postings went into an archive: they are not compared, and what they wrote is no stray."""
    archive = recorded_archive(AT)
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_event SET body = '' WHERE action <> 'claim.receive' AND id IN"
            " (SELECT event FROM audit_leaf WHERE seq < %s)", [archive.last],
        )  # fmt: skip
    assert checked() == ""
    assert "其后入账 0 次；5 处封存其内容的事件正文已归档" in capsys.readouterr().out


@pytest.mark.parametrize("change", [
    "UPDATE settlement_leg SET amount = amount * 2 WHERE claim_id = %s",
    "UPDATE settlement_voucher SET amount = amount + 1 WHERE id = %s",
    "UPDATE settlement_voucher SET kind = 'set_off' WHERE id = %s",
    "DELETE FROM settlement_leg WHERE claim_id = %s",
])  # fmt: skip
def test_the_dump_holds_what_vouchers_post(ledger: Ledger, change: str) -> None:
    with connections["settler"].cursor() as cursor:
        before = [dump.write(len, cursor) for _ in range(2)]
        with superuser() as other:
            other.execute(change, [ledger.voucher])
        assert dump.write(len, cursor) not in before
    assert before[0] == before[1]


def test_what_is_posted_while_the_ledger_is_checked_is_no_stray(ledger: Ledger) -> None:
    with connections["settler"].cursor() as cursor:
        walk = later.postings(cursor, None)
        found = [next(walk)]
        with scoped(EVERYTHING):
            deposit("statement:2")  # committed: the walk has begun
        found += list(walk)
    assert [one.fault for one in found if one.differs] == []
    assert checked() == ""
