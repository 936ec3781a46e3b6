"""The exporter of a running node: what it says of the others' deaths, and what its own costs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ark import interventions
from ark.blackbox import read
from tests.ark.web_server import Answer
from tests.ark.web_server import ask as ask_at
from tests.ark.wire_client import SIGNAL
from tests.node import ECHO, Node, comes_back, node, wait_until

SLOW_RESTARTS = """
[supervision]
backoff_base_s = 1.0
backoff_cap_s = 1.0
"""
"""Whoever dies twice in a row stays down long enough to be seen."""
HEARTBEAT_S = 1.0


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    with node(ECHO + SLOW_RESTARTS) as one:
        yield one


@pytest.fixture
def tree(running: Node) -> Iterator[Node]:
    """A node that is well, and that the exporter knows to be."""
    wait_until(lambda: is_well(running), "the node is well")
    yield running
    wait_until(lambda: is_well(running), "the node is well again")


def ask(one: Node, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    return ask_at(one.metrics, path, method, body, **headers)


def is_well(one: Node) -> bool:
    try:
        return ask(one, "/healthz").status == ask(one, "/readyz").status == 200
    except OSError:
        return False


def run_one(one: Node) -> str:
    """Send one signal through; gives its trace id."""
    with one.client() as client:
        trace_id: str = client.inject(SIGNAL)["trace_id"]
        assert client.outcome(trace_id, timeout_s=15.0)["status"] == "executed"
    return trace_id


def pids(one: Node) -> dict[str, int]:
    return {child["name"]: child["pid"] for child in ask(one, "/state").json["children"]}


def fault(one: Node, name: str) -> str | None:
    """What the health says of one child, by name."""
    faults = ask(one, "/healthz").json["faults"]
    return next((each["fault"] for each in faults if each["name"] == name), None)


def next_state(events: http.client.HTTPResponse) -> dict[str, Any]:
    while True:
        line = events.readline()
        if not line:
            raise ConnectionResetError("the stream has ended")
        if line.startswith(b"data: "):
            found: dict[str, Any] = json.loads(line[6:])
            return found


def follow_to_the_end(events: http.client.HTTPResponse) -> None:
    while True:
        next_state(events)


# A node that is well


def test_a_node_that_is_well_says_so_in_the_originals_words(tree: Node) -> None:
    health, ready, version = (ask(tree, path).json for path in ("/healthz", "/readyz", "/version"))

    assert (health["status"], health["faults"], health["halted"]) == ("healthy", [], False)
    assert health["metrics_count"] > 30
    assert abs(health["timestamp"] - time.time()) < 60
    assert (ready["status"], ready["reason"]) == ("ready", None)
    assert (version["protocol"], version["pid"]) == (1, tree.process.pid if tree.process else None)


def test_the_document_of_the_page_shows_the_tree_and_what_became_of_a_signal(tree: Node) -> None:
    trace_id = run_one(tree)
    state = wait_until(
        lambda: next((each for each in [ask(tree, "/state").json] if each["outcomes"]), None), "the outcome"
    )

    assert [child["name"] for child in state["children"]][:2] == ["root", "gateway"]
    assert state["outcomes"][0] | {"at": 0} == {
        "trace_id": trace_id,
        "symbol": SIGNAL["symbol"],
        "status": "executed",
        "reason": None,
        "rules": [],
        "at": 0,
    }
    wait_until(lambda: ask(tree, "/state").json["signals"]["completed"], "it is counted")
    way = ask(tree, f"/traces/{trace_id}").json
    assert (way["state"], [span["agent"] for span in way["spans"]]) == ("finished", ["alpha", "beta", "omega"])


def test_what_is_exposed_can_be_read_as_it_was_asked_for(tree: Node) -> None:
    run_one(tree)
    text = ask(tree, "/metrics").body.decode()
    opened = ask(tree, "/metrics", Accept="application/openmetrics-text; version=1.0.0").body.decode()
    names = {family.name for family in parse_text(text)}

    assert {"ark_child_up", "ark_signals_accepted", "ark_memory_bytes", "ark_slo_objective_ratio"} <= names
    assert {family.name for family in parse_openmetrics(opened)} == names
    assert "trace_id=" in opened
    assert "trace_id" not in text
    assert ask(tree, "/metrics/json").json["gauges"]["ark_ready"] == 1.0


# Deaths of others


def test_an_agent_that_is_down_is_named_within_a_heartbeat(tree: Node) -> None:
    kill(tree, "beta")
    comes_back(tree, "beta", 0)
    kill(tree, "beta")  # the second in a row, and so a wait before the next start

    wait_until(lambda: fault(tree, "beta") == "down", "the health says so", within_s=HEARTBEAT_S)
    ready = ask(tree, "/readyz")
    assert ready.status == 503
    assert "beta" in ready.json["reason"]


def kill(one: Node, name: str) -> None:
    """Kill a child, and wait until its supervisor knows."""
    pid = pids(one)[name]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: one.child(name)["pid"] != pid, f"{name} is gone")


def test_a_dead_supervisor_is_named_with_its_agents_within_a_heartbeat(tree: Node) -> None:
    pid = pids(tree)["pipeline"]
    with closing(http.client.HTTPConnection(tree.metrics, timeout=10)) as line:
        line.request("GET", "/live")
        events = line.getresponse()
        next_state(events)
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        down = next(state for state in iter(lambda: next_state(events), None) if not state["node"]["ready"])
        assert time.monotonic() - killed_at < HEARTBEAT_S
        back = next(state for state in iter(lambda: next_state(events), None) if state["node"]["ready"])

    assert next(child for child in down["children"] if child["name"] == "pipeline")["state"] != "running"
    assert {child["name"] for child in back["children"] if child["state"] != "running"} == set()


def test_a_gateway_that_hangs_makes_the_node_unready_and_hides_nothing_else(tree: Node) -> None:
    gateway = pids(tree)["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    try:
        wait_until(lambda: ask(tree, "/readyz").status == 503, "it is not ready", within_s=2 * HEARTBEAT_S)
        assert "no answer" in ask(tree, "/readyz").json["reason"]
        began = time.monotonic()
        state = ask(tree, "/state").json
        assert ask(tree, "/metrics").status == 200
        assert time.monotonic() - began < HEARTBEAT_S
    finally:
        os.kill(gateway, signal.SIGCONT)

    assert next(child for child in state["children"] if child["name"] == "gateway")["pid"] == gateway


def test_no_count_falls_whoever_is_killed(tree: Node) -> None:
    run_one(tree)
    before = settled(tree)
    for name in ("omega", "gateway", "exporter", "root"):
        pid = pids(tree)[name]
        os.kill(pid, signal.SIGKILL)
        comes_back(tree, name, pid)
        wait_until(lambda: is_well(tree), "the node is well")
        after = settled(tree)
        assert {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1.0) < value} == {}
        before = after

    restarts = {name: before["ark_child_restarts_total", name] for name in ("omega", "gateway", "exporter", "root")}
    assert restarts["root"] == 1
    assert restarts["exporter"] == 2  # by itself, and with the root: it stands alone


def test_the_end_of_the_exporter_takes_nobody_along(tree: Node) -> None:
    before = pids(tree)
    os.kill(before["exporter"], signal.SIGKILL)
    comes_back(tree, "exporter", before["exporter"])
    wait_until(lambda: is_well(tree), "the node is well")
    assert {**pids(tree), "exporter": 0} == {**before, "exporter": 0}


def settled(one: Node) -> dict[tuple[str, ...], float]:
    """Every counter, once those of the gateway have come to its page."""
    with one.client() as client:
        accepted = client.status()["signals"]["accepted"]
    found = wait_until(
        lambda: next(
            (each for each in [counters(one)] if each.get(("ark_signals_accepted_total",)) == accepted), None
        ),
        "the gateway's page",
    )
    return dict(found)


def counters(one: Node) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in parse_text(ask(one, "/metrics").body.decode())
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


# Its own


def test_a_page_that_is_open_when_the_exporter_is_killed_finds_the_next_one_at_once(tree: Node) -> None:
    pid = pids(tree)["exporter"]
    with closing(http.client.HTTPConnection(tree.metrics, timeout=10)) as line:
        line.request("GET", "/live")
        events = line.getresponse()
        next_state(events)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            follow_to_the_end(events)

    wait_until(lambda: is_well(tree), "the next one serves", within_s=5.0)
    assert pids(tree)["exporter"] != pid


def test_a_port_that_another_program_took_meanwhile_ends_nothing(tree: Node) -> None:
    host, _, port = tree.metrics.rpartition(":")
    with tree.client() as client, socket.socket() as squatter:
        client.request("stop", agent="exporter", reason="to see")
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((host, int(port)))
        squatter.listen()
        client.request("start", agent="exporter", reason="to see")
        wait_until(lambda: "cannot listen" in (tree.child("exporter")["concern"] or ""), "it says why")
        assert tree.status()["ready"]
        squatter.close()
        wait_until(lambda: is_well(tree), "it listens")
    assert tree.child("exporter")["concern"] is None


def test_open_pages_do_not_hold_up_a_stop(tree: Node) -> None:
    with closing(http.client.HTTPConnection(tree.metrics, timeout=10)) as line, tree.client() as client:
        line.request("GET", "/live")
        next_state(line.getresponse())
        began = time.monotonic()
        client.request("restart", agent="exporter", reason="to see")
        assert time.monotonic() - began < 1.5  # it would be killed after 2 s


def test_a_flood_of_requests_does_not_stop_its_heart(tree: Node) -> None:
    pid = pids(tree)["exporter"]
    ages = []

    def hammer() -> None:
        for _ in range(3):
            ask(tree, "/metrics", Accept="application/openmetrics-text; version=1.0.0")

    threads = [threading.Thread(target=hammer) for _ in range(60)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        box = read(tree.home.box("exporter"))
        ages.append(box.beat_age_s if box else 0.0)
        threads[0].join(0.02)
    assert pids(tree)["exporter"] == pid
    assert max(ages) < 1.0


# Acts


def test_what_is_done_through_the_page_stands_in_the_records_under_the_tokens_name(
    tree: Node, tmp_path: Path
) -> None:
    made = tree.run("ark-run", "keys", "token", "anna", "--out", str(tmp_path / "anna.token"))
    secret = (tmp_path / "anna.token").read_text().strip()
    assert made.returncode == 0
    assert secret not in made.stdout
    headers = {"Authorization": f"Bearer {secret}", "Content_Type": "application/json"}

    def act(**fields: str) -> Answer:
        return ask(tree, "/act", "POST", json.dumps(fields), **headers)

    assert act(op="isolate", agent="beta", reason="to see").json == {
        "ok": True,
        "by": "anna",
        "agent": "beta",
        "state": "isolated",
    }
    assert fault(tree, "beta") == "isolated"
    assert "isolated" in ask(tree, "/readyz").json["reason"]
    assert act(op="restart", agent="beta", reason="to see").status == 409
    assert act(op="release", agent="beta", reason="seen").status == 200
    assert act(op="isolate", agent="nobody", reason="to see").status == 404
    assert act(op="halt", reason="to see").status == 200
    assert (ask(tree, "/healthz").json["halt_reason"], ask(tree, "/readyz").status) == ("to see", 200)
    assert act(op="resume", reason="seen").status == 200
    assert act(op="restart", agent="exporter", reason="to see").json["state"] == "starting"
    wait_until(lambda: is_well(tree), "the exporter is back")

    mine = [each.act for each in interventions.read(tree.home) if each.by == "anna"]
    assert mine == ["isolate", "release", "halt", "resume", "restart"]

    revoked = tree.run("ark-run", "keys", "revoke", "anna", "--reason", "left")
    assert revoked.returncode == 0
    assert act(op="halt", reason="to see").status == 401
    wait_until(lambda: "wrong_token" in (tree.home.logs / "supervision.log").read_text(), "it is told of")
    kept = b"".join(path.read_bytes() for path in tree.home.logs.iterdir())
    assert secret.encode() not in kept + tree.output.read_bytes()
