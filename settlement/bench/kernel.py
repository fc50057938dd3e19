"""The kernel against the same fold in plain Python, on the columns that a real settlement folds."""

import time
from dataclasses import dataclass

import numpy as np

from pricing.policy import Rules
from settlement import kernel
from settlement.columns import FACTS, Columns


@dataclass(frozen=True)
class Compared:
    lines: int
    compiled: float  #: lines per second, checks and fold
    folded: float  #: lines per second of the compiled fold alone
    plain: float  #: lines per second of the same fold, uncompiled
    difference: int  #: fen


def columns_of(claims: dict, lines: dict) -> tuple[Columns, np.ndarray]:
    """Kernel columns of invented claims, and the person-year of each line."""
    facts = np.ascontiguousarray(claims["facts"]).view(FACTS)
    at = lines["claim"]
    persons = np.unique(claims["person_id"], return_inverse=True)[1]
    columns = Columns(
        facts, at, service=lines["service"], fee=lines["fee"], encounter=claims["encounter_key"][at]
    )
    return columns, persons[at]


def compare(claims: dict, lines: dict, rules: Rules) -> Compared:
    """Settle all lines with the kernel; fold them again in plain Python integers."""
    columns, keys = columns_of(claims, lines)
    warm = kernel.settle(columns, rules, keys=keys, state=kernel.State.blank(int(keys.max()) + 1))
    columns, keys = columns_of(claims, lines)
    began = time.perf_counter()
    kernel.settle(columns, rules, keys=keys, state=kernel.State.blank(int(keys.max()) + 1))
    compiled = columns.n / (time.perf_counter() - began)
    given = arguments(columns, rules, keys)
    began = time.perf_counter()
    fast = kernel.fold(*_copies(given))
    folded = columns.n / (time.perf_counter() - began)
    plain_given = [part.tolist() for part in given]
    began = time.perf_counter()
    slow = kernel.fold.py_func(*plain_given)
    plain = columns.n / (time.perf_counter() - began)
    difference = sum(int(np.abs(a - np.asarray(b)).sum()) for a, b in zip(fast, slow, strict=True))
    payable = warm.decision == kernel.PAYABLE
    difference += int(np.abs(warm.fund[payable] - fast[1][payable]).sum())
    return Compared(columns.n, compiled, folded, plain, difference)


def arguments(columns: Columns, rules: Rules, keys: np.ndarray) -> list[np.ndarray]:
    """What `kernel.fold` is called with for these lines."""
    results = kernel.check_lines(columns, rules)
    tables = rules.benefit_tables
    at = (columns["scheme"], columns["price_class"])
    live = (results.decision == kernel.PAYABLE) & (results.in_scope >= 0)
    named = {name: getattr(tables, name)[at].astype(np.int64) for name in kernel.FOLDED[1:]}
    named["in_scope"] = np.where(live, results.in_scope, kernel.OPEN)
    state = kernel.State.blank(int(keys.max()) + 1)
    return [
        keys, *(named[name] for name in kernel.FOLDED), tables.above, tables.rate,
        state.deductible, state.in_scope, state.fund,
    ]  # fmt: skip


def _copies(given: list[np.ndarray]) -> list[np.ndarray]:
    return [part.copy() for part in given]
