"""Signing certificates: which ones count, and the holder's act of registering the next one."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from agreements import keys
from agreements.agreement_forms import KeyForm
from agreements.models import SigningKey
from agreements.views.refusing import Refusals, refuse
from audit import clock
from audit.access import requires
from audit.tables import Cell, Column, Row, Table
from institutions.access import PortalRequest
from institutions.models import Office, User
from institutions.views import span
from institutions.views.tabs import ends

Side = SigningKey.Side


def _holder(user: User) -> tuple[str, str, str] | None:
    """For whom this person registers a certificate: side, code, name; None for nobody."""
    if user.institution is not None and user.may("registry.file"):
        return Side.INSTITUTION, user.institution.pk, user.institution.name
    if user.region_id and user.may("agreements.sign"):
        office = Office.objects.filter(kind=Office.Kind.AGENCY, region_id=user.region_id).first()
        return (Side.AGENCY, user.region_id, office.name) if office else None
    return None


@requires("agreements.view")
@require_GET
def signing_keys(request: PortalRequest) -> HttpResponse:
    """The certificates of the reader's own institution or area, and the trusted authorities."""
    return _page(request, KeyForm(auto_id="key_%s"))


def _page(request: PortalRequest, form: KeyForm, status: int = 200) -> HttpResponse:
    holder = _holder(request.user)
    rows = list(_seen(request.user).order_by("side", "holder_code", "-valid_from"))
    return render(request, "agreements/signing_keys.html", {
        "breadcrumbs": [{"label": "协议与接入", "url": ""},
                        {"label": "协议", "url": reverse("agreements")},
                        {"label": "签名证书", "url": ""}],
        "holder": holder and {"code": holder[1], "name": holder[2]}, "form": form,
        "table": _table(rows),
    }, status=status)  # fmt: skip


def _seen(user: User) -> Any:
    scope = user.scope_codes()
    inside = Q(side=Side.AUTHORITY)
    for code in scope.institutions:
        inside |= Q(side=Side.INSTITUTION, holder_code=code)
    for prefix in scope.regions:
        inside |= Q(side=Side.AGENCY, holder_code__within=prefix)
    return SigningKey.objects.filter(inside)


def _table(rows: Sequence[SigningKey]) -> Table:
    today = clock.today()
    return Table(
        id="signing-keys", caption="已登记的证书", narrow="cards",
        columns=[Column(label="证书主体", wide=True), Column(label="持有方"), Column(label="代码"),
                 Column(label="有效期"), Column(label="说明")],
        rows=[
            Row(key=str(row.pk), label=row.subject, cells=[
                Cell(text=row.subject), Cell(text=row.get_side_display()),
                Cell(text=row.holder_code or "—", code=True),
                ends(row.valid_until, today, warn=settings.AGREEMENT_WARN_DAYS,
                     words=span(row.valid_from, row.valid_until)),
                Cell(text="演示证书", tone="mute") if row.is_demo else Cell(text="正式证书", tone="ok"),
            ])
            for row in rows
        ],
        empty_title="没有登记的证书",
        empty_text="先由运行维护人员登记颁发机构证书，再由签署方登记各自的签名证书。",
    )  # fmt: skip


@requires("agreements.view")
@require_POST
def register(request: PortalRequest) -> HttpResponse:
    """The holder registers its certificate; an agency's and a hospital's people for their own only."""
    holder = _holder(request.user)
    if holder is None:
        raise PermissionDenied("signing-keys")
    form = KeyForm(request.POST, request.FILES, auto_id="key_%s")
    status = 422
    if form.is_valid():
        given = form.cleaned_data
        try:
            made = keys.register_key(
                side=holder[0], holder_code=holder[1], pkcs12=given["file"].read(),
                password=given["password"], by=request.user.username, at=clock.now(),
            )  # fmt: skip
        except Refusals as refused:
            status = refuse(form, refused)
        else:
            messages.success(request, f"签名证书已登记，有效期至 {made.valid_until}。")
            return redirect("signing-keys")
    return _page(request, form, status=status)
