"""What the ruleset and the synthesis look at, put together from a case, a proposal and the account. Pure."""

from __future__ import annotations

from decimal import Decimal, DecimalException

import msgspec

from actors.breakers import Breakers
from actors.messages import Case, Market, Setup
from actors.pattern_book import BOOK
from actors.patterns import confidence, gather
from actors.portfolio import Totals
from actors.proposal import Proposal
from actors.ruleset_view import View, sector_exposure
from actors.scoring import score
from actors.synthesis import Claim, claims_of
from graveyard import LARGEST, Account

__all__ = ["Recount", "claims_in", "recounted", "view_of"]

ZERO = Decimal(0)
_PATTERNS = {
    (pattern.name, side): pattern
    for pattern in BOOK
    for side in ("long", "short")
    if pattern.direction in (side, "both")
}


class Recount(msgspec.Struct, frozen=True):
    """A pattern counted again.

    Attributes:
        confidence: How sure it is.
        scores: By dimension, with `weighted_total`.
    """

    confidence: float
    scores: dict[str, float]


def view_of(
    case: Case,
    setup: Setup,
    proposal: Proposal,
    account: Account,
    *,
    totals: Totals,
    breakers: Breakers,
    sized_by: Decimal,
    sectors: dict[str, str],
    now: float,
    age_s: float | None,
    market_move: float | None,
    volatility: float | None,
) -> View:
    """The plan as the ruleset sees it.

    Args:
        case, setup, proposal: What is proposed.
        account: HRM's books.
        totals: Where day and week began.
        breakers, sized_by: What the breakers hold, and what they made of the size.
        sectors: The ruleset's.
        now: Seconds since the epoch; in a replay, the time of the bars.
        age_s: Seconds since the signal was made.
        market_move, volatility: What the market's own symbols last showed.
    """
    signal, market, action = case.signal, case.market, proposal.action
    features = signal.features
    equity, exposures = account.equity, account.exposures or {}
    value = _value(action.quantity, proposal.worst)
    risk = _value(action.quantity, _distance(action.price, action.stop_loss))
    held = exposures.get(action.symbol, ZERO)
    sector = None if value is None else sector_exposure(action.symbol, value, exposures, sectors)
    page = _PATTERNS.get((setup.pattern or "", setup.direction))
    planned = signal.stop_loss is None or (signal.quantity is None and signal.position_size_pct is None)
    return View(
        symbol=signal.symbol,
        direction=setup.direction,
        now=now,
        age_s=age_s,
        price=_price(market, signal.price),
        entry=action.price,
        stop=action.stop_loss,
        target=action.target,
        share=None if value is None else _over(held + value, equity),
        risk_share=None if risk is None else _over(risk, equity),
        day_pnl_share=None if equity is None else _over(equity - totals.day_start_equity, totals.day_start_equity),
        week_pnl_share=None
        if equity is None
        else _over(equity - totals.week_start_equity, totals.week_start_equity),
        open_positions=len(exposures) - (action.symbol in exposures),
        from_pattern=planned,
        pattern=setup.pattern,
        confidence=setup.confidence if setup.pattern else None,
        # Without a pattern nobody counts them again, and nothing is built on them.
        scores=setup.scores if setup.pattern else {},
        holding_hours=page.hold_hours if page is not None and planned else None,
        catalyst=features.get("catalyst") if features else None,
        sources=(signal.source, features["source"]) if "source" in features else (signal.source,),
        average_volume=_fact(market, "avg_volume"),
        volume=_fact(market, "volume"),
        atr_share=None if market is None or market.atr is None or not market.close else market.atr / market.close,
        market_move=market_move,
        volatility_index=volatility,
        claimed_market_type=features.get("market_type") if features else None,
        claimed_average_volume=features.get("avg_volume") if features else None,
        claimed_volatility_index=features.get("vix") if features else None,
        sector_share=None if sector is None else _over(sector, equity),
        breakers=breakers,
        sized_by=sized_by,
    )


def claims_in(case: Case, proposal: Proposal, account: Account, *, fresh: bool) -> tuple[Claim, ...]:
    """What the signal says of itself that can be held against something.

    Args:
        case, proposal, account: As in `view_of`.
        fresh: Whether the newest bar is young enough for its close to be held against the signal's price.
    """
    signal, market, action = case.signal, case.market, proposal.action
    ratio = size = None
    if signal.risk_reward_ratio is not None:
        risk, reward = _distance(action.price, action.stop_loss), _distance(action.target, action.price)
        if risk and reward is not None:
            ratio = float(reward / risk)
    if signal.position_size_pct is not None and signal.quantity is not None:
        # What the sender named, before a breaker made less of it.
        share = _over(_value(Decimal(str(signal.quantity)), action.price) or ZERO, account.equity)
        size = None if share is None else float(share)
    return claims_of(
        claimed_price=signal.price,
        close=market.close if fresh and market is not None else None,
        claimed_ratio=signal.risk_reward_ratio,
        ratio=ratio,
        claimed_size=signal.position_size_pct,
        size=size,
    )


def recounted(case: Case, setup: Setup) -> Recount | None:
    """How sure the setup's pattern is, and its scores, counted again from what Joey was given.

    None where no pattern is named, or where it does not hold.
    """
    pattern = _PATTERNS.get((setup.pattern or "", setup.direction))
    if pattern is None:
        return None
    facts = gather(case.signal, case.market)
    sure = confidence(pattern, facts)
    return None if sure is None else Recount(sure, score(facts, setup.direction, pattern.weights))


def _price(market: Market | None, price: float) -> Decimal:
    return Decimal(str(market.price if market is not None else price))


def _fact(market: Market | None, name: str) -> float | None:
    value = None if market is None else market.facts.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _value(quantity: Decimal | None, price: Decimal | None) -> Decimal | None:
    """A product, where both are numbers that a market can have."""
    if quantity is None or price is None or not (quantity.is_finite() and price.is_finite()):
        return None
    return quantity * price if abs(quantity) <= LARGEST * LARGEST and abs(price) <= LARGEST else None


def _distance(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None or not (one.is_finite() and other.is_finite()):
        return None
    return abs(one - other)


def _over(part: Decimal, whole: Decimal | None) -> Decimal | None:
    if whole is None or not whole > 0:
        return None
    try:
        return part / whole
    except DecimalException:
        return None
