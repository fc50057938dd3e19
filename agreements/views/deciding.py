"""One agreement and the decisions on it: what follows is shown before a decision is confirmed."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from agreements import lifecycle, terms
from agreements.agreement_forms import (
    Act,
    DecisionForm,
    DismissForm,
    OfferForm,
    PaperForm,
    RenewalForm,
)
from agreements.handbook import procedure_of
from agreements.lifecycle import DECIDE, DECISIONS, GONE, WORDS, Effect, Kind, State
from agreements.models import Agreement, AgreementState
from agreements.views.agreements import Typed, shown, state_cell, visible
from agreements.views.papers import renewal_of
from agreements.views.refusing import Refusals, refuse, words_of
from audit import clock
from audit.access import requires
from audit.models import Task
from audit.procedure import Refused
from institutions import documents
from institutions.access import PortalRequest
from institutions.models import Document
from institutions.naming import named

PAPER, RENEWED, UNCHANGED, OFFERED = "paper", "renewed", "unchanged", "offered"
TITLES = WORDS | {
    PAPER: "登记补签的纸质协议", OFFERED: "制作续签协议，网上签署", RENEWED: "登记已签署的纸质续签协议",
}  # fmt: skip
HINTS = {
    "suspended": "自生效日起中止；此日起的服务费用不予支付。",
    "resumed": "恢复须由经办机构明确决定，自生效日起恢复为中止前的状态。",
    "terminated": "自生效日起解除；解除后不能恢复，须重新申请签约。",
    OFFERED: "续签是另行签订：双方先后网上签署并通过验证，新协议方成立；补充协议与定点协议同日终止。",
    RENEWED: "双方已在纸上签订的，上传扫描件并登记新的协议期；补充协议与定点协议同日终止。",
    PAPER: "双方补签纸质协议后，上传扫描件并登记补签日。",
}


@dataclass(frozen=True)
class Standing:
    """An agreement on the day from which it is decided, and what was known of it."""

    agreement: Agreement
    day: dt.date
    states: tuple[AgreementState, ...]
    version: int

    @classmethod
    def of(cls, agreement: Agreement, today: dt.date) -> "Standing":
        day = max(today, agreement.valid_from)
        if agreement.valid_until is not None:
            day = min(day, agreement.valid_until)
        known = agreement.states.known().order_by("valid_from")
        reach = tuple(row for row in known if row.valid_until is None or row.valid_until >= day)
        return cls(agreement, day, reach, lifecycle.version_of(agreement))

    def acts(self) -> list[str]:
        """What can be decided now."""
        open_states = {row.state for row in self.states}
        found = [key for key, (_, sources) in DECISIONS.items() if open_states & set(sources)]
        if self._renewable():
            found += [OFFERED, RENEWED]
        if self.states and self.states[0].state == State.PAPER_PENDING and self.paper_state():
            found.append(PAPER)
        return found

    def _renewable(self) -> bool:
        end = self.agreement.valid_until
        if end is None or self.agreement.next.exists():
            return False
        last = lifecycle.state_on(self.agreement, end)
        return last is not None and last.state not in GONE

    def paper_state(self) -> str:
        """The state after the paper signature; empty where a running application registers it."""
        running = self.agreement.applications.filter(closed_at__isnull=True)
        try:
            table = procedure_of(self.agreement.institution)
        except Refused:
            return ""
        return "" if running.exists() else str(table.data.get("contract", {}).get("paper", ""))

    def form(self, act: str, *given: Any) -> Act:
        """The form of an act, filled in as far as it is known."""
        initial: dict[str, Any] = {"seen": self.version, "on": self.day}
        if act in DECISIONS:
            return DecisionForm(*given, name=act, initial=initial | {"clause": self._clause(act)})
        if act == PAPER:
            return PaperForm(*given, name=act, initial=initial)
        form = OfferForm if act == OFFERED else RenewalForm
        return form(
            *given, name=act, initial=initial | {"signed_on": clock.today()},
            own_end=self.agreement.kind == Kind.MAIN, advice=self.advice,
        )  # fmt: skip

    @cached_property
    def advice(self) -> terms.Advice:
        """What the latest assessment says of a renewal."""
        return terms.advice_on(self.agreement)

    def _clause(self, act: str) -> str:
        rule = lifecycle.cascade_of(self.agreement, f"{self.agreement.kind}_{act}", self.day)
        return str(rule.get("clause", ""))


@requires("agreements.view")
@require_GET
def agreement(request: PortalRequest, pk: int) -> HttpResponse:
    """One agreement: its term and states by day and by knowledge, papers, and what to decide."""
    return page(request, visible(request, pk), Typed())


def page(request: PortalRequest, found: Agreement, typed: Typed) -> HttpResponse:
    """The page of an agreement; who may decide finds the forms on it."""
    context = shown(request, found)
    may = request.user.may(DECIDE)
    standing = Standing.of(found, clock.today())
    if may:
        context["acts"] = [_act(standing, act, typed) for act in standing.acts()]
    if may or request.user.institution_id is None:
        context["questions"] = [
            {"task": task, "key": task.subject.rpartition(":")[2], "leave": _leaving(task),
             "form": typed.kept.get(f"{UNCHANGED}-{task.pk}")
             or DismissForm(auto_id=f"question_{task.pk}_%s") if may else None}
            for task in lifecycle.questions_about(found)
        ]  # fmt: skip
    context["preview"] = typed.preview
    context["renewal"] = named(renewal_of(request, found))
    return render(request, "agreements/agreement.html", context, status=typed.status)


def _leaving(task: Task) -> str:
    """What it is called when nothing follows."""
    question = task.subject.rpartition(":")[2]
    return "不续签，到期终止" if question in lifecycle.ANSWERS["renewed"] else "维持现状"


def _act(standing: Standing, act: str, typed: Typed) -> dict[str, Any]:
    form = typed.kept.get(act)
    if form is not None:  # whoever sends it again has seen the page as it is now
        form.data = {name: form.data[name] for name in form.data} | {"seen": standing.version}
    return {
        "key": act, "url": _address(standing.agreement, act), "title": TITLES[act],
        "hint": HINTS[act], "form": form or standing.form(act), "open": form is not None,
        "danger": act in ("suspended", "terminated"), "two": act in DECISIONS,
    }  # fmt: skip


def _address(found: Agreement, act: str) -> str:
    names = {RENEWED: "agreement-renew", PAPER: "agreement-paper", OFFERED: "agreement-offer"}
    if act in names:
        return reverse(names[act], args=[found.pk])
    return reverse("agreement-decide", args=[found.pk, act])


# --- Acts ---


@requires(DECIDE)
@require_POST
def decide(request: PortalRequest, pk: int, act: str) -> HttpResponse:
    """A decision: first what would follow, and when that is confirmed the command itself."""
    if act not in DECISIONS:
        raise Http404
    found = visible(request, pk)
    form = Standing.of(found, clock.today()).form(act, request.POST)
    if "edit" in request.POST:
        return page(request, found, Typed({act: form}))
    if not form.is_valid():
        return page(request, found, Typed({act: form}, status=422))
    given, now = form.cleaned_data, clock.now()

    def preview() -> HttpResponse:
        lifecycle.unchanged_since(found, given["seen"])
        effects = lifecycle.effects_of(
            agreement=found, decision=act, on=given["on"], clause=given["clause"]
        )
        told = _preview(act, form, effects) | {"url": _address(found, act)}
        return page(request, found, Typed(preview=told))

    def carry_out() -> HttpResponse:
        lifecycle.decide(agreement=found, decision=act, by=request.user.username, at=now, **given)
        return done(request, found, f"协议自 {given['on']} 起{WORDS[act]}。")

    confirmed = "confirmed" in request.POST
    return tried(request, found, act, form, carry_out if confirmed else preview)


def _preview(act: str, form: forms.Form, effects: list[Effect]) -> dict[str, Any]:
    """What a decision would do, in words."""
    return {
        "title": WORDS[act], "form": form, "danger": act != "resumed",
        "given": [
            {"label": form[name].label, "value": str(form.cleaned_data[name])}
            for name in ("on", "reason", "clause")
        ],
        "effects": [_effect(effect, act) for effect in effects],
        "late": form.cleaned_data["on"] < clock.today(),
    }  # fmt: skip


def _effect(effect: Effect, act: str) -> dict[str, Any]:
    row = effect.agreement
    if effect.question:
        told = lifecycle.QUESTIONS[effect.question].format(
            word=WORDS[act], kind=row.get_kind_display()
        )
        words, tone = f"由经办机构另行决定：{told}", "wait"
    elif effect.own:
        words, tone = f"自 {effect.since} 起{WORDS[act]}", state_cell(effect.state).tone
    else:
        words = f"将同时{WORDS[act]}，自 {effect.since} 起"
        tone = state_cell(effect.state).tone
    return {
        "kind": row.get_kind_display(), "number": row.number, "words": words, "tone": tone,
        "clause": effect.clause,
        "replaced": [
            f"{old.valid_from} 起{old.get_state_display()}" for old in effect.replaced()
        ],
    }  # fmt: skip


@requires(DECIDE)
@require_POST
def leave(request: PortalRequest, pk: int, question: str) -> HttpResponse:
    """The agency decides that nothing follows from what happened to the other agreement."""
    found = visible(request, pk)
    tasks = {task.subject.rpartition(":")[2]: task for task in lifecycle.questions_about(found)}
    task = tasks.get(question)
    auto_id = f"question_{task.pk if task else 0}_%s"
    form = DismissForm(request.POST, auto_id=auto_id)

    def act() -> HttpResponse:
        lifecycle.dismiss(
            agreement=found, question=question, reason=form.cleaned_data["reason"],
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
        return done(request, found, "决定与理由已登记。")

    return tried(request, found, f"{UNCHANGED}-{task.pk if task else 0}", form, act)


@requires(DECIDE)
@require_POST
def renew(request: PortalRequest, pk: int) -> HttpResponse:
    """A new term that was signed anew on paper."""
    found = visible(request, pk)
    form = Standing.of(found, clock.today()).form(RENEWED, request.POST, request.FILES)

    def act() -> HttpResponse:
        given = form.cleaned_data
        made = terms.renew(
            agreement=found, signed_on=given["signed_on"], valid_until=given.get("valid_until"),
            number=given["number"], reason=given["reason"], seen=given["seen"],
            by=request.user.username, at=clock.now(),
            document=_stored(request, found, given["file"]),
        )  # fmt: skip
        return done(request, made, f"已续签，新协议 {made.number} 自 {made.valid_from} 起生效。")

    return tried(request, found, RENEWED, form, act)


@requires(DECIDE)
@require_POST
def paper(request: PortalRequest, pk: int) -> HttpResponse:
    """The agreement signed on paper afterwards is registered."""
    found = visible(request, pk)
    standing = Standing.of(found, clock.today())
    form = standing.form(PAPER, request.POST, request.FILES)

    def act() -> HttpResponse:
        given, state = form.cleaned_data, standing.paper_state()
        if not state:
            raise Refused(409, "PAPER_BY_APPLICATION", "补签的纸质协议请在申请办理中登记")
        lifecycle.unchanged_since(found, given["seen"])
        lifecycle.register_paper(
            agreement=found, document=_stored(request, found, given["file"]), state=state,
            on=given["on"], by=request.user.username, at=clock.now(),
        )  # fmt: skip
        return done(request, found, "补签的纸质协议已登记。")

    return tried(request, found, PAPER, form, act)


def _stored(request: PortalRequest, found: Agreement, file: Any) -> Document:
    return documents.store(
        content=file.read(), name=file.name or PAPER, kind=PAPER,
        subject=lifecycle.subject_of(found), institution=found.institution,
        by=request.user.username, at=clock.now(),
    )  # fmt: skip


def tried(
    request: PortalRequest, found: Agreement, name: str, form: forms.Form,
    act: Callable[[], HttpResponse],
) -> HttpResponse:  # fmt: skip
    """Run an act of a valid form in one transaction; refused, the page comes back with the form."""
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                return act()
        except Refusals as refused:
            status = refuse(form, refused)
            if status == 409 or not form.fields:
                messages.error(request, f"{words_of(refused)}。")
    return page(request, visible(request, found.pk), Typed({name: form}, status=status))


def done(request: PortalRequest, found: Agreement, told: str) -> HttpResponse:
    messages.success(request, told)
    return redirect("agreement", pk=found.pk)
