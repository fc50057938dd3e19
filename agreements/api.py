"""REST: an institution's own agreements and applications, and evidence for a condition."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from agreements import commands
from agreements.models import Agreement, AgreementState, Application, Notice, Requirement
from audit.models import Move
from audit.procedure import PROCEDURES
from institutions import documents, openapi
from institutions.models import Document, Institution, Scope
from institutions.refusals import Fault, Refusal
from institutions.rest import InstitutionView, file_of, json_answer
from institutions.tokens import Client

EVIDENCE = "evidence"
LISTED = 100
STATEMENT = 2000  #: characters of a statement
BIGGEST_ID = 2**63 - 1
PERMITTED = frozenset({"applications.view", "applications.apply"})

TEXT, DAY, WHOLE, BOOL = openapi.TEXT, openapi.DAY, openapi.WHOLE, openapi.BOOL
STATE = openapi.record(
    state=TEXT, label=TEXT, valid_from=DAY, valid_until=openapi.or_null(DAY), reason=TEXT
)
AGREEMENT = openapi.record(
    number=TEXT, kind={"enum": list(Agreement.Kind.values)}, label=TEXT, valid_from=DAY,
    valid_until=openapi.or_null(DAY), signed_on=openapi.or_null(DAY), clause=TEXT,
    state=openapi.or_null(TEXT), states=openapi.listed(STATE),
)  # fmt: skip
AGREEMENTS = openapi.record(on=DAY, agreements=openapi.listed(AGREEMENT))
SUMMARY: dict[str, dict] = {
    "id": WHOLE, "number": TEXT, "procedure": TEXT, "title": TEXT, "state": TEXT, "label": TEXT,
    "phase": TEXT, "entered_on": DAY, "holder": TEXT, "closed": BOOL,
    "deadline": openapi.record(due=openapi.or_null(DAY), nominal=openapi.or_null(DAY),
                               clause=TEXT, stopped=BOOL, missing_year=openapi.or_null(WHOLE)),
    "missing": WHOLE,
}  # fmt: skip
FILE = openapi.record(id=WHOLE, name=TEXT, size=WHOLE, sm3=TEXT)
LINE = openapi.record(
    part={"enum": list(Requirement.Part.values)}, no=TEXT, text=TEXT, clause=TEXT, statement=TEXT,
    met=openapi.or_null(BOOL), remark=TEXT, documents=openapi.listed(FILE),
)  # fmt: skip
NOTICE = openapi.record(
    number=TEXT, kind=TEXT, made_on=DAY, delivered_on=DAY, items={"type": "array"}
)
MOVE = openapi.record(step=TEXT, label=TEXT, state=TEXT, on=DAY, note=TEXT,
                      due=openapi.or_null(DAY), on_time=openapi.or_null(BOOL))  # fmt: skip
APPLICATION = openapi.record(
    **SUMMARY, includes_main=BOOL, intention=TEXT, agreement=openapi.or_null(TEXT),
    requirements=openapi.listed(LINE), notices=openapi.listed(NOTICE), moves=openapi.listed(MOVE),
)  # fmt: skip
APPLICATIONS = openapi.record(
    results=openapi.listed(openapi.record(**SUMMARY)), next=openapi.or_null(WHOLE)
)
ON = OpenApiParameter("on", OpenApiTypes.DATE, description="状态所依据的日期，默认今天")
BEFORE = OpenApiParameter(
    "before",
    {"type": "integer", "minimum": 1, "maximum": BIGGEST_ID},
    description="只列编号更小的申请",
)
EVIDENCE_BODY = openapi.file_body(statement={"type": "string", "maxLength": STATEMENT})


@dataclass(frozen=True)
class System:
    """An institution's own system as a person of the institution: it files, and moves nothing."""

    client: Client

    region_id = None

    @property
    def username(self) -> str:
        return self.client.name

    @property
    def institution_id(self) -> str:
        return self.client.institution

    def may(self, permission: str) -> bool:
        return permission in PERMITTED

    def scope_codes(self) -> Scope:
        return Scope(institutions=(self.client.institution,))


