"""Acts on prescriptions: upload, pharmacist's review, withdrawal, release to pharmacies, expiry.

温医保办〔2021〕6号: the physician signs, a pharmacist reviews, the prescription is uploaded (十四); it may
circulate to designated retail pharmacies, also of another pooling region (十五). The caller has set the
scope: what an institution may not see does not exist. Refusals leave nothing behind.
"""

import datetime as dt

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from agreements.models import Agreement, AgreementState
from audit import clock, trail
from institutions import crypto
from institutions.models import Institution, Physician
from institutions.refusals import Fault, Refusal, refused
from institutions.shape import moment
from pricing import releases
from settlement.contract import CLOCK_SKEW, local_day
from settlement.facts import Claimant, encounter_key
from settlement.models import (
    InsuredPerson,
    Prescription,
    PrescriptionCharge,
    PrescriptionLine,
    PrescriptionRelease,
)
from settlement.prescriptions import content_sm3, expiry, merged, state_of, visit_of

State, Review = Prescription.State, Prescription.Review
FLOW, CIRCULATION = "十四", "十五"
PHARMACY, ABROAD = "designated_retail_pharmacy", "other_pooling_region"
DESIGNATED = (AgreementState.State.ACTIVE, AgreementState.State.SIGNED)
OPEN = (State.UNSIGNED, State.SIGNED, State.REVIEWED, State.RELEASED)
#: Why nothing more can be done with a prescription: state → reason code.
CLOSED = {
    State.UNSIGNED: "DOCTOR_SIGNATURE_MISSING", State.SIGNED: "PHARMACIST_REVIEW_MISSING",
    State.RETURNED: "PRESCRIPTION_RETURNED", State.EXPIRED: "PRESCRIPTION_EXPIRED",
    State.WITHDRAWN: "PRESCRIPTION_WITHDRAWN", State.DISPENSED: "PRESCRIPTION_DISPENSED",
}  # fmt: skip


@transaction.atomic
def issue(
    *, institution: Claimant, given: dict, by: str, at: dt.datetime
) -> tuple[Prescription, bool]:
    """Store an uploaded prescription (checked by medicines_contract); False when it was known.

    Refusal: 422 for an unknown person or a physician who is not registered here; 409 for a number
    that stands for another prescription.
    """
    person = InsuredPerson.objects.filter(
        id_hash=crypto.person_hash(given["person"]["credential"])
    ).first()
    if person is None:
        detail = ("没有此参保人员", "no such insured person")
        fault = Fault("/person/credential", "PERSON_UNKNOWN", detail)
        raise Refusal(422, "PERSON_UNKNOWN", detail, (fault,))
    encounter = given["encounter"]
    day = local_day(encounter["started_at"])
    registered(given["signed_by"], Physician.Kind.PHYSICIAN, institution.own, on=day, at=at,
               field="signed_by")  # fmt: skip
    _one_at_a_time(institution.code, given["no"])
    digest = content_sm3(given["no"], person.pk, encounter, given, merged(given))
    known = Prescription.objects.filter(
        institution_code=institution.code, number=given["no"]
    ).first()
    if known is not None:
        return _same(known, digest), False
    made = Prescription.objects.create(
        region_code=institution.region_code, institution_code=institution.code,
        number=given["no"], person=person, encounter_id=encounter["id"],
        encounter_key=encounter_key(institution.code, encounter["id"]), issued_on=day,
        visit=visit_of(encounter), physician_code=given["signed_by"],
        signed_by=given["signed_by"], signed_at=moment(given["signed_at"]),
        signature=bytes.fromhex(given["signature"]), source=Prescription.Source.UPLOAD,
        uploaded_at=at, uploaded_by=by, state=state_of(signed=True, reviewed=False),
        expires_on=expiry(releases.current(), institution.policy_region, day),
        content_sm3=digest,
    )  # fmt: skip
    PrescriptionLine.objects.bulk_create(
        PrescriptionLine(prescription=made, drug_code=code, **drug)
        for code, drug in merged(given).items()
    )
    _record(made, "issue", by=by, at=at, content=digest, person=person)
    return made, True


def _one_at_a_time(institution: str, number: str) -> None:
    with connection.cursor() as cursor:
        key = f"prescription:{institution}/{number}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _same(known: Prescription, digest: str) -> Prescription:
    if known.content_sm3 == digest:
        return known
    raise refused(
        "no", "PRESCRIPTION_NUMBER_USED", f"处方号 {known.number} 已用于另一处方",
        "the number belongs to another prescription", status=409,
    )  # fmt: skip


