"""PURE. Meetings that cannot have been: times, places, shared devices, goods without a hand-over."""

import numpy as np

from pricing.rules import SERVICES
from supervision.rules.base import FICTITIOUS, Numbers, Rule
from supervision.rules.data import Array, Found, Visits, distinct, in_month, runs, same

DELIVERY = SERVICES.index("delivery")
MINUTE, HOUR = 60, 3_600


class OverlappingSessions(Rule):
    """同一医师的音视频诊疗时间互相重叠，一人不能同时接诊两名患者"""

    code = "overlapping_sessions"
    behaviour = FICTITIOUS
    facts = ("physician", "start", "end", "video", "encounter")
    figures = {"minutes": "重叠分钟数"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        rows = visits.sessions(video=True)
        physician, start, end = (visits[name][rows] for name in ("physician", "start", "end"))
        # the latest end among the physician's earlier sessions, and whose it is
        run, _ = runs(physician)
        latest, whose = _latest_before(run, end)
        overlap = np.where(whose >= 0, np.minimum(latest, end) - start, 0) // MINUTE
        hit = np.flatnonzero(overlap >= numbers["minutes"])
        if not len(hit):
            return Found.nothing()
        pairs = np.stack([rows[whose[hit]], rows[hit]], axis=1).ravel()
        return Found.groups(
            pairs, np.repeat(np.arange(len(hit)), 2), subject=visits["id"][rows[hit]],
            mark=np.zeros(len(hit), np.int64), minutes=overlap[hit],
        )  # fmt: skip


def _latest_before(run: Array, end: Array) -> tuple[Array, Array]:
    """Of rows in runs: the greatest `end` among earlier rows of the run and its place (-1: none)."""
    n = len(run)
    if not n:
        return end, np.zeros(0, np.int64)
    base = int(end.min())
    span = int(end.max()) - base + 1
    # runs rise, so one running maximum serves all of them: a later run starts above every earlier one
    level = run * span + (end - base)
    most = np.maximum.accumulate(level)
    place = np.maximum.accumulate(np.where(level == most, np.arange(n), 0))
    latest, whose = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    inside = same(run)
    latest[1:], whose[1:] = end[place[:-1]], place[:-1]
    latest[~inside], whose[~inside] = 0, -1
    return latest, whose


class SessionsPerHour(Rule):
    """同一医师一小时内接诊人次超过可能的数量"""

    code = "sessions_per_hour"
    behaviour = FICTITIOUS
    subject = "physician"
    facts = ("physician", "start", "encounter")
    figures = {"most_in_hour": "一小时内最多人次", "sessions": "涉及人次"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        rows = visits.sessions(video=False)
        most = numbers["most"]
        physician, start = visits["physician"][rows], visits["start"][rows]
        n = len(rows)
        if n <= most:
            return Found.nothing()
        within = (physician[most:] == physician[:-most]) & (start[most:] - start[:-most] < HOUR)
        marks = np.zeros(n + 1, np.int64)  # every session of an overfull hour
        np.add.at(marks, np.flatnonzero(within), 1)
        np.add.at(marks, np.flatnonzero(within) + most + 1, -1)
        hit = np.flatnonzero(np.cumsum(marks[:n]) > 0)
        if not len(hit):
            return Found.nothing()
        day = visits["day"][rows]
        group, starts = runs(physician[hit], day[hit])
        return Found.groups(
            rows[hit], group, subject=physician[hit[starts]], mark=day[hit[starts]],
            most_in_hour=_most_in_hour(start[hit], group, len(starts)),
            sessions=np.bincount(group),
        )  # fmt: skip


def _most_in_hour(start: Array, group: Array, n: int) -> Array:
    """Per group the most starts inside one hour."""
    span = int(start.max() - start.min()) + 2 * HOUR
    key = group * span + (start - start.min())
    inside = np.searchsorted(key, key + HOUR, side="left") - np.arange(len(key))
    found = np.zeros(n, np.int64)
    np.maximum.at(found, group, inside)
    return found


class OutsideLicence(Rule):
    """医师在服务日不在该机构执业注册的日期或地点之内"""

    code = "outside_licence"
    behaviour = FICTITIOUS
    facts = ("physician", "institution", "parent", "day", "registered")

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        return Found.claims(
            visits, np.flatnonzero((visits["registered"] == 0) & (visits["pharmacy"] == 0))
        )


class _Shared(Rule):
    """A trace of the person's side that many different persons have in common."""

    code_of_trace: str
    by_day: bool

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        trace = visits[self.code_of_trace]
        rows = np.flatnonzero((trace != 0) & (visits["pharmacy"] == 0))
        if not len(rows):
            return Found.nothing()
        third = visits["day"]
        order = (
            rows[np.lexsort((third[rows], trace[rows], visits["physician"][rows]))]
            if (self.by_day)
            else rows[np.argsort(trace[rows], kind="stable")]
        )
        keys = [trace[order]] + ([visits["physician"][order], third[order]] if self.by_day else [])
        group, _ = runs(*keys)
        _, persons = distinct(group, visits["person"][order])
        many = persons >= numbers["persons"]
        if not many.any():
            return Found.nothing()
        inside = many[group]
        order, numbered = order[inside], (np.cumsum(many) - 1)[group[inside]]
        first = order[runs(numbered)[1]]
        mark = (trace[first] >> 32 << 32) + visits["day"][first]
        if not self.by_day:
            mark = in_month(trace[first] >> 32, visits["day"][order], np.bincount(numbered))
        return Found.groups(
            order, numbered, subject=visits["physician" if self.by_day else "institution"][first],
            mark=mark, persons=persons[many], visits=np.bincount(numbered),
        )  # fmt: skip


class SharedDevice(_Shared):
    """多名不同参保人员使用同一台设备就诊"""

    code = "shared_device"
    behaviour = FICTITIOUS
    subject = "institution"
    facts = ("device", "person")
    figures = {"persons": "不同参保人员", "visits": "就诊次数"}
    code_of_trace = "device"
    by_day = False


class SharedAddress(_Shared):
    """同一医师同一天的多名患者来自同一网络地址"""

    code = "shared_address"
    behaviour = FICTITIOUS
    subject = "physician"
    facts = ("address", "person", "physician", "day")
    figures = {"persons": "不同参保人员", "visits": "就诊次数"}
    code_of_trace = "address"
    by_day = True


class DeliveryWithoutDispensing(Rule):
    """有配送记录或收取配送费而没有药品调配（购药）记录"""

    code = "delivery_without_dispensing"
    behaviour = FICTITIOUS
    facts = ("delivered", "dispensed", "service")

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        delivered = visits["delivered"] == 1
        charged = (visits.line("service") == DELIVERY) & (visits.line("rejected") == 0)
        charged &= visits.of_line("pharmacy") == 0  # what a pharmacy claims, it has handed out
        delivered[visits.line("claim")[charged]] = True
        return Found.claims(visits, np.flatnonzero(delivered & (visits["dispensed"] != 1)))
