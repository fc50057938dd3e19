"""手工报销: requests of persons, moved by their table to a claim, a second person's approval, a payment.

Nothing is computed here: `calculate` enters a claim of channel manual through commands.receive.
(通医保发〔2020〕25号 三（三）第2款)
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q

from audit import clock, moves, procedure, tasks, trail
from audit.models import Move
from audit.text import yuan
from institutions import crypto, documents
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution, Region, User
from institutions.refusals import Fault, Refusal, refused
from institutions.shape import checked, refuse
from pricing.releases import current
from settlement import appointments, commands, contract, invoices, ledger, person_requests, sealed
from settlement.facts import Claimant
from settlement.models import (
    Claim,
    ClaimKey,
    EnteredClaim,
    InsuredPerson,
    PaymentOrder,
    Reimbursement,
    Settlement,
    Way,
)
from settlement.payment_sources import kept_of, owed_for_claim
from settlement.personal_accounts import no_account
from settlement.reimbursement_steps import (
    HANDBOOK,
    PHONE,
    TABLE,
    ask_for_year,
    describe,
    place,
)

File = tuple[str, str, bytes]  #: kind of document, name, content
Kind, Cause = Reimbursement.Kind, Reimbursement.Cause


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks for, as the clerk writes it down."""

    kind: str
    credential: str
    provider: Institution
    cause: str
    service_date: dt.date
    e_invoice_no: str
    amount: int
    way: str = Way.BANK
    account: sealed.Account | None = None
    phone: str = ""
    tracking_no: str = ""
    deferred_until: dt.date | None = None
    slot_id: int | None = None


def manual_channel(provider: Institution, on: dt.date) -> Mapping[str, Any]:
    """The policy's manual channel at an institution on a day, with `document`; empty without one."""
    found = current().policy(provider.region.policy_region, on)
    if found is None or not found.covers(on):
        return {}
    section: Mapping[str, Any] = found.policy.section("manual_channel", {})
    return {**section, "document": found.policy.document} if section else {}


@transaction.atomic
def submit(
    *, asked: Request, region: Region, files: Sequence[File] = (), by: str, at: dt.datetime
) -> Reimbursement:
    """Take a request of a person at an agency; its invoice is used and its appointment booked with it."""
    today = clock.local(at).date()
    law = _allowed(asked, today)
    person = _person(asked.credential)
    _suspended(asked, person)
    _complete(asked, law, today)
    _payable(asked, person, region, today)
    number = _number(region, today)
    case = Reimbursement(
        number=number, kind=asked.kind, person=person, provider=asked.provider, cause=asked.cause,
        service_date=asked.service_date, e_invoice_no=invoices.normal(asked.e_invoice_no),
        amount=asked.amount, way=asked.way, tracking_no=asked.tracking_no.strip(),
        deferred_until=asked.deferred_until, procedure=TABLE, state=table().first.key,
        entered_on=today, region_code=region.pk, opened_at=at, opened_by=by,
    )  # fmt: skip
    case.credential_cipher = crypto.encrypt(asked.credential, bound_to=f"{case.bound_to}:id")
    if asked.phone:
        case.phone_cipher = crypto.encrypt(asked.phone, bound_to=f"{case.bound_to}:phone")
        case.phone_tail = asked.phone[-4:]
    if asked.account is not None and asked.way == Way.BANK:
        _fill(case, sealed.seal(asked.account, bound_to=case.bound_to))
    booking = None
    if asked.slot_id is not None:
        booking = person_requests.booked_by(bytes(person.id_hash), asked.slot_id)
        case.slot = booking.slot if booking else appointments.book(
            slot_id=asked.slot_id, region_code=region.pk, at=at, on=today
        )  # fmt: skip
    _refuse_repeated(case)
    case.save()
    if booking is not None:
        person_requests.came(booking, case, by=by, at=at)
    _use_invoice(case, at)
    attach(case=case, files=files, by=by, at=at)
    moves.opened(case=case, procedure=table(), handbook=HANDBOOK, by=by, at=at, on=today)
    ask_for_year(case, at=at)
    return case


