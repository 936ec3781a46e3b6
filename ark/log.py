"""A log of JSON lines: one append a line, several processes to a file, masked on its way, put aside as it grows.

Who writes names fields one by one, so that nothing gets in that was not meant to. Exceptions and reasons are texts
from elsewhere, though; every value is masked on its way (`ark.masking`).

This is what writes files. `logs/supervision.log`, the node's chronicle, is written through it as it is; what a
process says of itself goes through `ark.logger` before.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ark.masking import mask_fields

__all__ = ["Limits", "Log", "encode", "expire", "older", "tidy"]

_LOOK_S = 60.0
"""How often the age of a file is looked at."""
_DAY_S = 86_400.0


class Limits(msgspec.Struct, frozen=True):
    """How large and how old logs become.

    Attributes:
        largest: Bytes beyond which a file is put aside.
        keep: How many that were put aside stay beside it.
        retention_s: What was written longer ago is deleted, at the latest when it is older by a `keep`-th of that
            again: a file is put aside, too, when its first line is that part old.
    """

    largest: int = 10 << 20
    keep: int = 5
    retention_s: float = 30 * _DAY_S

    @property
    def span_s(self) -> float:
        """How long one file is written to at most."""
        return self.retention_s / max(1, self.keep)


class Log:
    """Appends to one file; several processes may share it, since a line is one write.

    A line that cannot be written, because the disk is full, is lost: what it tells of must not stop for it.

    Args:
        path: The file. What is put aside is beside it as `.1`, the newest, to `.N`.
        limits: When it is put aside; never by who does not know that.
    """

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self._path = path
        self._limits = limits
        self._looked_at = 0.0

    def write(self, event: str, /, **fields: Any) -> None:
        """Append one line. Personal data, credentials and figures of the account are masked."""
        self.append(encode(mask_fields({"at": round(time.time(), 6), "event": event, **fields})))

    def append(self, line: bytes) -> None:
        """Append one line that is masked already; it ends with a line feed."""
        with suppress(OSError):
            self._append(line)

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if self._limits is not None and self._is_over(self._limits, os.fstat(descriptor).st_size):
                self._put_aside(descriptor, self._limits)
                os.close(descriptor)
                descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _is_over(self, limits: Limits, size: int) -> bool:
        if size > limits.largest:
            return True
        now = time.monotonic()
        if not size or now - self._looked_at < _LOOK_S:
            return False
        self._looked_at = now
        began = _first_at(self._path)
        return began is not None and time.time() - began > limits.span_s

    def _put_aside(self, descriptor: int, limits: Limits) -> None:
        """Of several processes that find the log too large at once, one puts it aside, and nobody its successor."""
        with suppress(OSError):  # another one does it just now, or has done it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(self._path).st_ino != os.fstat(descriptor).st_ino:
                return
            for number, path in reversed(list(enumerate(older(self._path), 1))):
                if number >= limits.keep:
                    path.unlink(missing_ok=True)
                else:
                    path.replace(_aside(self._path, number + 1))
            if limits.keep:
                self._path.replace(_aside(self._path, 1))
            else:
                self._path.unlink(missing_ok=True)


def encode(plain: Any) -> bytes:
    """A line of plain data."""
    return msgspec.json.encode(plain) + b"\n"


def older(path: Path) -> list[Path]:
    """The files of a log that were put aside, the newest first."""
    found: list[Path] = []
    while (aside := _aside(path, len(found) + 1)).exists():
        found.append(aside)
    return found


def expire(path: Path, retention_s: float, now: float) -> None:
    """Delete what was put aside of a log and has not been written to for so long.

    Args:
        path: The log.
        retention_s: How long, seconds.
        now: Seconds since the epoch.
    """
    for each in reversed(older(path)):
        with suppress(OSError):
            if now - each.stat().st_mtime > retention_s:
                each.unlink()


def tidy(folder: Path, retention_s: float, now: float) -> None:
    """Delete every log to which nobody has written for so long, also of who is in no tree any more.

    For while nobody writes; the arguments are as in `expire`.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            if re.fullmatch(r"\w+\.log(?:\.\d+)?", path.name):
                with suppress(OSError):
                    if now - path.stat().st_mtime > retention_s:
                        path.unlink()


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _first_at(path: Path) -> float | None:
    """When the first line of a log was written; None where it does not say."""
    try:
        with open(path, "rb") as file:
            at = msgspec.json.decode(file.readline(1 << 16), type=dict[str, Any]).get("at")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return float(at) if isinstance(at, int | float) else None
