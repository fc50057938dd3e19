"""Measurements of the running portal: servers of their own, second start, list pages."""

import datetime as dt
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg2
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.module_loading import import_string

from institutions.access import scoped
from institutions.models import Region, Scope, User
from settlement import listing, search
from settlement.bench import data
from settlement.contract import STATES
from settlement.models import Claim, InsuredPerson
from settlement.search import ClaimFilter


@contextmanager
def own_servers(var: str) -> Iterator[Any]:
    """PostgreSQL with the shipped settings in a directory of its own; both aliases point at it."""
    servers_of = import_string("config.embedded.Servers")  # wiring is read by name
    before = {alias: dict(connections[alias].settings_dict) for alias in connections}
    with servers_of(Path(var) / "servers") as servers:
        urls = servers.urls()
        point(urls["DATABASE_OWNER_URL"], urls["DATABASE_OWNER_URL"])
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SETTLER_URL"):
            setattr(settings, name, urls[name])
        call_command("migrate", verbosity=0)
        point(urls["DATABASE_URL"], urls["DATABASE_SETTLER_URL"])
        try:
            yield servers
        finally:
            connections.close_all()
            for alias, values in before.items():
                connections[alias].settings_dict.update(values)


def point(application: str, settler: str) -> None:
    """Point the aliases at other addresses."""
    import dj_database_url

    connections.close_all()
    for alias, url in (("default", application), ("settler", settler)):
        role = dj_database_url.parse(url)
        connections[alias].settings_dict.update(
            {key: role.get(key, "") for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
        )


def renamed(url: str, database: str) -> str:
    """The same address with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """A connection of psycopg2 that commits every statement."""
    link = psycopg2.connect(url)
    link.autocommit = True
    with closing(link), link.cursor() as cursor:
        yield cursor


def settled_down() -> None:
    """Statistics and visibility as autovacuum makes them within minutes of a load."""
    with closing(psycopg2.connect(settings.DATABASE_OWNER_URL)) as owner:
        owner.autocommit = True
        owner.cursor().execute("VACUUM (ANALYZE, SKIP_LOCKED)")


def first_page() -> float:
    """Milliseconds of the slowest first page of claims under any filter, as a region's staff see them.

    The page's and the interface's own queries, row security included; each filter twice, the faster
    counts. What matches nothing, everything or only the oldest claims is among them.
    """
    settled_down()
    user = User(role="reviewer", region=Region.objects.get(pk=data.REGION))
    with scoped(user.scope_codes()):
        slowest = max(_fastest(partial(_page, user, query)) for query in _queries())
    with scoped(Scope(institutions=(data.INSTITUTION,))):
        lists = (_fastest(partial(listing.page, data.INSTITUTION, one)) for one in _wanted())
        return max(slowest, *lists)


def _page(user: User, query: dict[str, str]) -> object:
    return search.page(claims_found(user, query))


def claims_found(user: User, query: dict[str, str]) -> QuerySet:
    """The claims that the page's filters find for somebody."""
    seen, request = Claim.objects.visible_to(user), SimpleNamespace(user=user)
    return ClaimFilter(QueryDict(urlencode(query)), queryset=seen, request=request).found()


def _queries() -> Iterator[dict[str, str]]:
    """Every filter of the page: the usual, the rare and the absent."""
    yield {}
    for name, values in {
        "state": [code for code, _ in ClaimFilter.base_filters["state"].extra["choices"]],
        "reason": [code for code, _ in search.reasons()],
        "channel": ["claim", "request"],
        "institution": ["测量", "没有这家", data.INSTITUTION],
        "item": ["111102001", "XC09CAS001A", "999999999"],
        "claim_no": ["A000000001", "没有"],
        "since": ["2021-04-01", "2021-10-10", "2030-01-01"],
        "until": ["2021-04-02", "2021-10-10", "2001-01-01"],
        "person": ["00" * 32, bytes(InsuredPerson.objects.latest("pk").id_hash).hex()],
    }.items():
        for value in values:
            yield {name: value}
            yield {name: value, "state": "review"}


def _wanted() -> Iterator[listing.Wanted]:
    """The same of the interface."""
    yield listing.Wanted()
    yield from (listing.Wanted(state=state) for state in STATES)
    for day in (dt.date(2001, 1, 1), dt.date(2021, 4, 2), dt.date(2030, 1, 1)):
        yield from (listing.Wanted(first=day), listing.Wanted(last=day))
    yield from (listing.Wanted(item=item) for item in ("111102001", "999999999"))
    yield from (listing.Wanted(claim_no="A000000001"), listing.Wanted(person=bytes(32)))


def _fastest(page: Callable[[], object]) -> float:
    passed = []
    for _ in range(2):
        began = time.perf_counter()
        page()
        passed.append((time.perf_counter() - began) * 1000)
    return min(passed)


def start_again() -> float:
    """Seconds from the second start of the portal to its first served page."""
    with tempfile.TemporaryDirectory(prefix="portal-start-") as var:
        _start(var)
        return _start(var)


def _start(var: str) -> float:
    port = free_port()
    environment = {
        k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "DJANGO_ENV")
    }
    environment |= {"VAR_DIR": var, "PORT": str(port)}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "config.run"], cwd=settings.BASE_DIR, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while time.perf_counter() - began < 300:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz"):
                return time.perf_counter() - began
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(60)
    raise TimeoutError("the portal does not start")


def free_port() -> int:
    """A port that nobody listens to."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
