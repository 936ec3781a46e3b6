"""The Watchdog's process: reads every black box, and has hung processes replaced."""

from __future__ import annotations

import zmq

from ark.blackbox import BlackBox
from ark.config import Config
from ark.control import Control, Duty
import msgspec

class WatchdogWorker:
    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._control = control
        self._box = box
        self._epoch = duty.epoch

    def prepare(self) -> None:
        pass

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._control.fileno(), zmq.POLLIN)
        while True:
            if poller.poll(250):
                for w in self._control.hear():
                    if w["do"] == "stop":
                        return
            self._box.beat(epoch=self._epoch, handled=0, received=0, sent=0)
