"""What the pages of official forms share: where they stand, the law and table in force, files."""

from typing import Any

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.http import content_disposition_header

from agreements import clocks, submissions
from audit import clock
from audit.procedure import Procedure, Refused
from institutions.access import PortalRequest
from institutions.models import Region

HOME = {"label": "协议与接入", "url": ""}


def crumbs(*more: dict[str, str]) -> list[dict[str, str]]:
    return [HOME, {"label": "表格填报", "url": reverse("forms-list") if more else ""}, *more]


def region(request: PortalRequest) -> Region:
    if request.user.region is None:
        raise Http404
    return request.user.region


def law_here(request: PortalRequest) -> dict[str, Any]:
    """The law in force where the reader sits; empty where it prints no forms."""
    return dict(clocks.law_of(region(request), clock.today()))


def table_here(request: PortalRequest) -> Procedure | None:
    try:
        return submissions.procedure_of(region(request))
    except Refused:
        return None


def as_file(answer: HttpResponse, name: str) -> HttpResponse:
    answer["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    answer["Cache-Control"] = "private, no-store"
    return answer
