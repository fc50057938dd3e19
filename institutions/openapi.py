"""How REST interfaces are described: security, words of schemas, problems (RFC 9457)."""

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from institutions.rest import MOST, USUAL

OAUTH_ADDRESS = "/api/v1/oauth/token"


class BearerScheme(OpenApiAuthenticationExtension):
    """OAuth 2 client credentials: the token belongs to one institution."""

    target_class = "institutions.rest.BearerToken"
    name = "institution"

    def get_security_definition(self, auto_schema) -> dict:
        flow = {"tokenUrl": OAUTH_ADDRESS, "scopes": settings.OAUTH2_PROVIDER["SCOPES"]}
        return {"type": "oauth2", "flows": {"clientCredentials": flow}}

    def get_security_requirement(self, auto_schema) -> dict:
        read, write = auto_schema.view.required_scopes
        return {self.name: [read if auto_schema.method == "GET" else write]}


class OfficeScheme(BearerScheme):
    """OAuth 2 client credentials: the token belongs to the office of one region."""

    target_class = "institutions.rest.OfficeToken"
    name = "office"


def public(schema: object) -> object:
    """A schema without the messages that only the checker reads."""
    if isinstance(schema, dict):
        return {k: public(v) for k, v in schema.items() if k != "x-message"}
    return [public(item) for item in schema] if isinstance(schema, list) else schema


def body(schema: dict) -> dict:
    """A JSON body of a schema."""
    return {"application/json": public(schema)}


def record(**properties: dict) -> dict:
    """An object that always has these members."""
    return {"type": "object", "required": list(properties), "properties": properties}


def listed(schema: dict) -> dict:
    """An array of a schema."""
    return {"type": "array", "items": schema}


def or_null(schema: dict) -> dict:
    """A schema, or null."""
    return {"oneOf": [schema, {"type": "null"}]}


TEXT, BOOL, WHOLE = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
DAY = {"type": "string", "format": "date"}
MOMENT = {"type": "string", "format": "date-time"}
FAULT = record(pointer=TEXT, code=TEXT, detail=TEXT, clause=TEXT)
PROBLEM = record(
    type=TEXT, title=TEXT, status=WHOLE, detail=TEXT, code=TEXT, errors=listed(FAULT), trace_id=TEXT
)


def file_body(**more: dict) -> dict:
    """A multipart body with a file in the field `file`, and other fields."""
    properties = {"file": {"type": "string", "format": "binary"}, **more}
    return {
        "multipart/form-data": {"type": "object", "required": ["file"], "properties": properties}
    }


def answers(*statuses: int, **found: dict) -> dict:
    """Responses: `found` by name `s201`, problems by status; every call may meet the last ones."""
    described: dict = {
        (int(name[1:]), "application/json"): schema for name, schema in found.items()
    }
    for status in {*statuses, 400, 401, 403, 404, 405, 406, 429, 500, 503}:
        described[status, "application/problem+json"] = OpenApiResponse(
            PROBLEM, description="RFC 9457"
        )
    return described


ON = OpenApiParameter("on", OpenApiTypes.DATE, description="所依据的日期，默认今天")
AFTER = OpenApiParameter("after", str, description="接着上一页：填上一页答复中的 next")
LIMIT = OpenApiParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}
)
