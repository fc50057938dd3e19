"""The ledger: balanced by trigger, append-only by trigger and privilege, equal to its caches."""

import datetime as dt

import pytest
from django.db import DatabaseError, connection, connections, transaction

from institutions.access import EVERYTHING, scoped, set_scope
from settlement import ledger
from settlement.models import Accumulator, Leg, LineResult, Period, Settlement
from settlement.periods import month_of
from tests import factories
from tests.audit.sealing import superuser
from tests.factories import line
from tests.settlement.hospital import Hospital, forget_databases

TABLES = ("claim", "claimline", "settlement", "lineresult", "leg", "claimkey", "evidence")


@pytest.fixture
def hospital(db) -> Hospital:
    factories.policies("nantong")
    return Hospital(scheme="employee")


def execute(sql: str, *values: object) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)


def test_legs_and_totals_are_one_money(hospital: Hospital) -> None:
    hospital.settled(line(fee="12.00"))
    expert = factories.physician(hospital.row, "chief")
    over_cap = hospital.settled(
        line(item="111102003", fee="35.00"), physician={"code": expert.code}
    )
    refused = hospital.settled(line(item="111102001", fee="9.00"), line(2, item="999", fee="5.00"))
    set_scope(EVERYTHING)
    assert over_cap["totals"]["over_cap"] == "13.00"
    assert refused["state"] == "partial"
    # 12: 12 below the deductible of 20; 35: 22 in scope, 8 more to the deductible, 65 % of 14.
    sums = {1: 910 + 585, 3: 1200 + 1290 + 315, 4: 1300, 5: 500, 6: -(910 + 585)}
    found = ledger.balance()
    assert found.accounts == sums | {7: -(1200 + 1290 + 315 + 1300 + 500)}
    assert found.sound
    year = Accumulator.objects.get()
    assert (year.deductible_used, year.in_scope_used, year.fund_used) == (2000, 4300, 1495)
    for settled in Settlement.objects.all():
        lines = LineResult.objects.filter(claim_id=settled.claim_id)
        assert settled.fee == sum(row.fee for row in lines)
        assert settled.fee == settled.fund + settled.account + settled.cash + settled.hospital


def test_a_line_that_is_held_moves_no_money(hospital: Hospital) -> None:
    claim = hospital.settled(line(fee="12.01"))
    assert (claim["state"], claim["totals"]["held"]) == ("review", "12.01")
    set_scope(EVERYTHING)
    assert not Leg.objects.exists()
    assert ledger.balance().sound


def test_unbalanced_legs_are_refused(hospital: Hospital) -> None:
    claim = hospital.settled()
    set_scope(EVERYTHING)
    legs = Leg.objects.filter(claim_id=claim["id"])
    period, code = legs[0].period, hospital.row.code
    insert = """INSERT INTO settlement_leg (claim_id, version, account, amount, period, region_code,
        institution_code) VALUES (%s, 2, 1, %s, %s, '320600', %s),
        (%s, 2, 6, %s, %s, '320600', %s)"""
    with pytest.raises(DatabaseError, match="do not balance"):
        execute(insert, 900_001, 600, period, code, 900_001, -599, period, code)
    with pytest.raises(DatabaseError, match="do not balance"):
        execute(insert, 900_001, 600, period, code, 900_002, -600, period, code)
    execute(insert, 900_001, 600, period, code, 900_001, -600, period, code)


def test_legs_written_into_their_month_meet_the_same_refusals(committed_db: str) -> None:
    """Batches copy legs into the month itself: what does not balance or is closed is refused there, too."""
    forget_databases()
    region = factories.region()
    month = dt.date(2021, 6, 1)
    with scoped(EVERYTHING), connections["settler"].cursor() as cursor:
        cursor.execute("SELECT settlement_open_period(%s)", [month])
    insert = """INSERT INTO settlement_leg_2021_06 (claim_id, version, account, amount, period, region_code,
        institution_code) VALUES (%s, 1, 1, 600, %s, %s, 'H'), (%s, 1, 6, %s, %s, %s, 'H')"""

    def put(amount: int, using: str = "settler", claim: int = 1) -> None:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute(insert, [claim, month, region.pk, claim, amount, month, region.pk])

    with pytest.raises(DatabaseError, match="do not balance"):
        put(-599)
    with pytest.raises(DatabaseError, match="permission denied"):
        put(-600, "default")
    put(-600)
    with scoped(EVERYTHING):
        assert Leg.objects.filter(claim_id=1).count() == 2
        Period.objects.create(pool=region.policy_region, month=month, state="closed")
    with pytest.raises(DatabaseError, match="is closed"):
        put(-600, claim=2)
    with (
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(using="settler"),
    ):
        connections["settler"].cursor().execute("DELETE FROM settlement_leg_2021_06")


