"""The paper broker's database: what it must not forget, written once for a batch of changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import apsw
import msgspec

from actors.brokers import BrokerFill, OrderState
from actors.brokers.books import Books, Position

__all__ = ["Changes", "Store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY CHECK (id = 1), cash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL,
    average TEXT NOT NULL, mark TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS markets (symbol TEXT PRIMARY KEY, ts REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (client_order_id TEXT PRIMARY KEY, symbol TEXT NOT NULL,
    open INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS orders_open ON orders (open) WHERE open = 1;
CREATE TABLE IF NOT EXISTS submissions (number INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL,
    at REAL NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fills (number INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL, side TEXT NOT NULL, leg TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL, fee TEXT NOT NULL, at REAL NOT NULL);
"""
_PUT_ORDER = (
    "INSERT INTO orders VALUES (?, ?, ?, ?)"
    " ON CONFLICT (client_order_id) DO UPDATE SET open = excluded.open, state = excluded.state"
)
_FILL = BrokerFill.__struct_fields__
_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder = msgspec.json.Decoder(OrderState)


class Changes:
    """What happened since the last write.

    Attributes:
        submissions: Rows of client order id, time and reason; an empty reason for an order that was taken.
        orders: Orders in their new state, by client order id.
        fills: New fills, in order.
        positions: Symbols whose position or mark changed.
        markets: Newest bar by symbol.
    """

    def __init__(self) -> None:
        self.submissions: list[tuple[str, float, str]] = []
        self.orders: dict[str, OrderState] = {}
        self.fills: list[BrokerFill] = []
        self.positions: set[str] = set()
        self.markets: dict[str, float] = {}


class Store:
    """The tables. `submissions` keeps every order that arrived, taken or not, for whoever counts them.

    Args:
        connection: The database; what was begun in it and not committed is undone.
        cash: What a new account starts with.
    """

    def __init__(self, connection: apsw.Connection, cash: Decimal) -> None:
        self._connection = connection
        self.rollback()
        connection.execute(_SCHEMA)
        connection.execute("INSERT OR IGNORE INTO account VALUES (1, ?)", (str(cash),))

    def begin(self) -> None:
        """Open a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make what was written durable."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was not committed."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._connection.execute(query, values).fetchall()

    def books(self) -> Books:
        """Cash and positions as they were written."""
        books = Books(Decimal(self.rows("SELECT cash FROM account")[0][0]))
        for symbol, *numbers in self.rows("SELECT symbol, quantity, average, mark FROM positions"):
            books.put(symbol, Position(*map(Decimal, numbers)))
        return books

    def markets(self) -> dict[str, float]:
        """The time of the newest bar by symbol."""
        return {str(symbol): float(ts) for symbol, ts in self.rows("SELECT symbol, ts FROM markets")}

    def open_orders(self) -> list[OrderState]:
        """Orders with an open entry or with standing legs, oldest first."""
        states = [_decoder.decode(body) for (body,) in self.rows("SELECT state FROM orders WHERE open = 1")]
        return sorted(states, key=lambda each: (each.submitted_at, each.moment))

    def order(self, client_order_id: str) -> OrderState | None:
        """One order."""
        rows = self.rows("SELECT state FROM orders WHERE client_order_id = ?", (client_order_id,))
        return _decoder.decode(rows[0][0]) if rows else None

    def head(self) -> int:
        """The number of the newest fill, 0 for none."""
        return int(self.rows("SELECT coalesce(max(number), 0) FROM fills")[0][0])

    def fills(self, after: int, limit: int) -> list[BrokerFill]:
        """Fills after a number, oldest first."""
        query = f"SELECT {', '.join(_FILL)} FROM fills WHERE number > ? ORDER BY number LIMIT ?"
        return [
            msgspec.convert(dict(zip(_FILL, row, strict=True)), BrokerFill)
            for row in self.rows(query, (after, limit))
        ]

    def write(self, changes: Changes, books: Books) -> None:
        """Write changes, within a transaction."""
        connection = self._connection
        if changes.submissions:
            connection.executemany(
                "INSERT INTO submissions (client_order_id, at, reason) VALUES (?, ?, ?)", changes.submissions
            )
        if changes.orders:
            connection.executemany(
                _PUT_ORDER,
                [
                    (name, state.order.symbol, state.open, _encoder.encode(state).decode())
                    for name, state in changes.orders.items()
                ],
            )
        if changes.fills:
            connection.executemany(
                "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        each.number,
                        each.client_order_id,
                        each.symbol,
                        each.side,
                        each.leg,
                        str(each.quantity),
                        str(each.price),
                        str(each.fee),
                        each.at,
                    )
                    for each in changes.fills
                ],
            )
            connection.execute("INSERT OR REPLACE INTO account VALUES (1, ?)", (str(books.cash),))
        for symbol in changes.positions:
            position = books.positions.get(symbol)
            if position is None:
                connection.execute("DELETE FROM positions WHERE symbol = ?", (symbol,))
            else:
                numbers = (str(position.quantity), str(position.average), str(position.mark))
                connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", (symbol, *numbers))
        if changes.markets:
            connection.executemany("INSERT OR REPLACE INTO markets VALUES (?, ?)", list(changes.markets.items()))
