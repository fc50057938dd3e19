"""Invented claims for measurements, by COPY; the same seed makes the same claims."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
from django.db import connections, transaction

from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, Region
from pricing.rules import CODES, SERVICES
from settlement.batch.load import EMPTY_ARRAY, facts_bytes, write
from settlement.columns import TRISTATE, blank, day_number
from settlement.copy import columns, copy_in
from settlement.models import Batch

AT = dt.datetime(2021, 12, 1, 9, tzinfo=dt.timezone(dt.timedelta(hours=8)))
REGION, INSTITUTION = "330300", "H33030000001"
BY = "bench"
CLAIMS_PER_PERSON = 5
LINES_PER_CLAIM = 3
PERSON = columns(
    id_hash="bytea", id_masked="text", id_cipher="bytea", name_masked="text", name_cipher="bytea",
    region_code="text", scheme="text", account_balance="int8", is_demo="bool",
)  # fmt: skip


@dataclass
class Invented:
    """Columns of claims and lines as `settlement.batch.load.write` takes them."""

    claims: dict
    lines: dict


def region() -> None:
    """The region and institution that the claims belong to."""
    Region.objects.get_or_create(
        code=REGION, defaults={"name": "温州市", "level": "prefecture", "policy_region": "wenzhou"}
    )
    Institution.objects.get_or_create(
        code=INSTITUTION, defaults={"name": "测量用机构", "region_id": REGION, "is_demo": True}
    )


def persons(cursor, n: int) -> np.ndarray:
    """Register n persons who did not exist; their ids."""
    cursor.execute("SELECT coalesce(max(id), 0) FROM settlement_insuredperson")
    before = cursor.fetchone()[0]
    serial = np.char.zfill(np.arange(before, before + n).astype("S12"), 12)
    rows = {
        "id_hash": np.char.add(b"bench-person-hash-00", serial).astype("S32"),
        "id_masked": b"330**********0000", "id_cipher": b"x", "name_masked": b"*",
        "name_cipher": b"x", "region_code": REGION.encode(), "scheme": b"resident",
        "account_balance": 50_000, "is_demo": True,
    }  # fmt: skip
    copy_in(cursor, "settlement_insuredperson", PERSON, rows, n)
    cursor.execute("SELECT id FROM settlement_insuredperson WHERE id > %s ORDER BY id", [before])
    return np.array([row[0] for row in cursor.fetchall()], np.int64)


def invent(n: int, people: np.ndarray, *, seed: int, tag: str) -> Invented:
    """n claims of three lines: one consultation and two drugs; about one in ten has a fault."""
    chance = np.random.default_rng(seed)
    facts = blank(n)
    for name in TRISTATE:
        facts[name] = 1
    person = np.arange(n) % len(people)
    facts["scheme"] = 1 + person % (len(CODES["scheme"]) - 1)  # a person has one
    facts["ownership"] = CODES["ownership"].index("public")
    facts["visit_type"] = np.where(chance.random(n) < 0.02, 1, 2)
    facts["condition"] = 1
    facts["business_type"] = 1
    facts["doctor_title"] = 2
    facts["agreement_state"] = 1
    facts["price_class"] = 3
    facts["experience_months"] = 60
    facts["pay_from_account"] = 1
    day = day_number(dt.date(2021, 4, 1)) + chance.integers(0, 200, n)
    facts["service_day"] = day
    facts["last_offline_day"] = day - chance.integers(1, 100, n)
    facts["disease_in_list"] = chance.random(n) > 0.02
    facts["pharmacist_reviewed"] = chance.random(n) > 0.03
    line_fee = chance.integers(500, 20_000, (n, LINES_PER_CLAIM))
    line_fee[:, 0] = 1_000
    number = np.char.add(tag.encode(), np.char.zfill(np.arange(n).astype("S9"), 9))
    claims = {
        "claim_no": number,
        "person_id": people[person],
        "service_date": day,
        "fee": line_fee.sum(axis=1),
        "facts": facts_bytes(facts),
        "encounter_id": number,
        "encounter_key": chance.integers(1, 2**62, n),
        "document": b'{"encounter":{"department_code":"A03"},"lines":3}',
    }
    total = n * LINES_PER_CLAIM
    consult = np.arange(total) % LINES_PER_CLAIM == 0
    lines = {
        "claim": np.repeat(np.arange(n), LINES_PER_CLAIM),
        "line_no": np.tile(np.arange(1, LINES_PER_CLAIM + 1), n),
        "service": np.where(consult, SERVICES.index("consult"), SERVICES.index("drug")),
        "item_code": np.where(consult, b"111102001", b"XC09CAS001A"),
        "service_type": b"",
        "quantity": 10_000,
        "unit_price": line_fee.ravel() * 10_000,
        "fee": line_fee.ravel(),
        "prescription_no": b"P1",
        "trace_codes": EMPTY_ARRAY,
    }
    return Invented(claims, lines)


def loaded_batch(n: int, *, seed: int = 1, tag: str = "B") -> Batch:
    """A batch of n invented claims of new persons, loaded and frozen, ready to be settled."""
    with transaction.atomic(using="settler"):
        set_scope(EVERYTHING, using="settler")
        with connections["settler"].cursor() as cursor:
            people = persons(cursor, max(n // CLAIMS_PER_PERSON, 1))
            invented = invent(n, people, seed=seed, tag=tag)
            batch = Batch(
                institution_code=INSTITUTION, region_code=REGION, file_name=f"{tag}.invented",
                file_sm3="", state=Batch.State.RUNNING, created_at=AT, created_by=BY, started_at=AT,
            )  # fmt: skip
            batch.save(using="settler")
            write(cursor, batch, invented.claims, invented.lines, by=BY, at=AT)
            batch.save(using="settler")
    return batch
