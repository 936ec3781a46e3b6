"""The truth map: what the agents agree on, how much, and who says so.

A row stands for one question, such as `price:AAPL`. Its confidence is the share of the claims that agree with
the value that is kept; the value is the claim of the one who is nearest to the market. A number that hardly
moved is not written again within a second: the map is a view for people, and every price is in the ledger.
"""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from actors.messages import Case

__all__ = ["NEAR", "Truth", "TruthMap", "truths"]

NEAR = 0.005
"""Prices within 0.5 % of each other agree."""

SLIGHT = 0.0005
"""A number that moved by less than 0.05 % hardly moved."""
FRESH_S = 1.0
"""For so long."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS truth_map (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    truth_value TEXT NOT NULL,
    confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    sources TEXT NOT NULL,
    timestamp REAL NOT NULL,
    updated_by TEXT NOT NULL
);
"""
_PUT = (
    "INSERT INTO truth_map (key, truth_value, confidence, sources, timestamp, updated_by)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET truth_value = excluded.truth_value,"
    " confidence = excluded.confidence, sources = excluded.sources, timestamp = excluded.timestamp,"
    " updated_by = excluded.updated_by"
)
_json = msgspec.json.Encoder(decimal_format="string")


class Truth(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        key: The question, `<kind>:<symbol>`.
        value: Anything JSON can say.
        confidence: 0 to 1.
        sources: Who made a claim.
    """

    key: str
    value: Any
    confidence: float
    sources: tuple[str, ...]


def truths(case: Case) -> list[Truth]:
    """What a case tells of the world: the symbol's price, and its newest position if an order was filled."""
    symbol = case.signal.symbol
    claims = [("signal", case.signal.price)]
    if case.market is not None:
        claims.append(("market", case.market.price))
    order = None if case.execution is None else case.execution.order
    filled = None if order is None else order.get("average_fill_price")
    if order is None or filled is None:
        return [_price(symbol, claims)]
    claims.append(("fill", float(filled)))
    value = {name: order.get(name) for name in ("client_order_id", "side", "quantity", "status")}
    value["average_price"] = filled
    side = "buy" if case.signal.direction == "long" else "sell"
    wanted = case.signal.quantity
    agrees = order.get("side") == side and (wanted is None or wanted == float(order["quantity"]))
    position = Truth(f"position:{symbol}", value, 1.0 if agrees else 0.5, ("broker", "signal"))
    return [_price(symbol, claims), position]


def _price(symbol: str, claims: list[tuple[str, float]]) -> Truth:
    value = claims[-1][1]
    near = NEAR * value
    agreeing = sum(1 for _, price in claims if abs(price - value) <= near)
    return Truth(f"price:{symbol}", value, agreeing / len(claims), tuple(name for name, _ in claims))


class TruthMap:
    """The table, in Aletheia's journal.

    Args:
        connection: A database to write to.
        updated_by: Who writes.
    """

    def __init__(self, connection: apsw.Connection, updated_by: str) -> None:
        self._connection = connection
        self._updated_by = updated_by
        self._last: dict[str, tuple[Truth, float]] = {}
        self._fresh: dict[str, tuple[Truth, float]] = {}
        connection.execute(_SCHEMA)

    def put(self, truth: Truth, at: float) -> None:
        """Replace the answer to a question, unless it is nearly the one that was put within the last second.

        It stands in the table after `write`.

        Args:
            truth: The new answer.
            at: Now, seconds since the epoch.
        """
        last = self._last.get(truth.key)
        if last is not None and 0 <= at - last[1] < FRESH_S and _alike(truth, last[0]):
            return
        self._last[truth.key] = (truth, at)
        self._fresh[truth.key] = (truth, at)

    def write(self) -> None:
        """Write what was put since the last time, each question once."""
        self._connection.executemany(
            _PUT,
            [
                (
                    truth.key,
                    _json.encode(truth.value).decode(),
                    truth.confidence,
                    _json.encode(truth.sources).decode(),
                    at,
                    self._updated_by,
                )
                for truth, at in self._fresh.values()
            ],
        )
        self._fresh.clear()

    def get(self, key: str) -> Truth | None:
        """The answer to a question."""
        for value, confidence, sources in self._connection.execute(
            "SELECT truth_value, confidence, sources FROM truth_map WHERE key = ?", (key,)
        ):
            return Truth(
                key,
                msgspec.json.decode(value),
                float(confidence),
                tuple(msgspec.json.decode(sources)),
            )
        return None


def _alike(one: Truth, other: Truth) -> bool:
    if one.confidence != other.confidence or one.sources != other.sources:
        return False
    if isinstance(one.value, float) and isinstance(other.value, float):
        return abs(one.value - other.value) <= SLIGHT * other.value
    return bool(one.value == other.value)
