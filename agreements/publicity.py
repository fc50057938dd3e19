"""Public notices before signing (公示) as everybody may read them: who, for what, until when, whom to tell.

A table says by `publicity` which clock such a notice runs by; nothing of the application itself, of
its papers or of objections is disclosed. (温医保办〔2021〕6号 十九)
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from agreements import clocks, papers
from agreements.handbook import tables
from agreements.models import Application
from audit.procedure import PROCEDURES
from institutions.models import InstitutionFacts, Office


@dataclass(frozen=True)
class Announcement:
    """One public notice that stands; `until` None with the calendar year that its end waits for."""

    name: str
    area: str
    place: str
    subject: str
    since: dt.date
    until: dt.date | None
    missing_year: int | None
    example: bool
    office: str
    phone: str
    address: str
    document: str
    clause: str

    @property
    def data(self) -> dict:
        """What is disclosed, as plain data; `period_is_example`: by an example parameter (示例)."""
        return {
            "institution": self.name, "area": self.area, "place": self.place,
            "subject": self.subject, "from": self.since.isoformat(),
            "until": self.until.isoformat() if self.until else None,
            "missing_calendar_year": self.missing_year, "period_is_example": self.example,
            "objections_to": {
                "office": self.office, "phone": self.phone, "address": self.address,
            },
            "basis": f"{self.document} {self.clause}",
        }  # fmt: skip


def announcements(on: dt.date) -> list[Announcement]:
    """The public notices that stand on a day, by area; a period that is over is not listed."""
    rows = list(
        Application.objects.running()
        .filter(_announced(), entered_on__lte=on)
        .filter(Q(due__isnull=True) | Q(due__gte=on))
        .select_related("institution__region__parent__parent")
        .order_by("region_code", "due", "pk")
    )
    names = _names(rows, on)
    offices = {
        row.region_code: papers.office_of(row.institution, Office.Kind.AGENCY)
        for row in {row.region_code: row for row in rows}.values()
    }
    return [
        _announcement(row, names.get(row.institution_id, ""), offices[row.region_code])
        for row in rows
    ]


def _announced() -> Q:
    """Applications in a state of their table whose clock is the public notice."""
    found = Q(pk__in=())
    for table in tables():
        key = table.data.get("publicity")
        states = [state.key for state in table.states.values() if key and state.within == key]
        found |= Q(procedure=table.slug, state__in=states)
    return found


def _names(rows: Iterable[Application], on: dt.date) -> dict[str, str]:
    """Code → name in force on the day, where one is recorded."""
    codes = {row.institution_id for row in rows}
    facts = InstitutionFacts.objects.known().in_force(on=on).filter(institution__in=codes)
    return {row.institution_id: row.name for row in facts}


def _announcement(row: Application, name: str, office: Office) -> Announcement:
    table = PROCEDURES[row.procedure]
    subject = table.title.removesuffix("申请")
    together = "（同时签订定点协议）" if row.includes_main else ""
    rule = table.data.get("clocks", {}).get(table.data["publicity"], {})
    region = row.institution.region
    parameter = None
    if "parameter" in rule:
        parameter = clocks.parameter_row(region, rule["parameter"], row.entered_on)
    return Announcement(
        name=name or row.institution.name, area=region.code, place=region.name,
        subject=f"{subject}{together}", since=row.entered_on, until=row.due,
        missing_year=row.due_unknown, example=bool(parameter and parameter.example),
        office=office.name, phone=office.phone, address=office.address,
        document=table.document, clause=table.states[row.state].clause,
    )  # fmt: skip
