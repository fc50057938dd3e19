"""Trace codes of packages (药品追溯码, 第二十六条): how many a quantity needs, each sold once for ever."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from institutions.refusals import refused
from pricing.models import Drug, DrugList
from settlement.contract import QUANTITY_DIGITS
from settlement.models import TraceCode

CLAUSE = "二十六"
UNITS = 10**QUANTITY_DIGITS


@dataclass(frozen=True)
class Expected:
    """How many codes belong to a quantity, at least and at most."""

    least: int
    most: int

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.most} 个"
        return f"{self.least} 至 {self.most} 个"


def expected(quantity: int, *, packages: bool) -> Expected:
    """The codes of a quantity (1/10000 units), where there are any.

    `packages`: the unit is the one in which the drug catalogue counts packages, so each has its
    code; of a smaller unit (片, 粒) a package holds many. A part of a package may be a broken one's.
    """
    most = -(-quantity // UNITS)
    return Expected(max(quantity // UNITS if packages else 1, 1), most)


def by_package(units: Mapping[str, str], *, region: str, on: dt.date) -> set[str]:
    """Of drugs with the units of a prescription: those that the catalogue counts in the same unit."""
    lists = DrugList.objects.filter(region=region, state=DrugList.State.PUBLISHED).in_force(on=on)
    listed = Drug.objects.filter(code__in=units, catalogue__in=lists).exclude(unit="")
    return {code for code, unit in listed.values_list("code", "unit") if unit == units[code]}


def refuse_count(field: str, codes: list[str], quantity: int, *, packages: bool) -> None:
    """Refusal of more or fewer codes than the quantity has packages; codes come in step by step."""
    wanted = expected(quantity, packages=packages)
    if codes and not wanted.least <= len(codes) <= wanted.most:
        raise refused(
            field, "TRACE_CODE_COUNT", f"追溯码 {len(codes)} 个，与调配数量不符，应为 {wanted}",
            f"{len(codes)} trace codes for {wanted.least} to {wanted.most} packages",
            clause=CLAUSE,
        )  # fmt: skip


def sell(sold: Iterable[tuple[str, TraceCode]]) -> None:
    """Store the codes with the fields that hold them; Refusal at the first that was sold before."""
    rows = list(sold)
    try:
        with transaction.atomic():
            TraceCode.objects.bulk_create(code for _, code in rows)
    except IntegrityError:
        _name_sold(rows)


def _name_sold(rows: list[tuple[str, TraceCode]]) -> None:
    """Which code it was: codes of other institutions can be met, not read (row level security)."""
    for field, row in rows:
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise refused(
                field, "TRACE_CODE_USED", f"药品追溯码 {row.code} 已登记过销售",
                "a trace code was sold before", status=409, clause=CLAUSE,
            ) from None  # fmt: skip
