"""Who follows the page's document as it changes, and when they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec

from ark.page_feed import significant

__all__ = ["MOST_FOLLOWERS", "Live"]

MOST_FOLLOWERS = 16
"""Pages that may be open at once."""
_SILENCE_S = 2.0
"""After so long the document is sent also where nothing has changed: the page shows ages of heartbeats, and takes a
silence three times as long for a lost connection."""
_PAUSE_S = 0.05
"""At least so long between two messages: a storm of restarts must not cost more than it tells."""
_RETRY_MS = 500
"""When a page that was cut off comes again."""


class Live:
    """Server-sent events with the whole document, made once for all who follow, and not at all where nobody does.

    Args:
        compose: Makes the document as it is now.
    """

    def __init__(self, compose: Callable[[], Mapping[str, Any]]) -> None:
        self._compose = compose
        self._followers = 0
        self._woken = asyncio.Event()
        self._face = b""
        self._message = b""
        self._number = 0
        self._told_at = 0.0
        self._due: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def is_followed(self) -> bool:
        """Whether anybody is there."""
        return self._followers > 0

    @property
    def is_full(self) -> bool:
        """Whether nobody else can be told."""
        return self._followers >= MOST_FOLLOWERS

    def tell_soon(self) -> None:
        """Something has changed that everybody should see at once."""
        if self.is_followed and self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(self._told_at + _PAUSE_S, self._tell_now)

    def tell(self) -> None:
        """Tell everybody, if anything has changed since the last time."""
        if not self.is_followed:
            return
        self._told_at = asyncio.get_running_loop().time()
        state = self._compose()
        face = significant(state)
        if face == self._face:
            return
        self._face = face
        self._message = _event(state)
        self._number += 1
        self._wake()

    async def follow(self) -> AsyncGenerator[bytes]:
        """The document now, and then again and again when it has changed, until the server stops."""
        if self.is_full:
            return
        self._followers += 1
        try:
            seen = self._number  # before it is sent: what changes meanwhile comes next
            yield b"retry: %d\n\n%b" % (_RETRY_MS, _event(self._compose()))
            while not self._stopped:
                woken = self._woken
                if self._number == seen:
                    try:
                        async with asyncio.timeout(_SILENCE_S):
                            await woken.wait()
                    except TimeoutError:
                        yield b": nothing new\n\n" + _event(self._compose())
                if self._number != seen:  # who was slow gets the newest, and nothing in between
                    seen = self._number
                    yield self._message
        finally:
            self._followers -= 1

    def stop(self) -> None:
        """Let everybody go."""
        self._stopped = True
        self._wake()

    def _tell_now(self) -> None:
        self._due = None
        self.tell()

    def _wake(self) -> None:
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()


def _event(state: Mapping[str, Any]) -> bytes:
    return b"event: state\ndata: %b\n\n" % msgspec.json.encode(state)
