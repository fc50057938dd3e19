"""The paper of a finding: what was found, its picture, and every record that it rests on (疑点及证据清单)."""

import hashlib
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from audit import clock, pdf
from audit.access import requires
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.models import Region
from settlement.looks import taken
from settlement.models import Claim
from supervision.evidence import with_notes
from supervision.models import Finding, FindingClaim
from supervision.pictures import picture_of
from supervision.reports.press import STYLES
from supervision.views import findings

MOST = 500  #: claims on the paper


@requires("findings.view")
@require_GET
def paper(request: PortalRequest, pk: int) -> HttpResponse:
    """A finding as PDF with its data inside; that somebody took it is an event about each person in it."""
    rows = Finding.objects.visible_to(request.user)
    row, at = get_object_or_404(rows, pk=min(pk, findings.BIGGEST)), clock.now()
    evidence = FindingClaim.objects.visible_to(request.user).filter(finding=row)
    shown = with_notes(row.rule, evidence[:MOST])
    listed = _listed(shown)
    number, own = f"疑点 {row.pk}", request.user.institution_id
    parameters = {key: value for key, value in row.parameters.items() if not own or key != "shares"}
    content = pdf.render(
        "reports/finding.html", _context(row, listed, evidence.count(), own) | {"number": number},
        identifier=pdf.identifier_of("finding", str(row.pk), at.isoformat()), at=at,
        watermark=f"{request.user.username} {clock.local(at):%Y-%m-%d %H:%M}", styles=STYLES,
        attachments=[pdf.json_attachment("finding.json", {
            "id": row.pk, "rule": row.rule, "message": row.message, "clause": row.clause,
            "figures": row.figures, "parameters": parameters, "evidence": listed,
        }, f"{number} 的数据")],
    )  # fmt: skip
    taken(
        persons=findings.persons_of(row, shown), by=request.user.username, at=at,
        action="finding.print", subject=f"finding:{row.pk}", region_code=row.region_code,
        institution_code=row.institution_code,
        detail={"rule": row.rule, "sm3": hashlib.new("sm3", content).hexdigest()},
    )  # fmt: skip
    answer = HttpResponse(content, content_type="application/pdf")
    answer["Content-Disposition"] = f'inline; filename="finding-{row.pk}.pdf"'
    return answer


def _listed(rows: list[FindingClaim]) -> list[list[str]]:
    claims = {
        claim.pk: claim for claim in
        Claim.objects.filter(pk__in=[row.claim_id for row in rows]).defer("facts", "document")
    }  # fmt: skip
    shown = []
    for number, row in enumerate(rows, 1):
        claim = claims.get(row.claim_id)
        name = claim.claim_no if claim else str(row.claim_id)
        line = f" 第{row.line_no}行" if row.line_no else ""
        shown.append([
            str(number), f"{name}{line}", str(claim.service_date) if claim else "—",
            yuan(claim.fee) if claim else "—", row.note or "—",
        ])  # fmt: skip
    return shown


def _context(row: Finding, listed: list[list[str]], total: int, own: str | None) -> dict[str, Any]:
    region = Region.objects.get(pk=row.region_code)
    facts = [
        {"label": "发现的情况", "value": row.message}, {"label": "条款", "value": row.clause},
        {"label": "程度", "value": row.get_severity_display()},
        {"label": "状态", "value": row.get_state_display()},
        {"label": "服务日期", "value": f"{row.first_day} 至 {row.last_day}"},
        *findings.extent(row, own),
    ]  # fmt: skip
    return {
        "title": "疑点及证据清单", "issuer": f"{region.name}医疗保障局", "facts": facts,
        "figures": findings.figures_of(row), "chart": findings.distribution(row),
        "picture": picture_of(row), "rows": listed, "more": total - len(listed),
        "example": bool(row.parameters.get("example")),
        "on": f"{clock.local(clock.now()):%Y年%m月%d日}",
    }  # fmt: skip
