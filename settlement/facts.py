"""The facts of a claim: records as of the service day, as known at receipt. Nothing is assumed.

One statement reads every record (`settlement.records`); `pack` turns claim and records into the
kernel's packed record. What no record says stays unknown (-1 or 0) and the kernel refuses or holds the
line that needs it.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection

from audit import prepared
from institutions import crypto
from institutions.models import area_prefix
from pricing.formulary import DISEASES_KEPT, Formulary, disease_number
from pricing.policy import Rules
from pricing.releases import Catalogue
from pricing.rules import CODES, SERVICES
from settlement.columns import (
    FACTS,
    NO_DAY,
    UNKNOWN_DAY,
    Columns,
    blank,
    day_number,
    filed,
    pool_number,
    spread,
)
from settlement.contract import fee, local_day, quantity
from settlement.records import ICD_CATEGORY, OF_THE_VISIT, RECORDS, Known
from settlement.trial import excluded_names

SHARDS = 64
CONSULT, DRUG = SERVICES.index("consult"), SERVICES.index("drug")
SUSPENDED = "suspended"
GONE = ("terminated", "expired")


@dataclass(frozen=True)
class Claimant:
    """The institution that claims: its code, area, policy region, and itself with its parent."""

    code: str
    region_code: str
    policy_region: str
    own: tuple[str, ...]
    #: of a retail pharmacy: the hospital whose prescription it dispensed, and is it designated
    issuer: "Claimant | None" = None
    designated: bool = True

    @classmethod
    def of(cls, institution) -> "Claimant":
        """From an `institutions.models.Institution`."""
        parents = (institution.parent_id,) if institution.parent_id else ()
        return cls(
            institution.code,
            institution.region_id,
            institution.region.policy_region,
            (institution.code, *parents),
        )


def asked(claimant: Claimant, claim: dict, at: dt.datetime, *, anywhere: bool = False) -> dict:
    """The values of RECORDS; `anywhere`: any institution's visit may precede a revisit (I-WZ-7)."""
    return {
        "institution": claimant.code,
        "own": list(claimant.own),
        "region": claimant.policy_region,
        "claim_no": claim["claim_no"],
        "day": local_day(claim["encounter"]["started_at"]),
        "started": claim["encounter"]["started_at"],
        "at": at,
        "physician": claim["physician"]["code"],
        "department": claim["encounter"]["department_code"],
        "person": crypto.person_hash(claim["person"]["credential"]),
        "category": main_diagnosis(claim)[:ICD_CATEGORY],
        "anywhere": anywhere,
    }


def read(claimant: Claimant, claim: dict, rules: Rules, *, at: dt.datetime) -> Known:
    """Everything the records say, in one statement (two for a pharmacy); also the next claim id."""
    known = _read(asked(claimant, claim, at, anywhere=revisit_anywhere(rules)))
    if claimant.issuer is None:
        return known
    visit = _read(asked(claimant.issuer, claim, at, anywhere=revisit_anywhere(rules)))
    return replace(known, **{name: getattr(visit, name) for name in OF_THE_VISIT})


def completed(
    known: Known, claimant: Claimant, claim: dict, rules: Rules, *, at: dt.datetime
) -> Known:
    """What was read before the rules were known, as `read` gives it."""
    if claimant.issuer is None and not revisit_anywhere(rules):
        return known
    return read(claimant, claim, rules, at=at)


def _read(given: dict) -> Known:
    with connection.cursor() as cursor:
        prepared.execute(cursor, RECORDS, given)
        return Known(*cursor.fetchone())


def main_diagnosis(claim: dict) -> str:
    return next(d["code"] for d in claim["encounter"]["diagnoses"] if d["main"])


def revisit_anywhere(rules: Rules) -> bool:
    """Whether any physical institution's visit may precede a revisit (reading I-WZ-7)."""
    reading = rules.policy.section("readings", {}).get("revisit_institution", {})
    return reading.get("value") == "any_physical"


@dataclass(frozen=True)
class Lists:
    """What a region lists beside its document: payable diseases (None: no list), localities."""

    diseases: frozenset[str] | None = None
    included: list[dict] = field(default_factory=list)

    @classmethod
    def of(cls, catalogue: Catalogue, rules: Rules, day: dt.date) -> "Lists":
        names = rules.policy.section("disease_list", {}).get("parameter")
        region = rules.policy.region
        rows: Mapping[str, Any] = catalogue.rows(region, day, examples=examples_allowed())
        listed = rows.get(names) if names else None
        own = rules.policy.section("pool_inclusion", {}).get("rows") or []
        more = rows.get("pool_inclusion")
        return cls(
            None if listed is None else frozenset(row["code"] for row in listed.value),
            [*own, *(more.value if more else [])],
        )

    def includes(self, area: str, day: dt.date) -> int:
        """1 when the locality has taken the items into its pool by then, -1 when nothing is said."""
        for row in self.included:
            until = row.get("until")
            if area.startswith(area_prefix(str(row["area"]))) and row["from"] <= day:
                return int(until is None or day <= until)
        return -1


