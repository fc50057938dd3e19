"""Evidence of visits: files with their digest, and what is missing after the tolerated delay (二十六).

第二十六条 asks for records, prescriptions, purchase and real-name records in real time. Which kinds a
region asks for is in its document (`uploads`), how many hours are tolerated is a parameter by kind.
What is missing or late becomes a gap and a task of the institution; no claim is lost by it.
"""

import datetime as dt
import hashlib
import json
from typing import Any

from django.db import connection, transaction
from django.db.models import Count
from django.urls import reverse

from audit import tasks, trail
from institutions import documents
from institutions.models import Document, Institution
from institutions.refusals import refused
from pricing.releases import Catalogue
from settlement.answer import moment_of
from settlement.contract import local_day, moment
from settlement.facts import Claimant, encounter_key, examples_allowed
from settlement.models import EvidenceFile, EvidenceGap
from settlement.prescriptions import parameter

HOURS = "evidence_delay_hours"
DELIVERY = "delivery"  #: asked for where there was one: the goods' way ends with the patient
LOOKED_BACK = dt.timedelta(days=62)
WORKED_OFF_BY = "registry.file"  #: what an institution's own people may do
KIND = "evidence"

#: A piece of evidence; a gap that waited for it is late.
PUT = """WITH put AS (
    INSERT INTO settlement_evidence (region_code, institution_code, encounter_id, encounter_key,
        kind, alg, content_hash, at, reference, received_at, received_by)
    VALUES (%(region)s, %(institution)s, %(encounter)s, %(key)s, %(kind)s, %(alg)s, %(hash)s,
        %(at)s, %(reference)s, %(received)s, %(by)s)
    ON CONFLICT DO NOTHING RETURNING id
), late AS (
    UPDATE settlement_evidencegap SET state = 'late', received_at = %(received)s
    WHERE encounter_key = %(key)s AND institution_code = %(institution)s AND kind = %(kind)s
        AND state = 'missing' AND due_at < %(received)s)
SELECT id FROM put"""
KNOWN = """SELECT id, received_at FROM settlement_evidence
    WHERE encounter_key = %s AND institution_code = %s AND kind = %s AND content_hash = %s"""

#: Encounters of internet claims whose time is up, with when each kind of evidence came. A record of
#: the portal is evidence as good as an upload: a prescription, a dispensing, a receipt of a parcel.
GAPS = """INSERT INTO settlement_evidencegap (region_code, institution_code, encounter_id,
        encounter_key, claim_id, kind, due_at, state, received_at, noted_at)
    SELECT DISTINCT ON (c.encounter_key, c.institution_code, k.kind) c.region_code,
        c.institution_code, c.encounter_id, c.encounter_key, c.id, k.kind, due.at,
        CASE WHEN came.at IS NULL THEN 'missing' ELSE 'late' END, came.at, %(at)s
    FROM settlement_claim c
    JOIN institutions_region r ON r.code = c.region_code AND r.policy_region = %(region)s
    CROSS JOIN jsonb_each_text(%(hours)s::jsonb) k (kind, hours)
    CROSS JOIN LATERAL (SELECT (c.document #>> '{encounter,ended_at}')::timestamptz
        + k.hours::int * interval '1 hour' AS at) due
    CROSS JOIN LATERAL (SELECT least(
        (SELECT min(e.received_at) FROM settlement_evidence e
            WHERE e.encounter_key = c.encounter_key AND e.institution_code = c.institution_code
                AND e.kind = k.kind),
        CASE k.kind
        WHEN 'prescription' THEN (SELECT min(p.uploaded_at) FROM settlement_prescription p
            JOIN settlement_prescriptioncharge g ON g.prescription_id = p.id
            WHERE g.claim_id = c.id)
        WHEN 'purchase' THEN (SELECT min(d.recorded_at) FROM settlement_dispensing d
            JOIN settlement_prescriptioncharge g ON g.prescription_id = d.prescription_id
            WHERE g.claim_id = c.id)
        WHEN 'delivery' THEN (SELECT min(s.recorded_at) FROM settlement_deliveryevent s
            JOIN settlement_delivery y ON y.id = s.delivery_id
            JOIN settlement_dispensing d ON d.id = y.dispensing_id
            JOIN settlement_prescriptioncharge g ON g.prescription_id = d.prescription_id
            WHERE g.claim_id = c.id AND s.kind = 'signed')
        END) AS at) came
    WHERE c.service_date BETWEEN %(since)s AND %(until)s
        AND c.document #>> '{encounter,business_type}' = 'internet'
        AND NOT c.document ? 'circulation'
        AND due.at < %(at)s AND (came.at IS NULL OR came.at > due.at)
        AND CASE k.kind
            WHEN 'prescription' THEN jsonb_array_length(
                coalesce(c.document -> 'prescriptions', '[]')) > 0
            WHEN 'purchase' THEN EXISTS (SELECT FROM settlement_prescriptioncharge g
                WHERE g.claim_id = c.id AND g.quantity > 0)
            WHEN 'delivery' THEN EXISTS (SELECT FROM settlement_delivery y
                JOIN settlement_dispensing d ON d.id = y.dispensing_id
                JOIN settlement_prescriptioncharge g ON g.prescription_id = d.prescription_id
                WHERE g.claim_id = c.id)
            ELSE true END
    ORDER BY c.encounter_key, c.institution_code, k.kind, c.id
    ON CONFLICT (encounter_key, institution_code, kind) DO UPDATE
        SET state = EXCLUDED.state, received_at = EXCLUDED.received_at
        WHERE settlement_evidencegap.state = 'missing' AND EXCLUDED.state = 'late'"""


