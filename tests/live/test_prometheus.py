"""A real Prometheus scrapes a real node: every query of the dashboard, every metric, and no counter that goes down.

One node and one Prometheus for all of it, with the rules that are shipped. The tests stand in the order in which
they run: first the node is well, and at last its processes are killed one after the other.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest

from actors.feeds import as_signals, demo_bars
from ark.metrics import REGISTRY
from deployment.alerting import Limits
from deployment.dashboard import ROWS
from deployment.observability import files
from tests.live.desk import signal as sound
from tests.monitoring import Prometheus, needs, prometheus
from tests.node import Node, comes_back, node, wait_until

pytestmark = [pytest.mark.monitoring, needs("prometheus")]

BARS = 200
"""Signals that show a bar each: the demo's."""
CONFIG = """
[agents.hrm.settings]
day = "bars"
[agents.kenny.settings]
max_actions_per_minute = 6000.0
burst_limit = 100
"""
"""As in the demo."""
KILLED = (
    *("kyle", "joey", "hrm", "kenny", "aletheia"),
    *("gateway", "watchdog", "exporter", "deployer", "pipeline", "root"),
)
"""Every process of the tree but the one that `ark-run start` is."""

A_CANARY = "there is no canary"
A_FAILURE = "no agent called a signal failed or died of one"
A_ROLLOUT = "nothing is rolled out"
AN_ALERT = "the Watchdog has told of nothing"
METRICS_WITHOUT_AN_EVENT = {
    "redis_stream_depth": "no Redis feeds this node",
    "agent_method_errors_total": A_FAILURE,
    "ark_agent_failures_total": A_FAILURE,
    "ark_agent_dropped_total": "no process was replaced",
    "ark_breaker_trips_total": "no breaker opened",
    "watchdog_events_total": AN_ALERT,
    "ark_alerts_standing": AN_ALERT,
    "ark_rollout_state": A_ROLLOUT,
    "ark_rollout_stopped": A_ROLLOUT,
    "ark_rollout_share_ratio": A_ROLLOUT,
    "ark_rollout_evidence_ratio": A_ROLLOUT,
    "ark_rollout_to_zero_seconds": A_ROLLOUT,
}
"""Metrics that a node which is well may not have yet, and why."""
QUERIES_WITHOUT_AN_EVENT = {
    ("Alerts", "{{alertname}}"): "nothing is wrong for long enough",
    ("Alerts", "Watchdog: {{fault}}"): AN_ALERT,
    ("Failures of each agent", "{{agent}}, called failed"): A_FAILURE,
    ("Failures of each agent", "{{agent}}, ended by {{error_type}}"): A_FAILURE,
    ("Failures by version", "{{agent}} {{version}} {{track}}"): A_FAILURE,
    ("Sent and handled again", "{{agent}}, handled again"): "no process was replaced",
    ("Sent and handled again", "{{agent}}, of an older epoch"): "no process was replaced",
    ("Rule book", "{{breaker}} opened"): "no breaker opened",
    ("Feed", "waiting in {{stream}}"): "no Redis feeds this node",
    ("Alerts that the Watchdog told", "{{event_type}}, {{agent}}"): AN_ALERT,
    ("State of the rollout", "{{state}}"): A_ROLLOUT,
    ("State of the rollout", "stopped"): A_ROLLOUT,
    ("Shares of the arms", "{{arm}}"): A_ROLLOUT,
    ("Evidence of what it takes", "{{metric}}, {{side}}"): A_ROLLOUT,
    ("Back to the stable version", "from the word to no signal"): A_ROLLOUT,
    ("Canary against stable", "denials of the canary"): A_CANARY,
    ("Canary against stable", "judged by the canary"): A_CANARY,
}
"""Queries of panels, by title and legend, that may have no data in a node which is well, and why."""


