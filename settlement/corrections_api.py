"""REST: reconciliation of a hospital's ledger, and outages whose services are uploaded afterwards."""

import datetime as dt
import re

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from institutions.models import Institution
from institutions.money import yuan
from institutions.openapi import DAY, MOMENT, TEXT, WHOLE, answers, body, file_body, listed, or_null
from institutions.openapi import record as described
from institutions.refusals import Refusal, refused
from institutions.rest import body_of, file_of, json_answer
from institutions.shape import checked, read_json, record, text
from settlement import hospital_ledgers, openapi, outages, reconciliation
from settlement.answer import moment_of
from settlement.api import ClaimsView
from settlement.contract import TIME
from settlement.models import Discrepancy, HospitalLedger, Outage

API = "/api/v1"
MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
LISTED, DIFFERENCES_SHOWN = 100, 10_000
LEDGER_BODY = file_body(
    period={"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$", "description": "结算期 / month"},
    match={"type": "boolean", "description": "无错误时立即对账 / compare at once when sound"},
)
DIFFERENCE = described(
    kind={"enum": Discrepancy.Kind.values}, kind_label=TEXT, claim_no=TEXT, line_no=WHOLE,
    claim_no_theirs=or_null(TEXT), row=or_null(WHOLE), service_date=DAY, fee_ours=openapi.MAYBE_YUAN,
    fee_theirs=openapi.MAYBE_YUAN, fund_ours=openapi.MAYBE_YUAN, fund_theirs=openapi.MAYBE_YUAN,
    state_ours=TEXT, state_theirs=TEXT, resolution=or_null(TEXT), reason=or_null(TEXT),
)  # fmt: skip
LEDGER: dict[str, dict] = {
    "id": WHOLE, "period": TEXT, "state": {"enum": HospitalLedger.State.values},
    "state_label": TEXT, "file_name": TEXT, "file_sm3": TEXT, "rows": WHOLE,
    "errors": listed({"type": "object"}), "totals": {"type": "object"},
    "differences": listed(DIFFERENCE), "links": described(self=TEXT),
}  # fmt: skip
OUTAGE = record("began ended reason", began=TIME, ended=TIME, reason=text(200))
OUTAGE_ANSWER = described(
    id=WHOLE, began=MOMENT, ended=MOMENT, reason=TEXT, state={"enum": Outage.State.values},
    state_label=TEXT, upload_due=or_null(MOMENT), clause=TEXT,
)  # fmt: skip


def _yuan(value: int | dict[str, int]) -> str | dict[str, str]:
    """An amount, or what the hospital has of each scheme."""
    return yuan(value) if isinstance(value, int) else {k: yuan(v) for k, v in value.items()}


def represent(found: HospitalLedger) -> dict:
    """A ledger as the API shows it; amounts as decimal strings."""
    counts = ("rows_ours", "different")
    sums = {k: v if k in counts else _yuan(v) for k, v in found.totals.items()}
    rows = found.differences.all()[:DIFFERENCES_SHOWN]
    return {
        "id": found.pk, "period": f"{found.period:%Y-%m}", "state": found.state,
        "state_label": found.get_state_display(), "file_name": found.file_name,
        "file_sm3": found.file_sm3, "rows": found.rows, "errors": found.errors, "totals": sums,
        "differences": [_difference(row) for row in rows],
        "links": {"self": f"{API}/reconciliations/{found.pk}"},
    }  # fmt: skip


def _difference(row: Discrepancy) -> dict:
    amounts = ("fee_ours", "fee_theirs", "fund_ours", "fund_theirs")
    values = {name: getattr(row, name) for name in amounts}
    return {
        "kind": row.kind, "kind_label": row.get_kind_display(), "claim_no": row.claim_no,
        "line_no": row.line_no, "claim_no_theirs": row.claim_no_theirs or None, "row": row.row,
        "service_date": row.service_date.isoformat(),
        **{name: None if value is None else yuan(value) for name, value in values.items()},
        "state_ours": row.state_ours, "state_theirs": row.state_theirs,
        "resolution": row.resolution or None, "reason": row.reason or None,
    }  # fmt: skip


