"""Bank accounts of payees: sealed into the row that holds them, opened for the bank's file and reveals."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from audit.text import mask_name
from institutions import crypto
from institutions.commands.records import ACCOUNT, opened_account
from institutions.models import Institution
from institutions.refusals import refused
from settlement.models import SealedAccount


@dataclass(frozen=True)
class Account:
    """A bank account in clear; never stored, shown or recorded."""

    holder: str
    bank: str
    number: str

    def sound(self) -> "Account":
        """The same without blanks; Refusal of the part that is wrong."""
        number = re.sub(r"[\s-]", "", self.number)
        if not self.holder.strip():
            raise refused("holder", "HOLDER_MISSING", "请填写户名", "the holder is needed")
        if not self.bank.strip():
            raise refused("bank", "BANK_MISSING", "请填写开户行", "the bank is needed")
        if not ACCOUNT.match(number):
            raise refused("number", "ACCOUNT_INVALID", "银行账号应为8至32位数字",
                          "an account number has 8 to 32 digits")  # fmt: skip
        return Account(self.holder.strip(), self.bank.strip(), number)


def seal(account: Account, *, bound_to: str, masked: bool = True) -> dict[str, Any]:
    """The fields of a `SealedAccount` row; `masked`: the holder is a person."""
    found = account.sound()
    return {
        "bank": found.bank, "number_tail": found.number[-4:],
        "holder_masked": mask_name(found.holder) if masked else found.holder,
        "holder_cipher": crypto.encrypt(found.holder, bound_to=f"{bound_to}:holder"),
        "number_cipher": crypto.encrypt(found.number, bound_to=f"{bound_to}:number"),
        "number_hash": crypto.keyed_hash("account", found.number),
    }  # fmt: skip


def opened(row: SealedAccount, *, bound_to: str) -> Account:
    """The account of a row in clear."""
    return Account(
        holder=crypto.decrypt(bytes(row.holder_cipher), bound_to=f"{bound_to}:holder"), bank=row.bank,
        number=crypto.decrypt(bytes(row.number_cipher), bound_to=f"{bound_to}:number"),
    )  # fmt: skip


def of_institution(institution: Institution, *, on: dt.date) -> Account | None:
    """The account that is registered for an institution on a day."""
    row = institution.accounts.known().in_force(on=on).first()
    if row is None:
        return None
    parts = {"number": bytes(row.number_encrypted), "holder": bytes(row.holder_encrypted)}
    found = opened_account(institution, bytes(row.number_hash).hex(), parts)
    return Account(found["holder"], row.bank, found["number"])


def as_json(sealed: dict[str, Any]) -> dict[str, str]:
    """Sealed fields as text, for a correction that waits for a second person."""
    return {
        key: value.hex() if isinstance(value, bytes) else value for key, value in sealed.items()
    }


def from_json(kept: dict[str, str]) -> dict[str, Any]:
    """`as_json`, back."""
    ciphers = ("holder_cipher", "number_cipher", "number_hash")
    return {key: bytes.fromhex(value) if key in ciphers else value for key, value in kept.items()}
