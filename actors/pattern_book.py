"""Joey's pattern book, as data: the original's ten patterns, and the bar patterns (`actors.bar_patterns`).

The ten have the original's classes, weights, rules and exits. What could never match is put right:

- "Volume below the average" of dead_cat_bounce and fading_the_gap is a volume ratio below 1. The original
  compared the volume with the literal word.
- "Climax" volume of parabolic_blowoff is five times the usual or more: its own washout_reversal calls the
  same at the bottom a spike.
- sympathy_play compares the price with the number under `leader_price`.
- morning_panic takes any catalyst that names an overreaction or a panic, not that one word alone.
- post_earnings_drift traded both sides of a beat. A short needs the mirror image: a miss, a fall, a lowered
  guidance.
- No position above 10 % of the equity: the rule book's ceiling (the original had 12 and 15 % in five
  patterns).

Fields are described in `actors.indicators`; those that no bar can tell (float in millions of shares,
short_interest and borrow cost in percent, days_to_cover, market_cap in millions, catalyst and the like) come
from the sender's `features`. So squeezer, short_squeeze_setup, low_float_big_gainer, post_earnings_drift,
sympathy_play, morning_panic (its catalyst) and fading_the_gap (its weak catalyst) need features;
washout_reversal, parabolic_blowoff and dead_cat_bounce can be seen in bars alone.
"""

from __future__ import annotations

from actors.bar_patterns import BAR_PATTERNS
from actors.page import (
    LevelStop,
    MoveStop,
    MoveTargets,
    Pattern,
    Preferred,
    SpanTargets,
    VolatilityStop,
    Weights,
)
from actors.rules import Above, Below, BelowField, Is, Known, Says, Within

__all__ = ["BOOK", "TEN"]

