"""REST: what cases that a system moves share: to find one, to take a step (statements, reviews, reports)."""

import datetime as dt
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from audit import trail
from audit.procedure import Refused
from institutions import shape
from institutions.refusals import Fault, Refusal
from institutions.rest import BIGGEST_ID, InstitutionView, OfficeView, body_of, json_answer
from settlement.systems import OfficeSystem, System


class Steps(ABC):
    """The cases of one kind. `subject`: the kind in the trail; `missing`: the words of 404."""

    subject: ClassVar[str]
    missing: ClassVar[tuple[str, str]]
    may: ClassVar[tuple[str, ...]]  #: permissions of the procedure's steps that the system takes
    by: str
    at: dt.datetime

    @abstractmethod
    def begin(self, request: Request) -> None:
        """Who asks and when."""

    @abstractmethod
    def rows(self) -> AbstractContextManager[None]:
        """The transaction in which only this side's rows exist."""

    @abstractmethod
    def seen(self) -> QuerySet[Any]:
        """The cases that this system may see."""

    @abstractmethod
    def act(self, case: Any, step: str, facts: dict[str, Any], version: int) -> object:
        """Take a step of a case; raises Refused."""

    @abstractmethod
    def represent(self, case: Any) -> dict[str, Any]:
        """A case with everything behind it."""

    @abstractmethod
    def place(self) -> dict[str, str]:
        """Where the system stands, as an event names it: `region_code`, `institution_code`."""

    def one(self, number: int) -> Any:
        """A case of this number; Refusal (404) when the system sees none."""
        found = self.seen().filter(pk=number).first() if number <= BIGGEST_ID else None
        if found is None:
            raise Refusal(404, "NOT_FOUND", self.missing)
        return found

    def take(self, request: Request, number: int, step: str, contract: dict) -> HttpResponse:
        """Take a step as the system, on the version that was read; what is refused is recorded."""
        self.begin(request)
        given = shape.checked(shape.read_json(body_of(request)), contract)
        facts = {name: value for name, value in given.items() if name != "version"}
        try:
            with self.rows():
                self.act(self.one(number), step, facts, given["version"])
                return json_answer(self.represent(self.one(number)))
        except Refused as error:
            with self.rows():
                trail.record(
                    by=self.by, at=self.at, action=f"{self.subject}.{step}", outcome="refused",
                    subject=f"{self.subject}:{number}", detail={"code": error.code}, **self.place(),
                )  # fmt: skip
            detail = (error.detail, f"{step}: {error.code.lower().replace('_', ' ')}")
            faults = (Fault(f"/{error.field}", error.code, detail),) if error.field else ()
            raise Refusal(error.status, error.code, detail, faults) from error


class CaseView(InstitutionView, Steps):
    """A view of an institution's own cases of one kind."""

    required_scopes: ClassVar[list[str]] = ["claims:read", "claims:write"]

    @property
    def system(self) -> System:
        """The institution's system as whoever acts."""
        return System(self.client, self.may)

    def place(self) -> dict[str, str]:
        return {"region_code": self.client.region_code, "institution_code": self.client.institution}


class OfficeCaseView(OfficeView, Steps):
    """A view of the cases of one kind that an office's system reads or moves."""

    http_method_names = ["get", "post"]
    parser_classes = ()
    required_scopes: ClassVar[list[str]] = ["reports:read", "reports:write"]

    @property
    def system(self) -> OfficeSystem:
        """The office's system as whoever acts."""
        return OfficeSystem(self.office, self.may)

    def place(self) -> dict[str, str]:
        return {"region_code": self.office.region_id, "institution_code": ""}
