"""What the gateway publishes: gathered as it comes, and let out by whoever knows when it may be. No sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from ark.errors import MessageError
from ark.log import Log
from ark.message import UNREADABLE

__all__ = ["News"]

_MOST_KEPT = 50
"""Events of agents that are written to the log in one second."""


class _Event(msgspec.Struct, frozen=True):
    kind: str


_events = msgspec.msgpack.Decoder(_Event)


class News:
    """Events and outcomes on their way out.

    Args:
        log: Keeps them for whoever asks later.
        clock: Seconds since the epoch.
    """

    def __init__(self, log: Log, *, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._waiting: list[tuple[bytes, bytes]] = []
        self._kept_since, self._kept = 0.0, 0

    def publish(self, topic: str, payload: bytes) -> None:
        """Have something published as it is."""
        self._waiting.append((topic.encode(), payload))

    def tell(self, kind: str, **fields: Any) -> None:
        """Have an event published."""
        event = {"kind": kind, "at": self._clock(), **fields}
        self.publish(f"event.{kind}", msgspec.msgpack.encode(event))

    def note(self, kind: str, **fields: Any) -> None:
        """Have an event published, and write it to the log."""
        self._log.write(kind, **fields)
        self.tell(kind, **fields)

    def relay(self, event: bytes, now: float) -> None:
        """Have an agent's event published, and write it to the log; of a flood the log gets the beginning.

        Args:
            event: A map with a `kind`, msgpack.
            now: Seconds on a clock that never goes back.

        Raises:
            MessageError: It is no event; nobody is told of it.
        """
        if now - self._kept_since >= 1.0:
            self._kept_since, self._kept = now, 0
        self._kept += 1
        try:
            kind = _events.decode(event).kind
            if self._kept <= _MOST_KEPT:
                self._keep(event)
        except (*UNREADABLE, TypeError, ValueError) as error:  # a decoder takes more than a line of the log can say
            raise MessageError(f"an event cannot be read: {error}") from error
        self.publish(f"event.{kind}", event)

    def take(self) -> list[tuple[bytes, bytes]]:
        """What is to be published now, in order: topics and payloads."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _keep(self, event: bytes) -> None:
        fields = {str(key): value for key, value in msgspec.msgpack.decode(event).items()}
        kind = str(fields.pop("kind"))
        if kind != "halt":  # the halt itself is in the log
            self._log.write(kind, **{key: value for key, value in fields.items() if key != "event"})
