"""PURE. Waves and steps of joining hospitals (宁夏): who, until when, in which order, planned backward.

Everything is read from a policy document as data (`law`); a new region's waves are a YAML section.

    waves = Waves.read(law, calendar=calendar)        sections `waves`: batches, promotion, admission
    waves.batches                                     Wave(number, name, deadline, hospitals, clause)
    waves.wave_of("宁夏医科大学总院")                   by name or alias, None when not listed
    wave.days_late(go_live=None, today=today)         calendar days after the deadline, 0 when in time
    waves.promoter_of(name)                           Promoter(level, bureaus, clause)
    waves.admits(name, listed_all_done=False)         the 39th only after the listed ones

    flow = Flow.read(law)                             section `onboarding`: steps with `needs`
    flow.missing(5, done={1, 2}, applies_major_disease=False)    prerequisites not yet done, in order
    flow.required_level(6)                            the one level that may act, None when several may
    flow.complete(done, applies_major_disease=False)
    flow.schedule(deadline=wave.deadline, working_days=days, calendar=calendar)
        → one Slot(step, working_days, latest_start, latest_end) per step, in order; `days` is the value
        of the parameter `STEP_DAYS` (示例: no document prints a duration); slot.days_late(...) as above

CaseError: the document or the question contradicts itself. MissingYear: a plan needs a calendar year
that is not imported; store it as unknown.
"""

import datetime as dt
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agreements.facts import (
    CaseError,
    Facts,
    Subjects,
    Unanswerable,
    as_day,
    as_whole,
    iso,
    list_of,
    names_of,
    number_in,
    optional_day_of,
    optional_flag_of,
    section,
    text_of,
)
from institutions.calendar import Calendar

#: key of the parameter row with the planned duration of each step: step key → working days
STEP_DAYS = "onboarding_step_working_days"
#: the value of a step's `when` that this module knows
MAJOR_DISEASE = "applies_major_disease"


def late(deadline: dt.date, *, done: dt.date | None, today: dt.date) -> int:
    """Calendar days after `deadline`, counted to the day it was done, else to today; never negative."""
    return max(0, ((done or today) - deadline).days)


@dataclass(frozen=True)
class Hospital:
    """A listed hospital under its printed name and the other names that documents use."""

    name: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wave:
    """A batch: its deadline is the last day in law (“X月底前” includes it)."""

    number: int
    name: str
    deadline: dt.date
    count: int
    hospitals: tuple[Hospital, ...]
    clause: str

    def days_late(self, *, go_live: dt.date | None, today: dt.date) -> int:
        """Calendar days that a hospital of this wave went (or is not yet) live too late."""
        return late(self.deadline, done=go_live, today=today)


@dataclass(frozen=True)
class Promoter:
    """Who brings a hospital forward: `level` is `region` or `territory`; bureaus where named."""

    level: str
    bureaus: tuple[str, ...]
    clause: str