@dataclass(frozen=True)
class Law:
    """What settles a claim: the rules of its region and day with its lists, and, for a person
    insured elsewhere, the rules of the person's own region (None: not loaded)."""

    rules: Rules
    lists: Lists
    formulary: Formulary | None
    away: bool
    home: Rules | None
    day: dt.date

    @classmethod
    def of(cls, catalogue: Catalogue, rules: Rules, known: Known, day: dt.date) -> "Law":
        region, insured = rules.policy.region, known.insured_region
        away = rules.offsite and insured not in (None, region)
        home = None
        if away and insured:
            home = catalogue.rules(insured, day, examples=examples_allowed())
        return cls(
            rules,
            Lists.of(catalogue, rules, day),
            catalogue.formulary(region, day),
            away,
            home,
            day,
        )

    @property
    def releases(self) -> list[Rules]:
        return [self.rules] if self.home is None else [self.rules, self.home]


def whole_facts(column: str) -> str:
    """SQL of a stored record in the shape of today: an earlier, shorter one is filled up."""
    rest = f"substr('\\x{blank().tobytes().hex()}'::bytea, octet_length({column}) + 1)"
    size = FACTS.itemsize
    return f"CASE octet_length({column}) WHEN {size} THEN {column} ELSE {column} || {rest} END"


def examples_allowed() -> bool:
    """May a claim be settled by example parameters? Switched off where real money is paid."""
    return settings.EXAMPLE_PARAMETERS


def pack(claimant: Claimant, claim: dict, known: Known, lists: Lists) -> np.ndarray:
    """One record of settlement.columns.FACTS."""
    record = blank()
    day = local_day(claim["encounter"]["started_at"])
    _from_claim(record, claim)
    _from_institution(record, claim, known, day)
    _from_agreements(record, known)
    _from_person(record, claimant, known, lists, day)
    _from_physician(record, known, day)
    record["service_day"] = day_number(day)
    record["included_in_pool"] = lists.includes(claimant.region_code, day)
    record["uploaded_in_time"] = _tri(known.uploaded_in_time)
    record["online_permitted"] = known.online_permitted
    record["physician_permitted"] = known.physician_permitted
    record["department_permitted"] = known.department_permitted
    return record


def _tri(value: bool | None) -> int:
    return -1 if value is None else int(value)


def _code(name: str, value: str | None) -> int:
    """The small code of a fact; a word outside the vocabulary counts as `other` or unknown."""
    words = CODES[name]
    if not value or (value not in words and "other" not in words):
        return 0
    return words.index(value if value in words else "other")


def _from_claim(record: np.ndarray, claim: dict) -> None:
    encounter, person = claim["encounter"], claim["person"]
    for name in ("business_type", "visit_type", "condition"):
        record[name] = _code(name, encounter.get(name))
    verified = person.get("verified_at")
    record["credential_verified"] = bool(verified) and person["credential_type"] == "e_credential"
    record["person_matched"] = person["matched"]
    if consent := claim.get("consent"):
        record["explained_item_and_price"] = consent["item_and_price_explained"]
        record["consent"] = bool(consent.get("given_at"))
    record["pay_from_account"] = claim.get("pay_from_account", False)
    record["manual"] = claim["channel"] == "manual"
    # A session with the insured person and a diagnosis: the service faces a patient and treats.
    record["patient_facing"] = bool(encounter["session"]["medium"])
    record["is_medical_treatment"] = bool(encounter["diagnoses"])
    _prescriptions(record, claim)
    if consultation := claim.get("consultation"):
        record["charged_by"] = _code("charged_by", consultation["charged_by"])
        record["inpatient"] = consultation["inpatient"]
        names = {h["name"]: h["provincial"] for h in consultation["hospitals"]}
        record["provincial_hospitals"] = sum(names.values())
        record["other_hospitals"] = len(names) - sum(names.values())


def _prescriptions(record: np.ndarray, claim: dict) -> None:
    """Issued: there is one, and every drug line names its own; signed, reviewed: all are."""
    prescriptions = claim.get("prescriptions", ())
    loose = any(
        line["kind"] == "drug" and not line.get("prescription_no") for line in claim["lines"]
    )
    record["prescription_issued"] = bool(prescriptions) and not loose
    if prescriptions:
        record["doctor_esigned"] = all(
            p.get("signed_by") and p.get("signed_at") for p in prescriptions
        )
        record["pharmacist_reviewed"] = all(
            p.get("reviewed_by") and p.get("reviewed_at") for p in prescriptions
        )


def _from_institution(record: np.ndarray, claim: dict, known: Known, day: dt.date) -> None:
    if claim["channel"] == "manual":
        record["online_settlement"] = 0
    else:
        record["online_settlement"] = _tri(known.online_settlement)
    if known.price_class is None:
        return
    record["price_class"] = int(known.price_class) if known.price_class.isdigit() else 0
    record["ownership"] = _code("ownership", known.ownership)
    record["nonprofit"] = _tri(known.nonprofit)
    record["institution_filed"] = known.filed_on is not None and known.filed_on <= day
    department = claim["encounter"]["department_code"]
    record["department_in_scope"] = department in (known.offline_departments or ()) and (
        department in (known.internet_departments or ())
    )


