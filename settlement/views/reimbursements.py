"""手工报销: the list with its query of progress, one request with its steps, calculation, papers."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, moves, pdf, procedure
from audit.access import requires
from audit.models import Move
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from institutions import crypto
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Document, Institution, User
from institutions.naming import named
from institutions.refusals import Refusal
from institutions.views.acts import show
from settlement import reimbursement_detail as detail
from settlement import reimbursement_papers, reimbursements
from settlement.claim_forms import PersonForm
from settlement.models import InsuredPerson, Reimbursement
from settlement.reimbursement_forms import (
    AccountForm,
    ClaimForm,
    LineForms,
    PaperForm,
    ReasonForm,
    ReimbursementFilter,
    RequestForm,
    StepForm,
    lines_of,
)
from settlement.reimbursement_steps import HANDBOOK

CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "手工报销", "url": "/reimbursements/"}]
SIZES = (20, 50, 100)
#: steps that have a page of their own
PAGES = {"calculate": "reimbursement-calculate", "correct": "reimbursement-account",
         "redirect": "reimbursement-account"}  # fmt: skip
COLUMNS = (
    Column(label="申请号", hint="报销方式、电子发票号"), Column(label="参保人"),
    Column(label="就诊机构", wide=True), Column(label="发票金额（元）", numeric=True),
    Column(label="应付个人（元）", numeric=True), Column(label="期限"), Column(label="状态"),
)  # fmt: skip


# --- List ---


@requires("reimbursements.view")
@require_GET
def listed(request: PortalRequest) -> HttpResponse:
    """Requests of the agency's area, newest first; by number, invoice or person."""
    rows = Reimbursement.objects.visible_to(request.user).select_related("person", "provider")
    found = ReimbursementFilter(request.GET, queryset=rows, request=request)
    asked = request.GET.get("size", "")
    size = int(asked) if asked in map(str, SIZES) else SIZES[0]
    page = Paginator(found.qs, size).get_page(request.GET.get("page"))
    handles = request.user.may("reimbursements.handle")
    toolbar = [
        Action(label="登记申请", url=reverse("reimbursement-new"), icon="plus", tone="primary"),
        Action(label="预约时段", url=reverse("reimbursement-slots"), icon="calendar-days"),
    ]  # fmt: skip
    return render(request, "settlement/reimbursements.html", named({
        "breadcrumbs": [CRUMBS[0], {"label": "手工报销", "url": ""}],
        "form": found.form, "person_form": PersonForm(), "query": _query(request),
        "person": _person(request.GET.get("person", "")),
        "without_person": _query(request, person=None),
        "table": Table(
            id="reimbursements", caption="手工报销申请", columns=COLUMNS, rows=[_row(row) for row in page],
            pages=Pages(total=page.paginator.count, size=size, page=page.number, sizes=SIZES),
            toolbar=toolbar if handles else toolbar[1:], empty_title="没有手工报销申请",
            empty_text="参保人凭电子发票申请后，在此受理、计算、复核和拨付。",
        ),
    }))  # fmt: skip


@requires("reimbursements.view")
@require_POST
def find_person(request: PortalRequest) -> HttpResponse:
    """The ID number comes in the body; only its keyed hash goes on, in the address."""
    form = PersonForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["credential"][0]))
        return redirect(f"{reverse('reimbursements')}?{_query(request)}")
    hashed = crypto.person_hash(form.cleaned_data["credential"]).hex()
    return redirect(f"{reverse('reimbursements')}?{_query(request, person=hashed)}")


def _query(request: PortalRequest, **changes: str | None) -> str:
    values = {key: str(value) for key, value in request.GET.items() if key != "page"}
    return urlencode({key: value for key, value in {**values, **changes}.items() if value})


def _person(hashed: str) -> str:
    try:
        found = InsuredPerson.objects.filter(id_hash=bytes.fromhex(hashed)).first()
    except ValueError:
        return ""
    return (
        f"{found.name_masked} {found.id_masked}" if found else ("未登记的参保人" if hashed else "")
    )


