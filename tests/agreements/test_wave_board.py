"""Ningxia: the board, its picture, its files and the page of a plan."""

import io
import json
from contextlib import closing

import pypdfium2
import pytest
import python_calamine

from agreements.gantt import Line, Span, gantt
from agreements.models import WavePlace
from audit.models import Event
from institutions.models import (
    Region,
)
from tests.agreements import ningxia
from tests.agreements.ningxia import NAMES, TODAY, Day, made
from tests.factories import log_in

# --- The picture ---


def test_the_picture_stands_in_months_and_marks_deadline_and_today():
    line = Line(
        label="甲医院", planned=[Span(Day(2021, 12, 1), Day(2021, 12, 31), "计划")],
        done=[Span(Day(2021, 12, 6), Day(2021, 12, 20), "办理中", "b")], deadline=Day(2021, 12, 31),
    )  # fmt: skip
    picture = gantt(title="图", lines=[line], today=TODAY)
    (row,) = picture["rows"]
    assert [(bar["x"], bar["width"]) for bar in row["bars"]] == [
        ("0%", "100%"),
        ("16.13%", "48.39%"),
    ]
    assert (row["deadline"], picture["today"], row["words"]) == ("100%", "61.29%", "计划；办理中")
    assert [month["label"] for month in picture["months"]] == ["2021-12"]
    assert gantt(title="图", lines=[Line(label="乙")], today=TODAY)["rows"] == []


def test_months_over_two_years_are_thinned_out():
    line = Line(label="甲", planned=[Span(Day(2021, 11, 1), Day(2023, 6, 30), "计划")])
    months = gantt(title="图", lines=[line], today=Day(2026, 1, 1))["months"]
    shown = [month["label"] for month in months if month["label"]]
    assert (len(months), shown[0], shown[-1]) == (20, "2021-11", "2023-05")
    assert len(shown) == 10


# --- Pages and files ---


@pytest.fixture
def whole(people):
    """All 38 with one live and one on its way."""
    rows = {row.name: row for row in ningxia.everyone()}
    made(people)
    ningxia.live(rows["银川市第一人民医院"], Day(2021, 12, 10))
    return rows


def test_the_region_sees_all_the_county_its_own(
    whole, people, client, django_assert_max_num_queries
):
    log_in(client, people["policy.province"])
    with django_assert_max_num_queries(30):
        page = client.get("/waves/").content.decode()
    assert all(name in page for name in NAMES)
    assert "名单内未登记" not in page
    assert "style=" not in page
    log_in(client, people["policy.county"])
    page = client.get("/waves/").content.decode()
    assert [name for name in NAMES if name in page] == ["贺兰县人民医院"]
    assert "名单共 13 家" in page
    place_of = WavePlace.objects.get(institution=whole["银川市第一人民医院"])
    assert client.get(f"/waves/{place_of.pk}/").status_code == 404
    log_in(client, people["policy.prefecture"])
    assert client.get(f"/waves/{place_of.pk}/").status_code == 200
    assert [name for name in NAMES if name in client.get("/waves/?batch=1&state=done").content.decode()] == [
        "银川市第一人民医院"
    ]  # fmt: skip


def test_a_hospital_sees_its_own_plan_only(whole, client):
    mine, other = whole["银川市第一人民医院"], whole["贺兰县人民医院"]
    log_in(client, ningxia.person("hospital", mine))
    page = client.get("/waves/").content.decode()
    assert [name for name in NAMES if name in page] == [mine.name]
    data = json.loads(client.get("/waves/export/json/").content)
    assert [row["name"] for batch in data["batches"] for row in batch["hospitals"]] == [mine.name]
    place = WavePlace.objects.get(institution=mine)
    page = client.get(f"/waves/{place.pk}/").content.decode()
    assert "倒排工期使用示例参数" in page
    assert "编制工作计划" not in page
    assert client.post(f"/waves/{place.pk}/plan/", {}).status_code == 403
    foreign = WavePlace.objects.get(institution=other)
    assert client.get(f"/waves/{foreign.pk}/").status_code == 404


def test_files_of_the_board(whole, people, client):
    log_in(client, people["policy.province"])
    answer = client.get("/waves/export/xlsx/")
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(answer.content))
    rows = book.get_sheet_by_index(0).to_python()
    assert (len(rows), rows[1][1], rows[1][6]) == (39, NAMES[0], "2021-12-31")
    data = json.loads(client.get("/waves/export/json/?batch=1").content)
    assert [batch["done"] for batch in data["batches"]] == [1]
    text = client.get("/waves/export/csv/?q=贺兰").content.decode("utf-8-sig")
    assert len(text.splitlines()) == 2
    paper = client.get("/waves/export/pdf/").content
    with closing(pypdfium2.PdfDocument(paper)) as opened:
        words = "".join(page.get_textpage().get_text_bounded() for page in opened)
        width, height = opened[0].get_size()
    assert "隆德县人民医院" in "".join(words.split())
    assert width > height
    assert client.get("/waves/export/exe/").status_code == 404
    assert Event.objects.filter(action="waves.export").count() == 4


def test_the_plan_page_keeps_what_was_typed_and_tells_each_fault(whole, people, client):
    row = WavePlace.objects.get(institution=whole["银川市第一人民医院"])
    data = {"version": row.plan_version, "reason": ""}
    for key, span in row.plan.items():
        data |= {f"{key}.start": span["start"], f"{key}.end": span["end"]}
    bad = data | {"mobile_payment.end": "2022-02-01", "acceptance_test.start": "2021-01-01"}
    log_in(client, people["policy.prefecture"])
    answer = client.post(f"/waves/{row.pk}/plan/", bad)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "晚于批次时限2021-12-31，请写明理由（附件1）" in page
    assert 'value="2022-02-01"' in page
    assert "的计划完成日（2021-12-16）" in page
    assert client.post(f"/waves/{row.pk}/plan/", data).status_code == 302
    assert client.post(f"/waves/{row.pk}/plan/", data).status_code == 409
    fresh = WavePlace.objects.get(pk=row.pk)
    answer = client.post(f"/waves/{row.pk}/draw/", {"version": fresh.plan_version, "major": "on"})
    assert answer.status_code == 302
    assert len(WavePlace.objects.get(pk=row.pk).plan) == 8
    log_in(client, people["auditor.prefecture"])
    assert client.post(f"/waves/{row.pk}/plan/", data).status_code == 403


def test_the_region_makes_the_list_from_the_page(people, client):
    ningxia.hospital("银川市第一人民医院")
    log_in(client, people["policy.province"])
    assert "还没有建立分批名单" in client.get("/waves/").content.decode()
    page = client.post("/waves/make/", follow=True).content.decode()
    assert "新建 1 家" in page
    assert "名单内未登记" in page
    log_in(client, people["policy.prefecture"])
    client.post("/waves/make/", follow=True)
    assert WavePlace.objects.count() == 1


def test_a_region_without_batches_says_so(people, client):
    wenzhou = Region.objects.create(
        code="330300", name="温州市", level="prefecture", policy_region="wenzhou"
    )
    log_in(client, ningxia.person("policy_staff", wenzhou))
    assert "本地区没有分批推进的名单" in client.get("/waves/").content.decode()
    assert client.get("/waves/export/pdf/").status_code == 404
