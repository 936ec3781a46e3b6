"""What a judgement is made from: the proposed action, the account, and what the system knows.

All of it is values. A fact that nobody gave is None, and no rule has a default for it: `number` refuses it by
name, and the rule that asked for it denies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["LARGEST", "SMALLEST", "Account", "Action", "Facts", "Unknown", "number", "show", "show_percent"]

LARGEST = Decimal("1e12")
"""No price, quantity or factor of a real market is larger."""
HUGE = LARGEST * LARGEST
"""No product of two such numbers is larger."""
SMALLEST = Decimal("1e-9")
"""None is smaller, either: it would only serve to hide a large number in a product."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody proposes to do. Prices in the quote currency.

    Attributes:
        kind: The kind of action; only what there are checks for can be approved.
        symbol: What to trade, ASCII capitals.
        side: `buy`, or `sell` to go short.
        entry: `market` or `limit`.
        quantity: Units.
        price: The limit, or the reference price of a market order.
        stop_loss, target: Prices of the protecting legs.
        leverage: What the proposer asks for, times equity.
        position_size_pct: The share of equity that the proposer claims, if he claims one.
    """

    kind: str
    symbol: str
    side: str
    entry: str
    quantity: Decimal | None
    price: Decimal | None
    stop_loss: Decimal | None
    target: Decimal | None
    leverage: Decimal | None
    position_size_pct: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The account as the judge's own books have it. Money in the quote currency.

    Attributes:
        equity: Cash and positions at their marks, now.
        day_start_equity: The same at the start of the day.
        exposures: By symbol, the value of positions (longs and shorts added, not netted), working orders
            and reservations; only symbols that have any.
        open_risk: What is lost from here if every open position and reservation ends at its stop.
    """

    equity: Decimal | None
    day_start_equity: Decimal | None
    exposures: Mapping[str, Decimal] | None
    open_risk: Decimal | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the system knows of itself and of the market.

    Attributes:
        halted: Whether trading is halted; None where nobody knows.
        halt_reason: Why, if it is.
        market_price: The highest price of the symbol that is credible now.
    """

    halted: bool | None
    halt_reason: str = ""
    market_price: Decimal | None = None


class Unknown(Exception):
    """A fact that a rule needs is missing, or cannot be what it claims to be; the message names it."""


def number(name: str, value: object, *, zero: bool = False) -> Decimal:
    """A fact as a number above 0 that a real market can have.

    Args:
        name: The fact's name, for the message.
        value: What was given for it.
        zero: Whether 0 will do.

    Raises:
        Unknown: It is missing, no `Decimal`, NaN, infinite, negative, 0, or beyond `SMALLEST` and `LARGEST`.
    """
    if type(value) is not Decimal:
        raise Unknown(f"`{name}` is missing" if value is None else f"`{name}` is no decimal number")
    if not value.is_finite():
        raise Unknown(f"`{name}` is {value}, not a finite number")
    if SMALLEST <= value <= LARGEST or (zero and value == ZERO):
        return value
    if value <= 0:
        raise Unknown(f"`{name}` must be above 0, is {show(value)}")
    raise Unknown(f"`{name}` is {value:.3E}, beyond {SMALLEST:f} to {LARGEST:f}")


def show(value: Decimal) -> str:
    """A number for people: at most four decimals, no trailing zeros; a huge one with an exponent."""
    if not value.is_finite():
        return str(value)
    if not -HUGE < value < HUGE:
        return f"{value:.4E}"
    return f"{value:.4f}".rstrip("0").rstrip(".")


def show_percent(value: Decimal) -> str:
    """A fraction for people, as a percentage."""
    return f"{show(value * 100)} %"
