"""The account as people see it: what it is worth, and what is held. Pure.

Money, prices and quantities are decimals as text, with at most `PLACES` places behind the point; shares are
numbers, 0.05 for 5 %.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from actors.portfolio import Lot, Origin, Portfolio

__all__ = ["Opened", "Position", "Statement", "fall", "statement"]

PLACES = 8
ZERO = Decimal(0)


class Position(msgspec.Struct, frozen=True):
    """All that is held of a symbol on one side.

    Attributes:
        symbol: What is held.
        side: `long` or `short`.
        quantity: Units, above 0 on either side.
        entry_price: The mean price of the entries.
        price: The newest one that a bar or a fill showed.
        value: Quantity times price.
        profit: What it would bring if it were closed at that price, before fees.
    """

    symbol: str
    side: Literal["long", "short"]
    quantity: str
    entry_price: str
    price: str
    value: str
    profit: str


class Opened(msgspec.Struct, frozen=True):
    """A symbol with a position or an order that works, and where that came from: for whoever shares out signals.

    Attributes:
        symbol: The symbol.
        source, band: Of the signal that opened it, the first where there are several; see `Origin`. None where
            that is not known.
    """

    symbol: str
    source: str | None
    band: str | None


class Statement(msgspec.Struct, frozen=True):
    """The account.

    Attributes:
        equity: Cash, and what is held at its newest prices.
        cash: Money, after everything that was bought, sold and paid in fees.
        currency: What money is counted in.
        day_change: Equity against the day's first one, as a share of that.
        drawdown: The fall of equity below its highest, as a share of that.
        positions: By symbol and side.
        opened: By symbol.
    """

    equity: str
    cash: str
    currency: str
    day_change: float
    drawdown: float
    positions: tuple[Position, ...]
    opened: tuple[Opened, ...] = ()


def statement(portfolio: Portfolio, highest: Decimal, currency: str) -> Statement:
    """The account as it stands.

    Args:
        portfolio: HRM's books.
        highest: The highest equity that there was.
        currency: What money is counted in.
    """
    equity, start = portfolio.equity, portfolio.totals.day_start_equity
    sides: dict[tuple[str, bool], list[Lot]] = {}
    for lot in portfolio.lots:
        sides.setdefault((lot.symbol, lot.quantity > 0), []).append(lot)
    return Statement(
        _text(equity),
        _text(portfolio.totals.cash),
        currency,
        -fall(equity, start),
        max(0.0, fall(equity, highest)),
        tuple([_position(portfolio, *key, sides[key]) for key in sorted(sides)]),
        _opened(portfolio),
    )


def fall(value: Decimal, before: Decimal) -> float:
    """By what share something fell, negative where it rose; 0 where that cannot be told."""
    return float((before - value) / before) if before > 0 else 0.0


def _opened(portfolio: Portfolio) -> tuple[Opened, ...]:
    first: dict[str, Origin | None] = {}
    for lot in portfolio.lots:
        first.setdefault(lot.symbol, lot.origin)
    for promised in portfolio.reservations.values():
        first.setdefault(promised.symbol, promised.origin)
    return tuple(
        [
            Opened(symbol, None if origin is None else origin.source, None if origin is None else origin.band)
            for symbol, origin in sorted(first.items())
        ]
    )


def _position(portfolio: Portfolio, symbol: str, is_long: bool, lots: list[Lot]) -> Position:
    quantity = sum((lot.quantity for lot in lots), ZERO)
    cost = sum((lot.cost for lot in lots), ZERO)
    mark = portfolio.mark_of(symbol)
    price = cost / quantity if mark is None else mark.price
    return Position(
        symbol,
        "long" if is_long else "short",
        _text(abs(quantity)),
        _text(cost / quantity),
        _text(price),
        _text(abs(quantity) * price),
        _text(quantity * price - cost),
    )


def _text(number: Decimal) -> str:
    text = f"{number:.{PLACES}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
