"""REST: what finishes a remote consultation, and what both hospitals agree and settle.

Revenue reduced, receipts voided, the claim linked; agreements on the split; the monthly statement of
each pair. The same commands as the pages. (吉卫便函〔2021〕3号 一第2款)
"""

import datetime as dt
from typing import Any

from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from audit import clock
from institutions.models import Institution
from institutions.money import yuan
from institutions.openapi import (
    AFTER,
    DAY,
    LIMIT,
    MOMENT,
    TEXT,
    WHOLE,
    answers,
    body,
    listed,
    or_null,
    record,
)
from institutions.refusals import Refusal, refused
from institutions.rest import BIGGEST_ID, iso, json_answer, newest, refuse_unknown, wrong_parameter
from institutions.shape import DAY as DATE
from institutions.shape import code, nullable, text
from institutions.shape import record as contract
from settlement import consultation_statement, consultations
from settlement.consultation_statement import AMOUNTS
from settlement.consultations_api import AMOUNT, CASE, ONE, ConsultationsView, hospital_of
from settlement.contract import decimal
from settlement.models import Consultation, SplitAgreement
from settlement.models.consultations import RATIO_ONE

REDUCTION = contract("hospital", hospital=code(12), late_reason=nullable(text(200)))
VOIDING = contract("number reason", number=code(40), reason=text(200))
LINK = contract("claim_no", claim_no=code(40))
PERCENT = decimal(2, 3)
AGREED = contract(
    "invited number ratio_inviting ratio_invited valid_from", invited=code(12), number=text(60),
    ratio_inviting=PERCENT, ratio_invited=PERCENT, valid_from=DATE, valid_until=nullable(DATE),
)  # fmt: skip
NOTHING, LAST = contract(""), contract("last", last=DATE)
RATIO = {"type": "string", "pattern": r"^\d+\.\d{2}$"}
AGREEMENT = record(
    id=WHOLE, number=TEXT, inviting=TEXT, invited=TEXT, ratio_inviting=RATIO, ratio_invited=RATIO,
    valid_from=DAY, valid_until=or_null(DAY), confirmed_at=or_null(MOMENT),
    withdrawn_at=or_null(MOMENT),
)  # fmt: skip
ENTRY = record(
    consultation=WHOLE, number=TEXT, session_on=DAY, state=TEXT, due=or_null(DAY),
    **dict.fromkeys(AMOUNTS, AMOUNT), payment_no=TEXT, receipts=listed(TEXT),
)  # fmt: skip
PAIR = record(
    inviting=TEXT, invited=TEXT, sessions=WHOLE, **dict.fromkeys(AMOUNTS, AMOUNT),
    entries=listed(ENTRY),
)  # fmt: skip
MONTH = OpenApiParameter("month", str, description="会诊日期所在月份（YYYY-MM），默认本月")


class Reducing(ConsultationsView):
    """邀请方凭受邀方票据冲减收入；全部冲减后会诊结清。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_reduce", summary="邀请方凭受邀方票据冲减收入",
        tags=["consultations"], request=body(REDUCTION), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            consultations.reduce_revenue(
                participant=self.own_row(case, given["hospital"]),
                late_reason=given.get("late_reason") or "", **self.signed(),
            )  # fmt: skip

        return self.act(request, number, REDUCTION, "participant.reduce", command)


class Voiding(ConsultationsView):
    """受邀方作废尚未用于冲减的票据。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_void", summary="受邀方作废尚未用于冲减的票据",
        tags=["consultations"], request=body(VOIDING), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            row = self.own_row(case, self.client.institution)
            receipt = row.receipts.filter(number=given["number"]).first()
            if receipt is None:
                raise refused("number", "RECEIPT_UNKNOWN", "没有此票据", "no such receipt")
            consultations.void_receipt(receipt=receipt, reason=given["reason"], **self.signed())

        return self.act(request, number, VOIDING, "receipt.void", command)


