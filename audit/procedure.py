"""Procedures as tables: who may move a case from which state to which, within which time, by which clause.

A procedure is a YAML file of states and steps; `advance` is the only way from one state to the next.
A new region's procedure is a new file. What a step checks and does beyond moving is named in the
file and looked up in the `Handbook` of the app that owns the case. (温医保办〔2021〕6号 七；
通医保发〔2020〕25号 三（一）；宁医保发〔2021〕152号 附件2)
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction

from audit import clock, tasks, trail, words
from audit.access import Person
from audit.models import Case, Move

SYSTEM = "系统"  #: the actor of automatic steps
KINDS = {"text", "long", "day", "choice", "items", "files", "yes"}


class ProcedureError(ValueError):
    """A table that contradicts itself: which file, which key, why."""


class Refused(Exception):
    """A step that is not taken. `status`: 403 may not, 404 unseen, 409 cannot (now), 422 input."""

    def __init__(self, status: int, code: str, detail: str, *, clause: str = "", field: str = ""):
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.clause = clause
        self.field = field


@dataclass(frozen=True)
class Ask:
    """One input of a step, as its form shows it.

    `personal`: about a person. Effects are given it, the trail and the moves never hold it.
    """

    key: str
    label: str
    kind: str = "text"
    required: bool = True
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    personal: bool = False


@dataclass(frozen=True)
class State:
    """Where a case stands and who holds it there (`holder`: a permission; empty at the end).

    `within` names the clock that runs (a key of the policy's procedures), `stops` one that stands still.
    `waits`: that clock is a time that must pass (公示期), not one to act in: nobody is ever late.
    `level`: the lowest level of the office that holds it (宁医保发〔2021〕152号 附件2 六: prefecture).
    """

    key: str
    label: str
    tone: str = "info"
    holder: str = ""
    todo: str = ""
    within: str = ""
    stops: str = ""
    level: str = ""
    clause: str = ""
    phase: str = ""
    waits: bool = False

    @property
    def final(self) -> bool:
        """Whether nobody has to do anything any more."""
        return not self.holder


@dataclass(frozen=True)
class Step:
    """One permitted move. It exists while every guard of `when` holds; `checks` must find no fault,
    `effects` happen with it (all by name).
    """

    key: str
    label: str
    source: tuple[str, ...]
    target: str
    permission: str
    clause: str = ""
    levels: tuple[str, ...] = ()
    asks: tuple[Ask, ...] = ()
    when: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    automatic: bool = False
    tone: str = ""
    day: str = ""  #: what the day of the step is called (收到日, 送达日 …)


@dataclass(frozen=True)
class Procedure:
    """A table of states and steps. `first` is the state in which a case opens."""

    slug: str
    title: str
    document: str
    region: str
    subject: str
    states: Mapping[str, State]
    steps: tuple[Step, ...]
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> State:
        return next(iter(self.states.values()))

    def steps_from(self, state: str) -> tuple[Step, ...]:
        """The steps that can be taken in a state."""
        return tuple(step for step in self.steps if state in step.source)

    def step(self, key: str) -> Step:
        """The step of a key; Refused 404 without it."""
        for found in self.steps:
            if found.key == key:
                return found
        raise Refused(404, "STEP_UNKNOWN", f"{self.title}没有“{key}”这一步骤")

    def permitted(self, state: str, who: Person, level: str = "") -> tuple[Step, ...]:
        """What a person may do in a state: by permission and by the level of the own office."""
        return tuple(
            step
            for step in self.steps_from(state)
            if not step.automatic
            and who.may(step.permission)
            and (not step.levels or level in step.levels)
        )


@dataclass(frozen=True)
class Due:
    """The answer to “until when”: `day` None and `unknown` the year whose calendar is missing."""

    day: dt.date | None
    nominal: dt.date | None = None
    clause: str = ""
    unknown: int | None = None


@dataclass(frozen=True)
class Turn:
    """A step as it is being taken: what checks and effects are given."""

    case: Any
    procedure: Procedure
    step: Step
    by: str
    at: dt.datetime
    on: dt.date
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    who: Person | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """The inputs that moves and events may keep for ever: none of a person."""
        personal = {ask.key for ask in self.step.asks if ask.personal}
        return {key: value for key, value in self.facts.items() if key not in personal}


Pauses = Sequence[tuple[dt.date, dt.date | None]]


@dataclass(frozen=True)
class Handbook:
    """What an app adds to the table: checks (raise Refused), effects, clocks, words, news.

    `guards` say whether a step exists for a case; `due(case, state, start, pauses)` answers a clock;
    `describe(case)` is the title of its tasks,
    `place(case)` its address; `told(turn, state)` is called after the move (notifications).
    """

    guards: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    checks: Mapping[str, Callable[[Turn], None]] = field(default_factory=dict)
    effects: Mapping[str, Callable[[Turn], None]] = field(default_factory=dict)
    due: Callable[[Any, State, dt.date, Pauses], Due] | None = None
    describe: Callable[[Any], str] = str
    place: Callable[[Any], str] = lambda case: ""
    told: Callable[[Turn, State], None] = lambda turn, state: None


# --- Reading a table ---


@cache
def load(path: Path) -> Procedure:
    """The procedure of a YAML file; ProcedureError names what contradicts itself."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    slug = data["slug"]
    if slug != path.stem:
        raise ProcedureError(f"{path.name}：slug应与文件名一致")
    states = {
        key: _made(State, {"key": key, **(row or {})}, f"{slug}.states.{key}")
        for key, row in data["states"].items()
    }
    steps = tuple(_step(slug, key, row) for key, row in data["steps"].items())
    known = {"slug", "title", "document", "region", "subject", "states", "steps"}
    procedure = Procedure(
        slug=slug, title=data["title"], document=data["document"], region=data["region"],
        subject=data["subject"], states=states, steps=steps,
        data={key: value for key, value in data.items() if key not in known},
    )  # fmt: skip
    _consistent(procedure)
    return procedure


def _step(slug: str, key: str, row: Mapping[str, Any]) -> Step:
    name = f"{slug}.steps.{key}"
    asks = tuple(_ask(name, ask, given) for ask, given in (row.get("asks") or {}).items())
    source = row["source"]
    values = {
        **row,
        "key": key,
        "asks": asks,
        "source": (source,) if isinstance(source, str) else tuple(source),
    }
    for many in ("levels", "when", "checks", "effects"):
        values[many] = tuple(row.get(many) or ())
    return _made(Step, values, name)


def _ask(name: str, key: str, row: Mapping[str, Any]) -> Ask:
    choices = tuple((str(value), label) for value, label in (row.get("choices") or {}).items())
    ask = _made(Ask, {**row, "key": key, "choices": choices}, f"{name}.asks.{key}")
    if ask.kind not in KINDS:
        raise ProcedureError(f"{name}.asks.{key}：没有{ask.kind}这一类输入")
    if ask.personal and ask.key == "note":
        raise ProcedureError(f"{name}.asks.note：办理意见全程留痕，不能是个人信息")
    return ask


def _made(kind: type, values: Mapping[str, Any], name: str) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise ProcedureError(f"{name}：{error}") from None


def _consistent(procedure: Procedure) -> None:
    """Every state is named, reached and left unless it is an end; step keys and doors are unique."""
    named = set(procedure.states)
    reached = {procedure.first.key} | {step.target for step in procedure.steps}
    left = {source for step in procedure.steps for source in step.source}
    for what, keys in (
        ("未定义的状态", (reached | left) - named),
        ("到不了的状态", named - reached),
    ):
        if keys:
            raise ProcedureError(f"{procedure.slug}：{what}{sorted(keys)}")
    for state in procedure.states.values():
        if not state.final and state.key not in left:
            raise ProcedureError(f"{procedure.slug}.{state.key}：无法离开，又不是终点")
    names = [step.key for step in procedure.steps]
    if len(names) != len(set(names)):
        raise ProcedureError(f"{procedure.slug}：步骤重名")


# --- Moving a case ---


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


def at_level(region_code: str, level: str) -> str:
    """The code of the office of a level above an area: `640122` at prefecture → `640100`."""
    kept = {"province": 2, "prefecture": 4}.get(level, 6)
    return region_code[:kept].ljust(6, "0")


# --- All tables of the portal ---

PROCEDURES: dict[str, Procedure] = {}


def register(folder: Path) -> tuple[Procedure, ...]:
    """Read every table of a folder; apps call this once when they are ready."""
    found = tuple(load(path) for path in sorted(folder.glob("*.yaml")))
    PROCEDURES.update({procedure.slug: procedure for procedure in found})
    for procedure in found:
        words.ACTS.update({f"{procedure.subject}.{s.key}": s.label for s in procedure.steps})
    return found


def diagram(procedure: Procedure) -> str:
    """The state diagram as Mermaid text; `manage.py docs` writes it, CI compares it."""
    lines = ["stateDiagram-v2", f"    [*] --> {procedure.first.key}"]
    lines += [f"    {state.key} : {state.label}" for state in procedure.states.values()]
    for step in procedure.steps:
        label = step.label + ("（自动）" if step.automatic else "")
        lines += [f"    {source} --> {step.target} : {label}" for source in step.source]
    lines += [f"    {state.key} --> [*]" for state in procedure.states.values() if state.final]
    return "\n".join(lines)


def checked(handbook: Handbook, procedures: Iterable[Procedure]) -> None:
    """Every guard, check and effect that the tables name is in the handbook; ProcedureError if not."""
    for procedure in procedures:
        opening = procedure.data.get("opening") or {}
        absent = [name for name in opening.get("checks", ()) if name not in handbook.checks]
        absent += [name for name in opening.get("effects", ()) if name not in handbook.effects]
        if absent:
            raise ProcedureError(f"{procedure.slug}.opening：没有这些名称{absent}")
        for step in procedure.steps:
            missing = [name for name in step.checks if name not in handbook.checks]
            missing += [name for name in step.effects if name not in handbook.effects]
            missing += [name for name in step.when if name not in handbook.guards]
            if missing:
                raise ProcedureError(f"{procedure.slug}.{step.key}：没有这些名称{missing}")
