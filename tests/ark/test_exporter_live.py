"""The exporter of a running node: what it answers, and what it bears."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from tests.ark.wire_client import SIGNAL
from tests.node import ECHO, Node, comes_back, node, wait_until


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def tree() -> Iterator[Node]:
    with node(ECHO) as one:
        yield one


def ask(one: Node, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    with closing(http.client.HTTPConnection(one.metrics, timeout=10)) as line:
        line.request(
            method, path, body=body, headers={key.replace("_", "-"): text for key, text in headers.items()}
        )
        answer = line.getresponse()
        return Answer(answer.status, {key.lower(): text for key, text in answer.getheaders()}, answer.read())


def test_a_node_that_is_well_is_healthy_and_ready(tree: Node) -> None:
    health, ready = ask(tree, "/healthz"), ask(tree, "/readyz")

    assert (health.status, health.json["status"], health.json["faults"]) == (200, "healthy", [])
    assert health.json["metrics_count"] > 0
    assert (ready.status, ready.json["status"], ready.json["reason"]) == (200, "ready", None)


def test_the_document_of_the_page_shows_the_tree_and_what_became_of_a_signal(tree: Node) -> None:
    with tree.client() as client:
        trace_id = client.inject(SIGNAL)["trace_id"]
        client.outcome(trace_id, timeout_s=10.0)

    state = wait_until(
        lambda: next((found for found in [ask(tree, "/state").json] if found["outcomes"]), None), "the outcome"
    )

    assert [child["name"] for child in state["children"]][:2] == ["root", "gateway"]
    assert state["node"]["ready"]
    assert state["outcomes"][0] | {"at": 0} == {
        "trace_id": trace_id,
        "symbol": SIGNAL["symbol"],
        "status": "executed",
        "reason": None,
        "rules": [],
        "at": 0,
    }


def test_a_death_is_told_at_once_to_whoever_follows(tree: Node) -> None:
    pid = tree.child("beta")["pid"]
    with closing(http.client.HTTPConnection(tree.metrics, timeout=10)) as line:
        line.request("GET", "/live")
        events = line.getresponse()
        next_state(events)
        os.kill(pid, signal.SIGKILL)
        down = next(state for state in iter(lambda: next_state(events), None) if not state["node"]["ready"])
        back = next(state for state in iter(lambda: next_state(events), None) if state["node"]["ready"])

    assert {child["name"] for child in down["children"] if child["state"] != "running"} == {"beta"}
    assert next(child for child in back["children"] if child["name"] == "beta")["restarts"] == 1
    comes_back(tree, "beta", pid)


def next_state(events: http.client.HTTPResponse) -> dict[str, Any]:
    while True:
        line = events.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            found: dict[str, Any] = json.loads(line[6:])
            return found


def test_the_objectives_count_what_has_ended_and_are_told_wherever_they_are_asked_for(tree: Node) -> None:
    with tree.client() as client:
        trace_id = client.inject(SIGNAL)["trace_id"]
        client.outcome(trace_id, timeout_s=10.0)

    def told() -> dict[str, Any] | None:
        document: dict[str, Any] = ask(tree, "/slos").json
        return document if document["slos"][0]["window"]["good"] else None

    document = wait_until(told, "the signal is counted")
    availability = document["slos"][0]
    assert (availability["name"], availability["state"], availability["current_value"]) == (
        "availability",
        "met",
        1.0,
    )
    assert document["trouble"] == ""
    assert b'ark_slo_burn_rate{slo="availability",window="5m"} 0.0' in ask(tree, "/metrics").body
    assert [each["name"] for each in ask(tree, "/state").json["slos"]] == [
        each["name"] for each in document["slos"]
    ]
    assert (tree.home.data / "slo.db").exists()
