"""The page that checks a printed paper: the event that recorded it, proven; what was rewritten is told."""

import datetime as dt
import uuid

import pytest
from django.test import Client
from django.urls import reverse

from audit import archives, merkle, proven, reports, trail, verify
from audit.models import Event, Leaf, Report
from tests import factories
from tests.audit.sealing import AT, NANTONG, act, seal, superuser
from tests.audit.test_archives import emptied


@pytest.fixture(autouse=True)
def own(settings, tmp_path, committed_db):
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.MEDIA_ROOT = tmp_path / "uploads"


def kept() -> Report:
    return reports.keep(
        key=uuid.uuid4(), kind="register", title="名册", document=b"%PDF-1.7 pages", content={"rows": 2},
        parameters={}, by="auditor.one", at=AT + dt.timedelta(minutes=2), template="register",
        renderer="WeasyPrint 0",
        checkpoint=trail.checkpoint(), **NANTONG,
    )  # fmt: skip


def page_of(report: Report):
    return Client().get(reverse("report-check", args=[report.pk]))


def verdict(report: Report) -> tuple[str, str]:
    """(title, text) of what the page says."""
    found = page_of(report).context["verdict"]
    return found["title"], found["text"]


def test_a_paper_is_checked_by_the_proof_of_the_event_that_recorded_it(tmp_path):
    act(1)
    seal()
    report = kept()
    (tmp_path / "printed.txt").write_text(report.checkpoint.text, encoding="utf-8")
    assert verdict(report)[0] == "待封存"
    assert Client().get(reverse("report-proof", args=[report.pk])).status_code == 404
    act(3)
    newest = seal(5).checkpoint
    page = page_of(report)
    assert verdict(report)[0] == "核验通过"
    event = Event.objects.get(action="report.make")
    way = [bytes.fromhex(part) for part in page.context["way"]]
    seq = Leaf.objects.get(event=event.pk).seq
    assert merkle.included(bytes(event.leaf), seq, 3, way, bytes(newest.root))
    text = page.content.decode()
    for shown in (bytes(event.leaf).hex(), bytes(newest.root).hex(), newest.text.split("\n")[0],
                  reverse("report-proof", args=[report.pk])):  # fmt: skip
        assert shown in text
    assert event.actor not in text
    proof = Client().get(reverse("report-proof", args=[report.pk])).content
    (tmp_path / "proof.jsonl").write_bytes(proof)
    assert event.actor.encode() not in proof
    for older in ([], [tmp_path / "printed.txt"]):
        status, sentence = verify.verify(tmp_path / "proof.jsonl", None, older)
        assert (status, "1 条无正文" in sentence) == (verify.OK, True), sentence
    leaf = bytes(event.leaf).hex().encode()
    (tmp_path / "forged.jsonl").write_bytes(proof.replace(leaf, b"0" * 64))
    assert verify.verify(tmp_path / "forged.jsonl")[0] == verify.BROKEN


def test_a_second_event_of_the_making_is_not_believed():
    """The register is rewritten, and a back-dated event that says the same is sealed: the first counts."""
    act(1)
    report = kept()
    seal(5)
    forged = "0" * 64
    with superuser() as cursor:
        cursor.execute("UPDATE audit_report SET sm3 = %s", [forged])
    trail.record(by="x", at=AT - dt.timedelta(days=9), action="report.make", subject=f"report:{report.pk}",
                 detail={"sm3": forged, "content_sm3": report.content_sm3}, **NANTONG)  # fmt: skip
    seal(6)
    assert verdict(report) == (
        "核验不通过",
        "留痕中另有 1 条同类记录，以最先封存的一条为准；登记的摘要与制作时封存的不同",
    )


def test_a_paper_whose_event_is_archived_is_told_as_not_compared(settings, tmp_path):
    settings.TRAIL_ARCHIVE_DIR = str(tmp_path / "archives")
    act(1)
    report = kept()
    seal(5)
    later = AT + dt.timedelta(days=400)
    archive = archives.write(before=dt.date(2022, 1, 1), by="admin", at=later)
    seal(400 * 24 * 60)
    assert emptied(settings, archive) == 2
    with superuser() as cursor:
        cursor.execute("UPDATE audit_report SET sm3 = %s", ["0" * 64])
    title, text = verdict(report)
    assert title == "正文已归档，未比对"
    assert "登记的摘要未与之比对" in text
    with superuser() as cursor:
        cursor.execute("UPDATE audit_leaf SET hash = sha256('') WHERE seq = 1")
    assert verdict(report)[0] == "核验不通过"


def test_an_archive_that_no_event_records_hides_nothing():
    """A superuser empties the event of the making and inserts the row of an archive."""
    act(1)
    report = kept()
    seal(5)
    with superuser() as cursor:
        cursor.execute("UPDATE audit_event SET body = '' WHERE action = 'report.make'")
        cursor.execute(
            "INSERT INTO audit_archive (first, last, before, name, sm3, size, checkpoint_id, at, by)"
            " SELECT 0, size, '2022-01-01', 'old.jsonl', '', 0, id, now(), 'x' FROM audit_checkpoint"
        )
        cursor.execute("UPDATE audit_report SET sm3 = %s", ["0" * 64])
    title, text = verdict(report)
    assert (title, "正文与叶哈希不符" in text) == ("核验不通过", True)


def test_without_openssl_the_signature_is_told_as_unchecked(monkeypatch):
    act(1)
    report = kept()
    seal(5)
    monkeypatch.setenv("PATH", "")
    assert verdict(report)[0] == "未能校验签名"
    auditor = factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))
    event = Event.objects.get(action="report.make")
    page = auditor.get(reverse("trail-event", args=[event.pk]), {"check": "1"}).content.decode()
    assert ("未能校验签名" in page, "校验通过" in page) == (True, False)
    assert proven.walk().faults[0].endswith("的签名未能校验")


def test_a_paper_whose_register_or_log_was_rewritten_fails_the_check():
    act(1)
    report = kept()
    seal(5)
    assert verdict(report)[0] == "核验通过"
    with superuser() as cursor:
        cursor.execute("UPDATE audit_report SET sm3 = %s", ["0" * 64])
    assert verdict(report) == ("核验不通过", "登记的摘要与制作时封存的不同")
    with superuser() as cursor:
        cursor.execute("UPDATE audit_report SET sm3 = %s", [report.sm3])
        cursor.execute("UPDATE audit_event SET actor = 'x' WHERE action = 'report.make'")
    assert verdict(report)[1] == "字段与正文不符（操作人）"
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_leaf WHERE seq = 0")
    assert "日志缺少计算包含证明所需的哈希" in verdict(report)[1]
    assert Client().get(reverse("report-proof", args=[report.pk])).status_code == 404
    with superuser() as cursor:
        cursor.execute("DELETE FROM audit_event WHERE action = 'report.make'")
    assert verdict(report)[0] == "留痕中没有制作此报告的记录"
