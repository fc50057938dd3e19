"""The engine of procedures: tables that contradict themselves, clocks with stops, who may, what is told."""

import datetime as dt
from pathlib import Path

import pytest
import yaml

from agreements.models import Application
from audit import moves, tasks
from audit import procedure as engine
from audit.models import Counter, Event, Move, Task
from audit.moves import advance, offered
from audit.procedure import Due, Handbook, ProcedureError, Refused, load
from tests.agreements.cast import Cast, moment

Day = dt.date
BASE = {
    "slug": "door", "title": "门禁", "document": "虚构〔2022〕1号", "region": "x",
    "subject": "application",
    "states": {
        "shut": {"label": "关", "holder": "applications.apply", "within": "knock"},
        "wait": {"label": "等", "holder": "applications.review", "stops": "knock", "level": "province"},
        "ajar": {"label": "虚掩", "holder": "applications.apply", "within": "knock"},
        "open": {"label": "开", "tone": "ok"},
    },
    "steps": {
        "ask": {"label": "敲门", "source": "shut", "target": "wait", "permission": "applications.apply"},
        "answer": {"label": "应门", "source": "wait", "target": "ajar", "permission": "applications.review",
                   "day": "应门日", "clause": "二", "asks": {
                       "note": {"label": "话", "kind": "long"},
                       "hand": {"label": "手", "kind": "choice", "required": False,
                                "choices": {"left": "左", "right": "右"}}}},
        "again": {"label": "再敲", "source": "ajar", "target": "wait", "permission": "applications.apply"},
        "enter": {"label": "进", "source": ["ajar", "shut"], "target": "open",
                  "permission": "applications.apply", "when": ["invited"], "checks": ["wipe_feet"],
                  "effects": ["ring"]},
        "slam": {"label": "关上", "source": "ajar", "target": "open", "permission": "", "automatic": True},
    },
}  # fmt: skip


