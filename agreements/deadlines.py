"""PURE. Deadlines of the agreement procedure: numbers are the policy's, days the calendar's.

`procedures` is the section of that name of a policy document; nothing here knows a legal number.
Without the section, or without the step in it, every question fails with `CaseError`.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agreements.facts import (
    CaseError,
    Facts,
    Subjects,
    Unanswerable,
    day_of,
    days_of,
    iso,
    number_in,
    optional_day_of,
    section,
    text_of,
)
from institutions.calendar import Calendar, add_months, add_years, days

UNITS = ("working_days", "months", "years")


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
    rule = section(procedures, step)
    if "working_days" in rule:
        day = calendar.add_working_days(start, number_in(rule, "working_days"))
        return Due(day, day, rule["clause"])
    nominal = add_months(start, number_in(rule, "months"))
    day = calendar.next_working_day(nominal) if rule.get("roll_over") else nominal
    return Due(nominal, day, rule["clause"])


@dataclass(frozen=True)
class Clock:
    """A step's time, stopped while materials are out for completion (I-WZ-13).

    `nominal` is the last day by plain counting, `last` the one in law, both as if the clock never
    stopped again; `stopped_since` is the first day of a stop that has not ended, `stops` those that have.
    """

    nominal: dt.date
    last: dt.date
    clause: str
    stopped_since: dt.date | None
    stops: tuple[tuple[dt.date, dt.date], ...]
    calendar: Calendar = field(repr=False, compare=False)

    @property
    def running(self) -> bool:
        """False while the clock stands still."""
        return self.stopped_since is None

    @property
    def day(self) -> dt.date | None:
        """The last day in law; None while the clock stands still before its end."""
        since = self.stopped_since
        return self.last if since is None or since > self.last else None

    def remaining(self, today: dt.date) -> int:
        """Working days left after `today`: 0 on the last day, negative when overdue.

        Stopped days are never counted, so the figure stands still while the clock does.
        """
        day = today if self.stopped_since is None else min(today, self.stopped_since)
        if day <= self.last:
            return self._running_days(day, self.last)
        return -self._running_days(self.last, day)

    def _running_days(self, start: dt.date, end: dt.date) -> int:
        """Working days d with start < d <= end outside the stops that have ended."""
        return sum(
            self.calendar.is_working_day(day)
            for day in days(start + dt.timedelta(days=1), end)
            if not any(since < day <= until for since, until in self.stops)
        )


def clock(
    *,
    step: str,
    start: dt.date,
    pauses: Sequence[tuple[dt.date, dt.date | None]],
    procedures: Facts,
    calendar: Calendar,
) -> Clock:
    """The time of a step with its stops: (day of return for completion, day of receipt or None).

    The day of return still counts, the day of receipt does not (like the first day of a period,
    民法典201). A period in working days goes on with what was left; a period in months ends later by
    the calendar days stopped. A stop that begins after the last day changes nothing.
    """
    due = step_due(step=step, start=start, procedures=procedures, calendar=calendar)
    rule = section(procedures, step)
    _in_order(step, start, pauses)
    stops = tuple((since, until) for since, until in pauses if until is not None)
    stopped_since = next((since for since, until in pauses if until is None), None)
    for since, until in stops:
        if since <= due.day:
            due = _after_stop(due, since, until, rule, calendar)
    return Clock(due.nominal, due.day, due.clause, stopped_since, stops, calendar)


def _after_stop(due: Due, since: dt.date, until: dt.date, rule: Facts, calendar: Calendar) -> Due:
    """The last day after one stop; what was stopped on the last day ends on the day of receipt."""
    if "working_days" in rule:
        left = calendar.working_days_between(since, due.day)
        day = calendar.next_working_day(calendar.add_working_days(until, left))
        return Due(day, day, due.clause)
    nominal = max(due.nominal + (until - since), until)
    day = calendar.next_working_day(nominal) if rule.get("roll_over") else nominal
    return Due(nominal, day, due.clause)


def _in_order(step: str, start: dt.date, pauses: Sequence[tuple[dt.date, dt.date | None]]) -> None:
    """Refuse stops before the start, out of order, overlapping, or open before the last one."""
    free: dt.date | None = start
    for since, until in pauses:
        if free is None or since < free or (until is not None and until < since):
            raise CaseError(f"{step}：停表期间须依次排列、互不重叠，且只有最后一段可以未结束")
        free = until


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
    rule = section(procedures, step)
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
    ban = section(procedures, "ban")
    wait = section(procedures, "reapplication")
    banned = failures >= number_in(ban, "from_failure")
    rule = ban if banned else wait
    if delivered is None:
        return Reopening("awaiting_delivery", None, None, rule["clause"])
    last = (
        add_years(delivered, number_in(ban, "years"))
        if banned
        else add_months(delivered, number_in(wait, "months"))
    )
    earliest = last + dt.timedelta(days=1)
    return Reopening(rule["state"], earliest, last if banned else None, rule["clause"])


def _deadline(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    step = text_of(facts, "step")
    rule = section(procedures, step)
    _compare(facts, rule, step)
    starts = [key for key in STARTS if key in facts]
    if starts != [rule.get("counts_from")]:
        raise CaseError(f"{step}：期间应自{rule.get('counts_from')}起算，输入为{starts}")
    start = day_of(facts, starts[0])
    due = step_due(step=step, start=start, procedures=procedures, calendar=calendar)
    result: dict[str, Any] = {
        "due": due.day.isoformat(),
        "last_day_before_rollover": due.nominal.isoformat(),
    }
    if "completed" in facts:
        result["on_time"] = [day <= due.day for day in days_of(facts, "completed")]
    return result


def _flow(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    result: dict[str, Any] = {}
    for event, step, key in FLOW:
        if facts.get(event) is not None:
            start = day_of(facts, event)
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
    if section(procedures, "supplementary_term").get("end") != "main_agreement_end":
        raise CaseError("政策文件未规定补充协议期限与实体协议一致")
    if main.get("end") is None:
        return None
    end = day_of(main, "end")
    if main.get("start") is not None and day_of(main, "start") > end:
        raise CaseError("main_agreement：起始日晚于终止日")
    return end.isoformat()


def _lapse(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    applied = facts.get("test_application_received")
    state = state_on(
        step=text_of(facts, "step"),
        start=day_of(facts, "review_passed"),
        completed=None if applied is None else day_of(facts, "test_application_received"),
        today=day_of(facts, "today"),
        procedures=procedures,
        calendar=calendar,
    )
    lapse = section(procedures, "lapse")
    return {"state": state, **{key: bool(lapse[key]) for key in LAPSE_EFFECTS}}


def _reapplication(facts: Facts, procedures: Facts, calendar: Calendar) -> dict:
    failures, delivered = _failures(facts, procedures)
    if failures:
        outcome = reopening(failures=failures, delivered=delivered, procedures=procedures)
    else:  # only lapses so far: nothing to wait for
        outcome = Reopening("may_reapply", None, None, section(procedures, "lapse")["clause"])
    notice = section(procedures, "notice")
    result: dict[str, Any] = {
        "earliest": iso(outcome.earliest),
        "ban_last_day": iso(outcome.ban_last_day),
        "state": outcome.state,
        "one_off_notice_required": bool(failures) and notice["one_off"],
    }
    if "try_dates" in facts:
        result["accepted"] = [
            not failures or outcome.accepts(day) for day in days_of(facts, "try_dates")
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
    delivered = optional_day_of(facts, "result_delivered")
    made = optional_day_of(facts, "result_made")
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
        if not isinstance(entry, Mapping):
            raise CaseError(f"history：{entry!r}应为对象")
        for key in entry:
            if key not in {"kind", "result_made", "result_delivered"}:
                raise Unanswerable(f"history.{key}", "没有这一输入项")
        if _counts(entry.get("kind"), procedures):
            deliveries.append(optional_day_of(entry, "result_delivered"))
    known = [day for day in deliveries if day is not None]
    if None in deliveries[:-1] or known != sorted(known):
        raise CaseError("history：应按送达先后排列，只有最后一次可以未送达")
    return len(deliveries), deliveries[-1] if deliveries else None


def _counts(kind: object, procedures: Facts) -> bool:
    """Whether an outcome is a failure: a lapse is none; an unknown kind is an error."""
    if kind in section(procedures, "notice")["kinds"]:
        return True
    if kind == "lapse":
        return bool(section(procedures, "lapse")["counts_as_failure"])
    raise CaseError(f"kind：{kind!r}不是政策文件规定的不合格情形")


def _compare(facts: Facts, rule: Facts, step: str) -> None:
    """A number stated in the input must be the policy's own; it is never used as the rule."""
    for unit in UNITS:
        if unit in facts and facts[unit] != rule.get(unit):
            raise CaseError(f"{step}：输入{unit}={facts[unit]}，政策文件为{rule.get(unit)}")


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

SUBJECTS: Subjects = {
    "deadline": (_deadline, frozenset({"step", *STARTS, "working_days", "months", "completed"})),
    "flow": (_flow, frozenset({*(event for event, _, _ in FLOW), "main_agreement"})),
    "lapse": (
        _lapse,
        frozenset({"step", "review_passed", "test_application_received", "today"}),
    ),
    "reapplication": (_reapplication, frozenset({*SINGLE_FAILURE, "try_dates", "history"})),
}
