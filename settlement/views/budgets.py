"""总额预算、年终清算: lists, one of each, proposals and the decision of a second person."""

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import charts, clock, trail
from audit.access import requires
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import Institution
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from settlement import budgets, clearing, statement_paper
from settlement.detail import in_order, moment
from settlement.models import BudgetEntry, Clearing, Scheme, Voucher
from settlement.statement_forms import (
    BudgetForm,
    ClearingForm,
    DecisionForm,
    ReasonForm,
)
from settlement.terms import WATCH, Term, cite, terms_of

CRUMBS = [{"label": "工作台", "url": "/"}]
PAGE, BIGGEST_ID = 20, 2**63 - 1
YEARS = range(2015, 2100)
AGREE = [{"value": "agree", "label": "同意", "tone": "primary"},
         {"value": "refuse", "label": "不同意", "tone": ""}]  # fmt: skip
ENTRY_TONES = {"proposed": "wait", "approved": "ok", "refused": "mute"}
CLEARING_TONES = {"proposed": "wait", "approved": "ok", "refused": "mute", "reversed": "bad"}


# --- Budgets ---


@requires("budgets.view")
@require_GET
def budgets_list(request: PortalRequest) -> HttpResponse:
    """Indicators of a year with use in percent and forecast."""
    year = _year(request.GET.get("year"))
    today = clock.today()
    places = budgets.physical(Institution.objects.visible_to(request.user).select_related("region"))
    with budgets.group_scope(request.user):
        rows = budgets.budgets(year, places)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    names = {row.pk: row for row in places}
    total, used = sum(row.indicator for row in rows), sum(row.used for row in rows)
    return render(request, "settlement/budgets.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "总额预算", "url": ""}], "year": year,
        "years": [{"label": f"{one}年", "url": f"?year={one}", "current": one == year}
                  for one in range(today.year - 2, today.year + 2)],
        "stats": [("年度指标", yuan(total) if total else "未下达", "元" if total else ""),
                  ("已使用", yuan(used), "元"),
                  ("使用率", budgets.percent(used * 10_000 // total) if total else "—", "")],
        "places": [{"label": row.name, "url": reverse("budget", args=[row.pk, year])} for row in places]
        if request.user.may("budgets.set") else [],
        "table": _budgets(list(page), names, today, year, total=len(rows), number=page.number),
    }))  # fmt: skip


def _budgets(
    rows: list[budgets.Budget], names: dict[str, Institution], today: dt.date, year: int, *,
    total: int, number: int,
) -> Table:  # fmt: skip
    lines = {}
    for pool in {names[row.institution].region.policy_region for row in rows}:
        lines[pool] = terms_of(pool, min(today, dt.date(year, 12, 31))).get(WATCH)
    shown = []
    for row in rows:
        place = names[row.institution]
        address = reverse("budget", args=[row.institution, year])
        line = budgets.line_reached(row, lines[place.region.policy_region])
        tone = "bad" if row.share and row.share > 10_000 else "warn" if line else "ok"
        shown.append(Row(
            key=f"{row.institution}-{row.scheme}", label=place.name,
            actions=[Action(label="查看", url=address)],
            cells=[
                Cell(text=place.name, url=address, sub=place.pk), Cell(text=Scheme(row.scheme).label),
                Cell(text=yuan(row.indicator) if row.indicator else "未下达"), Cell(text=yuan(row.used)),
                Cell(text=budgets.percent(row.share), tone=tone) if row.share is not None else Cell(text="—"),
                Cell(text=yuan(row.forecast(today)),
                     sub=budgets.percent(row.forecast(today) * 10_000 // row.indicator)
                     if row.indicator else ""),
            ],
        ))  # fmt: skip
    return Table(
        id="budgets", caption=f"{year}年总额预算", rows=shown,
        columns=[Column(label="医疗机构", wide=True), Column(label="险种"),
            Column(label="指标（元）", numeric=True),
                 Column(label="已使用（元）", numeric=True), Column(label="使用率"),
                 Column(label="全年预计（元）", numeric=True, hint="按首个有业务月份以来的日均推算")],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="没有总额预算", empty_text="本年还没有下达指标，也没有结算费用。",
    )  # fmt: skip


@requires("budgets.view")
@require_http_methods(["GET", "POST"])
def budget(request: PortalRequest, code: str, year: int) -> HttpResponse:
    """One institution's year: pictures, months, the history of its indicator."""
    place = get_object_or_404(
        Institution.objects.visible_to(request.user).select_related("region", "parent"), pk=code
    )
    if year not in YEARS or place.parent_id is not None:
        raise Http404
    may = request.user.may("budgets.set")
    form = BudgetForm(request.POST or None) if may else None
    if request.method == "POST":
        if form is None:
            raise PermissionDenied("budgets.set")
        if form.is_valid() and tried(
            request, form, lambda: budgets.propose(
                institution=place, year=year, by=request.user.username, at=clock.now(),
                **form.cleaned_data)
        ):  # fmt: skip
            messages.success(request, "已提交，待另一人复核。")
            return redirect("budget", code=code, year=year)
    return render(request, "settlement/budget.html", named(_budget(request, place, year, form)),
                  status=422 if request.method == "POST" else 200)  # fmt: skip


def _budget(
    request: PortalRequest, place: Institution, year: int, form: BudgetForm | None
) -> dict[str, Any]:
    today = clock.today()
    with budgets.group_scope(request.user):
        rows = budgets.budgets(year, [place])
    entries = BudgetEntry.objects.visible_to(request.user).filter(
        institution_code=place.pk, year=year
    )
    pool = place.region.policy_region
    term = terms_of(pool, min(today, dt.date(year, 12, 31))).get(WATCH)
    online = Institution.objects.filter(parent=place)
    return {
        "breadcrumbs": [*CRUMBS, {"label": "总额预算", "url": f"{reverse('budgets')}?year={year}"},
                        {"label": place.name, "url": ""}],
        "place": place, "year": year, "online": [row.name for row in online],
        "clause": cite(pool, dt.date(year, 12, 31), budgets.CLAUSE),
        "warning": _warning(term),
        "panels": [_panel(row, today) for row in rows], "form": form,
        "waiting": _entries_waiting(request, list(entries.filter(state="proposed"))),
        "history": _history(list(entries)),
    }  # fmt: skip


def _warning(term: Term | None) -> str:
    """The warning lines of the region and whose they are."""
    if term is None:
        return ""
    return f"{'、'.join(budgets.percent(line) for line in term.value)}（{term.label}）"


def _panel(row: budgets.Budget, today: dt.date) -> dict[str, Any]:
    """One scheme: figures, use month by month against the indicator, and the forecast."""
    running = [max(value, 0) for value in row.running(today)]
    forecast = row.forecast(today)
    labels = budgets.months_of(row.year)
    count = len(running)
    last = running[-1] if running else 0
    left = max(12 - count, 1)
    ahead = [*running, *(last + (forecast - last) * (n + 1) // left for n in range(12 - count))]
    return {
        "title": Scheme(row.scheme).label,
        "facts": [("指标", yuan(row.indicator) if row.indicator else "未下达"), ("已使用", yuan(row.used)),
                  ("使用率", budgets.percent(row.share) if row.share is not None else "—"),
                  ("全年预计", yuan(forecast)),
                  ("剩余", yuan(row.indicator - row.used) if row.indicator else "—")],
        "line": charts.line(
            title=f"{Scheme(row.scheme).label}：累计使用、预计与指标", labels=labels, money=True,
            description=f"指标{yuan(row.indicator) + '元' if row.indicator else '未下达'}，"
                        f"已使用{yuan(row.used)}元，全年预计{yuan(forecast)}元。",
            series=[{"label": "累计（本月以后为预计）", "values": ahead, "tone": "b"},
                    *([{"label": "指标", "values": [row.indicator] * 12, "tone": "a"}]
                      if row.indicator else [])]) if row.indicator or any(ahead) else None,
        "bars": charts.bars(
            title=f"{Scheme(row.scheme).label}：各服务月份使用", labels=labels, money=True,
            series=[{"label": "统筹基金", "values": [max(v, 0) for v in row.months]}],
        ) if any(row.months) else None,
    }  # fmt: skip


def _entries_waiting(request: PortalRequest, rows: list[BudgetEntry]) -> list[dict[str, Any]]:
    if not request.user.may("budgets.set"):
        return []
    return [
        {"key": f"entry-{row.pk}", "version": None, "danger": False, "buttons": AGREE, "open": False,
         "title": f"{row.get_scheme_display()}{row.get_kind_display()} {yuan(row.amount, sign=True)} 元",
         "hint": Told(f"{row.reason}（{row.document}）；提出人 ", Login(row.proposed_by)),
         "url": reverse("budget-decide", args=[row.pk]), "form": DecisionForm(auto_id=f"id_{row.pk}_%s")}
        for row in rows if row.proposed_by != request.user.username
    ]  # fmt: skip


def _history(rows: list[BudgetEntry]) -> Table:
    return Table(
        id="history", caption="指标变动记录",
        columns=[Column(label="险种"), Column(label="种类"), Column(label="金额（元）", numeric=True),
                 Column(label="理由", wide=True), Column(label="提出"), Column(label="复核"),
                 Column(label="状态")],
        rows=[
            Row(key=str(row.pk), label=str(row.pk), cells=[
                Cell(text=row.get_scheme_display()), Cell(text=row.get_kind_display()),
                Cell(text=yuan(row.amount, sign=True)), Cell(text=row.reason, sub=row.document),
                Cell(text=moment(row.proposed_at)[:16], sub=Login(row.proposed_by)),
                Cell(text=moment(row.decided_at)[:16] if row.decided_at else "—", sub=Login(row.decided_by)),
                Cell(text=row.get_state_display(), tone=ENTRY_TONES[row.state], sub=row.decision)])
            for row in rows
        ],
        empty_title="还没有下达指标", empty_text="首次录入为年初指标，以后只能以调整变动。",
    )  # fmt: skip


@requires("budgets.set")
@require_POST
def budget_decide(request: PortalRequest, pk: int) -> HttpResponse:
    """Put a line of the history into force, or refuse it."""
    row = get_object_or_404(BudgetEntry.objects.visible_to(request.user), pk=min(pk, BIGGEST_ID))
    agree = request.POST.get("decision_is") == "agree"
    form = DecisionForm(request.POST)
    if form.is_valid() and tried(
        request, None, lambda: budgets.decide(
            entry=row, agree=agree, decision=form.cleaned_data["decision"],
            by=request.user.username, at=clock.now())
    ):  # fmt: skip
        messages.success(request, "指标变动已生效。" if agree else "已退回。")
    return redirect("budget", code=row.institution_code, year=row.year)


# --- Clearings ---


@requires("statements.view")
@require_http_methods(["GET", "POST"])
def clearings(request: PortalRequest) -> HttpResponse:
    """Yearly clearings; those who prepare statements work one out here."""
    may = request.user.may("statements.prepare")
    form = ClearingForm(request.POST or None, user=request.user) if may else None
    if request.method == "POST":
        if form is None:
            raise PermissionDenied("statements.prepare")
        made: list[Clearing] = []
        if form.is_valid() and tried(
            request, form, lambda: made.append(clearing.propose(
                by=request.user.username, at=clock.now(), **form.cleaned_data))
        ):  # fmt: skip
            messages.success(request, "清算已算出，待财务复核。")
            return redirect("clearing", pk=made[0].pk)
    rows = Clearing.objects.visible_to(request.user)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "settlement/clearings.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "年终清算", "url": ""}], "form": form,
        "table": _clearings(list(page), total=page.paginator.count, number=page.number),
    }), status=422 if request.method == "POST" else 200)  # fmt: skip


def _clearings(rows: list[Clearing], *, total: int, number: int) -> Table:
    names = names_of([row.institution_code for row in rows])
    return Table(
        id="clearings", caption="年终清算",
        columns=[Column(label="年度"), Column(label="医疗机构", wide=True), Column(label="险种"),
                 Column(label="指标（元）", numeric=True), Column(label="使用（元）", numeric=True),
                 Column(label="留用／分担（元）", numeric=True),
                 Column(label="返还保证金（元）", numeric=True),
                 Column(label="状态")],
        rows=[
            Row(key=str(row.pk), label=str(row.pk),
                actions=[Action(label="查看", url=reverse("clearing", args=[row.pk]))], cells=[
                Cell(text=str(row.year), url=reverse("clearing", args=[row.pk])),
                Cell(text=names.get(row.institution_code, row.institution_code), sub=row.institution_code),
                Cell(text=row.get_scheme_display()), Cell(text=yuan(row.budget) if row.budget else "未下达"),
                Cell(text=yuan(row.used)), Cell(text=yuan(row.balance, sign=True)),
                Cell(text=yuan(row.returned)),
                Cell(text=row.get_state_display(), tone=CLEARING_TONES[row.state])])
            for row in rows
        ],
        pages=Pages(total=total, size=PAGE, page=number, sizes=(PAGE,)),
        empty_title="还没有年终清算", empty_text="12月关账、年度考核完成后，对照总额指标按险种清算。",
    )  # fmt: skip


@requires("statements.view")
@require_GET
def clearing_page(request: PortalRequest, pk: int) -> HttpResponse:
    """One clearing."""
    return _clearing(request, _seen(request, pk), {})


@requires("statements.view")
@require_POST
def clearing_move(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Approve, refuse or reverse a clearing."""
    row = _seen(request, pk)
    if key not in ("decide", "reverse"):
        raise Http404
    if not request.user.may("periods.close"):
        raise PermissionDenied("periods.close")
    form: forms.Form = DecisionForm(request.POST) if key == "decide" else ReasonForm(request.POST)
    by, at = request.user.username, clock.now()
    agree = request.POST.get("decision_is") == "agree"

    def run() -> object:
        if key == "decide":
            return clearing.decide(
                clearing=row, agree=agree, decision=form.cleaned_data["decision"], by=by, at=at
            )
        return clearing.reverse_clearing(
            clearing=row, reason=form.cleaned_data["reason"], by=by, at=at
        )

    if form.is_valid() and tried(request, form, run):
        messages.success(request, "已办理。")
        return redirect("clearing", pk=pk)
    return _clearing(request, row, {key: form}, 422)


@requires("statements.view")
@require_GET
def clearing_paper(request: PortalRequest, pk: int) -> HttpResponse:
    """The clearing as the form that both sides sign."""
    row, at = _seen(request, pk), clock.now()
    content = statement_paper.render_clearing(row, by=request.user.username, at=at)
    trail.record(
        by=request.user.username, at=at, action="clearing.paper", subject=f"clearing:{row.pk}",
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"state": row.state, "sm3": hashlib.new("sm3", content).hexdigest()},
    )  # fmt: skip
    name = quote(f"年终清算-{row.year}-{row.institution_code}.pdf")
    return HttpResponse(content, content_type="application/pdf",
                        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})  # fmt: skip


def _clearing(
    request: PortalRequest, row: Clearing, bound: dict[str, forms.Form], status: int = 200
) -> HttpResponse:
    place = Institution.objects.get(pk=row.institution_code)
    can = {
        "decide": row.state == Clearing.State.PROPOSED,
        "reverse": row.state == Clearing.State.APPROVED,
    }
    made: dict[str, type[forms.Form]] = {"decide": DecisionForm, "reverse": ReasonForm}
    shown = {"decide": ("复核清算", "同意后清算与保证金返还凭证入账，金额计入当月结算单的特殊调整。"),
             "reverse": ("冲销清算", "凭证全部红冲，冲销后可以重新清算。")}  # fmt: skip
    events = Event.objects.visible_to(request.user).filter(subject=f"clearing:{row.pk}")
    return render(request, "settlement/clearing.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "年终清算", "url": reverse("clearings")},
                        {"label": f"{row.year}年 {place.name}", "url": ""}],
        "clearing": row, "place": place, "changes": "；".join(clearing.changes(row)),
        "may_vouchers": request.user.may("payments.view"),
        "state": {"text": row.get_state_display(), "tone": CLEARING_TONES[row.state]},
        "acts": [
            {"key": key, "title": shown[key][0], "hint": shown[key][1], "danger": key == "reverse",
             "url": reverse("clearing-move", args=[row.pk, key]), "open": key in bound, "version": None,
             "form": bound.get(key) or made[key](), "buttons": AGREE if key == "decide" else []}
            for key, here in can.items() if here and request.user.may("periods.close")
        ],
        "rows": statement_paper.clearing_rows(row), "tiers": statement_paper.clearing_tiers(row),
        "vouchers": [
            {"row": one, "people": Told(Login(one.posted_by), "、", Login(one.approved_by)),
             "url": reverse("voucher", args=[one.pk])}
            for one in Voucher.objects.filter(subject=f"clearing:{row.pk}").order_by("pk")
        ],
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in in_order(events.order_by("at", "id"))
        ],
    }), status=status)  # fmt: skip


def _seen(request: PortalRequest, pk: int) -> Clearing:
    return get_object_or_404(Clearing.objects.visible_to(request.user), pk=min(pk, BIGGEST_ID))


def tried(request: PortalRequest, form: forms.Form | None, run: Callable[[], object]) -> bool:
    """Run a command; a refusal stands in the form, or as a message without one."""
    try:
        run()
    except Refusal as error:
        if form is None:
            messages.error(request, f"{words_of(error)}。")
        else:
            form.add_error(None, f"{words_of(error)}。")
        return False
    return True


def names_of(codes: list[str]) -> dict[str, str]:
    return dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))


def _year(text: str | None) -> int:
    year = int(text) if text and text.isascii() and text.isdigit() and len(text) == 4 else 0
    return year if year in YEARS else clock.today().year
