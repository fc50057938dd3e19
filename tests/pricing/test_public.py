"""Prices for everybody: what the release says is what is shown, on the same day always the same."""

import csv
import datetime as dt
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
import segno
from django.conf import settings
from django.test import Client
from django.urls import reverse

from pricing import public
from pricing.commands import draft, publish
from pricing.document import parse
from pricing.models import DocumentFile, Release
from pricing.sheets import HEADS
from tests import factories

AT = dt.datetime(2021, 12, 1, 9, tzinfo=dt.UTC)
DAY = dt.date(2021, 12, 20)
INVENTED = Path(__file__).parents[1] / "policies" / "invented-city.yaml"
SEARCH = "/public/prices/"


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEMO_TODAY", DAY)


@pytest.fixture
def law(db) -> None:
    factories.policies()


def document(slug: str) -> dict:
    """The text of a published release: tests read numbers there and do not type them again."""
    return parse(Release.objects.get(slug=slug, state="published").text).data


def address(place: str, day: dt.date | str = DAY) -> str:
    return f"{SEARCH}{place}/{day}/"


def page(url: str, query: dict | None = None, status: int = 200) -> str:
    reply = Client().get(url, query or {})
    assert reply.status_code == status, url
    return reply.content.decode()


def data(place: str, day: dt.date | str = DAY) -> dict:
    return json.loads(Client().get(f"{address(place, day)}prices.json").content)


def table(place: str, day: dt.date | str = DAY) -> list[dict]:
    content = Client().get(f"{address(place, day)}prices.csv").content
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def publish_text(text: str) -> Release:
    release = draft(text=text, by="起草人", at=AT)
    evidence = {"sm3": release.sm3, "cases": {"passed": 1, "failed": 0}}
    return publish(release=release, evidence=evidence, by="发布人", at=AT)


# --- what is shown ---


def test_every_price_and_cap_of_nantong_is_shown_as_the_release_prints_it(law):
    printed = document("nantong-2020-25")
    caps = {code: cap["by_class"] for cap in printed["caps"] for code in cap["items"]}
    expected = {
        (item["code"], name): (amount, caps[item["code"]].get(name))
        for item in printed["items"]
        for name, amount in item.get("price_by_class", {}).items()
    }
    shown = {
        (item["code"], row["price_class"]): (row["price"]["amount"], row["payments"][0]["amount"])
        for item in data("nantong")["content"]["items"]
        for row in item["classes"]
    }
    assert len(expected) > 10
    assert shown == {
        key: tuple(None if amount is None else yuan(amount) for amount in amounts)
        for key, amounts in expected.items()
    }


def test_name_content_unit_price_and_notes_are_columns_as_jilin_demands(law):
    fields = document("jilin-2021-3")["disclosure"]["fields"]
    for place in ("jilin", "nantong"):
        html = page(address(place))
        assert [field for field in fields if not re.search(rf'scope="col">{field}', html)] == []
    assert [field for field in fields if not any(head.startswith(field) for head in HEADS)] == []


def test_the_page_names_document_clauses_release_and_parameters(law):
    html = page(address("nantong"))
    release = Release.objects.get(slug="nantong-2020-25")
    examples = Release.objects.get(slug="parameters-nantong")
    wanted = [release.document, release.title, release.sm3, examples.sm3, "价格：附件", "2021-12-20",
              data("nantong")["content_sm3"], f"http://testserver{address('nantong')}"]  # fmt: skip
    assert [words for words in wanted if words not in html] == []
    heading = document("nantong-2020-25")["items"][0]
    assert heading["note"] in html


def test_example_figures_are_marked_everywhere(law):
    ratio = next(
        row["value"] for row in document("parameters-nantong")["rows"]
        if row["key"] == "employee_fund_ratio"
    )  # fmt: skip
    html = page(address("nantong"))
    shown = rf"{ratio // 100}%</span>\s*<span class=\"public-example\">示例</span>"
    assert len(re.findall(shown, html)) == 8  # four items, two classes
    assert "含示例数值" in html
    rows = table("nantong")
    assert f"{ratio // 100}%" in rows[0]["医保基金支付"]
    assert {row["示例"] for row in rows if row["最高支付标准（元）"]} == {"示例"}
    payments = data("nantong")["content"]["items"][0]["classes"][0]["payments"]
    assert {p["name"]: p["example"] for p in payments}["职工医保基金支付"] is True


