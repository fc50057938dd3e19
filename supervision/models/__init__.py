"""Findings of the rules, reviews, cases: one module per subject."""

from supervision.models.findings import Finding, FindingClaim, Run

__all__ = ("Finding", "FindingClaim", "Run")
