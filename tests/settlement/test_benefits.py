"""Benefits and scope end to end: drug list, entitlement, manual channel, account, funds in order.

Every case is settled over REST and as a file, and both come out alike.
"""

import datetime as dt
from collections.abc import Iterator
from importlib import import_module

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from institutions.access import EVERYTHING, set_scope
from settlement import ledger
from settlement.columns import FACTS, LATER_TRISTATE, records
from settlement.models import Accumulator, Claim, Leg, LineResult, PersonalAccount, Settlement
from tests import factories
from tests.factories import line
from tests.settlement.benefits import both, drug_list, entitle, legs
from tests.settlement.hospital import Hospital, forget_databases
from tests.settlement.test_claim_races import at_once

A, B, C = ({"category": name} for name in "ABC")


@pytest.fixture
def wenzhou(committed_db: str) -> Iterator[Hospital]:
    forget_databases()
    factories.policies("wenzhou")
    made = Hospital("wenzhou", "employee")
    yield made
    forget_databases()


def patients(hospital: Hospital, scheme: str = "employee", **more: object) -> list:
    """Two alike: claims of one are posted, those of the other come as a file."""
    found = [factories.person("wenzhou", scheme, **more) for _ in range(2)]
    for person in found:
        factories.offline_visit(person, hospital.row)
    return found


def drug(number: int, item: str, fee: str, *, quantity: str = "1", unit: str = "") -> dict:
    return line(
        number, kind="drug", item=item, fee=fee, quantity=quantity, unit_price=unit or fee,
        prescription_no="P1",
    )  # fmt: skip


def amounts(row: dict) -> tuple:
    names = ("decision", "reason", "category", "in_scope_amount", "over_cap_self_pay",
             "first_self_pay", "fund_pay")  # fmt: skip
    return tuple(row[name] for name in names)


# --- Drug list ---


def test_drugs_are_judged_by_the_list_of_the_day(wenzhou: Hospital) -> None:
    listed = drug_list(
        "wenzhou",
        {"code": "JIA", **A},
        {"code": "YI", **B, "first_self_pay": 1_000},
        {"code": "BING", **C},
        {"code": "XIAN", **A, "ceiling": 1_250_000},
        {"code": "TANG", **A, "diseases": ["M01600"]},
        {"code": "YA", **A, "diseases": ["M03900", "M01600"]},
    )
    lines = (
        drug(1, "JIA", "10.00"), drug(2, "YI", "33.35"), drug(3, "BING", "20.00"),
        drug(4, "XIAN", "30.00", quantity="10", unit="3"), drug(5, "TANG", "8.00"),
        drug(6, "YA", "8.00"), drug(7, "WAI", "5.00"),
    )  # fmt: skip
    claim, bare = both(
        wenzhou, *patients(wenzhou),
        lambda p: [
            factories.body(p, wenzhou.doctor, *lines),
            factories.body(p, wenzhou.doctor, line(item="110200001", fee="10.00")),
        ],
    )  # fmt: skip
    assert [amounts(row) for row in claim["lines"]] == [
        # deductible 5.00 taken from the first: (10 - 5) × 65 %
        ("payable", None, "甲类", "10.00", "0.00", "0.00", "3.25"),
        # 33.35 × 10 % = 3.335 → 3.34 first; 30.01 × 65 % = 19.5065
        ("payable", None, "乙类", "33.35", "0.00", "3.34", "19.51"),
        ("reject", "CATEGORY_SELF_PAID", "丙类", None, None, None, "0.00"),
        # the ceiling 1.25 × 10 = 12.50; what lies above it is 丙2: 12.50 × 65 % = 8.125
        ("payable", None, "甲类", "12.50", "17.50", "0.00", "8.13"),
        ("reject", "DRUG_NOT_FOR_DISEASE", "甲类", None, None, None, "0.00"),
        ("payable", None, "甲类", "8.00", "0.00", "0.00", "5.20"),
        ("reject", "DRUG_NOT_LISTED", None, None, None, None, "0.00"),
    ]
    totals = claim["totals"]
    assert (totals["in_scope"], totals["over_cap"], totals["out_of_scope"]) == (
        "63.85", "17.50", "33.00",
    )  # fmt: skip
    assert (totals["first_self_pay"], totals["fund"], totals["deductible"]) == (
        "3.34", "36.09", "5.00",
    )  # fmt: skip
    national = claim["national"]
    assert (national["preselfpay_amt"], national["inscp_scp_amt"]) == ("3.34", "60.51")
    parts = ("fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt")
    assert round(sum(float(national[name]) for name in parts), 2) == 114.35
    steps = {step["key"]: step for step in claim["lines"][1]["explanation"]}
    assert (steps["first_self_pay"]["amount"], steps["first_self_pay"]["note"]) == (
        "3.34", "乙类，先行自付 10%",
    )  # fmt: skip
    assert bare["lines"][0]["category"] is None
    set_scope(EVERYTHING)
    lists = LineResult.objects.filter(claim_id__in=(claim["id"], bare["id"]))
    assert set(lists.values_list("drug_list", flat=True)) == {0, listed.pk}
    assert wenzhou.get(claim["links"]["self"]).json() == claim
    assert ledger.balance().sound


