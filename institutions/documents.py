"""Files of a subject, stored with their SM3 digest. What a file is, is looked at, not believed."""

import datetime as dt
import hashlib
import zipfile
from io import BytesIO
from pathlib import PurePath

from django.core.files.base import ContentFile

from audit import trail
from institutions.models import Document, Institution
from institutions.refusals import Refusal

LARGEST = 8 * 1024 * 1024  #: bytes of one file; the same as the largest request
#: what a file begins with: media type, extension
SIGNS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "application/pdf", ".pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
)
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TEXT_PARTS = {"xl/workbook.xml": (WORKBOOK, ".xlsx")}


def media_type(content: bytes) -> tuple[str, str]:
    """(media type, extension) by the file's own first bytes; Refusal for anything else."""
    for sign, kind, extension in SIGNS:
        if content.startswith(sign):
            return kind, extension
    if content.startswith(b"PK\x03\x04"):
        try:
            names = set(zipfile.ZipFile(BytesIO(content)).namelist())
        except zipfile.BadZipFile:
            names = set()
        for part, answer in TEXT_PARTS.items():
            if part in names:
                return answer
    raise Refusal(
        422, "FILE_TYPE", ("只接受 PDF、JPG、PNG 和 XLSX 文件", "only PDF, JPG, PNG and XLSX files")
    )


def store(
    *, content: bytes, name: str, kind: str, by: str, at: dt.datetime, subject: str = "",
    institution: Institution | None = None, region_code: str = "",
) -> Document:  # fmt: skip
    """Store a file inside the caller's transaction. `kind` says what it is for (evidence, notice …)."""
    if not content:
        raise Refusal(422, "FILE_EMPTY", (f"文件“{name}”是空的", "the file is empty"))
    if len(content) > LARGEST:
        raise Refusal(
            422, "FILE_TOO_LARGE",
            (f"文件“{name}”超过 {LARGEST // 1024 // 1024} MB", "the file is too large"),
        )  # fmt: skip
    found, extension = media_type(content)
    shown = trail.one_line(PurePath(name.replace("\\", "/")).stem or kind, 150) + extension
    digest = hashlib.new("sm3", content).hexdigest()
    document = Document(
        name=shown, kind=kind, media_type=found, size=len(content), digest=digest, subject=subject,
        institution=institution, uploaded_by=by, uploaded_at=at,
        region_code=region_code or (institution.region_id if institution else ""),
    )  # fmt: skip
    document.file.save(f"{digest}{extension}", ContentFile(content), save=False)
    document.save()
    trail.record(
        by=by, at=at, action="document.store", subject=f"document:{document.pk}",
        region_code=document.region_code,
        institution_code=institution.code if institution else "",
        detail={"name": shown, "kind": kind, "sm3": digest, "size": len(content), "of": subject},
    )  # fmt: skip
    return document


def content_of(document: Document) -> bytes:
    """The bytes of a document, proven by its digest; a changed file is refused."""
    with document.file.open("rb") as stream:
        content = stream.read()
    if hashlib.new("sm3", content).hexdigest() != document.digest:
        raise Refusal(
            500, "FILE_CHANGED", (f"文件“{document.name}”与登记的摘要不符", "the file was changed")
        )
    return content
