"""What is deducted or adjusted of a claim that another region paid is that region's, in both books."""

import pytest
from django.db import IntegrityError, transaction

from institutions.access import EVERYTHING, set_scope
from institutions.models import Region
from settlement import adjustments, closing, ledger, periods, regional_deductions
from settlement.adjustments import Wanted
from settlement.models import Adjustment, Leg, Period, Statement, Voucher
from settlement.regional_transfers import HELD, OWED, Line
from settlement.statement_steps import deduct
from settlement.vouchers import post_voucher
from tests.settlement.money import NOVEMBER, at
from tests.settlement.test_regional_transfers import DECEMBER, Account, Pair, book


@pytest.fixture
def pair(db) -> Pair:
    """60.00 of another region and 20.00 of the own one; 50.00 and 5.00 of it are fictitious."""
    set_scope(EVERYTHING)
    made = Pair(policies=True)
    own = made.place.claim(fund=2000, when=at(11, 17))
    for claim, amount in ((made.first, 5000), (own, 500)):
        deduct(claim_id=claim, amount=amount, reason="fictitious", note="虚构", by="reviewer",
               at=at(11, 30))  # fmt: skip
    return made


def closing_month(pair: Pair) -> Statement:
    period = closing.begin_closing(pool="wenzhou", month=NOVEMBER, by="finance", at=at(12, 1))
    return pair.place.confirmed(period)


def posted(statement: Statement) -> list[tuple[str, str, dict[int, int]]]:
    rows = Voucher.objects.filter(subject=statement.subject, kind="deduction").order_by("pk")
    return [
        (row.region_code, row.institution_code,
         dict(Leg.objects.filter(claim_id=row.pk).values_list("account", "amount")))
        for row in rows
    ]  # fmt: skip


def test_the_insured_region_owes_less_and_has_the_deduction(pair: Pair) -> None:
    statement = closing_month(pair)
    there, here = pair.debtor.pk, (pair.place.region, pair.place.code)
    assert posted(statement) == [
        (*here, {6: 5000, 15: -5000}), (there, "", {12: -5000, 15: 5000}), (*here, {6: 500, 12: -500}),
    ]  # fmt: skip
    assert statement.deducted == 5500
    assert book("wenzhou")[-1] == Line("wenzhou", "nantong", HELD, DECEMBER, -2500, 0, 2500)
    assert book("nantong")[-1] == Line("nantong", "wenzhou", OWED, DECEMBER, -2500, 0, 2500)
    assert ledger.balance().accounts[Account.REGIONAL_CLEARING] == 0
    month = Period.objects.get(pool="wenzhou", month=NOVEMBER)
    assert periods.differences(month) == []
    assert (
        closing.close(pool="wenzhou", month=NOVEMBER, by="finance", at=at(12, 3)).state == "closed"
    )


def test_a_month_that_is_opened_again_turns_both_vouchers_round(pair: Pair) -> None:
    statement = closing_month(pair)
    closing.close(pool="wenzhou", month=NOVEMBER, by="finance", at=at(12, 3))
    asked = closing.propose_reopening(pool="wenzhou", month=NOVEMBER, reason="漏收一批",
                                      by="finance", at=at(12, 4))  # fmt: skip
    closing.decide_reopening(reopening=asked, agree=True, decision="同意", by="chief", at=at(12, 5))
    sums: dict[tuple[str, int], int] = {}
    for region, _, legs in posted(statement):
        for account, amount in legs.items():
            sums[region, account] = sums.get((region, account), 0) + amount
    assert set(sums.values()) == {0}
    assert book("nantong")[-1].balance == book("wenzhou")[-1].balance == 7500


def test_what_is_given_back_is_owed_again(pair: Pair) -> None:
    closing_month(pair)
    closing.close(pool="wenzhou", month=NOVEMBER, by="finance", at=at(12, 3))
    pair.back(pair.first, 5000, at(12, 10))
    statement = pair.place.confirmed(
        closing.begin_closing(pool="wenzhou", month=DECEMBER, by="finance", at=at(1, 2, 2022)),
        (1, 4, 2022),
    )
    assert statement.deducted == -5000
    assert posted(statement)[1] == (pair.debtor.pk, "", {12: 5000, 15: -5000})
    assert book("nantong")[-1].balance == book("wenzhou")[-1].balance == 2500
    assert ledger.balance().accounts[Account.REGIONAL_CLEARING] == 0


def test_a_month_is_not_closed_while_one_book_lacks_its_part(pair: Pair, monkeypatch) -> None:
    monkeypatch.setattr(regional_deductions, "post", lambda *_, **__: None)
    closing_month(pair)
    month = Period.objects.get(pool="wenzhou", month=NOVEMBER)
    assert "1笔异地单据的审核扣款没有在两地记相同金额的凭证" in periods.differences(month)


