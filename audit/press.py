"""The press behind `audit/pdf.py`: WeasyPrint without any network, the same bytes for the same input.

A module of its own because importing WeasyPrint takes most of a second, which no page and no command
that prints nothing should wait for. (ISO 19005-3)
"""

import base64
import ctypes
import datetime as dt
import functools
import gc
import html
import io
import logging
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import weasyprint
from django.contrib.staticfiles import finders
from weasyprint.css import ColorProfile
from weasyprint.logger import PROGRESS_LOGGER
from weasyprint.urls import FatalURLFetchingError, URLFetcher

from audit.pdf import Attachment

VARIANT = "pdf/a-3a"
COLOURS = "srgb"
PROGRESS_LOGGER.setLevel(logging.WARNING)  # else seven lines a paper
#: A face is 20 MB. Without a fixed threshold glibc keeps such blocks for good once they were freed
#: (mallopt(3), M_MMAP_THRESHOLD, in bytes): 30 MB more in a worker that prints part after part.
M_MMAP_THRESHOLD, MAPPED_BYTES = -3, 1 << 17


if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # not in musl and macOS
    libc.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


class DataOnly(URLFetcher):
    """Reads `data:` addresses; any other address stops the rendering with ForeignAddress."""

    def __init__(self) -> None:
        super().__init__(allowed_protocols=["data"], allow_redirects=False, fail_on_errors=True)

    def fetch(self, url, headers=None):
        """The content of a `data:` address."""
        if not url.lower().startswith("data:"):
            raise ForeignAddress(f"a paper may not load {url[:80]}")
        return super().fetch(url, headers)


class ForeignAddress(FatalURLFetchingError):
    """A template asks for something outside the paper."""


def press(
    markup: str, *, identifier: bytes, at: dt.datetime, attachments: Sequence[Attachment],
    watermark: str, styles: Sequence[str], face: str,
) -> bytes:  # fmt: skip
    """The PDF/A-3 file of a whole HTML document; see `audit.pdf.render`."""
    options = {"pdf_variant": VARIANT, "pdf_identifier": identifier}
    sheets = [_watermark(watermark, face)] if watermark else []
    document = _laid(markup, styles, sheets, output_intent=COLOURS, **options)
    # WeasyPrint's own way to this profile leaves the file open: it gets ours under another name.
    document.color_profiles[COLOURS] = _colours()
    document.metadata.created = document.metadata.modified = at.isoformat(timespec="seconds")
    enclosed = [_attached(file, at) for file in attachments]
    return document.write_pdf(
        attachments=enclosed, output_intent="given", finisher=_plain_table, **options
    )


def count(markup: str, *, styles: Sequence[str]) -> int:
    """How many pages the document has: laid out, not drawn, so that no letter is embedded."""
    return len(_laid(markup, styles).pages)


def _laid(
    markup: str, styles: Sequence[str], more: Sequence[str] = (), **options: Any
) -> weasyprint.Document:
    gc.collect()  # the document before is a ring of boxes and faces (20 MB each) that only this frees
    sheets = [_sheet(name) for name in styles]
    sheets += [weasyprint.CSS(string=text, url_fetcher=DataOnly()) for text in more]
    source = weasyprint.HTML(string=markup, url_fetcher=DataOnly())
    return source.render(stylesheets=sheets, **options)


def _plain_table(_document, made) -> None:
    """A finisher: plain objects and cross-references, which signers and verifiers read ten times faster."""
    write = made.write
    made.write = lambda output, version, identifier, _compress: write(output, version, identifier)


def _colours() -> ColorProfile:
    profile = io.BytesIO((files("weasyprint.pdf") / "sRGB2014.icc").read_bytes())
    return ColorProfile(profile, "sRGB2014.icc", "relative-colorimetric", ("r", "g", "b"))


@functools.cache
def _sheet(name: str) -> weasyprint.CSS:
    found = finders.find(name)
    if not isinstance(found, str):
        raise FileNotFoundError(f"no such style sheet: {name}")
    return weasyprint.CSS(
        string=Path(found).read_text(encoding="utf-8"), url_fetcher=DataOnly(), media_type="print"
    )


def _attached(file: Attachment, at: dt.datetime) -> weasyprint.Attachment:
    moment = at.astimezone(dt.UTC)
    return weasyprint.Attachment(
        file_obj=io.BytesIO(file.content),
        url_fetcher=DataOnly(),
        name=file.name,
        description=file.description,
        created=moment,
        modified=moment,
        relationship=file.relationship,
    )


def _watermark(text: str, face: str) -> str:
    """A page rule whose background repeats the text; a background is no content for readers."""
    label = html.escape(text)
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="360" height="240" viewBox="0 0 360 240">'
        '<text x="180" y="120" text-anchor="middle" transform="rotate(-28 180 120)" fill="#e4e4e4"'
        f' font-size="17" font-family="{face}">{label}</text></svg>'
    )
    address = base64.b64encode(drawing.encode()).decode()
    return f'@page {{ background: url("data:image/svg+xml;base64,{address}") repeat }}'