@dataclass(frozen=True)
class Waves:
    """The batches of a document with what it says about hospitals on and off the list."""

    batches: tuple[Wave, ...]
    total: int
    law: Facts

    @classmethod
    def read(cls, law: Facts, *, calendar: Calendar) -> "Waves":
        """The section `waves`. CaseError when it is absent or its numbers do not add up."""
        rule = section(law, "waves")
        batches = tuple(_wave(row, rule, calendar) for row in rule.get("batches", ()))
        total = number_in(rule, "total")
        if total != sum(wave.count for wave in batches) or any(
            wave.count != len(wave.hospitals) for wave in batches
        ):
            raise CaseError("waves：各批家数、名单与合计不符")
        return cls(batches, total, rule)

    def find(self, name: str) -> tuple[Wave, Hospital] | None:
        """A listed hospital and its wave by name or alias; full and half width are the same."""
        wanted = _plain(name)
        for wave in self.batches:
            for hospital in wave.hospitals:
                if wanted in map(_plain, (hospital.name, *hospital.aliases)):
                    return wave, hospital
        return None

    def wave_of(self, name: str) -> Wave | None:
        """The wave of a hospital by name or alias; None when it is not listed."""
        found = self.find(name)
        return found[0] if found else None

    def wave(self, number: int) -> Wave:
        """The wave of a number; CaseError when there is none."""
        for wave in self.batches:
            if wave.number == number:
                return wave
        raise CaseError(f"batch：没有第{number}批")

    def promoter_of(self, name: str) -> Promoter:
        """Who brings a listed hospital forward (第三条); CaseError when it is not listed."""
        found = self.find(name)
        if found is None:
            raise CaseError(f"hospitals：{name}不在名单内")
        groups = self.law.get("promotion", {})
        for level, group in groups.items():
            if found[1].name in group.get("hospitals", ()):
                return Promoter(level, tuple(group["promoted_by"]), group["clause"])
        return Promoter(self.promoter_of_others, (), section(groups, "others")["clause"])

    @property
    def promoter_of_others(self) -> str:
        """Who brings forward the hospitals that the document does not name."""
        return text_of(section(self.law.get("promotion", {}), "others"), "promoted_by")

    def admits(self, name: str, *, listed_all_done: bool | None) -> bool:
        """Whether a hospital may be taken in: a listed one, others after all of them (四第2款)."""
        if self.find(name) is not None:
            return True
        condition = section(self.law, "admission").get("not_listed_after")
        if condition != "listed_all_done" or listed_all_done is None:
            raise CaseError("listed_all_done：缺少名单内医院是否全部完成")
        return listed_all_done


@dataclass(frozen=True)
class Step:
    """A step of the flow: `needs` its direct prerequisites, `levels` who may act (empty: any)."""

    number: int
    key: str
    name: str
    actor: str
    levels: tuple[str, ...]
    needs: tuple[int, ...]
    when: str | None
    clause: str


@dataclass(frozen=True)
class Slot:
    """When a step must at the latest begin and end, both days worked and included."""

    step: Step
    working_days: int
    latest_start: dt.date
    latest_end: dt.date

    def days_late(self, *, done: dt.date | None, today: dt.date) -> int:
        """Calendar days after the latest end."""
        return late(self.latest_end, done=done, today=today)


@dataclass(frozen=True)
class Flow:
    """The steps in their order. Optional steps belong to it when the hospital applies for them."""

    steps: tuple[Step, ...]
    levels: tuple[str, ...]

    @classmethod
    def read(cls, law: Facts) -> "Flow":
        """The section `onboarding`. CaseError when it is absent or a step needs a later one."""
        rule = law.get("onboarding")
        if not isinstance(rule, Mapping) or not rule.get("steps"):
            raise CaseError("onboarding：政策文件没有规定")
        steps = tuple(_step(row) for row in rule["steps"])
        known: set[int] = set()
        for step in steps:
            if not set(step.needs) <= known or step.number in known:
                raise CaseError(f"onboarding：第{step.number}步的前置步骤不在其前")
            known.add(step.number)
        return cls(steps, tuple(rule.get("levels", ())))

    def step(self, number: int) -> Step:
        """The step of a number; CaseError when there is none."""
        for step in self.steps:
            if step.number == number:
                return step
        raise CaseError(f"step：流程没有第{number}步")

    def applying(self, *, applies_major_disease: bool) -> tuple[Step, ...]:
        """The steps that a hospital goes through."""
        return tuple(step for step in self.steps if step.when is None or applies_major_disease)

    def missing(
        self, number: int, *, done: Collection[int], applies_major_disease: bool
    ) -> list[int]:
        """Prerequisites of a step, direct and indirect, that are not done, in order.

        CaseError for a step that the hospital does not go through.
        """
        ours = {step.number for step in self.applying(applies_major_disease=applies_major_disease)}
        if self.step(number).number not in ours:
            raise CaseError(f"step：未申请门诊大病，没有第{number}步")
        return sorted(self._before(number) & ours - set(done))

    def outstanding(self, done: Collection[int], *, applies_major_disease: bool) -> list[int]:
        """The steps that a hospital has still to do, in order."""
        steps = self.applying(applies_major_disease=applies_major_disease)
        return [step.number for step in steps if step.number not in done]

    def complete(self, done: Collection[int], *, applies_major_disease: bool) -> bool:
        """Whether every step that the hospital goes through is done."""
        return not self.outstanding(done, applies_major_disease=applies_major_disease)

    def required_level(self, number: int) -> str | None:
        """The one level of bureau that may act in a step; None when several or any may."""
        levels = self.step(number).levels
        return levels[0] if len(levels) == 1 else None

    def may_act(self, number: int, level: str) -> bool:
        """Whether a bureau of a level may act in a step."""
        if level not in self.levels:
            raise CaseError(f"actor_level：{level}不是{'、'.join(self.levels)}之一")
        levels = self.step(number).levels
        return not levels or level in levels

    def schedule(
        self,
        *,
        deadline: dt.date,
        working_days: Mapping[str, int],
        calendar: Calendar,
        applies_major_disease: bool = False,
    ) -> tuple[Slot, ...]:
        """The plan counted back from a deadline (倒排工期): latest start and end of every step.

        The last step ends on the last working day up to the deadline; a step ends on the working
        day before the first step that needs it begins. Steps side by side end on the same day.
        """
        steps = self.applying(applies_major_disease=applies_major_disease)
        self._check_durations(working_days, steps)
        slots: dict[int, Slot] = {}
        for step in reversed(steps):
            after = [slot.latest_start for slot in slots.values() if step.number in slot.step.needs]
            if after:
                end = calendar.subtract_working_days(min(after), 1)
            else:
                end = calendar.previous_working_day(deadline)
            length = working_days[step.key]
            start = calendar.subtract_working_days(end, length - 1)
            slots[step.number] = Slot(step, length, start, end)
        return tuple(slots[step.number] for step in steps)

    def _before(self, number: int) -> set[int]:
        needs = set(self.step(number).needs)
        return needs.union(*(self._before(need) for need in needs))

    def _check_durations(self, working_days: Mapping[str, int], steps: tuple[Step, ...]) -> None:
        stray = working_days.keys() - {step.key for step in self.steps}
        if stray:
            raise CaseError(f"{STEP_DAYS}：流程没有步骤{'、'.join(sorted(stray))}")
        for step in steps:
            if step.key not in working_days or as_whole(working_days[step.key], step.key) < 1:
                raise CaseError(f"{STEP_DAYS}：{step.key}应为不小于1的工作日数")


