"""Evidence for and against a release, as the natural logarithm of a test martingale. Pure.

Each function here weighs one claim, the null hypothesis, by counts. What it gives is the logarithm of a number
that has an expectation of at most 1 at any moment at which one may choose to stop, as long as the claim is
true. By Ville's inequality a true claim then drives it to `1 / error` at any time, ever, with a probability of
at most `error`: one may look after every signal, and stop at the first crossing.

Every factor of every martingale depends on one event and its segment only, so the product depends on the
counts, and not on their order. Whoever was restarted and reads the counts again goes on where it was. A segment
that is split in two gives the same evidence.

Sources: Ville 1939; Robbins, "Statistical methods related to the law of the iterated logarithm", 1970 (mixtures);
Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
Statistics 2021; Lindon and Malek, NeurIPS 2022 (counts of two arms, conditioned on their sum); Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting", 2024 (bets on a bounded mean).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    "RATIOS",
    "Split",
    "above",
    "all_of",
    "any_of",
    "average",
    "excess",
    "more_often",
    "no_excess",
    "off_share",
    "odds_share",
    "turned",
    "unlike_twice",
]

RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times more often a fault may happen: the alternatives that evidence of harm is spread over."""
_CLOSE = (1.05, 1.1, 1.25, 1.5, 2.0, 5.0)
"""By how much the odds of a split may be off: its alternatives, in both directions."""
_HEALTHY = (0.5, 0.8, 1.0)
"""How often, as a multiple of the control's, a healthy release fails: the alternatives of evidence of health."""
_EXCEEDANCES = (1.5, 2.0, 4.0, 8.0, 16.0)
"""The alternatives to a share of slow signals, as multiples of what is allowed."""
_BETS = ((1.0, 0.5), (0.9, 0.125), (0.5, 0.125), (0.2, 0.125), (0.05, 0.125))
"""Bets against an excess: the part of the highest possible stake, and how much of the money is put on it. The
highest stake grows fastest where nothing ever differs, and is lost with the first excess; low ones bear noise."""


class Split(NamedTuple):
    """How the events of one segment fell between two arms.

    Attributes:
        share: The first arm's share of what the events come from, 0 to 1.
        events: How many events both arms had together.
        first: How many of them the first arm had.
    """

    share: float
    events: int
    first: int


def odds_share(share: float, ratio: float) -> float:
    """The share of the events that is the first arm's when it has them `ratio` times as often as the second."""
    return ratio * share / (ratio * share + 1 - share)


def turned(splits: Iterable[Split]) -> list[Split]:
    """The same events with the arms exchanged."""
    return [Split(1 - split.share, split.events, split.events - split.first) for split in splits]


def more_often(splits: Sequence[Split], margin: float = 1.0) -> float:
    """Evidence that the first arm has the events more often: against "at most `margin` times as often".

    Under equal rates each event is the first arm's with the probability of its share, whatever the rate does over
    time. The evidence is a mixture of likelihood ratios over `RATIOS`; what is below the margin is no
    alternative.

    Args:
        splits: The events, by segment; one without two arms says nothing.
        margin: The ratio up to which a difference is of no matter, 1 or more.
    """
    return average([_likelihood(splits, ratio, margin) for ratio in RATIOS if ratio > margin])


def unlike_twice(splits: Sequence[Split], ratio: float = 2.0) -> float:
    """Evidence that the first arm has the events less than `ratio` times as often: against "at least so often"."""
    return average([_likelihood(splits, healthy, ratio) for healthy in _HEALTHY])


def off_share(splits: Sequence[Split], margin: float = 1.0) -> float:
    """Evidence that units do not fall on the arms by their share, in either direction.

    Args:
        splits: The units, by segment.
        margin: The ratio of odds, in either direction, up to which it is of no matter.
    """
    other = turned(splits)
    return average(
        [_likelihood(each, ratio, margin) for each in (splits, other) for ratio in _CLOSE if ratio > margin]
    )


def above(events: int, slow: int, allowed: float = 0.05) -> float:
    """Evidence that more than an `allowed` share of all events is slow: against "at most that share".

    The alternatives are 1.5, 2, 4, 8 and 16 times that share, as far as there is such a share.
    """
    shares = [allowed * times for times in _EXCEEDANCES if allowed * times < 1]
    return average([_bernoulli(events, slow, share, allowed) for share in shares])


def excess(signals: int, first: int, second: int = 0, tolerance: float = 0.0) -> float:
    """Evidence that the first arm's trouble exceeds the second's by more than is tolerated.

    It weighs the claim "the share of signals that are bad at the first arm only, less the share of those that
    are bad at the second only, is at most `tolerance`", by bets as in `no_excess` with the other sign. Without
    a tolerance it is McNemar's test as a martingale: `more_often` of the signals on which the arms differ, with
    a share of 1/2.

    Args:
        signals: How many signals both arms had.
        first, second: How many of them were bad at the one arm and not at the other.
        tolerance: The excess that is of no matter, as a share of the signals.
    """
    same = max(0, signals - first - second)
    logs = []
    for ratio in RATIOS:
        stake = (ratio - 1) / (ratio + 1) / (1 + tolerance)
        logs.append(
            first * math.log1p(stake * (1 - tolerance))
            + same * math.log1p(-stake * tolerance)
            + second * math.log1p(-stake * (1 + tolerance))
        )
    return average(logs)


def no_excess(signals: int, first: int, second: int = 0, limit: float = 0.01) -> float:
    """Evidence that the first arm's trouble exceeds the second's by less than `limit` of all signals.

    It weighs the claim "the share of signals that are bad at the first arm only, less the share of those that
    are bad at the second only, is at least `limit`". For a signal with the difference d (1, 0 or -1) a bet
    multiplies the money by `1 + stake (limit - d)`, which is 1 on average at best while the claim is true. It
    grows where nothing
    ever differs, too: by `-log(1 - limit)` a signal. With `second` at 0 it is the mixture of likelihood ratios
    of a share of 0, 1/10, 1/2, ... of the limit against the limit.

    Args:
        signals: How many signals both arms had.
        first, second: How many of them were bad at the one arm and not at the other. Where that is not known by
            signal, the numbers of bad ones at each arm may stand here: it makes the evidence weaker, never
            stronger.
        limit: The excess that is too much, above 0 and below 1.
    """
    same = signals - first - second  # below 0 where bad ones at both arms stand in both: weaker again
    logs = []
    for part, _ in _BETS:
        stake = part / (1 - limit)
        logs.append(
            _times(first, 1 - part) + same * math.log1p(stake * limit) + second * math.log1p(stake * (1 + limit))
        )
    return average(logs, [weight for _, weight in _BETS])


def average(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The logarithm of the mean of evidences of one claim, which is evidence of it again however they depend.

    Args:
        logs: Their logarithms; without any there is no evidence, 0.
        weights: What each counts for, 1 together; equal ones where absent.
    """
    if not any(logs):
        return 0.0
    if weights is None:
        weights = [1 / len(logs)] * len(logs)
    top = max(logs)
    return top + math.log(sum(weight * math.exp(each - top) for each, weight in zip(logs, weights, strict=True)))


def all_of(*logs: float) -> float:
    """Evidence against each of several claims at once: as much as there is against the one that stands best."""
    return min(logs)


def any_of(*logs: float) -> float:
    """Evidence against a claim that several evidences weigh, in several directions: their mean."""
    return average(logs)


def _likelihood(splits: Iterable[Split], ratio: float, null: float) -> float:
    """The log of the likelihood ratio of "`ratio` times as often" to "`null` times as often"."""
    total = 0.0
    for share, events, first in splits:
        if events and 0 < share < 1:
            own, other = _factors(share, ratio, null)
            total += first * own + (events - first) * other
    return total


@functools.lru_cache(maxsize=4096)
def _factors(share: float, ratio: float, null: float) -> tuple[float, float]:
    """The logs of what an event of the first arm, and one of the second, multiplies that ratio by."""
    # Written out, because shares next to 0 and 1 do not survive a difference from 1.
    other = math.log1p((null - 1) * share) - math.log1p((ratio - 1) * share)
    return math.log(ratio / null) + other, other


def _bernoulli(events: int, first: int, share: float, null: float) -> float:
    """The log of the likelihood ratio of one probability to another."""
    return first * math.log(share / null) + (events - first) * math.log((1 - share) / (1 - null))


def _times(count: int, factor: float) -> float:
    """The log of a factor to the power of a count; of 0 to the power of 0 it is 0."""
    if count == 0:
        return 0.0
    return count * math.log(factor) if factor > 0 else -math.inf
