"""What was counted for one objective at points in time, and how much of it fell into a window. Pure.

Counters are cumulative, so a window is the difference of two samples, and nothing that happened while nobody
sampled is missing from it. What a window gives is exact for the time from one sample to another:

- Its end is the newest sample.
- Its beginning is the newest sample at or before the moment that was asked for; nothing is interpolated. So it
  may count events from before that moment, never lacks one from after it. The events too many are those of at most
  `EVERY_S` in the newest day, of `COARSE_S` more before that, and of a gap, where the window begins in one.
- Before the first sample of all, everything counts as having happened later: a history that is younger than a
  window gives all that it has.

Counters only grow, except that a home restored from a copy sets them back. A counter that fell begins anew where
it is now: what it counted between the sample before and this one is not known, and not made up.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["COARSE_S", "EVERY_S", "FINE_S", "Counts", "Sample", "Samples", "Window", "thinned"]

EVERY_S = 15.0
"""Seconds between two samples that are kept."""
COARSE_S = 300.0
"""Of samples older than `FINE_S`, one in so many seconds stays."""
FINE_S = 86_400.0 + 2 * COARSE_S
"""Seconds for which every sample stays: a day, and until the next thinning."""


class Counts(NamedTuple):
    """A counter's state: how many events were good and how many bad, ever."""

    good: int
    bad: int


class Sample(NamedTuple):
    """What was known at one moment.

    Attributes:
        at: When, seconds since the epoch.
        good, bad: Running totals of this history, which never fall.
        seen_good, seen_bad: What the counters themselves said.
    """

    at: float
    good: int
    bad: int
    seen_good: int
    seen_bad: int


class Window(NamedTuple):
    """What happened in a window.

    Attributes:
        good, bad: How many events.
        began: The moment from which on they are counted; None where that is the beginning of all.
    """

    good: int
    bad: int
    began: float | None

    @property
    def total(self) -> int:
        """All events."""
        return self.good + self.bad


def thinned(times: Sequence[float], now: float, period_s: float) -> list[int]:
    """Which samples stay.

    For every moment within the period, the newest sample at or before it that stays is less than `COARSE_S` older
    than the newest one that there was, and the same one for moments within `FINE_S`.

    Args:
        times: When they were taken, rising.
        now: The present.
        period_s: How long samples are needed. One from before that stays, where the period's first window begins.

    Returns:
        Their indices, rising.
    """
    first = max(0, bisect_right(times, now - period_s) - 1)
    fine = max(first, bisect_left(times, now - FINE_S) - 1)  # the fine part, too, needs one from before it
    coarse = [
        index
        for index in range(first, fine)
        if index == first or times[index] // COARSE_S != times[index - 1] // COARSE_S
    ]
    return coarse + list(range(fine, len(times)))


class Samples:
    """The history of one objective.

    Args:
        strict: Whether bad events of which nobody knows when they happened count as of now: those that a new
            history finds already counted, and those of a counter that began anew. It is right where a single one
            is a violation, and wrong where it would look like a sudden outage.
        kept: What was kept of it, oldest first.
    """

    def __init__(self, *, strict: bool = False, kept: Iterable[Sample] = ()) -> None:
        self._strict = strict
        self._times = array("d")
        self._counted = tuple(array("q") for _ in range(4))
        self._newest: Sample | None = None
        for sample in kept:
            self._keep(sample)
            self._newest = sample

    def __len__(self) -> int:
        return len(self._times)

    def __iter__(self) -> Iterator[Sample]:
        for at, *counted in zip(self._times, *self._counted, strict=True):
            yield Sample(at, *counted)

    @property
    def newest(self) -> Sample | None:
        """The newest one, which may be one that is not kept."""
        return self._newest

    def add(self, at: float, seen: Counts) -> Sample | None:
        """Take in what the counters say.

        Args:
            at: Now, seconds since the epoch. A clock that was set back needs `cut` first.
            seen: Their state.

        Returns:
            The sample, where it is one to keep.
        """
        before = self._newest
        if before is None:
            grown = Counts(0, seen.bad if self._strict else 0)
            sample = Sample(at, *grown, *seen)
        else:
            good = max(0, seen.good - before.seen_good)
            bad = seen.bad - before.seen_bad
            if bad < 0:
                bad = seen.bad if self._strict else 0
            sample = Sample(at, before.good + good, before.bad + bad, *seen)
        self._newest = sample
        fell = before is not None and (seen.good < before.seen_good or seen.bad < before.seen_bad)
        if fell or not self._times or at >= self._times[-1] + EVERY_S:
            self._keep(sample)
            return sample
        return None

    def keep_newest(self) -> Sample | None:
        """Keep the newest one, and return it; None where it is kept already or there is none."""
        newest = self._newest
        if newest is None or (self._times and self._times[-1] == newest.at):
            return None
        self._keep(newest)
        return newest

    def window(self, start: float) -> Window:
        """What happened since a moment."""
        newest = self._newest
        if newest is None:
            return Window(0, 0, None)
        if newest.at <= start:
            return Window(0, 0, newest.at)
        index = bisect_right(self._times, start) - 1
        if index < 0:
            return Window(newest.good, newest.bad, None)
        good, bad = self._counted[0][index], self._counted[1][index]
        return Window(newest.good - good, newest.bad - bad, self._times[index])

    def thin(self, now: float, period_s: float) -> list[float]:
        """Drop what `thinned` says.

        Returns:
            The times of the samples that were dropped.
        """
        stays = thinned(self._times, now, period_s)
        dropped = sorted(set(range(len(self._times))).difference(stays))
        times = [self._times[index] for index in dropped]
        if dropped:
            self._times = array("d", [self._times[index] for index in stays])
            self._counted = tuple(array("q", [each[index] for index in stays]) for each in self._counted)
        return times

    def cut(self, now: float) -> list[float]:
        """Drop samples from the future: the clock was set back. What they counted is in the next one.

        Returns:
            Their times.
        """
        index = bisect_right(self._times, now)
        times = list(self._times[index:])
        del self._times[index:]
        for each in self._counted:
            del each[index:]
        return times

    def _keep(self, sample: Sample) -> None:
        self._times.append(sample.at)
        for column, value in zip(self._counted, sample[1:], strict=True):
            column.append(value)
