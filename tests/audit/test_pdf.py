"""Papers: the same bytes each time, nothing from outside, the data inside, laid out as official papers are."""

import datetime as dt
import hashlib
import io
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pypdfium2
import pytest
from django.template import engines
from pyhanko.pdf_utils.reader import PdfFileReader

from audit import pdf, press
from audit.clock import ZONE

ROOT = Path(__file__).parents[2]
AT = dt.datetime(2021, 12, 20, 10, 30, tzinfo=ZONE)
NAME = pdf.identifier_of("notice", "示例3号")
ITEM = {
    "condition": "已获互联网医院资质",
    "clause": "六（二）",
    "finding": "缺少",
    "remedy": "补充",
}
NOTICE = {
    "issuer": "示例市医疗保险管理中心",
    "number": "示医保告〔2021〕3号",
    "institution": "示例医院",
    "subject": "补充协议",
    "stage": "材料审核",
    "basis": ["示例办法"],
    "items": [{"no": 1, **ITEM}],
    "follows": [{"text": "3个月后可以再次申报。", "clause": "七"}],
    "issued_on": "2021年12月20日",
    "demo": True,
}
CHECKS = [
    {"no": n, "item": f"项目{n}", "clause": "十六", "expected": "成功", "result": result}
    | {"result_text": word, "remark": ""}
    for n, (result, word) in enumerate([("passed", "合格"), ("failed", "不合格")], 1)
]
ACCEPTANCE = {
    "issuer": "示例信息中心",
    "number": "示验〔2021〕5号",
    "institution": "示例医院",
    "facts": [{"label": "测试日期", "value": "2021年12月13日"}],
    "groups": [{"title": "联网结算", "rows": CHECKS}],
    "counts": {"total": 2, "passed": 1, "failed": 1, "not_applicable": 0},
    "passed": False,
    "conclusion": "有一项不符合要求。",
    "testers": [{"role": "测试", "name": "陈示例"}],
    "issued_on": "2021年12月20日",
}


def notice(**changes):
    options = {"identifier": NAME, "at": AT, "note": ""} | {
        key: changes.pop(key) for key in ("attachments", "watermark", "at") if key in changes
    }
    return pdf.render("reports/notice.html", NOTICE | changes, **options)


def read(document: bytes) -> PdfFileReader:
    return PdfFileReader(io.BytesIO(document))


def pages(document: bytes) -> list[str]:
    """The text of each page as a reader of another maker sees it, without white space."""
    with closing(pypdfium2.PdfDocument(document)) as opened:
        return ["".join(page.get_textpage().get_text_bounded().split()) for page in opened]


def words(document: bytes) -> str:
    return "".join(pages(document))


def shades(document: bytes) -> list[int]:
    """How many points of each page are neither white nor dark."""
    with closing(pypdfium2.PdfDocument(document)) as opened:
        drawn = [page.render(scale=1, grayscale=True).to_numpy() for page in opened]
    return [int(((page > 215) & (page < 240)).sum()) for page in drawn]


def test_the_same_input_gives_the_same_bytes_in_every_process():
    script = (
        "import hashlib, sys; sys.path[:0] = [sys.argv[1]]\n"
        "import django; django.setup()\n"
        "from tests.audit.test_pdf import notice\n"
        "print(hashlib.sha256(notice()).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", script, str(ROOT)],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    first = notice()
    assert notice() == first
    assert elsewhere.strip() == hashlib.sha256(first).hexdigest()


def test_other_content_time_or_identifier_gives_other_bytes():
    later = AT + dt.timedelta(seconds=1)
    assert len({notice(), notice(at=later), notice(institution="另一医院")}) == 3


