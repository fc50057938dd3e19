"""A city whose tiers, deductible and limit differ by class of hospital: data alone, to the fen."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.benefits import MODE_OPEN, benefits_of
from pricing.document import UNLIMITED, Parameter, Policy, parse
from pricing.policy import compile_rules
from pricing.validation import problems
from settlement import kernel, trial
from settlement.why import PAYABLE, Line, Told, sentence
from tests.settlement import test_invented_city as city
from tests.settlement.test_kernel import RESIDENT, Later, Plan, oracle, settle

RESIDENTS = """  - scheme: resident
    tiers: [{above: 0, ratio: 4000}, {above: 100000, ratio: 5500}, {above: 300000, ratio: 2500}]
    deductible: 30000
    annual_limit: 250000
"""
BY_CLASS = """  - scheme: resident
    tiers_by_class:
      "3": [{above: 0, ratio: 5000}, {above: 500000, ratio: 6000}]
      "2": [{above: 0, ratio: 6000}, {above: 500000, ratio: 7000}]
      "1": [{above: 0, ratio: 8000}]
    deductible_by_class: {"3": 80000, "2": 50000, "1": 0}
    annual_limit_by_class: {"3": 600000, "2": 700000, "1": null}
"""
TEXT = city.TEXT.replace(RESIDENTS, BY_CLASS)
DATA = parse(TEXT).data
RULES = compile_rules(Policy(DATA))
DEDUCTIBLE, FUND = 7, 8  #: positions in what `settle` answers
CAPS = {3: 500_000, 2: 400_000, 1: 300_000}
PLANS = [
    Plan(2, 0, 0, 0, UNLIMITED, [(0, 8000)]),
    Plan(2, 0, 0, 50_000, 700_000, [(0, 6000), (500_000, 7000)]),
    Plan(2, 0, 0, 80_000, 600_000, [(0, 5000), (500_000, 6000)]),
]


def year(*visits: tuple[int, int]) -> list[tuple[int, int]]:
    """(Deductible, fund) of one person's visits (class, fee) in their order."""
    rows = [(0, fee, RESIDENT, price_class) for price_class, fee in visits]
    return [(row[DEDUCTIBLE], row[FUND]) for row in settle(RULES, rows, kernel.State.blank(1))]


def test_the_text_is_without_faults() -> None:
    assert TEXT != city.TEXT
    assert problems(TEXT, name="invented-city.yaml") == []


def test_hand_computed_years() -> None:
    assert year((3, 500_000), (2, 400_000), (3, 500_000), (2, 400_000), (1, 300_000)) == [
        (80_000, 210_000),  # (5000 − 800) × 50 %
        (0, 272_000),  # 800.00 up to 5000.00 × 60 % + 3200.00 × 70 %
        (0, 118_000),  # 5000 × 60 % = 3000.00, of class 3's limit 6000.00 only 1180.00 are left
        (0, 100_000),  # 4000 × 70 % = 2800.00, of class 2's limit 7000.00 only 1000.00 are left
        (0, 240_000),  # class 1 has no limit: 3000 × 80 %
    ]
    assert year((2, 40_000), (3, 100_000), (2, 10_000)) == [
        (40_000, 0),  # of 500.00
        (40_000, 30_000),  # up to 800.00; 600 × 50 %
        (0, 6_000),
    ]
    assert year((1, 1_000)) == [(0, 800)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 600_000), st.integers(1, 3)),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_the_kernel_is_the_oracle(visits: list[tuple[int, int, int]]) -> None:
    rows = [(person, fee, RESIDENT, price_class) for person, fee, price_class in visits]
    lines = [
        (person, min(fee, CAPS[place]), 0, place - 1, 0, RESIDENT) for person, fee, place in visits
    ]
    expected = oracle(lines, PLANS, [Later(0, 0, 0, [], 0, 0, 0, 0)])
    found = settle(RULES, rows, kernel.State.blank(4))
    assert [(row[DEDUCTIBLE], row[FUND]) for row in found] == [line[1:3] for line in expected]


def test_the_answer_says_which_classs_tiers_and_deductible() -> None:
    law = city.catalogue(DATA)
    notes = {}
    for price_class in (3, 2):
        facts = city.DRUG | {"scheme": "resident", "fee": "2000.00", "price_class": price_class}
        answer = trial.run(facts, law)
        steps = {step["key"]: step for step in answer["explanation"]}
        notes[price_class] = (
            steps["deductible"]["amount"],
            answer["fund_pay"],
            steps["fund"]["note"],
        )
    assert notes == {
        3: (
            "800.00",
            "600.00",
            "起付线以上按 分段比例（0.00 元以上 50%、5000.00 元以上 60%） 支付",
        ),
        2: (
            "500.00",
            "900.00",
            "起付线以上按 分段比例（0.00 元以上 60%、5000.00 元以上 70%） 支付",
        ),
    }
    line = Line("药品费", PAYABLE, in_scope=200_000, deductible=50_000, fund=90_000)
    told = Told("payable", 200_000, [line], fund=90_000, deductible=50_000, how=notes[2][2])
    assert sentence(told) == (
        "费用2,000.00元，统筹基金支付900.00元：范围内2,000.00元中500.00元计入年度起付线"
        "（全年500.00元，此前已累计0.00元，至此已满）；其余600.00元按规定由个人负担"
        "（起付线以上按 分段比例，0.00 元以上 60%、5000.00 元以上 70% 支付）。"
    )


def test_what_is_left_of_a_year_stands_for_every_class() -> None:
    facts = city.DRUG | {"scheme": "resident", "fee": "2000.00", "price_class": 3}
    answer = trial.run(facts | {"parameters": {"deductible_remaining": "100.00"}},
                       city.catalogue(DATA))  # fmt: skip
    assert answer["fund_pay"] == "950.00"  # (2000 − 100) × 50 %


def test_parameters_may_differ_by_class_and_a_class_left_out_is_open() -> None:
    refers = {"scheme": "resident", "refer_to": "parameters", "clause": "第5条"}
    tiers = {"3": [{"above": 0, "ratio": 5000}], "2": [{"above": 0, "ratio": 6000}]}
    table = benefits_of(Policy(DATA | {"fund_pays": [refers]}), {
        "resident_tiers": Parameter(tiers, example=True),
        "resident_deductible": Parameter({3: 80_000, 2: 50_000}),
        "resident_annual_limit": Parameter(700_000),
    })  # fmt: skip
    three, two, one = (table["resident", price_class] for price_class in (3, 2, 1))
    assert (three.tiers, three.deductible, three.limit) == (((0, 5000),), 80_000, 700_000)
    assert (two.tiers, two.deductible, two.example) == (((0, 6000),), 50_000, True)
    assert one.mode == MODE_OPEN
