"""What the node holds: memory and descriptors of its processes, sizes of its files, room on its disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ark.home import Home
from ark.node_series import Usage
from ark.slo_history import FILE

__all__ = ["disk", "journals", "usages"]

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


def usages(tree: Sequence[Mapping[str, Any]]) -> dict[str, Usage]:
    """What each process holds, from /proc; those that have just ended are left out."""
    found = {}
    for child in tree:
        if child["pid"]:
            with suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{child['pid']}/statm", "rb") as file:
                    memory = int(file.read().split()[1]) * _PAGE_BYTES
                found[child["name"]] = Usage(memory, len(os.listdir(f"/proc/{child['pid']}/fd")))
    return found


def journals(home: Home) -> dict[str, int]:
    """Bytes of each process's databases, with what has not been moved into them yet."""
    sizes: dict[str, int] = {}
    with suppress(OSError), os.scandir(home.data) as entries:
        for entry in entries:
            name, kind, ending = entry.name.partition(".db")
            if kind and ending in ("", "-wal"):
                owner = "exporter" if entry.name.startswith(FILE) else name.partition("-")[0]
                with suppress(OSError):
                    sizes[owner] = sizes.get(owner, 0) + entry.stat().st_size
    return sizes


def disk(home: Home) -> tuple[int, int] | None:
    """Free space and size of the disk under the home, bytes; None where it cannot be told."""
    try:
        found = os.statvfs(home.data)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
