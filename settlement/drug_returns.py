"""Dispensed drugs that come back (退药): goods, parcel and money in one act.

Never more than was handed out, each package once; a package that came back is not sold again. A parcel
still under way ends with the return. A claim that charges more of the drugs than the patient kept is
reversed whole, the way every claim is; what the patient kept is claimed anew (二十六).
"""

import datetime as dt
import hashlib
from collections.abc import Iterator

from django.db import connection, transaction
from django.db.models import F

from audit import clock, trail
from institutions.models import Physician
from institutions.refusals import Refusal, refused
from institutions.shape import scaled
from settlement import answer, commands
from settlement.contract import CLOCK_SKEW, QUANTITY_DIGITS
from settlement.facts import Claimant
from settlement.goods import TRACED, own_dispensing, quantity_text
from settlement.medicines import registered
from settlement.models import (
    Delivery,
    DeliveryEvent,
    Dispensing,
    DispensingLine,
    DispensingReturn,
    DispensingReturnLine,
    Prescription,
    PrescriptionCharge,
    PrescriptionLine,
    TraceReturn,
)
from settlement.periods import posting_month

State, Kind = Prescription.State, DeliveryEvent.Kind
USED = "SELECT drug_code, dispensed_mine FROM settlement_prescription_used(%s, %s, 0)"


@transaction.atomic
def take_back(
    *, institution: Claimant, dispensing_id: int, given: dict, by: str, at: dt.datetime
) -> tuple[DispensingReturn, bool]:
    """Take drugs of a dispensing back, and reverse what was claimed for them; False: it was known.

    Locks the month, then the prescription, then the person: the order of a claim.
    """
    posting_month(institution.region_code, at)
    dispensing = own_dispensing(institution, dispensing_id)
    digest = hashlib.new("sm3", trail.canonical(given)).hexdigest()
    known = DispensingReturn.objects.filter(
        institution_code=institution.code, number=given["no"]
    ).first()
    if known is not None:
        return _same(known, dispensing, digest), False
    returned_at = _moment(dispensing, given, institution, at)
    lines = dict(_lines(dispensing, given["lines"]))
    whole = _whole(dispensing, lines)
    _follow_parcels(dispensing, returned_at, whole=whole, by=by, at=at)
    claims = [
        _reverse(institution, claim_id, given["no"], by, at)
        for claim_id in _overcharged(institution, dispensing, lines)
    ]
    made = DispensingReturn.objects.create(
        dispensing=dispensing, number=given["no"], region_code=dispensing.region_code,
        institution_code=dispensing.institution_code, issuer_region=dispensing.issuer_region,
        issuer_code=dispensing.issuer_code, returned_at=returned_at, reason=given["reason"],
        note=given.get("note") or "", pharmacist_code=given.get("pharmacist") or "",
        claims=claims, recorded_at=at, recorded_by=by,
        content_sm3=digest,
    )  # fmt: skip
    traces = _store(made, dispensing, lines, given["lines"])
    _record(made, dispensing.prescription_id, traces, whole=whole)
    return made, True


def _same(known: DispensingReturn, dispensing: Dispensing, digest: str) -> DispensingReturn:
    if known.content_sm3 == digest and known.dispensing_id == dispensing.pk:
        return known
    raise refused(
        "no", "RETURN_NUMBER_USED", f"退药单号 {known.number} 已用于另一次退药",
        "the number belongs to another return", status=409,
    )  # fmt: skip


def _moment(
    dispensing: Dispensing, given: dict, institution: Claimant, at: dt.datetime
) -> dt.datetime:
    returned_at = dt.datetime.fromisoformat(given["returned_at"])
    if returned_at > at + CLOCK_SKEW:
        raise refused("returned_at", "FUTURE", "晚于接收时间", "later than the receipt")
    if returned_at < dispensing.dispensed_at:
        raise refused("returned_at", "ORDER", "早于调配时间", "earlier than the dispensing",
                      clause=TRACED)  # fmt: skip
    if given.get("pharmacist"):
        registered(given["pharmacist"], Physician.Kind.PHARMACIST, institution.own,
                   on=clock.local(returned_at).date(), at=at, field="pharmacist")  # fmt: skip
    return returned_at


