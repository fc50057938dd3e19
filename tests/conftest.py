"""Test servers, databases and their rights.

Without DATABASE_URL the whole run has its own PostgreSQL and Valkey in a temporary VAR_DIR. The
test database is built by the owner; tests then connect as the application and the settler, with
their real privileges. Ordinary tests roll back and see the whole country; `committed_db` is a clone
that keeps.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import django
import pytest

from config.embedded import Servers

# Django reads its settings after this; workers of xdist inherit the environment: one server a run.
TEST_FLAGS = {"autovacuum": "off", "shared_buffers": "128MB"}  # autovacuum would hold clones open
SERVERS: Servers | None = None
if "DATABASE_URL" not in os.environ:
    os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="portal-tests-")
    SERVERS = Servers(os.environ["VAR_DIR"], flags=TEST_FLAGS)
    os.environ.update(SERVERS.urls())
os.environ["DJANGO_ENV"] = "test"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"


def pytest_configure(config: pytest.Config) -> None:
    if SERVERS and not config.option.collectonly:
        SERVERS.start()
        (Path(SERVERS.var) / "static").mkdir(exist_ok=True)  # whitenoise warns without it
    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVERS:
        SERVERS.stop()
        shutil.rmtree(SERVERS.var, ignore_errors=True)


@contextmanager
def _maintenance():
    """The owner's connection to the maintenance database: creates and drops databases."""
    import psycopg2
    from django.conf import settings

    address = urlsplit(settings.DATABASE_OWNER_URL)._replace(path="/postgres")
    connection = psycopg2.connect(urlunsplit(address))
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def _become(alias: str, url: str) -> None:
    """Points a connection at another role of the same server, keeping its database."""
    import dj_database_url
    from django.db import connections

    connections[alias].close()
    role = dj_database_url.parse(url)
    connections[alias].settings_dict.update(
        {key: role.get(key, "") for key in ("USER", "PASSWORD", "HOST", "PORT")}
    )


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker, worker_id) -> Iterator[None]:
    """The migrated test database, one per xdist worker: built by the owner, used by the others."""
    from django.conf import settings
    from django.db import connections
    from django.test.utils import setup_databases

    suffix = "" if worker_id == "master" else f"_{worker_id}"
    with django_db_blocker.unblock():
        for alias in connections:
            connections[alias].settings_dict["TEST"]["NAME"] = f"test_portal{suffix}"
        _become("default", settings.DATABASE_OWNER_URL)
        setup_databases(verbosity=0, interactive=False)
        _become("default", settings.DATABASE_URL)
        _become("settler", settings.DATABASE_SETTLER_URL)
    yield
    with django_db_blocker.unblock():
        name = connections["default"].settings_dict["NAME"]
        connections.close_all()
        with _maintenance() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _see_everything() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', false)")


@pytest.fixture(autouse=True)
def _whole_country(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ordinary database tests see every region; `settler` shares their transaction and rights."""
    if not (request.node.get_closest_marker("django_db") or "db" in request.fixturenames):
        yield
        return
    request.getfixturevalue("db")
    from django.db import connections

    settler = connections["settler"]
    connections["settler"] = connections["default"]
    _see_everything()
    yield
    connections["settler"] = settler


@pytest.fixture
def committed_db(
    django_db_setup, django_db_blocker, monkeypatch: pytest.MonkeyPatch, worker_id: str
) -> Iterator[str]:
    """A clone of the test database for threads, processes, Celery and browsers; yields its name.

    `default` and `settler` point at it as the application and the settler, and so does the
    environment of processes started by the test. This thread sees every region until it reconnects.
    """
    from django.conf import settings
    from django.db import connections

    with django_db_blocker.unblock():
        template = connections["default"].settings_dict["NAME"]
        name = f"{template}_{uuid.uuid4().hex[:8]}"  # caches go by name
        connections.close_all()
        with _maintenance() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        for variable in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SETTLER_URL"):
            address = urlsplit(getattr(settings, variable))._replace(path=f"/{name}")
            monkeypatch.setenv(variable, urlunsplit(address))
        for alias in connections:
            connections[alias].settings_dict["NAME"] = name
        _see_everything()
        yield name
        connections.close_all()
        for alias in connections:
            connections[alias].settings_dict["NAME"] = template
        with _maintenance() as cursor:
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def var_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty VAR_DIR for processes that the test starts."""
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "var"))
    return tmp_path / "var"


@pytest.fixture
def broker(worker_id: str) -> Iterator[str]:
    """A broker address that no other test worker listens to; it is emptied afterwards."""
    import redis
    from django.conf import settings

    from config.celery import app

    number = 1 + int(worker_id.removeprefix("gw") or 0) % 15 if worker_id != "master" else 15
    address = settings.CELERY_BROKER_URL
    client = redis.Redis.from_url(settings.REDIS_URL, db=number)
    before = app.conf.broker_url, app.conf.broker_write_url
    mark = "&" if "?" in address else "?"
    url = (
        f"{address}{mark}virtual_host={number}"
        if address.startswith("redis+socket")
        else f"{address.rstrip('/').rsplit('/', 1)[0]}/{number}"
    )
    app.conf.broker_url = app.conf.broker_write_url = url
    app.pool.force_close_all()
    app._pool = None
    client.flushdb()
    yield url
    client.flushdb()
    client.close()
    app.conf.broker_url, app.conf.broker_write_url = before
    app._pool = None
