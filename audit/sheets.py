"""Tables of files: CSV and XLSX read as text, CSV and XLSX written so that nothing in them runs.

A cell is text: a long number that a spreadsheet kept as a number has lost digits and is refused.
"""

import csv
import datetime as dt
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import python_calamine

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV = "text/csv; charset=utf-8"
BOM = "\ufeff"
MAX_UNPACKED = 512 * 1024 * 1024
LONGEST_TITLE = 31  #: letters of the title of a sheet
FORBIDDEN = re.compile(r"[\[\]:*?/\\]")  #: in the title of a sheet, or the name of a file
LAST_ROW = 20_000  #: to which the words of a column are offered
EXACT_DIGITS = 15  #: a spreadsheet keeps no more digits of a number
RISKY = ("=", "+", "-", "@", "\t", "\r")
AMOUNT = re.compile(r"-\d+(\.\d+)?")
#: An amount in yuan as `audit.text.yuan` writes it
PRINTED = re.compile(r"[−+]?\d{1,3}(,\d{3})*\.\d{2}")
#: How a spreadsheet writes a long number that it no longer knows: 1.23E+17
SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d+)?[eE]\+\d+")
LOST_DIGITS = "长数字以数值保存，末位已丢失；请把单元格设为文本格式"


class SheetError(ValueError):
    """The file cannot be read at all; the message is Chinese."""


class Wrong(str):
    """The text of a cell that a workbook shows in red."""

    __slots__ = ()


# --- Reading ---


def rows_of(name: str, content: bytes) -> Iterator[tuple[int, Sequence]]:
    """(row number from 1, cells) of a .csv or .xlsx file; SheetError when it is neither."""
    ending = name.lower().rpartition(".")[2]
    if ending == "xlsx":
        yield from xlsx_rows(content)
    elif ending == "csv":
        yield from csv_rows(content)
    else:
        raise SheetError("只接受 .csv 或 .xlsx 文件")


def csv_rows(content: bytes) -> Iterator[tuple[int, Sequence]]:
    """The rows of a CSV file in any encoding that is read, a piece of it in memory as text."""
    lines = io.TextIOWrapper(io.BytesIO(content), encoding=encoding_of(content), newline="")
    try:
        yield from enumerate(csv.reader(lines), 1)
    except csv.Error as error:
        raise SheetError(f"CSV 无法读取：{error}") from error


def xlsx_rows(content: bytes) -> Iterator[tuple[int, Sequence]]:
    """The rows of the first sheet: values only, formulas are not evaluated."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
                raise SheetError("工作簿解压后过大")
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheet = book.get_sheet_by_index(0)
    except (zipfile.BadZipFile, python_calamine.CalamineError, IndexError) as error:
        raise SheetError("不是有效的 XLSX 工作簿") from error
    yield from enumerate(sheet.iter_rows(), 1)


def text_of(content: bytes) -> str:
    """The text of a file in an encoding that is read."""
    return content.decode(encoding_of(content))


def encoding_of(content: bytes) -> str:
    """UTF-8 (with or without BOM), UTF-16 with BOM, or GB 18030 (GBK); anything else is refused."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return encoding
    raise SheetError("文件编码无法识别：应为 UTF-8、UTF-16（带 BOM）或 GBK，且不含空字符")


