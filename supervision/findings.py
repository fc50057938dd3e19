"""Acts on findings: confirm, refute, merge, hand over, record one that a person noticed.

A finding of the rules is decided by one person; what a person noticed is decided by another.
(温医保办〔2021〕6号 二十四：智能审核与人工重点审核相结合，查实违规不予支付)
"""

import datetime as dt
import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.urls import reverse

from audit import trail
from institutions import news
from institutions.models import User
from institutions.refusals import Refusal, refused
from settlement.models import Claim, Settlement
from supervision.models import Finding, FindingClaim

CLAUSE = "二十四"
DECIDE = "findings.decide"
State = Finding.State


def _locked(finding: Finding) -> Finding:
    found = Finding.objects.select_for_update().get(pk=finding.pk)
    if found.state != State.OPEN:
        raise refused(
            "state", "FINDING_DECIDED", f"疑点已{found.get_state_display()}，不能再次认定",
            "it is decided", status=409,
        )  # fmt: skip
    return found


def finder_of(finding: Finding) -> str:
    """The person who noticed it, on a claim or (kept in its figures) on the spot; empty for a rule."""
    return str(finding.parameters.get("by") or finding.figures.get("by", ""))


def _decided(
    finding: Finding, state: str, action: str, *, reason: str, by: str, at: dt.datetime, **more: Any
) -> Finding:
    found = _locked(finding)
    if finder_of(found) == by:
        raise refused(
            "state", "SAME_PERSON", "人工发现的疑点须由另一人认定", "another person decides",
            status=403, clause=CLAUSE,
        )  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请写明认定理由", "a reason is needed")
    found.state, found.reason = state, reason.strip()[:400]
    found.decided_at, found.decided_by = at, by
    for name, value in more.items():
        setattr(found, name, value)
    found.save()
    event(found, action, {"reason": found.reason, "rule": found.rule}, by=by, at=at)
    return found


def event(found: Finding, action: str, detail: dict, *, by: str, at: dt.datetime) -> None:
    """An act on a finding, in the trail."""
    trail.record(
        by=by, at=at, action=f"finding.{action}", subject=f"finding:{found.pk}",
        region_code=found.region_code, institution_code=found.institution_code, detail=detail,
    )  # fmt: skip


@transaction.atomic
def confirm(*, finding: Finding, reason: str, by: str, at: dt.datetime) -> Finding:
    """The suspicion is true. What follows (review, case, deduction) is decided elsewhere."""
    return _decided(finding, State.CONFIRMED, "confirm", reason=reason, by=by, at=at)


@transaction.atomic
def tell(*, finding: Finding, by: str, at: dt.datetime) -> Finding:
    """告知: from now on the institution sees the confirmed finding, and is told that it is there."""
    found = Finding.objects.select_for_update().get(pk=finding.pk)
    if found.state != State.CONFIRMED or found.told_at is not None:
        raise refused("state", "NOT_TO_BE_TOLD", "只能告知一次已查实的疑点", "confirmed, and told once",
                      status=409)  # fmt: skip
    _tell(found, by, at)
    news.tell(
        permission="cases.answer", region_code=found.region_code,
        institution_code=found.institution_code, text=f"疑点查实告知：{found.message}",
        url=reverse("finding", args=[found.pk]), subject=f"finding:{found.pk}", at=at,
    )  # fmt: skip
    return found


def tell_with(references: Iterable[str], *, place: str, by: str, at: dt.datetime) -> None:
    """The confirmed findings (`finding:1`) of a notice are told with it, which says more than they.

    A finding of another institution than `place`, in which that has a share, is not told to the other.
    """
    keys = [int(reference.partition(":")[2]) for reference in references]
    rows = Finding.objects.filter(
        pk__in=keys, institution_code=place, state=State.CONFIRMED, told_at__isnull=True
    )
    for row in rows.select_for_update().order_by("pk"):
        _tell(row, by, at)


def _tell(found: Finding, by: str, at: dt.datetime) -> None:
    found.told_at, found.told_by = at, by
    found.save(update_fields=["told_at", "told_by"])
    event(found, "tell", {"rule": found.rule}, by=by, at=at)


@transaction.atomic
def refute(*, finding: Finding, reason: str, by: str, at: dt.datetime) -> Finding:
    """The suspicion is not true; the rule's precision counts it."""
    return _decided(finding, State.REFUTED, "refute", reason=reason, by=by, at=at)


@transaction.atomic
def merge(*, finding: Finding, into: Finding, by: str, at: dt.datetime) -> Finding:
    """The same matter as another finding of the same institution, which goes on with the claims of both."""
    target = Finding.objects.select_for_update().get(pk=into.pk)
    if target.pk == finding.pk or target.state not in (State.OPEN, State.CONFIRMED):
        raise refused("into", "MERGE_TARGET", "请选择另一条待核查或已查实的疑点", "another finding")
    if target.told_at is not None:
        raise refused(
            "into", "MERGE_TOLD", "该疑点已告知机构，不能再并入", "it was told", status=409
        )
    if target.institution_code != finding.institution_code:
        raise refused("into", "MERGE_ELSEWHERE", "只能并入同一机构的疑点", "the same institution")
    merged = _decided(
        finding, State.MERGED, "merge", reason=f"并入疑点 {target.pk}", by=by, at=at,
        merged_into=target,
    )  # fmt: skip
    _carry_over(merged, target)
    return merged


