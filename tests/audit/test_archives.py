"""Old bodies move out; hashes, places and proofs stay; only the owner's function takes a body away."""

import datetime as dt
import hashlib
import json

import psycopg2
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from audit import archives, bundles, trail, verify
from audit.models import Archive, Event, Leaf
from tests import factories
from tests.audit.sealing import AT, act, seal, session, superuser

LATER = AT + dt.timedelta(days=400)
BEFORE = dt.date(2022, 1, 1)


@pytest.fixture
def old(committed_db, settings, tmp_path):
    """Eight entries of December 2021, four of a year later."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.TRAIL_ARCHIVE_DIR = str(tmp_path / "archives")
    for number in range(8):
        act(number)
        if number in (4, 7):
            seal(number)
    for number in range(8, 12):
        act(number, at=LATER)
    seal(400 * 24 * 60)
    return tmp_path


def written(**more: object) -> Archive:
    return archives.write(**({"before": BEFORE, "by": "admin", "at": LATER} | more))


def as_owner(settings, statement: str, values: list) -> object:
    with session(settings.DATABASE_OWNER_URL) as owner, owner.cursor() as cursor:
        cursor.execute(statement, values)
        found = cursor.fetchone()
        owner.commit()
        return found[0]


def emptied(settings, archive: Archive) -> object:
    return as_owner(
        settings, "SELECT audit_empty_bodies(%s, %s, %s)", [archive.pk, archive.first, archive.last]
    )


def test_an_archive_is_a_bundle_that_verifies_and_is_recorded(old):
    archive = written()
    path = old / "archives" / archive.name
    assert (archive.first, archive.last) == (0, 8)
    assert verify.verify(path)[0] == verify.OK
    assert hashlib.new("sm3", path.read_bytes()).hexdigest() == archive.sm3
    detail = json.loads(bytes(Event.objects.get(action="trail.archive").body))["detail"]
    assert (detail["sm3"], detail["last"]) == (archive.sm3, 8)


def test_the_next_archive_follows_the_last(old):
    written()
    seal(400 * 24 * 60 + 1)
    later = LATER + dt.timedelta(days=300)
    second = written(before=dt.date(2023, 2, 1), at=later)
    assert (second.first, second.last) == (8, 13)  # the first archive's own event with them
    assert verify.verify(old / "archives" / second.name)[0] == verify.OK


@pytest.mark.parametrize(
    ("before", "said"),
    [(LATER.date(), "至少在线留存6个月"), (dt.date(2021, 11, 1), "没有新的检查点")],
)
def test_what_is_too_young_or_not_there_is_not_archived(old, before: dt.date, said: str):
    with pytest.raises(archives.ArchiveError, match=said):
        written(before=before)
    with pytest.raises(CommandError, match="没有新的检查点"):
        call_command("archive_trail", before=dt.date(2021, 11, 1), by="admin")


def test_a_log_that_does_not_verify_is_not_archived(old):
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_event SET body = '{}' WHERE id = (SELECT event FROM audit_leaf WHERE seq = 3)"
        )
    with pytest.raises(archives.ArchiveError, match="broken at entry 3"):
        written()
    assert not Archive.objects.exists()
    assert list((old / "archives").iterdir()) == []


def test_bodies_go_and_proofs_stay(old, settings):
    archive = written()
    seal(400 * 24 * 60 + 1)
    assert emptied(settings, archive) == 8
    lines = bundles.stretch(first=0, top=trail.checkpoint(), by="auditor", at=LATER)
    (old / "all.jsonl").write_text("".join(lines), encoding="utf-8")
    assert verify.verify(old / "all.jsonl")[0] == verify.OK
    gone = Event.objects.get(pk=Leaf.objects.get(seq=3).event)
    assert (bytes(gone.body), gone.actor, gone.subject) == (b"", "clerk.one", "claim:3")
    client = factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))
    text = client.get(reverse("trail-event", args=[gone.pk])).content.decode()
    assert archive.name in text
    assert "已归档" in text
    assert "成立" in text
    assert "claim:3" in client.get(reverse("trail")).content.decode()


def test_only_the_owner_s_function_takes_bodies_away(old, settings):
    archive = written()
    seal(400 * 24 * 60 + 1)
    with (
        session() as app,
        app.cursor() as cursor,
        pytest.raises(psycopg2.Error, match="permission"),
    ):
        cursor.execute("SELECT audit_empty_bodies(%s, 0, 8)", [archive.pk])
    with pytest.raises(psycopg2.Error, match="append-only"):
        as_owner(settings, "UPDATE audit_event SET body = '' WHERE actor = %s RETURNING 1", ["a"])
    with session() as app, app.cursor() as cursor:
        cursor.execute("SET audit.archiving = 'on'")
        with pytest.raises(psycopg2.Error, match="permission"):
            cursor.execute("UPDATE audit_event SET body = ''")


@pytest.mark.parametrize(("first", "last"), [(0, 9), (8, 12)])
def test_no_body_goes_that_is_not_in_the_archive(old, settings, first: int, last: int):
    archive = written()
    seal(400 * 24 * 60 + 1)
    with pytest.raises(psycopg2.Error, match="no archive"):
        as_owner(settings, "SELECT audit_empty_bodies(%s, %s, %s)", [archive.pk, first, last])


def test_no_body_goes_before_the_archive_is_sealed(old, settings):
    archive = written()
    with pytest.raises(psycopg2.Error, match="not sealed"):
        emptied(settings, archive)


def test_the_months_are_those_of_the_law():
    told = archives.retention()
    assert (told["months"], "不少于六个月" in told["text"]) == (6, True)
    assert "网络安全法" in told["clause"]


@pytest.mark.parametrize(
    ("day", "earlier"), [("2022-08-31", "2022-02-28"), ("2022-01-15", "2021-07-15")]
)
def test_months_before_a_day(day: str, earlier: str):
    found = archives._months_before(dt.date.fromisoformat(day), 6)
    assert found.isoformat() == earlier
