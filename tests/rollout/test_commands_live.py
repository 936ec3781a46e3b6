"""The commands that lead a rollout, over a node under load: the same release on both arms, so nothing differs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import zmq

from ark import interventions
from ark.cli import main
from ark.message import ORDER, Envelope, pack
from supervisor.rendering import status_lines
from tests.node import Node, node, wait_until

CONFIG = """
[deploy]
stages = [50, 100]
shadow_s = 0.3
baseline_s = 0
stage_s = 0.3
signals = 10
two_people = []
judge = { limit = 0.02, minimum_signals = 10 }

[watchdog]
missed = 60
max_violations_per_min = 100000

[slo]
latency_ms = 600000
hrm_latency_ms = 600000
"""
"""Rollouts in seconds. Who is stopped for a moment is not replaced, and a busy machine freezes nothing."""


@pytest.fixture(scope="module")
def busy() -> Iterator[Node]:
    with node(CONFIG, start=False) as one:
        yield one.start("--demo", "--rate", "150")


class Desk:
    """Runs commands over the node, in this process: starting one takes longer than what it does."""

    def __init__(self, node_: Node, capsys: pytest.CaptureFixture[str]) -> None:
        self._node = node_
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Give an order; gives what was said."""
        assert main([*arguments, "--home", str(self._node.home.path)]) == code
        said = self._capsys.readouterr()
        return said.out + said.err


@pytest.fixture
def tell(busy: Node, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(busy, capsys)


def status(busy: Node) -> Any:
    with busy.client() as client:
        return client.request("deploy.status")["rollout"]


def fetched(busy: Node, path: str) -> str:
    with closing(http.client.HTTPConnection(busy.metrics, timeout=10)) as line:
        line.request("GET", path)
        return line.getresponse().read().decode()


def test_a_mistake_is_one_clear_line(tell: Desk) -> None:
    for arguments, said in (
        (["start"], "name a release"),
        (["plan", "--agent", "joey=installed"], "roles.joey is the release that runs already"),
        (["plan", "--agent", "joe=installed"], "there is no agent 'joe'"),
        (["plan", "--release", "3fa81c04"], "there is no release '3fa81c04'"),
        (["aa", "joey", "--set", "shadow_z=3"], "did you mean 'shadow_s'?"),
        (["status", "--rollout", "r9"], "there is no rollout 'r9'"),
        (["abort"], "nothing was ever rolled out"),
    ):
        out = tell("deploy", *arguments, code=1)
        assert said in out
        assert out.startswith("error: ")
        assert out.count("\n") == 1
    for action in ("status", "history"):
        assert tell("deploy", action) == "nothing was ever rolled out here\n"


def test_a_frame_that_nobody_can_read_does_not_end_the_deploy_actor(busy: Node, tell: Desk) -> None:
    before = busy.child("deployer")["pid"]
    with zmq.Context() as context, context.socket(zmq.PUSH) as inside:
        inside.connect(busy.home.mailbox("deployer"))
        order = Envelope(ORDER, "joey.canary", "", 0, 0, 0, b"\xc1")
        for frame in (b"\xc1", pack([order])):
            inside.send(frame)
        tell("deploy", "status")
    log = busy.home.logs / "supervision.log"
    wait_until(lambda: "unreadable" in log.read_text(), "it is told")
    assert busy.child("deployer")["pid"] == before


def test_a_deploy_actor_that_hangs_holds_up_nobodys_word_to_the_gateway(busy: Node) -> None:
    deployer = busy.child("deployer")["pid"]
    os.kill(deployer, signal.SIGSTOP)
    try:
        with busy.client(timeout_s=5.0) as client:
            for number in range(8):  # each is some changes of the tree, which the deploy actor is to be told, too
                client.request("restart", agent="aletheia", reason=f"number {number}")
            pid = busy.child("aletheia")["pid"]
            wait_until(lambda: os.path.exists(f"/proc/{pid}"), "what is shown is of now", within_s=2.0)
    finally:
        os.kill(deployer, signal.SIGCONT)


def test_who_watches_sees_each_step_and_how_it_ends(busy: Node, tell: Desk) -> None:
    out = tell("deploy", "aa", "joey", "--watch", "--note", "is it right?", "--by-name", "ada")

    steps = [line[21:].strip() for line in out.splitlines() if line[:2] == "20"]
    assert [step.split()[0] for step in steps] == ["plan", "shadow", "baseline", "stage", "stage", "passed"]
    assert steps[3].startswith("stage 50 %")
    (told,) = json.loads(tell("deploy", "history", "--json"))
    whole = tell("deploy", "history", told["id"])
    assert "is it right?" in whole
    assert "(by ada)" in whole
    assert told["arms"]["joey"]["pairs"]["compared"] > 50
    shown = busy.status()["rollout"]
    assert (shown["id"], shown["state"]) == (told["id"], "passed")


def test_a_pause_is_shown_everywhere_and_the_way_back_needs_nobody(busy: Node, tell: Desk) -> None:
    tell("deploy", "aa", "joey", "--set", "stage_s=600")
    wait_until(lambda: status(busy)["share"] == 50, "the first stage", within_s=20.0)
    assert tell("deploy", "pause", "--reason", "lunch", "--by-name", "ada").endswith("s\n")

    out = tell("deploy", "status", code=3)
    assert "paused (in stage) 50 %" in out
    assert "lunch (by ada)" in out
    assert "paused" in "\n".join(status_lines(busy.status()))
    page = wait_until(
        lambda: (found := json.loads(fetched(busy, "/state"))["rollout"]) and found["state"] == "paused" and found,
        "the page has it",
    )
    assert page["lease_s"] > 0
    metrics = fetched(busy, "/metrics")
    assert 'ark_rollout_state{state="paused"} 1.0' in metrics
    assert "ark_rollout_stopped 1.0" in metrics
    assert "lunch" in tell("deploy", "explain")

    # The deploy actor hangs, and whoever wants out does not wait for it.
    deployer = busy.child("deployer")["pid"]
    os.kill(deployer, signal.SIGSTOP)
    try:
        began = time.monotonic()
        out = tell("rollback", "--now", "--reason", "odd sizes", "--by-name", "ben")
        assert time.monotonic() - began < 10.0
        assert "done by the files of the home" in out
        assert not busy.home.routes_file.exists()
        out = tell("deploy", "status", code=3)
        assert "paused" in out  # the last that was heard
        assert "error: no answer" in out
    finally:
        os.kill(deployer, signal.SIGCONT)

    over = wait_until(lambda: (found := status(busy))["is_over"] and found, "it goes back itself", within_s=20.0)
    assert over["state"] == "rolled_back"
    assert over["last"]["why"] == "odd sizes"
    wait_until(lambda: not (busy.home.data / "rollback.json").exists(), "the note is obeyed")
    (act,) = [each for each in interventions.read(busy.home) if each.act == "rollback"]
    assert (act.by, act.reason) == ("ben", "odd sizes")
    assert not busy.home.routes_file.exists()
