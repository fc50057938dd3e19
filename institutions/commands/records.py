"""Qualifications, platforms, accounts and contacts of an institution, each with its validity."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import TypeVar

from django.db import models, transaction

from institutions import crypto
from institutions.commands.facts import DAY, locked, noted
from institutions.law import LEVELS, law_for
from institutions.models import (
    BankAccount,
    Contact,
    Document,
    Institution,
    PlatformConnection,
    Qualification,
)
from institutions.refusals import Refusal, refused

MLPS = {Qualification.Kind.MLPS_RECORD, Qualification.Kind.MLPS_REPORT}
ACCOUNT = re.compile(r"^\d{8,32}$")
PHONE = re.compile(r"^\+?\d[\d-]{5,18}\d$")
EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
Checkable = Qualification | PlatformConnection
Row = TypeVar("Row", Qualification, PlatformConnection, BankAccount)


def _in_order(first: dt.date, last: dt.date | None) -> None:
    if last is not None and last < first:
        raise refused("valid_until", "DATES_REVERSED", "有效期止日不得早于起日",
                      "the end precedes the start")  # fmt: skip


def touching(rows: models.QuerySet, first: dt.date, last: dt.date | None) -> models.QuerySet:
    """Rows whose validity shares a day with [first, last]."""
    rows = rows.exclude(valid_until__lt=first)
    return rows if last is None else rows.filter(valid_from__lte=last)


# --- Qualifications ---


@transaction.atomic
def add_qualification(
    *, institution: Institution, kind: str, number: str, valid_from: dt.date, by: str,
    at: dt.datetime, valid_until: dt.date | None = None, issuer: str = "", level: str = "",
    document: Document | None = None,
) -> Qualification:  # fmt: skip
    """Record a licence, certificate or report. Its scan is checked by a second person.

    MLPS evidence names its level; a test report ends on a day. (通医保发〔2020〕25号 三（四）)
    """
    found = locked(institution)
    number = number.strip()
    clause = law_for(found, on=valid_from).protection_clause if kind in MLPS else ""
    sound_qualification(kind, number, level, valid_from, valid_until, clause)
    same = found.qualifications.known().filter(kind=kind, number=number)
    if other := touching(same, valid_from, valid_until).first():
        raise refused(
            "valid_from", "QUALIFICATION_OVERLAPS",
            f"同一证照已登记有效期{other.valid_from}至{other.valid_until or '长期'}，请先更正",
            "the validity overlaps with a recorded one", status=409,
        )  # fmt: skip
    made = Qualification.objects.create(
        institution=found, kind=kind, number=number, issuer=issuer.strip(), level=level.strip(),
        valid_from=valid_from, valid_until=valid_until, document=document, recorded_at=at,
        recorded_by=by,
    )  # fmt: skip
    noted(found, "qualification.add", by=by, at=at, subject=f"qualification:{made.pk}", kind=kind,
          number=number, valid_from=valid_from, valid_until=valid_until)  # fmt: skip
    return made


def sound_qualification(
    kind: str, number: str, level: str, valid_from: dt.date, valid_until: dt.date | None,
    clause: str = "",
) -> None:  # fmt: skip
    """Refusal for a qualification that is wrong in itself; `clause` asks for protection evidence."""
    _in_order(valid_from, valid_until)
    if kind not in Qualification.Kind.values:
        raise refused("kind", "KIND_UNKNOWN", f"没有“{kind}”这一类资质", "unknown kind")
    if not number:
        raise refused("number", "NUMBER_MISSING", "请填写证照编号", "a number is needed")
    if kind in MLPS and not level.strip():
        raise refused("level", "LEVEL_MISSING", "等级保护材料须写明级别", "the level is needed",
                      clause=clause)  # fmt: skip
    if kind in MLPS and level.strip() not in LEVELS:
        raise refused("level", "LEVEL_UNKNOWN", f"等级保护级别应为{LEVELS[0]}至{LEVELS[-1]}之一",
                      "unknown level of protection", clause=clause)  # fmt: skip
    if kind == Qualification.Kind.MLPS_REPORT and valid_until is None:
        raise refused("valid_until", "END_MISSING", "测评报告须填写有效期止日，以便到期前提醒",
                      "a test report ends on a day", clause=clause)  # fmt: skip


@transaction.atomic
def correct_qualification(
    *, qualification: Qualification, by: str, at: dt.datetime, valid_from: dt.date,
    valid_until: dt.date | None = None, number: str = "", issuer: str = "", level: str = "",
    document: Document | None = None,
) -> Qualification:  # fmt: skip
    """Replace a recorded qualification by what is right; the replaced row stays in the history."""
    old = replaced(qualification, by=by, at=at)
    return add_qualification(
        institution=old.institution, kind=old.kind, number=number or old.number,
        valid_from=valid_from, valid_until=valid_until, issuer=issuer or old.issuer,
        level=level or old.level, document=document or old.document, by=by, at=at,
    )  # fmt: skip


def replaced(row: Row, *, by: str, at: dt.datetime) -> Row:
    """The row, no longer valid knowledge from now on; Refusal when it was replaced before."""
    locked(row.institution)
    row.refresh_from_db()
    if row.superseded_at is not None:
        raise refused("", "REPLACED_BEFORE", "这条登记已被更正，请刷新后重试",
                      "the record was replaced before", status=409)  # fmt: skip
    row.superseded_at = at
    row.save(update_fields=["superseded_at"])
    noted(row.institution, f"{row._meta.model_name}.replace", by=by, at=at,
          subject=f"{row._meta.model_name}:{row.pk}")  # fmt: skip
    return row


@transaction.atomic
def check_record(*, record: Checkable, by: str, at: dt.datetime) -> None:
    """The agency compared a record with its scan; never who recorded it, never without a scan."""
    found = type(record)._default_manager.select_for_update().get(pk=record.pk)
    if found.superseded_at is not None or found.checked_at is not None:
        raise refused(
            "", "CHECKED_BEFORE", "这条登记已核验或已更正", "checked or replaced", status=409
        )
    if found.recorded_by == by:
        raise refused(
            "", "SAME_PERSON", "登记人不能核验自己的登记", "a second person checks", status=403
        )
    if found.document_id is None:
        raise refused("document", "SCAN_MISSING", "没有扫描件，不能核验", "the scan is missing")
    found.checked_at, found.checked_by = at, by
    found.save(update_fields=["checked_at", "checked_by"])
    name = found._meta.model_name
    noted(found.institution, f"{name}.check", by=by, at=at, subject=f"{name}:{found.pk}")


# --- Platforms ---


@transaction.atomic
def connect_platform(
    *, institution: Institution, platform: str, valid_from: dt.date, by: str, at: dt.datetime,
    valid_until: dt.date | None = None, document: Document | None = None,
) -> PlatformConnection:  # fmt: skip
    """Record that an institution is joined to a platform that the policy of its region names."""
    found = locked(institution)
    _in_order(valid_from, valid_until)
    known = law_for(found, on=valid_from).platforms
    if platform not in known:
        names = "、".join(entry.name for entry in known.values()) or "无"
        raise refused(
            "platform", "PLATFORM_UNKNOWN", f"本地政策没有这一平台；政策列明的平台：{names}",
            "the policy of the region names no such platform",
        )  # fmt: skip
    same = found.platforms.known().filter(platform=platform)
    if touching(same, valid_from, valid_until).exists():
        raise refused("valid_from", "PLATFORM_OVERLAPS", "该平台在这一期间已登记接入",
                      "the connection is recorded already", status=409)  # fmt: skip
    made = PlatformConnection.objects.create(
        institution=found, platform=platform, valid_from=valid_from, valid_until=valid_until,
        document=document, recorded_at=at, recorded_by=by,
    )  # fmt: skip
    noted(found, "platformconnection.add", by=by, at=at, subject=f"platformconnection:{made.pk}",
          platform=platform, valid_from=valid_from, clause=known[platform].clause)  # fmt: skip
    return made


@transaction.atomic
def disconnect_platform(
    *, connection: PlatformConnection, on: dt.date, by: str, at: dt.datetime
) -> PlatformConnection:
    """The last day of a connection is `on`; the open-ended record stays in the history."""
    _in_order(connection.valid_from, on)
    old = replaced(connection, by=by, at=at)
    return connect_platform(
        institution=old.institution, platform=old.platform, valid_from=old.valid_from,
        valid_until=on, document=old.document, by=by, at=at,
    )  # fmt: skip


# --- The account ---


@transaction.atomic
def set_account(
    *, institution: Institution, holder: str, bank: str, number: str, valid_from: dt.date, by: str,
    at: dt.datetime,
) -> BankAccount:  # fmt: skip
    """The account that payments go to from a day on; number and holder are stored encrypted."""
    sealed = sealed_account(institution=institution, holder=holder, bank=bank, number=number)
    return use_account(institution=institution, sealed=sealed, valid_from=valid_from, by=by, at=at)


def sealed_account(
    *, institution: Institution, holder: str, bank: str, number: str
) -> dict[str, str]:
    """An account as it is stored and filed: bank and last digits readable, the rest hex of ciphertext."""
    digits = re.sub(r"[\s-]", "", number)
    if not ACCOUNT.match(digits):
        raise refused("number", "ACCOUNT_INVALID", "银行账号应为8至32位数字",
                      "an account number has 8 to 32 digits")  # fmt: skip
    if not holder.strip():
        raise refused("holder", "HOLDER_MISSING", "请填写户名", "the holder is needed")
    if not bank.strip():
        raise refused("bank", "BANK_MISSING", "请填写开户行", "the bank is needed")
    mark = crypto.keyed_hash("account", digits).hex()
    return {
        "bank": bank.strip(), "number_tail": digits[-4:], "number_hash": mark,
        "number": crypto.encrypt(digits, bound_to=_bound(institution, mark, "number")).hex(),
        "holder": crypto.encrypt(holder.strip(), bound_to=_bound(institution, mark, "holder")).hex(),
    }  # fmt: skip


def _bound(institution: Institution, mark: str, field: str) -> str:
    return f"account:{institution.code}:{mark}:{field}"


@transaction.atomic
def use_account(
    *, institution: Institution, sealed: dict[str, str], valid_from: dt.date, by: str,
    at: dt.datetime,
) -> BankAccount:  # fmt: skip
    """Use a sealed account from a day on; accounts of earlier days stay for those days."""
    found = locked(institution)
    later = list(touching(found.accounts.known(), valid_from, None))
    for row in later:
        ended = replaced(row, by=by, at=at)
        if ended.valid_from < valid_from:
            ended.pk, ended.superseded_at = None, None
            ended.valid_until, ended.recorded_at = valid_from - DAY, at
            ended._state.adding = True
            ended.save()
    made = BankAccount.objects.create(
        institution=found, bank=sealed["bank"], number_tail=sealed["number_tail"],
        number_hash=bytes.fromhex(sealed["number_hash"]),
        number_encrypted=bytes.fromhex(sealed["number"]),
        holder_encrypted=bytes.fromhex(sealed["holder"]),
        valid_from=valid_from, recorded_at=at, recorded_by=by,
    )  # fmt: skip
    noted(found, "bankaccount.set", by=by, at=at, subject=f"bankaccount:{made.pk}",
          bank=made.bank, tail=made.number_tail, valid_from=valid_from)  # fmt: skip
    return made


@transaction.atomic
def reveal_account(
    *, account: BankAccount, reason: str, by: str, at: dt.datetime
) -> dict[str, str]:
    """Number and holder in clear, against a reason; the reveal is an event."""
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写查看原因", "a reveal needs its reason")
    noted(account.institution, "bankaccount.reveal", by=by, at=at,
          subject=f"bankaccount:{account.pk}", reason=reason.strip())  # fmt: skip
    sealed = {"number": account.number_encrypted, "holder": account.holder_encrypted}
    mark = bytes(account.number_hash).hex()
    return opened_account(
        account.institution, mark, {key: bytes(part) for key, part in sealed.items()}
    )


def opened_account(
    institution: Institution, mark: str, sealed: Mapping[str, bytes]
) -> dict[str, str]:
    """Number and holder of a sealed account in clear; `mark` is the hex of the number's hash."""
    return {
        key: crypto.decrypt(part, bound_to=_bound(institution, mark, key))
        for key, part in sealed.items()
    }


