"""检查通知书 of a drawn inspection and its 送达回证: numbered per side and year, drawn from stored content.

The institution knows of the inspection from the day on which the notice is served, before the visit or at
its beginning; without a served notice that names those who come no visit is recorded.
(温医保办〔2021〕6号 四；国务院令第735号 第29条)
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.urls import reverse

from audit import clock, trail
from institutions import news
from institutions.models import Institution, Office, Region, User
from institutions.refusals import Refusal, refused
from settlement.terms import cite
from supervision import case_papers, law, writs
from supervision.hands import office_name, person
from supervision.models import (
    CaseInspector,
    InspectionInspector,
    InspectionPaper,
    InspectionPlan,
    InspectionTask,
)
from supervision.writs import Service

Kind = InspectionPaper.Kind
CARRY, HOSPITAL = "inspections.carry", "inspections.view"
OFFICES = {InspectionPlan.Side.AGENCY: Office.Kind.AGENCY,
           InspectionPlan.Side.BUREAU: Office.Kind.BUREAU}  # fmt: skip
#: what the trail calls the making of a paper
EVENTS = {Kind.NOTICE: "notify", Kind.RECEIPT: "serve", Kind.REQUEST: "recusal",
          Kind.RECUSAL: "recusal_decided"}  # fmt: skip
AGREED = "医保服务协议约定"


@dataclass(frozen=True)
class Visit:
    """What a notice says beside the plan: the day of the visit, what to have ready, and by the row of the
    draw the certificate that each inspector shows (国务院令第735号 第二十九条)."""

    on: dt.date
    prepare: str
    certificates: Mapping[int, str]


def basis(side: str, region: Region, day: dt.date) -> str:
    """The clause on which a side inspects in a region."""
    rule = law.sides()[side]
    if rule.article:
        return law.decree().cite(rule.article)
    named = rule.clauses.get(region.policy_region)
    found = cite(region.policy_region, day, named) if named else None
    return f"{found['document']} {found['clause']}" if found else AGREED


def basis_of(task: InspectionTask) -> str:
    """The clause of a task, by the law of the plan's first day."""
    plan = task.plan
    return basis(plan.side, Region.objects.get(pk=plan.region_code), plan.first_day)


# --- Making and serving ---


@transaction.atomic
def notify(
    *, task: InspectionTask, visit: Visit, who: User, at: dt.datetime
) -> InspectionPaper:  # fmt: skip
    """检查通知书: anew only when others come than the last one says, or it was not served in time."""
    row, day = _open(task, who), clock.local(at).date()
    if visit.on < max(row.plan.first_day, day):
        raise refused("on", "DAY_OUTSIDE", "检查日不能早于检查期间起日和今天", "the day is outside")
    if not visit.prepare.strip():
        raise refused("prepare", "REQUIRED", "请写明需准备的材料", "what to have ready")
    last = notice_of(row)
    if "notify" not in waits_for(row, day):
        raise refused("task", "NOTICE_MADE", "已制作检查通知书，检查人员没有变化，检查日未过",
                      "made before", status=409)  # fmt: skip
    plan, place = row.plan, Institution.objects.get(pk=row.institution_code)
    _show(row, visit.certificates)
    return made(
        row, Kind.NOTICE, place.name,
        {"task": row.number, "plan": plan.number, "title": plan.title,
         "kind": plan.get_side_display(), "place": place.name, "code": place.pk,
         "reason": plan.reason, "basis": basis_of(row), "visit_on": str(visit.on),
         "services": [str(plan.service_from), str(plan.service_until)],
         "inspectors": inspectors_of(row), "drawn": drawn_of(row),
         "side": plan.side, "area": plan.region_code,
         "items": [line["text"] for line in plan.checklist],
         "prepare": visit.prepare.strip()[:2000], "replaces": last.number if last else ""},
        who, day, at,
    )  # fmt: skip


@transaction.atomic
def serve(
    *, task: InspectionTask, service: Service, who: User, at: dt.datetime
) -> InspectionPaper:  # fmt: skip
    """送达回证 of the newest notice, once; from then on the institution sees notice and task."""
    row, notice = _open(task, who), notice_of(task)
    if notice is None or hasattr(notice, "receipt"):
        raise refused("task", "NOTHING_TO_SERVE", "没有待送达的检查通知书", "nothing to serve",
                      status=409)  # fmt: skip
    writs.whole(service, since=notice.made_on, today=clock.local(at).date())
    if service.on > dt.date.fromisoformat(notice.content["visit_on"]):
        raise refused("on", "SERVED_LATE", "检查通知书应在检查前或检查时送达", "after the visit",
                      clause=basis_of(row))  # fmt: skip
    if row.told_on is None:
        row.told_on = service.on
        row.save(update_fields=["told_on"])
    made = receipt(row, notice, service, who, at)
    news.tell(
        permission=HOSPITAL, region_code=row.region_code, institution_code=row.institution_code,
        text=f"检查通知 {notice.number}：{notice.content['visit_on']}", url=task_place(row),
        subject=subject_of(row), at=at,
    )  # fmt: skip
    return made


