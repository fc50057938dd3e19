"""回避 in an inspection: asked for on paper, decided by whoever approves the side's plans, with a reason.

The inspector declares it, or the institution asks for it once the notice was served (in the portal, or on
paper and recorded by the side's staff). A granted one is replaced by the next of the same draw; no visit is
recorded while a request is open. (国务院令第735号 第29条)
"""

import datetime as dt

from django.db import transaction

from audit import clock, tasks, trail
from institutions.models import Institution, User
from institutions.refusals import Refusal, refused
from supervision import case_steps, inspection_papers, inspections, law, writs
from supervision.hands import person
from supervision.models import CaseInspector, InspectionInspector, InspectionPaper, InspectionTask
from supervision.writs import Service

DECLARED, ASKED = CaseInspector.Recusal.DECLARED, CaseInspector.Recusal.ASKED
Kind = InspectionPaper.Kind


@transaction.atomic
def ask(
    *, inspector: InspectionInspector, reason: str, who: User, at: dt.datetime
) -> InspectionPaper:  # fmt: skip
    """The inspector declares the own recusal, or the institution that was told asks for one's."""
    row = _open(inspector)
    task, own = row.task, row.username == who.username
    told = who.institution_id == task.institution_code and task.told_on is not None
    if not own and not (told and who.may(case_steps.ANSWER)):
        raise Refusal(403, "NOT_THE_PARTY", ("只有本人或被检查机构可以提出", "not the party"))
    applicant = person(who.username) if own else _place(task)
    return _asked(row, (DECLARED if own else ASKED).label, applicant, reason,
                  clock.local(at).date(), who, at)  # fmt: skip


@transaction.atomic
def record(
    *, inspector: InspectionInspector, applicant: str, reason: str, on: dt.date, who: User,
    at: dt.datetime,
) -> InspectionPaper:  # fmt: skip
    """The side's staff record what the institution asked on paper or by word of mouth."""
    row = _open(inspector)
    inspections.own_side(row.task.plan.side, who)
    if row.username == who.username or not who.may(inspections.CARRY):
        raise refused("inspector", "OWN_RECUSAL", "对本人的回避申请由他人登记", "another records it",
                      status=403)  # fmt: skip
    if not applicant.strip():
        raise refused("applicant", "REQUIRED", "请填写申请人", "the applicant is needed")
    told = row.task.told_on
    if told is None or not told <= on <= clock.local(at).date():
        raise refused("on", "DAY_OUTSIDE", "收到日应在通知送达之日与今天之间", "the day is outside")
    return _asked(row, ASKED.label, applicant.strip(), reason, on, who, at)


@transaction.atomic
def decide(
    *, inspector: InspectionInspector, grant: bool, reason: str, service: Service, who: User,
    at: dt.datetime,
) -> InspectionPaper:  # fmt: skip
    """Who approves the side's plans, neither asked nor drawn, decides: 回避决定书 with its 送达回证."""
    row = _open(inspector)
    task = row.task
    request = request_of(row)
    if request is None:
        raise refused("inspector", "NOTHING_ASKED", "没有待决定的回避申请", "nothing to decide",
                      status=409)  # fmt: skip
    if not inspections.approves(task.plan, who):
        raise Refusal(403, "NOT_YOURS", ("回避由本方负责人决定", "not yours to decide"))
    if who.username in {request.made_by, *task.inspectors.values_list("username", flat=True)}:
        raise refused("by", "SAME_PERSON", "须由他人决定回避", "another person decides", status=403)
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请写明决定理由", "a reason is needed")
    writs.whole(service, since=request.made_on, today=clock.local(at).date())
    instead = _replaced(row, reason.strip()[:400], who, at) if grant else None
    asked = request.content
    paper = inspection_papers.made(
        task, Kind.RECUSAL, asked["applicant"],
        {"task": task.number, "request": request.number, "inspector": asked["inspector"],
         "applicant": asked["applicant"], "reasons": asked["reasons"], "granted": grant,
         "opinion": reason.strip()[:400], "decided_by": person(who.username),
         "instead": person(instead.username) if instead else ""},
        who, service.on, at,
    )  # fmt: skip
    inspection_papers.receipt(task, paper, service, who, at)
    tasks.close(subject=_subject(row), by=who.username, at=at)
    return paper


def request_of(inspector: InspectionInspector) -> InspectionPaper | None:
    """The request about an inspector that is not decided."""
    rows = inspection_papers.requests_open(inspector.task)
    return next((row for row in rows if row.content["drawn"] == inspector.pk), None)


def _open(inspector: InspectionInspector) -> InspectionInspector:
    row = InspectionInspector.objects.select_for_update(of=("self",)).select_related("task").get(
        pk=inspector.pk)  # fmt: skip
    if row.recused_at is not None or row.task.state != InspectionTask.State.OPEN:
        raise refused("inspector", "NOT_OPEN", "该人员已回避或检查已完成", "too late", status=409)
    return row


def _asked(
    row: InspectionInspector, kind: str, applicant: str, reason: str, on: dt.date, who: User,
    at: dt.datetime,
) -> InspectionPaper:  # fmt: skip
    if request_of(row) is not None:
        raise refused(
            "inspector", "RECUSAL_ASKED", "该检查人员已提出回避", "asked before", status=409
        )
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请写明理由", "a reason is needed")
    task, apart = row.task, who.institution_id or row.username == who.username
    made = inspection_papers.made(
        task, Kind.REQUEST, applicant,
        {"task": task.number, "drawn": row.pk, "inspector": person(row.username), "kind": kind,
         "applicant": applicant[:120], "asked_on": str(on), "reasons": reason.strip()[:400],
         "recorded_by": "" if apart else person(who.username)},
        who, clock.local(at).date(), at,
    )  # fmt: skip
    side, area = inspection_papers.issuer_of(task)
    tasks.open_task(
        subject=_subject(row), permission=law.sides()[side].approves, at=at, region_code=area,
        title=f"决定检查人员是否回避：{task.number}", procedure="inspection",
        url=inspection_papers.task_place(task), clause=law.decree().cite("29"),
    )  # fmt: skip
    return made


def _replaced(
    row: InspectionInspector, reason: str, who: User, at: dt.datetime
) -> InspectionInspector:
    """Who was recused stays on record; the next of the same draw goes instead."""
    task, plan = row.task, row.task.plan
    row.recused_at, row.recused_by, row.reason = at, who.username, reason
    row.save()
    named = set(task.inspectors.values_list("username", flat=True))
    order = inspections.order_for(plan.seed, task.institution_code, plan.pool["inspectors"])
    following = next((name for name in order if name not in named), None)
    if following is None:
        raise refused("inspector", "NOBODY_LEFT", "名单内没有可接替的检查人员",
                      "nobody is left to draw", status=409)  # fmt: skip
    made = InspectionInspector.objects.create(task=task, username=following)
    trail.record(
        by=who.username, at=at, action="inspection.recuse", region_code=plan.region_code,
        subject=inspection_papers.subject_of(plan),
        detail={"number": plan.number, "task": task.number, "left": row.username,
                "instead": made.username, "reason": reason},
    )  # fmt: skip
    return made


def _place(task: InspectionTask) -> str:
    return Institution.objects.get(pk=task.institution_code).name


def _subject(row: InspectionInspector) -> str:
    return f"inspectioninspector:{row.pk}"
