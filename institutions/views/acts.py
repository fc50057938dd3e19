"""Forms that write to the registry: one page for all acts of `institutions.registry_acts`."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from audit import clock
from audit.access import requires
from audit.procedure import Refused
from institutions import commands
from institutions import registry_forms as shapes
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.models import (
    Change,
    Contact,
    Institution,
    InstitutionFacts,
    Physician,
    PlatformConnection,
    Qualification,
    Region,
)
from institutions.refusals import Refusal
from institutions.registry_acts import ACTS, AGENCY, Act, Doing


@requires("registry.view")
@require_http_methods(["GET", "POST"])
def act(request: PortalRequest, code: str, act: str, key: str = "") -> HttpResponse:
    """Show the form of an act, or do it; a refusal stands at its field and keeps what was typed."""
    chosen = ACTS.get(act)
    if chosen is None or bool(key) != (chosen.model is not None):
        raise Http404(act)
    if not chosen.allowed(request.user):
        raise PermissionDenied(act)
    found = _visible(request, code)
    row = None if chosen.model is None else _row(chosen.model, found, key)
    if act == "change":
        return _choose(request, found, chosen)
    initial = dict(chosen.initial(found, row))
    if request.method == "POST" and (seen := request.POST.get("seen", "")).isdigit():
        before = InstitutionFacts.objects.filter(institution=found, pk=int(seen)).first()
        initial = shapes.facts_as_initial(before) | {"seen": seen}
    data = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    form = chosen.form(*data, **{**chosen.options(found, row), "initial": initial})
    status = 200
    if request.method == "POST":
        status = submit(request, form, found, row, chosen.do)
        if status == 200:
            messages.success(request, f"{chosen.title}：已登记")
            return redirect(file_of(found, chosen.tab))
    return page(request, form, found, title=chosen.title, hint=chosen.hint, tab=chosen.tab,
                about=_about(row), danger=chosen.tone == "danger", status=status)  # fmt: skip


def _visible(request: PortalRequest, code: str) -> Institution:
    rows = Institution.objects.visible_to(request.user).select_related("region")
    return get_object_or_404(rows, code=code)


def _row(model: type[Model], found: Institution, key: str) -> Model:
    rows: QuerySet = model._default_manager.filter(institution=found)
    if model in (Qualification, PlatformConnection):
        rows = rows.filter(superseded_at__isnull=True)
    if model is not Physician and not key.isdigit():
        raise Http404(key)
    return get_object_or_404(rows, pk=key)


def _about(row: Any) -> str:
    if isinstance(row, Contact):
        return f"{row.purpose} {row.name}"
    return f"{row} {row.pk}" if isinstance(row, Physician) else str(row or "")


def submit(
    request: PortalRequest, form: forms.Form, found: Institution, row: Any,
    do: Callable[[Doing], object],
) -> int:  # fmt: skip
    """Do it, if the form is in order; 200, or the status of the refusal that the form now shows."""
    if not form.is_valid():
        return 422
    doing = Doing(found, row, form, by=request.user.username, at=clock.now(),
                  agency=request.user.may(AGENCY[0]))  # fmt: skip
    try:
        with transaction.atomic():
            do(doing)
    except (Refusal, Refused) as error:
        show(form, error)
        return error.status
    return 200


def show(form: forms.Form, error: Refusal | Refused) -> None:
    """A refusal at the field that it names, else above the form."""
    if isinstance(error, Refused):
        field = error.field
    else:
        field = next((fault.pointer.strip("/") for fault in error.faults), "")
    names = {"document": "scan", "name": "title" if "title" in form.fields else "name"}
    field = field if field in form.fields else names.get(field, field)
    form.add_error(field if field in form.fields else None, words_of(error))


def file_of(found: Institution, tab: str) -> str:
    """The address of a part of an institution's file."""
    address = reverse("institution", args=[found.code])
    return f"{address}?tab={tab}" if tab else address


