"""One application: its page, and every act on it. An act that is refused shows the page again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from agreements import commands, contracts
from agreements.forms import (
    AnswerForm,
    JudgementForm,
    NewApplication,
    ObjectionForm,
    StatementForm,
    StepForm,
)
from agreements.identities import SIDES
from agreements.models import Application, Contract, Objection
from agreements.views.dossier import APPLY, Dossier
from agreements.views.refusing import Refusals, refuse, words_of
from agreements.views.remaining import Clocks
from audit import clock
from audit.access import requires
from audit.procedure import Refused
from institutions import documents
from institutions.access import PortalRequest
from institutions.models import Document
from institutions.naming import named

EVIDENCE = "evidence"  #: the kind of document that a condition is proven by
ATTACHED = "attachment"  #: the kind of document that comes with a step
BIGGEST_ID = 2**63 - 1


@dataclass
class Typed:
    """What was sent and refused: forms with their errors by name, and the status of the answer."""

    kept: dict[str, forms.Form] = field(default_factory=dict)
    status: int = 200


@requires("applications.view")
@require_GET
def application(request: PortalRequest, pk: int) -> HttpResponse:
    """One application as the reader sees it, with what he or she can do now."""
    return _page(request, _visible(request, pk), Typed())


def _visible(request: PortalRequest, pk: int) -> Application:
    """An application inside the reader's scope; any other does not exist."""
    rows = Application.objects.visible_to(request.user).select_related(
        "institution__region", "previous", "agreement"
    )
    return get_object_or_404(rows, pk=min(pk, BIGGEST_ID))


def _page(request: PortalRequest, found: Application, typed: Typed) -> HttpResponse:
    dossier = Dossier(found, user=request.user, today=clock.today())
    clocks = Clocks([found], today=clock.today())
    return render(request, "agreements/application.html", named({
        "breadcrumbs": [{"label": "协议与接入", "url": ""},
                        {"label": "申请办理", "url": reverse("applications")},
                        {"label": found.number, "url": ""}],
        "application": found, "badge": dossier.badge(), "phases": dossier.phases(),
        "facts": dossier.facts(), "holder": dossier.holder(), "deadline": dossier.deadline(clocks),
        "procedure": dossier.procedure, "final": dossier.state.final,
        "steps": _steps(dossier, typed), "checklists": _checklists(dossier, typed),
        "missing": dossier.missing() if not dossier.state.final else [],
        "notices": dossier.notices(), "contracts": dossier.contracts(),
        "objections": _objections(dossier, typed), "documents": dossier.documents(),
        "timeline": dossier.timeline(), "again": _again(request, dossier),
        "before": dossier.before(),
        "problems": list(_problems(typed)),
    }), status=typed.status)  # fmt: skip


def _problems(typed: Typed) -> Iterator[dict[str, str]]:
    """Every error of the refused form, with the place of its field."""
    for form in typed.kept.values():
        for name, errors in form.errors.items():
            bound = form[name] if name in form.fields else None
            label = f"{bound.label}：" if bound and bound.label else ""
            for error in errors:
                yield {"text": f"{label}{error}", "target": bound.id_for_label if bound else ""}


def _steps(dossier: Dossier, typed: Typed) -> list[dict[str, Any]]:
    """A form for each step that can be taken; the only one that leads on stands open."""
    shown: list[dict[str, Any]] = []
    for step in sorted(dossier.steps, key=lambda step: step.tone == "danger"):
        form = typed.kept.get(step.key) or StepForm(
            step=step, version=dossier.application.version, today=dossier.today
        )
        target = dossier.procedure.states[step.target]
        shown.append(
            {"step": step, "form": form, "target": target.label, "open": bool(form.errors),
             "clause": dossier.clause(step.clause) if step.clause else None,
             "url": reverse("application-step", args=[dossier.application.pk, step.key])}
        )  # fmt: skip
    leading = [entry for entry in shown if entry["step"].tone != "danger"]
    if len(leading) == 1 and not any(entry["open"] for entry in shown):
        leading[0]["open"] = True
    return shown


def _checklists(dossier: Dossier, typed: Typed) -> list[dict[str, Any]]:
    parts = dossier.checklists()
    for part in parts:
        rows = [line["row"] for line in part["rows"]]
        if part["judged"]:
            form = typed.kept.get("judge")
            judging = (
                form if isinstance(form, JudgementForm) and form.part == part["part"]
                else JudgementForm(part=part["part"], requirements=rows)
            )  # fmt: skip
            part["form"] = judging
            part["judge_url"] = reverse(
                "application-judge", args=[dossier.application.pk, part["part"]]
            )
        for line in part["rows"]:
            row = line["row"]
            if part["judged"]:
                line["judge"] = judging.of(row)
            if line["fillable"]:
                line["form"] = typed.kept.get(f"state-{row.pk}") or StatementForm(row=row)
                line["open"] = bool(line["form"].errors) or not (row.statement or line["documents"])
                line["url"] = reverse(
                    "application-state", args=[dossier.application.pk, row.part, row.no]
                )
    return parts


