"""`ark-run dead-letters`: what it prints, with a node made up in its place."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from ark.cli import run_guarded
from ark.commands import dead_letters
from ark.commands.dead_letters import OLD_S, line_of, tell
from ark.commands.inject import describe
from ark.errors import RequestError
from ark.journal import open_database
from ark.protocol import Code

NOW = 1_700_000_000.0
ACT = {"act": "retried", "by": "ada", "reason": "mended", "at": NOW, "retry": "t-2"}


def letter(**changes: Any) -> dict[str, Any]:
    whole = {
        "trace_id": "t-1", "symbol": "AAPL", "accepted_at": NOW - 20, "died_at": NOW - 10, "agent": "beta",
        "strikes": 3, "reason": "exit code 70 in handle of t-1: Traceback:\n  File\x1b[2J\n    boom\nValueError: x",
        "act": None, "signal": {"symbol": "AAPL", "ts": NOW - 20}, "order": "none", "obstacle": "",
        "outcome": {"status": "failed", "reason": "long"},
    }  # fmt: skip
    return {**whole, **changes}


def test_a_line_names_what_one_looks_for_and_obeys_no_terminal_code() -> None:
    line = line_of(letter(reason="ValueError: \x1b[31mx"))
    for word in ("t-1", "AAPL", "beta", "3 tries", "ValueError"):
        assert word in line
    assert "\x1b" not in line
    assert "[retried by ada]" in line_of(letter(act=ACT))


def test_all_of_the_reason_is_shown_line_by_line_without_terminal_codes() -> None:
    shown = tell(letter(), NOW)
    place = shown.index("reason:")
    assert shown[place + 1].strip().startswith("exit code 70")
    assert shown[place + 3] == "      boom", "a stack keeps its indentation"
    assert not [line for line in shown if "\x1b" in line or "\n" in line]


def test_what_can_be_typed_is_said_for_a_young_one_an_old_one_and_one_with_an_order() -> None:
    young, old = tell(letter(), NOW), tell(letter(), NOW + OLD_S)
    assert "  ark-run dead-letters retry t-1 --reason TEXT" in young
    assert "  ark-run dead-letters retry t-1 --fresh --reason TEXT" in old
    ordered = tell(letter(order="sent", obstacle="it has an order"), NOW)
    assert "it cannot be retried: it has an order" in ordered
    assert not [line for line in ordered if "dead-letters retry" in line]
    assert "  ark-run dead-letters drop t-1 --reason TEXT" in ordered
    done = tell(letter(act=ACT, obstacle="it was already retried"), NOW)
    assert not [line for line in done if "ark-run dead-letters" in line]
    assert any("retried as t-2 by ada" in line for line in done)


class Node:
    """What a client finds."""

    def __init__(self, *answers: str | RequestError) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def for_home(self, home: Path) -> Node:
        return self

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None: ...

    def retry(self, trace_id: str, **fields: Any) -> dict[str, Any]:
        self.asked.append({"trace_id": trace_id, **fields})
        answer = self.answers[0]
        if isinstance(answer, RequestError):
            self.answers.pop(0)
            raise answer
        return {"trace_id": trace_id, "act": "retried", "retry": f"{trace_id}-again"}

    def outcome(self, trace_id: str, *, timeout_s: float) -> dict[str, Any]:
        return {"trace_id": trace_id, "symbol": "AAPL", "status": self.answers.pop(0), "reason": "too old"}


def run(monkeypatch: pytest.MonkeyPatch, home: Path, node: Node, *arguments: str) -> int:
    monkeypatch.setattr(dead_letters, "Client", node)
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, default=home)
    parser.add_argument("--json", action="store_true")
    dead_letters.configure(parser)
    return run_guarded(lambda: dead_letters.run(parser.parse_args(arguments)))


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_retry_that_expired_says_what_would_have_helped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    node = Node("expired")
    assert run(monkeypatch, tmp_path, node, "retry", "t-1", "--reason", "x", *options) == 0
    streams = capsys.readouterr()
    assert "--fresh gives it the present time" in streams.err
    if options:
        assert json.loads(streams.out)["outcome"]["status"] == "expired"
    assert run(monkeypatch, tmp_path, Node("expired"), "retry", "t-1", "--reason", "x", "--fresh") == 0
    assert "--fresh" not in capsys.readouterr().err


def test_of_all_letters_those_that_are_refused_do_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dead_letters, "_wanted", lambda _: ["t-1", "t-2"])
    node = Node(RequestError("it has an order", code=Code.REFUSED), "executed")
    assert run(monkeypatch, tmp_path, node, "retry", "--all", "--reason", "x") == 1
    streams = capsys.readouterr()
    assert "t-1: it has an order" in streams.err
    assert "t-2  retried as t-2-again" in streams.out
    assert [each["trace_id"] for each in node.asked] == ["t-1", "t-2"]


def test_a_journal_without_tables_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    open_database(tmp_path / "data" / "gateway.db").close()
    assert run(monkeypatch, tmp_path, Node(), "list") == 1
    assert "cannot read" in capsys.readouterr().err


def test_the_outcome_of_a_dead_letter_is_one_line_elsewhere() -> None:
    reason = "ended beta at every try: exit code 70 in handle of t-1: Traceback:\n  File\nValueError: x"
    told = describe({"trace_id": "t-1", "symbol": "AAPL", "status": "failed", "reason": reason})
    assert told == "t-1  failed    AAPL   ended beta at every try: ValueError: x"


def test_the_outcome_is_shown_without_what_another_command_tells() -> None:
    outcome = {
        "status": "failed",
        "reason": "long",
        "decision": {"approved": True, "rules_checked": ["x"]},
        "spans": [],
    }
    shown = "\n".join(tell(letter(outcome={**outcome, "ledger": {"seq": 7}}), NOW))
    assert "outcome: failed; the decision was approved" in shown
    assert '"seq": 7' in shown
    assert "rules_checked" not in shown
    assert "ark-run trace t-1" in shown
