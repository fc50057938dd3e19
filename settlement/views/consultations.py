"""Remote consultations: the list, a request, one consultation with what each side can do now."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.forms import StepForm
from agreements.views.refusing import refuse, words_of
from audit import clock, moves, sheets, trail
from audit.access import requires
from audit.procedure import PROCEDURES, Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
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

CRUMB = {"label": "远程会诊", "url": "/consultations/"}
PAGE = 20
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
Answer = Participant.Answer
TO_SETTLE, UNSETTLED = "unsettled", ("charged", "distributed")
HEADS = ("会诊编号", "邀请方", "受邀方", "会诊日期", "次数", "费用", "状态", "结算期限", "逾期原因")


class ConsultationFilter(django_filters.FilterSet):
    """The query bar of consultations."""

    q = django_filters.CharFilter(
        label="会诊", method="by_words", max_length=60,
        widget=forms.TextInput({"placeholder": "会诊编号或医院名称"}),
    )  # fmt: skip
    state = django_filters.ChoiceFilter(
        label="状态", method="by_state", empty_label="全部", choices=lambda: [
            *((key, state.label) for key, state in PROCEDURES[commands.SLUG].states.items()),
            (TO_SETTLE, "待分配结清（待分配、待付款和冲减）"),
        ],
    )  # fmt: skip
    late = django_filters.BooleanFilter(
        label="期限", method="by_late",
        widget=forms.Select(choices=[("", "全部"), ("true", "已逾期")]),
    )  # fmt: skip
    since = django_filters.DateFilter(
        label="会诊日期起", field_name="session_on", lookup_expr="gte", widget=DAY
    )
    until = django_filters.DateFilter(
        label="会诊日期止", field_name="session_on", lookup_expr="lte", widget=DAY
    )

    class Meta:
        model = Consultation
        fields = ()

    def by_words(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        named = Institution.objects.filter(name__icontains=value).values_list("code", flat=True)
        return rows.filter(number__icontains=value) | rows.filter(
            parties__overlap=list(named[:200])
        )

    def by_state(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(state__in=UNSETTLED if value == TO_SETTLE else (value,))

    def by_late(self, rows: QuerySet, name: str, value: bool) -> QuerySet:
        return rows.filter(due__lt=clock.today()) if value else rows


def tabs(current: str) -> list[dict[str, Any]]:
    """The pages about consultations."""
    pages = (("consultations", "会诊"), ("split-agreements", "分配协议"),
             ("consultation-statements", "双方结算单"))  # fmt: skip
    return [{"label": label, "url": reverse(name), "current": name == current}
            for name, label in pages]  # fmt: skip


# --- The list ---


@requires("consultations.view")
@require_GET
def consultations(request: PortalRequest) -> HttpResponse:
    """The consultations that the user's hospital or area takes part in, newest first."""
    found = _filter(request)
    rows = found.qs if found.form.is_valid() else Consultation.objects.none()
    page = Paginator(_listed(rows), PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/consultations.html", named({
        "breadcrumbs": [{**CRUMB, "url": ""}], "tabs": tabs("consultations"), "form": found.form,
        "stats": _stats(request), "may_record": request.user.may(steps.RECORD),
        "table": _table(request, list(page), total=page.paginator.count, number=page.number),
    }))  # fmt: skip


@requires("consultations.view")
@require_GET
def consultations_csv(request: PortalRequest) -> HttpResponse:
    """The consultations of the query as CSV."""
    found = _filter(request)
    rows = list(_listed(found.qs if found.form.is_valid() else Consultation.objects.none()))
    lines = [_line(row) for row in rows]
    return HttpResponse(
        "".join(sheets.csv_lines(HEADS, lines)), content_type=sheets.CSV,
        headers={"Content-Disposition": 'attachment; filename="consultations.csv"'},
    )  # fmt: skip


def _line(row: Consultation) -> list[str]:
    """A consultation as a line of CSV."""
    number, inviting, invited, day, fee, state, due = (cell.text for cell in _cells(row))
    count = "" if row.charge_count is None else str(row.charge_count)
    return [number, inviting, invited, day, count, fee, state, due, row.late_reason]


def _filter(request: PortalRequest) -> ConsultationFilter:
    seen = Consultation.objects.visible_to(request.user)
    return ConsultationFilter(request.GET, queryset=seen, request=request)


