"""REST: what an institution was told by supervision: cases with the papers served on it, findings."""

from typing import Any, ClassVar
from urllib.parse import quote

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from audit.procedure import PROCEDURES
from institutions import openapi
from institutions.money import yuan
from institutions.refusals import Refusal
from institutions.rest import (
    BIGGEST_ID,
    InstitutionView,
    day_of_query,
    iso,
    json_answer,
    newest,
    refuse_unknown,
)
from settlement.answer import API, moment_of
from settlement.looks import looked, taken
from settlement.systems import System
from supervision import case_papers, case_steps
from supervision.models import CasePaper, Finding, SupervisionCase

MAY = ("cases.view", "findings.view")
TEXT, DAY, WHOLE = openapi.TEXT, openapi.DAY, openapi.WHOLE
AMOUNT = {"type": "string", "pattern": r"^\d+\.\d{2}$"}
DAY_OR_NONE = openapi.or_null(DAY)
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "title": TEXT, "state": TEXT, "label": TEXT, "subject": TEXT,
    "acted_from": DAY, "acted_until": DAY, "told_on": DAY_OR_NONE, "decided_on": DAY_OR_NONE,
    "final_on": DAY_OR_NONE, "answer_by": DAY_OR_NONE, "answer_clause": TEXT, "loss": AMOUNT,
}  # fmt: skip
PAPER = openapi.record(
    id=WHOLE, kind=TEXT, name=TEXT, number=TEXT, made_on=DAY, served_on=DAY_OR_NONE, sm3=TEXT,
    pdf=TEXT,
)  # fmt: skip
CASE = openapi.record(**SUMMARY, statement=TEXT, papers=openapi.listed(PAPER))
CASES = openapi.record(
    results=openapi.listed(openapi.record(**SUMMARY)), next=openapi.or_null(TEXT)
)
FINDING = openapi.record(
    id=WHOLE, rule=TEXT, message=TEXT, clause=TEXT, severity=WHOLE, subject=TEXT, first_day=DAY,
    last_day=DAY, claims=openapi.listed(TEXT), fee=AMOUNT, fund=AMOUNT, reason=TEXT,
    decided_at=openapi.MOMENT,
)  # fmt: skip
FINDINGS = openapi.record(results=openapi.listed(FINDING), next=openapi.or_null(TEXT))
SINCE = OpenApiParameter("since", OpenApiTypes.DATE, description="只列这一天及以后认定的")
SHOWN_CLAIMS = 100  #: claims of a finding that an answer names


class ToldView(InstitutionView):
    """What the addresses share; every answer is about the institution of the token."""

    http_method_names = ["get"]
    required_scopes: ClassVar[list[str]] = ["claims:read", "claims:read"]

    def cases(self) -> Any:
        """The cases that the institution was told of."""
        return SupervisionCase.objects.visible_to(System(self.client, MAY))

    def one(self, number: int) -> SupervisionCase:
        """One of them; Refusal (404) without it."""
        found = self.cases().filter(pk=min(number, BIGGEST_ID)).first()
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此案件", "no such case"))
        return found


class Cases(ToldView):
    """已告知本机构的监管案件。"""

    @extend_schema(
        operation_id="supervision_cases_list", summary="列出已告知本机构的监管案件",
        tags=["supervision"], parameters=[openapi.AFTER, openapi.LIMIT],
        responses=openapi.answers(s200=CASES),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "after", "limit")
        with self.rows():
            part, after = newest(request, self.cases())
        return json_answer({"results": [summary(row) for row in part], "next": after})


