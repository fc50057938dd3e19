"""Posting: totals add up and legs balance for any mix of lines, accounts and clauses."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.document import Parameter, parse
from pricing.policy import Rules, compile_rules
from settlement import kernel, posting
from settlement.columns import Columns, blank, day_number

POLICIES = Path(__file__).parents[2] / "pricing" / "policies"
DAY = dt.date(2020, 3, 16)
CONSULT = 1


@pytest.fixture(scope="module")
def nantong() -> Rules:
    text = (POLICIES / "nantong-2020-25.yaml").read_text()
    return compile_rules(parse(text), {"employee_fund_ratio": Parameter(6500)})


def claims(n: int, **facts) -> np.ndarray:
    records = blank(n)
    for name in ("institution_filed", "agreement_in_force", "insured_local", "patient_facing",
                 "is_medical_treatment", "provider_is_clinician"):  # fmt: skip
        records[name] = 1
    standard = {"ownership": 1, "scheme": 2, "visit_type": 2, "condition": 1, "doctor_title": 2,
                "price_class": 3, "experience_months": 60, "service_day": day_number(DAY)}  # fmt: skip
    for name, value in (standard | facts).items():
        records[name] = value
    return records


def settled(rules: Rules, records: np.ndarray, items: list[list[int]], fees: list[list[int]]):
    at = np.repeat(np.arange(len(records)), [len(line) for line in items])
    columns = Columns(
        records, at, service=np.full(len(at), CONSULT),
        item=np.array([i for line in items for i in line]),
        fee=np.array([fee for line in fees for fee in line], np.int64), encounter=at + 1,
    )  # fmt: skip
    return columns, kernel.settle(columns, rules)


def post(rules: Rules, columns: Columns, results, left: list[int]) -> posting.Posted:
    n = len(columns.claims)
    return posting.post(
        columns, results, [rules], np.zeros(columns.n, int), n,
        np.zeros(n, int), np.array(left, np.int64),
    )  # fmt: skip


def test_resident_expert_visit_has_every_part(nantong):
    columns, results = settled(nantong, claims(1, doctor_title=4), [[4]], [[3500]])
    posted = post(nantong, columns, results, [0])
    assert (posted.fund[0], posted.over_cap[0], posted.in_scope[0], posted.cash[0]) == (
        600, 1300, 2200, 2900,
    )  # fmt: skip
    assert dict(zip(posted.leg_account.tolist(), posted.leg_amount.tolist(), strict=True)) == {
        posting.POOLED_FUND: 600, posting.PATIENT_CASH: 1600, posting.OVER_CAP: 1300,
        posting.INSTITUTION_PAYABLE: -600, posting.INSTITUTION_COLLECTED: -2900,
    }  # fmt: skip


def test_duplicate_is_the_hospitals_loss_because_its_clause_forbids_charging(nantong):
    columns, results = settled(nantong, claims(1), [[2, 2]], [[1200, 1200]])
    posted = post(nantong, columns, results, [0])
    assert posting.STATES[posted.state[0]] == "partial"
    assert (posted.out_of_scope[0], posted.hospital[0], posted.cash[0]) == (1200, 1200, 600)


def test_excluded_service_is_paid_by_the_patient_because_the_clause_is_silent(nantong):
    columns, results = settled(nantong, claims(1, provider_is_clinician=0), [[2]], [[1200]])
    posted = post(nantong, columns, results, [9999])
    assert (posted.out_of_scope[0], posted.hospital[0], posted.cash[0]) == (1200, 0, 1200)


def test_account_is_drawn_in_order_until_it_is_empty_and_only_when_wanted(nantong):
    records = claims(3, scheme=1, pay_from_account=1)
    records["pay_from_account"][1] = 0
    columns, results = settled(nantong, records, [[2], [2], [2]], [[1200], [1200], [1200]])
    posted = post(nantong, columns, results, [500])
    assert posted.fund.tolist() == [780, 780, 780]
    assert posted.account.tolist() == [420, 0, 80]
    assert posted.cash.tolist() == [0, 420, 340]


def test_overcharge_is_held_and_nothing_of_it_is_posted(nantong):
    columns, results = settled(nantong, claims(1), [[2]], [[1201]])
    posted = post(nantong, columns, results, [0])
    assert (posting.STATES[posted.state[0]], posted.held[0], posted.leg_amount.size) == (
        "review", 1201, 0,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6000)), min_size=1, max_size=4),
        min_size=1, max_size=8,
    ),
    scheme=st.integers(1, 3), clinician=st.integers(-1, 1), account=st.integers(0, 5000),
)  # fmt: skip
def test_parts_always_add_up(nantong, lines, scheme, clinician, account):
    records = claims(len(lines), scheme=scheme, provider_is_clinician=clinician, pay_from_account=1)
    items = [[item for item, _ in line] for line in lines]
    fees = [[fee for _, fee in line] for line in lines]
    columns, results = settled(nantong, records, items, fees)
    posted = post(nantong, columns, results, [account])
    assert posted.fee.tolist() == [sum(line) for line in fees]
    assert (
        posted.fee == posted.in_scope + posted.over_cap + posted.out_of_scope + posted.held
    ).all()
    parts = posted.fund + posted.account + posted.cash + posted.hospital + posted.held
    assert (posted.fee == parts).all()
    sums = np.zeros(len(lines), np.int64)
    np.add.at(sums, posted.leg_claim, posted.leg_amount)
    assert not sums.any()
    assert posted.account.sum() <= account
