"""What the table of remote consultations names: its guards, checks, effects, clock and words.

Every number is of the release in force on the day of the consultation. (吉卫便函〔2021〕3号 一)
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from audit import clock, tasks
from audit.procedure import Due, Handbook, Pauses, Refused, State, Turn
from institutions import news
from institutions.access import EVERYTHING, scoped
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from institutions.models import Institution
from institutions.money import MoneyError, fen, yuan
from pricing.document import Policy
from pricing.releases import current
from settlement import consultation as arithmetic
from settlement.facts import examples_allowed
from settlement.models import (
    Claim,
    Consultation,
    Leg,
    Participant,
    Settlement,
    SplitAgreement,
    Voucher,
)
from settlement.vouchers import post_voucher, reverse_voucher

RECORD = "consultations.record"
LONGEST_MINUTES = 24 * 60


@dataclass(frozen=True)
class Price:
    """What one charge costs on a day (fen; None: not known), and whether that is an example."""

    fen: int | None
    example: bool = False


def policy_of(institution: Institution, day: dt.date) -> Policy | None:
    """The document of the institution's pooling region on a day or nearest to it."""
    release = current().policy(institution.region.policy_region, day)
    if release is None or "distribution" not in release.policy.data:
        return None
    return release.policy


def price_on(institution: Institution, day: dt.date) -> Price:
    """The price of a charge on a day: a parameter, since the document does not print it."""
    policy = policy_of(institution, day)
    if policy is None or not arithmetic.in_force(policy.data, day):
        return Price(None)
    key = policy.data["services"]["remote_consult"]["parameter"]
    row = current().rows(policy.region, day, examples=examples_allowed()).get(key)
    return Price(None) if row is None else Price(int(str(row.value)), row.example)


def price_of(case: Consultation) -> Price:
    """The price of its charges: as at the session; one not known then as published since for its day."""
    if not case.charge_count or case.session_on is None:
        return Price(None)
    if case.unit_price is not None:
        return Price(case.unit_price, case.example)
    return price_on(case.inviting, case.session_on)


def amount_of(case: Consultation) -> int | None:
    """What the patient owes for a session: count × price; None while either is not known."""
    price = price_of(case).fen
    return None if price is None else (case.charge_count or 0) * price


def fees_of(case: Consultation, rows: Sequence[Participant]) -> dict[str, int]:
    """The part of the amount for each hospital that is charged; nothing while the price is not known."""
    price = price_of(case).fen
    return {} if price is None else {key: n * price for key, n in counted(case, rows).items()}


def accepted(case: Consultation) -> list[Participant]:
    """The hospitals that said yes, in the order in which they were asked."""
    rows = case.participants.filter(answer=Participant.Answer.ACCEPTED)
    with scoped(EVERYTHING):  # the paper names all of them, whoever of them prints it
        return list(rows.select_related("hospital").order_by("pk"))


def facts_of(rows: Sequence[Participant], ratios: dict[str, int]) -> list[arithmetic.Participant]:
    """Participants as the arithmetic takes them; `ratios` per ten thousand by hospital.

    A hospital that did not come sent no expert.
    """
    whole = arithmetic.WHOLE
    found = []
    for row in rows:
        ratio = ratios.get(row.hospital_id)
        theirs = None if ratio is None else ratio * arithmetic.TEN_THOUSANDTH
        ours = None if theirs is None else whole - theirs
        experts = 0 if row.attended is False else len(row.experts)
        found.append(arithmetic.Participant(row.hospital_id, row.tier, experts, ours, theirs))
    return found


def counted(case: Consultation, rows: Sequence[Participant]) -> dict[str, int]:
    """How often each hospital is charged for a session: each provincial one that came once (I-JL-1)."""
    day = case.session_on
    policy = None if day is None else policy_of(case.inviting, day)
    if day is None or policy is None or not arithmetic.in_force(policy.data, day):
        return {}
    return arithmetic.charges(facts_of(rows, {}), policy.data)


def agreements_of(case: Consultation, rows: Sequence[Participant]) -> dict[str, SplitAgreement]:
    """The agreement in force on the day of the consultation, by invited hospital."""
    found = {}
    for row in rows:
        agreement = SplitAgreement.objects.binding(
            inviting=case.inviting_id, invited=row.hospital_id, on=case.session_on
        ).first()
        if agreement is not None:
            found[row.hospital_id] = agreement
    return found