PART_OF = """CREATE TABLE settlement_{0}_2021_07 PARTITION OF settlement_{0}
    FOR VALUES FROM ('2021-07-01') TO ('2021-08-01')"""
SHAPE = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass
    UNION ALL SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) || indisvalid || EXISTS (
        SELECT FROM pg_inherits WHERE inhrelid = indexrelid) FROM pg_index WHERE indrelid = %s::regclass
    UNION ALL SELECT attname, format_type(atttypid, atttypmod) || attnotnull || coalesce((
        SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum), '')
        FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0
    ORDER BY 1, 2"""


@pytest.mark.usefixtures("committed_db")
def test_a_month_that_is_attached_has_the_shape_of_one_that_is_part_of_its_parent() -> None:
    with superuser() as cursor:
        cursor.execute("SELECT settlement_open_period('2021-06-01')")
        for name in ("claim", "claimline", "lineresult", "leg"):
            cursor.execute(PART_OF.format(name))
            shapes = []
            for month in ("2021_06", "2021_07"):
                cursor.execute(SHAPE, [f"settlement_{name}_{month}"] * 3)
                shapes.append(str(cursor.fetchall()).replace(month, "month"))
            assert shapes[0] == shapes[1]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("act", ["UPDATE {} SET institution_code = institution_code",
                                 "DELETE FROM {}", "TRUNCATE {}"])  # fmt: skip
def test_what_is_written_stays(hospital: Hospital, table: str, act: str) -> None:
    with pytest.raises(DatabaseError, match=r"append-only|permission denied"):
        execute(act.format(f"settlement_{table}"))


def test_the_owner_is_stopped_by_the_trigger_too(django_db_setup, committed_db: str) -> None:
    import psycopg2
    from django.conf import settings

    address = settings.DATABASE_OWNER_URL.rsplit("/", 1)[0] + f"/{committed_db}"
    if "?" in settings.DATABASE_OWNER_URL:
        address += "?" + settings.DATABASE_OWNER_URL.partition("?")[2]
    owner = psycopg2.connect(address)
    owner.autocommit = True
    with owner.cursor() as cursor:
        cursor.execute("SELECT settlement_open_period('2021-06-01')")
        tables = [f"settlement_{name}" for name in TABLES] + ["settlement_leg_2021_06"]
        for table in tables:
            for act in (
                "UPDATE {} SET institution_code = ''",
                "DELETE FROM {}",
                "TRUNCATE {} CASCADE",
            ):
                with pytest.raises(psycopg2.Error, match="append-only"):
                    cursor.execute(act.format(table))
    owner.close()


def test_one_effect_per_claim_and_version(hospital: Hospital) -> None:
    claim = hospital.settled()
    set_scope(EVERYTHING)
    with pytest.raises(DatabaseError, match="settlement_settlement_pkey"):
        execute(
            "INSERT INTO settlement_settlement"
            " SELECT * FROM settlement_settlement WHERE claim_id = %s",
            claim["id"],
        )


def test_rows_of_another_institution_do_not_exist(committed_db: str) -> None:
    forget_databases()
    factories.policies("nantong")
    ours, theirs = Hospital(), Hospital()
    claim = ours.settled()
    from institutions.access import scoped
    from institutions.models import Scope
    from settlement.models import Claim

    def seen(scope: Scope) -> list[int]:
        with scoped(scope):
            return list(Claim.objects.values_list("id", flat=True))

    assert seen(Scope(institutions=(ours.row.code,))) == [claim["id"]]
    assert seen(Scope(institutions=(theirs.row.code,))) == []
    assert seen(Scope(regions=("3206",))) == [claim["id"]]
    assert seen(Scope(regions=("3303",))) == []
    assert seen(Scope()) == []


def test_the_period_is_the_month_in_shanghai() -> None:
    assert month_of(dt.datetime(2021, 12, 31, 16, tzinfo=dt.UTC)) == dt.date(2022, 1, 1)
