"""机构月结算单: the list by month, one statement with its chain and lines, the steps."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet, Sum
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.models import Event, Move
from audit.moves import offered
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Institution
from institutions.naming import Login, named
from institutions.refusals import Refusal
from institutions.views.file import frozen_words
from settlement import payers, statement_page, statement_steps, statements, words
from settlement.detail import in_order, moment
from settlement.models import Claim, Deduction, HospitalLedger, Period, Settlement, Statement
from settlement.statement_forms import (
    AnswerForm,
    ConfirmForm,
    DeductionForm,
    ObjectionForm,
    StatementFilter,
)

CRUMBS = [{"label": "工作台", "url": "/"}]
BIGGEST_ID = 2**63 - 1
PAGE, LINES_PAGE = 20, 50
STATES = statement_steps.PROCEDURE.states
FORMS: dict[str, Callable[..., forms.Form]] = {
    "send": forms.Form, "confirm": ConfirmForm, "object": ObjectionForm, "answer": AnswerForm,
    "decide": AnswerForm,
}  # fmt: skip
HINTS = {
    "send": "按此刻的账目和扣款重新计算后送机构确认，并开始计算确认期限。",
    "confirm": "确认后金额不再变动，各项凭证随即入账，等待拨付。",
    "object": "经办机构另一人答复后再次送达。",
    "answer": "有异议的扣款须先逐笔维持或撤销；答复后按最新扣款重新计算并再次送达。",
    "decide": "仅限确认期限已过，或异议经答复后再次提出；裁定后金额不再变动。",
}  # fmt: skip


@requires("statements.view")
@require_GET
def statements_list(request: PortalRequest) -> HttpResponse:
    """Statements by month with totals and lock state."""
    rows = statements.seen_by(request.user)
    months = [f"{month:%Y-%m}" for month in rows.dates("period", "month", order="DESC")]
    found = StatementFilter(request.GET, queryset=rows, request=request, months=months)
    if request.user.institution_id:
        found.form.fields.pop("institution")
    chosen = found.found().order_by("-period", "institution_code", "scheme")
    page = Paginator(chosen, PAGE).get_page(request.GET.get("page"))
    sums = chosen.aggregate(
        count=Count("pk"),
        declared=Sum("declared"),
        deducted=Sum("deducted"),
        payable=Sum("payable"),
    )
    return render(request, "settlement/statements.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "机构月结算单", "url": ""}], "form": found.form,
        "stats": [
            {"label": "结算单", "value": f"{sums['count']:,}", "unit": "张"},
            *({"label": label, "value": yuan(sums[name] or 0), "unit": "元"} for name, label in (
                ("declared", "申报金额"), ("deducted", "审核扣款"), ("payable", "应付金额"))),
        ],
        "table": _list(request, list(page), total=page.paginator.count, number=page.number),
    }))  # fmt: skip


def _list(request: PortalRequest, rows: list[Statement], *, total: int, number: int) -> Table:
    names = dict(
        Institution.objects.filter(pk__in={row.institution_code for row in rows})
        .values_list("pk", "name")
    )  # fmt: skip
    locks = {
        (row.pool, row.month): row.get_state_display()
        for row in Period.objects.filter(month__in={row.period for row in rows})
    }
    paid = statements.paid_of(rows)
    return Table(
        id="statements", caption="机构月结算单",
        columns=[
            Column(label="结算期"), Column(label="医疗机构", wide=True), Column(label="险种"),
            Column(label="申报（元）", numeric=True), Column(label="扣款（元）", numeric=True),
            Column(label="应付（元）", numeric=True), Column(label="实付（元）", numeric=True),
            Column(label="状态"),
        ],
        rows=[
            Row(
                key=str(row.pk), label=row.number, cells=[
                    Cell(text=f"{row.period:%Y-%m}", url=reverse("statement", args=[row.pk]),
                         sub=locks.get((row.pool, row.period), "开放")),
                    Cell(text=names.get(row.institution_code, row.institution_code),
                         sub=row.institution_code),
                    Cell(text=row.get_scheme_display()),
                    Cell(text=yuan(row.declared), sub=f"{row.claims:,} 笔"),
                    Cell(text=yuan(row.deducted)), Cell(text=yuan(row.payable)),
                    Cell(text=yuan(paid.get(row.pk, 0))),
                    Cell(text=STATES[row.state].label, tone=STATES[row.state].tone,
                         sub=f"至 {row.due}" if row.due else ""),
                ],
                actions=[Action(label="查看", url=reverse("statement", args=[row.pk]))],
            )
            for row in rows
        ],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有结算单", empty_text="结算期关账时为有业务的机构按险种生成。",
    )  # fmt: skip


@requires("statements.view")
@require_GET
def statement(request: PortalRequest, pk: int) -> HttpResponse:
    """One statement."""
    return _page(request, visible(request, pk), {})


def _page(
    request: PortalRequest, row: Statement, bound: dict[str, forms.Form], status: int = 200
) -> HttpResponse:
    institution = Institution.objects.select_related("region").get(pk=row.institution_code)
    period = Period.objects.filter(pool=row.pool, month=row.period).first()
    paid = statements.paid_of([row]).get(row.pk, 0)
    steps = statement_page.steps_of(row, paid)
    only = request.GET.get("only", "")
    only = only if only in statement_page.ONLY else ""
    events = Event.objects.visible_to(request.user).filter(subject=row.subject)
    frozen = frozen_words(institution, on=clock.today())
    state = STATES[row.state]
    return render(request, "settlement/statement.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "机构月结算单", "url": reverse("statements")},
                        {"label": row.number, "url": ""}],
        "statement": row, "institution": institution, "state": {"text": state.label, "tone": state.tone},
        "lock": period.get_state_display() if period else "开放",
        "locked": bool(period and period.state == Period.State.CLOSED),
        "frozen": f"{frozen}。暂停期间不拨付。" if frozen else "",
        "due_words": _due(row),
        "chart": statement_page.chart(row, steps), "steps": statement_page.table_of(steps),
        "identity": statement_page.identity(row), "info": _info(row, institution),
        "acts": _acts(request, row, bound), "deductions": _deductions(request, row),
        "objections": _objections(row),
        "match": _match(row, paid, may_open=request.user.may("reconciliations.view")),
        "lines": _lines(request, row, only), "tabs": _tabs(row, only), "only": only,
        "vouchers": _vouchers(row),
        "reports_panel": reverse("statement-report-panel", args=[row.pk])
        if request.user.may("reports.view") else "",
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in in_order(events.order_by("at", "id"))
        ],
    }), status=status)  # fmt: skip


@requires("statements.view")
@require_POST
def step(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Take a step of the procedure; a refusal is shown with the form."""
    row = visible(request, pk)
    if key not in FORMS:
        raise Http404
    form = FORMS[key](request.POST, auto_id=f"{key}_%s")
    if not form.is_valid():
        return _page(request, row, {key: form}, 422)
    by, at = request.user.username, clock.now()
    given = request.POST.get("version", "")
    version = int(given) if given.isascii() and given.isdigit() else None
    try:
        statement_steps.take(statement=row, step=key, who=request.user, by=by, at=at,
                             facts=form.cleaned_data, version=version)  # fmt: skip
    except (Refused, Refusal) as error:
        trail.record(
            by=by, at=at, action=f"statement.{key}", subject=row.subject, outcome="refused",
            region_code=row.region_code, institution_code=row.institution_code,
            detail={"code": error.code},
        )  # fmt: skip
        if error.status == 403:
            messages.error(request, f"{words_of(error)}。")
            return redirect("statement", pk=pk)
        form.add_error(None, f"{words_of(error)}。")
        return _page(request, row, {key: form}, error.status)
    messages.success(request, f"已办理：{statement_steps.PROCEDURE.step(key).label}。")
    return redirect("statement", pk=pk)


# --- Deductions ---


@requires("statements.deduct")
@require_http_methods(["GET", "POST"])
def deduct(request: PortalRequest, claim_id: int) -> HttpResponse:
    """Cut a claim: amount, class of the reason, what was found, clause."""
    if claim_id > BIGGEST_ID:
        raise Http404
    claim = get_object_or_404(Claim.objects.visible_to(request.user), pk=claim_id)
    settled = Settlement.objects.filter(claim_id=claim.pk).order_by("-version").first()
    form = DeductionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = statement_steps.deduct(
                claim_id=claim.pk, by=request.user.username, at=clock.now(), **form.cleaned_data
            )
        except Refusal as error:
            form.add_error(None, f"{words_of(error)}。")
        else:
            messages.success(request, f"已扣款 {yuan(made.amount)} 元。")
            if made.statement_id:
                return redirect("statement", pk=made.statement_id)
            return redirect("claim", claim_id=claim.pk)
    left = statement_steps.deductible(settled) if settled else 0
    return render(request, "institutions/act.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "申报与结算", "url": reverse("claims")},
                        {"label": claim.claim_no, "url": reverse("claim", args=[claim.pk])},
                        {"label": "审核扣款", "url": ""}],
        "title": f"审核扣款 {claim.claim_no}", "form": form, "button": "扣款", "danger": True,
        "back": reverse("claim", args=[claim.pk]),
        "hint": f"医保（统筹、大病、救助、个人账户）已支付而未扣的金额为 {yuan(left)} 元。"
                "扣款按各方支付比例分摊，记入该机构下一张未送出的结算单。",
    }))  # fmt: skip


