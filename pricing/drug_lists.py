"""Versions of a region's drug catalogue: read from a sheet, compared, published by a second person.

A draft keeps its sheet and every fault of it; only a draft without faults has drugs and can be put in
force. A published version never changes (trigger); the next one ends it the day before it begins.
Drugs with diseases are the chronic-disease drug lists (温州 十三、二十三（一）).
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, connection, transaction

from audit import trail
from audit.models import Event
from audit.sheets import CSV, XLSX, Guide, SheetError, Wrong, csv_lines, rows_of, workbook
from institutions.exchange.columns import RESULT, Column, Record, code, read, several
from institutions.models import Region
from institutions.refusals import Refusal, refused
from pricing.models import Drug, DrugList

PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*[%％]?")
YUAN = re.compile(r"\d{1,9}(?:\.\d{1,6})?")
DISEASE = re.compile(r"[0-9A-Za-z.]{1,20}")
PER_CENT, PER_YUAN = 100, 1_000_000
ERRORS_KEPT = 5_000
JSON = "application/json"
ENDINGS = ("xlsx", "csv", "json")
WRITTEN = ("druglist.draft", "druglist.edit")
CATEGORIES = {"甲类": "A", "乙类": "B", "丙类": "C", "甲": "A", "乙": "B", "丙": "C"}


def share(text: str) -> int:
    """A percentage as a ratio per ten thousand: `10%` and `10` are 1000."""
    match = PERCENT.fullmatch(text)
    if match is None:
        raise ValueError("应为百分数，如 10%")
    number = Decimal(match[1])
    if 0 < number < 1 and not text.endswith(("%", "％")):
        raise ValueError("不足 1 的数须写明百分号，如 0.5%；10% 不写作 0.1")
    if number > PER_CENT:
        raise ValueError("应在 0% 与 100% 之间")
    return int(number * PER_CENT)


def ceiling(text: str) -> int:
    """Yuan with at most six digits, as 1/1000000 yuan."""
    if YUAN.fullmatch(text) is None:
        raise ValueError("应为金额（元），至多 6 位小数")
    return int(Decimal(text) * PER_YUAN)


def diseases(text: str) -> list[str]:
    """Codes of diseases with semicolons between them."""
    found = several(text)
    if any(DISEASE.fullmatch(one) is None for one in found):
        raise ValueError("病种编码只能用字母、数字和点，多个以分号分隔")
    return list(dict.fromkeys(found))


def drug_code(text: str) -> str:
    """The national code of a drug as text."""
    found = code(text)
    if re.fullmatch(r"[0-9A-Za-z.-]{1,30}", found) is None:
        raise ValueError("药品编码只能用字母、数字、点和连字符，至多 30 位")
    return found


COLUMNS = (
    Column("code", "药品编码", drug_code, True, "XC08CAA000A001010100001", "国家医保药品编码，按文本填写"),
    Column("name", "药品名称", str, True, "苯磺酸氨氯地平片", limit=120),
    Column("specification", "规格", str, False, "5mg×7片", limit=120),
    Column("unit", "计价单位", str, False, "盒", limit=20),
    Column("category", "类别", str, True, "乙类", choices=CATEGORIES),
    Column("first_self_pay", "先行自付比例", share, False, "10%", "百分数；空白为 0%"),
    Column("ceiling", "支付限价", ceiling, False, "36.50", "元，每计价单位；空白为不限"),
    Column("diseases", "限定病种", diseases, False, "M03900；M01600", "慢性病病种编码；空白为不限"),
)  # fmt: skip
LABELS = {column.key: column.label for column in COLUMNS}
STANDARD: dict[str, Any] = {
    "specification": "", "unit": "", "first_self_pay": 0, "ceiling": None, "diseases": [],
}  # fmt: skip


def judge(name: str, content: bytes) -> list[Record]:
    """Every row of a sheet with everything wrong in it; SheetError for no sheet."""
    records = read(name, content, COLUMNS)
    seen: dict[str, int] = {}
    for record in records:
        first = seen.setdefault(record.get("code") or f"#{record.row}", record.row)
        if first != record.row:
            record.wrong("code", f"与第 {first} 行的药品编码重复")
        if record.get("category") == "A" and record.get("first_self_pay", 0):
            record.wrong("first_self_pay", "甲类药品没有先行自付比例")
        if record.get("category") == "C" and record.get("first_self_pay", 0):
            record.wrong("first_self_pay", "丙类药品全部自付，不填先行自付比例")
    return records


# --- Acts ---


@transaction.atomic
def draft(
    *, region: str, version: str, title: str, source_kind: str, source_ref: str, clause: str,
    valid_from: dt.date, file_name: str, content: bytes, by: str, at: dt.datetime,
) -> DrugList:  # fmt: skip
    """The dry run of a sheet: a draft with its drugs, or with every fault of every row."""
    _lock(region)
    if DrugList.objects.filter(region=region, version=version).exists():
        raise refused("version", "VERSION_USED", f"版本 {version} 已存在",
                      "the version exists", status=409)  # fmt: skip
    made = DrugList(
        region=region, version=version, title=title, source_kind=source_kind,
        source_ref=source_ref, clause=clause, valid_from=valid_from, drafted_by=by, drafted_at=at,
    )  # fmt: skip
    _fill(made, file_name, content)
    _record("draft", made, by=by, at=at)
    return made


@transaction.atomic
def replace_sheet(
    *, drugs: DrugList, file_name: str, content: bytes, by: str, at: dt.datetime
) -> DrugList:
    """Another sheet for a draft; whoever wrote any of it cannot publish it."""
    found = _draft(drugs)
    found.drugs.all().delete()
    found.drafted_by, found.drafted_at = by, at
    _fill(found, file_name, content)
    _record("edit", found, by=by, at=at)
    return found


def _fill(found: DrugList, file_name: str, content: bytes) -> None:
    try:
        records = judge(file_name, content)
    except SheetError as error:
        raise refused("file", "FILE_INVALID", str(error), "the file cannot be read") from error
    errors = [error.as_dict() for record in records for error in record.errors]
    found.file_name = trail.one_line(file_name.replace("\\", "/").rpartition("/")[2], 200)
    found.file, found.rows, found.errors = content, len(records), errors[:ERRORS_KEPT]
    found.drugs_count, found.sm3 = 0, ""
    found.save()
    if errors:
        return
    rows = [Drug(catalogue=found, **(STANDARD | record.values)) for record in records]
    Drug.objects.bulk_create(rows, batch_size=2_000)
    found.drugs_count, found.sm3 = len(rows), digest(found, rows)
    found.save(update_fields=["drugs_count", "sm3"])


@transaction.atomic
def discard(*, drugs: DrugList, by: str, at: dt.datetime) -> None:
    """Throw a draft away."""
    found = _draft(drugs)
    _record("discard", found, by=by, at=at)
    found.drugs.all().delete()
    found.delete()


@transaction.atomic
def publish(*, drugs: DrugList, by: str, at: dt.datetime) -> DrugList:
    """Put a sound draft in force: a second person; the open end of the version before is set.

    What is published is what was shown: the digest is computed again from the stored drugs.
    """
    found = _draft(drugs)
    _lock(found.region)
    if by in _writers(found):
        raise Refusal(
            403, "SECOND_PERSON", ("须由上传人以外的第二人发布", "a second person publishes")
        )
    if found.errors or not found.drugs_count:
        raise Refusal(
            409, "SHEET_HAS_ERRORS", ("表格有错误，改正后重新上传", "the sheet has errors")
        )
    if digest(found, found.drugs.all()) != found.sm3:
        raise Refusal(409, "CONTENT_CHANGED", ("药品内容与校验时不同，请重新上传", "changed"))
    _end_before(found, by=by, at=at)
    found.state, found.published_by, found.published_at = DrugList.State.PUBLISHED, by, at
    try:
        with transaction.atomic():
            found.save(update_fields=["state", "published_by", "published_at"])
    except IntegrityError as error:
        if "drug_list_no_overlap" not in str(error):
            raise
        raise refused("valid_from", "OVERLAP", "有效期与已发布的版本重叠",
                      "overlaps a published version", status=409) from error  # fmt: skip
    _record("publish", found, by=by, at=at)
    return found


def _end_before(found: DrugList, *, by: str, at: dt.datetime) -> None:
    """End the open version that began before this one; every other overlap is refused."""
    before = (
        DrugList.objects.select_for_update()
        .filter(region=found.region, state=DrugList.State.PUBLISHED, valid_until=None,
                valid_from__lt=found.valid_from)
        .first()
    )  # fmt: skip
    if before is not None:
        before.valid_until = found.valid_from - dt.timedelta(days=1)
        before.save(update_fields=["valid_until"])
        _record("end", before, by=by, at=at, successor=found.version)


def _draft(drugs: DrugList) -> DrugList:
    found = DrugList.objects.select_for_update().get(pk=drugs.pk)
    if found.state != DrugList.State.DRAFT:
        raise Refusal(409, "PUBLISHED", ("该版本已发布，不能再改动", "the version is published"))
    return found


def _lock(region: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"druglist:{region}"]
        )


def _writers(found: DrugList) -> set[str]:
    events = Event.objects.filter(subject=f"druglist:{found.pk}", action__in=WRITTEN)
    return {found.drafted_by, *events.values_list("actor", flat=True)}


def _record(act: str, found: DrugList, *, by: str, at: dt.datetime, **detail: object) -> None:
    area = Region.objects.filter(policy_region=found.region).order_by("code").first()
    trail.record(
        by=by, at=at, action=f"druglist.{act}", subject=f"druglist:{found.pk}",
        region_code=area.code if area else "",
        detail={"region": found.region, "version": found.version, "from": found.valid_from,
                "until": found.valid_until, "drugs": found.drugs_count, "sm3": found.sm3,
                "errors": len(found.errors), "file": found.file_name, **detail},
    )  # fmt: skip


# --- Content ---


def content(drug: Drug) -> dict[str, Any]:
    """A drug as plain data; the share per ten thousand, the ceiling in 1/1000000 yuan."""
    return {column.key: getattr(drug, column.key) for column in COLUMNS}


def digest(found: DrugList, drugs: Iterable[Drug]) -> str:
    """SM3 of the version's identity and its drugs by code, as canonical JSON."""
    told = {
        "region": found.region, "version": found.version, "from": found.valid_from,
        "drugs": sorted((content(drug) for drug in drugs), key=lambda row: row["code"]),
    }  # fmt: skip
    return hashlib.new("sm3", trail.canonical(told)).hexdigest()


