"""The global budget, the yearly clearing with the return of deposits."""

import datetime as dt

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from agreements.models import Assessment
from audit.models import Task
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Institution, Scope
from institutions.refusals import Refusal
from settlement import budgets, clearing, closing, ledger
from settlement import tasks as settlement_tasks
from settlement.budgets import Budget
from settlement.models import (
    BudgetEntry,
    Clearing,
    Deduction,
    Period,
    Reopening,
    Settlement,
    Statement,
    Voucher,
)
from settlement.statement_steps import answer_deduction, deduct
from tests import factories
from tests.settlement import money
from tests.settlement.money import NOVEMBER, at

TIERS = [
    {"above": 0, "ratio": 3000},
    {"above": 500, "ratio": 6000},
    {"above": 1000, "ratio": 10_000},
]


@pytest.fixture
def place(db) -> money.Place:
    set_scope(EVERYTHING)
    return money.Place("wenzhou")


def indicator(place: money.Place, amount: int, year: int = 2021, **more: str) -> BudgetEntry:
    given = {"scheme": "resident", "reason": "年初下达", "document": "示例〔2021〕1号"} | more
    row = budgets.propose(institution=place.hospital, year=year, amount=amount, by="one",
                          at=at(1, 10), **given)  # fmt: skip
    return budgets.decide(entry=row, agree=True, decision="", by="two", at=at(1, 11))


def cut(claim: int, amount: int, when: dt.datetime) -> Deduction:
    return deduct(claim_id=claim, amount=amount, reason="duplicate", note="重复收费", by="reviewer",
                  at=when)  # fmt: skip


# --- Budgets ---


def test_a_budget_is_set_once_and_changed_by_adjustments_of_two(place) -> None:
    indicator(place, 100_000)
    row = budgets.propose(institution=place.hospital, scheme="resident", year=2021, amount=-30_000,
                          reason="业务量下降", document="示例〔2021〕7号", by="one", at=at(6, 1))  # fmt: skip
    assert row.kind == "adjustment"
    assert budgets.budgets(2021, [place.hospital])[0].indicator == 100_000
    with pytest.raises(Refusal, match="SAME_PERSON"):
        budgets.decide(entry=row, agree=True, decision="", by="one", at=at(6, 2))
    with pytest.raises(Refusal, match="BUDGET_WAITS"):
        indicator(place, 5)
    budgets.decide(entry=row, agree=True, decision="", by="two", at=at(6, 2))
    assert budgets.budgets(2021, [place.hospital])[0].indicator == 70_000
    with pytest.raises(Refusal, match="BUDGET_NOT_POSITIVE"):
        indicator(place, -70_000)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE settlement_budgetentry SET amount = 1")


def test_use_counts_the_internet_hospital_with_its_parent_by_service_month(place) -> None:
    online = money.Place("wenzhou")
    Institution.objects.filter(pk=online.code).update(parent=place.code)
    online.hospital.refresh_from_db()
    indicator(place, 100_000)
    place.claim(fund=20_000, month=dt.date(2021, 10, 1))
    online.claim(fund=30_000)
    wrong = online.claim(fund=700)
    online.reverse(wrong)
    # a December service uploaded in January belongs to December
    place.claim(fund=5000, when=at(1, 4, 2022), day=dt.date(2021, 12, 28))
    (row,) = budgets.budgets(2021, [place.hospital])
    assert (row.months[9], row.months[10], row.months[11], row.used) == (
        20_000,
        30_000,
        5000,
        55_000,
    )
    assert row.share == 5500
    assert budgets.budgets(2022, [place.hospital]) == []
    with pytest.raises(Refusal, match="BUDGET_OF_PARENT"):
        indicator(online, 5)
    hospital = factories.user("hospital", place.hospital)
    with scoped(Scope(institutions=(place.code,))):
        assert budgets.budgets(2021, [place.hospital])[0].used == 25_000
        with budgets.group_scope(hospital):
            assert budgets.budgets(2021, [place.hospital])[0].used == 55_000
        assert budgets.budgets(2021, [place.hospital])[0].used == 25_000


