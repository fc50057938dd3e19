"""The procedure of a fee review (procedures/review.yaml): what its steps check and do.

First, second and third person are three. Nothing is posted before the decision is final: a favourable
one at once, an adverse one when the institution agrees, lets the time pass, or was heard and answered.
(温医保办〔2021〕6号 二十四；医疗保障基金使用监督管理条例 第三十一条)
"""

import datetime as dt
from pathlib import Path
from typing import Any

from django.db import transaction
from django.urls import reverse

from audit import trail
from audit.access import Person
from audit.models import Move
from audit.moves import advance, refresh
from audit.procedure import SYSTEM, Due, Handbook, Pauses, Refused, State, Turn, checked, load
from institutions import news
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import reviewed, statement_steps
from settlement.periods import posting_month
from settlement.terms import (
    REVIEW_CLOCK,
    REVIEW_OBJECTION,
    REVIEW_SECOND,
    REVIEW_SUPPLEMENT,
    terms_of,
    working_days_due,
)
from supervision import reviews
from supervision.models import Review, ReviewLine, ReviewReply
from supervision.reviews import ADVERSE, Kind, Mark

PROCEDURE = load(Path(__file__).parent / "procedures" / "review.yaml")
CLOCKS = {"review": REVIEW_CLOCK, "objection": REVIEW_OBJECTION, "supplement": REVIEW_SUPPLEMENT}
#: A person says what; the table says which step that is for this case.
CHOICES = {"decide": ("submit", "tell", "pass"), "agree": ("agree_tell", "agree_pass")}
POSTING = ("pass", "agree_pass", "accept", "expire", "rule")


@transaction.atomic
def take(
    *, case: Review, step: str, who: Person | None, by: str, at: dt.datetime, note: str = "",
    facts: dict[str, Any] | None = None, version: int | None = None,
) -> Move:  # fmt: skip
    """Take a step for a person (`decide` and `agree` find their own); raises Refused or Refusal.

    A case whose claim was reversed or settled anew meanwhile is ended instead (step `lapse`).
    """
    if step in CHOICES or step in POSTING:
        posting_month(case.region_code, at)  # before anything of claims is read
    if case.closed_at is None and changed(case):
        return end(case=case, at=at)
    if step in CHOICES:
        step = _which(case, step)
    return advance(
        case=case, procedure=PROCEDURE, handbook=HANDBOOK, step=step, who=who, by=by, at=at,
        note=note, facts=facts, version=version,
    )  # fmt: skip


def _which(case: Review, choice: str) -> str:
    """The first of the steps a choice stands for whose guards hold."""
    for key in CHOICES[choice]:
        if all(HANDBOOK.guards[name](case) for name in PROCEDURE.step(key).when):
            return key
    return CHOICES[choice][0]


def changed(case: Review) -> bool:
    """Whether another version of the claim counts than the one under review."""
    settled = reviewed.standing(case.claim_id)
    return settled is None or settled.version != case.claim_version


def end(*, case: Review, at: dt.datetime) -> Move:
    """End a review whose claim has changed; what is still held of it comes back as a new one."""
    return advance(case=case, procedure=PROCEDURE, handbook=HANDBOOK, step="lapse", by=SYSTEM, at=at,
                   note="单据已冲正或重新结算")  # fmt: skip


def last_move(case: Review, step: str) -> Move | None:
    """The last time a step was taken."""
    return Move.objects.filter(subject=case.subject, step=step).order_by("-pk").first()


def sweep(*, on: dt.date, at: dt.datetime) -> int:
    """End what has changed, go on where a time has passed; how many cases moved."""
    count = 0
    for row in Review.objects.filter(closed_at=None).order_by("pk"):
        late = row.due is not None and row.due < on
        step = {"told": "expire", "returned": "unsupplied"}.get(row.state)
        if changed(row):
            end(case=row, at=at)
        elif step and late:
            count += _go_on(row, step, at)
            continue
        else:
            continue
        count += 1
    return count


def _go_on(case: Review, step: str, at: dt.datetime) -> int:
    """An automatic step; what cannot be posted (cut elsewhere meanwhile) is recorded and stays."""
    try:
        take(case=case, step=step, who=None, by=SYSTEM, at=at)
    except (Refused, Refusal) as refusal:
        trail.record(
            by=SYSTEM, at=at, action=f"review.{step}", subject=case.subject, outcome="refused",
            region_code=case.region_code, institution_code=case.institution_code,
            detail={"code": refusal.code},
        )  # fmt: skip
        return 0
    return 1


