"""REST: remote consultations of an institution, as the inviting side or as an invited one.

The same commands as the pages: the inviting hospital asks, takes steps, pays; an invited one answers
and registers its receipt. Nobody acts for the other side. (吉卫便函〔2021〕3号 一)
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, ClassVar

from django.http import HttpResponse, QueryDict
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from audit import clock, trail
from audit.procedure import PROCEDURES, Refused, Step
from institutions import crypto
from institutions.models import Institution
from institutions.money import MoneyError, fen, yuan
from institutions.openapi import (
    AFTER,
    BOOL,
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
from institutions.refusals import Fault, Refusal, refused
from institutions.rest import (
    BIGGEST_ID,
    InstitutionView,
    body_of,
    day_of_query,
    encoded,
    iso,
    json_answer,
    newest,
    refuse_unknown,
    wrong_parameter,
)
from institutions.shape import DAY as DATE
from institutions.shape import checked, choice, code, many, nullable, read_json, refuse, text
from institutions.shape import record as contract
from settlement import commands, consultations
from settlement.api import key_of, receipt_answer
from settlement.consultation_forms import ConsultationStepForm
from settlement.consultation_steps import RECORD, accepted, amount_of, price_of
from settlement.contract import FEE_DIGITS, decimal
from settlement.facts import Claimant
from settlement.models import Consultation, Participant
from settlement.openapi import IDEMPOTENCY_KEY
from settlement.systems import System

AMOUNT = {"type": "string", "pattern": r"^-?\d+\.\d{2}$"}
MAYBE = or_null(AMOUNT)
RECEIPT = record(number=TEXT, amount=AMOUNT, issued_on=DAY, void=BOOL)
HOSPITAL = record(
    hospital=TEXT, name=TEXT, tier=TEXT, experts=listed(TEXT), answer=TEXT, note=TEXT,
    attended=or_null(BOOL), fee=MAYBE,
    share=MAYBE, agreement=or_null(TEXT), paid_at=or_null(MOMENT), payment_no=TEXT,
    revenue_reduced_at=or_null(MOMENT), returned_at=or_null(MOMENT), receipts=listed(RECEIPT),
)  # fmt: skip
LINKS = ("steps", "answer", "payments", "receipts", "reductions", "claim")
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "side": {"enum": ["inviting", "invited"]}, "inviting": TEXT,
    "invited": listed(TEXT), "state": TEXT, "state_label": TEXT, "version": WHOLE,
    "wanted_on": DAY, "session_on": or_null(DAY), "due": or_null(DAY),
    "charge_count": or_null(WHOLE), "amount": MAYBE, "example_parameters": BOOL,
    "links": record(self=TEXT, **dict.fromkeys(LINKS, TEXT)),
}  # fmt: skip
ONE = record(
    **SUMMARY, patient=TEXT, inpatient_no=TEXT, department=TEXT, purpose=TEXT, summary=TEXT,
    explained_price=MAYBE, consented_at=or_null(MOMENT), invoice_no=TEXT,
    late_reason=TEXT, claim=or_null(WHOLE), participants=listed(HOSPITAL),
    next_steps=listed(record(step=TEXT, label=TEXT, clause=TEXT,
                             asks=listed(record(key=TEXT, label=TEXT, kind=TEXT)))),
)  # fmt: skip

NAMES = many(text(40), 20, 1)
REQUEST = contract(
    "credential inpatient_no department purpose wanted_on invited",
    credential=text(18), inpatient_no=text(40), department=text(40), purpose=text(500),
    wanted_on=DATE, invited=many(contract("hospital experts", hospital=code(12), experts=NAMES), 20, 1),
)  # fmt: skip
VERSION = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TABLE = PROCEDURES[consultations.SLUG]
TAKEN = tuple(step for step in TABLE.steps if not step.automatic)
#: what any step asks for, by the name that the procedure's table gives it
KINDS = {"yes": {"type": "boolean"}, "items": many(code(12), 20, 1)}
ASKED = {ask.key: KINDS.get(ask.kind) or text(2000) for step in TAKEN for ask in step.asks}
STEP = contract(
    "step version", step=choice(*(step.key for step in TAKEN)), version=VERSION, facts=contract("", **ASKED),
    confirmed={"type": "boolean"},
)  # fmt: skip
ANSWER = contract(
    "answer", answer=choice("accept", "decline"), experts=NAMES, note=nullable(text(200))
)
PAYMENT = contract(
    "hospital amount payment_no", hospital=code(12), amount=decimal(FEE_DIGITS, 9),
    payment_no=code(60),
)  # fmt: skip
RECEIVED = contract(
    "number amount issued_on", number=code(40), amount=decimal(FEE_DIGITS, 9), issued_on=DATE
)


class ConsultationsView(InstitutionView):
    """What the addresses of consultations share."""

    required_scopes: ClassVar[list[str]] = ["consultations:read", "consultations:write"]

    def begin(self, request: Request) -> None:
        super().begin(request)
        self.system = System(self.client, ("consultations.view", RECORD))
        client = self.client
        self.institution = Claimant(
            client.institution, client.region_code, client.policy_region, (client.institution,)
        )

    def signed(self) -> dict[str, Any]:
        return {"who": self.system, "by": self.by, "at": self.at}

    def case(self, number: int) -> Consultation:
        """A consultation in which this institution takes part; Refusal (404) without it."""
        rows = Consultation.objects.visible_to(self.system).select_related("inviting__region")
        found = rows.filter(pk=number).first() if number <= BIGGEST_ID else None
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此会诊", "no such consultation"))
        return found

    def act(
        self, request: Request, number: int, schema: dict, action: str,
        command: Callable[[Consultation, dict], object],
    ) -> HttpResponse:  # fmt: skip
        """Check the body, run the command on the case, answer with the case as it is now."""

        def on_case(given: dict) -> dict:
            command(self.case(number), given)
            return represent(self.case(number), self.client.institution)

        return self.attempt(request, schema, action, f"consultation:{number}"[:80], on_case)

    def attempt(
        self, request: Request, schema: dict, action: str, subject: str,
        command: Callable[[dict], dict], status: int = 200,
    ) -> HttpResponse:  # fmt: skip
        """Check the body and run the command; a refusal is an event."""
        self.begin(request)
        try:
            given = checked(read_json(body_of(request)), schema)
            with self.rows():
                return json_answer(command(given), status)
        except (Refusal, Refused) as error:
            with self.rows():
                commands.refused(
                    institution=self.institution, action=action, subject=subject, code=error.code,
                    by=self.by, at=self.at,
                )  # fmt: skip
            raise

    def own_row(self, case: Consultation, hospital: str) -> Participant:
        row = case.participants.select_related("hospital").filter(hospital=hospital).first()
        if row is None:
            raise refused("hospital", "NOT_INVITED", "该医院没有受邀参加此次会诊",
                          "this hospital is not invited", clause=consultations.CLAUSE)  # fmt: skip
        return row


class Consultations(ConsultationsView):
    """本机构邀请或受邀的远程会诊。"""

    @extend_schema(
        operation_id="consultations_create", summary="申请一次远程会诊", tags=["consultations"],
        parameters=[IDEMPOTENCY_KEY], request=body(REQUEST),
        responses=answers(409, 415, 422, s201=ONE),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        self.begin(request)
        content = body_of(request)
        try:
            key = key_of(request, b"consultation: " + content)
            given = checked(read_json(content), REQUEST)
            with self.rows():
                return receipt_answer(self._ask(given, key))
        except Refusal as refusal:
            with self.rows():
                commands.refused(
                    institution=self.institution, action="consultation.request",
                    subject="consultation", code=refusal.code, by=self.by, at=self.at,
                )  # fmt: skip
            raise

    def _ask(self, given: dict, key: commands.Key) -> commands.Receipt:
        if replay := commands.enter(self.institution, key, self.at):
            return replay
        try:
            number = crypto.id_number(given["credential"])
        except crypto.IdNumberError as error:
            refuse([Fault("/credential", "CREDENTIAL_INVALID", error.texts)])
            raise
        own = Institution.objects.select_related("region").get(pk=self.client.institution)
        invited = [
            consultations.Invited(
                hospital_of(own, row["hospital"], f"invited/{n}/hospital"), tuple(row["experts"])
            )
            for n, row in enumerate(given["invited"])
        ]
        case = consultations.request(
            inviting=own, id_number=number, invited=invited, by=self.by, at=self.at,
            wanted_on=dt.date.fromisoformat(given["wanted_on"]),
            **{name: given[name] for name in ("inpatient_no", "department", "purpose")},
        )  # fmt: skip
        receipt = commands.Receipt(201, encoded(represent(case, self.client.institution)))
        commands.keep(self.institution, key, receipt)
        return receipt

    @extend_schema(
        operation_id="consultations_list", summary="列出本机构邀请或受邀的会诊",
        tags=["consultations"],
        parameters=[
            OpenApiParameter("state", str, description="会诊状态"),
            OpenApiParameter("since", OpenApiTypes.DATE, description="会诊日期不早于"), AFTER, LIMIT,
        ],
        responses=answers(s200=record(results=listed(record(**SUMMARY)), next=or_null(TEXT))),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "state", "since", "after", "limit")
        wanted = _wanted(request)
        with self.rows():
            rows = Consultation.objects.visible_to(self.system).filter(**wanted)
            rows = rows.select_related("inviting__region")
            part, after = newest(request, rows)
            shown = [summary(row, self.client.institution) for row in part]
        return json_answer({"results": shown, "next": after})


def _wanted(request: Request) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if state := request.query_params.get("state"):
        if state not in TABLE.states:
            raise wrong_parameter("state", "没有此状态", "no such state")
        wanted["state"] = state
    if since := day_of_query(request, "since"):
        wanted["session_on__gte"] = since
    return wanted


def hospital_of(own: Institution, asked: str, field: str) -> Institution:
    """A hospital of the same pooling region."""
    found = Institution.objects.filter(
        pk=asked, kind=Institution.Kind.MEDICAL, region__policy_region=own.region.policy_region
    ).first()
    if found is None:
        raise refused(field, "HOSPITAL_UNKNOWN", f"本统筹地区没有医院 {asked}",
                      "no such hospital here")  # fmt: skip
    return found


def _fen(given: str) -> int:
    try:
        return fen(given)
    except MoneyError as error:
        raise refused("amount", "AMOUNT", str(error), "not an amount") from None


class OneConsultation(ConsultationsView):
    """一次会诊：患者（脱敏）、费用、受邀方、付款与票据、可办步骤。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="consultations_read", summary="读取一次会诊；查看即记入留痕",
        tags=["consultations"], responses=answers(s200=ONE),
    )  # fmt: skip
    def get(self, request: Request, number: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            case = self.case(number)
            trail.record(
                by=self.by, at=self.at, action="consultation.read", subject=case.subject,
                region_code=case.region_code, person_hash=bytes(case.patient_hash),
                institution_code=self.client.institution,
            )  # fmt: skip
            return json_answer(represent(case, self.client.institution))


class Steps(ConsultationsView):
    """邀请方办理一个步骤：知情同意、登记会诊、计入清单、收费、分配、退费、更正、取消。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_step", summary="邀请方办理会诊的一个步骤",
        tags=["consultations"], request=body(STEP), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            step = TABLE.step(given["step"])
            form = _form(step, given, case, clock.local(self.at).date())
            consultations.take_step(
                case=case, step=step.key, note=form.note, facts=form.facts(),
                version=given["version"], **self.signed(),
            )  # fmt: skip

        return self.act(request, number, STEP, "consultation.step", command)


def _form(step: Step, given: dict, case: Consultation, today: dt.date) -> ConsultationStepForm:
    """The inputs of a step, read as its page reads them; Refusal (422) with every fault."""
    told = QueryDict(mutable=True)
    for name, value in given.get("facts", {}).items():
        if name not in {ask.key for ask in step.asks}:
            raise refused(
                f"facts/{name}", "UNKNOWN", f"步骤“{step.label}”没有此项", "not asked for"
            )
        if isinstance(value, list):
            told.setlist(name, value)
        elif value is not False:
            told[name] = "on" if value is True else str(value)
    told["version"] = str(given["version"])
    if given.get("confirmed"):
        told["confirmed"] = "on"
    form = ConsultationStepForm(
        told, step=step, version=given["version"], today=today, accepted=accepted(case)
    )
    if form.is_valid():
        return form
    found = tuple(
        Fault(f"/{name}" if name == "confirmed" else f"/facts/{name}", "INVALID",
              (str(errors[0]), "missing or wrong"), step.clause)
        for name, errors in form.errors.items()
    )  # fmt: skip
    raise Refusal(422, "STEP_INCOMPLETE", ("步骤的内容不完整", "the step is incomplete"), found)


class Answering(ConsultationsView):
    """受邀方答复邀请：接受（写明专家）或婉拒（说明原因）。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_answer", summary="受邀方接受或婉拒会诊邀请",
        tags=["consultations"], request=body(ANSWER), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            consultations.answer(
                participant=self.own_row(case, self.client.institution),
                accept=given["answer"] == "accept", experts=given.get("experts", ()),
                note=given.get("note") or "", **self.signed(),
            )  # fmt: skip

        return self.act(request, number, ANSWER, "participant.accept", command)


class Paying(ConsultationsView):
    """邀请方登记向受邀方付款：按分配数一次付清。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_pay", summary="邀请方登记向受邀方付款",
        tags=["consultations"], request=body(PAYMENT), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            consultations.pay(
                participant=self.own_row(case, given["hospital"]), amount=_fen(given["amount"]),
                payment_no=given["payment_no"], **self.signed(),
            )  # fmt: skip

        return self.act(request, number, PAYMENT, "participant.pay", command)


class Receiving(ConsultationsView):
    """受邀方收到会诊费后登记票据，邀请方据此冲减收入。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="consultations_receipt", summary="受邀方确认收款并登记票据",
        tags=["consultations"], request=body(RECEIVED), responses=answers(409, 415, 422, s200=ONE),
    )  # fmt: skip
    def post(self, request: Request, number: int) -> HttpResponse:
        def command(case: Consultation, given: dict) -> None:
            consultations.issue_receipt(
                participant=self.own_row(case, self.client.institution), number=given["number"],
                amount=_fen(given["amount"]),
                issued_on=dt.date.fromisoformat(given["issued_on"]), **self.signed(),
            )  # fmt: skip

        return self.act(request, number, RECEIVED, "receipt.issue", command)


