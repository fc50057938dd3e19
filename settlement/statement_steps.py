"""The procedure of a statement (procedures/statement.yaml): what its steps check and do; deductions.

Sent to the institution, confirmed by its person or objected to, answered by another person than the
sender, sent again; decided when the time has passed or an answered objection is raised again.
"""

import datetime as dt
import hashlib
import re
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.urls import reverse

from audit import trail
from audit.access import Person
from audit.models import Move
from audit.moves import advance, refresh
from audit.procedure import Due, Handbook, Pauses, Refused, State, Turn, checked, load
from institutions import news
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution, Region
from institutions.refusals import Refusal, refused
from settlement import payers, statements
from settlement.models import (
    ClaimKey,
    Deduction,
    EnteredClaim,
    Leg,
    LineResult,
    Objection,
    Period,
    Settlement,
    Statement,
)
from settlement.periods import canonical
from settlement.statements import FIGURES, compute, finalise, posted_for
from settlement.terms import CONFIRMATION, cite, working_days_due
from settlement.vouchers import reverse_voucher

PROCEDURE = load(Path(__file__).parent / "procedures" / "statement.yaml")
STEPS = frozenset({"send", "confirm", "object", "answer", "decide"})
#: Where a region's document speaks of deductions: 温州 二十四, 南通 四（三）.
DEDUCTION_CLAUSES = ("二十四", "四（三）")


def take(
    *, statement: Statement, step: str, who: Person, by: str, at: dt.datetime,
    facts: dict[str, Any] | None = None, version: int | None = None,
) -> Move:  # fmt: skip
    """Take a step of a statement for a person; raises audit.procedure.Refused."""
    return advance(
        case=statement, procedure=PROCEDURE, handbook=HANDBOOK, step=step, who=who, by=by, at=at,
        facts=facts, version=version,
    )  # fmt: skip


@transaction.atomic
def send_all(*, period: Period, who: Person, by: str, at: dt.datetime) -> int:
    """Send every draft of a closing month to its institution; how many."""
    rows = Statement.objects.filter(pool=period.pool, period=period.month, state="draft")
    rows = rows.select_for_update().order_by("pk")
    count = 0
    for row in rows:
        take(statement=row, step="send", who=who, by=by, at=at)
        count += 1
    return count


def withdraw(*, period: Period, reason: str, by: str, approved_by: str, at: dt.datetime) -> int:
    """Take back every statement of a month that is opened again: vouchers reversed, drafts once more."""
    rows = list(Statement.objects.filter(pool=period.pool, period=period.month))
    for row in rows:
        with scoped(EVERYTHING):  # what was deducted of another region's claims stands in its book
            for voucher in posted_for(row):
                reverse_voucher(
                    voucher=voucher, reason=reason, by=by, approved_by=approved_by, at=at
                )
        if row.state != "draft":
            advance(case=row, procedure=PROCEDURE, handbook=HANDBOOK, step="reopen", by=by, at=at,
                    note=reason)  # fmt: skip
    return len(rows)


# --- Checks ---


def another_person(turn: Turn) -> None:
    """Whoever sent a statement does not answer what is said against it."""
    sent = Move.objects.filter(subject=turn.case.subject, step="send").order_by("-pk").first()
    if sent is not None and sent.by == turn.by:
        raise Refused(403, "SAME_PERSON", "送达人不能答复或裁定自己送出的结算单")


def disputes_answered(turn: Turn) -> None:
    """Every disputed deduction has been kept or withdrawn."""
    open_ones = turn.case.deductions.filter(state=Deduction.State.DISPUTED).count()
    if open_ones:
        raise Refused(409, "DISPUTES_OPEN", f"还有{open_ones}笔有异议的扣款未作维持或撤销的决定")


def may_be_decided(turn: Turn) -> None:
    """A decision replaces the confirmation only when its time has passed or an answer was no use."""
    case: Statement = turn.case
    if case.state == "objected" and case.round > 1:
        return
    if case.state == "sent" and case.due is not None and turn.on > case.due:
        return
    raise Refused(409, "DECISION_TOO_EARLY", "确认期限未过，或异议尚未答复过，不能裁定")


# --- Effects ---


def effect_compute(turn: Turn) -> None:
    """The figures are those of this moment: deductions may have been withdrawn. What was deducted since
    the institution was told waits for the next statement, unless it is told of this one again."""
    compute([turn.case], take=turn.step.key != "decide")
    turn.case.refresh_from_db(fields=[*FIGURES, "example", "basis"])


