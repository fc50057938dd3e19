"""Figures of the months: one grouped query over settlements, kept for a minute per scope."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q, Sum

from institutions.calendar import add_months
from institutions.models import User
from pricing.rules import REASONS
from settlement.kernel import PAYABLE
from settlement.models import LineResult, Settlement
from settlement.search import reasons

MONTHS = 12
SECONDS_KEPT = 60
HELD = (Settlement.State.REVIEW, Settlement.State.NO_RULE)


@dataclass
class Month:
    """One month of rows made: claims settled first in it, and amounts net of reversals (fen).

    A claim settled again counts with its amounts only, where they are posted.
    """

    first: dt.date
    claims: int = 0
    rejected: int = 0
    held: int = 0
    fee: int = 0
    fund: int = 0
    in_scope: int = 0
    states: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.first:%Y-%m}"


def months(user: User, *, today: dt.date) -> list[Month]:
    """The twelve months up to today's, oldest first; months without rows are zero."""
    last = today.replace(day=1)
    found = {
        first: Month(first) for first in (add_months(last, -n) for n in range(MONTHS - 1, -1, -1))
    }
    for row in _kept(f"months:{last}", user, lambda: _rows(user, min(found))):
        month = found.get(row["period"])
        if month:
            _add(month, row)
    return list(found.values())


def top_reasons(user: User, *, month: dt.date, most: int = 6) -> list[dict[str, Any]]:
    """Why lines of a month were refused or held: code, message, lines; most frequent first."""
    messages = dict(reasons())

    def read() -> list[dict[str, Any]]:
        lines = LineResult.objects.visible_to(user).filter(period=month, reason__gt=0)
        lines = lines.exclude(decision=PAYABLE)
        return list(
            lines.values("reason").annotate(n=Count("claim_id")).order_by("-n", "reason")[:most]
        )

    return [
        {
            "code": REASONS[row["reason"]],
            "message": messages[REASONS[row["reason"]]],
            "lines": row["n"],
        }
        for row in _kept(f"reasons:{month}", user, read)
    ]


def _rows(user: User, since: dt.date) -> list[dict[str, Any]]:
    rows = Settlement.objects.visible_to(user).filter(period__gte=since)
    first = Q(version=1) | Q(state=Settlement.State.REVERSED)
    sums = {name: Sum(name) for name in ("fee", "fund", "in_scope")}
    return list(
        rows.values("period", "state")
        .annotate(n=Count("claim_id", filter=first), **sums)
        .order_by("period")
    )


def _add(month: Month, row: dict[str, Any]) -> None:
    for name in ("fee", "fund", "in_scope"):
        setattr(month, name, getattr(month, name) + int(row[name]))
    if row["state"] != Settlement.State.REVERSED:
        month.claims += row["n"]
    month.rejected += row["n"] * (row["state"] == Settlement.State.REJECTED)
    month.held += row["n"] * (row["state"] in HELD)
    month.states[row["state"]] = row["n"]


def _kept(name: str, user: User, read: Any) -> list[dict[str, Any]]:
    """A read kept for a minute under the user's scope."""
    key = f"figures:{name}:{user.scope_codes().setting()}"
    found = cache.get(key)
    if found is None:
        found = read()
        cache.set(key, found, SECONDS_KEPT)
    return found
