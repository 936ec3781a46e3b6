"""What trials count, for tests that are its record themselves."""

from __future__ import annotations

from collections import Counter

import msgspec


class CountsEvidence:
    """A record of trials; see `ark.trials.Record`.

    Attributes:
        counts: How often each figure was counted.
    """

    counts: Counter[str]
    is_first = True

    def begin(self, generation: int, rollout: str) -> None:
        """All generations are counted together."""

    def count(self, figure: str, amount: int = 1) -> None:
        """Count a figure."""
        self.counts[figure] += amount

    def tell(self, difference: msgspec.Struct, *, spare: bool) -> None:
        """Counter-examples are let go."""
