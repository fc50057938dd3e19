"""Identifiers that pass every check digit and can belong to nobody.

- ID number (GB 11643): area 999999. No province is numbered 99 in GB/T 2260; read as the residence
  card of a foreigner (first digit 9) neither the province 99 nor the country 999 exists. Birth
  dates are ordinary days, so that ages make sense.
- Credit code (GB 32100): registration area 999999 likewise; both check digits are right.
- National institution code: H, the area, and a serial from 99000; physician code: D likewise.
"""

import datetime as dt

from institutions.crypto import check_digit

NOWHERE = "999999"
CREDIT_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
CREDIT_BASE = 31
ORGANISATION_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
ORGANISATION_BASE = 11

SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦许何吕张孔曹严华金魏陶姜"
GIVEN = "安柏辰丹恩帆归禾嘉可兰沐宁佩琪然若舒棠苇熙夏言一依雨泽知致梓"


def id_number(birth: dt.date, serial: int) -> str:
    """An 18-character ID number with a right check digit, in an area that does not exist."""
    body = f"{NOWHERE}{birth:%Y%m%d}{serial % 1000:03d}"
    return body + check_digit(body)


def organisation_code(serial: int) -> str:
    """Nine characters of GB 11714 with a right check character."""
    body = f"9{serial:07d}"
    values = (ORGANISATION_LETTERS.index(letter) for letter in body)
    total = sum(v * weight for v, weight in zip(values, ORGANISATION_WEIGHTS, strict=True))
    check = ORGANISATION_BASE - total % ORGANISATION_BASE
    return body + {10: "X", ORGANISATION_BASE: "0"}.get(check, str(check))


def credit_code(serial: int, kind: str = "12") -> str:
    """A unified social credit code; `kind` 12 public institution, 52 non-enterprise, 91 company."""
    body = f"{kind}{NOWHERE}{organisation_code(serial)}"
    return body + credit_check(body)


def credit_check(body: str) -> str:
    """The 18th character for 17 characters of a unified social credit code (GB 32100)."""
    total = sum(
        CREDIT_LETTERS.index(letter) * pow(3, place, CREDIT_BASE)
        for place, letter in enumerate(body)
    )
    return CREDIT_LETTERS[-total % CREDIT_BASE]


def institution_code(area: str, serial: int) -> str:
    """A 12-character national code of a demonstration institution."""
    return f"H{area}99{serial:03d}"


def physician_code(area: str, serial: int) -> str:
    """A 13-character national code of a demonstration physician."""
    return f"D{area}99{serial:04d}"


def person_name(number: int) -> str:
    """An invented name; the same number gives the same name, near numbers differ in all parts."""
    mixed = number * 7919
    family, mixed = SURNAMES[mixed % len(SURNAMES)], mixed // len(SURNAMES)
    first, mixed = GIVEN[mixed % len(GIVEN)], mixed // len(GIVEN)
    return family + first + (GIVEN[mixed % len(GIVEN)] if number % 3 else "")
