"""How much may be sent into the pipeline: the slowest agent first takes what it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

__all__ = ["BackPressure"]

_FRESH_S = 0.005
"""The depth of mailboxes is looked up at most so often."""


class BackPressure:
    """Knows how full the fullest mailbox is.

    Args:
        most: So many envelopes may wait in a mailbox.
        window: So many signals may be in flight. No mailbox can hold more, so where that is fewer nobody looks.
        beat: Called before each look: what was sent so far counts from there on.
        look: Gives how many envelopes wait in each mailbox, by its owner.
    """

    def __init__(
        self, most: int, window: int, *, beat: Callable[[], None], look: Callable[[], Mapping[str, int]]
    ) -> None:
        self._most = most
        self._is_needed = window > most
        self._beat = beat
        self._look = look
        self._looked_at = -math.inf
        self._depth = 0

    def room(self, now: float) -> int:
        """How much more may be sent before the fullest mailbox holds all that it may.

        Args:
            now: Seconds on a clock that never goes back.
        """
        if not self._is_needed:
            return self._most
        if now - self._looked_at > _FRESH_S:
            self._beat()
            self._looked_at = now
            self._depth = max(self._look().values(), default=0)
        return max(0, self._most - self._depth)

    def sent(self, count: int) -> None:
        """So much was sent: until the next look it all counts as waiting in the fullest mailbox."""
        self._depth += count
