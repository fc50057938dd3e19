"""PURE. The columns of the kernel: codes of facts, the packed claim record, the results.

A claim's facts are one fixed-size record of `FACTS`, stored with the claim, so that a settlement can be
recomputed from what was known. Tri-state facts are int8: -1 unknown, 0 no, 1 yes. Codes: 0 unknown.
"""

import datetime as dt

import numpy as np

from pricing.rules import CODES

EPOCH = dt.date(1970, 1, 1)
UNKNOWN_DAY = -(2**31)
NO_DAY = -(2**31) + 1

#: Facts with yes, no or unknown.
TRISTATE = (
    "nonprofit", "institution_filed", "agreement_in_force", "insured_local", "disease_in_list",
    "same_disease", "department_in_scope", "provider_is_clinician", "patient_facing",
    "is_medical_treatment", "prescription_issued", "doctor_esigned", "pharmacist_reviewed",
    "credential_verified", "person_matched", "online_settlement", "consent",
    "explained_item_and_price", "included_in_pool", "inpatient",
)  # fmt: skip

FACTS = np.dtype(
    [(name, "i1") for name in TRISTATE]
    + [(name, "u1") for name in CODES]
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
)
FACT_NAMES = frozenset(FACTS.names or ())

#: Line columns that the caller supplies beside the claim's facts; amounts in fen.
LINE = ("service", "item", "service_type", "fee", "encounter", "prior_same", "prior_other")

FLAGS = (
    "CODE_ALIAS", "OVERCHARGE", "ZERO_FEE", "PAPER_SIGNATURE_PENDING", "EXAMPLE_PARAMETER",
    "FEE_MISMATCH",
)  # fmt: skip
FLAG = {name: 1 << number for number, name in enumerate(FLAGS)}


def flag_names(bits: int) -> list[str]:
    return [name for name in FLAGS if bits & FLAG[name]]


def day_number(day: dt.date) -> int:
    """Days since 1970-01-01, as the kernel counts them."""
    return (day - EPOCH).days


def day_of(number: int) -> dt.date:
    return EPOCH + dt.timedelta(days=int(number))


def blank(n: int = 1) -> np.ndarray:
    """`n` records of facts, all unknown."""
    facts = np.zeros(n, FACTS)
    for name in TRISTATE:
        facts[name] = -1
    facts["experience_months"] = -1
    facts["last_offline_day"] = UNKNOWN_DAY
    facts["suspended_from_day"] = NO_DAY
    return facts


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
                column = np.zeros(self.n, np.int64)
            else:
                raise KeyError(name)
            self._columns[name] = column
        return column

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
