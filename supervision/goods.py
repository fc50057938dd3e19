"""What the records say of goods: handed out or not, delivered or not, with how many trace codes.

Read by one visit (`COLUMNS` of `supervision.near`) and by an audit of a period (`supervision.load`), with
one meaning.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pricing.watching import Switch
from settlement.facts import Claimant, encounter_key
from supervision.evidence import WITH_GOODS

KINDS = ("drug", "delivery")  #: lines without which nobody asks for goods

#: Per dispensed drug that did not all come back: the trace codes it needs at least, and those recorded
#: (`trace_codes.expected`: each package has one where the drug list counts in the prescription's unit).
HANDED = """SELECT p.id AS prescription, d.institution_code AS place, l.drug_code AS drug,
    CASE WHEN out.quantity <= 0 THEN 0 WHEN EXISTS (
        SELECT FROM pricing_drug g JOIN pricing_druglist c ON c.id = g.catalogue_id
        WHERE g.code = l.drug_code AND g.unit = o.unit AND c.region = %(pool)s
            AND c.state = 'published' AND c.valid_from <= p.issued_on
            AND coalesce(c.valid_until, 'infinity') >= p.issued_on)
    THEN greatest(out.quantity / 10000, 1) ELSE 1 END AS needed,
    (SELECT count(*) FROM settlement_tracecode t WHERE t.dispensing_id = d.id
        AND t.drug_code = l.drug_code
        AND NOT EXISTS (SELECT FROM settlement_tracereturn b WHERE b.trace_id = t.code)) AS codes
FROM settlement_prescription p
JOIN settlement_dispensing d ON d.prescription_id = p.id
JOIN settlement_dispensingline l ON l.dispensing_id = d.id
JOIN settlement_prescriptionline o ON o.prescription_id = p.id AND o.drug_code = l.drug_code
CROSS JOIN LATERAL (SELECT l.quantity - (
    SELECT coalesce(sum(r.quantity), 0) FROM settlement_dispensingreturnline r
    WHERE r.line_id = l.id) AS quantity) out
WHERE WHICH"""
#: Of a visit: whether goods were handed out, whether delivered, and per drug the codes needed and recorded.
COLUMNS = """(EXISTS (SELECT FROM settlement_evidence WHERE kind = 'purchase' AND MINE) OR EXISTS (
        SELECT FROM settlement_dispensing d JOIN settlement_prescription p ON p.id = d.prescription_id
        WHERE p.encounter_key = %(encounter)s))::int AS dispensed,
    (EXISTS (SELECT FROM settlement_evidence WHERE kind = 'delivery' AND MINE) OR EXISTS (
        SELECT FROM settlement_delivery w JOIN settlement_dispensing d ON d.id = w.dispensing_id
        JOIN settlement_prescription p ON p.id = d.prescription_id
        WHERE p.encounter_key = %(encounter)s))::int AS delivered,
    (SELECT json_object_agg(drug, json_build_array(needed, codes)) FROM (
        SELECT drug, sum(needed)::int AS needed, sum(codes)::int AS codes FROM (HANDED) handed
        GROUP BY drug) drugs) AS handed""".replace(
    "MINE", "encounter_key = %(encounter)s AND institution_code = %(claimant)s"
).replace(
    "HANDED",
    HANDED.replace("WHICH", """p.institution_code = %(issuer)s AND p.number = ANY (%(numbers)s)
        AND d.institution_code = %(claimant)s"""),
)  # fmt: skip


@dataclass(frozen=True)
class Goods:
    """Of a visit: 1, 0 or -1 for not asked; drug → trace codes that it needs at least, and has."""

    dispensed: int = -1
    delivered: int = -1
    handed: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def asked(claim: Mapping[str, Any], switches: Iterable[Switch]) -> bool:
    """Whether goods matter: a visit with drugs or a delivery, where a rule of goods is on."""
    goods = any(line["kind"] in KINDS for line in claim["lines"])
    return goods and any(switch.rule in WITH_GOODS for switch in switches)


def given(claimant: Claimant, claim: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `COLUMNS` needs."""
    return {
        "encounter": encounter_key(claimant.code, claim["encounter"]["id"]),
        "claimant": claimant.code, "issuer": (claimant.issuer or claimant).code,
        "pool": claimant.policy_region,
        "numbers": [one["no"] for one in claim.get("prescriptions", ())],
    }  # fmt: skip


def told(dispensed: int, delivered: int, handed: Any) -> Goods:
    """What `COLUMNS` found."""
    found = json.loads(handed) if isinstance(handed, str) else handed or {}
    return Goods(dispensed, delivered, {drug: (row[0], row[1]) for drug, row in found.items()})
