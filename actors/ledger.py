"""Aletheia's ledger: one row for each signal's end and for each intervention, never changed, each row bound to the
one before it.

A row's hash is SHA-256 over the hash of the row before (32 zero bytes for the first), the row's number (8
bytes, big endian) and its body. The body is the outcome and the time, as msgpack in a fixed order of keys;
the other columns repeat what is in it, so that they can be searched. A row of the status `intervention` is no
signal's: its body is an `Act`, and its trace id an id of the act's own.

What the chain shows: a changed, removed, inserted or moved row. What it cannot show by itself: rows cut off
at the end, or a chain made anew by someone who may write to the file. For that, keep the head somewhere else:
every outcome that was published carries the hash of its row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec

from actors.messages import Decision, Execution, Outcome
from ark.errors import JournalError

__all__ = [
    "GENESIS",
    "INTERVENTION",
    "Act",
    "Entry",
    "Ledger",
    "Verification",
    "acts",
    "compare",
    "link",
    "verify",
]

GENESIS = bytes(32)
"""What stands before the first row."""
INTERVENTION = "intervention"
"""The status of a row that is no signal's end, and how its trace id begins."""
COMPARED = 10_000
"""So many of the newest outcomes of the gateway are looked for in the ledger."""
CHUNK = 2000
"""Rows that are read at once: the file is never kept from being written to for long."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL UNIQUE,
    symbol TEXT NOT NULL,
    status TEXT NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
);
CREATE TRIGGER IF NOT EXISTS ledger_is_never_updated BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS ledger_is_never_deleted_from BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS ledger_is_a_chain BEFORE INSERT ON ledger
    WHEN (NEW.seq - 1, NEW.prev) IS NOT (SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1)
    AND NOT (NEW.seq = 1 AND NEW.prev = zeroblob(32) AND NOT EXISTS (SELECT 1 FROM ledger))
    BEGIN SELECT RAISE(ABORT, 'the row does not follow the last one'); END;
"""
_INSERT = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "seq, trace_id, symbol, status, at, body, prev, hash"


class Entry(msgspec.Struct, frozen=True):
    """A row's body: an `Outcome` without its `ledger`, and the time.

    Attributes:
        at: When it was written, seconds since the epoch.

    The others are those of `Outcome`.
    """

    trace_id: str
    symbol: str
    status: str
    decision: Decision | None
    order: dict[str, Any] | None
    execution: Execution | None
    spans: tuple[dict[str, Any], ...]
    attempts: int
    audit: dict[str, Any]
    reason: str
    at: float


class Act(msgspec.Struct, frozen=True):
    """The body of a row that keeps what a person or the Watchdog did to the node.

    Attributes:
        trace_id: `intervention:`, its number, and a digest of what it says: no signal's.
        symbol: Empty.
        status: `intervention`.
        number, act, subject, by, reason, details: As in `ark.interventions.Intervention`.
        done_at: When it was done, seconds since the epoch.
        at: When it was written here.
    """

    trace_id: str
    symbol: str
    status: str
    number: int
    act: str
    subject: str
    by: str
    reason: str
    details: dict[str, Any]
    done_at: float
    at: float


class Verification(msgspec.Struct, frozen=True):
    """What a walk along the chain found.

    Attributes:
        rows: Rows that are good, from the first on.
        head: The hash of the last good row, hexadecimal.
        first_bad: The number of the first row that is not good, or None.
        reason: What is wrong with it; empty for a good ledger.
    """

    rows: int
    head: str
    first_bad: int | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether every row is good."""
        return not self.reason


class _Place(msgspec.Struct, frozen=True):
    seq: int
    hash: str


class _Told(msgspec.Struct, frozen=True):
    """What is read of an outcome that the gateway has."""

    trace_id: str
    ledger: _Place | None = None


_told = msgspec.msgpack.Decoder(_Told)
_encoder = msgspec.msgpack.Encoder(decimal_format="string", order="deterministic")
_decoder = msgspec.msgpack.Decoder(Entry)
_acts = msgspec.msgpack.Decoder(Act)


def link(prev: bytes, seq: int, body: bytes) -> bytes:
    """A row's hash."""
    return hashlib.sha256(b"".join((prev, seq.to_bytes(8, "big"), body))).digest()


