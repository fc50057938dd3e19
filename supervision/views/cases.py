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
from audit import clock, trail, words
from audit.access import requires
from audit.models import Move
from audit.procedure import PROCEDURES, Procedure, Refused, offered
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions import crypto
from institutions.access import PortalRequest
from institutions.documents import content_of
from institutions.models import Institution, Region
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal, refused
from settlement.models import InsuredPerson
from supervision import archive, case_papers, case_steps, cases, law, sanctions
from supervision.case_forms import CaseForm, CaseQuery
from supervision.models import (
    ArchiveLoan,
    CaseEvidence,
    CaseInspector,
    CasePaper,
    Disclosure,
    Finding,
    Sanction,
    SupervisionCase,
)

SIZE = 20
CRUMBS = [{"label": "工作台", "url": "/"}]
PHASES = ("立案", "调查", "告知", "决定", "执行", "结案", "归档")
TONES = {"proposed": "wait", "ordered": "warn", "done": "ok", "dropped": "mute"}
BAD = ("declined", "dismissed")
INSIDE = ("来源", "线索摘要", "提请人")  #: facts for the office only


def table() -> Procedure:
    """The table of cases."""
    return PROCEDURES[case_steps.TABLE]


@requires("cases.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """Cases inside the reader's scope, newest first."""
    form = CaseQuery(request.GET)
    rows = SupervisionCase.objects.none()
    if form.is_valid():
        rows = _found(SupervisionCase.objects.visible_to(request.user), form.cleaned_data)
    page_ = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    may = request.user.may(case_steps.HANDLE)
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
    state, address = table().states[row.state], case_steps.place(row)
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, sub="" if own else row.get_origin_display()),
            Cell(text=row.title, sub=_span(row)),
            Cell(text=row.subject_name, sub=row.get_subject_kind_display()),
            Cell(text=row.get_route_display() or "—"),
            Cell(text=yuan(row.loss) if row.loss else "—"),
            Cell(text=state.label, tone=state.tone, sub=f"期限 {row.due}" if row.due else ""),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


# --- A new one ---


