"""A claim settled again after a person has decided on its held lines: reversal, then the new version.

What the lines would come to is asked with `outcome`; `post` brings it about. Only the decided lines
move: what was paid of other lines and other claims stays. (温医保办〔2021〕6号 二十四)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection, transaction

from audit import trail
from institutions.access import EVERYTHING, scoped
from institutions.refusals import Refusal
from pricing import releases
from pricing.rules import DECISIONS, REASONS
from settlement import bookings, ledger, reimbursements
from settlement.columns import REVIEWS
from settlement.models import Settlement
from settlement.periods import posting_month
from settlement.posting import STATES, TOTALS
from settlement.replay import Replayed, review
from settlement.resettlement import values_of

DIFFERING = ("fund", "account", "cash", "hospital", "held", "major", "assistance")


@dataclass(frozen=True)
class Verdict:
    """A person's decision on a held line: one of REVIEWS, and the part of the fee that is cut (fen)."""

    decision: str
    cut: int = 0


@dataclass(frozen=True)
class LineOutcome:
    """What a line comes to: decision and reason code, amounts in fen (-1: open)."""

    decision: str
    reason: str
    in_scope: int
    over_cap: int
    fund: int


@dataclass(frozen=True)
class Outcome:
    """What a claim comes to: its new state, its totals before and after, its decided lines."""

    version: int
    state: str
    before: dict[str, int]
    after: dict[str, int]
    lines: dict[int, LineOutcome]

    @property
    def differences(self) -> dict[str, int]:
        """What becomes different of the money, in fen."""
        return {name: self.after[name] - self.before[name] for name in DIFFERING}


def standing(claim_id: int) -> Settlement | None:
    """The settlement of a claim that counts; None when it waits or was reversed."""
    row = Settlement.objects.filter(claim_id=claim_id).order_by("-version").first()
    return row if row is not None and row.version % 2 else None


def outcome(settled: Settlement, verdicts: Mapping[int, Verdict]) -> Outcome:
    """What the verdicts would bring about now; nothing is stored. Raises Refusal as `post` does."""
    with scoped(EVERYTHING):
        found = _settle(settled, verdicts)
    return _told(found, settled, verdicts)


def post(
    *, claim_id: int, version: int, verdicts: Mapping[int, Verdict], reason: str, by: str,
    approved_by: str = "", at: dt.datetime,
) -> Outcome:  # fmt: skip
    """Settle a claim again with verdicts on its lines: `version` reversed, `version` + 2 posted.

    The posting falls into the open month; the person is locked first. Raises Refusal: 409 when
    another version counts, 422 for a verdict that the law does not let come out.
    """
    with transaction.atomic():
        first = Settlement.objects.filter(claim_id=claim_id, version=version).first()
        if first is None:
            raise Refusal(404, "NOT_FOUND", ("没有此结算", "no such settlement"))
        period = posting_month(first.region_code, at)
        ledger.lock_persons([first.person_id])
        settled = standing(claim_id)
        if settled is None or settled.version != version:
            detail = ("单据已冲正或重新结算，审核依据的结算已不是现状", "another version counts")
            raise Refusal(409, "CLAIM_CHANGED", detail)
        with scoped(EVERYTHING):
            found = _settle(settled, verdicts)
            told = _told(found, settled, verdicts)
            row = (claim_id, version, period)
            ledger.reverse([row], reason=reason[:200], by=by, at=at)
            values = values_of(found, [0], [row])
            ledger.settle_again(values | {"reason": reason[:200], "by": by, "at": at})
            reimbursements.follow([claim_id], by=by, at=at)
        trail.record(
            by=by, at=at, action="claim.reviewed", subject=f"claim:{claim_id}",
            region_code=settled.region_code, institution_code=settled.institution_code,
            detail={"reason": reason, "version": version + 2, "state": told.state,
                    "approved_by": approved_by, **told.differences,
                    **bookings.written([(claim_id, version + 1), (claim_id, version + 2)]),
                    "verdicts": {str(no): [one.decision, one.cut] for no, one in verdicts.items()}},
        )  # fmt: skip
    return told


def _settle(settled: Settlement, verdicts: Mapping[int, Verdict]) -> Replayed:
    """The claim with its verdicts as the kernel has it; the caller sees every region."""
    given = {no: (REVIEWS.index(one.decision), one.cut) for no, one in verdicts.items()}
    key = (settled.person_id, settled.year)
    with connection.cursor() as cursor:
        found = review(cursor, releases.current(), key, settled.claim_id, given)
    if found is None:
        raise Refusal(409, "CLAIM_CHANGED", ("单据已冲正", "the claim does not count"))
    _refuse_unsound(found, verdicts)
    return found


def _refuse_unsound(found: Replayed, verdicts: Mapping[int, Verdict]) -> None:
    for i, line_no in enumerate(found.lines["line_no"].tolist()):
        one = verdicts.get(line_no)
        if one is None:
            continue
        charged = int(found.lines["charged"][i])
        if not 0 <= one.cut < max(charged, 1) or (one.cut and one.decision != "passed"):
            detail = (f"第{line_no}项核减应小于费用 {charged / 100:.2f} 元", "an odd cut")
            raise Refusal(422, "CUT_TOO_LARGE", detail)
        if one.decision == "passed" and found.results.decision[i] != 0:
            reason = REASONS[int(found.results.reason[i])]
            detail = (f"第{line_no}项按规则仍不能支付（{reason}）", f"the law refuses: {reason}")
            raise Refusal(422, "LAW_REFUSES", detail)
        if one.decision == "passed" and min(found.results.fund[i], found.results.in_scope[i]) < 0:
            detail = (f"第{line_no}项没有支付标准，不能通过", "the law leaves the amount open")
            raise Refusal(422, "NO_RULE_TO_PAY", detail)


def _told(found: Replayed, settled: Settlement, verdicts: Mapping[int, Verdict]) -> Outcome:
    results = found.results
    lines = {
        int(line_no): LineOutcome(
            DECISIONS[int(results.decision[i])], REASONS[int(results.reason[i])],
            int(results.in_scope[i]), int(results.over_cap[i]), int(results.fund[i]),
        )
        for i, line_no in enumerate(found.lines["line_no"]) if int(line_no) in verdicts
    }  # fmt: skip
    after = {name: int(getattr(found.posted, name)[0]) for name in TOTALS}
    before = {name: getattr(settled, name) for name in TOTALS}
    return Outcome(settled.version, STATES[int(found.posted.state[0])], before, after, lines)
