"""Who may open a URL: every view declares one permission, or says that it is public."""

from collections.abc import Callable
from functools import wraps
from typing import Protocol

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from audit import trail

PUBLIC = "public"
SIGNED_IN = "signed-in"  #: any person who is logged in
DECLARED = "permission"  #: attribute of a view that names its policy


class Scope(Protocol):
    """What somebody may see: area-code prefixes and institution codes, or everything."""

    @property
    def regions(self) -> tuple[str, ...]: ...

    @property
    def institutions(self) -> tuple[str, ...]: ...

    @property
    def everything(self) -> bool: ...

    def setting(self) -> str: ...


class Person(Protocol):
    """What accountability needs to know of whoever acts; who that is, packages above know."""

    @property
    def username(self) -> str: ...

    @property
    def region_id(self) -> str | None: ...

    @property
    def institution_id(self) -> str | None: ...

    def may(self, permission: str) -> bool: ...

    def scope_codes(self) -> Scope: ...


def person_of(request: HttpRequest) -> Person:
    """Who asks for a page behind `requires`; without a log-in PermissionDenied."""
    if isinstance(request.user, AnonymousUser):
        raise PermissionDenied
    return request.user


def requires(permission: str) -> Callable:
    """A view for people whose role has `permission`; others: login page or 403."""

    def decorate(view: Callable) -> Callable:
        @wraps(view)
        def guarded(request, *args, **kwargs):
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not request.user.may(permission):
                raise PermissionDenied(permission)
            return view(request, *args, **kwargs)

        setattr(guarded, DECLARED, permission)
        return guarded

    return decorate


class OriginMiddleware:
    """Every event of a request names the address it came from.

    Behind the proxy that ends TLS this is the last address of X-Forwarded-For, which the proxy adds.
    """

    def __init__(self, get_response: Callable) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        origin = request.META.get("REMOTE_ADDR", "")
        if settings.SECURE_PROXY_SSL_HEADER:
            forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
            origin = forwarded.rpartition(",")[2].strip() or origin
        before = trail.ORIGIN.set(trail.one_line(origin, 45))
        try:
            return self.get_response(request)
        finally:
            trail.ORIGIN.reset(before)


def public(view: Callable) -> Callable:
    """A view for everybody, without login."""
    setattr(view, DECLARED, PUBLIC)
    return view


def signed_in(view: Callable) -> Callable:
    """A view for whoever is logged in, about that person only (own password, own devices)."""

    @wraps(view)
    def guarded(request, *args, **kwargs):
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(request, *args, **kwargs)

    setattr(guarded, DECLARED, SIGNED_IN)
    return guarded
