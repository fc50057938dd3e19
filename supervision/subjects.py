"""Points of practitioners, and restrictions of practitioners, departments and persons.

A restriction is the decision with its two persons; what it does to money is recorded where settlement
reads it (institutions, settlement.register) by these apps' own commands.

How many points lead to what is the region's parameter `practitioner_points`: without one, points are
only counted. A year begins anew on 1 January.
(温医保办〔2021〕6号 二十七、二十八；国务院令第735号 第38、40、41条)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Sum

from agreements.clocks import parameter_row
from audit import trail
from institutions import commands as registry
from institutions import news
from institutions.calendar import add_months
from institutions.departments import code_of, department
from institutions.models import (
    DepartmentSuspension,
    Institution,
    Physician,
    Region,
    ServiceSuspension,
    Suspension,
)
from institutions.refusals import refused
from settlement.models import InsuredPerson, OnlineSuspension
from settlement.register.commands import suspend_online
from supervision.models import PointEntry, Restriction

KEY = "practitioner_points"
DAY = dt.timedelta(days=1)
Kind = Restriction.Kind
#: where settlement looks for a kind of restriction
READ: Mapping[str, type[Suspension]] = {
    Kind.ONLINE: OnlineSuspension, Kind.PRACTITIONER: ServiceSuspension,
    Kind.TERMINATED: ServiceSuspension, Kind.DEPARTMENT: DepartmentSuspension,
}  # fmt: skip


@dataclass(frozen=True)
class Tariff:
    """What points lead to in a region; empty where nobody fixed it."""

    suspend_from: int | None = None
    suspend_months: int = 0
    terminate_from: int | None = None
    repair_most: int = 0
    clause: str = ""
    example: bool = False
    label: str = ""

    @classmethod
    def of(cls, region_code: str, day: dt.date) -> "Tariff":
        """The tariff of a region on a day."""
        row = parameter_row(Region.objects.get(pk=region_code), KEY, day)
        if row is None or not isinstance(row.value, Mapping):
            return cls()
        value: Mapping[str, Any] = row.value
        return cls(
            suspend_from=value["suspend"]["from"], suspend_months=value["suspend"]["months"],
            terminate_from=value["terminate"]["from"], repair_most=value["repair"]["most"],
            clause=row.clause, example=row.example, label=row.label,
        )  # fmt: skip

    def outcome(self, total: int) -> str:
        """What a year's total leads to: '', a kind of restriction."""
        if self.terminate_from is not None and total >= self.terminate_from:
            return Kind.TERMINATED
        if self.suspend_from is not None and total >= self.suspend_from:
            return Kind.PRACTITIONER
        return ""


def total_of(code: str, year: int) -> int:
    """The points of a practitioner in a year, less repairs."""
    rows = PointEntry.objects.filter(practitioner_code=code, year=year)
    return rows.aggregate(sum=Sum("points", default=0))["sum"]


@transaction.atomic
def add_points(
    *, practitioner: Physician, points: int, behaviour: str, clause: str, source: str, on: dt.date,
    proposed_by: str, by: str, at: dt.datetime,
) -> PointEntry:  # fmt: skip
    """Enter points by a second person; the thresholds of the region follow at once."""
    Physician.objects.select_for_update(no_key=True, of=("self",)).get(pk=practitioner.pk)
    place = practitioner.institution
    tariff = Tariff.of(place.region_id, on)
    entry = _entered(
        practitioner, PointEntry.Kind.POINTS, points, behaviour, clause, source, on, proposed_by, by,
        at, tariff,
    )  # fmt: skip
    before, now = total_of(practitioner.pk, on.year) - points, total_of(practitioner.pk, on.year)
    kind = tariff.outcome(now)
    if kind and kind != tariff.outcome(before):
        _by_points(entry, practitioner, kind, tariff, now, on, at)
    return entry


@transaction.atomic
def repair(
    *, practitioner: Physician, points: int, course: str, source: str, on: dt.date,
    proposed_by: str, by: str, at: dt.datetime,
) -> PointEntry:  # fmt: skip
    """信用修复: points go down after a course, within the region's yearly limit and never below zero.

    A suspension that the points led to stays a decision of its own: repair does not end it.
    """
    Physician.objects.select_for_update(no_key=True, of=("self",)).get(pk=practitioner.pk)
    refuse_repair_beyond(practitioner, points, on)
    tariff = Tariff.of(practitioner.institution.region_id, on)
    return _entered(
        practitioner, PointEntry.Kind.REPAIR, -points, course, tariff.clause or "示例", source, on,
        proposed_by, by, at, tariff,
    )  # fmt: skip


def repairable(practitioner: Physician, on: dt.date) -> int:
    """How many points of a year can still be repaired."""
    tariff = Tariff.of(practitioner.institution.region_id, on)
    rows = PointEntry.objects.filter(practitioner_code=practitioner.pk, year=on.year)
    done = -rows.filter(kind=PointEntry.Kind.REPAIR).aggregate(sum=Sum("points", default=0))["sum"]
    return max(min(tariff.repair_most - done, total_of(practitioner.pk, on.year)), 0)


def refuse_repair_beyond(practitioner: Physician, points: int, on: dt.date) -> None:
    """Refusal for a repair of nothing, or of more than is left."""
    left = repairable(practitioner, on)
    if not 0 < points <= left:
        raise refused("points", "REPAIR_TOO_LARGE", f"本年度至多还可修复{left}分",
                      "more than can be repaired",
                      clause=Tariff.of(practitioner.institution.region_id, on).clause)  # fmt: skip


