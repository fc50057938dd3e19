"""REST of the registry: the own institution as of a day, nothing of others, evidence by digest."""

import datetime as dt
import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from audit.models import Event, Task
from institutions import commands
from institutions.models import CodeMapping, Document, Institution, PhysicianTitle
from tests import factories

API = "/api/v1/institution"
PROBLEM = "application/problem+json"
PDF = b"%PDF-1.7 evidence"
AT = dt.datetime(2021, 12, 20, 9, tzinfo=factories.ZONE)
MAPPING = {
    "kind": "item", "local_code": "HLW001", "local_name": "互联网复诊",
    "national_code": "111102001", "valid_from": "2021-01-01",
}  # fmt: skip


class System:
    """The system of a hospital with a token."""

    def __init__(self, row: Institution, scope: str = factories.SCOPES):
        self.row = row
        self.headers = {"Authorization": f"Bearer {factories.token(row, scope)}"}
        self.client = Client(raise_request_exception=False)

    def get(self, path: str = "", **query: str):
        return self.client.get(API + path, query, headers=self.headers)

    def post(self, path: str, body: dict):
        return self.client.post(
            API + path, json.dumps(body), content_type="application/json", headers=self.headers
        )

    def upload(self, content: bytes, name: str = "证明.pdf"):
        file = SimpleUploadedFile(name, content)
        return self.client.post(f"{API}/documents", {"file": file}, headers=self.headers)


@pytest.fixture
def hospital(db, settings, tmp_path) -> System:
    settings.MEDIA_ROOT = tmp_path
    return System(factories.institution("nantong", hospital_grade="二级"))


def test_the_own_institution_as_of_a_day(hospital: System) -> None:
    commands.record_facts(
        institution=hospital.row, valid_from=dt.date(2021, 6, 16),
        changes={"hospital_grade": "三级"}, source="批复", by="x", at=AT,
    )  # fmt: skip
    commands.freeze(
        institution=hospital.row, on=dt.date(2021, 7, 1), reason="变更账户", subject="change:1",
        by="x", at=AT,
    )  # fmt: skip
    before, after = hospital.get(on="2021-06-15").json(), hospital.get(on="2021-07-01").json()
    assert before["code"] == hospital.row.code
    assert before["region"] == {"code": "320600", "name": "南通市"}
    seen = [(body["facts"]["hospital_grade"], body["facts"]["valid_from"],
             body["facts"]["valid_until"], body["payment_frozen"]) for body in (before, after)]  # fmt: skip
    assert seen == [("二级", "2019-01-01", "2021-06-15", False), ("三级", "2021-06-16", None, True)]
    assert hospital.get(on="2018-01-01").json()["facts"] is None


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", {"on": "2021-02-30"}),
        ("", {"on": "20210201"}),
        ("", {"day": "2021-02-01"}),
        ("/physicians", {"limit": "0"}),
        ("/physicians", {"after": "\0"}),
        ("/mappings", {"after": "x"}),
    ],
)
def test_a_wrong_parameter_is_named(hospital: System, path: str, query: dict) -> None:
    answer = hospital.get(path, **query)
    assert (answer.status_code, answer["Content-Type"]) == (400, PROBLEM)
    assert answer.json()["errors"][0]["pointer"] in query


def test_physicians_in_pages_with_the_title_of_the_day(hospital: System) -> None:
    doctors = [factories.physician(hospital.row) for _ in range(3)]
    factories.physician(factories.institution("nantong"))
    commands.record_title(
        physician=doctors[0],
        title="chief",
        valid_from=dt.date(2021, 6, 16),
        checked=True,
        by="x",
        at=AT,
    )
    seen, after = [], ""
    while after is not None:
        body = hospital.get("/physicians", on="2021-07-01", limit="2", after=after).json()
        seen += [(row["code"], row["title"]) for row in body["results"]]
        after = body["next"]
    assert seen == [(doctors[0].code, "chief"), *((d.code, "attending") for d in doctors[1:])]
    assert PhysicianTitle.objects.counted().count() == 5


