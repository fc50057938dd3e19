"""Every known way to tamper with the trail, tried by a superuser, found offline by audit/verify.py."""

import ast
import datetime as dt
import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from audit import bundles, merkle, notes, proven, trail, verify
from audit.models import Checkpoint, Event, Leaf
from tests.audit.sealing import AT, act, seal, superuser

SIZES = (4, 8, 13)
LONGEST = 161  #: lines of code of the verifier
PROGRAM = Path(verify.__file__)


@pytest.fixture
def log(committed_db, settings, tmp_path) -> Path:
    """Thirteen entries sealed under three checkpoints; the folder holds a printed one of eight."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    count = 0
    for minutes, size in enumerate(SIZES):
        while count < size:
            act(count)
            count += 1
        seal(minutes + 60)
    (tmp_path / "older.txt").write_text(Checkpoint.objects.get(size=8).text, encoding="utf-8")
    (tmp_path / "key.pem").write_text(notes.public_key())
    return tmp_path


def whole(folder: Path, **more: object) -> Path:
    """The whole log as it stands now, exported."""
    lines = bundles.stretch(first=0, top=trail.checkpoint(), by="auditor", at=AT, **more)
    (folder / "bundle.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "bundle.jsonl"


def chosen(folder: Path, *seqs: int, **more: object) -> Path:
    lines = bundles.selection(seqs=seqs, top=trail.checkpoint(), by="auditor", at=AT, **more)
    (folder / "chosen.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "chosen.jsonl"


def body_at(seq: int) -> tuple[str, bytes]:
    event = Event.objects.get(pk=Leaf.objects.get(seq=seq).event)
    return str(event.pk), bytes(event.body)


def told(folder: Path, *, older: bool = False, make: Callable = whole) -> tuple[int, str]:
    return verify.verify(make(folder), folder / "key.pem", [folder / "older.txt"] if older else ())


def rebuilt(cursor, leaves: list[bytes]) -> merkle.Frontier:
    """What a superuser makes of the log: all leaves and nodes hashed anew."""
    edge = merkle.Frontier()
    cursor.execute("DELETE FROM audit_node")
    for seq, leaf in enumerate(leaves):
        cursor.execute("UPDATE audit_leaf SET hash = %s WHERE seq = %s", [leaf, seq])
        for place, made in edge.append(leaf):
            cursor.execute("INSERT INTO audit_node VALUES (%s, %s, %s)", [*place, made])
    return edge


def signed_anew(cursor, sizes: tuple[int, ...], leaves: list[bytes]) -> None:
    """The superuser has the key, too: every checkpoint is signed anew over the new hashes."""
    for size in sizes:
        edge = merkle.Frontier()
        for leaf in leaves[:size]:
            edge.append(leaf)
        row = Checkpoint.objects.get(size=size)
        text = notes.sign(
            notes.text_of(origin=row.origin, size=size, root=edge.root(), alg="sm3", at=row.at),
            name=row.origin,
        )
        cursor.execute(
            "UPDATE audit_checkpoint SET root = %s, text = %s WHERE size = %s",
            [edge.root(), text, size],
        )


def leaves() -> list[bytes]:
    return [bytes(leaf.hash) for leaf in Leaf.objects.order_by("seq")]


# --- what is right ---


def test_an_untouched_log_verifies_with_and_without_an_older_checkpoint(log):
    for older in (False, True):
        status, sentence = told(log, older=older)
        assert (status, "13 条" in sentence) == (verify.OK, True), sentence


def test_the_program_alone_verifies_without_the_portal(log):
    """Python without site packages, in an empty folder, with nothing of ours but this one file."""
    alone = log / "elsewhere"
    alone.mkdir()
    shutil.copy(PROGRAM, alone / "verify.py")
    words = [sys.executable, "-I", "-S", "verify.py", str(whole(log)), "--older", "../older.txt"]
    done = subprocess.run(
        words,
        cwd=alone,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "一致" in done.stdout


def test_a_selection_carries_its_proofs(log):
    assert told(log, make=lambda folder: chosen(folder, 2, 11, 12))[0] == verify.OK
    status, _ = told(log, older=True, make=lambda folder: chosen(folder, 2, 11, older=[8]))
    assert status == verify.OK


@pytest.mark.parametrize(("size", "seq", "told_as"), [(4, 1, 5), (13, 12, 28), (13, 2, -14)])
def test_an_entry_does_not_pass_for_one_beyond_the_log(log, size: int, seq: int, told_as: int):
    """The way of a proof is that of its number only inside the log."""
    top = Checkpoint.objects.get(size=size)
    lines = "".join(bundles.selection(seqs=[seq], top=top, by="auditor", at=AT))
    assert lines.count(f'"seq":{seq},') == 1
    forged = log / "forged.jsonl"
    forged.write_text(lines.replace(f'"seq":{seq},', f'"seq":{told_as},'), encoding="utf-8")
    status, sentence = verify.verify(forged, log / "key.pem")
    assert (status, "包含证明不成立" in sentence) == (verify.BROKEN, True), sentence


def test_an_act_is_shown_once(log):
    """The head is not signed: whoever repeats a line can count it there as well."""
    top = Checkpoint.objects.get(size=13)
    head, *lines = bundles.selection(seqs=[2, 11], top=top, by="auditor", at=AT)
    entry = next(line for line in lines if line.startswith('{"seq":2,'))
    forged = log / "forged.jsonl"
    forged.write_text(
        "".join([head.replace('"entries":2', '"entries":3'), *lines, entry]), encoding="utf-8"
    )
    status, sentence = verify.verify(forged, log / "key.pem")
    assert (status, "重复或次序颠倒" in sentence) == (verify.BROKEN, True), sentence


def test_the_program_is_read_before_it_is_trusted():
    """Lines of code, without blank ones, comments and docstrings."""
    source = PROGRAM.read_text(encoding="utf-8")
    told: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
             tokenize.ENDMARKER}  # fmt: skip
    code = {
        line for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in blank for line in range(token.start[0], token.end[0] + 1)
    }  # fmt: skip
    assert len(code - told) <= LONGEST


def test_without_a_proof_of_growth_a_selection_is_not_comparable(log):
    assert told(log, older=True, make=lambda f: chosen(f, 2))[0] == verify.NOT_COMPARABLE


def test_a_bundle_that_ended_earlier_is_no_continuation_of_a_later_checkpoint(log):
    """It may be an honest early one or a log cut off: its dates are the forger's, so they tell nothing.

    Its own checkpoint against the log of today tells: the early log is its beginning, or is not.
    """

    def early(folder: Path) -> Path:
        lines = bundles.stretch(first=0, top=Checkpoint.objects.get(size=4), by="a", at=AT)
        (folder / "early.jsonl").write_text("".join(lines), encoding="utf-8")
        return folder / "early.jsonl"

    assert told(log, make=early)[0] == verify.OK
    assert told(log, older=True, make=early)[0] == verify.BROKEN
    (log / "older.txt").write_text(Checkpoint.objects.get(size=4).text, encoding="utf-8")
    assert told(log, older=True)[0] == verify.OK


def test_the_tail_alone_is_replayed_from_its_edge(log):
    lines = bundles.stretch(first=8, top=trail.checkpoint(), by="auditor", at=AT, older=[4])
    (log / "tail.jsonl").write_text("".join(lines), encoding="utf-8")
    assert verify.verify(log / "tail.jsonl", log / "key.pem")[0] == verify.OK
    assert verify.verify(log / "tail.jsonl", None, [log / "older.txt"])[0] == verify.NOT_COMPARABLE


# --- what a superuser does ---


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET body = %(body)s WHERE id = %(id)s",
        "UPDATE audit_event SET body = %(body)s, leaf = %(leaf)s WHERE id = %(id)s",
        "UPDATE audit_event SET leaf = %(leaf)s WHERE id = %(id)s",
        "UPDATE audit_leaf SET hash = %(leaf)s WHERE event = %(id)s",
        "DELETE FROM audit_event WHERE id = %(id)s",
        "UPDATE audit_event SET body = '' WHERE id = %(id)s",
    ],
    ids=["body", "body and leaf", "leaf", "sealed leaf", "deleted", "emptied"],
)
@pytest.mark.parametrize(
    "make", [whole, lambda folder: chosen(folder, 1, 5, 9)], ids=["all", "some"]
)
def test_an_entry_that_was_changed_is_named(log, statement: str, make: Callable):
    key, body = body_at(5)
    other = body.replace(b"clerk.one", b"clerk.two")
    with superuser() as cursor:
        cursor.execute(statement, {"id": key, "body": other, "leaf": merkle.leaf_hash(other)})
    status, sentence = told(log, make=make)
    assert (status, "broken at entry 5)" in sentence) == (verify.BROKEN, True), sentence


def test_an_entry_taken_out_leaves_its_place_empty(log):
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_leaf WHERE seq = 5")
    status, sentence = told(log)
    assert (status, "broken at entry 5)" in sentence) == (verify.BROKEN, True), sentence


def test_an_entry_taken_out_with_the_rest_moved_up(log):
    """Numbers have no gap then; the next checkpoint tells in which stretch."""
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_leaf WHERE seq = 5")
        for seq in range(6, 13):
            cursor.execute("UPDATE audit_leaf SET seq = %s WHERE seq = %s", [seq - 1, seq])
    status, sentence = told(log)
    assert (status, "broken at entry 4)" in sentence) == (verify.BROKEN, True), sentence


def test_an_entry_put_in_between(log):
    event = trail.event_row(by="forger", at=AT, action="claim.receive", subject="claim:0")
    with superuser() as cursor:
        for seq in range(12, 8, -1):
            cursor.execute("UPDATE audit_leaf SET seq = %s WHERE seq = %s", [seq + 1, seq])
        cursor.execute("INSERT INTO audit_leaf VALUES (9, %s, %s)", [str(event.pk), event.leaf])
        event.save(force_insert=True)
    status, sentence = told(log)
    assert (status, "broken at entry 8)" in sentence) == (verify.BROKEN, True), sentence


def test_entries_in_another_order(log):
    with superuser() as cursor:
        for old, new in ((1, 99), (2, 1), (99, 2)):
            cursor.execute("UPDATE audit_leaf SET seq = %s WHERE seq = %s", [new, old])
    status, sentence = told(log)
    assert (status, "broken at entry 0)" in sentence) == (verify.BROKEN, True), sentence


@pytest.mark.parametrize("days", [1, 0, -1])
def test_a_tail_cut_off_and_signed_anew(log, days: int):
    """Ten entries under a fresh signature, whatever its date: the log had thirteen, says the paper."""
    (log / "older.txt").write_text(Checkpoint.objects.get(size=13).text, encoding="utf-8")
    kept = leaves()[:10]
    with superuser() as cursor:
        cursor.execute(
            "DELETE FROM audit_event WHERE id IN (SELECT event FROM audit_leaf WHERE seq > 9)"
        )
        cursor.execute("DELETE FROM audit_leaf WHERE seq > 9")
        edge = rebuilt(cursor, kept)
        at = AT + dt.timedelta(days=days)
        origin = Checkpoint.objects.get(size=13).origin
        text = notes.sign(
            notes.text_of(origin=origin, size=10, root=edge.root(), alg="sm3", at=at), name=origin
        )
        cursor.execute(
            "UPDATE audit_checkpoint SET size = 10, root = %s, text = %s, at = %s WHERE size = 13",
            [edge.root(), text, at],
        )
    assert told(log)[0] == verify.OK  # inside the database nothing is left to see
    status, sentence = told(log, older=True)
    assert (status, "broken at entry 10)" in sentence) == (verify.BROKEN, True), sentence


def test_a_file_cut_off(log):
    lines = whole(log).read_text(encoding="utf-8").splitlines(keepends=True)
    (log / "cut.jsonl").write_text("".join(lines[:-2]), encoding="utf-8")
    status, sentence = verify.verify(log / "cut.jsonl")
    assert (status, "broken at entry 11)" in sentence) == (verify.BROKEN, True), sentence
    (log / "torn.jsonl").write_text("".join(lines)[:-40], encoding="utf-8")
    status, sentence = verify.verify(log / "torn.jsonl")
    assert (status, "broken after entry 11)" in sentence) == (verify.BROKEN, True), sentence


def test_a_superuser_with_the_key_who_rewrites_and_hashes_everything_anew(log):
    """Whoever owns the database and the key leaves no trace in either: the printed checkpoint tells."""
    key, body = body_at(5)
    other = body.replace(b"clerk.one", b"clerk.two")
    changed = leaves()
    changed[5] = merkle.leaf_hash(other)
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_event SET body = %s, leaf = %s WHERE id = %s", [other, changed[5], key]
        )
        rebuilt(cursor, changed)
        signed_anew(cursor, SIZES, changed)
    assert told(log)[0] == verify.OK
    status, sentence = told(log, older=True)
    assert (status, "broken at entry 4)" in sentence) == (verify.BROKEN, True), sentence
    status, _ = told(log, older=True, make=lambda folder: chosen(folder, 5, older=[8]))
    assert status == verify.BROKEN


def test_the_right_root_under_a_wrong_size(log):
    """The size stands inside the signed text: with it changed the signature or the root is wrong."""
    top = trail.checkpoint()
    lines = whole(log).read_text(encoding="utf-8").splitlines()
    for size in (12, 14):
        text = notes.text_of(
            origin=top.origin, size=size, root=bytes(top.root), alg="sm3", at=top.at
        )
        forged = [top.text.replace("\n13\n", f"\n{size}\n"), notes.sign(text, name=top.origin)]
        for note in forged:
            other = [json.dumps(json.loads(lines[0]) | {"last": size})] + [
                json.dumps({"checkpoint": note}) if json.loads(line).get("checkpoint") == top.text
                else line for line in lines[1:]
            ]  # fmt: skip
            (log / "forged.jsonl").write_text("\n".join(other) + "\n", encoding="utf-8")
            assert verify.verify(log / "forged.jsonl", log / "key.pem")[0] == verify.BROKEN


@pytest.mark.parametrize("place", ["bundle", "older"])
def test_a_forged_signature(log, place: str):
    path = whole(log)
    target = path if place == "bundle" else log / "older.txt"
    text = target.read_text(encoding="utf-8")
    note = trail.checkpoint().text if place == "bundle" else text
    raw = note.strip().rpartition(" ")[2]
    wrong = raw[:20] + ("A" if raw[20] != "A" else "B") + raw[21:]
    target.write_text(text.replace(raw, wrong), encoding="utf-8")
    assert verify.verify(path, None, [log / "older.txt"])[0] == verify.BROKEN


def test_a_swapped_key(log, settings):
    """The whole log signed by another key: not the one that was published, nor that of the paper."""
    settings.SEAL_KEY_FILE = str(log / "other.pem")
    pem = notes.public_key()
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_sealkey")
        origin = trail.Checkpoint.objects.first().origin
        key = notes.key_id(origin, pem)
        cursor.execute(
            "INSERT INTO audit_sealkey VALUES (%s, %s, 'sm2-sm3', %s, now())", [key, origin, pem]
        )
        cursor.execute("UPDATE audit_checkpoint SET key_id = %s", [key])
        signed_anew(cursor, SIZES, leaves())
    path = whole(log)
    assert verify.verify(path)[0] == verify.OK
    assert verify.verify(path, log / "key.pem")[0] == verify.BROKEN
    assert verify.verify(path, None, [log / "older.txt"])[0] == verify.BROKEN


def test_a_back_dated_entry_is_told(log):
    """It is sealed where it was written, behind a checkpoint of a later day."""
    act(1, at=AT - dt.timedelta(days=40), subject="claim:late")
    seal(99)
    status, sentence = told(log)
    assert (status, "entry 13 is back-dated" in sentence) == (verify.OK, True), sentence


def test_two_histories_are_told_apart_by_two_checkpoints(log):
    """The same log shown to two readers with different ends: each checkpoint is signed, both cannot be."""
    mine = Checkpoint.objects.get(size=13)
    changed = [*leaves()[:12], bytes(32)]
    with superuser() as cursor:
        signed_anew(cursor, (13,), changed)
    (log / "theirs.txt").write_text(Checkpoint.objects.get(size=13).text, encoding="utf-8")
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_checkpoint SET root = %s, text = %s WHERE size = 13",
            [bytes(mine.root), mine.text],
        )
    for make in (whole, lambda folder: chosen(folder, 3)):
        status, sentence = verify.verify(make(log), log / "key.pem", [log / "theirs.txt"])
        assert status == verify.BROKEN, sentence


@pytest.mark.parametrize("other", [b"one\ntwo", b"\xff"], ids=repr)
def test_a_body_that_the_portal_cannot_have_written_stays_on_its_line(log, other: bytes):
    """Even under its own leaf, sealed anew: the entry is named, the lines after it can be read."""
    key, _ = body_at(5)
    with superuser() as cursor:
        cursor.execute(
            "UPDATE audit_event SET body = %s, leaf = %s WHERE id = %s",
            [other, merkle.leaf_hash(other), key],
        )
        cursor.execute("UPDATE audit_leaf SET hash = %s WHERE seq = 5", [merkle.leaf_hash(other)])
    lines = whole(log).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["seq"] for line in lines[4:]] == list(range(13))
    status, sentence = told(log)
    assert (status, "broken at entry 5)" in sentence) == (verify.BROKEN, True), sentence


def test_bodies_that_are_withheld_must_be_archived(log):
    """The head may say that entries are archived: the log itself must record it."""
    head, *lines = whole(log).read_text(encoding="utf-8").splitlines()
    shown = [
        line.partition(',"body":')[0] + ',"body":null}' if '"seq":5' in line else line
        for line in lines
    ]
    for archived, where in ((0, "entry 5"), (9, "entry 0")):
        text = "\n".join([json.dumps(json.loads(head) | {"archived": archived}), *shown, ""])
        (log / "bare.jsonl").write_text(text, encoding="utf-8")
        found, sentence = verify.verify(log / "bare.jsonl", log / "key.pem", [log / "older.txt"])
        assert (found, where in sentence) == (verify.BROKEN, True), sentence
    assert "without body" not in told(log)[1]


def test_bodies_are_exported_as_they_were_stored_and_read_as_json(log):
    act(20, subject='claim:\u2028“引号"”\\')
    seal(70)
    *_, last = whole(log).read_bytes().split(b"\n")[:-1]
    _, body = body_at(13)
    assert last.endswith(b',"body":' + body + b"}")
    assert json.loads(last)["body"]["subject"] == 'claim:\u2028“引号"”\\'
    assert told(log)[0] == verify.OK


@pytest.mark.parametrize(
    "text", ["", "{}\n", "[1]\n", "no json\n", '{"keys": 1}\n', '{"bundle": "trail-bundle/1"}\n']
)
def test_what_is_no_bundle_is_not_comparable(tmp_path, text: str):
    (tmp_path / "b").write_text(text, encoding="utf-8")
    assert verify.verify(tmp_path / "b")[0] == verify.NOT_COMPARABLE
    assert verify.verify(tmp_path / "missing")[0] == verify.NOT_COMPARABLE


def test_without_openssl_nothing_is_claimed(log, monkeypatch):
    path = whole(log)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert verify.verify(path)[0] == verify.NOT_COMPARABLE


# --- what searches are made by ---


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("person_hash = NULL", "参保人哈希"), ("person_hash = '\\x07'", "参保人哈希"),
        ("at = at + interval '1 year'", "时间"), ("actor = 'nobody'", "操作人"),
        ("institution_code = 'H1'", "机构"),
    ],
)  # fmt: skip
def test_a_look_hidden_from_the_search_is_found_and_named(log, change: str, why: str):
    """No hash changes: only the columns that the search asks no longer say what the body says."""
    event = act(13, action="claim.read", person_hash=b"\x05" * 32)
    seal(90)
    call_command("check_trail")
    with superuser() as cursor:
        cursor.execute(f"UPDATE audit_event SET {change} WHERE id = %s", [str(event.pk)])
    assert told(log)[0] == verify.OK  # the log itself is as it was
    with pytest.raises(CommandError, match=f"不一致 1 处，第一处：第 13 条（{event.pk}）.*{why}"):
        call_command("check_trail")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE audit_event SET body = '{}' WHERE id = %(id)s", "第 5 条.*正文与叶哈希不符"),
        ("DELETE FROM audit_event WHERE id = %(id)s", "第 5 条.*记录已不存在"),
        (
            "UPDATE audit_leaf SET hash = sha256('') WHERE seq = 5",
            "第 5 条.*叶哈希与日志所封存的不符",
        ),
        ("DELETE FROM audit_leaf WHERE seq = 5", "第 6 条.*位置应为 5"),
        ("DELETE FROM audit_leaf WHERE seq = 12", "检查点 13 所称的条数多于日志"),
        (
            "UPDATE audit_checkpoint SET root = sha256('') WHERE size = 8",
            "前 8 条的树根与检查点 8 不符",
        ),
    ],
)
def test_a_walk_names_the_first_entry_that_differs(log, statement: str, why: str):
    with superuser() as cursor:
        cursor.execute(statement, {"id": body_at(5)[0]})
    with pytest.raises(CommandError, match=f"第一处：{why}"):
        call_command("check_trail")


def test_an_event_whose_place_was_taken_away_is_not_shown_as_waiting(log):
    """Nobody can make a sealed event one that only waits for the sealer."""
    event = Event.objects.get(pk=body_at(12)[0])
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_leaf WHERE seq = 12")
    assert proven.proof_of(event).faults == ("应已封存，但日志中没有它的位置",)
    assert proven.proof_of(act(20)).faults == ()


def test_a_proof_without_its_nodes_is_broken_and_does_not_raise(log):
    events = [Event.objects.get(pk=body_at(seq)[0]) for seq in (1, 12)]
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_node WHERE level = 1 AND idx = 1")
    found = proven.proofs_of(events)
    assert found[events[0].pk].faults == ("日志缺少计算包含证明所需的哈希",)
    assert found[events[1].pk].holds
