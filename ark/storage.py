"""Whether the files that a process must write are whole and can be written, and in one line what is wrong if not.

A full disk, a file that became read-only, a damaged one and one that has vanished are no defects of a process, and
a restart does not mend them. Whoever meets such a fault at work ends, since its memory may be ahead of its file;
whoever meets it at its start waits, and goes on by itself when the cause is gone.

SQLite keeps no checksums in a database's pages: what `PRAGMA quick_check` finds is damage to the structure. It
keeps them in the write-ahead log, and drops what is damaged there together with all that came after it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import zmq

from ark.agent import Durability
from ark.blackbox import BlackBox
from ark.errors import StorageError
from ark.home import Home
from ark.journal import open_database
from ark.log import Log

__all__ = [
    "FIRST_CHECK_S",
    "KNOWN",
    "RETRY_S",
    "ROOM",
    "STORAGE",
    "Trouble",
    "fault_of",
    "halt_for",
    "naming",
    "open_journal",
]

STORAGE = "storage:"
"""How the last words of a process begin that met such a fault, and what one waits for that cannot begin."""
KNOWN = "known-databases"
"""The file beside the databases that names each that was ever made there."""
ROOM = 1 << 20
"""Bytes that must be free on the disk before anybody begins to write: more than a batch takes."""
RETRY_S = 0.5
"""Seconds between two tries of a process that waits."""
FIRST_CHECK_S = 2.0
"""Seconds that a node's start gives to the check of one file; what it has not seen by then is read when needed."""
_CHECK_AGAIN_S = 5.0
"""The same after a fault, for a thorough check: with two files less than a process has to become ready."""
_PAUSE_S = 1.0
"""A process whose predecessor met a fault waits so long before its first try. With that, no fault that comes and
goes restarts a process so often that its supervisor gives up."""
_PROGRESS_STEPS = 20_000

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS}
_UNREADABLE = {errno.EIO}


def fault_of(error: BaseException, name: str) -> StorageError | None:
    """What an error says of a file, if it is the file's fault or the disk's.

    Args:
        error: As it was caught; what it was raised from counts, too.
        name: The file, for the text.
    """
    seen: BaseException | None = error
    while seen is not None:
        match seen:
            case StorageError():
                return seen
            case apsw.CorruptError() | apsw.NotADBError():
                return _damaged(name, str(seen))
            case apsw.FullError():
                return _full(name)
            case apsw.ReadOnlyError():
                return _read_only(name)
            case apsw.IOError() | apsw.CantOpenError():
                return _unusable(name, str(seen))
            case OSError() | zmq.ZMQError() if seen.errno in _FULL:
                return _full(name)
            case OSError() | zmq.ZMQError() if seen.errno in _READ_ONLY:
                return _read_only(name)
            case OSError() if seen.errno in _UNREADABLE:
                return _unusable(name, seen.strerror or str(seen))
        seen = seen.__cause__
    return None


