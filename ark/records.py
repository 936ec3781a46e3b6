"""What the gateway's journal holds of a signal's way: when it was accepted, sent and ended, and who had it.

To ask it needs no running node: a connection that only reads will do, also where an older version wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import apsw
import msgspec

from ark.message import Span
from ark.ruling import Ruling

__all__ = ["CREWS", "Asked", "Crews", "Members", "Passage", "Record", "Records", "trace_context"]

CREWS = "CREATE TABLE IF NOT EXISTS crews (since REAL NOT NULL, members BLOB NOT NULL);"
"""The schema of what `Crews` keeps."""

Members: TypeAlias = tuple[tuple[str, str], ...]
"""The agents of a pipeline in order, each with its version; an empty one while that is not known."""


class Passage(msgspec.Struct, frozen=True, array_like=True):
    """What the gateway did with a signal, in the row of its outcome. Times are in seconds since the epoch.

    Attributes:
        durable_at: When its acceptance was on the disk; None where an earlier process of the gateway did that.
        sent_at: When it was sent first; None likewise.
        resent_at: When it was sent again, the last time; None where it was not.
        attempts: How often it may have been sent.
        ended_at: When its outcome was written down.
        spans: Who had it, where the outcome does not say so itself.
    """

    durable_at: float | None
    sent_at: float | None
    resent_at: float | None
    attempts: int
    ended_at: float
    spans: tuple[Span, ...] | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a person was asked.

    Attributes:
        agent: Who asked.
        since: When, seconds since the epoch.
        until: The deadline.
        reason: What.
        details: What else the agent wants seen.
        spans: Who had had the signal until then.
        ruling: The answer; None while there is none.
    """

    agent: str
    since: float
    until: float
    reason: str
    details: dict[str, Any]
    spans: tuple[Span, ...]
    ruling: Ruling | None


class Record(msgspec.Struct, frozen=True):
    """What is written down of one signal.

    Attributes:
        seq, trace_id, symbol: As in `ark.delivery.Pending`.
        traceparent, tracestate: The signal's; empty for none.
        accepted_at: Seconds since the epoch.
        strikes, agent, reason: How often it ended an agent; the last one, and how.
        status: How it ended; empty while it has not.
        outcome: Its outcome; empty while it has none.
        is_dead: Whether it ended as a dead letter.
        passage: What the gateway did with it; None while it has not ended, or where an earlier version ended it.
        asked: What a person was asked about it; None for nothing.
    """

    seq: int
    trace_id: str
    symbol: str
    traceparent: str
    tracestate: str
    accepted_at: float
    strikes: int = 0
    agent: str = ""
    reason: str = ""
    status: str = ""
    outcome: dict[str, Any] = {}
    is_dead: bool = False
    passage: Passage | None = None
    asked: Asked | None = None


class _Context(msgspec.Struct, frozen=True):
    traceparent: str = ""
    tracestate: str = ""


class _Hold(msgspec.Struct, frozen=True):
    until: float
    reason: str
    details: dict[str, Any]


_contexts = msgspec.msgpack.Decoder(_Context)
_passages = msgspec.msgpack.Decoder(Passage)
_holds = msgspec.msgpack.Decoder(_Hold)
_rulings = msgspec.msgpack.Decoder(Ruling)
_spans = msgspec.msgpack.Decoder(tuple[Span, ...])
_members = msgspec.msgpack.Decoder(Members)


def trace_context(signal: bytes) -> tuple[str, str]:
    """The `traceparent` and `tracestate` of a signal, msgpack; empty for none."""
    if b"traceparent" not in signal:  # of most signals: a look instead of a decoding
        return "", ""
    context = _contexts.decode(signal)
    return context.traceparent, context.tracestate


