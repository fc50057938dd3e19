"""Reports that are kept: the file and its data proven, their digest in the trail, the checkpoint beside them."""

import datetime as dt
import hashlib
import json
import uuid
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.db import connection
from django.test import Client
from django.urls import reverse

from audit import reports, trail
from audit.models import Event, Report, ReportBody
from tests.audit.sealing import AT, NANTONG, act, seal

CONTENT = {"institution": "示例医院", "items": [{"no": 1, "condition": "资质"}], "demo": True}
FILE = b"%PDF-1.7 pages"


@pytest.fixture(autouse=True)
def own(settings, tmp_path, db):
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.MEDIA_ROOT = tmp_path / "uploads"
    settings.PORTAL_URL = "https://portal.example.cn"


def made(**more: object) -> Report:
    given = {"key": uuid.uuid4(), "kind": "notice", "title": "告知书", "template": "reports/book.html", "renderer": "WeasyPrint 0",
             "document": FILE, "content": CONTENT, "checkpoint": trail.checkpoint(),
             "parameters": {"month": "2021-11"}, "by": "auditor.one", "at": AT, **NANTONG}  # fmt: skip
    return reports.keep(**(given | more))


def test_a_report_is_kept_with_its_data_and_the_checkpoint_it_prints():
    act(1)
    seal()
    key, checkpoint = uuid.uuid4(), trail.checkpoint()
    act(2)
    seal(3)  # a newer checkpoint does not reach it
    report = Report.objects.get(pk=made(key=key, checkpoint=checkpoint).pk)
    assert (report.pk, report.checkpoint.size, report.size) == (key, 1, len(FILE))
    assert reports.read(report) == FILE
    assert hashlib.new("sm3", FILE).hexdigest() == report.sm3
    assert reports.content_of(report) == CONTENT
    assert reports.address_of(key) == f"https://portal.example.cn/check/{key}/"


def test_its_digest_is_an_event():
    report = made()
    event = Event.objects.get(action="report.make")
    detail = json.loads(bytes(event.body))["detail"]
    assert (event.subject, event.actor) == (f"report:{report.pk}", "auditor.one")
    assert (detail["sm3"], detail["content_sm3"], detail["parameters"]) == (
        report.sm3, report.content_sm3, {"month": "2021-11"})  # fmt: skip


def test_a_changed_file_or_content_is_told():
    report = made()
    path = Path(configured.MEDIA_ROOT, report.body.file)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(reports.ChangedFileError):
        reports.read(report)
    report.content_sm3 = "0" * 64
    with pytest.raises(reports.ChangedFileError):
        reports.content_of(report)


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
