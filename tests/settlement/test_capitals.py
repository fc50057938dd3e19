"""大写金额: the examples that 支付结算办法 prints, and every amount read back by other rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.capitals import capitals

VALUES = {word: value for value, word in enumerate("零壹贰叁肆伍陆柒捌玖")}
UNITS = {"拾": 10, "佰": 100, "仟": 1000}


def read_back(text: str) -> int:
    """Fen of a 大写金额, read as a person reads it: digit by digit, each with the unit after it."""
    text = text.removeprefix("人民币").removesuffix("整")
    sign = -1 if text.startswith("负") else 1
    whole, _, part = text.removeprefix("负").rpartition("元")
    fen = 0
    digit = 0
    for word in part:
        if word in VALUES:
            digit = VALUES[word]
        else:
            fen += digit * {"角": 10, "分": 1}[word]
    return sign * (100 * _yuan(whole) + fen)


def _yuan(text: str) -> int:
    for word, size in (("亿", 10**8), ("万", 10**4)):
        if word in text:
            above, _, below = text.rpartition(word)
            return _yuan(above) * size + _yuan(below)
    total = digit = 0
    for word in text:
        if word in VALUES:
            digit = VALUES[word]
        else:
            total += digit * UNITS[word]
            digit = 0
    return total + digit


@pytest.mark.parametrize(
    ("fen", "words"),
    [
        (140950, "人民币壹仟肆佰零玖元伍角整"),
        (600714, "人民币陆仟零柒元壹角肆分"),
        (168032, "人民币壹仟陆佰捌拾元零叁角贰分"),
        (10700053, "人民币壹拾万柒仟元零伍角叁分"),
        (1640902, "人民币壹万陆仟肆佰零玖元零贰分"),
        (32504, "人民币叁佰贰拾伍元零肆分"),
        (0, "人民币零元整"),
        (5, "人民币伍分"),
        (50, "人民币伍角整"),
        (1000, "人民币壹拾元整"),
        (100_000_001_00, "人民币壹亿零壹元整"),
        (1_0000_0000_0000_00, "人民币壹万亿元整"),
        (-12345, "人民币负壹佰贰拾叁元肆角伍分"),
    ],
)
def test_the_examples_of_the_rules(fen: int, words: str) -> None:
    assert capitals(fen) == words


@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.integers(-(10**9), 10**9), st.integers(0, 10**17),
                 st.integers(0, 10**6).map(lambda n: n * 10_000)))  # fmt: skip
def test_every_amount_is_read_back(fen: int) -> None:
    assert read_back(capitals(fen)) == fen


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 10**15))
def test_the_shape_of_the_rules(fen: int) -> None:
    text = capitals(fen)
    assert text.startswith("人民币")
    assert "零零" not in text
    assert text.endswith("整") == (fen % 10 == 0)
    assert (text[-1] == "分") == (fen % 10 != 0)
    assert "零元" not in text or fen < 100
