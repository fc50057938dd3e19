"""What may be recorded of an insured person: 参保、欠费暂停、等待期、险种转换、死亡, corrections, reveals.

(南通 一、温州 十二第1款: only persons insured in the pooling region are paid for. How entitlement
begins, pauses and ends is the register's law, not these documents'; the days are inputs.)
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db import IntegrityError, transaction

from audit import clock, trail
from institutions import crypto
from institutions.commands.suspensions import begin
from institutions.models import Region, User
from institutions.refusals import Refusal, refused
from settlement import personal_accounts
from settlement.models import Entitlement, InsuredPerson, OnlineSuspension, Scheme
from settlement.register.store import Change, held, locked, write
from settlement.register.timeline import DAY, Span, adds_nothing, death, later, on, over

Standing = Entitlement.Standing
PHONE = re.compile(r"^\+?\d[\d-]{5,18}\d$")
NAME_MOST = 40
Bytes = bytes | memoryview  #: what a binary column holds
#: standings that somebody is put into and comes back from
CHANGEABLE = (Standing.ACTIVE, Standing.ARREARS, Standing.WAITING, Standing.STOPPED)


@transaction.atomic
def enrol(
    *, number: str, name: str, region_code: str, scheme: str, valid_from: dt.date, by: str,
    at: dt.datetime, waiting_until: dt.date | None = None, phone: str = "", source: str = "",
    is_demo: bool = False,
) -> InsuredPerson:  # fmt: skip
    """参保: from a day on a person is insured, after a waiting period if one is stated.

    Somebody registered before keeps the registration: the name must be the same, and nothing may
    be recorded of the days from `valid_from` on but that the insurance had ended.
    """
    known_scheme(scheme)
    if not Region.objects.filter(pk=region_code).exists():
        raise refused("region_code", "REGION_UNKNOWN", "没有这一统筹区", "unknown region")
    person = known(number, name) or _registered(
        identity(number, name, phone), region_code, scheme, is_demo=is_demo
    )
    spans = held([person.pk])[person.pk]
    _alive(spans)
    for span in spans:
        if span.standing != Standing.STOPPED and (span.last is None or span.last >= valid_from):
            raise refused("valid_from", "INSURED_BEFORE",
                          f"{span.first}至{span.last or '长期'}已登记参保，请办理险种转换或更正",
                          "insured on these days already", status=409)  # fmt: skip
    new = waiting(Span(valid_from, None, scheme, Standing.ACTIVE, region_code, source.strip()),
                  waiting_until)  # fmt: skip
    write([Change(person, new, "person.enrol")], by=by, at=at)
    person.refresh_from_db()
    return person


@transaction.atomic
def change_standing(
    *, person: InsuredPerson, standing: str, valid_from: dt.date, by: str, at: dt.datetime,
    valid_until: dt.date | None = None, source: str = "",
) -> None:  # fmt: skip
    """欠费暂停、等待期、终止、恢复: the standing in a span of days; the scheme stays what it is."""
    if standing not in CHANGEABLE:
        raise refused("standing", "STANDING_UNKNOWN", "没有这一参保状态", "unknown standing")
    locked([person.pk])
    spans = held([person.pk])[person.pk]
    now = _insured(spans, valid_from)
    new = replace(now, first=valid_from, last=valid_until, standing=standing,
                  source=source.strip(), key=0)  # fmt: skip
    _sound(spans, new)
    write([Change(person, over(spans, new), "person.standing")], by=by, at=at)


@transaction.atomic
def convert_scheme(
    *, person: InsuredPerson, scheme: str, valid_from: dt.date, by: str, at: dt.datetime,
    waiting_until: dt.date | None = None, region_code: str = "", source: str = "",
) -> None:  # fmt: skip
    """险种转换: from a day on another scheme, after a waiting period if one is stated."""
    known_scheme(scheme)
    locked([person.pk])
    spans = held([person.pk])[person.pk]
    now = _insured(spans, valid_from)
    new = Span(valid_from, None, scheme, Standing.ACTIVE, region_code or now.region, source.strip())
    if (now.scheme, now.region) == (new.scheme, new.region):
        raise refused("scheme", "SCHEME_SAME", "该日已是这一险种", "the scheme is the same")
    _sound(spans, new)
    write([Change(person, waiting(new, waiting_until), "person.convert")], by=by, at=at)
    person.refresh_from_db()


@transaction.atomic
def record_death(
    *, person: InsuredPerson, died_on: dt.date, by: str, at: dt.datetime, source: str = ""
) -> None:
    """死亡: entitled up to and on the day of death; whatever was recorded of later days is replaced."""
    if died_on > clock.local(at).date():
        raise refused("died_on", "DAY_IN_FUTURE", "死亡日不能晚于今天", "the day is in the future")
    locked([person.pk])
    spans = held([person.pk])[person.pk]
    _alive(spans)
    last = on(spans, died_on) or (spans[-1] if spans else None)
    if last is None:
        raise _never()
    new = Span(died_on + DAY, None, last.scheme, Standing.DECEASED, last.region, source.strip())
    write([Change(person, [new], "person.death", {"died_on": died_on})], by=by, at=at)


@transaction.atomic
def correct(
    *, person: InsuredPerson, scheme: str, standing: str, valid_from: dt.date, reason: str,
    by: str, at: dt.datetime, valid_until: dt.date | None = None, region_code: str = "",
    source: str = "",
) -> None:  # fmt: skip
    """What was recorded of these days was wrong. It stays in the history, known until now."""
    known_scheme(scheme)
    if standing not in Standing.values:
        raise refused("standing", "STANDING_UNKNOWN", "没有这一参保状态", "unknown standing")
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写更正原因", "a reason is needed")
    _in_order(valid_from, valid_until)
    locked([person.pk])
    spans = held([person.pk])[person.pk]
    new = Span(valid_from, valid_until, scheme, standing, region_code or person.region_code,
               source.strip())  # fmt: skip
    if adds_nothing(spans, new):
        raise refused("valid_from", "NOTHING_CHANGES", "与现有登记一致，无须更正", "nothing changes",
                      status=409)  # fmt: skip
    write([Change(person, [new], "person.correct", {"reason": reason.strip()})], by=by, at=at)
    person.refresh_from_db()


@transaction.atomic
def correct_identity(
    *, person: InsuredPerson, reason: str, by: str, at: dt.datetime, name: str = "",
    phone: str = "",
) -> InsuredPerson:  # fmt: skip
    """Name or telephone were wrong or have changed; the event keeps that they did, not what they are."""
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写更正原因", "a reason is needed")
    found = locked([person.pk])[person.pk]
    given = {**(named(found.id_hash, name) if name.strip() else {}),
             **(reached(found.id_hash, phone) if phone.strip() else {})}  # fmt: skip
    if not given:
        raise refused("name", "NOTHING_CHANGES", "请填写更正后的姓名或电话", "nothing is given")
    for key, value in given.items():
        setattr(found, key, value)
    found.save(update_fields=list(given))
    _noted(found, "person.identity", by=by, at=at, reason=reason.strip(),
           what=sorted(key.partition("_")[0] for key in given if key.endswith("masked")))  # fmt: skip
    return found


@transaction.atomic
def report_balance(
    *, person: InsuredPerson, balance: int, reason: str, by: str, at: dt.datetime
) -> None:
    """个人账户余额: what is left now (fen) is what was reported, whatever was drawn before."""
    if balance < 0:
        raise refused("balance", "AMOUNT", "余额不能小于零", "no balance below zero")
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写登记原因", "a reason is needed")
    found = locked([person.pk])[person.pk]
    if personal_accounts.locked([found.pk])[found.pk] == balance:
        raise refused("balance", "NOTHING_CHANGES", "与现存余额一致，无须登记", "nothing changes",
                      status=409)  # fmt: skip
    write([Change(found, [], "person.balance", {"reason": reason.strip()}, balance)], by=by, at=at)


# --- Suspended online settlement ---


def suspend_online(
    *, person: InsuredPerson, since: dt.date, until: dt.date | None, clause: str, source: str,
    by: str, at: dt.datetime,
) -> OnlineSuspension:  # fmt: skip
    """暂停联网结算: claims of these days are refused online; entitlement and manual channel stay."""
    return begin(
        OnlineSuspension(person=person), since=since, until=until, clause=clause, source=source,
        by=by, at=at,
    )  # fmt: skip


# --- Looking ---


def reveal(*, person: InsuredPerson, reason: str, by: str, at: dt.datetime) -> dict[str, str]:
    """The full ID number, name and telephone, against a reason; the reveal is an event."""
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写查看原因", "a reveal needs its reason",
                      status=400)  # fmt: skip
    _noted(person, "person.reveal", by=by, at=at, reason=reason.strip())
    return {
        "number": opened(person, "id", person.id_cipher),
        "name": opened(person, "name", person.name_cipher),
        "phone": opened(person, "phone", person.phone_cipher) if person.phone_cipher else "",
    }


def looked(*, person: InsuredPerson, what: str, who: User, at: dt.datetime) -> None:
    """Somebody opened a person's page: always an event, with the person's keyed hash."""
    trail.record(
        by=who.username, at=at, action="person.read", subject=person.subject,
        region_code=person.region_code, institution_code=who.institution_id or "",
        person_hash=bytes(person.id_hash), detail={"what": what},
    )  # fmt: skip


def _noted(person: InsuredPerson, action: str, *, by: str, at: dt.datetime, **detail: Any) -> None:
    trail.record(
        by=by, at=at, action=action, subject=person.subject, region_code=person.region_code,
        person_hash=bytes(person.id_hash), detail=detail,
    )  # fmt: skip


# --- Identity ---


def known(number: str, name: str) -> InsuredPerson | None:
    """The person of an ID number; Refusal when the name is another's."""
    person = InsuredPerson.objects.filter(
        id_hash=crypto.person_hash(checked_number(number))
    ).first()
    if person is not None and opened(person, "name", person.name_cipher) != name.strip():
        raise refused("name", "NAME_DIFFERS", f"姓名与登记的{person.name_masked}不符，请核对证件号码",
                      "the name is not the registered one", status=409)  # fmt: skip
    return person


