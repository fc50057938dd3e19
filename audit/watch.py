"""Whether the sealer works: an alarm when it stands still, and no month is closed until it runs again.

By the machine's clock, not by that of the acts: a demonstration stands on a fixed day.
"""

import datetime as dt
from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse

from audit import clock, sealer, tasks, trail
from audit.models import SealState, Task
from audit.text import duration

SUBJECT = "trail:seal"
CLAUSE = "GB/T 22239—2019 安全审计 d"  # 应对审计进程进行保护，防止未经授权的中断


@dataclass(frozen=True)
class Health:
    """When the sealer ran last, whether something waits for it, and whether that is too long."""

    ran_at: dt.datetime | None
    waiting: bool
    still: bool
    seconds: int

    @property
    def sentence(self) -> str:
        """What is wrong, in Chinese; empty when nothing is."""
        if not self.still:
            return ""
        return (
            f"留痕封存已停 {duration(self.seconds)}，有操作记录尚未封存；请系统管理员检查后台任务"
        )


def health(*, at: dt.datetime) -> Health:
    """How the sealer does at a moment of the machine's clock."""
    ran_at, seconds = _since(at)
    waits = sealer.waiting()
    return Health(ran_at, waits, waits and seconds > settings.SEAL_STILL_SECONDS, seconds)


def alarm(*, at: dt.datetime) -> str:
    """What is wrong, in Chinese, empty when nothing is: one look-up as long as the sealer runs."""
    return health(at=at).sentence if _since(at)[1] > settings.SEAL_STILL_SECONDS else ""


def _since(at: dt.datetime) -> tuple[dt.datetime | None, int]:
    ran_at = SealState.objects.values_list("ran_at", flat=True).get(pk=1)
    return ran_at, int((at - ran_at).total_seconds()) if ran_at else settings.SEAL_STILL_SECONDS + 1


def watch(*, by: str, at: dt.datetime, machine: dt.datetime) -> Health:
    """Open the alarm when the sealer stands still, close it when it runs; each change is an event."""
    found = health(at=machine)
    if found.still:
        if not tasks.is_open(subject=SUBJECT, permission=sealer.PERMISSION):
            trail.record(
                by=by, at=at, action="trail.still", subject=SUBJECT, outcome="failed",
                detail={"ran_at": found.ran_at, "seconds": found.seconds},
            )  # fmt: skip
        tasks.open_task(
            subject=SUBJECT, permission=sealer.PERMISSION, at=at, title=found.sentence[:200],
            url=reverse("checkpoints"), clause=CLAUSE, status="封存停止",
        )  # fmt: skip
    elif tasks.close(subject=SUBJECT, by=by, at=at):
        trail.record(by=by, at=at, action="trail.runs", subject=SUBJECT)
    return found


def altered() -> str:
    """What the alarm about altered events says, in Chinese; empty when nobody has to look into any."""
    rows = Task.objects.filter(subject=sealer.ALTERED, state=Task.State.OPEN)
    return rows.values_list("title", flat=True).first() or ""


def looked_into(*, note: str, by: str, at: dt.datetime) -> bool:
    """End the alarm about altered events with what was found; whether there was one."""
    if not tasks.close(subject=sealer.ALTERED, by=by, at=at):
        return False
    trail.record(
        by=by, at=at, action="trail.explained", subject=sealer.ALTERED, detail={"note": note}
    )
    return True


def hinders_closing(_period: object) -> list[tuple[str, str]]:
    """A settlement month is not closed over acts that are not sealed (settings.PERIOD_CLOSE_CHECKS)."""
    sentence = alarm(at=clock.machine())
    return [("TRAIL_NOT_SEALED", sentence)] if sentence else []
