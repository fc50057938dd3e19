"""PURE. Fees of lines and maintenance: tariff, service years, who bears them, when they are due.

Fen, days and millionths; every number is the document's. `law` is the whole policy document as data.
(吉卫便函〔2021〕3号 二 第2、3款，三 第1款)
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agreements.facts import (
    CaseError,
    Facts,
    Subjects,
    as_day,
    as_whole,
    day_of,
    days_of,
    list_of,
    only,
    optional_day_of,
    section,
    text_of,
)
from institutions.calendar import MONTHS_PER_YEAR, Calendar, add_months, add_years, month_end
from institutions.money import yuan
from settlement.consultation import (
    PAYABLE,
    REJECT,
    TEN_THOUSANDTH,
    WHOLE,
    amount,
    fen_of,
    half_up,
    percent_of,
)

RATE_OUT_OF_RANGE, UNDER_WARRANTY = "RATE_OUT_OF_RANGE", "UNDER_WARRANTY"
SERVICES = frozenset({"single", "multi"})
TIERS = frozenset({"provincial", "municipal", "county", "township", "community"})
INSTITUTION, COMMISSION = "institution", "commission"
ONE = dt.timedelta(days=1)
MONTH = re.compile(r"\d{4}-\d{2}")


@dataclass(frozen=True)
class Line:
    """A line (or `lines` equal ones) of an institution; `closed` is its last day."""

    service: str
    bandwidth_mb: int
    opened: dt.date
    tier: str
    lines: int = 1
    closed: dt.date | None = None


@dataclass(frozen=True)
class Tariff:
    """The price of a line and year, or why a person must decide (`fee` None)."""

    fee: int | None
    decision: str = PAYABLE
    reason: str | None = None
    clause: str = ""
    key: str = ""


@dataclass(frozen=True)
class Due:
    """Fen: what the institution and what the commission bear."""

    institution: int = 0
    commission: int = 0

    def __add__(self, other: "Due") -> "Due":
        return Due(self.institution + other.institution, self.commission + other.commission)


def tariff_of(line: Line, law: Facts) -> Tariff:
    """The tariff of service, bandwidth and tier; anything that the table does not list is reviewed."""
    rules = section(law, "tariffs")
    late = rules["late_community"]
    if line.tier in late["tiers"] and line.opened > late["opened_after"]:
        return Tariff(None, late["decision"], late["reason"], late["clause"])
    fitting = [row for row in rules["lines"] if _fits(line, row)]
    for row in fitting:
        if line.tier in row["tiers"]:
            return Tariff(row["per_line_year"], clause=row["clause"], key=row["key"])
    unlisted = rules["unlisted"]
    why = "tier_and_bandwidth_disagree" if fitting else "no_matching_line"
    return Tariff(None, unlisted["decision"], unlisted["reasons"][why], unlisted["clause"])


def _fits(line: Line, row: Facts) -> bool:
    wide = row["bandwidth_mb"]
    return line.service in row["services"] and wide["min"] <= line.bandwidth_mb <= wide["max"]


def liable_from(line: Line, law: Facts) -> dt.date:
    """The first day of the first service year: the opening, or the start of liability after it."""
    return max(line.opened, section(law, "tariffs")["liability_from"])


def free_years(line: Line, law: Facts) -> int:
    """How many first service years the commission bears: of late township lines only (I-JL-5)."""
    late = section(law, "tariffs")["late_opening"]
    counts = line.tier in late["tiers"] and line.opened > late["opened_after"]
    return late["borne_first_years"] if counts else 0


def service_year(line: Line, number: int, law: Facts) -> tuple[dt.date, dt.date]:
    """First and last day of the n-th service year: it ends the day before the anniversary."""
    months = section(law, "tariffs")["service_year"]["months"]
    start = liable_from(line, law)
    return add_months(start, months * (number - 1)), add_months(start, months * number) - ONE


def years_begun(line: Line, through: dt.date, law: Facts) -> int:
    """How many service years have begun on a day; a closed line begins none any more."""
    last = min(through, line.closed) if line.closed else through
    number = 0
    while service_year(line, number + 1, law)[0] <= last:
        number += 1
    return number


def fee_of_year(line: Line, number: int, law: Facts) -> Due | None:
    """Who bears how much of a service year; None while the tariff is open."""
    fee = tariff_of(line, law).fee
    if fee is None:
        return None
    if number <= free_years(line, law):
        return Due(commission=fee * line.lines)
    return Due(institution=fee * line.lines)


def by_service_year(line: Line, first: dt.date, last: dt.date, law: Facts) -> Due | None:
    """All service years that begin from `first` to `last`: whole years (I-JL-4)."""
    if tariff_of(line, law).fee is None:
        return None
    numbers = range(years_begun(line, first - ONE, law) + 1, years_begun(line, last, law) + 1)
    return sum((fee_of_year(line, number, law) or Due() for number in numbers), Due())


def by_calendar_month(line: Line, first: dt.date, last: dt.date, law: Facts) -> Due | None:
    """The other reading: a twelfth for every calendar month that the line is in (I-JL-4)."""
    fee = tariff_of(line, law).fee
    if fee is None:
        return None
    end = min(last, line.closed) if line.closed else last
    start = _month(liable_from(line, law))
    paying = start + MONTHS_PER_YEAR * free_years(line, law)
    low, high = max(_month(first), start), _month(end) + 1
    months = section(law, "tariffs")["service_year"]["months"]
    free, paid = max(min(high, paying) - low, 0), max(high - max(low, paying), 0)
    return Due(
        half_up(fee * line.lines, paid, months), half_up(fee * line.lines, free, months)
    )  # fmt: skip


def _month(day: dt.date) -> int:
    return day.year * MONTHS_PER_YEAR + day.month


def payer_on(line: Line, day: dt.date, law: Facts) -> str | None:
    """Who bears the line on a day; None before liability, after its end and where a person decides."""
    if tariff_of(line, law).fee is None or day < liable_from(line, law):
        return None
    if line.closed and day > line.closed:
        return None
    return COMMISSION if years_begun(line, day, law) <= free_years(line, law) else INSTITUTION


def due_day(year: int, payment: Facts, *, collect_from: dt.date | None = None) -> dt.date:
    """Year end, no roll-over (I-JL-6); years before collection fall due at its first year end (I-JL-4)."""
    month, day = payment["due_month"], payment["due_day"]
    due = dt.date(year, month, min(day, month_end(year, month).day))
    while collect_from and due < collect_from:
        year += 1
        due = dt.date(year, month, min(day, month_end(year, month).day))
    return due


# --- Maintenance ---


def maintenance_start(accepted: dt.date | None, law: Facts) -> dt.date:
    """The later of the printed start and the end of the own warranty (I-JL-7)."""
    rules = section(law, "maintenance")
    fixed: dt.date = rules["fixed_start"]
    return max(fixed, add_years(accepted, rules["warranty"]["years"])) if accepted else fixed


def rate_fits(rate: int, law: Facts) -> bool:
    """Whether a rate (millionths) lies within the printed bounds, both ends allowed."""
    bounds = section(law, "maintenance")["rate"]
    return bounds["min"] * TEN_THOUSANDTH <= rate <= bounds["max"] * TEN_THOUSANDTH


def maintenance_year(start: dt.date, number: int) -> tuple[dt.date, dt.date]:
    """First and last day of the n-th maintenance year."""
    return add_years(start, number - 1), add_years(start, number) - ONE


def maintenance_years_in(start: dt.date, year: int, end: dt.date | None = None) -> list[int]:
    """The maintenance years that begin in a calendar year, none after the contract's end."""
    number = year - start.year + 1
    if number < 1 or (end is not None and maintenance_year(start, number)[0] > end):
        return []
    return [number]


