"""Where the paper broker's orders would have been filled: pure functions of an order and a bar.

A bar does not tell in which order its prices came. Where that matters the worse case is taken: the stop
before the target, and no target within the bar of the entry.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

import msgspec

from actors.brokers import Order
from ark.signal import Bar

__all__ = ["EXACT", "Candle", "Costs", "candle_of", "enter", "fee", "leave", "slip"]

EXACT = Context(prec=64, rounding=ROUND_HALF_EVEN)
"""Enough digits for a quantity times a price at the door's bounds, and for their sums, without rounding."""
PRICE_STEP = Decimal("0.00000001")
FEE_STEP = Decimal("0.0001")


class Costs(msgspec.Struct, frozen=True):
    """What trading costs.

    The fee is Interactive Brokers' fixed schedule for shares in the United States (IBKR Pro): 0.005 USD a
    share, at least 1.00 USD an order, at most 1 % of the order's value, which wins over the minimum.

    Attributes:
        fee_per_share: Quote currency per unit.
        fee_minimum: Quote currency per fill.
        fee_maximum_pct: Share of the fill's value.
        slippage_bps: By how much market and stop fills are worse than their price, in 1/10,000.
    """

    fee_per_share: Decimal = Decimal("0.005")
    fee_minimum: Decimal = Decimal("1.00")
    fee_maximum_pct: Decimal = Decimal("0.01")
    slippage_bps: Decimal = Decimal(1)


class Candle(msgspec.Struct, frozen=True):
    """A bar in counted prices."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


def candle_of(bar: Bar) -> Candle:
    """A bar's prices, each with the digits that its float is written with."""
    return Candle(
        Decimal(repr(bar.open)), Decimal(repr(bar.high)), Decimal(repr(bar.low)), Decimal(repr(bar.close))
    )


def slip(price: Decimal, side: str, costs: Costs) -> Decimal:
    """A price made worse by the slippage: higher for a buyer, lower for a seller."""
    change = EXACT.multiply(price, costs.slippage_bps).scaleb(-4, EXACT)
    worse = EXACT.add(price, change) if side == "buy" else EXACT.subtract(price, change)
    return worse.quantize(PRICE_STEP, context=EXACT)


def fee(quantity: Decimal, price: Decimal, costs: Costs) -> Decimal:
    """What the broker takes for one fill, quote currency."""
    most = EXACT.multiply(EXACT.multiply(quantity, price), costs.fee_maximum_pct)
    amount = min(max(EXACT.multiply(quantity, costs.fee_per_share), costs.fee_minimum), most)
    return amount.quantize(FEE_STEP, context=EXACT)


def enter(order: Order, candle: Candle) -> Decimal | None:
    """What an open limit entry gets in a bar: the limit, or the open if that is better; None: not reached."""
    if order.side == "buy":
        return min(order.price, candle.open) if candle.low <= order.price else None
    return max(order.price, candle.open) if candle.high >= order.price else None


def leave(
    order: Order, candle: Candle, costs: Costs, entered: Decimal | None = None
) -> tuple[Literal["stop", "target"], Decimal] | None:
    """Which leg ends a position within a bar, and at what price.

    The stop comes first where a bar reaches both legs. A bar that opens beyond the stop fills it at the open,
    as does a bar that opens beyond the target. The stop pays slippage, the target does not.

    Args:
        order: The order whose entry is filled.
        candle: The bar.
        costs: For the slippage.
        entered: What the entry got within this same bar. The target is not believed then, because nobody
            knows which price came first; the stop is, and fills no better than the entry.
    """
    first = candle.open if entered is None else entered
    stop, target = order.stop_loss, order.target
    if order.side == "buy":
        if stop is not None and candle.low <= stop:
            return "stop", slip(min(first, stop), "sell", costs)
        if entered is None and target is not None and candle.high >= target:
            return "target", max(first, target)
    else:
        if stop is not None and candle.high >= stop:
            return "stop", slip(max(first, stop), "buy", costs)
        if entered is None and target is not None and candle.low <= target:
            return "target", min(first, target)
    return None