def connections_missing(action: str, shown: Facts, *, law: Facts) -> list[str]:
    """Keys of the platforms that the document wants for an action and that are not shown, in order."""
    keys = _platforms(action, law)
    return [key for key in keys if not optional_flag_of(shown, key)]


def _wave(row: Facts, rule: Facts, calendar: Calendar) -> Wave:
    deadline = as_day(row.get("deadline"), "deadline")
    if rule.get("roll_over"):
        deadline = calendar.next_working_day(deadline)
    hospitals = tuple(
        Hospital(entry["name"], tuple(entry.get("aliases", ()))) for entry in row["hospitals"]
    )
    number = number_in(row, "batch")
    return Wave(number, row["name"], deadline, number_in(row, "count"), hospitals, row["clause"])


def _step(row: Facts) -> Step:
    when = row.get("when")
    if when not in (None, MAJOR_DISEASE):
        raise CaseError(f"onboarding：{when}不是已知的情形")
    return Step(
        number=number_in(row, "step"),
        key=text_of(row, "key"),
        name=text_of(row, "name"),
        actor=text_of(row, "actor"),
        levels=tuple(row.get("levels", ())),
        needs=tuple(row.get("needs", ())),
        when=when,
        clause=text_of(row, "clause"),
    )


def _plain(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).split())


def _platforms(action: str, law: Facts) -> list[str]:
    keys = [row["key"] for row in law.get("platforms", ()) if row.get("needed_for") == action]
    if not keys:
        raise CaseError(f"action：政策文件没有规定{action}的条件")
    return keys


