"""One drawn institution: its notice, who stands back, the visit, the papers, what came of it."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock, trail
from audit.access import requires
from institutions.access import PortalRequest
from institutions.models import Institution, User
from institutions.naming import Login, Told, listed, named, shown_names
from supervision import (
    case_forms,
    case_steps,
    inspection_forms,
    inspection_papers,
    inspection_recusals,
    inspections,
    writs,
)
from supervision.models import Finding, InspectionInspector, InspectionPaper, InspectionTask
from supervision.views import parts
from supervision.views.cases import CRUMBS, file_answer
from supervision.views.inspections import RESULTS, mine
from supervision.writs import Service

Task = InspectionTask.State


def _visit(row: InspectionTask, form: forms.Form, who: User) -> object:
    if not isinstance(form, inspection_forms.VisitForm):
        raise TypeError("a visit has its own form")
    given = form.cleaned_data
    return inspections.record(
        task=row, who=who, at=clock.now(),
        seen=inspections.Seen(
            visited_on=given["visited_on"], answers=form.answers(), result=given["result"],
            report=given["report"], problems=form.found(),
        ),
    )  # fmt: skip


def _recuse(row: InspectionTask, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return inspection_recusals.ask(
        inspector=row.inspectors.get(pk=given["inspector"]), reason=given["reason"], who=who,
        at=clock.now(),
    )  # fmt: skip


def _record_recusal(row: InspectionTask, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return inspection_recusals.record(
        inspector=row.inspectors.get(pk=given["inspector"]), applicant=given["applicant"],
        reason=given["reason"], on=given["on"], who=who, at=clock.now(),
    )  # fmt: skip


def _decide_recusal(row: InspectionTask, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    return inspection_recusals.decide(
        inspector=row.inspectors.get(pk=given["inspector"]), grant=given["grant"] == "yes",
        reason=given["reason"], who=who, at=clock.now(),
        service=Service(given["method"], given["receiver"], given["on"]),
    )  # fmt: skip


def _notify(row: InspectionTask, form: forms.Form, who: User) -> object:
    given = form.cleaned_data
    shown = {
        int(name.removeprefix(inspection_forms.SHOWN)): text for name, text in given.items()
        if name.startswith(inspection_forms.SHOWN)
    }  # fmt: skip
    visit = inspection_papers.Visit(given["on"], given["prepare"], shown)
    return inspection_papers.notify(task=row, visit=visit, who=who, at=clock.now())


def _serve(row: InspectionTask, form: forms.Form, who: User) -> object:
    service = Service(**form.cleaned_data)
    return inspection_papers.serve(task=row, service=service, who=who, at=clock.now())


def _waits(row: InspectionTask, user: User) -> set[str]:
    """What an open task of the reader's side waits for: the notice, its service, the visit."""
    if row.state != Task.OPEN or not mine(row.plan, user):
        return set()
    return inspection_papers.waits_for(row, clock.today())


def _case(row: InspectionTask, form: forms.Form, who: User) -> object:
    return inspections.lead_to_case(
        task=row, title=form.cleaned_data["text"], by=who.username, at=clock.now()
    )


def _people(rows: Iterable[InspectionInspector]) -> list[tuple[int, str]]:
    found = list(rows)
    names = shown_names(row.username for row in found)
    return [(row.pk, names[row.username]) for row in found]


def _unasked(row: InspectionTask) -> QuerySet[InspectionInspector]:
    """Who was drawn and may be asked to stand back."""
    if row.state != Task.OPEN:
        return row.inspectors.none()
    asked = [paper.content["drawn"] for paper in inspection_papers.requests_open(row)]
    return row.inspectors.filter(recused_at__isnull=True).exclude(pk__in=asked)


def _to_ask(row: InspectionTask, user: User) -> list[tuple[int, str]]:
    """Whose recusal somebody can ask for: the institution anybody's once told, inspectors their own."""
    if not user.institution_id:
        return _people(_unasked(row).filter(username=user.username))
    may = row.told_on is not None and user.may(case_steps.ANSWER)
    return _people(_unasked(row)) if may else []


