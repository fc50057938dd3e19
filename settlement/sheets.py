"""Files of claims: CSV, XLSX and JSON Lines read to the claims of the contract; workbooks written.

A sheet has one row per charge line; rows with the same claim number are one claim. Cells are text:
an identity number that a spreadsheet keeps as a number has lost digits: refused.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from audit.sheets import SheetError, cell_text, csv_rows, rows_of, text_of, workbook, xlsx_rows
from institutions import crypto
from institutions.refusals import Refusal
from institutions.shape import read_json

MAX_BYTES = 64 * 1024 * 1024
MAX_CLAIMS = 100_000
TRUE_WORDS, FALSE_WORDS = {"是", "true", "1", "y", "yes"}, {"否", "false", "0", "n", "no"}
#: A credential in a line of JSON, whole or broken; and whatever else is as long as an identity number.
CREDENTIAL = re.compile(r"""(credential["']?\s*:\s*["']?)([^"',}\s]+)""")
NUMBER = re.compile(r"()(?<!\d)(\d{17}[\dXx])(?!\d)")
LOCAL_TIME = re.compile(r"^(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2})(:\d{2})?$")


@dataclass(frozen=True)
class Field:
    """A column of a sheet: its key and label, where its value stands in the claim, an example."""

    key: str
    label: str
    pointer: str
    example: str = ""
    kind: str = "text"


_CLAIM = (
    Field("claim_no", "申请单号", "/claim_no", "A0001"),
    Field("encounter_id", "就诊编号", "/encounter/id", "E0001"),
    Field("business_type", "业务类型", "/encounter/business_type", "internet"),
    Field("visit_type", "初诊或复诊", "/encounter/visit_type", "revisit"),
    Field("condition", "病情", "/encounter/condition", "chronic"),
    Field("started_at", "开始时间", "/encounter/started_at", "2021-06-01 09:00", "time"),
    Field("ended_at", "结束时间", "/encounter/ended_at", "2021-06-01 09:15", "time"),
    Field("department_code", "科室编码", "/encounter/department_code", "A03"),
    Field("diagnosis_code", "诊断编码", "/encounter/diagnoses/0/code", "I10.x00"),
    Field("diagnosis_name", "诊断名称", "/encounter/diagnoses/0/name", "高血压"),
    Field("medium", "诊疗方式", "/encounter/session/medium", "video"),
    Field("credential_type", "凭证类型", "/person/credential_type", "id_card"),
    Field("credential", "凭证号码", "/person/credential", "330300199001010000"),
    Field("verified_at", "核验时间", "/person/verified_at", "2021-06-01 08:59", "time"),
    Field("matched", "人证相符", "/person/matched", "是", "bool"),
    Field("explained", "已说明项目和价格", "/consent/item_and_price_explained", "是", "bool"),
    Field("given_at", "同意时间", "/consent/given_at", "2021-06-01 09:00", "time"),
    Field("physician_code", "医师编码", "/physician/code", "D330300000001"),
    Field("channel", "结算渠道", "/channel", "online"),
    Field("e_invoice_no", "电子发票号", "/e_invoice_no"),
    Field("pay_from_account", "使用个人账户", "/pay_from_account", "是", "bool"),
)
_LINE = (
    Field("line_no", "行号", "/line_no", "1", "int"),
    Field("kind", "费用类别", "/kind", "consult"),
    Field("item_code", "项目编码", "/item_code", "111102001"),
    Field("quantity", "数量", "/quantity", "1", "number"),
    Field("unit_price", "单价", "/unit_price", "12.00", "number"),
    Field("fee", "金额", "/fee", "12.00", "number"),
    Field("service_type", "服务名称", "/service_type"),
    Field("prescription_no", "处方号", "/prescription_no"),
    Field("trace_codes", "追溯码", "/trace_codes", "", "list"),
)
_PRESCRIPTION = (
    Field("signed_by", "开方医师", "/signed_by"),
    Field("signed_at", "签名时间", "/signed_at", "", "time"),
    Field("reviewed_by", "审方药师", "/reviewed_by"),
    Field("reviewed_at", "审核时间", "/reviewed_at", "", "time"),
)
_DRUG = (
    Field("days_supply", "用药天数", "/days_supply", "", "int"),
    Field("unit", "单位", "/unit"),
)
FIELDS = (*_CLAIM, *_LINE, *_PRESCRIPTION, *_DRUG)
BY_NAME = {name: column for column in FIELDS for name in (column.key, column.label)}
REQUIRED_COLUMNS = ("claim_no", "line_no", "kind", "fee", "credential")


@dataclass(frozen=True)
class RowError:
    """What is wrong in a row (1 is the first row of the file), in which column, and the clause."""

    row: int
    column: str
    code: str
    reason: str
    clause: str = ""

    def as_dict(self) -> dict:
        return {"row": self.row, "column": self.column, "code": self.code, "reason": self.reason,
                "clause": self.clause}  # fmt: skip


@dataclass
class Entry:
    """A claim of the contract and the rows it stands in: `rows[k]` is the row of line k."""

    claim: dict
    rows: list[int]

    def place(self, pointer: str) -> tuple[int, str]:
        """(row, column label) of a JSON pointer into the claim."""
        parts = pointer.strip("/").split("/")
        row = self.rows[0]
        if parts[0] == "lines" and len(parts) > 1 and parts[1].isdigit():
            row = self.rows[min(int(parts[1]), len(self.rows) - 1)]
            return row, LABEL_OF.get("L/" + "/".join(parts[2:]), "/".join(parts[2:]))
        if parts[0] == "prescriptions":
            last = parts[-1]
            return row, LABEL_OF.get(f"P/{last}", "处方号")
        return row, LABEL_OF.get(pointer, pointer.strip("/"))


LABEL_OF = (
    {column.pointer: column.label for column in _CLAIM}
    | {"L" + column.pointer: column.label for column in _LINE}
    | {"P" + column.pointer: column.label for column in (*_PRESCRIPTION, *_DRUG)}
)


@dataclass
class Parsed:
    """The claims of a file in its order, and what could not be read."""

    entries: list[Entry] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


def read(name: str, content: bytes) -> Parsed:
    """A whole file at once. Raises SheetError when it is no such file or too large."""
    errors: list[RowError] = []
    return Parsed(list(stream(name, content, errors)), errors)


def ending(name: str, content: bytes) -> str:
    """By what a file is read. Raises SheetError for what is refused unread."""
    if len(content) > MAX_BYTES:
        raise SheetError(f"文件超过 {MAX_BYTES // 1024 // 1024} MB 上限")
    found = name.lower().rpartition(".")[2]
    if found not in ("xlsx", "csv", "jsonl", "ndjson"):
        raise SheetError("只接受 .csv、.xlsx 或 .jsonl 文件")
    return found


def stream(name: str, content: bytes, errors: list[RowError]) -> Iterator[Entry]:
    """The claims of a file, read by its ending, one after the other; what cannot be read goes to `errors`.

    Raises SheetError, at once or on the way, when it is no such file or too large.
    """
    kind = ending(name, content)
    if kind == "xlsx":
        entries = _grouped(xlsx_rows(content), errors)
    elif kind == "csv":
        entries = _grouped(csv_rows(content), errors)
    else:
        entries = _json_lines(text_of(content), errors)
    count = 0
    for count, entry in enumerate(entries, 1):
        if count > MAX_CLAIMS:
            raise SheetError(f"一个文件至多 {MAX_CLAIMS} 张申请单")
        yield entry
    if not count and not errors:
        raise SheetError("文件中没有申请单")


def _header(cells: Sequence) -> list[Field | None]:
    names = [str(cell).strip() for cell in cells]
    found = [BY_NAME.get(name) for name in names]
    unknown = [name for name, known in zip(names, found, strict=True) if name and not known]
    if unknown:
        raise SheetError(f"不认识的列：{'、'.join(unknown)[:200]}")
    keys = [column.key for column in found if column]
    missing = [BY_NAME[key].label for key in REQUIRED_COLUMNS if key not in keys]
    if missing:
        raise SheetError(f"缺少列：{'、'.join(missing)}")
    if len(keys) != len(set(keys)):
        raise SheetError("有重复的列")
    return found


def _grouped(rows: Iterable[tuple[int, Sequence]], errors: list[RowError]) -> Iterator[Entry]:
    """Rows that follow each other and have one claim number are one claim."""
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        raise SheetError("文件是空的")
    header = _header(first[1])
    entry, last, met = None, "", set[str]()
    for number, cells in iterator:
        values = _values(number, cells, header, errors)
        if not values:
            continue
        key = str(values.get("claim_no", f"#{number}"))
        if entry is None or key != last:
            if entry is not None:
                yield entry
            if key in met:
                errors.append(
                    RowError(number, "申请单号", "ROWS_APART", "同一申请单的各行应连在一起")
                )
            entry, last = Entry(_claim(values), []), key
            met.add(key)
        _add_row(entry, number, values)
    if entry is not None:
        yield entry


def _values(
    number: int, cells: Sequence, header: list[Field | None], errors: list[RowError]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for column, cell in zip(header, cells, strict=False):
        if column is None or cell is None:
            continue
        try:
            text = cell_text(cell)
            if text:
                values[column.key] = READERS[column.kind](text)
        except ValueError as error:
            errors.append(RowError(number, column.label, "CELL_INVALID", str(error)))
            values[column.key] = str(cell)
    return values


def _boolean(text: str) -> bool:
    word = text.lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError("应为 是 或 否")
    return word in TRUE_WORDS


def _time(text: str) -> str:
    """A local time of a sheet gets the offset of Asia/Shanghai; ISO 8601 with offset stays."""
    match = LOCAL_TIME.match(text)
    return f"{match[1]}T{match[2]}{match[3] or ':00'}+08:00" if match else text


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("应为整数")
    return int(text)


READERS: dict[str, Callable[[str], object]] = {
    "text": str, "number": str, "bool": _boolean, "time": _time, "int": _whole,
    "list": lambda text: [part for part in re.split(r"[;；,，\s]+", text) if part],
}  # fmt: skip


def _add_row(entry: Entry, number: int, values: dict) -> None:
    entry.rows.append(number)
    line = {c.key: values[c.key] for c in _LINE if c.key in values}
    line.setdefault("item_code", "")
    entry.claim["lines"].append(line)
    if no := values.get("prescription_no"):
        _prescription(entry.claim, str(no), values)


def _claim(values: dict) -> dict:
    claim: dict = {"lines": []}
    for column in _CLAIM:
        if column.key not in values:
            continue
        parts = column.pointer.strip("/").split("/")
        if parts[:2] == ["encounter", "diagnoses"]:
            encounter = claim.setdefault("encounter", {})
            main = encounter.setdefault("diagnoses", [{"main": True}])[0]
            main[parts[-1]] = values[column.key]
            continue
        target = claim
        for part in parts[:-1]:
            target = target.setdefault(part, {})
        target[parts[-1]] = values[column.key]
    return claim


def _prescription(claim: dict, no: str, values: dict) -> None:
    issued = claim.setdefault("prescriptions", [])
    one = next((p for p in issued if p["no"] == no), None)
    if one is None:
        one = {"no": no, "lines": []}
        issued.append(one)
    one |= {c.key: values[c.key] for c in _PRESCRIPTION if c.key in values}
    if values.get("kind") == "drug":
        one["lines"].append(
            {
                "drug_code": values.get("item_code", ""), "quantity": values.get("quantity", ""),
                "days_supply": values.get("days_supply", 0), "unit": values.get("unit", "盒"),
            }
        )  # fmt: skip


def _json_lines(text: str, errors: list[RowError]) -> Iterator[Entry]:
    for number, line in _numbered(text):
        if not line.strip():
            continue
        try:
            claim = read_json(line.encode())
        except Refusal as error:
            errors.append(RowError(number, "", error.code, error.detail[0]))
            continue
        lines = claim.get("lines") if isinstance(claim, dict) else None
        rows = [number] * max(len(lines) if isinstance(lines, list) else 1, 1)
        yield Entry(claim if isinstance(claim, dict) else {}, rows)


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a text from 1, one in memory at a time."""
    start = number = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        yield number, text[start:end]
        start = end + 1