def test_ningxia_prints_no_price_and_the_page_says_so(law):
    assert document("ningxia-2021-152")["payment_rules"]["gap"] in page(address("ningxia"))
    assert data("ningxia")["content"]["items"] == []


def test_every_parameter_is_shown_in_words_of_its_own_kind(law):
    wanted = {
        "employee_fund_ratio": "65%", "employee_deductible": "5.00 元",
        "objection_period_working_days": "5 个工作日", "main_agreement_months": "12 个月",
    }  # fmt: skip
    reply = Client().get(reverse("prices-json"), {"region": "wenzhou", "on": DAY.isoformat()})
    shown = {row["key"]: row["value"] for row in json.loads(reply.content)["parameters"]}
    assert {key: shown[key] for key in wanted if key in shown} == {
        key: text for key, text in wanted.items() if key in shown
    }
    listed = {row["key"] for row in document("parameters-wenzhou")["rows"]}
    assert set(shown) == listed
    assert not any("{" in text for text in shown.values())


@pytest.mark.parametrize("region", ["nantong", "wenzhou", "jilin", "ningxia"])
def test_no_key_of_a_parameter_is_shown(law, region):
    reply = Client().get(reverse("prices-json"), {"region": region, "on": DAY.isoformat()})
    shown = {row["key"]: row["value"] for row in json.loads(reply.content)["parameters"]}
    assert not {key: text for key, text in shown.items() if re.search(r"[a-z]{3,}|None", text)}


def test_limits_thresholds_and_shares_of_parameters_read_as_such(law):
    reply = Client().get(reverse("prices-json"), {"region": "wenzhou", "on": DAY.isoformat()})
    shown = {row["key"]: row["value"] for row in json.loads(reply.content)["parameters"]}
    assert shown["adjustment_limits"] == ("县级：5,000.00 元；设区的市：50,000.00 元；省级：不限")
    assert "捆绑收费（诊次：30 次，比例：80%，同行比例：30%）" in shown["supervision_numbers"]
    assert shown["budget_sharing"].startswith("结余留用：超过指标 0% 部分 60%、")
    assert "签收：168 小时" in shown["evidence_delay_hours"]


def test_csv_has_one_row_for_every_item_and_class(law):
    rows = table("nantong")
    printed = document("nantong-2020-25")
    billable = [item for item in printed["items"] if item.get("billable", True)]
    assert len(rows) == len(billable) * len(printed["price_classes"])
    assert tuple(rows[0]) == HEADS
    assert {row["统筹区"] for row in rows} == {"南通市"}
    assert {row["发布文本SM3"] for row in rows} == {Release.objects.get(slug=printed["slug"]).sm3}


