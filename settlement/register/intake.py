"""An extract on its way: dry run, confirmation by a person, one transaction that writes it all.

The dry run writes nothing of the register. What is confirmed is exactly the file that was judged with
exactly the plan that was shown. A file is taken once: the same bytes again lead to the same sheet.
"""

import base64
import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction

from audit import trail
from audit.doorbell import ring
from audit.sheets import SheetError, Wrong, rows_of, workbook
from institutions import crypto
from institutions.exchange.columns import RESULT, Record, RowError, shown
from institutions.models import User
from institutions.refusals import Refusal, refused
from settlement.models import InsuredPerson, RegisterSheet
from settlement.register import commands
from settlement.register.sheet import CHANGE, CREATE, TITLE, VERDICTS, Extract
from settlement.register.store import CHUNK, Change, write
from settlement.register.timeline import Span

TASK = "settlement.run_register"
ERRORS_KEPT = 5_000
Purpose, State = RegisterSheet.Purpose, RegisterSheet.State


@transaction.atomic
def check(
    *, file_name: str, content: bytes, who: User, by: str, at: dt.datetime
) -> RegisterSheet:  # fmt: skip
    """The dry run. The same file again is judged anew as long as nobody confirmed it."""
    region = region_of(who)
    digest = sm3(content)
    known = taken(Purpose.IMPORT, region, digest)
    if known is not None and known.state == State.DONE:
        raise refused("file", "FILE_KNOWN", f"该文件已于{known.finished_at:%Y-%m-%d}导入，不重复导入",
                      "the file was imported before", status=409)  # fmt: skip
    if known is not None and known.state == State.WAITING:
        return known
    extract = extracted(file_name, content, region)
    extract.plan()
    errors = extract.errors()
    judged = {
        "plan_sm3": plan_of(extract.records), "rows": len(extract.records),
        "counts": counts_of(extract.records),
        "errors": [error.as_dict() for error in errors[:ERRORS_KEPT]],
    }  # fmt: skip
    if known is not None:
        RegisterSheet.objects.filter(pk=known.pk).update(**judged)
        known.refresh_from_db()
        return known
    made = RegisterSheet.objects.create(
        purpose=Purpose.IMPORT, **received(file_name, content, region), **judged, created_at=at,
        created_by=by,
    )  # fmt: skip
    noted(made, "check", by=by, at=at)
    return made


def region_of(who: User) -> str:
    """The pooling region whose register somebody keeps."""
    if who.region_id is None:
        raise Refusal(403, "NO_REGION", ("只有经办机构可以导入参保信息", "only agencies import"))
    return who.region_id


def taken(
    purpose: str, region: str, digest: str, on: dt.date | None = None
) -> RegisterSheet | None:
    """The sheet of a file that was uploaded before."""
    rows = RegisterSheet.objects.filter(
        purpose=purpose, region_code=region, file_sm3=digest, on=on
    ).exclude(state=State.FAILED)
    return rows.select_for_update().first()


def extracted(file_name: str, content: bytes, region: str) -> Extract:
    """The extract of a file; Refusal when it cannot be read at all."""
    try:
        return Extract(file_name, content, region)
    except SheetError as error:
        raise refused("file", "FILE_INVALID", str(error), "the file cannot be read") from error


def received(file_name: str, content: bytes, region: str) -> dict[str, Any]:
    """The columns of a file as it came: encrypted, since it holds ID numbers."""
    digest = sm3(content)
    name = PurePath(file_name.replace("\\", "/")).name or "file"
    return {
        "file_name": trail.one_line(name, 200), "file_sm3": digest, "region_code": region,
        "file_cipher": crypto.encrypt(base64.b64encode(content).decode(), bound_to=_bound(digest)),
    }  # fmt: skip


