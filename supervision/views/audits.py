"""Audits of a period and replays with other thresholds: asked for here, done by a worker."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate
from institutions.access import PortalRequest
from institutions.naming import Login, named
from institutions.refusals import Refusal
from pricing.catalogue import region_name
from pricing.models import Release
from pricing.policy import Rules
from pricing.releases import current
from pricing.watching import BEHAVIOURS, KEY
from settlement.terms import cite
from supervision import audits as commands
from supervision.finding_forms import AuditForm, ReplayForm
from supervision.findings import precision_of
from supervision.models import Run
from supervision.rules import RULES
from supervision.views.findings import BIGGEST, CRUMBS, NUMBER_WORDS, SIZE, tabs, written

RUN, TUNE = "rules.run", "rules.tune"
TONES = {"waiting": "wait", "running": "info", "done": "ok", "failed": "bad"}
MOMENTS = {"remind": "事前提醒", "watch": "事中监督", "audit": "事后审核"}
WATCHES = {"pay": "记录疑点，照常支付", "hold": "暂不支付，转人工", "refuse": "不予支付"}


def pools(request: PortalRequest) -> list[tuple[str, str]]:
    """The pooling regions with rules that the reader's region belongs to."""
    region = request.user.region
    if region is None:
        return []
    mine = region.policy_region
    catalogue = current()
    found = [(pool, catalogue.policy(pool, clock.today())) for pool in catalogue.regions()]
    return [
        (pool, region_name(release.policy)) for pool, release in found
        if release is not None and pool == mine
    ]  # fmt: skip


def _rules(pool: str) -> Rules | None:
    return current().rules(pool, clock.today(), examples=settings.EXAMPLE_PARAMETERS)


@requires(RUN)
@require_http_methods(["GET", "POST"])
def listing(request: PortalRequest) -> HttpResponse:
    """Audits of the reader's region; ask for one more."""
    form = AuditForm(request.POST or None, pools=pools(request), today=clock.today())
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                run = commands.ask(by=request.user.username, at=clock.now(), **form.cleaned_data)
            except Refusal as refusal:
                status = refuse(form, refusal)
            else:
                messages.success(request, "审核已排队，完成后疑点列在“审核疑点”。")
                return redirect("audit-run", pk=run.pk)
    page = Paginator(Run.objects.visible_to(request.user), SIZE).get_page(request.GET.get("page"))
    return render(request, "supervision/audits.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "审核运行", "url": ""}], "form": form,
        "tabs": tabs(request, "audits"), "table": _table(list(page), Pages(
            total=page.paginator.count, size=SIZE, page=page.number, sizes=(SIZE,))),
        "rules": [_rule_table(pool, name) for pool, name in pools(request)],
    }), status=status)  # fmt: skip


def _table(rows: list[Run], pages: Pages) -> Table:
    return Table(
        id="audits", caption="审核运行", pages=pages,
        columns=[Column(label="运行"), Column(label="服务日期"), Column(label="单据", numeric=True),
                 Column(label="疑点", numeric=True), Column(label="新增", numeric=True),
                 Column(label="发起"), Column(label="状态")],
        rows=[_row(row) for row in rows], empty_title="还没有运行审核",
        empty_text="每日夜间自动审核本月、上月和迟到单据所在月份，也可在上方随时发起。",
    )  # fmt: skip


def _row(row: Run) -> Row:
    url = reverse("audit-run", args=[row.pk])
    counts = row.found.values()
    return Row(key=str(row.pk), label=f"运行 {row.pk}", actions=[Action(label="查看", url=url)], cells=[
        Cell(text=str(row.pk), url=url, code=True, sub="试算，不入库" if row.trial else ""),
        Cell(text=f"{row.first_day} 至 {row.last_day}"), Cell(text=f"{row.claims:,}"),
        Cell(text=f"{sum(c['found'] for c in counts):,}"),
        Cell(text=f"{sum(c['new'] for c in counts):,}"),
        Cell(text=Login(row.asked_by), sub=f"{clock.local(row.asked_at):%Y-%m-%d %H:%M}"),
        Cell(text=row.get_state_display(), tone=TONES[row.state]),
    ])  # fmt: skip


