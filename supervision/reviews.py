"""Fee reviews (费用审核): who sees them, and how lines get their verdicts.

`review_sources` brings claims before a person; verdicts are prepared here line by line, alone or for
all similar lines; `review_steps` moves the case. (温医保办〔2021〕6号 二十四)
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from audit import trail
from audit.models import Task
from institutions import duties
from institutions.models import Region, User
from institutions.refusals import Refusal, refused
from settlement import reviewed
from settlement.models import Deduction, Settlement
from settlement.reviewed import Outcome, Verdict
from settlement.statement_steps import deduction_clause
from settlement.systems import System
from settlement.terms import REVIEW_WORDINGS, Term, terms_of
from supervision.models import Review, ReviewLine

Source, Kind, Mark = Review.Source, ReviewLine.Kind, ReviewLine.Verdict
ADVERSE = (Mark.CUT, Mark.REFUSE, Mark.SELF_PAID)
#: Verdict on a held line → what settles it (settlement.reviewed).
SETTLES = {Mark.PASS: "passed", Mark.CUT: "passed", Mark.REFUSE: "refused",
           Mark.SELF_PAID: "self_paid"}  # fmt: skip
#: An institution sees a review once it was asked or told, and the verdicts once they were decided.
TOLD = ("returned", "told", "objected", "done")
DECIDED = ("told", "objected", "done")
ALIKE_MOST = 500
#: The order of the queue: deadline, gravity, amount.
URGENT = (F("due").asc(nulls_last=True), "-severity", "-stake", "pk")


def seen_by(user: User | System) -> QuerySet[Review]:
    """Reviews in a user's scope; an institution sees its own once it was asked or told."""
    rows = Review.objects.visible_to(user)
    if not user.institution_id:
        return rows
    return rows.filter(Q(state__in=TOLD) | Q(replies__isnull=False)).distinct()


# --- Verdicts ---


@dataclass(frozen=True)
class Marking:
    """A verdict as a person gives it; a wording's code fills category, note and clause."""

    verdict: str
    amount: int = 0
    wording: str = ""
    category: str = ""
    note: str = ""
    clause: str = ""


def wordings(pool: str, day: dt.date) -> tuple[Term | None, dict[str, Mapping[str, str]]]:
    """The standard wordings of a region by code, and the term they stand in."""
    term = terms_of(pool, day).get(REVIEW_WORDINGS)
    return term, {row["code"]: row for row in term.value} if term else {}


def mark(
    *, line: ReviewLine, marking: Marking, who: User, by: str, at: dt.datetime
) -> ReviewLine:  # fmt: skip
    """Give a line its verdict (or take it back: verdict ""), as long as the case is before this person.

    The case is taken with it. Raises Refusal: 409 in another state or taken by a colleague, 403 for
    the wrong person, 422 for a verdict that does not fit the line.
    """
    with transaction.atomic():
        case = Review.objects.select_for_update().get(pk=line.review_id)
        before_me(case, who, by=by, at=at)
        row = case.lines.get(pk=line.pk)
        _fill(row, case, marking, by, at)
        row.save()
        trail.record(
            by=by, at=at, action="review.mark", subject=case.subject, region_code=case.region_code,
            institution_code=case.institution_code,
            detail={"claim": case.claim_id, "line": row.line_no, "verdict": row.verdict,
                    "amount": row.amount, "note": row.note, "clause": row.clause},
        )  # fmt: skip
    return row


def before_me(case: Review, who: User, *, by: str, at: dt.datetime) -> None:
    """The case is before this person: by state, permission and taking; a free one is taken."""
    needs = {"waiting": "reviews.decide", "objected": "reviews.second"}.get(case.state)
    if needs is None:
        detail = ("当前状态不能修改审核意见", f"the review is {case.state}")
        raise Refusal(409, "REVIEW_STATE", detail)
    if not who.may(needs):
        raise Refusal(403, "NOT_PERMITTED", ("您的角色不能作出审核意见", "not permitted"))
    if case.state == "objected" and by in (case.decided_by, case.seconded_by):
        detail = ("初审人和复核人不能复审机构申诉", "a third person decides")
        raise Refusal(403, "THIRD_PERSON", detail)
    task = Task.objects.filter(subject=case.subject, permission=needs, state="open").first()
    if task is not None and task.assignee != by:
        duties.take(keys=[task.pk], who=who, by=by, at=at)


