"""PURE. The rows that a chunk writes, as columns for COPY, and the bytes of its digest."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pricing.rules import CODES
from settlement.columns import FACTS
from settlement.copy import columns
from settlement.kernel import Results
from settlement.posting import STATES, Posted

SETTLEMENT = columns(
    claim_id="int8", version="int2", state="text", period="date", region_code="text",
    institution_code="text", person_id="int8", scheme="text", year="int2", service_date="date",
    fee="int8", in_scope="int8", over_cap="int8", out_of_scope="int8", held="int8", fund="int8",
    account="int8", cash="int8", hospital="int8", deductible="int8", example="bool",
    batch_id="int8", settled_at="timestamptz", settled_by="text", reason="text",
)  # fmt: skip
LINE = columns(
    claim_id="int8", version="int2", line_no="int2", period="date", region_code="text",
    institution_code="text", decision="int2", reason="int2", check_no="int2", flags="int4",
    release_id="int4", parameters_id="int4", fee="int8", in_scope="int8", over_cap="int8",
    overcharge="int8", deductible="int8", fund="int8",
)  # fmt: skip
LEG = columns(
    claim_id="int8", version="int2", account="int2", amount="int8", period="date",
    region_code="text", institution_code="text",
)  # fmt: skip

POSTED = (
    "fee", "in_scope", "over_cap", "out_of_scope", "held", "fund", "account", "cash", "hospital",
    "deductible", "example",
)  # fmt: skip
DECIDED = ("decision", "reason", "check_no", "flags", "fee", "in_scope", "over_cap", "overcharge",
           "deductible", "fund")  # fmt: skip
STATE_TEXT = np.array([name.encode() for name in STATES])
SCHEME_TEXT = np.array([name.encode() for name in CODES["scheme"]])


def years(days: np.ndarray) -> np.ndarray:
    """Calendar years of days since 1970."""
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970


def settlement_rows(claims: np.ndarray, posted: Posted, every: dict[str, Any]) -> dict[str, Any]:
    """One row per claim: its totals as version 1."""
    scheme = np.ascontiguousarray(claims["facts"]).view(FACTS)["scheme"]
    return every | {
        "claim_id": claims["id"],
        "state": STATE_TEXT[posted.state],
        "person_id": claims["person_id"],
        "scheme": SCHEME_TEXT[scheme],
        "year": years(claims["service_date"]),
        "service_date": claims["service_date"],
        "reason": b"",
        **{name: getattr(posted, name) for name in POSTED},
    }


def line_rows(lines: np.ndarray, results: Results, law: Any, which: np.ndarray) -> dict[str, Any]:
    """One row per line: decision, reason and split."""
    return {
        "claim_id": lines["claim_id"],
        "line_no": lines["line_no"],
        "release_id": law.release_ids[which],
        "parameters_id": law.parameters_ids[which],
        **{name: getattr(results, name) for name in DECIDED},
    }


def leg_rows(claims: np.ndarray, posted: Posted) -> dict[str, Any]:
    """The legs, which sum to zero per claim."""
    return {
        "claim_id": claims["id"][posted.leg_claim],
        "account": posted.leg_account,
        "amount": posted.leg_amount,
    }


def canonical(
    claims: np.ndarray, lines: np.ndarray, results: Results, posted: Posted
) -> Iterator[np.ndarray]:
    """What is digested: counts, then the columns in the order of claims, lines and legs.

    Claims are named by their place, so that the same file has the same digest in every database.
    """
    yield np.array([len(claims), len(lines), len(posted.leg_claim)], "<i8")
    place = np.searchsorted(claims["id"], lines["claim_id"])
    for column in (place, lines["line_no"]):
        yield np.ascontiguousarray(column, "<i4")
    for name in DECIDED:
        small = name in ("decision", "reason", "check_no")
        yield np.ascontiguousarray(getattr(results, name), "<i2" if small else "<i8")
    for name in ("state", *POSTED):
        yield np.ascontiguousarray(getattr(posted, name), "<i8")
    yield np.ascontiguousarray(posted.leg_claim, "<i4")
    yield np.ascontiguousarray(posted.leg_account, "<i2")
    yield np.ascontiguousarray(posted.leg_amount, "<i8")
