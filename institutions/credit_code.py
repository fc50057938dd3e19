"""PURE. Unified social credit codes (GB 32100-2015) with the organisation code inside (GB 11714-1997).

18 characters: who registers (1), kind of organisation (1), registering area (6), organisation code
(8 and its check character), check character. A wrong character or two that changed places show.
"""

LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"  #: GB 32100: no I, O, S, V, Z
WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
MODULUS = 31
ORGANISATION_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
ORGANISATION_MODULUS = 11
LENGTH = 18


class CreditCodeError(ValueError):
    """The text is no credit code; the message says why, in Chinese."""


def credit_code(text: str) -> str:
    """The code in upper case, or CreditCodeError that names the rule it breaks."""
    code = text.strip().upper()
    if len(code) != LENGTH:
        raise CreditCodeError(f"应为{LENGTH}位，实为{len(code)}位")
    for place, letter in enumerate(code, 1):
        if letter not in LETTERS:
            raise CreditCodeError(f"第{place}位“{letter}”不是可用字符（不使用I、O、S、V、Z）")
    if not code[2:8].isdigit():
        raise CreditCodeError("第3至8位应为登记机关行政区划码，只能是数字")
    if organisation_check(code[8:16]) != code[16]:
        raise CreditCodeError("第17位组织机构代码校验码不符，请核对第9至17位")
    if credit_check(code[:17]) != code[17]:
        raise CreditCodeError("第18位校验码不符，请逐位核对")
    return code


def credit_check(body: str) -> str:
    """The 18th character for the 17 before it."""
    total = sum(
        LETTERS.index(letter) * weight for letter, weight in zip(body, WEIGHTS, strict=True)
    )
    return LETTERS[-total % MODULUS]


def organisation_check(body: str) -> str:
    """The check character of the organisation code for its 8 characters."""
    total = sum(
        ORGANISATION_LETTERS.index(letter) * weight
        for letter, weight in zip(body, ORGANISATION_WEIGHTS, strict=True)
    )
    return "0123456789X0"[ORGANISATION_MODULUS - total % ORGANISATION_MODULUS]
