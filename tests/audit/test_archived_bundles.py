"""Bodies that are archived: believed where the log records it, by the portal and offline; never by a row alone."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from audit import archives, bundles, proven, trail, verify
from audit.models import Archive, Checkpoint, Event, Leaf
from tests import factories
from tests.audit.sealing import act, seal, superuser
from tests.audit.test_archives import BEFORE, LATER, emptied, old, written

__all__ = ["old"]
FORGED = """INSERT INTO audit_archive (first, last, before, name, sm3, size, checkpoint_id, at, by)
    SELECT 0, size, '2022-01-01', 'old.jsonl', '', 0, id, now(), 'x' FROM audit_checkpoint
    WHERE size = 8"""


def exported(folder: Path, *seqs: int) -> Path:
    """The whole log, or these entries of it."""
    given = {"top": trail.checkpoint(), "by": "auditor", "at": LATER}
    lines = bundles.selection(seqs=seqs, **given) if seqs else bundles.stretch(first=0, **given)
    path = folder / "bundle.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def body_taken(seq: int) -> Event:
    key = Leaf.objects.get(seq=seq).event
    with superuser() as cursor:
        cursor.execute("UPDATE audit_event SET body = '' WHERE id = %s", [str(key)])
    return Event.objects.get(pk=key)


def test_a_row_alone_does_not_excuse_an_emptied_body(old):
    """A superuser empties a body and inserts an archive that no event records."""
    event = body_taken(3)
    with superuser() as cursor:
        cursor.execute(FORGED)
    assert proven.archives() == []
    assert proven.proof_of(event).faults == (
        "字段与正文不符（正文不是 JSON）", "正文与叶哈希不符",
    )  # fmt: skip
    with pytest.raises(CommandError, match=r"第 3 条.*正文与叶哈希不符"):
        call_command("check_trail")
    for path in (exported(old), exported(old, 3)):
        status, sentence = verify.verify(path)
        assert (status, "broken at entry 3)" in sentence) == (verify.BROKEN, True), sentence


@pytest.mark.parametrize("column", ["last = 12", "sm3 = repeat('0', 64)"])
def test_a_row_that_says_other_than_its_event_is_not_believed(old, column: str):
    """The range of a recorded archive is widened, or its file exchanged."""
    archive = written()
    seal(400 * 24 * 60 + 1)
    assert proven.archives() == [archive]
    with superuser() as cursor:
        cursor.execute(f"UPDATE audit_archive SET {column}")
    assert proven.archives() == []


def test_an_archive_whose_event_is_not_sealed_is_not_believed(old):
    written()
    assert proven.archives() == []


def test_archived_bodies_are_proven_by_the_event_that_the_bundle_brings(old, settings):
    """The whole log, and a selection that has nothing but archived entries: it brings the event along."""
    archive = written()
    seal(400 * 24 * 60 + 1)
    assert emptied(settings, archive) == 8
    call_command("check_trail")
    for seqs, told in (((), 8), ((2, 5), 2)):
        path = exported(old, *seqs)
        status, sentence = verify.verify(path)
        assert (status, f"({told} without body)" in sentence) == (verify.OK, True), sentence
        text = path.read_text(encoding="utf-8")
        assert json.loads(text.partition("\n")[0])["archived"] == 8
    body_taken(9)
    status, sentence = verify.verify(exported(old))
    assert (status, "broken at entry 9)" in sentence) == (verify.BROKEN, True), sentence


def test_a_line_that_is_no_entry_records_no_archive(old):
    """Whoever makes the file may write an archive's event behind a checkpoint: it stands in no log."""
    body_taken(3)
    head, *lines = exported(old).read_text(encoding="utf-8").splitlines()
    said = {"action": "trail.archive", "detail": {"first": 0, "last": 8}}
    smuggled = json.dumps({"checkpoint": Checkpoint.objects.get(size=5).text})[:-1]
    smuggled += ',"body":' + json.dumps(said, separators=(",", ":")) + "}"
    text = "\n".join([json.dumps(json.loads(head) | {"archived": 8}), smuggled, *lines, ""])
    (old / "forged.jsonl").write_text(text, encoding="utf-8")
    status, sentence = verify.verify(old / "forged.jsonl")
    assert (status, "broken at entry 0)" in sentence) == (verify.BROKEN, True), sentence


def test_events_of_archives_keep_their_bodies(old, settings):
    """The second archive holds the event of the first; both proofs stay in the log."""
    first = written()
    seal(400 * 24 * 60 + 1)
    emptied(settings, first)
    later = LATER.replace(year=LATER.year + 1)
    act(20, at=later)
    second = archives.write(before=BEFORE.replace(year=2023, month=2), by="admin", at=later)
    seal(800 * 24 * 60)
    assert (second.first, second.last) == (8, 13)
    assert emptied(settings, second) == 4  # the fifth is the event of the first archive
    assert proven.archives() == [first, second]
    call_command("check_trail")
    status, sentence = verify.verify(exported(old))
    assert (status, "(12 without body)" in sentence) == (verify.OK, True), sentence


def test_the_page_of_an_emptied_event_names_no_forged_archive(old):
    event = body_taken(3)
    with superuser() as cursor:
        cursor.execute(FORGED)
    assert Archive.objects.count() == 1
    client = factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))
    text = client.get(reverse("trail-event", args=[event.pk])).content.decode()
    assert ("old.jsonl" in text, "正文与叶哈希不符" in text) == (False, True)
    told = "没有与之相符的已封存归档记录"
    assert told in client.get(reverse("checkpoints")).content.decode()


def test_the_register_of_archives_says_nothing_of_one_that_is_recorded(old):
    written()
    seal(400 * 24 * 60 + 1)
    client = factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))
    page = client.get(reverse("checkpoints")).content.decode()
    assert ("trail-0-8.jsonl" in page, "没有与之相符" in page) == (True, False)
