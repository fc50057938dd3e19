"""What log-in adds to django-allauth: no sign-up, mixed passwords, sessions that end."""

import string

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib.auth import logout
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from audit import clock, trail
from config.menu import home
from institutions.models import User

LOGGED_IN_AT = "logged_in_at"


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are opened by administrators only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """The first page of this person's menu; whoever has none sees the own account."""
        return home(request.user)

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None,
        *args: object, **kwargs: object,
    ) -> None:  # fmt: skip
        """Log-in and log-out show themselves; they need no words in the page."""
        if not (message_template or "").endswith(("/logged_in.txt", "/logged_out.txt")):
            super().add_message(request, level, message_template, *args, **kwargs)

    def post_login(self, request: HttpRequest, user: User, **kwargs: object) -> HttpResponse:
        """Record that the person came in. (GB/T 22239 安全审计 a)"""
        _record("account.login", user)
        return super().post_login(request, user, **kwargs)

    def authentication_failed(self, request: HttpRequest, **credentials: object) -> None:
        """Record a failed log-in of an account that exists, until it is locked."""
        user = User.objects.filter(username=credentials.get("username", "")).first()
        if user and not getattr(request, "axes_locked_out", False):
            _record("account.login", user, outcome="refused")


def attempted_name(request: HttpRequest, credentials: dict | None = None) -> str | None:
    """The account that a log-in tries, from allauth's form or from Django's credentials."""
    return (credentials or {}).get("username") or request.POST.get("login")


def _record(action: str, user: User, outcome: str = "ok", subject: str = "") -> None:
    area = user.institution.region_id if user.institution else user.region_id
    trail.record(
        by=user.username, at=clock.now(), action=action, subject=subject or f"user:{user.pk}",
        outcome=outcome,
        region_code=area or "", institution_code=user.institution_id or "",
    )  # fmt: skip


class CharacterClassesValidator:
    """Three of: capitals, small letters, digits, other characters. (GB/T 22239 身份鉴别 a)"""

    least = 3

    def validate(self, password: str, user: object = None) -> None:
        classes = (string.ascii_uppercase, string.ascii_lowercase, string.digits)
        found = sum(any(letter in group for letter in password) for group in classes)
        found += any(letter not in "".join(classes) for letter in password)
        if found < self.least:
            raise ValidationError(self.get_help_text(), code="password_classes")

    def get_help_text(self) -> str:
        return _("密码须包含大写字母、小写字母、数字、符号中的至少三类。")


class SessionEndsMiddleware:
    """Ends a session SESSION_ABSOLUTE_AGE seconds after log-in, however busy it is.

    Acts that a page refused to this person are recorded; pages are not kept by the browser.
    """

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            now = int(timezone.now().timestamp())
            began = request.session.setdefault(LOGGED_IN_AT, now)
            if now - began > settings.SESSION_ABSOLUTE_AGE:
                logout(request)
            response = _unstored(self.get_response(request))
            _record_refusal(request, response)
            return response
        return self.get_response(request)


def _record_refusal(request: HttpRequest, response: HttpResponse) -> None:
    """An act that was refused with 403 leaves an event with the person and the address."""
    refused = response.status_code == 403 and request.method == "POST"
    if refused and isinstance(request.user, User):
        _record("page.refused", request.user, "refused", f"page:{request.path}")


def _unstored(response: HttpResponse) -> HttpResponse:
    """Pages of a session are not kept: after log-out, Back shows nothing. (GB/T 22239 剩余信息保护)"""
    if not response.has_header("Cache-Control"):
        response["Cache-Control"] = "no-store"
    return response
