"""Journals: what is committed survives, what is not is gone, and one signal has one answer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import apsw
import pytest

from ark.agent import Durability
from ark.errors import JournalError
from ark.journal import Journal, open_database, open_for_reading
from ark.message import Span

SPANS = (Span("alpha", "1", 5, 7), Span("beta", "2", 8, 9))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


def test_a_committed_answer_is_there_after_the_process(path: Path) -> None:
    pid = os.fork()
    if not pid:
        journal = Journal(open_database(path))
        journal.begin()
        journal.record_answer(1, "t1", b"\x01", SPANS)
        journal.record_intent(2, "t2", b"\x02")
        journal.commit()
        journal.begin()
        journal.record_answer(3, "t3", b"\x03", ())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    journal = Journal(open_database(path))
    answer = journal.answer(1, "t1")
    assert answer is not None
    assert (answer.payload, answer.spans) == (b"\x01", SPANS)
    assert journal.intent(2, "t2") == b"\x02"
    assert journal.answer(3, "t3") is None


def test_what_was_not_committed_can_be_forgotten(path: Path) -> None:
    journal = Journal(open_database(path))
    journal.begin()
    journal.record_answer(1, "t1", b"\x01", ())
    assert journal.answer(1, "t1") is not None
    journal.forget()
    journal.forget()
    assert journal.answer(1, "t1") is None


def test_a_second_answer_to_one_signal_is_an_error(path: Path) -> None:
    journal = Journal(open_database(path))
    journal.record_answer(1, "t1", b"\x01", ())
    with pytest.raises(apsw.ConstraintError):
        journal.record_answer(1, "t1", b"\x02", ())


def test_a_number_that_belongs_to_another_signal_is_noticed(path: Path) -> None:
    journal = Journal(open_database(path))
    journal.record_answer(1, "t1", b"\x01", ())
    journal.record_intent(1, "t1", b"\x01")
    with pytest.raises(JournalError, match="knows it as t1"):
        journal.answer(1, "t2")
    with pytest.raises(JournalError, match="knows it as t1"):
        journal.intent(1, "t2")


def test_a_database_is_for_its_owner_and_written_ahead(path: Path) -> None:
    connection = open_database(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2


def test_a_journal_that_need_not_survive_a_power_cut_does_not_wait_for_the_disk(path: Path) -> None:
    assert open_database(path, Durability.PROCESS).pragma("synchronous") == 1


def test_the_sqlite_in_use_has_the_checkpoint_mended() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


@pytest.mark.parametrize("content", [b"I am no database at all, and long enough to be looked at" * 20])
def test_a_file_that_is_no_database_is_named(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for opened in (open_database, open_for_reading):
        with pytest.raises(JournalError, match=r"agent\.db"):
            opened(path)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    for opened in (open_database, open_for_reading):
        with pytest.raises(JournalError):
            opened(tmp_path)
    with pytest.raises(JournalError):
        open_database(tmp_path / "nowhere" / "agent.db")
    with pytest.raises(JournalError, match="has this node ever run"):
        open_for_reading(tmp_path / "none.db")


def test_a_reader_sees_what_is_committed_and_writes_nothing(path: Path) -> None:
    journal = Journal(open_database(path))
    journal.begin()
    journal.record_answer(1, "t1", b"\x01", ())
    reader = open_for_reading(path)
    assert reader.execute("SELECT count(*) FROM ark_answers").fetchall() == [(0,)]
    journal.commit()
    assert reader.execute("SELECT count(*) FROM ark_answers").fetchall() == [(1,)]
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM ark_answers")
