"""Row level security: the scope of a request or task, set for exactly one transaction."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from audit import prepared
from institutions.models import Scope, User

SET = "SELECT set_config('app.scope', %(scope)s, true)"
EVERYTHING = Scope(everything=True)


class PortalRequest(HttpRequest):
    """A request as views behind `@requires` see it: the user is a person of the portal."""

    user: User
    htmx: HtmxDetails
    counted: tuple[int, int]  #: tasks that wait, messages unread, where a page counted them


@contextmanager
def scoped(
    scope: Scope, *, using: str = "default", first: tuple[str, Mapping[str, Any]] | None = None
) -> Iterator[tuple | None]:
    """Open a transaction in which rows outside `scope` do not exist for the application role.

    Inside another transaction the scope before is put back at the end. `first` is a statement with
    its values that goes to the server with the scope, prepared; its row is what the block gets.
    """
    nested = connections[using].in_atomic_block
    with transaction.atomic(using=using):
        before = _set(scope.setting(), using) if nested or first is None else ""
        row = None
        if first is not None:
            statement, given = first
            with connections[using].cursor() as cursor:
                sent = statement if nested else (SET, statement)
                prepared.execute(cursor, sent, {**given, "scope": scope.setting()})
                row = cursor.fetchone()
        yield row
        if nested:
            _set(before, using)


def set_scope(scope: Scope, *, using: str = "default") -> None:
    """Set `app.scope` for the current transaction only (`set_config(…, is_local)`)."""
    _set(scope.setting(), using)


def _set(setting: str, using: str) -> str:
    """Set the scope; returns the setting before."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(current_setting('app.scope', true), ''), "
            "set_config('app.scope', %s, true)",
            [setting],
        )
        return cursor.fetchone()[0]


class ScopeMiddleware:
    """Every page runs in one transaction with its user's scope; anonymous pages see no scoped row.

    The API opens its own scope after the token is known.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if not request.user.is_authenticated or request.path.startswith("/api/"):
            return self.get_response(request)
        with scoped(request.user.scope_codes()):
            response = self.get_response(request)
            if response.status_code >= 500:
                transaction.set_rollback(True)
        return response
