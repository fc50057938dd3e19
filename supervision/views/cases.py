"""Supervision cases: the list, a new one, one case with evidence, measures, papers and steps."""

from typing import Any
from urllib.parse import quote

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.forms import StepForm
from agreements.views.refusing import refuse, words_of
from audit import clock, trail
from audit.access import requires
from audit.models import Move
from audit.moves import offered
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions import crypto
from institutions.access import PortalRequest
from institutions.documents import content_of
from institutions.models import Institution, Region, User
from institutions.naming import named
from institutions.refusals import Refusal, refused
from settlement.looks import taken
from settlement.models import InsuredPerson
from supervision import archive, case_papers, case_steps, cases
from supervision.case_forms import CaseForm, CaseQuery
from supervision.credit import DONE_TO_PERSONS
from supervision.models import (
    Finding,
    SupervisionCase,
)
from supervision.views import case_parts, interviews
from supervision.writs import table_of

SIZE = 20
CRUMBS = [{"label": "工作台", "url": "/"}]


@requires("cases.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Cases inside the reader's scope, newest first."""
    form = CaseQuery(request.GET)
    rows = SupervisionCase.objects.none()
    if form.is_valid():
        rows = _found(SupervisionCase.objects.visible_to(request.user), form.cleaned_data)
    page_ = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    may = request.user.may(cases.OPEN)
    return render(request, "supervision/list.html", {
        "breadcrumbs": [*CRUMBS, {"label": "监管案件", "url": ""}], "form": form,
        "title": "监管案件", "target": "cases",
        "subtitle": "从立案到归档；承办人不作决定，决定分协议处理、行政处罚、移送三条途径。",
        "table": Table(
            id="cases", caption="监管案件",
            columns=[Column(label="案号"), Column(label="案由", wide=True),
                     Column(label="对象", wide=True), Column(label="途径"),
                     Column(label="基金损失（元）", numeric=True), Column(label="状态")],
            rows=[_row(row, own=bool(request.user.institution_id)) for row in page_],
            pages=Pages(total=page_.paginator.count, page=page_.number, size=SIZE, sizes=(SIZE,)),
            toolbar=[Action(label="提请立案", url=reverse("case-new"), icon="plus",
                            tone="primary")] if may else (),
            empty_title="没有监管案件", empty_text="疑点、举报和检查中发现的问题在此立案办理。",
        ),
    })  # fmt: skip


def _found(rows: Any, given: dict[str, Any]) -> Any:
    for name, column in (("state", "state"), ("subject", "subject_kind"), ("route", "route")):
        if given[name]:
            rows = rows.filter(**{column: given[name]})
    if text := given["q"].strip():
        rows = rows.filter(Q(number__icontains=text) | Q(title__icontains=text)
                           | Q(subject_name__icontains=text) | Q(subject_code=text))  # fmt: skip
    return rows


def _row(row: SupervisionCase, *, own: bool) -> Row:
    state, address = table_of(row).states[row.state], case_steps.place(row)
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, sub="" if own else row.get_origin_display()),
            Cell(text=row.title, sub=case_parts.span(row)),
            Cell(text=row.subject_name, sub=row.get_subject_kind_display()),
            Cell(text=row.get_route_display() or "—"),
            Cell(text=yuan(row.loss) if row.loss else "—"),
            Cell(text=state.label, tone=state.tone, sub=f"期限 {row.due}" if row.due else ""),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


# --- A new one ---