def deliver(turn: Turn) -> None:
    """One more round; the draft can be sent only while its month is closing."""
    case: Statement = turn.case
    period = Period.objects.filter(pool=case.pool, month=case.period).first()
    if period is None or period.state != Period.State.CLOSING:
        raise Refused(
            409, "PERIOD_NOT_CLOSING", f"{case.period:%Y年%m月}不在关账中，不能送达结算单"
        )
    case.round += 1


def sign(turn: Turn) -> None:
    """The institution's person stands under the figures."""
    turn.case.signed_name = str(turn.facts["signed_name"]).strip()[:60]
    turn.case.signed_at = turn.at


def effect_finalise(turn: Turn) -> None:
    """The figures are final: vouchers are posted in the name of whoever sent them."""
    case: Statement = turn.case
    sent = Move.objects.filter(subject=case.subject, step="send").order_by("-pk").first()
    case.finalised_at = turn.at
    case.digest = digest_of(case)
    decided = turn.step.key == "decide"
    finalise(case, by=sent.by if sent else turn.by, approved_by=turn.by if decided else "",
             at=turn.at)  # fmt: skip


def effect_object(turn: Turn) -> None:
    """The objection of this round; deductions of the claims it names are disputed."""
    case, reason = turn.case, str(turn.facts["reason"]).strip()[:500]
    numbers = claim_numbers(turn.facts.get("claims"))
    known = dict(
        ClaimKey.objects.filter(
            institution_code=case.institution_code, claim_no__in=numbers
        ).values_list("claim_no", "claim_id")
    )
    if missing := [number for number in numbers if number not in known]:
        raise Refused(422, "CLAIM_UNKNOWN", f"没有单据：{'、'.join(missing[:5])}", field="claims")
    Objection.objects.create(
        statement=case, region_code=case.region_code, institution_code=case.institution_code,
        round=case.round, reason=reason, claims=numbers, made_at=turn.at, made_by=turn.by,
        signed_name=str(turn.facts["signed_name"]).strip()[:60],
    )  # fmt: skip
    case.deductions.filter(
        claim_id__in=known.values(), state=Deduction.State.MADE, amount__gt=0
    ).update(state=Deduction.State.DISPUTED, dispute=reason)


def effect_answer(turn: Turn) -> None:
    """What the agency says to the objection of this round."""
    rows = turn.case.objections.filter(round=turn.case.round, answered_by="")
    rows.update(answer=str(turn.facts["answer"]).strip()[:500], answered_at=turn.at,
                answered_by=turn.by)  # fmt: skip


def effect_withdraw(turn: Turn) -> None:
    """A new edition: nothing of the signature before holds for it."""
    case: Statement = turn.case
    case.edition += 1
    case.finalised_at = case.signed_at = None
    case.signed_name = case.digest = ""


def claim_numbers(value: Any) -> list[str]:
    """Claim numbers as typed (commas, spaces, lines) or as a list, each once."""
    parts = re.split(r"[\s,，、;；]+", value) if isinstance(value, str) else value or []
    return list(dict.fromkeys(str(part)[:40] for part in parts if part))


def digest_of(statement: Statement) -> str:
    """SM3 of the figures as they were signed."""
    figures = {name: getattr(statement, name) for name in FIGURES}
    named = {"number": statement.number, "edition": statement.edition, **figures,
             "signed_name": statement.signed_name}  # fmt: skip
    return hashlib.new("sm3", canonical(named)).hexdigest()


# --- Clock and words ---


def due(case: Statement, state: State, start: dt.date, pauses: Pauses) -> Due:
    """The last day for confirming: working days that the region has fixed; none without them."""
    return working_days_due(case.pool, case.region_code, CONFIRMATION, start)


def refresh_unknown(*, year: int, by: str, at: dt.datetime) -> None:
    """A calendar year came in: deadlines that waited for it are known now."""
    for row in Statement.objects.filter(due_unknown=year, closed_at__isnull=True).order_by("pk"):
        refresh(case=row, procedure=PROCEDURE, handbook=HANDBOOK, at=at)


def describe(case: Statement) -> str:
    """What the tasks of a statement are called."""
    name = (
        Institution.objects.filter(pk=case.institution_code).values_list("name", flat=True).first()
    )
    return (f"{name or case.institution_code}{case.period:%Y年%m月}"
            f"{case.get_scheme_display()}结算单")  # fmt: skip