def cell_text(value: object) -> str:
    """A cell as text. Raises ValueError for a number with more digits than a spreadsheet keeps."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int | float):
        if abs(value) >= 10**EXACT_DIGITS:
            raise ValueError(LOST_DIGITS)
        number = Decimal(repr(value))
        return format(
            number.quantize(Decimal(1)) if number == number.to_integral() else number, "f"
        )
    text = str(value).strip().removeprefix("'")
    return text[2:-1] if text.startswith('="') and text.endswith('"') else text


# --- Writing ---


def harmless(text: str) -> str:
    """A text that a spreadsheet would run as a formula is led by an apostrophe; −1.00 is none."""
    return f"'{text}" if text.startswith(RISKY) and not AMOUNT.fullmatch(text) else text


class _Line:
    """A file of one line: what csv.writer writes is handed on."""

    def write(self, text: str) -> str:
        return text


def counted(text: str) -> str | Decimal:
    """The cell of a workbook for a printed text: an amount is a number that can be summed."""
    if not PRINTED.fullmatch(text):
        return text
    return Decimal(text.replace(",", "").replace("−", "-"))


def csv_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """CSV line by line, with a byte order mark: spreadsheets then read UTF-8."""
    writer = csv.writer(_Line())
    yield BOM + writer.writerow(head)
    for row in rows:
        yield writer.writerow([harmless(cell) for cell in row])


@dataclass(frozen=True)
class Guide:
    """What helps to fill in a workbook: words to choose from by column, and a sheet that explains."""

    choices: Mapping[int, Sequence[str]]
    title: str
    rows: Sequence[Sequence[str]]


def workbook(
    title: str,
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    guide: Guide | None = None,
    *,
    made_at: dt.datetime | None = None,
) -> bytes:
    """A sheet, written row by row; every cell is text or a number, never a formula or a link.

    An int is shown as it is, a Decimal as an amount with two places. With `made_at` the same rows are
    the same bytes.
    """
    sink = io.BytesIO()
    with _book(sink, made_at) as (book, formats):
        sheet = _sheet(book, title, head, rows, formats)
        for at, words in (guide.choices if guide else {}).items():
            sheet.data_validation(1, at, LAST_ROW, at, {"validate": "list", "source": list(words)})
        if guide:
            _sheet(book, guide.title, guide.rows[0], guide.rows[1:], formats)
    return sink.getvalue()


def workbook_of(
    tables: Iterable[tuple[str, Sequence[str], Iterable[Sequence[object]]]],
    *,
    made_at: dt.datetime,
) -> bytes:
    """A workbook of several sheets (title, head, rows); a title is cut to what a sheet may be called."""
    sink = io.BytesIO()
    with _book(sink, made_at) as (book, formats):
        for title, head, rows in tables:
            _sheet(book, FORBIDDEN.sub(" ", title)[:LONGEST_TITLE].strip(), head, rows, formats)
    return sink.getvalue()


@contextmanager
def _book(sink: io.BytesIO, made_at: dt.datetime | None) -> Iterator[tuple[Any, dict]]:
    import xlsxwriter  # 3 MB and a tenth of a second: only for who writes a workbook

    safe = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False,
            "strings_to_numbers": False}  # fmt: skip
    with xlsxwriter.Workbook(sink, safe) as book:
        if made_at is not None:
            book.set_properties({"created": made_at.astimezone(dt.UTC).replace(tzinfo=None)})
        yield (
            book,
            {
                bool: book.add_format({"bold": True}),
                str: book.add_format({"num_format": "@"}),
                Decimal: book.add_format({"num_format": "#,##0.00"}),
                Wrong: book.add_format(
                    {"num_format": "@", "font_color": "#9c0006", "bg_color": "#ffc7ce"}
                ),
            },
        )


def archive(files: Mapping[str, Iterable[str]], *, made_at: dt.datetime) -> bytes:
    """CSV files by their titles, numbered in their order, in one ZIP: the same bytes for the same rows."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as kept:
        for number, (title, lines) in enumerate(files.items()):
            name = f"{number:02} {FORBIDDEN.sub(' ', title)}.csv"
            member = zipfile.ZipInfo(name, made_at.timetuple()[:6])
            member.compress_type = zipfile.ZIP_DEFLATED
            with kept.open(member, "w") as stream:
                stream.writelines(line.encode() for line in lines)
    return sink.getvalue()


def _sheet(
    book: Any, title: str, head: Sequence[str], rows: Iterable[Sequence[object]], formats: dict
) -> Any:
    sheet = book.add_worksheet(title)
    sheet.set_column(0, max(len(head) - 1, 0), 16, formats[str])
    sheet.freeze_panes(1, 0)
    for at, label in enumerate(head):
        sheet.write_string(0, at, label, formats[bool])
    for number, row in enumerate(rows, 1):
        for at, value in enumerate(row):
            if isinstance(value, int) and not isinstance(value, bool):
                sheet.write_number(number, at, value)
            elif isinstance(value, Decimal):
                sheet.write_number(number, at, value, formats[Decimal])
            else:
                kind = Wrong if isinstance(value, Wrong) else str
                sheet.write_string(number, at, str(value), formats[kind])
    return sheet
