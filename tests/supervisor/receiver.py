"""A receiver of alerts for tests: a real HTTP server that does as it is told, also badly."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Plan = Callable[[int], bytes | None]
"""What to answer to the request of that number, from 1; None: nothing, and keep the connection open."""

RESET = b"reset"
"""Instead of an answer: end the connection."""


def answer(status: int, *headers: str) -> bytes:
    """An answer of HTTP without a body."""
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Length: 0", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


class Receiver:
    """Listens on loopback; keeps every request that came as a whole."""

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.plan: Plan = lambda number: answer(204)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}/alerts"

    def alerts(self) -> list[dict[str, Any]]:
        """What came, in order, doubles included."""
        return [json.loads(body) for _, _, body in self.requests]

    def names(self) -> list[str]:
        """Whom the alerts are about, each once, in the order of their first coming."""
        return list(dict.fromkeys(alert["name"] for alert in self.alerts()))

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            connection.settimeout(10)
            with suppress(OSError, ValueError, KeyError):
                self._answer(
                    self._context.wrap_socket(connection, server_side=True) if self._context else connection
                )

    def _answer(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        first = file.readline().decode()
        headers = {}
        while line := file.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = file.read(int(headers["content-length"]))
        self.requests.append((first.strip(), headers, body))
        words = self.plan(len(self.requests))
        if words is None:
            return
        if words != RESET:
            connection.sendall(words)
        file.close()
        connection.close()


@contextmanager
def receiver(port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that is gone at the end."""
    one = Receiver(port, context)
    try:
        yield one
    finally:
        one.close()