def _wave_plan(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    waves = Waves.read(law, calendar=calendar)
    counts = [wave.count for wave in waves.batches]
    if facts.get("counts") is not None and list_of(facts, "counts") != counts:
        raise CaseError(f"counts：输入为{facts['counts']}，政策文件为{counts}")
    return {"total": waves.total, "deadlines": [iso(wave.deadline) for wave in waves.batches]}


def _wave_of_hospital(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    wave = _asked_wave(facts, Waves.read(law, calendar=calendar))
    result: dict = {"deadline": iso(wave.deadline), "on_time": None, "days_late": None}
    live = optional_day_of(facts, "go_live")
    if live is not None:
        days_late = wave.days_late(go_live=live, today=live)
        result |= {"on_time": not days_late, "days_late": days_late}
    return result


def _asked_wave(facts: Facts, waves: Waves) -> Wave:
    batch = facts.get("batch")
    wave = None if batch is None else waves.wave(as_whole(batch, "batch"))
    if facts.get("hospital") is None:
        if wave is None:
            raise CaseError("batch：缺少批次或医院")
        return wave
    own = waves.wave_of(text_of(facts, "hospital"))
    if own is None:
        raise CaseError(f"hospital：{facts['hospital']}不在名单内")
    if wave not in (None, own):
        raise CaseError(f"batch：{facts['hospital']}在{own.name}，输入为第{batch}批")
    return own


def _prerequisites(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    flow = Flow.read(law)
    done = _done(facts, flow)
    step = None if facts.get("step") is None else flow.step(as_whole(facts["step"], "step"))
    applies = _applies(facts, flow, done, step)
    complete = flow.complete(done, applies_major_disease=applies)
    if step is None:
        if "actor_level" in facts:
            raise CaseError("actor_level：缺少step")
        rest = flow.outstanding(done, applies_major_disease=applies)
        return dict.fromkeys(("allowed", "required_level")) | {
            "missing": rest, "complete": complete
        }  # fmt: skip
    ours = step in flow.applying(applies_major_disease=applies)
    missing = flow.missing(step.number, done=done, applies_major_disease=applies) if ours else []
    level = facts.get("actor_level")
    may_act = level is None or flow.may_act(step.number, text_of(facts, "actor_level"))
    return {
        "allowed": ours and not missing and may_act,
        "missing": missing,
        "required_level": flow.required_level(step.number) or (list(step.levels) or None),
        "complete": complete,
    }


def _done(facts: Facts, flow: Flow) -> set[int]:
    """The steps done; what is not shown to be done is not done."""
    given = list_of(facts, "done") if "done" in facts else []
    return {flow.step(as_whole(value, "done")).number for value in given}


def _applies(facts: Facts, flow: Flow, done: set[int], asked: Step | None) -> bool:
    """Whether the optional steps are gone through: as said, else when one of them is named."""
    said = optional_flag_of(facts, MAJOR_DISEASE)
    optional = {step.number for step in flow.steps if step.when == MAJOR_DISEASE}
    if said is False and optional & done:
        raise CaseError(f"done：{MAJOR_DISEASE}为false，不应完成门诊大病步骤")
    if said is None:
        return bool(optional & done) or (asked is not None and asked.number in optional)
    return said


def _docking(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    action = text_of(facts, "action")
    keys = _platforms(action, law)
    for key in facts:
        if key not in {*keys, "action", "region"}:
            raise Unanswerable(key, f"{action}没有这一条件")
    missing = connections_missing(action, facts, law=law)
    return {"allowed": not missing, "missing": missing}


def _promotion(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    waves = Waves.read(law, calendar=calendar)
    levels = [waves.promoter_of(name).level for name in names_of(facts, "hospitals")]
    if not levels:
        raise CaseError("hospitals：应为非空列表")
    same = len(set(levels)) == 1
    return {"promoted_by": levels[0] if same else levels, "others": waves.promoter_of_others}


def _admission(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    waves = Waves.read(law, calendar=calendar)
    name, done = text_of(facts, "hospital"), optional_flag_of(facts, "listed_all_done")
    return {"allowed": waves.admits(name, listed_all_done=done)}


SUBJECTS: Subjects = {
    "wave_plan": (_wave_plan, frozenset({"counts"})),
    "wave": (_wave_of_hospital, frozenset({"batch", "hospital", "go_live"})),
    "prerequisites": (_prerequisites, frozenset({"step", "done", "actor_level", MAJOR_DISEASE})),
    "docking": (_docking, None),
    "promotion": (_promotion, frozenset({"hospitals"})),
    "admission": (_admission, frozenset({"hospital", "listed_all_done"})),
}
