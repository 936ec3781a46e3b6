"""The supervisors' log as events: what there was, and then what is appended, each line once, through rotations."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ark.errors import NodeError

__all__ = ["History", "Wanted"]

_MOST_OPEN = 3
"""The log, the one put aside, and one before that: a process that had it open may still write to it."""


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


class _Part:
    """One file of the log: it stays open, so that a new name or a successor changes nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.inode = os.fstat(file.fileno()).st_ino
        self._rest = b""

    def lines(self) -> list[bytes]:
        """The whole lines that were appended since the last call."""
        *lines, self._rest = (self._rest + self.file.read()).split(b"\n")
        return lines


class History:
    """Reads one log and the one that was put aside. Needs no node; a log that is not there yet is waited for.

    Args:
        log: The log; what was put aside is beside it, with `.1` behind its name.
    """

    def __init__(self, log: Path) -> None:
        self._paths = (log.with_suffix(".log.1"), log)
        self._parts: list[_Part] = []

    def read(self) -> list[dict[str, Any]]:
        """Every event since the last call, oldest first; at the first call all that there are.

        Raises:
            NodeError: The log cannot be read.
        """
        try:
            # Once more after each find: between two looks the log may have been put aside.
            while any(self._open(path) for path in self._paths):
                pass
            found = [part.lines() for part in self._parts]
        except OSError as error:
            raise NodeError(f"cannot read {error.filename}: {error.strerror}") from error
        while len(self._parts) > _MOST_OPEN:
            self._parts.pop(0).file.close()
        events = [event for lines in found for event in map(_event, lines) if event is not None]
        if sum(map(bool, found)) > 1:
            events.sort(key=_at)
        return events

    def close(self) -> None:
        """Let the files go."""
        for part in self._parts:
            part.file.close()
        self._parts.clear()

    def _open(self, path: Path) -> bool:
        """Open a file that is not open yet; whether there was one."""
        try:
            if os.stat(path).st_ino in {part.inode for part in self._parts}:
                return False
            part = _Part(open(path, "rb"))  # noqa: SIM115
        except FileNotFoundError:
            return False
        if part.inode in {each.inode for each in self._parts}:
            part.file.close()
            return False
        self._parts.append(part)
        return True


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
