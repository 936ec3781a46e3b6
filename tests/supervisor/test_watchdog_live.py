"""The Watchdog over real nodes: what it sees, what it has done about it, and what it says."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from ark.blackbox import read as read_box
from ark.interventions import read
from ark.meters import read as read_page
from ark.status import StatusDocument
from tests.node import ECHO, Node, comes_back, ended, node, wait_until
from tests.redis_server import needs_redis, redis_server

QUICK = """
[watchdog]
agents_interval_s = 0.1
bus_interval_s = 0.1
events_interval_s = 0.1
resources_interval_s = 0.1
clear_s = 0.5
"""
MISBEHAVING = ECHO.replace("tests.echo_agents:Middle", "tests.supervisor.misbehaving:Misbehaving")
SIGNAL = {"symbol": "AAPL", "direction": "long", "price": 100.0}


@contextmanager
def watched(config: str = "", settings: str = "") -> Iterator[Node]:
    """A node whose second agent does what a signal's metadata says, under a Watchdog that looks often."""
    with node((config or MISBEHAVING) + QUICK + settings) as one:
        yield one


def alerts(one: Node, **wanted: Any) -> list[dict[str, Any]]:
    """The alerts in the log that have these fields, oldest first."""
    lines = [json.loads(line) for line in (one.home.logs / "supervision.log").read_text().splitlines()]
    return [
        line
        for line in lines
        if line["event"] == "alert" and all(line.get(key) == value for key, value in wanted.items())
    ]


def figures(one: Node, name: str) -> dict[tuple[str, ...], float]:
    """What the Watchdog's page says of a metric, by the values of its labels."""
    found = [each for each in read_page(one.home.page("watchdog")) if each.metric.name == name]
    values = {each.labels: each.value for each in found}
    assert len(values) == len(found), "a series that is there twice counts twice"
    return values


def acts(one: Node, by: str = "watchdog") -> list[tuple[str, str]]:
    """What was done to the node, as act and subject."""
    return [(act.act, act.subject) for act in read(one.home) if act.by == by]


def inject(one: Node, count: int = 1, **metadata: Any) -> list[str]:
    with one.client() as client:
        results = client.inject_many([{**SIGNAL, "metadata": metadata} for _ in range(count)])
    return [result["trace_id"] for result in results]


def counting(one: Node) -> None:
    """Wait until the Watchdog has looked at everybody: what was done before its first look is in no window."""
    ready_at = time.time()
    wait_until(lambda: one.home.watchdog_report().get("at", 0.0) > ready_at + 0.3, "the Watchdog has looked")


def outcomes(one: Node, traces: list[str]) -> list[str]:
    """How they ended, once all have."""
    with one.client() as client:
        return [
            wait_until(lambda trace_id=trace_id: ended(client, trace_id), f"{trace_id} has ended")["status"]
            for trace_id in traces
        ]


def raised(one: Node, fault: str, **wanted: Any) -> dict[str, Any]:
    found: list[dict[str, Any]] = wait_until(
        lambda: alerts(one, fault=fault, state="raised", **wanted), f"the alert {fault}", within_s=40.0
    )
    return found[0]


def state(one: Node, name: str) -> str:
    """A child's state; empty while its supervisor is being replaced."""
    children = {child["name"]: str(child["state"]) for child in one.status()["children"]}
    return children.get(name, "")


