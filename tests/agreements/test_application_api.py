"""REST of agreements and applications: the institution's own ones, and evidence for a condition."""

import datetime as dt
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from audit import clock
from tests import factories
from tests.agreements.cast import PDF, Cast, moment

Day = dt.date
TODAY = Day(2021, 6, 16)
MONDAY = Day(2021, 6, 7)
pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(monkeypatch: pytest.MonkeyPatch) -> Cast:
    monkeypatch.setattr(clock, "now", lambda: moment(TODAY, 15))
    return Cast()


class Caller:
    """The system of a hospital with its token."""

    def __init__(self, hospital: Any, scope: str = factories.SCOPES) -> None:
        self.headers = {"Authorization": f"Bearer {factories.token(hospital, scope)}"}
        self.client = Client(raise_request_exception=False)

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1/{path}", headers=self.headers)

    def send(self, path: str, content: bytes = PDF, **more: str) -> Any:
        file = SimpleUploadedFile("材料.pdf", content)
        return self.client.post(f"/api/v1/{path}", {"file": file, **more}, headers=self.headers)


def test_an_institution_reads_its_agreements_on_a_day(cast: Cast) -> None:
    own = Caller(cast.hospital)
    (main,) = own.get("agreements?on=2021-06-01").json()["agreements"]
    assert (main["kind"], main["state"], main["valid_until"]) == ("main", "active", "2024-12-31")
    assert [state["label"] for state in main["states"]] == ["生效"]
    (before,) = own.get("agreements?on=2018-01-01").json()["agreements"]
    assert before["state"] is None
    wrong = own.get("agreements?on=2021-13-01")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "DATE_INVALID")
    other = Caller(factories.institution("wenzhou", agreements=False))
    assert other.get("agreements").json()["agreements"] == []


def test_an_institution_reads_its_applications_only(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    own = Caller(cast.hospital)
    (summary,) = own.get("applications").json()["results"]
    assert (summary["number"], summary["state"]) == (case.number, "reviewing")
    assert summary["deadline"] == {
        "due": "2021-06-15", "nominal": "2021-06-15", "clause": "七", "stopped": False,
        "missing_year": None,
    }  # fmt: skip
    found = own.get(f"applications/{case.pk}").json()
    assert [move["step"] for move in found["moves"]] == ["open", "submit", "accept"]
    assert len(found["requirements"]) == 7
    other = Caller(factories.institution("wenzhou", agreements=False))
    assert other.get(f"applications/{case.pk}").status_code == 404
    assert other.get("applications").json() == {"results": [], "next": None}
    assert own.get("applications?before=0").status_code == 400
    assert Caller(cast.hospital, "claims:read").get("applications").status_code == 403


def test_what_was_judged_is_told_with_the_notice(cast: Cast) -> None:
    case = cast.reviewing(MONDAY)
    cast.judge(case, MONDAY, "5")
    own = Caller(cast.hospital)
    hidden = own.get(f"applications/{case.pk}").json()
    assert {line["met"] for line in hidden["requirements"]} == {None}
    cast.go(case, "fail_review", "reviewer", Day(2021, 6, 8))
    assert own.get(f"applications/{case.pk}").json()["notices"] == []
    facts = {"delivery": "mail", "receipt": ""}
    cast.go(case, "deliver_review_notice", "reviewer", Day(2021, 6, 9), facts=facts)
    told = own.get(f"applications/{case.pk}").json()
    assert [item["no"] for item in told["notices"][0]["items"]] == ["5"]
    assert (told["missing"], told["closed"]) == (1, True)


def test_evidence_is_added_once(cast: Cast) -> None:
    case = cast.apply(MONDAY)
    own = Caller(cast.hospital)
    address = f"applications/{case.pk}/requirements/materials/4/evidence"
    first = own.send(address, statement="见附件")
    assert (first.status_code, first.json()["statement"]) == (201, "见附件")
    assert own.send(address).status_code == 200
    assert len(own.send(address, PDF + b"%2").json()["documents"]) == 2
    assert own.send(f"applications/{case.pk}/requirements/materials/99/evidence").status_code == 404
    assert own.send(address, b"MZ").json()["code"] == "FILE_TYPE"
    cast.go(case, "submit", "hospital", MONDAY)
    closed = own.send(address, PDF + b"%3")
    assert (closed.status_code, closed.json()["code"]) == (409, "CHECKLIST_CLOSED")
    assert closed["Content-Type"] == "application/problem+json"
    assert closed.json()["errors"][0]["clause"] == "温医保办〔2021〕6号 六"
    assert case.requirements.get(no="4").documents.count() == 2
    other = Caller(factories.institution("wenzhou", agreements=False))
    assert other.send(address).status_code == 404
