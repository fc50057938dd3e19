"""Periods and statements: made from the ledger, final once, equal to it to the fen."""

import datetime as dt
import random
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from agreements.models import Assessment
from audit import sealer
from audit.models import Event, Task
from audit.procedure import Refused
from institutions.access import EVERYTHING, set_scope
from institutions.commands import set_account
from institutions.models import Region
from institutions.refusals import Refusal
from settlement import bank_files, closing, ledger, payments, statements
from settlement.models import Deduction, Leg, Period, Settlement, Statement, Voucher
from settlement.periods import differences
from settlement.statement_steps import answer_deduction, deduct, send_all, take
from settlement.vouchers import post_voucher
from tests import factories
from tests.audit.sealing import seal
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at

Account = Leg.Account


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    return money.Place("wenzhou")


def closing_month(place: money.Place, month: dt.date = NOVEMBER) -> Period:
    return closing.begin_closing(pool=place.pool, month=month, by="finance", at=at(12, 1))


def test_a_month_stays_open_while_the_sealer_stands_still(
    place, settings, tmp_path, monkeypatch
) -> None:
    """A month is closed over acts that stand in the sealed log, or not at all."""
    settings.SEAL_KEY_FILE, settings.SEAL_STILL_SECONDS = str(tmp_path / "seal.pem"), 300
    seal()
    place.claim(fund=6000)
    month = closing_month(place)
    place.confirm_all(month, (12, 2))
    monkeypatch.setattr("audit.clock.machine", lambda: at(12, 3))
    with pytest.raises(Refusal, match="TRAIL_NOT_SEALED"):
        closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    assert Period.objects.get().state == "closing"
    sealer.seal(at=at(12, 3), machine=at(12, 3))
    assert closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3)).totals_sm3


def only(**more: Any) -> Statement:
    return Statement.objects.get(**more)


def test_a_statement_is_what_the_ledger_owes(place) -> None:
    place.claim(fund=6000, account=500, cash=300)
    place.claim(fund=4000, cash=1000)
    closing_month(place)
    row = only()
    assert (row.claims, row.fund, row.account, row.declared) == (2, 10_000, 500, 10_500)
    assert (row.deposit, row.deposit_ratio) == (500, 500)
    assert row.payable == 10_000
    assert row.example
    assert row.basis["deposit"]["example"]
    assert differences(Period.objects.get()) == []


def test_every_step_has_its_share_and_its_clause(place) -> None:
    Assessment.objects.create(
        institution=place.hospital, year=2020, scheme="示例2021", scores={}, total=8000,
        coefficient=9800, renewal="建议续签", example=True, recorded_at=at(1, 5), recorded_by="x",
    )  # fmt: skip
    claim = place.claim(fund=10_000, account=333)
    place.advance(4000)
    deduct(
        claim_id=claim,
        amount=999,
        reason="duplicate",
        note="同日重复收费",
        by="reviewer",
        at=at(11, 30),
    )
    closing_month(place)
    row = only()
    # 32 of the 999 are the account's; base 9033: deposit 5 % = 451.65 → 452; assessment 2 % = 180.66 → 181;
    # rest 8701, half 4350.5 > 4000
    assert (row.deducted, row.deposit, row.assessment, row.set_off) == (999, 452, 181, 4000)
    assert row.payable == 10_333 - 999 - 452 - 181 - 4000
    assert {step: row.basis[step]["clause"]["clause"] for step in ("declared", "deducted", "deposit",
            "set_off", "assessment")} == {"declared": "二十四", "deducted": "二十四",
            "deposit": "二十一", "set_off": "二十四", "assessment": "二十一"}  # fmt: skip


def test_shares_are_rounded_half_up_and_the_rest_is_payable(place) -> None:
    place.claim(fund=10)  # 5 % of 10 fen = 0.5 → 1
    closing_month(place)
    assert (only().deposit, only().payable) == (1, 9)


