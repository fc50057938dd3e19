"""PURE. A published drug list as columns: looked up by code, or for many lines at once by hash.

What a list says of a line: whether the drug is on it, its category, its first self-pay share, the
ceiling for the quantity, and whether the person's filed diseases allow it (温州 第二十三条（一）).
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pricing.document import NONE, UNLIMITED

PER_FEN = 10**8  #: a ceiling (1/1000000 yuan) × a quantity (1/10000) is in 1/100000000 fen
HALF = 10**4  #: PER_FEN is HALF × HALF: products are split there, so that none leaves 64 bits
DISEASES_KEPT = 8  #: filed diseases that a claim's record keeps
UNKNOWN_COUNT = 255
FAR = 8e22  #: a product beyond it is a ceiling that no fee reaches


def disease_number(code: str) -> int:
    """A disease code as 32 bits, never 0."""
    return int.from_bytes(hashlib.new("sm3", code.encode()).digest()[:4], "big") or 1


@dataclass(frozen=True)
class Formulary:
    """One published list. Columns run over the drugs in the order of `hashes`, which rise."""

    id: int
    sm3: str
    version: str
    title: str
    clause: str
    first: dt.date
    last: dt.date | None
    example: bool
    codes: Mapping[str, int]
    hashes: np.ndarray
    category: np.ndarray
    share: np.ndarray
    ceiling: np.ndarray  #: per unit, 1/1000000 yuan; NONE: no ceiling
    diseases: np.ndarray  #: [drug, k] disease numbers, 0 where there are fewer

    def covers(self, day: dt.date) -> bool:
        return self.first <= day and (self.last is None or day <= self.last)

    @cached_property
    def restricted(self) -> np.ndarray:
        """Drugs that are limited to diseases."""
        return np.asarray(np.count_nonzero(self.diseases, axis=1) > 0)

    def places(self, codes: list[str]) -> np.ndarray:
        """Where drugs stand on the list, -1 where they do not."""
        return np.array([self.codes.get(code, -1) for code in codes], np.int64)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """`places` for codes given by their hashes."""
        if not self.hashes.size:
            return np.full(len(hashes), -1, np.int64)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[at] == hashes, at, -1)

    def judge(self, places: np.ndarray, quantity: np.ndarray, filed: np.ndarray) -> dict:
        """Line columns of the kernel for drugs at `places`.

        `quantity` in 1/10000, `filed` [line, 1 + DISEASES_KEPT]: how many diseases are filed
        (UNKNOWN_COUNT: not known) and their numbers.
        """
        n, known = len(places), places >= 0
        said = {
            "drug_listed": known.astype(np.int64),
            "drug_list": np.full(n, self.id, np.int64),
            "example": np.full(n, int(self.example), np.int64),
        }
        if not self.hashes.size:
            return said
        at = np.where(known, places, 0)
        return said | {
            "category": np.where(known, self.category[at], 0),
            "first_share": np.where(known, self.share[at], 0),
            "ceiling": np.where(known, ceiling_of(self.ceiling[at], quantity), NONE),
            "drug_for_disease": self._allowed(known, at, filed),
        }

    def _allowed(self, known: np.ndarray, at: np.ndarray, filed: np.ndarray) -> np.ndarray:
        """1 allowed, 0 not, -1 where the drug is for any disease or the filing is not known."""
        allowed = np.full(len(at), -1, np.int64)
        asked = np.flatnonzero(known & self.restricted[at] & (filed[:, 0] != UNKNOWN_COUNT))
        if asked.size:
            wanted = self.diseases[at[asked]]
            has = (filed[asked, 1:, None] == wanted[:, None, :]) & (wanted[:, None, :] != 0)
            allowed[asked] = has.any(axis=(1, 2))
        return allowed


def ceiling_of(ceiling: np.ndarray, quantity: np.ndarray) -> np.ndarray:
    """Fen for the quantity, rounded half up; NONE stays NONE, what no fee reaches is UNLIMITED."""
    far = ceiling.astype(np.float64) * quantity > FAR
    price, amount = np.where(far, 0, ceiling), np.where(far, 0, quantity)
    high, low = (price // HALF) * amount, (price % HALF) * amount
    fen = high // HALF + ((high % HALF) * HALF + low + PER_FEN // 2) // PER_FEN
    return np.where(ceiling == NONE, NONE, np.where(far, UNLIMITED, fen))
