"""The log is read each line once: both its parts, through rotations, late writers and torn lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.errors import NodeError
from ark.home import Home
from ark.log import Limits, Log
from supervisor.history import History, Wanted
from tests.node import BARE, BIN, node, wait_until


def line(number: int, **more: Any) -> bytes:
    return json.dumps({"at": float(number), "event": "x", "number": number, **more}).encode() + b"\n"


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["number"] for event in events]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "supervision.log"


def test_the_part_that_was_put_aside_comes_first(log: Path) -> None:
    log.with_suffix(".log.1").write_bytes(line(1) + line(2))
    log.write_bytes(line(3))
    assert numbers(History(log).read()) == [1, 2, 3]


def test_all_that_was_put_aside_is_read_once_the_oldest_first(log: Path) -> None:
    for number in range(1, 6):
        log.with_suffix(f".log.{number}").write_bytes(line(6 - number))
    log.write_bytes(line(6))
    history = History(log)
    assert numbers(history.read()) == [1, 2, 3, 4, 5, 6]
    for number in range(5, 0, -1):
        log.with_suffix(f".log.{number}").replace(log.with_suffix(f".log.{number + 1}"))
    log.replace(log.with_suffix(".log.1"))
    log.write_bytes(line(7))
    assert numbers(history.read()) == [7]
    assert history.read() == []


def test_a_torn_line_is_read_when_it_is_whole_and_a_broken_one_passed_over(log: Path) -> None:
    log.write_bytes(b'{"at": 1, "ev\n[1]\n\xff\n' + line(1) + line(2)[:7])
    history = History(log)
    assert numbers(history.read()) == [1]
    with open(log, "ab") as file:
        file.write(line(2)[7:])
    assert numbers(history.read()) == [2]
    assert history.read() == []


def test_a_log_that_is_not_there_yet_is_read_when_it_is(log: Path) -> None:
    history = History(log)
    assert history.read() == []
    log.write_bytes(line(1))
    assert numbers(history.read()) == [1]


def test_a_log_that_cannot_be_read_is_named(log: Path) -> None:
    log.mkdir()
    with pytest.raises(NodeError, match=r"cannot read .*supervision\.log"):
        History(log).read()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["write", "write", "hold", "late", "rotate", "read"]), max_size=40))
def test_each_line_is_read_once_through_rotations_and_writers_that_are_late(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "supervision.log"
        history = History(log)
        written, seen = 0, list[int]()
        held = None
        rotated = False
        for step in steps:
            match step:
                case "write" | "late":
                    target = held if step == "late" else None
                    with open(log, "ab") if target is None else os.fdopen(os.dup(target), "ab") as file:
                        written += 1
                        file.write(line(written))
                case "hold" if held is None:
                    held = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                case "rotate" if log.exists() and not rotated:  # two between two looks are more than the log keeps
                    log.replace(log.with_suffix(".log.1"))
                    rotated = True
                case "read":
                    seen += numbers(history.read())
                    rotated = False
                    if held is not None:  # nobody is late by two rotations
                        os.close(held)
                        held = None
        seen += numbers(history.read())
        if held is not None:
            os.close(held)
        history.close()
        assert sorted(seen) == list(range(1, written + 1))


def test_who_comes_late_to_a_rotation_puts_nothing_aside(log: Path) -> None:
    limits = Limits(largest=100)
    late = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    writer = Log(log, limits)
    for number in range(3):
        writer.write("x", number=number, padding="." * 50)
    before = (log.read_bytes(), log.with_suffix(".log.1").read_bytes())
    writer._put_aside(late, limits)
    os.close(late)
    assert (log.read_bytes(), log.with_suffix(".log.1").read_bytes()) == before


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (Wanted(), [1, 2, 3, 4]),
        (Wanted(since=3.0), [3, 4]),
        (Wanted(kinds=frozenset({"alert", "isolate"})), [2, 3]),
        (Wanted(names=frozenset({"joey"})), [2, 4]),
        (Wanted(2.5, frozenset({"alert", "isolate"}), frozenset({"joey"})), []),
    ],
)
def test_only_what_is_wanted_is_taken(wanted: Wanted, kept: list[int]) -> None:
    events = [
        {"at": 1.0, "event": "started", "name": "kyle"},
        {"at": 2.0, "event": "isolate", "name": "joey"},
        {"at": 3.0, "kind": "alert", "name": "hrm"},
        {"at": 4.0, "event": "disagreement", "agent": "joey"},
    ]
    assert [int(str(event["at"])[0]) for event in events if wanted.takes(event)] == kept


# The command


class Follower:
    """`supervisor events --follow --json` in a process of its own."""

    def __init__(self, home: Path, output: Path, *options: str) -> None:
        self.output = output
        with open(output, "wb") as file:
            self.process = subprocess.Popen(
                [str(BIN / "supervisor"), "events", "--follow", "--json", "--home", str(home), *options],
                stdin=subprocess.DEVNULL,
                stdout=file,
            )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.output.read_text().splitlines()]


@contextmanager
def follower(home: Path, output: Path, *options: str) -> Iterator[Follower]:
    one = Follower(home, output, *options)
    try:
        yield one
    finally:
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(10) == 130


def test_following_without_a_node_shows_each_line_once_through_rotations(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    log = Log(home.logs / "supervision.log", Limits(largest=4096, keep=1))
    log.write("x", number=0)
    with follower(home.path, tmp_path / "shown", "--since", "1h", "--kind", "x") as one:
        wait_until(lambda: len(one.events()) == 1, "the past is shown")
        for number in range(1, 200):
            log.write("x", number=number, padding="." * 200)
            log.write("y", number=number)
            if number % 15 == 0:  # less than a part of the log
                wait_until(lambda number=number: len(one.events()) == number + 1, "it is shown")
        wait_until(lambda: len(one.events()) >= 200, "all is shown")
        assert numbers(one.events()) == list(range(200))


def test_following_goes_on_through_a_restart_of_the_node(tmp_path: Path) -> None:
    with node(BARE) as one, follower(one.home.path, tmp_path / "shown", "--since", "1h") as seen:
        with one.client() as client:
            client.request("isolate", agent="beta", reason="odd")
        wait_until(lambda: count(seen, "isolate") == 1, "the isolation is shown")
        assert one.stop() == 0
        one.start(wait=False)
        wait_until(lambda: count(seen, "node_started") == 2, "the second start is shown")
        assert count(seen, "isolate") == 1
        shown = one.run("supervisor", "events", "--since", "1h", "--name", "beta", "--kind", "isolate", "--json")
        assert [json.loads(each)["reason"] for each in shown.stdout.splitlines()] == ["odd"]
        past = one.run("supervisor", "events", "--since", time.strftime("%Y-%m-%d", time.localtime(0)), "--json")
        assert len(past.stdout.splitlines()) > 8


def count(seen: Follower, kind: str) -> int:
    return sum(event["event"] == kind for event in seen.events())


def test_following_a_home_that_is_not_there_says_so(tmp_path: Path) -> None:
    ended = subprocess.run(
        [str(BIN / "supervisor"), "events", "--follow", "--home", str(tmp_path / "nowhere")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, "there is no home at" in ended.stderr) == (1, True)
