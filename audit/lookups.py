"""The lookup `within`: area codes (GB/T 2260) inside another's area."""

from typing import Any

from django.db.models import Lookup


class Within(Lookup):
    """`region_code__within="3303"`: codes that begin so, as a range of codes.

    Under row level security PostgreSQL uses no statistics for LIKE, which is not leakproof, and then plans
    lists as if nearly nothing matched; ranges it can estimate. An empty beginning is every area.
    """

    lookup_name = "within"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, given = self.process_lhs(compiler, connection)
        first = str(self.rhs)
        after = str(int(first) + 1).zfill(len(first)) if first else ""
        if len(after) != len(first) or not first:  # nothing lies behind 99
            return f"{column} >= %s", (*given, first)
        return f"({column} >= %s AND {column} < %s)", (*given, first, *given, after)
