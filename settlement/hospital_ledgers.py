"""A hospital's ledger as a file: CSV or XLSX read to columns, every row error at once; the template.

Cells are text. The ID number is hashed as it is read and never kept.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.sheets import SheetError, cell_text, rows_of, workbook
from institutions import crypto
from institutions.money import MoneyError, fen
from institutions.refusals import Refusal
from settlement.sheets import RowError

MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 200_000
ERRORS_KEPT = 1_000
STATES = {"已结算": "settled", "已冲正": "reversed", "settled": "settled", "reversed": "reversed"}
LONGEST = {"claim_no": 40, "item": 30}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 10_000:
        raise ValueError("应为 1 至 9999 的整数")
    return int(text)


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError("应为日期 YYYY-MM-DD") from None


def _person(text: str) -> bytes:
    return crypto.person_hash(crypto.id_number(text))


def _state(text: str) -> str:
    if text not in STATES:
        raise ValueError("应为 已结算 或 已冲正")
    return STATES[text]


def _text(text: str) -> str:
    if not text:
        raise ValueError("不能为空")
    return text


#: Column → label, how its cells are read, an example.
COLUMNS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "claim_no": ("单据号", _text, "A0001"),
    "line_no": ("行号", _number, "1"),
    "person": ("证件号码", _person, "999999197001010014"),
    "day": ("服务日期", _day, "2021-06-15"),
    "item": ("项目编码", _text, "111102001"),
    "fee": ("金额", fen, "12.00"),
    "fund": ("统筹基金", fen, "6.00"),
    "state": ("状态", _state, "已结算"),
}
BY_LABEL = {label: name for name, (label, _, _) in COLUMNS.items()} | {n: n for n in COLUMNS}


@dataclass
class Parsed:
    """The rows of a file as columns, and what is wrong in which row."""

    values: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in ("row", *COLUMNS)}
    )
    errors: list[RowError] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values["row"])

    def columns(self, start: int, end: int) -> dict[str, list[Any]]:
        """Some rows as columns."""
        return {name: values[start:end] for name, values in self.values.items()}


def read(name: str, content: bytes, *, period: dt.date) -> Parsed:
    """Read a file by its ending. Raises Refusal (422) when it is no such file or too large."""
    try:
        if len(content) > MAX_BYTES:
            raise SheetError(f"文件超过 {MAX_BYTES // 1024 // 1024} MB 上限")
        rows = iter(rows_of(name, content))
        head = next(rows, None)
        if head is None:
            raise SheetError("文件是空的")
        return _read(_header(head[1]), rows, period)
    except SheetError as error:
        raise Refusal(422, "FILE_INVALID", (str(error), "the file cannot be read")) from error


def _header(cells: Sequence) -> list[str]:
    names = [BY_LABEL.get(str(cell).strip(), "") for cell in cells]
    unknown = [str(cell) for cell, name in zip(cells, names, strict=True) if cell and not name]
    if unknown:
        raise SheetError(f"不认识的列：{'、'.join(unknown)[:200]}")
    missing = [COLUMNS[name][0] for name in COLUMNS if name not in names]
    if missing:
        raise SheetError(f"缺少列：{'、'.join(missing)}")
    if len(set(filter(None, names))) != len(list(filter(None, names))):
        raise SheetError("有重复的列")
    return names


def _read(header: list[str], rows: Any, period: dt.date) -> Parsed:
    parsed = Parsed()
    hashes: dict[str, bytes] = {}
    for number, cells in rows:
        if not any(str(cell).strip() for cell in cells if cell is not None):
            continue
        if len(parsed) >= MAX_ROWS:
            raise SheetError(f"一个文件至多 {MAX_ROWS} 行")
        found = _row(header, number, cells, hashes, parsed.errors)
        _late(found, number, period, parsed.errors)
        for name, values in parsed.values.items():
            values.append(number if name == "row" else found.get(name))
    if not len(parsed):
        raise SheetError("文件中没有明细")
    return parsed


def _row(
    header: list[str], number: int, cells: Sequence, hashes: dict[str, bytes],
    errors: list[RowError],
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=False):
        if not name:
            continue
        try:
            found[name] = _cell(name, cell_text(cell), hashes)
        except (ValueError, MoneyError) as error:
            errors.append(RowError(number, COLUMNS[name][0], "CELL_INVALID", str(error)))
    for name in COLUMNS.keys() - found.keys():
        if not any(e.row == number and e.column == COLUMNS[name][0] for e in errors[-8:]):
            errors.append(RowError(number, COLUMNS[name][0], "CELL_MISSING", "不能为空"))
    return found


def _cell(name: str, text: str, hashes: dict[str, bytes]) -> Any:
    """A cell read; a person met before is not hashed again."""
    if name == "person":
        if text not in hashes:
            hashes[text] = _person(text)
        return hashes[text]
    if len(text) > LONGEST.get(name, len(text)):
        raise ValueError(f"至多 {LONGEST[name]} 字")
    return COLUMNS[name][1](text)


def _late(found: dict[str, Any], number: int, period: dt.date, errors: list[RowError]) -> None:
    """A service of a later month cannot stand in the ledger of this one."""
    day = found.get("day")
    if day is not None and day.replace(day=1) > period.replace(day=1):
        reason = f"晚于结算期 {period:%Y-%m}"
        errors.append(RowError(number, COLUMNS["day"][0], "AFTER_PERIOD", reason))


def template() -> bytes:
    """An empty workbook with the columns and one example row."""
    head = [label for label, _, _ in COLUMNS.values()]
    return workbook("机构对账明细", head, [[example for _, _, example in COLUMNS.values()]])
