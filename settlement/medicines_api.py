"""REST: prescriptions, their review and circulation, goods, and files of evidence.

A hospital sees what it issued, a retail pharmacy what was released to it (温州 十四、十五、二十六).
"""

from collections.abc import Callable
from typing import Any, ClassVar, cast

from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from institutions import crypto, documents
from institutions.models import Institution
from institutions.openapi import (
    AFTER,
    LIMIT,
    MOMENT,
    TEXT,
    WHOLE,
    answers,
    body,
    file_body,
    listed,
    public,
    record,
)
from institutions.refusals import Fault, Refusal
from institutions.rest import (
    BIGGEST_ID,
    body_of,
    day_of_query,
    file_of,
    json_answer,
    newest,
    refuse_unknown,
    wrong_parameter,
)
from institutions.shape import checked, faults, read_json, refuse
from settlement import (
    commands,
    drug_returns,
    evidence,
    goods,
    medicines,
    medicines_contract,
    openapi,
)
from settlement.api import ClaimsView, key_of, receipt_answer
from settlement.contract import ENCOUNTER_ID
from settlement.medicine_answers import (
    DISPENSED,
    MAYBE,
    PARCEL,
    PRESCRIPTION,
    RETURNED,
    SUMMARY,
    dispensed,
    parcel,
    represent,
    returned,
    summary,
)
from settlement.models import Prescription
from settlement.openapi import IDEMPOTENCY_KEY

FILED = record(
    id=WHOLE, encounter_id=TEXT, kind=TEXT, content_hash=TEXT, received_at=MOMENT,
    document=record(id=WHOLE, name=TEXT, size=WHOLE, media_type=TEXT, sm3=TEXT),
)  # fmt: skip
FILE_FIELDS = medicines_contract.FILE_FIELDS["properties"]
FILE_BODY = file_body(**cast(dict, public(FILE_FIELDS)))
LIST_PARAMETERS = [
    OpenApiParameter("no", {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,40}$"},
                     description="处方号"),
    OpenApiParameter("state", {"type": "string", "enum": list(medicines_contract.STATES)},
                     description="处方状态"),
    OpenApiParameter("since", OpenApiTypes.DATE, description="开具日不早于"), AFTER, LIMIT,
]  # fmt: skip


class MedicinesView(ClaimsView):
    """What the addresses of prescriptions share: one body, one command, refusals in the trail."""

    def act(
        self, request: Request, schema: dict, action: str, subject: str,
        command: Callable[[dict], tuple[dict, int]],
        wrong: Callable[[dict], Any] | None = None,
    ) -> HttpResponse:  # fmt: skip
        """Check the body, run the command in this institution's scope, answer."""
        content = body_of(request)
        try:
            given = checked(read_json(content), schema)
            if wrong is not None:
                refuse(list(wrong(given)))
            with self.rows():
                answer, status = command(given)
        except Refusal as refusal:
            self.refused(action, subject[:80], refusal)
            raise
        return json_answer(answer, status)

    def mine(self) -> dict[str, Any]:
        return {"institution": self.institution, "by": self.by, "at": self.at}


def known(number: int) -> int:
    """An id that a row can have; else 404."""
    if number > BIGGEST_ID:
        raise Refusal(404, "NOT_FOUND", ("没有此记录", "no such record"))
    return number


def credential_normalised(given: dict) -> None:
    """The identity number as it is compared; Refusal (400) when it is none."""
    try:
        number = crypto.id_number(given["person"]["credential"])
    except crypto.IdNumberError as error:
        refuse([Fault("/person/credential", "CREDENTIAL_INVALID", error.texts)])
        raise
    given["person"] = given["person"] | {"credential": number}


