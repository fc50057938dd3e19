"""预付款: proposed by one person, approved by another, paid by the bank, set off against later statements.

An approved advance is owed like a final statement: a payment list pays it, and its ADVANCE voucher is
posted when the bank confirms. Until it stands on a list, two persons may withdraw it. The balance is the
ledger's: what was paid less what came back and was set off; statements and refunds take of it what is
`free`.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction
from django.urls import reverse

from audit import tasks, trail
from institutions import documents
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from institutions.refusals import refused
from settlement.models import Advance, Scheme
from settlement.payment_sources import list_of, paid_of

State = Advance.State


@transaction.atomic
def propose(
    *, institution: Institution, scheme: str, amount: int, reason: str, file: tuple[str, bytes],
    document: str = "", by: str, at: dt.datetime,
) -> Advance:  # fmt: skip
    """Ask for an advance (fen) to an institution in a scheme with its file; finance decides.

    `document` is the number of the document by which it is asked for, `file` name and content.
    """
    if scheme not in Scheme.values:
        raise refused("scheme", "SCHEME_UNKNOWN", "没有此险种", "no such scheme")
    if amount <= 0:
        raise refused("amount", "AMOUNT_INVALID", "预付金额应大于0", "the amount must be positive")
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写预付事由", "a reason is needed")
    row = Advance.objects.create(
        region_code=institution.region_id, institution_code=institution.pk, scheme=scheme,
        amount=amount, reason=reason.strip()[:200], document=document.strip()[:120],
        file=documents.store(content=file[1], name=file[0], kind="advance", by=by, at=at,
                             institution=institution),
        proposed_at=at, proposed_by=by,
    )  # fmt: skip
    tasks.open_task(
        subject=row.subject, permission="payments.approve", at=at,
        title=f"{institution.name}{row.get_scheme_display()}预付款待复核",
        region_code=row.region_code, institution_code=row.institution_code,
        url=reverse("advances"), status=row.get_state_display(),
    )  # fmt: skip
    _record(row, "advance.propose", by=by, at=at)
    return row


@transaction.atomic
def decide(*, advance: Advance, agree: bool, decision: str, by: str, at: dt.datetime) -> Advance:
    """Another person approves the advance, which is then owed, or refuses it.

    Refused: 403 the proposer, 409 decided before.
    """
    row = Advance.objects.select_for_update().get(pk=advance.pk)
    if row.proposed_by == by:
        raise refused("by", "SAME_PERSON", "提出人不能复核自己的预付款", "another person decides",
                      status=403)  # fmt: skip
    if row.state != State.PROPOSED:
        raise refused("state", "ALREADY_DECIDED", "该预付款已办结", "decided before", status=409)
    if not agree and not decision.strip():
        raise refused("decision", "REASON_MISSING", "请填写不予拨付的理由", "a reason is needed")
    row.state = State.APPROVED if agree else State.REFUSED
    row.decided_at, row.decided_by, row.decision = at, by, decision.strip()[:200]
    row.save()
    tasks.close(subject=row.subject, by=by, at=at)
    _record(row, "advance.approve" if agree else "advance.refuse", by=by, at=at)
    return row


@transaction.atomic
def ask_withdrawal(*, advance: Advance, reason: str, by: str, at: dt.datetime) -> Advance:
    """Ask that an approved advance be withdrawn; it is owed no more until another person decides.

    Refused (409): not approved, on a payment list, paid.
    """
    row = _approved(advance, State.APPROVED)
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写撤回理由", "a reason is needed")
    row.state, row.undo_reason = State.WITHDRAWING, reason.strip()[:200]
    row.undo_asked_at, row.undo_asked_by = at, by
    row.save()
    tasks.open_task(
        subject=row.subject, permission="payments.approve", at=at,
        title=f"{row.get_scheme_display()}预付款 {row.amount / 100:.2f} 元待撤回复核",
        region_code=row.region_code, institution_code=row.institution_code,
        url=reverse("advances"), status=row.get_state_display(),
    )  # fmt: skip
    _record(row, "advance.ask_withdrawal", by=by, at=at)
    return row


@transaction.atomic
def decide_withdrawal(*, advance: Advance, agree: bool, by: str, at: dt.datetime) -> Advance:
    """Another person withdraws the advance for good, or it is owed again."""
    row = _approved(advance, State.WITHDRAWING)
    if row.undo_asked_by == by:
        raise refused("by", "SAME_PERSON", "申请人不能复核自己的撤回", "another person decides",
                      status=403)  # fmt: skip
    if agree:
        row.state, row.undone_at, row.undone_by = State.WITHDRAWN, at, by
    _record(row, "advance.withdraw" if agree else "advance.keep", by=by, at=at)
    if not agree:
        row.state, row.undo_reason = State.APPROVED, ""
        row.undo_asked_at, row.undo_asked_by = None, ""
    row.save()
    tasks.close(subject=row.subject, by=by, at=at)
    return row


def _approved(advance: Advance, state: State) -> Advance:
    """The advance, locked as payment lists lock it; of which nothing is paid or under way."""
    row = Advance.objects.select_for_update(of=("self",)).get(pk=advance.pk)
    if row.state != state:
        text = f"预付款{row.get_state_display()}，不能办理撤回"
        raise refused("state", "NOT_WITHDRAWN", text, f"it is {row.state}", status=409)
    if number := list_of(row.subject):
        raise refused("state", "ON_A_LIST", f"已在清单 {number}，先从清单撤下", "it is on a list",
                      status=409)  # fmt: skip
    if paid_of(row.subject):
        raise refused("state", "ADVANCE_PAID", "银行已付款，应办理退款", "it was paid", status=409)
    return row


BALANCE = """SELECT v.institution_code, v.scheme, sum(l.amount)::bigint FROM settlement_voucher v
JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 9
WHERE v.institution_code = ANY(%s) GROUP BY 1, 2 HAVING sum(l.amount) <> 0"""


def balances(codes: Iterable[str]) -> dict[tuple[str, str], int]:
    """(Institution, scheme) → what was paid in advance and not set off yet (fen)."""
    with connection.cursor() as cursor:
        cursor.execute(BALANCE, [list(codes)])
        return {(code, scheme): amount for code, scheme, amount in cursor.fetchall()}


#: What statements that were sent set off, and refunds that wait, are spoken for before they are posted.
FREE = """SELECT institution_code, scheme, sum(amount)::bigint FROM (
    SELECT v.institution_code, v.scheme, l.amount FROM settlement_voucher v JOIN settlement_leg l
        ON l.claim_id = v.id AND l.period = v.period AND l.account = 9
    UNION ALL
    SELECT institution_code, scheme, -set_off FROM settlement_statement
    WHERE state = 'sent' AND id <> ALL(%(besides)s)
    UNION ALL
    SELECT o.payee_institution_id, o.scheme, -r.amount FROM settlement_refund r
        JOIN settlement_paymentorder o ON o.id = r.order_id AND o.subject LIKE 'advance:%%'
    WHERE r.state = 'recorded'
) f WHERE institution_code = ANY(%(codes)s) GROUP BY 1, 2 HAVING sum(amount) <> 0"""


def free(codes: Iterable[str], *, besides: Iterable[int] = ()) -> dict[tuple[str, str], int]:
    """(Institution, scheme) → its balance that no sent statement (`besides` left out) sets off and no
    refund takes (fen); the advances stay locked, so that none of it is spoken for twice.
    """
    given: dict[str, list[Any]] = {"codes": list(codes), "besides": list(besides)}
    with scoped(EVERYTHING), connection.cursor() as cursor:  # a list may be of an agency above
        rows = Advance.objects.filter(institution_code__in=given["codes"]).order_by("pk")
        list(rows.select_for_update().values_list("pk"))
        cursor.execute(FREE, given)
        return {(code, scheme): amount for code, scheme, amount in cursor.fetchall()}


def _record(row: Advance, action: str, *, by: str, at: dt.datetime) -> None:
    trail.record(
        by=by, at=at, action=action, subject=row.subject, region_code=row.region_code,
        institution_code=row.institution_code,
        detail={"scheme": row.scheme, "amount": row.amount, "reason": row.reason,
                "document": row.document, "file": row.file_id, "decision": row.decision,
                "withdrawal": row.undo_reason},
    )  # fmt: skip
