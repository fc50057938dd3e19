"""Reports: figures as worked out by hand, masked, the same bytes again, inside one's scope, cancellable."""

import datetime as dt
import hashlib
import io
import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any

import pikepdf
import pypdfium2
import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit import merkle, reports, sealer, trail, verify
from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.models import Region, User
from institutions.refusals import Refusal
from settlement import closing as months
from settlement.models import Statement
from settlement.statement_steps import deduct, send_all
from supervision.models import ReportOrder, ReportPart
from supervision.reports import binding, book, claims, orders, press
from supervision.reports.kinds import KINDS
from supervision.reports.wish import Wish
from tests import factories
from tests.settlement import money
from tests.settlement.hospital import Hospital
from tests.settlement.money import NOVEMBER, at
from tests.supervision.casework import Office

MADE = at(12, 20)
NOVEMBER_DAYS = {"since": dt.date(2021, 11, 1), "until": dt.date(2021, 11, 30)}


@pytest.fixture
def place(db) -> money.Place:
    """A Wenzhou hospital with three claims of November, one of them reversed, and one held."""
    set_scope(EVERYTHING)
    found = money.Place("wenzhou")
    found.claim(fund=10_000, account=500, cash=100, number="WZ-1")
    found.claim(fund=2_000, cash=3_000, number="WZ-2")
    found.reverse(found.claim(fund=700, cash=300, number="WZ-3"))
    found.claim(fund=0, held=900, number="WZ-4")
    return found


def wish(place: money.Place, **more: Any) -> Wish:
    return Wish(**{"region": place.region, **NOVEMBER_DAYS, **more})


def made(kind: str, user: User, about: Wish) -> tuple[ReportOrder, bytes]:
    """Order a report and make it in this process; the kept file."""
    row = orders.order(kind=kind, wish=about, user=user, by=user.username, at=MADE)
    row = orders.make_now(order_id=row.pk, at=MADE)
    assert row.state == "done", row.fault
    return row, reports.read(row.report)


def text_of(content: bytes) -> str:
    with closing(pypdfium2.PdfDocument(content)) as document:
        return "".join(page.get_textpage().get_text_range() for page in document).replace(
            "\r\n", ""
        )


def figures_in(content: bytes) -> dict[str, Any]:
    return press.document_in(content)["figures"]


# --- The engine ---


def test_the_same_report_is_the_same_bytes_and_its_hash_is_an_event(place) -> None:
    row, content = made("fund", place.user("supervisor"), wish(place))
    assert press.print_whole(press.document_in(content)).content == content
    assert press.print_whole(reports.content_of(row.report)).content == content
    sm3 = hashlib.new("sm3", content).hexdigest()
    event = json.loads(bytes(Event.objects.get(action="report.make").body))
    assert (event["subject"], event["detail"]["sm3"]) == (f"report:{row.report_id}", sm3)
    assert row.number == "温州医保报〔2021〕1号"
    text = text_of(content)
    for word in (row.number, "温州市基金运行分析报告", "（2021年11月）", "编制单位", "目　录",
                 "表1", "图1", "第 2 页 / 共", row.asked_by, "2021-12-20T10:00:00", "核验地址",
                 "温医保办〔2021〕6号 十八、二十四"):  # fmt: skip
        assert word in text, word


def test_the_file_says_that_it_is_pdf_a_with_the_data_inside(place) -> None:
    _, content = made("fund", place.user("supervisor"), wish(place))
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        assert list(file.attachments) == [press.ATTACHED]
        assert b"conformance" in file.Root.Metadata.read_bytes()
        assert "/StructTreeRoot" in file.Root


def test_a_register_is_cut_into_parts_that_join_to_the_same_bytes(place, monkeypatch) -> None:
    monkeypatch.setattr(press, "ROWS_A_PAGE", 2)
    monkeypatch.setattr(press, "PART_ROWS", 4)
    for number in range(6):
        place.claim(fund=100, number=f"N{number}")
    row, content = made("claims", place.user("supervisor"), wish(place))
    assert (row.rows, row.parts_total, row.parts_done) == (11, 4, 4)
    assert press.print_whole(press.document_in(content)).content == content
    with closing(pypdfium2.PdfDocument(content)) as document:
        feet = [page.get_textpage().get_text_range() for page in document]
    front = len(feet) - 6
    for at_page, text in enumerate(feet[front:], front + 1):
        assert f"第 {at_page} 页 / 共 {len(feet)} 页" in text
        assert "附表" in text
        assert "单据号" in text
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        assert "/StructTreeRoot" not in file.Root
        assert b"conformance>B<" in file.Root.Metadata.read_bytes() or (
            b'conformance="B"' in file.Root.Metadata.read_bytes()
        )


