"""Papers of remote consultations: agreements on the split, the patient's list, statements."""

import datetime as dt
import json
from typing import Any

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse, words_of
from audit import charts, clock, pdf, sheets, trail
from audit.access import requires
from audit.procedure import PROCEDURES, Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from institutions import documents
from institutions.access import PortalRequest
from institutions.calendar import add_months
from institutions.models import Institution
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import consultation_forms as shapes
from settlement import consultation_statement as pairs
from settlement import consultation_steps as steps
from settlement import consultations as commands
from settlement.looks import exported
from settlement.models import AccountReport, Consultation, SplitAgreement
from settlement.views.consultation_list import CRUMB, PAGE, tabs
from settlement.views.consultations import first_of_month, hospitals, visible

AGREEMENTS = {"label": "分配协议", "url": "/consultations/agreements/"}
STATEMENTS = {"label": "双方结算单", "url": "/consultations/statements/"}
MONTHS_DRAWN = 6
PAPER = {"pdf": "application/pdf", "json": "application/json; charset=utf-8"}


# --- Agreements on the split ---


@requires("consultations.view")
@require_GET
def split_agreements(request: PortalRequest) -> HttpResponse:
    """The agreements of the user's hospital or area, in force today first."""
    rows = SplitAgreement.objects.visible_to(request.user).select_related("inviting", "invited")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/split_agreements.html", named({
        "breadcrumbs": [CRUMB, {**AGREEMENTS, "url": ""}], "tabs": tabs("split-agreements"),
        "may_record": request.user.may(steps.RECORD),
        "table": Table(
            id="agreements", caption="会诊分配协议",
            columns=[Column(label="协议编号"), Column(label="邀请方", wide=True),
                     Column(label="受邀方", wide=True), Column(label="邀请方比例", numeric=True),
                     Column(label="受邀方比例", numeric=True), Column(label="有效期"),
                     Column(label="状态")],
            rows=[_agreement(request, row) for row in page],
            pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
            empty_title="还没有分配协议",
            empty_text="没有双方确认的分配协议，会诊费不能分配。邀请方登记后由受邀方确认。",
        ),
    }))  # fmt: skip


def _agreement(request: PortalRequest, row: SplitAgreement) -> Row:
    text, tone = _standing(row, clock.today())
    actions, own = [], request.user.institution_id
    if request.user.may(steps.RECORD) and row.superseded_at is None:
        if own == row.invited_id and row.confirmed_at is None:
            actions.append(
                Action(label="确认", url=reverse("split-agreement-confirm", args=[row.pk]))
            )
        if own == row.inviting_id and tone != "mute":
            actions.append(Action(label="终止", url=reverse("split-agreement-end", args=[row.pk])))
    if row.document_id and request.user.may("documents.view"):
        actions.append(Action(label="扫描件", url=reverse("document", args=[row.document_id])))
    return Row(key=str(row.pk), label=row.number, actions=actions, cells=[
        Cell(text=row.number, code=True), Cell(text=row.inviting.name), Cell(text=row.invited.name),
        Cell(text=rate(row.ratio_inviting)), Cell(text=rate(row.ratio_invited)),
        Cell(text=f"{row.valid_from} 起", sub=f"至 {row.valid_until}" if row.valid_until else ""),
        Cell(text=text, tone=tone, sub=Login(row.confirmed_by)),
    ])  # fmt: skip


def _standing(row: SplitAgreement, on: dt.date) -> tuple[str, str]:
    if row.superseded_at:
        return "已撤销", "mute"
    if row.confirmed_at is None:
        return "待受邀方确认", "wait"
    if row.valid_until and row.valid_until < on:
        return "已终止", "mute"
    return ("有效", "ok") if row.valid_from <= on else ("未生效", "info")


@requires(steps.RECORD)
@require_http_methods(["GET", "POST"])
def split_agreement_new(request: PortalRequest) -> HttpResponse:
    """Record the contract; the invited hospital confirms it."""
    own = _own(request)
    form = shapes.AgreementForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        sign: dict[str, Any] = {"by": request.user.username, "at": clock.now()}
        try:
            with transaction.atomic():
                paper = given["paper"]
                document = documents.store(
                    content=paper.read(), name=paper.name, kind="split_agreement", institution=own,
                    **sign,
                ) if paper else None  # fmt: skip
                commands.record_agreement(
                    inviting=own, document=document,
                    **{key: given[key] for key in ("invited", "number", "ratio_invited",
                                                   "valid_from", "valid_until")}, **sign,
                )  # fmt: skip
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, "已登记，待受邀方确认。")
            return redirect("split-agreements")
    return _form(request, form, "登记分配协议", AGREEMENTS, "登记",
                 names=hospitals(own).exclude(pk=own.pk).values_list("name", flat=True),
                 hint="比例按双方协议约定；受邀方份额四舍五入到分，余数归邀请方。")  # fmt: skip


