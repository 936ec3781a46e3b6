"""The Thespian actor that holds a worker: an agent, the gateway, the Watchdog, the exporter.

The worker runs on a thread of its own and never returns from a failure: it notes its last words in its black box
and ends the process. Thespian's thread only passes control messages, watched through a socket pair.
"""

from __future__ import annotations

import importlib
import os
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from setproctitle import setproctitle
from thespian.actors import Actor, ActorExitRequest, ThespianWatch, WatchMessage

from ark import stack
from ark.blackbox import BlackBox
from ark.control import Control, Duty
from ark.errors import ArkError
from ark.home import Home
from ark.process_log import ProcessLog
from ark.storage import fault_of, halt_for

__all__ = ["EXIT_BOOT", "EXIT_FAILED", "EXIT_OK", "Host", "Worker", "load_object"]

EXIT_OK = 0
"""The process was asked to stop, and did."""
EXIT_BOOT = 3
"""The process could not start; another try would fail the same way."""
EXIT_FAILED = 70
"""The process gave up: something escaped from a handler (EX_SOFTWARE)."""


class Worker(Protocol):
    """What runs in a process. Made in the process itself, after the fork."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None: ...

    def prepare(self) -> None:
        """Open what is needed. What fails here counts as a failure to boot."""

    def run(self) -> None:
        """Work, and return when told to stop."""


def load_object(name: str) -> Any:
    """Import what `module:Name` names.

    Raises:
        ArkError: There is no such module, or no such name in it.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ArkError(f"cannot import {name}: {error}", hint="is its folder named by `path`?") from error


class Host(Actor):  # type: ignore[misc]
    """One leaf of the tree. Agents and services never see it."""

    def __init__(self) -> None:
        super().__init__()
        self._control: Control | None = None
        self._parent: Any = None

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        """Thespian's entry. Nothing may escape: Thespian would call it a second time with the same message."""
        try:
            self._take(message, sender)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(EXIT_FAILED)
        # Thespian forgets the descriptor unless every return names it again.
        return ThespianWatch([self._control.fileno()]) if self._control else None

    def _take(self, message: Any, sender: Any) -> None:
        if isinstance(message, WatchMessage):
            if self._control:
                for words in self._control.hear():
                    self.send(self._parent, words)
        elif isinstance(message, Duty):
            self._parent = sender
            self._begin(message)
        elif isinstance(message, ActorExitRequest):
            os._exit(EXIT_OK)
        elif isinstance(message, dict) and self._control:
            with suppress(BlockingIOError):  # a worker that does not listen is hung; its heartbeat says so
                self._control.say(**message)

    def _begin(self, duty: Duty) -> None:
        self._control, far_end = Control.pair()
        setproctitle(f"ark: {duty.name} ({duty.home})")
        threading.Thread(target=_work, args=(duty, far_end), name=duty.name, daemon=True).start()


def _work(duty: Duty, control: Control) -> None:
    home = Home(Path(duty.home))
    logs = ProcessLog.begin(duty)
    log = logs.log
    log.info("started", pid=os.getpid(), incarnation=duty.incarnation, epoch=duty.epoch)
    try:
        box = BlackBox(home.box(duty.name), incarnation=duty.incarnation)
    except OSError as error:
        log.critical("failed", exc_info=error)
        os._exit(EXIT_FAILED)
    box.on_beat = logs.beat
    with suppress(OSError):  # on a full disk nobody will know where it hangs
        stack.listen(home.stack(duty.name))
    # What is provisional is taken away again: the next try may be with another release.
    exit_code = EXIT_FAILED if duty.options.get("provisional") else EXIT_BOOT
    try:
        worker: Worker = load_object(duty.runner)(duty, control, box)
        worker.prepare()
        exit_code = EXIT_FAILED
        log.info("ready")
        control.say(say="ready", version=getattr(worker, "version", ""))  # an agent's own may differ from ARK's
        worker.run()
    except BaseException as error:
        fault = fault_of(error, duty.name)
        if fault and fault.damaged:
            halt_for(fault, home, duty.name)
        told = fault or error
        box.last_words(told.line if isinstance(told, ArkError) else traceback.format_exc())
        log.critical("failed", reason=told.line if isinstance(told, ArkError) else str(told), exc_info=error)
        logs.end()
        # Another try may do better where the disk is at fault.
        os._exit(EXIT_FAILED if fault else exit_code)
    log.info("stopped")
    logs.end()
    os._exit(EXIT_OK)