def settlement_of(claim_id: int) -> Settlement | None:
    """What became of a claim last: settled, reversed, settled again."""
    return Settlement.objects.filter(claim_id=claim_id).order_by("-version").first()


def claim_stands(claim_id: int) -> bool:
    """Whether a claim has money posted that can be reversed, or may have yet."""
    last = settlement_of(claim_id)
    if last is None or last.state == Settlement.State.REVIEW:
        return True
    if last.state in (Settlement.State.REVERSED, Settlement.State.REJECTED):
        return False
    posted = Leg.objects.filter(claim_id=claim_id, version=last.version, period=last.period)
    return posted.exists()


# --- Guards ---


def charged_here(case: Consultation) -> bool:
    """Whether the document says what is charged: provincial experts took part."""
    return bool(case.charge_count)


def not_charged(case: Consultation) -> bool:
    return not charged_here(case)


# --- Checks ---


def explained_and_agreed(turn: Turn) -> None:
    """Item and price are explained and the patient agrees, before anything is charged (一第1款)."""
    for key, missing in (("explained", "未向患者说明项目和收费标准"), ("agreed", "患者未表示同意")):
        if turn.facts.get(key) is not True:
            raise Refused(422, "NO_CONSENT", f"{missing}，不能继续", clause="一第1款", field=key)


def session_possible(turn: Turn) -> None:
    """A consultation took place on a day that has come, lasted some minutes, and followed consent."""
    case, day = turn.case, dt.date.fromisoformat(turn.facts["session_on"])
    if day > turn.on or day < clock.local(case.consented_at).date():
        raise Refused(422, "DAY_NOT_POSSIBLE", "会诊日期应在知情同意之后，且不晚于今天",
                      clause="一第1款", field="session_on")  # fmt: skip
    minutes = turn.facts["minutes"]
    if not (minutes.isascii() and minutes.isdigit() and 0 < int(minutes) <= LONGEST_MINUTES):
        raise Refused(422, "MINUTES", "时长应为分钟数", field="minutes")


def attended_by_accepted(turn: Turn) -> None:
    """Only a hospital that said yes can have come."""
    asked = {row.hospital_id for row in accepted(turn.case)}
    if strange := [code for code in turn.facts["attended"] if code not in asked]:
        raise Refused(422, "NOT_INVITED", f"没有受邀或没有接受邀请，不能到会：{'、'.join(strange)}",
                      clause="一第3款", field="attended")  # fmt: skip


def collected_in_full(turn: Turn) -> None:
    """The inviting side collects the whole fee, once, by one invoice."""
    case, price = turn.case, price_of(turn.case).fen
    if not price:
        raise Refused(409, "PRICE_UNKNOWN", "多学科会诊价格未录入，不能收费", clause="一第3款")
    try:
        given = fen(turn.facts["amount"].replace(",", ""))
    except MoneyError:
        raise Refused(
            422, "AMOUNT", "应为金额（元），至多两位小数，如 12.00", field="amount"
        ) from None
    if given != case.charge_count * price:
        raise Refused(
            422, "AMOUNT_DIFFERS",
            f"应全额收取 {yuan(case.charge_count * price)} 元"
            f"（{case.charge_count} 次 × {yuan(price)} 元）",
            clause="一第1款", field="amount",
        )  # fmt: skip
    number = turn.facts["invoice_no"]
    taken = Consultation.objects.filter(institution_code=case.institution_code, invoice_no=number)
    if taken.exists():
        raise Refused(409, "INVOICE_TAKEN", "该票据号已用于另一次会诊", field="invoice_no")


def late_with_reason(turn: Turn) -> None:
    """The three months are soft: late is possible, with a reason (I-JL-3)."""
    if turn.case.due and turn.on > turn.case.due and not turn.facts.get("late_reason"):
        raise late_reason_missing(turn.case)


def late_reason_missing(case: Consultation) -> Refused:
    return Refused(
        422, "LATE_REASON_MISSING", f"已超过结算期限（{case.due}），请说明逾期原因",
        clause="一第2款", field="late_reason",
    )  # fmt: skip