def _from_agreements(record: np.ndarray, known: Known) -> None:
    """In force: main and supplementary cover the day, and neither was ended."""
    both = known.main_agreement is not None and known.supplementary_agreement is not None
    states = (known.main_state, known.supplementary_state)
    if both and None in states:
        record["agreement_in_force"] = -1
    else:
        record["agreement_in_force"] = both and not set(states) & set(GONE)
    record["agreement_state"] = _code("agreement_state", known.supplementary_state)
    if known.main_state == SUSPENDED and known.main_since is not None:
        record["suspended_from_day"] = day_number(known.main_since)


def _from_person(
    record: np.ndarray, claimant: Claimant, known: Known, lists: Lists, day: dt.date
) -> None:
    for name in ("scheme", "standing", "assistance"):
        record[name] = _code(name, getattr(known, name))
    if known.insured_region:
        record["insured_pool"] = pool_number(known.insured_region)
    _diseases(record, known, lists)
    record["insured_local"] = known.insured_region == claimant.policy_region
    if lists.diseases is not None:
        record["disease_in_list"] = bool(lists.diseases & set(known.diseases or ()))
    if record["condition"][0] == 0 and known.diseases and known.same_disease:
        record["condition"] = _code("condition", "chronic")
    if known.last_visit is None:
        record["last_offline_day"] = NO_DAY if known.person_id else UNKNOWN_DAY
        return
    record["last_offline_day"] = day_number(known.last_visit)
    record["same_disease"] = _tri(known.same_disease)


def _diseases(record: np.ndarray, known: Known, lists: Lists) -> None:
    """The filed diseases that a drug may be limited to; those that the region pays for first."""
    if known.diseases is None:
        return
    paid = lists.diseases or frozenset()
    numbers = [disease_number(c) for c in sorted(known.diseases, key=lambda c: (c not in paid, c))]
    kept = numbers[:DISEASES_KEPT]
    record["disease_count"] = len(kept)
    record["diseases"][0, : len(kept)] = kept


def _from_physician(record: np.ndarray, known: Known, day: dt.date) -> None:
    record["provider_is_clinician"] = _tri(known.is_clinician)
    record["doctor_title"] = _code("doctor_title", known.title)
    if known.independent_since is not None:
        record["experience_months"] = max(full_months(known.independent_since, day), 0)


def full_months(since: dt.date, day: dt.date) -> int:
    """Whole months from `since` to `day`; full on the corresponding day or the month's end."""
    months = (day.year - since.year) * 12 + day.month - since.month
    month_ends = (day + dt.timedelta(days=1)).day == 1
    return months - (day.day < since.day and not month_ends)


def service_of(kind: str, *, nonprofit: bool) -> int:
    """The kernel's service of a line. `other` has no approved item: self-defined where allowed."""
    if kind == "other":
        return SERVICES.index("unapproved_item" if nonprofit else "self_defined_item")
    return SERVICES.index(kind)


def columns(claim: dict, record: np.ndarray, law: Law, prior_items: list[str]) -> Columns:
    """The lines of one claim as kernel columns; `prior_items` were charged before."""
    lines, rules = claim["lines"], law.rules
    nonprofit = record["nonprofit"][0] != 0
    excluded = excluded_names(rules)
    item = np.array([item_number(rules, line["item_code"]) for line in lines], np.int64)
    charged = {int(rules.row_of_code[item_number(rules, code)]) for code in prior_items}
    rows = [int(row) for row in rules.row_of_code[item]]
    names = [line.get("service_type") for line in lines]
    service = np.array([service_of(line["kind"], nonprofit=nonprofit) for line in lines])
    more: dict[str, np.ndarray] = {}
    drugs = np.flatnonzero(service == DRUG)
    if law.formulary is not None and drugs.size:
        places = law.formulary.places([lines[k]["item_code"] for k in drugs])
        amounts = np.array([quantity(lines[k]) for k in drugs], np.int64)
        said = law.formulary.judge(places, amounts, np.repeat(filed(record), len(drugs), axis=0))
        spread(said, drugs, more, len(lines))
    if law.away:
        more["home"] = np.full(len(lines), len(law.releases) if law.home else -1, np.int64)
    return Columns(
        record,
        np.zeros(len(lines), np.int64),
        **more,
        service=service,
        item=item,
        service_type=np.array([excluded.index(n) + 1 if n in excluded else 0 for n in names]),
        fee=np.array([fee(line) for line in lines], np.int64),
        encounter=np.ones(len(lines), np.int64),
        prior_same=np.array([row in charged for row in rows], np.int64),
        prior_other=np.array([bool(charged - {row}) for row in rows], np.int64),
    )


def item_number(rules: Rules, code: str) -> int:
    """The kernel's number of an item code, 0 when the document does not know it."""
    return rules.codes.index(code) + 1 if code in rules.codes else 0


def encounter_key(institution: str, encounter_id: str) -> int:
    """A signed 64-bit hash that finds the claims of an encounter in any partition."""
    digest = hashlib.new("sm3", f"{institution}/{encounter_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