# --- Contacts ---


@transaction.atomic
def add_contact(
    *, institution: Institution, purpose: str, name: str, phone: str, valid_from: dt.date, by: str,
    at: dt.datetime, email: str = "",
) -> Contact:  # fmt: skip
    """Whom to call for what. The one before for the same purpose ends on the day before."""
    found = locked(institution)
    purpose, name, phone = purpose.strip(), name.strip(), phone.strip()
    for field, label, value in (("purpose", "事务", purpose), ("name", "姓名", name)):
        if not value:
            raise refused(field, "MISSING", f"请填写{label}", "a value is missing")
    if not PHONE.match(phone):
        raise refused(
            "phone", "PHONE_INVALID", "电话应为7至20位数字，可含区号连字符", "no phone number"
        )
    if email and not EMAIL.match(email):
        raise refused("email", "EMAIL_INVALID", "邮箱地址不正确", "no mail address")
    before = found.contacts.filter(purpose=purpose)
    if before.filter(valid_from__gte=valid_from).exists():
        raise refused("valid_from", "CONTACT_LATER", "该事务已有同日或更晚起用的联系人",
                      "a later contact is recorded", status=409)  # fmt: skip
    touching(before, valid_from, None).update(valid_until=valid_from - DAY)
    made = Contact.objects.create(
        institution=found, purpose=purpose, name=name, email=email, valid_from=valid_from,
        phone_encrypted=crypto.encrypt(phone, bound_to=_phone_bound(found, purpose, name)),
        phone_tail=phone[-4:], recorded_at=at, recorded_by=by,
    )  # fmt: skip
    noted(found, "contact.add", by=by, at=at, subject=f"contact:{made.pk}", purpose=purpose)
    return made


def _phone_bound(institution: Institution, purpose: str, name: str) -> str:
    return f"contact:{institution.code}:{purpose}:{name}"


@transaction.atomic
def reveal_contact(*, contact: Contact, reason: str, by: str, at: dt.datetime) -> str:
    """The number in clear, against a reason; the reveal is an event."""
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写查看原因", "a reveal needs its reason")
    place = contact.institution
    noted(place, "contact.reveal", by=by, at=at, subject=f"contact:{contact.pk}",
          reason=reason.strip())  # fmt: skip
    bound = _phone_bound(place, contact.purpose, contact.name)
    return crypto.decrypt(bytes(contact.phone_encrypted), bound_to=bound)


@transaction.atomic
def end_contact(*, contact: Contact, on: dt.date, by: str, at: dt.datetime) -> None:
    """The last day on which somebody is the contact."""
    _in_order(contact.valid_from, on)
    if contact.valid_until is not None:
        raise Refusal(409, "ENDED_BEFORE", ("该联系人已停用", "the contact has ended"))
    contact.valid_until = on
    contact.save(update_fields=["valid_until"])
    noted(contact.institution, "contact.end", by=by, at=at, subject=f"contact:{contact.pk}", on=on)
