"""Real processes, real sockets, kill -9: nothing accepted is lost, nothing is executed twice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any

import apsw
import pytest

from ark.client import Client
from ark.errors import ArkError
from ark.journal import open_for_reading
from tests.node import Node, node, wait_until
from tests.promises import check_promises, figures_agree

SIGNALS = 1_000
PORTION = 20
KILL_EVERY_S = 0.2

FAST_HANDS = """
[agents.kenny.settings]
max_actions_per_minute = 100000
burst_limit = 1000

[agents.hrm.settings]
max_position_size = 0.06
"""
"""Enough orders a minute that many signals come as far as the broker, and no position so large that a person is
asked."""


def made_up_signals(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Signals of every kind, over twenty symbols whose prices wander."""
    die = random.Random(seed)
    prices = {f"S{number}": 100.0 for number in range(20)}
    for number in range(count):
        symbol = die.choice(list(prices))
        price = prices[symbol] = round(prices[symbol] * die.uniform(0.97, 1.03), 2)
        made: dict[str, Any] = {"symbol": symbol, "direction": "long", "price": price}
        kind = die.choices(("sound", "too big", "bare", "bar"), (6, 1, 1, 3))[0]
        if kind in ("sound", "too big"):
            # The stops are so near that those that are hit do not end the day.
            size = 0.02 if kind == "sound" else 0.5
            made |= {"position_size_pct": size, "stop_loss": price * 0.995, "target": price * 1.015}
        elif kind == "bar":
            bar = {"ts": 1.6e9 + number * 60, "open": price, "high": price * 1.03, "low": price * 0.97}
            made |= {"action": "observe", "features": {"bar": {**bar, "close": price, "volume": 1e5}}}
        yield made


class Killer(threading.Thread):
    """Kills every child in turn, supervisors and the root included, each as soon as it has a process again.

    It takes them in one order and waits for each: who takes whom there is kills the first ones over and over while
    a slow machine never comes to start the last.
    """

    def __init__(self, one: Node, names: list[str]) -> None:
        super().__init__()
        self._node = one
        self._names = names
        self._finished = threading.Event()
        self.killed: Counter[str] = Counter()

    def run(self) -> None:
        for name in cycle(self._names):
            while not self._finished.wait(KILL_EVERY_S) and not self._kill(name):
                pass
            if self._finished.is_set():
                return

    def finish(self) -> None:
        self._finished.set()
        self.join()

    def _kill(self, name: str) -> bool:
        with suppress(ArkError, StopIteration, ProcessLookupError):
            pid = self._node.child(name)["pid"]
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.killed[name] += 1
                return True
        return False


@pytest.mark.timeout(180)
def test_every_child_in_turn_and_then_the_whole_tree() -> None:
    with node(FAST_HANDS) as one:
        names = [child["name"] for child in one.status()["children"]]
        killer = Killer(one, names)
        killer.start()
        accepted = []
        signals = list(made_up_signals(SIGNALS, seed=1))
        with Client(one.gateway, timeout_s=60.0) as client:
            for start in range(0, SIGNALS - 200, PORTION):
                accepted += inject(client, signals[start : start + PORTION])
                time.sleep(0.06)  # the pace of the load, not a wait for anything
            wait_until(lambda: set(killer.killed) == set(names), "every child was killed", within_s=100.0)
            killer.finish()
            wait_until(lambda: is_at_rest(one), "every signal has its outcome", within_s=60.0)
            figures_agree(lambda name: reading(one, name), one.home.pages, exact=False)
            accepted += inject(client, signals[SIGNALS - 200 :])
        one.kill_everything()
        one.start()
        with one.client() as client:
            outcomes = [client.outcome(trace_id, timeout_s=60.0) for trace_id in accepted]
            statuses = Counter(outcome["status"] for outcome in outcomes)
            reasons = Counter(outcome["reason"].split(":")[0] for outcome in outcomes)
            counts = client.status()["signals"]
        assert sum(statuses.values()) == SIGNALS
        assert statuses["failed"] == statuses["expired"] == 0
        assert statuses["executed"] > 50, reasons
        assert statuses["held"] == 0
        assert counts["completed"] == counts["accepted"] == SIGNALS
        assert counts["in_flight"] == counts["dead_letters"] == 0
        assert one.run("ark-run", "audit", "verify").returncode == 0
        assert one.stop() == 0
        check_promises(lambda name: reading(one, name))


def reading(one: Node, name: str) -> apsw.Connection:
    """A database of a node, for reading."""
    return open_for_reading(one.home.data / f"{name}.db")


def is_at_rest(one: Node) -> bool:
    """Whether every child runs and no signal is under way."""
    try:
        status = one.status()
    except ArkError:
        return False
    return bool(status["ready"] and not status["signals"]["in_flight"])


def inject(client: Client, signals: list[dict[str, Any]]) -> list[str]:
    """Inject until accepted; gives the trace ids."""
    results = client.inject_many(signals)
    assert {result["status"] for result in results} <= {"accepted", "duplicate"}, results
    return [result["trace_id"] for result in results]
