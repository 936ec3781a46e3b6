"""Thespian bring-up: an actor system with its root, and the line between it and `ark-run start`.

The line is a socket pair that the root inherits. The guardian says `stop` on it; the root says `ready`, `stopped`
or why it gave up. When the guardian dies, its end closes, and the root takes the whole tree down. When the root
dies, the guardian sees it by its pid file descriptor and builds everything anew: the crash is the ordinary case.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any

import msgspec
from thespian.actors import ActorSystem

from ark.control import Control, Duty
from ark.errors import BootError
from ark.home import Home
from ark.host import load_object
from ark.lineage import end, end_descendants_with_parents, in_forked_child
from ark.transport import fence

__all__ = ["Engine"]

_BUILD_TIMEOUT_S = 10.0


class Engine:
    """One actor system with its root actor.

    Args:
        home: The node's home, locked by this process.
        root: The root's class as `module:Class`.
    """

    def __init__(self, home: Home, root: str) -> None:
        self._home = home
        self._root_class = root
        self._line: Control | None = None
        self._root_pid: int | None = None
        self._root_handle: int | None = None
        self._admin_pid: int | None = None

    def start(self, duty: Duty) -> None:
        """Bring up the admin and the root, and tell the root its duty.

        Raises:
            BootError: It did not come up in time.
        """
        os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"  # otherwise it asks the network for its own address
        os.environ["THESPLOG_FILE"] = str(self._home.logs / "thespian.log")
        fence(self._home.secret("node.key"))
        # The admin daemonises by forking twice; what it forks then (its logger, the root) dies with it, and it
        # with us, who have adopted it.
        end_descendants_with_parents(spared=2)
        ours, theirs = Control.pair()
        in_forked_child(ours.close)
        root_class = load_object(self._root_class)
        system = _fresh_system(self._home)
        try:
            root = system.createActor(root_class)
            options = {**duty.options, "line": theirs.fileno()}
            system.tell(root, msgspec.structs.replace(duty, options=options))
        except Exception as error:
            raise BootError(f"the actor system did not come up: {error}") from error
        self._line = ours
        hello = self._wait_for("hello")
        theirs.close()
        if hello is None:
            raise BootError("the root of the tree did not answer", hint=f"see {self._home.logs}")
        self._root_pid = hello["pid"]
        self._admin_pid = hello["admin"]
        self._root_handle = _handle(hello["pid"])

    def fileno(self) -> int:
        """The descriptor that becomes readable when the root says something."""
        assert self._line is not None
        return self._line.fileno()

    @property
    def root_handle(self) -> int:
        """The descriptor that becomes readable when the root is dead."""
        assert self._root_handle is not None
        return self._root_handle

    @property
    def root_pid(self) -> int:
        """The root's process."""
        assert self._root_pid is not None
        return self._root_pid

    def hear(self) -> list[dict[str, Any]]:
        """What the root has said."""
        return self._line.hear() if self._line else []

    def ask_to_stop(self) -> None:
        """Ask the root for an orderly stop; it answers `stopped`."""
        if self._line:
            try:
                self._line.say(do="stop")
            except OSError:
                return

    def end(self) -> None:
        """End whatever is left: the admin, and with it its logger, the root and all below."""
        if self._admin_pid is not None:
            end(self._admin_pid)
        if self._root_handle is not None:
            select.select([self._root_handle], [], [], 5.0)
            os.close(self._root_handle)
        if self._line:
            self._line.close()
        self._line = self._root_handle = self._root_pid = self._admin_pid = None

    def _wait_for(self, word: str) -> dict[str, Any] | None:
        until = time.monotonic() + _BUILD_TIMEOUT_S
        while time.monotonic() < until:
            select.select([self.fileno()], [], [], 0.1)
            for words in self.hear():
                if words.get("say") == word:
                    return words
        return None


def _fresh_system(home: Home) -> ActorSystem:
    """An actor system of this process's own; Thespian keeps one for ever unless it is told to forget it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(home.logs / "actors.log"),
                "maxBytes": 1 << 20,
                "backupCount": 2,
                "formatter": "line",
                "level": "WARNING",
            }
        },
        "root": {"handlers": ["file"], "level": "WARNING"},
    }
    return ActorSystem("multiprocTCPBase", capabilities={"Admin Port": port}, logDefs=log, transientUnique=True)


def _handle(pid: int) -> int:
    """A descriptor that becomes readable when a process is dead; at once for one that is gone already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        reading, writing = os.pipe()
        os.close(writing)
        return reading
