"""Procedures as tables: who may move a case from which state to which, within which time, by which clause.

A procedure is a YAML file of states and steps; `moves.advance` is the only way from one state to the
next. A new region's procedure is a new file. What a step checks and does beyond moving is named in the
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

from audit import words
from audit.access import Person

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
