"""The archive of cases: how long a file is kept, who has it, what is not back in time.

How many years is the region's parameter; without one a file is kept without an end. The years count
from the day of archiving. (温医保办〔2021〕6号 二十七；国务院令第735号 第34条)
"""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from agreements.clocks import parameter_row
from audit import clock
from institutions.calendar import add_years
from institutions.models import Region, User
from supervision.models import ArchiveLoan, SupervisionCase

YEARS = "case_archive_years"


@dataclass(frozen=True)
class Kept:
    """Until when a file is kept; `until` None: nobody fixed an end."""

    until: dt.date | None = None
    years: int = 0
    clause: str = ""
    example: bool = False


def kept(case: SupervisionCase, region: Region) -> Kept:
    """How long the file of an archived case is kept."""
    row = parameter_row(region, YEARS, case.entered_on)
    if row is None or not isinstance(row.value, int):
        return Kept()
    return Kept(add_years(case.entered_on, row.value), row.value, row.clause, row.example)


def files(user: User) -> QuerySet[SupervisionCase]:
    """Archived cases in a person's scope, by archive number."""
    rows = SupervisionCase.objects.visible_to(user).filter(state="archived")
    return rows.order_by("-archive_no", "-pk")


def loans(user: User) -> QuerySet[ArchiveLoan]:
    """The register of borrowing of those files, the newest first."""
    return ArchiveLoan.objects.filter(case__in=files(user)).select_related("case").order_by("-pk")


def out(rows: QuerySet[ArchiveLoan]) -> QuerySet[ArchiveLoan]:
    """Files that somebody has now."""
    return rows.filter(returned_at__isnull=True).exclude(approved_by="")


def loan_of(case: SupervisionCase, username: str) -> int | None:
    """The loan by which somebody has the file of a case now."""
    rows = out(ArchiveLoan.objects.filter(case=case, asked_by=username))
    return rows.values_list("pk", flat=True).first()


def overdue(rows: QuerySet[ArchiveLoan], today: dt.date) -> QuerySet[ArchiveLoan]:
    """Files that should be back."""
    return out(rows).filter(until__lt=today)


def standing(row: ArchiveLoan, today: dt.date) -> tuple[str, str]:
    """Where a loan stands, in words and as a tone."""
    if row.returned_at is not None:
        late = bool(row.approved_by) and clock.local(row.returned_at).date() > row.until
        return ("逾期归还" if late else "已归还" if row.approved_by else "未批准"), "mute"
    if not row.approved_by:
        return "待批准", "wait"
    return ("逾期未还", "bad") if row.until < today else ("借出中", "info")


def search(rows: QuerySet[SupervisionCase], text: str) -> QuerySet[SupervisionCase]:
    """Files whose number, title or subject holds a text."""
    found = Q(archive_no__icontains=text) | Q(number__icontains=text) | Q(title__icontains=text)
    return rows.filter(found | Q(subject_name__icontains=text))
