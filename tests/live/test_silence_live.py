"""Nothing is approved while those are silent without whom nobody watches, writes down or could intervene."""

from __future__ import annotations

import os
import signal as signals
import time
from collections.abc import Iterator

import pytest

from ark.blackbox import read
from tests.live.desk import judged, orders_sent, rows, signal, violations
from tests.node import Node, node, wait_until


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    """A node that replaces what hangs after ten seconds; the judge's patience ends before."""
    with node() as started:
        yield started


def test_while_the_watchdog_is_stopped_nothing_is_approved(one: Node) -> None:
    pid = one.child("watchdog")["pid"]
    with one.client() as client:
        assert judged(client)["status"] == "executed"
        before = orders_sent(one)
        os.kill(pid, signals.SIGSTOP)
        stopped_at = time.time()
        try:
            # What would be denied anyway, until the judge misses it; he waits a while for it to be replaced.
            words = wait_until(
                lambda: violations(judged(client, target=104.0)).get("watchdog_monitoring"), "it is missed"
            )
            assert "the limit is 3 s" in words
            outcome = judged(client, position_size_pct=None, quantity=1)
            assert outcome["status"] == "denied"
            assert "watchdog_monitoring" in violations(outcome)
            assert orders_sent(one) == before
            assert time.time() - stopped_at < 10.0, "before it would have been replaced"
        finally:
            os.kill(pid, signals.SIGCONT)
        one_unit = {"position_size_pct": None, "quantity": 1}
        wait_until(lambda: judged(client, **one_unit)["status"] == "executed", "it is there again")


def test_while_the_ledger_is_isolated_nothing_is_judged_and_what_came_waits(one: Node) -> None:
    with one.client() as client:
        before = orders_sent(one), rows(one, "hrm", "SELECT count(*) FROM hrm_judged")
        client.request("isolate", agent="aletheia", reason="to see")
        waiting = client.inject(signal(position_size_pct=None, quantity=2))["trace_id"]
        wait_until(lambda: one.status()["signals"]["in_flight"] == 1, "it has arrived")
        kyles = rounds(one, "kyle")
        wait_until(lambda: rounds(one, "kyle") > kyles + 4, "the pipeline goes round")
        assert (orders_sent(one), rows(one, "hrm", "SELECT count(*) FROM hrm_judged")) == before
        client.request("release", agent="aletheia", reason="it was to see")
        assert client.outcome(waiting, timeout_s=20.0)["status"] == "executed"


def rounds(one: Node, name: str) -> int:
    """How often a process has gone round its loop."""
    box = read(one.home.box(name))
    return box.loops if box else 0
