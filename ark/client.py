"""`Client`: the front door for Python users."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack
import zmq

from ark.errors import ClientKeyError, NodeError, RequestError
from ark.home import Home, default_home
from ark.key_file import KeyFile, read_key_file
from ark.protocol import LARGEST_MESSAGE, MOST_HELD, Code
from ark.wire import monitor_event

__all__ = ["Client"]

_BATCH = 500
_TCP = re.compile(r"tcp://(.+):(\d+)")
_RECONNECT_MS = 20
_RECONNECT_WITH_KEY_MS = 100
"""Longer: each attempt costs the node a handshake, and it counts those that fail."""
_NOT_KNOWN = 400
"""ZAP's word for a client that is not let in; others are for a node that cannot tell at the moment."""
_GET_A_KEY = "make one with `ark-run keys new` where the node runs, and name its file with key= or --key"
_UNWANTED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Client:
    """Talks to one node. Not for use by several threads at once.

    A request whose answer does not come is asked again on a new connection until the time is up; a signal gets
    its trace id here, so that asking again can never make a second one of it.

    Args:
        endpoint: The front door, such as `tcp://127.0.0.1:5555`.
        key: The client's key file, as `ark-run keys new` writes it, where the node asks for one.
        timeout_s: How long a request may take in all.

    Raises:
        ClientKeyError: The key file cannot be read, or is none.

    Example:
        >>> with Client() as client:
        ...     trace_id = client.inject({"symbol": "AAPL", "direction": "long", "price": 190.0})["trace_id"]
        ...     print(client.outcome(trace_id, timeout_s=5.0)["status"])
    """

    def __init__(
        self, endpoint: str = "tcp://127.0.0.1:5555", *, key: Path | str | None = None, timeout_s: float = 10.0
    ) -> None:
        self._key = None if key is None else read_key_file(key)
        self._endpoint = endpoint
        self._events_endpoint = ""
        self._timeout_s = timeout_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connection: _Connection | None = None
        self._number = 0
        self._home: Home | None = None

    @classmethod
    def for_home(cls, home: Path | str | None = None, *, timeout_s: float = 10.0) -> Client:
        """A client of the node over a home, with an operator's rights: it comes through the node's own socket.

        Raises:
            NodeError: No node runs there.
        """
        place = Home(Path(home) if home else default_home())
        place.node()
        client = cls(f"ipc://{place.socket('operator')}", timeout_s=timeout_s)
        client._events_endpoint = f"ipc://{place.socket('operator-events')}"
        client._home = place
        return client

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._context.destroy(linger=0)

    def request(self, op: str, *, patience_s: float | None = None, **fields: Any) -> dict[str, Any]:
        """Ask for one operation.

        Args:
            op: The operation, see the protocol.
            patience_s: How long to wait for one answer before asking again; the whole time-out where absent.
            fields: The operation's fields.

        Returns:
            The reply's fields.

        Raises:
            RequestError: The node said no.
            ClientKeyError: The node does not know the key, or asks for one.
            NodeError: No answer came in time.
        """
        self._number += 1
        number = self._number
        frame = msgpack.packb({"v": 1, "op": op, "id": number, **fields})
        if len(frame) > LARGEST_MESSAGE:
            raise RequestError(
                f"a request of {len(frame)} bytes; the node takes {LARGEST_MESSAGE}",
                code=Code.INVALID,
                field="signals" if "signals" in fields else None,
            )
        until = time.monotonic() + self._timeout_s
        while True:
            wait_s = min(until - time.monotonic(), patience_s or self._timeout_s)
            if wait_s <= 0:
                self._gone()
            if self._connection is None:
                self._connection = self._connect(zmq.DEALER, self._endpoint)
            self._connection.socket.send(frame)
            answer = self._receive(self._connection, number, wait_s)
            if answer is None:
                self._disconnect()
                continue
            if not answer.get("ok") and answer.get("status") != "rejected":
                error = answer.get("error", {})
                raise RequestError(
                    error.get("message", "refused"), code=error.get("code", "error"), field=error.get("field")
                )
            return answer

    def inject(self, signal: Mapping[str, Any]) -> dict[str, Any]:
        """Send one signal.

        Returns:
            `trace_id`, `status` (`accepted`, `duplicate` or `rejected`) and, for a rejected one, `error`.
        """
        return self.inject_many([signal])[0]

    def inject_many(self, signals: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send many signals, in order; waits while the node is busy, as long as it takes some in.

        Returns:
            One result for each, in order, as from `inject`.
        """
        results: list[dict[str, Any]] = []
        for start in range(0, len(signals), _BATCH):
            batch = [self._with_trace_id(each) for each in signals[start : start + _BATCH]]
            results.extend(self._inject_batch(batch))
        return results

    def _inject_batch(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                reply = self.request("inject", signals=batch, patience_s=2.0)
            except RequestError as error:
                if error.field == "signals" and len(batch) > 1:  # too many or too large for one request
                    half = len(batch) // 2
                    return self._inject_batch(batch[:half]) + self._inject_batch(batch[half:])
                if error.code != Code.BUSY or time.monotonic() >= until:
                    raise
                time.sleep(0.02)
                continue
            results: list[dict[str, Any]] = reply["results"]
            return results

    def outcome(self, trace_id: str, *, timeout_s: float = 0.0) -> dict[str, Any]:
        """The outcome of a signal, waiting for it if a time is given.

        While a person must decide, that is told at once as an outcome of the status `held`.

        Raises:
            RequestError: With code `pending` or `unknown_trace`.
        """
        until = time.monotonic() + timeout_s
        while True:
            # Asked in short turns: a gateway that is restarted forgets who waits.
            turn_s = max(0.0, min(1.0, until - time.monotonic()))
            try:
                reply = self.request(
                    "outcome", trace_id=trace_id, timeout_ms=int(turn_s * 1000), patience_s=turn_s + 1.0
                )
            except RequestError as error:
                if error.code == "pending" and time.monotonic() < until:
                    continue
                raise
            outcome: dict[str, Any] = reply["outcome"]
            return outcome

    def trace(self, trace_id: str) -> dict[str, Any]:
        """The whole way of a signal as far as it has come: see `ark.traces.TraceDocument`.

        Raises:
            RequestError: With code `unknown_trace`.
        """
        trace: dict[str, Any] = self.request("trace", trace_id=trace_id, patience_s=2.0)["trace"]
        return trace

    def held(self, *, limit: int = MOST_HELD) -> list[dict[str, Any]]:
        """The decisions that wait for a person, those that have waited longest first. For operators.

        Returns:
            For each `trace_id`, `symbol`, `agent`, `since`, `until`, `reason` and `details`.
        """
        held: list[dict[str, Any]] = self.request("held", limit=limit, patience_s=2.0)["held"]
        return held

    def approve(self, trace_id: str, *, reason: str, by: str = "") -> dict[str, Any]:
        """Rule that a held signal may go on. For operators.

        Asked once: where no answer comes, ask how it stands with `outcome`.

        Args:
            trace_id: The signal.
            reason: Why; not empty.
            by: Who says so; `operator` where absent.

        Returns:
            `trace_id` and `ruling`.

        Raises:
            RequestError: With code `refused` where it is not held (any more); the message says how it stands.
        """
        return self.request("approve", trace_id=trace_id, reason=reason, by=by)

    def refuse(self, trace_id: str, *, reason: str, by: str = "") -> dict[str, Any]:
        """Rule that a held signal must not go on; as `approve`."""
        return self.request("refuse", trace_id=trace_id, reason=reason, by=by)

    def dead_letters(self, *, limit: int = MOST_HELD, everything: bool = False) -> list[dict[str, Any]]:
        """The dead letters that nobody has dealt with, newest first. For operators.

        Args:
            limit: At most so many.
            everything: Also those that were dealt with.

        Returns:
            For each `trace_id`, `symbol`, `accepted_at`, `died_at`, `agent`, `strikes`, `reason` in one line, and
            `act`, what was done about it.
        """
        reply = self.request("dead_letters", limit=limit, all=everything, patience_s=2.0)
        letters: list[dict[str, Any]] = reply["dead_letters"]
        return letters

    def dead_letter(self, trace_id: str) -> dict[str, Any]:
        """One dead letter with its signal, its outcome and the whole reason. For operators.

        Returns:
            As in `dead_letters`, and `signal`, `outcome`, `order` (`none`, `sent` or `unknown`) and `obstacle`: why
            it must not be retried, empty where it may be.

        Raises:
            RequestError: With code `unknown_trace`, or `refused` where it is no dead letter.
        """
        letter: dict[str, Any] = self.request("dead_letter", trace_id=trace_id, patience_s=2.0)["dead_letter"]
        return letter

    def retry(self, trace_id: str, *, reason: str, by: str = "", fresh: bool = False) -> dict[str, Any]:
        """Send a dead letter's signal anew, under a trace id of its own. For operators.

        Asked once: where no answer comes, ask how it stands with `dead_letter`.

        Args:
            trace_id: The dead letter's.
            reason: Why; not empty.
            by: Who wants it; `operator` where absent.
            fresh: Give it the present time. Otherwise it stays as old as it was, and Kyle refuses signals that are
                older than 15 minutes.

        Returns:
            `trace_id`, `act`, and `retry`: the trace id of the new signal.

        Raises:
            RequestError: With code `refused` where an order may exist, or somebody has dealt with it before.
        """
        return self.request("retry", trace_id=trace_id, reason=reason, by=by, fresh=fresh)

    def drop(self, trace_id: str, *, reason: str, by: str = "") -> dict[str, Any]:
        """Deal with a dead letter by leaving it as it is; as `retry`, whatever orders there are."""
        return self.request("drop", trace_id=trace_id, reason=reason, by=by)

    def status(self) -> dict[str, Any]:
        """The tree, the halt, and the counts of signals."""
        return self.request("status", patience_s=2.0)

    def events(
        self, topics: Sequence[str] = ("",), *, endpoint: str = "", until: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the node publishes, as pairs of topic and content, until the caller stops asking.

        Args:
            topics: Beginnings of topics, such as `outcome.AAPL` or `event.`; empty for all.
            endpoint: Where; the node is asked for it where absent.
            until: Asked five times a second; once it is true, the events end.

        Raises:
            ClientKeyError: The node does not know the key, or asks for one.
        """
        connection = self._connect(zmq.SUB, endpoint or self._events_endpoint or self._ask_where())
        for topic in topics:
            connection.socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        try:
            while not until():
                if not connection.poll(200):
                    continue
                topic_frame, payload = connection.socket.recv_multipart()
                yield topic_frame.decode(), msgpack.unpackb(payload)
        finally:
            connection.close()

    def _ask_where(self) -> str:
        """Where this client finds the events: a node that listens everywhere does so where it was reached."""
        events = str(self.status()["events"])
        here = _TCP.fullmatch(self._endpoint)
        there = _TCP.fullmatch(events)
        if here and there and there[1] in ("0.0.0.0", "*", "[::]"):
            return f"tcp://{here[1]}:{there[2]}"
        return events

    def _connect(self, kind: int, endpoint: str) -> _Connection:
        return _Connection(self._context, kind, endpoint, self._key)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _receive(self, connection: _Connection, number: int, wait_s: float) -> dict[str, Any] | None:
        until = time.monotonic() + wait_s
        while True:
            left_ms = int((until - time.monotonic()) * 1000)
            try:
                if left_ms <= 0 or not connection.poll(left_ms):
                    return None
            except ClientKeyError:
                self._disconnect()  # nobody tries again with a key that is not wanted
                raise
            answer: dict[str, Any] = msgpack.unpackb(connection.socket.recv(), strict_map_key=False)
            if answer.get("id") == number:  # an answer to an earlier try may still come
                return answer

    def _gone(self) -> None:
        if self._home is not None:
            self._home.node()  # says so itself if no node runs
        if self._key is not None:
            raise NodeError(
                f"no answer from {self._endpoint} within {self._timeout_s:g} s, or the key is not known there",
                hint="does the node run, and was the key made for it? see `ark-run keys list` there",
            )
        raise NodeError(
            f"no answer from {self._endpoint} within {self._timeout_s:g} s",
            hint="is the node running? see `supervisor status`",
        )

    @staticmethod
    def _with_trace_id(signal: Mapping[str, Any]) -> dict[str, Any]:
        return dict(signal) if signal.get("trace_id") else {**signal, "trace_id": str(uuid.uuid4())}


class _Connection:
    """A socket to one endpoint, and what libzmq tells of its handshake.

    Without a look at that, a key that is not wanted would be a silence like any other.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, key: KeyFile | None
    ) -> None:
        self._endpoint = endpoint
        self._key = key
        self.socket = context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_WITH_KEY_MS if key else _RECONNECT_MS)
        if key is not None:
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public_key.encode())
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret_key.encode())
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, key.node_public_key.encode())
        # A name of its own: pyzmq's would be that of an earlier socket, which may still be closing.
        place = f"inproc://handshake.{uuid.uuid4()}"
        self.socket.monitor(place, _UNWANTED)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._monitor.setsockopt(zmq.RCVHWM, 0)  # libzmq's own thread would wait for a place in a full queue
        self._monitor.connect(place)
        self._poller = zmq.Poller()
        self._poller.register(self.socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self.socket.connect(endpoint)

    def poll(self, timeout_ms: int) -> bool:
        """Whether a message is there, waiting for it if need be.

        Raises:
            ClientKeyError: The other side does not let this client in.
        """
        until = time.monotonic() + timeout_ms / 1000
        while True:
            ready = dict(self._poller.poll(max(0, int((until - time.monotonic()) * 1000))))
            if self._monitor in ready:
                self._judge(*monitor_event(self._monitor.recv_multipart()))
            if self.socket in ready:
                return True
            if time.monotonic() >= until:
                return False

    def close(self) -> None:
        """Close it."""
        self.socket.monitor(None, 0)  # before its ear is gone: libzmq would wait for another one
        self._monitor.close(0)
        self.socket.close(0)

    def _judge(self, event: int, value: int) -> None:
        known = event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        if known and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            if self._key is None:
                raise ClientKeyError(f"{self._endpoint} lets nobody in without a key", hint=_GET_A_KEY)
            raise ClientKeyError(f"{self._endpoint} asks for no key", hint="come without one")
        if known:  # libzmq does not try again after it
            raise ClientKeyError(f"{self._endpoint} does not speak as a node does", hint="is the address right?")
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and value == _NOT_KNOWN and self._key is not None:
            raise ClientKeyError(
                f"the key {self._key.name} is not known at {self._endpoint}, or is revoked", hint=_GET_A_KEY
            )
