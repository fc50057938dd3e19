"""Papers that are kept: what they say, who made them when, under which checkpoint; the same bytes again.

`make` renders from the canonical form of the content, so that `render` on any later day (with the same
templates and fonts) gives the same file. Its SM3 is an event, sealed like every other; the paper prints the
checkpoint that was newest when it was made. (RFC 9162; ISO 19005-3)
"""

import datetime as dt
import hashlib
import json
import uuid
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from audit import clock, pdf, trail
from audit.models import Checkpoint, Report, ReportBody

FOLDER = "reports"
CONTENT_NAME = "content.json"


class ChangedFileError(ValueError):
    """The stored file is not the one that was recorded."""


def make(
    *, kind: str, title: str, template: str, content: Mapping[str, Any],
    parameters: Mapping[str, Any], by: str, at: dt.datetime, number: str = "",
    region_code: str = "", institution_code: str = "", styles: Sequence[str] = pdf.STYLES,
) -> Report:  # fmt: skip
    """Render a paper and keep it with everything that is needed to render it again.

    `content` is the template's whole context as plain JSON values; no floats. `parameters` are shown to
    whoever may see the report and hold no plain personal data.
    """
    report, data = _begun(
        kind=kind, title=title, template=template, content=content, parameters=parameters, by=by,
        at=at, number=number, region_code=region_code, institution_code=institution_code,
        styles=styles,
    )  # fmt: skip
    return _kept(report, data, _rendered(report, data))


def keep(
    *, kind: str, title: str, document: bytes, content: Mapping[str, Any],
    parameters: Mapping[str, Any], by: str, at: dt.datetime, key: uuid.UUID | None = None,
    checkpoint: Checkpoint | None = None, number: str = "", region_code: str = "",
    institution_code: str = "", template: str = "",
) -> Report:  # fmt: skip
    """Keep a paper that was put together elsewhere (a register in chunks), with the data behind it.

    `key` and `checkpoint` are those that its pages print already (`stamp`).
    """
    report, data = _begun(
        kind=kind, title=title, template=template, content=content, parameters=parameters, by=by,
        at=at, number=number, region_code=region_code, institution_code=institution_code,
        styles=(),
    )  # fmt: skip
    report.id, report.checkpoint = key or report.id, checkpoint
    return _kept(report, data, document)


def _begun(
    *, content: Mapping[str, Any], styles: Sequence[str], at: dt.datetime, **fields: Any
) -> tuple[Report, bytes]:
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    data = trail.canonical({"content": dict(content), "styles": list(styles)})
    checkpoint = trail.checkpoint()
    return Report(
        **fields, at=at.replace(microsecond=0), checkpoint=checkpoint,
        content_sm3=hashlib.new("sm3", data).hexdigest(), renderer=renderer(),
    ), data  # fmt: skip


@transaction.atomic
def _kept(report: Report, data: bytes, document: bytes) -> Report:
    report.sm3, report.size = hashlib.new("sm3", document).hexdigest(), len(document)
    report.save(force_insert=True)
    name = f"{FOLDER}/{report.at:%Y}/{report.at:%m}/{report.pk}.pdf"
    ReportBody.objects.create(
        report=report, region_code=report.region_code, institution_code=report.institution_code,
        content=zlib.compress(data, 9), file=name,
    )  # fmt: skip
    path = Path(settings.MEDIA_ROOT, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(document)
    path.chmod(0o640)
    trail.record(
        by=report.by, at=report.at, action="report.make", subject=f"report:{report.pk}",
        region_code=report.region_code, institution_code=report.institution_code,
        detail={"kind": report.kind, "number": report.number, "sm3": report.sm3,
                "content_sm3": report.content_sm3, "parameters": report.parameters,
                "checkpoint": report.checkpoint.size if report.checkpoint else 0},
    )  # fmt: skip
    return report


def content_of(report: Report) -> dict[str, Any]:
    """The data behind a report, as they were when it was made."""
    return json.loads(_data(report))["content"]


def _data(report: Report) -> bytes:
    data = zlib.decompress(bytes(report.body.content))
    if hashlib.new("sm3", data).hexdigest() != report.content_sm3:
        raise ChangedFileError(f"the data of report {report.pk} were changed")
    return data


def render(report: Report) -> bytes:
    """The paper once more, from what was stored with it: the same bytes."""
    return _rendered(report, _data(report))


def _rendered(report: Report, data: bytes) -> bytes:
    stored = json.loads(data)
    content = {
        **stored["content"],
        "seal": stamp(report.pk, report.checkpoint, at=report.at),
        "made_by": report.by,
        "report_title": report.title,
        "report_number": report.number,
    }
    enclosed = pdf.Attachment(CONTENT_NAME, trail.canonical(stored["content"]), "本报告的数据")
    return pdf.render(
        report.template, content, identifier=report.pk.bytes, at=clock.local(report.at),
        attachments=[enclosed], watermark=mark(report.by, report.at), styles=stored["styles"],
    )  # fmt: skip


def mark(by: str, at: dt.datetime) -> str:
    """The watermark of a paper: user and time."""
    return f"{by} {clock.local(at):%Y-%m-%d %H:%M}"


def stamp(key: uuid.UUID, checkpoint: Checkpoint | None, *, at: dt.datetime) -> dict[str, Any]:
    """What a paper prints of the trail (templates/reports/seal.html): the checkpoint, as text and QR."""
    address = f"{settings.PORTAL_URL}{reverse('report-check', args=[key])}"
    found: dict[str, Any] = {"report": str(key), "url": address, "made_at": clock.local(at)}
    if checkpoint is None:
        return found
    return found | {
        "size": checkpoint.size,
        "root": bytes(checkpoint.root).hex(),
        "alg": checkpoint.alg.upper(),
        "origin": checkpoint.origin,
        "key": checkpoint.key_id,
        "at": clock.local(checkpoint.at),
        "lines": checkpoint.text.strip().split("\n"),
        "qr": pdf.qr(checkpoint.text),
    }


def read(report: Report) -> bytes:
    """The stored file, proven by its SM3; ChangedFileError for any other."""
    content = Path(settings.MEDIA_ROOT, report.body.file).read_bytes()
    if hashlib.new("sm3", content).hexdigest() != report.sm3:
        raise ChangedFileError(f"the file of report {report.pk} was changed")
    return content


def opened(report: Report, *, by: str, at: dt.datetime) -> None:
    """Record that somebody takes a report away."""
    trail.record(
        by=by, at=at, action="report.read", subject=f"report:{report.pk}",
        region_code=report.region_code, institution_code=report.institution_code,
        detail={"sm3": report.sm3},
    )  # fmt: skip


def renderer() -> str:
    """Name and version of what draws the pages: another one may draw other bytes."""
    return f"WeasyPrint {version('weasyprint')}"
