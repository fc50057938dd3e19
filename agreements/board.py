"""The board of batches (批次看板): hospitals × steps with plan, actual day and days late.

One reading gives the page, the file and the paper. Totals are of what the reader may see; how many
hospitals the notice lists stands beside them. (宁医保发〔2021〕152号 附件1、附件2、四第1款)
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agreements import clocks
from agreements.facts import CaseError
from agreements.gantt import Line, Span
from agreements.models import WavePlace
from agreements.onboarding import Flow, Step, Wave, Waves, late
from agreements.waves import DOCKING, LISTING, Progress, progress_of
from institutions.holidays import load_calendar
from institutions.models import PlatformConnection, Region, User

#: what the filter asks for → what a row must be
STATES = (("", "全部"), ("done", "已上线"), ("running", "办理中"), ("waiting", "尚未申请"))
LATENESS = (("", "全部"), ("deadline", "超过批次时限"), ("plan", "落后于计划"), ("none", "未逾期"))


@dataclass(frozen=True)
class Mark:
    """One step of one hospital: planned, done, how late."""

    step: Step
    start: dt.date | None
    end: dt.date | None
    done: dt.date | None
    began: dt.date | None
    days_late: int
    applies: bool = True

    @property
    def state(self) -> str:
        """done · late (not done and past its end) · running · waiting · none (does not apply)."""
        if not self.applies:
            return "none"
        if self.done:
            return "done"
        if self.days_late:
            return "late"
        return "running" if self.began else "waiting"


@dataclass(frozen=True)
class Entry:
    """One hospital on the board."""

    place: WavePlace
    wave: Wave | None
    progress: Progress
    marks: tuple[Mark, ...]
    live_on: dt.date | None
    days_late: int
    promoter: str
    promoter_clause: str
    lacking: tuple[str, ...] = ()  #: in words: platforms that are the condition of being listed

    @property
    def state(self) -> str:
        if self.live_on:
            return "done"
        return "running" if self.progress.application else "waiting"

    @property
    def behind(self) -> int:
        """Days by which the step that is furthest behind its plan is late, of those not done."""
        return max((mark.days_late for mark in self.marks if not mark.done), default=0)

    @property
    def lateness(self) -> str:
        if self.days_late:
            return "deadline"
        return "plan" if self.behind else "none"


@dataclass(frozen=True)
class Batch:
    """A batch with the reader's hospitals of it; `wave` None: those that the notice does not list."""

    wave: Wave | None
    entries: tuple[Entry, ...]
    listed: int

    @property
    def done(self) -> int:
        return sum(entry.state == "done" for entry in self.entries)

    @property
    def name(self) -> str:
        return self.wave.name if self.wave else "名单外"

    @property
    def deadline(self) -> dt.date | None:
        return self.wave.deadline if self.wave else None


