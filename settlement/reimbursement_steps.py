"""What the table of 手工报销 names: checks, effects, the optional clock, words."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from django.urls import reverse

from agreements import deadlines
from audit import tasks
from audit.models import Move
from audit.procedure import PROCEDURES, Due, Handbook, Pauses, Refused, State, Turn, at_level
from audit.text import yuan
from institutions import news
from institutions.calendar import MissingYear
from institutions.holidays import load_calendar
from settlement import appointments, commands, invoices, sealed
from settlement.facts import Claimant
from settlement.models import Claim, Reimbursement, Settlement, Way
from settlement.payment_sources import kept_of, owed_for_claim
from settlement.personal_accounts import no_account

TABLE = "reimbursement"
PHONE = re.compile(r"^\+?\d[\d-]{5,18}\d$")


# --- Checks ---


def told_once(turn: Turn) -> None:
    """The notice names everything at once: a second one may only repeat what the first named."""
    items = set(turn.facts.get("items") or ())
    known = set(PROCEDURES[TABLE].data["documents"])
    if not items <= known:
        raise _refused(turn, 422, "INPUT_UNKNOWN", "没有这一类材料", "items")
    first = Move.objects.filter(subject=turn.case.subject, step="notify").order_by("pk").first()
    if first is not None and not items <= set(first.facts["items"]):
        raise _refused(
            turn,
            409,
            "TOLD_BEFORE",
            "需补正的材料须一次性告知，不能再要求首次告知以外的材料",
            "items",
        )


def claim_entered(turn: Turn) -> None:
    """A calculation comes with its claim (settlement.reimbursements.calculate), never without."""
    if not turn.facts.get("claim"):
        raise _refused(turn, 409, "CLAIM_MISSING", "请录入费用明细并计算", "lines")


def another_person(turn: Turn) -> None:
    """Who calculated does not approve."""
    if turn.by == turn.case.calculated_by:
        raise _refused(turn, 403, "SAME_PERSON", "计算人不能复核自己的计算")


def another_clerk(turn: Turn) -> None:
    """Who changed an account does not confirm it, nor the payment to it."""
    if turn.by == turn.case.pending_by:
        raise _refused(turn, 403, "SAME_PERSON", "提交账户更正的人不能复核")


def nothing_held(turn: Turn) -> None:
    """A claim with lines that wait for a person is not paid in part."""
    row = _settled(turn.case)
    if row is None or row.state == Settlement.State.REVERSED:
        raise _refused(turn, 409, "NOT_SETTLED", "该申请的结算已冲正，请退回重新计算")
    if row.held:
        raise _refused(turn, 409, "LINES_HELD", "有明细待人工审核，审核后才能复核报销")


def something_payable(turn: Turn) -> None:
    """Nothing is approved that pays nothing, or another amount than the ledger owes."""
    due = owed_for_claim(turn.case.claim_id)
    if due != turn.case.payable:
        words = f"结算已变动，账上应付个人 {yuan(due)} 元，请刷新后重新复核"
        raise _refused(turn, 409, "CLAIM_CHANGED", words)
    if due <= kept_of(turn.case.subject):
        raise _refused(turn, 409, "NOTHING_PAYABLE", "基金应付金额为零，请办理“复核不予报销”")


def nothing_paid(turn: Turn) -> None:
    """A claim that money was paid for is not taken back: what is too much is recovered."""
    paid = kept_of(turn.case.subject)
    if paid:
        words = (
            f"该申请已支付 {yuan(paid)} 元，不能退回重算或不予报销；多付的请追回，少付的请复核差额"
        )
        raise _refused(turn, 409, "ALREADY_PAID", words)


def account_open(turn: Turn) -> None:
    """Who moved to another region or scheme since the request has no personal account here any more."""
    case: Reimbursement = turn.case
    if case.way != Way.ACCOUNT:
        return
    refusal = no_account(person=case.person, region_code=case.region_code, on=turn.on)
    if refusal is not None:
        fault = refusal.faults[0]
        raise Refused(422, fault.code, fault.detail[0], clause=fault.clause, field="way")


def account_given(turn: Turn) -> None:
    """A correction comes with its account (settlement.reimbursements.correct_account)."""
    if not turn.facts.get("account"):
        raise _refused(turn, 422, "ACCOUNT_MISSING", "请填写更正后的收款账户", "number")


def _refused(turn: Turn, status: int, code: str, words: str, field: str = "") -> Refused:
    return Refused(status, code, words, clause=turn.step.clause, field=field)


def _settled(case: Reimbursement) -> Settlement | None:
    rows = Settlement.objects.filter(claim_id=case.claim_id or 0)
    return rows.order_by("-version").first()


# --- Effects ---


def keep_claim(turn: Turn) -> None:
    """The claim, what it owes the person, and who calculated."""
    case: Reimbursement = turn.case
    case.claim_id, case.payable = turn.facts["claim"], turn.facts["payable"]
    case.calculated_by, case.approved_by = turn.by, ""


def keep_owed(turn: Turn) -> None:
    """What the claim's new version owes the person, or what the person keeps of the one before."""
    turn.case.payable = turn.facts["payable"]


def undo_claim(turn: Turn) -> None:
    """Reverse the claim that this request entered; one that the institution uploaded stays."""
    case: Reimbursement = turn.case
    row, claim = _settled(case), Claim.objects.filter(pk=case.claim_id or 0).first()
    own = claim is not None and case.entered.filter(claim_id=claim.pk).exists()
    if row is not None and own and row.state != Settlement.State.REVERSED:
        commands.reverse(
            institution=Claimant.of(case.provider), claim_id=row.claim_id,
            reason=f"{turn.step.label}：{turn.note}"[:200], by=turn.by, at=turn.at,
            entered=True,
        )  # fmt: skip
    case.claim_id, case.payable, case.calculated_by, case.approved_by = None, None, "", ""


def keep_approver(turn: Turn) -> None:
    """Who approved the payment."""
    turn.case.approved_by = turn.by


def free_invoice(turn: Turn) -> None:
    """The invoice of a request that never had a claim can be used again."""
    if not Move.objects.filter(subject=turn.case.subject, step="calculate").exists():
        invoices.release(holder=turn.case.subject, at=turn.at)


def free_slot(turn: Turn) -> None:
    """The place of an appointment that has not come yet is free again."""
    slot = turn.case.slot
    if slot is not None and slot.day >= turn.on:
        appointments.give_back(slot=slot)
        turn.case.slot = None


def keep_account(turn: Turn) -> None:
    """The corrected account waits for a second person."""
    turn.case.pending_account, turn.case.pending_by = dict(turn.facts["account"]), turn.by


def use_account(turn: Turn) -> None:
    """The confirmed account is the one that is paid to."""
    _pay_to(turn.case, turn.case.pending_account)
    drop_account(turn)


def change_account(turn: Turn) -> None:
    """Another account is paid to, if somebody else approves the payment."""
    _pay_to(turn.case, turn.facts["account"])
    turn.case.pending_by = turn.by


def _pay_to(case: Reimbursement, account: Mapping[str, Any]) -> None:
    for name, value in sealed.from_json(dict(account)).items():
        setattr(case, name, value)
    case.way = Way.BANK


def drop_account(turn: Turn) -> None:
    """Nothing waits any more."""
    turn.case.pending_account, turn.case.pending_by = {}, ""


# --- The clock ---


def due(case: Any, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day by the table's clock; none where it is off or the request is older than it."""
    rule: Mapping[str, Any] = PROCEDURES[TABLE].data["clocks"][state.within or state.stops]
    if not rule["active"] or start < rule["from"]:
        return Due(None)
    clause = f"{rule['document']} {rule['clause']}"
    try:
        found = deadlines.clock(
            step=TABLE, start=start, pauses=pauses, procedures={TABLE: rule},
            calendar=load_calendar(case.region_code),
        )  # fmt: skip
    except MissingYear as missing:
        return Due(None, clause=clause, unknown=missing.year)
    return Due(found.day, nominal=found.nominal if found.day else None, clause=clause)


def ask_for_year(case: Reimbursement, *, at: dt.datetime) -> None:
    """A task for the bureau to import the year that a clock waits for."""
    year = case.due_unknown
    if year is None:
        return
    area = at_level(case.region_code, "prefecture")
    tasks.open_task(
        subject=f"calendar:{area}:{year}", permission="calendar.import", at=at, region_code=area,
        title=f"导入{year}年工作日历：有办理期限因缺少该年日历而不能计算", procedure="calendar",
        status="缺少日历", due_unknown=year, clause="民法典203",
        url=f"{reverse('registry-calendars')}?year={year}",
    )  # fmt: skip


# --- Words ---


def describe(case: Any) -> str:
    """What its tasks are called; no name of a person."""
    return f"手工报销 {case.number}（{case.get_kind_display()}）"


def place(case: Any) -> str:
    """The address of a request."""
    return reverse("reimbursement", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """Whoever goes on with it hears of it; a missing calendar year is asked for."""
    ask_for_year(turn.case, at=turn.at)
    if state.holder:
        news.tell(
            permission=state.holder, region_code=turn.case.region_code, institution_code="",
            text=f"{describe(turn.case)}：{turn.step.label}", url=place(turn.case),
            subject=turn.case.subject, at=turn.at,
        )  # fmt: skip


HANDBOOK = Handbook(
    checks={
        "told_once": told_once, "claim_entered": claim_entered, "another_person": another_person,
        "another_clerk": another_clerk, "nothing_held": nothing_held,
        "something_payable": something_payable, "nothing_paid": nothing_paid, "account_given": account_given,
        "account_open": account_open,
    },
    effects={
        "keep_claim": keep_claim, "keep_owed": keep_owed, "undo_claim": undo_claim,
        "keep_approver": keep_approver, "free_invoice": free_invoice, "free_slot": free_slot,
        "keep_account": keep_account, "use_account": use_account, "drop_account": drop_account,
        "change_account": change_account,
    },
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip
