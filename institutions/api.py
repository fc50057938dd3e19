"""REST: what is registered of the client's own institution; evidence and code mappings handed in."""

import datetime as dt
import hashlib
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from audit import clock
from audit.procedure import PROCEDURES
from institutions import commands, documents, openapi
from institutions.commands.facts import FIELDS, locked
from institutions.models import (
    CodeMapping,
    Document,
    Institution,
    InstitutionFacts,
    Physician,
    Qualification,
)
from institutions.openapi import AFTER, BOOL, DAY, LIMIT, ON, TEXT, WHOLE, listed, or_null, record
from institutions.rest import (
    InstitutionView,
    after_asked,
    body_of,
    day_asked,
    file_of,
    iso,
    json_answer,
    limit_asked,
    refuse_unknown,
)
from institutions.shape import DAY as A_DAY
from institutions.shape import checked, choice, read_json, text
from institutions.shape import record as body_record

EVIDENCE = "evidence"
LIVE = ("submitted", "returned", "approved")
FLAG = or_null(BOOL)
SPAN = {"valid_from": DAY, "valid_until": or_null(DAY)}
FACTS = record(
    **SPAN, name=TEXT, internet_hospital_name=TEXT, price_class=TEXT, hospital_grade=TEXT,
    ownership=TEXT, nonprofit=BOOL,
    physical_nonprofit=FLAG, representative=TEXT, address=TEXT, filed_on=or_null(DAY),
    online_settlement=BOOL, offline_departments=listed(TEXT), internet_departments=listed(TEXT),
)  # fmt: skip
INSTITUTION = record(
    code=TEXT, kind=TEXT, name=TEXT, aliases=listed(TEXT), internet_hospital_name=TEXT,
    region=record(code=TEXT, name=TEXT), credit_code=TEXT, tier=TEXT, parent=or_null(TEXT), on=DAY,
    facts=or_null(FACTS), platforms=listed(record(platform=TEXT, **SPAN)), payment_frozen=BOOL,
)  # fmt: skip
PHYSICIAN = record(
    code=TEXT, name=TEXT, kind=TEXT, licence_no=TEXT, licence_until=or_null(DAY),
    registered_area=TEXT, independent_since=DAY, left_on=or_null(DAY), title=or_null(TEXT),
    title_label=or_null(TEXT), title_since=or_null(DAY),
)  # fmt: skip
QUALIFICATION = record(
    id=WHOLE, kind=TEXT, label=TEXT, number=TEXT, issuer=TEXT, level=TEXT, **SPAN, in_force=BOOL,
    checked=BOOL, document=or_null(WHOLE),
)  # fmt: skip
MAPPING = record(
    id=WHOLE, kind=TEXT, local_code=TEXT, local_name=TEXT, national_code=TEXT, national_name=TEXT,
    **SPAN, state=TEXT, state_label=TEXT,
)  # fmt: skip
DOCUMENT = record(id=WHOLE, name=TEXT, media_type=TEXT, size=WHOLE, sm3=TEXT,
                  uploaded_at=openapi.MOMENT)  # fmt: skip
NEXT = or_null(TEXT)
MAPPING_BODY = body_record(
    "kind local_code local_name national_code valid_from",
    kind=choice(*CodeMapping.Kind.values), local_code=text(60), local_name=text(120),
    national_code=text(60), national_name={"type": "string", "maxLength": 120},
    valid_from=A_DAY, valid_until=A_DAY,
)  # fmt: skip


class OwnView(InstitutionView):
    """What the addresses of the registry share."""

    def own(self) -> Institution:
        """The client's institution."""
        return Institution.objects.select_related("region").get(pk=self.client.institution)


