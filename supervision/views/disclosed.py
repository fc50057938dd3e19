"""Decided cases in public (违规公示): the page, CSV and JSON, without log-in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import clock
from audit.access import public
from audit.openly import csv_file, disclosed, json_file
from institutions.models import Region
from supervision import disclosures
from supervision.models import Disclosure

HEADS = ("决定书文号", "当事人", "案由", "决定日", "处理结果", "公布日", "公布期满")


def _shown(row: Disclosure) -> dict[str, str]:
    measures = "；".join(f"{each['label']}{each['size']}" for each in row.measures)
    return {
        "decision": row.decision_no, "subject": row.subject, "title": row.title,
        "decided_on": str(row.decided_on), "measures": measures, "text": row.text,
        "first_day": str(row.first_day), "last_day": str(row.last_day or "长期"),
        "kind": row.get_subject_kind_display(), "area": row.region_code,
    }  # fmt: skip


def _rows() -> list[dict[str, str]]:
    return [_shown(row) for row in disclosures.published(on=clock.today())[:500]]


@public
@disclosed
def page(request: HttpRequest) -> HttpResponse:
    """What is public today, newest first."""
    names = dict(Region.objects.values_list("code", "name"))
    rows = [row | {"place": names.get(row["area"], row["area"])} for row in _rows()]
    return render(request, "public/cases.html", {"rows": rows, "day": clock.today()})


@public
@disclosed
def csv(request: HttpRequest) -> HttpResponse:
    """The same as CSV."""
    keys = ("decision", "subject", "title", "decided_on", "measures", "first_day", "last_day")
    return csv_file(
        f"cases-{clock.today()}", HEADS, [[row[key] for key in keys] for row in _rows()]
    )


@public
@disclosed
def json(request: HttpRequest) -> HttpResponse:
    """The same as JSON."""
    return json_file({"day": str(clock.today()), "cases": _rows()})
