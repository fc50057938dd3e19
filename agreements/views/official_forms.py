"""Official forms: the list, filling in, sealing, the paper in its printed layout, reporting together."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agreements import clocks, submissions
from agreements.forms import StepForm
from agreements.models import FormSubmission
from agreements.official_forms import Filled, Form, forms_of
from agreements.submission_forms import (
    ADD,
    REMOVE,
    SUBMIT,
    ContentForm,
    NewSubmission,
    SubmissionQuery,
    changed_rows,
)
from agreements.submissions import APPROVE, APPROVED, FILL, PROVINCE, SEALED, VIEW
from agreements.views.dossier import tone_of
from agreements.views.institutions import pages_of
from agreements.views.refusing import Refusals, refuse, words_of
from audit import clock, pdf, sheets, trail
from audit.access import requires
from audit.models import Move
from audit.procedure import PROCEDURES, Procedure, Refused, offered
from audit.tables import Action, Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.models import Institution, Region
from institutions.refusals import Refusal
from institutions.registry_forms import ReasonForm

HOME = {"label": "协议与接入", "url": ""}
BIGGEST_ID = 2**63 - 1
EXPORTS = ("xlsx", "json", "pdf")
LIST_HEAD = ("编号", "申请表", "机构", "申请地医疗保障部门", "状态", "盖章日", "盖章人")


def _crumbs(*more: dict[str, str]) -> list[dict[str, str]]:
    return [HOME, {"label": "表格填报", "url": reverse("forms-list") if more else ""}, *more]


def _region(request: PortalRequest) -> Region:
    if request.user.region is None:
        raise Http404
    return request.user.region


def _law(request: PortalRequest) -> dict[str, Any]:
    """The law in force where the reader sits; empty where it prints no forms."""
    return dict(clocks.law_of(_region(request), clock.today()))


def _table(request: PortalRequest) -> Procedure | None:
    try:
        return submissions.procedure_of(_region(request))
    except Refused:
        return None


# --- The list ---


@requires(VIEW)
@require_GET
def forms_list(request: PortalRequest) -> HttpResponse:
    """Submissions inside the reader's area, and the forms that can be filled in."""
    law, table = _law(request), _table(request)
    forms = forms_of(law)
    if table is None or not forms:
        return render(request, "agreements/forms.html", {"breadcrumbs": _crumbs(), "none": True})
    query, rows = _asked(request, forms, table)
    pages = pages_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + pages.size])
    names = _names(shown)
    return render(request, "agreements/forms.html", {
        "breadcrumbs": _crumbs(), "law": law, "query": query,
        "kinds": _kinds(request, forms, law),
        "table": Table(
            id="submissions", caption="申请表", pages=pages, columns=COLUMNS,
            toolbar=[_export(request, kind) for kind in EXPORTS],
            rows=[_row(row, forms, table, names) for row in shown],
            empty_title="没有符合条件的申请表",
            empty_text="请放宽查询条件，或从上方选择一种申请表开始填写。",
        ),
    })  # fmt: skip


COLUMNS = (
    Column(label="编号"), Column(label="申请表", wide=True), Column(label="机构", wide=True),
    Column(label="状态"), Column(label="填表单位", wide=True), Column(label="进入本状态"),
)  # fmt: skip


def _asked(
    request: PortalRequest, forms: dict[str, Form], table: Procedure
) -> tuple[SubmissionQuery, QuerySet[FormSubmission]]:
    query = SubmissionQuery(
        request.GET, kinds=[(form.key, form.short) for form in forms.values()],
        states=[(state.key, state.label) for state in table.states.values()],
    )  # fmt: skip
    rows = FormSubmission.objects.visible_to(request.user).select_related("institution")
    rows = rows.filter(procedure=table.slug).order_by("-pk")
    if not query.is_valid():
        return query, rows.none()
    given = query.cleaned_data
    exact = {key: given[key] for key in ("form", "state") if given[key]}
    if words := given["q"].strip():
        rows = rows.filter(Q(number__icontains=words) | Q(institution__name__icontains=words))
    return query, rows.filter(**exact)


