"""How the claim API is described: the schemas that are checked, and those of the answers."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from institutions.openapi import BOOL, DAY, MOMENT, TEXT, WHOLE, body, listed, or_null, record
from pricing.rules import DECISIONS
from settlement.answer import NATIONAL
from settlement.contract import CLAIM, EVIDENCE, REVERSAL, STATES
from settlement.posting import TOTALS

YUAN = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}
MAYBE_YUAN = or_null(YUAN)
CLAUSE = record(document=TEXT, clause=TEXT, text=TEXT)
STEP = record(key=TEXT, label=TEXT, amount=MAYBE_YUAN, clause=TEXT, note=TEXT, text=TEXT)
MONEY = {"type": "object", "properties": {name: YUAN for name in TOTALS}, "required": ["fee"]}
NATIONAL_MONEY = record(**{name: YUAN for name in NATIONAL})
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "claim_no": TEXT, "encounter_id": TEXT, "state": {"enum": list(STATES)},
    "service_date": DAY, "received_at": MOMENT, "totals": MONEY,
    "national": or_null(NATIONAL_MONEY), "links": record(self=TEXT, reversal=TEXT, evidence=TEXT),
}  # fmt: skip
LINE = record(
    line_no=WHOLE, service=TEXT, item_code=TEXT, fee=YUAN, decision={"enum": list(DECISIONS)},
    reason=or_null(TEXT), in_scope_amount=MAYBE_YUAN, over_cap_self_pay=MAYBE_YUAN,
    fund_pay=MAYBE_YUAN, in_scope_self_pay=MAYBE_YUAN, patient_total=MAYBE_YUAN,
    overcharge=MAYBE_YUAN, first_self_pay=MAYBE_YUAN, major_illness_pay=MAYBE_YUAN,
    assistance_pay=MAYBE_YUAN, flags=listed(TEXT), patient_may_be_charged=or_null(BOOL),
    personal_account_allowed=or_null(BOOL), clauses=listed(CLAUSE),
    explanation=listed(STEP), release={"type": "object"},
)  # fmt: skip
VERSION = record(
    version=WHOLE, kind={"enum": ["settlement", "reversal"]}, state=TEXT, at=MOMENT,
    reason=or_null(TEXT), posted=TEXT, year=WHOLE, totals=MONEY,
)  # fmt: skip
ANSWER = record(
    **SUMMARY, settled_at=or_null(MOMENT), flags=listed(TEXT),
    release=or_null({"type": "object"}), lines=listed(LINE),
    reversal=or_null(record(at=MOMENT, reason=TEXT, totals=MONEY, national=NATIONAL_MONEY,
                            refunds={"type": "object", "additionalProperties": YUAN})),
    versions=listed(VERSION),
)  # fmt: skip
PRESETTLED = record(
    **{**ANSWER["properties"], "id": {"type": "null"}, "stored": {"const": False},
       "links": {"type": "object"}}
)  # fmt: skip
LIST = record(results=listed(record(**SUMMARY)), next=or_null(TEXT))
EVIDENCE_ANSWER = record(
    id=WHOLE, encounter_id=TEXT, kind=TEXT, content_hash=TEXT, received_at=MOMENT
)
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
    OpenApiParameter(
        "state", {"type": "string", "enum": list(STATES)}, description="结算状态"
    ),
    OpenApiParameter(
        "item", {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,30}$"},
        description="项目编码；别名与本码视为同一项目",
    ),
    OpenApiParameter(
        "claim_no", {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,40}$"},
        description="机构自编的申请编号",
    ),
    OpenApiParameter(
        "cursor", {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,60}$"},
        description="接着上一页：填上一页答复中的 next",
    ),
    OpenApiParameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": 200}, description="每页条数"
    ),
    OpenApiParameter(
        "Person-Credential", str, OpenApiParameter.HEADER,
        description="18 位证件号码：只查此人的申请。放在请求头，不进入地址和日志",
    ),
]  # fmt: skip