def test_a_cancelled_report_stops_and_keeps_nothing(place, monkeypatch) -> None:
    monkeypatch.setattr(press, "ROWS_A_PAGE", 1)
    monkeypatch.setattr(press, "PART_ROWS", 1)
    user = place.user("supervisor")
    row = orders.order(kind="claims", wish=wish(place), user=user, by="s", at=MADE)
    ReportOrder.objects.filter(pk=row.pk).update(asked_by=user.username)
    assert orders.gather(order_id=row.pk, at=MADE)
    first, second = ReportPart.objects.filter(done_at=None).order_by("number")[:2]
    assert orders.print_part(part_id=first.pk, at=MADE)
    assert not orders.print_part(part_id=first.pk, at=MADE)
    orders.cancel(order_id=row.pk, by="s", at=MADE)
    assert not orders.print_part(part_id=second.pk, at=MADE)
    assert not orders.finish(order_id=row.pk, at=MADE)
    row.refresh_from_db()
    assert (row.state, row.report, row.parts_done) == ("cancelled", None, 2)
    assert not ReportPart.objects.exclude(content=None).exists()
    with pytest.raises(Refusal, match="ENDED"):
        orders.cancel(order_id=row.pk, by="s", at=MADE)
    assert Event.objects.filter(action="reportorder.cancel", subject=row.subject).exists()


def test_an_order_that_keeps_failing_ends(place) -> None:
    user = place.user("supervisor")
    row = orders.order(kind="fund", wish=wish(place), user=user, by=user.username, at=MADE)
    ReportOrder.objects.filter(pk=row.pk).update(attempts=orders.ATTEMPTS)
    assert not orders.gather(order_id=row.pk, at=MADE)
    row.refresh_from_db()
    assert (row.state, row.fault) == ("failed", "多次未能生成，请缩小范围后重试")


def test_a_part_that_does_not_fit_ends_the_order(place) -> None:
    user = place.user("supervisor")
    row = orders.order(kind="claims", wish=wish(place), user=user, by=user.username, at=MADE)
    assert orders.gather(order_id=row.pk, at=MADE)
    ReportPart.objects.filter(order=row, number=1).update(pages=7)
    assert not orders.print_part(part_id=row.parts.get(number=1).pk, at=MADE)
    row.refresh_from_db()
    assert (row.state, row.report) == ("failed", None)
    assert "页数不符" in row.fault


def test_the_sweep_rings_for_what_waits(place, monkeypatch) -> None:
    rung: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(orders, "ring", lambda task, ids: rung.append((task, list(ids))))
    user = place.user("supervisor")
    first, second, third = (
        orders.order(kind="claims", wish=wish(place), user=user, by=user.username, at=MADE)
        for _ in range(3)
    )
    for row in (second, third):
        orders.gather(order_id=row.pk, at=MADE)
    part = third.parts.get(number=1)
    orders.print_part(part_id=part.pk, at=MADE)
    rung.clear()
    assert orders.sweep() == 3
    assert rung == [
        (orders.GATHER_TASK, [first.pk]), (orders.PART_TASK, [second.parts.get(number=1).pk]),
        (orders.FINISH_TASK, [third.pk]),
    ]  # fmt: skip


def test_the_database_keeps_ended_orders(place) -> None:
    row, _ = made("fund", place.user("supervisor"), wish(place))
    with pytest.raises(IntegrityError), transaction.atomic():
        ReportOrder.objects.filter(pk=row.pk).update(title="另一标题")
    with pytest.raises(IntegrityError), transaction.atomic():
        ReportOrder.objects.create(
            kind="fund", title="t", number="n", region_code="330300", state="done", asked_at=MADE,
            asked_by="x", finished_at=MADE,
        )  # fmt: skip


# --- Scope ---


def test_a_region_makes_and_sees_its_own_reports_only(place) -> None:
    theirs = factories.user("supervisor", factories.region("nantong"))
    for given in ({}, {"region": "320600", "institution": place.code}):
        with pytest.raises(Refusal, match="SCOPE"):
            orders.order(
                kind="fund", wish=replace(wish(place), **given), user=theirs, by="x", at=MADE
            )
    row, _ = made("fund", place.user("supervisor"), wish(place))
    client = factories.log_in(Client(), theirs)
    for name, given in (("report", ()), ("report-file", ()), ("report-data", ("csv",))):
        assert client.get(reverse(name, args=[row.pk, *given])).status_code == 404
    assert client.post(reverse("report-cancel", args=[row.pk])).status_code == 404
    assert row.number not in client.get(reverse("reports")).content.decode()