@requires("statements.deduct")
@require_POST
def deduction(request: PortalRequest, pk: int) -> HttpResponse:
    """Keep or withdraw a deduction: another person's decision."""
    row = get_object_or_404(statement_steps.visible_deductions(request.user), pk=pk)
    form = AnswerForm(request.POST)
    keep = request.POST.get("decision") == "keep"
    try:
        if not form.is_valid():
            messages.error(request, "请填写答复。")
        else:
            statement_steps.answer_deduction(
                deduction=row, keep=keep, answer=form.cleaned_data["answer"],
                by=request.user.username, at=clock.now(),
            )  # fmt: skip
            messages.success(request, "已维持扣款。" if keep else "已撤销扣款。")
    except Refusal as error:
        messages.error(request, f"{words_of(error)}。")
    if row.statement_id:
        return redirect(f"{reverse('statement', args=[row.statement_id])}#deductions")
    return redirect("claim", claim_id=row.claim_id)


# --- What the page shows ---


def visible(request: PortalRequest, pk: int) -> Statement:
    if pk > BIGGEST_ID:
        raise Http404
    return get_object_or_404(statements.seen_by(request.user), pk=pk)


def _acts(
    request: PortalRequest, row: Statement, bound: dict[str, forms.Form]
) -> list[dict[str, Any]]:
    steps = offered(case=row, procedure=statement_steps.PROCEDURE,
                    handbook=statement_steps.HANDBOOK, who=request.user)  # fmt: skip
    return [
        {"key": step.key, "title": step.label, "hint": HINTS[step.key], "version": row.version,
         "url": reverse("statement-step", args=[row.pk, step.key]), "danger": step.tone == "danger",
         "form": bound.get(step.key) or FORMS[step.key](auto_id=f"{step.key}_%s"),
         "open": step.key in bound}
        for step in steps
    ]  # fmt: skip


def _due(row: Statement) -> str:
    """Until when the institution confirms; the law of the deadline stands beside it."""
    if row.state != "sent" or row.due is None:
        return ""
    label = row.basis.get("confirmation", {}).get("label", "")
    return f"请于 {row.due} 前确认或提出异议（{row.due_clause}{'，' if label else ''}{label}）。"


def _info(row: Statement, institution: Institution) -> list[dict[str, Any]]:
    year = row.period.year - 1
    assessed = statements.coefficients({row.institution_code}, year)
    sent = (
        Move.objects.filter(subject=row.subject, step__in=("send", "answer"))
        .order_by("-pk")
        .first()
    )
    return [
        {"label": "医疗机构", "value": institution.name, "sub": institution.pk,
         "url": reverse("institution", args=[institution.pk])},
        {"label": "险种", "value": row.get_scheme_display()},
        {"label": "费用总额", "value": f"{yuan(row.fee)} 元",
         "sub": f"结算 {row.claims:,} 笔，冲正 {row.reversals:,} 笔"},
        {"label": "待审金额", "value": f"{yuan(row.held)} 元",
         "sub": f"{row.held_claims:,} 笔仍待审核，不在本单支付"},
        {"label": "考核系数", "value": rate(row.coefficient),
         "sub": f"{year}年度考核" if assessed else f"{year}年度未考核，不扣减"},
        {"label": "送达", "value": moment(sent.at)[:16] if sent else "",
         "sub": f"第 {row.round} 次" if sent else ""},
        {"label": "机构确认", "value": row.signed_name,
         "sub": moment(row.signed_at)[:16] if row.signed_at else ""},
        {"label": "金额 SM3", "value": row.digest, "code": bool(row.digest), "wide": True},
    ]  # fmt: skip


