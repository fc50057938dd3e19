"""Reports: the same bytes again, inside one's scope, cancellable; what each kind says: test_report_kinds."""

import datetime as dt
import hashlib
import io
import json
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pikepdf
import pypdfium2
import pytest
import python_calamine
import segno
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from audit import notes, pdf, reports, sealer
from audit.models import Checkpoint, Event
from institutions.refusals import Refusal
from supervision.bench import reports as bench
from supervision.models import ReportOrder, ReportPart
from supervision.reports import book, claims, orders, press
from supervision.reports.kinds import KINDS
from tests import factories
from tests.supervision.printed import MADE, made, text_of, wish

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
                 "表1", "图1", "第 2 页 / 共", row.asked_by, "数据截至 2021-12-20 10:00:00", "核验地址",
                 "温医保办〔2021〕6号 十八、二十四"):  # fmt: skip
        assert word in text, word


def test_the_file_says_that_it_is_pdf_a_with_the_data_inside(place) -> None:
    _, content = made("fund", place.user("supervisor"), wish(place))
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        assert list(file.attachments) == [press.ATTACHED]  # no checkpoint yet
        assert b"conformance" in file.Root.Metadata.read_bytes()
        assert "/StructTreeRoot" in file.Root


@pytest.fixture
def sealed(settings, tmp_path) -> Checkpoint:
    """The checkpoint under which the next reports are made."""
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.PORTAL_URL = "https://portal.example.cn"
    run = sealer.seal(at=MADE - dt.timedelta(minutes=5), machine=MADE)
    assert run.checkpoint is not None
    return run.checkpoint


def test_a_report_carries_checkpoint_code_and_watermark(place, sealed) -> None:
    row, content = made("claims", place.user("supervisor"), wish(place))
    address = f"https://portal.example.cn{reverse('report-check', args=[row.report_id])}"
    with closing(pypdfium2.PdfDocument(content)) as document:
        texts = ["".join(page.get_textpage().get_text_bounded().split()) for page in document]
        cover = document[0].render(scale=8, grayscale=True).to_numpy()
        drawn = [page.render(scale=1, grayscale=True).to_numpy() for page in document]
    for word in (
        f"条数{sealed.size:,}",
        bytes(sealed.root).hex(),
        sealed.text.split()[-1],
        address,
    ):
        assert word in texts[0]
    root = bytes(sealed.root).hex()[: pdf.ROOT_SHOWN]
    for number, text in enumerate(texts[1:], 2):  # chapters, and the register's parts
        assert f"留痕检查点：{sealed.size:,}条，树根（SM3）{root}" in text, number
        assert f"公钥{sealed.key_id}" in text
    assert len(texts) > 2
    # behind every page: the light letters of user and time
    assert all(((page > 215) & (page < 240)).sum() > 1000 for page in drawn)
    code = segno.make(sealed.text, error="m", micro=False)
    wanted = [[bool(cell) for cell in line] for line in code.matrix]
    assert _modules(cover, len(wanted)) == wanted
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        assert file.attachments[pdf.NOTE_NAME].get_file().read_bytes() == sealed.text.encode()
    sealer.seal(at=MADE + dt.timedelta(days=1), machine=MADE, everything=True)
    assert Checkpoint.objects.count() == 2
    assert press.print_whole(reports.content_of(row.report)).content == content


def test_cover_and_proofs_name_one_checkpoint_whatever_is_signed_between(
    place, sealed, monkeypatch
):
    kind = KINDS["trail"]

    def slow(about, user):
        figures = kind.gather(about, user)
        sealer.seal(at=MADE - dt.timedelta(minutes=2), machine=MADE, everything=True)
        return figures

    monkeypatch.setitem(KINDS, "trail", replace(kind, gather=slow))
    row, content = made("trail", place.user("auditor"), wish(place))
    assert Checkpoint.objects.count() == 2
    document = press.document_in(content)
    assert (document["seal"]["qr"], document["figures"]["checkpoint"]) == (sealed.text, sealed.text)
    assert row.report.checkpoint == sealed


