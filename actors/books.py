"""The tables in which HRM keeps its portfolio, in its own journal: what is written goes out with the answer.

A row is written when it changes and not otherwise. Money is text, so that no digit is lost. Where lots and
reservations came from stands in a table of its own: a release that knows nothing of it may write here again.
"""

from __future__ import annotations

from decimal import Decimal

import apsw

from actors.messages import Fill
from actors.portfolio import Lot, Mark, Origin, Portfolio, Reservation, Totals
from ark.journal import add_columns
from graveyard import Done
from graveyard.rules import WINDOW_S

__all__ = ["Books"]

_TABLES = """
CREATE TABLE IF NOT EXISTS hrm_totals (
    one INTEGER PRIMARY KEY CHECK (one = 1), cash TEXT NOT NULL, day INTEGER NOT NULL,
    day_start_equity TEXT NOT NULL, realised_today TEXT NOT NULL, last_fill INTEGER NOT NULL,
    week_start_equity TEXT);
CREATE TABLE IF NOT EXISTS hrm_lots (
    trace_id TEXT NOT NULL, symbol TEXT NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL,
    stop TEXT NOT NULL, target TEXT, gained TEXT, PRIMARY KEY (trace_id, symbol)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_reservations (
    trace_id TEXT PRIMARY KEY, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL, stop TEXT NOT NULL, unit_risk TEXT NOT NULL, entry_price TEXT, target TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_origins (
    trace_id TEXT PRIMARY KEY, source TEXT NOT NULL, band TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_marks (symbol TEXT PRIMARY KEY, price TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_recent (
    at REAL NOT NULL, what TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hrm_memory (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_judged (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS hrm_held (trace_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hrm_counts (
    day INTEGER NOT NULL, rule TEXT NOT NULL, word TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (day, rule, word)) WITHOUT ROWID;
"""
_ADDED = {
    "hrm_totals": {"week_start_equity": "TEXT"},
    "hrm_lots": {"target": "TEXT", "gained": "TEXT"},
    "hrm_reservations": {"entry_price": "TEXT", "target": "TEXT"},
}
"""Columns that a journal of an earlier version lacks."""
KEPT = 100_000
"""So many judgements are kept with what they were made from, for whoever asks why."""