def registered(
    code: str, kind: str, institutions: tuple[str, ...], *, on: dt.date, at: dt.datetime,
    field: str,
) -> Physician:  # fmt: skip
    """A practitioner whose post at one of the institutions on a day was checked; else a Refusal."""
    there = Q(institution__in=institutions)
    there &= Q(joined_on__isnull=True) | Q(joined_on__lte=on)
    there &= Q(left_on__isnull=True) | Q(left_on__gte=on)
    before = Q(posts__institution__in=institutions, posts__checked_at__lte=at,
               posts__valid_until__gte=on)  # fmt: skip
    before &= Q(posts__valid_from__isnull=True) | Q(posts__valid_from__lte=on)
    found = (
        Physician.objects.filter(code=code, kind=kind)
        .filter((there & Q(checked_at__lte=at)) | before)
        .first()
    )
    if found is None:
        word = Physician.Kind(kind).label
        raise refused(
            field, "PRACTITIONER_UNKNOWN", f"{code} 不是本机构登记在岗的{word}",
            "not a registered practitioner of this institution", clause=FLOW,
        )  # fmt: skip
    return found


def locked(prescription_id: int, *, issuer: str = "") -> Prescription:
    """A prescription inside the scope, locked to the end of the transaction; else Refusal (404)."""
    rows = Prescription.objects.select_for_update().filter(pk=prescription_id)
    found = (rows.filter(institution_code=issuer) if issuer else rows).first()
    if found is None:
        raise Refusal(404, "NOT_FOUND", ("没有此处方", "no such prescription"))
    return found


def state_refused(found: Prescription) -> Refusal:
    """Why a prescription in this state cannot be used, with its code and clause."""
    code = CLOSED.get(State(found.state), "PRESCRIPTION_STATE")
    detail = (f"处方{found.get_state_display()}", f"the prescription is {found.state}")
    return Refusal(409, code, detail, (Fault("", code, detail, FLOW),))


@transaction.atomic
def review(
    *, institution: Claimant, prescription_id: int, given: dict, by: str, at: dt.datetime
) -> Prescription:
    """A registered pharmacist passes a signed prescription or returns it with a reason, once."""
    found = locked(prescription_id, issuer=institution.code)
    if found.state != State.SIGNED:
        raise state_refused(found)
    reviewed_at = moment(given["reviewed_at"])
    if reviewed_at is None or (found.signed_at and reviewed_at < found.signed_at):
        raise refused("reviewed_at", "ORDER", "早于医师签名时间", "earlier than the signature",
                      clause=FLOW)  # fmt: skip
    if reviewed_at > at + CLOCK_SKEW:
        raise refused("reviewed_at", "FUTURE", "晚于接收时间", "later than the receipt")
    passed, reason = given["passed"], given.get("reason") or ""
    if not passed and not reason:
        raise refused("reason", "REQUIRED", "退回须说明原因", "a return needs its reason",
                      clause=FLOW)  # fmt: skip
    registered(given["reviewed_by"], Physician.Kind.PHARMACIST, institution.own,
               on=clock.local(reviewed_at).date(), at=at, field="reviewed_by")  # fmt: skip
    found.review = Review.PASSED if passed else Review.RETURNED
    found.reviewed_by, found.reviewed_at = given["reviewed_by"], reviewed_at
    found.review_reason = "" if passed else reason
    found.state = State.REVIEWED if passed else State.RETURNED
    found.save(update_fields=["review", "reviewed_by", "reviewed_at", "review_reason", "state"])
    _record(found, "review", by=by, at=at, result=found.review, pharmacist=found.reviewed_by)
    return found


@transaction.atomic
def withdraw(
    *, institution: Claimant, prescription_id: int, reason: str, by: str, at: dt.datetime
) -> Prescription:
    """The issuing institution takes a prescription back while nothing of it was handed out or claimed."""
    found = locked(prescription_id, issuer=institution.code)
    if found.state not in OPEN:
        raise state_refused(found)
    if _charged(found):
        raise refused("", "PRESCRIPTION_CHARGED", "处方已用于申报，请由申报机构先冲正单据，再撤回处方",
                      "a claim charges it", status=409, clause=FLOW)  # fmt: skip
    found.releases.filter(recalled_at__isnull=True).update(recalled_at=at, recalled_by=by)
    _move(found, State.WITHDRAWN, reason)
    _record(found, "withdraw", by=by, at=at, reason=reason)
    return found


