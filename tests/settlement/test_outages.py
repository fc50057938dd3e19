"""Outages: uploaded in time and marked, later held and never lost, the year is the service's."""

import datetime as dt
import json
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from institutions import holidays
from institutions.access import EVERYTHING, set_scope
from institutions.refusals import Refusal
from settlement import commands, outages
from settlement.facts import Claimant
from settlement.models import Accumulator, Claim, Outage, Settlement
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

ZONE = ZoneInfo("Asia/Shanghai")
BEGAN = dt.datetime(2021, 12, 30, 8, tzinfo=ZONE)
ENDED = dt.datetime(2021, 12, 31, 20, tzinfo=ZONE)
AT = dt.datetime(2022, 1, 1, 9, tzinfo=ZONE)
#: the third working day after 12-31: 1, 2, 3 January 2022 are holidays
DUE = dt.date(2022, 1, 6)


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    set_scope(EVERYTHING)
    for year in (2021, 2022):
        holidays.import_year(
            year=year, region=holidays.NATIONAL, rows=holidays.national_year(year), by="loader",
            at=factories.RECORDED,
        )  # fmt: skip
    return Hospital()


def reported(hospital: Hospital, **more) -> Outage:
    given = {"began": BEGAN, "ended": ENDED, "reason": "运营商光缆中断"} | more
    return outages.report(institution=hospital.row, by="hospital", at=AT, **given)


def send(hospital: Hospital, at: dt.datetime, *, day: dt.date = dt.date(2021, 12, 30)) -> dict:
    body = hospital.body(line(fee="12.00"), day=day)
    place = Claimant.of(hospital.row)
    return json.loads(commands.receive(institution=place, claim=body, by="hospital", at=at).body)


def test_within_the_clock_it_is_paid_marked_and_of_its_service_year(hospital: Hospital) -> None:
    found = outages.accept(outage=reported(hospital), by="clerk", at=AT)
    assert found.upload_due.astimezone(ZONE).date() == DUE
    assert found.example
    claim = send(hospital, dt.datetime(2022, 1, 6, 18, tzinfo=ZONE))
    set_scope(EVERYTHING)
    assert claim["state"] == "payable"
    assert list(outages.claims_of(found).values_list("pk", flat=True)) == [claim["id"]]
    settled = Settlement.objects.get(claim_id=claim["id"])
    assert (settled.year, settled.period) == (2021, dt.date(2022, 1, 1))
    assert Accumulator.objects.get().year == 2021
    from settlement.answer import read

    assert read(claim["id"]).record["uploaded_in_time"] == 1


def test_later_it_is_held_with_code_and_clause_never_lost(hospital: Hospital) -> None:
    found = outages.accept(outage=reported(hospital), by="clerk", at=AT)
    claim = send(hospital, dt.datetime(2022, 1, 7, 0, 1, tzinfo=ZONE))
    assert claim["state"] == "review"
    assert claim["lines"][0]["reason"] == "UPLOAD_LATE"
    assert "三（二）" in {clause["clause"] for clause in claim["lines"][0]["clauses"]}
    set_scope(EVERYTHING)
    assert outages.claims_of(found).count() == Claim.objects.count() == 1


def test_services_outside_or_of_an_unconfirmed_outage_are_ordinary(hospital: Hospital) -> None:
    late = dt.datetime(2022, 2, 1, 9, tzinfo=ZONE)
    made = reported(hospital)
    assert send(hospital, late)["state"] == "payable"
    outages.accept(outage=made, by="clerk", at=AT)
    other = send(hospital, late, day=dt.date(2021, 12, 28))
    assert other["state"] == "payable"


def test_what_is_not_taken(hospital: Hospital) -> None:
    for more, code in (
        ({"ended": BEGAN}, "ORDER"), ({"ended": AT + dt.timedelta(hours=1)}, "FUTURE"),
        ({"reason": " "}, "REQUIRED"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=code):
            reported(hospital, **more)
    made = reported(hospital)
    with pytest.raises(Refusal, match="OUTAGE_REPORTED"):
        reported(hospital)
    with pytest.raises(Refusal, match="SECOND_PERSON"):
        outages.accept(outage=made, by="hospital", at=AT)
    with pytest.raises(Refusal, match="REQUIRED"):
        outages.refuse(outage=made, note="", by="clerk", at=AT)
    outages.refuse(outage=made, note="无证明", by="clerk", at=AT)
    with pytest.raises(Refusal, match="OUTAGE_STATE"):
        outages.accept(outage=made, by="clerk", at=AT)
    with pytest.raises(IntegrityError, match="outage_span"), transaction.atomic():
        Outage.objects.filter(pk=made.pk).update(ended=BEGAN)


def test_pages_of_both_sides(hospital: Hospital) -> None:
    theirs = factories.log_in(Client(), factories.user("hospital", hospital.row))
    sent = theirs.post(reverse("outages"), {
        "began": "2021-12-10T08:00", "ended": "2021-12-10T12:00", "reason": "机房断电",
    })  # fmt: skip
    set_scope(EVERYTHING)
    made = Outage.objects.get()
    assert sent.status_code == 302
    assert made.began == dt.datetime(2021, 12, 10, 8, tzinfo=ZONE)
    clerk = factories.log_in(Client(), factories.user("settlement_clerk", hospital.row.region))
    page = clerk.get(reverse("outage", args=[made.pk])).content.decode()
    assert "确认，允许补传" in page
    assert theirs.post(reverse("outage-decide", args=[made.pk, "accept"])).status_code == 403
    assert clerk.post(reverse("outage-decide", args=[made.pk, "accept"])).status_code == 302
    assert "已确认" in theirs.get(reverse("outages")).content.decode()
