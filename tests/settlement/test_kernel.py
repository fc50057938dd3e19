"""The kernel against an independent oracle in plain integers, and every predicate in both directions."""

import copy
import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.document import UNLIMITED, Policy, parse
from pricing.policy import Rules, compile_rules
from pricing.rules import CODES, DECISIONS, REASONS, SERVICES, VOCABULARY
from settlement import checks, folds, kernel
from settlement.columns import NO_DAY, TRISTATE, UNKNOWN_DAY, Columns, blank, day_number

CITY = Path(__file__).parents[1] / "policies" / "invented-city.yaml"
DATA = parse(CITY.read_text(encoding="utf-8")).data
DAY = dt.date(2022, 6, 10)
DRUG, CONSULT = SERVICES.index("drug"), SERVICES.index("consult")
EMPLOYEE, RESIDENT, LIXIU = (
    CODES["scheme"].index(name) for name in ("employee", "resident", "lixiu")
)

# --- the fold --------------------------------------------------------------------------------------
PERSONS, YEARS, PLANS, LAWS = 4, 2, 3, 2  #: YEARS: the schemes in which a person has a year
money = st.integers(0, 400_000)
ratios = st.integers(0, 10_000)
limits = st.one_of(money, st.just(UNLIMITED))
tiers = st.lists(st.tuples(money, ratios), min_size=1, max_size=4, unique_by=lambda t: t[0]).map(
    sorted
)


@dataclass(frozen=True)
class Plan:
    """A basic benefit: a fixed amount, or a ratio or tiers above a deductible, within a limit."""

    mode: int
    fixed: int
    ratio: int
    deductible: int
    limit: int
    tiers: list


@dataclass(frozen=True)
class Later:
    """The funds after the basic one: major illness insurance and assistance of a region."""

    assistance_first: int
    deductible: int
    limit: int
    tiers: list
    ratio: int
    help_limit: int
    major_over: int  #: counts every scheme of a person
    help_over: int


plans = st.one_of(
    st.builds(Plan, st.just(1), money, st.just(0), st.just(0), st.just(UNLIMITED), st.just([])),
    st.builds(Plan, st.just(2), st.just(0), ratios, money, limits, st.one_of(st.just([]), tiers)),
)
laters = st.builds(
    Later, st.integers(0, 1), money, limits, st.one_of(st.just([]), tiers), ratios, limits,
    st.integers(0, 1), st.integers(0, 1),
)  # fmt: skip
lines_of_people = st.lists(
    st.tuples(
        st.integers(0, PERSONS - 1), money, ratios, st.integers(0, PLANS - 1),
        st.integers(0, LAWS - 1), st.integers(0, YEARS - 1),
    ),
    min_size=1, max_size=25,
)  # fmt: skip
worlds = st.tuples(
    lines_of_people,
    st.lists(plans, min_size=PLANS, max_size=PLANS),
    st.lists(laters, min_size=LAWS, max_size=LAWS),
)


def area(bands: list, x: int) -> int:
    """Σ ratio × the part of [0, x] inside each band."""
    if not bands:
        return 0
    edges = [*(above for above, _ in bands[1:]), UNLIMITED]
    return sum(
        max(min(x, top) - low, 0) * rate for (low, rate), top in zip(bands, edges, strict=True)
    )


def half_up(weighted: int) -> int:
    return (2 * weighted + 10_000) // 20_000


