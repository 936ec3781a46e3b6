"""What a page of the pattern book holds: rules, weights, and how to get in and out."""

from __future__ import annotations

from typing import Literal

import msgspec

from actors.rules import Rule

__all__ = [
    "CEILING",
    "Direction",
    "LevelStop",
    "MoveStop",
    "MoveTargets",
    "Pattern",
    "Preferred",
    "RiskTargets",
    "SpanTargets",
    "Stop",
    "Targets",
    "VolatilityStop",
    "Weights",
]

CEILING = 0.10
"""No pattern takes a larger share of the equity (the rule book's max_position_size)."""

Direction = Literal["long", "short"]
Levels = tuple[tuple[float, int], ...]
"""Pairs of a level and the percentage of the position that leaves there."""


class MoveStop(msgspec.Struct, frozen=True):
    """A stop at a fraction of the entry price against it."""

    move: float


class VolatilityStop(msgspec.Struct, frozen=True):
    """A stop at so many average true ranges against the entry."""

    ranges: float


class LevelStop(msgspec.Struct, frozen=True):
    """A stop 1 % beyond the first of these fields that is known, on the losing side of the entry."""

    long: tuple[str, ...]
    short: tuple[str, ...] = ()


Stop = MoveStop | VolatilityStop | LevelStop


class MoveTargets(msgspec.Struct, frozen=True):
    """Levels as fractions of the entry price."""

    levels: Levels


class RiskTargets(msgspec.Struct, frozen=True):
    """Levels as multiples of the distance between entry and stop."""

    levels: Levels


class SpanTargets(msgspec.Struct, frozen=True):
    """Levels as fractions of the way from one field's price to another's: of a gap, or of a panic's fall."""

    levels: Levels
    start: str
    end: str


Targets = MoveTargets | RiskTargets | SpanTargets


class Preferred(msgspec.Struct, frozen=True):
    """A rule that makes a pattern surer by its points."""

    points: float
    rule: Rule


class Weights(msgspec.Struct, frozen=True):
    """What each dimension of the score counts for a pattern; they add up to 1."""

    technical: float = 0.35
    fundamental: float = 0.25
    catalyst: float = 0.25
    sentiment: float = 0.15


class Pattern(msgspec.Struct, frozen=True):
    """One page of the book.

    Attributes:
        name: Its id. A name may stand twice, once for each direction.
        direction: The side it trades, or `both`.
        family: momentum, mean_reversion, momentum_reversal.
        weight: The ceiling of its confidence; `FLOOR` times it is the lowest.
        required: All of these must hold.
        preferred: Each of these that holds adds points, 0.4 in all at most.
        entry: How to get in: `market`; `breakout` (a limit 0.5 % beyond the price); `pullback` (a limit 2 %
            on the near side of it); `limit` (a limit at the price).
        stop, targets: How to get out.
        largest: The largest share of the equity.
        hold_hours: How long it is worth waiting for.
        weights: Of the dimensions of its score.
    """

    name: str
    direction: Literal["long", "short", "both"]
    family: str
    weight: float
    required: tuple[Rule, ...]
    preferred: tuple[Preferred, ...]
    entry: Literal["market", "breakout", "pullback", "limit"]
    stop: Stop
    targets: Targets
    largest: float
    hold_hours: int
    weights: Weights = Weights()

    def __post_init__(self) -> None:
        if not 0 < self.largest <= CEILING:
            raise ValueError(f"{self.name}: `largest` must be above 0 and at most {CEILING}")
