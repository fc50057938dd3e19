"""Registry sheets in the browser: upload, dry run, confirmation, export as filtered."""

import csv
import io
import json

import pytest
import python_calamine
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.exchange import intake
from institutions.models import Import, User
from tests import factories
from tests.institutions.sheets import AT, NEW, check, sheet

pytestmark = pytest.mark.usefixtures("no_broker")


def test_the_way_of_a_file_in_the_browser(clerk: User, no_broker: list) -> None:
    client = factories.log_in(Client(), clerk)
    page = client.get(reverse("registry-imports"))
    assert "上传并校验" in page.content.decode()
    upload = io.BytesIO(sheet(NEW))
    upload.name = "机构.csv"
    answer = client.post(reverse("registry-imports"), {"kind": "institutions", "file": upload})
    found = Import.objects.get()
    assert answer["Location"] == reverse("registry-import", args=[found.pk])
    assert "确认写入 1 行" in client.get(answer["Location"]).content.decode()
    client.post(reverse("registry-import-confirm", args=[found.pk]))
    assert 'hx-trigger="every 2s"' in client.get(answer["Location"]).content.decode()
    intake.run(import_id=found.pk, at=AT)
    assert "已导入" in client.get(answer["Location"]).content.decode()
    back = client.get(reverse("registry-annotated", args=[found.pk]))
    rows = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(back.content))
    assert rows.get_sheet_by_index(0).to_python()[1][0] == "已导入"
    assert Event.objects.get(action="import.annotated").subject == f"import:{found.pk}"
    again = client.post(reverse("registry-import-confirm", args=[found.pk]), follow=True)
    assert "不能再次确认" in again.content.decode()


def test_a_file_that_is_none_keeps_the_form(clerk: User) -> None:
    client = factories.log_in(Client(), clerk)
    upload = io.BytesIO(b"\0\0")
    upload.name = "a.csv"
    answer = client.post(reverse("registry-imports"), {"kind": "facts", "file": upload})
    assert answer.status_code == 422
    assert "编码无法识别" in answer.content.decode()


def test_errors_are_listed_in_pages(clerk: User) -> None:
    found = check(
        clerk, "facts", sheet(*({"机构编码": f"X{n}", "生效日期": "x"} for n in range(60)))
    )
    client = factories.log_in(Client(), clerk)
    page = client.get(reverse("registry-import", args=[found.pk]), {"page": 2})
    assert page.context["errors"].pages.total == 120
    assert "登记簿没有任何改动" in page.content.decode()


def test_others_do_not_see_an_import_and_auditors_may_not_upload(clerk: User) -> None:
    found = check(clerk, "institutions", sheet(NEW))
    stranger = factories.log_in(Client(), factories.user("reviewer", factories.region("wenzhou")))
    for name in ("registry-import", "registry-annotated"):
        assert stranger.get(reverse(name, args=[found.pk])).status_code == 404
    assert stranger.post(reverse("registry-import-confirm", args=[found.pk])).status_code == 404
    auditor = factories.log_in(Client(), factories.user("auditor", factories.region("nantong")))
    page = auditor.get(reverse("registry-imports"))
    assert page.status_code == 200
    assert page.context["form"] is None
    confirmed = auditor.post(reverse("registry-import-confirm", args=[found.pk]), follow=True)
    assert "不能导入" in confirmed.content.decode()
    assert Import.objects.get().state == "checked"


def test_the_list_is_exported_as_it_is_filtered(clerk: User) -> None:
    factories.institution("nantong")
    second = factories.institution("nantong", price_class="2", agreements=False)
    client = factories.log_in(Client(), clerk)
    page = client.get(reverse("institutions"), {"price_class": "2"})
    links = [action.url for action in page.context["table"].toolbar]
    link = "/institutions/export/institutions.csv?price_class=2"
    assert link in links
    answer = client.get(link)
    (row,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert row["机构编码"] == second.code
    unsigned = client.get(reverse("institutions-export", args=["institutions", "json"]),
                          {"agreement": "none"})  # fmt: skip
    assert [r["code"] for r in json.loads(unsigned.content)["rows"]] == [second.code]
    assert client.get("/institutions/export/nothing.csv").status_code == 404
    assert client.get("/institutions/export/facts.exe").status_code == 404
