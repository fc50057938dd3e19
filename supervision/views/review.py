"""One fee review: the queue at the left, the whole visit at the right; verdicts, then the case."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.models import Move, Task
from audit.moves import offered
from audit.procedure import Refused
from audit.text import yuan
from institutions import duties
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.inbox import assignees
from institutions.naming import Login, named
from institutions.refusals import Refusal
from pricing.releases import current
from settlement import words
from settlement.detail import moment
from settlement.terms import REVIEW_SECOND, terms_of
from supervision import review_steps, reviews
from supervision.models import Review, ReviewLine
from supervision.review_forms import (
    AnswerForm,
    MarkForm,
    NoteForm,
    ObjectForm,
    SignedForm,
    SupplyForm,
)
from supervision.review_visit import Visit
from supervision.reviews import Kind, Mark, Marking
from supervision.views.review_parts import (
    BIGGEST_ID,
    CRUMBS,
    HERE,
    MESSAGES,
    SEVERITY_TONES,
    STATES,
    VERDICT_TONES,
    due_text,
    left_of,
    places_of,
    recovery,
)

BESIDE, SHOWN = 30, 50
#: What a person may choose; the case says which step of the table that is.
FORMS: dict[str, Callable[..., forms.Form]] = {
    "decide": forms.Form, "agree": forms.Form, "return": NoteForm, "send_back": NoteForm,
    "supply": SupplyForm, "accept": SignedForm, "object": ObjectForm, "rule": AnswerForm,
}  # fmt: skip
TITLES = {"decide": "提交审核意见", "agree": "复核同意"}
HINTS = {
    "decide": "没有核减的立即入账；有核减或拒付的先告知机构；超过复核金额的由另一人复核。",
    "agree": "同意初审意见：有核减或拒付的告知机构，其余立即入账。",
    "return": "机构在期限内补充后回到待审核，逾期未补充的照原材料审核。",
    "send_back": "由初审人重新审核。",
    "supply": "就诊凭据文件请由“处方与药品”或接口上传，这里填写说明。",
    "accept": "确认后审核意见即为终局，相应金额入账。",
    "object": "由未参与初审和复核的人员复审，复审为终局。",
    "rule": "可先修改各项意见，再作出复审决定；复审为终局，立即入账。",
}  # fmt: skip


@requires("reviews.view")
@require_GET
def review(request: PortalRequest, pk: int) -> HttpResponse:
    """Queue and visit; that it was looked at is an event."""
    return _page(request, _visible(request, pk), {})


def _page(
    request: PortalRequest, case: Review, bound: dict[str, forms.Form], status: int = 200,
    typed: dict[str, Any] | None = None,
) -> HttpResponse:  # fmt: skip
    """The page; `bound` are forms of steps that were refused, `typed` a verdict that was."""
    at = clock.now()
    visit = Visit.of(case, user=request.user, catalogue=current(), at=at)
    person = visit.detail.person
    review_steps.look(
        case=case, person_hash=bytes(person.id_hash) if person else None,
        by=request.user.username, at=at,
    )  # fmt: skip
    own = bool(request.user.institution_id)
    state, left = STATES[case.state], left_of([case])[case.pk]
    lines = _lines(request, case, visit, typed or {})
    stats, fault = _coming(case)
    return render(request, "supervision/review.html", named({
        "breadcrumbs": [*CRUMBS, HERE, {"label": case.claim_no, "url": ""}],
        "case": case, "state": {"label": state.label, "tone": state.tone}, "left": left,
        "place": str(visit.detail.institution or case.institution_code), "own": own,
        "severity": {"label": case.get_severity_display(), "tone": SEVERITY_TONES[case.severity]},
        "holder": _holder(case), "person": visit.person(), "doctor": visit.doctor(),
        "beside": [] if own else _beside(request, case), "signals": visit.signals(),
        "lines": lines, "open_lines": sum(not row["verdict"] for row in lines),
        "editable": _editable(request, case),
        "taken": sum(row["row"].taken for row in lines if row["verdict"]),
        "wordings": _wordings(case), "second_from": _limit(case),
        "stats": stats, "fault": fault, "acts": _acts(request, case, bound),
        "task": _task(request, case),
        "chart": visit.detail.chart(), "flows": visit.flows(), "gaps": visit.gaps,
        "findings": [] if own else visit.findings(), "history": [] if own else visit.history(),
        "replies": _replies(case), "moves": _moves(case), "people": _people(case),
        "versions": visit.detail.history() if len(visit.detail.versions) > 1 else [],
    }), status=status)  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Review:
    if pk > BIGGEST_ID:
        raise Http404
    return get_object_or_404(reviews.seen_by(request.user), pk=pk)


def _editable(request: PortalRequest, case: Review) -> bool:
    """Whether this person may change verdicts now."""
    user = request.user
    if case.state == "waiting":
        return user.may("reviews.decide")
    parts = (case.decided_by, case.seconded_by)
    return case.state == "objected" and user.may("reviews.second") and user.username not in parts


def _beside(request: PortalRequest, case: Review) -> list[dict[str, Any]]:
    """The queue at the left: what waits in the same state, the most urgent first."""
    rows = list(
        reviews.seen_by(request.user).filter(state=case.state, closed_at=None)
        .order_by(*reviews.URGENT)[:BESIDE]
    )  # fmt: skip
    if case not in rows:
        rows = [case, *rows[: BESIDE - 1]]
    names, left = places_of(rows), left_of(rows)
    return [
        {"url": reverse("review", args=[row.pk]), "no": row.claim_no, "current": row == case,
         "place": names.get(row.institution_code, row.institution_code),
         "stake": yuan(row.stake), "why": row.get_source_display(),
         "tone": SEVERITY_TONES[row.severity], "due": due_text(row, left[row.pk]),
         "late": (left[row.pk] or 0) < 0}
        for row in rows
    ]  # fmt: skip


def _lines(
    request: PortalRequest, case: Review, visit: Visit, typed: dict[str, Any]
) -> list[dict[str, Any]]:
    shown = {row["no"]: row for row in visit.detail.shown_lines()} if visit.detail.results else {}
    told = case.state in reviews.DECIDED or not request.user.institution_id
    recovered = reviews.recovered(case.lines.all())
    found = []
    for row in case.lines.all():
        known = shown.get(row.line_no, {})
        found.append({
            "row": row, "no": row.line_no, "name": known.get("name") or row.item_code,
            "detail": known, "held": row.kind == Kind.HELD, "fee": yuan(row.fee),
            "fund": yuan(row.fund), "why": MESSAGES.get(row.held_for, "") if row.held_for else "",
            "verdict": row.verdict if told else "",
            "verdict_label": row.get_verdict_display() if told else "",
            "tone": VERDICT_TONES.get(row.verdict, "mute"), "taken": yuan(row.taken),
            "suggested": _suggested(row), "most": yuan(row.fee if row.kind == Kind.HELD else row.fund),
            "url": reverse("review-line", args=[case.pk, row.line_no]),
            "alike": reverse("review-alike", args=[case.pk, row.line_no]),
            "recovery": recovery(recovered.get(row.deduction_id or 0)),
            "typed": typed if typed.get("no") == row.line_no else None,
        })  # fmt: skip
    return found


def _suggested(row: ReviewLine) -> str:
    """The amount in the field: what was cut, the overcharge, or the whole of a paid line."""
    fen = row.amount or row.overcharge or (row.fund if row.kind == Kind.PAID else 0)
    return f"{fen / 100:.2f}" if fen else ""


def _wordings(case: Review) -> list[dict[str, str]]:
    term, known = reviews.wordings(case.pool, case.service_date)
    return [
        {"code": code, "text": row["text"], "clause": f"{term.document} {row['clause']}"}
        for code, row in known.items() if term
    ]  # fmt: skip


def _limit(case: Review) -> str:
    term = terms_of(case.pool, case.service_date).get(REVIEW_SECOND)
    if term is None:
        return "本统筹区没有规定复核金额，均须由第二人复核。"
    mark = "（示例）" if term.example else ""
    return f"涉审金额超过 {yuan(int(term.value))} 元的须由第二人复核{mark}。"


def _coming(case: Review) -> tuple[list[dict[str, str]], str]:
    """What the verdicts would bring about, before and after; or the sentence why they cannot."""
    if case.closed_at is not None:
        return [], ""
    try:
        found = reviews.expected(case)
    except Refusal as refusal:
        return [], f"{words_of(refusal)}。"
    if found is None:
        return [], ""
    return [
        {"label": words.TOTALS[name], "before": yuan(found.before[name]),
         "after": yuan(found.after[name]), "change": yuan(fen, sign=True) if fen else ""}
        for name, fen in found.differences.items()
        if fen or found.after[name]
    ], ""  # fmt: skip


def _acts(
    request: PortalRequest, case: Review, bound: dict[str, forms.Form]
) -> list[dict[str, Any]]:
    steps = offered(case=case, procedure=review_steps.PROCEDURE,
                    handbook=review_steps.HANDBOOK, who=request.user)  # fmt: skip
    keys: dict[str, Any] = {}
    for step in steps:
        key = next(
            (one for one, many in review_steps.CHOICES.items() if step.key in many), step.key
        )
        keys.setdefault(key, step)
    if case.state == "objected" and not _editable(request, case):
        keys.pop("rule", None)
    if case.state == "second" and request.user.username == case.decided_by:
        keys = {}
    return [
        {"key": key, "title": TITLES.get(key, step.label), "danger": step.tone == "danger",
         "hint": HINTS[key], "version": case.version, "open": key in bound,
         "note": step.label if key in TITLES else "",
         "url": reverse("review-step", args=[case.pk, key]),
         "form": bound.get(key) or FORMS[key]()}
        for key, step in sorted(keys.items(), key=lambda entry: [*FORMS].index(entry[0]))
    ]  # fmt: skip


def _task(request: PortalRequest, case: Review) -> dict[str, Any] | None:
    """Taking: whether this person may take the case or give it back."""
    task = Task.objects.filter(subject=case.subject, state=Task.State.OPEN).first()
    if task is None or not request.user.may(task.permission) or request.user.institution_id:
        return None
    mine = task.assignee == request.user.username
    if task.assignee and not mine:
        return None
    return {"act": "return" if mine else "take", "label": "退回" if mine else "领取",
            "url": reverse("review-take", args=[case.pk])}  # fmt: skip


def _holder(case: Review) -> str:
    return assignees([case.subject]).get(case.subject, "")


def _replies(case: Review) -> list[dict[str, str]]:
    return [
        {"title": row.get_kind_display(), "text": row.text, "by": row.signed_name or row.made_by,
         "at": moment(row.made_at)[:16], "answer": row.answer, "answered_by": Login(row.answered_by),
         "answered_at": moment(row.answered_at)[:16] if row.answered_at else ""}
        for row in case.replies.all()
    ]  # fmt: skip


def _moves(case: Review) -> list[dict[str, Any]]:
    return [
        {"at": moment(row.at), "title": row.label, "by": row.by, "text": row.note,
         "tone": "warn" if row.on_time is False else "ok"}
        for row in Move.objects.filter(subject=case.subject).order_by("-pk")
    ]  # fmt: skip


def _people(case: Review) -> list[dict[str, str]]:
    """First, second and third person with their times."""
    given = (("初审", case.decided_by, case.decided_at), ("复核", case.seconded_by, case.seconded_at),
             ("复审", case.ruled_by, case.ruled_at))  # fmt: skip
    return [
        {"label": label, "value": Login(by), "sub": moment(when)[:16] if when else ""}
        for label, by, when in given if by
    ]  # fmt: skip


# --- Acts ---


@requires("reviews.view")
@require_POST
def step(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Take a step; a refusal is shown with its form. What has changed meanwhile ends the review."""
    case = _visible(request, pk)
    if key not in FORMS:
        raise Http404
    form = FORMS[key](request.POST)
    if not form.is_valid():
        return _page(request, case, {key: form}, 422)
    facts = dict(form.cleaned_data)
    try:
        move = review_steps.take(
            case=case, step=key, who=request.user, by=request.user.username, at=clock.now(),
            note=facts.pop("note", ""), facts=facts, version=_version(request),
        )  # fmt: skip
    except (Refused, Refusal) as error:
        return _refused(request, case, key, form, error)
    if move.step == "lapse":
        messages.warning(request, "单据已冲正或重新结算，本审核已终止。")
    else:
        messages.success(request, f"已办理：{move.label}。")
    return redirect(_next(request, case))


