"""Geometry of the portal's SVG charts.

Pure functions: labels and integers in, dictionaries of integers and ready texts out. The templates
in ``templates/components/`` only draw. Horizontal positions are per cent of the width, so that a
chart fills a page, a telephone and a sheet of paper without scaling its letters; vertical positions
are whole CSS pixels. Amounts are fen when ``money`` is true, otherwise plain counts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from audit.text import share, shares_of_hundred, yuan

HEIGHT = 240
TOP = 12
WATERFALL_HEIGHT = 260
DONUT_RADIUS, DONUT_HOLE = 500, 330
SPARK_WIDTH, SPARK_HEIGHT = 400, 112
TONES = ("a", "b", "c", "d", "e", "f")


def written(value: int, *, money: bool) -> str:
    """Write one value of a chart: yuan for fen, thousands separated for a count."""
    return yuan(value) if money else f"{value:,}".replace("-", "−")


def ceiling(value: int) -> int:
    """Return the smallest 1, 2, 4, 5 or 8 times a power of ten that is not below ``value``."""
    if value <= 4:
        return 4
    power = 10 ** (len(str(value)) - 1)
    return next(n * power for n in (1, 2, 4, 5, 8, 10) if n * power >= value)


def axis(top: int, *, money: bool) -> list[dict[str, Any]]:
    """Return five horizontal grid lines from 0 to ``top``: pixel ``y`` and short ``text``."""
    lines = []
    for quarter in range(5):
        value = top * quarter // 4
        lines.append({"y": _down(value, top), "text": _short(value // 100 if money else value)})
    return lines


def bars(
    *,
    title: str,
    labels: Sequence[str],
    series: Sequence[Mapping[str, Any]],
    money: bool = False,
    stacked: bool = False,
    description: str = "",
) -> dict[str, Any]:
    """Vertical bars, side by side or stacked.

    ``series``: ``{"label": str, "values": [int ≥ 0, one per label], "tone"?: str}``.
    """
    columns = _columns(labels, series)
    tallest = max((sum(c) if stacked else max(c, default=0) for c in columns), default=0)
    top = ceiling(tallest)
    slots = 1 if stacked else max(len(series), 1)
    groups = []
    for i, column in enumerate(columns):
        rects, base = [], 0
        for k, value in enumerate(column):
            slot = 0 if stacked else k
            low, base = (base, base + value) if stacked else (0, value)
            rects.append(
                _bar(i, len(columns), slot, slots, low=low, high=base, top=top)
                | {"tone": _tone(series, k), "text": written(value, money=money)}
            )
        groups.append(
            {
                "label": labels[i],
                "x": share(2 * i + 1, 2 * len(columns)),
                **_shown(i, len(columns)),
                "bars": rects,
            }
        )
    return _chart(title, description, labels, series, money) | {
        "kind": "bars",
        "round": 0 if stacked else 2,
        "groups": groups,
        "axis": axis(top, money=money),
    }


def line(
    *,
    title: str,
    labels: Sequence[str],
    series: Sequence[Mapping[str, Any]],
    money: bool = False,
    description: str = "",
) -> dict[str, Any]:
    """Lines over time with one soft area under the first; ``series`` as for `bars`."""
    columns = _columns(labels, series)
    top = ceiling(max((max(c, default=0) for c in columns), default=0))
    count = len(labels)
    lines = []
    for k, entry in enumerate(series):
        points = [
            {
                "x": share(2 * i + 1, 2 * count),
                "at": (2 * i + 1) * 500 // count,
                "y": _down(value, top),
                "label": labels[i],
                "text": written(value, money=money),
            }
            for i, value in enumerate(entry["values"])
        ]
        path = " ".join(f"{'L' if i else 'M'}{p['at']} {p['y']}" for i, p in enumerate(points))
        area = f"{path} V{HEIGHT} H{points[0]['at']} Z" if points and k == 0 else ""
        lines.append({"tone": _tone(series, k), "points": points, "path": path, "area": area})
    ticks = [
        {"label": label, "x": share(2 * i + 1, 2 * count), **_shown(i, count)}
        for i, label in enumerate(labels)
    ]
    return _chart(title, description, labels, series, money) | {
        "kind": "line",
        "lines": lines,
        "groups": ticks,
        "axis": axis(top, money=money),
    }


def ranking(
    *, title: str, rows: Sequence[Mapping[str, Any]], money: bool = False, description: str = ""
) -> dict[str, Any]:
    """Horizontal bars for long names.

    ``rows``: ``{"label", "value": int ≥ 0, "url"?, "note"?}``.
    """
    top = max((row["value"] for row in rows), default=0)
    return {
        "title": title,
        "description": description,
        "rows": [
            {
                "label": row["label"],
                "url": row.get("url", ""),
                "note": row.get("note", ""),
                "text": written(row["value"], money=money),
                "width": share(row["value"], top),
            }
            for row in rows
        ],
    }


def waterfall(
    *, title: str, steps: Sequence[Mapping[str, Any]], identity: str = "", description: str = ""
) -> dict[str, Any]:
    """The way of one fee to those who pay it.

    ``steps``: ``{"label", "amount": fen, "kind": "total" | "less" | "more", "tone"?, "note"?,
    "clauses"?: [{"document", "clause", "text"}], "parts"?: [{"label", "amount", "tone"}]}``.
    ``total`` stands on the ground and sets the level, ``less`` hangs from the level and lowers it,
    ``more`` stands on the level and raises it.
    ``parts`` cut a total into segments. A reversal (negative amounts) is drawn by its size.
    ``identity`` is the sentence that proves the sum.
    """
    spans, level = [], 0
    for step in steps:
        low, high = _span(step, level)
        level = low if step["kind"] == "less" else high
        spans.append((low, high, level))
    top = max((max(low, high) for low, high, _ in spans), default=0) or 1
    drawn = [_fall(i, step, spans, top) for i, step in enumerate(steps)]
    return {
        "title": title,
        "identity": identity,
        "steps": drawn,
        "height": WATERFALL_HEIGHT,
        "description": description or _story(steps),
    }


def donut(
    *,
    title: str,
    parts: Sequence[Mapping[str, Any]],
    money: bool = False,
    centre: str = "",
    description: str = "",
) -> dict[str, Any]:
    """A ring of shares. ``parts``: ``{"label", "value": int ≥ 0, "tone"?, "url"?}``."""
    values = [part["value"] for part in parts]
    total, before, drawn = sum(values), 0, []
    for k, (part, percent) in enumerate(zip(parts, shares_of_hundred(values), strict=True)):
        drawn.append(
            {
                "label": part["label"],
                "tone": _tone(parts, k),
                "url": part.get("url", ""),
                "text": written(part["value"], money=money),
                "share": percent,
                "path": _ring(before, before + part["value"], total),
            }
        )
        before += part["value"]
    return {
        "title": title,
        "description": description,
        "parts": drawn,
        "total_label": centre,
        "total": written(total, money=money),
        "empty": total == 0,
    }


def spark(values: Sequence[int], *, label: str = "") -> dict[str, Any]:
    """A line as small as a word; ``label`` says its meaning to those who cannot see it."""
    low, high = min(values, default=0), max(values, default=0)
    room, last = SPARK_HEIGHT - 24, max(len(values) - 1, 1)
    points = [
        (i * SPARK_WIDTH // last, 12 + room - (value - low) * room // max(high - low, 1))
        for i, value in enumerate(values)
    ]
    path = " ".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(points))
    return {"path": path, "label": label, "area": f"{path} V{SPARK_HEIGHT} H0 Z" if points else ""}


def _chart(
    title: str,
    description: str,
    labels: Sequence[str],
    series: Sequence[Mapping[str, Any]],
    money: bool,
) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "height": HEIGHT,
        "legend": [{"label": s["label"], "tone": _tone(series, k)} for k, s in enumerate(series)],
        "empty": not any(any(s["values"]) for s in series),
        "table": [
            {"label": label, "values": [written(s["values"][i], money=money) for s in series]}
            for i, label in enumerate(labels)
        ],
    }


def _columns(labels: Sequence[str], series: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    for entry in series:
        if len(entry["values"]) != len(labels):
            raise ValueError(f"{entry['label']}: one value per label is needed")
        if any(value < 0 for value in entry["values"]):
            raise ValueError(f"{entry['label']}: a bar or line cannot show a negative value")
    return [[entry["values"][i] for entry in series] for i in range(len(labels))]


def _tone(entries: Sequence[Mapping[str, Any]], k: int) -> str:
    return str(entries[k].get("tone") or TONES[k % len(TONES)])


def _down(value: int, top: int) -> int:
    return HEIGHT - value * (HEIGHT - TOP) // top


def _short(value: int) -> str:
    if value >= 100_000_000 and value % 10_000_000 == 0:
        return f"{value // 10_000_000 / 10:g} 亿"
    if value >= 10_000 and value % 1_000 == 0:
        return f"{value // 1_000 / 10:g} 万"
    return f"{value:,}"


def _shown(i: int, count: int) -> dict[str, bool]:
    """At most twelve labels stand under an axis; a telephone skips every other of many."""
    pace = (count + 11) // 12
    return {"shown": i % pace == 0, "skip": count > 6 and i // pace % 2 == 1}


def _bar(
    i: int, count: int, slot: int, slots: int, *, low: int, high: int, top: int
) -> dict[str, Any]:
    unit = 1000 * slots
    begin, width = 180 * slots + slot * 640, 640 if slots == 1 else 600
    upper, lower = _down(high, top), _down(low, top)
    return {
        "x": share(unit * i + begin, unit * count),
        "width": share(width, unit * count),
        "y": upper,
        "height": lower - upper,
    }


def _span(step: Mapping[str, Any], level: int) -> tuple[int, int]:
    amount = abs(step["amount"])
    if step["kind"] == "total":
        return 0, amount
    if step["kind"] == "less":
        return level - amount, level
    if step["kind"] == "more":
        return level, level + amount
    raise ValueError(f"{step['label']}: kind is total, less or more, not {step['kind']}")


def _fall(
    i: int, step: Mapping[str, Any], spans: Sequence[tuple[int, int, int]], top: int
) -> dict[str, Any]:
    low, high, level = spans[i]
    count, room = len(spans), WATERFALL_HEIGHT - 34
    default = "total" if step["kind"] == "total" else "less"
    parts, base = [], low
    for part in step.get("parts") or [{"amount": step["amount"], "label": ""}]:
        size = abs(part["amount"])
        parts.append(
            {
                "label": part["label"],
                "amount": yuan(part["amount"]),
                "tone": part.get("tone") or step.get("tone") or default,
                "y": WATERFALL_HEIGHT - (base + size) * room // top,
                "height": (base + size) * room // top - base * room // top,
                "left": share(base, top),
                "length": share(size, top),
            }
        )
        base += size
    return {
        "label": step["label"],
        "amount": yuan(step["amount"]),
        "kind": step["kind"],
        "tone": step.get("tone") or default,
        "note": step.get("note", ""),
        "clauses": step.get("clauses", []),
        "parts": parts,
        "split": sum(1 for part in parts if part["length"] != "0%") > 1,
        "x": share(100 * i + 17, 100 * count),
        "width": share(66, 100 * count),
        "middle": share(2 * i + 1, 2 * count),
        "zero": step["amount"] == 0,
        "text_y": WATERFALL_HEIGHT - high * room // top - 10,
        "link_y": WATERFALL_HEIGHT - level * room // top,
        "link_from": share(100 * i + 83, 100 * count),
        "link_to": share(100 * i + 117, 100 * count),
        "linked": i + 1 < count and level in spans[i + 1][:2],
        "level": share(level, top),
    }


def _story(steps: Sequence[Mapping[str, Any]]) -> str:
    return "，".join(f"{step['label']} {yuan(step['amount'])} 元" for step in steps) + "。"


def _ring(begin: int, end: int, total: int) -> str:
    if end == begin:
        return ""
    if end - begin == total:
        return f"{_arc(0, 1, 2)} {_arc(1, 2, 2)}"  # an arc that ends where it began draws nothing
    return _arc(begin, end, total)


def _arc(begin: int, end: int, total: int) -> str:
    large = 1 if 2 * (end - begin) > total else 0
    a, b = _point(begin, total, DONUT_RADIUS), _point(end, total, DONUT_RADIUS)
    c, d = _point(end, total, DONUT_HOLE), _point(begin, total, DONUT_HOLE)
    return (
        f"M{a} A{DONUT_RADIUS} {DONUT_RADIUS} 0 {large} 1 {b} "
        f"L{c} A{DONUT_HOLE} {DONUT_HOLE} 0 {large} 0 {d} Z"
    )


def _point(value: int, total: int, radius: int) -> str:
    angle = 2 * math.pi * value / total
    return f"{round(500 + radius * math.sin(angle))} {round(500 - radius * math.cos(angle))}"
