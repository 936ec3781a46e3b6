"""The way of a signal through a real node: while it waits, while an agent has it, after a kill, without a node."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ark.client import Client
from ark.errors import RequestError
from ark.trace_finder import find_trace
from ark.traces import TraceDocument
from tests.ark.wire_client import SIGNAL
from tests.node import ECHO, Node, ended, node, wait_until

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOBODY = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    with node(ECHO.replace("echo_agents:Last", "echo_agents:Slow")) as running:
        yield running


@pytest.fixture
def client(one: Node) -> Iterator[Client]:
    with one.client() as operator:
        yield operator


def inject(client: Client, **changes: Any) -> str:
    return str(client.inject({**SIGNAL, **changes})["trace_id"])


def names(document: TraceDocument) -> list[str]:
    return [each.agent for each in document.spans]


def test_a_signal_that_has_ended_is_told_whole_with_the_context_that_it_came_with(
    one: Node, client: Client
) -> None:
    trace_id = inject(client, traceparent=PARENT, tracestate="a=1")
    outcome = client.outcome(trace_id, timeout_s=20.0)
    assert (outcome["traceparent"], outcome["tracestate"]) == (PARENT, "a=1")
    told = client.trace(trace_id)
    found = find_trace(one.home, trace_id)
    assert (told["traceparent"], found.traceparent) == (PARENT, PARENT)
    assert (found.state, names(found), found.continuity.complete) == ("finished", ["alpha", "beta", "omega"], True)
    assert found.accepted_at is not None
    assert found.durable_at is not None
    assert found.sent_at is not None
    assert found.ended_at is not None
    assert found.accepted_at <= found.durable_at <= found.sent_at <= found.ended_at
    assert told["spans"][2]["duration_ms"] == found.spans[2].duration_ms
    assert (found.spans[2].version, one.child("omega")["version"]) == ("2.1", "2.1")  # its own, not ARK's
    wrong = client.inject({**SIGNAL, "traceparent": "00-no"})
    assert (wrong["status"], wrong["error"]["field"]) == ("rejected", "traceparent")


def test_who_was_never_accepted_is_unknown(one: Node, client: Client) -> None:
    with pytest.raises(RequestError, match="was ever accepted"):
        client.trace(NOBODY)
    assert find_trace(one.home, NOBODY).state == "unknown"


def test_a_signal_before_an_isolated_agent_waits_in_the_gateway(one: Node, client: Client) -> None:
    client.request("isolate", agent="beta", reason="a test")
    trace_id = inject(client)
    where = find_trace(one.home, trace_id).where
    assert where is not None
    assert (where.agent, where.why) == ("gateway", "beta is isolated")
    client.request("release", agent="beta", reason="a test")
    assert client.outcome(trace_id, timeout_s=20.0)["status"] == "executed"
    assert find_trace(one.home, trace_id).continuity.complete


def test_a_kill_while_an_agent_has_it_leaves_a_trace_of_answers_on_record(
    one: Node, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "go"
    trace_id = inject(client, metadata={"file": str(file)})

    def at_omega() -> TraceDocument | None:
        found = find_trace(one.home, trace_id)
        return found if found.where is not None and found.where.agent == "omega" else None

    found: TraceDocument = wait_until(at_omega, "omega has it")
    assert (found.state, found.where and found.where.doing, names(found)) == (
        "in_flight",
        "handle",
        ["alpha", "beta"],
    )
    assert found.continuity.problems == []
    os.kill(one.child("omega")["pid"], signal.SIGKILL)
    wait_until(lambda: find_trace(one.home, trace_id).attempts == 2 and at_omega(), "it was sent again")
    file.touch()
    wait_until(lambda: ended(client, trace_id), "it has ended")
    found = find_trace(one.home, trace_id)
    assert [(each.agent, each.recorded) for each in found.spans] == [
        ("alpha", True),
        ("beta", True),
        ("omega", False),
    ]
    assert (found.attempts, found.continuity.complete) == (2, True)


def test_the_command_shows_a_signal_under_way_and_follows_it_to_its_end(
    one: Node, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "go"
    trace_id = inject(client, metadata={"file": str(file)})
    wait_until(lambda: (where := find_trace(one.home, trace_id).where) and where.agent == "omega", "omega has it")
    under_way = one.run("ark-run", "trace", trace_id, "--check")
    assert under_way.returncode == 1, under_way.stderr
    assert "now omega has it (handle)" in under_way.stdout
    assert max(len(line) for line in under_way.stdout.splitlines()) <= 80
    with ThreadPoolExecutor() as pool:
        following = pool.submit(one.run, "ark-run", "trace", trace_id, "--follow", "--check")
        file.touch()
        done = following.result(30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{trace_id}  AAPL  executed\n")
    assert "it passed through the whole pipeline" in done.stdout


def test_what_is_written_down_is_told_without_a_node(one: Node, client: Client) -> None:
    finished = inject(client)
    client.outcome(finished, timeout_s=20.0)
    client.request("isolate", agent="beta", reason="a test")
    waiting = inject(client)
    client.close()
    one.stop()
    assert find_trace(one.home, finished).continuity.complete
    document = find_trace(one.home, waiting)
    assert document.state == "in_flight"
    assert document.where is not None
    assert document.where.why == "no gateway runs, or it does not answer"
