"""ZeroMQ sockets, opened the one right way.

ZeroMQ drops, steals and blocks silently at known places. A mailbox is a bound PULL socket, for which a sender that
cannot deliver keeps what it has; an outbox is a connected PUSH socket that never blocks: what does not fit stays
here, in order. The reconnect interval is 5 ms instead of 100, which is most of the time that a recovery takes.
"""

from __future__ import annotations

import resource
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import zmq

from ark.message import Envelope, pack

__all__ = ["FRAME", "Guard", "Outbox", "Route", "bind", "mailbox", "monitor_event", "most_connections"]

FRAME = 64
"""At most so many envelopes stand in one frame, so that a receiver can share out its time."""
_LARGEST_INSIDE = 64 << 20
_HIGH_WATER = 4096
_MOST_CONNECTIONS = 4096
"""Of strangers to one socket; each takes some kilobytes."""

Guard: TypeAlias = Callable[[zmq.Socket[bytes]], None]
"""Sets how those who connect to a socket prove who they are."""

Route: TypeAlias = tuple[Any, list[bytes]]
"""A socket and the frames that lead a reply back to its client."""


def mailbox(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """The mailbox of one process, bound."""
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
    socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_INSIDE)
    socket.bind(endpoint)
    return socket


def monitor_event(frames: list[bytes]) -> tuple[int, int]:
    """What a socket's monitor tells: which event, and its value, such as an error's number.

    `zmq.utils.monitor` would read it, too, but takes asyncio along: 40 ms for each command at a terminal.

    Args:
        frames: As `zmq_socket_monitor` documents them: 16 bits of the event and 32 of the value, then the address.
    """
    event, value = struct.unpack("=Hi", frames[0])
    return event, value


def bind(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    endpoint: str,
    *,
    largest: int,
    incoming: int,
    outgoing: int,
    inside: str = "",
    guard: Guard | None = None,
) -> zmq.Socket[bytes]:
    """A socket that outside programs connect to, with bounds in both directions.

    Args:
        context: The process's ZeroMQ context.
        kind: The socket's type.
        endpoint: Where to listen.
        largest: Bytes of one frame; a larger one ends the connection that sent it.
        incoming, outgoing: Messages that may wait, for each client.
        inside: A second endpoint, for those who can open the home; nobody guards it.
        guard: Called before the socket listens at `endpoint`.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 200)
    socket.setsockopt(zmq.RCVHWM, incoming)
    socket.setsockopt(zmq.SNDHWM, outgoing)
    socket.setsockopt(zmq.MAXMSGSIZE, largest)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    if "[" in endpoint:
        socket.setsockopt(zmq.IPV6, 1)
    if inside:
        socket.bind(inside)
    if guard is not None:  # options count for what is bound after them
        guard(socket)
    socket.bind(endpoint)
    return socket


def most_connections() -> int:
    """How many clients one socket may have, so that two of them leave at least half of the descriptors free.

    libzmq ends the process where none is left for a connection over a Unix socket.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft // 4)


class Outbox:
    """The way to one mailbox: keeps the order, never blocks, never drops.

    Args:
        context: The process's ZeroMQ context.
        endpoint: The mailbox's endpoint; nobody needs to be there yet.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 5)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 10)
        self._socket.connect(endpoint)
        self._waiting: deque[bytes] = deque()

    @property
    def is_blocked(self) -> bool:
        """Whether something waits here because the other side takes no more."""
        return bool(self._waiting)

    def send(self, envelopes: list[Envelope]) -> None:
        """Hand over envelopes, in order."""
        for start in range(0, len(envelopes), FRAME):
            self._waiting.append(pack(envelopes[start : start + FRAME]))
        self.flush()

    def flush(self) -> None:
        """Try again what waits."""
        while self._waiting:
            try:
                self._socket.send(self._waiting[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            self._waiting.popleft()

    def close(self, linger_ms: int = 0) -> None:
        """Close; what the other side has not taken within the time is left to the gateway's replay."""
        self._socket.close(linger_ms)
