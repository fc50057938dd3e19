"""REST of reconciliation and outages: dry run, match, differences; nobody sees another's."""

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from audit import clock
from settlement.periods import month_of
from tests import factories
from tests.settlement.hospital import Hospital
from tests.settlement.test_reconciliation import content, row

URL = "/api/v1/reconciliations"


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital()


def send(hospital: Hospital, lines: list[dict], **more: str):
    period = f"{month_of(clock.now()):%Y-%m}"
    data = {"file": SimpleUploadedFile("a.csv", content(lines)), "period": period} | more
    return hospital.client.post(URL, data, headers={"Authorization": f"Bearer {hospital.token}"})


def test_a_ledger_is_checked_then_compared(hospital: Hospital) -> None:
    claim = hospital.settled()
    dry = send(hospital, [row(hospital, claim, 金额="13.00")])
    assert (dry.status_code, dry.json()["state"]) == (201, "checked")
    own = dry.json()["links"]["self"]
    done = hospital.client.post(
        f"{own}/match", headers={"Authorization": f"Bearer {hospital.token}"}
    )
    assert done.status_code == 200, done.content.decode()
    found = hospital.get(own).json()
    assert found == done.json()
    assert [(d["kind"], d["fee_ours"], d["fee_theirs"]) for d in found["differences"]] == [
        ("amount", "12.00", "13.00"),
    ]  # fmt: skip
    at_once = send(hospital, [row(hospital, claim)], match="true").json()
    assert at_once["state_label"] == "已对平"
    assert [r["state"] for r in hospital.get(URL).json()["reconciliations"]] == [
        "balanced", "superseded",
    ]  # fmt: skip
    assert Hospital().get(own).status_code == 404


def test_row_errors_and_odd_months_are_told(hospital: Hospital) -> None:
    claim = hospital.settled()
    wrong = send(hospital, [row(hospital, claim, 金额="x")])
    assert (wrong.status_code, wrong.json()["errors"][0]["column"]) == (200, "金额")
    odd = send(hospital, [row(hospital, claim)], period="2021-13")
    assert (odd.status_code, odd.json()["code"]) == (422, "PERIOD")


def test_an_outage_is_reported_once(hospital: Hospital) -> None:
    began = dt.datetime(2021, 6, 1, 8, tzinfo=dt.UTC)
    body = {"began": began.isoformat(), "ended": (began + dt.timedelta(hours=5)).isoformat(),
            "reason": "光缆中断"}  # fmt: skip
    made = hospital.post(body, url="/api/v1/outages")
    assert (made.status_code, made.json()["state"]) == (201, "reported")
    again = hospital.post(body, url="/api/v1/outages")
    assert (again.status_code, again.json()["code"]) == (409, "OUTAGE_REPORTED")
    assert [o["id"] for o in hospital.get("/api/v1/outages").json()["outages"]] == [
        made.json()["id"]
    ]
    assert Hospital().get("/api/v1/outages").json() == {"outages": []}
