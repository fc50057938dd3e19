"""The facts of a claim: records as of the service day, as known at receipt. Nothing is assumed.

One statement reads every record; `pack` turns claim and records into the kernel's packed record. What
no record says stays unknown (-1 or 0) and the kernel refuses or holds the line that needs it.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass, field, replace

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
from settlement.trial import excluded_names

ICD_CATEGORY = 3  #: characters of an ICD-10 code that name the disease
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


@dataclass(frozen=True)
class Known:
    """What the records say about a claim; None where there is no record. Field order = RECORDS."""

    claim_id: int
    same_number: int | None
    price_class: str | None
    ownership: str | None
    nonprofit: bool | None
    filed_on: dt.date | None
    online_settlement: bool | None
    offline_departments: list[str] | None
    internet_departments: list[str] | None
    main_agreement: int | None
    main_state: str | None
    main_since: dt.date | None
    supplementary_agreement: int | None
    supplementary_state: str | None
    is_clinician: bool | None
    independent_since: dt.date | None
    title: str | None
    person_id: int | None
    scheme: str | None
    insured_region: str | None
    account_balance: int | None
    diseases: list[str] | None
    last_visit: dt.date | None
    same_disease: bool | None
    uploaded_in_time: bool | None  #: of a service in a confirmed outage (settlement.outages)
    standing: str | None  #: `absent`: no entitlement covers the day though others are recorded
    assistance: str | None
    online_permitted: bool  #: False: the person's online settlement is suspended that day
    physician_permitted: bool
    department_permitted: bool


#: What a pharmacy's claim takes from the visit at the hospital that prescribed (温州 第十五条).
OF_THE_VISIT = (
    "filed_on", "offline_departments", "internet_departments", "is_clinician", "independent_since",
    "title", "last_visit", "same_disease", "department_permitted",
)  # fmt: skip

AGREEMENT = """LEFT JOIN LATERAL (
        SELECT a.id, s.state, s.valid_from FROM agreements_agreement a
        LEFT JOIN LATERAL (
            SELECT state, valid_from FROM agreements_agreementstate
            WHERE agreement_id = a.id AND valid_from <= %(day)s
                AND (valid_until IS NULL OR valid_until >= %(day)s) AND recorded_at <= %(at)s
                AND (superseded_at IS NULL OR superseded_at > %(at)s)
            ORDER BY recorded_at DESC LIMIT 1) s ON true
        WHERE a.institution_id = ANY (%(own)s) AND a.kind = 'KIND' AND a.valid_from <= %(day)s
            AND (a.valid_until IS NULL OR a.valid_until >= %(day)s)
        ORDER BY a.institution_id = %(institution)s DESC, a.valid_from DESC LIMIT 1) KIND ON true"""

#: Whether no suspension covers the day, by those that were known.
PERMITTED = """NOT EXISTS (SELECT FROM TABLE WHERE WHO AND valid_from <= %(day)s
        AND (valid_until IS NULL OR valid_until >= %(day)s)
        AND recorded_at <= %(at)s AND (superseded_at IS NULL OR superseded_at > %(at)s))"""
SUSPENSIONS = {
    "PERSON_PERMITTED": ("settlement_onlinesuspension", "person_id = p.id"),
    "PHYSICIAN_PERMITTED": ("institutions_servicesuspension", "physician_id = %(physician)s"),
    # A department's code goes on from that of the department above it: A03, A03.04.
    "DEPARTMENT_PERMITTED": (
        "institutions_departmentsuspension",
        """institution_id = %(institution)s
        AND starts_with(%(department)s::text || '.', department || '.')""",
    ),
}

RECORDS = """SELECT nextval('settlement_claim_id_seq'),
    (SELECT claim_id FROM settlement_claimkey
        WHERE institution_code = %(institution)s AND claim_no = %(claim_no)s),
    f.price_class, f.ownership, f.nonprofit, f.filed_on, f.online_settlement,
    f.offline_departments, f.internet_departments,
    main.id, main.state, main.valid_from, supplementary.id, supplementary.state,
    doctor.is_clinician, doctor.independent_since, doctor.title,
    p.id, coalesce(e.scheme, p.scheme), r.policy_region, p.account_balance,
    ARRAY(SELECT code FROM settlement_chronicdisease WHERE person_id = p.id
        AND valid_from <= %(day)s AND (valid_until IS NULL OR valid_until >= %(day)s)
        AND recorded_at <= %(at)s AND (superseded_at IS NULL OR superseded_at > %(at)s)),
    visit.day, visit.same, outage.in_time,
    coalesce(e.standing, (SELECT 'absent' FROM settlement_entitlement
        WHERE person_id = p.id AND recorded_at <= %(at)s LIMIT 1)), e.assistance,
    PERSON_PERMITTED, PHYSICIAN_PERMITTED, DEPARTMENT_PERMITTED
