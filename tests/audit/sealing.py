"""What tests of the sealed log share: acts, a sealer with the tests' clock, a superuser who cheats."""

import datetime as dt
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from django.conf import settings
from django.db import connections

from audit import sealer, trail
from audit.models import Archive, Event

AT = dt.datetime(2021, 12, 1, 9, 30, tzinfo=dt.UTC)
NANTONG = {"region_code": "320613", "institution_code": "H32061300001"}


def act(number: int = 0, **more: object) -> Event:
    """One event in the caller's transaction."""
    given = {"by": "clerk.one", "at": AT + dt.timedelta(minutes=number), "action": "claim.receive",
             "subject": f"claim:{number}", **NANTONG, **more}  # fmt: skip
    return trail.record(**given)


def seal(minutes: int = 0, **more: object) -> sealer.Run:
    """One run of the sealer, `minutes` after AT."""
    at = AT + dt.timedelta(minutes=minutes)
    return sealer.seal(at=at, machine=at, **more)


def recorded_archive(at: dt.datetime) -> Archive:
    """An archive of everything sealed so far, recorded by a sealed event; no file is written."""
    top = trail.checkpoint()
    row = Archive.objects.create(
        first=0, last=top.size, before=at.date(), name="old.jsonl", sm3="0" * 64, size=0, checkpoint=top,
        at=at, by="admin",
    )  # fmt: skip
    trail.record(by="admin", at=at, action="trail.archive", subject=f"archive:{row.pk}",
                 detail={"first": row.first, "last": row.last, "sm3": row.sm3})  # fmt: skip
    sealer.seal(at=at, machine=at)
    return row


def superuser_url(name: str) -> str:
    """The address of a database for the server's superuser."""
    address = urlsplit(settings.DATABASE_OWNER_URL)
    place = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(netloc=f"postgres@{place}", path=f"/{name}"))


@contextmanager
def superuser() -> Iterator[psycopg2.extensions.cursor]:
    """Somebody who may do everything to the database of `committed_db`: no trigger stops him."""
    name = connections["default"].settings_dict["NAME"]
    with closing(psycopg2.connect(superuser_url(name))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            yield cursor


@contextmanager
def session(role_url: str | None = None) -> Iterator[psycopg2.extensions.connection]:
    """Another session of the application (or of the role of an address) on the same database."""
    name = connections["default"].settings_dict["NAME"]
    address = urlsplit(role_url or settings.DATABASE_URL)._replace(path=f"/{name}")
    with closing(psycopg2.connect(urlunsplit(address))) as connection:
        yield connection
