"""The black box: a page of memory in a file, in which a process notes what it is about to do.

It survives `kill -9` of its process, costs a memory write, and takes no message: the Watchdog and the status
read the heartbeat from it, the supervisor reads who killed the agent. A page is written by one thread of one
process and read by others without a lock, so a reader may see a figure a moment old. Each figure is a word that is
stored at once: `struct.pack_into` blanks its place first, and whoever reads between sees a process that never beat.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

__all__ = ["BlackBox", "Reading", "Work", "prepare", "read"]

_SIZE = 4096
_MAGIC = b"ARKBOX1\0"
# magic, pid, incarnation, epoch, beat (monotonic ns), loops, handled, received, sent,
# answered, failed, failed in a row, nanoseconds at work
_HEAD = struct.Struct("=8sqqqqqqqqqqqq")
_PID, _INCARNATION, _EPOCH, _BEAT, _LOOPS, _HANDLED, _RECEIVED, _SENT = range(1, 9)
_ANSWERED, _FAILED, _FAILED_IN_A_ROW, _BUSY_NS = range(9, 13)
"""Where each figure of the head is, in words of 8 bytes."""
_STATE_AT = 104
_BUSY = struct.Struct("<B47s32s")
_REASON_AT = 512
_REASON_SIZE = 3000
_CONCERN_AT = 3520
_CONCERN_SIZE = 500


class Work(msgspec.Struct):
    """What a process has done with signals since it began.

    Attributes:
        answered: Signals that were answered, those among them that the agent called failed included.
        failed: Signals that the agent answered and called failed.
        failed_in_a_row: How many of these were the last ones, with no good one among them.
        busy_ns: Nanoseconds from a signal's coming to its answer, over all of them.
    """

    answered: int = 0
    failed: int = 0
    failed_in_a_row: int = 0
    busy_ns: int = 0

    def count(self, took_ns: int, *, failed: bool) -> None:
        """Count one answer."""
        self.answered += 1
        self.busy_ns += took_ns
        if failed:
            self.failed += 1
            self.failed_in_a_row += 1
        else:
            self.failed_in_a_row = 0


NO_WORK = Work()


class Reading(msgspec.Struct, frozen=True):
    """What a black box says.

    Attributes:
        pid, incarnation: Of the process that wrote it.
        epoch: The newest epoch that the process knew.
        beat_age_s: Seconds since its loop went round.
        loops, handled: Rounds of the loop, and messages handled.
        received, sent: Envelopes of `epoch` taken in and handed on.
        trace_id: The signal in whose handler the process is, or was when it died; empty for none.
        handler: What it called: `handle`, `perform`, `bury`, `notice`, `setup`; empty for nothing.
        reason: The last words: the exception that ended it, or what a process that lives waits for.
        concern: What keeps it from its work while it runs, though the node is ready; empty for nothing.
        work: What it has done with signals.
    """

    pid: int
    incarnation: int
    epoch: int
    beat_age_s: float
    loops: int
    handled: int
    received: int
    sent: int
    trace_id: str
    handler: str
    reason: str
    concern: str
    work: Work


class BlackBox:
    """The writing side, for the one thread that works.

    The file of the process before is used again in its place: on a full disk there is none to be had for another.

    Args:
        path: The file; it is begun anew.
        incarnation: Which start of the process this is.

    Attributes:
        before: The last words of the process before; empty where it had none.
        on_beat: Called with each beat, for what has to be done now and then; it must be quick, and not raise.
    """

    def __init__(self, path: Path, *, incarnation: int) -> None:
        self.on_beat: Callable[[], None] = lambda: None
        descriptor = _allocated(path)
        try:
            self._page = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self._loops = 0
        self.before = _reason(self._page[:]) if self._page[:8] == _MAGIC else ""
        # Its name comes last: nobody may take what the process before wrote for the words of this one.
        self._page[_STATE_AT:] = bytes(_SIZE - _STATE_AT)
        words = self._words = memoryview(self._page).cast("q")
        for place in range(_EPOCH, _BUSY_NS + 1):
            words[place] = 0
        words[_BEAT] = time.monotonic_ns()
        words[_INCARNATION] = incarnation
        self._page[: len(_MAGIC)] = _MAGIC
        words[_PID] = os.getpid()

    def note(self, trace_id: str, handler: str) -> None:
        """Note what is about to be called; two empty texts when it has returned.

        It is a sign of life, too: a batch of many signals may take longer than a heartbeat.
        """
        self._words[_BEAT] = time.monotonic_ns()
        if handler:
            _BUSY.pack_into(self._page, _STATE_AT, 1, trace_id.encode()[:47], handler.encode()[:32])
        else:
            self._page[_STATE_AT] = 0

    def beat(self, *, epoch: int, handled: int, received: int, sent: int, work: Work = NO_WORK) -> None:
        """Say that the loop goes round, and what has come of it."""
        self._loops += 1
        words = self._words
        words[_EPOCH] = epoch
        words[_BEAT] = time.monotonic_ns()
        words[_LOOPS] = self._loops
        words[_HANDLED] = handled
        words[_RECEIVED] = received
        words[_SENT] = sent
        words[_ANSWERED] = work.answered
        words[_FAILED] = work.failed
        words[_FAILED_IN_A_ROW] = work.failed_in_a_row
        words[_BUSY_NS] = work.busy_ns
        self.on_beat()

    def concern(self, text: str) -> None:
        """Note what keeps the process from its work, for `status`; an empty text when it is over."""
        words = text.encode(errors="replace")[:_CONCERN_SIZE]
        self._page[_CONCERN_AT : _CONCERN_AT + _CONCERN_SIZE + 1] = words.ljust(_CONCERN_SIZE + 1, b"\0")

    def last_words(self, reason: str) -> None:
        """Note why the process is about to end itself, or what it waits for; an empty text when it waits no longer.

        The newest end of a long text is kept.
        """
        text = reason.encode(errors="replace")[-_REASON_SIZE:]
        self._page[_REASON_AT : _REASON_AT + len(text)] = text
        self._page[_REASON_AT + len(text)] = 0


def prepare(path: Path) -> None:
    """Have a box's place on the disk before its process begins; what was in it is gone.

    Raises:
        OSError: There is no room for it.
    """
    descriptor = _allocated(path)
    try:
        os.pwrite(descriptor, bytes(_SIZE), 0)
    finally:
        os.close(descriptor)


def read(path: Path) -> Reading | None:
    """Read a black box; None where there is none yet."""
    try:
        # Without a file object around it: boxes are read some thirty times a second, all day.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        page = os.read(descriptor, _SIZE)
    finally:
        os.close(descriptor)
    if len(page) < _SIZE or page[:8] != _MAGIC:
        return None
    _, pid, incarnation, epoch, beat, loops, handled, received, sent, *work = _HEAD.unpack_from(page, 0)
    busy, trace_id, handler = _BUSY.unpack_from(page, _STATE_AT)
    concern = page[_CONCERN_AT : _CONCERN_AT + _CONCERN_SIZE].split(b"\0", 1)[0]
    return Reading(
        pid=pid,
        incarnation=incarnation,
        epoch=epoch,
        beat_age_s=max(0.0, (time.monotonic_ns() - beat) / 1e9),
        loops=loops,
        handled=handled,
        received=received,
        sent=sent,
        trace_id=trace_id.rstrip(b"\0").decode(errors="replace") if busy else "",
        handler=handler.rstrip(b"\0").decode(errors="replace") if busy else "",
        reason=_reason(page),
        concern=concern.decode(errors="replace"),
        work=Work(*work),
    )


def _reason(page: bytes) -> str:
    return page[_REASON_AT : _REASON_AT + _REASON_SIZE].split(b"\0", 1)[0].decode(errors="replace")


def _allocated(path: Path) -> int:
    """A descriptor of a file whose page is on the disk: a first write to a hole would be a SIGBUS on a full one."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _SIZE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
