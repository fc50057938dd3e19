"""What an audit reads: the version of a claim that stands, with the line results of its own month."""

import datetime as dt
import os
from contextlib import closing

import numpy as np
import psycopg2
import pytest
from django.db import connection, transaction

from institutions.access import EVERYTHING, set_scope
from pricing.releases import current
from settlement import resettlement, resettlement_lists
from settlement.models import Claim, LineResult, Settlement
from supervision import load as loading
from supervision.load import Period, load
from supervision.rules.data import LINE, VISIT, Visits
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
    spans = current().spans("nantong", *YEAR)
    with connection.cursor() as cursor:
        visits = load(cursor, "nantong", *YEAR, back=0, spans=spans).visits
    assert visits["id"].tolist() == [first["id"], second["id"], third["id"]]
    assert visits["fund"][2] == rows[2].fund
    assert visits.line("rejected").tolist() == [0, 1] * 3


def posted(hospital: Hospital, fees: str, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Claims of one fee each, `+` before one that arrives the month after: number → fees of its lines."""
    made = {}
    for mark, fee in zip(fees[::2], fees[1::2], strict=True):
        with monkeypatch.context() as patch:
            if mark == "+":
                patch.setattr("audit.clock.now", lambda: NOW + dt.timedelta(days=31))
            taken = hospital.settled(line(fee=f"{fee}.00"), line(2, item="999", fee="5.00"))
        made[taken["id"]] = [int(fee) * 100, 500]
    set_scope(EVERYTHING)
    return made


def read() -> Period:
    spans = current().spans("nantong", *YEAR)
    with transaction.atomic(), connection.cursor() as cursor:
        set_scope(EVERYTHING)
        return load(cursor, "nantong", *YEAR, back=0, spans=spans)


def fees_of(visits: Visits) -> dict[int, list[int]]:
    """The fees of lines by claim number, as the columns tie them together."""
    found: dict[int, list[int]] = {int(number): [] for number in visits["id"]}
    order = np.lexsort((visits.line("line_no"), visits.line("claim")))
    for at in order:
        found[int(visits["id"][visits.line("claim")[at]])].append(int(visits.line("fee")[at]))
    return found


@pytest.mark.parametrize("block", [1, 2, loading.BLOCK])
def test_a_claim_that_arrived_in_another_month_than_its_neighbours_is_read_once(
    db, monkeypatch, block: int
) -> None:
    """Its number lies inside the run of numbers of the month before; each run reads its own month."""
    factories.policies("nantong")
    hospital = Hospital(scheme="employee")
    made = posted(hospital, " 3 4+5 6+7", monkeypatch)
    months = dict(Claim.objects.values_list("pk", "period"))
    early, late = sorted(set(months.values()))
    assert [months[number] for number in sorted(made)] == [early, early, late, early, late]
    monkeypatch.setattr(loading, "BLOCK", block)
    found = read()
    visits = found.visits
    assert (found.claims, len(visits["id"])) == (5, 5)
    assert fees_of(visits) == made
    funds = dict(Settlement.objects.values_list("claim_id", "fund"))
    assert dict(zip(visits["id"].tolist(), visits["fund"].tolist(), strict=True)) == funds
    assert sorted(visits.line("rejected").tolist()) == [0] * 5 + [1] * 5


def sorted_columns(period: Period) -> dict[str, list]:
    """Every column in an order of its own: claims by number, lines by claim and line."""
    visits = period.visits
    by_claim = np.argsort(visits["id"], kind="stable")
    numbers = visits["id"][visits.line("claim")]
    by_line = np.lexsort((visits.line("line_no"), numbers))
    rows = {name: visits[name][by_claim].tolist() for name in ("id", *VISIT)}
    lines = {f"line {name}": visits.line(name)[by_line].tolist() for name in LINE}
    return rows | lines | {"line claim": numbers[by_line].tolist()}


def counted() -> set[bool]:
    """Whether PostgreSQL has counted the tables of claims that hold rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT reltuples >= 0 FROM pg_class WHERE relkind = 'r'
            AND relname ~ '^settlement_(claim|claimline|settlement|lineresult)_'
            AND pg_relation_size(oid) > 0"""
        )
        return {row[0] for row in cursor.fetchall()}


def test_reading_before_any_statistics_gives_what_it_gives_after(committed_db, monkeypatch) -> None:
    """A month is audited right after it was loaded: the planner knows nothing of it yet."""
    factories.policies("nantong")
    hospital = Hospital(scheme="employee")
    made = posted(hospital, " 3+4 5 6+7 8", monkeypatch)
    assert counted() == {False}
    before = read()
    assert fees_of(before.visits) == made
    with closing(psycopg2.connect(os.environ["DATABASE_OWNER_URL"])) as owner:
        owner.autocommit = True
        owner.cursor().execute("ANALYZE")
    assert counted() == {True}
    after = read()
    assert sorted_columns(after) == sorted_columns(before)
    assert (after.claims, after.names) == (before.claims, before.names)
