"""Findings: list, one with its evidence and distribution, what is made of it, precision per rule."""

from typing import Any

from django.core.paginator import Paginator
from django.forms import Form
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements.views.refusing import refuse
from audit import clock
from audit.access import requires
from audit.charts import bars, ranking
from audit.models import Event
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import rate, yuan
from audit.words import act as act_word
from institutions.access import PortalRequest
from institutions.models import Institution, Physician, User
from institutions.naming import Login, Told, named
from institutions.refusals import Refusal
from pricing.watching import BEHAVIOURS
from settlement.detail import in_order
from settlement.looks import looked
from settlement.models import Claim, InsuredPerson
from supervision import findings as commands
from supervision.evidence import OF_PRESCRIPTIONS, with_notes
from supervision.finding_forms import (
    FindingsQuery,
    HandOverForm,
    MergeForm,
    NoticedForm,
    ReasonForm,
    deciders,
)
from supervision.models import Finding, FindingClaim
from supervision.pictures import picture_of
from supervision.rules import RULES
from supervision.views import parts

SIZE = 20
EVIDENCE_SIZE = 20
BIGGEST = 2**63 - 1
CRUMBS = [{"label": "工作台", "url": "/"}, {"label": "审核疑点", "url": "/supervision/findings/"}]
TONES = {"open": "warn", "confirmed": "bad", "refuted": "ok", "merged": "mute"}
GRAVITY = {1: "info", 2: "warn", 3: "bad"}
#: Figures that are money (fen), shares (per ten thousand), tenths or millionths of a yuan.
MONEY, SHARES, TENTHS, MILLIONTHS = ("amount",), ("share", "peers_share", "above"), ("z",), (
    "price", "median_price",
)  # fmt: skip
#: Acts that change nothing and name each person: not in the timeline of a finding.
LOOKS = ("finding.read", "finding.print")
FEE_RULES = ("physician_fee_outlier", "institution_fee_outlier")


def tabs(request: PortalRequest, current: str) -> list[dict[str, Any]]:
    """The pages of findings that a person may open."""
    user = request.user
    pages = [("疑点", "findings", "findings.view"), ("规则质量", "rules-quality", "findings.view"),
             ("审核运行", "audits", "rules.run"), ("阈值试算", "tuning", "rules.tune"),
             ("考核测算", "assess-list", "assessments.score"),
             ("事前提醒接入", "precheck-sample", "trials.run")]  # fmt: skip
    return [
        {"label": label, "url": reverse(name), "current": name == current}
        for label, name, permission in pages
        if user.may(permission) and not (user.institution_id and name == "rules-quality")
    ]


@requires("findings.view")
@require_GET
def listing(request: PortalRequest) -> HttpResponse:
    """The query bar and a page of findings."""
    data = request.GET.copy()
    if not data:
        data["state"] = "" if request.user.institution_id else Finding.State.OPEN
    data.setdefault("order", "-severity")
    query = FindingsQuery(data, queryset=Finding.objects.visible_to(request.user), request=request)
    page = Paginator(query.found(), SIZE).get_page(request.GET.get("page"))
    if request.user.institution_id:
        for name in ("institution", "mine", "state"):
            query.form.fields.pop(name)
    return render(request, "supervision/findings.html", named({
        "breadcrumbs": CRUMBS, "form": query.form, "tabs": tabs(request, "findings"),
        "table": _table(list(page), request.user, Pages(
            total=page.paginator.count, size=SIZE, page=page.number, sizes=(SIZE,))),
    }))  # fmt: skip


def _table(rows: list[Finding], user: User, pages: Pages) -> Table:
    places = dict(
        Institution.objects.filter(pk__in={row.institution_code for row in rows})
        .values_list("code", "name")
    )  # fmt: skip
    subjects = _subjects(rows, places)
    return Table(
        id="findings", caption="审核疑点", pages=pages, actions=False,
        columns=[
            Column(label="编号"), Column(label="疑点", wide=True), Column(label="对象"),
            Column(label="医疗机构"), Column(label="服务日期"), Column(label="涉及单据", numeric=True),
            Column(label="涉及基金（元）", numeric=True), Column(label="程度"), Column(label="状态"),
        ],
        rows=[_row(row, subjects, places, user) for row in rows],
        empty_title="没有符合条件的疑点", empty_text="审核运行发现的疑点在此列出；请放宽查询条件后再试。",
    )  # fmt: skip


