"""The processes' own logs, all of them as one story: what there is, and what comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ark.errors import NodeError
from ark.home import Home
from ark.levels import number
from ark.log_reader import LogReader, log_names
from ark.log_text import level_of, one_line

__all__ = ["LogView", "WantedLines", "level_lines"]

REACH = 4 << 20
"""Bytes of each log that are read where only its newest lines are wanted."""


@dataclass(frozen=True, slots=True)
class WantedLines:
    """Which lines are wanted.

    Attributes:
        level: From which level on; empty for all.
        trace: Only lines about the signals whose trace id begins so; empty for all.
        since: Only lines that were written since then, seconds since the epoch.
    """

    level: str = ""
    trace: str = ""
    since: float = 0.0

    def takes(self, line: Mapping[str, Any]) -> bool:
        """Whether a line is wanted."""
        if self.level and number(level_of(line)) < number(self.level):
            return False
        if self.trace and not str(line.get("trace_id", "")).startswith(self.trace):
            return False
        return not self.since or _at(line) >= self.since


class LogView:
    """Reads the logs of one node. Needs no node to run.

    Args:
        home: The node's home.
        names: Whose logs; none for all that there are, also those that come later.
        wanted: Which lines.
        last: How many of those that there are, the newest; None for all.

    Raises:
        NodeError: There is no log of that name.
    """

    def __init__(self, home: Home, names: Iterable[str], wanted: WantedLines, last: int | None) -> None:
        self._folder = home.logs
        self._names = frozenset(names)
        self._wanted = wanted
        self._last = last
        self._readers: dict[str, LogReader] = {}
        known = log_names(self._folder)
        unknown = sorted(self._names.difference(known))
        if unknown:
            there = f"there are {', '.join(known)}" if known else "there are none"
            raise NodeError(f"there is no log of {unknown[0]!r} in {self._folder}", hint=there)

    def read(self) -> list[dict[str, Any]]:
        """The wanted lines since the last call, oldest first; at the first call those that there are.

        Raises:
            NodeError: A log cannot be read.
        """
        last, self._last = self._last, None
        # Only the end is read where the end is all that is wanted.
        reach = REACH if last is not None and last <= 1000 and self._wanted == WantedLines() else None
        found: list[dict[str, Any]] = []
        for name in log_names(self._folder):
            if self._names and name not in self._names:
                continue
            if name not in self._readers:
                self._readers[name] = LogReader(self._folder / f"{name}.log", reach=reach)
            found += self._read(self._readers[name], last)
        found.sort(key=_at)
        return found if last is None else found[max(0, len(found) - last) :]

    def close(self) -> None:
        """Let the logs go."""
        for reader in self._readers.values():
            reader.close()

    def _read(self, reader: LogReader, last: int | None) -> Iterable[dict[str, Any]]:
        trace = self._wanted.trace.encode()
        found: deque[dict[str, Any]] = deque(maxlen=last)
        for _, line in reader.lines():
            if trace in line:  # most are not even decoded
                decoded = _decoded(line)
                if decoded is not None and self._wanted.takes(decoded):
                    found.append(decoded)
        return found


def level_lines(levels: Iterable[Mapping[str, Any]]) -> list[str]:
    """The levels in force, as the operation `log_level` gives them: one line for each process."""
    lines = []
    for each in levels:
        wish = each.get("wish")
        told = ""
        if isinstance(wish, Mapping):
            until = wish.get("until")
            ends = (
                time.strftime("until %Y-%m-%d %H:%M:%S", time.localtime(until)) if until else "until the next start"
            )
            told = f"  {ends}, by {one_line(wish.get('by'))}: {one_line(wish.get('reason'))}"
        lines.append(f"{one_line(each.get('name')):<16} {one_line(each.get('level')):<8}{told}".rstrip())
    return lines


def _at(line: Mapping[str, Any]) -> float:
    at = line.get("at")
    return at if isinstance(at, int | float) else 0.0


def _decoded(line: bytes) -> dict[str, Any] | None:
    """A line; None for one that was cut short by a crash."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