class Agreements(InstitutionView):
    """本机构的协议及其各时点状态。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="agreements_list", tags=["agreements"], parameters=[ON],
        responses=openapi.answers(s200=AGREEMENTS),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        on = _day(request.query_params.get("on"), self.at.date())
        with self.rows():
            rows = Agreement.objects.filter(institution=self.client.institution)
            found = rows.prefetch_related("states").order_by("kind", "-valid_from")
            return json_answer(
                {"on": on.isoformat(), "agreements": [_agreement(row, on) for row in found]}
            )


def _day(text: str | None, default: dt.date) -> dt.date:
    try:
        return dt.date.fromisoformat(text) if text is not None else default
    except ValueError:
        fault = Fault("/on", "DATE_INVALID", ("应为 YYYY-MM-DD", "expected YYYY-MM-DD"))
        raise Refusal(
            400, "DATE_INVALID", ("日期有误", "the date is not valid"), (fault,)
        ) from None


def _agreement(row: Agreement, on: dt.date) -> dict[str, Any]:
    states = sorted(
        (state for state in row.states.all() if state.superseded_at is None),
        key=lambda state: state.valid_from,
    )
    now = next((state for state in states if _holds(state, on)), None)
    return {
        "number": row.number, "kind": row.kind, "label": row.get_kind_display(),
        "valid_from": row.valid_from.isoformat(), "valid_until": _iso(row.valid_until),
        "signed_on": _iso(row.signed_on), "clause": row.clause,
        "state": now.state if now else None,
        "states": [
            {"state": state.state, "label": state.get_state_display(),
             "valid_from": state.valid_from.isoformat(), "valid_until": _iso(state.valid_until),
             "reason": state.reason}
            for state in states
        ],
    }  # fmt: skip


def _holds(state: AgreementState, on: dt.date) -> bool:
    return state.valid_from <= on and (state.valid_until is None or on <= state.valid_until)


def _iso(day: dt.date | None) -> str | None:
    return day.isoformat() if day else None


class ApplicationsView(InstitutionView):
    """What the addresses of applications share: the institution's own ones."""

    def own(self) -> QuerySet[Application]:
        """The institution's applications with what their summaries count."""
        rows = Application.objects.filter(institution=self.client.institution)
        return rows.select_related("agreement").prefetch_related(
            "requirements__documents", "notices"
        )

    def one(self, application_id: int) -> Application:
        """An application of the institution; any other does not exist."""
        found = self.own().filter(pk=min(application_id, BIGGEST_ID)).first()
        if found is None:
            raise Refusal(404, "NOT_FOUND", ("没有此申请", "no such application"))
        return found


class Applications(ApplicationsView):
    """本机构的申请，新的在前。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="applications_list", tags=["agreements"], parameters=[BEFORE],
        responses=openapi.answers(s200=APPLICATIONS),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        before = _whole(request.query_params.get("before"))
        with self.rows():
            rows = self.own().filter(pk__lt=before).order_by("-pk")[: LISTED + 1]
            found = list(rows)
            more = found[LISTED - 1].pk if len(found) > LISTED else None
            return json_answer({"results": [_summary(row) for row in found[:LISTED]], "next": more})


def _whole(text: str | None) -> int:
    if text is None:
        return BIGGEST_ID
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= BIGGEST_ID):
        fault = Fault("/before", "NUMBER_INVALID", ("应为正整数", "expected a positive integer"))
        raise Refusal(400, "NUMBER_INVALID", ("编号有误", "the number is not valid"), (fault,))
    return int(text)


class OneApplication(ApplicationsView):
    """一项申请：清单、告知书、办理轨迹、期限。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="applications_read", tags=["agreements"], parameters=[],
        responses=openapi.answers(s200=APPLICATION),
    )  # fmt: skip
    def get(self, request: Request, application_id: int) -> HttpResponse:
        self.begin(request)
        with self.rows():
            return json_answer(represent(self.one(application_id)))


