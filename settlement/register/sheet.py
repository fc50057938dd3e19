"""A register extract: its columns, what is wrong in its rows, what would become of each person.

An ID number is text of 18 characters with a right check digit; a lower-case x counts as X; 15-digit
and full-width numbers, and numbers that a spreadsheet spoilt, are refused with the rule they break.
"""

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from audit.sheets import SCIENTIFIC
from audit.text import yuan
from institutions import crypto
from institutions.exchange.columns import EXPONENT, Column, Record, RowError, day, labels, read
from institutions.models import Region, area_prefix
from institutions.money import MoneyError, fen
from settlement.models import Entitlement, InsuredPerson, Scheme
from settlement.register import commands
from settlement.register.store import held
from settlement.register.timeline import DAY, Span, adds_nothing, put

CREATE, CHANGE, SAME = "create", "change", "same"
VERDICTS = {CREATE: "新增", CHANGE: "变更", SAME: "不变"}
TITLE = "参保登记"
AREA = re.compile(r"\d{6}")
#: columns whose cells are personal data: an error shows them masked
HIDDEN = {"number": crypto.mask_id, "name": crypto.mask_name, "phone": crypto.mask_id}


def _number(text: str) -> str:
    """A valid ID number; ValueError says which rule it breaks."""
    if SCIENTIFIC.fullmatch(text):
        raise ValueError(EXPONENT)
    return crypto.id_number(text)


def _area(text: str) -> str:
    if not AREA.fullmatch(text):
        raise ValueError("应为 6 位行政区划代码")
    return text


def _phone(text: str) -> str:
    if not commands.PHONE.match(text):
        raise ValueError("电话应为 7 至 20 位数字")
    return text


def _amount(text: str) -> int:
    """Fen of an amount in yuan."""
    try:
        return fen(text)
    except MoneyError:
        raise ValueError("应为金额（元），不小于零、至多两位小数，如 1234.56") from None


COLUMNS = (
    Column("number", "证件号码", _number, True, "999999197001010014", "18 位居民身份号码，文本格式"),
    Column("name", "姓名", str, True, "示例", limit=commands.NAME_MOST),
    Column("scheme", "险种", required=True, example="居民医保", choices=labels(Scheme.choices)),
    Column("standing", "参保状态", example="正常参保", choices=labels(Entitlement.Standing.choices),
           help="不填为正常参保"),
    Column("valid_from", "生效日", day, True, "2021-01-01"),
    Column("valid_until", "止日", day, example="", help="不填为长期"),
    Column("area", "参保地", _area, example="320600", help="6 位区划代码，不填为本统筹区"),
    Column("phone", "联系电话", _phone, example="", help="可不填；加密保存"),
    Column("balance", "个人账户余额", _amount, example="",
           help="元；可不填，不填为不报送；填写的在导入时替换现存余额"),
    Column("source", "依据", str, example="2021年度参保名册", limit=200),
)  # fmt: skip