@requires("cases.handle")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Open a case; `finding` brings a finding with it."""
    finding = _finding(request)
    form = CaseForm(request.POST) if request.method == "POST" else CaseForm(
        initial=_begun(finding) if finding else {})  # fmt: skip
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
    return {
        "title": f"涉嫌{finding.message}"[:120], "origin": SupervisionCase.Origin.FINDING,
        "subject_kind": "physician" if doctor else "institution",
        "institution": finding.institution_code, "summary": finding.message,
        "practitioner": finding.physician_code if doctor else "", "origin_ref": f"疑点{finding.pk}",
        "acted_from": finding.first_day, "acted_until": finding.last_day,
    }  # fmt: skip


def _opened(
    request: PortalRequest, given: dict[str, Any], finding: Finding | None
) -> SupervisionCase:
    kind = given["subject_kind"]
    person = _person(request, given["person_number"]) if kind == "person" else None
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


def _person(request: PortalRequest, number: str) -> InsuredPerson:
    rows = InsuredPerson.objects.visible_to(request.user)
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

    user, state = request.user, table().states[found.state]
    steps = offered(case=found, procedure=table(), handbook=case_steps.HANDBOOK, who=user,
                    level=user.level)  # fmt: skip
    barred = {step.key: why for step in steps
              if (why := case_steps.barred(found, step, by=user.username, at=clock.now()))}  # fmt: skip
    own = bool(user.institution_id)

    def acts(group: str) -> list[dict[str, Any]]:
        return case_acts.entries(found, user, group, typed, key)

    return render(request, "supervision/case.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "监管案件", "url": reverse("cases")},
                        {"label": found.number, "url": ""}],
        "case": found, "state": state, "phases": _phases(found), "facts": _facts(found, own=own),
        "deadline": _due(found), "inquiry": _inquiry(found),
        "inspectors": _inspectors(found), "inspector_acts": acts("inspectors"),
        "evidence": _evidence(found), "evidence_acts": acts("evidence"),
        "measures": _measures(found), "measure_acts": acts("measures"),
        "papers": [_paper(row) for row in found.papers.all()
                   if not own or row.kind not in case_papers.INTERNAL],
        "after": _after(found), "after_acts": acts("after"),
        "steps": [_step(found, step, typed, key) for step in
                  sorted(steps, key=lambda step: step.tone == "danger")
                  if step.key not in barred or step.key == key],
        "barred": [f"“{step.label}”由他人办理：{barred[step.key]}。"
                   for step in steps if step.key in barred],
        "moves": [_move(row, own=own) for row in
                  Move.objects.filter(subject=found.subject).order_by("-pk")],
    }), status=status)  # fmt: skip


def _phases(found: SupervisionCase) -> list[dict[str, str]]:
    now = PHASES.index(table().states[found.state].phase)
    over, failed = found.state == "archived", found.state in BAD
    return [
        {"label": phase, "state": "done" if number < now or over
         else ("failed" if failed else "now") if number == now else "next"}
        for number, phase in enumerate(PHASES)
    ]  # fmt: skip


def _step(found: SupervisionCase, step: Any, typed: forms.Form | None, key: str) -> dict[str, Any]:
    form = typed if isinstance(typed, StepForm) and key == step.key else StepForm(
        step=step, version=found.version, today=clock.today())  # fmt: skip
    if step.key == "notify" and not form.is_bound:
        form.fields["loss"].initial = f"{cases.loss_of(found) / 100:.2f}"
        form.fields["found"].initial = found.facts
    return {"form": form, "title": step.label, "danger": step.tone == "danger",
            "open": bool(form.errors), "url": reverse("case-step", args=[found.pk, step.key]),
            "multipart": False}  # fmt: skip


def _facts(found: SupervisionCase, *, own: bool) -> list[dict[str, Any]]:
    """What the case is; the party is not told how the office came to know (a report may name itself)."""
    place = case_steps.institution_of(found.institution_code)
    facts: list[dict[str, Any]] = [
        {"label": "案号", "value": found.number},
        {"label": "对象", "value": found.subject_name, "sub": found.get_subject_kind_display()},
        {"label": "发生机构", "value": place.name if place else "—",
         "url": reverse("institution", args=[place.pk]) if place else ""},
        {"label": "行为期间", "value": _span(found)},
        {"label": "来源", "value": found.get_origin_display(), "sub": found.origin_ref},
        {"label": "提请人", "value": Login(found.opened_by),
         "sub": f"{clock.local(found.opened_at):%Y-%m-%d %H:%M}"},
        {"label": "承办人", "value": Login(found.handled_by) or "—"},
        {"label": "决定人", "value": Login(found.decided_by) or "—",
         "sub": str(found.decided_on or "")},
        {"label": "档号", "value": found.archive_no or "—"},
        {"label": "线索摘要", "value": found.summary, "wide": True},
    ]  # fmt: skip
    return [fact for fact in facts if not own or fact["label"] not in INSIDE]


def _span(found: SupervisionCase) -> str:
    first, last = found.acted_from, found.acted_until
    return f"{first}" if first == last else f"{first} 至 {last}"


def _inquiry(found: SupervisionCase) -> list[dict[str, Any]]:
    if not found.route:
        return []
    article = law.decree().articles.get(found.article)
    return [
        {"label": "拟办途径", "value": found.get_route_display(),
         "sub": law.routes()[found.route].summary},
        {"label": "适用条款", "value": law.decree().cite(found.article) if found.article else "—",
         "sub": article.summary if article else ""},
        {"label": "造成基金损失", "value": f"{yuan(found.loss)} 元" if found.loss else "无"},
        {"label": "查明的事实", "value": found.facts, "wide": True},
        {"label": "陈述申辩", "value": found.statement or "（未提出）", "wide": True},
    ]  # fmt: skip


def _due(found: SupervisionCase) -> dict[str, Any] | None:
    if found.closed_at is not None or not (found.due or found.due_unknown):
        return None
    return {"due": found.due, "unknown": found.due_unknown, "word": table().states[found.state].todo,
            "clause": f"{table().document} {found.due_clause}",
            "example": case_steps.time_is_example(found)}  # fmt: skip


def _inspectors(found: SupervisionCase) -> Table:
    return Table(
        id="inspectors", caption="检查人员", show_caption=False, actions=False,
        columns=[Column(label="检查人员"), Column(label="分工"), Column(label="执法证号"),
                 Column(label="回避", wide=True)],
        rows=[Row(key=str(row.pk), label=row.username, cells=[
            Cell(text=Login(row.username), sub=f"{clock.local(row.named_at):%Y-%m-%d}"),
            Cell(text=row.get_role_display()), Cell(text=row.certificate, code=True),
            _recusal(row),
        ]) for row in found.inspectors.all()],
        empty_title="还没有检查人员",
        empty_text=f"调查须有{law.inspectors_needed()}名以上检查人员（{law.decree().cite('29')}）。",
    )  # fmt: skip


def _recusal(row: CaseInspector) -> Cell:
    if not row.recusal:
        return Cell(text="—")
    words = {True: "已回避", False: "不予回避", None: "待决定"}
    tones = {True: "mute", False: "ok", None: "warn"}
    more = ("；由", Login(row.replaced_by), "接替") if row.replaced_by else ()
    return Cell(text=words[row.recused], tone=tones[row.recused],
                sub=Told(f"{row.get_recusal_display()}：{row.recusal_reason}", *more))  # fmt: skip


def _evidence(found: SupervisionCase) -> Table:
    rows = list(found.evidence.select_related("document"))
    return Table(
        id="evidence", caption="证据清单", show_caption=False,
        columns=[Column(label="序号"), Column(label="名称与证明内容", wide=True), Column(label="类别"),
                 Column(label="涉及基金（元）", numeric=True), Column(label="摘要（SM3）")],
        rows=[Row(key=str(row.pk), label=row.title, cells=[
            Cell(text=str(row.no)),
            Cell(text=row.title, sub=words.subject(row.reference), url=_source(found, row)),
            Cell(text=row.get_kind_display()), Cell(text=yuan(row.loss) if row.loss else "—"),
            Cell(text=f"{row.digest[:16]}…", code=True, title=row.digest,
                 sub=Told(f"{clock.local(row.taken_at):%Y-%m-%d} ", Login(row.taken_by))),
        ]) for row in rows],
        empty_title="还没有证据", empty_text="没有证据不能告知当事人。",
    )  # fmt: skip


def _source(found: SupervisionCase, row: CaseEvidence) -> str:
    if row.document_id:
        return reverse("case-evidence", args=[found.pk, row.pk])
    kind, _, key = row.reference.partition(":")
    if kind == "finding" and key.isdigit():
        return reverse("finding", args=[key])
    return reverse("claim", args=[row.claim_id]) if row.claim_id else ""


def _measures(found: SupervisionCase) -> Table:
    rows = []
    for row in found.sanctions.all():
        told = sanctions.told(row)
        rows.append(Row(key=str(row.pk), label=told["label"], cells=[
            Cell(text=told["label"], sub=told["note"]), Cell(text=told["target"]),
            Cell(text=told["size"] or "—"), Cell(text=told["clause"]), _done(row),
        ]))  # fmt: skip
    return Table(
        id="measures", caption="处理措施", show_caption=False, actions=False,
        columns=[Column(label="措施", wide=True), Column(label="对象", wide=True), Column(label="内容"),
                 Column(label="依据", wide=True), Column(label="状态", wide=True)],
        rows=rows, empty_title="还没有处理措施",
        empty_text="调查中拟定的措施在此列明，告知当事人后由他人决定。",
    )  # fmt: skip


def _done(row: Sanction) -> Cell:
    made = [f"扣款 {each['claim']}" if "claim" in each else f"特殊调整 {each['adjustment']}"
            if "adjustment" in each else "" for each in row.effects]  # fmt: skip
    text = "；".join(filter(None, (str(row.done_on or ""), row.record, *made)))
    return Cell(text=row.get_state_display(), tone=TONES[row.state], sub=text)


def _after(found: SupervisionCase) -> list[dict[str, Any]]:
    """Whether it is public, and who has the file."""
    rows = []
    shown = Disclosure.objects.filter(case=found).first()
    if shown is not None:
        state = "已撤下" if shown.withdrawn_at else "已公布" if shown.approved_by else "待审批"
        rows.append({"label": "公开", "value": f"{state}（{shown.first_day} 至 {shown.last_day or '长期'}）",
                     "sub": shown.withdrawn_for or ("示例参数" if shown.example else ""),
                     "url": reverse("public-cases") if state == "已公布" else ""})  # fmt: skip
    for loan in ArchiveLoan.objects.filter(case=found):
        state = "已归还" if loan.returned_at else "借出中" if loan.approved_by else "待批准"
        rows.append({"label": "借阅", "value": Told(Login(loan.asked_by), f"：{state}"),
                     "sub": f"{loan.purpose}；应还 {loan.until}"})  # fmt: skip
    return rows


def _paper(row: CasePaper) -> dict[str, Any]:
    return {
        "title": row.get_kind_display(), "number": row.number, "on": row.made_on,
        "addressee": row.addressee, "url": reverse("case-paper", args=[row.case_id, row.pk]),
        "served": row.content.get("served_on", ""),
    }  # fmt: skip


def _move(row: Move, *, own: bool) -> dict[str, Any]:
    labels = {ask.key: dict(ask.choices) for step in table().steps for ask in step.asks}
    said = [labels.get(key, {}).get(str(value), "") for key, value in row.facts.items()]
    inside = own and row.step in ("open", "accept", "supplement")
    return {
        "at": f"{row.on} · 登记 {clock.local(row.at):%Y-%m-%d %H:%M}", "by": row.by,
        "title": row.label, "text": "" if inside else "；".join(filter(None, [row.note, *said])),
        "tone": "bad" if row.target in BAD else "ok",
        "clause": {"document": row.clause, "clause": ""} if row.clause else None,
    }  # fmt: skip


@requires("cases.view")
@require_POST
def step(request: PortalRequest, pk: int, step: str) -> HttpResponse:
    """Take a step of the table; who may, the table says."""
    found = visible(request, pk)
    try:
        chosen = table().step(step)
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
        rows = rows.exclude(kind__in=case_papers.INTERNAL)
    row = get_object_or_404(rows, pk=min(paper, 2**63 - 1))
    trail.record(
        by=request.user.username, at=clock.now(), action="supervisioncase.print",
        subject=found.subject, region_code=found.region_code,
        institution_code=found.institution_code, detail={"paper": row.number, "sm3": row.digest},
    )  # fmt: skip
    return _file(case_papers.pdf_of(row), "application/pdf", f"{row.number}.pdf", "inline")


@requires("cases.view")
@require_GET
def evidence(request: PortalRequest, pk: int, item: int) -> HttpResponse:
    """A file of the evidence list; every look is an event."""
    found = visible(request, pk)
    rows = found.evidence.filter(document__isnull=False).select_related("document")
    row = get_object_or_404(rows, pk=min(item, 2**63 - 1))
    document = row.document
    if document is None:
        raise Http404(str(item))
    content = content_of(document)
    trail.record(
        by=request.user.username, at=clock.now(), action="document.read",
        subject=f"document:{document.pk}", region_code=found.region_code,
        institution_code=found.institution_code, detail={"of": found.subject, "sm3": document.digest},
    )  # fmt: skip
    return _file(content, document.media_type, document.name, "attachment")


def _file(content: bytes, media_type: str, name: str, how: str) -> HttpResponse:
    answer = HttpResponse(content, content_type=media_type)
    answer["Content-Disposition"] = f"{how}; filename*=UTF-8''{quote(name)}"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    if how == "attachment":
        answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer
