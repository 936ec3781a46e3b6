"""A log of JSON lines. Who writes names fields one by one, so that nothing gets in that was not meant to.

Exceptions and reasons are texts from elsewhere, though; every text is masked on its way (`ark.privacy`).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ark.privacy import mask_fields

__all__ = ["Log"]

_LARGEST = 8 << 20


class Log:
    """Appends to one file; several processes may share it, since a line is one write.

    A line that cannot be written, because the disk is full, is lost: what it tells of must not stop for it.

    Args:
        path: The file; when it grows beyond 8 MiB it is put aside as `.1`, over an older one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **fields: Any) -> None:
        """Append one line. Personal data and credentials in its texts are masked."""
        plain = msgspec.to_builtins({"at": round(time.time(), 6), "event": event, **fields}, str_keys=True)
        line = msgspec.json.encode(mask_fields(plain)) + b"\n"
        with suppress(OSError):
            self._append(line)

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size > _LARGEST:
                self._put_aside(descriptor)
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _put_aside(self, descriptor: int) -> None:
        """Of several processes that find the log too large at once, one puts it aside, and nobody its successor."""
        with suppress(OSError):  # another one does it just now, or has done it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(self._path).st_ino == os.fstat(descriptor).st_ino:
                self._path.replace(self._path.with_suffix(".log.1"))
