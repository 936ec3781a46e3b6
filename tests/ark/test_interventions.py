"""What persons and the Watchdog did, where the file of it is locked by another program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from ark.blackbox import read as read_box
from ark.errors import JournalError
from ark.home import Home
from ark.interventions import FILE, Done, read, record, record_all
from tests.node import node, wait_until


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As a program does that has it open exclusively, even for readers."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("CREATE TABLE of_another_program (a)")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_whoever_reads_waits_for_another_program_no_longer_than_an_agent_may_be_silent(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    record(home, "halt", by="kim", reason="odd prices")
    with locked(home.data / FILE):
        began = time.monotonic()
        with pytest.raises(JournalError, match="locked") as raised:
            list(read(home))
        assert time.monotonic() - began < 1.0
    assert "end that program" in raised.value.line
    assert [each.by for each in read(home)] == ["kim"]


def test_a_program_that_holds_the_file_ends_nobody_and_keeps_no_node_from_starting() -> None:
    with node("[watchdog]\ninterval_s = 1.0\n", start=False) as one:
        one.home.prepare()
        record(one.home, "key_made", by="kim", subject="ops")
        with locked(one.home.data / FILE):
            one.start()
            wait_until(lambda: lines(one.home, "interventions_unread"), "the last agent has tried to read it")
            ticks = read_box(one.home.box("aletheia"))
            assert ticks is not None
            wait_until(lambda: beats(one.home, "aletheia") > ticks.loops + 8, "it goes on")
            assert not lines(one.home, "hung")
            assert all(child["restarts"] == 0 for child in one.status()["children"])


def lines(home: Home, event: str) -> list[str]:
    log = home.logs / "supervision.log"
    return [line for line in log.read_text().splitlines() if f'"event":"{event}"' in line]


def beats(home: Home, name: str) -> int:
    box = read_box(home.box(name))
    return box.loops if box else 0


def test_a_file_that_somebody_else_locks_is_waited_for_no_longer_than_is_allowed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    assert record(home, "halt", by="ada")
    other = apsw.Connection(str(home.data / FILE))
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert not record_all(home, [Done("resume", "ada")], patience_s=0.1)
    assert time.monotonic() - began < 3.0
    assert "intervention_lost" in (home.logs / "supervision.log").read_text()
    other.execute("ROLLBACK")
    assert record_all(home, [Done("resume", "ada")], patience_s=0.1)
    assert [act.act for act in read(home)] == ["halt", "resume"]
