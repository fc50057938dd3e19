"""Commands of remote consultations: request, answer, steps, distribution, receipts, claims.

The inviting hospital asks, charges, pays and reduces its revenue; an invited one answers, confirms
the agreement and issues its receipt. Nobody acts for the other side. (吉卫便函〔2021〕3号 一)
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from audit import clock, moves, tasks, trail
from audit.models import Move
from audit.procedure import PROCEDURES, SYSTEM, Refused
from institutions import crypto, news
from institutions.access import EVERYTHING, scoped
from institutions.models import Document, Institution, User
from institutions.money import yuan
from institutions.refusals import Refusal, refused
from pricing.rules import SERVICES
from settlement import consultation as arithmetic
from settlement import consultation_steps as steps
from settlement.models import (
    Claim,
    ClaimLine,
    Consultation,
    InsuredPerson,
    Leg,
    Participant,
    Receipt,
    Settlement,
    SplitAgreement,
    Voucher,
)
from settlement.models.consultations import RATIO_ONE
from settlement.vouchers import post_voucher

SLUG = "consultation"
CLAUSE = "一第2款"
Answer = Participant.Answer
ENDED = ("unpriced", "refunded", "cancelled")  #: nothing is charged here, or no longer
REMOTE = SERVICES.index("remote_consult")


@dataclass(frozen=True)
class Invited:
    """A hospital that is asked to take part, and its experts by name."""

    hospital: Institution
    experts: tuple[str, ...]


# --- Agreements on the split ---


@transaction.atomic
def record_agreement(
    *, inviting: Institution, invited: Institution, number: str, ratio_invited: int,
    valid_from: dt.date, valid_until: dt.date | None = None, document: Document | None = None,
    by: str, at: dt.datetime,
) -> SplitAgreement:  # fmt: skip
    """Record the contract of two hospitals; it counts once the invited one has confirmed it."""
    if inviting.pk == invited.pk:
        raise refused("invited", "SAME_HOSPITAL", "邀请方和受邀方不能是同一家医院",
                      "a hospital does not invite itself", clause=CLAUSE)  # fmt: skip
    if not 0 <= ratio_invited <= RATIO_ONE:
        raise refused("ratio_invited", "RATIO_NOT_100", "双方比例之和应为100%，任一方不得为负",
                      "both parts add up to 100 per cent", clause=CLAUSE)  # fmt: skip
    if valid_until and valid_until < valid_from:
        raise refused("valid_until", "SPAN", "终止日早于起始日", "ends before it begins")
    Institution.objects.select_for_update(no_key=True).get(pk=inviting.pk)
    same = SplitAgreement.objects.known().filter(inviting=inviting, invited=invited)
    touching = same.filter(Q(valid_until=None) | Q(valid_until__gte=valid_from))
    if valid_until:
        touching = touching.filter(valid_from__lte=valid_until)
    if other := touching.first():
        raise refused("valid_from", "AGREEMENT_OVERLAPS",
                      f"与协议 {other.number} 的期间重叠，请先终止该协议",
                      "overlaps another agreement", status=409, clause=CLAUSE)  # fmt: skip
    row = SplitAgreement.objects.create(
        inviting=inviting, invited=invited, number=number.strip(), ratio_invited=ratio_invited,
        valid_from=valid_from, valid_until=valid_until, document=document,
        region_code=inviting.region_id, institution_code=inviting.pk, recorded_at=at,
        recorded_by=by,
    )  # fmt: skip
    _noted(row, "splitagreement.record", by=by, at=at, ratio=ratio_invited, invited=invited.pk)
    tasks.open_task(
        subject=f"splitagreement:{row.pk}", permission=steps.RECORD, at=at, status="待确认",
        title=f"{inviting.name}登记会诊分配协议 {row.number}：确认比例",
        region_code=invited.region_id, institution_code=invited.pk,
        url=reverse("split-agreement-confirm", args=[row.pk]),
        clause=f"{_document()} {CLAUSE}",
    )  # fmt: skip
    return row


@transaction.atomic
def confirm_agreement(*, agreement: SplitAgreement, who: User, by: str, at: dt.datetime) -> None:
    """The invited hospital confirms the ratio."""
    row = SplitAgreement.objects.select_for_update().get(pk=agreement.pk)
    _speaks_for(who, row.invited_id, "确认分配协议")
    if row.confirmed_at or row.superseded_at:
        raise _conflict("AGREEMENT_DONE", "该协议已确认或已终止", "confirmed or ended already")
    row.confirmed_at, row.confirmed_by = at, by
    row.save(update_fields=["confirmed_at", "confirmed_by"])
    tasks.close(subject=f"splitagreement:{row.pk}", by=by, at=at)
    _noted(row, "splitagreement.confirm", by=by, at=at, institution=who.institution_id or "")


@transaction.atomic
def end_agreement(
    *, agreement: SplitAgreement, last: dt.date, who: User, by: str, at: dt.datetime
) -> None:
    """The agreement holds until a day; one that never began, or was never confirmed, is put away."""
    row = SplitAgreement.objects.select_for_update().get(pk=agreement.pk)
    _speaks_for(who, row.inviting_id, "终止分配协议")
    if row.superseded_at or (row.valid_until and row.valid_until <= last):
        raise _conflict("AGREEMENT_DONE", "该协议在该日前已终止", "it has ended before that day")
    if row.confirmed_at is None or last < row.valid_from:
        row.superseded_at = at
    else:
        row.valid_until = last
    row.save(update_fields=["superseded_at", "valid_until"])
    tasks.close(subject=f"splitagreement:{row.pk}", by=by, at=at)
    _noted(row, "splitagreement.end", by=by, at=at, last=last)


# --- The case ---


@transaction.atomic
def request(
    *, inviting: Institution, id_number: str, inpatient_no: str, department: str, purpose: str,
    wanted_on: dt.date, invited: Sequence[Invited], by: str, at: dt.datetime,
) -> Consultation:  # fmt: skip
    """Ask for a consultation of an inpatient. The patient is kept as keyed hash and masked number."""
    _invitable(inviting, invited)
    today = clock.local(at).date()
    if steps.policy_of(inviting, today) is None:
        raise refused("", "RULE_NOT_IN_FORCE", "本统筹地区没有远程会诊费用的政策文件",
                      "no document about remote consultations here")  # fmt: skip
    table = PROCEDURES[SLUG]
    number = tasks.next_number(f"{SLUG}:{inviting.region.policy_region}:{today.year}")
    case = Consultation.objects.create(
        number=table.data["numbers"].format(year=today.year, number=number), inviting=inviting,
        parties=[inviting.pk, *(row.hospital.pk for row in invited)],
        patient_hash=crypto.person_hash(id_number), patient_masked=crypto.mask_id(id_number),
        inpatient_no=inpatient_no, department=department, purpose=purpose, wanted_on=wanted_on,
        procedure=SLUG, state=table.first.key, entered_on=today, region_code=inviting.region_id,
        institution_code=inviting.pk, opened_at=at, opened_by=by,
    )  # fmt: skip
    Participant.objects.bulk_create(
        Participant(
            consultation=case, hospital=row.hospital, region_code=case.region_code,
            institution_code=case.institution_code, tier=row.hospital.tier,
            experts=list(row.experts),
        )
        for row in invited
    )  # fmt: skip
    moves.opened(case=case, procedure=table, handbook=steps.HANDBOOK, by=by, at=at, on=today)
    return case


def _invitable(inviting: Institution, invited: Sequence[Invited]) -> None:
    codes = [row.hospital.pk for row in invited]
    if not codes:
        raise refused("invited", "NOBODY_INVITED", "请选择受邀医院", "nobody is invited")
    if len(set(codes)) != len(codes) or inviting.pk in codes:
        raise refused("invited", "INVITED_TWICE", "受邀医院重复，或包含了本院",
                      "a hospital is named twice, or invites itself", clause="一第3款")  # fmt: skip
    if any(not row.experts for row in invited):
        raise refused(
            "invited", "NO_EXPERT", "每家受邀医院至少写一名专家", "name an expert of each"
        )
    for row in invited:  # what is charged follows from the tier: it is never guessed
        if row.hospital.tier not in arithmetic.LEVELS:
            raise refused(
                "invited", "TIER_UNKNOWN",
                f"{row.hospital.name}的机构登记没有“层级”，不能判断是否计费，请先补全登记",
                "the hospital's tier is not registered", status=409, clause="一第3款",
            )  # fmt: skip


@transaction.atomic
def take_step(
    *, case: Consultation, step: str, who: User, by: str, at: dt.datetime, note: str = "",
    facts: Mapping[str, Any] | None = None, version: int | None = None,
) -> Move:  # fmt: skip
    """Take a step of the table for the inviting hospital; a split with nothing to pay is settled."""
    _speaks_for(who, case.institution_code, PROCEDURES[SLUG].step(step).label)
    move = moves.advance(
        case=case, procedure=PROCEDURES[SLUG], handbook=steps.HANDBOOK, step=step, who=who, by=by,
        at=at, note=note, facts=facts, version=version,
    )  # fmt: skip
    if step == "distribute":
        for row in owed(case):
            _ask_for_receipt(row, at=at)
        _settle_if_done(case, by=by, at=at)
    case.refresh_from_db()
    return move


@transaction.atomic
def answer(
    *, participant: Participant, accept: bool, experts: Sequence[str] = (), note: str = "",
    who: User, by: str, at: dt.datetime,
) -> None:  # fmt: skip
    """An invited hospital says yes (with the experts that come) or no; the last answer moves the case."""
    case = Consultation.objects.select_for_update().get(pk=participant.consultation_id)
    row = Participant.objects.select_for_update().get(pk=participant.pk)
    _speaks_for(who, row.hospital_id, "答复会诊邀请")
    if case.state != "invited" or row.answer:
        raise _conflict("ANSWERED", "邀请已答复，或会诊不在待确认状态", "it is answered already")
    if not accept and not note:
        raise refused("note", "NOTE_MISSING", "婉拒应说明原因", "say why")
    row.answer = Answer.ACCEPTED if accept else Answer.DECLINED
    row.answered_at, row.answered_by, row.note = at, by, note
    row.experts = list(experts) or row.experts
    row.save(update_fields=["answer", "answered_at", "answered_by", "note", "experts"])
    tasks.close(subject=f"participant:{row.pk}", by=by, at=at)
    _noted(row, f"participant.{'accept' if accept else 'decline'}", by=by, at=at, of=case.number,
           institution=row.hospital_id)  # fmt: skip
    answers = _answers(case)
    if all(answers):
        _automatic(case, "confirm" if Answer.ACCEPTED in answers else "decline", by=by, at=at)


def _answers(case: Consultation) -> list[str]:
    """What every invited hospital answered; one of them alone sees no row but its own."""
    with scoped(EVERYTHING):
        return list(case.participants.values_list("answer", flat=True))


# --- Distribution ---


@transaction.atomic
def pay(
    *, participant: Participant, amount: int, payment_no: str, who: User, by: str, at: dt.datetime
) -> Voucher:
    """Pay an invited hospital its share: the whole of it, once."""
    case, row = _locked(participant)
    _speaks_for(who, row.institution_code, "向受邀方付款")
    _distributed(case, row)
    if row.paid_at:
        raise _conflict("ALREADY_PAID", "该受邀方的款项已支付", "it is paid already")
    if amount != row.share:
        raise refused("amount", "AMOUNT_DIFFERS", f"应支付 {yuan(row.share or 0)} 元，须一次付清",
                      "pay the whole share, not more", clause=CLAUSE)  # fmt: skip
    account = Leg.Account
    voucher = _post(
        case, row, "paid", by=by, at=at, detail={"payment_no": payment_no},
        legs={account.INVITED_PAYABLE: amount, account.CONSULTATION_COLLECTED: -amount},
    )  # fmt: skip
    row.paid_at, row.paid_by, row.payment_no = at, by, payment_no
    row.save(update_fields=["paid_at", "paid_by", "payment_no"])
    news.tell(
        permission=steps.RECORD, region_code=row.hospital.region_id, at=at,
        institution_code=row.hospital_id, url=steps.place(case), subject=case.subject,
        text=f"{case.number}：会诊费 {yuan(amount)} 元已支付，请开具医疗收费票据",
    )  # fmt: skip
    return voucher


@transaction.atomic
def issue_receipt(
    *, participant: Participant, number: str, amount: int, issued_on: dt.date, who: User, by: str,
    at: dt.datetime,
) -> Receipt:  # fmt: skip
    """The invited hospital registers a receipt over what it was paid; never over more."""
    case, row = _locked(participant)
    _speaks_for(who, row.hospital_id, "登记受邀方票据")
    _distributed(case, row)
    if row.paid_at is None:
        raise _conflict("NOT_PAID", "邀请方尚未付款，票据按支付金额开具",
                        "a receipt is over what was paid", clause=CLAUSE)  # fmt: skip
    if not clock.local(row.paid_at).date() <= issued_on <= clock.local(at).date():
        raise refused("issued_on", "DAY_NOT_POSSIBLE", "开票日应在付款之后，且不晚于今天",
                      "after the payment and not in the future")  # fmt: skip
    if Receipt.objects.filter(hospital=row.hospital_id, number=number).exists():
        raise refused("number", "RECEIPT_TAKEN", "该票据号已登记", "the receipt is known",
                      status=409, clause=CLAUSE)  # fmt: skip
    given = [receipt.amount for receipt in row.receipts.filter(void_at=None)]
    if amount <= 0 or sum(given) + amount > (row.share or 0):
        raise refused("amount", arithmetic.RECEIPT_AMOUNT_MISMATCH,
                      f"票据金额合计应等于支付金额 {yuan(row.share or 0)} 元",
                      "the receipts are over what was paid", clause=CLAUSE)  # fmt: skip
    receipt = Receipt.objects.create(
        participant=row, hospital=row.hospital, region_code=row.region_code,
        institution_code=row.institution_code, number=number, amount=amount, issued_on=issued_on,
        recorded_at=at, recorded_by=by,
    )  # fmt: skip
    _noted(receipt, "receipt.issue", by=by, at=at, number=number, amount=amount, of=case.number,
           institution=row.hospital_id)  # fmt: skip
    if arithmetic.receipt_fault(row.share or 0, [*given, amount]) is None:
        tasks.close(subject=f"participant:{row.pk}", by=by, at=at)
    return receipt


@transaction.atomic
def void_receipt(*, receipt: Receipt, reason: str, who: User, by: str, at: dt.datetime) -> None:
    """Take a receipt back before it reduced any revenue."""
    case, row = _locked(receipt.participant)
    _speaks_for(who, row.hospital_id, "作废票据")
    found = row.receipts.get(pk=receipt.pk)
    if row.reversed_at or found.void_at:
        raise _conflict("RECEIPT_USED", "票据已用于冲减或已作废", "it was used or is void")
    found.void_at, found.void_reason = at, reason
    found.save(update_fields=["void_at", "void_reason"])
    _ask_for_receipt(row, at=at)
    _noted(found, "receipt.void", by=by, at=at, reason=reason, of=case.number,
           institution=row.hospital_id)  # fmt: skip


@transaction.atomic
def reduce_revenue(
    *, participant: Participant, late_reason: str = "", who: User, by: str, at: dt.datetime
) -> Voucher:
    """Reduce the inviting side's revenue by the paid share, on the ground of equal receipts only."""
    case, row = _locked(participant)
    _speaks_for(who, row.institution_code, "冲减收入")
    _distributed(case, row)
    if row.paid_at is None:
        raise _conflict("NOT_PAID", "尚未向受邀方付款", "it is not paid", clause=CLAUSE)
    if row.reversed_at:
        raise _conflict("ALREADY_REDUCED", "该笔收入已冲减", "the revenue is reduced already")
    receipts = list(row.receipts.filter(void_at=None))
    fault = arithmetic.receipt_fault(row.share or 0, [receipt.amount for receipt in receipts])
    if fault:
        text = {
            arithmetic.RECEIPT_MISSING: "受邀方尚未开具票据，不能冲减收入",
            arithmetic.RECEIPT_AMOUNT_MISMATCH: "受邀方票据金额与支付金额不等，不能冲减收入",
        }[fault]
        raise _conflict(fault, text, "the receipt is the basis of the reversal", clause=CLAUSE)
    _late(case, late_reason, on=clock.local(at).date())
    account = Leg.Account
    voucher = _post(
        case, row, "reduced", by=by, at=at,
        detail={"receipts": [receipt.number for receipt in receipts]},
        legs={account.CONSULTATION_REVENUE: row.share or 0,
              account.INVITED_PAYABLE: -(row.share or 0)},
    )  # fmt: skip
    row.reversed_at = at
    row.save(update_fields=["reversed_at"])
    _settle_if_done(case, by=by, at=at)
    return voucher