def checked_number(number: str) -> str:
    """A valid ID number in upper case; Refusal says which rule it breaks."""
    try:
        return crypto.id_number(number)
    except crypto.IdNumberError as error:
        raise refused("number", "ID_NUMBER_WRONG", *error.texts) from error


def identity(number: str, name: str, phone: str = "") -> dict[str, Any]:
    """The columns of a person: masked, and encrypted bound to row and field."""
    number = checked_number(number)
    digest = crypto.person_hash(number)
    return {
        "id_hash": digest,
        "id_masked": crypto.mask_id(number),
        "id_cipher": crypto.encrypt(number, bound_to=_bound(digest, "id")),
        **named(digest, name),
        **(reached(digest, phone) if phone.strip() else {}),
    }


def named(id_hash: Bytes, name: str) -> dict[str, Any]:
    """The columns of a name."""
    name = name.strip()
    if not name or len(name) > NAME_MOST or trail.one_line(name, NAME_MOST) != name:
        raise refused("name", "NAME_WRONG", f"请填写姓名，至多{NAME_MOST}个字", "a name is needed")
    return {
        "name_masked": crypto.mask_name(name)[:20],
        "name_cipher": crypto.encrypt(name, bound_to=_bound(id_hash, "name")),
    }


def reached(id_hash: Bytes, phone: str) -> dict[str, Any]:
    """The columns of a telephone number."""
    phone = phone.strip()
    if not PHONE.match(phone):
        raise refused("phone", "PHONE_WRONG", "电话应为 7 至 20 位数字", "no telephone number")
    return {
        "phone_masked": crypto.mask_id(phone),
        "phone_cipher": crypto.encrypt(phone, bound_to=_bound(id_hash, "phone")),
    }


