"""Cash and positions of one account, counted exactly, valued at the last price seen."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from actors.brokers.matching import EXACT

__all__ = ["Books", "Position"]

NOTHING = Decimal(0)
AVERAGE_STEP = Decimal("0.00000001")


class Position(msgspec.Struct, frozen=True):
    """What is held of one symbol.

    Attributes:
        quantity: Units; below zero for a short position.
        average: What a unit of it was opened at, rounded to 1e-8; for people, not for counting.
        mark: The last price seen.
    """

    quantity: Decimal
    average: Decimal
    mark: Decimal


class Books:
    """An account. Sums of positions are kept up to date, so that asking for the equity costs nothing.

    Attributes:
        cash: Quote currency; below zero where more is held than was paid in.
        positions: By symbol; only what is not zero.
        net, gross: Value of all positions, with sign and without.
    """

    def __init__(self, cash: Decimal) -> None:
        self.cash = cash
        self.positions: dict[str, Position] = {}
        self.net = NOTHING
        self.gross = NOTHING

    @property
    def equity(self) -> Decimal:
        """Cash and positions at their marks."""
        return EXACT.add(self.cash, self.net)

    def quantity(self, symbol: str) -> Decimal:
        """Units held; below zero for short."""
        position = self.positions.get(symbol)
        return NOTHING if position is None else position.quantity

    def put(self, symbol: str, position: Position) -> None:
        """Set a position, as it was stored."""
        self._value(self.positions.get(symbol), -1)
        if position.quantity:
            self.positions[symbol] = position
            self._value(position, 1)
        else:
            self.positions.pop(symbol, None)

    def mark(self, symbol: str, price: Decimal) -> None:
        """Value a position at a new price; nothing where none is held."""
        position = self.positions.get(symbol)
        if position is not None and position.mark != price:
            self.put(symbol, Position(position.quantity, position.average, price))

    def apply(self, symbol: str, side: str, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Book one fill."""
        signed = quantity if side == "buy" else -quantity
        paid = EXACT.add(EXACT.multiply(signed, price), fee)
        self.cash = EXACT.subtract(self.cash, paid)
        position = self.positions.get(symbol)
        if position is None:
            self.put(symbol, Position(signed, price, price))
            return
        before = position.quantity
        after = EXACT.add(before, signed)
        average = position.average
        if (before > 0) == (signed > 0):
            value = EXACT.add(EXACT.multiply(before, average), EXACT.multiply(signed, price))
            average = EXACT.divide(value, after).quantize(AVERAGE_STEP, context=EXACT)
        elif (after > 0) != (before > 0):
            average = price
        self.put(symbol, Position(after, average, price))

    def needed(self, symbol: str, side: str, quantity: Decimal, price: Decimal) -> Decimal:
        """By how much an order would raise the gross value of the positions; 0 where it lowers it."""
        before = self.quantity(symbol)
        after = EXACT.add(before, quantity if side == "buy" else -quantity)
        return max(NOTHING, EXACT.multiply(EXACT.subtract(abs(after), abs(before)), price))

    def _value(self, position: Position | None, sign: int) -> None:
        if position is None:
            return
        value = EXACT.multiply(position.quantity, position.mark)
        size = abs(value)
        if sign > 0:
            self.net, self.gross = EXACT.add(self.net, value), EXACT.add(self.gross, size)
        else:
            self.net, self.gross = EXACT.subtract(self.net, value), EXACT.subtract(self.gross, size)
