"""Special adjustments by hand (特殊调整): reason class, file, limit by level, two persons, own voucher.

The reason classes and the limits of each level are parameters of the region. What exceeds the limit
of an office is decided by the office above it. An adjustment never touches a claim's settlement: it is
a voucher of its own kind, and is undone by its reversal.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.urls import reverse as address

from audit import clock, tasks, trail
from institutions import documents
from institutions.models import Institution, Region, User
from institutions.refusals import Refusal, refused
from settlement import adjustment_vouchers, sealed
from settlement.models import (
    Adjustment,
    Claim,
    InsuredPerson,
    Leg,
    Refund,
    Settlement,
    Voucher,
    Way,
)
from settlement.payment_sources import kept_of, live
from settlement.personal_accounts import no_account
from settlement.statement_steps import paid_to_person
from settlement.terms import ADJUSTMENT_CLASSES, ADJUSTMENT_LIMITS, Term, terms_of
from settlement.vouchers import post_voucher

State, Subject, Account = Adjustment.State, Adjustment.Subject, Leg.Account
LEVELS = ("county", "prefecture", "province")
LEVEL_WORDS = {"county": "县（市、区）", "prefecture": "设区的市", "province": "省"}
PROPOSE, APPROVE, PAY = "adjustments.propose", "adjustments.approve", "payments.prepare"


@dataclass(frozen=True)
class ReasonClass:
    """A class of reasons: for which subjects, and whether money may only be paid or taken back."""

    code: str
    name: str
    subjects: tuple[str, ...]
    direction: str  #: pay · take · any

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "ReasonClass":
        """From a row of the parameter."""
        return cls(row["code"], row["name"], tuple(row["subjects"]), row["direction"])

    def allows(self, subject: str, amount: int) -> bool:
        """Whether it covers such an adjustment."""
        signs = {"pay": amount > 0, "take": amount < 0, "any": True}
        return subject in self.subjects and signs[self.direction]


@dataclass(frozen=True)
class Wanted:
    """What a person wants adjusted. `amount` in fen, > 0 is paid in addition."""

    reason_class: str
    reason: str
    subject: str
    amount: int
    scheme: str
    institution_code: str = ""
    person: InsuredPerson | None = None
    claim_no: str = ""
    way: str = Way.BANK
    account: sealed.Account | None = None


def classes_of(pool: str, day: dt.date) -> dict[str, ReasonClass]:
    """The reason classes of a pooling region by code; empty where none are fixed."""
    term = terms_of(pool, day).get(ADJUSTMENT_CLASSES)
    rows = [ReasonClass.of(row) for row in term.value] if term else []
    return {row.code: row for row in rows}


def level_for(pool: str, day: dt.date, amount: int, lowest: str) -> tuple[str, int | None, Term]:
    """(level that decides, its limit, the term) for an amount proposed at an office of a level.

    Raises Refusal (409) where the region fixed no limits: then nobody may decide by hand.
    """
    term = terms_of(pool, day).get(ADJUSTMENT_LIMITS)
    if term is None:
        raise Refusal(
            409, "NO_LIMITS", ("本统筹区没有特殊调整限额，不能办理", "no limits are fixed")
        )
    start = LEVELS.index(lowest) if lowest in LEVELS else 0
    for level in LEVELS[start:]:
        limit = term.value.get(level)
        if limit is None or abs(amount) <= limit:
            return level, limit, term
    raise Refusal(
        422, "OVER_EVERY_LIMIT", ("金额超过各级限额", "the amount exceeds the limit of every level")
    )


def propose(
    *, region: Region, wanted: Wanted, file: tuple[str, bytes], by: str, at: dt.datetime
) -> Adjustment:
    """Propose an adjustment with its file; the level that its limit names decides it.

    Raises Refusal: 422 for a class that does not cover it, a subject that is not in the region, no
    file; 409 without limits.
    """
    day = clock.local(at).date()
    name, content = file
    with transaction.atomic():
        _sound(region, wanted, day)
        place, subject = _subject_of(region, wanted)
        level, limit, term = level_for(region.policy_region, day, wanted.amount, region.level)
        number = _number(region, day)
        made = Adjustment(
            number=number, reason_class=wanted.reason_class, reason=wanted.reason.strip(),
            subject=wanted.subject, scheme=wanted.scheme, amount=wanted.amount, level=level,
            limit=limit, clause=term.clause, example=term.example, proposed_by=by, proposed_at=at,
            region_code=place.region_id if place else region.code, **subject,
        )  # fmt: skip
        _give_account(made, wanted, day)
        made.document = documents.store(
            content=content, name=name, kind="adjustment", subject=f"adjustment:{number}",
            region_code=made.region_code, by=by, at=at,
        )  # fmt: skip
        made.save(force_insert=True)
        _record("adjustment.propose", made, by=by, at=at, level=level)
        _ask(made, f"复核特殊调整 {number}：{_signed(made.amount)} 元", at)
    return made


def _sound(region: Region, wanted: Wanted, day: dt.date) -> None:
    if not wanted.amount:
        raise refused("amount", "ZERO", "金额不能为零", "the amount is zero")
    if not wanted.reason.strip():
        raise refused("reason", "REQUIRED", "请填写说明", "a reason is required")
    known = classes_of(region.policy_region, day)
    chosen = known.get(wanted.reason_class)
    if chosen is None:
        raise refused("reason_class", "CLASS_UNKNOWN", "没有此事由类别", "no such reason class")
    if not chosen.allows(wanted.subject, wanted.amount):
        raise refused(
            "reason_class", "CLASS_DOES_NOT_COVER",
            f"“{chosen.name}”不适用于该对象或金额方向", "the class does not cover it",
        )  # fmt: skip


def _give_account(made: Adjustment, wanted: Wanted, day: dt.date) -> None:
    """What a person gets is paid to an account that both persons see before it is posted."""
    if not made.of_person or made.amount < 0:
        return
    made.way = wanted.way
    if wanted.way == Way.ACCOUNT:
        _account_open(made, day)
        return
    if wanted.account is None:
        raise refused(
            "number", "ACCOUNT_MISSING", "补付给参保人须填写收款账户", "an account is needed"
        )
    for name, value in sealed.seal(wanted.account, bound_to=made.bound_to).items():
        setattr(made, name, value)


def _account_open(made: Adjustment, day: dt.date) -> None:
    """Money goes to a personal account only where the person has one in the region that pays."""
    if made.way != Way.ACCOUNT or not made.of_person or made.amount < 0:
        return
    person = InsuredPerson.objects.get(pk=made.person_id or 0)
    if refusal := no_account(person=person, region_code=made.region_code, on=day):
        raise refusal


def _subject_of(region: Region, wanted: Wanted) -> tuple[Institution | None, dict[str, Any]]:
    """The institution, if any, and the columns that name the subject; it lies in the region.

    A claim lies in its institution and scheme; the money of one that was paid to a person (手工报销) is
    the person's.
    """
    found: dict[str, Any] = {"institution_code": wanted.institution_code}
    if wanted.subject == Subject.PERSON:
        if wanted.person is None:
            raise refused("person", "PERSON_UNKNOWN", "没有此参保人员", "no such insured person")
        return None, {"institution_code": "", "person_id": wanted.person.pk}
    place = Institution.objects.filter(
        pk=wanted.institution_code, region__policy_region=region.policy_region
    ).first()
    if place is None:
        raise refused("institution", "INSTITUTION_UNKNOWN", "没有此医疗机构", "no such institution")
    if wanted.subject == Subject.CLAIM:
        claim = Claim.objects.filter(
            institution_code=place.code, claim_no=wanted.claim_no
        ).first()  # fmt: skip
        if claim is None:
            raise refused("claim_no", "CLAIM_UNKNOWN", "该机构没有此单据", "no such claim")
        _same_scheme(claim, wanted.scheme)
        found |= {"claim_id": claim.pk, "person_id": claim.person_id}
        if paid_to_person(claim.pk):
            found["institution_code"] = ""
    return place, found


def _same_scheme(claim: Claim, scheme: str) -> None:
    row = Settlement.objects.filter(claim_id=claim.pk).order_by("-version").first()
    if row is None:
        raise refused("claim_no", "NOT_SETTLED", "该单据尚未结算", "the claim waits", status=409)
    if row.scheme != scheme:
        words = f"险种与单据不符，该单据为{row.get_scheme_display()}"
        raise refused("scheme", "SCHEME_DIFFERS", words, f"the claim is of {row.scheme}")


def approve(*, adjustment: Adjustment, who: User, note: str = "", at: dt.datetime) -> Adjustment:
    """A second person of the deciding level, or above, approves; the voucher is posted."""
    with transaction.atomic():
        found = _locked(adjustment, State.PROPOSED)
        _refuse_same(found.proposed_by, who)
        _refuse_level(found, who)
        _account_open(found, clock.local(at).date())
        found.voucher = adjustment_vouchers.post(found, approved_by=who.username, at=at)
        done = _decided(found, State.POSTED, note, who.username, at)
        if found.of_person:
            _ask_for_money(found, at)
        return done


def refuse(*, adjustment: Adjustment, who: User, note: str, at: dt.datetime) -> Adjustment:
    """A second person does not approve; nothing is posted."""
    if not note.strip():
        raise refused("note", "REQUIRED", "请填写不予批准的理由", "a reason is required")
    with transaction.atomic():
        found = _locked(adjustment, State.PROPOSED)
        _refuse_same(found.proposed_by, who)
        return _decided(found, State.REFUSED, note, who.username, at)


def withdraw(*, adjustment: Adjustment, who: User, at: dt.datetime) -> Adjustment:
    """Whoever proposed it takes it back."""
    with transaction.atomic():
        found = _locked(adjustment, State.PROPOSED)
        if found.proposed_by != who.username:
            raise Refusal(
                403, "OWN_ONLY", ("只有经办人本人可以撤回", "only its maker withdraws it")
            )
        return _decided(found, State.WITHDRAWN, "", who.username, at)


def ask_reversal(*, adjustment: Adjustment, reason: str, by: str, at: dt.datetime) -> Adjustment:
    """Ask that a posted adjustment be undone; a second person does it."""
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写冲销原因", "a reason is required")
    with transaction.atomic():
        found = _locked(adjustment, State.POSTED)
        if found.reversal_asked_by:
            raise Refusal(
                409, "REVERSAL_ASKED", ("已申请冲销，等待复核", "its reversal is asked for")
            )
        _refuse_moved(found)
        found.reversal_asked_by, found.reversal_reason = by, reason.strip()
        found.save()
        _record("adjustment.ask_reversal", found, by=by, at=at, why=found.reversal_reason)
        _ask(found, f"复核冲销特殊调整 {found.number}", at)
    return found


def reverse(*, adjustment: Adjustment, who: User, at: dt.datetime) -> Adjustment:
    """A second person undoes a posted adjustment: its vouchers' legs with the other sign."""
    with transaction.atomic():
        found = _locked(adjustment, State.POSTED)
        if not found.reversal_asked_by or found.voucher is None:
            detail = ("尚未申请冲销", "its reversal was not asked for")
            raise Refusal(409, "REVERSAL_NOT_ASKED", detail)
        _refuse_same(found.reversal_asked_by, who)
        _refuse_level(found, who)
        _refuse_moved(found)
        adjustment_vouchers.undo(found, approved_by=who.username, at=at)
        found.state = State.REVERSED
        found.save()
        tasks.close(subject=_subject(found), by=who.username, at=at)
        _record("adjustment.reverse", found, by=who.username, at=at)
    return found