@dataclass(frozen=True)
class Difference:
    """What a version changes against the one before: drugs, and (drug, [(label, before, after)])."""

    added: list[Drug]
    removed: list[Drug]
    changed: list[tuple[Drug, list[tuple[str, str, str]]]]

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.changed)


def before(found: DrugList) -> DrugList | None:
    """The published version in force on the day before this one begins, else on its first day."""
    rows = DrugList.objects.filter(
        region=found.region, state=DrugList.State.PUBLISHED, valid_from__lt=found.valid_from
    )
    return rows.exclude(pk=found.pk).order_by("-valid_from").first()


def difference(old: DrugList | None, new: DrugList) -> Difference:
    """Added, removed and changed drugs, by code."""
    was = {drug.code: drug for drug in old.drugs.all()} if old else {}
    now = {drug.code: drug for drug in new.drugs.all()}
    changed = [(drug, list(_changes(was[code], drug))) for code, drug in now.items() if code in was]
    return Difference(
        [drug for code, drug in now.items() if code not in was],
        [drug for code, drug in was.items() if code not in now],
        [row for row in changed if row[1]],
    )


@lru_cache(maxsize=8)
def _compared(old: tuple[int, str] | None, new: tuple[int, str]) -> Difference:
    """The difference of two contents, which their digests name."""
    rows = DrugList.objects.in_bulk([key for key, _ in filter(None, (old, new))])
    return difference(rows[old[0]] if old else None, rows[new[0]])


