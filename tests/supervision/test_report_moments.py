"""When a report was asked for, what its figures saw, when it was kept; cancelling at any moment, by real commits."""

import datetime as dt
import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connection, connections

from audit import reports, sealer, trail
from audit.models import Checkpoint, Event
from institutions.access import EVERYTHING, scoped
from supervision.models import ReportOrder, ReportPart
from supervision.reports import orders, press
from supervision.reports.kinds import KINDS
from tests.settlement import money
from tests.settlement.hospital import forget_databases
from tests.supervision.printed import MADE, text_of, wish

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def town(committed_db: str, settings, tmp_path) -> money.Place:
    """A place whose acts are committed; nothing but these tests works on it."""
    forget_databases()
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")
    settings.MEDIA_ROOT = tmp_path / "uploads"
    with scoped(EVERYTHING):
        found = money.Place("wenzhou")
        found.claim(fund=10_000, cash=100, number="WZ-1")
    return found


def elsewhere(act: Callable[[], Any]) -> Any:
    """What an act comes to in another session, which waits for no lock longer than two seconds."""

    def run() -> Any:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            with scoped(EVERYTHING):
                return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(timeout=60)


def asked(place: money.Place, kind: str = "fund") -> ReportOrder:
    with scoped(EVERYTHING):
        user = place.user("supervisor")
        return orders.order(kind=kind, wish=wish(place), user=user, by=user.username, at=MADE)


def now(row: ReportOrder) -> ReportOrder:
    with scoped(EVERYTHING):
        return ReportOrder.objects.select_related("report__checkpoint").get(pk=row.pk)


def test_a_report_is_of_the_moment_of_its_figures_and_its_event_of_when_it_was_kept(town) -> None:
    row = asked(town)
    sealer.seal(at=MADE + HOUR, machine=MADE)
    moment = MADE + 2 * HOUR + dt.timedelta(microseconds=7)

    def clock() -> dt.datetime:
        """What commits while the worker looks at the clock is not in the report."""
        elsewhere(lambda: town.claim(fund=99_900, cash=100, number="WZ-2"))
        elsewhere(lambda: trail.record(by="s", at=moment, action="claim.read", subject="claim:1"))
        elsewhere(lambda: sealer.seal(at=moment + HOUR, machine=MADE, everything=True))
        return moment

    assert orders.gather(order_id=row.pk, at=clock)
    with scoped(EVERYTHING):
        parts = list(
            ReportPart.objects.filter(order=row.pk, done_at=None).values_list("pk", flat=True)
        )
    for part in parts:
        orders.print_part(part_id=part, at=moment)
    assert orders.finish(order_id=row.pk, at=moment + 3 * HOUR)
    made = now(row).report
    assert Checkpoint.objects.count() == 2
    assert (made.at, made.checkpoint.at) == (moment, MADE + HOUR)
    with scoped(EVERYTHING):
        event = Event.objects.get(action="report.make")
        document, content = reports.content_of(made), reports.read(made)
    assert event.at == moment + 3 * HOUR
    assert document["figures"]["totals"]["fund"] == 10_000
    text = text_of(content)
    assert "提出 2021-12-20 10:00:00　数据截至 2021-12-20 12:00:00" in text
    assert press.print_whole(document).content == content


def test_a_report_is_cancelled_while_its_figures_are_gathered(town, monkeypatch) -> None:
    """Cancelling waits for nothing and takes effect; a second worker does not gather the same."""
    row, kind = asked(town), KINDS["fund"]
    told: list[Any] = []

    def slow(about: Any, user: Any) -> dict[str, Any]:
        told.append(elsewhere(lambda: orders.gather(order_id=row.pk, at=MADE)))
        told.append(elsewhere(lambda: orders.cancel(order_id=row.pk, by="s", at=MADE)).state)
        return kind.gather(about, user)

    monkeypatch.setitem(KINDS, "fund", replace(kind, gather=slow))
    assert not orders.gather(order_id=row.pk, at=MADE)
    assert told == [False, "cancelled"]
    assert (now(row).state, now(row).document) == ("cancelled", None)
    with scoped(EVERYTHING):
        assert not ReportPart.objects.exists()


