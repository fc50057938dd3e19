"""The drug catalogue for everybody: what a second person published is what is shown, day by day."""

import csv
import datetime as dt
import io
import json

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from audit.models import Event
from tests import factories
from tests.pricing.test_drug_lists import SOUND, drafted, published

DAY = dt.date(2021, 12, 20)
URL = "/public/drugs/"
FIXED = f"{URL}wenzhou/{DAY}/"


@pytest.fixture(autouse=True)
def today(db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEMO_TODAY", DAY)
    factories.policies("wenzhou")


def page(url: str = URL, query: dict | None = None, status: int = 200) -> str:
    reply = Client().get(url, query or {})
    assert reply.status_code == status, url
    return reply.content.decode()


def test_anybody_finds_a_drug_and_nothing_is_kept_of_the_reader() -> None:
    published()
    before = Event.objects.count()
    reply = Client().get(URL, {"q": "二甲双胍"})
    html = reply.content.decode()
    assert "盐酸二甲双胍片" in html
    assert "苯磺酸氨氯地平片" not in html
    assert "12.345678" in html
    assert not reply.cookies
    assert "public" in reply["Cache-Control"]
    assert Event.objects.count() == before
    for query, found in (
        ({"category": "C"}, {"对乙酰氨基酚片"}),
        ({"chronic": "only"}, {"苯磺酸氨氯地平片", "盐酸二甲双胍片"}),
        ({"q": "XC08", "region": "wenzhou"}, {"苯磺酸氨氯地平片"}),
        ({"q": "没有的药"}, set()),
    ):
        html = page(query=query)
        names = {"苯磺酸氨氯地平片", "盐酸二甲双胍片", "对乙酰氨基酚片"}
        assert {name for name in names if name in html} == found, query


def test_the_whole_list_of_a_day_as_page_csv_and_json() -> None:
    made = published()
    html = page(FIXED)
    assert "示例目录" in html
    assert made.sm3 in html
    table = Client().get(f"{FIXED}drugs.csv").content
    assert table.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))
    assert [row["药品编码"] for row in rows] == [
        "XA10BBA000A001010100002", "XC08CAA000A001010100001", "XN02BEA000A001010100003",
    ]  # fmt: skip
    data = json.loads(Client().get(f"{FIXED}drugs.json").content)
    assert (data["content_sm3"], data["in_force"]) == (
        made.sm3, {"from": "2021-03-08", "until": None},
    )  # fmt: skip
    assert data["drugs"][0] == {
        "code": "XA10BBA000A001010100002", "name": "盐酸二甲双胍片", "specification": "0.5g×20片",
        "unit": "盒", "category": "B", "first_self_pay": "10%", "ceiling": "12.345678",
        "diseases": ["M01600", "M03900"],
    }  # fmt: skip
    index = json.loads(Client().get(f"{URL}index.json").content)["regions"]
    assert [(one["region"], one["drugs"]) for one in index] == [("wenzhou", 3)]
    assert index[0]["url"].endswith(FIXED)


def test_a_day_shows_the_version_in_force_then_and_no_draft() -> None:
    published(valid_from=dt.date(2021, 1, 1))
    later = SOUND.replace("36.5", "30.0")
    published(text=later, version="2021-2", valid_from=dt.date(2021, 12, 1))
    drafted(text=SOUND.replace("36.5", "1.0"), version="2022-1", valid_from=dt.date(2021, 12, 10))
    assert "30.00" in page(FIXED)
    assert "36.50" in page(f"{URL}wenzhou/2021-11-30/")
    assert "没有" in page(f"{URL}wenzhou/2020-12-31/", status=404)
    assert "36.50" in page(query={"on": "2021-11-30"})
    assert "未来日期" in page(query={"on": "2022-01-01"})


def test_what_is_not_there_is_said() -> None:
    assert "没有生效的药品目录" in page()
    published()
    assert "尚未到来" in page(f"{URL}wenzhou/2022-01-01/", status=404)
    assert "不是有效日期" in page(f"{URL}wenzhou/2021-1-1/", status=400)
    assert "没有" in page(f"{URL}nowhere/{DAY}/", status=404)
    assert "查询条件有误" in page(query={"region": "nowhere"}, status=400)
    assert "没有符合条件的药品" in page(query={"q": "?"})
    today = Client().get(reverse("public-drugs-region-today", args=["wenzhou"]))
    assert (today.status_code, today["Location"]) == (302, FIXED)
    assert Client().post(URL).status_code == 405


def test_long_lists_are_paged(django_assert_max_num_queries) -> None:
    head, *_ = SOUND.splitlines()
    rows = "\n".join(f"X{n:022d},示例药品{n},,盒,甲类,,," for n in range(120))
    published(text=f"{head}\n{rows}\n")
    with django_assert_max_num_queries(8):
        first = page()
    assert first.count("public-table__item") == 50
    assert page(query={"page": "3"}).count("public-table__item") == 20
    assert page(query={"size": "200"}).count("public-table__item") == 120