class Prescriptions(MedicinesView):
    """上传处方；列出本机构开具的或流转至本机构的处方。"""

    @extend_schema(
        operation_id="prescriptions_create", summary="上传一张经医师电子签名的处方",
        tags=["medicines"], request=body(medicines_contract.PRESCRIPTION),
        responses=answers(409, 415, 422, s200=PRESCRIPTION, s201=PRESCRIPTION),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """201 with the new prescription; the same again is answered with it (200)."""
        self.begin(request)

        def command(given: dict) -> tuple[dict, int]:
            credential_normalised(given)
            made, new = medicines.issue(given=given, **self.mine())
            return represent(made, self.institution.code), 201 if new else 200

        return self.act(
            request, medicines_contract.PRESCRIPTION, "prescription.issue", "prescription",
            command, lambda given: medicines_contract.wrong_prescription(given, at=self.at),
        )  # fmt: skip

    @extend_schema(
        operation_id="prescriptions_list", summary="列出本机构开具的或流转至本机构的处方",
        tags=["medicines"], parameters=LIST_PARAMETERS,
        responses=answers(s200=record(results=listed(record(**SUMMARY)), next=MAYBE)),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "no", "state", "since", "after", "limit")
        with self.rows():
            part, after = newest(request, _asked(request, _visible(self.institution.code)))
            return json_answer({"results": [summary(row) for row in part], "next": after})


def _visible(code: str) -> QuerySet[Prescription]:
    """What an institution issued, or what is released to it as a pharmacy."""
    rows = Prescription.objects.select_related("person")
    issued = rows.filter(institution_code=code)
    released = rows.filter(releases__institution_code=code, releases__recalled_at__isnull=True)
    return rows.filter(pk__in=issued.values("pk").union(released.values("pk")))


def _asked(request: Request, rows: QuerySet[Prescription]) -> QuerySet[Prescription]:
    asked = request.query_params
    if number := asked.get("no"):
        if list(faults(number, medicines_contract.PRESCRIPTION["properties"]["no"])):
            raise wrong_parameter("no", "应为处方号", "expected a number of a prescription")
        rows = rows.filter(number=number)
    if state := asked.get("state"):
        if state not in medicines_contract.STATES:
            raise wrong_parameter("state", "没有此状态", "no such state")
        rows = rows.filter(state=state)
    if since := day_of_query(request, "since"):
        rows = rows.filter(issued_on__gte=since)
    return rows


class OnePrescription(MedicinesView):
    """一张处方：药品、签名、审核、流转、调配与配送。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="prescriptions_read", summary="一张处方及其流转、调配、配送",
        tags=["medicines"], responses=answers(s200=PRESCRIPTION),
    )  # fmt: skip
    def get(self, request: Request, prescription_id: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            found = _visible(self.institution.code).filter(pk=known(prescription_id)).first()
            if found is None:
                raise Refusal(404, "NOT_FOUND", ("没有此处方", "no such prescription"))
            return json_answer(represent(found, self.institution.code))


class Move(MedicinesView):
    """A step of a prescription: the body that it takes and the command that it is."""

    http_method_names = ["post"]
    sent: ClassVar[dict] = {}
    action = ""

    def post(self, request: Request, prescription_id: int) -> HttpResponse:
        self.begin(request)

        def command(given: dict) -> tuple[dict, int]:
            found = self.command(prescription_id=known(prescription_id), given=given)
            return represent(found, self.institution.code), 200

        return self.act(request, self.sent, self.action, f"prescription:{prescription_id}", command)

    def command(self, *, prescription_id: int, given: dict) -> Prescription:
        raise LookupError(self.action)


def moved(operation: str, summary: str) -> Callable[[type[Move]], type[Move]]:
    """Describes a step in the interface's document."""

    def described(view: type[Move]) -> type[Move]:
        schema = extend_schema(
            operation_id=operation, summary=summary, tags=["medicines"], request=body(view.sent),
            responses=answers(409, 415, 422, s200=PRESCRIPTION),
        )  # fmt: skip
        return extend_schema_view(post=schema)(view)

    return described


@moved("prescriptions_review", "上传药师审核结果：通过或退回")
class Review(Move):
    """药师审核：通过，或附原因退回。"""

    sent, action = medicines_contract.REVIEW, "prescription.review"

    def command(self, *, prescription_id: int, given: dict) -> Prescription:
        return medicines.review(prescription_id=prescription_id, given=given, **self.mine())


@moved("prescriptions_withdraw", "撤回尚未调配的处方")
class Withdrawal(Move):
    """撤回尚未调配的处方。"""

    sent, action = medicines_contract.WITHDRAWAL, "prescription.withdraw"

    def command(self, *, prescription_id: int, given: dict) -> Prescription:
        return medicines.withdraw(
            prescription_id=prescription_id, reason=given["reason"], **self.mine()
        )


@moved("prescriptions_release", "把已审核的处方流转至定点零售药店")
class Releases(Move):
    """处方流转至定点零售药店。"""

    sent, action = medicines_contract.RELEASE, "prescription.release"

    def command(self, *, prescription_id: int, given: dict) -> Prescription:
        return medicines.release(
            prescription_id=prescription_id, pharmacy=given["pharmacy"], **self.mine()
        )


@moved("prescriptions_recall", "从尚未调配的药店收回处方")
class Recall(Move):
    """从尚未调配的药店收回处方。"""

    sent, action = medicines_contract.RELEASE, "prescription.recall"

    def command(self, *, prescription_id: int, given: dict) -> Prescription:
        return medicines.recall(
            prescription_id=prescription_id, pharmacy=given["pharmacy"], **self.mine()
        )


class Dispensings(MedicinesView):
    """调配：开方机构或处方流转至的药店，逐盒登记追溯码。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="dispensings_create", summary="登记一次调配和药品追溯码",
        tags=["medicines"], request=body(medicines_contract.DISPENSING),
        responses=answers(409, 415, 422, s200=DISPENSED, s201=DISPENSED),
    )  # fmt: skip
    def post(self, request: Request, prescription_id: int) -> HttpResponse:
        """201 with the new dispensing; the same number and content again is answered (200)."""
        self.begin(request)

        def command(given: dict) -> tuple[dict, int]:
            made, new = goods.dispense(
                prescription_id=known(prescription_id), given=given, **self.mine()
            )
            return dispensed(made), 201 if new else 200

        return self.act(
            request, medicines_contract.DISPENSING, "dispensing.record",
            f"prescription:{prescription_id}", command, medicines_contract.wrong_dispensing,
        )  # fmt: skip


class Returns(MedicinesView):
    """退药：部分或全部退回一次调配的药品；相应的申请同时冲正。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="dispensings_return", tags=["medicines"],
        summary="登记退药：数量、追溯码、原因；多申报的药品费随即冲正",
        request=body(medicines_contract.RETURN),
        responses=answers(409, 415, 422, s200=RETURNED, s201=RETURNED),
    )  # fmt: skip
    def post(self, request: Request, dispensing_id: int) -> HttpResponse:
        """201 with the new return; the same number and content again is answered (200)."""
        self.begin(request)

        def command(given: dict) -> tuple[dict, int]:
            made, new = drug_returns.take_back(
                dispensing_id=known(dispensing_id), given=given, **self.mine()
            )
            return returned(made), 201 if new else 200

        return self.act(
            request, medicines_contract.RETURN, "dispensing.return",
            f"dispensing:{dispensing_id}", command, medicines_contract.wrong_dispensing,
        )  # fmt: skip


