"""The kernel against the same fold in plain Python, on the columns that a real settlement folds."""

import time
from dataclasses import dataclass
from types import FunctionType

import numpy as np

from pricing.policy import Rules
from settlement import folds, kernel
from settlement.columns import FACTS, Columns


@dataclass(frozen=True)
class Compared:
    lines: int
    settled: float  #: lines per second of the kernel: checks and fold
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
    """Settle all lines with the kernel; fold them by themselves, compiled and as plain Python integers."""
    columns, keys = columns_of(claims, lines)
    _settle(columns, rules, keys)
    columns, keys = columns_of(claims, lines)
    began = time.perf_counter()
    done = _settle(columns, rules, keys)
    settled = columns.n / (time.perf_counter() - began)
    columns, keys = columns_of(claims, lines)
    given = arguments(columns, rules, keys)
    began = time.perf_counter()
    fast = folds.fold(*_copies(given))
    folded = columns.n / (time.perf_counter() - began)
    plain_given = [part.tolist() for part in given]
    began = time.perf_counter()
    slow = plain_fold()(*plain_given)
    plain = columns.n / (time.perf_counter() - began)
    difference = sum(int(np.abs(a - np.asarray(b)).sum()) for a, b in zip(fast, slow, strict=True))
    payable = done.decision == kernel.PAYABLE
    difference += int(np.abs(done.fund[payable] - fast[1][payable]).sum())
    return Compared(columns.n, settled, folded, plain, difference)


def _settle(columns: Columns, rules: Rules, keys: np.ndarray) -> kernel.Results:
    return kernel.settle(columns, rules, keys=keys, state=kernel.State.blank(int(keys.max()) + 1))


def arguments(columns: Columns, rules: Rules, keys: np.ndarray) -> list[np.ndarray]:
    """What `folds.fold` is called with for these lines."""
    results = kernel.check_lines(columns, rules)
    group = kernel.Group(columns, 0, results, np.arange(columns.n))
    state = kernel.State.blank(int(keys.max()) + 1)
    return [keys, keys, *kernel.fold_arguments([group], [rules]), *state.columns()]


def plain_fold() -> FunctionType:
    """The same fold and what it calls, as written: nothing of it is compiled."""
    world = dict(vars(folds))
    for name in ("_tiered", "_share", "_major", "fold"):
        world[name] = FunctionType(getattr(folds, name).py_func.__code__, world)
    return world["fold"]


def _copies(given: list[np.ndarray]) -> list[np.ndarray]:
    return [part.copy() for part in given]
