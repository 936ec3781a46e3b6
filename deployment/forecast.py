"""How many signals a verdict takes, before any was seen. Pure."""

from __future__ import annotations

import msgspec

from ark.agent import MOST_RECORDED
from ark.deploy_settings import DeployConfig
from ark.errors import ConfigError
from deployment.characteristics import of_counts, of_pairs
from deployment.verdict import METRICS, Policy

__all__ = ["Forecast", "forecast"]

TIMES = (2.0, 5.0)
"""So many times as bad are the releases of which is told how soon they are caught."""
_HORIZON = 20_000


class Forecast(msgspec.Struct, frozen=True):
    """What is to be expected of the judge.

    Attributes:
        signals: So many signals both arms must have seen until a release passes that decides as the old one; 0
            where it takes more than anybody would wait for.
        caught: After how many troubles, as denials, at both arms together half of the releases are rolled back that
            have so many times as many of them; 0 for never.
        alpha: How often a good release is rolled back at most.
        beta: How often a harmful one passes at most.
        wait_s: How long `signals` take at the rate that was given, in seconds; None where it is not known.
    """

    signals: int
    caught: dict[str, int]
    alpha: float
    beta: float
    wait_s: float | None = None


def forecast(settings: DeployConfig, roles: int, rate: float | None) -> Forecast | None:
    """What is to be expected; None of the original's tripwires, which count no evidence.

    Args:
        settings: The plan's.
        roles: About how many agents it is.
        rate: Live signals a second; those that are replayed come on top, where an agent has any. None where that
            is not known.

    Raises:
        ConfigError: The judge's settings are wrong.
    """
    if settings.policy != "sequential":
        return None
    try:
        policy = msgspec.convert({"split": "key", **settings.judge}, Policy)
    except msgspec.ValidationError as error:
        raise ConfigError(f"judge: {error}", field="plan.settings.judge") from None
    healthy = of_pairs(0.0, limit=policy.limit, beta=policy.beta, horizon=_HORIZON).pass_half
    signals = max(healthy, policy.minimum_signals, settings.signals) if healthy else 0
    caught = {
        f"{times:g}": of_counts(
            0.5,
            times,
            alpha=policy.alpha / (roles * len(METRICS)),
            beta=policy.beta,
            margin=policy.margin,
            harmful=max(policy.harmful, policy.margin + 0.01),
        ).fail_half
        for times in TIMES
    }
    replay = settings.replay_rate if policy.replay else 0.0
    wait_s = round(_wait(signals, policy.minimum_signals, rate, replay), 1) if rate and signals else None
    return Forecast(signals, caught, policy.alpha, policy.beta, wait_s)


def _wait(signals: int, live: int, rate: float, replay: float) -> float:
    """How long it takes until so many signals were seen, and so many of them live, in seconds.

    There are so many recorded signals and no more, and each is shown once.
    """
    return max(live / rate, signals / (rate + replay), (signals - MOST_RECORDED) / rate)