def test_what_reviews_cut_is_not_used_once_the_statement_is_final(place) -> None:
    indicator(place, 100_000)

    def used(month: int = 11) -> int:
        return budgets.budgets(2021, [place.hospital])[0].months[month - 1]

    claim = place.claim(fund=10_000, day=dt.date(2021, 10, 30))
    cut(claim, 3000, at(11, 20))
    kept = cut(place.claim(fund=2000), 500, at(11, 20))
    answer_deduction(deduction=kept, keep=False, answer="属实", by="chief", at=at(11, 21))
    assert (used(10), used()) == (10_000, 2000)
    place.closed(NOVEMBER, (12, 2))
    assert (used(10), used()) == (7000, 2000)
    place.reverse(claim, at(12, 5))
    assert (used(10), used()) == (0, 2000)
    place.closed(dt.date(2021, 12, 1), (1, 5, 2022))  # the cut is given back
    assert Statement.objects.get(period=dt.date(2021, 12, 1)).deducted == -3000
    assert (used(10), used()) == (0, 2000)


def test_what_other_payers_get_back_was_no_use_of_the_budget(place) -> None:
    indicator(place, 11_000)
    made = cut(
        place.claim(fund=10_000, major=4000, assistance=1000, account=5000), 10_000, at(11, 20)
    )
    assert (made.amount, made.major, made.assistance, made.account) == (10_000, 2000, 500, 2500)
    cut(place.claim(fund=0, major=700), 700, at(11, 20))
    place.closed(NOVEMBER, (12, 2))
    assert budgets.budgets(2021, [place.hospital])[0].used == 5000


def test_persons_of_another_pool_use_nothing_of_the_local_indicator(place) -> None:
    indicator(place, 100_000)
    place.claim(fund=8000)
    cut(place.claim(fund=5000, account=100, insured_pool="nantong"), 700, at(11, 20))
    assert budgets.budgets(2021, [place.hospital])[0].used == 8000
    Deduction.objects.update(statement=Statement.objects.create(
        institution_code=place.code, region_code=place.region, scheme="resident", pool="wenzhou",
        period=NOVEMBER, procedure="statement", state="decided", finalised_at=at(12, 2),
        opened_at=at(12, 1), opened_by="x", entered_on=at(12, 1).date(), deducted=700, payable=-700,
    ))  # fmt: skip
    assert budgets.budgets(2021, [place.hospital])[0].used == 8000


def test_the_forecast_goes_on_at_the_daily_pace() -> None:
    row = Budget("x", "resident", 2021, 100_000, [0, 0, 3100, 3000] + [0] * 8)
    # from 1 March to 30 April 61 days; 306 days from 1 March to the end of the year
    assert row.forecast(dt.date(2021, 4, 30)) == (2 * 6100 * 306 + 61) // 122 == 30_600
    assert row.forecast(dt.date(2021, 12, 31)) == row.forecast(dt.date(2022, 5, 1)) == 6100
    assert Budget("x", "resident", 2021).forecast(dt.date(2021, 4, 30)) == 0


def test_a_warning_line_opens_a_task_and_an_adjustment_closes_it(place) -> None:
    indicator(place, 10_000)
    place.claim(fund=8500)
    watch = {"pool": place.pool, "year": 2021, "by": "system:beat"}
    assert budgets.watch(at=at(11, 20), **watch) == budgets.watch(at=at(11, 21), **watch) == 1
    task = Task.objects.get(subject=f"budget:{place.code}:resident:2021", state="open")
    assert "已用85%，达到80%预警线" in task.title
    assert "示例" in task.status
    assert task.clause == "温医保办〔2021〕6号 十八"
    indicator(place, 10_000)
    assert budgets.watch(at=at(11, 22), **watch) == 0
    assert not Task.objects.filter(pk=task.pk, state="open").exists()


# --- Clearing ---


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_tiers_add_up(amount: int, whole: int) -> None:
    rows = clearing.shared(amount, whole, TIERS)
    assert sum(row["slice"] for row in rows) == amount
    exact = sum(row["slice"] * row["ratio"] for row in rows)
    assert sum(row["part"] for row in rows) == (2 * exact + 10_000) // 20_000 <= amount


def cleared_year(place: money.Place, budget: int) -> None:
    """A year that is closed: 100.00 in November, 20.00 of December uploaded in January."""
    if budget:
        indicator(place, budget)
    Assessment.objects.create(
        institution=place.hospital, year=2021, scheme="示例2021", scores={}, total=8000,
        coefficient=9800, renewal="建议续签", example=True, recorded_at=at(1, 5, 2022), recorded_by="x",
    )  # fmt: skip
    place.claim(fund=10_000)
    place.closed(NOVEMBER, (12, 2))
    Period.objects.create(pool=place.pool, month=dt.date(2021, 12, 1), state="closed")
    place.claim(fund=2000, when=at(1, 4, 2022), day=dt.date(2021, 12, 28))


