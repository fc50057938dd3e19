"""Personal data at rest and in hashes: keyed hashes (HMAC-SM3), fields (SM4-GCM), masks.

Every purpose has its own key. A ciphertext is made with a key derived from `settings.FIELD_KEY` and
starts with its id, so that those of older keys (`settings.FIELD_KEYS_OLD`) stay readable; hashes keep the
first key (`settings.HASH_KEY`), or nobody would be found any more.
(GB/T 22239 8.1.4.8 数据保密性, 8.1.4.11 个人信息保护)
"""

import hmac
import os
import re
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from django.conf import settings

NONCE_BYTES, TAG_BYTES, KEY_BYTES = 12, 16, 16
ID_NUMBER = re.compile(r"^[1-9]\d{16}[\dX]$")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS = "10X98765432"


class CipherError(ValueError):
    """The ciphertext is not ours, was changed, or was moved to another row."""


class IdNumberError(ValueError):
    """The text is no ID number; `texts` says which rule it breaks, in Chinese and English."""

    def __init__(self, chinese: str, english: str):
        super().__init__(chinese)
        self.texts = (chinese, english)


@lru_cache(maxsize=64)
def _derived(secret: str, purpose: str) -> bytes:
    return hmac.new(secret.encode(), purpose.encode(), "sm3").digest()


def keyed_hash(purpose: str, text: str) -> bytes:
    """HMAC-SM3 of a text (32 bytes). Hashes of different purposes cannot be compared."""
    return hmac.new(_derived(settings.HASH_KEY, f"hash:{purpose}"), text.encode(), "sm3").digest()


def person_hash(id_number: str) -> bytes:
    """What an insured person is found by: the keyed hash of the normalised ID number."""
    return keyed_hash("person", id_number.upper())


def id_number(text: str) -> str:
    """A valid 18-character ID number in upper case (GB 11643-1999), or IdNumberError."""
    if not text.isascii():
        raise IdNumberError("证件号码含全角或非 ASCII 字符", "the number has full-width characters")
    if re.fullmatch(r"\d{15}", text):
        raise IdNumberError("不接受 15 位旧证号", "15-digit numbers are no longer accepted")
    number = text.upper()
    if not ID_NUMBER.match(number):
        raise IdNumberError("应为 18 位居民身份号码", "expected an 18-character ID number")
    if check_digit(number[:17]) != number[17]:
        raise IdNumberError("证件号码校验位不符", "the check digit is wrong")
    return number


def person_key(text: str) -> bytes:
    """`person_hash` of an ID number as somebody typed it, or IdNumberError."""
    return person_hash(id_number(text.strip()))


def check_digit(first17: str) -> str:
    """The last character of an ID number (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(first17, WEIGHTS, strict=True))
    return CHECK_DIGITS[total % 11]


def _key_id(secret: str) -> bytes:
    return _derived(secret, "key id")[:4]


def _field_key(secret: str) -> bytes:
    return _derived(secret, "field")[:KEY_BYTES]


def encrypt(text: str, *, bound_to: str) -> bytes:
    """SM4-GCM: key id ‖ nonce ‖ ciphertext ‖ tag. `bound_to` names row and field (authenticated)."""
    nonce = os.urandom(NONCE_BYTES)
    cipher = Cipher(algorithms.SM4(_field_key(settings.FIELD_KEY)), modes.GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(bound_to.encode())
    body = cipher.update(text.encode()) + cipher.finalize()
    return _key_id(settings.FIELD_KEY) + nonce + body + cipher.tag


def decrypt(stored: bytes, *, bound_to: str) -> str:
    """The text of `encrypt` with the same `bound_to`; CipherError when anything was changed."""
    stored = bytes(stored)
    body = stored[4 + NONCE_BYTES : -TAG_BYTES]
    nonce, tag = stored[4 : 4 + NONCE_BYTES], stored[-TAG_BYTES:]
    for secret in (settings.FIELD_KEY, *settings.FIELD_KEYS_OLD):
        if _key_id(secret) != stored[:4]:
            continue
        try:
            cipher = Cipher(algorithms.SM4(_field_key(secret)), modes.GCM(nonce, tag)).decryptor()
            cipher.authenticate_additional_data(bound_to.encode())
            return (cipher.update(body) + cipher.finalize()).decode()
        except (InvalidTag, ValueError):
            raise CipherError("the ciphertext was changed or belongs to another row") from None
    raise CipherError("the ciphertext was made with an unknown key")


def mask_id(number: str) -> str:
    """First 3 and last 4 characters, as for phone numbers: `330**********1234`."""
    return (
        number[:3] + "*" * max(len(number) - 7, 0) + number[-4:]
        if len(number) > 7
        else "*" * len(number)
    )


def mask_name(name: str) -> str:
    """The family name and one star per further character: `张**`."""
    return name[:1] + "*" * max(len(name) - 1, 1)
