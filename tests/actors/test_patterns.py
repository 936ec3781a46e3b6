from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.bar_patterns import BAR_PATTERNS
from actors.indicators import market
from actors.messages import Market
from actors.page import CEILING, Direction
from actors.pattern_book import BOOK, TEN
from actors.patterns import confidence, gather, match
from ark.signal import Bar, Signal
from tests.actors.bars import path, window

SIGNAL = Signal(symbol="ACME", direction="long", price=10.0)

EXAMPLES: dict[tuple[str, Direction], tuple[dict[str, Any], dict[str, Any]]] = {
    ("squeezer", "long"): (
        {"float": 12, "short_interest": 25, "volume_ratio": 2.5, "price_action": ["tight_consolidation"]},
        {"catalyst": "contract win", "rsi": 50, "cost_to_borrow": 120},
    ),
    ("short_squeeze_setup", "long"): (
        {"short_interest": 35, "days_to_cover": 4, "catalyst": "FDA nod", "price_action": "breaking resistance"},
        {"cost_to_borrow": 150, "float": 30, "retail_sentiment": "bullish"},
    ),
    ("low_float_big_gainer", "long"): (
        {"float": 5, "price_change_percent": 60, "catalyst": "merger", "volume_ratio": 6},
        {"market_cap": 300, "price": 8.0, "pattern_time": "pre_market"},
    ),
    ("washout_reversal", "long"): (
        {"decline_from_high": 45, "volume_ratio": 6, "price_action": ["v_bottom"], "rsi": 20},
        {"support_test": "major_support", "catalyst": "positive shift", "insider_buying": True},
    ),
    ("post_earnings_drift", "long"): (
        {"earnings_beat": True, "initial_reaction": 6, "volume_ratio": 3, "days_since_earnings": 2},
        {"guidance": "raised", "analyst_upgrades": 1, "price_action": ["consolidating_gains"]},
    ),
    ("post_earnings_drift", "short"): (
        {"earnings_beat": False, "initial_reaction": -6, "volume_ratio": 3, "days_since_earnings": 2},
        {"guidance": "lowered", "analyst_downgrades": 1, "price_action": ["consolidating"]},
    ),
    ("parabolic_blowoff", "short"): (
        {"gain_last_5_days": 60, "acceleration": "parabolic", "volume_ratio": 5, "rsi": 85},
        {"social_sentiment": "euphoric", "news_coverage": "mainstream", "price_action": ["first_rejection"]},
    ),
    ("dead_cat_bounce", "short"): (
        {"price_decline_percent": 35, "bounce_percent": 15, "volume_ratio": 0.8, "rsi": 40},
        {"catalyst": "negative outlook", "short_interest": 5, "resistance_test": "rejected"},
    ),
    ("morning_panic", "long"): (
        {"decline_percent": 8, "volume_ratio": 4, "rsi": 25, "catalyst": "overreaction to a rumour"},
        {"prior_trend": "uptrend", "support_test": "holding", "market_sentiment": "positive"},
    ),
    ("fading_the_gap", "short"): (
        {"gap_percent": 5, "volume_ratio": 0.7, "price_action": ["failed_breakout"], "catalyst_strength": "weak"},
        {"rsi": 75, "resistance_test": "near", "prior_trend": "extended_uptrend"},
    ),
    ("sympathy_play", "long"): (
        {"sector_leader_gain": 25, "correlation": 0.7, "lag_percent": 20, "volume_ratio": 2},
        {"price": 10.0, "leader_price": 50.0, "float": 40, "chart_pattern": "breakout setup"},
    ),
}  # fmt: skip


def page(name: str, direction: str) -> Any:
    return next(one for one in BOOK if (one.name, one.direction) == (name, direction))


def test_the_book_has_the_ten_patterns_and_the_bar_patterns() -> None:
    assert {(one.name, one.direction) for one in TEN} == set(EXAMPLES)
    assert len({one.name for one in TEN}) == 10
    assert {one.name for one in BAR_PATTERNS} == {"breakout", "momentum", "reversal", "volume_anomaly"}
    assert len({(one.name, one.direction) for one in BOOK}) == len(BOOK)


