"""Findings of the rules, reviews, cases: one module per subject."""

from supervision.models.cases import (
    CaseEvidence,
    CaseInspector,
    CasePaper,
    Sanction,
    SupervisionCase,
)
from supervision.models.conduct import ArchiveLoan, ConductFlag, Disclosure
from supervision.models.credit import CreditScore
from supervision.models.findings import Finding, FindingClaim, Run
from supervision.models.inspections import (
    InspectionInspector,
    InspectionPaper,
    InspectionPlan,
    InspectionTask,
)
from supervision.models.interviews import Interview
from supervision.models.monthly import MonthlyReport, MonthlyVersion
from supervision.models.reports import ReportOrder, ReportPart, Sample, SampledClaim
from supervision.models.reviews import Review, ReviewLine, ReviewReply, SamplingPlan
from supervision.models.subjects import Complaint, PointEntry, PointRepair, Restriction

__all__ = (
    "ArchiveLoan",
    "CaseEvidence",
    "CaseInspector",
    "CasePaper",
    "Complaint",
    "ConductFlag",
    "CreditScore",
    "Disclosure",
    "Finding",
    "FindingClaim",
    "InspectionInspector",
    "InspectionPaper",
    "InspectionPlan",
    "InspectionTask",
    "Interview",
    "MonthlyReport",
    "MonthlyVersion",
    "PointEntry",
    "PointRepair",
    "ReportOrder",
    "ReportPart",
    "Restriction",
    "Review",
    "ReviewLine",
    "ReviewReply",
    "Run",
    "Sample",
    "SampledClaim",
    "SamplingPlan",
    "Sanction",
    "SupervisionCase",
)  # fmt: skip
