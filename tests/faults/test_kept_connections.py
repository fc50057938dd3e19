"""Connections that are kept between requests: used while they live, replaced when the server ended them."""

from contextlib import closing

import psycopg2
import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import connection


@pytest.fixture
def kept(committed_db: str):
    """The process's connection, as gunicorn keeps it from request to request."""
    connection.close()
    connection.ensure_connection()
    yield connection.connection.info.backend_pid
    connection.close()


def between_requests() -> None:
    """What Django does before and after each request."""
    request_finished.send(sender=None)
    request_started.send(sender=None)


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_a_living_connection_is_kept_and_not_asked(kept: int) -> None:
    between_requests()
    before = connection.connection
    assert connection.is_usable()
    assert backend() == kept
    assert connection.connection is before


def test_a_connection_that_the_server_ended_is_replaced(kept: int) -> None:
    with (
        closing(psycopg2.connect(settings.DATABASE_URL)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [kept])
    between_requests()
    assert backend() != kept