# --- A person's money ---


def payment_moved(*, subject: str, step: str, by: str, at: dt.datetime) -> None:
    """An adjustment stands on a payment list (`list`), or was taken off it."""
    number = subject.removeprefix("adjustment:")
    if step == "list":
        tasks.close(subject=subject, by=by, at=at, permission=PAY)
    elif step == "unlist":
        _ask_for_money(Adjustment.objects.get(number=number), at)


def refunded(*, subject: str, at: dt.datetime) -> None:
    """A person gave money back: once all of it came, the adjustment is to be undone."""
    if not subject.startswith("adjustment:") or kept_of(subject):
        return
    found = Adjustment.objects.get(number=subject.removeprefix("adjustment:"))
    tasks.open_task(
        subject=subject, permission=PROPOSE, at=at, region_code=found.region_code,
        title=f"特殊调整 {found.number}的款项已全部退回，须冲销后重新提出", clause=found.clause,
        status="待冲销", url=address("adjustment", args=[found.pk]),
    )  # fmt: skip


def _ask_for_money(found: Adjustment, at: dt.datetime) -> None:
    """What is paid waits for a list; what is taken back waits for the person's money."""
    pays = found.amount > 0
    yuan = _signed(abs(found.amount))[1:]
    title = (
        f"列入拨付清单：特殊调整 {found.number}，补付参保人 {yuan} 元"
        if pays
        else f"向参保人追回 {yuan} 元（特殊调整 {found.number}），到账后登记"
    )
    tasks.open_task(
        subject=_subject(found), permission=PAY if pays else PROPOSE, at=at, title=title,
        region_code=found.region_code, clause=found.clause, status="待拨付" if pays else "待追回",
        url=address("payments-due") if pays else address("adjustment", args=[found.pk]),
    )  # fmt: skip


