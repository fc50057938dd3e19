"""REST: batches. A file in, its row errors or its progress out; start, pause, resume, downloads."""

from collections.abc import Callable

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from institutions.models import Institution
from institutions.money import yuan
from institutions.openapi import answers, file_body
from institutions.refusals import Refusal
from institutions.rest import encoded, file_of, json_answer
from settlement import commands as claim_commands
from settlement import openapi, sheets
from settlement.api import ClaimsView, key_of, receipt_answer
from settlement.batch import checking, commands, downloads
from settlement.models import Batch

HEAVY_BYTES = ("file", "annotated", "result")
API = "/api/v1/batches"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LISTED = 100
State = Batch.State
FILE_BODY = file_body(
    start={"type": "boolean", "description": "无错误时立即开始 / start at once when sound"}
)
ANSWER = {"type": "object", "required": ["id", "state", "claims", "progress", "errors", "links"]}


def represent(batch: Batch, *, at) -> dict:
    """A batch as the API shows it; amounts as decimal strings."""
    own = f"{API}/{batch.pk}"
    amounts = {k: yuan(v) for k, v in batch.totals.items() if k not in ("claims", "lines", "legs")}
    return {
        "id": batch.pk, "file_name": batch.file_name, "file_sm3": batch.file_sm3,
        "state": batch.state,
        "state_label": batch.get_state_display(), "claims": batch.claims, "lines": batch.lines,
        "fee_total": yuan(batch.fee_total), "manifest_sm3": batch.manifest_sm3,
        "result_sm3": batch.result_sm3, "totals": amounts, "errors": batch.errors,
        "progress": commands.progress(batch, at=at),
        "links": {
            "self": own,
            "annotated": f"{own}/annotated.xlsx" if batch.errors and batch.state != State.FAILED else None,
            "result": f"{own}/result.csv" if batch.state == State.CLOSED else None,
            "result_xlsx": f"{own}/result.xlsx" if batch.state == State.CLOSED else None,
        },
    }  # fmt: skip


MOVES: dict[str, Callable[..., Batch]] = {
    "start": commands.confirm,
    "pause": commands.pause,
    "resume": commands.resume,
}


class BatchesView(ClaimsView):
    """What the addresses of batches share: rows of the token's institution only."""

    def get_parsers(self) -> list:
        return [MultiPartParser()]

    def batch(self, batch_id: int, *, heavy: bool = False) -> Batch:
        rows = Batch.objects.filter(institution_code=self.institution.code, pk=batch_id)
        found = (rows if heavy else rows.defer(*HEAVY_BYTES)).first()
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此批次", "no such batch"))
        return found

    def closed(self, batch_id: int) -> Batch:
        """A batch whose result is whole; Refusal (409) before."""
        found = self.batch(batch_id)
        if found.state != State.CLOSED:
            detail = ("批次尚未结算完毕，没有结果文件", "the batch has no result yet")
            raise Refusal(409, "BATCH_STATE", detail)
        return found

    def taken(self, batch_id: int, form: str) -> Batch:
        """A batch whose result is taken away: an event."""
        found = self.closed(batch_id)
        with self.rows():
            downloads.taken(found, form=form, by=self.by, at=self.at)
        return found

    def act(self, action: Callable[..., Batch], **given: object) -> Batch:
        return action(**given, by=self.by, at=self.at)


