"""Where fee reviews come from: held settlements, findings, drawn samples, people.

One review of a claim is open at a time, of the version that counts. (温医保办〔2021〕6号 二十四)
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, connection, transaction

from audit import clock
from audit.moves import opened
from institutions.refusals import Refusal, refused
from pricing.rules import REASONS, VOCABULARY
from settlement import payers, reviewed, statement_steps
from settlement.kernel import NO_RULE, REVIEW
from settlement.models import Claim, ClaimLine, EnteredClaim, LineResult, Settlement
from supervision.models import Finding, Review, ReviewLine, SamplingPlan
from supervision.review_steps import HANDBOOK, PROCEDURE
from supervision.reviews import Kind, pool_of

Source = Review.Source
MESSAGES = {rule.code: rule.message for rule in VOCABULARY.values()}
OPENED_AT_ONCE = 1_000
UNREVIEWED = """SELECT s.claim_id FROM settlement_settlement s
WHERE s.held > 0 AND s.version %% 2 = 1 AND s.period >= %(since)s
    AND starts_with(s.region_code, %(area)s)
    AND NOT EXISTS (SELECT FROM settlement_settlement later
        WHERE later.claim_id = s.claim_id AND later.version > s.version)
    AND NOT EXISTS (SELECT FROM supervision_review r WHERE r.claim_id = s.claim_id
        AND (r.claim_version = s.version OR r.closed_at IS NULL))
