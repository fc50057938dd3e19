"""REST: hints before a claim is submitted (事前提醒), to be embedded in a hospital's system."""

from typing import ClassVar

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from institutions import crypto, openapi
from institutions.refusals import Fault, Refusal
from institutions.rest import body_of, json_answer
from institutions.shape import checked, read_json, refuse
from pricing.watching import BEHAVIOURS, WATCHES
from settlement import contract
from settlement.api import ClaimsView
from settlement.openapi import CLAUSE
from supervision.remind import DRAFT_NO, SEVERITIES, hints

#: A claim that need not have a number or a channel yet.
VISIT = contract.CLAIM | {
    "required": [n for n in contract.CLAIM["required"] if n not in ("claim_no", "channel")]
}
HINT = openapi.record(
    code=openapi.TEXT, message=openapi.TEXT, behaviour={"enum": list(BEHAVIOURS)},
    behaviour_text=openapi.TEXT, severity={"enum": list(SEVERITIES.values())},
    gravity={"enum": list(SEVERITIES)}, at_submit={"enum": list(WATCHES)}, clause=CLAUSE,
    statute=openapi.or_null(openapi.TEXT), lines=openapi.listed(openapi.WHOLE),
    figures={"type": "object", "additionalProperties": openapi.WHOLE},
    example_parameter=openapi.BOOL,
)  # fmt: skip
ANSWER = openapi.record(
    hints=openapi.listed(HINT), checked=openapi.listed(openapi.TEXT), person_known=openapi.BOOL,
    stored={"const": False}, release={"type": "object"},
)  # fmt: skip


def visit_of(text: bytes, at) -> dict:
    """A visit that fits the contract, its credential normalised; Refusal (400) with every fault."""
    visit = checked(read_json(text), VISIT)
    found = list(contract.inconsistencies({"claim_no": DRAFT_NO, **visit}, at=at))
    try:
        number = crypto.id_number(visit["person"]["credential"])
        visit["person"] = {**visit["person"], "credential": number}
    except crypto.IdNumberError as error:
        found.append(Fault("/person/credential", "CREDENTIAL_INVALID", error.texts))
    refuse(found)
    return visit


class Prechecks(ClaimsView):
    """事前提醒：诊疗未结束时按审核规则给出提示；不保存、不入账。"""

    http_method_names = ["post"]
    required_scopes: ClassVar[list[str]] = ["trial", "trial"]

    @extend_schema(
        operation_id="prechecks_create", summary="按审核规则提示一次诊疗可能的问题，不保存",
        tags=["trials"], request=openapi.body(VISIT),
        responses=openapi.answers(415, 422, s200=ANSWER),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        self.begin(request)
        try:
            visit = visit_of(body_of(request), self.at)
            with self.rows():
                found = hints(institution=self.institution, claim=visit, by=self.by, at=self.at)
        except Refusal as refusal:
            self.refused("visit.precheck", "visit", refusal)
            raise
        return json_answer(found)


urlpatterns = [path("prechecks", Prechecks.as_view(), name="api-prechecks")]
