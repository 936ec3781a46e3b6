import math
import subprocess
import sys
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings

from actors.indicators import market
from actors.messages import Market
from actors.window import Window
from ark.signal import Bar
from tests.actors.bars import path, series, walk, window


def figures(bars: list[Bar]) -> Market:
    return market(window(bars), None, bars[-1].close)


def wilder(values: list[float], period: int) -> float:
    mean = sum(values[:period]) / period
    for value in values[period:]:
        mean = (mean * (period - 1) + value) / period
    return mean


def averages(values: list[float], period: int, start: int) -> list[float]:
    """Exponential means, started with the plain mean of the `period` values up to `start`."""
    mean = sum(values[start - period + 1 : start + 1]) / period
    means = [mean]
    for value in values[start + 1 :]:
        mean += (value - mean) * 2 / (period + 1)
        means.append(mean)
    return means


@pytest.fixture(scope="module")
def year() -> list[Bar]:
    return walk(200, seed=7)


def test_rsi_is_wilders(year: list[Bar]) -> None:
    moves = [late.close - early.close for early, late in pairwise(year)]
    gain = wilder([max(move, 0.0) for move in moves], 14)
    loss = wilder([max(-move, 0.0) for move in moves], 14)
    assert figures(year).rsi == pytest.approx(100 * gain / (gain + loss))


def test_atr_is_wilders(year: list[Bar]) -> None:
    ranges = [
        max(bar.high - bar.low, abs(bar.high - before.close), abs(bar.low - before.close))
        for before, bar in pairwise(year)
    ]
    assert figures(year).atr == pytest.approx(wilder(ranges, 14))


def test_macd_is_the_difference_of_two_exponential_means(year: list[Bar]) -> None:
    closes = [bar.close for bar in year]
    lines = [fast - slow for fast, slow in zip(averages(closes, 12, 25), averages(closes, 26, 25), strict=True)]
    found = figures(year)
    assert found.macd == pytest.approx(lines[-1])
    assert found.macd_signal == pytest.approx(averages(lines, 9, 8)[-1])


def test_volume_gap_and_change_are_against_the_bars_before(year: list[Bar]) -> None:
    found = figures(year)
    last, before = year[-1], year[-2]
    assert found.volume_ratio == pytest.approx(last.volume / (sum(bar.volume for bar in year[-21:-1]) / 20))
    assert found.gap_pct == pytest.approx(last.open / before.close - 1)
    assert found.change_pct == pytest.approx(last.close / before.close - 1)
    assert found.facts["decline_from_high"] == pytest.approx(100 * (1 - last.close / max(bar.high for bar in year)))
    assert found.facts["gain_last_5_days"] == pytest.approx(100 * (last.close / year[-6].close - 1))


def test_the_newest_close_is_told_with_the_time_of_its_bar(year: list[Bar]) -> None:
    found = figures(year)
    assert (found.close, found.close_at) == (year[-1].close, year[-1].ts)
    assert (figures(year[:1]).close, figures(year[:1]).close_at) == (year[0].close, year[0].ts)


def test_without_bars_there_is_only_the_price() -> None:
    assert market(Window(), None, 12.5) == Market(price=12.5)


def test_figures_are_none_until_there_are_bars_enough() -> None:
    bars = walk(60)
    first = dict.fromkeys(("gap_pct", "rsi", "atr", "volume_ratio", "macd", "macd_signal"), 0)
    for name in first:
        first[name] = next(count for count in range(1, 60) if getattr(figures(bars[:count]), name) is not None)
    assert first == {"gap_pct": 2, "rsi": 15, "atr": 15, "volume_ratio": 21, "macd": 34, "macd_signal": 34}


def test_a_price_that_never_moved_has_no_rsi() -> None:
    assert figures(path([10.0] * 40)).rsi is None


def test_without_volume_there_is_no_volume_ratio() -> None:
    assert figures(path([10.0] * 40, volume=0.0)).volume_ratio is None


@given(series())
@settings(max_examples=60, deadline=None)
def test_any_valid_bars_give_figures_that_can_travel(bars: list[Bar]) -> None:
    found = figures(bars)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Market) == found
    for name in ("volume_ratio", "rsi", "macd", "macd_signal", "atr", "gap_pct", "change_pct"):
        value = getattr(found, name)
        assert value is None or math.isfinite(value)
    assert (found.close, found.close_at) == (bars[-1].close, bars[-1].ts)
    assert found.rsi is None or -1e-9 <= found.rsi <= 100 + 1e-9


@given(series())
@settings(max_examples=30, deadline=None)
def test_the_same_bars_give_the_same_figures_to_the_bit(bars: list[Bar]) -> None:
    assert msgspec.msgpack.encode(figures(bars)) == msgspec.msgpack.encode(figures(list(bars)))


def last(opened: float, high: float, low: float, close: float, volume: float = 1000.0) -> Bar:
    return Bar(2e9, opened, high, low, close, volume)


@pytest.mark.parametrize(
    ("bars", "word"),
    [
        ([*path([100.0] * 30), last(100, 104, 100, 103)], "breaking_resistance"),
        ([*path([100.0] * 30), last(100, 100, 96, 97)], "breaking_support"),
        ([*path([100.0] * 30), last(102, 103, 99, 100)], "failed_breakout"),
        ([*path([100.0] * 30 + [100.5]), last(101, 106, 101, 102)], "first_rejection"),
        ([*path([100.0] * 30 + [95, 90, 85]), last(84, 85, 78, 84.5)], "v_bottom"),
        (path([100.0] * 40), "tight_consolidation"),
        (path([100.0, 103.0] * 20), "consolidating"),
        (path([100.0] * 20 + [102 + day for day in range(8)] + [110.0] * 6), "consolidating_gains"),
    ],
)
def test_price_action_names_what_happened(bars: list[Bar], word: str) -> None:
    assert word in figures(bars).facts["price_action"]


def test_a_fall_and_the_bounce_from_its_bottom_are_measured() -> None:
    fall = [100.0] * 30 + [100 - 5 * day for day in range(1, 10)]
    facts = figures(path([*fall, 58.0, 62.0], range_part=0.0)).facts
    assert facts["price_decline_percent"] == pytest.approx(45)
    assert facts["bounce_percent"] == pytest.approx(100 * (62 / 55 - 1))


@pytest.mark.parametrize(
    ("closes", "word"),
    [
        ([100.0] * 10 + [100, 100, 100, 100, 100, 101, 102, 103, 104, 105], "none"),
        ([100.0] * 5 + [101, 101, 101, 101, 101, 106, 106, 106, 106, 106, 130], "parabolic"),
        ([100.0] * 5 + [101, 101, 101, 101, 101, 106, 106, 106, 106, 106, 112], "accelerating"),
        ([100.0] * 5 + [101, 101, 101, 101, 101, 111, 111, 111, 111, 111, 112], "decelerating"),
    ],
)
def test_acceleration_compares_three_gains(closes: list[float], word: str) -> None:
    assert figures(path(closes)).facts["acceleration"] == word


@pytest.mark.parametrize(
    ("growth", "word"),
    [
        (1.0, "sideways"),
        (1.002, "uptrend"),
        (1.01, "extended_uptrend"),
        (0.998, "downtrend"),
        (0.99, "extended_downtrend"),
    ],
)
def test_the_trend_before_today_is_told(growth: float, word: str) -> None:
    assert figures(path([100 * growth**day for day in range(60)])).facts["prior_trend"] == word


def test_importing_it_leaves_pandas_out() -> None:
    code = "import sys, actors.indicators; print('pandas' in sys.modules, 'polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
