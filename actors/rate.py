"""How often something happens a second, over the last minute."""

from __future__ import annotations

from collections import deque

__all__ = ["Rate"]

WINDOW_S = 60.0


class Rate:
    """Compares counts with those of up to a minute ago; what was before the first one is not known."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def see(self, count: int, now: float) -> float:
        """Take a count that only rises, and give by how much it has risen a second; 0 at first.

        Args:
            count: As it is now.
            now: Seconds; where the clock went back, the past is not known any more.
        """
        samples = self._samples
        if samples and now < samples[-1][0]:
            samples.clear()
        samples.append((now, count))
        # The oldest one is a minute old or the first one there is.
        while len(samples) > 1 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()
        since, before = samples[0]
        return (count - before) / (now - since) if now > since else 0.0
