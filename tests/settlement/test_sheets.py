"""Files of claims: every encoding read or refused, long numbers kept, no formula."""

import io
import zipfile

import pytest
import python_calamine
import xlsxwriter

from settlement import sheets
from settlement.sheets import SheetError

HEAD = "申请单号,凭证号码,行号,费用类别,金额,诊断名称"
TEXT = f"{HEAD}\nA1,330300199001011234,1,consult,12.00,高血压\nA1,,2,drug,30.5,\n"
TEXT += "A2,33030019900101123X,1,consult,1,咳嗽\n"


def xlsx(*rows: tuple) -> bytes:
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return sink.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "gb18030"])
def test_every_encoding_is_read(encoding: str) -> None:
    parsed = sheets.read("a.csv", TEXT.encode(encoding))
    assert not parsed.errors
    assert [entry.rows for entry in parsed.entries] == [[2, 3], [4]]
    first = parsed.entries[0].claim
    assert first["person"]["credential"] == "330300199001011234"
    assert first["encounter"]["diagnoses"][0]["name"] == "高血压"
    assert [line["fee"] for line in first["lines"]] == ["12.00", "30.5"]


def test_rows_of_a_claim_stand_together() -> None:
    head, *rows = TEXT.splitlines()
    apart = "\n".join([head, rows[0], rows[2], rows[1]])
    parsed = sheets.read("a.csv", apart.encode())
    assert [(e.row, e.column, e.code) for e in parsed.errors] == [(4, "申请单号", "ROWS_APART")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\0\0", "编码"),
        ("a.csv", TEXT.encode() + b"\0", "编码"),
        ("a.csv", b"\x80\xff\xff", "编码"),
        ("a.csv", b"", "空"),
        ("a.csv", "申请单号\nA1\n".encode(), "缺少列"),
        ("a.csv", TEXT.replace("金额", "金 额").encode(), "不认识的列"),
        ("a.csv", (TEXT.splitlines()[0]).encode(), "没有申请单"),
        ("a.xlsx", b"PK no workbook", "XLSX"),
        ("a.exe", b"MZ", "只接受"),
        ("a.csv", b"x" * (sheets.MAX_BYTES + 1), "上限"),
    ],
)
def test_what_is_no_file_of_claims_is_refused(name: str, content: bytes, message: str) -> None:
    with pytest.raises(SheetError, match=message):
        sheets.read(name, content)


def test_a_hundred_thousand_claims_are_one_file_and_one_more_is_refused() -> None:
    row = b'{"claim_no":"A1","lines":[{}]}\n'
    assert len(sheets.read("a.jsonl", row * 100_000).entries) == 100_000
    with pytest.raises(SheetError, match="100000"):
        sheets.read("a.jsonl", row * 100_001)


def test_an_identity_number_stays_text_and_a_spoilt_one_is_an_error() -> None:
    head = tuple(HEAD.split(","))
    good = sheets.read("a.xlsx", xlsx(head, ("A1", "330300199001011234", 1, "consult", 12.3, "x")))
    assert good.entries[0].claim["person"]["credential"] == "330300199001011234"
    assert good.entries[0].claim["lines"] == [
        {"line_no": 1, "kind": "consult", "item_code": "", "fee": "12.3"}
    ]
    spoilt = sheets.read("a.xlsx", xlsx(head, ("A1", 330300199001011234, "x", "consult", 12, "x")))
    found = [(e.row, e.column, e.code) for e in spoilt.errors]
    assert found == [(2, "凭证号码", "CELL_INVALID"), (2, "行号", "CELL_INVALID")]


def test_json_lines_are_strict_and_named_by_line() -> None:
    parsed = sheets.read("a.jsonl", b'{"claim_no":"A","lines":[{},{}]}\n\n{"a":\n[]\n')
    assert [(entry.rows, bool(entry.claim)) for entry in parsed.entries] == [
        ([1, 1], True),
        ([4], False),
    ]
    assert [(error.row, error.code) for error in parsed.errors] == [(3, "JSON_INVALID")]


def test_the_template_is_a_file_that_can_be_read() -> None:
    parsed = sheets.read("t.xlsx", sheets.template())
    assert not parsed.errors
    claim = parsed.entries[0].claim
    assert claim["person"]["credential"].isdigit()
    assert claim["encounter"]["started_at"] == "2021-06-01T09:00:00+08:00"


def test_nothing_written_is_a_formula_and_errors_stand_in_their_row() -> None:
    error = sheets.RowError(2, "金额", "X", "=1+1", "附件")
    written = sheets.annotated("a.csv", TEXT.replace("高血压", "=1+1").encode(), [error])
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(written))
    rows = book.get_sheet_by_index(0).to_python()
    assert rows[2][1] == "金额：=1+1（附件）"
    assert rows[2][3] == "330***********1234"
    assert rows[2][7] == "=1+1"


@pytest.mark.parametrize("line", [
    '{"person": {"credential_type": "id_card", "credential": "330300199001011234"}, "lines": []}',
    '{"credential":330300199001011234,',
    "{'credential': '330300199001011234'",
    '{"person": 330300199001011234}',
])  # fmt: skip
def test_an_annotated_line_of_json_shows_no_credential(line: str) -> None:
    written = sheets.annotated("a.jsonl", line.encode(), [sheets.RowError(1, "", "X", "不符")])
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(written))
    shown = book.get_sheet_by_index(0).to_python()[1][2]
    assert shown == line.replace("330300199001011234", "330***********1234")
