"""PURE. Money is integer fen inside and a decimal string in yuan outside; no float on the way."""

import re
from decimal import ROUND_HALF_UP, Decimal

AMOUNT = re.compile(r"^\d{1,13}(\.\d{1,2})?$")


class MoneyError(ValueError):
    """The text is no amount; the message says what is expected (Chinese)."""


def fen(text: object) -> int:
    """`"12.3"` → 1230. Only non-negative decimal strings with at most two digits."""
    if not isinstance(text, str) or not AMOUNT.match(text):
        raise MoneyError('应为十进制字符串，单位元，至多两位小数，如 "12.00"')
    whole, _, part = text.partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def yuan(amount: int) -> str:
    """1230 → `"12.30"`; negative amounts keep the sign in front."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def to_fen(amount: Decimal) -> int:
    """Yuan as Decimal to fen, half up: the one rounding of the house."""
    return int((amount * 100).quantize(Decimal(1), ROUND_HALF_UP))