def agreements_there(turn: Turn) -> None:
    """Without an agreed ratio nothing can be distributed; the refusal names the hospitals."""
    case = turn.case
    rows = [row for row in accepted(case) if row.fee]
    known = agreements_of(case, rows)
    missing = [row.hospital.name for row in rows if row.hospital_id not in known]
    if missing:
        raise Refused(
            409, "AGREEMENT_MISSING",
            f"会诊日没有双方确认的分配协议，不能分配：{'、'.join(missing)}", clause="一第2款",
        )  # fmt: skip


def money_returned(turn: Turn) -> None:
    """What was paid to an invited hospital comes back before the patient's money does."""
    paid = [row for row in accepted(turn.case) if row.paid_at]
    if paid and not turn.facts.get("returned"):
        names = "、".join(row.hospital.name for row in paid)
        raise Refused(422, "NOT_RETURNED", f"已向{names}付款，请先退回款项再退费",
                      clause="一第2款", field="returned")  # fmt: skip


def claim_reversed(turn: Turn) -> None:
    """The fund's money goes back first: the linked claim is reversed before its ground is taken away."""
    number = turn.case.claim_id
    if number and claim_stands(number):
        claim = Claim.objects.get(pk=number)
        raise Refused(
            409, "CLAIM_STANDS",
            f"关联的结算单据 {claim.claim_no} 尚未冲正，请先冲正该单据再{turn.step.label}",
            clause="一第2款",
        )  # fmt: skip


# --- Effects ---


def keep_consent(turn: Turn) -> None:
    """What was explained: the price of that day per provincial hospital."""
    case = turn.case
    case.consenter, case.consented_at = turn.facts["consenter"], turn.at
    case.explained_price = price_on(case.inviting, turn.on).fen


def ask_hospitals(turn: Turn) -> None:
    """Every invited hospital finds the question in its inbox."""
    case = turn.case
    for row in case.participants.select_related("hospital"):
        tasks.open_task(
            subject=f"participant:{row.pk}", permission=RECORD, at=turn.at,
            title=f"{case.inviting.name}邀请远程会诊（{case.number}）：确认是否参加",
            region_code=row.hospital.region_id, institution_code=row.hospital_id,
            url=place(case), status="待答复", due=case.wanted_on,
            clause=f"{turn.procedure.document} {turn.step.clause}",
        )  # fmt: skip


def keep_session(turn: Turn) -> None:
    """The session and who came, the count, and the price as far as it is known."""
    case = turn.case
    case.session_on = dt.date.fromisoformat(turn.facts["session_on"])
    case.minutes, case.summary = int(turn.facts["minutes"]), turn.facts["summary"]
    rows = accepted(case)
    for row in rows:
        row.attended = row.hospital_id in turn.facts["attended"]
        row.save(update_fields=["attended"])
    case.charge_count = sum(counted(case, rows).values())
    release = current().policy(case.inviting.region.policy_region, case.session_on)
    case.release_id = release.id if release else None
    fix_price(turn)


def fix_price(turn: Turn) -> None:
    """The price of the day of the session: fixed with it, else when the fee is collected."""
    case, price = turn.case, price_of(turn.case)
    if case.unit_price is not None or not price.fen:
        return
    case.unit_price, case.example, case.amount = price.fen, price.example, amount_of(case)
    for hospital, fee in fees_of(case, accepted(case)).items():
        case.participants.filter(hospital=hospital).update(fee=fee)


def keep_entry(turn: Turn) -> None:
    """The count stands in the inpatient record and list (住院病历和清单)."""
    turn.case.entry, turn.case.entered_at = turn.facts["entry"], turn.at


def drop_session(turn: Turn) -> None:
    """What was recorded of a session no longer counts: neither who came nor its place in the list.

    The entry and the experts' words stay readable until they are written anew.
    """
    case = turn.case
    case.session_on = case.minutes = case.release_id = case.entered_at = case.claim_id = None
    case.charge_count = case.unit_price = case.amount = None
    case.example = False
    case.participants.update(attended=None, fee=None)


def post_collection(turn: Turn) -> None:
    """Collected in full, recognised in full (全额确认医疗收入)."""
    case = turn.case
    case.invoice_no, case.collected_at = turn.facts["invoice_no"], turn.at
    account = Leg.Account
    post_voucher(
        kind=Voucher.Kind.CONSULTATION, effect=f"{case.subject}/collected", subject=case.subject,
        legs={account.CONSULTATION_COLLECTED: case.amount,
              account.CONSULTATION_REVENUE: -case.amount},
        region_code=case.region_code, institution_code=case.institution_code, by=turn.by,
        at=turn.at, clause=f"{turn.procedure.document} 一第2款",
        detail={"invoice_no": case.invoice_no, "charge_count": case.charge_count,
                "example": case.example},
    )  # fmt: skip


