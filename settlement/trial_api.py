"""POST /api/v1/trials: stated facts in, answers out, nothing stored (contracts/trial.md)."""

import uuid
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from oauth2_provider.contrib.rest_framework import (
    IsAuthenticatedOrTokenHasScope,
    OAuth2Authentication,
)
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from institutions.openapi import answers
from pricing import releases
from pricing.rules import CODES, DECISIONS, SERVICES
from settlement.columns import TRISTATE
from settlement.fault import FactError, problem, read_json
from settlement.trial import run

MAX_OBJECTS = 1_000
MAX_BYTES = 4_000_000
PROBLEM = "application/problem+json"


AMOUNT = {"type": "string", "pattern": r"^\d{1,13}(\.\d{1,2})?$", "examples": ["12.00"]}
DAY = {"type": "string", "format": "date"}
TEXT = {"type": "string"}
FACTS = {
    "type": "object",
    "required": ["region", "service_date"],
    "properties": {
        "region": {"type": "string", "examples": ["nantong"]},
        "service": {"enum": list(SERVICES[1:])},
        "service_date": DAY,
        "item_code": TEXT,
        "fee": AMOUNT,
        "price_class": {"type": "integer", "minimum": 1, "maximum": 9},
        "insured_area": TEXT,
        "service_type": TEXT,
        "last_offline_visit": {**DAY, "type": ["string", "null"]},
        "main_agreement_suspended_from": {**DAY, "type": ["string", "null"]},
        "doctor_independent_months": {"type": "integer", "minimum": 0},
        "provincial_hospitals": {"type": "array", "items": TEXT},
        "experts": {"type": "array", "items": {"type": "array", "items": TEXT}},
        "ask": {"enum": ["personal_account_allowed"]},
        "parameters": {"type": "object"},
        "lines": {"type": "array", "items": {"type": "object"}},
        **{name: {"enum": [*names[1:], None]} for name, names in CODES.items()},
        **{n: {"type": ["boolean", "null"]} for n in TRISTATE if n != "insured_local"},
    },
}
OPEN_AMOUNT = {"type": ["string", "null"]}
ANSWER = {
    "type": "object",
    "properties": {
        "decision": {"enum": list(DECISIONS)},
        "reason": {"type": ["string", "null"]},
        **dict.fromkeys(
            ("in_scope_amount", "over_cap_self_pay", "fund_pay", "in_scope_self_pay",
             "patient_total", "overcharge", "charge_total", "first_self_pay", "major_illness_pay",
             "assistance_pay"), OPEN_AMOUNT
        ),
        "flags": {"type": "array", "items": TEXT},
        "clauses": {"type": "array", "items": {"type": "object"}},
        "explanation": {"type": "array", "items": {"type": "object"}},
        "assumed": {"type": "array", "items": TEXT},
        "release": {"type": "object"},
        "lines": {"type": "array", "items": {"type": "object"}},
        "fund_pay_total": OPEN_AMOUNT,
    },
}  # fmt: skip
FAULT = {
    "type": "object",
    "required": ["title", "status", "detail", "pointer"],
    "properties": {
        **dict.fromkeys(
            ("type", "title", "code", "detail", "field", "reason", "pointer", "trace_id"), TEXT
        ),
        "status": {"type": "integer"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def _one_or_many(schema: dict) -> dict:
    many = {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_OBJECTS}
    return {"anyOf": [schema, many]}


class FactsParser(BaseParser):
    """Strict JSON of a limited size; a fault of the text itself is 400."""

    media_type = "application/json"

    def parse(self, stream, media_type=None, parser_context=None) -> Any:
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise ParseError(f"请求体超过 {MAX_BYTES} 字节")
        try:
            return read_json(body.decode("utf-8"))
        except (UnicodeDecodeError, FactError) as error:
            raise ParseError(str(error)) from error


class TrialView(APIView):
    """试算：按政策文件回答一次服务应如何支付；不保存、不入账。

    Hospitals use it with a token of scope `trial`, staff with their session (CSRF protected).
    """

    authentication_classes = (OAuth2Authentication, SessionAuthentication)
    permission_classes = (IsAuthenticatedOrTokenHasScope,)
    required_scopes: ClassVar[list[str]] = ["trial"]
    parser_classes = (FactsParser,)

    @extend_schema(
        operation_id="trials_create",
        tags=["trials"],
        parameters=[
            OpenApiParameter(
                "examples", bool, description="1 = 同时使用示例参数，答复带 EXAMPLE_PARAMETER 标记"
            )
        ],
        request={"application/json": _one_or_many(FACTS)},
        responses={
            **answers(415),
            (200, "application/json"): OpenApiResponse(
                _one_or_many(ANSWER), "答复，形状与次序同请求"
            ),
            (422, PROBLEM): OpenApiResponse(FAULT, "事实缺失或有误；errors 列出全部"),
        },
    )
    def post(self, request: Request) -> Response:
        given = request.data
        alone = not isinstance(given, list)
        objects = [given] if alone else given
        if not 1 <= len(objects) <= MAX_OBJECTS:
            fault = FactError("", f"数组应有 1 至 {MAX_OBJECTS} 个对象")
            return _refused([problem(fault)])
        examples = request.query_params.get("examples") in ("1", "true")
        catalogue = releases.current()
        answers, faults = [], []
        for number, facts in enumerate(objects):
            try:
                answers.append(run(facts, catalogue, examples=examples))
            except FactError as error:
                faults.append(problem(error, pointer="" if alone else f"/{number}"))
        if faults:
            return _refused(faults)
        return Response(answers[0] if alone else answers)


def _refused(faults: list[dict]) -> Response:
    """422 with the first fault in front and all of them in `errors`."""
    errors = [{k: f[k] for k in FAULT_KEYS} | {"clause": ""} for f in faults]
    body = faults[0] | {"errors": errors, "trace_id": uuid.uuid4().hex}
    return Response(body, status=422, content_type=PROBLEM)


FAULT_KEYS = ("pointer", "code", "detail", "field", "reason")
