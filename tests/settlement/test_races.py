"""Races with real threads and commits; `make races` (RACES=full) runs them in the size that was promised.

16 threads × 50 patients × 10 seeds over limit, deductible and account; 1,000 keys × 8 posts; 500 double
reversals; postings against the close of a month; batches with the same patients in opposite order.
"""

import datetime as dt
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Barrier

import numpy as np
import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.utils import timezone
from psycopg2.errors import UniqueViolation

from audit import clock
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Institution
from institutions.refusals import Refusal
from pricing.models import Release
from pricing.releases import catalogue_at
from settlement import closing, commands, failpoints, ledger, personal_accounts
from settlement.batch import checking
from settlement.batch import commands as batches
from settlement.batch.chunk import settle_chunk
from settlement.batch.load import write
from settlement.bench import data
from settlement.facts import Claimant
from settlement.models import (
    Accumulator,
    Batch,
    Chunk,
    Claim,
    IdempotencyKey,
    PersonalAccount,
    Settlement,
)
from settlement.periods import month_of
from settlement.personal_accounts import credit_account
from tests import factories

FULL = os.environ.get("RACES") == "full"
THREADS = 16 if FULL else 8
PATIENTS, SEEDS = (50, 10) if FULL else (6, 1)
KEYS, POSTS = (1_000, 8) if FULL else (40, 8)
REVERSALS = 500 if FULL else 30
LIMIT, BALANCE, REPORTS = 1_000, 700, 40
BY = "race"


@dataclass
class Place:
    hospital: Institution
    claimant: Claimant
    doctor: object
    token: str


@pytest.fixture
def place(committed_db: str) -> Iterator[Place]:
    """A hospital where the annual limit is small, so that a few visits reach it together."""
    catalogue_at.cache_clear()
    factories.policies("nantong")
    _small_limit()
    hospital = factories.institution("nantong")
    doctor = factories.physician(hospital, "associate_chief")
    row = Institution.objects.select_related("region").get(pk=hospital.pk)
    yield Place(hospital, Claimant.of(row), doctor, factories.token(hospital))
    catalogue_at.cache_clear()


def _small_limit() -> None:
    old = Release.objects.get(kind="parameters")
    text = old.text.replace("value: 600000", f"value: {LIMIT}").replace("-nantong", "-small")
    assert text.count(f"value: {LIMIT}") >= 1
    Release.objects.create(
        slug="parameters-small", kind="parameters", region="nantong", document="x", title="x",
        text=text, sm3="1" * 64, valid_from=old.valid_from, state="published", drafted_by="a",
        published_by="b", drafted_at=factories.RECORDED, published_at=factories.RECORDED,
    )  # fmt: skip


def at_once(act: Callable[[int], object], n: int) -> list:
    """Run `act(0…n-1)` in as many threads, started together, each with its own connections."""
    gate = Barrier(n)

    def run(number: int) -> object:
        try:
            gate.wait()
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


def post(place: Place, claim: dict, *, key: str | None = None, at: dt.datetime | None = None):
    """The command behind POST /claims, in its own transaction and scope."""
    given = commands.Key(key, claim["claim_no"].encode().ljust(32)) if key else None
    with scoped(EVERYTHING):
        return commands.receive(
            institution=place.claimant, claim=claim, by=BY, at=at or clock.now(), key=given
        )


def see_everything() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', false)")


def visits(place: Place, patients: list, each: int, *, seed: int) -> list[dict]:
    """Claims over the price cap and within, some from the account, in an order of chance."""
    bodies = [
        factories.body(
            patient, place.doctor, factories.line(item="111102002", fee=fee), pay_from_account=own
        )
        for patient in patients
        for fee, own in (("22.00", True), ("20.00", False), ("35.50", True), ("22.00", False))[
            :each
        ]
    ]
    order = np.random.default_rng(seed).permutation(len(bodies))
    return [bodies[k] for k in order]


