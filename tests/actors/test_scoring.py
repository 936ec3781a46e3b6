from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.page import Weights
from actors.scoring import score
from tests.actors.test_patterns import FIELDS, VALUES

BEST = {
    "rsi": 55.0,
    "macd": 1.0,
    "macd_signal": 0.5,
    "volume_ratio": 3.0,
    "volume": 1e6,
    "price_action": ["breaking_resistance"],
    "support_level": 9.0,
    "market_cap": 500,
    "float": 8,
    "short_interest": 35,
    "cost_to_borrow": 120,
    "catalyst": "An FDA approval",
    "catalyst_strength": "strong",
    "earnings_beat_percent": 25,
    "sentiment": "bullish",
    "social_sentiment": "bullish",
    "analyst_upgrades": 2,
    "insider_buying": True,
}


def test_the_best_of_everything_scores_one() -> None:
    assert score(BEST, "long") == pytest.approx(
        dict.fromkeys(("technical", "fundamental", "catalyst", "sentiment", "weighted_total", "completeness"), 1.0)
    )


def test_nothing_known_scores_nothing() -> None:
    assert score({}, "long") == {"weighted_total": 0.0, "completeness": pytest.approx(0.45)}


def test_an_unknown_dimension_does_not_count_against_a_setup() -> None:
    technical = {name: BEST[name] for name in ("rsi", "macd", "macd_signal", "volume_ratio")}
    scores = score(technical, "long")
    assert scores["technical"] == 1.0
    assert scores["weighted_total"] == 1.0
    assert "catalyst" not in scores
    assert scores["completeness"] < 0.6


@pytest.mark.parametrize(
    ("facts", "direction", "dimension", "points"),
    [
        ({"rsi": 55}, "long", "technical", 0.25 / 0.25),
        ({"rsi": 75}, "long", "technical", 0.15 / 0.25),
        ({"rsi": 85}, "long", "technical", 0.05 / 0.25),
        ({"rsi": 35}, "short", "technical", 0.25 / 0.25),
        ({"rsi": 65}, "short", "technical", 0.15 / 0.25),
        ({"macd": 1, "macd_signal": 2}, "long", "technical", 0.08 / 0.20),
        ({"macd": 1, "macd_signal": 2}, "short", "technical", 1.0),
        ({"volume_ratio": 1.5}, "long", "technical", 0.18 / 0.25),
        ({"volume_ratio": 1}, "long", "technical", 0.12 / 0.25),
        ({"volume_ratio": 0.5}, "long", "technical", 0.05 / 0.25),
        ({"price_action": "drifting"}, "long", "technical", 0.08 / 0.15),
        ({"price_action": []}, "long", "technical", None),
        ({"market_cap": 60}, "long", "fundamental", 0.12 / 0.20),
        ({"float": 25}, "long", "fundamental", 0.22 / 0.30),
        ({"short_interest": 20}, "long", "fundamental", 0.20 / 0.30),
        ({"short_interest": 5}, "short", "fundamental", 1.0),
        ({"cost_to_borrow": 60}, "long", "fundamental", 0.12 / 0.20),
        ({"cost_to_borrow": 60}, "short", "fundamental", None),
        ({"catalyst": "quarterly guidance"}, "long", "catalyst", 0.25 / 0.40),
        ({"catalyst": "rumour"}, "long", "catalyst", 0.15 / 0.40),
        ({"catalyst_strength": "Moderate"}, "long", "catalyst", 0.18 / 0.30),
        ({"sentiment": "bearish"}, "long", "sentiment", 0.05 / 0.35),
        ({"sentiment": "bearish"}, "short", "sentiment", 1.0),
        ({"sentiment": "neutral"}, "short", "sentiment", 0.15 / 0.35),
        ({"retail_sentiment": "neutral"}, "long", "sentiment", 0.10 / 0.25),
    ],
)
def test_a_factor_earns_its_points(
    facts: dict[str, Any], direction: Any, dimension: str, points: float | None
) -> None:
    assert score(facts, direction).get(dimension) == (None if points is None else pytest.approx(points))


def test_the_total_is_weighed_by_the_pattern() -> None:
    facts = {"rsi": 85, "sentiment": "bullish"}
    assert score(facts, "long", Weights(0.75, 0, 0, 0.25))["weighted_total"] == pytest.approx(0.75 * 0.2 + 0.25)


@given(st.dictionaries(st.sampled_from([*FIELDS, *BEST]), VALUES), st.sampled_from(["long", "short"]))
@settings(deadline=None)
def test_every_score_lies_between_0_and_1(facts: Any, direction: Any) -> None:
    assert all(0 <= points <= 1 for points in score(facts, direction).values())
