"""Named places where a test makes a process die, fail, wait or stand still. Nothing in production.

    FAILPOINT=name:nth:action   at the nth passing of `name` in a process: kill (this process), crash
                                (its parent too, a whole worker), raise, sleep (FAILPOINT_SECONDS),
                                stop (SIGSTOP)
    FAILPOINT_SPENT=path        a file made by the first that strikes: none strikes after it

Where the setting FAIL_POINTS is off `failpoint` is a function that does nothing, bound at import;
production refuses the setting (config.settings).
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

POINTS = (
    "check.begun", "check.stored",
    "load.begun", "load.read", "load.claims", "load.lines", "load.frozen", "load.stored",
    "lease.counted", "lease.taken", "chunk.begun", "chunk.read", "chunk.locked", "chunk.settled",
    "chunk.copying", "chunk.copied.settlement", "chunk.copied.lineresult", "chunk.copied.leg", "chunk.years",
    "chunk.event", "chunk.done", "close.summed", "close.saved", "chunk.committed", "split.made",
    "sweep.begun", "sweep.rung", "undo.begun", "undo.reversed",
    "receive.keyed", "receive.locked", "receive.settled", "receive.stored",
)  # fmt: skip
ACTIONS = ("kill", "crash", "raise", "sleep", "stop")


class FailPointError(Exception):
    """Raised by a fail point whose action is `raise`."""


@dataclass
class Plan:
    """What strikes where; passings are counted per process."""

    name: str
    nth: int
    action: str
    spent: Path | None = None
    seconds: float = 5.0
    passed: Counter = field(default_factory=Counter)

    @classmethod
    def of(cls, text: str, *, spent: str = "", seconds: str = "5") -> "Plan":
        name, nth, action, *_ = [*text.split(":"), "1", "kill"]
        if name not in POINTS or action not in ACTIONS or not nth.isdigit():
            raise ImproperlyConfigured(f"FAILPOINT={text!r} names no fail point or action.")
        return cls(name, int(nth), action, Path(spent) if spent else None, float(seconds))

    def strikes(self, name: str) -> bool:
        """Whether this passing is the one; the file of the first is made by exactly one process."""
        self.passed[name] += 1
        if name != self.name or self.passed[name] != self.nth:
            return False
        if self.spent is not None:
            try:
                self.spent.touch(exist_ok=False)
            except FileExistsError:
                return False
        return True


def strike(plan: Plan) -> None:
    """Do to this process what the plan says."""
    if plan.action == "raise":
        raise FailPointError(plan.name)
    if plan.action == "sleep":
        time.sleep(plan.seconds)
        return
    if plan.action == "crash":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGSTOP if plan.action == "stop" else signal.SIGKILL)


PLANS: list[Plan] = []


def _armed(name: str) -> None:
    if name not in POINTS:
        raise LookupError(f"no fail point is named {name}")
    for plan in PLANS:
        if plan.strikes(name):
            strike(plan)


def _nothing(name: str) -> None:
    """What a fail point costs outside tests: one call."""


@contextmanager
def planned(text: str) -> Iterator[Plan]:
    """A plan for this process while a block runs (tests)."""
    plan = Plan.of(text)
    PLANS.append(plan)
    try:
        yield plan
    finally:
        PLANS.remove(plan)


def arm() -> None:
    """The plan that the environment names, if it names one."""
    if text := os.environ.get("FAILPOINT", ""):
        PLANS.append(
            Plan.of(
                text,
                spent=os.environ.get("FAILPOINT_SPENT", ""),
                seconds=os.environ.get("FAILPOINT_SECONDS", "5"),
            )
        )


def bound() -> Callable[[str], None]:
    """The function for this process, by the settings and the environment."""
    if not settings.FAIL_POINTS:
        return _nothing
    arm()
    return _armed


failpoint = bound()
