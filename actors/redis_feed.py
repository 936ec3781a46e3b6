"""The feed: takes signals from a Redis stream to the front door, each at least once; the door makes it once.

An entry is acknowledged only when the door has answered `accepted` or `duplicate`, so it may come twice, but with
the same trace id. One that the door rejects goes to the stream `STREAM:rejected`. While the door is busy or does
not answer, nothing more is read: what waits, waits in Redis.

What waits for Redis or for the door has a thread of its own. The process's own loop beats, hears a stop and tells
what is wrong, however long Redis keeps silent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import zmq

from actors.redis_entries import Entry, read_entry, rejection, take_portion
from ark.blackbox import BlackBox
from ark.client import Client
from ark.config import Config
from ark.control import Control, Duty
from ark.errors import ArkError, RequestError
from ark.home import Home
from ark.log import Log
from ark.protocol import LARGEST_MESSAGE, Code, error_body
from ark.redis_link import describe, find_password, load_library, open_redis, without

__all__ = ["Feed", "RedisFeedWorker", "back_off"]

_READ = 256
"""Entries read at once: so many are in hand, at most, while the door is busy."""
_BLOCK_MS = 500
_TIMEOUT_S = 2.0
"""How long Redis and the door get for an answer."""
_ABANDONED_S = 60.0
"""A pending entry that its consumer has not touched for so long is taken over: that consumer is dead."""
_CLAIM_EVERY_S = 15.0
_STEADY_S = 5.0
_REJECTED_KEPT = 100_000
"""About so many rejected entries are kept."""
_TELL_AFTER_S = 1.0
"""What lasts less long is shown in the status, but not written down."""
_GROUP_EXISTS = "BUSYGROUP"


def back_off(failures: int, *, base_s: float = 0.1, cap_s: float = 2.0) -> float:
    """Seconds to wait after so many failures in a row, from one on."""
    return float(min(cap_s, base_s * 2 ** min(failures - 1, 16)))


class Feed(threading.Thread):
    """Reads, gives and acknowledges, for ever.

    Args:
        config: The node's configuration; it names a Redis.
        home: The node's home.

    Attributes:
        concern: What keeps it from its work, for people; empty for nothing.
        received, accepted, answered: Entries that were read, that the door accepted, and that are acknowledged.
        failure: The exception that ended it, which is a fault in this program; None while it runs.
    """

    def __init__(self, config: Config, home: Home) -> None:
        super().__init__(name="feed", daemon=True)
        self._settings = config.redis
        self._home = home
        self._where = f"Redis at {describe(config.redis.url)}"
        self._stream = config.redis.stream
        self._rejects = f"{config.redis.stream}:rejected"
        self._consumer = f"{socket.gethostname()}:{home.path}"
        self._most = min(_READ, config.gateway.backlog)
        self._portion = self._most
        self._password = ""
        self._client: Client | None = None
        self._library = load_library()
        self._works_since: float | None = None
        self._rejected: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.concern = ""
        self.received = self.accepted = self.answered = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Feed; a Redis that is not there, does not answer or refuses is asked again, less and less often."""
        try:
            failures = 0
            while True:
                self._works_since = None
                try:
                    self._serve()
                # ValueError is what the library makes of answers that are not Redis's.
                except (self._library.RedisError, OSError, ValueError, ArkError) as error:
                    failures = 1 if self._is_steady() else failures + 1
                    self.concern = f"waits for {self._where}: {without(self._password, _one_line(error))}"
                time.sleep(back_off(failures))
        except BaseException as error:  # noqa: BLE001
            self.failure = error

    def rejected(self) -> list[dict[str, Any]]:
        """What was rejected since the last call: how many at a time, and the first one's id and reason."""
        found = []
        while True:
            try:
                found.append(self._rejected.get_nowait())
            except Empty:
                return found

    def _serve(self) -> None:
        """Feed over one connection, until it fails."""
        settings = self._settings
        if not self.concern:
            self.concern = f"waits for {self._where}: it has not answered yet"
        self._password = find_password(settings.url, settings.password_file, self._home.path, os.environ)
        redis = open_redis(settings.url, self._password, timeout_s=_TIMEOUT_S)
        try:
            self._open_stream(redis)
            self._take_again(redis)
            claim_at = 0.0
            while True:
                if time.monotonic() >= claim_at:
                    self._take_over(redis)
                    claim_at = time.monotonic() + _CLAIM_EVERY_S
                found = redis.xreadgroup(
                    settings.group, self._consumer, {self._stream: ">"}, count=self._most, block=_BLOCK_MS
                )
                self.concern = ""
                self._works_since = self._works_since or time.monotonic()
                self._give(redis, _entries(found))
        finally:
            redis.close()

    def _is_steady(self) -> bool:
        """Whether the connection that has just failed had worked for so long that waiting begins anew."""
        return self._works_since is not None and time.monotonic() - self._works_since > _STEADY_S

    def _open_stream(self, redis: Any) -> None:
        """Make the group where there is none, from the stream's beginning: what waits there already counts."""
        try:
            redis.xgroup_create(self._stream, self._settings.group, id="0", mkstream=True)
        except self._library.ResponseError as error:
            if not str(error).startswith(_GROUP_EXISTS):
                raise
        redis.xlen(self._rejects)  # fails where it is no stream, before an entry is moved there

    def _take_again(self, redis: Any) -> None:
        """Give what this consumer had in hand when it was killed or lost its connection."""
        last = b"0"
        while True:
            found = redis.xreadgroup(self._settings.group, self._consumer, {self._stream: last}, count=self._most)
            entries = _entries(found)
            if not entries:
                return
            self._give(redis, entries)
            last = entries[-1][0]

    def _take_over(self, redis: Any) -> None:
        """Give what another consumer of the group left behind."""
        cursor: Any = b"0-0"
        while True:
            cursor, claimed, *_ = redis.xautoclaim(
                self._stream,
                self._settings.group,
                self._consumer,
                min_idle_time=int(_ABANDONED_S * 1000),
                start_id=cursor,
                count=self._most,
            )
            self._give(redis, [(id_, fields) for id_, fields in claimed if id_ is not None])
            if cursor == b"0-0":
                return

    def _give(self, redis: Any, found: Sequence[tuple[bytes, dict[bytes, bytes] | None]]) -> None:
        """Give entries to the door, in order, and acknowledge each one as it is answered."""
        self.received += len(found)
        # Of one that was deleted while it was pending, only the id is left.
        gone = [id_ for id_, fields in found if not fields]
        entries = [read_entry(self._stream, id_, fields) for id_, fields in found if fields]
        waiting = [entry for entry in entries if entry.error is None]
        unreadable = [(entry, entry.error) for entry in entries if entry.error is not None]
        if gone or unreadable:
            self._acknowledge(redis, gone, unreadable)
        while waiting:
            count = take_portion([each.size for each in waiting], self._portion, LARGEST_MESSAGE // 2)
            portion, waiting = waiting[:count], waiting[count:]
            results = self._ask([each.signal for each in portion])
            if results is None:  # there is room for fewer, or one of them spoils the request
                self._portion = 1
                waiting = portion + waiting
                continue
            refused = [
                (entry, result.get("error") or {})
                for entry, result in zip(portion, results, strict=True)
                if result["status"] == "rejected"
            ]
            ids = {entry.id for entry, _ in refused}
            self.accepted += sum(result["status"] == "accepted" for result in results)
            self._acknowledge(redis, [each.id for each in portion if each.id not in ids], refused)
            self._portion = min(self._most, self._portion * 2)

    def _ask(self, signals: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """The door's results, waited for while it is busy or does not answer; None where it wants fewer at once."""
        failures = 0
        while True:
            try:
                if self._client is None:
                    self._client = Client.for_home(self._home.path, timeout_s=_TIMEOUT_S)
                results: list[dict[str, Any]] = self._client.request("inject", signals=signals)["results"]
                self.concern = ""
                return results
            except RequestError as error:
                if error.code in (Code.INVALID, Code.MALFORMED):
                    return None if len(signals) > 1 else [{"status": "rejected", "error": error_body(error)}]
                if error.code == Code.BUSY and len(signals) > 1:
                    return None
                word = "the front door is busy" if error.code == Code.BUSY else "the front door refuses"
                self.concern = f"reads no further, {word}: {_one_line(error)}"
            except ArkError as error:
                self.concern = f"reads no further, the front door does not answer: {_one_line(error)}"
                self._hang_up()
            failures += 1
            time.sleep(back_off(failures, cap_s=0.5))

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _acknowledge(self, redis: Any, good: list[bytes], rejected: list[tuple[Entry, dict[str, Any]]]) -> None:
        """Acknowledge, and put aside what was rejected, all in one transaction of Redis."""
        with redis.pipeline(transaction=True) as steps:
            for entry, error in rejected:
                steps.xadd(self._rejects, rejection(entry, error), maxlen=_REJECTED_KEPT, approximate=True)
            ids = [*good, *(entry.id for entry, _ in rejected)]
            steps.xack(self._stream, self._settings.group, *ids)
            steps.execute()
        self.answered += len(ids)
        if rejected:
            entry, error = rejected[0]
            reason = str(error.get("message", ""))
            self._rejected.put({"count": len(rejected), "entry": entry.id.decode(), "reason": reason})


class RedisFeedWorker:
    """The worker of the feed's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._name = duty.name
        self._epoch = duty.epoch
        self._control = control
        self._box = box
        config = msgspec.convert(duty.config, Config)
        home = Home(Path(duty.home))
        self._beat_s = config.watchdog.interval_s / 4
        self._log = Log(home.logs / "supervision.log")
        self._feed = Feed(config, home)
        self._shown = self._told = ""
        self._shown_since = 0.0

    def prepare(self) -> None:
        """Nothing: Redis may come later."""
        self._beat()

    def run(self) -> None:
        """Feed until told to stop."""
        self._feed.start()
        poller = zmq.Poller()
        poller.register(self._control.fileno(), zmq.POLLIN)
        while True:
            ready = poller.poll(int(self._beat_s * 1000))
            if ready and any(words.get("do") == "stop" for words in self._control.hear()):
                return
            self._tell()
            if not self._feed.is_alive():
                raise RuntimeError("the feed's thread has ended") from self._feed.failure
            self._beat()

    def _tell(self) -> None:
        now = time.monotonic()
        concern = self._feed.concern
        if concern != self._shown:
            self._shown, self._shown_since = concern, now
            self._box.concern(concern)
        if self._shown != self._told and now - self._shown_since >= _TELL_AFTER_S:
            self._told = self._shown
            if self._told:
                self._event("feed_waits", reason=self._told)
            else:
                self._event("feed_works")
        for fields in self._feed.rejected():
            self._event("feed_rejected", **fields)

    def _event(self, kind: str, **fields: Any) -> None:
        self._log.write(kind, name=self._name, **fields)
        self._control.say(say="event", kind=kind, fields={"name": self._name, **fields})

    def _beat(self) -> None:
        feed = self._feed
        self._box.beat(epoch=self._epoch, handled=feed.answered, received=feed.received, sent=feed.accepted)


def _entries(found: Any) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
    """The entries in the answer to XREADGROUP of one stream; nothing where nothing came."""
    return list(found[0][1]) if found else []


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
