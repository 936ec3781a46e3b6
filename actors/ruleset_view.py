"""What the operator's ruleset looks at: a plan with its size, the market, the account, and what the sender claims.

All of it is values that the judge filled in from his own books and from real bars. What only the sender says
stands in the fields named `claimed_...`: it can count against him, and never instead of what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from actors.breakers import Breakers

__all__ = ["View", "market_type_of", "sector_exposure"]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One plan, as the ruleset sees it. None where something is not known.

    Fractions are of 1. Money is `Decimal`, in the quote currency.

    Attributes:
        symbol: What to trade.
        direction: `long` or `short`.
        now: Seconds since the epoch; in a replay, the time of the bars.
        age_s: Seconds since the signal was made; negative if that lies ahead.
        price: The market's price.
        entry: The price to enter at.
        stop, target: Prices of the protecting legs.
        share: What the symbol would come to, after sizing: held, promised and new, as a share of equity.
        risk_share: What the plan's stop would cost, as a share of equity.
        from_pattern: Whether the plan is a pattern's. A signal with its own size and stop needs none.
        pattern: The pattern's name.
        confidence: The pattern's.
        scores: By dimension, with `weighted_total`.
        holding_hours: How long the pattern expects to hold; None for a signal's own plan.
        catalyst: What the sender says moves the price: a text, or anything with texts in it.
        sources: Where the signal comes from, under every name that is given.
        average_volume: Units a day, on average, from real bars.
        volume: Units of the newest bar.
        atr_share: Average true range over the price.
        market_move: Of the market's symbol since its close of the day before.
        volatility_index: The VIX, in points.
        claimed_market_type, claimed_average_volume, claimed_volatility_index: What the sender's features say.
        day_pnl_share: Realised and unrealised since the day began, over its first equity; negative for a loss.
        week_pnl_share: The same for the week.
        open_positions: Other symbols than this one that are open or promised.
        sector_share: What the symbol's sector would come to, as a share of equity (`sector_exposure`).
        breakers: What the circuit breakers hold, after they were told of day, market and closed trades.
        sized_by: The breakers' factor that the size was multiplied by.
    """

    symbol: str
    direction: str
    now: float
    age_s: float | None
    price: Decimal | None
    entry: Decimal | None
    stop: Decimal | None
    target: Decimal | None
    share: Decimal | None
    risk_share: Decimal | None
    day_pnl_share: Decimal | None
    week_pnl_share: Decimal | None
    open_positions: int | None
    from_pattern: bool
    pattern: str | None = None
    confidence: float | None = None
    scores: dict[str, float] = {}
    holding_hours: float | None = None
    catalyst: object = None
    sources: tuple[object, ...] = ()
    average_volume: float | None = None
    volume: float | None = None
    atr_share: float | None = None
    market_move: float | None = None
    volatility_index: float | None = None
    claimed_market_type: object = None
    claimed_average_volume: object = None
    claimed_volatility_index: object = None
    sector_share: Decimal | None = None
    breakers: Breakers = Breakers()
    sized_by: Decimal = Decimal(1)


def market_type_of(symbol: str) -> str:
    """`crypto` for a pair such as `BTC/USD` or `BTC-USD`, otherwise `equity`. The symbol alone decides."""
    return "crypto" if "/" in symbol or symbol.endswith("-USD") else "equity"


def sector_exposure(
    symbol: str, new: Decimal, exposures: Mapping[str, Decimal], sectors: Mapping[str, str]
) -> Decimal | None:
    """What a symbol's sector would come to, in money, or None where the symbol has no sector.

    Args:
        symbol: What to trade.
        new: What the plan would add.
        exposures: By symbol, what is held and promised.
        sectors: The ruleset's.
    """
    sector = sectors.get(symbol)
    if sector is None:
        return None
    return sum((value for other, value in exposures.items() if sectors.get(other) == sector), new)
