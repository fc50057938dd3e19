"""REST: claims, reversal, evidence. The edge parses, makes one call and answers."""

import datetime as dt
import hashlib
import re
from typing import ClassVar

from django.db import IntegrityError
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from audit import trail
from institutions import crypto
from institutions.openapi import answers
from institutions.refusals import Fault, Refusal
from institutions.rest import InstitutionView, body_of, encoded, json_answer
from institutions.shape import checked, faults, read_json, refuse
from pricing import releases
from settlement import answer, commands, contract, evidence, openapi
from settlement.facts import Claimant
from settlement.listing import Wanted, page

KEY = re.compile(r"[\x21-\x7e]{1,120}")


class ClaimsView(InstitutionView):
    """What all addresses of claims share beside the token: who claims, the trail of refusals."""

    required_scopes: ClassVar[list[str]] = ["claims:read", "claims:write"]

    def begin(self, request: Request) -> None:
        super().begin(request)
        client = self.client
        own = (client.institution, client.parent) if client.parent else (client.institution,)
        self.institution = Claimant(
            client.institution, client.region_code, client.policy_region, own
        )

    def refused(self, action: str, subject: str, refusal: Refusal) -> None:
        """Refused acts are in the trail as well, by code; never with what was sent."""
        with self.rows():
            commands.refused(
                institution=self.institution, action=action, subject=subject, code=refusal.code,
                by=self.by, at=self.at,
            )  # fmt: skip

    def looked(self, action: str, subject: str, person: bytes | None) -> None:
        """A look at what a person's claims say is an event about that person."""
        trail.record(
            by=self.by, at=self.at, action=action, subject=subject, person_hash=person,
            region_code=self.institution.region_code, institution_code=self.institution.code,
        )  # fmt: skip


def receipt_answer(receipt: commands.Receipt) -> HttpResponse:
    """The stored bytes, and whether they were stored before."""
    response = json_answer(receipt.body, receipt.status)
    if receipt.replayed:
        response["Idempotency-Replayed"] = "true"
    return response


def key_of(request: Request, body: bytes) -> commands.Key:
    """The Idempotency-Key with the hash of the body; Refusal (400) when it is missing or odd."""
    key = request.headers.get("Idempotency-Key", "")
    if not KEY.fullmatch(key):
        detail = (
            "Idempotency-Key 应为 1 至 120 个可见 ASCII 字符",
            "expected 1 to 120 visible ASCII characters",
        )
        raise Refusal(400, "IDEMPOTENCY_KEY_INVALID", detail)
    return commands.Key(key, hashlib.new("sm3", body).digest())


def claim_of(body: bytes, at: dt.datetime) -> dict:
    """A claim that fits the contract, its credential normalised; Refusal (400) with every fault."""
    claim = checked(read_json(body), contract.CLAIM)
    found = list(contract.inconsistencies(claim, at=at))
    try:
        number = crypto.id_number(claim["person"]["credential"])
        claim["person"] = {**claim["person"], "credential": number}
    except crypto.IdNumberError as error:
        found.append(Fault("/person/credential", "CREDENTIAL_INVALID", error.texts))
    refuse(found)
    return claim


