"""From what was seen and how it is weighed to a metric, with how long it may take to decide. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deployment.evidence import Split
from deployment.verdict import Metric, Policy

__all__ = ["Bar", "Seen", "further", "more", "scaled", "weigh"]

_MOST = 10_000_000
"""More signals than anybody waits for."""
_LN10 = math.log(10)


class Bar(NamedTuple):
    """What a metric is held against.

    Attributes:
        policy: What is asked for.
        harm_at: The threshold of harm, as a logarithm to the base of ten: every metric that may fail has its part
            of `policy.alpha`.
    """

    policy: Policy
    harm_at: float

    @property
    def threshold(self) -> float:
        """The threshold of harm as a natural logarithm."""
        return self.harm_at * _LN10


class Seen(NamedTuple):
    """What a metric is made of before it is weighed; see `Metric`."""

    role: str
    name: str
    n: int
    x: int
    control: int
    can_fail: bool
    must_pass: bool
    why: str
    can_hold: bool = False


def weigh(seen: Seen, harm: Callable[[int], float], health: Callable[[int], float], bar: Bar) -> Metric:
    """Weigh what was seen.

    Args:
        seen: What it is.
        harm, health: The natural logarithm of the evidence for a number of signals: with `seen.n` what there
            is, with more what there would be if all went on in proportion.
        bar: What it is held against.
    """
    health_at, harm_at = math.log10(1 / bar.policy.beta), bar.harm_at
    harmful, healthy = harm(seen.n) / _LN10, health(seen.n) / _LN10
    to_pass = further(health, seen.n, health_at * _LN10) if seen.must_pass else None
    to_fail = further(harm, seen.n, bar.threshold) if seen.can_fail and harmful > 0 else None
    if harmful >= harm_at:
        if seen.can_fail:
            end = "worse, beyond chance"
        elif seen.can_hold:
            end = "worse, beyond chance, or its share of the traffic is: look at both"
        else:
            end = "that differs beyond chance, and decides nothing here"
    elif healthy >= health_at:
        end = "evidence enough that it is not harmful"
    elif not seen.must_pass:
        end = "no evidence of harm"
    elif to_pass is None:
        end = "no evidence of health, and none to come if it goes on like that"
    else:
        end = f"not enough evidence of health, about {to_pass} more signals to go"
    return Metric(
        role=seen.role,
        name=seen.name,
        n=seen.n,
        x=seen.x,
        control=seen.control,
        harm=harmful,
        harm_at=harm_at,
        health=healthy,
        health_at=health_at,
        can_fail=seen.can_fail,
        must_pass=seen.must_pass,
        to_pass=to_pass,
        to_fail=to_fail,
        why=f"{seen.why}: {end}",
        can_hold=seen.can_hold,
    )


def further(evidence: Callable[[int], float], now: int, threshold: float) -> int | None:
    """How many more signals it takes until there is so much evidence, or none where it does not lead there."""
    if evidence(now) >= threshold:
        return 0
    low, high = now, max(2 * now, 64)
    while evidence(high) < threshold:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if evidence(middle) >= threshold else (middle, high)
    return high - now


def more(splits: Sequence[Split], signals: int, seen: int) -> list[Split]:
    """The events of what was seen, when so many signals have been seen instead."""
    return [
        Split(each.share, scaled(each.events, signals, seen), scaled(each.first, signals, seen)) for each in splits
    ]


def scaled(count: int, signals: int, seen: int) -> int:
    """A count of what was seen, when so many signals have been seen instead."""
    return round(count * signals / seen) if seen else 0