@requires(steps.RECORD)
@require_http_methods(["GET", "POST"])
def split_agreement_end(request: PortalRequest, pk: int) -> HttpResponse:
    """The agreement holds until a day."""
    row = get_object_or_404(SplitAgreement.objects.visible_to(request.user), pk=pk)
    form = shapes.EndForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                commands.end_agreement(
                    agreement=row, last=form.cleaned_data["last"], who=request.user,
                    by=request.user.username, at=clock.now(),
                )  # fmt: skip
        except (Refusal, Refused) as error:
            refuse(form, error)
        else:
            messages.success(request, f"协议 {row.number} 已终止。")
            return redirect("split-agreements")
    return _form(request, form, f"终止协议 {row.number}", AGREEMENTS, "终止")


@requires(steps.RECORD)
@require_http_methods(["GET", "POST"])
def split_agreement_confirm(request: PortalRequest, pk: int) -> HttpResponse:
    """The invited hospital confirms; a GET shows what it confirms."""
    rows = SplitAgreement.objects.visible_to(request.user).select_related("inviting", "invited")
    row = get_object_or_404(rows, pk=pk)
    form = shapes.forms.Form(request.POST or None)
    if request.method == "POST":
        try:
            with transaction.atomic():
                commands.confirm_agreement(
                    agreement=row, who=request.user, by=request.user.username, at=clock.now()
                )
        except (Refusal, Refused) as error:
            messages.error(request, words_of(error))
        else:
            messages.success(request, f"协议 {row.number} 已确认。")
        return redirect("split-agreements")
    until = f"至 {row.valid_until}" if row.valid_until else "起"
    return _form(
        request, form, f"确认协议 {row.number}", AGREEMENTS, "确认",
        hint=f"{row.inviting.name}（邀请方）{rate(row.ratio_inviting)}，{row.invited.name}（受邀方）"
        f"{rate(row.ratio_invited)}，{row.valid_from} {until}。",
    )  # fmt: skip


def _form(
    request: PortalRequest, form: Any, title: str, crumb: dict, button: str, *, names: Any = (),
    hint: str = "",
) -> HttpResponse:  # fmt: skip
    return render(request, "settlement/jilin_form.html", named({
        "title": title, "form": form, "names": list(names), "button": button, "hint": hint,
        "back": crumb["url"], "breadcrumbs": [CRUMB, crumb, {"label": title, "url": ""}],
    }), status=422 if form.errors else 200)  # fmt: skip


def _own(request: PortalRequest) -> Institution:
    if not request.user.institution_id:
        raise Http404
    return Institution.objects.select_related("region").get(pk=request.user.institution_id)


# --- The list of a consultation (住院病历、费用清单) ---


@requires("consultations.view")
@require_GET
def consultation_list(request: PortalRequest, pk: int, form: str) -> HttpResponse:
    """What stands in the inpatient record and list: a paper, or the same as data."""
    case = visible(request, pk)
    if case.entered_at is None or form not in PAPER:
        raise Http404
    data = list_data(case)
    trail.record(
        by=request.user.username, at=clock.now(), action="consultation.paper", subject=case.subject,
        region_code=case.region_code, person_hash=bytes(case.patient_hash),
        institution_code=request.user.institution_id or case.institution_code,
        detail={"form": form},
    )  # fmt: skip
    if form == "json":
        text = json.dumps(data, ensure_ascii=False, indent=1)
        return HttpResponse(text, content_type=PAPER[form])
    content = pdf.render(
        "reports/consultation_list.html",
        {"data": data, "demo": case.inviting.is_demo, "title": f"远程会诊费用清单 {case.number}"},
        identifier=pdf.identifier_of("consultation", case.number, str(case.version)),
        at=clock.now(), attachments=[pdf.json_attachment("list.json", data, "清单数据")],
    )  # fmt: skip
    return _file(content, PAPER[form], f"{case.number}.pdf")


