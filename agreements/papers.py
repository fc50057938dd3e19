"""What the papers of the procedure share: who issues them, to whom, under which number, how they are kept."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Protocol

from audit import clock, pdf, tasks
from audit.procedure import PROCEDURES
from institutions import documents
from institutions.models import Document, Institution, InstitutionFacts, Office

KIND = Office.Kind
NAMES = {KIND.AGENCY: "医疗保险服务经办机构", KIND.INFORMATION: "医疗保障信息部门"}


class Cause(Protocol):
    """What a paper belongs to: an application, the renewal of an agreement."""

    @property
    def subject(self) -> str: ...

    @property
    def region_code(self) -> str: ...

    @property
    def institution(self) -> Institution: ...


def number_of(procedure: str, what: str, *, on: dt.date) -> str:
    """The next number of a kind of paper in a year, as the procedure's table writes it."""
    pattern: str = PROCEDURES[procedure].data["numbers"][what]
    number = tasks.next_number(f"{procedure}:{what}:{on.year}")
    return pattern.format(year=on.year, number=number)


def office_of(institution: Institution, kind: str) -> Office:
    """The office with jurisdiction: of the institution's area, else of the nearest area above it."""
    region = institution.region
    while True:
        found = Office.objects.filter(region=region, kind=kind).first()
        if found is not None:
            return found
        if region.parent is None:
            name = f"{institution.region.name}{NAMES[KIND(kind)]}"
            return Office(region=institution.region, kind=kind, name=name)
        region = region.parent


def facts_of(institution: Institution, *, on: dt.date) -> InstitutionFacts | None:
    """What is known to be true of an institution on a day."""
    return institution.facts.known().in_force(on=on).first()


def agency_party(office: Office) -> dict[str, str]:
    """The agency as agreements name it."""
    return {
        "name": office.name, "code": office.region_id, "address": office.address,
        "phone": office.phone,
    }  # fmt: skip


def institution_party(institution: Institution, *, on: dt.date) -> dict[str, str]:
    """The institution as agreements name it."""
    facts = facts_of(institution, on=on)
    return {
        "name": institution.name, "internet_name": facts.internet_hospital_name if facts else "",
        "code": institution.code, "credit_code": institution.credit_code,
        "address": facts.address if facts else "",
        "representative": facts.representative if facts else "",
    }  # fmt: skip


def written(day: dt.date) -> str:
    """A day as official papers write it."""
    return f"{day.year}年{day.month}月{day.day}日"


def keep(
    *, application: Cause, template: str, kind: str, number: str, context: Mapping[str, Any],
    data: Mapping[str, Any], shared: bool, by: str, at: dt.datetime,
) -> Document:  # fmt: skip
    """Render a paper and store it with the data behind it; `shared`: the institution may open it."""
    content = pdf.render(
        template, {**context, "number": number}, identifier=pdf.identifier_of(kind, number), at=at,
        attachments=[pdf.json_attachment(f"{kind}.json", data, f"{number} 的数据")],
    )  # fmt: skip
    return documents.store(
        content=content, name=f"{number}.pdf", kind=kind, by=by, at=at,
        subject=application.subject, region_code=application.region_code,
        institution=application.institution if shared else None,
    )  # fmt: skip


def today_of(at: dt.datetime) -> dt.date:
    """The day of a moment in Shanghai."""
    return clock.local(at).date()
