"""Reads a log and what was put aside of it: what there is, and then what is appended, each line once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ark.errors import NodeError

__all__ = ["LogReader", "log_names"]

_MOST_OPEN = 3
"""The log, the one put aside last, and one before that: a process that had it open may still write to it."""
_CHUNK = 1 << 20


class _Part:
    """One file of the log: it stays open, so that a new name or a successor changes nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        found = os.fstat(file.fileno())
        self.inode, self.size = found.st_ino, found.st_size
        self._rest = b""

    def skip_to(self, place: int) -> None:
        """Begin with the first whole line behind a place."""
        if place > 0:
            self.file.seek(place)
            self.file.readline()

    def lines(self) -> Iterator[bytes]:
        """The whole lines that were appended since the last call."""
        while chunk := self.file.read(_CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            yield from lines


class LogReader:
    """Reads one log. Needs no node; a log that is not there yet is waited for.

    Args:
        path: The log; what was put aside is beside it, with `.1` and higher numbers behind its name.
        reach: How many bytes of what there is are read at first, the newest; None for all.
    """

    def __init__(self, path: Path, *, reach: int | None = None) -> None:
        self._path = path
        self._reach = reach
        self._parts: list[_Part] = []
        self._is_begun = False

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line since the last call, oldest first, each with the number of its part; at the first call all
        that there are. A line that is not whole yet comes when it is.

        Raises:
            NodeError: The log cannot be read.
        """
        try:
            # Once more after each find: between two looks the log may have been put aside.
            while self._open():
                pass
            for number, part in enumerate(self._parts):
                for line in part.lines():
                    yield number, line
        except OSError as error:
            raise NodeError(f"cannot read {error.filename or self._path}: {error.strerror}") from error
        while len(self._parts) > _MOST_OPEN:
            self._parts.pop(0).file.close()

    def skip(self) -> None:
        """Leave out all that there is now."""
        self._reach = 0
        for _ in self.lines():
            pass
        self._is_begun = True

    def close(self) -> None:
        """Let the files go."""
        for part in self._parts:
            part.file.close()
        self._parts.clear()

    def _open(self) -> bool:
        """Open the files that are not open yet, down to the newest one that is; whether there were any."""
        if self._parts and self._inode() == self._parts[-1].inode:
            return False
        found: list[_Part] = []
        left = None if self._is_begun else self._reach
        for path in self._paths():
            try:
                part = _Part(open(path, "rb"))  # noqa: SIM115
            except FileNotFoundError:
                continue
            if part.inode in {each.inode for each in (*self._parts, *found)}:
                part.file.close()
                if self._is_begun:
                    break
                continue
            found.append(part)
            if left is not None:
                part.skip_to(part.size - left)
                left = max(0, left - part.size)
                if not left:
                    break
        self._is_begun = self._is_begun or bool(found)
        self._parts += reversed(found)
        return bool(found)

    def _inode(self) -> int | None:
        try:
            return os.stat(self._path).st_ino
        except FileNotFoundError:
            return None

    def _paths(self) -> list[Path]:
        """The log's files, the newest first."""
        numbers = []
        name = re.compile(re.escape(self._path.name) + r"\.(\d{1,4})")
        if self._path.parent.is_dir():
            numbers = sorted(
                int(found[1]) for each in os.listdir(self._path.parent) if (found := name.fullmatch(each))
            )
        return [self._path, *(self._path.with_name(f"{self._path.name}.{number}") for number in numbers)]


def log_names(folder: Path) -> list[str]:
    """The processes that have a log in a folder; without the node's chronicle, and what is Thespian's own."""
    found = {match[1] for each in _listed(folder) if (match := re.fullmatch(r"([a-z]\w*)\.log(?:\.\d+)?", each))}
    return sorted(found - {"supervision", "actors", "thespian"})


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []
