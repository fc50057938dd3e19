"""Two people act on one application at the same moment: one wins, the other is told who did."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from agreements import commands
from agreements.models import Application
from audit.models import Event, Move, Task
from audit.procedure import Refused
from tests.agreements.cast import Cast, moment
from tests.settlement.hospital import forget_databases

Day = dt.date
DAY = Day(2021, 3, 9)
THREADS = 4


@pytest.fixture
def cast(committed_db: str) -> Iterator[Cast]:
    forget_databases()
    yield Cast()
    forget_databases()


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Run acts in threads started together; what is refused is the answer of its thread."""
    gate = Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        try:
            gate.wait()
            return act()
        except Refused as refused:
            return refused
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def step(case: Application, key: str, cast: Cast, role: str, name: str, version: int) -> Callable:
    def act() -> object:
        return commands.take_step(
            application=Application.objects.get(pk=case.pk), step=key, who=cast.people[role],
            by=name, at=moment(DAY), note="说明", version=version,
        )  # fmt: skip

    return act


def test_two_reviewers_decide_at_once(cast: Cast) -> None:
    case = cast.reviewing(Day(2021, 3, 8))
    cast.judge(case, DAY)
    seen = Application.objects.get(pk=case.pk).version
    answers = at_once(
        step(case, "pass_review", cast, "reviewer", "审核甲", seen),
        step(case, "return_for_completion", cast, "reviewer", "审核乙", seen),
    )
    [lost] = [answer for answer in answers if isinstance(answer, Refused)]
    [won] = [answer for answer in answers if isinstance(answer, Move)]
    assert (lost.status, lost.code) == (409, "CASE_MOVED")
    assert f"{won.by}已于03月09日09:00办理“{won.label}”" in lost.detail
    assert "您的操作没有保存" in lost.detail
    case.refresh_from_db()
    assert (case.state, case.version) == (won.target, seen + 1)
    assert Task.objects.filter(subject=case.subject, state=Task.State.OPEN).count() == 1
    assert Event.objects.filter(action="application.pass_review").count() + (
        Event.objects.filter(action="application.return_for_completion").count()
    ) == 1  # fmt: skip


def test_the_same_step_many_times_at_once_is_taken_once(cast: Cast) -> None:
    case = cast.reviewing(Day(2021, 3, 8))
    cast.judge(case, DAY)
    seen = Application.objects.get(pk=case.pk).version
    answers = at_once(
        *(step(case, "pass_review", cast, "reviewer", f"审核{n}", seen) for n in range(THREADS))
    )
    kinds = Counter(type(answer).__name__ for answer in answers)
    assert kinds == {"Move": 1, "Refused": THREADS - 1}
    assert Move.objects.filter(subject=case.subject, step="pass_review").count() == 1


def test_the_hospital_withdraws_while_it_is_reviewed(cast: Cast) -> None:
    """Without a version too the second finds another state: nothing happens twice."""
    case = cast.reviewing(Day(2021, 3, 8))
    cast.judge(case, DAY)
    seen = Application.objects.get(pk=case.pk).version
    answers = at_once(
        step(case, "withdraw", cast, "hospital", "医院甲", seen),
        step(case, "pass_review", cast, "reviewer", "审核甲", seen),
    )
    assert sorted(getattr(answer, "code", "won") for answer in answers) == ["CASE_MOVED", "won"]


def test_a_hospital_applies_twice_at_once(cast: Cast) -> None:
    """One application, one number, no gap in the numbers."""
    who = cast.people["hospital"]

    def act() -> object:
        return commands.apply(
            institution=cast.hospital, procedure="wenzhou", who=who, by=who.username, at=moment(DAY)
        )

    answers = at_once(*[act] * THREADS)
    codes = Counter(getattr(answer, "code", "applied") for answer in answers)
    assert codes == {"applied": 1, "ALREADY_APPLIED": THREADS - 1}
    assert Application.objects.get().number == "WZ-申-2021-0001"


def test_the_portal_lapses_while_the_hospital_asks(cast: Cast) -> None:
    """After the last day only the lapse is possible, whoever comes first."""
    case = cast.rebuilding(Day(2021, 3, 8), Day(2021, 3, 15))
    late = moment(Day(2021, 6, 16))

    def ask() -> object:
        return commands.take_step(
            application=Application.objects.get(pk=case.pk), step="request_test",
            who=cast.people["hospital"], by="医院甲", at=late, note="完成",
        )  # fmt: skip

    answers = at_once(ask, lambda: commands.lapse_overdue(by="beat", at=late))
    assert [answer for answer in answers if not isinstance(answer, Refused)] == [1]
    case.refresh_from_db()
    assert case.state == "lapsed"