def fix_shares(turn: Turn) -> None:
    """Shares by the agreements of the day: half up, the inviting side keeps the rest (I-JL-2)."""
    case = turn.case
    rows = accepted(case)
    known = agreements_of(case, rows)
    policy = policy_of(case.inviting, case.session_on)
    ratios = {hospital: agreement.ratio_invited for hospital, agreement in known.items()}
    found = arithmetic.split(case.unit_price, facts_of(rows, ratios), policy.data if policy else {})
    for row in rows:
        share = found.invited.get(row.hospital_id)
        if share is not None:
            row.agreement, row.share = known[row.hospital_id], share
            row.save(update_fields=["agreement", "share"])
    case.distributed_at = turn.at
    case.late_reason = turn.facts.get("late_reason", "") or case.late_reason


def keep_settled(turn: Turn) -> None:
    turn.case.settled_on = turn.on


def undo_postings(turn: Turn) -> None:
    """Every posting is undone, the last one first; receipts become void."""
    case = turn.case
    posted = Voucher.objects.filter(subject=case.subject, reverses=None, reversed_by=None)
    for voucher in posted.order_by("-pk"):
        reverse_voucher(voucher=voucher, reason=turn.note[:200], by=turn.by, at=turn.at)
    case.refund_no, case.refunded_at = turn.facts["refund_no"], turn.at
    for row in case.participants.filter(paid_at__isnull=False):
        row.returned_at = turn.at
        row.save(update_fields=["returned_at"])
        row.receipts.filter(void_at=None).update(void_at=turn.at, void_reason="会诊退费")


def drop_questions(turn: Turn) -> None:
    for pk in turn.case.participants.values_list("pk", flat=True):
        tasks.close(subject=f"participant:{pk}", by=turn.by, at=turn.at)


# --- Clock and words ---


def due(case: Consultation, state: State, start: dt.date, pauses: Pauses) -> Due:
    """Three months from the day of the consultation, whatever state it is in (I-JL-3)."""
    consulted = case.session_on or case.wanted_on
    policy = policy_of(case.inviting, consulted)
    if policy is None:
        return Due(None)
    try:
        found = arithmetic.clock_of(consulted, policy.data, load_calendar(case.region_code))
    except MissingYear as missing:
        return Due(None, unknown=missing.year)
    return Due(found.due, found.nominal, found.clause)


def describe(case: Consultation) -> str:
    """What its tasks are called; no patient is named."""
    return f"{case.inviting.name}远程会诊 {case.number}"


def place(case: Consultation) -> str:
    """The address of a consultation."""
    return reverse("consultation", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """The invited hospitals hear what concerns them: distributed, settled, taken back, cancelled."""
    if turn.step.key not in ("distribute", "settle", "refund", "correct", "withdraw"):
        return
    for row in turn.case.participants.select_related("hospital"):
        if row.answer != Participant.Answer.DECLINED and row.attended is not False:
            news.tell(
                permission=RECORD, region_code=row.hospital.region_id,
                institution_code=row.hospital_id, url=place(turn.case), at=turn.at,
                text=f"{describe(turn.case)}：{turn.step.label}", subject=turn.case.subject,
            )  # fmt: skip


HANDBOOK = Handbook(
    guards={"charged_here": charged_here, "not_charged": not_charged},
    checks={
        "explained_and_agreed": explained_and_agreed, "session_possible": session_possible,
        "attended_by_accepted": attended_by_accepted,
        "collected_in_full": collected_in_full,
        "late_with_reason": late_with_reason, "agreements_there": agreements_there,
        "money_returned": money_returned, "claim_reversed": claim_reversed,
    },
    effects={
        "keep_consent": keep_consent, "ask_hospitals": ask_hospitals, "keep_session": keep_session,
        "keep_entry": keep_entry, "drop_session": drop_session, "fix_price": fix_price,
        "post_collection": post_collection, "fix_shares": fix_shares,
        "keep_settled": keep_settled, "undo_postings": undo_postings,
        "drop_questions": drop_questions,
    },
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip
