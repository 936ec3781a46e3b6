"""Bars made up for tests."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from actors.window import Row, Window
from ark.signal import Bar, Signal

START = 1_000_000_000.0
DAY = 86_400.0


def walk(count: int, *, seed: int = 1, price: float = 100.0, swing: float = 0.02) -> list[Bar]:
    """A random walk of daily bars, the same for the same seed."""
    dice = random.Random(seed)
    bars, close = [], price
    for day in range(count):
        opened = close * (1 + dice.gauss(0, swing / 2))
        close = opened * (1 + dice.gauss(0, swing))
        high = max(opened, close) * (1 + abs(dice.gauss(0, swing / 3)))
        low = min(opened, close) * (1 - abs(dice.gauss(0, swing / 3)))
        bars.append(Bar(START + day * DAY, opened, high, low, close, float(dice.randint(100_000, 900_000))))
    return bars


def path(closes: Iterable[float], *, volume: float = 1000.0, range_part: float = 0.01) -> list[Bar]:
    """Bars through given closes, each opening at the close before."""
    bars: list[Bar] = []
    before: float | None = None
    for day, close in enumerate(closes):
        opened = close if before is None else before
        high, low = max(opened, close) * (1 + range_part), min(opened, close) * (1 - range_part)
        bars.append(Bar(START + day * DAY, opened, high, low, close, volume))
        before = close
    return bars


def window(bars: Iterable[Bar]) -> Window:
    made = Window()
    for bar in bars:
        made.append(row(bar))
    return made


def row(bar: Bar, split: float = 1.0) -> Row:
    return (bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume, split)


def shown(bar: Bar, symbol: str = "ACME", **fields: Any) -> Signal:
    """The signal that shows a bar."""
    given: dict[str, Any] = {"action": "observe", "direction": "long", "price": bar.close, **fields}
    features = {"bar": msgspec.structs.asdict(bar), **given.pop("features", {})}
    return Signal(symbol=symbol, features=features, **given)


@st.composite
def series(draw: st.DrawFn, most: int = 60) -> list[Bar]:
    """Any valid bars, calm or wild, with and without volume."""
    count = draw(st.integers(1, most))
    price = draw(st.floats(1e-3, 1e6))
    bars = []
    for day in range(count):
        price = min(max(price * draw(st.floats(0.3, 3.0)), 1e-6), 1e9)
        opened = price * draw(st.floats(0.8, 1.25))
        high = max(price, opened) * draw(st.floats(1.0, 1.2))
        low = min(price, opened) * draw(st.floats(0.8, 1.0))
        volume = draw(st.sampled_from([0.0, 1.0, 1e5, 1e12]))
        bars.append(Bar(START + day * DAY, opened, high, low, price, volume))
    return bars
