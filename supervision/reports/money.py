"""Sums of settlements that several reports show: net amounts (reversals are negative), by any columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from audit.text import rate, yuan
from institutions.models import User
from settlement.models import Settlement
from supervision.reports.book import Book
from supervision.reports.wish import Wish

#: columns of Settlement with their words, in the order of tables
AMOUNTS: dict[str, str] = {
    "fee": "费用总额", "in_scope": "政策范围内", "over_cap": "超标准自费", "out_of_scope": "范围外",
    "held": "待审", "fund": "统筹基金", "major": "大病保险", "assistance": "医疗救助",
    "account": "个人账户", "cash": "个人现金",
}  # fmt: skip
#: who pays, as a ring: over-cap is part of what the person pays
PAYERS = ("fund", "major", "assistance", "account", "cash")
TONES = {"fund": "fund", "major": "c", "assistance": "e", "account": "account", "cash": "cash"}
ZERO = {"claims": 0, "reversals": 0, **dict.fromkeys(AMOUNTS, 0)}


def settlements(wish: Wish, user: User) -> QuerySet[Settlement]:
    """Every version posted in the months of the report."""
    return wish.within(Settlement.objects.visible_to(user)).filter(**wish.months)


def sums(rows: QuerySet[Settlement], *by: str) -> list[dict[str, Any]]:
    """Net amounts and counts of settlements, in groups of columns (none: one row)."""
    found = {name: Sum(name, default=0) for name in AMOUNTS}
    counted = {
        "claims": Count("claim_id", filter=~Q(state="reversed")),
        "reversals": Count("claim_id", filter=Q(state="reversed")),
    }
    if not by:
        return [rows.aggregate(**found, **counted)]
    # A value of the row and its sum must not share a name.
    return list(rows.order_by(*by).values(*by).annotate(**found, **counted))


def totals(rows: QuerySet[Settlement]) -> dict[str, Any]:
    """One row of net amounts with the number of persons."""
    found = sums(rows)[0]
    return found | {"persons": rows.values("person_id").distinct().count()}


def added(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The sum of rows of `sums`."""
    whole = dict(ZERO)
    for row in rows:
        for name in whole:
            whole[name] += row[name]
    return whole


def plain(rows: Iterable[Mapping[str, Any]], *days: str) -> list[dict[str, Any]]:
    """Rows as JSON: months as 2021-11."""
    return [
        {key: f"{value:%Y-%m}" if key in days else value for key, value in row.items()}
        for row in rows
    ]


def amounts(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Amounts of a row as yuan."""
    return [yuan(row[name]) for name in names]


def table(
    book: Book, caption: str, label: str, rows: Sequence[tuple[str, Mapping[str, Any]]],
    names: Sequence[str] = ("fee", "in_scope", "fund", "account", "cash"), *, foot: bool = True,
) -> None:  # fmt: skip
    """A table of net amounts: label, number of settlements, amounts, with the sum below."""
    book.grid(
        caption, [label, "结算笔数", *(AMOUNTS[name] for name in names)],
        [[text, f"{row['claims']:,}", *amounts(row, names)] for text, row in rows],
        align="lr" + "r" * len(names), unit="金额单位：元",
        foot=_foot(rows, names) if foot and len(rows) > 1 else (),
    )  # fmt: skip


def _foot(rows: Sequence[tuple[str, Mapping[str, Any]]], names: Sequence[str]) -> list[str]:
    whole = {name: sum(row[name] for _, row in rows) for name in ("claims", *names)}
    return ["合计", f"{whole['claims']:,}", *amounts(whole, names)]


def part(amount: int, whole: int) -> str:
    """A share as per cent with two digits; — without a whole."""
    return rate((amount * 20_000 + whole) // (2 * whole)) if whole > 0 else "—"


def each(amount: int, count: int) -> str:
    """An average in yuan, half up; — without a count."""
    return yuan((2 * amount + count) // (2 * count)) if count > 0 else "—"