class Board:
    """The hospitals of a policy with batches, as one reader sees them on a day."""

    def __init__(self, user: User, *, today: dt.date):
        self.user, self.today = user, today
        region = user.region or (user.institution.region if user.institution else None)
        self.region: Region | None = region

    @cached_property
    def law(self) -> Mapping[str, Any]:
        return clocks.law_of(self.region, self.today) if self.region else {}

    @cached_property
    def waves(self) -> Waves | None:
        """The batches of the policy in force; None where there are none."""
        if self.region is None:
            return None
        try:
            return Waves.read(self.law, calendar=load_calendar(self.region.pk))
        except CaseError:
            return None

    @cached_property
    def flow(self) -> Flow:
        return Flow.read(self.law)

    @cached_property
    def whole(self) -> bool:
        """Whether the reader sees the whole area of the policy."""
        return self.user.level == Region.Level.PROVINCE

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every hospital that the reader may see, by batch and in the order of the list."""
        waves = self.waves
        if waves is None or self.region is None:
            return ()
        places = list(
            WavePlace.objects.visible_to(self.user)
            .filter(policy_region=self.region.policy_region)
            .select_related("institution__region")
        )
        reached = progress_of(place.institution_id for place in places)
        order = {name: number for number, name in enumerate(listed_names(waves))}
        places.sort(key=lambda row: (order.get(row.listed_name, len(order)), row.listed_name))
        held = self._checked(place.institution_id for place in places)
        return tuple(
            self._entry(
                place, reached[place.institution_id], waves, held.get(place.institution_id, {})
            )
            for place in places
        )

    def entry(self, pk: int) -> Entry | None:
        """One hospital's entry."""
        return next((entry for entry in self.entries if entry.place.pk == pk), None)

    def batches(self, entries: Iterable[Entry] | None = None) -> list[Batch]:
        """The batches with the given entries; empty ones only for who sees the whole area."""
        if self.waves is None:
            return []
        rows = list(self.entries if entries is None else entries)
        everything = entries is None and self.whole
        found = [
            Batch(wave, ours, wave.count)
            for wave in self.waves.batches
            if (ours := tuple(row for row in rows if row.place.batch == wave.number)) or everything
        ]
        others = tuple(row for row in rows if row.place.batch is None)
        return [*found, Batch(None, others, 0)] if others else found

    def missing(self) -> list[str]:
        """Listed names without a registered institution (名单内未登记), for whoever sees them all."""
        if self.waves is None or not self.whole:
            return []
        held = {entry.place.listed_name for entry in self.entries}
        return [name for name in listed_names(self.waves) if name not in held]

    def _checked(self, codes: Iterable[str]) -> dict[str, dict[str, bool]]:
        """Institution → platform joined today → whether the agency checked it."""
        rows = PlatformConnection.objects.known().in_force(on=self.today)
        found: dict[str, dict[str, bool]] = {}
        for row in rows.filter(institution__in=list(codes)):
            found.setdefault(row.institution_id, {})[row.platform] = row.checked_at is not None
        return found

    def _lacking(self, held: Mapping[str, bool]) -> tuple[str, ...]:
        """What a hospital lacks of the condition of being listed, in words. (二)"""
        return tuple(
            f"{'未核验' if row['key'] in held else '未接入'}{row['name']}"
            for row in self.law.get("platforms", ())
            if row.get("needed_for") == LISTING and not held.get(row["key"])
        )

    def _entry(
        self, place: WavePlace, progress: Progress, waves: Waves, held: Mapping[str, bool]
    ) -> Entry:
        wave = next((row for row in waves.batches if row.number == place.batch), None)
        live = progress.live_on(self.flow)
        promoter, clause = promoted_by(place, waves)
        return Entry(
            place=place, wave=wave, progress=progress, marks=self._marks(place, progress),
            live_on=live, promoter=promoter, promoter_clause=clause, lacking=self._lacking(held),
            days_late=wave.days_late(go_live=live, today=self.today) if wave else 0,
        )  # fmt: skip

    def _marks(self, place: WavePlace, progress: Progress) -> tuple[Mark, ...]:
        flow = self.flow
        optional = {step.number for step in flow.steps if step.when}
        numbers = {step.number for step in flow.steps if step.key in place.plan}
        applies = bool(optional & (set(progress.days) | numbers))
        ours = flow.applying(applies_major_disease=applies)
        return tuple(self._mark(place, progress, step, applies=step in ours) for step in flow.steps)

    def _mark(self, place: WavePlace, progress: Progress, step: Step, *, applies: bool) -> Mark:
        span = place.plan.get(step.key)
        start, end = (_day(span["start"]), _day(span["end"])) if span else (None, None)
        done = progress.days.get(step.number)
        return Mark(
            step=step, start=start, end=end, done=done, applies=applies,
            began=progress.began(step.number, self.flow) if applies else None,
            days_late=late(end, done=done, today=self.today) if end and applies else 0,
        )  # fmt: skip

    def platforms(self, entry: Entry) -> list[dict[str, Any]]:
        """What the notice wants before docking, and whether the hospital shows it today."""
        rows = PlatformConnection.objects.known().in_force(on=self.today)
        held = {row.platform: row for row in rows.filter(institution=entry.place.institution_id)}
        return [
            {"name": row["name"], "clause": row["clause"],
             "since": held[row["key"]].valid_from if row["key"] in held else None,
             "checked": row["key"] in held and held[row["key"]].checked_at is not None,
             "docking": row.get("needed_for") == DOCKING}
            for row in self.law.get("platforms", ())
        ]  # fmt: skip


def listed_names(waves: Waves) -> list[str]:
    """The names of the list in its order."""
    return [hospital.name for wave in waves.batches for hospital in wave.hospitals]


def promoted_by(place: WavePlace, waves: Waves) -> tuple[str, str]:
    """Who brings a hospital forward, in words, and the clause. (三)"""
    if waves.find(place.listed_name) is None:
        return "属地医保、卫健部门", waves.law["promotion"]["others"]["clause"]
    found = waves.promoter_of(place.listed_name)
    return "、".join(found.bureaus) if found.bureaus else "属地医保、卫健部门", found.clause


def narrow(
    entries: Iterable[Entry], *, batch: str = "", region: str = "", state: str = "",
    lateness: str = "", words: str = "",
) -> list[Entry]:  # fmt: skip
    """The entries that fit a filter; an empty value means any."""
    return [
        entry
        for entry in entries
        if batch in ("", str(entry.place.batch or "other"))
        and entry.place.institution.region_id.startswith(region)
        and state in ("", entry.state)
        and lateness in ("", entry.lateness)
        and (words in entry.place.institution.name or words in entry.place.listed_name)
    ]


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


# --- Words, lines of the picture, rows of files ---