# --- Answers ---


def summary(row: Consultation, mine: str) -> dict[str, Any]:
    """A consultation as lists show it to one side."""
    own = f"/api/v1/consultations/{row.pk}"
    return {
        "id": row.pk, "number": row.number,
        "side": "inviting" if row.institution_code == mine else "invited",
        "inviting": row.institution_code,
        "invited": [code for code in row.parties if code != row.institution_code],
        "state": row.state, "state_label": PROCEDURES[row.procedure].states[row.state].label,
        "version": row.version, "wanted_on": iso(row.wanted_on), "session_on": iso(row.session_on),
        "due": iso(row.due), "charge_count": row.charge_count, "amount": _yuan(amount_of(row)),
        "example_parameters": price_of(row).example,
        "links": {"self": own} | {name: f"{own}/{name}" for name in LINKS},
    }  # fmt: skip


def represent(row: Consultation, mine: str) -> dict[str, Any]:
    """A consultation with everything that this side may see: an invited hospital its own money only."""
    table = PROCEDURES[row.procedure]
    inviting = row.institution_code == mine
    rows = row.participants.select_related("hospital", "agreement").prefetch_related("receipts")
    steps = [step for step in table.steps_from(row.state) if inviting and not step.automatic]
    return {
        **summary(row, mine), "patient": row.patient_masked, "inpatient_no": row.inpatient_no,
        "department": row.department, "purpose": row.purpose, "summary": row.summary,
        "explained_price": _yuan(row.explained_price), "consented_at": _moment(row.consented_at),
        "invoice_no": row.invoice_no, "late_reason": row.late_reason,
        "claim": row.claim_id if inviting else None,
        "participants": [
            participant(each) for each in rows if inviting or each.hospital_id == mine
        ],
        "next_steps": [
            {"step": step.key, "label": step.label, "clause": step.clause,
             "asks": [{"key": ask.key, "label": ask.label, "kind": ask.kind} for ask in step.asks]}
            for step in steps
        ],
    }  # fmt: skip


