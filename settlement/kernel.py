"""PURE. The arithmetic of settlement on integer columns; one claim is a column of length one.

    check_lines   every requirement of a document (settlement.checks); the first that fails decides
    fold          deductible, tiers, annual limit in the order of arrival, exact, with memory
    settle        both; parts always add up: fee = in_scope + over_cap, in_scope = fund + self

Amounts are int64 fen, ratios per ten thousand, one rounding: half up on the fund's share (I-G-1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from pricing.policy import NONE, RATIO_ONE, UNLIMITED, Check, Rules
from pricing.rules import DECISIONS, REASON_NO
from settlement.checks import (
    CONSULT,
    PREDICATES,
    REMOTE,
    Lines,
    benefit_of,
    cap_of,
    duplicates,
    overcharge_of,
)
from settlement.columns import FLAG, Columns

PAYABLE, REJECT, REVIEW, NO_RULE = range(4)
DECISION_NO = {name: number for number, name in enumerate(DECISIONS)}
OPEN = -1  #: an amount that the law and the parameters leave open


@dataclass
class Results:
    """One value per line. Amounts in fen, OPEN (-1) where nothing decides them."""

    decision: np.ndarray
    reason: np.ndarray
    check_no: np.ndarray
    flags: np.ndarray
    row: np.ndarray
    fee: np.ndarray
    in_scope: np.ndarray
    over_cap: np.ndarray
    overcharge: np.ndarray
    deductible: np.ndarray
    fund: np.ndarray

    @classmethod
    def merged(cls, n: int, parts: list[tuple["Results", np.ndarray]]) -> "Results":
        """Put the results of several releases back in the order of the lines."""
        whole = {}
        for name in cls.__dataclass_fields__:
            column = np.zeros(n, getattr(parts[0][0], name).dtype)
            for results, at in parts:
                column[at] = getattr(results, name)
            whole[name] = column
        return cls(**whole)


def settle(
    facts: Columns,
    rules: Rules | Sequence[Rules],
    *,
    which: np.ndarray | None = None,
    keys: np.ndarray | None = None,
    state: "State | None" = None,
    strict: bool = True,
) -> Results:
    """Settle lines: checks, split at the cap, benefits folded per person-year in row order.

    `rules` may be several releases; `which` then gives each line's. `keys` are the lines' person-years
    in `state` (default: every line its own, nothing used yet). `strict` is a real claim: what is left
    open is not payable. Rows of one person-year come in order of arrival; persons in any order.
    """
    releases = [rules] if isinstance(rules, Rules) else list(rules)
    if which is None or len(releases) == 1:
        parts = [(facts, releases[0], np.arange(facts.n))]
    else:
        rows = [np.flatnonzero(which == number) for number in range(len(releases))]
        parts = [(facts.take(at), releases[k], at) for k, at in enumerate(rows) if at.size]
    groups = [(part, law, check_lines(part, law, strict=strict), at) for part, law, at in parts]
    keys = np.arange(facts.n) if keys is None else keys
    fold_lines(groups, State.blank(facts.n) if state is None else state, keys)
    if len(groups) == 1:
        return groups[0][2]
    return Results.merged(facts.n, [(results, at) for _, _, results, at in groups])


def check_lines(facts: Columns, rules: Rules, *, strict: bool = True) -> Results:
    """Decide every line and split its fee at the cap. Benefits are folded afterwards."""
    row = rules.row_of_service[facts["service"]]
    row = np.where(row == 0, rules.row_of_code[facts["item"]], row)
    lines = Lines(facts, rules, strict, row, np.zeros(facts.n, bool))
    decision = np.zeros(facts.n, np.int8)
    reason = np.zeros(facts.n, np.int16)
    check_no = np.zeros(facts.n, np.int16)
    for check in rules.checks:
        failing = PREDICATES[check.rule.name](lines, check) & ~lines.decided
        if not check.for_everything:
            failing &= check.applies[facts["service"]]
        if not failing.any():
            continue
        decision[failing] = _decide(lines, check)[failing]
        reason[failing] = REASON_NO[check.rule.code]
        check_no[failing] = check.number
        lines.decided |= failing
    return _amounts(lines, decision, reason, check_no)


def _decide(lines: Lines, check: Check) -> np.ndarray:
    standard = np.full(lines.facts.n, DECISION_NO[check.decision], np.int8)
    if check.rule.name == "physician_title":
        above = lines["doctor_title"] > lines.rules.title_max[lines.row]
        return np.where(above, REVIEW, standard)
    if check.rule.name == "no_duplicate_charge":
        return np.where(duplicates(lines)[0], standard, REVIEW)
    return standard


def _amounts(
    lines: Lines, decision: np.ndarray, reason: np.ndarray, check_no: np.ndarray
) -> Results:
    """Split the fee: in scope up to the cap, the rest 丙2; rejected lines are wholly out of scope."""
    rules, n = lines.rules, lines.facts.n
    fee = lines["fee"].astype(np.int64)
    flags = np.zeros(n, np.int32)
    remote = lines["service"] == REMOTE
    if remote.any():
        total = lines["provincial_hospitals"].astype(np.int64) * max(rules.count_price, 0)
        priced = remote & (rules.count_price != NONE)
        flags[priced & (fee >= 0) & (fee != total)] |= FLAG["FEE_MISMATCH"]
        fee = np.where(remote & (fee < 0), np.where(priced, total, OPEN), fee)
    cap = cap_of(lines)
    known = (cap != NONE) & (fee >= 0)
    in_scope = np.where(known, np.minimum(fee, cap), OPEN)
    over_cap = np.where(known, fee - in_scope, OPEN)
    overcharge = overcharge_of(lines, fee)
    refused = decision == REJECT
    flags[rules.is_alias[lines["item"]] & (lines["service"] == CONSULT)] |= FLAG["CODE_ALIAS"]
    flags[(overcharge > 0) & ~refused] |= FLAG["OVERCHARGE"]
    flags[(fee == 0) & ~refused] |= FLAG["ZERO_FEE"]
    paper = rules.paper_states[lines["agreement_state"]] & ~refused
    flags[paper] |= FLAG["PAPER_SIGNATURE_PENDING"]
    flags[rules.example_rows[lines.row] & ~refused] |= FLAG["EXAMPLE_PARAMETER"]
    return Results(
        decision=decision, reason=reason, check_no=check_no, flags=flags, row=lines.row, fee=fee,
        in_scope=np.where(refused, 0, in_scope), over_cap=np.where(refused, 0, over_cap),
        overcharge=np.where(refused, 0, overcharge), deductible=np.zeros(n, np.int64),
        fund=np.where(refused, 0, OPEN).astype(np.int64),
    )  # fmt: skip


@dataclass
class State:
    """Person-years: what is used of deductible, scope and fund, and what the account still holds."""

    deductible: np.ndarray
    in_scope: np.ndarray
    fund: np.ndarray

    @classmethod
    def blank(cls, n: int) -> "State":
        return cls(*(np.zeros(n, np.int64) for _ in range(3)))


def fold_lines(
    groups: list[tuple[Columns, Rules, Results, np.ndarray]], state: State, keys: np.ndarray
) -> None:
    """Fold the payable lines of all releases, in row order, through the person-years `keys`.

    Each group holds the positions of its lines in the whole. Results are filled in place: fund and
    deductible; OPEN where the benefit is open; held lines (review, no_rule) keep an open fund.
    """
    n = sum(len(positions) for *_, positions in groups)
    columns = {name: np.zeros(n, np.int64) for name in FOLDED}
    columns["limit"][:] = UNLIMITED
    above, rate, base = [], [], 0
    for facts, rules, results, at in groups:
        lines = Lines(facts, rules, True, results.row, np.zeros(facts.n, bool))
        for name in ("mode", "fixed", "ratio", "deductible", "limit", "tier_count"):
            columns[name][at] = benefit_of(lines, name)
        columns["tier_start"][at] = benefit_of(lines, "tier_start") + base
        live = (results.decision == PAYABLE) & (results.in_scope >= 0)
        columns["in_scope"][at] = np.where(live, results.in_scope, OPEN)
        tables = rules.benefit_tables
        above.append(tables.above)
        rate.append(tables.rate)
        base += len(tables.above)
        _mark_examples(lines, results, live)
    arguments = [
        keys, *(columns[name] for name in FOLDED), np.concatenate(above), np.concatenate(rate),
        state.deductible, state.in_scope, state.fund,
    ]  # fmt: skip
    taken, fund = fold(*arguments)
    for _, _, results, at in groups:
        payable = (results.decision == PAYABLE) & (fund[at] != OPEN)
        results.deductible[payable] = taken[at][payable]
        results.fund[payable] = fund[at][payable]


FOLDED = (
    "in_scope", "mode", "fixed", "ratio", "deductible", "limit", "tier_start", "tier_count",
)  # fmt: skip


def _mark_examples(lines: Lines, results: Results, live: np.ndarray) -> None:
    example = live & benefit_of(lines, "example")
    results.flags[example] |= FLAG["EXAMPLE_PARAMETER"]


#: Signatures: the folds are compiled (or read from the cache) at import, never in a request.
COLUMN = "int64[::1]"
TIERED = f"int64(int64, int64, int64, int64, {COLUMN}, {COLUMN})"
FOLD = f"Tuple(({COLUMN}, {COLUMN}))({', '.join([COLUMN] * 14)})"
DRAW = f"{COLUMN}({', '.join([COLUMN] * 3)})"


@njit(TIERED, cache=True)
def _tiered(start, base, first, count, above, rate):
    """Σ (part of [start, start+base) inside each tier) × its ratio, in 1/10000 fen."""
    weighted = 0
    for t in range(first, first + count):
        low = max(start, above[t])
        high = start + base
        if t + 1 < first + count:
            high = min(high, above[t + 1])
        if high > low:
            weighted += (high - low) * rate[t]
    return weighted


@njit(FOLD, cache=True)
def fold(
    keys, in_scope, mode, fixed, ratio, deductible, limit, tier_start, tier_count,
    above, rate, used_deductible, used_scope, used_fund,
):  # fmt: skip
    """Sequential fold in plain integers; returns (deductible taken, fund share) per line.

    A fixed amount is min(fixed, in scope). A ratio applies above the year's deductible; tiers are
    marginal on the year's amount above the deductible; the fund never pays beyond the year's limit.
    Lines with in_scope < 0 are passed over; mode 0 leaves the share open (-1).
    """
    n = len(in_scope)
    taken = np.zeros(n, np.int64)
    fund = np.full(n, -1, np.int64)
    for i in range(n):
        amount = in_scope[i]
        if amount < 0 or mode[i] == 0:
            continue
        k = keys[i]
        share = min(fixed[i], amount)
        if mode[i] == 2:
            taken[i] = min(amount, max(deductible[i] - used_deductible[k], 0))
            base = amount - taken[i]
            weighted = base * ratio[i]
            if tier_count[i] > 0:
                start = used_scope[k] - used_deductible[k]
                weighted = _tiered(start, base, tier_start[i], tier_count[i], above, rate)
            share = (weighted + RATIO_ONE // 2) // RATIO_ONE
        share = max(min(share, limit[i] - used_fund[k]), 0)
        used_deductible[k] += taken[i]
        used_scope[k] += amount
        used_fund[k] += share
        fund[i] = share
    return taken, fund


@njit(DRAW, cache=True)
def draw(keys, wanted, left):
    """Personal account: each line takes min(wanted, what its account still holds), in row order."""
    taken = np.zeros(len(wanted), np.int64)
    for i in range(len(wanted)):
        taken[i] = max(min(wanted[i], left[keys[i]]), 0)
        left[keys[i]] -= taken[i]
    return taken