class Reconciliations(ClaimsView):
    """上传机构对账明细；列出本机构的对账。"""

    def get_parsers(self) -> list:
        return [MultiPartParser()]

    @extend_schema(
        operation_id="reconciliations_create", summary="上传一个结算期的明细，核对每一行，与中心账对账",
        tags=["reconciliations"], request=LEDGER_BODY,
        responses=answers(409, 413, 415, 422, s200=described(**LEDGER), s201=described(**LEDGER)),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """201 with a sound ledger, 200 with one that has row errors (no row is kept)."""
        self.begin(request)
        try:
            name, content = file_of(request, most=hospital_ledgers.MAX_BYTES)
            period = month_asked(request.POST.get("period", ""))
            with self.rows():
                place = Institution.objects.get(pk=self.institution.code)
                found = reconciliation.check(
                    institution=place, period=period, file_name=name, content=content, by=self.by,
                    at=self.at,
                )  # fmt: skip
                if not found.errors and request.POST.get("match", "") == "true":
                    found = reconciliation.match(ledger=found, by=self.by, at=self.at)
                return json_answer(represent(found), 200 if found.errors else 201)
        except Refusal as refusal:
            self.refused("ledger.check", "ledger", refusal)
            raise

    @extend_schema(
        operation_id="reconciliations_list", summary="列出本机构的对账", tags=["reconciliations"],
        responses=answers(s200={"type": "object", "required": ["reconciliations"]}),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        with self.rows():
            rows = HospitalLedger.objects.filter(institution_code=self.institution.code)[:LISTED]
            found = [represent(row) | {"differences": []} for row in rows]
        return json_answer({"reconciliations": found})


class OneReconciliation(ClaimsView):
    """一次对账：合计、差异及其处理。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="reconciliations_read", tags=["reconciliations"],
        responses=answers(s200=described(**LEDGER)),
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            return json_answer(represent(self.ledger(pk)))

    def ledger(self, pk: int) -> HospitalLedger:
        """A ledger of the token's institution; Refusal (404) for any other."""
        found = HospitalLedger.objects.filter(
            institution_code=self.institution.code, pk=min(pk, 2**63 - 1)
        ).first()
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此对账", "no such reconciliation"))
        return found


class MatchReconciliation(OneReconciliation):
    """确认一份无错误的明细并对账。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="reconciliations_match", tags=["reconciliations"], request=None,
        responses=answers(409, s200=described(**LEDGER)),
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> HttpResponse:
        self.begin(request)
        try:
            with self.rows():
                found = reconciliation.match(ledger=self.ledger(pk), by=self.by, at=self.at)
                return json_answer(represent(found))
        except Refusal as refusal:
            self.refused("ledger.match", f"ledger:{pk}", refusal)
            raise


class Outages(ClaimsView):
    """报告线路中断（断网）；列出本机构的报告和补传截止时间。"""

    @extend_schema(
        operation_id="outages_create", summary="报告一次已恢复的断网，经确认后限期补传",
        tags=["reconciliations"], request=body(OUTAGE),
        responses=answers(409, 415, 422, s201=OUTAGE_ANSWER),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        self.begin(request)
        try:
            given = checked(read_json(body_of(request)), OUTAGE)
            with self.rows():
                made = outages.report(
                    institution=Institution.objects.get(pk=self.institution.code),
                    began=dt.datetime.fromisoformat(given["began"]),
                    ended=dt.datetime.fromisoformat(given["ended"]), reason=given["reason"],
                    by=self.by, at=self.at,
                )  # fmt: skip
                return json_answer(outage_answer(made), 201)
        except Refusal as refusal:
            self.refused("outage.report", "outage", refusal)
            raise

    @extend_schema(
        operation_id="outages_list", summary="列出本机构的断网报告", tags=["reconciliations"],
        responses=answers(s200=described(outages=listed(OUTAGE_ANSWER))),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        with self.rows():
            rows = Outage.objects.filter(institution_code=self.institution.code)[:LISTED]
            return json_answer({"outages": [outage_answer(row) for row in rows]})


def outage_answer(row: Outage) -> dict:
    """An outage as the API shows it."""
    return {
        "id": row.pk, "began": moment_of(row.began), "ended": moment_of(row.ended),
        "reason": row.reason, "state": row.state, "state_label": row.get_state_display(),
        "upload_due": moment_of(row.upload_due) if row.upload_due else None, "clause": row.clause,
    }  # fmt: skip


def month_asked(given: str) -> dt.date:
    """The first day of a month `YYYY-MM`; Refusal (422) for anything else."""
    try:
        if MONTH.fullmatch(given):
            return dt.date.fromisoformat(f"{given}-01")
    except ValueError:
        pass
    raise refused("period", "PERIOD", "结算期应为 YYYY-MM", "expected a month YYYY-MM")


urlpatterns = [
    path("reconciliations", Reconciliations.as_view(), name="api-reconciliations"),
    path("reconciliations/<int:pk>", OneReconciliation.as_view(), name="api-reconciliation"),
    path(
        "reconciliations/<int:pk>/match", MatchReconciliation.as_view(),
        name="api-reconciliation-match",
    ),
    path("outages", Outages.as_view(), name="api-outages"),
]  # fmt: skip