@requires(cases.OPEN)
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Open a case; `finding` brings a finding with it."""
    finding = _finding(request)
    form = CaseForm(
        request.POST if request.method == "POST" else None, of_finding=finding is not None,
        initial=_begun(finding) if finding else {},
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    made = _opened(request, form.cleaned_data, finding)
            except (Refusal, Refused) as error:
                status = refuse(form, error)
            else:
                messages.success(request, f"已提请立案 {made.number}，待另一人审批。")
                return redirect("case", pk=made.pk)
    return render(request, "supervision/case_new.html", {
        "breadcrumbs": [*CRUMBS, {"label": "监管案件", "url": reverse("cases")},
                        {"label": "提请立案", "url": ""}],
        "form": form, "finding": finding,
    }, status=status)  # fmt: skip


def _finding(request: PortalRequest) -> Finding | None:
    text = request.GET.get("finding", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404(text)
    return get_object_or_404(Finding.objects.visible_to(request.user), pk=text)


def _begun(finding: Finding) -> dict[str, Any]:
    doctor = finding.subject_kind == "physician"
    # what only an institution does to a person is the institution's
    person = finding.subject_kind == "person" and finding.behaviour not in DONE_TO_PERSONS
    return {
        "title": f"涉嫌{finding.message}"[:120], "origin": SupervisionCase.Origin.FINDING,
        "subject_kind": "physician" if doctor else "person" if person else "institution",
        "institution": "" if person else finding.institution_code, "summary": finding.message,
        "practitioner": finding.physician_code if doctor else "", "origin_ref": f"疑点{finding.pk}",
        "acted_from": finding.first_day, "acted_until": finding.last_day,
    }  # fmt: skip


def _opened(
    request: PortalRequest, given: dict[str, Any], finding: Finding | None
) -> SupervisionCase:
    kind = given["subject_kind"]
    person = _person(request.user, given["person_number"], finding) if kind == "person" else None
    _place(request, given["institution"])
    region = request.user.region  # the office that opens the case numbers and signs it
    if region is None:
        raise refused("title", "NO_REGION", "账号没有所属辖区", "the account has no area")
    code = person.subject if person else given["practitioner"] or given["institution"]
    return cases.open_case(
        region=Region.objects.get(pk=region.pk), by=request.user.username, at=clock.now(),
        findings=[finding] if finding else (),
        wanted=cases.Wanted(
            title=given["title"], subject_kind=kind, person=person, summary=given["summary"],
            subject_code=given["institution"] if kind == "institution" else code,
            institution_code=given["institution"], acted_from=given["acted_from"],
            acted_until=given["acted_until"], origin=given["origin"],
            origin_ref=given["origin_ref"], behaviour=finding.behaviour if finding else "",
            because=given.get("because", ""),
        ),
    )  # fmt: skip


def _place(request: PortalRequest, code: str) -> Institution | None:
    if not code:
        return None
    rows = Institution.objects.visible_to(request.user).select_related("region")
    found = rows.filter(pk=code).first()
    if found is None:
        raise refused("institution", "INSTITUTION_UNKNOWN", "没有此医疗机构", "no such institution")
    return found


def _person(user: User, number: str, finding: Finding | None) -> InsuredPerson:
    """Whom the form names, or the finding that leads to the case."""
    held = finding.person_id if finding and not number else None
    rows = InsuredPerson.objects.visible_to(user)
    return (rows.filter(pk=held).first() if held else None) or person_of(user, number)


def person_of(user: User, number: str) -> InsuredPerson:
    """An insured person by number, inside the reader's scope."""
    rows = InsuredPerson.objects.visible_to(user)
    found = rows.filter(id_hash=crypto.person_hash(number)).first() if number else None
    if found is None:
        raise refused("person_number", "PERSON_UNKNOWN", "没有此参保人员", "no such insured person")
    return found


# --- One case ---


def visible(request: PortalRequest, pk: int) -> SupervisionCase:
    """A case that the reader may see."""
    rows = SupervisionCase.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))


@requires("cases.view")
@require_GET
def case(request: PortalRequest, pk: int) -> HttpResponse:
    """A case with everything of it; a look is an event where it is archived or of a person."""
    found = visible(request, pk)
    if found.person_id or found.state == "archived":
        person = InsuredPerson.objects.filter(pk=found.person_id or 0).first()
        trail.record(
            by=request.user.username, at=clock.now(), action="supervisioncase.read",
            subject=found.subject, region_code=found.region_code,
            detail={"archive": found.archive_no,
                    "loan": archive.loan_of(found, request.user.username)}
            if found.archive_no else {},
            person_hash=bytes(person.id_hash) if person else None,
        )  # fmt: skip
    return page(request, found)


def page(
    request: PortalRequest, found: SupervisionCase, *, typed: forms.Form | None = None,
    key: str = "", status: int = 200,
) -> HttpResponse:  # fmt: skip
    """The page of a case; `typed` is the form of the step or act `key` that was refused."""
    from supervision.views import case_acts

    user, state = request.user, table_of(found).states[found.state]
    aside = found.stood_back(user.username)
    steps = () if aside else offered(
        case=found, procedure=table_of(found), handbook=case_steps.HANDBOOK, who=user,
        level=user.level)  # fmt: skip
    barred = {step.key: why for step in steps
              if (why := case_steps.barred(found, step, by=user.username, at=clock.now()))}  # fmt: skip
    own = bool(user.institution_id)

    def acts(group: str) -> list[dict[str, Any]]:
        return [] if aside else case_acts.entries(found, user, group, typed, key)

    return render(request, "supervision/case.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "监管案件", "url": reverse("cases")},
                        {"label": found.number, "url": ""}],
        "case": found, "state": state, "phases": case_parts.phases(found),
        "facts": case_parts.facts(found, own=own),
        "deadline": case_parts.due(found), "inquiry": case_parts.inquiry(found),
        "inspectors": case_parts.inspectors(found), "inspector_acts": acts("inspectors"),
        "evidence": case_parts.evidence(found, own=own), "evidence_acts": acts("evidence"),
        "measures": case_parts.measures(found), "measure_acts": acts("measures"),
        "interviews": None if own else interviews.table(found),
        "papers": [case_parts.paper(row) for row in
                   (case_papers.of_party(found.papers.all()) if own else found.papers.all())],
        "after": case_parts.after(found, own=own), "after_acts": acts("after"),
        "steps": [_step(found, step, typed, key) for step in
                  sorted(steps, key=lambda step: step.tone == "danger")
                  if step.key not in barred or step.key == key],
        "barred": ["您在本案中已回避或已提出回避，本案由他人办理。"] if aside else [
            f"“{step.label}”由他人办理：{barred[step.key]}。" for step in steps if step.key in barred
        ],
        "moves": [case_parts.move(found, row, own=own) for row in
                  Move.objects.filter(subject=found.subject).order_by("-pk")],
    }), status=status)  # fmt: skip