def _kinds(
    request: PortalRequest, forms: dict[str, Form], law: dict[str, Any]
) -> list[dict[str, Any]]:
    """Each form with what waits, the way to a new one, and to reporting together."""
    counts = dict(
        FormSubmission.objects.visible_to(request.user).filter(state=APPROVED)
        .values_list("form").annotate(Count("pk"))
    )  # fmt: skip
    may = submissions.may_fill(request.user, law)
    return [
        {
            "form": form, "approved": (count := counts.get(form.key, 0)),
            "waiting": f"{count} 份待汇总",
            "new": reverse("forms-new", args=[form.key]) if may else "",
            "collection": reverse("forms-collection", args=[form.key]),
        }
        for form in forms.values()
    ]  # fmt: skip


def _row(
    row: FormSubmission, forms: dict[str, Form], table: Procedure, names: Mapping[str, str]
) -> Row:
    state, address = table.states[row.state], reverse("forms-item", args=[row.pk])
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True),
            Cell(text=forms[row.form].short if row.form in forms else row.form),
            Cell(text=row.institution.name if row.institution else "—"),
            Cell(text=state.label, tone=tone_of(state)),
            Cell(text=_bureau(row, names), sub=row.opened_by),
            Cell(text=row.entered_on.isoformat()),
        ],
        actions=[Action(label="查看" if state.final else "办理", url=address)],
    )  # fmt: skip


def _bureau(row: FormSubmission, names: Mapping[str, str]) -> str:
    """The bureau that applies, as the form names it; else that of the area."""
    return row.content.get("fields", {}).get("applying_bureau") or names.get(row.region_code, "")


def _names(rows: Iterable[FormSubmission]) -> dict[str, str]:
    """Area code → its bureau, for the areas of some forms."""
    areas = Region.objects.filter(code__in={row.region_code for row in rows})
    return {row.code: f"{row.name}医疗保障局" for row in areas}


def _export(request: PortalRequest, kind: str) -> Action:
    address = reverse("forms-export", args=[kind])
    return Action(label=f"导出 {kind.upper()}", icon="arrow-down-tray",
                  url=f"{address}?{request.GET.urlencode()}")  # fmt: skip


@requires(VIEW)
@require_GET
def forms_export(request: PortalRequest, kind: str) -> HttpResponse:
    """The list as a file; restricted values masked, whoever asks."""
    law, table = _law(request), _table(request)
    forms = forms_of(law)
    if table is None or kind not in EXPORTS:
        raise Http404
    _, rows = _asked(request, forms, table)
    found = list(rows)
    if kind == "json":
        answer: HttpResponse = JsonResponse(
            {"document": law["document"], "forms": [_data(row, table) for row in found]},
            json_dumps_params={"ensure_ascii": False, "indent": 1},
        )  # fmt: skip
    elif kind == "xlsx":
        content = sheets.workbook("申请表清单", LIST_HEAD, _lines(found, forms, table))
        answer = HttpResponse(content, content_type=sheets.XLSX)
    else:
        answer = HttpResponse(
            _list_paper(request, law, _lines(found, forms, table)), content_type="application/pdf"
        )
    trail.record(
        by=request.user.username, at=clock.now(), action="formsubmission.export",
        subject=f"forms:{table.region}", region_code=request.user.region_id or "",
        detail={"format": kind, "rows": len(found)},
    )  # fmt: skip
    return _file(answer, f"申请表清单-{clock.today()}.{kind}")


def _lines(rows: list[FormSubmission], forms: dict[str, Form], table: Procedure) -> list[list[str]]:
    names = _names(rows)
    return [
        [row.number, forms[row.form].name if row.form in forms else row.form,
         row.institution.name if row.institution else "", _bureau(row, names),
         table.states[row.state].label, (row.content.get("seal") or {}).get("on", ""),
         (row.content.get("seal") or {}).get("by", "")]
        for row in rows
    ]  # fmt: skip


