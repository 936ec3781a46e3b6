"""`supervisor slo`: what an operator reads of the objectives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ark.config import SloConfig
from ark.errors import NodeError
from ark.home import Home
from ark.slo_keeper import SloKeeper
from ark.slo_samples import Counts
from supervisor import cli, objectives

NAMES = ("availability", "decision_latency", "hrm_latency", "audit_completeness", "ethics_drift")


def document(**counts: tuple[int, int]) -> dict[str, Any]:
    keeper = SloKeeper(SloConfig())
    keeper.sample({name: Counts(0, 0) for name in NAMES}, 0.0)
    keeper.sample({name: Counts(*each) for name, each in counts.items()}, 10.0)
    return keeper.document(11.0)


BAD = document(availability=(9000, 1000), audit_completeness=(10_000, 0), ethics_drift=(10_000, 0))
GOOD = document(availability=(10_000, 0))


def test_the_table_shows_state_value_target_budget_and_burn() -> None:
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in objectives.lines(BAD)[1:6]}
    assert rows["availability"] == "VIOLATED 90 % >= 99.5 % 9000 1000 -1900 % 20 20 20 20"
    assert rows["decision_latency"] == "UNKNOWN - >= 95 % 0 0 - - - - -"
    assert rows["audit_completeness"] == "MET 100 % >= 100 % 10000 0 none - - - -"
    assert rows["ethics_drift"] == "MET 0 == 0 10000 0 none - - - -"


def test_behind_the_table_stands_what_fires_and_what_to_do() -> None:
    text = "\n".join(objectives.lines(BAD)[6:])
    assert "page: availability burns its budget 20 times too fast over 1h (more than 14.4)" in text
    assert "availability is violated" in text
    assert "`supervisor doctor`" in text
    assert "counted over 300 s; budgets and invariants over 30 days" in text
    assert len(objectives.lines(GOOD)) == 7


def test_a_share_that_missed_its_target_by_a_hair_does_not_look_as_if_it_had_not() -> None:
    line = objectives.lines(document(availability=(994_999, 5001)))[1]
    assert "99.499 %" in line
    assert "VIOLATED" in line


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<html>", "is no exporter"),
        (200, b"[]", "does not know of objectives"),
        (404, b'{"error": "there is nothing at /slos"}', "does not know of objectives"),
    ],
)
def test_somebody_else_at_that_port_is_named_as_such(status: int, body: bytes, says: str) -> None:
    with answering(status, body) as address, pytest.raises(NodeError, match=says):
        objectives.ask(address)


def test_nobody_at_that_port_is_one_line() -> None:
    with pytest.raises(NodeError, match="no answer from the exporter"):
        objectives.ask("http://127.0.0.1:1")


@pytest.mark.parametrize(("told", "code"), [(GOOD, 0), (BAD, 3), (document(), 0)])
def test_the_exit_code_says_whether_an_objective_is_violated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    told: dict[str, Any],
    code: int,
) -> None:
    with answering(200, json.dumps(told).encode()) as address:
        monkeypatch.setattr(Home, "node", lambda self: {"metrics": address})
        assert cli.main(["slo", "--home", str(tmp_path)]) == code
        assert "availability" in capsys.readouterr().out
        assert cli.main(["slo", "--json", "--home", str(tmp_path)]) == code
        assert json.loads(capsys.readouterr().out) == told


def test_where_nothing_runs_the_exit_code_is_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slo", "--home", str(tmp_path)]) == cli.EXIT_NOTHING_RUNS
    assert "no node runs" in capsys.readouterr().err


def test_a_node_without_an_exporter_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Home, "node", lambda self: {"metrics": None})
    assert cli.main(["slo", "--home", str(tmp_path)]) == cli.EXIT_ERROR
    assert "metrics.enabled" in capsys.readouterr().err


def test_an_exporter_that_does_not_answer_is_no_met_objective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Home, "node", lambda self: {"metrics": "http://127.0.0.1:1"})
    assert cli.main(["slo", "--home", str(tmp_path)]) == cli.EXIT_DEGRADED
    assert "no answer" in capsys.readouterr().err
