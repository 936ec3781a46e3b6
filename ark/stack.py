"""Where a process that hangs is stuck: its stack, written by the process itself when it is asked with a signal.

`faulthandler` answers in the signal's handler, in C: it needs neither the interpreter's lock nor a loop that goes
round, so that a process in an endless loop, or in a call that never returns, still answers. One that is stopped
does not.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import time
from pathlib import Path
from typing import IO

__all__ = ["ask", "listen", "readable"]

ASK = signal.SIGUSR2
"""The signal that asks; Thespian uses others."""
_WORKER = "in _work"
"""How the outermost frame ends of the thread that does a process's work (`ark.host`)."""
_LARGEST = 2_500
_MOST_READ = 64 << 10
_listening: list[IO[bytes]] = []


def listen(path: Path) -> None:
    """Answer from now on, into that file; once for each process.

    Args:
        path: The file; it is made anew, for its owner only.

    Raises:
        OSError: It cannot be made.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb", buffering=0)
    _listening.append(file)  # faulthandler keeps the number only
    faulthandler.register(ASK, file=file, all_threads=True)


def ask(pid: int, path: Path, patience_s: float = 0.05) -> str:
    """Have a process say where it is.

    Args:
        pid: The process; it must have called `listen`, for the signal would end it otherwise.
        path: The file it answers into. Where there is none, it is not asked.
        patience_s: How long to wait.

    Returns:
        The stack of the thread that works, the innermost call last, as in a traceback; empty where none came.
    """
    try:
        before = path.stat().st_size
        os.kill(pid, ASK)
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            time.sleep(0.002)
            with open(path, "rb") as file:
                file.seek(before)
                found = readable(file.read(_MOST_READ).decode(errors="replace"))
            if found:
                return found
    except OSError:
        return ""
    return ""


def readable(dump: str) -> str:
    """The stack of the thread that works, out of what `faulthandler` wrote; empty where it is not whole."""
    for thread in re.split(r"\n\s*\n", dump):
        lines = thread.strip().splitlines()
        if len(lines) > 1 and lines[-1].endswith("in _bootstrap") and any(_WORKER in line for line in lines):
            frames = [line.strip() for line in lines[1:] if line.strip().startswith("File ")]
            outermost = next(number for number, line in enumerate(frames) if line.endswith(_WORKER))
            text = "\n".join(reversed(frames[:outermost]))
            return text[-_LARGEST:]
    return ""
