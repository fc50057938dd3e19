"""How money, rates and identities are written on every screen and paper.

Pure functions: integers and strings in, display text out. Amounts are fen, rates per ten thousand.
"""

from collections.abc import Sequence


def yuan(fen: int, *, sign: bool = False) -> str:
    """Write an amount of fen as yuan: 123456 → ``1,234.56``; with ``sign`` also ``+1.00``.

    The minus is the typographic one (−), which has the width of a digit.
    """
    whole, rest = divmod(abs(fen), 100)
    lead = "−" if fen < 0 else "+" if sign and fen > 0 else ""
    return f"{lead}{whole:,}.{rest:02d}"


def rate(per_ten_thousand: int) -> str:
    """Write a rate per ten thousand as per cent: 6500 → ``65%``, 6525 → ``65.25%``."""
    whole, rest = divmod(abs(per_ten_thousand), 100)
    tail = f".{rest:02d}".rstrip("0") if rest else ""
    return f"{'−' if per_ten_thousand < 0 else ''}{whole}{tail}%"


def share(part: int, whole: int) -> str:
    """Write ``part / whole`` as a CSS or SVG length with two digits: 1, 3 → ``33.33%``.

    Integer arithmetic, half up; a whole of 0 gives ``0%``.
    """
    if whole == 0:
        return "0%"
    return rate((part * 20000 + whole) // (2 * whole))


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split a total by weights into whole numbers that add up to it: largest remainder, the first of equals.

    Without any weight everything is 0. A part is never above its weight while the total is not above theirs.
    """
    whole = sum(weights)
    if whole == 0:
        return [0 for _ in weights]
    floors = [weight * total // whole for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda i: (-(weights[i] * total % whole), i))
    for i in by_rest[: total - sum(floors)]:
        floors[i] += 1
    return floors


def shares_of_hundred(amounts: Sequence[int]) -> list[str]:
    """Write amounts as per cent with one digit that add up to exactly 100."""
    return [f"{value // 10}.{value % 10}%" for value in apportion(1000, amounts)]


def mask(value: str, *, head: int, tail: int) -> str:
    """Hide the middle of a value and keep ``head`` and ``tail`` characters.

    A value too short to hide at least half of itself is hidden completely.
    """
    hidden = len(value) - head - tail
    if hidden < 1 or hidden * 2 < len(value):
        return "*" * len(value)
    return f"{value[:head]}{'*' * hidden}{value[len(value) - tail :]}"


def mask_name(name: str) -> str:
    """Hide a personal name: 张三 → ``张*``, 欧阳小明 → ``欧**明``, 李大明 → ``李*明``."""
    if len(name) < 3:
        return f"{name[:1]}{'*' * (len(name) - 1)}"
    return f"{name[0]}{'*' * (len(name) - 2)}{name[-1]}"


def mask_id(number: str) -> str:
    """Hide an identity number: the area code's first three and the last two characters stay."""
    return mask(number, head=3, tail=2)


def mask_account(number: str) -> str:
    """Hide a bank account, card or telephone number: only the last four characters stay."""
    return mask(number, head=0, tail=4)


def duration(seconds: int) -> str:
    """Write a time span in Chinese, two units at most: 3725 → ``1 小时 2 分``."""
    minutes, rest = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} 小时 {minutes} 分"
    return f"{minutes} 分 {rest} 秒" if minutes else f"{rest} 秒"
