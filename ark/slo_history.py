"""Where the history of the objectives survives: `data/slo.db`, which the exporter's process owns.

Nothing depends on the disk. What is lost when it fails are samples: counters are cumulative, so a window that
begins in such a gap begins a little earlier, and all others are as if there had been none. A file that is damaged
is put aside as `slo.db.damaged`, and a new one is begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import apsw

from ark.agent import Durability
from ark.errors import JournalError
from ark.journal import open_database
from ark.slo_samples import Sample
from ark.storage import STORAGE, fault_of

__all__ = ["FILE", "SloHistory"]

FILE = "slo.db"
"""Its name in the home's data folder."""

_PATIENCE_MS = 200
"""So long to wait for somebody who has locked the file: whoever waits longer counts as hung."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    slo TEXT NOT NULL, at REAL NOT NULL, good INTEGER NOT NULL, bad INTEGER NOT NULL,
    seen_good INTEGER NOT NULL, seen_bad INTEGER NOT NULL, PRIMARY KEY (slo, at)) WITHOUT ROWID;
"""


class SloHistory:
    """The file. Neither of its methods raises for what is wrong with it or with the disk; `trouble` says so.

    Args:
        path: The file; it is made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None
        self.trouble = ""
        """What is wrong, in one line; empty for nothing."""
        self.is_new = False
        """Whether the file was begun anew, and lacks what was written before."""

    def read(self) -> dict[str, list[Sample]] | None:
        """All samples by objective, oldest first; None where they cannot be read now."""
        found: dict[str, list[Sample]] = {}
        try:
            for slo, *facts in self._open().execute(
                "SELECT slo, at, good, bad, seen_good, seen_bad FROM samples ORDER BY slo, at"
            ):
                found.setdefault(slo, []).append(Sample(*facts))
        except (JournalError, apsw.Error, OSError) as error:
            self._bear(error)
            return {} if self.is_new else None
        self.trouble = ""
        return found

    def write(self, added: Sequence[tuple[str, Sample]], dropped: Sequence[tuple[str, float]]) -> bool:
        """Add samples and drop others, both or nothing.

        Returns:
            Whether it is done.
        """
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM samples WHERE slo = ? AND at = ?", dropped)
            connection.executemany(
                "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?)",
                [(slo, *sample) for slo, sample in added],
            )
            connection.execute("COMMIT")
        except (JournalError, apsw.Error, OSError) as error:
            self._bear(error)
            return False
        self.trouble = ""
        self.is_new = False
        return True

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with suppress(apsw.Error):
                self._connection.close()
        self._connection = None

    def _open(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = open_database(self._path, Durability.PROCESS)
            self._connection.set_busy_timeout(_PATIENCE_MS)
            self._connection.execute(_SCHEMA)
        return self._connection

    def _bear(self, error: Exception) -> None:
        """Close the file, which undoes what was begun, to be opened anew; one that is damaged is put aside."""
        self.close()
        fault = fault_of(error, self._path.name)
        self.trouble = str(fault or error)
        if fault is None or not fault.damaged:
            return
        aside = f"{self._path.name}.damaged"
        try:
            for ending in ("-wal", "-shm", ""):
                part = self._path.with_name(self._path.name + ending)
                if part.exists():
                    part.replace(self._path.with_name(aside + ending))
        except OSError:
            return
        self.is_new = True
        self.trouble = f"{STORAGE} {self._path.name} was damaged; it is kept as {aside}, and a new one was begun"
