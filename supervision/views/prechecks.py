"""The sample page of reminding: how a hospital's system embeds it, and a visit to try it with."""

import datetime as dt
import json
from typing import Any

from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from audit import clock
from audit.access import requires
from institutions.access import PortalRequest
from institutions.refusals import Refusal
from settlement.entry_forms import EntryForm
from settlement.facts import Claimant
from settlement.reimbursement_forms import LineForms, lines_of
from supervision.prechecks_api import visit_of
from supervision.remind import hints
from supervision.views.findings import CRUMBS, tabs

MOST = 10  #: faults that the panel lists
SAMPLE: dict[str, Any] = {
    "encounter": {
        "id": "JZ20211220001", "business_type": "internet", "visit_type": "revisit",
        "condition": "chronic", "started_at": "{day}T09:30:00+08:00",
        "ended_at": "{day}T09:42:00+08:00", "department_code": "A03",
        "diagnoses": [{"code": "I10.x00x002", "name": "高血压", "main": True}],
        "session": {"medium": "video"},
    },
    "person": {"credential_type": "e_credential", "credential": "999999197001010017",
               "verified_at": "{day}T09:29:00+08:00", "matched": True},
    "consent": {"item_and_price_explained": False, "given_at": None},
    "physician": {"code": "D0000001"},
    "lines": [{"line_no": 1, "kind": "consult", "item_code": "111102001", "quantity": "1",
               "unit_price": "12.00", "fee": "12.00"}],
}  # fmt: skip


@requires("trials.run")
@require_http_methods(["GET", "POST"])
def sample(request: PortalRequest) -> HttpResponse:
    """Show the hints of a visit that is typed in; a hospital asks for its own patients only."""
    text = request.POST.get("visit") or _sample()
    answer, problem = None, None
    place = request.user.institution
    if request.method == "POST" and place is not None:
        try:
            at = clock.now()
            visit = visit_of(text.encode(), at)
            answer = hints(
                institution=Claimant.of(place), claim=visit, by=request.user.username, at=at
            )
        except Refusal as refusal:
            problem = refusal
    if request.headers.get("Accept") == "application/json":
        return _json(answer, problem)
    return render(request, "supervision/precheck.html", {
        "breadcrumbs": [*CRUMBS, {"label": "事前提醒接入", "url": ""}],
        "tabs": tabs(request, "precheck-sample"), "text": text, "answer": answer,
        "may_try": place is not None,
        "problem": [problem.detail[0], *(f"{f.pointer} {f.detail[0]}" for f in problem.faults)]
        if problem else [],
        "shown": _shown(answer),
    }, status=problem.status if problem else 200)  # fmt: skip


def _shown(answer: dict | None) -> list[dict[str, str]]:
    """The hints of an answer as notices."""
    return [
        {"tone": {"grave": "bad", "doubt": "warn", "remind": "info"}[hint["severity"]],
         "title": hint["message"], "text": f"{hint['clause']['document']} "
         f"{hint['clause']['clause']} {hint['clause']['text']}"}
        for hint in (answer or {}).get("hints", ())
    ]  # fmt: skip


@requires("claims.enter")
@require_POST
def panel(request: PortalRequest) -> HttpResponse:
    """The hints of the claim that is being typed in: loaded by the form's page, it blocks nothing."""
    place = request.user.institution
    form, lines = EntryForm(request.POST), LineForms(request.POST, prefix="lines")
    if place is None or not (form.is_valid() & lines.is_valid()):
        return render(request, "supervision/precheck_panel.html", {"waiting": True})
    at = clock.now()
    text = json.dumps(form.whole(lines_of(lines)), ensure_ascii=False)
    try:
        with transaction.atomic():
            answer = hints(institution=Claimant.of(place), claim=visit_of(text.encode(), at),
                           by=request.user.username, at=at)  # fmt: skip
    except Refusal as refusal:
        told = [f"{fault.pointer}　{fault.detail[0]}" for fault in refusal.faults[:MOST]]
        return render(request, "supervision/precheck_panel.html", {
            "problem": [refusal.detail[0], *told]})  # fmt: skip
    return render(request, "supervision/precheck_panel.html", {"shown": _shown(answer)})


def _sample() -> str:
    text = json.dumps(SAMPLE, ensure_ascii=False, indent=1)
    return text.replace("{day}", (clock.today() - dt.timedelta(days=1)).isoformat())


def _json(answer: dict | None, problem: Refusal | None) -> JsonResponse:
    if problem is not None:
        return JsonResponse({
            "detail": problem.detail[0],
            "errors": [{"pointer": f.pointer, "detail": f.detail[0]} for f in problem.faults],
        }, status=problem.status)  # fmt: skip
    return JsonResponse(answer or {"hints": []})
