"""Races with real threads and commits: one effect, no fen over a limit, no person-year lost."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from audit.models import Event
from settlement import ledger
from settlement.models import Accumulator, Claim, ClaimKey, Settlement
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital, forget_databases

THREADS = 8
LIMIT = 1_000


@pytest.fixture
def hospital(committed_db: str) -> Iterator[Hospital]:
    forget_databases()
    factories.policies("nantong")
    yield Hospital(scheme="employee")
    forget_databases()


def at_once(act: Callable[[int], object], n: int = THREADS) -> list:
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


def see_everything() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', false)")


def test_one_key_many_times_at_once_is_one_claim(hospital: Hospital) -> None:
    for number in range(5):
        body = json.dumps(hospital.body())
        answers = at_once(lambda _, body=body, key=f"race-{number}": hospital.post(body, key=key))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) <= {201, 409}
        assert statuses[201] >= 1
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert {a.json()["code"] for a in answers if a.status_code == 409} <= {
            "IDEMPOTENCY_IN_FLIGHT"
        }
        replay = hospital.post(body, key=f"race-{number}")
        assert replay.content in {answer.content for answer in answers}
    see_everything()
    assert Claim.objects.count() == ClaimKey.objects.count() == 5
    assert ledger.balance().sound


def test_one_claim_number_under_many_keys_is_one_claim(hospital: Hospital) -> None:
    bodies = [hospital.body(claim_no="SAME") for _ in range(THREADS)]
    answers = at_once(lambda n: hospital.post(bodies[n], key=f"number-{n}"))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: THREADS - 1}
    first = next(answer.json() for answer in answers if answer.status_code == 201)
    named = {answer.json()["claim"] for answer in answers if answer.status_code == 409}
    assert named == {first["links"]["self"]}
    see_everything()
    assert Settlement.objects.count() == 1


def test_nobody_gets_over_the_annual_limit(hospital: Hospital) -> None:
    """The example limit is replaced by a small one, so that a few visits reach it together."""
    from pricing.models import Release

    see_everything()
    old = Release.objects.get(kind="parameters")
    text = old.text.replace("value: 600000", f"value: {LIMIT}").replace("-nantong", "-small")
    Release.objects.create(
        slug="parameters-small", kind="parameters", region="nantong", document="x", title="x",
        text=text,
        sm3="1" * 64, valid_from=old.valid_from, state="published",
        drafted_by="a", published_by="b",
        drafted_at=factories.RECORDED, published_at=factories.RECORDED,
    )  # fmt: skip
    patients = [factories.person("nantong", "employee") for _ in range(3)]
    doctor = factories.physician(hospital.row, "associate_chief")
    bodies = [
        factories.body(patient, doctor, line(item="111102002", fee="22.00"))
        for _ in range(THREADS) for patient in patients
    ]  # fmt: skip

    def send(number: int) -> list[int]:
        share = bodies[number::THREADS]
        return [
            hospital.post(body, key=f"limit-{number}-{k}").status_code
            for k, body in enumerate(share)
        ]

    assert {status for share in at_once(send) for status in share} == {201}
    see_everything()
    assert [year.fund_used for year in Accumulator.objects.all()] == [LIMIT] * 3
    assert ledger.balance().sound


def test_a_duplicate_charge_is_found_while_the_first_is_under_way(hospital: Hospital) -> None:
    encounter = hospital.body()["encounter"]
    bodies = [hospital.body(encounter=encounter) for _ in range(THREADS)]
    answers = at_once(lambda n: hospital.post(bodies[n], key=f"visit-{n}"))
    states = Counter(answer.json()["state"] for answer in answers)
    assert states == {"payable": 1, "reject": THREADS - 1}


def test_a_claim_is_reversed_once(hospital: Hospital) -> None:
    claims = [hospital.settled() for _ in range(3)]
    see_everything()
    before = Accumulator.objects.get()
    for claim in claims:
        answers = at_once(lambda _, claim=claim: hospital.reverse(claim))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: THREADS - 1}
    see_everything()
    after = Accumulator.objects.get()
    assert (before.in_scope_used, after.in_scope_used, after.fund_used) == (3600, 0, 0)
    assert Event.objects.filter(action="claim.reverse", outcome="ok").count() == 3
    assert Event.objects.filter(action="claim.reverse", outcome="refused").count() == 3 * (
        THREADS - 1
    )
    assert ledger.balance().sound


def test_claims_and_reversals_mix_in_any_order(hospital: Hospital) -> None:
    claims = [hospital.settled() for _ in range(4)]
    bodies = [hospital.body() for _ in range(4)]

    def act(number: int) -> int:
        if number % 2:
            return hospital.reverse(claims[number // 2]).status_code
        return hospital.post(bodies[number // 2], key=f"mix-{number}").status_code

    assert set(at_once(act)) == {201}
    see_everything()
    assert Accumulator.objects.get().in_scope_used == 4 * 1200
    assert ledger.balance().sound
