"""REST: what a patient is entitled to on a day, asked by the hospital that treats the patient.

The number comes in the body, never in an address. A hospital that has verified the credential today, or
that has a claim or a prescription of that day, treats the patient; nobody else gets an answer.
The answer is masked, and every question is an event, whether or not it was answered.
"""

import datetime as dt
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from audit import clock, trail
from institutions import crypto
from institutions.openapi import DAY, TEXT, answers, body, or_null, record
from institutions.refusals import Refusal
from institutions.rest import InstitutionView, body_of, iso, json_answer
from institutions.shape import DAY as DATE
from institutions.shape import checked, moment, read_json
from institutions.shape import record as contract
from settlement.contract import CLAIM, CLOCK_SKEW, ENCOUNTER_ID
from settlement.medicines_api import credential_normalised
from settlement.models import Claim, InsuredPerson, Prescription
from settlement.persons import entitled

ASKED = contract(
    "person encounter_id", person=CLAIM["properties"]["person"], encounter_id=ENCOUNTER_ID, on=DATE
)
WORD = {"code": TEXT, "label": TEXT}
ANSWER = record(
    person=record(name=TEXT, id=TEXT), on=DAY, entitled={"type": "boolean"},
    scheme=or_null(record(**WORD)), standing=or_null(record(**WORD)), region=or_null(TEXT),
    valid_from=or_null(DAY), valid_until=or_null(DAY), encounter_id=TEXT,
)  # fmt: skip


class Entitlements(InstitutionView):
    """查询就诊患者某日的参保状态。"""

    http_method_names = ["post"]
    required_scopes: ClassVar[list[str]] = ["persons:read", "persons:read"]

    @extend_schema(
        operation_id="entitlements_ask", tags=["persons"],
        summary="查询本机构就诊患者某日的参保状态；脱敏答复，每次查询记入留痕",
        request=body(ASKED), responses=answers(415, 422, s200=ANSWER),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        self.begin(request)
        given = checked(read_json(body_of(request)), ASKED)
        credential_normalised(given)
        on = _asked_day(given, self.at)
        digest = crypto.person_hash(given["person"]["credential"])
        with self.rows():
            person = InsuredPerson.objects.filter(id_hash=digest).first()
            treated = self._treats(given["person"], person, on)
            outcome = "refused" if not treated else "ok" if person else "none"
            self._note(person, digest, given["encounter_id"], on, outcome)
            found = represent(person, given["encounter_id"], on) if person and treated else None
        if not treated:
            detail = ("没有该患者当日的实名核验或就诊，不能查询", "not a patient of that day")
            raise Refusal(403, "NOT_TREATED_HERE", detail)
        if found is None:
            raise Refusal(404, "PERSON_UNKNOWN", ("没有此参保人员", "no such insured person"))
        return json_answer(found)

    def _treats(self, told: dict, person: InsuredPerson | None, on: dt.date) -> bool:
        """Whether the patient was verified here today, or was served here on the day."""
        verified = moment(told["verified_at"]) if told.get("verified_at") else None
        today = clock.local(self.at).date()
        sound = told["matched"] and verified is not None and verified <= self.at + CLOCK_SKEW
        if sound and verified is not None and clock.local(verified).date() == today:
            return True
        if person is None:
            return False
        own = {"person_id": person.pk, "institution_code": self.client.institution}
        return (
            Claim.objects.filter(service_date=on, **own).exists()
            or Prescription.objects.filter(issued_on=on, **own).exists()
        )

    def _note(
        self, person: InsuredPerson | None, digest: bytes, encounter: str, on: dt.date, outcome: str
    ) -> None:
        trail.record(
            by=self.by, at=self.at, action="person.entitlement", outcome=outcome,
            subject=f"person:{person.pk if person else ''}",
            region_code=person.region_code if person else self.client.region_code,
            institution_code=self.client.institution, person_hash=digest,
            detail={"encounter": encounter, "on": on},
        )  # fmt: skip


def _asked_day(given: dict, at: dt.datetime) -> dt.date:
    return dt.date.fromisoformat(given["on"]) if "on" in given else clock.local(at).date()


def represent(person: InsuredPerson, encounter: str, on: dt.date) -> dict[str, Any]:
    """The entitlement of a day as known now; name and number masked."""
    row = entitled(person, on, None)
    return {
        "person": {"name": person.name_masked, "id": person.id_masked}, "on": on.isoformat(),
        "entitled": row is not None and row.standing == row.Standing.ACTIVE,
        "scheme": {"code": row.scheme, "label": row.get_scheme_display()} if row else None,
        "standing": {"code": row.standing, "label": row.get_standing_display()} if row else None,
        "region": row.region_code if row else None,
        "valid_from": iso(row.valid_from) if row else None,
        "valid_until": iso(row.valid_until) if row else None, "encounter_id": encounter,
    }  # fmt: skip


urlpatterns = [path("entitlements", Entitlements.as_view(), name="api-entitlements")]