def _row(row: Finding, subjects: dict[int, str], places: dict[str, str], user: User) -> Row:
    url = reverse("finding", args=[row.pk])
    days = f"{row.first_day}" if row.first_day == row.last_day else f"{row.first_day} 至"
    return Row(
        key=str(row.pk), label=f"疑点 {row.pk}", actions=[Action(label="查看", url=url)],
        cells=[
            Cell(text=str(row.pk), url=url, code=True),
            Cell(text=row.message, sub=f"{BEHAVIOURS.get(row.behaviour, row.behaviour)} · {row.clause}"),
            Cell(text=subjects[row.pk], sub=row.get_subject_kind_display()),
            Cell(text=places.get(row.institution_code, row.institution_code)),
            Cell(text=days, sub="" if row.first_day == row.last_day else str(row.last_day)),
            *(Cell(text=fact["value"].partition(" ")[0])
              for fact in extent(row, user.institution_id)[::2]),
            Cell(text=row.get_severity_display(), tone=GRAVITY[row.severity]),
            Cell(text=row.get_state_display(), tone=TONES[row.state], sub=Login(row.assignee)),
        ],
    )  # fmt: skip


def _subjects(rows: list[Finding], places: dict[str, str]) -> dict[int, str]:
    """Who each finding is about, as a reader may see it: persons masked."""
    doctors = dict(
        Physician.objects.filter(pk__in={row.physician_code for row in rows})
        .values_list("code", "name")
    )  # fmt: skip
    people = InsuredPerson.objects.in_bulk({row.person_id for row in rows if row.person_id})
    found = {}
    for row in rows:
        kind = row.subject_kind
        text = row.subject_code
        if kind in ("physician", "network"):
            text = f"{doctors.get(row.physician_code, '')} {row.subject_code}".strip()
        elif kind == "institution":
            text = places.get(row.subject_code, row.subject_code)
        elif row.person_id:
            text = str(people.get(row.person_id, "")) or row.subject_code
        found[row.pk] = text
    return found


# --- One finding ---


def _open(row: Finding, user: User) -> bool:
    return row.state == Finding.State.OPEN


def _decides(row: Finding, user: User) -> bool:
    return _open(row, user) and commands.finder_of(row) != user.username


def _merge(row: Finding, form: Any, who: User) -> object:
    into = Finding.objects.visible_to(who).filter(pk=form.cleaned_data["into"]).first()
    if into is None:
        raise Refusal(422, "MERGE_UNKNOWN", ("没有这一疑点", "no such finding"))
    return commands.merge(finding=row, into=into, by=who.username, at=clock.now())


ACTS = {
    "confirm": parts.Act(
        "confirm", "查实", commands.DECIDE, _decides, ReasonForm,
        lambda row, form, who: commands.confirm(
            finding=row, reason=form.cleaned_data["reason"], by=who.username, at=clock.now()),
    ),
    "refute": parts.Act(
        "refute", "排除", commands.DECIDE, _decides, ReasonForm,
        lambda row, form, who: commands.refute(
            finding=row, reason=form.cleaned_data["reason"], by=who.username, at=clock.now()),
        danger=True,
    ),
    "tell": parts.Act(
        "tell", "告知医疗机构", commands.DECIDE,
        lambda row, user: row.state == Finding.State.CONFIRMED and row.told_at is None, Form,
        lambda row, form, who: commands.tell(finding=row, by=who.username, at=clock.now()),
    ),
    "merge": parts.Act("merge", "并入另一疑点", commands.DECIDE, _decides, MergeForm, _merge),
    "hand-over": parts.Act(
        "hand-over", "交办", commands.DECIDE, _open, HandOverForm,
        lambda row, form, who: commands.hand_over(
            finding=row, to=form.cleaned_data["to"], by=who.username, at=clock.now()),
        lambda row, user: {"people": deciders(row)},
    ),
}  # fmt: skip


def _visible(request: PortalRequest, pk: int) -> Finding:
    return get_object_or_404(Finding.objects.visible_to(request.user), pk=min(pk, BIGGEST))


@requires("findings.view")
@require_GET
def finding(request: PortalRequest, pk: int) -> HttpResponse:
    """What was found, by which clause, with which figures and on which claims."""
    return _page(request, _visible(request, pk))