def test_a_month_of_vouchers_alone_is_not_passed_over_and_its_debt_is_carried(place) -> None:
    post_voucher(
        kind=Voucher.Kind.ADJUSTMENT, effect="adjustment:x", subject="adjustment:x", by="clerk",
        approved_by="finance", at=at(10, 20), region_code=place.region,
        institution_code=place.code, scheme="resident",
        legs={Account.INSTITUTION_PAYABLE: 700, Account.ADJUSTMENT: -700},
    )  # fmt: skip
    place.claim(fund=10_000)
    october = dt.date(2021, 10, 1)
    assert closing.earliest_open(place.pool, before=NOVEMBER) == october
    with pytest.raises(Refusal, match="EARLIER_PERIOD_OPEN"):
        closing_month(place)
    place.closed(october, (11, 30))
    assert only().payable == -700
    assert closing.earliest_open(place.pool, before=NOVEMBER) is None
    closing_month(place)
    row = only(period=NOVEMBER)
    assert (row.declared, row.deposit, row.carried, row.payable) == (10_000, 500, -700, 8800)


def test_final_statements_post_each_step_once(place) -> None:
    claim = place.claim(fund=10_000)
    deduct(
        claim_id=claim, amount=1000, reason="split", note="分解服务", by="reviewer", at=at(11, 30)
    )
    place.advance(2000)
    row = place.confirmed(closing_month(place))
    assert row.state == "confirmed"
    assert row.signed_name == "王院长"
    assert row.signed_at == at(12, 2)
    vouchers = Voucher.objects.filter(subject=row.subject)
    assert {v.kind: v.amount for v in vouchers} == {
        "deduction": 1000,
        "deposit": 450,
        "set_off": 2000,
    }
    assert {v.period for v in vouchers} == {dt.date(2021, 12, 1)}
    assert place.owed() == row.payable == 6550
    assert ledger.balance().sound
    with pytest.raises(Refused):
        take(statement=row, step="confirm", who=place.user("hospital"), by="h", at=at(12, 2),
             facts={"signed_name": "王院长"})  # fmt: skip


def test_a_month_is_closed_when_all_is_final_and_equal(place) -> None:
    place.claim(fund=5000, account=200, cash=100)
    period = closing_month(place)
    with pytest.raises(Refusal) as refusal:
        closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    assert refusal.value.code == "STATEMENTS_OPEN"
    place.confirmed(period)
    done = closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    assert done.state == "closed"
    assert len(done.totals_sm3) == 64
    assert done.totals["declared"] == 5200
    assert done.totals["legs"] == {
        "1": 5000,
        "2": 200,
        "3": 100,
        "6": -5200,
        "7": -100,
    }
    event = Event.objects.get(action="period.close")
    assert done.totals_sm3.encode() in bytes(event.body)
    with pytest.raises(Refusal) as refusal:
        closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    assert (refusal.value.status, refusal.value.code) == (409, "PERIOD_NOT_CLOSING")
    assert not Task.objects.filter(subject=f"period:{place.pool}:2021-11", state="open").exists()


def test_a_month_that_runs_or_follows_an_open_one_is_not_closed(place) -> None:
    place.claim(fund=5000, month=dt.date(2021, 10, 1))
    place.claim(fund=5000)
    for month, code in (
        (dt.date(2021, 12, 1), "PERIOD_NOT_OVER"),
        (NOVEMBER, "EARLIER_PERIOD_OPEN"),
    ):
        with pytest.raises(Refusal) as refusal:
            closing_month(place, month)
        assert refusal.value.code == code
    assert not Statement.objects.exists()


def test_closing_begins_once(place) -> None:
    place.claim(fund=5000)
    closing_month(place)
    with pytest.raises(Refusal) as refusal:
        closing_month(place)
    assert refusal.value.code == "PERIOD_NOT_OPEN"
    assert Statement.objects.count() == 1


