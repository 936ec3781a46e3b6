"""The socket of the HTTP server and what a client may do to it: how many, how large, how slow.

uvicorn speaks HTTP; the waits around it are ours. Its own main loop wakes ten times a second for nothing, and it
bears a client for ever that sends half a request or does not read its answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
import msgspec
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from ark.errors import NodeError

__all__ = ["LARGEST_HEAD", "Limits", "Listener", "open_socket"]

LARGEST_HEAD = 16 << 10
"""Bytes of a request without its body."""
_AT_ONCE = struct.pack("ii", 1, 0)
_LAST_MOMENT_S = 1
"""So long may answers under way take when the server stops."""
_BACKLOG = 64

_FULL = msgspec.json.encode({"error": "too many connections; try again later"})
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


class Limits(msgspec.Struct, frozen=True):
    """What is borne.

    Attributes:
        connections: So many at once; more are told to come again.
        request_s: So long may a client take for a whole request, and stay connected that asks nothing.
        taking_s: So long may a client take nothing of its answer.
        idle_s: So long is a connection kept for the next request: longer than Prometheus waits between two scrapes.
    """

    connections: int = 128
    request_s: float = 5.0
    taking_s: float = 5.0
    idle_s: int = 65


def open_socket(address: str) -> socket.socket:
    """A socket that listens.

    Args:
        address: `HOST:PORT`, with an IPv6 address in brackets.

    Raises:
        NodeError: It cannot be had.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # After a kill the port is free at once; connections of the process before do not keep it.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise NodeError(
            f"cannot listen on {address} (metrics.listen): {error.strerror or error}",
            hint="another program has it; end that, or choose another port with --metrics",
        ) from error
    return listening


class Listener:
    """Serves an application on one socket.

    Args:
        application: What answers.
        limits: What is borne of clients.
    """

    def __init__(self, application: ASGIApp, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a stranger's nonsense is no news
        config = Config(
            application,
            http=partial(_Protocol, limits),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=_LAST_MOMENT_S,
            h11_max_incomplete_event_size=LARGEST_HEAD,
        )
        config.load()
        self._server = Server(config)
        self._server.lifespan = config.lifespan_class(config)

    async def start(self, listening: socket.socket) -> None:
        """Begin to serve."""
        await self._server.startup(sockets=[listening])

    async def stop(self) -> None:
        """Take no more, and let answers under way come to their end for a moment."""
        if self._server.started:
            await self._server.shutdown()


class _Protocol(H11Protocol):
    """One connection, with a limit on how long it may be slow."""

    def __init__(self, limits: Limits, **options: Any) -> None:
        super().__init__(**options)
        self._most = limits.connections
        self._until_asked = _Patience(limits.request_s, self._cut_off)
        self._until_taken = _Patience(limits.taking_s, self._cut_off)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Paused, and so timed, as soon as anything waits for a client that does not take it.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self._most:
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._until_asked.begin()

    def data_received(self, data: bytes) -> None:
        if not self._is_answering:
            self._until_asked.begin()
        super().data_received(data)
        if self._is_answering and not self.cycle.more_body:
            self._until_asked.end()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def pause_writing(self) -> None:
        super().pause_writing()
        self._until_taken.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._until_taken.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._until_asked.end()
        self._until_taken.end()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Say that it is no request, as everything else here: in JSON."""
        body = msgspec.json.encode({"error": msg})
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _cut_off(self) -> None:
        """End the connection, and forget what lies in the system's own buffers for it."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


class _Patience:
    """Cuts a connection off, unless it is ended before.

    Args:
        seconds: How long it lasts from its beginning.
        cut: Cuts the connection off.
    """

    def __init__(self, seconds: float, cut: Callable[[], None]) -> None:
        self._seconds = seconds
        self._cut = cut
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin, unless it has begun."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)

    def end(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
