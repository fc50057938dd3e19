"""变更备案 and 对码: their lists, and one case with its moves and the steps that can be taken."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from audit import clock, moves, procedure
from audit.access import requires
from audit.models import Move
from audit.procedure import Refused
from audit.tables import Action, Cell, Column, Pages, Row, Table
from institutions import commands, handbook
from institutions.access import PortalRequest
from institutions.commands.facts import FIELDS
from institutions.departments import department
from institutions.forms import CLASSES
from institutions.models import Change, CodeMapping, Document, Institution, InstitutionFacts
from institutions.naming import Login, named
from institutions.refusals import Refusal
from institutions.registry_forms import CaseQuery, StepForm, UploadForm
from institutions.views.acts import file_of, show

SIZE = 20
CHANGE_COLUMNS = (
    Column(label="备案号"), Column(label="变更事项"), Column(label="生效日"), Column(label="状态"),
    Column(label="提交"),
)  # fmt: skip
MAPPING_COLUMNS = (
    Column(label="院内编码", wide=True), Column(label="类别"), Column(label="国家编码"),
    Column(label="有效期"), Column(label="状态"), Column(label="提交"),
)  # fmt: skip
WHOSE = Column(label="医疗机构", wide=True)


# --- Lists ---


def registry_tabs(current: str) -> list[dict]:
    """The lists of the registry, beside each other."""
    names = (("registry-changes", "变更备案"), ("registry-mappings", "对码"),
             ("registry-expiries", "到期提醒"), ("registry-regions", "区域与机构"),
             ("registry-calendars", "工作日历"), ("registry-imports", "导入导出"))  # fmt: skip
    return [{"label": label, "url": reverse(name), "current": name == current}
            for name, label in names]  # fmt: skip


@requires("registry.view")
@require_http_methods(["GET"])
def changes(request: PortalRequest) -> HttpResponse:
    """Changes of every institution inside the reader's scope, open ones first."""
    return _list(request, "registry-changes", "变更备案", Change, ("number",), change_table)


@requires("registry.view")
@require_http_methods(["GET"])
def mappings(request: PortalRequest) -> HttpResponse:
    """Code mappings of every institution inside the reader's scope, open ones first."""
    words = ("local_code", "local_name", "national_code")
    return _list(
        request, "registry-mappings", "编码对照（对码）", CodeMapping, words, mapping_table
    )


def _list(
    request: PortalRequest, name: str, title: str, model: Any, words: tuple[str, ...], table: Any
) -> HttpResponse:
    table_of = procedure.PROCEDURES["change" if model is Change else "mapping"]
    states = [(state.key, state.label) for state in table_of.states.values()]
    form = CaseQuery(request.GET, states=states, kinds=model.Kind.choices)
    visible = Institution.objects.visible_to(request.user)
    rows = model.objects.filter(institution__in=visible).select_related("institution")
    rows = _narrow(rows, form, words) if form.is_valid() else rows.none()
    total = rows.count()
    pages = page_of(request, total)
    start = pages.first_row - 1
    shown = rows.order_by("-closed_at", "-opened_at", "-pk")[start : start + SIZE]
    return render(request, "institutions/registry.html", named({
        "title": title, "tabs": registry_tabs(name), "form": form,
        "table": table(list(shown), pages=pages, toolbar=[], whose=True, on=clock.today()),
        "breadcrumbs": [{"label": "机构登记", "url": ""}, {"label": title, "url": ""}],
    }))  # fmt: skip


def _narrow(rows: QuerySet, form: CaseQuery, words: tuple[str, ...]) -> QuerySet:
    given = form.cleaned_data
    for key in ("state", "kind"):
        if given[key]:
            rows = rows.filter(**{key: given[key]})
    if text := given["q"].strip():
        found = Q(institution__name__icontains=text) | Q(institution__code__startswith=text.upper())
        for word in words:
            found |= Q(**{f"{word}__icontains": text})
        rows = rows.filter(found)
    return rows


