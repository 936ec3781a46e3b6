"""What bars say: a window of bars in, a `Market` out. Pure: the same bars give the same figures, to the bit.

RSI, MACD and ATR are TA-Lib's (Wilder's and Appel's smoothing, started at the oldest bar of the window). Each
further fact is None, that is absent, where there are too few bars to tell. Facts named `..._percent` are in
percent (12.5 for 12.5 %), as in the pattern book; those of `Market` named `..._pct` are fractions. Prices are
in the quote currency, adjusted for splits inside the window; volumes are in units.

Words of `price_action` (a list, as several can hold at once; known from 21 bars on):

- `breaking_resistance`, `breaking_support`: the close is above the highest high, below the lowest low of the
  20 bars before.
- `failed_breakout`: the day traded above that highest high and closed below both it and the open.
- `first_rejection`: after a bar that closed up, the day made a new high of 20 bars and closed in the lower
  third of its range.
- `v_bottom`: the day made a new low of 20 bars, at least 10 % under the highest close of the 10 bars before,
  and closed in the upper third of its range: a fall that was turned within the bar.
- `consolidating`, `tight_consolidation`: high to low of the newest 10 bars is at most 8 %, 4 % of the close.
- `consolidating_gains`: the newest 5 bars keep within 8 %, after a gain of 5 % or more in the 10 bars before
  them.
"""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

from actors.messages import Market
from actors.window import Columns, Window
from ark.signal import Bar

__all__ = ["market"]


def _talib() -> Any:
    """Import TA-Lib alone.

    It would import pandas and polars where they are installed, only to take their series too; that costs each
    process 0.35 s and 45 MB (measured), of which nothing is needed here.
    """
    unwanted = [name for name in ("pandas", "polars") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unwanted))  # type: ignore[arg-type]
    try:
        return importlib.import_module("talib._ta_lib")
    finally:
        for name in unwanted:
            del sys.modules[name]


talib = _talib()

LOOKBACK = 20
"""Bars before the newest one for levels and the usual volume."""
RSI_BARS = ATR_BARS = 14
MACD_BARS = (12, 26, 9)
FALL_BARS = 60
"""Bars in which a fall and the bounce from its bottom are looked for."""
TREND_BARS = 50


def market(history: Window, bar: Bar | None, price: float) -> Market:
    """Describe a symbol as of the newest bar of its history.

    Args:
        history: Bars up to the one that is judged, that one included. Nothing later may stand in it.
        bar: That bar, where it came with the signal and was new; it is passed on, the figures come from
            `history`.
        price: The newest price, in the quote currency.
    """
    count = history.count
    if count == 0:
        return Market(price=price, bar=bar)
    columns = history.columns()
    volume_ratio, facts = _facts(columns, count)
    closes = columns[4]
    rsi = macd = macd_signal = atr = None
    if count > RSI_BARS:
        rsi = float(talib.RSI(closes, RSI_BARS)[-1])
        if rsi == 0.0 and float(closes.max()) == float(closes.min()):
            rsi = None  # TA-Lib says 0 where nothing ever moved, which would read as sold out
        atr = float(talib.ATR(columns[2], columns[3], closes, ATR_BARS)[-1])
    if count >= MACD_BARS[1] + MACD_BARS[2] - 1:
        lines = talib.MACD(closes, *MACD_BARS)
        macd, macd_signal = float(lines[0][-1]), float(lines[1][-1])
    gap, change = facts.get("gap_percent"), facts.get("price_change_percent")
    return Market(
        price=price,
        bars=count,
        bar=bar,
        volume_ratio=volume_ratio,
        rsi=rsi,
        macd=macd,
        macd_signal=macd_signal,
        atr=atr,
        gap_pct=None if gap is None else gap / 100,
        change_pct=None if change is None else change / 100,
        facts=facts,
        close=float(closes[-1]),
        close_at=history.newest,
    )


def _facts(columns: Columns, count: int) -> tuple[float | None, dict[str, Any]]:
    """The volume ratio and the facts; on plain lists of the newest bars, which are fastest at this size."""
    _, opens, highs, lows, closes, volumes = columns[:, -(FALL_BARS + 1) :].tolist()
    last_open, high, low, close, volume = opens[-1], highs[-1], lows[-1], closes[-1], volumes[-1]
    facts: dict[str, Any] = {"day_open": last_open, "day_high": high, "day_low": low, "volume": volume}
    ratio = None
    if count >= 2:
        before = closes[-2]
        facts["previous_close"] = before
        facts["price_change_percent"] = (close / before - 1) * 100
        facts["gap_percent"] = (last_open / before - 1) * 100
        facts["decline_percent"] = max(0.0, (1 - low / before) * 100)
    if count >= 6:
        facts["gain_last_5_days"] = (close / closes[-6] - 1) * 100
        facts["swing_low"], facts["swing_high"] = min(lows[-5:]), max(highs[-5:])
    if count >= 16:
        facts["acceleration"] = _acceleration(closes)
    if count > LOOKBACK:
        usual = math.fsum(volumes[-LOOKBACK - 1 : -1]) / LOOKBACK
        facts["avg_volume"] = usual
        if usual > 0:
            facts["volume_spike"] = ratio = volume / usual
        facts["decline_from_high"] = (1 - close / float(columns[2].max())) * 100
        facts.update(_fall_and_bounce(highs, lows, close))
        facts.update(_levels(opens, highs, lows, closes, columns))
    if count > TREND_BARS:
        facts["prior_trend"] = _trend(closes)
    return ratio, facts


