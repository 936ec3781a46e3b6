"""What matters of a node, shown on the terminal of `ark-run start` as it is written into the logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

import msgspec

from ark.errors import NodeError
from ark.home import Home
from ark.levels import number
from ark.log_reader import LogReader
from ark.log_text import level_of, shown

__all__ = ["Terminal", "matters", "said", "wants_colours"]

_MOST_PER_S = 20
"""Lines in one second; a terminal is for what a person can read."""
_CHRONICLE = "supervision"
_PRINTED = frozenset(("stdout", "stderr", "output"))
_SAID_BEFORE = frozenset(("node_started", "node_stopped", "node_failed", "rebuilt"))
"""What `ark-run start` says itself, in sentences."""


def wants_colours(output: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour what is shown: on a terminal, unless `NO_COLOR` is set or it is a dumb one."""
    return output.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def matters(line: Mapping[str, Any]) -> bool:
    """Whether a line is shown: what changed in the tree, what went wrong, and what is printed.

    Of a process's own log the chronicle tells some, too: a start, and the end by a failure.
    """
    event = str(line.get("event"))
    if "level" in line:
        return event in _PRINTED or (number(str(line["level"])) >= number("warning") and event != "failed")
    if event in _SAID_BEFORE or (event == "started" and line.get("incarnation") == 1):
        return False
    return number(level_of(line)) >= number("info")


class Terminal:
    """Shows the lines that matter. What is in the logs when it is made is left out.

    Args:
        home: The node's home.
        names: The processes.
        put: Takes each line.
        as_json: Whether to say lines as they are.
        colours: Whether to colour them.
    """

    def __init__(
        self, home: Home, names: Iterable[str], put: Callable[[str], None], *, as_json: bool, colours: bool
    ) -> None:
        self._out = put
        self._as_json = as_json
        self._colours = colours
        self._readers = [LogReader(home.logs / f"{name}.log") for name in (_CHRONICLE, *names)]
        self._second = 0
        self._shown = self._left_out = 0
        for reader in self._readers:
            reader.skip()

    def show(self) -> None:
        """Show what has been written since the last call."""
        found: list[dict[str, Any]] = []
        for reader in self._readers:
            try:
                lines = [line for _, line in reader.lines()]
            except NodeError:  # the disk; others tell of it
                continue
            found += [each for line in lines if (each := _read(line)) is not None and matters(each)]
        for line in sorted(found, key=_at):
            self._put(line)
        self._tell_left_out()

    def close(self) -> None:
        """Let the logs go."""
        for reader in self._readers:
            reader.close()

    def _put(self, line: dict[str, Any]) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._tell_left_out()
            self._second, self._shown = second, 0
        self._shown += 1
        if self._shown > _MOST_PER_S:
            self._left_out += 1
        elif self._as_json:
            self._out(msgspec.json.encode(line).decode())
        else:
            for text in shown(line, colours=self._colours, whole=False):
                self._out(text)

    def _tell_left_out(self) -> None:
        if self._left_out and int(time.monotonic()) != self._second:
            text = f"{self._left_out} more lines are in the logs: `supervisor events` and `supervisor logs`"
            self._left_out = 0
            self._out(said(text) if self._as_json else text)


def said(text: str) -> str:
    """A sentence of `ark-run start` as a line of JSON."""
    return msgspec.json.encode(
        {"at": round(time.time(), 6), "level": "info", "event": "said", "text": text}
    ).decode()


def _at(line: Mapping[str, Any]) -> float:
    at = line.get("at")
    return at if isinstance(at, int | float) else 0.0


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
