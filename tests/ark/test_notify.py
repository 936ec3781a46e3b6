"""Word to systemd: ready when the node is, alive while its root beats, and never in the way."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.blackbox import read
from ark.notify import Notifier, Phase, Report, describe
from tests.node import BARE, BIN, ROOT, Node, node, wait_until

UNIT = ROOT / "deployment" / "systemd" / "ark.service"
PHASES: list[Phase] = ["starting", "up", "rebuilding", "stopping"]


class Listener:
    """The other end: a datagram socket, and what came with the time of its coming."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.heard: list[tuple[float, str]] = []

    def lines(self) -> list[str]:
        """Everything heard so far."""
        while True:
            try:
                message = self.socket.recv(65536).decode()
            except BlockingIOError:
                return [line for _, line in self.heard]
            self.heard += [(time.monotonic(), line) for line in message.splitlines()]

    def status(self) -> str:
        """What it was told last of how the node is; empty before."""
        told = [line.removeprefix("STATUS=") for line in self.lines() if line.startswith("STATUS=")]
        return told[-1] if told else ""

    def times(self, line: str) -> list[float]:
        self.lines()
        return [at for at, each in self.heard if each == line]


@contextmanager
def listener(address: str) -> Iterator[Listener]:
    one = Listener(address)
    try:
        yield one
    finally:
        one.socket.close()


# The protocol


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_lines_come_as_one_datagram(kind: str, tmp_path: Path) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@ark-test-{os.getpid()}"
    with listener(address) as there:
        Notifier(address).tell("READY=1", "STATUS=well")
        assert there.socket.recv(100) == b"READY=1\nSTATUS=well"


def test_nothing_is_said_where_nobody_asked(tmp_path: Path) -> None:
    for address in ("", "vsock:2:1234", "relative", str(tmp_path / "nobody"), "@nobody-is-there", "/" + "x" * 200):
        Notifier(address).tell("READY=1")


def test_a_listener_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    with listener(str(tmp_path / "notify")):
        one = Notifier(str(tmp_path / "notify"))
        began = time.monotonic()
        for _ in range(5_000):
            one.tell("WATCHDOG=1")
        assert time.monotonic() - began < 10.0


def test_the_variables_are_taken_out_of_the_environment() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "A": "b",
    }

    assert Notifier.take(environment).watchdog_s == 30.0
    assert environment == {"A": "b"}


@pytest.mark.parametrize(
    ("period", "pid"), [("30000000", "1"), ("", ""), ("0", ""), ("-1", ""), ("soon", ""), ("²", ""), ("1", "x")]
)
def test_without_a_period_that_is_meant_for_this_process_no_sign_of_life_is_due(period: str, pid: str) -> None:
    assert Notifier.take({"WATCHDOG_USEC": period, "WATCHDOG_PID": pid}).watchdog_s is None


# What is said


@given(
    st.none() | st.floats(0.01, 1000),
    st.lists(
        st.tuples(st.sampled_from(PHASES), st.text(), st.none() | st.text(), st.booleans(), st.floats(0, 100)),
        max_size=50,
    ),
)
def test_each_word_is_said_once_and_no_dead_root_is_called_alive(
    watchdog_s: float | None, course: list[tuple[Phase, str, str | None, bool, float]]
) -> None:
    report = Report(watchdog_s)
    now = 0.0
    said: list[str] = []
    pings: list[float] = []
    for phase, reason, halted, beats, step in course:
        now += step
        lines = report.lines(phase, reason=reason, halted=halted, beats=beats, now=now)
        said += lines
        assert all("\n" not in line and len(line) < 600 for line in lines)
        if "WATCHDOG=1" in lines:
            pings.append(now)
            assert beats
            assert watchdog_s
    assert said.count("READY=1") == ("up" in [each[0] for each in course])
    assert said.count("STOPPING=1") == ("stopping" in [each[0] for each in course])
    assert all(later - earlier >= (watchdog_s or 0) / 2 for earlier, later in pairwise(pings))
    if "WATCHDOG=1" in said:
        assert said.index("READY=1") < said.index("WATCHDOG=1")


def test_more_time_is_asked_for_while_a_start_goes_on_and_the_root_beats() -> None:
    report = Report(30.0)
    asked = [
        second
        for second in range(60)
        if "EXTEND_TIMEOUT_USEC=30000000"
        in report.lines("starting", reason="", halted=None, beats=second < 40, now=float(second))
    ]
    assert asked == [0, 5, 10, 15, 20, 25, 30, 35]


