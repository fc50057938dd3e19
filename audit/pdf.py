"""Papers: `render(template, context)` gives a PDF/A-3 file, the same bytes for the same input.

WeasyPrint without any network: only `data:` addresses are read, every other one stops the rendering,
so that a paper is complete or not made. Time and identifier come from the caller, letters are embedded;
the data behind the paper travel in it as an attachment (ISO 19005-3 6.8).
"""

import base64
import datetime as dt
import functools
import hashlib
import html
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import segno
import weasyprint
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from weasyprint.css import ColorProfile
from weasyprint.logger import PROGRESS_LOGGER
from weasyprint.urls import FatalURLFetchingError, URLFetcher

VARIANT = "pdf/a-3a"
COLOURS = "srgb"
STYLES = ("css/report.css",)
IDENTIFIER_BYTES = 16
PROGRESS_LOGGER.setLevel(logging.WARNING)  # else seven lines a paper


@dataclass(frozen=True)
class Attachment:
    """A file inside the paper. `relationship` is one of ISO 32000-2, 7.11.3 (Data, Source, …)."""

    name: str
    content: bytes
    description: str
    relationship: str = "Data"


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


def render(
    template: str,
    context: Mapping[str, object],
    *,
    identifier: bytes,
    at: dt.datetime,
    attachments: Sequence[Attachment] = (),
    watermark: str = "",
    styles: Sequence[str] = STYLES,
) -> bytes:
    """The PDF of a template that extends reports/base.html.

    `identifier` names the paper for ever (`identifier_of`), `at` is its aware date of making,
    `watermark` (user and time) is repeated behind the text of every page.
    """
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    sheets = [_sheet(name) for name in styles]
    if watermark:
        sheets.append(weasyprint.CSS(string=_watermark(watermark), url_fetcher=DataOnly()))
    markup = render_to_string(template, {**context, "made_at": at})
    source = weasyprint.HTML(string=markup, url_fetcher=DataOnly())
    options = {"pdf_variant": VARIANT, "pdf_identifier": identifier}
    document = source.render(stylesheets=sheets, output_intent=COLOURS, **options)
    # WeasyPrint's own way to this profile leaves the file open: it gets ours under another name.
    document.color_profiles[COLOURS] = _colours()
    document.metadata.created = document.metadata.modified = at.isoformat(timespec="seconds")
    enclosed = [_attached(file, at) for file in attachments]
    return document.write_pdf(
        attachments=enclosed, output_intent="given", finisher=_plain_table, **options
    )


def identifier_of(*parts: str) -> bytes:
    """An identifier from what names a paper: kind, number, version."""
    return hashlib.sha256("\n".join(parts).encode()).digest()[:IDENTIFIER_BYTES]


def json_attachment(name: str, value: object, description: str) -> Attachment:
    """The data behind a paper as canonical JSON: sorted keys, UTF-8, a closing line break."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, default=str)
    return Attachment(name, f"{text}\n".encode(), description)


def qr(text: str) -> str:
    """A QR code as an SVG in a `data:` address, for `<img src>` in papers and pages."""
    return segno.make(text, error="m", micro=False).svg_data_uri(border=2, omitsize=True)


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


def _watermark(text: str) -> str:
    """A page rule whose background repeats the text; a background is no content for readers."""
    label = html.escape(text)
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="360" height="240" viewBox="0 0 360 240">'
        '<text x="180" y="120" text-anchor="middle" transform="rotate(-28 180 120)" fill="#e4e4e4"'
        f' font-size="17" font-family="Noto Sans CJK SC, sans-serif">{label}</text></svg>'
    )
    address = base64.b64encode(drawing.encode()).decode()
    return f'@page {{ background: url("data:image/svg+xml;base64,{address}") repeat }}'
