"""What an agent's arms did, counted in a page of memory that survives its process: the evidence of a rollout.

One writer, the agent's own process, which takes the page up where the one before left it. A row for each routing
table; when there are more tables than rows the oldest row goes. Each figure is a word that is stored at once. The
first word says which figures a row has: a page of other figures, from before an upgrade, is begun anew.
"""

from __future__ import annotations

import mmap
import os
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec

__all__ = ["FIGURES", "Row", "TrialPage", "differences_in", "read_rows"]

_PAIRED = (
    "compared",
    "different",
    "declared",
    "denied_first",
    "denied_second",
    "slow_first",
    "slow_second",
    "broken_first",
    "broken_second",
)
FIGURES = (
    *(f"{arm}_{figure}" for arm in ("canary", "baseline") for figure in ("trials", "broken", "slow", "held")),
    *(f"{kind}_{figure}" for kind in ("pairs", "replayed", "noise") for figure in _PAIRED),
    "unapproved",
    "not_shown",
)
"""The figures of a row: of each arm's own signals, of signals that two decided, of what was refused or left out."""
_ROWS = 64
_WORDS = 1 + len(FIGURES)
_LAYOUT = zlib.crc32(" ".join(FIGURES).encode())
_STARTS = range(1, 1 + _ROWS * _WORDS, _WORDS)
_SIZE = (_STARTS.stop * 8 + 4095) // 4096 * 4096
_MOST_DIFFERENCES = 1 << 20
"""Bytes of the differences that are kept of one rollout."""
_MOST_SPARE = _MOST_DIFFERENCES // 4
"""What need not be kept is kept as long as the file is smaller than this, so that it leaves room for the rest."""

Row = dict[str, int]


class _Head(msgspec.Struct, frozen=True):
    """The first line of a file of counter-examples."""

    rollout: str


class TrialPage:
    """The writing side, for the one thread that works.

    Args:
        path: The page; made if it is not there.
        differences: The file that the counter-examples of one rollout are appended to, a line of JSON for each. The
            first line names the rollout.

    Attributes:
        is_first: Whether no process before this one has counted for the rollout at hand.
    """

    def __init__(self, path: Path, differences: Path) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _SIZE)
            self._words = memoryview(mmap.mmap(descriptor, _SIZE)).cast("q")
        finally:
            os.close(descriptor)
        self.is_first = False
        self._differences = differences
        self._at = {name: place for place, name in enumerate(FIGURES, start=1)}
        self._rollout: str | None = None
        self._row = _STARTS[0]
        if self._words[0] != _LAYOUT:
            for place in range(len(self._words)):
                self._words[place] = 0
            self._words[0] = _LAYOUT

    def begin(self, generation: int, rollout: str) -> None:
        """Count under a table from now on; one that has a row already goes on with it.

        Args:
            generation: The table's.
            rollout: Its rollout; the counter-examples of another one make room for those of this one.
        """
        if rollout != self._rollout:
            self.is_first = False
            with suppress(OSError):  # tried again with the next table, or when its lease is renewed
                self.is_first = self._begin_differences(rollout)
                self._rollout = rollout
        if self._words[self._row] == generation:
            return
        known = [start for start in _STARTS if self._words[start] == generation]
        self._row = known[0] if known else min(_STARTS, key=lambda start: self._words[start])
        if not known:
            self._words[self._row] = 0  # no row while it is neither the old one nor the new one
            for place in range(self._row + 1, self._row + _WORDS):
                self._words[place] = 0
            self._words[self._row] = generation

    def count(self, figure: str, amount: int = 1) -> None:
        """Add to a figure of the table at hand."""
        self._words[self._row + self._at[figure]] += amount

    def tell(self, difference: msgspec.Struct, *, spare: bool = False) -> None:
        """Keep a counter-example, as long as there are not too many of them, and room on the disk.

        Args:
            difference: The counter-example.
            spare: Whether it may be left out sooner than others.
        """
        line = msgspec.json.encode(difference) + b"\n"
        with suppress(OSError):
            self._append(line, _MOST_SPARE if spare else _MOST_DIFFERENCES)

    def _begin_differences(self, rollout: str) -> bool:
        """Begin the file anew, unless a process before this one did so for the same rollout; say if it did not."""
        head = msgspec.json.encode(_Head(rollout)) + b"\n"
        descriptor = os.open(self._differences, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if os.read(descriptor, len(head)) == head:
                return False
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, head, 0)
            return True
        finally:
            os.close(descriptor)

    def _append(self, line: bytes, most: int) -> None:
        descriptor = os.open(self._differences, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(line) <= most:
                os.write(descriptor, line)
        finally:
            os.close(descriptor)


def read_rows(path: Path) -> dict[int, Row]:
    """The figures of each routing table, by its generation; empty where there is no page."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    if len(content) < _SIZE:
        return {}
    words = memoryview(content[:_SIZE]).cast("q")
    if words[0] != _LAYOUT:
        return {}
    return {
        words[start]: dict(zip(FIGURES, words[start + 1 : start + _WORDS], strict=True))
        for start in _STARTS
        if words[start]
    }


def differences_in(path: Path) -> list[dict[str, object]]:
    """The counter-examples in a file, oldest first, without the line that names their rollout; a line that was cut
    off by a death is left away.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            said = msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError:
            continue
        if "rollout" not in said:
            found.append(said)
    return found
