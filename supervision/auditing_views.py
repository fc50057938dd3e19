"""审计台: samples by a stated seed, one claim followed to its proof, bundles that verify elsewhere.

Every draw, redraw, look, remark and export is an event.
"""

from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit import clock, trail
from audit.access import requires
from audit.forms import OlderCheckpoint
from audit.models import Event
from audit.proofs import MissingNodeError
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import yuan
from audit.words import act
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement.detail import in_order, moment
from settlement.models import Claim
from supervision import auditing, follow
from supervision.models import Sample, SampledClaim
from supervision.report_forms import DrawForm, JudgeForm
from supervision.reports.wish import SCHEMES
from supervision.reports.wish import named as places_called

CRUMBS = [{"label": "工作台", "url": "/"}]
PAGE, CLAIMS_PAGE = 20, 50
BIGGEST_ID = 2**63 - 1
Verdict = SampledClaim.Verdict
TONES = {Verdict.OPEN: "wait", Verdict.CLEAN: "ok", Verdict.DOUBT: "bad"}


@requires("samples.draw")
@require_GET
def desk(request: PortalRequest) -> HttpResponse:
    """The samples of the own scope."""
    rows = Sample.objects.visible_to(request.user).prefetch_related("claims")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return render(request, "supervision/samples.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "审计台", "url": ""}],
        "table": Table(
            id="samples", caption="审计抽样",
            columns=[Column(label="抽样编号"), Column(label="期间"), Column(label="方法"),
                     Column(label="随机种子"), Column(label="总体", numeric=True),
                     Column(label="抽取", numeric=True), Column(label="核查"), Column(label="抽取人")],
            rows=[_listed(row) for row in page],
            toolbar=[Action(label="抽取样本", url=reverse("sample-new"), icon="plus")],
            pages=Pages(total=page.paginator.count, size=PAGE, page=page.number, sizes=(PAGE,)),
            empty_title="还没有抽取过样本", empty_text="选择期间、区域和机构，写明随机种子后抽取。",
            empty_action=Action(label="抽取样本", url=reverse("sample-new")),
        ),
    }))  # fmt: skip


def _listed(row: Sample) -> Row:
    claims = list(row.claims.all())
    judged = sum(1 for claim in claims if claim.verdict)
    doubts = sum(1 for claim in claims if claim.verdict == Verdict.DOUBT)
    return Row(
        key=str(row.pk), label=row.number, cells=[
            Cell(text=row.number, url=reverse("sample", args=[row.pk]), sub=row.note),
            Cell(text=f"{row.first_day} 至 {row.last_day}", sub=SCHEMES.get(row.scheme, "")),
            Cell(text=row.get_method_display()), Cell(text=row.seed, code=True),
            Cell(text=f"{row.population:,} 笔", sub=f"{yuan(row.value)} 元"),
            Cell(text=f"{len(claims):,} 笔"),
            Cell(text=f"{judged}/{len(claims)}", sub=f"{doubts} 笔存疑" if doubts else "",
                 tone="bad" if doubts else "ok" if judged == len(claims) else "wait"),
            Cell(text=Login(row.drawn_by), sub=moment(row.drawn_at)[:16]),
        ],
        actions=[Action(label="打开", url=reverse("sample", args=[row.pk]))],
    )  # fmt: skip


@requires("samples.draw")
@require_http_methods(["GET", "POST"])
def new(request: PortalRequest) -> HttpResponse:
    """Draw a sample."""
    today = clock.today()
    first = {"first_day": today.replace(month=1, day=1), "last_day": today, "size": 30}
    form = DrawForm(request.POST or None, user=request.user, initial=first)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = auditing.draw(
                frame=form.frame(), method=given["method"], seed=given["seed"], size=given["size"],
                note=given["note"], user=request.user, by=request.user.username, at=clock.now(),
            )  # fmt: skip
        except Refusal as refusal:
            for fault in refusal.faults:
                name = fault.pointer.lstrip("/")
                form.add_error(name if name in form.fields else None, f"{fault.detail[0]}。")
        else:
            messages.success(
                request, f"已抽取 {made.claims.count():,} 笔，抽样条件和结果已写入留痕。"
            )
            return redirect("sample", pk=made.pk)
    return render(request, "institutions/act.html", {
        "breadcrumbs": [*CRUMBS, {"label": "审计台", "url": reverse("audit-desk")},
                        {"label": "抽取样本", "url": ""}],
        "title": "抽取样本", "form": form, "button": "抽取", "back": reverse("audit-desk"),
        "hint": "同一种子、同一总体必得同一样本：单据按 SM3（种子‖单据）排序取前若干笔，"
                "或按金额单位等距抽取。抽取后条件、种子、总体摘要和所抽单据写入留痕，不能修改。",
    }, status=422 if form.is_bound else 200)  # fmt: skip


@requires("samples.draw")
@require_GET
def sample(request: PortalRequest, pk: int) -> HttpResponse:
    """One sample with its claims."""
    row = _visible(request, pk)
    page = Paginator(row.claims.all(), CLAIMS_PAGE).get_page(request.GET.get("page"))
    events = Event.objects.visible_to(request.user).filter(subject=row.subject)
    return render(request, "supervision/sample.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "审计台", "url": reverse("audit-desk")},
                        {"label": row.number, "url": ""}],
        "sample": row, "info": _info(row), "table": _claims(row, page),
        "sealed": trail.checkpoint() is not None, "older_form": OlderCheckpoint(auto_id="bundle_%s"),
        "timeline": [
            {"at": moment(event.at), "by": event.actor, "title": act(event.action),
             "tone": "ok" if event.outcome == "ok" else "bad"}
            for event in reversed(in_order(events))
        ],
    }))  # fmt: skip


def _info(row: Sample) -> list[dict[str, Any]]:
    places = places_called(set(row.institutions))
    return [
        {"label": "服务日期", "value": f"{row.first_day} 至 {row.last_day}"},
        {"label": "险种", "value": SCHEMES.get(row.scheme, "全部")},
        {"label": "方法", "value": row.get_method_display()},
        {"label": "随机种子", "value": row.seed, "code": True},
        {"label": "总体", "value": f"{row.population:,} 笔", "sub": f"{yuan(row.value)} 元"},
        {"label": "应抽数", "value": f"{row.size:,}"},
        {"label": "抽取", "value": Login(row.drawn_by), "sub": moment(row.drawn_at)},
        {"label": "用途", "value": row.note or "—"},
        {"label": "总体摘要（SM3）", "value": row.population_sm3, "code": True, "wide": True},
        {"label": "医疗机构", "value": "、".join(places.values()) or "全部", "wide": True},
    ]  # fmt: skip


def _claims(row: Sample, page: Any) -> Table:
    rows: list[SampledClaim] = list(page)
    names = places_called({claim.institution_code for claim in rows})
    claims = Claim.objects.in_bulk([claim.claim_id for claim in rows])
    return Table(
        id="claims", caption="样本单据",
        columns=[Column(label="序号"), Column(label="单据号"), Column(label="医疗机构", wide=True),
                 Column(label="费用（元）", numeric=True), Column(label="命中", numeric=True),
                 Column(label="核查结论"), Column(label="核查记录", wide=True)],
        rows=[
            Row(
                key=str(claim.pk), label=str(claim.no), cells=[
                    Cell(text=str(claim.no)),
                    Cell(text=_number(claims, claim.claim_id), code=True,
                         url=reverse("claim-chain", args=[row.pk, claim.claim_id])),
                    Cell(text=names.get(claim.institution_code, claim.institution_code)),
                    Cell(text=yuan(claim.fee)), Cell(text=str(claim.hits)),
                    Cell(text=claim.get_verdict_display(), tone=TONES[Verdict(claim.verdict)]),
                    Cell(text=claim.remark or "—", sub=Login(claim.judged_by)),
                ],
                actions=[Action(label="穿行核查", url=reverse("claim-chain", args=[row.pk, claim.claim_id]))],
            )
            for claim in rows
        ],
        pages=Pages(total=page.paginator.count, size=CLAIMS_PAGE, page=page.number, sizes=(CLAIMS_PAGE,)),
    )  # fmt: skip


def _number(claims: dict[int, Claim], claim_id: int) -> str:
    found = claims.get(claim_id)
    return found.claim_no if found else str(claim_id)


