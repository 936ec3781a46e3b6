"""What may be slow to look at is looked at on threads: the Watchdog's own loop must never wait for anything."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from typing import Any, Generic, TypeVar

import msgspec
import psutil
import zmq

from ark.client import Client
from ark.errors import ArkError
from ark.home import Home
from supervisor.monitors import Door, Usage

__all__ = ["Clerk", "Probe", "ask_door", "usages"]

Found = TypeVar("Found")

ANSWER_S = 2.0
"""How long the front door gets for an answer."""
_MOST_JOBS = 1000


class Probe(threading.Thread, Generic[Found]):
    """Looks at something again and again on a thread of its own.

    Args:
        name: The thread's.
        interval_s: The time between two looks.
        look: Gives what is seen; may take its time. What escapes from it ends the thread.
    """

    def __init__(self, name: str, interval_s: float, look: Callable[[], Found]) -> None:
        super().__init__(name=name, daemon=True)
        self._interval_s = interval_s
        self._look = look
        self._found: Found | None = None

    def run(self) -> None:
        """Look at once, and then again and again; ends with its process."""
        while True:
            self._found = self._look()
            time.sleep(self._interval_s)

    def latest(self) -> Found | None:
        """What was seen last; None before the first look has ended."""
        return self._found


class _Child(msgspec.Struct):
    name: str
    mailbox_depth: int | None


class _Signals(msgspec.Struct):
    in_flight: int | None
    dead_letters: int | None


class _Status(msgspec.Struct):
    """What the monitors need of a status."""

    children: list[_Child]
    signals: _Signals
    violations: int = 0


def ask_door(home: Home) -> Door:
    """Ask the node for its status through its front door, as an operator's command would, and take the time.

    A door that answers nonsense counts as one that does not answer.
    """
    began = time.monotonic()
    try:
        with Client.for_home(home.path, timeout_s=ANSWER_S) as client:
            status = client.request("status")
        msgspec.convert(status, _Status)
    except ArkError as error:
        return Door(began, None, {}, str(error))
    except (msgspec.ValidationError, zmq.ZMQError, ValueError, TypeError, AttributeError) as error:
        return Door(began, None, {}, f"its answer makes no sense: {error}")
    return Door(began, time.monotonic() - began, status)


def usages(processes: Sequence[tuple[str, int, int]]) -> list[Usage]:
    """What each process holds; those that are gone are left out.

    Args:
        processes: Names, incarnations and pids.
    """
    found = []
    for name, incarnation, pid in processes:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                memory = process.memory_info().rss
            most, _ = process.rlimit(psutil.RLIMIT_NOFILE)
            found.append(Usage(name, incarnation, memory, process.num_fds(), most))
        except (psutil.Error, OSError):
            continue
    return found


class Clerk(threading.Thread):
    """Does what touches the disk, job by job: records, halts, reports. A disk that stalls stops no other thread;
    what cannot be written is given up.
    """

    def __init__(self) -> None:
        super().__init__(name="clerk", daemon=True)
        self._jobs: Queue[Callable[[], object]] = Queue(_MOST_JOBS)

    def run(self) -> None:
        """Work off the jobs; ends with its process."""
        while True:
            job = self._jobs.get()
            try:
                job()
            except OSError as error:
                with suppress(OSError):
                    sys.stderr.write(f"the Watchdog could not write: {error}\n")

    def do(self, job: Callable[[], object]) -> bool:
        """Put a job at the end of the queue.

        Returns:
            Whether it was taken; it is not while a thousand others wait.
        """
        try:
            self._jobs.put_nowait(job)
        except Full:
            return False
        return True


def write_report(path: Path, report: Mapping[str, Any], encode: Callable[[Any], bytes]) -> None:
    """Replace the report; where it cannot be written, the old one stays."""
    fresh = path.with_suffix(".new")
    try:
        with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(encode(report))
        fresh.replace(path)
    except OSError:
        return