# --- Workbooks ---


def template() -> bytes:
    """An empty workbook with the columns, one example row, and text cells for long numbers."""
    head = [column.label for column in FIELDS]
    return workbook("申请单", head, [[column.example for column in FIELDS]])


def annotated(name: str, content: bytes, errors: Sequence[RowError]) -> bytes:
    """The uploaded rows with a first column that says everything wrong in each; credentials masked."""
    wrong: dict[int, list[str]] = {}
    for error in errors:
        clause = f"（{error.clause}）" if error.clause else ""
        wrong.setdefault(error.row, []).append(f"{error.column}：{error.reason}{clause}")
    rows = (
        [f"第{n}行", "；".join(wrong.get(n, ()))[:30_000], *cells]
        for n, cells in _plain(name, content)
    )
    return workbook("校验结果", ["行", "错误"], rows)


def refused(error: RowError) -> bytes:
    """What stands in place of the rows of a file that cannot be read."""
    return workbook("校验结果", ["行", "错误"], [["整个文件", error.reason]])


def _plain(name: str, content: bytes) -> Iterator[tuple[int, list[str]]]:
    if name.lower().endswith(("jsonl", "ndjson")):
        for number, line in _numbered(text_of(content)):
            yield number, [_masked(line)[:30_000]]
        return
    secret: set[int] = set()
    for number, cells in rows_of(name, content):
        texts = ["" if cell is None else str(cell) for cell in cells]
        shown = [crypto.mask_id(text) if at in secret else text for at, text in enumerate(texts)]
        yield number, shown
        secret = secret or {at for at, text in enumerate(texts) if _names_credential(text)}


def _names_credential(text: str) -> bool:
    column = BY_NAME.get(text.strip())
    return column is not None and column.key == "credential"


def _masked(line: str) -> str:
    for pattern in (CREDENTIAL, NUMBER):
        line = pattern.sub(lambda found: found[1] + crypto.mask_id(found[2]), line)
    return line
