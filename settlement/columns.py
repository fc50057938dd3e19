"""PURE. The columns of the kernel: codes of facts, the packed claim record, the results.

A claim's facts are one fixed-size record of `FACTS`, stored with the claim, so that a settlement can be
recomputed from what was known. Tri-state facts are int8: -1 unknown, 0 no, 1 yes. Codes: 0 unknown.
"""

import datetime as dt
import hashlib

import numpy as np

from pricing.document import EPOCH, NONE
from pricing.formulary import DISEASES_KEPT, UNKNOWN_COUNT
from pricing.rules import CATEGORIES, CODES

UNKNOWN_DAY = -(2**31)
NO_DAY = -(2**31) + 1

#: Facts with yes, no or unknown.
TRISTATE = (
    "nonprofit", "institution_filed", "agreement_in_force", "insured_local", "disease_in_list",
    "same_disease", "department_in_scope", "provider_is_clinician", "patient_facing",
    "is_medical_treatment", "prescription_issued", "doctor_esigned", "pharmacist_reviewed",
    "credential_verified", "person_matched", "online_settlement", "consent",
    "explained_item_and_price", "included_in_pool", "inpatient", "uploaded_in_time",
    "online_permitted", "physician_permitted", "department_permitted", "pharmacist_permitted",
)  # fmt: skip

#: Facts that came later stand at the end of the record: an earlier, shorter one is still read.
LATER_TRISTATE = (
    "uploaded_in_time", "online_permitted", "physician_permitted", "department_permitted",
    "pharmacist_permitted",
)  # fmt: skip
LATER_CODES = ("standing", "assistance", "prescription_record")

FACTS = np.dtype(
    [(name, "i1") for name in TRISTATE if name not in LATER_TRISTATE]
    + [(name, "u1") for name in CODES if name not in LATER_CODES]
    + [
        ("price_class", "u1"),
        ("provincial_hospitals", "u1"),
        ("other_hospitals", "u1"),
        ("pay_from_account", "u1"),
        ("experience_months", "<i2"),
        ("service_day", "<i4"),
        ("last_offline_day", "<i4"),
        ("suspended_from_day", "<i4"),
    ]
    + [(name, "u1") for name in LATER_CODES]
    + [
        ("manual", "u1"),  # claimed through the manual channel: the person has paid the whole fee
        ("disease_count", "u1"),  # filed chronic diseases, UNKNOWN_COUNT: not known
        ("diseases", "<u4", (DISEASES_KEPT,)),  # their numbers (pricing.formulary)
        ("insured_pool", "<u4"),  # `pool_number` of the insured region; 0: not known
    ]
    + [(name, "i1") for name in LATER_TRISTATE]
)
FACT_NAMES = frozenset(FACTS.names or ())

#: Line columns that the caller supplies beside the claim's facts, and what they are when absent.
#: Amounts in fen. From `category` on: what a drug list says of a drug (pricing.formulary), then whose
#: benefits the line has: 0 its own release's, k > 0 those of release k - 1, -1 of none that is loaded.
#: `review`: what a reviewer decided (REVIEWS); `review_cut`: the part of the fee that was cut.
#: `watched`: the check of supervision that holds or refuses the line (事中监督), 0: none.
LINE = {
    "service": 0, "item": 0, "service_type": 0, "fee": 0, "encounter": 0, "prior_same": 0,
    "prior_other": 0, "category": 0, "first_share": 0, "ceiling": NONE, "drug_listed": -1,
    "drug_for_disease": -1, "drug_list": 0, "example": 0, "home": 0, "review": 0, "review_cut": 0,
    "watched": 0,
}  # fmt: skip

#: A reviewer's decision on a held line; refused: the institution bears it, self_paid: the person.
REVIEWS = ("", "passed", "refused", "self_paid")

FLAGS = (
    "CODE_ALIAS", "OVERCHARGE", "ZERO_FEE", "PAPER_SIGNATURE_PENDING", "EXAMPLE_PARAMETER",
    "FEE_MISMATCH",
)  # fmt: skip
FLAG = {name: 1 << number for number, name in enumerate(FLAGS)}


#: The flags of a result also keep what the law said of the line: category, first self-pay share.
CATEGORY_AT, SHARE_AT = 15, 17
CATEGORY_MASK, SHARE_MASK = 0b11, (1 << 14) - 1