def test_the_hash_of_the_content_can_be_computed_by_anybody(law):
    body = data("wenzhou")
    text = json.dumps(body["content"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert hashlib.new("sm3", text.encode()).hexdigest() == body["content_sm3"]


# --- an institution ---


def test_an_institution_shows_its_own_class_only(law):
    hospital = factories.institution(price_class="2")
    printed = document("nantong-2020-25")["items"]
    rows = table(f"institutions/{hospital.code}")
    assert [row["价格（元）"] for row in rows] == [
        yuan(item["price_by_class"]["2"]) for item in printed if "price_by_class" in item
    ]
    assert {(row["机构编码"], row["价格类别"]) for row in rows} == {(hospital.code, "二类医院")}


def test_the_class_is_the_one_of_the_day(law):
    hospital = factories.institution(price_class="2", valid_until=dt.date(2021, 5, 31))
    hospital.facts.create(
        valid_from=dt.date(2021, 6, 1), recorded_at=AT, price_class="3", ownership="public",
        nonprofit=True,
    )  # fmt: skip
    place = f"institutions/{hospital.code}"
    classes = [table(place, day)[0]["价格类别"] for day in ("2021-05-31", "2021-06-01")]
    assert classes == ["二类医院", "三类医院"]


def test_nothing_else_of_an_institution_is_told(law):
    hospital = factories.institution(
        hospital_grade="三级甲等", ownership="private", agreements=False
    )
    hospital.credit_code = "12320600MB0000000X"
    hospital.save()
    urls = [address(f"institutions/{hospital.code}"), f"{SEARCH}?institution={hospital.code}",
            f"{address(f'institutions/{hospital.code}')}board/"]  # fmt: skip
    for url in urls:
        html = page(url)
        assert hospital.name in html
        assert not re.search("三级甲等|12320600MB|A03|private", html)
    known = data(f"institutions/{hospital.code}")["content"]["institution"]
    assert set(known) == {"code", "name", "region", "price_class", "price_class_since"}


def test_a_jilin_hospital_has_no_classes(law):
    hospital = factories.institution("jilin")
    (row,) = table(f"institutions/{hospital.code}")
    assert row["价格类别"] == "不分类别"
    assert "不分类别" in page(address(f"institutions/{hospital.code}"))


def test_the_board_carries_the_prices_and_a_code_to_the_current_ones(law):
    hospital = factories.institution(price_class="3")
    html = page(f"{address(f'institutions/{hospital.code}')}board/")
    current = f"http://testserver{SEARCH}institutions/{hospital.code}/"
    assert f'<img src="{reverse("public-prices-qr", args=[hospital.code])}"' in html
    assert current in html
    for item in document("nantong-2020-25")["items"]:
        assert item["name"] in html
        assert yuan(item.get("price_by_class", {}).get("3", 0)) in html or "note" in item
    assert (
        "示例" not in html.partition("</article>")[0].partition("<article")[2]
    )  # no fund, no example
    jilin = factories.institution("jilin")
    assert "示例" in page(f"{address(f'institutions/{jilin.code}')}board/").partition("<article")[2]
    leads = Client().get(current)
    assert leads["Location"] == address(f"institutions/{hospital.code}")


def test_the_code_is_served_as_svg(law):
    hospital = factories.institution()
    reply = Client().get(reverse("public-prices-qr", args=[hospital.code]))
    assert reply["Content-Type"].startswith("image/svg+xml")
    address = f"http://testserver{SEARCH}institutions/{hospital.code}/"
    drawn = segno.make_qr(address, error="q")
    side = 4 * (len(drawn.matrix) + 2 * public.QUIET_ZONE)
    assert reply.content.startswith(b'<svg xmlns="http://www.w3.org/2000/svg"')
    assert f'width="{side}"'.encode() in reply.content
    assert 'd="' + re.search(r'stroke="#000" d="([^"]+)', drawn.svg_inline(scale=4, border=4))[1] \
        in reply.content.decode()  # fmt: skip


def test_the_paper_is_made_once_and_carries_the_content(law, monkeypatch):
    hospital = factories.institution()
    url = f"{address(f'institutions/{hospital.code}')}prices.pdf"
    paper = Client().get(url)
    assert (paper["Content-Type"], paper.content[:5]) == ("application/pdf", b"%PDF-")
    monkeypatch.setattr(public.pdf, "render", None)
    assert Client().get(url).content == paper.content


def test_no_reader_can_keep_every_process_at_printing(law, monkeypatch):
    monkeypatch.setattr(public, "PAPER_WAIT_SECONDS", 0.01)
    with public.PRESS:
        reply = Client().get(f"{address('wenzhou')}prices.pdf")
    assert (reply.status_code, reply["Cache-Control"]) == (503, "no-store")
    assert "请稍后再试" in reply.content.decode()


# --- search ---


def test_words_find_items_of_every_region(law):
    html = page(SEARCH, {"q": "特殊津贴"})
    assert "互联网医院享受政府特殊津贴待遇的临床医学专家门诊诊察费" in html
    assert "互联网医院普通门诊诊察费" not in html
    assert page(SEARCH, {"q": "111020004"}).count('<tbody class="public-table__item"') == 1
    assert "没有符合条件的项目" in page(SEARCH, {"q": "根本没有"})


def test_a_class_is_chosen(law):
    html = page(SEARCH, {"region": "nantong", "price_class": "3"})
    printed = document("nantong-2020-25")["items"][1]["price_by_class"]
    assert f">{yuan(printed['3'])}<" in html
    assert f">{yuan(printed['2'])}<" not in html


def test_institutions_are_found_by_name_code_and_alias(law):
    ours, other = factories.institution(price_class="2"), factories.institution("wenzhou")
    ours.aliases = ["旧名中心医院"]
    ours.save()
    for words in (ours.code, ours.name, "旧名"):
        assert f'<span class="code">{ours.code}</span>' in page(SEARCH, {"institution": words})
    several = page(SEARCH, {"institution": "测试医院"})
    assert all(f"institution={hospital.code}" in several for hospital in (ours, other))
    only = page(SEARCH, {"institution": "测试医院", "region": "wenzhou"})
    assert (ours.code in only, other.code in only) == (False, True)
    assert "没有找到医疗机构" in page(SEARCH, {"institution": "没有这家"})


def test_a_party_without_price_class_has_no_prices(law):
    pharmacy = factories.institution(price_class="")
    assert "没有找到医疗机构" in page(SEARCH, {"institution": pharmacy.code})
    assert "没有登记价格类别" in page(address(f"institutions/{pharmacy.code}"), status=404)


def test_a_future_day_has_no_fixed_address(law):
    html = page(SEARCH, {"region": "nantong", "on": "2022-01-01"})
    assert "未来日期" in html
    assert address("nantong", "2022-01-01") not in html
    assert "尚未到来" in page(address("nantong", "2022-01-01"), status=404)


def test_the_index_lists_every_region_with_its_documents(law):
    body = json.loads(Client().get(reverse("public-prices-index")).content)
    assert {
        (region["region"], found["sm3"]) for region in body["regions"] for found in region["documents"]
    } == set(Release.objects.filter(kind="policy").values_list("region", "sm3"))  # fmt: skip
    html = page(SEARCH)
    for region in body["regions"]:
        assert region["place"] in html
        for found in region["documents"]:
            assert Client().get(found["url"]).status_code == 200


@pytest.mark.django_db
def test_without_releases_the_page_says_so():
    assert "还没有发布的价格文件" in page(SEARCH)
    assert json.loads(Client().get(reverse("public-prices-index")).content) == {"regions": []}


def test_an_invented_city_appears_without_code(law, monkeypatch):
    release = publish_text(INVENTED.read_text(encoding="utf-8"))
    monkeypatch.setattr(settings, "DEMO_TODAY", dt.date(2022, 6, 10))
    printed = document("invented-city")
    first = printed["effective"]["from"]
    assert "虚构市" in page(SEARCH)
    html = page(address("invented", first))
    assert release.sm3 in html
    amounts = {
        (item["name"], row["class"]): item["price_by_class"].get(row["class"])
        for item in printed["items"]
        for row in printed["price_classes"]
    }
    named = {row["name"]: row["class"] for row in printed["price_classes"]}
    assert {
        (row["项目名称"], named[row["价格类别"]]): row["价格（元）"]
        for row in table("invented", first)
        if row["项目编码"]
    } == {key: yuan(a) if a else "该类别没有此项目的价格" for key, a in amounts.items()}
    assert [item["name"] for item in printed["items"] if item["name"] not in html] == []
    assert "没有生效的价格文件" in page(address("invented", "2022-02-28"), status=404)


# --- fixed addresses ---


def test_a_past_day_has_the_same_content_whenever_it_is_asked_for(law, monkeypatch):
    hospital = factories.institution()
    places = ("nantong", f"institutions/{hospital.code}")
    urls = [
        f"{address(place)}{end}" for place in places for end in ("", "prices.csv", "prices.json")
    ]
    before = [page(url) for url in urls]
    monkeypatch.setattr(settings, "DEMO_TODAY", None)
    monkeypatch.setattr("audit.clock.today", lambda: dt.date(2029, 3, 4))
    later = [page(url) for url in urls]
    demo = re.compile(r'<aside class="demo".*?</aside>', re.DOTALL)
    assert [demo.sub("", text).split() for text in before] == [text.split() for text in later]


def test_only_a_release_that_touches_the_day_changes_it(law):
    old = Release.objects.get(slug="nantong-2020-25")
    first = document("nantong-2020-25")["items"][1]
    price = first["price_by_class"]["3"]
    dated = old.text.replace("from: 2020-02-25", "from: 2021-07-01")
    days = ("2021-06-30", "2021-07-01")
    before = [data("nantong", day) for day in days]
    new = publish_text(dated.replace(f'{{"3": {price},', f'{{"3": {price + 100},', 1))
    after = [data("nantong", day) for day in days]
    assert after[0]["content_sm3"] == before[0]["content_sm3"]
    assert after[0]["content"]["release"]["sm3"] == old.sm3
    assert after[1]["content_sm3"] != before[1]["content_sm3"]
    assert after[1]["content"]["release"]["sm3"] == new.sm3
    prices = [one["content"]["items"][0]["classes"][0]["price"]["amount"] for one in after]
    assert prices == [yuan(price), yuan(price + 100)]


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("nantong/2021-02-30/", 400, "不是有效日期"),
        ("nantong/20211220/", 400, "不是有效日期"),
        ("nantong/yesterday/prices.csv", 400, "不是有效日期"),
        ("nowhere/2021-12-20/", 404, "没有名为“nowhere”的统筹区"),
        ("nantong/2020-02-24/", 404, "没有生效的价格文件"),
        ("institutions/H99999999999/2021-12-20/", 404, "没有编码为 H99999999999 的医疗机构"),
        ("institutions/H99999999999/2021-12-20/board/", 404, "没有编码为"),
        ("institutions/H99999999999/qr.svg", 404, "没有编码为"),
        ("?region=nowhere", 400, "查询条件有误"),
        ("?on=2021-13-01", 400, "查询条件有误"),
        ("?price_class=8", 400, "查询条件有误"),
        ("nantong/2021-12-20/prices.xlsx", 404, "没有找到页面"),
    ],
)
def test_a_wrong_address_is_told_in_chinese(law, url: str, status: int, words: str):
    assert words in page(f"{SEARCH}{url}", status=status)