@pytest.mark.parametrize("one", BOOK, ids=lambda one: f"{one.name}-{one.direction}")
def test_every_page_is_within_bounds(one: Any) -> None:
    assert 0 < one.largest <= CEILING
    assert 0 < one.weight <= 1
    weights = one.weights
    assert weights.technical + weights.fundamental + weights.catalyst + weights.sentiment == pytest.approx(1)
    assert sum(portion for _, portion in one.targets.levels) == 100
    # No page is sure enough for a plan by its required rules alone, and every one can become so.
    assert 0.6 * one.weight < 0.65 <= min(1.0, 0.6 + sum(wish.points for wish in one.preferred)) * one.weight


@pytest.mark.parametrize("key", EXAMPLES, ids="-".join)
def test_each_of_the_ten_can_be_matched(key: tuple[str, Direction]) -> None:
    required, preferred = EXAMPLES[key]
    found = {one.pattern.name: one.confidence for one in match({**required}, key[1])}
    weight = page(*key).weight
    assert found[key[0]] <= weight
    sure = {one.pattern.name: one.confidence for one in match({**preferred, **required}, key[1])}
    assert sure[key[0]] == pytest.approx(weight)


@pytest.mark.parametrize("key", EXAMPLES, ids="-".join)
def test_a_missing_field_never_matches(key: tuple[str, Direction]) -> None:
    required, preferred = EXAMPLES[key]
    for field in required:
        facts = {name: value for name, value in {**preferred, **required}.items() if name != field}
        assert confidence(page(*key), facts) is None
        assert confidence(page(*key), {**facts, field: None}) is None


def test_a_short_pattern_is_no_match_for_a_long() -> None:
    required, _ = EXAMPLES["dead_cat_bounce", "short"]
    assert match(required, "long") == []


def test_confidence_is_the_originals_formula() -> None:
    required, preferred = EXAMPLES["dead_cat_bounce", "short"]
    assert confidence(page("dead_cat_bounce", "short"), required) == pytest.approx(0.6 * 0.82)
    with_one = {**required, "resistance_test": preferred["resistance_test"]}
    assert confidence(page("dead_cat_bounce", "short"), with_one) == pytest.approx(0.8 * 0.82)
    assert confidence(page("dead_cat_bounce", "short"), {**required, **preferred}) == pytest.approx(0.82)


FIELDS = sorted({rule.field for one in BOOK for rule in (*one.required, *(w.rule for w in one.preferred))})
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["weak", "parabolic", "negative", "uptrend", "", "rejected"]),
    st.lists(st.sampled_from(["v_bottom", "breaking_resistance", "failed_breakout"]), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.sampled_from(["long", "short"]))
@settings(deadline=None)
def test_any_facts_give_confidences_between_0_and_1_surest_first(facts: Any, direction: Direction) -> None:
    found = match(facts, direction)
    sure = [one.confidence for one in found]
    assert sure == sorted(sure, reverse=True)
    assert all(0 <= one.confidence <= one.pattern.weight for one in found)
    assert all(rule.holds(facts) for one in found for rule in one.pattern.required)


def test_a_feature_never_stands_above_a_figure_from_bars() -> None:
    signal = msgspec.structs.replace(SIGNAL, features={"rsi": 10, "price": 1.0, "float": 5, "volume_ratio": 9.0})
    facts = gather(signal, Market(price=11.0, rsi=55.0, volume_ratio=1.1, facts={"gap_percent": 2.0}))
    assert (facts["rsi"], facts["price"], facts["float"], facts["volume_ratio"]) == (55.0, 11.0, 5, 1.1)
    assert gather(signal, Market(price=11.0))["rsi"] == 10


