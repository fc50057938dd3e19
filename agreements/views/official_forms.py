"""One official form: opening it, filling it in, sealing it, its paper in the printed layout."""

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements import submissions
from agreements.forms import StepForm
from agreements.models import FormSubmission
from agreements.official_forms import Filled, Form, forms_of
from agreements.submission_forms import (
    ADD,
    REMOVE,
    SUBMIT,
    ContentForm,
    NewSubmission,
    changed_rows,
)
from agreements.submissions import FILL, SEALED, VIEW
from agreements.views.dossier import tone_of
from agreements.views.form_parts import as_file, crumbs, law_here
from agreements.views.refusing import Refusals, refuse, words_of
from audit import clock
from audit.access import requires
from audit.models import Move
from audit.moves import offered
from audit.procedure import PROCEDURES, Procedure, Refused
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import named
from institutions.refusals import Refusal
from institutions.registry_forms import ReasonForm

BIGGEST_ID = 2**63 - 1


@requires(FILL)
@require_http_methods(["GET", "POST"])
def forms_new(request: PortalRequest, form: str) -> HttpResponse:
    """Open a form, for an institution of the own area where it is about one."""
    law = law_here(request)
    chosen = forms_of(law).get(form)
    if chosen is None:
        raise Http404
    choice = NewSubmission(
        request.POST if request.method == "POST" else None, needed=bool(chosen.serves),
        institutions=_institutions(request),
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if choice.is_valid():
            try:
                made = submissions.open_form(
                    form=form, who=request.user, institution=choice.cleaned_data["institution"],
                    on=clock.today(), by=request.user.username, at=clock.now(),
                )  # fmt: skip
            except Refusals as refused:
                status = refuse(choice, refused)
            else:
                messages.success(request, f"申请表 {made.number} 已建立，请填写后提交。")
                return redirect("forms-item", pk=made.pk)
    return render(request, "agreements/form_new.html", {
        "breadcrumbs": crumbs({"label": chosen.short, "url": ""}), "form": chosen, "law": law,
        "choice": choice,
    }, status=status)  # fmt: skip


def _institutions(request: PortalRequest) -> QuerySet[Institution]:
    kinds = (Institution.Kind.MEDICAL, Institution.Kind.PHARMACY)
    return Institution.objects.visible_to(request.user).filter(kind__in=kinds).order_by("name")


@requires(VIEW)
@require_GET
def form(request: PortalRequest, pk: int) -> HttpResponse:
    """One submission: what stands in it (masked), what can be done with it now."""
    return _page(request, _visible(request, pk))


def _visible(request: PortalRequest, pk: int) -> FormSubmission:
    rows = FormSubmission.objects.visible_to(request.user).select_related("institution")
    return get_object_or_404(rows, pk=min(pk, BIGGEST_ID))


def _page(
    request: PortalRequest, found: FormSubmission, *, editing: ContentForm | None = None,
    step: StepForm | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    chosen, table = submissions.form_of(found), PROCEDURES[found.procedure]
    state, law = table.states[found.state], law_here(request)
    draft = found.state == table.first.key and submissions.may_fill(request.user, law)
    shown = submissions.shown(found, chosen)
    if draft and editing is None:
        editing = _content_form(found, chosen)
    return render(request, "agreements/form.html", {
        "breadcrumbs": crumbs({"label": found.number, "url": ""}), "found": found,
        "form": chosen, "law": law, "badge": {"text": state.label, "tone": tone_of(state)},
        "editing": editing if draft else None, "facts": _facts(found, chosen, shown),
        "heads": chosen.columns, "rows": _cells(chosen, shown), "seal": found.content.get("seal"),
        "steps": _steps(request, found, table, step, saving=draft),
        "timeline": named(_timeline(found, table)),
        "reveal": submissions.may_see(request.user, found),
        "final": state.final, "todo": state.todo,
    }, status=status)  # fmt: skip


def _content_form(found: FormSubmission, chosen: Form, data: Any = None) -> ContentForm:
    return ContentForm(
        data, form=chosen, stored=submissions.filled_of(found), version=found.version
    )


def _facts(found: FormSubmission, chosen: Form, shown: Filled) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {"label": blank.label, "value": shown.fields.get(blank.key) or "—",
         "sub": "加密保存" if blank.restricted and shown.fields.get(blank.key) else ""}
        for blank in chosen.fields
    ]  # fmt: skip
    if found.institution and not chosen.serves:
        items.append({"label": "所属机构", "value": found.institution.name})
    return items


def _cells(chosen: Form, shown: Filled) -> list[dict[str, Any]]:
    return [
        {"no": place, "cells": [{"label": b.name, "value": row.get(b.key) or "—"}
                                for b in chosen.columns[1:]]}
        for place, row in enumerate(shown.rows, 1)
    ]  # fmt: skip


def _steps(
    request: PortalRequest, found: FormSubmission, table: Procedure, kept: StepForm | None, *,
    saving: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """A form for each step; a draft is handed in where it is filled in, so that nothing typed is lost."""
    shown = []
    steps = offered(case=found, procedure=table, handbook=submissions.HANDBOOK, who=request.user,
                    level=request.user.level)  # fmt: skip
    for number, step in enumerate(one for one in steps if not (saving and one.key == SUBMIT)):
        mine = kept is not None and kept.step.key == step.key
        filling = kept if mine else StepForm(step=step, version=found.version, today=clock.today())
        shown.append({
            "step": step, "form": filling, "target": table.states[step.target].label,
            "open": mine or (kept is None and number == 0 and step.tone != "danger"),
            "url": reverse("forms-step", args=[found.pk, step.key]),
        })  # fmt: skip
    return shown


def _timeline(found: FormSubmission, table: Procedure) -> list[dict[str, Any]]:
    moves = Move.objects.filter(subject=found.subject).order_by("-pk")
    return [
        {"at": f"{clock.local(move.at):%Y-%m-%d %H:%M}", "by": move.by, "text": move.note,
         "title": f"{move.label} → {table.states[move.target].label}" if move.source else move.label}
        for move in moves
    ]  # fmt: skip


@requires(FILL)
@require_POST
def content(request: PortalRequest, pk: int) -> HttpResponse:
    """Save what was filled in, add or remove a row, or save and hand in."""
    found = _visible(request, pk)
    chosen, action = submissions.form_of(found), request.POST.get("action", "")
    if action == ADD or action.startswith(REMOVE):
        data = changed_rows(request.POST, chosen, action)
        return _page(request, found, editing=_content_form(found, chosen, data))
    editing = _content_form(found, chosen, request.POST)
    if not editing.is_valid():
        return _page(request, found, editing=editing, status=422)
    try:
        with transaction.atomic():
            _save(request, found, editing, submit=action == SUBMIT)
    except Refusal as refusal:
        editing.take(submissions.faults_of(refusal))
        return _page(request, _visible(request, pk), editing=editing, status=refusal.status)
    except Refused as refused:
        messages.error(request, f"{words_of(refused)}。")
        return _page(request, _visible(request, pk), editing=editing, status=refused.status)
    messages.success(request, "已提交，待省级审核盖章。" if action == SUBMIT else "草稿已保存。")
    return redirect("forms-item", pk=pk)


def _save(
    request: PortalRequest, found: FormSubmission, editing: ContentForm, *, submit: bool
) -> None:
    act: dict[str, Any] = {
        "who": request.user, "by": request.user.username, "at": clock.now()
    }  # fmt: skip
    saved = submissions.fill(
        submission=found, filled=editing.filled(), version=editing.cleaned_data["version"], **act
    )
    if submit:
        submissions.take_step(submission=saved, step=SUBMIT, version=saved.version, **act)


@requires(VIEW)
@require_POST
def take_step(request: PortalRequest, pk: int, step: str) -> HttpResponse:
    """Take a step of the table; who may, the table says."""
    found = _visible(request, pk)
    table = PROCEDURES[found.procedure]
    chosen = next((row for row in table.steps if row.key == step), None)
    if chosen is None:
        raise Http404
    filling = StepForm(request.POST, step=chosen, version=found.version, today=clock.today())
    if not filling.is_valid():
        return _page(request, found, step=filling, status=422)
    try:
        with transaction.atomic():
            move = submissions.take_step(
                submission=found, step=step, who=request.user, by=request.user.username,
                at=clock.now(), on=filling.cleaned_data.get("on"), note=filling.note,
                version=filling.cleaned_data["version"],
            )  # fmt: skip
    except Refusals as refused:
        return _refused(request, pk, filling, refused)
    messages.success(
        request, f"已办理“{move.label}”，当前状态：{table.states[move.target].label}。"
    )
    return redirect("forms-item", pk=pk)


def _refused(
    request: PortalRequest, pk: int, filling: StepForm, refused: Refused | Refusal
) -> HttpResponse:
    """A refused step: blanks that lack are told at their place, the rest above the page."""
    found = _visible(request, pk)
    if isinstance(refused, Refusal) and refused.faults:
        editing = ContentForm.of(submissions.form_of(found), submissions.filled_of(found),
                                 version=found.version)  # fmt: skip
        editing.take(refused.faults)
        messages.error(request, f"{refused.detail[0]}：共 {len(refused.faults)} 处，见下方标注。")
        return _page(request, found, editing=editing, step=filling, status=refused.status)
    return _page(request, found, step=filling, status=refuse(filling, refused))


# --- What is hidden, and the paper ---


@requires(VIEW)
@require_http_methods(["GET", "POST"])
def reveal(request: PortalRequest, pk: int) -> HttpResponse:
    """Restricted values in clear, against a reason; the look is an event."""
    found = _visible(request, pk)
    if not submissions.may_see(request.user, found):
        raise Http404
    asking = ReasonForm(request.POST if request.method == "POST" else None)
    if not asking.is_bound:
        return _revealing(request, found, asking, 200)
    if not asking.is_valid():
        return _revealing(request, found, asking, 422)
    try:
        filled = submissions.reveal(
            submission=found, reason=asking.cleaned_data["reason"], who=request.user,
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusals as refused:
        return _revealing(request, found, asking, refuse(asking, refused))
    items = _hidden(submissions.form_of(found), filled)
    return _revealing(request, found, asking, 200, items)


def _revealing(
    request: PortalRequest, found: FormSubmission, asking: ReasonForm, status: int,
    items: list[dict[str, Any]] | None = None,
) -> HttpResponse:  # fmt: skip
    answer = render(request, "agreements/form_reveal.html", {
        "breadcrumbs": crumbs(
            {"label": found.number, "url": reverse("forms-item", args=[found.pk])},
            {"label": "查看完整内容", "url": ""},
        ),
        "form": asking, "items": items, "found": found, "sealed": found.state in SEALED,
    }, status=status)  # fmt: skip
    answer["Cache-Control"] = "no-store"
    return answer


def _hidden(chosen: Form, filled: Filled) -> list[dict[str, Any]]:
    items = [
        {"label": blank.label, "value": filled.fields.get(blank.key) or "—", "code": True}
        for blank in chosen.fields if blank.restricted
    ]  # fmt: skip
    return items + [
        {"label": f"第{place}行 {blank.label}", "value": row.get(blank.key) or "—", "code": True}
        for place, row in enumerate(filled.rows, 1) for blank in chosen.columns if blank.restricted
    ]  # fmt: skip


@requires(VIEW)
@require_http_methods(["GET", "POST"])
def paper(request: PortalRequest, pk: int) -> HttpResponse:
    """The form in its official layout: masked as it is fetched, in clear against a reason. An event."""
    found = _visible(request, pk)
    asking = ReasonForm(request.POST if request.method == "POST" else None)
    if asking.is_bound and not submissions.may_see(request.user, found):
        raise Http404
    if asking.is_bound and not asking.is_valid():
        return _revealing(request, found, asking, 422)
    reason = asking.cleaned_data["reason"] if asking.is_bound else None
    try:
        made = submissions.official_paper(
            submission=found, who=request.user, reason=reason, by=request.user.username,
            at=clock.now(),
        )  # fmt: skip
    except Refused as refused:
        if not asking.is_bound:
            raise Http404 from refused
        return _revealing(request, found, asking, refuse(asking, refused))
    name = f"{found.number}{'（已遮盖）' if reason is None else ''}.pdf"
    return as_file(HttpResponse(made, content_type="application/pdf"), name)
