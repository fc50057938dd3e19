"""Claims as CSV and XLSX: the rows of the current query, bounded, streamed, numbers kept as text."""

import datetime as dt
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

from django.db.models import QuerySet
from django.utils import timezone

from audit import sheets
from institutions.access import scoped
from institutions.models import Scope
from institutions.money import yuan
from settlement.search import AMOUNTS, Found, walk

ROWS_MOST = 50_000
PIECE = 65_536  #: bytes sent at once
HEADS = (
    "单据号", "医疗机构", "机构编码", "参保人", "证件号码", "服务日期", "申报时间", "费用",
    "政策范围内", "超标准自费", "范围外", "暂不支付", "先行自付", "统筹基金", "大病保险",
    "医疗救助", "个人账户", "个人现金", "机构承担",
    "状态", "示例参数",
)  # fmt: skip
FIRST_AMOUNT = HEADS.index("费用")
CUT = f"仅导出前 {ROWS_MOST:,} 行，请缩小查询范围后再导出"


def csv_lines(claims: QuerySet, *, scope: Scope) -> Iterator[str]:
    """CSV with a byte order mark, line by line, in a transaction of its own with the user's scope."""
    with scoped(scope):
        yield from sheets.csv_lines(HEADS, _rows(claims))


def xlsx_pieces(claims: QuerySet, *, scope: Scope) -> Iterator[bytes]:
    """An XLSX workbook in pieces: written to disk row by row in a transaction of its own, then sent."""
    with tempfile.TemporaryFile() as file:
        with scoped(scope):
            xlsx(claims, into=file)
        file.seek(0)
        yield from iter(lambda: file.read(PIECE), b"")


def xlsx(claims: QuerySet, *, into: IO[bytes]) -> None:
    """Write a workbook; identifiers are text cells, amounts numbers in yuan."""
    import xlsxwriter  # only for who writes a workbook (`audit.sheets`)

    with tempfile.TemporaryDirectory() as place:
        options = {"constant_memory": True, "tmpdir": place, "strings_to_formulas": False}
        with xlsxwriter.Workbook(into, options) as book:
            sheet = book.add_worksheet("费用明细")
            money = book.add_format({"num_format": "#,##0.00"})
            sheet.freeze_panes(1, 1)
            sheet.set_column(0, len(HEADS) - 1, 15)
            sheet.write_row(0, 0, HEADS, book.add_format({"bold": True}))
            for number, row in enumerate(_rows(claims), 1):
                _write(row, number, sheet.write_string, sheet.write_number, money)


def _write(
    row: Sequence[str], number: int, text: Callable, amount: Callable, money: object
) -> None:
    for column, value in enumerate(row):
        if FIRST_AMOUNT <= column < FIRST_AMOUNT + 1 + len(AMOUNTS) and value:
            amount(number, column, float(value), money)
        else:
            text(number, column, value)


def bounded(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Rows of text up to the bound; one more says that the rest was left out."""
    for number, row in enumerate(rows):
        if number == ROWS_MOST:
            yield [CUT, *[""] * (len(row) - 1)]
            return
        yield row


def _rows(claims: QuerySet) -> Iterator[Sequence[str]]:
    return bounded(map(_row, walk(claims, most=ROWS_MOST + 1)))


def _row(found: Found) -> list[str]:
    claim, person = found.claim, found.person
    return [
        claim.claim_no, found.institution, claim.institution_code,
        person.name_masked if person else "", person.id_masked if person else "",
        claim.service_date.isoformat(), _moment(claim.received_at), yuan(claim.fee),
        *(yuan(found.amounts[name]) for name in AMOUNTS),
        found.state_text, "示例参数" if found.example else "",
    ]  # fmt: skip


def _moment(at: dt.datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S")


def file_name(day: dt.date, ending: str) -> str:
    """The name of an exported file."""
    return f"费用明细-{day:%Y%m%d}.{ending}"
