"""What Kenny must not forget between two messages: his token bucket, and the orders that he intended.

All of it lies in his journal and is committed together with the answer or the intent that it belongs to.
"""

from __future__ import annotations

from collections import Counter

import apsw

from actors.ratelimit import Bucket, Limit, full, take

__all__ = ["Desk"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kenny_orders (client_order_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL,
    symbol TEXT NOT NULL, stage TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kenny_orders_intended ON kenny_orders (stage) WHERE stage = 'intended';
CREATE TABLE IF NOT EXISTS kenny_state (id INTEGER PRIMARY KEY CHECK (id = 1), tokens REAL NOT NULL,
    at REAL NOT NULL, moment INTEGER NOT NULL);
"""


class Desk:
    """An order's stage is `intended` before the broker has it, then `answered`, or `buried` with its signal.

    Args:
        database: Kenny's journal.
        limit: How many orders may go.
        now: For a bucket that nobody took from yet, seconds since the epoch.
    """

    def __init__(self, database: apsw.Connection, limit: Limit, now: float) -> None:
        self._database = database
        self._limit = limit
        database.execute(_SCHEMA)
        fresh = full(limit, now)
        database.execute("INSERT OR IGNORE INTO kenny_state VALUES (1, ?, ?, 0)", (fresh.tokens, fresh.at))
        ((tokens, at, moment),) = database.execute("SELECT tokens, at, moment FROM kenny_state").fetchall()
        self._bucket = Bucket(float(tokens), float(at))  # type: ignore[arg-type]
        self.moment = int(moment)  # type: ignore[arg-type]
        self._intended: dict[str, tuple[str, str]] = {}
        for order_id, trace_id, symbol in database.execute(
            "SELECT client_order_id, trace_id, symbol FROM kenny_orders WHERE stage = 'intended'"
        ):
            self._intended[str(order_id)] = (str(trace_id), str(symbol))
        self._symbols = Counter(symbol for _, symbol in self._intended.values())

    def next_moment(self) -> int:
        """The number of the next intent."""
        self.moment += 1
        self._database.execute("UPDATE kenny_state SET moment = ?", (self.moment,))
        return self.moment

    def grant(self, now: float) -> bool:
        """Take a token for one order, if there is one."""
        self._bucket, granted = take(self._bucket, self._limit, now)
        if granted:
            self._database.execute(
                "UPDATE kenny_state SET tokens = ?, at = ?", (self._bucket.tokens, self._bucket.at)
            )
        return granted

    def intend(self, client_order_id: str, trace_id: str, symbol: str) -> bool:
        """Note an order before it is sent. False: this signal was here before, and ended."""
        self._database.execute(
            "INSERT OR IGNORE INTO kenny_orders VALUES (?, ?, ?, 'intended')",
            (client_order_id, trace_id, symbol),
        )
        if not self._database.changes():
            return False
        self._intended[client_order_id] = (trace_id, symbol)
        self._symbols[symbol] += 1
        return True

    def settle(self, client_order_id: str, trace_id: str, symbol: str, stage: str) -> None:
        """Note how an order ended on this desk, also one that was never intended."""
        if self._intended.pop(client_order_id, None) is not None:
            self._symbols[symbol] -= 1
            if not self._symbols[symbol]:
                del self._symbols[symbol]
        self._database.execute(
            "INSERT OR REPLACE INTO kenny_orders VALUES (?, ?, ?, ?)",
            (client_order_id, trace_id, symbol, stage),
        )

    def awaits(self, symbol: str) -> bool:
        """Whether an order in the symbol is intended, so that the broker's view of it is about to change."""
        return symbol in self._symbols

    def stage(self, client_order_id: str) -> str | None:
        """The stage of an order, None if it is not known here."""
        return self._one("stage", client_order_id)

    def trace_of(self, client_order_id: str) -> str:
        """The signal that an order is for; empty if it is not ours."""
        intended = self._intended.get(client_order_id)
        return intended[0] if intended else self._one("trace_id", client_order_id) or ""

    def _one(self, column: str, client_order_id: str) -> str | None:
        for (value,) in self._database.execute(
            f"SELECT {column} FROM kenny_orders WHERE client_order_id = ?", (client_order_id,)
        ):
            return str(value)
        return None
