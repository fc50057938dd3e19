"""Prescriptions as claims meet them: kept with the claim, and what the record says of each (十四、十五).

A claim that carries prescriptions enters their records, or finds them; then the record wins over the
claim's word: who it is for, signed, reviewed, withdrawn, expired, handed out elsewhere, charged before.
One round trip; a batch asks for thousands at once. See docs/decisions/prescription-record.md.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.conf import settings

from audit import trail
from institutions.shape import moment, scaled
from pricing.releases import Catalogue
from pricing.rules import CODES
from settlement import ledger
from settlement.columns import NO_DAY
from settlement.contract import QUANTITY_DIGITS, local_day
from settlement.facts import Claimant, encounter_key, examples_allowed
from settlement.records import PERMITTED, Known

RECORD = CODES["prescription_record"]
ACTIVE = CODES["agreement_state"].index("active")
VALID_DAYS = "prescription_valid_days"

PUT = """INSERT INTO settlement_prescription (region_code, institution_code, number, person_id,
        encounter_id, encounter_key, issued_on, visit, physician_code, signed_by, signed_at, review,
        reviewed_by, reviewed_at, review_reason, source, uploaded_at, uploaded_by, expires_on, state,
        state_reason, content_sm3, first_claim)
    SELECT %(region)s, %(issuer)s, g.number, g.person_id, g.encounter_id, g.encounter_key, g.issued_on,
        g.visit, g.physician_code, g.signed_by, g.signed_at, g.review, g.reviewed_by,
        g.reviewed_at, '', 'claim', %(at)s, %(by)s, g.expires_on, g.state, '', g.content_sm3,
        nullif(%(claim_id)s::bigint, 0)
    FROM jsonb_to_recordset(%(prescriptions)s::jsonb) AS g (number text, person_id bigint,
        encounter_id text, encounter_key bigint, issued_on date, visit jsonb, physician_code text,
        signed_by text, signed_at timestamptz, review text, reviewed_by text,
        reviewed_at timestamptz, expires_on date, state text, content_sm3 text)
    ORDER BY g.number
    ON CONFLICT (institution_code, number) DO UPDATE SET number = EXCLUDED.number"""
#: Lines of new prescriptions only: the drugs of a record never change.
LINES = """INSERT INTO settlement_prescriptionline (prescription_id, drug_code, quantity, days_supply,
        unit, dispensed)
    SELECT p.id, g.drug_code, g.quantity, g.days_supply, g.unit, 0
    FROM jsonb_to_recordset(%(drugs)s::jsonb) AS g (number text, drug_code text, quantity bigint,
        days_supply smallint, unit text)
    CROSS JOIN LATERAL (FOUND) p
    WHERE NOT EXISTS (SELECT FROM settlement_prescriptionline l WHERE l.prescription_id = p.id)"""
LOCK = """SELECT 1 FROM settlement_prescription
    WHERE institution_code = %(issuer)s AND number = ANY (%(numbers)s) ORDER BY number FOR UPDATE"""
CHARGES = """INSERT INTO settlement_prescriptioncharge (prescription_id, claim_id, drug_code,
        quantity, region_code, institution_code, issuer_region, issuer_code)
    SELECT p.id, CLAIM_ID, g.drug_code, g.quantity, %(claimant_region)s, %(claimant)s,
        p.region_code, p.institution_code
    FROM jsonb_to_recordset(%(charges)s::jsonb) AS g (claim_no text, number text, drug_code text,
        quantity bigint)
    CROSS JOIN LATERAL (FOUND) p"""
#: Who reviewed a prescription and who dispensed what the claimant keeps out under it, on which days.
ACTS = """SELECT p.reviewed_by AS who, (p.reviewed_at AT TIME ZONE %(zone)s)::date AS day
        WHERE p.review = 'passed'
        UNION ALL
        SELECT d.pharmacist_code, (d.dispensed_at AT TIME ZONE %(zone)s)::date
        FROM settlement_dispensing d
        WHERE d.prescription_id = p.id AND d.institution_code = %(claimant)s AND EXISTS (
            SELECT FROM settlement_dispensingline x WHERE x.dispensing_id = d.id AND x.quantity > (
                SELECT coalesce(sum(r.quantity), 0) FROM settlement_dispensingreturnline r
                WHERE r.line_id = x.id))"""
#: Whether none of them was suspended on the day, by the suspensions that were known.
BY_PERMITTED = "NOT EXISTS (SELECT FROM (ACTS) act WHERE NOT PERMITTED)".replace(
    "PERMITTED",
    PERMITTED.replace("TABLE", "institutions_servicesuspension")
    .replace("WHO", "physician_id = act.who")
    .replace("%(day)s", "act.day"),
).replace("ACTS", ACTS)
#: Nobody else knows of a prescription that this very claim brings.
READ = """SELECT p.number, p.person_id, p.state, p.signed_at IS NOT NULL AS signed,
    p.review = 'passed' AS reviewed, BY_PERMITTED AS permitted,
    CASE WHEN p.first_claim = %(claim_id)s
        THEN (SELECT json_agg(json_build_array(l.drug_code, l.quantity, 0, 0, 0, 0))
            FROM settlement_prescriptionline l WHERE l.prescription_id = p.id)
        ELSE (SELECT json_agg(json_build_array(u.drug_code, u.prescribed, u.dispensed_mine,
                u.dispensed_others, u.charged_mine, u.charged_others))
            FROM settlement_prescription_used(p.id, %(claimant)s, %(claim_id)s) u) END AS drugs
    FROM unnest(%(numbers)s::text[]) AS g (number) CROSS JOIN LATERAL (FOUND) p"""
#: One look-up by the unique key for each number: no plan may read all that an institution issued.
FOUND = """SELECT * FROM settlement_prescription
    WHERE institution_code = %(issuer)s AND number = g.number OFFSET 0"""
LINES, CHARGES, READ = (text.replace("FOUND", FOUND) for text in (LINES, CHARGES, READ))
READ = READ.replace("BY_PERMITTED", BY_PERMITTED)
READ_AS_ONE = """SELECT json_agg(json_build_array(number, person_id, state, signed, reviewed, permitted,
    drugs)) FROM (READ) p""".replace("READ", READ)
NUMBERED = CHARGES.replace("CLAIM_ID", "%(claim_id)s")
KEYED = (
    CHARGES.replace("CLAIM_ID", "k.claim_id")
    + """
    JOIN settlement_claimkey k ON k.institution_code = %(claimant)s AND k.claim_no = g.claim_no"""
)


@dataclass
class Used:
    """Of a prescribed drug (1/10000 units): dispensed and charged by the claimant and by others."""

    prescribed: int
    dispensed_mine: int
    dispensed_others: int
    charged_mine: int
    charged_others: int


@dataclass
class Held:
    """What the record of a prescription says; `drugs` by code."""

    person_id: int
    state: str
    signed: bool
    reviewed: bool
    permitted: bool  #: no pharmacist who reviewed or dispensed was suspended on that day
    drugs: dict[str, Used] = field(default_factory=dict)


def entering(
    claimant: Claimant, claim: dict, known: Known, catalogue: Catalogue, *, by: str, at: dt.datetime
) -> ledger.Entering:
    """How the prescriptions of a claim are entered or found, its charges noted, the records asked."""
    given = _given(claimant, [claim], by=by, at=at) | {
        "claim_id": known.claim_id,
        "prescriptions": _json(_records(claimant, [(claim, known)], catalogue)),
        "drugs": _json(_drugs([claim])), "charges": _json(_charges([claim])),
    }  # fmt: skip
    entered = (LOCK,) if claimant.issuer else (PUT, LINES)
    return ledger.Entering((*entered, NUMBERED), READ_AS_ONE, given)


def take_many(
    cursor: Any, claimant: Claimant, claims: Sequence[dict], known: Sequence[Known],
    records: Sequence[np.ndarray], catalogue: Catalogue, found: dict[str, Held],
    *, by: str, at: dt.datetime,
) -> str:  # fmt: skip
    """`take` for some claims of a file, in its order; what they charge, to be noted later (`charge_many`).

    `found` holds the prescriptions of earlier pieces of the file, whose charges are counted.
    """
    rows = zip(claims, known, records, strict=True)
    piece = [row for row in rows if row[0].get("prescriptions")]
    if not piece:
        return ""
    carrying = [claim for claim, *_ in piece]
    given = _given(claimant, carrying, by=by, at=at) | {
        "claim_id": 0,
        "prescriptions": _json(_records(claimant, [(c, k) for c, k, _ in piece], catalogue)),
        "drugs": _json(_drugs(carrying)),
    }  # fmt: skip
    cursor.execute(f"{PUT};\n{LINES};\n{READ}", given)
    for number, one in held(cursor.fetchall()).items():
        found.setdefault(number, one)
    for claim, facts, record in piece:
        write(record, claimant, claim, facts, found)
        _count(claim, found)
    return _json(_charges(carrying))


def charge_many(cursor: Any, claimant: Claimant, charges: str) -> None:
    """Note what stored claims of a file charge under their prescriptions (`take_many`)."""
    given = {
        "claimant": claimant.code, "claimant_region": claimant.region_code,
        "issuer": claimant.code, "charges": charges,
    }  # fmt: skip
    cursor.execute(KEYED, given)


def write(
    record: np.ndarray, claimant: Claimant, claim: dict, known: Known, held: dict[str, Held]
) -> None:
    """The record's word over the claim's: signatures, review, and the worst of its prescriptions."""
    mine = [(held.get(p["no"]), charged_of(claim, p["no"])) for p in claim["prescriptions"]]
    record["doctor_esigned"] = all(one is not None and one.signed for one, _ in mine)
    record["pharmacist_reviewed"] = all(one is not None and one.reviewed for one, _ in mine)
    record["pharmacist_permitted"] = all(one is None or one.permitted for one, _ in mine)
    words = [judged(one, charged, claimant, known) for one, charged in mine]
    if claimant.issuer is not None:
        words.append("sound" if claimant.designated else "undesignated")
        record["agreement_in_force"] = claimant.designated
        record["agreement_state"] = ACTIVE if claimant.designated else 0
        record["suspended_from_day"] = NO_DAY
    record["prescription_record"] = max(RECORD.index(word) for word in words)


def judged(held: Held | None, charged: dict[str, int], claimant: Claimant, known: Known) -> str:
    """One word of CODES["prescription_record"] for a prescription and what a claim charges under it."""
    if held is None or held.person_id != known.person_id:
        return "other_person"
    if held.state in ("withdrawn", "expired"):
        return held.state
    found = {_drug(held, drug, quantity, claimant) for drug, quantity in charged.items()}
    return max(found, key=RECORD.index, default="sound")


def _drug(held: Held, drug: str, quantity: int, claimant: Claimant) -> str:
    """A drug that is not prescribed is a pharmacy's mistake; a hospital's shows on the flow page."""
    used = held.drugs.get(drug)
    if claimant.issuer is not None:
        if used is None or quantity + used.charged_mine > used.dispensed_mine:
            return "undispensed"
    elif used is None:
        return "sound"
    elif held.state == "released" or quantity + used.dispensed_others > used.prescribed:
        return "elsewhere"
    charged = quantity + used.charged_mine + used.charged_others
    return "claimed" if charged > used.prescribed else "sound"


def charged_of(claim: dict, number: str) -> dict[str, int]:
    """Drug → quantity (1/10000) of the lines that name a prescription."""
    charged: dict[str, int] = {}
    for line in claim["lines"]:
        if line["kind"] == "drug" and line.get("prescription_no") == number:
            code = line["item_code"]
            charged[code] = charged.get(code, 0) + scaled(line["quantity"], QUANTITY_DIGITS)
    return charged


def _count(claim: dict, held: dict[str, Held]) -> None:
    """What a claim of a file charges is charged before the next one of the file."""
    for prescription in claim["prescriptions"]:
        for drug, quantity in charged_of(claim, prescription["no"]).items():
            used = held[prescription["no"]].drugs.get(drug)
            if used is not None:
                used.charged_mine += quantity


# --- What is sent ---


def _given(
    claimant: Claimant, claims: Iterable[dict], *, by: str, at: dt.datetime
) -> dict[str, Any]:
    issuer = claimant.issuer or claimant
    return {
        "issuer": issuer.code, "region": issuer.region_code, "claimant": claimant.code,
        "claimant_region": claimant.region_code, "by": by, "at": at, "zone": settings.TIME_ZONE,
        "numbers": sorted({p["no"] for claim in claims for p in claim["prescriptions"]}),
    }  # fmt: skip


def _json(rows: Iterable[dict]) -> str:
    return json.dumps(list(rows), ensure_ascii=False)


def _records(
    claimant: Claimant, claims: Iterable[tuple[dict, Known]], catalogue: Catalogue
) -> Iterator[dict]:
    """A row for each number, as the first claim that carries it tells it."""
    seen: set[str] = set()
    for claim, known in claims:
        for prescription in claim["prescriptions"]:
            if prescription["no"] not in seen:
                seen.add(prescription["no"])
                yield _row(claimant, claim, known, prescription, catalogue)


def _row(
    claimant: Claimant, claim: dict, known: Known, given: dict, catalogue: Catalogue
) -> dict[str, Any]:
    encounter = claim["encounter"]
    day = local_day(encounter["started_at"])
    expires = expiry(catalogue, claimant.policy_region, day)
    signed = bool(given.get("signed_by") and given.get("signed_at"))
    reviewed = bool(given.get("reviewed_by") and given.get("reviewed_at"))
    reviewed = reviewed and given["reviewed_by"] != given.get("signed_by")
    return {
        "number": given["no"], "person_id": known.person_id, "encounter_id": encounter["id"],
        "encounter_key": encounter_key((claimant.issuer or claimant).code, encounter["id"]),
        "issued_on": day.isoformat(), "visit": visit_of(encounter),
        "physician_code": claim["physician"]["code"],
        "signed_by": given["signed_by"] if signed else "",
        "signed_at": given["signed_at"] if signed else None,
        "review": "passed" if reviewed else "",
        "reviewed_by": given["reviewed_by"] if reviewed else "",
        "reviewed_at": given["reviewed_at"] if reviewed else None,
        "expires_on": expires.isoformat() if expires else None,
        "state": state_of(signed=signed, reviewed=reviewed),
        "content_sm3": content_sm3(given["no"], known.person_id, encounter, given, merged(given)),
    }  # fmt: skip


def state_of(*, signed: bool, reviewed: bool) -> str:
    """Where a prescription stands that has been signed, reviewed, both or neither."""
    if not signed:
        return "unsigned"
    return "reviewed" if reviewed else "signed"


def visit_of(encounter: dict) -> dict:
    """The encounter as a prescription keeps it: the device and its address are nobody's business."""
    return encounter | {"session": {"medium": encounter["session"]["medium"]}}