def _allowed(asked: Request, today: dt.date) -> Mapping[str, Any]:
    """The policy's manual channel that a request uses; Refusal where there is none or another way is."""
    if asked.service_date > today:
        raise refused("service_date", "DAY_IN_FUTURE", "就诊日期不能晚于今天", "a day to come")
    law = manual_channel(asked.provider, asked.service_date)
    if not law:
        raise refused("provider", "NO_MANUAL_CHANNEL", "该机构所在统筹区的政策没有手工报销渠道",
                      "the policy has no manual channel")  # fmt: skip
    clause = f"{law['document']} {law['clause']}"
    if asked.kind not in law["channels"]:
        raise refused("kind", "KIND_NOT_ALLOWED", "政策没有这一报销方式", "not a way of the policy",
                      clause=clause)  # fmt: skip
    facts = asked.provider.facts.facts_on(asked.service_date)
    if asked.cause == Cause.NO_FUNCTION and facts is not None and facts.online_settlement:
        raise refused("cause", "SETTLES_ONLINE", "该机构当日登记为可联网结算，请说明其他原因",
                      "the institution settles online", clause=clause)  # fmt: skip
    return law


def _suspended(asked: Request, person: InsuredPerson) -> None:
    """Who says that settling online was suspended must be suspended on that day."""
    suspended = person.suspensions.facts_on(asked.service_date) is not None
    if asked.cause == Cause.SUSPENDED and not suspended:
        raise refused("cause", "NOT_SUSPENDED", "该参保人就诊当日没有被暂停联网结算，请说明其他原因",
                      "settling online was not suspended")  # fmt: skip


def _complete(asked: Request, law: Mapping[str, Any], today: dt.date) -> None:
    """What each way of reimbursement needs."""
    if not invoices.normal(asked.e_invoice_no):
        raise refused("e_invoice_no", "INVOICE_MISSING", "请填写电子发票号（代码和号码）",
                      "the invoice is missing", clause=f"{law['document']} {law['clause']}")  # fmt: skip
    if asked.amount <= 0:
        raise refused("amount", "AMOUNT", "发票金额应大于零", "an amount above zero")
    if asked.way == Way.BANK and asked.account is None:
        raise refused("number", "ACCOUNT_MISSING", "请填写收款账户", "an account is needed")
    if asked.phone and not PHONE.match(asked.phone):
        raise refused("phone", "PHONE_INVALID", "电话应为7至20位数字", "no phone number")
    if asked.kind != Kind.APPOINTMENT and asked.slot_id is not None:
        raise refused("slot", "SLOT_NOT_NEEDED", "只有预约报销选择时段", "no appointment")
    missing = {
        Kind.MAIL: (not asked.tracking_no.strip(), "tracking_no", "邮寄报销请填写快递单号"),
        Kind.APPOINTMENT: (asked.slot_id is None, "slot", "预约报销请选择时段"),
        Kind.DEFERRED: ((asked.deferred_until or dt.date.min) < today, "deferred_until",
                        "延时报销请填写今天或以后的约定提交日"),
    }  # fmt: skip
    lacks, field, words = missing[Kind(asked.kind)]
    if lacks:
        raise refused(field, "MISSING", words, "this way of reimbursement needs it")


def _payable(asked: Request, person: InsuredPerson, region: Region, today: dt.date) -> None:
    """Money goes to a personal account only where the person has one in the region that pays."""
    if asked.way == Way.ACCOUNT and (
        refusal := no_account(person=person, region_code=region.pk, on=today)
    ):
        raise refusal


def _person(credential: str) -> InsuredPerson:
    try:
        number = crypto.id_number(credential)
    except crypto.IdNumberError as error:
        raise Refusal(422, "CREDENTIAL_INVALID", error.texts,
                      (Fault("/credential", "CREDENTIAL_INVALID", error.texts),)) from None  # fmt: skip
    person = InsuredPerson.objects.filter(id_hash=crypto.person_hash(number)).first()
    if person is None:
        raise refused("credential", "PERSON_UNKNOWN", "没有此参保人员", "no such insured person")
    return person