TEN: tuple[Pattern, ...] = (
    Pattern(
        name="squeezer",
        direction="long",
        family="momentum",
        weight=0.95,
        required=(
            Below("float", 20),
            Above("short_interest", 20),
            Above("volume_ratio", 2),
            Says("price_action", ("tight_consolidation",)),
        ),
        preferred=(
            Preferred(0.20, Known("catalyst")),
            Preferred(0.15, Within("rsi", 40, 60)),
            Preferred(0.10, Above("cost_to_borrow", 100)),
        ),
        entry="breakout",
        stop=MoveStop(0.05),
        targets=MoveTargets(((0.15, 33), (0.30, 33), (0.50, 34))),
        largest=0.10,
        hold_hours=48,
        weights=Weights(0.40, 0.30, 0.20, 0.10),
    ),
    Pattern(
        name="short_squeeze_setup",
        direction="long",
        family="momentum",
        weight=0.90,
        required=(
            Above("short_interest", 30),
            Above("days_to_cover", 3),
            Known("catalyst"),
            Is("price_action", ("breaking_resistance",)),
        ),
        preferred=(
            Preferred(0.25, Above("cost_to_borrow", 100)),
            Preferred(0.20, Below("float", 50)),
            Preferred(0.15, Is("retail_sentiment", ("bullish",))),
        ),
        entry="breakout",
        stop=VolatilityStop(2),
        targets=MoveTargets(((0.25, 40), (0.50, 35), (1.00, 25))),
        largest=0.08,
        hold_hours=72,
        weights=Weights(0.35, 0.15, 0.30, 0.20),
    ),
    Pattern(
        name="low_float_big_gainer",
        direction="long",
        family="momentum",
        weight=0.88,
        required=(
            Below("float", 10),
            Above("price_change_percent", 50),
            Known("catalyst"),
            Above("volume_ratio", 5),
        ),
        preferred=(
            Preferred(0.15, Below("market_cap", 500)),
            Preferred(0.10, Within("price", 3, 20)),
            Preferred(0.20, Is("pattern_time", ("pre_market",))),
        ),
        entry="pullback",
        stop=LevelStop(("previous_consolidation", "swing_low")),
        targets=MoveTargets(((0.25, 50), (0.50, 30), (1.00, 20))),
        largest=0.08,
        hold_hours=120,
        weights=Weights(0.25, 0.15, 0.45, 0.15),
    ),
    Pattern(
        name="washout_reversal",
        direction="long",
        family="mean_reversion",
        weight=0.87,
        required=(
            Above("decline_from_high", 40),
            Above("volume_ratio", 5),
            Is("price_action", ("v_bottom",)),
            Below("rsi", 25),
        ),
        preferred=(
            Preferred(0.25, Is("support_test", ("major_support",))),
            Preferred(0.20, Says("catalyst", ("positive_shift",))),
            Preferred(0.15, Is("insider_buying", True)),
        ),
        entry="limit",
        stop=LevelStop(("washout_low", "swing_low")),
        targets=MoveTargets(((0.25, 40), (0.50, 35), (0.75, 25))),
        largest=0.10,
        hold_hours=240,
        weights=Weights(0.45, 0.25, 0.20, 0.10),
    ),
    Pattern(
        name="post_earnings_drift",
        direction="long",
        family="momentum",
        weight=0.85,
        required=(
            Is("earnings_beat", True),
            Above("initial_reaction", 5),
            Above("volume_ratio", 2),
            Within("days_since_earnings", 1, 5),
        ),
        preferred=(
            Preferred(0.25, Is("guidance", ("raised",))),
            Preferred(0.15, Above("analyst_upgrades", 0)),
            Preferred(0.20, Is("price_action", ("consolidating_gains",))),
        ),
        entry="pullback",
        stop=LevelStop(("earnings_reaction_low", "swing_low")),
        targets=MoveTargets(((0.10, 30), (0.20, 40), (0.30, 30))),
        largest=0.10,
        hold_hours=480,
        weights=Weights(0.25, 0.40, 0.25, 0.10),
    ),
    Pattern(
        name="post_earnings_drift",
        direction="short",
        family="momentum",
        weight=0.85,
        required=(
            Is("earnings_beat", False),
            Below("initial_reaction", -5),
            Above("volume_ratio", 2),
            Within("days_since_earnings", 1, 5),
        ),
        preferred=(
            Preferred(0.25, Is("guidance", ("lowered",))),
            Preferred(0.15, Above("analyst_downgrades", 0)),
            Preferred(0.20, Is("price_action", ("consolidating",))),
        ),
        entry="pullback",
        stop=LevelStop((), short=("earnings_reaction_high", "swing_high")),
        targets=MoveTargets(((0.10, 30), (0.20, 40), (0.30, 30))),
        largest=0.10,
        hold_hours=480,
        weights=Weights(0.25, 0.40, 0.25, 0.10),
    ),
    Pattern(
        name="parabolic_blowoff",
        direction="short",
        family="momentum_reversal",
        weight=0.83,
        required=(
            Above("gain_last_5_days", 50),
            Is("acceleration", ("parabolic",)),
            Within("volume_ratio", 5, float("inf")),
            Above("rsi", 80),
        ),
        preferred=(
            Preferred(0.20, Is("social_sentiment", ("euphoric",))),
            Preferred(0.15, Is("news_coverage", ("mainstream",))),
            Preferred(0.25, Is("price_action", ("first_rejection",))),
        ),
        entry="limit",
        stop=MoveStop(0.10),
        targets=MoveTargets(((0.20, 50), (0.40, 30), (0.60, 20))),
        largest=0.10,
        hold_hours=120,
        weights=Weights(0.50, 0.10, 0.15, 0.25),
    ),
    Pattern(
        name="dead_cat_bounce",
        direction="short",
        family="mean_reversion",
        weight=0.82,
        required=(
            Above("price_decline_percent", 30),
            Within("bounce_percent", 10, 25),
            Below("volume_ratio", 1),
            Below("rsi", 50),
        ),
        preferred=(
            Preferred(0.25, Says("catalyst", ("negative",))),
            Preferred(0.15, Below("short_interest", 10)),
            Preferred(0.20, Is("resistance_test", ("rejected",))),
        ),
        entry="limit",
        stop=MoveStop(0.07),
        targets=MoveTargets(((0.15, 50), (0.30, 30), (0.50, 20))),
        largest=0.10,
        hold_hours=72,
        weights=Weights(0.45, 0.30, 0.15, 0.10),
    ),
    Pattern(
        name="morning_panic",
        direction="long",
        family="mean_reversion",
        weight=0.80,
        required=(
            Above("decline_percent", 5),
            Above("volume_ratio", 3),
            Below("rsi", 30),
            Says("catalyst", ("overreaction", "panic")),
        ),
        preferred=(
            Preferred(0.25, Is("prior_trend", ("uptrend", "extended_uptrend"))),
            Preferred(0.20, Is("support_test", ("holding", "major_support"))),
            Preferred(0.15, Is("market_sentiment", ("positive", "bullish"))),
        ),
        entry="limit",
        stop=MoveStop(0.03),
        targets=SpanTargets(((0.30, 60), (0.50, 30), (0.75, 10)), start="day_low", end="previous_close"),
        largest=0.10,
        hold_hours=6,
        weights=Weights(0.45, 0.20, 0.25, 0.10),
    ),
    Pattern(
        name="fading_the_gap",
        direction="short",
        family="mean_reversion",
        weight=0.78,
        required=(
            Within("gap_percent", 3, 10),
            Below("volume_ratio", 1),
            Is("price_action", ("failed_breakout",)),
            Is("catalyst_strength", ("weak",)),
        ),
        preferred=(
            Preferred(0.20, Above("rsi", 70)),
            Preferred(0.15, Is("resistance_test", ("near", "rejected"))),
            Preferred(0.15, Is("prior_trend", ("extended", "extended_uptrend"))),
        ),
        entry="limit",
        stop=LevelStop((), short=("first_15min_high", "day_high")),
        targets=SpanTargets(((0.50, 60), (0.75, 25), (1.00, 15)), start="day_open", end="previous_close"),
        largest=0.10,
        hold_hours=8,
        weights=Weights(0.50, 0.20, 0.20, 0.10),
    ),
    Pattern(
        name="sympathy_play",
        direction="long",
        family="momentum",
        weight=0.75,
        required=(
            Above("sector_leader_gain", 20),
            Above("correlation", 0.6),
            Within("lag_percent", 0, 50),
            Above("volume_ratio", 1.5),
        ),
        preferred=(
            Preferred(0.20, BelowField("price", "leader_price")),
            Preferred(0.15, Below("float", 50)),
            Preferred(0.15, Is("chart_pattern", ("breakout_setup",))),
        ),
        entry="breakout",
        stop=MoveStop(0.08),
        targets=MoveTargets(((0.20, 50), (0.40, 35), (0.60, 15))),
        largest=0.10,
        hold_hours=48,
        weights=Weights(0.35, 0.15, 0.30, 0.20),
    ),
)
"""The original's ten patterns; post_earnings_drift has a page for each side."""


BOOK: tuple[Pattern, ...] = TEN + BAR_PATTERNS
"""Every page of the book."""