def content_of(sheet: RegisterSheet) -> bytes:
    """The bytes of the uploaded file, proven by their digest."""
    text = crypto.decrypt(bytes(sheet.file_cipher), bound_to=_bound(sheet.file_sm3))
    content = base64.b64decode(text)
    if sm3(content) != sheet.file_sm3:
        raise Refusal(500, "FILE_CHANGED", ("存下的文件与校验时的文件不同", "the file was changed"))
    return content


def _bound(digest: str) -> str:
    return f"register-sheet:{digest}"


def sm3(content: bytes) -> str:
    return hashlib.new("sm3", content).hexdigest()


def counts_of(records: Sequence[Record]) -> dict[str, int]:
    """How many rows are new, changed, the same, wrong; how many faults there are."""
    verdicts = Counter(record.verdict for record in records if not record.errors)
    return {key: verdicts[key] for key in VERDICTS} | {
        "errors": sum(len(record.errors) for record in records),
        "wrong_rows": sum(1 for record in records if record.errors),
    }


def plan_of(records: Sequence[Record]) -> str:
    """The digest of what would become of every row."""
    told = [[record.row, record.verdict, record.note, len(record.errors)] for record in records]
    return sm3(json.dumps(told, ensure_ascii=False).encode())


def noted(sheet: RegisterSheet, act: str, *, by: str, at: dt.datetime, outcome: str = "ok") -> None:
    """The event of an act on a sheet."""
    trail.record(
        by=by, at=at, action=f"register.{act}", subject=f"register:{sheet.pk}", outcome=outcome,
        region_code=sheet.region_code,
        detail={"purpose": sheet.purpose, "file": sheet.file_name, "sm3": sheet.file_sm3,
                "rows": sheet.rows, **sheet.counts},
    )  # fmt: skip


# --- Writing ---


@transaction.atomic
def confirm(*, sheet: RegisterSheet, by: str, at: dt.datetime) -> RegisterSheet:
    """Hand a judged file without errors to the worker that writes it."""
    found = RegisterSheet.objects.select_for_update().get(pk=sheet.pk)
    if found.purpose != Purpose.IMPORT or found.state != State.CHECKED:
        raise Refusal(409, "SHEET_STATE", (f"该文件{found.get_state_display()}，不能再次确认",
                                           "the file was confirmed before"))  # fmt: skip
    if found.errors:
        told = f"校验有 {found.counts['errors']} 处错误，请改正后重新上传"
        raise Refusal(409, "SHEET_HAS_ERRORS", (told, "the rows have errors"))
    if not found.counts[CREATE] + found.counts[CHANGE]:
        raise Refusal(409, "SHEET_EMPTY", ("文件与登记内容一致，无须导入", "nothing would change"))
    found.state, found.confirmed_at, found.confirmed_by = State.WAITING, at, by
    found.save(update_fields=["state", "confirmed_at", "confirmed_by"])
    noted(found, "confirm", by=by, at=at)
    transaction.on_commit(lambda: ring(TASK, [found.pk]))
    return found


def waiting() -> list[int]:
    """Confirmed files that no worker has written yet."""
    rows = RegisterSheet.objects.filter(state=State.WAITING).order_by("confirmed_at")
    return list(rows.values_list("pk", flat=True))


@transaction.atomic
def run(*, sheet_id: int, at: dt.datetime) -> bool:
    """Write a confirmed file as a whole; False when it was not, with every reason kept."""
    found = RegisterSheet.objects.select_for_update(skip_locked=True).filter(
        pk=sheet_id, state=State.WAITING).first()  # fmt: skip
    if found is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('register ' || %s))", [found.region_code]
        )
    by = found.confirmed_by
    errors = list(_written(found, by=by, at=at))
    found.state, found.finished_at = State.FAILED if errors else State.DONE, at
    found.errors = [error.as_dict() for error in errors[:ERRORS_KEPT]]
    found.counts["errors"] = len(errors)
    found.save(update_fields=["state", "finished_at", "errors", "counts"])
    noted(found, "run", by=by, at=at, outcome="failed" if errors else "ok")
    return not errors


