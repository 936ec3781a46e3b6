"""The gatekeeper: proves by CURVE and ZAP who comes to the gateway's sockets, and hears of those who cannot.

A socket that it guards is a CURVE server. libzmq asks about each client's key through ZAP before it lets the
client in; the gateway's own loop answers. A client that comes without any key is sent away by libzmq itself, which
only the socket's monitor tells.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Any

import zmq

from ark.key_book import KeyBook
from ark.keys import DOORS, Book, Caller, Refusal, judge_failure, judge_handshake
from ark.wire import Guard, monitor_event, most_connections

__all__ = ["Gatekeeper"]

_ZAP = "inproc://zeromq.zap.01"
_DRAIN = 256
_SETTLED_NS = 100_000_000
"""A folder's time moves in steps, and a change may follow within the same one: a young time proves nothing."""
_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_EVENTS = zmq.EVENT_ACCEPTED | _FAILURES | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED


class Gatekeeper:
    """Guards the sockets of one process. Made before the first of them is bound.

    Args:
        context: The process's ZeroMQ context.
        book: The home's keys.
        refuse: Called with each refused attempt to come in.
        most: So many connections may each socket have; `most_connections` where absent. One more is ended, whoever
            it is: without any descriptor left the process would not live.

    Attributes:
        sources: What the loop has to poll for it; `attend` does the rest.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        book: KeyBook,
        refuse: Callable[[Refusal], None],
        *,
        most: int | None = None,
    ) -> None:
        self._context = context
        self._files = book
        self._refuse = refuse
        self._most = most
        self._secret = book.node_pair()[1]
        self._zap = context.socket(zmq.REP)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(_ZAP)
        self._monitors: dict[Any, _Monitor] = {}
        self._guarded: list[zmq.Socket[bytes]] = []
        self._book = Book()
        self._stamp = -1
        self._is_settled = False
        self._found_revoked = False
        self._read()

    @property
    def sources(self) -> tuple[Any, ...]:
        return (self._zap, *self._monitors)

    def guard(self, domain: str) -> Guard:
        """What `ark.wire.bind` has to do to a socket before it listens.

        Args:
            domain: The socket's name towards ZAP, `gateway` or `events`.
        """

        def guard(server: zmq.Socket[bytes]) -> None:
            server.setsockopt(zmq.CURVE_SERVER, 1)
            server.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
            server.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
            server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without somebody who answers nobody gets in
            server.monitor(f"inproc://monitor.{domain}", _EVENTS)
            ear = self._context.socket(zmq.PAIR)
            ear.setsockopt(zmq.LINGER, 0)
            ear.setsockopt(zmq.RCVHWM, 0)  # libzmq's own thread would wait for a place in a full queue
            ear.connect(f"inproc://monitor.{domain}")
            self._guarded.append(server)
            self._monitors[ear] = _Monitor(DOORS[domain.encode()], self._most or most_connections())

        return guard

    def attend(self, ready: Container[Any]) -> None:
        """Answer libzmq's questions and hear what it has to tell."""
        if self._zap in ready:
            self._answer()
        for ear, monitor in self._monitors.items():
            if ear in ready:
                self._hear(ear, monitor)

    def close(self) -> None:
        """Hear of nothing any more. Before the sockets close: libzmq's own thread would wait for an ear."""
        for server in self._guarded:
            server.disable_monitor()

    def caller(self, frame: zmq.Frame) -> Caller:
        """Who sent a frame, by the key that he came in with and what that key is worth now."""
        self._look()
        return self._book.caller(_property(frame, "User-Id"), _property(frame, "Peer-Address") or "")

    def has_revoked(self) -> bool:
        """Whether a key that was good has been found to be so no more, since this was last asked."""
        self._look()
        found, self._found_revoked = self._found_revoked, False
        return found

    def _look(self) -> None:
        """Read the book again if it may have changed."""
        if not self._is_settled or self._files.stamp() != self._stamp:
            self._read()

    def _read(self) -> None:
        before = self._book.good
        self._stamp = self._files.stamp()
        self._is_settled = abs(time.time_ns() - self._stamp) > _SETTLED_NS
        self._book = Book(self._files.all())
        self._found_revoked |= not before <= self._book.good

    def _answer(self) -> None:
        for _ in range(_DRAIN):
            try:
                request = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._look()
            answer, refusal = judge_handshake(request, self._book)
            self._zap.send_multipart(answer)
            if refusal is not None:
                self._refuse(refusal)

    def _hear(self, ear: zmq.Socket[bytes], monitor: _Monitor) -> None:
        for _ in range(_DRAIN):
            try:
                event, value = monitor_event(ear.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            refusal = monitor.hear(event, value)
            if refusal is not None:
                self._refuse(refusal)


class _Monitor:
    """Makes refusals of what libzmq tells of one socket's connections.

    It names a connection by its descriptor, and a failure without one, right before that connection's end.

    Args:
        op: What a client wants that comes to the socket.
        most: So many connections may there be; one more is ended.
    """

    def __init__(self, op: str, most: int) -> None:
        self._op = op
        self._most = most
        self._addresses: dict[int, str] = {}
        self._ended: set[int] = set()
        self._failed = ""

    def hear(self, event: int, value: int) -> Refusal | None:
        """One event, in order."""
        match event:
            case zmq.EVENT_ACCEPTED:
                is_too_many = len(self._addresses) >= self._most
                self._addresses[value] = _peer(value, end=is_too_many)
                if is_too_many:
                    self._ended.add(value)
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self._failed = judge_failure(value)
            case zmq.EVENT_DISCONNECTED:
                address = self._addresses.pop(value, "")
                why, self._failed = self._failed, ""
                if value in self._ended:
                    self._ended.remove(value)
                    why = "too_many"
                return Refusal(why, self._op, address=address) if why else None
            case zmq.EVENT_CLOSED:  # it listens no more: every connection ends with that, most without a word
                self._addresses.clear()
                self._ended.clear()
        return None


def _peer(descriptor: int, *, end: bool) -> str:
    """Where a connection comes from, which is ended if need be; "" where it has ended already.

    Its number may be another's by now, a file's or that of a Unix socket: those are left alone.
    """
    address = ""
    with suppress(OSError):
        connection = socket.socket(fileno=descriptor)
        try:
            name = connection.getpeername()
            if isinstance(name, tuple):
                address = str(name[0])
                if end:
                    connection.shutdown(socket.SHUT_RDWR)  # libzmq sees its end, and closes it
        finally:
            connection.detach()  # it is libzmq's
    return address


def _property(frame: zmq.Frame, name: str) -> str | None:
    """A property that libzmq knows of a frame's connection."""
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return None