def _row(row: Reimbursement) -> Row:
    state = reimbursements.table().states[row.state]
    address = reverse("reimbursement", args=[row.pk])
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True,
                 sub=f"{row.get_kind_display()} · {row.e_invoice_no}"),
            Cell(text=row.person.name_masked, sub=row.person.id_masked),
            Cell(text=row.provider.name, sub=f"就诊 {row.service_date}"),
            Cell(text=yuan(row.amount)),
            Cell(text=yuan(row.payable) if row.payable is not None else "—"), _due(row),
            Cell(text=state.label, tone=state.tone, sub=f"{row.entered_on} 起"),
        ],
        actions=[Action(label="查看", url=address)],
    )  # fmt: skip


def _due(row: Reimbursement) -> Cell:
    if row.stopped and row.due_clause:
        return Cell(text="停止计时", tone="mute")
    if row.due_unknown:
        return Cell(text=f"缺 {row.due_unknown} 年日历", tone="warn")
    if row.due is None or row.closed_at is not None:
        return Cell(text="—")
    late = row.due < clock.today()
    return Cell(text=str(row.due), tone="bad" if late else "", sub="已逾期" if late else "")


# --- A new request ---


@requires("reimbursements.handle")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Write down what a person hands in."""
    if request.user.region is None:
        raise PermissionDenied("reimbursements.handle")
    today = clock.today()
    form = RequestForm(
        request.POST or None, request.FILES or None, user=request.user, today=today,
        initial={"slot": request.GET.get("slot"),
                 "kind": "appointment" if "slot" in request.GET else None},
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            files = [("electronic_invoice", part.name or "", part.read())
                     for part in form.cleaned_data["papers"]]  # fmt: skip
            try:
                with transaction.atomic():
                    case = reimbursements.submit(
                        asked=reimbursements.Request(**form.asked()), region=request.user.region,
                        files=files, by=request.user.username, at=clock.now(),
                    )  # fmt: skip
            except Refusal as error:
                show(form, error)
                status = error.status
            else:
                messages.success(request, f"已登记：{case.number}")
                return redirect("reimbursement", pk=case.pk)
    return render(request, "institutions/act.html", named({
        "title": "登记手工报销申请", "form": form, "multipart": True, "button": "登记",
        "back": reverse("reimbursements"),
        "hint": "同一电子发票只能报销一次；机构已联网结算的费用不能手工报销。",
        "breadcrumbs": [*CRUMBS, {"label": "登记申请", "url": ""}],
    }), status=status)  # fmt: skip


# --- One request ---


@requires("reimbursements.view")
@require_http_methods(["GET", "POST"])
def one(request: PortalRequest, pk: int) -> HttpResponse:
    """A request: progress, what it says, documents, payments, and the steps that this person can take."""
    case = visible(request, pk)
    status, typed = 200, None
    if request.method == "POST":
        status, typed = _post(request, case)
        if status == 200:
            return redirect("reimbursement", pk=case.pk)
    else:
        reimbursements.looked(case=case, action="look", by=request.user.username, at=clock.now())
    state = reimbursements.table().states[case.state]
    steps = _steps(request.user, case)
    forms = [
        typed if typed is not None and typed.step.key == step.key
        else StepForm(step=step, version=case.version)
        for step in steps if step.key not in PAGES
    ]  # fmt: skip
    open_ = case.closed_at is None and request.user.may("reimbursements.handle")
    return render(request, "settlement/reimbursement.html", named({
        "breadcrumbs": [*CRUMBS, {"label": case.number, "url": ""}],
        "case": case, "state": state, "phases": detail.phases(case), "sentence": detail.sentence(case),
        "left": detail.left(case), "facts": detail.facts(case), "money": detail.money(case),
        "files": [detail.file(request.user, row) for row in Document.objects.filter(subject=case.subject)],
        "upload": PaperForm() if open_ else None,
        "steps": [{"form": form, "step": form.step, "opened": not form.step.asks} for form in forms],
        "pages": [{"label": step.label, "url": reverse(PAGES[step.key], args=[case.pk])}
                  for step in steps if step.key in PAGES],
        "moves": [detail.move(row) for row in Move.objects.filter(subject=case.subject).order_by("-pk")],
        "orders": detail.orders(case), "papers": detail.papers(case),
        "reveal": request.user.may("accounts.reveal") and request.user.may("reimbursements.handle"),
    }), status=status)  # fmt: skip


def visible(request: PortalRequest, pk: int) -> Reimbursement:
    """A request inside the user's scope; any other does not exist."""
    rows = Reimbursement.objects.visible_to(request.user)
    rows = rows.select_related("person", "provider__region", "slot__office")
    return get_object_or_404(rows, pk=pk if pk < 2**63 else 0)


