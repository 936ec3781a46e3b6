"""Times as persons write them on a command line."""

from __future__ import annotations

import re
import time
from datetime import datetime

__all__ = ["parse_moment", "parse_span", "shown"]

_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_moment(text: str, now: float | None = None) -> float:
    """When something was, in seconds since the epoch.

    Args:
        text: How long ago (`90s`, `10m`, `2h`, `1d`), or an ISO time (`2026-03-01T14:30`), by the local clock where
            it names no zone.
        now: Seconds since the epoch; the clock's where absent.

    Raises:
        ValueError: It is neither; the message says what would be.
    """
    ago = _SPAN.fullmatch(text.strip())
    if ago:
        return (time.time() if now is None else now) - float(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no time: write 90s, 10m, 2h, 1d, or 2026-03-01T14:30") from None


def parse_span(text: str) -> float:
    """How long, in seconds: `90s`, `10m`, `2h`, `1d`.

    Raises:
        ValueError: It is no length of time above zero; the message says what would be.
    """
    found = _SPAN.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ValueError(f"{text!r} is no length of time: write 90s, 10m, 2h or 1d")
    return seconds


def shown(at: float) -> str:
    """A time for a person's eyes, by the local clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