def _step(found: SupervisionCase, step: Any, typed: forms.Form | None, key: str) -> dict[str, Any]:
    form = typed if isinstance(typed, StepForm) and key == step.key else StepForm(
        step=step, version=found.version, today=clock.today())  # fmt: skip
    if step.key == "notify" and not form.is_bound:
        form.fields["loss"].initial = f"{cases.loss_of(found) / 100:.2f}"
        form.fields["found"].initial = found.facts
    return {"form": form, "title": step.label, "tone": step.tone, "open": False,
            "url": reverse("case-step", args=[found.pk, step.key])}  # fmt: skip


@requires("cases.view")
@require_POST
def step(request: PortalRequest, pk: int, step: str) -> HttpResponse:
    """Take a step of the table; who may, the table says."""
    found = visible(request, pk)
    try:
        chosen = table_of(found).step(step)
    except Refused as error:
        raise Http404(step) from error
    form = StepForm(request.POST, step=chosen, version=found.version, today=clock.today())
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                move = case_steps.take_step(
                    case=found, step=step, who=request.user, by=request.user.username,
                    at=clock.now(), note=form.note, facts=form.facts(),
                    on=form.cleaned_data.get("on"), version=form.cleaned_data["version"],
                )  # fmt: skip
        except (Refusal, Refused) as error:
            status = refuse(form, error)
            messages.error(request, f"{words_of(error)}。")
        else:
            messages.success(request, f"已办理“{move.label}”。")
            return redirect("case", pk=found.pk)
    return page(request, visible(request, pk), typed=form, key=step, status=status)


@requires("cases.view")
@require_GET
def paper(request: PortalRequest, pk: int, paper: int) -> HttpResponse:
    """A paper as PDF; the institution is not shown what stays in the file."""
    found = visible(request, pk)
    rows = found.papers.select_related("case")
    if request.user.institution_id:
        rows = case_papers.of_party(rows)
    row = get_object_or_404(rows, pk=min(paper, 2**63 - 1))
    taken(
        persons=[found.person_id], by=request.user.username, at=clock.now(),
        action="supervisioncase.print", subject=found.subject, region_code=found.region_code,
        institution_code=found.institution_code, detail={"paper": row.number, "sm3": row.digest},
    )  # fmt: skip
    return file_answer(case_papers.pdf_of(row), "application/pdf", f"{row.number}.pdf", "inline")


@requires("cases.view")
@require_GET
def evidence(request: PortalRequest, pk: int, item: int) -> HttpResponse:
    """A file of the evidence list; every look is an event. The party gets no internal file."""
    found = visible(request, pk)
    rows = found.evidence.shown_to(own=bool(request.user.institution_id))
    rows = rows.filter(document__isnull=False).select_related("document")
    row = get_object_or_404(rows, pk=min(item, 2**63 - 1))
    document = row.document
    if document is None:
        raise Http404(str(item))
    content = content_of(document)
    taken(
        persons=[found.person_id], by=request.user.username, at=clock.now(), action="document.read",
        subject=f"document:{document.pk}", region_code=found.region_code,
        institution_code=found.institution_code, detail={"of": found.subject, "sm3": document.digest},
    )  # fmt: skip
    return file_answer(content, document.media_type, document.name, "attachment")


def file_answer(content: bytes, media_type: str, name: str, how: str) -> HttpResponse:
    """A file that no cache keeps; an attachment runs nothing."""
    answer = HttpResponse(content, content_type=media_type)
    answer["Content-Disposition"] = f"{how}; filename*=UTF-8''{quote(name)}"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    if how == "attachment":
        answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer
