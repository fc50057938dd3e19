"""Renewing an agreement online: its paper is made, each side signs it, anybody who may see it verifies."""

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from agreements import contracts, renewals
from agreements.identities import SIDES
from agreements.lifecycle import DECIDE
from agreements.models import SigningKey
from agreements.views.agreements import BIGGEST_ID, visible
from agreements.views.deciding import OFFERED, Standing, done, tried
from agreements.views.papers import may_sign
from audit import clock
from audit.access import requires
from institutions.access import PortalRequest

SIGNED = {
    SigningKey.Side.INSTITUTION: "已签署，待经办机构签署。",
    SigningKey.Side.AGENCY: "双方签署的文件已通过验证，新协议自 {since} 起生效。",
}


@requires(DECIDE)
@require_POST
def offer(request: PortalRequest, pk: int) -> HttpResponse:
    """The paper of a new term, put before the institution."""
    found = visible(request, pk)
    form = Standing.of(found, clock.today()).form(OFFERED, request.POST)

    def act() -> HttpResponse:
        given = form.cleaned_data
        made = renewals.offer(
            agreement=found, valid_until=given.get("valid_until"), number=given["number"],
            reason=given["reason"], seen=given["seen"], by=request.user.username, at=clock.now(),
        )  # fmt: skip
        return done(request, found, f"续签协议 {made.number} 已制作，待机构网上签署。")

    return tried(request, found, OFFERED, form, act)


@requires("agreements.view")
@require_POST
def sign(request: PortalRequest, pk: int, side: str) -> HttpResponse:
    """One side signs; who signs for it is decided by its own permission."""
    found = visible(request, pk)
    if side not in renewals.HOLDERS:
        raise Http404
    if not may_sign(request, found, side):
        raise PermissionDenied(side)

    def act() -> HttpResponse:
        made = renewals.sign(agreement=found, side=side, by=request.user.username, at=clock.now())
        since = made.valid_from if made else None
        return done(request, made or found, SIGNED[SigningKey.Side(side)].format(since=since))

    return tried(request, found, f"sign-{side}", forms.Form(request.POST), act)


@requires("agreements.view")
@require_GET
def verify(request: PortalRequest, pk: int, contract: int) -> HttpResponse:
    """Verify the signatures inside the paper of a renewal now: a panel, or a page."""
    found = visible(request, pk)
    rows = found.contracts.filter(application__isnull=True)
    row = get_object_or_404(rows, pk=min(contract, BIGGEST_ID))
    report = contracts.report_on(contracts.Renewing(found), row)
    return render(request, "agreements/verification.html", {
        "base": "fragment.html" if request.htmx else "base.html",
        "report": report, "contract": row, "document": contracts.file_of(row),
        "partial": bool(report.missing) and all(one.valid for one in report.signatures),
        "signatures": [
            {"label": SIDES.get(one.side, one.side), "signer": one.signer,
             "at": f"{clock.local(one.signed_at):%Y-%m-%d %H:%M}" if one.signed_at else "",
             "valid": one.valid, "why": "；".join(one.reasons)}
            for one in report.signatures
        ],
        "breadcrumbs": [{"label": "协议", "url": reverse("agreements")},
                        {"label": found.number, "url": reverse("agreement", args=[found.pk])},
                        {"label": "签名验证", "url": ""}],
    })  # fmt: skip
