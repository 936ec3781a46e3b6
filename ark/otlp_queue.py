"""Which signals have ended and are not exported yet: the gateway's journal, and how far the export has come in it.

How far it has come stands in a database of its own: a number of acceptance, and those before it that had not ended
when it went by. The first time it begins with what has not ended by then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import apsw

from ark.agent import Durability
from ark.errors import JournalError
from ark.home import Home
from ark.journal import open_database, open_for_reading
from ark.records import Crews, Record, Records
from ark.traces import TraceDocument, trace_document

__all__ = ["OtlpQueue"]

_PATIENCE_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS open (seq INTEGER PRIMARY KEY);
"""
_UNFINISHED = (
    "SELECT seq FROM signals WHERE seq >= coalesce((SELECT finished_below FROM progress), 0)"
    " AND seq NOT IN (SELECT seq FROM outcomes)"
)


class OtlpQueue:
    """What is to be exported, for the one thread that does it.

    Args:
        home: The node's home.

    Raises:
        JournalError: The gateway's journal cannot be read, or there is no place to keep how far this has come.
    """

    def __init__(self, home: Home) -> None:
        self._journal = open_for_reading(home.data / "gateway.db", _PATIENCE_S)
        self._records = Records(self._journal)
        self._crews = Crews(self._journal)
        self._seen = -1
        self._progress = _open(home.data / "otlp.db")
        self._is_written = True
        row = self._progress.execute("SELECT seq FROM progress").fetchone()
        if row is None:
            with self._journal:
                last = self._journal.execute("SELECT coalesce(max(seq), 0) FROM signals").fetchone()
                self._seq = 0 if last is None else int(last[0])
                self._open = {int(seq) for (seq,) in self._journal.execute(_UNFINISHED)}
            self._write()
        else:
            self._seq = int(row[0])
            known = [int(seq) for (seq,) in self._progress.execute("SELECT seq FROM open")]
            # An older copy of the journal may have been put back.
            self._open = set(self._among(known, "SELECT seq FROM signals WHERE seq IN"))

    def close(self) -> None:
        """Let go of the files."""
        for connection in (self._journal, self._progress):
            with suppress(apsw.Error):
                connection.close()

    def take(self, most: int) -> list[Record] | None:
        """The signals to go on with, in no order; those that have not ended yet are among them.

        Args:
            most: At most so many.

        Returns:
            None where nothing has changed since there were none.
        """
        version = self._journal.pragma("data_version")
        if version == self._seen:
            return None
        ended = self._among(self._open, "SELECT seq FROM outcomes WHERE seq IN")[:most]
        portion = [*self._records.at(ended), *self._records.after(self._seq, limit=most - len(ended))]
        if not portion:
            self._seen = version
            return None
        self._crews = Crews(self._journal)
        return portion

    def document(self, record: Record, now: float) -> TraceDocument:
        """The way of a signal that has ended.

        Args:
            record: The signal.
            now: Seconds since the epoch.
        """
        pipeline, versions = self._crews.of(record, now)
        return trace_document(record, now=now, pipeline=pipeline, versions=versions)

    def done(self, portion: Sequence[Record]) -> None:
        """Go on behind these: those that had not ended come again when they have."""
        self._seq = max(self._seq, *(each.seq for each in portion))
        ended = {each.seq for each in portion if each.status}
        still_open = {each.seq for each in portion if not each.status}
        self._open = (self._open | still_open) - ended
        try:
            if self._is_written:
                self._write_changes(still_open, ended)
            else:
                self._write()
        except apsw.Error:  # a full disk: what is in memory counts, and is written when there is room
            self._is_written = False

    def _write_changes(self, opened: Iterable[int], ended: Iterable[int]) -> None:
        with self._progress:
            self._progress.executemany("INSERT OR IGNORE INTO open VALUES (?)", [(each,) for each in opened])
            self._progress.executemany("DELETE FROM open WHERE seq = ?", [(each,) for each in ended])
            self._progress.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (self._seq,))

    def _write(self) -> None:
        with self._progress:
            self._progress.execute("DELETE FROM open")
            self._write_changes(self._open, ())
        self._is_written = True

    def _among(self, seqs: Iterable[int], question: str) -> list[int]:
        """Those numbers that a question about them finds, in order."""
        found = self._journal.execute(
            f"{question} (SELECT value FROM json_each(?)) ORDER BY seq", (json.dumps(list(seqs)),)
        )
        return [int(seq) for (seq,) in found]


def _open(path: Path) -> apsw.Connection:
    """The database of how far it has come; one that is damaged is begun anew."""
    try:
        return _opened(path)
    except (JournalError, apsw.CorruptError, apsw.NotADBError) as error:
        cause = error.__cause__ if isinstance(error, JournalError) else error
        if not isinstance(cause, apsw.CorruptError | apsw.NotADBError):
            raise
        for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            each.unlink(missing_ok=True)
        return _opened(path)


def _opened(path: Path) -> apsw.Connection:
    connection = open_database(path, Durability.PROCESS)
    connection.execute(_SCHEMA)
    return connection