@requires("findings.view")
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Confirm, refute, merge, hand over."""
    return parts.done(request, ACTS, key, _visible(request, pk), "finding", _page)


def _page(
    request: PortalRequest, row: Finding, *, typed: Any = None, key: str = "", status: int = 200
) -> HttpResponse:
    user = request.user
    places = dict(Institution.objects.filter(pk=row.institution_code).values_list("code", "name"))
    events = Event.objects.visible_to(user).filter(subject=f"finding:{row.pk}")
    events = events.exclude(action__in=LOOKS)
    evidence = Paginator(
        FindingClaim.objects.visible_to(user).filter(finding=row), EVIDENCE_SIZE
    ).get_page(request.GET.get("page"))
    looked(
        persons=persons_of(row, list(evidence)), by=user.username, at=clock.now(),
        action="finding.read", subject=f"finding:{row.pk}", region_code=row.region_code,
        institution_code=row.institution_code,
    )  # fmt: skip
    alive = row.state in (Finding.State.OPEN, Finding.State.CONFIRMED)
    return render(request, "supervision/finding.html", named({
        "breadcrumbs": [*CRUMBS, {"label": str(row.pk), "url": ""}],
        "row": row, "tone": TONES[row.state], "gravity": GRAVITY[row.severity],
        "facts": _facts(row, _subjects([row], places)[row.pk], places, user),
        "figures": figures_of(row), "chart": distribution(row), "picture": picture_of(row),
        "acts": parts.entries(ACTS, row, user, typed, key),
        "evidence": _evidence(row.rule, user, with_notes(row.rule, evidence), Pages(
            total=evidence.paginator.count, size=EVIDENCE_SIZE, page=evidence.number,
            sizes=(EVIDENCE_SIZE,))),
        "may_review": alive and user.may("reviews.decide"),
        "may_case": alive and user.may("cases.open"),
        "same_person": _open(row, user) and commands.finder_of(row) == user.username,
        "timeline": [
            {"at": f"{clock.local(event.at):%Y-%m-%d %H:%M}", "by": event.actor,
             "title": act_word(event.action), "tone": "ok"}
            for event in reversed(in_order(events))
        ],
    }), status=status)  # fmt: skip


def persons_of(row: Finding, evidence: list[FindingClaim]) -> set[int | None]:
    """Whose data a finding and these records of its evidence are."""
    claims = Claim.objects.filter(pk__in=[one.claim_id for one in evidence])
    return {row.person_id, *claims.values_list("person_id", flat=True)}


def extent(row: Finding, code: str | None) -> list[dict[str, Any]]:
    """How many claims, what they cost, what the funds paid; for an institution its own share."""
    claims, fee, fund = row.share_of(code) if code else (row.claims, row.fee, row.fund)
    return [
        {"label": "涉及单据", "value": f"{claims:,} 张"},
        {"label": "涉及费用", "value": f"{yuan(fee)} 元"},
        {"label": "涉及基金", "value": f"{yuan(fund)} 元"},
    ]


def _facts(row: Finding, subject: str, places: dict[str, str], user: User) -> list[dict[str, Any]]:
    days = (
        str(row.first_day)
        if row.first_day == row.last_day
        else f"{row.first_day} 至 {row.last_day}"
    )
    noticed = commands.finder_of(row)
    finder = (" · ", Login(noticed)) if noticed else ()
    facts: list[dict[str, Any]] = [
        {"label": "行为", "value": BEHAVIOURS.get(row.behaviour, row.behaviour) or "—"},
        {"label": "条款", "value": row.clause, "wide": True},
        {"label": "对象", "value": subject, "sub": row.get_subject_kind_display()},
        {"label": "医疗机构", "value": places.get(row.institution_code, row.institution_code),
         "url": reverse("institution", args=[row.institution_code])},
        {"label": "服务日期", "value": days},
        *extent(row, user.institution_id),
        {"label": "发现", "value": row.get_moment_display(),
         "sub": Told(f"{clock.local(row.found_at):%Y-%m-%d %H:%M}", *finder)},
        {"label": "经办人", "value": Login(row.assignee) or "—"},
    ]  # fmt: skip
    if row.sequence > 1:
        facts.append({"label": "新增事实", "value": f"第 {row.sequence} 条",
                      "sub": "同一事项此前的疑点已认定或已立案，本条只含其后发现的记录"})  # fmt: skip
    if row.decided_at:
        facts.append(
            {
                "label": "认定",
                "value": row.get_state_display(),
                "sub": Told(
                    Login(row.decided_by), f" {clock.local(row.decided_at):%Y-%m-%d %H:%M}"
                ),
            }
        )
        facts.append({"label": "认定理由", "value": row.reason, "wide": True})
    if row.state == Finding.State.CONFIRMED:
        facts.append(_told(row))
    if row.merged_into_id:
        facts.append({"label": "并入", "value": str(row.merged_into_id),
                      "url": reverse("finding", args=[row.merged_into_id])})  # fmt: skip
    return facts


def _told(row: Finding) -> dict[str, Any]:
    """Since when the institution sees a confirmed finding."""
    if row.told_at is None:
        return {"label": "告知机构", "value": "尚未告知", "sub": "告知以前，该机构看不到这条疑点"}
    return {"label": "告知机构", "value": f"{clock.local(row.told_at):%Y-%m-%d %H:%M}",
            "sub": Login(row.told_by)}  # fmt: skip


def figures_of(row: Finding) -> list[dict[str, Any]]:
    """The figures of the finding and the numbers by which the rule judged."""
    rule = RULES.get(row.rule)
    words = rule.figures if rule else {}
    items: list[dict[str, Any]] = [
        {
            "label": words.get(name, name).partition("（")[0],
            "value": written(row.rule, name, value),
        }
        for name, value in row.figures.items()
        if isinstance(value, int) and name != "item_line"
    ]
    example = "示例参数" if row.parameters.get("example") else ""
    for name, value in row.parameters.get("numbers", {}).items():
        items.append({"label": f"阈值：{NUMBER_WORDS.get(name, name)}",
                      "value": written(row.rule, name, value), "sub": example})  # fmt: skip
    return items


NUMBER_WORDS = {
    "minutes": "重叠分钟数", "most": "一小时最多人次", "persons": "不同参保人员数", "visits": "次数",
    "days": "天数", "share": "比例", "peers_share": "同行比例上限", "above": "高出比例",
    "institutions": "机构数", "months": "月数", "grace_days": "余药天数", "times": "连续次数",
    "lines": "行数", "z": "稳健 z 值", "peers": "同组对象数",
}  # fmt: skip


def written(rule: str, name: str, value: int) -> str:
    """A figure or a threshold of a rule in its unit."""
    if name in MONEY or (rule in FEE_RULES and name in ("value", "median", "mad")):
        return f"{yuan(value)} 元"
    if rule == "physician_volume_outlier" and name in ("value", "median", "mad"):
        return f"{value / 100:.2f} 人次／日"
    if rule == "price_above_peers" and name in ("price", "median"):
        return f"{value / 1_000_000:.4f} 元"
    if name in SHARES:
        return rate(value)
    return f"{value / 10:.1f}" if name in TENTHS else f"{value:,}"


def distribution(row: Finding) -> dict[str, Any] | None:
    """Where the subject stands among its peers, as a picture."""
    picture = row.figures.get("picture")
    if not picture:
        return None
    counts, own = picture["counts"], min(picture["own"], len(picture["counts"]) - 1)
    unit = "元" if row.rule in FEE_RULES else "人次／日"
    labels = [f"{(picture['low'] + k * picture['width']) / 100:,.2f}" for k in range(len(counts))]
    others = [count - (k == own) for k, count in enumerate(counts)]
    return bars(
        title=f"同组分布（{unit}）", labels=labels, stacked=True,
        series=[{"label": "同组其他对象", "values": others, "tone": "a"},
                {"label": "本对象", "values": [int(k == own) for k in range(len(counts))], "tone": "d"}],
        description=f"本对象位于 {labels[own]} {unit} 一档，同组中位数 "
        f"{written(row.rule, 'median', row.figures['median'])}",
    )  # fmt: skip


def _flow(rule: str, row: FindingClaim, user: User) -> str:
    """The way of a claim's prescriptions, where the records lie that the rule judged by."""
    if rule not in OF_PRESCRIPTIONS or not user.may("medicines.view"):
        return ""
    return reverse("claim-flow", args=[row.claim_id])