def test_it_is_pdf_a_3_with_title_language_tags_and_embedded_fonts():
    reader = read(notice())
    root = reader.root
    metadata = root["/Metadata"].data.decode()
    assert 'pdfaid:part="3"' in metadata
    assert 'pdfaid:conformance="A"' in metadata
    assert reader.trailer["/Info"]["/Title"] == "一次性告知书 示医保告〔2021〕3号"
    assert reader.trailer["/Info"]["/CreationDate"] == "D:20211220103000+08'00"
    assert str(root["/Lang"]) == "zh-Hans"
    assert root["/MarkInfo"]["/Marked"]
    assert root["/OutputIntents"][0]["/S"] == "/GTS_PDFA1"
    fonts = root["/Pages"]["/Kids"][0]["/Resources"]["/Font"]
    described = [fonts[name]["/DescendantFonts"][0]["/FontDescriptor"] for name in fonts]
    assert len(described) == 3  # each further CJK face costs time and 150 kB
    assert all("/FontFile3" in font for font in described)


def test_the_data_behind_a_paper_travel_in_it():
    value = {"number": "示医保告〔2021〕3号", "items": [1], "day": dt.date(2021, 12, 20)}
    data = pdf.json_attachment("notice.json", value, "告知书数据")
    root = read(notice(attachments=[data])).root
    file = root["/Names"]["/EmbeddedFiles"]["/Names"][1]
    assert file["/UF"] == "notice.json"
    assert file["/AFRelationship"] == "/Data"
    assert root["/AF"][0]["/UF"] == "notice.json"
    stream = file["/EF"]["/F"]
    assert stream["/Params"]["/ModDate"] == "D:20211220023000Z"
    assert json.loads(stream.data) == value | {"day": "2021-12-20"}
    assert stream.data == data.content


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/x.png", "file:///etc/hostname", "https://portal.example/x.svg"]
)
def test_nothing_is_loaded_from_outside(address, monkeypatch):
    def paper(template, context):
        return engines["django"].from_string('<img src="{{ address }}">').render(context)

    monkeypatch.setattr(pdf, "render_to_string", paper)
    with pytest.raises(press.ForeignAddress):
        pdf.render("any.html", {"address": address}, identifier=NAME, at=AT, note="")


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="aware"):
        notice(at=AT.replace(tzinfo=None))


def test_user_text_is_text():
    printed = words(notice(institution="<b>甲&乙</b>医院"))
    assert "<b>甲&乙</b>医院：" in printed


def test_every_page_is_numbered_and_a_long_table_repeats_its_head():
    document = notice(items=[{"no": n, **ITEM} for n in range(1, 61)])
    count = len(pages(document))
    printed = words(document)
    assert count >= 3
    assert all(f"第{page}页/共{count}页" in printed for page in range(1, count + 1))
    assert printed.count("序号") >= count - 1
    assert "共60项" in printed


def test_a_watermark_stands_on_every_page_and_in_nobody_s_way():
    plain, marked = notice(), notice(watermark="reviewer.wenzhou 2021-12-20 <10:30>")
    pairs = list(zip(shades(plain), shades(marked), strict=True))
    assert all(with_mark > without + 1000 for without, with_mark in pairs), pairs
    assert words(marked) == words(plain)


def test_a_notice_lists_everything_once_with_its_clause():
    printed = words(notice())
    for text in ("需要完善的内容（共1项）", "（六（二））", "送达回证", "送达之日起计算", "（七）"):
        assert text in printed
    assert printed.index("示医保告〔2021〕3号") < printed.index("示例医院：")


@pytest.mark.parametrize(("passed", "word"), [(True, "验收合格"), (False, "验收不合格")])
def test_an_acceptance_report_ends_in_one_conclusion(passed, word):
    context = ACCEPTANCE | {"passed": passed}
    template = "reports/acceptance.html"
    printed = words(pdf.render(template, context, identifier=NAME, at=AT, note=""))
    assert printed.count("验收合格") + printed.count("验收不合格") == 1
    assert word in printed
    assert "共2项：合格1项，不合格1项，不适用0项" in printed


def test_a_code_for_telephones_is_a_drawing_without_address():
    drawing = pdf.qr("https://portal.example/verify/1")
    assert drawing.startswith("data:image/svg+xml")
    address = {"url": "https://portal.example/verify/1", "qr": drawing}
    assert address["url"] in words(notice(verify=address))