def oracle(lines: list, plans: list, laters: list) -> list:
    """The same sums as plain integers: first self-pay, then fund, then what comes after it."""
    used = defaultdict(lambda: [0] * 6)
    answers = []
    for person, amount, share, plan, law, scheme in lines:
        p, f = plans[plan], laters[law]
        key, whole = (person, scheme), (person, None)
        own, scope, paid, *_ = used[key]
        *_, borne, big, less = used[whole if f.major_over else key]
        helped = used[whole if f.help_over else key][5]
        first = half_up(amount * share)
        seen = amount - first
        taken = min(seen, max(p.deductible - own, 0)) if p.mode == 2 else 0
        start, end = scope - own, scope - own + seen - taken
        weighted = area(p.tiers, end) - area(p.tiers, start) if p.tiers else (end - start) * p.ratio
        fund = max(min(half_up(weighted) if p.mode == 2 else min(p.fixed, seen), p.limit - paid), 0)
        rest, aid, major = amount - fund, 0, 0
        for step in ("aid", "major") if f.assistance_first else ("major", "aid"):
            if step == "aid":
                aid = max(min(half_up((rest - major) * f.ratio), f.help_limit - helped), 0)
            else:
                already = borne - (less if f.assistance_first else 0) - f.deductible
                before, after = max(already, 0), max(already + rest - aid, 0)
                tiered = area(f.tiers, after) - area(f.tiers, before)
                major = max(min(half_up(tiered), f.limit - big), 0)
        more = (taken, seen, fund, rest, major, aid)
        for place in (key, whole):
            used[place] = [a + b for a, b in zip(used[place], more, strict=True)]
        answers.append((first, taken, fund, major, aid))
    return answers


def column(values) -> np.ndarray:
    return np.array(list(values), np.int64)


def folded(function, lines: list, plans: list, laters: list) -> list:
    def joined(bands: list) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        flat = [band for part in bands for band in part]
        starts = np.cumsum([0, *(len(part) for part in bands)])[:-1]
        above, rate = (column(values) for values in zip(*flat, (0, 0), strict=True))
        return starts.astype(np.int64), column(len(part) for part in bands), above, rate

    starts, counts, above, rate = joined([plan.tiers for plan in plans])
    major_starts, major_counts, major_above, major_rate = joined([f.tiers for f in laters])
    which, law = (column(line[k] for line in lines) for k in (3, 4))
    first = column(half_up(amount * share) for _, amount, share, *_ in lines)
    paid = function(
        column(line[0] * YEARS + line[5] for line in lines),
        column(PERSONS * YEARS + line[0] for line in lines),
        column(line[1] for line in lines), first,
        *(column(getattr(plan, name) for plan in plans)[which]
          for name in ("mode", "fixed", "ratio", "deductible", "limit")),
        starts[which], counts[which], law, law, above, rate,
        column(f.assistance_first for f in laters), column(f.major_over for f in laters),
        column(f.help_over for f in laters), column(f.deductible for f in laters),
        column(f.limit for f in laters), major_starts, major_counts, major_above, major_rate,
        column(f.ratio for f in laters), column(f.help_limit for f in laters),
        *kernel.State.blank(PERSONS * (YEARS + 1)).columns(),
    )  # fmt: skip
    return list(zip(first.tolist(), *(part.tolist() for part in paid), strict=True))


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_the_fold_is_the_oracle(world):
    assert folded(folds.fold, *world) == oracle(*world)


@settings(max_examples=40, deadline=None)
@given(worlds)
def test_the_compiled_fold_is_the_written_one(world):
    assert folded(folds.fold, *world) == folded(folds.fold.py_func, *world)


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_no_fund_pays_more_than_is_left_and_none_more_than_its_limit(world):
    lines = world[0]
    for (_, amount, *_), (first, taken, fund, major, aid) in zip(
        lines, folded(folds.fold, *world), strict=True
    ):
        assert min(first, taken, fund, major, aid) >= 0
        assert first + taken + fund <= amount
        assert fund + major + aid <= amount


# --- whole settlements -----------------------------------------------------------------------------
GOOD = {"insured_local": 1, "standing": CODES["standing"].index("active"), "agreement_in_force": 1, "institution_filed": 1, "visit_type": 2,
        "ownership": 1, "price_class": 3, "scheme": EMPLOYEE, "experience_months": 120,
        "doctor_title": 2, "condition": 1, "business_type": 1, "charged_by": 1,
        "provincial_hospitals": 1, "service_day": day_number(DAY),
        "last_offline_day": day_number(DAY) - 10}  # fmt: skip


