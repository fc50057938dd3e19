"""PURE. Deadlines of the agreement procedure: numbers are the policy's, days the calendar's.

`procedures` is the section of that name of a policy document; nothing here knows a legal number.
Without the section, or without the step in it, every question fails with `CaseError`.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from institutions.calendar import Calendar, add_months, add_years

Facts = Mapping[str, Any]
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
UNITS = ("working_days", "months", "years")


class CaseError(ValueError):
    """The question contradicts the policy or itself; nothing is computed."""


class Unanswerable(ValueError):
    """A subject or a key that this procedure does not know; never skipped silently."""

    def __init__(self, key: str, reason: str):
        self.key = key
        self.reason = reason
        super().__init__(f"{key}：{reason}")


@dataclass(frozen=True)
class Due:
    """`nominal` is the last day by plain counting, `day` the last day in law after roll-over."""

    nominal: dt.date
    day: dt.date
    clause: str


@dataclass(frozen=True)
class Reopening:
    """When an institution may apply again after a failure (`earliest` None: not yet known)."""

    state: str
    earliest: dt.date | None
    ban_last_day: dt.date | None
    clause: str

    def accepts(self, day: dt.date) -> bool:
        """Whether an application made on `day` is accepted."""
        return self.earliest is not None and day >= self.earliest


def step_due(*, step: str, start: dt.date, procedures: Facts, calendar: Calendar) -> Due:
    """Last day of a step that starts with the event of `start` (that day is not counted)."""
    rule = _section(procedures, step)
    if "working_days" in rule:
        day = calendar.add_working_days(start, _number(rule, "working_days"))
        return Due(day, day, rule["clause"])
    nominal = add_months(start, _number(rule, "months"))
    day = calendar.next_working_day(nominal) if rule.get("roll_over") else nominal
    return Due(nominal, day, rule["clause"])


def state_on(
    *,
    step: str,
    start: dt.date,
    completed: dt.date | None,
    today: dt.date,
    procedures: Facts,
    calendar: Calendar,
) -> str:
    """The state on `today` of a step that lapses: completed in time, running, or missed.

    A completion after `today` is not yet known; one after the last day does not count.
    """
    rule = _section(procedures, step)
    if not rule.keys() >= LAPSING:
        raise CaseError(f"{step}：政策文件未规定逾期失效")
    if today < start or (completed is not None and completed < start):
        raise CaseError(f"{step}：日期早于期间起算日{start.isoformat()}")
    due = step_due(step=step, start=start, procedures=procedures, calendar=calendar)
    if completed is not None and completed <= min(due.day, today):
        return rule["completed"]
    return rule["running"] if today <= due.day else rule["missed"]


def reopening(*, failures: int, delivered: dt.date | None, procedures: Facts) -> Reopening:
    """What follows the n-th failure whose result was delivered on a day (None: not delivered yet).

    Waiting period and ban end on the corresponding day, without roll-over; the next day is free.
    """
    ban = _section(procedures, "ban")
    wait = _section(procedures, "reapplication")
    banned = failures >= _number(ban, "from_failure")
    rule = ban if banned else wait
    if delivered is None:
        return Reopening("awaiting_delivery", None, None, rule["clause"])
    last = (
        add_years(delivered, _number(ban, "years"))
        if banned
        else add_months(delivered, _number(wait, "months"))
    )
    earliest = last + dt.timedelta(days=1)
    return Reopening(rule["state"], earliest, last if banned else None, rule["clause"])


def answer(subject: str, facts: Facts, *, procedures: Facts | None, calendar: Calendar) -> dict:
    """Answer one case (contract: trial); dates are ISO strings.

    Unanswerable for an unknown subject or key, CaseError for a contradiction or missing policy,
    MissingYear when the calendar does not reach far enough.
    """
    if subject not in SUBJECTS:
        raise Unanswerable(subject, "不是协议期限的事项")
    handler, known = SUBJECTS[subject]
    for key in facts:
        if key not in known and key != "region":
            raise Unanswerable(key, f"{subject}没有这一输入项")
    if not procedures:
        raise CaseError("没有生效的政策文件规定办理期限")
    return handler(facts, procedures, calendar)


def _deadline(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    step = _text(facts, "step")
    rule = _section(procedures, step)
    _compare(facts, rule, step)
    starts = [key for key in STARTS if key in facts]
    if starts != [rule.get("counts_from")]:
        raise CaseError(f"{step}：期间应自{rule.get('counts_from')}起算，输入为{starts}")
    start = _day(facts, starts[0])
    due = step_due(step=step, start=start, procedures=procedures, calendar=calendar)
    result: dict[str, Any] = {
        "due": due.day.isoformat(),
        "last_day_before_rollover": due.nominal.isoformat(),
    }
    if "completed" in facts:
        result["on_time"] = [day <= due.day for day in _days(facts, "completed")]
    return result


def _flow(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    result: dict[str, Any] = {}
    for event, step, key in FLOW:
        if facts.get(event) is not None:
            start = _day(facts, event)
            due = step_due(step=step, start=start, procedures=procedures, calendar=calendar)
            result[key] = due.day.isoformat()
    if facts.get("main_agreement") is not None:
        result["supplementary_end"] = _supplementary_end(facts["main_agreement"], procedures)
    if not result:
        raise CaseError("没有给出任何办理日期")
    return result


def _supplementary_end(main: object, procedures: Facts) -> str | None:
    if not isinstance(main, Mapping):
        raise CaseError("main_agreement：应为含start、end的对象")
    for key in main:
        if key not in {"start", "end"}:
            raise Unanswerable(f"main_agreement.{key}", "没有这一输入项")
    if _section(procedures, "supplementary_term").get("end") != "main_agreement_end":
        raise CaseError("政策文件未规定补充协议期限与实体协议一致")
    if main.get("end") is None:
        return None
    end = _day(main, "end")
    if main.get("start") is not None and _day(main, "start") > end:
        raise CaseError("main_agreement：起始日晚于终止日")
    return end.isoformat()


def _lapse(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    applied = facts.get("test_application_received")
    state = state_on(
        step=_text(facts, "step"),
        start=_day(facts, "review_passed"),
        completed=None if applied is None else _day(facts, "test_application_received"),
        today=_day(facts, "today"),
        procedures=procedures,
        calendar=calendar,
    )
    lapse = _section(procedures, "lapse")
    return {"state": state, **{key: bool(lapse[key]) for key in LAPSE_EFFECTS}}


def _reapplication(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    failures, delivered = _failures(facts, procedures)
    if failures:
        outcome = reopening(failures=failures, delivered=delivered, procedures=procedures)
    else:  # only lapses so far: nothing to wait for
        outcome = Reopening("may_reapply", None, None, _section(procedures, "lapse")["clause"])
    notice = _section(procedures, "notice")
    result: dict[str, Any] = {
        "earliest": _iso(outcome.earliest),
        "ban_last_day": _iso(outcome.ban_last_day),
        "state": outcome.state,
        "one_off_notice_required": bool(failures) and notice["one_off"],
    }
    if "try_dates" in facts:
        result["accepted"] = [
            not failures or outcome.accepts(day) for day in _days(facts, "try_dates")
        ]
    return result


def _failures(facts: Facts, procedures: Facts) -> tuple[int, dt.date | None]:
    """Number of failures and delivery day of the last result, from either form of the input."""
    if "history" in facts:
        if any(key in facts for key in SINGLE_FAILURE):
            raise CaseError("history与fail_no等输入项不能并用")
        return _from_history(facts["history"], procedures)
    number = facts.get("fail_no")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise CaseError("fail_no：应为不小于1的整数")
    if "kind" in facts and not _counts(facts["kind"], procedures):
        raise CaseError(f"kind：{facts['kind']}不是不合格，没有第{number}次不合格可言")
    delivered = _optional_day(facts, "result_delivered")
    made = _optional_day(facts, "result_made")
    if "result_delivered" not in facts and made is None:
        raise CaseError("result_delivered：缺少送达日（未送达的填null）")
    if made and delivered and delivered < made:
        raise CaseError("result_delivered：送达早于结果作出")
    return number, delivered


def _from_history(history: object, procedures: Facts) -> tuple[int, dt.date | None]:
    if not isinstance(history, Sequence) or isinstance(history, str) or not history:
        raise CaseError("history：应为非空列表")
    deliveries = []
    for entry in history:
        for key in entry:
            if key not in {"kind", "result_made", "result_delivered"}:
                raise Unanswerable(f"history.{key}", "没有这一输入项")
        if _counts(entry.get("kind"), procedures):
            deliveries.append(_optional_day(entry, "result_delivered"))
    known = [day for day in deliveries if day is not None]
    if None in deliveries[:-1] or known != sorted(known):
        raise CaseError("history：应按送达先后排列，只有最后一次可以未送达")
    return len(deliveries), deliveries[-1] if deliveries else None


def _counts(kind: object, procedures: Facts) -> bool:
    """Whether an outcome is a failure: a lapse is none; an unknown kind is an error."""
    if kind in _section(procedures, "notice")["kinds"]:
        return True
    if kind == "lapse":
        return bool(_section(procedures, "lapse")["counts_as_failure"])
    raise CaseError(f"kind：{kind!r}不是政策文件规定的不合格情形")


def _section(procedures: Facts, name: str) -> Facts:
    rule = procedures.get(name)
    if not isinstance(rule, Mapping) or "clause" not in rule:
        raise CaseError(f"{name}：政策文件没有规定")
    return rule


def _number(rule: Facts, key: str) -> int:
    value = rule.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CaseError(f"{key}：政策文件没有印出数字")
    return value


def _compare(facts: Facts, rule: Facts, step: str) -> None:
    """A number stated in the input must be the policy's own; it is never used as the rule."""
    for unit in UNITS:
        if unit in facts and facts[unit] != rule.get(unit):
            raise CaseError(f"{step}：输入{unit}={facts[unit]}，政策文件为{rule.get(unit)}")


