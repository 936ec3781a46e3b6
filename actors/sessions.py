"""The exchange's clock: which day it is in New York, and whether its regular session is on. Pure.

The regular session is that of US equities: 9:30 to 16:00 on weekdays. Holidays, and the days on which the
exchange closes early, are what an operator lists: no calendar of them is built in that could be out of date.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

__all__ = ["CLOSES", "OPENS", "day_in_new_york", "in_regular_hours", "new_york"]

OPENS = time(9, 30)
CLOSES = time(16, 0)
SATURDAY = 5


@functools.cache
def new_york() -> ZoneInfo:
    """The time zone of the exchange.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: The machine has no time zone data, and no package `tzdata` either.
    """
    return ZoneInfo("America/New_York")


def day_in_new_york(now: float) -> date:
    """The date in New York.

    Args:
        now: Seconds since the epoch.
    """
    return datetime.fromtimestamp(now, new_york()).date()


def in_regular_hours(now: float, holidays: Collection[date] = ()) -> bool:
    """Whether the exchange's regular session is on: from its first second to the last one before the close.

    Args:
        now: Seconds since the epoch.
        holidays: Weekdays on which there is no session.
    """
    there = datetime.fromtimestamp(now, new_york())
    return there.weekday() < SATURDAY and OPENS <= there.time() < CLOSES and there.date() not in holidays