class Ledger:
    """The one writer of a ledger. Rows are committed by whoever owns the connection's transaction.

    Args:
        connection: A database to write to.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._seq = 0
        self._head = GENESIS
        connection.execute(_SCHEMA)
        self._load()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._seq

    def append(self, entry: Entry | Act) -> tuple[int, str, str]:
        """Write a row.

        Returns:
            Its number, its hash and the hash before it, both hexadecimal.

        Raises:
            JournalError: The trace has its row already, or the row does not follow the last one. Nothing was
                written.
        """
        body = _encoder.encode(entry)
        seq, prev = self._seq + 1, self._head
        digest = link(prev, seq, body)
        try:
            self._connection.execute(
                _INSERT, (seq, entry.trace_id, entry.symbol, entry.status, entry.at, body, prev, digest)
            )
        except apsw.ConstraintError as error:
            # A transaction that was undone leaves this object ahead of the file: take up what is there.
            self._load()
            raise JournalError(f"no second row for trace {entry.trace_id}: {error}") from error
        self._seq, self._head = seq, digest
        return seq, digest.hex(), prev.hex()

    def find(self, trace_id: str) -> Outcome | None:
        """The outcome that the ledger holds for a signal."""
        for seq, body, prev, digest in self._connection.execute(
            "SELECT seq, body, prev, hash FROM ledger WHERE trace_id = ?", (trace_id,)
        ):
            return outcome(_decoder.decode(body), seq, digest.hex(), prev.hex())
        return None

    def has(self, trace_id: str) -> bool:
        """Whether there is a row of that id."""
        row = self._connection.execute("SELECT 1 FROM ledger WHERE trace_id = ?", (trace_id,)).fetchone()
        return row is not None

    def _load(self) -> None:
        self._seq, self._head = 0, GENESIS
        for seq, digest in self._connection.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1"):
            self._seq, self._head = seq, digest


def outcome(entry: Entry, seq: int, digest: str, prev: str) -> Outcome:
    """An entry as the front door gives it."""
    return Outcome(
        entry.trace_id,
        entry.symbol,
        entry.status,  # type: ignore[arg-type]
        entry.decision,
        entry.order,
        entry.execution,
        entry.spans,
        entry.attempts,
        entry.audit,
        entry.reason,
        {"seq": seq, "hash": digest, "prev": prev},
    )


def acts(connection: apsw.Connection) -> Iterator[tuple[int, Act]]:
    """Every intervention in the ledger with its row's number, in the order in which they were written.

    Args:
        connection: May be for reading only.
    """
    for seq, body in connection.execute(
        "SELECT seq, body FROM ledger WHERE trace_id >= ? AND trace_id < ? ORDER BY seq",
        (f"{INTERVENTION}:", f"{INTERVENTION};"),
    ):
        yield seq, _acts.decode(body)


def verify(connection: apsw.Connection, progress: Callable[[int], None] | None = None) -> Verification:
    """Walk along the whole chain, in bounded memory, while others may write.

    Args:
        connection: May be for reading only.
        progress: Called with the number of rows done, after every `CHUNK` rows.
    """
    head, done, chunk = GENESIS, 0, CHUNK
    while True:
        try:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?", (done, chunk)
            ).fetchall()
        except UnicodeDecodeError:
            if chunk > 1:  # one of these; which one is seen one by one
                chunk = 1
                continue
            return Verification(done, head.hex(), done + 1, "a text in it is none")
        except (apsw.CorruptError, apsw.NotADBError) as error:
            return Verification(done, head.hex(), done + 1, f"the file is damaged: {error}")
        if not rows:
            return _end(connection, done, head)
        for row in rows:
            reason = _fault(row, done + 1, head)
            if reason:
                return Verification(done, head.hex(), done + 1, reason)
            done += 1
            head = row[7]  # type: ignore[assignment]
        if progress is not None:
            progress(done)


def compare(found: Verification, ledger: apsw.Connection, gateway: apsw.Connection) -> Verification:
    """Look for the rows of the newest outcomes that the gateway has: each was in the ledger before it was there.

    Args:
        found: What `verify` found; a ledger that is not good stays so.
        ledger: May be for reading only.
        gateway: The gateway's journal, for reading only.
    """
    if not found.ok:
        return found
    told = gateway.execute("SELECT outcome FROM outcomes ORDER BY seq DESC LIMIT ?", (COMPARED,)).fetchall()
    lost: list[tuple[int, str]] = []
    for (body,) in told:
        outcome = _told.decode(body)  # type: ignore[arg-type]
        if outcome.ledger is None:  # the gateway gave it up without the ledger
            continue
        row = ledger.execute("SELECT trace_id, hash FROM ledger WHERE seq = ?", (outcome.ledger.seq,)).fetchone()
        if row is None:
            lost.append(
                (outcome.ledger.seq, f"the gateway has an outcome with it, of {outcome.trace_id}; it is gone")
            )
        elif (row[0], bytes(row[1]).hex()) != (outcome.trace_id, outcome.ledger.hash):
            lost.append((outcome.ledger.seq, f"the gateway has another one for {outcome.trace_id}"))
    if not lost:
        return found
    seq, reason = min(lost)
    return Verification(seq - 1, found.head, seq, f"{reason} ({len(lost)} such rows)")


def _end(connection: apsw.Connection, done: int, head: bytes) -> Verification:
    """Look for rows that a walk upwards from 1 does not see."""
    ((below,),) = connection.execute("SELECT count(*) FROM ledger WHERE seq < 1").fetchall()
    if below:
        return Verification(done, head.hex(), 0, f"{below} rows stand before the first")
    return Verification(done, head.hex())


def _fault(row: tuple[Any, ...], expected: int, before: bytes) -> str:
    """What is wrong with a row; empty for nothing."""
    seq, trace_id, symbol, status, at, body, prev, digest = row
    if seq != expected:
        return f"row {expected} is missing; the next one is {seq}"
    if prev != before:
        return "it does not carry the hash of the row before it"
    if not isinstance(body, bytes) or link(before, seq, body) != digest:
        return "its content does not have its hash"
    try:
        entry = (_acts if status == INTERVENTION else _decoder).decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"its content cannot be read: {error}"
    if (entry.trace_id, entry.symbol, entry.status, entry.at) != (trace_id, symbol, status, at):
        return "its columns differ from its content"
    return ""
