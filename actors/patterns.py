"""Matching: the facts of a moment against the pages of Joey's book (`actors.pattern_book`)."""

from __future__ import annotations

from typing import Any

import msgspec

from actors.messages import Market
from actors.page import Direction, Pattern
from actors.pattern_book import BOOK
from actors.rules import Facts, number
from ark.signal import Signal

__all__ = ["Match", "confidence", "gather", "match"]

FLOOR = 0.6
"""Confidence before the pattern's weight, when all required rules and no preferred one hold."""
MOST_POINTS = 0.4
FIGURES = ("volume_ratio", "rsi", "macd", "macd_signal", "atr")


def _by_first_field(side: str) -> dict[str, tuple[Pattern, ...]]:
    """The patterns of one side by the field of their first required rule: without that field, none can match."""
    pages = [pattern for pattern in BOOK if pattern.direction in (side, "both")]
    return {
        field: tuple(pattern for pattern in pages if pattern.required[0].field == field)
        for field in {pattern.required[0].field: None for pattern in pages}
    }


_SIDES = {side: _by_first_field(side) for side in ("long", "short")}


class Match(msgspec.Struct, frozen=True):
    """A pattern whose required rules all hold, and how sure it is, 0 to 1."""

    pattern: Pattern
    confidence: float


def gather(signal: Signal, market: Market | None) -> dict[str, Any]:
    """Lay the sender's features and the figures of real bars side by side, by the names of the pattern book.

    A feature counts only where no bar gave a figure of that name. Without a volume ratio from bars, it is the
    sender's `volume_ratio`, else `volume_spike`, else `volume` over `avg_volume`.
    """
    facts = dict(signal.features)
    facts.pop("bar", None)
    facts["price"] = signal.price
    if market is not None:
        facts.update(market.facts)
        facts["price"] = market.price
        for name in FIGURES:
            value = getattr(market, name)
            if value is not None:
                facts[name] = value
    if number(facts, "volume_ratio") is None:
        spike, volume = number(facts, "volume_spike"), number(facts, "volume")
        usual = number(facts, "avg_volume")
        if spike is not None:
            facts["volume_ratio"] = spike
        elif volume is not None and usual is not None and usual > 0:
            facts["volume_ratio"] = volume / usual
    return facts


def confidence(pattern: Pattern, facts: Facts) -> float | None:
    """How sure a pattern is: min(1, (0.6 + min(points, 0.4)) * weight); None unless all required rules hold.

    The points are those of the preferred rules that hold. (The original's formula.)
    """
    for rule in pattern.required:
        if not rule.holds(facts):
            return None
    points = sum(wish.points for wish in pattern.preferred if wish.rule.holds(facts))
    return min(1.0, (FLOOR + min(points, MOST_POINTS)) * pattern.weight)


def match(facts: Facts, direction: Direction) -> list[Match]:
    """Find the patterns of one side in the facts, the surest first."""
    found = []
    for field, patterns in _SIDES[direction].items():
        if facts.get(field) is None:
            continue
        for pattern in patterns:
            sure = confidence(pattern, facts)
            if sure is not None:
                found.append(Match(pattern, sure))
    if len(found) > 1:
        found.sort(key=lambda one: (-one.confidence, one.pattern.name))
    return found
