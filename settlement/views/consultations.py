"""Remote consultations: a request, one consultation with what each side can do now."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from agreements.views.refusing import refuse, words_of
from audit import clock, moves, trail
from audit.access import requires
from audit.procedure import PROCEDURES, Refused, Step
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.naming import named
from institutions.refusals import Refusal
from settlement import consultation_forms as shapes
from settlement import consultation_steps as steps
from settlement import consultations as commands
from settlement.models import Consultation, Participant
from settlement.views import consultation_parts as parts
from settlement.views.consultation_list import CRUMB

Answer = Participant.Answer


# --- A request ---


@requires(steps.RECORD)
@require_http_methods(["GET", "POST"])
def consultation_new(request: PortalRequest) -> HttpResponse:
    """Ask for a consultation; only a hospital asks, and for itself."""
    own = _own(request)
    form = shapes.RequestForm(
        request.POST or None, hospitals=hospitals(own).exclude(pk=own.pk), own=own.pk
    )
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            with transaction.atomic():
                case = commands.request(
                    inviting=own, invited=[commands.Invited(*row) for row in form.invited()],
                    **{key: given[key] for key in ("id_number", "inpatient_no", "department",
                                                   "purpose", "wanted_on")},
                    by=request.user.username, at=clock.now(),
                )  # fmt: skip
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"已登记会诊申请 {case.number}。请向患者说明价格并取得同意。")
            return redirect("consultation", pk=case.pk)
    price = steps.price_on(own, clock.today())
    return render(request, "settlement/jilin_form.html", named({
        "title": "申请远程会诊", "form": form, "names": form.names, "button": "提交申请",
        "back": reverse("consultations"), "hint": _price_hint(price),
        "breadcrumbs": [CRUMB, {"label": "申请远程会诊", "url": ""}],
    }), status=422 if form.errors else 200)  # fmt: skip


def _price_hint(price: steps.Price) -> str:
    if price.fen is None:
        return "多学科会诊价格未录入：可以会诊并计入病历，暂不能收费。"
    example = "（示例参数，非官方）" if price.example else ""
    return (f"省级专家会诊按多学科会诊计费，每个省级医院每次 {yuan(price.fen)} 元{example}；"
            "其他医院的会诊金额本文件没有规定。")  # fmt: skip


def hospitals(own: Institution) -> QuerySet[Institution]:
    """The hospitals of the same pooling region."""
    rows = Institution.objects.filter(kind=Institution.Kind.MEDICAL)
    return rows.filter(region__policy_region=own.region.policy_region).order_by("name")


def _own(request: PortalRequest) -> Institution:
    if not request.user.institution_id:
        raise Http404
    return Institution.objects.select_related("region").get(pk=request.user.institution_id)


# --- One consultation ---


@requires("consultations.view")
@require_http_methods(["GET", "POST"])
def consultation(request: PortalRequest, pk: int) -> HttpResponse:
    """A consultation; a POST takes a step of the inviting hospital. Looking is an event."""
    case, typed, status = visible(request, pk), None, 200
    if request.method == "POST":
        status, typed = _step(request, case)
        if status == 200:
            return redirect("consultation", pk=case.pk)
    else:
        trail.record(
            by=request.user.username, at=clock.now(), action="consultation.read",
            subject=case.subject, region_code=case.region_code, person_hash=bytes(case.patient_hash),
            institution_code=request.user.institution_id or case.institution_code,
        )  # fmt: skip
    return _page(request, case, typed, status=status)


@requires(steps.RECORD)
@require_POST
def consultation_act(request: PortalRequest, pk: int, number: int, act: str) -> HttpResponse:
    """What a hospital does with an invited hospital's row: answer, pay, receipt, reduce, void."""
    case = visible(request, pk)
    doing = ACTS.get(act)
    if doing is None:
        raise Http404
    rows = Participant.objects.visible_to(request.user).filter(consultation=case)
    row = get_object_or_404(rows.select_related("hospital"), pk=number)
    form = doing.form(request.POST, prefix=f"{act}{row.pk}")
    if not form.is_valid():
        return _page(request, case, form, status=422)
    try:
        with transaction.atomic():
            doing.do(request, row, form)
    except (Refusal, Refused) as error:
        return _page(request, visible(request, pk), form, status=refuse(form, error))
    messages.success(request, f"已办理：{doing.label}")
    return redirect("consultation", pk=case.pk)