def _objections(dossier: Dossier, typed: Typed) -> dict[str, Any]:
    """Objections with their decisions; who may record and answer them does it here.

    The institution objected to reads what is objected, never who did.
    """
    application = dossier.application
    rows = list(application.objections.order_by("pk"))
    may = dossier.published and dossier.user.may("applications.review")
    raising = typed.kept.get("objection") or ObjectionForm(initial={"on": dossier.today})
    return {
        "rows": [
            {"row": row, "by": "异议人（身份不公开）" if dossier.user.institution_id else row.raised_by,
             "tone": {"open": "warn", "upheld": "bad", "dismissed": "ok"}[row.outcome],
             "form": _answer_form(row, typed) if may and row.outcome == "open" else None,
             "url": reverse("application-answer", args=[application.pk, row.pk])}
            for row in rows
        ],
        "form": raising if may else None, "shown": bool(rows) or may,
        "url": reverse("application-object", args=[application.pk]),
    }  # fmt: skip


def _answer_form(row: Objection, typed: Typed) -> forms.Form:
    return typed.kept.get(f"answer-{row.pk}") or AnswerForm(auto_id=f"answer_{row.pk}_%s")


def _again(request: PortalRequest, dossier: Dossier) -> dict[str, Any] | None:
    """After an end without success: whether and from when the hospital can apply again."""
    hospital = request.user.institution
    if not (dossier.state.final and dossier.state.tone != "ok" and hospital
            and request.user.may(APPLY)):  # fmt: skip
        return None
    try:
        commands.may_apply(institution=hospital, who=request.user, at=clock.now())
    except Refused as refused:
        if refused.field not in NewApplication.base_fields:
            return {"why": words_of(refused), "url": ""}
    address = reverse("application-new")
    return {"why": "", "url": f"{address}?previous={dossier.application.pk}"}


# --- Acts ---


@requires("applications.view")
@require_POST
def take_step(request: PortalRequest, pk: int, step: str) -> HttpResponse:
    """Take a step of the table; who may, the table says."""
    found = _visible(request, pk)
    dossier = Dossier(found, user=request.user, today=clock.today())
    chosen = next((row for row in dossier.procedure.steps if row.key == step), None)
    if chosen is None:
        return _not_now(request, found, Refused(404, "STEP_UNKNOWN", "没有这一步骤"))
    form = StepForm(request.POST, request.FILES, step=chosen, version=found.version,
                    today=dossier.today)  # fmt: skip

    def act() -> str:
        facts = form.facts()
        for name, files in form.uploads().items():
            kept = [_kept(request, found, file, ATTACHED) for file in files]
            facts[name] = [document.pk for document in kept]
        move = commands.take_step(
            application=found, step=step, who=request.user, by=request.user.username,
            at=clock.now(), on=form.cleaned_data.get("on"), note=form.note, facts=facts,
            version=form.cleaned_data["version"],
        )  # fmt: skip
        return f"已办理“{move.label}”，当前状态：{dossier.procedure.states[found.state].label}。"

    offered = any(row.key == step for row in dossier.steps)
    return _done(request, found, step if offered else "", form, act)


def _kept(request: PortalRequest, found: Application, file: UploadedFile, kind: str) -> Document:
    return documents.store(
        content=file.read(), name=file.name or kind, kind=kind, subject=found.subject,
        institution=found.institution, by=request.user.username, at=clock.now(),
    )  # fmt: skip


def _done(
    request: PortalRequest, found: Application, name: str, form: forms.Form, act: Callable[[], str]
) -> HttpResponse:
    """Run an act of a valid form in one transaction; refused, the page comes back with the form."""
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                told = act()
        except Refusals as refused:
            status = refuse(form, refused)
            if not name or refused.status in (403, 404, 409):
                return _not_now(request, found, refused, name, form)
        else:
            messages.success(request, told)
            return redirect("application", pk=found.pk)
    elif not name:
        return _not_now(request, found, Refused(409, "STEP_NOT_POSSIBLE", "当前不能办理这一步骤"))
    return _page(request, _visible(request, found.pk), Typed({name: form}, status))


