"""The probe of the feed's Redis: how long it takes to answer, and how much waits in the stream.

It asks from a thread of its own, so that a Redis that hangs holds up nobody who reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ark.config import RedisConfig
from ark.errors import ArkError
from ark.home import Home
from ark.redis_link import describe, find_password, load_library, open_redis, without

__all__ = ["RedisProbe", "RedisReading", "count_waiting"]

_TIMEOUT_S = 1.0
_PAGE = 500
_MOST_COUNTED = 10_000
"""Where Redis cannot say how far behind the group is, entries are counted up to so many."""


@dataclass(frozen=True, slots=True)
class RedisReading:
    """What was found at one look.

    Attributes:
        at: When, in seconds of the monotonic clock.
        round_trip_s: How long Redis took to answer a PING; None where it did not.
        depth: Entries of the stream that wait: the group has not taken them, or they are not acknowledged. Where
            Redis cannot say it (deleted entries, Redis 6), they are counted, and at 10,000 the count ends; None
            where it is not known.
        error: Why something is not known; empty for nothing.
    """

    at: float
    round_trip_s: float | None
    depth: int | None
    error: str


class RedisProbe:
    """Looks at a Redis again and again.

    Args:
        url: Its address, without a password.
        stream: The stream.
        group: The consumer group that reads it.
        interval_s: Seconds between two looks.
        password: Gives the password; asked at each connection, and its errors are told as the reading's.
    """

    def __init__(
        self, url: str, stream: str, group: str, interval_s: float, *, password: Callable[[], str] = lambda: ""
    ) -> None:
        self._url = url
        self._stream = stream
        self._group = group
        self._interval_s = interval_s
        self._password = password
        self._known = ""
        self._redis: Any = None
        self._reading = RedisReading(time.monotonic(), None, None, f"Redis at {describe(url)} has not answered yet")
        self._thread = threading.Thread(target=self._run, name="redis", daemon=True)

    @classmethod
    def for_node(cls, settings: RedisConfig, home: Home, interval_s: float) -> RedisProbe:
        """The probe of a node's feed, with its password."""

        def password() -> str:
            return find_password(settings.url, settings.password_file, home.path, os.environ)

        return cls(settings.url, settings.stream, settings.group, interval_s, password=password)

    def start(self) -> None:
        """Begin to look; ends with its process."""
        self._thread.start()

    def reading(self) -> RedisReading:
        """The newest reading; never waits. One that is too old to be true any more says so in `error`."""
        newest = self._reading
        age_s = time.monotonic() - newest.at
        if age_s > 2 * self._interval_s + 5 * _TIMEOUT_S:
            why = f"Redis at {describe(self._url)} was last looked at {age_s:.0f} s ago"
            return RedisReading(newest.at, None, None, newest.error or why)
        return newest

    def _run(self) -> None:
        while True:
            self._reading = self._look()
            time.sleep(self._interval_s)

    def _look(self) -> RedisReading:
        round_trip_s = None
        try:
            library = load_library()
            try:
                if self._redis is None:
                    self._known = self._password()
                    self._redis = open_redis(self._url, self._known, timeout_s=_TIMEOUT_S)
                self._redis.ping()  # opens the connection, which is not part of the round trip
                began = time.perf_counter()
                self._redis.ping()
                round_trip_s = time.perf_counter() - began
                depth = count_waiting(self._redis, self._stream, self._group)
                return RedisReading(time.monotonic(), round_trip_s, depth, "")
            # ValueError is what the library makes of answers that are not Redis's.
            except (library.RedisError, OSError, ValueError) as error:
                self._close()
                words = " ".join(str(error).split()) or type(error).__name__
                why = f"Redis at {describe(self._url)}: {without(self._known, words)}"
        except ArkError as error:  # no library, no password
            why = error.line
        return RedisReading(time.monotonic(), round_trip_s, None, why)

    def _close(self) -> None:
        if self._redis is not None:
            self._redis.close()
            self._redis = None


def count_waiting(redis: Any, stream: str, group: str) -> int:
    """How many entries of a stream wait for a group: not taken yet, or taken and not acknowledged.

    Args:
        redis: A client of the library.
        stream: The stream; one that does not exist has none.
        group: The group; where it does not exist, all entries wait for it.
    """
    library = load_library()
    try:
        about = redis.xinfo_stream(stream)
        groups = redis.xinfo_groups(stream)
    except library.ResponseError as error:
        if "no such key" in str(error).lower():
            return 0
        raise
    length = int(about["length"])
    found = next((each for each in groups if each["name"] in (group, group.encode())), None)
    if found is None:
        return length
    lag = found.get("lag")
    # Where an entry was ever deleted, Redis's own figure is an estimate, or missing.
    if lag is None or _number(about.get("max-deleted-entry-id", "0-0")) > (0, 0):
        last = found["last-delivered-id"]
        behind = _number(last) < _number(about["last-generated-id"])
        lag = _count_after(redis, stream, last, length) if behind else 0
    # Entries that were trimmed away before anybody took them are still in Redis's own lag.
    return min(int(lag), length) + int(found["pending"])


def _number(id_: Any) -> tuple[int, int]:
    """An entry's id as a pair that can be compared."""
    moment, _, place = (id_.decode() if isinstance(id_, bytes) else id_).partition("-")
    return int(moment), int(place)


def _count_after(redis: Any, stream: str, last: Any, length: int) -> int:
    """Count the entries behind an id, page by page."""
    last = last.decode() if isinstance(last, bytes) else last
    if last == "0-0":
        return length
    counted = 0
    while counted < _MOST_COUNTED:
        page = redis.xrange(stream, min=f"({last}", count=_PAGE)
        counted += len(page)
        if len(page) < _PAGE:
            break
        last = page[-1][0].decode()
    return counted