def compared(old: DrugList | None, new: DrugList) -> Difference:
    """`difference`, kept while neither content changes: pages of a version ask for it again."""
    return _compared((old.pk, old.sm3) if old else None, (new.pk, new.sm3))


def _changes(old: Drug, new: Drug) -> Iterator[tuple[str, str, str]]:
    was, now = texts(old), texts(new)
    for column, one, other in zip(COLUMNS, was, now, strict=True):
        if one != other:
            yield column.label, one, other


def texts(drug: Drug) -> list[str]:
    """A drug as the cells of a sheet: `judge` reads them back."""
    return [
        drug.code, drug.name, drug.specification, drug.unit, drug.get_category_display(),
        share_text(drug.first_self_pay), ceiling_text(drug.ceiling), "；".join(drug.diseases),
    ]  # fmt: skip


def share_text(ratio: int) -> str:
    """1000 → 10%."""
    return f"{(Decimal(ratio) / PER_CENT).normalize():f}%"


def ceiling_text(amount: int | None) -> str:
    """1/1000000 yuan with at least two digits; empty where there is no ceiling."""
    if amount is None:
        return ""
    whole, part = divmod(amount, PER_YUAN)
    digits = f"{part:06d}".rstrip("0")
    return f"{whole}.{digits:<02}" if digits else f"{whole}.00"