def test_row_level_security_hides_orders_and_parts(place) -> None:
    made("claims", place.user("supervisor"), wish(place))
    with connection.cursor() as cursor:
        for scope, seen in (("R:3206", 0), ("R:3303", 1)):
            cursor.execute("SELECT set_config('app.scope', %s, true)", [scope])
            assert ReportOrder.objects.count() == seen
            assert bool(ReportPart.objects.count()) == bool(seen)
            assert bool(reports.ReportBody.objects.count()) == bool(seen)


def test_a_role_makes_only_kinds_that_it_may_read(place) -> None:
    finance = place.user("finance_officer")
    with pytest.raises(Refusal, match="KIND"):
        orders.order(kind="trail", wish=wish(place), user=finance, by="x", at=MADE)
    row, _ = made("trail", place.user("auditor"), wish(place, until=dt.date(2021, 12, 31)))
    client = factories.log_in(Client(), finance)
    assert client.get(reverse("report", args=[row.pk])).status_code == 404
    assert client.get(reverse("report-new", args=["trail"])).status_code == 403


# --- The kinds, by figures worked out by hand ---


def test_fund_analysis(place) -> None:
    place.claim(fund=4_000, cash=1_000, month=dt.date(2020, 11, 1))
    _, content = made("fund", place.user("supervisor"), wish(place))
    figures = figures_in(content)
    whole = {
        key: figures["totals"][key] for key in ("claims", "reversals", "fee", "fund", "persons")
    }
    assert whole == {"claims": 4, "reversals": 1, "fee": 16_500, "fund": 12_000, "persons": 1}
    assert figures["before"]["fee"] == 5_000
    text = text_of(content)
    for word in ("净结算3笔", "费用总额165.00元", "统筹基金支付120.00元", "次均费用55.00元",
                 "政策范围内支付比例76.92%", "增长230.0%", place.hospital.name):  # fmt: skip
        assert word in text, word


def test_claims_register_is_masked_and_says_every_version(place) -> None:
    _, content = made("claims", place.user("auditor"), wish(place))
    rows = figures_in(content)["rows"]
    assert [(row[2], row[7], row[8], row[11]) for row in rows] == [
        ("WZ-1", 10_600, 10_000, "payable"), ("WZ-2", 5_000, 2_000, "payable"),
        ("WZ-3", 1_000, 700, "payable"), ("WZ-3", -1_000, -700, "reversed"),
        ("WZ-4", 900, 0, "review"),
    ]  # fmt: skip
    text = text_of(content)
    assert "共5行" in text
    assert "−10.00" in text
    assert place.person.id_masked in text
    _masked(content, place)


def _masked(content: bytes, place: money.Place) -> None:
    """No identity number: not in the bytes, not in any stream, not in the attached data."""
    number = place.person.credential.encode()
    assert number not in content
    assert number.decode() not in text_of(content)
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        for thing in file.objects:
            if isinstance(thing, pikepdf.Stream):
                assert number not in thing.read_bytes()


def test_evaluation_divides_at_the_day(place) -> None:
    place.claim(fund=6_000, cash=2_000, when=at(11, 25), day=dt.date(2021, 11, 25))
    _, content = made(
        "evaluation", place.user("supervisor"), wish(place, day=dt.date(2021, 11, 20))
    )
    figures = figures_in(content)
    (group,) = figures["groups"]
    assert (group["before"]["fund"], group["after"]["fund"]) == (12_000, 6_000)
    assert figures["days"] == {"before": 19, "after": 11}
    text = text_of(content)
    for word in (
        "以2021年11月20日为界，前段19日，后段11日",
        "分险种评估",
        "120.00",
        "60.00",
        "下降50.0%",
    ):
        assert word in text, word


def test_statement_as_a_kept_report(place) -> None:
    claim = place.claim(fund=1_000, number="WZ-9")
    deduct(
        claim_id=claim, amount=400, reason="records", note="缺病历", by="reviewer", at=at(11, 30)
    )
    period = months.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    row = Statement.objects.get()
    _, content = made("statement", place.user("supervisor"), wish(place, subject=str(row.pk)))
    text = text_of(content)
    for word in (
        "2021年11月医疗保障基金结算单",
        row.number,
        "缺病历",
        "审核扣款明细",
        "大写",
        "示例参数",
    ):
        assert word in text, word
    assert len(figures_in(content)["rows"]) == 6
    _masked(content, place)
    with pytest.raises(Refusal, match="SUBJECT"):
        orders.order(kind="statement", wish=wish(place, subject="999999"),
                     user=place.user("supervisor"), by="x", at=MADE)  # fmt: skip


