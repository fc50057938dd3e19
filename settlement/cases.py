"""Case files (contracts/trial.md): each case is answered by the published law, none is skipped.

A subject is a function of the case's region and input. Legal numbers in an input are compared with
the release in force, never used; example parameter rows are not loaded.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from agreements import deadlines, onboarding, standing
from agreements.facts import CaseError, Facts, Subjects, Unanswerable, ask
from institutions.calendar import Calendar, MissingYear
from institutions.holidays import load_calendar
from pricing.document import Policy
from pricing.releases import Catalogue
from settlement import consultation, line_fees, trial
from settlement.fault import FactError

NUMBER = re.compile(r"-?\d+(\.\d+)?")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
SETS = frozenset({"flags"})  #: keys compared as a set


class CaseFault(ValueError):
    """The case cannot be answered: `key` and what is wrong with it."""

    def __init__(self, key: str, reason: str):
        super().__init__(f"{key} {reason}")
        self.key = key
        self.reason = reason


@dataclass(frozen=True)
class Outcome:
    """The verdict on one case; `key`, `expected` and `got` name the first difference."""

    id: str
    key: str = ""
    expected: str = ""
    got: str = ""

    @property
    def passed(self) -> bool:
        return not self.key

    def __str__(self) -> str:
        if self.passed:
            return f"ok {self.id}"
        return f"FAIL {self.id} {self.key} {self.expected} {self.got}"


class Courtroom:
    """The law and the calendars that a run of cases is judged by."""

    def __init__(self, catalogue: Catalogue):
        self.catalogue = catalogue
        self._calendars: dict[str, Calendar] = {}

    def calendar(self, area_code: str) -> Calendar:
        if area_code not in self._calendars:
            self._calendars[area_code] = load_calendar(area_code)
        return self._calendars[area_code]

    def policy(self, region: str, days: list[dt.date]) -> Policy:
        """The policy of a region in force on the first of `days` that any release covers."""
        for day in days:
            release = self.catalogue.policy(region, day)
            if release is not None and release.covers(day):
                return release.policy
        raise CaseFault("region", f"没有 {region} 当日生效的政策文件")

    def nearest(self, region: str, day: dt.date) -> Policy:
        """The policy of a region on a day, else the nearest: a plan also judges what came before it."""
        release = self.catalogue.policy(region, day)
        if release is None:
            raise CaseFault("region", f"没有 {region} 的政策文件")
        return release.policy


Subject = Callable[[Courtroom, str, str, dict], dict]


def run_file(path: Path, court: Courtroom) -> Iterator[Outcome]:
    """Judge every case of a file, in order. A file that cannot be read is one FAIL."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        yield Outcome(path.name, "file", "JSON", _show(str(error)))
        return
    cases = data.get("cases") if isinstance(data, dict) else None
    if not isinstance(cases, list) or not cases:
        yield Outcome(path.name, "cases", "非空数组", _show(type(cases).__name__))
        return
    meta = data.get("meta")
    region = meta.get("region") if isinstance(meta, dict) else None
    for number, case in enumerate(cases, 1):
        yield judge(case, court, region=region, name=f"{path.stem}#{number}")


def judge(case: object, court: Courtroom, *, region: str | None = None, name: str = "?") -> Outcome:
    """The verdict on one case; `region` and `name` stand in for what the case does not say."""
    if not isinstance(case, dict):
        return Outcome(name, "case", "对象", _show(case))
    identity = str(case.get("id", name))
    expected = case.get("expected")
    if not isinstance(expected, dict):
        return Outcome(identity, "expected", "对象", _show(expected))
    try:
        got = _answer(case, court, region)
    except (CaseFault, FactError) as fault:
        key = fault.key if isinstance(fault, CaseFault) else f"input/{fault.field}"
        return Outcome(identity, key, _show(expected), fault.reason)
    return _compare(identity, expected, got)


def _answer(case: dict, court: Courtroom, region: str | None) -> dict:
    subject, given = case.get("subject"), case.get("input")
    if not isinstance(subject, str) or subject not in SUBJECTS:
        raise CaseFault("subject", f"unknown subject {_show(subject)}")
    if not isinstance(given, dict):
        raise CaseFault("input", "应为对象")
    region = given.get("region") or case.get("region") or region
    if not isinstance(region, str):
        raise CaseFault("region", "缺少地区")
    return SUBJECTS[subject](court, subject, region, given)


def _trial(court: Courtroom, subject: str, region: str, given: dict) -> dict:
    return trial.run(given | {"region": region}, court.catalogue)


def _deadline(court: Courtroom, subject: str, region: str, given: dict) -> dict:
    """Deadlines: numbers from the release in force on the first covered day of the input."""
    policy = court.policy(region, _dates(given))
    law = policy.section("procedures", None)
    return _asked(deadlines.SUBJECTS, subject, given, law, court.calendar(_area(policy)))


def _standing(court: Courtroom, subject: str, region: str, given: dict) -> dict:
    """Agreements: the release in force on the first covered day, the last one when none is named."""
    days = _dates(given)
    policy = court.policy(region, days) if days else court.nearest(region, dt.date.max)
    return _asked(standing.SUBJECTS, subject, given, policy.data, court.calendar(_area(policy)))


def _onboarding(court: Courtroom, subject: str, region: str, given: dict) -> dict:
    """Waves and steps: the plan in force on the day of the input or nearest to it."""
    policy = court.nearest(region, max(_dates(given), default=dt.date.max))
    return _asked(onboarding.SUBJECTS, subject, given, policy.data, court.calendar(_area(policy)))


def _jilin(court: Courtroom, subject: str, region: str, given: dict) -> dict:
    """Consultations and fees of lines: the release of the latest day of the input or nearest to it."""
    policy = court.nearest(region, max(_dates(given), default=dt.date.max))
    known = {**consultation.SUBJECTS, **line_fees.SUBJECTS}
    return _asked(known, subject, given, policy.data, court.calendar(_area(policy)))


def _area(policy: Policy) -> str:
    return str(policy.data.get("area_code", ""))


def _asked(
    subjects: Subjects, subject: str, given: dict, law: Facts | None, calendar: Calendar
) -> dict:
    try:
        return ask(subjects, subject, given, law=law, calendar=calendar)
    except Unanswerable as fault:
        raise CaseFault(f"input/{fault.key}", fault.reason) from fault
    except (CaseError, MissingYear) as fault:
        raise CaseFault("input", str(fault)) from fault


SUBJECTS: dict[str, Subject] = {
    "trial": _trial,
    **dict.fromkeys(deadlines.SUBJECTS, _deadline),
    **dict.fromkeys(standing.SUBJECTS, _standing),
    **dict.fromkeys(onboarding.SUBJECTS, _onboarding),
    **dict.fromkeys(consultation.SUBJECTS, _jilin),
    **dict.fromkeys(line_fees.SUBJECTS, _jilin),
}


def _dates(given: dict) -> list[dt.date]:
    return [dt.date.fromisoformat(text) for text in sorted(_days(given))]


def _days(value: object) -> Iterator[str]:
    """Every calendar day written anywhere in an input."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _days(part)
    elif isinstance(value, str) and DAY.fullmatch(value) and _is_day(value):
        yield value


def _is_day(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _compare(identity: str, expected: dict, got: dict) -> Outcome:
    for key, difference in differences(expected, got):
        return Outcome(identity, key, _show(difference[0]), _show(difference[1]))
    return Outcome(identity)


def differences(
    expected: object, got: object, key: str = ""
) -> Iterator[tuple[str, tuple[object, object]]]:
    """(key path, (expected, got)) of every difference, by the rules of the contract."""
    if isinstance(expected, dict):
        yield from _in_object(expected, got, key)
    elif expected is None:
        return
    elif _name(key) in SETS:
        if not _same_set(expected, got):
            yield key, (expected, got)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for number, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from differences(one, other, f"{key}/{number}")
    elif not equal(expected, got):
        yield key, (expected, got)


def _in_object(
    expected: dict, got: object, key: str
) -> Iterator[tuple[str, tuple[object, object]]]:
    if not isinstance(got, dict):
        yield key or "/", (expected, got)
        return
    for name, value in expected.items():
        path = f"{key}/{name}" if key else name
        if name not in got:
            yield path, (value, "unknown key")
        else:
            yield from differences(value, got[name], path)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _same_set(expected: object, got: object) -> bool:
    if not isinstance(expected, list) or not isinstance(got, list):
        return False
    return {str(one) for one in expected} == {str(one) for one in got}


def equal(expected: object, got: object) -> bool:
    """Amounts (a number with a point on either side) compare as decimals, all else exactly."""
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if expected == got:
        return True
    texts = str(expected), str(got)
    amounts = all(NUMBER.fullmatch(text) for text in texts) and any("." in text for text in texts)
    return amounts and Decimal(texts[0]) == Decimal(texts[1])


def _show(value: object) -> str:
    """One line, without spaces where JSON allows it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(text.split()) or '""'
