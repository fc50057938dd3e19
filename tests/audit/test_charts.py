"""Charts are pure geometry: integers in, whole pixels and exact shares out."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import charts, text

STEPS = [
    {"label": "费用", "amount": 3500, "kind": "total"},
    {"label": "丙2类", "amount": 1300, "kind": "less"},
    {"label": "政策范围内", "amount": 2200, "kind": "total"},
    {"label": "统筹基金", "amount": 600, "kind": "less"},
    {
        "label": "个人现金",
        "amount": 2900,
        "kind": "total",
        "parts": [
            {"label": "范围内", "amount": 1600, "tone": "cash"},
            {"label": "丙2类", "amount": 1300, "tone": "over"},
        ],
    },
]


def test_waterfall_hangs_each_deduction_from_the_level_before_it():
    drawn = charts.waterfall(title="费用分解", steps=STEPS)["steps"]
    ground = charts.WATERFALL_HEIGHT
    assert [
        (s["amount"], s["parts"][0]["y"], s["parts"][0]["height"], s["linked"]) for s in drawn
    ] == [
        ("35.00", 34, ground - 34, True),
        ("13.00", 34, 84, True),
        ("22.00", 118, 142, True),
        ("6.00", 118, 39, False),
        ("29.00", 157, 103, False),
    ]
    assert [(p["amount"], p["length"]) for p in drawn[4]["parts"]] == [
        ("16.00", "45.71%"),
        ("13.00", "37.14%"),
    ]


def test_waterfall_of_nothing_and_of_a_reversal():
    nothing = charts.waterfall(title="零", steps=[{"label": "费用", "amount": 0, "kind": "total"}])
    assert nothing["steps"][0]["zero"]
    reversal = charts.waterfall(
        title="冲正", steps=[{"label": "费用", "amount": -3500, "kind": "total"}]
    )
    assert (reversal["steps"][0]["amount"], reversal["steps"][0]["parts"][0]["height"]) == (
        "−35.00",
        charts.WATERFALL_HEIGHT - 34,
    )


def test_an_unknown_kind_of_step_is_refused():
    with pytest.raises(ValueError, match="total, less or more"):
        charts.waterfall(title="x", steps=[{"label": "费用", "amount": 1, "kind": "sideways"}])


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40))
def test_no_ugly_number_reaches_the_page(values):
    labels = [str(i) for i in range(len(values))]
    series = [{"label": "a", "values": values}]
    drawings = [
        charts.bars(title="t", labels=labels, series=series, money=True),
        charts.bars(title="t", labels=labels, series=series, stacked=True),
        charts.line(title="t", labels=labels, series=series),
        charts.donut(title="t", parts=[{"label": "x", "value": v} for v in values]),
        charts.ranking(title="t", rows=[{"label": "x", "value": v} for v in values]),
        charts.spark(values),
    ]
    written = json.dumps(drawings, ensure_ascii=False)
    assert not re.search(r"\d\.\d{3}|e[+-]\d|NaN", written)


def test_bars_stay_inside_their_area_and_stack_without_gaps():
    chart = charts.bars(
        title="t",
        labels=["a"],
        stacked=True,
        series=[{"label": "x", "values": [37]}, {"label": "y", "values": [41]}],
    )
    low, high = chart["groups"][0]["bars"]
    assert low["y"] == high["y"] + high["height"]
    assert low["y"] + low["height"] == charts.HEIGHT
    assert high["y"] >= charts.TOP


@pytest.mark.parametrize("values", [[1], [1, -1]])
def test_series_must_fit_their_labels_and_not_be_negative(values):
    with pytest.raises(ValueError, match="x:"):
        charts.bars(title="t", labels=["a", "b"], series=[{"label": "x", "values": values}])


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20).filter(any))
def test_shares_add_up_to_one_hundred(amounts):
    tenths = sum(int(s[:-1].replace(".", "")) for s in text.shares_of_hundred(amounts))
    assert tenths == 1000


@pytest.mark.parametrize(
    ("fen", "written"),
    [
        (0, "0.00"),
        (5, "0.05"),
        (123456, "1,234.56"),
        (-1300, "−13.00"),
        (10**11, "1,000,000,000.00"),
    ],
)
def test_money_is_written_in_yuan(fen, written):
    assert text.yuan(fen) == written


@pytest.mark.parametrize(
    ("plain", "hidden"),
    [
        (text.mask_name("张三"), "张*"),
        (text.mask_name("欧阳示例"), "欧**例"),
        (text.mask_name(""), ""),
        (text.mask_id("990101200001010000"), "990*************00"),
        (text.mask_id("9901"), "****"),
        (text.mask_account("6222000000001234"), "************1234"),
        (text.mask_account("12345"), "*****"),
        (text.rate(6525), "65.25%"),
        (text.rate(6500), "65%"),
        (text.share(1, 3), "33.33%"),
        (text.share(1, 0), "0%"),
        (text.duration(3725), "1 小时 2 分"),
        (text.duration(185), "3 分 5 秒"),
    ],
)
def test_identities_rates_and_spans(plain, hidden):
    assert plain == hidden


def test_a_ring_of_one_part_is_drawn_whole_however_small() -> None:
    path = charts.donut(title="t", parts=[{"label": "x", "value": 1}])["parts"][0]["path"]
    for arc in path.split("M")[1:]:
        start, end = arc.split(" A")[0], arc.split(" L")[0].split(" ")[-2:]
        assert start != " ".join(end)
