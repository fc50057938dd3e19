"""Files of a statement that leave the portal: the form that both sides sign, its lines; each an event."""

import hashlib
from typing import Any
from urllib.parse import quote

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET

from audit import clock, sheets, trail
from audit.access import requires
from institutions.access import PortalRequest
from settlement import statement_page, statement_paper
from settlement.views.statements import visible


@requires("statements.view")
@require_GET
def paper(request: PortalRequest, pk: int) -> HttpResponse:
    """The statement as the form that both sides sign."""
    row = visible(request, pk)
    at = clock.now()
    content = statement_paper.render(row, by=request.user.username, at=at)
    trail.record(
        by=request.user.username, at=at, action="statement.paper", subject=row.subject,
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"state": row.state, "edition": row.edition,
                "sm3": hashlib.new("sm3", content).hexdigest()},
    )  # fmt: skip
    return _as_file(HttpResponse(content, content_type="application/pdf"), f"{row.number}.pdf")


@requires("statements.view")
@require_GET
def export(request: PortalRequest, pk: int, ending: str) -> HttpResponse | StreamingHttpResponse:
    """The lines as CSV (streamed) or XLSX."""
    row = visible(request, pk)
    only = request.GET.get("only", "")
    rows = statement_page.export_rows(row, only if only in statement_page.ONLY else "")
    trail.record(
        by=request.user.username, at=clock.now(), action="statement.export", subject=row.subject,
        region_code=row.region_code, institution_code=row.institution_code, detail={"format": ending},
    )  # fmt: skip
    answer: HttpResponse | StreamingHttpResponse
    if ending == "csv":
        lines = sheets.csv_lines(statement_page.LINES_HEAD, list(rows))
        answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    elif ending == "xlsx":
        content = sheets.workbook(row.number, statement_page.LINES_HEAD, rows)
        answer = HttpResponse(content, content_type=sheets.XLSX)
    else:
        raise Http404
    return _as_file(answer, f"{row.number}-明细.{ending}")


def _as_file(answer: Any, name: str) -> Any:
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    return answer
