"""Goods under a prescription: dispensed, delivered, and the claim of the pharmacy that handed them out.

Every package is sold once (药品追溯码, 第二十六条); a third-party carrier with its licence delivers (十四);
a pharmacy claims what it dispensed under a prescription released to it (十五), through the same kernel.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Sum

from audit import clock, trail
from institutions.models import Institution, Physician, Qualification
from institutions.refusals import Refusal, refused
from institutions.shape import scaled
from settlement import commands, trace_codes
from settlement.contract import CLOCK_SKEW, QUANTITY_DIGITS
from settlement.facts import Claimant
from settlement.medicines import (
    CIRCULATION,
    FLOW,
    designated,
    locked,
    refuse_expired,
    registered,
    state_refused,
)
from settlement.models import (
    Delivery,
    DeliveryEvent,
    Dispensing,
    DispensingLine,
    Prescription,
    PrescriptionLine,
    TraceCode,
)

State = Prescription.State
TRACED = trace_codes.CLAUSE
LICENCES = (Qualification.Kind.TRANSPORT, Qualification.Kind.DRUG)
ORDER = (DeliveryEvent.Kind.PICKED_UP, DeliveryEvent.Kind.DELIVERED, DeliveryEvent.Kind.SIGNED)
UNITS = 10**QUANTITY_DIGITS


@transaction.atomic
def dispense(
    *, institution: Claimant, prescription_id: int, given: dict, by: str, at: dt.datetime
) -> tuple[Dispensing, bool]:
    """Hand out drugs of a prescription, never more than is left; False when the number was known.

    The prescription stays locked: two pharmacies at once cannot hand out the same drugs.
    """
    found = locked(prescription_id)
    digest = _digest(given)
    known = Dispensing.objects.filter(institution_code=institution.code, number=given["no"]).first()
    if known is not None:
        return _same(known, found, digest), False
    day = _dispensed_on(found, given, at)
    _refuse_dispenser(found, institution, day)
    if given.get("pharmacist"):
        registered(given["pharmacist"], Physician.Kind.PHARMACIST, institution.own, on=day, at=at,
                   field="pharmacist")  # fmt: skip
    made = Dispensing.objects.create(
        prescription=found, number=given["no"], region_code=institution.region_code,
        institution_code=institution.code, issuer_region=found.region_code,
        issuer_code=found.institution_code, dispensed_at=dt.datetime.fromisoformat(given["dispensed_at"]),
        pharmacist_code=given.get("pharmacist") or "", recorded_at=at, recorded_by=by,
        content_sm3=digest,
    )  # fmt: skip
    _hand_out(found, made, given["lines"], packaged(found, institution, day))
    left = found.lines.filter(dispensed__lt=F("quantity") + F("returned")).exists()
    found.state = State.PARTLY if left else State.DISPENSED
    found.save(update_fields=["state"])
    trail.record(
        by=by, at=at, action="dispensing.record", subject=f"prescription:{found.pk}",
        region_code=found.region_code, institution_code=found.institution_code,
        detail={"number": found.number, "dispensing": made.number, "by": institution.code,
                "state": found.state, "content": digest,
                "traces": sum(len(line.get("trace_codes", ())) for line in given["lines"])},
    )  # fmt: skip
    return made, True


def _digest(given: dict) -> str:
    return hashlib.new("sm3", trail.canonical(given)).hexdigest()


def _same(known: Dispensing, found: Prescription, digest: str) -> Dispensing:
    if known.content_sm3 == digest and known.prescription_id == found.pk:
        return known
    raise refused(
        "no", "DISPENSING_NUMBER_USED", f"调配单号 {known.number} 已用于另一次调配",
        "the number belongs to another dispensing", status=409,
    )  # fmt: skip


def _dispensed_on(found: Prescription, given: dict, at: dt.datetime) -> dt.date:
    """The day of a dispensing; Refusal when the prescription was not ready then, or is closed."""
    if found.state not in (State.REVIEWED, State.RELEASED, State.PARTLY):
        raise state_refused(found)
    dispensed_at = dt.datetime.fromisoformat(given["dispensed_at"])
    if dispensed_at > at + CLOCK_SKEW:
        raise refused("dispensed_at", "FUTURE", "晚于接收时间", "later than the receipt")
    if found.reviewed_at and dispensed_at < found.reviewed_at:
        raise refused("dispensed_at", "ORDER", "早于药师审核时间", "earlier than the review",
                      clause=FLOW)  # fmt: skip
    day = clock.local(dispensed_at).date()
    refuse_expired(found, day)
    return day


def _refuse_dispenser(found: Prescription, institution: Claimant, day: dt.date) -> None:
    if institution.code == found.institution_code:
        if found.releases.filter(recalled_at__isnull=True).exists():
            raise refused("no", "PRESCRIPTION_ELSEWHERE", "处方已流转至零售药店，须先收回",
                          "the prescription was released to a pharmacy", status=409,
                          clause=CIRCULATION)  # fmt: skip
        return
    mine = found.releases.filter(institution_code=institution.code, recalled_at__isnull=True)
    if not mine.exists():
        raise Refusal(404, "NOT_FOUND", ("没有此处方", "no such prescription"))
    if not designated(institution.code, on=day):
        raise refused("dispensed_at", "PHARMACY_NOT_DESIGNATED", "调配日不是定点零售药店",
                      "not designated on that day", clause=CIRCULATION)  # fmt: skip


def packaged(found: Prescription, institution: Claimant, day: dt.date) -> set[str]:
    """The prescribed drugs of which every unit is a package with its own trace code."""
    units = {line.drug_code: line.unit for line in found.lines.all()}
    return trace_codes.by_package(units, region=institution.policy_region, on=day)


def _hand_out(
    found: Prescription, made: Dispensing, lines: Iterable[dict], packages: set[str]
) -> None:
    prescribed = {line.drug_code: line for line in found.lines.all()}
    sold: list[tuple[str, TraceCode]] = []
    for number, line in enumerate(lines):
        field, codes = f"lines/{number}", line.get("trace_codes", [])
        drug, quantity = _open_line(field, prescribed, line)
        DispensingLine.objects.create(dispensing=made, drug_code=drug, quantity=quantity)
        PrescriptionLine.objects.filter(pk=prescribed[drug].pk).update(
            dispensed=F("dispensed") + quantity
        )
        trace_codes.refuse_count(f"{field}/trace_codes", codes, quantity, packages=drug in packages)
        sold += [
            (f"{field}/trace_codes/{place}", TraceCode(code=code, dispensing=made, drug_code=drug))
            for place, code in enumerate(codes)
        ]
    trace_codes.sell(sold)


def _open_line(field: str, prescribed: dict[str, PrescriptionLine], line: dict) -> tuple[str, int]:
    """The drug and quantity of a line; Refusal for what is not prescribed or not left."""
    drug = prescribed.get(line["drug_code"])
    if drug is None:
        raise refused(f"{field}/drug_code", "DRUG_NOT_PRESCRIBED", "处方中没有此药品",
                      "not on the prescription", clause=FLOW)  # fmt: skip
    quantity = scaled(line["quantity"], QUANTITY_DIGITS)
    open_quantity = drug.quantity + drug.returned - drug.dispensed
    if quantity > open_quantity:
        left = quantity_text(open_quantity)
        raise refused(
            f"{field}/quantity", "DISPENSED_TWICE", f"超过处方尚可调配数量 {left}",
            f"more than the {left} that are left", status=409, clause=FLOW,
        )  # fmt: skip
    return drug.drug_code, quantity


# --- Delivery (第十四条) ---


def carriers(*, on: dt.date) -> QuerySet[Institution]:
    """Registered logistics companies with a licence in force on a day."""
    licences = Qualification.objects.known().in_force(on=on).filter(kind__in=LICENCES)
    return Institution.objects.filter(
        kind=Institution.Kind.LOGISTICS, pk__in=licences.values("institution")
    )


@transaction.atomic
def send(
    *, institution: Claimant, dispensing_id: int, given: dict, by: str, at: dt.datetime
) -> tuple[Delivery, bool]:
    """Hand a dispensing to a registered, licensed carrier; False when the waybill was known."""
    dispensing = own_dispensing(institution, dispensing_id)
    carrier = carriers(on=clock.local(at).date()).filter(pk=given["logistics"]).first()
    if carrier is None:
        raise refused("logistics", "LOGISTICS_UNQUALIFIED", "不是登记在册且资质有效的医药物流企业",
                      "no registered carrier with a licence in force", clause=FLOW)  # fmt: skip
    try:
        made, new = Delivery.objects.get_or_create(
            logistics_code=carrier.code, waybill=given["waybill"],
            defaults={"dispensing": dispensing, "recorded_at": at, "recorded_by": by},
        )  # fmt: skip
    except IntegrityError:  # of another institution: met, not seen
        raise _waybill_used() from None
    if made.dispensing_id != dispensing.pk:
        raise _waybill_used()
    if new:
        _refuse_come_back(dispensing)
        _record(dispensing, "send", by=by, at=at, waybill=made.waybill, logistics=carrier.code)
    return made, new


def _refuse_come_back(dispensing: Dispensing) -> None:
    """Refusal when everything of a dispensing came back: nothing is left to deliver."""
    rows = dispensing.lines.annotate(back=Sum("returns__quantity"))
    if not rows.filter(Q(back__isnull=True) | Q(back__lt=F("quantity"))).exists():
        raise refused("waybill", "DISPENSING_RETURNED", "本次调配的药品已全部退回",
                      "everything came back", status=409, clause=TRACED)  # fmt: skip


def _waybill_used() -> Refusal:
    return refused("waybill", "WAYBILL_USED", "运单号已用于另一次配送",
                   "the waybill belongs to another delivery", status=409)  # fmt: skip


@transaction.atomic
def step(
    *, institution: Claimant, delivery_id: int, given: dict, by: str, at: dt.datetime
) -> tuple[DeliveryEvent, bool]:
    """A step of a parcel, each once and in order; signed for by whom (relation only, no name)."""
    delivery = Delivery.objects.filter(
        pk=delivery_id, dispensing__institution_code=institution.code
    ).first()
    if delivery is None:
        raise Refusal(404, "NOT_FOUND", ("没有此配送", "no such delivery"))
    dispensing = own_dispensing(institution, delivery.dispensing_id)
    when = dt.datetime.fromisoformat(given["at"])
    _refuse_step(delivery, dispensing, given, when, at)
    made, new = DeliveryEvent.objects.get_or_create(
        delivery=delivery, kind=given["kind"],
        defaults={"at": when, "relation": given.get("relation") or "", "recorded_at": at,
                  "recorded_by": by},
    )  # fmt: skip
    if (made.at, made.relation) != (when, given.get("relation") or ""):
        raise refused("kind", "STEP_RECORDED", "该环节已按另一时间登记",
                      "the step was recorded otherwise", status=409)  # fmt: skip
    if new:
        _record(dispensing, given["kind"], by=by, at=at, waybill=delivery.waybill,
                relation=made.relation)  # fmt: skip
    return made, new


def _refuse_step(
    delivery: Delivery, dispensing: Dispensing, given: dict, when: dt.datetime,
    at: dt.datetime,
) -> None:  # fmt: skip
    kind = DeliveryEvent.Kind(given["kind"])
    if when > at + CLOCK_SKEW:
        raise refused("at", "FUTURE", "晚于接收时间", "later than the receipt")
    if bool(given.get("relation")) != (kind == DeliveryEvent.Kind.SIGNED):
        raise refused("relation", "RELATION", "签收须注明签收人与患者的关系，其他环节不填",
                      "a signature needs the relation, other steps none", clause=TRACED)  # fmt: skip
    before = ORDER[: ORDER.index(kind)] if kind in ORDER else ORDER[:1]
    steps = {step.kind: step.at for step in delivery.steps.all()}
    earlier = [steps[name] for name in before if name in steps]
    if len(earlier) < len(before[:1]) or any(when < before for before in earlier):
        raise refused("at", "ORDER", "早于前一配送环节，或前一环节未登记",
                      "earlier than the step before, or that is missing", clause=TRACED)  # fmt: skip
    back = steps.get(DeliveryEvent.Kind.RETURNED)
    if back is not None and kind != DeliveryEvent.Kind.RETURNED and when > back:
        raise refused("at", "ORDER", "晚于退回", "the parcel went back before", clause=TRACED)
    if when < dispensing.dispensed_at:
        raise refused("at", "ORDER", "早于调配时间", "earlier than the dispensing", clause=TRACED)


def own_dispensing(institution: Claimant, dispensing_id: int) -> Dispensing:
    """An own dispensing, its prescription locked; else Refusal (404)."""
    found = (
        Dispensing.objects.filter(institution_code=institution.code, pk=dispensing_id)
        .select_related("prescription")
        .first()
    )
    if found is None:
        raise Refusal(404, "NOT_FOUND", ("没有此调配记录", "no such dispensing"))
    locked(found.prescription_id)  # steps of one prescription come one after another
    return found


def _record(
    dispensing: Dispensing, act: str, *, by: str, at: dt.datetime, **detail: object
) -> None:
    trail.record(
        by=by, at=at, action=f"delivery.{act}", subject=f"prescription:{dispensing.prescription_id}",
        region_code=dispensing.issuer_region, institution_code=dispensing.issuer_code,
        detail={"dispensing": dispensing.number, "by": dispensing.institution_code, **detail},
    )  # fmt: skip


# --- The claim of a pharmacy (第十五条) ---


def charge(
    *, institution: Claimant, prescription_id: int, given: dict, by: str, at: dt.datetime,
    key: commands.Key | None = None,
) -> commands.Receipt:  # fmt: skip
    """Settle the drugs that a retail pharmacy dispensed under a prescription released to it.

    The visit is the prescribing hospital's, so are its facts; the drugs and the money are the
    pharmacy's, and its designation counts on the day of dispensing, not an online hospital's agreement.
    """
    found = Prescription.objects.filter(
        Q(releases__institution_code=institution.code, releases__recalled_at__isnull=True),
        pk=prescription_id,
    ).first()
    if found is None:
        raise Refusal(404, "NOT_FOUND", ("没有流转至本机构的此处方", "no such prescription"))
    first = found.dispensings.filter(institution_code=institution.code).first()
    day = clock.local(first.dispensed_at if first else at).date()
    hospital = Institution.objects.select_related("region").get(pk=found.institution_code)
    pharmacy = Claimant(
        institution.code, institution.region_code, institution.policy_region, institution.own,
        issuer=Claimant.of(hospital), designated=designated(institution.code, on=day),
    )  # fmt: skip
    return commands.receive(institution=pharmacy, claim=_claim(found, given), by=by, at=at, key=key)


def _claim(found: Prescription, given: dict) -> dict:
    """The claim of the contract, made of the prescription's record and what the pharmacy states."""
    return {
        "claim_no": given["claim_no"], "encounter": found.visit, "person": given["person"],
        "physician": {"code": found.physician_code},
        "prescriptions": [
            {"no": found.number, "signed_by": found.signed_by, "signed_at": _iso(found.signed_at),
             "reviewed_by": found.reviewed_by, "reviewed_at": _iso(found.reviewed_at),
             "lines": [{"drug_code": line.drug_code, "quantity": quantity_text(line.quantity),
                        "days_supply": line.days_supply, "unit": line.unit}
                       for line in found.lines.all()]}
        ],
        "lines": [
            line | {"kind": "drug", "prescription_no": found.number} for line in given["lines"]
        ],
        "channel": "online", "e_invoice_no": given.get("e_invoice_no"),
        "pay_from_account": given.get("pay_from_account", False),
        "circulation": {"issuer": found.institution_code, "prescription": found.pk},
    }  # fmt: skip


def quantity_text(quantity: int) -> str:
    """A quantity of 1/10000 units as the contract writes it: 15000 → 1.5."""
    whole, part = divmod(quantity, UNITS)
    return f"{whole}.{part:0{QUANTITY_DIGITS}d}".rstrip("0").removesuffix(".")


def _iso(at: dt.datetime | None) -> str | None:
    return clock.local(at).isoformat() if at else None