def proposed(place: money.Place) -> Clearing:
    return clearing.propose(institution=place.hospital, scheme="resident", year=2021, by="clerk",
                            at=at(1, 20, 2022))  # fmt: skip


def test_an_overrun_is_shared_by_tiers_and_deposits_come_back_by_score(place) -> None:
    cleared_year(place, 11_000)
    row = proposed(place)
    # overrun 10.00: 5.50 at 30 %, 4.50 at 60 % → 1.65 + 2.70
    assert (row.used, row.difference, row.borne, row.retained) == (12_000, -1000, 435, 0)
    assert (row.deposit_held, row.return_ratio, row.returned, row.forfeited) == (500, 9500, 475, 25)
    assert row.example
    assert row.basis["budget_sharing"]["clause"]["clause"] == "十八"
    owed = place.owed()
    with pytest.raises(Refusal, match="SAME_PERSON"):
        clearing.decide(clearing=row, agree=True, decision="", by="clerk", at=at(1, 21, 2022))
    clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))
    assert place.owed() == owed - 435 + 475
    assert {v.kind: v.amount for v in Voucher.objects.filter(subject=f"clearing:{row.pk}")} == {
        "clearing": 435, "deposit_return": 500,
    }  # fmt: skip
    closing.begin_closing(pool=place.pool, month=dt.date(2022, 1, 1), by="f", at=at(2, 3, 2022))
    assert Statement.objects.get(period=dt.date(2022, 1, 1)).adjustments == 40
    assert ledger.balance().sound


def test_money_already_cut_is_no_part_of_an_overrun(place) -> None:
    cut(place.claim(fund=1000), 1000, at(11, 20))
    cleared_year(place, 11_000)
    place.claim(fund=3000, when=at(1, 4, 2022), day=dt.date(2021, 12, 28), insured_pool="nantong")
    row = proposed(place)
    # 130.00 of the region's own were paid for, 10.00 of them cut: overrun 10.00 as without the claim
    assert (row.used, row.claims, row.difference, row.borne) == (12_000, 3, -1000, 435)
    assert row.deposit_held == 500  # 5 % of 110.00 less 10.00


def test_a_deduction_that_becomes_final_sends_the_clearing_back(place) -> None:
    cleared_year(place, 11_000)
    cut(Settlement.objects.get(fund=2000).claim_id, 1500, at(1, 10, 2022))
    row = proposed(place)
    assert row.used == 12_000
    place.closed(dt.date(2022, 1, 1), (2, 3, 2022))
    with pytest.raises(Refusal, match="FIGURES_CHANGED"):
        clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(2, 4, 2022))
    clearing.decide(clearing=row, agree=False, decision="扣款", by="finance", at=at(2, 4, 2022))
    again = proposed(place)
    # used 105.00 of 110.00: surplus 5.00 at 60 %
    assert (again.used, again.retained, again.borne) == (10_500, 300, 0)


def test_deposits_are_those_of_the_years_statements_whatever_year_was_served(place) -> None:
    cleared_year(place, 11_000)  # 20.00 of December stand on January's statement
    place.closed(dt.date(2022, 1, 1), (2, 3, 2022))
    assert Statement.objects.get(period=dt.date(2022, 1, 1)).deposit == 100
    row = proposed(place)
    assert (row.used, row.deposit_held) == (12_000, 500)
    assert clearing._deposits(place.hospital, "resident", 2022) == {place.code: 100}


def test_a_surplus_is_kept_in_part(place) -> None:
    cleared_year(place, 20_000)
    row = proposed(place)
    # surplus 80.00 of 200.00: 20.00 at 60 %, 60.00 at 30 %
    assert (row.retained, row.borne, row.balance) == (1200 + 1800, 0, 3000)


