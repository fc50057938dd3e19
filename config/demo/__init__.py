"""Honest demonstration data: invented hospitals and persons, real rules, a fixed today.

Nothing here is a real fact. Institutions carry 示例 in their names (Ningxia's 38 are named by the
notice; all that is said of them besides is invented), persons have numbers that nobody can have,
amounts settle by example parameters.
This module needs no Django, so that the supervisor can read TODAY.
"""

import datetime as dt
from zoneinfo import ZoneInfo

#: The day on which every page of the demonstration stands: all four documents are in force.
TODAY = dt.date(2021, 12, 20)
#: Claims were made from this day to TODAY.
FIRST_DAY = dt.date(2020, 12, 21)
SEED = 20211220
CLAIMS = 20_000
#: Unsettled claims in the batch that a visitor resumes.
PAUSED_CLAIMS = 10_000
#: One password for all demonstration log-ins; it is no secret.
LOGIN_KEY = "Shili-Yanshi-2021"
#: Secret of all demonstration API clients; it is no secret either.
CLIENT_KEY = "shili-yanshi-api-secret-2021"
ACTOR = "演示数据"
ZONE = ZoneInfo("Asia/Shanghai")


def moment(day: dt.date, hour: int = 9, minute: int = 0) -> dt.datetime:
    """A time of a day in Shanghai."""
    return dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE)
