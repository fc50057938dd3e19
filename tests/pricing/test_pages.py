"""The price pages: what a document says is what is shown; gaps stay gaps; files are official."""

import csv
import datetime as dt
import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from audit.models import Event
from pricing import documents
from pricing.models import DocumentFile, Release
from tests import factories

AT = dt.datetime(2021, 12, 1, 9, tzinfo=dt.UTC)
PDF = b"%PDF-1.7 official text"
DAY = "2021-12-20"


@pytest.fixture
def law(db) -> None:
    factories.policies()


@pytest.fixture
def staff(law) -> Client:
    return factories.log_in(Client(), factories.user("policy_staff", factories.region("nantong")))


def shown(region: str, **query: str) -> dict:
    reply = Client().get(reverse("prices-json"), {"region": region, "on": DAY, **query})
    return json.loads(reply.content)


def entry(body: dict, code: str) -> dict:
    return next(item for item in body["items"] if item["code"] == code)


def test_an_expert_visit_in_nantong(law):
    item = entry(shown("nantong", price_class="3"), "111102004")
    (row,) = item["classes"]
    assert (item["aliases"], item["unit"]) == (["111020004"], "次")
    assert item["physician_titles"] == ["享受政府特殊津贴专家"]
    assert [(row["price"]["amount"], "价格")] + [
        (payment["amount"] or payment["text"], payment["name"]) for payment in row["payments"]
    ] == [
        ("50.00", "价格"), ("22.00", "公立最高支付标准"), ("6.00", "居民医保基金支付"),
        ("65%", "职工医保基金支付"), ("100%", "离休统筹基金支付"),
    ]  # fmt: skip
    assert [payment["example"] for payment in row["payments"]] == [False, False, True, True]


def test_a_class_without_price_is_said_to_have_none(law):
    (row,) = entry(shown("nantong", price_class="1"), "111102001")["classes"]
    values = [row["price"], *row["payments"]]
    assert {value["amount"] for value in values} == {None}
    assert {value["gap"] for value in values} == {"该类别没有此项目的价格"}


def test_what_jilin_refers_to_is_an_example_and_its_gap_is_named(law):
    body = shown("jilin")
    (item,) = body["items"]
    assert item["classes"][0]["price"] == {
        "amount": "400.00", "text": "400.00", "note": "", "example": True, "gap": ""}  # fmt: skip
    assert "多学科会诊价格在吉医保联〔2019〕28号，未印在本文件" in [
        gap["text"] for gap in body["gaps"]
    ]
    assert all(row["example"] for row in body["parameters"])


def test_ningxia_prints_no_price_and_none_is_invented(law):
    body = shown("ningxia")
    assert body["items"] == []
    planned, *others = body["parameters"]  # working days of the plan, numbers of watching: no price
    assert all(row["example"] for row in (planned, *others))
    assert not [row["key"] for row in others if row["key"].endswith(("price", "ratio", "limit"))]
    assert planned["value"].startswith("取得资质并接入监管平台：5 个工作日；")
    page = Client().get(reverse("prices"), {"region": "ningxia", "on": DAY}).content.decode()
    assert "项目、价格和支付比例均未印在本文件" in page


def test_conditions_carry_clause_and_numbers(law):
    body = shown("wenzhou")
    window = next(c for c in body["requirements"] if c["clause"] == "二十三（三）" and c["numbers"])
    assert window["numbers"] == ["3 个月"]
    listed = next(c for c in body["exclusions"] if c["names"])
    assert (listed["clause"], listed["decision"], len(listed["names"])) == (
        "十第2款",
        "不予支付",
        10,
    )


def test_the_day_before_the_document_is_said_not_to_be_covered(law):
    page = Client().get(reverse("prices"), {"region": "nantong", "on": "2020-02-24"})
    assert "所选日期没有有效文件" in page.content.decode()
    assert shown("nantong", on="2020-02-24")["in_force"] is False


def test_a_later_release_changes_the_price_from_its_day(law):
    old = Release.objects.get(slug="nantong-2020-25")
    old.valid_until = dt.date(2021, 6, 30)
    old.save(update_fields=["valid_until"])
    text = old.text.replace('{"3": 5000', '{"3": 6100').replace(
        "from: 2020-02-25", "from: 2021-07-01"
    )
    Release.objects.create(
        slug=old.slug, kind="policy", region="nantong", document=old.document, title=old.title,
        text=text, sm3="0" * 64, valid_from=dt.date(2021, 7, 1), state="published",
        drafted_by="a", drafted_at=AT, published_by="b", published_at=AT,
    )  # fmt: skip
    prices = [
        entry(shown("nantong", price_class="3", on=day), "111102004")["classes"][0]["price"][
            "amount"
        ]
        for day in ("2021-06-30", "2021-07-01")
    ]
    assert prices == ["50.00", "61.00"]