def _charged(found: Prescription) -> bool:
    """Whether a claim of any institution charges it: paid, held, refused or waiting, but not reversed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT settlement_prescription_charged(%s)", [found.pk])
        return bool(cursor.fetchone()[0])


def _move(found: Prescription, state: str, reason: str = "") -> None:
    found.state, found.state_reason = state, reason
    found.save(update_fields=["state", "state_reason"])


# --- Circulation (第十五条) ---


@transaction.atomic
def release(
    *, institution: Claimant, prescription_id: int, pharmacy: str, by: str, at: dt.datetime
) -> Prescription:
    """Let a designated retail pharmacy fetch a reviewed prescription; the same again changes nothing.

    A pharmacy of another pooling region only where both regions' documents recognise it.
    """
    found = locked(prescription_id, issuer=institution.code)
    if found.state not in (State.REVIEWED, State.RELEASED, State.PARTLY):
        raise state_refused(found)
    today = clock.local(at).date()
    refuse_expired(found, today)
    place = (
        Institution.objects.select_related("region")
        .filter(pk=pharmacy, kind=Institution.Kind.PHARMACY)
        .first()
    )
    if place is None or not designated(pharmacy, on=today):
        raise refused(
            "pharmacy", "PHARMACY_NOT_DESIGNATED", "不是今日有效的定点零售药店",
            "no designated retail pharmacy of today", clause=CIRCULATION,
        )  # fmt: skip
    _refuse_circulation(institution.policy_region, place.region.policy_region, today)
    if found.releases.filter(institution_code=pharmacy, recalled_at__isnull=True).exists():
        return found
    PrescriptionRelease.objects.create(
        prescription=found, region_code=place.region_id, institution_code=pharmacy,
        issuer_region=found.region_code, issuer_code=found.institution_code, released_at=at,
        released_by=by,
    )  # fmt: skip
    if found.state == State.REVIEWED:
        _move(found, State.RELEASED)
    _record(found, "release", by=by, at=at, pharmacy=pharmacy)
    return found


@transaction.atomic
def recall(
    *, institution: Claimant, prescription_id: int, pharmacy: str, by: str, at: dt.datetime
) -> Prescription:
    """Take a release back from a pharmacy that has handed out nothing under it."""
    found = locked(prescription_id, issuer=institution.code)
    live = found.releases.filter(recalled_at__isnull=True)
    if found.dispensings.filter(institution_code=pharmacy).exists():
        raise refused("pharmacy", "PRESCRIPTION_DISPENSED", "该药店已按处方调配，不能收回",
                      "the pharmacy has dispensed", status=409, clause=CIRCULATION)  # fmt: skip
    if not live.filter(institution_code=pharmacy).update(recalled_at=at, recalled_by=by):
        raise refused("pharmacy", "NOT_RELEASED", "处方没有流转至该药店",
                      "not released to this pharmacy", status=409, clause=CIRCULATION)  # fmt: skip
    if found.state == State.RELEASED and not live.exists():
        _move(found, State.REVIEWED)
    _record(found, "recall", by=by, at=at, pharmacy=pharmacy)
    return found


def designated(code: str, *, on: dt.date) -> bool:
    """Whether a retail pharmacy's own agreement (定点协议) is in force on a day."""
    states = AgreementState.objects.of([code], kind=Agreement.Kind.MAIN, on=on)
    agreement = states[code].agreement if code in states else None
    return (
        agreement is not None
        and states[code].state in DESIGNATED
        and agreement.valid_from <= on
        and (agreement.valid_until is None or on <= agreement.valid_until)
    )


def _refuse_circulation(ours: str, theirs: str, day: dt.date) -> None:
    """Refusal where the documents of the regions do not let prescriptions circulate."""
    wanted = {PHARMACY} if ours == theirs else {PHARMACY, ABROAD}
    for region in {ours, theirs}:
        if not wanted <= _circulation(region, day):
            raise refused(
                "pharmacy", "NO_CIRCULATION", "统筹区的政策文件没有规定此种处方流转",
                "the documents of the regions do not provide for it", clause=CIRCULATION,
            )  # fmt: skip


def _circulation(region: str, day: dt.date) -> set[str]:
    release = releases.current().policy(region, day)
    if release is None or not release.covers(day):
        return set()
    flow = release.policy.section("prescription_flow", {})
    return set(flow.get("circulation", {}).get("to", ()))


def refuse_expired(found: Prescription, day: dt.date) -> None:
    """Refusal after the last day of a prescription."""
    if found.expires_on is not None and day > found.expires_on:
        detail = (f"处方有效期至 {found.expires_on}", f"valid until {found.expires_on}")
        fault = Fault("", "PRESCRIPTION_EXPIRED", detail, "二十三（一）")
        raise Refusal(409, "PRESCRIPTION_EXPIRED", detail, (fault,))


@transaction.atomic
def expire(*, on: dt.date, by: str, at: dt.datetime, most: int = 1_000) -> int:
    """Close prescriptions whose time passed before `on` unused and uncharged; how many."""
    charged = PrescriptionCharge.objects.filter(prescription=OuterRef("pk"), quantity__gt=0)
    rows = (
        Prescription.objects.select_for_update(skip_locked=True)
        .filter(~Exists(charged), expires_on__lt=on,
                state__in=(State.SIGNED, State.REVIEWED, State.RELEASED))
        .order_by("pk")[:most]
    )  # fmt: skip
    found = list(rows)
    for prescription in found:
        _move(prescription, State.EXPIRED)
        _record(prescription, "expire", by=by, at=at, expired_on=prescription.expires_on)
    return len(found)


def _record(
    found: Prescription, act: str, *, by: str, at: dt.datetime,
    person: InsuredPerson | None = None, **detail: object,
) -> None:  # fmt: skip
    trail.record(
        by=by, at=at, action=f"prescription.{act}", subject=f"prescription:{found.pk}",
        region_code=found.region_code, institution_code=found.institution_code,
        person_hash=bytes(person.id_hash) if person else None,
        detail={"number": found.number, "state": found.state, **detail},
    )  # fmt: skip