class Own(OwnView):
    """本机构的登记情况：所选日期的事实、平台接入、拨付状态。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="institution_read", summary="本机构的登记情况",
        tags=["institution"], parameters=[ON],
        responses=openapi.answers(s200=INSTITUTION),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "on")
        on = day_asked(request, self.at)
        with self.rows():
            return json_answer(_institution(self.own(), on))


def _institution(found: Institution, on: dt.date) -> dict[str, Any]:
    facts = found.facts.facts_on(on)
    platforms = found.platforms.known().in_force(on=on).order_by("platform")
    return {
        "code": found.code, "kind": found.kind, "name": found.name, "aliases": found.aliases,
        "internet_hospital_name": facts.internet_hospital_name if facts else "",
        "region": {"code": found.region_id, "name": found.region.name},
        "credit_code": found.credit_code, "tier": found.tier, "parent": found.parent_id,
        "on": on.isoformat(), "facts": _facts(facts, found) if facts else None,
        "platforms": [{"platform": row.platform, **_span(row)} for row in platforms],
        "payment_frozen": found.freezes.in_force(on=on).exists(),
    }  # fmt: skip


def _facts(row: InstitutionFacts, found: Institution) -> dict[str, Any]:
    values = {key: getattr(row, key) for key in FIELDS}
    return {
        **_span(row), **values, "name": row.name or found.name, "filed_on": iso(row.filed_on),
    }  # fmt: skip


def _span(row: Any) -> dict[str, str | None]:
    return {"valid_from": row.valid_from.isoformat(), "valid_until": iso(row.valid_until)}


class Physicians(OwnView):
    """本机构的医师、药师、护士及所选日期的职称，按编码排列。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="institution_physicians", summary="本机构的医师、药师、护士",
        tags=["institution"], parameters=[ON, AFTER, LIMIT],
        responses=openapi.answers(s200=record(on=DAY, results=listed(PHYSICIAN), next=NEXT)),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "on", "after", "limit")
        on, after, limit = day_asked(request, self.at), after_asked(request), limit_asked(request)
        with self.rows():
            rows = Physician.objects.of(self.client.institution, on=on).filter(code__gt=after)
            shown, more = _page(rows, limit)
        return json_answer({
            "on": on.isoformat(), "results": [_physician(row) for row in shown],
            "next": shown[-1].code if more else None,
        })  # fmt: skip


def _page(rows: QuerySet, limit: int) -> tuple[list, bool]:
    found = list(rows[: limit + 1])
    return found[:limit], len(found) > limit


def _physician(row: Physician) -> dict[str, Any]:
    title = row.titles_on[0] if row.titles_on else None
    return {
        "code": row.code, "name": row.name, "kind": row.kind, "licence_no": row.licence_no,
        "licence_until": iso(row.licence_until), "registered_area": row.registered_area,
        "independent_since": row.independent_since.isoformat(), "left_on": iso(row.left_on),
        "title": title.title if title else None,
        "title_label": title.get_title_display() if title else None,
        "title_since": title.valid_from.isoformat() if title else None,
    }  # fmt: skip


class Qualifications(OwnView):
    """本机构登记的全部资质证照，标明所选日期是否有效。"""

    http_method_names = ["get"]

    @extend_schema(
        operation_id="institution_qualifications", summary="本机构的资质证照",
        tags=["institution"], parameters=[ON],
        responses=openapi.answers(s200=record(on=DAY, results=listed(QUALIFICATION))),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "on")
        on = day_asked(request, self.at)
        with self.rows():
            rows = Qualification.objects.known().filter(institution=self.client.institution)
            found = [_qualification(row, on) for row in rows.order_by("kind", "valid_from", "pk")]
        return json_answer({"on": on.isoformat(), "results": found})


def _qualification(row: Qualification, on: dt.date) -> dict[str, Any]:
    return {
        "id": row.pk, "kind": row.kind, "label": row.get_kind_display(), "number": row.number,
        "issuer": row.issuer, "level": row.level, **_span(row),
        "in_force": row.valid_from <= on and (row.valid_until is None or on <= row.valid_until),
        "checked": row.checked_at is not None, "document": row.document_id,
    }  # fmt: skip


