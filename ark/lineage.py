"""Parents, children and their ends: no process of a node outlives the one above it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["children_of", "die_with_parent", "end", "end_children_with_me", "in_forked_child"]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_forker = 0
_armed = False


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_children_with_me() -> None:
    """Make every process forked from now on die with its parent, whatever happens in between.

    It is done in the child between the fork and its first line: asked for later, a parent that was killed in the
    meantime left one orphan in six. Descendants inherit it.
    """
    global _armed
    if _armed:
        return
    _armed = True

    def remember() -> None:
        global _forker
        _forker = os.getpid()

    def bind() -> None:
        die_with_parent()
        if os.getppid() != _forker:
            os._exit(0)

    os.register_at_fork(before=remember, after_in_child=bind)


def in_forked_child(action: Callable[[], None]) -> None:
    """Run an action once in each line of descent from here, at the first fork."""
    done = False

    def once() -> None:
        nonlocal done
        if not done:
            done = True
            action()

    os.register_at_fork(after_in_child=once)


def children_of(pid: int) -> list[int]:
    """The pids of a process's children."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def end(pid: int) -> None:
    """Kill a process that may be gone already."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
