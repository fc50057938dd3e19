"""Watching at submit (事中监督): whoever watches is named by the setting SETTLEMENT_WATCH.

The callable gets the claim with its facts after the person is locked, and says which lines its rules
hold or refuse; when the claim is stored it may store what it found, in the same transaction. Nothing is
asked where no rule of the region watches. (PV 二（五）)
"""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from django.utils.module_loading import import_string

from settlement.columns import Columns
from settlement.facts import Claimant, Law
from settlement.kernel import Results
from settlement.records import Known


@dataclass(frozen=True)
class Submitted:
    """A claim that is being settled."""

    claimant: Claimant
    claim: dict
    known: Known
    record: np.ndarray
    law: Law
    columns: Columns
    checked: Results
    by: str
    at: dt.datetime


class Verdict(Protocol):
    """What watching found: per line the number of the check that holds or refuses it, 0: none."""

    watched: np.ndarray

    def keep(self, fund: int) -> None:
        """The claim is stored; `fund` fen are paid for it."""


@lru_cache(maxsize=4)
def _callable(path: str) -> Any:
    return import_string(path)


def look(submitted: Submitted) -> Verdict | None:
    """The verdict on a claim; None when nobody watches or nothing was found."""
    if not settings.SETTLEMENT_WATCH or not submitted.law.rules.watched:
        return None
    verdict: Verdict | None = _callable(settings.SETTLEMENT_WATCH)(submitted)
    return verdict
