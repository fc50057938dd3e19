"""A month's close against postings, with real threads and commits: nothing lands behind it, nothing is lost."""

import datetime as dt
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from audit import doorbell
from config.celery import sweep_at_once
from institutions.access import EVERYTHING, scoped
from institutions.refusals import Refusal
from settlement import clearing, closing, failpoints, ledger, tasks
from settlement.batch import checking, commands
from settlement.batch.chunk import settle_chunk
from settlement.models import (
    Chunk,
    Claim,
    ClaimLine,
    Leg,
    LineResult,
    Period,
    Settlement,
    Statement,
)
from settlement.periods import differences, open_months, posting_month
from settlement.statement_steps import deduct
from tests import factories
from tests.settlement import money
from tests.settlement.hospital import forget_databases
from tests.settlement.money import NOVEMBER, at
from tests.settlement.test_budgets import cleared_year, proposed

DECEMBER = dt.date(2021, 12, 1)
UNOPENED = at(2, 5, 2022)


@pytest.fixture
def place(committed_db: str):
    forget_databases()
    with scoped(EVERYTHING):
        made = money.Place("wenzhou")
    with transaction.atomic():
        posting_month(made.region, at(11, 5))
    with transaction.atomic():
        posting_month(made.region, at(12, 5))
    yield made
    forget_databases()


def apart(act: Callable[[], object]) -> Callable[[], object]:
    """The act in a transaction and with connections of its own."""

    def run() -> object:
        try:
            with scoped(EVERYTHING):
                return act()
        finally:
            connections.close_all()

    return run


def begin(place: money.Place) -> object:
    return closing.begin_closing(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 1))


def test_a_close_waits_for_postings_and_later_ones_go_to_the_next_month(place) -> None:
    """Each thread posts claims dated in November while the month closes among them."""
    start, each, threads = threading.Barrier(5), 12, 4

    def post() -> int:
        start.wait()
        for _ in range(each):
            apart(lambda: place.claim(fund=100, when=at(11, 30)))()
        return each

    def close() -> object:
        start.wait()
        time.sleep(0.3)
        return apart(lambda: begin(place))()

    with ThreadPoolExecutor(threads + 1) as pool:
        posted = [pool.submit(post) for _ in range(threads)]
        pool.submit(close).result()
        assert sum(one.result() for one in posted) == each * threads
    with scoped(EVERYTHING):
        months = list(Settlement.objects.values_list("period", flat=True))
        assert len(months) == each * threads
        assert set(months) <= {NOVEMBER, DECEMBER}
        row = Statement.objects.get()
        assert row.claims == months.count(NOVEMBER)
        assert differences(Period.objects.get(month=NOVEMBER)) == []
        assert ledger.balance().sound


def test_a_posting_under_way_holds_the_close_up(place) -> None:
    posted, closed = threading.Event(), threading.Event()

    def post() -> None:
        place.claim(fund=700, when=at(11, 30))
        posted.set()
        assert not closed.wait(0.5)

    def close() -> None:
        posted.wait()
        begin(place)
        closed.set()

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(apart(post)), pool.submit(apart(close))]:
            one.result()
    with scoped(EVERYTHING):
        assert Statement.objects.get().fund == 700


def test_closing_at_once_is_closing_once(place) -> None:
    apart(lambda: place.claim(fund=700, when=at(11, 30)))()

    def try_it() -> object:
        try:
            return begin(place)
        except Refusal as refusal:
            return refusal.code

    with ThreadPoolExecutor(4) as pool:
        found = [one.result() for one in [pool.submit(apart(try_it)) for _ in range(4)]]
    assert sorted(str(one) for one in found).count("PERIOD_NOT_OPEN") == 3
    with scoped(EVERYTHING):
        assert Statement.objects.count() == 1


def confirmed(place: money.Place) -> int:
    """A batch of one claim that waits to be loaded."""
    hospital, doctor = place.hospital, factories.physician(place.hospital)
    with scoped(EVERYTHING):
        factories.agreement(hospital, "main")
        factories.agreement(hospital, "supplementary")
        factories.offline_visit(place.person, hospital)
        claim = factories.body(place.person, doctor, day=dt.date(2021, 6, 15))
        found = checking.check(
            institution=hospital, file_name="a.jsonl", content=json.dumps(claim).encode(),
            by="clerk", at=at(11, 30),
        )  # fmt: skip
    apart(lambda: commands.confirm(batch_id=found.pk, by="clerk", at=at(11, 30)))()
    return found.pk


def test_a_chunk_that_settles_while_the_month_closes_is_posted_to_the_next(place) -> None:
    """The claims of a batch frozen in November, its chunk settled after the close has begun."""
    commands.load(batch_id=confirmed(place), by="worker", at=at(11, 30))
    apart(lambda: begin(place))()
    with scoped(EVERYTHING):
        period = Period.objects.get(month=NOVEMBER)
        assert "BATCH_UNFINISHED" in [code for code, _ in closing.hindrances(period)]
        (chunk,) = Chunk.objects.all()
    settle_chunk(chunk.pk, by="worker", at=at(11, 30))
    with scoped(EVERYTHING):
        assert [row.period for row in Settlement.objects.all()] == [DECEMBER]
        assert closing.hindrances(period) == []
        assert ledger.balance().sound