def _listed(rows: QuerySet) -> QuerySet:
    return (
        rows.select_related("inviting").prefetch_related("participants__hospital").order_by("-pk")
    )


def _stats(request: PortalRequest) -> list[dict[str, Any]]:
    today = clock.today()
    rows = Consultation.objects.visible_to(request.user)
    month = rows.filter(session_on__gte=today.replace(day=1), session_on__lte=today)
    fee = month.aggregate(fee=Sum("amount"))["fee"] or 0
    waiting = rows.filter(state__in=UNSETTLED)
    home = reverse("consultations")
    return [
        {"label": "本月会诊", "value": f"{month.count():,}", "unit": "次", "icon": "video-camera",
         "url": f"{home}?since={today.replace(day=1)}"},
        {"label": "本月会诊费", "value": yuan(fee), "unit": "元", "icon": "banknotes"},
        {"label": "待分配结清", "value": f"{waiting.count():,}", "unit": "次", "icon": "scale",
         "url": f"{home}?state={TO_SETTLE}"},
        {"label": "超过结算期限", "value": f"{rows.filter(due__lt=today).count():,}", "unit": "次",
         "icon": "clock", "url": f"{home}?late=true"},
    ]  # fmt: skip


def _table(request: PortalRequest, rows: list[Consultation], *, total: int, number: int) -> Table:
    query = request.GET.urlencode()
    return Table(
        id="consultations", caption="远程会诊",
        columns=[
            Column(label="会诊编号"), Column(label="邀请方", wide=True),
            Column(label="受邀方", wide=True), Column(label="会诊日期"),
            Column(label="费用（元）", numeric=True),
            Column(label="状态"), Column(label="结算期限"),
        ],
        rows=[Row(key=str(row.pk), label=row.number, cells=_cells(row),
                  actions=[Action(label="查看", url=steps.place(row))]) for row in rows],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        toolbar=[Action(label="导出 CSV", url=f"{reverse('consultations-csv')}?{query}",
                        icon="arrow-down-tray")],
        empty_title="没有会诊", empty_text="邀请方申请会诊后在此查看进度、费用和分配。",
    )  # fmt: skip


def _cells(row: Consultation) -> list[Cell]:
    state = PROCEDURES[row.procedure].states[row.state]
    invited = [each.hospital.name for each in row.participants.all()]
    late = bool(row.due and row.due < clock.today())
    return [
        Cell(text=row.number, url=steps.place(row), code=True),
        Cell(text=row.inviting.name), Cell(text="、".join(invited)),
        Cell(text=str(row.session_on or "未会诊"), sub="" if row.session_on else f"拟 {row.wanted_on}"),
        Cell(text="—" if row.amount is None else yuan(row.amount), sub=_counted(row)),
        Cell(text=state.label, tone=state.tone),
        Cell(text=str(row.due or "—"), sub="已逾期" if late else "", tone="bad" if late else ""),
    ]  # fmt: skip


def _counted(row: Consultation) -> str:
    """How often it is charged, and whether by an example price."""
    if not row.charge_count:
        return ""
    return f"{row.charge_count} 次{'，示例参数' if row.example else ''}"


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


def _step(request: PortalRequest, case: Consultation) -> tuple[int, StepForm | None]:
    """Take the step that was sent; (status, the form that was refused)."""
    table = PROCEDURES[case.procedure]
    try:
        step = table.step(request.POST.get("step", ""))
    except Refused as error:
        messages.error(request, error.detail)
        return error.status, None
    form = StepForm(request.POST, step=step, version=case.version, today=clock.today())
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
    """The form that binds the claim, once there is a charge and as long as there is no claim."""
    if isinstance(typed, shapes.LinkForm):
        return typed
    return shapes.LinkForm() if case.collected_at and not case.claim_id else None


def _offered(
    request: PortalRequest, case: Consultation, typed: Any, rows: list[Participant]
) -> list[dict[str, Any]]:
    found = moves.offered(
        case=case, procedure=PROCEDURES[case.procedure], handbook=steps.HANDBOOK, who=request.user
    )
    used = typed if isinstance(typed, StepForm) else None
    return [
        {"step": step, "opened": step.tone != "danger",
         "hint": parts.step_hint(case, step.key, rows),
         "form": used if used is not None and used.step.key == step.key
         else StepForm(step=step, version=case.version, today=clock.today())}
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
    return {"name": row.hospital.name, "answer": answer.label, "tone": tone, "acts": acts,
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
