"""What every REST address of an institution shares: the token, its scope of rows, JSON in and out."""

import datetime as dt
import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from audit import clock
from institutions.access import scoped
from institutions.models import Scope
from institutions.refusals import Fault, Refusal
from institutions.shape import MAX_BYTES, day
from institutions.tokens import Client, OfficeClient, client_of, office_of

FORM_BYTES = 64 * 1024  #: of a multipart body around its file
USUAL, MOST = 100, 500  #: rows of a page of a list
BIGGEST_ID = 2**63 - 1
CODE = re.compile(r"[0-9A-Za-z._-]{1,40}")


def bearer(request: Request) -> str | None:
    """The token of the Authorization header; None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer …` of a client that is bound to an institution."""

    def authenticate(self, request: Request) -> tuple[Client, Client] | None:
        token = bearer(request)
        if token is None:
            return None
        client = client_of(token, at=timezone.now())
        if client is None:
            raise AuthenticationFailed
        return client, client

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="claims"'


class OfficeToken(BaseAuthentication):
    """`Authorization: Bearer …` of a client that is bound to a region's office."""

    def authenticate(self, request: Request) -> tuple[OfficeClient, OfficeClient] | None:
        token = bearer(request)
        if token is None:
            return None
        client = office_of(token, at=timezone.now())
        if client is None:
            raise AuthenticationFailed
        return client, client

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="office"'


class TokenScope(BasePermission):
    """Reading needs the first of the view's scopes, everything else the second."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        read, write = cast(InstitutionView | OfficeView, view).required_scopes
        needed = read if request.method == "GET" else write
        return isinstance(request.auth, Client | OfficeClient) and needed in request.auth.scopes


class InstitutionView(APIView):
    """A view of one institution's own data: of others it knows nothing."""

    authentication_classes = (BearerToken,)
    permission_classes = (TokenScope,)
    renderer_classes = (JSONRenderer,)
    parser_classes: Sequence[type[BaseParser]] = ()
    http_method_names = ["get", "post"]
    required_scopes: ClassVar[list[str]] = ["institution:read", "institution:write"]

    def begin(self, request: Request) -> None:
        """Who asks and when: `client`, `by`, `at`."""
        self.client = cast(Client, request.auth)
        self.by = self.client.name
        self.at: dt.datetime = clock.now()

    @property
    def scope(self) -> Scope:
        """Whose rows this request may see: its institution's own."""
        return Scope(institutions=(self.client.institution,))

    def rows(self):
        """The transaction of this request, in which other institutions' rows do not exist."""
        return scoped(self.scope)


class OfficeView(APIView):
    """A view of what a region's office may read: its own rows and those of the regions inside it."""

    authentication_classes = (OfficeToken,)
    permission_classes = (TokenScope,)
    renderer_classes = (JSONRenderer,)
    http_method_names = ["get"]
    required_scopes: ClassVar[list[str]] = ["reports:read", "reports:read"]

    def begin(self, request: Request) -> None:
        """Which office asks and when: `office`, `by`, `at`."""
        self.office = cast(OfficeClient, request.auth)
        self.by = self.office.name
        self.at: dt.datetime = clock.now()

    def rows(self):
        """The transaction of this request, in which other regions' rows do not exist."""
        return scoped(self.office.scope_codes())


def body_of(request: Request) -> bytes:
    """The raw body of a JSON request, not longer than MAX_BYTES."""
    media, _, _ = (request.content_type or "").partition(";")
    if media.strip().lower() != "application/json":
        raise UnsupportedMediaType(media)
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BYTES:
        detail = (f"请求体超过 {MAX_BYTES} 字节", "the body is too large")
        raise Refusal(400, "BODY_TOO_LARGE", detail)
    return request.body


def file_of(request: Request, *, most: int) -> tuple[str, bytes]:
    """(name, bytes) of the file in the field `file`; Refusal (413, 400): too large, or missing."""
    too_large = Refusal(
        413, "FILE_TOO_LARGE", (f"文件超过 {most // 1024 // 1024} MB 上限", "the file is too large")
    )
    if int(request.META.get("CONTENT_LENGTH") or 0) > most + FORM_BYTES:
        raise too_large
    upload = request.FILES.get("file")
    if upload is None:
        raise Refusal(
            400, "FILE_MISSING", ("请在 file 字段上传文件", "expected a file in the field file")
        )
    if upload.size > most:
        raise too_large
    return upload.name, upload.read()


def wrong_parameter(name: str, chinese: str, english: str) -> Refusal:
    """The refusal (400) of a query parameter."""
    detail = (f"查询参数 {name}：{chinese}", f"query parameter {name}: {english}")
    return Refusal(400, "PARAMETER", detail, (Fault(name[:60], "PARAMETER", (chinese, english)),))


def refuse_unknown(request: Request, *known: str) -> None:
    """A misspelt parameter is told, not passed over."""
    for name in request.query_params:
        if name not in known:
            raise wrong_parameter(name[:60], "没有此查询参数", "no such parameter")


def day_asked(request: Request, at: dt.datetime) -> dt.date:
    """The day of `?on=`, else that of the request."""
    return day_of_query(request, "on") or clock.local(at).date()


def day_of_query(request: Request, name: str) -> dt.date | None:
    """The day of a query parameter; None where it is not given."""
    text = request.query_params.get(name)
    if text is None:
        return None
    found = day(text) if len(text) == len("2021-01-01") else None
    if found is None:
        raise wrong_parameter(name, "应为日期 YYYY-MM-DD", "expected a date YYYY-MM-DD")
    return found


def limit_asked(request: Request) -> int:
    """How many rows `?limit=` wants."""
    text = request.query_params.get("limit", str(USUAL))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST):
        raise wrong_parameter("limit", f"应为 1 至 {MOST}", f"expected 1 to {MOST}")
    return int(text)


def after_asked(request: Request, *, whole: bool = False) -> str:
    """The key after which `?after=` continues (`whole`: a number), empty for the first page."""
    text = request.query_params.get("after", "")
    fits = not text or CODE.fullmatch(text) is not None
    if text and whole:
        fits = text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= BIGGEST_ID
    if not fits:
        raise wrong_parameter("after", "应为上一页的 next", "expected the next of the page before")
    return text


def newest(request: Request, rows: QuerySet) -> tuple[list[Any], str | None]:
    """The page of rows by descending id that `?after=` and `?limit=` ask for, and the next `after`."""
    limit, after = limit_asked(request), after_asked(request, whole=True)
    rows = rows.order_by("-pk")
    found = list((rows.filter(pk__lt=int(after)) if after else rows)[: limit + 1])
    shown = found[:limit]
    return shown, str(shown[-1].pk) if len(found) > limit else None


def iso(day: dt.date | None) -> str | None:
    """A day as answers show it."""
    return day.isoformat() if day else None


def encoded(answer: dict) -> bytes:
    """An answer as it is sent and stored."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def json_answer(body: bytes | dict, status: int = 200) -> HttpResponse:
    """An answer that no cache keeps."""
    if isinstance(body, dict):
        body = encoded(body)
    response = HttpResponse(body, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    return response
