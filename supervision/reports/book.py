"""PURE. What a report is made of: headings, sentences, numbered tables and pictures, one long register.

A kind's `lay(figures, book)` fills a `Book` from the stored figures; templates/reports/book.html draws
it. Everything is text here: money is written as yuan, rates as per cent. Tables and pictures are
numbered as in official reports (表1、图1), headings 一、 and （一）.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from audit import charts

NUMERALS = "一二三四五六七八九十"
ALIGNS = {"l": "left", "r": "money", "c": "no", "x": "code"}
MANY_TIMES = 10  #: from here on a growth is told as a multiple
YUAN = "金额单位：元"


@dataclass(frozen=True)
class Column:
    """A column of a register: its width in millimetres decides how many letters a cell holds."""

    label: str
    width: int
    align: str = "l"


@dataclass(frozen=True)
class Rows(Sequence[Sequence[str]]):
    """Rows of a register, each written out as it is read: they are never all text at once."""

    stored: Sequence[Any]
    write: Callable[[Any], list[str]]

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, at: int) -> list[str]: ...

    @overload
    def __getitem__(self, at: slice) -> list[list[str]]: ...

    def __getitem__(self, at: int | slice) -> Sequence[Any]:
        if isinstance(at, slice):
            return [self.write(row) for row in self.stored[at]]
        return self.write(self.stored[at])


@dataclass
class Book:
    """The blocks of one report in their order."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    register: dict[str, Any] | None = None
    headings: list[str] = field(default_factory=list)
    _subs: int = 0
    _tables: int = 0
    _pictures: int = 0

    def heading(self, text: str) -> None:
        """A chapter: 一、总体情况."""
        numbered = f"{numeral(len(self.headings))}、{text}"
        self.headings.append(numbered)
        self._subs = 0
        self._add("heading", text=numbered, anchor=f"chapter-{len(self.headings)}")

    def sub(self, text: str) -> None:
        """A section of a chapter: （一）分险种."""
        self._add("sub", text=f"（{numeral(self._subs)}）{text}")
        self._subs += 1

    def text(self, text: str) -> None:
        """A paragraph."""
        self._add("text", text=text)

    def note(self, text: str) -> None:
        """A remark under a table or picture: 注：…"""
        self._add("note", text=text)

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        """Labels with their values."""
        self._add("facts", rows=[{"label": label, "value": value or "—"} for label, value in rows])

    def grid(
        self, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, align: str,
        unit: str = "", foot: Sequence[str] = (), empty: str = "本期无此项记录。",
    ) -> None:  # fmt: skip
        """A numbered table; `align` has a letter per column: l left, r amount, c centred, x code."""
        if not rows:
            self.text(f"{caption}：{empty}")
            return
        self._tables += 1
        kinds = [ALIGNS[letter] for letter in align]
        self._add(
            "grid", no=f"表{self._tables}", caption=caption, unit=unit,
            heads=[{"label": label, "kind": kind} for label, kind in zip(heads, kinds, strict=True)],
            rows=[_cells(row, kinds) for row in rows], foot=_cells(foot, kinds) if foot else [],
        )  # fmt: skip

    def bars(
        self, title: str, labels: Sequence[str], series: Sequence[Mapping], **more: Any
    ) -> None:
        """A picture of upright bars (fen when `money`)."""
        self._picture("chart", charts.bars(title=title, labels=labels, series=series, **more))

    def line(
        self, title: str, labels: Sequence[str], series: Sequence[Mapping], **more: Any
    ) -> None:
        """A picture of lines over time."""
        self._picture("chart", charts.line(title=title, labels=labels, series=series, **more))

    def donut(self, title: str, parts: Sequence[Mapping], **more: Any) -> None:
        """A ring of shares."""
        self._picture("donut", charts.donut(title=title, parts=parts, **more))

    def ranking(self, title: str, rows: Sequence[Mapping], **more: Any) -> None:
        """Lying bars with long names."""
        self._picture("ranking", charts.ranking(title=title, rows=rows, **more))

    def body(
        self,
        template: str,
        context: Mapping[str, Any],
        tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = (),
    ) -> None:
        """The body of a form of its own; `tables` (caption, heads, rows) say the same to spreadsheets."""
        self._add("body", template=template, context=dict(context), tables=list(tables))

    def list_rows(
        self,
        caption: str,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        *,
        unit: str = "",
    ) -> None:
        """The register behind the report, on landscape pages of its own; one at most."""
        if self.register is not None:
            raise ValueError("a report has one register")
        self.register = {"caption": caption, "unit": unit, "columns": columns, "rows": rows}

    def _picture(self, shape: str, chart: Mapping[str, Any]) -> None:
        self._pictures += 1
        named = {**chart, "title": f"图{self._pictures}　{chart['title']}"}
        self._add("picture", shape=shape, chart=named)

    def _add(self, kind: str, **block: Any) -> None:
        self.blocks.append({"type": kind, **block})


def _cells(row: Sequence[str], kinds: Sequence[str]) -> list[dict[str, str]]:
    return [{"text": text, "kind": kind} for text, kind in zip(row, kinds, strict=True)]


def numeral(index: int) -> str:
    """0 → 一 … 9 → 十, 10 → 十一 … 19 → 二十."""
    tens, ones = divmod(index + 1, 10)
    if tens == 0:
        return NUMERALS[ones - 1]
    lead = "" if tens == 1 else NUMERALS[tens - 1]
    return f"{lead}十{NUMERALS[ones - 1] if ones else ''}"


def month_name(text: str) -> str:
    """`2021-11` → 2021年11月."""
    year, month = text.split("-")[:2]
    return f"{year}年{int(month)}月"


def month_labels(months: Sequence[str]) -> list[str]:
    """Months under a picture: 1月 within one year, else 21.01."""
    if len({month[:4] for month in months}) == 1:
        return [f"{int(month[5:7])}月" for month in months]
    return [f"{month[2:4]}.{month[5:7]}" for month in months]


def day_name(text: str) -> str:
    """`2021-11-05` → 2021年11月5日."""
    year, month, day = text.split("-")
    return f"{year}年{int(month)}月{int(day)}日"


def span_name(since: str, until: str) -> str:
    """The days of a report in words: whole months and years are called so."""
    first, last = since[:7], until[:7]
    whole = since.endswith("-01") and _is_month_end(until)
    if not whole:
        return f"{day_name(since)}至{day_name(until)}"
    if first == last:
        return month_name(first)
    if first[:4] == last[:4]:
        if (first[5:], last[5:]) == ("01", "12"):
            return f"{first[:4]}年度"
        return f"{first[:4]}年{int(first[5:])}—{int(last[5:])}月"
    return f"{month_name(first)}至{month_name(last)}"


def _is_month_end(day: str) -> bool:
    year, month, number = (int(part) for part in day.split("-"))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return number == lengths[month - 1]


def change(now: int, before: int) -> str:
    """The change against an earlier figure: 增长12.5%, 下降3%, 持平, 为其15倍; — without a base."""
    if before <= 0:
        return "—"
    if now >= MANY_TIMES * before:  # a percentage of five digits tells nobody anything
        return f"为其{now // before:,}倍"
    tenths = (abs(now - before) * 2000 + before) // (2 * before)
    if tenths == 0:
        return "持平"
    return f"{'增长' if now > before else '下降'}{tenths // 10}.{tenths % 10}%"