class Batches(BatchesView):
    """上传申请文件；列出本机构的批次。"""

    @extend_schema(
        operation_id="batches_create", summary="上传申请文件，核对每一行",
        tags=["batches"], request=FILE_BODY,
        parameters=[openapi.OPTIONAL_KEY],
        responses=answers(409, 413, 415, 422, s202=ANSWER, s201=ANSWER, s200=ANSWER),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """小文件立即核对：201 无错误，200 有行错误（不入库）。大文件先保存：202，结果查 `links.self`。

        带 Idempotency-Key 重发同一文件，按已存的回答。
        """
        self.begin(request)
        try:
            name, content = file_of(request, most=sheets.MAX_BYTES)
            start = request.POST.get("start", "")
            if "Idempotency-Key" not in request.headers:
                return receipt_answer(self._taken(name, content, start))
            key = key_of(request, "\0".join((name, start, "")).encode() + content)
            with self.rows():
                receipt = claim_commands.enter(self.institution, key, self.at)
                if receipt is None:
                    receipt = self._taken(name, content, start)
                    claim_commands.keep(self.institution, key, receipt)
        except Refusal as refusal:
            self.refused("batch.check", "batch", refusal)
            raise
        return receipt_answer(receipt)

    def _taken(self, name: str, content: bytes, start: str) -> claim_commands.Receipt:
        """A file taken in, and started when it is sound and asked for."""
        institution = Institution.objects.select_related("region").get(pk=self.institution.code)
        batch = self.act(
            checking.take, institution=institution, file_name=name, content=content,
            start=start == "true",
        )  # fmt: skip
        status = 202 if batch.state == State.CHECKING else 200 if batch.errors else 201
        return claim_commands.Receipt(status, encoded(represent(batch, at=self.at)))

    @extend_schema(
        operation_id="batches_list", summary="列出本机构的批次",
        tags=["batches"],
        responses=answers(s200={"type": "object", "required": ["batches"]}),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        rows = Batch.objects.filter(institution_code=self.institution.code).order_by("-pk")
        found = [represent(batch, at=self.at) for batch in rows.defer(*HEAVY_BYTES)[:LISTED]]
        return json_answer({"batches": found})


class OneBatch(BatchesView):
    """一个批次：进度、合计、行错误。"""

    @extend_schema(operation_id="batches_read", tags=["batches"], responses=answers(s200=ANSWER))
    def get(self, request: Request, batch_id: int) -> HttpResponse:
        self.begin(request)
        found = self.batch(batch_id)
        commands.wake(found, at=self.at)  # whoever looks rings for one in which nothing moves
        return json_answer(represent(found, at=self.at))


class Move(BatchesView):
    """开始、暂停、继续。"""

    move = ""

    @extend_schema(tags=["batches"], request=None, responses=answers(409, s200=ANSWER))
    def post(self, request: Request, batch_id: int) -> HttpResponse:
        self.begin(request)
        subject = f"batch:{batch_id}"
        try:
            batch = self.act(MOVES[self.move], batch_id=self.batch(batch_id).pk)
        except Refusal as refusal:
            self.refused(f"batch.{self.move}", subject, refusal)
            raise
        return json_answer(represent(batch, at=self.at))


class Result(BatchesView):
    """结算结果 CSV。"""

    @extend_schema(
        operation_id="batches_result", tags=["batches"],
        responses=answers(409) | {(200, "text/csv"): OpenApiTypes.BINARY},
    )  # fmt: skip
    def get(self, request: Request, batch_id: int) -> StreamingHttpResponse:
        self.begin(request)
        batch = self.taken(batch_id, "csv")
        return StreamingHttpResponse(
            downloads.result_csv(batch), content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="result-{batch.pk}.csv"',
                     "Cache-Control": "no-store"},
        )  # fmt: skip


class ResultWorkbook(BatchesView):
    """结算结果工作簿。"""

    @extend_schema(
        operation_id="batches_result_xlsx", tags=["batches"],
        responses=answers(409) | {(200, XLSX): OpenApiTypes.BINARY},
    )  # fmt: skip
    def get(self, request: Request, batch_id: int) -> HttpResponse:
        self.begin(request)
        batch = self.taken(batch_id, "xlsx")
        return _workbook(downloads.result_workbook(batch), f"result-{batch.pk}.xlsx")


class Annotated(BatchesView):
    """带行错误说明的工作簿。"""

    @extend_schema(
        operation_id="batches_annotated", tags=["batches"],
        responses=answers() | {(200, XLSX): OpenApiTypes.BINARY},
    )  # fmt: skip
    def get(self, request: Request, batch_id: int) -> HttpResponse:
        self.begin(request)
        batch = self.batch(batch_id, heavy=True)
        with self.rows():
            content = downloads.annotated(batch, by=self.by, at=self.at)
        if content is None:
            raise Refusal(404, "NOT_FOUND", ("此批次没有行错误", "the batch has no row errors"))
        return _workbook(content, f"annotated-{batch.pk}.xlsx")


class Template(BatchesView):
    """空白模板工作簿。"""

    @extend_schema(
        operation_id="batches_template", tags=["batches"],
        responses=answers() | {(200, XLSX): OpenApiTypes.BINARY},
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        return _workbook(sheets.template(), "template.xlsx")


def _workbook(content: bytes, name: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=XLSX,
        headers={"Content-Disposition": f'attachment; filename="{name}"',
                 "Cache-Control": "no-store"},
    )  # fmt: skip


class Start(Move):
    """开始：装载、冻结、结算。"""

    move = "start"


class Pause(Move):
    """暂停：此后不再有分块开始。"""

    move = "pause"


class Resume(Move):
    """继续。"""

    move = "resume"


urlpatterns = [
    path("batches", Batches.as_view(), name="api-batches"),
    path("batches/template.xlsx", Template.as_view(), name="api-batch-template"),
    path("batches/<int:batch_id>", OneBatch.as_view(), name="api-batch"),
    path("batches/<int:batch_id>/start", Start.as_view(), name="api-batch-start"),
    path("batches/<int:batch_id>/pause", Pause.as_view(), name="api-batch-pause"),
    path("batches/<int:batch_id>/resume", Resume.as_view(), name="api-batch-resume"),
    path("batches/<int:batch_id>/result.csv", Result.as_view(), name="api-batch-result"),
    path("batches/<int:batch_id>/result.xlsx", ResultWorkbook.as_view(), name="api-batch-workbook"),
    path("batches/<int:batch_id>/annotated.xlsx", Annotated.as_view(), name="api-batch-annotated"),
]