@pytest.mark.parametrize("sign", ["\0", "' OR 1=1 --", "<script>alert(1)</script>", "%", "\\"])
def test_hostile_words_do_no_harm(law, sign: str):
    for key in ("q", "institution", "region", "on", "price_class"):
        reply = Client().get(SEARCH, {key: sign})
        assert reply.status_code in (200, 400)
        assert "<script>alert" not in reply.content.decode()


# --- how it is served ---


def test_no_cookie_is_set_and_copies_may_be_kept(law):
    hospital = factories.institution()
    urls = [SEARCH, address("nantong"), f"{address('nantong')}prices.csv", f"{SEARCH}nowhere/2021-12-20/",
            f"{address(f'institutions/{hospital.code}')}board/", f"{SEARCH}?q=诊察"]  # fmt: skip
    for url in urls:
        reply = Client().get(url)
        assert (url, dict(reply.cookies)) == (url, {})
        assert "csrf" not in reply.content.decode()
        assert set(reply["Cache-Control"].split(", ")) == {"public", "max-age=300"}
    reply = Client().get(urls[1])
    again = Client().get(urls[1], headers={"If-None-Match": reply["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_answer_to_a_reader_with_a_session_is_for_that_reader(law):
    client = factories.log_in(Client(), factories.user("reviewer", factories.region()))
    reply = client.get(address("nantong"))
    assert set(reply["Cache-Control"].split(", ")) == {"private", "no-cache"}


def test_head_is_answered_and_writing_refused(law):
    assert Client().head(address("nantong")).status_code == 200
    assert Client().head(address("nantong")).content == b""
    assert Client().post(SEARCH).status_code == 405


def test_the_number_of_queries_is_fixed(law, django_assert_num_queries):
    hospital = factories.institution()
    for _ in range(30):
        factories.institution(agreements=False)
    page(SEARCH)  # compiles the catalogue
    with django_assert_num_queries(1):  # version of the catalogue
        page(SEARCH)
    with django_assert_num_queries(2):  # and official files
        page(SEARCH, {"q": "诊察"})
    with django_assert_num_queries(2):
        page(address("nantong"))
    with django_assert_num_queries(4):  # institution, its facts, version, official files
        page(address(f"institutions/{hospital.code}"))
    with django_assert_num_queries(3):  # version, institutions, their facts
        page(SEARCH, {"institution": "测试"})


def test_the_official_file_of_a_document_does_not_change_the_content(law):
    before = data("nantong")["content_sm3"]
    DocumentFile.objects.create(
        slug="nantong-2020-25", name="a.pdf", content_type="application/pdf", content=b"%PDF-",
        sm3="0" * 64, attached_by="a", attached_at=AT,
    )  # fmt: skip
    assert data("nantong")["content_sm3"] == before


def test_the_door_and_the_fault_pages_lead_to_the_prices(law):
    link = f'href="{SEARCH}"'
    assert link in page(reverse("account_login"))
    assert link in page("/no-such-page/", status=404)
    front = Client().get("/", follow=True)
    assert link in front.content.decode()


def test_a_class_without_prices_is_told(law):
    hospital = factories.institution(price_class="1")
    html = page(address(f"institutions/{hospital.code}"))
    assert html.count("该类别没有此项目的价格") >= 4