def receipt(
    task: InspectionTask, paper: InspectionPaper, service: Service, who: User, at: dt.datetime
) -> InspectionPaper:
    """送达回证 of a paper of an inspection."""
    content = writs.receipt_of(paper.number, paper.get_kind_display(), service,
                               person(who.username))  # fmt: skip
    return made(task, Kind.RECEIPT, paper.addressee, {"task": task.number} | content, who,
                service.on, at, serves=paper)  # fmt: skip


def waits_for(task: InspectionTask, day: dt.date) -> set[str]:
    """What an open inspection waits for: a notice, its service, the visit.

    A notice is made anew when other inspectors come, or when its day passed before it was served.
    """
    notice = notice_of(task)
    if notice is None or notice.content.get("drawn") != drawn_of(task):
        return {"notify"}
    if hasattr(notice, "receipt"):
        return {"visit"}
    over = dt.date.fromisoformat(notice.content["visit_on"]) < day
    return {"notify", "serve"} if over else {"serve"}


def refuse_unannounced(task: InspectionTask, visited_on: dt.date) -> None:
    """A visit needs a notice that names those who came, served on or before its day."""
    notice = notice_of(task)
    receipt = InspectionPaper.objects.filter(serves=notice).first() if notice else None
    if notice is None or receipt is None or receipt.made_on > visited_on:
        raise refused("visited_on", "NOTICE_NOT_SERVED", "检查前或检查时应送达检查通知书",
                      "the notice was not served", status=409, clause=basis_of(task))  # fmt: skip
    if notice.content.get("drawn") != drawn_of(task):
        raise refused("visited_on", "NOTICE_OUTDATED", "检查人员已更换，请重新制作并送达检查通知书",
                      "other inspectors came", status=409, clause=basis_of(task))  # fmt: skip


def notice_of(task: InspectionTask) -> InspectionPaper | None:
    """The newest notice of a task."""
    return InspectionPaper.objects.filter(task=task, kind=Kind.NOTICE).order_by("-pk").first()


def told_of(task: InspectionTask) -> InspectionPaper | None:
    """The newest notice that was served."""
    rows = InspectionPaper.objects.filter(task=task, kind=Kind.NOTICE, receipt__isnull=False)
    return rows.order_by("-pk").first()


def _show(task: InspectionTask, certificates: Mapping[int, str]) -> None:
    """Keep the certificates of those who come; each has one."""
    for row in task.inspectors.filter(recused_at__isnull=True):
        row.certificate = certificates.get(row.pk, "").strip()[:40]
        if not row.certificate:
            raise refused("certificates", "CERTIFICATE_MISSING", "请填写每名检查人员的证件号",
                          "each inspector shows a certificate", clause=basis_of(task))  # fmt: skip
        row.save(update_fields=["certificate"])


def certificate_of(username: str) -> str:
    """The certificate that somebody showed before: in the last inspection, else in the last case."""
    for rows in (InspectionInspector.objects, CaseInspector.objects):
        shown = rows.filter(username=username).exclude(certificate="").order_by("-pk").first()
        if shown is not None:
            return shown.certificate
    return ""


def inspectors_of(task: InspectionTask) -> list[str]:
    """Who comes, by name, office and certificate (papers of before name none)."""
    rows = task.inspectors.filter(recused_at__isnull=True)
    return [
        person(row.username) + (f"，证件号 {row.certificate}" if row.certificate else "")
        for row in rows
    ]


def drawn_of(task: InspectionTask) -> list[int]:
    """Who comes, by the rows of the draw: people may be called alike, and papers name no log-in."""
    return list(task.inspectors.filter(recused_at__isnull=True).values_list("pk", flat=True))


def requests_open(task: InspectionTask) -> list[InspectionPaper]:
    """Recusals that were asked for and not decided."""
    papers = InspectionPaper.objects.filter(task=task)
    decided = papers.filter(kind=Kind.RECUSAL).values_list("content__request", flat=True)
    return [row for row in papers.filter(kind=Kind.REQUEST) if row.number not in set(decided)]


def issuer_of(task: InspectionTask) -> tuple[InspectionPlan.Side, str]:
    """Side and area of the office that inspects: an institution reads them from its notice, not the plan."""
    notice = notice_of(task)
    if notice is not None:
        return InspectionPlan.Side(notice.content["side"]), notice.content["area"]
    return InspectionPlan.Side(task.plan.side), task.plan.region_code


