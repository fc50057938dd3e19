"""Papers: `render(template, context)` gives a PDF/A-3 file, the same bytes for the same input.

WeasyPrint without any network: only `data:` addresses are read, every other one stops the rendering,
so that a paper is complete or not made. Time and identifier come from the caller, letters are embedded;
the data behind the paper travel in it as an attachment (ISO 19005-3 6.8).
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import segno
from django.template.loader import render_to_string

STYLES = ("css/report.css",)
FACE = "Noto Serif CJK SC, serif"  #: of watermarks: the text's own, every further one costs 60 MB
IDENTIFIER_BYTES = 16


@dataclass(frozen=True)
class Attachment:
    """A file inside the paper. `relationship` is one of ISO 32000-2, 7.11.3 (Data, Source, …)."""

    name: str
    content: bytes
    description: str
    relationship: str = "Data"


def render(
    template: str,
    context: Mapping[str, object],
    *,
    identifier: bytes,
    at: dt.datetime,
    attachments: Sequence[Attachment] = (),
    watermark: str = "",
    styles: Sequence[str] = STYLES,
    face: str = FACE,
) -> bytes:
    """The PDF of a template that extends reports/base.html.

    `identifier` names the paper for ever (`identifier_of`), `at` is its aware date of making,
    `watermark` (user and time) is repeated behind the text of every page, in the type `face`.
    """
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    from audit.press import press  # WeasyPrint: most of a second, only for who prints

    markup = render_to_string(template, {**context, "made_at": at})
    return press(
        markup, identifier=identifier, at=at, attachments=attachments, watermark=watermark,
        styles=styles, face=face,
    )  # fmt: skip


def pages(
    template: str, context: Mapping[str, object], *, at: dt.datetime, styles: Sequence[str] = STYLES
) -> int:
    """How many pages `render` would give, without drawing them."""
    from audit.press import count  # as above

    markup = render_to_string(template, {**context, "made_at": at})
    return count(markup, styles=styles)


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
