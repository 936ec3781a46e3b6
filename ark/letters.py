"""Dead letters for whoever deals with them: what they were, why they died, what was done about them.

The gateway's journal holds them. To ask it needs no running node: a connection that only reads will do.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import apsw
import msgspec

from ark.signal import Signal

__all__ = ["Act", "DeadLetter", "Letters", "anew", "can_read", "in_short", "obstacle", "order_of", "retry_id"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS letters (
    seq INTEGER PRIMARY KEY, died_at REAL, act TEXT, by TEXT, why TEXT, at REAL, retry TEXT,
    told INTEGER NOT NULL DEFAULT 0);
"""
"""A row for each signal that was expelled, and what was done about it: nothing while `act` is null."""
UNKNOWN = "unknown"
"""The status of an order of which the last agent cannot say whether it exists."""
SHORTEST = 200
"""Characters of a reason in a list."""

_SIGNAL = "seq, trace_id, symbol, accepted_at, died_at, agent, strikes, reason"
_ACT = "act, by, why, at, retry"
_signals = msgspec.msgpack.Decoder(Signal)


class Act(msgspec.Struct, frozen=True):
    """What was done about a dead letter.

    Attributes:
        act: `retried` or `dropped`.
        by, reason: Who did it, and why.
        at: Seconds since the epoch.
        retry: The trace id of the new signal; empty for none.
    """

    act: Literal["retried", "dropped"]
    by: str
    reason: str
    at: float
    retry: str = ""


class DeadLetter(msgspec.Struct, frozen=True):
    """One dead letter.

    Attributes:
        seq: Its number of acceptance.
        trace_id, symbol: The signal's.
        accepted_at: Seconds since the epoch.
        died_at: When it had ended its agent for the third time; None where an older version did not note it.
        agent: The agent that it ended last.
        strikes: How often it ended one.
        reason: How the last one ended, with its last words.
        payload: The signal as it was accepted, msgpack; empty in a list.
        outcome: How it ended, msgpack; empty in a list.
        act: What was done about it; None while nothing was.
    """

    seq: int
    trace_id: str
    symbol: str
    accepted_at: float
    died_at: float | None
    agent: str
    strikes: int
    reason: str
    payload: bytes
    outcome: bytes
    act: Act | None

    def summary(self) -> dict[str, Any]:
        """What a list shows of it."""
        return {
            "trace_id": self.trace_id,
            "symbol": self.symbol,
            "accepted_at": self.accepted_at,
            "died_at": self.died_at,
            "agent": self.agent,
            "strikes": self.strikes,
            "reason": in_short(self.reason, self.trace_id),
            "act": None if self.act is None else msgspec.structs.asdict(self.act),
        }

    def whole(self) -> dict[str, Any]:
        """All that is known of it."""
        return {
            **self.summary(),
            "reason": self.reason,
            "signal": msgspec.msgpack.decode(self.payload),
            "outcome": msgspec.msgpack.decode(self.outcome),
            "order": order_of(self.outcome),
            "obstacle": obstacle(self),
        }


class Letters:
    """The dead letters in the gateway's journal.

    Args:
        connection: The journal. One that only reads is first shown to `can_read`.

    Attributes:
        open: How many there are that nobody has dealt with.
        ever: How many there were in all.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.ever = self._count("SELECT count(*) FROM outcomes WHERE dead = 1")
        self.open = self.ever - self._count(
            "SELECT count(*) FROM letters JOIN outcomes USING (seq) WHERE dead = 1 AND act IS NOT NULL"
        )

    def list(self, *, limit: int, everything: bool = False) -> Iterator[DeadLetter]:
        """Dead letters, newest first, without their bytes.

        Args:
            limit: At most so many.
            everything: Also those that were dealt with.
        """
        which = "" if everything else "AND act IS NULL"
        for row in self._connection.execute(
            f"SELECT {_SIGNAL}, x'', x'', {_ACT} FROM outcomes JOIN signals USING (seq)"
            f" LEFT JOIN letters USING (seq) WHERE dead = 1 {which} ORDER BY seq DESC LIMIT ?",
            (limit,),
        ):
            yield _letter(row)

    def find(self, trace_id: str) -> DeadLetter | None:
        """One dead letter with all that is known of it; None where that signal is none."""
        row = self._connection.execute(
            f"SELECT {_SIGNAL}, payload, outcome, {_ACT} FROM signals JOIN outcomes USING (seq)"
            " LEFT JOIN letters USING (seq) WHERE trace_id = ? AND dead = 1",
            (trace_id,),
        ).fetchone()
        return None if row is None else _letter(row)

    def expel(self, seq: int, at: float) -> None:
        """Note when a signal became a dead letter, seconds since the epoch."""
        self._connection.execute("INSERT OR IGNORE INTO letters (seq, died_at) VALUES (?, ?)", (seq, at))

    def buried(self) -> None:
        """Count one that has its outcome now."""
        self.ever += 1
        self.open += 1

    def deal(self, seq: int, act: Act) -> None:
        """Write down what was done about one with which nobody has dealt yet."""
        self._connection.execute(
            f"INSERT INTO letters (seq, {_ACT}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (seq) DO UPDATE SET"
            " (act, by, why, at, retry) = (excluded.act, excluded.by, excluded.why, excluded.at, excluded.retry)",
            (seq, act.act, act.by, act.reason, act.at, act.retry),
        )
        self.open -= 1

    def untold(self) -> Iterator[DeadLetter]:
        """Those that were dealt with, but `tell` was not called for: the process died in between."""
        for (trace_id,) in self._connection.execute(
            "SELECT trace_id FROM letters JOIN signals USING (seq) WHERE act IS NOT NULL AND told = 0 ORDER BY at"
        ).fetchall():
            letter = self.find(str(trace_id))
            if letter is not None:
                yield letter

    def tell(self, seqs: Iterable[int]) -> None:
        """Note that what was done about them is recorded elsewhere, too."""
        self._connection.executemany("UPDATE letters SET told = 1 WHERE seq = ?", [(each,) for each in seqs])

    def _count(self, query: str) -> int:
        row = self._connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def can_read(connection: apsw.Connection) -> apsw.Connection:
    """Make a connection that only reads fit for `Letters`, also where an older version wrote the journal last."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'letters'").fetchone() is None:
        connection.pragma("temp_store", "MEMORY")
        connection.execute(SCHEMA.replace("CREATE TABLE", "CREATE TEMP TABLE"))
    return connection


