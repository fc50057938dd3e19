"""回避: an inspector declares it or the party asks for it; somebody else decides, with a reason and a paper.

Whoever declared it or was recused does nothing more in the case; at least two inspectors remain before it
goes on (case_steps.enough_inspectors). (国务院令第735号 第29条)
"""

import datetime as dt

from django.db import transaction

from audit import clock, tasks, trail
from institutions.models import User
from institutions.refusals import Refusal, refused
from supervision import case_steps, law
from supervision.case_writs import receipt
from supervision.hands import handle_of, head_of, person, signed
from supervision.models import CaseInspector, CasePaper, SupervisionCase
from supervision.writs import Service, addressee_of, ground, make_paper, whole

Recusal = CaseInspector.Recusal
WHAT = "申请回避"


@transaction.atomic
def ask(*, inspector: CaseInspector, reason: str, who: User, at: dt.datetime) -> CaseInspector:
    """An inspector declares the own recusal, or the institution concerned asks for one's."""
    row = _open(inspector)
    own = row.username == who.username
    if not own and who.institution_id != (row.case.party or None):
        raise Refusal(403, "NOT_THE_PARTY", ("只有本人或当事机构可以提出", "not the party"))
    applicant = person(who.username) if own else addressee_of(row.case)
    return _asked(row, Recusal.DECLARED if own else Recusal.ASKED, applicant, reason,
                  clock.local(at).date(), who, at)  # fmt: skip


@transaction.atomic
def record(
    *, inspector: CaseInspector, applicant: str, reason: str, on: dt.date, who: User,
    at: dt.datetime,
) -> CaseInspector:  # fmt: skip
    """Record what a party asked on paper or by word of mouth: an insured person has no portal."""
    row = _open(inspector)
    if not who.may(handle_of(row.case)):
        raise Refusal(403, "NOT_YOURS", ("您的角色不能登记", "your role may not do this"))
    if row.username == who.username:
        raise refused("inspector", "OWN_RECUSAL", "对本人的回避申请由他人登记", "another records it",
                      status=403)  # fmt: skip
    if not applicant.strip():
        raise refused("applicant", "REQUIRED", "请填写申请人", "the applicant is needed")
    if not clock.local(row.case.opened_at).date() <= on <= clock.local(at).date():
        raise refused("on", "DAY_OUTSIDE", "收到日应在立案之日与今天之间", "the day is outside")
    return _asked(row, Recusal.ASKED, applicant.strip()[:120], reason, on, who, at)


@transaction.atomic
def decide(
    *, inspector: CaseInspector, grant: bool, reason: str, service: Service, who: User,
    at: dt.datetime,
) -> CasePaper:  # fmt: skip
    """The head, who neither asked nor inspects, decides with a reason: 回避决定书 with its 送达回证."""
    row = CaseInspector.objects.select_for_update(of=("self",)).select_related("case").get(
        pk=inspector.pk)  # fmt: skip
    if not row.recusal or row.recused is not None:
        raise refused("recusal", "NOTHING_ASKED", "没有待决定的回避申请", "nothing to decide",
                      status=409)  # fmt: skip
    if not who.may(head_of(row.case)):
        raise Refusal(403, "NOT_YOURS", ("您的角色不能决定回避", "your role may not do this"))
    hands = {row.recusal_by, *row.case.inspectors.values_list("username", flat=True)}
    if who.username in hands:
        raise refused("by", "SAME_PERSON", "须由他人决定回避", "another person decides", status=403)
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请写明决定理由", "a reason is needed")
    today = clock.local(at).date()
    whole(service, since=row.recusal_on or today, today=today)
    row.recused, row.decided_by, row.decided_at = grant, who.username, at
    row.decision_reason = reason.strip()[:400]
    row.save()
    paper = _decision(row, service.on, at)
    receipt(paper, service, by=who.username, at=at)
    tasks.close(subject=_task(row), by=who.username, at=at)
    _event(row.case, "recusal_decided", who.username, at, inspector=row.username, granted=grant,
           reason=row.decision_reason, number=paper.number)  # fmt: skip
    return paper


def _open(inspector: CaseInspector) -> CaseInspector:
    row = CaseInspector.objects.select_for_update(of=("self",)).select_related("case").get(
        pk=inspector.pk)  # fmt: skip
    if row.recusal and row.recused is not False:
        raise refused(
            "recusal", "RECUSAL_ASKED", "该检查人员已提出回避", "asked before", status=409
        )
    return row


def _asked(
    row: CaseInspector, kind: str, applicant: str, reason: str, on: dt.date, who: User,
    at: dt.datetime,
) -> CaseInspector:  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请写明理由", "a reason is needed")
    case = row.case
    row.recusal, row.recusal_reason = kind, reason.strip()[:400]
    row.recusal_by, row.recusal_at = who.username, at
    row.recusal_for, row.recusal_on, row.recused = applicant[:120], on, None
    row.decided_by, row.decided_at, row.decision_reason = "", None, ""
    row.save()
    apart = who.institution_id or kind == Recusal.DECLARED
    paper = make_paper(
        case, CasePaper.Kind.REQUEST,
        {"case": case.number, "title": case.title, "what": f"{WHAT}：{signed(case, row.username)}",
         "applicant": row.recusal_for, "asked_on": str(on), "reasons": row.recusal_reason,
         "recorded_by": "" if apart else signed(case, who.username)},
        on=clock.local(at).date(), by=who.username, at=at,
    )  # fmt: skip
    _event(case, "recusal", who.username, at, inspector=row.username, kind=kind, on=on,
           reason=row.recusal_reason, number=paper.number)  # fmt: skip
    tasks.open_task(
        subject=_task(row), permission=head_of(case), at=at,
        title=f"决定检查人员是否回避：{case.number}", region_code=case.region_code,
        procedure=case.procedure, url=case_steps.place(case),
        clause=case_steps.document(ground(case, "29")),
    )  # fmt: skip
    return row


def _decision(row: CaseInspector, on: dt.date, at: dt.datetime) -> CasePaper:
    case, own = row.case, row.recusal == Recusal.DECLARED
    return make_paper(
        case, CasePaper.Kind.RECUSAL,
        {"case": case.number, "title": case.title, "inspector": signed(case, row.username),
         "kind": row.get_recusal_display(), "applicant": row.recusal_for,
         "asked_on": str(row.recusal_on), "reasons": row.recusal_reason, "granted": row.recused,
         "opinion": row.decision_reason, "decided_by": person(row.decided_by),
         "least": law.inspectors_needed()},
        on=on, by=row.decided_by, at=at,
        addressee=row.recusal_for if own else "",
    )  # fmt: skip


def _task(row: CaseInspector) -> str:
    return f"caseinspector:{row.pk}"


def _event(case: SupervisionCase, what: str, by: str, at: dt.datetime, **detail: object) -> None:
    trail.record(
        by=by, at=at, action=f"supervisioncase.{what}", subject=case.subject,
        region_code=case.region_code, institution_code=case.institution_code, detail=detail,
    )  # fmt: skip
