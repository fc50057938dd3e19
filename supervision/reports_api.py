"""REST for the systems of bureaus and auditors: reports as PDF and JSON, monthly reports read and moved."""

import datetime as dt
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from audit.procedure import PROCEDURES, Refused
from institutions import openapi, shape
from institutions.refusals import Refusal
from institutions.rest import (
    BIGGEST_ID,
    OfficeView,
    iso,
    json_answer,
    newest,
    refuse_unknown,
    wrong_parameter,
)
from institutions.shape import day as day_of
from settlement.answer import API, moment_of
from settlement.case_rest import OfficeCaseView
from supervision import monthly
from supervision.models import MonthlyReport, ReportOrder
from supervision.reports import orders, press
from supervision.reports.kinds import KINDS
from supervision.told_api import pdf_answer

Kept = TypeVar("Kept")
TEXT, DAY, WHOLE = openapi.TEXT, openapi.DAY, openapi.WHOLE
TEXT_OR_NONE = openapi.or_null(TEXT)
REPORT = openapi.record(
    id=WHOLE, number=TEXT, kind=TEXT, title=TEXT, since=DAY, until=DAY, region=TEXT,
    institution=TEXT_OR_NONE, pages=WHOLE, made_at=openapi.MOMENT, sm3=TEXT, content_sm3=TEXT,
    checkpoint=openapi.or_null(WHOLE), pdf=TEXT, data=TEXT,
)  # fmt: skip
REPORTS = openapi.record(results=openapi.listed(REPORT), next=TEXT_OR_NONE)
MONTHLY: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "region": TEXT, "to_region": TEXT, "month": TEXT, "state": TEXT,
    "label": TEXT, "version": WHOLE, "due": openapi.or_null(DAY),
    "submitted_at": openapi.or_null(openapi.MOMENT),
    "received_at": openapi.or_null(openapi.MOMENT), "sm3": TEXT,
}  # fmt: skip
MONTHLIES = openapi.record(
    results=openapi.listed(openapi.record(**MONTHLY)), next=openapi.or_null(TEXT)
)
ONE_MONTHLY = openapi.record(**MONTHLY, figures={"type": "object"})
SIGNED: dict[str, dict] = {
    "version": {"type": "integer", "minimum": 1, "maximum": 2**15 - 1},
    "signed_by": shape.text(150),
}
NOTE = shape.text(400)
SUBMITTING = shape.record("version signed_by", **SIGNED, note=NOTE)
RECEIVING = shape.record("version signed_by", **SIGNED)
RETURNING = shape.record("version signed_by note", **SIGNED, note=NOTE)
OFFERED = [kind.key for kind in KINDS.values() if kind.to_systems]
KIND = OpenApiParameter("kind", str, description="只列这一种报告", enum=OFFERED)
MONTH = OpenApiParameter("month", str, description="只列这一月份（YYYY-MM）")


class ReportsView(OfficeView):
    """What the addresses of reports share."""

    def finished(self) -> QuerySet[ReportOrder]:
        """Finished reports of the office's regions, of the kinds that go to systems."""
        rows = ReportOrder.objects.visible_to(self.office).filter(
            state=ReportOrder.State.DONE, kind__in=OFFERED
        )
        return rows.defer("document").select_related("report__checkpoint")

    def one(self, number: int) -> Any:
        """A finished report; Refusal (404) without it."""
        found = self.finished().filter(pk=min(number, BIGGEST_ID)).first()
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此报告", "no such report"))
        return found

    def taken(self, number: int, read: Callable[[ReportOrder], Kept]) -> tuple[ReportOrder, Kept]:
        """A finished report and what `read` gives of it; either that or its refusal (409) is an event."""
        with self.rows():
            row = self.one(number)
            try:
                content = read(row)
            except Refusal as refusal:
                changed = refusal
                orders.found_changed(row, refusal, by=self.by, at=self.at)
            else:
                orders.opened(row, by=self.by, at=self.at)
                return row, content
        raise changed  # after the event is kept


class Reports(ReportsView):
    """本区域已完成的监督报告。"""

    @extend_schema(
        operation_id="reports_list", summary="列出本区域已完成的监督报告", tags=["reports"],
        parameters=[KIND, openapi.AFTER, openapi.LIMIT],
        responses=openapi.answers(s200=REPORTS),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "kind", "after", "limit")
        kind = request.query_params.get("kind")
        if kind is not None and kind not in OFFERED:
            raise wrong_parameter("kind", f"应为 {'、'.join(OFFERED)} 之一", "no such kind")
        with self.rows():
            rows = self.finished()
            part, after = newest(request, rows.filter(kind=kind) if kind else rows)
        return json_answer({"results": [_report(row) for row in part], "next": after})