def test_an_agent_that_fails_again_and_again_is_isolated_and_after_its_release_judged_anew() -> None:
    with watched() as one:
        bad = inject(one, 6, does="raise")
        wait_until(lambda: state(one, "beta") == "isolated", "beta is isolated", within_s=60.0)
        alert = raised(one, "failures", name="beta")
        assert (alert["severity"], alert["answer"]) == ("critical", "isolate")
        assert re.fullmatch("[56] signals failed in a row", alert["reason"])
        assert "supervisor release beta" in alert["advice"]
        assert ("isolate", "beta") in acts(one)
        assert "signals failed in a row" in one.child("beta")["reason"]

        good = inject(one, 3)
        with one.client() as client:
            assert all(ended(client, trace_id) is None for trace_id in good), "nothing reaches an isolated agent"
            client.request("release", agent="beta", reason="mended")
        assert outcomes(one, bad + good) == ["failed"] * 6 + ["executed"] * 3
        raised(one, "dead_letter")
        assert state(one, "beta") == "running"
        assert acts(one).count(("isolate", "beta")) == 1, "one more failure is not the sixth in a row"
        quarantines = figures(one, "watchdog_quarantines_total")
        assert {labels for labels, count in quarantines.items() if count} == {("beta", "failures", "stable")}
        assert quarantines["beta", "failures", "stable"] == 1
        assert len(quarantines) == 9, "of each agent for what isolates it"
        assert figures(one, "watchdog_events_total")["failures", "beta", "critical"] == 1


def test_failures_that_an_agent_tells_of_count_as_well() -> None:
    with watched() as one:
        traces = inject(one, 7, does="fail")
        alert = raised(one, "failures", name="beta")
        assert alert["reason"] == "7 signals failed in a row" or "failed in a row" in alert["reason"]
        wait_until(lambda: state(one, "beta") == "isolated", "beta is isolated")
        with one.client() as client:
            client.request("release", agent="beta", reason="mended")
        assert outcomes(one, traces) == ["executed"] * 7, "they were answered"


def test_a_great_share_of_failures_isolates_also_where_good_ones_are_among_them() -> None:
    with watched() as one:
        counting(one)
        for _ in range(6):
            inject(one, 1, does="fail")
            inject(one, 2)
        alert = raised(one, "failure_rate", name="beta")
        assert re.search(r"\d of 1\d signals failed \(\d\d%, at most 20%\)", alert["reason"])
        wait_until(lambda: state(one, "beta") == "isolated", "beta is isolated")


def test_an_agent_that_is_too_slow_is_isolated() -> None:
    with watched(settings="max_latency_ms = 20\n") as one:
        counting(one)
        inject(one, 12, does="sleep", for_s=0.05)
        alert = raised(one, "latency", name="beta")
        assert alert["answer"] == "isolate"
        wait_until(lambda: state(one, "beta") == "isolated", "beta is isolated")


def test_an_agent_that_takes_too_much_memory_is_restarted_each_time() -> None:
    config = MISBEHAVING.replace("[agents.beta]\n", "[agents.beta]\nmemory_limit_mb = 120\n")
    with watched(config) as one:
        for _ in range(2):
            pid = one.child("beta")["pid"]
            traces = inject(one, 1, does="leak_memory", mib=150)
            comes_back(one, "beta", pid)
            assert outcomes(one, traces) == ["executed"]
        assert raised(one, "memory", name="beta")["answer"] == "restart"
        assert acts(one).count(("restart", "beta")) == 2
        assert len(alerts(one, fault="memory", state="raised")) <= 2
        assert one.child("alpha")["restarts"] == 0


def test_an_agent_that_never_closes_its_files_is_restarted() -> None:
    with watched(settings="descriptors_share = 0.5\n") as one:
        pid = one.child("beta")["pid"]
        inject(one, 1, does="leak_descriptors", share=0.6)
        comes_back(one, "beta", pid)
        assert "file descriptors open" in raised(one, "descriptors", name="beta")["reason"]


def test_a_hang_is_noticed_within_two_heartbeats_and_told() -> None:
    with node(MISBEHAVING + "[watchdog]\ninterval_s = 0.5\n") as one:
        pid = one.child("beta")["pid"]
        traces = inject(one, 1, does="sleep", for_s=30.0, once=str(one.home.path / "slept"))
        comes_back(one, "beta", pid)
        alert = raised(one, "hang", name="beta")
        assert traces[0] in alert["reason"], "it says in which signal"
        assert "handle" in alert["reason"]
        assert outcomes(one, traces) == ["executed"]
        lines = [json.loads(line) for line in (one.home.logs / "supervision.log").read_text().splitlines()]
        hung = next(line for line in lines if line["event"] == "hung")
        assert hung["stack"].splitlines()[-1].endswith("in handle"), "and in which line"
        assert "misbehaving.py" in hung["stack"].splitlines()[-1]
        exited = next(line for line in lines if line["event"] == "exited")
        assert f"in handle of {traces[0]}: it hung at" in exited["reason"]
        hangs = figures(one, "agent_heartbeat_failures_total")
        assert {labels for labels, count in hangs.items() if count} == {("beta",)}
        assert hangs["beta",] == 1
        assert {("alpha",), ("gateway",), ("pipeline",)} <= set(hangs)