def opened(person: InsuredPerson, name: str, cipher: Bytes) -> str:
    """A field in plain text."""
    return crypto.decrypt(bytes(cipher), bound_to=_bound(person.id_hash, name))


def _bound(id_hash: Bytes, name: str) -> str:
    return f"person:{bytes(id_hash).hex()}:{name}"


def _registered(
    columns: dict[str, Any], region_code: str, scheme: str, *, is_demo: bool
) -> InsuredPerson:
    """A new person; who was registered by somebody else meanwhile is refused."""
    try:
        with transaction.atomic():
            return InsuredPerson.objects.create(
                **columns, region_code=region_code, scheme=scheme, is_demo=is_demo
            )
    except IntegrityError:
        raise refused("number", "PERSON_KNOWN", "该参保人刚由他人登记，请刷新后重试",
                      "the person was registered meanwhile", status=409) from None  # fmt: skip


# --- What may be recorded ---


def known_scheme(scheme: str) -> None:
    if scheme not in Scheme.values:
        raise refused("scheme", "SCHEME_UNKNOWN", "没有这一险种", "unknown scheme")


def waiting(new: Span, until: dt.date | None) -> list[Span]:
    """A span that pays nothing up to a day (等待期), and what holds afterwards."""
    if until is None:
        return [new]
    if until < new.first:
        raise refused("waiting_until", "DATES_REVERSED", "等待期止日不得早于起日",
                      "the waiting period ends before it begins")  # fmt: skip
    return [replace(new, last=until, standing=Standing.WAITING), replace(new, first=until + DAY)]