def _to_record(row: InspectionTask, user: User) -> list[tuple[int, str]]:
    """Of whom the side's staff record what the institution asked: not of themselves."""
    may = row.told_on is not None and mine(row.plan, user)
    return _people(_unasked(row).exclude(username=user.username)) if may else []


def _to_decide(row: InspectionTask, user: User) -> list[tuple[int, str]]:
    """On whose recusal somebody decides: who approves plans, was not drawn and did not ask."""
    drawn = row.inspectors.filter(username=user.username).exists()
    if row.state != Task.OPEN or drawn or not inspections.approves(row.plan, user):
        return []
    asked = {paper.content["drawn"]: paper for paper in inspection_papers.requests_open(row)
             if paper.made_by != user.username}  # fmt: skip
    people = _people(row.inspectors.filter(pk__in=asked))
    return [(key, f"{name}：{asked[key].content['reasons']}"[:80]) for key, name in people]


def _coming(row: InspectionTask) -> list[tuple[int, str, str]]:
    """Who comes: the row of the draw, the name, the certificate shown before."""
    rows = {one.pk: one.username for one in row.inspectors.filter(recused_at__isnull=True)}
    return [
        (key, name, inspection_papers.certificate_of(rows[key]))
        for key, name in _people(row.inspectors.filter(pk__in=rows))
    ]


TASK_ACTS = {
    act.key: act
    for act in (
        parts.Act("notify", "制作检查通知书", inspections.CARRY,
                  lambda row, user: "notify" in _waits(row, user),
                  inspection_forms.NoticeForm, _notify,
                  lambda row, user: {"today": clock.today(), "inspectors": _coming(row)}),
        parts.Act("serve", "登记通知书送达", inspections.CARRY,
                  lambda row, user: "serve" in _waits(row, user),
                  case_forms.ServiceForm, _serve,
                  lambda row, user: {"methods": writs.methods(), "today": clock.today()}),
        parts.Act("visit", "登记检查", inspections.CARRY,
                  lambda row, user: "visit" in _waits(row, user)
                  and row.inspectors.filter(username=user.username, recused_at=None).exists(),
                  inspection_forms.VisitForm, _visit,
                  lambda row, user: {"checklist": row.plan.checklist, "today": clock.today()}),
        parts.Act("recuse", "提出回避", "inspections.view",
                  lambda row, user: bool(_to_ask(row, user)), case_forms.RecusalForm, _recuse,
                  lambda row, user: {"inspectors": _to_ask(row, user)}),
        parts.Act("record-recusal", "登记机构回避申请", inspections.CARRY,
                  lambda row, user: bool(_to_record(row, user)),
                  case_forms.RecusalRecord, _record_recusal,
                  lambda row, user: {"inspectors": _to_record(row, user),
                                     "today": clock.today()}),
        parts.Act("recusal", "决定回避", "inspections.view",
                  lambda row, user: bool(_to_decide(row, user)),
                  case_forms.RecusalDecision, _decide_recusal,
                  lambda row, user: {"inspectors": _to_decide(row, user),
                                     "methods": writs.methods(), "today": clock.today()}),
        parts.Act("case", "移交立案", "cases.open",
                  lambda row, user: row.result == "case" and row.case_id is None
                  and inspections.side_of(user) == row.plan.side,
                  inspection_forms.TextForm, _case, lambda row, user: {"label": "案由"}),
    )
}  # fmt: skip


#: what the institution itself can do; it never sees the plan
OWN_ACTS = {"recuse": TASK_ACTS["recuse"]}


def _task_of(request: PortalRequest, pk: int) -> InspectionTask:
    rows = InspectionTask.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("inspections.view")
@require_GET
def task(request: PortalRequest, pk: int) -> HttpResponse:
    """One drawn institution: who goes, what was seen, what came of it."""
    return _task_page(request, _task_of(request, pk))