def test_a_year_is_cleared_once_and_again_after_a_reversal(place) -> None:
    cleared_year(place, 11_000)
    row = proposed(place)
    with pytest.raises(Refusal, match="ALREADY_CLEARED"):
        proposed(place)
    clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))
    owed = place.owed()
    with pytest.raises(Refusal, match="SAME_PERSON"):
        clearing.reverse_clearing(clearing=row, reason="补传", by="finance", at=at(1, 22, 2022))
    clearing.reverse_clearing(clearing=row, reason="补传", by="chief", at=at(1, 22, 2022))
    assert place.owed() == owed - 40
    again = proposed(place)
    assert clearing.decide(clearing=again, agree=True, decision="", by="finance",
                           at=at(1, 23, 2022)).state == "approved"  # fmt: skip
    assert place.owed() == owed
    assert ledger.balance().sound


def test_what_was_uploaded_meanwhile_sends_the_clearing_back(place) -> None:
    cleared_year(place, 11_000)
    row = proposed(place)
    place.claim(fund=100, when=at(1, 20, 2022), day=dt.date(2021, 12, 30))
    with pytest.raises(Refusal, match="FIGURES_CHANGED"):
        clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))


def test_what_is_uploaded_after_the_clearing_is_told_until_it_is_reversed(
    place, monkeypatch
) -> None:
    cleared_year(place, 11_000)
    row = proposed(place)
    clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))
    online = money.Place("wenzhou")
    Institution.objects.filter(pk=online.code).update(parent=place.code)
    monkeypatch.setattr("audit.clock.now", lambda: at(1, 26, 2022))
    pages = [
        factories.log_in(Client(), factories.user(role, where))
        for role, where in (
            ("finance_officer", place.hospital.region),
            ("hospital", place.hospital),
        )
    ]
    url = reverse("clearing", args=[row.pk])

    def told() -> list[str]:
        found = Task.objects.filter(subject=f"clearing:{row.pk}", state="open")
        return list(found.values_list("status", flat=True))

    assert (settlement_tasks.watch_budgets(), told()) == (0, [])
    assert not any("须冲销重算" in page.get(url).content.decode() for page in pages)
    late = online.claim(fund=50_000, when=at(1, 25, 2022), day=dt.date(2021, 12, 30))
    words = "统筹基金使用现为620.00元，清算为120.00元"
    assert (settlement_tasks.watch_budgets(), told()) == (1, [words])
    assert settlement_tasks.watch_budgets() == 1
    task = Task.objects.get(subject=f"clearing:{row.pk}", state="open")
    assert task.title == (f"{place.hospital.name}2021年居民医保年终清算与现有数据不符，须冲销重算")
    assert (task.permission, task.clause) == ("periods.close", "温医保办〔2021〕6号 十八")
    for page in pages:
        html = page.get(url).content.decode()
        assert words in html
        assert "与清算不符，须冲销重算" in html
    online.reverse(late, at(1, 27, 2022))
    assert (settlement_tasks.watch_budgets(), told()) == (0, [])
    indicator(place, 1_000)
    assert settlement_tasks.watch_budgets() == 1
    assert told() == ["年度总额指标现为120.00元，清算为110.00元"]
    clearing.reverse_clearing(clearing=row, reason="指标调整", by="chief", at=at(1, 28, 2022))
    assert told() == []
    assert "与清算不符" not in pages[0].get(url).content.decode()
    assert settlement_tasks.watch_budgets() == 0


def test_a_clearing_whose_assessment_is_gone_is_told_too(place) -> None:
    cleared_year(place, 11_000)
    row = proposed(place)
    row = clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))
    assert clearing.changes(row) == []
    Assessment.objects.update(superseded_at=at(1, 22, 2022))
    assert clearing.changes(row) == ["2021年度尚未考核，不能返还质量保证金"]


def test_a_year_without_its_parts_is_not_cleared(place) -> None:
    with pytest.raises(Refusal, match="YEAR_OPEN"):
        proposed(place)
    Period.objects.create(pool=place.pool, month=dt.date(2021, 12, 1), state="closed")
    with pytest.raises(Refusal, match="NOTHING_TO_CLEAR"):
        proposed(place)
    cleared = money.Place("wenzhou")
    Period.objects.all().delete()
    cleared_year(cleared, 11_000)
    Assessment.objects.all().delete()
    with pytest.raises(Refusal, match="NOT_ASSESSED"):
        proposed(cleared)


def reopening(place: money.Place, month: dt.date) -> Reopening:
    return closing.propose_reopening(pool=place.pool, month=month, reason="漏扣一笔", by="one",
                                     at=at(1, 22, 2022))  # fmt: skip