def test_two_months_that_begin_at_once_follow_one_another(place) -> None:
    """October has a debt to carry, nothing else: November waits for it, or it is passed over."""

    def prepare() -> None:
        claim = place.claim(fund=9000, when=at(9, 5))
        place.closed(dt.date(2021, 9, 1), (10, 2))
        deduct(claim_id=claim, amount=9000, reason="duplicate", note="x", by="r", at=at(10, 5))

    apart(prepare)()
    start = threading.Barrier(2)

    def try_it(month: dt.date) -> str:
        start.wait()
        try:
            closing.begin_closing(pool=place.pool, month=month, by="finance", at=at(12, 1))
        except Refusal as refusal:
            return refusal.code
        time.sleep(0.2)
        return "begun"

    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(apart(partial(transaction.atomic(try_it), month)))
            for month in (dt.date(2021, 10, 1), NOVEMBER)
        ]
        found = sorted(one.result() for one in made)
    assert found in (["EARLIER_PERIOD_OPEN", "begun"], ["LATER_PERIOD_CLOSED", "begun"])
    with scoped(EVERYTHING):
        assert Statement.objects.filter(period__gt=dt.date(2021, 9, 1)).get().payable == -9000


def test_a_year_is_cleared_or_its_december_opened_again_never_both(place) -> None:
    with scoped(EVERYTHING):
        cleared_year(place, 11_000)
        row = proposed(place)
        asked = closing.propose_reopening(
            pool=place.pool, month=DECEMBER, reason="x", by="one", at=at(1, 21, 2022)
        )
    start = threading.Barrier(2)

    def clear() -> None:
        clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))

    def reopen() -> None:
        closing.decide_reopening(
            reopening=asked, agree=True, decision="", by="two", at=at(1, 21, 2022)
        )

    def try_it(act: Callable[[], object]) -> str:
        start.wait()
        try:
            act()
        except Refusal as refusal:
            return refusal.code
        time.sleep(0.2)
        return "done"

    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(apart(partial(transaction.atomic(try_it), act))) for act in (clear, reopen)
        ]
        found = [one.result() for one in made]
    assert found in (["done", "YEAR_CLEARED"], ["YEAR_OPEN", "done"])


def unhindered(act: Callable[[], object]) -> Callable[[], object]:
    """The act apart, that waits for nobody's lock."""

    def run() -> object:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '500ms'")
        return act()

    return apart(run)


def read_and_post(place: money.Place) -> None:
    """Read every table that has months, and settle a claim in a month that stands."""
    for model in (Claim, ClaimLine, LineResult, Leg):
        assert model.objects.count() >= 0
    place.claim(fund=100, when=at(11, 30))


def test_who_opens_a_month_holds_up_nobody_and_waits_for_nobody(place) -> None:
    with scoped(EVERYTHING), ThreadPoolExecutor(1) as pool:
        assert posting_month(place.region, UNOPENED) == UNOPENED.date().replace(day=1)
        pool.submit(unhindered(lambda: read_and_post(place))).result()
    with scoped(EVERYTHING), ThreadPoolExecutor(1) as pool:
        read_and_post(place)
        pool.submit(unhindered(lambda: open_months(at(6, 5, 2022)))).result()


@pytest.mark.parametrize("point", ["load.claims", "chunk.settled"])
def test_a_batch_opens_its_month_before_it_begins(place, point: str) -> None:
    """A load or a chunk takes long: who posts to the new month meanwhile does not wait for its end."""
    key = confirmed(place)
    began = at(11, 30) if point.startswith("chunk") else UNOPENED

    def load() -> None:
        commands.load(batch_id=key, by="worker", at=began)

    def settle() -> None:
        settle_chunk(Chunk.objects.using("settler").get().pk, by="worker", at=UNOPENED)

    work = load
    if point.startswith("chunk"):
        load()
        work = settle
    with failpoints.planned(f"{point}:1:sleep") as plan, ThreadPoolExecutor(1) as pool:
        plan.seconds = 2
        batch = pool.submit(apart(work))
        while not plan.passed[point]:
            assert not batch.done()
            time.sleep(0.01)
        unhindered(lambda: posting_month(place.region, UNOPENED))()
        assert not batch.done()
        batch.result()


def test_months_are_open_before_anything_is_posted_to_them(place, settings, monkeypatch) -> None:
    """By beat, by a worker that starts, by `prepare`: this month and the next; once more changes nothing."""
    rung: list[str] = []
    monkeypatch.setattr(doorbell, "ring", rung.append)
    sweep_at_once()
    planned = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {tasks.open_months.name} == planned & set(rung) - {"settlement.sweep"}
    settings.DEMO_TODAY = UNOPENED.date()
    for _ in range(2):
        tasks.open_months()
        call_command("prepare", stdout=StringIO(), stderr=StringIO())
    assert opened() == {"2021_11", "2021_12", "2022_02", "2022_03"}


def opened() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'settlement_leg'::regclass"
        )
        return {name.removeprefix("settlement_leg_") for (name,) in cursor.fetchall()}
