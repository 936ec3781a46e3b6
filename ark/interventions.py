"""What persons and the Watchdog did to a node: kept at once in a small database, from which the ledger takes it.

It is written by whoever acts, also while no node runs, and needs no process to be alive. The last agent of the
standard pipeline, Aletheia, binds each row into her ledger.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw
import msgspec

from ark.agent import Durability
from ark.errors import JournalError
from ark.home import Home
from ark.journal import open_database, open_for_reading
from ark.log import Log
from ark.storage import naming

__all__ = ["FILE", "Done", "Intervention", "is_kept", "read", "record", "record_all"]

FILE = "interventions.db"
"""Its name in the home's data folder."""

_READING_S = 0.2
"""So long a reader waits for somebody who has locked it: an agent that waits longer counts as hung."""

_encode = msgspec.msgpack.Encoder().encode

_SCHEMA = """
CREATE TABLE IF NOT EXISTS interventions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, act TEXT NOT NULL, subject TEXT NOT NULL,
    by TEXT NOT NULL, reason TEXT NOT NULL, details BLOB NOT NULL);
"""


class Intervention(msgspec.Struct, frozen=True):
    """One act.

    Attributes:
        number: Rises by one with each act; never given twice.
        at: When, seconds since the epoch.
        act: What was done: `halt`, `isolate`, `key_revoked` and so on.
        subject: To whom or what: an agent, a trace id, a key; may be empty.
        by: Who did it: a person's login, a key's name, or `watchdog`.
        reason: Why.
        details: Whatever else there is to know.
    """

    number: int
    at: float
    act: str
    subject: str
    by: str
    reason: str
    details: dict[str, Any]


class Done(msgspec.Struct, frozen=True):
    """An act that was just done; as in `Intervention`."""

    act: str
    by: str
    subject: str = ""
    reason: str = ""
    details: dict[str, Any] = {}


def record(
    home: Home,
    act: str,
    *,
    by: str,
    subject: str = "",
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Write down an act that was done. What cannot be written, because the disk is full, is logged and not raised:
    a halt must not fail for want of a record.

    Returns:
        Whether it is written.
    """
    return record_all(home, [Done(act, by, subject, reason, dict(details or {}))])


def record_all(home: Home, acts: Sequence[Done], *, patience_s: float = 5.0) -> bool:
    """The same for several acts, with one commit.

    Args:
        home, acts: Whose, and which.
        patience_s: How long to wait for somebody else who writes.
    """
    try:
        connection = open_database(home.data / FILE, Durability.POWER)
        try:
            connection.set_busy_timeout(int(patience_s * 1000))
            connection.execute(_SCHEMA)
            with connection:
                connection.executemany(
                    "INSERT INTO interventions (at, act, subject, by, reason, details) VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (time.time(), each.act, each.subject, each.by, each.reason, _encode(each.details))
                        for each in acts
                    ],
                )
        finally:
            connection.close()
    except (JournalError, apsw.Error, OSError) as error:
        for each in acts:
            Log(home.logs / "supervision.log").write(
                "intervention_lost",
                name=each.subject,
                act=each.act,
                by=each.by,
                reason=each.reason,
                error=str(error),
            )
        return False
    return True


def is_kept(home: Home, act: str, subject: str) -> bool:
    """Whether such an act is written down, as far as the file can be read: for those that are done once at most."""
    path = home.data / FILE
    if not os.path.exists(path):
        return False
    try:
        connection = open_for_reading(path)
        try:
            row = connection.execute(
                "SELECT 1 FROM interventions WHERE act = ? AND subject = ?", (act, subject)
            ).fetchone()
        finally:
            connection.close()
    except (JournalError, apsw.Error):
        return False
    return row is not None


def read(home: Home, *, after: int = 0, limit: int = 1000) -> Iterator[Intervention]:
    """The acts behind a number, oldest first; none where nothing was ever done.

    Raises:
        JournalError: The file is damaged, or cannot be read.
    """
    path = home.data / FILE
    if not os.path.exists(path):
        return
    with naming(lambda: [FILE]):
        connection = open_for_reading(path, _READING_S)
        try:
            for *facts, details in connection.execute(
                "SELECT number, at, act, subject, by, reason, details FROM interventions"
                " WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            ):
                known = dict(zip(Intervention.__struct_fields__, (*facts, _details(details)), strict=True))
                yield msgspec.convert(known, Intervention)
        except apsw.SQLError:  # made a moment ago, and still without its table
            return
        except (apsw.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JournalError(f"cannot read {path}: {error}", hint="put it aside; a new one is made") from error
        finally:
            connection.close()


def _details(value: Any) -> dict[str, Any]:
    if not isinstance(value, bytes):
        raise msgspec.DecodeError("an act's details are no bytes")
    return msgspec.msgpack.decode(value, type=dict[str, Any])
