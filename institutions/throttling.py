"""How often somebody may ask: whole windows of time, counted in the shared cache, leased in blocks.

A process takes permits from the window's count in blocks and spends them alone, so that most requests
touch neither the cache nor the database. Never more are granted than the rate says; a cache that does
not answer refuses nobody.
"""

import logging
import threading
import time
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from audit import trail
from institutions.tokens import Client, OfficeClient

log = logging.getLogger("portal.throttling")
BLOCKS = 50  #: a window's permits are taken in so many blocks
MOST = 20_000  #: leases that a process remembers
SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True)
class Rate:
    """So many requests in so many seconds."""

    number: int
    seconds: int

    @classmethod
    def of(cls, text: str) -> "Rate":
        """`600/minute`; ValueError for anything else."""
        number, _, unit = text.partition("/")
        found = cls(int(number), SECONDS.get(unit, 0))
        if found.number < 1 or not found.seconds:
            raise ValueError(f"a rate is like 600/minute, not {text}")
        return found


_rate = lru_cache(Rate.of)


@dataclass
class Lease:
    """What is left of a block in a window; nothing left and `full`: the window has no more."""

    window: int
    left: int
    full: bool = False


_leases: dict[str, Lease] = {}
_lock = threading.Lock()


def wait_for(name: str, who: str) -> int:
    """0 when the request may pass (and is counted), else the seconds until the next window."""
    text = settings.THROTTLES.get(name)
    if not text:
        return 0
    rate, now = _rate(text), time.time()
    window = int(now // rate.seconds)
    key = f"{name}:{who}"
    with _lock:
        lease = _leases.get(key)
        if lease is None or lease.window != window or not (lease.left or lease.full):
            lease = _taken(key, window, rate)
            if len(_leases) >= MOST:
                _leases.clear()
            _leases[key] = lease
        if lease.left:
            lease.left -= 1
            return 0
    return max(1, (window + 1) * rate.seconds - int(now))


def _taken(key: str, window: int, rate: Rate) -> Lease:
    """The next block of the window."""
    block = max(1, rate.number // BLOCKS)
    counted = f"rate:{key}:{window}"
    try:
        cache.add(counted, 0, timeout=2 * rate.seconds)
        before = cache.incr(counted, block) - block
    except (RedisError, OSError, ValueError) as error:
        log.warning("the cache of rates does not answer: %s", type(error).__name__)
        return Lease(window, block)
    left = min(block, max(0, rate.number - before))
    return Lease(window, left, full=not left)


def forget() -> None:
    """Give up every lease of this process (tests)."""
    with _lock:
        _leases.clear()


class ClientThrottle(BaseThrottle):
    """Per client of the interface; without one per person, else per address."""

    waits = 0

    def allow_request(self, request: Request, view: object) -> bool:
        auth = request.auth
        rate = auth.rate if isinstance(auth, Client | OfficeClient) else "client"
        self.waits = wait_for(rate, self.who(request))
        return not self.waits

    def who(self, request: Request) -> str:
        """Whose requests are counted together."""
        if isinstance(request.auth, Client | OfficeClient):
            return request.auth.name
        application = getattr(request.auth, "application_id", None)
        if application:
            return f"application:{application}"
        return f"user:{request.user.pk}" if request.user and request.user.pk else trail.ORIGIN.get()

    def wait(self) -> float:
        return self.waits
