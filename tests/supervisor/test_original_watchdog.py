"""What the original promised of its Watchdog (W1 to W24, and P8), in the terms of this one.

The original computed most of these figures and acted on none: its tests compared numbers with limits. Here each of
them ends in an order or an alert. What a table, a limit or a window does in all its cases is proved beside. W9,
W10, W12, W16, W17, P5 and P6 are proved in `tests/live/test_original_behaviours.py`, P7 in `test_watchdog_live.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.blackbox import BlackBox, Work, read
from ark.config import Config, WatchdogConfig, load
from ark.control import Control, Duty
from ark.errors import NodeError
from ark.home import Home
from supervisor.alerts import Answers, Fault, Memory, weigh
from supervisor.conduct import Conduct, ConductLimits, Record, fault, health
from supervisor.failures import Failures
from supervisor.watchdog import WatchdogWorker
from tests.live.desk import signal
from tests.node import BARE, Node, node, wait_until
from tests.supervisor.test_watchdog_live import QUICK, alerts, inject, outcomes, raised

LIMITS = ConductLimits()
DEFAULTS = WatchdogConfig()
ANSWERS = Answers(msgspec.structs.asdict(DEFAULTS.answers), ("kyle", "kenny"))


def ordered(found: tuple[str, str] | None) -> list[tuple[str, str]]:
    """What is ordered about an agent's conduct, as answer and subject."""
    assert found is not None
    _, orders, _ = weigh([Fault(found[0], "kenny", found[1])], Memory(), ANSWERS, 0.0)
    return [(order.answer, order.fault.subject) for order in orders]


# Figures


def test_w1_who_did_nothing_failed_in_nothing() -> None:
    assert (Conduct().requests, Conduct().failure_rate) == (0, 0.0)


def test_w2_twenty_of_a_hundred_are_a_fifth() -> None:
    assert Conduct(answered=100, failed=20).failure_rate == pytest.approx(0.2)
    assert Conduct(answered=80, failed=20, ended=20).failure_rate == pytest.approx(0.2)


def test_w3_who_answered_nothing_has_no_latency() -> None:
    assert Conduct().mean_latency_ms == 0.0


def test_w4_the_mean_latency_is_that_of_all_answers_in_the_window() -> None:
    record, work = Record(60.0), Work()
    record.see(Work(), Failures(), 0.0)
    for took_ms in (10, 20, 30, 40, 50):
        work.count(took_ms * 1_000_000, failed=False)
    record.see(work, Failures(), 1.0)
    assert record.conduct().mean_latency_ms == pytest.approx(30.0)


def test_w5_w6_the_health_of_a_good_agent_is_near_1_and_of_a_bad_one_below_a_half() -> None:
    assert 0.9 <= health(Conduct(answered=100, failed=5, mean_latency_ms=100.0), 1.0) <= 1.0
    assert health(Conduct(answered=100, failed=80, mean_latency_ms=8000.0), 1.0) < 0.5


def test_w7_the_originals_limits_are_the_defaults() -> None:
    assert DEFAULTS.max_failures_in_a_row == 5
    assert DEFAULTS.max_failure_rate == pytest.approx(0.2)
    assert DEFAULTS.max_latency_ms == pytest.approx(5000.0)
    assert (DEFAULTS.max_queue_depth, DEFAULTS.max_violations_per_min) == (1000, 10)
    assert (DEFAULTS.auto_isolation, DEFAULTS.emergency_halt) == (True, True)


def test_w8_the_originals_variables_set_them() -> None:
    settings = load(
        None,
        {
            "WATCHDOG_MAX_LATENCY_MS": "250",
            "WATCHDOG_MAX_FAILURE_RATE": "0.5",
            "WATCHDOG_MAX_CONSECUTIVE_FAILURES": "3",
            "WATCHDOG_MAX_QUEUE_DEPTH": "7",
            "WATCHDOG_MAX_GRAVEYARD_VIOLATIONS_PER_MIN": "2",
            "WATCHDOG_AUTO_ISOLATION": "false",
            "WATCHDOG_EMERGENCY_HALT_ENABLED": "false",
        },
    ).watchdog
    assert (settings.max_latency_ms, settings.max_failure_rate, settings.max_failures_in_a_row) == (250, 0.5, 3)
    assert (settings.max_queue_depth, settings.max_violations_per_min) == (7, 2)
    assert (settings.auto_isolation, settings.emergency_halt) == (False, False)


# What is done about them


@pytest.mark.parametrize(
    "conduct",
    [
        pytest.param(Conduct(failed_in_a_row=5), id="W14 five failures in a row"),
        pytest.param(Conduct(answered=100, failed=30), id="W15 three of ten fail"),
        pytest.param(Conduct(answered=50, mean_latency_ms=6000.0), id="six seconds for a signal"),
        pytest.param(Conduct(answered=20, failed=20, failed_in_a_row=20), id="W23 an agent that only fails"),
    ],
)
def test_who_exceeds_a_limit_is_isolated(conduct: Conduct) -> None:
    assert ordered(fault(conduct, LIMITS)) == [("isolate", "kenny")]


# How often is looked


