"""PURE. The course of a treatment: is it a follow-up, of the same disease, with a reviewed prescription?"""

import numpy as np

from pricing.rules import CODES, SERVICES
from settlement.checks import add_months
from settlement.columns import NO_DAY, UNKNOWN_DAY
from supervision.rules.base import Numbers, Rule
from supervision.rules.data import Found, Visits, month_of, runs, same

CONSULT, DRUG = SERVICES.index("consult"), SERVICES.index("drug")
REVISIT = CODES["visit_type"].index("revisit")
WHOLE = 10_000
USUAL_SUPPLY = 120  #: days before a refill in which the ones before it are looked for


class FirstVisitAsRevisit(Rule):
    """按复诊收费，但没有此前在实体医疗机构就诊的记录，疑为首诊"""

    code = "first_visit_as_revisit"
    facts = ("visit_type", "last_offline")

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        never = (visits["visit_type"] == REVISIT) & (visits["last_offline"] == NO_DAY)
        return Found.claims(visits, np.flatnonzero(never & visits.charged()))


class DiseaseWindow(Rule):
    """距实体医疗机构就诊已超过规定月数，或与线下诊疗不是同种疾病"""

    code = "disease_window"
    facts = ("last_offline", "same_disease", "day")
    figures = {"days": "距线下就诊天数"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        last, day = visits["last_offline"], visits["day"]
        known = (last != UNKNOWN_DAY) & (last != NO_DAY) & (last <= day)
        end = add_months(np.where(known, last, 0), numbers["months"])
        wrong = (day > end) | (visits["same_disease"] == 0)
        hit = np.flatnonzero(known & wrong & visits.charged())
        return Found.claims(visits, hit, days=day[hit] - last[hit])


class PrescriptionUnreviewed(Rule):
    """结算了药品费而处方未经药师审核"""

    code = "prescription_unreviewed"
    facts = ("prescribed", "reviewed")

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        hit = np.flatnonzero(
            (visits.line("service") == DRUG) & (visits.line("rejected") == 0)
            & (visits.of_line("prescribed") == 1) & (visits.of_line("reviewed") == 0)
        )  # fmt: skip
        return Found.claims(visits, visits.line("claim")[hit], visits.line("line_no")[hit])


class EarlyRefill(Rule):
    """药品尚未用完即多次重复配取，累计超过用药天数"""

    code = "early_refill"
    subject = "person"
    facts = ("person", "item", "days", "day")
    figures = {
        "stock": "配取时尚余用药天数",
        "refills": "连续提前配取次数",
        "supply": "累计用药天数",
    }

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        lines = np.flatnonzero(
            (visits.line("service") == DRUG) & (visits.line("rejected") == 0)
            & (visits.line("days") > 0)
        )  # fmt: skip
        if not len(lines):
            return Found.nothing()
        person, item = visits.of_line("person")[lines], visits.line("item")[lines]
        order = np.lexsort(
            (visits.of_line("id")[lines], visits.of_line("day")[lines], item, person)
        )
        lines, person, item = lines[order], person[order], item[order]
        run, _ = runs(person, item)
        # a drug on several lines of one claim is one refill
        claim = visits.line("claim")[lines]
        again = same(claim) & same(run)
        lines, run, claim = lines[~again], run[~again], claim[~again]
        day = visits["day"][claim].astype(np.int64)
        days = visits.line("days")[lines].astype(np.int64)
        from supervision.rules.refills import refills  # compiled: only an audit loads it

        stock, early, supply = refills(run, day, days, numbers["grace_days"])
        hit = np.flatnonzero(early == numbers["times"])
        if not len(hit):
            return Found.nothing()
        sizes = early[hit] + 1  # the refill before the first early one, and the early ones
        at = np.repeat(hit - sizes + 1, sizes) + (
            np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        )
        line_no, first = visits.line("line_no")[lines], hit - sizes + 1
        return Found.groups(
            claim[at], np.repeat(np.arange(len(hit)), sizes), subject=person[~again][hit],
            mark=(visits["id"][claim[first]] << 16) + line_no[first],  # each drug by itself
            line_no=line_no[at], stock=stock[hit], refills=early[hit], supply=supply[hit],
        )  # fmt: skip

    def lookback(self, numbers: Numbers) -> int:
        return USUAL_SUPPLY


class MissingTraceCodes(Rule):
    """药品结算明细没有药品追溯码，或已调配药品的追溯码少于包装数"""

    code = "missing_trace_codes"
    subject = "institution"
    facts = ("traces", "needed", "recorded")
    figures = {"lines": "药品行数", "missing": "没有追溯码的行数", "share": "缺失比例（万分比）"}

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        """A month of an institution with a great share of bare lines; else each visit known to lack codes.

        A line whose goods are recorded as handed out with too few codes is a gap by itself; a line
        without codes is one only in the share, because they may be kept elsewhere.
        """
        lines = np.flatnonzero((visits.line("service") == DRUG) & (visits.line("rejected") == 0))
        if not len(lines):
            return Found.nothing()
        place, month = visits.of_line("institution")[lines], month_of(visits.of_line("day")[lines])
        order = np.lexsort((visits.line("claim")[lines], month, place))
        lines, place, month = lines[order], place[order], month[order]
        claim = visits.line("claim")[lines]
        recorded = visits.line("recorded")[lines]
        bare = (visits.line("traces")[lines] == 0) & (recorded == 0)
        codes = np.maximum(visits.line("traces")[lines], recorded)
        by_month, first = runs(place, month)
        missing = np.bincount(by_month, weights=bare).astype(np.int64)
        share = missing * WHOLE // np.bincount(by_month)
        odd = (share >= numbers["share"]) & (missing >= numbers["lines"])
        short = (codes < visits.line("needed")[lines]) & ~odd[by_month]
        # one suspicion per odd month and per visit that is short elsewhere, in the order of the lines
        gap = np.where(odd[by_month], bare, short)
        group, starts = runs(np.where(odd[by_month], by_month, len(first) + claim))
        counted = np.bincount(group, weights=gap).astype(np.int64)
        hit = counted > 0
        if not hit.any():
            return Found.nothing()
        starts = starts[hit]
        whole = odd[by_month[starts]]
        total, missing = np.bincount(group)[hit], counted[hit]
        return Found.groups(
            claim[gap], (np.cumsum(hit) - 1)[group[gap]], subject=place[starts],
            mark=np.where(whole, month[starts], -visits["id"][claim[starts]]),
            line_no=visits.line("line_no")[lines[gap]],
            lines=total, missing=missing, share=missing * WHOLE // total,
        )  # fmt: skip
