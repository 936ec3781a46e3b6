"""The gateway's journal: every signal that was ever accepted, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw
import msgspec

from ark.delivery import STRIKES, Held, Pending
from ark.journal import add_columns
from ark.letters import SCHEMA, Letters
from ark.records import CREWS, Crews
from ark.ruling import Ruling

__all__ = ["Intake", "read_hold", "recorded_outcome"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS signals (
    seq INTEGER PRIMARY KEY, trace_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL, payload BLOB NOT NULL,
    accepted_at REAL NOT NULL, strikes INTEGER NOT NULL DEFAULT 0, agent TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), finished_below INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (
    seq INTEGER PRIMARY KEY, status TEXT NOT NULL, outcome BLOB NOT NULL, dead INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS held (
    seq INTEGER PRIMARY KEY, agent TEXT NOT NULL, since REAL NOT NULL, hold BLOB NOT NULL, ruling BLOB);
CREATE TABLE IF NOT EXISTS tally (one INTEGER PRIMARY KEY CHECK (one = 1), content BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS dead_letters ON outcomes (seq) WHERE dead = 1;
"""
_COLUMNS = {"outcomes": {"passage": "BLOB"}, "held": {"spans": "BLOB"}}
"""What came to the tables since; empty in rows of an earlier version."""

_PROGRESS_EVERY = 256
_rulings = msgspec.msgpack.Decoder(Ruling)


class _Hold(msgspec.Struct, frozen=True):
    until: float
    reason: str
    details: msgspec.Raw


_holds = msgspec.msgpack.Decoder(_Hold)


def read_hold(agent: str, since: float, payload: bytes) -> Held:
    """What is to be decided, from an agent's `Hold` as msgpack."""
    hold = _holds.decode(payload)
    return Held(agent, since, hold.until, hold.reason, hold.details.copy(), len(payload))


def recorded_outcome(connection: apsw.Connection, trace_id: str) -> bytes | None:
    """The recorded outcome of a trace, msgpack; None while there is none.

    Args:
        connection: The gateway's journal, also where it is opened for reading only.
        trace_id: The signal's.
    """
    row = connection.execute(
        "SELECT outcome FROM signals JOIN outcomes USING (seq) WHERE trace_id = ?", (trace_id,)
    ).fetchone()
    return None if row is None else bytes(row[0])