def _refused(
    request: PortalRequest, case: Review, key: str, form: forms.Form, error: Refused | Refusal
) -> HttpResponse:
    trail.record(
        by=request.user.username, at=clock.now(), action=f"review.{key}", subject=case.subject,
        outcome="refused", region_code=case.region_code, institution_code=case.institution_code,
        detail={"code": error.code},
    )  # fmt: skip
    if error.status == 403:
        messages.error(request, f"{words_of(error)}。")
        return redirect("review", pk=case.pk)
    form.add_error(None, f"{words_of(error)}。")
    case.refresh_from_db()
    return _page(request, case, {key: form}, error.status)


def _version(request: PortalRequest) -> int | None:
    given = request.POST.get("version", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 10 else None


def _next(request: PortalRequest, case: Review) -> str:
    """After a decision the next case of the queue, else the same."""
    if request.POST.get("next") and not request.user.institution_id:
        rows = reviews.seen_by(request.user).filter(state="waiting", closed_at=None)
        following = rows.exclude(pk=case.pk).order_by(*reviews.URGENT).first()
        if following is not None:
            return reverse("review", args=[following.pk])
    return reverse("review", args=[case.pk])


@requires("reviews.view")
@require_POST
def take(request: PortalRequest, pk: int) -> HttpResponse:
    """Take the case's task or give it back."""
    case = _visible(request, pk)
    task = Task.objects.filter(subject=case.subject, state=Task.State.OPEN).first()
    act = duties.give_back if request.POST.get("act") == "return" else duties.take
    try:
        with transaction.atomic():
            act(keys=[task.pk] if task else [], who=request.user, by=request.user.username,
                at=clock.now())  # fmt: skip
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    return redirect("review", pk=pk)


@requires("reviews.view")
@require_POST
def line(request: PortalRequest, pk: int, no: int) -> HttpResponse:
    """A verdict on one line; then on to the next."""
    case = _visible(request, pk)
    row = get_object_or_404(case.lines, line_no=no)
    marking = _marking(request)
    if marking is None:
        return _unmarked(request, case, no, "请检查核减金额和审核意见。")
    try:
        reviews.mark(line=row, marking=marking, who=request.user, by=request.user.username,
                     at=clock.now())  # fmt: skip
    except Refusal as error:
        return _unmarked(request, case, no, f"{words_of(error)}。", error.status)
    following = case.lines.filter(line_no__gt=no).order_by("line_no").first()
    here = f"line-{following.line_no}" if following else "decision"
    return redirect(f"{reverse('review', args=[pk])}#{here}")


def _unmarked(
    request: PortalRequest, case: Review, no: int, why: str, status: int = 422
) -> HttpResponse:
    """The page again with what was typed for a line, and why it was not taken."""
    typed = {name: request.POST.get(name, "") for name in MarkForm.base_fields}
    return _page(request, case, {}, status, typed | {"no": no, "why": why})


def _marking(request: PortalRequest) -> Marking | None:
    form = MarkForm(request.POST)
    if not form.is_valid():
        return None
    data = form.cleaned_data
    return Marking(data["verdict"], data["amount"], data["wording"], data["category"], data["note"],
                   data["clause"])  # fmt: skip


@requires("reviews.decide")
@require_POST
def rest(request: PortalRequest, pk: int) -> HttpResponse:
    """Every line without a verdict is passed."""
    case = _visible(request, pk)
    try:
        with transaction.atomic():
            for row in case.lines.filter(verdict=""):
                reviews.mark(line=row, marking=Marking(Mark.PASS), who=request.user,
                             by=request.user.username, at=clock.now())  # fmt: skip
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    return redirect(f"{reverse('review', args=[pk])}#decision")


@requires("reviews.decide")
@require_http_methods(["POST"])
def alike(request: PortalRequest, pk: int, no: int) -> HttpResponse:
    """The preview of a verdict for all similar lines; with its digest the verdict itself."""
    case = _visible(request, pk)
    row = get_object_or_404(case.lines, line_no=no)
    marking = _marking(request)
    if marking is None or not marking.verdict:
        return _unmarked(request, case, no, "请检查核减金额和审核意见。")
    if request.POST.get("digest"):
        return _mark_alike(request, row, marking)
    found = reviews.alike(row, marking, request.user)
    names = places_of([one.review for one in found.rows])
    return render(request, "supervision/review_alike.html", named({
        "breadcrumbs": [*CRUMBS, HERE, {"label": case.claim_no, "url": reverse("review", args=[pk])},
                        {"label": "同类明细", "url": ""}],
        "case": case, "line": row, "marking": marking, "found": found, "total": found.total,
        "amount": f"{marking.amount / 100:.2f}" if marking.amount else "",
        "verdict": dict(Mark.choices).get(marking.verdict, ""),
        "why": MESSAGES.get(row.held_for, "") or row.item_code,
        "rows": [
            {"no": one.review.claim_no, "url": reverse("review", args=[one.review_id]),
             "line": one.line_no, "day": one.review.service_date, "fee": yuan(one.fee),
             "cut": yuan(amount if one.verdict == Mark.CUT else one.taken),
             "place": names.get(one.institution_code, ""), "now": Login(one.marked_by)}
            for one, amount in list(zip(found.rows, found.amounts, strict=True))[:SHOWN]
        ],
        "more": max(len(found.rows) - SHOWN, 0),
    }))  # fmt: skip


def _mark_alike(request: PortalRequest, row: ReviewLine, marking: Marking) -> HttpResponse:
    try:
        count = reviews.mark_alike(
            line=row, marking=marking, digest=request.POST["digest"], who=request.user,
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    else:
        messages.success(request, f"已对 {count} 项同类明细填写审核意见。")
    return redirect(f"{reverse('review', args=[row.review_id])}#line-{row.line_no}")
