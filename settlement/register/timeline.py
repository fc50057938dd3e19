"""PURE. Spans of days in which a person's entitlement is one and the same; putting a span over others."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

DAY = dt.timedelta(days=1)
DECEASED = "deceased"


@dataclass(frozen=True)
class Span:
    """[first, last] (None: open), what holds in it, on what evidence; `key` of the stored row, 0: new.

    `assistance` is the category of the person (医疗救助对象), which no act of the register changes.
    """

    first: dt.date
    last: dt.date | None
    scheme: str
    standing: str
    region: str
    source: str = ""
    key: int = 0
    assistance: str = ""

    def says(self) -> tuple[str, str, str]:
        """What holds: scheme, standing, region."""
        return (self.scheme, self.standing, self.region)

    def covers(self, day: dt.date) -> bool:
        return self.first <= day and (self.last is None or day <= self.last)

    def meets(self, other: "Span") -> bool:
        """Whether both share a day."""
        return (self.last is None or other.first <= self.last) and (
            other.last is None or self.first <= other.last
        )


def put(spans: Sequence[Span], new: Span) -> list[Span]:
    """The spans with `new` laid over them: what lies outside of it stays as it was.

    Where the same holds already on every day of `new`, nothing changes.
    """
    if adds_nothing(spans, new):
        return list(spans)
    kept = []
    for span in spans:
        if not span.meets(new):
            kept.append(span)
            continue
        if span.first < new.first:
            kept.append(replace(span, last=new.first - DAY, key=0))
        if new.last is not None and (span.last is None or span.last > new.last):
            kept.append(replace(span, first=new.last + DAY, key=0))
    return sorted([*kept, new], key=lambda span: span.first)


def over(spans: Sequence[Span], new: Span) -> list[Span]:
    """`new` in pieces: over recorded spans each keeps the scheme and region that hold there."""
    parts = []
    day = new.first
    for span in sorted(spans, key=lambda span: span.first):
        if not span.meets(replace(new, first=day)):
            continue
        if span.first > day:
            parts.append(replace(new, first=day, last=span.first - DAY))
        ends = [end for end in (span.last, new.last) if end is not None]
        last = min(ends) if ends else None
        parts.append(
            replace(new, first=max(day, span.first), last=last, scheme=span.scheme,
                    region=span.region)
        )  # fmt: skip
        if last is None or last == new.last:
            return parts
        day = last + DAY
    return [*parts, replace(new, first=day)]


def keeping(spans: Sequence[Span], new: Span) -> list[Span]:
    """`new` in pieces, each with the category of assistance that is recorded of its days."""
    parts, rest = [], new
    for span in sorted(spans, key=lambda span: span.first):
        if not span.meets(rest) or span.assistance == rest.assistance:
            continue
        if span.first > rest.first:
            parts.append(replace(rest, last=span.first - DAY))
            rest = replace(rest, first=span.first)
        if span.last is None or (rest.last is not None and span.last >= rest.last):
            return [*parts, replace(rest, assistance=span.assistance)]
        parts.append(replace(rest, last=span.last, assistance=span.assistance))
        rest = replace(rest, first=span.last + DAY)
    return [*parts, rest]


def adds_nothing(spans: Sequence[Span], new: Span) -> bool:
    """Whether every day of `new` says already what it says."""
    day: dt.date | None = new.first
    for span in sorted(spans, key=lambda span: span.first):
        if day is None or not span.covers(day):
            continue
        if span.says() != new.says():
            return False
        if span.last is None or (new.last is not None and span.last >= new.last):
            return True
        day = span.last + DAY
    return False


def on(spans: Sequence[Span], day: dt.date) -> Span | None:
    """What holds on a day."""
    return next((span for span in spans if span.covers(day)), None)


def later(spans: Sequence[Span], new: Span) -> Span | None:
    """A span that begins after the first day of an open one, which would be lost under it."""
    if new.last is not None:
        return None
    return next((span for span in spans if span.first > new.first), None)


def death(spans: Sequence[Span]) -> Span | None:
    """The span that begins on the day after the death."""
    return next((span for span in spans if span.standing == DECEASED), None)


def changed(before: Sequence[Span], after: Sequence[Span]) -> tuple[list[int], list[Span]]:
    """(keys of the stored spans that are no longer our knowledge, spans that are new)."""
    kept = {span.key for span in after if span.key}
    gone = [span.key for span in before if span.key and span.key not in kept]
    return gone, [span for span in after if not span.key]