def test_no_month_of_a_cleared_year_is_opened_again(place) -> None:
    """A deposit that came back is kept back no more: a second return would take another's."""
    cleared_year(place, 11_000)
    december = dt.date(2021, 12, 1)
    asked = reopening(place, december)
    row = proposed(place)
    clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))
    given = {"reopening": asked, "decision": "", "by": "two", "at": at(1, 22, 2022)}
    with pytest.raises(Refusal, match="YEAR_CLEARED") as refusal:
        closing.decide_reopening(agree=True, **given)
    assert refusal.value.detail[0] == (
        f"{place.hospital.name}2021年居民医保已年终清算，2021年12月的结算单不能变动；请先冲销年终清算"
    )
    closing.decide_reopening(agree=False, **given)
    with pytest.raises(Refusal, match="YEAR_CLEARED"):
        reopening(place, december)
    Period.objects.filter(month=december).delete()  # as when December was passed over
    with pytest.raises(Refusal, match="YEAR_CLEARED"):
        reopening(place, NOVEMBER)
    with pytest.raises(Refusal, match="YEAR_CLEARED"):
        closing.begin_closing(pool=place.pool, month=december, by="f", at=at(1, 23, 2022))
    clearing.reverse_clearing(clearing=row, reason="反关账", by="chief", at=at(1, 23, 2022))
    assert reopening(place, NOVEMBER).state == "proposed"


def test_a_clearing_is_not_approved_over_a_month_opened_meanwhile(place) -> None:
    cleared_year(place, 11_000)
    row = proposed(place)
    asked = reopening(place, dt.date(2021, 12, 1))
    closing.decide_reopening(reopening=asked, agree=True, decision="", by="two", at=at(1, 22, 2022))
    with pytest.raises(Refusal, match="YEAR_OPEN"):
        clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 22, 2022))
    assert not Voucher.objects.filter(subject=f"clearing:{row.pk}").exists()


def test_a_year_whose_december_was_empty_is_cleared_after_a_later_month(place) -> None:
    cleared_year(place, 11_000)
    Period.objects.filter(month=dt.date(2021, 12, 1)).delete()
    with pytest.raises(Refusal, match="YEAR_OPEN"):
        proposed(place)
    place.closed(dt.date(2022, 1, 1), (2, 3, 2022))
    row = clearing.propose(institution=place.hospital, scheme="resident", year=2021, by="clerk",
                           at=at(2, 4, 2022))  # fmt: skip
    assert (row.used, row.deposit_held) == (12_000, 500)


def test_without_an_indicator_nothing_is_shared_and_deposits_come_back(place) -> None:
    cleared_year(place, 0)
    row = proposed(place)
    assert (row.budget, row.used, row.claims) == (0, 12_000, 2)
    assert (row.retained, row.borne, row.tiers) == (0, 0, [])
    assert (row.deposit_held, row.return_ratio, row.returned, row.forfeited) == (500, 9500, 475, 25)
    assert list(row.basis) == ["deposit_return_by_score"]
    client = Client()
    client.force_login(factories.user("finance_officer", place.hospital.region))
    page = client.get(reverse("clearing", args=[row.pk])).content.decode()
    for text in ("没有下达总额指标", "只返还质量保证金", "4.75"):
        assert text in page
    for text in ("结余留用</th>", "机构分担超支", "分担档次</h2>"):
        assert text not in page
    assert "未下达" in client.get(reverse("clearings")).content.decode()
    assert client.get(reverse("clearing-paper", args=[row.pk])).content.startswith(b"%PDF")
    owed = place.owed()
    clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))
    assert place.owed() == owed + 475
    assert [v.kind for v in Voucher.objects.filter(subject=f"clearing:{row.pk}")] == [
        "deposit_return"
    ]
    assert ledger.balance().sound


def test_an_indicator_that_comes_meanwhile_sends_the_clearing_back(place) -> None:
    cleared_year(place, 0)
    row = proposed(place)
    indicator(place, 11_000)
    with pytest.raises(Refusal, match="FIGURES_CHANGED"):
        clearing.decide(clearing=row, agree=True, decision="", by="finance", at=at(1, 21, 2022))


@pytest.mark.parametrize("change", ["used = used + 1", "returned = 0, forfeited = deposit_held"])
def test_the_database_keeps_a_clearing(place, change: str) -> None:
    cleared_year(place, 11_000)
    proposed(place)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE settlement_clearing SET {change}")