def test_no_fen_over_any_cap(place: Place, record_property) -> None:
    """Annual limit, deductible and account of each patient hold, and every claim is settled."""
    spent = claims = 0.0
    for seed in range(SEEDS):
        patients = [
            factories.person("nantong", "employee", account_balance=BALANCE)
            for _ in range(PATIENTS)
        ]
        bodies = visits(place, patients, 4, seed=seed)
        bodies += visits(place, patients, 4, seed=seed + 100)
        began = time.perf_counter()
        at_once(lambda n, bodies=bodies: [post(place, b) for b in bodies[n::THREADS]], THREADS)
        spent += time.perf_counter() - began
        claims += len(bodies)
        see_everything()
        years = Accumulator.objects.filter(person__in=patients)
        assert years.count() == PATIENTS
        assert max(y.fund_used for y in years) <= LIMIT
        accounts = PersonalAccount.objects.filter(person__in=patients)
        assert min(a.account_left for a in accounts) == 0
        assert {a.account_left + _sum("account", a.person_id) for a in accounts} == {BALANCE}
        assert {y.deductible_used for y in years} == {y.deductible_used for y in years[:1]}
    assert Settlement.objects.count() == claims
    assert ledger.balance().sound
    record_property("settlements_per_second", round(claims / spent))


def test_a_reported_balance_comes_before_or_after_every_draw(place: Place) -> None:
    """No draw is lost or counted twice, whether it opened the account or waited for the report."""
    patients = [
        factories.person("nantong", "employee", account_balance=BALANCE) for _ in range(PATIENTS)
    ]
    bodies = visits(place, patients, 4, seed=7)

    given = {person.pk: 2 * BALANCE for person in patients}

    def act(number: int) -> list[dict[int, int]]:
        if number:
            for body in bodies[number - 1 :: THREADS - 1]:
                post(place, body)
            return []
        return [reported(given) for _ in range(REPORTS)]

    before = at_once(act, THREADS)[0]
    see_everything()
    for row in PersonalAccount.objects.filter(person__in=patients):
        left = [*(found[row.person_id] for found in before), row.account_left]
        opened = BALANCE + REPORTS * 2 * BALANCE
        assert opened - sum(left) == _sum("account", row.person_id)
    assert ledger.balance().sound


def reported(balances: dict[int, int]) -> dict[int, int]:
    with scoped(EVERYTHING), transaction.atomic():
        return personal_accounts.report(balances)


def _sum(name: str, person_id: int) -> int:
    rows = Settlement.objects.filter(person_id=person_id)
    return sum(rows.values_list(name, flat=True))


def test_a_thousand_keys_posted_eight_times(place: Place) -> None:
    """Each key is one claim; whoever came too early hears 409; replays are equal byte by byte."""
    patients = [factories.person("nantong", "employee") for _ in range(20)]
    bodies = [factories.body(patients[k % 20], place.doctor) for k in range(KEYS)]

    def send(n: int) -> list[bytes | str]:
        answers: list[bytes | str] = []
        for k in range(KEYS):
            try:
                answers.append(bytes(post(place, bodies[k], key=f"key-{k}").body))
            except Refusal as refusal:
                answers.append(refusal.code)
        return answers

    answers = at_once(send, POSTS)
    see_everything()
    assert Claim.objects.count() == Settlement.objects.count() == KEYS
    assert IdempotencyKey.objects.count() == KEYS
    for k in range(KEYS):
        heard = {each[k] for each in answers} - {"IDEMPOTENCY_IN_FLIGHT"}
        assert heard == {bytes(post(place, bodies[k], key=f"key-{k}").body)}
    see_everything()
    assert ledger.balance().sound


def test_double_reversals_succeed_once(place: Place) -> None:
    patients = [factories.person("nantong", "employee") for _ in range(10)]
    fee = factories.line(item="111102002", fee="22.00")
    for k in range(REVERSALS):
        post(place, factories.body(patients[k % 10], place.doctor, fee))
    see_everything()
    ids = list(Claim.objects.order_by("pk").values_list("pk", flat=True))

    def reverse(n: int) -> Counter:
        heard: Counter = Counter()
        for claim_id in ids:
            try:
                with scoped(EVERYTHING):
                    commands.reverse(
                        institution=place.claimant, claim_id=claim_id, reason="退号", by=BY,
                        at=clock.now(),
                    )  # fmt: skip
                heard["done"] += 1
            except Refusal as refusal:
                heard[refusal.code] += 1
        return heard

    first, second = at_once(reverse, 2)
    assert first + second == Counter(done=REVERSALS, ALREADY_REVERSED=REVERSALS)
    see_everything()
    assert set(Accumulator.objects.values_list("fund_used", "in_scope_used")) == {(0, 0)}
    assert ledger.balance().sound