@pytest.fixture(scope="module")
def city() -> Rules:
    return compile_rules(Policy(DATA))


def facts(n: int, *, fees, service=DRUG, item=0, record=None, **lines) -> Columns:
    records = blank(n)
    for name in TRISTATE:
        records[name] = 1
    for name, value in (GOOD | (record or {})).items():
        records[name] = value
    good = {"drug_listed": 1, "drug_for_disease": 1}
    whole = {"service": service, "item": item, "fee": fees} | good | lines
    return Columns(
        records,
        np.arange(n),
        **{k: np.broadcast_to(np.array(v, np.int64), n).copy() for k, v in whole.items()},
    )


people = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 900_000), st.integers(1, 3), st.integers(1, 3)),
    min_size=1, max_size=20,
)  # fmt: skip


def settle(rules: Rules, rows: list, state: kernel.State) -> list:
    columns = facts(
        len(rows), fees=[fee for _, fee, _, _ in rows],
        record={"scheme": [s for _, _, s, _ in rows], "price_class": [c for *_, c in rows]},
    )  # fmt: skip
    results = kernel.settle(columns, rules, keys=np.array([key for key, *_ in rows]), state=state)
    names = (
        "decision",
        "reason",
        "flags",
        "fee",
        "in_scope",
        "over_cap",
        "overcharge",
        "deductible",
        "fund",
        "first_self_pay",
        "major",
        "assistance",
    )
    return list(zip(*(getattr(results, name).tolist() for name in names), strict=True))


@settings(max_examples=60, deadline=None)
@given(people, st.lists(st.integers(0, 20), max_size=4))
def test_any_split_that_carries_the_state_settles_alike(city, rows, cuts):
    state = kernel.State.blank(4)
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    parts = [settle(city, rows[a:b], state) for a, b in pairwise(edges)]
    assert [line for part in parts for line in part] == settle(city, rows, kernel.State.blank(4))


@settings(max_examples=60, deadline=None)
@given(people, st.randoms(use_true_random=False))
def test_the_order_of_persons_does_not_matter(city, rows, random):
    order = sorted(range(len(rows)), key=lambda i: rows[i][0])
    queues = defaultdict(list)
    for i in order:
        queues[rows[i][0]].append(i)
    mixed = []
    while queues:
        person = random.choice(sorted(queues))
        mixed.append(queues[person].pop(0))
        if not queues[person]:
            del queues[person]
    whole = settle(city, rows, kernel.State.blank(4))
    again = settle(city, [rows[i] for i in mixed], kernel.State.blank(4))
    assert again == [whole[i] for i in mixed]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2_000_000), st.integers(0, 2_000_000), st.integers(1, 3), st.integers(1, 3))
def test_parts_add_up_and_the_fund_never_falls_when_the_fee_rises(
    city, one, other, scheme, price_class
):
    low, high = sorted((one, other))
    answers = [
        settle(city, [(0, fee, scheme, price_class)], kernel.State.blank(1))[0]
        for fee in (low, high)
    ]
    for _, _, _, fee, in_scope, over_cap, _, deductible, fund, *_ in answers:
        assert fee == in_scope + over_cap
        assert 0 <= fund <= in_scope - deductible <= in_scope
    assert answers[0][8] <= answers[1][8]


def test_results_are_whole_numbers(city):
    results = kernel.settle(facts(3, fees=[1, 10, 100]), city)
    assert all(getattr(results, n).dtype.kind in "iu" for n in kernel.Results.__dataclass_fields__)