def _entered(
    practitioner: Physician, kind: str, points: int, behaviour: str, clause: str, source: str,
    on: dt.date, proposed_by: str, by: str, at: dt.datetime, tariff: Tariff,
) -> PointEntry:  # fmt: skip
    if proposed_by == by or not proposed_by:
        raise refused("by", "SAME_PERSON", "记分和修复须由提出人以外的第二人登记",
                      "a second person enters it", status=403)  # fmt: skip
    if not behaviour.strip() or not points:
        raise refused("points", "REQUIRED", "请填写行为和分值", "behaviour and points are needed")
    place = practitioner.institution
    try:
        with transaction.atomic():
            entry = PointEntry.objects.create(
                region_code=place.region_id, institution_code=place.pk,
                practitioner_code=practitioner.pk, year=on.year, kind=kind, points=points,
                behaviour=behaviour.strip()[:80], clause=clause[:160], source=source,
                example=tariff.example, proposed_by=proposed_by, entered_by=by, entered_at=at,
            )  # fmt: skip
    except IntegrityError as error:
        raise refused("source", "POINTS_TWICE", "同一来源已记分", "entered before",
                      status=409) from error  # fmt: skip
    _event("practitioner.points", f"physician:{practitioner.pk}", place.region_id, place.pk, by, at,
           points=points, kind=kind, source=source)  # fmt: skip
    return entry


def _by_points(
    entry: PointEntry, practitioner: Physician, kind: str, tariff: Tariff, total: int, on: dt.date,
    at: dt.datetime,
) -> None:  # fmt: skip
    """The measure of a threshold that an entry reached; of a practitioner terminated before: none."""
    place = practitioner.institution
    ended = Restriction.objects.in_force(on=on).filter(
        subject_code=practitioner.pk, kind=Kind.TERMINATED, valid_until=None
    )
    if ended.exists():
        return
    months = tariff.suspend_months if kind == Kind.PRACTITIONER else None
    made = restrict(
        kind=kind, region_code=place.region_id, institution_code=place.pk, months=months,
        subject_code=practitioner.pk, person_id=None, since=on, at=at,
        by=entry.entered_by, clause=f"{tariff.clause}（年度累计{total}分）",
        source=f"points:{entry.pk}",
    )  # fmt: skip
    registry.ask_comparison(
        physician=practitioner, why=f"年度记分{total}分：{made.get_kind_display()}", at=at,
        procedure="points", clause=tariff.clause, status=made.get_kind_display(),
    )  # fmt: skip


# --- Restrictions ---


@transaction.atomic
def restrict(
    *, kind: str, region_code: str, institution_code: str, subject_code: str,
    person_id: int | None, since: dt.date, months: int | None, clause: str, source: str, by: str,
    at: dt.datetime, least: int | None = None,
) -> Restriction:  # fmt: skip
    """Begin a restriction; the same decision a second time is refused, it would count twice.

    Another decision's may run already: each ends with its own day, the later one restores. `least` are
    the months that the law fixes at least.
    """
    until = add_months(since, months) - DAY if months else None
    try:
        with transaction.atomic():
            made = Restriction.objects.create(
                region_code=region_code, institution_code=institution_code, kind=kind,
                subject_code=subject_code, person_id=person_id, valid_from=since,
                valid_until=until, clause=clause[:160], source=source[:80], made_at=at, made_by=by,
                least_until=add_months(since, least) - DAY if least else None,
            )  # fmt: skip
    except IntegrityError as error:
        raise refused("since", "RESTRICTED_ALREADY", "该对象已依同一决定在这一期间被暂停",
                      "restricted already by this decision", status=409) from error  # fmt: skip
    _suspend(made)
    _event(f"restriction.{kind}", f"restriction:{made.pk}", region_code, institution_code, by, at,
           restricted=subject_code, since=since, until=until, source=source)  # fmt: skip
    if institution_code:
        news.tell(
            permission="cases.answer", region_code=region_code, institution_code=institution_code,
            text=f"{made.get_kind_display()}：{called(made)}，自{since}起", url="",
            subject=f"restriction:{made.pk}", at=at,
        )  # fmt: skip
    return made


def _suspend(made: Restriction) -> None:
    """Let settlement know, by the command of the app that it reads."""
    given: dict[str, Any] = {
        "since": made.valid_from, "until": made.valid_until, "clause": made.clause,
        "source": f"restriction:{made.pk}", "by": made.made_by, "at": made.made_at,
    }  # fmt: skip
    if made.kind == Kind.ONLINE:
        suspend_online(person=InsuredPerson.objects.get(pk=made.person_id or 0), **given)
    elif made.kind == Kind.DEPARTMENT:
        place = Institution.objects.get(pk=made.institution_code)
        if code := code_of(made.subject_code, place.departments()):
            registry.suspend_department(institution=place, department=code, **given)
    else:
        doctor = Physician.objects.filter(pk=made.subject_code).first()
        if doctor is None:
            raise refused("subject_code", "PRACTITIONER_UNKNOWN", "没有登记此医师、药师或护士",
                          "no such practitioner")  # fmt: skip
        registry.suspend_practitioner(physician=doctor, **given)


def called(row: Restriction) -> str:
    """Whom a restriction names: a department in words, anybody else by code."""
    return department(row.subject_code) if row.kind == Kind.DEPARTMENT else row.subject_code


def known_to_settlement(row: Restriction) -> bool:
    """Whether settlement reads a restriction: not that of a department in words of no catalogue."""
    return READ[Kind(row.kind)].objects.known().filter(source=f"restriction:{row.pk}").exists()


def _event(
    action: str, subject: str, region: str, institution: str, by: str, at: dt.datetime,
    **detail: object,
) -> None:  # fmt: skip
    trail.record(
        by=by, at=at, action=action, subject=subject, region_code=region,
        institution_code=institution, detail=detail,
    )  # fmt: skip