class Linking(ConsultationsView):
    """邀请方关联同一次会诊的结算单据。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_link", summary="邀请方关联同一次会诊的结算单据",
        tags=["consultations"], request=body(LINK), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            consultations.link_claim(case=case, claim_no=given["claim_no"], **self.signed())

        return self.act(request, number, LINK, "consultation.link", command)


class Agreements(ConsultationsView):
    """本机构作为邀请方或受邀方的会诊分配协议。"""

    @extend_schema(
        operation_id="split_agreements_create", tags=["consultations"],
        summary="邀请方登记会诊分配协议，待受邀方确认", request=body(AGREED),
        responses=answers(409, 415, 422, s201=AGREEMENT),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        def command(given: dict) -> dict:
            own = Institution.objects.select_related("region").get(pk=self.client.institution)
            ours, theirs = (_ratio(given[key]) for key in ("ratio_inviting", "ratio_invited"))
            if ours + theirs != RATIO_ONE:
                raise refused("ratio_invited", "RATIO_NOT_100", "双方比例之和应为100%",
                              "both parts add up to 100 per cent", clause=consultations.CLAUSE)  # fmt: skip
            until = given.get("valid_until")
            return agreement(consultations.record_agreement(
                inviting=own, invited=hospital_of(own, given["invited"], "invited"),
                number=given["number"], ratio_invited=theirs, by=self.by, at=self.at,
                valid_from=dt.date.fromisoformat(given["valid_from"]),
                valid_until=dt.date.fromisoformat(until) if until else None,
            ))  # fmt: skip

        return self.attempt(
            request, AGREED, "splitagreement.record", "splitagreement", command, 201
        )

    @extend_schema(
        operation_id="split_agreements_list", summary="列出本机构的会诊分配协议",
        tags=["consultations"], parameters=[AFTER, LIMIT],
        responses=answers(s200=record(results=listed(AGREEMENT), next=or_null(TEXT))),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "after", "limit")
        with self.rows():
            part, after = newest(request, SplitAgreement.objects.visible_to(self.system))
            return json_answer({"results": [agreement(row) for row in part], "next": after})


class AgreementView(ConsultationsView):
    """One agreement of this institution."""

    http_method_names = ["post"]

    def found(self, number: int) -> SplitAgreement:
        rows = SplitAgreement.objects.visible_to(self.system)
        row = rows.filter(pk=number).first() if number <= BIGGEST_ID else None
        if row is None:
            raise Refusal(404, "NOT_FOUND", ("没有此分配协议", "no such agreement"))
        return row


class Confirming(AgreementView):
    """受邀方确认分配比例。"""

    @extend_schema(
        operation_id="split_agreements_confirm", summary="受邀方确认会诊分配协议的比例",
        tags=["consultations"], request=body(NOTHING),
        responses=answers(409, 415, 422, s200=AGREEMENT),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(given: dict) -> dict:
            consultations.confirm_agreement(agreement=self.found(number), **self.signed())
            return agreement(self.found(number))

        subject = f"splitagreement:{number}"[:80]
        return self.attempt(request, NOTHING, "splitagreement.confirm", subject, command)


class Ending(AgreementView):
    """邀请方终止分配协议；尚未生效或未确认的随即撤销。"""

    @extend_schema(
        operation_id="split_agreements_end", summary="邀请方终止会诊分配协议",
        tags=["consultations"], request=body(LAST), responses=answers(409, 415, 422, s200=AGREEMENT),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(given: dict) -> dict:
            consultations.end_agreement(
                agreement=self.found(number), last=dt.date.fromisoformat(given["last"]),
                **self.signed(),
            )  # fmt: skip
            return agreement(self.found(number))

        subject = f"splitagreement:{number}"[:80]
        return self.attempt(request, LAST, "splitagreement.end", subject, command)


class Statements(ConsultationsView):
    """双方财务的月结算单：每一对医院的会诊、应分、已付、票据、未结。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="consultation_statements_list", tags=["consultations"],
        summary="读取一个月的会诊双方结算单", parameters=[MONTH],
        responses=answers(s200=record(month=TEXT, results=listed(PAIR))),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "month")
        month = _month(request.query_params.get("month"), clock.local(self.at).date())
        with self.rows():
            who: Any = self.system
            found = consultation_statement.statements(who, month=month)
            return json_answer({"month": f"{month:%Y-%m}", "results": [pair(one) for one in found]})


def _month(asked: str | None, today: dt.date) -> dt.date:
    if asked is None:
        return today.replace(day=1)
    try:
        return dt.date.fromisoformat(f"{asked}-01")
    except ValueError:
        raise wrong_parameter("month", "应为 YYYY-MM", "expected YYYY-MM") from None


# --- Answers ---


def _ratio(percent: str) -> int:
    """Per cent with at most two digits as parts per ten thousand."""
    whole, _, part = percent.partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def _percent(ratio: int) -> str:
    return f"{ratio // 100}.{ratio % 100:02d}"


def _moment(at: dt.datetime | None) -> str | None:
    return clock.local(at).isoformat() if at else None


def agreement(row: SplitAgreement) -> dict[str, Any]:
    """What two hospitals agreed, in per cent; it counts once it is confirmed."""
    return {
        "id": row.pk, "number": row.number, "inviting": row.inviting_id, "invited": row.invited_id,
        "ratio_inviting": _percent(row.ratio_inviting), "ratio_invited": _percent(row.ratio_invited),
        "valid_from": iso(row.valid_from), "valid_until": iso(row.valid_until),
        "confirmed_at": _moment(row.confirmed_at), "withdrawn_at": _moment(row.superseded_at),
    }  # fmt: skip


def pair(one: consultation_statement.Statement) -> dict[str, Any]:
    """A pair of hospitals and a month with its consultations."""
    totals = one.totals
    return {
        "inviting": one.inviting.pk, "invited": one.invited.pk, "sessions": totals["sessions"],
        **{name: yuan(totals[name]) for name in AMOUNTS},
        "entries": [
            {"consultation": each.case.pk, "number": each.case.number,
             "session_on": iso(each.case.session_on), "state": each.case.state,
             "due": iso(each.case.due), **{name: yuan(getattr(each, name)) for name in AMOUNTS},
             "payment_no": each.row.payment_no,
             "receipts": [receipt.number for receipt in each.receipts]}
            for each in one.entries
        ],
    }  # fmt: skip


OWN = "consultations/agreements"
urlpatterns = [
    path(f"{CASE}/reductions", Reducing.as_view(), name="api-consultation-reductions"),
    path(f"{CASE}/receipts/void", Voiding.as_view(), name="api-consultation-void"),
    path(f"{CASE}/claim", Linking.as_view(), name="api-consultation-claim"),
    path(OWN, Agreements.as_view(), name="api-split-agreements"),
    path(f"{OWN}/<int:number>/confirm", Confirming.as_view(), name="api-split-agreement-confirm"),
    path(f"{OWN}/<int:number>/end", Ending.as_view(), name="api-split-agreement-end"),
    path("consultations/statements", Statements.as_view(), name="api-consultation-statements"),
]