def list_data(case: Consultation) -> dict[str, Any]:
    """The list as data: what was done, how often it is charged, its category and where it is recorded."""
    policy = steps.policy_of(case.inviting, case.session_on or case.wanted_on)
    service = policy.data["services"]["remote_consult"] if policy else {}
    rows = [row for row in commands.steps.accepted(case) if row.attended is not False]
    price, amount = steps.price_of(case), steps.amount_of(case)
    fees = steps.fees_of(case, rows) | {row.hospital_id: row.fee for row in rows if row.fee}
    return {
        "number": case.number, "document": policy.document if policy else "",
        "clause": service.get("clause", ""), "inviting": case.inviting.name,
        "patient": case.patient_masked, "inpatient_no": case.inpatient_no,
        "department": case.department, "session_on": str(case.session_on),
        "item": service.get("label", ""), "category": service.get("category", ""),
        "record_in": service.get("record_in", []), "entry": case.entry,
        "charge_count": case.charge_count,
        "unit_price": None if price.fen is None else yuan(price.fen),
        "amount": None if amount is None else yuan(amount), "example": price.example,
        "invoice_no": case.invoice_no,
        "hospitals": [{"name": row.hospital.name, "tier": row.tier, "experts": row.experts,
                       "fee": yuan(fees[row.hospital_id]) if row.hospital_id in fees else None}
                      for row in rows],
    }  # fmt: skip


def _file(content: bytes | str, kind: str, name: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=kind,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )  # fmt: skip


# --- Statements for both finance departments ---


@requires("consultations.view")
@require_GET
def consultation_statements(request: PortalRequest) -> HttpResponse:
    """Every pair of hospitals of a month, with the picture of the last months."""
    return _statements_page(request, first_of_month(request.GET.get("month")))


def _statements_page(
    request: PortalRequest, month: dt.date, typed: shapes.AccountForm | None = None
) -> HttpResponse:
    """The statements of a month; `typed` is a report of the separate account that was refused."""
    rows = pairs.paired(pairs.sessions(request.user, first=month))
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    own = request.user.institution_id
    report = AccountReport.objects.filter(institution=own, month=month).first() if own else None
    return render(request, "settlement/consultation_statements.html", named({
        "breadcrumbs": [CRUMB, {**STATEMENTS, "url": ""}], "tabs": tabs("consultation-statements"),
        "month": month, "before": add_months(month, -1), "after": add_months(month, 1),
        "table": _pairs_table(
            pairs.summed(page, month=month), total=page.paginator.count, number=page.number
        ),
        "chart": _chart(request, month),
        "csv": f"{reverse('consultation-statements-csv')}?month={month:%Y-%m}",
        "reports": _reports(request, month),
        "form": (typed or _account_form(report)) if own and request.user.may(steps.RECORD) else None,
        "page_url": reverse("consultation-statements"),
    }), status=422 if typed is not None else 200)  # fmt: skip


def _account_form(report: AccountReport | None) -> shapes.AccountForm:
    initial = {} if report is None else {
        "account_name": report.account_name, "note": report.note,
        "staff_pay": yuan(report.staff_pay),
    }  # fmt: skip
    return shapes.AccountForm(initial=initial)


def _reports(request: PortalRequest, month: dt.date) -> Table:
    """The separate accounts of the month; their pages are counted by themselves."""
    rows = AccountReport.objects.visible_to(request.user).filter(month=month)
    rows = rows.select_related("institution").order_by("institution_id")
    page = Paginator(rows, PAGE).get_page(request.GET.get("accounts"))
    return Table(
        id="accounts", caption="财务专账", actions=False,
        columns=[Column(label="邀请方", wide=True), Column(label="专账名称", wide=True),
                 Column(label="劳务补贴支出（元）", numeric=True), Column(label="说明", wide=True)],
        rows=[Row(key=str(row.pk), label=row.institution.name, cells=[
            Cell(text=row.institution.name), Cell(text=row.account_name),
            Cell(text=yuan(row.staff_pay)), Cell(text=row.note),
        ]) for row in page],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,),
                    query="accounts"),
    )  # fmt: skip


