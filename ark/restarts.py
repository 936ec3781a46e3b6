"""How often each child was started again since the node began, whoever counted it.

A supervisor counts the starts of its children, and forgets them with its own death. Here the counts go on: what is
known of each child is kept in a file, which the next exporter takes up and a node's start takes away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Restarts"]


class _Starts(msgspec.Struct):
    """Starts of one child.

    Attributes:
        supervisor: The process that counts them now; 0 for the guardian's, the root.
        seen: How many it has counted.
        before: How many were counted by those before it.
    """

    supervisor: int
    seen: int
    before: int = 0


class Restarts:
    """Counts restarts.

    Args:
        path: The file; nothing is known where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: dict[str, _Starts] = {}
        self._is_kept = True
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._starts = msgspec.json.decode(path.read_bytes(), type=dict[str, _Starts])

    def see(self, tree: Iterable[Mapping[str, Any]]) -> None:
        """Take the supervisors' word on the tree."""
        pids = {child["name"]: child["pid"] for child in tree}
        changed = False
        for child in tree:
            supervisor, seen = pids.get(child["parent"]) or 0, child["incarnation"]
            starts = self._starts.get(child["name"])
            if starts is None:
                self._starts[child["name"]] = _Starts(supervisor, seen)
            elif starts.supervisor != supervisor:
                self._starts[child["name"]] = _Starts(supervisor, seen, starts.before + starts.seen)
            elif starts.seen < seen:
                starts.seen = seen
            else:
                continue
            changed = True
        if changed or not self._is_kept:
            self._keep()

    def totals(self) -> dict[str, int]:
        """Starts after the first one, by name."""
        return {name: max(0, starts.before + starts.seen - 1) for name, starts in self._starts.items()}

    def _keep(self) -> None:
        """Without waiting for the disk: after a power cut another node begins. A full disk is tried again."""
        fresh = self._path.with_suffix(".new")
        try:
            descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(self._starts))
            fresh.replace(self._path)
        except OSError:
            self._is_kept = False
        else:
            self._is_kept = True