def test_institution_file_and_agreement_report(place) -> None:
    factories.agreement(place.hospital, "main")
    factories.agreement(place.hospital, "supplementary", "suspended")
    year = {"since": dt.date(2021, 1, 1), "until": dt.date(2021, 12, 31)}
    with pytest.raises(Refusal, match="REQUIRED"):
        orders.order(
            kind="institution", wish=wish(place), user=place.user("supervisor"), by="x", at=MADE
        )
    _, content = made(
        "institution", place.user("supervisor"), wish(place, institution=place.code, **year)
    )
    text = text_of(content)
    for word in ("定点医疗机构年度档案", "（2021年度）", place.hospital.name, place.code, "三类", "净结算3笔",
                 "中止", "一、基本情况", "七、监管疑点"):  # fmt: skip
        assert word in text, word
    _, content = made("agreements", place.user("reviewer"), wish(place, **year))
    figures = figures_in(content)
    states = {row["kind"]: row["state"] for row in figures["agreements"]}
    assert states == {"main": "active", "supplementary": "suspended"}
    assert "存续协议2份" in text_of(content)


def test_price_compliance_compares_with_the_published_price(db) -> None:
    set_scope(EVERYTHING)
    factories.policies("nantong")
    hospital = Hospital("nantong")
    factories.offline_visit(hospital.patient, hospital.row)
    hospital.settled(factories.line(fee="12.00"))
    hospital.settled(factories.line(fee="15.00"), day=factories.DAY + dt.timedelta(days=1))
    user = factories.user("supervisor", Region.objects.get(pk="320600"))
    about = Wish(since=factories.DAY, until=factories.DAY + dt.timedelta(days=5), region="320600")
    _, content = made("prices", user, about)
    figures = figures_in(content)
    (group,) = figures["groups"]
    found = {key: group[key] for key in ("lines", "price", "cap", "least", "most", "overcharge",
                                         "overcharged")}  # fmt: skip
    assert found == {"lines": 2, "price": 1_200, "cap": 1_200, "least": 1_200, "most": 1_500,
                     "overcharge": 300, "overcharged": 1}  # fmt: skip
    text = text_of(content)
    for word in (
        "超公布价格",
        "共收取诊察费2笔、27.00元",
        "其中超出公布价格1笔，占50%",
        "超公布价格收费明细",
    ):
        assert word in text, word


def test_case_file_shows_the_inquiry_and_its_evidence(db) -> None:
    office = Office("nantong")
    row = office.inquired()
    about = Wish(since=row.acted_from, until=row.acted_until, region="320600", subject=row.number)
    _, content = made("case", office.handler, about)
    text = text_of(content)
    for word in ("监管案件卷宗", row.number, "涉嫌重复收取诊察费", "苏F-01", "主办", "协办", "证据清单",
                 "七、办理过程", office.place.name):  # fmt: skip
        assert word in text, word
    assert sum(one["loss"] for one in figures_in(content)["evidence"]) == 600
    theirs = factories.user("supervisor", factories.region("wenzhou"))
    with pytest.raises(Refusal, match="SUBJECT"):
        orders.order(
            kind="case", wish=replace(about, region="330300"), user=theirs, by="x", at=MADE
        )


