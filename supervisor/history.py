"""The supervisors' log as events: what there was, and then what is appended, each line once, through rotations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ark.log_reader import LogReader

__all__ = ["History", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are wanted.

    Attributes:
        since: Only those that happened since then, seconds since the epoch.
        kinds: Only those kinds; none for all.
        names: Only what is about these children; none for all.
    """

    since: float = 0.0
    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is wanted."""
        if self.kinds and event.get("kind", event.get("event")) not in self.kinds:
            return False
        if self.names and not self.names & {str(event.get("name")), str(event.get("agent"))}:
            return False
        at = event.get("at")
        return not self.since or (isinstance(at, int | float) and at >= self.since)


class History:
    """Reads the chronicle and what was put aside of it; see `ark.log_reader`.

    Args:
        log: The log.
    """

    def __init__(self, log: Path) -> None:
        self._reader = LogReader(log)

    def read(self) -> list[dict[str, Any]]:
        """Every event since the last call, oldest first; at the first call all that there are.

        Raises:
            NodeError: The log cannot be read.
        """
        lines = list(self._reader.lines())
        events = [event for _, line in lines if (event := _event(line)) is not None]
        if len({part for part, _ in lines}) > 1:
            events.sort(key=_at)
        return events

    def close(self) -> None:
        """Let the files go."""
        self._reader.close()


def _at(event: Mapping[str, Any]) -> float:
    at = event.get("at")
    return at if isinstance(at, int | float) else 0.0


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None for one that was cut short by a crash."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
