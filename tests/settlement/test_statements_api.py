"""Statements over REST: the own ones, confirmed and objected to by the institution's system."""

import json

import pytest
from django.test import Client

from audit.models import Event
from institutions.access import EVERYTHING, set_scope
from settlement import closing
from settlement.models import Period, Statement
from settlement.statement_steps import deduct, send_all
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at

URL = "/api/v1/statements"


@pytest.fixture
def place(db, settings) -> money.Place:
    settings.DEMO_TODAY = at(12, 3).date()
    set_scope(EVERYTHING)
    made = money.Place("wenzhou")
    claim = made.claim(fund=10_000, account=500, number="WZ-1")
    deduct(
        claim_id=claim, amount=400, reason="records", note="缺病历", by="reviewer", at=at(11, 30)
    )
    period = closing.begin_closing(pool=made.pool, month=NOVEMBER, by="finance", at=at(12, 1))
    send_all(period=period, who=made.user("settlement_clerk"), by="clerk", at=at(12, 1))
    return made


class Caller:
    def __init__(self, place: money.Place):
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {factories.token(place.hospital)}"}

    def get(self, path: str = ""):
        return self.client.get(URL + path, headers=self.headers)

    def post(self, path: str, body: dict):
        return self.client.post(URL + path, json.dumps(body), content_type="application/json",
                                headers=self.headers)  # fmt: skip


def test_the_own_statements_with_chain_and_deductions(place) -> None:
    row, caller = Statement.objects.get(), Caller(place)
    listed = caller.get("?period=2021-11").json()
    assert [(one["id"], one["payable"], one["state"]) for one in listed["results"]] == [
        (row.pk, "96.19", "sent")
    ]
    assert listed["next"] is None
    assert caller.get("?period=2021-10").json()["results"] == []
    read = caller.get(f"/{row.pk}").json()
    assert [(step["key"], step["amount"]) for step in read["steps"]][:4] == [
        ("declared", "105.00"), ("deducted", "4.00"), ("deposit", "4.81"), ("set_off", "0.00"),
    ]  # fmt: skip
    assert read["deductions"][0]["claim_no"] == "WZ-1"
    assert read["confirm_by"] == "2021-12-15"
    assert caller.get("?period=2021-13").status_code == 400
    assert caller.get(f"/{2**63}").status_code == 404


def test_what_is_declared_is_told_payer_by_payer(place) -> None:
    place.confirm_all(Period.objects.get(), (12, 3))
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    december = at(12, 1).date()
    place.claim(fund=1000, major=400, assistance=20, account=5, month=december)
    month = closing.begin_closing(pool=place.pool, month=december, by="finance", at=at(1, 2, 2022))
    send_all(period=month, who=place.user("settlement_clerk"), by="clerk", at=at(1, 2, 2022))
    caller = Caller(place)
    (row,) = caller.get("?period=2021-12").json()["results"]
    for told in (row, caller.get(f"/{row['id']}").json()):
        parts = [told[name] for name in ("fund", "major", "assistance", "account", "declared")]
        assert parts == ["10.00", "4.00", "0.20", "0.05", "14.25"]


def test_it_is_confirmed_once_with_a_name(place) -> None:
    row, caller = Statement.objects.get(), Caller(place)
    path, body = f"/{row.pk}/confirmation", {"signed_name": "王院长", "version": row.version}
    assert caller.post(path, {"version": row.version}).status_code == 400
    assert caller.post(path, body | {"version": 0}).json()["code"] == "CASE_MOVED"
    answer = caller.post(path, body)
    assert (answer.status_code, answer.json()["state"]) == (200, "confirmed")
    again = caller.post(path, body | {"version": answer.json()["version"]})
    assert (again.status_code, again.json()["code"]) == (409, "STEP_NOT_POSSIBLE")
    set_scope(EVERYTHING)
    outcomes = Event.objects.filter(action="statement.confirm").values_list("outcome", flat=True)
    assert sorted(outcomes) == ["ok", "refused", "refused"]


def test_an_objection_names_known_claims(place) -> None:
    row, caller = Statement.objects.get(), Caller(place)
    body = {
        "signed_name": "李医保",
        "version": row.version,
        "reason": "病历已上传",
        "claims": ["NO-1"],
    }
    refused = caller.post(f"/{row.pk}/objection", body)
    assert (refused.status_code, refused.json()["code"]) == (422, "CLAIM_UNKNOWN")
    answer = caller.post(f"/{row.pk}/objection", body | {"claims": ["WZ-1"]})
    assert answer.json()["state"] == "objected"
    assert answer.json()["deductions"][0]["state"] == "disputed"


def test_another_hospital_finds_nothing(place) -> None:
    row, other = Statement.objects.get(), Caller(money.Place("wenzhou"))
    assert other.get().json()["results"] == []
    body = {"signed_name": "某", "version": row.version}
    for answer in (other.get(f"/{row.pk}"), other.post(f"/{row.pk}/confirmation", body)):
        assert answer.status_code == 404
