"""What the records say of a claim on the service day, as known at receipt: one statement, and its row."""

import datetime as dt
from dataclasses import dataclass

ICD_CATEGORY = 3  #: characters of an ICD-10 code that name the disease


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

#: What the records say; other values may be selected before them.
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