class Mappings(OwnView):
    """本机构的对码：列出；提交新的对码，由信息部门审核。"""

    @extend_schema(
        operation_id="institution_mappings", summary="列出本机构的对码",
        tags=["institution"], parameters=[AFTER, LIMIT],
        responses=openapi.answers(s200=record(results=listed(MAPPING), next=NEXT)),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        self.begin(request)
        refuse_unknown(request, "after", "limit")
        after, limit = after_asked(request, whole=True), limit_asked(request)
        with self.rows():
            rows = CodeMapping.objects.filter(
                institution=self.client.institution, pk__gt=after or 0
            )
            shown, more = _page(rows.order_by("pk"), limit)
        return json_answer({
            "results": [_mapping(row) for row in shown],
            "next": str(shown[-1].pk) if more else None,
        })  # fmt: skip

    @extend_schema(
        operation_id="institution_mappings_submit", summary="提交新的对码，由信息部门审核",
        tags=["institution"],
        request=openapi.body(MAPPING_BODY),
        responses=openapi.answers(409, 415, 422, s200=MAPPING, s201=MAPPING),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """201 with the submitted mapping; the same one again is answered with it (200)."""
        self.begin(request)
        given = checked(read_json(body_of(request)), MAPPING_BODY)
        values = {key: value.strip() for key, value in given.items()} | {
            key: dt.date.fromisoformat(given[key])
            for key in ("valid_from", "valid_until") if key in given
        }  # fmt: skip
        with self.rows():
            found = locked(self.own())
            stated = {"national_name": "", "valid_until": None} | values
            same = found.mappings.filter(state__in=LIVE, **stated).first()
            made = same or commands.submit_mapping(
                institution=found, by=self.by, at=self.at, **values
            )
            return json_answer(_mapping(made), 200 if same else 201)


def _mapping(row: CodeMapping) -> dict[str, Any]:
    return {
        "id": row.pk, "kind": row.kind, "local_code": row.local_code,
        "local_name": row.local_name, "national_code": row.national_code,
        "national_name": row.national_name, **_span(row), "state": row.state,
        "state_label": PROCEDURES[row.procedure].states[row.state].label,
    }  # fmt: skip


class Documents(OwnView):
    """上传证明材料：PDF、JPG、PNG、XLSX；同一文件再次上传答复原编号。"""

    http_method_names = ["post"]
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="institution_documents",
        summary="上传证明材料；同一文件再次上传答复原编号", tags=["institution"], request=openapi.file_body(),
        responses=openapi.answers(413, 415, 422, s200=DOCUMENT, s201=DOCUMENT),
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """The SM3 digest of the bytes is the key: what the institution uploaded before is found."""
        self.begin(request)
        name, content = file_of(request, most=documents.LARGEST)
        with self.rows():
            own = locked(self.own())
            digest = hashlib.new("sm3", content).hexdigest()
            mine = Document.objects.filter(institution=own, kind=EVIDENCE, digest=digest)
            same = mine.filter(uploaded_by=self.by).order_by("pk").first()
            made = same or documents.store(
                content=content, name=name, kind=EVIDENCE, institution=own, by=self.by, at=self.at
            )
            return json_answer(_document(made), 200 if same else 201)


def _document(row: Document) -> dict[str, Any]:
    return {
        "id": row.pk, "name": row.name, "media_type": row.media_type, "size": row.size,
        "sm3": row.digest, "uploaded_at": clock.local(row.uploaded_at).isoformat(),
    }  # fmt: skip


urlpatterns = [
    path("institution", Own.as_view(), name="api-institution"),
    path("institution/physicians", Physicians.as_view(), name="api-physicians"),
    path("institution/qualifications", Qualifications.as_view(), name="api-qualifications"),
    path("institution/mappings", Mappings.as_view(), name="api-mappings"),
    path("institution/documents", Documents.as_view(), name="api-documents"),
]