def wanted(catalogue: Catalogue, region: str, day: dt.date) -> dict[str, int]:
    """Kind of evidence → tolerated delay in hours, of a region on a day; empty where none is asked."""
    release = catalogue.policy(region, day)
    if release is None or not release.covers(day):
        return {}
    kinds = release.policy.section("uploads", {}).get("kinds", ())
    hours = parameter(catalogue, region, HOURS, day, examples_allowed()) or {}
    return {kind: hours[kind] for kind in (*kinds, DELIVERY) if kinds and kind in hours}


def clause(catalogue: Catalogue, region: str, day: dt.date) -> dict[str, str]:
    """The law that asks for evidence, as pages cite it."""
    release = catalogue.policy(region, day)
    if release is None:
        return {"document": "", "clause": "", "text": ""}
    number = release.policy.section("uploads", {}).get("clause", "")
    text = release.policy.section("clauses", {}).get(number, "")
    return {"document": release.policy.document, "clause": number, "text": text}


def take(
    *, institution: Claimant, encounter: str, evidence: dict, by: str, at: dt.datetime
) -> tuple[int, dict]:
    """Store one piece of evidence of an encounter (温州 第二十六条); the same again changes nothing.

    Returns the status (201 new, 200 known) and the answer. It may come before its claim.
    """
    content_hash = bytes.fromhex(evidence["content_hash"])
    key = encounter_key(institution.code, encounter)
    given = {
        "region": institution.region_code, "institution": institution.code, "encounter": encounter,
        "key": key, "kind": evidence["kind"], "hash": content_hash,
        "alg": evidence.get("alg", "sm3"),
        "at": moment(evidence["at"]), "reference": evidence["reference"], "received": at,
        "by": by,
    }  # fmt: skip
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(PUT, given)
        row, status, received = cursor.fetchone(), 201, at
        if row is None:
            cursor.execute(KNOWN, [key, institution.code, evidence["kind"], content_hash])
            row, status = cursor.fetchone(), 200
            received = row[1]
        else:
            trail.record(
                by=by, at=at, action="evidence.take", subject=f"encounter:{encounter}"[:80],
                region_code=institution.region_code, institution_code=institution.code,
                detail={"kind": evidence["kind"], "content": content_hash},
            )  # fmt: skip
    return status, {
        "id": row[0],
        "encounter_id": encounter,
        "kind": evidence["kind"],
        "content_hash": evidence["content_hash"],
        "received_at": moment_of(received),
    }