def merged(prescription: dict) -> dict[str, dict]:
    """The prescribed drugs by code; one named twice is one with both quantities."""
    drugs: dict[str, dict] = {}
    for line in prescription["lines"]:
        quantity = scaled(line["quantity"], QUANTITY_DIGITS)
        known = drugs.setdefault(
            line["drug_code"],
            {"quantity": 0, "days_supply": line["days_supply"], "unit": line["unit"]},
        )
        known["quantity"] += quantity
        known["days_supply"] = max(known["days_supply"], line["days_supply"])
    return drugs


def content_sm3(
    number: str, person_id: int | None, encounter: dict, given: dict, drugs: dict[str, dict]
) -> str:
    """The digest of what a prescription says, as its record keeps it."""
    signed_at = moment(given["signed_at"]) if given.get("signed_at") else None
    told = {
        "number": number, "person": person_id, "encounter": encounter["id"],
        "diagnoses": encounter["diagnoses"], "signed_by": given.get("signed_by") or "",
        "signed_at": signed_at.astimezone(dt.UTC) if signed_at else None, "drugs": drugs,
    }  # fmt: skip
    return hashlib.new("sm3", trail.canonical(told)).hexdigest()


def _drugs(claims: Iterable[dict]) -> Iterator[dict]:
    seen: set[str] = set()
    for claim in claims:
        for prescription in claim["prescriptions"]:
            if prescription["no"] not in seen:
                seen.add(prescription["no"])
                for code, drug in merged(prescription).items():
                    yield {"number": prescription["no"], "drug_code": code, **drug}