def _fill(row: ReviewLine, case: Review, given: Marking, by: str, at: dt.datetime) -> None:
    """The verdict with its words on an unsaved row; Refusal 422 when it does not fit."""
    row.verdict, row.amount = given.verdict, given.amount if given.verdict == Mark.CUT else 0
    row.category = row.note = row.clause = ""
    row.marked_by, row.marked_at = (by, at) if given.verdict else ("", None)
    if given.verdict and given.verdict not in Mark.values:
        raise refused("verdict", "VERDICT_UNKNOWN", "没有这一审核意见", "no such verdict")
    _fits(row)
    if given.verdict in ADVERSE:
        _word(row, case, given)
    else:
        row.note = given.note.strip()[:200]


def _fits(row: ReviewLine) -> None:
    held = row.kind == Kind.HELD
    if row.verdict == Mark.CUT:
        most = row.fee - 1 if held else row.fund
        if not 0 < row.amount <= most:
            words = "小于费用" if held else "不超过医保已支付的"
            raise refused("amount", "CUT_TOO_LARGE",
                          f"核减应大于0且{words}{(row.fee if held else row.fund) / 100:.2f}元",
                          "an odd cut")  # fmt: skip
    if not held and row.verdict in (Mark.HOLD, Mark.REFUSE, Mark.SELF_PAID):
        raise refused("verdict", "LINE_IS_PAID", "该项已支付，只能通过或核减（扣回医保已付）",
                      "a paid line is passed or cut")  # fmt: skip
    kept = row.overcharge - row.amount
    if held and row.verdict in (Mark.PASS, Mark.CUT) and kept > 0:
        raise refused("amount", "OVERCHARGE_KEPT",
                      f"多收的{row.overcharge / 100:.2f}元应退还，须先核减",
                      "cut the overcharge")  # fmt: skip


def _word(row: ReviewLine, case: Review, given: Marking) -> None:
    _, known = wordings(case.pool, case.service_date)
    standard = known.get(given.wording, {})
    if given.wording and not standard:
        raise refused("wording", "WORDING_UNKNOWN", "没有这一标准用语", "no such wording")
    row.category = given.category or standard.get("category", "")
    row.note = (given.note.strip() or standard.get("text", ""))[:200]
    row.clause = (given.clause.strip() or cited(case, standard.get("clause", "")))[:120]
    if row.category not in Deduction.Reason.values or row.category == Deduction.Reason.RETURNED:
        raise refused("wording", "REASON_MISSING", "请选择标准用语或违规类别", "choose a reason")
    if not row.note:
        raise refused("note", "REASON_MISSING", "请填写审核意见", "say what was found")
    if not row.clause:
        raise refused("clause", "CLAUSE_MISSING", "请填写依据", "name the clause")


def cited(case: Review, clause: str) -> str:
    """A clause with its document; without one, the clause by which the region refuses to pay."""
    if not clause:
        return deduction_clause(case.region_code, case.service_date)
    term, _ = wordings(case.pool, case.service_date)
    return f"{term.document} {clause}" if term else clause


# --- Similar lines ---


@dataclass(frozen=True)
class Alike:
    """Lines that a marking would be given to together, and the digest of exactly that."""

    rows: Sequence[ReviewLine]
    amounts: Sequence[int]
    digest: str

    @property
    def total(self) -> int:
        """What the marking takes of all of them, in fen."""
        pairs = zip(self.rows, self.amounts, strict=True)
        return sum(amount if row.verdict == Mark.CUT else row.taken for row, amount in pairs)


