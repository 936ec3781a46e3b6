"""A folder of alerts that wait to be sent, a small file for each: they outlive the process that raised them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

__all__ = ["Spool", "Waiting"]


class Waiting(msgspec.Struct, eq=False):
    """One alert that waits.

    Attributes:
        id: Its name, never given twice; the receiver drops doubles by it.
        body: What is sent, JSON.
        path: Its file; None while it has none.
        is_over: Whether it was sent, given up or dropped.
    """

    id: str
    body: bytes
    path: Path | None = None
    is_over: bool = False


class _Named(msgspec.Struct):
    id: str


class Spool:
    """The folder. Not for use by several threads at once.

    Args:
        folder: Made with the first alert.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def load(self) -> Iterator[Waiting]:
        """What an earlier process has left, oldest first. What is damaged, by a loss of power, is taken away."""
        paths = sorted(path for path in self._folder.glob("*.json") if path.stem.isdecimal())
        self._number = int(paths[-1].stem) if paths else 0
        for path in paths:
            with suppress(OSError):
                body = path.read_bytes()
                try:
                    yield Waiting(msgspec.json.decode(body, type=_Named).id, body, path)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    path.unlink(missing_ok=True)

    def keep(self, waiting: Waiting) -> None:
        """Write an alert down, unless it is over by now. It is there as a whole or not at all.

        Raises:
            OSError: The disk is full, or the folder cannot be written to.
        """
        if waiting.is_over:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._number += 1
        path = self._folder / f"{self._number:012d}.json"
        fresh = self._folder / "unfinished"
        try:
            with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(waiting.body)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        waiting.path = path

    @staticmethod
    def forget(waiting: Waiting) -> None:
        """Take an alert's file away.

        Raises:
            OSError: It cannot be taken away.
        """
        if waiting.path is not None:
            waiting.path.unlink(missing_ok=True)
            waiting.path = None
