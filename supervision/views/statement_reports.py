"""The kept PDF reports of a month's statement: a panel of the statement's page, loaded by its address."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from audit import clock
from audit.access import requires
from institutions.access import PortalRequest
from institutions.handbook import words_of
from institutions.naming import Login, named
from institutions.refusals import Refusal
from settlement import statements
from settlement.detail import moment
from settlement.models import Statement
from supervision.models import ReportOrder
from supervision.report_views import TONES
from supervision.reports import orders
from supervision.reports.wish import Wish

KIND = "statement"
MOST = 10  #: reports of one statement that the panel lists


@requires("reports.view")
@require_GET
def panel(request: PortalRequest, pk: int) -> HttpResponse:
    """The newest reports of a statement, each with its file, and the button that makes one."""
    row = _visible(request, pk)
    rows = ReportOrder.objects.visible_to(request.user).filter(
        kind=KIND, institution_code=row.institution_code, parameters__subject=str(row.pk)
    )
    return render(request, "supervision/statement_reports.html", named({
        "reports": [_shown(one) for one in rows.defer("document")[:MOST]],
        "make": reverse("statement-report-new", args=[row.pk])
        if request.user.may("reports.make") else "",
    }))  # fmt: skip


def _shown(row: ReportOrder) -> dict[str, Any]:
    done = row.state == ReportOrder.State.DONE
    return {
        "number": row.number, "url": reverse("report", args=[row.pk]), "at": moment(row.asked_at),
        "who": Login(row.asked_by), "pages": row.pages if done else 0,
        "pdf": reverse("report-file", args=[row.pk]) if done else "",
        "state": row.get_state_display(), "tone": TONES[ReportOrder.State(row.state)],
    }  # fmt: skip


@requires("reports.make")
@require_POST
def make(request: PortalRequest, pk: int) -> HttpResponse:
    """Have the report of a statement made."""
    row = _visible(request, pk)
    wish = Wish(since=row.period, until=row.period, region=row.region_code,
                institution=row.institution_code, subject=str(row.pk))  # fmt: skip
    try:
        order = orders.order(
            kind=KIND, wish=wish, user=request.user, by=request.user.username, at=clock.now()
        )
    except Refusal as refusal:
        messages.error(request, f"{words_of(refusal)}。")
        return redirect("statement", pk=row.pk)
    messages.success(request, "已开始编制，完成后可在本页下载。")
    return redirect("report", pk=order.pk)


def _visible(request: PortalRequest, pk: int) -> Statement:
    rows = statements.seen_by(request.user)
    return get_object_or_404(rows, pk=min(pk, 2**63 - 1))