def test_a_deduction_of_no_institution_is_another_regions(pair: Pair) -> None:
    with pytest.raises(IntegrityError, match="voucher_deduction_of_whom"), transaction.atomic():
        post_voucher(
            kind=Voucher.Kind.DEDUCTION, effect="x", subject="statement:1", by="clerk",
            region_code=pair.debtor.pk, at=at(12, 1), scheme="resident",
            legs={Account.REGIONAL_CLEARING: 5, Account.DEDUCTION: -5},
        )  # fmt: skip


# --- Special adjustments ---


def adjusted(pair: Pair, amount: int, claim: int) -> Adjustment:
    """An adjustment of a claim, posted by two persons in December."""
    wanted = Wanted(
        reason_class="ruling", reason="裁决执行", subject="institution", amount=amount,
        scheme="resident", institution_code=pair.place.code,
    )  # fmt: skip
    made = adjustments.propose(
        region=Region.objects.get(pk=pair.place.region), wanted=wanted,
        file=("依据.pdf", b"%PDF-1.4"), by="clerk", at=at(12, 6),
    )  # fmt: skip
    Adjustment.objects.filter(pk=made.pk).update(subject="claim", claim_id=claim)
    return adjustments.approve(adjustment=made, who=pair.person("finance_officer", "wenzhou"),
                               at=at(12, 7))  # fmt: skip


def vouchers(made: Adjustment) -> list[tuple[str, str, dict[int, int]]]:
    rows = Voucher.objects.filter(subject=made.bound_to).order_by("pk")
    return [
        (row.region_code, row.institution_code,
         dict(Leg.objects.filter(claim_id=row.pk).values_list("account", "amount")))
        for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("amount", [-3000, 700])
def test_an_adjustment_is_the_insured_regions(pair: Pair, settings, tmp_path, amount: int) -> None:
    settings.MEDIA_ROOT = tmp_path
    made = adjusted(pair, amount, pair.first)
    there, here = pair.debtor.pk, (pair.place.region, pair.place.code)
    posted_now = [(*here, {6: -amount, 15: amount}), (there, "", {15: -amount, 17: amount})]
    assert vouchers(made) == posted_now
    assert (made.voucher.region_code, made.voucher.institution_code) == here
    assert book("wenzhou")[-1] == Line(
        "wenzhou", "nantong", HELD, DECEMBER, 2500 + amount, 0, 7500 + amount
    )
    assert book("nantong")[-1] == Line(
        "nantong", "wenzhou", OWED, DECEMBER, 2500 + amount, 0, 7500 + amount
    )
    assert ledger.balance().accounts[Account.REGIONAL_CLEARING] == 0
    for pool in ("wenzhou", "nantong"):
        assert "特殊调整" not in str(periods.differences(month_of(pool)))
    adjustments.ask_reversal(adjustment=made, reason="重复", by="clerk", at=at(12, 8))
    officer = pair.person("finance_officer", "wenzhou")
    adjustments.reverse(adjustment=made, who=officer, at=at(12, 9))
    assert vouchers(made)[2:] == [
        (*where, {account: -fen for account, fen in legs.items()}) for *where, legs in posted_now
    ]
    assert book("nantong")[-1].balance == book("wenzhou")[-1].balance == 7500
    for pool in ("wenzhou", "nantong"):
        assert "特殊调整" not in str(periods.differences(month_of(pool)))


def month_of(pool: str) -> Period:
    return Period.objects.get_or_create(pool=pool, month=DECEMBER)[0]


def test_an_adjustment_of_one_book_alone_keeps_the_month_open(pair: Pair) -> None:
    post_voucher(
        kind=Voucher.Kind.ADJUSTMENT, effect="alone", subject="adjustment:1", scheme="resident",
        legs={Account.INSTITUTION_PAYABLE: 5, Account.REGIONAL_CLEARING: -5}, by="clerk", at=at(12, 7),
        region_code=pair.place.region, institution_code=pair.place.code,
        detail={"side": HELD, "other": "nantong"},
    )  # fmt: skip
    words = "1张异地单据的特殊调整凭证没有在两地记相同金额"
    assert words in periods.differences(month_of("wenzhou"))


def test_an_adjustment_of_a_claim_of_here_stays_here(pair: Pair, settings, tmp_path) -> None:
    settings.MEDIA_ROOT = tmp_path
    made = adjusted(pair, -500, pair.place.claim(fund=2000, when=at(11, 18)))
    assert vouchers(made) == [(pair.place.region, pair.place.code, {6: 500, 17: -500})]