FROM (SELECT 1) one
LEFT JOIN LATERAL (
    SELECT upload_due >= %(at)s AS in_time FROM settlement_outage
    WHERE institution_code = %(institution)s AND state = 'accepted'
        AND began <= %(started)s::timestamptz AND ended >= %(started)s::timestamptz
    ORDER BY upload_due DESC LIMIT 1) outage ON true
LEFT JOIN LATERAL (
    SELECT * FROM institutions_institutionfacts
    WHERE institution_id = %(institution)s AND valid_from <= %(day)s
        AND (valid_until IS NULL OR valid_until >= %(day)s)
        AND recorded_at <= %(at)s AND (superseded_at IS NULL OR superseded_at > %(at)s)
    ORDER BY recorded_at DESC LIMIT 1) f ON true
MAIN
SUPPLEMENT
LEFT JOIN LATERAL (
    SELECT d.is_clinician, d.independent_since,
        (SELECT title FROM institutions_physiciantitle WHERE physician_id = d.code
            AND valid_from <= %(day)s AND (valid_until IS NULL OR valid_until >= %(day)s)
            AND recorded_at <= %(at)s AND checked_at <= %(at)s
            AND (superseded_at IS NULL OR superseded_at > %(at)s)) AS title
    FROM institutions_physician d
    CROSS JOIN LATERAL (
        SELECT d.institution_id AS place, d.joined_on AS since, d.left_on AS until, d.checked_at
        UNION ALL
        SELECT institution_id, valid_from, valid_until, checked_at
        FROM institutions_post WHERE physician_id = d.code) post
    JOIN institutions_institution i ON i.code = post.place
    JOIN institutions_region ir ON ir.code = i.region_id
    WHERE d.code = %(physician)s AND ir.policy_region = %(region)s AND post.checked_at <= %(at)s
        AND (post.since IS NULL OR post.since <= %(day)s)
        AND (post.until IS NULL OR post.until >= %(day)s)
    LIMIT 1) doctor ON true
LEFT JOIN settlement_insuredperson p ON p.id_hash = %(person)s
LEFT JOIN LATERAL (
    SELECT scheme, standing, region_code, assistance FROM settlement_entitlement
    WHERE person_id = p.id AND valid_from <= %(day)s
        AND (valid_until IS NULL OR valid_until >= %(day)s) AND recorded_at <= %(at)s
        AND (superseded_at IS NULL OR superseded_at > %(at)s)
    ORDER BY recorded_at DESC LIMIT 1) e ON true
LEFT JOIN institutions_region r ON r.code = coalesce(e.region_code, p.region_code)
LEFT JOIN LATERAL (
    SELECT day, left(diagnosis_code, CHARACTERS) = %(category)s AS same
    FROM settlement_offlinevisit
    WHERE person_id = p.id AND (%(anywhere)s OR institution_code = ANY (%(own)s))
        AND day <= %(day)s AND reported_at <= %(at)s
    ORDER BY 2 DESC, day DESC LIMIT 1) visit ON true"""
for _mark, _kind in (("MAIN", "main"), ("SUPPLEMENT", "supplementary")):
    RECORDS = RECORDS.replace(_mark, AGREEMENT.replace("KIND", _kind))
for _mark, (_table, _who) in SUSPENSIONS.items():
    RECORDS = RECORDS.replace(_mark, PERMITTED.replace("TABLE", _table).replace("WHO", _who))
RECORDS = RECORDS.replace("CHARACTERS", str(ICD_CATEGORY))


def read(claimant: Claimant, claim: dict, rules: Rules, *, at: dt.datetime) -> Known:
    """Everything the records say, in one statement; also the next claim id."""
    given = {
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
        "anywhere": revisit_anywhere(rules),
    }
    with connection.cursor() as cursor:
        prepared.execute(cursor, RECORDS, given)
        known = Known(*cursor.fetchone())
    if claimant.issuer is None:
        return known
    visit = read(claimant.issuer, claim, rules, at=at)
    return replace(known, **{name: getattr(visit, name) for name in OF_THE_VISIT})


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
        rows: dict = {}
        for release in catalogue.parameters:
            if release.policy.region == region and release.covers(day):
                rows |= release.policy.parameters(day, examples=examples_allowed())
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