class Claims(ClaimsView):
    """上报结算申请；按条件列出本机构的申请。"""

    @extend_schema(
        operation_id="claims_create", summary="上报一笔结算申请，当即答复",
        tags=["claims"], parameters=[openapi.IDEMPOTENCY_KEY],
        request=openapi.CLAIM_BODY,
        responses=answers(409, 415, 422, s201=openapi.ANSWER),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        self.begin(request)
        body = body_of(request)
        try:
            key = key_of(request, body)
            receipt = self._receive(self._sound(body, key), key)
        except Refusal as refusal:
            self.refused("claim.receive", "claim", refusal)
            raise
        return receipt_answer(receipt)

    def _sound(self, body: bytes, key: commands.Key) -> dict:
        """The claim of a body; a used key is told before the faults of another body."""
        try:
            return claim_of(body, self.at)
        except Refusal:
            with self.rows():
                commands.refuse_used(institution=self.institution, key=key)
            raise

    def _receive(self, claim: dict, key: commands.Key) -> commands.Receipt:
        try:
            return commands.receive(
                institution=self.institution, claim=claim, key=key, by=self.by, at=self.at,
                scope=self.scope,
            )  # fmt: skip
        except IntegrityError as error:
            refusal = commands.conflict_of(
                error, institution=self.institution, claim_no=claim["claim_no"]
            )
            if refusal is None:
                raise
            raise refusal from None

    @extend_schema(
        operation_id="claims_list", summary="按条件列出本机构的结算申请",
        tags=["claims"], parameters=openapi.LIST_PARAMETERS,
        responses=answers(s200=openapi.LIST),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        wanted = Wanted.of(request.query_params, request.headers.get("Person-Credential"))
        with self.rows():
            if wanted.person:
                self.looked("claim.find", "claim:", wanted.person)
            return json_answer(page(self.institution.code, wanted))


class Presettlement(ClaimsView):
    """预结算：与结算同一事实、同一规则、同一算法，不保存、不入账、不占用单号。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="claims_presettle", summary="试结一笔申请：答复与结算相同，不保存",
        tags=["claims"], request=openapi.CLAIM_BODY,
        responses=answers(409, 415, 422, s200=openapi.PRESETTLED),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        self.begin(request)
        try:
            claim = claim_of(body_of(request), self.at)
            with self.rows():
                found = commands.presettle(
                    institution=self.institution, claim=claim, by=self.by, at=self.at
                )
        except Refusal as refusal:
            self.refused("claim.presettle", "claim", refusal)
            raise
        return json_answer(found)


class OneClaim(ClaimsView):
    """一笔申请及其结算；每次读取都留痕。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="claims_read", tags=["claims"], responses=answers(s200=openapi.ANSWER)
    )
    def get(self, request: Request, claim_id: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            stored = answer.read(claim_id, institutions=[self.institution.code])
            if stored is None:
                raise Refusal(404, "NOT_FOUND", ("没有此申请", "no such claim"))
            person = answer.person_hash(stored.person_id)
            self.looked("claim.read", f"claim:{claim_id}", person)
            return json_answer(answered(stored))


def answered(stored: answer.Stored) -> dict:
    """The representation of a stored claim under the rules that settled it."""
    if not stored.settled:
        return answer.represent(stored, None)
    catalogue = releases.current()
    rules = answer.rules_of(stored, catalogue)
    return answer.represent(stored, rules, answer.home_of(stored, rules, catalogue))


class Reversal(ClaimsView):
    """冲正：一次，负数记账，返还年度累计。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="claims_reverse", tags=["claims"], request=openapi.REVERSAL_BODY,
        parameters=[openapi.OPTIONAL_KEY],
        responses=answers(409, 415, 422, s201=openapi.ANSWER),
    )  # fmt: skip
    def post(self, request: Request, claim_id: int) -> HttpResponse:
        self.begin(request)
        body = body_of(request)
        try:
            given = checked(read_json(body), contract.REVERSAL)
            key = None
            if "Idempotency-Key" in request.headers:
                key = key_of(request, f"reversal of {claim_id}: ".encode() + body)
            with self.rows():
                return receipt_answer(self._reverse(claim_id, given["reason"], key))
        except Refusal as refusal:
            self.refused("claim.reverse", f"claim:{claim_id}", refusal)
            raise

    def _reverse(self, claim_id: int, reason: str, key: commands.Key | None) -> commands.Receipt:
        if key and (replay := commands.enter(self.institution, key, self.at)):
            return replay
        stored = commands.reverse(
            institution=self.institution, claim_id=claim_id, reason=reason, by=self.by, at=self.at
        )
        receipt = commands.Receipt(201, encoded(answered(stored)))
        if key:
            commands.keep(self.institution, key, receipt)
        return receipt


class Evidence(ClaimsView):
    """就诊凭据：电子病历、处方、购药、配送、实名记录的摘要和出处。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="evidence_create", tags=["claims"], request=openapi.EVIDENCE_BODY,
        responses=answers(415, s200=openapi.EVIDENCE_ANSWER, s201=openapi.EVIDENCE_ANSWER),
    )  # fmt: skip
    def post(self, request: Request, encounter: str) -> HttpResponse:
        self.begin(request)
        if list(faults(encounter, contract.ENCOUNTER_ID)):
            raise Refusal(404, "NOT_FOUND", ("没有此就诊", "no such encounter"))
        body = body_of(request)
        try:
            given = checked(read_json(body), contract.EVIDENCE)
        except Refusal as refusal:
            self.refused("evidence.take", f"encounter:{encounter}"[:80], refusal)
            raise
        with self.rows():
            status, taken = evidence.take(
                institution=self.institution, encounter=encounter, evidence=given, by=self.by,
                at=self.at,
            )  # fmt: skip
        return json_answer(taken, status)
