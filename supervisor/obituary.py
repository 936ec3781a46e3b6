"""How a process ended, from its exit status and from what its black box says."""

from __future__ import annotations

import signal

import msgspec

from ark.blackbox import Work, read
from ark.home import Home
from ark.host import EXIT_BOOT
from ark.storage import STORAGE
from supervisor.policy import BOOT_FAILURE

__all__ = ["Obituary", "write"]


class Obituary(msgspec.Struct, frozen=True):
    """The end of one process.

    Attributes:
        name: The child's.
        reason: How it ended, with its last words if it had any.
        trace_id: The signal in whose handler it died; empty for none, and where the disk was at fault: no signal
            is expelled for that.
        work: What it had done until then.
    """

    name: str
    reason: str
    trace_id: str
    work: Work

    @property
    def first_line(self) -> str:
        """The reason in one line, for status and policy: of a traceback, its last line."""
        lines = [line.strip() for line in self.reason.splitlines() if line.strip()]
        if len(lines) <= 1:
            return self.reason
        return f"{lines[0]} {lines[-1]}"


def write(name: str, incarnation: int, pid: int, code: int, home: Home, *, stuck_at: str = "") -> Obituary:
    """Put an obituary together.

    Args:
        name, incarnation, pid: Whose.
        code: The exit status as `multiprocessing` gives it: negative for a signal.
        home: Where the black boxes are.
        stuck_at: The stack in which it hung; empty where it did not, or nobody knows.
    """
    if code < 0:
        try:
            how = f"killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"killed by signal {-code}"
    else:
        how = f"exit code {code}"
    box = read(home.box(name))
    words = trace_id = ""
    work = Work()
    if box is not None and box.pid == pid and box.incarnation == incarnation:
        words, work = box.reason, box.work
        trace_id = "" if box.reason.startswith(STORAGE) else box.trace_id
        if trace_id:
            how += f" in {box.handler} of {trace_id}"
    if stuck_at:
        words = f"it hung at\n{stuck_at}"
    reason = f"{how}: {words}" if words else how
    return Obituary(name, f"{BOOT_FAILURE} {reason}" if code == EXIT_BOOT else reason, trace_id, work)