def table(tmp_path: Path, **changes: object) -> engine.Procedure:
    path = tmp_path / "door.yaml"
    path.write_text(
        yaml.safe_dump({**BASE, **changes}, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    load.cache_clear()
    return load(path)


def without(section: str, key: str) -> dict:
    return {section: {name: row for name, row in BASE[section].items() if name != key}}


def with_step(**row: object) -> dict:
    return {"steps": BASE["steps"] | {"extra": {"label": "x", "permission": "p"} | row}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slug": "window"}, "slug应与文件名一致"),
        (with_step(source="shut", target="roof"), r"未定义的状态\['roof'\]"),
        (with_step(source="cellar", target="shut"), r"未定义的状态\['cellar'\]"),
        ({"states": BASE["states"] | {"attic": {"label": "阁楼"}}}, r"到不了的状态\['attic'\]"),
        ({"states": BASE["states"] | {"open": {"label": "开", "holder": "p"}}}, "无法离开，又不是终点"),
        (with_step(source="shut", target="open", colour="red"), "steps.extra"),
        ({"states": BASE["states"] | {"shut": {"label": "关", "weight": 1}}}, "states.shut"),
        (
            with_step(source="shut", target="open", asks={"x": {"label": "x", "kind": "poem"}}),
            "没有poem这一类输入",
        ),
        (
            with_step(source="shut", target="open", asks={"note": {"label": "x", "personal": True}}),
            "办理意见全程留痕",
        ),
    ],
    ids=["slug", "target", "source", "unreached", "stuck", "step key", "state key", "kind", "note"],
)  # fmt: skip
def test_a_table_that_contradicts_itself_names_what_and_where(tmp_path, changes, words):
    with pytest.raises(ProcedureError, match=words):
        table(tmp_path, **changes)


def test_names_that_the_handbook_does_not_know_are_found(tmp_path):
    door = table(tmp_path)
    with pytest.raises(
        ProcedureError, match=r"door.enter：没有这些名称\['wipe_feet', 'ring', 'invited'\]"
    ):
        engine.checked(Handbook(), [door])
    opening = table(tmp_path, opening={"checks": ["knock_twice"], "effects": ["lamp"]})
    with pytest.raises(
        ProcedureError, match=r"door.opening：没有这些名称\['knock_twice', 'lamp'\]"
    ):
        engine.checked(Handbook(), [opening])


def test_the_diagram_shows_every_state_step_and_end(tmp_path):
    assert engine.diagram(table(tmp_path)).splitlines() == [
        "stateDiagram-v2", "    [*] --> shut", "    shut : 关", "    wait : 等", "    ajar : 虚掩",
        "    open : 开", "    shut --> wait : 敲门", "    wait --> ajar : 应门",
        "    ajar --> wait : 再敲", "    ajar --> open : 进", "    shut --> open : 进",
        "    ajar --> open : 关上（自动）", "    open --> [*]",
    ]  # fmt: skip


class Door:
    """A case of the invented table, with a handbook that remembers what it was asked."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        self.table = table(tmp_path)
        monkeypatch.setitem(engine.PROCEDURES, "door", self.table)
        self.cast = Cast(years=(), law=False)
        self.asked: list[tuple] = []
        self.rung: list[str] = []
        self.news: list[tuple] = []
        self.invited = True
        self.book = Handbook(
            guards={"invited": lambda case: self.invited},
            checks={"wipe_feet": self._wipe},
            effects={"ring": lambda turn: self.rung.append(turn.by)},
            due=self._due, describe=lambda case: f"门{case.number}",
            place=lambda case: f"/door/{case.pk}/",
            told=lambda turn, state: self.news.append((turn.step.key, state.key)),
        )  # fmt: skip
        self.case = Application.objects.create(
            number="1", institution=self.cast.hospital, procedure="door", state="shut",
            entered_on=Day(2022, 5, 2), region_code="330302",
            institution_code=self.cast.hospital.pk, opened_at=moment(Day(2022, 5, 2)),
            opened_by="甲",
        )  # fmt: skip
        moves.opened(
            case=self.case, procedure=self.table, handbook=self.book, by="甲",
            at=moment(Day(2022, 5, 2)), on=Day(2022, 5, 2),
        )  # fmt: skip

    def _wipe(self, turn: engine.Turn) -> None:
        if turn.note == "muddy":
            raise Refused(422, "MUD", "请擦脚", field="note")

    def _due(self, case, state, start, pauses) -> Due:
        self.asked.append((state.key, start, list(pauses)))
        return Due(None if pauses and pauses[-1][1] is None else start + dt.timedelta(days=10))

    def go(self, step: str, role: str, day: dt.date, **more):
        given = {"who": self.cast.people[role], "by": f"{role}甲", "at": moment(day), "note": "好"}
        return advance(
            case=self.case, procedure=self.table, handbook=self.book, step=step, **(given | more)
        )


@pytest.fixture
def door(db, tmp_path, monkeypatch) -> Door:
    return Door(tmp_path, monkeypatch)


def refused(act, *args, **kwargs) -> tuple:
    with pytest.raises(Refused) as caught:
        act(*args, **kwargs)
    return caught.value.status, caught.value.code, caught.value.field


def test_a_clock_begins_once_and_knows_when_it_stood_still(door):
    """The start is that of the unbroken row of states with this clock; stops are counted apart."""
    door.go("ask", "hospital", Day(2022, 5, 4))
    assert (door.case.stopped, door.case.due) == (True, None)
    door.go("answer", "reviewer", Day(2022, 5, 6))
    door.go("again", "hospital", Day(2022, 5, 7))
    door.go("answer", "reviewer", Day(2022, 5, 9))
    start = Day(2022, 5, 2)
    one = (Day(2022, 5, 4), Day(2022, 5, 6))
    assert door.asked == [
        ("shut", start, []),
        ("wait", start, [(Day(2022, 5, 4), None)]),
        ("ajar", start, [one]),
        ("wait", start, [one, (Day(2022, 5, 7), None)]),
        ("ajar", start, [one, (Day(2022, 5, 7), Day(2022, 5, 9))]),
    ]
    assert (door.case.stopped, door.case.due) == (False, Day(2022, 5, 12))


def test_one_task_follows_the_case_to_its_holder_and_level(door):
    rows = Task.objects.filter(subject=door.case.subject)
    first = rows.get()
    assert (first.permission, first.title, first.url, first.due) == (
        "applications.apply", "门1：关", f"/door/{door.case.pk}/", Day(2022, 5, 12),
    )  # fmt: skip
    door.go("ask", "hospital", Day(2022, 5, 4))
    now = rows.get(state=Task.State.OPEN)
    assert (now.permission, now.region_code, now.stopped) == ("applications.review", "330000", True)
    first.refresh_from_db()
    assert (first.state, first.closed_by) == (Task.State.DONE, "hospital甲")
    door.go("answer", "reviewer", Day(2022, 5, 6))
    door.go("enter", "hospital", Day(2022, 5, 6))
    assert not rows.filter(state=Task.State.OPEN).exists()
    assert door.case.closed_at == moment(Day(2022, 5, 6))


def test_moves_and_events_keep_who_when_why_and_whether_in_time(door):
    door.go("ask", "hospital", Day(2022, 5, 12))
    door.go("answer", "reviewer", Day(2022, 5, 16), on=Day(2022, 5, 13), facts={"hand": "left"})
    moves = Move.objects.filter(subject=door.case.subject)
    assert list(moves.values_list("step", "source", "target", "on", "by", "due", "on_time")) == [
        ("open", "", "shut", Day(2022, 5, 2), "甲", None, None),
        ("ask", "shut", "wait", Day(2022, 5, 12), "hospital甲", Day(2022, 5, 12), True),
        ("answer", "wait", "ajar", Day(2022, 5, 13), "reviewer甲", None, None),
    ]
    last = moves.last()
    assert (last.clause, last.note, last.facts) == ("虚构〔2022〕1号 二", "好", {"hand": "left"})
    assert last.at == moment(Day(2022, 5, 16))
    actions = Event.objects.filter(subject=door.case.subject).order_by("at")
    assert [event.action for event in actions] == [
        "application.open", "application.ask", "application.answer",
    ]  # fmt: skip
    assert door.news == [("ask", "wait"), ("answer", "ajar")]


def test_may_comes_before_can(door):
    """Whoever may not take a step learns nothing of the state."""
    day = Day(2022, 5, 4)
    assert refused(door.go, "answer", "hospital", day)[:2] == (403, "STEP_NOT_PERMITTED")
    assert refused(door.go, "answer", "reviewer", day)[:2] == (409, "STEP_NOT_POSSIBLE")
    assert refused(door.go, "slam", "hospital", day)[:2] == (403, "STEP_NOT_PERMITTED")
    assert refused(door.go, "enter", "hospital", day, who=None)[:2] == (403, "STEP_NEEDS_PERSON")
    assert refused(door.go, "dance", "hospital", day)[:2] == (404, "STEP_UNKNOWN")


def test_guards_hide_a_step_and_checks_undo_it(door):
    who, day = door.cast.people["hospital"], Day(2022, 5, 4)
    given = {"case": door.case, "procedure": door.table, "handbook": door.book, "who": who}
    assert [step.key for step in offered(**given)] == ["ask", "enter"]
    door.invited = False
    assert [step.key for step in offered(**given)] == ["ask"]
    assert refused(door.go, "enter", "hospital", day)[:2] == (409, "STEP_NOT_POSSIBLE")
    door.invited = True
    assert refused(door.go, "enter", "hospital", day, note="muddy") == (422, "MUD", "note")
    assert (door.case.state, door.rung, Move.objects.count()) == ("shut", [], 1)
    door.go("enter", "hospital", day)
    assert (door.case.state, door.rung) == ("open", ["hospital甲"])


def test_inputs_are_complete_and_offered(door):
    door.go("ask", "hospital", Day(2022, 5, 4))
    answer = (door.go, "answer", "reviewer", Day(2022, 5, 5))
    assert refused(*answer, note="  ") == (422, "INPUT_MISSING", "note")
    assert refused(*answer, facts={"hand": "foot"}) == (422, "INPUT_UNKNOWN", "hand")


def test_days_are_neither_invented_nor_foretold(door):
    door.go("ask", "hospital", Day(2022, 5, 4))
    answer = (door.go, "answer", "reviewer", Day(2022, 5, 6))
    assert refused(*answer, on=Day(2022, 5, 7)) == (422, "DAY_IN_FUTURE", "on")
    assert refused(*answer, on=Day(2022, 5, 3)) == (422, "DAY_TOO_EARLY", "on")
    again = (door.go, "enter", "hospital", Day(2022, 5, 9))
    door.go(*answer[1:], on=Day(2022, 5, 5))
    assert refused(*again, on=Day(2022, 5, 6)) == (422, "DAY_NOT_YOURS", "on")


def test_who_acts_on_what_is_no_longer_there_is_told_who_was_first(door):
    door.go("ask", "hospital", Day(2022, 5, 4), version=1)
    with pytest.raises(Refused, match="hospital甲已于05月04日09:00办理“敲门”") as caught:
        door.go("enter", "hospital", Day(2022, 5, 4), version=1)
    assert (caught.value.status, caught.value.code) == (409, "CASE_MOVED")


def test_an_automatic_step_is_the_portals(door):
    door.go("ask", "hospital", Day(2022, 5, 4))
    door.go("answer", "reviewer", Day(2022, 5, 5))
    door.go("slam", "hospital", Day(2022, 5, 6), who=None, by="系统")
    assert (door.case.state, Move.objects.last().by) == ("open", "系统")


def test_a_clock_that_changed_reaches_the_task(door):
    act = {"case": door.case, "procedure": door.table, "at": moment(Day(2022, 5, 3))}
    assert moves.refresh(**act, handbook=door.book) is False
    other = Handbook(due=lambda *args: Due(Day(2022, 6, 1), clause="三"), describe=str)
    assert moves.refresh(**act, handbook=other) is True
    task = Task.objects.get(subject=door.case.subject, state=Task.State.OPEN)
    assert (task.due, task.clause) == (Day(2022, 6, 1), "虚构〔2022〕1号 三")


def test_levels_are_found_above_an_area():
    codes = [engine.at_level("640122", level) for level in ("", "county", "prefecture", "province")]
    assert codes == ["640122", "640122", "640100", "640000"]


def test_numbers_of_a_series_have_no_gaps(db):
    assert [tasks.next_number("甲"), tasks.next_number("甲"), tasks.next_number("乙")] == [1, 2, 1]
    assert Counter.objects.get(pk="甲").last == 2