def _tabs(row: Statement, only: str) -> list[dict[str, Any]]:
    address = reverse("statement", args=[row.pk])
    return [
        {"label": label, "url": f"{address}?only={key}#lines" if key else f"{address}#lines",
         "current": key == only}
        for key, label in statement_page.ONLY.items()
    ]  # fmt: skip


def _lines(request: PortalRequest, row: Statement, only: str) -> Table:
    found: QuerySet[Settlement] = statement_page.lines(row, only)
    page = Paginator(found, LINES_PAGE).get_page(request.GET.get("page"))
    may_cut = request.user.may("statements.deduct")
    query = f"?only={only}" if only else ""
    named_payers = statement_page.payers_on(row)
    return Table(
        id="lines", caption=statement_page.ONLY[only], show_caption=False,
        toolbar=[
            Action(label="导出 CSV", url=reverse("statement-lines", args=[row.pk, "csv"]) + query,
                   icon="arrow-down-tray"),
            Action(label="导出 XLSX", url=reverse("statement-lines", args=[row.pk, "xlsx"]) + query,
                   icon="table-cells"),
        ],
        columns=[
            Column(label="单据号"), Column(label="参保人"), Column(label="服务日期"),
            Column(label="费用（元）", numeric=True),
            *(Column(label=f"{payers.LABELS[name]}（元）", numeric=True) for name in named_payers),
            Column(label="扣款（元）", numeric=True), Column(label="状态"),
        ],
        rows=[
            _line(entry, named_payers, may_cut)
            for entry in statement_page.described(row, list(page))
        ],
        pages=Pages(total=page.paginator.count, size=LINES_PAGE, page=page.number, sizes=(LINES_PAGE,)),
        empty_title="没有单据", empty_text="本单没有这一类单据。",
    )  # fmt: skip


def _line(entry: dict[str, Any], named_payers: Sequence[str], may_cut: bool) -> Row:
    line: Settlement = entry["settlement"]
    address = reverse("claim", args=[line.claim_id])
    actions = [Action(label="查看", url=address)]
    if may_cut and line.version % 2 and any(payers.paid(line).values()):
        actions.append(Action(label="扣款", url=reverse("claim-deduct", args=[line.claim_id])))
    return Row(
        key=f"{line.claim_id}-{line.version}", label=entry["number"], actions=actions,
        cells=[
            Cell(text=entry["number"], url=address, code=True,
                 sub=f"第 {line.version} 版" if line.version > 1 else ""),
            Cell(text=entry["person"]), Cell(text=line.service_date.isoformat()),
            Cell(text=yuan(line.fee)),
            *(Cell(text=yuan(getattr(line, name))) for name in named_payers),
            Cell(text=yuan(entry["deducted"]) if entry["deducted"] else "—"),
            Cell(text=line.get_state_display(), tone=words.STATE_TONES[line.state]),
        ],
    )  # fmt: skip


DEDUCTION_TONES = {"made": "info", "disputed": "warn", "kept": "ok", "withdrawn": "mute"}


def _deductions(request: PortalRequest, row: Statement) -> list[dict[str, Any]]:
    rows = list(row.deductions.all())
    keys = statement_page.claim_numbers([found.claim_id for found in rows])
    me = request.user
    return [
        {"row": found, "number": keys.get(found.claim_id, found.claim_id),
         "url": reverse("claim", args=[found.claim_id]), "amount": yuan(found.amount),
         "reason": found.get_reason_display(), "state": found.get_state_display(),
         "tone": DEDUCTION_TONES[found.state],
         "open": me.may("statements.deduct") and found.made_by != me.username and not row.is_final
         and found.amount > 0 and found.state in (Deduction.State.MADE, Deduction.State.DISPUTED),
         "may_withdraw": not row.is_sent,
         "made_by": Login(found.made_by), "answered_by": Login(found.answered_by),
         "act": reverse("deduction", args=[found.pk])}
        for found in rows
    ]  # fmt: skip


