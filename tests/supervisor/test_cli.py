"""The command `supervisor`, with a node made up in its place."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ark.commands.approve import login_name
from ark.errors import NodeError, RequestError
from ark.home import Home
from supervisor import cli
from tests.supervisor.test_rendering import TREE, child, status_of


class Node:
    """What a client finds: a status, or an error; and what it was asked for."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def for_home(self, home: Path, *, timeout_s: float = 0.0) -> Node:
        return self

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None: ...

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self.asked.append({"op": op, **fields})
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"v": 1, "id": 1, "ok": True, **self.answer}

    def events(self, topics: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        assert topics == ["event."]
        yield "event.exited", {"at": 1.0, "name": "kyle", "reason": "killed by signal 9"}


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp())
    place = Home(folder)
    place.prepare()
    yield place
    shutil.rmtree(folder)


def run(monkeypatch: pytest.MonkeyPatch, node: Node, *argv: str) -> int:
    monkeypatch.setattr(cli, "Client", node)
    return cli.main(list(argv))


@pytest.mark.parametrize("command", ["status", "tree"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (status_of(child("kyle")), cli.EXIT_OK),
        (TREE, cli.EXIT_DEGRADED),
        (status_of(child("kyle"), halted=True, halt_reason="news"), cli.EXIT_DEGRADED),
    ],
)
def test_the_exit_code_says_how_the_node_is(
    monkeypatch: pytest.MonkeyPatch, home: Home, command: str, status: dict[str, Any], code: int
) -> None:
    assert run(monkeypatch, Node(status), command, "--home", str(home.path)) == code


@pytest.mark.parametrize("as_json", [False, True])
def test_where_nothing_runs_the_exit_code_is_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home, as_json: bool
) -> None:
    arguments = ["--home", str(home.path), *(["--json"] if as_json else [])]
    assert run(monkeypatch, Node(NodeError("no node runs here")), "status", *arguments) == cli.EXIT_NOTHING_RUNS
    shown = capsys.readouterr()
    assert shown.err == "error: no node runs here\n"
    assert (json.loads(shown.out)["state"] == "stopped") if as_json else shown.out == ""


def test_a_node_that_does_not_answer_is_degraded(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    home.lock()
    assert run(monkeypatch, Node(NodeError("no answer")), "status", "--home", str(home.path)) == cli.EXIT_DEGRADED
    home.unlock()


def test_json_stands_before_or_behind_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home
) -> None:
    run(monkeypatch, Node(TREE), "--json", "--home", str(home.path), "status")
    before = capsys.readouterr().out
    run(monkeypatch, Node(TREE), "status", "--home", str(home.path), "--json")
    assert before == capsys.readouterr().out
    assert json.loads(before) == TREE


@pytest.mark.parametrize("order", ["isolate", "release", "stop", "start", "restart"])
def test_an_order_is_sent_with_its_reason_and_the_new_state_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home, order: str
) -> None:
    node = Node({"agent": "joey", "state": "isolated"})
    assert run(monkeypatch, node, order, "joey", "--reason", "odd", "--home", str(home.path)) == cli.EXIT_OK
    assert node.asked == [{"op": order, "agent": "joey", "reason": "odd", "by": login_name()}]
    assert capsys.readouterr().out == "joey: isolated\n"


def test_a_refused_order_is_one_line_and_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home
) -> None:
    node = Node(RequestError("no child is named 'jo'", code="unknown_agent", field="agent"))
    assert run(monkeypatch, node, "restart", "jo", "--home", str(home.path)) == cli.EXIT_ERROR
    assert capsys.readouterr().err == "error: no child is named 'jo' (unknown_agent) [agent]\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["isolate", "joey"],
        ["isolate", "joey", "--reason", " "],
        ["stop", "joey"],
        ["start"],
        ["release", "--reason", "x"],
        ["events", "--last", "-1"],
        ["events", "--since", "yesterday"],
        ["events", "--kind", " , "],
        ["log-level", "alpha", "loud"],
        ["log-level", "alpha", "--for", "10m"],
        ["log-level", "alpha", "default", "--for", "10m"],
        ["log-level", "alpha", "debug", "--for", "soon"],
        ["logs", "--level", "loud"],
        ["statos"],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert cli.main(argv) == cli.EXIT_USAGE
    assert "usage: supervisor" in capsys.readouterr().err


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == cli.EXIT_OK
    shown = capsys.readouterr().out
    assert "supervisor isolate joey --reason" in shown
    assert "4  nothing runs" in shown


def test_the_newest_events_come_from_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home
) -> None:
    lines = [json.dumps({"at": n, "event": "started", "name": f"agent{n}"}) for n in range(5)]
    (home.logs / "supervision.log").write_text("\n".join([*lines, '{"at": 9, "eve']))
    assert run(monkeypatch, Node(TREE), "events", "--last", "3", "--home", str(home.path)) == cli.EXIT_OK
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[2:4] for line in shown] == [["started", f"agent{n}"] for n in (2, 3, 4)]


def test_events_of_a_home_without_a_log_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home
) -> None:
    assert run(monkeypatch, Node(TREE), "events", "--home", str(home.path)) == cli.EXIT_OK
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_watching_goes_on_until_interrupted_and_through_an_absence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home, as_json: bool
) -> None:
    node = Node(NodeError("no node runs here"))
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        node.answer = TREE
        if len(naps) == 2:
            raise KeyboardInterrupt

    # Its own, since threads of tests before this one may nap, too.
    monkeypatch.setattr(cli, "time", SimpleNamespace(sleep=sleep, time=time.time, monotonic=time.monotonic))
    arguments = ["--home", str(home.path), *(["--json"] if as_json else [])]
    assert run(monkeypatch, node, "status", "--watch", *arguments) == cli.EXIT_DEGRADED
    shown = capsys.readouterr().out
    if as_json:
        assert [json.loads(line)["state"] for line in shown.splitlines()] == ["stopped", "running"]
    else:
        assert "RUNNING" in shown
