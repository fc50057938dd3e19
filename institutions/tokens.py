"""Bearer tokens of API clients: one indexed statement says which institution, or which office, asks."""

import datetime as dt
import hashlib
from dataclasses import dataclass

from django.db import connection

from audit import prepared
from institutions.models import Scope
from institutions.models.places import area_prefix

MAX_TOKEN = 255


@dataclass(frozen=True)
class Client:
    """The owner of a valid token: an OAuth application bound to exactly one institution."""

    client_id: str
    scopes: frozenset[str]
    institution: str
    region_code: str
    policy_region: str
    parent: str | None
    rate: str = "client"

    is_authenticated = True

    @property
    def name(self) -> str:
        """Who acts, as the trail names it."""
        return f"client:{self.client_id}"


@dataclass(frozen=True)
class OfficeClient:
    """The owner of a valid token: the system of a region's office."""

    client_id: str
    scopes: frozenset[str]
    region_id: str
    rate: str = "client"

    is_authenticated = True
    institution_id = None

    @property
    def name(self) -> str:
        """Who acts, as the trail names it."""
        return f"client:{self.client_id}"

    def scope_codes(self) -> Scope:
        """The rows of the region and of those inside it."""
        return Scope(regions=(area_prefix(self.region_id),))


FIND = """SELECT a.client_id, t.scope, i.code, i.region_id, r.policy_region, i.parent_id, a.rate
    FROM oauth2_provider_accesstoken t
    JOIN institutions_apiclient a ON a.id = t.application_id
    JOIN institutions_institution i ON i.code = a.institution_id
    JOIN institutions_region r ON r.code = i.region_id
    WHERE t.token_checksum = %s AND t.expires > %s AND a.ended_at IS NULL"""


FIND_OFFICE = """SELECT a.client_id, t.scope, a.region_id, a.rate
    FROM oauth2_provider_accesstoken t
    JOIN institutions_apiclient a ON a.id = t.application_id
    WHERE t.token_checksum = %s AND t.expires > %s AND a.region_id IS NOT NULL
        AND a.ended_at IS NULL"""


def client_of(token: str, *, at: dt.datetime) -> Client | None:
    """The client of a token that is valid at a moment, else None."""
    row = _found(FIND, token, at)
    if row is None:
        return None
    client_id, scope, *rest = row
    return Client(client_id, frozenset(scope.split()), *rest)


def office_of(token: str, *, at: dt.datetime) -> OfficeClient | None:
    """The office's client of a token that is valid at a moment, else None."""
    row = _found(FIND_OFFICE, token, at)
    if row is None:
        return None
    client_id, scope, *rest = row
    return OfficeClient(client_id, frozenset(scope.split()), *rest)


def _found(statement: str, token: str, at: dt.datetime) -> tuple | None:
    if not token.isascii() or len(token) > MAX_TOKEN:
        return None
    with connection.cursor() as cursor:
        prepared.execute(cursor, statement, [hashlib.sha256(token.encode()).hexdigest(), at])
        return cursor.fetchone()