def _text(facts: Facts, key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str):
        raise CaseError(f"{key}：缺少或不是文字")
    return value


def _day(facts: Facts, key: str) -> dt.date:
    day = _optional_day(facts, key)
    if day is None:
        raise CaseError(f"{key}：缺少日期")
    return day


def _optional_day(facts: Facts, key: str) -> dt.date | None:
    value = facts.get(key)
    return None if value is None else _parse(value, key)


def _days(facts: Facts, key: str) -> list[dt.date]:
    values = facts[key]
    if not isinstance(values, list | tuple):
        raise CaseError(f"{key}：应为日期列表")
    return [_parse(value, key) for value in values]


def _parse(value: object, key: str) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if isinstance(value, str) and DAY.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise CaseError(f"{key}：{value}不是日历上的日期") from None
    raise CaseError(f"{key}：{value!r}不是日期（YYYY-MM-DD）")


def _iso(day: dt.date | None) -> str | None:
    return day.isoformat() if day else None


#: keys of a step that can be missed: the states it then has
LAPSING = {"completed", "running", "missed"}
LAPSE_EFFECTS = ("counts_as_failure", "reapply_ban")
STARTS = ("received", "acceptance_passed", "review_passed")
SINGLE_FAILURE = ("fail_no", "kind", "result_made", "result_delivered")
#: event of the input, step of the policy that it starts, key of the answer
FLOW = (
    ("application_received", "material_review", "review_due"),
    ("review_passed", "rebuild", "rebuild_due"),
    ("test_application_received", "acceptance_test", "test_due"),
    ("acceptance_passed", "sign", "sign_due"),
)

Handler = Callable[[Facts, Facts, Calendar], dict]
SUBJECTS: dict[str, tuple[Handler, frozenset[str]]] = {
    "deadline": (_deadline, frozenset({"step", *STARTS, "working_days", "months", "completed"})),
    "flow": (_flow, frozenset({*(event for event, _, _ in FLOW), "main_agreement"})),
    "lapse": (
        _lapse,
        frozenset({"step", "review_passed", "test_application_received", "today"}),
    ),
    "reapplication": (_reapplication, frozenset({*SINGLE_FAILURE, "try_dates", "history"})),
}
