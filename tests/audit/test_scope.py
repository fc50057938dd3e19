"""Whose rows a scope allows, in the database (`scope_allows`) and in queries (`within`)."""

import pytest
from django.db import connection

from institutions.models import Region
from tests import factories


@pytest.mark.parametrize(
    ("scope", "region", "institution", "allowed"),
    [
        ("*", "330300", "", True),
        ("", "330300", "H33030000001", False),
        ("R:33", "330300", "", True),
        ("R:3303", "330300", "H33030000001", True),
        ("R:3303", "330400", "", False),
        ("R:3303", "133030", "", False),
        ("R:3303,R:3206", "320613", "", True),
        ("R:", "650000", "", True),
        ("I:H33030000001", "330300", "H33030000001", True),
        ("I:H33030000001", "330300", "H33030000002", False),
        ("I:H3303000000", "330300", "H33030000001", False),
        ("I:H33030000001,R:22", "220000", "", True),
        ("R:%", "330300", "", False),
        ("R:33_3", "330300", "", False),
    ],
)
def test_what_a_scope_allows(db, scope: str, region: str, institution: str, allowed: bool):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', %s, true)", [scope])
        cursor.execute("SELECT scope_allows(%s, %s)", [region, institution])
        assert cursor.fetchone()[0] is allowed


def test_a_session_without_a_scope_sees_nothing(db):
    """The setting was never made: neither true nor an error."""
    with connection.cursor() as cursor:
        cursor.execute("RESET app.scope")
        cursor.execute("SELECT scope_allows('330300', '') IS TRUE")
        assert cursor.fetchone()[0] is False


@pytest.mark.parametrize(
    ("area", "codes"),
    [
        ("", ["220000", "320600", "330300"]),
        ("33", ["330300"]),
        ("3303", ["330300"]),
        ("330301", []),
        ("32", ["320600"]),
        ("2", ["220000"]),
        ("99", []),
    ],
)
def test_codes_within_an_area(db, area: str, codes: list[str]):
    for name in ("jilin", "nantong", "wenzhou"):
        factories.region(name)
    found = Region.objects.filter(code__within=area).order_by("code")
    assert list(found.values_list("code", flat=True)) == codes