def test_reversals_and_new_claims_around_the_cap(place: Place) -> None:
    """In any order the limit holds, and what the accumulator says is what the ledger says."""
    patients = [factories.person("nantong", "employee") for _ in range(4)]
    for body in visits(place, patients, 4, seed=1):
        post(place, body)
    see_everything()
    ids = list(Claim.objects.order_by("pk").values_list("pk", flat=True))
    fresh = visits(place, patients, 4, seed=2)

    def act(n: int) -> None:
        if n % 2:
            for claim_id in ids[n // 2 :: THREADS // 2]:
                with suppress(Refusal), scoped(EVERYTHING):
                    commands.reverse(
                        institution=place.claimant, claim_id=claim_id, reason="退号", by=BY,
                        at=clock.now(),
                    )  # fmt: skip
        else:
            for body in fresh[n // 2 :: THREADS // 2]:
                post(place, body)

    at_once(act, THREADS)
    see_everything()
    assert all(0 <= year.fund_used <= LIMIT for year in Accumulator.objects.all())
    assert ledger.balance().sound


def test_nothing_slips_into_a_month_behind_its_close(place: Place) -> None:
    """Postings share the month, closing waits for them; later ones go to the next month."""
    patients = [factories.person("nantong", "employee") for _ in range(THREADS)]
    now = timezone.now()
    month = month_of(now)
    seen: list[int] = []

    def act(n: int) -> None:
        if n:
            for _ in range(6):
                post(place, factories.body(patients[n - 1], place.doctor), at=now)
            return
        time.sleep(0.05)
        with scoped(EVERYTHING):
            closing.begin_closing(
                pool="nantong", month=month, by="finance", at=now + dt.timedelta(days=40)
            )
            seen.append(Settlement.objects.filter(period=month).count())

    at_once(act, THREADS)
    see_everything()
    assert [Settlement.objects.filter(period=month).count()] == seen
    assert Settlement.objects.count() == (THREADS - 1) * 6
    later = Settlement.objects.exclude(period=month).values_list("period", flat=True)
    assert set(later) <= {(month + dt.timedelta(days=32)).replace(day=1)}
    again = Settlement.objects.filter(period=month).first() or Settlement.objects.all()[0]
    again.version, again.period = 3, month
    with pytest.raises(IntegrityError, match="is closed"), transaction.atomic():
        again.save(force_insert=True)


def filed(place: Place, claims: list[dict]) -> int:
    """The chunk of a batch of claims that is loaded and waits."""
    batch = checking.check(
        institution=place.hospital, file_name="a.jsonl", by=BY, at=clock.now(),
        content="\n".join(map(json.dumps, claims)).encode(),
    )  # fmt: skip
    batches.confirm(batch_id=batch.pk, by=BY, at=clock.now())
    assert batches.load(batch_id=batch.pk, by=BY, at=clock.now())
    return Chunk.objects.using("settler").get(batch=batch.pk).pk


def settled_in_the_end(chunk: int) -> None:
    """As a worker does: who lost a race for a new account runs again."""
    try:
        for _ in range(3):
            with suppress(UniqueViolation):
                assert settle_chunk(chunk, by=BY, at=clock.now())
                break
    finally:
        connections.close_all()


def posted(place: Place, claim: dict) -> None:
    try:
        post(place, claim)
    finally:
        connections.close_all()


def waiting(n: int) -> None:
    """Until so many of this database wait for a lock."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN
                (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"""
            )
            if cursor.fetchone()[0] >= n:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waited")


@pytest.mark.parametrize("first", ["receive.locked", "chunk.years"])
def test_a_batch_and_a_claim_of_a_person_new_to_both(place: Place, first: str) -> None:
    """Whoever is first, the other waits for the account: both are settled, and none deadlocks."""
    patient = factories.person("nantong", "employee")
    one, two = (factories.body(patient, place.doctor) for _ in range(2))
    one["prescriptions"][0]["no"] = "P2"
    chunk = filed(place, [one])
    acts = [lambda: posted(place, two), lambda: settled_in_the_end(chunk)]
    if first == "chunk.years":
        acts.reverse()
    with failpoints.planned(f"{first}:1:sleep") as plan, ThreadPoolExecutor(2) as pool:
        plan.seconds = 1
        under_way = [pool.submit(acts[0])]
        while not plan.passed[first]:
            time.sleep(0.01)
        under_way.append(pool.submit(acts[1]))
        for each in under_way:
            each.result()
    see_everything()
    assert Settlement.objects.count() == 2
    assert deadlocks() == 0
    assert ledger.balance().sound


def test_a_batch_opens_accounts_before_years(place: Place) -> None:
    """A chunk waits for its first person's account, which is never opened; its second sends a claim then."""
    some, other = (factories.person("nantong", "employee") for _ in range(2))
    claims = [factories.body(patient, place.doctor) for patient in (some, other, other)]
    for claim in claims:
        claim["prescriptions"][0]["no"] = claim["claim_no"]
    chunk = filed(place, claims[:2])
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            credit_account(person_id=some.pk, amount=0, at=clock.now())
            batch = pool.submit(settled_in_the_end, chunk)
            waiting(1)
            single = pool.submit(posted, place, claims[2])
            with suppress(TimeoutError):
                single.result(2)
            transaction.set_rollback(True)
        batch.result()
        single.result()
    see_everything()
    assert Settlement.objects.count() == 3
    assert deadlocks() == 0
    assert ledger.balance().sound


def opposite_batches(people: np.ndarray, claims: int, name: int) -> list[Batch]:
    """Two batches of the same patients, the second in opposite order."""
    made = []
    for tag, order in (("A", people), ("B", people[::-1])):
        with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
            set_scope(EVERYTHING, using="settler")
            invented = data.invent(claims, order, seed=8, tag=f"{tag}{name}")
            batch = Batch(
                institution_code=data.INSTITUTION, region_code=data.REGION, file_name="x",
                state=Batch.State.RUNNING, created_at=data.AT, created_by=BY, started_at=data.AT,
            )  # fmt: skip
            batch.save(using="settler")
            write(cursor, batch, invented.claims, invented.lines, by=BY, at=data.AT)
            batch.save(using="settler")
            made.append(batch)
    return made


def deadlocks() -> int:
    with connections["settler"].cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


def test_batches_with_the_same_patients_in_opposite_order(committed_db: str) -> None:
    """New person-years and known ones: no deadlock; one may run again, none is counted twice."""
    catalogue_at.cache_clear()
    factories.policies("wenzhou")
    data.region()
    with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
        set_scope(EVERYTHING, using="settler")
        people = data.persons(cursor, 2_000 if FULL else 200)
    for name in (1, 2):  # the second time every person-year is known
        pair = opposite_batches(people, 10_000 if FULL else 1_000, name)

        def work(n: int, pair=pair) -> list[str]:
            faults = []
            rows = Chunk.objects.using("settler").filter(batch=pair[n]).order_by("number")
            for key in rows.values_list("pk", flat=True):
                for _ in range(4):
                    try:
                        settle_chunk(key, by=BY, at=timezone.now())
                        break
                    except (IntegrityError, OperationalError) as error:
                        faults.append(str(error))
                    except Exception as error:
                        if "duplicate key" not in str(error):
                            raise
                        faults.append(str(error))
            return faults

        heard = [fault for each in at_once(work, 2) for fault in each]
        assert [fault for fault in heard if "deadlock" in fault] == []
    assert deadlocks() == 0
    states = Batch.objects.using("settler").values_list("state", flat=True)
    assert set(states) == {Batch.State.CLOSED}
    see_everything()
    assert ledger.balance().sound
    assert batches.sweep(by=BY, at=timezone.now()) == 0
