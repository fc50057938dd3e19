"""Real threads: the same drugs are not handed out twice, nor a prescription charged twice."""

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import close_old_connections, connections

from institutions.access import EVERYTHING, scoped
from settlement.models import (
    Dispensing,
    DispensingReturn,
    Prescription,
    PrescriptionCharge,
    Settlement,
)
from tests import factories
from tests.settlement.drugs import (
    API,
    START,
    Pharmacy,
    as_carried,
    charged,
    dispensing,
    drug_line,
    moment,
    pharmacist,
    post,
    prescription,
    released,
    reviewed,
)
from tests.settlement.hospital import Hospital, forget_databases

THREADS = 8


@pytest.fixture
def hospital(committed_db: str, time_machine) -> Iterator[Hospital]:
    time_machine.move_to(START + dt.timedelta(hours=2), tick=False)
    forget_databases()
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    factories.offline_visit(made.patient, made.row)
    made.pharmacist = pharmacist(made.row)
    yield made
    forget_databases()


def together(calls: list[Callable[[], int]]) -> list[int]:
    """Statuses of calls that start at the same moment, each on a connection of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], int]) -> int:
        close_old_connections()
        barrier.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_pharmacies_cannot_hand_out_the_same_drugs(hospital: Hospital) -> None:
    pharmacies = [Pharmacy(), Pharmacy()]
    made = released(hospital, *pharmacies)
    url = made["links"]["dispensings"]

    def call(number: int) -> Callable[[], int]:
        place = pharmacies[number % 2]
        return lambda: place.post(dispensing(f"FY{number}"), url=url).status_code

    statuses = together([call(number) for number in range(THREADS)])
    assert sorted(statuses) == [201] + [409] * (THREADS - 1)
    with scoped(EVERYTHING):
        assert Dispensing.objects.count() == 1
        row = Prescription.objects.get()
        assert [line.dispensed for line in row.lines.all()] == [0, 20_000]


def test_the_same_drugs_come_back_once(hospital: Hospital) -> None:
    """Returns and the claim of the same drugs at once: one return, and the money is gone or never came."""
    pharmacy = Pharmacy()
    made = released(hospital, pharmacy)
    given = post(pharmacy, dispensing(), made["links"]["dispensings"], 201)
    url, line = given["links"]["returns"], dispensing()["lines"][0]

    def call(number: int) -> Callable[[], int]:
        if number == 0:
            return lambda: pharmacy.post(charged(hospital), url=made["links"]["claims"]).status_code
        body = {"no": f"TY{number}", "returned_at": moment(90), "reason": "quality",
                "lines": [line]}  # fmt: skip
        return lambda: pharmacy.post(body, url=url).status_code

    statuses = together([call(number) for number in range(THREADS)])
    assert sorted(statuses) == [201, 201] + [409] * (THREADS - 2)
    with scoped(EVERYTHING):
        assert DispensingReturn.objects.count() == 1
        assert Prescription.objects.get().state == "released"
        assert sum(row.fund for row in Settlement.objects.all()) == 0


def test_one_package_is_sold_once(hospital: Hospital) -> None:
    """The same trace code under two prescriptions at once: one sale."""
    urls = [reviewed(hospital, number=f"CF{n}")["links"]["dispensings"] for n in range(THREADS)]

    def call(number: int) -> Callable[[], int]:
        body = dispensing(f"FY{number}")
        body["lines"][0]["trace_codes"] = ["8100000000001"]
        return lambda: hospital.post(body, url=urls[number], key=str(number)).status_code

    statuses = together([call(number) for number in range(THREADS)])
    assert sorted(statuses) == [201] + [409] * (THREADS - 1)
    with scoped(EVERYTHING):
        assert Dispensing.objects.count() == 1


def test_claims_at_once_enter_one_prescription(hospital: Hospital) -> None:
    """The first is paid, every other one is held: the quantity is prescribed once."""
    carried = as_carried(hospital, prescription(hospital))

    def call(number: int) -> Callable[[], int]:
        body = hospital.body(drug_line(), prescriptions=[carried])
        return lambda: hospital.post(body, key=f"race-{number}").json()["state"]

    states = together([call(number) for number in range(THREADS)])
    assert sorted(states) == ["payable"] + ["review"] * (THREADS - 1)
    with scoped(EVERYTHING):
        assert Prescription.objects.count() == 1
        assert PrescriptionCharge.objects.count() == THREADS


def test_the_same_upload_at_once_is_one_prescription(hospital: Hospital) -> None:
    body = prescription(hospital)

    def call(number: int) -> Callable[[], int]:
        url = f"{API}/prescriptions"
        return lambda: hospital.post(body, url=url, key=str(number)).status_code

    statuses = together([call(number) for number in range(THREADS)])
    assert sorted(statuses) == [200] * (THREADS - 1) + [201]
    with scoped(EVERYTHING):
        assert Prescription.objects.count() == 1


def test_a_claim_and_a_dispensing_elsewhere_do_not_cross(hospital: Hospital) -> None:
    """The hospital charges while a pharmacy hands out: whoever is later is refused or held."""
    pharmacy = Pharmacy()
    made = reviewed(hospital)
    carried = as_carried(hospital, prescription(hospital))
    body = hospital.body(drug_line(), prescriptions=[carried])
    post(hospital, {"pharmacy": pharmacy.row.code}, made["links"]["releases"])
    lines: list[str] = []

    def claim() -> int:
        answer = hospital.post(body, key="cross")
        lines.append(answer.json()["lines"][0]["reason"])
        return answer.status_code

    url = made["links"]["dispensings"]
    statuses = together([claim, lambda: pharmacy.post(dispensing(), url=url).status_code])
    assert statuses == [201, 201]
    assert lines == ["PRESCRIPTION_ELSEWHERE"]