def record_collection(
    *, adjustment: Adjustment, received_on: dt.date, bank_serial: str, by: str, at: dt.datetime
) -> Adjustment:
    """The person paid back the whole amount by bank; a second person posts it."""
    with transaction.atomic():
        found = _locked(adjustment, State.POSTED)
        if not found.of_person or found.amount > 0:
            raise Refusal(
                409, "NOTHING_TO_COLLECT", ("该调整没有向参保人追回的款项", "nothing is owed")
            )
        if found.collected_by:
            raise Refusal(409, "COLLECTION_RECORDED", ("追回款已登记", "it was recorded before"))
        if found.reversal_asked_by:
            raise Refusal(
                409, "REVERSAL_ASKED", ("已申请冲销，不能登记追回", "its reversal is asked for")
            )
        posted_on = clock.local(found.decided_at or at).date()
        if not posted_on <= received_on <= clock.local(at).date():
            raise refused(
                "received_on", "DAY", "到账日应在入账日之后且不晚于今天", "the day is wrong"
            )
        _unused(found.region_code, bank_serial.strip())
        found.collected_on, found.collected_serial = received_on, bank_serial.strip()
        found.collected_by = by
        found.save()
        _record("adjustment.collect", found, by=by, at=at, on=received_on, serial=bank_serial)
        _ask(found, f"复核追回到账：特殊调整 {found.number}，{_signed(-found.amount)[1:]} 元", at)
    return found