def owed(case: Consultation) -> QuerySet[Participant]:
    """The invited hospitals with a share that is not settled yet."""
    rows = case.participants.filter(share__gt=0, reversed_at=None, returned_at=None)
    return rows.select_related("hospital")


def _late(case: Consultation, reason: str, *, on: dt.date) -> None:
    if case.due is None or on <= case.due or case.late_reason:
        return
    if not reason:
        raise steps.late_reason_missing(case)
    case.late_reason = reason
    case.save(update_fields=["late_reason"])


def _settle_if_done(case: Consultation, *, by: str, at: dt.datetime) -> None:
    if not owed(case).exists():
        _automatic(case, "settle", by=by, at=at)


def _ask_for_receipt(row: Participant, *, at: dt.datetime) -> None:
    case = row.consultation
    tasks.open_task(
        subject=f"participant:{row.pk}", permission=steps.RECORD, at=at, status="待开票",
        title=f"{case.number}：收到会诊费后开具票据（{yuan(row.share or 0)} 元）",
        region_code=row.hospital.region_id, institution_code=row.hospital_id,
        url=steps.place(case), due=case.due, clause=f"{_document()} {CLAUSE}",
    )  # fmt: skip


# --- Claims ---


@transaction.atomic
def link_claim(*, case: Consultation, claim_no: str, who: User, by: str, at: dt.datetime) -> Claim:
    """Bind the claim of the same session: same hospital, patient and day, as many charges.

    A claim that was reversed since gives way to another.
    """
    row = Consultation.objects.select_for_update().get(pk=case.pk)
    _speaks_for(who, row.institution_code, "关联结算单据")
    if row.state in ENDED:
        label = PROCEDURES[SLUG].states[row.state].label
        raise refused("claim_no", "CONSULTATION_ENDED", f"会诊{label}，不能关联结算单据",
                      "nothing is charged for it", status=409, clause=CLAUSE)  # fmt: skip
    claim = Claim.objects.filter(institution_code=row.institution_code, claim_no=claim_no).first()
    if claim is None:
        raise refused("claim_no", "CLAIM_UNKNOWN", "本院没有此单据", "no such claim", status=404)
    linked = row.claim_id and steps.claim_stands(row.claim_id)
    if linked or Consultation.objects.filter(claim_id=claim.pk).exists():
        raise refused("claim_no", "CLAIM_LINKED", "会诊或单据已关联", "linked already", status=409)
    last = steps.settlement_of(claim.pk)
    if last is not None and last.state == Settlement.State.REVERSED:
        raise refused("claim_no", "CLAIM_REVERSED", "单据已冲正，不能关联", "the claim was reversed",
                      status=409)  # fmt: skip
    fault = _difference(row, claim)
    if fault:
        raise refused("claim_no", "CLAIM_DIFFERS", fault, "another session", clause="一第3款")
    row.claim_id = claim.pk
    row.save(update_fields=["claim_id"])
    _noted(row, "consultation.link", by=by, at=at, claim=claim.pk)
    return claim