def test_csv_opens_in_a_spreadsheet(law):
    reply = Client().get(reverse("prices-csv"), {"region": "nantong", "on": DAY})
    text = reply.content.decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert text.startswith("\ufeff")
    assert len(rows) == 12  # four items at three classes
    assert {rows[0][key] for key in ("项目名称", "计价单位", "价格（元）", "示例参数")} == {
        "互联网医院普通门诊诊察费", "次", "12.00", "示例"}  # fmt: skip
    assert rows[0]["项目内涵"].startswith("具有3年以上独立临床工作经验")


@pytest.mark.parametrize("query", [{"region": "nowhere"}, {"on": "soon"}, {"price_class": "9"}])
def test_a_wrong_query_is_told_and_has_no_file(law, query: dict):
    assert "查询条件有误" in Client().get(reverse("prices"), query).content.decode()
    assert Client().get(reverse("prices-csv"), query).status_code == 404


@pytest.mark.django_db
def test_without_releases_the_page_says_so():
    page = Client().get(reverse("prices"))
    assert page.status_code == 200
    assert "还没有发布的政策文件" in page.content.decode()
    assert Client().get(reverse("prices-json")).status_code == 404


def test_an_official_file_is_attached_shown_and_served_as_a_download(staff: Client):
    address = reverse("attach-file", args=["nantong-2020-25"])
    reply = staff.post(address, {"file": SimpleUploadedFile("通知.pdf", PDF)})
    file = DocumentFile.objects.get()
    assert reply.url == reverse("prices") + "?region=nantong"
    link = reverse("document-file", args=[file.pk])
    assert link in Client().get(reverse("prices"), {"region": "nantong"}).content.decode()
    download = Client().get(link)
    assert b"".join(download.streaming_content) == PDF
    assert download["Content-Disposition"].startswith("attachment")
    assert download["X-Content-Type-Options"] == "nosniff"
    event = Event.objects.get(action="document.attach")
    assert (event.subject, event.actor) == ("document:nantong-2020-25", file.attached_by)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.exe", b"MZ", "只接受"),
        ("a.pdf", b"<html>", "不符"),
        ("a.pdf", PDF + b"x" * documents.MAX_BYTES, "不得超过"),
    ],
)
def test_what_is_no_document_is_refused(db, name: str, content: bytes, why: str):
    with pytest.raises(documents.DocumentError, match=why):
        documents.attach(slug="s", name=name, content=content, by="a", at=AT)
    assert not DocumentFile.objects.exists()


def test_the_same_file_is_kept_once(db):
    documents.attach(slug="s", name="a.pdf", content=PDF, by="a", at=AT)
    with pytest.raises(documents.DocumentError, match="已经附过"):
        documents.attach(slug="s", name="b.pdf", content=PDF, by="a", at=AT)


def test_only_who_drafts_may_attach(law):
    client = factories.log_in(Client(), factories.user("reviewer", factories.region("nantong")))
    address = reverse("attach-file", args=["nantong-2020-25"])
    assert client.post(address, {"file": SimpleUploadedFile("a.pdf", PDF)}).status_code == 403
    assert address not in client.get(reverse("prices"), {"region": "nantong"}).content.decode()


def test_a_release_shows_its_text_line_by_line(staff: Client):
    release = Release.objects.get(slug="nantong-2020-25")
    page = staff.get(reverse("release", args=[release.pk]))
    assert page.context["lines"] == release.text.splitlines()
    assert release.sm3 in page.content.decode()


@pytest.mark.parametrize(
    ("query", "documents"),
    [({"q": "温医保"}, {"温医保办〔2021〕6号"}), ({"kind": "parameters"}, {"示例参数（非官方）"}),
     ({"state": "draft"}, set())],
)  # fmt: skip
def test_releases_are_found(staff: Client, query: dict, documents: set):
    table = staff.get(reverse("releases"), query).context["table"]
    assert {row.cells[0].sub for row in table.rows} == documents


def test_the_number_of_queries_is_fixed(law, django_assert_num_queries):
    Client().get(reverse("prices"), {"region": "nantong"})  # compiles the catalogue
    with django_assert_num_queries(2):  # version of the catalogue, official files
        Client().get(reverse("prices"), {"region": "nantong"})


def test_parameters_are_shown_by_their_label_not_by_their_key(staff: Client):
    html = staff.get(reverse("prices"), {"region": "wenzhou", "on": DAY}).content.decode()
    assert "职工医保基金支付比例" in html
    assert "employee_fund_ratio" not in html
    assert "chronic_disease_list" not in html