# --- Goods ---


def left_of(line: DispensingLine) -> int:
    """How much of a dispensed drug has not come back (1/10000 units)."""
    return line.quantity - sum(one.quantity for one in line.returns.all())


def _lines(dispensing: Dispensing, given: list[dict]) -> Iterator[tuple[str, int]]:
    """Drug → quantity that comes back; Refusal for what was not handed out or came back before."""
    handed = {line.drug_code: line for line in dispensing.lines.prefetch_related("returns")}
    traces = dict(dispensing.traces.values_list("code", "drug_code"))
    back = set(
        TraceReturn.objects.filter(trace__dispensing=dispensing).values_list("trace_id", flat=True)
    )
    for number, one in enumerate(given):
        field, drug = f"lines/{number}", one["drug_code"]
        if drug not in handed:
            raise refused(f"{field}/drug_code", "DRUG_NOT_DISPENSED", "本次调配没有此药品",
                          "not handed out by this dispensing", clause=TRACED)  # fmt: skip
        quantity, left = scaled(one["quantity"], QUANTITY_DIGITS), left_of(handed[drug])
        if quantity > left:
            told = quantity_text(left)
            raise refused(f"{field}/quantity", "RETURNED_TOO_MUCH", f"超过尚可退回的数量 {told}",
                          f"more than the {told} that are out", status=409,
                          clause=TRACED)  # fmt: skip
        _refuse_traces(f"{field}/trace_codes", drug, one.get("trace_codes", ()), traces, back)
        yield drug, quantity


def _refuse_traces(
    field: str, drug: str, codes: list[str], traces: dict[str, str], back: set[str]
) -> None:
    if drug in traces.values() and not codes:
        raise refused(field, "TRACE_CODES_MISSING", "该药品按追溯码调配，退药须注明退回的追溯码",
                      "packages were handed out by code and come back by code",
                      clause=TRACED)  # fmt: skip
    for code in codes:
        if traces.get(code) != drug:
            raise refused(field, "TRACE_CODE_FOREIGN", f"追溯码 {code} 不是本次调配的该药品",
                          "the package was not handed out by this dispensing",
                          clause=TRACED)  # fmt: skip
        if code in back:
            raise refused(field, "TRACE_CODE_RETURNED", f"追溯码 {code} 已退回",
                          "the package came back before", status=409, clause=TRACED)  # fmt: skip


def _whole(dispensing: Dispensing, lines: dict[str, int]) -> bool:
    """Whether nothing of the dispensing stays with the patient."""
    rows = dispensing.lines.prefetch_related("returns")
    return all(left_of(line) == lines.get(line.drug_code, 0) for line in rows)


def _store(
    made: DispensingReturn, dispensing: Dispensing, lines: dict[str, int], given: list[dict]
) -> int:
    """Lines, packages, the prescription's counts and its state; how many packages."""
    handed = {line.drug_code: line for line in dispensing.lines.all()}
    DispensingReturnLine.objects.bulk_create(
        DispensingReturnLine(taken_back=made, line=handed[drug], quantity=quantity)
        for drug, quantity in lines.items()
    )
    traces = [code for one in given for code in one.get("trace_codes", ())]
    TraceReturn.objects.bulk_create(TraceReturn(trace_id=code, taken_back=made) for code in traces)
    found = dispensing.prescription
    for drug, quantity in lines.items():
        PrescriptionLine.objects.filter(prescription=found, drug_code=drug).update(
            returned=F("returned") + quantity
        )
    if found.lines.filter(dispensed__gt=F("returned")).exists():
        found.state = State.PARTLY
    else:
        live = found.releases.filter(recalled_at__isnull=True).exists()
        found.state = State.RELEASED if live else State.REVIEWED
    found.save(update_fields=["state"])
    return len(traces)


# --- Delivery ---