@requires(steps.RECORD)
@require_POST
def consultation_link(request: PortalRequest, pk: int) -> HttpResponse:
    """Bind the claim of the same session."""
    case = visible(request, pk)
    form = shapes.LinkForm(request.POST)
    if not form.is_valid():
        return _page(request, case, form, status=422)
    try:
        with transaction.atomic():
            commands.link_claim(
                case=case, claim_no=form.cleaned_data["claim_no"], who=request.user,
                by=request.user.username, at=clock.now(),
            )  # fmt: skip
    except (Refusal, Refused) as error:
        return _page(request, case, form, status=refuse(form, error))
    messages.success(request, "已关联结算单据。")
    return redirect("consultation", pk=case.pk)


def visible(request: PortalRequest, pk: int) -> Consultation:
    """A consultation that the user takes part in; any other does not exist."""
    rows = Consultation.objects.visible_to(request.user).select_related("inviting__region")
    return get_object_or_404(rows, pk=pk)


def _step(request: PortalRequest, case: Consultation) -> tuple[int, forms.Form | None]:
    """Take the step that was sent; (status, the form that was refused)."""
    table = PROCEDURES[case.procedure]
    try:
        step = table.step(request.POST.get("step", ""))
    except Refused as error:
        messages.error(request, error.detail)
        return error.status, None
    form = _step_form(request.POST, step, case)
    if not form.is_valid():
        return 422, form
    try:
        with transaction.atomic():
            commands.take_step(
                case=case, step=step.key, who=request.user, by=request.user.username,
                at=clock.now(), note=form.note, facts=form.facts(),
                version=form.cleaned_data["version"],
            )  # fmt: skip
    except (Refusal, Refused) as error:
        case.refresh_from_db()
        if step not in table.steps_from(case.state):
            messages.error(request, words_of(error))
        return refuse(form, error), form
    messages.success(request, f"已办理：{step.label}")
    return 200, None


def _step_form(data: Any, step: Step, case: Consultation) -> shapes.ConsultationStepForm:
    return shapes.ConsultationStepForm(
        data, step=step, version=case.version, today=clock.today(), accepted=steps.accepted(case)
    )


@dataclass(frozen=True)
class Doing:
    """What one side does with a row: `when(case, row)` says whether it can be done now."""

    label: str
    form: type[forms.Form]
    inviting: bool
    when: Callable[[Consultation, Participant], bool]
    do: Callable[[PortalRequest, Participant, Any], object]
    tone: str = "primary"


def _signed(request: PortalRequest) -> dict[str, Any]:
    return {"who": request.user, "by": request.user.username, "at": clock.now()}


def _asked(case: Consultation, row: Participant) -> bool:
    return case.state == "invited" and not row.answer


def _to_pay(case: Consultation, row: Participant) -> bool:
    return case.state == "distributed" and bool(row.share) and row.paid_at is None


def _paid(case: Consultation, row: Participant) -> bool:
    return case.state == "distributed" and bool(row.paid_at) and row.reversed_at is None


def _receipt_due(case: Consultation, row: Participant) -> bool:
    return _paid(case, row) and sum(r.amount for r in parts.open_receipts(row)) < (row.share or 0)


def _receipted(case: Consultation, row: Participant) -> bool:
    return _paid(case, row) and not _receipt_due(case, row)


def _void(request: PortalRequest, row: Participant, form: forms.Form) -> None:
    for receipt in row.receipts.filter(void_at=None):
        commands.void_receipt(
            receipt=receipt, reason=form.cleaned_data["reason"], **_signed(request)
        )


ACTS: dict[str, Doing] = {
    "accept": Doing(
        "接受邀请", shapes.AnswerForm, False, _asked,
        lambda request, row, form: commands.answer(
            participant=row, accept=True, experts=form.names(), **_signed(request)),
    ),
    "decline": Doing(
        "婉拒", shapes.DeclineForm, False, _asked,
        lambda request, row, form: commands.answer(
            participant=row, accept=False, **form.cleaned_data, **_signed(request)),
        tone="danger",
    ),
    "pay": Doing(
        "登记付款", shapes.PayForm, True, _to_pay,
        lambda request, row, form: commands.pay(
            participant=row, **form.cleaned_data, **_signed(request)),
    ),
    "receipt": Doing(
        "登记票据", shapes.ReceiptForm, False, _receipt_due,
        lambda request, row, form: commands.issue_receipt(
            participant=row, **form.cleaned_data, **_signed(request)),
    ),
    "void": Doing(
        "作废票据", shapes.VoidForm, False,
        lambda case, row: _paid(case, row) and bool(parts.open_receipts(row)), _void, tone="danger",
    ),
    "reduce": Doing(
        "凭票据冲减收入", shapes.ReduceForm, True, _receipted,
        lambda request, row, form: commands.reduce_revenue(
            participant=row, **form.cleaned_data, **_signed(request)),
    ),
}  # fmt: skip