class PharmacyClaims(MedicinesView):
    """零售药店按处方申报已调配的药品。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="prescriptions_claim", summary="定点零售药店按流转处方申报药品费",
        tags=["medicines"], request=body(medicines_contract.PHARMACY_CLAIM),
        parameters=[IDEMPOTENCY_KEY],
        responses=answers(409, 415, 422, s201=openapi.ANSWER),
    )  # fmt: skip
    def post(self, request: Request, prescription_id: int) -> HttpResponse:
        self.begin(request)
        content = body_of(request)
        try:
            key = key_of(request, f"prescription {prescription_id}: ".encode() + content)
            given = checked(read_json(content), medicines_contract.PHARMACY_CLAIM)
            refuse(list(medicines_contract.wrong_claim(given)))
            credential_normalised(given)
            return receipt_answer(self._receive(known(prescription_id), given, key))
        except Refusal as refusal:
            self.refused("claim.receive", "claim", refusal)
            raise

    def _receive(self, prescription_id: int, given: dict, key: commands.Key) -> commands.Receipt:
        try:
            with self.rows():
                return goods.charge(
                    prescription_id=prescription_id, given=given, key=key, **self.mine()
                )
        except IntegrityError as error:
            with self.rows():
                refusal = commands.conflict_of(
                    error, institution=self.institution, claim_no=given["claim_no"]
                )
            if refusal is None:
                raise
            raise refusal from None


class Deliveries(MedicinesView):
    """委托具备资质的第三方医药物流配送。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="deliveries_create", summary="登记一次配送：物流企业和运单号",
        tags=["medicines"], request=body(medicines_contract.DELIVERY),
        responses=answers(409, 415, 422, s200=PARCEL, s201=PARCEL),
    )  # fmt: skip
    def post(self, request: Request, dispensing_id: int) -> HttpResponse:
        self.begin(request)

        def command(given: dict) -> tuple[dict, int]:
            made, new = goods.send(dispensing_id=known(dispensing_id), given=given, **self.mine())
            return parcel(made), 201 if new else 200

        return self.act(
            request, medicines_contract.DELIVERY, "delivery.send",
            f"dispensing:{dispensing_id}", command,
        )  # fmt: skip


