"""Parents, children and their ends: no process of a node outlives the one above it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

__all__ = [
    "adopt_orphans",
    "await_ends",
    "await_orphans",
    "die_with_parent",
    "end",
    "end_descendants_with_parents",
    "in_forked_child",
    "reap",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
_forker = 0
_armed = False
_generation = 0


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_descendants_with_parents(*, spared: int) -> None:
    """Make every later descendant of this process die with its parent, whatever happens in between.

    It is done in the child between the fork and its first line: asked for later, a parent that was killed in the
    meantime left one orphan in six.

    Args:
        spared: So many generations are left alone at first: a process that daemonises by forking twice would not
            survive its second birth. The last of them is bound when it forks itself, provided that this process
            has adopted it by then (see `adopt_orphans`).
    """
    global _armed
    if _armed:
        return
    _armed = True
    ancestor = os.getpid()

    def remember() -> None:
        global _forker
        _forker = os.getpid()
        if _generation == spared and os.getppid() == ancestor:
            die_with_parent()

    def bind() -> None:
        global _generation
        _generation += 1
        if _generation <= spared:
            return
        die_with_parent()
        if os.getppid() != _forker:
            os._exit(0)

    os.register_at_fork(before=remember, after_in_child=bind)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent is gone, instead of the machine's first process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap() -> None:
    """Take note of children that have ended, so that none stays a zombie."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def await_ends(pids: Iterable[int], within_s: float) -> None:
    """Wait until processes are gone that the kernel has killed with their parent; their sockets are closed then.

    Args:
        pids: The processes, no children of this one; some may be gone for long.
        within_s: At most so long in all: one that cannot even die, because the disk is stuck, is not waited for.
    """
    until = time.monotonic() + within_s
    for pid in pids:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                select.select([handle], [], [], max(0.0, until - time.monotonic()))
            finally:
                os.close(handle)


def await_orphans(within_s: float) -> None:
    """Wait until every child of this process is gone, those that it adopts meanwhile included.

    Args:
        within_s: At most so long.
    """
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return


def in_forked_child(action: Callable[[], None]) -> None:
    """Run an action once in each line of descent from here, at the first fork."""
    done = False

    def once() -> None:
        nonlocal done
        if not done:
            done = True
            action()

    os.register_at_fork(after_in_child=once)


def end(pid: int) -> None:
    """Kill a process that may be gone already."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
