"""Settlement periods: which month a posting falls into, and the lock that it shares.

A posting at a moment goes to that moment's month in Asia/Shanghai, or to the first open month after
it when that one is closing or closed. The month stays share-locked until the transaction ends, so a
close waits for the postings under way and no posting slips in behind it.
"""

import datetime as dt
from typing import Any

from django.db import connection

from settlement.contract import LOCAL


def month_of(at: dt.datetime) -> dt.date:
    """The calendar month of a moment in Asia/Shanghai: its first day."""
    return at.astimezone(LOCAL).date().replace(day=1)


def posting_month(region_code: str, at: dt.datetime, *, cursor: Any = None) -> dt.date:
    """The open month that a row of the region made at `at` is posted to; share-locked, partitioned.

    To be the first statement of a transaction: making a partition waits for all readers of claims.
    """
    if cursor is None:
        with connection.cursor() as own:
            return posting_month(region_code, at, cursor=own)
    cursor.execute("SELECT settlement_posting_month(%s, %s)", [region_code, month_of(at)])
    return cursor.fetchone()[0]
