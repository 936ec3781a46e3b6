"""What is said of a bad file or disk, and what a process needs of its databases before it begins."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from ark import interventions, storage
from ark.agent import Durability
from ark.blackbox import BlackBox, read
from ark.errors import JournalError, StorageError
from ark.home import Home
from ark.journal import open_database
from ark.storage import KNOWN, Trouble, fault_of, naming, open_journal
from tests.disk import damage, filled, put_back, small_disk, unwritable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "kenny.db"


def opened(path: Path, check_s: float = 5.0) -> apsw.Connection:
    return open_journal(path, Durability.POWER, check_s=check_s, beat=lambda: None)


def refusal(path: Path) -> StorageError:
    with pytest.raises(StorageError) as caught:
        opened(path)
    return caught.value


def made(path: Path) -> None:
    connection = opened(path)
    connection.execute("CREATE TABLE t (a)")
    with connection:
        connection.executemany("INSERT INTO t VALUES (randomblob(?))", [(500,)] * 200)
    connection.close()


@pytest.mark.parametrize(
    ("error", "said", "damaged"),
    [
        (apsw.FullError("full"), "storage: kenny.db: no space is left", False),
        (OSError(errno.ENOSPC, "full"), "storage: kenny.db: no space is left", False),
        (OSError(errno.EDQUOT, "quota"), "storage: kenny.db: no space is left", False),
        (apsw.ReadOnlyError("readonly"), "storage: kenny.db is read-only", False),
        (OSError(errno.EROFS, "readonly"), "storage: kenny.db is read-only", False),
        (apsw.IOError("disk I/O error"), "storage: kenny.db cannot be read or written: disk I/O error", False),
        (apsw.CantOpenError("unable"), "storage: kenny.db cannot be read or written: unable", False),
        (apsw.CorruptError("malformed"), "storage: kenny.db is damaged: malformed", True),
        (apsw.NotADBError("no database"), "storage: kenny.db is damaged: no database", True),
    ],
)
def test_a_bad_file_is_told_in_one_line_that_says_what_to_do(error: Exception, said: str, damaged: bool) -> None:
    wrapped = JournalError("cannot open it")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        fault = fault_of(each, "kenny.db")
        assert fault is not None
        assert fault.line.startswith(said)
        assert "it goes on by itself" in fault.line
        assert "\n" not in fault.line
        assert fault.damaged is damaged


@pytest.mark.parametrize(
    "error", [ValueError("x"), apsw.ConstraintError("x"), OSError(errno.ENOENT, "x"), KeyError()]
)
def test_other_errors_are_nobodys_disk(error: Exception) -> None:
    assert fault_of(error, "kenny.db") is None
    with pytest.raises(type(error)), naming(lambda: ["kenny.db"]):
        raise error


def test_a_database_is_made_remembered_and_opened_again(path: Path) -> None:
    made(path)
    assert opened(path).execute("SELECT count(*) FROM t").fetchall() == [(200,)]
    assert (path.parent / KNOWN).read_text() == "kenny.db\n"


def test_one_that_an_earlier_version_made_is_remembered_from_now_on(path: Path) -> None:
    open_database(path).close()
    opened(path).close()
    assert (path.parent / KNOWN).read_text() == "kenny.db\n"


@pytest.mark.parametrize("how", [Path.unlink, Path.touch], ids=["gone", "emptied"])
def test_one_that_has_vanished_is_not_made_anew(path: Path, how: Callable[[Path], None]) -> None:
    made(path)
    path.unlink()
    if how is Path.touch:
        path.touch()
    fault = refusal(path)
    assert "was here and has vanished" in fault.line
    assert fault.damaged
    assert not path.exists() or not path.stat().st_size


def test_damage_is_found_by_the_check_and_not_without_it(path: Path, tmp_path: Path) -> None:
    made(path)
    damage(path, backup=tmp_path)
    assert refusal(path).line.startswith("storage: kenny.db is damaged: ")
    opened(path, check_s=0.0).close()
    put_back(path, tmp_path)
    opened(path).close()


def test_a_check_that_takes_too_long_ends_and_beats_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    monkeypatch.setattr(storage, "_PROGRESS_STEPS", 1)
    beats: list[int] = []
    open_journal(path, Durability.POWER, check_s=1e-9, beat=lambda: beats.append(1)).close()
    assert beats


def test_what_is_no_database_is_damaged(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 1000)
    assert "kenny.db is damaged: " in refusal(path).line


def test_a_file_that_can_be_opened_and_not_written_is_refused(path: Path) -> None:
    made(path)
    with unwritable(path):
        assert "kenny.db is read-only" in refusal(path).line
    opened(path).close()


def test_a_disk_that_is_almost_full_is_full() -> None:
    with small_disk("4m") as disk:
        path = disk / "kenny.db"
        made(path)
        with filled(disk):
            assert "no space is left" in refusal(path).line
        opened(path).close()


def test_what_a_process_waits_for_stands_in_its_box_and_is_known_to_the_next(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    trouble = Trouble("kenny", home, BlackBox(home.box("kenny"), incarnation=1))
    assert (trouble.reason, trouble.pause_s, trouble.check(1), trouble.check(2)) == (
        "",
        0.0,
        (2.0, False),
        (0.0, False),
    )
    trouble.bear(StorageError("storage: kenny.db is damaged: x", damaged=True))
    assert home.halt_reason() == "storage: kenny.db is damaged: x"
    second = Trouble("kenny", home, BlackBox(home.box("kenny"), incarnation=2))
    found = read(home.box("kenny"))
    assert found is not None
    assert (found.pid, found.incarnation, found.reason) == (os.getpid(), 2, "storage: kenny.db is damaged: x")
    assert (second.pause_s > 0, second.check(2)) == (True, (5.0, True))
    second.end()
    found = read(home.box("kenny"))
    assert found is not None
    assert found.reason == ""
    assert Trouble("kenny", home, BlackBox(home.box("kenny"), incarnation=3)).pause_s == 0.0


def test_damaged_interventions_are_named_as_what_they_are(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    for number in range(50):
        interventions.record(home, "halt", by="me", reason=f"{number} " + "x" * 400)
    assert len(list(interventions.read(home))) == 50
    damage(home.data / interventions.FILE, backup=tmp_path, from_page=2)
    with pytest.raises(StorageError, match=r"interventions\.db is damaged"):
        list(interventions.read(home))
