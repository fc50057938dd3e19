"""REST: what an institution's own cases (statements, reviews) share: to find one, to take a step."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from audit.procedure import Refused
from institutions import shape
from institutions.refusals import Fault, Refusal
from institutions.rest import BIGGEST_ID, InstitutionView, body_of, json_answer
from settlement.commands import refused
from settlement.facts import Claimant
from settlement.systems import System


class CaseView(InstitutionView, ABC):
    """A view of the cases of one kind. `subject`: the kind in the trail; `missing`: the words of 404."""

    required_scopes: ClassVar[list[str]] = ["claims:read", "claims:write"]
    subject: ClassVar[str]
    missing: ClassVar[tuple[str, str]]
    may: ClassVar[
        tuple[str, ...]
    ]  #: permissions of the procedure's steps that an institution takes

    @property
    def system(self) -> System:
        """The institution's system as whoever acts."""
        return System(self.client, self.may)

    @abstractmethod
    def seen(self) -> QuerySet[Any]:
        """The cases that this institution may see."""

    @abstractmethod
    def act(self, case: Any, step: str, facts: dict[str, Any], version: int) -> object:
        """Take a step of a case; raises Refused."""

    @abstractmethod
    def represent(self, case: Any) -> dict[str, Any]:
        """A case with everything behind it."""

    def one(self, number: int) -> Any:
        """A case of this institution; Refusal (404) when it sees none of that number."""
        found = self.seen().filter(pk=number).first() if number <= BIGGEST_ID else None
        if found is None:
            raise Refusal(404, "NOT_FOUND", self.missing)
        return found

    def take(self, request: Request, number: int, step: str, contract: dict) -> HttpResponse:
        """Take a step as the institution, on the version that was read; what is refused is recorded."""
        self.begin(request)
        given = shape.checked(shape.read_json(body_of(request)), contract)
        facts = {name: value for name, value in given.items() if name != "version"}
        try:
            with self.rows():
                self.act(self.one(number), step, facts, given["version"])
                return json_answer(self.represent(self.one(number)))
        except Refused as error:
            place = self.client.institution
            with self.rows():
                refused(
                    institution=Claimant(place, self.client.region_code, self.client.policy_region, (place,)),
                    action=f"{self.subject}.{step}", subject=f"{self.subject}:{number}",
                    code=error.code, by=self.by, at=self.at,
                )  # fmt: skip
            detail = (error.detail, f"{step}: {error.code.lower().replace('_', ' ')}")
            faults = (Fault(f"/{error.field}", error.code, detail),) if error.field else ()
            raise Refusal(error.status, error.code, detail, faults) from error
