"""The vouchers of a special adjustment: payee against 特殊调整, here or in the region that paid the claim.

What is adjusted of a claim of somebody insured elsewhere is that region's money: both books are posted, as
with deductions. (docs/decisions/offsite.md)
"""

import datetime as dt
from typing import Any

from institutions.access import EVERYTHING, scoped
from settlement import regional_transfers
from settlement.models import Adjustment, Leg, Settlement, Voucher
from settlement.vouchers import post_voucher, reverse_voucher

Account = Leg.Account


def insured_pool(found: Adjustment) -> str:
    """The other region that paid the adjusted claim; empty where none did."""
    rows = Settlement.objects.filter(claim_id=found.claim_id or 0, version=1)
    return rows.values_list("insured_pool", flat=True).first() or ""


def post(found: Adjustment, *, approved_by: str, at: dt.datetime) -> Voucher:
    """Post an approved adjustment; its voucher in the region that pays or takes the money."""
    payee = Account.PERSON_PAYABLE if found.of_person else Account.INSTITUTION_PAYABLE
    given: dict[str, Any] = {
        "kind": Voucher.Kind.ADJUSTMENT, "effect": found.bound_to, "subject": found.bound_to,
        "scheme": found.scheme, "reason": found.reason, "clause": found.clause,
        "by": found.proposed_by, "approved_by": approved_by, "at": at,
        "detail": {"class": found.reason_class, "of": found.subject, "claim": found.claim_id},
    }  # fmt: skip
    if pool := insured_pool(found):
        return regional_transfers.post_pair(
            region_code=found.region_code, institution_code=found.institution_code, other=pool,
            payee=payee, source=Account.ADJUSTMENT, amount=-found.amount, **given,
        )  # fmt: skip
    return post_voucher(
        legs={Account.ADJUSTMENT: found.amount, payee: -found.amount},
        region_code=found.region_code, institution_code=found.institution_code, **given,
    )  # fmt: skip


def undo(found: Adjustment, *, approved_by: str, at: dt.datetime) -> None:
    """Reverse every voucher of a posted adjustment, in the open month of its region."""
    with scoped(EVERYTHING):
        rows = Voucher.objects.filter(
            subject=found.bound_to, kind=Voucher.Kind.ADJUSTMENT, reverses__isnull=True
        )
        for voucher in rows.order_by("pk"):
            reverse_voucher(
                voucher=voucher, reason=found.reversal_reason, by=found.reversal_asked_by,
                approved_by=approved_by, at=at,
            )  # fmt: skip
