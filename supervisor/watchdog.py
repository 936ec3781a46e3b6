"""The Watchdog's process: reads every black box, and has hung processes replaced.

It gets no message from anybody it watches, so a full queue cannot fake a death. Who is hung is decided by
`supervisor.heartbeats`; the supervisor does the rest.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import zmq

from ark.blackbox import BlackBox, read
from ark.config import Config
from ark.control import Control, Duty
from ark.home import Home
from supervisor.heartbeats import Limits, Memory, Vital, judge

__all__ = ["WatchdogWorker"]


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
        self._tree: list[dict[str, Any]] = []
        self._rounds = 0

    def prepare(self) -> None:
        """Nothing to open: the black boxes are read anew each time."""
        self._beat()

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
            self._beat()

    def _watch(self) -> None:
        now = time.monotonic()
        verdicts, self._memory = judge(list(self._vitals(now)), self._limits, self._memory, now)
        for verdict in verdicts:
            self._control.say(say="hung", name=verdict.name, incarnation=verdict.incarnation, reason=verdict.reason)

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
