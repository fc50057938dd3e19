"""Real claims under a city that exists only as tests/policies/invented-city.yaml."""

import datetime as dt
from pathlib import Path

import pytest

from pricing.commands import draft, publish
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

AT = dt.datetime(2022, 3, 1, 9, tzinfo=dt.UTC)
DAY = dt.date(2022, 6, 10)
FILE = Path(__file__).parents[1] / "policies" / "invented-city.yaml"


@pytest.fixture
def hospital(db, monkeypatch) -> Hospital:
    release = draft(text=FILE.read_text(encoding="utf-8"), by="起草人", at=AT)
    evidence = {"sm3": release.sm3, "cases": {"passed": 8, "failed": 0}}
    publish(release=release, evidence=evidence, by="发布人", at=AT)
    monkeypatch.setitem(factories.REGIONS, "invented", ("990100", "虚构市"))
    made = Hospital("invented", "employee")
    factories.offline_visit(made.patient, made.row, dt.date(2022, 5, 20))
    return made


def drug(fee: str) -> dict:
    return line(kind="drug", item="YP001", fee=fee)


def funds(claim: dict) -> tuple[str, str, str]:
    totals = claim["totals"]
    return totals["deductible"], totals["fund"], totals["over_cap"]


def test_claims_of_a_year_share_the_deductible_and_the_limit(hospital):
    answers = [
        hospital.settled(drug(fee), day=DAY) for fee in ("150.00", "1050.00", "9000.00", "9000.00")
    ]
    # deductible 200.00: 150 + 50; then 60 % of 1000.00; the cap 5000.00 leaves 4000.00 to the patient;
    # 60 % of 5000.00 = 3000.00, of the limit 3500.00 then only 2900.00 are left
    assert [funds(answer) for answer in answers] == [
        ("150.00", "0.00", "0.00"),
        ("50.00", "600.00", "0.00"),
        ("0.00", "2900.00", "4000.00"),
        ("0.00", "0.00", "4000.00"),
    ]
    assert answers[0]["release"]["document"] == "虚构医保发〔2022〕1号"


def test_its_own_exclusion_and_window_refuse(hospital):
    excluded = hospital.settled(drug("100.00") | {"service_type": "线上心理测评"}, day=DAY)
    late = hospital.settled(drug("100.00"), day=dt.date(2022, 7, 21))
    reasons = [claim["lines"][0]["reason"] for claim in (excluded, late)]
    assert reasons == ["EXCLUDED_SERVICE", "REVISIT_WINDOW"]