def category_bits(category: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Category (position in CATEGORIES) and first self-pay share as bits beside the flags."""
    return (category << CATEGORY_AT) | (share << SHARE_AT)


def category_of(bits: int) -> tuple[str, int]:
    """The category and first self-pay share (per ten thousand) kept with the flags of a result."""
    return CATEGORIES[bits >> CATEGORY_AT & CATEGORY_MASK], bits >> SHARE_AT & SHARE_MASK


def flag_names(bits: int) -> list[str]:
    return [name for name in FLAGS if bits & FLAG[name]]


def day_number(day: dt.date) -> int:
    """Days since 1970-01-01, as the kernel counts them."""
    return (day - EPOCH).days


def day_of(number: int) -> dt.date:
    return EPOCH + dt.timedelta(days=int(number))


def _unknown() -> np.ndarray:
    facts = np.zeros(1, FACTS)
    for name in TRISTATE:
        facts[name] = -1
    facts["experience_months"] = -1
    facts["last_offline_day"] = UNKNOWN_DAY
    facts["suspended_from_day"] = NO_DAY
    facts["disease_count"] = UNKNOWN_COUNT
    return facts


_UNKNOWN = _unknown()
_UNKNOWN_BYTES = _UNKNOWN.tobytes()


def blank(n: int = 1) -> np.ndarray:
    """`n` records of facts, all unknown."""
    return _UNKNOWN.repeat(n)


def records(raw: bytes) -> np.ndarray:
    """The record of a claim as stored; what an earlier, shorter one does not say is unknown."""
    return np.frombuffer(raw + _UNKNOWN_BYTES[len(raw) :], FACTS)


def filed(claims: np.ndarray) -> np.ndarray:
    """Per record: how many chronic diseases are filed, and their numbers (pricing.formulary)."""
    return np.column_stack([claims["disease_count"].astype(np.uint32), claims["diseases"]])


def spread(
    said: dict[str, np.ndarray], at: np.ndarray, columns: dict[str, np.ndarray], n: int
) -> None:
    """Put line columns that are known for the lines `at` into `columns` of n lines."""
    for name, values in said.items():
        whole = columns.get(name)
        if whole is None:
            whole = columns[name] = np.full(n, LINE[name], np.int64)
        whole[at] = values


def pool_number(policy_region: str) -> int:
    """A policy region (统筹区) as 32 bits, never 0."""
    digest = hashlib.new("sm3", policy_region.encode()).digest()
    return int.from_bytes(digest[:4], "big") or 1


class Columns:
    """The facts of lines: claim records gathered to lines on demand, and the line columns.

    >>> columns = Columns(claims, claim_of_line, fee=…, service=…)
    >>> columns["same_disease"]          # one value per line
    """

    def __init__(self, claims: np.ndarray, claim_of_line: np.ndarray, **lines: np.ndarray):
        self.claims = claims
        self.claim_of_line = claim_of_line
        self.n = len(claim_of_line)
        self._columns: dict[str, np.ndarray] = dict(lines)

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._columns.get(name)
        if column is None:
            if name in FACT_NAMES:
                column = self.claims[name][self.claim_of_line]
            elif name in LINE:
                column = np.full(self.n, LINE[name], np.int64)
            else:
                raise KeyError(name)
            self._columns[name] = column
        return column

    def __contains__(self, name: str) -> bool:
        """Whether the caller supplied a line column."""
        return name in self._columns

    def add(self, **lines: np.ndarray) -> None:
        """More line columns, known only after the others."""
        self._columns |= lines

    def take(self, rows: np.ndarray) -> "Columns":
        """The same columns for some lines."""
        return Columns(
            self.claims,
            self.claim_of_line[rows],
            **{n: c[rows] for n, c in self._columns.items() if n not in FACT_NAMES},
        )


def facts_as_dict(record) -> dict:
    """One packed record in the words of the contract; unknown facts are left out."""
    known: dict = {n: bool(record[n]) for n in TRISTATE if record[n] >= 0}
    known |= {n: names[record[n]] for n, names in CODES.items() if record[n]}
    for name in ("price_class", "provincial_hospitals", "other_hospitals"):
        if record[name]:
            known[name] = int(record[name])
    if record["manual"]:
        known["manual"] = True
    if record["experience_months"] >= 0:
        known["doctor_independent_months"] = int(record["experience_months"])
    known["service_date"] = day_of(record["service_day"]).isoformat()
    for name, key in (
        ("last_offline_day", "last_offline_visit"),
        ("suspended_from_day", "main_agreement_suspended_from"),
    ):
        if record[name] not in (UNKNOWN_DAY, NO_DAY):
            known[key] = day_of(record[name]).isoformat()
    return known
