"""PURE. Geometry of a Gantt picture: days in, positions in per cent of the width out.

The same figures draw the page and the paper. Horizontal positions scale with the page, vertical ones
are whole pixels, as in audit/charts.py; the template writes every bar's words beside it.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.text import share

DAY = dt.timedelta(days=1)
HEIGHT = 26
PLAN_TOP, PLAN_HEIGHT = 4, 7
DONE_TOP, DONE_HEIGHT = 14, 8
MONTHS_SHOWN = 12  #: at most so many month names stand over the picture
DECEMBER = 12


@dataclass(frozen=True)
class Span:
    """Days of a bar, both included, with its words; `tone` a tone of the charts."""

    start: dt.date
    end: dt.date
    text: str
    tone: str = "a"


@dataclass(frozen=True)
class Line:
    """One row of the picture: what is planned, what was done, until when."""

    label: str
    url: str = ""
    note: str = ""
    planned: Sequence[Span] = ()
    done: Sequence[Span] = ()
    deadline: dt.date | None = None
    late: bool = False
    group: str = field(default="", compare=False)


def gantt(*, title: str, lines: Sequence[Line], today: dt.date) -> dict[str, Any]:
    """The picture of some lines: axis of months, bars, deadlines and today."""
    days = list(_days(lines))
    if not days:
        return {"title": title, "rows": [], "months": [], "height": HEIGHT}
    first, last = min(days), max(days)
    if first <= today + 31 * DAY and today <= last + 31 * DAY:
        first, last = min(first, today), max(last, today)
    scale = _Scale(first.replace(day=1), _month_end(last))
    return {
        "title": title,
        "height": HEIGHT,
        "today": scale.at(today) if scale.first <= today <= scale.last else "",
        "today_label": today.isoformat(),
        "months": list(_months(scale)),
        "rows": [_row(line, scale) for line in lines],
    }


@dataclass(frozen=True)
class _Scale:
    first: dt.date
    last: dt.date

    def at(self, day: dt.date) -> str:
        """Where a day begins."""
        return share((day - self.first).days, (self.last - self.first).days + 1)

    def width(self, start: dt.date, end: dt.date) -> str:
        return share((end - start).days + 1, (self.last - self.first).days + 1)


def _days(lines: Iterable[Line]) -> Iterable[dt.date]:
    for line in lines:
        for span in (*line.planned, *line.done):
            yield span.start
            yield span.end
        if line.deadline:
            yield line.deadline


def _row(line: Line, scale: _Scale) -> dict[str, Any]:
    return {
        "label": line.label,
        "url": line.url,
        "note": line.note,
        "late": line.late,
        "group": line.group,
        "bars": [
            *(_bar(span, scale, PLAN_TOP, PLAN_HEIGHT, "plan") for span in line.planned),
            *(_bar(span, scale, DONE_TOP, DONE_HEIGHT, "done") for span in line.done),
        ],
        "deadline": scale.at(line.deadline + DAY) if line.deadline else "",
        "words": "；".join(span.text for span in (*line.planned, *line.done)),
    }


def _bar(span: Span, scale: _Scale, top: int, height: int, kind: str) -> dict[str, Any]:
    return {
        "x": scale.at(span.start), "width": scale.width(span.start, span.end), "y": top,
        "height": height, "tone": span.tone, "text": span.text, "kind": kind,
    }  # fmt: skip


def _month_end(day: dt.date) -> dt.date:
    return _next_month(day) - DAY


def _next_month(day: dt.date) -> dt.date:
    if day.month == DECEMBER:
        return dt.date(day.year + 1, 1, 1)
    return dt.date(day.year, day.month + 1, 1)


def _months(scale: _Scale) -> Iterable[dict[str, Any]]:
    """Where each month begins; the year is written with the first one and every January."""
    starts = []
    month = scale.first
    while month <= scale.last:
        starts.append(month)
        month = _next_month(month)
    pace = -(-len(starts) // MONTHS_SHOWN)
    for number, start in enumerate(starts):
        shown = number % pace == 0
        label = f"{start.year}-{start.month:02}" if pace > 1 or number == 0 else f"{start.month}月"
        if pace == 1 and start.month == 1:
            label = f"{start.year}-01"
        yield {"x": scale.at(start), "label": label if shown else "", "skip": number // pace % 2}