# --- Guards ---


def adverse(case: Review) -> bool:
    """Something is cut, refused or left to the patient of an institution, which is told first.

    A claim that the agency entered for a person's request concerns none: the request says the result.
    """
    return of_institution(case) and case.lines.filter(verdict__in=ADVERSE).exists()


def favourable(case: Review) -> bool:
    return not adverse(case)


def of_institution(case: Review) -> bool:
    """Whether an institution can be asked and told."""
    return bool(case.institution_code)


def over_limit(case: Review) -> bool:
    """What is decided on exceeds what one person may decide; without a limit a second is needed."""
    term = terms_of(case.pool, case.service_date).get(REVIEW_SECOND)
    return term is None or reviews.weight_of(case) > int(term.value)


def within_limit(case: Review) -> bool:
    return not over_limit(case)


# --- Checks ---


def decided(turn: Turn) -> None:
    """Every held line has a verdict, not all are put off, and the law lets it come out."""
    case: Review = turn.case
    missing = list(case.lines.filter(kind=Kind.HELD, verdict="").values_list("line_no", flat=True))
    if missing:
        numbers = "、".join(map(str, missing))
        raise Refused(409, "LINES_OPEN", f"第{numbers}项还没有审核意见")
    rows = case.lines.filter(kind=Kind.HELD)
    if rows.exists() and not rows.exclude(verdict=Mark.HOLD).exists() and favourable(case):
        raise Refused(409, "ALL_ON_HOLD", "全部暂缓等于没有决定，请退回机构补充材料")
    try:
        reviews.expected(case)
    except Refusal as refusal:
        raise Refused(refusal.status, refusal.code, refusal.detail[0]) from refusal


def second_person(turn: Turn) -> None:
    """Whoever decided first does not decide second."""
    if turn.by == turn.case.decided_by:
        raise Refused(403, "SAME_PERSON", "初审人不能复核自己的审核意见")


def third_person(turn: Turn) -> None:
    """An objection is decided by somebody who had no part in the decision."""
    if turn.by in (turn.case.decided_by, turn.case.seconded_by):
        raise Refused(403, "SAME_PERSON", "初审人和复核人不能复审机构申诉")


def in_time(turn: Turn) -> None:
    """The institution's time ends with its last day, not when the portal comes to go on."""
    case: Review = turn.case
    if case.due is not None and turn.on > case.due:
        raise Refused(
            409, "TOO_LATE", f"期限已于{case.due}届满，不能再办理“{turn.step.label}”",
            clause=case.due_clause, field=turn.step.asks[0].key,
        )  # fmt: skip


def time_passed(turn: Turn) -> None:
    """The portal goes on only when the institution's time has passed."""
    case: Review = turn.case
    if case.due is None or turn.on <= case.due:
        raise Refused(409, "TIME_RUNNING", "期限未过")


# --- Effects ---


def effect_first(turn: Turn) -> None:
    """The first person's decision: lines nobody spoke of are passed."""
    case: Review = turn.case
    case.lines.filter(kind=Kind.PAID, verdict="").update(
        verdict=Mark.PASS, marked_by=turn.by, marked_at=turn.at
    )
    case.decided_by, case.decided_at, case.cut = turn.by, turn.at, reviews.cut_of(case)


def effect_second(turn: Turn) -> None:
    turn.case.seconded_by, turn.case.seconded_at = turn.by, turn.at


def effect_reopen(turn: Turn) -> None:
    """Sent back: nobody has decided yet."""
    turn.case.decided_by, turn.case.decided_at, turn.case.cut = "", None, 0


def effect_supply(turn: Turn) -> None:
    """The institution's words to what it was asked for."""
    _reply(turn, ReviewReply.Kind.SUPPLEMENT, "text")


def effect_object(turn: Turn) -> None:
    """The objection is kept in the institution's words; a third person will answer."""
    turn.case.round += 1
    _reply(turn, ReviewReply.Kind.OBJECTION, "reason")