def _rule_table(pool: str, name: str) -> Table:
    """The rules that are on in a region today, with clause, moments and numbers."""
    rules = _rules(pool)
    switches = rules.watching if rules else ()
    return Table(
        id=f"rules-{pool}", caption=f"{name}启用的规则", actions=False,
        columns=[Column(label="规则", wide=True), Column(label="行为"), Column(label="条款"),
                 Column(label="环节"), Column(label="事中处理"), Column(label="阈值", wide=True)],
        rows=[Row(key=s.rule, label=s.rule, cells=[
            Cell(text=RULES[s.rule].message), Cell(text=BEHAVIOURS[s.behaviour]),
            Cell(text=s.clause, sub=s.article), Cell(text="、".join(MOMENTS[m] for m in s.moments)),
            Cell(text=WATCHES[s.watch] if s.speaks("watch") else "—"),
            Cell(text=_numbers(s.rule, s.numbers),
                 sub="示例参数" if s.example else ""),
        ]) for s in switches],
        empty_title="没有启用的规则", empty_text="政策文件的 supervision_rules 一节启用规则。",
    )  # fmt: skip


@requires("findings.view")
@require_GET
def run(request: PortalRequest, pk: int) -> HttpResponse:
    """How far a run is and what each rule found."""
    if request.user.institution_id:
        raise Http404
    row = get_object_or_404(Run.objects.visible_to(request.user), pk=min(pk, BIGGEST))
    facts: list[dict[str, Any]] = [
        {"label": "服务日期", "value": f"{row.first_day} 至 {row.last_day}"},
        {"label": "单据", "value": f"{row.claims:,} 张"},
        {"label": "发起", "value": Login(row.asked_by),
         "sub": f"{clock.local(row.asked_at):%Y-%m-%d %H:%M}"},
        {"label": "用时", "value": _seconds(row)},
        {"label": "参数", "value": "示例参数" if any(s["example"] for s in _stretches(row)) else "—"},
    ]  # fmt: skip
    if row.fault:
        facts.append({"label": "失败原因", "value": row.fault, "wide": True})
    going, may = row.state in (Run.State.WAITING, Run.State.RUNNING), request.user.may(RUN)
    return render(request, "supervision/audit_run.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "审核运行", "url": reverse("audits") if may else ""},
                        {"label": f"运行 {row.pk}", "url": ""}], "row": row,
        "tone": TONES[row.state], "facts": facts, "going": going, "table": _found(row),
        "draft": _draft(request, row) if row.trial and row.state == Run.State.DONE else None,
    }))  # fmt: skip


def _numbers(rule: str, numbers: Mapping[str, int]) -> str:
    return "；".join(f"{NUMBER_WORDS.get(k, k)} {written(rule, k, v)}" for k, v in numbers.items())


def _stretches(row: Run) -> list[dict[str, Any]]:
    """The days of a run by whose rules they were judged (supervision.audits.Stretch.told)."""
    found: list[dict[str, Any]] | None = row.rules.get("stretches")
    if found is None and "used" in row.rules:  # a run of before: one law for all its days
        found = [{"first": f"{row.first_day}", "last": f"{row.last_day}", "used": row.rules["used"],
                  "example": bool(row.rules.get("example"))}]  # fmt: skip
    return found or []


def _used(row: Run, rule: str) -> str:
    """The numbers of a rule in a run; each with its days where they changed on the way."""
    used = [s for s in _stretches(row) if rule in s["used"]]
    told = [(s["first"], s["last"], _numbers(rule, s["used"][rule])) for s in used]
    if len({numbers for _, _, numbers in told}) == 1:
        return told[0][2] or "—"
    return "　".join(f"{first} 至 {last}：{numbers}" for first, last, numbers in told) or "—"


def _seconds(row: Run) -> str:
    if row.started_at is None or row.finished_at is None:
        return "—"
    return f"{(row.finished_at - row.started_at).total_seconds():.1f} 秒"


