"""Geometry of two more SVG pictures: spans along time, and who is tied to whom.

As in `audit.charts`: pure functions, horizontal positions in per cent of the width, vertical ones in
whole CSS pixels; the templates only draw, and show the same as a table to those who do not see it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from audit.text import share

ROW, BAR, LABEL = 40, 14, 15  #: pixels of a row, of its bar, of the label above it
NODE = 34  #: pixels between two nodes of one side
LEFT, RIGHT = 30, 58  #: per cent of the width where the nodes of the two sides stand
THICKEST = 6  #: pixels of the strongest tie


def spans(
    *, title: str, rows: Sequence[Mapping[str, Any]], ticks: Sequence[tuple[int, str]],
    marks: Sequence[tuple[int, int]] = (), legend: Sequence[Mapping[str, str]] = (),
    description: str = "", heads: Sequence[str] = ("对象", "时间"),
) -> dict[str, Any]:  # fmt: skip
    """Bars along one line of time, a row each; `marks` are stretches of it that stand out.

    ``rows``: ``{"label", "start", "end", "text", "tone"?}`` in any unit, the same as that of
    ``ticks`` (place, text) and ``marks`` (from, to).
    """
    places = [row[name] for row in rows for name in ("start", "end")]
    places += [place for place, _ in ticks]
    low, high = min(places, default=0), max(places, default=0)
    whole = max(high - low, 1)
    return {
        "title": title, "description": description, "heads": heads, "legend": legend,
        "height": ROW * len(rows), "empty": not rows,
        "rows": [
            {
                "label": row["label"], "text": row["text"], "tone": row.get("tone") or "a",
                "label_y": ROW * i + LABEL, "y": ROW * i + LABEL + 5, "height": BAR,
                "x": share(row["start"] - low, whole),
                "width": share(max(row["end"] - row["start"], 1), whole),
            }
            for i, row in enumerate(rows)
        ],
        "marks": [
            {"x": share(start - low, whole), "width": share(end - start, whole)}
            for start, end in marks
        ],
        "ticks": [
            {"x": share(place - low, whole), "text": text,
             "anchor": "start" if place == low else "end" if place == high else "middle"}
            for place, text in ticks
        ],
    }  # fmt: skip


def bipartite(
    *, title: str, ties: Mapping[tuple[str, str], int], sides: tuple[str, str],
    description: str = "", unit: str = "次",
) -> dict[str, Any]:  # fmt: skip
    """Two columns of names and the ties between them, thicker where they are stronger."""
    lefts, rights = (sorted({tie[k] for tie in ties}) for k in (0, 1))
    tall = max(len(lefts), len(rights), 1)
    most = max(ties.values(), default=1)
    where = [
        {name: NODE * tall * (2 * i + 1) // (2 * len(names)) for i, name in enumerate(names)}
        for names in (lefts, rights)
    ]
    return {
        "title": title, "description": description, "sides": sides, "height": NODE * tall,
        "empty": not ties, "left": f"{LEFT}%", "right": f"{RIGHT}%",
        "lefts": [{"label": name, "y": y} for name, y in where[0].items()],
        "rights": [{"label": name, "y": y} for name, y in where[1].items()],
        "ties": [
            {"left": one, "right": other, "from": where[0][one], "to": where[1][other],
             "text": f"{count}{unit}", "width": max(THICKEST * count // most, 1)}
            for (one, other), count in sorted(ties.items())
        ],
    }  # fmt: skip