# --- checks ----------------------------------------------------------------------------------------
FAILING = {
    "payable_services": ({"services": ["consult"]}, {}, {}),
    "delivery_fee_excluded": ({}, {}, {}),
    "approved_items_only": ({"services": ["unapproved_item"]}, {}, {"service": 4}),
    "institution_filed": ({}, {"institution_filed": 0}, {}),
    "agreement_in_force": ({}, {"agreement_state": CODES["agreement_state"].index("expired")}, {}),
    "agreement_not_suspended": ({}, {"suspended_from_day": day_number(DAY)}, {}),
    "local_insured": ({}, {"insured_local": 0}, {}),
    "entitlement_in_force": ({}, {"standing": CODES["standing"].index("arrears")}, {}),
    "credential_verified": ({}, {"person_matched": 0}, {}),
    "consent": ({}, {"explained_item_and_price": 0}, {}),
    "consult_consent": ({}, {"consent": -1}, {}),
    "business_type_separated": ({}, {"business_type": 0}, {}),
    "follow_up_only": ({}, {"visit_type": 1}, {}),
    "common_or_chronic": ({}, {"condition": 3}, {}),
    "department_in_scope": ({}, {"department_in_scope": -1}, {}),
    "disease_in_list": ({}, {"disease_in_list": 0}, {}),
    "revisit_window": ({"months": 2}, {"last_offline_day": UNKNOWN_DAY}, {}),
    "same_disease": ({}, {"same_disease": 0}, {}),
    "charged_by_inviting": ({}, {"charged_by": 2}, {}),
    "included_in_pool": ({}, {"included_in_pool": 0}, {}),
    "uploaded_in_time": ({}, {"uploaded_in_time": 0}, {}),
    "inpatient_only": ({}, {"inpatient": 0}, {}),
    "patient_facing": ({}, {"patient_facing": 0}, {}),
    "medical_treatment": ({}, {"is_medical_treatment": 0}, {}),
    "clinician_only": ({}, {"provider_is_clinician": 0}, {}),
    "excluded_services": ({"names": ["甲"]}, {}, {"service_type": 1}),
    "physician_experience": ({"months": 121}, {}, {}),
    "physician_title": ({}, {"doctor_title": 1}, {"service": CONSULT, "item": 1}),
    "prescription_issued": ({}, {"prescription_issued": 0}, {}),
    "physician_signature": ({}, {"doctor_esigned": 0}, {}),
    "pharmacist_review": ({}, {"pharmacist_reviewed": 0}, {}),
    "drug_listed": ({}, {}, {"drug_listed": 0}),
    "drug_for_disease": ({}, {}, {"drug_for_disease": 0}),
    "online_permitted": (None, {"online_permitted": 0}, {}),
    "physician_permitted": (None, {"physician_permitted": 0}, {}),
    "department_permitted": (None, {"department_permitted": 0}, {}),
    "pharmacist_permitted": (None, {"pharmacist_permitted": 0}, {}),
    "category_covered": (None, {}, {"drug_listed": 1, "category": 3}),
    "no_duplicate_charge": ({}, {}, {"service": CONSULT, "item": 1, "prior_same": 1}),
    "cap_known": ({}, {"ownership": 0}, {}),
    "in_force": (None, {"service_day": day_number(dt.date(2025, 1, 1))}, {}),
    "item_known": (None, {}, {"service": CONSULT, "item": 0}),
    "item_billable": (None, {}, {"service": CONSULT, "item": 4}),
    "class_offered": (None, {"price_class": 2}, {"service": CONSULT, "item": 1}),
    "tariff_known": (None, {"scheme": 0}, {}),
    "no_overcharge": (None, {}, {"service": CONSULT, "item": 1, "fees": 3001}),
}
#: What the records say of a claim's prescriptions fails one rule each (settlement.prescriptions).
FAILING |= {
    rule: ({}, {"prescription_record": CODES["prescription_record"].index(word)}, {})
    for rule, word in {
        "prescription_charged_once": "claimed", "prescription_not_elsewhere": "elsewhere",
        "dispensed_first": "undispensed", "pharmacy_designated": "undesignated",
        "prescription_in_time": "expired", "prescription_not_withdrawn": "withdrawn",
        "prescription_of_person": "other_person",
    }.items()
}  # fmt: skip
ALWAYS_FAILS = {
    "delivery_fee_excluded",
    "payable_services",
    "approved_items_only",
    "physician_experience",
}


def test_the_vocabulary_and_the_predicates_are_the_same_names():
    assert set(checks.PREDICATES) == set(VOCABULARY) == set(FAILING)