def test_the_deductible_and_the_limit_see_the_amount_after_the_first_self_pay(wenzhou) -> None:
    drug_list("wenzhou", {"code": "YI", **B, "first_self_pay": 5_000},
              {"code": "XIAN", **A, "ceiling": 100_000})  # fmt: skip
    over, half, whole = both(
        wenzhou, *patients(wenzhou),
        lambda p: [
            # 9.90 above the ceiling of 0.10: 丙2 counts neither towards deductible nor limit
            factories.body(p, wenzhou.doctor, drug(1, "XIAN", "10.00")),
            factories.body(p, wenzhou.doctor, drug(1, "YI", "8.00")),
            factories.body(p, wenzhou.doctor, drug(1, "YI", "20000.00")),
        ],
    )  # fmt: skip
    assert (over["totals"]["deductible"], over["totals"]["over_cap"]) == ("0.10", "9.90")
    assert (half["totals"]["deductible"], half["totals"]["fund"]) == ("4.00", "0.00")
    # 10000.00 after the first half: 0.90 of the deductible are left, 65 % of the rest, limit 6000.00
    assert (whole["totals"]["deductible"], whole["totals"]["fund"]) == ("0.90", "6000.00")
    set_scope(EVERYTHING)
    year = Accumulator.objects.first()
    assert (year.deductible_used, year.in_scope_used, year.fund_used) == (500, 1_000_410, 600_000)


def test_without_a_list_of_the_day_every_answer_is_as_before(wenzhou: Hospital) -> None:
    drug_list("wenzhou", {"code": "JIA", **C}, valid_from=dt.date(2021, 6, 16))
    drug_list("nantong", {"code": "JIA", **C})
    (claim,) = both(
        wenzhou, *patients(wenzhou),
        lambda p: [factories.body(p, wenzhou.doctor, drug(1, "JIA", "30.00"))],
    )  # fmt: skip
    assert amounts(claim["lines"][0]) == ("payable", None, None, "30.00", "0.00", "0.00", "16.25")


def test_an_example_list_is_stamped(wenzhou: Hospital) -> None:
    drug_list("wenzhou", {"code": "JIA", **A}, example=True)
    wenzhou.patient = patients(wenzhou)[0]
    claim = wenzhou.settled(drug(1, "JIA", "30.00"))
    assert claim["flags"] == ["EXAMPLE_PARAMETER"]


# --- Entitlement ---


def test_the_entitlement_of_the_day_as_known_at_receipt_decides(wenzhou: Hospital) -> None:
    texts = {
        "arrears": "欠费暂停", "waiting": "等待期", "stopped": "终止参保", "deceased": "死亡",
    }  # fmt: skip
    for standing, word in texts.items():
        one, other = patients(wenzhou)
        for person in (one, other):
            entitle(person, standing)
        (claim,) = both(
            wenzhou, one, other,
            lambda p: [factories.body(p, wenzhou.doctor, line(item="110200001", fee="10.00"))],
        )  # fmt: skip
        assert claim["lines"][0]["reason"] == "NOT_ENTITLED"
        assert word in claim["lines"][0]["reason_text"]