def lines_of(batches: Iterable[Batch], today: dt.date, place: Any) -> list[Line]:
    """A line per hospital for the picture; `place(entry)` is its address."""
    return [
        Line(
            label=entry.place.institution.name, url=place(entry), group=batch.name,
            note=said(entry), planned=_planned(entry.marks),
            done=_worked(entry.marks, entry.progress, today), deadline=entry.place.deadline,
            late=bool(entry.days_late or entry.behind),
        )
        for batch in batches
        for entry in batch.entries
    ]  # fmt: skip


def step_lines(entry: Entry, today: dt.date) -> list[Line]:
    """A line per step of one hospital."""
    return [
        Line(
            label=f"{mark.step.number} {mark.step.name}", note=words_of(mark),
            planned=_planned([mark]), done=_worked([mark], entry.progress, today),
            deadline=entry.place.deadline, late=bool(mark.days_late),
        )
        for mark in entry.marks
        if mark.applies
    ]  # fmt: skip


def _planned(marks: Iterable[Mark]) -> list[Span]:
    return [
        Span(mark.start, mark.end, f"{mark.step.name}计划{mark.start}至{mark.end}",
             "f" if mark.step.number % 2 else "scope")
        for mark in marks
        if mark.applies and mark.start and mark.end
    ]  # fmt: skip


def _worked(marks: Iterable[Mark], progress: Progress, today: dt.date) -> list[Span]:
    """From when a step could be worked on to when it was done, or to today."""
    spans = []
    for mark in marks:
        if mark.done:
            begin = min(mark.began or mark.done, mark.done)
            tone = "d" if mark.days_late else "a"
            spans.append(Span(begin, mark.done, f"{mark.step.name}{mark.done}完成", tone))
        elif mark.began and mark.began <= today and not mark.step.when:
            tone = "d" if mark.days_late else "b"
            spans.append(Span(mark.began, today, f"{mark.step.name}办理中", tone))
    return spans


def words_of(mark: Mark) -> str:
    """A step's standing in words."""
    if not mark.applies:
        return "未申请"
    if mark.done:
        tail = f"，晚{mark.days_late}天" if mark.days_late else ""
        return f"{mark.done}完成{tail}"
    if mark.days_late:
        return f"逾期{mark.days_late}天"
    return "办理中" if mark.began else "未开始"


def said(entry: Entry) -> str:
    """A hospital's standing in words."""
    if entry.live_on:
        tail = f"，超时限{entry.days_late}天" if entry.days_late else ""
        return f"{entry.live_on}上线{tail}"
    if entry.days_late:
        return f"{entry.progress.label}，超时限{entry.days_late}天"
    if entry.behind:
        return f"{entry.progress.label}，落后计划{entry.behind}天"
    return entry.progress.label


def head_of(flow: Flow) -> list[str]:
    """The columns of the file."""
    head = ["批次", "医院", "名单名称", "机构编码", "所在地", "推进单位", "时限", "状态", "上线日",
            "超时限天数", "落后计划天数", "列入条件"]  # fmt: skip
    for step in flow.steps:
        head += [f"{step.number}{step.name}·{word}" for word in ("计划开始", "计划完成", "完成日")]
    return head


def rows_of(batches: Sequence[Batch]) -> list[list[str]]:
    """The rows of the file, all text."""
    return [_row(batch, entry) for batch in batches for entry in batch.entries]


def _row(batch: Batch, entry: Entry) -> list[str]:
    place = entry.place
    row = [
        batch.name, place.institution.name, place.listed_name, place.institution_id,
        place.institution.region.name, entry.promoter, _text(place.deadline), said(entry),
        _text(entry.live_on), str(entry.days_late), str(entry.behind), "；".join(entry.lacking),
    ]  # fmt: skip
    for mark in entry.marks:
        row += [_text(mark.start), _text(mark.end), _text(mark.done)]
    return row


def data_of(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """The board as data (JSON)."""
    return [
        {
            "batch": batch.wave.number if batch.wave else None, "name": batch.name,
            "deadline": _text(batch.deadline), "listed": batch.listed, "done": batch.done,
            "hospitals": [_data(entry) for entry in batch.entries],
        }
        for batch in batches
    ]  # fmt: skip


def _data(entry: Entry) -> dict[str, Any]:
    place = entry.place
    return {
        "code": place.institution_id, "name": place.institution.name,
        "listed_name": place.listed_name, "region": place.institution.region_id,
        "promoted_by": entry.promoter, "state": entry.state, "live_on": _text(entry.live_on),
        "days_late": entry.days_late, "days_behind_plan": entry.behind,
        "plan_is_example": place.plan_example, "lacking": list(entry.lacking),
        "steps": [
            {"step": mark.step.number, "key": mark.step.key, "planned_start": _text(mark.start),
             "planned_end": _text(mark.end), "done": _text(mark.done), "state": mark.state,
             "days_late": mark.days_late}
            for mark in entry.marks
        ],
    }  # fmt: skip


def _text(day: dt.date | None) -> str:
    return day.isoformat() if day else ""
