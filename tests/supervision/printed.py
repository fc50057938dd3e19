"""Reports as tests read them: ordered and made at once, then text, figures and streams of the kept file."""

import datetime as dt
import io
from contextlib import closing
from typing import Any

import pikepdf
import pypdfium2

from audit import reports
from institutions.models import User
from supervision.models import ReportOrder
from supervision.reports import orders, press
from supervision.reports.wish import Wish
from tests.settlement import money
from tests.settlement.money import at

MADE = at(12, 20)
NOVEMBER_DAYS = {"since": dt.date(2021, 11, 1), "until": dt.date(2021, 11, 30)}


def wish(place: money.Place, **more: Any) -> Wish:
    return Wish(**{"region": place.region, **NOVEMBER_DAYS, **more})


def made(kind: str, user: User, about: Wish) -> tuple[ReportOrder, bytes]:
    """Order a report and make it in this process; the kept file."""
    row = orders.order(kind=kind, wish=about, user=user, by=user.username, at=MADE)
    row = orders.make_now(order_id=row.pk, at=MADE)
    assert row.state == "done", row.fault
    return row, reports.read(row.report)


def text_of(content: bytes) -> str:
    with closing(pypdfium2.PdfDocument(content)) as document:
        return "".join(page.get_textpage().get_text_range() for page in document).replace(
            "\r\n", ""
        )


def figures_in(content: bytes) -> dict[str, Any]:
    return press.document_in(content)["figures"]


def masked(content: bytes, place: money.Place) -> None:
    """Assert: no identity number, not in the bytes, not in any stream, not in the attached data."""
    number = place.person.credential.encode()
    assert number not in content
    assert number.decode() not in text_of(content)
    with pikepdf.Pdf.open(io.BytesIO(content)) as file:
        for thing in file.objects:
            if isinstance(thing, pikepdf.Stream):
                assert number not in thing.read_bytes()
