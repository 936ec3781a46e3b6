"""`ark-run trace` over a home where no node runs: what it prints, in which form, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ark.cli import main
from ark.door import Door
from ark.intake import Intake
from ark.journal import Journal, open_database
from ark.message import OUTCOME, Envelope, Span, encode
from tests.ark.doors import NOW, accept

START = int(NOW * 1e9)
WAY = (Span("kyle", "1", START + 5, START + 10), Span("joey", "1", START + 11, START + 20))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def journal(home: Path, spans: tuple[Span, ...] = WAY) -> tuple[str, str]:
    """A home of a pipeline of two, with a signal that has ended and one that has not; gives their trace ids."""
    door = Door(Intake(open_database(home / "data" / "gateway.db"), NOW), epoch=1, clock=lambda: NOW)
    door.note_crew((("kyle", "1"), ("joey", "1")), NOW - 1)
    ended, waiting = accept(door), accept(door)
    payload = encode({"trace_id": ended, "status": "executed", "ledger": {"seq": 1, "hash": "ab"}})
    door.finish(Envelope(OUTCOME, ended, "AAPL", 1, 1, 1, payload, spans), NOW + 1)
    door.settle()
    answers = Journal(open_database(home / "data" / "kyle.db"))
    pending = door.find(waiting)
    assert pending is not None
    answers.record_answer(pending.seq, waiting, b"", WAY[:1])
    return ended, waiting


def test_a_whole_way_is_told_and_passes_the_check(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended, _ = journal(home)
    assert main(["trace", ended, "--home", str(home), "--check"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{ended}  AAPL  executed\n")
    assert "it passed through the whole pipeline" in told
    assert main(["trace", ended, "--home", str(home), "--json", "--follow"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["state"], document["continuity"]) == ("finished", {"complete": True, "problems": []})


def test_a_broken_way_fails_the_check_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended, _ = journal(home, WAY[1:])
    assert main(["trace", ended, "--home", str(home)]) == 0
    assert main(["trace", ended, "--home", str(home), "--check", "--json"]) == 1
    assert "broken: it passed joey instead of kyle, joey" in capsys.readouterr().out


def test_what_has_not_ended_is_told_with_what_the_agents_have_on_record_and_followed_no_further(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, waiting = journal(home)
    assert main(["trace", waiting, "--home", str(home), "--follow"]) == 1
    told = capsys.readouterr().out
    assert "no gateway runs, or it does not answer" in " ".join(told.split())
    assert "\n  kyle " in told


def test_a_terminal_that_knows_ascii_alone_gets_bars_of_that(home: Path) -> None:
    ended, _ = journal(home)
    command = [
        sys.executable,
        "-c",
        f"from ark.cli import main; main(['trace', {ended!r}, '--home', {str(home)!r}])",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=True)
    assert done.stdout.isascii()
    assert "#" in done.stdout
    assert "hash ab?" in done.stdout


@pytest.mark.parametrize("trace_id", ["strange", ""])
def test_a_signal_that_was_never_accepted_is_an_error_of_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], trace_id: str
) -> None:
    journal(home)
    assert main(["trace", trace_id, "--home", str(home)]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "was ever accepted" in told.err


def test_a_home_without_a_node_and_without_a_journal_is_told_as_such(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", "x", "--home", str(home)]) == 1
    assert "no node runs over" in capsys.readouterr().err
