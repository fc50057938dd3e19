"""Columns of registry sheets: how a cell is read, what is wrong with it, how it is written back.

A blank cell states nothing. Columns whose title begins with ※ are for the reader and never imported.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.procedure import Refused
from audit.sheets import SCIENTIFIC, SheetError, cell_text, rows_of
from institutions.refusals import Refusal
from institutions.shape import FORBIDDEN

NOTE = "※"
RESULT = "结果"
MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 20_000
YES, NO = {"是", "true", "1", "y", "yes", "√"}, {"否", "false", "0", "n", "no", "×"}
DAY = re.compile(
    r"(\d{4})(?:-|/|\.|年)(\d{1,2})(?:-|/|\.|月)(\d{1,2})日?(?: 00:00:00)?|(\d{4})(\d\d)(\d\d)"
)
EXPONENT = "以科学计数法保存，末位数字已丢失；请把该列设为文本格式后重新填写"


@dataclass(frozen=True)
class Column:
    """A column: key of the value, label on the sheet; `choices` lead from label to value."""

    key: str
    label: str
    read: Callable[[str], Any] = str
    required: bool = False
    example: str = ""
    help: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    limit: int = 200

    def value(self, cell: object) -> Any:
        """What a cell states; ValueError says in Chinese what is wrong."""
        text = cell_text(cell)
        if not text:
            return None
        if FORBIDDEN.search(text.replace("\n", "")):
            raise ValueError("含不可见的控制字符")
        if self.choices:
            return self._choice(text)
        if len(text) > self.limit:
            raise ValueError(f"不得超过 {self.limit} 个字符")
        return self.read(text)

    def _choice(self, text: str) -> str:
        if text in self.choices.values():
            return text
        if text not in self.choices:
            raise ValueError(f"应为{'、'.join(self.choices)}之一")
        return self.choices[text]

    def text(self, value: Any) -> str:
        """How a value stands on a sheet: `value(text(v)) == v`."""
        if value is None or value == "":
            return ""
        if self.choices:
            return next((label for label, kept in self.choices.items() if kept == value), value)
        if isinstance(value, bool):
            return "是" if value else "否"
        if isinstance(value, list | tuple):
            return "；".join(value)
        return value.isoformat() if isinstance(value, dt.date) else str(value)


def code(text: str) -> str:
    """An identifier without spaces; a number that a spreadsheet spoilt is refused."""
    if SCIENTIFIC.fullmatch(text):
        raise ValueError(EXPONENT)
    if re.search(r"\s", text):
        raise ValueError("编码中有空格")
    return text


def day(text: str) -> dt.date:
    """A day as people write it: 2021-12-01, 2021/12/1, 2021年12月1日, 20211201."""
    match = DAY.fullmatch(text)
    if match is None:
        raise ValueError("应为日期，如 2021-12-01")
    year, month, number = (int(part) for part in match.groups() if part)
    try:
        return dt.date(year, month, number)
    except ValueError:
        raise ValueError("没有这一天") from None


def flag(text: str) -> bool:
    word = text.lower()
    if word not in YES | NO:
        raise ValueError("应为 是 或 否")
    return word in YES


def several(text: str) -> list[str]:
    """Names with a semicolon between them."""
    return [part.strip() for part in re.split(r"[；;\n]", text) if part.strip()]


def labels(choices: Iterable[tuple[str, str]]) -> dict[str, str]:
    """`TextChoices.choices` as labels that lead to values."""
    return {str(label): value for value, label in choices}


@dataclass(frozen=True)
class RowError:
    """What is wrong: row of the file (1 is its first), column, what stands there, why, the clause."""

    row: int
    column: str
    value: str
    reason: str
    clause: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"row": self.row, "column": self.column, "value": self.value, "reason": self.reason,
                "clause": self.clause}  # fmt: skip


@dataclass
class Record:
    """One row: its values (blank ones are absent), its cells as written, what becomes of it."""

    row: int
    columns: Mapping[str, Column]
    values: dict[str, Any]
    texts: dict[str, str]
    errors: list[RowError] = field(default_factory=list)
    verdict: str = ""
    note: str = ""
    found: Any = None  #: what the register holds for this row
    changes: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str, default: Any = "") -> Any:
        return self.values.get(key, default)

    def wrong(self, key: str, reason: str, clause: str = "") -> None:
        """One more fault of this row, in the column of a key (or in none); one a column is told."""
        column = self.columns.get(key)
        if column and self.spoilt(key):
            return
        self.errors.append(
            RowError(
                self.row,
                column.label if column else "",
                self.texts.get(key, ""),
                reason,
                clause,
            )
        )

    def spoilt(self, key: str) -> bool:
        """Whether something is wrong in the column of a key."""
        return any(error.column == self.columns[key].label for error in self.errors)

    def refused(self, error: Refusal | Refused) -> None:
        """What a command said against this row."""
        if isinstance(error, Refused):
            self.wrong(error.field, error.detail, error.clause)
            return
        faults = error.faults
        self.wrong(
            faults[0].pointer.strip("/") if faults else "",
            error.detail[0],
            faults[0].clause if faults else "",
        )

    def judge(self, check: Callable[..., Any], *given: Any) -> Any:
        """The answer of a check of the commands; None when it refuses, which is then noted."""
        try:
            return check(*given)
        except Refusal as error:
            self.refused(error)
            return None

    def decide(self, verdict: str, note: str = "") -> None:
        self.verdict, self.note = verdict, note

    def differs(self, held: Mapping[str, Any]) -> dict[str, Any]:
        """The stated values that are not those held."""
        return {key: value for key, value in self.values.items()
                if key in held and value != held[key]}  # fmt: skip

    def told(self, changes: Mapping[str, Any], held: Mapping[str, Any]) -> str:
        """`等级：二级 → 三级；…`"""
        return "；".join(
            f"{self.columns[key].label}：{self.columns[key].text(held.get(key)) or '空'} → "
            f"{self.columns[key].text(value) or '空'}"
            for key, value in changes.items()
            if key in self.columns
        )


def read(name: str, content: bytes, columns: Sequence[Column]) -> list[Record]:
    """The rows of a file with what is wrong in their cells; SheetError when it cannot be read."""
    if len(content) > MAX_BYTES:
        raise SheetError(f"文件超过 {MAX_BYTES // 1024 // 1024} MB 上限")
    rows = iter(rows_of(name, content))
    first = next(rows, None)
    if first is None:
        raise SheetError("文件是空的")
    header = _header(first[1], columns)
    records = list(_records(rows, header, {column.key: column for column in columns}))
    if not records:
        raise SheetError("文件中没有数据行")
    return records


def _records(
    rows: Iterator[tuple[int, Sequence]], header: list[Column | None], columns: Mapping[str, Column]
) -> Iterator[Record]:
    count = 0
    for number, cells in rows:
        if not any(str(cell).strip() for cell in cells if cell is not None):
            continue
        count += 1
        if count > MAX_ROWS:
            raise SheetError(f"一个文件至多 {MAX_ROWS:,} 行，请分开导入")
        yield _record(number, cells, header, columns)


def _record(
    number: int, cells: Sequence, header: list[Column | None], columns: Mapping[str, Column]
) -> Record:
    record = Record(number, columns, {}, {})
    for column, cell in zip(header, cells, strict=False):
        if column is None:
            continue
        record.texts[column.key] = shown(cell)
        try:
            value = column.value(cell)
        except ValueError as error:
            record.wrong(column.key, str(error))
            continue
        if value is not None:
            record.values[column.key] = value
    for column in columns.values():
        if column.required and column.key not in record.values:
            record.wrong(column.key, "必填")
    return record


def shown(cell: object) -> str:
    """A cell as it is told in an error, even one that cannot be read."""
    return "" if cell is None else str(cell)[:200]


def _header(cells: Sequence, columns: Sequence[Column]) -> list[Column | None]:
    by_name = {name: column for column in columns for name in (column.key, column.label)}
    names = [str(cell or "").strip().rstrip("*") for cell in cells]
    found = [by_name.get(name) for name in names]
    unknown = [
        name
        for name, column in zip(names, found, strict=True)
        if name and not column and not name.startswith(NOTE) and name != RESULT
    ]
    if unknown:
        raise SheetError(f"不认识的列：{'、'.join(unknown)[:200]}")
    keys = [column.key for column in found if column]
    missing = [column.label for column in columns if column.required and column.key not in keys]
    if missing:
        raise SheetError(f"缺少列：{'、'.join(missing)}")
    if len(keys) != len(set(keys)):
        raise SheetError("有重复的列")
    return found
