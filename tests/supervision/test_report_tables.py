"""Every table of a report in its workbook and its archive; prices compared with those of their own day."""

import csv
import datetime as dt
import io
import json
import tracemalloc
import zipfile

import pytest
import python_calamine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import sheets
from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from pricing import commands as law
from pricing.models import Release
from settlement import closing as months
from settlement.models import Statement
from settlement.statement_steps import deduct, send_all
from supervision import report_views
from supervision.bench import reports as bench
from supervision.models import ReportOrder
from supervision.reports import press, prices
from supervision.reports.wish import Wish
from tests import factories
from tests.settlement.benefits import drug_list
from tests.settlement.hospital import Hospital
from tests.settlement.money import NOVEMBER, at
from tests.settlement.test_benefits import drug
from tests.supervision.printed import made, text_of, wish


def files_of(client: Client, row: ReportOrder) -> dict[str, list[list[str]]]:
    """Title → rows of the archive; the workbook has the same sheets with the same heads."""
    archive = client.get(reverse("report-data", args=[row.pk, "csv"]))
    assert archive["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        found = {
            name.removesuffix(".csv")[3:]: list(csv.reader(io.StringIO(files.read(name).decode("utf-8-sig"))))
            for name in files.namelist()
        }  # fmt: skip
    workbook = client.get(reverse("report-data", args=[row.pk, "xlsx"])).content
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(workbook))
    assert book.sheet_names == [title[: sheets.LONGEST_TITLE].strip() for title in found]
    for name, rows in zip(book.sheet_names, found.values(), strict=True):
        assert book.get_sheet_by_name(name).to_python()[0] == rows[0]
        assert len(book.get_sheet_by_name(name).to_python()) == len(rows)
    return found