def test_what_comes_while_a_month_closes_goes_to_the_next(place) -> None:
    place.claim(fund=5000)
    closing_month(place)
    place.claim(fund=700, when=at(11, 30))
    assert Settlement.objects.filter(period=dt.date(2021, 12, 1)).count() == 1
    assert only().fund == 5000
    assert differences(Period.objects.get()) == []


def test_a_negative_payable_is_carried_over_and_never_paid(place) -> None:
    claim = place.claim(fund=9000, month=dt.date(2021, 10, 1))
    place.closed(dt.date(2021, 10, 1), day=(11, 2))
    place.reverse(claim)
    first = place.confirmed(closing_month(place))
    assert first.payable == -9000
    assert first not in Statement.objects.payable()
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    place.claim(fund=10_000, when=at(12, 5))
    closing.begin_closing(
        pool=place.pool, month=dt.date(2021, 12, 1), by="finance", at=at(1, 4, 2022)
    )
    second = only(period=dt.date(2021, 12, 1))
    assert second.carried == -9000
    assert second.payable == 10_000 - 500 - 9000
    october = only(period=dt.date(2021, 10, 1))
    # what all final statements owe is what the ledger owes
    place.confirmed(Period.objects.get(month=dt.date(2021, 12, 1)), day=(1, 5, 2022))
    assert place.owed() == october.payable + second.payable


def test_a_reversal_after_the_cut_gives_the_deduction_back(place) -> None:
    claim = place.claim(fund=9000)
    deduct(claim_id=claim, amount=1000, reason="other", note="示例", by="reviewer", at=at(11, 30))
    place.confirmed(closing_month(place))
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    place.reverse(claim, when=at(12, 6))
    closing.begin_closing(
        pool=place.pool, month=dt.date(2021, 12, 1), by="finance", at=at(1, 4, 2022)
    )
    second = only(period=dt.date(2021, 12, 1))
    assert (second.fund, second.deducted) == (-9000, -1000)
    assert second.payable == -8000
    assert Deduction.objects.get(amount__lt=0).reason == "returned"


def test_other_vouchers_are_adjustments(place) -> None:
    place.claim(fund=1000)
    post_voucher(
        kind=Voucher.Kind.ADJUSTMENT, effect="a", subject="adjustment:1", region_code=place.region,
        institution_code=place.code, scheme="resident", by="clerk", at=at(11, 20),
        legs={Account.ADJUSTMENT: 300, Account.INSTITUTION_PAYABLE: -300},
    )  # fmt: skip
    closing_month(place)
    assert (only().adjustments, only().payable) == (300, 1000 - 50 + 300)
    assert differences(Period.objects.get()) == []


def test_objection_answer_and_the_deduction_withdrawn(place) -> None:
    claim = place.claim(fund=10_000, number="WZ-1")
    cut = deduct(
        claim_id=claim, amount=400, reason="records", note="缺病历", by="reviewer", at=at(11, 30)
    )
    period = closing_month(place)
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    row = only()
    assert row.due == dt.date(2021, 12, 15)
    assert row.round == 1
    take(statement=row, step="object", who=place.user("hospital"), by="hospital", at=at(12, 2),
         facts={"reason": "病历已上传", "claims": "WZ-1", "signed_name": "李医保"})  # fmt: skip
    cut.refresh_from_db()
    assert cut.state == "disputed"
    assert row.objections.get().claims == ["WZ-1"]
    finance = place.user("finance_officer")
    given: dict[str, Any] = {"statement": row, "step": "answer", "who": finance, "at": at(12, 3),
                             "facts": {"answer": "材料已补齐，撤销扣款"}}  # fmt: skip
    with pytest.raises(Refused, match="1笔有异议"):
        take(by="finance", **given)
    with pytest.raises(Refusal, match="SAME_PERSON"):
        answer_deduction(deduction=cut, keep=False, answer="撤", by="reviewer", at=at(12, 3))
    answer_deduction(deduction=cut, keep=False, answer="材料已补齐", by="finance", at=at(12, 3))
    with pytest.raises(Refused, match="送达人"):
        take(by="clerk", **given)
    take(by="finance", **given)
    row.refresh_from_db()
    assert (row.state, row.round, row.deducted) == ("sent", 2, 0)
    assert row.objections.get().answered_by == "finance"


