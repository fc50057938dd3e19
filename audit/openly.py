"""How a page for everybody is answered: no login, nothing kept about the reader, copies allowed.

Fixed addresses name a day that has come; files are CSV with a byte order mark and JSON; the digest
of a content can be computed by anybody.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import conditional_page, require_safe

from audit import clock
from audit.sheets import CSV, csv_lines

FRESH_SECONDS = 300  #: how long a copy is shown without asking again; then the ETag decides
BUSY = HTTPStatus.SERVICE_UNAVAILABLE


class NotDisclosedError(Exception):
    """There is no such disclosure (now); the page says why (Chinese) under the status."""

    def __init__(self, text: str, *, status: int = 404, retry_after: int = 0):
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


def disclosed(view: Callable) -> Callable:
    """A page for everybody: GET and HEAD, cached for a short time, faults told in Chinese."""

    @require_safe
    @conditional_page
    @wraps(view)
    def shown(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
        except NotDisclosedError as fault:
            context = {"fault": str(fault), "status": fault.status}
            response = render(request, "public/fault.html", context, status=fault.status)
            if fault.status == BUSY:
                response["Retry-After"] = str(fault.retry_after)
                patch_cache_control(response, no_store=True)
                return response
        # A reader with a session gets it renewed by this answer: no shared cache may keep that.
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            patch_cache_control(response, private=True, no_cache=True)
        else:
            patch_cache_control(response, public=True, max_age=FRESH_SECONDS)
        return response

    return shown


def past_day(text: str) -> dt.date:
    """The day of a fixed address: a date of the calendar, not after today."""
    try:
        day = dt.date.fromisoformat(text) if len(text) == len("2021-12-20") else None
    except ValueError:
        day = None
    if day is None:
        raise NotDisclosedError(
            f"“{text}”不是有效日期。日期应写作“年-月-日”，例如 2021-12-20。", status=400
        )
    if day > clock.today():
        raise NotDisclosedError(f"{day} 尚未到来，还没有固定的公示内容。")
    return day


def digest_of(content: object) -> str:
    """SM3 of a content as compact JSON with sorted keys in UTF-8."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.new("sm3", text.encode()).hexdigest()


def csv_file(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> HttpResponse:
    """Rows under their heads, with a byte order mark; no cell is taken for a formula."""
    response = HttpResponse("".join(csv_lines(heads, rows)).encode(), content_type=CSV)
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def json_file(body: dict) -> JsonResponse:
    """JSON that a person can read, too."""
    return JsonResponse(body, json_dumps_params={"ensure_ascii": False, "indent": 1})