def _steps(user: User, case: Reimbursement) -> tuple[procedure.Step, ...]:
    return moves.offered(
        case=case, procedure=reimbursements.table(), handbook=HANDBOOK, who=user, level=user.level
    )


def _post(request: PortalRequest, case: Reimbursement) -> tuple[int, StepForm | None]:
    """Take the step that was sent, or store what was uploaded; (status, the refused form)."""
    if "upload" in request.POST:
        return _upload(request, case), None
    try:
        step = reimbursements.table().step(request.POST.get("step", ""))
    except Refused as error:
        messages.error(request, error.detail)
        return error.status, None
    form = StepForm(request.POST, step=step, version=case.version)
    if not form.is_valid():
        return 422, form
    given = form.cleaned_data
    facts = {ask.key: given[ask.key] for ask in step.asks if ask.key != "note"}
    try:
        with transaction.atomic():
            reimbursements.take_step(
                case=case, step=step.key, who=request.user, by=request.user.username,
                at=clock.now(), note=given.get("note", ""), facts=facts, version=given["version"],
            )  # fmt: skip
    except (Refusal, Refused) as error:
        show(form, error)
        messages.error(request, words_of(error))
        case.refresh_from_db()
        return error.status, form
    messages.success(request, f"已办理：{step.label}")
    return 200, None


def _upload(request: PortalRequest, case: Reimbursement) -> int:
    form = PaperForm(request.POST, request.FILES)
    if not request.user.may("reimbursements.handle"):
        raise PermissionDenied("reimbursements.handle")
    if not form.is_valid():
        messages.error(request, "；".join(str(e) for found in form.errors.values() for e in found))
        return 422
    kind = form.cleaned_data["kind"]
    files = [(kind, part.name or "", part.read()) for part in form.cleaned_data["papers"]]
    try:
        with transaction.atomic():
            reimbursements.attach(case=case, files=files, by=request.user.username, at=clock.now())
    except Refusal as error:
        messages.error(request, words_of(error))
        return error.status
    messages.success(request, f"已上传 {len(files)} 个文件")
    return 200


# --- Its own pages ---


@requires("reimbursements.handle")
@require_http_methods(["GET", "POST"])
def calculate(request: PortalRequest, pk: int) -> HttpResponse:
    """Type in the claim of the papers, or take the one that the institution uploaded; then settle."""
    case = visible(request, pk)
    if case.state != "accepted":
        messages.warning(request, "申请不在审核环节，不能计算。")
        return redirect("reimbursement", pk=case.pk)
    uploaded = reimbursements.uploaded_claim(case)
    form = ClaimForm(request.POST or None, initial={"matched": True, "consented": True})
    lines = LineForms(request.POST or None, prefix="lines")
    status = 200
    if request.method == "POST":
        status = 422
        sound = uploaded is not None or (form.is_valid() & lines.is_valid())
        if sound:
            claim = None if uploaded else form.claim(lines_of(lines))
            status = _calculate(request, case, claim, form)
            if status == 200:
                return redirect("reimbursement", pk=case.pk)
    return render(request, "settlement/reimbursement_calculate.html", named({
        "breadcrumbs": [*CRUMBS, {"label": case.number, "url": reverse("reimbursement", args=[pk])},
                        {"label": "计算", "url": ""}],
        "case": case, "form": form, "lines": lines, "uploaded": uploaded,
        "facts": [item for item in detail.facts(case) if item["label"] in (
            "参保人", "就诊机构", "就诊日期", "电子发票号", "发票金额")],
    }), status=status)  # fmt: skip


