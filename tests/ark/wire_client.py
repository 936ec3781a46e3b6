"""A client as strangers write it: pyzmq and msgpack, nothing of ARK."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import msgpack
import zmq

SIGNAL = {"symbol": "AAPL", "direction": "long", "price": 190.0}
"""The least that the front door takes."""


class Wire:
    """One connection to a front door."""

    def __init__(self, endpoint: str, kind: int = zmq.DEALER, **options: int | bytes) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self.socket.connect(endpoint)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def receive(self, within_s: float = 10.0) -> dict[str, Any]:
        """The next reply."""
        assert self.socket.poll(int(within_s * 1000)), f"no reply within {within_s:g} s"
        reply: dict[str, Any] = msgpack.unpackb(self.socket.recv(), strict_map_key=False)
        return reply

    def say(self, frame: bytes) -> dict[str, Any]:
        """Send bytes, give the reply."""
        self.socket.send(frame)
        return self.receive()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request, give the reply."""
        return self.say(msgpack.packb({"v": 1, "op": op, "id": 7, **fields}))

    def inject(self, **changes: Any) -> dict[str, Any]:
        """Send the least signal, changed."""
        return self.ask("inject", signal={**SIGNAL, **changes})

    def outcome(self, trace_id: str, timeout_ms: int = 10_000) -> dict[str, Any]:
        """Wait for an outcome."""
        reply = self.ask("outcome", trace_id=trace_id, timeout_ms=timeout_ms)
        assert reply["ok"], reply
        outcome: dict[str, Any] = reply["outcome"]
        return outcome
