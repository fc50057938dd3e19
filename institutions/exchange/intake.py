"""A sheet on its way into the register: dry run, confirmation, and one transaction that writes it all.

The dry run reads many rows at once and writes none. What is confirmed is exactly the file that was
judged (SM3) with exactly the plan that was shown; a register that changed since is a new dry run.
"""

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from django.db import DataError, IntegrityError, connection, transaction

from audit import trail
from audit.doorbell import ring
from audit.procedure import Refused
from audit.sheets import SheetError, Wrong, rows_of, workbook
from institutions.exchange.columns import MAX_ROWS, RESULT, Record, RowError, read, shown
from institutions.exchange.kinds import CHANGE, CREATE, SAME, VERDICTS, Kind
from institutions.exchange.parties import Departments, Facts, Parties
from institutions.exchange.practitioners import Practitioners
from institutions.exchange.records import Mappings, Qualifications
from institutions.models import Import, User
from institutions.refusals import Refusal, refused

KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in (Parties(), Facts(), Departments(), Qualifications(), Practitioners(), Mappings())
}
TASK = "institutions.run_import"
ERRORS_KEPT = 5_000
State = Import.State


def judge(kind: Kind, name: str, content: bytes, user: User) -> list[Record]:
    """Every row of a file with its verdict or everything wrong in it; SheetError for no sheet."""
    records = read(name, content, kind.columns)
    planner = type(kind)()  # of its own: it keeps what it reads
    planner.single(records)
    planner.plan(records, user)
    return records


def check(
    *, kind: Kind, file_name: str, content: bytes, user: User, by: str, at: dt.datetime
) -> Import:
    """The dry run: nothing of the register is written; the judged file waits for confirmation."""
    _permitted(kind, user)
    try:
        records = judge(kind, file_name, content, user)
    except SheetError as error:
        raise refused("file", "FILE_INVALID", str(error), "the file cannot be read") from error
    errors = errors_of(records)
    place = user.institution
    made = Import.objects.create(
        kind=kind.key, file_name=trail.one_line(_last(file_name), 200), file=content,
        file_sm3=_sm3(content), plan_sm3=_plan(records), rows=len(records),
        counts=_counts(records), errors=[error.as_dict() for error in errors[:ERRORS_KEPT]],
        region_code=place.region_id if place else user.region_id or "",
        institution_code=place.code if place else "", created_at=at, created_by=by,
    )  # fmt: skip
    _record(made, "check", by=by, at=at)
    return made


def _last(name: str) -> str:
    return PurePath(name.replace("\\", "/")).name or "file"


def _permitted(kind: Kind, user: User) -> None:
    if not kind.open_to(user):
        raise Refusal(
            403, "IMPORT_NOT_PERMITTED", (f"您的角色不能导入{kind.title}", "not permitted")
        )


@transaction.atomic
def confirm(*, sheet: Import, user: User, by: str, at: dt.datetime) -> Import:
    """Hand a judged file without errors to the worker that writes it."""
    found = Import.objects.select_for_update().get(pk=sheet.pk)
    _permitted(KINDS[found.kind], user)
    if found.state != State.CHECKED:
        raise Refusal(409, "IMPORT_STATE", (f"该文件{found.get_state_display()}，不能再次确认",
                                            "the file was confirmed before"))  # fmt: skip
    if found.errors:
        told = f"校验有 {found.counts['errors']} 处错误，请改正后重新上传"
        raise Refusal(409, "IMPORT_HAS_ERRORS", (told, "the rows have errors"))
    if not found.counts[CREATE] + found.counts[CHANGE]:
        raise Refusal(409, "IMPORT_EMPTY", ("文件与登记内容一致，无须导入", "nothing would change"))
    found.state, found.confirmed_at, found.confirmed_by = State.WAITING, at, by
    found.save(update_fields=["state", "confirmed_at", "confirmed_by"])
    _record(found, "confirm", by=by, at=at)
    transaction.on_commit(lambda: ring(TASK, [found.pk]))
    return found


def waiting() -> list[int]:
    """Confirmed files that no worker has written yet."""
    return list(Import.objects.filter(state=State.WAITING).order_by("confirmed_at")
                .values_list("pk", flat=True))  # fmt: skip


@transaction.atomic
def run(*, import_id: int, at: dt.datetime) -> bool:
    """Write a confirmed file as a whole; False when it was not, with every reason kept.

    One import at a time: the next is judged against what the one before left.
    """
    found = Import.objects.select_for_update(skip_locked=True).filter(
        pk=import_id, state=State.WAITING).first()  # fmt: skip
    if found is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('registry import'))")
    by = found.confirmed_by
    errors = list(_written(found, by=by, at=at))
    found.state, found.finished_at = State.FAILED if errors else State.DONE, at
    found.errors = [error.as_dict() for error in errors[:ERRORS_KEPT]]
    found.counts["errors"] = len(errors)
    found.save(update_fields=["state", "finished_at", "errors", "counts"])
    _record(found, "run", by=by, at=at, outcome="failed" if errors else "ok")
    return not errors


