"""The weighted synthesis: the last level of the judge's hierarchy, over levels made from real figures. Pure.

| level | weight | from |
|---|---|---|
| graveyard | 1.0 | how many of the rules that were judged had nothing to warn of |
| truth | 0.5 | how far the signal's own claims agree with what is known, and its source's record |
| risk | 0.7 | how much room the limits of the account leave |
| context | 0.3 | how sure the pattern is, and how good the setup looks |

A score of 0.7 or more approves, of 0.4 or more holds for a person, anything less denies. The weights and thresholds
are the original's, which asked agents that could not answer and took constants instead (truth 0.8, risk 0.5,
context 0.5), so that everything without a violation was approved at 0.75. Here, a level of which nothing is
known is left out, and the weights of the others count for more: no constant stands for knowledge.

Each level lies between 0 and 1. More use of a limit never raises one, and more agreement never lowers one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

__all__ = [
    "WEIGHTS",
    "Claim",
    "Record",
    "Synthesis",
    "Thresholds",
    "claims_of",
    "context_level",
    "graveyard_level",
    "risk_level",
    "synthesize",
    "truth_level",
]

WEIGHTS: dict[str, float] = {"graveyard": 1.0, "context": 0.3, "truth": 0.5, "risk": 0.7}
"""What each level counts for."""

PRICE_NEAR, RATIO_NEAR, SIZE_NEAR = 0.005, 0.05, 0.05
"""How near a claimed price, risk-reward ratio and size are to what is known where they agree, as fractions of it:
a price moves a little on its way, and ticks and whole units round the others."""
FAR = 10
"""A claim that is so many times further off than that agrees not at all."""
DIMENSIONS = ("technical", "fundamental", "catalyst", "sentiment")
"""Of a setup's scores. Without any of them, its total says nothing."""


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which score on a plan is approved, or held for a person. Both may only rise.

    Attributes:
        approve: The lowest score that approves.
        hold: The lowest score that is put before a person; at most `approve`.
    """

    approve: float = 0.7
    hold: float = 0.4


class Synthesis(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        score: The weighted mean of the levels that are known, 0 to 1; 0 where none is.
        zone: `approve`, `hold` or `deny`.
        levels: Those that are known.
    """

    score: float
    zone: Literal["approve", "hold", "deny"]
    levels: dict[str, float]


_ORIGINAL = Thresholds()


def synthesize(levels: Mapping[str, float | None], thresholds: Thresholds = _ORIGINAL) -> Synthesis:
    """Weigh the levels.

    Args:
        levels: By the names of `WEIGHTS`; None, or absent, where nothing is known. A NaN counts as 0, and what
            lies outside of 0 to 1 as the nearer of the two.
        thresholds: For the zones.

    Raises:
        KeyError: There is no such level.
    """
    known = {name: _bounded(level) for name, level in levels.items() if level is not None}
    weight = math.fsum(WEIGHTS[name] for name in known)
    # Rounded, so that binary arithmetic keeps nobody out who is exactly at a threshold.
    score = 0.0
    if weight > 0:
        score = round(math.fsum(WEIGHTS[name] * level for name, level in known.items()) / weight, 9)
    zone: Literal["approve", "hold", "deny"] = "deny"
    if known and score >= thresholds.approve:
        zone = "approve"
    elif known and score >= thresholds.hold:
        zone = "hold"
    return Synthesis(score, zone, known)


def graveyard_level(rules_judged: int, warnings: int) -> float:
    """How many of the rules had nothing to warn of, as a fraction.

    Args:
        rules_judged: Of the Graveyard, or of Graveyard and ruleset together. Where none was judged, 0 comes out.
        warnings: Of the same rules; without those that only say that a fact of a live market is missing on
            paper (`Finding.unknown` of the ruleset): they tell of the account's surroundings, not of the plan.
    """
    if rules_judged <= 0:
        return 0.0
    return _bounded(1 - max(warnings, 0) / rules_judged)


def context_level(confidence: float | None, scores: Mapping[str, float]) -> float | None:
    """How sure the pattern is and how good the setup looks: the mean of what is known of the two.

    Args:
        confidence: The pattern's; None where there is no pattern.
        scores: The setup's, by dimension, with `weighted_total`.
    """
    total = scores.get("weighted_total") if any(name in scores for name in DIMENSIONS) else None
    known = [_bounded(value) for value in (confidence, total) if value is not None]
    return math.fsum(known) / len(known) if known else None


