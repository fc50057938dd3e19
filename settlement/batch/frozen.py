"""The claims of a chunk as the load froze them: read by the primary keys, bound by an SM3.

A chunk whose claims are not the frozen ones is neither settled nor split: a person decides.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from settlement.columns import FACTS
from settlement.copy import columns, copy_out
from settlement.facts import whole_facts
from settlement.models import Batch, Chunk

CLAIMS = columns(
    id="int8", person_id="int8", service_date="date", fee="int8", encounter_key="int8",
    facts=f"bytea:{FACTS.itemsize}",
)  # fmt: skip
#: By the primary key: with statistics of before the load the planner would take the index of batches,
#: and each chunk would read its whole batch.
READ_CLAIMS = """SELECT id, person_id, service_date, fee, encounter_key, FACTS
    FROM settlement_claim
    WHERE period = %s AND id BETWEEN %s AND %s AND batch_id + 0 = %s ORDER BY id""".replace(
    "FACTS", whole_facts("facts")
)
READ_PART = READ_CLAIMS.replace("ORDER", "AND person_id BETWEEN %s AND %s ORDER")
ANYBODY = (0, 2**63 - 1)
BOUND = ("id", "fee", "person_id", "facts")


@dataclass(frozen=True)
class Span:
    """Which claims are a chunk's: ids from … to, of persons from … to."""

    first: int
    last: int
    persons: tuple[int, int] | None

    @classmethod
    def of(cls, chunk: Chunk) -> "Span":
        first, last = chunk.first_person, chunk.last_person
        persons = None if first is None or last is None else (first, last)
        return cls(chunk.first_claim, chunk.last_claim, persons)


class InconsistentError(Exception):
    """What was read or computed does not add up: nothing of the chunk is stored."""


def read(cursor: Any, batch: Batch, span: Span) -> np.ndarray:
    """The claims of a span of a batch, rising by id."""
    given = (batch.period, span.first, span.last, batch.pk)
    if span.persons is None:
        return copy_out(cursor, READ_CLAIMS, CLAIMS, given)
    return copy_out(cursor, READ_PART, CLAIMS, [*given, *span.persons])


def inside(claims: np.ndarray, span: Span) -> np.ndarray:
    """Those of some claims that a span holds."""
    low, high = span.persons or ANYBODY
    ids, persons = claims["id"], claims["person_id"]
    return claims[(ids >= span.first) & (ids <= span.last) & (persons >= low) & (persons <= high)]


def manifest_of(claims: Mapping[str, Any] | np.ndarray) -> str:
    """SM3 over numbers, fees, persons and facts of claims in the order of their numbers."""
    digest = hashlib.new("sm3")
    for name in BOUND:
        digest.update(np.ascontiguousarray(claims[name]).tobytes())
    return digest.hexdigest()