def _acceleration(closes: list[float]) -> str:
    """Compare the gains of the newest three times 5 bars.

    `parabolic`: each rises, each by more than the one before, the newest at least twice the one before it.
    `accelerating`: the newest two rise, the newer by more. `decelerating`: both rise, the newer by less.
    Otherwise `none`.
    """
    newest = closes[-1] / closes[-6] - 1
    middle = closes[-6] / closes[-11] - 1
    oldest = closes[-11] / closes[-16] - 1
    if min(newest, middle) <= 0:
        return "none"
    if middle > oldest > 0 and newest >= 2 * middle:
        return "parabolic"
    return "accelerating" if newest > middle else "decelerating"


def _fall_and_bounce(highs: list[float], lows: list[float], close: float) -> dict[str, float]:
    """The fall to the lowest low of the newest 20 bars from the highest high before it, and the way up."""
    recent = lows[-LOOKBACK:]
    bottom = min(recent)
    place = len(lows) - len(recent) + recent.index(bottom)
    top = max(highs[: place + 1])
    return {"price_decline_percent": (1 - bottom / top) * 100, "bounce_percent": (close / bottom - 1) * 100}


def _levels(
    opens: list[float], highs: list[float], lows: list[float], closes: list[float], columns: Columns
) -> dict[str, Any]:
    """Levels, what became of them today, and the words of `price_action`.

    `resistance_test`: `breaking` if the close is above the resistance; `rejected` if the day, coming from
    below, reached the resistance or the mean close of 20 bars within 0.5 % and closed below it in the lower
    half of its range; `near` if the close is within 2 % below the resistance; otherwise `none`.

    `support_test`: `major_support` if the low is within 3 % of the lowest low of all bars more than 60 bars
    old and the close stands in the upper half of the range; otherwise `broken` if the close is below the
    support; `holding` if the low is within 2 % of the support and the close in the upper half; otherwise
    `none`.
    """
    high, low, close = highs[-1], lows[-1], closes[-1]
    resistance, support = max(highs[-LOOKBACK - 1 : -1]), min(lows[-LOOKBACK - 1 : -1])
    mean_close = math.fsum(closes[-LOOKBACK - 1 : -1]) / LOOKBACK
    place = (close - low) / (high - low) if high > low else 0.5

    resistance_test = "none"
    top = max(close, closes[-2])
    if close > resistance:
        resistance_test = "breaking"
    elif place < 0.5 and (top < resistance <= high / 0.995 or top < mean_close <= high / 0.995):
        resistance_test = "rejected"
    elif close >= 0.98 * resistance:
        resistance_test = "near"

    support_test = "none"
    older = columns[3][: -(FALL_BARS + 1)]
    if place >= 0.5 and older.size and abs(low / float(older.min()) - 1) <= 0.03:
        support_test = "major_support"
    elif close < support:
        support_test = "broken"
    elif place >= 0.5 and abs(low / support - 1) <= 0.02:
        support_test = "holding"

    words: list[str] = []
    if close > resistance:
        words.append("breaking_resistance")
    if close < support:
        words.append("breaking_support")
    if high > resistance > close and close < opens[-1]:
        words.append("failed_breakout")
    if high > resistance and place <= 1 / 3 and high > low and closes[-2] > closes[-3]:
        words.append("first_rejection")
    if low < support and place >= 2 / 3 and low <= 0.9 * max(closes[-11:-1]):
        words.append("v_bottom")
    width = (max(highs[-10:]) - min(lows[-10:])) / close
    if width <= 0.08:
        words.append("tight_consolidation" if width <= 0.04 else "consolidating")
    if (max(highs[-5:]) - min(lows[-5:])) / close <= 0.08 and closes[-6] / closes[-16] >= 1.05:
        words.append("consolidating_gains")
    return {
        "resistance_level": resistance,
        "support_level": support,
        "resistance_test": resistance_test,
        "support_test": support_test,
        "price_action": words,
    }


def _trend(closes: list[float]) -> str:
    """Where the close before today stood to the mean of the 50 closes up to it.

    More than 15 % away: `extended_uptrend`, `extended_downtrend`; more than 2 %: `uptrend`, `downtrend`;
    otherwise `sideways`.
    """
    away = closes[-2] / (math.fsum(closes[-TREND_BARS - 1 : -1]) / TREND_BARS) - 1
    if abs(away) <= 0.02:
        return "sideways"
    extended = "extended_" if abs(away) > 0.15 else ""
    return f"{extended}{'uptrend' if away > 0 else 'downtrend'}"
