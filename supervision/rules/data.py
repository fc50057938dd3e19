"""PURE. Visits in columns, and the suspicions that a rule finds among them.

A visit is a claim: one value per claim in each visit column; line columns have one value per line and
`claim` says whose. Texts (institutions, physicians, items, diseases …) are 64-bit numbers, 0: not known;
moments are seconds and days are days since 1970-01-01, money is fen, yes/no facts are 1, 0 or -1 for
not known. Sorting and gathering are done once for all rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from settlement.columns import UNKNOWN_DAY

Array = np.ndarray

#: Columns of visits, and what they are when a source does not say.
VISIT = {
    "id": 0, "institution": 0, "parent": 0, "physician": 0, "person": 0, "day": 0, "start": 0,
    "end": 0, "video": 0, "disease": 0, "device": 0, "address": 0, "encounter": 0, "department": 0,
    "fee": 0, "fund": 0, "title": 0, "price_class": 0, "visit_type": 0, "last_offline": UNKNOWN_DAY,
    "same_disease": -1, "consent": -1, "explained": -1, "prescribed": -1, "reviewed": -1,
    "pharmacy": 0, "registered": -1, "dispensed": -1, "delivered": -1,
}  # fmt: skip
LINE = {
    "claim": 0, "line_no": 0, "service": 0, "item": 0, "quantity": 0, "unit_price": 0, "fee": 0,
    "rejected": 0, "overcharge": 0, "traces": 0, "needed": 0, "recorded": 0, "days": -1, "ordered": -1,
    "title_min": 0, "title_max": 99,
}  # fmt: skip


class Visits:
    """Columns of visits and lines. `focus` marks the visits that are judged; others are neighbours.

    >>> visits["fee"]; visits.line("item"); visits.of_line("physician"); visits.sorted("person", "day")
    """

    def __init__(
        self, visits: Mapping[str, Array], lines: Mapping[str, Array], focus: Array | None = None
    ):
        self.n = len(visits["id"])
        self.n_lines = len(lines["claim"])
        self._visits, self._lines = dict(visits), dict(lines)
        self.focus = np.ones(self.n, bool) if focus is None else focus
        self._orders: dict[tuple[str, ...], Array] = {}
        self._gathered: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._visits:
            self._visits[name] = np.full(self.n, VISIT[name], np.int64)
        return self._visits[name]

    def line(self, name: str) -> Array:
        if name not in self._lines:
            self._lines[name] = np.full(self.n_lines, LINE[name], np.int64)
        return self._lines[name]

    def of_line(self, name: str) -> Array:
        """A visit column with one value per line."""
        if name not in self._gathered:
            self._gathered[name] = self[name][self.line("claim")]
        return self._gathered[name]

    def sorted(self, *names: str) -> Array:
        """Rows in the order of these visit columns, computed once."""
        if names not in self._orders:
            keys = [self[name] for name in reversed(names)]
            self._orders[names] = (
                np.lexsort(keys) if len(keys) > 1 else np.argsort(keys[0], kind="stable")
            )
        return self._orders[names]

    def charged(self) -> Array:
        """Visits with a line that the law did not refuse."""
        if "charged" not in self._gathered:
            found = np.zeros(self.n, bool)
            found[self.line("claim")[self.line("rejected") == 0]] = True
            self._gathered["charged"] = found
        return self._gathered["charged"]

    def sessions(self, *, video: bool) -> Array:
        """One row per meeting of a physician and a person, by physician and time.

        The claims of one encounter are one meeting; a pharmacy's claim is none.
        """
        name = f"sessions {video}"
        if name not in self._gathered:
            rows = self.sorted("physician", "start", "encounter")
            met = (self["physician"] != 0) & (self["start"] > 0) & (self["pharmacy"] == 0)
            if video:
                met &= self["video"] != 0
            rows = rows[met[rows]]
            # claims of one encounter begin at the same moment, so they are neighbours
            again = same(self["physician"][rows]) & same(self["encounter"][rows])
            self._gathered[name] = rows[~again]
        return self._gathered[name]


def same(values: Array) -> Array:
    """Where a value equals the one before it."""
    found = np.zeros(len(values), bool)
    found[1:] = values[1:] == values[:-1]
    return found


def runs(*keys: Array) -> tuple[Array, Array]:
    """Of sorted rows: the number of each row's run of equal keys, and where the runs start."""
    n = len(keys[0])
    new = np.ones(n, bool)
    if n:
        new[1:] = False
        for key in keys:
            new[1:] |= key[1:] != key[:-1]
    return np.cumsum(new) - 1, np.flatnonzero(new)