def test_the_workbook_of_a_long_register_is_written_row_by_row(settings, tmp_path) -> None:
    """Beside the figures it holds the packed file and one row, not the sheet: 70 to 120 bytes a row."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    rows = 8_000
    document = bench.invented(rows)
    tracemalloc.start()
    try:
        answer = report_views._tables("xlsx", press.sheets_of(document), bench.AT)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / rows < 200
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(answer.content))
    register = book.get_sheet_by_name("附表 费用结算明细表").to_python()
    assert len(register) == rows + 1
    assert register[-1][0] == str(rows)


@pytest.fixture
def town(db) -> Hospital:
    """Charges of 12.00 (published) and 15.00 (three yuan too much) on two days."""
    set_scope(EVERYTHING)
    factories.policies("nantong")
    hospital = Hospital("nantong")
    factories.offline_visit(hospital.patient, hospital.row)
    hospital.settled(factories.line(fee="12.00"))
    return hospital


def asked(region: str = "320600") -> tuple[ReportOrder, bytes]:
    set_scope(EVERYTHING)
    user = factories.user("supervisor", Region.objects.get(pk=region))
    about = Wish(since=factories.DAY, until=factories.DAY + dt.timedelta(days=5), region=region)
    return made("prices", user, about)


def test_an_overcharged_line_does_not_take_the_main_table_away(town) -> None:
    town.settled(factories.line(fee="15.00"), day=factories.DAY + dt.timedelta(days=1))
    row, _ = asked()
    user = factories.user("supervisor", Region.objects.get(pk="320600"))
    found = files_of(factories.log_in(Client(), user), row)
    assert list(found)[1:] == [
        "表1 分机构、分类别收费", "表2 分机构、分项目价格执行情况", "表3 超最高支付标准由个人负担的费用（丙2类）",
        "附表 超公布价格收费明细",
    ]  # fmt: skip
    head, line = found["表2 分机构、分项目价格执行情况"]
    cells = dict(zip(head, line, strict=True))
    assert (cells["笔数"], cells["公布价格"], cells["最高"], cells["结论"]) == (
        "2", "12.00", "15.00", "超公布价格")  # fmt: skip
    assert found["附表 超公布价格收费明细"][1][-3:] == ["15.00", "15.00", "3.00"]
    assert found["目录"][1:] == [
        ["表1", "分机构、分类别收费", "金额单位：元", "1"], ["表2", "分机构、分项目价格执行情况", "金额单位：元", "1"],
        ["表3", "超最高支付标准由个人负担的费用（丙2类）", "金额单位：元", "1"], ["附表", "超公布价格收费明细", "金额单位：元", "1"],
    ]  # fmt: skip


def test_a_charge_is_compared_with_the_price_of_its_own_day(town) -> None:
    """The price rises from 12 to 15 yuan: what is charged by the new one on its day is no overcharge."""
    next_day = factories.DAY + dt.timedelta(days=1)
    shipped = Release.objects.get(kind="policy", region="nantong")
    text = shipped.text.replace("from: 2020-02-25", f"from: {next_day}", 1)
    changed = text.replace('{"3": 1200, "2": 1000, "1": null}', '{"3": 1500, "2": 1300, "1": null}')
    assert text not in (shipped.text, changed)
    draft = law.draft(text=changed, by="drafter", at=timezone.now())
    evidence = {"sm3": draft.sm3, "cases": {"passed": 1, "failed": 0}}
    law.publish(release=draft, evidence=evidence, by="publisher", at=timezone.now())
    town.settled(factories.line(fee="15.00"), day=next_day)
    _, content = asked()
    figures = press.document_in(content)["figures"]
    told = [
        (one["days"], one["price"], one["most"], prices.verdict(one)) for one in figures["groups"]
    ]
    assert told == [
        ([f"{factories.DAY}"] * 2, 1_200, 1_200, "相符"),
        ([f"{next_day}"] * 2, 1_500, 1_500, "相符"),
    ]
    assert "报告期内没有超出公布价格的收费" in text_of(content)


def test_a_report_of_prices_of_before_is_still_read(town) -> None:
    """Documents that were kept before prices were compared by the day say nothing of days."""
    _, content = asked()
    document = json.loads(press.canonical(press.document_in(content)))
    figures = document["figures"]
    del figures["groups"][0]["days"], figures["kinds"], figures["drugs"]
    assert [sheet.name for sheet in press.sheets_of(document)] == ["目录", "表1", "附表"]


def test_a_statement_and_a_list_of_claims_keep_their_summaries(place) -> None:
    claim = place.claim(fund=1_000, number="WZ-9")
    deduct(claim_id=claim, amount=400, reason="records", note="缺病历", by="reviewer", at=at(11, 30))  # fmt: skip
    period = months.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    user = place.user("supervisor")
    client = factories.log_in(Client(), user)
    row, _ = made("statement", user, wish(place, subject=str(Statement.objects.get().pk)))
    found = files_of(client, row)
    assert list(found)[1:4] == ["结算单", "结算金额", "审核扣款明细"]
    assert ["医疗机构", f"{place.hospital.name}（{place.code}）"] in found["结算单"]
    assert found["审核扣款明细"][1][2:] == ["缺病历", "温医保办〔2021〕6号 二十四", "4.00"]
    assert len(found["结算金额"]) > 3
    row, _ = made("claims", user, wish(place))
    found = files_of(client, row)
    assert list(found)[1:] == ["表1 分机构汇总", "表2 分状态汇总", "附表 费用结算明细表"]


def test_facts_of_an_institution_are_a_table_of_their_chapter(place) -> None:
    year = {"since": dt.date(2021, 1, 1), "until": dt.date(2021, 12, 31)}
    user = place.user("supervisor")
    row, _ = made("institution", user, wish(place, institution=place.code, **year))
    found = files_of(factories.log_in(Client(), user), row)
    assert found["一、基本情况"][0] == ["项目", "内容"]
    assert place.code in {line[1] for line in found["一、基本情况"]}


def test_drugs_are_compared_with_the_ceilings_of_their_day(db) -> None:
    """Every kind of charge is counted; what lies above a ceiling is told by institution and drug."""
    set_scope(EVERYTHING)
    factories.policies("wenzhou")
    town = Hospital("wenzhou", "employee")
    factories.offline_visit(town.patient, town.row)
    drug_list("wenzhou", {"code": "XIAN", "name": "限价药", "ceiling": 1_250_000}, {"code": "WU"})
    town.settled(
        drug(1, "XIAN", "30.00", quantity="10", unit="3"),
        drug(2, "WU", "8.00"),
        drug(3, "WAI", "5.00"),
    )
    _, content = asked("330300")
    figures = press.document_in(content)["figures"]
    place = town.row.name
    assert figures["kinds"] == [[place, 2, 3, 4_300, 2_050]]
    assert figures["drugs"]["places"] == [[place, 3, 4_300, 1, 1, 1, 1_750]]
    (above,) = figures["drugs"]["above"]
    assert (above["name"], above["ceiling"], above["most"], above["over"]) == (
        "限价药", 1_250_000, 3_000_000, 1_750)  # fmt: skip
    text = text_of(content)
    for word in ("收费构成", "药品支付限价执行情况", "限价药", "1.25", "17.50"):
        assert word in text, word
