"""REST of supervision: what an institution was told, what offices' systems read; nobody reads another's."""

import datetime as dt
import json
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from institutions.models import ApiClient
from institutions.tokens import client_of, office_of
from supervision import case_papers, monthly
from supervision.models import Finding, SupervisionCase
from supervision.reports import orders
from supervision.reports.wish import Wish
from tests import factories
from tests.supervision.casework import AT, Office
from tests.supervision.test_monthly import Bureaus


class Reader:
    """A system with a token."""

    def __init__(self, token: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", headers=self.headers)
        set_scope(EVERYTHING)
        return answer

    def json(self, path: str, status: int = 200) -> Any:
        return self._told(self.get(path), status)

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> Any:
        """The answer to a JSON body."""
        answer = self.client.post(
            f"/api/v1/{path}", body, content_type="application/json", headers=self.headers
        )
        set_scope(EVERYTHING)
        return self._told(answer, status)

    def _told(self, answer: Any, status: int) -> Any:
        assert answer.status_code == status, answer.content.decode()
        return json.loads(answer.content)


def hospital_of(office: Office) -> Reader:
    return Reader(factories.token(office.place))


# --- An institution ---


def test_a_case_is_read_once_the_institution_was_told(db) -> None:
    office = Office()
    case = office.inquired()
    reader = hospital_of(office)
    assert reader.json("supervision-cases")["results"] == []
    assert reader.json(f"supervision-cases/{case.pk}", 404)["code"] == "NOT_FOUND"
    office.notify(case, "agreement", loss="6.00")
    (row,) = reader.json("supervision-cases")["results"]
    case.refresh_from_db()
    assert (row["number"], row["state"], row["loss"]) == (case.number, "statement", "6.00")
    assert (row["answer_by"], row["told_on"]) == (None, f"{AT.date()}")  # no calendar, no day
    shown = reader.json(f"supervision-cases/{case.pk}")
    kinds = {paper["kind"] for paper in shown["papers"]}
    assert "notice" in kinds
    assert not kinds & set(case_papers.INTERNAL)
    notice = next(paper for paper in shown["papers"] if paper["kind"] == "notice")
    assert notice["served_on"] == f"{AT.date()}"


def test_a_paper_is_served_as_pdf_and_every_download_is_an_event(db) -> None:
    office = Office()
    case = office.inquired()
    office.notify(case, "agreement", loss="6.00")
    reader = hospital_of(office)
    paper = case.papers.get(kind="notice")
    answer = reader.get(f"supervision-cases/{case.pk}/papers/{paper.pk}")
    assert (answer["Content-Type"], answer.content[:4]) == ("application/pdf", b"%PDF")
    event = Event.objects.get(action="supervisioncase.print", subject=case.subject)
    assert event.actor.startswith("client:")
    inside = case.papers.get(kind="filing")
    assert reader.get(f"supervision-cases/{case.pk}/papers/{inside.pk}").status_code == 404
    other = Reader(factories.token(factories.institution("nantong")))
    assert other.json("supervision-cases")["results"] == []
    assert other.get(f"supervision-cases/{case.pk}/papers/{paper.pk}").status_code == 404
    assert SupervisionCase.objects.count() == 1


def test_an_institution_reads_the_findings_that_were_confirmed(db) -> None:
    office = Office()
    claim, _ = office.claim()
    told: dict[str, Any] = {"told_at": AT, "told_by": "x"}
    for number, state in enumerate(("confirmed", "open", "refuted", "confirmed")):
        done = {} if state == "open" else {"decided_at": AT, "decided_by": "x", "reason": "属实"}
        done |= told if number == 0 else {}
        row = Finding.objects.create(
            region_code=office.region.pk, institution_code=office.place.code, rule="no_consent",
            severity=2, clause="示例", message="未告知", moment="audit", subject_kind="claim",
            subject_code="1", first_day=AT.date(), last_day=AT.date(), claims=1, fee=100, fund=60,
            key=bytes([number]), found_at=AT, state=state, **done,
        )  # fmt: skip
        row.evidence.create(claim_id=claim.pk, region_code=row.region_code,
                            institution_code=row.institution_code)  # fmt: skip
    reader = hospital_of(office)
    (row_told,) = reader.json("findings")["results"]
    assert (row_told["message"], row_told["fund"], row_told["reason"]) == ("未告知", "0.60", "属实")
    assert row_told["claims"] == [f"/api/v1/claims/{claim.pk}"]
    later = AT.date() + dt.timedelta(days=1)
    assert reader.json(f"findings?since={later}")["results"] == []
    assert reader.json("findings?since=x", 400)["code"] == "PARAMETER"
    assert reader.json("findings?sinse=1", 400)["code"] == "PARAMETER"


# --- An office ---


@pytest.fixture
def bureaus(db) -> Bureaus:
    return Bureaus()


def test_an_office_lists_and_downloads_reports_of_its_regions(bureaus: Bureaus) -> None:
    made = bureaus.make()
    order = monthly.printed(monthly.current(made))
    assert order is not None
    done = orders.make_now(order_id=order.pk, at=AT)
    assert done.state == "done", done.fault
    reader = Reader(factories.office_token(bureaus.city))
    (row,) = reader.json("reports")["results"]
    assert (row["number"], row["region"], row["sm3"]) == (
        done.number, "330381", done.report.sm3,
    )  # fmt: skip
    assert reader.json("reports?kind=fund")["results"] == []
    assert reader.json("reports?kind=none", 400)["code"] == "PARAMETER"
    paper = reader.get(row["pdf"].removeprefix("/api/v1/"))
    assert paper.content[:4] == b"%PDF"
    data = reader.json(row["data"].removeprefix("/api/v1/"))
    assert data["figures"]["number"] == made.number
    assert Event.objects.filter(action="report.read", actor__startswith="client:").count() == 2
    elsewhere = Reader(factories.office_token(factories.region("nantong")))
    assert elsewhere.json("reports")["results"] == []
    assert elsewhere.get(f"reports/{done.pk}/pdf").status_code == 404
    assert elsewhere.get(f"reports/{done.pk}/data").status_code == 404


def test_reports_that_wait_are_not_listed(bureaus: Bureaus) -> None:
    who = bureaus.receiver
    wish = Wish(since=dt.date(2021, 11, 1), until=dt.date(2021, 11, 30), region="330300")
    row = orders.order(kind="fund", wish=wish, user=who, by=who.username, at=AT)
    reader = Reader(factories.office_token(bureaus.city))
    assert reader.json("reports")["results"] == []
    assert reader.get(f"reports/{row.pk}/pdf").status_code == 404


def test_an_office_reads_monthly_reports_once_they_were_submitted(bureaus: Bureaus) -> None:
    row = bureaus.make()
    above = Reader(factories.office_token(bureaus.city))
    own = Reader(factories.office_token(bureaus.county))
    assert above.json("monthly-reports")["results"] == []
    assert [one["state"] for one in own.json("monthly-reports")["results"]] == ["made"]
    bureaus.take(row, "submit", bureaus.submitter)
    (told,) = above.json("monthly-reports?month=2021-11")["results"]
    assert (told["number"], told["state"], told["to_region"]) == (row.number, "submitted", "330300")
    assert above.json("monthly-reports?month=2021-10")["results"] == []
    assert above.json("monthly-reports?month=2021-13", 400)["code"] == "PARAMETER"
    whole = above.json(f"monthly-reports/{row.pk}")
    assert whole["figures"]["whole"]["volume"]["offline"]["fund"] == 3_000
    elsewhere = Reader(factories.office_token(factories.region("nantong")))
    assert elsewhere.json("monthly-reports")["results"] == []
    assert elsewhere.get(f"monthly-reports/{row.pk}").status_code == 404


def test_a_token_opens_its_own_side_only(bureaus: Bureaus) -> None:
    office = factories.office_token(bureaus.city)
    hospital = factories.token(bureaus.city_place.hospital)
    assert Reader(office).get("claims").status_code == 401
    assert Reader(hospital).get("reports").status_code == 401
    assert Client().get("/api/v1/reports").status_code == 401
    narrow = factories.office_token(bureaus.county, scope="trial")
    assert Reader(narrow).get("reports").status_code == 403
    assert client_of(office, at=dt.datetime.now(dt.UTC)) is None
    assert office_of(hospital, at=dt.datetime.now(dt.UTC)) is None


def test_a_client_belongs_to_one_institution_or_one_region(bureaus: Bureaus) -> None:
    given = {"name": "x", "client_type": "confidential", "client_secret": "s" * 40,
             "authorization_grant_type": "client-credentials"}  # fmt: skip
    for where in ({}, {"region": bureaus.city, "institution": bureaus.city_place.hospital}):
        with pytest.raises(IntegrityError), transaction.atomic():
            ApiClient.objects.create(**given, **where)