@contextmanager
def naming(names: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Turn what SQLite or the system says of a bad file or disk into a `StorageError`.

    Args:
        names: Gives the files that may be meant: neither says which.
    """
    try:
        yield
    except Exception as error:
        fault = fault_of(error, " or ".join(names()))
        if fault is None or fault is error:
            raise
        raise fault from error


def open_journal(
    path: Path, durability: Durability, *, check_s: float = 0.0, thorough: bool = False, beat: Callable[[], None]
) -> apsw.Connection:
    """Open a database for its one writer, and make sure that it can be read and written.

    Args:
        path: The file. It is made where there never was one.
        durability: What a commit survives.
        check_s: So many seconds may a check of every page take; 0 for none. Where they do not suffice, what was not
            seen counts as good.
        thorough: Whether the check compares indexes with their tables, too.
        beat: Called while the check is under way.

    Raises:
        StorageError: It is damaged, has vanished, or cannot be written.
    """
    with naming(lambda: (path.name,)):
        is_known = _look_for(path)
        _look_for_room(path)
        connection = open_database(path, durability)
        try:
            if check_s > 0:
                _check(connection, path.name, check_s, thorough, beat)
            _try_writing(connection)
            if not is_known:
                _remember(path)
        except BaseException:
            connection.close()
            raise
        return connection


def halt_for(fault: StorageError, home: Home, name: str) -> None:
    """Halt trading because of a file that is damaged; nothing where even that cannot be written.

    Args:
        fault: What is wrong.
        home: The node's home.
        name: Who halts.
    """
    with suppress(OSError):
        home.halt_once(fault.line, by=name, at=time.time())


class Trouble:
    """What a process waits for: told in its black box and in the log, and a reason to halt where a file is damaged.

    Args:
        name: The process's.
        home: The node's home.
        box: Its black box, with the last words of the process before.
    """

    def __init__(self, name: str, home: Home, box: BlackBox) -> None:
        self._name = name
        self._home = home
        self._box = box
        self._log = Log(home.logs / "supervision.log")
        self.reason = box.before if box.before.startswith(STORAGE) else ""
        """What is wrong, in one line; empty for nothing."""
        self.pause_s = _PAUSE_S if self.reason else 0.0
        """How long to wait before the first try."""
        box.last_words(self.reason)

    def check(self, incarnation: int) -> tuple[float, bool]:
        """The `check_s` and `thorough` of `open_journal`: at a node's start, and as long as something is wrong."""
        if self.reason:
            return _CHECK_AGAIN_S, True
        return (FIRST_CHECK_S if incarnation == 1 else 0.0), False

    def bear(self, fault: StorageError) -> None:
        """Another try has failed."""
        if fault.line != self.reason:
            self.reason = fault.line
            self._log.write("storage", name=self._name, reason=self.reason)
        if fault.damaged:  # before the Watchdog, which knows only that somebody waits
            halt_for(fault, self._home, self._name)
        self._box.last_words(self.reason)

    def end(self) -> None:
        """It is over."""
        if self.reason:
            self._log.write("storage_mended", name=self._name, reason=self.reason)
        self.reason = ""
        self._box.last_words("")


def _look_for(path: Path) -> bool:
    """Whether a database is known already; one that is known must be there."""
    try:
        is_known = path.name in (path.parent / KNOWN).read_text().split()
    except FileNotFoundError:
        is_known = False
    is_there = path.exists() and path.stat().st_size > 0
    if is_known and not is_there:
        raise StorageError(
            f"{STORAGE} {path.name} was here and has vanished",
            hint=f"put it back from a backup, see docs/operations.md; it goes on by itself, then `ark-run resume`."
            f" To begin anew without all that it knew, delete its line in {path.parent / KNOWN}",
            damaged=True,
        )
    return is_known


def _remember(path: Path) -> None:
    descriptor = os.open(path.parent / KNOWN, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, path.name.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(
    connection: apsw.Connection, name: str, seconds: float, thorough: bool, beat: Callable[[], None]
) -> None:
    until = time.monotonic() + seconds

    def go_on() -> bool:
        beat()
        return time.monotonic() > until

    connection.set_progress_handler(go_on, _PROGRESS_STEPS)
    try:
        which = "integrity_check" if thorough else "quick_check"
        found = [str(row[0]) for row in connection.execute(f"PRAGMA {which}(1)")]
    except apsw.InterruptError:
        return
    finally:
        connection.set_progress_handler(None)
    if found != ["ok"]:
        raise _damaged(name, " ".join(found[0].split()) if found else "it cannot be checked")


def _look_for_room(path: Path) -> None:
    disk = os.statvfs(path.parent)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    if blocks * disk.f_frsize < ROOM:
        raise _full(path.name)


def _try_writing(connection: apsw.Connection) -> None:
    """A real commit, which changes nothing."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.execute(f"PRAGMA user_version = {version}")


def _full(name: str) -> StorageError:
    return StorageError(f"{STORAGE} {name}: no space is left on the disk", hint="make room; it goes on by itself")


def _read_only(name: str) -> StorageError:
    return StorageError(
        f"{STORAGE} {name} is read-only", hint="make the file and its folder writable; it goes on by itself"
    )


def _unusable(name: str, detail: str) -> StorageError:
    return StorageError(
        f"{STORAGE} {name} cannot be read or written: {detail}",
        hint="look at the disk, and at the modes of the file and its folder; it goes on by itself",
    )


def _damaged(name: str, detail: str) -> StorageError:
    return StorageError(
        f"{STORAGE} {name} is damaged: {detail}",
        hint="put it back from a backup, see docs/operations.md; it goes on by itself, then `ark-run resume`",
        damaged=True,
    )