def _charges(claims: Iterable[dict]) -> Iterator[dict]:
    """What claims charge; one that charges no drug under a prescription is linked to it all the same."""
    for claim in claims:
        for prescription in claim["prescriptions"]:
            charged = charged_of(claim, prescription["no"]) or {"": 0}
            for drug, quantity in charged.items():
                yield {"claim_no": claim["claim_no"], "number": prescription["no"],
                       "drug_code": drug, "quantity": quantity}  # fmt: skip


def held(rows: Iterable[Sequence[Any]]) -> dict[str, Held]:
    """The rows of READ by number."""
    return {
        number: Held(
            person, state, signed, reviewed, permitted, {u[0]: Used(*u[1:]) for u in used or ()}
        )
        for number, person, state, signed, reviewed, permitted, used in rows
    }


# --- Numbers of the region ---


def expiry(catalogue: Catalogue, region: str, issued: dt.date) -> dt.date | None:
    """The last day of a prescription of a region; None where no number of days is set."""
    days = parameter(catalogue, region, VALID_DAYS, issued, examples_allowed())
    return None if days is None else issued + dt.timedelta(days=int(days))


def parameter(catalogue: Catalogue, region: str, key: str, day: dt.date, examples: bool) -> Any:
    """A value of a region's parameter sets on a day, None where none is set."""
    row = catalogue.rows(region, day, examples=examples).get(key)
    return None if row is None else row.value