class OneCase(ToldView):
    """一个案件：状态、期限、本机构的陈述申辩和送达的文书。"""

    @extend_schema(
        operation_id="supervision_cases_read", summary="读取一个监管案件及送达本机构的文书目录",
        tags=["supervision"], responses=openapi.answers(404, s200=CASE),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            row = self.one(number)
            looked(
                persons=[row.person_id], by=self.by, at=self.at, action="supervisioncase.read",
                subject=row.subject, region_code=row.region_code,
                institution_code=row.institution_code,
            )  # fmt: skip
            papers = [
                _paper(one)
                for one in case_papers.of_party(row.papers.all()).select_related("receipt")
            ]
        return json_answer({**summary(row), "statement": row.statement, "papers": papers})


class Paper(ToldView):
    """送达的文书，PDF；每次下载都留痕。"""

    @extend_schema(
        operation_id="supervision_cases_paper", summary="下载送达本机构的一份监管文书（PDF）",
        tags=["supervision"],
        responses=openapi.answers(404) | {(200, "application/pdf"): OpenApiTypes.BINARY},
    )  # fmt: skip
    def get(self, request: Request, number: int, paper: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            case = self.one(number)
            row = (
                case_papers.of_party(case.papers.all())
                .select_related("case")
                .filter(pk=min(paper, BIGGEST_ID))
                .first()
            )
            if row is None:
                raise Refusal(404, "NOT_FOUND", ("没有此文书", "no such paper"))
            taken(
                persons=[case.person_id], by=self.by, at=self.at, action="supervisioncase.print",
                subject=case.subject, region_code=case.region_code, institution_code=case.institution_code,
                detail={"paper": row.number, "sm3": row.digest},
            )  # fmt: skip
            content = case_papers.pdf_of(row)
        return pdf_answer(content, row.number)


class Findings(ToldView):
    """查实并告知本机构的审核疑点，未告知的不列出。"""

    @extend_schema(
        operation_id="findings_list", summary="列出查实并告知本机构的审核疑点",
        tags=["supervision"], parameters=[SINCE, openapi.AFTER, openapi.LIMIT],
        responses=openapi.answers(s200=FINDINGS),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "since", "after", "limit")
        since = day_of_query(request, "since")
        with self.rows():
            rows = Finding.objects.visible_to(System(self.client, MAY))
            rows = rows.filter(decided_at__date__gte=since) if since else rows
            part, after = newest(request, rows.prefetch_related("evidence"))
            shown = [_finding(row, self.client.institution) for row in part]
        return json_answer({"results": shown, "next": after})


def summary(row: SupervisionCase) -> dict[str, Any]:
    """A case as a list shows it."""
    state = PROCEDURES[row.procedure].states[row.state]
    asked = state.holder == case_steps.ANSWER
    return {
        "id": row.pk, "number": row.number, "title": row.title, "state": row.state,
        "label": state.label, "subject": row.subject_name, "acted_from": iso(row.acted_from),
        "acted_until": iso(row.acted_until), "told_on": iso(row.told_on),
        "decided_on": iso(row.decided_on), "final_on": iso(row.final_on),
        "answer_by": iso(row.due) if asked else None,
        "answer_clause": row.due_clause if asked else "", "loss": yuan(row.loss),
    }  # fmt: skip


def _paper(row: CasePaper) -> dict[str, Any]:
    receipt = getattr(row, "receipt", None)
    return {
        "id": row.pk, "kind": row.kind, "name": row.get_kind_display(), "number": row.number,
        "made_on": iso(row.made_on), "served_on": iso(receipt.made_on) if receipt else None,
        "sm3": row.digest, "pdf": f"{API}/supervision-cases/{row.case_id}/papers/{row.pk}",
    }  # fmt: skip


def _finding(row: Finding, code: str) -> dict[str, Any]:
    own = row.evidence.filter(institution_code=code).order_by("claim_id")
    claims = own.values_list("claim_id", flat=True).distinct()[:SHOWN_CLAIMS]
    _, fee, fund = row.share_of(code)
    return {
        "id": row.pk, "rule": row.rule, "message": row.message, "clause": row.clause,
        "severity": row.severity, "subject": row.get_subject_kind_display(),
        "first_day": iso(row.first_day), "last_day": iso(row.last_day),
        "claims": [f"{API}/claims/{claim}" for claim in claims],
        "fee": yuan(fee), "fund": yuan(fund), "reason": row.reason,
        "decided_at": moment_of(row.decided_at) if row.decided_at else None,
    }  # fmt: skip


def pdf_answer(content: bytes, name: str) -> HttpResponse:
    """A PDF that no cache keeps."""
    answer = HttpResponse(content, content_type="application/pdf")
    answer["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.pdf"
    answer["Cache-Control"] = "no-store"
    return answer


urlpatterns = [
    path("supervision-cases", Cases.as_view(), name="api-supervision-cases"),
    path("supervision-cases/<int:number>", OneCase.as_view(), name="api-supervision-case"),
    path("supervision-cases/<int:number>/papers/<int:paper>", Paper.as_view(),
         name="api-supervision-paper"),
    path("findings", Findings.as_view(), name="api-findings"),
]  # fmt: skip
