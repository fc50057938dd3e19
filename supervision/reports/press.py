"""From a stored document to a PDF: the same document gives the same bytes, in one run or in many parts.

A document is plain JSON. Cover and text are one part; the rows of a register follow in parts of at most
`PART_ROWS` rows, each laid out by itself (a table of fixed height per page, so that every part knows its
page numbers beforehand) and joined at the end. A part is laid out from its slice alone, its rows and what
every page says of the report: its work does not grow with the register. A joined file is PDF/A-3b: a
structure tree does not survive joining (ISO 19005-3 6.8.3.3 asks for one at level a only).
"""

import datetime as dt
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders

from audit import clock, pdf, reports
from supervision.reports.book import ALIGNS, YUAN, Book, Column, day_name
from supervision.reports.kinds import KINDS

STYLES = ("css/report.css", "css/report_book.css")
FRONT, ROSTER = "reports/book.html", "reports/roster.html"
ROWS_A_PAGE = 20
PAGES_A_PART = 5
PART_ROWS = ROWS_A_PAGE * PAGES_A_PART
PAGE_WIDTH = 269  #: millimetres between the margins of a landscape page
CELL_EDGE = 2.2  #: millimetres of padding and rule of a cell
LETTER = 2.65  #: millimetres of a Chinese letter at 7.5 pt; others are about half as wide
#: A register, its margins and its watermark in one face: every further one costs a worker 60 MB.
FACE = "Noto Sans CJK SC, sans-serif"
ONE_FACE = f" html {{ font-family: {FACE} }}" + "".join(
    f" @page {{ @{corner} {{ font: 8pt {FACE} }} }}"
    for corner in ("top-left", "top-right", "bottom-left", "bottom-right")
)
#: The front of a register: its headings are those of its tables.
FEW_FACES = f" :root {{ --song: {FACE} }}"
#: Everything that the modules of a report import, and the templates.
ROOMS = (
    "audit", "institutions", "pricing", "agreements", "settlement", "supervision", "templates",
)  # fmt: skip
ATTACHED, BUNDLE = "report.json", "bundle.jsonl"
#: What the pages of a register say of the document: it goes with every slice.
FRAME = (
    "report", "title", "span", "number", "organ", "scope", "by", "by_name", "at", "examples", "demo",
    "seal",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A run of rows: `number` from 1, rows [first_row, first_row + rows), pages from `first_page`."""

    number: int
    first_row: int
    rows: int
    first_page: int
    pages: int


@dataclass(frozen=True)
class Printed:
    """A finished file."""

    content: bytes
    pages: int


@functools.cache
def renderer() -> str:
    """What this process draws reports with; a report drawn by another layout need not come out the same."""
    return reports.renderer_of(layout())


def layout() -> list[Path]:
    """The files that can change a byte of a document: all code, templates and texts that are the law or
    procedures of the rooms that laying out can reach, and the style sheets.

    `lay` prints words of many rooms (names of steps, rules, articles, choices of models): whatever
    release changed, a report of before it is compared by its data and the SM3 of its file.
    """
    top = Path(settings.BASE_DIR)
    sheets = [Path(str(finders.find(name))) for name in STYLES]
    reached = [
        path for room in ROOMS for ending in ("py", "html", "yaml")
        for path in (top / room).rglob(f"*.{ending}") if "migrations" not in path.parts
    ]  # fmt: skip
    return [*reached, *sheets]


def canonical(document: Mapping[str, Any]) -> bytes:
    """A document as bytes: what is stored, attached and hashed."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def book_of(document: Mapping[str, Any]) -> Book:
    """The blocks of a document, laid out by its kind from the stored figures alone."""
    book = Book()
    KINDS[document["kind"]].lay(document["figures"], book)
    return book


def print_whole(document: Mapping[str, Any]) -> Printed:
    """The whole file in one run: what joining the parts of workers gives, byte for byte."""
    book = book_of(document)
    front, pages = print_front(document, book)
    parts = parts_of(book, first_page=pages + 1)
    total = pages_of(pages, parts)
    drawn = (print_part(slice_of(document, book, part), part, total) for part in parts)
    return join(front, pages, drawn, parts)


def print_front(document: Mapping[str, Any], book: Book | None = None) -> tuple[bytes, int]:
    """Cover, contents, chapters and closing with the data attached; and how many pages they are."""
    book = book or book_of(document)
    if book.register is None or not book.register["rows"]:
        content = _front(document, book, sheet="")
        return content, _binding().pages_in(content)
    context = _front_context(document, book, sheet=FEW_FACES)
    pages = pdf.pages(FRONT, context, at=_made(document), styles=STYLES)
    total = pages_of(pages, parts_of(book, first_page=1))
    return _front(document, book, sheet=FEW_FACES + _numbered(0, total)), pages


def parts_of(book: Book, *, first_page: int) -> list[Part]:
    """How the register is cut; pages are counted on from `first_page`."""
    rows = len(book.register["rows"]) if book.register else 0
    parts = []
    for number, first in enumerate(range(0, rows, PART_ROWS), 1):
        count = min(PART_ROWS, rows - first)
        pages = -(-count // ROWS_A_PAGE)
        parts.append(Part(number, first, count, first_page, pages))
        first_page += pages
    return parts


def pages_of(front: int, parts: Iterable[Part]) -> int:
    """The pages of the whole file."""
    return front + sum(part.pages for part in parts)


def slice_of(document: Mapping[str, Any], book: Book, part: Part) -> dict[str, Any]:
    """All that the pages of one part say, as plain JSON: its rows and the frame of the document."""
    if book.register is None:
        raise ValueError("this report has no register")
    register = book.register
    return {key: document[key] for key in FRAME} | {
        "caption": register["caption"], "unit": register["unit"],
        "columns": [asdict(column) for column in register["columns"]],
        "rows": register["rows"][part.first_row : part.first_row + part.rows],
    }  # fmt: skip


def print_part(piece: Mapping[str, Any], part: Part, total: int) -> bytes:
    """The pages of one part from its slice; `total` is that of the whole file."""
    columns = [Column(**column) for column in piece["columns"]]
    cells = [_roster_row(row, columns) for row in piece["rows"]]
    context = _common(piece) | {
        "caption": piece["caption"], "unit": piece["unit"], "columns": columns,
        "pages": [cells[i : i + ROWS_A_PAGE] for i in range(0, len(cells), ROWS_A_PAGE)],
        "sheet": _numbered(part.first_page - 1, total) + ONE_FACE + _widths(columns),
    }  # fmt: skip
    content = _render(piece, ROSTER, context, name=f"part-{part.number}", face=FACE)
    if _binding().pages_in(content) != part.pages:
        raise ValueError(f"part {part.number} does not fit its {part.pages} pages")
    return content


def join(front: bytes, pages: int, parts: Iterable[bytes], plan: Iterable[Part]) -> Printed:
    """One file of the front and the parts in their order; alone, the front is the file."""
    plan = list(plan)
    if not plan:
        return Printed(front, pages)
    content = _binding().bind(front, parts)
    return Printed(content, pages_of(pages, plan))


def document_in(content: bytes) -> dict[str, Any]:
    """The document that a printed report carries."""
    return json.loads(_binding().attached(content, ATTACHED))


@dataclass(frozen=True)
class Sheet:
    """A table of a report for a spreadsheet: every cell is text as it is printed."""

    name: str  #: 表1, 附表, …
    caption: str
    unit: str
    head: list[str]
    rows: Sequence[Sequence[str]]

    @property
    def title(self) -> str:
        """Its name in a workbook or an archive."""
        return f"{self.name} {self.caption}".strip()


def sheets_of(document: Mapping[str, Any]) -> list[Sheet]:
    """Every table of the report in its order, the register last; the first one lists them."""
    book = book_of(document)
    found = [sheet for chapter, block in _in_chapters(book) for sheet in _sheets_in(block, chapter)]
    if book.register is not None:
        register = book.register
        head = [column.label for column in register["columns"]]
        found.append(Sheet("附表", register["caption"], register["unit"], head, register["rows"]))
    listed = [[sheet.name, sheet.caption, sheet.unit, str(len(sheet.rows))] for sheet in found]
    return [Sheet("目录", "", "", ["表", "名称", "单位", "行数"], listed), *found]


def _in_chapters(book: Book) -> Iterator[tuple[str, Mapping[str, Any]]]:
    chapter = ""
    for block in book.blocks:
        chapter = block["text"] if block["type"] == "heading" else chapter
        yield chapter, block


def _sheets_in(block: Mapping[str, Any], chapter: str) -> Iterator[Sheet]:
    if block["type"] == "grid":
        head = [head["label"] for head in block["heads"]]
        rows = [[cell["text"] for cell in row] for row in (*block["rows"], block["foot"]) if row]
        yield Sheet(block["no"], block["caption"], block["unit"], head, rows)
    elif block["type"] == "facts":
        rows = [[row["label"], row["value"]] for row in block["rows"]]
        yield Sheet(chapter, "", "", ["项目", "内容"], rows)
    elif block["type"] == "body":
        for caption, head, rows in block["tables"]:
            yield Sheet(caption, "", YUAN, list(head), rows)


# --- What the templates show ---


def _front_context(document: Mapping[str, Any], book: Book, *, sheet: str) -> dict[str, Any]:
    return _common(document) | {
        "blocks": book.blocks, "headings": book.headings, "sheet": sheet,
        "clause": document["clause"], "checkpoint": _checkpoint(document),
    }  # fmt: skip


def _front(document: Mapping[str, Any], book: Book, *, sheet: str) -> bytes:
    context = _front_context(document, book, sheet=sheet)
    enclosed = [pdf.Attachment(ATTACHED, canonical(document), "报告数据，本文件由其生成")]
    if bundle := document["figures"].get("bundle"):
        enclosed.append(pdf.Attachment(BUNDLE, bundle.encode(), "留痕记录与证明，可离线核验"))
    return _render(document, FRONT, context, name="front", enclosed=enclosed)


def _common(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: document[key] for key in ("title", "span", "number", "organ", "scope")},
        "by": document["by_name"], "on": day_name(f"{_made(document):%Y-%m-%d}"),
        "examples": document["examples"], "invented": document["demo"],
    }  # fmt: skip


def _checkpoint(document: Mapping[str, Any]) -> dict[str, Any]:
    """The signed checkpoint under which the report was made, as text and picture."""
    seal = document["seal"]
    made = f"{_made(document):%Y-%m-%d %H:%M:%S}"
    asked = f"　提出 {moment:%Y-%m-%d %H:%M:%S}" if (moment := _asked(document)) else ""
    lines = [f"制作：{document['by']}{asked}　数据截至 {made}", *seal["lines"]]
    return {"lines": lines, "qr": pdf.qr(seal["qr"]), "note": seal["note"]}


def _render(
    document: Mapping[str, Any], template: str, context: Mapping[str, Any], *, name: str,
    enclosed: Sequence[pdf.Attachment] = (), face: str = pdf.FACE,
) -> bytes:  # fmt: skip
    at = _made(document)
    return pdf.render(
        template, context, at=at, styles=STYLES, face=face,
        identifier=pdf.identifier_of("report", document["report"], name),
        attachments=enclosed, note=_note(document),
        watermark=f"{document['by']} {at:%Y-%m-%d %H:%M}",
    )  # fmt: skip


def _note(document: Mapping[str, Any]) -> str:
    """The signed checkpoint that was frozen with the document; '' when there was none."""
    seal = document["seal"]
    return seal["qr"] if seal["checkpoint"] else ""


def _made(document: Mapping[str, Any]) -> dt.datetime:
    """The moment of the figures, by the clock of the bureau."""
    return clock.local(dt.datetime.fromisoformat(document["at"]))


def _asked(document: Mapping[str, Any]) -> dt.datetime | None:
    """When somebody asked for it; documents of older releases do not say."""
    asked = document.get("asked_at")
    return clock.local(dt.datetime.fromisoformat(asked)) if asked else None


def _numbered(before: int, total: int) -> str:
    """Page rules of a part that begins after `before` pages of `total`."""
    rule = f'@page {{ @bottom-right {{ content: "第 " counter(page) " 页 / 共 {total} 页" }} }}'
    return f"{rule} @page :first {{ counter-reset: page {before + 1} }}" if before else rule


def _widths(columns: Iterable[Column]) -> str:
    return "".join(
        f" .list .w{i} {{ width: {width:.2f}mm }}" for i, width in enumerate(_inner(columns), 1)
    )


def _inner(columns: Iterable[Column]) -> list[float]:
    """Millimetres inside the cells of a register, so that the table fills the page."""
    shares = [column.width for column in columns]
    room = PAGE_WIDTH - CELL_EDGE * len(shares)
    return [room * share / sum(shares) for share in shares]


def _roster_row(row: Iterable[str], columns: list[Column]) -> list[dict[str, str]]:
    return [
        {"text": clip(text, width), "kind": ALIGNS[column.align]}
        for text, column, width in zip(row, columns, _inner(columns), strict=True)
    ]


def clip(text: str, width: float) -> str:
    """A text that two lines of a cell of so many millimetres hold; what is cut ends with …"""
    room = 2 * int(width / LETTER) - 1
    used = 0.0
    for at, letter in enumerate(text):
        used += 1.0 if ord(letter) > 0x2E7F else 0.62
        if used > room:
            return f"{text[: max(at - 1, 0)]}…"
    return text


def _binding() -> ModuleType:
    from supervision.reports import binding  # pikepdf: only for who prints

    return binding