def test_a_report_is_cancelled_while_its_parts_are_joined(town, monkeypatch) -> None:
    row, join = asked(town), press.join

    def slow(*given: Any) -> press.Printed:
        assert (
            elsewhere(lambda: orders.cancel(order_id=row.pk, by="s", at=MADE)).state == "cancelled"
        )
        return join(*given)

    monkeypatch.setattr(press, "join", slow)
    assert orders.make_now(order_id=row.pk, at=MADE).state == "cancelled"
    with scoped(EVERYTHING):
        assert not Event.objects.filter(action="report.make").exists()


@pytest.mark.parametrize("fits", [True, False])
def test_a_report_is_cancelled_while_a_part_is_laid_out(town, monkeypatch, fits: bool) -> None:
    """The part ends quietly and leaves nothing, whether its pages fit or not."""
    row, draw = asked(town, "claims"), press.print_part

    def slow(*given: Any) -> bytes:
        told = elsewhere(lambda: orders.cancel(order_id=row.pk, by="s", at=MADE))
        assert told.state == "cancelled"
        if not fits:
            raise ValueError("does not fit")
        return draw(*given)

    assert orders.gather(order_id=row.pk, at=MADE)
    monkeypatch.setattr(press, "print_part", slow)
    with scoped(EVERYTHING):
        part = ReportPart.objects.get(order=row.pk, done_at=None)
    assert not orders.print_part(part_id=part.pk, at=MADE)
    with scoped(EVERYTHING):
        part.refresh_from_db()
        assert not Event.objects.filter(action="reportorder.fail").exists()
    assert (part.content, part.done_at) == (None, None)
    assert (now(row).state, now(row).fault, now(row).parts_done) == ("cancelled", "", 1)


def test_a_kept_file_is_on_the_disk_before_its_row_is_committed(town, monkeypatch) -> None:
    synced: list[str] = []

    def fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        synced.append(kind)
        assert connection.in_atomic_block

    monkeypatch.setattr(os, "fsync", fsync)
    row = orders.make_now(order_id=asked(town).pk, at=MADE)
    assert (row.state, synced) == ("done", ["file", "folder"])


def test_what_draws_a_report_is_everything_that_its_words_come_from(tmp_path, monkeypatch) -> None:
    top = Path(configured.BASE_DIR)
    drawn = {str(path.relative_to(top)) for path in press.layout()}
    assert {
        "audit/words.py", "audit/press.py", "audit/text.py", "audit/charts.py", "audit/pdf.py",
        "audit/templatetags/components.py", "supervision/cases.py", "supervision/models/cases.py",
        "templates/reports/book.html", "templates/components/chart.html", "static/css/report.css",
    } - drawn == set()  # fmt: skip
    assert any(path.startswith("supervision/law/") for path in drawn)
    assert any(path.startswith("agreements/procedures/") for path in drawn)
    assert not any("migrations" in path for path in drawn)
    sheet = tmp_path / "a.css"
    sheet.write_text("a")
    first = reports.renderer_of([sheet])
    monkeypatch.setattr(reports, "version", lambda name: "99" if name == "pydyf" else "1")
    other = reports.renderer_of([sheet])
    monkeypatch.setattr(reports, "FONTS", tmp_path)
    assert len({first, other, reports.renderer_of([sheet])}) == 3


def test_a_document_that_does_not_say_when_it_was_asked_for_is_printed_all_the_same(place) -> None:
    user = place.user("supervisor")
    row = orders.order(kind="fund", wish=wish(place), user=user, by=user.username, at=MADE)
    document = json.loads(trail.canonical(orders.document_of(row, MADE)))
    del document["asked_at"]
    text = text_of(press.print_whole(document).content)
    assert ("提出 2021" in text, "数据截至 2021-12-20 10:00:00" in text) == (False, True)