class Books:
    """The portfolio's rows.

    Args:
        connection: HRM's journal; the tables are made if they are not there.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute(_TABLES)
        for table, columns in _ADDED.items():
            add_columns(connection, table, columns)

    def load(self, starting_equity: Decimal, now: float) -> tuple[Portfolio, int]:
        """The portfolio as it was last written, and the number of the last fill in it.

        Where nothing was ever written, an account with `starting_equity` in cash is opened, and written.
        """
        connection = self._connection
        row = connection.execute(
            "SELECT cash, day, day_start_equity, realised_today, last_fill, week_start_equity FROM hrm_totals"
        ).fetchone()
        if row is None:
            portfolio = Portfolio.opened(starting_equity, now)
            self.save_totals(portfolio, 0)
            return portfolio, 0
        cash, day, day_start_equity, realised_today, last_fill, week_start_equity = row
        connection.execute(
            "DELETE FROM hrm_origins WHERE trace_id NOT IN"
            " (SELECT trace_id FROM hrm_lots UNION SELECT trace_id FROM hrm_reservations)"
        )
        origins = {
            trace_id: Origin(source, band)
            for trace_id, source, band in connection.execute("SELECT trace_id, source, band FROM hrm_origins")
        }
        lots = [
            Lot(
                trace_id,
                symbol,
                Decimal(quantity),
                Decimal(cost),
                Decimal(stop),
                _maybe(target),
                Decimal(gained or 0),
                origins.get(trace_id),
            )
            for trace_id, symbol, quantity, cost, stop, target, gained in connection.execute(
                "SELECT trace_id, symbol, quantity, cost, stop, target, gained FROM hrm_lots ORDER BY trace_id"
            )
        ]
        reservations = [
            Reservation(
                trace_id,
                symbol,
                side,
                Decimal(quantity),
                Decimal(price),
                Decimal(stop),
                Decimal(risk),
                Decimal(entry_price or price),
                _maybe(target),
                origins.get(trace_id),
            )
            for trace_id, symbol, side, quantity, price, stop, risk, entry_price, target in connection.execute(
                "SELECT trace_id, symbol, side, quantity, price, stop, unit_risk, entry_price, target"
                " FROM hrm_reservations ORDER BY trace_id"
            )
        ]
        recent = [
            (symbol, Done(what, at, side, Decimal(quantity), Decimal(price)))
            for at, what, symbol, side, quantity, price in connection.execute(
                "SELECT at, what, symbol, side, quantity, price FROM hrm_recent WHERE at >= ? ORDER BY rowid",
                (now - WINDOW_S,),
            )
        ]
        marks = [
            (symbol, Mark(Decimal(price), at))
            for symbol, price, at in connection.execute("SELECT symbol, price, at FROM hrm_marks")
        ]
        totals = Totals(
            Decimal(cash),
            day,
            Decimal(day_start_equity),
            Decimal(realised_today),
            Decimal(week_start_equity or day_start_equity),
        )
        return Portfolio(totals, lots, reservations, marks, recent), last_fill

    def save_totals(self, portfolio: Portfolio, last_fill: int) -> None:
        """Write the totals and the number of the last fill in them."""
        totals = portfolio.totals
        self._connection.execute(
            "INSERT OR REPLACE INTO hrm_totals VALUES (1, ?, ?, ?, ?, ?, ?)",
            (
                str(totals.cash),
                totals.day,
                str(totals.day_start_equity),
                str(totals.realised_today),
                last_fill,
                str(totals.week_start_equity),
            ),
        )

    def save_reservation(self, portfolio: Portfolio, trace_id: str) -> None:
        """Write what is promised to a signal, or that nothing is."""
        row = portfolio.reservation(trace_id)
        if row is None:
            self._connection.execute("DELETE FROM hrm_reservations WHERE trace_id = ?", (trace_id,))
            self._drop_origin(trace_id)
            return
        self._connection.execute(
            "INSERT INTO hrm_reservations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (trace_id) DO UPDATE SET quantity = excluded.quantity",
            (
                row.trace_id,
                row.symbol,
                row.side,
                str(row.quantity),
                str(row.price),
                str(row.stop),
                str(row.unit_risk),
                str(row.entry_price),
                _text(row.target),
            ),
        )
        if row.origin is not None:
            self._connection.execute(
                "INSERT OR IGNORE INTO hrm_origins VALUES (?, ?, ?)",
                (row.trace_id, row.origin.source, row.origin.band),
            )

    def _drop_origin(self, trace_id: str) -> None:
        """Let go of where something came from, once nothing is held or promised because of it."""
        self._connection.execute(
            "DELETE FROM hrm_origins WHERE trace_id = ?1"
            " AND NOT EXISTS (SELECT 1 FROM hrm_lots WHERE trace_id = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM hrm_reservations WHERE trace_id = ?1)",
            (trace_id,),
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
            self._drop_origin(fill.trace_id)
        else:
            self._connection.execute(
                "INSERT INTO hrm_lots VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (trace_id, symbol) DO UPDATE SET"
                " quantity = excluded.quantity, cost = excluded.cost, stop = excluded.stop,"
                " target = excluded.target, gained = excluded.gained",
                (
                    lot.trace_id,
                    lot.symbol,
                    str(lot.quantity),
                    str(lot.cost),
                    str(lot.stop),
                    _text(lot.target),
                    str(lot.gained),
                ),
            )
        if fill.leg in ("entry", "cancel"):
            self.save_reservation(portfolio, fill.trace_id)
        self.save_mark(portfolio, fill.symbol)
        self.save_totals(portfolio, fill.number)

    def save_done(self, symbol: str, done: Done) -> None:
        """Write down what was just done, for the minute in which it counts."""
        self._connection.execute(
            "INSERT INTO hrm_recent VALUES (?, ?, ?, ?, ?, ?)",
            (done.at, done.what, symbol, done.side, str(done.quantity), str(done.price)),
        )

    def forget_before(self, at: float) -> None:
        """Let go of what was done before a time, and of judgements that are too many."""
        self._connection.execute("DELETE FROM hrm_recent WHERE at < ?", (at,))
        self._connection.execute(
            "DELETE FROM hrm_judged WHERE number <= (SELECT max(number) FROM hrm_judged) - ?", (KEPT,)
        )

    def remember(self, name: str, body: bytes) -> None:
        """Keep a small state of the judge's by its name."""
        self._connection.execute("INSERT OR REPLACE INTO hrm_memory VALUES (?, ?)", (name, body))

    def recall(self, name: str) -> bytes | None:
        """What was kept under a name."""
        return self._one("SELECT body FROM hrm_memory WHERE name = ?", name)

    def last_judged(self) -> int:
        """The number of the last judgement that was kept; 0: there is none."""
        for (number,) in self._connection.execute("SELECT coalesce(max(number), 0) FROM hrm_judged"):
            return int(number)
        return 0

    def save_judged(self, number: int, body: bytes) -> None:
        """Keep what a judgement was made from."""
        self._connection.execute("INSERT INTO hrm_judged VALUES (?, ?)", (number, body))

    def newest_judged(self, most: int) -> list[bytes]:
        """What the newest decisions were made from, the oldest first."""
        rows = self._connection.execute("SELECT body FROM hrm_judged ORDER BY number DESC LIMIT ?", (most,))
        return [bytes(body) for (body,) in rows][::-1]

    def judged(self, number: int) -> bytes | None:
        """What a judgement was made from."""
        return self._one("SELECT body FROM hrm_judged WHERE number = ?", number)

    def save_held(self, trace_id: str, body: bytes) -> None:
        """Keep a plan that waits for a person."""
        self._connection.execute("INSERT OR REPLACE INTO hrm_held VALUES (?, ?)", (trace_id, body))

    def held(self, trace_id: str) -> bytes | None:
        """The plan of a signal that waits for a person."""
        return self._one("SELECT body FROM hrm_held WHERE trace_id = ?", trace_id)

    def drop_held(self, trace_id: str) -> None:
        """Let go of a plan that waits no more."""
        self._connection.execute("DELETE FROM hrm_held WHERE trace_id = ?", (trace_id,))

    def count(self, day: int, rule: str, word: str, times: int) -> None:
        """Add to how often a rule said something on a day."""
        self._connection.execute(
            "INSERT INTO hrm_counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET times = times + excluded.times",
            (day, rule, word, times),
        )

    @staticmethod
    def counted(connection: apsw.Connection, day: int) -> dict[tuple[str, str], int]:
        """How often each rule said what on a day, by rule and word; the empty rule stands for whole decisions.

        Args:
            connection: HRM's journal, also where it is opened for reading only.
            day: Counted from 1970-01-01, UTC.
        """
        return {
            (str(rule), str(word)): int(times)
            for rule, word, times in connection.execute(
                "SELECT rule, word, times FROM hrm_counts WHERE day = ?", (day,)
            )
        }

    def _one(self, query: str, key: str | int) -> bytes | None:
        for (body,) in self._connection.execute(query, (key,)):
            return bytes(body)
        return None


def _text(number: Decimal | None) -> str | None:
    return None if number is None else str(number)


def _maybe(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
