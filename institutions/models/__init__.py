"""Places, people, parties and what they file: every model of the register, by subject."""

from institutions.models.dated import (
    DatedQuerySet,
    DateRange,
    FactsQuerySet,
    Suspension,
    no_overlap,
)
from institutions.models.filings import Change, CodeMapping, CodeMappingQuerySet, Import
from institutions.models.messages import Dispatch, Notification, Webhook
from institutions.models.parties import (
    PERSONAL,
    BankAccount,
    Contact,
    DepartmentSuspension,
    Document,
    DocumentQuerySet,
    Institution,
    InstitutionFacts,
    InstitutionQuerySet,
    PaymentFreeze,
    PlatformConnection,
    Qualification,
)
from institutions.models.people import ApiClient, Delegation, Scope, User
from institutions.models.places import CalendarDay, Office, Region, area_prefix
from institutions.models.practitioners import (
    Physician,
    PhysicianAgreement,
    PhysicianQuerySet,
    PhysicianTitle,
    Post,
    ServiceSuspension,
    TitleQuerySet,
)

__all__ = [
    "PERSONAL",
    "ApiClient",
    "BankAccount",
    "CalendarDay",
    "Change",
    "CodeMapping",
    "CodeMappingQuerySet",
    "Contact",
    "DateRange",
    "DatedQuerySet",
    "Delegation",
    "DepartmentSuspension",
    "Dispatch",
    "Document",
    "DocumentQuerySet",
    "FactsQuerySet",
    "Import",
    "Institution",
    "InstitutionFacts",
    "InstitutionQuerySet",
    "Notification",
    "Office",
    "PaymentFreeze",
    "Physician",
    "PhysicianAgreement",
    "PhysicianQuerySet",
    "PhysicianTitle",
    "PlatformConnection",
    "Post",
    "Qualification",
    "Region",
    "Scope",
    "ServiceSuspension",
    "Suspension",
    "TitleQuerySet",
    "User",
    "Webhook",
    "area_prefix",
    "no_overlap",
]
