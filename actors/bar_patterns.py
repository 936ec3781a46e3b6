"""Patterns of ordinary bars, with the thresholds of the original's market scanner, of which it had no book.

| pattern | the scanner asks for | what stands here |
|---|---|---|
| breakout | move over 3 %, volume over 1.5 times | the same |
| momentum | move over 2 %, sentiment on its side | move over 2 %, trend on its side, volume over the usual |
| reversal | move over 2 %, sentiment against it | move over 2 %, trend against it |
| volume_anomaly | volume over 2 times | the same, with a move over 1 %: less is consolidation |

The scanner drew its sentiment at random; a trend that can be measured stands instead. Moves are those of
the close against the close before. Weights and preferred rules are new: a plan needs a close beyond the
levels of 20 bars, or the MACD, trend or volume that go with it. Stops are 2 ATR away; targets are the plan
builder's multiples of the risk, 1.5, 2.5 and 4. Of the demo's 11,958 bars (AAPL, GOOG, IBM, MSFT, 2000 to
2013) about 6 % become a plan.
"""

from __future__ import annotations

from actors.page import CEILING, Direction, Pattern, Preferred, RiskTargets, VolatilityStop, Weights
from actors.rules import Above, Below, BelowField, Is, Rule

__all__ = ["BAR_PATTERNS"]


def _bar_patterns(direction: Direction) -> tuple[Pattern, ...]:
    """The bar patterns of one side; the short side is the long one in the mirror."""
    long = direction == "long"

    def moved(percent: float) -> Rule:
        return Above("price_change_percent", percent) if long else Below("price_change_percent", -percent)

    def page(name: str, weight: float, required: tuple[Rule, ...], *preferred: Preferred) -> Pattern:
        family = "mean_reversion" if name == "reversal" else "momentum"
        return Pattern(
            name=name,
            direction=direction,
            family=family,
            weight=weight,
            required=required,
            preferred=preferred,
            entry="market",
            stop=VolatilityStop(2),
            targets=RiskTargets(((1.5, 50), (2.5, 30), (4.0, 20))),
            largest=CEILING,
            hold_hours=120,
            weights=Weights(0.85, 0.05, 0.05, 0.05),
        )

    ahead, against = ("uptrend", "downtrend") if long else ("downtrend", "uptrend")
    trend = Is("prior_trend", (ahead, f"extended_{ahead}"))
    countertrend = Is("prior_trend", (against, f"extended_{against}"))
    through = Is("price_action", ("breaking_resistance" if long else "breaking_support",))
    lines = BelowField("macd_signal", "macd") if long else BelowField("macd", "macd_signal")
    spent = Below("rsi", 40) if long else Above("rsi", 60)
    turned = (
        Is("support_test", ("holding", "major_support")) if long else Is("resistance_test", ("near", "rejected"))
    )
    return (
        page(
            "breakout",
            0.85,
            (moved(3), Above("volume_ratio", 1.5)),
            Preferred(0.20, through),
            Preferred(0.10, lines),
            Preferred(0.10, trend),
        ),
        page(
            "momentum",
            0.80,
            (moved(2), trend, Above("volume_ratio", 1)),
            Preferred(0.20, through),
            Preferred(0.10, lines),
            Preferred(0.10, Above("volume_ratio", 1.5)),
        ),
        page(
            "reversal",
            0.78,
            (moved(2), countertrend),
            Preferred(0.15, Above("volume_ratio", 1.5)),
            Preferred(0.15, turned),
            Preferred(0.10, spent),
        ),
        page(
            "volume_anomaly",
            0.75,
            (moved(1), Above("volume_ratio", 2)),
            Preferred(0.15, through),
            Preferred(0.15, lines),
            Preferred(0.10, trend),
        ),
    )


BAR_PATTERNS: tuple[Pattern, ...] = _bar_patterns("long") + _bar_patterns("short")
"""Patterns of ordinary bars: breakout, momentum, reversal and volume_anomaly, for each side."""