@transaction.atomic
def take_file(
    *, institution: Claimant, place: Institution, encounter: str, given: dict[str, str],
    name: str, content: bytes, by: str, at: dt.datetime,
) -> tuple[int, dict]:  # fmt: skip
    """Store a file of an encounter with its evidence; the same file again changes nothing (200).

    `content_hash`, when stated, must be the SM3 of the file: what arrived is what was sent.
    """
    digest = hashlib.new("sm3", content).hexdigest()
    if given.get("content_hash") not in (None, digest):
        raise refused("content_hash", "HASH_MISMATCH", "文件的 SM3 摘要与所报不符",
                      "the SM3 of the file is another", clause="二十六")  # fmt: skip
    known = EvidenceFile.objects.filter(
        evidence__encounter_key=encounter_key(institution.code, encounter),
        evidence__institution_code=institution.code, evidence__kind=given["kind"],
        evidence__content_hash=bytes.fromhex(digest),
    ).first()  # fmt: skip
    document = known.document if known else documents.store(
        content=content, name=name, kind=KIND, subject=f"encounter:{encounter}"[:80],
        institution=place, by=by, at=at,
    )  # fmt: skip
    told = {"kind": given["kind"], "content_hash": digest, "alg": "sm3", "at": given["at"],
            "reference": f"document:{document.pk}"}  # fmt: skip
    _, answer = take(institution=institution, encounter=encounter, evidence=told, by=by, at=at)
    if known is None:
        EvidenceFile.objects.create(evidence_id=answer["id"], document=document)
    return (200 if known else 201), answer | {"document": _file(document)}


def _file(document: Document) -> dict[str, Any]:
    return {"id": document.pk, "name": document.name, "size": document.size,
            "media_type": document.media_type, "sm3": document.digest}  # fmt: skip


@transaction.atomic
def watch(
    *, catalogue: Catalogue, region: str, by: str, at: dt.datetime, since: dt.date | None = None
) -> int:
    """Note what is missing or came late of visits since a day, one task for each institution.

    Run where every row is visible. Returns how many gaps were noted or closed.
    """
    today = local_day(at.isoformat())
    hours = wanted(catalogue, region, today)
    if not hours:
        return 0
    given: dict[str, Any] = {"region": region, "hours": json.dumps(hours), "at": at, "until": today,
             "since": since or today - LOOKED_BACK}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(GAPS, given)
        count = cursor.rowcount
    if count:
        trail.record(by=by, at=at, action="evidence.watch", subject=f"evidence:{region}",
                     detail={"gaps": count})  # fmt: skip
    _tasks(catalogue, region, today, by=by, at=at)
    return count


def _tasks(catalogue: Catalogue, region: str, today: dt.date, *, by: str, at: dt.datetime) -> None:
    """A task for whoever has something missing, none for whoever has not."""
    law = clause(catalogue, region, today)
    places = Institution.objects.filter(region__policy_region=region)
    missing = dict(
        EvidenceGap.objects.filter(
            state=EvidenceGap.State.MISSING, institution_code__in=places.values("code")
        ).values_list("institution_code").annotate(Count("pk")).order_by()
    )  # fmt: skip
    gone = EvidenceGap.objects.filter(institution_code__in=places.values("code")).exclude(
        institution_code__in=missing
    )
    for code in gone.values_list("institution_code", flat=True).distinct().order_by():
        tasks.close(subject=f"evidence:{code}", by=by, at=at)
    for place in places.filter(code__in=missing):
        tasks.open_task(
            subject=f"evidence:{place.code}", permission=WORKED_OFF_BY, at=at,
            title=f"补交就诊材料 {missing[place.code]} 件", region_code=place.region_id,
            institution_code=place.code, url=reverse("evidence-gaps"),
            clause=f"{law['document']} {law['clause']}",
        )  # fmt: skip
