"""PURE. Money of a remote consultation: what is charged, how it is split, what a receipt allows, when.

Fen and parts of `WHOLE`; every number is the document's. `law` is the whole policy document as data.
(吉卫便函〔2021〕3号 一 第2、3款)
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agreements.facts import (
    CaseError,
    Facts,
    Subjects,
    as_whole,
    days_of,
    list_of,
    only,
    optional_day_of,
    part_of,
    section,
    text_of,
)
from institutions.calendar import Calendar
from institutions.money import MoneyError, fen, yuan

WHOLE = 1_000_000  #: ratios are counted in millionths, so that 33.3333 % is exact
PER_CENT = 10_000  #: millionths of one per cent
TEN_THOUSANDTH = 100  #: millionths of the documents' unit of ratios
PERCENT = re.compile(r"(-?)(\d{1,5})(?:\.(\d{1,4}))?")
#: What the document charges per, as the level of the hospital.
CHARGED_LEVELS = {"provincial_hospital": "provincial"}
LEVELS = frozenset({"provincial", "municipal", "county", "township", "community"})

PAYABLE, REJECT, REVIEW, NO_RULE = "payable", "reject", "review", "no_rule"
RATIO_NOT_100, RATIO_MISSING = "RATIO_NOT_100", "RATIO_MISSING"
RECEIPT_MISSING, RECEIPT_AMOUNT_MISMATCH = "RECEIPT_MISSING", "RECEIPT_AMOUNT_MISMATCH"
NO_TARIFF, RULE_NOT_IN_FORCE = "NO_TARIFF", "RULE_NOT_IN_FORCE"


@dataclass(frozen=True)
class Participant:
    """An invited hospital in one session. Ratios in millionths; None: no ratio was agreed."""

    hospital: str
    level: str
    experts: int = 1
    ratio_inviting: int | None = None
    ratio_invited: int | None = None


@dataclass(frozen=True)
class Split:
    """A session's money: `total` is the priced part, None while the price is unknown (fen).

    `invited` holds the share of each hospital (None: nothing can be said); `inviting` is the exact
    remainder of the priced part. `others`: hospitals for which the document has no price.
    """

    charge_count: int
    total: int | None
    invited: Mapping[str, int | None]
    inviting: int | None
    others: tuple[str, ...] = ()
    decision: str = PAYABLE
    reason: str | None = None


@dataclass(frozen=True)
class Clock:
    """Until when a consultation is to be settled: a soft limit (“原则上”)."""

    nominal: dt.date
    due: dt.date
    hard: bool
    clause: str


def charged_level(law: Facts) -> str:
    """The level of the hospitals whose experts are charged (省级)."""
    return CHARGED_LEVELS[_charge(law)["per"]]


def charges(participants: Iterable[Participant], law: Facts) -> dict[str, int]:
    """How often each hospital is charged in one session: every charged one once (I-JL-1)."""
    level, count = charged_level(law), _charge(law)["count"]
    return {p.hospital: count for p in participants if p.level == level and p.experts}


def split(price: int | None, participants: Sequence[Participant], law: Facts) -> Split:
    """One session: count, total and shares. Shares half up, the inviting side keeps the rest (I-JL-2)."""
    counted = charges(participants, law)
    others = tuple(dict.fromkeys(p.hospital for p in participants if p.level != charged_level(law)))
    count = sum(counted.values())
    shares: dict[str, int | None] = dict.fromkeys((p.hospital for p in participants), None)
    if not count:
        # nothing is charged: an amount of nothing is known, the rest is the document's gap
        reason = NO_TARIFF if others else None
        return Split(0, 0, shares, None, others, NO_RULE, reason)
    if price is None:
        return Split(count, None, shares, None, others, NO_RULE, NO_TARIFF)
    fault = ratio_fault([p for p in participants if p.hospital in counted], law)
    if fault:
        decision = REVIEW if fault == RATIO_MISSING else REJECT
        return Split(count, price * count, shares, None, others, decision, fault)
    for found in participants:
        if found.hospital in counted and found.ratio_invited is not None:
            amount = price * counted[found.hospital]
            shares[found.hospital] = half_up(amount, found.ratio_invited, WHOLE)
    paid = sum(shares[hospital] or 0 for hospital in counted)
    return Split(count, price * count, shares, price * count - paid, others)


def ratio_fault(participants: Iterable[Participant], law: Facts) -> str | None:
    """Why the agreed ratios cannot be used: one is missing, negative, or they are not 100 together."""
    whole = part_of(law, "distribution")["ratio"]["sums_to"] * TEN_THOUSANDTH
    for found in participants:
        ours, theirs = found.ratio_inviting, found.ratio_invited
        if ours is None or theirs is None:
            return RATIO_MISSING
        if min(ours, theirs) < 0 or ours + theirs != whole:
            return RATIO_NOT_100
    return None


def half_up(amount: int, part: int, whole: int) -> int:
    """amount × part / whole, rounded half up; all of them non-negative."""
    return (2 * amount * part + whole) // (2 * whole)


def receipt_fault(paid: int, receipts: Sequence[int]) -> str | None:
    """Why the revenue is not reduced: no receipt, or receipts over another amount than was paid."""
    if not receipts:
        return RECEIPT_MISSING
    return None if sum(receipts) == paid else RECEIPT_AMOUNT_MISMATCH


def clock_of(consulted: dt.date, law: Facts, calendar: Calendar) -> Clock:
    """The months for settling run from the day of the consultation (I-JL-3)."""
    rule = part_of(law, "distribution")["settle_within"]
    nominal = calendar.due_after_months(consulted, rule["months"], roll_over=False)
    due = calendar.due_after_months(consulted, rule["months"], roll_over=rule["roll_over"])
    return Clock(nominal, due, rule["hard_stop"], rule["clause"])


def in_force(law: Facts, day: dt.date) -> bool:
    """Whether the document says anything about a day; before it another notice may (I-JL-8)."""
    span = section(law, "effective")
    until = span.get("until")
    return span["from"] <= day and (until is None or day <= until)


def _charge(law: Facts) -> Facts:
    services = law.get("services") or {}
    return section(section(services, "remote_consult"), "charge")


# --- Answers to case files ---


def percent_of(facts: Facts, key: str) -> int | None:
    """A percentage as written, in millionths: "12.5" → 125000; None when it is not given."""
    value = facts.get(key)
    if value is None:
        return None
    match = PERCENT.fullmatch(str(value)) if not isinstance(value, bool) else None
    if match is None:
        raise CaseError(f"{key}：{value!r}不是百分数（至多四位小数）")
    sign, whole, part = match.groups()
    size = int(whole) * PER_CENT + int((part or "").ljust(4, "0"))
    return -size if sign else size


def fen_of(facts: Facts, key: str) -> int | None:
    """An amount in yuan as fen; None when it is not given."""
    value = facts.get(key)
    return None if value is None else as_fen(value, key)


def as_fen(value: object, key: str) -> int:
    try:
        return fen(value)
    except MoneyError as error:
        raise CaseError(f"{key}：{error}") from None


def amount(value: int | None) -> str | None:
    """Fen as the decimal string of an answer."""
    return None if value is None else yuan(value)


def participants_of(rows: Sequence[Facts]) -> list[Participant]:
    """The participants of a session; a hospital named twice is one with all its experts."""
    found: dict[str, Participant] = {}
    for row in rows:
        made = _participant(row)
        seen = found.get(made.hospital)
        if seen is not None:
            if (seen.level, seen.ratio_inviting, seen.ratio_invited) != (
                made.level, made.ratio_inviting, made.ratio_invited,
            ):  # fmt: skip
                raise CaseError(f"participants：{made.hospital}的级别或比例前后不一")
            made = Participant(
                made.hospital, made.level, seen.experts + made.experts, made.ratio_inviting,
                made.ratio_invited,
            )  # fmt: skip
        found[made.hospital] = made
    if not found:
        raise CaseError("participants：没有受邀医院")
    return list(found.values())


def _participant(row: Facts) -> Participant:
    if not isinstance(row, Mapping):
        raise CaseError("participants：应为对象列表")
    only(row, frozenset({"hospital", "level", "experts", "ratio_inviting", "ratio_invited"}),
         "participants")  # fmt: skip
    level, experts = text_of(row, "level"), as_whole(row.get("experts", 1), "experts")
    if level not in LEVELS:
        raise CaseError(f"level：没有“{level}”这一级别")
    if experts < 0:
        raise CaseError("experts：不能为负数")
    return Participant(
        text_of(row, "hospital"), level, experts, percent_of(row, "ratio_inviting"),
        percent_of(row, "ratio_invited"),
    )  # fmt: skip


def _split(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    """`mdt_price`, and `participants` or `sessions` [{date, participants}]."""
    if ("sessions" in facts) == ("participants" in facts):
        raise CaseError("participants与sessions应恰有一项")
    sessions = list_of(facts, "sessions") if "sessions" in facts else [facts]
    if not sessions:
        raise CaseError("sessions：没有会诊")
    price = fen_of(facts, "mdt_price")
    parts = []
    for session in sessions:
        if session is not facts:
            only(session, frozenset({"date", "participants"}), "sessions")
        who = participants_of(list_of(session, "participants"))
        day = optional_day_of(session, "date")
        known = day is None or in_force(law, day)
        parts.append(split(price, who, law) if known else _not_in_force(who))
    return _joined(parts)


def _not_in_force(who: Sequence[Participant]) -> Split:
    shares: dict[str, int | None] = dict.fromkeys((p.hospital for p in who), None)
    return Split(0, 0, shares, None, (), NO_RULE, RULE_NOT_IN_FORCE)


def _joined(parts: Sequence[Split]) -> dict:
    """Several sessions added up; what is open in one of them is open in the sum."""
    charged = [part for part in parts if part.charge_count]
    failing = next((part for part in charged if part.decision != PAYABLE), None)
    if not charged:
        failing = parts[0]
    total = _sum([part.total for part in parts])
    open_part = any(part.others or part.reason == RULE_NOT_IN_FORCE for part in parts)
    invited: dict[str, int | None] = {}
    for part in parts:
        for hospital, share in part.invited.items():
            before = invited.get(hospital, 0)
            invited[hospital] = None if None in (before, share) else (before or 0) + (share or 0)
    return {
        "charge_count": sum(part.charge_count for part in parts),
        "patient_total": None if open_part else amount(total), "mdt_total": amount(total),
        "municipal_charge": None,
        "invited": {hospital: amount(share) for hospital, share in invited.items()},
        "inviting": amount(_sum([part.inviting for part in charged])) if charged else None,
        "decision": failing.decision if failing else PAYABLE,
        "reason": failing.reason if failing else None,
    }  # fmt: skip


def _sum(amounts: Sequence[int | None]) -> int | None:
    return None if None in amounts else sum(value or 0 for value in amounts)


def _receipt(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    """`collected`, `invited_paid`, `invited_receipt` (an amount, several, or null)."""
    part_of(law, "distribution")
    collected, paid = fen_of(facts, "collected"), fen_of(facts, "invited_paid") or 0
    if collected is None or paid > collected:
        raise CaseError("invited_paid：不能多于已收取的金额（collected）")
    given = facts.get("invited_receipt")
    rows = given if isinstance(given, list) else [] if given is None else [given]
    fault = receipt_fault(paid, [as_fen(row, "invited_receipt") for row in rows])
    reduced = 0 if fault else paid
    return {
        "can_reverse": fault is None, "reason": fault, "inviting_gross_revenue": amount(collected),
        "reversal": amount(reduced), "inviting_net_revenue": amount(collected - reduced),
    }  # fmt: skip


def _clock(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    """`consult_date`, `settled_on` [dates]; `months` is compared with the document."""
    consulted = optional_day_of(facts, "consult_date")
    if consulted is None:
        raise CaseError("consult_date：缺少日期")
    months = part_of(law, "distribution")["settle_within"]["months"]
    if facts.get("months") not in (None, months):
        raise CaseError(f"months：文件规定为{months}个月")
    found = clock_of(consulted, law, calendar)
    settled = days_of(facts, "settled_on") if facts.get("settled_on") is not None else []
    if any(day < consulted for day in settled):
        raise CaseError("settled_on：早于会诊日")
    on_time = [day <= found.due for day in settled]
    return {
        "nominal_last_day": found.nominal.isoformat(), "due": found.due.isoformat(),
        "on_time": on_time, "hard_stop": found.hard,
        "reason_required": [not timely for timely in on_time],
    }  # fmt: skip


SUBJECTS: Subjects = {
    "consultation_split": (
        _split, frozenset({"mdt_price", "price_label", "participants", "sessions"}),
    ),
    "receipt": (_receipt, frozenset({"collected", "invited_paid", "invited_receipt"})),
    "consultation_clock": (_clock, frozenset({"consult_date", "settled_on", "months"})),
}  # fmt: skip
