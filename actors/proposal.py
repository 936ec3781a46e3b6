"""What is proposed, to the last digit: a setup turned into an action that can be judged. Pure.

Prices move to their ticks in the direction that keeps the plan's word: the entry never worse, the stop never
further, the target never nearer than was asked for. Quantities are rounded down, never up.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from actors.messages import Case, Plan, Setup
from graveyard import LARGEST, Action, tick_of

__all__ = ["Proposal", "propose", "quantity_for", "to_tick"]

FRACTION_OF_UNIT = Decimal("0.000001")
"""The step of quantities that are computed where fractions of a unit may be traded."""
WHOLE_UNIT = Decimal(1)
"""The same where they may not."""
ADMISSIONS = ("manipulative_intent", "insider_information")
"""Features by which a sender speaks against himself. What speaks for him is not read."""

ZERO = Decimal(0)


class Proposal(msgspec.Struct, frozen=True):
    """An action with what its reservation needs.

    Attributes:
        action: What is proposed.
        worst: The worst price at which it may be filled, quote currency.
        sized_by: What a breaker made of the size, at most 1.
    """

    action: Action
    worst: Decimal
    sized_by: Decimal = WHOLE_UNIT

    def plan(self, trace_id: str, good_until: float) -> Plan:
        """The plan for Kenny.

        Args:
            trace_id: The signal that it is for.
            good_until: Until when its entry may wait, seconds since the epoch.

        Raises:
            ValueError: A number is missing that no approved action can lack.
        """
        action = self.action
        if action.quantity is None or action.price is None or action.stop_loss is None:
            raise ValueError("an action without quantity, price or stop is no plan")
        return Plan(
            trace_id,
            action.symbol,
            action.side,  # type: ignore[arg-type]
            action.quantity,
            action.entry,  # type: ignore[arg-type]
            action.price,
            action.stop_loss,
            action.target,
            good_until,
        )


def propose(
    case: Case,
    setup: Setup,
    *,
    market: Decimal,
    equity: Decimal | None,
    fractional: bool = False,
    factor: Decimal = WHOLE_UNIT,
) -> Proposal:
    """Turn a setup into an action.

    Args:
        case: For the signal's own words.
        setup: What Joey wants done.
        market: The highest price of the symbol that is credible now.
        equity: Of the account, for a size that is named as a share of it.
        fractional: Whether a computed quantity may be a fraction of a unit.
        factor: What a breaker makes of the size, at most 1.
    """
    signal, long = case.signal, setup.direction == "long"
    price = to_tick(setup.entry_price, up=not long)
    worst = price
    if (setup.entry != "limit" or not long) and price.is_finite() and market.is_finite():
        worst = price if price >= market else market
    share, quantity = _number(setup.position_size_pct), _number(setup.quantity)
    step = FRACTION_OF_UNIT if fractional else WHOLE_UNIT
    if quantity is None and share is not None and equity is not None:
        quantity = quantity_for(
            share * factor if share.is_finite() else share, equity, worst, fractional=fractional
        )
    elif quantity is not None and factor < 1 and quantity.is_finite() and abs(quantity) <= LARGEST:
        # What is larger, or no number, is the judge's to deny; it does not divide.
        quantity = quantity * factor // step * step
    action = Action(
        signal.action,
        signal.symbol,
        "buy" if long else "sell",
        setup.entry,
        quantity,
        price,
        None if setup.stop_loss is None else to_tick(setup.stop_loss, up=long),
        None if setup.target is None else to_tick(setup.target, up=long),
        _number(setup.leverage),
        share,
        _reasons(case, setup),
        tuple([name for name in ADMISSIONS if signal.features.get(name)]) if signal.features else (),
    )
    return Proposal(action, worst, factor)


def _reasons(case: Case, setup: Setup) -> tuple[str, ...]:
    reasons = []
    if setup.pattern:
        reasons.append(setup.pattern)
    catalyst = case.signal.features.get("catalyst") if case.signal.features else None
    if isinstance(catalyst, str) and catalyst:
        reasons.append(catalyst[:200])
    if case.signal.source:
        reasons.append(f"source {case.signal.source}")
    return (*reasons, *setup.notes)


def _number(value: float | None) -> Decimal | None:
    """A float as the decimal number that a person would write for it; NaN and infinities as they are."""
    return None if value is None else Decimal(str(value))


def to_tick(value: float, *, up: bool) -> Decimal:
    """A price on its tick; what is no price at all stays as it is, for the judge to see.

    The noise of binary arithmetic (110.00000000000001) is taken off first.
    """
    number = Decimal(f"{value:.8f}")
    if not number.is_finite() or not ZERO < number <= LARGEST:
        return number
    return number.quantize(tick_of(number), ROUND_CEILING if up else ROUND_FLOOR)


def quantity_for(share: Decimal, equity: Decimal, price: Decimal, *, fractional: bool) -> Decimal:
    """How many units a share of equity buys at a price: rounded down, never up."""
    if not (share.is_finite() and equity.is_finite() and price.is_finite()):
        return ZERO
    room = share * equity
    if not (room > ZERO and ZERO < price <= LARGEST):
        return ZERO
    step = FRACTION_OF_UNIT if fractional else WHOLE_UNIT
    if not room / price < LARGEST:
        return LARGEST * LARGEST  # for the judge to deny
    return room // (price * step) * step
