"""The official files of documents: attached by a named person, kept, served as downloads."""

import datetime as dt
import hashlib

from django.db import transaction

from audit import trail
from pricing.models import DocumentFile

MAX_BYTES = 8 * 1024 * 1024
#: What a file may be: ending → (content type, first bytes).
TYPES = {
    "pdf": ("application/pdf", b"%PDF-"),
    "ofd": ("application/ofd", b"PK\x03\x04"),
    "docx": (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04",
    ),
    "jpg": ("image/jpeg", b"\xff\xd8\xff"),
    "png": ("image/png", b"\x89PNG\r\n\x1a\n"),
}  # fmt: skip


class DocumentError(ValueError):
    """The file cannot be attached; the message says why (Chinese)."""


@transaction.atomic
def attach(*, slug: str, name: str, content: bytes, by: str, at: dt.datetime) -> DocumentFile:
    """Attach an official file to the document `slug`. The same bytes are kept once."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1][-200:]
    ending = name.rsplit(".", 1)[-1].lower()
    if ending not in TYPES:
        raise DocumentError("只接受 PDF、OFD、DOCX、JPG 或 PNG 文件")
    content_type, magic = TYPES[ending]
    if not content.startswith(magic):
        raise DocumentError("文件内容与扩展名不符")
    if len(content) > MAX_BYTES:
        raise DocumentError(f"文件不得超过 {MAX_BYTES // 1024 // 1024} MB")
    digest = hashlib.new("sm3", content).hexdigest()
    file, created = DocumentFile.objects.get_or_create(
        slug=slug, sm3=digest,
        defaults={"name": name, "content_type": content_type, "content": content,
                  "attached_by": by, "attached_at": at},
    )  # fmt: skip
    if not created:
        raise DocumentError("该文件已经附过")
    trail.record(
        by=by, at=at, action="document.attach", subject=f"document:{slug}",
        detail={"file": file.pk, "name": name, "bytes": len(content), "sm3": digest},
    )  # fmt: skip
    return file
