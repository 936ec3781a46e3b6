"""The logs of a node that runs: lines by signal, levels that change, what a kill leaves, what is put aside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ark.client import Client
from ark.levels import Wish
from tests.node import ECHO, Node, comes_back, node, wait_until


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    with node(f"{ECHO}\n[logs]\nmax_mb = 1\n", start=False) as here:
        here.home.prepare()
        (here.home.logs / "beta.log").write_bytes((b'{"at": 1.0, "event": "old"}\n') * 50_000)
        here.home.keep_levels({"all": Wish("debug", None, "ann", "of an earlier start", time.time())})
        here.start()
        yield here


@pytest.fixture
def client(one: Node) -> Iterator[Client]:
    with one.client() as operator:
        yield operator


def lines(one: Node, name: str) -> list[dict[str, Any]]:
    """Every line of a log; each of them can be read."""
    return [json.loads(line) for line in (one.home.logs / f"{name}.log").read_text().splitlines()]


def send(client: Client, **metadata: Any) -> str:
    """Send a signal through, and give its trace id."""
    sent = {"symbol": "AAPL", "direction": "long", "price": 1.0, "metadata": metadata}
    trace_id: str = client.inject(sent)["trace_id"]
    client.outcome(trace_id, timeout_s=20.0)
    return trace_id


def test_every_process_has_a_log_and_each_line_about_a_signal_its_trace_id(one: Node, client: Client) -> None:
    trace_id = send(client, say="hunter2")
    for name in ("root", "gateway", "watchdog", "exporter", "pipeline", "alpha", "beta", "omega"):
        assert [line["event"] for line in lines(one, name)].count("started") == 1
    said = [line for line in lines(one, "alpha") if line["event"] in ("says", "stdout")]
    assert [(line["event"], line["trace_id"], line["text"]) for line in said] == [
        ("says", trace_id, "hunter2"),
        ("stdout", trace_id, "prints hunter2"),
    ]
    assert said[0]["password"] == "[redacted]"
    shown = one.run("supervisor", "logs", "--trace", trace_id[:8], "--json")
    assert [json.loads(line)["event"] for line in shown.stdout.splitlines()] == ["says", "stdout"]
    text = one.run("supervisor", "logs", "alpha", "--last", "1")
    assert text.stdout.count("\n") == 1
    assert f"trace_id={trace_id}" in text.stdout
    assert "\x1b" not in text.stdout
    wait_until(lambda: "prints hunter2" in one.output.read_text(), "what is printed is on the terminal")


def test_what_is_too_large_is_put_aside_and_the_levels_of_an_earlier_start_are_forgotten(one: Node) -> None:
    assert (one.home.logs / "beta.log.1").stat().st_size > 1 << 20
    assert lines(one, "beta")[0]["event"] == "started"
    assert not one.home.levels_file.exists()
    assert all(line["level"] != "debug" for line in lines(one, "alpha"))


def test_a_level_changes_while_the_process_runs_and_outlives_its_kill(one: Node, client: Client) -> None:
    set_ = one.run("supervisor", "log-level", "alpha", "debug", "--for", "1h", "--reason", "odd passes")
    assert set_.returncode == 0
    assert set_.stdout.startswith("alpha            debug     until ")
    wait_until(lambda: lines(one, "alpha")[-1].get("to") == "debug", "it has heard of it")
    first = send(client)
    pid = one.child("alpha")["pid"]
    os.kill(pid, signal.SIGKILL)
    comes_back(one, "alpha", pid)
    second = send(client)
    passed = [line["trace_id"] for line in lines(one, "alpha") if line["event"] == "passed"]
    assert {first, second} <= set(passed)
    assert "passed" not in {line["event"] for line in lines(one, "omega")}
    levels = {each["name"]: each for each in json.loads(one.run("supervisor", "log-level", "--json").stdout)}
    assert (levels["alpha"]["level"], levels["beta"]["level"]) == ("debug", "info")
    assert levels["alpha"]["wish"]["reason"] == "odd passes"
    acts = json.loads(one.run("ark-run", "audit", "acts", "--json").stdout)
    (act,) = [act for act in acts if act["act"] == "log_level"]
    assert (act["subject"], act["reason"], act["details"]) == (
        "alpha",
        "odd passes",
        {"level": "debug", "for_s": 3600.0},
    )
    one.run("supervisor", "log-level", "all", "default")
    wait_until(lambda: lines(one, "alpha")[-1].get("to") == "info", "it is as it was")
    one.run("supervisor", "log-level", "gateway", "debug")
    wait_until(lambda: lines(one, "gateway")[-1].get("to") == "debug", "the gateway has heard of it")
    third = send(client)
    told = [line["event"] for line in lines(one, "gateway") if line.get("trace_id") == third]
    assert told == ["sent", "outcome"]
    assert "log_level" in one.run("supervisor", "events", "--kind", "log_level").stdout


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["log-level", "alhpa", "debug"], 1, "did you mean 'alpha'?"),
        (["logs", "alhpa"], 1, "there is no log of 'alhpa'"),
    ],
)
def test_a_wrong_command_says_what_is_wrong_in_a_line(one: Node, command: list[str], code: int, told: str) -> None:
    ended = one.run("supervisor", *command)
    assert ended.returncode == code
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
