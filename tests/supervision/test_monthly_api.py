"""Monthly reports moved over REST: an office's system submits, receives, returns; a person stands behind it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from audit import words
from audit.models import Event, Move, Task
from audit.procedure import PROCEDURES
from supervision import monthly
from supervision.models import MonthlyReport
from tests import factories
from tests.supervision.test_monthly import CITY, COUNTY, MADE, Bureaus
from tests.supervision.test_told_api import Reader

PROBLEM = {"type", "title", "status", "detail", "code", "errors", "trace_id"}


@pytest.fixture
def bureaus(db, monkeypatch) -> Bureaus:
    monkeypatch.setattr("audit.clock.now", lambda: MADE)
    return Bureaus()


@pytest.fixture
def county(bureaus: Bureaus) -> Reader:
    return Reader(factories.office_token(bureaus.county))


@pytest.fixture
def city(bureaus: Bureaus) -> Reader:
    return Reader(factories.office_token(bureaus.city))


def submission(bureaus: Bureaus, **more: Any) -> dict[str, Any]:
    return {"version": 1, "signed_by": bureaus.submitter.username} | more


def receipt(bureaus: Bureaus, **more: Any) -> dict[str, Any]:
    return {"version": 1, "signed_by": bureaus.receiver.username} | more


def moved(row: MonthlyReport) -> list[tuple[str, str, dict[str, Any]]]:
    rows = Move.objects.filter(subject=row.subject).exclude(step="open").order_by("pk")
    return [(move.step, move.by.partition(":")[0], move.facts) for move in rows]


def test_a_report_goes_upward_over_rest(bureaus: Bureaus, county: Reader, city: Reader) -> None:
    row = bureaus.make()
    sent = county.post(
        f"monthly-reports/{row.pk}/submission", submission(bureaus, note="十一月数据")
    )
    assert (sent["state"], sent["version"], sent["received_at"]) == ("submitted", 1, None)
    assert sent["submitted_at"] is not None
    assert sent["figures"]["whole"]["volume"]["offline"]["fund"] == 3_000
    waiting = Task.objects.get(subject=row.subject, closed_at=None)
    assert (waiting.region_code, waiting.permission) == (CITY, monthly.RECEIVE)
    (told,) = city.json("monthly-reports")["results"]
    assert (told["number"], told["state"]) == (row.number, "submitted")
    done = city.post(f"monthly-reports/{row.pk}/receipt", receipt(bureaus))
    assert (done["state"], done["label"]) == ("received", "已接收")
    assert not Task.objects.filter(subject=row.subject, closed_at=None).exists()
    assert moved(row) == [
        ("submit", "client", {"signed_by": bureaus.submitter.username}),
        ("receive", "client", {"signed_by": bureaus.receiver.username}),
    ]
    events = Event.objects.filter(subject=row.subject, actor__startswith="client:")
    assert {(event.action, event.outcome, event.region_code) for event in events} == {
        ("monthlyreport.submit", "ok", COUNTY), ("monthlyreport.receive", "ok", COUNTY)}  # fmt: skip


def test_a_returned_report_is_made_again_and_the_old_version_is_not_received(
    bureaus: Bureaus, county: Reader, city: Reader
) -> None:
    row = bureaus.make()
    county.post(f"monthly-reports/{row.pk}/submission", submission(bureaus))
    back = city.post(f"monthly-reports/{row.pk}/return", receipt(bureaus, note="漏报投诉"))
    assert back["state"] == "returned"
    row.refresh_from_db()
    assert row.returned_for == "漏报投诉"
    bureaus.take(row, "remake", bureaus.maker)
    old = county.post(f"monthly-reports/{row.pk}/submission", submission(bureaus), 409)
    assert (old["code"], "第2版" in old["detail"]) == ("CASE_MOVED", True)
    county.post(f"monthly-reports/{row.pk}/submission", submission(bureaus, version=2))
    assert city.post(f"monthly-reports/{row.pk}/receipt", receipt(bureaus), 409)["code"] == (
        "CASE_MOVED"
    )
    done = city.post(f"monthly-reports/{row.pk}/receipt", receipt(bureaus, version=2))
    assert (done["state"], done["version"]) == ("received", 2)
    city.post(f"monthly-reports/{row.pk}/return", receipt(bureaus, version=2, note="数据有误"))


@pytest.mark.parametrize("act", ["submission", "receipt"])
def test_an_act_sent_twice_is_a_conflict_and_is_recorded(
    bureaus: Bureaus, county: Reader, city: Reader, act: str
) -> None:
    row = bureaus.make() if act == "submission" else bureaus.submitted()
    reader, body = {
        "submission": (county, submission(bureaus)), "receipt": (city, receipt(bureaus)),
    }[act]  # fmt: skip
    reader.post(f"monthly-reports/{row.pk}/{act}", body)
    before = MonthlyReport.objects.values().get(pk=row.pk)
    problem = reader.post(f"monthly-reports/{row.pk}/{act}", body, 409)
    assert set(problem) == PROBLEM
    assert (problem["status"], problem["code"]) == (409, "STEP_NOT_POSSIBLE")
    assert MonthlyReport.objects.values().get(pk=row.pk) == before
    refused = Event.objects.get(outcome="refused", subject=row.subject)
    assert (
        refused.action == f"monthlyreport.{ {'submission': 'submit', 'receipt': 'receive'}[act] }"
    )
    assert refused.region_code == (COUNTY if act == "submission" else CITY)


def test_a_system_acts_for_a_person_of_its_office_who_may(
    bureaus: Bureaus, county: Reader, city: Reader
) -> None:
    row = bureaus.make()
    path = f"monthly-reports/{row.pk}/submission"
    gone = factories.user("supervisor", bureaus.county, is_active=False)
    for login, status, code in (
        ("nobody", 422, "SIGNER_UNKNOWN"),
        (bureaus.receiver.username, 422, "SIGNER_UNKNOWN"),  # of the region above
        (bureaus.maker.username, 422, "SIGNER_UNKNOWN"),  # may make, not submit
        (gone.username, 422, "SIGNER_UNKNOWN"),
    ):
        problem = county.post(path, submission(bureaus, signed_by=login), status)
        assert (problem["code"], problem["errors"][0]["pointer"]) == (code, "/signed_by")
    own = bureaus.make(who=factories.user("supervisor", bureaus.city))
    problem = city.post(f"monthly-reports/{own.pk}/submission",
                        {"version": 1, "signed_by": own.made_by}, 403)  # fmt: skip
    assert problem["code"] == "SAME_PERSON"
    row.refresh_from_db()
    assert (row.state, row.submitted_at) == ("made", None)


def test_each_region_takes_its_own_side_only(
    bureaus: Bureaus, county: Reader, city: Reader
) -> None:
    row = bureaus.submitted()
    own = county.post(f"monthly-reports/{row.pk}/receipt", submission(bureaus), 403)
    assert own["code"] == "NOT_THE_REGION_ABOVE"
    bureaus.take(row, "return", bureaus.receiver, note="漏报")
    bureaus.take(row, "remake", bureaus.maker)
    above = city.post(f"monthly-reports/{row.pk}/submission", receipt(bureaus, version=2), 403)
    assert above["code"] == "NOT_YOUR_REGION"


@pytest.mark.parametrize("act", ["submission", "receipt", "return"])
def test_another_region_knows_nothing_of_it(bureaus: Bureaus, act: str) -> None:
    row = bureaus.submitted()
    elsewhere = factories.region("nantong")
    signer = factories.user("supervisor", elsewhere)
    reader = Reader(factories.office_token(elsewhere))
    body = {"version": 1, "signed_by": signer.username}
    body |= {"note": "x"} if act == "return" else {}
    problem = reader.post(f"monthly-reports/{row.pk}/{act}", body, 404)
    assert (problem["code"], set(problem)) == ("NOT_FOUND", PROBLEM)
    assert reader.post(f"monthly-reports/{2**70}/{act}", body, 404)["code"] == "NOT_FOUND"
    row.refresh_from_db()
    assert row.state == "submitted"


def test_the_region_above_moves_nothing_that_was_not_submitted(
    bureaus: Bureaus, city: Reader
) -> None:
    row = bureaus.make()
    assert city.post(f"monthly-reports/{row.pk}/receipt", receipt(bureaus), 404)["code"] == (
        "NOT_FOUND"
    )


def test_moving_needs_its_own_scope_and_the_shape_of_the_contract(bureaus: Bureaus) -> None:
    row = bureaus.make()
    path = f"monthly-reports/{row.pk}"
    reading = Reader(factories.office_token(bureaus.county, scope="reports:read"))
    reading.json(path)
    reading.post(f"{path}/submission", submission(bureaus), 403)
    hospital = Reader(factories.token(bureaus.county_place.hospital))
    hospital.post(f"{path}/submission", submission(bureaus), 401)
    writing = Reader(factories.office_token(bureaus.county))
    assert writing.get(f"{path}/submission").status_code == 405
    writing.post(path, submission(bureaus), 405)
    for body in ({}, {"version": 1}, submission(bureaus, version="1"), submission(bureaus, x=1)):
        problem = writing.post(f"{path}/submission", body, 400)
        assert (set(problem), problem["code"]) == (PROBLEM, "BODY_INVALID")
    for more in ({}, {"note": ""}):
        body = receipt(bureaus) | more
        assert writing.post(f"{path}/return", body, 400)["errors"][0]["pointer"] == "/note"
    form = Client(raise_request_exception=False).post(
        f"/api/v1/{path}/submission", submission(bureaus), headers=writing.headers
    )
    assert form.status_code == 415


def test_the_page_shows_which_system_brought_it_and_who_signed(
    bureaus: Bureaus, county: Reader
) -> None:
    row = bureaus.make()
    county.post(f"monthly-reports/{row.pk}/submission", submission(bureaus, note="十一月数据"))
    browser = factories.log_in(Client(), bureaus.receiver)
    page = browser.get(reverse("monthly-report", args=[row.pk])).content.decode()
    assert "瑞安市系统" in page
    assert f"十一月数据 签发：{bureaus.submitter}" in page


def test_the_words_of_the_acts_are_chinese() -> None:
    steps = {step.key: step.label for step in PROCEDURES["monthly"].steps}
    assert {key: words.act(f"monthlyreport.{key}") for key in steps} == steps