class Records:
    """The signals in the gateway's journal.

    Args:
        connection: The journal, also where it is opened for reading only.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        passage = "passage" if _has(connection, "outcomes", "passage") else "NULL"
        spans = "held.spans" if _has(connection, "held", "spans") else "NULL"
        self._query = (
            "SELECT signals.seq, trace_id, symbol, payload, accepted_at, strikes, signals.agent, signals.reason,"
            f" status, outcome, dead, {passage}, held.agent, since, hold, {spans}, ruling"
            " FROM signals LEFT JOIN outcomes USING (seq) LEFT JOIN held USING (seq)"
        )

    def find(self, trace_id: str) -> Record | None:
        """One signal; None for one that was never accepted."""
        row = self._connection.execute(f"{self._query} WHERE trace_id = ?", (trace_id,)).fetchone()
        return None if row is None else _record(row)

    def after(self, seq: int, *, limit: int) -> Iterator[Record]:
        """Signals, ended or not, in the order of their acceptance.

        Args:
            seq: Those behind this number.
            limit: At most so many.
        """
        for row in self._connection.execute(
            f"{self._query} WHERE signals.seq > ? ORDER BY signals.seq LIMIT ?", (seq, limit)
        ):
            yield _record(row)

    def at(self, seqs: Sequence[int]) -> Iterator[Record]:
        """The signals of these numbers, as far as there are such."""
        for seq in seqs:
            row = self._connection.execute(f"{self._query} WHERE signals.seq = ?", (seq,)).fetchone()
            if row is not None:
                yield _record(row)


class Crews:
    """Who made up the pipeline, in which order and version, since when: a row for each change.

    Args:
        connection: The gateway's journal, also where it is opened for reading only.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._crews: list[tuple[float, Members]] = []
        if _has(connection, "crews", "since"):
            rows = connection.execute("SELECT since, members FROM crews ORDER BY rowid")
            self._crews = [(since, _members.decode(members)) for since, members in rows]

    @property
    def latest(self) -> Members:
        """The present one; empty where none is known."""
        return self._crews[-1][1] if self._crews else ()

    def note(self, members: Members, now: float) -> None:
        """Write down a change.

        Args:
            members: Who makes up the pipeline now.
            now: Seconds since the epoch.
        """
        self._connection.execute("INSERT INTO crews VALUES (?, ?)", (now, msgspec.msgpack.encode(members)))
        self._crews.append((now, members))

    def pipeline(self, at: float) -> tuple[str, ...]:
        """The agents' names in order, as they were at a time; as they were first for any time before."""
        found = self._crews[0][1] if self._crews else ()
        for since, members in self._crews:
            if since <= at:
                found = members
        return tuple([name for name, _ in found])

    def of(self, record: Record, now: float) -> tuple[tuple[str, ...], dict[str, set[str]]]:
        """The pipeline that a signal passes or passed, and the known versions of its agents.

        Args:
            record: The signal.
            now: Seconds since the epoch; of a signal that has not ended.
        """
        passage = record.passage
        sent = None if passage is None else passage.resent_at or passage.sent_at
        return self.pipeline(sent or (record.accepted_at if record.status else now)), self.versions(
            record.accepted_at
        )

    def versions(self, since: float) -> dict[str, set[str]]:
        """All versions that each agent ever had; nothing for a time before the first of them was written down."""
        known: dict[str, set[str]] = {}
        if self._crews and since >= self._crews[0][0]:
            for _, members in self._crews:
                for name, version in members:
                    if version:
                        known.setdefault(name, set()).add(version)
        return known


def _has(connection: apsw.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in connection.execute(f"PRAGMA table_info({table})"))


def _record(row: tuple[Any, ...]) -> Record:
    seq, trace_id, symbol, payload, accepted_at, strikes, agent, reason, status, outcome, dead, *more = row
    passage, *asked = more
    traceparent, tracestate = trace_context(payload)
    return Record(
        seq,
        trace_id,
        symbol,
        traceparent,
        tracestate,
        accepted_at,
        strikes,
        agent,
        reason,
        status or "",
        {} if outcome is None else msgspec.msgpack.decode(outcome),
        bool(dead),
        None if passage is None else _passages.decode(passage),
        None if asked[0] is None else _asked(*asked),
    )


def _asked(agent: str, since: float, hold: bytes, spans: bytes | None, ruling: bytes | None) -> Asked:
    asks = _holds.decode(hold)
    return Asked(
        agent,
        since,
        asks.until,
        asks.reason,
        asks.details,
        _spans.decode(spans) if spans else (),
        None if ruling is None else _rulings.decode(ruling),
    )