def place(case: Statement) -> str:
    """The address of a statement."""
    return reverse("statement", args=[case.pk])


def told(turn: Turn, state: State) -> None:
    """Whoever has to go on is told; at the end the agency hears the result."""
    case = turn.case
    news.tell(
        permission=state.holder or "statements.prepare", region_code=case.region_code,
        institution_code=case.institution_code, text=f"{describe(case)}：{turn.step.label}",
        url=place(case), subject=case.subject, at=turn.at,
    )  # fmt: skip


HANDBOOK = Handbook(
    checks={
        "another_person": another_person, "disputes_answered": disputes_answered,
        "may_be_decided": may_be_decided,
    },
    effects={
        "compute": effect_compute, "deliver": deliver, "sign": sign, "finalise": effect_finalise,
        "object": effect_object, "answer": effect_answer, "withdraw": effect_withdraw,
    },
    due=due, describe=describe, place=place, told=told,
)  # fmt: skip
checked(HANDBOOK, [PROCEDURE])


# --- Deductions ---


@transaction.atomic
def deduct(
    *, claim_id: int, amount: int, reason: str, note: str, line_no: int | None = None,
    clause: str = "", by: str, at: dt.datetime,
) -> Deduction:  # fmt: skip
    """Cut a claim (or one line) by what should not have been paid, each payer by its share; it bears on the
    next statement that is still a draft. Refused: 404 no such claim or line, 409 reversed, 422 too much.
    """
    settled = Settlement.objects.filter(claim_id=claim_id).order_by("-version").first()
    if settled is None:
        raise Refusal(404, "NOT_FOUND", ("没有此单据", "no such claim"))
    if settled.version % 2 == 0:
        raise refused("claim", "CLAIM_REVERSED", "单据已冲正，没有可扣的金额", "the claim is reversed",
                      status=409)  # fmt: skip
    if paid_to_person(claim_id):
        raise refused("claim", "PAID_TO_PERSON",
                      "该单据由基金支付给参保人（手工报销），不能从机构结算单扣款；需收回的请办理特殊调整",
                      "the fund paid the person, not the institution", status=409)  # fmt: skip
    _known_reason(reason, note)
    clause = clause.strip() or deduction_clause(settled.region_code, settled.service_date)
    if not clause:
        raise refused("clause", "CLAUSE_MISSING", "请填写扣款依据", "name the clause")
    parts = payers.left(settled, _known_line(settled, line_no))
    left = sum(parts.values())
    if not 0 < amount <= left:
        raise refused("amount", "DEDUCTION_TOO_LARGE",
                      f"扣款应大于0且不超过医保已支付而未扣的{left / 100:.2f}元",
                      "more than was paid", clause=clause)  # fmt: skip
    try:
        with transaction.atomic():
            made = Deduction.objects.create(
                region_code=settled.region_code, institution_code=settled.institution_code,
                scheme=settled.scheme, claim_id=claim_id, line_no=line_no, amount=amount,
                reason=reason, note=note.strip()[:200], clause=clause[:120], made_at=at, made_by=by,
                **payers.split(amount, parts),
            )  # fmt: skip
    except IntegrityError as error:
        if "deduction" not in str(error):
            raise
        raise refused("amount", "DEDUCTION_TOO_LARGE", "该单据已被他人扣款，余额不足",
                      "somebody was faster") from error  # fmt: skip
    _recompute(made)
    trail.record(
        by=by, at=at, action="deduction.make", subject=f"claim:{claim_id}",
        region_code=made.region_code, institution_code=made.institution_code,
        detail={"deduction": made.pk, "line": line_no, "amount": amount,
                **{name: getattr(made, name) for name in payers.OTHERS}, "reason": reason,
                "note": made.note, "clause": made.clause, "statement": made.statement_id},
    )  # fmt: skip
    return made