ORDER BY s.service_date, s.claim_id LIMIT %(most)s"""


@transaction.atomic
def open_review(
    *, settled: Settlement, source: Review.Source, reason: str, severity: int = 1,
    finding: Finding | None = None, plan: SamplingPlan | None = None, lines: Iterable[int] = (),
    by: str, at: dt.datetime,
) -> Review:  # fmt: skip
    """Bring a settled claim before a person. `lines`: those in question; none: all.

    A review of a claim that the agency entered for a person's request is no institution's: it hears and
    sees nothing of it. Raises Refusal: 409 when it does not count, a review of it is open, or nothing of
    it is held or was paid to the institution.
    """
    now = reviewed.standing(settled.claim_id)
    if now is None or now.version != settled.version:
        raise Refusal(409, "CLAIM_CHANGED", ("单据已冲正或重新结算", "another version counts"))
    if Review.objects.filter(claim_id=settled.claim_id, closed_at=None).exists():
        raise Refusal(409, "REVIEW_OPEN", ("该单据已在审核中", "a review of the claim is open"))
    claim = Claim.objects.get(pk=settled.claim_id)
    questioned = _lines_of(settled, set(lines))
    if not questioned:
        detail = ("该单据没有待审或基金已支付给机构的明细", "nothing of the claim is paid or held")
        raise Refusal(409, "NOTHING_TO_REVIEW", detail)
    entered = EnteredClaim.objects.filter(pk=claim.pk).exists()
    code = "" if entered else settled.institution_code
    made = Review(
        procedure="review", state=PROCEDURE.first.key, entered_on=clock.local(at).date(),
        region_code=settled.region_code, institution_code=code,
        opened_at=at, opened_by=by, claim_id=claim.pk, claim_no=claim.claim_no,
        claim_version=settled.version, person_id=settled.person_id,
        service_date=settled.service_date, scheme=settled.scheme, pool=pool_of(settled.region_code),
        source=source, severity=severity, reason=reason.strip()[:400], finding=finding, plan=plan,
        fee=claim.fee, example=settled.example,
        stake=sum(row.fee if row.kind == Kind.HELD else row.fund for row in questioned),
    )  # fmt: skip
    try:
        with transaction.atomic():
            made.save(force_insert=True)
    except IntegrityError as error:
        if "review_one_open" not in str(error):
            raise
        detail = ("该单据已在审核中", "somebody was faster")
        raise Refusal(409, "REVIEW_OPEN", detail) from error
    for row in questioned:
        row.review, row.institution_code = made, code
    ReviewLine.objects.bulk_create(questioned)
    opened(case=made, procedure=PROCEDURE, handbook=HANDBOOK, by=by, at=at, on=made.entered_on,
           note=made.reason)  # fmt: skip
    return made


def _lines_of(settled: Settlement, wanted: set[int]) -> list[ReviewLine]:
    """The lines in question, unsaved: what is held, and what was paid to the institution, whoever paid."""
    recoverable = not statement_steps.paid_to_person(settled.claim_id)
    paid_by_line = payers.paid_by_line(settled) if recoverable else {}
    charged = {row.line_no: row for row in ClaimLine.objects.filter(claim_id=settled.claim_id)}
    found = []
    for row in LineResult.objects.filter(
        claim_id=settled.claim_id, version=settled.version
    ).order_by("line_no"):
        held = row.decision in (REVIEW, NO_RULE)
        paid = sum(paid_by_line.get(row.line_no, {}).values())
        if not (held or (paid and (not wanted or row.line_no in wanted))):
            continue
        found.append(ReviewLine(
            region_code=settled.region_code, line_no=row.line_no, kind=Kind.HELD if held else Kind.PAID,
            item_code=charged[row.line_no].item_code, fee=charged[row.line_no].fee,
            held_for=REASONS[row.reason] if held else "", overcharge=max(row.overcharge, 0),
            fund=0 if held else paid,
        ))  # fmt: skip
    return found


def collect(
    *, since: dt.date, by: str, at: dt.datetime, area: str = "", most: int = OPENED_AT_ONCE
) -> int:
    """Bring held claims that nobody reviews before a person, the oldest first; how many."""
    given: dict[str, Any] = {"since": since, "area": area, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(UNREVIEWED, given)
        ids = [row[0] for row in cursor.fetchall()]
    count = 0
    for claim_id in ids:
        settled = reviewed.standing(claim_id)
        if settled is None or not settled.held:
            continue
        try:
            open_review(settled=settled, source=Source.HELD, reason=_why_held(settled), severity=2,
                        by=by, at=at)  # fmt: skip
        except Refusal:
            continue  # somebody was faster
        count += 1
    return count


def _why_held(settled: Settlement) -> str:
    """Why lines of a settlement wait for a person, each reason once."""
    held = LineResult.objects.filter(
        claim_id=settled.claim_id, version=settled.version, decision__in=(REVIEW, NO_RULE)
    ).order_by("line_no")
    codes = dict.fromkeys(REASONS[number] for number in held.values_list("reason", flat=True))
    return "；".join(MESSAGES.get(code, code) for code in codes) or "结算时转人工审核"


def open_by_hand(
    *, claim: Claim, reason: str, severity: int = 2, by: str, at: dt.datetime
) -> Review:
    """A person asks for a review of a claim, saying why."""
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写发起审核的事由", "a reason is required")
    settled = reviewed.standing(claim.pk)
    if settled is None:
        raise Refusal(409, "CLAIM_CHANGED", ("单据未结算或已冲正", "the claim does not count"))
    return open_review(settled=settled, source=Source.MANUAL, reason=reason, severity=severity,
                       by=by, at=at)  # fmt: skip


@transaction.atomic
def open_from_finding(*, finding: Finding, by: str, at: dt.datetime) -> list[Review]:
    """Bring the claims of a finding before a person, at most OPENED_AT_ONCE; those it brought already
    are passed over, so that the next time brings the next."""
    if finding.state not in (Finding.State.OPEN, Finding.State.CONFIRMED):
        raise Refusal(409, "FINDING_CLOSED", ("疑点已排除或并案", "the finding is closed"))
    lines: dict[int, set[int]] = {}
    under = Review.objects.filter(finding=finding).values("claim_id")
    for row in finding.evidence.exclude(claim_id__in=under):
        lines.setdefault(row.claim_id, set()).update({row.line_no} - {0})
    made: list[Review] = []
    for claim_id, numbers in sorted(lines.items()):
        if len(made) == OPENED_AT_ONCE:
            break
        settled = reviewed.standing(claim_id)
        if settled is None:
            continue
        try:
            made.append(open_review(
                settled=settled, source=Source.FINDING, reason=finding.message, finding=finding,
                severity=finding.severity, lines=numbers, by=by, at=at,
            ))  # fmt: skip
        except Refusal:
            continue  # it is under review, or nothing of it was paid
    if not made:
        detail = ("涉及的单据均已在审核中、已冲正或没有支付", "no claim of it can be reviewed")
        raise Refusal(409, "NOTHING_TO_REVIEW", detail)
    return made