class Evidence(ApplicationsView):
    """为一项条件补充情况说明和证明材料。"""

    http_method_names = ["post"]
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="applications_evidence", tags=["agreements"], request=EVIDENCE_BODY,
        responses=openapi.answers(409, 413, 415, 422, s200=LINE, s201=LINE),
    )  # fmt: skip
    def post(self, request: Request, application_id: int, part: str, no: str) -> HttpResponse:
        self.begin(request)
        name, content = file_of(request, most=documents.LARGEST)
        statement = _statement(request.POST.get("statement"))
        with self.rows():
            row = self._line(self.one(application_id), part, no)
            status, row = self._attach(row, name, content, statement)
            return json_answer(_line(row, told=True), status)

    def _line(self, found: Application, part: str, no: str) -> Requirement:
        rows = (row for row in found.requirements.all() if (row.part, row.no) == (part, no))
        row = next(rows, None)
        if row is None:
            raise Refusal(404, "NOT_FOUND", (f"清单没有第 {no} 项", "no such line"))
        return row

    def _attach(
        self, row: Requirement, name: str, content: bytes, statement: str | None
    ) -> tuple[int, Requirement]:
        """The file beside those already there; the same bytes again change nothing (200)."""
        stored = list(row.documents.all())
        digest = hashlib.new("sm3", content).hexdigest()
        same = any(document.digest == digest for document in stored)
        if same and statement in (None, row.statement):
            return 200, row
        if not same:
            stored.append(self._store(row, name, content))
        return 201, commands.state_requirement(
            application=row.application, part=row.part, no=row.no, documents=stored,
            statement=row.statement if statement is None else statement, who=System(self.client),
            by=self.by, at=self.at,
        )  # fmt: skip

    def _store(self, row: Requirement, name: str, content: bytes) -> Document:
        return documents.store(
            content=content, name=name, kind=EVIDENCE, subject=row.application.subject,
            institution=Institution.objects.get(pk=self.client.institution), by=self.by, at=self.at,
        )  # fmt: skip


def _statement(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) > STATEMENT or "\0" in text:
        fault = Fault("/statement", "TEXT_INVALID", ("至多 2000 字", "at most 2000 characters"))
        raise Refusal(422, "TEXT_INVALID", ("说明有误", "the statement is not valid"), (fault,))
    return text


# --- What is answered ---


def _summary(row: Application) -> dict[str, Any]:
    table = PROCEDURES[row.procedure]
    state = table.states[row.state]
    return {
        "id": row.pk, "number": row.number, "procedure": table.slug, "title": table.title,
        "state": state.key, "label": state.label, "phase": state.phase,
        "entered_on": row.entered_on.isoformat(), "holder": state.holder,
        "closed": row.closed_at is not None,
        "deadline": {"due": _iso(row.due), "nominal": _iso(row.due_nominal),
                     "clause": row.due_clause, "stopped": row.stopped,
                     "missing_year": row.due_unknown},
        "missing": sum(_missing(row, line) for line in row.requirements.all()),
    }  # fmt: skip


def _told(row: Application, part: str) -> bool:
    """Whether the institution is told what was judged: once the result is given out."""
    judged = PROCEDURES[row.procedure].data.get("checklist", {}).get(part, {}).get("judged", ())
    waiting = any(found.kind == part and not found.delivered_on for found in row.notices.all())
    return row.state not in judged and not waiting


def _missing(row: Application, line: Requirement) -> bool:
    if line.met is False:
        return _told(row, line.part)
    stated = line.statement or line.documents.all()
    return line.met is None and line.part == Requirement.Part.MATERIALS and not stated


def represent(row: Application) -> dict[str, Any]:
    """An application as its institution sees it."""
    states = PROCEDURES[row.procedure].states
    moves = Move.objects.filter(subject=row.subject).order_by("pk")
    return {
        **_summary(row), "includes_main": row.includes_main, "intention": row.intention,
        "agreement": row.agreement.number if row.agreement else None,
        "requirements": [_line(line, told=_told(row, line.part)) for line in row.requirements.all()],
        "notices": [_notice(found) for found in row.notices.all() if found.delivered_on],
        "moves": [
            {"step": move.step, "label": move.label, "state": move.target,
             "on": move.on.isoformat(), "note": move.note, "due": _iso(move.due),
             "on_time": move.on_time}
            for move in moves if move.target in states
        ],
    }  # fmt: skip


def _line(row: Requirement, *, told: bool) -> dict[str, Any]:
    return {
        "part": row.part, "no": row.no, "text": row.text, "clause": row.clause,
        "statement": row.statement, "met": row.met if told else None,
        "remark": row.remark if told else "",
        "documents": [
            {"id": found.pk, "name": found.name, "size": found.size, "sm3": found.digest}
            for found in row.documents.all()
        ],
    }  # fmt: skip


def _notice(row: Notice) -> dict[str, Any]:
    return {
        "number": row.number, "kind": row.kind, "made_on": row.made_on.isoformat(),
        "delivered_on": _iso(row.delivered_on), "items": row.items,
    }  # fmt: skip


urlpatterns = [
    path("agreements", Agreements.as_view(), name="api-agreements"),
    path("applications", Applications.as_view(), name="api-applications"),
    path("applications/<int:application_id>", OneApplication.as_view(), name="api-application"),
    path(
        "applications/<int:application_id>/requirements/<slug:part>/<str:no>/evidence",
        Evidence.as_view(),
        name="api-requirement-evidence",
    ),
]