def _written(found: RegisterSheet, *, by: str, at: dt.datetime) -> Iterator[RowError]:
    """What forbids the import; without any fault every row is written."""
    extract = extracted(found.file_name, content_of(found), found.region_code)
    extract.plan()
    if plan_of(extract.records) != found.plan_sm3:
        yield RowError(1, "", "", "登记内容在校验之后有变化，请重新上传校验")
        yield from extract.errors()
        return
    try:
        with transaction.atomic():
            store(extract, source=found.file_name, by=by, at=at)
    except (IntegrityError, DataError):
        yield RowError(1, "", "", "与同时进行的登记冲突，请重新上传校验")


def store(extract: Extract, *, source: str, by: str, at: dt.datetime) -> int:
    """Write the planned rows of an extract: new persons and every changed span, in bulk."""
    changed = {
        digest: rows for digest, records in extract.of_person.items()
        if (rows := [record for record in records if record.verdict in (CREATE, CHANGE)])
    }  # fmt: skip
    fresh = [
        InsuredPerson(
            **commands.identity(rows[0].get("number"), rows[0].get("name"), rows[0].get("phone")),
            region_code=(span := extract.span(rows[0])).region, scheme=span.scheme,
        )
        for digest, rows in changed.items() if digest not in extract.persons
    ]  # fmt: skip
    InsuredPerson.objects.bulk_create(fresh, batch_size=CHUNK)
    persons = extract.persons | {bytes(row.id_hash): row for row in fresh}
    changes = [
        Change(
            persons[digest], [_sourced(row, source) for row in _by_day(rows) if "span" in row.changes],
            "person.import", {"file": source}, _balance(rows),
        )
        for digest, rows in changed.items()
    ]  # fmt: skip
    return write(changes, by=by, at=at)


def _balance(rows: Sequence[Record]) -> int | None:
    """What the rows of one person report of the personal account."""
    return next((row.changes["balance"] for row in rows if "balance" in row.changes), None)


def _by_day(rows: Sequence[Record]) -> list[Record]:
    return sorted(rows, key=lambda row: row.values["valid_from"])


def _sourced(row: Record, source: str) -> Span:
    """The planned span of a row; its evidence is the file where the row names none."""
    span: Span = row.changes["span"]
    return span if span.source else replace(span, source=source)


# --- What goes back ---


def annotated(sheet: RegisterSheet, *, by: str, at: dt.datetime) -> bytes:
    """The uploaded rows with a first column that says what becomes of each; wrong cells in red.

    The workbook holds ID numbers: taking it is an event.
    """
    content = content_of(sheet)
    extract = extracted(sheet.file_name, content, sheet.region_code)
    extract.plan()
    noted(sheet, "annotated", by=by, at=at)
    records = {record.row: record for record in extract.records}
    rows = rows_of(sheet.file_name, content)
    _, head = next(rows)
    names = [str(label or "").strip().rstrip("*") for label in head]
    lines = (_line(records.get(number), names, cells, sheet.state) for number, cells in rows)
    return workbook(TITLE, [RESULT, *map(shown, head)], (line for line in lines if line))


def _line(
    record: Record | None, names: Sequence[str], cells: Sequence, state: str
) -> list[str] | None:
    """A row of the annotated workbook; None for an empty one."""
    if record is None:
        return None
    wrong = {error.column for error in record.errors}
    texts = ["" if cell is None else str(cell)[:30_000] for cell in cells]
    if wrong:
        said: str = Wrong("；".join(f"{e.column}：{e.reason}".lstrip("：") for e in record.errors))
    elif state == State.DONE:
        said = "已导入"
    else:
        said = "：".join(filter(None, [VERDICTS.get(record.verdict, ""), record.note]))
    return [said, *(Wrong(text or " ") if name in wrong else text
                    for name, text in zip(names, texts, strict=False))]  # fmt: skip


def changes_of(sheet: RegisterSheet) -> int:
    """How many rows would be written."""
    return sheet.counts.get(CREATE, 0) + sheet.counts.get(CHANGE, 0)