def test_the_scheme_is_that_of_the_day_and_a_gap_is_no_entitlement(wenzhou: Hospital) -> None:
    one, other = patients(wenzhou)
    for person in (one, other):
        entitle(person, scheme="resident", valid_until=dt.date(2021, 6, 15))
        entitle(person, scheme="employee", valid_from=dt.date(2021, 6, 17))
    consult = line(item="110200001", fee="10.00")
    days = [dt.date(2021, 6, day) for day in (15, 16, 17)]
    found = both(
        wenzhou, one, other,
        lambda p: [factories.body(p, wenzhou.doctor, consult, day=day) for day in days],
    )  # fmt: skip
    assert [claim["lines"][0]["fund_pay"] for claim in found] == ["5.00", "0.00", "3.25"]
    assert "当日没有参保登记" in found[1]["lines"][0]["reason_text"]


def test_a_later_correction_does_not_change_what_was_known(wenzhou: Hospital) -> None:
    wenzhou.patient = patients(wenzhou)[0]
    entitle(wenzhou.patient, recorded_at=dt.datetime(2099, 1, 1, tzinfo=dt.UTC), standing="stopped")
    claim = wenzhou.settled(line(item="110200001", fee="10.00"))
    assert claim["state"] == "payable"


# --- Manual channel ---


def test_a_manual_claim_owes_the_person_and_leaves_the_account(committed_db: str) -> None:
    forget_databases()
    factories.policies("nantong")
    made = Hospital("nantong", "employee")
    people = [factories.person("nantong", "employee", account_balance=5_000) for _ in range(2)]
    numbers = iter(("26312000000000000011", "26312000000000000012"))
    (claim,) = both(
        made, *people,
        lambda p: [factories.body(p, made.doctor, line(fee="12.00"), line(2, item="999", fee="5.00"),
                                  channel="manual", e_invoice_no=next(numbers),
                                  pay_from_account=True)],
    )  # fmt: skip
    (again,) = both(
        made,
        *people,
        lambda p: [factories.body(p, made.doctor, line(fee="12.00"), pay_from_account=True)],
    )
    forget_databases()
    assert (claim["totals"]["account"], claim["totals"]["cash"]) == ("0.00", "17.00")
    assert legs(claim) == {3: 1200, 5: 500, 7: -1700}, "below the deductible of 20"
    # 8 of the deductible are left: 65 % of 4
    assert legs(again) == {1: 260, 2: 940, 6: -1200}
    assert ledger.balance().sound


