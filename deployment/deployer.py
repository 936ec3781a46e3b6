"""The deploy actor's process: its mailbox, its heartbeat, and its rounds.

What it does there is `deployment.operation`, which is imported with the first order, or where there ever was a
rollout: most nodes never have one, and each start would pay for it.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from ark.blackbox import BlackBox
from ark.config import Config
from ark.control import Control, Duty
from ark.deploy_desk import Order, Reply
from ark.errors import MessageError
from ark.home import Home
from ark.log import Log
from ark.message import ORDER, REPLY, Envelope, encode, unpack
from ark.wire import Outbox, mailbox

if TYPE_CHECKING:
    from deployment.operation import Operation

__all__ = ["DeployerWorker"]

_LOOK_S = 0.1
"""How often a rollout that is under way is looked at."""
_BOOK = "deploy.db"


class DeployerWorker:
    """The worker of the deploy actor's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._control = control
        self._box = box
        self._duty = duty
        self._home = Home(Path(duty.home))
        self._config = msgspec.convert(duty.config, Config)
        self._beat_s = self._config.watchdog.interval_s / 4
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inbox = mailbox(self._zmq, self._home.mailbox(duty.name))
        self._gateway = Outbox(self._zmq, self._home.mailbox("gateway"))
        self._operation: Operation | None = None
        self._tree: list[dict[str, Any]] = []
        self._handled = 0
        self._told_unreadable = False

    def prepare(self) -> None:
        """Take up what an earlier process left."""
        if (self._home.data / _BOOK).exists():
            self._operate()
        self._beat()

    def run(self) -> None:
        """Work until told to stop."""
        poller = zmq.Poller()
        poller.register(self._inbox, zmq.POLLIN)
        poller.register(self._control.fileno(), zmq.POLLIN)
        while True:
            is_active = self._operation is not None and self._operation.is_active
            ready = dict(poller.poll(round((_LOOK_S if is_active else self._beat_s) * 1000)))
            if self._control.fileno() in ready and not self._hear():
                break
            if self._inbox in ready:
                self._take()
            if self._operation is not None:
                self._operation.look()
            self._gateway.flush()
            self._beat()
        if self._operation is not None:
            self._operation.close()
        self._zmq.destroy(linger=100)

    def _beat(self) -> None:
        self._box.beat(epoch=self._duty.epoch, handled=self._handled, received=0, sent=0)

    def _operate(self) -> Operation:
        if self._operation is None:
            self._operation = importlib.import_module("deployment.operation").Operation(
                self._home, self._config, say=self._control.say, reply=self._reply
            )
            self._operation.tree = self._tree
        return self._operation

    def _hear(self) -> bool:
        for words in self._control.hear():
            if words.get("do") == "stop":
                return False
            if words.get("do") == "tree":
                self._tree = words["children"]
                if self._operation is not None:
                    self._operation.tree = self._tree
        return True

    def _take(self) -> None:
        with suppress(zmq.Again):
            while True:
                frame = self._inbox.recv(zmq.NOBLOCK)
                try:
                    orders = [
                        msgspec.msgpack.decode(envelope.payload, type=Order)
                        for envelope in unpack(frame)
                        if envelope.kind == ORDER
                    ]
                except (MessageError, msgspec.DecodeError) as error:
                    self._tell_unreadable(str(error))
                    continue
                for order in orders:
                    self._handled += 1
                    self._operate().take(order)

    def _tell_unreadable(self, reason: str) -> None:
        """Once in a process's life: what an arm runs is foreign code, which could fill the log."""
        if not self._told_unreadable:
            self._told_unreadable = True
            words = {"name": self._duty.name, "why": "unreadable", "reason": reason[:200]}
            Log(self._home.logs / "supervision.log").write("refused", **words)
            self._control.say(say="event", kind="refused", fields=words)

    def _reply(self, reply: Reply) -> None:
        self._gateway.send([Envelope(REPLY, self._duty.name, "", 0, 0, 0, encode(reply))])