def test_what_the_institution_was_sent_is_what_it_confirms(place) -> None:
    claim = place.claim(fund=10_000, number="WZ-1")
    cut = deduct(
        claim_id=claim, amount=1000, reason="records", note="缺病历", by="reviewer", at=at(11, 30)
    )
    kept = deduct(
        claim_id=claim, amount=300, reason="records", note="缺处方", by="reviewer", at=at(11, 30)
    )
    period = closing_month(place)
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    answer: dict[str, Any] = {"answer": "材料已补齐", "by": "chief", "at": at(12, 1)}
    with pytest.raises(Refusal, match="STATEMENT_SENT"):
        answer_deduction(deduction=cut, keep=False, **answer)
    with pytest.raises(DatabaseError, match="was sent"), transaction.atomic():
        Deduction.objects.filter(pk=cut.pk).update(
            state="withdrawn", answer="x", answered_by="chief", answered_at=at(12, 1)
        )
    answer_deduction(deduction=kept, keep=True, **answer)
    take(statement=only(), step="confirm", who=place.user("hospital"), by="hospital", at=at(12, 2),
         facts={"signed_name": "王院长"})  # fmt: skip
    cut.refresh_from_db()
    assert (cut.state, only().deducted) == ("made", 1300)
    assert Leg.objects.get(account=Account.DEDUCTION).amount == -1300
    with pytest.raises(Refusal, match="STATEMENT_FINAL"):
        answer_deduction(deduction=cut, keep=False, **answer)


def test_silence_is_decided_only_after_the_deadline(place) -> None:
    place.claim(fund=10_000)
    period = closing_month(place)
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    row, finance = only(), place.user("finance_officer")
    for day, taken in ((15, False), (16, True)):
        given = {"statement": row, "step": "decide", "who": finance, "by": "finance",
                 "at": at(12, day), "facts": {"answer": "逾期未确认"}}  # fmt: skip
        if taken:
            take(**given)
        else:
            with pytest.raises(Refused, match="不能裁定"):
                take(**given)
    assert only().state == "decided"
    assert only().finalised_at == at(12, 16)


def test_a_decision_takes_no_deduction_that_the_institution_was_not_told(place) -> None:
    claim = place.claim(fund=10_000)
    period = closing_month(place)
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    deduct(
        claim_id=claim, amount=1_000, reason="records", note="缺病历", by="reviewer", at=at(12, 10)
    )
    take(statement=only(), step="decide", who=place.user("finance_officer"), by="finance",
         at=at(12, 16), facts={"answer": "逾期未确认"})  # fmt: skip
    assert (only().state, only().deducted) == ("decided", 0)
    assert Deduction.objects.get().statement is None  # it waits for December's


def test_a_reopening_needs_two_people_and_reverses_the_vouchers(place) -> None:
    place.claim(fund=10_000)
    place.confirmed(closing_month(place))
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    asked = closing.propose_reopening(pool=place.pool, month=NOVEMBER, reason="漏收一批", by="finance",
                                      at=at(12, 4))  # fmt: skip
    with pytest.raises(Refusal, match="SAME_PERSON"):
        closing.decide_reopening(
            reopening=asked, agree=True, decision="", by="finance", at=at(12, 4)
        )
    period = closing.decide_reopening(reopening=asked, agree=True, decision="同意", by="chief",
                                      at=at(12, 4))  # fmt: skip
    row = only()
    assert (period.state, row.state, row.edition) == ("open", "draft", 2)
    assert place.owed() == 10_000
    place.claim(fund=500, when=at(11, 30))
    again = place.confirmed(closing_month(place), (12, 5))
    assert again.fund == 10_500
    assert again.deposit == 525
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 5))
    assert place.owed() == again.payable
    assert ledger.balance().sound