def test_more_time_is_asked_for_while_a_stop_goes_on() -> None:
    report = Report(None)
    report.lines("up", reason="", halted=None, beats=True, now=0.0)
    assert report.lines("stopping", reason="", halted=None, beats=False, now=1.0) == [
        "STOPPING=1",
        "STATUS=stopping",
        "EXTEND_TIMEOUT_USEC=30000000",
    ]
    assert report.lines("stopping", reason="", halted=None, beats=False, now=6.0) == [
        "EXTEND_TIMEOUT_USEC=30000000"
    ]


def test_a_secret_in_a_reason_is_masked() -> None:
    assert "hunter2" not in describe("up", "", "password=hunter2")


# A real node

QUICK = """
[watchdog]
interval_s = 0.5
missed = 4
"""


@contextmanager
def notified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Node, Listener]]:
    """A node that tells a listener of the test."""
    with listener(str(folder / "notify")) as there, node(BARE + QUICK, start=False) as one:
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield one, there


def test_a_node_says_ready_when_it_is_and_gives_signs_of_life_until_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notified(tmp_path, monkeypatch) as (one, there):
        one.start(wait=False)
        wait_until(lambda: "READY=1" in there.lines(), "it says ready")
        assert all(read(one.home.box(name)) for name in ("gateway", "watchdog", "alpha", "beta", "omega"))
        wait_until(lambda: one.status()["ready"], "the gateway has heard it, too", within_s=2.0)
        wait_until(lambda: len(there.times("WATCHDOG=1")) > 5, "signs of life come")
        pings = there.times("WATCHDOG=1")
        assert pings[0] >= there.times("READY=1")[0]

        one.run("ark-run", "halt", "--reason", "a test")
        wait_until(lambda: any("HALTED: a test" in line for line in there.lines()), "the status says halted")
        one.run("ark-run", "resume", "--reason", "a test")
        wait_until(lambda: there.status() == "the tree is up", "the status says well")

        one.stop()
        assert there.lines().count("STOPPING=1") == there.lines().count("READY=1") == 1
        assert max(there.times("WATCHDOG=1")) <= there.times("STOPPING=1")[0]


def test_signs_of_life_stop_while_the_root_is_stuck_and_come_back_with_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notified(tmp_path, monkeypatch) as (one, there):
        one.start()
        wait_until(lambda: there.times("WATCHDOG=1"), "signs of life come")
        box = read(one.home.box("root"))
        assert box is not None
        os.kill(box.pid, signal.SIGSTOP)

        wait_until(lambda: any("root was stuck" in line for line in there.lines()), "it is found out")
        found_at = next(at for at, line in there.heard if "root was stuck" in line)
        before = [at for at in there.times("WATCHDOG=1") if at < found_at]
        assert found_at - before[-1] > 0.8

        wait_until(lambda: there.status() == "the tree is up", "the tree is up again")
        back_at = time.monotonic()
        wait_until(lambda: any(at > back_at for at in there.times("WATCHDOG=1")), "signs of life are back")
        assert there.lines().count("READY=1") == 1


def test_the_death_of_an_agent_costs_no_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with notified(tmp_path, monkeypatch) as (one, there):
        one.start()
        one.run("supervisor", "isolate", "beta", "--reason", "a test")
        began = time.monotonic()
        wait_until(lambda: len([at for at in there.times("WATCHDOG=1") if at > began]) > 5, "signs of life go on")


def test_a_node_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with notified(tmp_path, monkeypatch) as (one, there):
        with socket.create_server(("127.0.0.1", int(one.gateway.rpartition(":")[2]))):
            one.start(wait=False)
            assert one.process is not None
            assert one.process.wait(30) == 1
        assert "READY=1" not in there.lines()
        assert any(line.startswith("STATUS=cannot listen on") for line in there.lines())


def test_no_child_can_speak_for_the_node(tmp_path: Path) -> None:
    program = "import os; from ark.notify import Notifier; Notifier.take(); os.execvp('env', ['env'])"
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert "NOTIFY_SOCKET" not in output
    assert "WATCHDOG_" not in output


# The unit


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing; get it with `make services`"
)
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "ark.service"
    unit.write_text(UNIT.read_text().replace("/opt/ark/bin/ark-run", str(BIN / "ark-run")))

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_unit_gives_a_stop_and_a_sign_of_life_the_time_that_they_need() -> None:
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if line[:1].isalpha())

    assert int(settings["TimeoutStopSec"]) > 15
    assert int(settings["WatchdogSec"]) > 20
    assert settings["Type"] == "notify"
    assert settings["KillMode"] == "mixed"
