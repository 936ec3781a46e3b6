"""The socket of the HTTP server and what a client may do to it: how many, how large, how slow.

uvicorn speaks HTTP; the waits around it are ours. Its own main loop wakes ten times a second for nothing, and it
bears a client for ever that sends half a request or does not read its answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import h11
import msgspec
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from ark.errors import NodeError

__all__ = ["Listener", "open_socket"]

_MOST_CONNECTIONS = 128
"""At once; more are told to come again."""
_REQUEST_S = 5.0
"""So long may a client take for a whole request, and so long may one be connected that asks nothing."""
_TAKING_S = 5.0
"""So long may a client take nothing of its answer."""
_IDLE_S = 65
"""So long is a connection kept for the next request: longer than Prometheus waits between two scrapes."""
_LARGEST_HEAD = 16 << 10
"""Bytes of a request without its body."""
_LAST_MOMENT_S = 1
"""So long may answers under way take when the server stops."""
_BACKLOG = 64

_FULL = msgspec.json.encode({"error": "too many connections; try again later"})
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


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
    """

    def __init__(self, application: ASGIApp) -> None:
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())
        logging.getLogger("uvicorn").propagate = False  # a stranger's nonsense is no news
        config = Config(
            application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_LAST_MOMENT_S,
            h11_max_incomplete_event_size=_LARGEST_HEAD,
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

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._until_asked = _Patience(_REQUEST_S, self._cut_off)
        self._until_taken = _Patience(_TAKING_S, self._cut_off)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Paused, and so timed, as soon as anything waits for a client that does not take it.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._until_asked.begin()

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._until_asked.begin()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.more_body:
            self._until_asked.end()

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
