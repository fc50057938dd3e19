"""Which steps of the demonstration are done: their marks in the trail."""

from audit import trail
from audit.models import Event
from config.demo import ACTOR, TODAY, moment

MARK = "demo.step"
LAST = "tasks"


def made() -> bool:
    """Whether the whole demonstration is there."""
    return marked(LAST)


def marked(name: str) -> bool:
    """Whether a step is done."""
    return Event.objects.filter(subject=f"demo:{name}", action=MARK).exists()


def mark(name: str, result: str) -> None:
    """Record that a step is done, in its transaction."""
    trail.record(
        by=ACTOR, at=moment(TODAY), action=MARK, subject=f"demo:{name}", detail={"made": result}
    )