def test_a_paid_month_stays_closed(place) -> None:
    place.claim(fund=10_000)
    row = place.confirmed(closing_month(place))
    closing.close(pool=place.pool, month=NOVEMBER, by="finance", at=at(12, 3))
    post_voucher(
        kind=Voucher.Kind.PAYMENT, effect="pay", subject=row.subject, region_code=place.region,
        institution_code=place.code, scheme="resident", by="clerk", approved_by="finance",
        at=at(12, 4), legs={Account.INSTITUTION_PAYABLE: row.payable, Account.BANK: -row.payable},
    )  # fmt: skip
    assert statements.paid_of([row]) == {row.pk: row.payable}
    with pytest.raises(Refusal, match="PERIOD_PAID"):
        closing.propose_reopening(pool=place.pool, month=NOVEMBER, reason="x", by="a", at=at(12, 5))


def test_a_month_whose_money_is_listed_or_at_the_bank_stays_closed(place) -> None:
    set_account(
        institution=place.hospital, holder=place.hospital.name, bank="示例银行",
        number="3303001234567890", valid_from=factories.LONG_AGO, by="clerk", at=at(1, 5),
    )  # fmt: skip
    place.claim(fund=10_000)
    row = place.confirmed(closing_month(place))
    ask: dict[str, Any] = {"pool": place.pool, "month": NOVEMBER, "reason": "漏收一批", "by": "clerk",
                           "at": at(12, 4)}  # fmt: skip
    asked = closing.propose_reopening(**ask)
    given: dict[str, Any] = {"subjects": [row.subject], "by": "clerk", "at": at(12, 4),
                             "region": Region.objects.get(pk=place.region)}  # fmt: skip
    made = payments.prepare(**given)
    decide: dict[str, Any] = {"reopening": asked, "decision": "", "by": "chief", "at": at(12, 4)}
    words = f"2021年11月的结算款在拨付清单{made.number}"
    with pytest.raises(Refusal, match="PERIOD_PAYING") as refusal:
        closing.decide_reopening(agree=True, **decide)
    assert words in refusal.value.detail[0]
    closing.decide_reopening(agree=False, **decide)
    payments.approve(made=made, by="finance", at=at(12, 4))
    with pytest.raises(Refusal, match="PERIOD_PAYING"):
        closing.propose_reopening(**ask)
    with pytest.raises(DatabaseError, match="on a payment list"), transaction.atomic():
        Statement.objects.filter(pk=row.pk).update(
            state="draft", finalised_at=None, edition=row.edition + 1
        )
    payments.refuse(made=made, reason="须反关账", by="finance", at=at(12, 4))
    again = payments.approve(made=payments.prepare(**given), by="finance", at=at(12, 4))
    payments.export(made=again, form="csv", by="clerk", at=at(12, 4))
    with pytest.raises(Refusal, match="PERIOD_PAYING"):
        closing.propose_reopening(**ask)
    (order,) = again.orders.all()
    answer = bank_files.Answer(number=order.number, state="rejected", amount=order.amount,
                               on=at(12, 5).date(), reason="账号有误")  # fmt: skip
    payments.take_results(made=again, answers=[answer], by="finance", at=at(12, 5))
    asked = closing.propose_reopening(**ask)
    closing.decide_reopening(agree=True, **(decide | {"reopening": asked}))
    assert only().state == "draft"


