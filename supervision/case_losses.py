"""What a case says that the fund lost by each claim: a claim counts once, in one case.

A finding or claim whose loss a case carries may stand in a second one with a reason; there it carries no
loss. A case that was not opened or not punished lets go of what it carried.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q

from institutions.access import EVERYTHING, scoped
from supervision.findings import paid_for
from supervision.models import CaseEvidence, Finding, FindingClaim

Kind = CaseEvidence.Kind
LET_GO = ("declined", "dismissed")  #: states of cases that carry no loss


@dataclass(frozen=True)
class Elsewhere:
    """Claims of a piece of evidence whose loss another case carries; `whole`: the very same piece."""

    number: str = ""
    claims: frozenset[int] = frozenset()
    whole: bool = False

    def __bool__(self) -> bool:
        return bool(self.number)


def losses(rows: Iterable[CaseEvidence]) -> dict[int, int]:
    """Claim → what pieces of evidence say that the fund lost by it, the most that one of them says."""
    found: dict[int, int] = {}
    for row in rows:
        for claim, amount in _said(row).items():
            found[claim] = max(found.get(claim, 0), amount)
    return found


def claims_of(rows: Iterable[CaseEvidence]) -> set[int]:
    """Every claim that pieces of evidence name, also those whose loss another case carries."""
    return {claim for row in rows for claim in _named(row)}


def _named(row: CaseEvidence) -> dict[int, int]:
    if row.claim_id:
        return {row.claim_id: int(row.content.get("loss", row.loss))}
    if row.kind != Kind.FINDING:
        return {}
    paid = row.content.get("paid") or paid_of(row.content)
    return {int(claim): amount for claim, amount in paid.items()}


def _said(row: CaseEvidence) -> dict[int, int]:
    other = row.content.get("elsewhere", ())
    return {claim: amount for claim, amount in _named(row).items() if claim not in other}


def paid_of(said: dict[str, Any]) -> dict[int, int]:
    """Claim → what the funds paid, of a finding; what was seen at submit rests on what was submitted."""
    claims = {claim for claim, _ in said["claims_of"]}
    if said["moment"] == Finding.Moment.WATCH and claims:
        counted = {int(claim): fund for claim, fund in said.get("counted", {}).items()}
        return counted or {max(claims): said["fund"]}
    return paid_for(claims)


def unnamed(rows: Iterable[CaseEvidence]) -> int:
    """What evidence says was lost without naming the claims: a record, a finding that lists fewer."""
    left = 0
    for row in rows:
        if row.claim_id or (row.kind == Kind.FINDING and len(_named(row)) >= row.content["claims"]):
            continue
        left += max(row.loss - sum(_said(row).values()), 0)
    return left


def elsewhere(row: CaseEvidence) -> Elsewhere:
    """What of a piece to be listed another case carries, of whatever office; nobody lists meanwhile."""
    if row.kind not in (Kind.FINDING, Kind.CLAIM):
        return Elsewhere()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('case losses'))")
    claims = _said(row)
    with scoped(EVERYTHING):
        known = FindingClaim.objects.filter(claim_id__in=claims).values_list(
            "finding_id", flat=True
        )
        named = {f"finding:{key}" for key in known.distinct()}
        same = Q(claim_id__in=claims)
        if row.kind == Kind.FINDING:
            named.add(row.reference)
        same |= Q(kind=Kind.FINDING, reference__in=named)
        others = CaseEvidence.objects.filter(same, loss__gt=0).exclude(case=row.case)
        others = others.exclude(case__state__in=LET_GO).select_related("case").order_by("pk")
        found = [
            (other.case.number, frozenset(claims) & frozenset(_said(other)),
             row.kind == Kind.FINDING and other.reference == row.reference)
            for other in others
        ]  # fmt: skip
    found = [one for one in found if one[1] or one[2]]
    return Elsewhere(
        number="、".join(dict.fromkeys(number for number, _, _ in found)),
        claims=frozenset().union(*(shared for _, shared, _ in found)),
        whole=any(whole for _, _, whole in found),
    )
