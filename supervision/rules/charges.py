"""PURE. Charges that are split, doubled, forced, too high or for something else."""

import numpy as np

from pricing.rules import SERVICES
from supervision.rules.base import (
    DUPLICATE,
    FORCED,
    INFLATED,
    SPLIT,
    SUBSTITUTED,
    Numbers,
    Rule,
)
from supervision.rules.data import Array, Found, Visits, in_month, runs, same

CONSULT, DRUG = SERVICES.index("consult"), SERVICES.index("drug")
WHOLE = 10_000  #: shares are per ten thousand


class SplitVisits(Rule):
    """短时间内就同一疾病在同一机构多次收取诊察费，疑将一次诊疗分解为多次"""

    code = "split_visits"
    behaviour = SPLIT
    subject = "person"
    facts = ("person", "institution", "disease", "day", "encounter")
    figures = {"visits": "就诊次数", "days": "跨越天数"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        rows = visits.sorted("person", "institution", "disease", "start", "encounter")
        charged = np.zeros(visits.n, bool)
        consult = (visits.line("service") == CONSULT) & (visits.line("rejected") == 0)
        charged[visits.line("claim")[consult]] = True
        rows = rows[charged[rows] & (visits["disease"][rows] != 0)]
        names = ("person", "institution", "disease")
        keys = [visits[name][rows] for name in names]
        rows = rows[~(same(visits["encounter"][rows]) & _equal(keys))]
        keys = [visits[name][rows] for name in names]
        run, _ = runs(*keys)
        most, day = numbers["visits"], visits["day"][rows]
        n = len(rows)
        if n < most:
            return Found.nothing()
        close = (run[most - 1 :] == run[: n - most + 1]) & (
            day[most - 1 :] - day[: n - most + 1] < numbers["days"]
        )
        marks = np.zeros(n + 1, np.int64)
        np.add.at(marks, np.flatnonzero(close), 1)
        np.add.at(marks, np.flatnonzero(close) + most, -1)
        hit = np.flatnonzero(np.cumsum(marks[:n]) > 0)
        if not len(hit):
            return Found.nothing()
        # a gap of more days than allowed parts two clusters of the same run
        far = np.zeros(len(hit), bool)
        far[1:] = day[hit[1:]] - day[hit[:-1]] >= numbers["days"]
        group, starts = runs(run[hit], np.cumsum(far))
        ends = np.append(starts[1:], len(hit)) - 1
        return Found.groups(
            rows[hit], group, subject=visits["person"][rows[hit[starts]]],
            mark=visits["id"][rows[hit[starts]]], visits=np.bincount(group),
            days=day[hit[ends]] - day[hit[starts]] + 1,
        )  # fmt: skip

    def lookback(self, numbers: Numbers) -> int:
        return 2 * numbers["days"]


def _equal(keys: list[Array]) -> Array:
    """Where all keys equal those of the row before."""
    found = same(keys[0])
    for key in keys[1:]:
        found &= same(key)
    return found


class DuplicateCharge(Rule):
    """同一就诊中相同项目、相同数量和金额重复收费"""

    code = "duplicate_charge"
    behaviour = DUPLICATE
    facts = ("person", "encounter", "item", "quantity", "line fee")
    figures = {"lines": "重复行数", "amount": "重复金额（分）"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        live = np.flatnonzero((visits.line("rejected") == 0) & (visits.line("fee") > 0))
        names = [visits.of_line("person"), visits.of_line("encounter"), visits.line("item"),
                 visits.line("quantity"), visits.line("fee")]  # fmt: skip
        # most encounters have one claim: a cheap mix of the keys leaves few lines to be compared
        mixed = np.zeros(len(live), np.uint64)
        for column in names:
            mixed = (mixed ^ column[live].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        order = np.argsort(mixed, kind="stable")
        again = same(mixed[order])
        again[:-1] |= again[1:]
        few = live[order[again]]
        if not len(few):
            return Found.nothing()
        by_time = np.lexsort((
            visits.line("line_no")[few], visits.of_line("id")[few], *(c[few] for c in names)
        ))  # fmt: skip
        few = few[by_time]
        twice = _equal([column[few] for column in names])
        hit = few[twice]
        rows = visits.line("claim")[hit]
        return Found.claims(
            visits, rows, visits.line("line_no")[hit], lines=np.ones(len(hit), np.int64),
            amount=visits.line("fee")[hit],
        )  # fmt: skip


class NoConsent(Rule):
    """没有向患者说明项目和价格或未征得知情同意即收费"""

    code = "no_consent"
    behaviour = FORCED
    facts = ("consent", "explained")

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        return Found.claims(
            visits, np.flatnonzero((visits["consent"] == 0) | (visits["explained"] == 0))
        )


class BundledItem(Rule):
    """医师对绝大多数患者收取同一项目，而其他医师很少收取，疑为强制搭配"""

    code = "bundled_item"
    behaviour = FORCED
    subject = "physician"
    facts = ("physician", "item")
    figures = {"share": "本人收取比例（万分比）", "peers_share": "其他医师收取比例（万分比）",
               "visits": "收取次数", "item_line": "行号"}  # fmt: skip
    statistical = True

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        lines = np.flatnonzero(
            (visits.line("service") != CONSULT) & (visits.line("rejected") == 0)
            & (visits.of_line("physician") != 0) & (visits.of_line("pharmacy") == 0)
        )  # fmt: skip
        doctors, which = np.unique(visits["physician"], return_inverse=True)
        met = np.bincount(which[visits["pharmacy"] == 0], minlength=len(doctors))
        items, item = np.unique(visits.line("item")[lines], return_inverse=True)
        if not len(items):
            return Found.nothing()
        claim = visits.line("claim")[lines]
        key = which[claim] * len(items) + item
        order = np.lexsort((claim, key))
        first = ~(same(key[order]) & same(claim[order]))  # an item twice in a visit counts once
        order = order[first]
        pairs, starts, count = np.unique(key[order], return_index=True, return_counts=True)
        doctor, thing = pairs // len(items), pairs % len(items)
        total = np.bincount(thing, weights=count, minlength=len(items)).astype(np.int64)
        share = count * WHOLE // np.maximum(met[doctor], 1)
        others = np.maximum(int(met[doctors != 0].sum()) - met[doctor], 1)
        peers = (total[thing] - count) * WHOLE // others
        odd = np.flatnonzero(
            (met[doctor] >= numbers["visits"]) & (share >= numbers["share"])
            & (peers <= numbers["peers_share"])
        )  # fmt: skip
        if not len(odd):
            return Found.nothing()
        at = np.concatenate([order[starts[k] : starts[k] + count[k]] for k in odd])
        group = np.repeat(np.arange(len(odd)), count[odd])
        return Found.groups(
            claim[at], group, subject=doctors[doctor[odd]],
            mark=in_month(items[thing[odd]] >> 33, visits["day"][claim[at]], count[odd]),
            line_no=visits.line("line_no")[lines[at]], share=share[odd], peers_share=peers[odd],
            visits=count[odd], item_line=visits.line("line_no")[lines[at[runs(group)[1]]]],
        )  # fmt: skip


class OverPrice(Rule):
    """收费高于公布的价格"""

    code = "over_price"
    behaviour = INFLATED
    facts = ("overcharge",)
    figures = {"amount": "多收金额（分）"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        hit = np.flatnonzero((visits.line("overcharge") > 0) & (visits.line("rejected") == 0))
        return Found.claims(
            visits, visits.line("claim")[hit], visits.line("line_no")[hit],
            amount=visits.line("overcharge")[hit],
        )  # fmt: skip


class PriceAbovePeers(Rule):
    """同一药品的单价明显高于其他机构的中位价"""

    code = "price_above_peers"
    behaviour = INFLATED
    subject = "institution"
    facts = ("item", "unit_price", "institution")
    figures = {"median": "各机构中位单价（百万分之一元）", "price": "本机构单价（百万分之一元）",
               "above": "高出（万分比）", "visits": "涉及单据"}  # fmt: skip
    statistical = True

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        lines = np.flatnonzero((visits.line("service") == DRUG) & (visits.line("rejected") == 0))
        item, place = visits.line("item")[lines], visits.of_line("institution")[lines]
        order = np.lexsort((visits.line("unit_price")[lines], place, item))
        lines, item, place = lines[order], item[order], place[order]
        _, starts = runs(item, place)
        if not len(starts):
            return Found.nothing()
        ends = np.append(starts[1:], len(lines))
        price = visits.line("unit_price")[lines[(starts + ends) // 2]]  # the institution's median
        thing = item[starts]
        by_price = np.lexsort((price, thing))
        group, first = runs(thing[by_price])
        size = np.diff(np.append(first, len(by_price)))
        middle = price[by_price][first + (size - 1) // 2]
        median, peers = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
        median[by_price], peers[by_price] = middle[group], size[group]
        above = (price - median) * WHOLE // np.maximum(median, 1)
        odd = np.flatnonzero((above >= numbers["above"]) & (peers >= numbers["institutions"]))
        if not len(odd):
            return Found.nothing()
        at = np.concatenate([np.arange(starts[k], ends[k]) for k in odd])
        count = (ends - starts)[odd]
        return Found.groups(
            visits.line("claim")[lines[at]], np.repeat(np.arange(len(odd)), count),
            subject=place[starts[odd]],
            mark=in_month(thing[odd] >> 33, visits.of_line("day")[lines[at]], count),
            line_no=visits.line("line_no")[lines[at]], median=median[odd], price=price[odd],
            above=above[odd], visits=count,
        )  # fmt: skip


class RankMismatch(Rule):
    """收取的诊察费项目高于医师职称"""

    code = "rank_mismatch"
    behaviour = SUBSTITUTED
    facts = ("title", "title_min")

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        title = visits.of_line("title")
        hit = np.flatnonzero((title > 0) & (title < visits.line("title_min"))
                             & (visits.line("rejected") == 0))  # fmt: skip
        return Found.claims(visits, visits.line("claim")[hit], visits.line("line_no")[hit])


class DrugNotPrescribed(Rule):
    """结算的药品或数量与电子处方不符"""

    code = "drug_not_prescribed"
    behaviour = SUBSTITUTED
    facts = ("ordered", "quantity")
    figures = {"lines": "不符行数"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        ordered = visits.line("ordered")
        lines = np.flatnonzero(
            (visits.line("service") == DRUG) & (ordered >= 0) & (visits.line("rejected") == 0)
        )  # fmt: skip
        if not len(lines):
            return Found.nothing()
        names = ("claim", "item", "line_no")
        lines = lines[np.lexsort([visits.line(name)[lines] for name in reversed(names)])]
        # what the lines of a drug have taken so far; the one that goes beyond what is prescribed does not fit
        group, starts = runs(visits.line("claim")[lines], visits.line("item")[lines])
        taken = np.cumsum(visits.line("quantity")[lines])
        taken -= (taken[starts] - visits.line("quantity")[lines[starts]])[group]
        hit = lines[taken > ordered[lines]]
        return Found.claims(
            visits, visits.line("claim")[hit], visits.line("line_no")[hit],
            lines=np.ones(len(hit), np.int64),
        )  # fmt: skip
