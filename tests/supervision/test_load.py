"""What an audit reads: the version of a claim that stands, with the line results of its own month."""

import datetime as dt

from django.db import connection

from institutions.access import EVERYTHING, set_scope
from pricing.releases import current
from settlement import resettlement, resettlement_lists
from settlement.models import LineResult, Settlement
from supervision.load import load
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital
from tests.settlement.test_resettlement import NOW, RATIO, ask, publish

YEAR = dt.date(2021, 1, 1), dt.date(2021, 12, 31)


def test_the_version_that_stands_is_read_with_its_lines(db) -> None:
    factories.policies("nantong")
    hospital = Hospital(scheme="employee")
    first, second, third = (
        hospital.settled(line(fee="12.00"), line(2, item="999", fee="5.00")) for _ in range(3)
    )
    gone = hospital.settled(line(fee="12.00"))
    assert hospital.reverse(gone).status_code == 201
    publish(*RATIO)
    made = ask(hospital)
    later = NOW + dt.timedelta(days=40)
    resettlement_lists.draw_all(resettlement_id=made.pk, by="system:worker", at=NOW)
    set_scope(EVERYTHING)
    made.refresh_from_db()
    resettlement.approve(resettlement=made, by="finance", at=later)
    resettlement.post_all(resettlement_id=made.pk, by="system:worker", at=later)
    set_scope(EVERYTHING)
    rows = Settlement.objects.filter(claim_id=third["id"]).order_by("version")
    assert [row.version for row in rows] == [1, 2, 3]
    assert len({row.period for row in rows}) == 2
    assert LineResult.objects.filter(claim_id=third["id"], version=3).count() == 2
    rules = current().rules("nantong", YEAR[1])
    assert rules is not None
    with connection.cursor() as cursor:
        visits = load(cursor, "nantong", *YEAR, back=0, rules=rules).visits
    assert visits["id"].tolist() == [first["id"], second["id"], third["id"]]
    assert visits["fund"][2] == rows[2].fund
    assert visits.line("rejected").tolist() == [0, 1] * 3
