"""What ends soon: qualifications, protection reports, licences, agreements, mappings, freezes.

How early a warning comes is our own promise of service (`settings.REGISTRY_WARN_DAYS`), not law.
(等级保护材料: 通医保发〔2020〕25号 三（四）)
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse

from audit import tasks, trail
from audit.models import Task
from audit.procedure import Refused
from institutions.commands.cases import take_step
from institutions.commands.records import MLPS
from institutions.law import law_for
from institutions.models import (
    CodeMapping,
    Institution,
    InstitutionQuerySet,
    PaymentFreeze,
    Physician,
    PhysicianAgreement,
    Qualification,
)

PROCEDURE = "expiry"
HOLDERS = ("registry.file", "registry.maintain")  #: the institution and the agency


@dataclass(frozen=True)
class Expiry:
    """Something of an institution that ends: `subject` is what its tasks are called by."""

    subject: str
    kind: str
    label: str
    until: dt.date
    institution: Institution
    tab: str
    clause: str = ""

    def url(self) -> str:
        """The part of the institution's file where it is renewed."""
        return f"{reverse('institution', args=[self.institution.code])}?tab={self.tab}"

    def days_left(self, on: dt.date) -> int:
        return (self.until - on).days


def ending(
    *, on: dt.date, days: int, institutions: InstitutionQuerySet | None = None
) -> list[Expiry]:
    """What ends within some days of a day or has ended and was not renewed, soonest first."""
    last = on + dt.timedelta(days=days)
    parts = (_qualifications(last, on), _licences(last), _agreements(last), _mappings(last),
             _freezes(on, last))  # fmt: skip
    found: list[Expiry] = []
    for part in parts:
        rows = part.rows.select_related(f"{part.place}__region")
        if institutions is not None:
            rows = rows.filter(**{f"{part.place}__in": institutions})
        found += (part.build(row) for row in rows)
    return sorted(found, key=lambda entry: (entry.until, entry.subject))


class Part(NamedTuple):
    """Rows of one kind, the path to their institution, and how each becomes an expiry."""

    rows: models.QuerySet
    place: str
    build: Callable[[Any], Expiry]


def _qualifications(last: dt.date, on: dt.date) -> Part:
    later = Qualification.objects.known().filter(
        Q(valid_until__isnull=True) | Q(valid_until__gt=OuterRef("valid_until")),
        institution=OuterRef("institution"), kind=OuterRef("kind"),
    )  # fmt: skip
    clauses: dict[str, str] = {}

    def clause_of(row: Qualification) -> str:
        region = row.institution.region.policy_region
        if row.kind in MLPS and region not in clauses:
            clauses[region] = law_for(row.institution, on=on).protection_clause
        return clauses.get(region, "") if row.kind in MLPS else ""

    rows = Qualification.objects.known().filter(~Exists(later), valid_until__lte=last)
    return Part(rows, "institution", lambda row: Expiry(
        f"qualification:{row.pk}", "资质", f"{row.get_kind_display()}（{row.number}）",
        row.valid_until, row.institution, "qualifications", clause_of(row),
    ))  # fmt: skip


def _licences(last: dt.date) -> Part:
    rows = Physician.objects.filter(licence_until__lte=last, left_on__isnull=True)
    return Part(rows, "institution", lambda row: Expiry(
        f"physician:{row.pk}", f"{row.get_kind_display()}执业证书", f"{row.name}（{row.code}）",
        row.licence_until, row.institution, "practitioners",
    ))  # fmt: skip


def _agreements(last: dt.date) -> Part:
    later = PhysicianAgreement.objects.filter(
        Q(valid_until__isnull=True) | Q(valid_until__gt=OuterRef("valid_until")),
        physician=OuterRef("physician"), name=OuterRef("name"),
    )  # fmt: skip
    rows = PhysicianAgreement.objects.filter(
        ~Exists(later), valid_until__lte=last, physician__left_on__isnull=True
    )
    return Part(rows, "physician__institution", lambda row: Expiry(
        f"physicianagreement:{row.pk}", "医师协议", f"{row.physician.name}：{row.name}",
        row.valid_until, row.physician.institution, "practitioners",
    ))  # fmt: skip


def _mappings(last: dt.date) -> Part:
    rows = CodeMapping.objects.filter(state="approved", valid_until__lte=last)
    return Part(rows, "institution", lambda row: Expiry(
        row.subject, "对码", f"{row.local_name}（{row.local_code}）", row.valid_until,
        row.institution, "mappings",
    ))  # fmt: skip


def _freezes(on: dt.date, last: dt.date) -> Part:
    rows = PaymentFreeze.objects.filter(valid_until__gte=on, valid_until__lte=last)
    return Part(rows, "institution", lambda row: Expiry(
        f"paymentfreeze:{row.pk}", "暂停拨付", row.reason, row.valid_until, row.institution,
        "account",
    ))  # fmt: skip


@transaction.atomic
def watch(*, on: dt.date, days: int, by: str, at: dt.datetime) -> dict[str, int]:
    """Open a task at institution and agency for what ends; close those of what was renewed.

    Mappings whose last day has passed expire by their own table.
    """
    expired = _expire_mappings(on, by, at)
    found = ending(on=on, days=days)
    waiting = Task.objects.filter(procedure=PROCEDURE, state=Task.State.OPEN)
    open_ones = set(waiting.values_list("subject", "permission", "due"))
    made = sum(_tell(entry, open_ones, at) for entry in found)
    over = waiting.exclude(subject__in=[entry.subject for entry in found])
    closed = over.update(state=Task.State.DONE, closed_at=at, closed_by=by)
    result = {"found": len(found), "opened": made, "closed": closed, "expired": expired}
    if made or closed or expired:
        trail.record(by=by, at=at, action="registry.watch", subject="registry:expiries",
                     detail={"on": on, "days": days} | result)  # fmt: skip
    return result


def _tell(entry: Expiry, open_ones: Iterable[tuple], at: dt.datetime) -> int:
    made = 0
    for permission in HOLDERS:
        if (entry.subject, permission, entry.until) in open_ones:
            continue
        tasks.open_task(
            subject=entry.subject, permission=permission, at=at, procedure=PROCEDURE,
            title=f"{entry.institution}{entry.kind}到期：{entry.label}"[:200], status="将到期",
            region_code=entry.institution.region_id, institution_code=entry.institution.code,
            due=entry.until, url=entry.url(), clause=entry.clause,
        )  # fmt: skip
        made += 1
    return made


def _expire_mappings(on: dt.date, by: str, at: dt.datetime) -> int:
    count = 0
    rows: Iterator[CodeMapping] = CodeMapping.objects.filter(
        state="approved", valid_until__lt=on, entered_on__lte=on
    ).iterator()
    for row in rows:
        try:
            take_step(case=row, step="expire", who=None, by=by, at=at, on=on)
            count += 1
        except Refused:  # ended by hand in the meantime
            continue
    return count
