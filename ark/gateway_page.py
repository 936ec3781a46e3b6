"""What is read from the gateway's page of metrics. Pure.

A count that is not there is not known; it is never taken for 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ark.meters import Series
from ark.page_feed import Sample
from ark.status import SignalCounts

__all__ = ["sample", "signals"]

Counted: TypeAlias = Mapping[str, Sequence[Series]]
"""The series of the page, by the name of their metric."""


def signals(counted: Counted) -> SignalCounts | None:
    """The counts of signals; None before the gateway has written any."""
    names = {
        "accepted": "ark_signals_accepted_total",
        "in_flight": "ark_signals_in_flight",
        "completed": "ark_signals_completed_total",
        "held": "ark_signals_held",
        "dead_letters": "ark_dead_letters_open",
        "dead_letters_ever": "ark_dead_letters_total",
    }
    if any(name not in counted for name in names.values()):
        return None
    return SignalCounts(**{key: int(counted[name][0].value) for key, name in names.items()})


def sample(counted: Counted, now: float) -> Sample:
    """What the lines over time need.

    Args:
        counted: The page.
        now: Seconds since the epoch.
    """
    ended, latency = (counted.get(name) for name in ("ark_signals_completed_total", "ark_decision_latency_seconds"))
    edges, counts = (latency[0].edges, latency[0].counts) if latency else ((), ())
    return Sample(now, ended[0].value if ended else None, edges, counts)