def _calculate(
    request: PortalRequest, case: Reimbursement, claim: dict | None, form: ClaimForm
) -> int:
    try:
        with transaction.atomic():
            reimbursements.calculate(
                case=case, claim=claim, who=request.user, by=request.user.username, at=clock.now(),
                version=case.version,
            )  # fmt: skip
    except (Refusal, Refused) as error:
        details = [fault.detail[0] for fault in getattr(error, "faults", ())]
        form.add_error(None, words_of(error))
        for words in details[:20]:
            if words not in words_of(error):
                form.add_error(None, words)
        return error.status
    messages.success(request, f"已计算，应付个人 {yuan(case.payable or 0)} 元，请另一人复核。")
    return 200


@requires("reimbursements.handle")
@require_http_methods(["GET", "POST"])
def account(request: PortalRequest, pk: int) -> HttpResponse:
    """Another account; a second person confirms it."""
    case = visible(request, pk)
    form = AccountForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                with transaction.atomic():
                    reimbursements.correct_account(
                        case=case, account=form.account(), who=request.user,
                        by=request.user.username, at=clock.now(), version=case.version,
                    )  # fmt: skip
            except (Refusal, Refused) as error:
                show(form, error)
                status = error.status
            else:
                messages.success(request, "账户已更正，请另一人复核。")
                return redirect("reimbursement", pk=case.pk)
    return _act(request, case, form, "更正收款账户", status=status)


@requires("reimbursements.handle")
@require_http_methods(["GET", "POST"])
def reveal(request: PortalRequest, pk: int) -> HttpResponse:
    """ID number, telephone and account in clear, against a reason."""
    if not request.user.may("accounts.reveal"):
        raise PermissionDenied("accounts.reveal")
    case = visible(request, pk)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    items: list[dict[str, Any]] = []
    if request.method == "POST" and form.is_valid():
        seen = reimbursements.reveal(
            case=case, reason=form.cleaned_data["reason"], by=request.user.username, at=clock.now()
        )
        labels = {
            "credential": "身份证号",
            "phone": "联系电话",
            "holder": "户名",
            "number": "银行账号",
        }
        items = [
            {"label": labels[key], "value": value, "code": True} for key, value in seen.items()
        ]
        items.append({"label": "开户行", "value": case.bank})
    status = 422 if request.method == "POST" and not items else 200
    answer = render(request, "institutions/reveal.html", named({
        "form": form, "title": "查看完整号码", "items": items, "institution": {"name": case.number},
        "back": reverse("reimbursement", args=[case.pk]),
        "breadcrumbs": [*CRUMBS, {"label": case.number, "url": reverse("reimbursement", args=[pk])},
                        {"label": "查看完整号码", "url": ""}],
    }), status=status)  # fmt: skip
    answer["Cache-Control"] = "no-store"
    return answer


def _act(
    request: PortalRequest, case: Reimbursement, form: Any, title: str, *, status: int
) -> HttpResponse:
    return render(request, "institutions/act.html", named({
        "title": title, "form": form, "button": "提交复核", "back": reverse("reimbursement", args=[case.pk]),
        "institution": Institution(name=case.number),
        "breadcrumbs": [*CRUMBS, {"label": case.number, "url": reverse("reimbursement", args=[case.pk])},
                        {"label": title, "url": ""}],
    }), status=status)  # fmt: skip


@requires("reimbursements.view")
@require_GET
def paper(request: PortalRequest, pk: int, kind: str) -> HttpResponse:
    """受理回执, 一次性告知 or 支付决定 as PDF; printing one is a look into a person's data."""
    case = visible(request, pk)
    if kind not in dict(reimbursement_papers.possible(case)):
        raise Http404(kind)
    made = reimbursement_papers.make(case, kind)
    reimbursements.looked(
        case=case, action="print", by=request.user.username, at=clock.now(), paper=kind
    )
    content = pdf.render(
        made.template, made.context, identifier=pdf.identifier_of(kind, case.number, str(made.at)),
        at=made.at, attachments=[pdf.json_attachment(f"{kind}.json", made.data, made.title)],
    )  # fmt: skip
    answer = HttpResponse(content, content_type="application/pdf")
    answer["Content-Disposition"] = f'inline; filename="{case.number}-{kind}.pdf"'
    answer["Cache-Control"] = "private, no-store"
    return answer
