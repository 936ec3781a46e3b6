"""A token bucket as a value: how many orders may go, computed from nothing but the time that is passed in.

Source: the original's `KENNY_MAX_ACTIONS_PER_MINUTE` (60) and `KENNY_BURST_LIMIT` (10), which nothing read.
In any span of `t` seconds at most `burst + t * per_minute / 60` orders are granted.
"""

from __future__ import annotations

import math

import msgspec

from ark.errors import ConfigError

__all__ = ["Bucket", "Limit", "full", "take"]


class Limit(msgspec.Struct, frozen=True):
    """How fast tokens come back, and how many can be saved up.

    Attributes:
        per_minute: Tokens that come back in a minute.
        burst: Tokens that a bucket holds at most; so many orders can go at the same instant.
    """

    per_minute: float = 60.0
    burst: int = 10

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_minute) and self.per_minute > 0):
            raise ConfigError("`max_actions_per_minute` must be above 0", field="max_actions_per_minute")
        if self.burst < 1:
            raise ConfigError("`burst_limit` must be 1 or more", field="burst_limit")


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """What is left at a moment.

    Attributes:
        tokens: Orders that could go at once; a whole token is needed for one.
        at: When that was so, seconds since the epoch.
    """

    tokens: float
    at: float


def full(limit: Limit, now: float) -> Bucket:
    """A bucket that nobody has taken from yet."""
    return Bucket(float(limit.burst), now)


def take(bucket: Bucket, limit: Limit, now: float) -> tuple[Bucket, bool]:
    """Take one token if there is one.

    A clock that goes backwards brings no token back and takes none away: counting goes on from the earlier
    time. A stored bucket that is larger than a limit lowered since then is cut down to it.

    Args:
        bucket: What was left.
        limit: Rate and size.
        now: Seconds since the epoch.

    Returns:
        What is left now, and whether the order may go.
    """
    elapsed = max(0.0, now - bucket.at)
    tokens = min(float(limit.burst), bucket.tokens + elapsed * limit.per_minute / 60.0)
    if tokens >= 1.0:
        return Bucket(tokens - 1.0, now), True
    return Bucket(tokens, now), False
