"""Every error of the API is an RFC 9457 problem in Chinese or English, with code and trace id."""

import logging
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from http import HTTPStatus

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation.trans_real import parse_accept_lang_header
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from audit.procedure import Refused
from institutions.refusals import Fault, Refusal, Texts

log = logging.getLogger("portal.api")
CONTENT_TYPE = "application/problem+json"

#: Title and code by status; the code is used where the error brings none of its own.
TITLES: dict[int, tuple[str, Texts]] = {
    400: ("BAD_REQUEST", ("请求不符合契约", "The request does not fit the contract")),
    401: ("UNAUTHENTICATED", ("未通过身份认证", "Not authenticated")),
    403: ("FORBIDDEN", ("没有此项权限", "Not permitted")),
    404: ("NOT_FOUND", ("没有此资源", "No such resource")),
    405: ("METHOD_NOT_ALLOWED", ("不支持此方法", "Method not allowed")),
    406: ("NOT_ACCEPTABLE", ("只能答复 JSON", "Only JSON can be answered")),
    409: ("CONFLICT", ("与已有数据冲突", "Conflict with what is stored")),
    413: ("BODY_TOO_LARGE", ("请求体过大", "The body is too large")),
    415: (
        "UNSUPPORTED_MEDIA_TYPE",
        ("请求体应为 application/json", "The body must be application/json"),
    ),
    422: ("UNPROCESSABLE", ("请求无法处理", "The request cannot be processed")),
    429: ("TOO_MANY_REQUESTS", ("请求过于频繁", "Too many requests")),
    500: ("INTERNAL_ERROR", ("系统内部错误", "Internal error")),
    503: ("BUSY", ("系统繁忙，请重试", "Busy, please retry")),
}
DETAILS: dict[int, Texts] = {
    429: ("请求没有处理；请按 Retry-After 所示的秒数等待后重试", "Please wait as Retry-After says"),
    500: ("请求没有生效；请凭 trace_id 联系运维", "Nothing was stored; quote the trace_id"),
    503: ("请求没有生效，请稍后重试", "Nothing was stored; please retry"),
}


_english: ContextVar[bool] = ContextVar("problems_in_english", default=False)


def speak(request: HttpRequest | Request | None) -> None:
    """Answer this request in the language it prefers, of Chinese (default) and English."""
    header = request.headers.get("Accept-Language", "") if request is not None else ""
    wanted = [code.partition("-")[0] for code, _ in parse_accept_lang_header(header)]
    _english.set(next((code for code in wanted if code in ("zh", "en")), "zh") == "en")


def say(texts: Texts) -> str:
    """The sentence in the language of the request."""
    return texts[1] if _english.get() else texts[0]


def problem(
    status: int,
    code: str = "",
    detail: Texts | None = None,
    faults: tuple[Fault, ...] = (),
    trace_id: str = "",
    extra: dict | None = None,
) -> JsonResponse:
    """One RFC 9457 answer."""
    standard, title = TITLES.get(status, TITLES[500 if status >= 500 else 400])
    body = {
        "type": f"urn:problem:{(code or standard).lower().replace('_', '-')}",
        "title": say(title),
        "status": status,
        "detail": say(detail or DETAILS.get(status, title)),
        "code": code or standard,
        "errors": [
            {"pointer": f.pointer, "code": f.code, "detail": say(f.detail), "clause": f.clause}
            for f in faults
        ],
        "trace_id": trace_id or uuid.uuid4().hex,
        **(extra or {}),
    }
    answer = JsonResponse(
        body, status=status, content_type=CONTENT_TYPE, json_dumps_params={"ensure_ascii": False}
    )
    answer["Cache-Control"] = "no-store"
    answer["Vary"] = "Accept-Language"
    return answer


def handle(error: Exception, context: dict) -> HttpResponse:
    """REST framework's exception handler: whatever happens under /api/ is answered as a problem."""
    speak(context.get("request"))
    if isinstance(error, Refused):
        return refused(error)
    if isinstance(error, Refusal):
        return problem(error.status, error.code, error.detail, error.faults, extra=error.extra)
    if isinstance(error, APIException):
        return _framework(error)
    if isinstance(error, Http404):
        return problem(404)
    if isinstance(error, PermissionDenied):
        return problem(403)
    if isinstance(error, SuspiciousOperation):
        return problem(400)
    return _failure(error)


def refused(error: Refused) -> JsonResponse:
    """A step of a procedure that is not taken: its field as pointer, with the clause."""
    detail = (error.detail, error.detail)
    fault = Fault(f"/{error.field}" if error.field else "", error.code, detail, error.clause)
    return problem(error.status, error.code, detail, (fault,))


METHOD = 405
NO_PAGE = "此地址只接收办理操作，没有可以打开的页面；请从相应事项的页面办理。"


class RefusedMiddleware:
    """A refusal that no view put on its page is an error page with the reason and the clause.

    So is an address of acts that somebody opens as a page.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if answer.status_code == METHOD and not answer.content and request.accepts("text/html"):
            context = {"detail": NO_PAGE, "clause": "", "code": "", "status": METHOD}
            page = render(request, "refused.html", context, status=METHOD)
            page["Allow"] = answer["Allow"]
            return page
        return answer

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The command that refused has undone its own writes."""
        if isinstance(error, Refused):
            detail, clause = error.detail, error.clause
        elif isinstance(error, Refusal):
            detail, clause = error.detail[0], ""
        else:
            return None
        context = {"detail": detail, "clause": clause, "code": error.code, "status": error.status}
        return render(request, "refused.html", context, status=error.status)


def _framework(error: APIException) -> HttpResponse:
    answer = problem(error.status_code)
    if error.status_code == 400:
        answer = problem(400, detail=(str(error.detail), str(error.detail)))
    if header := getattr(error, "auth_header", None):
        answer["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        answer["Retry-After"] = str(int(wait))
    return answer


def _failure(error: Exception) -> HttpResponse:
    """A fault of ours: logged with its frames, told without them.

    Messages of the database are not logged: they may quote rows.
    """
    trace_id = uuid.uuid4().hex
    busy = isinstance(error, OperationalError)
    status = HTTPStatus.SERVICE_UNAVAILABLE if busy else HTTPStatus.INTERNAL_SERVER_ERROR
    frames, tb = [], error.__traceback__
    while tb is not None:
        frames.append(f"{tb.tb_frame.f_code.co_filename}:{tb.tb_lineno}")
        tb = tb.tb_next
    log.error("%s %s at %s", trace_id, type(error).__name__, " > ".join(frames[-8:]))
    answer = problem(status, trace_id=trace_id)
    if busy:
        answer["Retry-After"] = "1"
    return answer


@csrf_exempt
def unknown(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Any other address under /api/."""
    speak(request)
    return problem(404)