class Claim(msgspec.Struct, frozen=True):
    """Something that a signal says of itself, beside what is known of it.

    Attributes:
        name: What it is about.
        claimed: The signal's figure.
        known: The judge's own.
        near: How far apart the two may be to agree, as a fraction of the known one.
    """

    name: str
    claimed: float
    known: float
    near: float

    @property
    def agrees(self) -> bool:
        """Whether it counts as agreeing in the record of its source."""
        return self.agreement == 1.0

    @property
    def agreement(self) -> float:
        """1 for a claim that is near, falling to 0 for one that is `FAR` times further off."""
        if not (math.isfinite(self.claimed) and math.isfinite(self.known)) or self.known == 0:
            return 1.0 if self.claimed == self.known else 0.0
        off = abs(self.claimed - self.known) / abs(self.known)
        if off <= self.near:
            return 1.0
        return max(0.0, 1 - (off - self.near) / ((FAR - 1) * self.near))


def claims_of(
    *,
    claimed_price: float | None = None,
    close: float | None = None,
    claimed_ratio: float | None = None,
    ratio: float | None = None,
    claimed_size: float | None = None,
    size: float | None = None,
) -> tuple[Claim, ...]:
    """The claims of a signal that can be held against something.

    Args:
        claimed_price, close: The signal's price, and the close of the bar that it came with.
        claimed_ratio, ratio: The signal's `risk_reward_ratio`, and the one that follows from its prices.
        claimed_size, size: The signal's `position_size_pct`, and its quantity times its price over the equity.
    """
    pairs = (
        ("price", claimed_price, close, PRICE_NEAR),
        ("risk_reward_ratio", claimed_ratio, ratio, RATIO_NEAR),
        ("position_size_pct", claimed_size, size, SIZE_NEAR),
    )
    return tuple(
        Claim(name, claimed, known, near)
        for name, claimed, known, near in pairs
        if claimed is not None and known is not None
    )


class Record(msgspec.Struct, frozen=True):
    """What a source's claims came to so far.

    Attributes:
        agreeing, disagreeing: How many of them did and did not agree with what was known.
    """

    agreeing: int = 0
    disagreeing: int = 0

    def after(self, claims: Iterable[Claim]) -> Record:
        """The record with these claims in it."""
        verdicts = [claim.agrees for claim in claims]
        right = sum(verdicts)
        return Record(self.agreeing + right, self.disagreeing + len(verdicts) - right)

    @property
    def trust(self) -> float:
        """The share of agreeing claims after Laplace: one of each is taken for granted, so ½ without any."""
        return (self.agreeing + 1) / (self.agreeing + self.disagreeing + 2)


def truth_level(claims: Iterable[Claim], record: Record | None = None) -> float | None:
    """How far a signal can be believed.

    The mean of two halves: how far its claims agree, and its source's record. Without claims it is the record
    alone. A source without a record has ½ in its place, so that the first claim that agrees raises the level
    and does not lower it.

    Args:
        claims: Of this signal.
        record: Of its source before this signal; None, or an empty one, where there is none.

    Returns:
        None where there is nothing to compare and no record.
    """
    record = record or Record()
    degrees = [claim.agreement for claim in claims]
    if degrees:
        return (math.fsum(degrees) / len(degrees) + record.trust) / 2
    return record.trust if record.agreeing or record.disagreeing else None


def risk_level(position: float, leverage: float, daily_loss: float) -> float:
    """How much room the account's limits leave: 1 less the mean of the shares of them that are used.

    Args:
        position: What the symbol would come to, with this plan, over the largest position that is allowed.
        leverage: All exposure, with this plan, over the most that is allowed.
        daily_loss: The day's loss, what all open trades may still lose at their stops and what this plan may,
            over the largest loss of a day. Each counts as 1 where it is beyond its limit or no number.
    """
    used = [1.0 if math.isnan(share) else _bounded(share) for share in (position, leverage, daily_loss)]
    return 1 - math.fsum(used) / len(used)


def _bounded(value: float) -> float:
    """The value within 0 and 1; NaN is 0."""
    return 0.0 if math.isnan(value) else min(1.0, max(0.0, float(value)))
