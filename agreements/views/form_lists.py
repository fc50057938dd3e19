"""Official forms: the list and its files, the forms that can be filled in, reporting together."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from agreements import submissions
from agreements.models import FormSubmission
from agreements.official_forms import Form, forms_of
from agreements.submission_forms import SubmissionQuery
from agreements.submissions import APPROVE, APPROVED, PROVINCE, SEALED, VIEW
from agreements.views.dossier import tone_of
from agreements.views.form_parts import as_file, crumbs, law_here, table_here
from agreements.views.institutions import pages_of
from agreements.views.refusing import Refusals, refuse, words_of
from audit import clock, pdf, sheets, trail
from audit.access import requires
from audit.procedure import Procedure, Refused
from audit.tables import Action, Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.models import Region
from institutions.registry_forms import ReasonForm

EXPORTS = ("xlsx", "json", "pdf")
LIST_HEAD = ("编号", "申请表", "机构", "申请地医疗保障部门", "状态", "盖章日", "盖章人")


@requires(VIEW)
@require_GET
def forms_list(request: PortalRequest) -> HttpResponse:
    """Submissions inside the reader's area, and the forms that can be filled in."""
    law, table = law_here(request), table_here(request)
    forms = forms_of(law)
    if table is None or not forms:
        return render(request, "agreements/forms.html", {"breadcrumbs": crumbs(), "none": True})
    query, rows = _asked(request, forms, table)
    pages = pages_of(request, rows.count())
    shown = list(rows[pages.first_row - 1 : pages.first_row - 1 + pages.size])
    names = _names(shown)
    return render(request, "agreements/forms.html", {
        "breadcrumbs": crumbs(), "law": law, "query": query,
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
    law, table = law_here(request), table_here(request)
    forms = forms_of(law)
    if table is None or kind not in EXPORTS:
        raise Http404
    _, rows = _asked(request, forms, table)
    try:
        found = submissions.bounded(rows)
    except Refused as refused:
        messages.error(request, f"{words_of(refused)}。")
        return redirect(f"{reverse('forms-list')}?{request.GET.urlencode()}")
    if kind == "json":
        answer: HttpResponse = JsonResponse(
            {"document": law["document"], "forms": _data(found, table)},
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
    return as_file(answer, f"申请表清单-{clock.today()}.{kind}")


def _lines(rows: list[FormSubmission], forms: dict[str, Form], table: Procedure) -> list[list[str]]:
    names = _names(rows)
    return [
        [row.number, forms[row.form].name if row.form in forms else row.form,
         row.institution.name if row.institution else "", _bureau(row, names),
         table.states[row.state].label, (row.content.get("seal") or {}).get("on", ""),
         (row.content.get("seal") or {}).get("by", "")]
        for row in rows
    ]  # fmt: skip


def _data(rows: list[FormSubmission], table: Procedure) -> list[dict[str, Any]]:
    printed = submissions.printed(rows)
    return [
        {"number": row.number, "form": row.form, "state": row.state,
         "state_label": table.states[row.state].label, "institution": row.institution_code,
         "region": row.region_code, **submissions.shown(row, printed[row.pk]).data()}
        for row in rows
    ]  # fmt: skip


def _list_paper(request: PortalRequest, law: dict[str, Any], rows: list[list[str]]) -> bytes:
    at = clock.now()
    return pdf.render(
        "reports/forms/list.html",
        {"head": LIST_HEAD, "rows": rows, "law": law, "today": clock.today()}, at=at,
        identifier=pdf.identifier_of("forms", request.user.username, at.isoformat()),
        watermark=f"{request.user.username} {at:%Y-%m-%d %H:%M}", styles=submissions.STYLES,
    )  # fmt: skip


# --- Reporting together ---


@requires(VIEW)
@require_http_methods(["GET", "POST"])
def collection(request: PortalRequest, form: str) -> HttpResponse:
    """Sealed forms of a kind, to be reported together by the province (汇总上报)."""
    law, table = law_here(request), table_here(request)
    chosen = forms_of(law).get(form)
    if chosen is None or table is None:
        raise Http404
    if request.method == "POST":
        return _collect(request, form)
    return _collection(request, chosen, table, ReasonForm(), 200)


def _collection(
    request: PortalRequest, chosen: Form, table: Procedure, asking: ReasonForm, status: int
) -> HttpResponse:
    """The page with what is sealed; the whole numbers only against a reason."""
    rows, form = list(_sealed(request, chosen.key)), chosen.key
    names = _names(rows)
    may = request.user.may(APPROVE) and request.user.level == PROVINCE
    see = bool(rows) and all(submissions.may_see(request.user, row) for row in rows)
    return render(request, "agreements/forms_collection.html", {
        "breadcrumbs": crumbs({"label": f"汇总：{chosen.short}", "url": ""}), "form": chosen,
        "law": law_here(request), "may": may, "asking": asking if see else None,
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
    }, status=status)  # fmt: skip


def _sealed(request: PortalRequest, form: str) -> QuerySet[FormSubmission]:
    rows = FormSubmission.objects.visible_to(request.user).select_related("institution")
    return rows.filter(form=form, state__in=SEALED).order_by("-state", "pk")


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
@require_http_methods(["GET", "POST"])
def collection_file(request: PortalRequest, form: str) -> HttpResponse:
    """Every row of the sealed forms of a kind in one workbook, all text.

    Masked as it is fetched; whoever may see whole numbers gets them against a reason (an event).
    """
    chosen, table = forms_of(law_here(request)).get(form), table_here(request)
    if chosen is None or table is None:
        raise Http404
    asking = ReasonForm(request.POST if request.method == "POST" else None)
    if asking.is_bound and not asking.is_valid():
        return _collection(request, chosen, table, asking, 422)
    reason = asking.cleaned_data["reason"] if asking.is_bound else None
    try:
        content = submissions.workbook_of(
            form=chosen, submissions=submissions.bounded(_sealed(request, form)), reason=reason,
            who=request.user, by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refused as refused:
        if not asking.is_bound:
            messages.error(request, f"{words_of(refused)}。")
            return redirect("forms-collection", form=form)
        return _collection(request, chosen, table, asking, refuse(asking, refused))
    name = f"{chosen.short}汇总{'（已遮盖）' if reason is None else ''}-{clock.today()}.xlsx"
    return as_file(HttpResponse(content, content_type=sheets.XLSX), name)
