"""REST, read only: what an institution was paid, its lines and their yearly bills.

An institution sees the vouchers of its own payments, not the agency's lists and orders.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from audit import clock
from institutions.money import yuan
from institutions.openapi import (
    AFTER,
    DAY,
    LIMIT,
    MOMENT,
    TEXT,
    WHOLE,
    answers,
    listed,
    or_null,
    record,
)
from institutions.refusals import Refusal
from institutions.rest import (
    BIGGEST_ID,
    InstitutionView,
    iso,
    json_answer,
    newest,
    refuse_unknown,
    wrong_parameter,
)
from settlement.models import FeeBill, FeeItem, NetworkLine, Voucher

AMOUNT = {"type": "string", "pattern": r"^-?\d+\.\d{2}$"}
Kind = Voucher.Kind
PAID = (Kind.PAYMENT, Kind.ADVANCE, Kind.BANK_RETURN, Kind.REFUND)
#: vouchers whose money leaves the institution again
BACK = (Kind.BANK_RETURN, Kind.REFUND)
PAYMENT = record(
    id=WHOLE, number=TEXT, kind={"enum": [kind.value for kind in PAID]}, kind_label=TEXT,
    amount=AMOUNT, scheme=TEXT, period=TEXT, posted_at=MOMENT, purpose=TEXT,
    statement=or_null(WHOLE), order=TEXT, bank_serial=TEXT, account=TEXT, reversed={"type": "boolean"},
)  # fmt: skip
LINE = record(
    id=WHOLE, number=TEXT, service=TEXT, service_label=TEXT, bandwidth_mb=WHOLE, count=WHOLE,
    tier=TEXT, tier_label=TEXT, opened_on=DAY, closed_on=or_null(DAY),
)  # fmt: skip
BILL: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "year": WHOLE, "state": {"enum": list(FeeBill.State.values)},
    "state_label": TEXT, "amount": AMOUNT, "commission": AMOUNT, "by_month": AMOUNT,
    "due_on": DAY, "overdue": {"type": "boolean"}, "paid_on": or_null(DAY), "payment_no": TEXT,
}  # fmt: skip
ITEM = record(
    line=or_null(TEXT), contract=or_null(TEXT), service_year=WHOLE, first=DAY, last=DAY,
    amount=or_null(AMOUNT), commission=or_null(AMOUNT), decision=TEXT, reason=TEXT, clause=TEXT,
)  # fmt: skip
ONE_BILL = record(**BILL, items=listed(ITEM))
PERIOD = OpenApiParameter("period", str, description="只列记入这一结算期的款项（YYYY-MM）")
YEAR = OpenApiParameter(
    "year", {"type": "integer", "minimum": 2000, "maximum": 9999}, description="只列这一年度"
)


def listing(schema: dict) -> dict:
    """A page of a list."""
    return answers(s200=record(results=listed(schema), next=or_null(TEXT)))


class OwnView(InstitutionView):
    """Lists of rows that carry the institution's code, newest first."""

    http_method_names = ["get"]

    def page(
        self, request: Request, rows: Callable[[], QuerySet], show: Callable[[Any], dict]
    ) -> HttpResponse:
        """A page of rows by descending id, inside this institution's scope."""
        with self.rows():
            own = rows().filter(institution_code=self.client.institution)
            part, after = newest(request, own)
            return json_answer({"results": [show(row) for row in part], "next": after})

    def one(self, rows: QuerySet, number: int) -> Any:
        """A row of this institution; Refusal (404) without it."""
        own = rows.filter(institution_code=self.client.institution)
        found = own.filter(pk=number).first() if number <= BIGGEST_ID else None
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此记录", "no such record"))
        return found


# --- Payments ---


class PaymentsView(OwnView):
    """What the addresses of payments share."""

    required_scopes: ClassVar[list[str]] = ["payments:read", "payments:read"]


class Payments(PaymentsView):
    """拨付给本机构的款项：拨付、预付款、银行退票、退回基金。"""

    @extend_schema(
        operation_id="payments_list", summary="列出拨付给本机构的款项", tags=["payments"],
        parameters=[PERIOD, AFTER, LIMIT], responses=listing(PAYMENT),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "period", "after", "limit")
        wanted: dict[str, Any] = {"kind__in": PAID}
        if (text := request.query_params.get("period")) is not None:
            wanted["period"] = _month(text)
        return self.page(request, lambda: _payments().filter(**wanted), payment)