def test_a_report_of_another_layout_is_not_called_changed(place, settings, monkeypatch) -> None:
    """The kept file counts: drawn by an older layout it is proven by its SM3, or told to be changed."""
    row, _ = made("fund", place.user("supervisor"), wish(place))
    assert row.report.renderer == press.renderer()
    client = factories.log_in(Client(), place.user("supervisor"))

    def told() -> tuple[str, str]:
        page = client.post(reverse("report-recheck", args=[row.pk]), follow=True).content.decode()
        event = Event.objects.filter(action="report.check").order_by("-at").first()
        found = [word for word in ("逐字节一致", "SM3 与登记一致", "SM3 与登记不一致",
                                   "与所存文件不一致") if word in page]  # fmt: skip
        return "、".join(found), event.outcome

    assert told() == ("逐字节一致", "ok")
    draw = press.print_whole
    monkeypatch.setattr(
        press, "print_whole", lambda document: press.Printed(draw(document).content + b" ", 1)
    )
    assert told() == ("与所存文件不一致", "refused")
    monkeypatch.setattr(press, "renderer", lambda: "WeasyPrint 99 版式 00")
    assert told() == ("SM3 与登记一致", "ok")
    path = Path(settings.MEDIA_ROOT, row.report.body.file)
    path.write_bytes(path.read_bytes() + b" ")
    assert told() == ("SM3 与登记不一致", "refused")


def test_what_drew_a_report_names_its_templates_and_style_sheets(tmp_path, monkeypatch) -> None:
    names = {path.name for path in press.layout()}
    assert {"base.html", "book.html", "roster.html", "report.css", "report_book.css"} <= names
    assert {"press.py", "book.py"} <= names
    sheet = tmp_path / "report.css"
    sheet.write_text("a")
    first = reports.renderer_of([sheet])
    assert (first, len(first) <= 60) == (reports.renderer_of([sheet]), True)
    sheet.write_text("b")
    assert reports.renderer_of([sheet]) != first


def test_what_is_measured_is_sealed_as_every_report(settings, tmp_path) -> None:
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    document = bench.invented(1)
    note = notes.parse(document["seal"]["qr"])
    assert notes.verify(note, notes.public_key())
    content = press.print_whole(document).content
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        assert (
            file.attachments[pdf.NOTE_NAME].get_file().read_bytes()
            == document["seal"]["qr"].encode()
        )
    assert f"留痕检查点：{bench.SEALED:,} 条" in text_of(content)


def _modules(cover: np.ndarray, count: int) -> list[list[bool]]:
    """The dark and light fields of the code at the foot of a cover: 27 mm wide with its edge of two
    fields, at the left margin, under the rule over the block.
    """
    point = cover.shape[1] / 210  # pixels of a millimetre
    strip = cover[int(200 * point) :, int(28 * point) : int(55 * point)] < 128
    dark = np.flatnonzero(strip[:, : int(16 * point)].any(axis=1))
    top = dark[np.flatnonzero(np.diff(dark) > point)[0] + 1]
    step = 27 * point / (count + 4)
    left = np.flatnonzero(strip[top : int(top + 7 * step)].any(axis=0))[0]
    fields = [int((i + 0.5) * step) for i in range(count)]
    return [[bool(strip[top + y, left + x]) for x in fields] for y in fields]


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


