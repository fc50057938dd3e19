"""Bearer tokens of API clients: one indexed statement says which institution claims."""

import datetime as dt
import hashlib
from dataclasses import dataclass

from django.db import connection

from audit import prepared

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

    is_authenticated = True

    @property
    def name(self) -> str:
        """Who acts, as the trail names it."""
        return f"client:{self.client_id}"


FIND = """SELECT a.client_id, t.scope, i.code, i.region_id, r.policy_region, i.parent_id
    FROM oauth2_provider_accesstoken t
    JOIN institutions_apiclient a ON a.id = t.application_id
    JOIN institutions_institution i ON i.code = a.institution_id
    JOIN institutions_region r ON r.code = i.region_id
    WHERE t.token_checksum = %s AND t.expires > %s"""


def client_of(token: str, *, at: dt.datetime) -> Client | None:
    """The client of a token that is valid at a moment, else None."""
    if not token.isascii() or len(token) > MAX_TOKEN:
        return None
    with connection.cursor() as cursor:
        prepared.execute(cursor, FIND, [hashlib.sha256(token.encode()).hexdigest(), at])
        row = cursor.fetchone()
    if row is None:
        return None
    client_id, scope, *rest = row
    return Client(client_id, frozenset(scope.split()), *rest)
