"""REST: an institution's own statements: list, read with the chain, confirm, object."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from institutions import openapi, shape
from institutions.money import yuan
from institutions.rest import (
    iso,
    json_answer,
    newest,
    refuse_unknown,
    wrong_parameter,
)
from settlement import statement_page, statement_steps, statements
from settlement.case_rest import CaseView
from settlement.models import Statement
from settlement.payers import PAYERS

TEXT, DAY, WHOLE = openapi.TEXT, openapi.DAY, openapi.WHOLE
AMOUNT = {"type": "string", "pattern": r"^-?\d+\.\d{2}$"}
AMOUNTS = (
    "fee", "held", "declared", "deducted", "deposit", "set_off", "assessment", "adjustments", "carried",
    "payable",
)  # fmt: skip
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "period": TEXT, "scheme": TEXT, "state": TEXT, "label": TEXT,
    "round": WHOLE, "confirm_by": openapi.or_null(DAY), "version": WHOLE, "claims": WHOLE,
    "reversals": WHOLE, "held_claims": WHOLE, **dict.fromkeys((*PAYERS, *AMOUNTS), AMOUNT), "paid": AMOUNT,
    "example_parameters": openapi.BOOL,
}  # fmt: skip
STEP = openapi.record(key=TEXT, label=TEXT, amount=AMOUNT, note=TEXT, document=TEXT, clause=TEXT)
DEDUCTION = openapi.record(
    claim_no=TEXT, line_no=openapi.or_null(WHOLE), amount=AMOUNT, reason=TEXT, note=TEXT,
    clause=TEXT, state=TEXT, answer=TEXT,
)  # fmt: skip
OBJECTION = openapi.record(round=WHOLE, reason=TEXT, claims=openapi.listed(TEXT), answer=TEXT)
STATEMENT = openapi.record(
    **SUMMARY, steps=openapi.listed(STEP), deductions=openapi.listed(DEDUCTION),
    objections=openapi.listed(OBJECTION), signed_name=TEXT, digest_sm3=TEXT,
)  # fmt: skip
STATEMENTS = openapi.record(
    results=openapi.listed(openapi.record(**SUMMARY)), next=openapi.or_null(TEXT)
)
PERIOD = OpenApiParameter("period", str, description="只列这一结算期（YYYY-MM）")


SIGNED: dict[str, dict] = {
    "signed_name": shape.text(60),
    "version": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
}
CONFIRMATION = shape.record("signed_name version", **SIGNED)
OBJECTING = shape.record(
    "signed_name version reason", **SIGNED, reason=shape.text(500),
    claims=shape.many(shape.text(40), 500),
)  # fmt: skip


class StatementsView(CaseView):
    """What the addresses of statements share: those that were sent to this institution."""

    subject = "statement"
    missing = ("没有此结算单", "no such statement")
    may = ("statements.view", "statements.confirm")

    def seen(self) -> QuerySet[Statement]:
        return statements.seen_by(self.system)

    def act(self, case: Statement, step: str, facts: dict[str, Any], version: int) -> object:
        return statement_steps.take(
            statement=case, step=step, who=self.system, by=self.by, at=self.at, facts=facts,
            version=version,
        )  # fmt: skip

    def represent(self, case: Statement) -> dict[str, Any]:
        return represent(case)


class Statements(StatementsView):
    """本机构的月结算单。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="statements_list", summary="列出已送达本机构的月结算单", tags=["statements"],
        parameters=[PERIOD, openapi.AFTER, openapi.LIMIT],
        responses=openapi.answers(s200=STATEMENTS),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "period", "after", "limit")
        month = _month(request.query_params.get("period"))
        with self.rows():
            rows = self.seen()
            part, after = newest(request, rows if month is None else rows.filter(period=month))
            paid, parts = statements.paid_of(part), statement_page.paid_by(part)
            shown = [summary(row, paid.get(row.pk, 0), parts[row.pk]) for row in part]
        return json_answer({"results": shown, "next": after})


class OneStatement(StatementsView):
    """一张月结算单：金额、各项计算与条款、扣款、异议。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="statements_read", summary="读取一张月结算单", tags=["statements"],
        responses=openapi.answers(404, s200=STATEMENT),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            return json_answer(self.represent(self.one(number)))


class Confirmation(StatementsView):
    """确认月结算单。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="statements_confirm", summary="确认月结算单：签字人和读到的版本",
        tags=["statements"], request=openapi.body(CONFIRMATION),
        responses=openapi.answers(404, 409, 415, 422, s200=STATEMENT),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "confirm", CONFIRMATION)


class Objecting(StatementsView):
    """对月结算单提出异议。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="statements_object", summary="对月结算单提出异议：理由和涉及单据号",
        tags=["statements"], request=openapi.body(OBJECTING),
        responses=openapi.answers(404, 409, 415, 422, s200=STATEMENT),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "object", OBJECTING)


def summary(row: Statement, paid: int, parts: Mapping[str, int]) -> dict[str, Any]:
    """A statement as a list shows it; `parts`: what each payer pays of what is declared."""
    return {
        "id": row.pk, "number": row.number, "period": f"{row.period:%Y-%m}", "scheme": row.scheme,
        "state": row.state, "label": statement_steps.PROCEDURE.states[row.state].label,
        "round": row.round, "confirm_by": iso(row.due), "version": row.version,
        "claims": row.claims, "reversals": row.reversals, "held_claims": row.held_claims,
        **{name: yuan(amount) for name, amount in parts.items()},
        **{name: yuan(getattr(row, name)) for name in AMOUNTS}, "paid": yuan(paid),
        "example_parameters": row.example,
    }  # fmt: skip


def represent(row: Statement) -> dict[str, Any]:
    """A statement with everything behind it."""
    paid = statements.paid_of([row]).get(row.pk, 0)
    deductions = list(row.deductions.all())
    numbers = statement_page.claim_numbers([found.claim_id for found in deductions])
    return {
        **summary(row, paid, statement_page.paid_by([row])[row.pk]),
        "steps": [
            {"key": step.key, "label": step.label, "amount": yuan(step.amount), "note": step.note,
             "document": step.clause["document"] if step.clause else "",
             "clause": step.clause["clause"] if step.clause else ""}
            for step in statement_page.steps_of(row, paid)
        ],
        "deductions": [
            {"claim_no": numbers.get(found.claim_id, ""), "line_no": found.line_no,
             "amount": yuan(found.amount), "reason": found.reason, "note": found.note,
             "clause": found.clause, "state": found.state, "answer": found.answer}
            for found in deductions
        ],
        "objections": [
            {"round": found.round, "reason": found.reason, "claims": found.claims,
             "answer": found.answer}
            for found in row.objections.all()
        ],
        "signed_name": row.signed_name, "digest_sm3": row.digest,
    }  # fmt: skip


def _month(text: str | None) -> dt.date | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(f"{text}-01")
    except ValueError:
        raise wrong_parameter("period", "应为 YYYY-MM", "expected YYYY-MM") from None


urlpatterns = [
    path("statements", Statements.as_view(), name="api-statements"),
    path("statements/<int:number>", OneStatement.as_view(), name="api-statement"),
    path(
        "statements/<int:number>/confirmation", Confirmation.as_view(), name="api-statement-confirm"
    ),
    path("statements/<int:number>/objection", Objecting.as_view(), name="api-statement-object"),
]