class Watched:
    """A node, who watches it, and what it was given."""

    def __init__(self, one: Node, server: Prometheus) -> None:
        self.node = one
        self.prometheus = server
        self.sent = 0

    def send(self, *signals: dict[str, Any]) -> None:
        """Send signals."""
        with self.node.client() as client:
            accepted = client.inject_many(signals)
        assert {each["status"] for each in accepted} == {"accepted"}
        self.sent += len(accepted)

    def see_all(self) -> None:
        """Wait until Prometheus has seen that every signal has ended."""
        wait_until(
            lambda: self.prometheus.value("ark_signals_completed_total") == self.sent,
            f"{self.sent} signals have ended",
            within_s=40.0,
        )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("prometheus")
    for name, text in files(Limits()).items():
        if name.startswith("prometheus/rules/"):
            (folder / name.rpartition("/")[2]).write_text(text)
    with node(CONFIG, start=False) as one:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "*.yml")],
            "scrape_configs": [{"job_name": "ark", "static_configs": [{"targets": [one.metrics]}]}],
        }
        # Prometheus takes five seconds until it looks at a target for the first time; the node starts meanwhile.
        with prometheus(folder, config) as server:
            seen = Watched(one.start(), server)
            wait_until(lambda: server.value("ark_ready") == 1, "the first scrape")
            bars = list(as_signals(islice(demo_bars(), BARS)))
            denied = sound(symbol="KO", position_size_pct=0.3)
            # Twice, with a scrape between: only what grows from one scrape to the next has a rate.
            seen.send(*bars[: BARS // 2], sound(), denied)
            seen.see_all()
            seen.send(*bars[BARS // 2 :], sound(symbol="KO"), denied)
            seen.see_all()
            yield seen


def test_a_node_has_every_metric_of_the_registry_and_no_other(watched: Watched) -> None:
    names = watched.prometheus.ask("label/__name__/values")
    found = {family(name) for name in names if not re.fullmatch("up|scrape_.*|ALERTS.*|.*:.*", name)}

    assert found - set(REGISTRY) == set()
    assert set(REGISTRY) - found <= set(METRICS_WITHOUT_AN_EVENT)


def test_every_query_of_the_dashboard_has_data(watched: Watched) -> None:
    def without_data() -> set[tuple[str, str]]:
        return {
            (panel.title, legend)
            for row in ROWS
            for panel in row.panels
            for legend, expr in panel.queries.items()
            if not has_data(watched, expr)
        }

    # What is recorded comes with the next evaluation of the rules.
    with suppress(AssertionError):
        wait_until(lambda: without_data() <= set(QUERIES_WITHOUT_AN_EVENT), "all have data", within_s=5.0)
    assert without_data() - set(QUERIES_WITHOUT_AN_EVENT) == set()


def test_what_needs_no_event_is_not_said_to_need_one() -> None:
    assert set(METRICS_WITHOUT_AN_EVENT) <= set(REGISTRY)
    known = {(panel.title, legend) for row in ROWS for panel in row.panels for legend in panel.queries}
    assert set(QUERIES_WITHOUT_AN_EVENT) <= known


def test_the_rules_that_are_shipped_are_evaluated_and_call_nobody(watched: Watched) -> None:
    groups = watched.prometheus.ask("rules")["groups"]

    faults = {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if "lastError" in rule}
    assert faults == {}
    # How fast this machine is just now is nobody's fault.
    firing = 'ALERTS{alertstate="firing",severity="page",slo!~".*latency"}'
    assert watched.prometheus.query(firing) == []


def test_a_halt_calls_somebody_until_trading_is_resumed(watched: Watched) -> None:
    fires = 'ALERTS{alertname="ARKHalted",alertstate="firing",severity="page"}'

    assert watched.node.run("ark-run", "halt", "--reason", "looking").returncode == 0
    wait_until(lambda: watched.prometheus.value(fires) == 1, "the alert fires")
    assert watched.node.run("ark-run", "resume", "--reason", "seen").returncode == 0
    wait_until(lambda: watched.prometheus.value(fires) is None, "it is over")


def test_a_point_of_a_latency_leads_to_a_trace(watched: Watched) -> None:
    """Prometheus asks for OpenMetrics, and so gets the traces behind the buckets."""
    now = float(watched.prometheus.ask("query", query="time()")["result"][1])
    found = watched.prometheus.ask(
        "query_exemplars", query="ark_decision_latency_seconds_bucket", start=str(now - 300), end=str(now)
    )

    trace_id = found[0]["exemplars"][0]["labels"]["trace_id"]
    with watched.node.client() as client:
        assert client.outcome(trace_id)["trace_id"] == trace_id


def test_no_kill_makes_a_counter_go_down_or_count_for_two(watched: Watched) -> None:
    for name in KILLED:
        pid = watched.node.child(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        comes_back(watched.node, name, pid)
        watched.send(sound(symbol="KO", direction="short", stop_loss=104.0, target=90.0))
    watched.see_all()

    for metric in REGISTRY.values():
        for series in series_that_only_grow(metric.name, metric.kind):
            assert watched.prometheus.query(f"resets({series}[15m]) > 0") == [], series
    exact = {
        "ark_signals_accepted_total": "ark_signals_accepted_total",
        "ark_signals_completed_total": "ark_signals_completed_total",
        "ark_outcomes_total": "sum(ark_outcomes_total)",
        "availability": 'sum(ark_slo_events_total{slo="availability"})',
        "decision_latency": 'sum(ark_slo_events_total{slo="decision_latency"})',
        "hrm_latency": 'sum(ark_slo_events_total{slo="hrm_latency"})',
        "audit_completeness": 'sum(ark_slo_events_total{slo="audit_completeness"})',
        "ark_decision_latency_seconds": "ark_decision_latency_seconds_count",
        "signals_processed_total": "signals_processed_total",
    }
    counted = {name: watched.prometheus.value(query) for name, query in exact.items()}
    assert counted == dict.fromkeys(exact, float(watched.sent))


def has_data(watched: Watched, expr: str) -> bool:
    """Whether a query of the dashboard gives at least one number, for the node and an interval of a minute."""
    query = expr.replace("$instance", watched.node.metrics).replace("$__rate_interval", "1m")
    return any(each["value"] == each["value"] for each in watched.prometheus.query(query))


def series_that_only_grow(name: str, kind: str) -> tuple[str, ...]:
    """The series of a metric that must never go down."""
    if kind == "histogram":
        return (f"{name}_bucket", f"{name}_count", f"{name}_sum")
    return (name,) if kind == "counter" else ()


def family(name: str) -> str:
    """The metric that a series belongs to."""
    for suffix in ("_bucket", "_count", "_sum"):
        base = name.removesuffix(suffix)
        if name.endswith(suffix) and base in REGISTRY and REGISTRY[base].kind == "histogram":
            return base
    return name