def test_a_deduction_is_within_what_the_fund_paid(place) -> None:
    claim = place.claim(fund=1000)
    for amount in (0, 1001):
        with pytest.raises(Refusal, match="DEDUCTION_TOO_LARGE"):
            deduct(claim_id=claim, amount=amount, reason="other", note="x", by="r", at=at(11, 30))
    deduct(claim_id=claim, amount=600, reason="other", note="x", by="r", at=at(11, 30))
    with pytest.raises(DatabaseError, match="exceed"), transaction.atomic():
        Deduction.objects.create(
            region_code=place.region, institution_code=place.code, scheme="resident", claim_id=claim,
            amount=401, reason="other", note="x", clause="二十四", made_at=at(11, 30), made_by="r",
        )  # fmt: skip
    place.reverse(claim)
    with pytest.raises(Refusal, match="CLAIM_REVERSED"):
        deduct(claim_id=claim, amount=1, reason="other", note="x", by="r", at=at(11, 30))


@pytest.mark.parametrize("change", ["payable = payable + 1", "declared = declared + 1, payable = payable + 1",
                                    "deposit = -1, payable = payable + deposit + 1",
                                    "state = 'draft', finalised_at = NULL", "period = '2021-10-01'"])  # fmt: skip
def test_the_database_keeps_a_final_statement(place, change: str) -> None:
    place.claim(fund=10_000)
    place.confirmed(closing_month(place))
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE settlement_statement SET {change}")


@pytest.mark.parametrize("table", ["statement", "deduction", "objection", "advance", "budgetentry",
                                   "clearing", "reopening"])  # fmt: skip
def test_nothing_is_ever_deleted(place, table: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM settlement_{table}")


@pytest.mark.parametrize("seed", range(3))
def test_statements_are_the_ledger_whatever_happened(place, seed: int) -> None:
    """Drawn months of several institutions and schemes: Σ statements = Σ settlements = Σ legs."""
    draw = random.Random(seed)
    places = [place, *(money.Place("wenzhou") for _ in range(2))]
    claims: list[tuple[money.Place, int]] = []
    for month, day in ((dt.date(2021, 10, 1), (11, 3)), (NOVEMBER, (12, 3))):
        for _ in range(12):
            one = draw.choice(places)
            if claims and draw.random() < 0.25:
                where, claim = claims.pop(draw.randrange(len(claims)))
                where.reverse(claim, when=at(month.month, 20))
                continue
            claim = one.claim(
                fund=draw.randrange(1, 100_000), account=draw.choice((0, 7, 333)),
                cash=draw.choice((0, 1, 999)), held=draw.choice((0, 0, 50)), month=month,
                scheme=draw.choice(("resident", "employee", "lixiu")),
            )  # fmt: skip
            claims.append((one, claim))
            if draw.random() < 0.4:
                paid = Settlement.objects.get(claim_id=claim, version=1).fund
                deduct(claim_id=claim, amount=draw.randrange(1, paid + 1), reason="other", note="x",
                       by="reviewer", at=at(month.month, 25))  # fmt: skip
        draw.choice(places).advance(draw.randrange(1, 50_000), when=at(month.month, 26))
        place.closed(month, day)
        rows = Statement.objects.filter(period=month)
        assert differences(Period.objects.get(month=month)) == []
        assert sum(row.declared for row in rows) == -sum(
            Leg.objects.filter(account=6, period=month)
            .exclude(claim_id__in=Voucher.objects.values("pk")).values_list("amount", flat=True)
        )  # fmt: skip
    owed = sum(one.owed() for one in places)
    assert owed == sum(row.payable - row.carried for row in Statement.objects.all())
    assert ledger.balance().sound


def test_an_institution_sees_its_own_statements_only(place) -> None:
    other = money.Place("wenzhou")
    place.claim(fund=100)
    other.claim(fund=200)
    period = closing_month(place)
    user = factories.user("hospital", place.hospital)
    assert list(statements.seen_by(user)) == []  # a draft is not shown
    send_all(period=period, who=place.user("settlement_clerk"), by="clerk", at=at(12, 1))
    assert [row.institution_code for row in statements.seen_by(user)] == [place.code]
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', %s, true)", [f"I:{place.code}"])
        cursor.execute("SELECT institution_code FROM settlement_statement")
        assert cursor.fetchall() == [(place.code,)]