def _found(row: Run) -> Table:
    other = row.rules.get("numbers", {})
    columns = [Column(label="规则", wide=True), Column(label="阈值", wide=True),
               Column(label="疑点", numeric=True), Column(label="新增", numeric=True)]  # fmt: skip
    if row.trial:
        columns += [
            Column(label="消失", numeric=True, hint="现有疑点中按此阈值不再发现的"),
            Column(
                label="消失中查实／排除",
                numeric=True,
                hint="不再发现的疑点里，已经人工查实、排除的",
            ),
            Column(label="现有查实率", numeric=True, hint="查实 ÷（查实＋排除），按现有疑点"),
            Column(label="试算后查实率", numeric=True, hint="只计按此阈值仍会发现的疑点"),
        ]
    rows = []
    for rule, counts in row.found.items():
        cells = [
            Cell(text=RULES[rule].message if rule in RULES else rule,
                 url=f"{reverse('findings')}?rule={rule}"),
            Cell(text=_used(row, rule), sub="试算阈值" if rule in other else ""),
            Cell(text=f"{counts['found']:,}"), Cell(text=f"{counts['new']:,}"),
        ]  # fmt: skip
        if row.trial:
            cells += _replayed(counts)
        rows.append(Row(key=rule, label=rule, cells=cells))
    return Table(
        id="found", caption="各规则结果", columns=columns, rows=rows, actions=False,
        empty_title="还没有结果", empty_text="运行完成后列出各规则发现的疑点。",
    )  # fmt: skip


def _replayed(counts: Mapping[str, int]) -> list[Cell]:
    """What a replay loses, and how often the rule was right before and would be after."""
    kept, gone = (
        [counts.get(f"{name}_{state}", 0) for state in commands.DECIDED]
        for name in ("kept", "gone")
    )
    return [
        Cell(text=f"{counts.get('gone', 0):,}"), Cell(text=f"{gone[0]:,}／{gone[1]:,}"),
        Cell(text=_precision(kept[0] + gone[0], kept[1] + gone[1])), Cell(text=_precision(*kept)),
    ]  # fmt: skip


def _precision(confirmed: int, refuted: int) -> str:
    share = precision_of(confirmed, refuted)
    return "—" if share is None else rate(share)


def _draft(request: PortalRequest, row: Run) -> dict[str, str] | None:
    """Where the numbers of a replay are saved: the release of parameters, by draft and four eyes."""
    found = Release.objects.filter(region=row.pool, kind="parameters").order_by("-pk").first()
    if found is None or not request.user.may("releases.view"):
        return None
    return {"url": reverse("release", args=[found.pk]), "key": KEY,
            "may": "yes" if request.user.may("releases.draft") else ""}  # fmt: skip


@requires(TUNE)
@require_http_methods(["GET", "POST"])
def tuning(request: PortalRequest) -> HttpResponse:
    """Try other numbers of one rule on a past period before anybody saves them."""
    mine = pools(request)
    rules = _rules(mine[0][0]) if mine else None
    switches = (
        {s.rule: s for s in rules.watching if s.numbers and s.speaks("audit")} if rules else {}
    )
    name = request.GET.get("rule", "")
    chosen = switches.get(name) or next(iter(switches.values()), None)
    if chosen is None:
        return render(request, "supervision/tuning.html", {
            "breadcrumbs": [*CRUMBS, {"label": "阈值试算", "url": ""}],
            "tabs": tabs(request, "tuning"), "form": None, "choices": [],
        })  # fmt: skip
    form = ReplayForm(
        request.POST or None, pools=mine, today=clock.today(), numbers=dict(chosen.numbers),
        words=NUMBER_WORDS,
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            given = {key: form.cleaned_data[key] for key in ("pool", "first", "last")}
            try:
                made = commands.ask(
                    by=request.user.username, at=clock.now(), trial=True,
                    numbers={chosen.rule: form.given()}, **given,
                )  # fmt: skip
            except Refusal as refusal:
                status = refuse(form, refusal)
            else:
                messages.success(request, "试算已排队：只比较，不改变任何疑点。")
                return redirect("audit-run", pk=made.pk)
    return render(request, "supervision/tuning.html", {
        "breadcrumbs": [*CRUMBS, {"label": "阈值试算", "url": ""}], "tabs": tabs(request, "tuning"),
        "form": form, "rule": RULES[chosen.rule].message, "code": chosen.rule,
        "clause": cite(mine[0][0], clock.today(), chosen.clause) if mine else None,
        "choices": [
            {"url": f"{reverse('tuning')}?rule={s.rule}", "label": RULES[s.rule].message,
             "current": s.rule == chosen.rule}
            for s in switches.values()
        ],
    }, status=status)  # fmt: skip