def _written(found: Import, *, by: str, at: dt.datetime) -> Iterator[RowError]:
    """What forbids the import; without any fault every row is written."""
    content = bytes(found.file)
    if _sm3(content) != found.file_sm3:
        yield RowError(1, "", "", "存下的文件与校验时的文件不同")
        return
    kind = KINDS[found.kind]
    user = User.objects.select_related("institution", "region").get(username=by)
    records = judge(kind, found.file_name, content, user)
    if not kind.open_to(user):
        yield RowError(1, "", "", "确认人已没有导入权限")
    elif _plan(records) != found.plan_sm3:
        yield RowError(1, "", "", "登记内容在校验之后有变化，请重新上传校验")
        yield from errors_of(records)
    else:
        yield from _write_all(kind, records, by=by, at=at)


def _write_all(
    kind: Kind, records: Sequence[Record], *, by: str, at: dt.datetime
) -> list[RowError]:
    """Every row through its command (each a savepoint); all are given up when any is refused."""
    with transaction.atomic():
        for record in records:
            if record.verdict == SAME:
                continue
            try:
                kind.write(record, by=by, at=at)
            except (Refusal, Refused) as error:
                record.refused(error)
            except (IntegrityError, DataError):
                record.wrong("", "与已登记的内容冲突")
        errors = errors_of(records)
        if errors:
            transaction.set_rollback(True)
    return errors


def errors_of(records: Sequence[Record]) -> list[RowError]:
    """All faults in the order of the file."""
    return [error for record in records for error in record.errors]


def _counts(records: Sequence[Record]) -> dict[str, int]:
    verdicts = Counter(record.verdict for record in records if not record.errors)
    return {key: verdicts[key] for key in VERDICTS} | {
        "errors": len(errors_of(records)),
        "wrong_rows": sum(1 for record in records if record.errors),
    }


def _plan(records: Sequence[Record]) -> str:
    """The digest of what would become of every row."""
    told = [[record.row, record.verdict, record.note, len(record.errors)] for record in records]
    return _sm3(json.dumps(told, ensure_ascii=False).encode())


def _sm3(content: bytes) -> str:
    return hashlib.new("sm3", content).hexdigest()


def _record(sheet: Import, act: str, *, by: str, at: dt.datetime, outcome: str = "ok") -> None:
    trail.record(
        by=by, at=at, action=f"import.{act}", subject=f"import:{sheet.pk}", outcome=outcome,
        region_code=sheet.region_code, institution_code=sheet.institution_code,
        detail={"kind": sheet.kind, "file": sheet.file_name, "sm3": sheet.file_sm3,
                "rows": sheet.rows, **sheet.counts},
    )  # fmt: skip


# --- What goes back ---


def annotated(sheet: Import, user: User, *, by: str, at: dt.datetime) -> bytes:
    """The uploaded rows with a first column that says what becomes of each; wrong cells in red.

    Taking them is an event. A file that still waits for confirmation is judged anew; later its kept
    errors are told.
    """
    _record(sheet, "annotated", by=by, at=at)
    content = bytes(sheet.file)
    kind = KINDS[sheet.kind]
    results: dict[int, str] = {}
    if sheet.state == State.CHECKED:
        records = judge(kind, sheet.file_name, content, user)
        errors = [error.as_dict() for error in errors_of(records)]
        results = {r.row: "：".join(filter(None, [VERDICTS.get(r.verdict, ""), r.note]))
                   for r in records}  # fmt: skip
    else:
        errors = sheet.errors
        if sheet.state == State.DONE:
            results = dict.fromkeys(range(2, MAX_ROWS + 2), "已导入")
    rows = rows_of(sheet.file_name, content)
    _, head = next(rows)
    return workbook(kind.title, [RESULT, *map(shown, head)], _marked(rows, head, results, errors))


def _marked(
    rows: Iterator[tuple[int, Sequence]], head: Sequence, results: dict[int, str],
    errors: Sequence[dict],
) -> Iterator[list[str]]:  # fmt: skip
    wrong: dict[int, list[dict]] = {}
    for error in errors:
        wrong.setdefault(error["row"], []).append(error)
    labels = [str(label or "").strip().rstrip("*") for label in head]
    for number, cells in rows:
        found = wrong.get(number, ())
        columns = {error["column"] for error in found}
        yield [
            Wrong("；".join(map(_sentence, found))[:30_000]) if found else results.get(number, ""),
            *(
                Wrong(text or " ") if label in columns else text
                for label, text in zip(labels, map(_whole, cells), strict=False)
            ),
        ]


def _whole(cell: object) -> str:
    return "" if cell is None else str(cell)[:30_000]


def _sentence(error: dict) -> str:
    place = f"{error['column']}：" if error["column"] else ""
    clause = f"（{error['clause']}）" if error["clause"] else ""
    return f"{place}{error['reason']}{clause}"