class DeliverySteps(MedicinesView):
    """配送环节：揽收、送达、签收、退回。"""

    http_method_names = ["post"]

    @extend_schema(
        operation_id="deliveries_step", summary="登记配送环节：揽收、送达、签收或退回",
        tags=["medicines"], request=body(medicines_contract.STEP),
        responses=answers(409, 415, 422, s200=PARCEL, s201=PARCEL),
    )  # fmt: skip
    def post(self, request: Request, delivery_id: int) -> HttpResponse:
        self.begin(request)

        def command(given: dict) -> tuple[dict, int]:
            made, new = goods.step(delivery_id=known(delivery_id), given=given, **self.mine())
            return parcel(made.delivery), 201 if new else 200

        return self.act(
            request, medicines_contract.STEP, "delivery.step", f"delivery:{delivery_id}", command
        )


class EvidenceFiles(MedicinesView):
    """就诊凭据的文件：存入并核对摘要。"""

    http_method_names = ["post"]
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="evidence_file", summary="上传就诊凭据文件（PDF、JPG、PNG、XLSX）",
        tags=["medicines"], request=FILE_BODY,
        responses=answers(413, 415, 422, s200=FILED, s201=FILED),
    )  # fmt: skip
    def post(self, request: Request, encounter: str) -> HttpResponse:
        """201 with the stored file; the same file again is answered with what is stored (200)."""
        self.begin(request)
        if list(faults(encounter, ENCOUNTER_ID)):
            raise Refusal(404, "NOT_FOUND", ("没有此就诊", "no such encounter"))
        subject = f"encounter:{encounter}"[:80]
        try:
            name, content = file_of(request, most=documents.LARGEST)
            fields = {key: request.POST[key] for key in FILE_FIELDS if key in request.POST}
            given = checked(fields, medicines_contract.FILE_FIELDS)
            with self.rows():
                place = Institution.objects.get(pk=self.institution.code)
                status, taken = evidence.take_file(
                    place=place, encounter=encounter, given=given, name=name, content=content,
                    **self.mine(),
                )  # fmt: skip
        except Refusal as refusal:
            self.refused("evidence.take", subject, refusal)
            raise
        return json_answer(taken, status)


ONE = "prescriptions/<int:prescription_id>"
urlpatterns = [
    path("prescriptions", Prescriptions.as_view(), name="api-prescriptions"),
    path(ONE, OnePrescription.as_view(), name="api-prescription"),
    path(f"{ONE}/review", Review.as_view(), name="api-prescription-review"),
    path(f"{ONE}/withdrawal", Withdrawal.as_view(), name="api-prescription-withdrawal"),
    path(f"{ONE}/releases", Releases.as_view(), name="api-prescription-releases"),
    path(f"{ONE}/recall", Recall.as_view(), name="api-prescription-recall"),
    path(f"{ONE}/dispensings", Dispensings.as_view(), name="api-dispensings"),
    path(f"{ONE}/claims", PharmacyClaims.as_view(), name="api-pharmacy-claims"),
    path("dispensings/<int:dispensing_id>/deliveries", Deliveries.as_view(), name="api-deliveries"),
    path("dispensings/<int:dispensing_id>/returns", Returns.as_view(), name="api-returns"),
    path("deliveries/<int:delivery_id>/steps", DeliverySteps.as_view(), name="api-delivery-steps"),
    path("encounters/<str:encounter>/evidence/files", EvidenceFiles.as_view(),
         name="api-evidence-files"),
]  # fmt: skip
