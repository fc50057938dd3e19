"""Reports that are kept: what they say, who made them when, under which checkpoint, and the file itself.

The SM3 of the file is an event, sealed like every other; anybody can ask for it under the address that the
report prints. What draws the pages again from the stored content stands with whoever laid them out
(`supervision.reports.press`). (RFC 9162)
"""

import datetime as dt
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from audit import trail
from audit.models import Checkpoint, Report, ReportBody

FOLDER = "reports"
LAYOUT_SHOWN = 16  #: hexadecimal digits of the SM3 of a layout
#: What draws pages beside our own files.
DRAWN_WITH = (
    "Django", "weasyprint", "pydyf", "tinyhtml5", "tinycss2", "cssselect2", "fonttools", "Pyphen",
    "pillow", "pikepdf", "segno",
)  # fmt: skip
FONTS = Path("/usr/share/fonts")


class ChangedFileError(ValueError):
    """The stored file, or the data behind it, is not what was recorded."""


@transaction.atomic
def keep(
    *, key: uuid.UUID, kind: str, title: str, document: bytes, content: Mapping[str, Any],
    parameters: Mapping[str, Any], by: str, at: dt.datetime, template: str, renderer: str,
    checkpoint: Checkpoint | None, number: str = "", region_code: str = "",
    institution_code: str = "", kept_at: dt.datetime | None = None,
) -> Report:  # fmt: skip
    """Keep a finished file with the data behind it; `key` and `checkpoint` are those that it prints.

    `at` is the moment of its figures, `kept_at` that of the event (left out: the same): an event says
    when it happened. `content` is plain JSON without floats. `renderer` names what drew the file.
    `parameters` are shown to whoever may see the report and hold no plain personal data.
    """
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    data = trail.canonical({"content": dict(content)})
    report = Report.objects.create(
        id=key, kind=kind, title=title, number=number, template=template, parameters=parameters,
        region_code=region_code, institution_code=institution_code, by=by,
        at=at, checkpoint=checkpoint, renderer=renderer,
        sm3=hashlib.new("sm3", document).hexdigest(), size=len(document),
        content_sm3=hashlib.new("sm3", data).hexdigest(),
    )  # fmt: skip
    name = f"{FOLDER}/{report.at:%Y}/{report.at:%m}/{report.pk}.pdf"
    ReportBody.objects.create(
        report=report, region_code=report.region_code, institution_code=report.institution_code,
        content=zlib.compress(data, 9), file=name,
    )  # fmt: skip
    path = Path(settings.MEDIA_ROOT, name)
    _write(path, document)
    trail.record(
        by=report.by, at=kept_at or report.at, action="report.make", subject=f"report:{report.pk}",
        region_code=report.region_code, institution_code=report.institution_code,
        detail={"kind": report.kind, "number": report.number, "sm3": report.sm3,
                "content_sm3": report.content_sm3, "parameters": report.parameters,
                "checkpoint": report.checkpoint.size if report.checkpoint else 0},
    )  # fmt: skip
    return report


def _write(path: Path, document: bytes) -> None:
    """The file and its name are on the disk before the row that promises them is committed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(document)
        stream.flush()
        os.fsync(stream.fileno())
    path.chmod(0o640)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def content_of(report: Report) -> dict[str, Any]:
    """The data behind a report, as they were when it was made; ChangedFileError for any other."""
    try:
        data = zlib.decompress(bytes(report.body.content))
    except (zlib.error, ReportBody.DoesNotExist) as error:
        raise ChangedFileError(f"the data of report {report.pk} were damaged") from error
    if hashlib.new("sm3", data).hexdigest() != report.content_sm3:
        raise ChangedFileError(f"the data of report {report.pk} were changed")
    return json.loads(data)["content"]


def address_of(key: uuid.UUID) -> str:
    """Where anybody compares a printed report with what the trail knows of it."""
    return f"{settings.PORTAL_URL}{reverse('report-check', args=[key])}"


def read(report: Report) -> bytes:
    """The stored file, proven by its SM3; ChangedFileError for any other."""
    try:
        content = Path(settings.MEDIA_ROOT, report.body.file).read_bytes()
    except (OSError, ReportBody.DoesNotExist) as error:
        raise ChangedFileError(f"the file of report {report.pk} is gone") from error
    if hashlib.new("sm3", content).hexdigest() != report.sm3:
        raise ChangedFileError(f"the file of report {report.pk} was changed")
    return content


def intact(report: Report) -> bool:
    """Whether the stored file is there and is the one that was recorded."""
    try:
        read(report)
    except ChangedFileError:
        return False
    return True


def renderer_of(layout: Iterable[Path]) -> str:
    """What draws pages: the engine, and the SM3 of everything that can change a byte of them: the files
    of the layout, the versions of what draws with it, the fonts. Another one may draw other bytes.
    """
    digest = hashlib.new("sm3")
    for name in DRAWN_WITH:
        digest.update(f"{name} {version(name)}\n".encode())
    for path in sorted(FONTS.rglob("*.[ot]t[cf]")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    for name, path in sorted((_named(path), path) for path in layout):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return f"WeasyPrint {version('weasyprint')} 版式 {digest.hexdigest()[:LAYOUT_SHOWN]}"


def _named(path: Path) -> str:
    """A file by its place in the project, wherever that is installed."""
    top = settings.BASE_DIR
    return str(path.relative_to(top) if path.is_relative_to(top) else path.name)
