"""The file that goes to the bank and the file that comes back: text accounts, control sum, one hash.

The same list makes the same bytes, whoever exports it and when.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from audit import sheets
from institutions.refusals import Fault, Refusal, refused
from settlement import sealed
from settlement.models import PaymentList, PaymentOrder, Way

FORMS = {"csv": sheets.CSV, "xlsx": sheets.XLSX}
HEAD = ("序号", "指令号", "账户类型", "收款户名", "收款账号", "开户行", "金额（元）", "用途")
KINDS = {"institution": "对公", "person": "对私"}
#: column of an answer → its names in the files of banks
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "number": ("指令号", "业务编号"), "amount": ("金额（元）", "金额"), "state": ("处理结果", "结果"),
    "serial": ("银行流水号", "流水号"), "on": ("处理日期", "交易日期"), "reason": ("原因", "退票原因"),
}  # fmt: skip
OUTCOMES = {
    "成功": PaymentOrder.State.PAID, "已支付": PaymentOrder.State.PAID,
    "退票": PaymentOrder.State.RETURNED, "退回": PaymentOrder.State.RETURNED,
    "失败": PaymentOrder.State.REJECTED, "拒付": PaymentOrder.State.REJECTED,
}  # fmt: skip
FEN_PER_YUAN = 100
MOST_ROWS, LONGEST_SERIAL = 20_000, 60


@dataclass(frozen=True)
class BankFile:
    """A file for the bank. `repeated`: it was exported before."""

    name: str
    content: bytes
    kind: str
    sm3: str
    repeated: bool


@dataclass(frozen=True)
class Answer:
    """What a bank says of one order. `state` of PaymentOrder.State; amount in fen; row 0: by hand."""

    number: str
    state: str
    amount: int
    on: dt.date
    serial: str = ""
    reason: str = ""
    row: int = 0


def yuan(fen: int) -> str:
    """An amount as files carry it: no separators, two digits."""
    return f"{fen // FEN_PER_YUAN}.{fen % FEN_PER_YUAN:02d}"


def write(made: PaymentList, form: str, *, repeated: bool) -> BankFile:
    """The orders of a list that go by bank, and a last row with their number and control sum."""
    if form not in FORMS:
        raise refused("form", "FORM_UNKNOWN", "只能导出 CSV 或 XLSX", "csv or xlsx", status=404)
    orders = made.orders.filter(way=Way.BANK).exclude(state=PaymentOrder.State.DROPPED)
    rows = [_row(number, order) for number, order in enumerate(orders.order_by("pk"), 1)]
    total = sum(order.amount for order in orders)
    rows.append(("合计", f"{len(rows)} 笔", "", "", "", "", yuan(total), made.number))
    if form == "csv":
        content = "".join(sheets.csv_lines(HEAD, rows)).encode()
    else:
        content = sheets.workbook("拨付清单", HEAD, rows, made_at=made.prepared_at)
    digest = hashlib.new("sm3", content).hexdigest()
    return BankFile(f"{made.number}.{form}", content, FORMS[form], digest, repeated)


def _row(number: int, order: PaymentOrder) -> tuple[str, ...]:
    account = sealed.opened(order, bound_to=order.bound_to)
    return (str(number), order.number, KINDS[order.payee], account.holder, account.number,
            account.bank, yuan(order.amount), order.purpose)  # fmt: skip


# --- The answer ---


def read(name: str, content: bytes) -> list[Answer]:
    """The rows of a bank's result file; Refusal (422) with everything that is wrong in it."""
    try:
        rows = [
            (n, [sheets.cell_text(c) for c in cells]) for n, cells in sheets.rows_of(name, content)
        ]
    except (sheets.SheetError, ValueError) as error:
        raise refused("file", "FILE_INVALID", str(error), "the file cannot be read") from None
    faults: list[Fault] = []
    answers: list[Answer] = []
    for number, given in _given(rows):
        found = list(_wrong(given))
        faults += [
            Fault(f"/rows/{number}", "ROW", (f"第 {number} 行：{words}", "a wrong row"))
            for words in found
        ]
        answers += [] if found else [_answer(given, number)]
    faults += _twice(answers)
    if not answers and not faults:
        raise refused("file", "FILE_EMPTY", "文件中没有处理结果", "the file holds no results")
    if faults:
        words = "；".join(fault.detail[0] for fault in faults[:20])
        raise Refusal(422, "RESULTS_INVALID", (words, "rows of the file are wrong"), tuple(faults))
    return answers


def _given(rows: Sequence[tuple[int, Sequence[str]]]) -> list[tuple[int, dict[str, str]]]:
    """The rows that answer for an order, by column; a row of sums or an empty one says nothing."""
    places = _places(rows[0][1] if rows else [])
    read = (
        (number, {key: cells[at].strip() if at < len(cells) else "" for key, at in places.items()})
        for number, cells in rows[1:]
    )
    found = [row for row in read if any(row[1][key] for key in ("number", "state", "serial"))]
    if len(found) > MOST_ROWS:
        words = f"文件有 {len(found):,} 行处理结果，一次至多 {MOST_ROWS:,} 行，请分成几个文件登记"
        raise refused("file", "TOO_MANY_ROWS", words, "more rows than one file may hold")
    return found


def _places(head: Sequence[str]) -> dict[str, int]:
    names = [cell.strip() for cell in head]
    found = {}
    for key, known in COLUMNS.items():
        at = next((names.index(name) for name in known if name in names), None)
        if at is None:
            raise refused(
                "file", "COLUMN_MISSING", f"文件缺少“{known[0]}”列", "a column is missing"
            )
        found[key] = at
    return found


def _wrong(given: Mapping[str, str]) -> Iterator[str]:
    outcome = OUTCOMES.get(given["state"])
    if not given["number"]:
        yield "没有指令号"
    if outcome is None:
        yield f"处理结果应为成功、退票或拒付，而不是“{given['state']}”"
    if _fen(given["amount"]) is None:
        yield f"金额“{given['amount']}”不是两位小数的金额"
    if _day(given["on"]) is None:
        yield f"处理日期“{given['on']}”应为 YYYY-MM-DD"
    if outcome == PaymentOrder.State.PAID and not given["serial"]:
        yield "成功的指令须有银行流水号"
    if len(given["serial"]) > LONGEST_SERIAL:
        yield f"银行流水号至多 {LONGEST_SERIAL} 字"
    if (
        outcome in (PaymentOrder.State.RETURNED, PaymentOrder.State.REJECTED)
        and not given["reason"]
    ):
        yield "退票或拒付须写明原因"


def _answer(given: Mapping[str, str], row: int) -> Answer:
    return Answer(
        number=given["number"], state=OUTCOMES[given["state"]], amount=_fen(given["amount"]) or 0,
        on=_day(given["on"]) or dt.date.min, serial=given["serial"],
        reason=given["reason"][:200], row=row,
    )  # fmt: skip


def _twice(answers: Sequence[Answer]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for answer in answers:
        if answer.number in first:
            words = f"第 {answer.row} 行：指令 {answer.number} 与第 {first[answer.number]} 行重复"
            yield Fault(f"/rows/{answer.row}", "REPEATED", (words, "an order comes twice"))
        first.setdefault(answer.number, answer.row)


def _fen(text: str) -> int | None:
    whole, _, part = text.replace(",", "").partition(".")
    part = part.ljust(2, "0")
    if not (whole.isascii() and whole.isdigit() and part.isascii() and part.isdigit()):
        return None
    return int(whole) * FEN_PER_YUAN + int(part) if len(part) == 2 and len(whole) < 13 else None


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text[:10].replace("/", "-"))
    except ValueError:
        return None
