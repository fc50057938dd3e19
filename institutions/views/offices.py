"""The authorities of a region: who they are, where, and how they are called; kept by overseers."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from audit import clock
from audit.access import requires
from audit.tables import Action, Cell, Column, Row, Table
from institutions import commands
from institutions.access import PortalRequest
from institutions.models import Office, Region, User
from institutions.refusals import Refusal
from institutions.registry_forms import OfficeForm
from institutions.views.acts import show
from institutions.views.cases import registry_tabs

OVERSEE = "tasks.oversee"


def keeps_offices(user: User, region: Region) -> bool:
    """Whether this person keeps the authorities of a region: overseers, inside their own area."""
    inside = any(region.code.startswith(prefix) for prefix in user.scope_codes().regions)
    return user.may(OVERSEE) and inside


@requires(OVERSEE)
@require_GET
def offices(request: PortalRequest, code: str) -> HttpResponse:
    """The authorities of one region, those that are missing too."""
    region = _region(request, code)
    held = {office.kind: office for office in region.offices.all()}
    table = Table(
        id="offices", caption=f"{region.name}主管与经办机构", show_caption=False,
        columns=[Column(label="类别"), Column(label="名称", wide=True), Column(label="地址", wide=True),
                 Column(label="办公电话")],
        rows=[_row(region, kind, held.get(kind.value)) for kind in Office.Kind],
    )  # fmt: skip
    return render(request, "institutions/registry.html", {
        "title": f"{region.name}主管与经办机构", "tabs": registry_tabs("registry-regions"),
        "table": table, "breadcrumbs": _crumbs(region.name),
    })  # fmt: skip


def _row(region: Region, kind: Office.Kind, office: Office | None) -> Row:
    url = reverse("registry-office", args=[region.code, kind.value])
    missing = Cell(text="未登记", tone="mute")
    return Row(
        key=kind.value, label=str(kind.label),
        actions=[Action(label="更改" if office else "登记", url=url)],
        cells=[Cell(text=str(kind.label)), Cell(text=office.name) if office else missing,
               Cell(text=office.address if office else ""),
               Cell(text=office.phone if office else "")],
    )  # fmt: skip


@requires(OVERSEE)
@require_http_methods(["GET", "POST"])
def office(request: PortalRequest, code: str, kind: str) -> HttpResponse:
    """Add an authority or change it; notices and agreements made from now on name it so."""
    region = _region(request, code)
    if kind not in Office.Kind.values:
        raise Http404(kind)
    label = Office.Kind(kind).label
    held = region.offices.filter(kind=kind).first()
    initial = {"name": held.name, "address": held.address, "phone": held.phone} if held else {}
    form = OfficeForm(request.POST if request.method == "POST" else None, initial=initial)
    status = 200
    back = reverse("registry-offices", args=[region.code])
    if request.method == "POST":
        status = _set(request, form, region, kind)
        if status == 200:
            messages.success(request, f"{region.name}{label}：已登记")
            return redirect(back)
    return render(request, "institutions/act.html", {
        "form": form, "title": f"{region.name}{label}", "back": back, "button": "提交",
        "hint": "此后出具的告知书、协议和公示以此为准；已出具的文书不变。",
        "breadcrumbs": _crumbs(region.name, back, str(label)),
    }, status=status)  # fmt: skip


def _set(request: PortalRequest, form: OfficeForm, region: Region, kind: str) -> int:
    if not form.is_valid():
        return 422
    try:
        commands.set_office(
            region=region, kind=kind, **form.cleaned_data, by=request.user.username, at=clock.now()
        )
    except Refusal as error:
        show(form, error)
        return error.status
    return 200


def _region(request: PortalRequest, code: str) -> Region:
    region = get_object_or_404(Region, code=code)
    if not keeps_offices(request.user, region):
        raise PermissionDenied(code)
    return region


def _crumbs(name: str, url: str = "", last: str = "") -> list[dict]:
    rows = [{"label": "机构登记", "url": ""},
            {"label": "区域与机构", "url": reverse("registry-regions")},
            {"label": name, "url": url}]  # fmt: skip
    return [*rows, {"label": last, "url": ""}] if last else rows
