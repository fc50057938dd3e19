"""One claim by HTTP against a real gunicorn; the floor is the same statements, no framework."""

import copy
import datetime as dt
import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import psycopg2
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from agreements.models import Agreement, AgreementState
from institutions import crypto
from institutions.access import EVERYTHING, scoped
from institutions.models import (
    ApiClient,
    Institution,
    InstitutionFacts,
    Physician,
    PhysicianTitle,
    User,
)
from institutions.tokens import FIND
from settlement import commands, ledger
from settlement.bench.data import BY, INSTITUTION, REGION
from settlement.models import ChronicDisease, InsuredPerson, OfflineVisit
from settlement.periods import month_of

PERSONS = 400
WARM, TURN = 20, 20  #: acts before the measurement; acts of one kind before the other's turn
TOKEN = "bench-" + "t" * 30
SINCE = dt.date(2019, 1, 1)
PAID = b'"state":"payable"'  #: what the answer to every claim says: refused ones cost less
BALANCE = 5_000  #: fen on each patient's account
VISITED = (3, 5, 7, 9)  #: months of 2021 with an offline visit: no session is later than 100 days
#: The sessions of one physician lie behind each other, as on real days, and each patient comes back when
#: the drugs are used up: an honest practice, in which the rules find nothing.
FIRST_SESSION = dt.datetime(2021, 4, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=8)))
SESSION_DAYS, SUPPLY_DAYS = 28, 28
_serial, _bare = itertools.count(0), itertools.count(1)


@dataclass(frozen=True)
class Speed:
    p50_ms: float
    p99_ms: float
    per_second: float


def prepare() -> list[str]:
    """Everything a payable claim of three lines needs; the patients' ID numbers."""
    at = dt.datetime(2019, 1, 1, tzinfo=dt.UTC)
    hospital = Institution.objects.get(code=INSTITUTION)
    InstitutionFacts.objects.create(
        institution=hospital, valid_from=SINCE, recorded_at=at, price_class="3", ownership="public",
        nonprofit=True, filed_on=SINCE, offline_departments=["A03"], internet_departments=["A03"],
    )  # fmt: skip
    for kind in ("main", "supplementary"):
        agreement = Agreement.objects.create(
            institution=hospital, kind=kind, number=f"bench-{kind}", valid_from=SINCE
        )
        AgreementState.objects.create(
            agreement=agreement, state="active", valid_from=SINCE, recorded_at=at, recorded_by=BY
        )
    doctor = Physician.objects.create(
        code="D0000001", name="测量", institution=hospital, independent_since=dt.date(2010, 1, 1),
        checked_at=at,
    )  # fmt: skip
    PhysicianTitle.objects.create(
        physician=doctor, title="attending", valid_from=SINCE, recorded_at=at, recorded_by=BY,
        checked_at=at, checked_by=BY,
    )  # fmt: skip
    client = ApiClient.objects.create(
        name="bench", client_type="confidential", institution=hospital,
        authorization_grant_type="client-credentials",
    )  # fmt: skip
    get_access_token_model().objects.create(
        application=client, token=TOKEN, scope="claims:read claims:write trial",
        expires=timezone.now() + dt.timedelta(days=1),
    )  # fmt: skip
    bodies = (f"99999919700101{serial:03d}" for serial in range(PERSONS))
    numbers = [body + crypto.check_digit(body) for body in bodies]
    persons = InsuredPerson.objects.bulk_create(
        InsuredPerson(
            id_hash=crypto.person_hash(number), id_masked="999", id_cipher=b"x", name_masked="*",
            name_cipher=b"x", region_code=REGION, scheme="resident", is_demo=True,
            account_balance=BALANCE,
        )
        for number in numbers
    )  # fmt: skip
    _make_payable(persons)
    return numbers


def _make_payable(persons: Sequence[InsuredPerson]) -> None:
    """Every patient has a listed disease, seen at the hospital every second month."""
    began = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    ChronicDisease.objects.bulk_create(
        ChronicDisease(
            person=person, code="M03900", name="高血压病", valid_from=began.date(), recorded_at=began
        )
        for person in persons
    )  # fmt: skip
    OfflineVisit.objects.bulk_create(
        OfflineVisit(
            person=person, institution_code=INSTITUTION, day=dt.date(2021, month, 15),
            diagnosis_code="I10.x00x002", reported_at=began,
        )
        for person in persons for month in VISITED
    )  # fmt: skip