# --- Files ---


def template(ending: str) -> tuple[bytes, str]:
    """An empty sheet: (content, media type). Its cells are text, long codes stay whole."""
    head = [column.label for column in COLUMNS]
    if ending == "csv":
        return "".join(csv_lines(head, ())).encode(), CSV
    told = [("列", "必填", "填写要求", "示例")] + [
        (column.label, "是" if column.required else "", column.help, column.example)
        for column in COLUMNS
    ]
    guide = Guide({4: ("甲类", "乙类", "丙类")}, "填写说明", told)
    return workbook("药品目录", head, (), guide), XLSX


def export(found: DrugList, drugs: Iterable[Drug], ending: str) -> tuple[bytes, str]:
    """The drugs of a version as XLSX, CSV or JSON: (content, media type)."""
    if ending == "json":
        told = {
            "region": found.region, "version": found.version, "title": found.title,
            "source_kind": found.source_kind, "source_ref": found.source_ref,
            "valid_from": found.valid_from.isoformat(),
            "valid_until": found.valid_until.isoformat() if found.valid_until else None,
            "state": found.state, "sm3": found.sm3,
            "drugs": [dict(zip(LABELS, texts(drug), strict=True)) for drug in drugs],
        }  # fmt: skip
        return json.dumps(told, ensure_ascii=False, indent=1).encode(), JSON
    rows = (texts(drug) for drug in drugs)
    if ending == "csv":
        return "".join(csv_lines(list(LABELS.values()), rows)).encode(), CSV
    return workbook("药品目录", list(LABELS.values()), rows), XLSX


def annotated(found: DrugList) -> bytes:
    """The uploaded rows with a first column that says everything wrong; wrong cells in red."""
    wrong: dict[int, list[dict]] = {}
    for error in found.errors:
        wrong.setdefault(error["row"], []).append(error)
    rows = rows_of(found.file_name, bytes(found.file))
    _, head = next(rows)
    names = [str(label or "").strip().rstrip("*") for label in head]
    return workbook("药品目录", [RESULT, *names], _marked(rows, names, wrong))


def _marked(
    rows: Iterator[tuple[int, Any]], names: list[str], wrong: dict[int, list[dict]]
) -> Iterator[list[str]]:
    for number, cells in rows:
        found = wrong.get(number, ())
        columns = {error["column"] for error in found}
        told = "；".join(f"{error['column']}：{error['reason']}" for error in found)
        yield [
            Wrong(told[:30_000]) if found else "",
            *(Wrong(text or " ") if name in columns else text
              for name, text in zip(names, map(_whole, cells), strict=False)),
        ]  # fmt: skip


def _whole(cell: object) -> str:
    return "" if cell is None else str(cell)[:30_000]