def test_qualifications_say_whether_they_hold(hospital: System) -> None:
    commands.add_qualification(
        institution=hospital.row, kind="mlps_report", number="R1", level="第三级",
        valid_from=dt.date(2021, 1, 1), valid_until=dt.date(2021, 12, 31), by="x", at=AT,
    )  # fmt: skip
    held = [hospital.get("/qualifications", on=day).json()["results"][0]["in_force"]
            for day in ("2020-12-31", "2021-01-01", "2021-12-31", "2022-01-01")]  # fmt: skip
    assert held == [False, True, True, False]


def test_a_mapping_is_submitted_once(hospital: System) -> None:
    first = hospital.post("/mappings", MAPPING)
    again = hospital.post("/mappings", MAPPING)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["state"] == "submitted"
    assert (
        Task.objects.get(subject=CodeMapping.objects.get().subject).permission == "mappings.check"
    )
    other = hospital.post("/mappings", MAPPING | {"national_code": "111102002"})
    assert (other.status_code, other.json()["code"]) == (409, "MAPPING_WAITING")
    assert [row["id"] for row in hospital.get("/mappings").json()["results"]] == [
        first.json()["id"]
    ]


def test_every_fault_of_a_mapping_is_named(hospital: System) -> None:
    answer = hospital.post(
        "/mappings", {"kind": "drugs", "local_code": "", "valid_from": "2021-02-30", "x": 1}
    )
    assert answer.status_code == 400
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {
        "/kind", "/local_code", "/local_name", "/national_code", "/valid_from", "/x"}  # fmt: skip
    reversed_days = hospital.post("/mappings", MAPPING | {"valid_until": "2020-01-01"})
    assert (reversed_days.status_code, reversed_days.json()["code"]) == (422, "DATES_REVERSED")
    blank = hospital.post("/mappings", MAPPING | {"local_code": " "})
    assert blank.status_code == 422
    assert not CodeMapping.objects.exists()


def test_the_same_file_again_is_the_same_document(hospital: System) -> None:
    first, again = hospital.upload(PDF), hospital.upload(PDF, "另一个名字.pdf")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    document = Document.objects.get()
    assert (document.name, document.institution, document.media_type) == (
        "证明.pdf", hospital.row, "application/pdf")  # fmt: skip
    assert Event.objects.get(action="document.store").actor.startswith("client:")
    stranger = System(factories.institution("nantong"))
    assert stranger.upload(PDF).status_code == 201
    assert Document.objects.count() == 2


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"MZ program", 422, "FILE_TYPE"), (b"", 422, "FILE_EMPTY"),
     (b"%PDF-" + b"x" * 8 * 1024 * 1024, 413, "FILE_TOO_LARGE")],
)  # fmt: skip
def test_what_is_no_document_is_refused(
    hospital: System, content: bytes, status: int, code: str
) -> None:
    answer = hospital.upload(content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Document.objects.exists()


def test_a_body_without_a_file_is_refused(hospital: System) -> None:
    answer = hospital.client.post(f"{API}/documents", {"x": "y"}, headers=hospital.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "FILE_MISSING")
    wrong = hospital.client.post(
        f"{API}/documents", io.BytesIO(PDF).read(), content_type="application/pdf",
        headers=hospital.headers,
    )  # fmt: skip
    assert (wrong.status_code, wrong["Content-Type"]) == (415, PROBLEM)


def test_nothing_of_others_and_nothing_without_the_scope(hospital: System) -> None:
    stranger = System(factories.institution("nantong"))
    hospital.post("/mappings", MAPPING)
    commands.add_qualification(
        institution=hospital.row, kind="other", number="Q1", valid_from=dt.date(2021, 1, 1), by="x",
        at=AT,
    )  # fmt: skip
    for path in ("/physicians", "/qualifications", "/mappings"):
        assert stranger.get(path).json()["results"] == []
    assert stranger.get().json()["code"] == stranger.row.code
    reader = System(hospital.row, "institution:read claims:read claims:write")
    assert reader.get().status_code == 200
    assert reader.post("/mappings", MAPPING).status_code == 403
    assert reader.upload(PDF).status_code == 403
    claims = System(hospital.row, "claims:read claims:write")
    assert claims.get().status_code == 403
    nobody = Client().get(API)
    assert (nobody.status_code, nobody["Content-Type"]) == (401, PROBLEM)
