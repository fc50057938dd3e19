"""Whose hands are on a case or an inspection: who stands back, and what people are called on papers.

Papers name people: an inspector of a case with the certificate, anybody else with the own office.
"""

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.module_loading import import_string

from audit.procedure import PROCEDURES
from institutions.models import Office, Region, User
from institutions.naming import shown_names
from institutions.refusals import Refusal
from supervision.models import CaseInspector, SupervisionCase

#: side of a role → the office whose staff it is
OFFICES = {"医保行政": Office.Kind.BUREAU, "医保经办": Office.Kind.AGENCY}
#: an office that is not in the register, by its area
UNNAMED = {Office.Kind.BUREAU: "{}医疗保障局", Office.Kind.AGENCY: "{}医疗保险服务经办机构"}


def active(case: SupervisionCase) -> QuerySet[CaseInspector]:
    """Who inquires now: not recused."""
    return case.inspectors.filter(Q(recused=None) | Q(recused=False))


def hands_of(case: SupervisionCase) -> set[str]:
    """Who inquires, inquired or proposed a measure: none of them decides."""
    proposers = case.sanctions.values_list("proposed_by", flat=True)
    return {case.handled_by, *case.inspectors.values_list("username", flat=True), *proposers}


def refuse_recused(case: SupervisionCase, by: str) -> None:
    """Whoever stood back does nothing more in the case."""
    if case.stood_back(by):
        raise Refusal(
            403,
            "RECUSED",
            ("您在本案中已回避或已提出回避，不能再办理本案", "you stood back from it"),
        )


def office_name(region_code: str, kind: Office.Kind) -> str:
    """The bureau or the agency of an area, as papers name it."""
    found = Office.objects.filter(region=region_code, kind=kind).first()
    if found is not None:
        return found.name
    return UNNAMED[kind].format(Region.objects.get(pk=region_code).name)


def person(username: str) -> str:
    """Somebody by name, with the office or the institution."""
    row = User.objects.filter(username=username).select_related("institution").first()
    if row is None:
        return shown_names([username])[username]
    where = row.institution.name if row.institution else _office_of(row)
    return f"{row}（{where}）" if where else str(row)


def covers(user: User, region_code: str) -> bool:
    """Whether somebody is of an office whose area holds a place."""
    return any(region_code.startswith(prefix) for prefix in user.scope_codes().regions)


def of_agency(username: str) -> bool:
    """Whether an account is of an agency's staff."""
    row = User.objects.filter(username=username).first()
    role = import_string(settings.ROLE_TABLE).get(row.role) if row else None
    return bool(role and OFFICES.get(role.side) == Office.Kind.AGENCY)


def handle_of(case: SupervisionCase) -> str:
    """The permission to inquire into a case: the bureau's or the agency's."""
    return PROCEDURES[case.procedure].data["handle"]


def head_of(case: SupervisionCase) -> str:
    """The permission of whoever heads a case: approves, recuses, lends."""
    return PROCEDURES[case.procedure].data["head"]


def staff_of(username: str, region_code: str) -> bool:
    """Whether an account is of the bureau or the agency in charge of a place: nobody of a party."""
    row = User.objects.filter(username=username, is_active=True).first()
    role = import_string(settings.ROLE_TABLE).get(row.role) if row else None
    return bool(row and role and role.side in OFFICES and covers(row, region_code))


def _office_of(row: User) -> str:
    role = import_string(settings.ROLE_TABLE).get(row.role)
    kind = OFFICES.get(role.side) if role else None
    return office_name(row.region_id, kind) if kind and row.region_id else ""


def signed(case: SupervisionCase, username: str) -> str:
    """Somebody of a case: an inspector with the certificate, others with their office."""
    row = case.inspectors.filter(username=username).first()
    if row is None or not row.certificate:
        return person(username)
    return f"{shown_names([username])[username]}（执法证号 {row.certificate}）"