def _number(region: Region, on: dt.date) -> str:
    series = f"BX{region.pk[:4]}-{on.year}"
    return f"{series}-{tasks.next_number(series):05d}"


def _fill(case: Reimbursement, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(case, name, value)


def _refuse_repeated(case: Reimbursement) -> None:
    """Refusal when the invoice was asked for before or its visit was settled online."""
    same = Reimbursement.objects.filter(e_invoice_no=case.e_invoice_no)
    if same.exclude(state__in=("refused", "withdrawn")).exists():
        raise _invoice_used(case.e_invoice_no)
    claims = Claim.objects.filter(
        person_id=case.person_id, institution_code=case.provider_id, document__channel="online"
    )
    for document in claims.values_list("document", flat=True):
        if invoices.normal(document.get("e_invoice_no") or "") == case.e_invoice_no:
            raise _invoice_used(case.e_invoice_no)


def _invoice_used(number: str) -> Refusal:
    fault = invoices.used(number)
    return Refusal(409, fault.code, fault.detail, (fault,))


def _use_invoice(case: Reimbursement, at: dt.datetime) -> None:
    """Use the invoice, unless the institution uploaded the claim of this very visit with it."""
    if uploaded_claim(case) is None:
        invoices.use(
            number=case.e_invoice_no, holder=case.subject, region_code=case.region_code, at=at
        )


def uploaded_claim(case: Reimbursement) -> Claim | None:
    """The manual claim that the institution itself uploaded for the person and invoice, if any."""
    holder = invoices.holder_now(case.e_invoice_no)
    code, _, claim_no = holder.removeprefix("claim:").partition("/")
    if not holder.startswith("claim:") or code != case.provider_id:
        return None
    key = ClaimKey.objects.filter(institution_code=code, claim_no=claim_no).first()
    claim = Claim.objects.filter(pk=key.claim_id).first() if key else None
    return claim if claim is not None and claim.person_id == case.person_id else None


@transaction.atomic
def attach(*, case: Reimbursement, files: Sequence[File], by: str, at: dt.datetime) -> None:
    """Store documents of a request that is still open; institutions never see them."""
    if case.closed_at is not None:
        raise refused("papers", "REQUEST_CLOSED", "该申请已办结，不能再补充材料", "it is closed",
                      status=409)  # fmt: skip
    for kind, name, content in files:
        documents.store(
            content=content, name=name, kind=kind, subject=case.subject, by=by, at=at,
            region_code=case.region_code,
        )  # fmt: skip


def table() -> procedure.Procedure:
    """The procedure's table."""
    return procedure.PROCEDURES[TABLE]


@transaction.atomic
def take_step(
    *, case: Reimbursement, step: str, who: User | None, by: str, at: dt.datetime, note: str = "",
    facts: Mapping[str, Any] | None = None, version: int | None = None,
) -> Move:  # fmt: skip
    """Move a request; Refused or Refusal when it may not, cannot, or lacks something.

    Whoever reverses its claim locks the person before the request, as every posting does.
    """
    if "undo_claim" in table().step(step).effects:
        ledger.lock_persons([case.person_id])
    made = _advance(case, step, who, by, at, note=note, facts=facts, version=version)
    _go_by_ledger(case, by, at)
    return made


def _advance(
    case: Reimbursement, step: str, who: User | None, by: str, at: dt.datetime, **more: Any
) -> Move:
    level = who.level if who else ""
    return moves.advance(case=case, procedure=table(), handbook=HANDBOOK, step=step, who=who,
                         level=level, by=by, at=at, **more)  # fmt: skip


# --- A claim that is settled anew ---


def follow(claims: Iterable[int], *, by: str, at: dt.datetime) -> None:
    """Requests whose claims have a new version go by what the ledger owes for it now.

    In the transaction that posts the version; the persons are locked.
    """
    with scoped(EVERYTHING):
        rows = Reimbursement.objects.filter(claim_id__in=list(claims)).exclude(
            state__in=Reimbursement.OVER
        )
        for case in rows.select_for_update(of=("self",)).order_by("pk"):
            _go_by_ledger(case, by, at)


def refunded(*, subject: str, by: str, at: dt.datetime) -> None:
    """A person gave money back: what was paid too much is settled when all of it came."""
    case = of_subject(subject)
    if case is not None and case.state == "paid":
        _ask_for_difference(case, owed_for_claim(case.claim_id), kept_of(subject), by, at)


def _go_by_ledger(case: Reimbursement, by: str, at: dt.datetime) -> None:
    """Approved anew where more or less is owed than was approved; whoever holds the money is asked
    where it is on its way, or was paid too much."""
    row = Reimbursement.objects.get(pk=case.pk)
    if row.claim_id is None:
        return
    due, kept = owed_for_claim(row.claim_id), kept_of(row.subject)
    before = row.payable or 0
    step, payable = "", due
    if row.state in ("calculated", "approved") and due != before:
        step = "revise"
        if kept and due <= kept:
            step, payable = "settled", kept
    elif row.state == "paid" and due > kept:
        step = "revise"
    if step:
        note = f"结算已变动，应付个人由 {yuan(before)} 元变为 {yuan(due)} 元"
        _advance(case, step, None, by, at, note=note, facts={"payable": payable, "owed": due})
        row.state = case.state
    _ask_for_difference(row, due, kept, by, at)


def _ask_for_difference(row: Reimbursement, due: int, kept: int, by: str, at: dt.datetime) -> None:
    """The task of whoever prepares payments: an order of another amount, or money to get back."""
    subject, words = f"{row.subject}/difference", ""
    live = PaymentOrder.objects.filter(subject=row.subject, state__in=PaymentOrder.LIVE).first()
    if row.state == "paying" and live is not None and live.amount != due - kept:
        words = (f"结算已变动，现应付 {yuan(due - kept)} 元，清单 {live.number} 为 {yuan(live.amount)} 元，"
                 "未送银行的请撤下后重新复核")  # fmt: skip
    elif row.state == "paid" and kept > due:
        words = f"结算已变动，多付 {yuan(kept - due)} 元，请向参保人追回并登记退款"
    if words:
        tasks.open_task(
            subject=subject, permission="payments.prepare", at=at, region_code=row.region_code,
            title=f"{describe(row)}：{words}"[:200], status="结算已变动", url=place(row),
        )  # fmt: skip
    else:
        tasks.close(subject=subject, by=by, at=at)


# --- Calculating: the same kernel as every claim ---


@transaction.atomic
def calculate(
    *, case: Reimbursement, claim: dict | None, who: User, by: str, at: dt.datetime,
    version: int | None = None,
) -> Reimbursement:  # fmt: skip
    """Settle the request: enter its claim, or take the one that the institution uploaded (None)."""
    locked = Reimbursement.objects.select_for_update(of=("self",)).select_related(
        "provider__region"
    ).get(pk=case.pk)  # fmt: skip
    if locked.state != "accepted":
        raise Refusal(
            409, "NOT_ACCEPTED", ("申请不在审核环节，不能计算", "it cannot be settled now")
        )
    found = uploaded_claim(locked)
    if found is not None:
        ledger.lock_persons([found.person_id])  # nobody reverses it meanwhile
        claim_id = found.pk
        _same_fee(locked, found.fee)
    elif claim is None:
        raise refused("lines", "CLAIM_MISSING", "请录入费用明细", "the claim is missing")
    else:
        claim_id = _enter(locked, claim, by, at)
    facts = {"claim": claim_id, "payable": owed_for_claim(claim_id)}
    take_step(
        case=case, step="calculate", who=who, by=by, at=at, facts=facts, version=version
    )  # fmt: skip
    case.refresh_from_db()
    return case


def _enter(case: Reimbursement, given: dict, by: str, at: dt.datetime) -> int:
    """The claim of a request through the contract and the command of every claim; its id."""
    tries = Move.objects.filter(subject=case.subject, step="calculate").count()
    credential = crypto.decrypt(bytes(case.credential_cipher), bound_to=f"{case.bound_to}:id")
    claim = given | {
        "claim_no": case.number + (f"-{tries + 1}" if tries else ""), "channel": "manual",
        "e_invoice_no": case.e_invoice_no, "pay_from_account": False,
        "person": {**given["person"], "credential": credential},
    }  # fmt: skip
    sound = checked(claim, contract.CLAIM)
    refuse(list(contract.inconsistencies(sound, at=at)))
    if contract.local_day(sound["encounter"]["started_at"]) != case.service_date:
        raise refused("started", "DAY_DIFFERS", f"就诊时间应在发票的就诊日期{case.service_date}",
                      "another day than the request's")  # fmt: skip
    _same_fee(case, sum(contract.fee(line) for line in sound["lines"]))
    receipt = commands.receive(
        institution=Claimant.of(case.provider), claim=sound, request=case.subject, by=by, at=at
    )
    claim_id: int = json.loads(receipt.body)["id"]
    EnteredClaim.objects.create(claim_id=claim_id, reimbursement=case, entered_at=at)
    return claim_id


def _same_fee(case: Reimbursement, fee: int) -> None:
    if fee != case.amount:
        raise refused("lines", "AMOUNT_DIFFERS",
                      f"明细合计 {fee / 100:.2f} 元与发票金额 {case.amount / 100:.2f} 元不符",
                      "the lines do not add up to the invoice")  # fmt: skip


def of_subject(subject: str) -> Reimbursement | None:
    """The request that a source of money (`reimbursement:<id>`) is, if it is one."""
    kind, _, key = subject.partition(":")
    return Reimbursement.objects.get(pk=int(key)) if kind == "reimbursement" else None


def settlement_of(case: Reimbursement) -> Settlement | None:
    """The present version of the request's claim."""
    rows = Settlement.objects.filter(claim_id=case.claim_id or 0)
    return rows.order_by("-version").first()


# --- The account, changed by two persons ---


def correct_account(
    *, case: Reimbursement, account: sealed.Account, who: User, by: str, at: dt.datetime,
    version: int | None = None,
) -> Move:  # fmt: skip
    """Propose another account, before or after the approval or after the bank returned the money.

    A second person confirms it: by the approval where that is still to come.
    """
    fields = sealed.as_json(sealed.seal(account, bound_to=case.bound_to))
    step = "redirect" if case.state == "calculated" else "correct"
    return take_step(
        case=case, step=step, who=who, by=by, at=at, facts={"account": fields}, version=version
    )


def reveal(*, case: Reimbursement, reason: str, by: str, at: dt.datetime) -> dict[str, str]:
    """Account, telephone and ID number in clear, against a reason; the reveal is an event."""
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写查看原因", "a reveal needs its reason")
    looked(case=case, action="reveal", by=by, at=at, reason=reason.strip())
    parts = {"credential": (case.credential_cipher, "id"), "phone": (case.phone_cipher, "phone"),
             "holder": (case.holder_cipher, "holder"), "number": (case.number_cipher, "number")}  # fmt: skip
    return {
        key: crypto.decrypt(bytes(cipher), bound_to=f"{case.bound_to}:{field}") if cipher else ""
        for key, (cipher, field) in parts.items()
    }


def looked(*, case: Reimbursement, action: str, by: str, at: dt.datetime, **detail: Any) -> None:
    """A look into a person's data is an event."""
    trail.record(
        by=by, at=at, action=f"reimbursement.{action}", subject=case.subject,
        region_code=case.region_code, person_hash=bytes(case.person.id_hash), detail=detail,
    )  # fmt: skip


# --- A calendar year came in ---


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> int:
    """Clocks that waited for a calendar year or end in it are computed anew; how many changed."""
    rows = Reimbursement.objects.filter(
        Q(due_unknown=year) | Q(due__year=year), closed_at__isnull=True
    )
    changed = 0
    for case in rows.select_for_update().order_by("pk"):
        changed += moves.refresh(case=case, procedure=table(), handbook=HANDBOOK, at=at)
        ask_for_year(case, at=at)
    return changed
