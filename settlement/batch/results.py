"""PURE. The rows that a chunk writes, as columns for COPY, and the bytes of its digest."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pricing.rules import CODES
from settlement.columns import FACTS
from settlement.copy import columns
from settlement.kernel import Results
from settlement.posting import RESULT, STATES, TOTALS, Posted

SETTLEMENT = columns(
    claim_id="int8", version="int2", state="text", period="date", region_code="text",
    institution_code="text", person_id="int8", scheme="text", year="int2", service_date="date",
    fee="int8", in_scope="int8", over_cap="int8", out_of_scope="int8", held="int8", fund="int8",
    account="int8", cash="int8", hospital="int8", deductible="int8", example="bool",
    batch_id="int8", settled_at="timestamptz", settled_by="text", reason="text",
    first_self_pay="int8", major="int8", assistance="int8", insured_pool="text",
)  # fmt: skip
LINE = columns(
    claim_id="int8", version="int2", line_no="int2", period="date", region_code="text",
    institution_code="text", decision="int2", reason="int2", check_no="int2", flags="int4",
    release_id="int4", parameters_id="int4", fee="int8", in_scope="int8", over_cap="int8",
    overcharge="int8", deductible="int8", fund="int8", first_self_pay="int8", major="int8",
    assistance="int8", drug_list="int4",
)  # fmt: skip
LEG = columns(
    claim_id="int8", version="int2", account="int2", amount="int8", period="date",
    region_code="text", institution_code="text",
)  # fmt: skip

POSTED = (*TOTALS, "example")
DECIDED = RESULT[:-1]  # a digest of a chunk names the drug lists by their law
STATE_TEXT = np.array([name.encode() for name in STATES])
SCHEME_TEXT = np.array([name.encode() for name in CODES["scheme"]])


def years(days: np.ndarray) -> np.ndarray:
    """Calendar years of days since 1970."""
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970


def settlement_rows(
    claims: np.ndarray, posted: Posted, pools: Any, every: dict[str, Any]
) -> dict[str, Any]:
    """One row per claim: its totals as version 1; `pools` pay for persons insured elsewhere."""
    scheme = np.ascontiguousarray(claims["facts"]).view(FACTS)["scheme"]
    return every | {
        "claim_id": claims["id"],
        "state": STATE_TEXT[posted.state],
        "person_id": claims["person_id"],
        "scheme": SCHEME_TEXT[scheme],
        "year": years(claims["service_date"]),
        "service_date": claims["service_date"],
        "reason": b"",
        "insured_pool": pools,
        **{name: getattr(posted, name) for name in POSTED},
    }


def line_rows(lines: np.ndarray, results: Results, law: Any, which: np.ndarray) -> dict[str, Any]:
    """One row per line: decision, reason and split."""
    return {
        "claim_id": lines["claim_id"],
        "line_no": lines["line_no"],
        "release_id": law.release_ids[which],
        "parameters_id": law.parameters_ids[which],
        "drug_list": results.drug_list,
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

    Claims are named by their place, so that the same file has the same digest in every database. A
    column is written in the narrowest integers that hold it, after their width in bytes.
    """
    yield np.array([len(claims), len(lines), len(posted.leg_claim)], "<i8")
    place = np.searchsorted(claims["id"], lines["claim_id"])
    for column in (
        place, lines["line_no"], *(getattr(results, name) for name in DECIDED),
        *(getattr(posted, name) for name in ("state", *POSTED)), posted.leg_claim,
        posted.leg_account, posted.leg_amount,
    ):  # fmt: skip
        yield from narrowed(column)


def narrowed(column: np.ndarray) -> Iterator[np.ndarray]:
    """The width in bytes, then the whole numbers in that width, least significant byte first."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    width = next(w for w in (1, 2, 4, 8) if -(1 << 8 * w - 1) <= low and high < 1 << 8 * w - 1)
    yield np.array([width], "u1")
    yield np.ascontiguousarray(column, f"<i{width}")
