"""A file on its way to a batch: a small one is checked where it arrives, a large one by a worker.

The dry run of the largest file takes seconds and hundreds of megabytes, which no page and no call waits
for: its file is stored, a doorbell rings, and whoever asks hears how it goes.
"""

import datetime as dt
import hashlib
import re

from django.db import transaction

from audit.doorbell import ring
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import sheets
from settlement.batch import commands
from settlement.batch.intake import dry_run
from settlement.batch.parts import SETTLER, record, watch
from settlement.failpoints import failpoint
from settlement.models import Batch

#: A file of some hundred claims is checked within a tenth of a second.
AT_ONCE = 256 * 1024
CHECK_FAILED = sheets.RowError(1, "", "CHECK_FAILED", "多次检查未完成，已停止；请联系经办机构")
State = Batch.State


def take(
    *, institution: Institution, file_name: str, content: bytes, by: str, at: dt.datetime,
    start: bool = False,
) -> Batch:  # fmt: skip
    """A file arrives: a small one is checked at once, any other stored for a worker.

    `start`: settle it as soon as it is found sound. Refusal (400) of what is no such file at sight.
    """
    batch = _arrived(institution, file_name, content, by=by, at=at)
    batch.start_when_sound = start
    if len(content) <= AT_ONCE:
        return _checked(batch, institution, content)
    try:
        sheets.ending(batch.file_name, content)
    except sheets.SheetError as error:
        raise _no_file(error) from error
    with commands.settling():
        batch.save(using=SETTLER)
        record(batch, "uploaded", by=by, at=at)
        transaction.on_commit(lambda: ring(commands.CHECK_TASK, [batch.pk]), using=SETTLER)
    return batch


def check(
    *, institution: Institution, file_name: str, content: bytes, by: str, at: dt.datetime
) -> Batch:
    """Dry run of a file: every row error at once. Nothing is stored but the batch's own row."""
    return _checked(
        _arrived(institution, file_name, content, by=by, at=at), institution, content
    )  # fmt: skip


def go_on(*, batch_id: int, by: str, at: dt.datetime) -> bool:
    """Check a stored file; False when another worker does or did. One transaction.

    Judged as of the moment it arrived.
    """
    with commands.attempt(batch_id, State.CHECKING, CHECK_FAILED, by=by, at=at) as batch:
        if batch is None:
            return False
        watch(f"check {batch.pk}", seconds=commands.LOAD_SECONDS)
        failpoint("check.begun")
        institution = Institution.objects.using(SETTLER).get(pk=batch.institution_code)
        content = commands.stored_file(batch)
        try:
            _judge(batch, institution, content)
        except sheets.SheetError as error:
            fault = sheets.RowError(1, "", "FILE_INVALID", str(error))
            batch.errors = [fault.as_dict()]
            batch.annotated = sheets.refused(fault)
        batch.attempts = 0
        batch.save(
            using=SETTLER,
            update_fields=["errors", "annotated", "claims", "lines", "state", "attempts"],
        )
        record(batch, "checked", by=by, at=at, errors=len(batch.errors))
        _start(batch, at=at)
        failpoint("check.stored")
    return True


def _arrived(
    institution: Institution, file_name: str, content: bytes, *, by: str, at: dt.datetime
) -> Batch:
    return Batch(
        institution_code=institution.code, region_code=institution.region_id,
        file_name=safe_name(file_name), file_sm3=hashlib.new("sm3", content).hexdigest(),
        file=content, state=State.CHECKING, created_at=at, created_by=by,
    )  # fmt: skip


def _checked(batch: Batch, institution: Institution, content: bytes) -> Batch:
    try:
        _judge(batch, institution, content)
    except sheets.SheetError as error:
        raise _no_file(error) from error
    with commands.settling():
        batch.save(using=SETTLER)
        record(batch, "checked", by=batch.created_by, at=batch.created_at, errors=len(batch.errors))
        _start(batch, at=batch.created_at)
    return batch


def _judge(batch: Batch, institution: Institution, content: bytes) -> None:
    """Write onto a batch what the dry run of its file finds. Raises SheetError."""
    batch.state = State.CHECKED
    found = dry_run(batch.file_name, content, institution, at=batch.created_at)
    errors = sorted(found.errors, key=lambda e: (e.row, e.column))
    batch.errors = [error.as_dict() for error in errors[: commands.ERRORS_KEPT]]
    batch.annotated = sheets.annotated(batch.file_name, content, errors) if errors else None
    batch.claims, batch.lines = found.claims, found.lines


def _start(batch: Batch, *, at: dt.datetime) -> None:
    """Who uploaded it asked for it to start when it is sound."""
    if batch.start_when_sound and not batch.errors:
        commands.begin_loading(batch, by=batch.created_by, at=at)


def _no_file(error: sheets.SheetError) -> Refusal:
    return Refusal(400, "FILE_INVALID", (str(error), "the file cannot be read"))


def safe_name(name: str) -> str:
    """The last part of a file name without control characters; it is shown, never opened."""
    last = re.split(r"[\\/]", name)[-1]
    stem, dot, ending = "".join(c for c in last if c.isprintable()).rpartition(".")
    return f"{stem[:180]}{dot}{ending[:10]}" or "file"
