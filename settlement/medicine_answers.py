"""What the addresses of prescriptions answer: a prescription, a dispensing, a parcel; their schemas."""

from typing import Any

from audit import clock
from institutions.openapi import DAY, MOMENT, TEXT, WHOLE, listed, or_null, record
from institutions.rest import iso
from settlement import medicines_contract
from settlement.goods import quantity_text
from settlement.models import Delivery, Dispensing, DispensingReturn, Prescription

API = "/api/v1"
MAYBE = or_null(TEXT)
DRUG = record(
    drug_code=TEXT, quantity=TEXT, dispensed=TEXT, returned=TEXT, days_supply=WHOLE, unit=TEXT
)
HANDED_OUT = record(drug_code=TEXT, quantity=TEXT, trace_codes=listed(TEXT))
STEP = record(kind=TEXT, label=TEXT, at=MOMENT, relation=TEXT)
PARCEL = record(
    id=WHOLE, logistics=TEXT, waybill=TEXT, steps=listed(STEP), links=record(steps=TEXT)
)
RETURNED = record(
    id=WHOLE,
    no=TEXT,
    returned_at=MOMENT,
    reason=TEXT,
    reason_label=TEXT,
    note=TEXT,
    pharmacist=TEXT,
    lines=listed(HANDED_OUT),
    reversed_claims=listed(WHOLE),
)
DISPENSED = record(
    id=WHOLE, no=TEXT, institution=TEXT, dispensed_at=MOMENT, pharmacist=TEXT,
    lines=listed(HANDED_OUT), deliveries=listed(PARCEL), returns=listed(RETURNED),
    links=record(deliveries=TEXT, returns=TEXT),
)  # fmt: skip
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "no": TEXT, "institution": TEXT, "encounter_id": TEXT,
    "person": record(name=TEXT, id=TEXT), "issued_on": DAY, "expires_on": or_null(DAY),
    "state": {"enum": list(medicines_contract.STATES)}, "state_label": TEXT, "state_reason": TEXT,
    "links": record(self=TEXT, review=TEXT, withdrawal=TEXT, releases=TEXT, dispensings=TEXT,
                    claims=TEXT),
}  # fmt: skip
PRESCRIPTION = record(
    **SUMMARY, diagnoses=listed({"type": "object"}), signed_by=TEXT, signed_at=or_null(MOMENT),
    signature=MAYBE, review=TEXT, reviewed_by=TEXT, reviewed_at=or_null(MOMENT),
    review_reason=TEXT, uploaded_at=MOMENT, content_sm3=TEXT, lines=listed(DRUG),
    releases=listed(record(pharmacy=TEXT, released_at=MOMENT)), dispensings=listed(DISPENSED),
)  # fmt: skip


def moment(at: Any) -> str | None:
    """A time as answers show it."""
    return clock.local(at).isoformat() if at else None


def summary(row: Prescription) -> dict[str, Any]:
    """A prescription as lists show it."""
    own = f"{API}/prescriptions/{row.pk}"
    return {
        "id": row.pk, "no": row.number, "institution": row.institution_code,
        "encounter_id": row.encounter_id,
        "person": {"name": row.person.name_masked, "id": row.person.id_masked},
        "issued_on": row.issued_on.isoformat(), "expires_on": iso(row.expires_on),
        "state": row.state, "state_label": row.get_state_display(),
        "state_reason": row.state_reason,
        "links": {"self": own} | {
            name: f"{own}/{name}"
            for name in ("review", "withdrawal", "releases", "dispensings", "claims")
        },
    }  # fmt: skip


def represent(row: Prescription, code: str) -> dict[str, Any]:
    """A prescription as one institution sees it: a pharmacy its own releases and dispensings only."""
    issuer = row.institution_code == code
    live = row.releases.filter(recalled_at__isnull=True)
    handed = row.dispensings.all()
    return {
        **summary(row), "diagnoses": row.visit["diagnoses"], "signed_by": row.signed_by,
        "signed_at": moment(row.signed_at),
        "signature": bytes(row.signature).hex() if row.signature else None,
        "review": row.review, "reviewed_by": row.reviewed_by,
        "reviewed_at": moment(row.reviewed_at), "review_reason": row.review_reason,
        "uploaded_at": moment(row.uploaded_at), "content_sm3": row.content_sm3,
        "lines": [
            {"drug_code": line.drug_code, "quantity": quantity_text(line.quantity),
             "dispensed": quantity_text(line.dispensed),
             "returned": quantity_text(line.returned), "days_supply": line.days_supply,
             "unit": line.unit}
            for line in row.lines.all()
        ],
        "releases": [
            {"pharmacy": one.institution_code, "released_at": moment(one.released_at)}
            for one in (live if issuer else live.filter(institution_code=code))
        ],
        "dispensings": [
            dispensed(one) for one in (handed if issuer else handed.filter(institution_code=code))
        ],
    }  # fmt: skip


def dispensed(row: Dispensing) -> dict[str, Any]:
    """A dispensing with its packages and parcels."""
    traces: dict[str, list[str]] = {}
    for trace in row.traces.all():
        traces.setdefault(trace.drug_code, []).append(trace.code)
    return {
        "id": row.pk, "no": row.number, "institution": row.institution_code,
        "dispensed_at": moment(row.dispensed_at), "pharmacist": row.pharmacist_code,
        "lines": [
            {"drug_code": line.drug_code, "quantity": quantity_text(line.quantity),
             "trace_codes": traces.get(line.drug_code, [])}
            for line in row.lines.all()
        ],
        "deliveries": [parcel(one) for one in row.deliveries.all()],
        "returns": [returned(one) for one in row.returns.all()],
        "links": {name: f"{API}/dispensings/{row.pk}/{name}" for name in ("deliveries", "returns")},
    }  # fmt: skip


def returned(row: DispensingReturn) -> dict[str, Any]:
    """What came back of a dispensing, and the claims that were reversed for it."""
    traces: dict[str, list[str]] = {}
    for one in row.traces.select_related("trace"):
        traces.setdefault(one.trace.drug_code, []).append(one.trace_id)
    return {
        "id": row.pk, "no": row.number, "returned_at": moment(row.returned_at),
        "reason": row.reason, "reason_label": row.get_reason_display(), "note": row.note,
        "pharmacist": row.pharmacist_code,
        "lines": [
            {"drug_code": one.line.drug_code, "quantity": quantity_text(one.quantity),
             "trace_codes": traces.get(one.line.drug_code, [])}
            for one in row.lines.select_related("line")
        ],
        "reversed_claims": row.claims,
    }  # fmt: skip


def parcel(row: Delivery) -> dict[str, Any]:
    """A delivery with its steps."""
    return {
        "id": row.pk, "logistics": row.logistics_code, "waybill": row.waybill,
        "steps": [
            {"kind": one.kind, "label": one.get_kind_display(), "at": moment(one.at),
             "relation": one.relation}
            for one in row.steps.all()
        ],
        "links": {"steps": f"{API}/deliveries/{row.pk}/steps"},
    }  # fmt: skip
