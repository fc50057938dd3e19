"""Watching at submit: what is held, what it costs, that nothing is asked where nobody watches."""

import datetime as dt
import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pricing.document import parse
from pricing.models import Release
from pricing.releases import Catalogue, Published
from pricing.rules import REASON_NO
from settlement.models import Leg, LineResult, Settlement
from supervision.models import Finding
from tests import factories
from tests.settlement.hospital import URL, Hospital

pytestmark = pytest.mark.django_db


WATCH = "supervision.watch.judge"


@pytest.fixture
def wenzhou(settings):
    settings.SETTLEMENT_WATCH = WATCH
    factories.policies("wenzhou")
    hospital = Hospital("wenzhou")
    factories.offline_visit(hospital.patient, hospital.row)
    return hospital


def somebody_else(hospital: Hospital) -> None:
    """The hospital's next patient."""
    hospital.patient = factories.person("wenzhou", "resident")
    factories.offline_visit(hospital.patient, hospital.row)


def claim(hospital: Hospital, serial: str, minute: int, encounter: str = "") -> dict:
    body = hospital.body(factories.line(fee="10.00"), claim_no=serial)
    body["encounter"] |= {
        "id": encounter or f"E{serial}",
        "started_at": f"2021-06-15T09:{minute:02d}:00+08:00",
        "ended_at": f"2021-06-15T09:{minute + 14:02d}:00+08:00",
    }
    return body


def test_an_honest_claim_costs_one_statement_more(wenzhou, settings) -> None:
    wenzhou.post(claim(wenzhou, "warm", 0))  # statements are prepared, the law is compiled
    counts = []
    for serial, minute, path in (("A", 16, ""), ("B", 32, WATCH)):
        settings.SETTLEMENT_WATCH = path
        with CaptureQueriesContext(connection) as caught:
            assert wenzhou.post(claim(wenzhou, serial, minute)).status_code == 201
        counts.append(len(caught))
    assert counts[1] - counts[0] == 1
    assert Finding.objects.count() == 0


def scans_of(month: str) -> dict[str, int]:
    """How often the partitions of lines and results of a month were read in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, coalesce(idx_scan, 0) + seq_scan FROM pg_stat_xact_user_tables"
            " WHERE relname IN ('settlement_claimline_' || %(month)s,"
            " 'settlement_lineresult_' || %(month)s)", {"month": month}
        )  # fmt: skip
        return dict(cursor.fetchall())


def test_neighbours_are_looked_for_in_their_months_only(wenzhou) -> None:
    """A session of June has no neighbours in the months before it, however many there are."""
    one = wenzhou.post(claim(wenzhou, "one", 0)).json()
    with connection.cursor() as cursor:
        cursor.execute("SELECT settlement_open_period(%s)", [dt.date(2018, 1, 1)])
    this_month = one["versions"][0]["posted"].replace("-", "_")
    before, now = scans_of("2018_01"), scans_of(this_month)
    assert wenzhou.post(claim(wenzhou, "two", 20)).status_code == 201
    assert scans_of("2018_01") == before
    assert len(before) == 2
    assert scans_of(this_month) != now


def test_a_region_without_watching_rules_asks_nothing(settings, monkeypatch) -> None:
    settings.SETTLEMENT_WATCH = WATCH
    factories.policies("jilin")
    jilin = Hospital("jilin")
    monkeypatch.setattr("supervision.watch.judge", lambda submitted: pytest.fail("asked"))
    assert jilin.post(jilin.body()).status_code == 201


def test_a_charge_made_twice_is_held_and_found_once(wenzhou) -> None:
    assert wenzhou.post(claim(wenzhou, "one", 0, "E")).json()["state"] == "payable"
    answer = wenzhou.post(claim(wenzhou, "two", 0, "E")).json()
    assert answer["state"] == "review"
    line = answer["lines"][0]
    assert (line["reason"], line["decision"]) == ("SUSPECTED", "review")
    assert line["clauses"][0]["clause"] == "二十三（一）"
    found = Finding.objects.get()
    assert (found.rule, found.moment, found.claims, found.fund) == (
        "duplicate_charge", "watch", 1, 0,
    )  # fmt: skip
    assert found.clause == "温医保办〔2021〕6号 二十三（一）；国务院令第735号 第三十八条（三）"
    assert [(row.claim_id, row.line_no) for row in found.evidence.all()] == [(answer["id"], 1)]
    result = LineResult.objects.get(claim_id=answer["id"])
    assert result.reason == REASON_NO["SUSPECTED"]
    assert not Leg.objects.filter(claim_id=answer["id"]).exists()
    assert Settlement.objects.get(claim_id=answer["id"]).held == result.fee
    assert wenzhou.get(answer["links"]["self"]).json()["lines"] == answer["lines"]


def test_overlapping_sessions_are_found_and_paid(wenzhou) -> None:
    first = wenzhou.post(claim(wenzhou, "one", 0)).json()
    somebody_else(wenzhou)
    answer = wenzhou.post(claim(wenzhou, "two", 5)).json()
    assert answer["state"] == "payable"
    found = Finding.objects.get()
    assert (found.rule, found.figures) == ("overlapping_sessions", {"minutes": 9})
    assert {row.claim_id for row in found.evidence.all()} == {first["id"], answer["id"]}


def test_a_region_may_refuse(wenzhou, monkeypatch) -> None:
    wenzhou.post(claim(wenzhou, "one", 0, "E"))
    region = "wenzhou"
    release = Release.objects.get(region=region, kind="policy")
    text = release.text.replace(
        "{rule: duplicate_charge, behaviour: duplicate_charge, severity: 3, moments: [remind, watch, audit], "
        "watch: hold,",
        "{rule: duplicate_charge, behaviour: duplicate_charge, severity: 3, moments: [remind, watch, audit], "
        "watch: refuse, patient_may_be_charged: false,",
    )
    assert text != release.text
    law = Catalogue([
        Published(r.pk, r.sm3, parse(text if r.pk == release.pk else r.text), r.valid_from, None)
        for r in Release.objects.all()
    ])  # fmt: skip
    monkeypatch.setattr("pricing.releases.catalogue_at", lambda version: law)
    answer = wenzhou.post(claim(wenzhou, "two", 0, "E")).json()
    assert (answer["state"], answer["lines"][0]["reason"]) == ("reject", "VIOLATION")
    assert answer["lines"][0]["patient_may_be_charged"] is False
    assert Settlement.objects.get(claim_id=answer["id"]).hospital == 1_000


def test_a_replay_of_the_key_watches_once(wenzhou) -> None:
    wenzhou.post(claim(wenzhou, "one", 0, "E"))
    body = claim(wenzhou, "two", 0, "E")
    first, second = (wenzhou.post(body, key="same") for _ in range(2))
    assert first.content == second.content
    assert Finding.objects.count() == 1


def test_presettlement_shows_the_hold_and_keeps_nothing(wenzhou) -> None:
    wenzhou.post(claim(wenzhou, "one", 0, "E"))
    answer = wenzhou.post(claim(wenzhou, "two", 0, "E"), url=f"{URL}/presettlement")
    assert json.loads(answer.content)["lines"][0]["reason"] == "SUSPECTED"
    assert Finding.objects.count() == 0
