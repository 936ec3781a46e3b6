"""`Window`: the newest bars of one symbol as contiguous columns of float64, adjusted for splits.

Bars come as they were traded, so a 2-for-1 split looks like a fall by half. A window divides the prices
before a split (and multiplies the volumes), so that no figure takes it for a crash. The ratio is part of the
row that is kept: whether a gap is a split is decided once, when the bar comes, and a window that is built
again from the same rows is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ark.signal import Bar

__all__ = ["SIZE", "Window", "split_ratio"]

SIZE = 250
"""Bars that a window holds: about one year of trading days."""
SLACK = 70
"""Columns that fill up before the oldest bars are let go in one move."""

_ORDINARY = ((1, 2), (1, 3), (2, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (1, 10))
SPLITS = tuple(ratio for old, new in _ORDINARY for ratio in (old / new, new / old))
"""Ratios of ordinary splits and reverse splits: what an old price is worth in new units."""
TOLERANCE = 0.05
"""How far the opening gap may stand from the exact ratio: a night's ordinary move."""
QUIET_DAY = 0.12
"""A split day moves no more than this between open and close; a crash usually does."""
TURNOVER = 3.0
"""A split day trades no more than this many times the usual value; news that halves a price does."""
USUAL_BARS = 20
FEWEST_BARS = 5

Columns = npt.NDArray[np.float64]
Row = tuple[float, float, float, float, float, float, float]
"""ts, open, high, low, close and volume as traded, and the ratio of the split before the bar (1: none)."""


def split_ratio(gap: float, day_move: float, turnover: float) -> float:
    """The ratio of the split that a gap looks like; 1 where it looks like none.

    Args:
        gap: The open over the close before.
        day_move: The close over the open.
        turnover: Value traded on the day over the mean value traded on the days before.
    """
    if abs(day_move - 1) <= QUIET_DAY and turnover <= TURNOVER:
        for ratio in SPLITS:
            if abs(gap / ratio - 1) <= TOLERANCE:
                return ratio
    return 1.0


class Window:
    """The newest `SIZE` bars of one symbol, oldest first.

    Attributes:
        count: How many bars it holds, 0 to `SIZE`.
        newest: When the newest bar began, seconds since the epoch; minus infinity without bars.
    """

    __slots__ = ("_columns", "_end", "count", "newest")

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._columns: Columns = np.empty((6, 0), dtype=np.float64)
        self._end = 0
        self.count = 0
        self.newest = float("-inf")
        for row in rows:
            self.append(row)

    def split_before(self, bar: Bar) -> float:
        """The ratio of the split between the newest bar and the given one; 1 where there is none."""
        if self.count < FEWEST_BARS:
            return 1.0
        closes, volumes = self._columns[4], self._columns[5]
        gap = bar.open / float(closes[self._end - 1])
        if 0.7 < gap < 1.4:
            return 1.0
        usual = slice(self._end - min(self.count, USUAL_BARS), self._end)
        value = float((closes[usual] * volumes[usual]).mean())
        if value <= 0:
            return 1.0
        return split_ratio(gap, bar.close / bar.open, bar.close * bar.volume / value)

    def append(self, row: Row) -> bool:
        """Add a bar that is newer than all before it, and adjust those for its split.

        Returns:
            True when old bars were let go, which is a good moment to let go of them elsewhere too.

        Raises:
            ValueError: The bar is not newer than the newest one.
        """
        if not row[0] > self.newest:
            raise ValueError(f"a bar of {row[0]} does not come after {self.newest}")
        let_go = self._end == self._columns.shape[1] and self._make_room()
        if row[6] != 1.0:
            held = self.columns()
            held[1:5] *= row[6]
            held[5] /= row[6]
        self._columns[:, self._end] = row[:6]
        self._end += 1
        self.count = min(self.count + 1, SIZE)
        self.newest = row[0]
        return let_go

    def columns(self) -> Columns:
        """Rows ts, open, high, low, close and volume over the bars held; a view, not to be written to."""
        return self._columns[:, self._end - self.count : self._end]

    @property
    def oldest(self) -> float:
        """When the oldest bar began, seconds since the epoch.

        Raises:
            IndexError: There are no bars.
        """
        return float(self.columns()[0][0])

    def _make_room(self) -> bool:
        """Widen the columns, or, at full width, let go of what is not held any more."""
        width = int(self._columns.shape[1])
        wider = np.empty((6, min(max(2 * width, 40), SIZE + SLACK)), dtype=np.float64)
        wider[:, : self.count] = self.columns()
        self._columns = wider
        self._end = self.count
        return width == SIZE + SLACK
