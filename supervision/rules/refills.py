"""PURE. The compiled loop of refills: what is still at hand when a drug is given again."""

import numpy as np
from numba import njit


@njit("UniTuple(int64[::1], 3)(int64[::1], int64[::1], int64[::1], int64)", cache=True)
def refills(run, day, days, grace):
    """Of refills in order: days of supply still at hand, how many early ones in a row, days given.

    A refill is early while more than `grace` days of the earlier ones are left.
    """
    n = len(run)
    stock = np.zeros(n, np.int64)
    early = np.zeros(n, np.int64)
    supply = np.zeros(n, np.int64)
    for i in range(n):
        if i == 0 or run[i] != run[i - 1]:
            supply[i] = days[i]
            continue
        stock[i] = max(stock[i - 1] + days[i - 1] - (day[i] - day[i - 1]), 0)
        supply[i] = days[i]
        if stock[i] > grace:
            early[i] = early[i - 1] + 1
            supply[i] += supply[i - 1]
    return stock, early, supply
