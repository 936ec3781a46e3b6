"""The plan builder: a pattern, a price and facts in; entry, stop, target and size out. Pure.

What is promised of every plan: prices are above 0, a stop stands on the losing and a target on the winning
side of the entry, the size is at most the pattern's cap, and a stop that is hit costs at most 2 % of the
equity. Where that cannot be had there is no plan. Whatever was replaced on the way (a level that nobody
knows, a target already passed) is said in the notes.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from actors.page import Direction, LevelStop, MoveStop, MoveTargets, Pattern, RiskTargets, VolatilityStop
from actors.rules import Facts, number

__all__ = ["Blueprint", "build"]

RISK = 0.02
"""Share of the equity that a stop may cost."""
BREAKOUT_OFFSET = 0.005
PULLBACK_OFFSET = 0.02
BEYOND_LEVEL = 0.01
"""How far beyond a level its stop stands, as a fraction of the level."""
SPARE_RANGES = 2.0
SPARE_MOVE = 0.05
"""Stops where the pattern's own cannot be had: average true ranges, else a fraction of the entry."""


class Blueprint(msgspec.Struct, frozen=True):
    """A plan before anybody judged it.

    Attributes:
        entry: `market`, or `limit` at `entry_price`.
        entry_price, stop_loss, target: Prices in the quote currency; the target is the mean of the pattern's,
            weighted by the portions that leave there.
        position_size_pct: Share of the equity, a fraction.
        risk_reward_ratio: Way to the target over way to the stop.
        notes: What a person should know.
    """

    entry: Literal["market", "limit"]
    entry_price: float
    stop_loss: float
    target: float
    position_size_pct: float
    risk_reward_ratio: float
    notes: tuple[str, ...]


def build(
    pattern: Pattern,
    direction: Direction,
    price: float,
    facts: Facts,
    *,
    confidence: float,
    stop_loss: float | None = None,
    target: float | None = None,
) -> Blueprint | None:
    """Build the plan of a pattern.

    Args:
        pattern: The page of the book.
        direction: The side to trade.
        price: The market's price, in the quote currency.
        facts: As `actors.patterns.gather` gives them; levels, `atr`, and the ends of spans are read.
        confidence: Of the match, for the notes.
        stop_loss, target: Prices that the sender named himself; each stands instead of the pattern's if it is
            on its right side of the entry.

    Returns:
        The plan, or None where no target can be had on the winning side, or the price is too small to count
        with.
    """
    side = 1 if direction == "long" else -1
    notes: list[str] = []
    entry = _entry(pattern, side, price)
    stop = _named(stop_loss, -side, entry, "stop", notes)
    if stop is None:
        stop = _stop(pattern, side, entry, facts, notes)
    aim = _named(target, side, entry, "target", notes)
    if aim is None:
        aim = _aim(pattern, side, entry=entry, stop=stop, facts=facts, notes=notes)
    risk = (entry - stop) * side
    if aim is None or risk <= 0 or stop <= 0:
        return None
    reward_to_risk = (aim - entry) * side / risk
    width = risk / entry
    if not (math.isfinite(reward_to_risk) and width > 0):
        return None
    _remark(width, reward_to_risk, confidence, pattern, notes)
    return Blueprint(
        entry="market" if pattern.entry == "market" else "limit",
        entry_price=entry,
        stop_loss=stop,
        target=aim,
        position_size_pct=min(RISK / width, pattern.largest),
        risk_reward_ratio=reward_to_risk,
        notes=tuple(notes),
    )


def _entry(pattern: Pattern, side: int, price: float) -> float:
    if pattern.entry == "breakout":
        return price * (1 + side * BREAKOUT_OFFSET)
    if pattern.entry == "pullback":
        return price * (1 - side * PULLBACK_OFFSET)
    return price


def _named(price: float | None, side: int, entry: float, what: str, notes: list[str]) -> float | None:
    """The sender's own price, if it is on the given side of the entry."""
    if price is None or (price - entry) * side > 0:
        return price
    notes.append(f"the signal's {what} at {price:g} is on the wrong side of the entry; the pattern's stands")
    return None


def _stop(pattern: Pattern, side: int, entry: float, facts: Facts, notes: list[str]) -> float:
    rule = pattern.stop
    atr = number(facts, "atr")
    if isinstance(rule, MoveStop):
        return entry * (1 - side * rule.move)
    if isinstance(rule, VolatilityStop):
        if atr is not None:
            stop = entry - side * rule.ranges * atr
            if _losing(stop, side, entry):
                return stop
    else:
        beyond = _beyond(rule, side, entry, facts)
        if beyond is not None:
            return beyond
        if atr is not None:
            stop = entry - side * SPARE_RANGES * atr
            if _losing(stop, side, entry):
                notes.append(f"no level for the stop is known: it stands {SPARE_RANGES:g} ATR away")
                return stop
    notes.append(f"neither level nor ATR is known for the stop: it stands {SPARE_MOVE:.0%} away")
    return entry * (1 - side * SPARE_MOVE)


def _losing(stop: float, side: int, entry: float) -> bool:
    return stop > 0 and (entry - stop) * side > 0


def _beyond(rule: LevelStop, side: int, entry: float, facts: Facts) -> float | None:
    """The stop beyond the first known level that stands on the losing side of the entry."""
    for field in rule.long if side > 0 else rule.short:
        level = number(facts, field)
        if level is not None and _losing(level, side, entry):
            return level * (1 - side * BEYOND_LEVEL)
    return None


def _aim(pattern: Pattern, side: int, *, entry: float, stop: float, facts: Facts, notes: list[str]) -> float | None:
    """The mean of the targets on the winning side, weighted by what leaves there."""
    rule = pattern.targets
    if isinstance(rule, MoveTargets):
        prices = [entry * (1 + side * level) for level, _ in rule.levels]
    elif isinstance(rule, RiskTargets):
        prices = [entry + (entry - stop) * level for level, _ in rule.levels]
    else:
        start, end = number(facts, rule.start), number(facts, rule.end)
        if start is None or end is None:
            notes.append(f"{rule.start} and {rule.end} are not both known: there is no target")
            return None
        prices = [start + (end - start) * level for level, _ in rule.levels]
    kept = [
        (price, portion)
        for price, (_, portion) in zip(prices, rule.levels, strict=True)
        if price > 0 and (price - entry) * side > 0
    ]
    if not kept:
        return None
    if len(kept) < len(prices):
        gone = len(prices) - len(kept)
        notes.append(f"{gone} of {len(prices)} targets were passed already or out of reach")
    return sum(price * portion for price, portion in kept) / sum(portion for _, portion in kept)


def _remark(width: float, reward_to_risk: float, confidence: float, pattern: Pattern, notes: list[str]) -> None:
    """The original's remarks on a plan."""
    if width > 0.10:
        notes.append(f"wide stop: {width:.1%}")
    elif width < 0.02:
        notes.append(f"tight stop: {width:.1%}")
    if reward_to_risk < 2:
        notes.append(f"low risk-reward: {reward_to_risk:.2f}")
    elif reward_to_risk > 4:
        notes.append(f"excellent risk-reward: {reward_to_risk:.2f}")
    if confidence < 0.70:
        notes.append(f"low confidence: {confidence:.2f}")
    elif confidence > 0.85:
        notes.append(f"high confidence: {confidence:.2f}")
    notes.append(f"hold at most {pattern.hold_hours} h")