def _difference(case: Consultation, claim: Claim) -> str:
    """Why a claim is not of this session; empty when it is."""
    person = InsuredPerson.objects.filter(pk=claim.person_id).first()
    if person is None or bytes(person.id_hash) != bytes(case.patient_hash):
        return "单据不是同一患者的"
    if claim.service_date != case.session_on:
        return f"单据的服务日期（{claim.service_date}）不是会诊日期"
    quantity = sum(
        ClaimLine.objects.filter(
            claim_id=claim.pk, period=claim.period, service=REMOTE
        ).values_list("quantity", flat=True)
    )
    if quantity != (case.charge_count or 0) * RATIO_ONE:  # quantities are counted in 1/10000
        return f"单据的远程会诊次数与计费次数（{case.charge_count or 0}）不等"
    return ""


# --- Parts ---


def _locked(participant: Participant) -> tuple[Consultation, Participant]:
    """The case, then the participant, locked in this order."""
    case = Consultation.objects.select_for_update().get(pk=participant.consultation_id)
    row = Participant.objects.select_for_update(of=("self",)).select_related("hospital")
    found = row.get(pk=participant.pk)
    found.consultation = case
    return case, found


def _distributed(case: Consultation, row: Participant) -> None:
    if case.state != "distributed" or not row.share:
        raise _conflict("NOT_DISTRIBUTED", "会诊费尚未分配，或该院没有应付款",
                        "the fee is not distributed", clause=CLAUSE)  # fmt: skip


