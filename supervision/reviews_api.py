"""REST: fee reviews of an institution's own claims: list, read, supply material, accept, object."""

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
from settlement.answer import API, moment_of
from settlement.case_rest import CaseView
from supervision import review_steps, reviews
from supervision.models import Review, ReviewLine

STATES = review_steps.PROCEDURE.states
TEXT, DAY, WHOLE = openapi.TEXT, openapi.DAY, openapi.WHOLE
AMOUNT = {"type": "string", "pattern": r"^\d+\.\d{2}$"}
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "claim_no": TEXT, "claim": TEXT, "service_date": DAY,
    "state": TEXT, "label": TEXT, "version": WHOLE, "answer_by": openapi.or_null(DAY),
    "answer_clause": TEXT, "fee": AMOUNT, "cut": AMOUNT, "example_parameters": openapi.BOOL,
}  # fmt: skip
LINE = openapi.record(
    line_no=WHOLE, item_code=TEXT, kind=TEXT, fee=AMOUNT, verdict=openapi.or_null(TEXT), cut=AMOUNT,
    category=openapi.or_null(TEXT), note=TEXT, clause=TEXT,
)  # fmt: skip
REPLY = openapi.record(kind=TEXT, text=TEXT, at=TEXT, answer=TEXT)
REVIEW = openapi.record(
    **SUMMARY, asked=TEXT, lines=openapi.listed(LINE), replies=openapi.listed(REPLY)
)
REVIEWS = openapi.record(
    results=openapi.listed(openapi.record(**SUMMARY)), next=openapi.or_null(TEXT)
)
STATE = OpenApiParameter("state", str, description="只列这一状态", enum=list(STATES))

VERSION = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
SIGNED: dict[str, dict] = {"signed_name": shape.text(60), "version": VERSION}
ACCEPTING = shape.record("signed_name version", **SIGNED)
OBJECTING = shape.record("signed_name version reason", **SIGNED, reason=shape.text(500))
SUPPLYING = shape.record("version text", version=VERSION, text=shape.text(500))


class ReviewsView(CaseView):
    """What the addresses of reviews share: those that this institution was asked or told about."""

    subject = "review"
    missing = ("没有此审核", "no such review")
    may = ("reviews.view", "reviews.object")

    def seen(self) -> QuerySet[Review]:
        return reviews.seen_by(self.system)

    def act(self, case: Review, step: str, facts: dict[str, Any], version: int) -> object:
        return review_steps.take(
            case=case, step=step, who=self.system, by=self.by, at=self.at, facts=facts,
            version=version,
        )  # fmt: skip

    def represent(self, case: Review) -> dict[str, Any]:
        return represent(case)


class Reviews(ReviewsView):
    """本机构单据的费用审核。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="reviews_list", summary="列出已告知本机构的费用审核", tags=["reviews"],
        parameters=[STATE, openapi.AFTER, openapi.LIMIT], responses=openapi.answers(s200=REVIEWS),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "state", "after", "limit")
        state = request.query_params.get("state")
        if state is not None and state not in STATES:
            raise wrong_parameter("state", f"应为 {'、'.join(STATES)} 之一", "no such state")
        with self.rows():
            rows = self.seen()
            part, after = newest(request, rows.filter(state=state) if state else rows)
            shown = [summary(row) for row in part]
        return json_answer({"results": shown, "next": after})


class OneReview(ReviewsView):
    """一张单据的费用审核：各项意见与依据、期限、说明与答复。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="reviews_read", summary="读取一张单据的费用审核", tags=["reviews"],
        responses=openapi.answers(404, s200=REVIEW),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            return json_answer(self.represent(self.one(number)))


class Acceptance(ReviewsView):
    """对审核意见无异议。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="reviews_accept", summary="确认审核意见：签字人和读到的版本",
        tags=["reviews"], request=openapi.body(ACCEPTING),
        responses=openapi.answers(404, 409, 415, 422, s200=REVIEW),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "accept", ACCEPTING)


class Objection(ReviewsView):
    """对审核意见提出申诉。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="reviews_object", summary="对审核意见提出申诉：理由、提出人和读到的版本",
        tags=["reviews"], request=openapi.body(OBJECTING),
        responses=openapi.answers(404, 409, 415, 422, s200=REVIEW),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "object", OBJECTING)


class Supplement(ReviewsView):
    """补充审核所需材料的说明。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="reviews_supply", summary="补充材料说明（文件由就诊凭据接口上传）",
        tags=["reviews"], request=openapi.body(SUPPLYING),
        responses=openapi.answers(404, 409, 415, 422, s200=REVIEW),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        return self.take(request, number, "supply", SUPPLYING)


def summary(row: Review) -> dict[str, Any]:
    """A review as a list shows it."""
    return {
        "id": row.pk, "number": row.number, "claim_no": row.claim_no,
        "claim": f"{API}/claims/{row.claim_id}", "service_date": iso(row.service_date),
        "state": row.state, "label": STATES[row.state].label, "version": row.version,
        "answer_by": iso(row.due), "answer_clause": row.due_clause, "fee": yuan(row.fee),
        "cut": yuan(row.cut if told(row) else 0), "example_parameters": row.example,
    }  # fmt: skip


def represent(row: Review) -> dict[str, Any]:
    """A review with its lines, once told, and what was said of it."""
    return {
        **summary(row), "asked": _asked(row),
        "lines": [_line(line, told(row)) for line in row.lines.all()],
        "replies": [
            {"kind": one.kind, "text": one.text, "at": moment_of(one.made_at), "answer": one.answer}
            for one in row.replies.all()
        ],
    }  # fmt: skip


def told(row: Review) -> bool:
    """Whether the institution may read the verdicts: not before they were decided."""
    return row.state in reviews.DECIDED


def _asked(row: Review) -> str:
    """What the reviewer asked for, while it is awaited."""
    if row.state != "returned":
        return ""
    found = review_steps.last_move(row, "return")
    return found.note if found else ""


def _line(row: ReviewLine, shown: bool) -> dict[str, Any]:
    adverse = shown and row.verdict in reviews.ADVERSE
    return {
        "line_no": row.line_no, "item_code": row.item_code, "kind": row.kind, "fee": yuan(row.fee),
        "verdict": row.verdict or None if shown else None, "cut": yuan(row.taken if shown else 0),
        "category": row.category if adverse else None, "note": row.note if shown else "",
        "clause": row.clause if adverse else "",
    }  # fmt: skip


urlpatterns = [
    path("reviews", Reviews.as_view(), name="api-reviews"),
    path("reviews/<int:number>", OneReview.as_view(), name="api-review"),
    path("reviews/<int:number>/acceptance", Acceptance.as_view(), name="api-review-accept"),
    path("reviews/<int:number>/objection", Objection.as_view(), name="api-review-object"),
    path("reviews/<int:number>/supplement", Supplement.as_view(), name="api-review-supply"),
]
