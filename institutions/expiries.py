"""What ends soon or does not count: qualifications, licences, agreements, mappings, freezes.

How early a warning comes is our own promise of service (`settings.REGISTRY_WARN_DAYS`), not law.
(等级保护材料: 通医保发〔2020〕25号 三（四）)
"""

import datetime as dt
import logging
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
from institutions.law import law_for, law_in
from institutions.models import (
    CodeMapping,
    Institution,
    InstitutionQuerySet,
    PaymentFreeze,
    Physician,
    PhysicianAgreement,
    Qualification,
    Region,
)

PROCEDURE = "expiry"
log = logging.getLogger(__name__)
HOLDERS = ("registry.file", "registry.maintain")  #: the institution and the agency


@dataclass(frozen=True)
class Expiry:
    """Something of an institution that ends: `subject` is what its tasks are called by.

    `until` None: it counts for nothing now, for the reason that `fault` says.
    """

    subject: str
    kind: str
    label: str
    until: dt.date | None
    institution: Institution
    tab: str
    clause: str = ""
    fault: str = ""

    def url(self) -> str:
        """The part of the institution's file where it is renewed."""
        return f"{reverse('institution', args=[self.institution.code])}?tab={self.tab}"

    def days_left(self, on: dt.date) -> int | None:
        """Days until the last one; None for what does not count at all."""
        return None if self.until is None else (self.until - on).days


def ending(
    *, on: dt.date, days: int, institutions: InstitutionQuerySet | None = None
) -> list[Expiry]:
    """What counts for nothing; what ends within some days or has ended and was not renewed."""
    last = on + dt.timedelta(days=days)
    parts = (_too_low(on), _qualifications(last, on), _licences(last), _agreements(last), _mappings(last),
             _freezes(on, last))  # fmt: skip
    found: list[Expiry] = []
    for part in parts:
        rows = part.rows.select_related(f"{part.place}__region")
        if institutions is not None:
            rows = rows.filter(**{f"{part.place}__in": institutions})
        found += (part.build(row) for row in rows)
    return sorted(found, key=lambda entry: (entry.until or dt.date.min, entry.subject))


class Part(NamedTuple):
    """Rows of one kind, the path to their institution, and how each becomes an expiry."""

    rows: models.QuerySet
    place: str
    build: Callable[[Any], Expiry]


def _too_low(on: dt.date) -> Part:
    """Protection evidence below the level that the law asks, where none of the level is held."""
    regions = Region.objects.exclude(policy_region="").values_list("policy_region", flat=True)
    laws = {name: law_in(name, on=on) for name in regions.distinct().order_by("policy_region")}
    evidence = Qualification.objects.known().in_force(on=on).filter(kind__in=MLPS)
    rows = Qualification.objects.none()
    for name, law in laws.items():
        if law.too_low:
            better = evidence.filter(institution=OuterRef("institution"), kind=OuterRef("kind"))
            rows |= evidence.filter(
                ~Exists(better.exclude(level__in=law.too_low)), level__in=law.too_low,
                institution__kind=Institution.Kind.MEDICAL,
                institution__region__policy_region=name,
            )  # fmt: skip

    def build(row: Qualification) -> Expiry:
        law = laws[row.institution.region.policy_region]
        return Expiry(
            f"protection:{row.pk}", "等级保护",
            f"{row.get_kind_display()}（{row.number}）为{row.level}，须为{law.level_asked}",
            None, row.institution, "qualifications", law.protection_clause, "级别不足",
        )  # fmt: skip

    return Part(rows, "institution", build)


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
            title=f"{entry.institution}{entry.kind}{entry.fault or '到期'}：{entry.label}"[:200],
            status=entry.fault or "将到期",
            region_code=entry.institution.region_id, institution_code=entry.institution.code,
            due=entry.until, url=entry.url(), clause=entry.clause,
        )  # fmt: skip
        made += 1
    return made


def _expire_mappings(on: dt.date, by: str, at: dt.datetime) -> int:
    """How many ended by their table; one that cannot be moved is logged and stops no other."""
    count = 0
    rows: Iterator[CodeMapping] = CodeMapping.objects.filter(
        state="approved", valid_until__lt=on, entered_on__lte=on
    ).iterator()
    for row in rows:
        try:
            with transaction.atomic():
                take_step(case=row, step="expire", who=None, by=by, at=at, on=on)
            count += 1
        except Refused:  # ended by hand in the meantime
            continue
        except Exception:
            log.exception("mapping %s cannot be ended", row.pk)
    return count
