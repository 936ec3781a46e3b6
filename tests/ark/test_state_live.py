"""The Mutable Core and the feature flags of a node that runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ark.flag_file import FILE
from ark.state import read_core
from tests.node import ECHO, Node, comes_back, ended, node, wait_until

CONFIG = ECHO.replace("echo_agents:First", "state_agents:Counter").replace(
    "echo_agents:Middle", "state_agents:Keeper"
)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with pytest.MonkeyPatch.context() as patch, node(CONFIG) as running:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("keys")))
        yield running


def names(one: Node, symbol: str = "AAPL") -> list[str]:
    with one.client() as client:
        trace_id = client.inject({"symbol": symbol, "direction": "long", "price": 1.0})["trace_id"]
        outcome: dict[str, Any] = wait_until(lambda: ended(client, trace_id), "the signal has its outcome")
    return list(outcome["names"])


def run(one: Node, *words: str, code: int = 0) -> Any:
    done = one.run("ark-run", *words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_agents_keep_their_state_over_a_kill_and_see_what_a_person_sets(one: Node) -> None:
    assert names(one)[:1] == ["1"]
    pid = one.child("alpha")["pid"]
    os.kill(pid, signal.SIGKILL)
    comes_back(one, "alpha", pid)
    assert names(one, "MSFT")[:1] == ["2"]

    run(one, "state", "set", "alpha", "count", "10", "--reason", "begin there")

    assert names(one)[:1] == ["11"]
    core = read_core(one.home)
    assert core is not None
    assert core.verify() == []
    assert [each.value for each in core.history("beta", "last")] == ["AAPL", "MSFT", "AAPL"]
    newest, by_hand, *_ = core.history("alpha", "count")
    assert newest.requester.startswith("alpha@")
    assert (newest.reason, by_hand.reason) == ("one more", "begin there")
    core.close()
    words = ("--since", "0", "--requester", newest.requester, "--reason", "all of it")
    done = run(one, "state", "undo", *words, code=3)
    assert {each["requester"] for each in done["conflicts"]} == {by_hand.requester}
    assert [each["value"] for each in done["taken"]] == [10]
    assert names(one)[:1] == ["11"]


def test_a_flag_takes_effect_within_a_second_and_a_spoilt_file_changes_nothing(one: Node) -> None:
    assert names(one)[1] == "False"

    run(one, "flag", "set", "alpha.new", "true", "--symbol", "AAPL", "--reason", "a look")
    wait_until(lambda: names(one)[1] == "True", "the flag is seen", within_s=1.5)
    assert names(one, "MSFT")[1] == "False"

    path: Path = one.home.path / FILE
    path.write_bytes(path.read_bytes().replace(b"AAPL", b"MSFT"))
    wait_until(lambda: names(one) and "flags_refused" in one.run("supervisor", "events").stdout, "it is told of")
    assert names(one)[1] == "True"
    assert names(one, "MSFT")[1] == "False"
    assert "feature flags does not count" in one.run("supervisor", "doctor").stdout
