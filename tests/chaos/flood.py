"""A hostile client: hammers a front door with junk until it is told to end, then prints what it sent as JSON.

Usage: python -m tests.chaos.flood ENDPOINT SEED

Not one of its requests is a signal that the door may let in.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

import msgpack
import zmq

from ark.lineage import die_with_parent
from ark.protocol import LARGEST_MESSAGE, LARGEST_SIGNAL, MOST_SIGNALS

SIGNAL = {"symbol": "FLOOD", "direction": "long", "price": 1.0}
LONGEST_PAUSE_S = 0.08
"""Between two attacks: it is to be a nuisance all the time, and leave the machine to the others most of it."""
GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00NULL".ljust(64, b"\0")
WRONG: tuple[dict[str, object], ...] = (
    {"price": -1.0},
    {"price": float("nan")},
    {"price": "1"},
    {"symbol": "flood; DROP TABLE signals"},
    {"symbol": None},
    {"direction": "up"},
    {"trace_id": "not one"},
    {"leverage": 1e300},
    {"quantity": 0},
    {"ts": -1},
    {"metadata": {"x": "y" * LARGEST_SIGNAL}},
)
FORBIDDEN = ("halt", "resume", "isolate", "release", "restart", "approve", "refuse", "held")


class Flood:
    """All attacks, on one door.

    Args:
        endpoint: The door, `tcp://HOST:PORT`.
        seed: What everything random comes from.
    """

    def __init__(self, endpoint: str, seed: int) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._address = (host, int(port))
        self._endpoint = endpoint
        self._die = random.Random(seed)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._door: zmq.Socket[bytes] | None = None
        self._open: deque[socket.socket] = deque()
        self.sent: Counter[str] = Counter()
        self.attacks: list[Callable[[], None]] = [
            self.noise,
            self.half_a_greeting,
            self.junk,
            self.malformed,
            self.oversize,
            self.invalid,
            self.forbidden,
            self.many,
            self.hurry,
            self.questions,
        ]

    def once(self) -> None:
        """One attack, chosen at random."""
        if self._die.random() < 0.05:
            self._leave()
        attack = self._die.choice(self.attacks)
        with suppress(OSError, zmq.ZMQError):
            attack()
            self.sent[attack.__name__] += 1

    def pause_s(self) -> float:
        """How long to wait before the next one."""
        return self._die.uniform(0.0, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Close every connection."""
        self._context.destroy(linger=0)
        for each in self._open:
            each.close()

    # Attacks

    def noise(self) -> None:
        """Bytes that are no ZeroMQ."""
        with socket.create_connection(self._address, timeout=1.0) as raw:
            raw.sendall(self._die.randbytes(self._die.randint(1, 4096)))

    def half_a_greeting(self) -> None:
        """A connection that begins well and then says nothing more."""
        raw = socket.create_connection(self._address, timeout=1.0)
        self._open.append(raw)
        raw.sendall(GREETING[: self._die.randint(1, len(GREETING))])
        if len(self._open) > 20:
            self._open.popleft().close()

    def junk(self) -> None:
        """Frames that are no msgpack, and too many of them."""
        self._send(*(self._die.randbytes(self._die.randint(0, 200)) for _ in range(self._die.randint(1, 4))))

    def malformed(self) -> None:
        """Msgpack that is no request."""
        things: list[object] = [None, [], 7, "inject", {}, {"v": 1}, {"v": 9, "op": "inject"}, {"op": 3}, {1: 2}]
        nested: object = {}
        for _ in range(100):
            nested = {"id": nested}
        self._send(msgpack.packb(self._die.choice([*things, nested, {"v": 1, "op": "injekt", "id": [[]]}])))

    def oversize(self) -> None:
        """A frame that the door does not take."""
        self._send(bytes(LARGEST_MESSAGE + self._die.randint(1, LARGEST_MESSAGE)))

    def invalid(self) -> None:
        """Signals with a wrong field."""
        wrong = [{**SIGNAL, **self._die.choice(WRONG)} for _ in range(self._die.randint(1, 10))]
        self._ask("inject", signals=wrong)

    def forbidden(self) -> None:
        """What only operators may do."""
        fields = {"agent": "kenny", "reason": "mischief", "trace_id": "0" * 8}
        self._ask(self._die.choice(FORBIDDEN), **fields)

    def many(self) -> None:
        """More signals than a request may have."""
        self._ask("inject", signals=[0] * (MOST_SIGNALS + 1))

    def hurry(self) -> None:
        """Too many requests at once, from somebody who reads no answers."""
        for _ in range(self._die.randint(50, 300)):
            self._ask("status")

    def questions(self) -> None:
        """Questions about signals that never were."""
        for _ in range(20):
            self._ask("outcome", trace_id=f"{self._die.getrandbits(64):x}", timeout_ms=60_000)

    def _ask(self, op: str, **fields: object) -> None:
        self._send(msgpack.packb({"v": 1, "op": op, "id": self._die.getrandbits(30), **fields}))

    def _send(self, *frames: bytes) -> None:
        if self._door is None:
            self._door = self._context.socket(zmq.DEALER)
            self._door.setsockopt(zmq.LINGER, 0)
            self._door.connect(self._endpoint)
        self._door.send_multipart(frames, zmq.NOBLOCK)

    def _leave(self) -> None:
        if self._door is not None:
            self._door.close(0)
            self._door = None


def main() -> None:
    """Attack until SIGTERM."""
    die_with_parent()
    finished = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: finished.set())
    os.nice(5)
    flood = Flood(sys.argv[1], int(sys.argv[2]))
    while not finished.wait(flood.pause_s()):
        flood.once()
    flood.close()
    print(json.dumps(flood.sent))


if __name__ == "__main__":
    main()