def test_a_process_that_is_stopped_is_replaced_although_it_cannot_say_where_it_is() -> None:
    with watched(ECHO) as one:
        pid = one.child("beta")["pid"]
        os.kill(pid, signal.SIGSTOP)
        comes_back(one, "beta", pid)
        assert "while idle" in raised(one, "hang", name="beta")["reason"]


def test_an_agent_with_more_patience_may_take_its_time() -> None:
    config = MISBEHAVING.replace("[agents.beta]\n", "[agents.beta]\npatience_s = 20\n")
    with node(config + "[watchdog]\ninterval_s = 0.2\nmissed = 5\n") as one:
        traces = inject(one, 1, does="sleep", for_s=2.0)
        assert outcomes(one, traces) == ["executed"]
        assert one.child("beta")["restarts"] == 0
        assert not alerts(one, fault="hang")


def test_who_is_restarted_in_the_midst_of_a_signal_again_and_again_does_not_make_a_dead_letter_of_it() -> None:
    config = MISBEHAVING.replace("[agents.beta]\n", "[agents.beta]\npatience_s = 60\nshutdown_s = 0.1\n")
    with watched(config) as one:
        traces = inject(one, 1, does="wait", file=str(one.home.path / "go"))
        for _ in range(4):
            pid = one.child("beta")["pid"]
            box = one.home.box("beta")
            wait_until(lambda box=box: getattr(read_box(box), "trace_id", ""), "beta is at work")
            with one.client() as client:
                client.request("restart", agent="beta", reason="an operator in a hurry")
            comes_back(one, "beta", pid)
        (one.home.path / "go").touch()
        assert outcomes(one, traces) == ["executed"]
        assert one.status()["signals"]["dead_letters_ever"] == 0
        assert not alerts(one, fault="failures")


def test_the_same_agent_isolated_again_and_again_halts_trading_also_after_the_watchdog_was_killed() -> None:
    with watched(settings="max_quarantines = 2\nmax_failures_in_a_row = 1\n") as one:
        for round_ in range(2):
            inject(one, 1, does="fail")
            wait_until(lambda: state(one, "beta") == "isolated", "beta is isolated")
            if not round_:
                assert one.home.halt_reason() is None
                pid = one.child("watchdog")["pid"]
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda pid=pid: one.child("watchdog")["pid"] not in (None, pid), "a new Watchdog")
                wait_until(lambda: state(one, "beta") == "isolated", "and the rest of the tree behind it")
                with one.client() as client:
                    client.request("release", agent="beta", reason="mended")
        halt = wait_until(one.home.standing_halt, "trading is halted")
        assert (halt["by"], "isolated 2 times" in halt["reason"]) == ("watchdog", True)
        assert raised(one, "quarantines", name="beta")["severity"] == "emergency"
        assert ("halt", "") in acts(one)
        assert figures(one, "watchdog_quarantines_total")["beta", "failures", "stable"] == 2, "who died or not"


def test_a_person_that_halts_is_told_to_everybody_who_listens() -> None:
    with watched() as one:
        assert one.run("ark-run", "halt", "--reason", "the market is odd").returncode == 0
        alert = raised(one, "halted")
        assert alert["severity"] == "emergency"
        assert "the market is odd" in alert["reason"]
        assert one.run("ark-run", "resume", "--reason", "calm again").returncode == 0
        wait_until(lambda: alerts(one, fault="halted", state="cleared"), "the alert is cleared")