def _open(task: InspectionTask, who: User) -> InspectionTask:
    row = InspectionTask.objects.select_for_update(of=("self",)).select_related("plan").get(
        pk=task.pk)  # fmt: skip
    if law.sides()[row.plan.side].role != who.role or not who.may(CARRY):
        raise Refusal(403, "OTHER_SIDE", ("本检查由另一方办理", "the other side does this"))
    if row.state != InspectionTask.State.OPEN:
        raise refused("state", "DONE_BEFORE", "该检查已登记", "recorded before", status=409)
    return row


def made(
    task: InspectionTask, kind: Kind, addressee: str, content: Mapping[str, Any], who: User,
    on: dt.date, at: dt.datetime, *, serves: InspectionPaper | None = None,
) -> InspectionPaper:  # fmt: skip
    """A numbered paper of an inspection; the institution hears of a notice when it is served only."""
    side, area = issuer_of(task)
    region = Region.objects.get(pk=area)
    row = InspectionPaper.objects.create(
        task=task, kind=kind, addressee=addressee[:120], serves=serves,
        number=writs.number_of(f"{kind}_{side}", region, on),
        **writs.fixed({"issuer": office_name(area, OFFICES[side]), **content}, on=on,
                      by=who.username, at=at),
    )  # fmt: skip
    heard = task.told_on is not None and kind != Kind.NOTICE
    trail.record(
        by=who.username, at=at, action=f"inspection.{EVENTS[kind]}", subject=subject_of(task),
        region_code=task.region_code, institution_code=task.institution_code if heard else "",
        detail={"number": row.number, "sm3": row.digest},
    )  # fmt: skip
    return row


# --- Drawing ---


def pdf_of(paper: InspectionPaper) -> bytes:
    """The PDF of a paper, the same bytes whenever it is asked for."""
    content, title = paper.content, paper.get_kind_display()
    parts = DRAWN[Kind(paper.kind)](content)
    context = case_papers.heading(paper, title, content["issuer"], paper.addressee) | parts
    return case_papers.drawn(paper, "inspection", paper.kind, title, context)


def _notice(content: Mapping[str, Any]) -> dict[str, Any]:
    first, last = content["services"]
    again = f"本通知书代替{content['replaces']}。" if content["replaces"] else ""
    return {
        "paragraphs": [
            (f"依据{content['basis']}，经随机抽取，决定于{content['visit_on']}对你单位进行"
             f"{content['kind']}（{content['title']}）。{again}"),
        ],
        "facts": case_papers.facts(
            ("检查事项", content["reason"]), ("检查日", content["visit_on"]),
            ("核查服务期间", f"{first} 至 {last}"), ("检查内容", "\n".join(content["items"])),
            ("检查人员", "\n".join(content["inspectors"])), ("请准备", content["prepare"]),
            ("检查号", content["task"]),
        ),
        "after": ["检查人员应当出示证件。你单位认为检查人员与本次检查有利害关系的，可以申请其回避。"],
    }  # fmt: skip


def _receipt(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"facts": case_papers.facts(
        ("送达文书", f"{content['paper']}　{content['number']}"), ("检查号", content["task"]),
        ("送达方式", content["method"]), ("签收人", content["receiver"]),
        ("送达日期", content["served_on"]), ("送达人", content["served_by"]),
    )}  # fmt: skip


def _request(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"facts": case_papers.facts(
        ("检查号", content["task"]), ("检查人员", content["inspector"]), ("提出方式", content["kind"]),
        ("申请人", content["applicant"]), ("申请日", content["asked_on"]),
        ("理由", content["reasons"]), ("登记人", content["recorded_by"]),
    )}  # fmt: skip


def _recusal(content: Mapping[str, Any]) -> dict[str, Any]:
    decided = "同意回避" if content["granted"] else "驳回申请，不予回避"
    after = (
        f"由同一次抽取的下一名检查人员{content['instead']}接替。"
        if content["granted"]
        else "该检查人员继续办理本次检查。"
    )
    return {
        "facts": case_papers.facts(
            ("检查号", content["task"]), ("检查人员", content["inspector"]),
            ("申请", content["request"]), ("申请人", content["applicant"]),
            ("申请理由", content["reasons"]), ("决定", decided), ("决定理由", content["opinion"]),
            ("决定人", content["decided_by"]),
        ),
        "after": [after],
    }  # fmt: skip


DRAWN: Mapping[Kind, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    Kind.NOTICE: _notice, Kind.RECEIPT: _receipt, Kind.REQUEST: _request, Kind.RECUSAL: _recusal,
}  # fmt: skip


# --- Words ---


def subject_of(row: InspectionPlan | InspectionTask) -> str:
    """What events and tasks call it."""
    return f"{row._meta.model_name}:{row.pk}"


def place(plan: InspectionPlan) -> str:
    """The address of a plan."""
    return reverse("inspection-plan", args=[plan.pk])


def task_place(task: InspectionTask) -> str:
    """The address of a task."""
    return reverse("inspection-task", args=[task.pk])