def fault(spans: Sequence[Span], new: Span) -> Refusal | None:
    """Why a span may not be laid over what is recorded, corrections excepted."""
    if new.last is not None and new.last < new.first:
        return _reversed()
    gone = death(spans)
    if gone is not None and (new.last is None or new.last >= gone.first):
        return refused("valid_from", "DECEASED", f"已登记死亡（{gone.first - DAY}），其后不能再登记",
                       "the person has died", status=409)  # fmt: skip
    after = later(spans, new)
    if after is not None:
        return refused(
            "valid_until", "LATER_KNOWN",
            f"自{after.first}起另有登记，请填写止日；原登记有误的，办理更正",
            "later days are recorded already: state an end, or correct them", status=409,
        )  # fmt: skip
    return None


def _sound(spans: Sequence[Span], new: Span) -> None:
    if found := fault(spans, new):
        raise found
    if adds_nothing(spans, new):
        raise refused("valid_from", "NOTHING_CHANGES", "与现有登记一致", "nothing changes",
                      status=409)  # fmt: skip


def _in_order(first: dt.date, last: dt.date | None) -> None:
    if last is not None and last < first:
        raise _reversed()


def _reversed() -> Refusal:
    return refused(
        "valid_until", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start"
    )


def _alive(spans: Sequence[Span]) -> None:
    if gone := death(spans):
        raise refused("", "DECEASED", f"该参保人已登记死亡（{gone.first - DAY}）；登记有误的，办理更正",
                      "the person has died", status=409)  # fmt: skip


def _insured(spans: Sequence[Span], day: dt.date) -> Span:
    """What holds on a day, or just before it."""
    before = [span for span in spans if span.first <= day]
    if not before:
        raise _never()
    return before[-1]


def _never() -> Refusal:
    return refused("valid_from", "NEVER_INSURED", "该日之前没有参保登记，请先办理参保",
                   "no insurance is recorded before that day", status=409)  # fmt: skip