class Extract:
    """The judged rows of an extract, and the persons and spans that the register holds for them."""

    def __init__(self, name: str, content: bytes, region_code: str):
        """Raises audit.sheets.SheetError when there is no sheet to read."""
        self.region = region_code
        self.records = read(name, content, COLUMNS)
        self.of_person: dict[bytes, list[Record]] = defaultdict(list)
        self.persons: dict[bytes, InsuredPerson] = {}
        self.spans: dict[int, list[Span]] = {}
        self._rows()
        self._held()

    def _rows(self) -> None:
        """What is wrong in the rows themselves, and whose rows they are."""
        prefix = area_prefix(self.region)
        areas = {record.get("area") for record in self.records} - {""}
        known = set(Region.objects.filter(pk__in=areas).values_list("pk", flat=True))
        seen: dict[tuple, int] = {}
        for record in self.records:
            area = record.get("area")
            if area and (area not in known or not area.startswith(prefix)):
                record.wrong("area", "不是本统筹区内的区划代码")
            first, last = record.get("valid_from", None), record.get("valid_until", None)
            if first and last and last < first:
                record.wrong("valid_until", "止日早于生效日")
            number = record.get("number")
            if not number:
                continue
            key = (number, first)
            if key in seen:
                record.wrong("valid_from", f"同一人同一生效日与第 {seen[key]} 行重复")
            seen.setdefault(key, record.row)
            self.of_person[crypto.person_hash(number)].append(record)

    def _held(self) -> None:
        """What the register holds of the persons named: two queries however many they are."""
        rows = InsuredPerson.objects.filter(id_hash__in=list(self.of_person))
        self.persons = {bytes(row.id_hash): row for row in rows}
        self.spans = held([row.pk for row in self.persons.values()])
        for digest, records in self.of_person.items():
            person = self.persons.get(digest)
            self._one_balance(records, person)
            name = commands.opened(person, "name", person.name_cipher) if person else ""
            self._same_name(records, name)

    def _one_balance(self, records: Sequence[Record], person: InsuredPerson | None) -> None:
        """A person has one balance, and it is reported by the region of today."""
        stated = [record for record in records if "balance" in record.values]
        here = person is None or person.region_code.startswith(area_prefix(self.region))
        for record in stated:
            if record.values["balance"] != stated[0].values["balance"]:
                record.wrong("balance", f"与第 {stated[0].row} 行同一人的余额不同")
            if not here and "valid_until" in record.values:
                record.wrong("balance", "参保人现在其他统筹区参保，余额由参保地报送")

    def _same_name(self, records: Sequence[Record], held_name: str) -> None:
        """An ID number with another's name is the mistake that does most harm: it is never imported."""
        first = held_name or records[0].get("name")
        for record in records:
            given = record.get("name")
            if given and first and given != first:
                whose = "登记的姓名" if held_name else f"第 {records[0].row} 行的姓名"
                record.wrong("name", f"与{whose}（{crypto.mask_name(first)}）不符，请核对证件号码")

    def span(self, record: Record) -> Span:
        """What a sound row states."""
        return Span(
            record.values["valid_from"], record.get("valid_until", None), record.values["scheme"],
            record.get("standing", Entitlement.Standing.ACTIVE), record.get("area") or self.region,
            record.get("source"),
        )  # fmt: skip

    def plan(self) -> None:
        """What would become of every row, judged in the order of days of each person."""
        for digest, records in self.of_person.items():
            if any(record.errors for record in records):
                continue
            person = self.persons.get(digest)
            spans: list[Span] = list(self.spans.get(person.pk, ())) if person else []
            rows = sorted(records, key=lambda record: record.values["valid_from"])
            for record, following in zip(rows, [*rows[1:], None], strict=True):
                spans = self._plan(record, self._until(record, following), spans, person)
                if "balance" in record.values:
                    _plan_balance(record, person)

    def _until(self, record: Record, following: Record | None) -> Span:
        """What a row states; an open one ends where the next row of the same person begins."""
        span = self.span(record)
        if following is None or span.last is not None:
            return span
        return replace(span, last=following.values["valid_from"] - DAY)

    def _plan(
        self, record: Record, new: Span, spans: list[Span], person: InsuredPerson | None
    ) -> list[Span]:
        if adds_nothing(spans, new):
            record.decide(SAME)
            return spans
        if elsewhere(spans, new, self.region):
            record.wrong("valid_from", "这些日期已在其他统筹区参保，须先由转出地终止")
            return spans
        if spans and (found := commands.fault(spans, new)):
            record.refused(found)
            return spans
        before = next((span for span in reversed(spans) if span.first <= new.first), None)
        record.decide(CHANGE if person or spans else CREATE, told(before, new))
        record.changes = {"span": new}
        return put(spans, new)

    def errors(self) -> list[RowError]:
        """Every fault in the order of the file, personal data masked."""
        return [masked(error) for record in self.records for error in record.errors]


def _plan_balance(record: Record, person: InsuredPerson | None) -> None:
    """A stated balance is a report of its own; what was drawn since the last one is not foreseen."""
    now = record.values["balance"]
    last = person.account_balance if person else 0
    told = f"个人账户余额：上次报送 {yuan(last)} 元 → {yuan(now)} 元"
    verdict = CHANGE if record.verdict == SAME else record.verdict
    record.decide(verdict, "；".join(filter(None, [record.note, told])))
    record.changes["balance"] = now


def elsewhere(spans: Sequence[Span], new: Span, region: str) -> bool:
    """Whether a day of `new` is insured in another pooling region already (重复参保)."""
    prefix = area_prefix(region)
    return any(
        span.meets(new)
        and span.standing != Entitlement.Standing.STOPPED
        and not span.region.startswith(prefix)
        for span in spans
    )


def told(before: Span | None, new: Span) -> str:
    """`自2021-07-01：职工医保 正常参保 → 居民医保 正常参保`."""
    was = says(before) if before else "未登记"
    until = f"至{new.last}" if new.last else "起"
    return f"{new.first}{until}：{was} → {says(new)}"


def says(span: Span) -> str:
    """A span in words."""
    return f"{Scheme(span.scheme).label} {Entitlement.Standing(span.standing).label}"


def masked(error: RowError) -> RowError:
    """An error without the personal data of its cell."""
    for column in COLUMNS:
        if column.label == error.column and column.key in HIDDEN:
            return RowError(error.row, error.column, HIDDEN[column.key](error.value), error.reason,
                            error.clause)  # fmt: skip
    return error


def example() -> Mapping[str, Any]:
    """A filled row for the template."""
    return {column.label: column.example for column in COLUMNS}


def first_day(records: Sequence[Record], on: dt.date) -> Record | None:
    """The row of a person that holds on a day."""
    for record in records:
        last = record.get("valid_until", None)
        if record.values["valid_from"] <= on and (last is None or on <= last):
            return record
    return None
