"""PURE. 大写金额: amounts of fen as bills write them (支付结算办法 附一 正确填写票据和结算凭证的基本规定).

Of the spellings that the rules allow one is chosen: a 零 for zeros inside a group, for the thousands that
a group lacks and for the 元 or 角 that are zero; 整 after 元 and after 角, never after 分.
"""

DIGITS = "零壹贰叁肆伍陆柒捌玖"
PLACES = ((1000, "仟"), (100, "佰"), (10, "拾"), (1, ""))
#: what is written by groups: the group's size, its word, and below which rest a 零 follows the word
GROUPS = ((100_000_000, "亿", 10_000_000), (10_000, "万", 1_000))
FEN_PER_YUAN, FEN_PER_JIAO = 100, 10


def capitals(fen: int, *, currency: str = "人民币") -> str:
    """`168032` → 人民币壹仟陆佰捌拾元零叁角贰分; an amount below zero (红字) is led by 负."""
    yuan, rest = divmod(abs(fen), FEN_PER_YUAN)
    jiao, cents = divmod(rest, FEN_PER_JIAO)
    sign = "负" if fen < 0 else ""
    whole = f"{_whole(yuan) or DIGITS[0]}元" if yuan or not rest else ""
    gap = DIGITS[0] if whole and rest and (yuan % 10 == 0 or not jiao) else ""
    return f"{currency}{sign}{whole}{gap}{_part(jiao, cents)}"


def _part(jiao: int, cents: int) -> str:
    """What follows the 元."""
    tenth = f"{DIGITS[jiao]}角" if jiao else ""
    return f"{tenth}{DIGITS[cents]}分" if cents else f"{tenth}整"


def _whole(number: int) -> str:
    """A whole number, group by group from the left; empty for nothing."""
    for size, word, full in GROUPS:
        above, rest = divmod(number, size)
        if above:
            gap = DIGITS[0] if 0 < rest < full else ""
            return f"{_whole(above)}{word}{gap}{_whole(rest)}"
    return _group(number)


def _group(number: int) -> str:
    """1 … 9999; a row of zeros between two digits is one 零."""
    written, gap = "", ""
    for place, word in PLACES:
        digit = number // place % 10
        if digit:
            written += f"{gap}{DIGITS[digit]}{word}"
            gap = ""
        elif written:
            gap = DIGITS[0]
    return written