def _objections(row: Statement) -> list[dict[str, Any]]:
    return [
        {"at": moment(found.made_at)[:16], "by": found.signed_name, "title": f"第 {found.round} 次送达的异议",
         "text": found.reason + (f"（单据：{'、'.join(found.claims)}）" if found.claims else ""),
         "answer": found.answer, "answered_by": Login(found.answered_by),
         "answered_at": moment(found.answered_at)[:16] if found.answered_at else ""}
        for found in row.objections.all()
    ]  # fmt: skip


def _match(row: Statement, paid: int, *, may_open: bool) -> list[dict[str, Any]]:
    """Three sides with what they say and how they differ: hospital and centre, centre and bank."""
    theirs = HospitalLedger.objects.filter(
        institution_code=row.institution_code, period=row.period
    ).order_by("-pk").first()  # fmt: skip
    ours = statement_page.settled_by(row)
    others = "、".join(statement_page.told({name: ours[name] for name in payers.OTHERS}))
    persons = sum(ours.values()) - sum(statement_page.paid_by([row])[row.pk].values())
    due = max(row.payable, 0)
    bank = "已付清" if paid == due else f"应付 {yuan(due)} 元"
    return [
        _hospital_side(row, theirs, ours["fund"], may_open=may_open),
        {"side": "中心结算", "what": "统筹基金", "amount": yuan(ours["fund"]), "difference": "",
         "badge": STATES[row.state].label, "tone": STATES[row.state].tone,
         "note": f"{row.claims:,} 笔结算、{row.reversals:,} 笔冲正"
                 + (f"；另{others}" if others else "")
                 + (f"；其中 {yuan(persons)} 元付给参保人，不入本单" if persons else "")},
        {"side": "银行实付", "what": "拨付减退票", "amount": yuan(paid),
         "difference": yuan(paid - due, sign=True), "against": "与应付", "badge": bank,
         "tone": "ok" if paid == due else "wait",
         "note": f"申报 {yuan(row.declared)} 元，经扣减、冲抵和结转应付 {yuan(row.payable)} 元"},
    ]  # fmt: skip


def _hospital_side(
    row: Statement, theirs: HospitalLedger | None, ours: int, *, may_open: bool
) -> dict[str, Any]:
    """What the hospital's own ledger of the month says the pooled fund owes it in this scheme; `ours`:
    what the lines say that it is compared with."""
    side = {"side": "医院账", "what": "统筹基金", "amount": "—", "difference": "", "tone": "wait"}
    if theirs is None:
        return side | {"badge": "未上传", "note": "机构按月上传自己的账，逐笔对账"}
    side |= {
        "badge": theirs.get_state_display(), "tone": "ok" if theirs.balanced_at else "warn",
        "note": f"{theirs.file_name}，{theirs.rows:,} 行",
        "url": reverse("reconciliation", args=[theirs.pk]) if may_open else "",
    }  # fmt: skip
    schemes = theirs.totals.get("schemes")
    if schemes is None:
        return side
    amount, others = schemes.get(row.scheme, 0), schemes.get("", 0)
    if others:
        side["note"] += f"；另有 {yuan(others)} 元的单据不在本期结算中"
    return side | {"amount": yuan(amount), "against": "与中心",
                   "difference": yuan(amount - ours, sign=True)}  # fmt: skip


def _vouchers(row: Statement) -> Table:
    found = statement_page.vouchers(row)
    return Table(
        id="vouchers", caption="凭证", narrow="scroll",
        columns=[Column(label="凭证号"), Column(label="种类"), Column(label="入账期"),
                 Column(label="金额（元）", numeric=True), Column(label="制单"), Column(label="复核"),
                 Column(label="摘要", wide=True)],
        rows=[
            Row(key=str(one.pk), label=one.number, cells=[
                Cell(text=one.number, code=True),
                Cell(text=("冲销：" if one.reverses_id else "") + one.get_kind_display(), sub=one.clause),
                Cell(text=f"{one.period:%Y-%m}"), Cell(text=yuan(one.amount)),
                Cell(text=Login(one.posted_by)), Cell(text=Login(one.approved_by)), Cell(text=one.reason)])
            for one in found
        ],
        empty_title="尚未入账", empty_text="结算单确认或裁定后，各项扣减凭证入账；拨付后有拨付凭证。",
    )  # fmt: skip