def _follow_parcels(
    dispensing: Dispensing, returned_at: dt.datetime, *, whole: bool, by: str, at: dt.datetime
) -> None:
    """Parcels under way come back with the whole dispensing; a part comes back after its parcel."""
    parcels = list(dispensing.deliveries.prefetch_related("steps"))
    under_way = [parcel for parcel in parcels if not _ended(parcel)]
    if under_way and not whole and len(under_way) == len(parcels):
        raise refused(
            "lines", "DELIVERY_OPEN", "药品尚在配送，先登记签收或退回，再登记部分退药",
            "the parcel is under way", status=409, clause=TRACED,
        )  # fmt: skip
    for parcel in parcels:
        if any(step.at > returned_at for step in parcel.steps.all()):
            raise refused("returned_at", "ORDER", "早于配送环节", "earlier than a delivery step",
                          clause=TRACED)  # fmt: skip
    for parcel in under_way if whole else ():
        DeliveryEvent.objects.create(
            delivery=parcel, kind=Kind.RETURNED, at=returned_at, recorded_at=at, recorded_by=by
        )
        trail.record(
            by=by, at=at, action=f"delivery.{Kind.RETURNED}",
            subject=f"prescription:{dispensing.prescription_id}",
            region_code=dispensing.issuer_region, institution_code=dispensing.issuer_code,
            detail={"dispensing": dispensing.number, "by": dispensing.institution_code,
                    "waybill": parcel.waybill},
        )  # fmt: skip


def _ended(parcel: Delivery) -> bool:
    return any(step.kind in (Kind.SIGNED, Kind.RETURNED) for step in parcel.steps.all())


# --- Money ---


def _overcharged(institution: Claimant, dispensing: Dispensing, lines: dict[str, int]) -> list[int]:
    """Own claims that charge more of the returned drugs than the patient keeps.

    Refused ones first (they could still be passed), then the newest.
    """
    with connection.cursor() as cursor:
        cursor.execute(USED, [dispensing.prescription_id, institution.code])
        kept = {drug: out - lines[drug] for drug, out in cursor.fetchall() if drug in lines}
    charges = list(
        PrescriptionCharge.objects.filter(
            prescription=dispensing.prescription_id, institution_code=institution.code,
            drug_code__in=lines, quantity__gt=0,
        ).order_by("-claim_id")
    )  # fmt: skip
    rows: dict[int, dict[str, int]] = {}
    for row in charges:
        rows.setdefault(row.claim_id, {})[row.drug_code] = row.quantity
    found = {claim: answer.read(claim, institutions=[institution.code]) for claim in rows}
    standing = {key: one.state for key, one in found.items() if one and one.reversal is None}
    live = {key: rows[key] for key in sorted(standing, key=lambda key: standing[key] != "reject")}
    chosen = []
    for claim, drugs in live.items():
        over = {
            drug for drug in drugs
            if sum(other.get(drug, 0) for key, other in live.items() if key not in chosen)
            > kept[drug]
        }  # fmt: skip
        if over:
            chosen.append(claim)
    return chosen


def _reverse(institution: Claimant, claim_id: int, number: str, by: str, at: dt.datetime) -> int:
    """Reverse a claim (红冲): its money goes back the way it came, what was held is never paid."""
    try:
        commands.reverse(
            institution=institution, claim_id=claim_id, reason=f"退药 {number}", by=by, at=at
        )
    except Refusal as refusal:
        if refusal.code != "NOT_SETTLED":
            raise
        raise refused(
            "lines", "CLAIM_PENDING", "药品费的申请待批量结算，结算后再登记退药",
            "the claim of these drugs waits for its settlement", status=409, clause=TRACED,
        ) from refusal  # fmt: skip
    return claim_id


def _record(made: DispensingReturn, prescription_id: int, traces: int, *, whole: bool) -> None:
    trail.record(
        by=made.recorded_by, at=made.recorded_at, action="dispensing.return",
        subject=f"prescription:{prescription_id}", region_code=made.issuer_region,
        institution_code=made.issuer_code,
        detail={"dispensing": made.dispensing.number, "return": made.number,
                "by": made.institution_code, "reason": made.reason, "whole": whole,
                "traces": traces, "claims": made.claims, "content": made.content_sm3},
    )  # fmt: skip
