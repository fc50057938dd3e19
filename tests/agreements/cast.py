"""The people of an application: one per role, a hospital, a calendar, keys; and how they act on days."""

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from agreements import commands, contracts
from agreements.handbook import procedure_of
from agreements.models import Agreement, Application
from audit.models import Move, Task
from audit.procedure import Refused
from institutions import documents
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import Document, Institution, Office, Qualification, Region, User
from tests.factories import ZONE, agreement, policies
from tests.factories import institution as make_institution

Day = dt.date
KEYS_FROM = dt.datetime(2020, 1, 1, tzinfo=ZONE)
KEYS_UNTIL = dt.datetime(2029, 12, 31, tzinfo=ZONE)
ROLES = ("reviewer", "information", "signing_officer", "policy_staff", "auditor", "supervisor")
MAIN_UNTIL = Day(2024, 12, 31)
_serial = itertools.count(1)
PDF = b"%PDF-1.7\n% a scan\n"


def moment(day: dt.date, hour: int = 9, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute), ZONE)


def calendar(*years: int) -> None:
    """Import the national calendar of some years."""
    for year in years:
        import_year(
            year=year, region=NATIONAL, rows=national_year(year), by="calendar", at=KEYS_FROM
        )


def refused(act: Callable, *args: Any, **kwargs: Any) -> tuple:
    """(status, code, clause) of what is refused."""
    with pytest.raises(Refused) as caught:
        act(*args, **kwargs)
    return caught.value.status, caught.value.code, caught.value.clause


def open_tasks(case: Application) -> list[tuple]:
    """The open tasks of an application: permission, status, last day, stopped."""
    rows = Task.objects.filter(subject=case.subject, state=Task.State.OPEN)
    return list(rows.values_list("permission", "status", "due", "stopped"))


class Cast:
    """A hospital of a region with everybody who acts on its applications."""

    def __init__(
        self, name: str = "wenzhou", *, main_until: dt.date | None = MAIN_UNTIL,
        years: tuple[int, ...] = (2020, 2021, 2022, 2023), law: bool = True,
    ) -> None:  # fmt: skip
        if law:
            policies(name)
        calendar(*years)
        self.hospital: Institution = make_institution(name, agreements=False)
        self.region: Region = self.hospital.region
        self.people: dict[str, User] = {role: self.person(role) for role in ROLES}
        self.people["hospital"] = self.person("hospital", self.hospital)
        Office.objects.create(
            region=self.region, kind="agency", name="测试经办机构", phone="0577-1"
        )
        Office.objects.create(region=self.region, kind="information", name="测试信息中心")
        if main_until is not None:
            self.designate(main_until)

    def person(self, role: str, hospital: Institution | None = None) -> User:
        """Somebody who acts by commands only and needs no password."""
        return User.objects.create(
            username=f"{role}.{next(_serial)}", role=role, institution=hospital,
            region=None if hospital else self.region,
        )  # fmt: skip

    def designate(self, until: dt.date | None) -> Agreement:
        """The hospital has a main agreement that ends on a day."""
        made = agreement(self.hospital, "main")
        Agreement.objects.filter(pk=made.pk).update(valid_until=until)
        return made

    def next_hospital(self) -> None:
        """From now on another hospital of the region applies, with a main agreement."""
        self.hospital = make_institution(self.region.policy_region, agreements=False)
        self.people["hospital"] = self.person("hospital", self.hospital)
        self.designate(None)

    def keys(self) -> None:
        contracts.make_signing_keys(
            valid_from=KEYS_FROM, valid_until=KEYS_UNTIL, by="keys", at=KEYS_FROM
        )

    def apply(self, day: dt.date, **more: Any) -> Application:
        """The hospital opens an application on a day and states every condition."""
        who = self.people["hospital"]
        case = commands.apply(
            institution=self.hospital, procedure=procedure_of(self.hospital).slug, who=who,
            by=who.username, at=moment(day), **more,
        )  # fmt: skip
        for row in case.requirements.filter(statement=""):
            self.state(case, row.no, day)
        return case

    def state(self, case: Application, no: str, day: dt.date, text: str = "已具备") -> None:
        who = self.people["hospital"]
        commands.state_requirement(
            application=case, part="materials", no=no, statement=text, who=who, by=who.username,
            at=moment(day),
        )  # fmt: skip

    def judge(
        self, case: Application, day: dt.date, *failing: str, part: str = "materials",
        role: str = "reviewer",
    ) -> None:  # fmt: skip
        """Judge every line of a checklist; the lines named are not met."""
        who = self.people[role]
        for row in case.requirements.filter(part=part):
            commands.judge_requirement(
                application=case, part=part, no=row.no, met=row.no not in failing,
                remark="须改进" if row.no in failing else "", who=who, by=who.username,
                at=moment(day),
            )  # fmt: skip

    def go(
        self, case: Application, step: str, role: str, day: dt.date, *, note: str = "说明",
        facts: dict | None = None, on: dt.date | None = None, version: int | None = None,
    ) -> Move:  # fmt: skip
        who = self.people[role]
        return commands.take_step(
            application=case, step=step, who=who, by=who.username, at=moment(day), on=on, note=note,
            facts=facts, version=version,
        )  # fmt: skip

    def reviewing(self, day: dt.date, **more: Any) -> Application:
        """An application received and accepted on a day."""
        case = self.apply(day, **more)
        self.go(case, "submit", "hospital", day)
        self.go(case, "accept", "reviewer", day)
        return case

    def rebuilding(self, received: dt.date, passed: dt.date, **more: Any) -> Application:
        """A passed review whose result was delivered on a day."""
        case = self.reviewing(received, **more)
        self.judge(case, passed)
        self.go(case, "pass_review", "reviewer", passed)
        self.go(case, "deliver_pass", "reviewer", passed, facts={"delivery": "direct"})
        return case

    def testing(
        self, received: dt.date, passed: dt.date, asked: dt.date, **more: Any
    ) -> Application:
        case = self.rebuilding(received, passed, **more)
        self.go(case, "request_test", "hospital", asked)
        return case

    def failed(self, received: dt.date, delivered: dt.date) -> Application:
        """A review that failed, its notice delivered on a day."""
        case = self.reviewing(received)
        self.judge(case, received, "5", "6")
        self.go(case, "fail_review", "reviewer", received)
        step = "deliver_review_notice"
        if len(Application.objects.failed(institution=self.hospital.pk, procedure=case.procedure)):
            step = "deliver_review_ban"
        self.go(case, step, "reviewer", delivered, facts={"delivery": "mail", "receipt": "张某"})
        return case

    def qualify(self, kind: str = Qualification.Kind.INTERNET_HOSPITAL) -> None:
        Qualification.objects.create(
            institution=self.hospital, kind=kind, number="Q1", valid_from=Day(2019, 1, 1),
            recorded_at=KEYS_FROM, recorded_by="test", checked_at=KEYS_FROM, checked_by="checker",
        )  # fmt: skip

    def scan(self, day: dt.date, role: str = "reviewer") -> Document:
        return documents.store(
            content=PDF, name="纸质协议.pdf", kind="paper", by=self.people[role].username,
            at=moment(day), institution=self.hospital,
        )  # fmt: skip
