"""The clock of views and tasks; nothing below them reads one. A demonstration has a fixed day."""

import datetime as dt
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

ZONE = ZoneInfo("Asia/Shanghai")


def today() -> dt.date:
    """The day on which pages stand: the demonstration's fixed day, else today in Shanghai."""
    return settings.DEMO_TODAY or timezone.localdate()


def now() -> dt.datetime:
    """The moment of an act: the present, moved to the fixed day in a demonstration."""
    moment = timezone.localtime(timezone=ZONE)
    if settings.DEMO_TODAY:
        return dt.datetime.combine(settings.DEMO_TODAY, moment.timetz())
    return moment


def local(moment: dt.datetime) -> dt.datetime:
    """A moment as the clocks in Shanghai show it."""
    return moment.astimezone(ZONE)


def machine() -> dt.datetime:
    """The machine's own time, also in a demonstration: for what asks whether a process still works."""
    return timezone.now()