def participant(row: Participant) -> dict[str, Any]:
    """An invited hospital with its answer, share, payment and receipts."""
    return {
        "hospital": row.hospital_id, "name": row.hospital.name, "tier": row.tier,
        "experts": row.experts, "answer": row.answer, "note": row.note,
        "attended": row.attended, "fee": _yuan(row.fee),
        "share": _yuan(row.share), "agreement": row.agreement.number if row.agreement else None,
        "paid_at": _moment(row.paid_at), "payment_no": row.payment_no,
        "revenue_reduced_at": _moment(row.reversed_at), "returned_at": _moment(row.returned_at),
        "receipts": [
            {"number": one.number, "amount": yuan(one.amount), "issued_on": iso(one.issued_on),
             "void": one.void_at is not None}
            for one in row.receipts.all()
        ],
    }  # fmt: skip


def _yuan(amount: int | None) -> str | None:
    return None if amount is None else yuan(amount)


def _moment(at: Any) -> str | None:
    return clock.local(at).isoformat() if at else None


CASE = "consultations/<int:number>"
urlpatterns = [
    path("consultations", Consultations.as_view(), name="api-consultations"),
    path(CASE, OneConsultation.as_view(), name="api-consultation"),
    path(f"{CASE}/steps", Steps.as_view(), name="api-consultation-steps"),
    path(f"{CASE}/answer", Answering.as_view(), name="api-consultation-answer"),
    path(f"{CASE}/payments", Paying.as_view(), name="api-consultation-payments"),
    path(f"{CASE}/receipts", Receiving.as_view(), name="api-consultation-receipts"),
]