def _post(
    case: Consultation, row: Participant, effect: str, *, legs: Mapping[Leg.Account, int],
    detail: dict, by: str, at: dt.datetime,
) -> Voucher:  # fmt: skip
    return post_voucher(
        kind=Voucher.Kind.SPLIT, effect=f"{case.subject}/{effect}/{row.hospital_id}",
        subject=case.subject, legs=legs, region_code=case.region_code,
        institution_code=case.institution_code, by=by, at=at, clause=f"{_document()} {CLAUSE}",
        detail={"invited": row.hospital_id, **detail},
    )  # fmt: skip


def _automatic(case: Consultation, step: str, *, by: str, at: dt.datetime) -> None:
    """A step that nobody takes: the portal itself, on behalf of whoever acted last."""
    moves.advance(
        case=case, procedure=PROCEDURES[SLUG], handbook=steps.HANDBOOK, step=step,
        by=by or SYSTEM, at=at,
    )  # fmt: skip


def _speaks_for(who: User, code: str, what: str) -> None:
    """Each side acts for itself only; nobody else acts at all."""
    if who.institution_id != code or not who.may(steps.RECORD):
        raise Refused(403, "NOT_YOUR_SIDE", f"“{what}”由另一方办理", clause=CLAUSE)


def _conflict(code: str, chinese: str, english: str, *, clause: str = "") -> Refusal:
    return refused("", code, chinese, english, status=409, clause=clause)


def _document() -> str:
    return PROCEDURES[SLUG].document


def _noted(
    row: Any, action: str, *, by: str, at: dt.datetime, institution: str = "", **detail: Any
) -> None:
    trail.record(
        by=by, at=at, action=action, subject=f"{row._meta.model_name}:{row.pk}",
        region_code=row.region_code, institution_code=institution or row.institution_code,
        detail=detail,
    )  # fmt: skip
