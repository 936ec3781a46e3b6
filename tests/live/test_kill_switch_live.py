"""The kill switch at a real node: what it ends at once, what it leaves alone, and what alone lifts it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ark.client import Client
from tests.live.desk import PULLBACK, events, judged, order_of, orders_sent, reserved, show_bar, violations
from tests.node import Node, node, wait_until

AT_ONCE_S = 5.0
"""So soon no entry works any more, also where other tests keep the machine busy and each process between waits."""


class Stream(threading.Thread):
    """Sends signals that would all be approved, one after the other, until it is told to stop."""

    def __init__(self, one: Node) -> None:
        super().__init__()
        self._node = one
        self._finished = threading.Event()
        self.outcomes: list[dict[str, Any]] = []

    def run(self) -> None:
        with self._node.client() as client:
            number = 0
            while not self._finished.is_set():
                number += 1
                self.outcomes.append(judged(client, position_size_pct=None, quantity=number))

    def finish(self) -> None:
        self._finished.set()
        self.join()


class Halted:
    """A node with a position and an entry that works, halted in the middle of a stream of signals."""

    def __init__(self, one: Node) -> None:
        self.node = one
        with one.client() as client:
            self.position = judged(client, symbol="MSFT")["trace_id"]
            self.entry = judged(client, symbol="IBM", **PULLBACK)["trace_id"]
            held = judged(client, symbol="ORCL", position_size_pct=0.09)
            assert held["status"] == "held"
            self.held = held["trace_id"]
        assert order_of(one, self.position)["protected"] is True
        assert order_of(one, self.entry)["status"] == "working"
        assert self.entry in reserved(one)
        stream = Stream(one)
        stream.start()
        wait_until(lambda: len(stream.outcomes) > 3, "signals are judged")
        self.done = one.run("ark-run", "halt", "--reason", "enough for today")
        self.at = time.time()
        self.halted_at = json.loads(one.home.halt_file.read_text())["at"]
        wait_until(lambda: order_of(one, self.entry)["status"] != "working", "the entry works no more")
        self.gone_after_s = time.time() - self.halted_at
        judged_before = len(stream.outcomes)
        wait_until(lambda: len(stream.outcomes) > judged_before + 3, "signals go on being judged")
        stream.finish()
        self.outcomes = stream.outcomes
        self.position_then = order_of(one, self.position)


@pytest.fixture(scope="module")
def halted() -> Iterator[Halted]:
    with node("[agents.kenny.settings]\nburst_limit = 1000\n") as one:
        yield Halted(one)


def test_an_entry_that_still_works_is_cancelled_at_once(halted: Halted) -> None:
    assert halted.done.returncode == 0
    assert order_of(halted.node, halted.entry)["status"] == "cancelled"
    assert halted.gone_after_s < AT_ONCE_S


def test_a_position_keeps_its_stop_and_its_target(halted: Halted) -> None:
    order = halted.position_then
    assert (order["status"], order["protected"]) == ("filled", True)
    assert (order["order"]["stop_loss"], order["order"]["target"]) == ("96.00", "110.00")


def test_what_was_reserved_for_the_entry_is_free_again(halted: Halted) -> None:
    wait_until(lambda: halted.entry not in reserved(halted.node), "the reservation is released")


def test_nothing_is_approved_after_the_halts_reply(halted: Halted) -> None:
    before = [each for each in halted.outcomes if each["decision"]["decided_at"] < halted.halted_at]
    after = [each for each in halted.outcomes if each["decision"]["decided_at"] > halted.at]
    assert [each["status"] for each in before][:3] == ["executed"] * 3
    assert after
    for outcome in after:
        assert outcome["status"] == "denied"
        assert "enough for today" in violations(outcome)["emergency_halt_enabled"]


def test_a_stop_that_is_reached_while_trading_is_halted_still_ends_the_position(halted: Halted) -> None:
    with halted.node.client() as client:
        show_bar(client, "MSFT", 95.0, ts=time.time())
    assert order_of(halted.node, halted.position)["exit_leg"] == "stop"


def test_what_waits_for_a_person_is_denied_in_spite_of_his_yes_while_trading_is_halted(halted: Halted) -> None:
    with halted.node.client() as client:
        client.approve(halted.held, reason="yes")
        outcome = client.outcome(halted.held, timeout_s=10.0)
    assert outcome["status"] == "denied"
    assert "enough for today" in violations(outcome)["emergency_halt_enabled"]


def test_a_halt_outlives_the_node_and_only_a_resume_with_a_reason_lifts_it() -> None:
    with node() as one:
        one.run("ark-run", "halt", "--reason", "the night")
        assert one.stop() == 0
        one.start()
        with one.client() as client:
            assert "the night" in violations(judged(client))["emergency_halt_enabled"]
            for refused in (one.run("ark-run", "resume"), one.run("ark-run", "resume", "--reason", " ")):
                assert refused.returncode != 0
                assert "reason" in refused.stderr
            assert one.status()["halted"]
            assert orders_sent(one) == 0
            assert one.run("ark-run", "resume", "--reason", "the morning").returncode == 0
            assert judged(client)["status"] == "executed"
        assert one.stop() == 0
        assert one.run("ark-run", "halt", "--reason", "while nothing runs").returncode == 0
        refused = one.run("ark-run", "resume", "--reason", "")
        assert (refused.returncode, refused.stderr) == (1, "error: resume needs a reason\n")
        assert one.home.halt_reason() == "while nothing runs"


def test_a_day_that_loses_five_per_cent_halts_by_itself_and_stays_so() -> None:
    symbols = [f"LOSS{number}" for number in range(5)]
    with node() as one, events(one, "alarm") as heard:
        with one.client() as client:
            for symbol in symbols:
                assert judged(client, symbol=symbol, position_size_pct=0.08)["status"] == "executed"
            for symbol in symbols[:-1]:
                fall(client, symbol)
                assert one.home.halt_reason() is None
            fall(client, symbols[-1])
            reason = one.home.halt_reason() or ""
            assert "max_daily_loss" in reason
            assert "the limit is 5.00%" in reason
            assert wait_until(lambda: [each for each in heard() if each["rule"] == "max_daily_loss"], "the alarm")
            assert "emergency_halt_enabled" in violations(judged(client))
            assert json.loads(one.home.halt_file.read_text())["by"] == "hrm"
        assert one.stop() == 0
        one.start()
        with one.client() as client:
            assert one.home.halt_reason() == reason
            assert one.run("ark-run", "resume", "--reason", "I know of it").returncode == 0
            found = violations(judged(client))
            assert "emergency_halt_enabled" not in found
            assert "the limit is 5 %" in found["max_daily_loss"], "the rule itself still denies on that day"
            assert one.home.halt_reason() is None


def fall(client: Client, symbol: str) -> None:
    """The market falls through the stop, by 15 %."""
    show_bar(client, symbol, 85.0, ts=time.time())
