"""Reminding: hints of one visit, nothing kept, faults told as problems."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import Event
from settlement.models import Claim
from supervision.models import Finding
from tests import factories
from tests.settlement.hospital import Hospital

pytestmark = pytest.mark.django_db
URL = "/api/v1/prechecks"


@pytest.fixture
def wenzhou():
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou")
    factories.offline_visit(hospital.patient, hospital.row)
    return hospital


def visit(hospital: Hospital, **encounter: object) -> dict:
    body = hospital.body(factories.line(fee="10.00"))
    del body["claim_no"], body["channel"]
    body["encounter"] |= encounter
    return body


def codes(answer) -> list[str]:
    assert answer.status_code == 200, answer.content.decode()
    return [hint["code"] for hint in answer.json()["hints"]]


def test_a_sound_visit_gets_no_hint_and_leaves_nothing(wenzhou) -> None:
    answer = wenzhou.post(visit(wenzhou), url=URL)
    assert codes(answer) == []
    told = answer.json()
    assert (told["stored"], told["person_known"]) == (False, True)
    assert "split_visits" in told["checked"]
    assert (Claim.objects.count(), Finding.objects.count()) == (0, 0)
    assert not Event.objects.filter(action="visit.precheck").exists()


def test_hints_name_message_clause_and_severity(wenzhou) -> None:
    body = visit(wenzhou)
    body["consent"]["item_and_price_explained"] = False
    body["lines"][0] |= {"unit_price": "15.00", "fee": "15.00"}
    answer = wenzhou.post(body, url=URL)
    assert codes(answer) == ["over_price", "no_consent"]
    hint = answer.json()["hints"][0]
    assert hint["clause"]["document"] == "温医保办〔2021〕6号"
    assert (hint["severity"], hint["lines"], hint["figures"]) == ("grave", [1], {"amount": 500})
    assert hint["statute"] == "国务院令第735号 第三十八条（三）"
    assert Event.objects.get(action="visit.precheck").outcome == "ok"


def test_the_neighbourhood_counts(wenzhou) -> None:
    assert wenzhou.post(wenzhou.body(factories.line(fee="10.00"))).status_code == 201
    other = factories.person("wenzhou", "resident")
    factories.offline_visit(other, wenzhou.row)
    wenzhou.patient = other
    assert codes(wenzhou.post(visit(wenzhou), url=URL)) == ["overlapping_sessions"]


def test_refills_that_come_too_early_are_told(wenzhou) -> None:
    drug = factories.line(2, kind="drug", item="D1", fee="8.00", prescription_no="P1")
    for day in ("2021-06-01", "2021-06-04"):
        body = wenzhou.body(factories.line(fee="10.00"), drug)
        body["encounter"] |= {"started_at": f"{day}T09:00:00+08:00",
                              "ended_at": f"{day}T09:10:00+08:00"}  # fmt: skip
        assert wenzhou.post(body).status_code == 201
    body = visit(wenzhou, started_at="2021-06-08T09:00:00+08:00",
                 ended_at="2021-06-08T09:10:00+08:00")  # fmt: skip
    body["lines"].append(drug)
    answer = wenzhou.post(body, url=URL)
    assert codes(answer) == ["early_refill"]
    assert answer.json()["hints"][0]["figures"]["refills"] == 2


def test_faults_are_problems(wenzhou) -> None:
    body = visit(wenzhou)
    body["person"]["credential"] = "1"
    answer = wenzhou.post(body, url=URL)
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.json()["errors"][0]["pointer"] == "/person/credential"


def test_few_statements_whatever_the_rules(wenzhou) -> None:
    wenzhou.post(visit(wenzhou), url=URL)
    with CaptureQueriesContext(connection) as caught:
        wenzhou.post(visit(wenzhou), url=URL)
    assert len(caught) <= 8
