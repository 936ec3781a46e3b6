"""How good a setup looks, by dimension: technical, fundamental, catalyst, sentiment; each 0 to 1. Pure.

The factors and points are the original's. What is not known is unknown, not bad: a factor without facts is
left out of its dimension (points earned over points that the known factors could earn), and a dimension
without any known factor is left out of the total, whose weights are shared by the others. How much was known
stands beside it as `completeness`, so that a good score over little knowledge can be told from one over much.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.page import Direction, Weights
from actors.rules import Facts, number, texts

__all__ = ["score"]

Factor = tuple[float, float]
"""Points earned, and points that could be earned."""

STRONG = (
    "earnings_beat",
    "fda_approval",
    "acquisition",
    "merger",
    "breakthrough",
    "partnership",
    "contract_win",
)
MEDIUM = ("earnings", "upgrade", "news", "announcement", "guidance")
TELLING = ("breakout", "breaking", "consolidat", "reversal", "bottom", "rejection", "support")
"""Words of a price action that names a breakout, a consolidation, a reversal or a support."""


def score(facts: Facts, direction: Direction, weights: Weights | None = None) -> dict[str, float]:
    """Score the facts for one side.

    Args:
        facts: As `actors.patterns.gather` gives them.
        direction: The side to trade.
        weights: Of the dimensions; the original's default without.

    Returns:
        A figure for each dimension of which something is known, `weighted_total` and `completeness`. The
        total is 0 where nothing is known.
    """
    weights = weights or Weights()
    long = direction == "long"
    scores: dict[str, float] = {}
    earned = known = 0.0
    for name, factors, weight in (
        ("technical", _technical(facts, long), weights.technical),
        ("fundamental", _fundamental(facts, long), weights.fundamental),
        ("catalyst", _catalyst(facts), weights.catalyst),
        ("sentiment", _sentiment(facts, long), weights.sentiment),
    ):
        points = possible = 0.0
        for got, most in factors:
            points += got
            possible += most
        if possible > 0:
            scores[name] = points / possible
            earned += weight * points / possible
            known += weight
    scores["weighted_total"] = min(1.0, earned / known) if known > 0 else 0.0
    scores["completeness"] = _completeness(facts)
    return scores


def _technical(facts: Facts, long: bool) -> Iterable[Factor]:
    rsi = number(facts, "rsi")
    if rsi is not None:
        best, fair = ((40, 70), ((30, 40), (70, 80))) if long else ((30, 60), ((20, 30), (60, 70)))
        if best[0] <= rsi <= best[1]:
            yield 0.25, 0.25
        else:
            yield (0.15 if any(low <= rsi <= high for low, high in fair) else 0.05), 0.25
    macd, macd_signal = number(facts, "macd"), number(facts, "macd_signal")
    if macd is not None and macd_signal is not None:
        yield (0.20 if (macd > macd_signal if long else macd < macd_signal) else 0.08), 0.20
    volume = number(facts, "volume_ratio")
    if volume is not None:
        yield _step(volume, ((3, 0.25), (1.5, 0.18), (1, 0.12)), 0.05), 0.25
    if "price_action" in facts:
        words = list(texts(facts, "price_action"))
        if any(part in word for word in words for part in TELLING):
            yield 0.15, 0.15
        elif words:
            yield 0.08, 0.15
    if number(facts, "support_level") is not None or number(facts, "resistance_level") is not None:
        yield 0.15, 0.15


def _fundamental(facts: Facts, long: bool) -> Iterable[Factor]:
    size = number(facts, "market_cap")
    if size is not None:
        points = 0.20 if 100 <= size <= 2000 else 0.12 if 50 <= size <= 10_000 else 0.08
        yield points, 0.20
    shares = number(facts, "float")
    if shares is not None:
        yield (0.30 if shares < 10 else 0.22 if shares < 30 else 0.15 if shares < 100 else 0.08), 0.30
    short_interest = number(facts, "short_interest")
    if short_interest is not None:
        if long:
            yield _step(short_interest, ((30, 0.30), (15, 0.20)), 0.10, strictly=True), 0.30
        else:
            yield (0.30 if short_interest < 10 else 0.18 if short_interest < 20 else 0.08), 0.30
    borrow = number(facts, "cost_to_borrow")
    if borrow is not None and long:
        yield _step(borrow, ((100, 0.20), (50, 0.12)), 0.0, strictly=True), 0.20


def _catalyst(facts: Facts) -> Iterable[Factor]:
    for text in texts(facts, "catalyst"):
        if len(text) > 10 and any(word in text for word in STRONG):
            yield 0.40, 0.40
        else:
            yield (0.25 if len(text) > 10 and any(word in text for word in MEDIUM) else 0.15), 0.40
        break
    points = {"strong": 0.30, "moderate": 0.18, "weak": 0.08}
    for text in texts(facts, "catalyst_strength"):
        if text in points:
            yield points[text], 0.30
            break
    beat = number(facts, "earnings_beat_percent")
    if beat is not None:
        yield _step(beat, ((20, 0.30), (10, 0.20)), 0.12 if beat > 0 else 0.0, strictly=True), 0.30


def _sentiment(facts: Facts, long: bool) -> Iterable[Factor]:
    ours, theirs = ("bullish", "bearish") if long else ("bearish", "bullish")
    for text in texts(facts, "sentiment"):
        yield (0.35 if text == ours else 0.05 if text == theirs else 0.15), 0.35
        break
    crowd = [text for field in ("social_sentiment", "retail_sentiment") for text in texts(facts, field)]
    if crowd:
        yield (0.25 if ours in crowd else 0.10), 0.25
    analysts = number(facts, "analyst_upgrades" if long else "analyst_downgrades")
    if analysts is not None:
        yield (0.25 if analysts > 0 else 0.0), 0.25
    insiders = facts.get("insider_buying" if long else "insider_selling")
    if isinstance(insiders, bool):
        yield (0.15 if insiders else 0.0), 0.15


def _step(value: float, steps: Iterable[Factor], otherwise: float, *, strictly: bool = False) -> float:
    """The points of the first step that the value reaches, or exceeds."""
    for bound, points in steps:
        if value > bound or (value == bound and not strictly):
            return points
    return otherwise


def _completeness(facts: Facts) -> float:
    """The original's measure of how much is known: 0.6 for the essentials, 0.3 and 0.1 for the rest."""

    def share(fields: tuple[str, ...]) -> float:
        values = [facts.get(field) for field in fields]
        return (len(fields) - values.count(None) - values.count("")) / len(fields)

    # Symbol, price and direction are always known.
    essentials = (3 + share(("volume",))) / 4
    wider = share(("float", "market_cap", "catalyst", "rsi"))
    return 0.60 * essentials + 0.30 * wider + 0.10 * share(("sentiment", "short_interest", "analyst_upgrades"))
