"""Insured persons, claims, their settlements, the ledger, periods: one module per subject."""

from settlement.models.batches import Batch, Chunk
from settlement.models.claims import (
    Claim,
    ClaimKey,
    ClaimLine,
    Evidence,
    IdempotencyKey,
    Leg,
    LineResult,
    Settlement,
)
from settlement.models.periods import Period, Voucher
from settlement.models.persons import (
    Accumulator,
    ChronicDisease,
    Entitlement,
    InsuredPerson,
    OfflineVisit,
    Scheme,
)

__all__ = (
    "Accumulator",
    "Batch",
    "ChronicDisease",
    "Chunk",
    "Claim",
    "ClaimKey",
    "ClaimLine",
    "Entitlement",
    "Evidence",
    "IdempotencyKey",
    "InsuredPerson",
    "Leg",
    "LineResult",
    "OfflineVisit",
    "Period",
    "Scheme",
    "Settlement",
    "Voucher",
)