class Intake:
    """Accepted signals in SQLite; `begin` and `commit` make one transaction of a whole batch.

    Signals are numbered from the time at which the journal was opened, in microseconds. So no number is given
    twice, even where an older copy of this file was put back while the agents' journals went on.

    Args:
        connection: A database opened with `ark.journal.open_database`.
        now: Seconds since the epoch.

    Attributes:
        letters: The dead letters in it.
        crews: Who made up the pipeline, since when.
        accepted, completed: How many signals were taken in, and how many of them have their outcome.
    """

    def __init__(self, connection: apsw.Connection, now: float) -> None:
        self.connection = connection
        self._durable = True
        self._floor = int(now * 1_000_000)
        connection.execute(_SCHEMA + SCHEMA + CREWS)
        for table, columns in _COLUMNS.items():
            add_columns(connection, table, columns)
        row = connection.execute("SELECT coalesce(max(seq), 0) FROM signals").fetchone()
        self._seq: int = max(row[0] if row else 0, self._floor)
        self.accepted = self._count("SELECT count(*) FROM signals")
        self.completed = self._count("SELECT count(*) FROM outcomes")
        self.letters = Letters(connection)
        self.crews = Crews(connection)

    def begin(self, *, durable: bool = True) -> None:
        """Open a transaction.

        Args:
            durable: Whether its commit must survive a power cut. That of outcomes need not: the ledger has them,
                and a signal whose outcome is missing here is sent again and answered from there.
        """
        if durable is not self._durable:
            self.connection.pragma("synchronous", "FULL" if durable else "NORMAL")
            self._durable = durable
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        self.connection.execute("COMMIT")

    def add(self, trace_id: str, symbol: str, payload: bytes, accepted_at: float) -> Pending | None:
        """Write down one signal; None where its trace is known already, finished or not."""
        try:
            self.connection.execute(
                "INSERT INTO signals (seq, trace_id, symbol, payload, accepted_at) VALUES (?, ?, ?, ?, ?)",
                (self._seq + 1, trace_id, symbol, payload, accepted_at),
            )
        except apsw.ConstraintError:
            return None
        self._seq += 1
        self.accepted += 1
        return Pending(self._seq, trace_id, symbol, payload, accepted_at=accepted_at)

    def struck(self, pending: Pending, at: float) -> None:
        """Write down a strike, so that it outlives this process.

        Args:
            pending: The signal.
            at: Seconds since the epoch.
        """
        self.connection.execute(
            "UPDATE signals SET strikes = ?, agent = ?, reason = ? WHERE seq = ?",
            (pending.strikes, pending.agent, pending.reason, pending.seq),
        )
        if pending.expelled:
            self.letters.expel(pending.seq, at)

    def hold(self, pending: Pending, agent: str, since: float, payload: bytes, spans: bytes = b"") -> None:
        """Write down that a person must decide.

        Args:
            pending: The signal.
            agent, since: Who asks, and since when, seconds since the epoch.
            payload: The agent's `Hold`, msgpack.
            spans: Who had it so far, msgpack.
        """
        self.connection.execute(
            "INSERT OR REPLACE INTO held (seq, agent, since, hold, spans) VALUES (?, ?, ?, ?, ?)",
            (pending.seq, agent, since, payload, spans),
        )

    def ruled(self, pending: Pending, ruling: Ruling) -> None:
        """Write down how a person did. It stays here after the signal has ended."""
        self.connection.execute(
            "UPDATE held SET ruling = ? WHERE seq = ?", (msgspec.msgpack.encode(ruling), pending.seq)
        )

    def ruling(self, trace_id: str) -> Ruling | None:
        """How a person ruled on a signal, ended or not; None where nobody did."""
        row = self.connection.execute(
            "SELECT ruling FROM signals JOIN held USING (seq) WHERE trace_id = ?", (trace_id,)
        ).fetchone()
        return _rulings.decode(row[0]) if row and row[0] is not None else None

    def finish(
        self,
        pending: Pending,
        status: str,
        outcome: bytes,
        *,
        first_open: int | None = None,
        passage: bytes | None = None,
    ) -> None:
        """Write down how a signal ended.

        Args:
            pending: The signal.
            status, outcome: How it ended.
            first_open: The number of the oldest signal that is unfinished now, where it is known. It is written
                down from time to time, so that a start need not look through all that ever was. (A flag in each row
                cost a quarter of the gateway's time.)
            passage: What the gateway did with it, see `ark.records.Passage`. (In the row that is written anyway.)
        """
        self.connection.execute(
            "INSERT INTO outcomes (seq, status, outcome, dead, passage) VALUES (?, ?, ?, ?, ?)",
            (pending.seq, status, outcome, int(pending.expelled), passage),
        )
        if first_open is not None and self.completed % _PROGRESS_EVERY == 0:
            self.connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (first_open,))
        self.completed += 1
        if pending.expelled:
            self.letters.buried()

    def tally(self) -> bytes:
        """What was counted of the outcomes, as `keep_tally` was given it last; empty where it never was."""
        row = self.connection.execute("SELECT content FROM tally").fetchone()
        return bytes(row[0]) if row else b""

    def keep_tally(self, content: bytes) -> None:
        """Write down what was counted, in the transaction of the outcomes that it counts."""
        self.connection.execute("INSERT OR REPLACE INTO tally VALUES (1, ?)", (content,))

    def statuses(self) -> dict[str, int]:
        """How many outcomes there are by status, from all of them: slow, for a journal without a tally."""
        rows = self.connection.execute("SELECT status, count(*) FROM outcomes GROUP BY status")
        return {str(row[0]): int(str(row[1])) for row in rows}

    def outcome(self, trace_id: str) -> bytes | None:
        """The recorded outcome of a trace, msgpack; None while there is none."""
        return recorded_outcome(self.connection, trace_id)

    def unfinished(self) -> Iterable[Pending]:
        """Every accepted signal without an outcome, in order; each may have been sent before."""
        for (
            seq,
            trace_id,
            symbol,
            payload,
            strikes,
            agent,
            reason,
            holder,
            since,
            hold,
            ruling,
            accepted_at,
        ) in self.connection.execute(
            "SELECT seq, trace_id, symbol, payload, strikes, signals.agent, reason,"
            " held.agent, since, hold, ruling, accepted_at FROM signals LEFT JOIN held USING (seq)"
            " WHERE seq >= coalesce((SELECT finished_below FROM progress), 0)"
            " AND seq NOT IN (SELECT seq FROM outcomes) ORDER BY seq"
        ):
            pending = Pending(seq, trace_id, symbol, payload, 1, strikes, agent, reason, accepted_at=accepted_at)
            pending.expelled = strikes >= STRIKES
            if ruling is not None:
                pending.ruling = _rulings.decode(ruling)
            elif hold is not None:
                pending.held = read_hold(holder, since, hold)
            yield pending

    def _count(self, query: str, arguments: tuple[Any, ...] = ()) -> int:
        row = self.connection.execute(query, arguments).fetchone()
        return int(row[0]) if row else 0