# --- What the page shows ---


def _page(
    request: PortalRequest, case: Consultation, typed: forms.Form | None, *, status: int
) -> HttpResponse:
    table = PROCEDURES[case.procedure]
    state = table.states[case.state]
    rows = list(
        Participant.objects.visible_to(request.user).filter(consultation=case)
        .select_related("hospital", "agreement").prefetch_related("receipts")
    )  # fmt: skip
    ours = request.user.institution_id == case.institution_code
    return render(request, "settlement/consultation.html", named({
        "case": case, "state": state, "facts": parts.facts(case),
        "notices": [*parts.notices(case), *([parts.waiting(rows)] if ours and case.state == "invited"
                                            else [])],
        "left": (case.due - clock.today()).days if case.due else None,
        "due_clause": f"结算期限（{case.due_clause}）",
        "sides": [_side(request, case, row, typed) for row in rows],
        "steps": _offered(request, case, typed, rows) if ours else [], "progress": parts.progress(case),
        "link": _link(case, typed) if ours else None,
        "vouchers": parts.vouchers(request, case), "moves": parts.moves(case),
        "clause": {"document": table.document, "clause": state.clause} if state.clause else None,
        "breadcrumbs": [CRUMB, {"label": case.number, "url": ""}],
    }), status=status)  # fmt: skip


def _link(case: Consultation, typed: Any) -> shapes.LinkForm | None:
    """The form that binds the claim, while there is a charge and no claim that stands."""
    if isinstance(typed, shapes.LinkForm):
        return typed
    if not case.collected_at or case.state in commands.ENDED:
        return None
    return None if case.claim_id and steps.claim_stands(case.claim_id) else shapes.LinkForm()


def _offered(
    request: PortalRequest, case: Consultation, typed: Any, rows: list[Participant]
) -> list[dict[str, Any]]:
    found = moves.offered(
        case=case, procedure=PROCEDURES[case.procedure], handbook=steps.HANDBOOK, who=request.user
    )
    used = typed if isinstance(typed, shapes.ConsultationStepForm) else None
    return [
        {"step": step, "opened": step.tone != "danger",
         "hint": parts.step_hint(case, step.key, rows),
         "form": used if used is not None and used.step.key == step.key
         else _step_form(None, step, case)}
        for step in found
    ]  # fmt: skip


def _side(
    request: PortalRequest, case: Consultation, row: Participant, typed: Any
) -> dict[str, Any]:
    """An invited hospital: facts, and what this user can do with it now."""
    own = request.user.institution_id
    acts = []
    for key, doing in ACTS.items():
        mine = own == (row.institution_code if doing.inviting else row.hospital_id)
        if mine and request.user.may(steps.RECORD) and doing.when(case, row):
            prefix = f"{key}{row.pk}"
            form = typed if getattr(typed, "prefix", None) == prefix else doing.form(prefix=prefix)
            acts.append({"key": key, "label": doing.label, "form": form, "tone": doing.tone,
                         "hint": parts.act_hint(row, key),
                         "opened": doing.tone != "danger",
                         "url": reverse("consultation-act", args=[case.pk, row.pk, key])})  # fmt: skip
    answer = Answer(row.answer)
    tone = {Answer.ASKED: "wait", Answer.ACCEPTED: "ok", Answer.DECLINED: "mute"}[answer]
    text, tone = ("未到会", "mute") if row.attended is False else (answer.label, tone)
    return {"name": row.hospital.name, "answer": text, "tone": tone, "acts": acts,
            "facts": parts.side_facts(row), "waits": _waits(case, row, own)}  # fmt: skip


def _waits(case: Consultation, row: Participant, own: str | None) -> str:
    """What one side waits for while the other has to act."""
    if own == row.institution_code and _receipt_due(case, row):
        return "已付款，等待受邀方登记医疗收费票据，之后凭票据冲减收入。"
    if own == row.hospital_id and _to_pay(case, row):
        return "等待邀请方付款，收到款项后登记票据。"
    if own == row.hospital_id and _receipted(case, row):
        return "票据已登记，等待邀请方冲减收入。"
    return ""


def first_of_month(text: str | None) -> dt.date:
    """The month that an address asks for."""
    return shapes.month_of(text, clock.today())