def _evidence(rule: str, user: User, rows: list[FindingClaim], pages: Pages) -> Table:
    claims = {
        claim.pk: claim for claim in
        Claim.objects.filter(pk__in=[row.claim_id for row in rows]).defer("facts", "document")
    }  # fmt: skip
    people = InsuredPerson.objects.in_bulk({claim.person_id for claim in claims.values()})
    shown = []
    for row in rows:
        claim = claims.get(row.claim_id)
        url = reverse("claim", args=[row.claim_id])
        shown.append(Row(key=str(row.pk), label=str(row.claim_id), cells=[
            Cell(text=claim.claim_no if claim else str(row.claim_id), url=url, code=True,
                 sub=f"第 {row.line_no} 行" if row.line_no else ""),
            Cell(text=str(claim.service_date) if claim else "—"),
            Cell(text=str(people.get(claim.person_id, "—")) if claim else "—"),
            Cell(text=yuan(claim.fee) if claim else "—"),
            Cell(text=row.note or "—", url=_flow(rule, row, user) if row.note else ""),
        ], actions=[Action(label="查看", url=url)]))  # fmt: skip
    return Table(
        id="evidence", caption="证据单据", pages=pages,
        columns=[Column(label="单据号"), Column(label="服务日期"), Column(label="参保人"),
                 Column(label="费用（元）", numeric=True), Column(label="所依据的记录", wide=True)],
        rows=shown, empty_title="没有单据", empty_text="该疑点没有可见的证据单据。",
    )  # fmt: skip