def page(
    request: HttpRequest, form: forms.Form, found: Institution | None, *, title: str, hint: str = "",
    tab: str = "", about: str = "", danger: bool = False, status: int = 200, button: str = "提交",
) -> HttpResponse:  # fmt: skip
    """A form of the registry on a page of its own."""
    back = file_of(found, tab) if found else reverse("institutions")
    crumbs = [{"label": "医疗机构", "url": reverse("institutions")}]
    crumbs += [{"label": found.name, "url": back}] if found else []
    return render(request, "institutions/act.html", {
        "form": form, "institution": found, "title": title, "hint": hint, "about": about,
        "danger": danger, "back": back, "button": button,
        "multipart": form.is_multipart(),
        "breadcrumbs": [*crumbs, {"label": title, "url": ""}],
    }, status=status)  # fmt: skip


# --- A new party; a change in two steps ---


@requires("registry.maintain")
@require_http_methods(["GET", "POST"])
def register(request: PortalRequest) -> HttpResponse:
    """Register an institution, pharmacy or logistics company inside the own area."""
    prefixes = request.user.scope_codes().regions
    regions = [row for row in Region.objects.order_by("code")
               if any(row.code.startswith(prefix) for prefix in prefixes)]  # fmt: skip
    data = request.POST if request.method == "POST" else None
    form = shapes.RegisterInstitution(data, regions=regions)
    status = 200
    if data is not None:
        status = 422
        if form.is_valid():
            made = _register(request, form)
            if made is not None:
                messages.success(request, f"已登记机构：{made.name}")
                return redirect(file_of(made, ""))
    return page(request, form, None, title="登记机构", status=status,
                hint="医疗机构、零售药店和物流企业均可登记；信用代码按 GB 32100 校验。")  # fmt: skip


def _register(request: PortalRequest, form: shapes.RegisterInstitution) -> Institution | None:
    given = form.cleaned_data
    parents = Institution.objects.visible_to(request.user)
    parent = parents.filter(pk=given["parent"].upper()).first() if given["parent"] else None
    if given["parent"] and parent is None:
        form.add_error("parent", "没有这一机构编码")
        return None
    try:
        return commands.register_institution(
            code=given["code"], name=given["title"], kind=given["kind"],
            region=Region.objects.get(pk=given["region"]), credit=given["credit_code"],
            tier=given["tier"], aliases=given["aliases"].replace("，", "、").split("、"),
            internet_hospital_name=given["internet_hospital_name"], parent=parent,
            valid_from=given["valid_from"], source=given["source"], facts=form.values(),
            by=request.user.username, at=clock.now(),
        )  # fmt: skip
    except Refusal as error:
        show(form, error)
        return None


def _choose(request: PortalRequest, found: Institution, chosen: Act) -> HttpResponse:
    """First the kind of change, then its fields on a page of their own."""
    kind = request.GET.get("kind", "")
    if kind not in Change.Kind.values:
        form = shapes.ChangeKind(auto_id="kind_%s")
        return render(request, "institutions/change_kind.html", {
            "form": form, "institution": found, "title": chosen.title, "hint": chosen.hint,
            "back": file_of(found, "changes"),
            "breadcrumbs": [{"label": "医疗机构", "url": reverse("institutions")},
                            {"label": found.name, "url": file_of(found, "changes")},
                            {"label": chosen.title, "url": ""}],
        })  # fmt: skip
    return _change(request, found, Change.Kind(kind))


def _change(request: PortalRequest, found: Institution, kind: Change.Kind) -> HttpResponse:
    fields = commands.CHANGE_CONTENT[kind]
    data = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    held = found.facts.facts_on(clock.today())
    initial = {key: value for key, value in shapes.facts_as_initial(held).items() if key in fields}
    form = shapes.ChangeForm(*data, kind=kind, fields=fields, initial=initial)
    status = 200
    if request.method == "POST":
        status = submit(request, form, found, None, lambda doing: commands.file_change(
            institution=found, kind=kind, effective_from=doing.given["effective_from"],
            content=form.values(), reason=doing.given["reason"],
            files=[(part.name or "", part.read()) for part in doing.given["papers"]], **doing.sign,
        ))  # fmt: skip
        if status == 200:
            messages.success(request, f"已提交变更备案：{kind.label}")
            return redirect(file_of(found, "changes"))
    hint = "提交后至办结前暂停向本机构拨付医保资金。" if kind == Change.Kind.ACCOUNT else ""
    return page(request, form, found, title=f"变更备案：{kind.label}", hint=hint, tab="changes",
                status=status)  # fmt: skip
