"""追回: what can still be taken back of a case's loss, claim by claim, and why the rest cannot.

An institution's part of a claim is cut by a deduction, whoever paid it (`settlement.payers`), never beyond
what the ledger still holds of it; what was paid to a person, and what the evidence says without naming
claims, is an adjustment by two persons. What was reversed or cut before is back already: it is shown with the
reason, not taken again.
(国务院令第735号 第38、40、41、45条；温医保办〔2021〕6号 二十四)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.text import yuan
from institutions.models import Region, User
from settlement import adjustments, statement_steps
from settlement.models import Adjustment, Claim, Deduction, InsuredPerson, Settlement
from supervision import case_losses, case_papers
from supervision.models import Sanction, SupervisionCase

Effects = list[dict[str, Any]]
#: behaviours of findings → the reason of a deduction
REASONS = {
    "fictitious_service": Deduction.Reason.FICTITIOUS, "split_service": Deduction.Reason.SPLIT,
    "forced_service": Deduction.Reason.FORCED, "inflated_price": Deduction.Reason.INFLATED,
    "substituted_item": Deduction.Reason.SUBSTITUTED,
    "duplicate_charge": Deduction.Reason.DUPLICATE,
}  # fmt: skip
NOTHING = "证据所列的单据没有可追回的余额"
REVERSED, CUT = "单据已冲正，基金已收回", "此前已扣款或追回，没有可扣的余额"


@dataclass(frozen=True)
class Part:
    """A claim of the loss (fen): what a deduction can take, what an adjustment, why the rest is beyond."""

    claim: int
    number: str
    title: str
    lost: int
    cut: int
    asked: int
    why: str


def parts_of(case: SupervisionCase) -> list[Part]:
    """The claims of the loss as the ledger stands now."""
    rows = list(case.evidence.all())
    lost = case_losses.losses(rows)
    titles: dict[int, str] = {}
    for row in rows:
        for claim in case_losses.losses([row]):
            titles.setdefault(claim, row.title)
    numbers = dict(Claim.objects.filter(pk__in=lost).values_list("pk", "claim_no"))
    newest = {row.claim_id: row for row in
              Settlement.objects.filter(claim_id__in=lost).order_by("version")}  # fmt: skip
    return [
        _part(case, newest[claim], numbers[claim], titles[claim], amount)
        for claim, amount in lost.items() if amount > 0 and claim in newest
    ]  # fmt: skip


def _part(case: SupervisionCase, settled: Settlement, number: str, title: str, lost: int) -> Part:
    held = min(lost, statement_steps.uncut(settled))
    personal = bool(case.person_id) or statement_steps.paid_to_person(settled.claim_id)
    cut, asked = (0, held) if personal else (held, 0)
    why = REVERSED if settled.version % 2 == 0 else CUT
    return Part(settled.claim_id, number, title, lost, cut, asked, why)


def recover(row: Sanction, on: dt.date, who: User, at: dt.datetime) -> Effects:
    """Take back what is still there, up to the ordered amount; what was not possible is said so."""
    case, left, made = row.case, row.amount or 0, Effects()
    parts = parts_of(case)
    for part in parts:
        if amount := min(part.cut, left):
            cut = statement_steps.deduct(
                claim_id=part.claim, amount=amount, note=f"{case.number}：{part.title}",
                reason=REASONS.get(case.behaviour, Deduction.Reason.OTHER),
                clause=row.clause[:120], by=who.username, at=at,
            )  # fmt: skip
            made.append({"deduction": cut.pk, "claim": part.number, "amount": amount})
            left -= amount
    asked = sum(part.asked for part in parts) + case_losses.unnamed(case.evidence.all())
    if amount := min(max(asked - _asked_before(row), 0), left):
        made.append(_adjusted(row, amount, who, at))
        left -= amount
    return made + _beyond(parts, left)


def _beyond(parts: list[Part], left: int) -> Effects:
    """What of an ordered amount the ledger does not hold any more, claim by claim."""
    made = Effects()
    for part in parts:
        if amount := min(part.lost - part.cut - part.asked, left):
            made.append({"unrecovered": amount, "claim": part.number, "why": part.why})
            left -= amount
    if left:
        made.append({"unrecovered": left, "why": NOTHING})
    return made


def adjustments_of(row: Sanction) -> list[str]:
    """The numbers of the adjustments by which a measure takes back."""
    return [made["adjustment"] for made in row.effects if "adjustment" in made]


def denied(row: Sanction) -> bool:
    """Whether an adjustment of a measure was not approved."""
    no = (Adjustment.State.REFUSED, Adjustment.State.WITHDRAWN)
    return Adjustment.objects.filter(number__in=adjustments_of(row), state__in=no).exists()


def _asked_before(row: Sanction) -> int:
    """What other measures of the case took by adjustments that were not refused."""
    others = row.case.sanctions.filter(kind=row.kind).exclude(pk=row.pk)
    return sum(
        made["amount"] for other in others if not denied(other)
        for made in other.effects if "adjustment" in made
    )  # fmt: skip


def _adjusted(row: Sanction, amount: int, who: User, at: dt.datetime) -> dict[str, Any]:
    case = row.case
    paper = case.papers.filter(kind__in=("decision", "transfer")).latest("pk")
    person = InsuredPerson.objects.filter(pk=case.person_id).first() if case.person_id else None
    wanted = adjustments.Wanted(
        reason_class="ruling" if person else "recovery", reason=f"{case.number} {paper.number}",
        subject="person" if person else "institution", amount=-amount, scheme=row.scheme,
        institution_code=case.institution_code, person=person,
    )  # fmt: skip
    made = adjustments.propose(
        region=Region.objects.get(pk=case.region_code), wanted=wanted,
        file=(f"{paper.number}.pdf", case_papers.pdf_of(paper)), by=who.username, at=at,
    )  # fmt: skip
    return {"adjustment": made.number, "amount": amount}


def told(made: Mapping[str, Any]) -> str:
    """An effect in words; empty where it is no recovery."""
    if "deduction" in made:
        return f"扣款 {made['claim']}"
    if "adjustment" in made:
        return f"特殊调整 {made['adjustment']}"
    if "unrecovered" in made:
        of = f"（{made['claim']}）" if "claim" in made else ""
        return f"不能追回 {yuan(made['unrecovered'])}元{of}：{made['why']}"
    return ""