def test_p8_each_monitor_looks_as_often_as_its_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    settings = {
        "agents_interval_s": 5.0,
        "bus_interval_s": 2.0,
        "events_interval_s": 1.0,
        "resources_interval_s": 10.0,
    }
    config = msgspec.convert({"watchdog": settings}, Config)
    duty = Duty("watchdog", "root", "service", "", 1, 1, str(home.path), msgspec.to_builtins(config), {}, {})
    control, _ = Control.pair()
    worker = WatchdogWorker(duty, control, BlackBox(home.box("watchdog"), incarnation=1))
    looks: Counter[str] = Counter()
    for name in ("_look_at_agents", "_look_at_bus", "_look_at_events", "_look_at_resources", "_look_at_seal"):
        monkeypatch.setattr(worker, name, lambda *_, name=name: looks.update([name]) or [])
    for quarter in range(4 * 60):
        worker._round(1000.0 + quarter / 4)
    assert looks == {
        "_look_at_agents": 12,
        "_look_at_bus": 30,
        "_look_at_events": 60,
        "_look_at_resources": 6,
        "_look_at_seal": 240,
    }


# At a node


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    """A node whose second agent does what a signal's metadata says."""
    config = BARE.replace("tests.echo_agents:Middle", "tests.supervisor.misbehaving:Misbehaving")
    with node(config + QUICK) as started:

        def counts() -> bool:
            outcomes(started, inject(started))
            return bool(started.child("beta").get("requests"))

        wait_until(counts, "the Watchdog counts")
        yield started


def beta(one: Node, **wanted: Any) -> dict[str, Any]:
    """What the status says of the agent, once it says this."""

    def seen() -> dict[str, Any] | None:
        child = one.child("beta")
        return child if all(child.get(key) == value for key, value in wanted.items()) else None

    found: dict[str, Any] = wait_until(seen, f"beta has {wanted}")
    return found


def begin_anew(one: Node, out: str = "isolate", back: str = "release") -> None:
    with one.client() as client:
        for op in (out, back):
            client.request(op, agent="beta", reason="a look")
    beta(one, state="running", failures_in_a_row=0)


def test_w11_w18_w19_w20_requests_latency_failures_and_their_row_are_in_the_status(one: Node) -> None:
    begin_anew(one)
    beta(one, requests=0)
    outcomes(one, inject(one, 2))
    child = beta(one, requests=2, failures=0, failures_in_a_row=0)
    assert child["mean_latency_ms"] > 0
    outcomes(one, inject(one, 2, does="fail"))
    beta(one, requests=4, failures=2, failures_in_a_row=2)
    outcomes(one, inject(one, 10))
    beta(one, requests=14, failures=2, failures_in_a_row=0)


def test_w21_w22_one_bad_agent_spoils_the_health_of_the_node_and_of_no_other(one: Node) -> None:
    begin_anew(one)
    assert one.status()["health"] > 0.9
    assert {child["state"] for child in one.status()["children"]} == {"running"}
    outcomes(one, inject(one, 3, does="fail", for_s=0.2))
    bad = beta(one, requests=3, failures=3)
    status = one.status()
    assert bad["health"] < 0.5
    assert 0.5 < status["health"] < 0.9
    others = {child["name"]: child["health"] for child in status["children"] if child.get("health") is not None}
    assert all(others[name] > 0.9 for name in ("alpha", "omega"))


@pytest.mark.parametrize(
    ("does", "out", "back"),
    [
        pytest.param("fail", "isolate", "release", id="W13"),
        pytest.param("raise", "isolate", "release", id="W13 by dying"),
        pytest.param("fail", "stop", "start", id="W13 stopped"),
        pytest.param("raise", "stop", "start", id="W13 stopped, by dying"),
    ],
)
def test_who_was_taken_out_and_back_begins_anew(does: str, out: str, back: str, one: Node) -> None:
    begin_anew(one, out, back)
    traces = inject(one, 2, does=does)
    beta(one, failures_in_a_row=2, state="running")
    outcomes(one, traces)
    begin_anew(one, out, back)
    assert not alerts(one, fault="failures")


def test_who_is_released_before_its_process_has_ended_begins_anew_as_well(one: Node) -> None:
    begin_anew(one)
    outcomes(one, inject(one, 4, does="fail"))
    pid = beta(one, failures_in_a_row=4)["pid"]
    slow = inject(one, 1, does="fail", for_s=1.8)
    wait_until(lambda: (box := read(one.home.box("beta"))) and box.trace_id == slow[0], "it is at work")
    with one.client(timeout_s=0.2) as client, pytest.raises(NodeError):
        client.request("isolate", agent="beta", reason="a look")
    with one.client() as client:
        client.request("release", agent="beta", reason="enough seen")
    outcomes(one, slow)
    assert beta(one, state="running", failures_in_a_row=0)["pid"] != pid
    assert not alerts(one, fault="failures")


def test_w24_fifteen_denials_within_a_minute_are_counted_and_told() -> None:
    with node(QUICK + "max_round_trip_ms = 0.000001\n") as one, one.client() as client:
        looked_at = raised(one, "front_door")["at"]
        wait_until(
            lambda: one.home.watchdog_report().get("at", 0.0) > looked_at + 0.2, "denials are counted by now"
        )
        results = client.inject_many([signal(leverage=5) for _ in range(15)])
        assert outcomes(one, [result["trace_id"] for result in results]) == ["denied"] * 15
        alert = raised(one, "violations")
        assert (alert["name"], alert["severity"], alert["answer"]) == ("node", "warning", "warn")
        assert "orders within a minute" in alert["reason"]
        assert one.home.halt_reason() is None