def _pairs_table(found: list[pairs.Statement], *, total: int, number: int) -> Table:
    rows = []
    for pair in found:
        totals, args = pair.totals, [pair.inviting.pk, pair.invited.pk, f"{pair.month:%Y-%m}"]
        url = reverse("consultation-statement", args=args)
        rows.append(Row(
            key="-".join(args), label=pair.inviting.name,
            cells=[
                Cell(text=pair.inviting.name, url=url), Cell(text=pair.invited.name),
                Cell(text=str(totals["sessions"])), Cell(text=yuan(totals["collected"])),
                Cell(text=yuan(totals["share"])), Cell(text=yuan(totals["paid"])),
                Cell(text=yuan(totals["receipted"])),
                Cell(text=yuan(totals["open"]), tone="warn" if totals["open"] else ""),
            ],
            actions=[Action(label="查看", url=url)],
        ))  # fmt: skip
    return Table(
        id="pairs", caption="双方结算单",
        columns=[Column(label="邀请方", wide=True), Column(label="受邀方", wide=True),
                 Column(label="会诊", numeric=True), Column(label="患者缴费（元）", numeric=True),
                 Column(label="应分（元）", numeric=True), Column(label="已付（元）", numeric=True),
                 Column(label="票据（元）", numeric=True), Column(label="未结（元）", numeric=True)],
        rows=rows, pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="本月没有会诊",
        empty_text="有会诊的月份按邀请方、受邀方成对列出，供双方财务核对。",
    )  # fmt: skip


def _chart(request: PortalRequest, month: dt.date) -> dict[str, Any]:
    months = [add_months(month, -n) for n in range(MONTHS_DRAWN - 1, -1, -1)]
    found = pairs.by_month(request.user, first=months[0], last=month)
    kept, shared, unsettled = [], [], []
    for each in months:
        total = found.get(each, dict.fromkeys(pairs.AMOUNTS, 0))
        kept.append(max(total["collected"] - total["share"], 0))
        shared.append(total["share"] - total["open"])
        unsettled.append(total["open"])
    return charts.bars(
        title="会诊费的去向", labels=[f"{each:%Y-%m}" for each in months], money=True, stacked=True,
        series=[{"label": "邀请方留存", "values": kept}, {"label": "受邀方已结", "values": shared},
                {"label": "受邀方未结", "values": unsettled, "tone": "d"}],
    )  # fmt: skip


@requires("consultations.view")
@require_GET
def consultation_statements_csv(request: PortalRequest) -> HttpResponse:
    """All statements of a month as CSV."""
    month = first_of_month(request.GET.get("month"))
    found = pairs.statements(request.user, month=month)
    exported(user=request.user, at=clock.now(), action="consultation.statement",
             subject=f"consultation:{month:%Y-%m}", form="csv", pairs=len(found))  # fmt: skip
    text = "".join(sheets.csv_lines(pairs.HEADS, pairs.csv_rows(found)))
    return _file(text, sheets.CSV, f"consultations-{month:%Y-%m}.csv")


