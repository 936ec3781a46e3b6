"""What agents show on the node's page: the newest document of each name, in a file of its own.

A file and no message, because whoever looks may come later than what is shown, and may be killed in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ark.files import replace_file

__all__ = ["Showing", "shown"]

_EVERY_S = 1.0
_LARGEST = 1 << 18


class Showing:
    """The writing side.

    Args:
        path: Gives the file for a name.
    """

    def __init__(self, path: Callable[[str], Path]) -> None:
        self._path = path
        self._waiting: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        self._next = 0.0

    def put(self, name: str, document: Any) -> None:
        """Have a document shown; one beyond 256 KiB is not."""
        content = msgspec.json.encode(document)
        if len(content) <= _LARGEST:
            self._waiting[name] = content

    def flush(self, now: float) -> None:
        """Write what has changed, at most once a second. What cannot be written is tried again.

        Args:
            now: Seconds on a clock that never goes back.
        """
        if not self._waiting or now < self._next:
            return
        self._next = now + _EVERY_S
        for name, content in list(self._waiting.items()):
            if self._written.get(name) != content:
                try:
                    replace_file(
                        self._path(name), content, durable=False
                    )  # after a power cut there is nobody to look at it
                except OSError:
                    continue
                self._written[name] = content
            del self._waiting[name]


def shown(path: Path) -> Any:
    """The document in a file; None where there is none, or it cannot be read."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(path.read_bytes())
    return None
