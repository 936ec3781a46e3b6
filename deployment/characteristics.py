"""What a test does in the long run, computed exactly: how often it fails or passes, and after how many events.

The evidence depends on counts only, so the counts are the whole state: a dynamic programme walks over (events,
events of the first arm) and takes out what crosses a threshold. Pure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from deployment.evidence import Split, above, excess, more_often, no_excess, odds_share, unlike_twice
from deployment.verdict import METRICS, Policy

__all__ = ["Characteristics", "Evidence", "of_counts", "of_exceedances", "of_pairs", "outlook", "walk"]

Evidence = Callable[[int, int], float]
"""The log of evidence by the number of events and how many of them count against the canary."""


class Characteristics(NamedTuple):
    """How a test ends.

    Attributes:
        failed, passed: The probability of either within the horizon.
        fail_half, fail_most: After how many events half, and nine tenths, of all releases have failed; 0 where it
            never are so many.
        pass_half, pass_most: The same of passing.
        horizon: How many events were looked at.
    """

    failed: float
    passed: float
    fail_half: int
    fail_most: int
    pass_half: int
    pass_most: int
    horizon: int

    @property
    def undecided(self) -> float:
        """The probability of neither."""
        return max(0.0, 1 - self.failed - self.passed)


@functools.lru_cache(maxsize=256)
def of_counts(
    share: float,
    ratio: float,
    *,
    alpha: float = 0.01,
    beta: float = 0.05,
    margin: float = 1.0,
    harmful: float = 2.0,
    horizon: int = 500,
) -> Characteristics:
    """The test of counts: failing when the first arm has the events more often, passing when less than twice as
    often.

    Args:
        share: The first arm's share of what the events come from.
        ratio: How many times as often it truly has them.
        alpha: How often a release that is as good may fail.
        beta: How often one that is `harmful` times as bad may pass.
        margin: See `more_often`.
        harmful: See `unlike_twice`.
        horizon: Events, in both arms together, after which nobody waits any longer.
    """
    return walk(
        odds_share(share, ratio),
        lambda events, first: more_often([Split(share, events, first)], margin),
        lambda events, first: unlike_twice([Split(share, events, first)], harmful),
        fail_at=math.log(1 / alpha),
        pass_at=math.log(1 / beta),
        horizon=horizon,
    )


@functools.lru_cache(maxsize=256)
def of_exceedances(
    slow: float,
    *,
    allowed: float = 0.05,
    too_many: float = 0.10,
    alpha: float = 0.01,
    beta: float = 0.05,
    horizon: int = 2000,
) -> Characteristics:
    """The test of a share of slow signals: it fails above `allowed` and passes below `too_many`; `slow` is true."""
    return walk(
        slow,
        lambda signals, late: above(signals, late, allowed),
        lambda signals, late: no_excess(signals, late, limit=too_many),
        fail_at=math.log(1 / alpha),
        pass_at=math.log(1 / beta),
        horizon=horizon,
    )


@functools.lru_cache(maxsize=256)
def of_pairs(
    bad: float,
    *,
    limit: float = 0.01,
    tolerance: float = 0.0,
    alpha: float = 0.01,
    beta: float = 0.05,
    horizon: int = 2000,
) -> Characteristics:
    """The test of signals that both arms decided.

    Args:
        bad: The share of them that is bad at the canary alone; none is at the baseline alone.
        limit: See `no_excess`.
        tolerance: See `excess`.
        alpha: How often a release within the tolerance may fail.
        beta: How often one with an excess of the limit may pass.
        horizon: Signals after which nobody waits any longer.
    """
    return walk(
        bad,
        lambda signals, first: excess(signals, first, 0, tolerance),
        lambda signals, first: no_excess(signals, first, 0, limit),
        fail_at=math.log(1 / alpha),
        pass_at=math.log(1 / beta),
        horizon=horizon,
    )


def outlook(policy: Policy, roles: int = 1, bad: float = 0.0, horizon: int = 5000) -> Characteristics:
    """What to expect of a rollout, in signals that both arms decided.

    Args:
        policy: How it is judged.
        roles: How many agents are new.
        bad: The share of the signals that is bad at the canary alone; with none it is as good as what it replaces.
        horizon: Signals after which nobody waits any longer.
    """
    deciding = roles * sum(name not in policy.observe_only for name in METRICS)
    return of_pairs(
        bad,
        limit=policy.limit,
        tolerance=policy.tolerance,
        alpha=policy.alpha / max(1, deciding),
        beta=policy.beta,
        horizon=horizon,
    )


def walk(
    chance: float, harm: Evidence, health: Evidence, *, fail_at: float, pass_at: float, horizon: int
) -> Characteristics:
    """Walk over all counts, event by event.

    Args:
        chance: The probability that an event counts against the canary.
        harm: Evidence that fails it; for a number of events it grows with those against the canary.
        health: Evidence that passes it; for a number of events it falls with those against the canary.
        fail_at, pass_at: The thresholds, as logarithms.
        horizon: After how many events to stop.
    """
    alive = {0: 1.0}  # how many events counted against the canary, and with which probability without a decision
    failed, passed = [], []
    low, high = -1, 0  # up to `low` against it passes, from `high` on it fails: both only grow with the events
    for events in range(1, horizon + 1):
        nearby: dict[int, float] = {}
        for first, probability in alive.items():
            nearby[first] = nearby.get(first, 0.0) + probability * (1 - chance)
            nearby[first + 1] = nearby.get(first + 1, 0.0) + probability * chance
        while low < events and health(events, low + 1) >= pass_at:
            low += 1
        while high <= events and harm(events, high) < fail_at:
            high += 1
        failed.append(sum(probability for first, probability in nearby.items() if first >= high))
        passed.append(sum(probability for first, probability in nearby.items() if first <= low < high))
        alive = {first: each for first, each in nearby.items() if low < first < high and each > 1e-18}
        if not alive:
            break
    return Characteristics(
        sum(failed),
        sum(passed),
        _quantile(failed, 0.5),
        _quantile(failed, 0.9),
        _quantile(passed, 0.5),
        _quantile(passed, 0.9),
        horizon,
    )


def _quantile(by_event: list[float], part: float) -> int:
    """After how many events it has happened with a certain probability; 0 where that is never so."""
    seen = 0.0
    for event, probability in enumerate(by_event, start=1):
        seen += probability
        if seen >= part:
            return event
    return 0
