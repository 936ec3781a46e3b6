"""What Kenny must not forget between two messages: his token bucket, the orders that have not ended, and how the
newest plans ended.

All of it lies in his journal and is committed together with the answer or the intent that it belongs to. Orders
that have not ended are in memory, too, so that looking after them costs nothing for those that have.
"""

from __future__ import annotations

import math
from collections import Counter, deque

import apsw
import msgspec

from actors.ratelimit import Bucket, Limit, full, take
from ark.journal import add_columns

__all__ = ["Desk", "OpenOrder"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kenny_orders (client_order_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL,
    symbol TEXT NOT NULL, stage TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kenny_state (id INTEGER PRIMARY KEY CHECK (id = 1), tokens REAL NOT NULL,
    at REAL NOT NULL, moment INTEGER NOT NULL);
"""
_ADDED = {
    # SQLite reads 9e999 as infinity: what an older Kenny sent may wait for ever.
    "good_until": "REAL NOT NULL DEFAULT 9e999",
    # Whether his orders have ended he did not note; they count as open until the broker was asked.
    "open": "INTEGER NOT NULL DEFAULT 1",
}
"""Columns of `kenny_orders` that databases of older versions lack."""
_ENDS = {"ends": "BLOB NOT NULL DEFAULT x''"}
"""The column of `kenny_state` that they lack: a byte for each of the newest plans, 1 for one that was executed."""
RECENT = 100
"""So many plans' ends are known."""
_INDEX = "CREATE INDEX IF NOT EXISTS kenny_orders_open ON kenny_orders (open) WHERE open = 1"


class OpenOrder(msgspec.Struct, frozen=True):
    """An order that is intended, waits for its price, or has a position.

    Attributes:
        trace_id, symbol: The signal's.
        good_until: Until when its entry may wait, seconds since the epoch.
    """

    trace_id: str
    symbol: str
    good_until: float


class Desk:
    """An order's stage is `intended` before the broker has it, then `answered`, or `buried` with its signal.

    A plan that is not sent is `refused` at once. Beside its stage an order is open, from its intent until nothing
    of it is left at the broker.

    Args:
        database: Kenny's journal.
        limit: How many orders may go.
        now: For a bucket that nobody took from yet, seconds since the epoch.

    Attributes:
        moment: The number of the newest intent.
        open: Orders that have not ended, by client order id.
        held: Those of them whose entry was filled; keys in their order, which no hash decides.
    """

    def __init__(self, database: apsw.Connection, limit: Limit, now: float) -> None:
        self._database = database
        self._limit = limit
        database.execute(_SCHEMA)
        add_columns(database, "kenny_orders", _ADDED)
        add_columns(database, "kenny_state", _ENDS)
        database.execute(_INDEX)
        fresh = full(limit, now)
        database.execute(
            "INSERT OR IGNORE INTO kenny_state (id, tokens, at, moment) VALUES (1, ?, ?, 0)",
            (fresh.tokens, fresh.at),
        )
        rows = database.execute("SELECT tokens, at, moment, ends FROM kenny_state").fetchall()
        ((tokens, at, moment, ends),) = rows
        self._ends: deque[int] = deque(ends, maxlen=RECENT)  # type: ignore[arg-type]
        self._ends_are_kept = True
        self._bucket = Bucket(float(tokens), float(at))  # type: ignore[arg-type]
        self.moment = int(moment)  # type: ignore[arg-type]
        self.open: dict[str, OpenOrder] = {}
        self.held: dict[str, None] = {}
        self._intended: dict[str, str] = {}
        for order_id, trace_id, symbol, stage, good_until in database.execute(
            "SELECT client_order_id, trace_id, symbol, stage, good_until FROM kenny_orders WHERE open = 1"
        ):
            self.open[str(order_id)] = OpenOrder(str(trace_id), str(symbol), float(good_until))
            if stage == "intended":
                self._intended[str(order_id)] = str(symbol)
        self._symbols = Counter(self._intended.values())

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

    def intend(self, client_order_id: str, trace_id: str, symbol: str, good_until: float = math.inf) -> None:
        """Note an order that is not known here before it is sent."""
        self._database.execute(
            "INSERT INTO kenny_orders (client_order_id, trace_id, symbol, stage, good_until, open)"
            " VALUES (?, ?, ?, 'intended', ?, 1)",
            (client_order_id, trace_id, symbol, good_until),
        )
        self.open[client_order_id] = OpenOrder(trace_id, symbol, good_until)
        self._intended[client_order_id] = symbol
        self._symbols[symbol] += 1

    def settle(self, client_order_id: str, trace_id: str, symbol: str, stage: str) -> None:
        """Note that an order is no longer only intended; also of one that never was."""
        if self._intended.pop(client_order_id, None) is not None:
            self._symbols[symbol] -= 1
            if not self._symbols[symbol]:
                del self._symbols[symbol]
        self._database.execute(
            "INSERT INTO kenny_orders (client_order_id, trace_id, symbol, stage, open) VALUES (?, ?, ?, ?, 0)"
            " ON CONFLICT (client_order_id) DO UPDATE SET stage = excluded.stage",
            (client_order_id, trace_id, symbol, stage),
        )

    def hold(self, client_order_id: str) -> None:
        """Note that an entry was filled; the broker knows it for whoever starts anew."""
        if client_order_id in self.open:
            self.held[client_order_id] = None

    def end(self, client_order_id: str) -> None:
        """Note that nothing of an order is left at the broker."""
        if self.open.pop(client_order_id, None) is not None:
            self.held.pop(client_order_id, None)
            self._database.execute("UPDATE kenny_orders SET open = 0 WHERE client_order_id = ?", (client_order_id,))

    def overdue(self, now: float) -> dict[str, OpenOrder]:
        """Open orders that are not filled and whose time is over."""
        return {
            order_id: order
            for order_id, order in self.open.items()
            if now > order.good_until and order_id not in self.held
        }

    def note_end(self, *, executed: bool) -> None:
        """Note whether an approved plan was executed; it is written by `keep_ends`."""
        self._ends.append(executed)
        self._ends_are_kept = False

    def keep_ends(self) -> bool:
        """Write down how the newest plans ended; say whether that has changed."""
        changed = not self._ends_are_kept
        if changed:
            self._database.execute("UPDATE kenny_state SET ends = ?", (bytes(self._ends),))
            self._ends_are_kept = True
        return changed

    @property
    def executed_share(self) -> float | None:
        """The share of the last 100 approved plans that was executed; None where there was none."""
        return sum(self._ends) / len(self._ends) if self._ends else None

    def awaits(self, symbol: str) -> bool:
        """Whether an order in the symbol is intended, so that the broker's view of it is about to change."""
        return symbol in self._symbols

    def is_intended(self, client_order_id: str) -> bool:
        """Whether an order may still have to be sent."""
        return client_order_id in self._intended

    def stage(self, client_order_id: str) -> str | None:
        """The stage of an order, None if it is not known here."""
        return self._one("stage", client_order_id)

    def trace_of(self, client_order_id: str) -> str:
        """The signal that an order is for; empty if it is not ours."""
        order = self.open.get(client_order_id)
        return order.trace_id if order else self._one("trace_id", client_order_id) or ""

    def _one(self, column: str, client_order_id: str) -> str | None:
        for (value,) in self._database.execute(
            f"SELECT {column} FROM kenny_orders WHERE client_order_id = ?", (client_order_id,)
        ):
            return str(value)
        return None
