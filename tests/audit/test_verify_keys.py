"""The verifier with the public keys as they are really published: one file, comments, every key since the first."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from audit import bundles, notes, trail, verify
from audit.models import Checkpoint
from tests.audit.sealing import AT, act, seal


@pytest.fixture
def rotated(committed_db, settings, tmp_path) -> Path:
    """Four entries signed with the first key, four more with the second; the checkpoint of the first is kept."""
    for number, name in enumerate(("first", "second")):
        settings.SEAL_KEY_FILE = str(tmp_path / f"{name}-private.pem")
        for count in range(4):
            act(4 * number + count)
        seal(60 + number)
        (tmp_path / f"{name}.pem").write_text(notes.public_key())
    (tmp_path / "older.txt").write_text(Checkpoint.objects.get(size=4).text, encoding="utf-8")
    lines = bundles.stretch(first=0, top=trail.checkpoint(), by="auditor", at=AT)
    (tmp_path / "bundle.jsonl").write_text("".join(lines), encoding="utf-8")
    served = Client().get(reverse("public-seal-key"))
    assert served.status_code == 200
    (tmp_path / "served.pem").write_bytes(served.content)
    return tmp_path


def told(folder: Path, key: str | None, *, older: bool = True) -> tuple[int, str]:
    notes_kept = [folder / "older.txt"] if older else []
    return verify.verify(folder / "bundle.jsonl", key and folder / key, notes_kept)


def test_the_file_of_keys_as_it_is_served_verifies_a_log_of_two_keys(rotated):
    served = (rotated / "served.pem").read_text()
    assert (served.count("BEGIN PUBLIC KEY"), served.startswith("# ")) == (2, True)
    for key in (None, "served.pem"):
        for older in (True, False):
            status, sentence = told(rotated, key, older=older)
            assert (status, "日志 8 条" in sentence) == (verify.OK, True), sentence


def test_a_key_that_is_not_brought_along_is_named(rotated):
    """The reader trusts the keys of his file alone: the second does not know the paper, the first not the log."""
    for key, size in (("second.pem", 4), ("first.pem", 8)):
        status, sentence = told(rotated, key)
        unknown = Checkpoint.objects.get(size=size).key_id
        assert (status, f"检查点 {size} 的公钥 {unknown} 未知" in sentence) == (verify.BROKEN, True)
    assert told(rotated, "second.pem", older=False)[0] == verify.OK


def test_a_file_without_a_key_is_not_replaced_by_the_keys_of_the_bundle(rotated):
    (rotated / "empty.pem").write_text("")
    assert told(rotated, "empty.pem")[0] == verify.BROKEN