def _task_page(
    request: PortalRequest, row: InspectionTask, *, typed: forms.Form | None = None, key: str = "",
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    own = bool(request.user.institution_id)
    place = Institution.objects.filter(pk=row.institution_code).first()
    plan = None if own else row.plan
    lines = [{"text": line["text"], "answer": row.answers.get(line["key"], "")}
             for line in plan.checklist] if plan else []  # fmt: skip
    return render(request, "supervision/inspection.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "稽核检查", "url": reverse("inspections")},
                        *([{"label": plan.number, "url": inspection_papers.place(plan)}] if plan else []),
                        {"label": row.number, "url": ""}],
        "title": place.name if place else row.institution_code, "number": row.number,
        "kind": "检查任务", "back": inspection_papers.place(plan) if plan else reverse("inspections"),
        "badge": {"word": row.get_result_display() or "待检查", "tone": RESULTS[row.result]},
        "facts": _task_facts(row, own=own), "checklist": lines, "draw": [],
        "acts": parts.entries(OWN_ACTS if own else TASK_ACTS, row, request.user, typed, key),
        "act_name": "inspection-task-act", "pk": row.pk,
        "findings": _findings(request, row), "case": None if own else row.case,
        "papers": [_paper(paper) for paper in
                   row.papers.visible_to(request.user).select_related("receipt")],
    }), status=status)  # fmt: skip


def _paper(row: InspectionPaper) -> dict[str, Any]:
    receipt = getattr(row, "receipt", None)
    return {
        "title": row.get_kind_display(), "number": row.number, "on": row.made_on,
        "addressee": row.addressee, "url": reverse("inspection-paper", args=[row.task_id, row.pk]),
        "served": str(receipt.made_on) if receipt else "",
    }  # fmt: skip


@requires("inspections.view")
@require_GET
def paper(request: PortalRequest, pk: int, paper: int) -> HttpResponse:
    """A paper of an inspection as PDF; every look is an event."""
    rows = _task_of(request, pk).papers.visible_to(request.user)
    row = get_object_or_404(rows, pk=min(paper, 2**63 - 1))
    trail.record(
        by=request.user.username, at=clock.now(), action="inspection.print",
        subject=inspection_papers.subject_of(row.task), region_code=row.task.region_code,
        institution_code=row.task.institution_code if row.task.told_on else "",
        detail={"paper": row.number, "sm3": row.digest},
    )  # fmt: skip
    return file_answer(
        inspection_papers.pdf_of(row), "application/pdf", f"{row.number}.pdf", "inline"
    )


def _task_facts(row: InspectionTask, *, own: bool) -> list[dict[str, Any]]:
    notice = inspection_papers.told_of(row) if own else None
    people = notice.content["inspectors"] if notice else [
        Told(Login(who.username), f"（已回避：{who.reason}）" if who.recused_at else "")
        for who in row.inspectors.all() if not (own and who.recused_at)
    ]  # fmt: skip
    return [
        {"label": "检查人员", "value": listed(people), "wide": True},
        {"label": "检查通知", "value": f"{row.told_on} 送达" if row.told_on else "尚未送达"},
        {"label": "检查日", "value": str(row.visited_on or "—")},
        {"label": "登记", "value": Login(row.done_by) or "—"},
        {"label": "检查报告", "value": row.report or "—", "wide": True},
    ]


def _findings(request: PortalRequest, row: InspectionTask) -> list[Finding]:
    rows = Finding.objects.visible_to(request.user)
    return list(rows.filter(institution_code=row.institution_code, moment="manual",
                            figures__inspection=row.number))  # fmt: skip


@requires("inspections.view")
@require_POST
def task_act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Announce, record the visit, stand back, lead to a case."""
    row = _task_of(request, pk)
    acts = OWN_ACTS if request.user.institution_id else TASK_ACTS
    return parts.done(request, acts, key, row, "inspection-task", _task_page)