def maintenance_months(start: dt.date, year: int, end: dt.date | None = None) -> int:
    """How many calendar months of a year the maintenance covers: the other reading (I-JL-4)."""
    low = max(_month(start), _month(dt.date(year, 1, 1)))
    high = _month(dt.date(year, MONTHS_PER_YEAR, 1))
    return max(min(high, _month(end) if end else high) - low + 1, 0)


# --- Answers to case files ---


def _line(given: object) -> Line:
    if not isinstance(given, Mapping):
        raise CaseError("line：应为对象")
    only(given, frozenset({"service", "bandwidth_mb", "opened", "lines", "tier"}), "line")
    service, tier = text_of(given, "service"), text_of(given, "tier")
    wide, count = as_whole(given.get("bandwidth_mb"), "bandwidth_mb"), given.get("lines", 1)
    for key, value, known in (("service", service, SERVICES), ("tier", tier, TIERS)):
        if value not in known:
            raise CaseError(f"{key}：没有“{value}”这一类")
    if wide < 1 or as_whole(count, "lines") < 1:
        raise CaseError("bandwidth_mb、lines：应为正整数")
    return Line(service, wide, day_of(given, "opened"), tier, count)


def _lines(facts: Facts) -> list[Line]:
    if "line" in facts and "lines" in facts:
        raise CaseError("line与lines只能有一项")
    rows = (
        list_of(facts, "lines") if "lines" in facts else [facts["line"]] if "line" in facts else []
    )
    return [_line(row) for row in rows]


