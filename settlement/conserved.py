"""Is money conserved? Every night the whole ledger is added up; what differs is a task and an event.

Legs against each other, against what the funds pay, and person-years against the settlements that made
them: the ledger is the truth, an accumulator only what was remembered of it.
"""

import datetime as dt

from django.urls import reverse

from audit import tasks, trail
from settlement import ledger

SUBJECT = "ledger:balance"
PERMISSION = "trail.view"


def watch(*, by: str, at: dt.datetime) -> str:
    """Open the alarm when anything differs, close it when nothing does; the sentence, empty: nothing.

    Run where every row is visible (scope `*`).
    """
    found = ledger.balance()
    if sentence := found.sentence:
        if not tasks.is_open(subject=SUBJECT, permission=PERMISSION):
            trail.record(by=by, at=at, action="ledger.differs", subject=SUBJECT, outcome="failed",
                         detail=found.counts)  # fmt: skip
        tasks.open_task(
            subject=SUBJECT, permission=PERMISSION, at=at, title=sentence[:200],
            url=reverse("periods"), status="账目不符",
        )  # fmt: skip
    elif tasks.close(subject=SUBJECT, by=by, at=at):
        trail.record(by=by, at=at, action="ledger.agrees", subject=SUBJECT)
    return sentence
