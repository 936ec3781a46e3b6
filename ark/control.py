"""The control channel between a process's two threads: Thespian's, and the one that works.

Both ends speak in small maps with a key `do` (towards the worker) or `say` (from it). The host hands them on
unread, so that a supervisor's word reaches the worker as it was said.
"""

from __future__ import annotations

import socket
from typing import Any

import msgspec

__all__ = ["Control", "Duty"]

_LARGEST = 1 << 20


class Control:
    """One end of the channel; a datagram is a map, so nothing needs framing.

    Attributes:
        is_closed: Whether the other end was found closed.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.is_closed = False
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _LARGEST)

    @classmethod
    def pair(cls) -> tuple[Control, Control]:
        """Two connected ends."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(left), cls(right)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Control:
        """An end that was inherited."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._end.fileno()

    def say(self, **words: Any) -> None:
        """Send one map. Raises BlockingIOError where the other side has not listened for a very long time."""
        self._end.send(msgspec.msgpack.encode(words))

    def hear(self) -> list[dict[str, Any]]:
        """Every map that has arrived; never waits."""
        heard: list[dict[str, Any]] = []
        while True:
            try:
                datagram = self._end.recv(_LARGEST)
            except BlockingIOError:
                return heard
            except ConnectionResetError:
                datagram = b""
            if not datagram:
                self.is_closed = True
                return heard
            heard.append(msgspec.msgpack.decode(datagram))

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class Duty(msgspec.Struct, frozen=True):
    """What a process is told to be, by its supervisor.

    Attributes:
        name: Its name in the tree.
        parent: Its supervisor's name.
        kind: `agent`, `service`, or `supervisor`.
        runner: What runs in it, as `module:Class`.
        incarnation: Which start of it this is.
        epoch: The epoch that it begins in.
        home: The node's home.
        config: The whole configuration, as a plain map.
        secrets: Secrets for this process alone, by name.
        options: What else its runner needs.
    """

    name: str
    parent: str
    kind: str
    runner: str
    incarnation: int
    epoch: int
    home: str
    config: dict[str, Any]
    secrets: dict[str, bytes] = {}
    options: dict[str, Any] = {}