def _fee(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    """The fee of lines: by service years, on days, through a day, of a year with its payments."""
    lines = _lines(facts)
    if not lines and "year" not in facts:
        raise CaseError("line：缺少专线")
    rules = section(law, "tariffs")
    answer: dict = dict.fromkeys(
        ("period", INSTITUTION, COMMISSION, "payer", "by_service_year", "by_calendar_month",
         "due", "on_time", "decision", "reason")
    ) | {"default": rules["default_basis"]}  # fmt: skip
    if lines:
        answer |= _verdict(lines, law)
    for key, part in _PARTS.items():
        if facts.get(key) is not None:
            answer |= part(facts, lines, law)
    return answer


def _verdict(lines: Sequence[Line], law: Facts) -> dict:
    found = [tariff_of(line, law) for line in lines]
    open_one = next((tariff for tariff in found if tariff.fee is None), found[0])
    return {"decision": open_one.decision, "reason": open_one.reason}


def _of_year(facts: Facts, lines: Sequence[Line], law: Facts) -> dict:
    number = _number(facts["service_year"])
    periods = [_period(line, number, law) for line in lines]
    return {"period": periods[0] if len(periods) == 1 else periods,
            **_amounts(_sum([fee_of_year(line, number, law) for line in lines]))}  # fmt: skip


def _of_years(facts: Facts, lines: Sequence[Line], law: Facts) -> dict:
    numbers = [_number(value) for value in list_of(facts, "service_years")]
    sums = [_amounts(_sum([fee_of_year(line, n, law) for line in lines])) for n in numbers]
    periods = [[_period(line, n, law) for n in numbers] for line in lines]
    return {
        "period": periods[0] if len(periods) == 1 else periods,
        INSTITUTION: [one[INSTITUTION] for one in sums],
        COMMISSION: [one[COMMISSION] for one in sums],
    }


def _on_days(facts: Facts, lines: Sequence[Line], law: Facts) -> dict:
    given = facts["on"]
    days = days_of(facts, "on") if isinstance(given, list) else [as_day(given, "on")]
    payers = [[payer_on(line, day, law) for day in days] for line in lines]
    return {"payer": payers[0] if len(payers) == 1 else payers}


def _through(facts: Facts, lines: Sequence[Line], law: Facts) -> dict:
    """What the institution owes through a day, both readings; the commission's part beside it."""
    last, rules = day_of(facts, "through"), section(law, "tariffs")
    first = min(line.opened for line in lines)
    whole = _sum([by_service_year(line, first, last, law) for line in lines])
    months = _sum([by_calendar_month(line, first, last, law) for line in lines])
    readings = {"by_service_year": whole, "by_calendar_month": months}
    return {
        **{key: None if due is None else yuan(due.institution) for key, due in readings.items()},
        **_amounts(readings[rules["default_basis"]]),
        "collectable": last >= rules["collect_from"],
    }


def _in_year(facts: Facts, lines: Sequence[Line], law: Facts) -> dict:
    """The bill of a calendar year: when it is due, and which payments were in time."""
    year, rules = as_whole(facts["year"], "year"), section(law, "tariffs")
    if not dt.MINYEAR < year < dt.MAXYEAR:
        raise CaseError(f"year：{year}不是年份")
    due = due_day(year, rules["payment"], collect_from=rules["collect_from"])
    paid = list_of(facts, "paid") if facts.get("paid") is not None else []
    days = [None if value is None else as_day(value, "paid") for value in paid]
    first, last = dt.date(year, 1, 1), month_end(year, MONTHS_PER_YEAR)
    whole = _sum([by_service_year(line, first, last, law) for line in lines]) if lines else None
    return {
        "due": due.isoformat(), "on_time": [day is not None and day <= due for day in days],
        **(_amounts(whole) if lines and "service_year" not in facts else {}),
    }  # fmt: skip


_PARTS = {
    "through": _through, "on": _on_days, "year": _in_year, "service_years": _of_years,
    "service_year": _of_year,
}  # fmt: skip


def _number(value: object) -> int:
    number = as_whole(value, "service_year")
    if not 1 <= number <= 1000:
        raise CaseError("service_year：从1开始")
    return number


def _period(line: Line, number: int, law: Facts) -> list[str]:
    return [day.isoformat() for day in service_year(line, number, law)]


def _amounts(due: Due | None) -> dict:
    if due is None:
        return {INSTITUTION: None, COMMISSION: None}
    return {INSTITUTION: yuan(due.institution), COMMISSION: yuan(due.commission)}


def _sum(dues: Sequence[Due | None]) -> Due | None:
    """The sum; open as soon as one line is."""
    known = [due for due in dues if due is not None]
    return sum(known, Due()) if len(known) == len(dues) else None


def _maintenance(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    """A year's maintenance fee, and from which day one is owed."""
    rules = section(law, "maintenance")
    _as_printed(facts, rules)
    starts = maintenance_start(optional_day_of(facts, "acceptance_date"), law)
    answer = {
        "fee": None,
        "decision": None,
        "reason": None,
        "maintenance_starts": starts.isoformat(),
    }
    base, rate = fen_of(facts, "contract_base"), percent_of(facts, "rate_percent")
    if rate is not None and not rate_fits(rate, law):
        return answer | {"decision": REJECT, "reason": RATE_OUT_OF_RANGE}
    begins = _begins(facts)
    if begins is not None and begins < starts:
        return answer | {"decision": REJECT, "reason": UNDER_WARRANTY, "fee": amount(0)}
    if base is None or rate is None:
        return answer
    return answer | {"decision": PAYABLE, "fee": amount(half_up(base, rate, WHOLE))}


def _begins(facts: Facts) -> dt.date | None:
    """The first day of the year that is asked about: a day, or a month as 2021-09."""
    value = facts.get("month")
    if isinstance(value, str) and MONTH.fullmatch(value):
        return as_day(f"{value}-01", "month")
    return as_day(value, "month") if value is not None else optional_day_of(facts, "year_starting")


def _as_printed(facts: Facts, rules: Facts) -> None:
    """A number of the law in the question is compared with the document, never used."""
    years, fixed = rules["warranty"]["years"], rules["fixed_start"]
    if facts.get("warranty_years") not in (None, years):
        raise CaseError(f"warranty_years：文件规定为{years}年")
    given = facts.get("fixed_start")
    if given not in (None, fixed.isoformat(), f"{fixed:%Y-%m}"):
        raise CaseError(f"fixed_start：文件规定自{fixed:%Y-%m}起")


SUBJECTS: Subjects = {
    "line_fee": (
        _fee,
        frozenset({"line", "lines", "service_year", "service_years", "on", "through", "year", "paid"}),
    ),
    "maintenance_fee": (
        _maintenance,
        frozenset({"contract_base", "base_label", "rate_percent", "year_starting", "month",
                   "acceptance_date", "warranty_years", "fixed_start"}),
    ),
}  # fmt: skip