@pytest.mark.parametrize("rule", sorted(FAILING))
def test_a_rule_fails_with_its_reason_and_passes_otherwise(rule):
    numbers, record, line = FAILING[rule]
    data = copy.deepcopy(DATA)
    data["items"].append({"code": "H", "name": "标题", "billable": False, "clause": "第2条"})
    data["requires"] = [] if numbers is None else [{"rule": rule, "clause": "第1条"} | numbers]
    rules = compile_rules(Policy(data))
    failing = kernel.settle(facts(1, **({"fees": 100} | line), record=record), rules)
    known = VOCABULARY[rule]
    assert REASONS[failing.reason[0]] == known.code
    assert DECISIONS[failing.decision[0]] == known.decision
    if rule not in ALWAYS_FAILS:
        passing = kernel.settle(facts(1, fees=100), rules)
        assert (REASONS[passing.reason[0]], passing.decision[0]) == ("", kernel.PAYABLE)


def test_a_rank_above_the_item_is_reviewed_and_below_it_refused(city):
    for title, decision in ((1, kernel.REJECT), (2, kernel.PAYABLE), (4, kernel.REVIEW)):
        results = kernel.settle(
            facts(1, fees=100, service=CONSULT, item=1, record={"doctor_title": title}), city
        )
        assert results.decision[0] == decision


def duplicates(city: Rules, items: list, **columns) -> list:
    titles = [2 if item < 3 else 4 for item in items]
    columns = {"encounter": 1} | columns
    results = kernel.settle(
        facts(
            len(items), fees=100, service=CONSULT, item=items,
            record={"doctor_title": titles}, **columns,
        ),
        city,
    )  # fmt: skip
    return [DECISIONS[d] for d in results.decision]


def test_duplicates(city):
    assert duplicates(city, [1, 1, 1]) == ["payable", "reject", "reject"]
    assert duplicates(city, [1, 2]) == ["payable", "reject"], "an alias is the same item"
    assert duplicates(city, [1, 3]) == ["review", "review"]
    assert duplicates(city, [1, 1], prior_same=[0, 0], prior_other=[1, 1]) == ["review", "reject"]
    assert duplicates(city, [1, 1], encounter=[1, 2]) == ["payable", "payable"]
    assert duplicates(city, [1, 1], service_type=[1, 0]) == ["reject", "payable"], (
        "a refused line does not count"
    )
    assert duplicates(city, [1], prior_same=[1]) == ["reject"]


# --- months ----------------------------------------------------------------------------------------
def naive_add_months(day: dt.date, months: int) -> dt.date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for back in range(4):
        try:
            return dt.date(year, month + 1, day.day - back)
        except ValueError:
            continue
    raise AssertionError


@settings(max_examples=300, deadline=None)
@given(st.dates(dt.date(1980, 1, 1), dt.date(2080, 12, 31)), st.integers(0, 60))
def test_months_end_on_the_corresponding_day_or_the_months_end(day, months):
    got = checks.add_months(np.array([day_number(day)]), months)[0]
    assert got == day_number(naive_add_months(day, months))


@pytest.mark.parametrize(
    ("day", "months", "end"),
    [("2019-11-30", 3, "2020-02-29"), ("2020-11-30", 3, "2021-02-28"), ("2020-02-29", 12, "2021-02-28"),
     ("2021-01-31", 1, "2021-02-28"), ("2021-08-31", 1, "2021-09-30")],
)  # fmt: skip
def test_leap_years_and_short_months(day, months, end):
    got = checks.add_months(np.array([day_number(dt.date.fromisoformat(day))]), months)[0]
    assert got == day_number(dt.date.fromisoformat(end))


def test_unknown_days_are_outside_every_window(city):
    for last in (UNKNOWN_DAY, NO_DAY, day_number(DAY) + 1):
        results = kernel.settle(facts(1, fees=100, record={"last_offline_day": last}), city)
        assert REASONS[results.reason[0]] == "REVISIT_WINDOW"
