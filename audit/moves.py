"""Moving a case along its procedure: the only way from one state to the next.

A step is taken whole, in one transaction: permission, state and version, day in law, inputs, checks;
then the move, the effects, the clock, the tasks and the event. (宁医保发〔2021〕152号 附件2；
温医保办〔2021〕6号 七)
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from audit import clock, tasks, trail
from audit.access import Person
from audit.models import Case, Move
from audit.procedure import (
    PROCEDURES,
    SYSTEM,
    Handbook,
    Pauses,
    Procedure,
    Refused,
    State,
    Step,
    Turn,
    at_level,
)


def advance(
    *, case: Case, procedure: Procedure, handbook: Handbook, step: str, by: str, at: dt.datetime,
    who: Person | None = None, level: str = "", on: dt.date | None = None, note: str = "",
    facts: Mapping[str, Any] | None = None, version: int | None = None,
) -> Move:  # fmt: skip
    """Take a step of a case inside one transaction; returns the recorded move.

    `who` None is the portal itself and may take automatic steps only. `version` is what the person
    saw: a case that moved since is refused with the name of whoever moved it. `on` is the day in law,
    by default that of `at`; it lies neither in the future nor before the last move.
    """
    chosen = procedure.step(step)
    with transaction.atomic():
        locked = type(case)._default_manager.select_for_update().get(pk=case.pk)
        _may(chosen, who, level)
        _can(locked, procedure, chosen, version)
        _exists(locked, chosen, handbook)
        turn = Turn(
            case=locked, procedure=procedure, step=chosen, by=by, at=at,
            on=_day(locked, chosen, on, at, who), note=note.strip(), facts=dict(facts or {}), who=who,
        )  # fmt: skip
        _complete(turn)
        for name in chosen.checks:
            handbook.checks[name](turn)
        move = _move(turn)
        for name in chosen.effects:
            handbook.effects[name](turn)
        _arrive(turn, handbook)
        for attribute in (
            "state",
            "version",
            "due",
            "due_unknown",
            "stopped",
            "closed_at",
            "entered_on",
        ):
            setattr(case, attribute, getattr(locked, attribute))
        handbook.told(turn, procedure.states[chosen.target])
    return move


def offered(
    *, case: Case, procedure: Procedure, handbook: Handbook, who: Person, level: str = ""
) -> tuple[Step, ...]:
    """The steps that a person can take with a case now: what its page shows as buttons."""
    return tuple(
        step
        for step in procedure.permitted(case.state, who, level)
        if all(handbook.guards[name](case) for name in step.when)
    )


def opened(
    *, case: Case, procedure: Procedure, handbook: Handbook, by: str, at: dt.datetime,
    on: dt.date, note: str = "",
) -> None:  # fmt: skip
    """Record that a stored case begins in the first state: move, tasks, event."""
    start = Step(key="open", label="建立", source=("",), target=procedure.first.key, permission="")
    turn = Turn(case=case, procedure=procedure, step=start, by=by, at=at, on=on, note=note)
    _move(turn)
    _arrive(turn, handbook)


def refresh(*, case: Case, procedure: Procedure, handbook: Handbook, at: dt.datetime) -> bool:
    """Compute the clock of a case anew (a calendar year came in); True when its due day changed."""
    before = (case.due, case.due_unknown)
    state = procedure.states[case.state]
    _wind(case, state, handbook)
    if before == (case.due, case.due_unknown):
        return False
    case.save(update_fields=["due", "due_nominal", "due_clause", "due_unknown", "stopped"])
    _hand_over(case, procedure, state, handbook, by=SYSTEM, at=at)
    return True


def _can(case: Case, procedure: Procedure, step: Step, version: int | None) -> None:
    if version is not None and version != case.version:
        last = Move.objects.filter(subject=case.subject).order_by("-pk").first()
        moved = (
            f"{last.by}已于{clock.local(last.at):%m月%d日%H:%M}办理“{last.label}”"
            if last
            else "已被他人办理"
        )
        raise Refused(409, "CASE_MOVED", f"{moved}，请刷新后查看最新状态；您的操作没有保存")
    if case.state not in step.source:
        now = procedure.states[case.state].label
        raise Refused(
            409,
            "STEP_NOT_POSSIBLE",
            f"当前状态为“{now}”，不能办理“{step.label}”",
            clause=step.clause,
        )


def _exists(case: Case, step: Step, handbook: Handbook) -> None:
    if not all(handbook.guards[name](case) for name in step.when):
        raise Refused(409, "STEP_NOT_POSSIBLE", f"本案不适用“{step.label}”", clause=step.clause)


def _may(step: Step, who: Person | None, level: str) -> None:
    if who is None:
        if not step.automatic:
            raise Refused(403, "STEP_NEEDS_PERSON", f"“{step.label}”须由人办理", clause=step.clause)
        return
    if not who.may(step.permission):
        raise Refused(
            403, "STEP_NOT_PERMITTED", f"您的角色不能办理“{step.label}”", clause=step.clause
        )
    if step.levels and level not in step.levels:
        raise Refused(
            403, "LEVEL_NOT_PERMITTED", f"“{step.label}”不由本级机构办理", clause=step.clause
        )


def _day(
    case: Case, step: Step, on: dt.date | None, at: dt.datetime, who: Person | None
) -> dt.date:
    """The day in law. Whoever acts for an institution acts today: clocks run from such days."""
    today = clock.local(at).date()
    day = on or today
    name = step.day or "办理日"
    if who is not None and who.institution_id and day != today:
        raise Refused(422, "DAY_NOT_YOURS", f"{name}由门户按办理当天登记，机构不能另填", field="on")
    if day > today:
        raise Refused(422, "DAY_IN_FUTURE", f"{name}不能晚于今天（{today}）", field="on")
    if day < case.entered_on:
        raise Refused(
            422, "DAY_TOO_EARLY", f"{name}不能早于进入当前状态之日（{case.entered_on}）", field="on"
        )
    return day


def _complete(turn: Turn) -> None:
    """Every required input is there, and choices are among those offered."""
    for ask in turn.step.asks:
        value = turn.note if ask.key == "note" else turn.facts.get(ask.key)
        if ask.required and value in (None, "", [], ()):
            raise Refused(
                422, "INPUT_MISSING", f"请填写“{ask.label}”", field=ask.key, clause=turn.step.clause
            )
        if ask.choices and value and value not in dict(ask.choices):
            raise Refused(422, "INPUT_UNKNOWN", f"“{ask.label}”没有这一选项", field=ask.key)


def _move(turn: Turn) -> Move:
    case, step = turn.case, turn.step
    waits = case.version and turn.procedure.states[case.state].waits
    due = case.due if case.version and not case.stopped and not waits else None
    return Move.objects.create(
        subject=case.subject, procedure=turn.procedure.slug, step=step.key, label=step.label,
        source="" if step.key == "open" else case.state, target=step.target, on=turn.on, at=turn.at,
        by=turn.by, note=turn.note, facts=turn.recorded,
        clause=f"{turn.procedure.document} {step.clause}".strip() if step.clause else "",
        due=due, on_time=None if due is None else turn.on <= due,
        region_code=case.region_code, institution_code=case.institution_code,
    )  # fmt: skip


def _arrive(turn: Turn, handbook: Handbook) -> None:
    """The case stands in the new state: clock, tasks and event follow."""
    case, state = turn.case, turn.procedure.states[turn.step.target]
    before = case.state
    case.state, case.entered_on, case.version = state.key, turn.on, case.version + 1
    case.closed_at = turn.at if state.final else None
    _wind(case, state, handbook)
    case.save()
    _hand_over(case, turn.procedure, state, handbook, by=turn.by, at=turn.at)
    trail.record(
        by=turn.by, at=turn.at, action=f"{turn.procedure.subject}.{turn.step.key}", subject=case.subject,
        region_code=case.region_code, institution_code=case.institution_code,
        detail={"from": before, "to": state.key, "on": turn.on, "note": turn.note,
                "due": case.due, "clause": turn.step.clause, "facts": turn.recorded},
    )  # fmt: skip


def _wind(case: Case, state: State, handbook: Handbook) -> None:
    key = state.within or state.stops
    case.due = case.due_nominal = case.due_unknown = None
    case.due_clause, case.stopped = "", bool(state.stops and not state.within)
    if not key or handbook.due is None:
        return
    start, pauses = span(case, key, PROCEDURES[case.procedure].states)
    answer = handbook.due(case, state, start, pauses)
    case.due, case.due_nominal = answer.day, answer.nominal
    case.due_clause, case.due_unknown = answer.clause, answer.unknown


def span(case: Case, key: str, states: Mapping[str, State]) -> tuple[dt.date, Pauses]:
    """When the clock `key` of the present state began, and when it stood still since.

    It began with the first of the unbroken row of moves into states that run or stop this clock.
    """
    moves = list(Move.objects.filter(subject=case.subject).order_by("pk"))
    run: list[Move] = []
    for move in reversed(moves):
        state = states[move.target]
        if key not in (state.within, state.stops):
            break
        run.insert(0, move)
    pauses: list[tuple[dt.date, dt.date | None]] = []
    for number, move in enumerate(run):
        if states[move.target].stops == key:
            following = run[number + 1 :]
            back = next(
                (later.on for later in following if states[later.target].within == key), None
            )
            if not pauses or pauses[-1][1] is not None:
                pauses.append((move.on, back))
    return run[0].on, pauses


def _hand_over(
    case: Case, procedure: Procedure, state: State, handbook: Handbook, *, by: str, at: dt.datetime
) -> None:
    """Close the tasks of the state before; open the one of whoever holds the case now."""
    if state.final:
        tasks.close(subject=case.subject, by=by, at=at)
        return
    tasks.replace(
        subject=case.subject, by=by, at=at, permission=state.holder,
        title=f"{handbook.describe(case)}：{state.todo or state.label}",
        region_code=at_level(case.region_code, state.level), institution_code=case.institution_code,
        procedure=procedure.slug, url=handbook.place(case),
        status=f"{state.label}（至{case.due}）" if state.waits and case.due else state.label,
        due=None if state.waits else case.due,
        due_unknown=case.due_unknown, stopped=case.stopped,
        clause=f"{procedure.document} {case.due_clause or state.clause}".strip()
        if case.due_clause or state.clause else "",
    )  # fmt: skip
