"""What goes on in the background of every fault: honest signals of many symbols, and a flood of junk."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ark.client import Client
from ark.errors import ArkError
from tests.node import ROOT

__all__ = ["FlooderProcess", "Load", "made_up_signals", "made_up_trace"]

RATE = 40
"""Signals a second: modest, since the same machine has to be killed and measured."""
PORTION = 4
SIZE = 0.002
"""Share of the equity in one position: so small that no run of losses ends the day."""


def made_up_trace(die: random.Random) -> str:
    """A trace id that comes from the seed, like everything."""
    return str(uuid.UUID(int=die.getrandbits(128), version=4))


def made_up_signals(die: random.Random) -> Iterator[dict[str, Any]]:
    """Signals of every kind without an end, over twenty symbols whose prices wander."""
    prices = {f"S{number}": 100.0 for number in range(20)}
    while True:
        symbol = die.choice(list(prices))
        price = prices[symbol] = round(min(1e4, max(1.0, prices[symbol] * die.uniform(0.97, 1.03))), 2)
        made: dict[str, Any] = {
            "trace_id": made_up_trace(die), "symbol": symbol, "direction": "long", "price": price
        }  # fmt: skip
        kind = die.choices(("sound", "too big", "bare", "bar"), (6, 1, 1, 3))[0]
        if kind in ("sound", "too big"):
            size = SIZE if kind == "sound" else 0.5
            made |= {"position_size_pct": size, "stop_loss": price * 0.995, "target": price * 1.015}
        elif kind == "bar":
            bar = {"ts": time.time(), "open": price, "high": price * 1.03, "low": price * 0.97}
            made |= {"action": "observe", "features": {"bar": {**bar, "close": price, "volume": 1e5}}}
        yield made


class Load(threading.Thread):
    """Injects signals at a steady rate through the front door, and remembers what was accepted.

    What gets no answer is sent again with the same trace id, for as long as it takes.

    Args:
        endpoint: The front door.
        die: What everything random comes from.
        rate: Signals a second.

    Attributes:
        signals: What comes next.
        accepted: Trace ids of what was accepted.
        refused: Results that say neither `accepted` nor `duplicate`; there should be none.
    """

    def __init__(self, endpoint: str, die: random.Random, rate: float = RATE) -> None:
        super().__init__(name="load", daemon=True)
        self._endpoint = endpoint
        self._every_s = PORTION / rate
        self.signals = made_up_signals(die)
        self._may_go = threading.Event()
        self._resting = threading.Event()
        self._finished = False
        self.accepted: set[str] = set()
        self.refused: list[dict[str, Any]] = []

    def run(self) -> None:
        """Inject, until `finish`."""
        with Client(self._endpoint, timeout_s=1.0) as client:
            while not self._finished:
                if not self._may_go.is_set():
                    self._resting.set()
                    self._may_go.wait()
                    continue
                began = time.monotonic()
                self._inject(client, [next(self.signals) for _ in range(PORTION)])
                time.sleep(max(0.0, self._every_s - (time.monotonic() - began)))  # the pace of the load
        self._resting.set()

    def go_on(self) -> None:
        """Begin, or begin again."""
        self._resting.clear()
        self._may_go.set()

    def rest(self, within_s: float = 60.0) -> None:
        """Stop after the portion at hand.

        Raises:
            AssertionError: It is not accepted in time.
        """
        self._may_go.clear()
        assert self._resting.wait(within_s), "the front door has let nothing in for a minute"

    def finish(self) -> None:
        """End it, whether or not what is at hand is accepted."""
        self._finished = True
        self._may_go.set()
        if self.is_alive():
            self.join(10)

    def _inject(self, client: Client, portion: list[dict[str, Any]]) -> None:
        while not self._finished:
            try:
                results = client.inject_many(portion)
            except ArkError:
                time.sleep(0.01)
                continue
            for result in results:
                if result["status"] in ("accepted", "duplicate"):
                    self.accepted.add(result["trace_id"])
                else:
                    self.refused.append(result)
            return


class FlooderProcess:
    """The hostile client in a process of its own; see `tests.chaos.flood`."""

    def __init__(self, endpoint: str, seed: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.flood", endpoint, str(seed)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> dict[str, int]:
        """End it; gives how often it attacked, by kind.

        Raises:
            AssertionError: It was not there any more.
        """
        assert self._process.poll() is None, "the flooding client ended by itself"
        self._process.terminate()
        printed, _ = self._process.communicate(timeout=10)
        counts: dict[str, int] = json.loads(printed)
        return counts