def claim(number: str) -> dict:
    """A claim of three lines with a number that was never used."""
    serial = next(_serial)
    turn, place = divmod(serial, PERSONS)
    day, slot = place % SESSION_DAYS, place // SESSION_DAYS
    began = FIRST_SESSION + dt.timedelta(days=turn * (SUPPLY_DAYS + 2) + day, minutes=20 * slot)
    start, end = (moment.isoformat() for moment in (began, began + dt.timedelta(minutes=15)))
    lines = [
        ("consult", "111102001", "10.00"),
        ("drug", "XC09CAS001A", "35.20"),
        ("drug", "XA10BA", "8.80"),
    ]
    return {
        "claim_no": f"S{serial}",
        "encounter": {
            "id": f"S{serial}", "business_type": "internet", "visit_type": "revisit",
            "condition": "chronic", "started_at": start, "ended_at": end,
            "department_code": "A03", "session": {"medium": "video"},
            "diagnoses": [{"code": "I10.x00x002", "name": "高血压", "main": True}],
        },
        "person": {"credential_type": "e_credential", "credential": number, "verified_at": start,
                   "matched": True},
        "consent": {"item_and_price_explained": True, "given_at": start},
        "physician": {"code": "D0000001"},
        "prescriptions": [{"no": f"P{serial}", "signed_by": "D0000001", "signed_at": start,
                           "reviewed_by": "Y1", "reviewed_at": start,
                           "lines": [{"drug_code": item, "quantity": "1", "days_supply": SUPPLY_DAYS,
                                      "unit": "盒"} for kind, item, _ in lines if kind == "drug"]}],
        "lines": [
            {"line_no": k, "kind": kind, "item_code": item, "quantity": "1", "unit_price": fee,
             "fee": fee, "prescription_no": f"P{serial}"}
            for k, (kind, item, fee) in enumerate(lines, 1)
        ],
        "channel": "online",
    }  # fmt: skip


