"""An HTTP server of the exporter's own parts, in this process, on a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from ark.listener import Limits, Listener, open_socket
from tests.node import free_ports


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(address: str, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """Ask a server at `HOST:PORT` for something; `_` in a header's name stands for `-`."""
    with closing(http.client.HTTPConnection(address, timeout=10)) as line:
        line.request(
            method, path, body=body, headers={key.replace("_", "-"): text for key, text in headers.items()}
        )
        answer = line.getresponse()
        return Answer(answer.status, {key.lower(): text for key, text in answer.getheaders()}, answer.read())


@contextmanager
def serving(application: ASGIApp, limits: Limits | None = None) -> Iterator[str]:
    """Serve an application; gives the address."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    listening = open_socket(address)
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        listener = Listener(application, limits)
        await listener.start(listening)
        await ended.wait()
        await listener.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        assert not thread.is_alive(), "the server does not stop"
        loop.close()