def page_of(request: HttpRequest, total: int) -> Pages:
    """The page that `?page=` names, within what there is."""
    asked = request.GET.get("page", "")
    last = max(-(-total // SIZE), 1)
    page = min(max(int(asked), 1), last) if asked.isascii() and asked.isdigit() else 1
    return Pages(total=total, size=SIZE, page=page, sizes=(SIZE,))


def _state(case: Change | CodeMapping) -> Cell:
    state = procedure.PROCEDURES[case.procedure].states[case.state]
    return Cell(text=state.label, tone=state.tone, sub=f"{case.entered_on} 起")


def _filed(case: Change | CodeMapping) -> Cell:
    return Cell(text=f"{clock.local(case.opened_at):%Y-%m-%d}", sub=Login(case.opened_by))


def _whose(case: Change | CodeMapping, *, whose: bool) -> list[Cell]:
    return [Cell(text=case.institution.name, sub=case.institution_code)] if whose else []


def change_table(
    rows: Sequence[Change], *, pages: Pages, toolbar: Sequence[Action], whose: bool,
    on: dt.date | None = None,
) -> Table:  # fmt: skip
    """Changes as a table; `whose` adds the institution."""
    return Table(
        id="changes", caption="变更备案", pages=pages, toolbar=toolbar,
        columns=[CHANGE_COLUMNS[0], *([WHOSE] if whose else []), *CHANGE_COLUMNS[1:]],
        rows=[Row(key=str(row.pk), label=row.number, cells=[
            Cell(text=row.number, url=handbook.place(row), code=True), *_whose(row, whose=whose),
            Cell(text=row.get_kind_display(), sub=row.reason), Cell(text=str(row.effective_from)),
            _state(row), _filed(row),
        ]) for row in rows],
        empty_title="没有变更备案", empty_text="机构提交的法定代表人、账户、类别、科目等变更在此办理。",
    )  # fmt: skip


def mapping_table(
    rows: Sequence[CodeMapping], *, pages: Pages, toolbar: Sequence[Action], whose: bool,
    on: dt.date,
) -> Table:  # fmt: skip
    """Mappings as a table; `whose` adds the institution."""
    return Table(
        id="mappings", caption="对码", pages=pages, toolbar=toolbar,
        columns=[MAPPING_COLUMNS[0], *([WHOSE] if whose else []), *MAPPING_COLUMNS[1:]],
        rows=[Row(key=str(row.pk), label=row.local_code, cells=[
            Cell(text=row.local_code, sub=row.local_name, url=handbook.place(row), code=True),
            *_whose(row, whose=whose), Cell(text=row.get_kind_display()),
            Cell(text=row.national_code, sub=row.national_name, code=True),
            _mapping_span(row, on), _state(row), _filed(row),
        ]) for row in rows],
        empty_title="没有对码", empty_text="机构提交院内编码与国家编码的对应，审核通过后生效。",
    )  # fmt: skip


def _mapping_span(row: CodeMapping, on: dt.date) -> Cell:
    last = row.valid_until
    words = f"{row.valid_from} 至 {last}" if last else f"{row.valid_from} 起"
    if row.state != "approved" or last is None:
        return Cell(text=words)
    left = (last - on).days
    if left > settings.REGISTRY_WARN_DAYS:
        return Cell(text=words)
    return Cell(text=f"剩余 {left} 天" if left >= 0 else "已过期", sub=words,
                tone="warn" if left >= 0 else "bad")  # fmt: skip


# --- One case ---


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def change(request: PortalRequest, pk: int) -> HttpResponse:
    """A change: old and new values, evidence, moves, and the steps that this person can take."""
    found = _found(request, Change, pk)
    files = Document.objects.filter(subject=found.subject).order_by("uploaded_at")
    return _case(request, found, {
        "title": f"变更备案 {found.number}", "tab": "changes",
        "facts": _change_facts(found), "comparison": _comparison(found),
        "files": [{"name": row.name, "url": reverse("document", args=[row.pk]), "sm3": row.digest,
                   "at": clock.local(row.uploaded_at), "by": row.uploaded_by} for row in files],
        "upload": _upload_form(request, found), "with_files": True,
        "reveal": reverse("change-reveal", args=[found.pk])
        if found.kind == Change.Kind.ACCOUNT and (
            request.user.may("registry.check") or request.user.may("accounts.reveal")) else "",
    })  # fmt: skip


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def mapping(request: PortalRequest, pk: int) -> HttpResponse:
    """A mapping: both codes, whether the national one is known, moves and possible steps."""
    found = _found(request, CodeMapping, pk)
    return _case(request, found, {
        "title": f"对码 {found.local_code}", "tab": "mappings", "facts": _mapping_facts(found),
    })  # fmt: skip


def _found(request: PortalRequest, model: Any, pk: int) -> Any:
    visible = Institution.objects.visible_to(request.user)
    rows = model.objects.filter(institution__in=visible)
    return get_object_or_404(rows.select_related("institution__region"), pk=pk)


def _case(request: PortalRequest, case: Any, context: dict) -> HttpResponse:
    status, typed = 200, None
    if request.method == "POST":
        status, typed = _post(request, case)
        if status == 200:
            return redirect(handbook.place(case))
    table = procedure.PROCEDURES[case.procedure]
    steps = moves.offered(
        case=case, procedure=table, handbook=handbook.HANDBOOK, who=request.user,
        level=request.user.level,
    )  # fmt: skip
    forms = [typed if typed is not None and typed.step.key == step.key
             else StepForm(step=step, version=case.version) for step in steps]  # fmt: skip
    made = Move.objects.filter(subject=case.subject).order_by("-pk")
    state = table.states[case.state]
    return render(request, "institutions/case.html", named({
        **context, "case": case, "institution": case.institution, "state": state,
        "back": file_of(case.institution, context["tab"]),
        "steps": [{"form": form, "step": form.step, "opened": not form.step.asks} for form in forms],
        "moves": [_move(row) for row in made],
        "breadcrumbs": [
            {"label": "机构登记", "url": reverse(f"registry-{context['tab']}")},
            {"label": case.institution.name, "url": file_of(case.institution, context["tab"])},
            {"label": context["title"], "url": ""},
        ],
    }), status=status)  # fmt: skip


def _post(request: PortalRequest, case: Any) -> tuple[int, StepForm | None]:
    """Take the step that was sent, or store what was uploaded; (status, the form that was refused)."""
    if "upload" in request.POST:
        return _upload(request, case), None
    table = procedure.PROCEDURES[case.procedure]
    try:
        step = table.step(request.POST.get("step", ""))
    except Refused as error:
        messages.error(request, error.detail)
        return error.status, None
    form = StepForm(request.POST, step=step, version=case.version)
    if not form.is_valid():
        return 422, form
    given = form.cleaned_data
    asked = {ask.key: given[ask.key] for ask in step.asks if ask.key != "note"}
    try:
        with transaction.atomic():
            commands.take_step(
                case=case, step=step.key, who=request.user, by=request.user.username,
                at=clock.now(), on=given.get("on"), note=given.get("note", ""), facts=asked,
                version=given["version"],
            )  # fmt: skip
    except (Refusal, Refused) as error:
        show(form, error)
        messages.error(request, handbook.words_of(error))
        case.refresh_from_db()
        return error.status, form
    messages.success(request, f"已办理：{step.label}")
    return 200, None


def _upload_form(request: PortalRequest, case: Change) -> UploadForm | None:
    if case.closed_at is not None or not request.user.may("registry.file"):
        return None
    form = UploadForm(auto_id="upload_%s")
    del form.fields["kind"]
    return form


def _upload(request: PortalRequest, case: Any) -> int:
    if not isinstance(case, Change) or not request.user.may("registry.file"):
        messages.error(request, "您的角色不能上传材料")
        return 403
    form = UploadForm(request.POST, request.FILES)
    del form.fields["kind"]
    if not form.is_valid():
        messages.error(request, "；".join(str(error) for error in form.errors.get("papers", [])))
        return 422
    files = [(part.name or "", part.read()) for part in form.cleaned_data["papers"]]
    try:
        with transaction.atomic():
            commands.attach(case=case, files=files, by=request.user.username, at=clock.now())
    except Refusal as error:
        messages.error(request, handbook.words_of(error))
        return error.status
    messages.success(request, f"已上传 {len(files)} 个文件")
    return 200


def _move(row: Move) -> dict:
    ends = row.target in ("refused", "withdrawn")
    return {
        "at": f"{row.on} · 登记 {clock.local(row.at):%Y-%m-%d %H:%M}", "by": row.by,
        "title": row.label, "text": row.note, "tone": "bad" if ends else "ok",
        "clause": {"document": row.clause, "clause": ""} if row.clause else None,
    }  # fmt: skip


def _change_facts(row: Change) -> list[dict]:
    return [
        {"label": "备案号", "value": row.number, "code": True},
        {"label": "医疗机构", "value": row.institution.name, "url": file_of(row.institution, "changes")},
        {"label": "变更事项", "value": row.get_kind_display()},
        {"label": "生效日", "value": str(row.effective_from)},
        {"label": "提交", "value": f"{clock.local(row.opened_at):%Y-%m-%d %H:%M}",
         "sub": Login(row.opened_by)},
        {"label": "变更原因", "value": row.reason},
    ]  # fmt: skip


def _comparison(row: Change) -> list[dict]:
    """What each value was on the day before and what it becomes."""
    if row.kind == Change.Kind.ACCOUNT:
        held = row.institution.accounts.known().in_force(on=row.effective_from).first()
        return [
            {"label": "开户行", "old": held.bank if held else "", "new": row.content["bank"]},
            {"label": "账号", "old": f"**** {held.number_tail}" if held else "",
             "new": f"**** {row.content['number_tail']}"},
        ]  # fmt: skip
    day = row.effective_from - dt.timedelta(days=1)
    facts = row.institution.facts.facts_on(day)
    return [
        {"label": FIELDS[key], "old": _word(key, _before(facts, row.institution, key)),
         "new": _word(key, value)}
        for key, value in row.content.items()
    ]  # fmt: skip


def _before(facts: InstitutionFacts | None, institution: Institution, key: str) -> Any:
    if key == "name":
        return (facts and facts.name) or institution.name
    return getattr(facts, key) if facts else None


def _word(key: str, value: Any) -> str:
    if isinstance(value, list):
        return "、".join(
            department(str(one)) if key.endswith("_departments") else str(one) for one in value
        )
    if isinstance(value, bool):
        return "是" if value else "否"
    words = {"price_class": CLASSES, "ownership": dict(InstitutionFacts.Ownership.choices)}
    return words.get(key, {}).get(value, str(value or ""))


def _mapping_facts(row: CodeMapping) -> list[dict]:
    known = handbook.code_known(row)
    words, tone = {True: ("目录中存在", "ok"), False: ("目录中不存在", "bad"),
                   None: ("本平台未收录该类目录，请人工核对", "wait")}[known]  # fmt: skip
    last = row.valid_until
    return [
        {"label": "医疗机构", "value": row.institution.name,
         "url": file_of(row.institution, "mappings")},
        {"label": "类别", "value": row.get_kind_display()},
        {"label": "院内编码", "value": row.local_code, "code": True, "sub": row.local_name},
        {"label": "国家编码", "value": row.national_code, "code": True, "sub": row.national_name},
        {"label": "国家编码核对", "value": words, "tone": tone},
        {"label": "有效期", "value": f"{row.valid_from} 至 {last}" if last else f"{row.valid_from} 起"},
    ]  # fmt: skip