def _not_now(
    request: PortalRequest, found: Application, refused: Any, name: str = "",
    form: forms.Form | None = None,
) -> HttpResponse:  # fmt: skip
    """A step that is not there any more, or is somebody else's: said above the present page.

    What was typed stays in the form when the form still exists.
    """
    messages.error(request, f"{words_of(refused)}。")
    typed = Typed({name: form} if name and form else {}, refused.status)
    return _page(request, _visible(request, found.pk), typed)


@requires(APPLY)
@require_POST
def state(request: PortalRequest, pk: int, part: str, no: str) -> HttpResponse:
    """State how a condition is met, with evidence."""
    found = _visible(request, pk)
    rows = (row for row in found.requirements.all() if (row.part, row.no) == (part, no))
    row = next(rows, None)
    if row is None:
        raise Http404
    form = StatementForm(request.POST, request.FILES, row=row)

    def act() -> str:
        given = form.cleaned_data
        kept = [*given.get("keep", ())]
        kept += [_kept(request, found, file, EVIDENCE) for file in given["evidence"]]
        commands.state_requirement(
            application=found, part=part, no=no, statement=given["statement"],
            documents=kept, who=request.user, by=request.user.username, at=clock.now(),
        )  # fmt: skip
        return f"第 {no} 项“{row.text}”已保存。"

    return _done(request, found, f"state-{row.pk}", form, act)


@requires("applications.view")
@require_POST
def judge(request: PortalRequest, pk: int, part: str) -> HttpResponse:
    """Judge a whole part of the checklist at once; who may, the table says."""
    found = _visible(request, pk)
    rows = list(found.requirements.filter(part=part).order_by("pk"))
    data = request.POST.copy()
    if data.get("action") == "all":
        data.update({f"met_{row.pk}": "yes" for row in rows})
    form = JudgementForm(data, part=part, requirements=rows)

    def act() -> str:
        judged = form.judged()
        for row, met, remark in judged:
            commands.judge_requirement(
                application=found, part=part, no=row.no, met=met, remark=remark,
                who=request.user, by=request.user.username, at=clock.now(),
            )  # fmt: skip
        return f"已保存 {len(judged)} 项审核意见。" if judged else "审核意见没有变化。"

    return _done(request, found, "judge", form, act)


@requires("applications.review")
@require_POST
def raise_objection(request: PortalRequest, pk: int) -> HttpResponse:
    """Record an objection raised in the public notice."""
    found = _visible(request, pk)
    form = ObjectionForm(request.POST)

    def act() -> str:
        commands.raise_objection(
            application=found, who=request.user, by=request.user.username, at=clock.now(),
            **form.cleaned_data,
        )  # fmt: skip
        return "异议已登记。"

    return _done(request, found, "objection", form, act)


@requires("applications.review")
@require_POST
def answer_objection(request: PortalRequest, pk: int, objection: int) -> HttpResponse:
    """Decide an objection."""
    found = _visible(request, pk)
    row = get_object_or_404(found.objections, pk=min(objection, BIGGEST_ID))
    form = AnswerForm(request.POST, auto_id=f"answer_{row.pk}_%s")

    def act() -> str:
        commands.answer_objection(
            objection=row, who=request.user, by=request.user.username, at=clock.now(),
            **form.cleaned_data,
        )  # fmt: skip
        return "异议处理结果已登记。"

    return _done(request, found, f"answer-{row.pk}", form, act)


@requires("applications.view")
@require_GET
def verify_contract(request: PortalRequest, pk: int, contract: int) -> HttpResponse:
    """Verify the signatures inside a contract's file now: a panel, or a page."""
    found = _visible(request, pk)
    row = get_object_or_404(
        Contract.objects.filter(application=found), pk=min(contract, BIGGEST_ID)
    )
    report = contracts.report_on(found, row)
    return render(request, "agreements/verification.html", {
        "base": "fragment.html" if request.htmx else "base.html",
        "report": report, "contract": row, "document": contracts.file_of(row),
        "partial": bool(report.missing) and all(found.valid for found in report.signatures),
        "signatures": [
            {"label": SIDES.get(found.side, found.side), "signer": found.signer,
             "at": f"{clock.local(found.signed_at):%Y-%m-%d %H:%M}" if found.signed_at else "",
             "valid": found.valid, "why": "；".join(found.reasons)}
            for found in report.signatures
        ],
        "breadcrumbs": [{"label": "申请办理", "url": reverse("applications")},
                        {"label": found.number, "url": reverse("application", args=[found.pk])},
                        {"label": "签名验证", "url": ""}],
    })  # fmt: skip