@transaction.atomic
def answer_deduction(
    *, deduction: Deduction, keep: bool, answer: str, by: str, at: dt.datetime
) -> Deduction:
    """Keep or withdraw a deduction: by another person than who made it, before the statement is final.

    What was sent is what the institution confirms: nothing is withdrawn before it objects.
    """
    list(Statement.objects.filter(deductions=deduction.pk).select_for_update(of=("self",)))
    row = Deduction.objects.select_for_update().get(pk=deduction.pk)
    if row.made_by == by:
        raise refused("by", "SAME_PERSON", "扣款人不能维持或撤销自己的扣款", "another person decides",
                      status=403)  # fmt: skip
    if row.state in (Deduction.State.KEPT, Deduction.State.WITHDRAWN) or row.amount < 0:
        raise refused("state", "ALREADY_DECIDED", "该扣款已作决定", "decided before", status=409)
    if row.statement is not None and row.statement.is_final:
        raise refused("state", "STATEMENT_FINAL", "结算单已确认，扣款的变更请办理特殊调整",
                      "the statement is final", status=409)  # fmt: skip
    if not keep and row.statement is not None and row.statement.is_sent:
        raise refused("state", "STATEMENT_SENT",
                      "结算单已送机构确认，扣款不能撤销；请待机构提出异议后撤销，或确认后办理特殊调整",
                      "the institution confirms what it was sent", status=409)  # fmt: skip
    if not answer.strip():
        raise refused("answer", "REASON_MISSING", "请填写答复", "a reason is needed")
    if not keep and _given_back(row):
        raise refused("state", "DEDUCTION_RETURNED", "单据冲正时扣款已退回，不能再撤销",
                      "it was given back", status=409)  # fmt: skip
    row.state = Deduction.State.KEPT if keep else Deduction.State.WITHDRAWN
    row.answer, row.answered_at, row.answered_by = answer.strip()[:500], at, by
    row.save()
    if row.statement is not None and row.statement.state == "draft":
        compute([row.statement])
    trail.record(
        by=by, at=at, action="deduction.keep" if keep else "deduction.withdraw",
        subject=f"claim:{row.claim_id}", region_code=row.region_code,
        institution_code=row.institution_code,
        detail={"deduction": row.pk, "amount": row.amount, "answer": row.answer},
    )  # fmt: skip
    return row


def deduction_clause(region_code: str, day: dt.date) -> str:
    """The clause by which the region's document refuses to pay; '' when it says nothing."""
    pool = Region.objects.get(pk=region_code).policy_region
    for name in DEDUCTION_CLAUSES:
        if found := cite(pool, day, name):
            return f"{found['document']} {found['clause']}"
    return ""


def paid_to_person(claim_id: int) -> bool:
    """Whether the fund's part of a claim is a person's money (手工报销), not the institution's."""
    if EnteredClaim.objects.filter(pk=claim_id).exists():
        return True
    return Leg.objects.filter(claim_id=claim_id, account=Leg.Account.PERSON_PAYABLE).exists()


def uncut(settled: Settlement) -> int:
    """What was paid for a claim, to whomever, and was not cut yet (fen); 0 of a reversed one."""
    return 0 if settled.version % 2 == 0 else sum(payers.left(settled).values())


def deductible(settled: Settlement) -> int:
    """What was paid to an institution for a claim and was not cut yet (fen)."""
    return 0 if paid_to_person(settled.claim_id) else uncut(settled)


def _known_reason(reason: str, note: str) -> None:
    if reason not in Deduction.Reason.values or reason == Deduction.Reason.RETURNED:
        raise refused("reason", "REASON_UNKNOWN", "没有这一扣款类别", "no such reason")
    if not note.strip():
        raise refused("note", "REASON_MISSING", "请填写扣款说明", "say what was found")


def _known_line(settled: Settlement, line_no: int | None) -> int | None:
    lines = LineResult.objects.filter(claim_id=settled.claim_id, version=settled.version)
    if line_no is not None and not lines.filter(line_no=line_no).exists():
        raise refused("line_no", "LINE_UNKNOWN", "没有此明细行", "no such line", status=404)
    return line_no


def _given_back(row: Deduction) -> bool:
    return Deduction.objects.filter(claim_id=row.claim_id, amount__lt=0).exists()


def _recompute(made: Deduction) -> None:
    """A deduction bears at once on the draft that its claim belongs to, if there is one."""
    draft = Statement.objects.filter(
        institution_code=made.institution_code, scheme=made.scheme, state="draft",
        pool__in=Region.objects.filter(pk=made.region_code).values("policy_region"),
    ).order_by("period").first()  # fmt: skip
    if draft is not None:
        compute([draft])
        made.refresh_from_db()


def visible_deductions(user: Any) -> Any:
    """Deductions in a user's scope; an institution sees those of statements that were sent to it."""
    rows = Deduction.objects.visible_to(user)
    if not user.institution_id:
        return rows
    return rows.filter(statement__in=statements.seen_by(user))