def test_a_child_that_is_restarted_too_often_is_told_of() -> None:
    with watched(settings="max_restarts_per_min = 3\n") as one:
        for _ in range(5):
            pid = one.child("alpha")["pid"]
            os.kill(pid, signal.SIGKILL)
            comes_back(one, "alpha", pid)
        assert "killed by SIGKILL" in raised(one, "restarts", name="alpha")["reason"]
        assert state(one, "alpha") == "running", "a warning does nothing"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("disk_full_mb = 1000000000\n", "disk_full"),
        ("max_round_trip_ms = 0.000001\nanswers.front_door = 'halt'\n", "front_door"),
    ],
)
def test_faults_of_the_node_halt_where_the_table_says_so(settings: str, fault: str) -> None:
    with watched(settings=settings) as one:
        assert raised(one, fault, name="node")["answer"] == "halt"
        wait_until(one.home.halt_reason, "trading is halted")
        assert "halted by watchdog" in raised(one, "halted")["reason"]


def test_faults_of_the_node_only_warn_where_the_table_says_so_or_nothing_may_halt() -> None:
    settings = "max_round_trip_ms = 0.000001\ndisk_full_mb = 1000000000\nemergency_halt = false\n"
    with watched(settings=settings) as one:
        for fault in ("front_door", "disk_full"):
            assert raised(one, fault, name="node")["answer"] == "warn"
        assert one.home.halt_reason() is None


def test_who_may_not_isolate_warns() -> None:
    with watched(settings="auto_isolation = false\nmax_failures_in_a_row = 1\n") as one:
        traces = inject(one, 2, does="fail")
        assert raised(one, "failures", name="beta")["answer"] == "warn"
        assert outcomes(one, traces) == ["executed"] * 2
        assert state(one, "beta") == "running"


def test_the_status_shows_health_figures_and_alerts() -> None:
    with watched(settings="disk_low_mb = 1000000000\n") as one:
        counting(one)
        outcomes(one, inject(one, 3))
        wait_until(lambda: one.status()["alerts"], "the status shows the alert")

        def seen() -> bool:
            return bool(one.child("beta").get("requests") == 3)

        wait_until(seen, "the Watchdog has counted them")
        beta = one.child("beta")
        assert (beta["health"], beta["failures"]) == (1.0, 0)
        assert beta["memory_mb"] > 5
        assert beta["descriptors"] > 5
        assert one.status()["health"] == 1.0
        printed = json.loads(one.run("supervisor", "status", "--json").stdout)
        assert set(printed) == set(StatusDocument.__struct_fields__)
        msgspec.convert(printed, StatusDocument)
        text = one.run("supervisor", "status").stdout
        assert "warning:" in text
        assert "node disk_low since" in text


def test_back_pressure_keeps_a_mailbox_from_filling() -> None:
    config = "[gateway]\nwindow = 5000\nback_pressure = 20\n" + MISBEHAVING
    with watched(config, settings="max_queue_depth = 600\n") as one:
        traces = inject(one, 300, does="sleep", for_s=0.005)
        deepest = 0
        while True:
            status = one.status()
            deepest = max(deepest, *(child["mailbox_depth"] or 0 for child in status["children"]))
            if status["signals"]["completed"] == 300:
                break
        assert deepest < 300, "not everything lay in one mailbox"
        assert set(outcomes(one, traces)) == {"executed"}


@pytest.mark.redis
@needs_redis
def test_a_redis_that_does_not_answer_is_told_of_and_cleared_when_it_does() -> None:
    with redis_server() as redis, watched(f'[redis]\nurl = "{redis.url}"\n' + MISBEHAVING) as one:
        wait_until(lambda: figures(one, "redis_stream_depth") == {("ark:signals",): 0.0}, "its depth is told")
        redis.kill()
        assert "Redis at" in raised(one, "redis")["reason"]
        assert math.isnan(figures(one, "redis_stream_depth")["ark:signals",]), "nobody knows"
        redis.start()
        wait_until(lambda: alerts(one, fault="redis", state="cleared"), "the alert is cleared", within_s=30.0)
        assert figures(one, "redis_stream_depth") == {("ark:signals",): 0.0}
