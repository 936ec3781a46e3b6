"""The objectives of a running node, compared with figures that were worked out by hand."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from supervisor import objectives
from tests.node import ROOT, Node, comes_back, node, wait_until

DECISION_S, JUDGE_S = 3.0, 1.0
"""Generous limits, so that on a busy machine only what is held back on purpose misses them. They are set, too: a
signal that takes half a second would miss the default ones."""
CONFIG = f"""
[pipeline]
agents = ["alpha", "hrm", "omega"]
secrets = {{}}
[agents.alpha]
class = "tests.echo_agents:First"
path = "{ROOT}"
[agents.hrm]
class = "tests.slo_agents:Judge"
path = "{ROOT}"
[agents.omega]
class = "tests.slo_agents:Ender"
path = "{ROOT}"
[slo]
latency_ms = {1000 * DECISION_S}
hrm_latency_ms = {1000 * JUDGE_S}
"""


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    with node(CONFIG) as started:
        yield started


def told(one: Node) -> dict[str, Any]:
    return objectives.ask(f"http://{one.metrics}")


def signals(count: int, end: str = "executed", takes_s: float = 0.0, **outcome: Any) -> list[dict[str, Any]]:
    metadata = {"end": end, "takes_s": takes_s, "outcome": json.dumps(outcome)}
    return [{"symbol": "AAPL", "direction": "long", "price": 190.0, "metadata": metadata}] * count


AUDITED = {"audit": {"complete": True, "disagreements": []}, "ledger": {"row": 1}}


def test_after_an_outage_with_kills_in_it_the_objectives_are_what_they_should_be(one: Node, tmp_path: Path) -> None:
    """200 signals; the gateway and the exporter are killed while two of them are under way.

    | | good | bad |
    |---|---|---|
    | availability | 182 executed + 8 denied + 4 no_setup = 194 | 4 failed + 2 expired = 6, 3 % |
    | decision latency | 198 | the 2 that were held back |
    | HRM latency | 199 | 1: the judge holds the first one; the second one only waits behind it |
    | audit | 9 rows are whole | 1 is not |
    | ethics drift | 199 | 1 order without an approval |
    """
    wait_until(lambda: told(one)["sampled_at"], "the exporter has looked")
    sent = [
        *signals(169),
        *signals(1, takes_s=0.5),
        *signals(8, "denied"),
        *signals(4, "no_setup"),
        *signals(4, "failed"),
        *signals(2, "expired"),
        *signals(8, **AUDITED, decision={"approved": True}, order={"status": "filled"}),
        *signals(1, **AUDITED, decision={"approved": False}, order={"status": "filled"}),
        *signals(1, **{**AUDITED, "audit": {"complete": True, "disagreements": ["there are two"]}}),
    ]
    gate = tmp_path / "gate"
    with one.client() as client:
        for accepted in client.inject_many(sent):
            client.outcome(accepted["trace_id"], timeout_s=10.0)
        slow = [client.inject({**each, "metadata": {"gate": str(gate)}}) for each in signals(2)]
    accepted_at = time.monotonic()
    begun = Path(f"{gate}.begun")
    wait_until(begun.exists, "the judge holds the first one")
    pids = {name: one.child(name)["pid"] for name in ("exporter", "gateway")}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in pids.items():
        comes_back(one, name, pid)
    wait_until(lambda: begun.read_text() == str(one.child("hrm")["pid"]), "the judge who lives holds it")
    held_since = max(accepted_at + DECISION_S - JUDGE_S, time.monotonic())
    wait_until(lambda: time.monotonic() > held_since + 1.05 * JUDGE_S, "they are late")
    gate.touch()
    with one.client() as client:
        for each in slow:
            assert client.outcome(each["trace_id"], timeout_s=20.0)["status"] == "executed"

    def whole() -> dict[str, Any] | None:
        document = told(one)
        window = document["slos"][0]["window"]
        return document if window["good"] + window["bad"] >= 200 else None

    document = wait_until(whole, "all are counted")
    found = {each["name"]: each for each in document["slos"]}
    counts = {name: (each["window"]["good"], each["window"]["bad"]) for name, each in found.items()}
    assert counts == {
        "availability": (194, 6),
        "decision_latency": (198, 2),
        "hrm_latency": (199, 1),
        "audit_completeness": (9, 1),
        "ethics_drift": (199, 1),
    }
    states = {name: (each["state"], each["current_value"]) for name, each in found.items()}
    assert states == {
        "availability": ("violated", 0.97),
        "decision_latency": ("met", 0.99),
        "hrm_latency": ("met", 0.995),
        "audit_completeness": ("violated", 0.9),
        "ethics_drift": ("violated", 1.0),
    }
    # 3 % bad of 0.5 % that may be: six times too fast, in every window. That is not above the 6 of the slow page.
    availability = found["availability"]
    assert set(availability["burn"]["rates"].values()) == {6.0}
    firing = [(each["severity"], each["speed"]) for each in availability["burn"]["alerts"] if each["firing"]]
    assert firing == [("ticket", "quick"), ("ticket", "slow")]
    # Of 200 one might fail, six did: five budgets more than there were.
    assert (availability["budget"]["allowed"], availability["budget"]["remaining"]) == (1.0, -5.0)
    assert (found["decision_latency"]["limit_ms"], found["hrm_latency"]["limit_ms"]) == (3000.0, 1000.0)
    with urlopen(f"http://{one.metrics}/metrics", timeout=10) as answer:
        assert b'ark_decision_latency_seconds_bucket{le="3.0"} 198.0' in answer.read()
    # Of 200 ten might be late, two were.
    latency = found["decision_latency"]["budget"]
    assert (latency["allowed"], latency["remaining"]) == (10.0, 0.8)
    assert (document["met"], document["violated"], document["unknown"]) == (2, 3, 0)
    shown = one.run("supervisor", "slo")
    assert shown.returncode == 3
    assert shown.stdout.splitlines()[1].split()[:4] == ["availability", "VIOLATED", "97", "%"]
