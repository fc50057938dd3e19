"""Whether this copy may serve: its servers answer, and the database keeps what it acknowledged."""

from collections.abc import Iterable

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections
from django.http import HttpRequest, JsonResponse

from audit import clock, watch
from audit.access import public

# Measured: kill -9 of the server with it off lost 124 of 118,768 acknowledged commits.
LOSES_COMMITS = "off"


def unsafe_databases(aliases: Iterable[str]) -> list[str]:
    """One sentence per database that may lose an acknowledged commit."""
    found = []
    for alias in aliases:
        connection = connections[alias]
        if connection.vendor != "postgresql":
            found.append(f"Database {alias!r} is {connection.vendor}; the portal needs PostgreSQL.")
            continue
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone()[0] == LOSES_COMMITS:
                found.append(
                    f"Database {alias!r} runs with synchronous_commit=off: money that was "
                    "acknowledged could be lost. Switch it on."
                )
    return found


def refuse_unsafe_databases() -> None:
    """Raises in production when a commit may be lost; leaves no connection open for forks."""
    if not settings.PRODUCTION:
        return
    try:
        found = unsafe_databases(connections)
    finally:
        connections.close_all()
    if found:
        raise ImproperlyConfigured(" ".join(found))


def check_databases(
    *, databases: Iterable[str] | None = None, **kwargs: object
) -> list[checks.Error]:
    """`check --deploy --database default --database settler`."""
    return [checks.Error(text, id="portal.E001") for text in unsafe_databases(databases or [])]


def register() -> None:
    """Adds the checks of this module to `manage.py check --deploy`."""
    checks.register(check_databases, checks.Tags.database, deploy=True)


@public
def healthz(request: HttpRequest) -> JsonResponse:
    """200 when the database and the broker answer, else 503; says which one does not.

    A sealer that stands still is told (`trail`), but no reason to take the portal out of service.
    """
    found = state()
    down = "down" in found.values()
    return JsonResponse(found, status=503 if down else 200, headers={"Cache-Control": "no-store"})


def state() -> dict[str, str]:
    """`ok` or what is wrong, by server; `trail` is `still` while the sealer stands still."""
    import redis  # a third of a second that nothing else of the web process needs

    state = {"database": "ok", "broker": "ok", "trail": "ok"}
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        if watch.alarm(at=clock.machine()):
            state["trail"] = "still"
    except DatabaseError:
        state["database"] = "down"
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2) as broker:
            broker.ping()
    except redis.RedisError:
        state["broker"] = "down"
    return state
