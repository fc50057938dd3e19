"""PURE. The compiled loops of settlement: what is taken in the order of arrival, in plain integers.

Only these need the compiler; whoever settles loads them (100 MB), whoever prints does not.
"""

import numpy as np
from numba import njit

from pricing.document import RATIO_ONE

#: Signatures: the folds are compiled (or read from the cache) at import, before a request comes.
COLUMN = "int64[::1]"
TIERED = f"int64(int64, int64, int64, int64, {COLUMN}, {COLUMN})"
SHARES = f"Tuple(({', '.join([COLUMN] * 4)}))"
FOLD = f"{SHARES}({', '.join([COLUMN] * 32)})"
PART = "int64(int64, int64, int64)"
MAJOR = f"int64({', '.join(['int64'] * 7)}, {COLUMN}, {COLUMN})"
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


@njit(PART, cache=True)
def _share(weighted, limit, used):
    """A share in 1/10000 fen, rounded half up, as far as the year's limit has room."""
    return max(min((weighted + RATIO_ONE // 2) // RATIO_ONE, limit - used), 0)


@njit(MAJOR, cache=True)
def _major(before, own, deductible, limit, used, first, count, above, rate):
    """Major illness insurance of `own` fen after `before` fen of the same year."""
    start = max(before - deductible, 0)
    end = max(before + own - deductible, 0)
    return _share(_tiered(start, end - start, first, count, above, rate), limit, used)


@njit(FOLD, cache=True)
def fold(
    keys, wholes, in_scope, first, mode, fixed, ratio, deductible, limit, tier_start, tier_count,
    major_at, help_at, above, rate, assistance_first, major_goes_over, help_goes_over,
    major_deductible, major_limit, major_start, major_count, major_above, major_rate, help_ratio,
    help_limit, used_deductible, used_scope, used_fund, used_own, used_major, used_help,
):  # fmt: skip
    """Sequential fold in plain integers: (deductible taken, fund, major, assistance) per line.

    The basic fund sees the amount in scope less the first self-pay. A fixed amount is min(fixed,
    that). A ratio applies above the year's deductible; tiers are marginal on the year's amount above
    the deductible; the fund never pays beyond the year's limit. Of what is left to the person, first
    self-pay included, major illness insurance pays by tiers above its own deductible of the year, and
    assistance a ratio, in the order of the region, each within its limit. Either counts what was
    used in the line's scheme (`keys`), or in every scheme of the year (`wholes`) where it goes over.
    Lines with in_scope < 0 are passed over; mode 0 leaves the share open (-1).
    """
    n = len(in_scope)
    taken = np.zeros(n, np.int64)
    fund = np.full(n, -1, np.int64)
    major = np.zeros(n, np.int64)
    helped = np.zeros(n, np.int64)
    for i in range(n):
        if in_scope[i] < 0 or mode[i] == 0:
            continue
        k, whole = keys[i], wholes[i]
        amount = in_scope[i] - first[i]
        share = max(min(fixed[i], amount, limit[i] - used_fund[k]), 0)
        if mode[i] == 2:
            taken[i] = min(amount, max(deductible[i] - used_deductible[k], 0))
            base = amount - taken[i]
            weighted = base * ratio[i]
            if tier_count[i] > 0:
                start = used_scope[k] - used_deductible[k]
                weighted = _tiered(start, base, tier_start[i], tier_count[i], above, rate)
            share = _share(weighted, limit[i], used_fund[k])
        fund[i] = share
        own = in_scope[i] - share
        m, h = major_at[i], help_at[i]
        at_major = whole if major_goes_over[m] == 1 else k
        at_help = whole if help_goes_over[m] == 1 else k
        before = used_own[at_major]
        if assistance_first[m] == 1:
            before -= used_help[at_major]
            helped[i] = _share(own * help_ratio[h], help_limit[h], used_help[at_help])
        left = own - helped[i]
        major[i] = _major(
            before, left, major_deductible[m], major_limit[m], used_major[at_major],
            major_start[m], major_count[m], major_above, major_rate,
        )  # fmt: skip
        if assistance_first[m] == 0:
            helped[i] = _share((left - major[i]) * help_ratio[h], help_limit[h], used_help[at_help])
        at = k
        for _ in range(1 if whole == k else 2):  # the scheme's own year, then the year as a whole
            used_deductible[at] += taken[i]
            used_scope[at] += amount
            used_fund[at] += share
            used_own[at] += own
            used_major[at] += major[i]
            used_help[at] += helped[i]
            at = whole
    return taken, fund, major, helped


@njit(DRAW, cache=True)
def draw(keys, wanted, left):
    """Personal account: each line takes min(wanted, what its account still holds), in row order."""
    taken = np.zeros(len(wanted), np.int64)
    for i in range(len(wanted)):
        taken[i] = max(min(wanted[i], left[keys[i]]), 0)
        left[keys[i]] -= taken[i]
    return taken
