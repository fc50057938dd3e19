"""PURE. The arithmetic of settlement on integer columns; one claim is a column of length one.

    check_lines   every requirement of a document (settlement.checks); the first that fails decides
    fold          deductible, tiers, annual limit in the order of arrival, exact, with memory; then
                  major illness insurance and medical assistance on what is left to the person
    settle        both; parts always add up: fee = in_scope + over_cap,
                  in_scope = fund + major + assistance + self

Of 乙类 the person bears a first share; the basic fund, its deductible, tiers and limit see the rest.
Amounts are int64 fen, ratios per ten thousand, one rounding: half up on each share (I-G-1).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pricing.benefits import ASSISTANCE, SCHEMES
from pricing.document import NONE, RATIO_ONE, UNLIMITED
from pricing.policy import Check, Rules
from pricing.rules import DECISIONS, REASON_NO
from settlement.checks import (
    CONSULT,
    PREDICATES,
    REMOTE,
    Lines,
    benefit_of,
    duplicates,
    overcharge_of,
)
from settlement.columns import FLAG, REVIEWS, Columns, category_bits

PAYABLE, REJECT, REVIEW, NO_RULE = range(4)
_, PASSED, REFUSED, SELF_PAID = range(len(REVIEWS))
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
    first_self_pay: np.ndarray
    deductible: np.ndarray
    fund: np.ndarray
    major: np.ndarray
    assistance: np.ndarray
    drug_list: np.ndarray

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
    wholes: np.ndarray | None = None,
    state: "State | None" = None,
    strict: bool = True,
    checked: Results | None = None,
) -> Results:
    """Settle lines: checks, split at the cap, benefits folded per person-year in row order.

    `rules` may be several releases; `which` then gives each line's, and the column `home` may name
    the one whose benefits a person insured elsewhere has. `keys` are the lines' person-years
    in `state` (default: every line its own, nothing used yet), `wholes` where the same years are
    counted over all schemes (default: there is one scheme). `strict` is a real claim: what is left
    open is not payable. `checked` is what check_lines said before, of lines under one release; it is
    filled. Rows of one person-year come in order of arrival; persons in any order.
    """
    releases = [rules] if isinstance(rules, Rules) else list(rules)
    if which is None or len(releases) == 1:
        parts = [(facts, 0, np.arange(facts.n))]
    else:
        rows = [np.flatnonzero(which == number) for number in range(len(releases))]
        parts = [(facts.take(at), k, at) for k, at in enumerate(rows) if at.size]
    groups = [
        Group(
            part, k, checked or check_lines(part, releases[k], strict=strict, releases=releases), at
        )
        for part, k, at in parts
    ]
    keys = np.arange(facts.n) if keys is None else keys
    places = keys, keys if wholes is None else wholes
    fold_lines(groups, releases, State.blank(facts.n) if state is None else state, *places)
    if len(groups) == 1:
        return groups[0].results
    return Results.merged(facts.n, [(group.results, group.at) for group in groups])


def check_lines(
    facts: Columns, rules: Rules, *, strict: bool = True, releases: Sequence[Rules] = ()
) -> Results:
    """Decide every line and split its fee at the cap. Benefits are folded afterwards."""
    row = rules.row_of_service[facts["service"]]
    row = np.where(row == 0, rules.row_of_code[facts["item"]], row)
    lines = Lines(facts, rules, strict, row, np.zeros(facts.n, bool), releases)
    decision = np.zeros(facts.n, np.int8)
    reason = np.zeros(facts.n, np.int16)
    check_no = np.zeros(facts.n, np.int16)
    for check in rules.checks:
        meant = ~lines.decided
        if not check.for_everything:
            meant &= check.applies[facts["service"]]
            if not np.count_nonzero(meant):
                continue
        failing = PREDICATES[check.rule.name](lines, check) & meant
        if not np.count_nonzero(
            failing
        ):  # some forty checks: a fifth of any()'s time for one claim
            continue
        found = _decide(lines, check)
        if "review" in facts:
            passed = failing & (found == REVIEW) & (lines["review"] == PASSED)
            check_no[passed & (check_no == 0)] = check.number
            failing &= ~passed
        decision[failing] = found[failing]
        reason[failing] = REASON_NO[check.rule.code]
        check_no[failing] = check.number
        lines.decided |= failing
    if "watched" in facts:
        _watched(lines, decision, reason, check_no)
    if "review" in facts:
        _review(lines, decision, reason)
    return _amounts(lines, decision, reason, check_no)


def _watched(lines: Lines, decision: np.ndarray, reason: np.ndarray, check_no: np.ndarray) -> None:
    """What supervision holds or refuses of what the law would pay, unless a reviewer let it pass."""
    watched = np.where(lines.decided | (lines["review"] == PASSED), 0, lines["watched"])
    for number in np.unique(watched[watched > 0]):
        check, at = lines.rules.check(int(number)), watched == number
        if check is None:  # a later text, under which the claim is settled anew, has no such rule
            continue
        decision[at] = DECISION_NO[check.decision]
        reason[at] = REASON_NO[check.rule.code]
        check_no[at] = check.number
        lines.decided |= at


def _review(lines: Lines, decision: np.ndarray, reason: np.ndarray) -> None:
    """What a reviewer decided holds for lines that the law neither refuses nor leaves open (二十四)."""
    review = lines["review"]
    paid = (review == PASSED) & (decision == PAYABLE)
    cut = lines["review_cut"] > 0
    reason[paid & ~cut] = REASON_NO["REVIEW_PASSED"]
    reason[paid & cut] = REASON_NO["REVIEW_CUT"]
    for code, name in ((REFUSED, "REVIEW_REFUSED"), (SELF_PAID, "REVIEW_SELF_PAID")):
        here = (review == code) & (decision != REJECT)
        decision[here] = REJECT
        reason[here] = REASON_NO[name]


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
    if "review_cut" in lines.facts:
        fee = fee - np.where(decision == PAYABLE, lines["review_cut"], 0)
    flags = np.zeros(n, np.int32)
    remote = lines["service"] == REMOTE
    if remote.any():
        total = lines["provincial_hospitals"].astype(np.int64) * max(rules.count_price, 0)
        priced = remote & (rules.count_price != NONE)
        flags[priced & (fee >= 0) & (fee != total)] |= FLAG["FEE_MISMATCH"]
        fee = np.where(remote & (fee < 0), np.where(priced, total, OPEN), fee)
    cap = lines.cap
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
    example = rules.example_rows[lines.row] | (lines["example"] != 0)
    flags[example & ~refused] |= FLAG["EXAMPLE_PARAMETER"]
    category, share = lines.category
    first = np.where(known & ~refused, rounded(in_scope * share), 0)
    nothing = np.zeros(n, np.int64)
    return Results(
        decision=decision, reason=reason, check_no=check_no,
        flags=(flags | category_bits(category, share)).astype(np.int32), row=lines.row, fee=fee,
        in_scope=np.where(refused, 0, in_scope), over_cap=np.where(refused, 0, over_cap),
        overcharge=np.where(refused, 0, overcharge), first_self_pay=first, deductible=nothing,
        fund=np.where(refused, 0, OPEN).astype(np.int64), major=nothing.copy(),
        assistance=nothing.copy(), drug_list=lines["drug_list"],
    )  # fmt: skip


def rounded(weighted: np.ndarray) -> np.ndarray:
    """1/10000 fen to fen, half up."""
    return (weighted + RATIO_ONE // 2) // RATIO_ONE


@dataclass
class Group:
    """Lines under one release: `number` is its place, `at` the lines' positions in the whole."""

    facts: Columns
    number: int
    results: Results
    at: np.ndarray


@dataclass
class State:
    """Person-years: what is used of deductible and scope (less first self-pay), what the fund paid;
    what was left to the person, and what major illness insurance and assistance paid of that."""

    deductible: np.ndarray
    in_scope: np.ndarray
    fund: np.ndarray
    own: np.ndarray
    major: np.ndarray
    assistance: np.ndarray

    @classmethod
    def blank(cls, n: int) -> "State":
        return cls(*(np.zeros(n, np.int64) for _ in cls.__dataclass_fields__))

    def columns(self) -> list[np.ndarray]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


def fold_lines(
    groups: Sequence[Group], releases: Sequence[Rules], state: State, keys: np.ndarray,
    wholes: np.ndarray,
) -> None:  # fmt: skip
    """Fold the payable lines of all releases, in row order, through the person-years `keys`/`wholes`.

    Results are filled in place: deductible, fund, major, assistance; OPEN where the benefit is open;
    held lines (review, no_rule) keep an open fund.
    """
    from settlement.folds import fold  # compiled: a process that settles nothing never loads it

    given = [keys, wholes, *fold_arguments(groups, releases)]
    paid = fold(*given, *state.columns())
    for group in groups:
        results = group.results
        payable = (results.decision == PAYABLE) & (paid[1][group.at] != OPEN)
        for name, amounts in zip(("deductible", "fund", "major", "assistance"), paid, strict=True):
            getattr(results, name)[payable] = amounts[group.at][payable]
        _mark_one_stop(group, releases)


def fold_arguments(groups: Sequence[Group], releases: Sequence[Rules]) -> list[np.ndarray]:
    """What `fold` is called with for these lines, but for the person-years."""
    n = sum(len(group.at) for group in groups)
    columns = {name: np.zeros(n, np.int64) for name in FOLDED}
    columns["limit"][:] = UNLIMITED
    tables = [rules.benefit_tables for rules in releases]
    starts = np.cumsum([0, *(len(table.above) for table in tables)])
    for group in groups:
        facts, results, at = group.facts, group.results, group.at
        lines = Lines(
            facts, releases[group.number], True, results.row, np.zeros(facts.n, bool), releases
        )
        for name in ("mode", "fixed", "ratio", "deductible", "limit", "tier_count"):
            columns[name][at] = benefit_of(lines, name)
        law = np.where(facts["home"] > 0, facts["home"] - 1, group.number)
        columns["tier_start"][at] = benefit_of(lines, "tier_start") + starts[law]
        live = (results.decision == PAYABLE) & (results.in_scope >= 0)
        columns["in_scope"][at] = np.where(live, results.in_scope, OPEN)
        columns["first"][at] = results.first_self_pay
        columns["major_at"][at] = law * len(SCHEMES) + facts["scheme"]
        columns["help_at"][at] = law * len(ASSISTANCE) + facts["assistance"]
        results.flags[live & benefit_of(lines, "example")] |= FLAG["EXAMPLE_PARAMETER"]
    above = np.concatenate([table.above for table in tables])
    rate = np.concatenate([table.rate for table in tables])
    return [*(columns[name] for name in FOLDED), above, rate, *_one_stop_tables(releases)]


FOLDED = (
    "in_scope", "first", "mode", "fixed", "ratio", "deductible", "limit", "tier_start",
    "tier_count", "major_at", "help_at",
)  # fmt: skip


def _one_stop_tables(releases: Sequence[Rules]) -> list[np.ndarray]:
    """The tables of all releases behind each other; tiers are found where they then stand."""
    stops = [rules.one_stop for rules in releases]
    starts = np.cumsum([0, *(len(stop.above) for stop in stops)])
    moved = [stop.tier_start + start for stop, start in zip(stops, starts[:-1], strict=True)]

    def switch(values: Iterable[bool]) -> list[np.ndarray]:
        return [np.full(len(SCHEMES), value, np.int64) for value in values]

    parts = [
        switch(s.assistance_first for s in stops),
        switch("major_illness" in s.goes_over for s in stops),
        switch("assistance" in s.goes_over for s in stops),
        [s.deductible for s in stops], [s.limit for s in stops], moved,
        [s.tier_count for s in stops], [s.above for s in stops], [s.rate for s in stops],
        [s.help_ratio for s in stops], [s.help_limit for s in stops],
    ]  # fmt: skip
    return [np.concatenate(part).astype(np.int64) for part in parts]


def _mark_one_stop(group: Group, releases: Sequence[Rules]) -> None:
    """A line to which an example of a later fund paid something is stamped as one."""
    results, home = group.results, group.facts["home"]
    paid = (results.major > 0) | (results.assistance > 0)
    if not paid.any():
        return
    examples = np.array([rules.one_stop.example for rules in releases])
    law = np.where(home > 0, home - 1, group.number)
    results.flags[paid & examples[law]] |= FLAG["EXAMPLE_PARAMETER"]
