"""Seeded draws: the same stream gives the same numbers on every machine."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

from config.demo import SEED

T = TypeVar("T")
BLOCK = 4096


class Chance:
    """Draws of one numbered stream (PCG64, drawn in blocks because single draws are slow)."""

    def __init__(self, stream: int):
        self._floats = self._endless(np.random.default_rng([SEED, stream]))

    @staticmethod
    def _endless(generator: np.random.Generator) -> Iterator[float]:
        while True:
            yield from generator.random(BLOCK).tolist()

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(next(self._floats) * n)

    def one(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def weighted(self, options: Sequence[T], shares: Sequence[int]) -> T:
        """One of the options, as often as its share says."""
        sums = list(accumulate(shares))
        return options[bisect(sums, self.below(sums[-1]))]

    def happens(self, per_mille: int) -> bool:
        """True in so many cases of a thousand."""
        return self.below(1000) < per_mille