def _unused(region_code: str, serial: str) -> None:
    """A bank's serial names money that came back once."""
    if not serial:
        raise refused("bank_serial", "REQUIRED", "请填写银行流水号", "the serial is needed")
    refunds = Refund.objects.filter(region_code=region_code, bank_serial=serial)
    others = Adjustment.objects.filter(region_code=region_code, collected_serial=serial)
    if refunds.exclude(state=Refund.State.REFUSED).exists() or others.exists():
        raise refused("bank_serial", "SERIAL_USED", "该银行流水号已登记过退款或追回", "the serial was used",
                      status=409)  # fmt: skip


def confirm_collection(
    *, adjustment: Adjustment, accept: bool, who: User, at: dt.datetime
) -> Adjustment:
    """A second person posts what came back (debit bank, credit the person's debt), or it is recorded anew."""
    with transaction.atomic():
        found = _locked(adjustment, State.POSTED)
        if not found.collected_by or collected(found):
            raise Refusal(409, "NOTHING_RECORDED", ("没有待复核的追回款", "nothing waits"))
        _refuse_same(found.collected_by, who)
        told = {"on": str(found.collected_on), "serial": found.collected_serial}
        tasks.close(subject=_subject(found), by=who.username, at=at, permission=APPROVE)
        if accept:
            post_voucher(
                kind=Voucher.Kind.REFUND, effect=f"{_subject(found)}/collected",
                subject=_subject(found),
                legs={Account.BANK: -found.amount, Account.PERSON_PAYABLE: found.amount},
                region_code=found.region_code, scheme=found.scheme, reason=found.reason,
                clause=found.clause, by=found.collected_by, approved_by=who.username, at=at,
                detail={"adjustment": found.number, **told},
            )  # fmt: skip
            tasks.close(subject=_subject(found), by=who.username, at=at)
        else:
            found.collected_on, found.collected_serial, found.collected_by = None, "", ""
            found.save()
        action = "adjustment.collected" if accept else "adjustment.uncollected"
        _record(action, found, by=who.username, at=at, **told)
    return found