class OnePayment(PaymentsView):
    """一笔拨付及其银行流水、所属结算单。"""

    @extend_schema(
        operation_id="payments_read", summary="读取一笔拨付", tags=["payments"],
        responses=answers(s200=PAYMENT),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            return json_answer(payment(self.one(_payments().filter(kind__in=PAID), number)))


def _payments() -> QuerySet[Voucher]:
    return Voucher.objects.select_related("reversed_by")


def payment(row: Voucher) -> dict[str, Any]:
    """A payment as its payee may see it; what went back is negative."""
    subject, _, key = row.subject.partition(":")
    sign = -1 if (row.kind in BACK) != bool(row.reverses_id) else 1
    return {
        "id": row.pk, "number": row.number, "kind": row.kind, "kind_label": row.get_kind_display(),
        "amount": yuan(sign * row.amount), "scheme": row.scheme, "period": f"{row.period:%Y-%m}",
        "posted_at": clock.local(row.posted_at).isoformat(), "purpose": row.reason,
        "statement": int(key) if subject == "statement" and key.isdigit() else None,
        "order": row.detail.get("order", ""), "bank_serial": row.detail.get("serial", ""),
        "account": row.detail.get("account", ""), "reversed": hasattr(row, "reversed_by"),
    }  # fmt: skip


def _month(text: str) -> dt.date:
    try:
        if len(text) == len("2021-01"):
            return dt.date.fromisoformat(f"{text}-01")
    except ValueError:
        pass
    raise wrong_parameter("period", "应为 YYYY-MM", "expected YYYY-MM")


# --- Lines and their bills ---


class LinesView(OwnView):
    """What the addresses of lines share."""

    required_scopes: ClassVar[list[str]] = ["lines:read", "lines:read"]


class Lines(LinesView):
    """本机构的远程医疗专线。"""

    @extend_schema(
        operation_id="lines_list", summary="列出本机构的专线", tags=["lines"],
        parameters=[AFTER, LIMIT], responses=listing(LINE),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "after", "limit")
        return self.page(request, NetworkLine.objects.standing, line)


class Bills(LinesView):
    """本机构的专线与维保年度账单。"""

    @extend_schema(
        operation_id="line_bills_list", summary="列出本机构的年度账单", tags=["lines"],
        parameters=[YEAR, AFTER, LIMIT], responses=listing(record(**BILL)),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "year", "after", "limit")
        rows = FeeBill.objects.exclude(state=FeeBill.State.DRAFT)
        if (text := request.query_params.get("year")) is not None:
            if not (text.isascii() and text.isdigit() and len(text) == len("2021")):
                raise wrong_parameter("year", "应为四位年份", "expected a year")
            rows = rows.filter(year=int(text))
        return self.page(request, rows.all, lambda row: bill(row, self.at))


class OneBill(LinesView):
    """一张年度账单：每条专线、每份维保合同的金额与条款。"""

    @extend_schema(
        operation_id="line_bills_read", summary="读取一张年度账单", tags=["lines"],
        responses=answers(s200=ONE_BILL),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            row = self.one(FeeBill.objects.exclude(state=FeeBill.State.DRAFT), number)
            items = row.items.select_related("line", "contract")
            return json_answer({**bill(row, self.at), "items": [_item(item) for item in items]})


def line(row: NetworkLine) -> dict[str, Any]:
    """Lines of one kind as their institution sees them."""
    return {
        "id": row.pk, "number": row.number, "service": row.service,
        "service_label": row.get_service_display(), "bandwidth_mb": row.bandwidth_mb,
        "count": row.count, "tier": row.tier, "tier_label": row.get_tier_display(),
        "opened_on": iso(row.opened_on), "closed_on": iso(row.closed_on),
    }  # fmt: skip


def bill(row: FeeBill, at: dt.datetime) -> dict[str, Any]:
    """A yearly bill as its institution sees it."""
    late = row.state == FeeBill.State.CONFIRMED and row.due_on < clock.local(at).date()
    return {
        "id": row.pk, "number": row.number, "year": row.year, "state": row.state,
        "state_label": row.get_state_display(), "amount": yuan(row.amount),
        "commission": yuan(row.commission), "by_month": yuan(row.by_month),
        "due_on": iso(row.due_on), "overdue": late, "paid_on": iso(row.paid_on),
        "payment_no": row.payment_no,
    }  # fmt: skip


def _item(row: FeeItem) -> dict[str, Any]:
    return {
        "line": row.line.number if row.line else None,
        "contract": row.contract.number if row.contract else None,
        "service_year": row.number, "first": iso(row.first), "last": iso(row.last),
        "amount": None if row.amount is None else yuan(row.amount),
        "commission": None if row.commission is None else yuan(row.commission),
        "decision": row.decision, "reason": row.reason, "clause": row.clause,
    }  # fmt: skip


urlpatterns = [
    path("payments", Payments.as_view(), name="api-payments"),
    path("payments/<int:number>", OnePayment.as_view(), name="api-payment"),
    path("lines", Lines.as_view(), name="api-lines"),
    path("line-bills", Bills.as_view(), name="api-line-bills"),
    path("line-bills/<int:number>", OneBill.as_view(), name="api-line-bill"),
]