def test_trail_extract_proves_what_is_sealed(place, tmp_path) -> None:
    for number in range(3):
        trail.record(by="clerk", at=MADE, action="claim.receive", subject=f"claim:{number}",
                     region_code=place.region, institution_code=place.code)  # fmt: skip
    sealer.seal(at=MADE, machine=MADE, everything=True)
    _, content = made("trail", place.user("auditor"), wish(place, until=dt.date(2021, 12, 31)))
    figures = figures_in(content)
    proven = [row for row in figures["rows"] if row["proof"] is not None]
    assert proven
    for row in proven:
        path = [bytes.fromhex(node) for node in row["proof"]]
        root = merkle.root_of_inclusion(
            bytes.fromhex(row["leaf"]), row["seq"], figures["size"], path
        )
        assert root.hex() == figures["root"]
    assert "全程留痕摘录" in text_of(content)
    bundle = tmp_path / "bundle.jsonl"
    bundle.write_bytes(binding.attached(content, press.BUNDLE))
    command = [sys.executable, "-I", verify.__file__, str(bundle)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- Pages ---


@pytest.fixture
def december(settings) -> None:
    settings.DEMO_TODAY = dt.date(2021, 12, 20)


def test_a_report_is_ordered_watched_and_taken_away_in_the_browser(place, december) -> None:
    user = place.user("supervisor")
    client = factories.log_in(Client(), user)
    page = client.get(reverse("reports")).content.decode()
    assert all(kind.title in page for kind in KINDS.values())
    new = reverse("report-new", args=["fund"])
    assert "统筹区" in client.get(new).content.decode()
    given = {"region": place.region, "since": "2021-11-01", "until": "2021-10-01", "institution": "",
             "scheme": ""}  # fmt: skip
    refused = client.post(new, given)
    assert refused.status_code == 422
    assert "不得早于起始日期" in refused.content.decode()
    answer = client.post(new, given | {"until": "2021-11-30"})
    row = ReportOrder.objects.get()
    assert answer["Location"] == reverse("report", args=[row.pk])
    waiting = client.get(answer["Location"]).content.decode()
    assert "排队" in waiting
    assert "every 2s" in waiting
    assert "取消编制" in waiting
    orders.make_now(order_id=row.pk, at=MADE)
    done = client.get(answer["Location"]).content.decode()
    row.refresh_from_db()
    assert row.report.sm3 in done
    assert "every 2s" not in done
    assert (
        client.post(reverse("report-recheck", args=[row.pk]), follow=True)
        .content.decode()
        .count("逐字节一致")
    )
    file = client.get(reverse("report-file", args=[row.pk]))
    assert file.content == reports.read(row.report)
    assert Event.objects.filter(action="report.read", actor=user.username).exists()
    sheet = b"".join(client.get(reverse("report-data", args=[row.pk, "csv"])).streaming_content)
    assert "主要指标" in sheet.decode()
    assert client.get(reverse("report-data", args=[row.pk, "xlsx"])).content[:2] == b"PK"
    assert (
        json.loads(client.get(reverse("report-data", args=[row.pk, "json"])).content)["kind"]
        == "fund"
    )
    assert client.get(reverse("report-data", args=[row.pk, "exe"])).status_code == 404


def test_a_statement_is_named_by_its_number(place, december) -> None:
    client = factories.log_in(Client(), place.user("supervisor"))
    new = reverse("report-new", args=["statement"])
    wrong = client.post(new, {"region": place.region, "statement": "17"})
    assert "结算单号形如" in wrong.content.decode()
    gone = client.post(new, {"region": place.region, "statement": "JS202111-0000001"})
    assert "没有此结算单" in gone.content.decode()


def test_the_register_is_a_sheet_of_the_same_rows(place) -> None:
    _, content = made("claims", place.user("supervisor"), wish(place))
    head, rows = press.table_of(press.document_in(content))
    assert tuple(head) == claims.HEAD
    assert [line[2] for line in rows] == ["WZ-1", "WZ-2", "WZ-3", "WZ-3", "WZ-4"]


# --- Words ---


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("2021-01-01", "2021-12-31", "2021年度"), ("2021-11-01", "2021-11-30", "2021年11月"),
        ("2021-01-01", "2021-03-31", "2021年1—3月"), ("2020-12-01", "2021-02-28", "2020年12月至2021年2月"),
        ("2021-01-05", "2021-02-28", "2021年1月5日至2021年2月28日"),
        ("2020-02-01", "2020-02-28", "2020年2月1日至2020年2月28日"),
    ],
)  # fmt: skip
def test_spans_are_named_as_in_reports(since: str, until: str, words: str) -> None:
    assert book.span_name(since, until) == words


def test_small_words() -> None:
    assert [book.numeral(i) for i in (0, 9, 10, 18, 19)] == ["一", "十", "十一", "十九", "二十"]
    assert [book.change(now, 200) for now in (200, 225, 150)] == ["持平", "增长12.5%", "下降25.0%"]
    assert [book.change(now, 200) for now in (1999, 2000)] == ["增长899.5%", "为其10倍"]
    assert book.change(5, 0) == "—"
    assert press.clip("南通市第一人民医院", 60) == "南通市第一人民医院"
    assert press.clip("南" * 40, 20) == f"{'南' * 12}…"
    full = book.Book()
    full.list_rows("甲", [], [])
    with pytest.raises(ValueError, match="one register"):
        full.list_rows("乙", [], [])
