"""What happened before, from the lines of `logs/supervision.log`: entries of a form to rely on, and a story.

A log may hold lines of older versions, or broken ones; whatever stands in it, nothing here raises. Pure.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Entry", "entries", "number", "plain", "span", "story", "when"]

LONGEST = 300
LAST_SECOND = 253402300799.0
"""The end of the year 9999, beyond which no date can be written."""
_TRACE_ID = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{7,63}\Z")
_HEAD_OF_TRACEBACK = re.compile(r":? *Traceback \(most recent call last\):?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    Attributes:
        at: Seconds since the epoch; 0 where the line does not say.
        kind: What happened.
        name: To whom; empty for the node.
        reason: Why, in one line: of a traceback, its head and its last line.
        trace_id: The signal that it is about; empty for none.
        by: Who did it; empty where nobody is named.
        fault, state, advice: Of an alert.
    """

    at: float
    kind: str
    name: str = ""
    reason: str = ""
    trace_id: str = ""
    by: str = ""
    fault: str = ""
    state: str = ""
    advice: str = ""


def entries(events: Iterable[Any]) -> list[Entry]:
    """The lines that can be understood, in their order.

    Args:
        events: Documents as read from the log.
    """
    found = []
    for event in events:
        if not isinstance(event, Mapping):
            continue
        kind = plain(event.get("event") or event.get("kind"))
        if not kind:
            continue
        trace_id = event.get("trace_id")
        found.append(
            Entry(
                number(event.get("at"), 0.0, LAST_SECOND) or 0.0,
                kind,
                plain(event.get("name") or event.get("agent")),
                _reason(event.get("reason")),
                trace_id if isinstance(trace_id, str) and _TRACE_ID.match(trace_id) else "",
                *(plain(event.get(key)) for key in ("by", "fault", "state", "advice")),
            )
        )
    return found


def number(value: Any, least: float = -math.inf, most: float = math.inf) -> float | None:
    """A value as a number within bounds; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and least <= found <= most else None


def plain(value: Any) -> str:
    """A value as text on one line, of a bearable length, without anything that a terminal would obey."""
    if value is None:
        return ""
    line = " ".join(str(value)[: 20 * LONGEST].split())
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _reason(value: Any) -> str:
    """A reason in one line; of a traceback who ended where, and the error."""
    lines = [line.strip() for line in value.splitlines() if line.strip()] if isinstance(value, str) else []
    if len(lines) <= 1:
        return plain(value)
    return plain(f"{_HEAD_OF_TRACEBACK.sub('', lines[0])}: {lines[-1]}")


def when(at: float | None, now: float) -> str:
    """A time for people: the local time of day, with the date unless it is today's; empty for none."""
    if not at or not 0 <= at <= LAST_SECOND or not 0 <= now <= LAST_SECOND:
        return ""
    then, today = time.localtime(at), time.localtime(now)
    is_today = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", then)


def span(seconds: float) -> str:
    """A length of time for people."""
    for limit, unit, name in ((120, 1, "second"), (7200, 60, "minute"), (172_800, 3600, "hour")):
        if seconds < limit:
            count = max(0, int(seconds / unit))
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{int(seconds / 86_400)} days"


def story(log: Sequence[Entry], most: int = 8) -> list[tuple[float, str]]:
    """What happened, newest last, in words; what came again and again stands there once, with its count.

    Args:
        log: The entries that belong to it.
        most: How many lines there may be.
    """
    told: list[tuple[float, str, int]] = []
    for entry in log:
        words = _words(entry)
        # An agent that dies again and again leaves pairs: ended, started.
        same = next((n for n in (1, 2) if len(told) >= n and told[-n][1] == words), 0)
        if same:
            told.append((entry.at, words, told.pop(-same)[2] + 1))
        else:
            told.append((entry.at, words, 1))
    return [(at, words if count == 1 else f"{words} ({count} times)") for at, words, count in told[-most:]]


def _words(entry: Entry) -> str:
    by = f" by {entry.by}" if entry.by else ""
    why = f": {entry.reason}" if entry.reason else ""
    known = {
        "node_started": "the node was started",
        "node_stopped": "the node was stopped in order",
        "node_failed": f"the node ended{why}",
        "rebuilt": f"the tree went down as a whole and was built anew{why}",
        "started": "started",
        "exited": f"ended{why}",
        "hung": f"hung, and was killed{why}",
        "replaced": f"was replaced by the Watchdog{why}",
        "isolate": f"was isolated{by}{why}",
        "release": f"was released{by}{why}",
        "restart": f"was restarted{by}{why}",
        "stop": f"was stopped{by}{why}",
        "start": f"was started{by}{why}",
        "halt": f"trading was halted{by}{why}",
        "resume": f"the halt was lifted{by}{why}",
        "gave_up": f"gave up on its children{why}",
        "supervisor_failed": f"failed{why}",
        "seal_broken": f"the seal of the rule book is broken{why}",
        "alert": f"alert {entry.fault} {entry.state}{why}",
        "storage": f"waits for the disk{why.replace('storage: ', '')}",
        "storage_mended": f"waits for the disk no more{why.replace('storage: ', '')}",
    }
    return known.get(entry.kind, f"{entry.kind.replace('_', ' ')}{by}{why}")
