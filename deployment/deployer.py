"""The deploy actor's process. What it decides is in `deployment.rollout`; here are files, clocks and the loop."""

from __future__ import annotations

import select
from pathlib import Path

import msgspec

from ark.blackbox import BlackBox
from ark.config import Config
from ark.control import Control, Duty
from ark.home import Home

__all__ = ["DeployerWorker"]


class DeployerWorker:
    """The worker of the deploy actor's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._control = control
        self._box = box
        self._home = Home(Path(duty.home))
        config = msgspec.convert(duty.config, Config)
        self._beat_s = config.watchdog.interval_s / 4
        self._epoch = duty.epoch

    def prepare(self) -> None:
        """Take up what an earlier process left."""
        self._beat()

    def run(self) -> None:
        """Work until told to stop."""
        while True:
            readable, _, _ = select.select([self._control.fileno()], [], [], self._beat_s)
            if readable and any(words.get("do") == "stop" for words in self._control.hear()):
                return
            self._beat()

    def _beat(self) -> None:
        self._box.beat(epoch=self._epoch, handled=0, received=0, sent=0)