def test_what_the_fund_owes_for_a_manual_claim_is_owed_to_the_person(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    claim = made.settled(line(fee="12.00"), channel="manual", e_invoice_no="26312000000000000013")
    assert legs(claim) == {1: 600, 3: 600, 7: -600, 16: -600}
    assert made.reverse(claim).status_code == 201
    set_scope(EVERYTHING)
    assert ledger.balance().accounts == {1: 0, 3: 0, 7: 0, 16: 0}
    assert ledger.balance().sound


# --- Personal account ---


def test_two_years_draw_on_one_account(db) -> None:
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    made.patient = factories.person("nantong", "employee", account_balance=1_500)
    first = made.settled(line(fee="12.00"), day=dt.date(2020, 12, 20), pay_from_account=True)
    second = made.settled(line(fee="12.00"), day=dt.date(2021, 1, 5), pay_from_account=True)
    assert [claim["totals"]["account"] for claim in (first, second)] == ["12.00", "3.00"]
    set_scope(EVERYTHING)
    assert PersonalAccount.objects.get().account_left == 0
    assert Accumulator.objects.count() == 2
    made.reverse(first)
    set_scope(EVERYTHING)
    assert PersonalAccount.objects.get().account_left == 1_200
    made.patient.account_balance = 9_000  # a newly reported balance replaces what is left
    made.patient.save()
    assert PersonalAccount.objects.get().account_left == 9_000


def test_no_fen_more_than_the_account_holds_in_two_years_at_once(committed_db: str) -> None:
    forget_databases()
    factories.policies("nantong")
    made = Hospital(scheme="employee")
    people = [factories.person("nantong", "employee", account_balance=5_000) for _ in range(3)]
    days = (dt.date(2020, 12, 20), dt.date(2021, 1, 5))
    bodies = [
        factories.body(p, made.doctor, line(fee="12.00"), day=days[n % 2], pay_from_account=True)
        for n in range(16) for p in people
    ]  # fmt: skip

    def send(thread: int) -> set[int]:
        share = enumerate(bodies[thread::8])
        return {made.post(body, key=f"t{thread}-{k}").status_code for k, body in share}

    assert at_once(send) == [{201}] * 8
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', false)")
    drawn = Leg.objects.filter(account=Leg.Account.PERSONAL_ACCOUNT)
    assert sum(drawn.values_list("amount", flat=True)) == 3 * 5_000
    assert list(PersonalAccount.objects.values_list("account_left", flat=True)) == [0] * 3
    assert ledger.balance().sound
    forget_databases()


def test_an_account_is_never_overdrawn(db) -> None:
    row = PersonalAccount(person=factories.person(), account_left=-1, region_code="320600")
    with pytest.raises(IntegrityError, match="account_not_overdrawn"), transaction.atomic():
        row.save()


# --- Funds after the basic one ---


def test_major_illness_and_assistance_pay_what_the_basic_fund_leaves(wenzhou: Hospital) -> None:
    one, other = patients(wenzhou, account_balance=100_000)
    for person in (one, other):
        entitle(person, assistance="subsistence")
    found = both(
        wenzhou, one, other,
        lambda p: [
            factories.body(p, wenzhou.doctor, drug(1, "X", fee), pay_from_account=True)
            for fee in ("10000.00", "20000.00")
        ],
    )  # fmt: skip
    totals = [claim["totals"] for claim in found]
    # limit 6000.00: 65 % of 9995.00 is more; 4000.00 are left, below 15000.00: 70 % assistance
    assert [totals[0][n] for n in ("fund", "major", "assistance", "account", "cash")] == [
        "6000.00", "0.00", "2800.00", "1000.00", "200.00",
    ]  # fmt: skip
    # 20000.00 are left: from 4000.00 to 24000.00, of which 9000.00 above 15000.00: 60 %, then 70 %
    assert [totals[1][n] for n in ("fund", "major", "assistance", "account", "cash")] == [
        "0.00", "5400.00", "10220.00", "0.00", "4380.00",
    ]  # fmt: skip
    assert legs(found[1]) == {3: 438_000, 6: -1_562_000, 7: -438_000, 13: 540_000, 14: 1_022_000}
    answered = found[1]["lines"][0]
    assert (answered["major_illness_pay"], answered["assistance_pay"]) == ("5400.00", "10220.00")
    keys = [step["key"] for step in answered["explanation"]]
    assert keys == ["fee", "in_scope", "fund", "major", "assistance", "self"]
    national = found[1]["national"]
    assert [national[n] for n in ("hifp_pay", "hifmi_pay", "maf_pay", "fund_pay_sumamt")] == [
        "0.00", "5400.00", "10220.00", "15620.00",
    ]  # fmt: skip
    assert ledger.balance().sound


def test_parts_that_do_not_add_up_are_refused(db) -> None:
    factories.policies("nantong")
    made = Hospital()
    key = made.settled()["id"]
    set_scope(EVERYTHING)
    row = Settlement.objects.get(claim_id=key)
    for change in ({"major": 1}, {"assistance": 1, "cash": row.cash - 1, "fund": row.in_scope},
                   {"first_self_pay": row.in_scope}, {"major": -1, "cash": row.cash + 1}):  # fmt: skip
        row.version = 3
        with pytest.raises(IntegrityError), transaction.atomic():
            Settlement(**{f.name: getattr(row, f.name) for f in row._meta.concrete_fields} | change
                       ).save(force_insert=True)  # fmt: skip


# --- Earlier records ---


def test_a_record_of_an_earlier_shape_is_read() -> None:
    early = [name for name in FACTS.names if FACTS.fields[name][1] < FACTS.fields["standing"][1]]
    size = FACTS.fields["standing"][1]
    whole = records(b"")
    short = records(whole.tobytes()[:size])
    assert (whole == short).all()
    assert len(early) > 30
    for name in LATER_TRISTATE:
        assert short[name][0] == -1


def test_a_claim_with_an_early_record_is_shown_and_reversed(
    db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of before entitlements and drug lists is stored, then read by every path of today."""
    factories.policies("nantong")
    made = Hospital()
    whole = made.settled()
    early = FACTS.fields["standing"][1]
    store = ledger.store
    monkeypatch.setattr(
        ledger, "store", lambda values: store(values | {"facts": values["facts"][:early]})
    )
    claim = made.settled()
    monkeypatch.setattr(ledger, "store", store)
    set_scope(EVERYTHING)
    lengths = [len(bytes(row.facts)) for row in Claim.objects.order_by("pk")]
    assert lengths == [FACTS.itemsize, early]

    shown = made.get(claim["links"]["self"])
    assert (shown.status_code, shown.json()["totals"]) == (200, claim["totals"])
    assert shown.json()["lines"] == claim["lines"]
    staff = factories.log_in(Client(), factories.user("hospital", made.row))
    pages = [
        staff.get(reverse("claim", args=[row["id"]])).content.decode() for row in (whole, claim)
    ]
    assert all("复诊" in page and "所用事实与政策版本" in page for page in pages)

    assert made.reverse(claim).json()["state"] == "reversed"
    again = made.get(claim["links"]["self"]).json()
    assert [version["totals"]["fund"] for version in again["versions"]] == [
        claim["totals"]["fund"], f"-{claim['totals']['fund']}",
    ]  # fmt: skip
    assert "已冲正" in staff.get(reverse("claim", args=[claim["id"]])).content.decode()
    set_scope(EVERYTHING)
    assert ledger.balance().sound


def test_a_stored_account_balance_survives_the_accounts_of_persons(db) -> None:
    """The rows of 0005: what was left of a person's years becomes what is left on the one account."""
    set_scope(EVERYTHING)
    one, two_years, overdrawn, nobody = (
        factories.person("nantong", "employee", account_balance=1_000) for _ in range(4)
    )
    left = [
        (one.pk, 2021, 400), (two_years.pk, 2020, 700), (two_years.pk, 2021, 400),
        (overdrawn.pk, 2020, 100), (overdrawn.pk, 2021, 300),
    ]  # fmt: skip
    moved = import_module("settlement.migrations.0005_benefits").ACCOUNTS.split(";")[0]
    with connection.cursor() as cursor:  # the tables as they stood, before those of the same name
        cursor.execute("""CREATE TEMP TABLE settlement_accumulator (person_id bigint, year int,
            account_left bigint, region_code text) ON COMMIT DROP;
            CREATE TEMP TABLE settlement_personalaccount (person_id bigint, account_left bigint,
            region_code text) ON COMMIT DROP""")
        cursor.executemany("INSERT INTO settlement_accumulator VALUES (%s, %s, %s, '320600')", left)
        cursor.execute(moved)
        cursor.execute("SELECT * FROM settlement_personalaccount ORDER BY person_id")
        assert cursor.fetchall() == [
            (one.pk, 400, "320600"),
            (two_years.pk, 1_000 - 300 - 600, "320600"),  # each year had counted its own use
            (overdrawn.pk, 0, "320600"),  # the least left is nobody's loss
        ]
    assert nobody.pk not in {key for key, _, _ in left}
