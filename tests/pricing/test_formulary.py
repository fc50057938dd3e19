"""What a drug list says of lines: against plain integers and plain sets."""

import datetime as dt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.document import NONE, UNLIMITED
from pricing.formulary import (
    DISEASES_KEPT,
    UNKNOWN_COUNT,
    Formulary,
    ceiling_of,
    disease_number,
)

DISEASES = ("M03900", "M01600", "M05300", "M04600")
MOST_FEE = 10**11  #: fen: nine digits of yuan


def formulary(*drugs: tuple[str, int, int, int, tuple[str, ...]]) -> Formulary:
    """Drugs as (code, category, share, ceiling, diseases); the hash of a code is its place."""
    codes, category, share, ceiling, diseases = zip(*drugs, strict=True)
    named = np.zeros((len(drugs), len(DISEASES)), np.uint32)
    for place, wanted in enumerate(diseases):
        named[place, : len(wanted)] = [disease_number(code) for code in wanted]
    return Formulary(
        id=7, sm3="", version="", title="", clause="", first=dt.date.min, last=None, example=False,
        codes={code: k for k, code in enumerate(codes)}, hashes=np.arange(len(drugs)) * 10,
        category=np.array(category), share=np.array(share), ceiling=np.array(ceiling),
        diseases=named,
    )  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10**15), st.integers(1, 10**11))
def test_a_ceiling_for_a_quantity_is_the_plain_product_as_far_as_a_fee_can_reach(price, quantity):
    found = int(ceiling_of(np.array([price]), np.array([quantity]))[0])
    plain = (price * quantity + 10**8 // 2) // 10**8
    assert found == plain or (found == UNLIMITED and plain > MOST_FEE)


def test_no_ceiling_stays_none():
    assert ceiling_of(np.array([NONE, 0]), np.array([10_000, 10_000])).tolist() == [NONE, 0]


filings = st.one_of(st.none(), st.sets(st.sampled_from(DISEASES)))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 2), filings), min_size=1, max_size=12),
    st.lists(st.sets(st.sampled_from(DISEASES)).map(sorted).map(tuple), min_size=3, max_size=3),
)
def test_a_drug_is_allowed_for_the_diseases_it_names(lines, wanted):
    drugs = formulary(*(("ABC"[k], 1 + k, k * 1000, 10**6, wanted[k]) for k in range(3)))
    filed = np.zeros((len(lines), 1 + DISEASES_KEPT), np.uint32)
    for row, (_, has) in zip(filed, lines, strict=True):
        row[0] = UNKNOWN_COUNT if has is None else len(has)
        numbers = [disease_number(code) for code in sorted(has or ())]
        row[1 : 1 + len(numbers)] = numbers
    places = np.array([place for place, _ in lines])
    said = drugs.judge(places, np.full(len(lines), 20_000), filed)
    for k, (place, has) in enumerate(lines):
        listed = place >= 0
        assert said["drug_listed"][k] == listed
        assert said["category"][k] == (1 + place if listed else 0)
        assert said["first_share"][k] == (place * 1000 if listed else 0)
        assert said["ceiling"][k] == (200 if listed else NONE)
        asked = listed and wanted[place] and has is not None
        assert said["drug_for_disease"][k] == (bool(has & set(wanted[place])) if asked else -1)


def test_codes_and_hashes_find_the_same_drugs():
    drugs = formulary(("A", 1, 0, NONE, ()), ("B", 2, 0, NONE, ()))
    assert drugs.places(["B", "X", "A"]).tolist() == [1, -1, 0]
    assert drugs.find(np.array([10, 5, 0])).tolist() == [1, -1, 0]