def compared(acts: Sequence[Callable[[], Callable[[], None]]], n: int) -> list[Speed]:
    """Of each act the median and slowest hundredth of one connection, and acts a second of eight at once.

    On one connection in turns: whatever else the machine does meanwhile slows all alike.
    """
    ones = [act() for act in acts]
    for one in ones:
        for _ in range(WARM):
            one()
    times: list[list[float]] = [[] for _ in acts]
    for _ in range(max(n // TURN, 1)):
        for one, mine in zip(ones, times, strict=True):
            mine += [_seconds(one) for _ in range(TURN)]
    return [
        Speed(mine[len(mine) // 2] * 1000, mine[len(mine) * 99 // 100] * 1000, _rate(act, n // 4))
        for act, mine in zip(acts, map(sorted, times), strict=True)
    ]


def _seconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _again(act: Callable[[], None], times: int) -> None:
    for _ in range(times):
        act()


def _rate(act: Callable[[], Callable[[], None]], each: int) -> float:
    """Acts a second of eight connections at once."""
    threads = [threading.Thread(target=_again, args=(act(), each)) for _ in range(8)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 8 * each / (time.perf_counter() - began)


def meanwhile(
    work: Callable[[], object], acts: Sequence[Callable[[], None]], times: Sequence[list[float]]
) -> None:
    """Add the milliseconds of each act to its times, in turns while `work` goes on in another thread."""
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        for one, mine in zip(acts, times, strict=True):
            mine.append(_seconds(one) * 1000)
    thread.join()


@contextmanager
def web(port: int) -> Iterator[None]:
    """The portal's gunicorn on the measured database."""
    environment = os.environ | {
        "DATABASE_URL": settings.DATABASE_URL, "DATABASE_OWNER_URL": settings.DATABASE_OWNER_URL,
        "DATABASE_SETTLER_URL": settings.DATABASE_SETTLER_URL, "LOG_LEVEL": "ERROR",
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port} --workers 3",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "config.wsgi"],
        cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz"):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def by_http(port: int, numbers: list[str]) -> Callable[[], Callable[[], None]]:
    """A client that posts a new claim of a changing patient at each call."""
    patients = itertools.cycle(numbers)
    return _client(port, "/api/v1/claims", lambda: claim(next(patients)), tells=PAID)


def reminding(port: int, numbers: list[str]) -> list[Callable[[], Callable[[], None]]]:
    """Clients that try one consultation by its facts, and that ask for hints on a visit with one."""
    patients = itertools.cycle(numbers)

    def visit() -> dict:
        whole = claim(next(patients))
        line = {k: v for k, v in whole["lines"][0].items() if k != "prescription_no"}
        return whole | {"lines": [line], "prescriptions": []}

    return [
        _client(port, "/api/v1/trials?examples=1", lambda: TRIAL),
        _client(port, "/api/v1/prechecks", visit),
    ]


#: One consultation as a trial asks for it.
TRIAL = {
    "region": "wenzhou", "service": "consult", "service_date": "2021-06-15", "fee": "10.00",
    "price_class": 3, "ownership": "public", "scheme": "resident", "visit_type": "revisit",
    "business_type": "internet", "insured_area": REGION, "disease_in_list": True,
    "same_disease": True, "department_in_scope": True, "doctor_independent_months": 60,
    "last_offline_visit": "2021-05-20",
}  # fmt: skip


def _client(
    port: int, url: str, made: Callable[[], dict], tells: bytes = b""
) -> Callable[[], Callable[[], None]]:
    def client() -> Callable[[], None]:
        def post() -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as link:
                link.request(
                    "POST", url, json.dumps(made()),
                    {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json",
                     "Idempotency-Key": uuid.uuid4().hex},
                )  # fmt: skip
                answer = link.getresponse()
                text = answer.read()
                if answer.status not in (200, 201) or tells not in text:
                    raise RuntimeError(f"{answer.status} {text[:500]!r}")

        return post

    return client


def a_page(port: int) -> Callable[[], None]:
    """A reader who opens the list of claims."""
    reader = Client()
    call_command("collectstatic", interactive=False, verbosity=0)
    with scoped(EVERYTHING):
        user = User.objects.create(username="bench-reader", role="reviewer", region_id=REGION)
        reader.force_login(user)
    cookie = f"{settings.SESSION_COOKIE_NAME}={reader.cookies[settings.SESSION_COOKIE_NAME].value}"

    def read() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as link:
            link.request("GET", reverse("claims"), headers={"Cookie": cookie})
            answer = link.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the page answers {answer.status}")

    return read


def values_of_one(number: str) -> dict:
    """The values that one claim's statements get: taken from a real request in this process."""
    caught: list[dict] = []
    real = ledger.store

    def catch(values) -> None:
        caught.append(dict(values))
        real(values)

    ledger.store = catch
    try:
        answer = Client().post(
            "/api/v1/claims", json.dumps(claim(number)), content_type="application/json",
            headers={"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": uuid.uuid4().hex},
        )  # fmt: skip
    finally:
        ledger.store = real
    if answer.status_code != 201 or PAID not in answer.content:
        raise RuntimeError(answer.content.decode())
    return caught[0] | {"document": json.dumps(caught[0]["document"])}


#: The rows of the claim's prescription, its drugs and what is charged under it, as plain inserts.
PRESCRIBED = """INSERT INTO settlement_prescription (region_code, institution_code, number, person_id,
    encounter_id, encounter_key, issued_on, visit, physician_code, signed_by, signed_at, review,
    reviewed_by, reviewed_at, review_reason, source, uploaded_at, uploaded_by, state, state_reason,
    content_sm3)
VALUES (%(region)s, %(institution)s, %(claim_no)s, %(person)s, %(encounter_id)s, %(encounter_key)s,
    %(day)s, %(document)s::jsonb -> 'encounter', 'D0000001', 'D0000001', %(at)s, 'passed', 'Y1',
    %(at)s, '', 'claim', %(at)s, %(by)s, 'reviewed', '', repeat('0', 64));
INSERT INTO settlement_prescriptionline (prescription_id, drug_code, quantity, days_supply, unit,
    dispensed)
SELECT currval('settlement_prescription_id_seq'), drug, 10000, 28, '盒', 0
FROM unnest(ARRAY['XC09CAS001A', 'XA10BA']) AS g (drug);
INSERT INTO settlement_prescriptioncharge (prescription_id, claim_id, drug_code, quantity,
    region_code, institution_code, issuer_region, issuer_code)
SELECT currval('settlement_prescription_id_seq'), %(id)s, drug, 10000, %(region)s, %(institution)s,
    %(region)s, %(institution)s
FROM unnest(ARRAY['XC09CAS001A', 'XA10BA']) AS g (drug)"""


def bare(values: dict) -> Callable[[], Callable[[], None]]:
    """A connection that writes the same rows: token, key, lock, all of the claim, event, commit."""
    with scoped(EVERYTHING):
        persons = itertools.cycle(
            list(InsuredPerson.objects.values_list("pk", flat=True)[:PERSONS])
        )
    year = {"year": 2021, "scheme": "resident", "balance": 0, "area": REGION, "encounter_key": 0,
            "consult": 1}  # fmt: skip
    checksum, lock = "0" * 64, ";\n".join(ledger.lock_statements())

    def connect() -> Callable[[], None]:
        link = psycopg2.connect(settings.DATABASE_URL)
        cursor = link.cursor()

        def write() -> None:
            serial, now, person = next(_bare), timezone.now(), next(persons)
            own = copy.copy(values) | {"claim_no": f"F{serial}", "encounter_id": f"F{serial}",
                                       "person": person, "key": f"F{serial}",
                                       "event_id": str(uuid.uuid4())}  # fmt: skip
            cursor.execute(FIND, [checksum, now])
            cursor.execute(
                "SELECT set_config('app.scope', '*', true), nextval('settlement_claim_id_seq')"
            )
            own["id"] = cursor.fetchone()[1]
            cursor.execute(commands.GATE, {"lock": own["key"], "institution": INSTITUTION,
                                           "key": own["key"], "body": b"x", "at": now,
                                           "area": REGION, "month": month_of(now)})  # fmt: skip
            cursor.execute(PRESCRIBED, own)
            cursor.execute(lock, year | {"person": person})
            own["accumulator"] = cursor.fetchone()[1]
            cursor.execute(ledger.STORE + ledger.POST, own)
            link.commit()

        return write

    return connect