def _reply(turn: Turn, kind: ReviewReply.Kind, name: str) -> None:
    ReviewReply.objects.create(
        review=turn.case, region_code=turn.case.region_code,
        institution_code=turn.case.institution_code, kind=kind,
        text=str(turn.facts[name]).strip()[:500], made_at=turn.at, made_by=turn.by,
        signed_name=str(turn.facts.get("signed_name", "")).strip()[:60],
    )  # fmt: skip


def effect_rule(turn: Turn) -> None:
    """The third person's answer; the verdicts as they stand now are final."""
    case: Review = turn.case
    case.ruled_by, case.ruled_at, case.cut = turn.by, turn.at, reviews.cut_of(case)
    case.replies.filter(kind=ReviewReply.Kind.OBJECTION, answer="").update(
        answer=str(turn.facts["answer"]).strip()[:500], answered_at=turn.at, answered_by=turn.by
    )


def effect_execute(turn: Turn) -> None:
    """Final: held lines are settled in a new version, paid ones taken back by the next statement."""
    case: Review = turn.case
    verdicts = reviews.verdicts_of(case)
    approved = case.ruled_by or case.seconded_by
    with scoped(EVERYTHING):
        if verdicts:
            reviewed.post(
                claim_id=case.claim_id, version=case.claim_version, verdicts=verdicts,
                reason=f"费用审核 {case.number}", by=case.decided_by, approved_by=approved, at=turn.at,
            )  # fmt: skip
            case.posted_version = case.claim_version + 2
        for row in case.lines.filter(kind=Kind.PAID, verdict=Mark.CUT):
            _recover(case, row, turn.at)


def _recover(case: Review, row: ReviewLine, at: dt.datetime) -> None:
    """追回: what was paid of a line, whoever paid, bears on the first statement that is still a draft."""
    made = statement_steps.deduct(
        claim_id=case.claim_id, line_no=row.line_no, amount=row.amount, reason=row.category,
        note=f"{case.number} {row.note}"[:200], clause=row.clause, by=case.decided_by, at=at,
    )  # fmt: skip
    row.deduction_id = made.pk
    row.save(update_fields=["deduction_id"])


# --- Clock and words ---


def due(case: Review, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day for whoever holds it: working days that the region has fixed; none without them."""
    return working_days_due(case.pool, case.region_code, CLOCKS[state.within], start)


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> None:
    """A calendar year came in: deadlines that waited for it are known now."""
    for row in Review.objects.filter(due_unknown=year, closed_at=None).order_by("pk"):
        refresh(case=row, procedure=PROCEDURE, handbook=HANDBOOK, at=at)


def describe(case: Review) -> str:
    """What the tasks of a review are called."""
    name = (
        Institution.objects.filter(pk=case.institution_code).values_list("name", flat=True).first()
    )
    return f"{name or case.institution_code}单据{case.claim_no}费用审核"


def place(case: Review) -> str:
    """The address of a review."""
    return reverse("review", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """The institution hears what concerns it: asked, told, decided; the third person of an objection."""
    case = turn.case
    if state.key not in (*reviews.TOLD, "objected"):
        return
    permission = "reviews.second" if state.key == "objected" else "reviews.object"
    news.tell(
        permission=permission, region_code=case.region_code,
        institution_code=case.institution_code, text=f"{describe(case)}：{turn.step.label}",
        url=place(case), subject=case.subject, at=turn.at,
    )  # fmt: skip


def look(*, case: Review, person_hash: bytes | None, by: str, at: dt.datetime) -> None:
    """Somebody reads the visit and its person: an event of its own."""
    trail.record(
        by=by, at=at, action="review.read", subject=case.subject, region_code=case.region_code,
        institution_code=case.institution_code, person_hash=person_hash,
        detail={"claim": case.claim_id, "claim_no": case.claim_no},
    )  # fmt: skip


HANDBOOK = Handbook(
    guards={
        "adverse": adverse, "favourable": favourable, "over_limit": over_limit,
        "within_limit": within_limit, "of_institution": of_institution,
    },
    checks={
        "decided": decided, "second_person": second_person, "third_person": third_person,
        "in_time": in_time, "time_passed": time_passed,
    },
    effects={
        "first": effect_first, "second": effect_second, "reopen": effect_reopen,
        "supply": effect_supply, "object": effect_object, "rule": effect_rule,
        "execute": effect_execute,
    },
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip
checked(HANDBOOK, [PROCEDURE])