class ReportFile(ReportsView):
    """报告正式文本（PDF）；下载留痕。"""

    @extend_schema(
        operation_id="reports_pdf", summary="下载一份监督报告的正式文本（PDF）", tags=["reports"],
        responses=openapi.answers(404, 409) | {(200, "application/pdf"): OpenApiTypes.BINARY},
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        row, content = self.taken(number, orders.file_of)
        return pdf_answer(content, row.number)


class ReportData(ReportsView):
    """报告的数据（与 PDF 内嵌的一致）；下载留痕。"""

    @extend_schema(
        operation_id="reports_data", summary="下载一份监督报告的数据（JSON，与PDF内嵌数据一致）",
        tags=["reports"], responses=openapi.answers(404, 409, s200={"type": "object"}),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        _, document = self.taken(number, orders.content_of)
        return json_answer(press.canonical(document))


class MonthlyView(OfficeCaseView):
    """What the addresses of monthly reports share: the own ones, and those submitted from below."""

    http_method_names = ["get"]
    subject = "monthlyreport"
    missing = ("没有此月报", "no such monthly report")
    may: ClassVar[tuple[str, ...]] = (monthly.VIEW, monthly.SUBMIT, monthly.RECEIVE)

    def seen(self) -> QuerySet[MonthlyReport]:
        return MonthlyReport.objects.visible_to(self.office)

    def act(self, case: MonthlyReport, step: str, facts: dict[str, Any], version: int) -> object:
        if version != case.latest:
            raise Refused(409, "CASE_MOVED", f"月报已是第{case.latest}版，请重新读取后办理")
        return monthly.take(
            report=case, step=step, who=self.system, by=self.by, at=self.at, version=case.version,
            **facts,
        )  # fmt: skip

    def represent(self, case: MonthlyReport) -> dict[str, Any]:
        return {**monthly_summary(case), "figures": monthly.current(case).figures}


class MonthlyReports(MonthlyView):
    """本级的监管月报和下级已报送的监管月报。"""

    @extend_schema(
        operation_id="monthly_reports_list", summary="列出本级和下级已报送的监管月报",
        tags=["reports"], parameters=[MONTH, openapi.AFTER, openapi.LIMIT],
        responses=openapi.answers(s200=MONTHLIES),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "month", "after", "limit")
        text = request.query_params.get("month")
        with self.rows():
            rows = self.seen()
            rows = rows.filter(month=_month(text)) if text is not None else rows
            part, after = newest(request, rows)
            shown = [monthly_summary(row) for row in part]
        return json_answer({"results": shown, "next": after})


class OneMonthlyReport(MonthlyView):
    """一份监管月报：状态、版本和各项数据。"""

    @extend_schema(
        operation_id="monthly_reports_read", summary="读取一份监管月报的数据", tags=["reports"],
        responses=openapi.answers(404, s200=ONE_MONTHLY),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            return json_answer(self.represent(self.one(number)))


class Submission(MonthlyView):
    """复核并报送本级的监管月报。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="monthly_reports_submit", tags=["reports"],
        summary="报送本级监管月报：读到的版本、复核签发人（不能是编制人）和报送说明",
        request=openapi.body(SUBMITTING),
        responses=openapi.answers(404, 409, 415, 422, s200=ONE_MONTHLY),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "submit", SUBMITTING)


class Receipt(MonthlyView):
    """接收下级报送的监管月报。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="monthly_reports_receive", tags=["reports"],
        summary="接收下级监管月报：读到的版本和签发人", request=openapi.body(RECEIVING),
        responses=openapi.answers(404, 409, 415, 422, s200=ONE_MONTHLY),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "receive", RECEIVING)


class Return(MonthlyView):
    """写明理由退回下级的监管月报。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="monthly_reports_return", tags=["reports"],
        summary="退回下级监管月报：读到的版本、签发人和退回理由", request=openapi.body(RETURNING),
        responses=openapi.answers(404, 409, 415, 422, s200=ONE_MONTHLY),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "return", RETURNING)


def _month(text: str) -> dt.date:
    found = day_of(f"{text}-01") if len(text) == len("2021-01") else None
    if found is None:
        raise wrong_parameter("month", "应为月份 YYYY-MM", "expected a month YYYY-MM")
    return found


def _report(row: Any) -> dict[str, Any]:
    made = row.report
    return {
        "id": row.pk, "number": row.number, "kind": row.kind, "title": row.title,
        "since": row.parameters["since"], "until": row.parameters["until"],
        "region": row.region_code, "institution": row.institution_code or None,
        "pages": row.pages, "made_at": moment_of(made.at), "sm3": made.sm3,
        "content_sm3": made.content_sm3,
        "checkpoint": made.checkpoint.size if made.checkpoint else None,
        "pdf": f"{API}/reports/{row.pk}/pdf", "data": f"{API}/reports/{row.pk}/data",
    }  # fmt: skip


def monthly_summary(row: MonthlyReport) -> dict[str, Any]:
    """A monthly report as a list shows it."""
    return {
        "id": row.pk, "number": row.number, "region": row.region_code, "to_region": row.to_region,
        "month": f"{row.month:%Y-%m}", "state": row.state,
        "label": PROCEDURES[monthly.TABLE].states[row.state].label, "version": row.latest,
        "due": iso(row.due),
        "submitted_at": moment_of(row.submitted_at) if row.submitted_at else None,
        "received_at": moment_of(row.received_at) if row.received_at else None,
        "sm3": monthly.current(row).digest,
    }  # fmt: skip


urlpatterns = [
    path("reports", Reports.as_view(), name="api-reports"),
    path("reports/<int:number>/pdf", ReportFile.as_view(), name="api-report-pdf"),
    path("reports/<int:number>/data", ReportData.as_view(), name="api-report-data"),
    path("monthly-reports", MonthlyReports.as_view(), name="api-monthly-reports"),
    path("monthly-reports/<int:number>", OneMonthlyReport.as_view(), name="api-monthly-report"),
    path(
        "monthly-reports/<int:number>/submission", Submission.as_view(), name="api-monthly-submit"
    ),
    path("monthly-reports/<int:number>/receipt", Receipt.as_view(), name="api-monthly-receive"),
    path("monthly-reports/<int:number>/return", Return.as_view(), name="api-monthly-return"),
]
