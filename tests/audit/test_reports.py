"""Papers that are kept: the same bytes again, their digest in the trail, the checkpoint on them."""

import datetime as dt
import hashlib
import io
import json
import uuid
from pathlib import Path

import pypdfium2
import pytest
from django.conf import settings as configured
from django.db import connection
from django.test import Client
from django.urls import reverse

from audit import reports, trail
from audit.models import Event, Report, ReportBody
from tests.audit.sealing import AT, NANTONG, act, seal

CONTENT = {
    "issuer": "示例市医疗保险管理中心", "number": "示医保告〔2021〕3号", "institution": "示例医院",
    "subject": "补充协议", "stage": "材料审核", "basis": ["示例办法"], "issued_on": "2021年12月20日",
    "items": [{"no": 1, "condition": "资质", "clause": "六（二）", "finding": "缺少", "remedy": "补充"}],
    "follows": [], "demo": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own(settings, tmp_path, db):
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.MEDIA_ROOT = tmp_path / "uploads"
    settings.PORTAL_URL = "https://portal.example.cn"


def made(**more: object) -> Report:
    given = {"kind": "notice", "title": "告知书", "template": "reports/notice.html", "content": CONTENT,
             "parameters": {"month": "2021-11"}, "by": "auditor.one", "at": AT, **NANTONG}  # fmt: skip
    return reports.make(**(given | more))


def words(document: bytes) -> str:
    with pypdfium2.PdfDocument(io.BytesIO(document)) as opened:
        return "".join("".join(p.get_textpage().get_text_bounded().split()) for p in opened)


def test_a_stored_report_is_rendered_again_to_the_same_bytes():
    act(1)
    seal()
    first = made()
    act(2)
    seal(5)  # a newer checkpoint does not reach an old paper
    again = Report.objects.get(pk=first.pk)
    document = reports.render(again)
    assert hashlib.new("sm3", document).hexdigest() == again.sm3
    assert reports.read(again) == document
    assert (again.checkpoint.size, again.size) == (1, len(document))
    assert reports.content_of(again) == CONTENT


def test_the_paper_prints_its_checkpoint_and_where_it_is_checked():
    act(1)
    seal()
    report = made()
    printed = words(reports.read(report))
    assert f"https://portal.example.cn/check/{report.pk}/" in printed
    assert bytes(report.checkpoint.root).hex() in printed
    assert "1条" in printed


def test_before_the_first_checkpoint_a_paper_says_so():
    report = made()
    assert report.checkpoint is None
    assert "尚未签发" in words(reports.read(report))
    assert reports.render(report) == reports.read(report)


def test_its_digest_is_an_event():
    report = made()
    event = Event.objects.get(action="report.make")
    detail = json.loads(bytes(event.body))["detail"]
    assert (event.subject, event.actor) == (f"report:{report.pk}", "auditor.one")
    assert (detail["sm3"], detail["content_sm3"], detail["parameters"]) == (
        report.sm3, report.content_sm3, {"month": "2021-11"})  # fmt: skip
    reports.opened(report, by="auditor.two", at=AT)
    assert Event.objects.get(action="report.read").actor == "auditor.two"


def test_a_register_put_together_elsewhere_is_kept_with_the_checkpoint_it_prints():
    act(1)
    seal()
    key, checkpoint = uuid.uuid4(), trail.checkpoint()
    assert reports.stamp(key, checkpoint, at=AT)["size"] == 1
    act(2)
    seal(3)
    report = reports.keep(
        kind="register", title="名册", document=b"%PDF-1.7 pages", content={"rows": 2}, parameters={},
        by="auditor.one", at=AT, key=key, checkpoint=checkpoint,
    )  # fmt: skip
    assert (report.pk, report.checkpoint.size) == (key, 1)
    assert reports.read(report) == b"%PDF-1.7 pages"


def test_a_changed_file_or_content_is_told():
    report = made()
    path = Path(configured.MEDIA_ROOT, report.body.file)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(reports.ChangedFileError):
        reports.read(report)
    report.content_sm3 = "0" * 64
    with pytest.raises(reports.ChangedFileError):
        reports.render(report)


@pytest.mark.parametrize("value", [1.5, object()])
def test_content_without_one_spelling_is_refused(value: object):
    with pytest.raises(TypeError):
        made(content=CONTENT | {"more": value})


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="aware"):
        made(at=AT.replace(tzinfo=None))


def test_what_a_report_says_is_under_row_level_security():
    made()
    with connection.cursor() as cursor:
        for scope, seen in (("R:3206", 1), ("R:3303", 0), ("I:H32061300001", 1), ("", 0)):
            cursor.execute("SELECT set_config('app.scope', %s, true)", [scope])
            assert ReportBody.objects.count() == seen, scope


def test_everybody_may_check_a_paper_and_sees_nothing_of_its_content():
    act(1)
    seal()
    report = made()
    page = Client().get(reverse("report-check", args=[report.pk]))
    text = page.content.decode()
    assert (page.status_code, report.sm3 in text) == (200, True)
    assert report.checkpoint.text.split("\n")[2] in text
    assert "示例医院" not in text
    assert "auditor.one" not in text
    assert Client().get(reverse("report-check", args=[uuid.uuid4()])).status_code == 404


def test_a_number_is_given_once():
    made(number="1")
    made(number="", at=AT + dt.timedelta(hours=1))
    with pytest.raises(Exception, match="report_number_once"):
        made(number="1")
