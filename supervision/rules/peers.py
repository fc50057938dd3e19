"""PURE. Compared with peers: robust z-scores (median and MAD), dense groups of persons and physicians.

A physician far from comparable ones is a reason to look, not a proof: every suspicion carries the
distribution in which it stands. z = 0.6745 · (value − median) / MAD; the MAD is never taken smaller
than a hundredth of the median, so that peers who are all alike make nobody an outlier.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from pricing.rules import SERVICES
from supervision.rules.base import FICTITIOUS, INFLATED, Numbers, Rule
from supervision.rules.data import Array, Found, Visits, in_month, month_of, runs, same

DRUG = SERVICES.index("drug")
TENTHS = 10  #: z is written in tenths
#: 0.6745 is the MAD of a normal distribution with standard deviation 1.
NORMAL_MAD, PARTS = 6_745, 10_000
BINS = 24


class _Outlier(Rule):
    """A subject whose measure lies far above that of its peers."""

    statistical = True
    column: str
    figures = {"value": "本对象", "median": "同组中位数", "mad": "中位数绝对偏差",
               "z": "稳健 z 值（十分之一）", "peers": "同组对象数", "visits": "诊疗次数"}  # fmt: skip

    def measure(self, visits: Visits, rows: Array, group: Array, n: int) -> Array:
        """The measure of each of n subjects; rows are sorted by subject."""
        raise LookupError(self.code)

    def peers(self, visits: Visits, first: Array) -> Array:
        """The peer group of each subject, by its first row."""
        raise LookupError(self.code)

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        known = (visits[self.column] != 0) & visits.focus & (visits["pharmacy"] == 0)
        rows = visits.sorted(self.column, "day")
        rows = rows[known[rows]]
        if not len(rows):
            return Found.nothing()
        group, starts = runs(visits[self.column][rows])
        met = np.bincount(group)
        value = self.measure(visits, rows, group, len(starts))
        peer = self.peers(visits, rows[starts])
        enough = met >= numbers["visits"]
        hit, facts, pictures = _outliers(value, peer, enough, numbers)
        if not len(hit):
            return Found.nothing()
        place = np.full(len(starts), -1)
        place[hit] = np.arange(len(hit))
        inside = place[group] >= 0
        last = int(month_of(np.array([visits["day"][rows].max()]))[0])
        order = np.argsort(place[group[inside]], kind="stable")
        return Found.groups(
            rows[inside][order], place[group[inside]][order],
            subject=visits[self.column][rows[starts[hit]]],
            mark=np.full(len(hit), last), pictures=pictures, visits=met[hit], **facts,
        )  # fmt: skip


def _outliers(
    value: Array, peer: Array, enough: Array, numbers: Numbers
) -> tuple[Array, dict[str, Array], tuple[dict, ...]]:
    """Which subjects stand out among their peers, with what figures and in which distribution."""
    found: list[tuple[int, int, int, int, int, dict]] = []
    for group in np.unique(peer[enough]):
        members = np.flatnonzero((peer == group) & enough)
        if len(members) < numbers["peers"]:
            continue
        values = value[members]
        z, median, mad = robust(values)
        for k in np.flatnonzero(z >= numbers["z"]):
            found.append((
                int(members[k]), int(z[k]), median, mad, len(members), picture(values, int(values[k]))
            ))  # fmt: skip
    hit = np.array([row[0] for row in found], np.int64)
    facts = {
        name: np.array([row[place] for row in found], np.int64)
        for place, name in enumerate(("z", "median", "mad", "peers"), 1)
    }
    return hit, {"value": value[hit], **facts}, tuple(row[5] for row in found)


def robust(values: Array) -> tuple[Array, int, int]:
    """(z in tenths, median, MAD) of whole numbers."""
    median = int(np.median(values))
    mad = max(int(np.median(np.abs(values - median))), abs(median) // 100, 1)
    return (values - median) * NORMAL_MAD * TENTHS // (mad * PARTS), median, mad


def picture(values: Array, own: int) -> dict:
    """How many peers lie in each of BINS equal steps, and in which the subject lies."""
    low, high = int(values.min()), int(values.max())
    width = max(-(-(high - low + 1) // BINS), 1)
    counts = np.bincount((values - low) // width, minlength=BINS)[:BINS]
    return {"low": low, "width": width, "counts": counts.tolist(), "own": (own - low) // width}


class _FeePerVisit(_Outlier):
    """Fees per visit in fen."""

    behaviour = INFLATED
    facts: ClassVar[tuple[str, ...]] = ("fee",)

    def measure(self, visits: Visits, rows: Array, group: Array, n: int) -> Array:
        total = np.bincount(group, weights=visits["fee"][rows], minlength=n).astype(np.int64)
        return total // np.maximum(np.bincount(group, minlength=n), 1)


class PhysicianFeeOutlier(_FeePerVisit):
    """医师次均费用明显高于同科室、同职称医师"""

    code = "physician_fee_outlier"
    subject = "physician"
    column = "physician"
    facts = ("fee", "title", "department")

    def peers(self, visits: Visits, first: Array) -> Array:
        return visits["department"][first] * 31 + visits["title"][first]


class PhysicianVolumeOutlier(_Outlier):
    """医师出诊日均接诊量明显高于同科室、同职称医师"""

    code = "physician_volume_outlier"
    behaviour = FICTITIOUS
    subject = "physician"
    column = "physician"
    facts = ("day", "title", "department")

    def measure(self, visits: Visits, rows: Array, group: Array, n: int) -> Array:
        """Visits per day on which the physician worked, in hundredths."""
        day = visits["day"][rows]
        days = np.bincount(group[~(same(group) & same(day))], minlength=n)
        return np.bincount(group, minlength=n) * 100 // np.maximum(days, 1)

    def peers(self, visits: Visits, first: Array) -> Array:
        return visits["department"][first] * 31 + visits["title"][first]


class InstitutionFeeOutlier(_FeePerVisit):
    """机构次均费用明显高于同价格类别机构"""

    code = "institution_fee_outlier"
    subject = "institution"
    column = "institution"
    facts = ("fee", "price_class")

    def peers(self, visits: Visits, first: Array) -> Array:
        return visits["price_class"][first]


class DenseNetwork(Rule):
    """同一批参保人员反复就诊于同一组医师，形成封闭的就诊关系"""

    code = "dense_network"
    behaviour = FICTITIOUS
    subject = "network"
    facts = ("person", "physician", "encounter")
    figures = {"persons": "参保人员", "physicians": "医师", "visits": "就诊次数"}
    statistical = True

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        person, physician, tied_rows, tie = _ties(visits, numbers["visits"])
        pairs = _pairs(person, physician, numbers["persons"])
        found = [
            (doctors, members) for doctors, members in _groups(pairs)
            if len(members) >= numbers["persons"]
        ]  # fmt: skip
        if not found:
            return Found.nothing()
        rows, group = [], []
        for number, (doctors, members) in enumerate(found):
            inside = np.flatnonzero(np.isin(person, members) & np.isin(physician, doctors))
            at = tied_rows[np.isin(tie, inside)]
            rows.append(np.sort(at))
            group.append(np.full(len(at), number))
        eldest = np.array([members[0] for _, members in found], np.int64)
        sizes = np.array([len(part) for part in rows], np.int64)
        size = [np.array([len(part[k]) for part in found], np.int64) for k in (0, 1)]
        return Found.groups(
            np.concatenate(rows), np.concatenate(group),
            subject=np.array([doctors[0] for doctors, _ in found], np.int64),
            mark=in_month(eldest, visits["day"][np.concatenate(rows)], sizes),
            physicians=size[0], persons=size[1],
            visits=sizes,
        )  # fmt: skip


def _ties(visits: Visits, most: int) -> tuple[Array, Array, Array, Array]:
    """Persons and physicians who met at least `most` times: (person, physician, rows, tie of row)."""
    rows = visits.sessions(video=False)
    person, physician = visits["person"][rows], visits["physician"][rows]
    order = np.lexsort((physician, person))
    rows, person, physician = rows[order], person[order], physician[order]
    group, starts = runs(person, physician)
    strong = np.bincount(group, minlength=len(starts)) >= most if len(rows) else np.zeros(0, bool)
    inside = strong[group]
    numbered = (np.cumsum(strong) - 1)[group[inside]]
    return person[starts[strong]], physician[starts[strong]], rows[inside], numbered


def _pairs(person: Array, physician: Array, least: int) -> dict[tuple[int, int], list[int]]:
    """Two physicians → the persons tied to both, where there are at least `least` of them."""
    together: dict[tuple[int, int], list[int]] = {}
    if not len(person):
        return together
    _, starts = runs(person)
    for first, end in zip(starts, np.append(starts[1:], len(person)), strict=True):
        doctors = np.sort(physician[first:end]).tolist()
        for k, one in enumerate(doctors):
            for other in doctors[k + 1 :]:
                together.setdefault((one, other), []).append(int(person[first]))
    return {pair: members for pair, members in together.items() if len(members) >= least}


def _groups(pairs: dict[tuple[int, int], list[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Pairs of physicians that share most of their persons, joined: (physicians, persons)."""
    left = dict(sorted(pairs.items()))
    while left:
        (one, other), members = left.popitem()
        doctors, people = {one, other}, set(members)
        for pair in list(left):
            if doctors & set(pair) and 2 * len(people & set(left[pair])) >= len(people):
                doctors |= set(pair)
                people &= set(left.pop(pair))
        yield sorted(doctors), sorted(people)