def in_short(reason: str, trace_id: str = "") -> str:
    """A reason in one line: how the process ended, and the last line of its last words.

    Args:
        reason: As the supervisor wrote it.
        trace_id: The signal's, which is left out.
    """
    lines = [line.strip() for line in reason.replace(f" of {trace_id}", "").splitlines() if line.strip()]
    if not lines:
        return ""
    how = lines[0].partition(": ")[0]
    text = lines[0] if len(lines) == 1 else f"{how}: {lines[-1]}"
    return text if len(text) <= SHORTEST else f"{text[: SHORTEST - 1]}…"


def order_of(outcome: bytes) -> Literal["none", "sent", "unknown"]:
    """Whether there is an order of a signal that ended like this, as far as its outcome, msgpack, can tell."""
    told = msgspec.msgpack.decode(outcome)
    if "ledger" in told and told["ledger"] is None:
        return "unknown"  # the gateway gave it up alone: nobody has asked the broker
    order = told.get("order")
    if order is None:
        return "none"
    return "unknown" if isinstance(order, dict) and order.get("status") == UNKNOWN else "sent"


def obstacle(letter: DeadLetter) -> str:
    """Why a dead letter must not be retried, and what to look at; empty where it may be."""
    act = letter.act
    if act is not None:
        into = f" into {act.retry}" if act.retry else ""
        return f"it was already {act.act}{into} by {act.by}: {act.reason}"
    match order_of(letter.outcome):
        case "sent":
            told = msgspec.msgpack.decode(letter.outcome)["order"]
            named = (
                f" ({told.get('status')}, client order id {told.get('client_order_id')})"
                if isinstance(told, dict)
                else ""
            )
            return (
                f"it has an order{named}: look at the broker what became of it, and drop the letter;"
                " nothing is executed twice"
            )
        case "unknown":
            return (
                f"whether it has an order is not known: nobody could ask the broker. Look there for an order in"
                f" {letter.symbol} of that time; if there is none, drop the letter and inject the signal anew"
            )
    return ""


def retry_id(trace_id: str, number: int = 1) -> str:
    """The trace id of a retry: the same whenever it is asked for, so that asking twice makes one signal.

    Args:
        trace_id: The dead letter's.
        number: Of the retry. A letter is retried once; a retry that dies as well is a letter of its own.
    """
    return str(uuid.uuid5(uuid.UUID(trace_id), f"retry {number}"))


def anew(letter: DeadLetter, *, now: float | None = None) -> Signal:
    """The signal that is sent in the place of a dead letter.

    Args:
        letter: With its bytes.
        now: Its time, seconds since the epoch; None leaves it as old as it was.
    """
    signal = _signals.decode(letter.payload)
    return msgspec.structs.replace(
        signal,
        trace_id=retry_id(letter.trace_id),
        ts=signal.ts if now is None else now,
        metadata={**signal.metadata, "retry_of": letter.trace_id},
    )


def _letter(row: Any) -> DeadLetter:
    """A row of what `_SIGNAL` names, payload, outcome, and what `_ACT` names."""
    seq, trace_id, symbol, accepted_at, died_at, agent, strikes, reason, payload, outcome, *act = row
    done = None if act[0] is None else Act(*act)
    return DeadLetter(seq, trace_id, symbol, accepted_at, died_at, agent, strikes, reason, payload, outcome, done)
