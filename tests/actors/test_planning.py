from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.page import CEILING, Direction, Pattern
from actors.pattern_book import BOOK
from actors.planning import build

LEVELS = (
    "swing_low",
    "swing_high",
    "washout_low",
    "previous_consolidation",
    "earnings_reaction_low",
    "first_15min_high",
    "day_open",
    "day_low",
    "day_high",
    "previous_close",
    "atr",
)


def page(name: str, direction: str) -> Pattern:
    return next(one for one in BOOK if (one.name, one.direction) == (name, direction))


def plan(name: str, direction: Direction, price: float, facts: dict[str, Any], **named: Any) -> Any:
    return build(page(name, direction), direction, price, facts, confidence=0.75, **named)


@given(
    st.sampled_from(BOOK),
    st.floats(1e-6, 1e9),
    st.dictionaries(st.sampled_from(LEVELS), st.floats(0.01, 3.0)),
    st.one_of(st.none(), st.floats(0.1, 3.0)),
    st.one_of(st.none(), st.floats(0.1, 3.0)),
)
@settings(max_examples=150, deadline=None)
def test_every_plan_keeps_its_promises(
    pattern: Pattern, price: float, parts: dict[str, float], stop: float | None, target: float | None
) -> None:
    direction = pattern.direction
    assume(direction != "both")
    facts = {name: part * price for name, part in parts.items()}
    made = build(
        pattern,
        direction,  # type: ignore[arg-type]
        price,
        facts,
        confidence=0.7,
        stop_loss=None if stop is None else stop * price,
        target=None if target is None else target * price,
    )
    if made is None:
        return
    side = 1 if direction == "long" else -1
    assert min(made.entry_price, made.stop_loss, made.target) > 0
    assert (made.entry_price - made.stop_loss) * side > 0
    assert (made.target - made.entry_price) * side > 0
    risk = abs(made.entry_price - made.stop_loss)
    assert made.risk_reward_ratio == pytest.approx(abs(made.target - made.entry_price) / risk)
    assert 0 < made.position_size_pct <= pattern.largest <= CEILING
    assert made.position_size_pct * risk / made.entry_price <= 0.02 + 1e-12


def test_a_breakout_is_entered_half_a_percent_beyond_the_price() -> None:
    made = plan("squeezer", "long", 100.0, {})
    assert (made.entry, made.entry_price) == ("limit", pytest.approx(100.5))
    assert made.stop_loss == pytest.approx(100.5 * 0.95)
    assert made.target == pytest.approx(100.5 * (1 + 0.15 * 0.33 + 0.30 * 0.33 + 0.50 * 0.34))
    assert made.position_size_pct == 0.10


def test_a_pullback_is_entered_two_percent_on_the_near_side() -> None:
    assert plan("post_earnings_drift", "long", 100.0, {}).entry_price == pytest.approx(98)
    assert plan("post_earnings_drift", "short", 100.0, {}).entry_price == pytest.approx(102)


def test_a_bar_pattern_stops_two_ranges_away_and_aims_at_multiples_of_the_risk() -> None:
    made = plan("breakout", "short", 100.0, {"atr": 3.0})
    assert (made.entry, made.entry_price, made.stop_loss) == ("market", 100.0, pytest.approx(106))
    assert made.target == pytest.approx(100 - 6 * (1.5 * 0.5 + 2.5 * 0.3 + 4 * 0.2))
    assert made.risk_reward_ratio == pytest.approx(2.3)


def test_a_wide_stop_makes_a_small_position() -> None:
    made = plan("breakout", "long", 100.0, {"atr": 20.0})
    assert made.position_size_pct == pytest.approx(0.05)
    assert "wide stop: 40.0%" in made.notes


def test_a_level_stop_stands_one_percent_beyond_its_level() -> None:
    made = plan("washout_reversal", "long", 50.0, {"washout_low": 45.0, "swing_low": 40.0})
    assert made.stop_loss == pytest.approx(45 * 0.99)


def test_a_level_on_the_wrong_side_is_passed_over() -> None:
    made = plan("washout_reversal", "long", 50.0, {"washout_low": 55.0, "swing_low": 40.0})
    assert made.stop_loss == pytest.approx(40 * 0.99)


def test_where_no_level_is_known_the_plan_says_so() -> None:
    with_range = plan("washout_reversal", "long", 50.0, {"atr": 2.0})
    assert with_range.stop_loss == pytest.approx(46)
    assert "no level for the stop is known: it stands 2 ATR away" in with_range.notes
    without = plan("washout_reversal", "long", 50.0, {})
    assert without.stop_loss == pytest.approx(47.5)
    assert "neither level nor ATR is known for the stop: it stands 5% away" in without.notes


def test_a_gap_is_faded_by_fractions_of_the_gap_with_the_stop_above() -> None:
    facts = {"day_open": 105.0, "previous_close": 100.0, "day_high": 106.0}
    made = plan("fading_the_gap", "short", 104.0, facts)
    assert made.stop_loss == pytest.approx(106 * 1.01)
    assert made.target == pytest.approx(102.5 * 0.60 + 101.25 * 0.25 + 100 * 0.15)
    assert made.risk_reward_ratio == pytest.approx((104 - made.target) / (made.stop_loss - 104))


def test_a_panic_is_bought_for_fractions_of_its_fall() -> None:
    made = plan("morning_panic", "long", 90.5, {"day_low": 90.0, "previous_close": 100.0})
    assert made.stop_loss == pytest.approx(90.5 * 0.97)
    assert made.target == pytest.approx(93 * 0.60 + 95 * 0.30 + 97.5 * 0.10)


def test_targets_that_were_passed_already_are_left_out() -> None:
    made = plan("morning_panic", "long", 94.0, {"day_low": 90.0, "previous_close": 100.0})
    assert made.target == pytest.approx((95 * 30 + 97.5 * 10) / 40)
    assert "1 of 3 targets were passed already or out of reach" in made.notes


def test_without_the_ends_of_the_span_or_with_all_of_it_done_there_is_no_plan() -> None:
    assert plan("morning_panic", "long", 94.0, {"day_low": 90.0}) is None
    assert plan("morning_panic", "long", 99.0, {"day_low": 90.0, "previous_close": 100.0}) is None


def test_a_stop_and_a_target_of_the_sender_stand() -> None:
    made = plan("breakout", "long", 100.0, {"atr": 3.0}, stop_loss=98.0, target=110.0)
    assert (made.stop_loss, made.target, made.risk_reward_ratio) == (98.0, 110.0, pytest.approx(5.0))


def test_a_stop_of_the_sender_on_the_wrong_side_is_replaced_and_told() -> None:
    made = plan("breakout", "long", 100.0, {"atr": 3.0}, stop_loss=101.0)
    assert made.stop_loss == pytest.approx(94)
    assert any("wrong side" in note for note in made.notes)
