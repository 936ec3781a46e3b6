"""How an agent deals with its signals: failures in a row, the share of failures, the mean latency. Pure.

Limits and their meaning are the original's (consecutive failures, failure rate, mean latency); unlike there, the
rates are counted over a sliding window, and a release begins anew, so that nobody is isolated again for what was
before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ark.blackbox import Work
from supervisor.failures import Failures, in_a_row

__all__ = ["Conduct", "ConductLimits", "Record", "fault", "health"]

SLOW_MS = 10_000.0
"""A mean latency at which nothing is left of that part of the health score."""
SEEN_S = 60.0
"""An agent that beat within so long counts as seen."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """What an agent did within the window.

    Attributes:
        answered: Signals that it answered, those included that it called failed.
        failed: Signals that it called failed, or that ended it.
        ended: Signals that ended it.
        failed_in_a_row: Failed signals without a good one among them, up to now; beyond the window, too.
        mean_latency_ms: From a signal's coming to its answer; 0 where it answered none.
    """

    answered: int = 0
    failed: int = 0
    ended: int = 0
    failed_in_a_row: int = 0
    mean_latency_ms: float = 0.0

    @property
    def requests(self) -> int:
        """Signals that it answered or that ended it."""
        return self.answered + self.ended

    @property
    def failure_rate(self) -> float:
        """The share of failures, 0 where there was nothing to do."""
        return self.failed / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class ConductLimits:
    """What is borne; see `ark.config.WatchdogConfig`."""

    max_failures_in_a_row: int = 5
    max_failure_rate: float = 0.2
    min_requests: int = 10
    max_latency_ms: float = 5000.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """Sums over all processes of an agent, up to a time."""

    at: float
    answered: int
    failed: int
    ended: int
    busy_ns: int


_NOTHING = (0, 0, 0, 0)


class Record:
    """One agent's conduct over a sliding window, across its processes.

    Args:
        window_s: The window's length.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._counted: tuple[int, ...] | None = None
        self._sums = (0, 0, 0, 0)
        self._row = 0
        self._samples: deque[_Sample] = deque()

    def see(self, work: Work, failures: Failures, now: float) -> None:
        """Take what is known of the agent now.

        What it had done before the first look counts for nothing, whenever that was.

        Args:
            work: What its present process has done so far.
            failures: What came of those before it, as the supervisor counts it; that counts anew after a release
                or a stop, and when it is replaced itself.
            now: Seconds on a clock that never goes back.
        """
        counted = (
            failures.answered + work.answered,
            failures.failed + work.failed,
            failures.ended,
            failures.busy_ns + work.busy_ns,
        )
        before = counted if self._counted is None else self._counted
        if any(new < old for new, old in zip(counted, before, strict=True)):
            before = _NOTHING  # it counts anew
        self._counted = counted
        answered, failed, ended, busy_ns = (
            total + new - old for total, new, old in zip(self._sums, counted, before, strict=True)
        )
        self._sums = (answered, failed, ended, busy_ns)
        self._row = in_a_row(failures, work)
        self._samples.append(_Sample(now, answered, failed, ended, busy_ns))
        while len(self._samples) > 1 and self._samples[1].at <= now - self._window_s:
            self._samples.popleft()

    def conduct(self) -> Conduct:
        """What it did within the window."""
        if not self._samples:
            return Conduct()
        first, last = self._samples[0], self._samples[-1]
        answered, ended = last.answered - first.answered, last.ended - first.ended
        mean_ms = (last.busy_ns - first.busy_ns) / answered / 1e6 if answered else 0.0
        return Conduct(answered, last.failed - first.failed + ended, ended, self._row, mean_ms)

    def forgive(self) -> None:
        """Begin anew: what was before counts no longer.

        Whatever the supervisor counts at the next look has come since: its count begins anew as well.
        """
        while len(self._samples) > 1:
            self._samples.popleft()
        self._counted = _NOTHING
        self._row = 0


def fault(conduct: Conduct, limits: ConductLimits) -> tuple[str, str] | None:
    """What is wrong with an agent's conduct, as the kind of the fault and the reason; None for nothing.

    The first of the original's three that applies: failures in a row, their rate, the mean latency.
    """
    if conduct.failed_in_a_row >= limits.max_failures_in_a_row:
        return "failures", f"{conduct.failed_in_a_row} signals failed in a row"
    if conduct.requests <= limits.min_requests:
        return None
    if conduct.failure_rate > limits.max_failure_rate:
        return "failure_rate", (
            f"{conduct.failed} of {conduct.requests} signals failed"
            f" ({conduct.failure_rate:.0%}, at most {limits.max_failure_rate:.0%})"
        )
    if conduct.answered > limits.min_requests and conduct.mean_latency_ms > limits.max_latency_ms:
        return "latency", (
            f"takes {conduct.mean_latency_ms:,.0f} ms for a signal on average"
            f" (at most {limits.max_latency_ms:,.0f} ms)"
        )
    return None


def health(conduct: Conduct, beat_age_s: float | None) -> float:
    """The original's score of an agent, 0 to 1: half of it the share of signals that did not fail, 0.3 its
    speed (nothing from a mean of 10 s on), and 0.2 whether it was seen within a minute (half of that if not).
    """
    speed = max(0.0, 1.0 - conduct.mean_latency_ms / SLOW_MS)
    seen = 1.0 if beat_age_s is not None and beat_age_s < SEEN_S else 0.5
    return 0.5 * (1.0 - conduct.failure_rate) + 0.3 * speed + 0.2 * seen