def collected(found: Adjustment) -> bool:
    """Whether the person's money came back and is posted."""
    return Voucher.objects.filter(effect=f"{_subject(found)}/collected").exists()


def _refuse_moved(found: Adjustment) -> None:
    """What is on its way to the person, is with the person or was collected is not undone."""
    if live([_subject(found)]) or kept_of(_subject(found)) or found.collected_by:
        detail = ("款项已列入拨付清单、已支付而未全部退回或已登记追回，不能冲销", "its money moved")
        raise Refusal(409, "MONEY_MOVED", detail)


def _decided(found: Adjustment, state: str, note: str, by: str, at: dt.datetime) -> Adjustment:
    found.state, found.note, found.decided_by, found.decided_at = state, note.strip(), by, at
    found.save()
    tasks.close(subject=_subject(found), by=by, at=at)
    _record(f"adjustment.{state}", found, by=by, at=at, note=note)
    return found


def _locked(adjustment: Adjustment, state: str) -> Adjustment:
    found = Adjustment.objects.select_for_update().get(pk=adjustment.pk)
    if found.state != state:
        detail = (f"该调整{found.get_state_display()}，不能再处理", f"it is {found.state}")
        raise Refusal(409, "ADJUSTMENT_STATE", detail)
    return found


def _refuse_same(first: str, who: User) -> None:
    if first == who.username:
        raise Refusal(
            403, "SECOND_PERSON", ("须由经办人以外的第二人复核", "a second person has to decide")
        )


def may_decide(found: Adjustment, who: User) -> bool:
    """Whether the office of a person is of the deciding level or above."""
    level = who.level
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(found.level)


def _refuse_level(found: Adjustment, who: User) -> None:
    if not may_decide(found, who):
        wanted = LEVEL_WORDS[found.level]
        detail = (f"金额超过本级限额，须由{wanted}级经办机构审批", f"the {found.level} decides")
        raise Refusal(403, "LEVEL_TOO_LOW", detail)


def _ask(found: Adjustment, title: str, at: dt.datetime) -> None:
    tasks.open_task(
        subject=_subject(found), permission=APPROVE, at=at, title=title[:200],
        region_code=found.region_code, clause=found.clause,
        url=address("adjustment", args=[found.pk]),
    )  # fmt: skip


def _number(region: Region, day: dt.date) -> str:
    series = f"TZ{region.code}-{day:%Y}"
    return f"{series}-{tasks.next_number(series):05d}"


def _signed(amount: int) -> str:
    sign = "-" if amount < 0 else "+"
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def _subject(found: Adjustment) -> str:
    return found.bound_to


def _record(action: str, found: Adjustment, *, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=action, subject=_subject(found), region_code=found.region_code,
        institution_code=found.institution_code,
        detail={"amount": found.amount, "class": found.reason_class, "subject": found.subject,
                "claim": found.claim_id, **detail},
    )  # fmt: skip


# --- The report ---


def sums_by_class(rows: QuerySet[Adjustment]) -> list[dict[str, Any]]:
    """Posted adjustments per class: how many, paid in addition, taken back, net (fen)."""
    posted = rows.filter(state=State.POSTED)
    sums = (
        posted.values("reason_class").annotate(
            paid=Sum("amount", filter=Q(amount__gt=0), default=0),
            taken=Sum("amount", filter=Q(amount__lt=0), default=0),
            net=Sum("amount"), count=Count("pk"),
        ).order_by("reason_class")
    )  # fmt: skip
    return [dict(row) for row in sums]
