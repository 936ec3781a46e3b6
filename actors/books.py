"""The tables in which HRM keeps its portfolio, in its own journal: what is written goes out with the answer.

A row is written when it changes and not otherwise. Money is text, so that no digit is lost.
"""

from __future__ import annotations

from decimal import Decimal

import apsw

from actors.messages import Fill
from actors.portfolio import Lot, Mark, Portfolio, Reservation, Totals

__all__ = ["Books"]

_TABLES = """
CREATE TABLE IF NOT EXISTS hrm_totals (
    one INTEGER PRIMARY KEY CHECK (one = 1), cash TEXT NOT NULL, day INTEGER NOT NULL,
    day_start_equity TEXT NOT NULL, realised_today TEXT NOT NULL, last_fill INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS hrm_lots (
    trace_id TEXT NOT NULL, symbol TEXT NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL,
    stop TEXT NOT NULL, PRIMARY KEY (trace_id, symbol)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_reservations (
    trace_id TEXT PRIMARY KEY, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL, stop TEXT NOT NULL, unit_risk TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_marks (symbol TEXT PRIMARY KEY, price TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID
"""


class Books:
    """The portfolio's rows.

    Args:
        connection: HRM's journal; the tables are made if they are not there.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute(_TABLES)

    def load(self, starting_equity: Decimal, now: float) -> tuple[Portfolio, int]:
        """The portfolio as it was last written, and the number of the last fill in it.

        Where nothing was ever written, an account with `starting_equity` in cash is opened, and written.
        """
        connection = self._connection
        row = connection.execute(
            "SELECT cash, day, day_start_equity, realised_today, last_fill FROM hrm_totals"
        ).fetchone()
        if row is None:
            portfolio = Portfolio.opened(starting_equity, now)
            self.save_totals(portfolio, 0)
            return portfolio, 0
        cash, day, day_start_equity, realised_today, last_fill = row
        lots = [
            Lot(trace_id, symbol, Decimal(quantity), Decimal(cost), Decimal(stop))
            for trace_id, symbol, quantity, cost, stop in connection.execute(
                "SELECT trace_id, symbol, quantity, cost, stop FROM hrm_lots ORDER BY trace_id"
            )
        ]
        reservations = [
            Reservation(trace_id, symbol, side, Decimal(quantity), Decimal(price), Decimal(stop), Decimal(risk))
            for trace_id, symbol, side, quantity, price, stop, risk in connection.execute(
                "SELECT trace_id, symbol, side, quantity, price, stop, unit_risk FROM hrm_reservations"
                " ORDER BY trace_id"
            )
        ]
        marks = [
            (symbol, Mark(Decimal(price), at))
            for symbol, price, at in connection.execute("SELECT symbol, price, at FROM hrm_marks")
        ]
        totals = Totals(Decimal(cash), day, Decimal(day_start_equity), Decimal(realised_today))
        return Portfolio(totals, lots, reservations, marks), last_fill

    def save_totals(self, portfolio: Portfolio, last_fill: int) -> None:
        """Write the totals and the number of the last fill in them."""
        totals = portfolio.totals
        self._connection.execute(
            "INSERT OR REPLACE INTO hrm_totals VALUES (1, ?, ?, ?, ?, ?)",
            (
                str(totals.cash),
                totals.day,
                str(totals.day_start_equity),
                str(totals.realised_today),
                last_fill,
            ),
        )

    def save_reservation(self, portfolio: Portfolio, trace_id: str) -> None:
        """Write what is promised to a signal, or that nothing is."""
        row = portfolio.reservation(trace_id)
        if row is None:
            self._connection.execute("DELETE FROM hrm_reservations WHERE trace_id = ?", (trace_id,))
            return
        self._connection.execute(
            "INSERT INTO hrm_reservations VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (trace_id) DO UPDATE SET quantity = excluded.quantity",
            (
                row.trace_id,
                row.symbol,
                row.side,
                str(row.quantity),
                str(row.price),
                str(row.stop),
                str(row.unit_risk),
            ),
        )

    def save_mark(self, portfolio: Portfolio, symbol: str) -> None:
        """Write the mark of a symbol, or that it has none."""
        mark = portfolio.mark_of(symbol)
        if mark is None:
            self._connection.execute("DELETE FROM hrm_marks WHERE symbol = ?", (symbol,))
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO hrm_marks VALUES (?, ?, ?)", (symbol, str(mark.price), mark.at)
            )

    def save_fill(self, portfolio: Portfolio, fill: Fill) -> None:
        """Write everything that a fill has changed."""
        lot = portfolio.lot(fill.symbol, fill.trace_id)
        if lot is None:
            self._connection.execute(
                "DELETE FROM hrm_lots WHERE trace_id = ? AND symbol = ?", (fill.trace_id, fill.symbol)
            )
        else:
            self._connection.execute(
                "INSERT INTO hrm_lots VALUES (?, ?, ?, ?, ?) ON CONFLICT (trace_id, symbol) DO UPDATE SET"
                " quantity = excluded.quantity, cost = excluded.cost, stop = excluded.stop",
                (lot.trace_id, lot.symbol, str(lot.quantity), str(lot.cost), str(lot.stop)),
            )
        if fill.leg in ("entry", "cancel"):
            self.save_reservation(portfolio, fill.trace_id)
        self.save_mark(portfolio, fill.symbol)
        self.save_totals(portfolio, fill.number)