@requires(steps.RECORD)
@require_POST
def consultation_account(request: PortalRequest, month: str) -> HttpResponse:
    """Report the separate account of a month."""
    first, form = first_of_month(month), shapes.AccountForm(request.POST)
    if not form.is_valid():
        return _statements_page(request, first, typed=form)
    with transaction.atomic():
        pairs.report_account(
            institution=_own(request), month=first, **form.cleaned_data,
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    messages.success(request, f"已填报 {first:%Y-%m} 会诊专账。")
    return redirect(f"{STATEMENTS['url']}?month={first:%Y-%m}")


@requires("consultations.view")
@require_GET
def consultation_statement(
    request: PortalRequest, inviting: str, invited: str, month: str, form: str = ""
) -> HttpResponse:
    """The statement of a pair and a month: a page of it, or the whole as paper or CSV."""
    first = first_of_month(month)
    which: dict[str, Any] = {"inviting": inviting, "invited": invited}
    rows = pairs.sessions(request.user, first=first, **which)
    found = pairs.summed(pairs.paired(rows), month=first)
    if not found:
        raise Http404
    if form:
        (whole,) = pairs.statements(request.user, month=first, **which)
        return _paper_of(request, whole, form)
    pair, totals = found[0], found[0].totals
    page = Paginator(pairs.detailed(rows, request.user), PAGE).get_page(request.GET.get("page"))
    args = [inviting, invited, f"{pair.month:%Y-%m}"]
    return render(request, "settlement/consultation_statement.html", named({
        "pair": pair, "rows": _entries(page, clock.today()), "law": _law(pair),
        "stats": [
            {"label": "会诊", "value": str(totals["sessions"]), "unit": "次"},
            {"label": "患者缴费", "value": yuan(totals["collected"]), "unit": "元"},
            {"label": "受邀方应分", "value": yuan(totals["share"]), "unit": "元"},
            {"label": "未结", "value": yuan(totals["open"]), "unit": "元"},
        ],
        "pdf": reverse("consultation-statement-file", args=[*args, "pdf"]),
        "csv": reverse("consultation-statement-file", args=[*args, "csv"]),
        "breadcrumbs": [CRUMB, STATEMENTS, {"label": f"{pair.month:%Y-%m}", "url": ""}],
    }))  # fmt: skip


def _law(pair: pairs.Statement) -> dict[str, str]:
    document = PROCEDURES[commands.SLUG].document
    policy = steps.policy_of(pair.inviting, pair.month)
    rule = policy.data["distribution"] if policy else {}
    return {
        "document": document, "clause": rule.get("clause", ""),
        "account": rule.get("separate_account", {}).get("name", ""),
        "purpose": rule.get("used_for", {}).get("purpose", ""),
    }  # fmt: skip


def _entries(page: Page, today: dt.date) -> Table:
    return Table(
        id="entries", caption="会诊明细",
        columns=[Column(label="会诊编号"), Column(label="会诊日期"),
                 Column(label="患者缴费（元）", numeric=True), Column(label="比例", numeric=True),
                 Column(label="应分（元）", numeric=True), Column(label="已付（元）", numeric=True),
                 Column(label="受邀方票据"), Column(label="未结（元）", numeric=True),
                 Column(label="状态")],
        rows=[
            Row(key=str(row.row.pk), label=row.case.number, cells=[
                Cell(text=row.case.number, url=steps.place(row.case), code=True),
                Cell(text=str(row.case.session_on)),
                Cell(text="待定" if row.row.fee is None else yuan(row.collected),
                     sub=f"待收取 {yuan(row.row.fee)}"
                     if row.row.fee and row.case.collected_at is None else ""),
                Cell(text=pairs.percent(row.row) or "—"), Cell(text=yuan(row.share)),
                Cell(text=yuan(row.paid), sub=row.row.payment_no),
                Cell(text="、".join(one.number for one in row.receipts) or "—",
                     sub=f"{yuan(row.receipted)} 元" if row.receipts else ""),
                Cell(text=yuan(row.open)),
                Cell(text=pairs.state_of(row.case), tone="bad" if row.late(today) else "info",
                     sub=f"期限 {row.case.due}" if row.case.due else row.case.late_reason),
            ])
            for row in map(pairs.entry_of, page)
        ],
        pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
    )  # fmt: skip


def _paper_of(request: PortalRequest, pair: pairs.Statement, form: str) -> HttpResponse:
    name = f"statement-{pair.inviting.pk}-{pair.invited.pk}-{pair.month:%Y-%m}"
    trail.record(
        by=request.user.username, at=clock.now(), action="consultation.statement",
        subject=f"consultation:{pair.month:%Y-%m}", region_code=pair.inviting.region_id,
        institution_code=request.user.institution_id or pair.inviting.pk,
        detail={"inviting": pair.inviting.pk, "invited": pair.invited.pk, "form": form},
    )  # fmt: skip
    rows = list(pairs.csv_rows([pair]))
    if form == "csv":
        return _file("".join(sheets.csv_lines(pairs.HEADS, rows)), sheets.CSV, f"{name}.csv")
    if form != "pdf":
        raise Http404
    data = {"heads": pairs.HEADS, "rows": rows}
    content = pdf.render(
        "reports/consultation_statement.html",
        {"pair": pair, "totals": pair.totals, "law": _law(pair), "title": "远程会诊费用结算单",
         "demo": pair.inviting.is_demo},
        identifier=pdf.identifier_of("statement", name, f"{clock.now():%Y%m%d%H%M%S}"),
        at=clock.now(), attachments=[pdf.json_attachment("statement.json", data, "结算单数据")],
    )  # fmt: skip
    return _file(content, PAPER["pdf"], f"{name}.pdf")
