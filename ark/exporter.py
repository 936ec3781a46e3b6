"""The exporter's process: metrics, health and the page over HTTP.

One asyncio loop on the worker's thread serves, hears its supervisor, and beats the black box, so that a loop that
is stuck stops beating. What is served is in `ark.view` and `ark.web`, the socket in `ark.listener`. Where traces go
to a collector, a thread of its own feeds it (`ark.otlp`).
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
import traceback
from contextlib import suppress
from pathlib import Path

import msgspec

from ark.acts import ActDesk
from ark.blackbox import BlackBox
from ark.config import Config
from ark.control import Control, Duty
from ark.errors import NodeError
from ark.home import Home
from ark.keys import Refusal
from ark.listener import Listener, open_socket
from ark.log import Log
from ark.operator_line import OperatorLine
from ark.otlp import OtlpExport
from ark.static_files import StaticFiles
from ark.token_book import TokenBook
from ark.view import NodeView
from ark.web import application

__all__ = ["ExporterWorker"]

_PAGE = Path(__file__).parent / "page"
_LOOK_S = 1.0
"""How often a sample is taken."""
_TOLD_AGAIN_S = 60.0
_MOST_NOTED = 100
_RETRY_S = 0.5
"""Seconds between two tries to listen."""


class ExporterWorker:
    """The worker of the exporter's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._duty = duty
        self._control = control
        self._box = box
        self._home = Home(Path(duty.home))
        self._log = Log(self._home.logs / "supervision.log")
        self._config = msgspec.convert(duty.config, Config)
        self._beat_s = self._config.watchdog.interval_s / 4
        self._line = OperatorLine(self._home.socket("operator"))
        self._listening: socket.socket | None = None
        self._noted: dict[str, float] = {}
        self._otlp: OtlpExport | None = None
        self._not_listening = self._concern = ""
        self._rounds = 0

    def prepare(self) -> None:
        """Listen. Where the port is taken a node does not start; one that runs goes on without, and tries again."""
        try:
            self._listening = open_socket(self._config.metrics.listen)
        except NodeError as error:
            if self._duty.incarnation == 1:
                raise
            self._not_listening = error.line
            self._log.write("not_listening", name=self._duty.name, reason=error.line)
        self._otlp = OtlpExport.of(self._home, self._config.traces)
        self._view = NodeView(self._home, self._config, self._line)
        self._beat()

    def run(self) -> None:
        """Serve until told to stop."""
        if self._otlp is not None:
            self._otlp.start()
        asyncio.run(self._serve())
        if self._otlp is not None:
            self._otlp.stop()

    async def _serve(self) -> None:
        view, line = self._view, self._line
        desk = ActDesk(TokenBook(self._home).holder, line, self._tell, own_name=self._duty.name)
        listener = Listener(application(view, desk, StaticFiles(_PAGE), self._note))
        told_to_stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._note(context.get("exception") or context["message"]))
        loop.add_reader(self._control.fileno(), self._hear, view, told_to_stop)
        async with asyncio.TaskGroup() as tasks:  # what escapes from one ends all, and the process
            work = [tasks.create_task(each) for each in (self._go_round(view), self._listen(listener))]
            await told_to_stop.wait()
            for each in work:
                each.cancel()
        await view.stop()
        await listener.stop()
        line.close()

    async def _go_round(self, view: NodeView) -> None:
        """Beat, and take a sample each second."""
        due = next_look = time.monotonic()
        while True:
            self._beat()
            if due >= next_look:
                next_look = due + _LOOK_S - self._beat_s / 2
                self._look(view)
            due = max(due + self._beat_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _look(self, view: NodeView) -> None:
        """Take a sample. A defect in that is told of and ends nothing: the pipeline would go with this process."""
        try:
            view.look()
        except Exception as error:  # noqa: BLE001
            self._note(error)

    async def _listen(self, listener: Listener) -> None:
        while self._listening is None:
            await asyncio.sleep(_RETRY_S)
            with suppress(NodeError):
                self._listening = open_socket(self._config.metrics.listen)
                self._not_listening = ""
                self._tell_concern()
        await listener.start(self._listening)

    def _hear(self, view: NodeView, told_to_stop: asyncio.Event) -> None:
        for words in self._control.hear():
            match words["do"]:
                case "tree":
                    view.see_tree(words["children"])
                case "stop":
                    told_to_stop.set()
        if self._control.is_closed:
            told_to_stop.set()

    def _beat(self) -> None:
        self._rounds += 1
        self._tell_concern()
        self._box.beat(epoch=self._duty.epoch, handled=self._rounds, received=0, sent=0)

    def _tell_concern(self) -> None:
        otlp = "" if self._otlp is None else self._otlp.trouble
        concern = "; ".join(each for each in (self._not_listening, otlp) if each)
        if concern != self._concern:
            self._concern = concern
            self._box.concern(concern)

    def _tell(self, refusal: Refusal, kept_back: int) -> None:
        """Tell of an attempt with a wrong token as the gateway does of a wrong key."""
        words = msgspec.structs.asdict(refusal) | ({"kept_back": kept_back} if kept_back else {})
        self._log.write("refused", **words)
        with suppress(BlockingIOError):
            self._control.say(say="event", kind="refused", fields=words)

    def _note(self, error: BaseException | str) -> None:
        """Something escaped that is a defect: told to the log, the same once a minute, and to nobody outside."""
        reason = error if isinstance(error, str) else "".join(traceback.format_exception(error))
        now = time.monotonic()
        if now - self._noted.get(reason, -math.inf) > _TOLD_AGAIN_S:
            self._noted = {reason: now} if len(self._noted) > _MOST_NOTED else {**self._noted, reason: now}
            self._log.write("defect", name=self._duty.name, reason=reason)
