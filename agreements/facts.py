"""PURE. Facts of a question, read strictly: nothing unknown is skipped, nothing missing is guessed.

`law` is a policy document as data, or one of its sections; every rule in it carries its clause.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any

from institutions.calendar import Calendar

Facts = Mapping[str, Any]
Handler = Callable[[Facts, Facts, Calendar], dict]
#: subject → how it is answered and the input keys it knows (None: the handler looks at the keys)
Subjects = Mapping[str, tuple[Handler, frozenset[str] | None]]
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class CaseError(ValueError):
    """The question contradicts the policy or itself; nothing is computed."""


class Unanswerable(ValueError):
    """A subject or a key that this procedure does not know; never skipped silently."""

    def __init__(self, key: str, reason: str):
        self.key = key
        self.reason = reason
        super().__init__(f"{key}：{reason}")


def ask(
    subjects: Subjects, subject: str, facts: Facts, *, law: Facts | None, calendar: Calendar
) -> dict:
    """Answer a question of one of `subjects`; dates in the answer are ISO strings.

    Unanswerable for an unknown subject or key, CaseError for a contradiction or missing policy,
    MissingYear when the calendar does not reach far enough.
    """
    if subject not in subjects:
        raise Unanswerable(subject, "不是协议办理的事项")
    handler, known = subjects[subject]
    if known is not None:
        only(facts, known, subject)
    if not law:
        raise CaseError("没有生效的政策文件作出规定")
    return handler(facts, law, calendar)


def only(facts: Facts, known: frozenset[str], subject: str) -> None:
    """Refuse the first input key that is not known; the region may always stand in the input."""
    for key in facts:
        if key not in known and key != "region":
            raise Unanswerable(key, f"{subject}没有这一输入项")


def section(law: Facts, name: str) -> Facts:
    """A rule of the policy with its clause."""
    rule = law.get(name)
    if not isinstance(rule, Mapping) or "clause" not in rule:
        raise CaseError(f"{name}：政策文件没有规定")
    return rule


def part_of(law: Facts, name: str) -> Facts:
    """A section whose entries, not itself, carry the clauses."""
    found = law.get(name)
    if not isinstance(found, Mapping) or not found:
        raise CaseError(f"{name}：政策文件没有规定")
    return found


def number_in(rule: Facts, key: str) -> int:
    """A whole number that the policy prints."""
    value = rule.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CaseError(f"{key}：政策文件没有印出数字")
    return value


def text_of(facts: Facts, key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not value:
        raise CaseError(f"{key}：缺少或不是文字")
    return value


def flag_of(facts: Facts, key: str) -> bool:
    value = facts.get(key)
    if not isinstance(value, bool):
        raise CaseError(f"{key}：缺少或不是true、false")
    return value


def optional_flag_of(facts: Facts, key: str) -> bool | None:
    return None if facts.get(key) is None else flag_of(facts, key)


def as_whole(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CaseError(f"{key}：{value!r}不是整数")
    return value


def list_of(facts: Facts, key: str) -> list:
    values = facts.get(key)
    if not isinstance(values, list | tuple):
        raise CaseError(f"{key}：应为列表")
    return list(values)


def names_of(facts: Facts, key: str) -> list[str]:
    values = list_of(facts, key)
    for value in values:
        if not isinstance(value, str) or not value:
            raise CaseError(f"{key}：{value!r}不是文字")
    return values


def day_of(facts: Facts, key: str) -> dt.date:
    found = optional_day_of(facts, key)
    if found is None:
        raise CaseError(f"{key}：缺少日期")
    return found


def optional_day_of(facts: Facts, key: str) -> dt.date | None:
    value = facts.get(key)
    return None if value is None else as_day(value, key)


def days_of(facts: Facts, key: str) -> list[dt.date]:
    values = facts[key]
    if not isinstance(values, list | tuple):
        raise CaseError(f"{key}：应为日期列表")
    return [as_day(value, key) for value in values]


def as_day(value: object, key: str) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if isinstance(value, str) and DAY.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise CaseError(f"{key}：{value}不是日历上的日期") from None
    raise CaseError(f"{key}：{value!r}不是日期（YYYY-MM-DD）")


def iso(found: dt.date | None) -> str | None:
    return found.isoformat() if found else None