def _carry_over(merged: Finding, target: Finding) -> None:
    """The records that only the merged finding had, and what their claims add to the other's sums."""
    known = set(target.evidence.values_list("claim_id", "line_no"))
    claims = {claim for claim, _ in known}
    more = [row for row in merged.evidence.all() if (row.claim_id, row.line_no) not in known]
    FindingClaim.objects.bulk_create(
        FindingClaim(
            finding=target, claim_id=row.claim_id, line_no=row.line_no, note=row.note,
            fee=row.fee, fund=row.fund,
            region_code=row.region_code, institution_code=row.institution_code,
        ) for row in more
    )  # fmt: skip
    places = {row.claim_id: row.institution_code for row in more if row.claim_id not in claims}
    fees = dict(Claim.objects.filter(pk__in=places).values_list("pk", "fee"))
    funds = paid_for(places)
    shares: dict[str, list[int]] = {
        code: list(target.share_of(code))
        for code in {
            target.institution_code,
            *target.parameters.get("shares", ()),
            *places.values(),
        }
    }
    for claim, code in places.items():
        added = (1, fees.get(claim, 0), funds.get(claim, 0))
        shares[code] = [before + more for before, more in zip(shares[code], added, strict=True)]
        target.claims, target.fee, target.fund = (
            before + more
            for before, more in zip((target.claims, target.fee, target.fund), added, strict=True)
        )
    if len(shares) > 1:
        target.parameters = target.parameters | {"shares": shares}
    target.first_day = min(target.first_day, merged.first_day)
    target.last_day = max(target.last_day, merged.last_day)
    target.save()


def paid_for(claims: Iterable[int]) -> dict[int, int]:
    """Claim → what the funds have paid for it: the sum of its versions, reversals included."""
    rows = Settlement.objects.filter(claim_id__in=list(claims)).order_by().values_list("claim_id")
    return dict(rows.annotate(paid=Sum(F("fund") + F("major") + F("assistance"))))


@transaction.atomic
def hand_over(*, finding: Finding, to: User, by: str, at: dt.datetime) -> Finding:
    """Give an open finding to a person who may decide it and sees it."""
    found = _locked(finding)
    if not to.may(DECIDE) or not Finding.objects.visible_to(to).filter(pk=found.pk).exists():
        raise refused("to", "MAY_NOT_DECIDE", "该人员无权认定此疑点", "that person may not decide")
    found.assignee = to.username
    found.save(update_fields=["assignee"])
    event(found, "assign", {"to": to.username}, by=by, at=at)
    return found


@transaction.atomic
def record(
    *, claim: Claim, behaviour: str, severity: int, message: str, clause: str, by: str,
    at: dt.datetime,
) -> Finding:  # fmt: skip
    """What a person noticed on a claim; another person decides it."""
    if len(message.strip()) < 5:
        raise Refusal(422, "MESSAGE_SHORT", ("请写明发现的情况", "say what was noticed"))
    fund = sum(Settlement.objects.filter(claim_id=claim.pk).values_list("fund", flat=True))
    made = Finding.objects.create(
        region_code=claim.region_code, institution_code=claim.institution_code, rule="manual",
        behaviour=behaviour, severity=severity, clause=clause[:160],
        message=message.strip()[:400], moment=Finding.Moment.MANUAL,
        subject_kind=Finding.Subject.CLAIM, subject_code=str(claim.pk), person_id=claim.person_id,
        physician_code=str(claim.document.get("physician", {}).get("code", ""))[:20],
        first_day=claim.service_date, last_day=claim.service_date, claims=1, fee=claim.fee,
        fund=fund, figures={}, parameters={"by": by}, found_at=at,
        key=hashlib.new("sm3", f"manual|{uuid.uuid4()}".encode()).digest(),
    )  # fmt: skip
    FindingClaim.objects.create(
        finding=made, claim_id=claim.pk, line_no=0, region_code=claim.region_code,
        institution_code=claim.institution_code,
    )  # fmt: skip
    event(made, "record", {"claim": claim.pk, "behaviour": behaviour}, by=by, at=at)
    return made


def precision(rows: Any) -> list[dict[str, Any]]:
    """Per rule: findings by state, and the share of decided ones that were true (per ten thousand)."""
    counted = (
        rows.exclude(moment=Finding.Moment.MANUAL).values("rule").order_by("rule").annotate(
            total=Count("pk"), confirmed=Count("pk", filter=Q(state=State.CONFIRMED)),
            refuted=Count("pk", filter=Q(state=State.REFUTED)),
            open=Count("pk", filter=Q(state=State.OPEN)),
            merged=Count("pk", filter=Q(state=State.MERGED)),
        )
    )  # fmt: skip
    found = []
    for row in counted:
        found.append(row | {"precision": precision_of(row["confirmed"], row["refuted"])})
    return found


def precision_of(confirmed: int, refuted: int) -> int | None:
    """The share of decided findings that were true (per ten thousand); None where none is decided."""
    decided = confirmed + refuted
    return (confirmed * 20_000 + decided) // (2 * decided) if decided else None
