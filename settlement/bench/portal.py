"""Measurements of the running portal: servers of their own, second start, list pages."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.utils.module_loading import import_string
from psycopg2 import sql

FIRST_PAGES = (
    ("newest", "true"),
    ("institution", "institution_code = 'H33030000001'"),
    ("person", "person_id = (SELECT max(id) FROM settlement_insuredperson)"),
    ("day", "institution_code = 'H33030000001' AND service_date = DATE '2021-06-01'"),
)


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


def first_page() -> float:
    """Milliseconds of the slowest first page of claims, as the application's role sees it."""
    worst = 0.0
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', 'R:3303', false)")
        for _, where in FIRST_PAGES:
            for _ in range(3):
                began = time.perf_counter()
                cursor.execute(
                    sql.SQL(
                        "SELECT id, claim_no, fee FROM settlement_claim WHERE {}"
                        " ORDER BY id DESC LIMIT 50"
                    ).format(sql.SQL(where))
                )
                cursor.fetchall()
                passed = (time.perf_counter() - began) * 1000
            worst = max(worst, passed)
        cursor.execute("SELECT set_config('app.scope', '', false)")
    return worst


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