@pytest.mark.parametrize(
    ("features", "ratio"),
    [
        ({"volume": 300, "avg_volume": 100}, 3.0),
        ({"volume_spike": 4.0}, 4.0),
        ({"volume_ratio": 2.0, "volume_spike": 4.0}, 2.0),
        ({"volume": 300, "avg_volume": 0}, None),
        ({"volume": 300}, None),
    ],
)
def test_without_bars_the_volume_ratio_comes_from_the_sender(features: dict[str, Any], ratio: float | None) -> None:
    facts = gather(msgspec.structs.replace(SIGNAL, features=features), Market(price=10.0))
    assert facts.get("volume_ratio") == ratio


def seen(bars: list[Bar], direction: Direction, **features: Any) -> dict[str, float]:
    signal = Signal(symbol="ACME", direction=direction, price=bars[-1].close, features=features)
    return {
        one.pattern.name: one.confidence
        for one in match(gather(signal, market(window(bars), None, bars[-1].close)), direction)
    }


def then(bars: list[Bar], *figures: float) -> list[Bar]:
    """One more bar: open, high, low, close, volume."""
    return [*bars, Bar(bars[-1].ts + 86_400, *figures)]


def test_a_dead_cat_bounce_is_seen_in_bars_alone() -> None:
    fall = [100.0] * 30 + [90.0, 80.0, 70.0] + [60.0] * 12
    bars = then(path([*fall, 62.0, 64.0]), 66.0, 71.0, 65.5, 66.0, 500.0)
    assert seen(bars, "short")["dead_cat_bounce"] >= 0.65


def test_a_washout_reversal_is_seen_in_bars_alone() -> None:
    closes = [50.0] * 40 + [50 + 2 * day for day in range(1, 31)] + [110.0] * 60
    closes += [110 - 4 * day for day in range(1, 15)]
    bars = then(path(closes, range_part=0.002), 52.0, 53.5, 49.0, 53.0, 8000.0)
    assert seen(bars, "long")["washout_reversal"] >= 0.65


def test_a_parabolic_blowoff_is_seen_in_bars_alone() -> None:
    closes = [100.0 + day * 0.1 for day in range(30)] + [
        104,
        105,
        106,
        107,
        108,
        110,
        113,
        116,
        120,
        125,
        135,
        148,
        165,
        190,
    ]
    bars = then(path(closes), 200.0, 240.0, 198.0, 205.0, 9000.0)
    assert seen(bars, "short")["parabolic_blowoff"] >= 0.65


def test_a_gap_is_faded_only_where_its_catalyst_is_known_to_be_weak() -> None:
    bars = path([80.0 * 1.004**day for day in range(80)])
    top = max(bar.high for bar in bars)
    bars = then(bars, bars[-1].close * 1.05, top * 1.05, top * 0.98, top * 0.99, 500.0)
    assert "fading_the_gap" not in seen(bars, "short")
    assert seen(bars, "short", catalyst_strength="weak")["fading_the_gap"] >= 0.468


def test_a_panic_is_bought_only_where_it_is_known_to_be_one() -> None:
    closes = [100.0 * 1.004**day for day in range(60)]
    closes += [closes[-1] * (1 - 0.012 * day) for day in range(1, 10)]
    bars = path(closes, range_part=0.002)
    close = bars[-1].close
    bars = then(bars, close * 0.96, close * 0.97, close * 0.88, close * 0.91, 5000.0)
    assert "morning_panic" not in seen(bars, "long")
    assert "morning_panic" in seen(bars, "long", catalyst="overreaction")


def test_a_breakout_on_volume_is_seen_in_bars_alone() -> None:
    bars = then(path([100.0 + (day % 3) for day in range(60)]), 102.0, 108.0, 102.0, 107.0, 2500.0)
    assert seen(bars, "long")["breakout"] >= 0.65
    assert "breakout" not in seen(bars, "short")


@pytest.mark.parametrize("direction", ["long", "short"])
def test_every_page_of_a_side_is_asked_where_its_first_field_is_known(direction: Direction) -> None:
    for (_, side), (required, preferred) in EXAMPLES.items():
        facts = {**required, **preferred}
        expected = {page.name for page in BOOK if page.direction == direction and confidence(page, facts)}
        assert {one.pattern.name for one in match(facts, direction)} == expected
        assert side != direction or expected
