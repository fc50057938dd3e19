"""Statements that PostgreSQL parses and plans once per connection, not once per execution.

For the few statements that run for every claim: planning them costs several times their execution.
Needs connections that stay with one client (no transaction pooler).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

PLACE = re.compile(r"%(?:\((\w+)\)s|(s)|(%))")
#: Names of the statements that a connection (of psycopg2) has prepared.
_PREPARED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def execute(
    cursor: Any, sql: str | Sequence[str], given: Mapping[str, Any] | Sequence[Any]
) -> None:
    """Like `cursor.execute(sql, given)`; values by name (`%(name)s`) or, of one statement, by place.

    Several statements go in one round trip; the cursor then holds the rows of the last.
    """
    known = _PREPARED.setdefault(cursor.connection, set())
    calls: list[str] = []
    values: list[Any] = []
    for statement in (sql,) if isinstance(sql, str) else sql:
        name, text, call, names = _statement(statement)
        if name not in known:
            cursor.execute(f"PREPARE {name} AS {text}")
            known.add(name)
        calls.append(call)
        if names is not None and isinstance(given, Mapping):
            values += [given[key] for key in names]
        else:
            values += given
    cursor.execute(";\n".join(calls), values)


@lru_cache(maxsize=64)
def _statement(sql: str) -> tuple[str, str, str, tuple[str, ...] | None]:
    """(name, SQL with $1 …, EXECUTE with %s …, the names of the values or None for places)."""
    numbers: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        if found[3]:
            return "%"
        key = found[1] or f"#{len(numbers)}"
        return f"${numbers.setdefault(key, len(numbers) + 1)}"

    text = PLACE.sub(place, sql)
    name = "p_" + hashlib.sha256(sql.encode()).hexdigest()[:24]
    call = f"EXECUTE {name} ({', '.join(['%s'] * len(numbers))})" if numbers else f"EXECUTE {name}"
    by_name = not any(key.startswith("#") for key in numbers)
    return name, text, call, tuple(numbers) if by_name else None
