"""单笔申报: an institution types in one claim; the rules' hints load beside it and hold nothing up."""

import json

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from audit import clock
from audit.access import requires
from institutions.access import PortalRequest
from institutions.models import Institution
from institutions.refusals import Refusal
from settlement import commands
from settlement.api import claim_of
from settlement.entry_forms import EntryForm
from settlement.facts import Claimant
from settlement.reimbursement_forms import LineForms, lines_of

SHOWN = 20  #: faults of a claim that the page lists


@requires("claims.enter")
@require_http_methods(["GET", "POST"])
def enter(request: PortalRequest) -> HttpResponse:
    """Type in a claim and have it settled."""
    place = request.user.institution
    if place is None:
        raise PermissionDenied("claims.enter")
    form = EntryForm(request.POST or None)
    lines = LineForms(request.POST or None, prefix="lines")
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid() & lines.is_valid():
            found = _received(request, place, form, lines)
            if found is not None:
                messages.success(request, "已收到申报并完成结算。")
                return redirect("claim", claim_id=found)
    return render(request, "settlement/claim_new.html", {
        "breadcrumbs": [{"label": "工作台", "url": "/"}, {"label": "申报与结算", "url": reverse("claims")},
                        {"label": "单笔申报", "url": ""}],
        "form": form, "lines": lines, "hints": reverse("precheck-panel"),
    }, status=status)  # fmt: skip


def _received(
    request: PortalRequest, place: Institution, form: EntryForm, lines: forms.BaseFormSet
) -> int | None:
    """The claim's id, or None with the reasons on the form: the same command as for the interface."""
    at, by = clock.now(), request.user.username
    try:
        text = json.dumps(form.whole(lines_of(lines)), ensure_ascii=False)
        claim = claim_of(text.encode(), at)
        with transaction.atomic():
            receipt = commands.receive(institution=Claimant.of(place), claim=claim, by=by, at=at)
    except Refusal as refusal:
        _tell(form, refusal)
        return None
    except IntegrityError as error:
        conflict = commands.conflict_of(
            error, institution=Claimant.of(place), claim_no=form.cleaned_data["claim_no"]
        )
        if conflict is None:
            raise
        _tell(form, conflict)
        return None
    return int(json.loads(receipt.body)["id"])


def _tell(form: EntryForm, refusal: Refusal) -> None:
    form.add_error(None, f"{refusal.detail[0]}。")
    for fault in refusal.faults[:SHOWN]:
        if fault.detail != refusal.detail:
            form.add_error(None, f"{fault.pointer}　{fault.detail[0]}。")