@requires("samples.draw")
@require_http_methods(["GET", "POST"])
def chain(request: PortalRequest, pk: int, claim_id: int) -> HttpResponse:
    """A drawn claim from its fee to its proof; whenever it is shown the look is an event. A POST notes
    the finding."""
    row = _visible(request, pk)
    drawn = get_object_or_404(row.claims, claim_id=claim_id if claim_id <= BIGGEST_ID else 0)
    claim = get_object_or_404(Claim.objects.visible_to(request.user), pk=drawn.claim_id)
    by, at = request.user.username, clock.now()
    form = JudgeForm(
        request.POST if request.method == "POST" else None,
        initial={"verdict": drawn.verdict, "remark": drawn.remark},
    )
    if request.method == "POST" and form.is_valid():
        try:
            auditing.judge(sampled_id=drawn.pk, by=by, at=at, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, f"{words_of(refusal)}。")
        else:
            messages.success(request, "核查结论已记录。")
            return redirect("sample", pk=row.pk)
    found = follow.Chain.of(claim, user=request.user)
    trail.record(
        by=by, at=at, action="sample.follow", subject=f"claim:{claim.pk}",
        region_code=claim.region_code, institution_code=claim.institution_code,
        person_hash=bytes(found.person.id_hash) if found.person else None,
        detail={"sample": row.number},
    )  # fmt: skip
    around = list(row.claims.filter(no__in=(drawn.no - 1, drawn.no + 1)))
    return render(request, "supervision/chain.html", named({
        "breadcrumbs": [*CRUMBS, {"label": "审计台", "url": reverse("audit-desk")},
                        {"label": row.number, "url": reverse("sample", args=[row.pk])},
                        {"label": claim.claim_no, "url": ""}],
        "sample": row, "drawn": drawn, "claim": claim, "form": form,
        "institution": found.institution, "person": found.person, "stations": found.stations(),
        "verdict": {"text": drawn.get_verdict_display(), "tone": TONES[Verdict(drawn.verdict)]},
        "judged_by": Login(drawn.judged_by),
        "around": [
            {"label": "上一笔" if one.no < drawn.no else "下一笔",
             "url": reverse("claim-chain", args=[row.pk, one.claim_id])} for one in around
        ],
    }), status=422 if form.is_bound else 200)  # fmt: skip


@requires("samples.draw")
@require_POST
def redraw(request: PortalRequest, pk: int) -> HttpResponse:
    """Draw again by the same seed and say whether the same claims come."""
    row = _visible(request, pk)
    try:
        found = auditing.redraw(
            sample=row, user=request.user, by=request.user.username, at=clock.now()
        )
    except Refusal as refusal:
        messages.error(request, f"{words_of(refusal)}。")
        return redirect("sample", pk=pk)
    if found.same_population and found.same_claims:
        messages.success(request, "按同一种子重新抽取，总体与样本完全一致。")
    elif found.same_population:
        messages.error(request, "总体一致，但抽取结果不同，请报告系统管理员。")
    else:
        counts = f"现有 {found.population:,} 笔，抽取时 {row.population:,} 笔"
        messages.warning(request, f"总体已变化（{counts}）：此后有新结算或冲正。")
    return redirect("sample", pk=pk)


@requires("samples.draw")
@require_GET
def bundle(request: PortalRequest, pk: int) -> HttpResponse:
    """What the auditor takes away: events and proofs of the sample, checked by verify.py alone."""
    row = _visible(request, pk)
    by, at = request.user.username, clock.now()
    kept = OlderCheckpoint(request.GET)
    if not kept.is_valid():
        messages.error(request, f"较早检查点：{kept.errors['older'][0]}")
        return redirect("sample", pk=pk)
    try:
        content = follow.bundle(row, user=request.user, by=by, at=at, older=kept.sizes())
    except MissingNodeError:
        messages.error(request, "留痕日志缺少计算证明所需的哈希，请报告审计管理员。")
        return redirect("sample", pk=pk)
    if content is None:
        messages.warning(request, "留痕日志尚无签名检查点，稍后再导出。")
        return redirect("sample", pk=pk)
    trail.record(
        by=by, at=at, action="sample.export", subject=row.subject, region_code=row.region_code,
        institution_code=row.institution_code,
        detail={"number": row.number, "bytes": len(content),
                **({"older": kept.sizes()} if kept.sizes() else {})},
    )  # fmt: skip
    answer = HttpResponse(content, content_type="application/zip")
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(row.number)}.zip"
    return answer


def _visible(request: PortalRequest, pk: int) -> Sample:
    if pk > BIGGEST_ID:
        raise Http404
    return get_object_or_404(Sample.objects.visible_to(request.user), pk=pk)
