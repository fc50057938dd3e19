"""Papers: `render(template, context)` gives a PDF/A-3 file, the same bytes for the same input.

WeasyPrint without any network: only `data:` addresses are read, every other one stops the rendering,
so that a paper is complete or not made. Time and identifier come from the caller, letters are embedded;
the data behind the paper travel in it as an attachment (ISO 19005-3 6.8). The foot of every page names
the signed checkpoint of the trail that stood when the paper was made; the checkpoint itself is attached.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import segno
from django.template.loader import render_to_string

from audit import clock, notes
from audit.models import Checkpoint

STYLES = ("css/report.css",)
FACE = "Noto Serif CJK SC, serif"  #: of watermarks: the text's own, every further one costs 60 MB
IDENTIFIER_BYTES = 16
NOTE_NAME = "checkpoint.txt"
ROOT_SHOWN = 16  #: hexadecimal digits of the root that a page shows; the whole one is attached
#: A run of the sealer commits after the moment that its checkpoint names: what was signed this long
#: before a paper stands, so that the paper made again names the same one.
SETTLED = dt.timedelta(minutes=1)


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
    note: str | None = None,
) -> bytes:
    """The PDF of a template that extends reports/base.html.

    `identifier` names the paper for ever (`identifier_of`), `at` is its aware date of making,
    `watermark` (user and time) is repeated behind the text of every page, in the type `face`.
    `note` is the signed checkpoint that was kept with the paper, "" when there was none; left out, the
    one that stood at `at` (`note_at`).
    """
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    from audit.press import press  # WeasyPrint: most of a second, only for who prints

    signed = note_at(at) if note is None else note
    markup = render_to_string(template, {**context, "made_at": at, "trail": trail_of(signed)})
    return press(
        markup, identifier=identifier, at=at, attachments=[*attachments, *_enclosed(signed)],
        watermark=watermark, styles=styles, face=face,
    )  # fmt: skip


def note_at(at: dt.datetime) -> str:
    """The newest signed checkpoint that stood at a moment, "" before the first: the same on any later day."""
    found = Checkpoint.objects.filter(at__lte=at - SETTLED).order_by("-at", "-size", "-pk")
    return found.values_list("text", flat=True).first() or ""


def trail_of(note: str) -> dict[str, str]:
    """What a paper prints of a signed checkpoint: `line` at the foot of its pages, or in `brief`."""
    if not note:
        return {"line": "留痕检查点：制作时尚无签名的检查点", "brief": "尚无签名的检查点"}
    found = notes.parse(note)
    signed_at = clock.local(dt.datetime.fromisoformat(found.at))
    size, root = f"{found.size:,} 条", found.root.hex()[:ROOT_SHOWN]
    return {
        "line": f"留痕检查点：{size}，树根（{found.alg.upper()}）{root}，{signed_at:%Y-%m-%d %H:%M:%S} 签名，"
                f"公钥\u00a0{found.key_id}。凭此可核验在此之前的操作记录未被改动，全文见附件 {NOTE_NAME}。",
        "brief": f"{size} {root}",
    }  # fmt: skip


def _enclosed(note: str) -> list[Attachment]:
    if not note:
        return []
    return [Attachment(NOTE_NAME, note.encode(), "签名的留痕检查点全文", "Supplement")]


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