def distinct(group: Array, value: Array) -> tuple[Array, Array]:
    """How many different values each group has: (groups, counts)."""
    if not len(group):
        return group, group
    order = np.lexsort((value, group))
    g, v = group[order], value[order]
    _, starts = runs(g, v)
    return np.unique(g[starts], return_counts=True)


def month_of(day: Array) -> Array:
    """Months since 1970-01."""
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def in_month(mark: Array, day: Array, sizes: Array) -> Array:
    """Marks with the month of the last act: what was decided once is looked at anew when it goes on.

    `day` has the days of one suspicion after another, `sizes` says how many each has.
    """
    starts = np.cumsum(sizes) - sizes
    return (mark << 16) + month_of(np.maximum.reduceat(day, starts))


@dataclass(frozen=True)
class Found:
    """Suspicions: `rows` are visit rows, those of one suspicion together; `starts` says where.

    `subject` is a claim id, a person, or the number of a physician or institution, `mark` tells
    suspicions of one rule about one subject apart and is the same whenever they are found.
    `figures` are whole numbers per suspicion; `line_no` per row, 0: the whole claim.
    """

    subject: Array
    mark: Array
    starts: Array
    rows: Array
    line_no: Array
    figures: Mapping[str, Array] = field(default_factory=dict)
    pictures: tuple[dict, ...] = ()

    def __len__(self) -> int:
        return len(self.subject)

    @classmethod
    def nothing(cls) -> "Found":
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, empty, empty, empty)

    @classmethod
    def claims(cls, visits: Visits, rows: Array, line_no: Array | None = None, **figures: Array):
        """One suspicion per claim among `rows` (with a line each); figures are summed per claim."""
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        lines = np.zeros(len(rows), np.int64) if line_no is None else line_no[order]
        _, starts = runs(rows)
        if not len(rows):
            return cls.nothing()
        return cls(
            visits["id"][rows[starts]], np.zeros(len(starts), np.int64), starts, rows, lines,
            {name: np.add.reduceat(value[order], starts) for name, value in figures.items()},
        )  # fmt: skip

    @classmethod
    def groups(
        cls, rows: Array, group: Array, *, subject: Array, mark: Array,
        line_no: Array | None = None, pictures: tuple[dict, ...] = (), **figures: Array,
    ) -> "Found":  # fmt: skip
        """One suspicion per group; `group` counts from 0 and stands in order beside `rows`.

        subject, mark and figures have one value per group.
        """
        if not len(rows):
            return cls.nothing()
        _, starts = runs(group)
        lines = np.zeros(len(rows), np.int64) if line_no is None else line_no
        return cls(subject, mark, starts, rows, lines, figures, pictures)

    def ends(self) -> Array:
        return np.append(self.starts[1:], len(self.rows))[: len(self.starts)]

    def totals(self, visits: Visits, name: str) -> Array:
        """Per suspicion the sum of a visit column over its claims, each claim once."""
        if not len(self):
            return np.zeros(0, np.int64)
        group = np.repeat(np.arange(len(self)), self.ends() - self.starts)
        order = np.lexsort((self.rows, group))
        first = ~(same(group[order]) & same(self.rows[order]))
        amounts = np.where(first, visits[name][self.rows[order]], 0)
        return np.bincount(group[order], weights=amounts, minlength=len(self)).astype(np.int64)

    def take(self, wanted: Array) -> "Found":
        """Some of the suspicions, by a mask."""
        if wanted.all():
            return self
        sizes = self.ends() - self.starts
        rows = np.repeat(wanted, sizes)
        kept = np.cumsum(sizes[wanted])
        starts = np.concatenate([[0], kept[:-1]]).astype(np.int64) if len(kept) else kept
        pictures = (
            tuple(p for p, yes in zip(self.pictures, wanted, strict=True) if yes)
            if (self.pictures)
            else ()
        )
        return Found(
            self.subject[wanted], self.mark[wanted], starts, self.rows[rows], self.line_no[rows],
            {name: value[wanted] for name, value in self.figures.items()}, pictures,
        )  # fmt: skip

    def touching(self, focus: Array) -> "Found":
        """The suspicions in which a judged visit takes part."""
        if not len(self):
            return self
        return self.take(np.logical_or.reduceat(focus[self.rows], self.starts))
