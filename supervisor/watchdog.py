"""The Watchdog's process: reads every black box, has hung processes replaced, and checks the rule book's seal.

It gets no message from anybody it watches, so a full queue cannot fake a death. Who is hung is decided by
`supervisor.heartbeats`; the supervisor does the rest. The seal is checked from here, too, since the judge's own
process may be the one that was tampered with.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import zmq

from ark import seal
from ark.blackbox import BlackBox, read
from ark.config import Config
from ark.control import Control, Duty
from ark.home import Home
from ark.log import Log
from supervisor.heartbeats import Limits, Memory, Vital, judge

__all__ = ["SealWatch", "WatchdogWorker"]


class SealWatch(threading.Thread):
    """Checks the files, the signature and the modes of the rule book, and halts trading while a fault lasts.

    It has a thread of its own: a disk that stalls must not stop the Watchdog's heart. A halt that stands is never
    overwritten, and none is lifted here; who resumes while the fault lasts is halted again at the next check.

    Args:
        home: The node's home.
        interval_s: Seconds between two checks.
        check: Gives the report on the seal.
    """

    def __init__(self, home: Home, interval_s: float, check: Callable[[], seal.Report]) -> None:
        super().__init__(name="seal", daemon=True)
        self._home = home
        self._interval_s = interval_s
        self._check = check
        self._log = Log(home.logs / "supervision.log")
        self._known = ""
        self._found: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def run(self) -> None:
        """Check at once, and then again and again; ends with its process."""
        while True:
            self.look()
            time.sleep(self._interval_s)

    def look(self) -> None:
        """Check once."""
        reason = "; ".join(self._check().faults)
        if reason:
            halted = self._home.halt_once(
                f"the seal of the rule book is broken: {reason}", by="watchdog", at=time.time()
            )
            if halted or reason != self._known:
                self._log.write("seal_broken", name="watchdog", reason=reason)
                self._found.put({"reason": reason})
        self._known = reason

    def found(self) -> list[dict[str, Any]]:
        """What was found since the last call, as fields of the event `seal_broken`."""
        found = []
        while True:
            try:
                found.append(self._found.get_nowait())
            except Empty:
                return found


class WatchdogWorker:
    """The worker of the Watchdog's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._name = duty.name
        self._epoch = duty.epoch
        self._home = Home(Path(duty.home))
        self._control = control
        self._box = box
        settings = msgspec.convert(duty.config, Config).watchdog
        self._limits = Limits(interval_s=settings.interval_s, missed=settings.missed)
        self._memory = Memory()
        key = os.environ.get(seal.KEY_VARIABLE, "")
        self._seal = SealWatch(self._home, settings.graveyard_interval_s, lambda: seal.check(memory=False, key=key))
        self._tree: list[dict[str, Any]] = []
        self._rounds = 0

    def prepare(self) -> None:
        """Begin to look after the seal. Nothing else to open: the black boxes are read anew each time."""
        self._beat()
        self._seal.start()

    def run(self) -> None:
        """Watch until told to stop."""
        poller = zmq.Poller()
        poller.register(self._control.fileno(), zmq.POLLIN)
        while True:
            if poller.poll(int(self._limits.interval_s * 250)):
                for words in self._control.hear():
                    if words["do"] == "stop":
                        return
                    if words["do"] == "tree":
                        self._tree = words["children"]
            self._watch()
            self._tell_seal()
            self._beat()

    def _watch(self) -> None:
        now = time.monotonic()
        verdicts, self._memory = judge(list(self._vitals(now)), self._limits, self._memory, now)
        for verdict in verdicts:
            self._control.say(say="hung", name=verdict.name, incarnation=verdict.incarnation, reason=verdict.reason)

    def _tell_seal(self) -> None:
        for fields in self._seal.found():
            self._control.say(say="event", kind="seal_broken", fields=fields)
        if not self._seal.is_alive():
            raise RuntimeError("the check of the rule book's seal has ended")

    def _vitals(self, now: float) -> list[Vital]:
        vitals = []
        for child in self._tree:
            # The root has no supervisor that could replace it; the guardian watches it.
            if child["pid"] is None or child["parent"] is None or child["name"] == self._name:
                continue
            box = read(self._home.box(child["name"]))
            own = box is not None and box.pid == child["pid"]
            vitals.append(
                Vital(
                    child["name"],
                    child["pid"],
                    child["incarnation"],
                    box.beat_age_s if box and own else now - child["since"],
                    box.trace_id if box and own else "",
                    box.handler if box and own else "",
                    child["state"],
                )
            )
        return vitals

    def _beat(self) -> None:
        self._rounds += 1
        self._box.beat(epoch=self._epoch, handled=self._rounds, received=0, sent=0)