# --- What a person noticed ---


@requires(commands.DECIDE)
@require_http_methods(["GET", "POST"])
def notice(request: PortalRequest, claim: int) -> HttpResponse:
    """Record what was noticed on a claim; another person decides it."""
    found = Claim.objects.visible_to(request.user).filter(pk=min(claim, BIGGEST)).first()
    if found is None:
        raise Http404
    form = NoticedForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = commands.record(
                claim=found, by=request.user.username, at=clock.now(), **form.cleaned_data
            )
        except Refusal as refusal:
            refuse(form, refusal)
        else:
            return redirect("finding", pk=made.pk)
    return render(request, "supervision/form.html", {
        "breadcrumbs": [*CRUMBS, {"label": "登记疑点", "url": ""}], "title": "登记人工发现的疑点",
        "subtitle": f"单据 {found.claim_no}；由另一人认定。", "button": "登记", "form": form,
        "back": reverse("claim", args=[found.pk]),
    }, status=422 if form.errors else 200)  # fmt: skip


# --- Precision per rule ---


@requires("findings.view")
@require_GET
def quality(request: PortalRequest) -> HttpResponse:
    """How often each rule was right, by what people decided."""
    if request.user.institution_id:
        raise Http404
    rows = commands.precision(Finding.objects.visible_to(request.user))
    decided = [row for row in rows if row["precision"] is not None]
    return render(request, "supervision/quality.html", {
        "breadcrumbs": [*CRUMBS, {"label": "规则质量", "url": ""}],
        "tabs": tabs(request, "rules-quality"),
        "chart": ranking(
            title="查实率（已认定的疑点中查实的百分比）",
            rows=[
                {"label": RULES[row["rule"]].message if row["rule"] in RULES else row["rule"],
                 "value": row["precision"] // 100,
                 "note": f"查实 {row['confirmed']}，排除 {row['refuted']}"}
                for row in sorted(decided, key=lambda row: -row["precision"])
            ],
        ) if decided else None,
        "table": Table(
            id="quality", caption="各规则疑点与认定",
            columns=[Column(label="规则", wide=True), Column(label="疑点", numeric=True),
                     Column(label="待核查", numeric=True), Column(label="查实", numeric=True),
                     Column(label="排除", numeric=True), Column(label="并案", numeric=True),
                     Column(label="查实率", numeric=True, hint="查实 ÷（查实＋排除）")],
            rows=[_quality(row, may_tune=request.user.may("rules.tune")) for row in rows],
            empty_title="还没有疑点", empty_text="运行审核后在此统计各规则的查实率。",
        ),
    })  # fmt: skip


def _quality(row: dict[str, Any], *, may_tune: bool) -> Row:
    rule = RULES.get(row["rule"])
    url = f"{reverse('findings')}?rule={row['rule']}"
    tune = f"{reverse('tuning')}?rule={row['rule']}"
    return Row(
        key=row["rule"], label=row["rule"],
        actions=[Action(label="试算阈值", url=tune)] if may_tune and rule and rule.numbers else [],
        cells=[
            Cell(text=rule.message if rule else row["rule"], url=url),
            *(Cell(text=f"{row[name]:,}") for name in ("total", "open", "confirmed", "refuted", "merged")),
            Cell(text="—" if row["precision"] is None else rate(row["precision"])),
        ],
    )  # fmt: skip
