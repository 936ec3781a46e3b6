"""Journals: SQLite files that hold what must survive, opened the one right way.

SQLite comes through `apsw`, which bundles a current version: up to 3.51.2, which many Pythons link, a commit can
be lost when one connection checkpoints while another writes. One connection writes to a file, and only it
checkpoints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import apsw
import msgspec

from ark.agent import Durability
from ark.changes import Group
from ark.errors import JournalError
from ark.message import Span

__all__ = ["Answer", "Journal", "add_columns", "open_database", "open_for_reading"]

_PATIENCE_S = 5.0
"""So long one who writes waits for another process."""
_SYNCHRONOUS = {Durability.PROCESS: "NORMAL", Durability.POWER: "FULL"}
_spans_encoder = msgspec.msgpack.Encoder()
_spans_decoder = msgspec.msgpack.Decoder(tuple[Span, ...])
_groups_encoder = msgspec.msgpack.Encoder()
_groups_decoder = msgspec.msgpack.Decoder(list[Group])


def open_database(path: str | Path, durability: Durability = Durability.POWER) -> apsw.Connection:
    """Open a database for its one writer, in WAL mode.

    Args:
        path: The file, made with mode 0600 if it is not there; `:memory:` for the simulator.
        durability: What a commit survives.

    Raises:
        JournalError: The file cannot be opened or is no database.
    """
    try:
        if str(path) != ":memory:" and not os.path.exists(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path), statementcachesize=256)
        connection.set_busy_timeout(round(1000 * _PATIENCE_S))
        _use_wal(connection)
        connection.pragma("synchronous", _SYNCHRONOUS[durability])
        connection.pragma("wal_autocheckpoint", 2000)
        connection.pragma("cache_size", -8000)
        connection.pragma("temp_store", "MEMORY")
    except (apsw.Error, OSError) as error:
        raise JournalError(
            f"cannot open {path}: {error}",
            hint="look at the folder's mode and the free space; a damaged file can be put back from a backup",
        ) from error
    return connection


def _use_wal(connection: apsw.Connection) -> None:
    """SQLite does not wait, here alone, for another process that has just made the file and does the same."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection.pragma("journal_mode", "WAL")
            return
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def open_for_reading(path: str | Path, patience_s: float = 5.0) -> apsw.Connection:
    """Open a database that another process writes, for reading only.

    Args:
        path: The file.
        patience_s: How long to wait, at each statement, for somebody who has locked it.

    Raises:
        JournalError: The file is not there or is no database.
    """
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(round(1000 * patience_s))
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.BusyError as error:
        raise JournalError(f"cannot read {path}: {error}", hint="somebody has it open; end that program") from error
    except apsw.Error as error:
        raise JournalError(f"cannot read {path}: {error}", hint="has this node ever run?") from error
    return connection


def add_columns(connection: apsw.Connection, table: str, columns: Mapping[str, str]) -> None:
    """Give a table that an earlier version made the columns that it lacks.

    Args:
        connection: The database.
        table: The table, which is there.
        columns: The type of each by its name, with a default where nothing is not an answer.
    """
    known = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    for name, kind in columns.items():
        if name not in known:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


class Answer(msgspec.Struct, frozen=True):
    """What an agent answered to a trace: the message for the next agent, and the spans up to it."""

    payload: bytes
    spans: tuple[Span, ...]


class Journal:
    """An agent's memory of what it answered and what it intended, by the signal's number of acceptance.

    The number rises, so that a batch touches a few pages at a table's end; keyed by random trace ids, each row
    dirtied a page of its own, and the write-ahead log grew by four kilobytes a signal. The gateway never gives a
    number twice, not even after a backup was put back (see `Intake`); the trace id is compared all the same.

    All writes between `begin` and `commit` become durable together or not at all.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS ark_answers (seq INTEGER PRIMARY KEY, trace_id TEXT NOT NULL,"
            " payload BLOB NOT NULL, spans BLOB NOT NULL);"
            "CREATE TABLE IF NOT EXISTS ark_intents (seq INTEGER PRIMARY KEY, trace_id TEXT NOT NULL,"
            " intent BLOB NOT NULL);"
            "CREATE TABLE IF NOT EXISTS ark_changes (number INTEGER PRIMARY KEY, changes BLOB NOT NULL)"
        )
        self._applied = 0

    def begin(self) -> None:
        """Open a transaction."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        self.connection.execute("COMMIT")

    def attempt(self) -> AbstractContextManager[object]:
        """A part of the transaction that is undone alone where an error leaves it."""
        return self.connection

    def forget(self) -> None:
        """Undo what was not committed: what the death of the process does by itself."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def answer(self, seq: int, trace_id: str) -> Answer | None:
        """The recorded answer to a signal, if there is one."""
        for known, payload, spans in self.connection.execute(
            "SELECT trace_id, payload, spans FROM ark_answers WHERE seq = ?", (seq,)
        ):
            self._compare(seq, trace_id, known)
            return Answer(payload, _spans_decoder.decode(spans))
        return None

    def intent(self, seq: int, trace_id: str) -> bytes | None:
        """The recorded intent for a signal, if there is one."""
        for known, intent in self.connection.execute(
            "SELECT trace_id, intent FROM ark_intents WHERE seq = ?", (seq,)
        ):
            self._compare(seq, trace_id, known)
            return bytes(intent)
        return None

    def record_answer(self, seq: int, trace_id: str, payload: bytes, spans: tuple[Span, ...]) -> None:
        """Remember an answer. A second one for the same signal is an error of the protocol, and raises."""
        self.connection.execute(
            "INSERT INTO ark_answers VALUES (?, ?, ?, ?)", (seq, trace_id, payload, _spans_encoder.encode(spans))
        )

    def record_intent(self, seq: int, trace_id: str, intent: bytes) -> None:
        """Remember what is about to be done."""
        self.connection.execute("INSERT INTO ark_intents VALUES (?, ?, ?)", (seq, trace_id, intent))

    def keep_changes(self, groups: Sequence[Group]) -> None:
        """Keep changes for the Mutable Core, in the transaction; let go of those that have been applied."""
        if self._applied:
            self.connection.execute("DELETE FROM ark_changes WHERE number <= ?", (self._applied,))
            self._applied = 0
        if groups:
            self.connection.execute(
                "INSERT INTO ark_changes (changes) VALUES (?)", (_groups_encoder.encode(groups),)
            )

    def changes(self) -> list[Group]:
        """The changes that may not have been applied, in order."""
        kept: list[Group] = []
        for (changes,) in self.connection.execute("SELECT changes FROM ark_changes ORDER BY number"):
            kept.extend(_groups_decoder.decode(changes))
        return kept

    def note_applied(self) -> None:
        """All changes that are kept have been applied. Written down with the next ones that are kept."""
        ((newest,),) = self.connection.execute("SELECT max(number) FROM ark_changes").fetchall()
        self._applied = int(newest or 0)

    @staticmethod
    def spans(connection: apsw.Connection, seq: int, trace_id: str) -> tuple[Span, ...]:
        """Who has had a signal, as its agent has it on record; nothing where there is none.

        Args:
            connection: The journal, also where it is opened for reading only.
            seq, trace_id: The signal's.
        """
        row = connection.execute(
            "SELECT spans FROM ark_answers WHERE seq = ? AND trace_id = ?", (seq, trace_id)
        ).fetchone()
        return () if row is None else _spans_decoder.decode(row[0])

    @staticmethod
    def newest_answers(connection: apsw.Connection, most: int) -> list[tuple[str, Answer]]:
        """The newest recorded answers with the trace ids of their signals, the newest first.

        Args:
            connection: The journal, also where it is opened for reading only.
            most: How many.
        """
        rows = connection.execute(
            "SELECT trace_id, payload, spans FROM ark_answers ORDER BY seq DESC LIMIT ?", (most,)
        )
        return [(trace_id, Answer(payload, _spans_decoder.decode(spans))) for trace_id, payload, spans in rows]

    @staticmethod
    def _compare(seq: int, trace_id: str, known: str) -> None:
        if trace_id != known:
            raise JournalError(
                f"signal {seq} is {trace_id}, but this journal knows it as {known}",
                hint="were the databases of different nodes mixed?",
            )
