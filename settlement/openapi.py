"""How the claim API is described: the schemas that are checked, and those of the answers."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from pricing.rules import DECISIONS
from settlement.answer import NATIONAL
from settlement.contract import CLAIM, EVIDENCE, REVERSAL, STATES
from settlement.ledger import TOTALS

OAUTH_ADDRESS = "/api/v1/oauth/token"
SCOPES = {
    "claims:read": "查询结算申请",
    "claims:write": "上报与冲正结算申请、上传凭据",
    "trial": "试算",
}


class BearerScheme(OpenApiAuthenticationExtension):
    """OAuth 2 client credentials: the token belongs to one institution."""

    target_class = "settlement.api.BearerToken"
    name = "institution"

    def get_security_definition(self, auto_schema) -> dict:
        flow = {"tokenUrl": OAUTH_ADDRESS, "scopes": SCOPES}
        return {"type": "oauth2", "flows": {"clientCredentials": flow}}


def public(schema: object) -> object:
    """A schema without the messages that only the checker reads."""
    if isinstance(schema, dict):
        return {k: public(v) for k, v in schema.items() if k != "x-message"}
    return [public(item) for item in schema] if isinstance(schema, list) else schema


def body(schema: dict) -> dict:
    return {"application/json": public(schema)}


def _object(**properties: dict) -> dict:
    return {"type": "object", "required": list(properties), "properties": properties}


def _or_null(schema: dict) -> dict:
    return {"oneOf": [schema, {"type": "null"}]}


TEXT, BOOL, WHOLE = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
YUAN = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}
MAYBE_YUAN = _or_null(YUAN)
MOMENT = {"type": "string", "format": "date-time"}
CLAUSE = _object(document=TEXT, clause=TEXT, text=TEXT)
STEP = _object(key=TEXT, label=TEXT, amount=MAYBE_YUAN, clause=TEXT, note=TEXT, text=TEXT)
MONEY = {"type": "object", "properties": {name: YUAN for name in TOTALS}, "required": ["fee"]}
NATIONAL_MONEY = _object(**{name: YUAN for name in NATIONAL})
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "claim_no": TEXT, "encounter_id": TEXT, "state": {"enum": list(STATES)},
    "service_date": {"type": "string", "format": "date"}, "received_at": MOMENT, "totals": MONEY,
    "national": _or_null(NATIONAL_MONEY), "links": _object(self=TEXT, reversal=TEXT, evidence=TEXT),
}  # fmt: skip
LINE = _object(
    line_no=WHOLE, service=TEXT, item_code=TEXT, fee=YUAN, decision={"enum": list(DECISIONS)},
    reason=_or_null(TEXT), in_scope_amount=MAYBE_YUAN, over_cap_self_pay=MAYBE_YUAN,
    fund_pay=MAYBE_YUAN, in_scope_self_pay=MAYBE_YUAN, patient_total=MAYBE_YUAN,
    overcharge=MAYBE_YUAN,    flags={"type": "array", "items": TEXT}, patient_may_be_charged=_or_null(BOOL),
    personal_account_allowed=_or_null(BOOL), clauses={"type": "array", "items": CLAUSE},
    explanation={"type": "array", "items": STEP}, release={"type": "object"},
)  # fmt: skip
ANSWER = _object(
    **SUMMARY, settled_at=_or_null(MOMENT), flags={"type": "array", "items": TEXT},
    release=_or_null({"type": "object"}), lines={"type": "array", "items": LINE},
    reversal=_or_null(_object(at=MOMENT, reason=TEXT, totals=MONEY, national=NATIONAL_MONEY)),
)  # fmt: skip
LIST = _object(results={"type": "array", "items": _object(**SUMMARY)}, next=_or_null(TEXT))
EVIDENCE_ANSWER = _object(
    id=WHOLE, encounter_id=TEXT, kind=TEXT, content_hash=TEXT, received_at=MOMENT
)
FAULT = _object(pointer=TEXT, code=TEXT, detail=TEXT, clause=TEXT)
PROBLEM = _object(
    type=TEXT, title=TEXT, status=WHOLE, detail=TEXT, code=TEXT,
    errors={"type": "array", "items": FAULT}, trace_id=TEXT,
)  # fmt: skip


def answers(*statuses: int, **found: dict) -> dict:
    """Responses: `found` by name `s201`, problems by status; every call may meet the last ones."""
    described: dict = {
        (int(name[1:]), "application/json"): schema for name, schema in found.items()
    }
    for status in {*statuses, 400, 401, 403, 404, 405, 406, 500, 503}:
        described[status, "application/problem+json"] = OpenApiResponse(
            PROBLEM, description="RFC 9457"
        )
    return described


CLAIM_BODY, REVERSAL_BODY, EVIDENCE_BODY = body(CLAIM), body(REVERSAL), body(EVIDENCE)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,120}$"}, OpenApiParameter.HEADER,
    required=True, description="1–120 个可见 ASCII 字符；同键同体重放原答复，同键异体 422",
)  # fmt: skip
OPTIONAL_KEY = OpenApiParameter(
    "Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,120}$"}, OpenApiParameter.HEADER,
    description="可选：同键同内容重放原答复，同键异内容 422",
)  # fmt: skip
LIST_PARAMETERS = [
    OpenApiParameter("from", OpenApiTypes.DATE, description="服务日不早于"),
    OpenApiParameter("to", OpenApiTypes.DATE, description="服务日不晚于"),
    OpenApiParameter("state", {"type": "string", "enum": list(STATES)}),
    OpenApiParameter(
        "item", {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,20}$"},
        description="项目编码；别名与本码视为同一项目",
    ),
    OpenApiParameter("claim_no", {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,40}$"}),
    OpenApiParameter("cursor", {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,60}$"}),
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200}),
    OpenApiParameter(
        "Person-Credential", str, OpenApiParameter.HEADER,
        description="18 位证件号码：只查此人的申请。放在请求头，不进入地址和日志",
    ),
]  # fmt: skip
