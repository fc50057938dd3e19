"""What somebody without log-in gets for what was handed in: a number with a code that is shown once."""

import secrets

from django.conf import settings
from django.core.cache import cache

from audit import trail
from institutions import crypto
from institutions.models import Region

LETTERS, LENGTH = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 10
HOUR = 3600


def areas() -> list[Region]:
    """Where something may be handed in: the level of the pooling region."""
    rows = Region.objects.exclude(policy_region="").exclude(level=Region.Level.COUNTY)
    return list(rows.order_by("code"))


def new_code() -> str:
    """A code by chance; only its keyed hash is stored."""
    return "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def hash_of(kind: str, number: str, code: str) -> bytes:
    """What is stored of a code: of this number, whatever the case of its letters."""
    return crypto.keyed_hash(kind, f"{number}:{code.strip().upper()}")


def room() -> bool:
    """Counts what an address hands in or asks for an hour; the address itself is not kept."""
    key = f"report:{crypto.keyed_hash('report', trail.ORIGIN.get()).hex()[:32]}"
    cache.add(key, 0, HOUR)
    return cache.incr(key) <= settings.REPORTS_PER_HOUR
