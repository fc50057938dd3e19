"""Pages that anybody can open, log-in and tokens: so many requests of one address in a time."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import trail
from config.problems import problem, speak
from institutions.throttling import wait_for

TOO_MANY = 429
DETAIL = "来自您所在网络地址的请求过于频繁，请在{seconds}秒后重试。"


class AddressThrottle:
    """Answers 429 with Retry-After: a problem under /api/, else a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = next(
            (name for start, name in settings.THROTTLED_PATHS if request.path.startswith(start)), ""
        )
        seconds = wait_for(name, trail.ORIGIN.get()) if name else 0
        if not seconds:
            return self.get_response(request)
        answer = self._refused(request, seconds)
        answer["Retry-After"] = str(seconds)
        return answer

    def _refused(self, request: HttpRequest, seconds: int) -> HttpResponse:
        if request.path.startswith("/api/"):
            speak(request)
            return problem(TOO_MANY)
        context = {"detail": DETAIL.format(seconds=seconds), "clause": "", "code": "",
                   "status": TOO_MANY}  # fmt: skip
        return render(request, "refused.html", context, status=TOO_MANY)