def _data(row: FormSubmission, table: Procedure) -> dict[str, Any]:
    shown = submissions.shown(row, submissions.form_of(row))
    return {"number": row.number, "form": row.form, "state": row.state,
            "state_label": table.states[row.state].label, "institution": row.institution_code,
            "region": row.region_code, **shown.data()}  # fmt: skip


def _list_paper(request: PortalRequest, law: dict[str, Any], rows: list[list[str]]) -> bytes:
    at = clock.now()
    return pdf.render(
        "reports/forms/list.html",
        {"head": LIST_HEAD, "rows": rows, "law": law, "today": clock.today()}, at=at,
        identifier=pdf.identifier_of("forms", request.user.username, at.isoformat()),
        watermark=f"{request.user.username} {at:%Y-%m-%d %H:%M}", styles=submissions.STYLES,
    )  # fmt: skip


def _file(answer: HttpResponse, name: str) -> HttpResponse:
    answer["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    answer["Cache-Control"] = "private, no-store"
    return answer


# --- One form ---


@requires(FILL)
@require_http_methods(["GET", "POST"])
def forms_new(request: PortalRequest, form: str) -> HttpResponse:
    """Open a form, for an institution of the own area where it is about one."""
    law = _law(request)
    chosen = forms_of(law).get(form)
    if chosen is None:
        raise Http404
    choice = NewSubmission(
        request.POST if request.method == "POST" else None, needed=bool(chosen.serves),
        institutions=_institutions(request),
    )  # fmt: skip
    status = 200
    if request.method == "POST":
        status = 422
        if choice.is_valid():
            try:
                made = submissions.open_form(
                    form=form, who=request.user, institution=choice.cleaned_data["institution"],
                    on=clock.today(), by=request.user.username, at=clock.now(),
                )  # fmt: skip
            except Refusals as refused:
                status = refuse(choice, refused)
            else:
                messages.success(request, f"申请表 {made.number} 已建立，请填写后提交。")
                return redirect("forms-item", pk=made.pk)
    return render(request, "agreements/form_new.html", {
        "breadcrumbs": _crumbs({"label": chosen.short, "url": ""}), "form": chosen, "law": law,
        "choice": choice,
    }, status=status)  # fmt: skip


def _institutions(request: PortalRequest) -> QuerySet[Institution]:
    kinds = (Institution.Kind.MEDICAL, Institution.Kind.PHARMACY)
    return Institution.objects.visible_to(request.user).filter(kind__in=kinds).order_by("name")


@requires(VIEW)
@require_GET
def form(request: PortalRequest, pk: int) -> HttpResponse:
    """One submission: what stands in it (masked), what can be done with it now."""
    return _page(request, _visible(request, pk))


def _visible(request: PortalRequest, pk: int) -> FormSubmission:
    rows = FormSubmission.objects.visible_to(request.user).select_related("institution")
    return get_object_or_404(rows, pk=min(pk, BIGGEST_ID))


def _page(
    request: PortalRequest, found: FormSubmission, *, editing: ContentForm | None = None,
    step: StepForm | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    chosen, table = submissions.form_of(found), PROCEDURES[found.procedure]
    state, law = table.states[found.state], _law(request)
    draft = found.state == table.first.key and submissions.may_fill(request.user, law)
    shown = submissions.shown(found, chosen)
    if draft and editing is None:
        editing = _content_form(found, chosen)
    return render(request, "agreements/form.html", {
        "breadcrumbs": _crumbs({"label": found.number, "url": ""}), "found": found,
        "form": chosen, "law": law, "badge": {"text": state.label, "tone": tone_of(state)},
        "editing": editing if draft else None, "facts": _facts(found, chosen, shown),
        "heads": chosen.columns, "rows": _cells(chosen, shown), "seal": found.content.get("seal"),
        "steps": _steps(request, found, table, step), "timeline": _timeline(found, table),
        "reveal": submissions.may_see(request.user, found),
        "final": state.final, "todo": state.todo,
    }, status=status)  # fmt: skip


def _content_form(found: FormSubmission, chosen: Form, data: Any = None) -> ContentForm:
    return ContentForm(
        data, form=chosen, stored=submissions.filled_of(found), version=found.version
    )


def _facts(found: FormSubmission, chosen: Form, shown: Filled) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {"label": blank.label, "value": shown.fields.get(blank.key) or "—",
         "sub": "加密保存" if blank.restricted and shown.fields.get(blank.key) else ""}
        for blank in chosen.fields
    ]  # fmt: skip
    if found.institution and not chosen.serves:
        items.append({"label": "所属机构", "value": found.institution.name})
    return items


def _cells(chosen: Form, shown: Filled) -> list[dict[str, Any]]:
    return [
        {"no": place, "cells": [{"label": b.name, "value": row.get(b.key) or "—"}
                                for b in chosen.columns[1:]]}
        for place, row in enumerate(shown.rows, 1)
    ]  # fmt: skip


def _steps(
    request: PortalRequest, found: FormSubmission, table: Procedure, kept: StepForm | None
) -> list[dict[str, Any]]:
    shown = []
    steps = offered(case=found, procedure=table, handbook=submissions.HANDBOOK, who=request.user,
                    level=request.user.level)  # fmt: skip
    for number, step in enumerate(steps):
        mine = kept is not None and kept.step.key == step.key
        filling = kept if mine else StepForm(step=step, version=found.version, today=clock.today())
        shown.append({
            "step": step, "form": filling, "target": table.states[step.target].label,
            "open": mine or (kept is None and number == 0 and step.tone != "danger"),
            "url": reverse("forms-step", args=[found.pk, step.key]),
        })  # fmt: skip
    return shown


def _timeline(found: FormSubmission, table: Procedure) -> list[dict[str, Any]]:
    moves = Move.objects.filter(subject=found.subject).order_by("-pk")
    return [
        {"at": f"{clock.local(move.at):%Y-%m-%d %H:%M}", "by": move.by, "text": move.note,
         "title": f"{move.label} → {table.states[move.target].label}" if move.source else move.label}
        for move in moves
    ]  # fmt: skip


@requires(FILL)
@require_POST
def content(request: PortalRequest, pk: int) -> HttpResponse:
    """Save what was filled in, add or remove a row, or save and hand in."""
    found = _visible(request, pk)
    chosen, action = submissions.form_of(found), request.POST.get("action", "")
    if action == ADD or action.startswith(REMOVE):
        data = changed_rows(request.POST, chosen, action)
        return _page(request, found, editing=_content_form(found, chosen, data))
    editing = _content_form(found, chosen, request.POST)
    if not editing.is_valid():
        return _page(request, found, editing=editing, status=422)
    try:
        with transaction.atomic():
            _save(request, found, editing, submit=action == SUBMIT)
    except Refusal as refusal:
        editing.take(submissions.faults_of(refusal))
        return _page(request, _visible(request, pk), editing=editing, status=refusal.status)
    except Refused as refused:
        messages.error(request, f"{words_of(refused)}。")
        return _page(request, _visible(request, pk), editing=editing, status=refused.status)
    messages.success(request, "已提交，待省级审核盖章。" if action == SUBMIT else "草稿已保存。")
    return redirect("forms-item", pk=pk)


def _save(
    request: PortalRequest, found: FormSubmission, editing: ContentForm, *, submit: bool
) -> None:
    act: dict[str, Any] = {
        "who": request.user, "by": request.user.username, "at": clock.now()
    }  # fmt: skip
    saved = submissions.fill(
        submission=found, filled=editing.filled(), version=editing.cleaned_data["version"], **act
    )
    if submit:
        submissions.take_step(submission=saved, step=SUBMIT, version=saved.version, **act)


@requires(VIEW)
@require_POST
def take_step(request: PortalRequest, pk: int, step: str) -> HttpResponse:
    """Take a step of the table; who may, the table says."""
    found = _visible(request, pk)
    table = PROCEDURES[found.procedure]
    chosen = next((row for row in table.steps if row.key == step), None)
    if chosen is None:
        raise Http404
    filling = StepForm(request.POST, step=chosen, version=found.version, today=clock.today())
    if not filling.is_valid():
        return _page(request, found, step=filling, status=422)
    try:
        with transaction.atomic():
            move = submissions.take_step(
                submission=found, step=step, who=request.user, by=request.user.username,
                at=clock.now(), on=filling.cleaned_data.get("on"), note=filling.note,
                version=filling.cleaned_data["version"],
            )  # fmt: skip
    except Refusals as refused:
        return _refused(request, pk, filling, refused)
    messages.success(
        request, f"已办理“{move.label}”，当前状态：{table.states[move.target].label}。"
    )
    return redirect("forms-item", pk=pk)


def _refused(
    request: PortalRequest, pk: int, filling: StepForm, refused: Refused | Refusal
) -> HttpResponse:
    """A refused step: blanks that lack are told at their place, the rest above the page."""
    found = _visible(request, pk)
    if isinstance(refused, Refusal) and refused.faults:
        editing = ContentForm.of(submissions.form_of(found), submissions.filled_of(found),
                                 version=found.version)  # fmt: skip
        editing.take(refused.faults)
        messages.error(request, f"{refused.detail[0]}：共 {len(refused.faults)} 处，见下方标注。")
        return _page(request, found, editing=editing, step=filling, status=refused.status)
    return _page(request, found, step=filling, status=refuse(filling, refused))


# --- What is hidden, and the paper ---


@requires(VIEW)
@require_http_methods(["GET", "POST"])
def reveal(request: PortalRequest, pk: int) -> HttpResponse:
    """Restricted values in clear, against a reason; the look is an event."""
    found = _visible(request, pk)
    if not submissions.may_see(request.user, found):
        raise Http404
    asking = ReasonForm(request.POST if request.method == "POST" else None)
    items: list[dict[str, Any]] = []
    status = 200
    if request.method == "POST":
        status = 422
        if asking.is_valid():
            try:
                items = _hidden(submissions.form_of(found), submissions.reveal(
                    submission=found, reason=asking.cleaned_data["reason"], who=request.user,
                    by=request.user.username, at=clock.now(),
                ))  # fmt: skip
                status = 200
            except Refusals as refused:
                status = refuse(asking, refused)
    answer = render(request, "agreements/form_reveal.html", {
        "breadcrumbs": _crumbs({"label": found.number, "url": reverse("forms-item", args=[pk])},
                               {"label": "查看完整内容", "url": ""}),
        "form": asking, "items": items, "found": found,
    }, status=status)  # fmt: skip
    answer["Cache-Control"] = "no-store"
    return answer


def _hidden(chosen: Form, filled: Filled) -> list[dict[str, Any]]:
    items = [
        {"label": blank.label, "value": filled.fields.get(blank.key) or "—", "code": True}
        for blank in chosen.fields if blank.restricted
    ]  # fmt: skip
    return items + [
        {"label": f"第{place}行 {blank.label}", "value": row.get(blank.key) or "—", "code": True}
        for place, row in enumerate(filled.rows, 1) for blank in chosen.columns if blank.restricted
    ]  # fmt: skip


@requires(VIEW)
@require_GET
def paper(request: PortalRequest, pk: int) -> HttpResponse:
    """The form in its official layout; in clear only sealed, for those who may see it. An event."""
    found = _visible(request, pk)
    made, full = submissions.official_paper(
        submission=found, who=request.user, by=request.user.username, at=clock.now()
    )
    name = f"{found.number}{'' if full else '（已遮盖）'}.pdf"
    return _file(HttpResponse(made, content_type="application/pdf"), name)


# --- Reporting together ---


@requires(VIEW)
@require_http_methods(["GET", "POST"])
def collection(request: PortalRequest, form: str) -> HttpResponse:
    """Sealed forms of a kind, to be reported together by the province (汇总上报)."""
    law, table = _law(request), _table(request)
    chosen = forms_of(law).get(form)
    if chosen is None or table is None:
        raise Http404
    if request.method == "POST":
        return _collect(request, form)
    rows = _sealed(request, form)
    names = _names(rows)
    may = request.user.may(APPROVE) and request.user.level == PROVINCE
    return render(request, "agreements/forms_collection.html", {
        "breadcrumbs": _crumbs({"label": f"汇总：{chosen.short}", "url": ""}), "form": chosen,
        "law": law, "may": may,
        "waiting": sum(row.state == APPROVED for row in rows),
        "file": reverse("forms-file", args=[form]),
        "table": Table(
            id="collection", caption="已盖章的申请表", show_caption=False,
            columns=[Column(label="编号"), Column(label="机构", wide=True), Column(label="填表单位"),
                     Column(label="行数", numeric=True), Column(label="盖章日"),
                     Column(label="状态")],
            rows=[_sealed_row(row, table, names) for row in rows],
            bulk=[Action(label="汇总上报所选", value="collect")] if may else (),
            bulk_url=reverse("forms-collection", args=[form]),
            empty_title="没有已盖章的申请表", empty_text="省级审核盖章后的申请表列在这里。",
        ),
    })  # fmt: skip


def _sealed(request: PortalRequest, form: str) -> list[FormSubmission]:
    rows = FormSubmission.objects.visible_to(request.user).select_related("institution")
    return list(rows.filter(form=form, state__in=SEALED).order_by("-state", "pk"))


def _sealed_row(row: FormSubmission, table: Procedure, names: Mapping[str, str]) -> Row:
    address, state = reverse("forms-item", args=[row.pk]), table.states[row.state]
    return Row(
        key=str(row.pk), label=row.number,
        cells=[
            Cell(text=row.number, url=address, code=True),
            Cell(text=row.institution.name if row.institution else "—"),
            Cell(text=_bureau(row, names)),
            Cell(text=str(len(row.content.get("rows", ())) or 1)),
            Cell(text=row.content["seal"]["on"], sub=row.content["seal"]["by"]),
            Cell(text=state.label, tone=tone_of(state)),
        ],
    )  # fmt: skip


def _collect(request: PortalRequest, form: str) -> HttpResponse:
    rows = [row for row in _sealed(request, form) if row.state == APPROVED]
    if not request.POST.get("all_matching"):
        chosen = set(request.POST.getlist("selected"))
        rows = [row for row in rows if str(row.pk) in chosen]
    try:
        with transaction.atomic():
            count = submissions.collect(
                submissions=rows, who=request.user, on=clock.today(), by=request.user.username,
                at=clock.now(),
            )  # fmt: skip
    except Refusals as refused:
        messages.error(request, f"{words_of(refused)}。")
    else:
        messages.success(request, f"{count} 份申请表已一并标记为汇总上报。")
    return redirect("forms-collection", form=form)


@requires(VIEW)
@require_GET
def collection_file(request: PortalRequest, form: str) -> HttpResponse:
    """Every row of the sealed forms of a kind in one workbook, all text; in clear for the province."""
    law = _law(request)
    chosen = forms_of(law).get(form)
    if chosen is None:
        raise Http404
    rows = _sealed(request, form)
    content, full = submissions.workbook_of(
        form=chosen, submissions=rows, who=request.user, by=request.user.username, at=clock.now()
    )
    name = f"{chosen.short}汇总{'' if full else '（已遮盖）'}-{clock.today()}.xlsx"
    return _file(HttpResponse(content, content_type=sheets.XLSX), name)
