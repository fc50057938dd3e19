"""Finished files: how many pages they have, what is attached, many of them bound into one.

A module of its own because importing pikepdf takes a good part of a second, which no page that prints
nothing should wait for.
"""

import io
from collections.abc import Iterable

import pikepdf


def pages_in(content: bytes) -> int:
    """How many pages a file has."""
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        return len(file.pages)


def attached(content: bytes, name: str) -> bytes:
    """An attachment of a file; KeyError when it has none of this name."""
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        return file.attachments[name].get_file().read_bytes()


def bind(front: bytes, parts: Iterable[bytes]) -> bytes:
    """The front and the parts in their order as one file: the same bytes for the same files."""
    with pikepdf.Pdf.open(io.BytesIO(front)) as whole:
        for content in parts:
            with pikepdf.Pdf.open(io.BytesIO(content)) as part:
                whole.pages.extend(part.pages)
        _declare_level_b(whole)
        sink = io.BytesIO()
        whole.save(
            sink, deterministic_id=True, object_stream_mode=pikepdf.ObjectStreamMode.generate
        )
    return sink.getvalue()


def _declare_level_b(whole: pikepdf.Pdf) -> None:
    """The file no longer claims a structure tree (ISO 19005-3 6.8.3.3); its dates stay."""
    for name in ("/StructTreeRoot", "/MarkInfo"):
        if name in whole.Root:
            del whole.Root[name]
    for page in whole.pages:
        if "/StructParents" in page.obj:
            del page.obj["/StructParents"]
    stream = whole.Root.Metadata
    claimed = stream.read_bytes()
    for before, after in (
        (b"conformance>A<", b"conformance>B<"),
        (b'conformance="A"', b'conformance="B"'),
    ):
        claimed = claimed.replace(before, after)
    stream.write(claimed)
