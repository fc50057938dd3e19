"""Cursor pages over rows, newest first: stable while rows are added, no counting."""

import base64
import binascii
import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Field, Q, QuerySet


@dataclass(frozen=True)
class CursorPage:
    """One page of rows; `previous` and `next` are cursors, None where there is no such page."""

    rows: list[Any]
    previous: str | None
    next: str | None


def page(rows: QuerySet, *, cursor: str = "", size: int = 20, at: str = "at") -> CursorPage:
    """A page of `size` rows in the order (−at, −pk); what is no cursor begins at the front."""
    place = _read(cursor, rows.model._meta.pk)
    back = place is not None and place[0] == "<"
    if place is not None:
        rows = rows.filter(_beyond(at, place, back=back))
    order = (at, "pk") if back else (f"-{at}", "-pk")
    found = list(rows.order_by(*order)[: size + 1])
    more, found = len(found) > size, found[:size]
    if back:
        found.reverse()
    if not found:
        return CursorPage([], None, None)
    newer = more if back else place is not None
    older = place is not None if back else more
    return CursorPage(
        found,
        _write("<", getattr(found[0], at), found[0].pk) if newer else None,
        _write(">", getattr(found[-1], at), found[-1].pk) if older else None,
    )


def _beyond(at: str, place: tuple, *, back: bool) -> Q:
    _, moment, key = place
    side = "gt" if back else "lt"
    after = Q(**{f"{at}__{side}": moment}) | Q(**{at: moment, f"pk__{side}": key})
    return Q(**{f"{at}__{side}e": moment}) & after  # an index starts there, not at the end


def _write(direction: str, moment: dt.datetime, key: object) -> str:
    text = f"{direction}{moment.astimezone(dt.UTC).isoformat()} {key}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str, pk: Field) -> tuple[str, dt.datetime, object] | None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, key = text[1:].split(" ")
        at, key = dt.datetime.fromisoformat(moment), pk.to_python(key)
    except (binascii.Error, ValueError, ValidationError):
        return None
    if text[:1] not in ("<", ">") or at.tzinfo is None:
        return None
    return text[0], at, key