def test_a_part_is_laid_out_from_its_slice_alone(place, monkeypatch) -> None:
    """No part reads the document: a register of twice the length costs each of them no more."""
    monkeypatch.setattr(press, "ROWS_A_PAGE", 2)
    monkeypatch.setattr(press, "PART_ROWS", 4)
    for number in range(6):
        place.claim(fund=100, number=f"N{number}")
    user = place.user("supervisor")
    row = orders.order(kind="claims", wish=wish(place), user=user, by=user.username, at=MADE)
    assert orders.gather(order_id=row.pk, at=MADE)
    row.refresh_from_db()
    document = json.loads(bytes(row.document))
    waiting = list(row.parts.filter(done_at=None))
    slices = [json.loads(bytes(part.slice)) for part in waiting]
    assert [len(piece["rows"]) for piece in slices] == [4, 4, 3]
    assert not any("figures" in piece for piece in slices)
    ReportOrder.objects.filter(pk=row.pk).update(document=b"")
    assert all(orders.print_part(part_id=part.pk, at=MADE) for part in waiting)
    assert not row.parts.exclude(slice=None).exists()
    ReportOrder.objects.filter(pk=row.pk).update(document=press.canonical(document))
    assert orders.finish(order_id=row.pk, at=MADE)
    row.refresh_from_db()
    assert reports.read(row.report) == press.print_whole(document).content
    with (
        pytest.raises(IntegrityError, match="report_part_waits_with_its_slice"),
        transaction.atomic(),
    ):
        row.parts.update(done_at=None)


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


def test_a_report_is_cancelled_in_the_page(place, december) -> None:
    user = place.user("supervisor")
    row = orders.order(kind="claims", wish=wish(place), user=user, by=user.username, at=MADE)
    assert orders.gather(order_id=row.pk, at=MADE)
    client = factories.log_in(Client(), user)
    page, stop = reverse("report", args=[row.pk]), reverse("report-cancel", args=[row.pk])
    assert stop in client.get(page).content.decode()
    assert client.get(stop).status_code == 405
    answer = client.post(stop, follow=True)
    assert answer.redirect_chain == [(page, 302)]
    text = answer.content.decode()
    assert "已取消编制。" in text
    assert stop not in text
    assert "every 2s" not in text
    row.refresh_from_db()
    assert (row.state, row.report) == ("cancelled", None)
    assert (
        Event.objects.get(action="reportorder.cancel", actor=user.username).subject == row.subject
    )
    assert "报告已经结束，不能取消" in client.post(stop, follow=True).content.decode()
    for part in row.parts.filter(done_at=None):
        assert not orders.print_part(part_id=part.pk, at=MADE)
    assert client.get(reverse("report-file", args=[row.pk])).status_code == 404
    reader = factories.log_in(Client(), place.user("hospital"))
    assert reader.post(stop).status_code in (403, 404)


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
    archive = client.get(reverse("report-data", args=[row.pk, "csv"])).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert "主要指标" in files.read("00 目录.csv").decode()
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
    sheet = press.sheets_of(press.document_in(content))[-1]
    assert tuple(sheet.head) == claims.HEAD
    assert [line[2] for line in sheet.rows] == ["WZ-1", "WZ-2", "WZ-3", "WZ-3", "WZ-4"]


def test_the_workbook_holds_amounts_as_numbers_and_persons_masked(place, december) -> None:
    user = place.user("supervisor")
    row, _ = made("claims", user, wish(place))
    client = factories.log_in(Client(), user)
    content = client.get(reverse("report-data", args=[row.pk, "xlsx"])).content
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
    assert book.sheet_names[:2] == ["目录", "表1 分机构汇总"]
    (_, head), *lines = enumerate(book.get_sheet_by_name("附表 费用结算明细表").to_python(), 1)
    assert tuple(head) == claims.HEAD
    assert len(lines) == row.rows
    cells = dict(zip(head, lines[3][1], strict=True))
    person = place.person
    assert cells == {
        "序号": "4", "医疗机构": place.hospital.name, "单据号": "WZ-3", "参保人": person.name_masked,
        "证件号": person.id_masked, "险种": "居民医保", "服务日期": "2021-11-15", "费用": -10.0,
        "统筹基金": -7.0, "个人账户": 0.0, "个人现金": -3.0, "状态": "已冲正",
    }  # fmt: skip
    assert "*" in cells["参保人"]
    assert "*" in cells["证件号"]
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        assert "#,##0.00" in book.read("xl/styles.xml").decode()
        assert not [
            name for name in book.namelist()
            if place.person.credential.encode() in book.read(name)
        ]  # fmt: skip


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