def alike(line: ReviewLine, marking: Marking, who: User) -> Alike:
    """The open lines of the same institution, item and reason that this person may mark so.

    Of an overcharge each line's own is cut; another cut is the same amount where it fits.
    """
    taken = Task.objects.filter(subject__startswith="review:", state="open").exclude(
        assignee__in=["", who.username]
    )
    others = {int(subject.partition(":")[2]) for subject in taken.values_list("subject", flat=True)}
    found = ReviewLine.objects.visible_to(who).filter(
        institution_code=line.institution_code, item_code=line.item_code, kind=line.kind,
        held_for=line.held_for, review__state="waiting", review__closed_at=None,
    ).exclude(review_id__in=others)  # fmt: skip
    rows, amounts = [], []
    own = marking.verdict == Mark.CUT and marking.amount == line.overcharge > 0
    for row in found.select_related("review").order_by("pk")[:ALIKE_MOST]:
        row.verdict = marking.verdict
        row.amount = (row.overcharge if own else marking.amount) if row.verdict == Mark.CUT else 0
        try:
            _fits(row)
        except Refusal:
            continue  # the verdict does not fit this one
        rows.append(row)
        amounts.append(row.amount)
    named = [[row.pk, amount] for row, amount in zip(rows, amounts, strict=True)]
    text = json.dumps([named, marking.verdict, marking.wording, marking.note, marking.clause])
    return Alike(rows, amounts, hashlib.new("sm3", text.encode()).hexdigest())


def mark_alike(
    *, line: ReviewLine, marking: Marking, digest: str, who: User, by: str, at: dt.datetime
) -> int:
    """Give all similar lines the verdict that was previewed; 409 when they are others by now."""
    with transaction.atomic():
        found = alike(line, marking, who)
        if not found.rows or found.digest != digest:
            detail = ("同类明细已有变化，请重新预览", "the lines changed since the preview")
            raise Refusal(409, "ALIKE_CHANGED", detail)
        for row, amount in zip(found.rows, found.amounts, strict=True):
            one = Marking(marking.verdict, amount, marking.wording, marking.category, marking.note,
                          marking.clause)  # fmt: skip
            mark(line=row, marking=one, who=who, by=by, at=at)
    return len(found.rows)


# --- What it comes to ---


def verdicts_of(case: Review) -> dict[int, Verdict]:
    """The verdicts on held lines as they settle; lines that stay held are left out."""
    return {
        row.line_no: Verdict(SETTLES[Mark(row.verdict)], row.amount)
        for row in case.lines.filter(kind=Kind.HELD) if row.verdict in SETTLES
    }  # fmt: skip


def expected(case: Review) -> Outcome | None:
    """What the verdicts would bring about now; None when no held line has one. May raise Refusal."""
    verdicts = verdicts_of(case)
    settled = reviewed.standing(case.claim_id)
    if not verdicts or settled is None or settled.version != case.claim_version:
        return None
    return reviewed.outcome(settled, verdicts)


def outcome_of(settled: Settlement, row: ReviewLine, marking: Marking) -> Outcome:
    """What one verdict on a held line would bring about now. May raise Refusal."""
    verdict = Verdict(SETTLES[Mark(marking.verdict)], marking.amount)
    return reviewed.outcome(settled, {row.line_no: verdict})


def weight_of(case: Review) -> int:
    """The amount by which a second reviewer is asked for: what is decided on, in fen."""
    rows = case.lines.exclude(verdict__in=["", Mark.HOLD])
    held = rows.filter(kind=Kind.HELD).aggregate(sum=Sum("fee"))["sum"] or 0
    return held + (rows.filter(kind=Kind.PAID).aggregate(sum=Sum("amount"))["sum"] or 0)


def cut_of(case: Review) -> int:
    """What the verdicts take in all, in fen."""
    return sum(row.taken for row in case.lines.all())


def pool_of(region_code: str) -> str:
    """The pooling region of an area."""
    return Region.objects.get(pk=region_code).policy_region


def recovered(rows: Iterable[ReviewLine]) -> dict[int, dict[str, Any]]:
    """Deduction → where the recovery of a paid line stands: waiting, on a statement, final, withdrawn."""
    ids = [row.deduction_id for row in rows if row.deduction_id]
    found: dict[int, dict[str, Any]] = {}
    for row in Deduction.objects.filter(pk__in=ids).select_related("statement"):
        statement = row.statement
        if row.state == Deduction.State.WITHDRAWN:
            state = "withdrawn"
        elif statement is None:
            state = "waiting"
        else:
            state = "final" if statement.is_final else "listed"
        found[row.pk] = {"state": state, "statement": statement, "amount": row.amount}
    return found
